#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`numastow topology` as a table, a tree, a picture and beside the firmware's tables: owners of CPUs, planted
disagreements, tables that only root may read, odd trees, 4,096 CPUs and 1,024 nodes, SVGs of 1, 2, 8 and 64 nodes.
tests/dumps compares the views with other readers."""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET

from harness import BUILD, PROJECT, Machine, Temp, as_list, check, finish, hook, run, same, skip
from treelib import firmware_digest, write

sys.path.insert(0, os.path.join(PROJECT, "tests/dumps"))
from views import SVG, svg_faults  # noqa: E402

NUMASTOW = os.path.join(BUILD, "numastow")
CAPTURED = os.path.join(PROJECT, "tests/dumps/qemu-hmat-6.1.tar.gz")
NODE = "/sys/devices/system/node"
CPU = "/sys/devices/system/cpu"
TABLES = "/sys/firmware/acpi/tables"
DT = "/sys/firmware/devicetree/base"


def topology(root, *words, timeout=600):
    return run([NUMASTOW, "topology", "--sysroot", root, *words], "", timeout)


def said(root, *words):
    return json.loads(topology(root, *words, "--json").out)


def captured(folder):
    """A guest with three nodes, the third without CPUs, and an HMAT."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    subprocess.run(["tar", "-xzf", CAPTURED, "-C", folder, "--no-same-owner"], check=True)
    return folder


# --- owners -----------------------------------------------------------------------------------


def check_owners(temp):
    machine = Machine(f"{temp}/owners", cpus=8)
    for name, annotations in (("web", {"cpus": "2", "cpu-mode": "exclusive"}), ("batch", {"cpus": "1"})):
        machine.container(name, annotations={f"numastow.io/{k}": v for k, v in annotations.items()})
        result = hook(machine, "apply", machine.state(name))
        check(f"{name} is placed", result.code == 0, result)
    have = machine.cpuset("web")
    rows = said(machine.path, "--table")["cpus"]
    same("the owner of each CPU", {r["cpu"] for r in rows if r["owner"] == "web"}, set(have))
    same("shared CPUs are no container's alone", {r["owner"] for r in rows if r["cpu"] not in have}, {None})
    tree = topology(machine.path, "--tree", "-nr", "-o", "KIND,NUMBER,OWNER").out
    same("in the tree, too", {int(n) for n in re.findall(r"^cpu (\d+) web$", tree, re.M)}, set(have))
    top = ET.fromstring(topology(machine.path, "--svg", "-").out)
    owned = {e.get("id"): e.find(f"{SVG}title").text for e in top.iter(f"{SVG}g") if e.get("class") == "cpu owned"}
    same("and in the picture", owned, {f"cpu-{c}": f"cpu {c}, web" for c in have})
    os.unlink(machine.file("/proc/zoneinfo"))
    same("an option about columns means the table", topology(machine.path, "-n", "-P", "-o", "cpu,owner").out.splitlines(),
         [f'CPU="{c}" OWNER="{"web" if c in have else ""}"' for c in range(8)])
    same("of one node", [r["cpu"] for r in said(machine.path, "--table", "-N", "1")["cpus"]], [4, 5, 6, 7])
    same("the text of one node", re.findall(r"^node \d+", topology(machine.path, "-N", "1").out, re.M), ["node 1"])
    write(machine.path, f"{CPU}/present", "0-9\n")
    write(machine.path, f"{CPU}/possible", "0-15\n")
    rows = said(machine.path, "--table")["cpus"]
    same("CPUs that are present and offline", [(r["cpu"], r["node"]) for r in rows if not r["online"]], [(8, None), (9, None)])
    check("what can be added", "\nhotplug: CPUs 10-15 are possible\n" in topology(machine.path).out)


