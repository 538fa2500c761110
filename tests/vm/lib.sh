# shellcheck shell=bash
# For scripts that tests/vm/run runs in a guest: checks, containers, and where memory is.
#
#   . "$(dirname "$0")/lib.sh"
#   check "node 1 is there" test -d /sys/devices/system/node/node1
#   vm_summary      # the last line: prints "N passed, N failed", and ends the script accordingly

[[ ${NUMASTOW_VM:-} ]] || {
	echo "this script changes the machine it runs on: start it with tests/vm/run" >&2
	exit 2
}

vm_dir=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
vm_root=$(readlink -f "$vm_dir/../..")
# Static programs from progs/, built on the host by tests/vm/run.
vm_progs=$vm_root/build/vm
vm_work=/run/numastow-vm/work
mkdir -p "$vm_work"
# What nothing is ever written to: a shell waits by reading it. Under emulation "sleep" takes 25 ms of the processor.
vm_silent=$vm_work/silent
[[ -p $vm_silent ]] || mkfifo "$vm_silent"

### checks

vm_passed=0
vm_failed=0

ok()
{
	echo "ok - $1"
	vm_passed=$((vm_passed + 1))
}

# fail NAME [MESSAGE...]
fail()
{
	echo "not ok - $1"
	shift
	[[ ! $* ]] || printf '%s\n' "$*" | sed 's/^/#   /'
	vm_failed=$((vm_failed + 1))
}

# check NAME COMMAND... - the command has to succeed; its output is shown only if it does not.
check()
{
	local name=$1 said rc=0
	shift
	said=$("$@" 2>&1) || rc=$?
	if ((rc == 0)); then
		ok "$name"
	else
		fail "$name" "$* -> $rc"$'\n'"$said"
		return 1
	fi
}

# fails COMMAND... - for `check`: the command has to fail
fails()
{
	! "$@"
}

# refuse NAME PATTERN COMMAND... - the command has to fail, with output that matches PATTERN (ERE).
refuse()
{
	local name=$1 pattern=$2 said rc=0
	shift 2
	said=$("$@" 2>&1) || rc=$?
	if ((rc == 0)); then
		fail "$name" "$* succeeded"$'\n'"$said"
		return 1
	elif ! grep -Eq -e "$pattern" <<<"$said"; then
		fail "$name" "$* said, not matching '$pattern':"$'\n'"$said"
		return 1
	fi
	ok "$name"
}

# eq NAME GOT WANT
eq()
{
	if [[ $2 == "$3" ]]; then
		ok "$1"
	else
		fail "$1" "got:  $2"$'\n'"want: $3"
		return 1
	fi
}

# within NAME GOT LOW HIGH - whole numbers, both ends included
within()
{
	if [[ $2 =~ ^-?[0-9]+$ ]] && (($2 >= $3 && $2 <= $4)); then
		ok "$1"
	else
		fail "$1" "got:  $2"$'\n'"want: $3 to $4"
		return 1
	fi
}

# eventually SECONDS COMMAND... - try until it succeeds. A busy machine takes many times as long as a quiet one, so
# it waits for two minutes at least: SECONDS says what is usual. A wait that fails is told, for callers that take no notice.
eventually()
{
	local end=$((SECONDS + ($1 < 120 ? 120 : $1)))
	shift
	until "$@"; do
		((SECONDS < end)) || {
			echo "# waited in vain for: $*" >&2
			return 1
		}
		read -rt 0.2 <>"$vm_silent" || :
	done
}

# announce_oom - an OOM kill from here on is part of the test
announce_oom()
{
	: >"$VM_CTL/oom-announced"
}

# announce_warning PATTERN - the kernel's WARNINGs that match (ERE) are part of the test
announce_warning()
{
	echo "$1" >>"$VM_CTL/warnings-announced"
}

# This program checks every thread of every container, independently of the programs under test.
vm_checker=${NUMASTOW_PROGRAMS:-$vm_root/build/release}/tests/tools/check-cpus

# all_as_promised NAME [SECONDS] - every thread of every container is where the ledger says: now, or within some seconds,
# if another program (an agent, a hook that ends) is about to move it
all_as_promised()
{
	check "$1: every thread runs where the ledger says" "$vm_checker" --wait "${2:-0}"
}

# readme BEGINNING - print the command of README's table that begins so
readme()
{
	sed -nE "s/^\\| [^|]+\\| \`($1[^\`]*)\`.*/\\1/p" "$vm_root/README.md"
}

vm_summary()
{
	[[ ! -e /run/numastow/ledger.db ]] || all_as_promised "at the end" 10
	vm_stop_all
	echo "$vm_passed passed, $vm_failed failed"
	((vm_failed == 0 && vm_passed > 0))
	exit
}

