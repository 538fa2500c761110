# SPDX-License-Identifier: Apache-2.0
"""Makes a simulated machine: a folder with the files of /sys and /proc that numastow reads.

    m = Machine("/tmp/x", nodes=8, cpus=256)
    m.container("web", annotations={"numastow.io/cpus": "2"})    # the process, its cgroup, a bundle
    m.state("web")                                               # the OCI state for its hooks
    m.end("web")                                                 # the process has gone

tests/tools/hook-on-root plays the kernel in it. tests/tools/mk-machine is the same as a command.
"""
import json
import os
import shutil
import threading

MIB = 1 << 20
GIB = 1 << 30
FIRST_PID = 10_000_000  # above what Linux gives: never a process that is really there


def as_list(ids):
    """Numbers in the kernel's list format."""
    parts, ids = [], sorted(ids)
    for i in ids:
        if parts and parts[-1][1] == i - 1:
            parts[-1][1] = i
        else:
            parts.append([i, i])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def parse_list(text):
    ids = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        ids.update(range(int(first), int(last or first) + 1))
    return ids


class Machine:
    """A tree with `nodes` nodes. `pools` is {page size: (pages now, pages at most)} of each node."""

    def __init__(self, path, nodes=2, cpus=8, threads=2, llc=8, memory=16 * GIB, pools=None,
                 cgroup=2, numbering=None, fresh=True):
        self.path = path
        self.ids = list(numbering or range(nodes))
        self.threads, self.llc, self.memory, self.cgroup = threads, llc, memory, cgroup
        self.pools = {2 * MIB: (0, 1024)} if pools is None else pools
        self.per_node = cpus // nodes
        self.cpus = {n: range(i * self.per_node, (i + 1) * self.per_node)
                     for i, n in enumerate(self.ids)}
        self.next_pid = FIRST_PID
        self.containers = {}
        if fresh:
            shutil.rmtree(path, ignore_errors=True)
            self.make()

    # --- files -----------------------------------------------------------------------------------

    def file(self, path):
        return self.path + path

    def write(self, path, text):
        """Whoever reads it meanwhile gets all of it, before or after, as from a kernel. (What notices a write in a
        cgroup watches the file itself.)"""
        name = self.file(path)
        in_place = path.startswith("/sys/fs/cgroup/")
        written = name if in_place else f"{self.path}/.{os.getpid()}-{threading.get_ident()}"
        try:
            handle = open(written, "w", encoding="utf-8")
        except FileNotFoundError:
            os.makedirs(os.path.dirname(written), exist_ok=True)
            handle = open(written, "w", encoding="utf-8")
        with handle:
            handle.write(text)
        if in_place:
            return
        if os.path.islink(name):
            name = os.path.realpath(name)
        try:
            os.rename(written, name)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(name), exist_ok=True)
            os.rename(written, name)

    def read(self, path):
        with open(self.file(path), encoding="utf-8") as handle:
            return handle.read().strip()

    def exists(self, path):
        return os.path.lexists(self.file(path))

    # --- hardware --------------------------------------------------------------------------------

    def make(self):
        everything = as_list(c for n in self.ids for c in self.cpus[n])
        nodes = as_list(self.ids)
        for name in ("online", "possible", "present"):
            self.write(f"/sys/devices/system/cpu/{name}", everything + "\n")
        for name in ("online", "possible", "has_cpu", "has_memory", "has_normal_memory"):
            self.write(f"/sys/devices/system/node/{name}", nodes + "\n")
        for i, node in enumerate(self.ids):
            self.make_node(i, node)
        self.make_memory()
        for size in self.pools:
            for name in ("nr_hugepages", "free_hugepages", "surplus_hugepages"):
                self.write(f"/sys/kernel/mm/hugepages/hugepages-{size >> 10}kB/{name}", "0\n")
        os.makedirs(self.file("/run"), exist_ok=True)
        os.makedirs(self.file("/etc/numastow"), exist_ok=True)
        os.makedirs(self.file("/var/lib"), exist_ok=True)
        self.make_cgroups(everything, nodes)

    def make_node(self, i, node):
        base = f"/sys/devices/system/node/node{node}"
        self.write(f"{base}/cpulist", as_list(self.cpus[node]) + "\n")
        self.write(f"{base}/compact", "1\n")  # as if somebody had asked before
        # Far nodes are farther: a ring.
        n = len(self.ids)
        row = [10 if j == i else 11 + 10 * min(abs(i - j), n - abs(i - j)) for j in range(n)]
        self.write(f"{base}/distance", " ".join(map(str, row)) + "\n")
        kib = self.memory >> 10
        self.write(f"{base}/meminfo",
                   f"Node {node} MemTotal:       {kib} kB\n"
                   f"Node {node} MemFree:        {kib * 15 // 16} kB\n"
                   f"Node {node} MemUsed:        {kib // 16} kB\n")
        for size, (now, most) in self.pools.items():
            pool = self.pool(node, size)
            self.write(f"{pool}/nr_hugepages", f"{now}\n")
            self.write(f"{pool}/nr_hugepages.max", f"{most}\n")
            self.write(f"{pool}/free_hugepages", f"{now}\n")
            self.write(f"{pool}/surplus_hugepages", "0\n")
        for cpu in self.cpus[node]:
            self.make_cpu(cpu, i)

    def make_cpu(self, cpu, i):
        base = f"/sys/devices/system/cpu/cpu{cpu}"
        within = cpu - i * self.per_node
        first = cpu - within % self.threads
        siblings = as_list(range(first, first + self.threads))
        first = cpu - within % self.llc
        cache = as_list(range(first, min(first + self.llc, (i + 1) * self.per_node)))
        for name in ("thread_siblings_list", "core_cpus_list"):
            self.write(f"{base}/topology/{name}", siblings + "\n")
        for name in ("core_siblings_list", "package_cpus_list"):
            self.write(f"{base}/topology/{name}",
                       as_list(range(i * self.per_node, (i + 1) * self.per_node)) + "\n")
        self.write(f"{base}/topology/core_id", f"{within // self.threads}\n")
        self.write(f"{base}/topology/physical_package_id", f"{i}\n")
        for index, level, kind, shared in ((0, 1, "Data", siblings), (1, 1, "Instruction", siblings),
                                           (2, 2, "Unified", siblings), (3, 3, "Unified", cache)):
            self.write(f"{base}/cache/index{index}/level", f"{level}\n")
            self.write(f"{base}/cache/index{index}/type", f"{kind}\n")
            self.write(f"{base}/cache/index{index}/shared_cpu_list", f"{shared}\n")

    def make_memory(self):
        kib = (self.memory >> 10) * len(self.ids)
        self.write("/proc/meminfo", f"MemTotal:       {kib} kB\nMemFree:        {kib * 15 // 16} kB\n"
                   f"MemAvailable:   {kib * 15 // 16} kB\n")
        zones = ""
        for node in self.ids:
            pages = self.memory // 4096
            zones += (f"Node {node}, zone   Normal\n"
                      f"  per-node stats\n      nr_inactive_anon 0\n      nr_inactive_file 0\n"
                      f"      nr_active_file 0\n      nr_slab_reclaimable 0\n"
                      f"  pages free     {pages * 15 // 16}\n        boost    0\n"
                      f"        min      {pages // 1024}\n        low      {pages // 768}\n"
                      f"        high     {pages // 512}\n        spanned  {pages}\n"
                      f"        present  {pages}\n        managed  {pages}\n"
                      f"        protection: (0, 0, 0, 0, 0)\n")
        self.write("/proc/zoneinfo", zones)

    def pool(self, node, size=2 * MIB):
        return f"/sys/devices/system/node/node{node}/hugepages/hugepages-{size >> 10}kB"

    # --- cgroups ---------------------------------------------------------------------------------

    def cgroup_dir(self, controller, name=""):
        top = "/sys/fs/cgroup" if self.cgroup == 2 else f"/sys/fs/cgroup/{controller}"
        return top + "/machine.slice" + (f"/{name}" if name else "")

    def make_cgroups(self, cpus, nodes):
        if self.cgroup == 2:
            mounts = ("31 23 0:28 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - "
                      "cgroup2 cgroup2 rw,nsdelegate\n")
            self.write("/sys/fs/cgroup/cgroup.controllers", "cpuset memory hugetlb\n")
            self.write("/sys/fs/cgroup/cpuset.cpus.effective", cpus + "\n")
            self.write("/sys/fs/cgroup/cpuset.mems.effective", nodes + "\n")
        else:
            mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
            for i, controller in enumerate(("cpuset", "memory", "hugetlb")):
                mounts += (f"{40 + i} 31 0:{40 + i} / /sys/fs/cgroup/{controller} rw,relatime - "
                           f"cgroup cgroup rw,{controller}\n")
            for name, value in (("cpuset.cpus", cpus), ("cpuset.effective_cpus", cpus),
                                ("cpuset.mems", nodes), ("cpuset.effective_mems", nodes)):
                self.write(f"/sys/fs/cgroup/cpuset/{name}", value + "\n")
        self.write("/proc/self/mountinfo",
                   "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n" + mounts)
        self.fill_cgroup("", cpus, nodes)

    def fill_cgroup(self, name, cpus, nodes, own_cpus="", own_mems=""):
        pages = {size: self.page_name(size) for size in self.pools}
        base = self.cgroup_dir("cpuset", name)
        if self.cgroup == 2:
            self.write(f"{base}/cpuset.cpus", own_cpus + "\n")
            self.write(f"{base}/cpuset.mems", own_mems + "\n")
            self.write(f"{base}/cpuset.cpus.effective", (own_cpus or cpus) + "\n")
            self.write(f"{base}/cpuset.mems.effective", (own_mems or nodes) + "\n")
            self.write(f"{base}/memory.max", "max\n")
            self.write(f"{base}/memory.numa_stat", self.zeros("anon") + self.zeros("file"))
            self.write(f"{base}/cgroup.events", "populated 1\nfrozen 0\n")
            limit = "max"
        else:
            self.write(f"{base}/cpuset.cpus", (own_cpus or cpus) + "\n")
            self.write(f"{base}/cpuset.mems", (own_mems or nodes) + "\n")
            self.write(f"{base}/cpuset.effective_cpus", (own_cpus or cpus) + "\n")
            self.write(f"{base}/cpuset.effective_mems", (own_mems or nodes) + "\n")
            self.write(f"{base}/cpuset.memory_migrate", "0\n")
            memory = self.cgroup_dir("memory", name)
            self.write(f"{memory}/memory.limit_in_bytes", "9223372036854771712\n")
            self.write(f"{memory}/memory.numa_stat", self.zeros("total="))
            limit = "limit_in_bytes"
        hugetlb = self.cgroup_dir("hugetlb", name)
        unlimited = "max" if self.cgroup == 2 else "9223372036854771712"
        for page in pages.values():
            self.write(f"{hugetlb}/hugetlb.{page}.{limit}", unlimited + "\n")
            self.write(f"{hugetlb}/hugetlb.{page}.rsvd.{limit}", unlimited + "\n")
            self.write(f"{hugetlb}/hugetlb.{page}.numa_stat", self.zeros("total="))

    def zeros(self, key):
        first = key + "0" if key.endswith("=") else key
        return first + "".join(f" N{n}=0" for n in self.ids) + "\n"

    @staticmethod
    def page_name(size):
        for unit, name in ((GIB, "GB"), (MIB, "MB")):
            if size % unit == 0:
                return f"{size // unit}{name}"
        return f"{size >> 10}KB"

    # --- containers ------------------------------------------------------------------------------

    def container(self, name, annotations=None, resources=None, cpus="", mems="", config=None):
        """A container that runs: its process, its cgroup, its bundle. Returns its OCI state."""
        pid = self.next_pid
        self.next_pid += 1
        self.write(f"/proc/{pid}/stat", f"{pid} (init) S 1 " + " ".join(["0"] * 17) +
                   f" {pid % 1000000} 0 0\n")
        if self.cgroup == 2:
            self.write(f"/proc/{pid}/cgroup", f"0::/machine.slice/{name}\n")
        else:
            self.write(f"/proc/{pid}/cgroup", "".join(
                f"{i}:{c}:/machine.slice/{name}\n"
                for i, c in enumerate(("cpuset", "memory", "hugetlb"), 2)) + "0::/\n")
        effective = "effective" if self.cgroup == 2 else None
        above = self.cgroup_dir("cpuset")
        self.fill_cgroup(
            name,
            self.read(f"{above}/cpuset.cpus.{effective}" if effective else
                      f"{above}/cpuset.effective_cpus"),
            self.read(f"{above}/cpuset.mems.{effective}" if effective else
                      f"{above}/cpuset.effective_mems"), cpus, mems)
        self.write(f"{self.cgroup_dir('cpuset', name)}/cgroup.procs", f"{pid}\n")
        bundle = f"/bundles/{name}"
        if config is None:
            config = {"ociVersion": "1.0.2", "annotations": annotations or {},
                      "linux": {"cgroupsPath": f"/machine.slice/{name}",
                                "resources": resources or {}}}
        self.write(f"{bundle}/config.json", json.dumps(config))
        self.containers[name] = {"pid": pid, "bundle": bundle, "annotations": annotations or {}}
        return self.state(name)

    def kubepods(self, *pods):
        """kubelet's cgroups (v2, cgroupfs driver), and those of pods, as "podUID" or "burstable/podUID"."""
        for name in ("", "/burstable", "/besteffort", *(f"/{p}" for p in pods)):
            self.pods_cgroup(f"/kubepods{name}")

    def pods_cgroup(self, path):
        """A cgroup whose set takes effect by itself: the agent has no simulated kernel beside."""
        sets = [self.read(f"/sys/fs/cgroup/cpuset.{s}.effective").strip() for s in ("cpus", "mems")]
        self.fill_cgroup(f"..{path}", *sets, own_cpus=sets[0])
        folder = self.file(f"/sys/fs/cgroup{path}")
        os.remove(f"{folder}/cpuset.cpus.effective")
        os.symlink("cpuset.cpus", f"{folder}/cpuset.cpus.effective")
        self.write(f"/sys/fs/cgroup{path}/cgroup.subtree_control", "cpuset cpu io memory hugetlb pids\n")

    def pod_container(self, pod, name, **container):
        """A container that runs in that pod's cgroup. Returns its OCI state."""
        where = f"../kubepods/{pod}/{name}"
        self.container(where, **container)
        self.write(f"/proc/{self.containers[where]['pid']}/cgroup", f"0::/kubepods/{pod}/{name}\n")
        self.containers[name] = self.containers[where]
        return self.state(name)

    def state(self, name, **changes):
        c = self.containers[name]
        return json.dumps({"ociVersion": "1.0.2", "id": name, "status": "created", "pid": c["pid"],
                           "bundle": c["bundle"], "annotations": c["annotations"], **changes})

    def config(self, name):
        return self.read(self.containers[name]["bundle"] + "/config.json")

    def end(self, name, remove=True):
        """The container's processes have gone, and its cgroup too unless somebody is slow."""
        shutil.rmtree(self.file(f"/proc/{self.containers[name]['pid']}"))
        if not remove:
            if self.cgroup == 2:
                self.write(self.cgroup_dir("cpuset", name) + "/cgroup.events", "populated 0\n")
            else:
                self.write(self.cgroup_dir("cpuset", name) + "/cgroup.procs", "")
            return
        for controller in ("cpuset", "memory", "hugetlb"):
            shutil.rmtree(self.file(self.cgroup_dir(controller, name)), ignore_errors=True)

    def cpuset(self, name, attribute="cpus"):
        base = self.cgroup_dir("cpuset", name)
        effective = (f"{base}/cpuset.{attribute}.effective" if self.cgroup == 2 else
                     f"{base}/cpuset.effective_{attribute}")
        return parse_list(self.read(effective))
