# SPDX-License-Identifier: Apache-2.0
"""What the admission policies of deploy/kubernetes are to refuse and to admit, in each version of the API; and the
rights of its service accounts."""
from api import ACCOUNT, AGENT, CORE, DRA, VERSIONS, As
from cluster import NAMESPACE, eventually
from harness import check, same

STRANGER = f"{ACCOUNT}:other-driver:driver"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


# --- slices --------------------------------------------------------------------------------------

def slice_of(version, node, name=None, driver="numastow.io", pool=None, **spec):
    device = {"allowMultipleAllocations": True, "capacity": {"cpus": {"value": "4"}}}
    if spec.get("perDeviceNodeSelection"):
        device["nodeName"] = node
    elif not spec:
        spec["nodeName"] = node
    devices = [{"name": "node0", "basic": device} if version == "v1beta1" else {"name": "node0", **device}]
    return {"apiVersion": f"resource.k8s.io/{version}", "kind": "ResourceSlice",
            "metadata": {"name": name or f"{node}-numastow-000"},
            "spec": {"driver": driver, "pool": {"name": pool or node, "generation": 1, "resourceSliceCount": 1},
                     "devices": devices, **spec}}


def put_of(server, version, name, change):
    stored = server.get(f"{DRA}/{version}/resourceslices/{name}")
    change(stored)
    return "PUT", f"{DRA}/{version}/resourceslices/{name}", stored


def check_slices(server):
    """Everyone here may do everything: what is refused, the policies refuse."""
    mine = As(server, AGENT, "m")
    # A machine whose name begins like ours.
    for node in ("w", "m-numastow-0"):
        server.create(f"{DRA}/v1/resourceslices", slice_of("v1", node))
    server.create(f"{DRA}/v1/resourceslices", slice_of("v1", "gpus", name="gpu", driver="gpu.example"))
    selector = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}]}
    for version in VERSIONS:
        at = f"{DRA}/{version}/resourceslices"

        def body(*args, version=version, **kwargs):
            return slice_of(version, *args, **kwargs)
        for what, word, wrong in (
                ("another machine", "of that machine only", body("v")),
                ("another machine's pool", "of that machine only", body("m", pool="w")),
                ("another driver", "the driver numastow.io only", body("m", driver="gpu.example")),
                ("all machines", "of that machine only", body("m", allNodes=True)),
                ("a node selector", "of that machine only", body("m", nodeSelector=selector)),
                ("a machine for each device", "of that machine only", body("m", perDeviceNodeSelection=True)),
                ("a name of another machine's slice", "names its slices", body("m", name="v-numastow-000")),
                ("a name of a machine whose name begins with ours", "names its slices",
                 body("m", name="m-numastow-0-numastow-000"))):
            mine.refused(f"{version}: an agent cannot publish for {what}", word, "POST", f"{at}?dryRun=All", wrong)
        As(server, AGENT).refused(f"{version}: nor with a token that names no machine", "does not name a machine",
                                  "POST", f"{at}?dryRun=All", body("m"))
        mine.allowed(f"{version}: for its own it can", "POST", at, body("m"))
        mine.allowed(f"{version}: and change it", *put_of(server, version, "m-numastow-000", lambda s: s["spec"][
            "pool"].update(generation=s["spec"]["pool"]["generation"] + 1)))
        for node in ("w", "m-numastow-0"):
            name = f"{node}-numastow-000"
            mine.refused(f"{version}: it cannot change that of {node}", "of that machine only", *put_of(
                server, version, name, lambda s: s["metadata"].update(labels={"a": "b"})))
            mine.refused(f"{version}: nor delete it", "of that machine only", "DELETE", f"{at}/{name}")
        mine.refused(f"{version}: nor that of another driver", "the driver numastow.io only", "DELETE", f"{at}/gpu")
        mine.refused(f"{version}: nor all at once", "numastow's agent", "DELETE", at)
        stranger = As(server, STRANGER, "m")
        for what, method, path, wrong in (("publish", "POST", f"{at}?dryRun=All", body("v")),
                                          ("delete", "DELETE", f"{at}/w-numastow-000", None)):
            stranger.refused(f"{version}: another driver's account cannot {what} for ours",
                             "by numastow's agents only", method, path, wrong)
        stranger.allowed(f"{version}: but for its own", "POST", f"{at}?dryRun=All", body("m", name="m-gpu", driver="gpu.example"))
        long = "m" * 220
        As(server, AGENT, long).allowed(f"{version}: a machine with a long name can publish, too", "POST",
                                        f"{at}?dryRun=All", body(long, name=f"{'m' * 200}-0123456789abcdef-numastow-000"))
        mine.allowed(f"{version}: an agent deletes its own", "DELETE", f"{at}/m-numastow-000")
    same("the others' slices are there", sorted(s["metadata"]["name"] for s in server.items(f"{DRA}/v1/resourceslices")),
         ["gpu", "m-numastow-0-numastow-000", "w-numastow-000"])


