#!/bin/bash
# 50 containers at once: those that fit are disjoint, the others are refused with the reason; all killed without a
# poststop, gc has everything back.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v2 tests/vm/storm.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
n=50

# Two bundles, and copies of them under other names: jq takes a second under emulation. Without poststop: the hooks
# of containers that are killed never come.
bundle id-of-plain --annotation numastow.io/cpus=1 --annotation numastow.io/cpu-mode=exclusive >/dev/null
bundle id-of-pages --annotation numastow.io/cpus=1 --annotation numastow.io/cpu-mode=exclusive \
	--annotation numastow.io/hugepages-2Mi=4Mi >/dev/null
for kind in plain pages; do
	declare "$kind=$(jq 'del(.hooks.poststop)' "$vm_work/bundle/id-of-$kind/config.json")"
done
for i in $(seq $n); do
	kind=plain
	((i % 3)) || kind=pages
	mkdir -p "$vm_work/bundle/c$i"
	echo "${!kind//id-of-$kind/c$i}" >"$vm_work/bundle/c$i/config.json"
done
for i in $(seq $n); do
	(
		runtime run --detach --pid-file "$vm_work/bundle/c$i/pid" --bundle "$vm_work/bundle/c$i" \
			"c$i" >"$vm_work/c$i.out" 2>&1 </dev/null
		echo $? >"$vm_work/c$i.rc"
	) &
done
wait

started=()
for i in $(seq $n); do
	[[ $(<"$vm_work/c$i.rc") == 0 ]] && started+=("c$i")
done
refused=$("$numastow" why | grep -c 'cannot place.*exclusive CPU.*on one NUMA node; node')
# 8 CPUs, one of which is always left to everybody else.
eq "as many as fit were started" ${#started[@]} 7
eq "the others were refused, each with the reason" "$refused" $((n - 7))
cpus=$(for id in "${started[@]}"; do allowed_cpus "$(container_pid "$id")"; done | sort | uniq -d)
eq "no CPU was given twice" "$cpus" ""
wanted=0
for id in "${started[@]}"; do
	((${id#c} % 3)) || wanted=$((wanted + 2))
done
eq "hugepages are those of the started" $(($(pool 0 2048) + $(pool 1 2048))) $wanted
for id in "${started[@]}"; do
	kill -KILL "$(container_pid "$id")"
done
sleep 1
for id in "${started[@]}"; do
	runtime delete --force "$id" >/dev/null 2>&1
done
eq "the ledger still has them" "$("$numastow" ledger --json | grep -c '"state": *"active"')" 7
check "gc" "$numastow" gc
eq "the ledger is empty" "$("$numastow" ledger --json | jq -c '[.containers, .pools]')" '[[],[]]'
eq "the pools are empty" "$(pool 0 2048)+$(pool 1 2048)" 0+0
check "no CPU is exclusive" test ! -e /run/numastow/exclusive

vm_summary
