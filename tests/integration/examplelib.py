# SPDX-License-Identifier: Apache-2.0
"""Reads the examples of man pages, as a reader sees them."""
import os
import re

from harness import PROJECT

MAN = os.path.join(PROJECT, "docs/man")


def plain(line):
    """Return a line of roff as a reader sees it."""
    for escape, char in (("\\(aq", "'"), ("\\(dq", '"'), ("\\-", "-"), ("\\e", "\\"), ("\\&", "")):
        line = line.replace(escape, char)
    return re.sub(r"\\f[BIRP]", "", line)


def example_lines(page):
    """Return the source lines of the section EXAMPLE or EXAMPLES."""
    with open(os.path.join(MAN, page), encoding="utf-8") as handle:
        lines = handle.read().splitlines()
    starts = [i for i, line in enumerate(lines) if re.fullmatch(r"\.SH EXAMPLES?", line)]
    if not starts:
        return []
    below = lines[starts[0] + 1:]
    ends = [i for i, line in enumerate(below) if line.startswith((".SH", ".\\\""))]
    return below[:ends[0]] if ends else below


def blocks(page):
    """Return the texts between .EX and .EE, or .nf and .fi."""
    found, literal = [], None
    for line in example_lines(page):
        if line in (".EX", ".nf"):
            literal = []
        elif line in (".EE", ".fi"):
            found.append("\n".join(literal) + "\n")
            literal = None
        elif literal is not None:
            literal.append(plain(line))
    return found


def commands(page):
    """Return the commands, each one line: in bold below .TP, or in an example of .EX or .nf."""
    found, literal, tagged = [], False, False
    for line in example_lines(page):
        if line in (".EX", ".nf", ".EE", ".fi"):
            literal = line in (".EX", ".nf")
        elif line.startswith(".B ") and tagged:
            found.append(plain(line[3:]))
        elif literal and not line.startswith("."):
            found.append(plain(line))
        elif line.startswith("."):
            tagged = line == ".TP"
    return found


def pages_with_examples():
    return {page for page in os.listdir(MAN) if example_lines(page)}
