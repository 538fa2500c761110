#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow top, driven in tmux on a made machine: whole screens of 80x24 and 200x60 are compared with tests/data/top-*,
keys and a new size of the terminal change them, and each way of ending it leaves the terminal as it was. As text, it
has the same tables. `top.py --write` writes what it sees to tests/data."""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

from harness import BUILD, MIB, PROJECT, Machine, Temp, check, finish, hook, same, skip
from machine import GIB
from schemalib import VALIDATORS

NUMASTOW = os.path.join(BUILD, "numastow")
DATA = os.path.join(PROJECT, "tests/data")
WRITE = "--write" in sys.argv[1:]
WITHIN = 300  # s
CLOCK = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
CONTAINERS = 12
HOSTILE = "b" * 64


# --- the machine ----------------------------------------------------------------------------------

def memory(machine, base, mib):
    machine.write(f"{base}/memory.numa_stat", "anon" + "".join(f" N{n}={m * MIB}" for n, m in enumerate(mib)) + "\n")


def name_of(i):
    return ("web-", "db-", "cache-")[i % 3] + f"{i:02}"


def make(path):
    """Four NUMA nodes; twelve containers with grants, of which two have memory off their nodes; and one for which no hook ran, with a
    name of Podman's that has control characters. The third node is under memory pressure."""
    machine = Machine(path, nodes=4, cpus=16, pools={})
    for i in range(CONTAINERS):
        asked = {"numastow.io/cpus": "1", "numastow.io/memory": f"{1 + i % 4}Gi", "numastow.io/nodes": str(i % 4)}
        if i % 4 == 0:
            asked["numastow.io/cpu-mode"] = "exclusive"
        machine.container(name_of(i), asked)
        done = hook(machine, "apply", machine.state(name_of(i)))
        check(f"{name_of(i)} is placed", done.code == 0, done)
        here = [0] * 4
        here[i % 4] = 100 + 10 * i
        if i in (3, 6):
            here[0] = 50 * i
        base = machine.cgroup_dir("memory", name_of(i))
        memory(machine, base, here)
        machine.write(f"{base}/cpu.stat", "usage_usec 5\n")
        pid = machine.containers[name_of(i)]["pid"]
        machine.write(f"/proc/{pid}/comm", f"the-{name_of(i)}\n")
        machine.write(f"/proc/{pid}/numa_maps", f"7f00 bind:{i % 4} anon={i + 1} N{i % 4}={i + 1} kernelpagesize_kB=4\n")
        machine.write(f"{base}/cgroup.procs", f"{pid}\n")
    base = f"/sys/fs/cgroup/machine.slice/libpod-{HOSTILE}.scope"
    for name, text in (("cgroup.events", "populated 1\n"), ("cgroup.procs", ""), ("memory.max", "max\n"),
                       ("cpuset.cpus", "\n"), ("cpuset.cpus.effective", "0-15\n"), ("cpuset.mems", "\n"),
                       ("cpuset.mems.effective", "0-3\n")):
        machine.write(f"{base}/{name}", text)
    memory(machine, base, [50, 50, 0, 0])
    machine.write("/var/lib/containers/storage/overlay-containers/containers.json",
                  f'[{{"id":"{HOSTILE}","names":["a\\u001b[2J\\u009bb{"-long" * 20}"]}}]')
    for node in range(4):
        machine.write(f"/sys/devices/system/node/node{node}/numastat",
                      f"numa_hit {1000 + node}\nnuma_miss 5\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 1\nother_node 1\n")
    zones = machine.read("/proc/zoneinfo")
    parts = zones.split("Node ")
    parts[3] = re.sub(r"pages free +\d+", "pages free     4", parts[3])
    machine.write("/proc/zoneinfo", "Node ".join(parts) + "\n")
    machine.write("/proc/stat", "cpu  1 1 1 1\n" + "".join(f"cpu{c} 5 0 0 5 0 0 0 0\n" for c in range(16)))
    machine.write("/proc/sys/kernel/numa_balancing", "1\n")
    machine.write("/proc/vmstat", "numa_hint_faults 10\nnuma_hint_faults_local 9\nnuma_pages_migrated 1\n")
    machine.write("/proc/pressure/memory", "some avg10=1.25 avg60=0.00 avg300=0.00 total=9\n"
                  "full avg10=0.50 avg60=0.00 avg300=0.00 total=9\n")
    machine.write("/proc/pressure/cpu", "some avg10=12.00 avg60=0.00 avg300=0.00 total=9\n")
    return machine


