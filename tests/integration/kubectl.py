#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kubectl numastow: what it says of NUMA nodes and pods, to an API server in Python; how it logs in; and what it does with
answers that are wrong, endless or meant for a terminal."""
import json
import os

from fleetlib import command, eventually, start_agent, start_scheduler
from harness import BUILD, MIB, Machine, Temp, check, finish, hook, run, same
from kubelib import SLICES, ApiServer, kubeconfig, make_certificates
from schemalib import valid

PROGRAM = f"{BUILD}/kubectl-numastow"
API = "/apis/resource.k8s.io/v1"
ESCAPE = "\x1b[31mred\u009b2J"


def device(node, capacity, taints=(), **attributes):
    made = {"name": f"node{node}", "allowMultipleAllocations": True,
            "attributes": {"kind": {"string": "cpus-memory"}, "cpuCount": {"int": 4}, "socket": {"int": node},
                           "resource.kubernetes.io/numaNode": {"int": node}, **attributes},
            "capacity": {k: {"value": v, "requestPolicy": {"default": "0", "validRange": {
                "min": "0", "step": "1" if k == "cpus" else "1Mi"}}} for k, v in capacity.items()}}
    if taints:
        made["taints"] = [{"key": t, "effect": "NoSchedule"} for t in taints]
    return made


def add_slice(api, machine, devices, generation=1, count=1, name=None, driver="numastow.io"):
    name = name or f"{machine}-numastow-000"
    api.slices[name] = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name},
                        "spec": {"driver": driver, "nodeName": machine, "devices": devices, "pool": {
                            "name": machine, "generation": generation, "resourceSliceCount": count}}}


def add_claim(api, name, requests, results=(), devices=(), **spec):
    api.others[f"{API}/namespaces/x/resourceclaims/{name}"] = {
        "metadata": {"name": name, "namespace": "x"}, "spec": {"devices": {"requests": requests, **spec}},
        "status": {**({"allocation": {"devices": {"results": list(results)}}} if results else {}),
                   "devices": list(devices)}}


def result(machine, node, request="numa", **amounts):
    return {"driver": "numastow.io", "pool": machine, "device": f"node{node}", "request": request, "shareID": "s1",
            "consumedCapacity": amounts}


def condition(machine, node, kind, status, message, share="s1"):
    return {"driver": "numastow.io", "pool": machine, "device": f"node{node}", "shareID": share, "conditions": [
        {"type": f"numastow.io/{kind}", "status": status, "message": message,
         "lastTransitionTime": "2026-11-26T12:00:00Z"}]}


def asks(name="numa", cls="numastow-shared", **amounts):
    return {"name": name, "exactly": {"deviceClassName": cls, "capacity": {"requests": amounts}}}


def add_pod(api, name, claims, containers=None, **status):
    """`claims`: {name in the pod: its ResourceClaim, or None}."""
    api.others[f"/api/v1/namespaces/x/pods/{name}"] = {
        "metadata": {"name": name, "namespace": "x"},
        "spec": {"resourceClaims": [{"name": c, "resourceClaimTemplateName": "t"} for c in claims],
                 "containers": containers or [{"name": "main", "resources": {"claims": [{"name": c} for c in claims]}}]},
        "status": {"phase": "Pending", "resourceClaimStatuses": [
            {"name": c, "resourceClaimName": o} for c, o in claims.items() if o], **status}}


class Bench:
    def __init__(self, folder, certificates):
        self.folder, self.api = folder, ApiServer(certificates)
        self.api.start()
        self.certificates = certificates
        self.config = kubeconfig(f"{folder}/kubeconfig", self.api.port, certificates, token="first")
        for cls, expression in (("numastow-shared", 'device.driver == "numastow.io"'),
                                ("gpu", 'device.driver == "gpu.example"')):
            self.api.others[f"{API}/deviceclasses/{cls}"] = {
                "metadata": {"name": cls}, "spec": {"selectors": [{"cel": {"expression": expression}}]}}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.api.stop()

    def ask(self, *words, config=None, **env):
        """As a user without a terminal, and with no environment of kubectl's but what is given."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
        if config is None and "KUBECONFIG" not in env:
            words += ("--kubeconfig", self.config)
        return run(["env", "-i", *(f"{k}={v}" for k, v in {**kept, **env}.items()), PROGRAM, *words], "")

    def json(self, *words):
        done = self.ask(*words, "--json")
        return valid(f"kubectl-{words[0]}", " ".join(words), done.out) if done.code == 0 else done


