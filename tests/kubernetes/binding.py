#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`binding-conditions: true` with a stock control plane and two simulated machines: kube-scheduler binds a pod when the
agent has prepared its claim, and places it anew where the agent refuses; without the feature gate, pods are bound as ever.

usage: tests/kubernetes/binding.py
"""
import contextlib
import json

from cluster import CLAIMS, PODS, SLICES, Cluster, Refused, eventually, find_parts, run_test
from daemons import Daemon
from harness import Temp, check, query, same
from simulated import FOLDER, Simulated

PREPARED, REFUSED = "numastow.io/Prepared", "numastow.io/Refused"
GATES_OFF = "DRADeviceBindingConditions=false"


class Machine(Simulated):
    """Its agent has `--binding-conditions`."""

    def __init__(self, cluster, folder, name):
        super().__init__(cluster, folder, name, "--binding-conditions")
        self.checkpoint()

    def checkpoint(self):
        """kubelet's, which has prepared nothing: no pod of this test starts."""
        data = {"kind": "DRACheckpoint", "apiVersion": "checkpoint.dra.kubelet.k8s.io/v1", "ClaimInfoStateList": None}
        with open(self.machine.file(f"{FOLDER}/dra_manager_state"), "w", encoding="ascii") as handle:
            json.dump({"Data": json.dumps(data), "Checksum": 1}, handle)

    def leases(self):
        """The UIDs of its claims."""
        return sorted({uid for uid, in query(self.machine, "SELECT uid FROM claim")})

    def devices(self):
        return [d for s in self.cluster.items(SLICES) if s["spec"].get("nodeName") == self.name
                for d in s["spec"].get("devices", [])]

    def cordon(self, value):
        self.cluster.patch(f"/api/v1/nodes/{self.name}", {"spec": {"unschedulable": value}})


def node_of(cluster, pod):
    return (cluster.get(f"{PODS}/{pod}") or {"spec": {}})["spec"].get("nodeName")


def make(cluster, name, cpus):
    """A pod, and a claim of its own. Return the claim's UID."""
    uid = cluster.claim(name, cpus=cpus)["metadata"]["uid"]
    cluster.pod(name, claim=name)
    return uid


def remove(cluster, name):
    """No kubelet ends the pod; then Kubernetes' controller frees the claim."""
    cluster.delete(f"{PODS}/{name}", grace=0)
    with contextlib.suppress(Refused):
        cluster.request("DELETE", f"{CLAIMS}/{name}")
    return eventually(lambda: cluster.get(f"{CLAIMS}/{name}") is None)


def check_binding(cluster, a, b):
    check("devices have binding conditions", eventually(lambda: len(a.devices()) == 2 and all(
        d.get("bindingConditions") == [PREPARED] and d.get("bindingFailureConditions") == [REFUSED] and
        d.get("bindsToNode") for d in a.devices())), a.devices())
    b.cordon(True)
    uid = make(cluster, "first", 4)
    check("a pod is bound", eventually(lambda: node_of(cluster, "first")), cluster.said("first"))
    same("to the machine that has room", node_of(cluster, "first"), a.name)
    # Nothing here plays kubelet, so that only binding can have done this.
    same("its claim was prepared before", (a.leases(), cluster.condition("first", PREPARED)),
         ([uid], ("True", "Prepared")))
    check("kube-scheduler has waited for it", eventually(lambda: "BindingConditionsPending" in cluster.said("first")),
          cluster.said("first"))
    # The slice has four CPUs more, but exclusive CPUs never take all of a machine.
    other = make(cluster, "second", 4)
    check("a claim that is refused is a failure of binding", eventually(
        lambda: "at least one CPU" in cluster.said("second") or "binding failed" in cluster.said("second")),
        (cluster.said("second"), a.agent.so_far()[-4:]))
    print(f"#   {cluster.said('second').splitlines()[-1][:400]}", flush=True)
    same("its pod is not bound", (node_of(cluster, "second"), a.leases()), (None, [uid]))
    b.cordon(False)
    check("it is placed anew", eventually(lambda: node_of(cluster, "second") == b.name), cluster.said("second"))
    same("and prepared there", (a.leases(), b.leases()), ([uid], [other]))
    same("without a failure", cluster.condition("second", REFUSED), None)
    for name, machine in (("first", a), ("second", b)):
        check(f"{name}: the claim is gone", remove(cluster, name))
        check(f"{name}: and its lease", eventually(lambda m=machine: not m.leases()),
              (machine.leases(), machine.agent.so_far()[-4:]))
    again = make(cluster, "third", 2)
    check("others come after them", eventually(lambda: node_of(cluster, "third")), cluster.said("third"))
    check("prepared, too", again in a.leases() + b.leases(), (a.leases(), b.leases()))


def check_killed(cluster, a, b):
    """An agent that is not there delays binding, and no pod is lost."""
    b.cordon(True)
    a.agent.process.kill()
    a.agent.process.wait()
    make(cluster, "late", 1)
    check("without an agent kube-scheduler waits", eventually(
        lambda: "BindingConditionsPending" in cluster.said("late")), cluster.said("late"))
    same("and binds nothing", node_of(cluster, "late"), None)
    a.agent = Daemon(a.argv)
    check("the next agent prepares it", eventually(lambda: node_of(cluster, "late") == a.name),
          (cluster.said("late"), a.agent.so_far()[-4:]))


def check_gate(cluster, folder):
    with Machine(cluster, f"{folder}/off", "a") as machine:
        check("the agent says that the gate is off", machine.agent.wait(
            "the API server drops binding conditions (feature gates DRADeviceBindingConditions and "
            "DRAResourceClaimDeviceStatus): claims are prepared after their pods are bound"), machine.agent.so_far()[-5:])
        check("devices are published without", eventually(lambda: len(machine.devices()) == 2 and not any(
            "bindingConditions" in d for d in machine.devices())), machine.devices())
        make(cluster, "plain", 2)
        check("a pod is bound at once", eventually(lambda: node_of(cluster, "plain") == "a"), cluster.said("plain"))
        same("its claim is not prepared yet", machine.leases(), [])


def main():
    parts = find_parts()
    with Temp() as folder:
        for name, gates, tests in (("on", "", True), ("off", GATES_OFF, False)):
            with Cluster(f"{folder}/{name}", parts, gates) as cluster:
                if not check(f"the control plane works (gate {name})", cluster.wait(), cluster.dead()):
                    continue
                cluster.account("agent", watches=True)
                cluster.device_class("numastow-exclusive", {"cpuMode": "exclusive"})
                if not tests:
                    check_gate(cluster, folder)
                    continue
                with Machine(cluster, f"{folder}/a", "a") as a, Machine(cluster, f"{folder}/b", "b") as b:
                    check_binding(cluster, a, b)
                    check_killed(cluster, a, b)
                same("all programs of the control plane went on", cluster.dead(), [])


if __name__ == "__main__":
    run_test("binding conditions with the stock kube-scheduler", main)
