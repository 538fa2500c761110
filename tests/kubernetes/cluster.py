# SPDX-License-Identifier: Apache-2.0
"""A stock control plane on loopback: etcd, kube-apiserver, kube-scheduler, kube-controller-manager."""
import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
from daemons import free_port  # noqa: E402
from harness import check, finish, skip  # noqa: E402
from kubelib import make_certificates  # noqa: E402

# A busy machine is many times as slow as a quiet one.
PATIENCE = 300
FROM_GUEST = "10.0.2.2"  # the host's loopback, by QEMU's user networking
NAMESPACE = "numastow-system"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
TEMPLATES = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"
CLASSES = "/apis/resource.k8s.io/v1/deviceclasses"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
# Feature gates of all programs, for parts of another version of Kubernetes (PARTS).
GATES = os.environ.get("GATES", "")

USERS = {  # name: user, groups
    "admin": ("admin", "system:masters"),
    "scheduler": ("system:kube-scheduler", ""),
    # Its controllers have accounts of their own; together they have more rights than this user.
    "controllers": ("system:kube-controller-manager", "system:masters"),
    "kubelet": ("system:node:numa", "system:nodes"),
}


def eventually(function, seconds=PATIENCE):
    """What the function returns once that is true; its last value when it was not."""
    end = time.monotonic() + seconds
    while True:
        value = function()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.25)


