#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each access of the hook failed with EIO, one after the other: one line on stderr, nothing lost.

The hook may also get along without what it could not read; then the container must be placed.
"""
from harness import (FULL, Machine, Temp, changed, check, end_others, fingerprint, finish, hook,
                     placed_cpus, query, start_others)

KINDS = {
    "shared": {"cpus": "2", "memory": "256Mi"},
    "exclusive": {"cpus": "2", "cpu-mode": "exclusive"},
    "hugepages": {"cpus": "1", "hugepages-2Mi": "64Mi"},
}
LAST = 5000


def strip(tree):
    return {p: v for p, v in tree.items() if not p.startswith("bundles")}


def steps(machine, kind, command, trace):
    """How many there are."""
    state = machine.container("t", kind)
    if command == "release":
        hook(machine, "apply", state)
        machine.end("t")
    hook(machine, command, state, trace=trace)
    if command == "apply":
        machine.end("t")
    hook(machine, "gc")
    with open(trace, encoding="utf-8") as handle:
        # What is counted behind a write cannot fail.
        return sum(1 for line in handle if line.split()[1] != "wrote")


def sweep(machine, kind, command, every, trace):
    asked = {f"numastow.io/{k}": v for k, v in KINDS[kind].items()}
    last = steps(machine, asked, command, trace)
    before = strip(fingerprint(machine))
    faults, refused = [], 0
    for step in range(1, last + 1, every):
        state = machine.container("t", asked)
        if command == "release":
            hook(machine, "apply", state)
            machine.end("t")
        result = hook(machine, command, state, fail_at=step)
        refused += result.code == 1
        if result.code not in (0, 1) or (result.code == 1 and not result.one_line()):
            faults.append(f"step {step}: {result}")
        if command == "apply":
            placed = placed_cpus(machine, "t")
            if result.code == 0 and (not placed or machine.cpuset("t") != placed[0]):
                faults.append(f"step {step}: success, but it is not placed")
            # The one failure is over when the hook undoes its work: it leaves nothing to gc.
            if result.code == 1:
                rows = query(machine, "SELECT id, state FROM container WHERE id = 't'")
                pools = query(machine, "SELECT * FROM pool")
                if rows or pools or machine.exists("/run/numastow/exclusive"):
                    faults.append(f"step {step}: {result}, left {rows} {pools}")
            machine.end("t")
        swept = hook(machine, "gc")
        wrong = changed(before, strip(fingerprint(machine)))
        left = query(machine, "SELECT id FROM container WHERE id = 't'")
        if swept.code or wrong or left or query(machine, "SELECT * FROM pool"):
            faults.append(f"step {step}: after gc ({swept}) {wrong} {left}")
        if len(faults) > 3:
            break
    check(f"v{machine.cgroup} {kind} {command}: {last} accesses failed, {refused} errors, "
          "nothing is lost", last > 20 and not faults, " | ".join(faults))


def main():
    with Temp() as temp:
        for cgroup in (2, 1):
            machine = Machine(f"{temp}/v{cgroup}", cgroup=cgroup)
            start_others(machine)
            for kind in KINDS:
                for command in ("apply", "release"):
                    sweep(machine, kind, command, 1 if FULL or cgroup == 2 else 5, temp + "/trace")
            end_others(machine, cgroup)
    finish()


if __name__ == "__main__":
    main()
