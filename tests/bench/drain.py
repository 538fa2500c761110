# SPDX-License-Identifier: Apache-2.0
"""Drains, and moving programs, against chmem and migratepages; for `run`.

In a virtual machine (drain-vm.sh): few machines have several NUMA nodes and memory to take out. It
takes minutes: results are written to build/bench-drain.tsv at once.
"""
import os
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
RAW = os.path.join(HERE, "../../build/bench-drain.tsv")
NAMES = {"numastow": "numastow repin", "migratepages": "migratepages",
         "cpuset": "a write to cpuset.mems"}
# What comes to an end with these steps of a drain.
STEPS = [("planned", "plan"), ("fenced", "enter it, fence"), ("offlining", "plan again"),
         ("returning", "blocks offline"), ("safe", "pages home"), ("done", "end")]


def seconds(us):
    return f"{us / 1e6:.2f} s"


def spread(us):
    """Median, lowest, highest; the empty cells of nothing."""
    if not us:
        return ["", "", ""]
    return [seconds(statistics.median(us)), seconds(min(us)), seconds(max(us))]


def ratio(ours, theirs, name):
    if not ours or not theirs or not statistics.median(theirs):
        return ""
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}x {name}"


def show_drains(rows, say, table):
    used = [int(row[4]) for row in rows if row[0] == "drain"]
    if not used:
        return
    took = {tool: [int(row[3]) for row in rows if row[:3] == ["drain", tool, "success"]]
            for tool in ("numastow", "chmem")}
    tried = {tool: sum(row[:2] == ["drain", tool] for row in rows) for tool in took}
    # Of drains that have come to their end: when they came to which step first.
    drains = {}
    for row in rows:
        if row[0] == "step":
            drains.setdefault(row[1], {}).setdefault(row[2], int(row[3]))
    drains = [at for at in drains.values() if "done" in at]
    offline = [at["returning"] for at in drains]

    say(f"A DIMM of 1 GiB, {min(used)} to {max(used)} MiB of it in use, taken off a busy machine, in turn")
    rows = [["", "tried", "succeeded", "median", "lowest", "highest", "ratio"]]
    for name, tool, us in (("numastow drain", "numastow", took["numastow"]),
                           ("  until all is offline", "numastow", offline),
                           ("chmem -d", "chmem", took["chmem"])):
        rows.append([name, tried[tool], len(us), *spread(us),
                     "" if tool == "chmem" else ratio(us, took["chmem"], "chmem")])
    table(rows)

    rows, before = [["  of a drain", "median", "lowest", "highest"]], [0] * len(drains)
    for step, name in STEPS:
        at = [drain.get(step, was) for drain, was in zip(drains, before)]
        rows.append(["  " + name, *spread([now - was for now, was in zip(at, before)])])
        before = at
    table(rows)


def show_moves(rows, say, table):
    moves = {tool: [[int(n) for n in row[2:]] for row in rows if row[:2] == ["move", tool]]
             for tool in NAMES}
    if not all(moves.values()):
        return
    rest = [int(row[2]) for row in rows if row[0] == "rest"]
    theirs = moves["migratepages"]
    mib = statistics.median(row[0] for row in theirs) / 1024
    say(f"A program that uses {mib:.0f} MiB all the time, moved to another NUMA node ({len(theirs)} times each, in turn)")
    rows = [["", "moved", "median", "lowest", "highest", "MiB/s", "ratio", "longest pause", "highest",
             "ratio"]]

    def row(name, found, at):
        us, pauses = [move[at] for move in found], [move[2] for move in found]
        kib = statistics.median(move[0] for move in found)
        rate = [1 / n for n in us]
        known = [1 / move[1] for move in theirs]
        other = found is not theirs
        rows.append([name, f"{kib / 1024:.0f} MiB", *spread(us),
                     f"{kib / 1024 / statistics.median(us) * 1e6:.0f}",
                     ratio(rate, known, "migratepages") if other else "",
                     *spread(pauses)[::2],
                     ratio(pauses, [move[2] for move in theirs], "migratepages") if other else ""])

    row(NAMES["numastow"], moves["numastow"], 1)
    row("  from widened to narrowed", moves["numastow"], 3)
    row(NAMES["migratepages"], theirs, 1)
    row(NAMES["cpuset"], moves["cpuset"], 1)
    if rest:
        rows.append(["nobody moves it", *[""] * 6, *spread(rest)[::2], ""])
    table(rows)


def measure_drain(rounds, say, table):
    missing = [tool for tool in ("qemu-system-x86_64", "chmem", "migratepages", "runc", "jq")
               if not shutil.which(tool)]
    if missing:
        say(f"Memory that leaves a machine: skipped, no {', '.join(missing)} here\n")
        return
    rows = []
    os.makedirs(os.path.dirname(RAW), exist_ok=True)
    with open(RAW, "w", encoding="utf-8") as raw, \
            subprocess.Popen([os.path.join(HERE, "drain-vm.sh"), str(rounds)], text=True,
                             stdout=subprocess.PIPE) as vm:
        for line in vm.stdout:
            if "\t" in line:
                rows.append(line.rstrip("\n").split("\t"))
                print(line, end="", file=raw, flush=True)
            else:
                print(line, end="", file=sys.stderr)
    if vm.returncode:
        say(f"Memory that leaves a machine: the virtual machine ended with {vm.returncode};"
            " what it had measured:\n")
    show_moves(rows, say, table)
    show_drains(rows, say, table)
