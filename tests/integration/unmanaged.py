#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Containers that ask for nothing, when something is in the way: they start, and stay off exclusive CPUs.

A file that cannot be read or written, an id that is no name, two runtimes that give one id, a config.json that is no
regular file, a cgroup that lost its controller or that a mount hides. What cannot be kept off the CPUs of others is refused,
or it is the reason why these are not given.
"""
import json
import os
import shutil

from harness import (Machine, Temp, check, finish, hook, leftovers, placed_cpus, same, skip)

EXCLUSIVE = {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive", "numastow.io/nodes": "0"}
SHARED = {"numastow.io/cpus": "1"}
FOLDER = "/run/numastow/unmanaged"


def apply(machine, name, asked=None, **kwargs):
    return hook(machine, "apply", machine.container(name, asked or {}, **kwargs))


def with_exclusive(path, **kwargs):
    """A machine on which two CPUs are exclusive, and these."""
    machine = Machine(path, **kwargs)
    apply(machine, "db", EXCLUSIVE)
    return machine, placed_cpus(machine, "db")[0]


def end(machine, what, *names):
    for name in names:
        machine.end(name)
    result = hook(machine, "gc")
    left = leftovers(machine) + " ".join(os.listdir(machine.file(FOLDER)) if machine.exists(FOLDER) else [])
    check(f"{what}: nothing is left", result.code == 0 and not left, f"{result} {left}")


def each_access_fails(path, cgroup):
    """Each access of the hook fails once: the container does not run on the exclusive CPUs."""
    machine, taken = with_exclusive(path, cgroup=cgroup)
    trace, faults, refused = path + "-trace", [], 0
    hook(machine, "apply", machine.container("t"), trace=trace)
    machine.end("t")
    hook(machine, "gc")
    with open(trace, encoding="utf-8") as handle:
        steps = [line.strip() for line in handle if line.split()[1] != "wrote"]
    for number, step in enumerate(steps, 1):
        state = machine.container("t")
        result = hook(machine, "apply", state, fail_at=number)
        refused += result.code
        if result.code == 0 and machine.cpuset("t") & taken or result.code and not result.one_line():
            faults.append(f"{step}: {result}, CPUs {machine.cpuset('t')}")
        machine.end("t")
        hook(machine, "gc")
    check(f"v{cgroup}: {len(steps)} accesses failed, {refused} refused, none runs on exclusive CPUs",
          len(steps) > 15 and not faults, " | ".join(faults))
    # A folder that takes no file, as on a full /run.
    with open(machine.file(FOLDER) + ".file", "w", encoding="ascii"):
        os.rename(machine.file(FOLDER), machine.file(FOLDER) + ".was")
        os.rename(machine.file(FOLDER) + ".file", machine.file(FOLDER))
    result = apply(machine, "t")
    check(f"v{cgroup}: it cannot be entered: it starts, off exclusive CPUs",
          result.code == 0 and not machine.cpuset("t") & taken, f"{result} {machine.cpuset('t')}")
    os.unlink(machine.file(FOLDER))
    os.rename(machine.file(FOLDER) + ".was", machine.file(FOLDER))
    end(machine, f"v{cgroup}: failed accesses", "t", "db")


def odd_ids(path):
    """What crun takes for an id is not always a name: "a b", ".x", "web@1"; runc takes "a,b"."""
    machine, taken = with_exclusive(path)
    for name in ("a b", "web@1", "a,b", ".x", "-x", "a:b", "\u00fc", "x" * 255, "a%20b"):
        machine.container("t")
        state = machine.state("t", id=name)
        result = hook(machine, "apply", state)
        check(f"id {name[:8]!r}: starts, off exclusive CPUs",
              result.code == 0 and not result.err and not machine.cpuset("t") & taken, result)
        machine.end("t")
        result = hook(machine, "release", state)
        same(f"id {name[:8]!r}: poststop forgets it", (result.code, os.listdir(machine.file(FOLDER))), (0, []))
    end(machine, "odd ids", "db")


def one_id_twice(path):
    """Two runtimes give the same id, to containers that run at the same time."""
    machine = Machine(path)
    apply(machine, "web")
    machine.container("other")
    for _ in range(2):  # hooks.d and CDI
        hook(machine, "apply", machine.state("other", id="web"))
    same("one id twice: both are known", len(os.listdir(machine.file(FOLDER))), 2)
    # A third one of that id is refused: its runtime's, not the others'.
    machine.container("third", {"numastow.io/cpus": "99"})
    result = hook(machine, "apply", machine.state("third", id="web"))
    check("one id three times: one that asks for too much is refused", result.one_line(), result)
    machine.end("third")
    apply(machine, "db", EXCLUSIVE)
    taken = placed_cpus(machine, "db")[0]
    same("... and both others leave the exclusive CPUs",
         (machine.cpuset("web") & taken, machine.cpuset("other") & taken), (set(), set()))
    end(machine, "one id twice", "web", "other", "db")


def given_sets(path, cgroup):
    """A CPU set of its own stays, however its config.json is."""
    def cut(file):
        with open(file, "r+", encoding="utf-8") as handle:
            handle.truncate(os.fstat(handle.fileno()).st_size - 3)

    def link(file):
        os.rename(file, file + ".real")
        os.symlink("config.json.real", file)

    def pipe(file):
        os.unlink(file)
        os.mkfifo(file)

    for what, change, cpus in (("a symbolic link", link, "4,6"), ("a pipe", pipe, "4,6"), ("cut off", cut, "4,6"),
                               ("a list that only the kernel reads", None, "4-7:1/2")):
        machine, _ = with_exclusive(path, cgroup=cgroup)
        state = machine.container("t", resources={"cpu": {"cpus": cpus}}, cpus="4,6")
        if change:
            change(machine.file(machine.containers["t"]["bundle"] + "/config.json"))
        result = hook(machine, "apply", state)
        same(f"v{cgroup}: config.json is {what}: its set stays", (result.code, machine.cpuset("t")), (0, {4, 6}))
        end(machine, f"v{cgroup}: config.json is {what}", "t", "db")


def unseen(path, cgroup):
    """A container runs on CPUs, and its set can neither be read nor written."""
    for kind, asked in (("unmanaged", None), ("shared", SHARED)):
        for what in ("has lost its controller", "is hidden"):
            machine = Machine(path, cgroup=cgroup)
            apply(machine, "t", asked)
            machine.write(f"/proc/{machine.containers['t']['pid']}/status",
                          "Name:\tt\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1\n")
            folder = machine.file(machine.cgroup_dir("cpuset", "t"))
            for name in os.listdir(folder):
                if what != "is hidden" and name.startswith("cpuset."):
                    os.unlink(f"{folder}/{name}")
            if what == "is hidden":
                os.rename(folder, machine.path + "/hidden")
            result = apply(machine, "db", EXCLUSIVE)
            check(f"v{cgroup}: the cgroup of a container ({kind}) {what}: its CPUs do not become exclusive",
                  result.one_line() and "container t may run on them" in result.err, result)
            machine.end("db")
            result = apply(machine, "web", SHARED)
            same("... and others start", result.code, 0)
            end(machine, f"v{cgroup} {kind} {what}", "t", "web")


def deep(path):
    """v1: a container whose processes are nested deeply has not ended."""
    machine = Machine(path, cgroup=1)
    state = machine.container("t", EXCLUSIVE)
    hook(machine, "apply", state)
    folder = machine.cgroup_dir("cpuset", "t")
    procs = machine.read(f"{folder}/cgroup.procs")
    machine.write(f"{folder}/cgroup.procs", "")
    for _ in range(40):
        folder += "/n"
        machine.write(f"{folder}/cgroup.procs", "")
    machine.write(f"{folder}/cgroup.procs", f"{procs}\n")
    pid = machine.containers["t"]["pid"]
    os.rename(machine.file(f"/proc/{pid}"), machine.file("/proc/was"))
    hook(machine, "release", state)
    hook(machine, "gc")
    check("v1: its processes are 40 cgroups below it: it keeps its CPUs", placed_cpus(machine, "t"))
    os.rename(machine.file("/proc/was"), machine.file(f"/proc/{pid}"))
    end(machine, "v1: deep", "t")


def duplicate_keys(path):
    """JSON with keys that are there twice: the last one counts, as in the runtimes."""
    machine, taken = with_exclusive(path)
    state = json.loads(machine.container("t"))
    text = json.dumps({**state, "pid": 1, "id": "other"})[:-1] + f', "id": "t", "pid": {state["pid"]}' + "}"
    result = hook(machine, "apply", text)
    check("keys that are there twice: the last counts", result.code == 0 and machine.exists(f"{FOLDER}/t") and
          not machine.cpuset("t") & taken, result)
    end(machine, "duplicate keys", "t", "db")


def put_fifo(path):
    os.mkfifo(path)


def put_folder(path):
    os.makedirs(path + "/with/something")


def put_link(path):
    """To a file of numastow's own form."""
    with open(path + ".elsewhere", "w", encoding="ascii") as handle:
        handle.write("7\n")
    os.symlink(os.path.basename(path) + ".elsewhere", path)


