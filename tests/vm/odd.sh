#!/bin/bash
# Machines that are not two equal nodes: threads, devices, four nodes, nodes without CPUs or without memory.
#
# usage: tests/vm/run v2-smt|v2-pci|v2-4n|v2-cpuless tests/vm/odd.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow

cpus()
{
	allowed_cpus "$(container_pid "$1")"
}

mems()
{
	allowed_mems "$(container_pid "$1")"
}

exclusive=(--annotation numastow.io/cpu-mode=exclusive)

case $VM_SHAPE in
v2-smt)
	want two --annotation numastow.io/cpus=2 "${exclusive[@]}"
	check "two CPUs are one core" grep -qx "$(cpus two)" /sys/devices/system/cpu/cpu*/topology/thread_siblings_list
	want one --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1 "${exclusive[@]}"
	want odd --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1 "${exclusive[@]}"
	check "two single threads share a broken core" grep -qx "$(cpus one)-$(cpus odd)" \
		/sys/devices/system/cpu/cpu*/topology/thread_siblings_list
	;;
v2-pci)
	modprobe -a virtio_net nvme
	eventually 10 test -e /sys/block/nvme0n1
	net=$(basename "$(ls -d /sys/bus/pci/drivers/virtio-pci/0000:4*)")
	want address --annotation numastow.io/cpus=1 --annotation numastow.io/near="$net"
	eq "near a PCI address" "$(mems address)" 1
	want disk --annotation numastow.io/cpus=1 --annotation numastow.io/near=nvme0n1
	eq "near a block device" "$(mems disk)" 1
	interface=$(basename "$(ls -d /sys/bus/pci/devices/"$net"/virtio*/net/*)")
	want card --annotation numastow.io/cpus=1 --annotation numastow.io/near="$interface"
	eq "near a network interface" "$(mems card)" 1
	start nowhere --annotation numastow.io/cpus=1 --annotation numastow.io/near=eth99
	check "a device that is not there" sh -c "'$numastow' why nowhere | grep -q 'near.*eth99'"
	;;
v2-4n)
	want a --annotation numastow.io/cpus=3 --annotation numastow.io/policy=best-effort "${exclusive[@]}"
	eq "3 CPUs: the two nearest nodes" "$(mems a)" 0-1
	want b --annotation numastow.io/cpus=3 --annotation numastow.io/policy=restricted "${exclusive[@]}"
	eq "then the other two" "$(mems b)" 2-3
	;;
v2-cpuless)
	want cpu --annotation numastow.io/cpus=2 --annotation numastow.io/memory=64Mi
	eq "auto: the node that has both" "$(mems cpu)" 0
	want both --annotation numastow.io/cpus=1 --annotation numastow.io/memory=2Gi --annotation numastow.io/nodes=0,2 \
		--annotation numastow.io/policy=best-effort
	eq "memory of a node without CPUs, when it is named" "$(mems both)" 0,2
	eq "and CPUs of the other" "$(cpus both)" 0-3
	start none --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=2
	check "no CPUs there: refused" sh -c "'$numastow' why none | grep -q refused"
	start nomem --annotation numastow.io/cpus=1 --annotation numastow.io/memory=64Mi --annotation numastow.io/nodes=1
	check "no memory there: refused" sh -c "'$numastow' why nomem | grep -q refused"
	;;
esac
check "topology reads it" "$numastow" topology
vm_stop_all
eq "nothing is left" "$("$numastow" ledger --json | jq -c '[.containers, .pools]')" '[[],[]]'
vm_summary
