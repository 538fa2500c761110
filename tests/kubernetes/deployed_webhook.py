#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes with the scheduler's Deployment, on a stock Kubernetes with a NUMA virtual machine: the API server asks
the webhook in its pod through the Service; annotated pods run; without the pod they are refused, and others are not; an
update of the Deployment.

usage: tests/kubernetes/deployed_webhook.py
"""
import base64
import contextlib
import os
import re
import socket
import subprocess
import threading

from cluster import NAMESPACE, PODS, Refused, eventually
from daemons import free_port
from deployed import NAME, Deployed, WithAccounts
from harness import PROJECT, check, same
from machines import Test
from vm import Machine, run_with_machines
from webhook import HOOKS, is_asked, pod_of

MACHINE = "10.0.2.15"  # the guest, and all pods of it, which have its network
SERVICE = f"numastow-webhook.{NAMESPACE}.svc"
PORT = 8443
PATCH = """
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: numastow-scheduler, namespace: numastow-system}}
    spec:
      # Two pods of one machine cannot both have the machine's port.
      replicas: 1
      strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: 0, maxUnavailable: 1}}}}
      template:
        spec:
          hostNetwork: true
          containers:
          - name: scheduler
            env:
            - {{name: KUBERNETES_SERVICE_HOST, value: 10.0.2.2}}
            - {{name: KUBERNETES_SERVICE_PORT, value: "{port}"}}"""


class Services:
    """What kube-proxy does for the API server: connects an address of a Service to one of its ready endpoints. The API
    server asks by HTTP CONNECT on a unix socket (EgressSelectorConfiguration). `forwarded`: {port of the guest: port
    here}."""

    def __init__(self, cluster, path, forwarded):
        self.cluster, self.forwarded, self.asked = cluster, forwarded, []
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.server.accept()
            threading.Thread(target=self.connect, args=(connection,), daemon=True).start()

    def endpoint(self, address, port):
        """The port here of a ready endpoint."""
        for service in self.cluster.items("/api/v1/services"):
            names = [p.get("name", "") for p in service["spec"]["ports"] if p["port"] == port]
            if service["spec"]["clusterIP"] != address or not names:
                continue
            meta = service["metadata"]
            for one in self.cluster.items(f"/apis/discovery.k8s.io/v1/namespaces/{meta['namespace']}/endpointslices?"
                                          f"labelSelector=kubernetes.io/service-name={meta['name']}"):
                ports = [p["port"] for p in one.get("ports") or [] if p.get("name", "") == names[0]]
                for endpoint in one.get("endpoints") or []:
                    if ports and endpoint["conditions"].get("ready") and endpoint["addresses"] == [MACHINE]:
                        self.asked.append(meta["name"])
                        return self.forwarded.get(ports[0])
        return None

    def connect(self, connection):
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(4096)
                if not more:
                    return
                head += more
            target = re.match(rb"CONNECT ([\d.]+):(\d+) HTTP", head)
            port = self.endpoint(target[1].decode(), int(target[2])) if target else None
            if not port:
                connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
                return
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as far:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self.copy, args=(far, connection), daemon=True)
                back.start()
                self.copy(connection, far)
                back.join()

    @staticmethod
    def copy(source, target):
        """Until one of them ends, which ends the other direction, too."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class WithServices(WithAccounts):
    """Its API server reaches Services; with the controllers of Deployments and of endpoints."""

    def __init__(self, folder, parts):
        super().__init__(folder, parts)
        self.services = Services(self, f"{folder}/egress.sock", {PORT: free_port()})

    def start(self, name, *argv):
        argv = list(argv)
        if name == "kube-apiserver":
            argv += ["--egress-selector-config-file", self.write("egress.yaml", {
                "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration", "egressSelections": [{
                    "name": "cluster", "connection": {"proxyProtocol": "HTTPConnect", "transport": {
                        "uds": {"udsName": f"{self.folder}/egress.sock"}}}}]})]
        elif name == "kube-controller-manager":
            argv[argv.index("--controllers") + 1] += ",deployment-controller,replicaset-controller,endpointslice-controller"
        super().start(name, *argv)