# --- a claim's status ----------------------------------------------------------------------------

def make_allocated(server, name, node):
    """A claim as the scheduler allocates it: a device of ours, and one of another driver."""
    path = f"{DRA}/v1/namespaces/default/resourceclaims"
    server.create(path, claim_of("v1", name, [{"cpus": "1"}]))
    result = {"request": "r0", "driver": "numastow.io", "pool": node, "device": "node0"}
    claim = server.get(f"{path}/{name}")
    claim["status"] = {"reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}], "allocation": {
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": [node]}]}]},
        "devices": {"results": [result, {**result, "driver": "gpu.example", "device": "gpu0"}]}}}
    server.request("PUT", f"{path}/{name}/status", claim)
    return f"{path}/{name}"


def condition_of(driver, pool, device):
    return {"driver": driver, "pool": pool, "device": device, "conditions": [{
        "type": "numastow.io/Prepared", "status": "True", "reason": "Prepared", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


def check_status(server, prefix, foreign):
    """`foreign`: what the refusal of a foreign change says."""
    path = make_allocated(server, "status", "m")

    def put(change):
        claim = server.get(path)
        change(claim["status"])
        return "PUT", f"{path}/status", claim
    mine, other = As(server, AGENT, "m"), As(server, AGENT, "w")
    ours = condition_of("numastow.io", "m", "node0")
    mine.refused(f"{prefix}: an agent cannot remove an allocation", foreign, *put(lambda s: (s.pop("allocation"), s.pop("reservedFor"))))
    mine.refused(f"{prefix}: nor whom it is reserved for", foreign, *put(lambda s: s["reservedFor"].clear()))
    mine.refused(f"{prefix}: nor write another driver's condition", foreign,
                 *put(lambda s: s.update(devices=[condition_of("gpu.example", "m", "gpu0")])))
    other.refused(f"{prefix}: nor that of a claim on another machine", foreign, *put(lambda s: s.update(devices=[ours])))
    mine.allowed(f"{prefix}: it writes conditions of its own devices", *put(lambda s: s.update(devices=[ours])))
    other.refused(f"{prefix}: which another machine's agent cannot remove", foreign, *put(lambda s: s["devices"].clear()))
    server.delete(path)


# --- maxima of claims ----------------------------------------------------------------------------

def claim_of(version, name, choices, template=False, device_class="numastow-shared", **more):
    """A claim with a request for each of `choices`: amounts, or a list of alternatives of them."""
    requests = []
    for i, amounts in enumerate(choices):
        first = isinstance(amounts, list)
        made = [{"deviceClassName": device_class, "capacity": {"requests": a}, **more}
                for a in (amounts if first else [amounts])]
        if first:
            requests.append({"name": f"r{i}", "firstAvailable": [{"name": f"s{j}", **m} for j, m in enumerate(made)]})
        elif version == "v1beta1":
            requests.append({"name": f"r{i}", **made[0]})
        else:
            requests.append({"name": f"r{i}", "exactly": made[0]})
    spec = {"devices": {"requests": requests}}
    return {"apiVersion": f"resource.k8s.io/{version}", "kind": "ResourceClaimTemplate" if template else "ResourceClaim",
            "metadata": {"name": name}, "spec": {"spec": spec} if template else spec}


def check_limits(server):
    for name in ("free", "broken", "closed"):
        server.create(CORE, {"metadata": {"name": name}})
    server.create(f"{CORE}/{NAMESPACE}/configmaps", {"metadata": {"name": "numastow-limits"}, "data": {
        "team": "cpus=8  memory=4Gi", "broken": "cpus=many", "_others": "hugepages1Gi=0", "examples": "cpus=32"}})
    who = As(server, f"{ACCOUNT}:team:app")
    for version in VERSIONS:
        for template in (False, True):
            kind = "resourceclaimtemplates" if template else "resourceclaims"
            what = f"{version}: a {'template' if template else 'claim'}"

            def post(namespace, choices, at=f"{DRA}/{version}/namespaces/%s/{kind}?dryRun=All", version=version,
                     template=template, **more):
                return "POST", at % namespace, claim_of(version, "c", choices, template, **more)
            over = "may ask numastow for at most "
            who.refused(f"{what} of too many CPUs is refused", f"{over}cpus=8", *post("team", [{"cpus": "9"}]))
            who.refused(f"{what} whose requests are too many in sum", f"{over}cpus=8",
                        *post("team", [{"cpus": "5"}, {"cpus": "4"}]))
            who.refused(f"{what} by its count", f"{over}memory=4Gi", *post("team", [{"memory": "3Gi"}], count=2))
            who.refused(f"{what} by one of its alternatives", f"{over}cpus=8, memory=4Gi",
                        *post("team", [[{"cpus": "1"}, {"cpus": "12", "memory": "4097Mi"}]]))
            who.refused(f"{what} of all devices", "all devices",
                        *post("team", [{"cpus": "1"}], allocationMode="All"))
            who.refused(f"{what} of the namespaces without a limit of their own", f"{over}hugepages1Gi=0",
                        *post("free", [{"hugepages1Gi": "1Gi"}]))
            who.refused(f"{what} where the limit is nonsense", "numastow-limits", *post("broken", [{"cpus": "1"}]))
            for text, right in (
                    ("within its limits", post("team", [{"cpus": "5"}, {"cpus": "3", "memory": "4Gi"}])),
                    ("within them by each alternative", post("team", [[{"cpus": "8"}, {"cpus": "7500m"}]])),
                    ("of another driver", post("team", [{"cpus": "100"}], device_class="gpu.example")),
                    ("of another driver, where ours is nonsense",
                     post("broken", [{"cpus": "1"}], device_class="gpu.example")),
                    ("of what has no limit", post("free", [{"cpus": "100"}]))):
                who.allowed(f"{what} {text} is admitted", *right)


def check_quota(server):
    path = f"{CORE}/closed/resourcequotas"
    key = "numastow-exclusive.deviceclass.resource.k8s.io/devices"
    quota = server.create(path, {"metadata": {"name": "q"}, "spec": {"hard": {key: "0"}}})
    # As the controller for quotas does, which is not here.
    server.request("PUT", f"{path}/q/status", {**quota, "status": {"hard": {key: "0"}, "used": {key: "0"}}})
    who, claims = As(server, f"{ACCOUNT}:closed:app"), f"{DRA}/v1/namespaces/closed/resourceclaims"
    who.refused("a quota closes exclusive CPUs to a namespace", "exceeded quota", "POST", f"{claims}?dryRun=All",
                claim_of("v1", "c", [{"cpus": "1"}], device_class="numastow-exclusive"))
    who.allowed("and leaves it the shared ones", "POST", claims, claim_of("v1", "c", [{"cpus": "1"}]))


# --- roles ---------------------------------------------------------------------------------------

# "verb group/resource[/name]"
def all_of(verbs, resource):
    return {f"{verb} {resource}" for verb in verbs.split()}


WANTED = {
    "numastow-agent": {
        "": all_of("get", "/nodes") | all_of("get", "resource.k8s.io/resourceclaims") |
        all_of("update", "resource.k8s.io/resourceclaims/status") |
        all_of("associated-node:update", "resource.k8s.io/resourceclaims/driver=numastow.io") |
        all_of("get list watch create update delete", "resource.k8s.io/resourceslices") |
        all_of("list watch create patch delete", "topology.node.k8s.io/noderesourcetopologies")},
    "numastow-scheduler": {
        "": all_of("get list watch delete", "/pods") | all_of("create", "/pods/eviction") |
        all_of("create", "/events") | all_of("get list watch", "resource.k8s.io/resourceclaims") |
        all_of("get list watch create delete", "resource.k8s.io/resourceclaimtemplates"),
        NAMESPACE: all_of("get create update", "coordination.k8s.io/leases")},
}


def rules_of(server, user, namespace):
    code, answer = As(server, user).request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}})
    rules = answer.get("status", {}).get("resourceRules", []) if code == 201 else []
    return {f"{verb} {group}/{resource}" + (f"={name}" if name else "") for rule in rules for verb in rule["verbs"]
            for group in rule.get("apiGroups", [""]) for resource in rule["resources"]
            for name in rule.get("resourceNames") or [""]}


