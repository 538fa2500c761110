#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The examples that examples.py has not: of numastow(1), of the fleet, of Kubernetes, of annotations and of configuration
files, and the table of commands in README. Each is run as it is written, but for names that only the reader has. Those
that need systemd, or memory that can leave, are not run here. A page with examples that is not named here fails."""
import glob
import json
import os
import re
import shlex
import subprocess
import sys

import yaml

import examples
from daemons import AGENT, SCHEDULER
from examplelib import blocks, commands, pages_with_examples
from fleetlib import eventually, start_agent, start_scheduler
from harness import BUILD, GIB, MEMORY, MIB, PROJECT, Machine, Temp, check, finish, hook, run, same
from kubelib import ApiServer, kubeconfig, make_certificates

API = "/apis/resource.k8s.io/v1"
PREFIX = "numastow.io/"
IN_GUEST = {"numastow-agent.8", "numastow-scheduler.8", "numastow-drain.1"}  # systemd, ssh, memory devices


class Reader:
    """Who types the examples: with these programs in PATH, on machine web-3, which a scheduler knows."""

    def __init__(self, temp):
        self.temp, self.bin = temp, f"{temp}/bin"
        os.makedirs(self.bin)
        self.machine = Machine(f"{temp}/web-3", nodes=2, cpus=32, memory=96 * GIB, pools={2 * MIB: (0, 4096)})
        self.add_program("numactl", 'echo "$@"')
        self.add_program("numastow-ca", f'exec {PROJECT}/deploy/numastow-ca "$@"')
        self.add_program("kubectl", f'shift\nexec {BUILD}/kubectl-numastow "$@"')
        # What asks neither agent nor scheduler reads the machine's tree.
        self.add_program("numastow", f"""case $1 in
