# SPDX-License-Identifier: Apache-2.0
"""Compares the views of `numastow topology` (--table, --tree, --svg, --firmware) with a plain reading of the same tree,
and with lscpu."""
import functools
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET

NODE = "/sys/devices/system/node"
TABLES = "/sys/firmware/acpi/tables"
SVG = "{http://www.w3.org/2000/svg}"
STATES = ("possible", "online", "has_cpu", "has_memory", "has_normal_memory", "has_generic_initiator")


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def read(root, path, binary=False):
    try:
        with open(root + path, "rb") as handle:
            data = handle.read()
        return data if binary else data.decode("ascii", "replace").strip()
    except OSError:
        return None


def parse_list(text):
    numbers = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def groups(rows, key):
    """The CPUs with the same number, as sorted lists; None when the number is unknown."""
    found = {}
    for row in rows:
        if row[key] is not None:
            found.setdefault(row[key], []).append(int(row["cpu"]))
    return sorted(found.values())


# --- the table of CPUs -----------------------------------------------------------------------


def compare_table(check, report, binary, name, ours, root):
    answer = run(binary, "topology", "--table", "-J", "--sysroot", root)
    rows = json.loads(answer.stdout)["cpus"]
    online = [r for r in rows if r["online"]]
    check(f"{name}: the table has the online CPUs", [r["cpu"] for r in online], ours["cpus"])
    check(f"{name}: and their nodes", {r["cpu"]: r["node"] for r in online},
          {c: n["id"] for n in ours["nodes"] for c in n["cpus"]})
    for key, wanted, what in (("core", [g for n in ours["nodes"] for g in n["cores"]], "cores"),
                              ("socket", ours["packages"], "packages")):
        assumed = what in ours["assumed"]
        check(f"{name}: {what} of the table", groups(online, key), [] if assumed else sorted(wanted))
    caches = groups(online, "llc")
    check(f"{name}: caches of the table", sorted(g for n in ours["nodes"] for g in (
        [c for c in cache if c in n["cpus"]] for cache in caches) if g),
        [] if "caches" in ours["assumed"] else sorted(g for n in ours["nodes"] for g in n["caches"]))
    text = run(binary, "topology", "-n", "-r", "-o", "CPU,NODE", "--sysroot", root).stdout.split()
    check(f"{name}: raw columns", text[:2 * len(online)] if len(rows) == len(online) else [],
          [str(v) for r in online for v in (r["cpu"], r["node"])] if len(rows) == len(online) else [])
    if not shutil.which("lscpu"):
        report("skip", f"{name}: lscpu", "lscpu is not installed")
        return
    answer = run("lscpu", "--sysroot", root, "-J", "-b", "-e=CPU,NODE,SOCKET,CORE,ONLINE")
    if answer.returncode or not answer.stdout:
        report("skip", f"{name}: CPUs as in lscpu", f"lscpu: {answer.stderr.strip()[:100] or 'nothing'}")
        return
    try:
        theirs = json.loads(answer.stdout)["cpus"]
    except ValueError:
        report("skip", f"{name}: CPUs as in lscpu", "lscpu's JSON cannot be read")
        return
    for row in theirs:
        for key in ("node", "socket", "core"):
            row[key] = None if row[key] in (None, "-") else int(row[key])
    check(f"{name}: CPUs as in lscpu", [r["cpu"] for r in online], [int(r["cpu"]) for r in theirs])
    # lscpu takes the first node that lists a CPU; firmware that puts each CPU on every node deceives it.
    claimed = [c for n in ours["nodes"] for c in parse_list(read(root, f"{NODE}/node{n['id']}/cpulist") or "")]
    if len(claimed) == len(set(claimed)) and all(r["node"] is not None for r in theirs):
        check(f"{name}: nodes as in lscpu", {r["cpu"]: r["node"] for r in online},
              {int(r["cpu"]): r["node"] for r in theirs})
    for key in ("core", "socket"):
        if groups(theirs, key) and groups(online, key):
            check(f"{name}: {key}s as in lscpu", groups(online, key), groups(theirs, key))


# --- the tree ----------------------------------------------------------------------------------


