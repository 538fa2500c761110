# SPDX-License-Identifier: Apache-2.0
"""A machine that Kubernetes places pods on, and what can be seen of them there."""
import json

from cluster import CLAIMS, PODS, SLICES, eventually
from harness import BUILD, check, parse_list, same

NODE = "/api/v1/nodes/numa"
PAGES = 32  # of 2 MiB, on each NUMA node


class Test:
    def __init__(self, cluster, machine):
        self.cluster, self.machine = cluster, machine

    # --- the node --------------------------------------------------------------------------------

    def start_node(self):
        return all(check(what, done) for what, done in self.node_steps())

    def node_steps(self):
        """Steps to a machine that Kubernetes places on, each with what it returned; the next one is tried when asked for."""
        c, m = self.cluster, self.machine
        yield "the machine boots", m.wait()
        self.make_pages()
        m.do("start_containerd")
        yield "containerd has the image", eventually(lambda: m.run("import_image")[0] == 0)
        m.do("start_kubelet")
        yield "kubelet registers the machine", eventually(lambda: c.get(NODE))
        # Taken off by the node lifecycle controller, which does not run here.
        eventually(lambda: any(x["type"] == "MemoryPressure" for x in c.get(NODE)["status"].get("conditions", [])))
        c.patch(NODE, {"spec": {"taints": None}})
        token = c.account_token("agent", "numa")
        m.do(f"cat >$run/agent.kubeconfig <<'END'\n{json.dumps(c.credentials(token, '10.0.2.2'))}\nEND")
        self.start_programs()
        yield "the agent publishes both NUMA nodes", eventually(lambda: len(self.published()) == 2)

    def make_pages(self):
        """Before kubelet starts, which looks only then."""
        for node in (0, 1):
            self.machine.do(f"echo {PAGES} >/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages")

    def start_programs(self):
        self.machine.do("start_scheduler")
        self.machine.do("start_agent")

    def published(self):
        return {d["name"]: d for s in self.cluster.items(SLICES) if s["spec"].get("driver") == "numastow.io"
                for d in s["spec"].get("devices", [])}

    def registered_again(self, before):
        """Kubelet knows the agent anew, and the slices, which it deletes when it starts, are there."""
        again = eventually(lambda: int(self.machine.out("registrations") or 0) > before)
        return again and eventually(lambda: len(self.published()) == 2)

    def registrations(self):
        return int(self.machine.out("registrations") or 0)

    # --- pods ------------------------------------------------------------------------------------

    def uid(self, pod):
        return (self.cluster.get(f"{PODS}/{pod}") or {}).get("metadata", {}).get("uid")

    def running(self, pod, after=-1, name="main"):
        """(container's ID, what the kernel says of it) once it runs, restarted more than `after` times."""
        def found():
            container = self.cluster.container(pod, name)
            return container if container and container[1] > after else None
        container = eventually(found)
        if not container:
            print(f"#   {pod}: {self.cluster.said(pod)}", flush=True)
            return None, {}
        return container[0], eventually(lambda: self.machine.seen(self.uid(pod), container[0])) or {}

    def placed(self, what, pod, cpus):
        """It runs on `cpus` CPUs of the NUMA node that its claim was allocated, and there only."""
        container, seen = self.running(pod)
        devices = self.cluster.devices(f"{pod}-claim")
        if not check(f"{what} runs", container, self.cluster.said(pod)):
            return None, {}, None
        node = int(devices[0].removeprefix("node"))
        mine = parse_list(seen["allowed"])
        same(f"{what}: its set is what its process has", parse_list(seen["cpus"]), mine)
        check(f"{what}: {cpus} CPUs of the allocated NUMA node {node}",
              len(mine) == cpus and mine <= set(range(4 * node, 4 * node + 4)), seen)
        same(f"{what}: the memory of that NUMA node", (seen["mems"], seen["allowed_mems"]), (str(node), str(node)))
        return container, seen, node

    def make(self, name, parameters=None, args=("sleep", "100000"), **capacity):
        self.cluster.claim(f"{name}-claim", parameters, **capacity)
        self.cluster.pod(name, f"{name}-claim", args)

    def remove(self, *names):
        for name in names:
            self.cluster.delete(f"{PODS}/{name}")
            self.cluster.delete(f"{CLAIMS}/{name}-claim")
        return eventually(lambda: not any(self.cluster.get(f"{PODS}/{n}") or self.cluster.get(f"{CLAIMS}/{n}-claim")
                                          for n in names))

    def promises(self, when):
        code, out = self.machine.run(f"{BUILD}/tests/tools/check-cpus --wait 60")
        check(f"{when}: every thread runs where the ledger says", code == 0, out)

    def event(self, pod, text):
        return eventually(lambda: next((line for line in self.cluster.said(pod).splitlines() if text in line), None))

    def records(self):
        return self.machine.ledger()["containers"]
