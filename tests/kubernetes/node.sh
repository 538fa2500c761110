# shellcheck shell=bash
# What the test does in the guest, as functions: the node's programs, and what can be seen of a container.
#
# PARTS, CLUSTER and PROGRAMS are folders: the stock parts, the control plane's files, and our programs. GATES are kubelet's.
# Logs are in a folder of the host, so that they can be read whatever happens to the guest.
run=/run/node
logs=/out
# The emulator runs all processors in one thread: with a thread for each, the schedulers and garbage collectors of Go programs
# take time from each other. kubelet takes a quarter to a half less with one. containerd's shims and runc inherit this.
export GOMAXPROCS=1 GOGC=400

# daemon NAME COMMAND... - in the background
daemon()
{
	local name=$1
	shift
	setsid "$@" >>$logs/"$name".log 2>&1 </dev/null &
	echo $! >$run/"$name".pid
}

# end NAME [SIGNAL] - and wait until it has ended
end()
{
	local pid i
	pid=$(<$run/"$1".pid)
	kill -"${2:-TERM}" "$pid"
	for ((i = 0; i < 3000; i++)); do
		[[ -e /proc/$pid/exe ]] || return 0
		sleep 0.1
	done
	return 1
}

cgroup_driver()
{
	if [[ $(</proc/1/comm) == systemd ]]; then echo systemd; else echo cgroupfs; fi
}

