#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow doctor: every rule is planted once on a copied tree and found, at its level and with its numbers; a machine on
which nothing was planted has none; trees of real machines and odd ones never crash it."""
import glob
import json
import os
import re
import subprocess

from harness import BUILD, GIB, MIB, PROJECT, Machine, Temp, as_list, check, finish, hook, run, same

NUMASTOW = os.path.join(BUILD, "numastow")
DUMPS = os.environ.get("NUMASTOW_DUMPS") or os.path.join(PROJECT, "../shared/sysfs-dumps")
NODE = "/sys/devices/system/node"
VM = "/proc/sys/vm"
NIC = "/sys/devices/pci0000:00/0000:00:03.0"
ID = "a" * 64
SCOPE = f"libpod-{ID}.scope"
UPTIME = 10000


def doctor(machine, *words):
    return run([NUMASTOW, "doctor", "--sysroot", machine.path, *words], "")


def findings(machine, *words):
    done = doctor(machine, "--json", *words)
    if done.code not in (0, 4) or done.err:
        check("doctor answers", False, done)
        return None, {"findings": [], "unexamined": []}
    return done.code, json.loads(done.out)


# --- a machine ----------------------------------------------------------------------------------

def counters(machine, node=None, **values):
    """Sets lines of a vmstat file, the machine's or a node's."""
    path = "/proc/vmstat" if node is None else f"{NODE}/node{node}/vmstat"
    lines = dict(l.split() for l in machine.read(path).splitlines()) if machine.exists(path) else {}
    lines.update({k: str(v) for k, v in values.items()})
    machine.write(path, "".join(f"{k} {v}\n" for k, v in lines.items()))


def process(machine, pid, comm, cpus="0-7", mems="0-1", threads=1, swap=0, rss=8192):
    machine.write(f"/proc/{pid}/status",
                  f"Name:\t{comm}\nState:\tS (sleeping)\nPid:\t{pid}\nVmSize:\t  {2 * rss} kB\nVmRSS:\t  {rss} kB\n"
                  f"VmSwap:\t  {swap >> 10} kB\nThreads:\t{threads}\nCpus_allowed_list:\t{cpus}\n"
                  f"Mems_allowed_list:\t{mems}\n")


def memory(machine, node, available):
    """What is free of a node, in its meminfo and its zone."""
    kib = machine.memory >> 10
    machine.write(f"{NODE}/node{node}/meminfo", f"Node {node} MemTotal: {kib} kB\nNode {node} MemFree: {available >> 10} kB\n"
                  f"Node {node} MemUsed: {kib - (available >> 10)} kB\n")
    zones = machine.read("/proc/zoneinfo").split("Node ")
    zones = [re.sub(r"pages free +\d+", f"pages free     {available >> 12}", z) if z.startswith(f"{node},") else z
             for z in zones]
    machine.write("/proc/zoneinfo", "Node ".join(zones) + "\n")


def used(machine, name, *nodes):
    """A container's memory on each node."""
    spread = " ".join(f"N{i}={b}" for i, b in enumerate(nodes))
    machine.write(f"{machine.cgroup_dir('memory', name)}/memory.numa_stat", f"anon {spread}\nfile N0=0 N1=0\n"
                  if machine.cgroup == 2 else
                  f"hierarchical_total={sum(nodes) >> 12} " + " ".join(f"N{i}={b >> 12}" for i, b in enumerate(nodes)) + "\n")


def nic(machine, node):
    machine.write(f"{NIC}/class", "0x020000\n")
    machine.write(f"{NIC}/numa_node", f"{node}\n")
    os.makedirs(machine.file("/sys/bus/pci/devices"))
    os.makedirs(machine.file("/sys/class/net"))
    os.makedirs(machine.file(f"{NIC}/net/eth0"))
    os.symlink("../../../devices/pci0000:00/0000:00:03.0", machine.file("/sys/bus/pci/devices/0000:00:03.0"))
    os.symlink("../../devices/pci0000:00/0000:00:03.0/net/eth0", machine.file("/sys/class/net/eth0"))


