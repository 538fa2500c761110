#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow numactl, taskset and migratepages beside the programs whose grammar they have: the same exit codes, output and
effects on this machine, and a reason in each error. tests/vm/numactl.sh does the same with four nodes. And what migrate and
bind refuse; tests/vm/migrate.sh shows what they do."""
import ctypes
import functools
import json
import os
import re
import shutil
import subprocess

from harness import BUILD, PROJECT, Temp, check, finish, run, same, skip

NUMASTOW = os.path.join(BUILD, "numastow")
# What a program sees: its CPUs, nodes, and the policy of its first mapping.
SEES = ["sh", "-c", "grep _allowed_list /proc/self/status; sed -n '1s/^[0-9a-f]* \\(.*\\) file=.*/\\1/p' /proc/self/numa_maps"]
TRUE = ["true"]
POLICIES = os.path.exists("/proc/self/numa_maps")


def version_of_numactl():
    if not shutil.which("numactl"):
        return None
    said = run(["numactl", "--version"], "")
    found = re.match(r"2\.0\.(\d+)", said.out)
    # 2.0.18 is the first that has the option.
    return int(found.group(1)) if found and said.code == 0 else 16


def ours(*words):
    return run([NUMASTOW, *words], "")


def allowed_cpus():
    return sorted(os.sched_getaffinity(0))


CPUS = allowed_cpus()
FIRST, LAST = CPUS[0], CPUS[-1]
NUMACTL = version_of_numactl()
with open(os.path.join(PROJECT, "VERSION"), encoding="utf-8") as file:
    VERSION = file.read().strip()

# Options, the first version of numactl that has them; exit 0.
GOOD = [
    ("-C", str(FIRST)), ("-C", "all"), ("-C", "+0,0"), ("--physcpubind=+0",), ("-C", f"{FIRST}-{LAST}"),
    ("-a", "-C", str(LAST)), ("--all", "-N", "0"), ("-N", "0"), ("-c", "0"), ("-N", "all"), ("-N", "+0"),
    ("-C", hex(FIRST)), ("--cpunodebind=0", "-C", str(FIRST)),
]
GOOD_POLICIES = [
    ("-m", "0"), ("-m", "all"), ("-m", "+0"), ("--membind=0",), ("--memb", "0"), ("-i", "0"), ("-i", "all"), ("-i", ""),
    ("-p", "0"), ("-l",), ("-b", "-m", "0"), ("-t", "-m", "0"), ("-N", "0", "-m", "same"), ("-I", "7", "-l"),
]
# Exit code 1; what ours prints.
BAD = [
    (("-m", "0", "-i", "0"), "one memory policy only"),
    (("-m", "4095"), "node 4095 is not one of those that may be used"),
    (("-m", "0-4095"), "node 4095"),
    (("-m", "0,"), "ends too early"),
    (("-m", "x"), "unknown word"),
    (("-m", "!all"), ""),
    (("-m", ""), ""),
    (("-m", "same"), "takes a list of nodes before it"),
    (("-m", "netdev:nosuch"), "there is no /sys/class/net/nosuch"),
    (("-m", "block:nosuch"), "there is no /sys/class/block/nosuch"),
    (("-m", "block:/dev/sda"), "use file:PATH"),
    (("-m", "file:/nosuch"), "No such file"),
    (("-m", "pci:zz"), "not a PCI address like"),
    (("-p", ""), "takes one node"),
    (("-C", "8191"), "CPU 8191 is not one of those that may be used"),
    (("-C", "same"), "unknown word"),
    (("-C", ""), "the set of CPUs is empty"),
    (("-C", "!all"), "the set of CPUs is empty"),
    (("-m", "0", "-a"), "--all must be before"),
    (("-m", "0", "-b"), "--balancing must be before the memory policy"),
    (("-m", "0", "-H"), "--hardware must be before the memory policy"),
    (("-d",), "must be after --shm or --file"),
    (("-D",), "must be after --shm or --file"),
    (("-T",), "must be after --shm or --file"),
    (("-L", "4k"), "is for shared memory"),
    (("-u",), "is for shared memory"),
    (("-o", "4k", "-C", str(FIRST)), "is for shared memory"),
    (("-M", "9"), "octal"),
    (("-I", "x"), "is not a number"),
    (("--nosuch",), "unrecognized option"),
    (("-z",), "invalid option"),
    (("--cpu", "0"), "ambiguous"),
]


def beside(what, command, options, program):
    """The same exit code and output as the program of that name."""
    theirs, mine = run([command, *options, *program], ""), ours(command, *options, *program)
    check(f"{what}: as {command}", (theirs.code, theirs.out) == (mine.code, mine.out),
          f"{mine!r} {mine.out!r}, and {command}: {theirs!r} {theirs.out!r}")


@functools.cache
def policies_work():
    return POLICIES and ours("numactl", "-m", "0", "true").code == 0


def good():
    rows = GOOD + (GOOD_POLICIES if policies_work() else [])
    if not policies_work():
        skip("memory policies", "forbidden or unknown on this machine")
    else:
        said = ours("numactl", "-m", "", *TRUE)
        check("an empty set of nodes", said.code == 1 and "needs at least one node" in said.err, said)
    for options in rows:
        what = "numactl " + " ".join(options)
        # Without policies numactl refuses to bind CPUs by nodes, too.
        if NUMACTL and (policies_work() or not any(o.startswith(("-N", "-c", "--cpun")) for o in options)):
            beside(what, "numactl", options, SEES)
        else:
            same(what, ours("numactl", *options, *TRUE).code, 0)
    for options in (("-C", f"{FIRST}-{LAST}:{LAST + 1}"), ("-C", "+0-0:2")):
        said = ours("numactl", *options, *SEES)
        check(f"a stride, {options[1]}", re.search(rf"Cpus_allowed_list:\s+{FIRST}\n", said.out), said.out)


def bad():
    for options, words in BAD:
        said = ours("numactl", *options, *TRUE)
        lines = said.err.splitlines()
        what = "numactl " + " ".join(options)
        check(f"{what}: refused, with the reason", said.code == 1 and not said.out and lines and
              lines[0].startswith("numastow numactl: ") and words in lines[0] and len(lines) <= 2, said)
        if NUMACTL:
            same(f"{what}: numactl's exit code", run(["numactl", *options, *TRUE], "").code, said.code)
    if len(CPUS) > 1:
        said = run(["taskset", "-c", str(FIRST), NUMASTOW, "numactl", "-C", str(LAST), *TRUE], "")
        check("a CPU beyond the affinity: --all is named", said.code == 1 and "with --all" in said.err, said)
        said = run(["taskset", "-c", str(FIRST), NUMASTOW, "numactl", "-a", "-C", str(LAST), *SEES], "")
        check("and does it", said.code == 0 and re.search(rf"Cpus_allowed_list:\s+{LAST}\n", said.out), said)


def execution():
    with Temp() as temp:
        for name in ("numactl", "taskset", "migratepages"):
            os.symlink(NUMASTOW, os.path.join(temp, name))
        numactl = os.path.join(temp, "numactl")
        said = run([numactl, "-C", str(FIRST), "sh", "-c", "echo $$; exit 7"], "")
        same("by its own name: the program's exit code", said.code, 7)
        check("errors have that name", run([numactl, "-m", "4095", "true"], "").err.startswith("numactl: node 4095"))
        process = subprocess.Popen([numactl, "-C", str(FIRST), "sh", "-c", "echo $$"], stdout=subprocess.PIPE, text=True)
        out, _ = process.communicate()
        same("the program has the same PID", int(out), process.pid)
        same("taskset by its name", run([os.path.join(temp, "taskset"), "-c", str(FIRST), "sh", "-c", "exit 9"], "").code, 9)
        same("migratepages by its name: usage", run([os.path.join(temp, "migratepages")], "").code, 1)
    same("a command that is not there", ours("numactl", "-C", str(FIRST), "/nosuch").code, 1)
    same("no command", ours("numactl", "-C", str(FIRST)).code, 1)
    said = ours("numactl", "-C", str(FIRST), "--", "sh", "-c", "echo $0 $1", "-l", "-m")
    same("options of the command are its own", said.out, "-l -m\n")
    said = ours("numactl", "-C", str(FIRST), "echo", "-m", "x")
    same("also without --", said.out, "-m x\n")
    check("--version", re.match(r"2\.0\.\d+ ", ours("numactl", "--version").out))
    for name in ("numactl", "taskset", "migratepages"):
        said = ours(name, "--help")
        check(f"{name} --help", said.code == 0 and said.out.startswith(f"Usage: numastow {name} ") and not said.err, said)


def without(text, *tags):
    """The lines, with blanks squeezed, but those that begin with a tag."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if not line.startswith(tags)]


