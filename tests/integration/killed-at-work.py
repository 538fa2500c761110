#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The hook, and `numastow run`, killed at each of their steps, one after the other: nothing is lost.

A step is every access to a file, every write of SQLite, every rename; see tests/tools/fakekernel.h.
After each death gc runs, while the container still lives and again when it has ended.
cgroup v2; v1, too, with --full (else every fifth step of it).
"""
from harness import (FULL, Machine, Temp, changed, check, end_others, fingerprint, finish, hook,
                     placed_cpus, query, start_others)

KINDS = {
    "shared": {"cpus": "2", "memory": "256Mi"},
    "exclusive": {"cpus": "2", "cpu-mode": "exclusive"},
    "unannotated": {},
    "hugepages": {"cpus": "1", "hugepages-2Mi": "64Mi"},
}
LAST = 5000  # no hook takes that many steps


def annotations(kind):
    return {f"numastow.io/{k}": v for k, v in KINDS[kind].items()}


def strip(tree):
    return {p: v for p, v in tree.items() if not p.startswith("bundles")}


def undone(machine, before):
    """Return what a killed apply has left, while the container lives and after gc has run; "": nothing."""
    if machine.exists("/run/numastow/unmanaged/t"):
        before = {**before, "run/numastow/unmanaged/t": None}
    active = placed_cpus(machine, "t")
    pools = query(machine, "SELECT * FROM pool")
    if active:  # the hook had done all its work
        return "" if machine.cpuset("t") == active[0] else "the kernel does not obey the ledger"
    faults = []
    if query(machine, "SELECT * FROM container WHERE id = 't'"):
        faults.append("a record is left")
    if pools:
        faults.append(f"pools {pools}")
    if machine.exists("/run/numastow/exclusive"):
        faults.append("CPUs are still exclusive")
    if machine.cpuset("t") != set(range(8)) or machine.cpuset("t", "mems") != {0, 1}:
        faults.append(f"its own sets are {machine.cpuset('t')}, {machine.cpuset('t', 'mems')}")
    wrong = [p for p in changed(before, strip(fingerprint(machine)))
             if "/t/" not in p and not p.endswith("/t") and not p.startswith("proc/")]
    return "; ".join(faults + [f"changed: {p}" for p in wrong])


def ended(machine, before):
    """End the container and run gc. Return what differs from before; "": nothing."""
    machine.end("t")
    result = hook(machine, "gc")
    wrong = changed(before, strip(fingerprint(machine)))
    if result.code:
        return repr(result)
    rows = query(machine, "SELECT id FROM container WHERE id != 'shared0'")
    left = f"; records {rows}" if rows else ""
    pools = query(machine, "SELECT * FROM pool")
    left += f"; pools {pools}" if pools else ""
    left += f"; changed: {wrong}" if wrong else ""
    return left


def sweep(machine, kind, command, every):
    before = strip(fingerprint(machine))
    faults, killed = [], 0
    for step in range(1, LAST, every):
        state = machine.container("t", annotations(kind))
        if command == "release":
            if hook(machine, "apply", state).code:
                faults.append(f"step {step}: cannot be placed again")
                break
            machine.end("t")
        result = hook(machine, command, state, kill_at=step)
        if result.killed:
            killed += 1
            if command == "apply":
                swept = hook(machine, "gc")
                wrong = repr(swept) if swept.code else undone(machine, before)
                if wrong:
                    faults.append(f"step {step}, alive: {wrong}")
        if command == "release":
            machine.container("t")  # to be ended again below
        wrong = ended(machine, before)
        if wrong:
            faults.append(f"step {step}: {wrong}")
        if not result.killed:
            if result.code:
                faults.append(f"step {step}: {result}")
            break
        if len(faults) > 3:
            break
    check(f"v{machine.cgroup} {kind} {command}: killed at {killed} steps, nothing is lost",
          killed and not faults, " | ".join(faults))


def sweep_program(machine, kind, every):
    """What `numastow run` does before it executes the program; its process and its cgroup end with it."""
    before = strip(fingerprint(machine))
    faults, killed = [], 0
    words = [word for pair in annotations(kind).items() for word in pair]
    for step in range(1, LAST, every):
        machine.container("t")
        result = hook(machine, "run", kill_at=step, args=["t", *words])
        killed += result.killed
        # Its record is there, and its process has ended: gc must not wait for anything else.
        wrong = ended(machine, before)
        if wrong:
            faults.append(f"step {step}: {wrong}")
        if not result.killed and result.code:
            faults.append(f"step {step}: {result}")
        if not result.killed or len(faults) > 3:
            break
    check(f"v{machine.cgroup} {kind} run: killed at {killed} steps, nothing is lost",
          killed > 10 and not faults, " | ".join(faults))


def main():
    with Temp() as temp:
        for cgroup in (2, 1):
            machine = Machine(f"{temp}/v{cgroup}", cgroup=cgroup)
            start_others(machine)
            for kind in KINDS:
                for command in ("apply", "release"):
                    sweep(machine, kind, command, 1 if FULL or cgroup == 2 else 5)
            for kind in ("exclusive", "hugepages"):
                sweep_program(machine, kind, 1 if FULL or (cgroup, kind) == (2, "exclusive") else 5)
            end_others(machine, cgroup)
    finish()


if __name__ == "__main__":
    main()
