#!/bin/bash
# The firmware's tables of a real guest, beside what its kernel made of them; the order of fallback beside the kernel's log.
#
# usage: tests/vm/run v2-hmat tests/vm/firmware.sh
#        tests/vm/run --append numa=off v2-hmat tests/vm/firmware.sh
. "$(dirname "$0")/lib.sh"

numastow=${NUMASTOW_PROGRAMS:-$vm_root/build/release}/numastow

# log_fallback - "0: 0 1 2" for each node, as the kernel has printed them at boot
log_fallback()
{
	dmesg | sed -nE 's/.*Fallback order for Node ([0-9]+: [0-9 ]+)$/\1/p' | sed 's/ *$//' | sort -u
}

# kernel_tiers - "NODE TIER" for each node
kernel_tiers()
{
	local tier range

	for tier in /sys/devices/virtual/memory_tiering/memory_tier*; do
		for range in $(tr , ' ' <"$tier/nodelist"); do
			seq -f "%g ${tier##*memory_tier}" "${range%-*}" "${range#*-}"
		done
	done | sort -n
}

firmware()
{
	"$numastow" topology --firmware --json | jq -c "$1"
}

# A kernel that does not use the tables: what it has instead is named.
if grep -qw numa=off /proc/cmdline; then
	eq "the kernel disagrees with the firmware" "$("$numastow" topology --firmware --quiet; echo $?)" 4
	eq "tables" "$(firmware '[.tables[].state]')" '["read","read","read"]'
	eq "the node of each domain" "$(firmware '[.domains[] | [.domain, .node]]')" '[[0,0],[1,0],[2,0]]'
	eq "what it has instead" "$(firmware '.findings | unique')" "$(jq -nc '[
		"domains 0 and 1 are both node 0", "domains 0 and 2 are both node 0",
		"node 0: HMAT has a memory-side cache of level 1, the kernel has none",
		"node 0: HMAT has its initiator, the kernel shows none"]')"
	vm_summary
fi
check "the kernel agrees with the firmware" "$numastow" topology --firmware
eq "tables" "$(firmware '[.tables[].state]')" '["read","read","read"]'
eq "the node of each domain" "$(firmware '[.domains[] | [.domain, .node, .cpus]]')" '[[0,0,"0-3"],[1,1,"4-7"],[2,2,""]]'
eq "SLIT" "$(firmware '[.distances[].distance]')" '[10,21,28,21,10,17,28,17,10]'
eq "HMAT's latencies" "$(firmware '[.hmat[] | select(.what == "access latency").value]')" '[80,140,300,140,80,200]'
eq "a memory-side cache" "$(firmware '.memory_side_caches[0].size')" 67108864
eq "which the kernel shows, too" "$("$numastow" topology --json | jq '.nodes[2].memory_side_caches[0].size')" 67108864
eq "the nearest initiator of node 2" "$("$numastow" topology --json | jq -c '.nodes[2].access[0] | [.initiators, .read_latency_ns]')" \
	'["1",200]'
measured=$("$numastow" measure --size 1Mi --runs 1 --time 1ms --latency --json)
eq "measure shows HMAT beside SLIT, for each pair" \
	"$(jq -c '[.pairs[] | [.from, .to, .distance, .hmat_latency_ns]]' <<<"$measured")" \
	'[[0,0,10,80],[0,1,21,140],[0,2,28,300],[1,0,21,140],[1,1,10,80],[1,2,17,200]]'
check "and in the table" grep -q ' HMAT-LATENCY HMAT-READ ' <<<"$("$numastow" measure --size 1Mi --runs 1 --time 1ms --latency)"
eq "also the bandwidth" "$(jq -c '[.pairs[] | select(.to == 2) | .hmat_read_mbps]' <<<"$measured")" "$(firmware \
	'[.hmat[] | select(.to == 2 and .what == "access bandwidth") | .value]')"
eq "the order of fallback is the kernel's" "$("$numastow" topology --json |
	jq -r '.nodes[] | "\(.id): \(.fallback | map(tostring) | join(" "))"')" "$(log_fallback)"
eq "the memory tiers are the kernel's" "$("$numastow" topology --json | jq -r '.nodes[] | "\(.id) \(.memory_tier)"')" "$(kernel_tiers)"
# Linux 6.1 has all memory in one tier, later kernels take HMAT for it.
[[ $(uname -r) == 6.1.* ]] || eq "two of them" "$(kernel_tiers | cut -d' ' -f2 | uniq | wc -l)" 2
vm_summary
