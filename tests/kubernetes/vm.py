# SPDX-License-Identifier: Apache-2.0
"""A machine of the cluster: a NUMA virtual machine with containerd, kubelet and numastow-agent."""
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile

from cluster import FROM_GUEST, GATES, HERE, PATIENCE, Cluster, Unavailable, find_parts, run_test

TESTS = os.path.dirname(HERE)
PROJECT = os.path.dirname(TESTS)
BUILD = os.path.join(PROJECT, "build/release")
MACHINE_NEEDS = ("runc", "runc"), ("qemu-system-x86_64", "qemu-system-x86")


def make_image(path):
    """An image of busybox and a program that takes hugepages, as "podman save" writes it."""
    layer, whole = io.BytesIO(), io.BytesIO()

    def add(tar, name, data=b"", **fields):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        for key, value in fields.items():
            setattr(entry, key, value)
        tar.addfile(entry, io.BytesIO(data))

    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
            add(tar, folder, type=tarfile.DIRTYPE, mode=0o755)
        for name, source in (("busybox", "/bin/busybox"), ("touch-memory", f"{PROJECT}/build/vm/touch")):
            with open(source, "rb") as handle:
                add(tar, f"bin/{name}", handle.read(), mode=0o755)
        for name in ("sh", "sleep", "true", "false", "cat"):
            add(tar, f"bin/{name}", type=tarfile.SYMTYPE, linkname="busybox")
        add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", mode=0o644)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps({"architecture": os.uname().machine.replace("x86_64", "amd64"), "os": "linux",
                         "config": {"Entrypoint": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]},
                         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["numastow.io/test:1"],
                            "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        add(tar, "config.json", config)
        add(tar, "layer.tar", layer.getvalue())
        add(tar, "manifest.json", manifest)
    with open(path, "wb") as out:
        out.write(whole.getvalue())


def make_cluster(folder, kind=Cluster):
    """A control plane of that class, which has not started, for machines; in a new folder, with the image of pods."""
    where = find_parts(*MACHINE_NEEDS)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    subprocess.run([f"{TESTS}/vm/build-progs.sh"], check=True, stdout=subprocess.DEVNULL)
    make_image(f"{folder}/image.tar")
    cluster = kind(folder, where)
    cluster.kubeconfig("kubelet", FROM_GUEST)
    return cluster


def run_with_machines(name, test, kind=Cluster):
    """The whole of a program: `test(cluster)` with a control plane that works, whose logs are in build/NAME."""
    def run():
        with make_cluster(f"{PROJECT}/build/{name}", kind) as cluster:
            if cluster.works():
                test(cluster)
    run_test("stock Kubernetes", run)


class Machine:
    """Until the end of the block. Its console is in `log`."""

    def __init__(self, cluster, shape, log, forwarded=None):
        """`forwarded`: {port of the guest: port of loopback}"""
        self.cluster, self.shape, self.log = cluster, shape, log
        self.forwarded = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in (forwarded or {}).items())
        self.server = socket.create_server(("127.0.0.1", 0))
        self.process = self.lines = None

    def boot(self):
        environment = {"PARTS": self.cluster.parts, "CLUSTER": self.cluster.folder, "PROGRAMS": BUILD, "GATES": GATES}
        words = [w for name, value in environment.items() for w in ("--env", f"{name}={value}")]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", f"{TESTS}/vm/run", "--timeout", "3600", *words, "--out", f"{self.cluster.folder}/node", "--qemu",
                 f"-netdev user,id=net0{self.forwarded} -device virtio-net-pci,netdev=net0,bus=pcie.0,romfile=",
                 self.shape, f"{HERE}/guest.sh", str(self.server.getsockname()[1])],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait(self):
        """Until the guest has called."""
        self.server.settimeout(1)
        for _ in range(PATIENCE):
            try:
                connection, _ = self.server.accept()
            except TimeoutError:
                if self.process.poll() is None:
                    continue
                with open(self.log, encoding="utf-8", errors="replace") as handle:
                    text = handle.read()
                if self.process.returncode == 77:
                    raise Unavailable(text.strip().rpartition("skip: ")[2]) from None
                break
            connection.settimeout(PATIENCE)
            self.lines = connection.makefile("rw", encoding="utf-8")
            return True
        return False

    def run(self, text):
        """(exit code, output) of a line of shell, which has the functions of node.sh."""
        self.lines.write(json.dumps({"run": f". {HERE}/node.sh\n{text}"}) + "\n")
        self.lines.flush()
        code, out = json.loads(self.lines.readline())
        return code, out

    def do(self, text):
        """Whether it succeeds; what it says goes to the log where it does not."""
        code, out = self.run(text)
        if code:
            print(f"#   {text} -> {code}: {out[-2000:]}", flush=True)
        return code == 0

    def out(self, text):
        return self.run(text)[1].strip()

    def seen(self, uid, container):
        code, out = self.run(f"seen {uid} {container}")
        return json.loads(out) if code == 0 else None

    def ledger(self):
        return json.loads(self.run("ledger")[1])

    def end(self, code):
        """The guest's end; the exit code of tests/vm/run, which is not 0 when the kernel has complained."""
        self.lines.write(json.dumps({"end": code}) + "\n")
        self.lines.flush()
        return self.process.wait(PATIENCE)

    def __enter__(self):
        self.boot()
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.server.close()
