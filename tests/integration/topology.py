#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The agent as it publishes a NodeResourceTopology: to an API server in Python with server-side apply, beside another
program that writes the same object, without the definition, and with answers of any kind."""
import concurrent.futures
import copy
import json
import os
import re
import threading
import urllib.parse
import uuid

import kubebench
from daemons import AGENT, fetch, metrics_of
from fleetlib import command, eventually, start_scheduler
from harness import GIB, MIB, Temp, check, finish, hook, run, same
from kubelib import ApiHandler, ApiServer, Refusal, make_certificates, need, quantity

OBJECTS = "/apis/topology.node.k8s.io/v1alpha2/noderesourcetopologies"
WRITTEN = "this machine's NodeResourceTopology is up to date"
NOTHING = "no NodeResourceTopology is published"
OTHERS = "another program writes this machine's NodeResourceTopology, and it is left alone until it is deleted"
AWAY = "this machine's NodeResourceTopology may be out of date"
NFD = "node-feature-discovery-topology-updater"
ATOMIC = ("zones", "attributes", "topologyPolicies")  # as the definition's lists are
QUANTITY = re.compile(r"(\d+)([KMGTPE]i|[kMGTPE])?")


def pairs(entries, keys):
    for entry in entries:
        need(set(entry) == set(keys) and all(isinstance(entry[k], t) for k, t in keys.items()), f"{entry}: {keys}")


def validate(item):
    """By the schema of the definition (noderesourcetopology-api 7f99f9c), without fields that it does not know."""
    need(item["apiVersion"] == "topology.node.k8s.io/v1alpha2" and item["kind"] == "NodeResourceTopology", "kind")
    need(set(item) <= {"apiVersion", "kind", "metadata", *ATOMIC} and "zones" in item, "fields")
    pairs(item.get("attributes", []), {"name": str, "value": str})
    for zone in item["zones"]:
        need(set(zone) <= {"name", "type", "parent", "costs", "attributes", "resources"}, "zone")
        need(isinstance(zone["name"], str) and isinstance(zone["type"], str), "zone")
        pairs(zone.get("costs", []), {"name": str, "value": int})
        pairs(zone.get("resources", []), dict.fromkeys(("name", "capacity", "allocatable", "available"), str))
        for resource in zone.get("resources", []):
            for key in ("capacity", "allocatable", "available"):
                need(QUANTITY.fullmatch(resource[key]), f"{key}: {resource[key]}")


def panics(item):
    """What makes NodeResourceTopologyMatch (scheduler-plugins 903da7df) panic: it indexes arrays by these numbers."""
    numbers = [int(re.fullmatch(r"node-(\d+)", z["name"]).group(1)) for z in item["zones"] if z["type"] == "Node"]
    return [n for n in numbers if n >= 64 or n >= len(numbers)]


class TopologyHandler(ApiHandler):
    def selects(self, query, item):
        if item["kind"] == "NodeResourceTopology":
            return self.path.startswith(OBJECTS) and query.get("fieldSelector") == f"metadata.name={item['metadata']['name']}"
        return not self.path.startswith(OBJECTS) and super().selects(query, item)

    def route(self, path, query):
        api, name = self.api, path.rpartition("/")[2]
        if not path.startswith(OBJECTS):
            super().route(path, query)
            return
        if not api.defined:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        if path == OBJECTS and self.command == "GET":
            if query.get("watch"):
                self.watch(query)
                return
            with api.lock:
                items = [copy.deepcopy(o) for o in api.objects.values() if self.selects(query, o)]
                version = api.version
            self.answer(200, {"kind": "NodeResourceTopologyList", "metadata": {"resourceVersion": str(version)},
                              "items": items})
        elif self.command == "PATCH":
            need(self.headers.get("Content-Type") == "application/apply-patch+yaml", "a content type of apply")
            with api.lock:
                item = api.apply(name, urllib.parse.unquote(query["fieldManager"]), self.body, query.get("force") == "true")
            self.answer(200, item)
        elif self.command == "DELETE":
            with api.lock:
                item = api.remove(name, ((self.body or {}).get("preconditions") or {}).get("uid"))
            self.answer(200, item)
        else:
            raise Refusal(405, "MethodNotAllowed", f"{self.command} {path}")


class TopologyServer(ApiServer):
    """With the definition of NodeResourceTopology, and server-side apply as far as lists that are atomic need it."""
    handler = TopologyHandler

    def __init__(self, *args, **words):
        super().__init__(*args, **words)
        self.defined, self.attributes_known = True, True
        self.objects, self.owners = {}, {}  # owners: of each field of ATOMIC the managers that applied it

    def apply(self, name, manager, item, force=False):
        try:
            validate(item)
            need(item["metadata"]["name"] == name, "name")
        except (ValueError, KeyError, TypeError) as error:
            self.wrong.append(f"{error!r}")
            raise Refusal(422, "Invalid", f"NodeResourceTopology is invalid: {error}") from None
        old, owners = self.objects.get(name), self.owners.setdefault(name, {})
        fields = [f for f in ATOMIC if f in item and (f != "attributes" or self.attributes_known)]
        others = {f: owners.get(f, set()) - {manager} for f in fields if old and old.get(f) != item[f]}
        conflicts = [f for f, who in others.items() if who]
        if conflicts and not force:
            raise conflict(sorted(others[conflicts[0]])[0], conflicts)
        new = copy.deepcopy(old) or {"apiVersion": item["apiVersion"], "kind": item["kind"],
                                     "metadata": {"name": name, "uid": str(uuid.uuid4()), "ownerReferences": []}}
        for field in fields:
            owners[field] = {manager} if field in others else owners.get(field, set()) | {manager}
            new[field] = copy.deepcopy(item[field])
        # What the manager applied before, and not now, is taken away from it.
        kept = [o for o in new["metadata"]["ownerReferences"] if o["manager"] != manager]
        new["metadata"]["ownerReferences"] = kept + [
            {**o, "manager": manager} for o in item["metadata"].get("ownerReferences", [])]
        new["metadata"]["managedFields"] = [
            {"manager": m, "operation": "Apply", "fieldsV1": {f"f:{f}": {} for f in owners if m in owners[f]}}
            for m in sorted(set().union(*owners.values()))]
        if new != old:
            self.objects[name] = new
            self.emit("MODIFIED" if old else "ADDED", new)
        return new

    def remove(self, name, uid=None):
        old = self.objects.get(name)
        if not old:
            raise Refusal(404, "NotFound", f'noderesourcetopologies "{name}" not found')
        if uid and uid != old["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "Precondition failed: UID in precondition")
        del self.objects[name]
        self.owners.pop(name)
        self.emit("DELETED", old)
        return old

    # --- for tests -------------------------------------------------------------------------------

    def topology(self, node="m"):
        with self.lock:
            return copy.deepcopy(self.objects.get(node))

    def amounts(self, zone, which="available"):
        """{"cpu": 4, ...} of a zone."""
        for found in (self.topology() or {"zones": []})["zones"]:
            if found["name"] == zone:
                return {r["name"]: quantity(r[which]) for r in found["resources"]}
        return {}

    def fits(self, **request):
        """The plugin's answer for a container of a Guaranteed pod: the zones on which it fits."""
        names = {"hugepages": "hugepages-2Mi"}
        return [z["name"] for z in self.topology()["zones"]
                if all(self.amounts(z["name"]).get(names.get(k, k), -1) >= v for k, v in request.items())]