def put_text(text):
    def put(path):
        with open(path, "w", encoding="ascii") as handle:
            handle.write(text)
    return put


STRANGE = (("a FIFO", put_fifo), ("a folder", put_folder), ("a link to another set", put_link),
           ("a link to nowhere", lambda path: os.symlink("/nowhere", path)), ("text", put_text("no list\n")),
           ("empty", put_text("")), ("too long", put_text("0," * 10000)))


def strange_state(path):
    """The files of the applier's last run are something else: the ledger tells which CPUs are exclusive."""
    for name in ("exclusive", "applied"):
        for what, put in STRANGE:
            machine, taken = with_exclusive(path)
            file = machine.file(f"/run/numastow/{name}")
            os.unlink(file)
            put(file)
            result = apply(machine, "t")
            check(f"{name} is {what}: a container without a grant starts, off exclusive CPUs",
                  result.code == 0 and not machine.cpuset("t") & taken, f"{result} {machine.cpuset('t')}")
            result = apply(machine, "other", {**EXCLUSIVE, "numastow.io/nodes": "1"})
            check(f"{name} is {what}: exclusive CPUs are given", result.code == 0, result)
            check(f"{name} is {what}: the file is as it was meant", os.path.isfile(file) and not os.path.islink(file))
            end(machine, f"{name} is {what}", "t", "other", "db")
    # Both: only the ledger is left.
    machine, taken = with_exclusive(path)
    for name in ("exclusive", "applied"):
        machine.write(f"/run/numastow/{name}", "no list\n")
    result = apply(machine, "t")
    check("both are text: it starts, off exclusive CPUs", result.code == 0 and not machine.cpuset("t") & taken,
          f"{result} {machine.cpuset('t')}")
    end(machine, "both are text", "t", "db")


