#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copied trees that are not as a kernel makes them: FIFOs in place of files, files that are missing,
files that make no sense, more nodes than a screen is wide for."""
import json
import os
import re
import shutil
import subprocess

from harness import BUILD, GIB, Machine, Temp, add_memory, check, finish, hook, run, same

NUMASTOW = os.path.join(BUILD, "numastow")
NODE = "/sys/devices/system/node"
CPU = "/sys/devices/system/cpu"
COMMANDS = (["topology"], ["topology", "--json"], ["explain", "cpus=2", "memory=1Gi", "hugepages-2Mi=4Mi",
                                                   "cpu-mode=exclusive"],
            ["explain", "cpus=1", "near=eth0"], ["blocks"], ["ledger"])
AFTER = (["zones"], ["stat"], ["hugepages"], ["settings"], ["show"], ["doctor"], ["status"], ["config", "check"])


def numastow(machine, *words):
    return run([NUMASTOW, *words[:1], "--sysroot", machine.path, *words[1:]], "")


def files(machine):
    """One file of each kind: numbers in a path tell CPUs, nodes and processes from each other."""
    kinds = {}
    for folder, _, names in os.walk(machine.path):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                kinds.setdefault(re.sub(r"\d+", "N", path[len(machine.path):]), path)
    return sorted(kinds.values())


def with_device(machine):
    nic = "/sys/devices/pci0000:00/0000:00:03.0"
    machine.write(f"{nic}/class", "0x020000\n")
    machine.write(f"{nic}/numa_node", "1\n")
    os.makedirs(machine.file("/sys/bus/pci/devices"))
    os.makedirs(machine.file("/sys/class/net"))
    os.makedirs(machine.file(f"{nic}/net/eth0"))
    os.symlink("../../../devices/pci0000:00/0000:00:03.0",
               machine.file("/sys/bus/pci/devices/0000:00:03.0"))
    os.symlink("../../devices/pci0000:00/0000:00:03.0/net/eth0", machine.file("/sys/class/net/eth0"))
    machine.write("/sys/devices/system/memory/block_size_bytes", "8000000\n")
    machine.write("/sys/devices/system/memory/memory0/state", "online\n")
    machine.write("/sys/devices/system/memory/memory0/valid_zones", "Normal\n")


def check_fifos(temp):
    """What waits for a FIFO is found by run(), which gives up on it after a minute."""
    machine = Machine(f"{temp}/fifos", cpus=4)
    with_device(machine)
    machine.write("/var/lib/kubelet/cpu_manager_state", "{}")
    machine.write("/etc/numastow/config.yaml", "{}\n")
    machine.container("web", annotations={"numastow.io/cpus": "1"})
    result = hook(machine, "apply", machine.state("web"))
    check("a container is placed", result.code == 0, str(result))
    commands = [(c, numastow(machine, *c).code) for c in COMMANDS]
    same("every command works or refuses before there is any FIFO", [c for _, c in commands if c not in (0, 1, 3)], [])
    stuck, rude, silent = [], [], []
    for path in files(machine):
        aside = f"{temp}/aside"
        os.rename(path, aside)
        os.mkfifo(path)
        for words, before in commands:
            try:
                result = numastow(machine, *words)
            except subprocess.TimeoutExpired:
                stuck.append((words, path))
                break
            if result.code not in (0, 1, 3) or result.err.count("\n") > 1:
                rude.append((words, path, result))
            elif words[0] in ("topology", "explain") and path.startswith(machine.file("/sys/devices")) and \
                    before == 0 and result.code == 1 and f"/{os.path.basename(path)} " not in result.err:
                silent.append((words, path, result.err))
        if path.startswith((machine.file("/etc"), machine.file("/proc"))):
            for words in AFTER:
                try:
                    numastow(machine, *words)
                except subprocess.TimeoutExpired:
                    stuck.append((words, path))
        os.unlink(path)
        os.rename(aside, path)
    same("no FIFO holds any command", stuck, [])
    same("all end with 0, or with 1 and one line", rude, [])
    same("that line names the file", silent, [])
    try:
        os.rename(machine.file(f"{NODE}/node0/cpulist"), f"{temp}/aside")
        os.mkfifo(machine.file(f"{NODE}/node0/cpulist"))
        machine.container("next", annotations={"numastow.io/cpus": "1"})
        result = hook(machine, "apply", machine.state("next"))
        check("nor the hook", result.one_line() and "not a regular file" in result.err, str(result))
    except subprocess.TimeoutExpired:
        check("nor the hook", False, "it waits for ever")


# What a terminal would act on: control characters and what is not UTF-8.
WILD = re.compile(rb"[\0-\x08\x0b-\x1f\x7f\xff]|\xc2\x9b")
ESCAPE = b"\x1b[31m\xc2\x9b\xff"
SHOWN = (["topology"], ["topology", "--tree"], ["topology", "--table"], ["blocks"], ["zones"], ["stat", "--meminfo"], ["hugepages"],
         ["settings", "--all"], ["show"], ["doctor"], ["status"], ["why"], ["drain", "--explain", "48"])


def check_escapes(temp):
    """Bytes that a terminal acts on, at the end of a file's first line, or in the name of an interface: never printed."""
    machine = Machine(f"{temp}/escapes", cpus=4)
    add_memory(machine)
    with_device(machine)
    machine.container("web", annotations={"numastow.io/cpus": "1"})
    check("a container is placed there", hook(machine, "apply", machine.state("web")).code == 0)
    pid = machine.containers["web"]["pid"]
    for where in (f"/proc/{pid}", f"/proc/{pid}/task/{pid}"):
        machine.write(f"{where}/comm", "web\n")
        machine.write(f"{where}/status", "Name:\tweb\nCpus_allowed_list:\t0\nMems_allowed_list:\t0-1\n")
        machine.write(f"{where}/numa_maps", "7ffe default stack anon=3 N0=3 kernelpagesize_kB=4\n")
    wild = []

    def look(what, commands):
        for words in commands:
            done = subprocess.run([NUMASTOW, words[0], "--sysroot", machine.path, *words[1:]], capture_output=True, check=False,
                                  stdin=subprocess.DEVNULL, timeout=300)
            found = WILD.search(done.stdout + done.stderr)
            if found or done.returncode < 0:
                wild.append((what, words, done.returncode, (done.stdout + done.stderr)[max(0, found.start() - 40):][:80] if found else ""))
    paths = [p for p in files(machine) if "ledger" not in p]
    for path in paths:
        with open(path, "rb") as handle:
            before = handle.read()
        with open(path, "wb") as handle:
            handle.write(before.replace(b"\n", ESCAPE + b"\n", 1) if b"\n" in before else before + ESCAPE)
        look(path[len(machine.path):], SHOWN)
        with open(path, "wb") as handle:
            handle.write(before)
    os.rename(machine.file("/sys/class/net/eth0"), os.fsencode(machine.file("/sys/class/net/e")) + ESCAPE)
    look("an interface's name", SHOWN)
    check("many kinds of files", len(paths) > 50, paths)
    same("nothing that a terminal acts on is printed", wild, [])
    done = subprocess.run([NUMASTOW, "topology", "--sysroot", machine.path], capture_output=True, check=False)
    check("and the interface is shown", b"network e?[31m" in done.stdout, done)


