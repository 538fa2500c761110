#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow show: on this machine beside what the kernel's files have, on a simulated machine beside the ledger's promises, and
on odd trees."""
import json
import os
import signal
import subprocess

from harness import BUILD, Machine, Temp, as_list, check, eventually, finish, hook, parse_list, run, same

NUMASTOW = os.path.join(BUILD, "numastow")


def show(*words):
    return run([NUMASTOW, "show", *words], "")


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
        return next(line.split(":", 1)[1].strip() for line in handle if line.startswith(key + ":"))


def one(*words):
    done = show("--json", *words)
    check(f"show {' '.join(words)}", done.code in (0, 4), done)
    return json.loads(done.out)["processes"]


def show_one(pid):
    return json.loads(show("--json", str(pid)).out)["processes"][0]


def numa_maps(pid):
    with open(f"/proc/{pid}/numa_maps", encoding="utf-8") as handle:
        return handle.read().splitlines()


def pages_of(maps):
    """{node: bytes}"""
    nodes = {}
    for line in maps:
        words = dict(w.split("=", 1) for w in line.split() if "=" in w)
        size = int(words.get("kernelpagesize_kB", 4)) << 10
        for key, value in words.items():
            if key[0] == "N" and key[1:].isdigit():
                nodes[int(key[1:])] = nodes.get(int(key[1:]), 0) + int(value) * size
    return nodes


def on_this_machine():
    """A process of ours that is bound to one CPU, beside a plain reading."""
    cpu = min(os.sched_getaffinity(0))
    child = subprocess.Popen(["taskset", "-c", str(cpu), "sh", "-c", "echo; read x"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    child.stdout.readline()
    pid = child.pid
    os.kill(pid, signal.SIGSTOP)  # what it does after its line would take pages
    found = one(str(pid))
    same("one process", [p["pid"] for p in found], [pid])
    thread = found[0]["threads"][0]
    same("its CPUs", parse_list(thread["cpus"]), {cpu})
    same("its nodes", parse_list(thread["mems"]), parse_list(status(pid, "Mems_allowed_list")))
    same("its name", thread["name"], status(pid, "Name"))
    same("where it ran", thread["cpu"], cpu)
    maps = numa_maps(pid)
    stack = [line.split()[1] for line in maps if " stack" in line]
    same("its policy, and from which mapping", [thread["policy"], thread["policy_from"]], [stack[0], "stack"])
    # The kernel may move or take a page between two readings.
    check("its pages", eventually(lambda: pages_of(numa_maps(pid)) ==
                                  {n["node"]: n["bytes"] for n in show_one(pid)["pages"]}), (show_one(pid)["pages"], numa_maps(pid)))
    listed = one()
    restricted = len(os.sched_getaffinity(0)) > 1 or pid in [p["pid"] for p in listed]
    check("it is among the restricted ones", not restricted or pid in [p["pid"] for p in listed] or
          os.cpu_count() == 1, [p["pid"] for p in listed])
    text = show(str(pid))
    check("as text", text.code == 0 and f"process {pid}, sh" in text.out and "POLICY" in text.out, text)
    raw = show("--raw", "--noheadings", "--output", "TID,CPUS", str(pid))
    same("raw, with two columns", raw.out.split(), [str(pid), str(cpu)])
    os.kill(pid, signal.SIGCONT)
    child.communicate(b"x\n")
    done = show(str(pid))
    check("a process that has ended: one line", done.one_line() and str(pid) in done.err, done)


def on_a_simulated_machine(folder):
    machine = Machine(f"{folder}/machine")
    machine.container("db", {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive", "numastow.io/nodes": "1"})

    def thread(allowed, node):
        task = f"/proc/{pid}/task/{pid}"
        machine.write(f"{task}/status", f"Name:\tdb\nCpus_allowed_list:\t{as_list(allowed)}\nMems_allowed_list:\t1\n")
        machine.write(f"{task}/stat", machine.read(f"/proc/{pid}/stat") + "\n")
        maps = f"7f00 interleave:0-1 anon=1 N{node}=1 kernelpagesize_kB=4\n7ffe bind:1 stack anon=3 N{node}=3 kernelpagesize_kB=4\n"
        machine.write(f"{task}/numa_maps", maps)
        machine.write(f"/proc/{pid}/numa_maps", maps)
        done = show("--sysroot", machine.path, "--json", "db")
        return done.code, json.loads(done.out)["processes"][0]

    check("there is no last container", (done := show("--sysroot", machine.path, "--last")).one_line() and
          "no container has a grant" in done.err, done)
    check("a container is placed", hook(machine, "apply", machine.state("db")).code == 0)
    pid, cpus = machine.containers["db"]["pid"], machine.cpuset("db")
    code, found = thread(cpus, 1)
    last = json.loads(show("--sysroot", machine.path, "--json", "--last").out)["processes"]
    same("the last container", last, [found])
    done = show("--sysroot", machine.path, "--last", "db")
    check("the last, and another", done.code == 2 and not done.out and "exclude" in done.err, done)
    same("by a container's name: what it was promised", [parse_list(found["promised_cpus"]), found["promised_mems"]], [cpus, "1"])
    same("it is in place", [code, found["in_place"], found["container"]], [0, True, "db"])
    same("the policy is the stack's, not another mapping's", found["threads"][0]["policy"], "bind:1")
    same("its pages", found["pages"], [{"node": 1, "bytes": 4 * 4096}])
    code, found = thread(cpus | {0}, 1)
    same("a thread on other CPUs is a problem", [code, found["in_place"]], [4, False])
    code, found = thread(cpus, 0)
    same("pages on another node, too", [code, found["in_place"]], [4, False])
    thread(cpus, 1)
    done = show("--sysroot", machine.path, "nosuch")
    check("an unknown name: one line with what it may be", done.one_line() and '"nosuch"' in done.err and "process" in done.err, done)
    for text in ("", "garbage\n", "\n" * 5):
        for name in ("status", "stat", "numa_maps"):
            machine.write(f"/proc/{pid}/task/{pid}/{name}", text)
        done = show("--sysroot", machine.path, "--json", str(pid))
        process = json.loads(done.out)["processes"][0]
        first = process["threads"][0]
        check(f"files of {text!r}: unknown is null", done.code == 0 and process["in_place"] is None and
              all(first[k] is None for k in ("cpus", "mems", "policy", "preferred", "cpu", "node")), done.out)


def main():
    on_this_machine()
    with Temp() as folder:
        on_a_simulated_machine(folder)
    with Temp() as folder:
        for why in ("/proc: No such", "/proc has no processes"):
            done = show("--sysroot", folder, "1")
            check(f"{why}: it is not the process that is missing", done.one_line() and why in done.err, done)
            os.makedirs(f"{folder}/proc", exist_ok=True)
    done = show("--output", "NOSUCH", "1")
    check("an unknown column is wrong usage", done.code == 2 and "NOSUCH" in done.err, done)
    same("--help", show("--help").code, 0)
    finish()


if __name__ == "__main__":
    main()
