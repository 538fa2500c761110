#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ten minutes of 100 reports and 100 placements a second, and of containers that come and go on a
machine with an agent: neither program's memory grows. Without --full only that nothing gets lost."""
import os
import subprocess
import threading
import time

from fleetlib import start_agent, start_scheduler
from harness import BUILD, FULL, Machine, Temp, check, finish, hook, same

SIMULATOR = os.path.join(BUILD, "tests/bench/fleet_sim")
SECONDS = 600 if FULL else 6
RATE = 100
WARM = 120       # seconds in which caches, and what is kept for a while, fill up
MARGIN = 1 << 20  # bytes that memory may differ by: malloc's own rounding
ASK = "numastow.io/"


def resident(program):
    with open(f"/proc/{program.process.pid}/status", encoding="utf-8") as handle:
        return next(int(line.split()[1]) for line in handle if line.startswith("VmRSS:")) << 10


class Watcher(threading.Thread):
    """The memory of programs, once a second."""

    def __init__(self, **programs):
        super().__init__(daemon=True)
        self.programs, self.seen = programs, {name: [] for name in programs}
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(1):
            for name, program in self.programs.items():
                self.seen[name].append(resident(program))

    def judge(self):
        self.over.set()
        self.join()
        for name, seen in self.seen.items():
            warm = seen[WARM:]
            third = len(warm) // 3
            early, late = max(warm[:third]), max(warm[-third:])
            print(f"# {name}: {seen[0] >> 10} KiB at first, {early >> 10} KiB when warm, "
                  f"{late >> 10} KiB at the end", flush=True)
            check(f"the {name}'s memory is flat", late <= early + MARGIN,
                  f"{early} bytes in the first third, {late} in the last")


def live(machine, over, lives):
    """One container after the other."""
    machine.container("guest", {ASK + "cpus": "2", ASK + "cpu-mode": "exclusive"})
    while not over.is_set():
        if hook(machine, "apply", machine.state("guest")).code or \
                hook(machine, "release", machine.state("guest", status="stopped")).code:
            lives["failed"] += 1
        lives["lived"] += 1
        time.sleep(0.05)


def soak(temp):
    machine = Machine(f"{temp}/m")
    with start_scheduler(f"{temp}/data") as server, \
            start_agent(machine, "real", server.port) as agent:
        watcher = Watcher(scheduler=server, agent=agent)
        watcher.start()
        over, lives = threading.Event(), {"lived": 0, "failed": 0}
        guest = threading.Thread(target=live, args=(machine, over, lives))
        guest.start()
        done = subprocess.run(
            [SIMULATOR, f"127.0.0.1:{server.port}", "--nodes", "100", "--numa", "8", "--connections",
             "10", "--seconds", str(SECONDS), "--reports", str(RATE), "--placements", str(RATE)],
            capture_output=True, text=True, check=False, timeout=SECONDS + 300)
        over.set()
        guest.join()
        print("".join(f"# {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
        got = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        same("the simulator's end", done.returncode, 0)
        least = RATE * (SECONDS - 1) if FULL else RATE  # a busy computer has fewer in this time
        check("so many reports and placements", int(got["reports"]) >= least and
              int(got["placements"]) >= least, got)
        same("a placement failed", int(got.get("failed", 0)), 0)
        same("a stream was dropped", int(got["dropped"]), 0)
        check("containers came and went meanwhile", lives["lived"] > 0 and not lives["failed"], lives)
        if FULL:
            watcher.judge()
        watcher.over.set()


with Temp() as folder:
    soak(folder)
finish()
