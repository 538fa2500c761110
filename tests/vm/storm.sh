#!/bin/bash
# 50 containers at once: those that fit are disjoint, the others are refused with the reason; all killed without a
# poststop, gc has everything back. Then containers that come and go while others are moved to other NUMA nodes, CPUs go
# offline and come back, a DIMM is drained and comes back, and hooks, the agent and drains are killed at random. Beside
# all of it every thread of every container is looked at 50 times a second: at no moment do two have a CPU that one has
# alone.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun [--env BRIEF=1] v1|v2|v2-systemd tests/vm/storm.sh
#
# BRIEF: 20 containers at once, and 25 seconds of what comes and goes.
#
# shellcheck disable=SC2154 # set in drain-lib.sh
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

n=${BRIEF:+20}
n=${n:-50}
seconds=${BRIEF:+25}
seconds=${SECONDS_OF_STORM:-${seconds:-120}}
RANDOM=${SEED:-$$}
echo "# seed: ${SEED:-$$}"

"$vm_checker" --watch >"$vm_work/watch.out" 2>&1 &
watch=$!

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
storm=()
for i in $(seq $n); do
	(
		runtime run --detach --pid-file "$vm_work/bundle/c$i/pid" --bundle "$vm_work/bundle/c$i" \
			"c$i" >"$vm_work/c$i.out" 2>&1 </dev/null
		echo $? >"$vm_work/c$i.rc"
	) &
	storm+=($!)
done
wait "${storm[@]}"

started=()
for i in $(seq $n); do
	[[ $(<"$vm_work/c$i.rc") == 0 ]] && started+=("c$i")
