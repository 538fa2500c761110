#!/bin/bash
# The annotated pod that runs on a cluster (tests/kubernetes/machines.py), from the same file, by "podman kube play". On
# machines with systemd: with the cgroup driver cgroupfs Podman 4.3 itself forbids the containers of a pod all devices.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun SHAPE tests/vm/play.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
podman_hooks "$programs"
yaml=$vm_root/tests/kubernetes/annotated.yaml

ledger()
{
	"$numastow" ledger --json | jq -c "$1"
}

# Podman's own pause image needs a program that is not everywhere. Nothing here comes from a registry.
printf '[engine]\ninfra_image = "numastow.io/test:1"\n' >"$vm_work/containers.conf"
export CONTAINERS_CONF=$vm_work/containers.conf
tar -C "$(vm_rootfs)" -c . |
	vm_podman import --quiet --change 'ENTRYPOINT ["/bin/sleep", "100000"]' --change ENV=PATH=/bin - numastow.io/test:1 \
		>"$vm_work/import.out" 2>&1 ||
	fail "the image: $(<"$vm_work/import.out")"

check "podman kube play runs the pod" vm_podman kube play "$yaml"
id=$(vm_podman inspect annotated-main --format '{{.Id}}')
pid=$(vm_podman inspect annotated-main --format '{{.State.Pid}}')
eq "its container has a record, the pod's other one has none" "$(ledger '[.containers[] | [.id, .state]]')" "[[\"$id\",\"active\"]]"
node=$(ledger '.containers[0].nodes[0].node')
eq "its CPUs" "$(allowed_cpus "$pid")" "$(ledger .containers[0].cpus | tr -d '"')"
eq "two of them, exclusive" "$(ledger '.containers[0] | [.exclusive, .nodes[0].n_cpus]')" '[true,2]'
eq "its memory" "$(allowed_mems "$pid")" "$node"
eq "its hugepages" "$(pool "$node" 2048)" 4
check "podman kube down removes it" vm_podman kube down "$yaml"
eventually 60 sh -c "[ \$('$numastow' ledger --json | jq '.containers | length') = 0 ]"
eq "nothing is left in the ledger" "$(ledger '[.containers, .pools]')" '[[],[]]'
eq "nothing is left of its hugepages" "$(pool 0 2048)+$(pool 1 2048)" 0+0

vm_summary