# --- tmux -----------------------------------------------------------------------------------------

class Tmux:
    """A tmux server of its own, without the user's configuration."""

    def __init__(self, temp):
        self.temp, self.socket = temp, f"{temp}/tmux"
        self.panes = 0
        with open(f"{temp}/tmux.conf", "w", encoding="ascii") as conf:
            conf.write("set -g status off\nset -g default-terminal screen-256color\n"
                       "set -g exit-empty off\n")

    def __call__(self, *words):
        env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "NO_COLOR", "COLUMNS", "LINES")}
        return subprocess.run(["tmux", "-u", "-S", self.socket, "-f", f"{self.temp}/tmux.conf", *words], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=WITHIN,
                              env={**env, "LC_ALL": "C.UTF-8", "SHELL": "/bin/sh"}).stdout

    def pane(self, words, width, height, **env):
        self.panes += 1
        return Pane(self, f"p{self.panes}", words, width, height, env)

    def end(self):
        if os.path.exists(self.socket):
            subprocess.run(["tmux", "-S", self.socket, "kill-server"], check=False, stderr=subprocess.DEVNULL)


class Pane:
    """A shell that runs numastow top and writes its exit code, and the terminal's settings before and after, into files. Ctrl-C ends
    the program only, not the shell."""

    def __init__(self, tmux, name, words, width, height, env):
        self.tmux, self.name = tmux, name
        self.pid_file, before, after, self.code = (f"{tmux.temp}/{name}.{w}" for w in ("pid", "before", "after", "code"))
        self.settings = before, after
        inner = f"echo $$ >{self.pid_file}.new; mv {self.pid_file}.new {self.pid_file}; exec {shlex.join([NUMASTOW, *words])}"
        sets = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
        script = f"trap : INT QUIT; stty -g >{before}; {sets} sh -c {shlex.quote(inner)}; " \
            f"code=$?; stty -g >{after}; echo $code >{self.code}.new; mv {self.code}.new {self.code}; exec sleep 100000"
        tmux("new-session", "-d", "-s", name, "-x", str(width), "-y", str(height), script)

    def screen(self, *options):
        return self.tmux("capture-pane", "-p", "-t", self.name, *options)

    def text(self):
        return "\n".join(line.rstrip() for line in CLOCK.sub("DATE", self.screen()).split("\n")).rstrip() + "\n"

    def until(self, what, seen):
        """Wait until `seen` accepts the screen; return it."""
        deadline = time.monotonic() + WITHIN
        while not seen(text := self.text()):
            if time.monotonic() > deadline:
                check(what, False, f"\n{text}")
                return text
            time.sleep(0.05)
        check(what, True)
        return text

    def is_golden(self, what, name):
        path = f"{DATA}/{name}"
        if WRITE:
            text = self.until(what, is_whole)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return
        with open(path, encoding="utf-8") as file:
            wanted = file.read()
        self.until(what, lambda text: text == wanted)

    def keys(self, *keys):
        self.tmux("send-keys", "-t", self.name, *keys)

    def format(self, what):
        return self.tmux("display-message", "-p", "-t", self.name, what).strip()

    def pid(self):
        with open(self.pid_file, encoding="ascii") as file:
            return int(file.read())

    def ends(self, how, code):
        """Check that it has ended in that way, and that the terminal is as before."""
        self.until(f"{how}: it ends", lambda _: os.path.exists(self.code))
        with open(self.code, encoding="ascii") as file:
            same(f"{how}: exit code", int(file.read()), code)
        settings = []
        for path in self.settings:
            with open(path, encoding="ascii") as file:
                settings.append(file.read())
        same(f"{how}: settings of the terminal", settings[1], settings[0])
        # What it wrote last may still be on its way through the terminal.
        self.until(f"{how}: alternate screen, cursor, keypad are as before",
                   lambda _: self.format("#{alternate_on} #{cursor_flag} #{keypad_flag}") == "0 1 0")
        check(f"{how}: nothing of the screen is left", "Containers:" not in self.text())
        self.tmux("kill-session", "-t", self.name)


def is_whole(text):
    """Whether the screen has rates, and its last line."""
    return re.search(r"^ +3 .* none +0 +0 +0$", text, re.M) and "q quit" in text


