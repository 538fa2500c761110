#!/bin/bash
# CPUs that the machine did not have at boot: containers have them with gc, with the next start, and at once where an
# agent runs; then they can be exclusive ones.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1-cpus|v2-cpus tests/vm/cpus-added.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
exclusive=(--annotation numastow.io/cpu-mode=exclusive)

# add CPU CORE - plug it into the socket of node 1. It is offline, as the kernel leaves it without a rule of udev.
add()
{
	qmp device_add "{\"driver\": \"max-x86_64-cpu\", \"socket-id\": 1, \"core-id\": $2, \"thread-id\": 0}" >/dev/null
	eventually 20 test -e "/sys/devices/system/cpu/cpu$1/online" || fail "CPU $1 is added"
}

# numbers - of a list with ranges, separated by commas
numbers()
{
	tr , '\n' | awk -F- '{ for (n = $1; n <= $NF; n++) print n }' | paste -sd ,
}

# has ID NUMBERS - for "eventually"
has()
{
	[[ $(cpus_of "$1" | numbers) == "$2" ]]
}

eq "at boot" "$(</sys/devices/system/cpu/present)" 0-4
want plain
want shared --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
want own "${exclusive[@]}" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0
# The container without a grant has all others.
others=$(seq 0 7 | grep -vx "$(record own cpus)" | paste -sd ,)

add 5 1
check "gc with an added CPU that is offline" "$numastow" gc
eq "it is given to no container" "$(cpus_of shared)" 4
online 5
check "gc" "$numastow" gc
eq "the shared container has it" "$(cpus_of shared)" 4-5
all_as_promised "a CPU was added"

add 6 2
online 6
want late "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=1
all_as_promised "the next start takes a CPU that was added"
eq "of three CPUs the shared container has the third" "$(cpus_of shared | grep -c '^[456]$')" 1
gone late

"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 600s >"$vm_work/agent.log" 2>&1 &
agent=$!
eventually 20 grep -q 'is ready' "$vm_work/agent.log" || fail "the agent starts" "$(<"$vm_work/agent.log")"
add 7 3
online 7
check "with an agent, the shared container has it at once" eventually 20 has shared 4,5,6,7
check "so has the one without a grant" eventually 20 has plain "$others"
all_as_promised "with an agent, a CPU was added" 20
want late "${exclusive[@]}" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
all_as_promised "with an agent, exclusive CPUs of the larger node" 20
kill "$agent"
wait "$agent"

gone late own shared plain
vm_summary