def check_usage(temp):
    machine = Machine(f"{temp}/usage", cpus=4)
    for words, says in ((["--table", "--tree"], "exclude each other"), (["--svg", "-", "--json"], "excludes --json"),
                        (["-o", "CPU,FOO"], '--output "FOO"'), (["-o", ""], "--output: "), (["-N", "x"], "--node"),
                        (["-N", "7"], "there is no node 7; the nodes are 0-1"), (["--firmware", "-o", "CPU"], "--output is for"),
                        (["--svg"], "requires an argument"),
                        (["extra"], "takes no argument")):
        result = topology(machine.path, *words)
        check(f"{words}", result.code == (1 if says.startswith("there") else 2) and says in result.err and
              not result.out, result)
    result = topology(machine.path, "--svg", "/nowhere/picture.svg")
    check("a picture that cannot be written", result.one_line() and "/nowhere/picture.svg" in result.err, result)
    same("--quiet prints nothing", topology(machine.path, "-q").out, "")


# --- the firmware --------------------------------------------------------------------------------


def table_with(data, at, byte):
    """The table with one byte changed, and the right checksum."""
    data = bytearray(data)
    data[at] = byte
    data[9] = 0
    data[9] = -sum(data) & 0xff
    return bytes(data)


def check_firmware(temp):
    root = captured(f"{temp}/firmware")
    result = topology(root, "--firmware")
    check("the kernel agrees with QEMU's tables", result.code == 0 and not result.err and
          "\nThe kernel agrees with what could be compared.\n" in result.out, result)
    slit, srat, hmat = (open(f"{root}{TABLES}/{t}", "rb").read() for t in ("SLIT", "SRAT", "HMAT"))
    for what, table, data, finding in (
            ("a distance", "SLIT", table_with(slit, 44 + 5, 22),
             "distance of node 1 to node 2: SLIT has 22 (domains 1 and 2), the kernel has 17"),
            ("a distance that cannot be", "SLIT", table_with(slit, 44 + 5, 3),
             "SLIT: domain 1 to domain 2 is 3, which is not possible: the kernel ignores all of the table"),
            ("a CPU", "SRAT", table_with(srat, 48 + 2, 1),
             "CPU 0: SRAT puts it in domain 1, which is node 1; the kernel has it on node 0"),
            ("a checksum", "SRAT", srat[:9] + bytes([srat[9] ^ 1]) + srat[10:], "SRAT: the checksum is wrong"),
            ("a table that is cut", "HMAT", hmat[:100], "HMAT cannot be used: HMAT: its length is 320")):
        root = captured(f"{temp}/firmware")
        write(root, f"{TABLES}/{table}", data)
        found = said(root, "--firmware")["findings"]
        check(f"{what} that is planted is found", [f for f in found if f.startswith(finding)], found)
        result = topology(root, "--firmware", "--quiet")
        same(f"{what}: exit status, quietly", (result.code, result.out, result.err), (4, "", ""))
    root = captured(f"{temp}/firmware")
    write(root, f"{NODE}/node2/access0/initiators/read_latency", "201\n")
    same("a latency of the kernel's", said(root, "--firmware")["findings"],
         ["read latency from node 1 to node 2: HMAT has 200, the kernel has 201"])
    root = captured(f"{temp}/firmware")
    os.rename(f"{root}{NODE}/node0/memory5", f"{root}{NODE}/node1/memory5")
    found = said(root, "--firmware")["findings"]
    check("memory that the kernel has elsewhere", [f for f in found if "1 of its memory blocks on other nodes" in f], found)
    root = captured(f"{temp}/firmware")
    for entry in os.listdir(f"{root}/sys/firmware/memmap"):
        if open(f"{root}/sys/firmware/memmap/{entry}/start", encoding="ascii").read() == "0x100000000\n":
            write(root, f"/sys/firmware/memmap/{entry}/end", "0x3bfffffff\n")
    same("RAM outside of SRAT", said(root, "--firmware")["findings"], ["the memory map has 1Gi of RAM that is not in SRAT"])


