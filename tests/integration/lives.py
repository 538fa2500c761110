#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pods, leases, and containers that start twice: what each is granted, and which grants outlast which calls."""
import json
import os

from daemons import AGENT, Daemon
from harness import (Machine, Temp, as_list, check, eventually, finish, hook, leftovers, placed_cpus, query, same)

PREFIX = "numastow.io/"
CONFIG = "/etc/numastow/config.yaml"


def ours(**asked):
    return {PREFIX + k.replace("_", "-"): v for k, v in asked.items()}


def pod_annotations(runtime, name, sandbox=False):
    """What CRI-O and containerd put into the state."""
    if runtime == "cri-o":
        return {"io.kubernetes.container.name": "POD" if sandbox else name,
                "io.kubernetes.cri-o.ContainerType": "sandbox" if sandbox else "container",
                "io.kubernetes.cri-o.SandboxID": "5a17d80c",
                "io.kubernetes.pod.name": "shop-0", "io.kubernetes.pod.namespace": "shop",
                "io.kubernetes.pod.uid": "b2a4-77"}
    found = {"io.kubernetes.cri.container-type": "sandbox" if sandbox else "container",
             "io.kubernetes.cri.sandbox-id": "5a17d80c", "io.kubernetes.cri.sandbox-name": "shop-0",
             "io.kubernetes.cri.sandbox-namespace": "shop",
             "io.kubernetes.cri.sandbox-uid": "b2a4-77"}
    return found if sandbox else {**found, "io.kubernetes.cri.container-name": name}


def apply(machine, name, asked, **kwargs):
    return hook(machine, "apply", machine.container(name, asked, **kwargs))


def shares(machine, name):
    return query(machine, "SELECT sum(s.cpus) FROM share s JOIN container c ON c.key = s.container"
                 " WHERE c.id = ? AND c.state = 2", name)[0][0]


def empty(machine, what):
    result = hook(machine, "gc")
    left = leftovers(machine)
    check(f"{what}: nothing is left", result.code == 0 and not left, f"{result} {left}")


# --- pods -----------------------------------------------------------------------------------------


def pod(path, runtime):
    machine = Machine(path)
    asked = {PREFIX + "cpus.web": "2", PREFIX + "cpus.db": "4"}
    what = f"{runtime} pod"
    result = apply(machine, "pause", {**asked, **pod_annotations(runtime, "", sandbox=True)})
    same(f"{what}: the sandbox is not placed", (result.code, placed_cpus(machine, "pause")),
         (0, None))
    same(f"{what}: the sandbox keeps its CPUs", machine.cpuset("pause"), set(range(8)))
    for name in ("web", "db"):
        result = apply(machine, name, {**asked, **pod_annotations(runtime, name)})
        check(f"{what}: {name} is placed", result.code == 0 and placed_cpus(machine, name), result)
    same(f"{what}: web has 2 CPUs, db has 4", (shares(machine, "web"), shares(machine, "db")), (2, 4))
    result = apply(machine, "log", {**asked, **pod_annotations(runtime, "log")})
    same(f"{what}: a container that no annotation names is not placed",
         (result.code, placed_cpus(machine, "log")), (0, None))
    for name in ("pause", "web", "db", "log"):
        state = machine.state(name)
        machine.end(name)
        hook(machine, "release", state)
    same(f"{what}: poststop gives everything back", leftovers(machine), "")