### memory

# status_of PID FIELD - a line of the process's status, without its name. It is read whole: read -r seeks back to the end
# of each line, and the kernel writes the text anew then, in which a process that runs has a shorter state than a sleeping
# one. The functions here that are called most start no program: that takes 20 to 100 ms under emulation
status_of()
{
	local text

	IFS= read -rd '' text <"/proc/$1/status"
	[[ ! $text =~ (^|$'\n')"$2:"[[:blank:]]*([^$'\n']*) ]] || echo "${BASH_REMATCH[2]}"
}

# allowed_cpus PID, allowed_mems PID - the kernel's list, as in "0-3"
allowed_cpus()
{
	status_of "$1" Cpus_allowed_list
}

# numbers LIST - "0-2,5" one a line
numbers()
{
	local part
	for part in ${1//,/ }; do
		seq "${part%-*}" "${part#*-}"
	done
}

allowed_mems()
{
	status_of "$1" Mems_allowed_list
}

# pages_on PID NODE - kB of the process on that node
pages_on()
{
	awk -v node="N$2" '
		{
			kb = 4
			for (i = 1; i <= NF; i++)
				if ($i ~ /^kernelpagesize_kB=/) kb = substr($i, index($i, "=") + 1)
			for (i = 1; i <= NF; i++)
				if (index($i, node "=") == 1) sum += substr($i, index($i, "=") + 1) * kb
		}
		END { print sum + 0 }' "/proc/$1/numa_maps"
}

# pool NODE KB - the size of a node's pool of hugepages of KB each, in pages
pool()
{
	echo "$(</sys/devices/system/node/node"$1"/hugepages/hugepages-"$2"kB/nr_hugepages)"
}

pool_free()
{
	cat "/sys/devices/system/node/node$1/hugepages/hugepages-$2kB/free_hugepages"
}

# set_pool NODE KB PAGES - set the pool. By a program of its own, because a signal to the shell would cut the write short
set_pool()
{
	local file=/sys/devices/system/node/node$1/hugepages/hugepages-$2kB/nr_hugepages
	busybox sh -c 'echo "$1" >"$2"' sh "$3" "$file"
	[[ $(pool "$1" "$2") == "$3" ]]
}

### containers

# The OCI runtime: the caller's choice, or runc, which knows every cgroup layout.
VM_RUNTIME=${VM_RUNTIME:-runc}

# vm_rootfs - print a folder with busybox (and the helper programs) in it
vm_rootfs()
{
	local dir=$vm_work/rootfs
	if [[ ! -d $dir ]]; then
		mkdir -p "$dir"/{bin,data,dev,etc,proc,run,sys,tmp,root}
		cp "$(command -v busybox)" "$dir/bin/busybox"
		chroot "$dir" /bin/busybox --install -s /bin
		echo root:x:0:0:root:/root:/bin/sh >"$dir/etc/passwd"
		cp "$vm_progs"/{holder,load,pinner,uring} "$dir/bin/" 2>/dev/null || :
		cp "$vm_progs"/touch "$dir/bin/touch-memory" 2>/dev/null || :
		cp "$vm_dir/progs/hostile.sh" "$dir/bin/hostile"
	fi
	echo "$dir"
}

# cgroup_driver - what fits this guest: systemd or cgroupfs
cgroup_driver()
{
	if [[ $VM_INIT == systemd ]]; then
		echo systemd
	else
		echo cgroupfs
	fi
}

# json_string TEXT - set $json to it, as a string of JSON
json_string()
{
	local text=${1//\\/\\\\}

	text=${text//\"/\\\"}
	text=${text//$'\t'/\\t}
	json=\"${text//$'\n'/\\n}\"
}

# bundle ID [OPTION...] - make an OCI bundle of that name and print its folder.
#
#   --args "COMMAND ARG..."   what to run (default: sleep 100000)
#   --annotation KEY=VALUE    again for more
#   --cpus N                  a CPU limit, as a quota
#   --memory BYTES            a memory limit
#   --cpuset-cpus LIST, --cpuset-mems LIST
#   --cgroups-path PATH       (default: /numastow-test/ID, or machine.slice:test:ID under systemd)
#   --edit FILTER             any other change of config.json, in jq's words
#
# $HOOK, when set, is a program that gets the hooks: "apply" as createRuntime, "release" as poststop.
bundle()
{
	make_bundle "$@" && echo "$vm_bundle"
}

# make_bundle ID [OPTION...] - the same, which sets $vm_bundle to the folder. What most containers need takes no jq
make_bundle()
{
	local id=$1 args='sleep 100000' path=/numastow-test/$1 edit='.' words='' pairs='' hooks='' json key
	local -A given=()
	local capabilities='["CAP_SYS_NICE", "CAP_IPC_LOCK", "CAP_KILL"]'

	vm_bundle=$vm_work/bundle/$id
	[[ $VM_INIT != systemd ]] || path=machine.slice:test:$id
	shift
	while (($# >= 2)); do
		case $1 in
		--args) args=$2 ;;
		--annotation) given[${2%%=*}]=${2#*=} ;;
		--cpus) edit+=" | .linux.resources.cpu += {quota: ($2 * 100000), period: 100000}" ;;
		--memory) edit+=" | .linux.resources.memory.limit = $2" ;;
		--cpuset-cpus) edit+=" | .linux.resources.cpu.cpus = \"$2\"" ;;
		--cpuset-mems) edit+=" | .linux.resources.cpu.mems = \"$2\"" ;;
		--cgroups-path) path=$2 ;;
		--edit) edit+=" | $2" ;;
		*)
			echo "bundle: unknown option $1" >&2
			return 1
			;;
		esac
		shift 2
	done

	args+=' '
	while [[ $args ]]; do
		json_string "${args%% *}"
		words+=${words:+, }$json
		args=${args#* }
	done
	for key in "${!given[@]}"; do
		json_string "$key"
		pairs+="${pairs:+, }$json: "
		json_string "${given[$key]}"
		pairs+=$json
	done
	json_string "$path"
	[[ ! ${HOOK:-} ]] || hooks="\"hooks\": {
		\"createRuntime\": [{\"path\": \"$HOOK\", \"args\": [\"$HOOK\", \"apply\"]}],
		\"poststop\": [{\"path\": \"$HOOK\", \"args\": [\"$HOOK\", \"release\"]}]
	},"
	[[ -d $vm_work/rootfs ]] || vm_rootfs >/dev/null
	[[ -d $vm_bundle ]] || mkdir -p "$vm_bundle" || return 1
	echo "{
	\"ociVersion\": \"1.0.2\",
	\"hostname\": \"$id\",
	\"process\": {
		\"terminal\": false, \"cwd\": \"/\", \"args\": [$words],
		\"env\": [\"PATH=/bin\"], \"user\": {\"uid\": 0, \"gid\": 0},
		\"capabilities\": {\"bounding\": $capabilities, \"effective\": $capabilities, \"permitted\": $capabilities},
		\"noNewPrivileges\": true
	},
	\"root\": {\"path\": \"$vm_work/rootfs\", \"readonly\": true},
	\"mounts\": [
		{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\", \"options\": []},
		{\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\",
			\"options\": [\"nosuid\", \"mode=755\", \"size=65536k\"]},
		{\"destination\": \"/tmp\", \"type\": \"tmpfs\", \"source\": \"tmpfs\", \"options\": [\"nosuid\"]}
	],
	$hooks
	\"annotations\": {$pairs},
	\"linux\": {
		\"cgroupsPath\": $json, \"resources\": {},
		\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"ipc\"}, {\"type\": \"uts\"}, {\"type\": \"mount\"}]
	}
}" >"$vm_bundle/config.json"
	[[ $edit == . ]] || {
		jq "$edit" "$vm_bundle/config.json" >"$vm_bundle/edited" &&
			mv "$vm_bundle/edited" "$vm_bundle/config.json"
	}
}

