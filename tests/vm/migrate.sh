#!/bin/bash
# numastow migrate and bind: pages move as by migratepages, threads and memory are bound, and what belongs to the applier,
# to a cpuset or to other processes is refused with nothing changed.
#
# usage: tests/vm/run v2-4n|v1|v2 tests/vm/migrate.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
cgroups=/sys/fs/cgroup
[[ ! -d $cgroups/cpuset ]] || cgroups=$cgroups/cpuset
held=()

# hold COMMAND... - start it with a program that keeps 8 MiB; sets $pid
hold()
{
	local out=$vm_work/held.$RANDOM
	"$@" "$vm_progs/touch" --hold 8 >"$out" &
	pid=$!
	held+=("$pid")
	eventually 10 grep -q touched "$out"
}

# in_group NAME CPUS MEMS COMMAND... - execute the command in a cgroup of that name, which is made if needed; for hold
in_group()
{
	local group=$cgroups/$1
	if [[ ! -d $group ]]; then
		[[ ! -e $cgroups/cgroup.subtree_control ]] || echo +cpuset >"$cgroups/cgroup.subtree_control"
		mkdir "$group"
		echo "$2" >"$group/cpuset.cpus"
		echo "$3" >"$group/cpuset.mems"
	fi
	shift 3
	# shellcheck disable=SC2016 # of that shell
	exec sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@"
}

# let_go - end what is held, and remove the cgroups
let_go()
{
	local group
	kill "${held[@]}" 2>/dev/null
	wait "${held[@]}" 2>/dev/null
	held=()
	for group in "$cgroups"/compat-*/inner "$cgroups"/compat-*; do
		[[ ! -d $group ]] || eventually 10 rmdir "$group"
	done
}

# mib PID - on which nodes its memory is, files excepted, in whole MiB; what is less than half of one does not count
mib()
{
	awk '!/ file=/ {
		for (i = 1; i <= NF; i++)
			if (split($i, pair, "=") == 2 && pair[1] ~ /^N[0-9]+$/)
				pages[substr(pair[1], 2)] += pair[2]
	}
	END {
		for (node = 0; node < 64; node++)
			if (pages[node] >= 128)
				printf "%d:%d ", node, (pages[node] + 128) / 256
	}' "/proc/$1/numa_maps"
}

# code WANT COMMAND... - the exit code; leaves the output in $said
code()
{
	local want=$1 rc=0
	shift
	said=$("$@" 2>&1) || rc=$?
	eq "${*:2:1} ${*:3}: exit code" "$rc" "$want" || printf '%s\n' "$said" | sed 's/^/#   /'
}

# moves COMMAND... - it works; a page that was busy at that moment is no failure of the test
moves()
{
	local rc=0
	said=$("$@" 2>&1) || rc=$?
	check "${*:2:1} ${*:3}: works" test "$rc" = 0 -o "$rc" = 64 || printf '%s\n' "$said" | sed 's/^/#   /'
}

has()
{
	check "it says: $1" grep -Eq -e "$1" <<<"$said"
}