def strange_entries(path):
    """Files beside the entries of containers and pods that are no entries: others start, and gc removes them."""
    for folder in (FOLDER, "/run/numastow/pods"):
        for what, put in STRANGE:
            machine = Machine(path)
            apply(machine, "t")
            os.makedirs(machine.file(folder), exist_ok=True)
            put(machine.file(f"{folder}/stray"))
            result = apply(machine, "db", EXCLUSIVE)
            taken = (placed_cpus(machine, "db") or [set()])[0]
            check(f"{folder} has {what}: exclusive CPUs are given, and others leave them",
                  result.code == 0 and taken and not machine.cpuset("t") & taken, f"{result} {machine.cpuset('t')}")
            state = machine.container("again")
            result = hook(machine, "apply", json.dumps({**json.loads(state), "id": "stray"}))
            check(f"{folder} has {what}: a container of that name starts, off exclusive CPUs",
                  result.code == 0 and not machine.cpuset("again") & taken, f"{result} {machine.cpuset('again')}")
            machine.end("again")
            hook(machine, "gc")
            if not machine.exists(f"{folder}/stray"):
                put(machine.file(f"{folder}/stray"))
            hook(machine, "gc")
            for name in os.listdir(machine.file(folder)): # a folder with something in it stays
                shutil.rmtree(machine.file(f"{folder}/{name}"), ignore_errors=True)
            end(machine, f"{folder} has {what}", "t", "db")


