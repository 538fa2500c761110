#!/bin/bash
# Shared and exclusive CPUs have one owner at every moment: starts during a repin, two repins at once, the hook called
# twice, containers for which the hook never ran, sets that another tool changed. A checker takes samples meanwhile.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/together.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
exclusive=(--annotation numastow.io/cpu-mode=exclusive)

# again ID - start a container from its existing bundle
again()
{
	local dir=$vm_work/bundle/$1

	runtime run --detach --pid-file "$dir/pid" --bundle "$dir" "$1" >"$vm_work/$1.out" 2>&1 </dev/null || return 1
	echo "$VM_RUNTIME" >"$dir/runtime"
}

all_on()
{
	[[ $(cpus_of "$1") == 0-7 ]]
}

### the hook called twice, as hooks.d and CDI do

want plain
want own "${exclusive[@]}" --annotation numastow.io/cpus=2
off=$(cpus_of plain)
for _ in 1 2; do
	check "an unannotated container's hook again" "$HOOK" apply <<<"$(state plain)"
	check "and that of the exclusive one" "$HOOK" apply <<<"$(state own)"
done
eq "it is off the exclusive CPUs" "$(cpus_of plain)" "$off"
eq "one grant" "$("$numastow" ledger --json | jq -c '[.containers[].id]')" '["own"]'
all_as_promised "called twice"
gone own
eq "when all ends, it has all CPUs" "$(cpus_of plain)" 0-7

### a container for which the hook never ran

id=$(printf '%064d' 7)
path=/libpod_parent/libpod-$id
[[ $VM_INIT != systemd ]] || path=machine.slice:libpod:$id
HOOK='' start "$id" --cgroups-path "$path"
want own "${exclusive[@]}" --annotation numastow.io/cpus=2
check "gc" "$numastow" gc
eq "a container from before numastow is off exclusive CPUs" "$(cpus_of "$id")" "$(cpus_of plain)"
all_as_promised "with it"
gone own
check "gc" "$numastow" gc
eq "and has all again" "$(cpus_of "$id")" 0-7
gone "$id"

### starts during a repin

"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 5s >"$vm_work/agent.log" 2>&1 &
agent=$!
eventually 20 grep -q 'is ready' "$vm_work/agent.log" || fail "the agent starts" "$(<"$vm_work/agent.log")"
echo 0 >/proc/sys/kernel/numa_balancing

"$vm_checker" --watch >"$vm_work/watch.out" 2>&1 &
watch=$!
want mover --args "touch-memory --hold 128" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0-1
check "it has its memory" eventually 60 grep -q touched "$vm_work/mover.out"
from=$(record mover mems)
to=$((1 - from))
bundle old "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes="$from" >/dev/null
bundle new "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes="$to" >/dev/null
"$numastow" repin mover --to "$to" --batch 1Mi --pause 100ms >"$vm_work/repin.out" 2>&1 &
repin=$!
check "it is on its way" eventually 60 grep -q moving "$vm_work/repin.out"
refuse "a second repin at once is refused" 'being repinned' "$numastow" repin mover --to "$to"
for id in old new; do
	check "an exclusive container starts on the $id node meanwhile" again $id
done
wait $repin
eq "the repin ends well" $? 0
sed 's/^/# /' "$vm_work/repin.out" | tail -n 3
eq "the ledger has it on the new node" "$(record mover mems)" "$to"
eq "the kernel too: memory" "$(allowed_mems "$(container_pid mover)")" "$to"
eq "and CPUs" "$(cpus_of mover)" "$(record mover cpus)"
all_as_promised "moved" 10

### two that want the same CPUs, moved to each other's node

gone old new mover
want one "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=0-1
want two "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=0-1
for round in 1 2; do
	moves=()
	for id in one two; do
		"$numastow" repin $id --to $((1 - $(record $id mems))) >"$vm_work/repin.$id" 2>&1 &
		moves+=($!)
	done
	"$numastow" repin one --to "$(record two mems)" >/dev/null 2>&1
	wait "${moves[@]}"
	all_as_promised "repins at once, round $round" 10
done
gone one two

kill -TERM $watch
wait $watch
eq "at no moment did two containers have one CPU" $? 0 || sed 's/^/# /' "$vm_work/watch.out"
tail -n 1 "$vm_work/watch.out" | sed 's/^/# /'

### a set that another tool changes

want more "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=0-1
node=$(record more mems)
wider=$((node * 4))-$((node * 4 + 2))
echo "$wider" >"$(cgroup_dir "$(container_pid more)")/cpuset.cpus"
adopted()
{
	[[ $(record more cpus) == "$wider" ]]
}
check "the agent adopts a third CPU" eventually 20 adopted
check "it is moved" "$numastow" repin more --to $((1 - node))
eq "and has three" "$(tr , '\n' <<<"$(record more cpus)" | awk -F- '{ n += NF == 2 ? $2 - $1 + 1 : 1 } END { print n }')" 3
all_as_promised "adopted and moved" 10
gone more
check "in the end the one without a grant has all" eventually 20 all_on plain

kill "$agent"
wait "$agent"
gone plain
vm_summary
