#!/bin/bash
# Cgroups where others do not look for them: mounts of a part of the hierarchy, listed first; names with backslashes and
# blanks; a v1 cpuset without its prefix. And those who want nothing: plain containers, without root, while building.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/elsewhere.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
hierarchy=/sys/fs/cgroup
[[ $VM_CGROUP == v2 ]] || hierarchy=/sys/fs/cgroup/cpuset
own=(numastow.io/cpus=2 numastow.io/cpu-mode=exclusive)

# placed NAME ID - a bare container has been given what the ledger says
placed()
{
	local pid

	pid=$(container_pid "$2")
	check "$1: placed" hook_for "$2" apply
	eq "$1: the kernel has the ledger's CPUs" "$(allowed_cpus "$pid")" "$(record "$2" cpus)"
	check "$1: and they are two" test "$(allowed_cpus "$pid")" != 0-7
	all_as_promised "$1"
}

### names

bare plain "/odd/plain"
check "a container without annotations" hook_for plain apply
# As systemd writes the unit of "a-b".
name="/odd/esc\\x2daped.slice/with blank"
bare odd "$name" "${own[@]}"
placed "a name with a backslash and a blank" odd
check "another is off its CPUs" test "$(allowed_cpus "$(container_pid plain)")" != 0-7
bare_end odd
eq "and has them back" "$(allowed_cpus "$(container_pid plain)")" 0-7

### a part of the hierarchy that is mounted, too, and listed first

bare part "$name" "${own[@]}"
export -f placed bare_end hook_for container_pid check eq ok fail status_of allowed_cpus record all_as_promised eventually cgroup_dir
export vm_work vm_silent numastow vm_checker VM_CGROUP hierarchy
parts()
{
	local type=cgroup2 with=nsdelegate

	[[ $VM_CGROUP == v2 ]] || type=cgroup with=cpuset
	mkdir -p /run/part /run/other
	mount --make-rprivate /
	mount --bind "$hierarchy/odd/esc\\x2daped.slice" /run/part
	mkdir -p "$hierarchy/odd/esc"
	mount --bind "$hierarchy/odd/esc" /run/other
	umount --lazy "$hierarchy"
	mount -t "$type" -o "$with" cgroup "$hierarchy"
	vm_passed=0 vm_failed=0
	placed "a part of the hierarchy is mounted first" part
	bare_end part
	echo "$vm_passed $vm_failed" >"$vm_work/parts"
}
export -f parts
unshare --mount bash -c parts
read -r passed failed <"$vm_work/parts"
vm_passed=$((vm_passed + passed)) vm_failed=$((vm_failed + failed))
bare_end plain

### a cpuset hierarchy without a prefix

if [[ $VM_CGROUP == v1 ]]; then
	find /sys/fs/cgroup/{cpuset,memory,hugetlb} -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
	umount /sys/fs/cgroup/cpuset
	check "cpuset is mounted without its prefix" mount -t cgroup -o cpuset,noprefix cgroup /sys/fs/cgroup/cpuset
	check "its files are" test -e /sys/fs/cgroup/cpuset/cpus
	bare plain /bare/plain
	bare own /bare/own "${own[@]}"
	check "a container without annotations there" hook_for plain apply
	placed "without a prefix" own
	bare_end own
	eq "the other has all CPUs back" "$(allowed_cpus "$(container_pid plain)")" 0-7
	bare_end plain
	find /sys/fs/cgroup/cpuset -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
	umount /sys/fs/cgroup/cpuset
	mount -t cgroup -o cpuset cgroup /sys/fs/cgroup/cpuset
fi

### containers that want nothing

start own --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive || fail "own starts" "$(said own)"
check "an empty name of a sandbox is no reason not to start" start empty --annotation io.kubernetes.cri.sandbox-uid= \
	--annotation io.kubernetes.cri.sandbox-namespace= --annotation "io.kubernetes.cri.sandbox-name=a/../b c"
check "it is off exclusive CPUs" test "$(allowed_cpus "$(container_pid empty)")" != 0-7
gone empty

sleep 100000 &
echo $! >"$vm_work/nobody"
mkdir -p "$vm_work/bundle/rootless"
echo '{"linux":{"resources":{}}}' >"$vm_work/bundle/rootless/config.json"
chmod 755 "$vm_work"
state='{"ociVersion":"1.0.2","id":"rootless","pid":'$(<"$vm_work/nobody")',"status":"created",
	"bundle":"'$vm_work'/bundle/rootless","annotations":{}}'