def rows(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def fill(api):
    """web-1: 4 and 2 CPUs left; web-2: fenced; web-3: nothing is left of node0."""
    capacity = {"cpus": "4", "memory": "8Gi", "hugepages2Mi": "1Gi"}
    add_slice(api, "web-1", [device(0, capacity), device(1, capacity)])
    add_slice(api, "web-2", [device(0, capacity, ["numastow.io/fence"])])
    add_slice(api, "web-3", [device(0, capacity)])
    add_claim(api, "a", [asks(cpus="2")], [result("web-1", 1, cpus="2", memory="1Gi")])
    add_claim(api, "b", [asks(cpus="4")], [result("web-3", 0, cpus="4", hugepages2Mi="512Mi")])


def check_nodes(bench):
    fill(bench.api)
    add_slice(bench.api, "web-1", [device(0, {"cpus": "99"})], generation=0, name="older")
    add_slice(bench.api, "web-4", [device(0, {"cpus": "9"})], count=2)
    add_slice(bench.api, "other", [device(0, {"cpus": "9"})], driver="gpu.example")
    admin = result("web-3", 0, cpus="4")
    admin["adminAccess"] = True
    add_claim(bench.api, "admin", [asks(cpus="4")], [admin])
    add_claim(bench.api, "gone", [asks(cpus="4")], [result("left", 0, cpus="4"), result("web-1", 7, cpus="1")])
    done = bench.ask("nodes")
    check("nodes: what is left of each NUMA node", rows(done.out) == [
        "MACHINE NUMA SOCKET ONLINE CPUS LEFT MEMORY LEFT HUGEPAGES LEFT SHARES TAINTS",
        "web-1 node0 0 4 4/4 8Gi/8Gi 2Mi 1Gi/1Gi 0 -",
        "web-1 node1 1 4 2/4 7Gi/8Gi 2Mi 1Gi/1Gi 1 -",
        "web-2 node0 0 4 4/4 8Gi/8Gi 2Mi 1Gi/1Gi 0 fenced",
        "web-3 node0 0 4 0/4 8Gi/8Gi 2Mi 512Mi/1Gi 1 -",
        "web-4 node0 0 4 9/9 - - 0 slices are missing"] and not done.err, done)
    same("nodes: only those that are named", [r.split()[0] for r in rows(bench.ask("nodes", "web-2", "web-4").out)],
         ["MACHINE", "web-2", "web-4"])
    same("nodes: and none of that name", bench.ask("nodes", "web-9").out, "No such machine publishes NUMA nodes.\n")
    said = bench.json("nodes", "web-1")["machines"]
    same("nodes: as JSON", (said[0]["complete"], said[0]["numa_nodes"][1]["amounts"]["cpus"]),
         (True, {"capacity": 4, "allocated": 2, "left": 2}))

    def forbid(handler, _, path):
        if "resourceclaims" in path:
            handler.refuse(403, "Forbidden", "you may not list claims")
        return "resourceclaims" in path
    bench.api.faults = [forbid]
    done = bench.ask("nodes", "web-1")
    check("nodes: who may not list claims is told so, and sees the capacities",
          done.code == 0 and "?/4" in done.out and "you may not list claims" in done.err, done)
    bench.api.faults = []
    for number in range(200):
        add_slice(bench.api, f"many-{number:03}", [device(n, {"cpus": "4"}) for n in range(8)])
    same("nodes: page by page", len(bench.ask("nodes").out.splitlines()), 1 + 5 + 1600)


def explain(bench, claims, requests, *words, **spec):
    for name, held in requests.items():
        add_claim(bench.api, name, held, **spec)
    add_pod(bench.api, "p", claims, conditions=[
        {"type": "PodScheduled", "status": "False", "message": f"0/3 nodes are available {ESCAPE}"}])
    return bench.ask("explain", "pod/p", "-n", "x", *words)


def check_explain(bench):
    bench.api.slices.clear()
    fill(bench.api)
    done = explain(bench, {"numa": "want"}, {"want": [asks(cpus="6", memory="1Gi")]})
    check("explain: what each machine lacks, the nearest first", rows(done.out) == [
        "pod x/p is Pending", "claim numa (want)", "request numa: 6 cpus, 1Gi memory on one NUMA node", "",
        "MACHINE NUMA WHY",
        "web-1 fits only in sum of its NUMA nodes",
        "node0 4 of 4 cpus left, 6 asked for", "node1 2 of 4 cpus left, 6 asked for",
        "web-2 no NUMA node has enough", "node0 4 of 4 cpus left, 6 asked for, fenced",
        "web-3 no NUMA node has enough", "node0 0 of 4 cpus left, 6 asked for", "",
        "kube-scheduler: 0/3 nodes are available ?[31mred??2J"] and not done.err, done)
    done = explain(bench, {"numa": "want"}, {"want": [asks(cpus="4")]}, "--limit", "1")
    check("explain: what would fit", "web-1 node0 fits" in rows(done.out) and
          "and 2 more: 1: no NUMA node has enough; 1: fenced" in rows(done.out) and
          "something else" in done.out, done)
    for what, requests, said in (
            ("a capacity that no NUMA node has", [asks(hugepages1Gi="1Gi")], "node0 has no hugepages1Gi"),
            ("part of a step counts as a whole one", [asks(cpus="3500m", memory="1")], "web-1 node0 fits"),
            ("two requests at once", [asks("a", cpus="4"), asks("b", cpus="3")],
             "web-1 each request fits alone, but not all at once"),
            ("two requests that fit", [asks("a", cpus="4"), asks("b", cpus="2")], "web-1 node0 fits"),
            ("a class that is not there", [asks(cls="none", cpus="1")],
             'request numa: there is no DeviceClass "none"'),
            ("a class of another driver", [asks(cls="gpu")],
             "request numa: devices of another driver (class gpu), which this command does not know"),
            ("an amount that is none", [asks(cpus="x")], 'request numa: cpus: "x" is not an amount'),
            ("alternatives", [{"name": "numa", "firstAvailable": [
                {"name": "one", "deviceClassName": "numastow-shared", "capacity": {"requests": {"cpus": "6"}}},
                {"name": "two", "deviceClassName": "numastow-shared", "count": 2,
                 "capacity": {"requests": {"cpus": "2"}}}]}], "web-1 node0 fits"),
            ("a fence that is tolerated", [{"name": "numa", "exactly": {
                "deviceClassName": "numastow-shared", "capacity": {"requests": {"cpus": "1"}},
                "tolerations": [{"key": "numastow.io/fence", "operator": "Exists"}]}}], "web-2 node0 fits")):
        done = explain(bench, {"numa": "want"}, {"want": requests})
        check(f"explain: {what}", said in rows(done.out) and done.code == 0, done)
    taint = bench.api.slices["web-2-numastow-000"]["spec"]["devices"][0]["taints"][0]
    for effect, toleration, fits in (("NoSchedule", {"effect": "NoSchedule"}, True),
                                     ("NoExecute", {"effect": "NoSchedule"}, False),
                                     ("NoExecute", {"effect": "NoExecute"}, True),
                                     ("NoExecute", {"key": "other.example/fence"}, False),
                                     ("NoSchedule", {"operator": "Equal", "value": "x"}, False)):
        taint["effect"] = effect
        request = asks(cpus="1")
        request["exactly"]["tolerations"] = [{"key": "numastow.io/fence", "operator": "Exists", **toleration}]
        done = explain(bench, {"numa": "want"}, {"want": [request]})
        same(f"explain: {effect}, and a toleration with {toleration}", "web-2 node0 fits" in rows(done.out), fits)
    taint["effect"] = "NoSchedule"
    done = explain(bench, {"numa": None}, {})
    check("explain: a claim that is not made yet",
          'claim numa: it is not made yet from the ResourceClaimTemplate "t"' in rows(done.out), done)
    done = explain(bench, {"numa": "lost"}, {})
    check("explain: a claim that was deleted", "claim numa (lost): there is no such ResourceClaim" in rows(done.out),
          done)
    done = explain(bench, {}, {})
    check("explain: a pod without claims", "It has no claims, so it waits for no NUMA node." in done.out, done)
    add_claim(bench.api, "held", [asks(cpus="2")], [result("web-1", 0, cpus="2")],
              [condition("web-1", 0, "Prepared", "False", "NUMA node 0 is fenced " + ESCAPE)])
    done = explain(bench, {"numa": "held"}, {})
    check("explain: an allocated claim that the machine refuses", rows(done.out)[2:4] == [
        "request numa: allocated on web-1 node0: 2 cpus",
        "the machine refuses it: NUMA node 0 is fenced ?[31mred??2J (since 2026-11-26T12:00:00Z)"], done)
    done = explain(bench, {"numa": "held", "more": "want"}, {"want": [asks(cpus="1")]})
    check("explain: another claim of the pod must be on the same machine",
          "web-1 node0 fits" in rows(done.out) and "web-3" not in done.out, done)
    said = bench.json("explain", "p", "-n", "x")
    same("explain: as JSON", ([m["name"] for m in said["machines"] if m["fits"]], said["claims"][0]["allocated"][0][
        "prepared"], said["phase"]), (["web-1"], "False", "Pending"))
    for word, why in (("pod/none", "pods/none"), ("deployment/p", "is not a pod like pod/NAME"),
                      ("pod/../../x", "is not the name of an object")):
        done = bench.ask("explain", word, "-n", "x")
        check(f"explain {word}: one line", done.one_line() and why in done.err, done)
    done = bench.ask("explain", "pod/p", "-n", "x/../y")
    check("a namespace is no path", done.one_line() and "is not the name of a namespace" in done.err, done)


def check_where(bench):
    add_claim(bench.api, "two", [asks("a", cpus="2"), asks("b", cpus="1")],
              [result("web-1", 0, "a", cpus="2", memory="1Gi", hugepages2Mi="0"), result("web-1", 1, "b/x", cpus="1")],
              [condition("web-1", 0, "InPlace", "True", ""),
               condition("web-1", 1, "InPlace", "False", "256 of 512 pages are there"),
               condition("web-1", 1, "InPlace", "True", "", share="another")])
    add_pod(bench.api, "q", {"numa": "two"}, [
        {"name": "all", "resources": {"claims": [{"name": "numa"}]}},
        {"name": "one", "resources": {"claims": [{"name": "numa", "request": "b"}]}}, {"name": "none"}])
    done = bench.ask("where", "pod/q", "-n", "x")
    same("where: what each container is promised, and has", rows(done.out)[:4], [
        "CONTAINER CLAIM REQUEST MACHINE NUMA PROMISED STATE MESSAGE",
        "all numa a web-1 node0 2 cpus, 1Gi memory in place -",
        "all numa b/x web-1 node1 1 cpus drift 256 of 512 pages are there",
        "one numa b/x web-1 node1 1 cpus drift 256 of 512 pages are there"])
    said = bench.json("where", "pod/q", "-n", "x")["containers"]
    same("where: as JSON", [(c["container"], c["numa_node"], c["state"]) for c in said],
         [("all", "node0", "in place"), ("all", "node1", "drift"), ("one", "node1", "drift")])
    add_claim(bench.api, "two", [asks("a", cpus="2")], [result("web-1", 0, "a", cpus="2")])
    check("where: what the agent has not said is not known",
          "not known" in bench.ask("where", "q", "-n", "x").out)
    add_pod(bench.api, "r", {})
    check("where: a pod without claims", "has an allocated NUMA node" in bench.ask("where", "r", "-n", "x").out)


def check_login(bench):
    plugin = f"{bench.folder}/plugin"
    with open(plugin, "w", encoding="utf-8") as handle:
        handle.write("#!/bin/sh\necho '{\"kind\": \"ExecCredential\", \"apiVersion\": "
                     "\"client.authentication.k8s.io/v1\", \"status\": {\"token\": \"'$1'\"}}'\n")
    os.chmod(plugin, 0o755)
    made = {"command": "./plugin", "args": ["first"], "env": None, "interactiveMode": "Never",
            "apiVersion": "client.authentication.k8s.io/v1"}
    config = kubeconfig(f"{bench.folder}/exec", bench.api.port, bench.certificates, exec=made)
    check("a plugin logs in", bench.ask("nodes", KUBECONFIG=config).code == 0)
    made["args"] = ["wrong"]
    done = bench.ask("nodes", KUBECONFIG=kubeconfig(f"{bench.folder}/wrong", bench.api.port, bench.certificates,
                                                    exec=made))
    check("a plugin's token that is not accepted: one line", done.one_line() and "401" in done.err, done)
    with open(f"{bench.folder}/context", "w", encoding="utf-8") as handle:
        json.dump({"contexts": [{"name": "mine", "context": {"cluster": "k", "user": "u", "namespace": "x"}}]}, handle)
    both = f"{bench.folder}/context:{bench.folder}/none:{bench.config}"
    done = bench.ask("where", "pod/q", "--context", "mine", KUBECONFIG=both)
    check("several files, and the namespace of a context", done.code == 0 and "web-1" in done.out, done)
    done = bench.ask("where", "pod/q", KUBECONFIG=both)
    check("without it, the default one", "404" in done.err and "namespaces/default/" in done.err, done)
    os.makedirs(f"{bench.folder}/home/.kube")
    os.link(bench.config, f"{bench.folder}/home/.kube/config")
    check("the file in the home folder", bench.ask("nodes", config="", HOME=f"{bench.folder}/home").code == 0)
    done = bench.ask("nodes", config="", HOME="/nowhere")
    check("no file: one line", done.one_line() and "/nowhere/.kube/config" in done.err, done)


def check_hostile(bench):
    """Whatever answers instead of an API server: one line, or a table without what is not readable."""
    def answer(body):
        def fault(handler, *_):
            handler.answer(200, body)
            return True
        return fault
    for what, body, also in (("garbage", b"<html>", True), ("no list", {"items": {}}, False),
                             ("entries that are none", {"items": [1]}, False), ("deep", b"[" * 100000, True),
                             ("too long", b'{"items": [], "x": "' + b"y" * (17 << 20) + b'"}', True)):
        bench.api.faults = [answer(body)]
        for words in (("nodes",), ("explain", "pod/p", "-n", "x"))[:1 + also]:
            done = bench.ask(*words)
            check(f"{words[0]}, {what}: one line", done.one_line(), done)
    bench.api.faults = []
    bench.api.slices.clear()
    strange = device(0, {"cpus": "-1", "memory": "1e99", "x" * 63: "1", **{f"c{i}": "1" for i in range(40)}},
                     [ESCAPE] * 20, socket=3, kind={"string": ESCAPE * 50}, cpuCount={"int": "4"})
    add_slice(bench.api, ESCAPE, [strange, 7, None, {}], generation="x")
    add_slice(bench.api, "z", None)
    done = bench.ask("nodes")
    check("objects that the API server would not store: no escape reaches the terminal",
          done.code == 0 and "\x1b" not in done.out and "\u009b" not in done.out, done)
    check("nor in JSON", "\x1b" not in bench.ask("nodes", "--json").out)
    bench.api.others["/api/v1/namespaces/x/pods/p"] = {"spec": {"resourceClaims": [{"name": 4}] * 33}}
    done = bench.ask("explain", "pod/p", "-n", "x")
    check("too many claims: one line", done.one_line() and "more than 32 claims" in done.err, done)


def check_relay(bench):
    for words in (("fence", "m", "1"), ("unfence", "m"), ("drain", "m", "1")):
        done = bench.ask(*words, "--config", "/dev/null")
        check(f"{words[0]}: without a scheduler, one line says who fences",
              done.one_line() and f"{words[0]} asks numastow-scheduler, and none is configured" in done.err, done)
    with open(f"{bench.folder}/client.yaml", "w", encoding="utf-8") as handle:
        handle.write("scheduler: 127.0.0.1:1\ntimeout: 1s\n")
    bench.api.slices.clear()
    add_slice(bench.api, "m", [device(0, {"cpus": "4"}), device(3, {"cpus": "4"})])
    for words in (("fence", "m", "1", "node2"), ("unfence", "m"), ("drain", "m", "1", "--size", "1Gi")):
        done = bench.ask(*words, "--config", f"{bench.folder}/client.yaml")
        check(f"{words[0]}: the scheduler of client.yaml is asked", done.one_line() and "127.0.0.1:1" in done.err, done)
    done = bench.ask("fence", "m", "x", "--scheduler", "127.0.0.1:1")
    check("a NUMA node that is none", done.one_line() and '"x" is not a NUMA node like 1 or node1' in done.err, done)
    done = bench.ask("fence", "other", "--scheduler=127.0.0.1:1")
    check("a machine that publishes none", done.one_line() and "publishes no NUMA nodes" in done.err, done)
    check("drain never takes the machine that it runs on", bench.ask("drain", "--config", "/dev/null").code == 2)


def check_scheduler(bench):
    """With a scheduler, and an agent that reports to it."""
    folder = f"{bench.folder}/fleet"
    machine = Machine(f"{folder}/m")
    with start_scheduler(f"{folder}/data") as server, start_agent(machine, "m", server.port):
        to = ("--config", "/dev/null", "--scheduler", f"127.0.0.1:{server.port}")
        check("the scheduler knows the machine", eventually(lambda: " ready " in command("nodes", port=server.port).out))
        machine.container("c", {"numastow.io/cpus": "2", "numastow.io/memory": "1Gi", "numastow.io/nodes": "1",
                                "io.kubernetes.pod.uid": "uid-1", "io.kubernetes.pod.namespace": "x",
                                "io.kubernetes.pod.name": "s", "io.kubernetes.container.name": "main"})
        placed = hook(machine, "apply", machine.state("c"))
        check("a container of the pod is placed", placed.code == 0, placed)
        add_claim(bench.api, "s", [asks(cpus="2")], [result("m", 1, cpus="2")])
        add_pod(bench.api, "s", {"numa": "s"})
        pod = bench.api.others["/api/v1/namespaces/x/pods/s"]
        pod["metadata"]["uid"], pod["spec"]["nodeName"] = "uid-1", "m"

        def used():
            done = bench.ask("where", "pod/s", "-n", "x", *to)
            return done if any(r.startswith("main 4-7 1 ") and "/1Gi" in r for r in rows(done.out)) else None
        # A container without a promise of its own, such as that of a claim, has what is in use alone.
        machine.container("d", {"numastow.io/cpus": "1", "numastow.io/nodes": "1",
                                "io.kubernetes.pod.uid": "uid-1", "io.kubernetes.pod.namespace": "x",
                                "io.kubernetes.pod.name": "s", "io.kubernetes.container.name": "side"})
        machine.write(f"{machine.cgroup_dir('memory', 'd')}/memory.numa_stat", f"anon N0=0 N1={3 * MIB}\nfile N0=0 N1=0\n")
        placed = hook(machine, "apply", machine.state("d"))
        check("another container of the pod is placed", placed.code == 0, placed)
        check("where: what is in use without a promise", eventually(lambda: any(
            r.split()[:1] == ["side"] and r.split()[2:4] == ["1", "3Mi"] for r in rows(bench.ask("where", "pod/s", "-n", "x", *to).out))),
              bench.ask("where", "pod/s", "-n", "x", *to).out)
        check("where: what the container uses, beside what is promised", eventually(used),
              bench.ask("where", "pod/s", "-n", "x", *to).out)
        said = bench.json("where", "pod/s", "-n", "x", *to)["actual"]
        same("where: as JSON", sorted((c["name"], c["numa_nodes"]) for c in said), [("main", "1"), ("side", "1")])
        pod["metadata"]["uid"] = "uid-2"
        check("where: another pod's containers are not shown", "reports no running container of the pod" in
              bench.ask("where", "pod/s", "-n", "x", *to).out)
        done = bench.ask("fence", "m", "node1", *to)
        check("fence: the scheduler has it", done.code == 0 and "fenced" in done.out and
              "fenced" in command("node", "m", port=server.port).out, done)
        done = bench.ask("drain", "m", "1", "--dry-run", *to)
        check("drain: the scheduler asks the machine, which has no memory blocks", done.one_line() and
              "this kernel has no memory blocks" in done.err, done)
        check("unfence: and lifts it", bench.ask("unfence", "m", "1", *to).out == "unfenced\n")
    done = bench.ask("where", "pod/s", "-n", "x", *to, "--timeout", "1s")
    check("where: without the scheduler's answer, the promises are shown", done.code == 0 and "m node1 2 cpus" in
          " ".join(done.out.split()) and "not known" in done.err, done)


with Temp() as folder:
    make_certificates(folder)
    with Bench(folder, folder) as bench:
        for part in (check_nodes, check_explain, check_where, check_login, check_hostile, check_relay, check_scheduler):
            part(bench)
finish()