def pod_together(path, runtime):
    machine = Machine(path)
    what = f"{runtime} pod with scope=pod"
    asked = {PREFIX + "cpus.web": "2", PREFIX + "cpus.db": "2", PREFIX + "scope": "pod"}
    # Another container, so that the tightest fit for 2 CPUs alone would be another node than for 4.
    apply(machine, "other", ours(cpus="1", nodes="0"))
    result = apply(machine, "web", {**asked, **pod_annotations(runtime, "web")})
    check(f"{what}: the first one is placed", result.code == 0, result)
    leases = query(machine, "SELECT nodes FROM container WHERE state = 0")
    same(f"{what}: a place is kept for the second", len(leases), 1)
    nodes = placed_cpus(machine, "web")[1]
    # A container that starts in between must not take it.
    late = apply(machine, "late", ours(cpus="2", nodes=",".join(map(str, nodes))))
    check(f"{what}: no other container takes that place", late.code == 1 and "cannot place" in late.err, late)
    result = apply(machine, "db", {**asked, **pod_annotations(runtime, "db")})
    check(f"{what}: the second one is placed", result.code == 0, result)
    same(f"{what}: on the same node", placed_cpus(machine, "db")[1], nodes)
    same(f"{what}: it has adopted its lease",
         query(machine, "SELECT id FROM container WHERE state != 2"), [])
    same(f"{what}: each has one grant",
         query(machine, "SELECT id, count(*) FROM container GROUP BY id ORDER BY id"),
         [("db", 1), ("other", 1), ("web", 1)])
    # A pod that does not go onto one node is refused as a whole.
    big = {PREFIX + "cpus.web": "2", PREFIX + "cpus.db": "4", PREFIX + "scope": "pod"}
    second = {**pod_annotations(runtime, "web"), "io.kubernetes.pod.uid": "c0-1",
              "io.kubernetes.cri.sandbox-uid": "c0-1", "io.kubernetes.cri.sandbox-id": "c0ffee",
              "io.kubernetes.cri-o.SandboxID": "c0ffee"}
    result = apply(machine, "web2", {**big, **second})
    check(f"{what}: too large for one node is refused as a whole",
          result.code == 1 and "cannot place" in result.err and not
          query(machine, "SELECT id FROM container WHERE pod LIKE 'c0%'"), result)
    for name in ("web", "db", "other", "web2", "late"):
        machine.end(name)
    empty(machine, what)


# --- twice ----------------------------------------------------------------------------------------


def called_twice(path):
    machine = Machine(path)
    state = machine.container("t", {**ours(cpus="2", cpu_mode="exclusive"),
                                    PREFIX + "hugepages-2Mi": "8Mi"})
    first = hook(machine, "apply", state)
    grant = placed_cpus(machine, "t")
    second = hook(machine, "apply", state)
    same("called twice: both succeed", (first.code, second.code), (0, 0))
    same("called twice: one grant, the same", placed_cpus(machine, "t"), grant)
    same("called twice: placed once",
         query(machine, "SELECT count(*) FROM event WHERE kind = 'placed'"), [(1,)])
    same("called twice: four hugepages", machine.read(machine.pool(0) + "/nr_hugepages"), "4")
    machine.end("t")
    for _ in range(2):
        same("released twice: succeeds", hook(machine, "release", state).code, 0)
    empty(machine, "called twice")


def late_poststop(path):
    machine = Machine(path)
    asked = {**ours(cpus="2", cpu_mode="exclusive"), PREFIX + "hugepages-2Mi": "8Mi"}
    old = machine.container("t", asked)
    hook(machine, "apply", old)
    machine.end("t")
    new = machine.container("t", asked)
    result = hook(machine, "apply", new)
    same("the same id again before the old poststop: placed", result.code, 0)
    same("... and the old grant was found to be over",
         query(machine, "SELECT count(*) FROM container WHERE id = 't'"), [(1,)])
    for word in ("late", "later still"):
        result = hook(machine, "release", old)
        same(f"a poststop that comes {word}: succeeds", result.code, 0)
        grant = placed_cpus(machine, "t")
        check(f"a poststop that comes {word}: the new life keeps its grant",
              grant and machine.cpuset("t") == grant[0], grant)
    same("... and its hugepages",
         sum(int(machine.read(machine.pool(n) + "/nr_hugepages")) for n in (0, 1)), 4)
    # The cgroup is still there when poststop runs, without processes.
    machine.end("t", remove=False)
    hook(machine, "release", new)
    same("poststop before the cgroup goes: released", leftovers(machine), "")
    machine.container("plain")
    hook(machine, "apply", machine.state("plain"))
    old = machine.state("plain")
    machine.end("plain")
    machine.container("plain")
    hook(machine, "apply", machine.state("plain"))
    hook(machine, "release", old)
    check("a late poststop of a container without annotations keeps the new entry",
          machine.exists("/run/numastow/unmanaged/plain"))


# --- leases ---------------------------------------------------------------------------------------


def failed_start(path):
    """A container that could not be started ends without a poststop: its CPUs keep no other one from starting."""
    machine = Machine(path)
    for name, asked in (("plain", {}), ("shared", ours(cpus="1")), ("exclusive", ours(cpus="2", cpu_mode="exclusive"))):
        apply(machine, "dead", ours(cpus="2", cpu_mode="exclusive", nodes="0"))
        own = placed_cpus(machine, "dead")[0]
        machine.end("dead")
        result = apply(machine, name, asked, cpus=as_list(own), resources={"cpu": {"cpus": as_list(own)}})
        same(f"after a failed start a container with the same CPUs starts: {name}", (result.code, machine.cpuset(name)), (0, own))
        machine.end(name)
    empty(machine, "failed start")


