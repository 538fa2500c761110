# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: a simulated machine on which the hook runs, and counting of checks."""
import fcntl
import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(PROJECT, "tests/tools"))
from machine import GIB, MIB, Machine, as_list, parse_list  # noqa: E402,F401

BUILD = os.environ.get("NUMASTOW_BUILD") or os.path.join(PROJECT, "build/release")
HOOK_ON_ROOT = os.path.join(BUILD, "tests/tools/hook-on-root")
HOOK = os.path.join(BUILD, "numastow-hook")
FULL = "--full" in sys.argv[1:]
PATIENCE = 180  # seconds after which something that must happen has not

counts = {"ok": 0, "not ok": 0, "skip": 0}


def check(what, good, why=""):
    """Count one check. Return whether it passed."""
    word = "ok" if good else "not ok"
    counts[word] += 1
    print(f"{word} - {what}{'' if good or not why else ': ' + str(why)[:2000]}", flush=True)
    return bool(good)


def same(what, got, wanted):
    return check(what, got == wanted, f"{got!r} instead of {wanted!r}")


def skip(what, why):
    counts["skip"] += 1
    print(f"ok - {what} # SKIP {why}", flush=True)


def finish():
    print(f"{counts['ok']} passed, {counts['not ok']} failed, {counts['skip']} skipped")
    sys.exit(1 if counts["not ok"] else 0)


def columns_of(help_text, title=""):
    """The columns that --help lists, of the table with this title: in lines with what each is, or as a list."""
    lines = help_text.partition(title or "\n")[2].partition("Columns:\n")[2].partition("\n\n")[0]
    return [name for line in lines.splitlines() for name in re.split(", *", line.strip().split("  ")[0].rstrip(","))]


def eventually(function, seconds=PATIENCE):
    """Call the function until it returns something true, or time is over. Return its last result."""
    end = time.monotonic() + seconds
    while True:
        found = function()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


class Temp:
    """A folder that is removed at the end, on a tmpfs if possible, as /run is. Programs are started from it, so it is not
    in /dev/shm where that is mounted noexec, as container engines do."""

    def __enter__(self):
        usable = os.access("/dev/shm", os.W_OK) and not os.statvfs("/dev/shm").f_flag & os.ST_NOEXEC
        base = "/dev/shm" if usable else None
        self.path = tempfile.mkdtemp(prefix="numastow-test-", dir=base)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def killed(self):
        return self.code == -signal.SIGKILL

    def one_line(self):
        return (self.code == 1 and self.err.startswith("numastow: ") and
                self.err.count("\n") == 1 and self.err.endswith("\n"))

    def __repr__(self):
        return f"exit {self.code}, stderr {self.err!r}"


def run(argv, text, timeout=300):
    return Result(subprocess.run(argv, input=text, capture_output=True, text=True, check=False,
                                 timeout=timeout))


def again(what, argv, change, shown):
    """With --watch the command prints once more what there is by then, until a signal ends it; with --quiet nothing."""
    with subprocess.Popen([*argv, "--watch=100ms"], stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout.readline, "")
        first = next(lines, "")
        change()
        check(f"{what}: --watch shows what has changed", first and shown not in first and any(
            shown in line for line, _ in zip(lines, range(1000))), first)
        process.terminate()
        same(f"{what}: a signal ends --watch", process.wait(), -signal.SIGTERM)
    done = run([*argv, "-q"], "")
    same(f"{what}: --quiet", (done.code, done.out, done.err), (0, "", ""))


def hook(machine, command, text="", kill_at=0, fail_at=0, trace=None, args=(), prefix=()):
    argv = [*prefix, HOOK_ON_ROOT]
    argv += ["--kill-at", str(kill_at)] if kill_at else []
    argv += ["--fail-at", str(fail_at)] if fail_at else []
    argv += ["--trace", trace] if trace else []
    return run(argv + [machine.path, command, *args], text)


def claim(machine, *args):
    """Take, drop or list claims, as a DRA driver does."""
    return run([os.path.join(BUILD, "tests/tools/claim-on-root"), machine.path, *args], "")


MEMORY = "/sys/devices/system/memory"
ACPI = "/sys/devices/LNXSYSTM:00/PNP0C80:00"
DIMM = range(48, 52)
BLOCK = 128 * MIB


