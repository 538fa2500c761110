#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes with the extender's Deployment, on a stock Kubernetes with a NUMA virtual machine, without claims: the
stock kube-scheduler places the extender's pod, and asks it afterwards; `numastow setup` has the stock containerd run the
hook for annotated pods; what fits on no NUMA node is Pending; without the pod, the hook refuses it.

usage: tests/kubernetes/deployed_extender.py
"""
from asking import Asking, certificates
from cluster import NAMESPACE, PODS, eventually
from daemons import free_port
from deployed import Deployed, WithAccounts
from harness import check, parse_list, same
from node import Test
from vm import Machine, run_with_machines

PORT = 8444
NUMASTOW = "/opt/numastow/bin/numastow"  # where the agent's init container puts it
# The agent has the machine's network, where there is no DNS of the cluster.
PATCH = """
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: numastow-extender, namespace: numastow-system}}
    spec:
      template:
        spec:
          hostNetwork: true
- patch: |
    apiVersion: apps/v1
    kind: DaemonSet
    metadata: {{name: numastow-agent, namespace: numastow-system}}
    spec:
      template:
        spec:
          hostAliases:
          - ip: 127.0.0.1
            hostnames: [numastow-extender.numastow-system.svc]"""


class WithExtender(Asking, WithAccounts):
    """Its kube-scheduler asks the extender in its pod, at a port of the machine."""

    def __init__(self, folder, parts):
        super().__init__(folder, parts)
        self.agents, clients, self.secret = certificates(folder, ("numa",))
        self.port_of_extender, self.authority, self.ignorable = free_port(), f"{self.agents}/ca.crt", True
        self.client = f"{clients}/client/kube-scheduler"

    def start(self, name, *argv):
        argv = list(argv)
        if name == "kube-controller-manager":
            argv[argv.index("--controllers") + 1] += ",deployment-controller,replicaset-controller"
        super().start(name, *argv)


class Extended(Deployed):
    components = (*Deployed.components, "extender")
    patches = PATCH

    def certify(self, agents, secret):
        """The machine's certificate, and the Secret of the guide."""
        check("the machine gets its certificate", self.m.do(f"cp -r {agents}/agent/numa /etc/numastow/agent"))
        for what, words in (("namespace", ("create", "namespace", NAMESPACE)), ("Secret", (
                "-n", NAMESPACE, "create", "secret", "generic", "numastow-extender", f"--from-file={secret}"))):
            done = self.c.kubectl(*words)
            check(f"the {what} is created", done.returncode == 0, done.stderr)

    def reports(self):
        return "nodes{state=\"ready\"} 1" in self.m.out("busybox wget -qO - http://127.0.0.1:7202/metrics")

    def answered(self):
        """How many questions the extender's pod has answered."""
        return sum(int(line.split()[-1]) for line in
                   self.m.out("busybox wget -qO - http://127.0.0.1:7202/metrics").splitlines()
                   if "extender_requests_total" in line and 'result="answered"' in line)

    def set_up(self):
        """The runtime runs the hook, as numastow-setup(1) makes it."""
        check("numastow setup changes containerd's configuration", self.m.do(
            f"PATH=$PARTS:$PATH {NUMASTOW} setup containerd --write"))
        check("containerd is restarted", self.m.do("end containerd; start_containerd"))
        missing = lambda: self.m.run(f"PATH=$PARTS:$PATH {NUMASTOW} setup containerd --check")
        check("numastow setup finds nothing missing", eventually(lambda: missing()[0] == 0), missing())

    def make(self, name, cpus, limit, mode="shared", **requests):
        """A pod with annotations. `limit`: its CPUs."""
        amounts = {"cpu": str(limit), "memory": "128Mi"}
        self.c.create(PODS, {"metadata": {"name": name, "annotations": {
            "numastow.io/cpus": str(cpus), "numastow.io/cpu-mode": mode}}, "spec": {
                "hostNetwork": True, "terminationGracePeriodSeconds": 1, "enableServiceLinks": False,
                "automountServiceAccountToken": False, "containers": [{
                    "name": "main", "image": "numastow.io/test:1", "imagePullPolicy": "Never",
                    "command": ["sleep", "100000"], "resources": {"limits": amounts, "requests": {**amounts, **requests}}}]}})

    def placed(self):
        before = self.answered()
        self.make("three", 3, 3, mode="exclusive")
        container, seen = self.test.running("three")
        if not check("an annotated pod runs", container, self.c.said("three")):
            return
        # It asks for an order only where several machines have room.
        check("kube-scheduler has asked the extender's pod", self.answered() > before, (before, self.answered()))
        cpus, mems = parse_list(seen["allowed"]), parse_list(seen["allowed_mems"])
        check("it has three CPUs and the memory of one NUMA node", len(cpus) == 3 and len(mems) == 1 and
              {cpu // 4 for cpu in cpus} == mems, seen)
        same("the hook has recorded it", [r["state"] for r in self.test.records()], ["active"])
        self.make("five", 5, 5, cpu="100m")
        said = self.test.event("five", "FailedScheduling")
        check("one that fits on no NUMA node is Pending, for the reason of the planner", said and "NUMA node" in said, said)
        same("and has no machine", self.c.get(f"{PODS}/five")["spec"].get("nodeName"), None)
        print(f"#   {said}", flush=True)
        self.test.promises("annotated pods")

    def without(self):
        """No pod of the extender, which may be ignored: the hook refuses what does not fit."""
        done = self.c.kubectl("-n", NAMESPACE, "scale", "deployment/numastow-extender", "--replicas=0")
        check("the Deployment is scaled to none", done.returncode == 0, done.stderr)
        check("its pod goes", eventually(lambda: not self.agents("extender")), self.agents("extender"))
        self.make("late", 5, 5, cpu="100m")
        check("the next pod is bound without it", eventually(lambda: self.c.get(f"{PODS}/late")["spec"].get("nodeName")),
              self.c.said("late"))
        check("... and refused by the hook, with its sentence", self.test.event("late", 'cannot place "main"'),
              self.c.said("late"))
        done = self.c.kubectl("-n", NAMESPACE, "scale", "deployment/numastow-extender", "--replicas=1")
        check("and to one", done.returncode == 0, done.stderr)
        check("the machine reports to the next pod", eventually(lambda: len(self.agents("extender")) == 1 and self.reports()),
              self.said())
        self.make("one", 1, 1, cpu="100m")
        container, seen = self.test.running("one")
        check("then annotated pods run", container and len(parse_list(seen["allowed_mems"])) == 1,
              (self.c.said("one"), seen))
        check("all are deleted, and what they had", self.test.remove("three", "five", "late", "one") and
              eventually(lambda: not self.test.records()), self.test.records())


def whole(cluster):
    with Machine(cluster, "v2", f"{cluster.folder}/machine.log", {PORT: cluster.port_of_extender}) as machine:
        test = Test(cluster, machine)
        extended = Extended(cluster, machine, test)
        if not extended.start_node():
            return
        extended.certify(cluster.agents, cluster.secret)
        if extended.apply() and extended.first():
            check("kube-scheduler has placed the extender's pod", eventually(lambda: len(extended.agents("extender")) == 1),
                  extended.said())
            check("the machine reports to it", eventually(extended.reports), extended.said())
            extended.set_up()
            extended.placed()
            extended.without()
        same("the kernel has not complained", machine.end(0), 0)


if __name__ == "__main__":
    run_with_machines("kubernetes-deployed-extender", whole, WithExtender)
