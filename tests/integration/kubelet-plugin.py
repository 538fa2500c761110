#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The agent as kubelet's plugin, with a kubelet and an API server in Python: registers, prepares, unprepares; the
kubelet restarts, sockets and folders go; the API server is another, slow or gone; the agent is killed."""
import concurrent.futures
import contextlib
import copy
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import uuid

import grpc

from daemons import AGENT, PATIENCE, Daemon, free_port, metrics_of
from fleetlib import PYTHON, eventually
from harness import (DIMM, MEMORY, PROJECT, Machine, Temp, add_memory, check, claim, fingerprint, finish, hook, query, run,
                     same, skip)
from kubelib import ApiServer, kubeconfig, make_certificates

subprocess.run(["protoc", f"-I{PROJECT}/proto", f"--python_out={PYTHON}", "kubelet/registration.proto",
                "kubelet/dra_v1.proto", "kubelet/health_v1.proto"], check=True)
sys.path.insert(0, PYTHON)
from kubelet import dra_v1_pb2 as dra, health_v1_pb2 as health, registration_pb2 as registration  # noqa: E402

UID = "11111111-2222-4333-8444-55555555555"
SHARE = "aaaaaaaa-0000-4000-8000-00000000000"
POD = "99999999-2222-4333-8444-555555555555"
ARENA = 64 << 20
ROOT = "/k"  # kubelet's folder: the paths of sockets are short
HOOK_PATH = "/usr/libexec/numastow/numastow-hook"
WITHIN = PATIENCE  # kubelet gives a call 45 s


def allocated(number, node=1, cpus=2, mode="exclusive", **result):
    """What the API server has of claim `number`."""
    parameters = {"apiVersion": "numastow.io/v1", "kind": "Parameters", "cpuMode": mode}
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"uid": f"{UID}{number}", "namespace": "team", "name": f"db{number}"},
            "status": {"reservedFor": [{"resource": "pods", "name": "web", "uid": POD}],
                       "allocation": {"devices": {
                           "config": [{"source": "FromClass", "requests": [],
                                       "opaque": {"driver": "numastow.io", "parameters": parameters}}],
                           "results": [{"driver": "numastow.io", "pool": "m", "device": f"node{node}",
                                        "request": "main", "shareID": f"{SHARE}{number}",
                                        "consumedCapacity": {"cpus": str(cpus), "memory": "64Mi"}, **result}]}}}}


class Claims(dict):
    """The API server's. Whatever is stored gets a version of its own, so that nobody who has read what was there before
    can write it over that."""

    def __init__(self, *claims):
        super().__init__()
        self.lock, self.version = threading.RLock(), 0
        for name, claim_ in dict(*claims).items():
            self[name] = claim_

    def __setitem__(self, name, stored):
        with self.lock:
            self.version += 1
            if isinstance(stored, dict):
                stored = {**stored, "metadata": {**stored["metadata"], "resourceVersion": str(self.version)}}
            super().__setitem__(name, stored)


class Bench:
    """A machine, its agent, an API server, and kubelet's folders."""

    def __init__(self, folder, name, certificates):
        self.folder = f"{folder}/{name}"
        os.makedirs(self.folder)
        self.certificates = certificates
        self.machine = Machine(f"{self.folder}/m")
        self.machine.kubepods(f"pod{POD}")
        self.make_folders()
        self.api = ApiServer(certificates)
        self.api.faults.append(self.answer)
        self.claims, self.puts, self.forbidden, self.gate = Claims(), [], False, threading.Event()
        self.gate.set()
        self.asked, self.from_where = 0, set()
        self.api.start()
        self.program = None

    def make_folders(self):
        for name in ("plugins_registry", "plugins"):
            os.makedirs(self.machine.file(f"{ROOT}/{name}"), exist_ok=True)

    def renew_folders(self):
        """Both at once: others take their place."""
        for name in ("plugins_registry", "plugins"):
            os.rename(self.machine.file(f"{ROOT}/{name}"), self.machine.file(f"{ROOT}/{name}.old"))
        self.make_folders()

    def said(self, message):
        """How often, until now."""
        return sum(json.dumps(message) in line for line in self.program.so_far())

    def answer(self, handler, method, path):
        if "/resourceclaims/" not in path:
            return False
        if method == "PUT":
            with self.claims.lock:
                return self.put(handler, path)
        self.asked += 1
        self.from_where.add(handler.client_address)
        self.gate.wait(PATIENCE)
        found = self.claims.get(path.rpartition("/")[2])
        if isinstance(found, bytes):
            handler.answer(200, found)
        elif found:
            handler.answer(200, found)
        else:
            handler.refuse(404, "NotFound", "resourceclaims not found")
        return True

    def put(self, handler, path):
        """The status of a claim, as an API server takes it: of the version that was read."""
        name, _, what = path.partition("/resourceclaims/")[2].partition("/")
        stored, sent = self.claims.get(name), handler.body
        self.puts.append((path, sent))
        if what != "status" or not isinstance(stored, dict):
            handler.refuse(404, "NotFound", "resourceclaims not found")
        elif sent["metadata"].get("resourceVersion") != stored["metadata"].get("resourceVersion"):
            handler.refuse(409, "Conflict", "the object has been modified")
        elif sent["metadata"]["uid"] != stored["metadata"]["uid"]:
            handler.refuse(409, "Conflict", "uid mismatch")
        elif self.forbidden:
            handler.refuse(403, "Forbidden", 'cannot update resource "resourceclaims/status"')
        else:
            stored = copy.deepcopy(stored)
            stored["status"] = sent["status"]
            self.claims[name] = stored
            handler.answer(200, self.claims[name])
        return True

    def conditions(self, number, share=None):
        """Of the share of claim `number`: type to (status, reason, message)."""
        for device in self.claims[f"db{number}"].get("status", {}).get("devices", []):
            if device.get("shareID") == (share or f"{SHARE}{number}"):
                return {c["type"].removeprefix("numastow.io/"): (c["status"], c["reason"], c["message"])
                        for c in device["conditions"]}
        return {}

    def start(self, *options, settings="/dev/null", wait=True):
        config = kubeconfig(f"{self.folder}/kubeconfig", self.api.port, self.certificates, token="first")
        self.program = Daemon([AGENT, "--sysroot", self.machine.path, "--config", settings, "--node", "m",
                               "--kubernetes", "--kubeconfig", config, "--kubelet-folder", ROOT,
                               "--cdi-folder", "/run/cdi", "--claims-hook", HOOK_PATH,
                               "--metrics", f"127.0.0.1:{free_port()}", *options])
        if wait and not self.program.wait("numastow-agent is ready"):
            check("the agent is ready", False, self.program.said)
        return self

    def kill(self):
        self.program.process.kill()
        self.program.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gate.set()
        if self.program:
            self.program.stop()
        self.api.stop()

    def sockets(self):
        at = self.machine.file(f"{ROOT}/plugins_registry")
        return sorted(os.listdir(at)) if os.path.isdir(at) else []

    def files(self):
        at = self.machine.file("/run/cdi")
        return sorted(os.listdir(at)) if os.path.isdir(at) else []

    def spec(self, number):
        with open(self.machine.file(f"/run/cdi/numastow.io-claim_{UID}{number}.json"), encoding="utf-8") as handle:
            return json.load(handle)

    def cpus(self):
        return [c for c, in query(self.machine, "SELECT cpu FROM cpu ORDER BY cpu")]

    def consistent(self, *numbers):
        """The ledger, and the files, have exactly these claims."""
        same(f"files of the claims {numbers}", self.files(), [f"numastow.io-claim_{UID}{n}.json" for n in numbers])


