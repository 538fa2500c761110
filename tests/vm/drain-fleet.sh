#!/bin/bash
# Two machines, of which one may be drained at a time: the second waits. A hypervisor that answers webhooks with errors
# for a while acts once.
#
# Both are this machine: the second agent has a ledger of its own, and takes another DIMM.
#
# usage: tests/vm/run v2 tests/vm/drain-fleet.sh
#
# shellcheck disable=SC2317,SC2119,SC2154 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

start_hypervisor
start_scheduler --max-drains 1
start_agent --scheduler 127.0.0.1:7200 --failure-domain rack-1
# shellcheck disable=SC2016
unshare -m sh -c 'mount -t tmpfs -o mode=755 run /run/numastow && exec "$@"' sh "$programs/numastow-agent" --node m2 \
	--scheduler 127.0.0.1:7200 --failure-domain rack-2 --metrics '' --max-drain 100 --drain-block-timeout 60s \
	>"$vm_work/agent2.log" 2>&1 &
agent2=$!
both()
{
	(($("$numastow" nodes --json | jq '[.nodes[] | select(.state == "ready")] | length') == 2))
}
check "two machines are there" eventually 30 both

dimm_online one 256 0 movable
first=$dimm_device
dimm_online two 256 1 movable
second=$dimm_device

### one at a time

hypervisor hold
"$numastow" drain m1 --device "$first" --wait --block-timeout 60s --json >"$vm_work/first.out" 2>&1 &
first_pid=$!
check "the first drain is at the point of removal" eventually 60 grep -q '"safe"' "$vm_work/first.out"
"$numastow" drain m2 --device "$second" --wait --block-timeout 60s --json >"$vm_work/second.out" 2>&1 &
second_pid=$!
check "the second one waits" eventually 30 grep -q '"waiting"' "$vm_work/second.out"
sleep 3
eq "and goes on waiting" "$(jq -r .step "$vm_work/second.out" | sort -u)" waiting
echo "# $(tail -n 1 "$vm_work/second.out" | jq -r .message)"
check "the list says both" sh -c "'$numastow' drains --cluster --json | jq -e '[.drains[] | select(.progress.step != \"waiting\")] | length == 1'"
eq "its memory is online" "$(dimm_states)" "2 online"

### a receiver that fails five times

id=$(jq -r .id "$vm_work/first.out" | head -n 1)
# What it has taken already was safe-to-remove; it comes to its senses, and pulls by hand what it was told of.
# From here on it answers 503 to five: the turn passes to the second machine at once.
hypervisor release
hypervisor fail 5
dimm_del one >/dev/null
wait $first_pid
eq "the first drain ends well" "$? $(tail -n 1 "$vm_work/first.out" | jq -r .step)" "0 done"
check "the fleet hears of it" eventually 60 sh -c "grep -q '$id-removed' '$vm_work/hypervisor.log'"
wait $second_pid
eq "then the second one has its turn, and ends well" "$? $(tail -n 1 "$vm_work/second.out" | jq -r .step)" "0 done"
id=$(jq -r .id "$vm_work/second.out" | head -n 1)
heard()
{
	[[ $(webhooks "$id") == "planned safe-to-remove removed" ]]
}
check "it was told of every step all the same" eventually 60 heard
eq "five times it answered with an error" "$(hypervisor_did '.did == "webhook" and .status == 503' | wc -l)" 5
eq "and it pulled once" "$(hypervisor_did '.did == "pull" and .device == "two"' | wc -l)" 1
eq "each try of an event had the same key" "$(hypervisor_did ".did == \"webhook\" and .body.drain == \"$id\"" |
	jq -r '"\(.event) \(.key)"' | sort -u | wc -l)" 3
eq "nothing was forged" "$(hypervisor_did '.did | IN("forged", "keyless", "nonsense", "unknown")')" ""
# The same event once more, as from a scheduler that died before it knew of the answer.
again=$(hypervisor_did ".did == \"webhook\" and .event == \"safe-to-remove\" and .body.drain == \"$id\" and .status == 200" | head -n 1)
body=$(jq -c .body <<<"$again")
stamp=$(date +%s)
sign=$(printf '%s.%s' "$stamp" "$body" | openssl dgst -sha256 -hmac "$(<"$vm_work/secret")" | sed 's/.*= //')
eq "a repetition is taken" "$(curl -s -o /dev/null -w '%{http_code}' -H "Idempotency-Key: $(jq -r .key <<<"$again")" \
	-H "X-Numastow-Timestamp: $stamp" -H "X-Numastow-Signature: sha256=$sign" -d "$body" http://127.0.0.1:8900/numastow)" 200
eq "and not acted on" "$(hypervisor_did '.did == "pull" and .device == "two"' | wc -l)" 1

### one drain in a failure domain

eq "no fence is left" "$(fleet_node .fenced m1)$(fleet_node .fenced m2)" ""
none()
{
	(($("$numastow" drains --cluster --json | jq '[.drains[] | select(.progress.step | IN("done", "failed", "cancelled", "partial") | not)] | length') == 0))
}
check "no drain is left" none

kill "$agent" "$agent2" "$scheduler"
hypervisor stop
wait 2>/dev/null
vm_summary
