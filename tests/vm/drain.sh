#!/bin/bash
# Memory leaves a running machine: what lives there moves, with its content; what can't is named, and all is as it
# was; what cannot be meant is refused.
#
# usage: tests/vm/run [--env BRIEF=1] --env VM_RUNTIME=runc|crun v1|v2|v2-systemd tests/vm/drain.sh
#
# BRIEF: what leaves, and what cannot, by agent and scheduler, with less memory in use.
#
# shellcheck disable=SC2317,SC2119,SC2154 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

# The kernel's own balancing would take the work, and the proof, out of our hands.
echo 0 >/proc/sys/kernel/numa_balancing

start_hypervisor
start_scheduler
start_agent --scheduler 127.0.0.1:7200
knows_it()
{
	[[ $(fleet_node .report.name) == m1 ]]
}
eventually 20 knows_it || fail "the scheduler knows the machine" "$(tail -n 5 "$vm_work/agent.log")"

### a used DIMM leaves, pulled by the hypervisor that a webhook has asked

data_disk
dimm_online dimm1 1024 1 movable
eq "a DIMM is online on node 1, movable" "$(dimm_states) $(<$memory/memory"$dimm_first"/valid_zones)" "8 online Movable"
again=$("$numastow" online --zone movable "$dimm_blocks")
check "what is online already is told apart" grep -q already <<<"$again"
anon=${BRIEF:+100} cache=${BRIEF:+24} # MiB
anon=${anon:-300} cache=${cache:-64}
hold held "--anon $anon --cache /data/held:$cache --shared /tmp/held:32 --huge 16" \
	--annotation numastow.io/cpus=1 --annotation "numastow.io/memory=$((anon + cache + 148))Mi" \
	--annotation numastow.io/hugepages-2Mi=32Mi --annotation numastow.io/nodes=1
held=$pid
within "its anonymous memory is on the DIMM" "$(in_dimm "$held" anon)" $((anon * 5 / 6 * 1024)) $(((anon + 90) * 1024))
within "and its tmpfs file" "$(in_dimm "$held" file)" 30000 100000
within "and its hugepages" "$(in_dimm "$held" huge)" 2048 32768
within "the DIMM has its page cache" "$("$numastow" blocks --json --owners --node 1 |
	jq "[.blocks[] | select(.block >= $dimm_first) | .use.bytes.file] | add // 0")" $((cache / 2 * Mi)) $((1024 * Mi))
total=$(fleet_node '.report.numa_nodes[1].memory_total')

plan=$("$numastow" drain m1 --device "$dimm_device" --dry-run --json) || fail "a dry run" "$plan"
eq "a dry run names the blocks" "$(jq -r '[.plan.blocks[].id] | sort | map(tostring) | join(" ")' <<<"$plan")" \
	"$(seq -s ' ' "$dimm_first" $((dimm_first + 7)))"
eq "and the container" "$(jq -r '.plan.affected[].id' <<<"$plan")" held
within "and what has to move" "$(jq -r .plan.to_move <<<"$plan")" $((anon * Mi)) $(((anon + 400) * Mi))
eq "and changes nothing" "$(dimm_states), fenced:$(fenced)" "8 online, fenced:"