def reserved(path):
    """Reserved CPUs stay reserved when a container ends, whether config.yaml can be read or not."""
    machine = Machine(path)
    good = "reserved:\n  - node: 0\n    cpus: '0'\n"
    machine.write(CONFIG, good)
    apply(machine, "shared", ours(cpus="1", nodes="0"))
    for what, text, left in (("is there", good, {1, 2, 3}), ("is broken", good.replace("node", "nood"), {2, 3})):
        state = machine.container("t", ours(cpus="1", cpu_mode="exclusive", nodes="0"))
        hook(machine, "apply", state)
        machine.write(CONFIG, text)
        machine.end("t")
        result = hook(machine, "release", state)
        same(f"config.yaml {what}: a container's end gives others no reserved CPU", (result.code, machine.cpuset("shared")), (0, left))
    machine.write(CONFIG, good)
    hook(machine, "gc")
    same("with config.yaml repaired, its CPUs are given back", machine.cpuset("shared"), {1, 2, 3})
    with Daemon([AGENT, "--sysroot", machine.path, "--config", "/dev/null", "--metrics", "", "--node", "web-3"]) as agent:
        check("an agent starts", agent.wait("numastow-agent is ready"))
        machine.write(CONFIG, good.replace("'0'", "0-1"))
        check("it follows a changed config.yaml without a signal",
              eventually(lambda: machine.read(machine.cgroup_dir("cpuset", "shared") + "/cpuset.cpus") == "2-3"), agent.so_far())
    machine.end("shared")
    empty(machine, "reserved")


def precreate(path):
    grants = []
    for first in (False, True):
        machine = Machine(f"{path}{first}")
        apply(machine, "other", ours(cpus="1"))
        state = machine.container("t", {**ours(cpus="2", cpu_mode="exclusive", memory="64Mi"),
                                        PREFIX + "hugepages-2Mi": "8Mi"})
        if first:
            result = hook(machine, "precreate", machine.config("t"))
            same("precreate: returns config.json to the byte", (result.code, result.out),
                 (0, machine.config("t")))
            same("precreate: one lease",
                 query(machine, "SELECT id, state FROM container WHERE id = 't'"), [("t", 0)])
            same("precreate: no hugepages yet", machine.read(machine.pool(0) + "/nr_hugepages"), "0")
            # Podman calls it again when it starts the container again.
            result = hook(machine, "precreate", machine.config("t"))
            same("precreate twice: still one lease",
                 query(machine, "SELECT id, state FROM container WHERE id = 't'"), [("t", 0)])
        result = hook(machine, "apply", state)
        same(f"apply {'behind precreate' if first else 'alone'}: succeeds", result.code, 0)
        grants.append((placed_cpus(machine, "t"), machine.cpuset("t"), machine.cpuset("t", "mems"),
                       query(machine, "SELECT state, mode, request, reason FROM container"
                             " WHERE id = 't'"),
                       query(machine, "SELECT node, cpus, memory FROM share ORDER BY container"),
                       query(machine, "SELECT node, size, pages FROM page")))
        machine.end("t")
        machine.end("other")
        empty(machine, "precreate" if first else "apply alone")
    same("precreate and apply give the same grant as apply alone", grants[1], grants[0])


def other_paths(path):
    """In all forms of linux.cgroupsPath, the container adopts the lease of its precreate."""
    for number, form in enumerate(("/system.slice/web.service/libpod-payload-{}",
                                   "/machine.slice/libpod-{}.scope", "/libpod_parent/libpod-{}",
                                   "machine.slice:libpod:{}")):
        machine = Machine(f"{path}{number}")
        state = machine.container("t", ours(cpus="7", cpu_mode="exclusive", policy="best-effort"))
        config = json.loads(machine.config("t"))
        config["linux"]["cgroupsPath"] = form.format("t")
        hook(machine, "precreate", json.dumps(config))
        same(f"{form}: the lease has the container's id",
             query(machine, "SELECT id, state FROM container"), [("t", 0)])
        result = hook(machine, "apply", state)
        check(f"{form}: which adopts it", result.code == 0 and
              query(machine, "SELECT id, state FROM container") == [("t", 2)], result)
        machine.end("t")
        empty(machine, form)