def shown():
    said = ours("numactl", "-H")
    check("-H", said.code == 0 and said.out.startswith("available: "), said)
    compressed = ours("numactl", "-H", "--cpu-compress").out
    check("--cpu-compress", re.search(r"^node 0 cpus: [-0-9, ]+ \(\d+\)$", compressed, re.M), compressed)
    if not NUMACTL:
        skip("-H and -s beside numactl", "numactl is not installed")
        return
    moving = tuple(f"node {n} free:" for n in range(8))
    theirs = run(["numactl", "-H"], "")
    if theirs.code == 0:
        same("-H is numactl's", without(said.out, *moving), without(theirs.out, *moving))
    theirs, said = run(["numactl", "-s"], ""), ours("numactl", "-s")
    if theirs.code == 0:
        same("-s is numactl's", without(said.out), without(theirs.out))


def tasksets():
    me = str(os.getpid())
    mask = format(sum(1 << cpu for cpu in CPUS), "x")
    rows = [(["-c", str(FIRST)], SEES), (["-c", f"{FIRST}-{LAST}:{LAST + 1}"], SEES), ([mask], SEES), (["0x" + mask], SEES),
            (["--cpu-list", f"{FIRST}-99999"], SEES), (["-p"], [me]), (["-pc"], [me]), (["-ap"], [me]), (["-acp"], [me]),
            (["-p", mask], [me]), (["-c", str(FIRST)], ["/nosuch"]), (["-c", str(FIRST)], ["/etc/passwd"])]
    for options, program in rows:
        beside("taskset " + " ".join(options + program[:1]), "taskset", options, program)
    for options, words in ((["zz", "true"], "not a mask"), (["-c", "a", "true"], "a number is missing"),
                           (["-c", "1-0", "true"], "lower number"), (["-c", "0-1:0", "true"], "must not be 0"),
                           (["-c", "8191", "true"], "none of the CPUs 8191"), (["0", "true"], "the set of CPUs is empty"),
                           (["1"], "a mask and a command"), (["-p", "a"], "not the number of a process"),
                           (["-p", "1", "4194305"], "there is no such process"), (["--nosuch"], "unrecognized")):
        said = ours("taskset", *options)
        check(f"taskset {' '.join(options)}: refused, with the reason",
              said.code == 1 and said.err.startswith("numastow taskset: ") and words in said.err, said)
        same(f"taskset {' '.join(options)}: its exit code", run(["taskset", *options], "").code, 1)
    with subprocess.Popen(["sleep", "1000"]) as child:
        said = ours("taskset", "-cp", str(FIRST), str(child.pid))
        same("another process is bound", (said.code, os.sched_getaffinity(child.pid)), (0, {FIRST}))
        child.kill()