# Placements, all the time. Half of them want node 1 and nothing else.
place_all_the_time()
{
	local began nodes=0-1 got

	while :; do
		began=$EPOCHREALTIME
		got=$("$numastow" place --json --lifetime 1s cpus=1 memory=4Mi "nodes=$nodes" 2>&1 | tr -d ' \n')
		if [[ $got =~ \"numa_nodes\":\"([0-9,-]*)\" ]]; then
			got=on:${BASH_REMATCH[1]}
		fi
		echo "$began $EPOCHREALTIME $nodes $got"
		sleep 0.5
		[[ $nodes == 1 ]] && nodes=0-1 || nodes=1
	done
}
place_all_the_time >"$vm_work/placed" &
placing=$!
eventually 30 grep -q 'on:1$' "$vm_work/placed"
check "node 1 gets placements before" grep -q 'on:1$' "$vm_work/placed"

# The hypervisor waits with the DIMM until a placement was refused, and another one made, since the fence stands.
hypervisor hold
pull_later()
{
	seen()
	{
		local from

		grep -q ' safe$' "$vm_work/times" || return 1
		from=$(awk '$2 == "offlining" { print $1; exit }' "$vm_work/times")
		awk -v from="$from" '$1 >= from { fenced += /fenced/; other += /on:0/ } END { exit !(fenced && other) }' "$vm_work/placed"
	}
	eventually 300 seen
	hypervisor release
	hypervisor pull
}
: >"$vm_work/times"
pull_later &
puller=$!
began=$EPOCHREALTIME
"$numastow" drain m1 --device "$dimm_device" --wait --block-timeout 60s --json 2>"$vm_work/drain.err" </dev/null |
	while read -r line; do
		echo "$line" >>"$vm_work/drain.out.new"
		echo "$EPOCHREALTIME $(grep -oE '"step": *"[a-z]+"' <<<"$line" | cut -d'"' -f4)"
	done >"$vm_work/times"
rc=${PIPESTATUS[0]}
kill $placing
wait $placing $puller 2>/dev/null
mv "$vm_work/drain.out.new" "$vm_work/drain.out"
if [[ $rc == 0 && $(drain_said .step) == "done" ]]; then
	ok "the drain ends well"
else
	fail "the drain ends well" "$(drain_log "$rc")"
fi
echo "# steps: $(drain_steps); $(drain_said '"\(.elapsed_ns / 1000000000 | floor) s, \(.bytes_moved / 1048576 | floor) MiB moved"')"
eq "step after step" "$(drain_steps | tr ' ' '\n' | grep -xE 'planned|fenced|offlining|safe|removed|done' | paste -sd ' ')" \
	"planned fenced offlining safe removed done"
id=$(drain_said .id)
check "the DIMM is gone" eventually 5 dimm_gone
gone_outside()
{
	! dimm_there dimm1
}
check "also for the hypervisor" eventually 10 gone_outside
eq "which was told of each step" "$(webhooks "$id")" "planned safe-to-remove removed"
eq "and pulled once" "$(hypervisor_did '.did == "pull" and .device == "dimm1"' | wc -l)" 1
eq "nothing that it got was forged, or without a key" "$(hypervisor_did '.did | IN("forged", "keyless", "nonsense", "unknown")')" ""
sum_good "the container's memory is what it was" held
eq "its CPUs and mems are its promise" "$(allowed_mems "$held") $(ledger | grep -o '"id":"held".*' | grep -oE '"mems":"[^"]*"' | head -n 1)" \
	'1 "mems":"1"'
within "its mapped pages are on node 1" "$(pages_on "$held" 1)" $(((anon + 32 + 32) * 1024)) $(((anon + 110) * 1024))
within "and nowhere else, but for its program's text" "$(pages_on "$held" 0)" 0 2048
eq "its hugepages are, too" "$(pool 1 2048)+$(pool 0 2048)" 16+0
eq "as many as the node lost is what the scheduler knows less" \
	"$(($(fleet_node '.report.numa_nodes[1].memory_total') / Mi + 8 * 128))" "$((total / Mi))"
eq "nothing is fenced, here" "$(fenced)" ""
eq "nor in the fleet" "$(fleet_node .fenced)" ""
# What was asked for and answered while the fence stood, from when it was seen to stand: up to when it certainly did (the
# drain counts its time from a little after the command's start), and up to when its end was seen.
from=$(awk '$2 == "offlining" { print $1; exit }' "$vm_work/times")
certain=$(jq -rn --argjson began "$began" '[inputs | select(.step == "removed") | $began + .elapsed_ns / 1e9][0]' "$vm_work/drain.out")
seen=$(awk '$2 == "removed" { print $1; exit }' "$vm_work/times")
# during END WHAT
during()
{
	awk -v from="$from" -v to="$1" -v what="$2" '$1 >= from && $2 <= to && $0 ~ what' "$vm_work/placed"
}
eq "no placement landed there meanwhile" "$(during "$certain" 'on:.*1')" ""
within "though some were asked for" "$(during "$seen" 'fenced' | wc -l)" 1 1000
within "and others landed elsewhere" "$(during "$seen" 'on:0' | wc -l)" 1 1000
sed 's/^/# placed: /' "$vm_work/placed" | cut -c1-150 | tail -n 4

### a page that cannot move

dimm_online dimm2 256 1 movable
start pinned --args "pinner 32" --annotation numastow.io/memory=64Mi --annotation numastow.io/nodes=1
pinned=$(container_pid pinned)
check "a page is pinned" eventually 20 grep -q '^ready' "$vm_work/pinned.out"
within "on the DIMM" "$(in_dimm "$pinned" anon)" 16384 40000
suspect=$("$numastow" drain --dry-run --json --device "$dimm_device" | jq -r '.culprits[]? | select(.program == "pinner") | .blocks')
check "a plan says in which blocks a suspect has pages" grep -qwF -- "$suspect" <<<"$dimm_first $((dimm_first + 1)) $dimm_blocks"
before=$(snapshot)
began=$SECONDS
drains_to "a drain fails on it" 1 failed m1 --device "$dimm_device" --block-timeout 10s --timeout 120s
within "within its deadline, or soon after" $((SECONDS - began)) 0 400
culprit=$(jq -c '.culprits[]? | select(.proven)' "$vm_work/drain.out" | tail -n 1)
eq "and names the container, the process, the program" "$(jq -r '[.container, .pid, .program] | map(tostring) | join(" ")' <<<"$culprit")" \
	"pinned $pinned pinner"
echo "# $(drain_said .message)"
echo "# $culprit"
check "so does its one line" grep -q pinned <(drain_said .message; cat "$vm_work/drain.err")
unchanged "everything is back online, and unfenced" "$before"
eq "also in the fleet" "$(fleet_node .fenced)" ""
eq "which heard of it" "$(webhooks "$(drain_said .id)")" "planned failed"
explained=$("$numastow" drain --explain "$(jq -r .block <<<"$culprit")" 2>&1)
check "explain names the container, too" grep -q pinned <<<"$explained"
stop pinned
drains_to "after that program has ended the same drain succeeds" 0 "done" m1 --device "$dimm_device" --block-timeout 120s --wait
check "and that DIMM is gone" eventually 5 dimm_gone
no_drain "no drain is left"

finish()
{
	stop held
	umount "$(vm_rootfs)/data"
	hypervisor stop
	kill "$agent" "$scheduler" 2>/dev/null
	wait 2>/dev/null
	vm_summary
	exit
}
[[ ! ${BRIEF:-} ]] || finish

### by this machine alone

kill "$agent" "$scheduler"
wait "$agent" "$scheduler" 2>/dev/null
dimm_online dimm3 512 1 movable
before=$(snapshot)
start pinned --args "pinner 300" --annotation numastow.io/memory=400Mi --annotation numastow.io/nodes=1
pinned=$(container_pid pinned)
check "a page is pinned again" eventually 20 grep -q '^ready' "$vm_work/pinned.out"
with_it=$(snapshot)
drains_to "without an agent it fails as well" 1 failed --device "$dimm_device" --block-timeout 10s
check "and says whose page it is" grep -q 'pinned' <(drain_said '.message, .culprits[].container'; cat "$vm_work/drain.err")
unchanged "and takes all back" "$with_it"
drains_to "what could leave may stay off" 64 partial --device "$dimm_device" --block-timeout 10s --keep
echo "# $(dimm_states): $(drain_said .message)"
check "one block is online, three are not" grep -q '^3 offline 1 online$' <<<"$(dimm_states)"
eq "a partial result is not fenced" "$(fenced)" ""
stop pinned
drains_to "the rest follows" 0 "done" --device "$dimm_device"
eq "all of it is offline, and still there" "$(dimm_states)" "4 offline"
refused "what is offline already is no drain" 'already offline|offline already' "$(snapshot)" --device "$dimm_device"
check "it goes online" "$numastow" online --zone movable "$dimm_blocks"
unchanged "as it was" "$before"
drains_to "the machine itself lets go of it" 0 "done" --device "$dimm_device" --eject
check "then it is gone" eventually 5 dimm_gone

### device_del, before a drain and during it

dimm_online dimm4 256 1 movable
gone_for_them()
{
	hypervisor_did '.did == "event" and .event == "DEVICE_DELETED"' | grep -q "$1"
}
dimm_del dimm4 >/dev/null
check "a DIMM pulled without a word is offlined by the kernel" eventually 30 gone_for_them dimm4
before=$(snapshot)
refused "a drain of it says so" "no .*$dimm_device|$dimm_device" "$before" --device "$dimm_device"

dimm_online dimm5 1024 1 movable
before=$(snapshot)
touched=$("$vm_progs/touch" --node 1 --hold 600 >"$vm_work/touched" & echo $!)
eventually 60 grep -q touched "$vm_work/touched"
"$numastow" drain --json --device "$dimm_device" --block-timeout 60s >"$vm_work/drain.out" 2>"$vm_work/drain.err" &
drain=$!
eventually 60 grep -q '"offlining"' "$vm_work/drain.out"
dimm_del dimm5 >/dev/null
wait $drain
rc=$?
kill "$touched"
echo "# device_del during the drain: $rc, $(drain_steps), $(dimm_states), $(drain_said .message) $(<"$vm_work/drain.err")"
case $rc in
0) check "a DIMM pulled during its drain: done" eventually 30 gone_for_them dimm5 ;;
1)
	check "a DIMM pulled during its drain: the drain says why it failed" test "$(drain_said .message)"
	eventually 30 gone_for_them dimm5 || unchanged "and all is as it was" "$before"
	;;
*) fail "a DIMM pulled during its drain" "$(drain_log $rc)" ;;
esac
eq "no fence is left" "$(fenced)" ""
no_drain "no drain is left of it"
dimm_gone || { "$numastow" online --zone movable "$dimm_blocks" >/dev/null; drains_to "it can be drained" 0 "done" --device "$dimm_device" --eject; }

