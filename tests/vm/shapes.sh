# shellcheck shell=bash disable=SC2054 # QEMU's arguments have commas
# The machines that tests/vm/run can boot.

# shellcheck disable=SC2034 # read by tests/vm/run
vm_shape_table='v1              2 nodes; cgroup v1, one mount for each controller; a shell is PID 1
v2              2 nodes; cgroup v2; a shell is PID 1
v2-systemd      2 nodes; cgroup v2; systemd is PID 1
v1-systemd      2 nodes; cgroup v1, the layout that systemd makes; systemd is PID 1
v2-one          1 node, 2 CPUs
v2-4n           4 nodes, no two distances alike
v2-cpuless      node 0 is whole, node 1 has CPUs and no memory, node 2 memory and no CPUs
v2-smt          2 nodes, 2 cores on each, 2 threads on a core
v2-pci          2 nodes, a virtio network card and an NVMe disk on node 1
v2-dimm         2 nodes, and a DIMM of 1 GiB in a slot of node 1, its blocks offline
v1-dimm         the same with cgroup v1
v2-vmem         2 nodes, and a virtio-mem device of up to 1 GiB on node 1, that has nothing yet
v2-dax          2 nodes, and 640 MiB of persistent memory on node 1, for dax and kmem
v2-far          2 nodes with CPUs and memory; node 2 has a DIMM of 512 MiB and nothing else, its blocks offline
v1-far          the same with cgroup v1
v1-cpus         2 nodes; node 1 has 1 CPU at boot, and can be given 3 more; cgroup v1
v2-cpus         the same with cgroup v2
v2-hmat         2 nodes with CPUs, node 2 memory only; an HMAT, a memory-side cache before node 2, slots for DIMMs'

# distances A,B=VALUE... - for vm_qemu; one value holds for both directions unless the other is given.
vm_distances()
{
	local d
	for d in "$@"; do
		vm_qemu+=(-numa "dist,src=${d%%,*},dst=$(cut -d, -f2 <<<"${d%%=*}"),val=${d##*=}")
	done
}