# --- what is tested -------------------------------------------------------------------------------

def check_screens(tmux, top):
    pane = tmux.pane(top, 80, 24)
    pane.is_golden("80x24", "top-80x24.txt")
    same("the alternate screen, without a cursor", pane.format("#{alternate_on} #{cursor_flag}"), "1 0")
    tmux("resize-window", "-t", pane.name, "-x", "200", "-y", "60")
    pane.is_golden("200x60, after a new size", "top-200x60.txt")
    tmux("resize-window", "-t", pane.name, "-x", "60", "-y", "20")
    pane.until("60x20: no line is wider", lambda t: is_line(t, 18, "q quit") or is_line(t, 19, "q quit"))
    tmux("resize-window", "-t", pane.name, "-x", "80", "-y", "24")
    pane.is_golden("80x24 again", "top-80x24.txt")
    pane.keys("q")
    pane.ends("q", 0)
    pane = tmux.pane(top, 200, 60)
    pane.is_golden("200x60 from the start", "top-200x60.txt")
    pane.keys("q")
    pane.ends("q", 0)


def is_line(text, number, start):
    lines = text.split("\n")
    return len(lines) > number and lines[number].startswith(start)


def rows(text):
    """The names of the containers on the screen."""
    below = text.split("Containers:", 1)[-1].split("\n")[2:]
    return [line.split()[0] for line in below if re.match(r"(web|db|cache|a\?)", line)]


def check_keys(tmux, top):
    pane = tmux.pane(top, 80, 24)
    text = pane.until("by memory", lambda t: "Containers: 13, by memory" in t and rows(t))
    same("the largest first", rows(text)[:2], ["web-06", "web-03"])
    pane.keys(">")
    pane.until("> sorts by the next column", lambda t: "by off-node" in t)
    pane.keys("<", "<")
    pane.until("<", lambda t: "by promised" in t)
    pane.keys("r")
    pane.until("r", lambda t: "by promised (reversed)" in t)
    pane.keys("r", "/", "d", "b")
    text = pane.until("/ filters while it is typed", lambda t: 'Containers: 4 of 13, by promised, with "db_"' in t)
    check("what has it in its name", all(r.startswith("db-") for r in rows(text)), rows(text))
    pane.keys("BSpace")
    pane.until("a character is taken back", lambda t: 'with "d_"' in t)
    pane.keys("b", "Enter")
    pane.until("Enter ends it", lambda t: 'with "db"' in t)
    pane.keys("Down", "Enter")
    text = pane.until("Enter shows the pages of the container with the cursor",
                      lambda t: re.search(r"Pages of container db-\d\d: 1 process$", t, re.M) and "MAPPED" in t)
    name = re.search(r"Pages of container (db-\d\d)", text)[1]
    check("of its process", f"the-{name}" in text, text)
    check("the cursor is there", name in "".join(highlighted(pane)), highlighted(pane))
    pane.keys("Up")
    pane.until("the cursor takes the pages with it", lambda t: re.search(r"Pages of container (?!" + name + r")\S+: 1 pr", t))
    pane.keys("Enter", "Escape")
    pane.until("Esc clears the filter", lambda t: "Containers: 13, by promised" in t and "Pages of" not in t and "with" not in t)
    pane.keys("?")
    pane.until("? shows the keys", lambda t: "Page Down" in t and "Containers:" not in t)
    pane.keys("?")
    pane.until("? hides them", lambda t: "Containers:" in t)
    for _ in range(3):
        pane.keys("NPage")
    pane.until("Page Down scrolls", lambda t: len(rows(t)) and "cache-02" not in rows(t)[0] and is_last(pane))
    pane.keys("q")
    pane.ends("q", 0)


def highlighted(pane):
    """Lines in reverse, with their escape sequences."""
    return [line for line in pane.screen("-e").split("\n") if re.search(r"\033\[(0;)?7m", line)]


def is_last(pane):
    lines = [line for line in pane.screen("-e").rstrip("\n").split("\n") if line]
    return any("\033[7m" in line for line in lines[-3:])


