#!/bin/bash
# Memory blocks: online, offline, and the devices that they came in.
#
# usage: tests/vm/run v2-dimm|v2-dax|v2-vmem tests/vm/blocks.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
mem_hotplug=$programs/tests/tools/mem-hotplug
memory=/sys/devices/system/memory

# list - the blocks of node 1 that belong to a device, as in "48-55"
list()
{
	"$numastow" blocks --node 1 --json | jq -r '[.blocks[] | select(.device).block] | "\(min)-\(max)"'
}

# of FIELD - the values of a field of these blocks, each once, as in "a,b"
of()
{
	"$numastow" blocks --node 1 --json | jq -r "[.blocks[] | select(.device).$1] | unique | join(\",\")"
}

# said CODE COMMAND... - run a command, whose exit code must be CODE; its output is in $said, its duration in ms in $took
said()
{
	local want=$1 rc=0 began
	shift
	began=${EPOCHREALTIME/./}
	said=$("$@" 2>&1) || rc=$?
	took=$(((${EPOCHREALTIME/./} - began) / 1000))
	# shellcheck disable=SC2001 # each line
	sed 's/^/# /' <<<"$said"
	eq "${*##*/}: exit code" "$rc" "$want"
}

# counted DONE ALREADY FAILED - check the numbers in the last line of the output
counted()
{
	eq "it counts" "$(tail -n 1 <<<"$said")" "$1 done, $2 already, $3 failed"
}

gone()
{
	! "$numastow" blocks --json | jq -e --arg name "$1" '.devices[] | select(.name == $name)' >/dev/null
}

there()
{
	! gone "$1"
}

# --- a DIMM ---

online_and_offline()
{
	said 0 "$numastow" online --zone movable "$blocks"
	counted "$n" 0 0
	eq "they are in the zone Movable" "$(of zones)" Movable
	eq "and can leave" "$(of removable)" true
	said 0 "$numastow" online --zone movable "$blocks"
	counted 0 "$n" 0
	said 1 "$numastow" online --zone kernel "$blocks"
	check "a block in another zone is not as asked" grep -q 'failed: .* in zone Movable' <<<"$said"
	said 0 "$numastow" offline "$first"
	counted 1 0 0
	said 0 "$numastow" offline "$blocks"
	counted $((n - 1)) 1 0
	eq "the kernel says so" "$(cat $memory/memory{"$first","$last"}/state | sort -u)" offline
	said 0 "$numastow" online --zone kernel "$first"
	eq "it is in the zone Normal" "$(cat "$memory/memory$first/valid_zones")" Normal
	said 0 "$numastow" offline "$first"
	counted 1 0 0
	said 0 "$numastow" online "$first"
	said 0 "$numastow" offline "$blocks"
	counted 1 $((n - 1)) 0
}

# states - the state and the zones of these blocks
states()
{
	"$numastow" blocks --node 1 --json | jq -c '[.blocks[] | select(.device) | [.block, .state, .zones]]'
}

# beside NAME CHMEM-ARGUMENTS -- ARGUMENTS... - check that chmem and numastow, from the same states, leave the same blocks online
beside()
{
	local name=$1 theirs=() start
	shift
	while [[ $1 != -- ]]; do
		theirs+=("$1")
		shift
	done
	shift
	start=$("$numastow" blocks --node 1 --json | jq -r '[.blocks[] | select(.device and .state == "online").block] | join(",")')
	said 0 chmem "${theirs[@]}"
	want=$(states)
	said 0 "$numastow" offline --quiet "$blocks"
	[[ ! $start ]] || said 0 "$numastow" online --quiet --zone movable "$start"
	said 0 "$numastow" "$@"
	eq "$name: as chmem does" "$(states)" "$want"
}