def walk(row, above=()):
    yield row, above
    for child in row.get("children", ()):
        yield from walk(child, (*above, row))


def compare_tree_view(check, binary, name, ours, root):
    answer = run(binary, "topology", "--tree", "-J", "--output-all", "--sysroot", root)
    rows = [pair for top in json.loads(answer.stdout)["tree"] for pair in walk(top)]
    place = {r["number"]: {p["kind"]: p["number"] for p in above if p["kind"] != "machine"}
             for r, above in rows if r["kind"] == "cpu"}
    check(f"{name}: CPUs of the tree, by node", {c: p["node"] for c, p in place.items()},
          {c: n["id"] for n in ours["nodes"] for c in n["cpus"]})
    kinds = {"core": [g for n in ours["nodes"] for g in n["cores"]], "package": ours["packages"]}
    for kind, wanted in kinds.items():
        found = {}
        for cpu in sorted(place):
            found.setdefault(place[cpu][kind], []).append(cpu)
        check(f"{name}: {kind}s of the tree", sorted(found.values()), sorted(wanted))
    nodes = [r for r, _ in rows if r["kind"] == "node"]
    check(f"{name}: memory of the tree's nodes", {r["number"]: r["memory"] for r in nodes},
          {n["id"]: n["memory"]["total"] for n in ours["nodes"]})
    check(f"{name}: devices of the tree", sum(r["kind"] == "device" for r, _ in rows),
          len(ours["devices"]) + sum(len(n["devices"]) for n in ours["nodes"]))


# --- states, the order of fallback, HMAT as the kernel shows it -----------------------------------


def fallback(ids, distance, cpus, memory):
    """find_next_best_node() of mm/page_alloc.c, Linux 5.16 and later, written down as it is there."""
    load, order = dict.fromkeys(ids, 0), {}
    for local in ids:
        used, before, order[local] = set(), local, []
        while True:
            if local in memory and local not in used:
                best = local
            else:
                best, least = None, None
                for n in sorted(memory):
                    if n in used:
                        continue
                    value = (distance[local, n] + (n < local) + bool(cpus[n])) * 1024 + load[n]
                    if least is None or value < least:
                        best, least = n, value
                if best is None:
                    break
            used.add(best)
            if distance[local, best] != distance[local, before]:
                load[best] += 1
            order[local].append(best)
            before = best
    return order


def compare_locality(check, name, ours, root):
    states = {}
    for state in STATES:
        text = read(root, f"{NODE}/{state}")
        states[state] = None if text is None or not read(root, f"{NODE}/{state}", True) else text
    if all(s is None or re.fullmatch(r"[0-9,-]*", s) for s in states.values()):
        check(f"{name}: states", {k: v if v is None else parse_list(v) for k, v in ours["node_states"].items()},
              {k: v if v is None else parse_list(v) for k, v in states.items()})
    ids = [n["id"] for n in ours["nodes"]]
    distance = {(a["id"], b): d for a in ours["nodes"] for b, d in zip(ids, a["distances"])}
    memory = {n["id"] for n in ours["nodes"] if n["memory"]["total"]} if states["has_memory"] is None else \
        set(parse_list(states["has_memory"])) & set(ids)
    check(f"{name}: order of fallback", {n["id"]: n["fallback"] for n in ours["nodes"]},
          fallback(ids, distance, {n["id"]: n["cpus"] for n in ours["nodes"]}, memory))
    for n in ours["nodes"]:
        wanted = []
        for number in (0, 1):
            where = f"{NODE}/node{n['id']}/access{number}/initiators"
            if not os.path.isdir(root + where):
                continue
            files = {f"{f}_{u}": read(root, f"{where}/{f}") for f, u in (
                ("read_latency", "ns"), ("write_latency", "ns"), ("read_bandwidth", "mbps"), ("write_bandwidth", "mbps"))}
            wanted.append({"class": number, "initiators": sorted(
                int(e[4:]) for e in os.listdir(root + where) if re.fullmatch(r"node\d+", e)),
                **{k: int(v) if v and int(v) else None for k, v in files.items()}})
        got = [{**a, "initiators": parse_list(a["initiators"])} for a in n["access"]]
        if wanted or got:
            check(f"{name}: access to node {n['id']}", got, wanted)


