# SPDX-License-Identifier: Apache-2.0
"""Starting a program with `numastow run`, against systemd-run --scope and cgexec; for `run`.

In virtual machines (run-vm.sh), one with systemd and cgroup v2 and one with cgroup v1: few machines have both, and not
every one has a NUMA node to run on.
"""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
# The program that does the same, by the version of the cgroups. cgexec alone only enters a group that is there.
PEERS = {"v2": ["systemd-run --scope"], "v1": ["cgexec", "cgcreate, cgset, cgexec, cgdelete"]}
SHAPES = {"v2": "v2-systemd", "v1": "v1"}


def measure_version(version, runs, result, head, say, table):
    """`result` and `head` are those of tests/bench/run."""
    found = {}
    with subprocess.Popen([os.path.join(HERE, "run-vm.sh"), str(runs)], text=True, stdout=subprocess.PIPE,
                          env=dict(os.environ, SHAPES=SHAPES[version])) as vm:
        for line in vm.stdout:
            if line.startswith(version + "\t"):
                one = result(line.rstrip("\n").split("\t", 1)[1])
                found[one.name] = one
            else:
                print(line, end="", file=sys.stderr)
    peers = [name for name in PEERS[version] if name in found]
    if vm.returncode or not peers:
        say(f"A program's start, cgroup {version}: skipped, the virtual machine ended with {vm.returncode}\n")
        return
    say(f"A program's start, cgroup {version}, in a virtual machine ({runs} runs each, in turn)")
    rows = [head, found["empty program"].row()]
    for name in peers:
        rows.append(found[name].row())
    for name in ("numastow run", "numastow run --exclusive"):
        for i, peer in enumerate(peers):
            row = found[name].row(found[name].beside(found[peer], peer.split()[0].rstrip(",")),
                                  "<= 1x" if name == "numastow run" else "")
            rows.append(row if i == 0 else ["", *[""] * (len(head) - 3), *row[-2:]])
    table(rows)


def measure_programs(runs, result, head, say, table):
    for version, peers in PEERS.items():
        missing = [tool for tool in ("qemu-system-x86_64", peers[0].split()[0]) if not shutil.which(tool)]
        if missing:
            say(f"A program's start, cgroup {version}: skipped, no {', '.join(missing)} here\n")
            continue
        measure_version(version, runs, result, head, say, table)
