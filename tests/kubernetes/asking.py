# SPDX-License-Identifier: Apache-2.0
"""A stock control plane whose kube-scheduler asks numastow's extender."""
import json
import os
import subprocess

from cluster import NAMESPACE, Cluster
from harness import PROJECT

SERVICE = f"numastow-extender.{NAMESPACE}.svc"


class Asking(Cluster):
    """Its kube-scheduler asks an extender, with the certificate in the folder `client`."""

    def __init__(self, *args):
        super().__init__(*args)
        self.port_of_extender, self.client, self.authority, self.scheduler = 0, "", "", ()
        self.ignorable = False

    def start(self, name, *argv):
        if name == "kube-scheduler":
            path = argv[argv.index("--config") + 1]
            with open(path, encoding="utf-8") as handle:
                config = json.load(handle)
            config["extenders"] = [{
                "urlPrefix": f"https://127.0.0.1:{self.port_of_extender}", "filterVerb": "filter",
                "prioritizeVerb": "prioritize", "weight": 5, "nodeCacheCapable": True, "enableHTTPS": True,
                "httpTimeout": "5s", "ignorable": self.ignorable, "tlsConfig": {
                    "serverName": SERVICE, "caFile": self.authority, "certFile": f"{self.client}/tls.crt",
                    "keyFile": f"{self.client}/tls.key"}}]
            self.write(os.path.basename(path), config)
            self.scheduler = argv
        super().start(name, *argv)

    def ask_as(self, client):
        self.client = client
        self.stop("kube-scheduler")
        self.start("kube-scheduler", *self.scheduler)


def certificates(folder, machines):
    """As the guide makes them: the folders of agents and of clients, and one with the contents of the Secret."""
    def make(*words):
        subprocess.run([f"{PROJECT}/deploy/numastow-ca", *words], check=True, capture_output=True)
    agents, clients = f"{folder}/agents", f"{folder}/clients"
    make("init", agents)
    make("scheduler", agents, SERVICE)
    for name in machines:
        make("agent", agents, name)
    make("init", clients)
    make("client", clients, "kube-scheduler", "read")
    secret = f"{agents}/scheduler/{SERVICE}"
    with open(f"{clients}/ca.crt", "rb") as source, open(f"{secret}/client-ca.crt", "wb") as target:
        target.write(source.read())
    return agents, clients, secret