# The two processes that are compared must begin alike, and on how many MiB of a node interleaving puts huge pages depends on
# how many the kernel finds: none here.
migrates()
{
	local policy from to mine theirs huge balancing thp=/sys/kernel/mm/transparent_hugepage/enabled
	huge=$(sed 's/.*\[\(.*\)\].*/\1/' $thp)
	echo never >$thp
	while read -r policy from to; do
		[[ $policy ]] || continue
		# shellcheck disable=SC2086 # words
		hold numactl ${policy//_/ }
		theirs=$pid
		# shellcheck disable=SC2086 # words
		hold numactl ${policy//_/ }
		mine=$pid
		migratepages "$theirs" "$from" "$to"
		moves "$numastow" migrate "$mine" "$from" "$to"
		eq "migrate $from $to, after ${policy//_/ }: as migratepages" "$(mib "$mine")" "$(mib "$theirs")"
		let_go
	done <<<"
-m_0	0	1
-i_0,1	0,1	2,3
-i_0,1	0-1	1-2
-i_all	all	3
-i_0,1,2	0-2	1,3
-m_2	!0	0
"
	echo "$huge" >$thp
	hold numactl -m 1
	code 0 "$numastow" migrate --dry-run "$pid" 1 3
	has "process $pid \(touch\): node 1 to 3"
	eq "a dry run moves nothing" "$(mib "$pid")" "1:8 "
	moves "$numastow" migrate "$pid" 1 3
	eq "then it is there" "$(mib "$pid")" "3:8 "
	has 'moving +.* of [^ ]+Mi \([0-9]+%\)'
	has 'memory policy is unchanged'
	eq "and so is its policy" "$(sed -n '1s/[^ ]* \([^ ]*\) .*/\1/p' "/proc/$pid/numa_maps")" bind:1
	moves "$numastow" migrate --json "$pid" 3 2
	eq "JSON" "$(jq -c '[(.version | type), .pid, .pairs, (.nodes[] | select(.node == 2) | .after > 8388607), .moved > 8388607]' <<<"$said")" \
		"[\"string\",$pid,[{\"from\":3,\"to\":2}],true,true]"
	balancing=$(</proc/sys/kernel/numa_balancing)
	echo 1 >/proc/sys/kernel/numa_balancing
	moves "$numastow" migrate "$pid" 0 1
	has 'NUMA balancing is on, and may move pages back'
	echo "$balancing" >/proc/sys/kernel/numa_balancing
	code 2 "$numastow" migrate "$pid" 3 9
	has 'node 9 is not one of those'
	code 1 "$numastow" migrate 4194303 0 1
	let_go

	numactl -m 0 "$vm_progs/pinner" 1 >"$vm_work/pin" &
	pid=$!
	held+=("$pid")
	eventually 10 grep -q ready "$vm_work/pin"
	code 64 "$numastow" migrate "$pid" 0 1
	has 'stayed: '
	has 'pinned, or in use'
	let_go
}

confined()
{
	hold in_group compat-a 0-3 0-1 numactl -m 0
	code 3 "$numastow" migrate "$pid" 0 "$far"
	has "node $far is outside of its cpuset, which has 0-1"
	eq "nothing has moved" "$(mib "$pid")" "0:8 "
	moves "$numastow" migrate "$pid" 0 1
	eq "within it, it moves" "$(mib "$pid")" "1:8 "
	let_go
}

containers()
{
	want box --args "touch-memory --hold 8" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=64Mi \
		--annotation numastow.io/nodes=0
	pid=$(container_pid box)
	eventually 10 grep -q touched "$vm_work/box.out"
	code 3 "$numastow" migrate box 0 1
	has 'outside of its cpuset, which has 0; numastow repin'
	code 1 "$numastow" bind --cpus "$second" "$pid"
	has "process $pid is in container box, .* numastow repin box"
	code 1 "$numastow" bind --nodes 1 --cgroup "$pid"
	code 1 "$numastow" bind --nodes 1 box
	eq "nothing has changed" "$(allowed_mems "$pid")" 0
	all_as_promised "after binding was refused" 10
	stop box
	want wide --args "touch-memory --hold 8" --annotation numastow.io/cpus="$many" --annotation numastow.io/memory=64Mi \
		--annotation numastow.io/nodes=0-1 --annotation numastow.io/policy=best-effort
	pid=$(container_pid wide)
	eventually 10 grep -q touched "$vm_work/wide.out"
	moves "$numastow" migrate --last 0 1
	eq "a container's pages move within its nodes" "$(mib "$pid")" "1:8 "
	stop wide
}

threads()
{
	local tasks
	"$vm_progs/threads" 4 >"$vm_work/threads" &
	pid=$!
	held+=("$pid")
	eventually 10 grep -q started "$vm_work/threads"
	code 0 "$numastow" bind --cpus "$second" "$pid"
	tasks=$(sed -n 's/^Cpus_allowed_list:.//p' /proc/"$pid"/task/*/status 2>/dev/null | sort -u)
	eq "every thread is bound, those that came meanwhile, too" "$tasks" "$second"
	has 'Memory is not bound'
	code 0 "$numastow" bind --thread --cpus 0 "$pid"
	eq "one thread alone" "$(allowed_cpus "$pid")" 0
	check "the others are as before" grep -qx "Cpus_allowed_list:.$second" /proc/"$pid"/task/*/status
	code 2 "$numastow" bind "$pid"
	has 'expected --nodes, --cpus or --memory'
	let_go
}

memory()
{
	local other
	hold in_group compat-a "$all_cpus" "$all_mems" numactl -i 0,1
	code 0 "$numastow" bind --dry-run --nodes "$far" "$pid"
	eq "a dry run changes nothing" "$(allowed_mems "$pid")" "$all_mems"
	moves "$numastow" bind --nodes "$far" "$pid"
	eq "its CPUs" "$(allowed_cpus "$pid")" "$(cat "/sys/devices/system/node/node$far/cpulist")"
	eq "its nodes" "$(allowed_mems "$pid")" "$far"
	eq "its pages" "$(mib "$pid")" "$far:8 "
	has 'memory policies are unchanged'

	hold in_group compat-a "$all_cpus" "$all_mems"
	other=$pid
	pid=${held[0]}
	code 1 "$numastow" bind --nodes 0 "$pid"
	has 'has 1 other processes, which would be bound, too: --cgroup'
	eq "nothing has changed" "$(allowed_mems "$pid") $(allowed_cpus "$pid")" \
		"$far $(cat "/sys/devices/system/node/node$far/cpulist")"
	moves "$numastow" bind --cgroup --memory 0 "$pid"
	eq "with --cgroup both have the memory" "$(allowed_mems "$other") $(mib "$other")$(mib "$pid")" "0 0:8 0:8 "
	moves "$numastow" bind --nodes "$far" "$pid" "$other"
	eq "or both are named" "$(mib "$other")$(mib "$pid")" "$far:8 $far:8 "
	let_go

	hold
	code 1 "$numastow" bind --memory 0 "$pid"
	has 'it is the topmost'
	let_go

	# The cgroup above lacks the node.
	mkdir "$cgroups/compat-b"
	echo 0-1 >"$cgroups/compat-b/cpuset.cpus"
	echo 0 >"$cgroups/compat-b/cpuset.mems"
	[[ ! -e $cgroups/cgroup.subtree_control ]] || echo +cpuset >"$cgroups/compat-b/cgroup.subtree_control"
	hold in_group compat-b/inner 0-1 0
	code 3 "$numastow" bind --memory 0-1 "$pid"
	has 'the cgroup above /compat-b/inner has only 0'
	let_go
}

# A container without a grant is found by its id.
unmanaged()
{
	local id
	id=$(printf 'c0%.0s' {1..32})
	mkdir "$cgroups/docker"
	[[ ! -e $cgroups/cgroup.subtree_control ]] || echo +cpuset >"$cgroups/cgroup.subtree_control"
	echo "$all_cpus" >"$cgroups/docker/cpuset.cpus"
	echo "$all_mems" >"$cgroups/docker/cpuset.mems"
	[[ ! -e $cgroups/cgroup.subtree_control ]] || echo +cpuset >"$cgroups/docker/cgroup.subtree_control"
	hold in_group "docker/$id" "$all_cpus" "$all_mems"
	code 1 "$numastow" bind --cpus "$second" nosuch
	has 'no container "nosuch"'
	code 1 "$numastow" bind --thread --cpus "$second" "${id:0:12}"
	has 'not the number of a process'
	moves "$numastow" migrate "${id:0:12}" all "$far"
	eq "a container's pages, migrated" "$(mib "$pid")" "$far:8 "
	moves "$numastow" bind --nodes "$far" "${id:0:12}"
	eq "a container's CPUs" "$(allowed_cpus "$pid")" "$(cat "/sys/devices/system/node/node$far/cpulist")"
	eq "its nodes and pages" "$(allowed_mems "$pid") $(mib "$pid")" "$far $far:8 "
	let_go
	eventually 10 rmdir "$cgroups/docker/$id"
	rmdir "$cgroups/docker"
}

# The kernel takes the copies of pages, and hugepages, from the nodes of the program that asks for them.
from_narrow_cpuset()
{
	local pool=/sys/devices/system/node/node$far/hugepages/hugepages-2048kB

	hold numactl -m 0
	in_group compat-narrow "$all_cpus" 0 "$numastow" migrate "$pid" 0 "$far" >"$vm_work/narrow.out" 2>&1 &
	wait $!
	eq "a program whose own cpuset has only node 0 moves pages to another" "$(mib "$pid")" "$far:8 " ||
		cat "$vm_work/narrow.out"
	in_group compat-narrow "$all_cpus" 0 "$numastow" hugepages set "$far" 2Mi=4 >"$vm_work/narrow.out" 2>&1 &
	wait $!
	eq "and makes hugepages there" "$(<"$pool/nr_hugepages")" 4 || cat "$vm_work/narrow.out"
	"$numastow" hugepages set "$far" 2Mi=0 >/dev/null
	let_go
}

case $VM_SHAPE in
v2-4n) far=2 second=1 many=3 all_cpus=0-7 all_mems=0-3 ;;
*) far=1 second=1 many=5 all_cpus=0-7 all_mems=0-1 ;;
esac
if [[ $VM_SHAPE == v2-4n ]]; then
	migrates
	confined
fi
threads
memory
unmanaged
containers
from_narrow_cpuset
vm_summary