def conflict(manager, fields):
    """As Kubernetes answers, with causes."""
    return Refusal(409, "Conflict", f'Apply failed with {len(fields)} conflicts: conflicts with "{manager}" using '
                   "topology.node.k8s.io/v1alpha2:\n" + "\n".join(f"- .{f}" for f in fields),
                   [{"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": f".{f}"}
                    for f in fields])


class Bench(kubebench.Bench):
    mode, server = "--node-resource-topology", TopologyServer

    def pages_become(self, what, pages, node=0):
        check(what, eventually(lambda: self.api.amounts(f"node-{node}").get("hugepages-2Mi") == pages * 2 * MIB),
              (self.api.topology(), self.api.wrong, self.program.so_far()[-3:]))

    def patches(self):
        return self.api.count("PATCH")


def check_content(folder, certificates):
    with Bench(folder, "content", certificates) as bench:
        bench.machine.write("/etc/numastow/config.yaml", "reserved:\n  - node: '*'\n    cpus: 0,4\n    memory: 1Gi\n")
        bench.start()
        check("it says that it is up to date", bench.program.wait(WRITTEN))
        found = bench.api.topology()
        if not check("the object is there, and valid", found and not bench.api.wrong, bench.api.wrong):
            return
        same("its owner is the Node", [(o["kind"], o["name"], o["uid"]) for o in found["metadata"]["ownerReferences"]],
             [("Node", "m", bench.api.nodes["m"]["metadata"]["uid"])])
        same("attributes", found["attributes"], [{"name": "topologyManagerPolicy", "value": "single-numa-node"},
                                                 {"name": "topologyManagerScope", "value": "container"}])
        same("zones", [(z["name"], z["type"]) for z in found["zones"]], [("node-0", "Node"), ("node-1", "Node")])
        costs = {z["name"]: {c["name"]: c["value"] for c in z["costs"]} for z in found["zones"]}
        same("costs are the distances", [[costs[f"node-{a}"][f"node-{b}"] for b in (0, 1)] for a in (0, 1)],
             [[int(d) for d in bench.machine.read(f"/sys/devices/system/node/node{n}/distance").split()] for n in (0, 1)])
        # 16Gi, less 1Gi of pages of 2Mi, less 2Gi of pages of 1Gi, less the reserve.
        amounts = {"cpu": 3, "memory": 12 * GIB, "hugepages-2Mi": GIB, "hugepages-1Gi": 2 * GIB}
        same("capacity", bench.api.amounts("node-1", "capacity"), {**amounts, "cpu": 4, "memory": 16 * GIB})
        same("allocatable", bench.api.amounts("node-1", "allocatable"), amounts)
        same("available", bench.api.amounts("node-1"), amounts)
        same("nothing that the scheduler's plugin panics at", panics(found), [])
        same("it fits where the plugin thinks so", bench.api.fits(cpu=3, memory=12 * GIB), ["node-0", "node-1"])
        bench.machine.container("c", {"numastow.io/cpus": "2", "numastow.io/memory": "1Gi", "numastow.io/nodes": "0",
                                      "numastow.io/hugepages-2Mi": "4Mi"})
        placed = hook(bench.machine, "apply", bench.machine.state("c"))
        check("what a container has is not available", placed.code == 0 and eventually(
            lambda: bench.api.amounts("node-0") == {"cpu": 1, "memory": 11 * GIB, "hugepages-2Mi": GIB - 4 * MIB,
                                                    "hugepages-1Gi": 2 * GIB}), (placed, bench.api.topology()))
        same("but allocatable", bench.api.amounts("node-0", "allocatable")["cpu"], 3)
        same("and the plugin goes elsewhere", bench.api.fits(cpu=2), ["node-1"])
        check("metrics", eventually(lambda: "numastow_agent_topology_failures_total 0" in metrics_of(bench.program) and
                                    "numastow_agent_topology_last_success_seconds 0\n" not in metrics_of(bench.program)))
        same("no slices without the other setting", bench.api.slices, {})
        bench.stop()
        check("SIGTERM deletes nothing", bench.api.topology())
        done = run([AGENT, "--config", "/dev/null", "--node", "m", "--node-resource-topology", "--kubeconfig", "/nowhere",
                    "--check-config"], "")
        check("--check-config reads the kubeconfig", done.code == 2 and "/nowhere" in done.err, done)


