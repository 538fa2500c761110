#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The screens of the commands of this machine: on terminals of 60, 80 and 200 columns, with colours and without, and
piped; with 30 containers whose names have 63 characters, and some without a grant, and on machines of eight NUMA nodes and more. A line of a
table fits the terminal, its cells are below their headings, and nothing but colours is written between them."""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tarfile
import termios
from difflib import unified_diff

from harness import BLOCK, BUILD, DIMM, GIB, MIB, PROJECT, Machine, Temp, add_memory, as_list, check, finish, hook, same, skip

NUMASTOW = os.path.join(BUILD, "numastow")
DUMPS = os.path.realpath(os.path.join(PROJECT, "../shared/sysfs-dumps"))
HMAT = os.path.join(PROJECT, "tests/dumps/qemu-hmat-6.1.tar.gz")
MANY_NODES = ("16amd64-8n2c-cpusets", "256ia64-64n2s2c")
SGR = re.compile(r"\033\[[0-9;]*m")
WIDTHS = (60, 80, 200)
CONTAINERS = 30
LOOSE = {f"{i:x}" * 64: f"loose-{i}-".ljust(63, "lmno"[i]) for i in range(4)}  # Podman's names of containers without a grant


def name_of(i):
    return f"{'db-' if i % 2 else 'web-'}{i:02}-".ljust(63, "abcdefghij"[i % 10])


# --- terminals ------------------------------------------------------------------------------------

def environment(**more):
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "TERM")}
    return {**kept, "TERM": "xterm", "LC_ALL": "C.UTF-8", **more}


# Once in some thousand programs that end right after they have written much, the kernel gives the reader EIO before
# the last of it; so the terminal stays open, and a zero byte says that all is written.
THEN_ZERO = '"$@"; code=$?; printf "\\0"; exit $code'


def on_terminal(words, width, **env):
    """The exit code of a command and what it wrote to a terminal; its errors go elsewhere."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST  # "\n" stays "\n"
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    with subprocess.Popen(["sh", "-c", THEN_ZERO, "sh", NUMASTOW, *words], stdin=subprocess.DEVNULL, stdout=slave,
                          stderr=subprocess.DEVNULL, env=environment(**env)) as program:
        written = b""
        while not written.endswith(b"\0"):
            written += os.read(master, 65536)
        code = program.wait()
    os.close(slave)
    os.close(master)
    return code, written[:-1].decode()


