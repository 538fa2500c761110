#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the hook must refuse: one line on stderr, exit code 1, and nothing has changed.

Where no machine is needed the program itself is asked, too.
"""
import json
import os
import subprocess

from harness import (HOOK, MIB, Machine, Temp, changed, check, finish, fingerprint, hook, placed_cpus,
                     query, run, same, skip)

PREFIX = "numastow.io/"
KUBERNETES = {"io.kubernetes.container.name": "web", "io.kubernetes.pod.name": "shop-0",
              "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "0815"}


def ours(**asked):
    return {PREFIX + k.replace("_", "-"): v for k, v in asked.items()}


def refused(machine, what, state, *words, command="apply"):
    """The hook refuses, in one line that has these words in it; the tree is as it was."""
    before = fingerprint(machine)
    result = hook(machine, command, state)
    # On v2 a set cannot be emptied again: undoing writes out what it inherits. What takes effect is
    # in the .effective files.
    wrong = [p for p in changed(before, fingerprint(machine))
             if not p.endswith(("/t/cpuset.cpus", "/t/cpuset.mems"))]
    active = query(machine, "SELECT id FROM container WHERE id = 't'") \
        if "ledger" not in what and "/run" not in what else []
    missing = [w for w in words if w not in result.err]
    good = result.one_line() and not wrong and not missing and not active
    return check(f"{what}: refused in one line, nothing changed", good,
                 f"{result}, changed {wrong}, left {active}, not in it: {missing}")


def annotations(machine):
    for what, asked, words in (
            ("unknown key", ours(cpu="2"), ("numastow.io/cpu", "cpus")),
            ("unknown key of another container", {PREFIX + "cpsu.db": "2", **ours(cpus="1")}, ("cpsu",)),
            ("bad number", ours(cpus="two"), ("cpus", "two")),
            ("negative number", ours(cpus="-1"), ("cpus", "-1")),
            ("number that overflows", ours(cpus="99999999999999999999"), ("cpus",)),
            ("zero CPUs", ours(cpus="0"), ("cpus",)),
            ("bad quantity", ours(memory="12XB"), ("memory", "12XB")),
            ("negative quantity", ours(memory="-1Gi"), ("memory", "-1Gi")),
            ("quantity that overflows", ours(memory="16Ei"), ("memory", "16Ei")),
            ("quantity that overflows by its exponent", ours(memory="1e999"), ("memory",)),
            ("page size that does not exist", {PREFIX + "hugepages-3Mi": "3Mi"}, ("3Mi",)),
            ("page size that the machine has not", {PREFIX + "hugepages-1Gi": "1Gi"}, ("1Gi",)),
            ("part of a hugepage", {PREFIX + "hugepages-2Mi": "3Mi"}, ("3Mi",)),
            ("bad word", ours(policy="single"), ("policy", "single-numa-node")),
            ("bad list of nodes", ours(nodes="1-0", cpus="1"), ("nodes",)),
            ("node that does not exist", ours(nodes="7", cpus="1"), ("7",)),
            ("device that does not exist", ours(near="eth7", cpus="1"), ("eth7",)),
            ("device with a path in it", ours(near="../../etc", cpus="1"), ("near",)),
            ("exclusive CPUs without a number", ours(cpu_mode="exclusive"), ("cpu",)),
            ("more CPUs than a node has", ours(cpus="5"), ("cannot place", "node 0")),
            ("more memory than a node has", ours(memory="64Gi"), ("cannot place", "node 1")),
            ("more hugepages than the kernel gives", {PREFIX + "hugepages-2Mi": "4Gi"},
             ("node 0", "hugepages")),
            ("newline in a value", ours(cpus="1\n2"), ("cpus",)),
            ("escape sequence in a value", ours(policy="\033[2J"), ("policy",))):
        state = machine.container("t", asked)
        refused(machine, what, state, *words)
        machine.end("t")
    asked = ours(cpus="5", on_failure="ignore")
    state = machine.container("t", asked)
    result = hook(machine, "apply", state)
    check("on-failure=ignore: starts unplaced and says so",
          result.code == 0 and "starts unplaced" in result.err and result.err.count("\n") == 1, result)
    machine.end("t")
    hook(machine, "release", state)


def states(machine):
    state = machine.container("t", ours(cpus="1"))
    whole = json.loads(state)
    cases = (
        ("2 MiB of standard input", json.dumps({**whole, "x": "x" * 2 * MIB}), ("longer than",)),
        ("2 MiB that are no JSON", "[" * 2 * MIB, ("longer than",)),
        ("no input", "", ("not JSON",)),
        ("malformed JSON", state[:-5], ("not JSON",)),
        ("more behind the JSON", state + "{}", ("not JSON",)),
        ("deep JSON", "[" * 5000, ("not JSON",)),
        ("JSON that is no object", "[]", ("not a JSON object",)),
        ("null", "null", ("not a JSON object",)),
        ("no id", json.dumps({**whole, "id": None}), ("id",)),
        ("an id with ../", json.dumps({**whole, "id": "../../etc/x"}), ("id",)),
        ("an id with a NUL", json.dumps({**whole, "id": "a\0b"}), ("id",)),
        ("an id of 300 letters", json.dumps({**whole, "id": "a" * 300}), ("id",)),
        ("a pid that is negative", json.dumps({**whole, "pid": -5}), ("pid",)),
        ("a pid that is too large", json.dumps({**whole, "pid": 1 << 40}), ("pid",)),
        ("annotations that are a list", json.dumps({**whole, "annotations": []}), ("annotations",)),
        ("an annotation that is a number", json.dumps({**whole, "annotations": {PREFIX + "cpus": 2}}),
         ("cpus",)),
        ("a container's name with a slash", json.dumps({**whole, "annotations": {
            **ours(cpus="1"), "io.kubernetes.container.name": "a/b"}}), ("container.name",)),
        ("a number with a NUL", json.dumps({**whole, "annotations": {PREFIX + "cpus": "1\0"}}), ("cpus",)),
        ("two engines that contradict each other", json.dumps({**whole, "annotations": {
            **ours(cpus="1"), "io.kubernetes.pod.namespace": "rich",
            "io.kubernetes.cri.sandbox-namespace": "poor"}}), ("rich", "poor", "contradict")),
    )
    for what, text, words in cases:
        refused(machine, what, text, *words)
        # The program itself must end at its input, before it looks at any machine.
        before = os.path.exists("/run/numastow")
        for command in ("apply", "release"):
            result = run([HOOK, command], text)
            check(f"{what}: numastow-hook {command} refuses in one line", result.one_line() and
                  os.path.exists("/run/numastow") == before, result)
    for what, text, words in (
            ("a process that does not exist", json.dumps({**whole, "pid": 19999999}), ("19999999",)),
            ("no process", json.dumps({k: v for k, v in whole.items() if k != "pid"}), ()),
            ("missing bundle", json.dumps({**whole, "bundle": "/nowhere"}), ("/nowhere/config.json",)),
            ("a key with a NUL", json.dumps({**whole, "annotations": {PREFIX + "cpus\0x": "1"}}), (PREFIX + "cpus",)),
            ("a key with a NUL after its prefix", json.dumps({**whole, "annotations": {PREFIX + "\0": "1"}}), (PREFIX,)),
            ("no bundle", json.dumps({k: v for k, v in whole.items() if k != "bundle"}), ("bundle",)),
            ("a bundle that is not absolute", json.dumps({**whole, "bundle": "bundles/t"}),
             ("bundle",))):
        refused(machine, what, text, *words)
    machine.end("t")


def long_ones(machine):
    """What is too long, or has a key that is cut, of a container that asks for nothing: it starts."""
    for what, asked, config in (
            ("2 MiB of annotations", {"author": "x" * 2 * MIB}, {}),
            ("20 MiB of annotations", {"author": "x" * 20 * MIB, "of": PREFIX}, {}),
            ("a config.json of 5 MiB", {"author": "x"}, {"more": "x" * 5 * MIB}),
            ("a config.json of 70 MiB", {"author": "x"}, {"more": "x" * 70 * MIB}),
            ("a name whose key has a NUL", {"io.kubernetes.container.name\0": "a/b"}, {})):
        state = machine.container("t", asked, config=config)
        result = hook(machine, "apply", state)
        check(f"{what}: starts, and is known", result.code == 0 and not result.err and
              machine.exists("/run/numastow/unmanaged/t"), result)
        result = hook(machine, "precreate", machine.config("t"))
        same(f"{what}: precreate returns it", (result.code, result.out == machine.config("t")), (0, True))
        machine.end("t")
        result = hook(machine, "release", state)
        same(f"{what}: release", (result.code, machine.exists("/run/numastow/unmanaged/t")), (0, False))
    state = machine.container("t", ours(cpus="1"), config={"more": "x" * 5 * MIB})
    result = hook(machine, "precreate", machine.config("t"))
    same("a config.json of 5 MiB with annotations: precreate returns it", (result.code, result.out == machine.config("t")),
         (0, True))
    machine.end("t")
    state = machine.container("t", {"author": "x" * 20 * MIB, **ours(cpus="1")})
    refused(machine, "20 MiB of annotations, and one of ours", state, "longer than 1048576 bytes")
    machine.end("t")
    unplaced(machine, "a config.json of 5 MiB", "config.json is longer", config={"more": "x" * 5 * MIB})


def unplaced(machine, what, words, fail_at=0, config=None):
    """With on-failure=ignore it starts, and is known."""
    state = machine.container("t", ours(cpus="1", on_failure="ignore"), config=config)
    result = hook(machine, "apply", state, fail_at=fail_at)
    check(f"{what}, on-failure=ignore: starts unplaced and says so", result.code == 0 and words in result.err and
          "starts unplaced" in result.err and result.err.count("\n") == 1 and not placed_cpus(machine, "t") and
          machine.exists("/run/numastow/unmanaged/t"), result)
    machine.end("t")
    hook(machine, "release", state)


def not_known(machine, temp):
    """Whether numastow is disabled cannot be looked at."""
    def step():
        with open(temp + "/trace", encoding="utf-8") as handle:
            return next(n for n, line in enumerate(handle, 1) if "/etc/numastow/disabled" in line)

    words = "/etc/numastow/disabled cannot be looked at"
    state = machine.container("t", ours(cpus="1"))
    hook(machine, "apply", state, trace=temp + "/trace")
    machine.end("t")
    hook(machine, "release", state)
    for what, asked, good in (("asks for nothing", {"author": "x"}, True),
                              ("asks for another container of its pod", {**KUBERNETES, PREFIX + "cpus.db": "1"}, True),
                              ("asks for something", ours(cpus="1"), False)):
        state = machine.container("t", asked)
        result = hook(machine, "apply", state, fail_at=step())
        check(f"{words}: a container that {what}", (result.code == 0 and not result.err and
              machine.exists("/run/numastow/unmanaged/t")) if good else result.one_line() and words in result.err, result)
        machine.end("t")
        hook(machine, "release", state)
    unplaced(machine, words, words, step())


def configs(machine):
    """config.json and what it is."""
    state = machine.container("t", ours(cpus="1"))
    path = machine.file(machine.containers["t"]["bundle"] + "/config.json")
    with open(path, encoding="utf-8") as handle:
        good = handle.read()
    os.rename(path, path + ".real")
    os.symlink("config.json.real", path)
    refused(machine, "a symlinked config.json", state, "symbolic link")
    os.unlink(path)
    os.mkfifo(path)
    refused_fifo(machine, state)
    os.unlink(path)
    os.mkdir(path)
    refused(machine, "a folder for config.json", state, "config.json")
    os.rmdir(path)
    for what, text, words in (
            ("config.json that is cut", good[:40], ("config.json", "not JSON")),
            ("config.json of 5 MiB", json.dumps({"x": "x" * 5 * MIB}), ("config.json", "longer")),
            ("config.json with a page size of no machine", json.dumps({"linux": {"resources": {
                "hugepageLimits": [{"pageSize": "3MB", "limit": 3 * MIB}]}}}), ("hugepageLimits",))):
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)
        refused(machine, what, state, *words)
        os.unlink(path)
    machine.end("t")


def refused_fifo(machine, state):
    # fingerprint() would wait at the pipe.
    result = hook(machine, "apply", state)
    check("a pipe for config.json: refused at once", result.one_line() and "regular" in result.err,
          result)


def cgroups(machine):
    state = machine.container("t", ours(cpus="1"))
    base = machine.file(machine.cgroup_dir("cpuset", "t"))
    for name in os.listdir(base):
        if name.startswith("cpuset."):
            os.unlink(f"{base}/{name}")
    refused(machine, "no cpuset controller", state, "cpuset", "cgroup.subtree_control")
    machine.end("t")
    state = machine.container("t", ours(cpus="1"))
    machine.write(f"/proc/{machine.containers['t']['pid']}/cgroup", "0::/../outside\n")
    refused(machine, "a cgroup outside of the namespace", state, "cgroup")
    machine.end("t")


def mounts(machine):
    """What needs a mount: a cgroup that cannot be written, a /run that is full."""
    state = machine.container("t", ours(cpus="1"))
    place = machine.file(machine.cgroup_dir("cpuset", "t"))
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", place, place], check=False,
                                           capture_output=True).returncode:
        skip("a read-only cgroup", "mounting is not allowed")
        skip("a full /run", "mounting is not allowed")
        machine.end("t")
        return
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        refused(machine, "a read-only cgroup", state, "Read-only")
    finally:
        subprocess.run(["umount", place], check=True)
    place = machine.file("/run")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "full", place], check=True)
    try:
        refused(machine, "a full /run", state)
    finally:
        subprocess.run(["umount", place], check=True)
    machine.end("t")


def ledger(machine):
    state = machine.container("t", ours(cpus="1"))
    path = machine.file("/run/numastow/ledger.db")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    for what, data in (("that is text", b"this is no database, and it is long enough\n" * 100),
                       ("that is empty", b""),
                       ("with a broken page", b"SQLite format 3\0" + b"\xff" * 8176),
                       ("of another version", None)):
        if data is None:
            import sqlite3
            os.unlink(path)
            db = sqlite3.connect(path)
            db.executescript("PRAGMA user_version=99; CREATE TABLE x(y);")
            db.close()
            with open(path, "rb") as handle:
                data = handle.read()
        with open(path, "wb") as handle:
            handle.write(data)
        refused(machine, f"a ledger {what}", state, "ledger")
        result = hook(machine, "release", state)
        check(f"a ledger {what}: release says so in one line", result.one_line(), result)
        with open(path, "rb") as handle:
            check(f"a ledger {what}: left as it is", handle.read() == data)
    os.unlink(path)
    for what in (("apply", state), ("gc", "")):
        result = hook(machine, *what)
        check(f"a ledger that is missing: {what[0]} says so in one line", result.one_line() and
              "is missing" in result.err and not os.path.exists(path), result)
    result = hook(machine, "rebuild")
    same("a ledger that is missing is made anew", result.code, 0)
    os.mkfifo(path + "-journal")
    for command in ("apply", "gc"):
        result = hook(machine, command, state)
        check(f"a pipe for the ledger's journal: {command} says so in one line",
              result.one_line() and "not a regular file" in result.err, result)
    os.unlink(path + "-journal")
    machine.end("t")


def administrator(machine):
    config = "/etc/numastow/config.yaml"
    for what, text, asked, words in (
            ("a config file with an unknown key", "mod: observe\n", ours(cpus="1"),
             ("config.yaml:1", "mod")),
            ("a config file with a bad value", "mode: enforce\ncaps:\n  cpus: many\n", ours(cpus="1"),
             ("config.yaml:3", "cpus")),
            ("a config file that is no YAML", "mode: [\n", ours(cpus="1"), ("config.yaml:",)),
            ("more CPUs than the cap", "caps:\n  cpus: 2\n", ours(cpus="3"), ("cpus", "3", "2")),
            ("more memory than the cap", "caps:\n  memory: 1Gi\n", ours(memory="2Gi"),
             ("memory", "2Gi", "1Gi")),
            ("more hugepages than the cap", "caps:\n  hugepages: 2Mi\n",
             {PREFIX + "hugepages-2Mi": "4Mi"}, ("hugepages",)),
            ("a key that is not allowed", "allowed-keys: [cpus]\n", ours(cpus="1", memory="1Mi"),
             ("memory",)),
            ("exclusive CPUs that are not permitted",
             'namespaces:\n  - name: "*"\n    cpus: 8\n', ours(cpus="1", cpu_mode="exclusive"),
             ("exclusive",)),
            ("more than the namespace's total", "namespaces:\n  - name: shop\n    cpus: 1\n",
             {**KUBERNETES, **ours(cpus="2")}, ("shop", "cpus")),
            ("all CPUs of a node reserved", "reserved:\n  - node: \"*\"\n    count: 3\n",
             ours(cpus="2"), ("cannot place",))):
        machine.write(config, text)
        hook(machine, "gc") # what the configuration says is true of those that run, too
        state = machine.container("t", asked)
        refused(machine, what, state, *words)
        machine.end("t")
    os.unlink(machine.file(config))
    hook(machine, "gc")
    state = machine.container("t", {**KUBERNETES, **ours(cpus="4")},
                              {"cpu": {"quota": 200000, "period": 100000}})
    refused(machine, "more than the container's own limit in Kubernetes", state, "cpus", "2")
    machine.end("t")


def switched_off(machine):
    asked = {**ours(cpus="1", cpu_mode="exclusive"), PREFIX + "hugepages-2Mi": "4Mi"}
    machine.write("/etc/numastow/config.yaml", "mode: observe\n")
    state = machine.container("t", asked)
    before = fingerprint(machine)
    result = hook(machine, "apply", state)
    same("observe: succeeds silently", (result.code, result.err), (0, ""))
    same("observe: changes nothing", changed(before, fingerprint(machine)), [])
    rows = query(machine, "SELECT kind, text FROM event WHERE id = 't' ORDER BY seq DESC LIMIT 1")
    check("observe: says what it would do", rows and rows[0][0] == "observed" and
          "would be placed on CPUs" in rows[0][1], rows)
    machine.end("t")
    state = machine.container("t", ours(cpus="5"))
    result = hook(machine, "apply", state)
    rows = query(machine, "SELECT kind, text FROM event WHERE id = 't' ORDER BY seq DESC LIMIT 1")
    check("observe: says what it would refuse", result.code == 0 and rows and
          "would be refused" in rows[0][1], rows)
    machine.end("t")
    os.unlink(machine.file("/etc/numastow/config.yaml"))
    machine.write("/etc/numastow/disabled", "")
    state = machine.container("t", {**asked, PREFIX + "typing": "error"})
    before = fingerprint(machine)
    history = query(machine, "SELECT count(*) FROM event")
    result = hook(machine, "apply", state)
    same("disabled: succeeds silently", (result.code, result.err), (0, ""))
    same("disabled: changes nothing", changed(before, fingerprint(machine)), [])
    same("disabled: not even the history", query(machine, "SELECT count(*) FROM event"), history)
    text = machine.config("t")
    result = hook(machine, "precreate", text)
    same("disabled: precreate returns its input", (result.code, result.out), (0, text))
    machine.end("t")
    os.unlink(machine.file("/etc/numastow/disabled"))


def main():
    with Temp() as temp:
        machine = Machine(temp + "/m")
        os.makedirs(machine.file("/run/numastow/unmanaged"))
        machine.container("first", ours(cpus="1"))
        hook(machine, "apply", machine.state("first"))
        annotations(machine)
        states(machine)
        long_ones(machine)
        not_known(machine, temp)
        configs(machine)
        cgroups(machine)
        administrator(machine)
        mounts(machine)
        switched_off(machine)
        check("the container that was there first is still placed", placed_cpus(machine, "first"))
        ledger(machine)
    finish()


if __name__ == "__main__":
    main()