explain | why | ledger | offline) command=$1; shift; set -- "$command" --sysroot {self.machine.path} "$@" ;;
*) set -- "$@" --config {temp}/client.yaml ;;
esac
exec {BUILD}/numastow "$@" """)

    def add_program(self, name, text):
        with open(f"{self.bin}/{name}", "w", encoding="utf-8") as handle:
            handle.write(f"#!/bin/sh\n{text}\n")
        os.chmod(f"{self.bin}/{name}", 0o755)

    def join(self, port):
        with open(f"{self.temp}/client.yaml", "w", encoding="utf-8") as handle:
            handle.write(f"scheduler: 127.0.0.1:{port}\n")

    def paste(self, text, **env):
        return run(["env", "-C", self.temp, f"PATH={self.bin}:{os.environ['PATH']}", *(f"{k}={v}" for k, v in env.items()),
                    "sh", "-ec", text], "")

    def release_all(self):
        """What no container uses: a fence would wait for that."""
        left = json.loads(self.paste("numastow reservations --json").out).get("reservations", [])
        for reservation in left:
            if not reservation.get("container"):
                self.paste(f"numastow release --cluster {reservation['id']}")

    def start(self, name, annotations, machine=None):
        machine = machine or self.machine
        machine.container(name, annotations)
        return hook(machine, "apply", machine.state(name))


def annotations_of(command):
    """Those of a `podman run`."""
    words = shlex.split(command.replace("\\\n", " "))
    return dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--annotation")


# --- numastow(1) ----------------------------------------------------------------------------------

def check_local(reader, texts):
    check("a container is placed", reader.start("db", {f"{PREFIX}cpus": "2", f"{PREFIX}cpu-mode": "exclusive"}).code == 0)
    check("another is refused", reader.start("big", {f"{PREFIX}cpus": "99"}).code == 1)
    done = reader.paste(texts["numastow explain"])
    check("explain: it would fit, and where", done.code == 0 and "node 0" in done.out, done)
    done = reader.paste(texts["nodes=$(numastow explain"])
    check("explain --nodes-only: for numactl", done.code == 0 and re.fullmatch(r"-N ([01]) -m \1 COMMAND\n", done.out), done)
    reader.machine.write(f"{MEMORY}/block_size_bytes", f"{GIB:x}\n")
    for block in range(4):
        for name, text in (("state", "online"), ("removable", "1"), ("valid_zones", "Movable")):
            reader.machine.write(f"{MEMORY}/memory{block}/{name}", f"{text}\n")
        os.symlink(f"../../memory/memory{block}", reader.machine.file(f"/sys/devices/system/node/node{block // 2}/memory{block}"))
    done = reader.paste(texts["numastow offline"])
    check("offline --dry-run: which blocks", done.code == 0 and done.out and
          reader.machine.read(f"{MEMORY}/memory3/state") == "online", done)
    done = reader.paste(texts["numastow why --since"])
    check("why --since: the container that was refused", done.code == 0 and "99 CPUs" in done.out and "placed" not in done.out, done)
    done = reader.paste(texts["numastow why --last"])
    check("why: the last container was refused", done.code == 0 and "refused" in done.out and "99 CPUs" in done.out, done)
    done = reader.paste(texts["numastow ledger"])
    same("ledger: the exclusive CPUs", (done.code, len(reader.machine.cpuset("db")), done.out),
         (0, 2, f"{','.join(map(str, sorted(reader.machine.cpuset('db')))).replace(',', '-')}\n"))


def check_place(reader, text):
    first, second = text.splitlines()
    done = reader.paste(first)
    found = re.search(r"^annotation +(numastow.io/reservation)=((\S+):(\d)@web-3)$", done.out, re.M)
    if not check("place: a reservation on the machine", done.code == 0 and found, done):
        return
    wanted = annotations_of(second)
    check("the annotation is written as place prints it",
          re.fullmatch(r"[0-9a-f]{16}:\d@web-3", wanted.get(found[1], "")) and second.startswith("podman run "), second)
    result = reader.start("reserved", {found[1]: found[2]})
    node = int(found[4])
    check("a container with it starts there, with four CPUs' room", result.code == 0 and
          reader.machine.cpuset("reserved", "mems") == {node}, result)


def check_fleet(reader, texts):
    done = reader.paste(texts["numastow nodes"])
    same("nodes: none that is not ready", (done.code, done.out), (0, ""))
    check_place(reader, texts["numastow place --confirmed"])
    done = reader.paste(texts["numastow place cpus=8"])
    same("place: both, each with its annotation", (done.code, len(re.findall("^annotation ", done.out, re.M))), (0, 2))
    reader.release_all()
    fence, repin = texts["numastow fence"].splitlines()
    done = reader.paste(fence)
    check("fence", done.code == 0 and "fenced" in done.out, done)
    check("repin is for the machine itself", repin.startswith("ssh web-3 numastow repin "), repin)
    done = reader.paste("numastow unfence web-3 1")
    check("and unfence", done.code == 0, done)
    done = reader.paste("numastow place cpus=99")
    check("what does not fit ends with 3", done.code == 3 and done.err.startswith("numastow: "), done)


# --- kubectl numastow(1) --------------------------------------------------------------------------

def fill(api):
    """web-3 has one NUMA node, and pod prod/db-0 wants more CPUs than that has."""
    api.others[f"{API}/deviceclasses/numastow-shared"] = {
        "metadata": {"name": "numastow-shared"},
        "spec": {"selectors": [{"cel": {"expression": 'device.driver == "numastow.io"'}}]}}
    api.slices["web-3-numastow-000"] = {
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "web-3-numastow-000"},
        "spec": {"driver": "numastow.io", "nodeName": "web-3", "pool": {"name": "web-3", "generation": 1, "resourceSliceCount": 1},
                 "devices": [{"name": f"node{n}", "allowMultipleAllocations": True, "attributes": {
                     "kind": {"string": "cpus-memory"}, "cpuCount": {"int": 16}, "socket": {"int": n},
                     "resource.kubernetes.io/numaNode": {"int": n}},
                     "capacity": {"cpus": {"value": "16"}, "memory": {"value": "90Gi"}}} for n in (0, 1)]}}
    api.others[f"{API}/namespaces/prod/resourceclaims/want"] = {
        "metadata": {"name": "want", "namespace": "prod"}, "spec": {"devices": {"requests": [
            {"name": "numa", "exactly": {"deviceClassName": "numastow-shared", "capacity": {"requests": {"cpus": "17"}}}}]}},
        "status": {}}
    api.others["/api/v1/namespaces/prod/pods/db-0"] = {
        "metadata": {"name": "db-0", "namespace": "prod"},
        "spec": {"resourceClaims": [{"name": "numa", "resourceClaimTemplateName": "t"}],
                 "containers": [{"name": "main", "resources": {"claims": [{"name": "numa"}]}}]},
        "status": {"phase": "Pending", "resourceClaimStatuses": [{"name": "numa", "resourceClaimName": "want"}]}}


def check_kubectl(reader, port):
    folder = f"{reader.temp}/kubernetes"
    os.makedirs(folder)
    make_certificates(folder)
    api = ApiServer(folder)
    api.start()
    try:
        fill(api)
        config = kubeconfig(f"{folder}/kubeconfig", api.port, folder, token="first")
        explain, fence = blocks("kubectl-numastow.1")[0].splitlines()
        done = reader.paste(explain, KUBECONFIG=config)
        check("kubectl numastow explain: what the machine lacks", done.code == 0 and "17 asked for" in done.out, done)
        done = reader.paste(fence.replace("10.0.0.5:7200", f"127.0.0.1:{port}"), KUBECONFIG=config)
        check("kubectl numastow fence", done.code == 0 and "fenced" in done.out, done)
    finally:
        api.stop()


# --- files ----------------------------------------------------------------------------------------

def check_ca(reader):
    """Before the configuration files, which name what it makes."""
    [text] = blocks("numastow-ca.8")
    done = reader.paste(text)
    check("numastow-ca: every command, and the role is in the certificate", done.code == 0 and "place" in done.out, done)
    same("its files", sorted(os.listdir(f"{reader.temp}/ca/agent/web-3")), ["ca.crt", "tls.crt", "tls.key"])


def save(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
    return path


# For each page: how the program is asked, and for each message that is shown the file that it is about.
CONFIGURATIONS = {
    "numastow-agent.yaml.5": ("agent.yaml", "agent/web-3", [AGENT, "--check-config", "--config"], (
        "node: web-3\nschedulers: a:7200\n", "node: web-3\nscheduler: a:7200\ngc-interval: 10ms\n")),
    "numastow-scheduler.yaml.5": ("scheduler.yaml", "scheduler/scheduler.example", [SCHEDULER, "--check-config", "--config"], (
        "listen: 0.0.0.0:7200\n", "listen: 127.0.0.1:7200\n\n\nstrategy: tigth\n")),
    "numastow-client.yaml.5": ("client.yaml", "client/deployer", [
        f"{BUILD}/numastow", "node", "--agent", "/nowhere/agent.sock", "--config"], (
        "schedulers: a:7200\n", "scheduler: a:7200\nca: a\ncertificate: b\n")),
}


def check_configurations(reader):
    for page, (name, certificate, argv, wrong) in CONFIGURATIONS.items():
        good, messages = blocks(page)
        text = re.sub(r"(/etc/numastow/(client-)?tls|/run/credentials/numastow-scheduler.service)/",
                      f"{reader.temp}/ca/{certificate}/", good)
        save(f"{reader.temp}/ca/{certificate}/webhook.key", "0123456789abcdef\n")
        done = run([*argv, save(f"{reader.temp}/{page}/{name}", text)], "")
        # The command has no --check-config: it goes on to an agent that is not there.
        check(f"{page}: the example is valid", done.code == 0 or "/nowhere/agent.sock" in done.err, done)
        for shown, content in zip(messages.splitlines(), wrong, strict=True):
            path = save(f"{reader.temp}/{page}/{name}", content)
            done = run([*argv, path], "")
            check(f"{page}: {shown[:50]}", done.code != 0 and shown.replace(f"/etc/numastow/{name}", path) in done.err, done)


def check_config(temp):
    """config.yaml is read with the machine's tree."""
    good, messages = blocks("numastow.yaml.5")
    machine = Machine(f"{temp}/config", memory=64 * GIB)
    machine.write("/etc/numastow/config.yaml", good)
    ask = [f"{BUILD}/numastow", "explain", "--sysroot", machine.path]
    done = run([*ask, "--namespace", "databases", "cpus=1", "cpu-mode=exclusive"], "")
    check("numastow.yaml(5): the example is valid, and databases may have exclusive CPUs", done.code == 0, done)
    done = run([*ask, "--namespace", "other", "cpus=1", "cpu-mode=exclusive"], "")
    check("and others not", done.code == 1 and "is not allowed for namespace" in done.err, done)
    for shown, content in zip(messages.splitlines(), (
            "mode: enforce\nresevred: []\n", 'reserved:\n  - node: "*"\n    cpus: "0"\n    count: 1\n'), strict=True):
        machine.write("/etc/numastow/config.yaml", content)
        done = run([*ask, "cpus=1"], "")
        check(f"numastow.yaml(5): {shown[:50]}", done.code == 1 and shown in done.err, done)