configure_containerd()
{
	mkdir -p /etc/containerd $run/containerd
	cat >/etc/containerd/config.toml <<-END
		version = 3
		disabled_plugins = ['io.containerd.snapshotter.v1.devmapper', 'io.containerd.snapshotter.v1.zfs',
		  'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.erofs', 'io.containerd.differ.v1.erofs',
		  'io.containerd.tracing.processor.v1.otlp', 'io.containerd.internal.v1.tracing',
		  'io.containerd.nri.v1.nri']
		[plugins.'io.containerd.cri.v1.images'.pinned_images]
		  sandbox = 'numastow.io/test:1'
		[plugins.'io.containerd.cri.v1.runtime']
		  disable_apparmor = true
		[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
		  runtime_type = 'io.containerd.runc.v2'
		[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
		  BinaryName = '/usr/sbin/runc'
		  SystemdCgroup = $([[ $(cgroup_driver) == systemd ]] && echo true || echo false)
	END
}

start_containerd()
{
	[[ -e $run/containerd ]] || configure_containerd
	PATH=$PARTS:$PATH daemon containerd "$PARTS/containerd"
}

import_image()
{
	"$PARTS/ctr" -n k8s.io images import --local "$CLUSTER/image.tar"
}

start_kubelet()
{
	cat >$run/kubelet.yaml <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		enableServer: false
		authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
		authorization: {mode: AlwaysAllow}
		cgroupDriver: $(cgroup_driver)
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		failSwapOn: false
		makeIPTablesUtilChains: false
		resolvConf: /etc/resolv.conf
		evictionHard: {memory.available: 50Mi, nodefs.available: 0%, imagefs.available: 0%}
		imageGCHighThresholdPercent: 100
		maxPods: 50
		nodeStatusUpdateFrequency: 10s
		runtimeRequestTimeout: 10m
		syncFrequency: 5s
		volumeStatsAggPeriod: 1h
	END
	daemon kubelet "$PARTS/kubelet" --config $run/kubelet.yaml --hostname-override numa \
		--kubeconfig "$CLUSTER/kubelet-10.0.2.2.kubeconfig" --v 2 ${GATES:+--feature-gates "$GATES"}
}

# For fences only: Kubernetes does the placing.
start_scheduler()
{
	mkdir -p $run/scheduler
	daemon scheduler "$PROGRAMS/numastow-scheduler" --config /dev/null --listen 127.0.0.1:7200 --metrics '' \
		--data $run/scheduler
}

# start_agent OPTION... - FLEET is the address of another scheduler than that of start_scheduler
start_agent()
{
	daemon agent env ${KILLER:+"LD_PRELOAD=$KILLER" KILLER_AT=$run/killer} "$PROGRAMS/numastow-agent" --config /dev/null --node numa --metrics 127.0.0.1:9402 --kubernetes \
		--kubeconfig $run/agent.kubeconfig --scheduler "${FLEET:-127.0.0.1:7200}" --log-level debug --log-format json "$@"
}

# fence NODE, unfence NODE - a NUMA node of this machine
fence()
{
	"$PROGRAMS/numastow" fence numa "$1" --config /dev/null --scheduler 127.0.0.1:7200
}

unfence()
{
	"$PROGRAMS/numastow" unfence numa "$1" --config /dev/null --scheduler 127.0.0.1:7200
}

# kill_at N - have the agent killed right before its Nth change of a file from now on (killer.c); 0: never
kill_at()
{
	local serial=0

	[[ ! -e $run/serial ]] || serial=$(<$run/serial)
	echo $((++serial)) >$run/serial
	[[ -e $run/killer ]] || head -c 4096 /dev/zero >$run/killer
	answered >$run/answered
	printf '%08d%08d' $serial "$1" 1<>$run/killer
}

# changes - how many changes of files were counted, and the last one
changes()
{
	tail -c +17 $run/killer | tr -d '\0' | head -n 1
}

# killed_or_done - "killed" once the agent has been; "done" once it has answered kubelet about a claim since kill_at
killed_or_done()
{
	if [[ ! -e /proc/$(<$run/agent.pid)/exe ]]; then
		echo killed
	elif (($(answered) > $(<$run/answered))); then
		echo "done"
	fi
}

answered()
{
	grep -c 'prepared a claim' $logs/agent.log
}

# registrations - how often kubelet has registered the agent
registrations()
{
	grep -c 'kubelet has registered the agent' $logs/agent.log
}

# shim_of CONTAINER-ID - the process that kills it for containerd
shim_of()
{
	local pid
	read -r pid <"$(find /sys/fs/cgroup -type d \( -name "$1" -o -name "cri-containerd-$1.scope" \))/cgroup.procs"
	awk '{ print $4 }' /proc/"$pid"/stat
}

# cgroup_of POD-UID [CONTAINER-ID] - a pod's folder, or a container's
cgroup_of()
{
	local top=/sys/fs/cgroup/kubepods dir

	if [[ $(cgroup_driver) == systemd ]]; then
		for dir in /sys/fs/cgroup/kubepods.slice/{,*/}kubepods*pod"${1//-/_}".slice; do
			[[ -d $dir ]] && echo "$dir${2:+/cri-containerd-$2.scope}" && return
		done
		return 1
	fi
	for dir in $top/{,burstable/,besteffort/}pod"$1"; do
		[[ -d $dir ]] && echo "$dir${2:+/$2}" && return
	done
	return 1
}

# seen POD-UID CONTAINER-ID - one JSON object of what the kernel says
seen()
{
	local pod dir pid

	pod=$(cgroup_of "$1") && dir=$(cgroup_of "$1" "$2") || return 1
	read -r pid <"$dir/cgroup.procs" || return 1
	jq -cn --arg cpus "$(<"$dir/cpuset.cpus")" --arg mems "$(<"$dir/cpuset.mems")" \
		--arg allowed "$(awk '$1 == "Cpus_allowed_list:" { print $2 }' /proc/"$pid"/status)" \
		--arg allowed_mems "$(awk '$1 == "Mems_allowed_list:" { print $2 }' /proc/"$pid"/status)" \
		--arg max "$(<"$dir/hugetlb.2MB.max")" --arg rsvd "$(<"$dir/hugetlb.2MB.rsvd.max")" \
		--arg pod_max "$(<"$pod/hugetlb.2MB.max")" --arg pod_rsvd "$(<"$pod/hugetlb.2MB.rsvd.max")" \
		--arg pages "$(<"$dir/hugetlb.2MB.numa_stat")" --arg pid "$pid" --arg memory "$(<"$dir/memory.max")" '$ARGS.named'
}

ledger()
{
	"$PROGRAMS/numastow" ledger --json
}

# --- a machine of the shape v2-dimm ---------------------------------------------------------------

# dimm_online - all memory that is offline, in zone Movable
dimm_online()
{
	local blocks

	blocks=$(cd /sys/devices/system/memory && grep -lx offline memory*/state | tr -dc '0-9\n' | paste -sd ,)
	"$PROGRAMS/numastow" online --zone movable "$blocks"
}

dimm_name()
{
	"$PROGRAMS/numastow" blocks --json | jq -r '.devices[].name'
}

memory_states()
{
	(cd /sys/devices/system/memory && grep -H . memory*/state | sort -V)
}

# start_drain OPTION... - in the background: what it says and its exit code are in drain.log
start_drain()
{
	: >$logs/drain.log
	(
		"$PROGRAMS/numastow" drain --json "$@"
		echo "exit $?"
	) >>$logs/drain.log 2>&1 </dev/null &
}
