#!/bin/bash
# Memory other than a DIMM beside other memory of its node: virtio-mem, dax/kmem, and a node that consists of one DIMM.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v2-vmem|v2-dax|v2-far|v1-far tests/vm/drain-devices.sh
#
# shellcheck disable=SC2317,SC2119,SC2154 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

echo 0 >/proc/sys/kernel/numa_balancing

# the_device NODE NUMBER - its blocks, that are there and offline, go online; sets what dimm_online sets
the_device()
{
	local ids
	there()
	{
		[[ $(blocks_of "$1" offline | wc -l) == "$2" ]]
	}
	eventually 30 there "$1" "$2" || fail "$2 blocks appear on node $1" "$(blocks_of "$1")"
	ids=$(blocks_of "$1" offline | tr -dc '0-9\n')
	dimm_first=$(head -n 1 <<<"$ids")
	dimm_n=$2
	dimm_blocks=$dimm_first-$((dimm_first + dimm_n - 1))
	check "its blocks go online" "$numastow" online --zone movable "$dimm_blocks"
	dimm_device=$(device_at $((dimm_first * 16#$(<$memory/block_size_bytes))))
}

start_all()
{
	start_hypervisor
	start_scheduler
	start_agent --scheduler 127.0.0.1:7200
	knows_it()
	{
		[[ $(fleet_node .report.name) == m1 ]]
	}
	eventually 20 knows_it || fail "the scheduler knows the machine" "$(tail -n 5 "$vm_work/agent.log")"
}

case $VM_SHAPE in
v2-vmem)
	modprobe virtio_mem
	start_all
	vmem_size vmem0 512 >/dev/null
	the_device 1 4
	check "it is a virtio-mem device" grep -q '"kind": *"virtio-mem"' <("$numastow" blocks --json)
	hold held "--anon 200" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=256Mi --annotation numastow.io/nodes=1
	within "a container is in it" "$(in_dimm "$pid" anon)" 100000 300000
	before=$(snapshot)
	refused "this machine cannot shrink it by itself" 'hypervisor|virtio' "$before" --device "$dimm_device" --eject

	drains_to "half of it leaves: the hypervisor shrinks it" 0 "done" m1 --device "$dimm_device" --size 256Mi --wait
	echo "# $(drain_steps): $(drain_said .message)"
	eq "which was never told that the device may go" "$(webhooks "$(drain_said .id)")" "planned safe-to-shrink removed"
	half()
	{
		[[ $(qmp query-memory-devices | jq '.[0].data.size') == $((256 * Mi)) ]]
	}
	check "for QEMU, too" eventually 30 half
	eq "half of it is still online" "$(dimm_states)" "2 online"
	eq "it was asked once" "$(hypervisor_did '.did == "pull"' | jq -c '[.command, .value]')" '["requested-size",268435456]'
	sum_good "the container has not noticed" held
	drains_to "then the rest" 0 "done" m1 --device "$dimm_device" --wait
	check "nothing is left of it" eventually 30 dimm_gone
	within "the container's memory is on its node" "$(pages_on "$pid" 0)" 0 2048
	sum_good "and what it was" held
	eq "nothing is fenced" "$(fenced)$(fleet_node .fenced)" ""
	vmem_size vmem0 256 >/dev/null
	the_device 1 2
	eq "it can grow again" "$(dimm_states)" "2 online"
	stop held
	;;
v2-dax)
	check "a dax device becomes memory" dax_kmem
	the_device 1 4
	check "it is a dax device" grep -q '"kind": *"dax"' <("$numastow" blocks --json)
	hold held "--anon 200" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=256Mi --annotation numastow.io/nodes=1
	within "a container is in it" "$(in_dimm "$pid" anon)" 100000 300000
	before=$(snapshot)

	start pinned --args "pinner 400" --annotation numastow.io/memory=512Mi --annotation numastow.io/nodes=1
	check "a page is pinned" eventually 30 grep -q '^ready' "$vm_work/pinned.out"
	within "in it" "$(in_dimm "$(container_pid pinned)" anon)" 100000 500000
	drains_to "with a block that stays nothing is unbound" 1 failed --device "$dimm_device" --block-timeout 2s --eject
	eq "all of it is online" "$(dimm_states)" "4 online"
	check "and it is still the kernel's memory" test -e "/sys/bus/dax/drivers/kmem/$dimm_device"
	stop pinned
	unchanged "and all is as it was" "$before"

	drains_to "all goes offline, then it is unbound" 0 "done" --device "$dimm_device" --eject
	echo "# $(drain_steps): $(drain_said .message)"
	check "its blocks are gone" dimm_gone
	check "the driver has released it" test ! -e "/sys/bus/dax/drivers/kmem/$dimm_device"
	check "and did not break it" sh -c "! dmesg | grep -q 'cannot be hotremoved'"
	sum_good "the container has not noticed" held
	# shellcheck disable=SC2016
	check "it is bound again" busybox sh -c 'echo "$1" >/sys/bus/dax/drivers/kmem/bind' sh "$dimm_device"
	the_device 1 4
	unchanged "and is memory as before" "$before"
	stop held
	;;
v?-far)
	# the_far_one [ZONE] - its four blocks; with "kernel" the first one is the kernel's
	the_far_one()
	{
		local ids
		there()
		{
			[[ $(blocks_of 2 offline | wc -l) == 4 ]]
		}
		eventually 30 there || fail "the far node's blocks" "$(blocks_of 2)"
		ids=$(blocks_of 2 offline | tr -dc '0-9\n')
		dimm_first=$(head -n 1 <<<"$ids")
		dimm_n=4
		dimm_blocks=$dimm_first-$((dimm_first + 3))
		"$numastow" online --zone "${1:-movable}" "$dimm_first" >/dev/null &&
			"$numastow" online --zone movable $((dimm_first + 1))-$((dimm_first + 3)) >/dev/null
	}
	start_all
	# Not by check, which is a subshell: the names that it sets are for what follows.
	if the_far_one; then
		ok "the far node's memory goes online"
	else
		fail "the far node's memory goes online" "$(blocks_of 2)"
	fi
	dimm_device=$(device_at $((dimm_first * 16#$(<$memory/block_size_bytes))))
	node2()
	{
		[[ $(fleet_node '[.report.numa_nodes[].id // 0] | map(tostring) | join(" ")') == "$1" ]]
	}
	check "the scheduler knows node 2" eventually 15 node2 "0 1 2"
	# More than nodes 0 and 1 have left together: almost all of node 1 is granted to a filler.
	room()
	{
		fleet_node ".report.numa_nodes[$1].memory_allocatable"
	}
	check "almost all of node 1 is granted" start filler --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1 \
		--annotation numastow.io/memory=$(($(room 1) - 64 * Mi))
	hold held "--anon 100" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=$(($(room 0) + 256 * Mi)) \
		--annotation numastow.io/nodes=0,2 --annotation numastow.io/policy=best-effort
	eq "a container is bound to it, and to another" "$(allowed_mems "$pid")" 0,2
	refused "it would have nowhere to go" 'held|room|fit|nowhere' "$(snapshot)" m1 --node 2
	stop held
	stop filler
	hold held "--anon 200" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=$(($(room 0) + 64 * Mi)) \
		--annotation numastow.io/nodes=0,2 --annotation numastow.io/policy=best-effort
	eq "another is bound to both" "$(allowed_mems "$pid")" 0,2
	# Onto the far node with its memory, by itself: nothing of it is to be lost there.
	migratepages "$pid" 0 2
	within "with its memory on the far one" "$(pages_on "$pid" 2)" 200000 300000

	drains_to "all of the node leaves" 0 "done" m1 --node 2 --wait
	echo "# $(drain_steps): $(drain_said .message)"
	check "it is gone" eventually 20 dimm_gone
	check "the node has left the topology" eventually 10 test ! -e /sys/devices/system/node/node2
	check "and that of numastow" sh -c "! '$numastow' topology --json | tr -d ' \n' | grep -q '\"id\":2,\"cpus\"'"
	check "and the scheduler's" eventually 15 node2 "0 1"
	eq "nothing is fenced" "$(fenced)$(fleet_node .fenced)" ""
	# On v1 the kernel would have emptied its mems, for good, and put its processes into the parent.
	moved=$(ledger | grep -oE '"id":"held".*' | grep -oE '"mems":"[^"]*"' | head -n 1)
	check "the container was moved to nodes that stay first" grep -qE '"mems":"(0|1|0-1)"' <<<"$moved"
	eq "its mems say the same" "\"mems\":\"$(allowed_mems "$pid")\"" "$moved"
	eq "in its own cgroup" "$(<"$(cgroup_dir "$pid")/cpuset.mems")" "$(allowed_mems "$pid")"
	check "which it never left" grep -q held <(cgroup_dir "$pid")
	within "with its memory" "$(($(pages_on "$pid" 0) + $(pages_on "$pid" 1)))" 200000 300000
	sum_good "and its content" held

	dimm_add again 512 2 >/dev/null
	if the_far_one kernel; then
		ok "memory comes again"
	else
		fail "memory comes again" "$(blocks_of 2)"
	fi
	check "and the node with it" eventually 15 node2 "0 1 2"
	check "a container can be there" start after --annotation numastow.io/cpus=1 --annotation numastow.io/memory=16Mi \
		--annotation numastow.io/nodes=0,2 --annotation numastow.io/policy=spread
	stop after
	stop held

	# One block is in zone Normal, where the kernel may put memory that cannot be moved.
	dimm_device=$(device_at $((dimm_first * 16#$(<$memory/block_size_bytes))))
	mkdir "$vm_work/slab"
	mount -t tmpfs -o nr_inodes=100000 slab "$vm_work/slab"
	"$vm_progs/slabber" --node 2 5000 "$vm_work/slab" >"$vm_work/slabber.out" &
	slabber=$!
	check "the kernel uses it" eventually 60 grep -q ready "$vm_work/slabber.out"
	slab=$("$numastow" blocks --json --owners --node 2 | jq "[.blocks[].use.bytes.slab] | add")
	within "for slab, as numastow sees" "$slab" $((1 * Mi)) $((128 * Mi))
	before=$(snapshot)
	refused "which is refused, by planning" 'slab|unmovable' "$before" --device "$dimm_device"
	refused "also by the fleet" 'slab|unmovable' "$before" m1 --device "$dimm_device"
	drains_to "what is movable leaves" 0 "done" m1 --node 2 --size 384Mi
	eq "and only that" "$(dimm_states)" "3 offline 1 online"
	kill $slabber
	wait $slabber
	umount "$vm_work/slab"
	;;
esac
eq "nothing is left in the ledger" "$(ledger)" '{"containers":[],"pools":[]}'
no_drain "no drain is left"
[[ ! ${VM_HYPERVISOR:-} ]] || {
	kill "$agent" "$scheduler"
	hypervisor stop
}
wait 2>/dev/null
vm_summary
