#!/bin/bash
# What `make install` puts in place, with systemd as it is: agent and scheduler in their sandboxes, with TLS,
# still do all their work; stopping, restarting and uninstalling loses nothing.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v2-systemd tests/vm/units.sh
#
# shellcheck disable=SC2317 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

export BUILD=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export PREFIX=/usr/local LIBEXECDIR=/usr/local/libexec/numastow MANDIR=/usr/local/share/man
export SYSCONFDIR=/etc HOOKSDIR=$vm_work/hooks.d UNITDIR=/etc/systemd/system
export HOOK=$LIBEXECDIR/numastow-hook
numastow=$PREFIX/bin/numastow

# agent_says METHOD MESSAGE [PREFIX...] - prints "status N", what the agent's method answers to an escaped
# message of under 128 bytes; the answer is in $vm_work/answer. PREFIX is a command that starts curl.
agent_says()
{
	local method=$1 message=$2 _
	shift 2
	# When a call is refused before its message was read, the stream is reset, which curl may notice first (exit
	# code 92): try again.
	for _ in {1..50}; do
		printf '\0\0\0\0%b%b' "\\x$(printf %02x "$(printf %b "$message" | wc -c)")" "$message" |
			"$@" curl --silent --show-error --max-time 60 --http2-prior-knowledge \
				--unix-socket /run/numastow/agent.sock -H 'content-type: application/grpc' \
				-H 'te: trailers' --data-binary @- --dump-header - \
				"http://localhost/numastow.v1.Agent/$method" >"$vm_work/answer"
		((PIPESTATUS[1] == 92)) || break
	done
	# The trailer follows the body, so it may not be at the beginning of a line.
	grep -aoE 'grpc-status: *[0-9]+' "$vm_work/answer" | sed 's/.*: */status /'
}

metric()
{
	curl --silent --noproxy '*' "http://127.0.0.1:$1/metrics" | grep -qx "$2"
}

# id_message ID - field 1 of a message, a string
id_message()
{
	printf '\\x0a\\x%02x%s' "${#1}" "$1"
}

cd "$vm_root" || exit 1
check "install" deploy/install install
for unit in numastow-agent numastow-scheduler; do
	eq "$unit is not started" "$(systemctl is-active $unit)" inactive
done
eq "the timer is" "$(systemctl is-active numastow-gc.timer)" active

# --- certificates, which only root can read -------------------------------------------------------

ca=$PREFIX/sbin/numastow-ca
check "a CA" "$ca" init "$vm_work/ca"
check "the scheduler's certificate" "$ca" scheduler "$vm_work/ca" 127.0.0.1
check "the agent's certificate" "$ca" agent "$vm_work/ca" web-3
cp -r "$vm_work/ca/scheduler/127.0.0.1" /etc/numastow/scheduler-tls
cp -r "$vm_work/ca/agent/web-3" /etc/numastow/tls
check "without certificates in its settings the scheduler runs" systemctl start numastow-scheduler
check "it serves without TLS" sh -c 'journalctl -u numastow-scheduler | grep -q "tls=no"'
sed -i -E 's/^#((ca|certificate|key): .*)/\1/' /etc/numastow/scheduler.yaml
sed -i -E -e 's/^#((ca|certificate|key): .*)/\1/' -e 's/^#node:.*/node: web-3/' \
	-e 's/^#scheduler:.*/scheduler: [127.0.0.1:7200]/' /etc/numastow/agent.yaml
check "the scheduler runs with TLS" systemctl restart numastow-scheduler
check "it has them as credentials" sh -c 'journalctl -u numastow-scheduler | grep -q "tls=yes"'
eq "it runs as a user of its own" "$(ps -o user= -C numastow-scheduler)" "numastow-scheduler"
check "its store is where it belongs" test -s /var/lib/private/numastow/scheduler.db
check "the agent runs" systemctl start numastow-agent
check "the scheduler welcomes it" eventually 20 metric 7201 'numastow_agent_connected 1'
check "and has its node" metric 7202 'numastow_scheduler_nodes{state="ready"} 1'

# --- the agent's work -----------------------------------------------------------------------------

check "a container starts" start web --annotation numastow.io/cpus=2 --annotation numastow.io/memory=128Mi \
	--annotation numastow.io/cpu-mode=exclusive --annotation numastow.io/nodes=0 \
	--args "/bin/touch-memory --hold 64"
pid=$(container_pid web)
eq "on node 0" "$(allowed_mems "$pid")" 0
check "with pages there" eventually 20 sh -c "[ \$(grep -c 'N0=' /proc/$pid/numa_maps) -gt 0 ]"
there()
{
	agent_says ListContainers '' >"$vm_work/status" && grep -aq web "$vm_work/answer"
}
check "the agent lists it" eventually 20 there
on_0=$(pages_on "$pid" 0)
check "it has touched its memory" test "$on_0" -gt 60000
eq "root in another mount namespace may not repin" \
	"$(agent_says Repin "$(id_message web)" unshare -m)" "status 7"
