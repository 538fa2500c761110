# SPDX-License-Identifier: Apache-2.0
"""The API server alone, and requests to it as a service account."""
import json
import os
import subprocess
import urllib.parse

from cluster import NAMESPACE, PATIENCE, Cluster, eventually
from harness import check

CORE = "/api/v1/namespaces"
DRA = "/apis/resource.k8s.io"
VERSIONS = ("v1", "v1beta1", "v1beta2")
ACCOUNT = "system:serviceaccount"
AGENT = f"{ACCOUNT}:{NAMESPACE}:numastow-agent"
NODE_NAME = "authentication.kubernetes.io/node-name"


class Server(Cluster):
    """The API server alone, with all versions of resource.k8s.io; scheduler and controllers when asked for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.later = []

    def start(self, name, *argv):
        if name == "kube-apiserver":
            argv += ("--runtime-config", ",".join(f"resource.k8s.io/{v}=true" for v in VERSIONS[1:]))
        if name in ("kube-apiserver", "etcd"):
            super().start(name, *argv)
        else:
            self.later.append((name, *argv))

    def start_later(self):
        for argv in self.later:
            super().start(*argv)

    def kubectl(self, *words, text=None):
        kubectl = os.path.join(self.parts, "kubectl")
        return subprocess.run([kubectl, "--kubeconfig", self.kubeconfig("admin"), *words], check=False, input=text,
                              capture_output=True, text=True, timeout=300)


class As:
    """Requests of a service account, whose token names a machine or not."""

    def __init__(self, server, user, node=None):
        self.server = server
        namespace = user.split(":")[2]
        self.headers = [("Impersonate-User", user), ("Impersonate-Group", "system:authenticated"),
                        ("Impersonate-Group", f"{ACCOUNT}s"), ("Impersonate-Group", f"{ACCOUNT}s:{namespace}")]
        if node:
            self.headers.append((f"Impersonate-Extra-{urllib.parse.quote(NODE_NAME, safe='')}", node))

    def request(self, method, path, body=None, kind="application/json"):
        """(code, message or object). One header may come several times, which urllib cannot do."""
        argv = ["curl", "-sS", "--cacert", f"{self.server.folder}/ca.crt", "-X", method, "-w", "\n%{http_code}",
                "-H", f"Authorization: Bearer {self.server.tokens['admin']}", "-H", f"Content-Type: {kind}"]
        for name, value in self.headers:
            argv += ["-H", f"{name}: {value}"]
        if body is not None:
            argv += ["--data-binary", "@-"]
        done = subprocess.run([*argv, f"https://127.0.0.1:{self.server.port}{path}"], check=False, timeout=PATIENCE,
                              input=json.dumps(body) if body is not None else "", capture_output=True, text=True)
        text, _, code = done.stdout.rpartition("\n")
        answer = json.loads(text) if text.startswith("{") else {"message": text or done.stderr}
        return int(code or 0), answer

    def tried(self, method, path, body=None):
        code, answer = self.request(method, path, body)
        return "" if code in (200, 201) else f"{code} {answer.get('message')}"

    def refused(self, what, word, method, path, body=None):
        """The words may come late: policies and roles take effect some time after they were stored."""
        said = []

        def once():
            said[:] = [self.tried(method, path, body)]
            return word in said[0]
        check(what, eventually(once), said)

    def allowed(self, what, method, path, body=None):
        said = []

        def once():
            said[:] = [self.tried(method, path, body)]
            return not said[0]
        check(what, eventually(once), said)
