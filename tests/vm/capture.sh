#!/bin/bash
# Save what a guest's kernel shows of nodes, memory, devices and hugepages, as a tree for tests/dumps: with a DIMM that is
# partly in zone Movable, partly in Normal, partly offline, a CPU that is offline, and pools that differ.
#
# usage: tests/vm/run --out DIR [--release other] v2-pci tests/vm/capture.sh      makes DIR/tree.tar.gz
#
# shellcheck disable=SC2317 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

memory=/sys/devices/system/memory

modprobe -a virtio_net nvme
check "the disk is there" eventually 20 test -e /sys/block/nvme0n1
dimm_add dimm1 512 1 >/dev/null
added()
{
	mapfile -t blocks < <(blocks_of 1 offline)
	((${#blocks[@]} == 4))
}
eventually 20 added || fail "the DIMM's blocks" "${blocks[*]}"
echo online_movable >"$memory/${blocks[3]}/state"
echo online_movable >"$memory/${blocks[2]}/state"
echo online_kernel >"$memory/${blocks[0]}/state"
echo 0 >/sys/devices/system/cpu/cpu6/online
check "pools" set_pool 0 2048 8
check "that differ" set_pool 1 2048 3
python3 - "$vm_work/tree" <<'END'
import os, shutil, sys
to = sys.argv[1]
LEFT_OUT = {"power", "uevent", "subsystem", "driver", "hotplug", "vulnerabilities", "microcode", "cpuidle", "cpufreq", "msi_irqs",
            "crash_hotplug", "compact", "reclaim", "probe", "queue", "integrity", "mq", "trace", "hwmon"}
ALL = ("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/devices/system/memory", "/sys/firmware/memmap",
       "/sys/kernel/mm/hugepages", "/sys/kernel/mm/transparent_hugepage", "/sys/kernel/mm/numa",
       "/sys/devices/virtual/memory_tiering")
LINKS = ("/sys/bus/pci/devices", "/sys/class/net", "/sys/class/block")
FILES = [f"/proc/{f}" for f in ("meminfo", "zoneinfo", "buddyinfo", "vmstat", "cpuinfo", "mounts")]
FILES += [f"/sys/firmware/acpi/tables/{t}" for t in ("SRAT", "SLIT", "HMAT")]


def save(path):
    os.makedirs(os.path.dirname(to + path), exist_ok=True)
    if os.path.islink(path):
        return os.symlink(os.readlink(path), to + path)
    try:
        with open(path, "rb") as source:
            data = source.read()
    except OSError:
        return None
    with open(to + path, "wb") as copy:
        copy.write(data)
    return None


for top in ALL:
    for folder, folders, names in os.walk(top):
        links = [f for f in folders if os.path.islink(os.path.join(folder, f))]
        folders[:] = [f for f in folders if f not in LEFT_OUT and f not in links]
        for name in (*names, *links):
            if name not in LEFT_OUT:
                save(os.path.join(folder, name))
for path in FILES:
    if os.path.exists(path):
        save(path)
for top in LINKS:
    for name in os.listdir(top):
        target = os.path.realpath(os.path.join(top, name))
        if "/loop" in target or "/ram" in target or not os.path.islink(os.path.join(top, name)):
            continue
        save(os.path.join(top, name))
        for file in ("class", "numa_node", "vendor", "device", "partition", "dev"):
            if os.path.exists(f"{target}/{file}"):
                save(f"{target}/{file}")
        os.makedirs(to + target, exist_ok=True)
acpi = "/sys/devices/LNXSYSTM:00"
for folder, folders, names in os.walk(acpi):
    if "PNP0C80:" in folder:
        for name in ("uid", "path", "hid"):
            if name in names:
                save(os.path.join(folder, name))
END
check "a tree" test -s "$vm_work/tree/proc/zoneinfo"
check "is saved" tar -C "$vm_work/tree" --owner=0 --group=0 --numeric-owner --sort=name -czf /out/tree.tar.gz .
vm_summary