def check_changes(folder, certificates):
    with Bench(folder, "changes", certificates) as bench:
        bench.start("--kubernetes")
        bench.pages_become("written", 512)
        check("slices, too, where both are wanted", eventually(lambda: bench.api.devices()))
        for device in ("node0", "node1"):
            offered = {{"cpus": "cpu", "hugepages2Mi": "hugepages-2Mi", "hugepages1Gi": "hugepages-1Gi"}.get(k, k):
                       quantity(v["value"]) for k, v in bench.api.devices()[device]["capacity"].items()}
            same("with the same amounts", offered, bench.api.amounts(device.replace("node", "node-")))
        bench.set_pool(0, 100)
        bench.pages_become("a pool has changed", 100)
        bench.set_pool(0, 0)
        bench.pages_become("an empty pool is 0", 0)
        with bench.api.lock:
            bench.api.remove("m")
        bench.pages_become("deleted by others, it is written again", 0)
        with bench.api.lock:
            bench.api.nodes["m"]["metadata"]["uid"] = "another"
            bench.api.remove("m")
        check("a Node that was made anew is the owner", eventually(
            lambda: [o["uid"] for o in (bench.api.topology() or {"metadata": {"ownerReferences": []}})
                     ["metadata"]["ownerReferences"]] == ["another"]))
        patches = bench.patches()
        with bench.api.lock:
            bench.api.objects["m"]["metadata"]["labels"] = {"touched": "x"}
            bench.api.emit("MODIFIED", bench.api.objects["m"])
        bench.set_pool(1, 7)
        bench.pages_become("a change elsewhere in the object, and one of a pool", 7, 1)
        # The agent may read a pool in the middle of its change; a change elsewhere it does not write.
        written = bench.patches()
        check("are one write, or one for each file of the pool", patches < written <= patches + 2, (patches, written))
        bench.stop()
        bench.start()
        check("an agent that is started again", bench.program.wait(WRITTEN))
        same("has nothing to write", bench.patches(), written)
        same("nothing was invalid, and no failure was told", (bench.api.wrong, bench.lines(AWAY)), ([], []))


