#!/bin/bash
# Drains of containers whose processes do not run, because their cgroup is frozen, and that have no memory and no
# process left to use: they stay or end as any other container, or the drain says in one line that they are frozen.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/frozen.sh
#
# shellcheck disable=SC2154 # set by the library
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

# The kernel's own balancing would move pages as well.
echo 0 >/proc/sys/kernel/numa_balancing
on1=(--annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1)

# freezer PID - the folder of a process's cgroup that can be frozen
freezer()
{
	cgroup_dir "$1" freezer
}

# freeze DIR, thaw DIR - a cgroup of v2, or of the freezer's hierarchy
freeze()
{
	if [[ $VM_CGROUP == v2 ]]; then
		echo 1 >"$1/cgroup.freeze"
		eventually 60 grep -q '^frozen 1' "$1/cgroup.events"
	else
		echo FROZEN >"$1/freezer.state"
		eventually 60 grep -q FROZEN "$1/freezer.state"
	fi
}

thaw()
{
	if [[ $VM_CGROUP == v2 ]]; then
		echo 0 >"$1/cgroup.freeze"
	else
		echo THAWED >"$1/freezer.state"
	fi
}

ended()
{
	[[ ! -e /proc/$1/status ]] || grep -q '^State:.[ZX]' "/proc/$1/status"
}

dimm_online dimm1 512 1 movable

### one that is frozen and full stays, one that is frozen and has drain=evict ends

hold stays "--anon 48" "${on1[@]}" --annotation numastow.io/memory=96Mi
stays=$pid
dir=$(cgroup_dir "$stays" memory)
if [[ $VM_CGROUP == v2 ]]; then
	cat "$dir/memory.current" >"$dir/memory.max"
	echo 1 >"$dir/pids.max"
else
	cat "$dir/memory.usage_in_bytes" >"$dir/memory.limit_in_bytes"
	echo 1 >"$(cgroup_dir "$stays" pids)/pids.max"
fi
hold ends "--anon 32" "${on1[@]}" --annotation numastow.io/memory=64Mi --annotation numastow.io/drain=evict
ends=$pid
within "the one that stays has memory on the DIMM" "$(in_dimm "$stays" anon)" 16384 100000
within "the one that ends, too" "$(in_dimm "$ends" anon)" 8192 100000
freeze "$(freezer "$stays")"
freeze "$(freezer "$ends")"
drains_to "the memory of frozen containers leaves" 0 "done" --device "$dimm_device"
check "the one with drain=evict has ended" ended "$ends"
eq "and has no grant" "$(record ends state)" ""
check "the other one has not" grep -q '^State:' "/proc/$stays/status"
eq "nothing of it is on the DIMM" "$(in_dimm "$stays" anon)" 0
thaw "$(freezer "$stays")"
sum_good "its memory is what it was" stays
gone ends stays

### a cgroup above is frozen: on v1 nothing in it can end

"$numastow" online --zone movable "$dimm_blocks" >/dev/null || fail "the blocks go online again"
if [[ $VM_INIT == systemd ]]; then
	path=machine-outer.slice:test:inner
else
	path=/outer/inner
fi
hold inner "--anon 32" "${on1[@]}" --annotation numastow.io/memory=64Mi --annotation numastow.io/drain=evict \
	--cgroups-path "$path"
inner=$pid
outer=$(freezer "$inner")
while [[ ! ${outer##*/} =~ ^(machine-)?outer ]]; do
	outer=${outer%/*}
done
freeze "$outer"
if [[ $VM_CGROUP == v2 ]]; then
	drains_to "a container below a frozen cgroup ends" 0 "done" --device "$dimm_device"
else
	drains_to "a container below a frozen cgroup does not end" 1 failed --device "$dimm_device"
	echo "# $(drain_said .message) $(<"$vm_work/drain.err")"
	check "the drain names it, and the frozen cgroup" grep -Eq 'inner.* frozen.*/outer' <(drain_said .message)
	eq "the DIMM is online again" "$(dimm_states)" "4 online"
	want other "${on1[@]}"
	check "others start and end meanwhile" stop other
	thaw "$outer"
	check "it ends when that is thawed" eventually 60 ended "$inner"
	drains_to "and the memory leaves" 0 "done" --device "$dimm_device"
fi
check "it has ended" ended "$inner"
thaw "$outer"
gone inner

vm_summary
