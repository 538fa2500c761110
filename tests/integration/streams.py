#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Standard output that takes nothing: a full disk, a closed descriptor, a reader that has gone; a terminal without columns; and
an odd environment. What cannot be written is exit code 1 and one line, whatever the command; a reader that has gone ends it
with SIGPIPE; the rest changes neither exit code nor whether there is an output."""
import os
import signal
import subprocess

from harness import BUILD, check, finish, same, skip
from screens import environment, on_terminal

NUMASTOW = os.path.join(BUILD, "numastow")
ME = str(os.getpid())
BRIEF = ("--runs", "1", "--time", "1ms", "--size", "1Mi", "--force")
COMMANDS = (("--help",), ("--version",), ("help", "output"), ("status",), ("config", "check"), ("topology",), ("topology", "--table"),
            ("topology", "--tree"), ("topology", "--firmware"), ("topology", "--json"), ("topology", "--svg", "-"), ("show",),
            ("show", ME), ("ledger",), ("explain", "cpus=1"), ("why",), ("blocks",), ("stat",), ("stat", "--meminfo"), ("stat", ME),
            ("zones",), ("zones", "--json"), ("zones", "--lists", "--orders"), ("top", "--text", "--iterations", "1", "-d", "100ms"),
            ("top", "--json", "--iterations", "1", "-d", "100ms"), ("hugepages",), ("settings",), ("settings", "--json"), ("doctor",),
            ("doctor", "--rules"), ("version",), ("measure", *BRIEF), ("numactl", "--hardware"), ("numactl", "--show"),
            ("taskset", "-p", ME), ("migrate", "--dry-run", ME, "0", "0"), ("bind", "--dry-run", "--cpus", "0", ME),
            ("setup", "--help"), ("setup", "podman", "--check"), ("zones", "--help"), ("numactl", "--help"))
ODD = {"without locale, time zone, columns and terminal":
       {"LC_ALL": "xx_YY.UTF-8", "TZ": ":/nowhere/\x01", "COLUMNS": "0", "TERM": "nosuchterm"},
       "with odd columns and a long time zone": {"COLUMNS": "-5", "TZ": "A" * 5000, "POSIXLY_CORRECT": "1"},
       "with too many columns": {"COLUMNS": "99999999999"}}


def ask(words, stdout=subprocess.PIPE, prefix=(), **env):
    done = subprocess.run([*prefix, NUMASTOW, *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, check=False,
                          env=environment(**env), timeout=300)
    return done.returncode, done.stderr.decode("utf-8", "replace"), done.stdout


def about_output(err):
    return [line for line in err.splitlines() if "standard output" in line]


def check_unwritable(words):
    with open("/dev/full", "wb") as full:
        code, err, _ = ask(words, full)
    check(f"{' '.join(words)}: a full disk", code == 1 and len(about_output(err)) == 1, (code, err))
    code, err, _ = ask(words, None, ("sh", "-c", 'exec "$@" >&-', "sh"))
    check(f"{' '.join(words)}: standard output is closed", code == 1 and len(about_output(err)) == 1, (code, err))
    read, write = os.pipe()
    os.close(read)
    code, err, _ = ask(words, write)
    os.close(write)
    same(f"{' '.join(words)}: without a reader", (code, about_output(err)), (-signal.SIGPIPE, []))


def main():
    for words in COMMANDS:
        code, err, out = ask(words)
        if code not in (0, 1, 4) or not out:
            skip(" ".join(words), f"it prints nothing here: {err.strip()}")
            continue
        check_unwritable(words)
        for width in (0, 1):
            on, text = on_terminal(words, width)
            check(f"{' '.join(words)}: a terminal of {width} columns", on == code and text, (on, text[:100]))
        for what, env in ODD.items():
            got, _, text = ask(words, **env)
            check(f"{' '.join(words)}: {what}", got == code and text, (got, text))
    finish()


if __name__ == "__main__":
    main()
