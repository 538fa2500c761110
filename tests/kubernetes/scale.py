# SPDX-License-Identifier: Apache-2.0
"""A thousand machines with eight NUMA nodes each, which nobody runs: their slices, and the stock scheduler's work."""
import collections
import copy
import http.client
import json
import re
import threading
import time

from cluster import CLAIMS, PODS, SLICES, eventually
from harness import check, same

MACHINES, NUMA_NODES, CLAIMS_PLACED = 1000, 8, 200


def at_once(cluster, requests, threads=8):
    """Sends (method, path, body) on a few connections; the statuses, counted."""
    waiting, counted = collections.deque(requests), collections.Counter()

    def send():
        connection = http.client.HTTPSConnection("127.0.0.1", cluster.port, timeout=60, context=cluster.context)
        while True:
            try:
                method, path, body = waiting.popleft()
            except IndexError:
                break
            connection.request(method, path, json.dumps(body), {
                "Authorization": f"Bearer {cluster.tokens['admin']}", "Content-Type": "application/json"})
            with connection.getresponse() as answer:
                answer.read()
                counted[answer.status] += 1
        connection.close()
    workers = [threading.Thread(target=send) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return dict(counted)


def load(cluster):
    """The API server's processor time, in seconds, and its memory, in MiB."""
    text = cluster.request("GET", "/metrics", raw=True).decode()
    value = {name: float(re.search(rf"^{name} (\S+)$", text, re.M)[1])
             for name in ("process_cpu_seconds_total", "process_resident_memory_bytes")}
    return value["process_cpu_seconds_total"], value["process_resident_memory_bytes"] / (1 << 20)


def machine(number):
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"sim-{number}"},
            "status": {"capacity": amounts, "allocatable": amounts,
                       "conditions": [{"type": "Ready", "status": "True"}]}}


def slice_of(number, device):
    """As the agent of that machine would publish it: `device` is one of its NUMA nodes."""
    name, devices = f"sim-{number}", []
    for numa in range(NUMA_NODES):
        one = copy.deepcopy(device)
        one["name"] = f"node{numa}"
        for attribute in ("resource.kubernetes.io/numaNode", "dra.cpu/numaNodeID", "dra.net/numaNode"):
            if attribute in one.get("attributes", {}):
                one["attributes"][attribute] = {"int": numa}
        devices.append(one)
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": f"sim-{number}-0"},
            "spec": {"driver": "numastow.io", "nodeName": name, "devices": devices,
                     "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}}


def pod(name, claim=None):
    main = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}
    spec = {"containers": [main], "tolerations": [{"operator": "Exists"}], "automountServiceAccountToken": False}
    if claim:
        spec["resourceClaims"] = [{"name": "numa", "resourceClaimName": claim}]
        main["resources"]["claims"] = [{"name": "numa"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def place(cluster, what, names, requests):
    """Makes pods, and waits until all have a machine."""
    began = time.monotonic()
    counted = at_once(cluster, requests)
    check(f"{what} are made", set(counted) == {201}, counted)
    done = eventually(lambda: sum(p["metadata"]["name"] in names and bool(p["spec"].get("nodeName"))
                                  for p in cluster.items(PODS)) == len(names))
    check(f"{what} are placed", done)
    print(f"#   {len(names)} {what}: {time.monotonic() - began:.1f} s", flush=True)


def device_of():
    """A NUMA node as an agent publishes it."""
    step = {"default": "0", "validRange": {"min": "0", "step": None}}
    capacity = {}
    for name, value, by in (("cpus", "16", "1"), ("memory", "64Gi", "1Mi"), ("hugepages2Mi", "4Gi", "2Mi")):
        policy = copy.deepcopy(step)
        policy["validRange"]["step"] = by
        capacity[name] = {"value": value, "requestPolicy": policy}
    return {"allowMultipleAllocations": True, "capacity": capacity, "attributes": {
        "numastow.io/kind": {"string": "cpus-memory"}, "numastow.io/cpuCount": {"int": 16},
        "resource.kubernetes.io/numaNode": {"int": 0}, "dra.cpu/numaNodeID": {"int": 0}, "dra.net/numaNode": {"int": 0}}}


def scale(cluster):
    device = device_of()
    cpu, _ = load(cluster)
    began = time.monotonic()
    counted = at_once(cluster, [("POST", "/api/v1/nodes", machine(n)) for n in range(MACHINES)])
    same(f"{MACHINES} machines are made", counted, {201: MACHINES})
    counted = at_once(cluster, [("POST", SLICES, slice_of(n, device)) for n in range(MACHINES)])
    same("the API server has a slice of each", counted, {201: MACHINES})
    after, memory = load(cluster)
    print(f"#   {MACHINES} slices: {time.monotonic() - began:.1f} s; the API server used {after - cpu:.1f} s of CPU, "
          f"and has {memory:.0f} MiB", flush=True)
    names = [f"plain-{n}" for n in range(CLAIMS_PLACED)]
    place(cluster, "plain pods", set(names), [("POST", PODS, pod(name)) for name in names])
    names = [f"numa-{n}" for n in range(CLAIMS_PLACED)]
    for name in names:
        cluster.claim(name, cpus=1, memory="256Mi")
    place(cluster, "pods with a claim", set(names), [("POST", PODS, pod(name, name)) for name in names])
    taken = collections.Counter()
    for claim in cluster.items(CLAIMS):
        for result in claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", []):
            taken[result["pool"], result["device"]] += int(result["consumedCapacity"]["cpus"])
    limit = int(device["capacity"]["cpus"]["value"])
    same("each claim has its CPU", sum(taken.values()), CLAIMS_PLACED)
    check(f"no NUMA node has more than its {limit} CPUs", max(taken.values()) <= limit, taken.most_common(3))
