#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The agent as it publishes NUMA nodes to Kubernetes: to an API server in Python that validates as Kubernetes does, and
that conflicts, refuses, forgets, answers garbage, goes away and comes back."""
import concurrent.futures
import functools
import json
import os
import re
import threading
import time

import kubebench
from daemons import AGENT, PATIENCE, Daemon, fetch, metrics_of
from fleetlib import command, eventually, start_scheduler
from harness import Temp, check, finish, hook, run, same
from kubelib import kubeconfig, make_certificates, write_token

PUBLISHED = "published to Kubernetes"
NOTHING = "nothing is published to Kubernetes"
AWAY = "Kubernetes may not know what is published now"


class Bench(kubebench.Bench):
    """The same, with an eye for slices."""

    def amount(self, device, capacity):
        return self.api.devices().get(device, {}).get("capacity", {}).get(capacity, {}).get("value")

    def pages_become(self, what, pages, node=0):
        """The API server has that many pages of 2Mi, as 2Mi x pages in Gi or Mi."""
        mib = pages * 2
        text = f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"
        check(what, eventually(lambda: self.amount(f"node{node}", "hugepages2Mi") == text),
              (self.amount(f"node{node}", "hugepages2Mi"), self.api.wrong, self.program.so_far()[-3:]))


def check_content(folder, certificates):
    with Bench(folder, "content", certificates) as bench:
        bench.machine.write("/etc/numastow/config.yaml",
                            "reserved:\n  - node: '*'\n    cpus: 0,4\n    memory: 1Gi\n")
        bench.start("--list-attributes")
        said = bench.program.wait(PUBLISHED)
        check("it says what it has published", said and said["devices"] == 2 and said["slices"] == 1, said)
        pool = bench.api.pool()
        if not check("the pool is complete, and valid", pool and not bench.api.wrong, (pool, bench.api.wrong)):
            return
        spec, devices = pool[0]["spec"], bench.api.devices()
        same("driver, node and pool", (spec["driver"], spec["nodeName"], spec["pool"]["name"]), ("numastow.io", "m", "m"))
        same("its owner is the Node", pool[0]["metadata"]["ownerReferences"],
             [{"apiVersion": "v1", "kind": "Node", "name": "m", "controller": True,
               "uid": bench.api.nodes["m"]["metadata"]["uid"]}])
        same("devices", sorted(devices), ["node0", "node1"])
        step = {"cpus": "1", "memory": "1Mi", "hugepages2Mi": "2Mi", "hugepages1Gi": "1Gi"}
        # 16Gi, less 1Gi of each pool that has 512 pages of 2Mi, less 2Gi, less the reserve.
        value = {"cpus": "3", "memory": "12Gi", "hugepages2Mi": "1Gi", "hugepages1Gi": "2Gi"}
        same("capacities", devices["node1"]["capacity"],
             {k: {"value": value[k], "requestPolicy": {"default": "0", "validRange": {"min": "0", "step": step[k]}}}
              for k in step})
        check("many claims may share a device", all(d["allowMultipleAllocations"] for d in devices.values()))
        same("attributes", devices["node1"]["attributes"],
             {"kind": {"string": "cpus-memory"}, "cpuCount": {"int": 3}, "socket": {"int": 1}, "memoryTier": {"int": 4},
              "exclusive": {"bool": False},
              "resource.kubernetes.io/numaNode": {"int": 1}, "dra.cpu/numaNodeID": {"int": 1},
              "dra.net/numaNode": {"int": 1}, "resource.kubernetes.io/pcieRoot": {"strings": ["pci0000:80"]}})
        writes = bench.api.count("PUT") + bench.api.count("POST")
        bench.machine.container("c", {"numastow.io/cpus": "2", "numastow.io/memory": "1Gi", "numastow.io/nodes": "0"})
        placed = hook(bench.machine, "apply", bench.machine.state("c"))
        check("what a container got outside of Kubernetes is not offered", placed.code == 0 and eventually(
            lambda: (bench.amount("node0", "cpus"), bench.amount("node0", "memory")) == ("1", "11Gi") or
            (bench.amount("node1", "cpus"), bench.amount("node1", "memory")) == ("1", "11Gi")),
              (placed, bench.api.devices()))
        same("in one write", bench.api.count("PUT") + bench.api.count("POST"), writes + 1)
        check("metrics", eventually(lambda: {f"numastow_agent_kubernetes_{m}" for m in (
            "devices 2", "publishes_total 2", "failures_total 0")} <= set(metrics_of(bench.program).splitlines())),
              [line for line in metrics_of(bench.program).splitlines() if "kubernetes" in line])
        bench.stop()
        same("SIGTERM deletes nothing", len(bench.api.pool() or []), 1)


def check_changes(folder, certificates):
    """Everything that makes it publish again."""
    with Bench(folder, "changes", certificates) as bench:
        bench.start()
        bench.pages_become("published", 512)
        check("no list without the setting", all(
            "resource.kubernetes.io/pcieRoot" not in d["attributes"] for d in bench.api.devices().values()))
        first = bench.api.generation()
        bench.set_pool(0, 100)
        bench.pages_become("a pool has changed", 100)
        check("in a higher generation", bench.api.generation() > first)
        bench.set_pool(0, 0)
        check("an empty pool is left out", eventually(lambda: bench.amount("node0", "hugepages2Mi") is None and
                                                      bench.amount("node0", "memory")), bench.api.wrong)
        last = bench.api.generation()
        with bench.api.lock:
            for name in list(bench.api.slices):
                bench.api.delete(name)
        check("deleted by kubelet, they come again", eventually(lambda: bench.api.generation() > last))
        last = bench.api.generation()
        with bench.api.lock:
            for item in bench.api.slices.values():
                item["spec"]["devices"][0]["capacity"]["cpus"]["value"] = "400"
                bench.api.emit("MODIFIED", item)
        check("changed by another program, they are as they should be", eventually(
            lambda: bench.api.generation() > last and bench.amount("node0", "cpus") == "4"), bench.api.devices())
        with bench.api.lock:
            item = json.loads(json.dumps(next(iter(bench.api.slices.values()))))
            item["metadata"]["name"] = "left-behind"
            bench.api.slices["left-behind"] = item
            bench.api.emit("ADDED", item)
        check("a slice too many goes", eventually(lambda: "left-behind" not in bench.api.slices))
        with bench.api.lock:
            bench.api.nodes["m"]["metadata"]["uid"] = "another"
            next(iter(bench.api.slices.values()))["metadata"]["labels"] = {"touched": "x"}
            bench.api.emit("MODIFIED", next(iter(bench.api.slices.values())))
        check("a Node that was made anew is the owner", eventually(
            lambda: [o["uid"] for s in bench.api.pool() or [] for o in s["metadata"]["ownerReferences"]] == ["another"]))
        last = bench.api.generation()
        bench.stop()
        with bench.api.lock:
            bench.api.slices.clear()
        bench.start()
        check("started again, with its slices deleted, the generation goes on", eventually(
            lambda: bench.api.generation() > last), (bench.api.generation(), last))
        same("nothing was invalid", bench.api.wrong, [])
        same("no failure was told", bench.lines(AWAY) + bench.lines(NOTHING), [])


def check_withheld(folder, certificates):
    with Bench(folder, "withheld", certificates) as bench:
        bench.start()
        bench.pages_become("published", 512)
        for file, policy, word in (("cpu_manager_state", "static", "cpuManagerPolicy"),
                                   ("memory_manager_state", "Static", "memoryManagerPolicy")):
            bench.machine.write(f"/var/lib/kubelet/{file}", json.dumps({"policyName": policy}))
            check(f"{word}: nothing is published", eventually(lambda: not bench.api.slices))
            said = bench.program.wait(NOTHING)
            check("one line says what to change", said and word in said["reason"] and file in said["reason"], said)
            os.unlink(bench.machine.file(f"/var/lib/kubelet/{file}"))
            bench.pages_become("and published again", 512)
        bench.machine.write("/etc/numastow/disabled", "")
        check("disabled, nothing is published", eventually(lambda: not bench.api.slices))
        os.unlink(bench.machine.file("/etc/numastow/disabled"))
        bench.pages_become("and published again", 512)


def check_pages(folder, certificates):
    """Pools that have grown since kubelet started, which has set a limit for all pods then."""
    withheld = "hugepages are not published to Kubernetes"
    with Bench(folder, "pages", certificates) as bench:
        bench.machine.kubepods()
        limit = "/sys/fs/cgroup/kubepods/hugetlb.2MB"

        def set_limit(mib, what=("", ".rsvd")):
            for part in what:
                bench.machine.write(f"{limit}{part}.max", "max\n" if mib is None else f"{mib << 20}\n")
        set_limit(2048)  # 512 pages of 2Mi on each of both NUMA nodes
        bench.start()
        bench.pages_become("published", 512)
        bench.pages_become("on both NUMA nodes", 512, 1)
        same("nothing is said", bench.lines(withheld), [])
        bench.set_pool(0, 513)
        check("more than pods may have, they are not published", eventually(
            lambda: [bench.amount(f"node{n}", "hugepages2Mi") for n in (0, 1)] == [None, None]), bench.api.devices())
        same("other sizes are", [bench.amount(f"node{n}", "hugepages1Gi") for n in (0, 1)], ["2Gi", "2Gi"])
        said = bench.program.wait(withheld)
        check("one line says why", said and said["capacity"] == "hugepages2Mi" and all(
            word in said["reason"] for word in ("/kubepods", "1024", "1025", "restart kubelet")), said)
        set_limit(2050)
        bench.set_pool(0, 514)
        bench.set_pool(0, 513)
        bench.pages_become("with a higher limit they are", 513)
        set_limit(1024, [".rsvd"])
        bench.set_pool(0, 512)
        check("the limit of reservations counts, too", eventually(lambda: bench.amount("node0", "hugepages2Mi") is None))
        set_limit(None)
        bench.set_pool(0, 600)
        bench.pages_become("without a limit they are published", 600)
        same("a line for each time", len(bench.lines(withheld)), 2)
        same("nothing was invalid", bench.api.wrong, [])


def check_fence(folder, certificates):
    with Bench(folder, "fence", certificates) as bench, start_scheduler(f"{folder}/fence/data") as server:
        bench.start("--scheduler", f"127.0.0.1:{server.port}")
        bench.pages_become("published", 512)
        check("the scheduler knows it", eventually(
            lambda: " ready " in command("nodes", port=server.port).out))
        done = command("fence", "m", "1", port=server.port)
        check("a NUMA node is fenced", done.code == 0, done)
        taints = eventually(lambda: bench.api.devices().get("node1", {}).get("taints"))
        check("a fence is a taint", taints and taints[0]["key"] == "numastow.io/fence" and
              taints[0]["effect"] == "NoSchedule" and len(taints) == 1, taints)
        time.sleep(1.1)  # a time of its own would be another second
        bench.set_pool(0, 200)
        bench.pages_become("a change elsewhere", 200)
        same("its time is kept", bench.api.devices()["node1"].get("taints"), taints)
        bench.stop()
        with bench.api.lock:
            bench.api.slices.clear()
        bench.start("--scheduler", f"127.0.0.1:{server.port}")
        check("also by an agent that is started again", eventually(
            lambda: bench.api.devices().get("node1", {}).get("taints") == taints), bench.api.devices().get("node1"))
        command("unfence", "m", "1", port=server.port)
        check("lifted, the taint goes", eventually(
            lambda: bench.api.devices() and "taints" not in bench.api.devices()["node1"]))
        bench.api.gates.discard("DRADeviceTaints")
        command("fence", "m", "1", port=server.port)
        check("without the gate for taints, the device leaves", eventually(
            lambda: sorted(bench.api.devices()) == ["node0"]), bench.api.devices())
        check("which is said", bench.program.wait(
            "the API server drops taints (feature gate DRADeviceTaints): fenced NUMA nodes are not published"))
        command("unfence", "m", "1", port=server.port)
        check("and comes again", eventually(lambda: sorted(bench.api.devices()) == ["node0", "node1"]))
        same("nothing was invalid", bench.api.wrong, [])


def check_gate(folder, certificates):
    with Bench(folder, "gate", certificates) as bench:
        bench.api.gates.discard("DRAConsumableCapacity")
        bench.start()
        said = bench.program.wait(NOTHING)
        check("without the gate, one line names it", said and "DRAConsumableCapacity" in said["error"], said)
        same("nothing was ever stored", (bench.api.slices, bench.api.history), ({}, []))
        bench.stop()
        bench.api.gates.add("DRAConsumableCapacity")
        bench.start()
        bench.pages_become("with it, it is published", 512)
        # Lost while it runs: what was written then is deleted.
        bench.api.gates.discard("DRAConsumableCapacity")
        bench.set_pool(0, 300)
        said = bench.program.wait(NOTHING)
        check("the gate is gone: one line", said and "DRAConsumableCapacity" in said["error"], said)
        check("and no slices", eventually(lambda: not bench.api.slices), bench.api.slices)
        bench.set_pool(0, 301)
        time.sleep(1)
        same("said once", len(bench.lines(NOTHING)), 1)
        status, body = fetch(bench.program, "/healthz")
        same("the agent is healthy", status, 200) or print(body)


def check_lists(folder, certificates):
    with Bench(folder, "lists", certificates) as bench:
        bench.api.gates.discard("DRAListTypeAttributes")
        bench.start("--list-attributes")
        check("without the gate for lists, one line names it", bench.program.wait(
            "the API server refuses lists (feature gate DRAListTypeAttributes): PCIe roots are not published"))
        bench.pages_become("and the rest is published", 512)
        check("without them", all("resource.kubernetes.io/pcieRoot" not in d["attributes"]
                                  for d in bench.api.devices().values()))


def once(answer, method="PUT", times=1):
    """A fault: answers so many requests of a method, and `left` is how many are not answered yet."""
    lock = threading.Lock()

    def fault(handler, command_, path):
        with lock:
            if command_ != method or "watch=1" in path or not fault.left:
                return False
            fault.left -= 1
        answer(handler)
        return True
    fault.left = times
    return fault


def raw(text, linger=0):
    def answer(handler):
        handler.close_connection = True
        handler.wfile.write(text)
        handler.wfile.flush()
        time.sleep(linger)
    return answer


def faults():
    """What is answered instead, with how it is called."""
    return (
        ("500", once(lambda h: h.refuse(500, "InternalError", "oops"))),
        ("429 with Retry-After", once(lambda h: h.refuse(429, "TooManyRequests", "slow down", Retry_After="1"))),
        ("409", once(lambda h: h.refuse(409, "Conflict", "changed"))),
        ("410 to a list", once(lambda h: h.refuse(410, "Expired", "too old"), "GET")),
        ("a cut connection", once(raw(b""))),
        ("no HTTP", once(raw(b"garbage\r\n\r\n"))),
        ("a page for people", once(lambda h: h.answer(502, b"<html>"))),
        ("200 with garbage", once(lambda h: h.answer(200, b"\xff\xfe{{{"))),
        ("200 with an empty object", once(lambda h: h.answer(200, b"{}"))),
        ("200 with another slice", once(lambda h: h.answer(200, {"metadata": {"name": "x"}, "spec": {}}))),
        ("200 with wrong types", once(lambda h: h.answer(200, {"metadata": {"name": 1}, "spec": [7]}))),
        ("200 nested deep", once(lambda h: h.answer(200, b'{"a":' * 5000))),
        ("200 and more than it may be", once(lambda h: h.answer(200, b'{"a":"' + b"x" * (9 << 20) + b'"}'))),
        ("a redirect", once(lambda h: h.answer(302, b"", Location="http://127.0.0.1:1/"))),
        ("a list that is none", once(lambda h: h.answer(200, {"items": {"a": 1}}), "GET")),
        ("a list of numbers", once(lambda h: h.answer(200, {"items": [1, 2]}), "GET")),
    )


def check_faults(folder, certificates, part):
    with Bench(folder, f"faults{part}", certificates) as bench:
        bench.start()
        bench.pages_become("published", 512)
        for n, (what, fault) in list(enumerate(faults()))[part::4]:
            with bench.api.lock:
                bench.api.faults = [fault]
            bench.set_pool(0, 20 + n)
            check("the answer was given", eventually(lambda w=what, f=fault: given(bench, w, f)), what)
            bench.pages_become(f"{what}: published in the end", 20 + n)
            # What failed is waited for longer each time, which is not this test's concern.
            bench.stop()
            bench.api.faults = []
            same(f"{what}: told once at most", len(bench.lines(AWAY)) <= 1, True)
            bench.start()
            bench.pages_become("again", 20 + n)
        same("nothing was invalid", bench.api.wrong, [])


def given(bench, what, fault):
    """Whether the agent has had that answer. One to a list has its watch end first, which may only be beginning now."""
    with bench.api.lock:
        for watcher in bench.api.watchers if "list" in what and fault.left else []:
            watcher.put({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
    return not fault.left


def check_away(folder, certificates):
    with Bench(folder, "away", certificates) as bench:
        bench.start()
        bench.pages_become("published", 512)
        bench.api.stop()
        bench.set_pool(0, 7)
        said = bench.program.wait(AWAY)
        check("an API server that is away: one line", said and said["error"], said)
        status, body = fetch(bench.program, "/healthz")
        check("the agent is healthy", status == 200, body)
        check("metrics count failures", eventually(
            lambda: "numastow_agent_kubernetes_failures_total 0\n" not in metrics_of(bench.program)))
        bench.machine.container("c", {"numastow.io/cpus": "1"})
        same("containers are placed", hook(bench.machine, "apply", bench.machine.state("c")).code, 0)
        check("it tries again", eventually(lambda: int(re.search(
            r"^numastow_agent_kubernetes_failures_total (\d+)$", metrics_of(bench.program), re.M)[1]) >= 3))
        same("no further line for further attempts", len(bench.lines(AWAY)), 1)
        bench.api.start()
        bench.pages_become("back again, it is told", 7)
        check("and that is said", eventually(lambda: len(bench.lines(PUBLISHED)) > 1), bench.program.said)


def check_token(folder, certificates):
    with Bench(folder, "token", certificates) as bench:
        bench.start()
        bench.pages_become("published", 512)
        with bench.api.lock:
            bench.api.tokens = {"first", "second"}  # what is under way has the old one
        write_token(bench.token, "second")
        bench.set_pool(0, 8)
        check("a new token is read", eventually(lambda: "second" in bench.api.used))
        bench.pages_become("and used", 8)
        with bench.api.lock:
            bench.api.tokens = {"second"}
        bench.set_pool(0, 9)
        bench.pages_become("the old one is not used any more", 9)
        same("without a failure", bench.lines(AWAY), [])
        with bench.api.lock:
            bench.api.tokens = {"third"}
        bench.set_pool(0, 10)
        said = bench.program.wait(AWAY)
        check("a token that no longer counts: one line", said and "401" in said["error"], said)
        write_token(bench.token, "third")
        bench.pages_become("until there is another one", 10)


def check_strangers(folder, certificates):
    """Another cluster's objects, and those of another machine: nothing of theirs is touched."""
    with Bench(folder, "strangers", certificates) as bench:
        other = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "gpu"},
                 "spec": {"driver": "gpu.example.com", "nodeName": "m",
                          "pool": {"name": "m", "generation": 1, "resourceSliceCount": 1}, "devices": []}}
        with bench.api.lock:
            bench.api.create(other, False)
            other["metadata"]["name"], other["spec"]["nodeName"] = "n-numastow-000", "n"
            other["spec"]["driver"] = "numastow.io"
            bench.api.create(other, False)
            bench.api.ignore_selectors = True
        bench.start()
        said = bench.program.wait(AWAY)
        check("slices that are not this machine's: one line", said and "not this machine's" in said["error"], said)
        same("nothing is written", (bench.api.count("POST"), bench.api.count("DELETE")), (0, 0))
        bench.api.ignore_selectors = False
        bench.pages_become("with its own, it publishes", 512)
        same("others' slices are there", {"gpu", "n-numastow-000"} <= set(bench.api.slices), True)
        bench.stop()
    with Bench(folder, "no-node", certificates) as bench:
        bench.api.nodes = {"other": bench.api.nodes["m"]}
        bench.start()
        said = bench.program.wait(AWAY)
        check("a machine that is no Node: one line", said and 'nodes "m" not found' in said["error"], said)
        same("nothing is written", bench.api.count("POST"), 0)


