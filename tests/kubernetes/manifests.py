#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes on a stock API server: it accepts every manifest, roles and policies do what they are there for, the
chart renders the same, the guide's commands work, and the stock scheduler places the examples."""
import base64
import os
import re
import subprocess

import yaml

from cluster import CLASSES, HERE, NAMESPACE, eventually, find_parts, run_test
from daemons import SCHEDULER, Daemon, free_port
from harness import PROJECT, Temp, check, same, skip
from api import ACCOUNT, CORE, DRA, As, Server
from references import check_references
from policies import check_deletions, check_limits, check_quota, check_roles, check_slices, check_status, give_all
from zones import check_topology

KUBERNETES = os.path.join(PROJECT, "deploy/kubernetes")


# --- the manifests -------------------------------------------------------------------------------

# Kinds of other projects. Their schemas are not here, so that any field is accepted.
OTHERS = (("monitoring.coreos.com", "v1", "PodMonitor"), ("cert-manager.io", "v1", "Issuer"),
          ("cert-manager.io", "v1", "Certificate"))


def make_kind(server, group, version, kind):
    plural = f"{kind.lower()}s"
    server.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
        "metadata": {"name": f"{plural}.{group}"}, "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}})
    eventually(lambda: server.get(f"/apis/{group}/{version}/{plural}"))


def accepted(server, what, *words):
    """Tried without storing anything, then stored; each with strict validation: no field is unknown."""
    for dry in (["--dry-run=server"], []):
        done = server.kubectl("apply", "--validate=strict", *dry, *words)
        check(f"{what} is accepted{' (dry run)' if dry else ''}", done.returncode == 0, done.stderr)


def check_applied(server):
    for other in OTHERS:
        make_kind(server, *other)
    server.create(CORE, {"metadata": {"name": NAMESPACE}})
    accepted(server, "the base", "-k", f"{KUBERNETES}/base")
    for name in sorted(os.listdir(f"{KUBERNETES}/overlays")):
        accepted(server, f"the overlay {name}", "-k", f"{KUBERNETES}/overlays/{name}")
        rendered = server.kubectl("kustomize", f"{KUBERNETES}/overlays/{name}").stdout
        check_references(name, [o for o in yaml.safe_load_all(rendered) if o])
    same("two classes", sorted(c["metadata"]["name"] for c in server.items(CLASSES)),
         ["numastow-exclusive", "numastow-shared"])


# --- the guide -----------------------------------------------------------------------------------

def check_guide(server, folder):
    """The commands of the guide that make an object, as they are written there; the YAML of its pod."""
    with open(f"{PROJECT}/docs/kubernetes-guide.md", encoding="utf-8") as handle:
        text = handle.read()
    os.makedirs(f"{folder}/guide")
    with open(f"{folder}/guide/config.yaml", "w", encoding="ascii") as out:
        out.write("mode: enforce\n")
    server.create(CORE, {"metadata": {"name": "team"}})
    env = {**os.environ, "PATH": f"{server.parts}:{PROJECT}/deploy:{os.environ['PATH']}", "KUBECONFIG": server.kubeconfig("admin")}
    all_blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    blocks = [block for kind, block in all_blocks if not kind and " create " in block]
    same("commands that make something", len(blocks), 4)
    for block in blocks:
        done = subprocess.run(["bash", "-e", "-c", block], check=False, capture_output=True, text=True, env=env,
                              cwd=f"{folder}/guide", timeout=300)
        check(f"the guide: {block.splitlines()[0]} ...", done.returncode == 0, done.stderr)
    for path in (f"{CORE}/{NAMESPACE}/configmaps/numastow-limits", f"{CORE}/{NAMESPACE}/configmaps/numastow-machine",
                 f"{CORE}/{NAMESPACE}/secrets/numastow-webhook", f"{CORE}/{NAMESPACE}/secrets/numastow-extender",
                 f"{CORE}/team/resourcequotas/numa"):
        check(f"the guide makes {path.rpartition('/')[2]}", server.get(path))
        server.delete(path)
    for block in [block for kind, block in all_blocks if kind == "yaml"]:
        done = server.kubectl("apply", "--validate=strict", "--dry-run=server", "-n", "team", "-f", "-", text=block)
        check("the guide: its pod", done.returncode == 0 and "pod/web" in done.stdout, done)