def call(path, method, request, answer, timeout=WITHIN):
    with grpc.insecure_channel(f"unix:{path}") as channel:
        return channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                   response_deserializer=answer.FromString)(request, timeout=timeout)


class Kubelet:
    """It has found the one socket of the registry."""

    def __init__(self, bench):
        self.bench = bench
        found = eventually(bench.sockets)
        if not found:
            check("there is a socket in the registry", False, bench.program.so_far()[-3:])
            raise SystemExit(1)
        self.socket = bench.machine.file(f"{ROOT}/plugins_registry/{found[0]}")
        self.info = self.ask("GetInfo", registration.InfoRequest(), registration.PluginInfo)
        self.endpoint = self.info.endpoint

    def ask(self, method, request, answer):
        """kubelet asks again while there is no answer."""
        def attempt():
            with contextlib.suppress(grpc.RpcError):
                return (call(self.socket, f"/pluginregistration.Registration/{method}", request, answer),)
            return None
        return eventually(attempt)[0]

    def register(self, good=True, error=""):
        self.ask("NotifyRegistrationStatus", registration.RegistrationStatus(plugin_registered=good, error=error),
                 registration.RegistrationStatusResponse)
        return self

    def prepare(self, *numbers, version="v1", names=None):
        claims = names or [dra.Claim(namespace="team", uid=f"{UID}{n}", name=f"db{n}") for n in numbers]
        answer = call(self.endpoint, f"/k8s.io.kubelet.pkg.apis.dra.{version}.DRAPlugin/NodePrepareResources",
                      dra.NodePrepareResourcesRequest(claims=claims), dra.NodePrepareResourcesResponse)
        return {entry.key: entry.value for entry in answer.claims}

    def unprepare(self, *numbers, version="v1", uids=None):
        claims = [dra.Claim(namespace="team", uid=u, name="db") for u in uids or [f"{UID}{n}" for n in numbers]]
        answer = call(self.endpoint, f"/k8s.io.kubelet.pkg.apis.dra.{version}.DRAPlugin/NodeUnprepareResources",
                      dra.NodeUnprepareResourcesRequest(claims=claims), dra.NodeUnprepareResourcesResponse)
        return {entry.key: entry.value.error for entry in answer.claims}


