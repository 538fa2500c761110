#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow-scheduler's controllers against an API server in Python: templates made and deleted, evictions within
disruption budgets, refused claims, leadership, and what can go wrong."""
import base64
import concurrent.futures
import http.client
import json
import os
import signal
import ssl
import time

from daemons import PATIENCE, SCHEDULER, Daemon, fetch, free_port, metrics_of
from harness import Temp, check, eventually, finish, same
from kubelib import Refusal, kubeconfig, make_certificates
from objectlib import ObjectServer

DRIVER = "numastow.io"
LEADS = "leads the controllers of Kubernetes"


class Bench:
    def __init__(self, folder, name, certificates):
        self.folder, self.tls = f"{folder}/{name}", certificates
        os.makedirs(self.folder)
        self.api, self.programs = ObjectServer(certificates).start(), []
        self.started = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs:
            program.process.send_signal(signal.SIGCONT)
            program.stop()
        self.api.stop()

    def start(self, *options, leads=True):
        self.started += 1
        data = f"{self.folder}/data{self.started}"
        os.makedirs(data)
        config = kubeconfig(f"{data}/kubeconfig", self.api.port, self.tls, token="first")
        program = Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics",
                          f"127.0.0.1:{free_port()}", "--data", data, "--kubernetes", "--kubeconfig", config, *options])
        self.programs.append(program)
        if leads and not program.wait(LEADS):
            check("it leads", False, program.said)
        return program

    # --- objects ---------------------------------------------------------------------------------

    def reviewed(self, annotations, **spec):
        """A pod with those annotations, as the webhook leaves it."""
        return self.reviewed_all([annotations], **spec)[0]

    def reviewed_all(self, annotations, **spec):
        port = free_port()
        program = self.start("--admission", f"127.0.0.1:{port}", "--admission-certificate", f"{self.tls}/tls.crt",
                             "--admission-key", f"{self.tls}/tls.key", leads=False)
        if not program.wait("admission webhook"):
            check("the webhook listens", False, program.said)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=ssl.create_default_context(
            cafile=f"{self.tls}/ca.crt"))
        pods = [self.review(connection, {"metadata": {"name": "p", "annotations": one},
                                         "spec": {"containers": [{"name": "web"}], **spec}}) for one in annotations]
        connection.close()
        self.programs.remove(program)
        program.stop()
        return pods

    @staticmethod
    def review(connection, pod):
        """The pod, with the webhook's patch."""
        connection.request("POST", "/mutate", json.dumps({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "uid": "u", "operation": "CREATE", "object": pod,
                "resource": {"group": "", "version": "v1", "resource": "pods"}}}))
        response = json.loads(connection.getresponse().read())["response"]
        for change in json.loads(base64.b64decode(response["patch"])):
            *way, last = [w.replace("~1", "/") for w in change["path"].split("/")[1:]]
            at = pod
            for word in way:
                at = at[int(word)] if isinstance(at, list) else at[word]
            at[last] = change["value"]
        return pod

    def add_pod(self, name, pod, ns="x", **status):
        made = json.loads(json.dumps(pod))
        made["metadata"]["name"] = name
        made["status"] = {"phase": "Pending", **status}
        return self.api.make("pods", ns, made)

    def add_claim(self, name, pods, *conditions, ns="x"):
        """An allocated claim of those pods, with the conditions of its share."""
        result = {"driver": DRIVER, "pool": "m", "device": "node0", "shareID": "s-1", "request": "part0"}
        return self.api.make("resourceclaims", ns, {
            "metadata": {"name": name}, "spec": {}, "status": {
                "allocation": {"devices": {"results": [result]}},
                "reservedFor": [{"resource": "pods", "name": p["metadata"]["name"], "uid": p["metadata"]["uid"]}
                                for p in pods],
                "devices": [{"driver": DRIVER, "pool": "m", "device": "node0", "shareID": "s-1",
                             "conditions": list(conditions)}]}})

    def templates(self):
        return sorted(self.api.all("resourceclaimtemplates"))