# --- the webhook ---------------------------------------------------------------------------------

def annotated(**annotations):
    return {"metadata": {"name": "p", "annotations": {f"numastow.io/{k}": v for k, v in annotations.items()}},
            "spec": {"automountServiceAccountToken": False, "containers": [{"name": "c", "image": "x"}]}}


def use_webhook(server, folder, port):
    """Lets the API server, which has no cluster network here, call a webhook on loopback, with the CA of numastow-ca."""
    with open(f"{folder}/ca/ca.crt", "rb") as handle:
        authority = base64.b64encode(handle.read()).decode()
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/numastow"
    config = server.get(path)
    config["webhooks"][0]["clientConfig"] = {"url": f"https://127.0.0.1:{port}/mutate", "caBundle": authority}
    server.request("PUT", path, config)


def check_webhook(server, folder):
    who = As(server, f"{ACCOUNT}:team:app")
    pods = f"{CORE}/%s/pods?dryRun=All"
    who.refused("while the webhook is not there, an annotated pod is refused", "pods.numastow.io", "POST", pods % "team",
                annotated(cpus="2"))
    plain = annotated()
    plain["metadata"]["annotations"]["example.com/cpus"] = "2"
    who.allowed("other pods are not concerned", "POST", pods % "team", plain)
    for namespace in ("kube-system", NAMESPACE):
        who.allowed(f"nor pods in {namespace}", "POST", pods % namespace, annotated(cpus="2"))
    for words in (("init", f"{folder}/ca"), ("scheduler", f"{folder}/ca", "numastow-webhook.numastow-system.svc", "127.0.0.1")):
        subprocess.run([f"{PROJECT}/deploy/numastow-ca", *words], check=True, capture_output=True)
    certificate, port = f"{folder}/ca/scheduler/numastow-webhook.numastow-system.svc", free_port()
    os.makedirs(f"{folder}/data")
    with Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics", "", "--data", f"{folder}/data",
                 "--admission", f"127.0.0.1:{port}", "--admission-certificate", f"{certificate}/tls.crt",
                 "--admission-key", f"{certificate}/tls.key"]) as program:
        use_webhook(server, folder, port)
        with open(f"{KUBERNETES}/examples/annotated.yaml", encoding="utf-8") as handle:
            pod = yaml.safe_load(handle)
        who.allowed("with it, the annotated example is admitted", "POST", pods % "team", pod)
        answers = []

        def made():  # the API server gives the webhook some seconds
            answers[:] = who.request("POST", pods % "team", pod)
            return answers[1] if answers[0] == 201 else None
        spec = (eventually(made) or {"spec": {}})["spec"]
        check("with a claim, that its container has", spec.get("resourceClaims") and
              spec["containers"][0]["resources"].get("claims"), answers)
        who.refused("a wrong annotation is refused with the hook's sentence", 'did you mean "numastow.io/cpus"?', "POST",
                    pods % "team", annotated(cpsu="2"))
        check("the webhook went on", program.process.poll() is None, program.so_far())
    who.refused("without it, an annotated pod is refused again", "pods.numastow.io", "POST", pods % "team",
                annotated(cpus="2"))


# --- examples ------------------------------------------------------------------------------------

def device_of(name, attributes, capacity=None):
    device = {"name": name, "attributes": attributes}
    if capacity:
        device["allowMultipleAllocations"] = True
        device["capacity"] = {k: {"value": v, "requestPolicy": {
            "default": "0", "validRange": {"min": "0", "step": step}}} for k, (v, step) in capacity.items()}
    return device


