#!/bin/bash
# The hook killed at every one of its system calls that changes something: gc takes back whatever is left.
# (strace injects the signal. The sweep over every single access is in tests/integration, on a copied tree; here
# every STEP-th place has to do unless STEP=1 is given.)
#
# usage: tests/vm/run [--env STEP=N] v2 tests/vm/killed.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
hook=$programs/numastow-hook
numastow=$programs/numastow

unset HOOK
start victim --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive \
	--annotation numastow.io/memory=64Mi --annotation numastow.io/hugepages-2Mi=8Mi
start neighbour
pid=$(container_pid victim)
# What the kernel says: of the victim, of the pools, and of the neighbour, which is to be back on all CPUs.
kernel()
{
	cat "$dir"/{cpuset.cpus.effective,cpuset.mems.effective,memory.max,hugetlb.2MB.max,hugetlb.2MB.rsvd.max} \
		/sys/devices/system/node/node{0,1}/hugepages/hugepages-2048kB/nr_hugepages "$other/cpuset.cpus.effective"
}

state neighbour | "$hook" apply
state=$(state victim)
dir=$(cgroup_dir "$pid")
other=$(cgroup_dir "$(container_pid neighbour)")
before=$(kernel)

killed=0 done_=
exec 2>/dev/null # bash tells of every death
# shellcheck disable=SC2086 # two words or none
for call in write pwrite64 renameat unlinkat flock ${EVERY_CALL:+openat read}; do
	for at in $(seq 1 "${STEP:-5}" 200); do
		if strace -qq -o /dev/null -e trace=$call -e inject=$call:signal=KILL:when="$at" \
			"$hook" apply <<<"$state"; then
			done_+="$call:<$at "
			"$numastow" release victim >/dev/null
			break
		fi
		killed=$((killed + 1))
		if ! "$numastow" gc >"$vm_work/gc.out" 2>&1; then
			fail "gc after a death at $call $at" "$(<"$vm_work/gc.out")"
		fi
		after=$(kernel)
		left=$(ledger)$(cat /run/numastow/exclusive)
		if [[ $left != '{"containers":[],"pools":[]}' ]]; then
			# Killed behind the commit: the grant stands, as it should.
			if [[ $left == *'"state":"active"'* ]]; then
				"$numastow" release victim >/dev/null
				continue
			fi
			fail "killed at $call $at" "left: $left"
		elif [[ $after != "$before" ]]; then
			fail "killed at $call $at" "before: $before"$'\n'"after: $after"
		fi
	done
done
echo "# killed $killed times; complete behind: $done_"
within "the hook was killed at many places" $killed 8 1000
((vm_failed)) || ok "nothing leaked after any of them"
eq "another container can still be placed" "$("$hook" apply <<<"$state" && ledger | grep -o '"state":"active"')" '"state":"active"'
"$numastow" release victim >/dev/null
stop victim
stop neighbour

vm_summary
