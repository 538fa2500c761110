# SPDX-License-Identifier: Apache-2.0
"""A simulated API server of namespaced objects, for the kinds that controllers use (kubelib.py has one for machines'
slices). It has optimistic locking, UID preconditions, label selectors, pages, watches and evictions."""
import copy
import re
import uuid

from kubelib import ApiHandler, ApiServer, Refusal

RESOURCE = "/apis/resource.k8s.io/v1"
KINDS = {"pods": ("/api/v1", "Pod"), "events": ("/api/v1", "Event"),
         "leases": ("/apis/coordination.k8s.io/v1", "Lease"),
         "resourceclaims": (RESOURCE, "ResourceClaim"),
         "resourceclaimtemplates": (RESOURCE, "ResourceClaimTemplate")}
PATH = re.compile(r"(/api/v1|/apis/[a-z0-9.]+/v1)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?")


class ObjectHandler(ApiHandler):
    def route(self, path, query):
        found = PATH.fullmatch(path)
        base, ns, kind, name, sub = found.groups() if found else (None,) * 5
        if KINDS.get(kind, (None,))[0] != base:
            raise Refusal(404, "NotFound", f"the server could not find {path}")
        api = self.api
        if self.command == "GET" and not name and query.get("watch"):
            self.follow(query, kind, ns)
            return
        with api.lock:
            if self.command == "GET" and not name:
                self.pages(query, [o for (k, n, _), o in sorted(api.objects.items())
                                   if k == kind and ns in (None, n) and self.has_labels(query, o)])
            elif self.command == "GET":
                self.answer(200, api.find(kind, ns, name))
            elif self.command == "POST" and sub == "eviction":
                self.answer(201, api.evict(ns, name, self.body))
            elif self.command == "POST":
                self.answer(201, api.add(kind, ns, self.body))
            elif self.command == "PUT":
                self.answer(200, api.change(kind, ns, name, self.body))
            elif self.command == "DELETE":
                options = self.body or {}
                self.answer(200, api.remove(kind, ns, name, (options.get("preconditions") or {}).get("uid")))

    @staticmethod
    def has_labels(query, item):
        labels = item["metadata"].get("labels") or {}
        for part in filter(None, query.get("labelSelector", "").split(",")):
            key, given, value = part.partition("=")
            if key not in labels or (given and labels[key] != value):
                return False
        return True

    def follow(self, query, kind, ns):
        self.stream(query, lambda item: item["kind"] == KINDS[kind][1] and ns in (None, item["metadata"]["namespace"]) and
                    self.has_labels(query, item))

    do_GET = do_POST = do_PUT = do_DELETE = ApiHandler.serve


class ObjectServer(ApiServer):
    """`objects`: {(kind, namespace, name): object}. `refuse_creates`: {kind, or (kind, namespace): Refusal}. `budget`: how many evictions a
    disruption budget allows; None: all."""
    handler = ObjectHandler

    def __init__(self, folder):
        super().__init__(folder)
        self.objects, self.refuse_creates, self.budget = {}, {}, None

    def find(self, kind, ns, name):
        if (kind, ns, name) not in self.objects:
            raise Refusal(404, "NotFound", f'{kind} "{name}" not found')
        return copy.deepcopy(self.objects[kind, ns, name])

    def add(self, kind, ns, item):
        for key in (kind, (kind, ns)):
            if key in self.refuse_creates:
                raise self.refuse_creates[key]
        item = copy.deepcopy(item)
        base, name = KINDS[kind][0], item["metadata"]["name"]
        if (kind, ns, name) in self.objects:
            raise Refusal(409, "AlreadyExists", f'{kind} "{name}" already exists')
        item.update(apiVersion=base.removeprefix("/apis/").removeprefix("/api/"), kind=KINDS[kind][1])
        item["metadata"].update(namespace=ns, uid=str(uuid.uuid4()), creationTimestamp="2026-11-26T12:00:00Z")
        self.objects[kind, ns, name] = item
        self.emit("ADDED", item)
        return copy.deepcopy(item)

    def change(self, kind, ns, name, item):
        old, item = self.find(kind, ns, name), copy.deepcopy(item)
        version = item["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified; apply your changes to the latest version")
        item["metadata"]["uid"] = old["metadata"]["uid"]
        self.objects[kind, ns, name] = item
        self.emit("MODIFIED", item)
        return copy.deepcopy(item)

    def remove(self, kind, ns, name, uid=None):
        old = self.find(kind, ns, name)
        if uid and uid != old["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "Precondition failed: UID in precondition")
        del self.objects[kind, ns, name]
        self.emit("DELETED", old)
        return old

    def evict(self, ns, name, eviction):
        uid = ((eviction.get("deleteOptions") or {}).get("preconditions") or {}).get("uid")
        if self.budget == 0:
            raise Refusal(429, "TooManyRequests",
                          "Cannot evict pod as it would violate the pod's disruption budget.")
        self.remove("pods", ns, name, uid)
        if self.budget:
            self.budget -= 1
        return eviction

    # --- for tests -------------------------------------------------------------------------------

    def all(self, kind):
        with self.lock:
            return {(n, name): copy.deepcopy(o) for (k, n, name), o in self.objects.items() if k == kind}

    def make(self, kind, ns, item):
        with self.lock:
            return self.add(kind, ns, item)

    def update(self, kind, ns, name, change):
        """Change an object by a function."""
        with self.lock:
            item = self.find(kind, ns, name)
            change(item)
            return self.change(kind, ns, name, item)

    def events(self):
        """{pod: {reason: message}}"""
        found = {}
        for event in self.all("events").values():
            found.setdefault(event["involvedObject"]["name"], {})[event["reason"]] = event["message"]
        return found