def quantity(text):
    """The number that an amount of the API is."""
    for unit, size in (("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)):
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * size
    return int(text)


def gates_of(*gates):
    """A program's arguments."""
    return ["--feature-gates", ",".join(filter(None, gates))] if any(gates) else []


class Unavailable(Exception):
    """This machine cannot run the test; the text says why."""


def find_parts(*programs):
    """The folder of the stock parts, which --build makes first. Raises Unavailable where they, etcd, or one of `programs`
    (each with the name of its package) are missing."""
    for program, package in (("etcd", "etcd-server"), *programs):
        if not shutil.which(program):
            raise Unavailable(f"no {program} here; package {package} has it")
    if os.environ.get("PARTS"):
        return os.environ["PARTS"]
    if "--build" in sys.argv[1:]:
        subprocess.run([f"{HERE}/parts", "build"], stdout=sys.stderr, check=False)
    done = subprocess.run([f"{HERE}/parts", "dir"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(done.stderr.strip().removeprefix("kubernetes: "))
    return done.stdout.strip()


def run_test(what, test):
    """The whole of a program: the test, which is skipped where this machine cannot run it; the counts; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        test()
    except Unavailable as why:
        skip(what, why)
    finish()


class Refused(Exception):
    def __init__(self, code, body):
        super().__init__(f"{code}: {body.get('message', body)}")
        self.code, self.body = code, body


class Cluster:
    """Its log files and data are in `folder`; `parts` is the folder of the programs. `gates` are the API server's, beside
    those of all programs."""

    def __init__(self, folder, parts, gates=""):
        self.folder, self.parts, self.gates = folder, parts, gates
        self.port, self.processes = free_port(), {}
        os.makedirs(folder, exist_ok=True)
        make_certificates(folder, f"IP:127.0.0.1,IP:{FROM_GUEST}")
        subprocess.run(["openssl", "genrsa", "-out", f"{folder}/sa.key", "2048"], check=True, capture_output=True)
        self.tokens = {name: secrets.token_hex(16) for name in USERS}
        with open(f"{folder}/tokens.csv", "w", encoding="ascii") as out:
            for name, (user, groups) in USERS.items():
                out.write(f'{self.tokens[name]},{user},{name},"{groups}"\n')
        self.context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
        self.etcd_client, self.etcd_peer = free_port(), free_port()

    # --- its programs ----------------------------------------------------------------------------

    def start(self, name, *argv):
        with open(f"{self.folder}/{name}.log", "ab") as log:
            # It ends with the test, whatever ends that.
            self.processes[name] = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdout=log, stderr=log,
                                                    stdin=subprocess.DEVNULL)

    def stop(self, name):
        process = self.processes.pop(name, None)
        if not process:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_api(self):
        f = self.folder
        self.start("kube-apiserver", f"{self.parts}/kube-apiserver",
                   "--etcd-servers", f"http://127.0.0.1:{self.etcd_client}", "--secure-port", str(self.port),
                   "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--cert-dir", f,
                   "--tls-cert-file", f"{f}/tls.crt", "--tls-private-key-file", f"{f}/tls.key",
                   "--token-auth-file", f"{f}/tokens.csv", "--authorization-mode", "Node,RBAC",
                   "--enable-admission-plugins", "NodeRestriction", "--disable-admission-plugins", "ServiceAccount",
                   "--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.96.0.0/24",
                   "--service-account-issuer", "https://cluster", "--service-account-key-file", f"{f}/sa.key",
                   "--service-account-signing-key-file", f"{f}/sa.key", *gates_of(GATES, self.gates))

    def start_scheduler(self, **settings):
        """kube-scheduler, with more settings of its configuration."""
        config = self.write("scheduler.yaml", {
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"kubeconfig": self.kubeconfig("scheduler"), "qps": 5000, "burst": 10000}, **settings})
        self.start("kube-scheduler", f"{self.parts}/kube-scheduler", "--config", config, "--secure-port", "0",
                   *gates_of(GATES))

    def start_all(self):
        url = f"http://127.0.0.1:{self.etcd_client}"
        peer = f"http://127.0.0.1:{self.etcd_peer}"
        # Nothing here has to survive this machine.
        self.start("etcd", shutil.which("etcd"), "--data-dir", f"{self.folder}/etcd", "--unsafe-no-fsync",
                   "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
                   "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
        self.start_api()
        eventually(self.ready)  # kube-controller-manager ends if the API server does not answer soon
        self.start_scheduler()
        self.start("kube-controller-manager", f"{self.parts}/kube-controller-manager",
                   "--kubeconfig", self.kubeconfig("controllers"), "--leader-elect=false", "--secure-port", "0",
                   "--controllers", "resourceclaim-controller,device-taint-eviction-controller", *gates_of(GATES))

    def wait(self):
        """Whether all of it works, after a while."""
        return eventually(self.ready) and eventually(lambda: self.get(f"{CLASSES}?limit=1") is not None)

    def ready(self):
        with contextlib.suppress(OSError, Refused):
            return self.request("GET", "/readyz", raw=True) == b"ok"
        return False

    def dead(self):
        """The names of programs that have ended by themselves."""
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def __enter__(self):
        self.start_all()
        return self

    def works(self):
        """A check: it has started."""
        return check("the control plane starts", self.wait(), self.dead())

    def __exit__(self, *_):
        for name in reversed(list(self.processes)):
            self.stop(name)

    def write(self, name, data):
        path = f"{self.folder}/{name}"
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as out:
            json.dump(data, out)
        return path

    def kubeconfig(self, user, host="127.0.0.1"):
        """A file for that user; the API server is at `host`."""
        return self.write(f"{user}-{host}.kubeconfig", self.credentials(self.tokens[user], host))

    def credentials(self, token, host):
        """What is in such a file."""
        with open(f"{self.folder}/ca.crt", "rb") as handle:
            ca = base64.b64encode(handle.read()).decode()
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"https://{host}:{self.port}",
                                                   "certificate-authority-data": ca}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": token}}]}

    # --- its API ---------------------------------------------------------------------------------

    def request(self, method, path, body=None, kind="application/json", raw=False, user="admin"):
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", method=method, headers={
            "Authorization": f"Bearer {self.tokens[user]}", "Content-Type": kind, "Accept": "application/json"},
            # As kubectl writes it: the API server takes parameters with other blanks for others (docs/kubernetes.md).
            data=body if body is None or isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode())
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self.context) as answer:
                data = answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                data = refusal.read()
            try:
                body = json.loads(data)
            except ValueError:
                body = {"message": data.decode(errors="replace")}
            raise Refused(refusal.code, body) from None
        return data if raw else json.loads(data)

    def get(self, path):
        """None when it is not there."""
        try:
            return self.request("GET", path)
        except Refused as refusal:
            if refusal.code == 404:
                return None
            raise

    def items(self, path):
        return (self.get(path) or {}).get("items") or []

    def create(self, path, body):
        return self.request("POST", path, body)

    def delete(self, path, grace=None):
        body = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        with contextlib.suppress(Refused):
            self.request("DELETE", path, body)

    def patch(self, path, body):
        return self.request("PATCH", path, body, kind="application/merge-patch+json")

    # --- what tests make -------------------------------------------------------------------------

    def account(self, name, watches=False):
        """A service account in our namespace, with the rights that docs/kubernetes.md lists for the agent. `watches`: also
        those for `binding-conditions: true`."""
        with contextlib.suppress(Refused):
            self.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace",
                                               "metadata": {"name": NAMESPACE}})
        self.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        rules = [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
            {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"],
             "verbs": ["get", *(["list", "watch"] if watches else [])]},
            {"apiGroups": ["resource.k8s.io"], "resources": ["resourceslices"],
             "verbs": ["get", "list", "watch", "create", "update", "delete"]},
            {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/status"], "verbs": ["update"]},
            {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/driver"],
             "verbs": ["associated-node:update"], "resourceNames": ["numastow.io"]},
        ]
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        self.create(f"{rbac}/clusterroles", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                                             "metadata": {"name": name}, "rules": rules})
        self.create(f"{rbac}/clusterrolebindings", {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]})

    def account_token(self, name, node):
        """A token of that account which names the machine, as the token of a pod there does."""
        uid = self.get(f"/api/v1/nodes/{node}")["metadata"]["uid"]
        answer = self.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
                "expirationSeconds": 86400,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}}})
        return answer["status"]["token"]

    def device_class(self, name, parameters=None):
        spec = {"selectors": [{"cel": {"expression": 'device.driver == "numastow.io"'}}]}
        if parameters is not None:
            spec["config"] = [{"opaque": {"driver": "numastow.io", "parameters": {
                "apiVersion": "numastow.io/v1", "kind": "Parameters", **parameters}}}]
        self.create(CLASSES, {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass",
                              "metadata": {"name": name}, "spec": spec})

    def claim(self, name, parameters=None, device_class="numastow-exclusive", **capacity):
        spec = {"devices": {"requests": [{"name": "main", "exactly": {
            "deviceClassName": device_class,
            "capacity": {"requests": {k: str(v) for k, v in capacity.items()}}}}]}}
        if parameters is not None:
            spec["devices"]["config"] = [{"requests": ["main"], "opaque": {
                "driver": "numastow.io", "parameters": parameters}}]
        return self.create(CLAIMS, {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
                                    "metadata": {"name": name}, "spec": spec})

    def pod(self, name, claim=None, args=("sleep", "100000"), **container):
        """A pod of one container, which uses the claim of that name."""
        main = {"name": "main", "image": "numastow.io/test:1", "imagePullPolicy": "Never", "command": list(args),
                **container}
        spec = {"containers": [main]}
        if claim:
            spec["resourceClaims"] = [{"name": "numa", "resourceClaimName": claim}]
            main.setdefault("resources", {})["claims"] = [{"name": "numa"}]
        return self.pod_of(name, spec)

    def pod_of(self, name, spec):
        """A pod with this much of a spec, which is Guaranteed: exclusive CPUs need that."""
        for container in spec.get("initContainers", []) + spec["containers"]:
            resources = container.setdefault("resources", {})
            for kind in ("requests", "limits"):
                resources.setdefault(kind, {"cpu": "500m", "memory": "128Mi"})
        spec = {"hostNetwork": True, "terminationGracePeriodSeconds": 1, "enableServiceLinks": False,
                "automountServiceAccountToken": False, **spec}
        return self.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def template(self, name, requests, **devices):
        """A ResourceClaimTemplate with requests {name: capacity} of exclusive CPUs."""
        self.create(TEMPLATES, {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
                                "metadata": {"name": name}, "spec": {"spec": {"devices": {"requests": [
                                    {"name": request, "exactly": {"deviceClassName": "numastow-exclusive",
                                                                  "capacity": {"requests": capacity}}}
                                    for request, capacity in requests.items()], **devices}}}})

    def container(self, pod, name="main"):
        """(ID, restarts) of a running container, or None."""
        status = (self.get(f"{PODS}/{pod}") or {}).get("status", {})
        for one in status.get("containerStatuses", []):
            if one["name"] == name and "running" in one.get("state", {}):
                return one["containerID"].split("//")[1], one["restartCount"]
        return None

    def said(self, pod):
        """The events of a pod, as text."""
        return "\n".join(f"{e.get('reason')}: {e.get('message')}" for e in self.items(EVENTS)
                         if e.get("involvedObject", {}).get("name") == pod)

    def condition(self, claim, kind):
        """(status, reason) of a condition of a claim's only share."""
        status = (self.get(f"{CLAIMS}/{claim}") or {}).get("status") or {}
        for one in (c for d in status.get("devices", []) for c in d.get("conditions", [])):
            if one["type"] == kind:
                return one["status"], one["reason"]
        return None

    def devices(self, claim):
        """The devices that a claim was allocated, by name."""
        status = (self.get(f"{CLAIMS}/{claim}") or {}).get("status") or {}
        return [r["device"] for r in status.get("allocation", {}).get("devices", {}).get("results", [])]
