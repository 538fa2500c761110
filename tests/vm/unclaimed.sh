#!/bin/bash
# Pods without a claim beside exclusive CPUs: this script plays kubelet, with the names of both cgroup drivers. Processes
# of pods of all classes report on which CPUs they may run, from their first instruction on, while claims with exclusive
# CPUs come and go: none of them ever has one. The agent learns of new pods from inotify alone.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/unclaimed.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
watcher=$vm_progs/watcher
top=/sys/fs/cgroup
[[ $VM_CGROUP == v2 ]] || top=/sys/fs/cgroup/cpuset
share=aaaaaaaa-0000-4000-8000-00000000000
number=100 # of pods

### kubelet

# kubelet_cgroup PATH - make a cgroup as kubelet and runtimes do: on v2 with controllers for the cgroups below, on v1 with
# sets; under systemd also the slice's unit.
kubelet_cgroup()
{
	local hierarchy path=$1
	local -a all=("$top")

	[[ $VM_CGROUP == v2 ]] || all=(/sys/fs/cgroup/{cpuset,memory,hugetlb})
	if [[ $VM_INIT == systemd && $path == *.slice ]]; then
		systemctl start "${path##*/}" || return 1
	fi
	for hierarchy in "${all[@]}"; do
		bare_cgroup "$hierarchy" "$path" || return 1
	done
}

# use_names DRIVER - use the cgroup names of this cgroup driver
use_names()
{
	if [[ $1 == systemd ]]; then
		kubepods=/kubepods.slice
		classes=([guaranteed]='' [burstable]=/kubepods-burstable.slice [besteffort]=/kubepods-besteffort.slice)
	else
		kubepods=/kubepods
		classes=([guaranteed]='' [burstable]=/burstable [besteffort]=/besteffort)
	fi
	for class in guaranteed burstable besteffort; do
		kubelet_cgroup "$kubepods${classes[$class]}"
		[[ $VM_CGROUP != v2 ]] || echo +cpuset +memory +hugetlb >"$top$kubepods${classes[$class]}/cgroup.subtree_control"
	done
}

