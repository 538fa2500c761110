#!/bin/bash
# Containers of Kubernetes' claims: a pod's cgroup as kubelet makes it, the hooks that CDI puts into config.json beside
# those of hooks.d, and a claim that outlives its containers.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/claims.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
Mi=$((1 << 20))
uid=11111111-2222-4333-8444-555555555555
first=aaaaaaaa-0000-4000-8000-000000000001
second=aaaaaaaa-0000-4000-8000-000000000002
pod=99999999-2222-4333-8444-555555555555
pods=/kubepods/pod$pod
slice=kubepods-pod${pod//-/_}.slice

claim()
{
	"$programs/tests/tools/claim-on-root" / "$@"
}

# device SHARE - what CDI adds to config.json for it: after the hooks that are there, which are those of hooks.d
device()
{
	jq -rn --arg hook "$HOOK" --arg uid "$uid" --arg share "$1" '
		def call($name): "[{path: \($hook | @json), args: [\($hook | @json), \"\($name)\", \"--claim\", \($uid | @json), \"--share\", \($share | @json)]}]";
		".hooks.createRuntime += \(call("apply")) | .hooks.poststop += \(call("release"))"'
}

cgroups_path()
{
	if [[ $(cgroup_driver) == systemd ]]; then
		echo "$slice:test:$1"
	else
		echo "$pods/$1"
	fi
}

# want ID OPTION... - a container of the pod that has to start
want()
{
	local id=$1

	shift
	start "$id" --cgroups-path "$(cgroups_path "$id")" --annotation io.kubernetes.pod.uid=$pod \
		--annotation io.kubernetes.pod.namespace=team --annotation "io.kubernetes.container.name=$id" "$@" ||
		fail "$id starts" "$(said "$id")"
}

cpus()
{
	allowed_cpus "$(container_pid "$1")"
}

count_list()
{
	tr , '\n' <<<"$1" | awk -F- 'NF { n += NF == 2 ? $2 - $1 + 1 : 1 } END { print n + 0 }'
}

limits()
{
	cat "$1"/hugetlb.2MB.{,rsvd.}{max,limit_in_bytes} 2>/dev/null | sort -u | paste -sd ' '
}

# kubelet's: the pod's cgroup, without pages
if [[ $(cgroup_driver) == systemd ]]; then
	systemctl start "$slice"
	pods=/kubepods.slice/$slice
fi
tops=(/sys/fs/cgroup)
[[ $VM_CGROUP == v2 ]] || tops=(/sys/fs/cgroup/{cpuset,memory,hugetlb})
for top in "${tops[@]}"; do
	bare_cgroup "$top" "$pods/x"
	rmdir "$top$pods/x"
done
if [[ $VM_CGROUP == v2 ]]; then
	hugetlb=/sys/fs/cgroup$pods
else
	hugetlb=/sys/fs/cgroup/hugetlb$pods
fi
no_pages()
{
	local file

	for file in "$hugetlb"/hugetlb.2MB.{,rsvd.}{max,limit_in_bytes}; do
		[[ ! -e $file ]] || echo 0 >"$file"
	done
}
no_pages
echo 32 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages

start beside || fail "a container beside the pod starts"

# --- taken ------------------------------------------------------------------------------------------

check "a claim is taken" claim take $uid team/db $first:main:1:2:exclusive:128:16 $second:side:0:1:exclusive:64:0
check "the same again changes nothing" claim take $uid team/db $first:main:1:2:exclusive:128:16 \
	$second:side:0:1:exclusive:64:0
check "another content is refused" sh -c \
	"! $programs/tests/tools/claim-on-root / take $uid team/db $first:main:1:3:exclusive:128:16 2>$vm_work/said"
check "more pages than are there are refused" sh -c \
	"! $programs/tests/tools/claim-on-root / take ${uid/1111/2222} team/db ${first/aaaa/bbbb}:main:1:1:shared:0:17 2>$vm_work/said"
check "and the line says so" grep -q "17 hugepages of 2Mi; NUMA node 1 has 16 free" "$vm_work/said"
eq "the pool is as it was" "$(pool 1 2048)" 32

# --- two containers of one share --------------------------------------------------------------------

want two --edit "$(device $first)"
eq "the pod's limits are raised" "$(limits "$hugetlb")" $((32 * Mi))
no_pages
eq "kubelet takes them back" "$(limits "$hugetlb")" 0
"$numastow" gc >/dev/null
eq "gc raises them again" "$(limits "$hugetlb")" $((32 * Mi))
want one --edit "$(device $first)" --args "touch-memory --huge 2M --hold 16"
one=$(cpus one)
eq "exclusive: two CPUs" "$(count_list "$one")" 2
check "of node 1" grep -q '^[4-7][-,][4-7]$' <<<"$one"
eq "both containers have them" "$(cpus two)" "$one"
eq "and the memory of the node" "$(allowed_mems "$(container_pid one)")" 1
eq "the limits are the share's" "$(limits "$(cgroup_dir "$(container_pid one)" hugetlb)")" $((32 * Mi))
check "the pages are mapped" eventually 20 grep -q touched "$vm_work/one.out"
within "on node 1" "$(pages_on "$(container_pid one)" 1)" $((16 * 1024)) $((40 * 1024))
beside=$(cpus beside)
eq "the container beside is kept off both shares" "$(count_list "$beside")" 5
eq "the pool is as it was, with containers" "$(pool 1 2048)" 32

# --- two shares, and annotations beside -------------------------------------------------------------

want both --edit "$(device $first)" --edit "$(device $second)" --annotation numastow.io/cpus=2 \
	--annotation numastow.io/cpu-mode=exclusive
eq "two shares: nodes of both" "$(allowed_mems "$(container_pid both)")" 0-1
both=$(cpus both)
check "two shares: CPUs of both" test "${both#[0-3],}" = "$one"
eq "annotations give nothing beside" "$("$numastow" ledger --json | jq '[.containers[].nodes[].n_cpus] | add')" 3
check "the line says so" sh -c "'$numastow' why both | grep -q 'its annotations are ignored'"
eq "one record each" "$("$numastow" ledger --json | jq -c '[.containers[] | select(.state == "active") | .id] | sort')" \
	'["both","one","two"]'
check "the ledger names the claim" sh -c "'$numastow' ledger | grep -q '^claim team/db *main '"

# --- ends -------------------------------------------------------------------------------------------

check "a claim in use is not dropped" sh -c \
	"! $programs/tests/tools/claim-on-root / drop $uid 2>$vm_work/said"
check "and the line names a container" grep -q "is still in use by team/.* of pod $pod" "$vm_work/said"
kill -KILL "$(container_pid one)"
eventually 20 test ! -e "/proc/$(container_pid one)/exe"
stop one
want one --edit "$(device $first)"
eq "started again: the same CPUs" "$(cpus one)" "$one"
stop one; stop two; stop both
eq "without containers the claim keeps its CPUs" "$(cpus beside)" "$beside"
eq "only the claim's records are left" "$("$numastow" ledger --json | jq -c '[.containers[].state] | unique')" '["lease"]'
"$numastow" gc >/dev/null
eq "gc leaves it" "$("$numastow" ledger --json | jq '.containers | length')" 2

start none --cgroups-path "$(cgroups_path none)" --edit "$(device "${first/aaaa/cccc}")"
eq "an unknown share does not start" $? 1
check "why says so" sh -c "'$numastow' why none | grep -q 'has no share'"
check "the claim is dropped" claim drop $uid
eq "the others have all CPUs again" "$(cpus beside)" 0-7
check "a claim that is gone is dropped, too" claim drop $uid
stop beside
eq "nothing is left" "$(ledger)" '{"containers":[],"pools":[]}'

vm_summary