def check_hook_file():
    [text] = blocks("numastow-hook.8")
    with open(f"{PROJECT}/deploy/podman/numastow-apply.json", encoding="utf-8") as handle:
        installed = handle.read().replace("@LIBEXECDIR@", "/usr/local/libexec/numastow")
    same("numastow-hook(8): the file is what make install writes", json.loads(text), json.loads(installed))


def check_annotations(reader):
    command, pod = blocks("numastow-annotations.7")
    wanted = annotations_of(command)
    machine = Machine(f"{reader.temp}/annotations", cpus=16, memory=32 * GIB)
    result = reader.start("four", wanted, machine)
    check("numastow-annotations(7): four exclusive CPUs, memory and hugepages of one node", result.code == 0 and
          len(machine.cpuset("four")) == 4 and len(machine.cpuset("four", "mems")) == 1 and
          sum(int(machine.read(f"{machine.pool(n)}/nr_hugepages")) for n in (0, 1)) == 512, result)
    shared = yaml.safe_load(pod)["metadata"]["annotations"]
    machine = Machine(f"{reader.temp}/pod", cpus=16, memory=32 * GIB)
    for name in ("web", "db"):
        result = reader.start(name, {**shared, "io.kubernetes.container.name": name, "io.kubernetes.pod.name": "pod",
                                     "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": "uid-1",
                                     "io.kubernetes.cri-o.SandboxName": "pod"}, machine)
        check(f"a pod's container {name} is placed", result.code == 0, result)
    same("on the same node", machine.cpuset("web", "mems"), machine.cpuset("db", "mems"))
    ledger = json.loads(run([f"{BUILD}/numastow", "ledger", "--json", "--sysroot", machine.path], "").out)
    same("with what each requests", {c["name"]: [sum(n["n_cpus"] for n in c["nodes"]), sum(n["memory"] for n in c["nodes"])]
                                     for c in ledger["containers"]}, {"web": [2, 0], "db": [4, 16 * GIB]})


