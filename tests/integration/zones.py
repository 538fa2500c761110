#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow zones and stat beside a plain reading of the same files, number by number: on trees that were captured in
virtual machines (Linux 6.1 with cgroup v1, 6.12 with v2, after each setting was written), on this machine, and on
trees that no kernel makes. That zones computes what a kernel shows is compared in tests/vm/zones.sh as well."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys

from harness import BUILD, PROJECT, Temp, check, eventually, finish, run, same, skip
from treelib import read, write

NUMASTOW = os.path.join(BUILD, "numastow")
NODE = "/sys/devices/system/node"
AMOUNTS = ("boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma")
CONTAINER = "a" * 64


def ask(tree, *words, code=0):
    done = run([NUMASTOW, words[0], "--sysroot", tree, *words[1:]], "")
    if done.code != code:
        check(f"{words} on {tree} exits with {code}", False, done)
    return done


def answer(tree, *words, code=0):
    return json.loads(ask(tree, *words, "--json", code=code).out)


# --- a plain reading --------------------------------------------------------

def plain_zones(tree):
    zones, zone, lists = [], None, False
    for line in read(tree, "/proc/zoneinfo").splitlines():
        head = re.match(r"Node (\d+), zone +(\S+)$", line)
        if head:
            zone, lists = {"node": int(head[1]), "zone": head[2], "cpus": []}, False
            zones.append(zone)
            continue
        words = line.split()
        if words[:2] == ["pages", "free"]:
            zone["free"] = int(words[2])
        elif words[0] == "cpu:":
            lists = True
            zone["cpus"].append({"cpu": int(words[1])})
        elif lists and words[0].rstrip(":") in ("count", "high", "batch", "high_min", "high_max"):
            zone["cpus"][-1][words[0].rstrip(":")] = int(words[1])
        elif not lists and words[0] in AMOUNTS:
            zone[words[0]] = int(words[1])
        elif words[0] == "protection:":
            zone["protection"] = [int(n) for n in re.findall(r"\d+", line)]
        elif words[0] == "start_pfn:":
            zone["start_pfn"] = int(words[1])
    for line in read(tree, "/proc/buddyinfo").splitlines():
        words = line.replace(",", "").split()
        zone = next(z for z in zones if (z["node"], z["zone"]) == (int(words[1]), words[3]))
        zone["blocks"] = [int(n) for n in words[4:]]
    return zones


