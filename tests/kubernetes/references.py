# SPDX-License-Identifier: Apache-2.0
"""What manifests name of each other: nothing on a cluster without a network plugin, Prometheus' operator and cert-manager
says that a selector selects no pod, or that a port has another name."""
from harness import check, same


def labels_match(selector, labels):
    return all(labels.get(key) == value for key, value in (selector or {}).get("matchLabels", {}).items())


class Manifests:
    def __init__(self, objects):
        self.objects = objects
        self.workloads = [o for o in objects if o["kind"] in ("DaemonSet", "Deployment")]

    def of(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def names(self, kind):
        return {o["metadata"]["name"] for o in self.of(kind)}

    def selected(self, selector, namespace):
        """Pods, as their templates."""
        return [w["spec"]["template"] for w in self.workloads if w["metadata"]["namespace"] == namespace and
                labels_match(selector, w["spec"]["template"]["metadata"]["labels"])]

    @staticmethod
    def ports(pod):
        return {p["name"]: p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports", [])}

    def uses(self):
        """(what, selector, its ports) of everything that selects pods."""
        for one in self.of("Service"):
            yield (f"Service {one['metadata']['name']}", {"matchLabels": one["spec"]["selector"]},
                   [p["targetPort"] for p in one["spec"]["ports"]])
        for one in self.of("PodMonitor"):
            yield (f"PodMonitor {one['metadata']['name']}", one["spec"]["selector"],
                   [e["port"] for e in one["spec"]["podMetricsEndpoints"]])
        for one in self.of("NetworkPolicy"):
            what, spec = f"NetworkPolicy {one['metadata']['name']}", one["spec"]
            yield what, spec["podSelector"], [p["port"] for rule in spec.get("ingress", []) for p in rule.get("ports", [])]
            for rule in spec.get("ingress", []):
                for peer in rule.get("from", []):
                    if "podSelector" in peer:
                        yield f"{what}, from", peer["podSelector"], []
            for rule in spec.get("egress", []):
                for peer in rule.get("to", []):
                    if "podSelector" in peer:
                        yield f"{what}, to", peer["podSelector"], [p["port"] for p in rule.get("ports", [])]

    def wrong(self):
        """What is named, and is not there."""
        found = []
        for what, selector, ports in self.uses():
            pods = self.selected(selector, "numastow-system")
            found += [] if pods else [f"{what}: no pod"]
            found += [f"{what}: no port {port} in {sorted(self.ports(pod))}" for pod in pods for port in ports
                      if port not in (*self.ports(pod), *self.ports(pod).values())]
        for workload in self.workloads:
            found += self.wrong_pod(workload["metadata"]["name"], workload["spec"]["template"]["spec"])
        return found + self.wrong_bindings() + self.wrong_certificates()

    def wrong_pod(self, what, spec):
        found = [] if spec["serviceAccountName"] in self.names("ServiceAccount") else [f"{what}: no ServiceAccount"]
        priority = spec.get("priorityClassName", "system-")
        if not priority.startswith("system-") and priority not in self.names("PriorityClass"):
            found.append(f"{what}: no PriorityClass {priority}")
        for volume in spec.get("volumes", []):
            source = volume.get("configMap", {"optional": True})
            if not source.get("optional") and source["name"] not in self.names("ConfigMap"):
                found.append(f"{what}: no ConfigMap {source['name']}")
        return found

    def wrong_bindings(self):
        found = []
        for one in self.of("ClusterRoleBinding") + self.of("RoleBinding"):
            name = one["metadata"]["name"]
            if one["roleRef"]["name"] not in self.names(one["roleRef"]["kind"]):
                found.append(f"binding {name}: no role {one['roleRef']['name']}")
            found += [f"binding {name}: no account {s['name']}" for s in one["subjects"]
                      if s["name"] not in self.names(s["kind"])]
        return found

    def wrong_certificates(self):
        """A certificate is for a Service, and the webhook's is in its pod."""
        found = []
        services = {f"{s['metadata']['name']}.{s['metadata']['namespace']}.svc": s for s in self.of("Service")}
        secrets = {v["secret"]["secretName"] for w in self.workloads
                   for v in w["spec"]["template"]["spec"].get("volumes", []) if "secret" in v}
        for one in self.of("Certificate"):
            name, spec = one["metadata"]["name"], one["spec"]
            found += [f"Certificate {name}: no Service {dns}" for dns in spec["dnsNames"] if dns not in services]
            found += [] if spec["secretName"] in secrets else [f"Certificate {name}: no pod has its Secret"]
            found += [] if spec["issuerRef"]["name"] in self.names("Issuer") else [f"Certificate {name}: no Issuer"]
        for one in self.of("MutatingWebhookConfiguration"):
            injected = one["metadata"].get("annotations", {}).get("cert-manager.io/inject-ca-from")
            if injected and injected not in {f"{c['metadata']['namespace']}/{c['metadata']['name']}"
                                             for c in self.of("Certificate")}:
                found.append(f"webhook: no Certificate {injected}")
            for hook in one["webhooks"]:
                asked = hook["clientConfig"]["service"]
                service = services.get(f"{asked['name']}.{asked['namespace']}.svc")
                if not service or asked.get("port", 443) not in [p["port"] for p in service["spec"]["ports"]]:
                    found.append(f"webhook: no Service {asked}")
        return found


def check_references(name, objects):
    manifests = Manifests(objects)
    uses = list(manifests.uses())
    check(f"the overlay {name} has policies, and what they select", uses)
    same(f"the overlay {name}: all that manifests name is there", manifests.wrong(), [])
