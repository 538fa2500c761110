#!/bin/bash
# Measures drains and moving a program to another NUMA node, against the system's tools (chmem, migratepages, a write to
# cpuset.mems), in a virtual machine with several NUMA nodes and removable memory.
#
# usage: tests/bench/drain-vm.sh [ROUNDS]         boots it (ROUNDS: 5); about two minutes a round under emulation
#
# PART=move or PART=drain in the environment: only that; MIB: what the program has (1024). Prints lines of fields with tabs between, for tests/bench/run:
#   drain TOOL RESULT US MIB_IN_USE      one drain of the DIMM, from the command's start to its end
#   step ROUND STEP US                   when numastow came to that step of its own drain, from its beginning
#   move TOOL KIB US PAUSE_US STEPS_US   a program moved; its longest pause meanwhile; of numastow what lies
#                                        between "widened" and "narrowed" (0: the tool has no such steps)
#   rest US PAUSE_US                     the same program for that long, without being moved
#
# shellcheck disable=SC2119,SC2154 # start_agent takes options; set in drain-lib.sh
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")

if [[ ! ${NUMASTOW_VM:-} ]]; then
	exec "$root/tests/vm/run" --timeout 2400 --quiet --env ROUNDS="${1:-5}" --env PART="${PART:-}" --env MIB="${MIB:-1024}" v2 "$here/drain-vm.sh"
fi

# shellcheck source-path=SCRIPTDIR source=../vm/drain-lib.sh
. "$root/tests/vm/drain-lib.sh"

rounds=${ROUNDS:-5}
MIB=${MIB:-1024}

# What goes wrong, and what the checks say, is for people.
exec 3>&1 >&2

# The kernel's own balancing moves pages, too.
echo 0 >/proc/sys/kernel/numa_balancing

# tell FIELD... - a line for the table
tell()
{
	local IFS=$'\t'
	echo "$*" >&3
}

# took BEGAN [END] - microseconds between two EPOCHREALTIMEs; without END until now
took()
{
	local end=${2:-$EPOCHREALTIME}
	echo $((${end/./} - ${1/./}))
}

# give_up WHY
give_up()
{
	echo "drain-vm.sh: $*"
	vm_stop_all
	exit 1
}

### a program that moves, on a machine that is quiet otherwise