def check_slow(folder, certificates):
    """A server that hangs delays neither the agent nor its end."""
    with Bench(folder, "slow", certificates) as bench:
        bench.api.faults = [lambda h, m, p: time.sleep(PATIENCE) is None]
        bench.start()
        check("asked", eventually(lambda: bench.api.requests))
        status, body = fetch(bench.program, "/healthz")
        check("the agent is healthy", status == 200, body)
        bench.program.process.terminate()
        same("and ends", bench.program.process.wait(PATIENCE), 0)


def check_account(folder, certificates):
    """A pod: the service account's files, within the machine's tree, and the environment."""
    with Bench(folder, "account", certificates) as bench:
        account = "/var/run/secrets/kubernetes.io/serviceaccount"
        with open(f"{certificates}/ca.crt", encoding="ascii") as handle:
            bench.machine.write(f"{account}/ca.crt", handle.read())
        bench.machine.write(f"{account}/token", "first")
        argv = ["env", "KUBERNETES_SERVICE_HOST=127.0.0.1", f"KUBERNETES_SERVICE_PORT={bench.api.port}", AGENT,
                "--sysroot", bench.machine.path, "--config", "/dev/null", "--node", "m", "--metrics", "", "--kubernetes"]
        done = run([*argv, "--check-config"], "")
        check("--check-config is content", done.code == 0, done)
        bench.program = Daemon(argv)
        bench.pages_become("published by a pod", 512)
        bench.stop()
        os.unlink(bench.machine.file(f"{account}/token"))
        done = run([*argv, "--check-config"], "")
        check("a token that is not there: one line", done.code == 2 and "serviceaccount/token" in done.err and
              done.err.count("\n") == 1, done)
        for what, user, words in (("exec plugins", {"exec": {"command": "aws"}}, ("exec", "not supported")),
                                  ("half a certificate", {"client-key": "k"}, ("belong together",))):
            path = kubeconfig(f"{folder}/account/bad", 1, certificates, **user)
            done = run([*argv, "--check-config", "--kubeconfig", path], "")
            check(f"{what}: one line", done.code == 2 and all(w in done.err for w in (path, *words)) and
                  done.err.count("\n") == 1, done)
        done = run([w for w in argv if not w.startswith("KUBERNETES")] + ["--check-config"], "")
        check("no pod, no kubeconfig: one line", done.code == 2 and "kubeconfig" in done.err, done)


def check_certificate(folder, certificates):
    """A server that is not the cluster's gets no token."""
    with Bench(folder, "certificate", certificates) as bench:
        elsewhere = f"{folder}/elsewhere"
        os.makedirs(elsewhere)
        make_certificates(elsewhere)
        bench.certificates = elsewhere
        bench.start()
        said = bench.program.wait(AWAY)
        check("a certificate of another CA: one line", said and "certificate" in said["error"], said)
        same("no request was made", bench.api.requests, [])


with Temp() as temp:
    os.makedirs(f"{temp}/tls")
    make_certificates(f"{temp}/tls")
    parts = [check_content, check_changes, check_withheld, check_pages, check_fence, check_gate, check_lists, check_away, check_token,
             check_strangers, check_slow, check_account, check_certificate,
             *(functools.partial(check_faults, part=n) for n in range(4))]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(part, temp, f"{temp}/tls") for part in parts]:
            done.result()
finish()
