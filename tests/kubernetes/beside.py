# SPDX-License-Identifier: Apache-2.0
"""Containers without a claim beside exclusive CPUs: pods of each QoS class, init containers, other containers of the same
pod, a debug container, one that asks for all CPUs again and again; also without an agent."""
from cluster import PODS, eventually
from harness import BUILD, check, parse_list, same

FIRST = "cat /proc/self/status >/run/first; exec sleep 100000"
# Asks the kernel for all CPUs, and writes down which ones it has got.
GREEDY = "while sleep 1; do busybox taskset 0xff busybox grep ^Cpus_allowed_list: /proc/self/status >>/run/got; done"
CPUS = set(range(8))


def cpus_in(text):
    """All that the lines of that name in files "status" of processes list."""
    lists = [line.split()[1] for line in text.splitlines() if line.startswith("Cpus_allowed_list:")]
    return set().union(*map(parse_list, lists))


class Beside:
    """`test` has the cluster and the machine."""

    def __init__(self, test):
        self.test, self.c, self.m = test, test.cluster, test.machine
        self.exclusive = set()

    @staticmethod
    def container(name, script=FIRST, **fields):
        return {"name": name, "image": "numastow.io/test:1", "imagePullPolicy": "Never", "command": ["sh", "-c", script],
                **fields}

    def make(self, name, script=FIRST, limits=None, requests=None):
        resources = {kind: amounts for kind, amounts in (("limits", limits), ("requests", requests)) if amounts}
        self.c.create(PODS, {"metadata": {"name": name}, "spec": {
            "hostNetwork": True, "terminationGracePeriodSeconds": 1, "enableServiceLinks": False,
            "automountServiceAccountToken": False, "containers": [self.container("main", script, resources=resources)]}})

    def make_classes(self, when):
        """Pods of the three classes; their names."""
        amounts = {"cpu": "100m", "memory": "32Mi"}
        self.make(f"{when}-besteffort")
        self.make(f"{when}-burstable", requests=amounts)
        self.make(f"{when}-guaranteed", limits=amounts)
        return [f"{when}-{kind}" for kind in ("besteffort", "burstable", "guaranteed")]

    def make_claiming(self):
        """A pod with three exclusive CPUs, whose other containers have no claim."""
        self.c.claim("alone-claim", cpus=3)
        shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
        self.c.pod_of("alone", {
            "volumes": [{"name": "shared", "emptyDir": {}}],
            "resourceClaims": [{"name": "numa", "resourceClaimName": "alone-claim"}],
            "initContainers": [self.container("before", "cat /proc/self/status >/shared/before", **shared)],
            "containers": [self.container("main", **shared, resources={"claims": [{"name": "numa"}]}),
                           self.container("other")]})

    def make_debug(self):
        """As `kubectl debug` does."""
        self.c.request("PATCH", f"{PODS}/alone/ephemeralcontainers", {
            "spec": {"ephemeralContainers": [self.container("debug")]}}, kind="application/strategic-merge-patch+json")

    # --- what is seen ----------------------------------------------------------------------------

    def running(self, pod, name="main"):
        """What the kernel says of a container that runs."""
        def found():
            status = (self.c.get(f"{PODS}/{pod}") or {}).get("status", {})
            for one in status.get("containerStatuses", []) + status.get("ephemeralContainerStatuses", []):
                if one["name"] == name and "running" in one.get("state", {}):
                    return self.m.seen(self.test.uid(pod), one["containerID"].split("//")[1])
            return None
        seen = eventually(found)
        check(f"{pod}: {name} runs", seen, self.c.said(pod))
        return seen or {"pid": "0", "allowed": ""}

    def stays_off(self, pod, name="main"):
        """It runs, and nowhere on CPUs that are another one's; what the kernel says of it."""
        seen = self.running(pod, name)
        allowed = lambda: cpus_in(self.m.out(f"cat /proc/{seen['pid']}/status"))
        check(f"{pod}: {name} has CPUs, and no exclusive one", eventually(
            lambda: allowed() and not allowed() & self.exclusive), (allowed(), self.exclusive))
        return seen

    def at_first(self, seen):
        """The CPUs of its first program."""
        return cpus_in(eventually(lambda: self.m.out(f"cat /proc/{seen['pid']}/root/run/first")))

    def was_off(self, pod):
        """Above it is a cgroup with a set, so that it has had no exclusive CPU from its first instruction on."""
        cpus = self.at_first(self.stays_off(pod))
        check(f"{pod}: its first program had no exclusive CPU", cpus and not cpus & self.exclusive, cpus)

    def print_first(self, what, cpus):
        """The agent sets these when they are made: before they begin, unless the runtime is faster."""
        print(f"#   {what}: {'off' if not cpus & self.exclusive else 'ON'} exclusive CPUs at its first instruction", flush=True)

    # --- what is tested --------------------------------------------------------------------------

    def pods(self):
        early = self.make_classes("early")
        for pod in early:
            same(f"{pod}: all CPUs are its", cpus_in(self.m.out(f"cat /proc/{self.running(pod)['pid']}/status")), CPUS)
        self.make_claiming()
        main = self.running("alone")
        self.exclusive = parse_list(main["allowed"])
        same("the container with a claim has three CPUs", len(self.exclusive), 3)
        for pod in early:
            self.stays_off(pod)
        late = self.make_classes("late")
        self.make("greedy", GREEDY)
        self.make_debug()
        for pod in late[:2]:
            self.was_off(pod)
        self.print_first(late[2], self.at_first(self.stays_off(late[2])))
        for name in ("other", "debug"):
            self.print_first(f"alone: {name}", self.at_first(self.stays_off("alone", name)))
        self.print_first("alone: before", cpus_in(self.m.out(f"cat /proc/{main['pid']}/root/shared/before")))
        got = eventually(lambda: self.m.out(f"cat /proc/{self.stays_off('greedy')['pid']}/root/run/got"))
        check("who asks for all CPUs gets no exclusive one", got and not cpus_in(got) & self.exclusive, got)
        self.test.promises("beside containers without a claim")
        return [*early, *late, "greedy"]

    def agentless(self):
        """The sets stay; those of classes hold for new pods, too."""
        check("the agent is killed", self.m.do("end agent KILL"))
        orphans = self.make_classes("orphan")
        for pod in orphans[:2]:
            self.was_off(pod)
        seen = self.running(orphans[2])
        self.print_first(orphans[2], self.at_first(seen))
        check("numastow gc sets the Guaranteed one's cgroup", self.m.do(f"{BUILD}/numastow gc"))
        self.stays_off(orphans[2])
        before = self.test.registrations()
        self.m.do("start_agent")
        check("the agent is back", self.test.registered_again(before), self.m.out("tail -n 5 $logs/agent.log"))
        self.test.promises("after an agent that was dead")
        return orphans

    def gives_back(self, pods):
        check("the pod with the claim is deleted", self.test.remove("alone"), self.c.said("alone"))
        for pod in pods:
            pid = self.running(pod)["pid"]
            check(f"{pod}: all CPUs are its again", eventually(
                lambda p=pid: cpus_in(self.m.out(f"cat /proc/{p}/status")) == CPUS), self.m.out(f"cat /proc/{pid}/status"))
        check("all are deleted", self.test.remove(*pods))


def beside(test):
    it = Beside(test)
    pods = it.pods()
    it.gives_back(pods + it.agentless())
    check("nothing is left in the ledger", eventually(lambda: not test.records()), test.records())