def check_roles(server):
    everyone = rules_of(server, STRANGER, "default")
    check("rights can be read", everyone)
    for account, where in WANTED.items():
        user = f"{ACCOUNT}:{NAMESPACE}:{account}"
        for namespace in ("default", NAMESPACE):
            wanted = where[""] | where.get(namespace, set())
            same(f"{account} has the rights that it needs, and no more, in {namespace}",
                 eventually(lambda user=user, namespace=namespace: rules_of(server, user, namespace) - everyone, 120),
                 wanted)


def check_deletions(server):
    """The controllers delete pods with claims, and no others."""
    who = As(server, f"{ACCOUNT}:{NAMESPACE}:numastow-scheduler")
    for namespace, name, claims in (("free", "plain", []), ("kube-system", "part", [{"name": "c", "resourceClaimName": "c"}]),
                                    ("free", "claimed", [{"name": "c", "resourceClaimName": "c"}])):
        server.create(f"{CORE}/{namespace}/pods", {"metadata": {"name": name}, "spec": {
            "automountServiceAccountToken": False, "resourceClaims": claims,
            "containers": [{"name": "c", "image": "x"}]}})
        path = f"{CORE}/{namespace}/pods/{name}"
        if name == "claimed":
            who.allowed("a pod with a claim is deleted", "DELETE", path)
        else:
            who.refused(f"{namespace}/{name} is not deleted", "pods with claims only", "DELETE", path)


def give_all(server):
    """Every right to the accounts that the policies bind: what is refused then, the policies refuse."""
    server.create(f"{RBAC}/clusterrolebindings", {
        "metadata": {"name": "everything"}, "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": f"{ACCOUNT}s"}]})
