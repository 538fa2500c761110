# SPDX-License-Identifier: Apache-2.0
"""numastow on a stock Kubernetes, for `run`: pods with claims that kube-scheduler places a second, by shape of slices; the
agent's memory with many claims; in a virtual machine the time that a claim adds to a pod's start, and the time until the
API server knows of memory that has come online.

The parts are those of tests/kubernetes (`tests/kubernetes/parts build`); logs are in build/kubernetes-bench.
"""
import contextlib
import datetime
import json
import os
import re
import shutil
import statistics
import sys
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
FOLDER = f"{PROJECT}/build/kubernetes-bench"
sys.path[:0] = [f"{PROJECT}/tests/kubernetes", f"{PROJECT}/tests/integration"]
import scale  # noqa: E402
from cluster import CLAIMS, CLASSES, PODS, SLICES, TEMPLATES, Cluster, Unavailable, eventually, find_parts  # noqa: E402
from harness import Temp  # noqa: E402
from node import Test  # noqa: E402
from vm import MACHINE_NEEDS, Machine, make_cluster  # noqa: E402

DRA_CPU = "dra.cpu"
PLACED = 200
CLAIMED, A_POD = 200, 4  # claims, and how many of them a pod has


class Failed(Exception):
    """What was measured does not work."""


class Fast(Cluster):
    """Its controllers are not held back by a limit of requests."""

    def start(self, name, *argv):
        if name == "kube-controller-manager":
            argv += ("--kube-api-qps", "1000", "--kube-api-burst", "2000")
        super().start(name, *argv)


def seconds(value):
    return f"{value:.2f} s"