EVICT = {"type": f"{DRIVER}/Evict", "status": "True", "reason": "MemoryDrain", "message": "node0 is drained",
         "lastTransitionTime": "2026-11-26T12:00:00Z"}
REFUSED = {"type": f"{DRIVER}/Prepared", "status": "False", "reason": "Refused", "message": "node0 is fenced",
           "lastTransitionTime": "2026-11-26T12:00:00Z"}
OWNER = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r-1", "controller": True}]


def claimed(claim, **metadata):
    return {"metadata": metadata, "spec": {"nodeName": "m", "containers": [], "resourceClaims": [
        {"name": "c", "resourceClaimName": claim}]}}


def check_templates(folder, certificates):
    with Bench(folder, "templates", certificates) as bench:
        pod = bench.reviewed({"numastow.io/cpus": "2", "numastow.io/memory": "1Gi"})
        name = pod["spec"]["resourceClaims"][0]["resourceClaimTemplateName"]
        wrong = json.loads(json.dumps(pod))
        wrong["metadata"]["annotations"]["numastow.io/cpus"] = "4"
        bench.add_pod("a-wrong", wrong)
        bench.add_pod("before", pod)
        program = bench.start("--unused-templates", "1s")
        check("a pod that was there gets its template, whoever else names it",
              eventually(lambda: bench.templates() == [("x", name)]))
        check("and who cannot have it is told", eventually(
            lambda: "are for another one" in bench.api.events().get("a-wrong", {}).get("NoClaimTemplate", "")))
        made = bench.api.all("resourceclaimtemplates")["x", name]
        same("of what its annotations ask for", made["spec"]["spec"]["devices"]["requests"][0]["exactly"]["capacity"],
             {"requests": {"cpus": "2", "memory": "1Gi"}})
        bench.add_pod("second", pod)
        bench.add_pod("elsewhere", pod, ns="y")
        check("one in another namespace its own", eventually(lambda: bench.templates() == [("x", name), ("y", name)]))
        with bench.api.lock:
            bench.api.remove("resourceclaimtemplates", "x", name)
        check("one that is deleted is made again", eventually(lambda: ("x", name) in bench.templates()))
        with bench.api.lock:
            for key in [k for k in bench.api.objects if k[0] == "pods" and k[1] == "x"]:
                bench.api.remove(*key)
        check("without pods it is deleted", eventually(lambda: bench.templates() == [("y", name)]), bench.templates())
        # Pods that no template can be made for.
        other = json.loads(json.dumps(pod))
        other["metadata"]["annotations"]["numastow.io/cpus"] = "3"
        bench.add_pod("changed", other)
        check("annotations that are for another one: an event", eventually(
            lambda: "are for another one" in bench.api.events().get("changed", {}).get("NoClaimTemplate", "")))
        other["metadata"]["annotations"]["numastow.io/cpus"] = "many"
        bench.add_pod("bad", other)
        check("annotations that are wrong: an event", eventually(
            lambda: "many" in bench.api.events().get("bad", {}).get("NoClaimTemplate", "")))
        same("and no template", bench.templates(), [("y", name)])
        bench.api.refuse_creates["resourceclaimtemplates"] = Refusal(
            403, "Forbidden", 'exceeded quota: q, requested: count/resourceclaimtemplates=1')
        bench.add_pod("poor", pod)
        check("a quota: an event", eventually(
            lambda: "exceeded quota" in bench.api.events().get("poor", {}).get("NoClaimTemplate", "")))
        del bench.api.refuse_creates["resourceclaimtemplates"]
        check("which ends", eventually(lambda: ("x", name) in bench.templates()))
        with bench.api.lock:
            for key in [k for k in bench.api.objects if k[0] == "pods"]:
                bench.api.remove(*key)
        check("all go in the end", eventually(lambda: not bench.templates()))
        bench.api.make("resourceclaimtemplates", "z", {"metadata": {"name": name}, "spec": {"spec": {"devices": {
            "requests": [{"name": "part0", "exactly": {"deviceClassName": "all", "adminAccess": True}}]}}}})
        bench.add_pod("deceived", pod, ns="z")
        check("another content under its name: an event", eventually(
            lambda: "has another content" in bench.api.events().get("deceived", {}).get("NoClaimTemplate", "")))
        same("which is left alone", bench.templates(), [("z", name)])
        check("metrics count", eventually(
            lambda: "numastow_scheduler_kubernetes_templates_made_total 4\n" in metrics_of(program)), metrics_of(program))


