#!/bin/bash
# Promises that are counted: caps with a repin, members of a pod that never come, a command that does not exist,
# leases when the clock jumps. Limits that the kernel has and config.json has not.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/promises.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
exclusive=(--annotation numastow.io/cpu-mode=exclusive)
Mi=$((1 << 20))
mkdir -p /etc/numastow

# refused NAME PATTERN ID OPTION...
refused()
{
	local name=$1 pattern=$2

	shift 2
	if start "$@"; then
		fail "$name" "$1 started"
		gone "$1"
	else
		refuse "$name" "$pattern" sh -c "'$numastow' why '$1'; false"
	fi
}

states()
{
	"$numastow" ledger --json | jq -r '[.containers[].state] | sort | join(" ")'
}

count_list()
{
	tr , '\n' <<<"$1" | awk -F- 'NF { n += NF == 2 ? $2 - $1 + 1 : 1 } END { print n + 0 }'
}

### a cap holds, and is no reason against moving

cat >/etc/numastow/config.yaml <<-END
	lease-seconds: 3600
	namespaces:
	  - name: team
	    cpus: 3
	    exclusive-cpus: true
	  - name: "*"
	    cpus: 4
	    exclusive-cpus: true
END
team=(--annotation io.kubernetes.pod.namespace=team --annotation io.kubernetes.pod.uid=u1)
want capped "${team[@]}" "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/nodes=0-1
refused "more than the namespace's cap is refused" 'team' over "${team[@]}" --annotation numastow.io/cpus=2
refused "more than the cap for everybody else, too" 'cap|most|allow' lone --annotation numastow.io/cpus=5 \
	--annotation numastow.io/policy=best-effort
"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 600s >"$vm_work/agent.log" 2>&1 &
agent=$!
eventually 20 grep -q 'is ready' "$vm_work/agent.log" || fail "the agent starts" "$(<"$vm_work/agent.log")"
from=$(record capped mems)
read -ra words <<<"$(readme 'numastow repin' | sed -e 's/ID/capped/' -e "s/--to 1/--to $((1 - from))/")"
check "2 of 3 CPUs can be moved, by README's command" "$numastow" "${words[@]:1}"
eq "they have been" "$(record capped mems)" $((1 - from))
kill "$agent"
wait "$agent"
all_as_promised "moved within a cap"
gone capped

### members that never come

want small --cpus 1 --memory $((256 * Mi)) --annotation io.kubernetes.pod.uid=u2 \
	--annotation io.kubernetes.pod.namespace=other --annotation io.kubernetes.container.name=small "${exclusive[@]}" \
	--annotation numastow.io/scope=pod --annotation numastow.io/cpus.small=1 --annotation numastow.io/cpus.ghost=15 ||
	ok "a pod that wants more than its container may have is refused"
given=$("$numastow" ledger --json | jq '[.containers[].nodes[].n_cpus] | add // 0')
within "a container of one CPU takes no more through others' names" "$given" 0 4
gone small
"$numastow" gc >/dev/null
eq "what was kept for them goes with the pod's last container" "$(states)" ""

### a command that does not exist

refused_start()
{
	! start nosuch --args "/no/such/command" "${exclusive[@]}" --annotation numastow.io/cpus=3 --annotation numastow.io/nodes=1
}
check "a command that does not exist does not start" refused_start
runtime delete --force nosuch >/dev/null 2>&1
want next "${exclusive[@]}" --annotation numastow.io/cpus=4 --annotation numastow.io/nodes=1
eq "its CPUs are free for the next one" "$(allowed_cpus "$(container_pid next)")" 4-7
gone next
"$numastow" gc >/dev/null
eq "nothing is left of it" "$(states)" ""

### the clock jumps

dir=$(bundle lease "${exclusive[@]}" --annotation numastow.io/cpus=2 --cgroups-path /numastow-test/lease)
"$HOOK" precreate <"$dir/config.json" >/dev/null
date -s "+10 years" >/dev/null
"$numastow" gc >/dev/null
eq "a lease of an hour is there when the clock jumps forward" "$(states)" lease
date -s "-20 years" >/dev/null
"$numastow" gc >/dev/null
eq "and when it jumps back" "$(states)" lease
"$numastow" release lease >/dev/null
# An old lease must not last for the 20 years that the clock is late now.
sed -i 's/^lease-seconds.*/lease-seconds: 2/' /etc/numastow/config.yaml
"$HOOK" precreate <"$dir/config.json" >/dev/null
date -s "-10 years" >/dev/null
ran_out()
{
	"$numastow" gc >/dev/null
	[[ ! $(states) ]]
}
check "a lease of two seconds runs out, whatever the clock says" eventually 20 ran_out
date -s "+20 years" >/dev/null
rm /etc/numastow/config.yaml

### limits that the kernel knows

memory=memory.max
[[ $VM_CGROUP == v2 ]] || memory=memory.limit_in_bytes
if [[ $VM_CGROUP == v2 ]]; then
	limit='.linux.resources.unified = {"memory.max": "67108864"}'
	if start unified --edit "$limit" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=256Mi; then
		eq "a limit set through unified is not raised" "$(<"$(cgroup_dir "$(container_pid unified)" memory)/$memory")" 67108864
		gone unified
	else
		check "more memory than a limit set through unified is refused" grep -qE '67108864|64Mi' <<<"$("$numastow" why unified)"
	fi
fi
if [[ $VM_INIT == systemd ]]; then
	systemctl start machine-tight.slice
	systemctl set-property --runtime machine-tight.slice MemoryMax=64M
	path=machine-tight.slice:test:tight
else
	for dir in /sys/fs/cgroup /sys/fs/cgroup/memory; do
		[[ -e $dir/cgroup.procs ]] || continue
		bare_cgroup $dir /tight && echo 67108864 >$dir/tight/$memory
	done
	path=/tight/tight
fi
refused "more memory than a cgroup above has is refused" '67108864|64Mi' tight --cgroups-path "$path" \
	--annotation numastow.io/cpus=1 --annotation numastow.io/memory=256Mi
want tight --cgroups-path "$path" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=32Mi
all_as_promised "within that"
gone tight

vm_summary
