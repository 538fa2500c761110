# SPDX-License-Identifier: Apache-2.0
"""The agent's NodeResourceTopology on a stock API server, with the definition of the project that has it: with the rights
and policies of deploy/kubernetes, beside another program that applies the same object."""
import contextlib
import os

from api import AGENT as ACCOUNT
from api import As
from cluster import HERE, Refused, eventually
from daemons import AGENT, Daemon, free_port
from harness import GIB, MIB, Machine, check, same

OBJECTS = "/apis/topology.node.k8s.io/v1alpha2/noderesourcetopologies"
NFD = "node-feature-discovery-topology-updater"
APPLY = "application/apply-patch+yaml"


def object_of(node, amount="1"):
    return {"apiVersion": "topology.node.k8s.io/v1alpha2", "kind": "NodeResourceTopology", "metadata": {"name": node},
            "attributes": [{"name": "topologyManagerPolicy", "value": "none"}],
            "zones": [{"name": "node-0", "type": "Node", "resources": [
                {"name": "cpu", "capacity": amount, "allocatable": amount, "available": amount}]}]}


def apply_by_force(server, node, manager, amount):
    return server.request("PATCH", f"{OBJECTS}/{node}?fieldManager={manager}&force=true", object_of(node, amount), kind=APPLY)


def start_agent(server, folder, machine):
    with open(f"{folder}/agent.token", "w", encoding="ascii") as out:
        out.write(server.account_token("numastow-agent", "m"))
    credentials = server.credentials("", "127.0.0.1")
    credentials["users"][0]["user"] = {"tokenFile": f"{folder}/agent.token"}
    config = server.write("agent.kubeconfig", credentials)
    return Daemon([AGENT, "--sysroot", machine.path, "--config", "/dev/null", "--node", "m", "--poll-interval", "100ms",
                   "--metrics", f"127.0.0.1:{free_port()}", "--node-resource-topology", "--kubeconfig", config])


def available(server, zone, resource):
    for found in (server.get(f"{OBJECTS}/m") or {"zones": []})["zones"]:
        for entry in found.get("resources", []):
            if (found["name"], entry["name"]) == (zone, resource):
                return entry["available"]
    return None


def check_object(server, machine):
    check("once the definition is there, the object is written", eventually(lambda: available(server, "node-1", "cpu")))
    found = server.get(f"{OBJECTS}/m") or {"metadata": {}, "zones": []}
    same("nothing of it was dropped", [sorted(z) for z in found["zones"]], [["costs", "name", "resources", "type"]] * 2)
    same("its manager", [(f["manager"], f["operation"]) for f in found["metadata"].get("managedFields", [])],
         [("numastow-agent", "Apply")])
    same("its owner", [(o["kind"], o["name"]) for o in found["metadata"].get("ownerReferences", [])], [("Node", "m")])
    machine.write(f"{machine.pool(0)}/nr_hugepages", "7\n")
    machine.write(f"{machine.pool(0)}/free_hugepages", "7\n")
    check("it follows the machine", eventually(lambda: available(server, "node-0", "hugepages-2Mi") == "14Mi"),
          server.get(f"{OBJECTS}/m"))


def check_others(server, agent):
    apply_by_force(server, "m", NFD, "3")
    said = agent.wait("another program writes this machine's NodeResourceTopology, and it is left alone until it is deleted")
    check("one line names the other program", said and NFD in said["error"], said)
    apply_by_force(server, "m", NFD, "4")
    same("its values stay", available(server, "node-0", "cpu"), "4")
    server.delete(f"{OBJECTS}/m")
    check("once it is deleted, the agent writes it", eventually(lambda: available(server, "node-1", "cpu")))


def check_topology(server, folder):
    """With the base applied, and no definition yet."""
    for node in ("m", "w"):
        with contextlib.suppress(Refused):
            server.create("/api/v1/nodes", {"metadata": {"name": node}})
    machine = Machine(f"{folder}/topology", pools={2 * MIB: (512, 1024), GIB: (2, 4)})
    agent = start_agent(server, folder, machine)
    said = agent.wait("no NodeResourceTopology is published")
    check("without the definition: one line", said and "CustomResourceDefinition" in said["error"], said)
    done = server.kubectl("apply", "-f", f"{HERE}/noderesourcetopologies.yaml")
    check("the definition is accepted", done.returncode == 0, done.stderr)
    check_object(server, machine)
    check_others(server, agent)
    machine.write("/etc/numastow/disabled", "")
    check("disabled, the agent deletes its object", eventually(lambda: not server.get(f"{OBJECTS}/m")))
    os.unlink(machine.file("/etc/numastow/disabled"))
    check("and writes it again", eventually(lambda: available(server, "node-1", "cpu")))
    agent.stop()
    check("its end deletes nothing", server.get(f"{OBJECTS}/m"))
    server.create(OBJECTS, object_of("w"))
    mine = As(server, ACCOUNT, "m")
    for what, method, path, body in (("create", "POST", f"{OBJECTS}?dryRun=All", object_of("v")),
                                     ("delete", "DELETE", f"{OBJECTS}/w", None)):
        mine.refused(f"an agent cannot {what} another machine's", "of that machine only", method, path, body)
    As(server, ACCOUNT).refused("nor its own with a token that names no machine", "does not name a machine", "DELETE",
                                f"{OBJECTS}/m")
    mine.allowed("it can delete its own", "DELETE", f"{OBJECTS}/m")
    same("another machine's is there", [o["metadata"]["name"] for o in server.items(OBJECTS)], ["w"])
