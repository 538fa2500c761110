# SPDX-License-Identifier: Apache-2.0
"""The commands that show what the kernel has, beside the programs that they replace, on this machine's own files."""
import os
import shutil
import subprocess
import sys

HOLDER = "x = [bytes(4096) for _ in range(20000)]; print('x', flush=True); import sys; sys.stdin.read()"


def measure_kernel_view(cli, runs, times, head, say, table):
    """`times` and `head` are those of tests/bench/run."""
    if not os.path.isdir("/sys/devices/system/node/node0"):
        say("stat and zones: skipped, this kernel knows no nodes\n")
        return
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        pid = str(process.pid)
        pairs = [(["stat"], ["numastat"], "<= 1x"),
                 (["stat", "--meminfo"], ["numastat", "-m"], "<= 1x"),
                 (["stat", pid], ["numastat", "-p", pid], "<= 1x"),
                 (["zones"], ["cat", "/proc/zoneinfo", "/proc/buddyinfo"], "<= 1x"),
                 (["zones", "--json"], ["cat", "/proc/zoneinfo", "/proc/buddyinfo"], "<= 1x"),
                 (["show", pid], ["hwloc-ps", "--pid", pid], "<= 1x"),
                 (["blocks"], ["lsmem", "--all"], "<= 1x"),
                 (["topology"], ["numactl", "-H"], "<= 1x"),
                 (["topology"], ["lstopo-no-graphics"], "<= 1x"),
                 (["topology", "--table"], ["lscpu", "--extended"], "<= 1x")]
        jobs, known = [], []
        for ours, theirs, wanted in pairs:
            if not shutil.which(theirs[0]):
                say(f"{theirs[0]}: not installed, skipped\n")
                continue
            names = [" ".join(w if w != str(process.pid) else "PID" for w in words) for words in (["numastow", *ours], theirs)]
            known.append((*names, wanted))
            if names[0] not in [job[0] for job in jobs]:
                jobs.append((names[0], "/dev/null", "", [cli, *ours]))
            if names[1] not in [job[0] for job in jobs]:
                jobs.append((names[1], "/dev/null", "", [shutil.which(theirs[0]), *theirs[1:]]))
        say(f"What the kernel has, as text ({runs} runs each, in turn)")
        found = times(runs, jobs)
        process.kill()
    rows, shown = [head], set()
    for ours, theirs, wanted in known:
        row = found[ours].row(found[ours].beside(found[theirs], theirs.split()[0]), wanted)
        # A command with several peers: its own figures once.
        rows.append(row if ours not in shown else [ours, *[""] * (len(head) - 3), *row[-2:]])
        shown.add(ours)
        if theirs not in shown:
            rows.append(found[theirs].row())
            shown.add(theirs)
    table(rows)
    say("topology also reads caches, devices, memory blocks and the ledger; numactl -H reads none of these, "
        "lstopo the first two. zones also reads settings and kernel threads, and computes; cat reads its two files.\n")