# --- the picture ----------------------------------------------------------------------------------


def svg_faults(text):
    """What is wrong with an SVG by itself."""
    top = ET.fromstring(text)
    faults = []
    box = top.get("viewBox")
    if not re.fullmatch(r"0 0 \d+ \d+", box or "") or not top.get("width").isdigit():
        faults.append(f"viewBox {box}")
    width, height = (int(v) for v in box.split()[2:])
    ids = [e.get("id") for e in top.iter() if e.get("id")]
    faults += [f"id {i} again" for i in {i for i in ids if ids.count(i) > 1}] if len(ids) < 5000 else \
        ["ids again"] * (len(set(ids)) != len(ids))
    for e in top.iter():
        tag = e.tag.replace(SVG, "")
        if tag not in ("svg", "g", "rect", "text", "title"):
            faults.append(f"<{tag}>")
        if any("href" in k or k.startswith("on") or k == "style" for k in e.keys()):
            faults.append(f"attributes {list(e.keys())}")
        if tag == "g" and not (e.get("class") and e.get("id")):
            faults.append("an object without class and id")
        if tag == "text":
            # A character of a monospace font is at most 0.61 em wide.
            wide = 0.61 * 11 * len(e.text or "")
            left = float(e.get("x")) - (wide / 2 if e.get("text-anchor") == "middle" else 0)
            if left < 0 or left + wide > width or not 11 <= float(e.get("y")) <= height:
                faults.append(f"\"{e.text}\" at {left},{e.get('y')} is outside of {width}x{height}")
        if tag == "rect" and (int(e.get("x", 0)) + int(e.get("width")) > width or
                              int(e.get("y", 0)) + int(e.get("height")) > height):
            faults.append(f"a box is outside: {e.attrib}")
    return faults[:5]


def compare_svg(check, binary, name, ours, root):
    text = run(binary, "topology", "--svg", "-", "--sysroot", root).stdout
    check(f"{name}: SVG", svg_faults(text), [])
    check(f"{name}: the same SVG again", run(binary, "topology", "--svg", "-", "--sysroot", root).stdout == text, True)
    top = ET.fromstring(text)
    found = {kind: sorted(int(e.get("id")[len(kind) + 1:]) for e in top.iter(f"{SVG}g")
                          if (e.get("class") or "").split()[:1] == [kind]) for kind in ("node", "cpu", "core")}
    cores = [g for n in ours["nodes"] for g in n["cores"]]
    check(f"{name}: nodes, CPUs and cores of the SVG", (found["node"], found["cpu"], len(found["core"])),
          ([n["id"] for n in ours["nodes"]], sorted(ours["cpus"]), len(cores)))
    ids = [n["id"] for n in ours["nodes"]]
    if 1 < len(ids) <= 128:
        check(f"{name}: distances of the SVG",
              {e.get("id"): int(e.text) for e in top.iter(f"{SVG}text") if e.get("class") == "distance"},
              {f"distance-{a['id']}-{b}": d for a in ours["nodes"] for b, d in zip(ids, a["distances"])})


# --- the firmware's tables --------------------------------------------------------------------------


def srat(data):
    """CPUs and memory as plain tuples; by the specification, nothing of our code."""
    cpus, memory, at = [], [], 48
    byte = 0xff if data[8] < 2 else 0xffffffff
    while at < len(data):
        kind, length = data[at], data[at + 1]
        if kind == 0:
            domain = data[at + 2] | data[at + 9] << 8 | data[at + 10] << 16 | data[at + 11] << 24
            cpus.append((data[at + 3], domain & byte, bool(data[at + 4] & 1)))
        elif kind == 2:
            domain, apic, flags = struct.unpack_from("<III", data, at + 4)
            cpus.append((apic, domain & byte, bool(flags & 1)))
        elif kind == 1:
            domain, = struct.unpack_from("<I", data, at + 2)
            start, size = struct.unpack_from("<QQ", data, at + 8)
            flags, = struct.unpack_from("<I", data, at + 28)
            if size:
                memory.append((start, size, domain & byte, bool(flags & 1), bool(flags & 2)))
        at += length
    return cpus, sorted(memory)