def check_live(tmux, top, machine):
    """Changes are shown: rates, a container that ends and begins, the estimate of local accesses."""
    pane = tmux.pane(top, 200, 60)
    pane.until("before", is_whole)
    counters = "/sys/devices/system/node/node0/numastat"
    text, faults = machine.read(counters), 10
    hits = 1000

    def changed(t):
        nonlocal hits, faults
        # Again and again: a rate is that since the last reading.
        hits, faults = hits + 100000, faults + 1000
        machine.write(counters, re.sub(r"numa_hit \d+", f"numa_hit {hits}", text))
        machine.write("/proc/vmstat", f"numa_hint_faults {faults}\nnuma_hint_faults_local 9\nnuma_pages_migrated 1\n")
        return re.search(r"^ +0 .* none +[1-9]\d*[kM]? +0 +0$", t, re.M) and "0 % of accesses local (estimate, of " in t

    pane.until("hits, and the estimate of local accesses", changed)
    base = machine.file(f"/sys/fs/cgroup/machine.slice/libpod-{HOSTILE}.scope")
    shutil.move(base, f"{machine.path}/aside")
    pane.until("a container has ended", lambda t: "Containers: 12," in t)
    shutil.move(f"{machine.path}/aside", base)
    pane.until("a container has begun", lambda t: "Containers: 13," in t)
    pane.keys("q")
    pane.ends("q", 0)
    machine.write(counters, text + "\n")
    machine.write("/proc/vmstat", "numa_hint_faults 10\nnuma_hint_faults_local 9\nnuma_pages_migrated 1\n")


def check_ends(tmux, top):
    pane = tmux.pane(top, 80, 24)
    pane.until("it runs", is_whole)
    pane.keys("C-c")
    pane.ends("Ctrl-C", 130)
    for number in (signal.SIGTERM, signal.SIGHUP):
        pane = tmux.pane(top, 80, 24)
        pane.until("it runs", is_whole)
        os.kill(pane.pid(), number)
        pane.ends(number.name, 128 + number)
    pane = tmux.pane([*top, "--iterations", "1"], 80, 24)
    pane.ends("--iterations 1", 0)
    pane = tmux.pane(top, 80, 24, TERM="no-such-terminal")
    pane.until("an unknown type of terminal", lambda t: "the type of the terminal (TERM) is not known" in t)
    pane.ends("an unknown type of terminal", 1)


def check_colours(tmux, top):
    pane = tmux.pane(top, 80, 24)
    pane.until("with colours", is_whole)
    check("pressure and what is off its node are coloured", "\033[31m" in pane.screen("-e") and "\033[33m" in pane.screen("-e"),
          repr(pane.screen("-e")))
    pane.keys("q")
    pane.ends("q", 0)
    pane = tmux.pane(top, 80, 24, NO_COLOR="1")
    pane.is_golden("NO_COLOR: the same text", "top-80x24.txt")
    check("no colour", not re.search(r"\033\[[0-9;]*[34][0-7]", pane.screen("-e")), repr(pane.screen("-e")))
    pane.keys("q")
    pane.ends("q", 0)


