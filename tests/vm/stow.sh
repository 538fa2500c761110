#!/bin/bash
# What the README promises, on a NUMA kernel: containers of $VM_RUNTIME with the hooks in config.json.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun [--env BRIEF=1] v1|v2|v2-systemd tests/vm/stow.sh
#
# BRIEF leaves out what no kernel, runtime or driver can make a difference to.
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
Mi=$((1 << 20))

# Every part begins and ends with nothing given away.
nothing_left()
{
	local left=""

	[[ $(ledger) == '{"containers":[],"pools":[]}' ]] || left+="records "
	[[ ! -e /run/numastow/exclusive ]] || left+="exclusive-CPUs "
	[[ -z $(ls -A /run/numastow/unmanaged 2>/dev/null) ]] || left+="unmanaged "
	[[ $(pool 0 2048)+$(pool 1 2048) == 0+0 ]] || left+="hugepages "
	eq "$1: nothing is left" "$left" "" || "$numastow" ledger
}

# states - those of the ledger's records, in a line
states()
{
	ledger | grep -oE '"state":"[a-z]+"' | sort | cut -d'"' -f4 | paste -sd ' '
}

node_of_cpus()
{
	case $1 in
	0-3) echo 0 ;;
	4-7) echo 1 ;;
	*) echo "none: $1" ;;
	esac
}

count_list()
{
	tr , '\n' <<<"$1" | awk -F- 'NF { n += NF == 2 ? $2 - $1 + 1 : 1 } END { print n + 0 }'
}

# want ID OPTION... - starts a container that has to start
want()
{
	start "$@" || fail "$1 starts" "$(said "$1")"
}

# refused NAME ID OPTION... - a container that must not start; "why" has to know it
refused()
{
	local name=$1

	shift
	if start "$@"; then
		fail "$name" "$1 started"
	elif ! "$numastow" why "$1" | grep -q refused; then
		fail "$name" "$(said "$1")"
	else
		ok "$name"
	fi
}

# --- 1: CPUs and memory of one node ----------------------------------------------------------------

# In a cgroup v1 guest without the memory controller's limits the rest is the same.
want shared --args "touch-memory --hold 128" \
	--annotation numastow.io/cpus=2 --annotation numastow.io/memory=256Mi
pid=$(container_pid shared)
node=$(node_of_cpus "$(allowed_cpus "$pid")")
eq "1 memory and CPUs are of one node" "$(allowed_mems "$pid")" "$node"
check "1 128 MiB were touched" eventually 30 grep -q touched "$vm_work/shared.out"
within "1 all of it on that node" "$(pages_on "$pid" "$node")" $((128 * 1024)) $((140 * 1024))
# The program's own file may be in the page cache of the other node since before.
within "1 none of it on the other" "$(pages_on "$pid" $((1 - node)))" 0 2048
limit=$(cat "$(cgroup_dir "$pid" memory)"/memory.{max,limit_in_bytes} 2>/dev/null)
eq "1 a container without a limit gets the request's" "$limit" $((256 * Mi))
check "1 why tells where and for what reason" sh -c "'$numastow' why shared | grep -q placed"
stop shared
nothing_left 1

want before
want one --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive
want two --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive \
	--args "touch-memory --hold 64"
want after
one=$(allowed_cpus "$(container_pid one)")
two=$(allowed_cpus "$(container_pid two)")
eq "1 exclusive: two CPUs" "$(count_list "$one")+$(count_list "$two")" 2+2
all=$(count_list "$one,$two,$(allowed_cpus "$(container_pid before)")")
eq "1 exclusive: disjoint, and a container from before is off them" "$all" 8
all=$(count_list "$one,$two,$(allowed_cpus "$(container_pid after)")")
eq "1 exclusive: a container from after is off them" "$all" 8
stop one
eq "1 exclusive: given back, the others have them again" \
	"$(count_list "$(allowed_cpus "$(container_pid before)")")" 6
pid=$(container_pid two)
check "1 exclusive: 64 MiB were touched" eventually 30 grep -q touched "$vm_work/two.out"
node=$(allowed_mems "$pid")
within "1 exclusive: all of it on its node" "$(pages_on "$pid" "$node")" $((64 * 1024)) $((76 * 1024))
stop two
eq "1 exclusive: in the end the others have all" "$(allowed_cpus "$(container_pid after)")" 0-7
stop before
stop after
nothing_left "1 exclusive"

