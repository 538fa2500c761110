#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two machines of a stock Kubernetes, a NUMA virtual machine and a simulated one: a drain of memory moves the pod that says
"evict" from one to the other, and no other pod. Also annotated pods, by the webhook; a second driver, whose devices are to
be on the same NUMA node; and a pod that a fence has refused, which is placed anew.

usage: tests/kubernetes/machines.py [annotated | aligned | fenced | drained]...
"""
import copy
import sys

import yaml

from cluster import CLAIMS, CLASSES, HERE, PODS, SLICES, TEMPLATES, eventually, quantity
from workloads import WithControllers, numastow_scheduler
from harness import Temp, check, parse_list, same
import node
from simulated import STUBS, Simulated
from vm import Machine, run_with_machines
from webhook import BUDGETS, create_pod, is_asked

SETS = "/apis/apps/v1/namespaces/default/replicasets"
NUMA_NODE = "resource.kubernetes.io/numaNode"
GIB = 1 << 30
BIG = "2200Mi"  # more than a NUMA node of the virtual machine has without its DIMM


def on_node(node):
    return {"cel": {"expression": f'device.attributes["resource.kubernetes.io"].numaNode == {node}'}}


def container_of(**resources):
    return {"name": "main", "image": "numastow.io/test:1", "imagePullPolicy": "Never", "command": ["sleep", "100000"],
            "resources": resources}


class Test(node.Test):
    def published(self):
        """Of the virtual machine, without the other one's."""
        return {d["name"]: d for s in self.cluster.items(SLICES) if s["spec"].get("driver") == "numastow.io" and
                s["spec"].get("nodeName") == "numa" for d in s["spec"].get("devices", [])}

    def leases(self):
        return [r for r in self.records() if r["state"] == "lease"]

    def template(self, name, requests, constraints=(), config=()):
        self.cluster.create(TEMPLATES, {"metadata": {"name": name}, "spec": {"spec": {"devices": {
            "requests": [{"name": request, "exactly": asked} for request, asked in requests.items()],
            "constraints": list(constraints), "config": list(config)}}}})

    def of_template(self, name, template):
        return self.cluster.pod_of(name, {
            "containers": [container_of(claims=[{"name": "numa"}])],
            "resourceClaims": [{"name": "numa", "resourceClaimTemplateName": template}]})

    def allocation(self, pod):
        """{driver: (pool, device)} of the pod's claims."""
        found = {}
        for status in (self.cluster.get(f"{PODS}/{pod}") or {"status": {}})["status"].get("resourceClaimStatuses", []):
            claim = self.cluster.get(f"{CLAIMS}/{status['resourceClaimName']}") or {}
            for result in claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", []):
                found[result["driver"]] = (result["pool"], result["device"])
        return found

    def claim_condition(self, pod, kind):
        """(status, reason) of a condition of the pod's claim."""
        for status in (self.cluster.get(f"{PODS}/{pod}") or {"status": {}})["status"].get("resourceClaimStatuses", []):
            found = self.cluster.condition(status["resourceClaimName"], kind)
            if found:
                return found
        return None

    def on_one_node(self, what, pod, cpus):
        """It runs, and has CPUs and memory of the NUMA node that it was allocated."""
        container, seen = self.running(pod)
        if not check(f"{what} runs", container, self.cluster.said(pod)):
            return None, seen
        node = int(self.allocation(pod)["numastow.io"][1].removeprefix("node"))
        mine = parse_list(seen["allowed"])
        check(f"{what}: CPUs of the allocated NUMA node {node}", (len(mine) == cpus or cpus is None) and
              mine <= set(range(4 * node, 4 * node + 4)), seen)
        same(f"{what}: the memory of that NUMA node", (seen["mems"], seen["allowed_mems"]), (str(node), str(node)))
        return node, seen

    def are_gone(self, *pods):
        for pod in pods:
            self.cluster.delete(f"{PODS}/{pod}")
        return eventually(lambda: not any(self.cluster.get(f"{PODS}/{p}") for p in pods) and not self.records())

    # --- annotations -----------------------------------------------------------------------------

    def annotated(self):
        """Through the webhook: the pod that tests/vm/play.sh has Podman run, and a larger one."""
        c = self.cluster
        eventually(lambda: is_asked(c))
        with open(f"{HERE}/annotated.yaml", encoding="ascii") as handle:
            pod = yaml.safe_load(handle)
        larger = copy.deepcopy(pod)
        larger["metadata"]["name"] = "annotated-too"
        larger["metadata"]["annotations"]["numastow.io/cpus"] = "3"
        for one in (pod, larger):
            name, made = one["metadata"]["name"], create_pod(c, one)
            check(f"{name}: the webhook has given it a claim", made["spec"].get("resourceClaims"), made["spec"])
            same(f"{name}: it is Guaranteed", made["status"].get("qosClass"), "Guaranteed")
        nodes = []
        for name, cpus in (("annotated", 2), ("annotated-too", 3)):
            node, seen = self.on_one_node(f"the pod {name}", name, cpus)
            nodes.append(node)
            same(f"{name}: its hugepages", (seen.get("max"), seen.get("rsvd")), (str(8 << 20),) * 2)
        same("they are on two NUMA nodes", sorted(nodes, key=str), [0, 1])
        self.promises("annotated pods")
        check("both are deleted, and their leases", self.are_gone("annotated", "annotated-too"), self.records())

    # --- a second driver -------------------------------------------------------------------------

    def gpus(self):
        return [d for s in self.cluster.items(SLICES)
                if s["spec"]["driver"] == "gpu.example.com" for d in s["spec"]["devices"]]

    def aligned(self):
        """A GPU and CPUs, claimed together: on one NUMA node, or Pending."""
        c, m = self.cluster, self.machine
        m.do(f"daemon gpus /usr/bin/python3 {HERE}/gpus.py $CLUSTER/kubelet-10.0.2.2.kubeconfig numa {STUBS} 1")
        if not check("the second driver is registered, and publishes", eventually(lambda: len(self.gpus()) == 1),
                     m.out("tail -n 5 $logs/gpus.log $logs/kubelet.log")):
            return
        c.create(CLASSES, {"metadata": {"name": "gpu"}, "spec": {
            "selectors": [{"cel": {"expression": 'device.driver == "gpu.example.com"'}}]}})

        def asked(cpus):
            return {"gpu": {"deviceClassName": "gpu"}, "main": {
                "deviceClassName": "numastow-exclusive", "capacity": {"requests": {"cpus": cpus, "memory": "128Mi"}}}}
        together = [{"requests": ["gpu", "main"], "matchAttribute": NUMA_NODE}]
        self.template("apart", {"main": {**asked("3")["main"], "selectors": [on_node(1)]}})
        self.template("together", asked("2"), together)
        # Without the constraint the first NUMA node would do.
        self.of_template("first", "together")
        node, seen = self.on_one_node("a pod with a GPU", "first", 2)
        same("it has the GPU's NUMA node", (node, self.allocation("first").get("gpu.example.com")), (1, ("numa", "gpu0")))
        same("and the GPU, by the other driver's CDI file",
             m.out(f"tr '\\0' '\\n' </proc/{seen.get('pid')}/environ | grep ^GPU="), "GPU=gpu0")
        check("it is deleted", self.are_gone("first"), self.records())
        # No room beside the GPU; all of the other NUMA node is free.
        self.of_template("beside", "apart")
        self.on_one_node("a pod that takes the CPUs beside the GPU", "beside", 3)
        self.of_template("second", "together")
        said = self.event("second", "FailedScheduling")
        check("a pod for which there is no room beside the GPU is Pending", said and "cannot allocate all claims" in said, said)
        same("it has nothing", self.allocation("second"), {})
        c.delete(f"{PODS}/beside")
        node, _ = self.on_one_node("once there is room, it", "second", 2)
        same("it has the GPU's NUMA node, too", (node, self.allocation("second").get("gpu.example.com")),
             (1, ("numa", "gpu0")))
        self.promises("beside a second driver")
        check("both are deleted, and their leases", self.are_gone("beside", "second"), self.records())
        m.do("end gpus")

    # --- a drain ---------------------------------------------------------------------------------

    def memory(self):
        return quantity(self.published().get("node1", {}).get("capacity", {}).get("memory", {}).get("value", "0"))

    def taints(self):
        return [t["key"] for d in self.published().values() for t in d.get("taints", [])]

    def state(self):
        """What a drain that came to nothing leaves as it was."""
        return {"slices": self.published(), "memory": self.machine.out("memory_states"),
                "containers": {p["metadata"]["name"]: self.cluster.container(p["metadata"]["name"])
                               for p in self.cluster.items(PODS)},
                "records": sorted((r["id"], r["state"]) for r in self.records())}

    def is_as_before(self, what, before):
        check(f"{what}: nothing else has changed", eventually(lambda: self.state() == before), (self.state(), before))

    def drain(self, options="--eject"):
        return self.machine.do(f"start_drain --device $(dimm_name) {options} --block-timeout 5m --timeout 1h")

    def drain_said(self):
        return self.machine.out("cat $logs/drain.log")

    def drain_ended(self):
        """Its exit code, once it has ended."""
        said = eventually(lambda: next((line for line in self.drain_said().splitlines() if line.startswith("exit ")), None), 900)
        return int(said.split()[1]) if said else None

    def add_dimm(self):
        before = self.memory()
        check("a DIMM comes online", self.machine.do("dimm_online"))
        check("the slice has it", eventually(lambda: self.memory() == before + GIB), (before, self.memory()))
        return before

    def make_stayers(self):
        """Pods that a drain of NUMA node 1 does not concern."""
        for action in ("repin", "refuse", "evict"):
            self.asking(f"stays-{action}", action, "128Mi", 0)
            self.of_template(f"stays-{action}", f"stays-{action}")
        return {name: self.on_one_node(f"the pod {name}", name, None)
                for name in ("stays-repin", "stays-refuse", "stays-evict")}

    def asking(self, name, action, memory, node):
        self.template(name, {"main": {
            "deviceClassName": "numastow-shared", "selectors": [on_node(node)],
            "capacity": {"requests": {"cpus": "1", "memory": memory}}}}, config=[{"opaque": {
                "driver": "numastow.io", "parameters": {
                    "apiVersion": "numastow.io/v1", "kind": "Parameters", "drain": action}}}])

    def refused(self):
        """A pod that says "repin" or "refuse" has more than the rest of its NUMA node."""
        for action in ("repin", "refuse"):
            self.asking(f"big-{action}", action, BIG, 1)
            self.of_template(f"big-{action}", f"big-{action}")
            self.on_one_node(f"a pod that says {action}", f"big-{action}", None)
            before = self.state()
            self.drain()
            check(f"{action}: the drain is refused", self.drain_ended() in (1, 3), self.drain_said()[-2000:])
            # Which of these it is depends on where the kernel has put the few pages of its process.
            check(f"{action}: with the reason", any(why in self.drain_said() for why in (
                "cannot be moved", "drain=refuse", "no container there can move")), self.drain_said())
            self.is_as_before(action, before)
            self.cluster.delete(f"{PODS}/big-{action}")
            check(f"{action}: its pod is deleted", eventually(
                lambda a=action: not self.cluster.get(f"{PODS}/big-{a}") and len(self.leases()) == 3), self.records())

    def stayers(self):
        return {name: (self.cluster.container(name), self.allocation(name))
                for name in ("stays-repin", "stays-refuse", "stays-evict")}

    def forced(self):
        """With --force-taint the pods of the NUMA node are deleted which stayed, or were in the way, without it."""
        c, m = self.cluster, self.machine
        before, stayers, pods = self.published(), self.stayers(), []
        for action, memory in (("repin", "128Mi"), ("refuse", BIG)):
            pods.append(f"forced-{action}")
            self.asking(pods[-1], action, memory, 1)
            self.of_template(pods[-1], pods[-1])
            self.on_one_node(f"the pod {pods[-1]}", pods[-1], None)
        same("a drain that may delete pods begins", self.drain("--force-taint"), True)
        for pod in pods:
            check(f"{pod} is deleted", eventually(lambda p=pod: not c.get(f"{PODS}/{p}")), self.drain_said()[-2000:])
            check("... because of the taint", "DeviceTaintManagerEviction" in c.said(pod), c.said(pod))
        same("the drain is done", self.drain_ended(), 0)
        check("its plan has told it", "deletes all pods that have a share of NUMA node 1" in self.drain_said(),
              self.drain_said()[:2000])
        same("the pods of the other NUMA node have not noticed", self.stayers(), stayers)
        check("the taint is lifted", eventually(lambda: not self.taints()), self.published())
        check("the memory comes online again", m.do("dimm_online"))
        check("the slices are as they were", eventually(lambda: self.published() == before), (self.published(), before))

    def pods_of(self, name):
        """Pods of the ReplicaSet that are not being deleted."""
        return [p for p in self.cluster.items(PODS) if p["metadata"].get("labels", {}).get("app") == name and
                "deletionTimestamp" not in p["metadata"]]

    def make_replicas(self, name):
        """A ReplicaSet of one pod, with a claim from the template of that name; the pod."""
        amounts = {"cpu": "500m", "memory": "128Mi"}
        self.cluster.create(SETS, {"metadata": {"name": name}, "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}}, "spec": {
                    "hostNetwork": True, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "resourceClaims": [{"name": "numa", "resourceClaimTemplateName": name}],
                    "containers": [container_of(claims=[{"name": "numa"}], requests=amounts, limits=amounts)]}}}})
        made = eventually(lambda: self.pods_of(name))
        check(f"the ReplicaSet {name} has made its pod", made)
        return made[0]["metadata"]["name"] if made else None

    def another(self, name, pod):
        """A pod of the ReplicaSet that has taken the place of `pod`."""
        made = eventually(lambda: [p for p in self.pods_of(name) if p["metadata"]["name"] != pod])
        return made[0]["metadata"]["name"] if made else None

    # --- a fence ---------------------------------------------------------------------------------

    def fenced(self):
        """A claim that was allocated before a fence is refused, and its pod is placed anew."""
        c, m = self.cluster, self.machine
        check("kubelet is stopped", m.do("end kubelet"))
        self.template("anew", {"main": {"deviceClassName": "numastow-shared",
                                        "capacity": {"requests": {"cpus": "1", "memory": "64Mi"}}}})
        pod = self.make_replicas("anew")
        allocated = eventually(lambda: self.allocation(pod).get("numastow.io"))
        if not check("its claim is allocated", allocated, c.said(pod)):
            return
        node = int(allocated[1].removeprefix("node"))
        check("then the NUMA node is fenced", m.do(f"fence {node}"))
        check("which is a taint", eventually(lambda: self.taints() == ["numastow.io/fence"]), self.published())
        before = self.registrations()
        m.do("start_kubelet")
        self.registered_again(before)
        new = self.another("anew", pod)
        if check("the refused pod is deleted, and made anew", new, c.said(pod)):
            check("its claim was refused, because of the fence", self.event(pod, "fenced"), c.said(pod))
            where, _ = self.on_one_node("the new one", new, None)
            same("on the other NUMA node", where, 1 - node)
        check("the fence is lifted", m.do(f"unfence {node}"))
        c.patch(f"{SETS}/anew", {"spec": {"replicas": 0}})
        check("all pods of the ReplicaSet go, and their leases", eventually(
            lambda: not self.records() and not any(p["metadata"].get("labels", {}).get("app") == "anew"
                                                   for p in c.items(PODS))), self.records())
        c.delete(f"{SETS}/anew")
        check("no taint is left", eventually(lambda: not self.taints()), self.published())

    # --- a drain, with a budget ------------------------------------------------------------------

    def blocked(self, pod):
        """A drain waits while the budget forbids the eviction; cancelled, it leaves nothing."""
        c, m = self.cluster, self.machine
        before = self.state()
        self.drain()
        check("the pod's share has the condition", eventually(
            lambda: self.claim_condition(pod, "numastow.io/Evict") == ("True", "MemoryDrain")), self.drain_said()[-2000:])
        check("the NUMA node has the taint", eventually(lambda: self.taints() == ["numastow.io/fence"]), self.published())
        check("the disruption budget does not let the pod go", self.event(pod, "EvictionBlocked"), c.said(pod))
        same("it is not being deleted", [p["metadata"]["name"] for p in self.pods_of("moved")], [pod])
        for other in ("stays-repin", "stays-refuse", "stays-evict"):
            same(f"{other} has no such condition", self.claim_condition(other, "numastow.io/Evict"), None)
        check("the drain is cancelled", m.do('"$PROGRAMS/numastow" cancel'))
        check("it fails", self.drain_ended() not in (0, None), self.drain_said()[-2000:])
        check("cancelled: the condition is removed", eventually(
            lambda: not self.claim_condition(pod, "numastow.io/Evict")), c.said(pod))
        check("cancelled: the taint is lifted", eventually(lambda: not self.taints()), self.published())
        self.is_as_before("cancelled", before)

    def drained(self):
        c, m = self.cluster, self.machine
        before = self.add_dimm()
        self.make_stayers()
        self.refused()
        self.forced()
        self.asking("moved", "evict", BIG, 1)
        c.create(BUDGETS, {"metadata": {"name": "moved"}, "spec": {
            "minAvailable": 1, "selector": {"matchLabels": {"app": "moved"}}}})
        pod = self.make_replicas("moved")
        if not pod:
            return
        self.on_one_node("the pod that says evict", pod, None)
        check("its budget allows no disruption", eventually(
            lambda: (c.get(f"{BUDGETS}/moved") or {}).get("status", {}).get("currentHealthy") == 1),
            c.get(f"{BUDGETS}/moved"))
        with Temp() as folder, Simulated(c, folder, "sim") as other:
            if not other.register():
                return
            check("the second machine is published", eventually(lambda: any(
                s["spec"].get("nodeName") == "sim" for s in c.items(SLICES))))
            self.blocked(pod)
            self.moves(pod, other, before)
        self.promises("after the drain")
        c.delete(f"{SETS}/moved")

    def moves(self, pod, other, before):
        c, m = self.cluster, self.machine
        stayers = self.stayers()
        self.drain()
        check("drained again: the condition", eventually(
            lambda: self.claim_condition(pod, "numastow.io/Evict") == ("True", "MemoryDrain")), self.drain_said()[-2000:])
        c.patch(f"{BUDGETS}/moved", {"spec": {"minAvailable": 0}})
        name = self.another("moved", pod)
        if not check("the budget allows it: the pod is evicted, and made anew", name, c.said(pod)):
            return
        check("the old one was told why", "MemoryDrain" in c.said(pod), c.said(pod))
        check("the new one is on the other machine", eventually(
            lambda: c.get(f"{PODS}/{name}")["spec"].get("nodeName") == "sim"), c.said(name))
        same("with its claim", self.allocation(name)["numastow.io"], ("sim", "node1"))
        same("that machine's agent prepares it", other.prepare(c.get(f"{PODS}/{name}")), [""])
        check("... and says so", eventually(
            lambda: self.claim_condition(name, "numastow.io/Prepared") == ("True", "Prepared")), c.said(name))
        other.run(c.get(f"{PODS}/{name}"))
        same("the drain is done", self.drain_ended(), 0)
        print(f"#   {self.drain_said().splitlines()[-2][:300]}", flush=True)
        check("the DIMM is gone", eventually(lambda: "offline" not in m.out("memory_states") and
                                             not m.out("dimm_name")), m.out("memory_states"))
        check("the slice is smaller", eventually(lambda: self.memory() == before), (before, self.memory()))
        check("the taint is lifted", eventually(lambda: not self.taints()), self.published())
        check("the old pod has gone", eventually(lambda: not c.get(f"{PODS}/{pod}")), c.get(f"{PODS}/{pod}"))
        same("the other pods have not noticed", self.stayers(), stayers)
        same("only they have leases", len(self.leases()), len(stayers))


def whole(cluster):
    which = [word for word in sys.argv[1:] if not word.startswith("-")] or ["annotated", "aligned", "fenced", "drained"]
    cluster.account("agent")
    with numastow_scheduler(cluster, "--prepare-deadline", "5s") as (scheduler, leads):
        check("the controllers have a leader", leads, scheduler.said)
        with Machine(cluster, "v2-dimm", f"{cluster.folder}/machine.log") as machine:
            test = Test(cluster, machine)
            if test.start_node():
                for name in which:
                    getattr(test, name)()
            same("the kernel has not complained", machine.end(0), 0)
    same("all programs of the control plane went on", cluster.dead(), [])


if __name__ == "__main__":
    run_with_machines("kubernetes-machines", whole, WithControllers)
