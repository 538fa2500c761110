#!/bin/bash
# A problem of one container does not refuse another: a container whose CPU set cannot be changed stops another one only if
# it really may run on the CPUs in question, and the refusal names it. Neither a container that is frozen, out of memory or
# in a deep cgroup delays others, nor a clock that jumps, nor a local user.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun [--env BRIEF=1] v1|v2|v2-systemd tests/vm/strangers.sh
#
# BRIEF: without threaded cgroups and the clock.
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
exclusive=(--annotation numastow.io/cpu-mode=exclusive)
on0=("${exclusive[@]}" --annotation numastow.io/nodes=0)
on1=("${exclusive[@]}" --annotation numastow.io/nodes=1)

### a container whose set cannot be changed

want stuck
dir=$(cgroup_dir "$(container_pid stuck)")
want first "${on1[@]}" --annotation numastow.io/cpus=4
eq "it is off the first one's CPUs" "$(allowed_cpus "$(container_pid stuck)")" 0-3
# From here on its cgroup is read-only: every write fails, as it may on a real failure.
mount --bind "$dir" "$dir"
mount -o remount,bind,ro "$dir"
check "the first one ends well" stop first
check "gc works, and says who is not as it should be" grep -q stuck <<<"$("$numastow" gc 2>&1)"
check "gc's exit code is good" "$numastow" gc
want other "${on1[@]}" --annotation numastow.io/cpus=4
eq "an exclusive container starts where it is not" "$(allowed_cpus "$(container_pid other)")" 4-7
all_as_promised "beside it"
if start wanted "${on0[@]}" --annotation numastow.io/cpus=2; then
	fail "one on CPUs where it runs does not" "$(allowed_cpus "$(container_pid wanted)")"
else
	ok "one on CPUs where it runs does not"
fi
check "because of that container, which is named" grep -q 'container stuck' <<<"$("$numastow" why wanted)"
want shared --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0
eq "a shared one starts anywhere" "$(allowed_mems "$(container_pid shared)")" 0
umount "$dir"
want wanted "${on0[@]}" --annotation numastow.io/cpus=2
all_as_promised "when it can be changed again"
gone wanted other shared
check "gc" "$numastow" gc
eq "and it has all CPUs back" "$(allowed_cpus "$(container_pid stuck)")" 0-7
gone stuck

### valid sets that do not take effect as written

if [[ $VM_CGROUP == v2 ]]; then
	# A cpuset that is wider than the cgroup above.
	if [[ $VM_INIT == systemd ]]; then
		systemctl start machine-narrow.slice
		systemctl set-property --runtime machine-narrow.slice AllowedCPUs=0-3
		path=machine-narrow.slice:test:wide
	else
		bare_cgroup /sys/fs/cgroup /narrow
		echo 0-3 >/sys/fs/cgroup/narrow/cpuset.cpus
		path=/narrow/wide
	fi
	want wide --cpuset-cpus 0-7 --cgroups-path "$path"
	eq "a container with a set wider than its slice has the slice's" "$(allowed_cpus "$(container_pid wide)")" 0-3
	want narrow --cgroups-path "${path/wide/narrow}"
else
	# A cpuset below a container's, which has to shrink first.
	want narrow
	dir=$(cgroup_dir "$(container_pid narrow)")
	mkdir -p "$dir/below/deeper"
	for file in {.,below}:{cpuset.cpus,cpuset.mems}; do
		cat "$dir/${file#*:}" >"$dir/below/${file#*:}"
		cat "$dir/${file#*:}" >"$dir/below/deeper/${file#*:}" 2>/dev/null
	done
	cat "$dir/below/cpuset.mems" >"$dir/below/deeper/cpuset.mems"
	cat "$dir/below/cpuset.cpus" >"$dir/below/deeper/cpuset.cpus"
	container_pid narrow >"$dir/below/deeper/cgroup.procs"
	want wide
fi
want first "${on1[@]}" --annotation numastow.io/cpus=3
want second "${on0[@]}" --annotation numastow.io/cpus=2
all_as_promised "with odd sets"
gone first second
all_as_promised "with odd sets, when all is given back"
eq "which is all that they had" "$(allowed_cpus "$(container_pid narrow)")" "$([[ $VM_CGROUP == v1 ]] && echo 0-7 || echo 0-3)"
gone wide narrow

### a container that is frozen, has no memory and no process left to use, and cgroups deeper than a path can be

