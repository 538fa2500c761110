#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each access of the hook failed with EIO, one after the other: one line on stderr, nothing lost.

The hook may also get along without what it could not read; then the container must be placed. The same with fewer and
fewer descriptors, and with less and less room in /run; and gc, whose looks fail, takes nothing from those that run.
"""
import os
import subprocess

from harness import (FULL, Machine, Temp, changed, check, end_others, fingerprint, finish, hook,
                     leftovers, placed_cpus, query, skip, start_others)

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


# --- those that run -------------------------------------------------------------------------------

EXCLUSIVE = {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive"}
ENTRIES = "/run/numastow/unmanaged"


def start_some(machine):
    """Containers of each kind, whose first processes have ended: the others are in a cgroup below."""
    for name, asked in (("db", EXCLUSIVE), ("web", {"numastow.io/cpus": "1"}), ("plain", {})):
        hook(machine, "apply", machine.container(name, asked))
        procs = f"{machine.cgroup_dir('cpuset', name)}/cgroup.procs"
        machine.write(f"{machine.cgroup_dir('cpuset', name)}/below/cgroup.procs", machine.read(procs) + "\n")
        machine.write(procs, "")
        pid = machine.containers[name]["pid"]
        os.rename(machine.file(f"/proc/{pid}"), machine.file(f"/proc/{pid}.was"))


def lost(machine):
    """What those that run no longer have."""
    missing = [name for name in ("db", "web") if not placed_cpus(machine, name)]
    if not machine.exists(f"{ENTRIES}/plain"):
        missing.append("plain")
    taken = (placed_cpus(machine, "db") or [set()])[0]
    return missing + [f"CPUs of {name}" for name in ("web", "plain") if machine.cpuset(name) & taken]


def end_all(machine, what, faults):
    for name in ("db", "web", "plain"):
        pid = machine.containers[name]["pid"]
        os.rename(machine.file(f"/proc/{pid}.was"), machine.file(f"/proc/{pid}"))
        machine.end(name)
    result = hook(machine, "gc")
    left = leftovers(machine) + " ".join(os.listdir(machine.file(ENTRIES)))
    check(what, result.code == 0 and not left and not faults, f"{' | '.join(faults[:4])} {result} {left}")


def gc_fails(path, cgroup, every):
    machine = Machine(path, cgroup=cgroup)
    start_some(machine)
    hook(machine, "gc", trace=path + "-trace")
    with open(path + "-trace", encoding="utf-8") as handle:
        last = sum(1 for line in handle if line.split()[1] != "wrote")
    faults = []
    for step in range(1, last + 1, every):
        result = hook(machine, "gc", fail_at=step)
        if result.code not in (0, 1) or (result.code == 1 and not result.one_line()) or lost(machine):
            faults.append(f"access {step}: {result}, {lost(machine)} lost")
            break
    check(f"v{cgroup}: gc has many accesses", last > 20, last)
    end_all(machine, f"v{cgroup}: {last} accesses of gc failed: those that run keep what they have", faults)


def squeezed(machine, prefix, faults, what):
    """One container after the other, and gc, while there is too little of something."""
    taken = placed_cpus(machine, "db")[0]
    for name, asked in (("x", EXCLUSIVE), ("u", {})):
        state = machine.container(name, asked)
        machine.write(f"/proc/{machine.containers[name]['pid']}/status",
                      f"Name:\t{name}\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1\n")
        result = hook(machine, "apply", state, prefix=prefix)
        mine = placed_cpus(machine, "x") or [set()] if name == "x" else None
        if result.code not in (0, 1) or (result.code == 1 and not result.one_line()):
            faults.append(f"{what}: {name}: {result}")
        elif result.code == 0 and name == "x" and machine.cpuset("x") != mine[0]:
            faults.append(f"{what}: x is not placed, and starts: {machine.cpuset('x')}")
        elif result.code == 0 and machine.cpuset(name) & taken:
            faults.append(f"{what}: {name} starts on CPUs of db: {machine.cpuset(name)}")
        if result.code == 1:
            machine.end(name)
    result = hook(machine, "gc", prefix=prefix)
    if result.code not in (0, 1) or (result.code == 1 and not result.one_line()) or lost(machine):
        faults.append(f"{what}: gc: {result}, {lost(machine)} lost")
    for name in ("x", "u"):
        if machine.exists(machine.cgroup_dir("cpuset", name)):
            machine.end(name)
        result = hook(machine, "release", machine.state(name), prefix=prefix)
        if result.code not in (0, 1) or (result.code == 1 and not result.one_line()):
            faults.append(f"{what}: release of {name}: {result}")


def mended(machine, faults, what):
    result = hook(machine, "gc")
    rows = query(machine, "SELECT id FROM container ORDER BY id")
    if result.code or rows != [("db",), ("web",)] or os.listdir(machine.file(ENTRIES)) != ["plain"] or lost(machine):
        faults.append(f"{what}: the next gc: {result}, {rows}, {os.listdir(machine.file(ENTRIES))}, {lost(machine)} lost")


def few_descriptors(path, cgroup):
    machine, faults = Machine(path, cgroup=cgroup), []
    start_some(machine)
    for n in range(5, 14): # more than enough for all
        squeezed(machine, ("prlimit", f"--nofile={n}:{n}"), faults, f"{n} descriptors")
        mended(machine, faults, f"{n} descriptors")
    end_all(machine, f"v{cgroup}: with 5 to 13 descriptors: one line or success, and the next run mends", faults)


def fill(place, pages):
    """All of a tmpfs but so many pages."""
    with open(f"{place}/filler", "wb") as handle:
        room = os.statvfs(place).f_bavail - pages
        os.posix_fallocate(handle.fileno(), 0, max(room, 1) * 4096)


def full_run(path, cgroup):
    what = f"v{cgroup}: with little room in /run: one line or success, and the next run mends"
    machine, faults = Machine(path, cgroup=cgroup), []
    place = machine.file("/run")
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "run", place], check=False,
                                           capture_output=True).returncode:
        skip(what, "mounting is not allowed")
        return
    try:
        start_some(machine)
        for pages in range(0, 16):
            fill(place, pages)
            squeezed(machine, (), faults, f"{pages} pages are free")
            os.unlink(f"{place}/filler")
            mended(machine, faults, f"{pages} pages were free")
        end_all(machine, what, faults)
    finally:
        subprocess.run(["umount", place], check=True)


def main():
    with Temp() as temp:
        for cgroup in (2, 1):
            machine = Machine(f"{temp}/v{cgroup}", cgroup=cgroup)
            start_others(machine)
            for kind in KINDS:
                for command in ("apply", "release"):
                    sweep(machine, kind, command, 1 if FULL or cgroup == 2 else 5, temp + "/trace")
            end_others(machine, cgroup)
            gc_fails(f"{temp}/gc{cgroup}", cgroup, 1 if FULL or cgroup == 1 else 5)
            few_descriptors(f"{temp}/few{cgroup}", cgroup)
            if FULL or cgroup == 2:
                full_run(f"{temp}/full{cgroup}", cgroup)
    finish()


if __name__ == "__main__":
    main()