def plain_marks(tree, zones):
    """As mm/page_alloc.c computes them, for both rules for Movable."""
    number = lambda name: int(read(tree, f"/proc/sys/vm/{name}"))  # noqa: E731
    pages_min, scale = number("min_free_kbytes") // 4, number("watermark_scale_factor")
    answers = []
    for capped in (True, False):
        lowmem = sum(z["managed"] for z in zones if not (capped and z["zone"] == "Movable"))
        marks = []
        for zone in zones:
            share = pages_min * zone["managed"] // lowmem
            gap = max(share // 4, zone["managed"] * scale // 10000)
            least = min(max(zone["managed"] // 1024, 32), 128) if capped and zone["zone"] == "Movable" else share
            marks.append([least, least + gap, least + 2 * gap, least + 3 * gap])
        answers.append(marks)
    return answers


def plain_protection(tree, zones, zone):
    ratio = [int(n) for n in read(tree, "/proc/sys/vm/lowmem_reserve_ratio").split()]
    here = [z for z in zones if z["node"] == zone["node"]]
    i = here.index(zone)
    return [0] * (i + 1) + [sum(z["managed"] for z in here[i + 1:j + 1]) // ratio[i] if ratio[i] and zone["managed"] else 0
                            for j in range(i + 1, len(here))]


def unusable(blocks, order):
    free = sum(n << k for k, n in enumerate(blocks))
    large = sum(n << k for k, n in enumerate(blocks) if k >= order)
    return (free - large) * 1000 // free if free else 1000


def check_zones(tree, what, page=4096):
    """Every number that is shown, whatever the kernel has of them."""
    got, wanted = answer(tree, "zones", "--lists"), plain_zones(tree)
    same(f"{what}: page size", got["page_size"], page)
    same(f"{what}: the zones", [(z["node"], z["zone"]) for z in got["zones"]], [(z["node"], z["zone"]) for z in wanted])
    wrong = []
    for ours, plain in zip(got["zones"], wanted):
        for key in ("free", *AMOUNTS):
            if ours[key] != (plain[key] * page if key in plain else None):
                wrong.append((ours["node"], ours["zone"], key, ours[key], plain.get(key)))
        if ours["protection"] != [n * page for n in plain["protection"]] or ours["start_pfn"] != plain.get("start_pfn"):
            wrong.append((ours["node"], ours["zone"], "protection", ours["protection"]))
        if ours["lists"]["list"] != [{k: v if k == "cpu" else v * page for k, v in
                                      {"high_min": None, "high_max": None, **c}.items() if v is not None} |
                                     {k: None for k in ("high_min", "high_max") if k not in c} for c in plain["cpus"]]:
            wrong.append((ours["node"], ours["zone"], "lists", ours["lists"]["list"][:1], plain["cpus"][:1]))
        if plain["cpus"] and ours["lists"]["count"] != sum(c["count"] for c in plain["cpus"]) * page:
            wrong.append((ours["node"], ours["zone"], "count"))
        if "blocks" in plain:
            index = [round(b["unusable"] * 1000) for b in ours["blocks"]]
            if [b["free"] for b in ours["blocks"]] != plain["blocks"] or \
               index != [unusable(plain["blocks"], k) for k in range(len(plain["blocks"]))]:
                wrong.append((ours["node"], ours["zone"], "blocks", ours["blocks"], plain["blocks"]))
    check(f"{what}: every number is the file's", not wrong, wrong)
    return got, wanted


def check_computed(tree, what, got, wanted, page=4096):
    populated = [i for i, z in enumerate(wanted) if z["managed"]]
    computed = [[got["zones"][i]["computed"][k] // page for k in ("min", "low", "high", "promo")] for i in populated]
    marks = [[rule[i] for i in populated] for rule in plain_marks(tree, wanted)]
    check(f"{what}: the watermarks are computed as the kernel does", computed in marks, f"{computed}, {marks}")
    protection = [[n // page for n in z["computed"]["protection"]] for z in got["zones"]]
    same(f"{what}: so is the protection", protection, [plain_protection(tree, wanted, z) for z in wanted])
    shown = [[got["zones"][i][k] and got["zones"][i][k] // page for k in ("min", "low", "high")] for i in populated]
    same(f"{what}: and compared", got["computed"]["watermarks"] == "equal", [c[:3] for c in computed] == shown)


def check_captured(folder):
    for release, movable in (("6.1-v1", True), ("6.12-v2", False)):
        name = f"linux-{release}"
        subprocess.run(["tar", "-xJf", f"{PROJECT}/tests/data/{name}.tar.xz", "-C", folder], check=True)
        for state in ("boot", "scale-100", "min-20001", "ratio", "numa-stat-0"):
            tree, what = f"{folder}/{name}/{state}", f"Linux {release}, {state}"
            got, wanted = check_zones(tree, what)
            check_computed(tree, what, got, wanted)
            same(f"{what}: the difference", got["computed"]["watermarks"], "memory-changed" if state == "boot" else "equal")
            same(f"{what}: where min_free_kbytes comes from", got["min_free"]["source"],
                 "khugepaged" if state in ("boot", "scale-100") else "administrator")
            same(f"{what}: whether Movable has a share", got["computed"]["movable_has_share"], movable)
            same(f"{what}: pressure", [n["pressure"] for n in got["nodes"]], ["none", "none"])
        check_stat(f"{folder}/{name}", release)
        text = ask(f"{folder}/{name}/boot", "zones").out
        for word in ("khugepaged has raised it", "Memory was added or removed", "kswapd", "machine"):
            check(f"Linux {release}: the text says \"{word}\"", word.lower() in text.lower(), text)
        check(f"Linux {release}: kswapd of each node is found",
              all(n["kswapd"]["state"] == "S" for n in answer(f"{folder}/{name}/boot", "zones")["nodes"]))


# --- stat -------------------------------------------------------------------

def plain_process(tree, pid):
    """As numastat divides it, with the page size of each mapping."""
    nodes = {}
    for line in read(tree, f"/proc/{pid}/numa_maps").splitlines():
        words = line.split()
        kind = next((k for w in words[1:] for k in ("huge", "heap", "stack") if w.startswith(k)), "private")
        size = int(re.search(r"kernelpagesize_kB=(\d+)", line)[1]) * 1024 if "kernelpagesize" in line else 4096
        for node, count in re.findall(r" N(\d+)=(\d+)", line):
            on = nodes.setdefault(int(node), dict.fromkeys(("huge", "heap", "stack", "private", "file", "shared"), 0))
            on[kind] += int(count) * size
            if kind == "private":
                on["file"] += int(count) * size if " file=" in line else 0
                on["shared"] += int(count) * size if re.search(r" mapmax=([2-9]|\d\d)", line) else 0
    return nodes


def as_numastat(nodes):
    """Its table, in MiB with two decimals, by row and node."""
    return {kind: [f"{n[kind.lower()] / 2**20:.2f}" for n in nodes] for kind in ("Huge", "Heap", "Stack", "Private")}


def numastat_table(text):
    rows = [line.split() for line in text.splitlines()]
    return {r[0]: r[1:-1] for r in rows if r and r[0] in ("Huge", "Heap", "Stack", "Private")}


def check_stat(folder, what):
    tree = f"{folder}/boot"
    got = answer(tree, "stat")
    for node in got["nodes"]:
        files = read(tree, f"{NODE}/node{node['node']}/numastat") + read(tree, f"{NODE}/node{node['node']}/vmstat")
        plain = dict(line.split() for line in files.splitlines())
        plain["numa_hit"] = re.search(r"numa_hit (\d+)", files)[1]
        same(f"{what}: counters of node {node['node']}", {k: v for k, v in node.items() if k != "node"},
             {k: int(plain[k]) if k in plain else None for k in node if k != "node"})
    plain = dict(line.split() for line in read(tree, "/proc/vmstat").splitlines())
    same(f"{what}: of the machine", got["machine"], {k: int(plain[k]) if k in plain else None for k in got["machine"]})
    check(f"{what}: counting is on", got["counted"] is True)
    check(f"{what}: off is said", "vm.numa_stat is 0" in ask(f"{folder}/numa-stat-0", "stat").out and
          answer(f"{folder}/numa-stat-0", "stat")["counted"] is False)

    for node in answer(tree, "stat", "--meminfo")["nodes"]:
        plain = {m[1]: int(m[2]) * (1024 if m[3] else 1) for m in
                 re.finditer(r"Node \d+ (\S+):\s+(\d+)( kB)?", read(tree, f"{NODE}/node{node['node']}/meminfo"))}
        same(f"{what}: all fields of node {node['node']}", node["meminfo"], plain)

    pid = read(folder, "/pid").strip()
    process = answer(tree, "stat", pid)["processes"][0]
    plain = plain_process(tree, pid)
    same(f"{what}: a process", {n["node"]: {k: n[k] for k in plain[0]} for n in process["nodes"]}, plain)
    same(f"{what}: and as numastat showed it", as_numastat(process["nodes"]), numastat_table(read(folder, "/numastat-p.txt")))
    same(f"{what}: by its name, too", answer(tree, "stat", "holder")["processes"], [process])
    check_container(tree, what, process)


def check_container(tree, what, process):
    got = answer(tree, "stat", CONTAINER[:12])["containers"]
    same(f"{what}: a container by the beginning of its id", [c["container"] for c in got], [CONTAINER])
    v1 = os.path.isdir(f"{tree}/sys/fs/cgroup/memory")
    scope = f"/machine.slice/libpod-{CONTAINER}.scope/"
    memory = read(tree, "/sys/fs/cgroup" + ("/memory" if v1 else "") + scope + "memory.numa_stat")
    huge = read(tree, "/sys/fs/cgroup" + ("/hugetlb" if v1 else "") + scope + "hugetlb.2MB.numa_stat")
    rows = {line.split()[0].split("=")[0]: [int(n) for n in re.findall(r" N\d+=(\d+)", line)] for line in memory.splitlines()}
    pages = [int(n) for n in re.findall(r" N\d+=(\d+)", huge.splitlines()[0])]
    kernel = ("kernel_stack", "pagetables", "sec_pagetables", "slab_reclaimable", "slab_unreclaimable")
    for i, node in enumerate(got[0]["nodes"]):
        unit, prefix = (4096, "hierarchical_") if v1 else (1, "")
        same(f"{what}: memory of the container on node {i}", (node["anon"], node["file"], node["kernel"], node["huge"]),
             (rows[prefix + "anon"][i] * unit, rows[prefix + "file"][i] * unit,
              None if v1 else sum(rows[k][i] for k in kernel), pages[i]))
        same(f"{what}: what its processes have mapped there", node["processes"], process["nodes"][i]["total"])
    text = ask(tree, "stat", CONTAINER[:12]).out
    check(f"{what}: why the sums differ", "are charged to it" in text and "used it first" in text, text)


def check_names(folder):
    """A container by Podman's name; a name before a prefix; a prefix of two is refused."""
    tree, other = f"{folder}/names", "ab" + "c" * 62
    shutil.copytree(f"{folder}/linux-6.12-v2/boot", tree)
    scopes = f"{tree}/sys/fs/cgroup/machine.slice"
    shutil.copytree(f"{scopes}/libpod-{CONTAINER}.scope", f"{scopes}/libpod-{other}.scope")
    names = [{"id": CONTAINER, "names": ["web"]}, {"id": other, "names": ["aaaa"]}, {"id": "0" * 64, "names": ["gone"]},
             {"id": 5}, {"names": []}, "x"]
    write(tree, "/var/lib/containers/storage/overlay-containers/containers.json", json.dumps(names))
    found = lambda *words: [(c["container"], c["name"]) for c in answer(tree, "stat", *words)["containers"]]  # noqa: E731
    same("a container by its name", found("web"), [(CONTAINER, "web")])
    same("a name goes before the beginning of an id", found("aaaa"), [(other, "aaaa")])
    same("several, in their order", found("ab", "aaaaa"), [(other, "aaaa"), (CONTAINER, "web")])
    write(tree, f"/sys/fs/cgroup/machine.slice/libpod-{CONTAINER}.scope/memory.stat", "anon 4096\nnuma_hint_faults 12\npgdemote_kswapd 3\n")
    counters = answer(tree, "stat", "web")["containers"][0]["counters"]
    same("a container's own counters, where the kernel has them", {k: v for k, v in counters.items() if v is not None},
         {"numa_hint_faults": 12, "pgdemote_kswapd": 3})
    for word, text in (("a", "several containers"), ("gone", "container gone does not run")):
        done = ask(tree, "stat", word, code=1)
        check(f"\"{word}\" is refused in one line", done.err.count("\n") == 1 and text in done.err, done)
    for text in ("", "[", "{}", "[[]]", '{"id": "x"}', "\x00", "5"):
        write(tree, "/var/lib/containers/storage/overlay-containers/containers.json", text)
        same(f"names that are {text!r}: the id suffices", found("aaaaa"), [(CONTAINER, None)])


# --- trees that no kernel makes ----------------------------------------------

def large(tree):
    """1,024 nodes, one with 4,096 CPUs."""
    lines, buddies = [], []
    for node in range(1024):
        cpus = 4096 if node == 5 else 2
        lines.append(f"Node {node}, zone   Normal\n  pages free     {node + 5000}\n        boost    0\n        min      {node}\n"
                     f"        low      {node + 9}\n        high     {node + 18}\n        spanned  9000\n        present  9000\n"
                     f"        managed  8000\n        cma      0\n        protection: (0)\n  pagesets\n")
        lines += [f"    cpu: {cpu}\n              count:    {cpu}\n              high:     7\n              batch:    1\n"
                  for cpu in range(cpus)]
        lines.append(f"  start_pfn:           {node * 9000}\n")
        buddies.append(f"Node {node}, zone   Normal {node} 1 2 3 4 5 6 7 8 9 10\n")
        write(tree, f"{NODE}/node{node}/numastat", f"numa_hit {node}\nnuma_miss 1\nnuma_foreign 2\ninterleave_hit 3\n"
                                                  "local_node 4\nother_node 5\n")
        write(tree, f"{NODE}/node{node}/meminfo", f"Node {node} MemTotal: 32000 kB\nNode {node} HugePages_Total: {node}\n")
    write(tree, "/proc/zoneinfo", "".join(lines))
    write(tree, "/proc/buddyinfo", "".join(buddies))
    write(tree, "/proc/meminfo", f"MemTotal: {1024 * 32000} kB\n")
    write(tree, "/proc/sys/vm/min_free_kbytes", "262144\n")
    write(tree, "/proc/sys/vm/watermark_scale_factor", "10\n")
    write(tree, "/proc/sys/vm/lowmem_reserve_ratio", "256 256 32 0 0\n")
    maps = "".join(f"7f{node:010x} default anon=1 N{node}=1 kernelpagesize_kB=4\n" for node in range(1024))
    write(tree, "/proc/77/numa_maps", maps)
    write(tree, "/proc/77/comm", "wide\n")


def check_large(folder):
    tree = f"{folder}/large"
    large(tree)
    got, wanted = check_zones(tree, "1,024 nodes")
    check_computed(tree, "1,024 nodes", got, wanted)
    same("1,024 nodes: stat", [n["numa_hit"] for n in answer(tree, "stat")["nodes"]], list(range(1024)))
    same("1,024 nodes: meminfo", [n["meminfo"]["HugePages_Total"] for n in answer(tree, "stat", "--meminfo")["nodes"]],
         list(range(1024)))
    same("1,024 nodes: a process on all of them", answer(tree, "stat", "77")["processes"][0]["total"], 1024 * 4096)
    for words in (("zones",), ("stat",), ("stat", "--meminfo"), ("stat", "77"), ("zones", "--lists", "--orders")):
        done = ask(tree, *words)
        check(f"1,024 nodes: {' '.join(words)} as text", done.out.count("\n") >= 1024, done.out[:200])
    same("only the nodes that were asked for", [z["node"] for z in answer(tree, "zones", "--node", "3,1000-1001")["zones"]],
         [3, 1000, 1001])


GARBAGE = ("", "\n", "\x00\x01\x02\xff", "Node\n", "Node 0, zone\n", "-5\n", "99999999999999999999999999\n", "x" * 70000)


def check_odd(folder):
    """Each file in turn is missing, empty, garbage: never a crash, never a hang, one line about it at most."""
    source = f"{folder}/linux-6.12-v2/boot"
    pid = read(f"{folder}/linux-6.12-v2", "/pid").strip()
    files = [p for p in ("/proc/zoneinfo", "/proc/buddyinfo", "/proc/meminfo", "/proc/vmstat", "/proc/pressure/memory",
                         "/proc/sys/vm/min_free_kbytes", "/proc/sys/vm/watermark_scale_factor",
                         "/proc/sys/vm/lowmem_reserve_ratio", "/proc/self/mountinfo", f"{NODE}/node0/numastat",
                         f"{NODE}/node0/meminfo", f"{NODE}/node0/vmstat", f"/proc/{pid}/numa_maps", f"/proc/{pid}/comm",
                         "/proc/2/task/2/children", f"/sys/fs/cgroup/machine.slice/libpod-{CONTAINER}.scope/memory.numa_stat",
                         f"/sys/fs/cgroup/machine.slice/libpod-{CONTAINER}.scope/memory.pressure")]
    commands = (("zones", "--json"), ("zones",), ("stat", "--json"), ("stat", "--meminfo"), ("stat", pid, CONTAINER))
    bad = []
    for number, path in enumerate(files):
        tree = f"{folder}/odd-{number}"
        shutil.copytree(source, tree)
        for text in (None, *GARBAGE):
            os.unlink(tree + path) if os.path.exists(tree + path) else None
            if text is not None:
                write(tree, path, text)
            # All texts for the files that a command reads itself; of the others one is enough.
            for words in commands if text in (None, "", "\x00\x01\x02\xff") else commands[:1]:
                done = run([NUMASTOW, words[0], "--sysroot", tree, *words[1:]], "")
                lines = done.err.splitlines()
                if done.code not in (0, 1, 64) or len(lines) > 2 or any(not n.startswith("numastow: ") for n in lines):
                    bad.append((path, text and text[:20], words, done.code, done.err[:200]))
                if done.code == 0 and words[-1] == "--json":
                    json.loads(done.out)
        shutil.rmtree(tree)
    check("no file that is missing, empty or garbage does more harm than a line", not bad, bad[:5])
    tree = f"{folder}/unknown"
    shutil.copytree(source, tree)
    os.unlink(f"{tree}/proc/sys/vm/min_free_kbytes")
    got = answer(tree, "zones")
    same("what is unknown is null", (got["settings"]["min_free_kbytes"], got["min_free"]["source"],
                                     got["computed"]["watermarks"], got["zones"][0]["as_computed"]), (None,) * 4)
    write(tree, "/proc/buddyinfo", "")
    write(f"{folder}/nothing", "/proc/zoneinfo", "Node 0, zone\n")
    done = ask(f"{folder}/nothing", "zones", "--output", "NODE", code=1)
    check("neither zones nor free blocks: one line", done.err.count("\n") == 1 and "zoneinfo" in done.err, done)
    os.unlink(f"{tree}/proc/meminfo")
    done = ask(tree, "zones", "--json")
    check("without the size of a page there is no size", json.loads(done.out)["zones"][0]["free"] is None and
          "the size of a page is not known" in done.err, done)


def check_usage(folder):
    tree = f"{folder}/linux-6.12-v2/boot"
    for words, code, text in ((("zones", "compact"), 2, "compact NODE"), (("zones", "tidy", "1"), 2, "compact or reclaim"),
                              (("zones", "compact", "x"), 2, "NUMA node"), (("zones", "reclaim", "1", "lots"), 2, "lots"),
                              (("zones", "reclaim", "1", "0"), 2, "more than 0"), (("zones", "compact", "7"), 1, "no NUMA node 7"),
                              (("zones", "compact", "1"), 1, "cannot compact"), (("zones", "reclaim", "1", "4Mi"), 1, "6.17"),
                              (("zones", "--output", "COLOUR"), 2, "COLOUR"), (("stat", "--sort", "x"), 2, "NUMA node"),
                              (("stat", "--sort", "9"), 2, "no such NUMA node"), (("stat", "--meminfo", "1"), 2, "about nodes"),
                              (("stat", "4000000"), 1, "no process 4000000"), (("stat", "nothing"), 1, "nothing"),
                              (("zones", "-N", "0,7"), 1, "there is no node 7; the nodes are 0-1"),
                              (("stat", "-N", "7"), 1, "there is no node 7; the nodes are 0-1")):
        done = run([NUMASTOW, words[0], "--sysroot", tree, *words[1:]], "")
        first = done.err.splitlines()[:1]
        check(f"{' '.join(words)}: refused with {code}", done.code == code and first and text in first[0] and
              first[0].startswith("numastow: "), done)
    pid = read(f"{folder}/linux-6.12-v2", "/pid").strip()
    same("a part of what was named", ask(tree, "stat", pid, "4000000", code=64).code, 64)
    rows = ask(tree, "zones", "--raw", "--noheadings", "--output", "NODE,ZONE,MIN", "--bytes").out.split("\n")
    same("columns for a script", rows[0].split(), ["0", "DMA", str(73 * 4096)])
    first = answer(tree, "stat", "--meminfo", "--sort", "1")
    values = [f for f in ask(tree, "stat", "--meminfo", "--sort", "1", "--raw", "--noheadings", "--bytes").out.splitlines()]
    numbers = [int(v.split()[2]) for v in values]
    check("sorted by node 1", numbers == sorted(numbers, reverse=True) and len(numbers) == len(first["nodes"][1]["meminfo"]))
    check("without what is 0", all(int(v.split()[-1]) for v in ask(
        tree, "stat", "--meminfo", "--nonzero", "--raw", "--noheadings", "--bytes").out.splitlines()))


def check_watch(folder):
    """The second output has rates; how often it comes, and with which rates, is the machine's."""
    tree = f"{folder}/linux-6.12-v2/boot"
    argv = [NUMASTOW, "stat", "--sysroot", tree, "--json", "--watch=100ms"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        text, outputs = "", []
        while len(outputs) < 3:
            line = process.stdout.readline()
            if not line:
                break
            text += line
            try:
                outputs.append(json.loads(text))
                text = ""
            except ValueError:
                pass
        process.kill()
    same("with --watch: rates from the second output on", [["per_second" in n for n in o["nodes"]] for o in outputs],
         [[False, False], [True, True], [True, True]])
    same("with --watch: a counter that stays has the rate 0", outputs[1]["nodes"][0]["per_second"]["numa_hit"], 0.0)
    odd = f"{folder}/odd"
    shutil.copytree(tree, odd)
    os.unlink(f"{odd}/proc/vmstat")
    with subprocess.Popen([NUMASTOW, "stat", "--sysroot", odd, "--watch=100ms"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        lines = iter(process.stdout.readline, "")
        rates = [any(line.startswith("Pages per second") for line in lines) for _ in range(3)]
        same("with --watch: as text, too", rates, [True] * 3)
        process.kill()
        same("with --watch: what cannot be read is said once", process.stderr.read(), "numastow: /proc/vmstat: No such file or directory\n")


# --- this machine -------------------------------------------------------------

def check_live():
    if not os.path.isdir(NODE + "/node0"):
        skip("this machine", "its kernel has no NUMA")
        return
    got = answer("/", "zones")
    same("this machine: its zones", [(z["node"], z["zone"]) for z in got["zones"]],
         [(z["node"], z["zone"]) for z in plain_zones("/")])
    check("this machine: min_free_kbytes", got["settings"]["min_free_kbytes"] == int(read("/", "/proc/sys/vm/min_free_kbytes")))
    # A process that does nothing; its pages may still be moved by the kernel, between two readings.
    with subprocess.Popen([sys.executable, "-c", "import sys; x = b'x' * 9000000; print('x', flush=True); sys.stdin.read()"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)

        def equal():
            ours = {n["node"]: {k: v for k, v in n.items() if k not in ("node", "total")} for n in
                    answer("/", "stat", str(process.pid), "--nonzero")["processes"][0]["nodes"]}
            return ours == plain_process("/", process.pid)

        def as_tool():
            tool = run(["numastat", "-p", str(process.pid)], "")
            nodes = answer("/", "stat", str(process.pid))["processes"][0]["nodes"]
            return tool.code == 0 and as_numastat(nodes) == numastat_table(tool.out)

        try:
            check("this machine: a stopped process, as numa_maps has it", eventually(equal, 120))
            if shutil.which("numastat"):
                check("this machine: and as numastat shows it", eventually(as_tool, 120))
            else:
                skip("this machine: numastat", "it is not installed")
        finally:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()


def check_unprivileged(temp):
    if os.geteuid() != 0 or not os.path.isdir(NODE + "/node0"):
        skip("another user", "only root can become one, on a kernel with NUMA")
        return
    # The checkout may be in root's home, where another user finds no program.
    os.chmod(temp, 0o755)
    shutil.copy(NUMASTOW + "-view", temp)
    mine = shutil.copy(NUMASTOW, temp)
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", mine]
    zones = run([*as_nobody, "zones", "--json"], "")
    check("another user sees the zones", zones.code == 0 and len(json.loads(zones.out)["zones"]) > 0, zones)
    check("and the nodes' counters", run([*as_nobody, "stat"], "").code == 0)
    done = run([*as_nobody, "stat", str(os.getpid())], "")
    check("but not root's pages, and a line says so", done.code == 1 and "only root, or its owner" in done.err and
          done.err.count("\n") == 1, done)
    done = run([*as_nobody, "zones", "compact", "0"], "")
    check("nor may another user compact", done.code == 1 and ("only root" in done.err or "cannot compact" in done.err), done)


with Temp() as temp:
    check_captured(temp)
    check_usage(temp)
    check_watch(temp)
    check_names(temp)
    check_odd(temp)
    check_large(temp)
    check_unprivileged(temp)
check_live()
finish()
