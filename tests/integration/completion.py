#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/completion: bash completes what the command's own --help says, no more and no less."""
import os
import re

from harness import BUILD, PROJECT, check, finish, run, same

FILE = os.path.join(PROJECT, "deploy/completion/numastow")
# compopt wants a completion that readline asked for: here it only says what it would do.
SCRIPT = f"""
compopt() {{ :; }}
source '{FILE}' || exit 1
complete -p numastow >/dev/null || exit 1
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_numastow numastow "${{!#}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(*words):
    done = run(["bash", "-u", "-c", SCRIPT, "bash", "numastow", *words], "")
    if done.code or done.err:
        check(f"completing {words}", False, done)
    return sorted(done.out.split())


def help_of(*words):
    return run([os.path.join(BUILD, "numastow"), *words, "--help"], "").out


def options_of(*words):
    """The long options that --help lists, one a line, and --help itself."""
    return sorted(set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", help_of(*words), re.M)) | {"--help"})


commands = re.findall(r"^  ([a-z]+) ", help_of().split("Options:")[0], re.M)
check("--help lists commands", len(commands) > 10, commands)
same("every command is completed, and no other", complete(""),
     sorted(commands + ["--help", "--version"]))
for command in commands:
    wanted = options_of(command)
    if command in ("explain", "release"):
        wanted = sorted(wanted + ["--cluster"])
        same(f"{command} --cluster: its options", complete(command, "--cluster", "--"),
             options_of(command, "--cluster"))
    same(f"{command}: its options", complete(command, "--"), wanted)
same("the beginning of a command", complete("no"), ["node", "nodes"])
same("the beginning of an option", complete("place", "--an"), ["--annotation"])
same("words of an option", complete("place", "--strategy", ""), ["default", "spread", "tight"])
same("and of another", complete("online", "--zone", "m"), ["movable"])
same("a key of a request", complete("place", "--confirmed", "cpu"), ["cpu-mode=", "cpus="])
same("its values, behind the sign", complete("place", "cpu-mode", "="), ["exclusive", "isolated", "shared"])
same("and when one is begun", complete("explain", "policy", "=", "s"), ["single-numa-node", "spread"])
same("nothing is known of a value that is free", complete("place", "cpus", "=", ""), [])
same("nor of an option's that is", complete("nodes", "--timeout", ""), [])
same("an unknown command has nothing", complete("dance", "--"), [])
finish()