# runtime ARG... - the OCI runtime with this guest's cgroup driver
runtime()
{
	local -a driver=()
	[[ $VM_INIT != systemd ]] || driver=(--systemd-cgroup)
	"$VM_RUNTIME" --root "$vm_work/$VM_RUNTIME" "${driver[@]}" "$@"
}

# start ID [OPTION...] - make a bundle as above, and run it in the background. What the runtime and the container
# print is in "said ID".
start()
{
	local id=$1
	make_bundle "$@" || return 1
	runtime run --detach --pid-file "$vm_bundle/pid" --bundle "$vm_bundle" "$id" \
		>"$vm_work/$id.out" 2>&1 </dev/null || return 1
	echo "$VM_RUNTIME" >"$vm_bundle/runtime"
}

said()
{
	cat "$vm_work/$1.out"
}

# want ID [OPTION...] - start it, or fail with the reason. The script has set $numastow
# shellcheck disable=SC2154 # set by the script
want()
{
	start "$@" || fail "$1 starts" "$(said "$1")" "$("$numastow" why "$1")"
}

# cpus_of ID - where its first process may run
cpus_of()
{
	allowed_cpus "$(container_pid "$1")"
}

# stop ID - kill it and remove it, hooks and all
stop()
{
	local dir=$vm_work/bundle/$1 VM_RUNTIME=$VM_RUNTIME
	[[ ! -e $dir/runtime ]] || VM_RUNTIME=$(<"$dir/runtime")
	rm -f "$dir/runtime"
	runtime delete --force "$1" >>"$vm_work/$1.out" 2>&1
}

