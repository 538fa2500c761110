#!/bin/bash
# Does the harness itself hold on this shape? Topology, cgroups, pools, containers, QEMU's control port.
#
# usage: tests/vm/run SHAPE tests/vm/smoke.sh
#
# shellcheck disable=SC2317 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

node=/sys/devices/system/node

cpus()
{
	cat "$node/node$1/cpulist"
}

distances()
{
	cat "$node/node$1/distance"
}

has_memory()
{
	(($(awk '/MemTotal/ { print $4 }' "$node/node$1/meminfo") > 500000))
}

case $VM_SHAPE in
v2-4n)
	eq "nodes" "$(<$node/online)" 0-3
	eq "CPUs of node 3" "$(cpus 3)" 6-7
	eq "distances of node 0" "$(distances 0)" "10 12 20 32"
	eq "distances of node 2" "$(distances 2)" "20 22 10 14"
	;;
v2-cpuless)
	eq "nodes" "$(<$node/online)" 0-2
	eq "nodes with CPUs" "$(<$node/has_cpu)" 0-1
	eq "nodes with memory" "$(<$node/has_memory)" 0,2
	eq "CPUs of node 1" "$(cpus 1)" 4-7
	eq "CPUs of node 2" "$(cpus 2)" ""
	eq "distances of node 0" "$(distances 0)" "10 21 17"
	;;
v?-far)
	eq "nodes" "$(<$node/online)" 0-2
	eq "nodes with CPUs" "$(<$node/has_cpu)" 0-1
	eq "nodes with memory, before the DIMM is online" "$(<$node/has_memory)" 0-1
	eq "distances of node 2" "$(distances 2)" "17 28 10"
	;;
*)
	eq "nodes" "$(<$node/online)" 0-1
	eq "CPUs of node 0" "$(cpus 0)" 0-3
	eq "CPUs of node 1" "$(cpus 1)" 4-7
	eq "distances of node 0" "$(distances 0)" "10 21"
	check "memory on node 1" has_memory 1
	;;
esac
case $VM_SHAPE in
v2-smt)
	eq "threads of a core" "$(</sys/devices/system/cpu/cpu5/topology/thread_siblings_list)" 4-5
	;;
v2-pci)
	modprobe -a virtio_net nvme
	check "a network card on node 1" eventually 10 \
		grep -qx 1 /sys/bus/pci/drivers/virtio-pci/0000:4*/numa_node
	check "an NVMe disk on node 1" eventually 10 grep -qx 1 /sys/block/nvme0n1/device/numa_node
	;;
v?-dimm)
	eq "offline blocks of the DIMM" "$(blocks_of 1 offline | wc -l)" 8
	block=/sys/devices/system/memory/$(blocks_of 1 offline | head -n 1)
	write() { echo "$1" >"$2"; }
	there() { [[ $(blocks_of "$1" offline | wc -l) == "$2" ]]; }
	gone() { ! dimm_there "$1"; }
	check "a block goes online" write online_movable "$block/state"
	check "it goes offline" write offline "$block/state"
	check "the DIMM is asked back" dimm_del dimm0
	check "it leaves" eventually 30 gone dimm0
	check "another is plugged" dimm_add dimm1 512 0
	check "its blocks appear" eventually 30 there 0 4
	;;
v?-far)
	eq "offline blocks of the DIMM" "$(blocks_of 2 offline | wc -l)" 4
	for block in $(blocks_of 2 offline); do
		echo online_movable >"/sys/devices/system/memory/$block/state"
	done
	eq "node 2 has memory" "$(<$node/has_memory)" 0-2
	;;
v2-vmem)
	modprobe virtio_mem
	check "the device is to have 256 MiB" vmem_size vmem0 256
	there() { [[ $(blocks_of 1 offline | wc -l) == "$1" ]]; }
	check "its blocks appear" eventually 30 there 2
	check "and nothing" vmem_size vmem0 0
	check "they vanish" eventually 30 there 0
	;;
v2-dax)
	check "a dax device becomes memory" dax_kmem
	there() { [[ $(blocks_of 1 offline | wc -l) == "$1" ]]; }
	check "its blocks appear" eventually 30 there 4
	;;
esac

if [[ $VM_CGROUP == v2 ]]; then
	eq "cgroup v2" "$(stat -fc %T /sys/fs/cgroup)" cgroup2fs
	check "the cpuset controller" grep -qw cpuset /sys/fs/cgroup/cgroup.controllers
else
	check "cgroup v1 cpuset" test -e /sys/fs/cgroup/cpuset/cpuset.mems
	check "cgroup v1 hugetlb" test -e /sys/fs/cgroup/hugetlb/hugetlb.2MB.limit_in_bytes
fi
[[ $VM_INIT != systemd ]] || check "systemd answers" systemctl is-active numastow-vm.target

last=$(grep -o '[0-9]*$' "$node/has_memory")
# A node whose memory is all in the zone Movable starts no container: the kernel wants pages of its own.
[[ $VM_SHAPE != v?-far ]] || last=1
check "16 hugepages on node $last" set_pool "$last" 2048 16
check "a program takes 8 of them" "$vm_progs/touch" --huge 2M --node "$last" 16
eq "they are free again" "$(pool_free "$last" 2048)" 16
eq "a pool that is too small" "$("$vm_progs/touch" --huge 2M 64)" "mmap: ENOMEM"

"$vm_progs/touch" --node "$last" --hold 32 >$vm_work/touch.out &
toucher=$!
check "32 MiB are touched" eventually 20 grep -q touched $vm_work/touch.out
within "they are on node $last" "$(pages_on $toucher "$last")" 32768 40000
kill $toucher

runtimes=(runc crun)
for VM_RUNTIME in "${runtimes[@]}"; do
	id=$VM_RUNTIME-1
	if check "$VM_RUNTIME starts a container" \
		start "$id" --cpuset-cpus 1-2 --cpuset-mems "$last" --memory 67108864 --annotation a.b/c=d=e; then
		pid=$(container_pid "$id")
		eq "$VM_RUNTIME: allowed CPUs" "$(allowed_cpus "$pid")" 1-2
		eq "$VM_RUNTIME: allowed nodes" "$(allowed_mems "$pid")" "$last"
		check "$VM_RUNTIME: its cgroup" test -e "$(cgroup_dir "$pid")/cpuset.mems"
		eq "$VM_RUNTIME: annotation" "$(jq -r '.annotations["a.b/c"]' "$vm_work/bundle/$id/config.json")" d=e
		check "$VM_RUNTIME stops it" stop "$id"
	else
		said "$id"
	fi
done

VM_RUNTIME=${runtimes[-1]}
check "podman runs a container" podman_run --rm -- true
check "QEMU answers" qmp query-status

vm_summary
