#!/bin/bash
# Podman's --cgroups=split, which Quadlet uses: the container's cgroup is below that of the unit, and its name is
# libpod-payload-ID. The container takes the lease that precreate made for that ID; its CPU is an isolated one.
#
# usage: tests/vm/run --append isolcpus=3 --env VM_RUNTIME=crun v2-systemd tests/vm/split.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
podman_hooks "$programs"

eq "the kernel has an isolated CPU" "$(cat /sys/devices/system/cpu/isolated)" 3
command=(podman --root "$vm_work/podman" --runroot "$vm_work/podman-run" --storage-driver vfs --runtime "$VM_RUNTIME"
	--cgroup-manager systemd --events-backend file --hooks-dir "$VM_HOOKS_DIR" run --network none --cgroups=split
	--name split --annotation numastow.io/cpus=1 --annotation numastow.io/cpu-mode=isolated
	--rootfs "$(vm_rootfs)" /bin/sleep 1000)
systemd-run --quiet --unit split --property Delegate=yes "${command[@]}"
check "a container in its unit's cgroup starts" eventually 90 \
	sh -c "[ \"\$('$numastow' ledger --json | jq -c '[.containers[].state]')\" = '[\"active\"]' ]"
id=$(vm_podman inspect split --format '{{.Id}}')
pid=$(vm_podman inspect split --format '{{.State.Pid}}')
check "it is in a cgroup of that name" grep -q "/libpod-payload-$id" "/proc/$pid/cgroup"
eq "the ledger has it once" "$("$numastow" ledger --json | jq -c '[.containers[] | [.id, .state]]')" "[[\"$id\",\"active\"]]"
eq "precreate left a lease, and apply took it" \
	"$("$numastow" why "$id" | awk '{ print $3 }' | grep -E 'leased|placed' | paste -sd ' ')" "leased placed"
eq "it has the isolated CPU" "$(allowed_cpus "$pid")" 3
check "the container is removed" vm_podman rm --force --time 0 split
check "nothing is left" eventually 30 sh -c "[ \"\$('$numastow' ledger --json | jq -c .containers)\" = '[]' ]"

vm_summary