# --- 2: hugepages ----------------------------------------------------------------------------------

want huge --annotation numastow.io/cpus=1 --annotation numastow.io/hugepages-2Mi=64Mi \
	--annotation numastow.io/nodes=1 --args "touch-memory --huge 2M --hold 64"
pid=$(container_pid huge)
eq "2 the pool grows on that node alone" "$(pool 0 2048)+$(pool 1 2048)" 0+32
check "2 64 MiB of hugepages are mapped" eventually 20 grep -q touched "$vm_work/huge.out"
eq "2 they are on that node" "$(pages_on "$pid" 1 | awk '{ print ($1 >= 65536) }')" 1
hugetlb=$(cgroup_dir "$pid" hugetlb)
eq "2 limit and reservation limit" \
	"$(cat "$hugetlb"/hugetlb.2MB.{,rsvd.}{max,limit_in_bytes} 2>/dev/null | sort -u)" $((64 * Mi))
stop huge
nothing_left 2

# The runtime's own cpuset may be narrower than its containers', as below a slice with AllowedMemoryNodes=.
narrow=/sys/fs/cgroup/narrow
[[ $VM_CGROUP == v2 ]] || narrow=/sys/fs/cgroup/cpuset/narrow
from_narrow()
(
	echo $BASHPID >"$narrow/cgroup.procs" && "$@"
)
[[ $VM_CGROUP != v2 ]] || echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control
mkdir "$narrow"
echo 0-3 >"$narrow/cpuset.cpus"
echo 0 >"$narrow/cpuset.mems"
check "2 a container starts from a cpuset with the memory of node 0 only" from_narrow start far \
	--annotation numastow.io/cpus=1 --annotation numastow.io/hugepages-2Mi=16Mi --annotation numastow.io/nodes=1 || said far
eq "2 its hugepages are on its own node" "$(pool 0 2048)+$(pool 1 2048)" 0+8
stop far
eventually 20 rmdir "$narrow"
nothing_left "2 narrow"

want more --annotation numastow.io/cpus=1 --annotation numastow.io/hugepages-2Mi=64Mi \
	--args "touch-memory --huge 2M 80"
check "2 a larger map fails" eventually 10 grep -q "mmap: ENOMEM" "$vm_work/more.out"
stop more
nothing_left "2 larger"

mkdir -p /run/huge
mount -t hugetlbfs -o pagesize=2M none /run/huge
want file --annotation numastow.io/cpus=1 --annotation numastow.io/hugepages-2Mi=64Mi \
	--annotation numastow.io/nodes=1
pid=$(container_pid file)
# A program of the container that leaves a file on hugetlbfs: started in its cgroups.
(
	for controller in cpuset hugetlb; do
		echo $BASHPID >"$(cgroup_dir "$pid" $controller)/cgroup.procs"
	done
	exec "$vm_progs/touch" --huge 2M --file /run/huge/left 8
) >/dev/null
stop file
eq "2 pages of a file stay" "$(pool 1 2048)" 4
check "2 the debt is in the history" sh -c "'$numastow' why pool-1-2Mi | grep -q 'debt'"
eq "2 the debt is in the ledger" "$(ledger | grep -oE '"pages_added":[0-9]+')" '"pages_added":4'
"$numastow" gc >/dev/null
eq "2 gc leaves what is in use" "$(pool 1 2048)" 4
rm /run/huge/left
"$numastow" gc >/dev/null
nothing_left "2 debt"
umount /run/huge

if [[ ! ${BRIEF:-} ]]; then
# --- 3: more than the node can give ----------------------------------------------------------------

refused "3 more hugepages than a node has memory" toomany \
	 --annotation numastow.io/cpus=1 --annotation numastow.io/hugepages-2Mi=3Gi
check "3 why names node, wanted and what there is" \
	sh -c "'$numastow' why toomany | grep -E '3Gi in 2Mi.*node 0.*room for'"
nothing_left 3

# --- 4: policies -----------------------------------------------------------------------------------