def piped(words, **env):
    done = subprocess.run([NUMASTOW, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env=environment(**env))
    return done.returncode, done.stdout


# --- tables ---------------------------------------------------------------------------------------

HEADING = re.compile(r" *[A-Z][A-Z0-9%-]*( +[A-Z][A-Z0-9%-]*)+ *$")


def tables(text):
    """The tables of a screen: lists of lines, the headings first. A table ends with an empty line or a heading."""
    found, table = [], None
    for line in text.split("\n"):
        if HEADING.match(line):
            table = [line]
            found.append(table)
        elif not line.strip() or re.match(r"\(|pool: ", line):
            table = None  # what is below a table may be a sentence
        elif table is not None:
            table.append(line)
    return found


def ragged(table):
    """Headings between which no column of the screen is blank in all rows: cells are not where they belong."""
    heads = list(re.finditer(r"\S+", table[0]))
    width = max(map(len, table))
    blank = [all(line[i:i + 1] in ("", " ") for line in table) for i in range(width)]
    return [f"{a[0]} {b[0]}" for a, b in zip(heads, heads[1:]) if not any(blank[a.end():b.start()])]


SENTENCE = re.compile(r" *(\S+( \S+)?  +)?\S+( \S+)*")  # with a label before it, or without


def faults(text, width):
    """Sentences may be longer than a terminal is wide, which wraps them; what is laid out in columns may not."""
    rows = {line for table in tables(text) for line in table}
    bad = [f"{len(line)} columns: {line}" for line in text.split("\n")
           if len(line) > width and (line in rows or not SENTENCE.fullmatch(line))]
    for table in tables(text):
        bad += [f"not below each other: {pair}: {' / '.join(table[:3])}" for pair in ragged(table)]
    return bad


# --- machines -------------------------------------------------------------------------------------

def add_thread(machine, name):
    """What show and stat read of the container's process, and the memory that its cgroup is charged for."""
    pid, everything = machine.containers[name]["pid"], as_list(range(8))
    task = f"/proc/{pid}/task/{pid}"
    cpus = as_list(machine.cpuset(name))
    maps = "".join(f"7f{i:02}000 interleave:{everything} anon=9 N{i}=9 kernelpagesize_kB=4\n" for i in range(8)) + \
        f"7fff000 bind:{everything} stack anon=3 N1=3 kernelpagesize_kB=4\n"
    machine.write(f"{task}/status", f"Name:\ta-thread-of-it\nCpus_allowed_list:\t{cpus}\n"
                  f"Mems_allowed_list:\t{everything}\n")
    machine.write(f"/proc/{pid}/status", f"Name:\ta-thread-of-it\nCpus_allowed_list:\t{cpus}\n"
                  f"Mems_allowed_list:\t{everything}\n")
    machine.write(f"{task}/stat", machine.read(f"/proc/{pid}/stat") + "\n")
    machine.write(f"/proc/{pid}/comm", "a-thread-of-it\n")
    for where in (f"{task}/numa_maps", f"/proc/{pid}/numa_maps"):
        machine.write(where, maps)
    base = machine.cgroup_dir("memory", name)
    machine.write(f"{base}/memory.numa_stat", "".join(
        f"{kind}{''.join(f' N{n}={(n + 1) * 123456789 // 4096 * 4096}' for n in range(8))}\n"
        for kind in ("anon", "file", "shmem", "kernel_stack", "pagetables", "slab_reclaimable", "slab_unreclaimable")))


def crowded(path):
    """Eight NUMA nodes, 30 containers whose names have 63 characters, three refused ones, and memory blocks."""
    machine = Machine(path, nodes=8, cpus=128, pools={2 * MIB: (0, 4096), GIB: (0, 8)})
    add_memory(machine)
    placed = 0
    for i in range(CONTAINERS):
        asked = {"numastow.io/cpus": str(1 + i % 3)}
        if i % 2:
            asked["numastow.io/cpu-mode"] = "exclusive"
        if i % 3 == 0:
            asked["numastow.io/memory"] = "512Mi"
        if i % 5 == 0:
            asked["numastow.io/hugepages-2Mi"] = "64Mi"
        machine.container(name_of(i), asked)
        result = hook(machine, "apply", machine.state(name_of(i)))
        placed += result.code == 0
        if result.code:
            print("#", result)
        add_thread(machine, name_of(i))
    for id_ in LOOSE:
        machine.container(f"libpod-{id_}.scope", cpus="0-1", mems="0")
        add_thread(machine, f"libpod-{id_}.scope")
    machine.write("/var/lib/containers/storage/overlay-containers/containers.json",
                  json.dumps([{"id": id_, "names": [name]} for id_, name in LOOSE.items()]))
    same("containers of the crowded machine", placed, CONTAINERS)
    for i in range(3):
        name = f"refused-{i}-".ljust(63, "x")
        machine.container(name, {"numastow.io/cpus": "4711", "numastow.io/cpu-mode": "exclusive"})
        check(f"{name[:9]} is refused", hook(machine, "apply", machine.state(name)).code != 0)
    return machine


PAGE = os.sysconf("SC_PAGESIZE")
LRU, SLAB, BUDDY, ANON = 1 << 5, 1 << 7, 1 << 10, 1 << 12  # Documentation/admin-guide/mm/pagemap.rst


def add_contents(machine):
    """What is in the DIMM's first block: some of each container's pages, one of whose processes pins some, and of the kernel's."""
    block, pages = DIMM[0], BLOCK // PAGE
    flags, owners = [BUDDY] * pages, [0] * pages
    flags[-1] = SLAB
    for i in range(CONTAINERS):
        name = name_of(i)
        inode = os.stat(machine.file(machine.cgroup_dir("memory", name))).st_ino
        for page in range(64 * i, 64 * i + 8 + i):
            flags[page], owners[page] = LRU | ANON, inode
        pid = machine.containers[name]["pid"]
        machine.write(f"{machine.cgroup_dir('memory', name)}/cgroup.procs", f"{pid}\n")
        if i % 10 == 0:
            path = f"/proc/{pid}/status"
            machine.write(path, machine.read(path) + "\nVmPin:\t     4096 kB\nVmLck:\t     8192 kB\n")
    for kind, words in (("kpageflags", flags), ("kpagecgroup", owners)):
        with open(machine.file(f"/proc/{kind}"), "wb") as handle:
            handle.seek(8 * block * pages)
            handle.write(struct.pack(f"{pages}Q", *words))
            handle.truncate(8 * (DIMM[-1] + 1) * pages)


def unpacked(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    return folder


# --- commands -------------------------------------------------------------------------------------

VIEWS = (["topology"], ["topology", "--table"], ["topology", "--tree"], ["topology", "--firmware"],
         ["topology", "--table", "--output-all"], ["blocks"], ["zones"], ["zones", "--orders"], ["zones", "--output-all"],
         ["zones", "--lists"], ["stat"], ["stat", "--meminfo"], ["stat", "--output-all"], ["hugepages"],
         ["hugepages", "--output-all"], ["settings"], ["settings", "--all"], ["settings", "--all", "--output-all"],
         ["show"], ["show", "--output-all"], ["doctor"], ["doctor", "--output-all"], ["doctor", "--rules", "--output-all"],
         ["status"], ["ledger"])


# What reads one thing, or the contents of memory.
MORE = (["blocks", "--all", "--output-all"], ["explain", "cpus=4711", "memory=1Gi"], ["explain", "--nodes-only", "cpus=4"], ["offline", "--dry-run", "512Mi"],
        ["settings", "vm.zone_reclaim_mode", "numa_balancing"], ["config", "check"],
        ["doctor", "--program", name_of(3)], ["hugepages", "set", "0-7", "2Mi=1024"])
CONTROL = re.compile(r"[\0-\x09\x0b-\x1f\x7f]")
TOP = ["top", "--text", "--iterations", "1", "--delay", "100ms"]
MEASURE = ["measure", "--runs", "1", "--time", "2ms", "--size", "4Mi", "--force"]
COLOURS = set()


def at_width(words, width):
    """What is wrong with a command's screen of that width; and the screen."""
    code, text = on_terminal(words, width, NO_COLOR="1")
    bad = [] if code in (0, 3, 4) else [f"exit {code}"]
    if CONTROL.search(text):
        bad.append(f"control characters although NO_COLOR is set: {text!r}")
    if not text.strip() and words[0] != "doctor":  # which may have found nothing
        bad.append("nothing is printed")
    return [f"at {width}: {fault}" for fault in bad + faults(text, width)], text


def look(where, words, fixed=True):
    """Each of the screens of one command; `fixed`: it says the same each time."""
    bad, screens = [], {}
    shown = " ".join(w if len(w) < 63 else w[:5] + "..." for w in words if not w.startswith("/"))
    if not fixed and piped(words) == (1, ""):
        skip(f"{where}: {shown}", "this machine does not have it")
        return screens
    for width in WIDTHS:
        found, screens[width] = at_width(words, width)
        bad += found
    code, text = on_terminal(words, 80)
    if code not in (0, 3, 4):
        bad.append(f"with colours: exit {code}")
    COLOURS.update(SGR.findall(text))
    if CONTROL.search(SGR.sub("", text)):
        bad.append(f"more than colours: {text!r}")
    if fixed and SGR.sub("", text) != screens[80]:
        bad += ["the text depends on colours:", *unified_diff(screens[80].split("\n"), SGR.sub("", text).split("\n"))]
    _, text = piped(words)
    if CONTROL.search(text):
        bad.append(f"piped: control characters: {text!r}")
    bad += [f"piped: {fault}" for fault in faults(text, sys.maxsize)]
    check(f"{where}: {shown}", not bad, "\n# ".join(bad))
    return screens


def check_checks():
    """These checks find what they are for."""
    good = "NAME  SIZE WHY\nabc    2Gi it is\nab   128Mi far\n"
    same("a good table", faults(good, 80), [])
    check("a wide one", faults(good, 13))
    check("a shifted one", faults("NAME  SIZE WHY\nabc    2Gi it is\na-long-name   128Mi far\n", 80))
    check("a list that is laid out in columns", faults("  cores       0-1  2-3  4-5", 20))
    same("a sentence", faults("  memory      8Gi in all of it", 20), [])
    check("what moves the cursor is no colour", CONTROL.search(SGR.sub("", "\033[31mbad\033[0m\033[2J")))


def check_fits(*argv):
    """Of a --help: no line is wider than 80 columns, and the texts of the options are below each other, as are those of a list."""
    done = subprocess.run([*argv, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment())
    bad = [line for line in done.stdout.split("\n") if len(line) > 80]
    for part in done.stdout.split("\n\n"):
        options = [line for line in part.split("\n") if re.match(r" {2,6}-", line)]
        columns = {len(m[0]) for m in (re.match(r".*?\S  +(?=\S)", line[6:]) for line in options) if m}
        bad += [part] if len(columns) > 1 else []
    check(f"{os.path.basename(argv[0])} {' '.join(argv[1:])} --help: it fits, and is aligned",
          done.returncode == 0 and done.stdout and not bad, "\n# ".join(bad))


def check_help():
    for program in ("numastow-agent", "numastow-scheduler", "numastow-hook", "numastow-setup"):
        check_fits(os.path.join(BUILD, program))
    check_fits(os.path.join(PROJECT, "deploy/numastow-ca"))
    plugin = os.path.join(BUILD, "kubectl-numastow")
    listed = subprocess.run([plugin, "--help"], capture_output=True, text=True, check=True).stdout.split("\nOptions:")[0]
    for words in ([], *([c] for c in re.findall(r"^  ([a-z]+)  ", listed, re.M))):
        check_fits(plugin, *words)
    commands = [[c] for c in re.findall(r"^  ([a-z]+)  ", piped(["--help"])[1].split("\nOptions:")[0], re.M)]
    for words in ([], *commands, ["explain", "--cluster"], ["release", "--cluster"]):
        check_fits(NUMASTOW, *words)
        done = subprocess.run([NUMASTOW, *words, "--nosuch"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        check(f"{' '.join(words)} --nosuch: the message begins with the command", not words or done.returncode in (1, 2, 125) and
              re.match(r"(numastow|taskset)[a-z -]*: ", done.stderr), done)


def whole(screen, name):
    """Whether a name is on the screen, if need be in pieces below each other."""
    lines = screen.split("\n")
    for i, line in enumerate(lines):
        at = line.find(name[:8])
        if at >= 0 and name in "".join(below[at:].split(" ")[0] for below in lines[i:]):
            return True
    return False


def main():
    check_checks()
    check_help()
    with Temp() as temp:
        machine = crowded(f"{temp}/crowded")
        loose = list(LOOSE.values())
        for words in (*VIEWS, ["show", name_of(3)], ["show", loose[1]], ["stat", *loose], ["show", name_of(3), "--output-all"], ["stat", name_of(3)],
                      ["stat", *(name_of(i) for i in range(CONTAINERS))], ["explain", "cpus=4", "memory=1Gi"]):
            screens = look("crowded", [words[0], "--sysroot", machine.path, *words[1:]])
            named = {"ledger": [*map(name_of, range(CONTAINERS)), *loose], "show": loose, "stat loose": loose}.get(
                " ".join(words)[:10])
            for width, screen in screens.items() if named else ():
                same(f"{words[0]}: names that are cut at {width} columns", [n for n in named if not whole(screen, n)], [])
        look("crowded", [TOP[0], "--sysroot", machine.path, *TOP[1:]], fixed=False)  # the time of day
        add_contents(machine)
        for words in MORE:
            look("crowded", [words[0], "--sysroot", machine.path, *words[1:]])
        # Below a table's row, or an event whose line has a name in one piece, are sentences.
        for words in (["blocks", "--owners"], ["why"], ["why", "--last"]):
            for width in WIDTHS:
                code, screen = on_terminal([words[0], "--sysroot", machine.path, *words[1:]], width, NO_COLOR="1")
                below = [line for line in screen.split("\n") if line.startswith("    ")]
                same(f"{' '.join(words)}: sentences that are wider than {width} columns",
                     (code, bool(below), [line for line in below if len(line) > width]), (0, True, []))
        explained = ["drain", "--sysroot", machine.path, "--explain", str(DIMM[0])]
        for width, screen in look("crowded", explained).items():
            same(f"drain --explain: lines that are wider than {width} columns",
                 [line for line in screen.split("\n") if len(line) > width], [])
            check(f"drain --explain at {width} columns: kinds, owners and suspects",
                  all(w in screen for w in ("MOVABLE", "OWNER", "suspect", "pinned")), screen)
        trees = [("HMAT", unpacked(HMAT, f"{temp}/hmat"), VIEWS)]
        if os.path.isdir(DUMPS):
            few = [v for v in VIEWS if v[0] not in ("blocks", "zones")]  # whose files these dumps do not have
            trees += [(d, f"{unpacked(os.path.join(DUMPS, d + '.tar.bz2'), temp)}/{d}", few) for d in MANY_NODES]
        else:
            skip("dumps of machines with eight nodes and more", f"there is no {DUMPS}")
        for name, tree, views in trees:
            for words in views:
                look(name, [words[0], "--sysroot", tree, *words[1:]])
            look(name, [TOP[0], "--sysroot", tree, *TOP[1:]], fixed=False)
        for words in (*VIEWS, MEASURE, TOP, ["version"], ["show", str(os.getpid())], ["stat", str(os.getpid())]):
            look("here", words, fixed=False)
    check("there are colours on a terminal", COLOURS)
    finish()


if __name__ == "__main__":
    main()
