#!/bin/bash
# A scheduler, an agent and the hook on one NUMA kernel: what was reserved is what a container gets, and the
# scheduler knows; what changes behind our back is adopted or put back; memory that comes is reported.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/fleet.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
hook=$programs/numastow-hook
Mi=$((1 << 20))

start_scheduler()
{
	"$programs/numastow-scheduler" --data "$vm_work/scheduler" --metrics '' --stale-after 3s \
		>"$vm_work/scheduler.log" 2>&1 &
	scheduler=$!
	eventually 20 grep -q 'is active' "$vm_work/scheduler.log" || fail "the scheduler starts" "$(<"$vm_work/scheduler.log")"
}

# start_agent [OPTION...]
start_agent()
{
	: >"$vm_work/agent.log"
	"$programs/numastow-agent" --node m1 --scheduler 127.0.0.1:7200 --metrics '' --usage-interval 1s "$@" \
		>"$vm_work/agent.log" 2>&1 &
	agent=$!
	eventually 20 grep -q 'is ready' "$vm_work/agent.log" || fail "the agent starts" "$(<"$vm_work/agent.log")"
}

# not_started NAME PATTERN ID OPTION... - the hook refuses it, with a reason that is kept
not_started()
{
	local name=$1 pattern=$2
	shift 2
	if start "$@"; then
		fail "$name" "it started"
	else
		refused_for "$1" "$pattern" && ok "$name"
	fi
}

refused_for()
{
	local why
	why=$("$numastow" why "$1")
	grep -qE -e "$2" <<<"$why" || fail "why $1" "$why"
}

# All that the scheduler hears of this machine: one JSON object a line.
start_watch()
{
	"$numastow" watch --json m1 >"$vm_work/watch" &
	watch=$!
}

# known FILTER - the machine as the scheduler knows it now, through jq
known()
{
	grep '"node": *{' "$vm_work/watch" | tail -n 1 | jq -r ".node | $1"
}

# comes_to_know NAME FILTER - within a few seconds
comes_to_know()
{
	knows()
	{
		[[ $(known "$1") == true ]]
	}
	if eventually 15 knows "$2"; then
		ok "$1"
	else
		fail "$1" "not true: $2" "$(known .)" "$(tail -n 5 "$vm_work/agent.log")"
	fi
}

# field TEXT NAME - of what `numastow place --json` printed
field()
{
	jq -r ".reservations[0].$2" <<<"$1"
}

start_scheduler
start_agent
start_watch
comes_to_know "the machine is known" '.report.numa_nodes | length == 2'
# A first report may come before the agent has read everything.
comes_to_know "with its CPUs and memory" "[.report.numa_nodes[] | .cpus, .memory_total] | map(tostring) | join(\" \") == \"$(
	for n in 0 1; do
		cat "/sys/devices/system/node/node$n/cpulist"
		awk '/MemTotal/ { printf "%.0f\n", $4 * 1024 }' "/sys/devices/system/node/node$n/meminfo"
	done | paste -sd ' ')\""
refuse "a second agent does not start" 'another agent|pid' "$programs/numastow-agent" --node m1 --metrics ''

### a reservation and its container

export HOOK=$hook
placed=$("$numastow" place --confirmed --json --name web cpus=2 cpu-mode=exclusive memory=256Mi \
	hugepages-2Mi=16Mi nodes=1) || fail "a placement"
annotation=$(field "$placed" annotation)
eq "the placement is on the NUMA node that was asked for" "$(field "$placed" numa_nodes)" 1
comes_to_know "the machine holds it" \
	"any(.report.reservations[]; . == \"${annotation%%:*}\") and .report.numa_nodes[1].cpus_free == 2"
check "a container with the annotation starts" start web --annotation "numastow.io/reservation=$annotation"
pid=$(container_pid web)
eq "on the reserved node's CPUs, two of them" "$(allowed_cpus "$pid")" "$("$numastow" ledger --json | jq -r '.containers[0].cpus')"
within "which are node 1's" "$(allowed_cpus "$pid" | cut -d- -f1)" 4 7
eq "with its memory" "$(allowed_mems "$pid")" 1
eq "and its hugepages" "$(pool 1 2048)" 8
comes_to_know "the scheduler knows the container" \
	'any(.report.containers[]; .id == "web" and .state == "active" and .exclusive and .numa_nodes == "1")'
comes_to_know "and counts it once" \
	".report.numa_nodes[1] | .cpus_free == 2 and .memory_promised == $((256 * Mi)) and .hugepages[0].promised == 8"
eq "its reservation is bound to it" "$("$numastow" reservations --json | jq -r '.reservations[0] | .state + " " + .container')" "bound web"

not_started "a forged reservation is refused" 'there is no 0123456789abcdef' \
	forged --annotation numastow.io/reservation=0123456789abcdef:0@m1
not_started "so is one that another container has" 'reservation' thief --annotation "numastow.io/reservation=$annotation"
not_started "and one of another machine" 'm2' lost --annotation numastow.io/reservation=fedcba9876543210:1@m2
short=$("$numastow" place --confirmed --annotation --lifetime 8s cpus=1)
sleep 9
not_started "and one that has run out" 'expired' late --annotation "$short"
refuse "what does not fit is refused with the reason" 'node 1 has 2 of 4 free' "$numastow" place cpus=3 nodes=1