def run(words, **more):
    return subprocess.run([NUMASTOW, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=WITHIN, **more)


def check_text(top):
    done = run([*top, "--text", "--iterations", "2"])
    outputs = done.stdout.split("numastow top")
    same("--text: exit, errors, outputs", (done.returncode, done.stderr, len(outputs)), (0, "", 3))
    check("only text", not re.search(r"[\0-\x09\x0b-\x1f\x7f\x80-\x9f]", done.stdout), repr(done.stdout))
    same("all containers, the largest first", rows(outputs[2])[0], "web-06")
    check("whole names, cleaned", "a?[2J?" in outputs[1] and "-long" * 20 in outputs[1], outputs[1])
    same("a pipe is as --text", CLOCK.sub("", run([*top, "--iterations", "1"]).stdout), CLOCK.sub("", "numastow top" + outputs[1].rstrip("\n") + "\n"))
    done = run([*top, "--text", "--iterations", "1", name_of(5)])
    check("pages of a named container", f"Pages of container {name_of(5)}: 1 process\n" in done.stdout and
          f"the-{name_of(5)}" in done.stdout, done.stdout)
    done = run([*top, "--text", "--iterations", "1", "--last"])
    check("pages of the last one", f"Pages of container {name_of(CONTAINERS - 1)}: 1 process\n" in done.stdout, done.stdout)
    done = run([*top, "--text", "--iterations", "1", "--last", "web"])
    same("the last one, and another", (done.returncode, done.stdout), (2, ""))
    done = run([*top, "--text", "--iterations", "1", "--filter", "web", "--sort", "name", "--node", "1"])
    same("--filter, --sort", rows(done.stdout), sorted(name_of(i) for i in range(CONTAINERS) if i % 3 == 0))
    check("--node", "\n   1 " in done.stdout and "\n   0 " not in done.stdout, done.stdout)
    for words, code in ((["nothing"], 1), (["4711000"], 1), (["--sort", "x"], 2), (["--iterations", "0"], 2), (["-d", "1ms"], 2),
                        (["--filter", "x" * 65], 2), (["a", "b"], 2)):
        done = run([*top, "--text", "--iterations", "1", *words])
        check(f"{' '.join(words)[:20]}: exit {code}, one line", done.returncode == code and done.stderr.startswith("numastow: "), done)
    with subprocess.Popen([NUMASTOW, *top, "--text"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        same("a reader that ends, ends it", process.wait(timeout=WITHIN), -signal.SIGPIPE)


def documents(text):
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        document, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        found.append(document)
    return found


def check_json(top):
    """The same as in the text, an object for each output."""
    done = run([*top, "--json", "--iterations", "3", "--sort", "name", "--filter", "web", "--node", "2-3"])
    same("--json: exit, errors", (done.returncode, done.stderr), (0, ""))
    found = documents(done.stdout)
    same("an object for each output, as its schema has it", [list(VALIDATORS["top"].iter_errors(d)) for d in found], [[], [], []])
    for document in found:
        check("rates since the reading before", document["seconds"] > 0.2, document["seconds"])
        same("nodes", [(n["node"], n["n_cpus"], n["pressure"], n["misses_per_second"]) for n in document["nodes"]],
             [(2, 4, "below-min", 0), (3, 4, "none", 0)])
        same("containers", [c["id"] for c in document["containers"]],
             sorted(name_of(i) for i in range(CONTAINERS) if i % 3 == 0))
        web = next(c for c in document["containers"] if c["id"] == "web-06")
        same("what one has, and where",
             (web["grant"], web["n_cpus"], web["mems"], web["promised"], web["memory"], web["off_node_percent"]),
             ("shared", 1, "2", 3 * GIB, 460 * MIB, round(100 * 300 / 460, 4)))
        same("by node", web["nodes"], [{"node": n, "memory": m * MIB} for n, m in enumerate((300, 0, 160, 0))])
        same("pressure of the machine", (document["pressure"]["memory"]["some"]["avg10"],
                                         document["pressure"]["cpu"]["full"]), (1.25, None))
        same("balancing", (document["balancing"]["numa_balancing"], document["balancing"]["hint_faults"],
                           document["balancing"]["local_percent"]), (1, 0, None))
        same("nothing was named", document["pages"], None)
    found = documents(run([*top, "--json", "--iterations", "1", HOSTILE]).stdout)
    same("without a grant", [(c["grant"], c["n_cpus"], c["promised"]) for c in found[0]["containers"] if c["id"] == HOSTILE],
         [(None, None, None)])


def check_rights(temp):
    """Without root, it shows the rest, and which parts are missing."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        skip("without root", "needs root to begin with, and setpriv")
        return
    if not os.path.isdir("/sys/devices/system/node/node0"):
        skip("without root", "this kernel knows no nodes")
        return
    # The programs may be where only root may look.
    for name in ("numastow", "numastow-top"):
        shutil.copy(os.path.join(BUILD, name), temp)
    os.chmod(temp, 0o755)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"{temp}/numastow", "top", "--iterations", "1"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=WITHIN)
    check("without root", done.returncode == 0 and "NODE" in done.stdout and done.stderr == "", done)
    hidden = os.path.exists("/run/numastow/ledger.db")
    same("what only root can read is said", "only root can read grants and drains" in done.stdout, hidden)


def main():
    with Temp() as temp:
        machine = make(f"{temp}/machine")
        top = ["top", "--sysroot", machine.path, "--delay", "300ms"]
        check_text(top)
        check_json(top)
        check_rights(temp)
        if not shutil.which("tmux"):
            skip("the full screen", "no tmux")
            finish()
        tmux = Tmux(temp)
        try:
            check_screens(tmux, top)
            check_keys(tmux, top)
            check_live(tmux, top, machine)
            check_ends(tmux, top)
            check_colours(tmux, top)
        finally:
            tmux.end()
    finish()


if __name__ == "__main__":
    main()