def numa_device(node):
    """As the agent publishes it: with 24 CPUs."""
    return device_of(f"node{node}", {
        "kind": {"string": "cpus-memory"}, "exclusive": {"bool": True},
        "resource.kubernetes.io/numaNode": {"int": node}, "dra.net/numaNode": {"int": node}},
        {"cpus": ("24", "1"), "memory": ("256Gi", "1Mi"), "hugepages2Mi": ("16Gi", "2Mi"), "hugepages1Gi": ("16Gi", "1Gi")})


def make_machine(server):
    """A machine of two NUMA nodes; its GPU and its network interface are at node 1."""
    server.create("/api/v1/nodes", {"metadata": {"name": "x"}})
    node = server.get("/api/v1/nodes/x")
    amounts = {"cpu": "64", "memory": "600Gi", "hugepages-2Mi": "32Gi", "hugepages-1Gi": "32Gi", "pods": "110"}
    node["status"] = {"capacity": amounts, "allocatable": amounts,
                      "conditions": [{"type": "Ready", "status": "True", "reason": "Test"}]}
    server.request("PUT", "/api/v1/nodes/x/status", node)
    server.patch("/api/v1/nodes/x", {"spec": {"taints": None}})
    near = {"resource.kubernetes.io/numaNode": {"int": 1}}
    for driver, devices in (("numastow.io", [numa_device(0), numa_device(1)]),
                            ("gpu.nvidia.com", [device_of("gpu0", near)]),
                            ("dra.net", [device_of("nic0", {"numaNode": {"int": 1}, "rdma": {"bool": True}})])):
        server.create(f"{DRA}/v1/resourceslices", {"metadata": {"name": f"x-{driver}"}, "spec": {
            "driver": driver, "nodeName": "x", "devices": devices,
            "pool": {"name": "x", "generation": 1, "resourceSliceCount": 1}}})
    for name, driver in (("gpu.nvidia.com", "gpu.nvidia.com"), ("dranet", "dra.net")):
        server.create(CLASSES, {"metadata": {"name": name}, "spec": {
            "selectors": [{"cel": {"expression": f'device.driver == "{driver}"'}}]}})


PLACED = {"database": {"node0"}, "dpdk": {"node0"}, "gpu": {"gpu0", "node1"}, "halves": {"node0", "node1"},
          "inference": {"gpu0", "nic0", "node1"}}


def make_pod(server, path, things):
    """The name of an example's pod; if a controller has to make it, which is not here, the first one is made."""
    for thing in things:
        if thing["kind"] == "Pod":
            return thing["metadata"]["name"]
        if "template" in thing["spec"]:
            return server.create(path, {"metadata": {"name": thing["metadata"]["name"]},
                                        "spec": thing["spec"]["template"]["spec"]})["metadata"]["name"]
    return None


def check_examples(server):
    server.create(CORE, {"metadata": {"name": "examples"}})
    make_machine(server)
    server.start_later()
    pods, claims = f"{CORE}/examples/pods", f"{DRA}/v1/namespaces/examples/resourceclaims"
    same("all examples are tried", sorted(os.listdir(f"{KUBERNETES}/examples")),
         sorted(f"{name}.yaml" for name in (*PLACED, "annotated")))
    for name in PLACED:
        path = f"{KUBERNETES}/examples/{name}.yaml"
        accepted(server, f"the example {name}", "-n", "examples", "-f", path)
        with open(path, encoding="utf-8") as handle:
            pod = make_pod(server, pods, yaml.safe_load_all(handle))

        def devices():
            return {r["device"] for c in server.items(claims)
                    for r in c.get("status", {}).get("allocation", {}).get("devices", {}).get("results", [])}
        placed = eventually(lambda pod=pod: server.get(f"{pods}/{pod}")["spec"].get("nodeName"))
        same(f"the example {name} is placed", (placed, devices()), ("x", PLACED[name]))
        server.delete(f"{pods}/{pod}", grace=0)
        for claim in server.items(claims):  # the garbage collector is not here
            server.delete(f"{claims}/{claim['metadata']['name']}")
        check(f"the example {name} is gone", eventually(lambda: not server.items(claims)), server.items(claims))


