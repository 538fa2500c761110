#!/bin/bash
# The same through Podman: its hooks.d files, its cgroups, its clean-up, its way of telling about a hook that
# refuses. One "podman run" takes 15 s under emulation: few of them.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun SHAPE tests/vm/podman.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
podman_hooks "$programs"

ledger()
{
	"$numastow" ledger --json | jq -c "$1"
}

check "an annotated container starts" podman_run --detach --name web \
	--annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=exclusive \
	--annotation numastow.io/memory=256Mi --annotation numastow.io/hugepages-2Mi=32Mi \
	-- /bin/touch-memory --huge 2M --hold 32
id=$(vm_podman inspect web --format '{{.Id}}')
pid=$(vm_podman inspect web --format '{{.State.Pid}}')
node=$(ledger '.containers[0].nodes[0].node')
eq "the ledger has it" "$(ledger '[.containers[] | [.id, .state]]')" "[[\"$id\",\"active\"]]"
eq "precreate left a lease, and apply took it" \
	"$("$numastow" why "$id" | awk '{ print $3 }' | grep -E 'leased|placed' | paste -sd ' ')" "leased placed"
eq "its CPUs" "$(allowed_cpus "$pid")" "$(ledger .containers[0].cpus | tr -d '"')"
eq "its memory" "$(allowed_mems "$pid")" "$node"
eq "its hugepages" "$(pool "$node" 2048)" 16
check "they are mapped" eventually 20 sh -c "[ \$(awk '/HugePages_Free/ { print \$NF }' /sys/devices/system/node/node$node/meminfo) = 0 ]"
check "an unannotated container is kept off its CPUs" podman_run --rm -- \
	/bin/sh -c "grep Cpus_allowed_list /proc/self/status" 
if podman_run --name wide --annotation numastow.io/cpus=8 -- /bin/true >"$vm_work/wide.out" 2>&1; then
	fail "8 CPUs on a node of 4 are refused"
else
	ok "8 CPUs on a node of 4 are refused"
fi
wide=$(vm_podman inspect wide --format '{{.Id}}')
check "why has the reason, which crun does not show" sh -c "'$numastow' why $wide | grep -q '8 CPUs on one NUMA node'"
check "the container is removed" vm_podman rm --force --time 0 web
vm_podman rm --force --time 0 wide >/dev/null 2>&1
eventually 10 sh -c "[ \$('$numastow' ledger --json | jq '.containers | length') = 0 ]"
eq "nothing is left in the ledger" "$(ledger '[.containers, .pools]')" '[[],[]]'
eq "nothing is left of its hugepages" "$(pool 0 2048)+$(pool 1 2048)" 0+0
check "no entry is left" test -z "$(ls -A /run/numastow/unmanaged 2>/dev/null)"

vm_summary
