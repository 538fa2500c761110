#!/bin/bash
# numastow zones and stat beside the kernel: watermarks as computed after each setting was written, and with a boost; a
# stopped process beside numastat; a container beside its cgroup's files; compaction.
#
# usage: tests/vm/run [--release other] --append movablecore=512M v1|v2 tests/vm/zones.sh
#
# shellcheck disable=SC2317 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
vm=/proc/sys/vm

# zones FILTER [OPTION...] - what jq makes of it
zones()
{
	local filter=$1
	shift
	"$numastow" zones --json "$@" | jq -r "$filter"
}

### settings

within "after boot, the difference is known" \
	"$(zones '.computed.watermarks' | grep -cxE 'equal|memory-changed')" 1 1
eq "where min_free_kbytes comes from, after boot" "$(zones .min_free.source)" khugepaged

# as_shown NAME - every zone's watermarks and protection are those that are computed
as_shown()
{
	eq "$1: the watermarks are computed" "$(zones '.computed | "\(.watermarks) \(.different_zones) \(.different_protection)"')" \
		"equal 0 0"
	eq "$1: zones with memory" "$(zones '[.zones[] | select(.managed > 0) | .as_computed] | unique | @text')" "[true]"
}

# knob NAME VALUE
knob()
{
	echo "$2" >$vm/"$1" || fail "$1 $2"
	as_shown "$1=$2"
}

echo "256 256 32 0 0" >$vm/lowmem_reserve_ratio
knob watermark_scale_factor 100
knob min_free_kbytes 20001
eq "where min_free_kbytes comes from, when it was written" "$(zones .min_free.source)" administrator
knob lowmem_reserve_ratio "128 64 16 8 0"
knob watermark_scale_factor 1
knob watermark_boost_factor 30000
knob percpu_pagelist_high_fraction 16
if grep -q movablecore /proc/cmdline; then
	eq "Movable's share is known" "$(zones .computed.movable_has_share | grep -cxE 'true|false')" 1
fi

### a process

"$vm_progs/touch" --node 1 --hold 64 >$vm_work/touch.out &
toucher=$!
check "a program has memory" eventually 20 grep -q touched $vm_work/touch.out
kill -STOP $toucher
# as_numastat - both, as node, huge, heap, stack, private in MiB
as_numastat()
{
	local ours theirs
	ours=$("$numastow" stat $toucher --json |
		jq -r '.processes[0].nodes | map([.huge, .heap, .stack, .private] | map(. / 1048576 * 100 | round)) | transpose | flatten | @text')
	theirs=$(numastat -p $toucher | awk '$1 ~ /^(Huge|Heap|Stack|Private)$/ { print $2, $3 }' |
		jq -rs 'map(. * 100 | round) | @text')
	[[ $ours == "$theirs" ]] || { echo "$ours, numastat $theirs" && return 1; }
}
check "a stopped process is as numastat shows it" as_numastat
kill -CONT $toucher
kill $toucher
echo 0 >$vm/numa_stat
check "vm.numa_stat=0 is said" sh -c "'$numastow' stat | grep -q 'vm.numa_stat is 0'"
eq "and is in JSON" "$("$numastow" stat --json | jq .counted)" false
echo 1 >$vm/numa_stat

### a container

id=$(printf '%064d' 7)
start "$id" --cpuset-mems 1 --cgroups-path "/libpod_parent/libpod-$id" --args "touch-memory --hold 32"
pid=$(container_pid "$id")
check "a container has memory" eventually 20 sh -c "grep -q 'N1=8192' /proc/$pid/numa_maps"
# as_cgroup - anonymous memory of node 1: in the cgroup's own file, and as stat shows it
as_cgroup()
{
	local file ours theirs
	file=$(echo /sys/fs/cgroup{,/memory}/libpod_parent/libpod-"$id"/memory.numa_stat)
	for file in $file; do [[ ! -e $file ]] || break; done
	ours=$("$numastow" stat 000000 --json | jq '.containers[0].nodes[1].anon')
	theirs=$(sed -nE 's/^(anon|hierarchical_anon=[0-9]+) .*N1=([0-9]+).*/\2/p' "$file")
	[[ $VM_CGROUP == v2 ]] || theirs=$((theirs * 4096))
	[[ $ours == "$theirs" ]] || { echo "$ours, $file: $theirs" && return 1; }
}
check "a container's memory is as its cgroup has it" eventually 20 as_cgroup
within "and most of it is what its process has mapped" \
	"$("$numastow" stat 000000 --json | jq '.containers[0].nodes[1] | .anon * 100 / .processes | floor')" 80 100
