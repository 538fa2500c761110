#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes as it is, on a stock Kubernetes with a NUMA virtual machine: `kubectl apply -k`, the agent in its pod,
with its own service account, capabilities and policies; a pod with a claim; an update and its undoing; one with maxSurge 0; the
removal.

usage: tests/kubernetes/deployed.py [--systemd] [--next FOLDER]

With --systemd the machine has systemd, and kubelet its cgroup driver; without, the component without-systemd is used.
With --next the update is to the programs of that folder, such as an earlier commit's build/release, but not below /tmp, which
the machine has for itself; without, to the same programs.
"""
import os
import shutil
import subprocess
import sys

from cluster import NAMESPACE, Cluster, eventually
from harness import BUILD, PROJECT, check, same
from image import write_image
from node import NODE, Test
from vm import Machine, run_with_machines

NAME = "localhost/numastow"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
# DAC_OVERRIDE, KILL, SYS_PTRACE, SYS_ADMIN, SYS_NICE, SYSLOG: linux/capability.h
CAPABILITIES = (1, 5, 19, 21, 23, 34)
SYSTEMD = "--systemd" in sys.argv[1:]
NEXT = os.path.realpath(sys.argv[sys.argv.index("--next") + 1]) if "--next" in sys.argv[1:] else BUILD
SHELL = ("sh", "basename", "chmod", "cmp", "cp", "dirname", "mv", "nsenter", "readlink", "rm", "stat", "sync")
# What differs from a cluster: there is no network for pods, so that the agent has the machine's (and two of them on one
# machine cannot both name a port), and the API server is not where the Service would be.
KUSTOMIZATION = """
resources: [{base}]
components: [{components}]
patches:{more}
- patch: |
    apiVersion: apps/v1
    kind: DaemonSet
    metadata: {{name: numastow-agent, namespace: numastow-system}}
    spec:
      template:
        spec:
          hostNetwork: true
          containers:
          - name: agent
            env:
            - {{name: KUBERNETES_SERVICE_HOST, value: 10.0.2.2}}
            - {{name: KUBERNETES_SERVICE_PORT, value: "{port}"}}
- target: {{kind: DaemonSet}}
  patch: |
    - {{op: remove, path: /spec/template/spec/containers/0/ports}}
    - {{op: replace, path: /spec/template/spec/containers/0/livenessProbe/httpGet/port, value: 7201}}
"""


def make_images(folder):
    """numastow's image, and the one that it is updated to."""
    with open(f"{PROJECT}/VERSION", encoding="ascii") as handle:
        version = handle.read().strip()
    tags = {}
    for tag, programs in ((version, BUILD), ("next", NEXT)):
        tags.setdefault(programs, []).append(tag)
    for programs, names in tags.items():
        write_image(f"{folder}/numastow-{names[0]}.tar", [f"{NAME}:{tag}" for tag in names], {
            **{f"/usr/bin/{program}": shutil.which(program) for program in SHELL},
            "/usr/bin/numastow": f"{programs}/numastow", "/usr/sbin/numastow-agent": f"{programs}/numastow-agent",
            "/usr/sbin/numastow-scheduler": f"{programs}/numastow-scheduler",
            "/usr/libexec/numastow/numastow-hook": f"{programs}/numastow-hook",
            "/usr/libexec/numastow/numastow-scope": f"{programs}/numastow-scope",
            **{f"/usr/libexec/numastow/{file}": f"{BUILD}/{file}" for file in ("numastow-setup", "base-runtime-spec.json")},
            "/usr/libexec/numastow/place": f"{PROJECT}/deploy/kubernetes/place"}, [("/bin", "usr/bin"), ("/var/run", "../run")])


class WithAccounts(Cluster):
    """With service accounts, the controller of DaemonSets, and numastow's images in its folder."""

    def __init__(self, folder, parts):
        super().__init__(folder, parts)
        make_images(folder)

    def start(self, name, *argv):
        argv = list(argv)
        if name == "kube-apiserver":
            at = argv.index("--disable-admission-plugins")
            del argv[at:at + 2]
        elif name == "kube-controller-manager":
            argv[argv.index("--controllers") + 1] += ",daemonset-controller,serviceaccount-controller," \
                "root-ca-certificate-publisher-controller,garbage-collector-controller"
            argv += ["--root-ca-file", f"{self.folder}/ca.crt", "--use-service-account-credentials=false"]
        super().start(name, *argv)

    def kubectl(self, *words):
        return subprocess.run([f"{self.parts}/kubectl", "--kubeconfig", self.kubeconfig("admin"), *words], check=False,
                              capture_output=True, text=True, timeout=300)


