# SPDX-License-Identifier: Apache-2.0
"""For the tests of what an agent publishes to Kubernetes: a machine, its agent, an API server."""
import contextlib
import json
import os

from daemons import AGENT, Daemon, free_port
from harness import GIB, MIB, Machine, check
from kubelib import ApiServer, kubeconfig, write_token


class Bench:
    """A machine, its agent, an API server."""
    mode, server = "--kubernetes", ApiServer

    def __init__(self, folder, name, certificates, api=True, **machine):
        self.folder = f"{folder}/{name}"
        os.makedirs(self.folder)
        self.certificates = certificates
        machine.setdefault("pools", {2 * MIB: (512, 1024), GIB: (2, 4)})
        self.machine = Machine(f"{self.folder}/m", **machine)
        self.machine.write("/sys/devices/virtual/memory_tiering/memory_tier4/nodelist", "0-1\n")
        self.machine.write("/sys/devices/pci0000:00/0000:00:01.0/numa_node", "-1\n")
        self.machine.write("/sys/devices/pci0000:00/0000:00:02.0/numa_node", "0\n")
        self.machine.write("/sys/devices/pci0000:80/0000:80:00.0/numa_node", "1\n")
        self.api = self.server(certificates)
        self.token = f"{self.folder}/token"
        write_token(self.token, "first")
        self.program = None
        if api:
            self.api.start()

    def start(self, *options):
        config = kubeconfig(f"{self.folder}/kubeconfig", self.api.port, self.certificates, tokenFile=self.token)
        self.program = Daemon([AGENT, "--sysroot", self.machine.path, "--config", "/dev/null", "--node", "m",
                               "--poll-interval", "100ms", "--reconcile-interval", "200ms", self.mode,
                               "--metrics", f"127.0.0.1:{free_port()}", "--kubeconfig", config, *options])
        if not self.program.wait("numastow-agent is ready"):
            check("the agent is ready", False, self.program.said)
        return self

    def stop(self):
        if self.program:
            self.program.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.api.stop()

    def lines(self, message):
        found = []
        for line in self.program.so_far():
            with contextlib.suppress(ValueError):
                found += [json.loads(line)] if json.loads(line)["message"] == message else []
        return found

    def set_pool(self, node, pages):
        pool = self.machine.pool(node)
        for name in ("nr_hugepages", "free_hugepages"):
            self.machine.write(f"{pool}/{name}", f"{pages}\n")