def arenas(pid):
    """How many arenas of malloc threads of the process have beside the main one: each begins and ends at 64 MiB."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as handle:
        maps = [line.split() for line in handle]
    ranges = [(*(int(n, 16) for n in fields[0].split("-")), fields[1]) for fields in maps if fields[4] == "0"]
    return sum(first[2] == "rw-p" and not first[0] % ARENA and rest[2] == "---p" and rest[1] == first[0] + ARENA
               for first, rest in zip(ranges, ranges[1:]))


def check_life(folder, certificates):
    with Bench(folder, "life", certificates) as bench:
        bench.claims = Claims({"db1": allocated(1), "db2": allocated(2, node=0, cpus=1, mode="shared")})
        bench.start("--pod-uid", "99999999")
        kubelet = Kubelet(bench).register()
        check("it says that kubelet has registered it", bench.program.wait("kubelet has registered the agent"))
        same("its name and type", (kubelet.info.type, kubelet.info.name), ("DRAPlugin", "numastow.io"))
        same("its versions", list(kubelet.info.supported_versions),
             ["v1.DRAPlugin", "v1beta1.DRAPlugin", "v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"])
        same("its sockets carry the pod's UID", (bench.sockets(), os.path.basename(kubelet.endpoint)),
             (["numastow.io-99999999-reg.sock"], "dra-99999999.sock"))
        for path in (kubelet.socket, kubelet.endpoint):
            same("only root may connect", stat.S_IMODE(os.lstat(path).st_mode), 0o600)
        answer = kubelet.prepare(1, 2)
        same("both claims are answered", sorted(answer), [f"{UID}1", f"{UID}2"])
        device = answer[f"{UID}1"].devices[0]
        same("the device", (answer[f"{UID}1"].error, list(device.request_names), device.pool_name, device.device_name,
                            list(device.cdi_device_ids), device.share_id),
             ("", ["main"], "m", "node1", [f"numastow.io/claim={UID}1-{SHARE}1"], f"{SHARE}1"))
        bench.consistent(1, 2)
        spec = bench.spec(1)
        same("the kind", spec["kind"], "numastow.io/claim")
        same("the hooks", [(h["hookName"], h["path"], h["args"])
                           for h in spec["devices"][0]["containerEdits"]["hooks"]],
             [(stage, HOOK_PATH, ["numastow-hook", command, "--claim", f"{UID}1", "--share", f"{SHARE}1"])
              for stage, command in (("createRuntime", "apply"), ("poststop", "release"))])
        same("exclusive CPUs are set aside, of the node that was allocated", bench.cpus(), [4, 5])
        same("again: the same", kubelet.prepare(1)[f"{UID}1"].devices[0], device)
        for number in (1, 2):
            check("conditions are written", eventually(lambda n=number: bench.conditions(n) == IN_PLACE),
                  bench.conditions(number))
        asked = bench.asked
        bench.gate.clear()  # no API server now
        same("unprepared, by the other version", kubelet.unprepare(1, version="v1beta1"), {f"{UID}1": ""})
        same("unprepared again", kubelet.unprepare(1), {f"{UID}1": ""})
        same("unknown claims, and what is no UID", kubelet.unprepare(uids=[f"{UID}9", "", "../../x"]),
             {f"{UID}9": "", "": "", "../../x": ""})
        bench.gate.set()
        same("for that the API server is not asked", bench.asked, asked)
        bench.consistent(2)
        same("nothing is set aside", bench.cpus(), [])
        same("v1beta1 prepares, too", kubelet.prepare(1, version="v1beta1")[f"{UID}1"].error, "")
        for name, value in (("kubelet_registered", 1), ("claims_prepared_total", 4), ("claims_unprepared_total", 5),
                            ("claims_prepare_failures_total", 0), ("claims_unprepare_failures_total", 0)):
            line = f"\nnumastow_agent_{name} {value}\n"
            check(f"metrics: {name}", eventually(lambda wanted=line: wanted in metrics_of(bench.program)),
                  metrics_of(bench.program)[-800:])
        same("its threads share one arena of memory, or each would keep what a call once needed",
             arenas(bench.program.process.pid), 0)
        same("SIGTERM: no sockets are left", (bench.program.stop(), bench.sockets(), os.path.exists(kubelet.endpoint)),
             (None, [], False))
        bench.consistent(1, 2)


def check_update(folder, certificates):
    """A new pod's agent beside the old one's, as in a rolling update."""
    with Bench(folder, "update", certificates) as bench:
        bench.start("--pod-uid", "11111111")
        Kubelet(bench).register()
        old = bench.program
        for what, options in (("asked to end while it waits, it ends", "22222222"), ("a third", "33333333")):
            bench.start("--pod-uid", options, wait=False)
            said = bench.program.wait("waiting until the other agent ends")
            check("a new agent waits for the old one", said and f"pid {old.process.pid}" in said["reason"], said)
            same("whose socket alone is there", bench.sockets(), ["numastow.io-11111111-reg.sock"])
            if options == "22222222":
                bench.program.stop()
                same(what, bench.program.process.returncode, 0)
        old.stop()
        check("the old one has ended: the new one is ready", bench.program.wait("numastow-agent is ready"))
        check("with a socket of its own", eventually(lambda: bench.sockets() == ["numastow.io-33333333-reg.sock"]),
              bench.sockets())
        new = bench.program
        bench.start(wait=False)
        bench.program.wait("numastow-agent is ready")  # or its end
        check("outside of a pod a second agent is refused", bench.program.process.wait(PATIENCE) == 1 and
              "an agent is running already" in "".join(bench.program.said), bench.program.said)
        new.stop()


def check_refusals(folder, certificates):
    with Bench(folder, "refusals", certificates) as bench:
        good = allocated(1)
        bench.start()
        kubelet = Kubelet(bench).register()
        same("without a pod's UID the sockets are called as others'", bench.sockets(), ["numastow.io-reg.sock"])
        other = allocated(1)
        other["metadata"]["uid"] = f"{UID}7"
        unreserved = allocated(1)
        unreserved["status"]["reservedFor"] = []
        cases = {
            "no such claim": (None, "not found"),
            "another claim of that name": (other, "metadata: uid"),
            "not allocated": ({k: good[k] for k in ("metadata", "kind")}, "not allocated"),
            "not reserved": (unreserved, "reserved for no pod"),
            "another machine's": (allocated(1, pool="n"), 'pool: "n" instead of "m"'),
            "adminAccess": (allocated(1, adminAccess=True), "adminAccess"),
            "no share": (allocated(1, shareID=None), "DRAConsumableCapacity"),
            "too many CPUs": (allocated(1, cpus=5), "5 exclusive CPUs"),
            "no such NUMA node": (allocated(1, node=7), "node"),
            "a bad mode": (allocated(1, mode="mine"), 'cpuMode: "mine" is not one of'),
            "garbage": (b"\x00\xff{", ""),
            "a list": (b"[]", ""),
            "deep": (b"[" * 100000, ""),
        }
        bench.claims["db2"] = allocated(2, node=0)
        for what, (item, text) in cases.items():
            bench.claims["db1"] = item
            answer = kubelet.prepare(1, 2)
            error = answer[f"{UID}1"].error
            check(f"refused: {what}", error and text in error and "\n" not in error and not answer[f"{UID}1"].devices,
                  error)
            check(f"{what}: the other claim of the call is prepared", not answer[f"{UID}2"].error, answer)
        names = [("team", f"{UID}1", "../secrets/x"), ("..", f"{UID}1", "db"), ("team", "x", "db"), ("", "", "")]
        answer = kubelet.prepare(names=[dra.Claim(namespace=a, uid=b, name=c) for a, b, c in names])
        check("names that are none", all(v.error for v in answer.values()) and len(answer) == 3, answer)
        bench.consistent(2)
        os.rename(bench.machine.file("/run/cdi"), bench.machine.file("/run/elsewhere"))
        os.symlink("elsewhere", bench.machine.file("/run/cdi"))
        bench.claims["db1"] = good
        error = kubelet.prepare(1)[f"{UID}1"].error
        check("refused: a link in place of the CDI folder", "the folder of CDI files" in error, error)
        same("and nothing is taken", bench.cpus(), [0, 1])
        os.unlink(bench.machine.file("/run/cdi"))
        same("then it is", kubelet.prepare(1)[f"{UID}1"].error, "")
        bench.consistent(1)


def opaque(driver="numastow.io", source="FromClaim", **parameters):
    return {"source": source, "requests": [], "opaque": {"driver": driver, "parameters": {
        "apiVersion": "numastow.io/v1", "kind": "Parameters", **parameters}}}


def hostile(number):
    """{what: (claim, words of the refusal; None: it is prepared)}: what a user of the API can have stored."""
    def changed(*configs, results=None, **metadata):
        item = allocated(number)
        devices = item["status"]["allocation"]["devices"]
        devices["config"] += configs
        devices["results"] = results or devices["results"]
        item["metadata"].update(metadata)
        return item

    def text(old, new):
        return json.dumps(allocated(number)).replace(old, new).encode()

    one = allocated(number)["status"]["allocation"]["devices"]["results"][0]
    shares = lambda n: [{**one, "shareID": f"{SHARE[:-2]}{i:03}", "consumedCapacity": {"memory": "1Mi"}} for i in range(n)]
    mode = '"cpuMode": "exclusive"'
    return {
        "parameters of more than 10 KiB": (changed(opaque(drain="x" * 10240)), "at most 10240"),
        "parameters nested deep": (text(mode, '"drain": ' + '{"a":' * 20 + "1" + "}" * 20), "drain: is not a valid text"),
        "parameters nested deeper than a parser goes": (text(mode, '"drain": ' + "[" * 5000 + "]" * 5000), ""),
        "a key twice": (text(mode, '"cpuMode": "shared", ' + mode), '"cpuMode": appears 2 times'),
        "an unknown field": (changed(opaque(cpus="all")), '"cpus" is not'),
        "no object": (text(mode, '"drain": null'), "drain: is not a valid text"),
        "a claim that asks for more than its class gives": (changed(opaque(cpuMode="isolated")), "is for a DeviceClass to give"),
        "33 results": (changed(results=shares(33)), "33 devices; at most 32"),
        "a share twice": (changed(results=[one, one]), "twice"),
        "another driver's device alone": (changed(results=[{**one, "driver": "gpu.example"}]), "no device of numastow.io"),
        "a share that is a path": (changed(results=[{**one, "shareID": "../../../../etc/cron.d/x"}]), "shareID"),
        "a device that is a path": (changed(results=[{**one, "device": "../../node0"}]), "is not a NUMA node"),
        "a request that is a path": (changed(results=[{**one, "request": "../../../etc/x"}]), "request"),
        "another cluster's claim": (changed(uid=f"{UID}8"), "metadata: uid"),
        "another namespace's claim": (changed(namespace="others"), "namespace"),
        "parameters for another driver": (changed(opaque("gpu.example", cpuMode="isolated", x="y" * 9000)), None),
        "another driver's device beside it": (changed(results=[{**one, "driver": "gpu.example", "device": "../x"}, one]), None),
        "a device twice": (changed(results=[one, {**one, "shareID": f"{SHARE}9", "request": "side"}]), None),
        "32 results": (changed(results=shares(32)), None),
    }


def elsewhere(machine):
    """What the tree has outside of the folder of CDI files and of the agent's own."""
    return {path: sum_ for path, sum_ in fingerprint(machine).items()
            if not path.startswith(("run/cdi", "run/numastow", "var/lib/numastow", ROOT[1:]))}


