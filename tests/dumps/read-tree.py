#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the NUMA topology from a tree of /sys and /proc and prints it as JSON.

The second opinion for tests/dumps/run: written from the kernel's documentation, with nothing of
numastow's code, as plainly as possible and without regard for speed. The keys are those of
`numastow topology --json`, but lists of CPUs are sorted arrays of numbers.

    read-tree.py TREE
"""
import json
import os
import re
import sys


class Tree:
    def __init__(self, root):
        self.root = os.path.realpath(root)

    def path(self, path):
        return self.root + path

    def text(self, path):
        try:
            with open(self.path(path), encoding="ascii", errors="replace") as f:
                # Linux 2.6.38 wrote a zero byte behind some lists.
                return f.read().strip().strip("\0").strip()
        except OSError:
            return None

    def ids(self, directory, prefix):
        """The numbers N of the entries PREFIXN."""
        try:
            names = os.listdir(self.path(directory))
        except OSError:
            return []
        found = (re.fullmatch(prefix + r"(\d+)", name) for name in names)
        return sorted(int(m.group(1)) for m in found if m)

    def number(self, path):
        text = self.text(path)
        return int(text) if text and re.fullmatch(r"-?\d+", text) else None


def parse_list(text):
    """"0-3,8" """
    numbers = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def parse_mask(text):
    """"1,00000000": 32-bit words, the highest first"""
    value = 0
    for word in text.split(","):
        value = (value << 32) + int(word, 16)
    return {bit for bit in range(value.bit_length()) if value >> bit & 1}


def read_set(tree, lists, masks):
    for path in lists:
        text = tree.text(path)
        if text is not None:
            return parse_list(text)
    for path in masks:
        text = tree.text(path)
        if text:
            return parse_mask(text)
    return None


def online_cpus(tree):
    text = tree.text("/sys/devices/system/cpu/online")
    if text is not None:
        return parse_list(text)
    base = "/sys/devices/system/cpu"
    return {c for c in tree.ids(base, "cpu") if tree.number(f"{base}/cpu{c}/online") != 0}


def online_nodes(tree):
    text = tree.text("/sys/devices/system/node/online")
    if text is not None:
        return sorted(parse_list(text))
    return tree.ids("/sys/devices/system/node", "node")


def node_cpus(tree, nodes, online):
    """Each CPU on one node: where several claim it (8em64t-2s2ca2c-buggynuma, whose firmware puts
    every CPU on every node) the link in the CPU's own folder is what the kernel goes by."""
    claims = {}
    for n in nodes:
        base = f"/sys/devices/system/node/node{n}"
        claims[n] = (read_set(tree, [f"{base}/cpulist"], [f"{base}/cpumap"]) or set()) & online
    home = {}
    for cpu in online:
        claimants = [n for n in nodes if cpu in claims[n]]
        if len(claimants) > 1:
            links = tree.ids(f"/sys/devices/system/cpu/cpu{cpu}", "node")
            claimants = links if len(links) == 1 else claimants
        home[cpu] = claimants[0] if claimants else nodes[0]
    return {n: {cpu for cpu in online if home[cpu] == n} for n in nodes}


def meminfo(text):
    """MemTotal and MemFree in bytes; None without the file."""
    if text is None:
        return None, None
    found = {}
    for line in text.splitlines():
        m = re.match(r"(?:Node \d+ )?(MemTotal|MemFree):\s+(\d+) kB", line)
        if m:
            found.setdefault(m.group(1), int(m.group(2)) * 1024)
    return found.get("MemTotal", 0), found.get("MemFree", 0)