def topology(machine):
    return numastow(machine, "topology").out, json.loads(numastow(machine, "topology", "--json").out)


def check_assumed(temp):
    machine = Machine(f"{temp}/assumed", cpus=8, llc=2)
    text, said = topology(machine)
    check("nothing is assumed of a whole tree", "assumed" not in text and "unknown" not in text, text)
    same("nor in JSON", [said["assumed"], [n["assumed"] for n in said["nodes"]]], [[], [[], []]])
    for path in (f"{NODE}/node1/distance", f"{NODE}/node1/meminfo", "/proc/zoneinfo"):
        os.unlink(machine.file(path))
    text, said = topology(machine)
    check("distances, memory and what is available of it are marked",
          "distances (from 1: assumed)" in text and "memory      unknown" in text and
          "15Gi available (assumed), unknown of node 1" in text, text)
    same("in JSON, too", [said["assumed"], [n["assumed"] for n in said["nodes"]]],
         [["memory", "available", "distances"], [["available"], ["memory", "available", "distances"]]])
    known, unknown = said["nodes"][0]["memory"], dict.fromkeys(("total", "free", "available"))
    check("memory that is not known is null, and so is the sum", known["total"] and
          [said["memory"], said["nodes"][1]["memory"]] == [unknown] * 2, said)
    result = numastow(machine, "explain", "cpus=1", "memory=1Gi", "nodes=1")
    check("explain says that memory is unknown", "node 1    its memory is unknown" in result.out, result.out)
    for cpu in range(8):
        run(["rm", "-r", machine.file(f"{CPU}/cpu{cpu}")], "")
    for node in (0, 1):
        for name in ("meminfo", "distance"):
            run(["rm", "-f", machine.file(f"{NODE}/node{node}/{name}")], "")
    os.unlink(machine.file("/proc/meminfo"))
    text, said = topology(machine)
    check("cores and packages are marked",
          "1 package (assumed), 8 cores (assumed), 8 CPUs, memory unknown" in text, text)
    check("and all distances", "distances (assumed)" in text, text)
    same("caches are in JSON", said["nodes"][0]["assumed"],
         ["cores", "caches", "packages", "memory", "available", "distances"])
    result = numastow(machine, "explain", "cpus=8", "policy=best-effort")
    check("a plan that rests on assumed distances says so", "distance up to 20 (assumed)" in result.out,
          result.out)