def check_hostile(folder, certificates):
    """One line for each, and no file outside of the folder of CDI files."""
    with Bench(folder, "hostile", certificates) as bench:
        bench.start()
        kubelet = Kubelet(bench).register()
        bench.claims["db2"] = allocated(2, node=0)
        same("another claim is prepared", kubelet.prepare(2)[f"{UID}2"].error, "")
        check("whose CPUs no other pod has", eventually(
            lambda: bench.machine.read("/sys/fs/cgroup/kubepods/cpuset.cpus") == "2-7"))
        before = elsewhere(bench.machine)
        for what, (item, words) in hostile(1).items():
            bench.claims["db1"] = item
            answer = kubelet.prepare(1)[f"{UID}1"]
            if words is None:
                check(f"prepared: {what}", not answer.error and answer.devices, answer.error)
                bench.consistent(1, 2)
                same(f"... and unprepared: {what}", kubelet.unprepare(1), {f"{UID}1": ""})
            else:
                check(f"refused in one line: {what}", answer.error and words in answer.error and
                      "\n" not in answer.error and not answer.devices, answer.error)
            bench.consistent(2)
            same(f"what the other claim has: {what}", bench.cpus(), [0, 1])
        check_many(bench, kubelet)
        same("nothing was written elsewhere", elsewhere(bench.machine), before)
        check_dribble(bench, kubelet)


def check_many(bench, kubelet):
    """One pod can have any number of claims, of 32 devices each, that ask for nothing."""
    names = []
    for n in range(33):
        item = allocated(1, mode="shared")
        one = {**item["status"]["allocation"]["devices"]["results"][0], "consumedCapacity": {}}
        item["metadata"].update(uid=f"{UID[:-2]}{n:03}", name=f"many{n}")
        item["status"]["allocation"]["devices"]["results"] = [
            {**one, "shareID": f"{SHARE[:-4]}{n:03}{i:02}"} for i in range(32)]
        bench.claims[f"many{n}"] = item
        names.append(dra.Claim(namespace="team", uid=item["metadata"]["uid"], name=f"many{n}"))
    # One by one: a call is answered within 20 s, however slow the machine is.
    errors = [kubelet.prepare(names=[name])[name.uid].error for name in names]
    check("a namespace has at most 1,024 devices of a machine", sum(map(bool, errors)) == 2 and
          "and this one needs 32 more: at most 1024 are possible" in max(errors), max(errors))
    same("what is there is prepared again", kubelet.prepare(names=names[:1])[names[0].uid].error, "")
    bench.claims["db3"] = allocated(3, node=0, mode="shared")
    bench.claims["db3"]["metadata"]["namespace"] = "others"
    other = dra.Claim(namespace="others", uid=f"{UID}3", name="db3")
    same("another namespace has its own", kubelet.prepare(names=[other])[other.uid].error, "")
    errors = [kubelet.unprepare(uids=[name.uid])[name.uid] for name in [*names, other]]
    same("all are unprepared", set(errors), {""})
    bench.consistent(2)


def check_dribble(bench, kubelet):
    """The API server sends byte after byte without end: kubelet is answered while it still does."""
    over, sent = threading.Event(), []

    def dribble(handler, _method, path):
        if not path.endswith("/db1"):
            return False
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        with contextlib.suppress(OSError):  # the agent has closed the connection
            while not over.is_set():
                sent.append(handler.wfile.write(b"["))
                over.wait(0.05)
        return True

    bench.claims["db1"] = allocated(1)
    bench.api.faults.insert(0, dribble)
    error = kubelet.prepare(1)[f"{UID}1"].error
    check("an answer that never ends is an error in one line", error and sent and "\n" not in error, error)
    over.set()
    bench.api.faults.pop(0)
    same("then it is prepared", kubelet.prepare(1)[f"{UID}1"].error, "")
    bench.consistent(1, 2)