# new_pod CLASS - print the path of a new pod's cgroup
new_pod()
{
	local uid=99999999-0000-4000-8000-000000000$number infix=
	if [[ $kubepods == *.slice ]]; then
		[[ $1 == guaranteed ]] || infix=$1-
		pod=$kubepods${classes[$1]}/kubepods-${infix}pod${uid//-/_}.slice
	else
		pod=$kubepods${classes[$1]}/pod$uid
	fi
	number=$((number + 1))
	kubelet_cgroup "$pod"
}

# container_path POD ID
container_path()
{
	local id
	id=$(printf '%064d' "$2")
	if [[ $kubepods == *.slice ]]; then
		echo "$1/cri-containerd-$id.scope"
	else
		echo "$1/$id"
	fi
}

# unclaimed NAME POD - start a container without a claim; its process is in its cgroup before it executes anything
declare -A watchers
unclaimed()
{
	local path
	number=$((number + 1))
	path=$(container_path "$2" $number)
	kubelet_cgroup "$path"
	[[ ! ${3:-} ]] || check "the cgroup of $1 is written at once" eventually 60 is_off "$path"
	"$watcher" "$vm_work/watched-$1" "$top$path/cgroup.procs" &
	watchers[$1]=$!
}

# is_off PATH - whether the cgroup's set has none of the exclusive CPUs
is_off()
{
	local set
	set=$(<"$top$1/cpuset.cpus")
	[[ $set && ! $(comm -12 <(numbers "$set" | sort) <(numbers "$exclusive" | sort)) ]]
}

### claims

claim_uid()
{
	echo "11111111-2222-4333-8444-55555555555$1"
}

# claimed NAME NUMBER POD - start a container of that claim, in the pod's cgroup; its CPUs are exclusive from now on
claimed()
{
	local path device
	path=$(container_path "$3" $((9000 + number)))
	[[ $(cgroup_driver) != systemd ]] || path=${3##*/}:cri-containerd:$(printf '%064d' $((9000 + number)))
	number=$((number + 1))
	device=$(jq -rn --arg hook "$HOOK" --arg uid "$(claim_uid "$2")" --arg share "$share$2" '
		def call($name): "[{path: \($hook | @json), args: [\($hook | @json), \"\($name)\", \"--claim\", \($uid | @json), \"--share\", \($share | @json)]}]";
		".hooks.createRuntime = \(call("apply")) | .hooks.poststop = \(call("release"))"')
	start "$1" --cgroups-path "$path" --edit "$device" || return 1
	echo "$("$watcher" --now) $(mask "$(cpus_of "$1")")" >"$vm_work/since-$1"
}

# ended NAME - end the container; its CPUs were exclusive until now
ended()
{
	echo "$(<"$vm_work/since-$1") $("$watcher" --now)" >>"$vm_work/intervals"
	stop "$1"
}

mask()
{
	local cpu mask=0
	for cpu in $(numbers "$1"); do
		mask=$((mask | 1 << cpu))
	done
	printf '%x' "$mask"
}

### the agent

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null -out "$vm_work/ca.crt" \
	-subj /CN=none -days 2 2>/dev/null
cat >"$vm_work/kubeconfig" <<END
{"apiVersion": "v1", "kind": "Config", "current-context": "c",
 "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "$vm_work/ca.crt"}}],
 "users": [{"name": "u", "user": {"token": "none"}}],
 "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}
END

agent_begins()
{
	"$programs/numastow-agent" --config /dev/null --reconcile-interval 1h --gc-interval 1h "$@" \
		>"$vm_work/agent.out" 2>&1 &
	agent=$!
	check "an agent begins" eventually 60 grep -q 'is ready' "$vm_work/agent.out"
}

kubernetes=(--kubernetes --kubeconfig "$vm_work/kubeconfig" --node numa --kubelet-folder "$vm_work")

agent_ends()
{
	kill "$@" $agent
	wait $agent 2>/dev/null
}

### results

# Find processes that had a CPU while it was exclusive to another container.
violations()
{
	local file first_end last_begin set cpus from to seen=0

	for file in "$vm_work"/watched-*; do
		while read -r _ first_end last_begin _ set; do
			seen=$((seen + 1))
			while read -r from cpus to; do
				if ((0x$set & 0x$cpus && last_begin >= from && first_end <= to)); then
					echo "${file##*/}: $set from $first_end to $last_begin; $cpus from $from to $to"
				fi
			done <"$vm_work/intervals"
		done <"$file"
	done
	((seen >= 10)) || echo "only $seen sets were seen"
}

round()
{
	local driver=$1 class
	declare -gA classes
	use_names "$driver"
	rm -f "$vm_work"/intervals "$vm_work"/watched-*
	agent_begins "${kubernetes[@]}"
	check "$driver: it is on" eventually 60 test -e /run/numastow/pods-on
	for class in guaranteed burstable besteffort; do
		new_pod $class
		unclaimed "$class-before" "$pod"
	done
	new_pod guaranteed
	local mine=$pod
	unclaimed sandbox "$mine"
	check "$driver: a claim is taken" "$programs/tests/tools/claim-on-root" / take "$(claim_uid 1)" team/db \
		"${share}1:main:1:2:exclusive:64:0"
	check "$driver: a container of it starts" claimed "$driver-one" 1 "$mine" || said "$driver-one"
	exclusive=$(cpus_of "$driver-one")
	eq "$driver: it has two CPUs" "$(numbers "$exclusive" | wc -l)" 2
	for class in burstable besteffort; do
		new_pod $class
		unclaimed "$class-new" "$pod" # the class has its set
	done
	new_pod guaranteed
	check "$driver: a new pod is noticed" eventually 60 is_off "$pod"
	unclaimed guaranteed-new "$pod"
	unclaimed beside "$mine" at-once
	[[ $VM_INIT != systemd ]] || check "systemd reads its units again" systemctl daemon-reload

	agent_ends -KILL
	new_pod besteffort
	unclaimed besteffort-dead "$pod"
	new_pod guaranteed
	"$numastow" gc >/dev/null
	check "$driver: with the agent dead gc writes a new pod's cgroup" is_off "$pod"
	unclaimed guaranteed-dead "$pod"
	check "$driver: a second claim is taken" "$programs/tests/tools/claim-on-root" / take "$(claim_uid 2)" team/db2 \
		"${share}2:main:0:1:exclusive:64:0"
	new_pod guaranteed
	check "$driver: its container starts without an agent" claimed "$driver-two" 2 "$pod" || said "$driver-two"
	new_pod burstable
	check "$driver: a Burstable pod has no exclusive CPUs" fails claimed "$driver-no" 2 "$pod"
	check "$driver: why says so" sh -c "'$numastow' why '$driver-no' | grep -q 'class Guaranteed'"
	all_as_promised "$driver: with two claims" 10
	agent_begins "${kubernetes[@]}"
	ended "$driver-one"
	check "$driver: a container starts again" claimed "$driver-one" 1 "$mine"
	eq "$driver: with the same CPUs" "$(cpus_of "$driver-one")" "$exclusive"
	ended "$driver-one"
	ended "$driver-two"
	for name in 1 2; do
		check "$driver: a claim is dropped" "$programs/tests/tools/claim-on-root" / drop "$(claim_uid $name)"
	done
	for name in "${!watchers[@]}"; do
		eq "$driver: $name has all CPUs again" "$(allowed_cpus "${watchers[$name]}")" 0-7
		kill "${watchers[$name]}"
		wait "${watchers[$name]}"
	done
	watchers=()
	eq "$driver: no process without a claim had an exclusive CPU at any moment" "$(violations)" ""
	eq "$driver: nothing is remembered" "$(ls /run/numastow/pods)" ""
	agent_ends
}

[[ $VM_INIT == systemd ]] || round cgroupfs
round systemd

"$programs/tests/tools/claim-on-root" / take "$(claim_uid 1)" team/db "${share}1:main:1:2:exclusive:64:0"
"$numastow" gc >/dev/null
check "kubelet's cgroups lack exclusive CPUs" test "$(<"$top$kubepods/cpuset.cpus")" != 0-7
agent_begins
check "an agent without Kubernetes gives them back" eventually 60 test ! -e /run/numastow/pods-on
check "all of them" eventually 60 grep -qE '^(0-7)?$' "$top$kubepods/cpuset.cpus"
agent_ends
"$programs/tests/tools/claim-on-root" / drop "$(claim_uid 1)"

vm_summary
