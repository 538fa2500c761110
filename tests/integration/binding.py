#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`binding-conditions: true`: claims are prepared before their pods are bound. An API server in Python, and this file in
place of kube-scheduler, which allocates claims and waits for their conditions, and of kubelet."""
import concurrent.futures
import copy
import json
import os
import uuid

import kubebench
from daemons import metrics_of
from fleetlib import eventually
from harness import Temp, check, finish, query, same
from kubelib import ApiHandler, Refusal, make_certificates
from objectlib import ObjectHandler, ObjectServer

KUBELET = "/k"
CLAIMS = "/resourceclaims"
DROPPED = "dropped the lease of a claim that is gone"
GATE = ("the API server drops binding conditions (feature gates DRADeviceBindingConditions and "
        "DRAResourceClaimDeviceStatus): claims are prepared after their pods are bound")
NAMED = {"bindingConditions": ["numastow.io/Prepared"], "bindingFailureConditions": ["numastow.io/Refused"]}
BINDING = ["bindsToNode", *NAMED]


class Handler(ObjectHandler):
    def route(self, path, query):
        if path.startswith("/api/v1/nodes/") or "/resourceslices" in path:
            ApiHandler.route(self, path, query)
        elif self.command == "PUT" and path.endswith("/status"):
            with self.api.lock:
                self.answer(200, self.api.set_status(*path.split("/")[-4:-1:2], self.body))
        else:
            super().route(path, query)

    def selects(self, query, item):
        return item["kind"] == "ResourceSlice" and super().selects(query, item)


class Server(ObjectServer):
    handler = Handler

    def __init__(self, folder):
        super().__init__(folder)
        self.gates.add("DRADeviceBindingConditions")

    def fields_dropped(self, item):
        item = super().fields_dropped(item)
        for device in item["spec"].get("devices", []):
            for key in BINDING if "DRADeviceBindingConditions" not in self.gates else []:
                device.pop(key, None)
        return item

    def set_status(self, ns, name, sent):
        """The agent changes conditions only."""
        old = self.find("resourceclaims", ns, name)
        if sent["metadata"]["uid"] != old["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "the UID is another one")
        for key in ("allocation", "reservedFor"):
            if sent["status"].get(key) != old["status"].get(key):
                raise Refusal(422, "Invalid", f"{key} was changed")
        old["metadata"]["resourceVersion"] = sent["metadata"]["resourceVersion"]
        old["status"] = sent["status"]
        return self.change("resourceclaims", ns, name, old)


class Bench(kubebench.Bench):
    server = Server

    def __init__(self, folder, name, certificates):
        super().__init__(folder, name, certificates)
        self.boot_id = str(uuid.uuid4())
        self.machine.write("/proc/sys/kernel/random/boot_id", self.boot_id + "\n")
        self.machine.kubepods()
        for part in ("plugins_registry", "plugins"):
            os.makedirs(self.machine.file(f"{KUBELET}/{part}"))
        self.api.nodes["m"]["status"] = {"nodeInfo": {"bootID": self.boot_id}}
        self.checkpoint()

    def checkpoint(self, *uids):
        """kubelet's record of prepared claims."""
        data = {"kind": "DRACheckpoint", "apiVersion": "checkpoint.dra.kubelet.k8s.io/v1",
                "ClaimInfoStateList": [{"ClaimUID": u} for u in uids] or None}
        path = self.machine.file(f"{KUBELET}/dra_manager_state")
        with open(f"{path}.new", "w", encoding="ascii") as handle:
            json.dump({"Data": json.dumps(data), "Checksum": 1}, handle)
        os.rename(f"{path}.new", path)

    def start(self, *options):
        return super().start("--kubelet-folder", KUBELET, "--cdi-folder", "/run/cdi", "--claims-hook", "/hook",
                             "--binding-conditions", *options)

    # --- kube-scheduler's --------------------------------------------------------------------------

    def make(self, name):
        return self.api.make("resourceclaims", "team", {"metadata": {"name": name}, "spec": {}, "status": {}})

    def allocate(self, name, *devices, cpus=2, pool="m", binding=True, reserved=True):
        """Allocate a claim, and reserve it for a pod: one write, as in PreBind. Return the shares' ids."""
        shares = [str(uuid.uuid4()) for _ in devices]
        parameters = {"apiVersion": "numastow.io/v1", "kind": "Parameters", "cpuMode": "exclusive"}

        def change(item):
            named = NAMED if binding else {}
            item["status"] = {
                "reservedFor": [{"resource": "pods", "name": "web", "uid": str(uuid.uuid4())}] if reserved else [],
                "allocation": {"devices": {
                    "config": [{"source": "FromClass", "requests": [],
                                "opaque": {"driver": "numastow.io", "parameters": parameters}}],
                    "results": [{"driver": "numastow.io", "pool": pool, "device": device, "request": "main",
                                 "shareID": share, "consumedCapacity": {"cpus": str(cpus)}, **copy.deepcopy(named)}
                                for device, share in zip(devices, shares)]}}}

        self.api.update("resourceclaims", "team", name, change)
        return shares

    def deallocate(self, name):
        """What kube-scheduler does with a claim that failed, and the API server with its conditions."""
        self.api.update("resourceclaims", "team", name, lambda item: item.update(status={}))

    def conditions(self, name, share=None):
        status = self.api.all("resourceclaims")["team", name].get("status", {})
        return {c["type"].removeprefix("numastow.io/"): (c["status"], c["message"])
                for d in status.get("devices", []) if share in (None, d["shareID"]) for c in d["conditions"]}

    def binds(self, what, name, shares):
        check(f"{what}: all its shares are prepared", eventually(lambda: all(
            self.conditions(name, s).get("Prepared") == ("True", "") for s in shares)), self.state(name))
        check(f"{what}: none is refused", not any("Refused" in self.conditions(name, s) for s in shares), self.state(name))
        same(f"{what}: they are in the ledger", self.shares(), sorted(shares))

    def fails(self, what, name, text):
        check(f"{what}: that is a failure of binding", eventually(
            lambda: self.conditions(name).get("Refused", ("", ""))[0] == "True"), self.state(name))
        status, message = self.conditions(name).get("Prepared", ("", ""))
        check(f"{what}: with the reason", status == "False" and text in message, self.state(name))

    # --- the machine's -----------------------------------------------------------------------------

    def shares(self):
        return sorted(s for s, in query(self.machine, "SELECT share FROM claim"))

    def files(self):
        at = self.machine.file("/run/cdi")
        return sorted(os.listdir(at)) if os.path.isdir(at) else []

    def is_free(self, what):
        check(f"{what}: nothing is left", eventually(lambda: not self.shares() and not self.files()),
              (self.shares(), self.files(), self.program.so_far()[-4:]))

    def state(self, name):
        return self.conditions(name), self.shares(), self.program.so_far()[-4:]

    def publishes(self, what, binding):
        check(f"{what}: devices have{'' if binding else ' no'} binding conditions", eventually(
            lambda: sorted(self.api.devices()) == ["node0", "node1"] and all(
                ("bindingConditions" in d) == binding for d in self.api.devices().values())), self.api.devices())


