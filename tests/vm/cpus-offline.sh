#!/bin/bash
# CPUs go offline and come back: containers lose them and have them again, with gc, with the next start, and at once
# where an agent runs; and when all CPUs of an exclusive container are offline, it runs on nobody else's.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/cpus-offline.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
exclusive=(--annotation numastow.io/cpu-mode=exclusive)

# v1: processes that the kernel has put into the cgroup above, where the test's own are not
above()
{
	local dir=/sys/fs/cgroup/cpuset/numastow-test

	[[ ! -e $dir/cgroup.procs ]] || cat "$dir/cgroup.procs"
}

# has ID CPUS - for "eventually"
has()
{
	[[ $(cpus_of "$1") == "$2" ]]
}

# never_has ID CPU - for a second, in which the kernel's worker follows a CPU that came online
never_has()
{
	for _ in {1..10}; do
		! cpus_of "$1" | tr , '\n' | awk -F- -v cpu="$2" '$1 <= cpu && cpu <= ($2 == "" ? $1 : $2) { found = 1 }
			END { exit !found }' || return 1
		sleep 0.1
	done
}

want plain
want shared --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0

### one CPU of many

offline 2
check "gc with a CPU offline" "$numastow" gc
all_as_promised "a CPU is offline"
want own "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=1
own=$(record own cpus)
eq "an exclusive container starts on the other node" "$(cpus_of own)" "$own"
want late --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0
eq "a shared one starts on what there is" "$(cpus_of late)" 0-1,3
online 2
check "gc when it is back" "$numastow" gc
eq "it is everybody's again: of one from before" "$(cpus_of shared)" 0-3
eq "of one from meanwhile" "$(cpus_of late)" 0-3
all_as_promised "it is back"
gone late

offline 1
want late --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0
online 1
want next "${exclusive[@]}" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
all_as_promised "the next start gives it back"
gone late next

# No run has seen it gone. On v1 the kernel has taken it out of every set nevertheless.
offline 2
online 2
want next "${exclusive[@]}" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
eq "one that was offline for a moment comes back with the next start" "$(cpus_of shared)" 0-3
all_as_promised "it was offline for a moment"
gone next
offline 2
online 2
want late --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
eq "also with one that takes no CPU from others" "$(cpus_of shared)" 0-3
gone late

### CPUs of an exclusive container

first=${own%%[-,]*}
last=${own##*[-,]}
offline "$first"
all_as_promised "one of two own CPUs is offline" 5
eq "the container has the other" "$(cpus_of own)" "$last"
online "$first"
check "gc" "$numastow" gc
eq "and both again" "$(cpus_of own)" "$own"

# What starts while all exclusive CPUs are offline does not get them when they come back, also before any run.
offline "$first" "$last"
want meanwhile
want narrow --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
online "$last"
check "a container without a grant that started meanwhile does not get the CPU" \
	never_has meanwhile "$last"
check "nor does a shared one" never_has narrow "$last"
online "$first"
check "gc" "$numastow" gc
all_as_promised "own CPUs were offline while others started"
gone meanwhile narrow

want neighbour "${exclusive[@]}" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0
offline "$first" "$last"
said=$("$numastow" gc 2>&1)
check "gc says whose CPUs are all offline" grep -q "container own: CPUs $own are all offline" <<<"$said"
all_as_promised "all of them are offline"
check "the container runs on shared CPUs" test "$(cpus_of own)" != "$own"
eq "no process is left to the cgroup above" "$(above)" ""
online "$first"
check "gc" "$numastow" gc
eq "the first that is back is its own" "$(cpus_of own)" "$first"
online "$last"
check "gc" "$numastow" gc
eq "then both" "$(cpus_of own)" "$own"
all_as_promised "they are back"
eq "nobody has a CPU too few" "$(cpus_of shared)" "$(list=$(record neighbour cpus); seq 0 3 | grep -vx "$list" | paste -sd , | sed 's/0,1,2/0-2/;s/1,2,3/1-3/;s/2,3/2-3/;s/0,1/0-1/')"

### at once, where an agent runs

"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 600s >"$vm_work/agent.log" 2>&1 &
agent=$!
eventually 20 grep -q 'is ready' "$vm_work/agent.log" || fail "the agent starts" "$(<"$vm_work/agent.log")"
before=$(cpus_of plain)
offline 3 "$first" "$last"
all_as_promised "with an agent, CPUs are offline" 20
check "the container whose CPUs are offline runs on shared CPUs" eventually 20 sh -c \
	"! grep -q 'Cpus_allowed_list:.$own$' /proc/$(container_pid own)/status"
eq "no process is left to the cgroup above" "$(above)" ""
online 3 "$first" "$last"
check "all are back: the container without a grant has them" eventually 20 has plain "$before" ||
	sed "s/^/# /;\$a# it has $(cpus_of plain), not $before" "$vm_work/agent.log"
check "the exclusive one as well" eventually 20 has own "$own"
all_as_promised "with an agent, CPUs are back" 20
offline 2 "$first"
online 2 "$first"
check "offline for a moment, no set is taken for another tool's" eventually 20 has own "$own"
all_as_promised "with an agent, CPUs were offline for a moment" 20
# Several at a time, in any order, while the agent is at work.
RANDOM=1
lost=
for round in {1..8}; do
	# shellcheck disable=SC2207 # CPUs
	some=($(printf '%s\n' 1 2 3 6 7 "$first" "$last" | shuf -n 3 --random-source=<(yes "$RANDOM")))
	offline "${some[@]}"
	((round % 2)) || sleep 0.5
	online "${some[@]}"
	eventually 20 has plain "$before" && eventually 20 has own "$own" && continue
	lost="round $round: CPUs ${some[*]} went and came, and plain has $(cpus_of plain), own $(cpus_of own)"
	break
done
sleep 1 # the kernel's worker may take CPUs out of sets that look right
eventually 20 has plain "$before" || lost="at the end plain has $(cpus_of plain)"
eq "several went and came, $round times: none is lost" "$lost" ""
all_as_promised "with an agent, several were offline" 20
check "nothing was adopted" test "$("$numastow" why --json | jq '[.events[] | select(.event == "adopted")] | length')" = 0
kill "$agent"
wait "$agent"

gone own neighbour shared plain
vm_summary