def check_withheld(folder, certificates):
    with Bench(folder, "withheld", certificates) as bench:
        bench.start()
        bench.pages_become("written", 512)
        for file, text, words in (("/var/lib/kubelet/cpu_manager_state", json.dumps({"policyName": "static"}), "static CPU"),
                                  ("/etc/numastow/disabled", "", "disabled")):
            bench.machine.write(file, text)
            check(f"{words}: the object is deleted", eventually(lambda: not bench.api.objects))
            check("one line says why", eventually(lambda w=words: [x for x in bench.lines(NOTHING) if w in x["reason"]]),
                  bench.program.so_far()[-3:])
            os.unlink(bench.machine.file(file))
            bench.pages_become("and written again", 512)
        with bench.api.lock:
            theirs = bench.api.apply("m", NFD, updater("1"), True)
        check("another program has taken over", bench.program.wait(OTHERS))
        bench.machine.write("/etc/numastow/disabled", "")
        bench.stop()
        bench.start()
        check("withheld, the agent looks", bench.program.wait(NOTHING))
        same("another program's object is not deleted", bench.api.topology(), theirs)


def updater(amount):
    """What node-feature-discovery would write."""
    return {"apiVersion": "topology.node.k8s.io/v1alpha2", "kind": "NodeResourceTopology",
            "metadata": {"name": "m", "ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "nfd", "uid": "n"}]},
            "attributes": [{"name": "topologyManagerPolicy", "value": "none"}], "topologyPolicies": ["None"],
            "zones": [{"name": "node-0", "type": "Node", "resources": [
                {"name": "cpu", "capacity": amount, "allocatable": amount, "available": amount}]}]}


def check_others(folder, certificates):
    """node-feature-discovery writes the same object, by force, again and again."""
    with Bench(folder, "others", certificates) as bench:
        bench.start()
        bench.pages_become("written", 512)
        patches = bench.patches()
        for amount in ("1", "2", "3"):
            with bench.api.lock:
                theirs = bench.api.apply("m", NFD, updater(amount), True)
            if amount == "1":
                said = bench.program.wait(OTHERS)
                check("one line names the other program", said and NFD in said["error"], said)
            bench.set_pool(0, 20 + int(amount))
            check("the agent looks at later reports", eventually(
                lambda a=amount: re.search(rf"numastow_agent_hugepages{{.*}} {20 + int(a)}\n", metrics_of(bench.program))))
        same("it has tried once, and does not fight", bench.patches(), patches + 1)
        same("what the other one wrote is there", bench.api.topology()["zones"], theirs["zones"])
        same("it is said once", len(bench.lines(OTHERS)), 1)
        status, body = fetch(bench.program, "/healthz")
        check("the agent is healthy", status == 200, body)
        with bench.api.lock:
            bench.api.remove("m")
        bench.pages_become("once it is deleted, the agent writes it", 23)
        bench.set_pool(0, 30)
        bench.pages_become("and goes on", 30)


def check_missing(folder, certificates):
    with Bench(folder, "missing", certificates) as bench:
        bench.api.defined = False
        bench.start()
        said = bench.program.wait(NOTHING)
        check("without the definition: one line", said and "CustomResourceDefinition" in said["error"], said)
        status, body = fetch(bench.program, "/healthz")
        check("the agent is healthy", status == 200, body)
        asked = bench.api.count("GET")
        check("it looks again", eventually(lambda: bench.api.count("GET") > asked))
        same("and says no more", len(bench.lines(NOTHING)), 1)
        bench.api.defined = True
        bench.pages_become("once it is there, the object is written", 512)


def check_fence(folder, certificates):
    with Bench(folder, "fence", certificates) as bench, start_scheduler(f"{folder}/fence/data") as server:
        bench.start("--scheduler", f"127.0.0.1:{server.port}")
        bench.pages_become("written", 512)
        check("the scheduler knows it", eventually(lambda: " ready " in command("nodes", port=server.port).out))
        command("fence", "m", "1", port=server.port)
        check("of a fenced NUMA node nothing is available", eventually(
            lambda: set(bench.api.amounts("node-1").values()) == {0}), bench.api.topology())
        same("the plugin goes elsewhere", bench.api.fits(cpu=1), ["node-0"])
        check("although it is allocatable", bench.api.amounts("node-1", "allocatable")["cpu"] > 0)
        command("unfence", "m", "1", port=server.port)
        bench.pages_become("lifted, it is available", 512, 1)


def once(answer, methods=("PATCH",)):
    left = [1]
    lock = threading.Lock()

    def fault(handler, command_, path):
        with lock:
            if command_ not in methods or "watch=1" in path or not path.startswith(OBJECTS) or not left[0]:
                return False
            left[0] -= 1
        answer(handler)
        return True
    fault.left = left
    return fault


def faults():
    wrong = updater("1")
    wrong["metadata"]["name"] = "x"
    return (("500", once(lambda h: h.refuse(500, "InternalError", "oops"))),
            ("429", once(lambda h: h.refuse(429, "TooManyRequests", "slow down", Retry_After="1"))),
            ("409 of a race", once(lambda h: h.refuse(409, "Conflict", "the object has been modified"))),
            ("410 to a list", once(lambda h: h.refuse(410, "Expired", "too old"), ("GET",))),
            ("200 with garbage", once(lambda h: h.answer(200, b"\xff\xfe{{{"))),
            ("200 with another object", once(lambda h: h.answer(200, wrong))),
            ("200 nested deep", once(lambda h: h.answer(200, b'{"a":' * 5000))),
            ("200 and more than it may be", once(lambda h: h.answer(200, b'{"a":"' + b"x" * (9 << 20) + b'"}'))),
            ("a list of another's object", once(lambda h: h.answer(200, {"items": [wrong]}), ("GET",))),
            ("a list of numbers", once(lambda h: h.answer(200, {"items": [1, 2]}), ("GET",))))


def check_faults(folder, certificates, part):
    with Bench(folder, f"faults{part}", certificates) as bench:
        for n, (what, fault) in list(enumerate(faults()))[part::2]:
            bench.set_pool(0, 20 + n)
            with bench.api.lock:
                bench.api.faults = [fault]
            bench.start()
            bench.pages_become(f"{what}: written in the end", 20 + n)
            same("the answer was given", fault.left, [0])
            same(f"{what}: told once at most", len(bench.lines(AWAY)) <= 1, True)
            # What failed is waited for longer each time, which is not this test's concern.
            bench.stop()
        same("nothing was invalid", bench.api.wrong, [])


def check_old_definition(folder, certificates):
    """A definition that drops a part of what is sent: said once, and not written again and again."""
    with Bench(folder, "old", certificates) as bench:
        bench.api.attributes_known = False
        bench.start()
        said = bench.program.wait(AWAY)
        check("an API server that drops attributes: one line", said and "something else" in said["error"], said)
        check("it tries again", eventually(lambda: bench.patches() >= 3))
        same("and says no more", len(bench.lines(AWAY)), 1)
        bench.api.attributes_known = True
        check("until all is stored", bench.program.wait(WRITTEN))


def main():
    with Temp() as temp:
        os.makedirs(f"{temp}/tls")
        make_certificates(f"{temp}/tls")
        parts = [check_missing, check_fence, check_old_definition, check_content, check_changes, check_withheld, check_others,
                 *(lambda f, c, n=n: check_faults(f, c, n) for n in range(2))]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(part, temp, f"{temp}/tls") for part in parts]:
                done.result()
    finish()


if __name__ == "__main__":
    main()
