#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Show numastow on a stock Kubernetes, on this machine: a control plane, and a NUMA virtual machine as its node.

usage: tests/kubernetes/demo.py [--test]        (`make demo-kubernetes` builds first)

Pods by claim and by annotations, a refusal, a fence, a drain that evicts a pod. Every promise that is shown is also
checked; the exit code is 1 when one was not kept. It ends by itself, within the hour, and removes what it made.
With --test it ends with the counts of a test, and is skipped where something is missing.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time

from cluster import CLAIMS, HERE, PODS, Unavailable, eventually, quantity
from workloads import WithControllers, numastow_scheduler
from daemons import free_port
from harness import BUILD, MIB, PROJECT, finish as finish_test, parse_list, skip
from node import Test
from vm import Machine, make_cluster

FOLDER = f"{PROJECT}/build/kubernetes-demo"
SHAPE = "v2-dimm"
TEST = "--test" in sys.argv[1:]
LONGEST = 3600  # seconds, for all of it
WIDTH = 110
BOLD, DIM, RED, PLAIN = ("\033[1m", "\033[2m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 4


class Stop(Exception):
    """There is no use in going on; the text says why."""


class Screen:
    """What a person reads: titles, words, commands with their output, and whether promises were kept."""

    def __init__(self):
        self.steps, self.kept, self.broken = 0, 0, []

    def step(self, title, words):
        self.steps += 1
        print(f"\n\n{BOLD}{self.steps}. {title}{PLAIN}", flush=True)
        self.words(words)

    def words(self, text):
        print("\n" + textwrap.fill(" ".join(text.split()), WIDTH), flush=True)

    def command(self, prompt, text):
        print(f"\n  {BOLD}{prompt} {text}{PLAIN}", flush=True)

    def output(self, text):
        for line in text.splitlines():
            print(f"  {line}".rstrip(), flush=True)

    def promise(self, text, kept, why=""):
        if kept:
            self.kept += 1
            print(f"\n  {DIM}kept{PLAIN}    {text}", flush=True)
        else:
            self.broken.append(text)
            print(f"\n  {RED}BROKEN{PLAIN}  {text}{f': {why}' if why else ''}", flush=True)
        return bool(kept)


class Demo(Test):
    """What is shown, one function for each step."""

    def __init__(self, cluster, machine, screen, fleet):
        super().__init__(cluster, machine)
        self.screen, self.fleet = screen, fleet
        self.environment = {**os.environ, "KUBECONFIG": cluster.kubeconfig("admin"),
                            "PATH": f"{cluster.parts}:{BUILD}:{os.environ['PATH']}"}

    # --- commands --------------------------------------------------------------------------------

    def here(self, command, patience=1200):
        """A command of this machine, with its output as it comes. Returns (exit code, output)."""
        self.screen.command("$", command)
        lines = []
        with subprocess.Popen(["timeout", str(patience), "bash", "-c", command], cwd=FOLDER, env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            for line in process.stdout:
                lines.append(line)
                self.screen.output(line)
        return process.returncode, "".join(lines)

    def there(self, command):
        """A command of the virtual machine."""
        self.screen.command("numa#", command)
        code, out = self.machine.run(f"PATH=$PROGRAMS:$PATH\n{command}")
        self.screen.output(out)
        return code, out

    def start_programs(self):
        tls = " ".join(f"--{option} $CLUSTER/fleet/agent/numa/{file}" for option, file in (
            ("ca", "ca.crt"), ("certificate", "tls.crt"), ("key", "tls.key")))
        # Emulated, and on a busy machine, a memory block may take its time.
        self.machine.do(f"FLEET=10.0.2.2:{self.fleet} start_agent {tls} --drain-block-timeout 10m --drain-timeout 30m")

    # --- what is true ----------------------------------------------------------------------------

    def node_of(self, pod):
        """The NUMA node that the pod's claim was allocated."""
        status = (self.cluster.get(f"{PODS}/{pod}") or {}).get("status", {})
        for claim in status.get("resourceClaimStatuses", []):
            found = self.cluster.devices(claim["resourceClaimName"])
            if found:
                return int(found[0].removeprefix("node"))
        return None

    def runs(self, pod, container, cpus=None):
        """Its process may run and have memory on the NUMA node that its claim was allocated, and there only."""
        one = eventually(lambda: self.cluster.container(pod, container))
        if not self.screen.promise(f"{pod} runs", one, self.cluster.said(pod)):
            return None
        node = self.node_of(pod)
        seen = eventually(lambda: self.machine.seen(self.uid(pod), one[0])) or {}
        self.there(f"grep allowed_list /proc/{seen.get('pid')}/status")
        mine = parse_list(seen.get("allowed", ""))
        self.screen.promise(
            f"the kernel lets {pod} run on {f'{cpus} CPUs' if cpus else 'CPUs'} and use memory of NUMA node {node}, and of "
            f"no other", mine and mine <= set(range(4 * node, 4 * node + 4)) and (not cpus or len(mine) == cpus) and
            seen.get("allowed_mems") == str(node), seen)
        return node

    def replica(self, other_than=None):
        """The name of the Deployment's pod."""
        for pod in self.cluster.items(PODS):
            meta = pod["metadata"]
            if meta.get("labels", {}).get("app") == "db" and "deletionTimestamp" not in meta and meta["name"] != other_than:
                return meta["name"]
        return None

    # --- steps -----------------------------------------------------------------------------------

    def the_cluster(self):
        screen = self.screen
        screen.step("The machine, and what Kubernetes knows of it", """
            A virtual machine with kubelet, containerd and numastow-agent joins the cluster. It has two NUMA nodes of four CPUs
            and 2 GiB, and in NUMA node 1 a DIMM of 1 GiB more. The agent publishes each NUMA node as a device (Dynamic
            Resource Allocation); nothing of Kubernetes was changed.""")
        began = time.monotonic()
        for what, done in self.node_steps():
            if not done:
                raise Stop(f"the virtual machine does not get ready ({what})")
            screen.output(f"{time.monotonic() - began:4.0f} s  {what}")
        if not self.machine.do("dimm_online"):
            raise Stop("the DIMM does not come online")
        memory = MIB * 2600
        eventually(lambda: self.memory(1) > memory)
        self.here("kubectl get nodes -o custom-columns=NAME:.metadata.name,CPU:.status.allocatable.cpu,MEMORY:.status.allocatable.memory")
        self.here("kubectl get resourceslices")
        _, out = self.here("kubectl numastow nodes")
        screen.promise("Kubernetes knows both NUMA nodes, and the DIMM's memory", len(self.published()) == 2 and
                       self.memory(1) > memory and "node1" in out, out)

    def memory(self, node):
        return quantity(self.published().get(f"node{node}", {}).get("capacity", {}).get("memory", {}).get("value", "0"))

    def by_claim(self):
        self.screen.step("A pod by claim", """
            The claim names amounts. The stock kube-scheduler chooses machine and NUMA node; the agent and the hook make that
            true in the container's cgroup.""")
        self.here("cat web.yaml")
        self.here("kubectl apply -f web.yaml")
        self.here("kubectl wait --for=condition=Ready pod/web --timeout=15m")
        self.runs("web", "server", 3)
        self.here("kubectl numastow where pod/web --config fleet.yaml")

    def by_annotations(self):
        self.screen.step("A pod by annotations", """
            numastow-scheduler's webhook makes a claim of the annotations, so that the same YAML works with Podman. NUMA node 0
            has one CPU left that is nobody's own, so a request for two goes to NUMA node 1.""")
        self.here("cat db.yaml")
        self.here("kubectl apply -f db.yaml")
        self.here("kubectl rollout status deployment/db --timeout=15m")
        pod = self.replica()
        self.here(f"kubectl get pod {pod} -o jsonpath='{{.spec.resourceClaims}}'; echo")
        node = self.runs(pod, "postgres")
        self.screen.promise("that is the other NUMA node", node == 1, node)
        self.here("kubectl numastow nodes")

    def refused(self):
        screen = self.screen
        screen.step("A refusal", """
            Three CPUs are left, but not on one NUMA node. The pod is Pending: it would be slow anywhere. Kubernetes says
            "cannot allocate all claims"; `kubectl numastow explain` says which NUMA node lacks what.""")
        self.here("cat batch.yaml")
        self.here("kubectl apply -f batch.yaml")
        eventually(lambda: "FailedScheduling" in self.cluster.said("batch"))
        self.here("kubectl get pod batch")
        self.here("kubectl get events --field-selector involvedObject.name=batch -o custom-columns=REASON:.reason,MESSAGE:.message")
        _, out = self.here("kubectl numastow explain pod/batch")
        screen.promise("the reason is there, in numbers", "fits only in sum of its NUMA nodes" in out and
                       "1 of 4 cpus left, 3 asked for" in out, out)
        screen.words("Then the first pod goes, and the one that waited takes its place.")
        self.here("kubectl delete pod web")
        self.here("kubectl wait --for=condition=Ready pod/batch --timeout=15m")
        self.runs("batch", "worker", 3)

    def fenced(self):
        screen = self.screen
        screen.step("A fence", """
            A fence keeps new pods off a NUMA node, such as before its memory is replaced, and lets running ones be. The agent
            publishes it as a taint of the device.""")
        before = self.cluster.container("batch", "worker")
        code, _ = self.here("kubectl numastow fence numa 0 --config fleet.yaml")
        screen.promise("the fence is there", code == 0 and eventually(lambda: self.published()["node0"].get("taints")),
                       self.published())
        self.here("kubectl numastow nodes")
        screen.words("One CPU is left on NUMA node 0, and kube-scheduler would take that one first. The next pod has to go to NUMA node 1.")
        self.here("cat cache.yaml")
        self.here("kubectl apply -f cache.yaml")
        self.here("kubectl wait --for=condition=Ready pod/cache --timeout=15m")
        screen.promise("the new pod is on NUMA node 1", self.runs("cache", "server") == 1, self.node_of("cache"))
        screen.promise("the running pod has not noticed", self.cluster.container("batch", "worker") == before)
        self.here("kubectl numastow unfence numa 0 --config fleet.yaml")
        screen.promise("the fence is lifted", eventually(lambda: not self.published()["node0"].get("taints")))

    def drained(self):
        screen, c = self.screen, self.cluster
        screen.step("A drain, with an eviction", """
            The DIMM of NUMA node 1 has to leave the running machine. The Deployment's pod has memory in it, and says "drain:
            evict": Kubernetes evicts it (pods/eviction, so disruption budgets count), the Deployment makes it anew, and
            kube-scheduler places that on NUMA node 0. Then the memory goes offline, and the DIMM is ejected.""")
        self.here("kubectl delete pod batch cache")
        eventually(lambda: not any(c.get(f"{PODS}/{pod}") for pod in ("batch", "cache")))
        old, memory = self.replica(), self.memory(1)
        self.there("numastow blocks")
        code, out = self.here("kubectl numastow drain numa 1 --eject --config fleet.yaml", 2400)
        screen.promise("the drain is done", code == 0, out[-300:])
        new = eventually(lambda: self.replica(old))
        if screen.promise("the pod was evicted, and made anew", new, c.said(old)):
            self.here("kubectl get events --field-selector reason=MemoryDrain "
                      "-o custom-columns=POD:.involvedObject.name,MESSAGE:.message")
            self.here("kubectl rollout status deployment/db --timeout=15m")
            screen.promise("it is on the other NUMA node", self.runs(new, "postgres") == 0, self.node_of(new))
        screen.promise("the DIMM has gone from the machine", eventually(
            lambda: not self.machine.out("dimm_name")), self.machine.out("dimm_name"))
        screen.promise("its memory is not offered any more, and the fence is lifted", eventually(
            lambda: self.memory(1) == memory - 1024 * MIB and not self.published()["node1"].get("taints")),
            self.published().get("node1"))
        self.here("kubectl numastow nodes")

    def cleaned_up(self):
        screen, c = self.screen, self.cluster
        screen.step("Nothing is left", """
            The pods are deleted. The ledger of the machine is empty, and so is the folder of CDI files, by which the runtime
            was told to call the hook.""")
        # The garbage collector, which would delete the pods with the Deployment, does not run here.
        self.here("kubectl scale deployment db --replicas=0")
        self.here("kubectl wait --for=delete pod -l app=db --timeout=15m")
        self.here("kubectl delete deployment db; kubectl delete resourceclaimtemplates --all")
        gone = eventually(lambda: not c.items(PODS) and not c.items(CLAIMS) and not self.records())
        self.there("numastow ledger")
        _, files = self.there("ls -A /run/cdi")
        self.here("kubectl numastow nodes")
        screen.promise("no pod, no claim, no lease and no CDI file is left", gone and not files.strip(),
                       (c.items(PODS), self.records(), files))

    def show(self):
        for step in (self.the_cluster, self.by_claim, self.by_annotations, self.refused, self.fenced, self.drained,
                     self.cleaned_up):
            step()


# --- around it --------------------------------------------------------------------------------------


def make_fleet_certificates():
    """For numastow's own connections: agent and operator to numastow-scheduler."""
    for words in (["init"], ["scheduler", "127.0.0.1", "10.0.2.2"], ["agent", "numa"], ["client", "operator", "read", "drain"]):
        subprocess.run([f"{PROJECT}/deploy/numastow-ca", words[0], f"{FOLDER}/fleet", *words[1:]], check=True,
                       stdout=subprocess.DEVNULL)


def write_client(port):
    with open(f"{FOLDER}/fleet.yaml", "w", encoding="ascii") as out:
        client = f"{FOLDER}/fleet/client/operator"
        out.write(f"scheduler: 127.0.0.1:{port}\nca: {client}/ca.crt\ncertificate: {client}/tls.crt\nkey: {client}/tls.key\n")


def version():
    """Kubernetes', of the parts that were built."""
    with open(f"{HERE}/go.mod", encoding="ascii") as handle:
        return re.search(r"k8s\.io/kubernetes v(\S+)", handle.read())[1]


def whole(cluster, screen):
    port = free_port()
    screen.step("A stock control plane", f"""
        etcd, and kube-apiserver, kube-scheduler and kube-controller-manager {version()}, unchanged, on this machine's
        loopback; beside them numastow-scheduler, with its webhook and controllers. Commands with "$" run here, with
        KUBECONFIG set to this cluster; those with "numa#" in the virtual machine.""")
    if not cluster.wait():
        raise Stop(f"the control plane does not start; ended: {', '.join(cluster.dead()) or 'none'}")
    cluster.account("agent")
    make_fleet_certificates()
    write_client(port)
    tls = f"{FOLDER}/fleet/scheduler/127.0.0.1"
    with numastow_scheduler(cluster, "--ca", f"{tls}/ca.crt", "--certificate", f"{tls}/tls.crt", "--key", f"{tls}/tls.key",
                            listen=f"127.0.0.1:{port}") as (program, leads):
        if not leads:
            raise Stop(f"numastow-scheduler does not start: {''.join(program.so_far()[-3:])}")
        with Machine(cluster, SHAPE, f"{FOLDER}/machine.log") as machine:
            demo = Demo(cluster, machine, screen, port)
            demo.show()
            screen.promise("the machine's kernel has not complained", machine.end(0) == 0)
    screen.promise("every program of the control plane went on to the end", not cluster.dead(), cluster.dead())


def processes_of(folder):
    """Processes that name the folder, as all that were started here do."""
    found = []
    for pid in (name for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as handle:
                if folder.encode() in handle.read():
                    found.append(pid)
        except OSError:
            pass
    return found


def end_by_itself(signum, _):
    print(f"\nmake demo-kubernetes: {'it takes more than an hour' if signum == signal.SIGALRM else 'interrupted'}; "
          "ending everything", file=sys.stderr, flush=True)
    sys.exit(128 + signum)


def prepare():
    cluster = make_cluster(FOLDER, WithControllers)
    for name in os.listdir(f"{HERE}/demo"):
        shutil.copy(f"{HERE}/demo/{name}", FOLDER)
    return cluster


def finish(screen, began):
    gone = eventually(lambda: not processes_of(FOLDER), 60)
    screen.promise("no process of the demonstration is left", gone, processes_of(FOLDER))
    if not screen.broken:
        shutil.rmtree(FOLDER)
        screen.promise("nor one of its files", not os.path.exists(FOLDER))
    print(f"\n{screen.kept} promises were kept, in {(time.monotonic() - began) / 60:.0f} minutes. What was built is left: the "
          "programs in build, and the stock parts in the cache.")
    if screen.broken:
        print(f"Not kept: {'; '.join(screen.broken)}. Logs are in {FOLDER}.")
    if TEST:
        print(f"{screen.kept} passed, {len(screen.broken)} failed, 0 skipped")
    return 1 if screen.broken else 0


def main():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, end_by_itself)
    signal.alarm(LONGEST)
    screen, began = Screen(), time.monotonic()
    alone = socket.socket(socket.AF_UNIX)
    try:
        alone.bind(f"\0numastow-demo-{FOLDER[-80:]}")
    except OSError:
        print("make demo-kubernetes: another one is at work in this folder", file=sys.stderr)
        return 1
    try:
        with prepare() as cluster:
            whole(cluster, screen)
    except SystemExit:
        shutil.rmtree(FOLDER, ignore_errors=True)
        raise
    except Unavailable as why:
        if TEST:
            skip("stock Kubernetes", why)
            finish_test()
        print(f"make demo-kubernetes: {why}", file=sys.stderr)
        return 1
    except Stop as why:
        print(f"\nmake demo-kubernetes: {why}" + (f"; logs are in {FOLDER}" if os.path.isdir(FOLDER) else ""), file=sys.stderr)
        return 1
    return finish(screen, began)


if __name__ == "__main__":
    sys.exit(main())