# --- README ---------------------------------------------------------------------------------------

# The commands of its table, and where they run: here, in examples.py by another one of the same command, in a guest.
README = {
    "numastow place cpus=2 memory=1Gi": "here", "numastow fence MACHINE NODE": "here",
    "numastow repin ID --to 1": "guest", "numastow drain --device dimm1 --eject": "guest",
    "numastow top": "examples.py", "numastow stat [PID or CONTAINER]": "tree", "numastow zones": "tree", "numastow blocks --owners": "tree",
    "numastow numactl -N 0 -m 0 PROGRAM": "examples.py", "numastow measure": "examples.py",
}


def check_readme(reader):
    with open(f"{PROJECT}/README.md", encoding="utf-8") as handle:
        table = handle.read().split("## More than placing")[1].split("\n## ")[0]
    found = re.findall(r"^\| [^|]+\| `([^`]+)` \|", table, re.M)
    same("README: the commands of the table", sorted(found), sorted(README))
    for text in sorted((t for t in found if README[t] == "here"), reverse=True):  # place, and then fence
        done = reader.paste(text.replace("MACHINE", "web-3").replace("NODE", "1"))
        check(f"README: {text}", done.code == 0 and not done.err, done)
        reader.release_all()
    tree = f"{reader.temp}/tree"
    os.makedirs(tree)
    subprocess.run(["tar", "-xzf", f"{PROJECT}/tests/dumps/qemu-hmat-6.1.tar.gz", "-C", tree, "--no-same-owner"], check=True)
    for text in (t for t in found if README[t] == "tree"):
        words = text.split(" [")[0].split()[1:]
        done = run([f"{BUILD}/numastow", words[0], "--sysroot", tree, *words[1:]], "")
        check(f"README: {text}", done.code == 0 and done.out, done)
    for text in (t for t in found if README[t] == "examples.py"):
        check(f"README: a {text.split()[1]} is in examples.py", any(e.startswith(" ".join(text.split()[:2])) for e in examples.TABLE))