def available(tree, node, total):
    """si_mem_available() of the kernel, for one node, with pages of 4 KiB; nothing without the file."""
    text = tree.text("/proc/zoneinfo")
    if text is None:
        return {}
    sums = dict.fromkeys(("free", "low", "high", "file", "slab"), 0)
    for zone in re.split(r"^(?=Node \d+, zone)", text, flags=re.M):
        if not re.match(rf"Node {node}, zone", zone):
            continue
        for key, pattern in (("free", r"pages free +(\d+)"), ("low", r"^ +low +(\d+)"), ("high", r"^ +high +(\d+)"),
                             ("file", r"^ +nr_(?:in)?active_file +(\d+)"),
                             ("slab", r"^ +nr_(?:slab|kernel_misc)_reclaimable +(\d+)")):
            sums[key] += sum(int(v) for v in re.findall(pattern, zone, re.M))
    pages = sums["free"] - sums["high"] + sum(v - min(v // 2, sums["low"]) for v in (sums["file"], sums["slab"]))
    return {"available": min(max(pages, 0) * 4096, total)}


def distances(tree, nodes):
    rows = []
    for i, n in enumerate(nodes):
        text = tree.text(f"/sys/devices/system/node/node{n}/distance") or ""
        row = [int(v) for v in text.split()]
        if len(row) != len(nodes):
            row = [10 if j == i else 20 for j in range(len(nodes))]
        rows.append(row)
    return rows


def pools(tree, directory):
    found = []
    try:
        names = os.listdir(tree.path(directory))
    except OSError:
        return []
    for name in names:
        m = re.fullmatch(r"hugepages-(\d+)kB", name)
        if m and tree.number(f"{directory}/{name}/nr_hugepages") is not None:
            found.append({
                "size": int(m.group(1)) * 1024,
                "total": tree.number(f"{directory}/{name}/nr_hugepages"),
                "free": tree.number(f"{directory}/{name}/free_hugepages"),
                "surplus": tree.number(f"{directory}/{name}/surplus_hugepages"),
            })
    return sorted(found, key=lambda p: p["size"])


def partition(online, siblings):
    """Groups of CPUs by what `siblings` says of each, by first CPU."""
    groups, seen = [], set()
    for cpu in sorted(online):
        if cpu in seen:
            continue
        group = (siblings(cpu) & online) - seen | {cpu}
        groups.append(group)
        seen |= group
    return groups


def core_siblings(tree, cpu):
    base = f"/sys/devices/system/cpu/cpu{cpu}/topology"
    return read_set(tree, [f"{base}/core_cpus_list", f"{base}/thread_siblings_list"],
                    [f"{base}/core_cpus", f"{base}/thread_siblings"]) or {cpu}


def package_siblings(tree, cpu):
    base = f"/sys/devices/system/cpu/cpu{cpu}/topology"
    return read_set(tree, [f"{base}/package_cpus_list", f"{base}/core_siblings_list"],
                    [f"{base}/package_cpus", f"{base}/core_siblings"]) or {cpu}


def cache_siblings(tree, cpu, default):
    """The CPUs that share the cache of the highest level that holds data."""
    base = f"/sys/devices/system/cpu/cpu{cpu}/cache"
    best, shared = -1, None
    for i in tree.ids(base, "index"):
        level = tree.number(f"{base}/index{i}/level")
        if level is None or tree.text(f"{base}/index{i}/type") == "Instruction" or level <= best:
            continue
        cpus = read_set(tree, [f"{base}/index{i}/shared_cpu_list"],
                        [f"{base}/index{i}/shared_cpu_map"])
        if cpus:
            best, shared = level, cpus
    # Without caches (256ia64-64n2s2c, 2arm-2c): the package's part of the node.
    return shared or default(cpu)


def blocks(tree):
    base = "/sys/devices/system/memory"
    ids = tree.ids(base, "memory")
    size = int(tree.text(f"{base}/block_size_bytes") or "0", 16) if ids else 0
    state = {b: tree.text(f"{base}/memory{b}/state") for b in ids}
    node = {b: (tree.ids(f"{base}/memory{b}", "node") or [None])[0] for b in ids}
    for n in tree.ids("/sys/devices/system/node", "node"):
        for b in tree.ids(f"/sys/devices/system/node/node{n}", "memory"):
            if b in node and node[b] is None:
                node[b] = n
    return size, state, node


def count(state, ids):
    return {"total": len(ids), "online": sum(state[b] == "online" for b in ids)}


def device_names(tree, real):
    """Interfaces and whole disks whose nearest PCI function is the one in the folder `real`."""
    names = []
    pci = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
    for cls in "net", "block":
        base = tree.path(f"/sys/class/{cls}")
        for name in os.listdir(base) if os.path.isdir(base) else []:
            where = os.path.join(os.path.realpath(os.path.dirname(os.path.join(base, name))),
                                 os.readlink(os.path.join(base, name)))
            parts = os.path.normpath(where).split("/")
            functions = [i for i, p in enumerate(parts) if pci.fullmatch(p)]
            if not functions or os.path.exists(os.path.join(base, name, "partition")):
                continue
            if parts[functions[-1]] == os.path.basename(real):
                names.append(name)
    return sorted(names)


def devices(tree):
    base = "/sys/bus/pci/devices"
    kinds = {"01": "storage", "02": "network", "03": "display", "12": "accelerator",
             "0b40": "accelerator", "0c06": "network"}
    found = []
    for address in sorted(os.listdir(tree.path(base))) if os.path.isdir(tree.path(base)) else []:
        pci = (tree.text(f"{base}/{address}/class") or "")[2:6]
        kind = kinds.get(pci[:2]) or kinds.get(pci)
        if not kind:
            continue
        folder = real = os.path.realpath(tree.path(f"{base}/{address}"))
        node = -1
        while node < 0 and folder.startswith(tree.root + "/"):
            node = tree.number(f"{folder[len(tree.root):]}/numa_node")
            node = -1 if node is None else node
            folder = os.path.dirname(folder)
        found.append({"address": address, "kind": kind, "node": node,
                      "names": device_names(tree, real)})
    return found


def read(root):
    tree = Tree(root)
    online = online_cpus(tree)
    nodes = online_nodes(tree)
    numa = bool(nodes)
    nodes = nodes or [0]
    cpus = node_cpus(tree, nodes, online)
    packages = partition(online, lambda c: package_siblings(tree, c))
    node_of = {c: n for n in nodes for c in cpus[n]}

    def default_cache(cpu):
        mine = next(p for p in packages if cpu in p)
        return {c for c in mine if node_of[c] == node_of[cpu]}

    cores = partition(online, lambda c: core_siblings(tree, c))
    caches = partition(online, lambda c: cache_siblings(tree, c, default_cache))
    size, state, block_node = blocks(tree)
    matrix = distances(tree, nodes)
    listed = devices(tree)

    def within(groups, node):
        return [sorted(g & cpus[node]) for g in groups if g & cpus[node]]

    result = []
    for i, n in enumerate(nodes):
        base = f"/sys/devices/system/node/node{n}"
        text = tree.text(f"{base}/meminfo") if numa else None
        if text is None and len(nodes) == 1:
            text = tree.text("/proc/meminfo")
        total, free = meminfo(text)
        result.append({
            "id": n,
            "cpus": sorted(cpus[n]),
            "cores": within(cores, n),
            "caches": within(caches, n),
            "memory": {"total": total, "free": free, **available(tree, n, total)},
            "hugepages": pools(tree, f"{base}/hugepages" if numa else "/sys/kernel/mm/hugepages"),
            "memory_blocks": count(state, [b for b in state if block_node[b] == n]),
            "devices": [{k: d[k] for k in ("address", "kind", "names")}
                        for d in listed if d["node"] == n],
            "distances": matrix[i],
        })
    if not online and not any(n["memory"]["total"] for n in result):
        result, numa = [], False
    return {
        "numa": numa,
        "cpus": sorted(online),
        "packages": [sorted(p) for p in packages],
        "memory_blocks": dict(size=size, **count(state, list(state))),
        "nodes": result,
        "devices": [{k: d[k] for k in ("address", "kind", "names")}
                    for d in listed if d["node"] < 0],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: read-tree.py TREE")
    json.dump(read(sys.argv[1]), sys.stdout)