def make(temp, **words):
    """A machine as a distribution leaves it: balancing on, overcommit and KSM off, some processes."""
    machine = Machine(f"{temp}/m", **words)
    machine.write("/proc/uptime", f"{UPTIME}.00 1.00\n")
    machine.write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n")
    machine.write("/proc/sys/kernel/numa_balancing", "1\n")
    for name, value in (("zone_reclaim_mode", 0), ("numa_stat", 1), ("swappiness", 60)):
        machine.write(f"{VM}/{name}", f"{value}\n")
    counters(machine, numa_hint_faults=1000, numa_pages_migrated=10, pswpout=0, zone_reclaim_success=0,
             zone_reclaim_failed=0, pgpromote_candidate=0, pgpromote_success=0)
    for node in machine.ids:
        counters(machine, node, numa_hit=10**7, numa_miss=0, numa_foreign=0)
    for name, value in (("run", 0), ("merge_across_nodes", 1), ("pages_sharing", 0)):
        machine.write(f"/sys/kernel/mm/ksm/{name}", f"{value}\n")
    for name in ("nr_overcommit_hugepages", "surplus_hugepages"):
        machine.write(f"/sys/kernel/mm/hugepages/hugepages-2048kB/{name}", "0\n")
    machine.write("/sys/devices/system/memory/auto_online_blocks", "offline\n")
    machine.write("/proc/interrupts", "       " + "".join(f"    CPU{c}" for c in range(8)) + "\n" +
                  " 24: " + " 0" * 8 + "  PCI-MSI  eth0\nNMI: " + " 0" * 8 + "  Non-maskable\n")
    everything = as_list(c for n in machine.ids for c in machine.cpus[n])
    process(machine, 1, "systemd", cpus=everything, mems=as_list(machine.ids))
    process(machine, 500, "sshd", cpus=everything, mems=as_list(machine.ids))
    machine.write("/proc/2/status", "Name:\tkthreadd\nThreads:\t1\nCpus_allowed_list:\t0-7\n")  # the kernel's
    return machine


def granted(machine, name="web", **annotations):
    machine.container(name, annotations={f"numastow.io/{k.replace('_', '-')}": v for k, v in annotations.items()})
    done = hook(machine, "apply", machine.state(name))
    check(f"the hook places {name}", done.code == 0, done)
    return machine.cgroup_dir("cpuset", name)


def found(machine, cpus="", mems=""):
    """A container without a grant, found by its cgroup's name."""
    machine.container(SCOPE, cpus=cpus, mems=mems)
    folder = machine.cgroup_dir("cpuset", SCOPE)
    for name, value in (("cpus", cpus), ("mems", mems)):
        if value and machine.cgroup == 2:
            machine.write(f"{folder}/cpuset.{name}.effective", value + "\n")
        elif value:
            machine.write(f"{folder}/cpuset.{name}", value + "\n")
            machine.write(f"{folder}/cpuset.effective_{name}", value + "\n")
    machine.write(f"{folder}/cgroup.events", "populated 1\nfrozen 0\n")
    return folder, machine.containers[SCOPE]["pid"]


# --- one planted fault for each rule ------------------------------------------------------------------

def undone(m):
    folder = granted(m, cpus="2", cpu_mode="exclusive")
    m.write(f"{folder}/cpuset.cpus.effective", "0-7\n")


def far_memory(m):
    found(m, cpus="0-3", mems="0-1")
    used(m, SCOPE, 100 * MIB, 900 * MIB)


def far_device(m):
    nic(m, 1)
    folder = "/sys/devices/pci0000:00/0000:00:04.0"
    m.write(f"{folder}/numa_node", "1\n")
    m.write("/sys/class/infiniband_verbs/uverbs0/dev", "231:192\n")
    os.symlink("../../../devices/pci0000:00/0000:00:04.0", m.file("/sys/class/infiniband_verbs/uverbs0/device"))
    _, pid = found(m, cpus="0-3")
    os.makedirs(m.file(f"/proc/{pid}/fd"))
    os.symlink("/dev/null", m.file(f"/proc/{pid}/fd/0"))
    os.symlink("/dev/infiniband/uverbs0", m.file(f"/proc/{pid}/fd/5"))


def check_names(temp):
    """A finding names its container as its engine does, and the command is for that one, whether it has a grant or not."""
    m = make(temp)
    far_memory(m)
    m.write("/var/lib/containers/storage/overlay-containers/volatile-containers.json", json.dumps([{"id": ID, "names": ["loose"]}]))
    found_ = [f for f in findings(m)[1]["findings"] if f["rule"] == "container-far-memory"]
    same("far memory of a container without a grant", [(f["subject"], f["command"]) for f in found_],
         [(f"container loose ({ID[:12]})", f"numastow migrate {ID[:12]} all 0")])
    m = make(temp)
    granted(m, ID, cpus="2", cpu_mode="exclusive", nodes="0")
    used(m, ID, 100 * MIB, 900 * MIB)
    m.write(f"{m.cgroup_dir('cpuset', ID)}/cpuset.mems.effective", "0-1\n")
    found_ = [f for f in findings(m)[1]["findings"] if f["rule"] == "container-far-memory"]
    same("and of one with a grant", [(f["subject"], f["command"]) for f in found_],
         [(f"container {ID[:12]}", f"numastow repin --to 0 {ID[:12]}")])
    m = make(temp)
    far_device(m)
    found_ = [f for f in findings(m)[1]["findings"] if f["rule"] == "container-far-device"]
    same("a far device of one without a grant", [f["command"] for f in found_],
         ["start it again with the annotation numastow.io/near: numastow-annotations(7)"])


