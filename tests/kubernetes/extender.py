#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The stock kube-scheduler and numastow's extender, with the arguments of deploy/kubernetes and the certificates of the
guide: annotated pods go where their NUMA node is; then 1,000 machines, beside pods with claims.

usage: tests/kubernetes/extender.py [--full]
"""
import contextlib
import os

import yaml

from asking import SERVICE, Asking, certificates
from cluster import PODS, eventually, find_parts, run_test
from daemons import AGENT, SCHEDULER, Daemon, free_port, metrics_of
from fleetlib import FakeAgent, channel_to, full_report, start_scheduler
from harness import PROJECT, Machine, Temp, check, same
from scale import CLAIMS_PLACED, MACHINES, NUMA_NODES, place, pod, scale

COMPONENT = f"{PROJECT}/deploy/kubernetes/components/extender"


class Machines(Asking):
    """With machines that only the extender's agents know."""

    def add_machine(self, name):
        amounts = {"cpu": "64", "memory": "256Gi", "pods": "110"}
        self.create("/api/v1/nodes", {"metadata": {"name": name}, "status": {
            "capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}})
        self.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})

    def make(self, name, **annotations):
        made = pod(name)
        made["metadata"]["annotations"] = {f"numastow.io/{k}": v for k, v in annotations.items()}
        self.create(PODS, made)

    def machine_of(self, name):
        return self.get(f"{PODS}/{name}")["spec"].get("nodeName")

    def placed(self, what, name, where):
        place_of = eventually(lambda: self.machine_of(name))
        check(f"{what} is on {' or '.join(where)}", place_of in where, (place_of, self.said(name)))

    def pending(self, what, name, *words):
        """With an event that says so."""
        said = eventually(lambda: [line for line in self.said(name).splitlines()
                                   if line.startswith("FailedScheduling") and all(w in line for w in words)])
        check(f"{what} is Pending", said and not self.machine_of(name), self.said(name))
        if said:
            print(f"#   {said[-1][:300]}", flush=True)


def documents(path):
    with open(path, encoding="utf-8") as handle:
        return [d for d in yaml.safe_load_all(handle) if d]


def extender_arguments(folder, secret, ports):
    """Those of the Deployment, with other addresses and folders."""
    deployment = next(d for d in documents(f"{COMPONENT}/extender.yaml") if d["kind"] == "Deployment")
    words = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    for old, new in (("0.0.0.0:7200", f"127.0.0.1:{ports[0]}"), ("0.0.0.0:8444", f"127.0.0.1:{ports[1]}"),
                     ("0.0.0.0:7202", f"127.0.0.1:{ports[2]}"), ("/etc/numastow-extender/", f"{secret}/")):
        words = [w.replace(old, new) for w in words]
    # The last --metrics is what the tests ask.
    return [SCHEDULER, *words, "--data", f"{folder}/data", "--metrics", f"127.0.0.1:{ports[2]}"]


def agent_arguments(agents, name, port):
    """Those that the component adds."""
    patch = documents(f"{COMPONENT}/kustomization.yaml")[0]["patches"][0]["patch"]
    words = [operation["value"] for operation in yaml.safe_load(patch)]
    return [w.replace(f"{SERVICE}:7200", f"127.0.0.1:{port}").replace("/etc/numastow/agent", f"{agents}/agent/{name}")
            for w in words] + ["--server-name", SERVICE]


@contextlib.contextmanager
def two_agents(folder, agents, port):
    with contextlib.ExitStack() as stack:
        for name, cpus in (("small", 8), ("large", 16)):
            machine = Machine(f"{folder}/{name}", cpus=cpus)
            stack.enter_context(Daemon([AGENT, "--sysroot", machine.path, "--config", "/dev/null", "--metrics", "",
                                        "--node", name, *agent_arguments(agents, name, port)]))
        yield


def ready(program):
    """How many machines have agents that report."""
    return next((int(line.split()[-1]) for line in metrics_of(program).splitlines()
                 if line.startswith('numastow_scheduler_nodes{state="ready"}')), 0)


def check_placing(cluster, program):
    cluster.make("plain")
    cluster.placed("a pod without annotations", "plain", ("small", "large", "gone"))
    cluster.make("six", cpus="6")
    cluster.placed("a pod that fits one NUMA node of one machine", "six", ("large",))
    cluster.make("three", cpus="3")
    cluster.placed("one that fits both", "three", ("small",))
    cluster.make("twelve", cpus="12")
    cluster.pending("one that fits only in sum", "twelve", "0/3 nodes are available")
    cluster.make("spread", cpus="12", policy="best-effort")
    cluster.placed("that may be on two NUMA nodes", "spread", ("large",))
    same("the extender was never asked in vain", [line for line in metrics_of(program).splitlines()
                                                  if "extender_requests_total" in line and
                                                  'result="answered"' not in line and not line.startswith("#") and
                                                  not line.endswith(" 0")], [])


def check_strangers(cluster, agents, clients):
    """A machine's certificate is of another CA."""
    cluster.ask_as(f"{agents}/agent/small")
    cluster.make("stranger", cpus="1")
    cluster.pending("a pod of a kube-scheduler with a machine's certificate", "stranger", "403")
    cluster.ask_as(f"{clients}/client/kube-scheduler")
    cluster.placed("with its own certificate, it", "stranger", ("small", "large"))


def check_two(cluster, folder):
    agents, clients, secret = certificates(folder, ("small", "large"))
    ports = [free_port() for _ in range(3)]
    cluster.port_of_extender, cluster.authority = ports[1], f"{agents}/ca.crt"
    cluster.client = f"{clients}/client/kube-scheduler"
    os.makedirs(f"{folder}/data")
    with cluster:
        if not check("the control plane starts", cluster.wait(), cluster.dead()):
            return
        for name in ("small", "large", "gone"):
            cluster.add_machine(name)
        arguments = extender_arguments(folder, secret, ports)
        with two_agents(folder, agents, ports[0]):
            with Daemon(arguments) as program:
                check("both machines report", eventually(lambda: ready(program) == 2), program.so_far()[-5:])
                check_placing(cluster, program)
                check_strangers(cluster, agents, clients)
            cluster.make("early", cpus="1")
            cluster.pending("without the extender a pod", "early", "refused")
            # As where it is a pod itself, which this kube-scheduler places.
            cluster.ignorable = True
            cluster.ask_as(cluster.client)
            cluster.placed("where it may be ignored, the pod", "early", ("small", "large", "gone"))
            cluster.ignorable = False
            cluster.ask_as(cluster.client)
            cluster.make("late", cpus="1")
            cluster.pending("where it may not, another one", "late", "refused")
            with Daemon(arguments) as program:
                check("both machines report again", eventually(lambda: ready(program) == 2), program.so_far()[-5:])
                cluster.placed("once it is back, the pod", "late", ("small", "large"))
        for item in cluster.items(PODS):
            cluster.delete(f"{PODS}/{item['metadata']['name']}", grace=0)
        for name in ("small", "large", "gone"):
            cluster.delete(f"/api/v1/nodes/{name}")
        check_many(cluster, folder, secret, f"{clients}/ca.crt")
        same("all programs of the control plane went on", cluster.dead(), [])


def check_many(cluster, folder, secret, authority):
    """1,000 machines of eight NUMA nodes: plain pods, pods with claims, annotated pods; the extender is asked for all."""
    cluster.device_class("numastow-exclusive", {"cpuMode": "exclusive"})
    with start_scheduler(f"{folder}/many", "--extender", f"127.0.0.1:{cluster.port_of_extender}", "--extender-ca", authority,
                         "--admission-certificate", f"{secret}/tls.crt", "--admission-key", f"{secret}/tls.key",
                         "--stale-after", "1h", "--metrics", f"127.0.0.1:{free_port()}") as program, \
            channel_to(f"127.0.0.1:{program.port}") as channel:
        # A thousand quick hearts would take the processor from what is measured.
        agents = [FakeAgent(channel, full_report(f"sim-{n}", NUMA_NODES, cpus=16), every=600) for n in range(MACHINES)]
        if not check("all machines report", eventually(lambda: ready(program) == MACHINES), ready(program)):
            return
        scale(cluster)
        names = [f"annotated-{n}" for n in range(CLAIMS_PLACED)]
        place(cluster, "annotated pods", set(names), [("POST", PODS, {
            **pod(name), "metadata": {"name": name, "annotations": {"numastow.io/cpus": "4"}}}) for name in names])
        for line in metrics_of(program).splitlines():
            if line.startswith("numastow_scheduler_extender_requests_total"):
                print(f"#   {line}", flush=True)
                check("each question was answered", 'result="answered"' in line or line.endswith(" 0"), line)
        for agent in agents:
            agent.close()


def main():
    with Temp() as folder:
        check_two(Machines(f"{folder}/cluster", find_parts()), folder)


if __name__ == "__main__":
    run_test("the extender and the stock kube-scheduler", main)