def check_evictions(folder, certificates):
    with Bench(folder, "evictions", certificates) as bench:
        bench.api.budget = 0
        pods = [bench.add_pod(n, claimed("shared"), phase="Running") for n in ("a", "b")]
        bystander = bench.add_pod("bystander", claimed("other"), phase="Running")
        bench.add_claim("shared", [*pods, bystander], EVICT)
        bench.start()
        check("a disruption budget: an event", eventually(
            lambda: "disruption budget" in bench.api.events().get("a", {}).get("EvictionBlocked", "")))
        same("and all pods are there", len(bench.api.all("pods")), 3)
        bench.api.budget = 1
        check("the first goes when it may", eventually(lambda: len(bench.api.all("pods")) == 2))
        bench.api.budget = None
        check("then the second", eventually(lambda: len(bench.api.all("pods")) == 1))
        same("a pod that does not use the claim stays", list(bench.api.all("pods")), [("x", "bystander")])
        check("which is told", eventually(lambda: "MemoryDrain" in bench.api.events().get("b", {})))


def check_strange_conditions(folder, certificates):
    with Bench(folder, "strange", certificates) as bench:
        pods = []
        for i, change in enumerate(({"shareID": "s-2"}, {"driver": "gpu.example.com"}, {"device": "node1"},
                                    {"pool": "n"}, {"conditions": 7}, {"conditions": [7, None, {"type": 3}]})):
            pods.append(bench.add_pod(f"kept{i}", claimed(f"c{i}"), phase="Running"))
            bench.add_claim(f"c{i}", pods[-1:], EVICT)
            bench.api.update("resourceclaims", "x", f"c{i}", lambda c, d=change: c["status"]["devices"][0].update(d))
        pods.append(bench.add_pod("again", claimed("c6"), phase="Running"))
        bench.add_claim("c6", pods[-1:], EVICT)
        bench.api.update("resourceclaims", "x", "c6", lambda c: c["status"]["reservedFor"][0].update(uid="of another"))
        marked = bench.add_pod("marked", claimed("c7"), phase="Running")
        bench.add_claim("c7", [marked], EVICT)
        bench.start()
        check("the one whose share is drained goes", eventually(lambda: ("x", "marked") not in bench.api.all("pods")))
        same("the others stay", len(bench.api.all("pods")), len(pods))


def check_strange_claims(folder, certificates):
    """Opaque parameters of one claim that are deeply nested or very large do not hide other claims."""
    with Bench(folder, "claims", certificates) as bench:
        deep = json.loads('{"a":' * 200 + "{}" + "}" * 200)
        bench.api.make("resourceclaims", "x", {"metadata": {"name": "a-deep"}, "spec": deep})
        for i in range(8):
            bench.api.make("resourceclaims", "x", {"metadata": {"name": f"b-large{i}"}, "spec": {"a": "b" * (3 << 20)}})
        listed = bench.add_pod("listed", claimed("z1"), phase="Running")
        bench.add_claim("z1", [listed], EVICT)
        program = bench.start()
        check("they are listed: a pod is evicted", eventually(lambda: ("x", "listed") not in bench.api.all("pods")),
              program.so_far()[-3:])
        watched = bench.add_pod("watched", claimed("z2"), phase="Running")
        bench.api.make("resourceclaims", "x", {"metadata": {"name": "c-deep"}, "spec": deep})
        bench.add_claim("z2", [watched], EVICT)
        check("they are watched: another one is", eventually(lambda: ("x", "watched") not in bench.api.all("pods")))
        same("no list and no watch has failed", [line for line in program.so_far() if "cannot be followed" in line], [])