refused "4 8 CPUs on one node of 4" wide --annotation numastow.io/cpus=8
check "4 the line says what each node has" sh -c \
	"'$numastow' why wide | grep -q '8 CPUs on one NUMA node; node 0 has 4 of 4 free, node 1 has 4 of 4 free'"
[[ $VM_RUNTIME == crun ]] || check "4 the runtime shows the line, too" grep -q "8 CPUs on one NUMA node" "$vm_work/wide.out"
want wide2 --annotation numastow.io/cpus=8 --annotation numastow.io/policy=best-effort
eq "4 best-effort: two nodes" "$(allowed_mems "$(container_pid wide2)")" 0-1
stop wide2
want even --annotation numastow.io/cpus=6 --annotation numastow.io/policy=spread \
	--annotation numastow.io/memory=512Mi
eq "4 spread: evenly" "$("$numastow" ledger --json | jq -c '[.containers[0].nodes[] | [.n_cpus, .memory / 1048576]]')" \
	"[[3,256],[3,256]]"
stop even
refused "4 more memory than is really free" \
	big --annotation numastow.io/cpus=1 --annotation numastow.io/memory=2040Mi
nothing_left 4
# Half of node 0 is taken by a program that nobody has promised anything.
"$vm_progs/touch" --node 0 --hold 1000 >/dev/null &
hog=$!
eventually 60 sh -c "[ \$(awk '/MemFree/ { print int(\$4 / 1024) }' /sys/devices/system/node/node0/meminfo) -lt 1000 ]"
refused "4 really free counts, not what was promised" \
	notthere --annotation numastow.io/cpus=1 --annotation numastow.io/memory=1200Mi \
	--annotation numastow.io/nodes=0
want there --annotation numastow.io/cpus=1 --annotation numastow.io/memory=1200Mi
eq "4 the other node has it" "$(allowed_mems "$(container_pid there)")" 1
stop there
kill "$hog"
wait "$hog" 2>/dev/null
nothing_left "4 memory"

fi
# --- 5: pages follow -------------------------------------------------------------------------------

want mover --args "touch-memory --hold 64" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0
pid=$(container_pid mover)
check "5 touched on node 0" eventually 30 grep -q touched "$vm_work/mover.out"
[[ $VM_CGROUP == v2 ]] || eq "5 memory_migrate is on" "$(<"$(cgroup_dir "$pid")/cpuset.memory_migrate")" 1
busybox sh -c "echo 1 >$(cgroup_dir "$pid")/cpuset.mems"
within "5 moving its mems moves its pages" "$(eventually 20 test "$(pages_on "$pid" 1)" -gt 65000; pages_on "$pid" 1)" 65000 80000
stop mover
nothing_left 5

# --- 7: lives --------------------------------------------------------------------------------------

want again --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive
old=$(state again)
stop again
want again --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive
jq '.status = "stopped" | del(.pid)' <<<"$old" | "$HOOK" release
eq "7 a late poststop of the old life leaves the new grant" \
	"$(states)" active
stop again
nothing_left 7

if [[ ! ${BRIEF:-} ]]; then
# precreate, and nobody comes
mkdir -p /etc/numastow
echo "lease-seconds: 2" >/etc/numastow/config.yaml
dir=$(bundle lease --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive \
	--cgroups-path /numastow-test/lease)
"$HOOK" precreate <"$dir/config.json" >"$vm_work/precreated.json"
check "8 precreate gives back what it got" cmp -s "$dir/config.json" "$vm_work/precreated.json"
eq "7 the lease is there" "$(states)" lease
sleep 3
"$numastow" gc >/dev/null
nothing_left "7 lease"
rm /etc/numastow/config.yaml

# --- 8: pods, precreate ----------------------------------------------------------------------------

pod=(--annotation io.kubernetes.pod.uid=u1 --annotation io.kubernetes.pod.namespace=team
	--annotation numastow.io/cpus.web=2 --annotation numastow.io/cpus.db=3
	--annotation numastow.io/cpu-mode=exclusive)