def check_sockets(folder, certificates):
    """kubelet, or somebody else, removes what the agent has made."""
    with Bench(folder, "sockets", certificates) as bench:
        bench.claims["db1"] = allocated(1)
        stale = bench.machine.file(f"{ROOT}/plugins_registry/numastow.io-88888888-reg.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(stale)
        with open(bench.machine.file(f"{ROOT}/plugins_registry/other-reg.sock"), "w", encoding="ascii"):
            pass
        bench.start()
        check("another agent's socket goes, others' files stay",
              eventually(lambda: bench.sockets() == ["numastow.io-reg.sock", "other-reg.sock"]), bench.sockets())
        os.unlink(bench.machine.file(f"{ROOT}/plugins_registry/other-reg.sock"))
        kubelet = Kubelet(bench).register()
        for what, remove in (
                ("the registry's socket", lambda: os.unlink(kubelet.socket)),
                ("the service's socket", lambda: os.unlink(kubelet.endpoint)),
                ("both folders", bench.renew_folders)):
            waits = "waiting for kubelet to register the agent"
            before = bench.said(waits)
            remove()
            check(f"{what} removed: it waits again", eventually(lambda n=before, w=waits: bench.said(w) > n),
                  bench.program.said[-3:])

            def prepares():  # two folders may go one after the other, as the agent sees them
                with contextlib.suppress(grpc.RpcError):
                    return Kubelet(bench).register().prepare(1)[f"{UID}1"].error == ""
                return False
            check(f"{what} removed: it prepares", eventually(prepares))
        kubelet = Kubelet(bench).register()  # kubelet has restarted, and finds the socket
        same("after kubelet's restart it prepares", kubelet.prepare(1)[f"{UID}1"].error, "")
        kubelet.register(False, "no versions in common")
        said = bench.program.wait("kubelet did not register the agent")
        same("a refused registration is said", said and said["reason"], "no versions in common")


def check_waits(folder, certificates):
    """No kubelet yet; an API server that does not answer; SIGTERM meanwhile."""
    with Bench(folder, "waits", certificates) as bench:
        subprocess.run(["rm", "-rf", bench.machine.file(ROOT)], check=True)
        bench.claims["db1"] = allocated(1)
        bench.start()
        check("without kubelet's folders it waits", 
              eventually(lambda: bench.said("the agent cannot be kubelet's plugin yet")))
        bench.make_folders()
        kubelet = Kubelet(bench).register()
        bench.gate.clear()
        answers = {}

        def ask():
            answers["first"] = kubelet.prepare(1)[f"{UID}1"].error

        thread = threading.Thread(target=ask)
        thread.start()
        check("the API server is asked", eventually(lambda: bench.asked))
        same("meanwhile others are unprepared", kubelet.unprepare(2), {f"{UID}2": ""})
        same("and the claim itself, by a kubelet that has started anew", kubelet.unprepare(1), {f"{UID}1": ""})
        bench.gate.set()
        thread.join(WITHIN)
        check("then it is not prepared", "unprepared meanwhile" in answers.pop("first"), bench.files())
        bench.consistent()
        bench.gate.clear()
        asked = bench.asked
        thread = threading.Thread(target=ask)
        thread.start()
        check("the API server is asked again", eventually(lambda: bench.asked > asked))
        bench.program.process.send_signal(signal.SIGTERM)
        check("SIGTERM: the registration goes first", eventually(lambda: not bench.sockets()))
        check("and the call goes on", not answers, answers)
        bench.gate.set()
        thread.join(WITHIN)
        same("until it is answered", answers, {"first": ""})
        same("then the agent ends", bench.program.process.wait(PATIENCE), 0)
        bench.consistent(1)


def check_connection(folder, certificates):
    """One connection for all calls, and another one when a file of the kubeconfig has changed."""
    with Bench(folder, "connection", certificates) as bench:
        bench.claims["db1"] = allocated(1)
        bench.start()
        kubelet = Kubelet(bench).register()
        same("prepared five times", [kubelet.prepare(1)[f"{UID}1"].error for _ in range(5)], [""] * 5)
        # Another one is that of the thread that writes conditions, which reads the claim, too.
        check("over one connection", len(bench.from_where) <= 2, bench.from_where)
        check("it has conditions", eventually(lambda: bench.conditions(1) == IN_PLACE), bench.conditions(1))
        before = set(bench.from_where)
        with open(f"{bench.folder}/kubeconfig", "a", encoding="ascii") as handle:
            handle.write("\n")
        same("with a new kubeconfig", kubelet.prepare(1)[f"{UID}1"].error, "")
        check("over another one", bench.from_where - before, bench.from_where)


def check_reload(folder, certificates):
    with Bench(folder, "reload", certificates) as bench:
        for number, name in enumerate(("cdi-folder: /run/a", "claims-hook: /a", "pod-uid: a", "kubelet-folder: /a")):
            settings = f"{bench.folder}/settings-{number}"
            with open(settings, "w", encoding="ascii") as handle:
                handle.write("log-level: info\n")
            option = "--" + name.partition(":")[0]
            words = [AGENT, "--sysroot", bench.machine.path, "--config", settings, "--node", "m", "--kubernetes",
                     "--kubeconfig", kubeconfig(f"{bench.folder}/kubeconfig", bench.api.port, certificates,
                                                token="first"), "--metrics", f"127.0.0.1:{free_port()}"]
            bench.program = Daemon(words)
            check(f"{option}: the agent is ready", bench.program.wait("numastow-agent is ready"))
            with open(settings, "a", encoding="ascii") as handle:
                handle.write(name + "\n")
            bench.program.process.send_signal(signal.SIGHUP)
            check(f"{option}: a reload says that it needs a restart", bench.program.wait(
                "node, socket, readers, metrics and those of Kubernetes need a restart to change"))
            bench.program.stop()


def check_locked(folder, certificates):
    """Another program holds the ledger's lock: kubelet is answered, and nothing is left behind."""
    with Bench(folder, "locked", certificates) as bench:
        bench.claims = Claims({"db1": allocated(1), "db2": allocated(2, node=0)})
        bench.start()
        kubelet = Kubelet(bench).register()
        same("prepared", kubelet.prepare(2)[f"{UID}2"].error, "")
        with open(bench.machine.file("/run/numastow/ledger.lock"), "a", encoding="ascii") as lock, \
                concurrent.futures.ThreadPoolExecutor(2) as pool:
            fcntl.flock(lock, fcntl.LOCK_EX)
            calls = pool.submit(kubelet.prepare, 1, 2), pool.submit(kubelet.unprepare, 2)
            answer = calls[0].result()
            for number in (1, 2):
                error = answer[f"{UID}{number}"].error
                check(f"claim {number}: refused", "locked" in error or "took too long" in error, answer)
            check("not unprepared", "locked" in calls[1].result()[f"{UID}2"])
        check("what came too late is not prepared",
              eventually(lambda: "numastow_agent_claims_prepare_failures_total 2\n" in metrics_of(bench.program)))
        same("then all is as if it had not been", (kubelet.unprepare(2), kubelet.prepare(1)[f"{UID}1"].error),
             ({f"{UID}2": ""}, ""))
        bench.consistent(1)


IN_PLACE = {"Prepared": ("True", "Prepared", ""), "InPlace": ("True", "InPlace", "")}


def check_conditions(folder, certificates):
    """Of each share, in the claim's status: set, changed and removed; others' entries stay."""
    with Bench(folder, "conditions", certificates) as bench:
        other = {"driver": "gpu.example", "pool": "m", "device": "gpu0", "conditions": [], "data": {"a": [1.5, "x"]}}
        bench.claims["db1"] = allocated(1)
        bench.claims["db1"]["status"]["devices"] = [other]
        bench.claims["db2"] = allocated(2, cpus=5)
        bench.start()
        kubelet = Kubelet(bench).register()
        same("prepared", kubelet.prepare(1)[f"{UID}1"].error, "")
        check("it has conditions", eventually(lambda: bench.conditions(1) == IN_PLACE), bench.claims["db1"])
        same("another driver's entry stays", bench.claims["db1"]["status"]["devices"][0], other)
        same("nothing else is sent", {(path, tuple(sent["status"])) for path, sent in bench.puts},
             {("/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/db1/status",
               ("reservedFor", "allocation", "devices"))})
        error = kubelet.prepare(2)[f"{UID}2"].error
        check("refused", error, error)
        check("a refusal is a condition", eventually(
            lambda: bench.conditions(2) == {"Prepared": ("False", "Refused", error)}), bench.conditions(2))
        since = bench.claims["db2"]["status"]["devices"][0]["conditions"][0]["lastTransitionTime"]
        claim(bench.machine, "fence", "1")
        error = kubelet.prepare(2)[f"{UID}2"].error
        check("another refusal: another message", eventually(
            lambda: bench.conditions(2) == {"Prepared": ("False", "Refused", error)}), bench.conditions(2))
        same("since the first one", bench.claims["db2"]["status"]["devices"][0]["conditions"][0]["lastTransitionTime"],
             since)
        claim(bench.machine, "fence")
        fresh = allocated(2, cpus=1, node=0)
        fresh["status"]["devices"] = [dict(bench.claims["db2"]["status"]["devices"][0], device="node0")]
        bench.claims["db2"] = fresh
        same("then it is prepared", kubelet.prepare(2)[f"{UID}2"].error, "")
        check("and its condition says so", eventually(lambda: bench.conditions(2) == IN_PLACE), bench.conditions(2))
        # What cannot be read is no refusal: the controller would have the pod placed elsewhere.
        bench.claims["db3"] = b"{"
        check("an answer that is garbage", kubelet.prepare(3)[f"{UID}3"].error)
        bench.claims["db3"] = allocated(3)
        bench.forbidden = True
        same("without the right to write conditions it is prepared, too", kubelet.prepare(3)[f"{UID}3"].error,
             "")
        check("and that is logged", bench.program.wait("the conditions of a claim cannot be written"))
        same("it has no conditions", bench.conditions(3), {})
        check("metrics", eventually(lambda: "\nnumastow_agent_claim_conditions_failures_total 1\n" in
                                    metrics_of(bench.program)), metrics_of(bench.program)[-800:])


def check_flood(folder, certificates):
    """One namespace's refused claims have a part of the conditions only: a drain waits for those of others."""
    with Bench(folder, "flood", certificates) as bench:
        names = []
        for n in range(140):
            bench.claims[f"bad{n}"] = allocated(1, mode="nonsense")
            bench.claims[f"bad{n}"]["metadata"].update(uid=f"{UID[:-2]}{n:03}", name=f"bad{n}")
            names.append(dra.Claim(namespace="team", uid=f"{UID[:-2]}{n:03}", name=f"bad{n}"))
        bench.claims["db1"] = allocated(1)
        bench.start()
        kubelet = Kubelet(bench).register()
        errors = [kubelet.prepare(names=[name])[name.uid].error for name in names]
        check("many claims are refused", all("nonsense" in error for error in errors), errors)
        same("one is prepared", kubelet.prepare(1)[f"{UID}1"].error, "")
        # They are looked at in this order.
        check("it has conditions", eventually(lambda: bench.conditions(1) == IN_PLACE), bench.claims["db1"])
        same("128 of the refused ones have", sum("devices" in item["status"] for item in bench.claims.values()), 129)


def check_full(folder, certificates):
    """A full disk is no refusal, either: of the ledger, and of the CDI files."""
    for full in ("numastow", "cdi"):
        what = f"a full /run/{full}"
        with Bench(folder, f"full-{full}", certificates) as bench:
            place = bench.machine.file(f"/run/{full}")
            os.makedirs(place, exist_ok=True)
            if subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "full", place], check=False,
                              capture_output=True).returncode:
                skip(what, "mounting is not allowed")
                continue
            try:
                bench.claims = Claims({"db1": allocated(1), "db2": allocated(2, node=0), "db3": allocated(3, cpus=5)})
                bench.start()
                kubelet = Kubelet(bench).register()
                same(f"{what}: with room", kubelet.prepare(2)[f"{UID}2"].error, "")
                with contextlib.suppress(OSError), open(f"{place}/filler", "wb", buffering=0) as handle:
                    while handle.write(bytes(4096)):  # until it fails: the agent may write meanwhile
                        pass
                answer = kubelet.prepare(1, 3)
                error = answer[f"{UID}1"].error
                check(f"{what}: one line", ("full" in error or "No space" in error) and "\n" not in error, error)
                check(f"{what}: a claim that cannot be had has a condition", eventually(
                    lambda b=bench: "Prepared" in b.conditions(3)), answer)
                check(f"{what}: the other one has none that says so",
                      bench.conditions(1).get("Prepared", ("True",))[0] == "True", bench.conditions(1))
                os.unlink(f"{place}/filler")
                same(f"{what}: with room again", kubelet.prepare(1)[f"{UID}1"].error, "")
                bench.consistent(1, 2)
            finally:
                bench.program.stop()
                subprocess.run(["umount", "--lazy", place], check=True)