sizes()
{
	local block range

	block=$("$numastow" blocks --json | jq .block_size)
	range=$(printf '0x%x-0x%x' $((first * block)) $(((first + 3) * block - 1)))
	beside "a size" -e -z Movable $((2 * block / 1048576))M -- online --zone movable $((2 * block / 1048576))M
	counted 2 0 0
	said 0 "$numastow" offline --dry-run $((block / 1048576))M
	check "a dry run names the highest block" grep -q "^$((first + 1)): would go offline" <<<"$said"
	beside "a size goes offline" -d $((block / 1048576))M -- offline $((block / 1048576))M
	counted 1 0 0
	said 0 "$numastow" offline --quiet "$blocks"
	beside "addresses" -e -z Movable "$range" -- online --zone movable "$range"
	counted 3 0 0
	said 0 "$numastow" offline --quiet "$blocks"
	beside "blocks" -e -z Movable -b "$first-$((first + 1))" -- online --zone movable "$first-$((first + 1))"
	beside "addresses go offline" -d "$range" -- offline "$range"
	want=$(states)
	said 3 "$numastow" online 64G
	eq "more than there is changes nothing" "$(states)" "$want"
	said 0 "$numastow" online --json --node 1 --zone movable $((n * block / 1048576))M
	eq "all of a node, as JSON" "$(jq -c '[.n_done, .requested, ([.blocks[].result] | unique)]' <<<"$said")" \
		"[$n,$((n * block)),[\"done\"]]"
	said 0 "$numastow" offline --quiet "$blocks"
}

mistakes()
{
	refuse "an unknown block" 'there is no memory block 9999' "$numastow" offline "$first,9999"
	said 2 "$numastow" offline dimm0
	check "no list" grep -q 'is not a list' <<<"$said"
	refuse "not root" "only the machine's root" setpriv --reuid 65534 --clear-groups "$numastow" online "$blocks"
	eq "nothing has changed" "$(of state)" offline
	said 1 "$numastow" offline --timeout 3s 0
	check "memory that can't leave is named" grep -q '^0: failed: ' <<<"$said"
	eq "and is online" "$(<$memory/memory0/state)" online
}

# pin - start a program that pins a page in a block of the device: its process is in $pinner, its output in $vm_work/pin
pin()
{
	numactl --membind=1 "$vm_progs/pinner" 100 >"$vm_work/pin" &
	pinner=$!
	eventually 100 grep -q ready "$vm_work/pin"
}

# Take all blocks offline while a page of one is pinned: that block stays online.
pinned()
{
	local held

	said 0 "$numastow" online --zone movable "$blocks"
	pin
	said 64 "$numastow" offline --timeout 4s "$blocks"
	counted $((n - 1)) 0 1
	held=$(sed -n 's/^\([0-9]*\): failed: .*/\1/p' <<<"$said")
	eq "it is online" "$(<"$memory/memory$held/state")" online
	check "who holds it is said" grep -q "process $pinner \"pinner\"" <<<"$said"
	said 1 "$numastow" offline --timeout 2s --json "$held"
	eq "who holds it, as JSON" "$(jq -c '.blocks[0] | [.result, .culprits[0].pid, .culprits[0].program]' <<<"$said")" \
		"[\"failed\",$pinner,\"pinner\"]"
	said 1 "$numastow" offline --timeout 1500ms "$held"
	within "not before its time (ms)" "$took" 1500 60000

	# A daemon's thread, with all signals blocked.
	said 1 "$mem_hotplug" offline "$held" 2s
	check "a thread's deadline" grep -Eq '^ETIMEDOUT [0-9]{4,5} ' <<<"$said"
	said 1 "$mem_hotplug" offline "$held" 1h 1s
	check "a thread's end by another's wish" grep -Eq '^ECANCELED [0-9]{4,5} ' <<<"$said"

	# While another program takes the block offline, the kernel does not begin a second attempt, and ignores signals.
	"$mem_hotplug" offline "$held" 1h >"$vm_work/hand" &
	other=$!
	at_work()
	{
		[[ $(<"$memory/memory$held/state") == going-offline ]]
	}
	check "another program is at work" eventually 20 at_work
	said 1 "$mem_hotplug" offline "$held" 1s
	check "a deadline behind it" grep -Eq '^ETIMEDOUT [0-9]{4,5} ' <<<"$said"
	check "which is still at work" at_work
	kill -KILL "$other"
	wait "$other" 2>/dev/null || :
	eq "killed, it leaves the block online" "$(<"$memory/memory$held/state")" online

	said 1 "$mem_hotplug" eject dimm0 5s
	check "a device with a block online stays" grep -q "^EBUSY .* memory block $held is online" <<<"$said"
	kill -USR1 "$pinner"
	eventually 20 grep -q released "$vm_work/pin"
	said 0 "$numastow" offline "$held"
	counted 1 0 0
	kill "$pinner"
	wait "$pinner" || :
}

