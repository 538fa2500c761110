#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes without a cluster: the objects that manifests refer to exist, options are those of the programs, and `place`
replaces files as documented."""
import os
import re
import shutil
import subprocess

import yaml

from harness import BUILD, PROJECT, Temp, check, finish, run, same, skip

KUBERNETES = os.path.join(PROJECT, "deploy/kubernetes")
NAMESPACE = "numastow-system"
# Objects that Kubernetes, an administrator or another program makes.
GIVEN = {("PriorityClass", "system-node-critical"), ("ClusterRole", "cluster-admin"), ("Secret", "numastow-webhook"), ("Secret", "numastow-extender"),
         ("ConfigMap", "numastow-limits"), ("ConfigMap", "numastow-machine")}


class Loader(yaml.SafeLoader):
    """A YAML loader that refuses a key that occurs twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(keys) != len(set(map(str, keys))):
            raise yaml.constructor.ConstructorError(None, None, f"a key occurs twice: {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


def text_of(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def load(path):
    try:
        return [d for d in yaml.load_all(text_of(path), Loader) if d is not None]
    except yaml.YAMLError as error:
        check(f"{os.path.relpath(path, PROJECT)} is YAML", False, error)
        return []


def files(folder):
    return sorted(os.path.join(at, f) for at, folders, names in os.walk(folder) for f in names
                  if f.endswith(".yaml") and "/chart/" not in f"{at}/")


def check_kustomizations():
    """Each file is in a kustomization, and each file that a kustomization names exists."""
    used = set()
    for path in files(KUBERNETES):
        if os.path.basename(path) != "kustomization.yaml":
            continue
        used.add(path)
        named = [os.path.normpath(os.path.join(os.path.dirname(path), n)) for k in load(path)
                 for n in k.get("resources", []) + k.get("components", [])]
        missing = [n for n in named if not os.path.exists(n) or
                   os.path.isdir(n) and not os.path.exists(f"{n}/kustomization.yaml")]
        same(f"{os.path.relpath(path, KUBERNETES)}: the files that it names exist", missing, [])
        used.update(named)
    same("every manifest is in a kustomization", [f for f in files(KUBERNETES) if f not in used and "/examples/" not in f],
         [])


def walk(value, path=""):
    """(path, key, value) of each field, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield path, key, inner
            yield from walk(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, path)


def pod_of(thing):
    return thing["spec"]["template"]["spec"]


def references(thing):
    """(kind, name) of what a manifest needs."""
    kind = thing["kind"]
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        yield thing["roleRef"]["kind"], thing["roleRef"]["name"]
        for subject in thing["subjects"]:
            yield subject["kind"], subject["name"]
    elif kind == "ValidatingAdmissionPolicyBinding":
        yield "ValidatingAdmissionPolicy", thing["spec"]["policyName"]
        if "paramRef" in thing["spec"]:
            yield "ConfigMap", thing["spec"]["paramRef"]["name"]
    elif kind in ("DaemonSet", "Deployment"):
        yield "ServiceAccount", pod_of(thing)["serviceAccountName"]
        yield "PriorityClass", pod_of(thing)["priorityClassName"]
        for volume in pod_of(thing)["volumes"]:
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"]["name"]
            if "secret" in volume:
                yield "Secret", volume["secret"]["secretName"]
    elif kind == "MutatingWebhookConfiguration":
        for hook in thing["webhooks"]:
            yield "Service", hook["clientConfig"]["service"]["name"]


def check_references(things):
    there = {(t["kind"], t["metadata"]["name"]) for t in things} | GIVEN
    needed = [(t["kind"], t["metadata"]["name"], r) for t in things for r in references(t)]
    same("the objects that manifests refer to exist", [n for n in needed if n[2] not in there], [])
    check("and there are many references", len(needed) > 12, needed)
    same("policies that nothing binds", [t["metadata"]["name"] for t in things if t["kind"] == "ValidatingAdmissionPolicy"
         and ("ValidatingAdmissionPolicyBinding", t["metadata"]["name"]) not in there], [])
    cluster = {"Namespace", "DeviceClass", "ClusterRole", "ClusterRoleBinding", "PriorityClass",
               "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingWebhookConfiguration"}
    same("each has the right namespace, or none", [
        (t["kind"], t["metadata"]["name"]) for t in things
        if t["metadata"].get("namespace") != (None if t["kind"] in cluster else NAMESPACE)], [])
    other = [f for t in things for f in walk(t) if f[1] == "namespace" and f[2] != NAMESPACE]
    same("and no other namespace is named", other, [])
    labels = [t["spec"]["template"]["metadata"]["labels"] for t in things if t["kind"] in ("DaemonSet", "Deployment")]
    ports = {p["name"]: p["containerPort"] for t in things if t["kind"] in ("DaemonSet", "Deployment")
             for c in pod_of(t)["containers"] for p in c.get("ports", [])}
    selectors = [(t["kind"], t["metadata"]["name"], s) for t in things for _, key, value in walk(t)
                 for s in [value.get("matchLabels", value) if isinstance(value, dict) else None]
                 if key in ("podSelector", "selector") and t["kind"] != "DeviceClass" and s]
    same("selectors that select nothing", [s for s in selectors if not any(s[2].items() <= one.items() for one in labels)],
         [])
    named = [value for t in things if t["kind"] in ("Service", "NetworkPolicy", "PodMonitor") for _, key, value in walk(t)
             if key in ("port", "targetPort") and isinstance(value, str)]
    same("ports that no container has", [n for n in named if n not in ports], [])
    check("selectors and ports were seen", len(selectors) >= 4 and len(named) >= 3, (selectors, named))


def check_pods(things):
    for thing in things:
        if thing["kind"] not in ("DaemonSet", "Deployment"):
            continue
        name, pod = thing["metadata"]["name"], pod_of(thing)
        volumes = {v["name"] for v in pod["volumes"]}
        containers = pod.get("initContainers", []) + pod["containers"]
        mounts = [m["name"] for c in containers for m in c.get("volumeMounts", [])]
        same(f"{name}: each mount has its volume, each volume a mount", set(mounts), volumes)
        for container in containers:
            what, context = f"{name}, {container['name']}", container["securityContext"]
            check(f"{what}: it has no privileges but those that are named", not context.get("privileged") and
                  context["readOnlyRootFilesystem"] and context["capabilities"]["drop"] == ["ALL"], context)
            same(f"{what}: the image", container["image"], f"localhost/numastow:{text_of(f'{PROJECT}/VERSION').strip()}")
            check(f"{what}: it has requests and a limit of memory", container["resources"]["requests"] and
                  container["resources"]["limits"]["memory"], container.get("resources"))


def unit_capabilities():
    text = text_of(f"{PROJECT}/deploy/systemd/numastow-agent.service")
    return re.search(r"^CapabilityBoundingSet=(.*)$", text, re.M).group(1).replace("CAP_", "").split()


def added_to(name):
    """The arguments that components add to the container of that name."""
    return [operation["value"] for path in files(f"{KUBERNETES}/components") if path.endswith("/kustomization.yaml")
            for k in load(path) for patch in k.get("patches", []) if patch.get("target", {}).get("name") == name
            for operation in yaml.load(patch["patch"], Loader) if "/args/" in operation["path"]]


def check_programs(things, temp):
    """Commands, options and settings are those of this version."""
    for kind, program in (("DaemonSet", "numastow-agent"), ("Deployment", "numastow-scheduler")):
        known = re.findall(r"^ +--([a-z-]+)", run([f"{BUILD}/{program}", "--help"], "").out, re.M)
        for thing in [t for t in things if t["kind"] == kind]:
            name, container = thing["metadata"]["name"], pod_of(thing)["containers"][0]
            same(f"{name}: the command", container["command"][-1], program)
            unknown = [a for a in (*container["args"], *added_to(name)) if a[2:].partition("=")[0] not in known]
            check(f"{name}: the options are those of {program}", len(known) > 20 and not unknown, unknown)
    agent = pod_of([t for t in things if t["kind"] == "DaemonSet"][0])["containers"][0]
    same("numastow-agent: the capabilities are those of its unit", agent["securityContext"]["capabilities"]["add"],
         unit_capabilities())
    settings = [t for t in things if t["kind"] == "ConfigMap"][0]["data"]["agent.yaml"]
    with open(f"{temp}/agent.yaml", "w", encoding="utf-8") as handle:
        handle.write(settings.replace("kubernetes: true", "kubernetes: false"))
    good = run([f"{BUILD}/numastow-agent", "--check-config", "--config", f"{temp}/agent.yaml"], "")
    check("numastow-agent: the ConfigMap's settings are right", "kubernetes: true" in settings and good.code == 0, good)
    keys = yaml.safe_load(settings)
    mounts = {m["mountPath"] for m in agent["volumeMounts"]}
    check("numastow-agent: its folder for CDI files is the machine's", keys["cdi-folder"] in mounts, mounts)
    placed = [v["hostPath"]["path"] for t in things if t["kind"] == "DaemonSet" for v in pod_of(t)["volumes"]
              if v["name"] == "programs"]
    same("numastow-agent: the hook is where it is placed", [os.path.dirname(keys["claims-hook"])], placed)
    driver = re.search(r'#define AGENT_DRIVER\s+"(.*)"', text_of(f"{PROJECT}/agent/kubernetes/names.h")).group(1)
    classes = [t for t in things if t["kind"] == "DeviceClass"]
    same("classes: their parameters are for our driver", {c["spec"]["config"][0]["opaque"]["driver"] for c in classes},
         {driver})
    # The policy repeats how the agent names its slices.
    source = text_of(f"{PROJECT}/agent/kubernetes/slice.c")
    longest = re.search(r"#define NAME_NODE_MAX (\d+)", source).group(1)
    check("policies: slices are named as the agent names them", '"%s-numastow-%03zu"' in source and
          f"size(variables.machine) > {longest}" in text_of(f"{KUBERNETES}/base/policies.yaml"), longest)


def check_versions():
    version = text_of(f"{PROJECT}/VERSION").strip()
    chart = load(f"{KUBERNETES}/chart/Chart.yaml")[0]
    values = load(f"{KUBERNETES}/chart/values.yaml")[0]
    same("the chart's version, and its image's", (chart["version"], chart["appVersion"], values["image"]),
         (version, version, f"localhost/numastow:{version}"))
    for link in ("base", "components"):
        same(f"the chart's files/{link} are the manifests", os.path.realpath(f"{KUBERNETES}/chart/files/{link}"),
             f"{KUBERNETES}/{link}")


def place(image, temp, config="none"):
    return subprocess.run([f"{image}/usr/libexec/numastow/place", f"{temp}/bin", f"{temp}/etc", f"{temp}/{config}"],
                          check=False, capture_output=True, text=True)


PLACED = ["base-runtime-spec.json", "numastow", "numastow-hook", "numastow-scope", "numastow-setup"]


def check_place(temp):
    image = f"{temp}/image"
    for folder in (f"{image}/usr/libexec/numastow", f"{image}/usr/bin", f"{temp}/bin", f"{temp}/etc", f"{temp}/config"):
        os.makedirs(folder)
    shutil.copy(f"{KUBERNETES}/place", f"{image}/usr/libexec/numastow/place")
    for name in ("numastow-hook", "numastow-scope", "numastow-setup"):
        shutil.copy(f"{BUILD}/{name}", f"{image}/usr/libexec/numastow/{name}")
    shutil.copy(f"{PROJECT}/deploy/setup/base-runtime-spec.json", f"{image}/usr/libexec/numastow")
    shutil.copy(f"{BUILD}/numastow", f"{image}/usr/bin/numastow")
    for name in ("numastow-hook", "numastow"):
        linked = run(["ldd", f"{BUILD}/{name}"], "")
        if "/release" in BUILD:
            check(f"{name} needs no library of the machine", "statically linked" in linked.out, linked)
    done = place(image, temp)
    same("place: all programs are on the machine", (done.returncode, sorted(os.listdir(f"{temp}/bin"))),
         (0, PLACED))
    check("place: and start", run([f"{temp}/bin/numastow-hook", "--version"], "").code == 0)
    hook = f"{temp}/bin/numastow-hook"
    before = os.stat(hook)
    same("place: again, nothing changes", (place(image, temp).stdout, os.stat(hook).st_ino), ("", before.st_ino))
    with open(hook, "rb") as running:
        with open(f"{image}/usr/libexec/numastow/numastow-hook", "ab") as handle:
            handle.write(b"another version")
        with open(f"{temp}/bin/.numastow-hook.new", "w", encoding="ascii") as handle:
            handle.write("half of it")  # as left behind by a `place` that was killed
        done = place(image, temp)
        same("place: another version takes its place", (done.stdout, os.stat(hook).st_size),
             (f"placed {hook}\n", before.st_size + len(b"another version")))
        check("place: in another file, so that a running one goes on",
              os.fstat(running.fileno()).st_ino != os.stat(hook).st_ino and
              os.fstat(running.fileno()).st_size == before.st_size)
    same("place: nothing else is there", (sorted(os.listdir(f"{temp}/bin")), os.listdir(f"{temp}/etc")),
         (PLACED, []))
    with open(f"{temp}/config/config.yaml", "w", encoding="ascii") as handle:
        handle.write("default-policy: spread\n")
    place(image, temp, "config")
    same("place: the machine's settings", text_of(f"{temp}/etc/config.yaml"), "default-policy: spread\n")
    place(image, temp)
    check("place: which stay without the ConfigMap", os.path.exists(f"{temp}/etc/config.yaml"))
    os.chmod(f"{temp}/bin/numastow-hook", 0o700)
    place(image, temp)
    same("place: modes are right again", os.stat(hook).st_mode & 0o777, 0o755)


def check_kustomize():
    if not shutil.which("kubectl"):
        skip("kubectl renders the overlays", "no kubectl here")
        return
    for name in sorted(os.listdir(f"{KUBERNETES}/overlays")):
        done = run(["kubectl", "kustomize", f"{KUBERNETES}/overlays/{name}"], "")
        check(f"kubectl renders the overlay {name}", done.code == 0 and done.out.count("\nkind: ") > 10, done)


def main():
    things = [t for folder in ("base", "components") for path in files(f"{KUBERNETES}/{folder}")
              if os.path.basename(path) != "kustomization.yaml" for t in load(path)]
    check("each manifest has a kind and a name", things and all(
        t.get("apiVersion") and t.get("kind") and t.get("metadata", {}).get("name") for t in things), things)
    check_kustomizations()
    check_references(things)
    check_pods(things)
    check_versions()
    check_kustomize()
    with Temp() as temp:
        check_programs(things, temp)
        check_place(temp)
    finish()


if __name__ == "__main__":
    main()