want odd --args "holder --anon 16" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=64Mi \
	--annotation numastow.io/nodes=0-1
check "it has its memory" eventually 60 grep -q ^ready "$vm_work/odd.out"
pid=$(container_pid odd)
dir=$(cgroup_dir "$pid" memory)
if [[ $VM_CGROUP == v2 ]]; then
	name=$(printf 'n%.0s' {1..250})
	(cd "$dir" && for _ in {1..18}; do mkdir "$name" && cd "$name" || exit; done) || fail "deep cgroups can be made"
	cat "$dir/memory.current" >"$dir/memory.max"
	echo 1 >"$dir/pids.max"
	echo 1 >"$dir/cgroup.freeze"
else
	cat "$dir/memory.usage_in_bytes" >"$dir/memory.limit_in_bytes"
	echo 1 >"$(cgroup_dir "$pid" pids)/pids.max"
	echo FROZEN >"$(cgroup_dir "$pid" freezer)/freezer.state"
fi
"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 600s >"$vm_work/agent.log" 2>&1 &
agent=$!
want first "${on0[@]}" --annotation numastow.io/cpus=2
check "the agent is ready" eventually 20 grep -q 'is ready' "$vm_work/agent.log"
from=$(record odd mems)
check "it is moved" timeout 600 "$numastow" repin odd --to $((1 - from))
within "with its memory" "$(pages_on "$pid" $((1 - from)))" 16384 100000
all_as_promised "it is frozen" 10
said=$("$numastow" stat odd first 2>&1)
check "it can be looked at" grep -q '16.*Mi' <<<"$said"
[[ $VM_CGROUP != v2 ]] || check "and why not at its processes" grep -q 'odd: .* nested too deeply' <<<"$said"
kill "$agent"
wait "$agent"

if [[ $VM_CGROUP == v2 && ! ${BRIEF:-} ]]; then
	bare threaded /threads/top
	top=/sys/fs/cgroup/threads/top
	mkdir $top/inside
	echo threaded >$top/inside/cgroup.type
	echo +cpuset >$top/cgroup.subtree_control
	container_pid threaded >$top/inside/cgroup.procs || fail "a process is in a threaded cgroup"
	check "the hook for a container in a threaded cgroup" hook_for threaded apply
	all_as_promised "a threaded cgroup"
	check "it ends" bare_end threaded
fi

if [[ ! ${BRIEF:-} ]]; then
	# Bash counts SECONDS by the wall clock, which is set here.
	now=$(date +%s) since=$(cut -d . -f 1 /proc/uptime)
	dir=$(bundle leased "${on1[@]}" --annotation numastow.io/cpus=1)
	check "a lease is made" "$HOOK" precreate <"$dir/config.json"
	for days in 1 -1; do
		date -s "@$((now + days * 86400))" >/dev/null
		check "gc when the clock has jumped by a day" "$numastow" gc
		eq "the lease still holds" "$(record leased state)" lease
	done
	date -s "@$((now + $(cut -d . -f 1 /proc/uptime) - since))" >/dev/null
	check "its container takes it" start leased "${on1[@]}" --annotation numastow.io/cpus=1
	gone leased
fi
if [[ $VM_CGROUP == v2 ]]; then
	find "$(cgroup_dir "$pid")/$name" -depth -type d -delete # not every runtime can
else
	echo THAWED >"$(cgroup_dir "$pid" freezer)/freezer.state"
fi
gone first odd

### a local user

want first "${on1[@]}" --annotation numastow.io/cpus=1
stranger=(setpriv --reuid=65534 --regid=65534 --clear-groups)
opened=
while read -r file; do
	# shellcheck disable=SC2016 # the other shell's
	"${stranger[@]}" sh -c 'exec 3<"$1"' sh "$file" 2>/dev/null && opened+="$file "
done < <(find /run/numastow -maxdepth 2 -type f)
eq "no file can be opened by a stranger, so that no lock can be held" "$opened" ""
# shellcheck disable=SC2016 # the other shell's
"${stranger[@]}" sh -c 'for f in /run/numastow/*; do flock --shared "$f" sleep 1000 & done; wait' 2>/dev/null &
user=$!
want second "${on1[@]}" --annotation numastow.io/cpus=1
check "gc is not held up" timeout 600 "$numastow" gc
kill "$user" 2>/dev/null
gone first second

vm_summary
