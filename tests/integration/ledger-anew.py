#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A ledger that is set aside while an agent has it open: the agent opens the new one by itself."""
import fcntl
import json
import os

from fleetlib import command, eventually, start_agent
from harness import Machine, Temp, check, finish, hook, query, same


def names(machine_agent):
    """The containers that the agent reports."""
    done = command("node", "--json", socket=machine_agent.socket)
    return [c["id"] for c in json.loads(done.out)["report"]["containers"]] if done.out else done.err


def start(machine, name, cpus):
    machine.container(name, {"numastow.io/cpus": str(cpus), "numastow.io/cpu-mode": "exclusive"})
    done = hook(machine, "apply", machine.state(name))
    check(f"{name} starts", done.code == 0, done)


with Temp() as temp:
    machine = Machine(f"{temp}/m", cpus=8)
    start(machine, "before", 2)
    with start_agent(machine, "m", 0, "--gc-interval", "600s") as agent:
        same("the agent knows the container", eventually(lambda: names(agent) == ["before"]), True)
        # As `numastow gc --rebuild` does it; the next hook makes a new one.
        ledger = machine.file("/run/numastow/ledger.db")
        with open(machine.file("/run/numastow/ledger.lock"), "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(ledger, ledger + ".damaged-1")
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
