#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draw the arrows between source files, and fail where they form a circle.

usage: check-circles.py      (reads build/release, which `make` has made)

A unit is X.c with X.h. An arrow goes from A to B where A's object needs a symbol that B's object
defines, and where A includes B.h; unless B.h declares what A defines, for a header may speak for
several files. Files that share a header named *internal.h count by their symbols. A name without
an underscore is the C library's, also where lib/rpc defines it.
"""

import collections
import graphlib
import pathlib
import re
import subprocess
import sys
import tempfile

ROOMS = ("lib", "agent", "scheduler", "cli", "oci-hook")


def read_arrows(root, build):
    """Return {unit: {unit: why, a set}}."""
    texts = collections.defaultdict(dict)
    for room in ROOMS:
        for file in (root / room).rglob("*.[ch]"):
            if not file.name.endswith("internal.h"):
                texts[str(file.relative_to(root).with_suffix(""))][file.suffix] = file.read_text()
    objects = {f"{build}/{unit}.o": unit for unit in texts if ".c" in texts[unit]}
    listing = subprocess.run(["nm", "-A", "-P", *objects], check=True, capture_output=True, text=True)
    home, needed, defined = {}, [], collections.defaultdict(set)
    for line in listing.stdout.splitlines():
        file, name, kind = line.split()[:3]
        unit = objects[file.rstrip(":")]
        if "_" in name and kind == "U":
            needed.append((unit, name))
        elif "_" in name and kind.isupper():
            home[name] = unit
            defined[unit].add(name)

    arrows = {unit: collections.defaultdict(set) for unit in texts}
    for unit, name in needed:
        if home.get(name, unit) != unit:
            arrows[unit][home[name]].add(name)
    for unit, parts in texts.items():
        for name in re.findall(r'^#include "(.+)\.h"', "".join(parts.values()), re.MULTILINE):
            for other in (f"lib/{name}", name):
                header = texts.get(other, {}).get(".h")
                if header and other != unit and defined[unit].isdisjoint(re.findall(r"\w+", header)):
                    arrows[unit][other].add("#include")
    return arrows


def find_circles(arrows):
    """Return a line for each arrow of each circle; circles share no arrow. Takes the arrows out."""
    lines = []
    while True:
        try:
            graphlib.TopologicalSorter(arrows).prepare()
            return lines
        except graphlib.CycleError as error:
            lines.append("a circle of files:")
            circle = error.args[1][::-1]  # each needs the next, and the last is the first
            for unit, needed in zip(circle, circle[1:]):
                lines.append(f"  {unit} -> {needed}: {', '.join(sorted(arrows[unit].pop(needed)))}")


def check_that_it_fails():
    """Plant circles of symbols and of includes, and what is no circle; return whether they are told apart."""
    files = {
        "one.c": "void two_f(void); void one_f(void) { two_f(); }",
        "two.c": "void one_f(void); void two_f(void) { one_f(); }",
        "three.h": '#include "four.h"\n',
        "four.c": '#include "three.h"\n',
        "four.h": "struct four_s;\n",
        "five.h": "void six_f(void);\n",
        "five.c": '#include "five.h"\nvoid five_f(void) { six_f(); }',
        "six.c": '#include "five.h"\nvoid six_f(void) {}',
    }
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "lib").mkdir()
        for file, text in files.items():
            (root / "lib" / file).write_text(text)
        sources = [file for file in files if file.endswith(".c")]
        subprocess.run(["gcc", "-c", *sources], cwd=root / "lib", check=True)
        found = find_circles(read_arrows(root, root))
    return set(found) == {
        "a circle of files:",
        "  lib/one -> lib/two: two_f",
        "  lib/two -> lib/one: one_f",
        "  lib/three -> lib/four: #include",
        "  lib/four -> lib/three: #include",
    }


def main():
    if not check_that_it_fails():
        sys.exit("this check does not find circles")
    lines = find_circles(read_arrows(pathlib.Path("."), pathlib.Path("build/release")))
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(bool(lines))


main()
