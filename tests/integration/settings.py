#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow settings beside a plain reading of the same files: on this machine, on trees of real ones, and on trees that
no kernel makes. What a kernel does with each value is in tests/vm/settings.sh."""
import glob
import json
import os
import re
import subprocess

from harness import BUILD, PROJECT, Temp, check, finish, run, same, skip
from treelib import read, write

NUMASTOW = os.path.join(BUILD, "numastow")
DUMPS = os.environ.get("NUMASTOW_DUMPS") or os.path.join(PROJECT, "../shared/sysfs-dumps")
VM = "/proc/sys/vm"
THP = "/sys/kernel/mm/transparent_hugepage"
SYSCTL = "/etc/sysctl.d/60-numastow.conf"
TMPFILES = "/etc/tmpfiles.d/60-numastow.conf"


def ask(tree, *words):
    return run([NUMASTOW, "settings", "--sysroot", tree, *words], "")


def settings(tree, *words):
    done = ask(tree, "--json", *words)
    if done.code or done.err:
        check(f"settings {words} of {tree}", False, done)
    return {s["name"]: s for s in json.loads(done.out)["settings"]}


def plain(tree, setting):
    """The value by another reading of the file."""
    if setting["path"] == "/proc/cmdline":
        words = re.split(r"\s+", read(tree, "/proc/cmdline").split(" -- ")[0].strip())
        name = setting["parameter"].replace("-", "_")
        found = [w.partition("=")[2] for w in words if w.partition("=")[0].replace("-", "_") == name]
        return " ".join(found)
    text = read(tree, setting["path"]).strip()
    bracket = re.search(r"\[(.+?)\]", text)
    if bracket:
        return bracket[1]
    if isinstance(setting["value"], bool):
        return text.lower() in ("1", "y", "true")
    if isinstance(setting["value"], list):
        return [int(word) for word in text.split()]
    return int(text) if isinstance(setting["value"], int) else text


def compare(what, tree):
    all_of = settings(tree)
    present = [s for s in all_of.values() if s["state"] == "present"]
    wrong = [(s["name"], s["value"], plain(tree, s)) for s in present if s["value"] != plain(tree, s)]
    same(f"{what}: {len(present)} values are those of the files", wrong, [])
    valueless = [s["name"] for s in all_of.values()
                 if s["state"] != "present" and (s["value"] is not None or not s["reason"])]
    same(f"{what}: the others say why they have none", valueless, [])
    # What is said to be absent is not there.
    there = [s["name"] for s in all_of.values() if s["state"] == "absent" and s["path"] not in (None, "/proc/cmdline")
             and os.path.exists(tree + s["path"])]
    same(f"{what}: what is absent has no file", there, [])
    return all_of


# --- trees of real machines -------------------------------------------------

here = compare("this machine", "/")
check("this machine: it has some", sum(s["state"] == "present" for s in here.values()) > 10)
tarballs = sorted(glob.glob(os.path.join(DUMPS, "*.tar.*")))
if not tarballs:
    skip("trees of other machines", f"none in {DUMPS}")
for tarball in tarballs:
    with Temp() as place:
        subprocess.run(["tar", "-xf", tarball, "-C", place], check=True, stderr=subprocess.DEVNULL)
        inner = next(os.path.join(place, d) for d in os.listdir(place))
        tree = place if os.path.isdir(os.path.join(place, "sys")) else inner
        compare(os.path.basename(tarball).split(".tar")[0], tree)

# --- trees that no kernel makes ---------------------------------------------

FILES = {f"{VM}/swappiness": "60\n", f"{VM}/numa_stat": "1\n", f"{VM}/lowmem_reserve_ratio": "256\t32\t0\n",
         f"{THP}/enabled": "always [madvise] never\n", f"{THP}/hugepages-64kB/enabled": "always [never]\n",
         "/sys/module/memory_hotplug/parameters/online_policy": "contig-zones\n",
         "/sys/kernel/mm/mempolicy/weighted_interleave/node0": "1\n", "/proc/cmdline": "isolcpus=1\n",
         "/proc/meminfo": "MemTotal: 4194304 kB\nMemFree: 1 kB\n", f"{VM}/min_free_kbytes": "45056\n"}
for odd in ("", "\n", "x\n", "-1\n", "[\n", "]always[\n", "[" * 600, "\0\0\0", "9" * 500, b"\xff\xfe\x1b[31m\n", "1\n2\n", None):
    with Temp() as tree:
        for path in FILES:
            if odd is None:
                os.makedirs(tree + path)
            else:
                write(tree, path, odd)
        done = ask(tree, "--json")
        text = ask(tree, "--all")
        good = done.code == 0 and text.code == 0 and not re.search("[\0-\x08\x0b-\x1f]", done.out + text.out + text.err)
        check(f"files with {odd if odd is None else odd[:12]!r}", good and json.loads(done.out), (done, text))
        if odd not in ("1\n2\n", "x\n"):
            values = [s["name"] for s in json.loads(done.out)["settings"]
                      if s["value"] is not None and s["path"] != "/proc/cmdline"]
            same(f"files with {odd if odd is None else odd[:12]!r}: none is a value", values, [])
with Temp() as tree:
    done = ask(tree)
    check("an empty tree", done.code == 0 and "is not there" in done.err and done.err.count("\n") == 1, done)

# --- setting ----------------------------------------------------------------

with Temp() as tree:
    for path, text in FILES.items():
        write(tree, path, text)
    os.makedirs(tree + "/etc")
    done = ask(tree, "swappiness=10", "transparent_hugepage/enabled=never")
    check("two values are set", done.code == 0 and "swappiness: 10 (was 60)" in done.out, done)
    same("in their files", (read(tree, f"{VM}/swappiness"), read(tree, f"{THP}/enabled")), ("10", "never"))
    for path, text in FILES.items():
        write(tree, path, text)
    for bad, part in (("swappiness=201", "from 0 to 200"), ("vm.swappiness=x", "from 0 to 200"), ("numa_stat=3", "on or off"),
                      ("min_free_kbytes=2000000", "a quarter"), ("transparent_hugepage/enabled=on", "always madvise never"),
                      ("nr_hugepages=5", "numastow hugepages set"), ("zone_reclaim_interval=1", "zone_reclaim_mode"),
                      ("isolcpus=1-2", "--persist"), ("demotion_enabled=1", "does not have it"), ("swapiness=1", "swappiness"),
                      ("weighted_interleave/node0=0", "from 1 to 255"), ("lowmem_reserve_ratio=1 2 3 4", "up to 3")):
        done = ask(tree, "numa_stat=0", bad)
        check(f"{bad} is refused", done.code in (1, 2) and done.err.count("\n") == done.code and part in done.err, done)
    done = ask(tree, "nosuch=1", "numa_stat=0", "swappiness=x")
    check("a reason for each that is refused", done.code == 2 and [line.split('"')[1] for line in done.err.splitlines()[:-1]] == ["nosuch", "x"],
          done)
    done = ask(tree, "nosuch", "swappiness", "neither")
    check("a reason for each that is unknown, and the others", done.code == 64 and "swappiness" in done.out and
          [line.split('"')[1] for line in done.err.splitlines()] == ["nosuch", "neither"], done)
    same("and nothing was changed", {path: read(tree, path) for path in FILES}, FILES)
    check("nor kept", not os.path.exists(tree + SYSCTL))
    done = ask(tree, "swappiness=20", "transparent_hugepage/hugepages-*kB/enabled=never", "isolcpus=2-3", "--persist")
    check("values for each boot", done.code == 0 and "kernel parameter: add" not in done.out and "isolcpus=2-3" in done.out, done)
    same("sysctl.d", read(tree, SYSCTL).splitlines()[1:], ["vm.swappiness = 20"])
    same("tmpfiles.d", read(tree, TMPFILES).splitlines()[1:], [f"w {THP}/hugepages-64kB/enabled - - - - never"])
    done = ask(tree, "numa_stat", "--persist", "--quiet")
    check("the present value is kept", (done.code, done.out) == (0, "") and "vm.numa_stat = 1" in read(tree, SYSCTL), done)
    done = ask(tree, "--persist")
    check("--persist wants a name", done.code == 2, done)
    one = ask(tree, "numa_balancing/scan_delay_ms", "zone_reclaim_interval", "swappiness").out
    check("a setting in full", "debugfs is not mounted" in one and "instead: zone_reclaim_mode" in one and "0..200" in one, one)
    rows = ask(tree, "--noheadings", "--raw", "--output", "SETTING,VALUE").out.splitlines()
    check("columns", "swappiness 20" in rows, rows)
    check("a terminal's width changes no values", all(
        "swappiness" in subprocess.run([NUMASTOW, "settings", "-s", tree], capture_output=True, text=True, check=False,
                                       env={**os.environ, "COLUMNS": str(width)}).stdout for width in (60, 80, 200)))

finish()