def odd_names(path):
    """A container that asks for nothing starts, whatever its identity says."""
    machine = Machine(path)
    apply(machine, "db", ours(cpus="2", cpu_mode="exclusive", nodes="0"))
    for name, odd in (("empty", {"io.kubernetes.cri.sandbox-uid": ""}),
                      ("odd", {"io.kubernetes.cri.sandbox-name": "../x y"}),
                      ("two", {"io.kubernetes.pod.namespace": "rich",
                               "io.kubernetes.cri.sandbox-namespace": "poor"})):
        result = apply(machine, name, odd)
        check(f"an identity that is {name}: a plain container starts",
              result.code == 0 and not result.err, result)
        check("... and is kept off exclusive CPUs",
              not set(machine.cpuset(name)) & placed_cpus(machine, "db")[0], machine.cpuset(name))
        machine.end(name)
    machine.end("db")
    empty(machine, "odd names")


def no_name(path):
    machine = Machine(path)
    result = apply(machine, "t", {PREFIX + "cpus.web": "2"})
    check("KEY.CONTAINER where no container has a name: refused, with what to write",
          result.one_line() and "numastow.io/cpus.web" in result.err and
          "write numastow.io/cpus" in result.err, result)
    result = apply(machine, "t", ours(memory="512m"))
    check("memory of half a byte: refused, with what was meant",
          result.one_line() and "512Mi" in result.err, result)
    machine.end("t")
    empty(machine, "no name")


def modes(path):
    machine = Machine(path)
    machine.write("/sys/devices/system/cpu/isolated", "\n")
    result = apply(machine, "rt", ours(cpus="2", cpu_mode="isolated"))
    check("isolated on a machine without isolated CPUs: refused, and says where they come from",
          result.one_line() and "isolcpus=" in result.err and "cpu-mode=exclusive" in result.err, result)
    machine.write("/sys/devices/system/cpu/isolated", "2-3\n")
    result = apply(machine, "rt", ours(cpus="2", cpu_mode="isolated"))
    same("isolated CPUs are granted on request", (result.code, placed_cpus(machine, "rt")[0]),
         (0, {2, 3}))
    result = apply(machine, "web", ours(cpus="1", nodes="0"))
    check("a shared container does not run on isolated ones", result.code == 0 and
          not set(machine.cpuset("web")) & {2, 3}, machine.cpuset("web"))
    machine.end("rt")
    result = apply(machine, "db", ours(cpus="3", cpu_mode="exclusive", nodes="0"))
    check("an exclusive one does not get them", result.one_line() and "cannot place" in result.err,
          result)
    machine.end("web")
    machine.end("db")
    machine.write(CONFIG, "namespaces: [{name: '*', cpus: 2, exclusive-cpus: yes}]\n")
    result = apply(machine, "many", ours(cpus="3"))
    check("the cap of \"*\" holds for a container without a namespace",
          result.one_line() and "above the cap of 2" in result.err, result)
    machine.end("many")
    machine.write(CONFIG, "full-cores: yes\n")
    result = apply(machine, "half", ours(cpus="1", cpu_mode="exclusive"))
    check("full-cores: half a core is refused, with the next size",
          result.one_line() and "part of a core" in result.err and "2 CPUs would fit" in result.err, result)
    result = apply(machine, "whole", ours(cpus="2", cpu_mode="exclusive"))
    same("full-cores: a whole one is given", result.code, 0)
    machine.end("whole")
    machine.end("half")
    empty(machine, "modes")


def expiry(path):
    # One that lasts, however long the next step takes.
    machine = Machine(f"{path}-held")
    machine.write(CONFIG, "lease-seconds: 3600\n")
    machine.container("t", ours(cpus="4", cpu_mode="exclusive", nodes="0"))
    hook(machine, "precreate", machine.config("t"))
    result = apply(machine, "soon", ours(cpus="2", nodes="0"))
    check("a lease holds its place", result.code == 1 and "cannot place" in result.err, result)

    machine = Machine(path)
    machine.write(CONFIG, "lease-seconds: 1\n")
    state = machine.container("t", ours(cpus="4", cpu_mode="exclusive", nodes="0"))
    hook(machine, "precreate", machine.config("t"))
    then = machine.container("then", ours(cpus="2", nodes="0"))
    check("an expired lease makes room for another container",
          eventually(lambda: hook(machine, "apply", then).code == 0))
    same("... and is in the history as expired",
         query(machine, "SELECT count(*) FROM event WHERE kind = 'expired'"), [(1,)])
    result = hook(machine, "apply", state)
    check("its container is planned anew", result.code == 1 and "cannot place" in result.err, result)
    hook(machine, "precreate", machine.config("then").replace("slice/then", "slice/never"))
    said = []
    check("gc collects a lease that nobody adopts",
          eventually(lambda: said.append(hook(machine, "gc").out) or "expired 1" in said[-1]), said[-1:])
    machine.end("t")
    machine.end("then")
    empty(machine, "expiry")