asked=${state/\"annotations\":\{\}/\"annotations\":\{\"numastow.io/cpus\":\"1\"\}}
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
mkdir -p "$vm_work/bin"
cp "$HOOK" "$vm_work/bin/"
chmod 755 "$vm_work/bin"
for who in "without root:${nobody[*]}" "in a user namespace:${nobody[*]} unshare --user --map-root-user"; do
	# shellcheck disable=SC2206 # words
	as=(${who#*:})
	check "${who%%:*}: a container without annotations starts" "${as[@]}" "$vm_work/bin/numastow-hook" apply <<<"$state"
	check "${who%%:*}: and ends" "${as[@]}" "$vm_work/bin/numastow-hook" release <<<"$state"
	if said=$("${as[@]}" "$vm_work/bin/numastow-hook" apply <<<"$asked" 2>&1); then
		fail "${who%%:*}: one with annotations is refused" "$said"
	else
		eq "${who%%:*}: one with annotations gets one line" "$(wc -l <<<"$said")" 1
		check "${who%%:*}: that says why" grep -qiE 'root|user namespace|privilege' <<<"$said"
	fi
done
kill "$(<"$vm_work/nobody")"

if [[ $VM_INIT == systemd ]]; then
	VM_HOOKS_DIR=$vm_work/hooks.d
	mkdir -p "$VM_HOOKS_DIR" "$vm_work/build"
	for file in "$vm_root"/deploy/podman/*.json; do
		sed "s|@LIBEXECDIR@|$programs|" "$file" >"$VM_HOOKS_DIR/$(basename "$file")"
	done
	cp "$(command -v busybox)" "$vm_work/build/"
	printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "true"]\n' >"$vm_work/build/Containerfile"
	check "podman build runs its commands with the hooks installed" vm_podman build --network none "$vm_work/build"

	# A user's own Podman, which has the machine's hooks as well.
	home=/tmp/user runtime_dir=/run/user/numastow
	useradd --home-dir "$home" user
	mkdir -p "$home" "$runtime_dir"
	cp -r "$(vm_rootfs)" "$home/rootfs"
	cp -r "$VM_HOOKS_DIR" "$home/hooks.d"
	# The checkout may be in a folder that is root's alone.
	mkdir -p "$home/bin"
	cp "$programs/numastow-hook" "$home/bin"
	sed -i "s|$programs|$home/bin|" "$home"/hooks.d/*.json
	chown -R user "$home" "$runtime_dir"
	of_user()
	{
		setpriv --reuid user --regid user --init-groups env -i PATH="$PATH" HOME="$home" XDG_RUNTIME_DIR="$runtime_dir" \
			podman --cgroup-manager cgroupfs --storage-driver vfs --events-backend none --runtime "$VM_RUNTIME" \
			--hooks-dir "$home/hooks.d" run --rm --network none --cgroups disabled "$@" --rootfs "$home/rootfs" \
			cat /proc/self/status
	}
	check "a user's container without annotations starts" grep -q '^Cpus_allowed_list' <(of_user 2>&1)
	of_user --annotation numastow.io/cpus=1 >/dev/null 2>&1 && fail "a user's container with annotations is refused"
	refusals()
	{
		journalctl --no-pager --output cat | grep -cE 'refused [0-9a-f]{64}: .*without root.*root only'
	}
	told()
	{
		[[ $(refusals) == 1 ]]
	}
	check "the journal says why, in one line" eventually 20 told
	of_user --annotation numastow.io/cpus=1 --annotation numastow.io/on-failure=ignore >"$vm_work/user.out" 2>&1
	check "unless it is to start in any case" grep -q '^Cpus_allowed_list' "$vm_work/user.out"
fi
all_as_promised "beside all of these"

### a container that has /run/numastow, and namespaces of its own

before=$("$numastow" ledger --json)
# elsewhere COMMAND... - as seen from there
elsewhere()
{
	mkdir -p "$elsewhere"
	(
		echo $BASHPID >"$elsewhere/cgroup.procs"
		exec unshare --fork --pid --cgroup --mount-proc sh -c 'umount -l /sys/fs/cgroup
			mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' sh "$@"
	)
}
if [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; then
	elsewhere=/sys/fs/cgroup/elsewhere
	for command in gc "release own" "restore --all" "run --cpus 1 true"; do
		# shellcheck disable=SC2086 # words
		elsewhere "$numastow" $command >"$vm_work/elsewhere.out" 2>&1 && fail "numastow $command is refused"
		check "numastow $command: one line says why" grep -q 'the ledger is that of the machine.s initial namespaces' "$vm_work/elsewhere.out"
	done
	elsewhere timeout 60 "$programs/numastow-agent" >"$vm_work/elsewhere.out" 2>&1 && fail "an agent is refused"
	check "an agent, too" grep -q 'the ledger is that of the machine.s initial namespaces' "$vm_work/elsewhere.out"
	# The hook of a runtime there: it wants more than is left, and would reclaim what seems to have ended.
	cat >"$vm_work/nested" <<'END'
cd /sys/fs/cgroup && mkdir runtime container && echo $$ >runtime/cgroup.procs && echo +cpuset +memory >cgroup.subtree_control
sleep 1000 &
echo $! >container/cgroup.procs
"$1" apply <<STATE
{"ociVersion": "1.0.2", "id": "nested", "status": "created", "pid": $!, "bundle": "$2", "annotations":
 {"numastow.io/cpus": "$3", "numastow.io/cpu-mode": "exclusive", "numastow.io/nodes": "$4"}}
STATE
code=$?
kill $!
exit $code
END
	nodes=$(record own mems)
	elsewhere sh "$vm_work/nested" "$HOOK" "$vm_work/bundle/rootless" 3 "$nodes" >"$vm_work/elsewhere.out" 2>&1 && fail "a hook is refused"
	check "a hook, too" grep -q 'the ledger is that of the machine.s initial namespaces' "$vm_work/elsewhere.out"
	jq -c '.pid = 0 | .status = "stopped"' <<<"$(state own)" >"$vm_work/own.json"
	check "one for a container of the same name that ends does nothing" elsewhere "$HOOK" release <"$vm_work/own.json"
	eq "the ledger is as it was" "$("$numastow" ledger --json)" "$before"
	check "on the machine itself all works" "$numastow" gc
	eq "and its container is still there" "$(record own mems)" "$nodes"
fi
gone own

vm_summary
