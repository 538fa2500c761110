# SPDX-License-Identifier: Apache-2.0
"""The share of a CPU that numastow top takes on a machine with 10,000 processes, all in one container."""
import os
import re
import resource
import subprocess
import time

PROCESSES = 10_000
SECONDS = 30
ID = "be" * 32


def cgroup():
    """A folder that has the name of a container's cgroup, in the hierarchy of the cpuset controller."""
    v1 = os.path.exists("/sys/fs/cgroup/cpuset/cpuset.cpus")
    top = "/sys/fs/cgroup/cpuset" if v1 else "/sys/fs/cgroup"
    if not v1:
        with open(f"{top}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write("+cpuset")
    path = f"{top}/docker/{ID}"
    made = [p for p in (f"{top}/docker", path) if not os.path.isdir(p)]
    for folder in made:
        os.mkdir(folder)
        for name in ("cpuset.cpus", "cpuset.mems") if v1 else ():
            with open(f"{os.path.dirname(folder)}/{name}", encoding="ascii") as above, \
                    open(f"{folder}/{name}", "w", encoding="ascii") as file:
                file.write(above.read())
    return path, made


def share(argv):
    """Processor time, of the command and what it starts, by the time that it ran."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / took, spent, done.stdout


def measure_top(bench, cli, say, table):
    say(f"numastow top for {SECONDS} s, with {PROCESSES} processes in one container")
    path, made = cgroup()
    with subprocess.Popen([f"{bench}/many", str(PROCESSES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          preexec_fn=lambda: os.write(os.open(f"{path}/cgroup.procs", os.O_WRONLY), b"0\n")) as many:
        ready = many.stdout.readline() == b"ready\n"
        rows = [["", "share of a CPU", "of an output", "wanted"]]
        base = [cli, "top", "--text", "--delay", "1s", "--iterations", str(SECONDS)]
        for name, words, wanted in (("all containers", [], ""), ("with that one's pages", [ID], "<= 6 %")):
            if not ready:
                continue
            part, spent, text = share([*base, *words])
            rows.append([name, f"{part * 100:.2f} %", f"{spent / SECONDS * 1e3:.2f} ms", wanted])
            if words:
                read = re.findall(r"Pages of container \S+: (.*)", text)[-1]
        many.stdin.close()
        many.wait()
    for folder in reversed(made):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                os.rmdir(folder)
                break
            except OSError:  # the last processes are on their way out
                time.sleep(0.1)
    if not ready:
        say(f"skipped: this machine does not start {PROCESSES} processes\n")
        return
    table(rows)
    say(f"Of the processes: {read}.\n")