vm_stop_all()
{
	local mark
	for mark in "$vm_work"/bundle/*/runtime; do
		[[ ! -e $mark ]] || stop "$(basename "$(dirname "$mark")")"
	done
}

# container_pid ID - from a file: asking the runtime takes seconds under emulation
container_pid()
{
	echo "$(<"$vm_work/bundle/$1/pid")"
}

# state ID - the OCI state, as a hook gets it
state()
{
	jq -c --arg id "$1" --argjson pid "$(container_pid "$1")" --arg bundle "$vm_work/bundle/$1" \
		'{ociVersion, id: $id, status: "created", pid: $pid, bundle: $bundle, annotations}' \
		"$vm_work/bundle/$1/config.json"
}

# bare ID PATH [KEY=VALUE...] - make a container without a runtime, for cases that no runtime produces: a process in a
# cgroup of its own, in every hierarchy. "hook_for" runs the hook for it; "bare_end" ends it.
bare()
{
	local id=$1 path=$2 dir=$vm_work/bundle/$1 c annotations=''
	local -a tops=(/sys/fs/cgroup)

	shift 2
	[[ $VM_CGROUP == v2 ]] || tops=(/sys/fs/cgroup/{cpuset,memory,hugetlb})
	sleep 100000 &
	mkdir -p "$dir"
	echo $! >"$dir/pid"
	for c in "${tops[@]}"; do
		bare_cgroup "$c" "$path" && echo "$(<"$dir/pid")" >"$c$path/cgroup.procs" || return 1
	done
	for c; do
		annotations+=",\"${c%%=*}\":\"${c#*=}\""
	done
	echo "{\"annotations\":{${annotations#,}},\"linux\":{\"resources\":{}}}" >"$dir/config.json"
}

# bare_cgroup HIERARCHY PATH - make the cgroup and those above it, with cpuset
bare_cgroup()
{
	local dir=$1 part file
	local -a parts

	IFS=/ read -ra parts <<<"${2#/}"
	for part in "${parts[@]}"; do
		[[ $VM_CGROUP != v2 ]] || echo +cpuset +memory +hugetlb >"$dir/cgroup.subtree_control" || return 1
		mkdir -p "$dir/$part"
		for file in "$dir/"{cpuset.,}{cpus,mems}; do
			[[ $VM_CGROUP == v1 && -e $file ]] || continue
			[[ $(<"$dir/$part/${file##*/}") ]] || cat "$file" >"$dir/$part/${file##*/}" || return 1
		done
		dir+=/$part
	done
}

# hook_for ID COMMAND - run the hook for such a container
hook_for()
{
	local pid

	pid=$(container_pid "$1")
	[[ $2 == apply ]] || pid=0
	jq -c --arg id "$1" --argjson pid "$pid" --arg bundle "$vm_work/bundle/$1" \
		'{ociVersion: "1.0.2", id: $id, status: "created", pid: $pid, bundle: $bundle, annotations}' \
		"$vm_work/bundle/$1/config.json" | "$HOOK" "$2"
}

bare_end()
{
	kill -KILL "$(container_pid "$1")"
	eventually 20 test ! -e "/proc/$(container_pid "$1")/exe"
	hook_for "$1" release
}

# gone ID... - end several containers, as "stop" does
gone()
{
	local id

	for id; do
		stop "$id"
	done
}

# record ID FIELD - a field of the container's record in the ledger
record()
{
	"$numastow" ledger --json | jq -r --arg id "$1" ".containers[] | select(.id == \$id) | .$2"
}