def read_text(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def check_guests():
    """Each example that is for a guest is pasted there by a script, which names its beginning."""
    scripts = "".join(map(read_text, sorted(glob.glob(f"{PROJECT}/tests/vm/*.sh"))))
    for page in sorted(IN_GUEST):
        begins = set(re.findall(rf"\$\(example {page} '?([^')|]+?)'?(?: \||\))", scripts))
        found = blocks(page)
        same(f"{page}: the examples that no guest runs", [t for t in found if not t.startswith(tuple(begins))], [])
        # The script takes the first that begins so.
        same(f"{page}: beginnings of several examples, or of none",
             [b for b in begins if sum(t.startswith(b) for t in found) != 1], [])
    begins = re.findall(r"\$\(readme '([^']+)'", scripts)
    same("README: the commands that no guest runs", [t for t, where in README.items() if where == "guest" and
                                                     not t.startswith(tuple(begins))], [])


def main():
    wanted = {f"numastow-{p}.1" for p in examples.PAGES} | IN_GUEST | set(CONFIGURATIONS) | {
        "numastow.1", "kubectl-numastow.1", "numastow-ca.8", "numastow-hook.8", "numastow-annotations.7", "numastow.yaml.5"}
    same("pages with examples that no test runs", sorted(pages_with_examples() - wanted), [])
    # What is below takes the texts between .EX and .EE.
    same("examples in another form", [(page, c) for page in sorted(wanted - {f"numastow-{p}.1" for p in examples.PAGES})
                                      for c in commands(page) if not any(c + "\n" in b for b in blocks(page))], [])
    keys = ("numastow explain", "numastow why --last", "numastow why --since", "numastow ledger", "numastow place --confirmed", "numastow place cpus=8",
            "numastow fence", "numastow nodes", "numastow offline", "nodes=$(numastow explain")
    found = blocks("numastow.1")
    texts = {k: next((t for t in found if t.startswith(k)), "") for k in keys}
    same("numastow(1): the examples", (len(found), [k for k, t in texts.items() if not t]), (len(keys), []))
    with Temp() as temp:
        reader = Reader(temp)
        check_local(reader, texts)
        with start_scheduler(f"{temp}/data") as server, start_agent(reader.machine, "web-3", server.port):
            reader.join(server.port)
            check("the scheduler knows the machine", eventually(lambda: " ready " in reader.paste("numastow nodes").out))
            check_fleet(reader, texts)
            check_readme(reader)
            check_kubectl(reader, server.port)
        check_ca(reader)
        check_configurations(reader)
        check_config(temp)
        check_annotations(reader)
    check_hook_file()
    check_guests()
    finish()


if __name__ == "__main__":
    sys.exit(main())