def check_crowds(folder, certificates):
    """More pods whose templates a quota forbids, and more refused claims, than the controllers remember."""
    with Bench(folder, "crowds", certificates) as bench:
        pods = bench.reviewed_all([{f"{DRIVER}/cpus": str(n + 1)} for n in range(260)])
        bench.api.refuse_creates["resourceclaimtemplates", "a"] = Refusal(403, "Forbidden", "exceeded quota: q")
        for n, pod in enumerate(pods):
            bench.add_pod(f"p{n}", pod, ns="a")
        bench.add_pod("other", pods[0])
        for n in range(1024):
            bench.add_claim(f"c{n}", [], REFUSED)
        marked = bench.add_pod("marked", claimed("z"), phase="Running")
        bench.add_claim("z", [marked], EVICT)
        owned = bench.add_pod("owned", claimed("c", ownerReferences=OWNER), ns="y")
        bench.add_claim("c", [owned], REFUSED, ns="y")
        bench.start("--prepare-deadline", "1s")
        check("another namespace's pod gets its template", eventually(lambda: [ns for ns, _ in bench.templates()] == ["x"]),
              bench.templates())
        check("a pod that is to be evicted is", eventually(lambda: ("x", "marked") not in bench.api.all("pods")))
        check("another namespace's pod is placed anew", eventually(lambda: ("y", "owned") not in bench.api.all("pods")))
        del bench.api.refuse_creates["resourceclaimtemplates", "a"]
        check("without the quota more than were remembered get theirs", eventually(lambda: len(bench.templates()) > 40),
              len(bench.templates()))


def check_turns(folder, certificates):
    """Refused claims that many pods share are looked at again and again; whoever came later has a turn before."""
    with Bench(folder, "turns", certificates) as bench:
        def slow(_handler, method, path):
            if method == "GET" and "/namespaces/a/pods/" in path:
                time.sleep(0.15)
            return False

        bench.api.faults.append(slow)
        pods = [bench.add_pod(f"p{n}", claimed("none"), ns="a") for n in range(20)]
        for n in range(21):
            bench.add_claim(f"c{n}", pods, REFUSED, ns="a")
        bench.start("--prepare-deadline", "1s")
        check("they are looked at", eventually(lambda: any("/namespaces/a/pods/" in path for _, path in bench.api.requests)))
        marked = bench.add_pod("marked", claimed("z"), phase="Running")
        bench.add_claim("z", [marked], EVICT)
        check("a pod that is to be evicted is", eventually(lambda: ("x", "marked") not in bench.api.all("pods")))


def check_refused(folder, certificates):
    with Bench(folder, "refused", certificates) as bench:
        owned = bench.add_pod("owned", claimed("c1", ownerReferences=OWNER))
        bench.add_claim("c1", [owned], REFUSED)
        lonely = bench.add_pod("lonely", claimed("c2"))
        bench.add_claim("c2", [lonely], REFUSED)
        running = bench.add_pod("running", claimed("c3", ownerReferences=OWNER), phase="Running")
        bench.add_claim("c3", [running], REFUSED)
        prepared = bench.add_pod("prepared", claimed("c4", ownerReferences=OWNER))
        bench.add_claim("c4", [prepared], {**REFUSED, "status": "True", "reason": "Prepared"})
        bench.start("--prepare-deadline", "1s")
        check("a refused pod of a controller is deleted", eventually(
            lambda: ("x", "owned") not in bench.api.all("pods")))
        check("which is told, with the reason", eventually(
            lambda: "node0 is fenced" in bench.api.events().get("owned", {}).get("ClaimRefused", "")))
        check("one without gets an event", eventually(
            lambda: "delete it" in bench.api.events().get("lonely", {}).get("ClaimRefused", "")))
        same("and stays, as do those that run or are prepared", sorted(n for _, n in bench.api.all("pods")),
             ["lonely", "prepared", "running"])