stop "$id"

### compaction, reclaim

check "a node is compacted" sh -c "'$numastow' zones compact 1 | grep -q 'Node 1 was compacted'"
if [[ -e /sys/devices/system/node/node1/reclaim ]]; then
	check "a node is reclaimed, wholly or in part" sh -c "'$numastow' zones reclaim 1 1Mi; [ \$? = 0 ] || [ \$? = 64 ]"
else
	refuse "a kernel that cannot reclaim a node" "6.17" "$numastow" zones reclaim 1 1Mi
fi

### a boost: the kernel's own pages find no free block of their kind, and none that is large. It lasts until kswapd has
### run; kswapd, and kcompactd, which makes large blocks, hardly run here: on a processor that is always busy.

# It takes as long as all of the above.
[[ ! ${BRIEF:-} ]] || vm_summary

boost_seen()
{
	awk '$1 == "boost" && $2 > 0 { found = 1 } END { exit !found }' "$1"
}

# catch - copy what the kernel shows until there is a boost in it
catch()
{
	local file=$vm_work/boosted/proc/zoneinfo
	mkdir -p "$vm_work/boosted/proc/sys/vm"
	cp $vm/{min_free_kbytes,watermark_scale_factor,lowmem_reserve_ratio} "$vm_work/boosted/proc/sys/vm/"
	cat /proc/meminfo >"$vm_work/boosted/proc/meminfo"
	cat /proc/buddyinfo >"$vm_work/boosted/proc/buddyinfo"
	until [[ -e $vm_work/enough ]]; do
		cat /proc/zoneinfo >"$file.new"
		! boost_seen "$file.new" || { mv "$file.new" "$file" && return 0; }
	done
	return 1
}

echo 4000 >$vm/min_free_kbytes
echo "256 256 32 0 0" >$vm/lowmem_reserve_ratio
echo 3 >$vm/drop_caches
# All but 16 MiB; what is in the lists of CPUs counts, too.
size=$(zones '[.zones[] | select(.node == 1 and .managed > 0) | .free + .lists.count] | add / 1048576 - 16 | floor')
"$vm_progs/touch" --node 1 --holes --hold "$size" >$vm_work/holes.out &
holes=$!
check "memory is full of holes" eventually 60 grep -q touched $vm_work/holes.out
for thread in $(pgrep -x 'kswapd1|kcompactd1'); do
	taskset -cp 7 "$thread" >/dev/null
	chrt --idle -p 0 "$thread"
done
echo 0 >$vm/compaction_proactiveness
chrt -f 10 taskset -c 7 busybox sh -c 'while :; do :; done' &
hog=$!
catch &
catcher=$!
mkdir -p $vm_work/slab && mount -t tmpfs -o nr_inodes=0 slab $vm_work/slab
"$vm_progs/slabber" --node 1 200000 $vm_work/slab >$vm_work/slab.out &
slabber=$!
eventually 300 sh -c "grep -q ready $vm_work/slab.out || [ -e $vm_work/boosted/proc/zoneinfo ]"
: >$vm_work/enough
wait $catcher
kill $hog
if check "fragmentation has boosted a zone" boost_seen "$vm_work/boosted/proc/zoneinfo"; then
	boosted=$vm_work/boosted
	eq "with a boost: the watermarks are computed" \
		"$(zones '"\(.computed.watermarks) \([.zones[] | select(.boost > 0)] | length > 0)"' --sysroot "$boosted")" "equal true"
	eq "and it is in what is shown" \
		"$(zones '[.zones[] | select(.boost > 0) | .min - .computed.min == .boost] | unique | @text' --sysroot "$boosted")" "[true]"
fi
kill $slabber $holes

vm_summary
