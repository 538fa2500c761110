#!/bin/bash
# A running container moves to another NUMA node: all that it has mapped, with its content, and cancelled or killed
# half way it is where the ledger says.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/repin.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
hook=$programs/numastow-hook

start_agent()
{
	"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 1s >"$vm_work/agent.log" 2>&1 &
	agent=$!
	eventually 20 grep -q 'is ready' "$vm_work/agent.log" || fail "the agent starts" "$(<"$vm_work/agent.log")"
}

# asked - has the program check its memory; leaves what it says in $said
asked()
{
	local n

	n=$(grep -c '^sum' "$vm_work/mover.out")
	kill -USR1 "$pid"
	more()
	{
		[[ $(grep -c '^sum' "$vm_work/mover.out") -gt $n ]]
	}
	eventually 30 more
	said=$(grep '^sum' "$vm_work/mover.out" | tail -n 1)
}

# where FIELD - the ledger's word on the container
where()
{
	"$numastow" ledger --json | jq -r ".containers[] | select(.id == \"mover\") | .$1"
}

cpus_as_in_ledger()
{
	[[ $(allowed_cpus "$pid") == "$(where cpus)" ]]
}

# consistent NAME - ledger, kernel and pages say the same; nothing else is promised
consistent()
{
	local node

	node=$(where mems)
	# The ledger is first, and the applier follows.
	eventually 60 cpus_as_in_ledger
	eq "$1: the kernel's CPUs are the ledger's" "$(allowed_cpus "$pid")" "$(where cpus)"
	eq "$1: so are its mems" "$(allowed_mems "$pid")" "$node"
	eq "$1: no other record is left" "$("$numastow" ledger --json | jq -c '[.containers[].id]')" '["mover"]'
	asked
	check "$1: the content is what it was" grep -q 'sum good' <<<"$said"
	echo "# $1: $said"
}

# The kernel's own balancing would take the work, and the proof, out of our hands.
echo 0 >/proc/sys/kernel/numa_balancing

### a container with memory that is in use all the time

mib=128
kb=$((mib * 1024))

start_agent
export HOOK=$hook
dir=$(bundle mover --args "holder --busy --anon $mib" --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive \
	--annotation numastow.io/memory=400Mi --annotation numastow.io/nodes=0-1)
runtime run --detach --pid-file "$dir/pid" --bundle "$dir" mover >"$vm_work/mover.out" 2>&1 </dev/null ||
	fail "the container starts" "$(<"$vm_work/mover.out")"
echo "$VM_RUNTIME" >"$dir/runtime"
pid=$(container_pid mover)
check "it has filled its memory" eventually 60 grep -q '^ready' "$vm_work/mover.out"
from=$(where mems)
to=$((1 - from))
within "its memory is on its node" "$(pages_on "$pid" "$from")" $kb $((kb + 40000))
asked
echo "# at rest: $said"

refuse "an unknown container" 'no container ghost' "$numastow" repin ghost
refuse "a NUMA node that is not there" '7' "$numastow" repin mover --to 7
eq "a dry run says where" "$("$numastow" repin mover --dry-run --json | jq -rs '.[0].to')" "$to"
eq "and changes nothing" "$(allowed_mems "$pid")" "$from"

### moved, while other hooks come and go

start plain
"$numastow" repin mover --to "$to" --batch 4Mi --pause 5ms >"$vm_work/repin.out" 2>&1 &
repin=$!
eventually 20 grep -q widened "$vm_work/repin.out"
during=0
while kill -0 "$repin" 2>/dev/null && ((during < 20)); do
	state plain | "$hook" apply && ((++during))
done
wait "$repin"
eq "it ends well" $? 0
sed 's/^/# /' "$vm_work/repin.out"
within "other hooks finished meanwhile" "$during" 1 20
asked
check "the content is what it was" grep -q 'sum good' <<<"$said"
echo "# while it moved: $said"
eq "it is on the other node now" "$(where mems)" "$to"
left=$(pages_on "$pid" "$from")
# A program's text is in the page cache, where others may map it, too: the kernel moves only what is one's own.
within "with all its mapped memory" "$left" 0 2048
within "which is as much as before" "$(pages_on "$pid" "$to")" $kb $((kb + 40000))
consistent "moved"
stop plain

### cancelled half way

"$numastow" repin mover --to "$from" --batch 1Mi --pause 50ms >"$vm_work/repin.out" 2>&1 &
repin=$!
eventually 60 grep -qE 'moving +[1-9]' "$vm_work/repin.out"
kill -INT "$repin"
wait "$repin"
eq "a cancelled repin says so" $? 130
alone()
{
	[[ $("$numastow" ledger --json | jq '.containers | length') == 1 ]]
}
eventually 100 alone
eq "it is back where it was" "$(where mems)" "$to"
consistent "cancelled"
within "its memory too" "$(pages_on "$pid" "$from")" 0 2048

### the agent killed half way

# moving - start a repin, and wait until it moves; it is refused while the agent still ends the one before
moving()
{
	"$numastow" repin mover --to "$from" --batch 1Mi --pause 50ms >"$vm_work/repin.out" 2>&1 &
	repin=$!
	until grep -qE 'moving +[1-9]' "$vm_work/repin.out"; do
		kill -0 "$repin" 2>/dev/null || {
			sed 's/^/# not yet: /' "$vm_work/repin.out"
			return 1
		}
		sleep 0.2
	done
}
eventually 60 moving
check "a repin after a cancelled one moves" grep -qE 'moving +[1-9]' "$vm_work/repin.out"
kill -KILL "$agent"
wait "$agent" 2>/dev/null
wait "$repin"
check "the client hears of it" grep -q '^numastow: ' "$vm_work/repin.out"
start_agent
eventually 60 alone
consistent "killed"
within "no memory is left elsewhere" "$(pages_on "$pid" "$((1 - $(where mems)))")" 0 2048

stop mover
alone_no_more()
{
	[[ $("$numastow" ledger --json | jq '.containers | length') == 0 ]]
}
check "nothing is left in the ledger" eventually 10 alone_no_more
kill "$agent"
wait
vm_summary
