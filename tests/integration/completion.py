#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/completion: the table has what --help says, no more and no less; bash, zsh and fish complete by it."""
import fcntl
import glob
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

from harness import BUILD, PROJECT, Machine, Temp, check, finish, hook, run, same, skip

HERE = os.path.join(PROJECT, "deploy/completion")
NUMASTOW = os.path.join(BUILD, "numastow")
WITHIN = 300  # s, for a shell that hangs
LONG = "0123456789abcdef" * 4
# compopt wants a completion that readline asked for: here it only says what it would do.
BASH = """
compopt() { :; }
source "$1" || exit 1
shift
complete -p numastow >/dev/null || exit 1
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_numastow numastow "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
# What compadd would add goes to a file, with its text; nothing is inserted or listed.
ZSH = """
PROMPT= RPROMPT=
fpath=($ZDOTDIR/out $fpath)
autoload -Uz compinit
compinit -u -d $ZDOTDIR/dump
compadd() {
	local -a hits texts
	local -i i at=${@[(i)-*d]}

	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then
		builtin compadd "$@"
		return
	fi
	((at > $#)) || texts=("${(@P)${@[at + 1]}}")
	builtin compadd -A hits -D texts "$@"
	for ((i = 1; i <= $#hits; i++)); do
		print -r -- "${hits[i]}"$'\\t'"${${texts[i]:-}##* -- }" >>$ZDOTDIR/found
	done
	builtin compadd "$@"
}
silently() {
	compstate[list]= compstate[insert]=
}
all-cases() {
	local line

	while IFS= read -r line; do
		print -r -- "> $line" >>$ZDOTDIR/found
		BUFFER=$line CURSOR=$#BUFFER
		comppostfuncs=(silently)
		zle list-choices
	done <$ZDOTDIR/cases
	exit 0
}
zle -N zle-line-init all-cases
"""
FISH = """
set -p fish_complete_path $argv[1]
while read -l line
	echo "> $line"
	complete -C "$line"
end
"""


def help_of(*words):
    return run([NUMASTOW, *words, "--help"], "").out


def listed(*words):
    """{option: (letter, whether it has a value)}, from --help."""
    found = {option: (letter, value[:1])
             for letter, option, value in re.findall(r"^ {2,6}(?:(-\w), )?(--[a-z-]+)(\[=| (?=[A-Z]))?", help_of(*words), re.M)}
    # The help of commands that ask the fleet does not list --help.
    return {"--help": ("-h", "")} | found


def options_of(*words):
    return sorted(listed(*words))


def read_table():
    """{command: {option: (letter, whether it has a value)}} of deploy/completion/table."""
    table, at = {}, None
    with open(os.path.join(HERE, "table"), encoding="utf-8") as handle:
        for line in handle:
            words = line.split()
            if not words or line.startswith("#"):
                continue
            if words[0] in ("group", "command"):
                at = table.setdefault((words[0], words[1]), {})
            elif words[0] == "use":
                at |= table["group", words[1]]
            else:
                letter = words.pop(0) if re.fullmatch(r"-\w", words[0]) else ""
                kind = words[1] if len(words) > 1 else ""
                at[words[0]] = (letter, "[" if kind.startswith("[") else " " if kind else "")
    return {name: options for (what, name), options in table.items() if what == "command"}


class Shells:
    """Each of them completes lines: {line: [(word, text)]}."""

    def __init__(self, temp):
        self.temp, self.out, self.bin = temp, f"{temp}/out", f"{temp}/bin"
        self.env = dict(os.environ, HOME=temp, ZDOTDIR=temp, TERM="dumb", LC_ALL="C.UTF-8", XDG_CONFIG_HOME=temp,
                        XDG_DATA_HOME=temp, PATH=f"{self.bin}:{BUILD}:/usr/bin:/bin:/usr/sbin:/sbin")
        os.mkdir(self.bin)

    def program(self, name, text):
        """Put a program before all others."""
        with open(f"{self.bin}/{name}", "w", encoding="utf-8") as handle:
            handle.write(f"#!/bin/sh\n{text}\n")
            os.fchmod(handle.fileno(), 0o755)

    def bash(self, lines):
        found = {}
        for line in lines:
            # Readline has "=" as a word.
            words = re.findall(r"=|[^ =]+", line) + ([""] if line.endswith(" ") else [])
            env = [f"{key}={self.env[key]}" for key in ("HOME", "PATH", "LC_ALL")]
            done = run(["env", *env, "bash", "-u", "-c", BASH, "bash", f"{self.out}/numastow", *words], "", WITHIN)
            if done.code or done.err:
                check(f"bash: completing {line}", False, done)
            found[line] = [(word, "") for word in done.out.splitlines() if word]
        return found

    def zsh(self, lines):
        for name, text in (".zshrc", ZSH), ("cases", "".join(f"{line}\n" for line in lines)), ("found", ""):
            with open(f"{self.temp}/{name}", "w", encoding="utf-8") as handle:
                handle.write(text)
        terminal, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 250, 0, 0))  # zsh shortens texts
        zsh = subprocess.Popen(["zsh", "-d", "-i"], stdin=its, stdout=its, stderr=its, cwd=self.temp, env=self.env,
                               start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(its)
        end, said = time.monotonic() + WITHIN, b""
        try:
            while time.monotonic() < end and select.select([terminal], [], [], end - time.monotonic())[0]:
                said += os.read(terminal, 65536)
            zsh.kill()
        except OSError:
            pass  # its end of the terminal is closed: it has ended
        status = zsh.wait()
        os.close(terminal)
        with open(f"{self.temp}/found", encoding="utf-8") as handle:
            found = split(handle.read())
        check("zsh has completed all lines", status == 0 and list(found) == lines, (status, said[-300:]))
        return found

    def fish(self, lines):
        done = run(["env", *[f"{key}={value}" for key, value in self.env.items()], "fish", "-c", FISH, self.out],
                   "".join(f"{line}\n" for line in lines), WITHIN)
        found = split(done.out)
        check("fish has completed all lines", list(found) == lines and not done.err, done)
        # fish 4 also lists what has the letters in that order ("--agent" for "--an"). It shows only what begins with
        # them, where there is any.
        for line, words in found.items():
            begun = line.rpartition(" ")[2]
            found[line] = [word for word in words if word[0].startswith(begun)] or words
        return found


def split(text):
    found, at = {}, []
    for line in text.splitlines():
        if line.startswith("> "):
            at = found.setdefault(line[2:], [])
        else:
            at.append(tuple(line.partition("\t")[::2]))
    return found


def words_of(found, line):
    """The words alone, without what stood there before and a "=" that comes behind."""
    return sorted({re.sub(r"^.*[,=](?=.)", "", word).rstrip("=") for word, _ in found.get(line, [])})


def cases_of(machine):
    """{line: words}"""
    at = f"--sysroot {machine}"
    real = sorted(os.path.basename(path)[4:] for path in glob.glob("/sys/devices/system/node/node[0-9]*"))
    return {
        "numastow no": ["node", "nodes"],
        "numastow place --an": ["--annotation"],
        "numastow place --strategy ": ["default", "spread", "tight"],
        "numastow online --zone m": ["movable"],
        "numastow online --zone=m": ["movable"],
        "numastow online -z m": ["movable"],
        "numastow place --confirmed cpu": ["cpu-mode", "cpus"],
        "numastow place cpu-mode=": ["exclusive", "isolated", "shared"],
        "numastow explain policy=s": ["single-numa-node", "spread"],
        "numastow place cpus=": [],
        "numastow run --annotation cpu-mode=e": ["exclusive"],
        "numastow nodes --timeout ": [],
        "numastow dance --": [],
        f"numastow topology {at} --node ": ["0", "1"],
        f"numastow topology {at} --node=": ["0", "1"],
        f"numastow topology {at} -N 0,": ["0", "1"],
        f"numastow topology {at} --node 1": ["1"],
        f"numastow topology --sysroot={machine} --node ": ["0", "1"],
        f"numastow topology {at} --watch --tab": ["--table"],
        f"numastow zones {at} compact ": ["0", "1"],
        f"numastow zones {at} c": ["compact"],
        "numastow zones reclaim 0 ": [],
        "numastow migrate 1 ": real,
        "numastow bind --memory ": real,
        "numastow migratepages 1 0 ": real,
        f"numastow show {at} ": sorted([LONG[:12], "main", "web"]),
        f"numastow show {at} w": ["web"],
        f"numastow stat {at} 0123": [LONG[:12]],
        f"numastow top {at} ma": ["main"],
        "numastow top --sort n": ["name", "nodes"],
        f"numastow bind {os.getpid()}": [str(os.getpid())],
        "numastow setup --write c": ["containerd", "crio"],
        "numastow run -m 1Gi --sl": ["--slice"],
        "numastow run --memory=1Gi --sl": ["--slice"],
        "numastow run -- --sl": [],
        "numastow numactl true --memb": [],
        "numastow numactl -m 0 --prefer": ["--preferred", "--preferred-many"],
        "numastow taskset 3 true --all-t": [],
        "numastow release --cl": ["--cluster"],
    }


def check_shell(name, complete, machine, commands):
    cases = cases_of(machine)
    if name != "fish":  # which takes what begins with "-" for an option everywhere
        cases["numastow run -m --sl"] = []
    options = {f"numastow {command} --": options_of(*command.split())
               for command in (*commands, "explain --cluster", "release --cluster")}
    for command in ("explain", "release"):
        options[f"numastow {command} --"] = sorted(options[f"numastow {command} --"] + ["--cluster"])
    found = complete([*cases, *options, "numastow ", "numastow topology --tabl"])
    for line, wanted in cases.items():
        same(f"{name}: {line.replace(machine, 'TREE')}", words_of(found, line), sorted(wanted))
    for line, wanted in options.items():
        # What can be given once and is there already, zsh leaves out.
        given = {"--cluster"} if name == "zsh" and "--cluster" in line else set()
        same(f"{name}: {line}: its options", words_of(found, line), sorted(set(wanted) - given))
    same(f"{name}: every command, and no other", [w for w in words_of(found, "numastow ") if not w.startswith("-")],
         sorted(commands))
    if name == "bash":
        same("bash: options before a command", [w for w in words_of(found, "numastow ") if w.startswith("-")],
             ["--help", "--version"])
        return
    same(f"{name}: the commands' texts are those of --help", dict(found["numastow "]), commands)
    same(f"{name}: so are the options'", [text for _, text in found["numastow topology --tabl"]], ["print a table of CPUs"])


def check_names(name, complete, shells, mark):
    """What names can do: nothing. A ledger that takes too long is as none."""
    line = "numastow show "
    hostile = f'$(touch {mark})`touch {mark}`'
    names = "".join(f'    {{\n      "id": "{i}",\n      "name": "{n}",\n    }},\n' for i, n in (
        (hostile, "a"), ("b", hostile), ("c", "*"), ("d", "e f"), ("-g", "h"), ("i", "\\u001b[2J"), ("j", "k-1_2.3")))
    shells.program("numastow", f"""[ "$*" = "ledger --json" ] || exit 2
cat <<'END'
{{
  "containers": [
{names}  ],
  "pools": [
      "id": "l",
END""")
    same(f"{name}: names that a shell could take for something else are left out", words_of(complete([line]), line),
         ["b", "c", "d", "i", "j", "k-1_2.3"])
    check(f"{name}: nothing in a name is run", not os.path.exists(mark))
    for what, program in ("refuses", "echo no >&2; exit 1"), ("prints nonsense", "echo '{\"id\": \"x\"'"):
        shells.program("numastow", program)
        same(f"{name}: a ledger that {what} is silent", complete([line])[line], [])
    # Without the stand-in for timeout(1) that waits on a busy machine.
    os.rename(f"{shells.bin}/timeout", f"{shells.bin}/-timeout")
    shells.program("numastow", "exec sleep 100000")
    same(f"{name}: a ledger that never answers is waited for no longer", complete([line])[line], [])
    os.rename(f"{shells.bin}/-timeout", f"{shells.bin}/timeout")
    os.unlink(f"{shells.bin}/numastow")


def make_machine(path):
    machine = Machine(path)
    machine.container("web", {"numastow.io/cpus": "1"})
    machine.container(LONG, {"numastow.io/cpus": "1", "io.kubernetes.container.name": "main",
                             "io.kubernetes.pod.name": "shop-0", "io.kubernetes.pod.namespace": "shop"})
    for name in ("web", LONG):
        done = hook(machine, "apply", machine.state(name))
        check(f"{name[:12]} has a grant", done.code == 0, done)
    return machine.path


def check_table(commands):
    table = read_table()
    same("the table has every command", sorted(table), sorted([*commands, "explain-cluster", "release-cluster"]))
    for command, options in table.items():
        wanted = listed(*re.sub("-(?=cluster)", " --", command).split())
        if command in ("explain", "release"):
            wanted = wanted | {"--cluster": ("", "")}
        same(f"{command}: options, letters and values as in --help", options, wanted)


COMPATIBLE = ("numactl", "taskset", "migratepages")  # have other programs' grammar


def check_grammar():
    """An option has one letter, or none, and a letter one option, in all commands."""
    letters = {}
    for command, options in read_table().items():
        for option, (letter, value) in options.items() if command not in COMPATIBLE else ():
            if letter:
                letters.setdefault(letter, {}).setdefault(option.replace("--nodes", "--node"), set()).add(value)
    same("letters of several options", {letter: sorted(o) for letter, o in letters.items() if len(o) > 1}, {})
    same("options with a value here and without one there", [o for found in letters.values() for o, v in found.items() if len(v) > 1], [])


def check_kubectl():
    plugin, program = os.path.join(BUILD, "kubectl-numastow"), os.path.join(HERE, "kubectl_complete-numastow")

    def completes(*words):
        done = run([program, *words], "")
        lines = done.out.split()
        check(f"kubectl completes {words}", not done.err and lines[-1:] == [":4"], done)
        return sorted(lines[:-1])

    commands = re.findall(r"^  ([a-z]+) ", run([plugin, "--help"], "").out.split("Options:")[0], re.M)
    same("every command of kubectl numastow", completes(""), sorted([*commands, "--help", "--version"]))
    for command in commands:
        said = run([plugin, command, "--help"], "").out
        same(f"kubectl numastow {command}: its options", completes(command, "--"),
             sorted(set(re.findall(r"^  (?:-\w, |    )?(--[a-z-]+)", said, re.M)) | {"--help"}))
    same("kubectl: the beginning of a command", completes("un"), ["unfence"])
    same("kubectl: nothing is known of a pod", completes("explain", "pod/"), [])


def main():
    commands = dict(re.findall(r"^  ([a-z]+) +(.*)$", help_of().split("Options:")[0], re.M))
    check("--help lists commands", len(commands) > 10, commands)
    check_table(commands)
    check_grammar()
    check_kubectl()
    with Temp() as temp:
        shells = Shells(temp)
        shells.program("timeout", '[ "$1" = 2 ] || exit 124\nshift\nexec "$@"')
        done = run([os.path.join(HERE, "generate"), NUMASTOW, shells.out], "", WITHIN)
        check("the completions are made", done.code == 0 and not done.err, done)
        same("and no other file", sorted(os.listdir(shells.out)), ["_numastow", "numastow", "numastow.fish"])
        machine = make_machine(f"{temp}/m")
        for name, complete in ("bash", shells.bash), ("zsh", shells.zsh), ("fish", shells.fish):
            if not shutil.which(name):
                skip(f"{name} completes", f"no {name}")
                continue
            check_shell(name, complete, machine, commands)
            check_names(name, complete, shells, f"{temp}/mark")
    finish()


if __name__ == "__main__":
    main()
