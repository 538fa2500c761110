#!/bin/bash
# Who is in a memory block, against what is known to be there; and who keeps it from going offline, after the kernel
# has tried.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v2-dimm tests/vm/owners.sh
. "$(dirname "$0")/lib.sh"

use=${NUMASTOW_PROGRAMS:-$vm_root/build/release}/tests/tools/block-use
blocks='48 49 50 51 52 53 54 55'

# sum KIND [OWNER] - pages of that kind in the DIMM, of all or of the container; from $seen
sum()
{
	awk -v kind="$1" -v owner="${2:-}" '
		$1 == (owner ? "owner" : "block") && (!owner || $4 == owner) {
			for (i = 3; i < NF; i++) if ($i == kind) sum += $(i + 1)
		}
		END { print sum + 0 }' <<<"$seen"
}

scan()
{
	# shellcheck disable=SC2086 # one word for each block
	seen=$("$use" $blocks)
}

# near NAME GOT WANT SLACK
near()
{
	within "$1 ($2 pages)" "$2" $(($3 - $4)) $(($3 + $4))
}

zone_free()
{
	awk '$1 == "Node" { in_zone = ($2 == "1,") && ($4 == "Movable") } in_zone && $1 == "pages" { print $3; exit }' /proc/zoneinfo
}

# Free pages on the lists of the processors, which look like the kernel's.
zone_on_lists()
{
	awk '$1 == "Node" { in_zone = ($2 == "1,") && ($4 == "Movable") } in_zone && $1 == "count:" { sum += $2 } END { print sum + 0 }' /proc/zoneinfo
}

told()
{
	printf '%s\n' "$said" | sed 's/^/# /'
}

echo 0 >/proc/sys/kernel/numa_balancing
echo never >/sys/kernel/mm/transparent_hugepage/enabled

### an empty DIMM

scan
eq "offline blocks are offline" "$(sum offline)" $((8 * 32768))
for b in $blocks; do
	echo online_movable >"/sys/devices/system/memory/memory$b/state"
done
free_before=$(zone_free)
scan
free_after=$(zone_free)
eq "all of it counts" "$(awk '$1 == "block" { for (i = 8; i <= NF; i += 2) s += $i } END { print s }' <<<"$seen")" \
	$((8 * 32768))
within "its free pages are the zone's" "$(sum free)" $((free_after < free_before ? free_after : free_before)) \
	$((free_after > free_before ? free_after : free_before))
lists=$(zone_on_lists)
within "and hardly any is without a flag" "$(sum kernel)" 0 $((lists + 64))
echo "# empty: free $(sum free), the zone's were $free_before and are $free_after; without a flag $(sum kernel), on lists $lists"

### a container with what is known

# run ID PROGRAM... - with all that it allocates on node 1, whose best zone is the DIMM's. (Transparent hugepages are not
# looked for on other nodes than the processor's own.)
run()
{
	local id=$1 dir
	shift
	dir=$(bundle "$id" --args "$*" --cpuset-mems 1 --cpuset-cpus 4-7)
	jq '.mounts += [{destination: "/mnt", type: "bind", source: "/run/numastow-vm/work/shared", options: ["rbind", "rw"]},
		{destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["size=512m"]}]' "$dir/config.json" \
		>"$dir/new" && mv "$dir/new" "$dir/config.json"
	runtime run --detach --pid-file "$dir/pid" --bundle "$dir" "$id" >"$vm_work/$id.out" 2>&1 </dev/null ||
		fail "container $id starts" "$(<"$vm_work/$id.out")"
	echo "$VM_RUNTIME" >"$dir/runtime"
}

mkdir -p "$vm_work/shared"
cp "$vm_progs/pinner" "$(vm_rootfs)/bin/pinner"
run anon touch-memory --hold 200
check "200 MiB are touched" eventually 60 grep -q touched "$vm_work/anon.out"
scan
near "anonymous memory of the container" "$(sum anonymous anon)" 51200 600
near "all of it is mapped" "$(awk '$1 == "block" { s += $4 } END { print s }' <<<"$seen")" "$(sum anonymous)" 1500
echo "# anon: $(sum anonymous anon) pages of the container, $(sum anonymous) in all; page tables $(sum page-table)"
stop anon
still_there()
{
	scan
	[[ $(sum anonymous anon) -lt 100 ]]
}
check "it goes with its container" eventually 20 still_there

# Transparent hugepages: of these only the heads have a cgroup.
echo always >/sys/kernel/mm/transparent_hugepage/enabled
run huge touch-memory --hold 200
check "200 MiB of hugepages are touched" eventually 60 grep -q touched "$vm_work/huge.out"
scan
thp=$(awk '$1 == "AnonHugePages:" { sum += $2 } END { print sum + 0 }' "/proc/$(container_pid huge)/smaps_rollup")
within "they are transparent hugepages (kB)" "$thp" 100000 204800
near "anonymous memory in hugepages" "$(sum anonymous huge)" 51200 600
echo never >/sys/kernel/mm/transparent_hugepage/enabled
stop huge

