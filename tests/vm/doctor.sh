#!/bin/bash
# numastow doctor on a real kernel: a clean machine has no problem and no advice; flags of cgroup v1, and settings that were
# changed, are found.
#
# usage: tests/vm/run v2|v1 tests/vm/doctor.sh
# shellcheck disable=SC2317 # functions are called by check
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow

# found RULE - whether doctor reports it; its text is in a file for the log
found()
{
	"$numastow" doctor --json >"$vm_work/found.json"
	jq -e --arg rule "$1" 'any(.findings[]; .rule == $rule)' "$vm_work/found.json" >/dev/null
}

"$numastow" doctor --level advice >"$vm_work/clean" 2>&1
eq "a clean machine has no problem" "$?" 0
eq "and no advice" "$(grep -cE '^(problem|advice)  ' "$vm_work/clean")" 0
sed 's/^/# /' "$vm_work/clean"

echo 1 >/proc/sys/vm/zone_reclaim_mode
check "zone_reclaim_mode is found" found zone-reclaim
echo 0 >/proc/sys/vm/zone_reclaim_mode
echo 4 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
check "overcommit of hugepages is found" found hugepages-overcommit
echo 0 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
if [[ $VM_SHAPE == v1* ]]; then
	cpuset=$(awk '$3 == "cgroup" && $4 ~ /cpuset/ { print $2; exit }' /proc/mounts)
	for flag in memory_spread_page memory_spread_slab; do
		if echo 1 >"$cpuset/cpuset.$flag"; then
			check "$flag is found" found "v1-$(tr _ - <<<"${flag#memory_}")"
			echo 0 >"$cpuset/cpuset.$flag"
		fi
	done
fi
vm_summary