# --- the chart -----------------------------------------------------------------------------------

RENDERED = {"agent": [], "without-systemd": ["agent.systemd=false"], "extender": ["extender.enabled=true"],
            "node-resource-topology": ["agent.nodeResourceTopology=true"],
            "binding-conditions": ["agent.bindingConditions=true"], "scheduler": ["scheduler.enabled=true"],
            "cert-manager": ["scheduler.enabled=true", "certManager.enabled=true"],
            "monitoring": ["scheduler.enabled=true", "certManager.enabled=true", "monitoring.enabled=true"]}


def objects_of(text):
    """The objects by kind and name, without the Namespace, which Helm leaves to its user."""
    found = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(text) if o and o["kind"] != "Namespace"}
    for (kind, _), thing in found.items():
        if kind == "DaemonSet":  # the order of mounts means nothing
            for container in thing["spec"]["template"]["spec"]["containers"]:
                container["volumeMounts"].sort(key=lambda m: m["mountPath"])
    return found


def check_chart(server):
    found = subprocess.run([f"{HERE}/parts", "helm"], check=False, capture_output=True, text=True)
    if found.returncode:
        skip("the chart renders what the overlays are", found.stderr.strip())
        return

    def render(*values, namespace=NAMESPACE):
        words = [word for value in values for word in ("--set", value)]
        return subprocess.run([found.stdout.strip(), "template", "numastow", f"{KUBERNETES}/chart", "--kube-version", "1.36.3",
                               "--namespace", namespace, *words], check=False, capture_output=True, text=True)
    same("each overlay is rendered", sorted(RENDERED), sorted(os.listdir(f"{KUBERNETES}/overlays")))
    for name, values in RENDERED.items():
        chart = render(*values)
        overlay = server.kubectl("kustomize", f"{KUBERNETES}/overlays/{name}")
        if check(f"the chart and the overlay {name} are rendered", chart.returncode + overlay.returncode == 0,
                 chart.stderr + overlay.stderr):
            wanted, made = objects_of(overlay.stdout), objects_of(chart.stdout)
            same(f"the chart renders the overlay {name}", [k for k in wanted.keys() | made.keys()
                                                           if wanted.get(k) != made.get(k)], [])
    other = render("scheduler.enabled=true", "extender.enabled=true", "limits.team=cpus=4", "machine=mode: observe",
                   "agent.settings.log-level=debug", "agent.kubeletFolder=/data/kubelet", "image=registry.example/numastow:2", namespace="elsewhere")
    made = objects_of(other.stdout)
    check("in another namespace, nothing speaks of ours", made and NAMESPACE not in other.stdout, other.stderr)
    check("another image is used", "localhost/" not in other.stdout and "image: registry.example/numastow:2" in other.stdout)
    same("limits, and the machines' settings", (made["ConfigMap", "numastow-limits"]["data"],
                                               made["ConfigMap", "numastow-machine"]["data"]),
         ({"team": "cpus=4"}, {"config.yaml": "mode: observe"}))
    settings = yaml.safe_load(made["ConfigMap", "numastow-agent"]["data"]["agent.yaml"])
    same("the agent's settings", (settings["kubernetes"], settings["log-level"], settings["kubelet-folder"]),
         (True, "debug", "/data/kubelet"))
    check("kubelet's folder is nowhere the usual one", not re.search(r"/var/lib/kubelet", other.stdout))


def main():
    with Temp() as folder, Server(folder, find_parts()) as server:
        if check("the API server is ready", server.wait(), server.dead()):
            check_applied(server)
            check_chart(server)
            check_roles(server)
            check_topology(server, folder)
            check_status(server, "with its role", "Forbidden: changing")
            give_all(server)
            check_status(server, "by the policy", "numastow's agent")
            check_slices(server)
            check_guide(server, folder)
            check_limits(server)
            check_quota(server)
            check_deletions(server)
            check_webhook(server, folder)
            check_examples(server)
        same("all programs went on", server.dead(), [])


if __name__ == "__main__":
    run_test("manifests on a stock API server", main)
