#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A ledger that is lost and made anew while an agent has it open: the agent opens the new one by itself."""
import fcntl
import json
import os

from fleetlib import command, eventually, start_agent
from harness import Machine, Temp, check, finish, hook, query, same


def names(machine_agent):
    """The containers that the agent reports."""
    done = command("node", "--json", socket=machine_agent.socket)
    return [c["id"] for c in json.loads(done.out)["report"]["containers"]] if done.out else done.err


ASKED = {"numastow.io/cpu-mode": "exclusive", "numastow.io/cpus": "1"}


def start(machine, name, cpus):
    machine.container(name, {**ASKED, "numastow.io/cpus": str(cpus)})
    done = hook(machine, "apply", machine.state(name))
    check(f"{name} starts", done.code == 0, done)


with Temp() as temp:
    machine = Machine(f"{temp}/m", cpus=8)
    start(machine, "before", 2)
    with start_agent(machine, "m", 0, "--gc-interval", "600s") as agent:
        same("the agent knows the container", eventually(lambda: names(agent) == ["before"]), True)
        taken = machine.cpuset("before")
        with open(machine.file("/run/numastow/ledger.lock"), "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.unlink(machine.file("/run/numastow/ledger.db"))
        # It is not taken for the first start since boot: the CPUs of `before` would be given again.
        for what, state in (("apply", machine.container("late", ASKED)), ("gc", "")):
            done = hook(machine, what, state)
            check(f"{what} without the ledger is refused in one line, with what to do",
                  done.one_line() and "is missing" in done.err and "gc --rebuild" in done.err, done)
        machine.end("late")
        done = hook(machine, "apply", machine.container("plain"))
        check("a container that asks for nothing starts, off exclusive CPUs",
              done.code == 0 and not machine.cpuset("plain") & taken, f"{done} {machine.cpuset('plain')}")
        # The agent writes CPU sets without the simulated kernel, which would make them effective: none is left to write.
        machine.end("plain")
        done = hook(machine, "release", machine.state("plain", status="stopped"))
        same("and ends without the ledger", (done.code, machine.exists("/run/numastow/unmanaged/plain")), (0, False))
        for _ in range(2):  # what `numastow gc --rebuild` does; a ledger that is whole stays
            done = hook(machine, "rebuild")
            same("it is made anew", done.code, 0)
        start(machine, "after", 1)
        check("the agent opens the new one", agent.wait("the ledger was rebuilt, and is open again"),
              agent.said[-5:])
        same("and knows those that start from then on",
             eventually(lambda: "after" in names(agent)), True)
        same("which are in the new ledger",
             query(machine, "SELECT id FROM container WHERE id = 'after'"), [("after",)])
        # What the agent writes goes there, too.
        machine.end("after")
        done = hook(machine, "release", machine.state("after", status="stopped"))
        same("what has ended is gone for the agent", eventually(lambda: "after" not in names(agent)), True)
        same("it goes on", agent.process.poll(), None)
finish()
