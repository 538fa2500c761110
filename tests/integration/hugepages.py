#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow hugepages beside a plain reading of the same files, on trees of real machines and on trees that no kernel
makes; its changes on a tree, with containers that the hook has placed. What a kernel does is in tests/vm/settings.sh."""
import glob
import json
import os
import re
import subprocess

from harness import BUILD, GIB, MIB, PROJECT, Machine, Temp, check, finish, hook, run, same, skip
from treelib import read, write

NUMASTOW = os.path.join(BUILD, "numastow")
DUMPS = os.environ.get("NUMASTOW_DUMPS") or os.path.join(PROJECT, "../shared/sysfs-dumps")
NODE = "/sys/devices/system/node"
UNIT = "/etc/systemd/system/numastow-hugepages.service"
FIELDS = {"pages_total": "nr_hugepages", "pages_free": "free_hugepages", "pages_surplus": "surplus_hugepages"}


def ask(tree, *words):
    return run([NUMASTOW, "hugepages", "--sysroot", tree, *words], "")


def answer(tree, *words, code=0):
    done = ask(tree, "--json", *words)
    if done.code != code:
        check(f"hugepages {words} of {tree} exits with {code}", False, done)
    return json.loads(done.out)


def number(tree, path):
    try:
        return int(read(tree, path))
    except (OSError, ValueError):
        return None


def plain_pools(tree):
    pools = []
    for path in glob.glob(f"{tree}{NODE}/node[0-9]*/hugepages/hugepages-*kB"):
        found = re.search(r"node(\d+)/hugepages/hugepages-(\d+)kB$", path)
        here = path[len(tree):]
        pools.append({"node": int(found[1]), "page_size": int(found[2]) << 10,
                      **{key: number(tree, f"{here}/{file}") for key, file in FIELDS.items()}})
    if not os.path.exists(f"{tree}{NODE}/node0"):
        for path in glob.glob(f"{tree}/sys/kernel/mm/hugepages/hugepages-*kB"):
            size = int(re.search(r"(\d+)kB$", path)[1]) << 10
            pools.append({"node": 0, "page_size": size,
                          **{key: number(tree, f"{path[len(tree):]}/{file}") for key, file in FIELDS.items()}})
    return sorted(pools, key=lambda p: (p["node"], p["page_size"]))


def compare(what, tree):
    said = answer(tree)
    ours = [{key: pool[key] for key in ("node", "page_size", *FIELDS)} for pool in said["pools"]]
    plain = plain_pools(tree)
    # Of an empty pool nothing else is read.
    for pool in plain:
        if pool["pages_total"] == 0:
            pool.update(pages_free=0, pages_surplus=0)
    same(f"{what}: {len(plain)} pools", sorted(ours, key=lambda p: (p["node"], p["page_size"])), plain)
    wrong = []
    for machine in said["machine"]:
        here = f"/sys/kernel/mm/hugepages/hugepages-{machine['page_size'] >> 10}kB"
        for key, file in {**FIELDS, "pages_reserved": "resv_hugepages", "pages_overcommit": "nr_overcommit_hugepages"}.items():
            if machine[key] != number(tree, f"{here}/{file}"):
                wrong.append((machine["page_size"], key, machine[key]))
    same(f"{what}: the machine's", wrong, [])
    for row in said["transparent"]:
        text = read(tree, f"{NODE}/node{row['node']}/meminfo")
        found = re.search(r"AnonHugePages:\s+(\d+) kB", text)
        if row["anonymous"] != (int(found[1]) << 10 if found else None):
            check(f"{what}: transparent hugepages of node {row['node']}", False, row)
    mounts = [line.split() for line in (read(tree, "/proc/mounts") if os.path.exists(tree + "/proc/mounts") else "").splitlines()]
    same(f"{what}: mounts", len(said["mounts"]), sum(len(m) > 3 and m[2] == "hugetlbfs" for m in mounts))
    return said


captured = sorted(glob.glob(os.path.join(PROJECT, "tests/dumps/*.tar.*")))
check("trees of guests", len(captured) >= 2, captured)
tarballs = captured + sorted(glob.glob(os.path.join(DUMPS, "*.tar.*")))
if len(tarballs) == len(captured):
    skip("trees of other machines", f"none in {DUMPS}")
with_pools = 0
for tarball in tarballs:
    with Temp() as place:
        subprocess.run(["tar", "-xf", tarball, "-C", place], check=True, stderr=subprocess.DEVNULL)
        inner = next(os.path.join(place, d) for d in os.listdir(place))
        tree = place if os.path.isdir(os.path.join(place, "sys")) else inner
        with_pools += bool(compare(os.path.basename(tarball).split(".tar")[0], tree)["pools"])
check("some of them have hugepages", with_pools >= (8 if len(tarballs) > len(captured) else 2), with_pools)
here = ask("/")
check("this machine", here.code == 0, here)

# --- trees that no kernel makes ---------------------------------------------

P2, P1 = (f"{NODE}/node0/hugepages/hugepages-{kib}kB" for kib in (2048, 1048576))
ODD = [f"{P2}/nr_hugepages", f"{P2}/free_hugepages", f"{P2}/surplus_hugepages", "/proc/mounts", "/proc/vmstat",
       f"{NODE}/node0/meminfo", "/proc/12/status", "/proc/12/numa_maps", "/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages",
       "/sys/kernel/mm/hugepages/hugepages-2048kB/demote_size", UNIT]
for odd in ("", "\n", "x\n", "-1\n", "\0\0", "9" * 500, b"\xff\xfe\x1b[31m huge N0=1\n", "a b hugetlbfs\n", " " * 5000, None):
    with Temp() as tree:
        for path in ODD:
            if odd is None:
                os.makedirs(tree + path)
            else:
                write(tree, path, odd)
        done, text = ask(tree, "--json"), ask(tree)
        check(f"files with {odd if odd is None else odd[:12]!r}", done.code == 0 and text.code == 0 and "\x1b" not in text.out + text.err,
              (done, text))
        pool = json.loads(done.out)["pools"][0]
        same("give no number", [pool[key] for key in FIELDS], [None] * 3)
with Temp() as tree:
    # 1,024 nodes, 4,096 CPUs, two sizes: every pool has numbers of its own.
    write(tree, f"{NODE}/online", "0-1023\n")
    write(tree, "/sys/devices/system/cpu/online", "0-4095\n")
    for node in range(1024):
        write(tree, f"{NODE}/node{node}/cpulist", f"{4 * node}-{4 * node + 3}\n")
        write(tree, f"{NODE}/node{node}/meminfo", f"Node {node} MemTotal: 8388608 kB\nNode {node} AnonHugePages: {2048 * node} kB\n")
        for kib, pages in ((2048, node + 9), (1048576, node % 3)):
            for file, count in zip(FIELDS.values(), (pages, pages // 2, pages // 4)):
                write(tree, f"{NODE}/node{node}/hugepages/hugepages-{kib}kB/{file}", f"{count}\n")
    for kib in (2048, 1048576):
        for file in (*FIELDS.values(), "resv_hugepages", "nr_overcommit_hugepages"):
            write(tree, f"/sys/kernel/mm/hugepages/hugepages-{kib}kB/{file}", f"{kib % 77}\n")
    same("1,024 nodes: pools", len(compare("1,024 nodes", tree)["pools"]), 2048)
    rows = ask(tree, "-nr", "-o", "NODE,SIZE,TOTAL,FREE").out.splitlines()
    same("1,024 nodes: as text", (len(rows), rows[-2:]), (2048, ["1023 2Mi 1032 516", "1023 1Gi 0 0"]))
    done = ask(tree, "set", "1000-1023", "1Gi=7")
    same("1,024 nodes: some are set", (done.code, [number(tree, f"{NODE}/node{n}/hugepages/hugepages-1048576kB/nr_hugepages")
                                                   for n in (998, 1000, 1023)]), (0, [2, 7, 7]))
with Temp() as tree:
    done = ask(tree)
    check("a tree without hugepages", done.code == 0 and "no pools" in done.err, done)

# --- changes ----------------------------------------------------------------

PREFIX = "numastow.io/"
with Temp() as place:
    machine = Machine(os.path.join(place, "m"), pools={2 * MIB: (8, 1024)})
    tree = machine.path
    pool = f"{NODE}/node%d/hugepages/hugepages-2048kB/%s"
    os.makedirs(tree + "/etc", exist_ok=True)
    for code, bad, part in ((2, ("set", "0", "3Mi=1"), "2Mi"), (1, ("set", "7", "2Mi=1"), "0-1"), (2, ("set", "0", "2Mi=x"), "COUNT"),
                            (2, ("set", "0"), "SIZE=COUNT"), (2, ("set", "0", "2Mi"), "SIZE=COUNT"), (2, ("spread",), "SIZE=COUNT"),
                            (2, ("set", "0", "2Mi=1", "2Mi=2"), "two counts"), (2, ("set", "", "2Mi=1"), "empty"),
                            (1, ("demote", "0", "2Mi=1"), "cannot split"), (2, ("set", "0", "2Mi=99999999999999"), "COUNT"),
                            (2, ("shrink", "0", "5Mi"), "2Mi"), (2, ("mount", "5Mi", "/h"), "2Mi"), (2, ("mount", "2Mi"), "FOLDER"),
                            (2, ("sett", "0", "2Mi=1"), "mount; did you mean \"set\"")):
        done = ask(tree, *bad)
        check(f"{' '.join(bad)} is refused", done.code == code and done.err.startswith("numastow: ") and
              part in done.err.splitlines()[0], done)
    same("and nothing was changed", [number(tree, pool % (n, "nr_hugepages")) for n in (0, 1)], [8, 8])
    # A container with four pages on one node.
    machine.container("web", annotations={PREFIX + "cpus": "1", PREFIX + "hugepages-2Mi": "8Mi"})
    done = hook(machine, "apply", machine.state("web"))
    check("a container is placed", done.code == 0, done)
    said = answer(tree)
    users = [u for u in said["users"] if u["kind"] == "container"]
    same("it is shown with what it was promised", [(u["page_size"], u["pages_promised"]) for u in users], [(2 * MIB, 4)])
    node = users[0]["node"]
    same("as are the pools", [p["pages_promised"] for p in said["pools"]], [4 if n == node else 0 for n in (0, 1)])
    done = ask(tree, "set", "all", "2Mi=3")
    check("its pages are not taken", done.one_line() and "promised" in done.err and f"({users[0]['name'][:12]}" in done.err, done)
    same("on no node", [number(tree, pool % (n, "nr_hugepages")) for n in (0, 1)], [8, 8])
    done = ask(tree, "set", "all", "2Mi=16", "--persist")
    check("pools grow", done.code == 0 and "hugepagesz=2M hugepages=0:16,1:16" in done.out, done)
    same("on both nodes", [number(tree, pool % (n, "nr_hugepages")) for n in (0, 1)], [16, 16])
    for node in (0, 1):
        write(tree, pool % (node, "free_hugepages"), "16\n")
    unit = read(tree, UNIT)
    check("at boot, too", "echo 16 >/sys/devices/system/node/node1/" in unit and os.path.islink(
        tree + "/etc/systemd/system/sysinit.target.wants/numastow-hugepages.service"), unit)
    same("which is shown", [p["pages_boot"] for p in answer(tree)["pools"]], [16, 16])
    if os.path.exists("/usr/bin/systemd-analyze"):
        done = run(["systemd-analyze", "verify", "--man=no", tree + UNIT], "")
        check("systemd accepts the unit", done.code == 0 and "numastow-hugepages" not in done.err, done)
    done = ask(tree, "set", "0-1", "2Mi=0", "--persist")
    check("a refusal keeps the unit", done.code == 1 and read(tree, UNIT) == unit, done)
    changes = answer(tree, "spread", "2Mi=21")["changes"]
    same("spread", sorted(c["pages_after"] for c in changes), [10, 11])
    same("on one node", [c["node"] for c in answer(tree, "spread", "2Mi=12", "--node", "1")["changes"]], [1])
    write(tree, UNIT, "[Unit]\n")
    done = ask(tree, "set", "0", "2Mi=9", "--persist")
    check("a stranger's unit stays", done.code == 64 and read(tree, UNIT) == "[Unit]\n" and "was not written by numastow" in done.err, done)
    rows = ask(tree, "--noheadings", "--raw", "--output", "NODE,TOTAL").out.splitlines()
    same("columns", rows, ["0 9", "1 12"])

finish()