def out_of_memory(m):
    folder, _ = found(m, mems="0")
    m.write(f"{folder}/memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 3\n")


def swap(m):
    process(m, 700, "redis-server", mems="0", swap=2 * GIB)


def v1_migrate(m):
    folder, _ = found(m, mems="0")
    m.write(f"{folder}/cpuset.memory_migrate", "0\n")
    used(m, SCOPE, 100 * MIB, 900 * MIB)


def v1_page(m):
    m.write(f"{found(m)[0]}/cpuset.memory_spread_page", "1\n")


def v1_slab(m):
    m.write("/sys/fs/cgroup/cpuset/cpuset.memory_spread_slab", "1\n")


def isolated(m):
    m.write("/sys/devices/system/cpu/isolated", "6-7\n")
    process(m, 710, "worker", cpus="0-7", threads=3)
    for tid in (710, 711, 712):
        m.write(f"/proc/710/task/{tid}/stat", f"{tid} (a) b) R 1" + " 0" * 34 + " 6 0 0\n")


def exhausted(m):
    memory(m, 0, 100 * MIB)
    counters(m, 0, numa_foreign=10**6)


def cache(m):
    memory(m, 0, 16 * MIB)
    m.write("/proc/zoneinfo", m.read("/proc/zoneinfo").replace("nr_active_file 0", "nr_active_file 3500000", 1) + "\n")
    counters(m, 0, numa_foreign=10**6)
    m.write(f"{NODE}/node0/reclaim", "")


def uneven(m):
    memory(m, 1, GIB)


def overflow(m):
    counters(m, 1, numa_foreign=2 * 10**6)


def bound(m):
    granted(m, cpus="1", memory="1Gi")
    counters(m, numa_hint_faults=2000 * UPTIME, numa_pages_migrated=5)


def tiers(m):
    for tier, nodes in ((4, "0"), (22, "1")):
        m.write(f"/sys/devices/virtual/memory_tiering/memory_tier{tier}/nodelist", f"{nodes}\n")
    m.write("/sys/kernel/mm/numa/demotion_enabled", "false\n")
    counters(m, pswpout=5000)


def demoted(m):
    granted(m, cpus="1", memory="1Gi", nodes="0")
    tiers(m)
    m.write("/sys/kernel/mm/numa/demotion_enabled", "true\n")
    m.write("/proc/sys/kernel/numa_balancing", "2\n")


def promotion(m):
    m.write("/proc/sys/kernel/numa_balancing_promote_rate_limit_MBps", "10\n")
    counters(m, pgpromote_candidate=10**6, pgpromote_success=1000)


def scan(m):
    m.write("/sys/kernel/debug/sched/numa_balancing/scan_size_mb", "1024\n")


def reclaim(m):
    m.write(f"{VM}/zone_reclaim_mode", "1\n")
    counters(m, zone_reclaim_success=30 * UPTIME, zone_reclaim_failed=2 * UPTIME)


def hits(m):
    m.write(f"{VM}/numa_stat", "0\n")


def ksm(m):
    m.write("/sys/kernel/mm/ksm/run", "1\n")
    m.write("/sys/kernel/mm/ksm/pages_sharing", "4321\n")


def overcommit(m):
    m.write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages", "512\n")


def hotplug(m):
    m.write("/sys/devices/system/memory/auto_online_blocks", "online_movable\n")
    m.write("/etc/udev/rules.d/80-hotplug.rules", '# SUBSYSTEM=="memory"\nSUBSYSTEM=="memory", ACTION=="add", '
            'ATTR{state}=="offline", ATTR{state}="online"\n')


def interrupts(m):
    nic(m, 1)
    m.write(f"{NIC}/msi_irqs/24", "msix\n")
    m.write("/proc/irq/24/effective_affinity_list", "2\n")
    m.write("/proc/interrupts", m.read("/proc/interrupts").replace(" 24:  0 0 0", f" 24:  0 0 {5000 * UPTIME}") + "\n")


