#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Wrong usage. Each command refuses it with its exit code, one line that quotes what is wrong without control characters, and
one that points to --help. An empty word, as of a shell's variable that is not set, is not taken for "any" or "all"."""
import os
import re

from harness import BUILD, Machine, Temp, add_memory, check, columns_of, finish, run

NUMASTOW = os.path.join(BUILD, "numastow")
COMPATIBLE = ("numactl", "taskset", "migratepages")  # have other programs' texts: compat.py
ESCAPE = "\033[31m"
ME = str(os.getpid())


def refused(words, *pieces, code=2):
    done = run([NUMASTOW, *words], "")
    lines = done.err.splitlines()
    shown = " ".join(words).replace(ESCAPE, "ESC")
    check(f"{shown}: refused", done.code == code and not done.out and len(lines) == 2 and lines[0].startswith("numastow: ") and
          not lines[0].startswith(f"numastow: {words[0]}: ") and lines[1] == f"Try 'numastow {words[0]} --help'." and
          "\033" not in done.err and all(piece in lines[0] for piece in pieces), done)


def check_every(command):
    failed = 125 if command == "run" else 2
    operand = "podman" if command == "setup" else "check" if command == "config" else ""
    words = (command, *[operand] * bool(operand))
    refused((*words, "--nosuch"), "--nosuch", code=failed)
    refused((*words, "-Z"), "Z", code=failed)
    if command not in ("run", "setup"):
        refused((*words, ""), "argument")
    if "--json" in run([NUMASTOW, command, "--help"], "").out:
        refused((*words, "--json=x"), "'--json' doesn't allow an argument")


def check_columns(commands, tree):
    """--help lists the columns that --output takes."""
    titles = {("topology", "--table"): "Of --table:", ("topology", "--tree"): "Of --tree:", ("stat", ME): "Of processes:"}
    machine = ("nodes", "reservations", "containers", "drains", "measure")  # are not of a tree; fleet-screens.py has the fleet's
    found = [(c,) for c in commands if c not in machine[:3] and "--output " in run([NUMASTOW, c, "--help"], "").out]
    for words in [*found, *titles]:
        done = run([NUMASTOW, *words, *(["--sysroot", tree] if words[0] not in machine and ME not in words else []), "-o", "x"], "")
        listed = columns_of(run([NUMASTOW, words[0], "--help"], "").out, titles.get(words, ""))
        check(f"{words}: --help lists the columns", len(listed) > 5 and done.code == 2 and
              f'--output "x": expected columns of {",".join(listed)}\nTry ' in done.err, (listed, done))


def check_values(tree):
    """Values of options, and options that have no effect beside others."""
    for words in (("explain", "--file", ""), ("explain", "--namespace", "", "cpus=1"), ("show", "--sysroot", ""),
                  ("place", "--node", "", "cpus=1"), ("place", "--request-id", "", "cpus=1"), ("repin", "x", "--to", ""),
                  ("nodes", "--scheduler", ""), ("containers", "--agent", "")):
        refused(words, next(w for w in words if w.startswith("--")), "empty")
    for words, pieces in ((("status", ESCAPE), ("takes no argument",)), (("why", "a", ESCAPE), ("unexpected argument",)),
                          (("show", "--last", ESCAPE), ("exclude each other",)), (("zones", ESCAPE), ("expected compact",)),
                          (("hugepages", "--compact"), ("--compact",)), (("hugepages", "--persist"), ("--persist",)),
                          (("hugepages", "--limit", "1Mi", "shrink"), ("--limit",)), (("hugepages", "shrink", "--compact"), ("--compact",)),
                          (("hugepages", "mount", "2Mi"), ("mount", "SIZE and FOLDER")),
                          (("settings", "--sysroot", tree, "zone_reclaim_mode=99"), ("zone_reclaim_mode", "99")),
                          (("settings", "--sysroot", tree, "zone_reclaim_mode=x"), ("zone_reclaim_mode", "x")),
                          (("drain", "--explain", "x"), ("--explain", "x")), (("stat", "-o", "x"), ("--output", "x")),
                          (("place", "x"), ('"x"', "KEY=VALUE")), (("place", "cpus=x"), ("cpus", '"x"')), (("explain", "cpus=x"), ("cpus", '"x"')),
                          (("zones", "reclaim", "0", "x"), ("SIZE", '"x"')), (("zones", "compact", "x"), ("NODE", '"x"')),
                          (("bind", ME, "--cpus", "99999999999999999999"), ("--cpus", "99999999999999999999")),
                          (("migrate", ME, "99999999999999999999", "0"), ("FROM", "99999999999999999999"))):
        refused(words, *pieces)


def check_run():
    """A program's options, not the annotations that these stand for, are what was typed."""
    for option, value in (("--cpus", "x"), ("--memory", "-1"), ("--nodes", "x"), ("--hugepages", "x"), ("--hugepages", "3Mi/2Mi"),
                          ("--hugepages", "3Mi/3Mi"), ("--near", "a/b"), ("--drain", "x"), ("--cpu-mode", "x"), ("--cpus", ESCAPE),
                          ("--nodes", "999"), ("--near", "nosuchdevice")):
        done = run([NUMASTOW, "run", "--quiet", option, value, "true"], "")
        check(f"run {option} {value!r}: the option is named", done.code == 125 and done.err.startswith(f"numastow: {option}: ") and
              done.err.count("\n") == 1 and "\033" not in done.err, done)
    done = run([NUMASTOW, "run", "--annotation", "cpus=x", "true"], "")
    check("run --annotation: the annotation is named", done.err.startswith("numastow: numastow.io/cpus: "), done)
    for program, code, why in (("", 127, "No such file"), (ESCAPE, 127, "No such file"), ("/", 126, "Permission denied")):
        done = run([NUMASTOW, "run", "--quiet", "--", program], "")
        check(f"run {program!r}: it cannot be executed", done.code == code and done.err.startswith('numastow: cannot execute "') and
              why in done.err and "\033" not in done.err, done)


def main():
    commands = re.findall(r"^  ([a-z]+) ", run([NUMASTOW, "--help"], "").out.split("Options:")[0], re.M)
    check("--help lists commands", len(commands) > 30, commands)
    for command in commands:
        if command not in COMPATIBLE:
            check_every(command)
    with Temp() as temp:
        machine = Machine(f"{temp}/m")
        machine.write("/proc/sys/vm/zone_reclaim_mode", "0\n")
        add_memory(machine)
        check_values(machine.path)
        check_columns(commands, machine.path)
    check_run()
    finish()


if __name__ == "__main__":
    main()
