#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Processes and threads that end while commands look at them: thousands of them start and end, beside some that stay. Every
command shows those that stay, takes one that has ended for none, and says nothing else."""
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

from harness import BUILD, check, finish, same

NUMASTOW = os.path.join(BUILD, "numastow")
ROUNDS = 2  # of all commands; there are more rounds until WANTED processes came and went, or LONGEST seconds are over
WANTED, LONGEST = 1000, 300
CPU = min(os.sched_getaffinity(0))
ONE, SOME = 1, 8  # as words: so many of the processes
NAME = "vanishing-test"
GONE = re.compile(r"(numastow: (there is no process \d+|process \d+ has ended)\n)+|"
                  r"numastow: --program \d+: there is no such process.*\n|numastow: /proc/\d+/\w+: No such (file|process).*\n")


def name_it():
    with open("/proc/self/comm", "w", encoding="ascii") as handle:
        handle.write(NAME)


def stay():
    """A process that stays, with threads that do not."""
    name_it()
    os.sched_setaffinity(0, {CPU})
    while os.getppid() != 1:
        threading.Thread(target=time.sleep, args=(random.random() / 100,)).start()
        time.sleep(0.005)


def fork_all_the_time(counter):
    """Children live for up to 50 ms; the number of them is counted by bytes in a pipe."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    parent = os.getppid()
    while os.getppid() == parent:
        if os.fork() == 0:
            try:
                name_it()
                os.sched_setaffinity(0, {CPU})
                time.sleep(random.random() / 20)
            finally:
                os._exit(0)
        os.write(counter, b".")
        time.sleep(0.002)


def child(function, *args):
    pid = os.fork()
    if pid == 0:
        try:
            function(*args)
        finally:
            os._exit(0)
    return pid


def named(since):
    """The processes of our name, of which some have just ended."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(entry) > since:
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as handle:
                    if handle.read() == NAME + "\n":
                        found.append(int(entry))
        except OSError:
            pass
    return found


def look(words, stays, names_one):
    """What is wrong with one answer. `names_one`: the exit code may be that of a process which is gone."""
    done = subprocess.run([NUMASTOW, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=300)
    good = done.returncode in (0, 4) and not done.stderr
    gone = names_one and done.returncode in (1, 64) and GONE.fullmatch(done.stderr) or done.returncode == 64 and not done.stderr
    bad = [] if good or gone else [f"exit {done.returncode}: {done.stderr}"]
    if good and "--json" in words:
        shown = json.loads(done.stdout)
        for key in ("processes",) if words[0] in ("show", "stat") and not names_one else ():
            missing = set(stays) - {p["pid"] for p in shown[key]}
            bad += [f"those that stay are missing: {sorted(missing)}"] if missing else []
    return bad


def main():
    reading, counter = os.pipe()
    stays = [child(stay) for _ in range(3)]
    children = stays + [child(fork_all_the_time, counter)]
    os.close(counter)
    faults, asked, started, rounds, end = {}, 0, 0, 0, time.monotonic() + LONGEST
    try:
        while rounds < ROUNDS or started < WANTED and time.monotonic() < end:
            rounds += 1
            for words in (["show"], ["show", "--json"], ["show", ONE], ["show", SOME], ["show", NAME, "--json"], ["stat"], ["stat", ONE],
                          ["stat", SOME], ["stat", NAME, "--json"], ["status"], ["doctor"], ["doctor", "--program", ONE],
                          ["doctor", "--program", NAME], ["top", "--text", "--iterations", "2", "--delay", "100ms"],
                          ["top", "--text", "--iterations", "2", "--delay", "100ms", ONE], ["bind", "--cpus", str(CPU), ONE],
                          ["bind", "--cpus", str(CPU), SOME], ["bind", "--json", "--cpus", str(CPU), SOME],
                          ["migrate", "--dry-run", ONE, "0", "0"], ["migrate", ONE, "0", "0"]):
                wanted = next((w for w in words if w in (ONE, SOME)), 0)
                pids = named(stays[0])
                some = random.sample(pids, min(wanted, len(pids)))
                if wanted and not some:
                    continue
                real = [w for word in words for w in (some if word in (ONE, SOME) else [word])]
                asked += 1
                started += len(os.read(reading, 1 << 16))
                for fault in look(real, stays, bool(wanted)):
                    faults.setdefault(" ".join(map(str, words)), []).append(fault)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
    check("every command was asked", asked > 30, asked)
    check("while a thousand processes and more came and went", started >= WANTED, started)
    same("no command minds", faults, {})
    finish()


if __name__ == "__main__":
    sys.exit(main())