### what cannot be meant

dimm_online dimm6 256 1 movable
before=$(snapshot)
boot=$(blocks_of 1 | tr -dc '0-9\n' | sort -n | head -n 1)
near=$(blocks_of 0 | tr -dc '0-9\n' | sort -n | tail -n 1)
refused "an unknown node" '9' "$before" --node 9
refused "blocks of two nodes" 'node' "$before" --blocks "$near,$dimm_first"
refused "a block that is not there" '4000' "$before" --blocks 4000
refused "more than there is" 'than|only|has' "$before" --node 1 --size 100Gi
refused "boot memory" 'boot|came with' "$before" --blocks "$boot"
refused "an unknown device" 'dimm99' "$before" --device dimm99
refused "nothing named" '--node|what' "$before"
refused "two things named" 'one|both|--device' "$before" --node 1 --device "$dimm_device"
refused "a size that is none" 'size' "$before" --node 1 --size lots
refused "a list that is none" 'blocks' "$before" --blocks 4-x
as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
refused "no permission" 'root|permission|may' "$before" --device "$dimm_device"
# shellcheck disable=SC2016
as=(unshare -m sh -c 'mount -t tmpfs none /sys/devices/system/memory && exec "$@"' sh)
refused "a kernel without memory blocks" 'kernel|hotplug|hot-remove' "$before" --node 1
as=()
unchanged "all is as it was" "$before"

"$numastow" drain --dry-run --node 1 --size 100Mi >"$vm_work/plan" 2>&1
check "a size that is no multiple is rounded up, and that is said" grep -q 'rounded' "$vm_work/plan"
eq "to one block" "$("$numastow" drain --dry-run --json --node 1 --size 100Mi | jq '.plan.bytes')" $((128 * Mi))
drains_to "so much of a node leaves" 0 "done" --node 1 --size 100Mi
eq "which is one block of the last DIMM" "$(dimm_states)" "1 offline 1 online"
eq "and what stays online of it is said" "$(drain_said '[.bytes_staying, .release] | @csv')" "$((128 * Mi)),"
check "in words, too" grep -q 'stays online and cannot be removed' <(drain_said .message)
eq "at no step was it safe" "$(drain_steps | grep -cw safe)" 0
eq "no fence is left at the end" "$(fenced)" ""

finish