def check_leadership(folder, certificates):
    with Bench(folder, "leadership", certificates) as bench:
        def holder():
            lease = bench.api.all("leases").get(("numastow-system", "numastow-scheduler"))
            return lease and lease["spec"]["holderIdentity"]

        def leads(program):
            return "numastow_scheduler_kubernetes_leader 1\n" in metrics_of(program)
        programs = [bench.start(), bench.start(leads=False)]
        check("there is one leader", eventually(lambda: [leads(p) for p in programs].count(True) == 1))
        programs.sort(key=leads, reverse=True)
        first, second = programs
        one = holder()
        first.process.send_signal(signal.SIGSTOP)
        check("a paused leader is replaced", eventually(lambda: leads(second)))
        check("in the Lease, too", eventually(lambda: holder() not in (one, None, "")))
        first.process.send_signal(signal.SIGCONT)
        check("it sees that it leads no more", first.wait("does not lead the controllers of Kubernetes any more"))
        second.process.terminate()
        same("SIGTERM ends it", second.process.wait(PATIENCE), 0)
        check("and gives the lease to the next", eventually(lambda: leads(first)))


def check_away(folder, certificates):
    with Bench(folder, "away", certificates) as bench:
        pod = bench.reviewed({"numastow.io/cpus": "1"})
        name = pod["spec"]["resourceClaims"][0]["resourceClaimTemplateName"]
        program = bench.start()
        bench.api.stop()
        check("an API server that is away is no bad health", eventually(
            lambda: not metrics_of(program).count("numastow_scheduler_kubernetes_leader 1\n")))
        same("health", fetch(program, "/healthz")[0], 200)
        bench.add_pod("meanwhile", pod)
        bench.api.start()
        check("when it is back, work goes on", eventually(lambda: bench.templates() == [("x", name)]))
        # Invalid answers, each kind in turn; then valid ones again.
        wrong = [lambda h: h.answer(200, b"garbage"), lambda h: h.answer(200, {"items": 7}),
                 lambda h: h.answer(200, {"items": [7, {"metadata": 3}]}), lambda h: h.answer(500, b""),
                 lambda h: h.refuse(410, "Expired", "too old"), lambda h: h.refuse(429, "TooManyRequests", "slow"),
                 lambda h: h.answer(200, {"metadata": {"name": "../../x", "namespace": "a/b"}})]
        left = list(wrong)

        def fault(handler, method, path):
            with bench.api.lock:
                answer = left.pop() if left and "leases" not in path else None
            if answer:
                answer(handler)
            return bool(answer)
        bench.api.faults = [fault]

        def given():
            """Watches that end are opened again; one of them may just be opening."""
            with bench.api.lock:
                for watcher in bench.api.watchers if left else []:
                    watcher.put({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
                return not left
        check("wrong answers were given", eventually(given))
        bench.add_pod("after", pod, ns="y")
        check("and work goes on", eventually(lambda: ("y", name) in bench.templates()))
        program.process.terminate()
        same("SIGTERM ends it", program.process.wait(PATIENCE), 0)


def check_hanging(folder, certificates):
    """A server that does not answer delays neither health nor the end."""
    with Bench(folder, "hanging", certificates) as bench:
        bench.api.faults = [lambda h, m, p: time.sleep(PATIENCE) is None]
        program = bench.start(leads=False)
        check("it is asked", eventually(lambda: bench.api.requests))
        same("health", fetch(program, "/healthz")[0], 200)
        program.process.terminate()
        same("SIGTERM ends it", program.process.wait(PATIENCE), 0)


with Temp() as temp:
    os.makedirs(f"{temp}/tls")
    make_certificates(f"{temp}/tls")
    parts = [check_templates, check_evictions, check_strange_conditions, check_strange_claims, check_crowds, check_turns,
             check_refused, check_leadership, check_away, check_hanging]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(part, temp, f"{temp}/tls") for part in parts]:
            done.result()
finish()