def migrations():
    me = str(os.getpid())
    for options, words in ((["x", "0", "0"], "not the number of a process"), ([me, "0"], "two lists"), ([], "two lists"),
                           ([me, "4095", "0"], "node 4095"), ([me, "0", "x"], "unknown word"),
                           (["4194305", "0", "0"], "there is no process 4194305"), (["--nosuch"], "unrecognized")):
        said = ours("migratepages", *options)
        what = "migratepages " + " ".join(options[:3]).replace(me, "PID")
        if "no process" in words and not policies_work():
            skip(what, "migrate_pages(2) is forbidden or unknown here")
            continue
        check(f"{what}: refused, with the reason", said.code == 1 and
              said.err.startswith("numastow migratepages: ") and words in said.err, said)
        if shutil.which("migratepages"):
            same(f"{what}: its exit code", run(["migratepages", *options], "").code, 1)


def shared_memory():
    if not policies_work() or not os.access("/dev/shm", os.W_OK):
        skip("policies of shared memory", "no policies or no /dev/shm here")
        return
    name = f"/dev/shm/numastow-compat-{os.getpid()}"
    try:
        same("a file is created", ours("numactl", "-L", "64k", "-f", name, "-i", "0").code, 0)
        same("of that size", os.path.getsize(name), 64 << 10)
        said = ours("numactl", "--length=64k", "--file", name, "--dump")
        same("it keeps its policy", said.out.split(), [f"{0:016x}-{64 << 10:016x}:", "interleave", ":", "0"])
        if NUMACTL:
            theirs = run(["numactl", "--length=64k", "--file", name, "--dump"], "")
            same("--dump is numactl's", " ".join(said.out.split()), " ".join(theirs.out.split()))
        same("without a length: all of it", ours("numactl", "--file", name, "--dump").out, said.out)
        said = ours("numactl", "-o", "16k", "-f", name, "-T", "-D")
        same("the nodes of its pages, from an offset", said.out, f"{16 << 10:016x}-{64 << 10:016x}: 0\n")
        said = ours("numactl", "-f", name, "-m", "0", "-V")
        same("--verify", (said.code, said.err), (0, ""))
        for options, words in ((["-L", "1x", "-f", name], "is not a size like"), (["-L", "100", "-f", name], "not whole pages"),
                               (["-f", name, "-L", "4k"], "must be before --shm or --file"),
                               (["-f", name, "-N", "0"], "not for shared memory"),
                               (["-m", "0", "-f", name], "must be before the memory policy"),
                               (["-f", name + "x", "-m", "0"], "give a --length"),
                               (["-f", name, "true"], "no command is run"),
                               (["-C", str(FIRST), "-f", name], "CPUs cannot be bound")):
            said = ours("numactl", *options)
            check("numactl " + " ".join(options).replace(name, "FILE") + ": refused, with the reason",
                  said.code == 1 and words in said.err, said)
        check("a wrong size creates nothing", not os.path.exists(name + "x"))
        said = ours("numactl", "-S", name, "-m", "0")
        check("a segment takes a length", said.code == 1 and "give a --length to create it" in said.err, said)
        said = ours("numactl", "-L", "64k", "-I", "3", "-S", name, "-m", "0", "-T", "-D")
        check("a segment is created and touched", said.code == 0 and said.out == f"{0:016x}-{64 << 10:016x}: 0\n", said)
        said = ours("numactl", "-L", "128k", "-I", "3", "-S", name, "-m", "0")
        check("beyond its end", said.code == 1 and "lead beyond its end" in said.err, said)
    finally:
        key = ctypes.CDLL(None).ftok(name.encode(), 3)
        if key != -1:
            run(["ipcrm", "-M", str(key)], "")
        if os.path.exists(name):
            os.unlink(name)