def add_memory(machine):
    """Two boot blocks on each NUMA node, and a DIMM of four on the second."""
    machine.write(f"{MEMORY}/block_size_bytes", f"{BLOCK:x}\n")
    for block in (*range(4), *DIMM):
        here, node = f"{MEMORY}/memory{block}", 1 if block in DIMM else block // 2
        machine.write(f"{here}/state", "online\n")
        machine.write(f"{here}/removable", "1\n")
        machine.write(f"{here}/valid_zones", "Movable\n" if block in DIMM else "Normal\n")
        os.symlink(f"../../memory/memory{block}",
                   machine.file(f"/sys/devices/system/node/node{node}/memory{block}"))
        if block in DIMM:
            os.symlink("../../../LNXSYSTM:00/PNP0C80:00", machine.file(f"{here}/firmware_node"))
    machine.write(f"{ACPI}/uid", "0x00\n")
    machine.write(f"{ACPI}/path", "\\_SB_.MHPC.MP00\n")


def hooks_at_once(machine, jobs):
    """Start a hook for each (command, state), wait until all of them wait for their input, and then give it to all.
    Return (exit code, stderr) in the order of the jobs."""
    running = [subprocess.Popen([HOOK_ON_ROOT, machine.path, command], stdin=subprocess.PIPE,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for command, _ in jobs]
    for process, (_, state) in zip(running, jobs):
        try:
            os.write(process.stdin.fileno(), state.encode())
        except BrokenPipeError:
            pass
    for process in running:
        process.stdin.close()
        process.stdin = None
    results = []
    for process in running:
        _, err = process.communicate(timeout=300)
        results.append((process.returncode, err.decode()))
    return results


# --- the ledger, read by somebody else's code -----------------------------------------------------


def query(machine, sql, *args):
    """Query a copy of the ledger: SQLite in another program does not take the ledger's lock, and might roll back a
    journal that is in use."""
    path = machine.file("/run/numastow/ledger.db")
    if not os.path.exists(path):
        return []
    with tempfile.TemporaryDirectory() as place:
        with open(machine.file("/run/numastow/ledger.lock"), "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in (path, path + "-journal"):
                if os.path.exists(name):
                    shutil.copy(name, place)
        db = sqlite3.connect(os.path.join(place, "ledger.db"))
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()


def leftovers(machine):
    """Return everything that is in the ledger, as text; "" when it is empty."""
    found = []
    for table in ("container", "share", "page", "cpu", "pool"):
        rows = query(machine, f"SELECT * FROM {table}")
        if rows:
            found.append(f"{table}: {rows}")
    return "; ".join(found)


def placed_cpus(machine, name):
    """Return (CPUs, nodes, exclusive) of a container's grant; None when it has none."""
    rows = query(machine, "SELECT key, nodes, mode FROM container WHERE id = ? AND state = 2", name)
    if len(rows) != 1:
        return None
    key, nodes, mode = rows[0]
    if not mode: # shared CPUs are computed: the ledger does not have them
        return machine.cpuset(name), parse_list(nodes), False
    cpus = query(machine, "SELECT cpu FROM cpu WHERE container = ? AND target = 0", key)
    return {cpu for cpu, in cpus}, parse_list(nodes), True


# --- neighbours -----------------------------------------------------------------------------------


def start_others(machine):
    """Start a container without annotations and a shared one, beside which the others run."""
    machine.container("plain")
    machine.container("shared0", {"numastow.io/cpus": "1"})
    for name in ("plain", "shared0"):
        if hook(machine, "apply", machine.state(name)).code:
            raise SystemExit("the machine cannot be set up")
    # Once through, so that everything is there that stays.
    machine.container("t", {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive"})
    hook(machine, "apply", machine.state("t"))
    machine.end("t")
    hook(machine, "release", machine.state("t"))


def end_others(machine, cgroup):
    """End containers without a poststop, and check that gc leaves nothing of them."""
    machine.end("plain")
    machine.end("shared0")
    result = hook(machine, "gc")
    left = leftovers(machine)
    check(f"v{cgroup}: nothing is left at the end", result.code == 0 and not left, left)


# --- what changed ---------------------------------------------------------------------------------

# The history and the locks stay, whatever happens.
KEPT = re.compile(r"^run(/numastow(/(ledger\.db(-journal)?|[^/]*\.lock|unmanaged|applied)?)?)?$")


def contents(entry):
    """Normalize a file's text: without the final newline, which written files may lack, and a checksum if it is long."""
    if entry.is_symlink():
        return "-> " + os.readlink(entry.path)
    if entry.is_dir():
        return "folder"
    if not entry.is_file():
        return "a socket or pipe"
    with open(entry.path, "rb", buffering=0) as handle:
        data = handle.read().rstrip(b"\n")
    return data if len(data) < 256 else hashlib.sha256(data).hexdigest()


def fingerprint(machine):
    """Return {path: contents} of the tree, without the history and the locks."""
    tree, folders = {}, [(machine.path, "")]
    for folder, prefix in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, path + "/"))
                if not path.startswith("run") or not KEPT.match(path):
                    tree[path] = contents(entry)
    return tree


def changed(before, after):
    return sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