def check_resized(folder, certificates):
    """A container's memory limit rises above its claim, as a resize of its pod makes it."""
    with Bench(folder, "resized", certificates) as bench:
        machine = bench.machine
        bench.claims["db1"] = allocated(1)
        bench.claims["db2"] = allocated(2, node=0)
        bench.start()
        kubelet = Kubelet(bench).register()
        same("prepared", kubelet.prepare(1)[f"{UID}1"].error, "")
        state = machine.pod_container(f"pod{POD}", "c")
        done = hook(machine, "apply", state, args=("--claim", f"{UID}1", "--share", f"{SHARE}1"))
        same("the container starts", done.code, 0)
        limit = f"/sys/fs/cgroup/kubepods/pod{POD}/c/memory.max"
        machine.write(limit, f"{64 << 20}\n")
        check("the claim's own limit is in place", eventually(lambda: bench.conditions(1) == IN_PLACE), bench.conditions(1))
        machine.write(limit, f"{96 << 20}\n")
        kubelet.prepare(2)  # a change, at which the agent looks at all
        why = "container c may use 96Mi of memory, its claims promise 64Mi: more than that may be missing"
        check("one above the claim is said", eventually(lambda: bench.conditions(1) == {
            **IN_PLACE, "InPlace": ("True", "LimitAboveClaim", why)}), bench.conditions(1))
        machine.write(limit, f"{64 << 20}\n")
        kubelet.unprepare(2)
        check("until it is none", eventually(lambda: bench.conditions(1) == IN_PLACE), bench.conditions(1))


def check_wrong_answer(folder, certificates):
    """The API server answers with something else when one claim is asked for: the other's conditions are written."""
    with Bench(folder, "wrong", certificates) as bench:
        bench.claims["db1"] = allocated(1)
        bench.claims["db2"] = allocated(2, node=0)
        asked = []

        def lie(handler, method, path):
            if method != "GET" or not path.endswith("/resourceclaims/db1"):
                return False
            asked.append(path)
            if len(asked) > 1:  # not when it is prepared
                handler.answer(200, {"kind": "ResourceClaimList", "items": []})
            return len(asked) > 1

        bench.api.faults.insert(0, lie)
        bench.start()
        kubelet = Kubelet(bench).register()
        same("the first is prepared", kubelet.prepare(1)[f"{UID}1"].error, "")
        check("then it is asked for in vain", eventually(lambda: len(asked) > 1))
        same("the second is prepared", kubelet.prepare(2)[f"{UID}2"].error, "")
        check("and has its conditions", eventually(lambda: bench.conditions(2) == IN_PLACE), bench.conditions(2))
        same("the first has none", bench.conditions(1), {})


def check_conflict(folder, certificates):
    """Another client changes the claim between reading and writing."""
    with Bench(folder, "conflict", certificates) as bench:
        bench.claims["db1"] = allocated(1)

        def meddle(_handler, method, path):
            if method == "PUT" and "/resourceclaims/" in path and len(bench.puts) < 2:
                changed = copy.deepcopy(bench.claims["db1"])
                changed["status"]["devices"] = [{"driver": "gpu.example", "pool": "m", "device": f"gpu{len(bench.puts)}",
                                                 "conditions": []}]
                bench.claims["db1"] = changed
            return False

        bench.api.faults.insert(0, meddle)
        bench.start()
        same("prepared", Kubelet(bench).register().prepare(1)[f"{UID}1"].error, "")
        check("written at the third attempt", eventually(lambda: bench.conditions(1) == IN_PLACE), bench.claims["db1"])
        same("the other client's entry is there", bench.claims["db1"]["status"]["devices"][0]["device"], "gpu1")


def write_checkpoint(bench, *numbers, version="v1"):
    """kubelet's."""
    data = {"kind": "DRACheckpoint", "apiVersion": f"checkpoint.dra.kubelet.k8s.io/{version}",
            "ClaimInfoStateList": [{"ClaimUID": f"{UID}{n}", "ClaimName": f"db{n}"} for n in numbers] or None}
    with open(bench.machine.file(f"{ROOT}/dra_manager_state"), "w", encoding="ascii") as handle:
        json.dump({"Data": json.dumps(data), "Checksum": 1}, handle)


