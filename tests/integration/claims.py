#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Containers of Kubernetes claims: the hook with --claim, also beside hooks.d, and killed at each of its steps."""
from harness import (FULL, Machine, Temp, as_list, changed, check, claim, fingerprint, finish, hook, leftovers,
                     query, same)

UID = "11111111-2222-4333-8444-555555555555"
FIRST = "aaaaaaaa-0000-4000-8000-000000000001"
SECOND = "aaaaaaaa-0000-4000-8000-000000000002"
POD = "99999999-2222-4333-8444-555555555555"
ASKED = {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive"}
LAST = 5000  # no hook takes that many steps


def arguments(share, uid=UID):
    return ("--claim", uid, "--share", share)


def config(annotations, *shares):
    """What a runtime makes of CDI devices, with the hooks of hooks.d before them."""
    hooks = [{"path": "/usr/libexec/numastow/numastow-hook", "args": ["numastow-hook", "apply"]}]
    hooks += [{"path": "/usr/libexec/numastow/numastow-hook",
               "args": ["numastow-hook", "apply", *arguments(s)]} for s in shares]
    return {"ociVersion": "1.0.2", "annotations": annotations, "linux": {"resources": {}},
            "hooks": {"createRuntime": hooks}}


def container(machine, name, annotations=None, shares=(FIRST,)):
    annotations = annotations or {}
    return machine.container(name, annotations, config=config(annotations, *shares))


def taken(machine, *shares):
    result = claim(machine, "take", UID, "team/db", *shares)
    if result.code:
        raise SystemExit(f"the claim is not taken: {result}")


def cpus(machine, name):
    return as_list(machine.cpuset(name))


def records(machine):
    return [tuple(r) for r in query(machine, "SELECT id, state FROM container WHERE id <> '' ORDER BY id")]


def order(path, annotations, what):
    """hooks.d before or after CDI; each twice."""
    machine = Machine(path)
    taken(machine, f"{FIRST}:main:0:2:exclusive:64:0", f"{SECOND}:side:1:1:exclusive:64:0")
    machine.container("plain")
    hook(machine, "apply", machine.state("plain"))
    state = container(machine, "c", annotations, (FIRST, SECOND))
    plain = ()
    for args in (plain, arguments(FIRST), arguments(FIRST), plain, arguments(SECOND), plain, arguments(FIRST)):
        result = hook(machine, "apply", state, args=args)
        check(f"{what}: apply {' '.join(args[1::2])} works", result.code == 0, result)
    same(f"{what}: one record", records(machine), [("c", 2)])
    same(f"{what}: the CPUs of both shares", cpus(machine, "c"), "0-1,4")
    same(f"{what}: the nodes of both shares", as_list(machine.cpuset("c", "mems")), "0-1")
    same(f"{what}: the other one is kept off them", cpus(machine, "plain"), "2-3,5-7")
    same(f"{what}: nothing is in `unmanaged`", machine.exists("/run/numastow/unmanaged/c"), False)
    machine.end("c")
    for args in (plain, arguments(FIRST), arguments(SECOND)):
        result = hook(machine, "release", state, args=args)
        check(f"{what}: release {' '.join(args[1::2])} works", result.code == 0, result)
    same(f"{what}: its record is gone", records(machine), [])
    same(f"{what}: the claim keeps its CPUs", query(machine, "SELECT cpu FROM cpu"), [(0,), (1,), (4,)])
    hook(machine, "gc")
    same(f"{what}: so it does after gc", cpus(machine, "plain"), "2-3,5-7")
    check(f"{what}: dropped", claim(machine, "drop", UID).code == 0)
    same(f"{what}: the other one has all", cpus(machine, "plain"), "0-7")
    machine.end("plain")
    hook(machine, "release", machine.state("plain"))
    same(f"{what}: nothing is left", leftovers(machine), "")


def refusals(path):
    machine = Machine(path)
    before = machine.container("c", ASKED, config=config(ASKED))
    bad = [("--claim", UID), ("--share", FIRST), ("--claim", UID, "--share"), ("--claim", UID, "--share", ""),
           ("--claim", UID, "--share", "../../x"), ("--claim", UID, "--claim", UID, "--share", FIRST),
           ("--claim", UID.upper(), "--share", FIRST.upper()), ("--claim", UID + "0", "--share", FIRST),
           ("--claim", "a" * 100000, "--share", FIRST), ("--claim", UID, "--share", FIRST, "x"), ("",), ("--help",),
           ("--claim=" + UID, "--share=" + FIRST)]
    for args in bad:
        for command in ("apply", "release", "precreate"):
            result = hook(machine, command, before, args=args)
            check(f"refused: {command} {' '.join(args)[:60]}", result.one_line(), result)
    result = hook(machine, "precreate", before, args=arguments(FIRST))
    check("refused: precreate with a claim", result.one_line(), result)
    same("nothing was recorded", records(machine), [])
    result = hook(machine, "apply", before, args=arguments(FIRST))
    check("refused: an unknown claim, whatever its annotations ask for",
          result.one_line() and "was not prepared on this machine" in result.err, result)
    taken(machine, f"{FIRST}:main:0:2:exclusive:64:0")
    result = hook(machine, "apply", before, args=arguments(SECOND))
    check("refused: an unknown share", result.one_line() and "has no share" in result.err, result)
    same("no container was recorded", records(machine), [])
    same("its sets are as they were", cpus(machine, "c"), "0-7")


def pages(path, version):
    """kubelet gives the pod 0 pages of each size that its spec does not name."""
    machine = Machine(path, cgroup=version)
    for node in (0, 1):
        at = f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
        for file in ("nr_hugepages", "free_hugepages"):
            machine.write(f"{at}/{file}", "64\n")
    taken(machine, f"{FIRST}:main:1:1:shared:64:16")
    state = container(machine, "c")
    result = hook(machine, "apply", state, args=arguments(FIRST))
    check(f"v{version} pages: placed", result.code == 0, result)
    base = machine.cgroup_dir("hugetlb", "c")
    names = (["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] if version == 2 else
             ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"])
    same(f"v{version} pages: limit and reservation limit",
         [machine.read(f"{base}/{n}").strip() for n in names if machine.exists(f"{base}/{n}")],
         [str(32 << 20)] * len([n for n in names if machine.exists(f"{base}/{n}")]))
    check(f"v{version} pages: there is a limit", machine.exists(f"{base}/{names[0]}"))
    same(f"v{version} pages: the pool did not grow",
         machine.read("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages").strip(), "64")


def killed(path, version, every):
    """At each step of the second call of two. The claim stays, whatever became of the container."""
    machine = Machine(path, cgroup=version)
    machine.container("plain")
    hook(machine, "apply", machine.state("plain"))
    taken(machine, f"{FIRST}:main:0:2:exclusive:64:0", f"{SECOND}:side:1:1:exclusive:64:0")
    # Once through, so that everything is there that stays.
    hook(machine, "apply", container(machine, "c"), args=arguments(FIRST))
    machine.end("c")
    hook(machine, "gc")
    before = {p: v for p, v in fingerprint(machine).items() if not p.startswith("bundles")}
    faults, deaths = [], 0
    for step in range(1, LAST, every):
        state = container(machine, "c", shares=(FIRST, SECOND))
        if hook(machine, "apply", state, args=arguments(FIRST)).code:
            faults.append(f"step {step}: the first call fails")
            break
        result = hook(machine, "apply", state, args=arguments(SECOND), kill_at=step)
        deaths += result.killed
        swept = hook(machine, "gc")
        left = records(machine)
        if swept.code or left not in ([], [("c", 2)]):
            faults.append(f"step {step}, alive: {swept}, {left}")
        own = cpus(machine, "c")
        if left and own not in ("0-1", "0-1,4") or not left and set(machine.cpuset("c")) & {0, 1, 4}:
            faults.append(f"step {step}: {left} has {own}")
        if cpus(machine, "plain") != "2-3,5-7":
            faults.append(f"step {step}: the other one has {cpus(machine, 'plain')}")
        machine.end("c")
        swept = hook(machine, "gc")
        after = {p: v for p, v in fingerprint(machine).items() if not p.startswith("bundles")}
        wrong = changed(before, after)
        if swept.code or records(machine) or wrong:
            faults.append(f"step {step}, ended: {swept}, {records(machine)}, {wrong}")
        if not result.killed or len(faults) > 3:
            break
    check(f"v{version}: killed at {deaths} steps, the claim stays and nothing else", deaths and not faults,
          " | ".join(faults))


def main():
    with Temp() as temp:
        order(f"{temp}/plain", {}, "without annotations")
        order(f"{temp}/asked", ASKED, "with annotations")
        order(f"{temp}/pod", {"io.kubernetes.pod.uid": POD, "io.kubernetes.container.name": "c"}, "of a pod")
        refusals(f"{temp}/refusals")
        for version in (2, 1):
            pages(f"{temp}/pages{version}", version)
            killed(f"{temp}/killed{version}", version, 1 if FULL else 3 if version == 2 else 7)
    finish()


if __name__ == "__main__":
    main()