dimm()
{
	eq "the DIMM" "$("$numastow" blocks --json | jq -c '.devices[] | [.name, .alias, .kind, .path, .n_blocks]')" \
		'["dimm0","PNP0C80:00","dimm","\\_SB_.MHPC.MP00",8]'
	mistakes
	online_and_offline
	sizes
	pinned
	said 0 "$mem_hotplug" eject dimm0 20s
	check "its blocks are gone" gone dimm0
	eventually 20 not_in_machine
	check "the hypervisor has it back" not_in_machine
}

not_in_machine()
{
	! dimm_there dimm0
}

# --- dax ---

dax()
{
	dax_kmem || fail "a dax device becomes memory"
	eventually 20 there dax0.0
	blocks=$(list)
	eq "the dax device" "$("$numastow" blocks --json | jq -c '.devices[] | [.name, .kind, .n_blocks]')" '["dax0.0","dax",4]'
	said 0 "$numastow" online --zone movable "$blocks"
	said 0 "$numastow" offline "$((${blocks%-*} + 1))-${blocks#*-}"
	said 1 "$mem_hotplug" eject dax0.0 5s
	check "it is not unbound with a block online" grep -q '^EBUSY ' <<<"$said"
	eq "it is kmem's" "$(basename "$(readlink /sys/bus/dax/devices/dax0.0/driver)")" kmem
	said 0 "$numastow" offline "$blocks"
	said 0 "$mem_hotplug" eject dax0.0 20s
	check "its blocks are gone" gone dax0.0
	echo dax0.0 >/sys/bus/dax/drivers/kmem/bind
	check "and come back" eventually 20 there dax0.0
}

# --- virtio-mem ---

vmem()
{
	local name

	modprobe virtio_mem
	vmem_size vmem0 200 >/dev/null
	more()
	{
		[[ $("$numastow" blocks --json | jq '.devices[0].n_blocks') == 2 ]]
	}
	check "its blocks appear, the second half plugged" eventually 30 more
	name=$("$numastow" blocks --json | jq -r '.devices[0].name')
	check "it is named as on its bus" test -e "/sys/bus/virtio/devices/$name"
	eq "its kind" "$("$numastow" blocks --json | jq -r '.devices[0].kind')" virtio-mem
	blocks=$(list)
	said 0 "$numastow" online --zone movable "$blocks"
	said 0 "$numastow" offline "$blocks"
	said 1 "$mem_hotplug" eject "$name" 5s
	check "only the hypervisor shrinks it" grep -q '^EOPNOTSUPP .*hypervisor' <<<"$said"
	vmem_size vmem0 0 >/dev/null
	check "which it does" eventually 30 gone "$name"
}

if [[ $VM_SHAPE == *-dimm ]]; then
	blocks=$(list)
	first=${blocks%-*} last=${blocks#*-}
	n=$((last - first + 1))
fi
"$numastow" blocks | sed 's/^/# /'
case $VM_SHAPE in
*-dimm) dimm ;;
*-dax) dax ;;
*-vmem) vmem ;;
*) fail "a machine with memory that leaves" "not $VM_SHAPE" ;;
esac
"$numastow" blocks | sed 's/^/# /'
vm_summary