def percentile(values, part):
    """The smallest value that so much of them do not exceed."""
    return sorted(values)[max(0, -(-len(values) * part // 100) - 1)]


# --- the stock scheduler ------------------------------------------------------------------------------


def cpu_devices():
    """Devices of a machine as dra-driver-cpu publishes them in its mode "individual": one for each CPU."""
    devices, a_node = [], 16
    for cpu in range(scale.NUMA_NODES * a_node):
        node = {"int": cpu // a_node}
        devices.append({"name": f"cpudev{cpu:03}", "attributes": {
            f"{DRA_CPU}/numaNodeID": node, f"{DRA_CPU}/socketID": {"int": cpu // (4 * a_node)},
            f"{DRA_CPU}/smtEnabled": {"bool": True}, f"{DRA_CPU}/cacheL3ID": {"int": cpu // 8},
            f"{DRA_CPU}/coreType": {"string": "standard"}, f"{DRA_CPU}/coreID": {"int": cpu // 2},
            f"{DRA_CPU}/cpuID": {"int": cpu}, "dra.net/numaNode": node}})
    return devices


def claim_of(name, request, constraints=()):
    return {"metadata": {"name": name}, "spec": {"devices": {
        "requests": [{"name": "main", "exactly": request}], "constraints": list(constraints)}}}


NUMASTOW = {"deviceClassName": "numastow-shared", "capacity": {"requests": {"cpus": "4", "memory": "1Gi"}}}
CPUS = {"deviceClassName": DRA_CPU, "count": 4}
TOGETHER = {"requests": ["main"], "matchAttribute": f"{DRA_CPU}/numaNodeID"}


class Bound(threading.Thread):
    """The times at which pods get a machine, by a watch."""

    def __init__(self, cluster, names):
        super().__init__(daemon=True)
        self.cluster, self.waiting, self.times, self.ended = cluster, set(names), [], False
        self.version = cluster.get(PODS)["metadata"]["resourceVersion"]

    def see(self, pod):
        name = pod.get("metadata", {}).get("name")
        if name in self.waiting and pod["spec"].get("nodeName"):
            self.waiting.remove(name)
            self.times.append(time.monotonic())

    def run(self):
        """The API server ends a watch that is slow to read, and when it likes."""
        while self.waiting and not self.ended:
            request = urllib.request.Request(
                f"https://127.0.0.1:{self.cluster.port}{PODS}?watch=1&resourceVersion={self.version}",
                headers={"Authorization": f"Bearer {self.cluster.tokens['admin']}"})
            with contextlib.suppress(OSError), \
                    urllib.request.urlopen(request, timeout=60, context=self.cluster.context) as answer:
                for line in answer:
                    self.see(json.loads(line)["object"])
                    if not self.waiting:
                        return
            listed = self.cluster.get(PODS)
            self.version = listed["metadata"]["resourceVersion"]
            for pod in listed["items"]:
                self.see(pod)


def a_second(cluster, settings, claim):
    """Pods that kube-scheduler binds in a second, when they wait for it: each with such a claim, or without."""
    cluster.stop("kube-scheduler")
    names = [f"pod-{n}" for n in range(PLACED)]
    if claim:
        made = scale.at_once(cluster, [("POST", CLAIMS, claim_of(name, *claim)) for name in names])
        if set(made) != {201}:
            raise Failed(f"claims are refused: {made}")
    made = scale.at_once(cluster, [("POST", PODS, scale.pod(name, name if claim else None)) for name in names])
    if set(made) != {201}:
        raise Failed(f"pods are refused: {made}")
    bound = Bound(cluster, names)
    bound.start()
    cluster.start_scheduler(**settings)
    bound.join(600)
    bound.ended = True
    if bound.waiting:
        raise Failed(f"{len(bound.waiting)} of {PLACED} pods were not placed")
    for path in (PODS, CLAIMS):
        cluster.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
    if not eventually(lambda: not cluster.items(PODS) and not cluster.items(CLAIMS)):
        raise Failed("pods and claims are not deleted")
    return (PLACED - 1) / (bound.times[-1] - bound.times[0])


def fill(cluster, devices_of):
    for requests in ([("POST", "/api/v1/nodes", scale.machine(n)) for n in range(scale.MACHINES)],
                     [("POST", SLICES, devices_of(n)) for n in range(scale.MACHINES)]):
        made = scale.at_once(cluster, requests)
        if made != {201: scale.MACHINES}:
            raise Failed(f"machines or slices are refused: {made}")


def cpu_slice(number):
    name = f"sim-{number}"
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": f"{name}-cpu"},
            "spec": {"driver": DRA_CPU, "nodeName": name, "devices": cpu_devices(),
                     "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}}


def measure_scheduling(where, rounds, say, table):
    say(f"{PLACED} pods on {scale.MACHINES} machines of {scale.NUMA_NODES} NUMA nodes and {16 * scale.NUMA_NODES} CPUs: bound by the stock "
        f"kube-scheduler, a second (medians of {rounds}, in turn)")
    device = scale.device_of()
    shapes = {"a device for each NUMA node": (lambda n: scale.slice_of(n, device), {"4 CPUs, 1Gi of a NUMA node": (NUMASTOW,)}),
              "a device for each CPU": (cpu_slice, {
                  "4 CPUs of one NUMA node": (CPUS, (TOGETHER,)), "4 CPUs": (CPUS,)})}
    rows = [["", "percentageOfNodesToScore", "plain pods", "with a claim", "plain pods are", "wanted"]]
    for number, (shape, (devices_of, claims)) in enumerate(shapes.items()):
        with Fast(f"{FOLDER}/scheduling{number}", where) as cluster:
            if not cluster.wait():
                raise Failed(f"the control plane does not start: {cluster.dead()}")
            cluster.device_class("numastow-shared")
            cluster.create(CLASSES, {"metadata": {"name": DRA_CPU}, "spec": {
                "selectors": [{"cel": {"expression": f'device.driver == "{DRA_CPU}"'}}]}})
            fill(cluster, devices_of)
            for percent, wanted in ((5, "<= 2x"), (0, "<= 5x")):
                settings = {"percentageOfNodesToScore": percent} if percent else {}
                found = {None: [], **{name: [] for name in claims}}
                for _ in range(rounds):
                    for name in found:
                        found[name].append(a_second(cluster, settings, claims.get(name)))
                plain = statistics.median(found.pop(None))
                for name, values in found.items():
                    rate = statistics.median(values)
                    rows.append([f"{shape}: {name}", percent or "default", f"{plain:.0f}", f"{rate:.0f}",
                                 f"{plain / rate:.2f}x", wanted if number == 0 else ""])
    table(rows)


# --- the agent's memory -------------------------------------------------------------------------------


def memory_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as handle:
        found = dict(re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB", handle.read(), re.M))
    return int(found["VmRSS"]) / 1024, int(found["RssAnon"]) / 1024


def claimed_pod(number):
    claims = [{"name": f"c{n}", "resourceClaimTemplateName": "small"} for n in range(A_POD)]
    amounts = {"cpu": "1m", "memory": "1Mi"}
    return {"metadata": {"name": f"pod-{number}"}, "spec": {
        "resourceClaims": claims, "automountServiceAccountToken": False, "containers": [{
            "name": "main", "image": "none", "resources": {
                "claims": [{"name": c["name"]} for c in claims], "requests": amounts, "limits": amounts}}]}}


def measure_memory(where, say, table):
    from simulated import Simulated
    with Temp() as temp, Fast(f"{FOLDER}/memory", where) as cluster:
        if not cluster.wait():
            raise Failed(f"the control plane does not start: {cluster.dead()}")
        cluster.account("agent")
        cluster.device_class("numastow-shared")
        cluster.create(TEMPLATES, {"metadata": {"name": "small"}, "spec": {"spec": {"devices": {"requests": [
            {"name": "main", "exactly": {"deviceClassName": "numastow-shared",
                                         "capacity": {"requests": {"memory": "1Mi"}}}}]}}}})
        with Simulated(cluster, temp, "sim") as machine:
            with open(f"{FOLDER}/said", "w", encoding="utf-8") as said, contextlib.redirect_stdout(said):
                registered = machine.register()
            if not registered:
                raise Failed("the agent does not register")
            pid = machine.agent.process.pid
            before = memory_of(pid)
            for number in range(CLAIMED // A_POD):
                cluster.create(PODS, claimed_pod(number))
            if not eventually(lambda: len(machine.pods()) == CLAIMED // A_POD):
                raise Failed("pods are not placed")
            errors = [error for pod in machine.pods() for error in machine.prepare(pod) if error]
            if errors:
                raise Failed(errors[0])
            after = memory_of(pid)
            time.sleep(11)  # it gives memory back every 10 s
            rest = memory_of(pid)
    say("The agent's memory on a machine of 2 NUMA nodes, with Kubernetes")
    table([["", "resident", "of it its own", "wanted"],
           ["registered with kubelet, no claim", f"{before[0]:.1f} MiB", f"{before[1]:.1f} MiB", ""],
           [f"{CLAIMED} claims", f"{after[0]:.1f} MiB", f"{after[1]:.1f} MiB", "<= 32 MiB"],
           ["ten seconds later", f"{rest[0]:.1f} MiB", f"{rest[1]:.1f} MiB", ""]])


# --- a machine ----------------------------------------------------------------------------------------


def started(machine, uid, name):
    """Seconds from kubelet's first sight of a pod to its container's first line, by the clock of the machine."""
    log = machine.out(f"cat /var/log/pods/default_{name}_{uid}/main/0.log")
    seen = machine.out(f"grep -m 1 'SyncLoop ADD.*default/{name}\"' $logs/kubelet.log")
    end = re.match(r"(\d+-\d+-\d+T\d+:\d+:\d+\.\d{6})", log)
    begin = re.match(r"[A-Z](\d{4} \d+:\d+:\d+\.\d{6})", seen)
    if not end or not begin:
        raise Failed(f"the logs do not say when {name} was started: {log!r}, {seen!r}")
    end = datetime.datetime.fromisoformat(end[1])
    begin = datetime.datetime.strptime(f"{end.year}{begin[1]}", "%Y%m%d %H:%M:%S.%f")
    return (end - begin).total_seconds()


def one_start(test, name, claim):
    c = test.cluster
    if claim:
        c.create(CLAIMS, claim_of(f"{name}-claim", claim))
    c.pod(name, f"{name}-claim" if claim else None, ("sh", "-c", "echo started; exec sleep 100000"))
    if not eventually(lambda: c.container(name)):
        raise Failed(f"a pod does not run: {c.said(name)}")
    took = started(test.machine, c.get(f"{PODS}/{name}")["metadata"]["uid"], name)
    if not test.remove(name):
        raise Failed(f"a pod is not deleted: {c.said(name)}")
    return took


def measure_start(test, rounds, say, table):
    from simulated import STUBS
    c, m = test.cluster, test.machine
    m.do(f"daemon gpus /usr/bin/python3 {PROJECT}/tests/kubernetes/gpus.py $CLUSTER/kubelet-10.0.2.2.kubeconfig numa {STUBS} 0")
    if not eventually(lambda: any(s["spec"]["driver"] == "gpu.example.com" for s in c.items(SLICES))):
        raise Failed("the driver in Python does not publish")
    c.create(CLASSES, {"metadata": {"name": "gpu"}, "spec": {
        "selectors": [{"cel": {"expression": 'device.driver == "gpu.example.com"'}}]}})
    kinds = {"without a claim": None, "a do-nothing driver in Python": {"deviceClassName": "gpu"},
             "numastow, shared CPUs": {"deviceClassName": "numastow-shared", "capacity": {"requests": {"cpus": "1", "memory": "64Mi"}}},
             "numastow, 2 exclusive CPUs, 8 MiB of hugepages": {"deviceClassName": "numastow-exclusive", "capacity": {
                 "requests": {"cpus": "2", "memory": "64Mi", "hugepages2Mi": "8Mi"}}}}
    took = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for which, (kind, claim) in enumerate(kinds.items()):
            value = one_start(test, f"start-{number}-{which}", claim)
            if number:  # the first time everything is read from the disk
                took[kind].append(value)
    m.do("end gpus")
    say(f"A pod's start in the virtual machine, from kubelet's first sight of it to the container's first line ({rounds} each, in turn)")
    plain, theirs = (statistics.median(took[kind]) for kind in list(kinds)[:2])
    rows = [["", "median", "lowest", "highest", "added", "ratio of what is added"]]
    for number, (kind, values) in enumerate(took.items()):
        middle = statistics.median(values)
        rows.append([kind, seconds(middle), seconds(min(values)), seconds(max(values)), seconds(middle - plain) if number else "",
                     f"{(middle - plain) / (theirs - plain):.2f}x the one in Python" if number > 1 and theirs > plain else ""])
    table(rows)


def measure_hotadd(test, runs, say, table):
    code, out = test.machine.run(f"/usr/bin/python3 {HERE}/slice_delay.py $run/agent.kubeconfig {runs}")
    found = [line.split() for line in out.splitlines()]
    if code or len(found) != 2 * runs:
        raise Failed(f"no changed slice: {out[-500:]}")
    say(f"From a change of memory (one block of 128 MiB) to the changed slice at a reader of the API server ({runs} each, in turn)")
    rows = [["", "p50", "p99", "the kernel's part, p50"]]
    for state in ("online", "offline"):
        whole = [int(row[2]) / 1e6 for row in found if row[0] == state]
        kernel = [int(row[1]) / 1e6 for row in found if row[0] == state]
        rows.append([f"a block goes {state}", f"{percentile(whole, 50):.3f} s", f"{percentile(whole, 99):.3f} s",
                     f"{percentile(kernel, 50):.3f} s"])
    table(rows)


def measure_machine(runs, say, table):
    folder = f"{FOLDER}/machine"
    cluster = make_cluster(folder)
    try:
        with cluster, open(f"{folder}/said", "w", encoding="utf-8") as said:
            if not cluster.wait():
                raise Failed(f"the control plane does not start: {cluster.dead()}")
            cluster.account("agent")
            cluster.device_class("numastow-exclusive", {"cpuMode": "exclusive"})
            cluster.device_class("numastow-shared")
            with Machine(cluster, "v2-dimm", f"{folder}/machine.log") as machine:
                test = Test(cluster, machine)
                with contextlib.redirect_stdout(said):
                    ready = test.start_node()
                if not ready:
                    raise Failed(f"the virtual machine does not get ready: {folder}")
                measure_start(test, max(runs // 30, 1), say, table)
                measure_hotadd(test, max(runs // 6, 1), say, table)
                machine.end(0)
    except Unavailable as why:
        say(f"A machine of the cluster: skipped, {why}\n")


def measure_kubernetes(runs, say, table):
    try:
        where = find_parts(*MACHINE_NEEDS)
    except Unavailable as why:
        say(f"Kubernetes: skipped, {why}\n")
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    for measure in (lambda: measure_scheduling(where, max(runs // 100, 1), say, table),
                    lambda: measure_memory(where, say, table), lambda: measure_machine(runs, say, table)):
        try:
            measure()
        except Failed as why:
            say(f"Kubernetes FAILED: {why}\n")
