#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pods without a claim beside exclusive CPUs: the agent writes the cgroup of a new pod when inotify reports it, also
after notifications were lost and after its own end; without Kubernetes all is given back."""
import os
import shutil
import signal

from daemons import AGENT, Daemon, free_port
from harness import Machine, Temp, check, claim, eventually, finish, hook, leftovers, same
from kubelib import ApiServer, kubeconfig, make_certificates

UID = "11111111-2222-4333-8444-555555555555"
SHARE = "aaaaaaaa-0000-4000-8000-000000000001"
POD = "pod99999999-2222-4333-8444-555555555555"
LATE = "1h"  # nothing but a notification makes the agent look
ALL = "0-7"
KUBEPODS = "/sys/fs/cgroup/kubepods"


class Bench:
    """A machine with kubelet's cgroups and one pod; an agent; an API server."""

    def __init__(self, folder):
        self.machine = Machine(f"{folder}/m")
        self.machine.kubepods(POD)
        make_certificates(folder)
        self.api = ApiServer(folder)
        self.api.start()
        self.config = kubeconfig(f"{folder}/kubeconfig", self.api.port, folder, token="first")
        self.made, self.program = 0, None

    def start(self, kubernetes=True):
        options = ["--kubernetes", "--kubeconfig", self.config, "--kubelet-folder", "/k"] if kubernetes else []
        self.program = Daemon([AGENT, "--sysroot", self.machine.path, "--config", "/dev/null", "--node", "m",
                               "--reconcile-interval", LATE, "--gc-interval", LATE,
                               "--metrics", f"127.0.0.1:{free_port()}", *options])
        check("the agent is ready", self.program.wait("numastow-agent is ready"), self.program.said)

    def cpus(self, name):
        path = f"{KUBEPODS}{name}/cpuset.cpus"
        return self.machine.read(path).strip() if self.machine.exists(path) else None

    def new(self, above=""):
        """A cgroup, made at once with its files, as on a kernel. Returns its name."""
        self.made += 1
        name = f"{above}/pod00000000-2222-4333-8444-{self.made:012}"
        self.machine.pods_cgroup("/aside")
        os.rename(self.machine.file("/sys/fs/cgroup/aside"), self.machine.file(f"{KUBEPODS}{name}"))
        return name

    def becomes(self, what, name, cpus):
        check(what, eventually(lambda: self.cpus(name) == cpus), (name, self.cpus(name), self.program.so_far()[-3:]))


def lose_notifications(bench):
    """More new cgroups than inotify queues while the agent is stopped."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as handle:
        limit = int(handle.read())
    folder = bench.machine.file(KUBEPODS)
    for i in range(limit + 10):
        os.mkdir(f"{folder}/x{i}")
        os.rmdir(f"{folder}/x{i}")


def main():
    with Temp() as folder:
        bench = Bench(folder)
        machine = bench.machine
        bench.start()
        check("it is on", eventually(lambda: machine.exists("/run/numastow/pods-on")))
        check("a claim is taken", claim(machine, "take", UID, "team/db", f"{SHARE}:main:0:2:exclusive:64:0").code == 0)
        bench.becomes("one set covers all pods", "", "2-7")
        same("... so that none has its own", bench.cpus(f"/{POD}"), ALL)
        state = machine.pod_container(POD, "c")
        arguments = ("--claim", UID, "--share", SHARE)
        result = hook(machine, "apply", state, args=arguments)
        check("a container of the claim starts", result.code == 0, result)
        same("kubelet's cgroup has its CPUs", bench.cpus(""), "0-7")
        same("... and the pod's", bench.cpus(f"/{POD}"), "0-7")
        same("the classes have not", (bench.cpus("/burstable"), bench.cpus("/besteffort")), ("2-7", "2-7"))
        bench.becomes("a new pod has not", bench.new(), "2-7")
        bench.becomes("nor has a container beside", bench.new(f"/{POD}"), "2-7")
        below = bench.new("/burstable")
        same("what is below a class needs no set", bench.cpus(below), ALL)

        bench.program.process.send_signal(signal.SIGSTOP)
        lose_notifications(bench)
        late = bench.new()
        bench.program.process.send_signal(signal.SIGCONT)
        bench.becomes("a pod whose notification was lost", late, "2-7")
        shutil.rmtree(machine.file(f"{KUBEPODS}/burstable"))
        machine.pods_cgroup("/aside")
        os.rename(machine.file("/sys/fs/cgroup/aside"), machine.file(f"{KUBEPODS}/burstable"))
        bench.becomes("a class that was made anew", "/burstable", "2-7")

        bench.program.process.kill()
        bench.program.process.wait()
        gap = bench.new()
        same("without an agent a new pod is not noticed", bench.cpus(gap), ALL)
        check("gc notices it", hook(machine, "gc").code == 0)
        same("... and keeps it off", bench.cpus(gap), "2-7")
        gap = bench.new()
        bench.start()
        bench.becomes("a new agent notices it, too", gap, "2-7")

        machine.end("../" + f"kubepods/{POD}/c")
        check("the container ends", hook(machine, "release", state, args=arguments).code == 0)
        check("the claim is dropped", claim(machine, "drop", UID).code == 0)
        for name in ("", "/burstable", "/besteffort", gap, late, f"/{POD}"):
            check(f"{name or 'kubepods'}: its CPUs are given back", eventually(lambda n=name: bench.cpus(n) in ("", ALL)),
                  bench.cpus(name))
        same("nothing is remembered", os.listdir(machine.file("/run/numastow/pods")), [])

        claim(machine, "take", UID, "team/db", f"{SHARE}:main:0:2:exclusive:64:0")
        bench.becomes("again", "", "2-7")
        bench.program.stop()
        same("SIGTERM leaves it", bench.cpus(""), "2-7")
        bench.start(kubernetes=False)
        check("an agent without Kubernetes gives back", eventually(lambda: bench.cpus("") in ("", ALL)), bench.cpus(""))
        same("... and says that it is off", machine.exists("/run/numastow/pods-on"), False)
        check("the claim is dropped again", claim(machine, "drop", UID).code == 0)
        bench.program.stop()
        bench.api.stop()
        same("nothing is left", leftovers(machine), "")
    finish()


main()