def one_node(m):
    for cpu in range(8):
        m.write(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", f"{cpu // 4}\n")
        for name in ("core_siblings_list", "package_cpus_list"):
            m.write(f"/sys/devices/system/cpu/cpu{cpu}/topology/{name}", "0-3\n" if cpu < 4 else "4-7\n")


def distances(m):
    for node in m.ids:
        m.write(f"{NODE}/node{node}/distance", "10 10\n")


def memoryless(m):
    m.write(f"{NODE}/node1/meminfo", "Node 1 MemTotal: 0 kB\nNode 1 MemFree: 0 kB\n")


def uneven_memory(m):
    m.write(f"{NODE}/node1/meminfo", "Node 1 MemTotal: 8388608 kB\nNode 1 MemFree: 8000000 kB\n")


def several(m):
    for cpu in range(8):
        m.write(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", "0\n")
        for name in ("core_siblings_list", "package_cpus_list"):
            m.write(f"/sys/devices/system/cpu/cpu{cpu}/topology/{name}", "0-7\n")


def parameters(text):
    return lambda m: m.write("/proc/cmdline", f"ro {text} quiet\n")


def irqbalance(m):
    granted(m, cpus="2", cpu_mode="exclusive")
    process(m, 720, "irqbalance")


def tuned(m):
    m.write("/etc/tuned/active_profile", "latency\n")
    m.write("/usr/lib/tuned/latency/tuned.conf", "[sysctl]\n#kernel.numa_balancing=1\nkernel.numa_balancing=0\n")


def kubelet(m):
    m.write("/var/lib/kubelet/cpu_manager_state", json.dumps({"policyName": "static"}))


def slices(m):
    found(m)
    m.write("/sys/fs/cgroup/machine.slice/cpuset.cpus", "0-3\n")


def dpkg(m):
    m.write("/var/lib/dpkg/status", "Package: crun\nStatus: install ok installed\nVersion: 1.8.1-1\n\nPackage: runc\n"
            "Architecture: amd64\nVersion: 1.1.5+ds1-1\n\n")


def inherited(m):
    _, pid = found(m, cpus="0-7")
    process(m, 1, "systemd", cpus="0-3")
    process(m, pid, "nginx", cpus="0-3")
    dpkg(m)


def wide(m):
    _, pid = found(m, cpus="1022-1025")
    process(m, pid, "nginx", cpus="1022-1023")
    dpkg(m)


# rule: (how it is planted, its level, what the evidence and the command have, the machine)
PLANTED = {
    "grant-undone": (undone, "problem", ("exclusive CPUs 0-1", "has CPUs 0-7", "numastow why web"), {}),
    "container-far-memory": (far_memory, "problem", ("CPUs 0-3 are on nodes 0", "900Mi of its 1000Mi", "90 %"), {}),
    "container-far-device": (far_device, "advice", ("/dev/infiniband/uverbs0", "node 1", "CPUs 0-3"), {}),
    "bind-out-of-memory": (out_of_memory, "problem", ("killed 3", "nodes 0, and node 1 has 93 %"), {}),
    "bind-swap": (swap, "problem", ("2Gi of it are in swap", "nodes 0", "node 1 has"), {}),
    "v1-memory-migrate": (v1_migrate, "problem", ("memory_migrate is 0", "900Mi", "90 %"), {"cgroup": 1}),
    "v1-spread-page": (v1_page, "advice", ("memory_spread_page is 1",), {"cgroup": 1}),
    "v1-spread-slab": (v1_slab, "information", ("memory_spread_slab is 1",), {"cgroup": 1}),
    "isolated-shared": (isolated, "problem", ("3 of its 3 threads run on CPU 6", "6-7 are isolated"), {}),
    "node-exhausted": (exhausted, "problem", ("of 16Gi are available on node 0", "1000000 pages", "(9 %)"), {}),
    "node-page-cache": (cache, "problem", ("of node 0 are page cache (83 %)", "4096 pages are free",
                                           "numastow zones reclaim 0"), {}),
    "nodes-uneven-use": (uneven, "advice", ("6 % of node 1", "93 % of node 0"), {}),
    "node-overflow": (overflow, "information", ("2000000 pages meant for node 1 (16 %)",), {}),
    "balancing-bound": (bound, "problem", ("numa_balancing is 1", "20000000 hinting faults (2000/s)",
                                           "5 pages moved"), {}),
    "tiering-off": (tiers, "problem", ("nodes 1 are a slower memory tier", "numa_balancing is 1",
                                       "demotion_enabled is false", "5000 pages were swapped out"), {}),
    "demotion-bound": (demoted, "advice", ("demotion_enabled is true", "container web", "memory of nodes 0",
                                           "nodes 1 are a slower memory tier"), {}),
    "promotion-limited": (promotion, "problem", ("10 MB/s", "1000000 pages were candidates", "1000 were"), {}),
    "balancing-settings": (scan, "information", ("has 1024", "default is 256"), {}),
    "zone-reclaim": (reclaim, "problem", ("zone_reclaim_mode is 1", "300000 times with", "(32.0/s)"), {}),
    "hit-counters-off": (hits, "information", ("numa_stat is 0",), {}),
    "ksm-across-nodes": (ksm, "advice", ("4321 pages",), {}),
    "hugepages-overcommit": (overcommit, "advice", ("512 pages of 2048 kB",), {}),
    "hotplug-online-twice": (hotplug, "advice", ("online_movable", "80-hotplug.rules"), {}),
    "interrupts-far": (interrupts, "problem", ("on node 1", "(5000/s)", "IRQ 24", "CPU 2",
                                               "echo 4-7 >/proc/irq/24/smp_affinity_list"), {}),
    "firmware-one-node": (one_node, "advice", ("2 processor packages",), {"nodes": 1}),
    "firmware-distances": (distances, "advice", ("2 nodes are 10",), {}),
    "node-without-memory": (memoryless, "advice", ("node 1 has CPUs 4-7",), {}),
    "nodes-uneven-memory": (uneven_memory, "information", ("node 1 has 8Gi", "node 0 has 16Gi"), {}),
    "several-nodes-per-package": (several, "information", ("2 nodes with CPUs are on 1 processor package",), {}),
    "device-without-node": (lambda m: nic(m, -1), "information", ("0000:00:03.0",), {}),
    "numa-off": (parameters("numa=off"), "advice", ("numa=off",), {}),
    "numa-fake": (parameters("numa=fake=4"), "advice", ("numa=fake=4",), {}),
    "movable-node": (parameters("movable_node"), "information", ("movable_node",), {}),
    "irqaffinity-quiet": (parameters("irqaffinity=0-5 nohz_full=4-5"), "advice", ("CPUs 4-5",), {}),
    "nohz-full-not-isolated": (parameters("nohz_full=4-5"), "information", ("CPUs 4-5",), {}),
    "numad-runs": (lambda m: process(m, 730, "numad"), "advice", ("PID 730",), {}),
    "irqbalance-exclusive": (irqbalance, "advice", ("PID 720", "exclusive CPUs 0-1"), {}),
    "tuned-settings": (tuned, "information", ("latency", "kernel.numa_balancing=0"), {}),
    "kubelet-managers": (kubelet, "advice", ("CPU manager",), {}),
    "slice-restricted": (slices, "advice", ('CPUs "0-3"', "containers are below it", "machine.slice"), {}),
    "runtime-inherits-affinity": (inherited, "problem", ("CPUs 0-7", "may use CPUs 0-3", "runc here is 1.1.5+ds1-1",
                                                         "crun 1.8.1-1"), {}),
    "runtime-loses-cpus": (wide, "problem", ("CPUs 1022-1025", "none from 1024"), {}),
}
# What a planted fault is besides: a machine without memory on a node has distances, and so on.
BESIDES = {"irqaffinity-quiet": {"nohz-full-not-isolated"}, "node-exhausted": {"nodes-uneven-use"},
           "runtime-inherits-affinity": set(), "node-page-cache": {"nodes-uneven-use", "node-exhausted"}}


def check_clean(temp):
    for words in ({}, {"cgroup": 1}, {"nodes": 1}, {"nodes": 4}):
        machine = make(temp, **words)
        granted(machine, cpus="1", memory="1Gi")
        found(machine)
        code, answer = findings(machine)
        same(f"a clean machine has no finding: {words}", (code, answer["findings"], answer["unexamined"]), (0, [], []))


def check_planted(temp):
    rules = {r["rule"]: r for r in json.loads(run([NUMASTOW, "doctor", "--rules", "--json"], "").out)["rules"]}
    same("every rule is planted", sorted(PLANTED), sorted(rules))
    for rule, (plant, level, words, shape) in PLANTED.items():
        machine = make(temp, **shape)
        plant(machine)
        code, answer = findings(machine)
        of_rule = [f for f in answer["findings"] if f["rule"] == rule]
        others = {f["rule"] for f in answer["findings"]} - {rule} - BESIDES.get(rule, set())
        same(f"{rule}: found once, and nothing else", (len(of_rule), others), (1, set()))
        if not of_rule:
            continue
        finding = of_rule[0]
        text = f"{finding['subject']} {finding['evidence']} {finding['command']}"
        same(f"{rule}: its level", finding["level"], level)
        check(f"{rule}: its numbers", all(w in text for w in words), text)
        same(f"{rule}: it says what it costs, what mends it, where it is explained, and for which kernels",
             [k for k in ("consequence", "command", "document", "kernels") if not finding[k]], [])
        same(f"{rule}: the exit code", code, 4 if any(f["level"] == "problem" for f in answer["findings"]) else 0)


def check_less(temp):
    """What looks like a fault and is none, or a smaller one."""
    for what, plant, rule, level, shape in (
            ("zone_reclaim_mode without reclaim", lambda m: m.write(f"{VM}/zone_reclaim_mode", "1\n"), "zone-reclaim",
             "advice", {}),
            ("zone_reclaim_mode without counters", lambda m: (m.write(f"{VM}/zone_reclaim_mode", "1\n"),
                                                             os.unlink(m.file("/proc/vmstat"))), "zone-reclaim", "advice", {}),
            ("tiers, and nothing was swapped", lambda m: (tiers(m), counters(m, pswpout=0)), "tiering-off", "advice", {}),
            ("tiers that are used", lambda m: (tiers(m), m.write("/proc/sys/kernel/numa_balancing", "2\n"), m.write(
                "/sys/kernel/mm/numa/demotion_enabled", "true\n")), "tiering-off", None, {}),
            ("demotion that keeps to cpusets", lambda m: (demoted(m), m.write(
                "/proc/sys/kernel/osrelease", "6.16.3-1-amd64\n")), "demotion-bound", None, {}),
            ("the same with cgroup v1", lambda m: (demoted(m), m.write(
                "/proc/sys/kernel/osrelease", "6.16.3-1-amd64\n")), "demotion-bound", "advice", {"cgroup": 1}),
            ("no demotion of what was granted", lambda m: (demoted(m), m.write(
                "/sys/kernel/mm/numa/demotion_enabled", "false\n")), "tiering-off", None, {}),
            ("hinting faults that move pages", lambda m: (bound(m), counters(m, numa_pages_migrated=10**7)),
             "balancing-bound", None, {}),
            ("hinting faults without a grant", lambda m: counters(m, numa_hint_faults=2000 * UPTIME), "balancing-bound",
             None, {}),
            ("swap, and no node has room", lambda m: (swap(m), memory(m, 1, GIB)), "bind-swap", None, {}),
            ("swap of what may use every node", lambda m: process(m, 700, "redis", swap=2 * GIB), "bind-swap", None, {}),
            ("killed at its own limit", lambda m: (out_of_memory(m), m.write(
                f"{m.cgroup_dir('memory', SCOPE)}/memory.events", "oom 3\noom_kill 3\n")), "bind-out-of-memory", None, {}),
            ("a full node, and all are", lambda m: (exhausted(m), memory(m, 1, 100 * MIB)), "node-exhausted", None, {}),
            ("a full node without misses", lambda m: memory(m, 0, 100 * MIB), "node-exhausted", None, {}),
            ("no uptime, no rate", lambda m: (exhausted(m), os.unlink(m.file("/proc/uptime"))), "node-exhausted", None, {}),
            ("memory where it was granted", lambda m: (granted(m, cpus="1", memory="1Gi"), used(m, "web", GIB, 0)),
             "container-far-memory", None, {}),
            ("a little memory elsewhere", lambda m: (found(m, cpus="0-3"), used(m, SCOPE, GIB, 50 * MIB)),
             "container-far-memory", None, {}),
            ("pages that follow on v1", lambda m: (v1_migrate(m), m.write(
                f"{m.cgroup_dir('cpuset', SCOPE)}/cpuset.memory_migrate", "1\n")), "v1-memory-migrate", None, {"cgroup": 1}),
            ("few interrupts", lambda m: (interrupts(m), m.write("/proc/interrupts", m.read("/proc/interrupts").replace(
                str(5000 * UPTIME), "5000") + "\n")), "interrupts-far", None, {}),
            ("a disk's interrupts, which are managed", lambda m: (interrupts(m), m.write(f"{NIC}/class", "0x010802\n")),
             "interrupts-far", "information", {}),
            ("KSM that merges within nodes", lambda m: (ksm(m), m.write("/sys/kernel/mm/ksm/merge_across_nodes", "0\n")),
             "ksm-across-nodes", None, {}),
            ("isolated CPUs, one thread each", lambda m: (isolated(m), [m.write(
                f"/proc/710/task/{t}/stat", f"{t} (a) R 1" + " 0" * 34 + f" {t - 704} 0\n") for t in (710, 711, 712)]),
             "isolated-shared", "advice", {}),
            ("a distribution's udev rule", lambda m: (hotplug(m), os.makedirs(m.file("/usr/lib/udev/rules.d")), os.rename(
                m.file("/etc/udev/rules.d/80-hotplug.rules"), m.file("/usr/lib/udev/rules.d/80-hotplug.rules"))),
             "hotplug-online-twice", "information", {}),
            ("a rule, and the kernel does not", lambda m: (hotplug(m), m.write(
                "/sys/devices/system/memory/auto_online_blocks", "offline\n")), "hotplug-online-twice", None, {}),
            ("CPUs that irqbalance leaves alone", lambda m: (irqbalance(m), m.write(
                "/etc/default/irqbalance", "IRQBALANCE_BANNED_CPULIST=0-1\n")), "irqbalance-exclusive", None, {}),
            ("an affinity of its own choice", lambda m: (inherited(m), process(
                m, m.containers[SCOPE]["pid"], "nginx", cpus="2")), "runtime-inherits-affinity", None, {}),
            ("the mode observe", lambda m: (undone(m), m.write("/etc/numastow/config.yaml", "mode: observe\n")),
             "grant-undone", None, {})):
        machine = make(temp, **shape)
        plant(machine)
        answer = findings(machine)[1]
        same(f"{what}: {level or 'no'} {rule}", [f["level"] for f in answer["findings"] if f["rule"] == rule],
             [level] if level else [])


def check_output(temp):
    machine = make(temp)
    undone(machine)
    overcommit(machine)
    hits(machine)
    done = doctor(machine)
    same("problems come first", re.findall(r"^(problem|advice|information)  ", done.out, re.M),
         ["problem", "advice", "information"])
    check("the last line counts", "Problems: 1, advice: 1, information: 1" in done.out.splitlines()[-1], done.out)
    check("piped text has no colours", "\033" not in done.out)
    same("--quiet says it with the exit code", (doctor(machine, "-q").out, doctor(machine, "-q").code), ("", 4))
    same("--level", [f["level"] for f in findings(machine, "--level", "problem")[1]["findings"]], ["problem"])
    same("columns that were asked for", doctor(machine, "-r", "-n", "-o", "LEVEL,RULE").out.splitlines(),
         ["problem grant-undone", "advice hugepages-overcommit", "information hit-counters-off"])
    same("-N leaves out what is not of the node", findings(machine, "-N", "0")[1]["findings"], [])
    for width in (60, 80, 200):
        said = subprocess.run([NUMASTOW, "doctor", "-s", machine.path], env={**os.environ, "COLUMNS": str(width)},
                              capture_output=True, text=True, check=False).stdout
        broken = [l for l in said.splitlines()[:-1] if len(l) > width and " " in l[13:].strip()]
        same(f"{width} columns", broken, [])
    for words, text in ((["--level", "bad"], "--level: \"bad\" is not one of"), (["--kind", "latency"], "--program"),
                        (["--interval", "0s"], "--interval"), (["--interval", "1s"], "copied tree"),
                        (["--program", "x", "--kind", "y"], "--kind: \"y\" is not one of"), (["-o", "x"], "--output")):
        done = doctor(machine, *words)
        check(f"{words} is refused in one line", done.code in (1, 2) and text in done.err and
              done.err.startswith("numastow: "), done)


def check_programs(temp):
    machine = make(temp)
    process(machine, 800, "mysqld", threads=20, rss=4 << 20)
    machine.write("/proc/800/numa_maps", "7f00 default anon=300 dirty=300 N0=100 N1=200 kernelpagesize_kB=4\n"
                  "8f00 prefer (many):0 anon=2 N1=2 kernelpagesize_kB=2048\n")

    def advise(*words):
        done = doctor(machine, "--json", "--program", *words)
        check(f"--program {words}", done.code == 0 and not done.err, done)
        return json.loads(done.out)

    answer = advise("mysqld")
    same("memory of each node", [n["used"] for n in answer["nodes"]], [100 * 4096, 200 * 4096 + 2 * 2 * MIB])
    same("nothing tells its kind", (answer["kind"], answer["policy"], answer["command"]), (None, None, None))
    check("and text says what to give", "unknown, give --kind" in doctor(machine, "--program", "800").out)
    policies = {k: advise("800", "--kind", k)["policy"] for k in
                ("latency", "capacity", "shared-read-only", "shared-read-write", "per-thread")}
    same("a policy for each kind", policies, {"latency": "bind", "capacity": "interleave", "shared-read-only": "interleave",
                                             "shared-read-write": "bind", "per-thread": "local"})
    answer = advise("800", "--kind", "latency")
    check("a bind is warned of", "while other nodes have room (" in answer["warning"], answer)
    same("it goes where most of it is", answer["policy_nodes"], "1")
    machine.write("/proc/800/sched", "numa_faults node=0 task_private=100 task_shared=4 group_private=9000 group_shared=50\n")
    same("faults on pages of one thread", (advise("mysqld")["kind"], advise("mysqld")["private_faults"]), ("per-thread", 9000))
    machine.write("/proc/800/sched", "numa_faults node=0 task_private=1 task_shared=4000 group_private=0 group_shared=0\n")
    same("shared, and the kernel does not show whether it is written", advise("mysqld")["kind"], None)
    process(machine, 801, "mysqld", threads=20, rss=15 << 20)
    same("the largest of its name, which is more than a node has", [advise("mysqld")[k] for k in ("pid", "running", "kind")],
         [801, 2, "capacity"])
    same("a program that does not run needs its kind", [advise("postgres", "--kind", "per-thread")[k] for k in
                                                        ("pid", "memory", "policy")], [None, None, "local"])
    done = doctor(machine, "--program", "99")
    check("a PID that is not there", done.one_line() and "99" in done.err, done)


def check_odd(temp):
    """Each file missing, empty, garbage: never a crash, never a hang, and one line for what could not be examined."""
    bad = []
    texts = (b"", b"garbage \xff\xfe\n", b"-1\n", b"99999999999999999999\n", b"Node 0, zone\n" * 50, None)
    for cgroup in (1, 2):
        machine = make(temp, cgroup=cgroup)
        for plant in (undone, inherited, interrupts, isolated, tiers, hotplug, tuned) if cgroup == 2 else (v1_migrate,):
            try:
                plant(machine)
            except FileExistsError:
                pass
        dpkg(machine)
        kinds = {}
        for folder, _, names in os.walk(machine.path):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    kinds.setdefault(re.sub(r"\d+", "N", path[len(machine.path):]), path)
        for number, path in enumerate(sorted(kinds.values())):
            with open(path, "rb") as handle:
                before = handle.read()
            text = texts[number % len(texts)]
            if text is None:
                os.unlink(path)
            else:
                with open(path, "wb") as handle:
                    handle.write(text)
            done = doctor(machine, "--json")
            if done.code not in (0, 1, 4) or (done.code != 1 and not done.out.startswith("{")) or \
                    (done.code == 1 and not done.one_line()):
                bad.append((path, text, done))
            with open(path, "wb") as handle:
                handle.write(before)
    same("no odd file crashes it", bad, [])
    empty = Machine(f"{temp}/empty", fresh=False)
    os.makedirs(empty.path)
    code, answer = findings(empty)
    check("an empty tree has no finding, and rules that were not examined",
          code == 0 and not answer["findings"] and len(answer["unexamined"]) > 5, answer)
    said = [line.rpartition("examined: ")[2] for line in doctor(empty).err.splitlines()]
    same("as text, each reason is printed once", (len(said), set(said)),
         (len(set(said)), {u["reason"] for u in answer["unexamined"]}))


def check_dumps(temp):
    for dump in sorted(glob.glob(f"{DUMPS}/*.tar.*")):
        name = os.path.basename(dump).split(".tar")[0]
        where = f"{temp}/{name}"
        os.mkdir(where)
        subprocess.run(["tar", "-xf", dump, "-C", where, "--no-same-owner", "--delay-directory-restore"],
                       stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["chmod", "-R", "u+rwX", where], check=False)
        root = next((r for r in (where, *sorted(glob.glob(f"{where}/*/"))) if os.path.isdir(f"{r}/sys")), where)
        done = run([NUMASTOW, "doctor", "--sysroot", root, "--json"], "")
        check(f"{name}: examined", done.code in (0, 4) and not done.err, done)
        if done.code in (0, 4):
            problems = [f for f in json.loads(done.out)["findings"] if f["level"] == "problem"]
            same(f"{name}: without counters there is no problem", problems, [])


def check_page():
    page = open(os.path.join(PROJECT, "docs/man/numastow-doctor.1"), encoding="utf-8").read().replace("\\-", "-")
    same("the man page has every rule", [r for r in PLANTED if f".B {r}\n" not in page], [])


def main():
    with Temp() as temp:
        check_clean(temp)
        check_planted(temp)
        check_less(temp)
        check_output(temp)
        check_programs(temp)
        check_names(temp)
        check_odd(temp)
        check_dumps(temp)
    check_page()
    finish()


main()