# ledger - what `numastow ledger` shows as granted, as JSON without blanks. Without jq: starting a program takes a second
# under emulation
ledger()
{
	local json

	json=$("$numastow" ledger --json)
	json=${json//[[:space:]]/}
	json={${json#*\",}
	echo "${json%%,\"unmanaged\":*}}" # without the unmanaged containers
}

# cgroup_dir PID [CONTROLLER] - the folder of a process's cgroup
cgroup_dir()
{
	local number controllers path wanted=${2:-cpuset}

	while IFS=: read -r number controllers path; do
		if [[ $VM_CGROUP == v2 && $number == 0 ]]; then
			echo "/sys/fs/cgroup$path"
		elif [[ $VM_CGROUP != v2 && ,$controllers, == *",$wanted,"* ]]; then
			echo "/sys/fs/cgroup/$wanted$path"
		fi
	done <"/proc/$1/cgroup"
}

# vm_podman ARG... - podman with its storage in RAM, and a runtime and cgroup driver that fit this guest
vm_podman()
{
	podman --root "$vm_work/podman" --runroot "$vm_work/podman-run" --storage-driver vfs \
		--runtime "$VM_RUNTIME" --cgroup-manager "$(cgroup_driver)" --events-backend file \
		${VM_HOOKS_DIR:+--hooks-dir "$VM_HOOKS_DIR"} "$@"
}

# podman_hooks FOLDER - make a hooks.d folder for the programs in that folder: $VM_HOOKS_DIR
podman_hooks()
{
	local file

	VM_HOOKS_DIR=$vm_work/hooks.d
	mkdir -p "$VM_HOOKS_DIR"
	for file in "$vm_root"/deploy/podman/{,precreate/}*.json; do
		sed "s|@LIBEXECDIR@|$1|" "$file" >"$VM_HOOKS_DIR/$(basename "$file")"
	done
}

# podman_run [OPTION...] -- COMMAND... - in the busybox tree, without a network; $VM_HOOKS_DIR is its hooks.d folder
podman_run()
{
	local -a options=()
	while (($# > 0)) && [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	vm_podman run --network none "${options[@]}" --rootfs "$(vm_rootfs)" "$@"
}

### CPUs

# offline CPU..., online CPU...
offline()
{
	local cpu

	for cpu; do
		echo 0 >"/sys/devices/system/cpu/cpu$cpu/online" || fail "CPU $cpu goes offline"
	done
}

online()
{
	local cpu

	for cpu; do
		echo 1 >"/sys/devices/system/cpu/cpu$cpu/online" || fail "CPU $cpu goes online"
	done
}

### the machine, from outside

# qmp COMMAND [ARGUMENTS-AS-JSON] - have QEMU change this machine, and print its reply. QEMU's port takes one connection:
# hypervisor.py has it while it runs, and is asked instead.
qmp()
{
	python3 "$vm_dir/hypervisor.py" qmp "$@"
}

# dimm_add ID MIB NODE - plug a DIMM. Its blocks come offline.
dimm_add()
{
	qmp object-add "{\"qom-type\": \"memory-backend-ram\", \"id\": \"$1-mem\", \"size\": $(($2 << 20))}" &&
		qmp device_add "{\"driver\": \"pc-dimm\", \"id\": \"$1\", \"memdev\": \"$1-mem\", \"node\": $3}"
}

# dimm_del ID - ask the guest to eject the DIMM; its firmware answers later, see dimm_there
dimm_del()
{
	qmp device_del "{\"id\": \"$1\"}"
}

dimm_there()
{
	qmp query-memory-devices | jq -e --arg id "$1" 'any(.[]; .data.id == $id)' >/dev/null
}

# vmem_size ID MIB - ask for that size of a virtio-mem device; the guest's driver follows later
vmem_size()
{
	qmp qom-set "{\"path\": \"/machine/peripheral/$1\", \"property\": \"requested-size\", \"value\": $(($2 << 20))}"
}

# dax_kmem - make a dax device of the persistent memory, and memory blocks of the device, as ndctl and daxctl do
dax_kmem()
{
	local seed=/sys/bus/nd/devices/dax0.0 space=namespace0.0

	modprobe -a nfit nd_pmem device_dax dax_pmem kmem || return 1
	eventually 10 test -e "/sys/bus/nd/devices/$space" && eventually 10 test -e "$seed/uuid" || return 1
	[[ ! -e /sys/bus/nd/drivers/nd_pmem/$space ]] || echo "$space" >/sys/bus/nd/drivers/nd_pmem/unbind || return 1
	cat /proc/sys/kernel/random/uuid >"$seed/uuid" &&
		echo 2097152 >"$seed/align" &&
		echo ram >"$seed/mode" &&
		echo "$space" >"$seed/namespace" &&
		echo dax0.0 >/sys/bus/nd/drivers/dax_pmem/bind &&
		echo dax0.0 >/sys/bus/dax/drivers/device_dax/unbind &&
		echo dax0.0 >/sys/bus/dax/drivers/kmem/new_id
}

# blocks_of NODE [STATE] - the node's memory blocks, one a line
blocks_of()
{
	local b
	for b in "/sys/devices/system/node/node$1"/memory[0-9]*; do
		[[ -e $b ]] || continue
		[[ ! ${2:-} || $(<"$b/state") == "$2" ]] && basename "$b"
	done | sort -V
}