# vm_hmat INITIATOR,TARGET=NANOSECONDS:MEGABYTES... - for vm_qemu, reads and writes alike
vm_hmat()
{
	local pair from to
	for pair in "$@"; do
		from=${pair%%,*} to=${pair%%=*}
		to=initiator=$from,target=${to#*,},hierarchy=memory
		pair=${pair##*=}
		vm_qemu+=(-numa "hmat-lb,$to,data-type=access-latency,latency=${pair%:*}"
			-numa "hmat-lb,$to,data-type=access-bandwidth,bandwidth=${pair#*:}M")
	done
}

# vm_nodes NODE:MEMORY:CPUS... - either of MEMORY and CPUS may be empty.
#
# QEMU's node ids are not the guest's when a node has no CPUs: Linux numbers such a node after all
# those that have some. So they come last.
vm_nodes()
{
	local spec node memory cpus arg
	for spec in "$@"; do
		IFS=: read -r node memory cpus <<<"$spec"
		arg=node,nodeid=$node
		if [[ $memory ]]; then
			vm_qemu+=(-object "memory-backend-ram,id=m$node,size=$memory")
			arg+=,memdev=m$node
		fi
		vm_qemu+=(-numa "$arg${cpus:+,cpus=$cpus}")
	done
}

vm_two_nodes()
{
	vm_qemu+=(-smp 8,sockets=2,cores=4,threads=1 -m 4G,slots=8,maxmem=16G)
	vm_nodes 0:2G:0-3 1:2G:4-7
	vm_distances 0,1=21
}

# vm_shape NAME - set what describes the machine:
#   vm_qemu    QEMU's arguments      vm_append  the kernel's arguments
#   vm_cgroup  v1 or v2              vm_init    shell or systemd
#   vm_cpu     flags after "-cpu MODEL"
# shellcheck disable=SC2034 # read by tests/vm/run
vm_shape()
{
	vm_qemu=(-M q35)
	vm_append=()
	vm_cgroup=v2
	vm_init=shell
	vm_cpu=

	case $1 in
	v1)
		vm_cgroup=v1
		vm_two_nodes
		;;
	v2)
		vm_two_nodes
		;;
	v2-systemd)
		vm_init=systemd
		vm_append=(systemd.unified_cgroup_hierarchy=1)
		vm_two_nodes
		;;
	v1-systemd)
		vm_cgroup=v1
		vm_init=systemd
		vm_append=(systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1)
		vm_two_nodes
		;;
	v2-one)
		vm_qemu+=(-smp 2,sockets=1,cores=2,threads=1 -m 2G)
		vm_nodes 0:2G:0-1
		;;
	v2-4n)
		vm_qemu+=(-smp 8,sockets=4,cores=2,threads=1 -m 4G,slots=8,maxmem=16G)
		vm_nodes 0:1G:0-1 1:1G:2-3 2:1G:4-5 3:1G:6-7
		vm_distances 0,1=12 0,2=20 0,3=32 1,2=22 1,3=30 2,3=14
		;;
	v2-cpuless)
		vm_qemu+=(-smp 8,sockets=2,cores=4,threads=1 -m 4G,slots=8,maxmem=16G)
		vm_nodes 0:2G:0-3 1::4-7 2:2G:
		vm_distances 0,1=21 0,2=17 1,2=28
		;;
	v2-smt)
		# Linux reads the threads of an AMD processor, which QEMU's model is, from what TCG does not emulate.
		vm_cpu=vendor=GenuineIntel
		vm_qemu+=(-smp 8,sockets=2,cores=2,threads=2 -m 4G,slots=8,maxmem=16G)
		vm_nodes 0:2G:0-3 1:2G:4-7
		vm_distances 0,1=21
		;;
	v2-pci)
		vm_two_nodes
		vm_qemu+=(-device pxb-pcie,id=pxb1,bus_nr=64,bus=pcie.0,numa_node=1
			-device pcie-root-port,id=rp1,bus=pxb1,chassis=1,slot=1
			-device pcie-root-port,id=rp2,bus=pxb1,chassis=2,slot=2
			-netdev user,id=n0,restrict=on -device virtio-net-pci,netdev=n0,bus=rp1,romfile=
			-blockdev null-co,node-name=disk0,size=67108864,read-zeroes=on
			-device nvme,id=nvme0,serial=numastow,drive=disk0,bus=rp2)
		;;
	v1-dimm | v2-dimm)
		vm_cgroup=${1%%-*}
		vm_two_nodes
		vm_qemu+=(-object memory-backend-ram,id=dimm0-mem,size=1G
			-device pc-dimm,id=dimm0,memdev=dimm0-mem,node=1)
		;;
	v2-vmem)
		vm_two_nodes
		vm_qemu+=(-object memory-backend-ram,id=vmem0-mem,size=1G
			-device virtio-mem-pci,bus=pcie.0,id=vmem0,memdev=vmem0-mem,node=1,requested-size=0,block-size=4M)
		;;
	v2-dax)
		vm_qemu=(-M "q35,nvdimm=on")
		vm_two_nodes
		vm_qemu+=(-object memory-backend-ram,id=nv0-mem,size=640M -device nvdimm,id=nv0,memdev=nv0-mem,node=1)
		;;
	v1-far | v2-far)
		# The node comes last: see vm_nodes. Without memory at boot, Linux has it only once the DIMM is online.
		vm_cgroup=${1%%-*}
		vm_two_nodes
		vm_nodes 2::
		vm_distances 0,2=17 1,2=28
		vm_qemu+=(-object memory-backend-ram,id=dimm0-mem,size=512M
			-device pc-dimm,id=dimm0,memdev=dimm0-mem,node=2)
		;;
	v1-cpus | v2-cpus)
		vm_cgroup=${1%%-*}
		vm_two_nodes
		vm_qemu+=(-smp 5,maxcpus=8,sockets=2,cores=4,threads=1)
		;;
	v2-hmat)
		vm_qemu=(-M "q35,hmat=on" -smp 8,sockets=2,cores=4,threads=1 -m 3G,slots=4,maxmem=8G)
		vm_qemu+=(-object memory-backend-ram,id=m0,size=1G -object memory-backend-ram,id=m1,size=1G
			-object memory-backend-ram,id=m2,size=1G
			-numa node,nodeid=0,memdev=m0,cpus=0-3,initiator=0 -numa node,nodeid=1,memdev=m1,cpus=4-7,initiator=1
			-numa node,nodeid=2,memdev=m2,initiator=1)
		vm_distances 0,1=21 0,2=28 1,2=17
		vm_hmat 0,0=80:20480 0,1=140:10240 0,2=300:4096 1,0=140:10240 1,1=80:20480 1,2=200:5120
		vm_qemu+=(-numa hmat-cache,node-id=2,size=64M,level=1,associativity=direct,policy=write-back,line=64)
		;;
	*)
		return 1
		;;
	esac
}
