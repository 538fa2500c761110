# SPDX-License-Identifier: Apache-2.0
"""A simulated API server: nodes and ResourceSlices over TLS, validated by Kubernetes' own rules, with feature gates that
drop fields, and with faults."""
import contextlib
import copy
import http.server
import json
import os
import queue
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
import uuid

from daemons import free_port

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
COLLECTIONS = {"/apis/resource.k8s.io/v1/resourceclaims"}
END = object()


def quantity(text):
    found = re.fullmatch(r"(\d+)([A-Za-z]*)", text) if isinstance(text, str) else None
    if not found or found.group(2) not in UNITS:
        raise ValueError(f"{text!r} is not a quantity")
    return int(found.group(1)) * UNITS[found.group(2)]


def canonical(value):
    """Return a quantity in the form in which Kubernetes writes it."""
    for unit in ("Pi", "Ti", "Gi", "Mi", "Ki"):
        if value and value % UNITS[unit] == 0:
            return f"{value // UNITS[unit]}{unit}"
    return f"{value // 1000}k" if value and value % 1000 == 0 else str(value)


def is_subdomain(name):
    return isinstance(name, str) and 0 < len(name) <= 253 and all(LABEL.fullmatch(p) for p in name.split("."))


def need(condition, why):
    if not condition:
        raise ValueError(why)


def validate_attribute(name, value):
    kinds = {"int": int, "string": str, "bool": bool, "version": str, "strings": list}
    need(len(value) == 1 and set(value) <= set(kinds), f"attributes[{name}]: exactly one value is required")
    kind, held = next(iter(value.items()))
    need(type(held) is kinds[kind], f"attributes[{name}]: wrong type")
    for text in held if kind == "strings" else [held] if kind in ("string", "version") else []:
        need(isinstance(text, str) and len(text) <= 64, f"attributes[{name}]: too long")
    need(kind != "strings" or held, f"attributes[{name}]: an empty list")


def validate_capacity(name, capacity):
    value, policy = quantity(capacity["value"]), capacity.get("requestPolicy")
    if not policy:
        return
    reach = policy["validRange"]
    default, low, step = quantity(policy["default"]), quantity(reach["min"]), quantity(reach["step"])
    need(low <= default <= value, f"capacity[{name}]: default")
    need(step > 0 and (default - low) % step == 0, f"capacity[{name}]: default is not a step")
    need(low + step <= value, f"capacity[{name}]: min + step must be less than or equal to value")


def validate_name(kind, name):
    domain, _, rest = name.rpartition("/")
    need(IDENTIFIER.fullmatch(rest), f"{kind}[{name}]: must be a C identifier")
    need("/" not in name or (is_subdomain(domain) and len(domain) <= 63), f"{kind}[{name}]: domain")


def validate_device(device):
    need(LABEL.fullmatch(device["name"]), "device name must be a DNS label")
    attributes, capacity = device.get("attributes", {}), device.get("capacity", {})
    need(len(attributes) + len(capacity) <= 32, "too many attributes and capacities")
    for name, value in attributes.items():
        validate_name("attributes", name)
        validate_attribute(name, value)
    for name, value in capacity.items():
        validate_name("capacity", name)
        need("requestPolicy" not in value or device.get("allowMultipleAllocations"),
             f"capacity[{name}]: a request policy needs allowMultipleAllocations")
        validate_capacity(name, value)
    for taint in device.get("taints", []):
        need(taint["effect"] in ("None", "NoSchedule", "NoExecute"), "taint effect")
        need("/" in taint["key"], "taint key")


def validate_slice(item):
    need(item.get("apiVersion") == "resource.k8s.io/v1" and item.get("kind") == "ResourceSlice", "kind")
    meta, spec = item["metadata"], item["spec"]
    need(is_subdomain(meta["name"]), "metadata.name must be a DNS subdomain")
    for owner in meta.get("ownerReferences", []):
        need(all(owner.get(k) for k in ("apiVersion", "kind", "name", "uid")), "ownerReferences")
    need(is_subdomain(spec["driver"]) and len(spec["driver"]) <= 63, "driver")
    pool, devices = spec["pool"], spec.get("devices", [])
    need(all(is_subdomain(p) for p in pool["name"].split("/")), "pool name")
    need(type(pool["generation"]) is int and pool["resourceSliceCount"] > 0, "pool")
    need(is_subdomain(spec["nodeName"]), "nodeName")
    special = any("taints" in d or any("strings" in a for a in d.get("attributes", {}).values()) for d in devices)
    need(len(devices) <= (64 if special else 128), "too many devices")
    names = [d["name"] for d in devices]
    need(len(set(names)) == len(names), "device names must be unique")
    for device in devices:
        validate_device(device)


