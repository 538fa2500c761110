# SPDX-License-Identifier: Apache-2.0
"""A second machine of the cluster: a simulated one, with an agent of its own, and as its kubelet this file, which prepares
claims by the agent's socket and says that containers run."""
import os
import subprocess
import sys
import uuid

import grpc

from cluster import CLAIMS, PODS, eventually
from daemons import AGENT, Daemon, free_port
from harness import PROJECT, Machine, check

STUBS = f"{PROJECT}/build/python"
FOLDER = "/k"  # kubelet's; the paths of sockets are short


def make_stubs():
    """kubelet's protocols, for Python."""
    os.makedirs(STUBS, exist_ok=True)
    subprocess.run(["protoc", f"-I{PROJECT}/proto", f"--python_out={STUBS}", "kubelet/registration.proto",
                    "kubelet/dra_v1.proto"], check=True)


make_stubs()
sys.path.insert(0, STUBS)
from kubelet import dra_v1_pb2 as dra, registration_pb2 as registration  # noqa: E402


def call(path, method, request, answer):
    with grpc.insecure_channel(f"unix:{path}") as channel:
        return channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                   response_deserializer=answer.FromString)(request, timeout=60, wait_for_ready=True)


class Simulated:
    """Until the end of the block."""

    def __init__(self, cluster, folder, name, *options):
        self.cluster, self.name = cluster, name
        self.machine = Machine(f"{folder}/m")
        self.machine.kubepods()
        for part in ("plugins_registry", "plugins"):
            os.makedirs(self.machine.file(f"{FOLDER}/{part}"))
        boot_id = str(uuid.uuid4())
        self.machine.write("/proc/sys/kernel/random/boot_id", boot_id + "\n")
        amounts = {"cpu": "8", "memory": "32Gi", "pods": "110"}
        info = {"bootID": boot_id, **dict.fromkeys((
            "machineID", "systemUUID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
            "kubeProxyVersion", "operatingSystem", "architecture"), "")}
        cluster.create("/api/v1/nodes", {"metadata": {"name": name}, "status": {
            "capacity": amounts, "allocatable": amounts, "nodeInfo": info,
            "conditions": [{"type": "Ready", "status": "True"}]}})
        cluster.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})
        token = cluster.account_token("agent", name)
        config = cluster.write(f"{name}.kubeconfig", cluster.credentials(token, "127.0.0.1"))
        self.argv = [AGENT, "--sysroot", self.machine.path, "--config", "/dev/null", "--node", name, "--kubernetes",
                     "--kubeconfig", config, "--kubelet-folder", FOLDER, "--cdi-folder", "/run/cdi",
                     "--metrics", f"127.0.0.1:{free_port()}", *options]
        self.agent = Daemon(self.argv)
        self.endpoint = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.agent.stop()

    def register(self):
        """As kubelet does with the socket that it finds."""
        registry = self.machine.file(f"{FOLDER}/plugins_registry")
        found = eventually(lambda: [n for n in os.listdir(registry) if n.endswith(".sock")])
        if not check("the second machine's agent has a socket for kubelet", found, self.agent.so_far()[-5:]):
            return False
        socket = f"{registry}/{found[0]}"
        self.endpoint = call(socket, "/pluginregistration.Registration/GetInfo", registration.InfoRequest(),
                             registration.PluginInfo).endpoint
        call(socket, "/pluginregistration.Registration/NotifyRegistrationStatus",
             registration.RegistrationStatus(plugin_registered=True), registration.RegistrationStatusResponse)
        return True

    def pods(self):
        return [p for p in self.cluster.items(PODS) if p["spec"].get("nodeName") == self.name]

    def prepare(self, pod):
        """Its claims' errors."""
        claims = [dra.Claim(namespace="default", name=status["resourceClaimName"],
                            uid=self.cluster.get(f"{CLAIMS}/{status['resourceClaimName']}")["metadata"]["uid"])
                  for status in pod["status"].get("resourceClaimStatuses", [])]
        answer = call(self.endpoint, "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",
                      dra.NodePrepareResourcesRequest(claims=claims), dra.NodePrepareResourcesResponse)
        return [entry.value.error for entry in answer.claims]

    def run(self, pod):
        """Says that all its containers run."""
        name = pod["metadata"]["name"]
        self.cluster.request("PATCH", f"{PODS}/{name}/status", {"status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
            kind="application/strategic-merge-patch+json")