class Deployed:
    components = () if SYSTEMD else ("without-systemd",)
    patches = ""

    def __init__(self, cluster, machine, test):
        self.c, self.m, self.test = cluster, machine, test
        self.folder = f"{cluster.folder}/overlay"
        self.most = 0  # agents at a time, during an update
        os.makedirs(self.folder)

    def apply(self):
        at = lambda path: os.path.relpath(f"{PROJECT}/deploy/kubernetes/{path}", self.folder)
        text = KUSTOMIZATION.format(base=at("base"), port=self.c.port, more=self.patches.format(port=self.c.port),
                                    components=", ".join(at(f"components/{c}") for c in self.components))
        with open(f"{self.folder}/kustomization.yaml", "w", encoding="ascii") as out:
            out.write(text)
        done = self.c.kubectl("apply", "-k", self.folder)
        return check("the base is applied", done.returncode == 0, done.stderr)

    def agents(self, component="agent"):
        """(name, UID, container) of the agent's pods that run, or another component's."""
        selected = f"{PODS}?labelSelector=app.kubernetes.io/component={component}"
        return [(p["metadata"]["name"], p["metadata"]["uid"], s["containerID"]) for p in self.c.items(selected)
                for s in p.get("status", {}).get("containerStatuses", []) if "running" in s.get("state", {})]

    def said(self):
        events = self.c.items(f"/api/v1/namespaces/{NAMESPACE}/events")
        return [f"{e.get('reason')}: {e.get('message')}" for e in events][-8:] + [
            self.m.out("tail -n 5 /var/log/pods/numastow-system_*/*/*.log")]

    def start_node(self):
        if not check("the machine boots", self.m.wait()):
            return False
        self.test.make_pages()
        self.m.do("start_containerd")
        if not check("containerd has the images", eventually(lambda: self.m.run("import_image")[0] == 0) and self.m.do(
                'for tar in "$CLUSTER"/numastow-*.tar; do "$PARTS/ctr" -n k8s.io images import --local "$tar" || exit; done')):
            return False
        self.m.do("start_kubelet")
        if not check("kubelet registers the machine", eventually(lambda: self.c.get(NODE))):
            return False
        eventually(lambda: any(x["type"] == "MemoryPressure" for x in self.c.get(NODE)["status"].get("conditions", [])))
        self.c.patch(NODE, {"spec": {"taints": None}})
        return True

    def first(self):
        check("the agent's pod runs", eventually(lambda: len(self.agents()) == 1), self.said())
        published = eventually(lambda: len(self.test.published()) == 2)
        if not check("it publishes both NUMA nodes", published, self.said()):
            return False
        pid = self.m.out("pidof numastow-agent")
        sets = self.m.out(f"awk '/^Cap(Eff|Bnd):/ {{ print $2 }}' /proc/{pid}/status").split()
        same("its capabilities are those that the manifest names, and it can have no others",
             [int(one, 16) for one in sets], [sum(1 << bit for bit in CAPABILITIES)] * 2)
        same("its cgroup namespace is the machine's", self.m.out(f"readlink /proc/{pid}/ns/cgroup"),
             self.m.out("readlink /proc/1/ns/cgroup"))
        if SYSTEMD:
            check("it can ask systemd", self.m.do(f"test -S /proc/{pid}/root/run/dbus/system_bus_socket && "
                                                  f"test -d /proc/{pid}/root/run/systemd/system"))
        check("the hook is on the machine", self.m.do("/opt/numastow/bin/numastow-hook --version"))
        return True

    def update(self):
        """To another image and back, while pods with claims run."""
        self.rolls("an update", NEXT, "set", "image", "daemonset/numastow-agent", f"*={NAME}:next")
        self.restarts("after the update", "a")
        check("after the update a pod from before is deleted, and its lease", self.test.remove("short") and eventually(
            lambda: len([r for r in self.test.records() if r["state"] == "lease"]) == 1), self.test.records())
        self.test.make("b", cpus=2)
        self.test.placed("a pod after the update", "b", 2)
        self.test.promises("after an update")
        self.rolls("its undoing", BUILD, "rollout", "undo", "daemonset/numastow-agent")
        self.restarts("after the undoing", "b")
        check("the first is deleted, and its lease", self.test.remove("a") and eventually(lambda: len(
            [r for r in self.test.records() if r["state"] == "lease"]) == 1), self.test.records())
        self.test.make("c", cpus=3)
        self.test.placed("a pod after the undoing", "c", 3)
        self.test.promises("after the undoing")
        check("it is deleted", self.test.remove("c"), self.c.said("c"))

    def update_without_surge(self):
        """The old agent ends before the new one begins; a pod that is made meanwhile waits, and runs."""
        done = self.c.kubectl("-n", NAMESPACE, "patch", "daemonset", "numastow-agent", "--patch",
                              '{"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}}')
        check("maxSurge is set to 0", done.returncode == 0, done.stderr)
        self.rolls("an update without surge", NEXT, "set", "image", "daemonset/numastow-agent", f"*={NAME}:next",
                   during=lambda: self.test.make("between", cpus=1))
        check("never were there two agents", self.most == 1, self.most)
        self.test.placed("the pod from between", "between", 1)
        self.restarts("after the update without surge", "b")
        self.test.promises("after an update without surge")
        check("the pod is deleted", self.test.remove("between"), self.c.said("between"))

    def restarts(self, when, pod):
        """In place: it has what it had, also from another version's hook."""
        container, seen = self.test.running(pod)
        restarts = self.c.container(pod)[1]
        self.m.do(f"kill -KILL {seen['pid']}")
        again = self.test.running(pod, restarts)
        check(f"{when} {pod} restarts in place", again[0] and again[0] != container, self.c.said(pod))
        same(f"{when} {pod} has the same CPUs", again[1].get("cpus"), seen["cpus"])

    def replaced(self, old):
        """The agents, once they are one that is not among the old ones."""
        now = self.agents()
        self.most = max(self.most, len(now))
        return now if len(now) == 1 and now[0] not in old else None

    def rolls(self, what, programs, *words, during=None):
        """A new pod takes the old one's place; it has those programs."""
        old, self.most = self.agents(), 0
        containers = {pod: self.c.container(pod) for pod in ("a", "b")}
        done = self.c.kubectl("-n", NAMESPACE, *words)
        check(f"{what} begins", done.returncode == 0, done.stderr)
        if during:
            during()
        new = eventually(lambda: self.replaced(old))
        check(f"{what}: the new agent's pod takes the old one's place", new, (self.agents(), self.said()))
        check("kubelet knows it by a socket of its own",
              eventually(lambda: new and self.m.out("ls /var/lib/kubelet/plugins_registry").split() ==
                         [f"numastow.io-{new[0][1]}-reg.sock"]), self.m.out("ls /var/lib/kubelet/plugins_registry"))
        check(f"{what}: the agent, and the hook on the machine, are those of the image", self.m.do(
            f"cmp /proc/$(pidof numastow-agent)/exe {programs}/numastow-agent && "
            f"cmp /opt/numastow/bin/numastow-hook {programs}/numastow-hook"))
        same("the running pods have not noticed", {pod: self.c.container(pod) for pod in containers}, containers)
        check("both NUMA nodes are published", eventually(lambda: len(self.test.published()) == 2), self.said())

    def removal(self):
        """The agent goes; a container restarts."""
        done = self.c.kubectl("-n", NAMESPACE, "delete", "daemonset", "numastow-agent", "--wait=false")
        check("the DaemonSet is deleted", done.returncode == 0, done.stderr)
        check("the agent has gone", eventually(lambda: not self.c.items(PODS) and not self.m.out("pidof numastow-agent")))
        check("the hook has stayed", self.m.do("/opt/numastow/bin/numastow-hook --version"))
        self.restarts("without the agent", "b")


def whole(cluster):
    with Machine(cluster, "v2-systemd" if SYSTEMD else "v2", f"{cluster.folder}/machine.log") as machine:
        test = Test(cluster, machine)
        deployed = Deployed(cluster, machine, test)
        if deployed.start_node() and deployed.apply() and deployed.first():
            test.make("a", cpus=3)
            test.placed("a pod with a claim", "a", 3)
            test.make("short", cpus=1)
            test.placed("another one", "short", 1)
            deployed.update()
            deployed.update_without_surge()
            deployed.removal()
        same("the kernel has not complained", machine.end(0), 0)


if __name__ == "__main__":
    run_with_machines(f"kubernetes-deployed{'-systemd' if SYSTEMD else ''}", whole, WithAccounts)