def check_unreadable(temp):
    for path in (f"{NODE}/node1/cpulist", f"{CPU}/cpu0/cache/index3/shared_cpu_list",
                 f"{NODE}/node0/distance"):
        machine = Machine(f"{temp}/unreadable", cpus=8)
        machine.write(path, "rubbish\n")
        for words in (["topology"], ["explain", "cpus=1", "cpu-mode=exclusive"]):
            result = numastow(machine, *words)
            check(f"{words[0]} names {path}", result.one_line() and path in result.err, str(result))
    machine = Machine(f"{temp}/unreadable", cpus=8)
    machine.write(f"{CPU}/online", "0-7" + ",0" * 10000 + "\n")
    result = numastow(machine, "topology")
    check("a file that is too long is said to be so",
          result.one_line() and f"{CPU}/online is longer than" in result.err, str(result))


def check_without(temp):
    """Without /sys or /proc: one line says so, and nothing is shown that was not read."""
    for lacks, found in (("sys", "/sys/devices/system/cpu has no CPU"), ("proc", "/proc")):
        machine = Machine(f"{temp}/no-{lacks}", cpus=4, memory=GIB)
        shutil.rmtree(machine.file(f"/{lacks}"))
        for words in ([["topology"], ["topology", "--json"], ["topology", "--table"], ["topology", "--tree"], ["topology", "--svg", "/dev/null"],
                       ["topology", "--firmware"], ["explain", "cpus=1"]] if lacks == "sys" else [["show"], ["zones"], ["stat", "x"]]):
            done = numastow(machine, *words)
            check(f"no /{lacks}: {' '.join(words)}", done.one_line() and found in done.err and not done.out, done)
        done = numastow(machine, "settings", "--json")
        states = {s["name"]: (s["state"], s["reason"]) for s in json.loads(done.out)["settings"]}
        name = "swappiness" if lacks == "proc" else "transparent_hugepage/enabled"
        same(f"no /{lacks}: whether the kernel has a setting is unknown", states[name],
             ("hidden", f"{'/proc/sys' if lacks == 'proc' else '/sys'} is not there"))


def put_counters(machine, nodes):
    for node, hits in nodes.items():
        machine.write(f"{NODE}/node{node}/numastat", f"numa_hit {hits}\nnuma_miss 5\n")