def check_hidden(temp):
    """Without the capabilities that let root read everything; others need none taken away."""
    root = captured(f"{temp}/hidden")
    for table in ("SRAT", "SLIT", "HMAT"):
        os.chmod(f"{root}{TABLES}/{table}", 0)
    argv = [NUMASTOW, "topology", "--sysroot", root, "--firmware"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            skip("tables that only root may read", "setpriv is not installed")
            return
        argv = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search", *argv]
    result = run(argv, "")
    same("one line says what needs root", (result.code, result.err),
         (0, "numastow: ACPI tables are not shown: only root can read /sys/firmware/acpi/tables\n"))
    check("the rest is shown", "SRAT: only root can read it" in result.out and "System RAM" in result.out and
          "\nNothing could be compared with the kernel.\n" in result.out, result.out)


MEASURED = "/var/lib/numastow/measure.json"


def check_measured(temp):
    """What `numastow measure --save` has kept is shown while the firmware is the same, and as far as that can be told."""
    root = captured(f"{temp}/measured")
    same("nothing was measured", (said(root)["measured"], {len(n["measured"]) for n in said(root)["nodes"]}), (None, {0}))
    about = {"machine": "ACME", "firmware": firmware_digest(root), "time": "2026-11-27T12:00:00Z", "virtualization": "hypervisor"}
    pairs = [{"from": 1, "to": 0, "latency_ns": 140.25, "latency_4k_ns": 200, "read_mbps": None, "read_write_mbps": None},
             {"from": 0, "to": 0, "latency_ns": None, "latency_4k_ns": 120.5, "read_mbps": 95000.4, "read_write_mbps": 1},
             {"from": 0, "to": 99, "latency_ns": 1, "latency_4k_ns": 1, "read_mbps": 1, "read_write_mbps": 1}]
    write(root, MEASURED, json.dumps({"version": "0.1.0", "measured": about, "pairs": pairs}))
    got = said(root)
    same("when, and that it holds", got["measured"], {"time": about["time"], "virtualization": "hypervisor", "same_firmware": True})
    same("of the first node, by the other node", got["nodes"][0]["measured"],
         [{k: v for k, v in pairs[i].items() if k != "to"} for i in (1, 0)])
    same("of the others", {len(n["measured"]) for n in got["nodes"][1:]}, {0})
    text = topology(root).out
    check("as text", "measured 2026-11-27T12:00:00Z, in a virtual machine\n" in text and
          "  measured    from 0: 120.5 ns (4 KiB pages), read 95000 MB/s  from 1: 140.2 ns\n" in text, text)
    same("only there", text.count("measured"), 2)
    if os.geteuid() == 0 and shutil.which("setpriv"):
        os.chmod(f"{root}{TABLES}/SLIT", 0)
        done = run(["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search", NUMASTOW, "topology", "--sysroot",
                    root, "--json"], "")
        same("without root it is not known whether it holds", json.loads(done.out)["measured"]["same_firmware"], None)
        os.chmod(f"{root}{TABLES}/SLIT", 0o600)
    write(root, "/sys/class/dmi/id/bios_version", "2.0\n")
    done = topology(root)
    check("of other firmware: not shown, and one line says so", done.code == 0 and "measured" not in done.out and
          done.err.count("\n") == 1 and "firmware has changed" in done.err, done)
    for what, content in (("no JSON", "{"), ("nothing", ""), ("another object", "{}"), ("a list", "[]"), ("no pairs", '{"measured": {}, "pairs": 1}'),
                          ("a pair of nothing", '{"measured": {}, "pairs": [1]}'), ("a pair without nodes", '{"measured": {}, "pairs": [{}]}'),
                          ("odd numbers", json.dumps({"measured": about, "pairs": [{"from": -1, "to": 1 << 40}]}))):
        write(root, MEASURED, content)
        done = topology(root)
        check(f"{what}: the rest is shown, and one line says why", done.code == 0 and "measured" not in done.out and
              done.err.count("\n") == 1 and MEASURED in done.err, done)


def check_damaged_ledger(temp):
    """What cannot be read is said; the rest is shown."""
    machine = Machine(f"{temp}/damaged", cpus=4)
    machine.container("web", {"numastow.io/cpus": "1", "numastow.io/cpu-mode": "exclusive"})
    same("web is placed", hook(machine, "apply", machine.state("web")).code, 0)
    with open(f"{machine.path}/run/numastow/ledger.db", "wb") as handle:
        handle.write(b"this is no database" * 1000)
    for words, lacking in ((["topology"], "grants are not shown"), (["topology", "--table"], "grants are not shown"),
                           (["show"], "containers are not shown"), (["doctor"], "grants are not examined")):
        result = run([NUMASTOW, words[0], "--sysroot", machine.path, *words[1:]], "")
        check(f"{' '.join(words)}: one line says that the ledger is damaged", result.code in (0, 4) and
              re.fullmatch(f"numastow: {lacking}: .*ledger.*\n", result.err), result)


def check_device_tree(temp):
    machine = Machine(f"{temp}/dt", cpus=4)
    root = machine.path

    def cells(path, *numbers):
        write(root, f"{DT}/{path}", struct.pack(f">{len(numbers)}I", *numbers))

    cells("#address-cells", 2)
    cells("#size-cells", 2)
    for cpu in range(4):
        cells(f"cpus/cpu@{cpu:x}00/numa-node-id", cpu // 2)
        os.symlink(f"../../../../firmware/devicetree/base/cpus/cpu@{cpu:x}00", machine.file(f"{CPU}/cpu{cpu}/of_node"))
    cells("memory@40000000/numa-node-id", 0)
    cells("memory@40000000/reg", 0, 0x40000000, 0, 0x40000000)
    cells("distance-map/distance-matrix", 0, 0, 10, 0, 1, 21, 1, 0, 21, 1, 1, 10)
    result = said(root, "--firmware")
    same("a device tree", (result["source"], result["findings"], result["compared"]), ("devicetree", [], True))
    same("its CPUs and domains", [(d["domain"], d["node"], d["cpus"], d["found_by"], d["memory"]) for d in result["domains"]],
         [(0, 0, "0-1", "cpu", 1 << 30), (1, 1, "2-3", "cpu", 0)])
    cells("distance-map/distance-matrix", 0, 1, 30)
    cells("cpus/cpu@100/numa-node-id", 1)
    result = topology(root, "--firmware")
    check("where the kernel disagrees with it", result.code == 4 and
          "the device tree has 30 (domains 0 and 1), the kernel has 21" in result.out and
          "CPU 1: the device tree puts it in domain 1" in result.out, result)


# --- odd trees -------------------------------------------------------------------------------------


def check_odd(temp):
    """Each kind of file missing, empty, garbage: every view ends as it should, with one line at most."""
    root = captured(f"{temp}/odd")
    kinds = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                kinds.setdefault(re.sub(r"\d+", "N", path[len(root):]), path)
    views = (["--firmware", "-J"], ["--tree"], ["--svg", "-"])
    wrong = []
    for path in sorted(kinds.values()):
        with open(path, "rb") as handle:
            before = handle.read()
        for data in (None, b"", b"\xff\x00rubbish\n"):
            os.unlink(path)
            if data is not None:
                with open(path, "wb") as handle:
                    handle.write(data)
            for words in views:
                result = subprocess.run([NUMASTOW, "topology", "--sysroot", root, *words], capture_output=True,
                                        check=False, timeout=600)
                lines = result.stderr.count(b"\n")
                if result.returncode not in (0, 1, 4) or lines > 1 or (result.returncode == 1) > (lines == 1):
                    wrong.append((path[len(root):], data, words, result.returncode, result.stderr))
            if not os.path.exists(path):
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        with open(path, "wb") as handle:
            handle.write(before)
    check(f"{len(kinds)} kinds of files", len(kinds) > 50, sorted(kinds))
    same("missing, empty or garbage: no crash, and at most one line", wrong, [])
    same("the tree is whole again", topology(root, "--firmware").code, 0)


def make_large(root, nodes, cpus):
    """As few files as tell the topology."""
    each = cpus // nodes
    write(root, f"{CPU}/online", f"0-{cpus - 1}\n")
    write(root, f"{NODE}/online", f"0-{nodes - 1}\n")
    for n in range(nodes):
        here = range(n * each, (n + 1) * each)
        write(root, f"{NODE}/node{n}/cpulist", as_list(here) + "\n")
        write(root, f"{NODE}/node{n}/meminfo", f"Node {n} MemTotal: 1048576 kB\nNode {n} MemFree: 1048576 kB\n")
        write(root, f"{NODE}/node{n}/distance", " ".join(
            "10" if m == n else "12" if m // 4 == n // 4 else "20" for m in range(nodes)) + "\n")
        for cpu in here:
            write(root, f"{CPU}/cpu{cpu}/topology/core_cpus_list", as_list({cpu, cpu ^ 1}) + "\n")
            write(root, f"{CPU}/cpu{cpu}/topology/package_cpus_list", as_list(range(n // 2 * 2 * each, (n // 2 + 1) * 2 * each)) + "\n")
            write(root, f"{CPU}/cpu{cpu}/cache/index0/shared_cpu_list", as_list(here) + "\n")
            write(root, f"{CPU}/cpu{cpu}/cache/index0/type", "Unified\n")


def check_large(temp):
    root = f"{temp}/large"
    make_large(root, 1024, 4096)
    rows = said(root, "--table")["cpus"]
    same("4,096 CPUs on 1,024 nodes", [(r["cpu"], r["node"], r["socket"], r["core"], r["llc"]) for r in rows],
         [(c, c // 4, c // 8, c // 2, c // 4) for c in range(4096)])
    text = topology(root).out
    check("as text", "\n2 nodes per package\n" in text and text.count("\nnode ") == 1024, text[:300])
    kinds = topology(root, "--tree", "-nr", "-o", "KIND").out.split()
    same("as a tree", {k: kinds.count(k) for k in set(kinds)},
         {"machine": 1, "package": 512, "node": 1024, "cache": 1024, "core": 2048, "cpu": 4096})
    same("as a picture", svg_faults(topology(root, "--svg", "-").out), [])
    shutil.rmtree(root)


def check_svg(temp):
    for nodes, cpus in ((1, 4), (2, 16), (8, 128), (64, 512)):
        root = f"{temp}/svg"
        shutil.rmtree(root, ignore_errors=True)
        make_large(root, nodes, cpus)
        picture = f"{temp}/{nodes}.svg"
        result = topology(root, "--svg", picture)
        check(f"{nodes} nodes: the picture is written", result.code == 0 and not result.out and not result.err, result)
        with open(picture, encoding="ascii") as handle:
            text = handle.read()
        same(f"{nodes} nodes: nothing is wrong with it", svg_faults(text), [])
        top = ET.fromstring(text)
        same(f"{nodes} nodes: nodes, CPUs, distances",
             [sum((e.get("class") or "") == kind for e in top.iter()) for kind in ("node", "cpu", "distance")],
             [nodes, cpus, nodes * nodes if nodes > 1 else 0])
        # What is said is said without colours: only grey, and no text in any.
        same(f"{nodes} nodes: colours", {e.get(k) for e in top.iter() for k in ("fill", "stroke") if e.get(k)} -
             {"black", "white", "none", "#f4f4f4", "#dddddd"}, set())
        write(root, f"{NODE}/node0/meminfo", "Node 0 MemTotal: 1048576 kB\nNode 0 MemFree: 77 kB\n")
        same(f"{nodes} nodes: free memory is not in it", topology(root, "--svg", "-").out, text)


with Temp() as where:
    check_owners(where)
    check_usage(where)
    check_firmware(where)
    check_hidden(where)
    check_measured(where)
    check_damaged_ledger(where)
    check_device_tree(where)
    check_odd(where)
    check_svg(where)
    check_large(where)
finish()