# A file in shared memory counts as anonymous.
run shm touch-memory --file /dev/shm/f --hold 64
check "64 MiB of shared memory are touched" eventually 60 grep -q touched "$vm_work/shm.out"
scan
near "shared memory is anonymous" "$(sum anonymous shm)" 16384 600
stop shm

# Page cache: a program of this machine's, which nobody here has read yet.
reader=/sys/fs/cgroup/numastow-test/reader
file=$(command -v qemu-system-x86_64)
mkdir -p "$reader"
pages=$((($(stat -L -c %s "$file") + 4095) / 4096))
numactl --membind=1 sh -c "echo \$\$ >$reader/cgroup.procs; exec cat $file" >/dev/null
scan
near "page cache of a cgroup" "$(sum file reader)" "$pages" 600
near "of which nobody maps any" "$(awk '$1 == "block" { s += $4 } END { print s }' <<<"$seen")" "$(sum anonymous)" 2000

# Hugepages of a pool: wherever on the node they are, in the DIMM for the most part.
set_pool 1 2048 200
scan
pool=$(awk '$1 == "pool" && $3 == 2097152 { n += $4 } END { print n + 0 }' <<<"$seen")
within "hugepages are seen in the DIMM" "$pool" 1 200
echo "# hugepages in the DIMM: $pool of 200"
eq "as pages, too" "$(sum hugetlb)" $((pool * 512))
eq "none is in use" "$(awk '$1 == "pool" { n += $5 } END { print n + 0 }' <<<"$seen")" 0
numactl --membind=1 "$vm_progs/touch" --huge 2M --hold 400 >"$vm_work/pool.out" 2>&1 &
holder=$!
check "all 200 are used" eventually 60 grep -q touched "$vm_work/pool.out"
scan
eq "those in the DIMM are in use" "$(awk '$1 == "pool" { n += $5 } END { print n + 0 }' <<<"$seen")" "$pool"
kill $holder
wait $holder 2>/dev/null
set_pool 1 2048 0

### a page that does not move

run pinner pinner 8
check "a page is pinned" eventually 60 grep -q ready "$vm_work/pinner.out"
pid=$(container_pid pinner)
scan
theirs=$(awk '$1 == "owner" && $4 == "pinner" { print $2 }' <<<"$seen")
[[ $theirs ]] || fail "the container is in the DIMM" "$seen"
# In one of the blocks that the container has pages in; the others can go. On a busy machine a try may end before the kernel has
# come to the page.
for block in $theirs $theirs; do
	[[ $(<"/sys/devices/system/memory/memory$block/state") == online ]] || continue
	said=$("$use" --offline "$block" 15 2>&1)
	told
	! grep -q '^stuck' <<<"$said" || break
done
check "the try was interrupted" grep -q '^offline Connection timed out' <<<"$said"
eq "and the block is online" "$(<"/sys/devices/system/memory/memory$block/state")" online
culprit=$(grep '^culprit .* kind=anonymous ' <<<"$said")
check "it is proven" grep -q 'proven=1' <<<"$culprit"
check "the container is named" grep -q 'container=pinner ' <<<"$culprit"
check "the process" grep -q " pid=$pid " <<<"$culprit"
check "the program" grep -q ' program=pinner ' <<<"$culprit"
check "what it is" grep -q '^says page 0x.* of container pinner, process .* pinned: .*vmsplice' <<<"$said"
check "and what to do" grep -q "^advice stop or restart process $pid (pinner)" <<<"$said"
eq "one culprit" "$(grep -c '^culprit' <<<"$said")" 1
pfn=$(sed -n 's/^stuck //p' <<<"$said" | head -n 1)
check "asked for that page alone" grep -q " pid=$pid " <<<"$("$use" --stuck "$pfn")"

stop pinner
check "without it the block goes" grep -q '^offline done' <<<"$("$use" --offline "$block" 20)"

### what only the kernel has

# most_slab - the block of boot memory with the most of it that has no holes and is of one zone
most_slab()
{
	local b

	for b in $(blocks_of 0 online) $(blocks_of 1 online); do
		[[ $(<"/sys/devices/system/memory/$b/valid_zones") != none* ]] || continue
		"$use" "${b#memory}" | awk '$1 == "block" && !/ offline / { for (i = 7; i < NF; i++) if ($i == "slab") print $(i + 1), $2 }'
	done | sort -n | tail -n 1 | cut -d' ' -f2
}

block=$(most_slab)
said=$("$use" --offline "$block" 6 2>&1)
told
dmesg | grep 'pfn' | tail -n 4 | sed 's/^/# kernel: /'
check "block $block with the most slab stays" grep -q '^offline Device or resource busy' <<<"$said"
check "a page of the kernel's is found" grep -Eq '^culprit .* kind=(slab|kernel|page-table|reserved) proven=1' <<<"$said"
said=$("$use" --suspects "$block")
check "the kernel's own memory is named" grep -q '^says .*(slab\|reserved\|kernel).*: ' <<<"$said"
check "with advice" grep -q '^advice choose another block' <<<"$said"
vm_summary
