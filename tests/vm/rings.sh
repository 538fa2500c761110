#!/bin/bash
# Workers of an io_uring: the kernel gives each new one the CPUs that the cpuset had when the ring was made. In a container
# that has since left CPUs which another one has for itself, they may run on these, until gc or the agent has looked.
#
# usage: tests/vm/run --env VM_RUNTIME=crun v2 tests/vm/rings.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
export HOOK=$programs/numastow-hook

# ring ID [OPTION...] - start a container whose program has a ring
ring()
{
	want "$1" --args "uring /tmp/fifo" "${@:2}"
	eventually 20 grep -q ready "$vm_work/$1.out"
}

# more ID - have its ring make one more worker
more()
{
	local before
	before=$(wc -l <"$vm_work/$1.out")
	kill -USR1 "$(container_pid "$1")"
	eventually 20 [ "$(wc -l <"$vm_work/$1.out")" -gt "$before" ] &&
		eventually 20 has_workers "$1" "$before"
}

has_workers()
{
	[[ $(cat "/proc/$(container_pid "$1")"/task/*/comm | grep -c '^iou-wrk') -ge $2 ]]
}

# outside ID LIST - how many of its threads may run on a CPU that LIST lacks
outside()
{
	local task list n=0

	for task in "/proc/$(container_pid "$1")"/task/*; do
		list=$(sed -n 's/^Cpus_allowed_list:\t//p' "$task/status")
		[[ ! $(comm -23 <(numbers "$list" | sort) <(numbers "$2" | sort)) ]] || n=$((n + 1))
	done
	echo $n
}

none_outside()
{
	[[ $(outside "$1" "$2") == 0 ]]
}

# workers_everywhere ID LIST - all its workers may run on all these CPUs
workers_everywhere()
{
	local task

	for task in "/proc/$(container_pid "$1")"/task/*; do
		grep -q '^iou-wrk' "$task/comm" || continue
		grep -qx "Cpus_allowed_list:	$2" "$task/status" || return 1
	done
}

all=$(allowed_cpus $$)
ring plain
ring placed --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
# On both nodes: on Linux 6.1 a worker has CPUs only of the node on which it was asked for.
for node in 0 1; do
	check "a container gets CPUs for itself" start own$node --annotation numastow.io/cpus=3 \
		--annotation numastow.io/cpu-mode=exclusive --annotation numastow.io/nodes=$node
done
plain=$(cpus_of plain) placed=$(cpus_of placed)
check "the others have left them" [ "$plain+$placed" != "$all+4-7" ]

check "a ring makes a worker" more plain
check "another one, too" more placed
# Otherwise this kernel needs none of this, and the rest shows nothing.
check "they may run on CPUs that their containers have left" \
	[ "$(outside plain "$plain")+$(outside placed "$placed")" = 1+1 ]
check "numastow gc says so" grep -q 'threads of io_uring .*: 2, which now may not' <("$numastow" gc)
eq "and they may not any more" "$(outside plain "$plain")+$(outside placed "$placed")" 0+0
eq "a second one finds none" "$("$numastow" gc | grep -c io_uring)" 0

"$programs/numastow-agent" >"$vm_work/agent.out" 2>&1 &
agent=$!
check "an agent begins" eventually 60 grep -q . /run/numastow/agent.lock
for _ in 1 2 3; do
	check "a ring makes a worker" more plain
	check "an agent does the same" eventually 120 none_outside plain "$plain"
done
eq "it says so once" "$(grep -c 'threads of io_uring might run outside' "$vm_work/agent.out")" 1

check "the exclusive containers end" eval 'stop own0 && stop own1'
check "all workers may run everywhere again" eventually 60 workers_everywhere plain "$all"
kill $agent
wait $agent
stop placed
stop plain

vm_summary
