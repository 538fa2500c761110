#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow-scheduler's webhook and controllers against a stock API server, with the rights of deploy/kubernetes: every kind
of claim is accepted, templates are made as they are named, evictions respect a disruption budget."""
import base64
import json
import os

import yaml

from cluster import CLASSES, NAMESPACE, PODS, TEMPLATES, Cluster, Refused, eventually, find_parts, run_test
from daemons import SCHEDULER, Daemon, free_port, metrics_of
from harness import PROJECT, Temp, check, same

KUBERNETES = os.path.join(PROJECT, "deploy/kubernetes")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
ACCOUNT = "numastow-scheduler"
PATHS = {"ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts", "ClusterRole": f"{RBAC}/clusterroles",
         "ClusterRoleBinding": f"{RBAC}/clusterrolebindings", "Role": RBAC + "/namespaces/{}/roles",
         "RoleBinding": RBAC + "/namespaces/{}/rolebindings", "DeviceClass": CLASSES}

# What a pod asks for: annotations without their prefix; each becomes a claim that the API server must accept.
ASKED = {
    "shared": {"cpus": "2", "memory": "1Gi"},
    "exclusive": {"cpus": "2", "memory": "512M", "cpu-mode": "exclusive", "hugepages-2Mi": "64Mi"},
    "odd-memory": {"memory": "1000001Ki"},
    "anywhere": {"policy": "single-numa-node"},
    "halves": {"cpus": "8", "memory": "1Gi", "policy": "best-effort"},
    "spread": {"cpus": "840", "policy": "spread"},
    "nodes": {"cpus": "1", "nodes": "0-3,7"},
    "drain": {"cpus": "1", "drain": "evict"},
    "gigantic": {"cpus": "1", "hugepages-1Gi": "2Gi"},
}


class Server(Cluster):
    """The API server alone: no other controller acts on pods and claims."""

    def start(self, name, *argv):
        if name in ("kube-apiserver", "etcd"):
            super().start(name, *argv)


def create_from(server, path, kinds):
    with open(f"{KUBERNETES}/{path}", encoding="utf-8") as handle:
        for item in yaml.safe_load_all(handle):
            if item and item["kind"] in kinds:
                server.create(PATHS[item["kind"]].format(item["metadata"].get("namespace")), item)


def pod_of(name, annotations, **spec):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": {f"numastow.io/{k}": v for k, v in annotations.items()}},
            "spec": {"containers": [{"name": "main", "image": "i"}], "automountServiceAccountToken": False, **spec}}


def register(server, folder, port):
    with open(f"{KUBERNETES}/components/scheduler/webhook.yaml", encoding="utf-8") as handle:
        config = next(d for d in yaml.safe_load_all(handle) if d["kind"] == "MutatingWebhookConfiguration")
    with open(f"{folder}/ca.crt", "rb") as handle:
        config["webhooks"][0]["clientConfig"] = {"url": f"https://127.0.0.1:{port}/mutate",
                                                 "caBundle": base64.b64encode(handle.read()).decode()}
    server.create(HOOKS, config)


def start(server, folder, port, token, number):
    data = f"{folder}/data{number}"
    os.makedirs(data)
    return Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics",
                   f"127.0.0.1:{free_port()}", "--data", data, "--admission", f"127.0.0.1:{port}",
                   "--admission-certificate", f"{folder}/tls.crt", "--admission-key", f"{folder}/tls.key", "--kubernetes",
                   "--kubeconfig", server.write(f"scheduler{number}.kubeconfig", server.credentials(token, "127.0.0.1")),
                   "--prepare-deadline", "1s"])


def said(server, pod, reason):
    return [e["message"] for e in server.items("/api/v1/namespaces/default/events")
            if e["involvedObject"]["name"] == pod and e["reason"] == reason]


def create_pod(server, pod):
    """The API server gives the webhook five seconds, and a busy machine may need more."""
    def once():
        try:
            return server.create(PODS, pod)
        except Refused as refusal:
            if "failed calling webhook" not in str(refusal):
                raise
            return None
    return eventually(once)


def check_pods(server):
    for name, asked in ASKED.items():
        made = create_pod(server, pod_of(name, asked))
        template = made["spec"]["resourceClaims"][0]["resourceClaimTemplateName"]
        same(f"{name}: its container has the claim", made["spec"]["containers"][0]["resources"]["claims"],
             [{"name": "numastow", "request": "part0"}])
        same(f"{name}: annotations stay", made["metadata"]["annotations"], {f"numastow.io/{k}": v
                                                                            for k, v in asked.items()})
        check(f"{name}: the template is made", eventually(lambda t=template: server.get(f"{TEMPLATES}/{t}")),
              said(server, name, "NoClaimTemplate"))
    same("exclusive CPUs make a pod Guaranteed", server.get(f"{PODS}/exclusive")["status"]["qosClass"], "Guaranteed")
    amounts = server.get(f"{PODS}/exclusive")["spec"]["containers"][0]["resources"]["requests"]
    same("with the claim's amounts", amounts, {"cpu": "2", "memory": "512M", "hugepages-2Mi": "64Mi"})
    for what, pod, word in (
            ("a wrong key", pod_of("wrong", {"cpsu": "2"}), 'did you mean "numastow.io/cpus"?'),
            ("what no claim can be", pod_of("wrong", {"cpus": "2", "near": "eth0"}), "not possible for a Kubernetes claim"),
            ("a contradiction", pod_of("wrong", {"cpus": "2"}, containers=[
                {"name": "main", "image": "i", "resources": {"requests": {"cpu": "500m"}}}]), "contradict each other")):
        try:
            create_pod(server, pod)
            check(f"{what} is refused", False)
        except Refused as refusal:
            check(f"{what} is refused with the reason", word in str(refusal), refusal)


def check_stored(server):
    """What the API server has stored is what was sent, defaults included: it is recognized without our label."""
    names = [t["metadata"]["name"] for t in server.items(TEMPLATES)]
    for name in names:
        server.patch(f"{TEMPLATES}/{name}", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    # A pod's template that is not there tells when the controller has looked at all pods anew.
    made = create_pod(server, pod_of("last", {"cpus": "77"}))
    template = made["spec"]["resourceClaims"][0]["resourceClaimTemplateName"]
    check("templates without the label: work goes on", eventually(lambda: server.get(f"{TEMPLATES}/{template}")))
    server.delete(f"{TEMPLATES}/{template}")
    check("and again", eventually(lambda: server.get(f"{TEMPLATES}/{template}")))
    same("none is taken for another one", [said(server, name, "NoClaimTemplate") for name in ASKED],
         [[] for _ in ASKED])


def set_status(server, path, status):
    """Whatever else changes the object meanwhile."""
    def once():
        item = server.get(path)
        item["status"] = status
        try:
            return server.request("PUT", f"{path}/status", item)
        except Refused as refusal:
            if refusal.code != 409:
                raise
            return None
    check(f"{path}: the status is set", eventually(once))


def check_strange(server):
    """Parameters, for another driver, that a parser with bounds does not read: any user may have such claims."""
    for name, parameters in (("deep", b'{"a":' * 500 + b"1" + b"}" * 500), ("bytes", b'{"a":"\xff\xc3"}')):
        body = json.dumps({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}, "spec": {
            "devices": {"requests": [{"name": "main", "exactly": {"deviceClassName": "numastow-shared"}}], "config": [
                {"opaque": {"driver": "gpu.example.com", "parameters": "HERE"}}]}}}).encode()
        check(f"the API server takes, and sends, such parameters: {name}", parameters in server.request(
            "POST", CLAIMS, body.replace(b'"HERE"', parameters), raw=True))


def add_claimed(server, name, condition, owned, **status):
    """A pod on a machine, with a claim that is allocated there and has a condition."""
    result = {"driver": "numastow.io", "pool": "m", "device": "node0", "request": "main",
              "shareID": "11111111-2222-4333-8444-555555555555", "consumedCapacity": {"cpus": "1"}}
    server.create(CLAIMS, {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name},
                           "spec": {"devices": {"requests": [{"name": "main", "exactly": {
                               "deviceClassName": "numastow-shared"}}]}}})
    pod = pod_of(name, {}, nodeName="m", resourceClaims=[{"name": "numa", "resourceClaimName": name}],
                 containers=[{"name": "main", "image": "i", "resources": {"claims": [{"name": "numa"}]}}])
    pod["metadata"]["labels"] = {"app": name}
    if owned:
        pod["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r-1",
                                               "controller": True}]
    made = server.create(PODS, pod)
    if status:  # before the condition: a budget does not protect a pending pod
        set_status(server, f"{PODS}/{name}", status)
    set_status(server, f"{CLAIMS}/{name}", {"allocation": {"devices": {"results": [result]}}, "reservedFor": [
        {"resource": "pods", "name": name, "uid": made["metadata"]["uid"]}]})
    set_status(server, f"{CLAIMS}/{name}", {**server.get(f"{CLAIMS}/{name}")["status"], "devices": [
        {**{k: result[k] for k in ("driver", "pool", "device", "shareID")}, "conditions": [
            {"lastTransitionTime": "2026-11-26T12:00:00Z", "message": "node0 is drained", **condition}]}]})


def is_going(server, name):
    pod = server.get(f"{PODS}/{name}")
    return not pod or "deletionTimestamp" in pod["metadata"]


def check_moved(server):
    evict = {"type": "numastow.io/Evict", "status": "True", "reason": "MemoryDrain"}
    server.create(BUDGETS, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "kept"},
                            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}}})
    set_status(server, f"{BUDGETS}/kept", {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
                                           "desiredHealthy": 1, "expectedPods": 1})
    for name in ("kept", "moved"):
        add_claimed(server, name, evict, False, phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    check("a pod of a drained share is evicted", eventually(lambda: is_going(server, "moved")))
    check("which it is told", eventually(lambda: said(server, "moved", "MemoryDrain")))
    check("a disruption budget: an event", eventually(
        lambda: "budget" in "".join(said(server, "kept", "EvictionBlocked"))), said(server, "kept", "EvictionBlocked"))
    check("and the pod stays", not is_going(server, "kept"))
    set_status(server, f"{BUDGETS}/kept", {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 1,
                                           "desiredHealthy": 0, "expectedPods": 1})
    check("until the budget allows it", eventually(lambda: is_going(server, "kept")))
    refused = {"type": "numastow.io/Prepared", "status": "False", "reason": "Refused", "message": "node0 is fenced"}
    add_claimed(server, "lonely", refused, False)
    add_claimed(server, "owned", refused, True)
    check("a refused pod of a controller is deleted", eventually(lambda: is_going(server, "owned")))
    check("one without is told why", eventually(
        lambda: "node0 is fenced" in "".join(said(server, "lonely", "ClaimRefused"))))
    check("and stays", not is_going(server, "lonely"))


def give_account(server):
    """The role of the manifests, and a token."""
    for name in ("default", NAMESPACE):
        try:
            server.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        except Refused as refusal:
            if refusal.code != 409:
                raise
    create_from(server, "components/scheduler/rbac.yaml", set(PATHS))
    create_from(server, "base/classes.yaml", {"DeviceClass"})
    return server.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}})[
            "status"]["token"]


def run_checks(server, folder):
    token, port = give_account(server), free_port()
    with start(server, folder, port, token, 1) as program:
        check("it leads", program.wait("leads the controllers of Kubernetes"), program.said)
        register(server, folder, port)
        check("the webhook is asked", eventually(lambda: is_asked(server)))
        check_pods(server)
        check_stored(server)
        check_strange(server)
        check_moved(server)
        failed = [line for line in metrics_of(program).splitlines() if line.startswith(
            "numastow_scheduler_kubernetes_failures_total ")]
        same("no call failed", failed, ["numastow_scheduler_kubernetes_failures_total 0"])


def is_asked(server):
    """A new webhook is asked some time after it was stored."""
    try:
        made = server.create(f"{PODS}?dryRun=All", pod_of("probe", {"cpus": "1"}))
    except Refused as refusal:
        if "failed calling webhook" not in str(refusal):
            raise
        return False
    return "resourceClaims" in made["spec"]


def main():
    with Temp() as folder, Server(folder, find_parts()) as server:
        if check("the API server is ready", server.wait(), server.dead()):
            run_checks(server, folder)
        same("all programs went on", server.dead(), [])


if __name__ == "__main__":
    run_test("the webhook on a stock API server", main)