def check_backward(temp):
    """A counter that runs backward has no rate, and a node that goes does not have its successor's."""
    machine = Machine(f"{temp}/backward", nodes=3, cpus=6, memory=GIB)
    put_counters(machine, {0: 100, 1: 1000000, 2: 5000000})
    with subprocess.Popen([NUMASTOW, "stat", "--sysroot", machine.path, "--json", "--watch=100ms"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as program:
        def rates(wanted):
            """The rates of hits by node, when such nodes are first shown with rates; None: they are not."""
            text, left = "", 200
            while left and (line := program.stdout.readline()):
                text += line
                if line == "}\n":
                    said, text, left = json.loads(text), "", left - 1
                    found = {n["node"]: n.get("per_second", {}).get("numa_hit") for n in said["nodes"]}
                    if wanted(said, found):
                        return found
            return None
        check("rates", rates(lambda _, found: found == {0: 0, 1: 0, 2: 0}) is not None)
        put_counters(machine, {0: 10})
        check("a counter that ran backward has no rate", rates(lambda _, found: found == {0: None, 1: 0, 2: 0}) is not None)
        machine.write(f"{NODE}/online", "0,2\n")
        shutil.rmtree(machine.file(f"{NODE}/node1"))
        same("a node that is left has its own rates", rates(lambda said, _: len(said["nodes"]) == 2), {0: 0, 2: 0})
        program.terminate()


def check_no_tree():
    for command in COMMANDS:
        result = run([NUMASTOW, command[0], "--sysroot", "/nowhere", *command[1:]], "")
        check(f"{' '.join(command)} of a tree that is not there",
              result.one_line() and "/nowhere" in result.err, str(result))


def apart(text):
    """The distances in the text, {(from, to): distance}, whichever way they are written."""
    lines = text[text.index("\ndistances"):].splitlines()[2:]
    numbers, distances = (lambda t: [int(i) for p in t.split(",") for i in range(
        int(p.split("-")[0]), int(p.split("-")[-1]) + 1)]), {}
    if "from\\to" in lines[0]:
        columns = [numbers(c) for c in lines[0].split()[1:]]
        for row in lines[1:]:
            label, *cells = row.split()
            for column, cell in zip(columns, cells):
                own, _, other = cell.partition("/")
                distances.update({(a, b): int(own if a == b or not other else other)
                                  for a in numbers(label) for b in column})
        return distances
    for row in re.sub(r"\n {8,}", "  ", "\n".join(lines)).splitlines():
        label, *parts = re.split(r"  +", row.strip())
        for a in numbers(label.removeprefix("from ")):
            for part in parts:
                d, to = part.split(": ")
                distances.update({(a, b): int(d) for b in ([a] if to == "itself" else numbers(to))
                                  if b != a or to == "itself"})
    return distances


def check_many_nodes(temp):
    def boards(a, b):
        return 10 if a == b else 12 if a // 4 == b // 4 else 20 + abs(a // 4 - b // 4)

    def ring(a, b):
        return 10 if a == b else 11 + min(abs(a - b), 40 - abs(a - b))

    def flat(a, b):
        return 10 if a == b else 20

    def one_way(a, b):
        return 10 if a == b else 30 if (a, b) == (5, 6) else 20

    for what, n, distance, joined in (("few nodes", 8, boards, False), ("boards of four", 40, boards, True),
                                      ("a ring", 40, ring, False), ("all alike", 100, flat, True),
                                      ("one that is not", 40, one_way, True)):
        machine = Machine(f"{temp}/many", nodes=n, cpus=n, threads=1, llc=1, memory=GIB, pools={})
        for i in range(n):
            machine.write(f"{NODE}/node{i}/distance", " ".join(str(distance(i, j)) for j in range(n)) + "\n")
        text, _ = topology(machine)
        table = text[text.index("\ndistances"):]
        same(f"{what}: every distance can be told", apart(text),
             {(i, j): distance(i, j) for i in range(n) for j in range(n)})
        check(f"{what}: fits a screen", max(map(len, table.splitlines())) <= 110, table)
        same(f"{what}: like neighbours are joined", bool(re.search(r"^ +\d+-\d+ ", table, re.M)), joined)
    machine = Machine(f"{temp}/many", nodes=64, cpus=256, memory=GIB, pools={})
    text = numastow(machine, "explain", "cpus=5").out
    check("explain says of all nodes in one line what they have",
          "\nnodes 0-63 each 4 of 4 CPUs free\n" in text and text.count("\nnode") == 1, text)


with Temp() as where:
    check_fifos(where)
    check_escapes(where)
    check_assumed(where)
    check_unreadable(where)
    check_no_tree()
    check_without(where)
    check_backward(where)
    check_many_nodes(where)
finish()