def check_gone(folder, certificates):
    """Claims that the API server does not have any more: dropped only where nothing speaks against it. Each agent looks
    at its start."""
    with Bench(folder, "gone", certificates) as bench:
        share = ":main:1:1:shared:64:0"
        for number in (1, 2, 3):
            claim(bench.machine, "take", f"{UID}{number}", f"team/db{number}", f"{SHARE}{number}{share}")
        numbers = lambda: sorted(int(f.removesuffix(".json")[-1]) for f in bench.files())
        boot_id = str(uuid.uuid4())
        bench.machine.write("/proc/sys/kernel/random/boot_id", boot_id + "\n")
        node = bench.api.nodes["m"]
        mine = {"nodeInfo": {"bootID": boot_id}}
        kept = "the lease of a claim that is gone is kept"
        bench.claims["db2"] = allocated(2)
        bench.claims["db3"] = allocated(3)
        bench.claims["db3"]["metadata"]["uid"] = f"{UID}9"  # a new one of that name

        def look(what, until, left):
            bench.start()
            check(f"{what}: looked", eventually(until), bench.program.said[-5:])
            check(f"{what}: what is left", eventually(lambda: numbers() == left), numbers())
            bench.program.stop()

        write_checkpoint(bench)
        for what, status in (("no status", {}), ("another boot", {"nodeInfo": {"bootID": "x"}}),
                             ("no boot id", {"nodeInfo": {"bootID": ""}})):
            node["status"] = status
            look(f"another cluster ({what})", lambda: bench.said(kept) == 2, [1, 2, 3])
        node["status"] = mine
        for what, answer in (("401", (401, "Unauthorized")), ("403", (403, "Forbidden")), ("500", (500, "Internal")),
                             ("garbage", None)):
            def fault(handler, _method, path, answer=answer):
                if "/resourceclaims/" not in path:
                    return False
                if answer:
                    handler.refuse(*answer, "no")
                else:
                    handler.answer(200, b'{"metadata": {}}')
                return True
            bench.api.faults.insert(0, fault)
            look(what, lambda: bench.said("the conditions of claims may be out of date") or
                 bench.said("the conditions of a claim cannot be written"), [1, 2, 3])
            bench.api.faults.pop(0)
        os.unlink(bench.machine.file(f"{ROOT}/dra_manager_state"))
        look("kubelet's checkpoint is missing", lambda: bench.said(kept) == 2, [1, 2, 3])
        write_checkpoint(bench, version="v2")
        look("kubelet's checkpoint is of another version", lambda: bench.said(kept) == 2, [1, 2, 3])
        write_checkpoint(bench, 1, 2)
        look("kubelet has one of them", lambda: bench.said(kept) == 1 and bench.said(
            "dropped the lease of a claim that is gone") == 1, [1, 2])
        write_checkpoint(bench)
        look("all speaks for it", lambda: bench.said("dropped the lease of a claim that is gone") == 1, [2])


def check_force_taint(bench, drain, cancel, states):
    """With --force-taint Kubernetes deletes the pods of all claims of NUMA node 1, 1 and 3; also after the agent was killed."""
    force = [*drain, "--force-taint"]
    plan = run([*force, "--dry-run"], "")
    check("forced: the plan has all claims of that NUMA node", plan.code == 0 and "db1" in plan.out and "db3" in plan.out and
          "db2" not in plan.out, plan)
    check("... and says what is deleted", "all pods that have a share of NUMA node 1" in " ".join(plan.out.split()), plan.out)
    effects = lambda: [(t["key"], t["effect"]) for t in bench.api.devices().get("node1", {}).get("taints", [])]
    tainted = [("numastow.io/fence", "NoExecute")]
    for end in ("cancelled", "killed"):
        done = run([*force, "--detach", *(["--resume"] if end == "killed" else [])], "")
        same(f"forced, {end}: it waits", done.code, 0)
        check(f"forced, {end}: the taint is NoExecute", eventually(lambda: effects() == tainted), bench.api.devices())
        check(f"forced, {end}: no share has the condition", eventually(
            lambda: bench.conditions(1) == IN_PLACE and bench.conditions(3) == IN_PLACE), bench.conditions(1))
        if end == "killed":
            bench.kill()
            same("forced: killed, the taint stays", effects(), tainted)
            bench.start("--socket", "/run/a.sock")
            check("forced: the next agent goes on", eventually(lambda: "moving" in run(
                [*drain[:1], "drains", *drain[4:]], "").out), bench.program.so_far()[-5:])
            same("... and so does the taint", effects(), tainted)
        same(f"forced, {end}: cancelled", run(cancel, "").code, 0)
        check(f"forced, {end}: the taint is lifted", eventually(lambda: not effects()), bench.api.devices())
        same(f"forced, {end}: the memory", states(), {"online"})