# --- memory policies ------------------------------------------------------------------------------


def runtime(path, modes):
    with open(path, "w", encoding="utf-8") as handle:
        features = json.dumps({"linux": {"memoryPolicy": {"modes": modes}}} if modes else {})
        handle.write(f"#!/bin/sh\n[ \"$1\" = features ] && echo '{features}'\n")
    os.chmod(path, 0o755)
    return path


def memory_policy(path):
    machine = Machine(path)
    asked = ours(cpus="2", memory_policy="interleave", policy="spread")
    state = machine.container("t", asked)
    result = hook(machine, "apply", state)
    check("memory-policy without precreate: refused", result.one_line() and
          "memory-policy" in result.err and "bind" in result.err, result)
    for what, modes in (("knows no memoryPolicy", None), ("knows another mode", ["MPOL_BIND"])):
        script = runtime(path + "/runtime", modes)
        machine.write(CONFIG, f"runtimes: [{script}]\n")
        result = hook(machine, "precreate", machine.config("t"))
        check(f"memory-policy with a runtime that {what}: refused", result.one_line() and
              "memory-policy" in result.err and not result.out, result)
    right = json.dumps({"linux": {"memoryPolicy": {"modes": ["MPOL_INTERLEAVE"]}}})
    for what, words in (
            ("never answers", "exec sleep 3600"),
            ("answers, closes its output and stays", f"echo '{right}'; exec >&-; exec sleep 3600"),
            ("says more than a megabyte and stays",
             f"echo '{right}'; head -c 2000000 /dev/zero | tr '\\0' ' '; exec sleep 3600"),
            ("never ends to speak", f"echo '{right}'; exec yes ''")):
        slow = runtime(path + "/slow", None)
        with open(slow, "w", encoding="utf-8") as handle:
            handle.write(f"#!/bin/sh\n{words}\n")
        machine.write(CONFIG, f"runtimes: [{slow}]\n")
        result = hook(machine, "precreate", machine.config("t"))  # within its bound of a minute
        check(f"memory-policy with a runtime that {what}: refused",
              result.one_line() and "memory-policy" in result.err and not result.out, result)
    script = runtime(path + "/runtime", ["MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED"])
    machine.write(CONFIG, f"runtimes: [{script}]\n")
    text = machine.config("t")
    result = hook(machine, "precreate", text)
    same("memory-policy with a runtime that knows it: succeeds", result.code, 0)
    edited = json.loads(result.out or "{}")
    policy = edited.get("linux", {}).pop("memoryPolicy", None)
    same("... the policy is in the configuration",
         policy and (policy["mode"], policy["nodes"]), ("MPOL_INTERLEAVE", "0-1"))
    same("... and nothing else has changed", edited, json.loads(text))
    machine.write(machine.containers["t"]["bundle"] + "/config.json", result.out)
    result = hook(machine, "apply", state)
    check("... and apply places it there", result.code == 0 and
          placed_cpus(machine, "t")[1] == {0, 1}, result)
    machine.end("t")
    empty(machine, "memory-policy")


def main():
    with Temp() as temp:
        for kind in ("cri-o", "containerd"):
            pod(f"{temp}/pod-{kind}", kind)
            pod_together(f"{temp}/together-{kind}", kind)
        called_twice(temp + "/twice")
        late_poststop(temp + "/late")
        failed_start(temp + "/failed")
        reserved(temp + "/reserved")
        precreate(temp + "/precreate")
        other_paths(temp + "/paths")
        odd_names(temp + "/odd")
        no_name(temp + "/name")
        modes(temp + "/modes")
        expiry(temp + "/expiry")
        memory_policy(temp + "/policy")
    finish()


if __name__ == "__main__":
    main()
