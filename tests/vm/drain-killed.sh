#!/bin/bash
# A drain that is cancelled, or whose program is killed, at every step: the machine ends all online and unfenced, or
# drained as asked; never in between.
#
# usage: tests/vm/run [--env BRIEF=1] [--env PART=command|agent|scheduler] --env VM_RUNTIME=runc|crun v2 tests/vm/drain-killed.sh
#
# BRIEF takes some of the places only.
#
# shellcheck disable=SC2317,SC2119,SC2154 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

echo 0 >/proc/sys/kernel/numa_balancing
# Deaths at so many system calls of each kind.
places=${BRIEF:+4}
places=${places:-16}
part=${PART:-command agent scheduler}

dimm_online dimm1 384 1 movable
hold held "--anon 120 --huge 2" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=192Mi \
	--annotation numastow.io/hugepages-2Mi=4Mi --annotation numastow.io/nodes=1
before=$(snapshot)
exec 2>/dev/null # bash tells of every death

# at_step STEP ACTION [ARGUMENT...] - a drain; as soon as it says that it is at STEP, ACTION (a command, with the drain's pid
# in $drain) is done, once. Sets rc, and acted.
at_step()
{
	local step=$1 action=$2 line
	shift 2
	acted=
	rm -f "$vm_work/steps"
	mkfifo "$vm_work/steps"
	"$numastow" drain --json --block-timeout 60s "$@" >"$vm_work/steps" 2>"$vm_work/drain.err" </dev/null &
	drain=$!
	: >"$vm_work/drain.out"
	while read -r line; do
		echo "$line" >>"$vm_work/drain.out"
		if [[ ! $acted && ${line//[[:space:]]/} == *"\"step\":\"$step\""* ]]; then
			acted=1
			$action
		fi
	done <"$vm_work/steps"
	wait "$drain"
	rc=$?
}

# as_it_was WHERE - nothing of the drain is left, or all of it is done (then it is brought back)
as_it_was()
{
	local states
	ended()
	{
		states=$(dimm_states)
		[[ $states == "$dimm_n online" || $states == "$dimm_n offline" ]] && [[ ! $(fenced) ]]
	}
	eventually 30 ended
	if [[ $states == "$dimm_n offline" && $2 ]]; then
		all_off=$((all_off + 1))
		"$numastow" online --zone movable "$dimm_blocks" >/dev/null
	fi
	if [[ $(snapshot) != "$before" ]] && ! { sleep 3 && [[ $(snapshot) == "$before" ]]; }; then
		fail "$1" "$(diff <(echo "$before") <(snapshot))" "$(tail -n 1 "$vm_work/drain.out" | cut -c1-600)" \
			"$(tail -n 5 "$vm_work/agent.log" 2>/dev/null)"
		# One failure is enough; the next place begins with a machine that is whole.
		"$numastow" online --zone movable "$dimm_blocks" >/dev/null
		before=$(snapshot)
		return 1
	fi
}

all_off=0

### the command alone, interrupted, and killed at its system calls

interrupt()
{
	kill -INT "$drain"
}

command_part()
{
	local call n at killed=0 step

	for step in planned fenced offlining returning safe; do
		[[ ! ${BRIEF:-} || $step != returning ]] || continue
		at_step "$step" interrupt --device "$dimm_device" --wait --removal-timeout 20s
		if [[ ! $acted ]]; then
			echo "# $step: not seen ($rc)"
		elif ((rc == 130)); then
			as_it_was "cancelled when $step" && ok "cancelled when $step: $(drain_said .step)"
		else
			fail "cancelled when $step" "$(drain_log "$rc")"
		fi
		"$numastow" online --zone movable "$dimm_blocks" >/dev/null
	done
	for call in pwrite64 write; do
		strace -f -qq -o "$vm_work/calls" -e trace="$call" "$numastow" drain --json --block-timeout 60s --device "$dimm_device" >/dev/null
		n=$(wc -l <"$vm_work/calls")
		"$numastow" online --zone movable "$dimm_blocks" >/dev/null
		((n > 3)) || fail "a drain has calls of $call" "$n"
		for ((at = 1; at <= n; at += (n + places - 1) / places)); do
			strace -f -qq -o /dev/null -e trace="$call" -e inject="$call":signal=KILL:when="$at" \
				"$numastow" drain --json --block-timeout 60s --device "$dimm_device" >"$vm_work/drain.out" && break
			killed=$((killed + 1))
			"$numastow" gc >"$vm_work/gc.out" 2>&1 || fail "gc after a death at $call $at" "$(<"$vm_work/gc.out")"
			as_it_was "killed at $call $at of $n" "done"
		done
		# With --resume it is gone on with instead.
		at=$((n / 2))
		strace -f -qq -o /dev/null -e trace="$call" -e inject="$call":signal=KILL:when="$at" \
			"$numastow" drain --json --block-timeout 60s --device "$dimm_device" --resume >"$vm_work/drain.out"
		"$numastow" gc >"$vm_work/gc.out" 2>&1
		eq "killed at $call $at with --resume it goes on" "$(dimm_states) $(fenced)" "$dimm_n offline "
		"$numastow" online --zone movable "$dimm_blocks" >/dev/null
	done
	echo "# killed $killed times; all was done $all_off times"
	within "the command was killed at many places" "$killed" "$places" 1000
	unchanged "nothing leaked after any of them" "$before"
}

### the agent

kill_agent()
{
	kill -KILL "$agent"
}

cancel_drain()
{
	"$numastow" cancel >"$vm_work/cancel.out" 2>&1 || fail "cancel" "$(<"$vm_work/cancel.out")"
}

agent_part()
{
	local step steps='fenced offlining safe'

	[[ ${BRIEF:-} ]] || steps='planned fenced moving offlining returning safe'
	start_agent
	for step in $steps; do
		at_step "$step" cancel_drain --device "$dimm_device" --wait --removal-timeout 20s
		[[ $acted ]] || { echo "# $step: not seen ($rc)"; continue; }
		eq "cancelled when $step" "$(drain_said .step)" cancelled
		as_it_was "cancelled when $step"
	done
	for step in $steps; do
		at_step "$step" kill_agent --device "$dimm_device" --wait --removal-timeout 20s
		[[ $acted ]] || { echo "# $step: not seen ($rc)"; continue; }
		wait "$agent"
		((rc != 0)) || fail "the client hears of the agent's death when $step" "$(drain_log "$rc")"
		start_agent
		as_it_was "the agent killed when $step" && no_drain "the agent killed when $step: taken back"
	done
	at_step offlining kill_agent --device "$dimm_device" --resume
	wait "$agent"
	start_agent
	all_gone()
	{
		[[ $(dimm_states) == "$dimm_n offline" && ! $(fenced) ]]
	}
	check "with --resume the next agent goes on" eventually 60 all_gone
	no_drain "to the end"
	"$numastow" online --zone movable "$dimm_blocks" >/dev/null
	unchanged "all is as it was, after all" "$before"
	kill "$agent"
	wait "$agent"
}

### the scheduler

kill_scheduler()
{
	kill -KILL "$scheduler"
}

scheduler_part()
{
	local step steps='planned offlining safe' id n=0

	[[ ${BRIEF:-} ]] || steps='waiting planned fenced moving offlining returning safe removed'
	start_hypervisor
	start_scheduler
	start_agent --scheduler 127.0.0.1:7200
	knows_it()
	{
		[[ $(fleet_node .state) == ready ]]
	}
	ended()
	{
		[[ $("$numastow" drains --cluster --json | jq -r ".drains[] | select(.id == \"$id\") | .progress.step") =~ ^(done|failed|cancelled)$ ]]
	}
	for step in $steps; do
		eventually 30 knows_it || fail "the scheduler knows the machine" "$(tail -n 5 "$vm_work/agent.log")"
		# A reservation on the node makes the drain wait for it, fenced already.
		[[ $step != planned ]] || "$numastow" place --json --lifetime 3s cpus=1 nodes=1 >/dev/null
		at_step "$step" kill_scheduler m1 --device "$dimm_device" --wait
		if [[ ! $acted ]]; then
			echo "# $step: not seen ($rc)"
		fi
		id=$(drain_said .id)
		[[ ! $acted ]] || wait "$scheduler"
		[[ ! $acted ]] || start_scheduler
		check "the scheduler killed when $step: the drain comes to its end" eventually 90 ended ||
			fail "..." "$(tail -n 5 "$vm_work/scheduler.log" "$vm_work/agent.log")"
		check "as asked" eventually 10 dimm_gone || fail "..." "$(dimm_states)" "$("$numastow" drains --cluster)"
		unfenced()
		{
			[[ ! $(fenced) && ! $(fleet_node .fenced) ]]
		}
		check "and unfenced" eventually 10 unfenced
		told()
		{
			[[ $(webhooks "$id") == "planned safe-to-remove removed" ]]
		}
		check "with all the webhooks" eventually 20 told || echo "# $(webhooks "$id")"
		dimm_gone || { "$numastow" online --zone movable "$dimm_blocks"; :; }
		n=$((n + 1))
		dimm_online "dimm1-$n" 384 1 movable
	done
	unchanged "all is as it was, after all" "$before"
	kill "$agent" "$scheduler"
	hypervisor stop
	wait
}

for p in $part; do
	"${p}_part"
done
sum_good "the container's memory is what it was" held
within "and on its node" "$(pages_on "$pid" 0)" 0 2048
stop held
vm_summary