# pause - sets paused, the longest pause that "mover" has seen since it was asked last, us
pause()
{
	paused=$(asked mover)
	[[ $paused == "sum good"* ]] || give_up "what mover holds is not what it was: $paused"
	paused=${paused##*pause }
	paused=${paused% us}
}

# The time of each step: numastow prints a line at each.
by_numastow()
{
	local line widened='' narrowed=''
	while read -r line; do
		[[ $line == widened* ]] && widened=$EPOCHREALTIME
		[[ $line == narrowed* ]] && narrowed=$EPOCHREALTIME
	done < <("$numastow" repin mover --to "$2" 2>&1)
	[[ $narrowed ]] && steps=$(took "$widened" "$narrowed")
}

by_migratepages()
{
	migratepages "$pid" "$1" "$2"
}

by_cpuset()
{
	echo "$2" >"$cpuset/cpuset.mems"
}

# move TOOL FROM TO
move()
{
	local tool=$1 from=$2 to=$3 had began us
	steps=0
	had=$(pages_on "$pid" "$to")
	pause
	began=$EPOCHREALTIME
	"by_$tool" "$from" "$to" || give_up "$tool does not move mover from $from to $to"
	us=$(took "$began")
	pause
	tell move "$tool" $(($(pages_on "$pid" "$to") - had)) "$us" "$paused" "$steps"
}

measure_moves()
{
	local round i tool began us
	local -a tools=(numastow migratepages cpuset)

	start_agent
	hold mover "--anon $MIB" --annotation numastow.io/cpus=1 --annotation "numastow.io/memory=$((MIB + 64))Mi" \
		--annotation numastow.io/nodes=0 || give_up "mover does not start"
	cpuset=$(cgroup_dir "$pid")
	"$numastow" repin mover --to 1 --dry-run >/dev/null
	migratepages "$pid" 1 0
	for ((round = 1; round <= rounds; round++)); do
		pause
		began=$EPOCHREALTIME
		sleep 5
		us=$(took "$began")
		pause
		tell rest "$us" "$paused"
		for ((i = 0; i < ${#tools[@]}; i++)); do
			tool=${tools[(round + i) % ${#tools[@]}]}
			move "$tool" 0 1
			move "$tool" 1 0
		done
	done
	stop mover
	kill "$agent"
	wait "$agent" 2>/dev/null
}

### a DIMM in use, on a busy machine: numastow by itself, without an agent

# occupy - what "one" holds goes into the DIMM: to the other node, and back, while everybody else stands still. What it
# reads of its file is read anew. Sets used, the MiB of the DIMM that are in use: nothing else is movable memory.
occupy()
{
	kill -STOP "$pid" "${load_pid[@]}"
	migratepages "$pid" 1 0 && migratepages "$pid" 0 1
	kill -CONT "$pid" "${load_pid[@]}"
	dd if="$(vm_rootfs)/data/one" iflag=nocache count=0 status=none
	sleep 2
	used=$(awk '$1 == "Node" { movable = $2 == "1," && $4 == "Movable" }
		movable && $1 == "pages" { free = $3 }
		movable && $1 == "present" { print int(($2 - free) / 256); exit }' /proc/zoneinfo)
}

# drain_by_numastow ROUND, drain_by_chmem: both have five minutes. Set result.
drain_by_numastow()
{
	drain --device "$dimm_device" --block-timeout 60s --timeout 300s && result=success || result=failed
}

drain_by_chmem()
{
	local rc=0
	timeout --signal=INT 300 chmem -d -b "$dimm_blocks" >"$vm_work/chmem.out" 2>&1 || rc=$?
	case $rc in
	0) result=success ;;
	64) result=partial ;;
	*) result=failed ;;
	esac
}

# take_off TOOL ROUND
take_off()
{
	local began us
	occupy
	began=$EPOCHREALTIME
	"drain_by_$1"
	us=$(took "$began")
	tell drain "$1" "$result" "$us" "$used"
	if [[ $1 == numastow ]]; then
		jq -r --arg round "$2" '["step", $round, .step, (.elapsed_ns / 1000 | floor)] | @tsv' "$vm_work/drain.out" >&3
		[[ $result == success ]] || tail -n 3 "$vm_work/drain.err"
	elif [[ $result != success ]]; then
		tail -n 3 "$vm_work/chmem.out"
	fi
	"$numastow" online --zone movable "$dimm_blocks" >/dev/null || give_up "the DIMM does not go online again"
}

measure_drains()
{
	local round i p node
	local -a load_pid=() tools=(numastow chmem)
	data_disk 384M
	dimm_online dimm1 1024 1 movable
	hold one "--anon 256 --cache /data/one:48 --shared /tmp/one:16" --annotation numastow.io/cpus=1 \
		--annotation numastow.io/memory=400Mi --annotation numastow.io/nodes=1 || give_up "one does not start"
	for node in 0 1; do
		numactl --cpunodebind=$node --preferred=$node "$vm_progs/load" --mib 48 --seed $node "$(vm_rootfs)/data" \
			>"$vm_work/load$node.out" 2>&1 &
		load_pid+=($!)
	done
	"$numastow" drain --device "$dimm_device" --dry-run >/dev/null || give_up "the DIMM cannot be drained"
	chmem --version >/dev/null

	for ((round = 1; round <= rounds; round++)); do
		for i in 0 1; do
			take_off "${tools[(round + i) % 2]}" $round
		done
		for p in "${load_pid[@]}"; do
			kill -0 "$p" 2>/dev/null || give_up "the load has ended: $(tail -n 2 "$vm_work"/load?.out)"
		done
	done
	[[ $(asked one) == "sum good"* ]] || give_up "what one holds is not what it was"
	kill "${load_pid[@]}"
	wait "${load_pid[@]}"
	vm_stop_all
	umount "$(vm_rootfs)/data"
}

[[ ${PART:-} == drain ]] || measure_moves
[[ ${PART:-} == move ]] || measure_drains
((vm_failed == 0))