def check_life(folder, certificates):
    with Bench(folder, "life", certificates) as bench:
        bench.start().publishes("at first", True)
        device = bench.api.devices()["node1"]
        same("what kube-scheduler waits for", [device.get(k) for k in BINDING],
             [True, *NAMED.values()])
        claim = bench.make("db")
        shares = bench.allocate("db", "node1", "node0")
        bench.binds("a claim with two shares", "db", shares)
        same("its CDI file is there", bench.files(), [f"numastow.io-claim_{claim['metadata']['uid']}.json"])
        same("its CPUs are set aside", len(query(bench.machine, "SELECT cpu FROM cpu")), 4)
        check("it says so", bench.lines("prepared a claim before its pod is bound"), bench.program.so_far()[-3:])
        check("metrics", eventually(lambda: "\nnumastow_agent_claims_refused_before_binding_total 0\n" in metrics_of(
            bench.program)), metrics_of(bench.program)[-500:])
        bench.deallocate("db")
        bench.is_free("deallocated")
        shares = bench.allocate("db", "node0")
        bench.binds("allocated again", "db", shares)
        again = bench.allocate("db", "node0")  # both at once, as after a lost watch
        bench.binds("allocated anew", "db", again)
        bench.api.remove("resourceclaims", "team", "db")
        bench.is_free("deleted")
        check("it says so", bench.lines(DROPPED), bench.program.so_far()[-3:])


def check_refusals(folder, certificates):
    with Bench(folder, "refusals", certificates) as bench:
        bench.start().publishes("at first", True)
        bench.make("big")
        bench.allocate("big", "node1", cpus=5)
        bench.fails("too many CPUs", "big", "5 exclusive CPUs")
        same("nothing is taken", bench.shares(), [])
        bench.deallocate("big")
        shares = bench.allocate("big", "node1", cpus=3)
        bench.binds("placed anew", "big", shares)
        bench.make("next")
        bench.allocate("next", "node1")
        bench.fails("no room any more", "next", "node 1")
        bench.deallocate("next")
        bench.allocate("next", "node1")
        bench.fails("the same again, in another allocation", "next", "node 1")
        bench.api.remove("resourceclaims", "team", "big")
        check("room is found without an event, because a refusal is tried again", eventually(
            lambda: bench.conditions("next").get("Prepared") == ("True", "")), bench.state("next"))
        check("then it is no failure any more", "Refused" not in bench.conditions("next"), bench.state("next"))


