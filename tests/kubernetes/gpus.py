#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A second driver beside ours: GPUs that are not there, each of one NUMA node. kubelet's plugin, as drivers of others are.

usage: gpus.py KUBECONFIG MACHINE STUBS NUMA-NODE...     one GPU for each NUMA node; its container has GPU=NAME
"""
import base64
import json
import os
import signal
import ssl
import sys
import urllib.error
import urllib.request
from concurrent import futures

import grpc

KUBECONFIG, MACHINE, STUBS, *NUMA_NODES = sys.argv[1:]
sys.path.insert(0, STUBS)
from kubelet import dra_v1_pb2 as dra, registration_pb2 as registration  # noqa: E402

DRIVER = "gpu.example.com"
FOLDER = "/var/lib/kubelet"
ENDPOINT, REGISTRY = f"{FOLDER}/plugins/{DRIVER}/dra.sock", f"{FOLDER}/plugins_registry/{DRIVER}-reg.sock"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"

with open(KUBECONFIG, encoding="ascii") as handle:
    config = json.load(handle)
CLUSTER, TOKEN = config["clusters"][0]["cluster"], config["users"][0]["user"]["token"]
CONTEXT = ssl.create_default_context(cadata=base64.b64decode(CLUSTER["certificate-authority-data"]).decode())


def request(method, path, body=None):
    asked = urllib.request.Request(CLUSTER["server"] + path, method=method, data=json.dumps(body).encode() if body else None, headers={
        "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60, context=CONTEXT) as answer:
        return json.load(answer)


def publish(*_):
    devices = [{"name": f"gpu{i}", "attributes": {"resource.kubernetes.io/numaNode": {"int": int(node)}}}
               for i, node in enumerate(NUMA_NODES)]
    try:
        request("POST", SLICES, {"metadata": {"name": f"{MACHINE}-{DRIVER}"}, "spec": {
            "driver": DRIVER, "nodeName": MACHINE, "devices": devices,
            "pool": {"name": MACHINE, "generation": 1, "resourceSliceCount": 1}}})
        print("published", flush=True)
    except urllib.error.HTTPError as error:
        print(error, error.read(), flush=True)  # such as that it is there


def prepare(asked, _):
    answer = dra.NodePrepareResourcesResponse()
    for claim in asked.claims:
        stored = request("GET", f"/apis/resource.k8s.io/v1/namespaces/{claim.namespace}/resourceclaims/{claim.name}")
        entry = answer.claims.add(key=claim.uid)
        for result in stored["status"]["allocation"]["devices"]["results"]:
            if result["driver"] == DRIVER:
                entry.value.devices.add(request_names=[result["request"]], pool_name=MACHINE, device_name=result["device"],
                                        cdi_device_ids=[f"{DRIVER}/gpu={result['device']}"])
        entry.value.SetInParent()
    return answer


def unprepare(asked, _):
    answer = dra.NodeUnprepareResourcesResponse()
    for claim in asked.claims:
        answer.claims.add(key=claim.uid).value.SetInParent()
    return answer


def get_info(*_):
    return registration.PluginInfo(type="DRAPlugin", name=DRIVER, endpoint=ENDPOINT, supported_versions=["v1.DRAPlugin"])


def registered(asked, _):
    print("registered" if asked.plugin_registered else asked.error, flush=True)
    publish()
    return registration.RegistrationStatusResponse()


def serve(path, service, **methods):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {
        name: grpc.unary_unary_rpc_method_handler(function, kind.FromString, lambda m: m.SerializeToString())
        for name, (function, kind) in methods.items()})])
    server.add_insecure_port(f"unix:{path}")
    server.start()
    return server


with open(f"/run/cdi/{DRIVER}.json", "w", encoding="ascii") as out:
    json.dump({"cdiVersion": "0.6.0", "kind": f"{DRIVER}/gpu", "devices": [
        {"name": f"gpu{i}", "containerEdits": {"env": [f"GPU=gpu{i}"]}} for i in range(len(NUMA_NODES))]}, out)
servers = [serve(ENDPOINT, "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin",
                 NodePrepareResources=(prepare, dra.NodePrepareResourcesRequest),
                 NodeUnprepareResources=(unprepare, dra.NodeUnprepareResourcesRequest)),
           serve(REGISTRY, "pluginregistration.Registration", GetInfo=(get_info, registration.InfoRequest),
                 NotifyRegistrationStatus=(registered, registration.RegistrationStatus))]
signal.pause()