class WithWebhook(Deployed):
    components = (*Deployed.components, "scheduler")
    patches = PATCH

    def certificate(self):
        """The Secret of the guide, and the CA for the webhook's configuration."""
        made = f"{self.c.folder}/certificates"
        for words in (("init", made), ("scheduler", made, SERVICE)):
            subprocess.run([f"{PROJECT}/deploy/numastow-ca", *words], check=True, capture_output=True)
        at = f"{made}/scheduler/{SERVICE}"
        for what, words in (("namespace", ("create", "namespace", NAMESPACE)), ("Secret", (
                "-n", NAMESPACE, "create", "secret", "tls", "numastow-webhook", f"--cert={at}/tls.crt", f"--key={at}/tls.key"))):
            done = self.c.kubectl(*words)
            check(f"the {what} is created", done.returncode == 0, done.stderr)
        with open(f"{made}/ca.crt", "rb") as handle:
            return base64.b64encode(handle.read()).decode()

    def register(self, authority):
        hook = self.c.get(f"{HOOKS}/numastow")
        for one in hook["webhooks"]:
            one["clientConfig"]["caBundle"] = authority
        self.c.request("PUT", f"{HOOKS}/numastow", hook)

    def schedulers(self):
        return self.agents("scheduler")

    def has_one(self, old=()):
        return eventually(lambda: len(self.schedulers()) == 1 and self.schedulers()[0] not in old)

    def is_created(self, annotations):
        try:
            self.c.create(f"{PODS}?dryRun=All", pod_of("probe", annotations))
        except Refused as refusal:
            return str(refusal)
        return ""

    def without(self):
        """No pod of the scheduler: a webhook that cannot be asked."""
        done = self.c.kubectl("-n", NAMESPACE, "scale", "deployment/numastow-scheduler", "--replicas=0")
        check("the Deployment is scaled to none", done.returncode == 0, done.stderr)
        check("its pod goes", eventually(lambda: not self.schedulers()), self.schedulers())
        said = eventually(lambda: self.is_created({"cpus": "1"}))
        check("an annotated pod is refused", said and "failed calling webhook" in said, said)
        same("a pod without annotations is not", self.is_created({}), "")
        done = self.c.kubectl("-n", NAMESPACE, "scale", "deployment/numastow-scheduler", "--replicas=1")
        check("and to one", done.returncode == 0, done.stderr)
        check("then it is asked again", eventually(lambda: is_asked(self.c)), self.said())

    def update(self):
        old = self.schedulers()
        done = self.c.kubectl("-n", NAMESPACE, "set", "image", "deployment/numastow-scheduler", f"*={NAME}:next")
        check("an update of the Deployment begins", done.returncode == 0, done.stderr)
        check("a new pod takes the old one's place", self.has_one(old), (self.schedulers(), self.said()))
        check("the webhook is asked in the new one", eventually(lambda: is_asked(self.c)), self.said())


def whole(cluster):
    services = cluster.services
    with Machine(cluster, "v2", f"{cluster.folder}/machine.log", services.forwarded) as machine:
        test = Test(cluster, machine)
        deployed = WithWebhook(cluster, machine, test)
        if not deployed.start_node():
            return
        authority = deployed.certificate()
        if deployed.apply() and deployed.first():
            deployed.register(authority)
            check("the scheduler's pod runs", deployed.has_one(), deployed.said())
            check("the API server asks the webhook", eventually(lambda: is_asked(cluster)), deployed.said())
            check("... through the Service", "numastow-webhook" in services.asked, services.asked)
            test.annotated()
            deployed.without()
            deployed.update()
            test.annotated()
        same("the kernel has not complained", machine.end(0), 0)


if __name__ == "__main__":
    run_with_machines("kubernetes-deployed-webhook", whole, WithServices)