def check_drain(folder, certificates):
    """A drain of memory fences, asks for the eviction of the pod that holds a claim, and waits until kubelet has
    unprepared it. A drain that ends otherwise takes all of that back."""
    with Bench(folder, "drain", certificates) as bench:
        add_memory(bench.machine)
        for block in (2, 3):  # the DIMM is all that NUMA node 1 has
            shutil.rmtree(bench.machine.file(f"{MEMORY}/memory{block}"))
            os.unlink(bench.machine.file(f"/sys/devices/system/node/node1/memory{block}"))
        for number, action in ((1, "evict"), (2, "evict"), (3, "repin")):
            bench.claims[f"db{number}"] = allocated(number, node=0 if number == 2 else 1, cpus=1, mode="shared")
            config = bench.claims[f"db{number}"]["status"]["allocation"]["devices"]["config"]
            config[0]["opaque"]["parameters"]["drain"] = action
        bench.start("--socket", "/run/a.sock")
        kubelet = Kubelet(bench).register()
        same("prepared", [kubelet.prepare(n)[f"{UID}{n}"].error for n in (1, 2, 3)], ["", "", ""])
        fleet = [os.path.join(os.path.dirname(AGENT), "numastow-fleet")]
        words = ["--config", "/dev/null", "--agent", bench.machine.file("/run/a.sock")]
        drain = [*fleet, "drain", "--device", "dimm0", *words]
        states = lambda: {bench.machine.read(f"{MEMORY}/memory{b}/state") for b in DIMM}
        tainted = lambda: [t["key"] for t in bench.api.devices().get("node1", {}).get("taints", [])]
        evict = {"Evict": ("True", "MemoryDrain", "the memory of NUMA node 1 is being drained"), **IN_PLACE}
        done = run(drain, "")
        check("a claim that cannot be moved refuses it", done.code and
              "claim team/db3 (main) has CPUs or memory of NUMA node 1 and cannot be moved" in done.err, done)
        check_force_taint(bench, drain, [*fleet, "cancel", *words], states)
        same("unprepared", kubelet.unprepare(3), {f"{UID}3": ""})
        plan = run([*drain, "--dry-run"], "")
        check("the plan evicts the claim of that NUMA node", plan.code == 0 and "db1" in plan.out and
              "db2" not in plan.out and "its pods are evicted" in plan.out, plan.out)
        for end in ("cancelled", "evicted"):
            with subprocess.Popen(drain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
                check(f"{end}: its share has the condition", eventually(lambda: bench.conditions(1) == evict),
                      bench.conditions(1))
                check(f"{end}: the NUMA node has the taint", eventually(lambda: tainted() == ["numastow.io/fence"]),
                      bench.api.devices())
                # The claims are written one after the other.
                check(f"{end}: another NUMA node's share has none", eventually(lambda: bench.conditions(2) == IN_PLACE),
                      bench.conditions(2))
                same(f"{end}: nothing is offline", states(), {"online"})
                if end == "cancelled":
                    done = run([*fleet, "cancel", *words], "")
                    same("cancelled", done.code, 0)
                else:
                    same("the controller has evicted the pod", kubelet.unprepare(1), {f"{UID}1": ""})
                out = running.communicate()[0]
            check(f"{end}: how the drain ends", (running.returncode == 0) == (end == "evicted"), out)
            check(f"{end}: the condition is removed", eventually(lambda: bench.conditions(1) == IN_PLACE),
                  bench.conditions(1))
            check(f"{end}: the taint is lifted", eventually(lambda: not tainted()), bench.api.devices())
            same(f"{end}: the memory", states(), {"offline" if end == "evicted" else "online"})
        bench.consistent(2)


def check_killed(folder, certificates):
    """Whatever it had done: the next agent and kubelet's next call make it whole."""
    with Bench(folder, "killed", certificates) as bench:
        bench.claims["db1"] = allocated(1)
        share = f"{SHARE}1:main:1:2:exclusive:64:0"
        for what in ("before the ledger", "after the ledger", "in the file", "after a drop"):
            bench.start()
            kubelet = Kubelet(bench).register()
            if what == "before the ledger":
                bench.gate.clear()
                asked, failed = bench.asked, []

                def ask(k=kubelet):
                    try:
                        k.prepare(1)
                    except grpc.RpcError:
                        failed.append(1)

                thread = threading.Thread(target=ask)
                thread.start()
                check(f"{what}: asked", eventually(lambda: bench.asked > asked))
            elif what == "after the ledger":
                check("taken", claim(bench.machine, "take", f"{UID}1", "team/db1", share).code == 0)
            elif what == "in the file":
                kubelet.prepare(1)
                os.rename(bench.machine.file(f"/run/cdi/{bench.files()[0]}"),
                          bench.machine.file(f"/run/cdi/numastow.io-claim_{UID}1.new"))
            else:
                kubelet.prepare(1)
                check("dropped", claim(bench.machine, "drop", f"{UID}1").code == 0)
            bench.kill()
            bench.gate.set()
            bench.start()
            kubelet = Kubelet(bench)
            # The files are there before kubelet can find the socket.
            bench.consistent(*([1] if what in ("after the ledger", "in the file") else []))
            same(f"killed {what}: prepared", kubelet.register().prepare(1)[f"{UID}1"].error, "")
            bench.consistent(1)
            same(f"killed {what}: its CPUs", bench.cpus(), [4, 5])
            same(f"killed {what}: unprepared", kubelet.unprepare(1), {f"{UID}1": ""})
            bench.consistent()
            same(f"killed {what}: nothing is left", bench.cpus(), [])
            bench.kill()


def check_killed_anywhere(folder, certificates):
    with Bench(folder, "anywhere", certificates) as bench:
        bench.claims["db1"] = allocated(1)
        faults = []
        for _ in range(6):
            bench.start()
            kubelet = Kubelet(bench).register()
            timer = threading.Timer(random.uniform(0, 0.06), bench.program.process.kill)
            timer.start()
            with contextlib.suppress(grpc.RpcError):
                while True:
                    kubelet.prepare(1)
                    kubelet.unprepare(1)
            timer.join()
            bench.kill()
            bench.start()
            kubelet = Kubelet(bench).register()
            left = bench.files()
            faults += [left] if len(left) != len(bench.cpus()) // 2 else []
            error = kubelet.prepare(1)[f"{UID}1"].error
            faults += [error] if error or bench.cpus() != [4, 5] else []
            error = kubelet.unprepare(1)[f"{UID}1"]
            faults += [error] if error or bench.cpus() or bench.files() else []
            bench.program.stop()
        same("killed anywhere: the next one makes it whole", faults, [])


class Health:
    """A stream as kubelet's. `last`: the devices of the last message, `ended`: how it has ended."""

    def __init__(self, kubelet, version="v1alpha1"):
        self.last, self.ended, self.messages = {}, None, 0
        self.channel = grpc.insecure_channel(f"unix:{kubelet.endpoint}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.stream = self.channel.unary_stream(
            f"/{version}.DRAResourceHealth/NodeWatchResources",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=health.NodeWatchResourcesResponse.FromString)(health.NodeWatchResourcesRequest())
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for message in self.stream:
                self.last = {d.device.device_name: d for d in message.devices}
                self.messages += 1
            self.ended = grpc.StatusCode.OK
        except grpc.RpcError as error:
            self.ended = error.code()

    def until(self, name, status, text=""):
        def has():
            return name in self.last and (self.last[name].health, self.last[name].message) == (status, text)
        eventually(lambda: has() or self.ended)
        return has()


def check_health(folder, certificates):
    """kubelet's streams: whole, at once, at each change, and again and again; bounded, and gone with the agent."""
    with Bench(folder, "health", certificates) as bench:
        bench.start()
        kubelet = Kubelet(bench).register()
        streams = [Health(kubelet, version) for version in ("v1", "v1alpha1")]
        for stream in streams:
            check("at once: all are healthy", stream.until("node0", health.HEALTHY) and
                  stream.until("node1", health.HEALTHY), stream.last)
        device = streams[0].last["node1"]
        same("of which pool", (device.device.pool_name, sorted(streams[0].last)), ("m", ["node0", "node1"]))
        check("with a time, and how long it is valid", device.last_updated_time > 0 and
              device.health_check_timeout_seconds == 30, device)
        same("fenced", claim(bench.machine, "fence", "1").code, 0)
        for stream in streams:
            check("a fence", stream.until("node1", health.UNHEALTHY,
                                          "NUMA node 1 is fenced: nothing new is placed there"), stream.last)
            same("the other one", stream.last["node0"].health, health.HEALTHY)
        for line in ("health_streams 2", "unhealthy_devices 1"):
            check(f"metrics: {line}", eventually(
                lambda wanted=f"\nnumastow_agent_{line}\n": wanted in metrics_of(bench.program)),
                metrics_of(bench.program)[-800:])
        claim(bench.machine, "fence")
        for stream in streams:
            check("it is lifted", stream.until("node1", health.HEALTHY), stream.last)
        before = streams[0].messages
        check("again without a change", eventually(lambda: streams[0].messages > before))
        more = [Health(kubelet) for _ in range(8)]
        check("no more than eight streams",
              eventually(lambda: [s.ended for s in more].count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 2),
              [s.ended for s in more])
        for stream in more:
            stream.channel.close()
        check("those that have ended make room", eventually(lambda: Health(kubelet).until("node0", health.HEALTHY)))
        bench.program.process.send_signal(signal.SIGTERM)
        same("SIGTERM ends the agent, and the streams",
             (bench.program.process.wait(PATIENCE), eventually(lambda: all(s.ended == grpc.StatusCode.OK for s in streams))),
             (0, True))


def main():
    with Temp() as folder:
        certificates = f"{folder}/tls"
        os.makedirs(certificates)
        make_certificates(certificates)
        names = sys.argv[1:] or ["life", "update", "refusals", "hostile", "sockets", "waits", "health", "connection", "reload",
                                 "conditions", "flood", "full", "resized", "wrong_answer", "conflict", "gone", "drain",
                                 "locked", "killed", "killed_anywhere"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(globals()[f"check_{name}"], folder, certificates) for name in names]:
                done.result()
    finish()


if __name__ == "__main__":
    main()