def refused(command, options, code, words):
    said = ours(command, *options)
    what = f"{command} {' '.join(options)}".replace(str(os.getpid()), "PID")
    check(f"{what}: refused, with the reason", said.code == code and not said.out and
          said.err.startswith("numastow: ") and words in said.err, said)


def running():
    """migrate and bind, on a machine with one node or several."""
    me = str(os.getpid())
    for options, code, words in (([me, "0"], 2, "two lists of nodes"), ([me, "0", "4095"], 2, "TO: node 4095"),
                                 ([me, "x", "0"], 2, "FROM: "), (["4194305", "0", "0"], 1, "no process 4194305"),
                                 (["nosuch", "0", "0"], 1, 'there is no container "nosuch"'),
                                 (["--batch", "1x", me, "0", "0"], 2, "--batch"),
                                 (["--pause", "11s", me, "0", "0"], 2, "over 10s")):
        refused("migrate", options, code, words)
    for options, code, words in (([me], 2, "expected --nodes, --cpus or --memory"), (["--cpus", "0"], 2, "is missing"),
                                 (["--cpus", "8191", me], 2, "--cpus: CPU 8191"), (["--cpus", "", me], 2, "is empty"),
                                 (["--nodes", "4095", me], 2, "--nodes: node 4095"),
                                 (["--thread", "--memory", "0", me], 2, "--memory is not for a --thread"),
                                 (["--cpus", str(FIRST), "x"], 1, "there is no container"),
                                 (["--cpus", str(FIRST), "4194305"], 1, "no process 4194305")):
        refused("bind", options, code, words)
    if POLICIES:
        said = ours("migrate", "--json", me, "all", "all")
        check("migrate: nothing to move", said.code == 0 and json.loads(said.out)["pairs"] == [] and
              json.loads(said.out)["moved"] == 0 and json.loads(said.out)["nodes"][0]["before"] > 0, said)
    else:
        skip("migrate: nothing to move", "this kernel has no NUMA")
    with subprocess.Popen(["sleep", "1000"]) as child:
        said = ours("bind", "--dry-run", "--cpus", str(FIRST), str(child.pid))
        same("a dry run binds nothing", (said.code, os.sched_getaffinity(child.pid)), (0, set(CPUS)))
        said = ours("bind", "--json", "--cpus", str(FIRST), str(child.pid))
        same("bind", (said.code, os.sched_getaffinity(child.pid)), (0, {FIRST}))
        same("its JSON", json.loads(said.out), {"version": VERSION, "cgroups": [], "processes": [
            {"pid": child.pid, "cpus": str(FIRST), "threads": 1 if len(CPUS) > 1 else 0}]})
        child.kill()


good()
bad()
running()
execution()
shown()
tasksets()
migrations()
shared_memory()
finish()
