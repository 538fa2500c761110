#!/bin/bash
# numastow settings and hugepages on a real kernel: each setting that can be set is set and read back, what is kept over
# a boot is applied by systemd, and pools get what the kernel has.
#
# usage: tests/vm/run --append "isolcpus=3 hugepagesz=1G hugepages=1:1" v2-systemd tests/vm/settings.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug

# other - for each setting that can be set: NAME, PATH, another valid value, the present one, separated by tabs
other()
{
	"$numastow" settings --json | jq -r '.settings[]
		| select(.state == "present" and .persist != null and (.value | type) != "array" and .path != "/proc/cmdline")
		# The first is read only; of pages that are made at boot only, none can be allocated on demand.
		| select(.name | test("memmap_on_memory|hugepages-1048576kB/nr_overcommit") | not)
		| [.name, .path,
			(if .name == "percpu_pagelist_high_fraction" then 8
			elif .choices then . as $s | [.choices[] | select(. != $s.value)][0]
			elif (.value | type) == "boolean" then (if .value then 0 else 1 end)
			elif .value > .min then .value - 1 else .value + 1 end),
			(if (.value | type) == "boolean" then (if .value then 1 else 0 end) else .value end)]
		| map(tostring) | join("\t")'
}

# has PATH VALUE - a plain reading of the file
has()
{
	local text
	text=$(cat "$1")
	case $text in
	*\[*\]*) text=${text#*\[} text=${text%%\]*} ;;
	Y | true) text=1 ;;
	N | false) text=0 ;;
	esac
	[[ $text == "$2" ]]
}

n=0
while IFS=$'\t' read -r name path value before; do
	if ! "$numastow" settings --quiet "$name=$value" || ! has "$path" "$value"; then
		fail "$name is set to $value" "$(cat "$path")"
	elif ! "$numastow" settings --quiet "$name=$before" || ! has "$path" "$before"; then
		fail "$name is set to $before again" "$(cat "$path")"
	else
		n=$((n + 1))
	fi
done < <(other)
check "each of $n settings was set, read back and set back" test "$n" -ge 35
check "a list, too" "$numastow" settings --quiet "lowmem_reserve_ratio=128 256"
eq "of which the rest stays" "$(awk '{ print $1, $2, $3 }' /proc/sys/vm/lowmem_reserve_ratio)" "128 256 32"
eq "a kernel parameter" "$("$numastow" settings --json isolcpus= | jq -r '.settings[0].value')" 3
refuse "a bad value" "from 0 to 200" "$numastow" settings swappiness=201
refuse "pages are not set here" "numastow hugepages set" "$numastow" settings nr_hugepages=4

# --- kept over a boot, as systemd applies it ---

debug=/sys/kernel/debug/sched/numa_balancing/scan_size_mb
check "settings for each boot" "$numastow" settings --persist swappiness=11 transparent_hugepage/defrag=never \
	numa_balancing/scan_size_mb=128
"$numastow" settings --quiet swappiness=60 transparent_hugepage/defrag=madvise numa_balancing/scan_size_mb=256
/usr/lib/systemd/systemd-sysctl
systemd-tmpfiles --create --prefix=/sys
eq "systemd sets a sysctl" "$(cat /proc/sys/vm/swappiness)" 11
check "a file in /sys" has /sys/kernel/mm/transparent_hugepage/defrag never
eq "and one in debugfs" "$(cat $debug)" 128

# --- hugepages ---

rc=0
said=$("$numastow" hugepages set 0 2Mi=1000000 --json) || rc=$?
eq "more than there is, is done in part" "$rc" 64
eq "as much as it says" "$(jq -c '.changes[0] | [.pages_after, .whole]' <<<"$said")" "[$(pool 0 2048),false]"
check "and back" "$numastow" hugepages set 0 2Mi=0
eq "nothing is left" "$(pool 0 2048)" 0
check "compacted first" "$numastow" hugepages set 0 2Mi=8 --compact
eq "both nodes get the same" "$("$numastow" hugepages spread 2Mi=32 --quiet && echo "$(pool 0 2048) $(pool 1 2048)")" "16 16"
if [[ $(pool 1 1048576) == 1 ]]; then
	check "a page of 1 GiB is split" "$numastow" hugepages demote 1 1Gi=1
	eq "into 512" "$(pool 1 1048576) $(pool 1 2048)" "0 528"
	refuse "there is no other" "are free" "$numastow" hugepages demote 1 1Gi=1
else
	fail "the kernel has no page of 1 GiB: hugepagesz=1G hugepages=1:1" "$(cat /proc/cmdline)"
fi

mkdir -p "$vm_work/huge"
check "hugetlbfs is mounted" "$numastow" hugepages mount 2Mi "$vm_work/huge" --limit 8Mi
check "and shown" sh -c "'$numastow' hugepages --json | jq -e --arg path '$vm_work/huge' \
	'.mounts[] | select(.path == \$path) | .page_size == 2097152 and .limit == 8388608' >/dev/null"
python3 - "$vm_work/huge/file" <<'END' &
import mmap, signal, sys
file = open(sys.argv[1], "w+b")
file.truncate(4 << 20)
area = mmap.mmap(file.fileno(), 4 << 20)
area[0] = area[2 << 20] = 1
open(sys.argv[1] + ".ready", "w+b")
signal.pause()
END
holder=$!
check "a program uses two pages" eventually 60 test -e "$vm_work/huge/file.ready"
eq "which is shown" "$("$numastow" hugepages --json | jq -c "[.users[] | select(.name | startswith(\"$holder (\")) | .pages_used] | add")" 2
eq "as are the file's" "$("$numastow" hugepages --json | jq -c --arg path "$vm_work/huge" \
	'.mounts[] | select(.path == $path).used')" $((4 << 20))
check "the other pages are released" "$numastow" hugepages shrink
eq "and no others" $(($(pool 0 2048) + $(pool 1 2048))) 2
kill "$holder"
wait "$holder"
umount "$vm_work/huge"

# --- the unit ---

check "pools for each boot" "$numastow" hugepages set 0 2Mi=12 --persist
echo 0 >/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages
systemctl daemon-reload
eq "the unit is enabled" "$(systemctl is-enabled numastow-hugepages)" enabled
check "it starts" systemctl start numastow-hugepages
eq "and sets the pool" "$(pool 0 2048)" 12
"$numastow" hugepages set 0 2Mi=1000000 --persist --quiet
systemctl daemon-reload
refuse "it fails when the kernel gives less" "failed" systemctl restart numastow-hugepages
check "and says for which pool" eventually 60 sh -c "journalctl -u numastow-hugepages | grep -q 'of 1000000 hugepages of 2048 kB'"
"$numastow" hugepages set 0 2Mi=0 --persist --quiet
check "with no pool left it goes" sh -c "! test -e /etc/systemd/system/numastow-hugepages.service"

vm_summary