done
refused=$("$numastow" why | grep -c 'cannot place.*exclusive CPU.*one must remain')
# 8 CPUs, one of which is always left to everybody else.
eq "as many as fit were started" ${#started[@]} 7
eq "the others were refused, each with the reason" "$refused" $((n - 7)) ||
	"$numastow" why | grep -v 'cannot place.*exclusive CPU.*one must stay' | sed 's/^/# /'
cpus=$(for id in "${started[@]}"; do allowed_cpus "$(container_pid "$id")"; done | sort | uniq -d)
eq "no CPU was given twice" "$cpus" ""
all_as_promised "all at once"
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

### and now everything at the same time

# at_random LOW HIGH - sleeps for so many tenths of a second
at_random()
{
	local tenths=$(($1 + RANDOM % ($2 - $1 + 1)))

	sleep "$((tenths / 10)).$((tenths % 10))"
}

going()
{
	[[ ! -e $vm_work/enough ]]
}

# the agent, again whenever it is killed
agents()
{
	while going; do
		"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 2s >>"$vm_work/agent.log" 2>&1 &
		echo $! >"$vm_work/agent.pid"
		wait $!
	done
}

# comers ID - one container of that name after the other, some of which are killed without a poststop
comers()
{
	local id=$1 dir=$vm_work/bundle/$1

	while going; do
		if runtime run --detach --pid-file "$dir/pid" --bundle "$dir" "$id" >"$vm_work/$id.out" 2>&1 </dev/null; then
			echo run >>"$vm_work/comers"
			at_random 2 20
			((RANDOM % 3)) || kill -KILL "$(container_pid "$id")"
		fi
		runtime delete --force "$id" >/dev/null 2>&1
	done
}

movers()
{
	local id to

	while going; do
		for id in here there; do
			to=$((RANDOM % 2))
			"$numastow" repin "$id" --to "$to" >"$vm_work/repin.$id" 2>&1 && echo moved >>"$vm_work/movers"
			tail -n 1 "$vm_work/repin.$id" >>"$vm_work/said"
			at_random 1 5
		done
	done
}

# CPU 0 cannot go; a CPU at a time, so that no node is without.
hotplug()
{
	local cpu

	while going; do
		cpu=/sys/devices/system/cpu/cpu$((1 + RANDOM % 7))/online
		echo 0 >"$cpu" && echo off >>"$vm_work/hotplug"
		at_random 5 15
		echo 1 >"$cpu"
		at_random 5 20
	done
}

# The DIMM leaves, mostly with what its agent has been asked for, and sometimes without an agent; what is killed on the
# way is taken back by the next one.
drainers()
{
	while going; do
		"$numastow" drain --device "$dimm_device" --block-timeout 20s --timeout 60s >"$vm_work/drain.out" 2>&1 &&
			echo drained >>"$vm_work/drainers"
		tail -n 1 "$vm_work/drain.out" >>"$vm_work/drains"
		"$numastow" online --zone movable "$dimm_blocks" >/dev/null 2>&1
		at_random 5 20
	done
}

killers()
{
	local pid

	while going; do
		at_random 10 30
		# shellcheck disable=SC2046 # one or none
		pid=$(pgrep -x numastow-hook | head -n 1)
		[[ ! $pid ]] || { kill -KILL "$pid" && echo hook >>"$vm_work/killers"; } 2>/dev/null
		((RANDOM % 8)) || { kill -KILL "$(<"$vm_work/agent.pid")" && echo agent >>"$vm_work/killers"; } 2>/dev/null
		((RANDOM % 8)) || { pkill -KILL -f 'numastow drain' && echo drain >>"$vm_work/killers"; } 2>/dev/null
	done
}

one=(--annotation numastow.io/cpus=1 --annotation numastow.io/cpu-mode=exclusive)
start plain || fail "plain starts" "$(said plain)"
start here "${one[@]}" --annotation numastow.io/nodes=0-1 || fail "here starts" "$(said here)"
start there --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0-1 || fail "there starts" "$(said there)"
bundle w1 "${one[@]}" >/dev/null
bundle w2 --annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive >/dev/null
bundle w3 --annotation numastow.io/cpus=2 >/dev/null
bundle w4 >/dev/null
dimm_online storm 256 1 movable
exec 3>&2 2>/dev/null # bash tells of every death
: >"$vm_work/agent.pid"
busy=()
for what in agents "comers w1" "comers w2" "comers w3" "comers w4" movers hotplug drainers killers; do
	$what &
	busy+=($!)
done
# all_of_it - on a busy machine some of it takes its time
all_of_it()
{
	local what

	for what in comers said hotplug drains killers; do
		[[ -s $vm_work/$what ]] || return 1
	done
}
sleep "$seconds"
eventually 300 all_of_it
touch "$vm_work/enough"
kill "$(<"$vm_work/agent.pid")"
wait "${busy[@]}"
exec 2>&3 3>&-
counts=$(cd "$vm_work" && cat comers movers hotplug drainers killers 2>/dev/null | sort | uniq -c | awk '{ print $1, $2 }' | paste -sd ,)
echo "# $counts"
# A repin takes as long as half of a brief storm on a busy machine, and ends with the agent: not all arrive.
for what in comers said hotplug drains killers; do
	check "there were some: $what" test -s "$vm_work/$what"
done
sort "$vm_work/said" | uniq -c | sort -rn | head -n 5 | sed 's/^/# repins: /'
sort "$vm_work/drains" | uniq -c | sort -rn | head -n 3 | sed 's/^/# drains: /'
check "gc" "$numastow" gc
no_drain "no drain is left"
eq "no NUMA node is fenced" "$(fenced)" ""
all_as_promised "after the storm" 5
eq "those that stayed are there" "$("$numastow" ledger --json | jq -c '[.containers[] | [.id, .state]] | sort')" \
	'[["here","active"],["there","active"]]'
stop here
stop there
check "gc" "$numastow" gc
eq "the last one has all CPUs" "$(allowed_cpus "$(container_pid plain)")" 0-7
stop plain
eq "the ledger is empty" "$("$numastow" ledger --json | jq -c '[.containers, .pools]')" '[[],[]]'

kill -TERM $watch
wait $watch
eq "at no moment did two containers have one CPU" $? 0 || sed 's/^/# /' "$vm_work/watch.out"
tail -n 1 "$vm_work/watch.out" | sed 's/^/# /'

vm_summary