def check_others(folder, certificates):
    """What is not for this agent, and what kubelet has already."""
    with Bench(folder, "others", certificates) as bench:
        bench.start().publishes("at first", True)
        for name, options in (("elsewhere", {"pool": "n"}), ("unnamed", {"binding": False}), ("unreserved", {"reserved": False})):
            bench.make(name)
            bench.allocate(name, "node0", **options)
        claim = bench.make("db")
        shares = bench.allocate("db", "node0")
        bench.binds("the one after them", "db", shares)
        for name in ("elsewhere", "unnamed", "unreserved"):
            same(f"{name}: no conditions", bench.conditions(name), {})
        kept = "the lease of a claim that is gone is kept"
        bench.checkpoint(claim["metadata"]["uid"])  # its pod was bound, and kubelet has asked
        bench.deallocate("db")
        check("what kubelet has is kept", eventually(lambda: bench.lines(kept)), bench.program.so_far()[-3:])
        same("with its shares", bench.shares(), shares)


def check_restart(folder, certificates):
    with Bench(folder, "restart", certificates) as bench:
        bench.start().publishes("at first", True)
        for name in ("stays", "goes"):
            bench.make(name)
        bench.binds("before", "goes", bench.allocate("goes", "node0"))
        bench.program.stop()
        bench.deallocate("goes")
        shares = bench.allocate("stays", "node1")
        bench.start()
        bench.binds("the next agent", "stays", shares)


def check_crowd(folder, certificates):
    """One namespace has more claims on this machine than the agent remembers of one."""
    with Bench(folder, "crowd", certificates) as bench:
        allocation = {"devices": {"results": [{"driver": "numastow.io", "pool": "m", "device": "node0", "request": "main",
                                               "shareID": str(uuid.uuid4())}]}}
        for n in range(1025):
            bench.api.make("resourceclaims", "crowd", {"metadata": {"name": f"c{n}"}, "spec": {},
                                                       "status": {"allocation": allocation}})
        bench.start()
        check("it says that it leaves out some", bench.program.wait(
            "too many claims: some are not prepared before their pods are bound"), bench.program.so_far()[-3:])
        bench.make("db")
        bench.binds("a claim of another one", "db", bench.allocate("db", "node0"))


def check_gate(folder, certificates):
    with Bench(folder, "gate", certificates) as bench:
        bench.api.gates.discard("DRADeviceBindingConditions")
        bench.start()
        check("it says which gates are off", bench.program.wait(GATE), bench.program.so_far()[-5:])
        bench.publishes("the gate is off", False)
        bench.machine.write(f"{bench.machine.pool(0)}/nr_hugepages", "700\n")
        bench.machine.write(f"{bench.machine.pool(0)}/free_hugepages", "700\n")
        check("slices change as ever", eventually(lambda: bench.api.devices()["node0"]["capacity"]["hugepages2Mi"][
            "value"] == "1400Mi"), bench.api.devices())
        same("it was said once", len(bench.lines(GATE)), 1)
        for name in ("now", "before"):
            bench.make(name)
        bench.allocate("now", "node0", binding=False)
        shares = bench.allocate("before", "node0")  # when the gate was on: its pod waits still
        bench.binds("only what names them", "before", shares)


def check_rights(folder, certificates):
    """Without the right to watch claims no pod would be bound: the conditions are withdrawn."""
    with Bench(folder, "rights", certificates) as bench:
        forbidden = {"list": True, "watch": True}

        def fault(handler, method, path):
            if method != "GET" or not path.partition("?")[0].endswith(CLAIMS):
                return False
            if forbidden["watch" if "watch=" in path else "list"]:
                handler.refuse(403, "Forbidden", "cannot watch resourceclaims")
                return True
            return False

        bench.api.faults.append(fault)
        bench.start()
        said = bench.program.wait("claims cannot be watched")
        check("it says so", said and "cannot watch resourceclaims" in said["error"], said)
        bench.publishes("no right", False)
        forbidden["list"] = False
        versions = bench.api.version
        check("a list alone is not enough", eventually(lambda: sum(
            "watch=" in p and CLAIMS in p for _, p in bench.api.requests) >= 2), bench.api.requests[-5:])
        bench.publishes("only a list", False)
        same("the slices were not written again", bench.api.version, versions)
        forbidden["watch"] = False
        bench.publishes("with the right", True)
        bench.make("db")
        bench.binds("then", "db", bench.allocate("db", "node0"))


with Temp() as temp:
    os.makedirs(f"{temp}/tls")
    make_certificates(f"{temp}/tls")
    parts = [check_life, check_refusals, check_others, check_restart, check_crowd, check_gate, check_rights]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(part, temp, f"{temp}/tls") for part in parts]:
            done.result()
finish()