want pause "${pod[@]}" --annotation io.kubernetes.cri-o.ContainerType=sandbox
eq "8 the sandbox gets nothing" "$(states)" ""
want web "${pod[@]}" --annotation io.kubernetes.container.name=web
want db "${pod[@]}" --annotation io.kubernetes.container.name=db
eq "8 web has 2" "$(count_list "$(allowed_cpus "$(container_pid web)")")" 2
eq "8 db has 3" "$(count_list "$(allowed_cpus "$(container_pid db)")")" 3
stop web; stop db
refused "8 scope=pod: 5 CPUs do not fit on one node of 4" web "${pod[@]}" \
	--annotation io.kubernetes.container.name=web --annotation numastow.io/scope=pod
stop pause
nothing_left 8

pod=(--annotation io.kubernetes.pod.uid=u2 --annotation io.kubernetes.pod.namespace=team
	--annotation numastow.io/cpus.web=1 --annotation numastow.io/cpus.db=3
	--annotation numastow.io/cpu-mode=exclusive --annotation numastow.io/scope=pod)
want web "${pod[@]}" --annotation io.kubernetes.container.name=web
eq "8 scope=pod: a place waits for the second" "$(states)" "active lease"
want db "${pod[@]}" --annotation io.kubernetes.container.name=db
eq "8 scope=pod: together" "$(allowed_mems "$(container_pid web)")" "$(allowed_mems "$(container_pid db)")"
eq "8 scope=pod: the second took its place" "$(states)" "active active"
stop web; stop db
nothing_left "8 scope=pod"

dir=$(bundle pre --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive)
"$HOOK" precreate <"$dir/config.json" >/dev/null
lease=$("$numastow" ledger --json | jq -r '.containers[0].cpus')
want pre --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive
eq "8 precreate, then apply: one grant" "$(states)" active
eq "8 precreate, then apply: the same CPUs" "$(allowed_cpus "$(container_pid pre)")" "$lease"
state pre | "$HOOK" apply
eq "8 apply twice: one grant" "$(states)" active
stop pre
nothing_left "8 precreate"

fi
# --- 8: systemd ------------------------------------------------------------------------------------

if [[ $VM_INIT == systemd ]]; then
	want plain --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=1
	want own --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive \
		--cpuset-cpus 4-7 --cpuset-mems 1
	plain=$(allowed_cpus "$(container_pid plain)") own=$(allowed_cpus "$(container_pid own)")
	eq "8 a set of its own is kept to" "$(allowed_mems "$(container_pid own)")" 1
	systemctl daemon-reload
	eq "8 daemon-reload changes nothing" "$(allowed_cpus "$(container_pid plain)")" "$plain"
	eq "8 daemon-reload changes nothing where the scope had a set" \
		"$(allowed_cpus "$(container_pid own)")" "$own"
	stop plain; stop own
	nothing_left "8 systemd"
fi

# --- 11: observe, disabled, restore ----------------------------------------------------------------

if [[ ! ${BRIEF:-} ]]; then
mkdir -p /etc/numastow
echo "mode: observe" >/etc/numastow/config.yaml
want watched --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive
eq "11 observe changes nothing" "$(allowed_cpus "$(container_pid watched)")" 0-7
check "11 observe says what it would do" sh -c "'$numastow' why watched | grep -q 'would be placed on CPUs'"
stop watched
rm /etc/numastow/config.yaml
nothing_left "11 observe"

touch /etc/numastow/disabled
want off --annotation numastow.io/cpus=2 --annotation numastow.io/no-such-key=1
eq "11 disabled does nothing" "$(allowed_cpus "$(container_pid off)")" 0-7
stop off
rm /etc/numastow/disabled
nothing_left "11 disabled"

fi
want other
want bound --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive \
	--annotation numastow.io/memory=128Mi --annotation numastow.io/hugepages-2Mi=16Mi
want loose --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=0
check "11 restore --all" "$numastow" restore --all
for id in other bound loose; do
	pid=$(container_pid $id)
	eq "11 $id runs on with its original sets" "$(allowed_cpus "$pid") $(allowed_mems "$pid")" "0-7 0-1"
done
eq "11 its hugepages are gone" "$(pool 0 2048)+$(pool 1 2048)" 0+0
eq "11 the ledger is empty" "$(ledger)" '{"containers":[],"pools":[]}'
stop other; stop bound; stop loose
nothing_left 11

vm_summary