### the agent dies, the scheduler dies; the container lives on

before=$(cat "$(cgroup_dir "$pid")"/cpuset.{cpus,mems})
kill -KILL "$agent"
wait "$agent" 2>/dev/null
start_agent
eq "nothing has changed for the container" "$(cat "$(cgroup_dir "$pid")"/cpuset.{cpus,mems})" "$before"
comes_to_know "the scheduler knows it still" 'any(.report.containers[]; .id == "web" and .drift == "none")'
kill -KILL "$scheduler" "$watch"
wait "$scheduler" "$watch" 2>/dev/null
start_scheduler
start_watch
comes_to_know "the agent has found it" '.state == "ready" and any(.report.containers[]; .id == "web")'
eq "the reservation was not lost" "$("$numastow" reservations --json | jq -r '.reservations[] | .annotation')" "$annotation"

### behind our back

start plain
plain=$(container_pid plain)
off_it()
{
	[[ $(allowed_cpus "$plain") == "$1" ]]
}
mine=$(allowed_cpus "$pid")
rest=$([[ $mine == 4-5 ]] && echo 0-3,6-7 || echo 0-5)
check "a container without annotations is off the exclusive CPUs" eventually 15 off_it "$rest"
free=$([[ $mine == 4-5 ]] && echo 6-7 || echo 4-5)
check "runc update to other CPUs" runtime update --cpuset-cpus "$free" web
comes_to_know "what fits is adopted" "any(.report.containers[]; .id == \"web\" and .drift == \"adopted\" and .cpus == \"$free\")"
eq "it runs there" "$(allowed_cpus "$pid")" "$free"
start other --annotation numastow.io/cpus=1 --annotation numastow.io/cpu-mode=exclusive \
	--annotation numastow.io/memory=16Mi --annotation numastow.io/nodes=1
other_cpu=$(allowed_cpus "$(container_pid other)")
runtime update --cpuset-cpus "$other_cpu,$free" web
comes_to_know "what does not fit is put back" "any(.report.containers[]; .id == \"web\" and .drift == \"restored\")"
eq "it runs where it did" "$(allowed_cpus "$pid")" "$free"
runtime update --cpuset-cpus "$other_cpu,$free" web
comes_to_know "once; then it is left and reported" "any(.report.containers[]; .id == \"web\" and .drift == \"refused\")"
sleep 2
eq "left means left" "$(allowed_cpus "$pid" | tr , '\n' | sort | paste -sd,)" "$(tr , '\n' <<<"$other_cpu,$free" | sort | paste -sd,)"
eq "all is counted" "$(known '.report.counters | [.adopted, .restored, .refused]' | jq -c .)" '[1,1,1]'
stop other
stop plain

### capacity that changes

set_pool 0 2048 5
comes_to_know "a pool changed by hand is seen" '.report.numa_nodes[0].hugepages[0] | .total == 5 and .added == 0'
set_pool 0 2048 0
total=$(known '.report.numa_nodes[1].memory_total')
dimm_add extra 512 1 >/dev/null
eventually 10 test -n "$(blocks_of 1 offline)"
for block in $(blocks_of 1 offline); do
	echo online_movable >"/sys/devices/system/memory/$block/state"
done
comes_to_know "memory added to node 1 is reported" \
	".report.numa_nodes[1].memory_total > $total + $((400 * Mi)) and .report.numa_nodes[1].blocks.removable >= 4"

### the end

stop web
comes_to_know "what it had is free again" \
	'.report.containers == [] and all(.report.numa_nodes[]; .memory_promised == 0) and .report.numa_nodes[1].cpus_free == 4'
eventually 10 sh -c "'$numastow' reservations | grep -q 'no reservations'"
eq "no reservation is left" "$("$numastow" reservations)" 'There are no reservations.'
eq "no hugepage is left" "$(pool 0 2048)+$(pool 1 2048)" 0+0
"$numastow" place --confirmed cpus=1 memory=64Mi >/dev/null
check "a fence revokes what nobody took" "$numastow" fence m1 0-1 --revoke
refuse "nothing is placed behind it" 'fenced' "$numastow" place cpus=1
not_started "nor on the machine itself" 'fenced' behind --annotation numastow.io/cpus=1
check "a fence goes" "$numastow" unfence m1 0-1
check "and the machine takes containers again" start after --annotation numastow.io/cpus=1
stop after

### observing

kill "$agent"
wait "$agent"
start_agent --mode observe
start watched --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=0
pid=$(container_pid watched)
runtime update --cpuset-cpus 5 watched
kept=$(allowed_cpus "$pid")
check "it says what it would do" eventually 10 grep -q 'in mode enforce this would be done' "$vm_work/agent.log"
sleep 2
eq "and does not" "$(allowed_cpus "$pid")" "$kept"
stop watched

kill "$watch" "$agent" "$scheduler"
wait
vm_summary