def hmat(data):
    values, at = set(), 40
    while at < len(data):
        kind, length = struct.unpack_from("<H", data, at)[0], struct.unpack_from("<I", data, at + 4)[0]
        if kind == 1:
            what, n_from, n_to = data[at + 9], *struct.unpack_from("<II", data, at + 12)
            base, = struct.unpack_from("<Q", data, at + 24)
            domains = struct.unpack_from(f"<{n_from + n_to}I", data, at + 32)
            entries = struct.unpack_from(f"<{n_from * n_to}H", data, at + 32 + 4 * (n_from + n_to))
            for (a, b), entry in zip(itertools.product(domains[:n_from], domains[n_from:]), entries):
                value = entry * base if what >= 3 else -(-entry * base // 1000)
                if entry not in (0, 0xffff):
                    values.add((a, b, what, value))
        at += length
    return values


@functools.cache
def names():
    return ("access latency", "read latency", "write latency", "access bandwidth", "read bandwidth", "write bandwidth")


def compare_firmware(check, binary, name, root):
    answer = run(binary, "topology", "--firmware", "-J", "--sysroot", root)
    said = json.loads(answer.stdout)
    check(f"{name}: firmware: no finding", (answer.returncode, said["findings"]), (0, []))
    tables = {t: read(root, f"{TABLES}/{t}", True) for t in ("SRAT", "SLIT", "HMAT")}
    check(f"{name}: firmware: tables", {t["name"]: t["state"] for t in said["tables"]},
          {k: "absent" if v is None else "read" for k, v in tables.items()})
    entries = read(root, "/proc/cpuinfo") or ""
    apic = {int(a): int(c) for c, a in re.findall(r"^processor\s*:\s*(\d+)$(?:\n.+)*?\napicid\s*:\s*(\d+)$", entries, re.M)}
    cpus, memory = srat(tables["SRAT"]) if tables["SRAT"] else ([], [])
    check(f"{name}: firmware: CPUs", [(c["id"], c["domain"], c["enabled"], c["cpu"]) for c in said["cpus"]],
          [(*c, apic.get(c[0])) for c in cpus])
    check(f"{name}: firmware: memory",
          [(int(m["start"], 16), m["size"], m["domain"], m["enabled"], m["hotplug"]) for m in said["memory"]], memory)
    slit = tables["SLIT"]
    n = struct.unpack_from("<Q", slit, 36)[0] if slit else 0
    check(f"{name}: firmware: SLIT", [(d["from"], d["to"], d["distance"]) for d in said["distances"]],
          [(i, j, slit[44 + i * n + j]) for i in range(n) for j in range(n)])
    check(f"{name}: firmware: HMAT", {(v["from"], v["to"], names().index(v["what"]), v["value"]) for v in said["hmat"]},
          hmat(tables["HMAT"]) if tables["HMAT"] else set())
    where = f"{root}/sys/firmware/memmap"
    check(f"{name}: firmware: memory map", [(r["start"], r["end"], r["type"]) for r in said["memory_map"]],
          sorted((tuple(read(where, f"/{e}/{f}") for f in ("start", "end", "type")) for e in os.listdir(where)),
                 key=lambda r: int(r[0], 16)) if os.path.isdir(where) else [])
    if tables["SRAT"]:
        # QEMU numbers its domains as the kernel numbers its nodes here.
        check(f"{name}: firmware: the node of each domain", [(d["domain"], d["node"]) for d in said["domains"]],
              [(d, d) for d in sorted({m[2] for m in memory} | {c[1] for c in cpus})])


def compare_views(check, report, binary, name, ours, root):
    if not ours["nodes"]:
        return
    compare_table(check, report, binary, name, ours, root)
    compare_tree_view(check, binary, name, ours, root)
    compare_locality(check, name, ours, root)
    compare_svg(check, binary, name, ours, root)
    compare_firmware(check, binary, name, root)
