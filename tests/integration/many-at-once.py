#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""200 hooks truly at once on a machine with 256 CPUs: never one CPU or hugepage twice.

Every round ends half of the containers of the round before, and starts new ones while the hooks of
those that ended are at work. Checked is what the hooks left in the ledger's history and tables and in
the files of the cgroups. 5 rounds; 20 with --full.
"""
import random
import re
import time

from harness import (FULL, GIB, MIB, Machine, Temp, changed, check, finish, fingerprint, hook,
                     hooks_at_once, leftovers, parse_list, placed_cpus, query, same)

NODES, CPUS, HOOKS = 8, 256, 200
PAGES = 512  # that a node can give
MEMORY = 64 * GIB

REFUSAL = re.compile(r"cannot place \"|gave \d+ of \d+ hugepages")

random.seed(20240521)


def requests(n):
    """A mix that does not fit altogether, so that some are refused."""
    for _ in range(n):
        kind = random.choice(("exclusive", "shared", "pages", "exclusive", "both", "plain"))
        cpus = random.choice((1, 2, 2, 3, 4, 6, 8))
        asked = {"cpus": str(cpus), "memory": f"{random.choice((64, 256, 1024))}Mi"}
        if kind in ("exclusive", "both"):
            asked["cpu-mode"] = "exclusive"
        if kind in ("pages", "both"):
            asked["hugepages-2Mi"] = f"{random.choice((8, 32, 64, 128)) * 2}Mi"
        if random.random() < 0.2:
            asked["policy"] = random.choice(("best-effort", "spread", "restricted"))
        yield {} if kind == "plain" else {f"numastow.io/{k}": v for k, v in asked.items()}


def replay(rows):
    """Replays the history, and checks that an exclusive CPU has one owner at a time."""
    owner, faults, held = {}, [], {}
    for seq, ident, kind, exclusive, cpus in rows:
        cpus = parse_list(cpus)
        if kind == "placed" and exclusive:
            twice = [c for c in cpus if c in owner]
            if twice:
                faults.append(f"event {seq}: {ident} got CPUs {twice} of {owner[twice[0]]}")
            owner.update((c, ident) for c in cpus)
            held[ident] = cpus
        elif kind in ("released", "reclaimed", "undone", "restored") and ident in held:
            for cpu in held.pop(ident):
                owner.pop(cpu, None)
    return faults


def check_state(machine, alive, word):
    faults = []
    exclusive, shared = {}, {}
    for name in alive:
        placed = placed_cpus(machine, name)
        in_kernel = machine.cpuset(name)
        if not placed:
            shared[name] = in_kernel  # without annotations
            continue
        cpus, nodes, alone = placed
        if in_kernel != cpus:
            faults.append(f"{name}: ledger {sorted(cpus)}, cgroup {sorted(in_kernel)}")
        if machine.cpuset(name, "mems") != nodes:
            faults.append(f"{name}: nodes {nodes}, cgroup {machine.cpuset(name, 'mems')}")
        (exclusive if alone else shared)[name] = cpus
    taken = {}
    for name, cpus in exclusive.items():
        for cpu in cpus:
            if cpu in taken:
                faults.append(f"CPU {cpu} belongs to {taken[cpu]} and {name}")
            taken[cpu] = name
    for name, cpus in shared.items():
        if cpus & taken.keys():
            faults.append(f"{name} runs on exclusive CPUs {sorted(cpus & taken.keys())}")
        if not cpus:
            faults.append(f"{name} has no CPU at all")
    for node, cpus, memory in query(
            machine, "SELECT node, sum(cpus), sum(memory) FROM share GROUP BY node"):
        if cpus > CPUS // NODES:
            faults.append(f"node {node}: {cpus} CPUs promised")
        if memory > MEMORY:
            faults.append(f"node {node}: {memory} bytes promised")
    for node, pages in query(machine, "SELECT node, sum(pages) FROM page GROUP BY node"):
        total = int(machine.read(machine.pool(node) + "/nr_hugepages"))
        if pages > PAGES or pages > total:
            faults.append(f"node {node}: {pages} hugepages promised, pool {total} of {PAGES}")
    pending = query(machine, "SELECT id, state FROM container WHERE state != 2")
    if pending:
        faults.append(f"not active: {pending}")
    return check(f"{word}: no CPU or hugepage twice, within each node", not faults,
                 "; ".join(faults))


def main():
    rounds = 20 if FULL else 5
    with Temp() as temp:
        machine = Machine(temp + "/m", NODES, CPUS, memory=MEMORY, pools={2 * MIB: (0, PAGES)})
        before = fingerprint(machine)
        alive, seq = [], 0
        for n in range(rounds):
            random.shuffle(alive)
            ending, staying = alive[:len(alive) // 2], alive[len(alive) // 2:]
            late = [(name, machine.state(name)) for name in ending]
            for name in ending:
                machine.end(name)
            new = [f"r{n}c{i}" for i in range(HOOKS - len(late) if late else HOOKS)]
            jobs = [("release", state) for _, state in late]
            jobs += [("apply", machine.container(name, asked))
                     for name, asked in zip(new, requests(len(new)))]
            random.shuffle(jobs)
            start = time.monotonic()
            results = hooks_at_once(machine, jobs)
            took = time.monotonic() - start
            refused = set()
            odd = []
            for (command, state), (code, err) in zip(jobs, results):
                if code == 0 and not err:
                    continue
                if command == "apply" and code == 1 and REFUSAL.search(err):
                    refused.add(next(x for x in new if f'"id": "{x}"' in state))
                else:
                    odd.append((command, code, err))
            check(f"round {n}: {len(jobs)} hooks at once in {took:.1f} s, {len(refused)} refused "
                  "with the reason", not odd, odd[:3])
            for name in refused:  # the runtime kills what was refused
                machine.end(name)
            alive = staying + [name for name in new if name not in refused]
            check_state(machine, alive, f"round {n}")
            rows = query(machine, "SELECT seq, id, kind, exclusive, cpus FROM event ORDER BY seq")
            faults = replay(rows)
            seq = rows[-1][0]
            check(f"round {n}: the history of {seq} events has one owner for each CPU", not faults,
                  "; ".join(faults[:5]))
        # Half of them are released, of the others only gc ever hears.
        for name in alive:
            machine.end(name)
        results = hooks_at_once(machine, [("release", machine.state(name)) for name in alive[::2]])
        check("the end: all releases succeed", all(r == (0, "") for r in results),
              [r for r in results if r != (0, "")][:3])
        result = hook(machine, "gc")
        same("the end: gc", result.code, 0)
        same("the end: nothing is left in the ledger", leftovers(machine), "")
        same("the end: the machine is as before",
             [p for p in changed(before, fingerprint(machine)) if not p.startswith("bundles")], [])
    finish()


if __name__ == "__main__":
    main()