eq "nobody else may either" \
	"$(agent_says Repin "$(id_message web)" setpriv --reuid 65534 --clear-groups)" "status 7"
eq "it stays where it is" "$(allowed_mems "$pid")" 0
eq "root may" "$(agent_says Repin "$(id_message web)")" "status 0"
eq "its memory is of the other node" "$(allowed_mems "$pid")" 1
eq "its CPUs, too" "$(allowed_cpus "$pid" | sed 's/[4-7]/n/g')" n-n
check "its pages have moved" test "$(pages_on "$pid" 1)" -gt 60000
check "and are not where they were" test "$(pages_on "$pid" 0)" -lt $((on_0 / 10))

# Somebody else changes its CPUs to what does not fit: others' memory stays, the CPUs come back.
check "a container with hugepages" start huge --annotation numastow.io/cpus=1 \
	--annotation numastow.io/hugepages-2Mi=16Mi --annotation numastow.io/nodes=0
eq "has them" "$(pool 0 2048)" 8
kept=$(allowed_cpus "$pid")
echo 0-7 >"$(cgroup_dir "$pid")/cpuset.cpus"
check "what another tool changes, and does not fit, is put back" \
	eventually 20 sh -c "grep -q '^Cpus_allowed_list:[[:space:]]*$kept\$' /proc/$pid/status"
kill -9 "$(container_pid huge)"
rm "$vm_work/bundle/huge/runtime"
check "what a container without a poststop leaves is collected" eventually 60 \
	sh -c "[ \$(cat /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages) = 0 ]"

# --- memory that leaves, out of the sandbox ---------------------------------------------------------

check "a DIMM is plugged" dimm_add dimm1 256 1
size=$((16#$(</sys/devices/system/memory/block_size_bytes)))
address=$(qmp query-memory-devices | jq '.[] | select(.data.id == "dimm1") | .data.addr')
first=$((address / size)) last=$(((address + (256 << 20)) / size - 1))
check "its blocks appear" eventually 20 test -e "/sys/devices/system/memory/memory$last"
check "and go online" "$numastow" online --zone movable "$first-$last"
start pinned --args "pinner 32" --annotation numastow.io/memory=64Mi --annotation numastow.io/nodes=1
check "a page is pinned there" eventually 20 grep -q '^ready' "$vm_work/pinned.out"
"$numastow" drain --json --blocks "$first-$last" --block-timeout 3s >"$vm_work/drain.out" 2>"$vm_work/drain.err"
eq "a drain fails because of it" "$?" 1
check "the agent did it" sh -c 'journalctl -u numastow-agent | grep -q "asked to drain"'
eq "it names container and program" "$(tail -n 1 "$vm_work/drain.out" |
	jq -r '[.culprits[] | select(.proven) | "\(.container) \(.program)"] | unique | join(", ")')" "pinned pinner"
eq "and all is online as before" \
	"$(cat "/sys/devices/system/memory/memory$first/state" "/sys/devices/system/memory/memory$last/state" | xargs)" \
	"online online"
stop pinned
check "without it the DIMM leaves" "$numastow" drain --blocks "$first-$last" --eject
check "and is gone" test ! -e "/sys/devices/system/memory/memory$last"
check "which is counted" metric 7201 'numastow_agent_drains_ended_total{end="done"} 1'

# --- restarts -------------------------------------------------------------------------------------

check "reload" systemctl reload numastow-agent
check "after which it comes back" eventually 20 metric 7201 'numastow_agent_connected 1'
check "restart of the scheduler" systemctl restart numastow-scheduler
check "the agent finds it again" eventually 60 metric 7202 'numastow_scheduler_nodes{state="ready"} 1'
check "restart of the agent" systemctl restart numastow-agent
check "the ledger is still there" sh -c "'$numastow' ledger | grep -q web"
eq "and the container where it was" "$(allowed_mems "$pid")" 1
# What the agent itself has refused to callers is no such thing.
check "nothing was denied that it needs" sh -c \
	'! journalctl -u numastow-agent -u numastow-scheduler | grep -v "request refused: " |
	grep -Ei "not permitted|denied|read-only"' ||
	journalctl -u numastow-agent -u numastow-scheduler | tail -40

check "uninstall" deploy/install uninstall
eq "the agent has stopped" "$(systemctl is-active numastow-agent)" inactive
eq "the container has its own CPUs back" "$(allowed_cpus "$pid")" 0-7
check "programs and units are gone" sh -c "! ls $PREFIX/sbin/numastow* $UNITDIR/numastow* 2>/dev/null | grep ."
check "settings that were changed stay" test -e /etc/numastow/agent.yaml
check "others do not" test ! -e /etc/numastow/config.yaml
check "the store stays" test -s /var/lib/private/numastow/scheduler.db
vm_summary