def make_certificates(folder, names="IP:127.0.0.1"):
    """ca.crt with ca.key, and tls.crt with tls.key for these names. Python 3.13 wants both extensions."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=cluster", "-keyout", "ca.key", "-out", "ca.crt",
            "-addext", "keyUsage=critical,keyCertSign")
    with open(f"{folder}/ext", "w", encoding="ascii") as handle:
        handle.write(f"subjectAltName={names}\nauthorityKeyIdentifier=keyid\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=api",
            "-keyout", "tls.key", "-out", "tls.csr")
    openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "tls.crt")


class Refusal(Exception):
    def __init__(self, code, reason, message, causes=()):
        super().__init__(message)
        self.code, self.reason, self.causes = code, reason, list(causes)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class ApiServer:
    """`gates`: the feature gates that are on. `faults`: functions of (handler, method, path), called for each request in turn;
    one that returns true has answered. `lock` protects all state."""

    handler = None  # a class derived from ApiHandler

    def __init__(self, folder, nodes=("m",), token="first"):
        self.folder, self.tokens, self.used = folder, {token}, set()
        self.gates = {"DRAConsumableCapacity", "DRADeviceTaints", "DRAListTypeAttributes"}
        self.lock = threading.RLock()
        self.nodes = {n: {"apiVersion": "v1", "kind": "Node", "metadata": {"name": n, "uid": str(uuid.uuid4())}}
                      for n in nodes}
        self.slices, self.version, self.history, self.watchers = {}, 100, [], []
        self.others = {}  # objects that are only read: {path: object}
        self.faults, self.requests, self.wrong = [], [], []
        self.ignore_selectors = False
        self.server, self.port, self.connections = None, free_port(), []  # the same after a restart

    # --- its life --------------------------------------------------------------------------------

    def start(self):
        state = self

        class Handler(self.handler or ApiHandler):
            api = state

        self.server = Server(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{self.folder}/tls.crt", f"{self.folder}/tls.key")
        # The handshake is the connection's own thread's.
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            for watcher in self.watchers:
                watcher.put(END)
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.connections = []

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # --- what it stores --------------------------------------------------------------------------

    def emit(self, kind, item):
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        event = {"type": kind, "object": copy.deepcopy(item)}
        self.history.append((self.version, event))
        for watcher in self.watchers:
            watcher.put(event)

    def fields_dropped(self, item):
        """Return an object as an API server without some gates stores it, and in its own notation."""
        item = copy.deepcopy(item)
        for device in item["spec"].get("devices", []):
            if "DRAConsumableCapacity" not in self.gates:
                device.pop("allowMultipleAllocations", None)
                for capacity in device.get("capacity", {}).values():
                    capacity.pop("requestPolicy", None)
            if "DRADeviceTaints" not in self.gates:
                device.pop("taints", None)
            if "DRAListTypeAttributes" not in self.gates:
                for value in device.get("attributes", {}).values():
                    value.pop("strings", None)
            for taint in device.get("taints", []):
                taint.setdefault("timeAdded", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            for capacity in device.get("capacity", {}).values():
                capacity["value"] = canonical(quantity(capacity["value"]))
                if "requestPolicy" in capacity:
                    reach = capacity["requestPolicy"]["validRange"]
                    reach["step"] = canonical(quantity(reach["step"]))
        return item

    def check(self, item):
        try:
            item = self.fields_dropped(item)
            validate_slice(item)
            return item
        except (ValueError, KeyError, TypeError) as error:
            self.wrong.append(f"{error!r}")
            raise Refusal(422, "Invalid", f"ResourceSlice is invalid: {error}") from None

    def create(self, item, dry):
        item = self.check(item)
        name = item["metadata"]["name"]
        if name in self.slices:
            raise Refusal(409, "AlreadyExists", f'resourceslices "{name}" already exists')
        item["metadata"]["uid"] = str(uuid.uuid4())
        if not dry:
            self.slices[name] = item
            self.emit("ADDED", item)
        return item

    def replace(self, name, item):
        old = self.slices.get(name)
        if not old:
            raise Refusal(404, "NotFound", f'resourceslices "{name}" not found')
        wanted = item["metadata"].get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified; apply your changes to the latest version")
        item = self.check(item)
        for path in (("driver",), ("nodeName",), ("pool", "name")):
            a, b = old["spec"], item["spec"]
            for key in path:
                a, b = a[key], b[key]
            if a != b:
                raise Refusal(422, "Invalid", f"{'.'.join(path)}: field is immutable")
        item["metadata"]["uid"] = old["metadata"]["uid"]
        self.slices[name] = item
        self.emit("MODIFIED", item)
        return item

    def delete(self, name, uid=None):
        old = self.slices.get(name)
        if not old:
            raise Refusal(404, "NotFound", f'resourceslices "{name}" not found')
        if uid and uid != old["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "Precondition failed: UID in precondition")
        del self.slices[name]
        self.emit("DELETED", old)
        return old

    # --- for tests -------------------------------------------------------------------------------

    def pool(self, node="m"):
        """Return the slices of the highest generation, as kube-scheduler sees them; None while they are incomplete."""
        with self.lock:
            mine = [copy.deepcopy(s) for _, s in sorted(self.slices.items())
                    if (s["spec"]["driver"], s["spec"]["nodeName"]) == ("numastow.io", node)]
        if not mine:
            return None
        last = max(s["spec"]["pool"]["generation"] for s in mine)
        mine = [s for s in mine if s["spec"]["pool"]["generation"] == last]
        return mine if len(mine) == mine[0]["spec"]["pool"]["resourceSliceCount"] else None

    def devices(self, node="m"):
        return {d["name"]: d for s in self.pool(node) or [] for d in s["spec"]["devices"]}

    def generation(self, node="m"):
        found = self.pool(node)
        return found[0]["spec"]["pool"]["generation"] if found else 0

    def count(self, method):
        with self.lock:
            return sum(m == method for m, _ in self.requests)


class ApiHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api = None

    def log_message(self, *_):
        pass

    def setup(self):
        self.request.settimeout(30)
        with self.api.lock:
            self.api.connections.append(self.request)
        super().setup()

    def handle(self):
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            pass

    def answer(self, code, body, **headers):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text)

    def refuse(self, code, reason, message, causes=(), **headers):
        self.answer(code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code,
                           "details": {"causes": causes}}, **headers)

    def serve(self):
        api, url = self.api, urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = json.loads(self.rfile.read(length)) if length else None
        with api.lock:
            api.requests.append((self.command, self.path))
            faults = list(api.faults)
        for fault in faults:
            if fault(self, self.command, self.path):
                return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        api.used.add(token)
        if token not in api.tokens:
            self.refuse(401, "Unauthorized", "Unauthorized")
            return
        try:
            self.route(url.path, dict(urllib.parse.parse_qsl(url.query)))
        except Refusal as refusal:
            self.refuse(refusal.code, refusal.reason, str(refusal), refusal.causes)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def route(self, path, query):
        api, name = self.api, path.rpartition("/")[2]
        if path.startswith("/api/v1/nodes/") and self.command == "GET":
            if name not in api.nodes:
                raise Refusal(404, "NotFound", f'nodes "{name}" not found')
            self.answer(200, api.nodes[name])
        elif self.command == "GET" and path in api.others:
            self.answer(200, api.others[path])
        elif self.command == "GET" and path in COLLECTIONS:
            prefix, _, kind = path.rpartition("/")
            self.pages(query, [o for p, o in sorted(api.others.items())
                               if p.startswith(prefix) and p.split("/")[-2] == kind])
        elif path == SLICES and self.command == "GET":
            (self.watch if query.get("watch") else self.list)(query)
        elif path == SLICES and self.command == "POST":
            with api.lock:
                item = api.create(self.body, query.get("dryRun") == "All")
            self.answer(201, item)
        elif path.startswith(SLICES + "/") and self.command == "PUT":
            with api.lock:
                item = api.replace(name, self.body)
            self.answer(200, item)
        elif path.startswith(SLICES + "/") and self.command == "DELETE":
            with api.lock:
                item = api.delete(name, ((self.body or {}).get("preconditions") or {}).get("uid"))
            self.answer(200, item)
        else:
            raise Refusal(404, "NotFound", f"the server could not find {path}")

    def selects(self, query, item):
        if self.api.ignore_selectors:
            return True
        pairs = dict(p.split("=") for p in query.get("fieldSelector", "").split(",") if p)
        return all(item["spec"][key.removeprefix("spec.")] == value for key, value in pairs.items())

    def list(self, query):
        api = self.api
        with api.lock:
            self.pages(query, [s for _, s in sorted(api.slices.items()) if self.selects(query, s)])

    def pages(self, query, items):
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 500))
        meta = {"resourceVersion": str(self.api.version)}
        if start + limit < len(items):
            meta["continue"] = str(start + limit)
        self.answer(200, {"kind": "List", "metadata": meta, "items": copy.deepcopy(items[start:start + limit])})

    def chunk(self, event):
        text = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")

    def watch(self, query):
        self.stream(query, lambda item: self.selects(query, item))

    def stream(self, query, wanted):
        """Serve a watch: past events since a version, further ones as they come, of the selected objects; and errors."""
        api, mine, since = self.api, queue.Queue(), int(query["resourceVersion"])
        with api.lock:
            for version, event in api.history:
                if version > since:
                    mine.put(event)
            api.watchers.append(mine)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                event = mine.get()
                if event is END:
                    self.close_connection = True
                    return
                if event["type"] == "ERROR" or wanted(event["object"]):
                    self.chunk(event)
        except OSError:
            pass
        finally:
            with api.lock:
                api.watchers.remove(mine)


def kubeconfig(path, port, folder, **user):
    """Write a kubeconfig for the agent; `user` has the keys of its user."""
    with open(path, "w", encoding="utf-8") as handle:
        json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                   "clusters": [{"name": "k", "cluster": {"server": f"https://127.0.0.1:{port}",
                                                          "certificate-authority": f"{folder}/ca.crt"}}],
                   "users": [{"name": "u", "user": user}],
                   "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}, handle)
    return path


def write_token(path, token):
    """Replace a file by another one, as kubelet does."""
    with open(f"{path}.new", "w", encoding="ascii") as handle:
        handle.write(token + "\n")
    os.rename(f"{path}.new", path)