def no_folder(path):
    """In place of the folder of entries is a file. An exclusive container starts, and the others are found by their
    cgroups."""
    name = "libpod-" + "a" * 64
    for folder in (FOLDER, "/run/numastow/pods"):
        for what, put in (STRANGE[0], *STRANGE[2:5]): # no folder
            machine = Machine(path)
            apply(machine, name)
            shutil.rmtree(machine.file(folder), ignore_errors=True)
            put(machine.file(folder))
            result = apply(machine, "t")
            check(f"{folder} is {what}: a container without a grant starts", result.code == 0 and not result.err, result)
            result = apply(machine, "db", EXCLUSIVE)
            taken = (placed_cpus(machine, "db") or [set()])[0]
            check(f"{folder} is {what}: exclusive CPUs are given, and others leave them",
                  result.code == 0 and taken and not machine.cpuset(name) & taken, f"{result} {machine.cpuset(name)}")
            end(machine, f"{folder} is {what}", "t", name, "db")


def strange_folder(path):
    """/run/numastow is something else: a container that asks for nothing starts, and one that asks is refused."""
    def stranger(place):
        os.mkdir(place)
        os.chown(place, 12345, 0)

    def writable(place):
        os.mkdir(place)
        os.chmod(place, 0o777)

    def link(place):
        os.mkdir(place + ".elsewhere")
        os.symlink("numastow.elsewhere", place)

    for what, put in (("a file", put_text("")), ("a FIFO", put_fifo), ("a link", link), ("a link to nowhere", STRANGE[3][1]),
                      ("another user's", stranger), ("writable for all", writable)):
        machine = Machine(path)
        if what == "another user's" and os.geteuid() != 0:
            skip(f"/run/numastow is {what}", "needs root")
            continue
        put(machine.file("/run/numastow"))
        result = apply(machine, "t")
        check(f"/run/numastow is {what}: a container without annotations starts", result.code == 0 and not result.err, result)
        result = apply(machine, "web", SHARED)
        check(f"/run/numastow is {what}: one with annotations is refused in one line that says so",
              result.one_line() and "/run/numastow" in result.err and "root's" in result.err, result)
        for name in ("t", "web"):
            machine.end(name)
            result = hook(machine, "release", machine.state(name))
            check(f"/run/numastow is {what}: release ends at once", result.code == 0 or result.one_line(), result)
        same(f"/run/numastow is {what}: nothing was put elsewhere",
             [n for n in (os.listdir(machine.file("/run/numastow.elsewhere")) if what == "a link" else [])
              if "ledger" in n], [])


def main():
    with Temp() as temp:
        strange_state(f"{temp}/state")
        strange_entries(f"{temp}/entries")
        no_folder(f"{temp}/none")
        strange_folder(f"{temp}/folder")
        for cgroup in (2, 1):
            each_access_fails(f"{temp}/failed{cgroup}", cgroup)
            given_sets(f"{temp}/given{cgroup}", cgroup)
            unseen(f"{temp}/unseen{cgroup}", cgroup)
        odd_ids(f"{temp}/ids")
        one_id_twice(f"{temp}/twice")
        deep(f"{temp}/deep")
        duplicate_keys(f"{temp}/keys")
    finish()


if __name__ == "__main__":
    main()
