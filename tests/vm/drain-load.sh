#!/bin/bash
# A busy machine: the same DIMM is drained, leaves and comes back, again and again, while programs on both nodes
# allocate, free, write files and fork. Beside it chmem takes the same memory off, under the same load.
#
# usage: tests/vm/run [--env BRIEF=1] [--env ROUNDS=20] [--env MIB=1024] --env VM_RUNTIME=runc|crun v1|v2 tests/vm/drain-load.sh
#
# BRIEF: 2 rounds, 256 MiB, half of the programs with half of the memory, no chmem. Prints a table of both, as "# ..." lines.
#
# shellcheck disable=SC2317,SC2119,SC2154 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

rounds=${BRIEF:+2}
rounds=${ROUNDS:-${rounds:-20}}
mib=${BRIEF:+256}
mib=${MIB:-${mib:-1024}}
part=1
[[ ! ${BRIEF:-} ]] || part=2

echo 0 >/proc/sys/kernel/numa_balancing

### the load: two containers that hold what is checked, and a program on each node that does what programs do

data_disk 384M
hold one "--anon $((96 / part)) --cache /data/one:$((32 / part)) --shared /tmp/one:$((16 / part)) --huge 4" --annotation numastow.io/cpus=1 \
	--annotation numastow.io/memory=192Mi --annotation numastow.io/hugepages-2Mi=8Mi --annotation numastow.io/nodes=1
start busy1 --args "load --mib $((48 / part)) --seed 1 /data" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=192Mi \
	--annotation numastow.io/nodes=1
busy=(busy1)
if [[ ! ${BRIEF:-} ]]; then
	busy+=(busy0)
	start busy0 --args "load --mib 48 --seed 2 /data" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=192Mi \
		--annotation numastow.io/nodes=0
fi
load_pid=()
nodes=(0 1)
[[ ! ${BRIEF:-} ]] || nodes=(0)
for node in "${nodes[@]}"; do
	numactl --cpunodebind="$node" --preferred="$node" "$vm_progs/load" --mib $((48 / part)) --seed "3$node" "$(vm_rootfs)/data" \
		>"$vm_work/load$node.out" 2>&1 &
	load_pid[node]=$!
done
dimm_online dimm1 "$mib" 1 movable
check "the programs are at work" eventually 30 grep -q '^ready' "$vm_work/busy1.out"
before=$(snapshot)
# The lock files of pools are made when they are first needed, and stay.
files=$(find /run/numastow ! -name 'pool-*.lock' | sort)

### rounds

# row WHO MILLISECONDS RESULT - add a row to the table
row()
{
	echo "$*" >>"$vm_work/table"
}

# since BEGAN - the milliseconds since that value of EPOCHREALTIME
since()
{
	local now=$EPOCHREALTIME
	echo $(((${now/./} - ${1/./}) / 1000))
}

# ours ROUND - drain and eject the DIMM with README's command, then plug it again. A drain that fails must have undone everything.
ours()
{
	local began=$EPOCHREALTIME rc=0 taken words

	read -ra words <<<"$(readme 'numastow drain' | sed "s/dimm1/$dimm_device/")"
	drain "${words[@]:2}" --block-timeout 30s --timeout 120s || rc=$?
	taken=$(since "$began")
	# chmem does what a drain does up to the step "safe"; the ejection does not count.
	taken=$(jq -s "[.[] | select(.step == \"safe\")][0].elapsed_ns // empty | . / 1000000 | floor" "$vm_work/drain.out" | grep . || echo "$taken")
	case $rc in
	0)
		row ours "$taken" success
		eventually 10 dimm_gone || fail "round $1: the DIMM is gone" "$(dimm_states)"
		dimm_online "dimm1-$1" "$mib" 1 movable
		;;
	1)
		row ours "$taken" failed
		echo "# round $1: $(drain_said .message)"
		unchanged "round $1: a drain that failed has taken all back" "$before"
		;;
	*) fail "round $1: exit code $rc" "$(drain_log $rc)" ;;
	esac
}

# theirs ROUND - the same with chmem, within the same time limit
theirs()
{
	local began=$EPOCHREALTIME rc=0

	timeout --signal=INT 120 chmem -d -b "$dimm_blocks" >"$vm_work/chmem.out" 2>&1 || rc=$?
	case $rc in
	0) row chmem "$(since "$began")" success ;;
	64) row chmem "$(since "$began")" partial ;;
	*)
		row chmem "$(since "$began")" failed
		echo "# round $1: chmem ($rc): $(tail -n 1 "$vm_work/chmem.out")"
		;;
	esac
	"$numastow" online --zone movable "$dimm_blocks" >/dev/null || fail "round $1: online again" "$(dimm_states)"
}
[[ ! ${BRIEF:-} ]] || theirs() { :; }

for ((round = 1; round <= rounds; round++)); do
	if ((round % 2)); then
		ours $round
		theirs $round
	else
		theirs $round
		ours $round
	fi
	for p in "${load_pid[@]}"; do
		kill -0 "$p" 2>/dev/null || fail "round $round: the load goes on" "$(tail -n 2 "$vm_work"/load?.out)"
	done
done
((vm_failed)) || ok "$rounds drains and re-adds in a row ended cleanly"

### what is left

succeeded=$(grep -c '^ours .*success' "$vm_work/table")
within "and most of them succeeded" "$succeeded" $((rounds * 4 / 5)) "$rounds"
sum_good "what the container holds is what it was" one
for id in "${busy[@]}"; do
	kill -USR1 "$(container_pid "$id")"
	check "$id has found nothing wrong" eventually 30 grep -qE '^rounds [1-9][0-9]* good' "$vm_work/$id.out"
done
for node in "${nodes[@]}"; do
	kill -USR1 "${load_pid[$node]}"
	check "nor has the load of node $node" eventually 30 grep -qE '^rounds [1-9][0-9]* good' "$vm_work/load$node.out"
done
eq "nobody has found anything wrong" "$(grep -l BAD "$vm_work"/*.out)" ""
within "the container's memory is on its node" "$(pages_on "$(container_pid one)" 0)" 0 2048
unchanged "ledger, fences, pools and blocks are as before" "$before"
no_drain "no drain is left"
eq "no file is left" "$(find /run/numastow ! -name 'pool-*.lock' | sort)" "$files"
awk '
	{ n[$1]++; ok[$1] += $3 == "success"; sum[$1] += $2; if ($2 > most[$1]) most[$1] = $2 }
	END {
		printf "# %-8s %7s %9s %12s %12s\n", "", "drains", "succeeded", "mean", "longest"
		for (who in n)
			printf "# %-8s %7d %9d %10d ms %10d ms\n", who, n[who], ok[who], sum[who] / n[who], most[who]
	}' "$vm_work/table"

kill "${load_pid[@]}"
wait
for id in one "${busy[@]}"; do
	stop "$id"
done
umount "$(vm_rootfs)/data"
vm_summary
