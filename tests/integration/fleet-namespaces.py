#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three agents in three network namespaces, each with another machine as its root, and two schedulers
over mTLS: placement, an agent that is killed, a network that is cut, a scheduler that is killed.

With --full the network is cut for a minute, else for some seconds.
"""
import json
import os
import re
import signal
import subprocess
import tarfile
import time

from daemons import AGENT, NUMASTOW, PATIENCE, SCHEDULER, Daemon, tls
from fleetlib import eventually
from harness import (FULL, GIB, PROJECT, Machine, Temp, check, finish, hook, placed_cpus, run, same,
                     skip)
from netnslib import drop_namespaces, ip, make_namespaces

DUMPS = os.environ.get("NUMASTOW_DUMPS") or os.path.join(PROJECT, "../shared/sysfs-dumps")
PREFIX = f"nstow{os.getpid() % 10000}"
HUB = f"{PREFIX}-hub"
NETWORK = "10.77.0"
STALE = "5s"
CUT = 60 if FULL else 5


def inside(name, *argv):
    return ["ip", "netns", "exec", f"{PREFIX}-{name}", *argv]


def big_machine(temp):
    """The root of the machine with the most NUMA nodes that there is a copy of; else one of ours."""
    tarball = os.path.join(DUMPS, "256ia64-64n2s2c.tar.bz2")
    if not os.path.exists(tarball):
        return Machine(f"{temp}/big", nodes=8, cpus=64, threads=2, llc=8).path, 8
    with tarfile.open(tarball) as tar:
        tar.extractall(f"{temp}/big", [m for m in tar.getmembers() if m.isdir() or m.isfile()])
    subprocess.run(["chmod", "-R", "u+rwX", f"{temp}/big"], check=True)
    for root in (f"{temp}/big", *(f"{temp}/big/{d}" for d in os.listdir(f"{temp}/big"))):
        if os.path.isdir(f"{root}/sys"):
            return root, 64
    raise FileNotFoundError(tarball)


class Fleet:
    def __init__(self, temp):
        self.temp, self.ca = temp, f"{temp}/ca"
        self.running = []
        ca = os.path.join(PROJECT, "deploy/numastow-ca")
        run([ca, "init", self.ca], "")
        run([ca, "scheduler", self.ca, "sched", f"{NETWORK}.1"], "")
        run([ca, "client", self.ca, "ops", "drain"], "")
        self.roots = {}

    def add_machine(self, name, root):
        self.roots[name] = root
        run([os.path.join(PROJECT, "deploy/numastow-ca"), "agent", self.ca, name], "")

    def daemon(self, argv):
        program = Daemon(argv)
        self.running.append(program)
        return program

    def scheduler(self, port):
        return self.daemon(inside(
            "hub", SCHEDULER, "--config", "/dev/null", "--metrics", "", "--data", f"{self.temp}/data",
            "--listen", f"{NETWORK}.1:{port}", "--stale-after", STALE, "--confirm-within", "60s",
            *tls(f"{self.ca}/scheduler/sched")))

    def agent(self, name, *options):
        return self.daemon(inside(
            name, AGENT, "--config", "/dev/null", "--metrics", "", "--sysroot", self.roots[name],
            "--node", name, "--scheduler", f"{NETWORK}.1:7200,{NETWORK}.1:7201",
            *tls(f"{self.ca}/agent/{name}"), *options))

    def ask(self, *words):
        return run(inside("hub", NUMASTOW, *words, "--config", "/dev/null", "--timeout", "60s", "--scheduler",
                          f"{NETWORK}.1:7200,{NETWORK}.1:7201", *tls(f"{self.ca}/client/ops")), "")

    def nodes(self):
        """{name: (state, number of NUMA nodes, ids of containers)}"""
        out = self.ask("nodes", "--json")
        if out.code:
            return {}
        return {n["report"]["name"]: (n["state"], len(n["report"]["numa_nodes"]),
                                      sorted(c["id"] for c in n["report"]["containers"]
                                             if c["state"] == "active"))
                for n in json.loads(out.out)["nodes"]}

    def node(self, name):
        return self.nodes().get(name, (None, None, None))  # the question may not be answered in time

    def stop(self):
        for program in reversed(self.running):
            if program.process.poll() is None:
                program.stop()


def kill(program):
    program.process.send_signal(signal.SIGKILL)
    program.process.wait()


def check_all(temp, fleet):
    web, db = Machine(f"{temp}/web"), Machine(f"{temp}/db", nodes=2, cpus=32, memory=64 * GIB)
    big, n_big = big_machine(temp)
    for name, root in (("web", web.path), ("db", db.path), ("big", big)):
        fleet.add_machine(name, root)
    active, _ = fleet.scheduler(7200), time.sleep(0.3)
    check("a scheduler is active", active.wait("numastow-scheduler is active"), active.said)
    standby = fleet.scheduler(7201)
    check("another one stands by", standby.wait("standby: another scheduler is active"), standby.said)
    agents = {name: fleet.agent(name) for name in fleet.roots}
    expected = {"web": ("ready", 2, []), "db": ("ready", 2, []), "big": ("ready", n_big, [])}
    check("all three machines are shown", eventually(lambda: fleet.nodes() == expected), fleet.nodes())

    def placed_at_last():
        out = fleet.ask("place", "--confirmed", "--json", "cpus=10", "cpu-mode=exclusive", "memory=4Gi")
        return out if out.code == 0 else None

    out = eventually(placed_at_last)
    got = json.loads(out.out)["reservations"][0] if out else {}
    same("what only one machine has room for goes there", got.get("node"), "db")
    result = hook(web, "apply", web.container(
        "thief", {"numastow.io/reservation": got.get("annotation", "")}))
    check("on another machine the reservation is refused, which is named",
          result.code == 1 and "on node db" in result.err, result)
    result = hook(db, "apply", db.container(
        "c1", {"numastow.io/reservation": got.get("annotation", "")}))
    placed = placed_cpus(db, "c1")
    check("on its own it gets what was reserved", result.code == 0 and placed and
          len(placed[0]) == 10 and placed[1] == {int(got["numa_nodes"])}, f"{result} {placed}")
    check("the scheduler shows it there", eventually(lambda: fleet.node("db")[2] == ["c1"]))

    kill(agents["db"])
    check("the agent is killed: its machine is stale", eventually(
        lambda: fleet.node("db")[0] == "stale"), fleet.nodes())
    check("the container keeps what it has", placed_cpus(db, "c1") == placed)
    agents["db"] = fleet.agent("db")
    check("the agent comes back: all is as it was", eventually(
        lambda: fleet.node("db") == ("ready", 2, ["c1"])), fleet.nodes())
    check("also for the container", placed_cpus(db, "c1") == placed)

    ip("-n", f"{PREFIX}-db", "link", "set", "eth0", "down")
    cut = time.monotonic()
    check("the network is cut: its machine is stale", eventually(
        lambda: fleet.node("db")[0] == "stale"), fleet.nodes())
    out = fleet.ask("place", "cpus=10")
    check("nothing is placed there", out.code == 3 and "has room" in out.err, out)
    out = fleet.ask("explain", "--cluster", "cpus=10", "--json")
    check("and explain says why", out.code == 3 and any(
        v["node"] == "db" and re.search("stale|silent|not reported", v["reason"])
        for v in json.loads(out.out)["nodes"]), out.out)
    check("the others are undisturbed", eventually(  # but for their own silence, on a busy computer
        lambda: fleet.ask("place", "--confirmed", "cpus=2", "--node", "web").code == 0), fleet.nodes())
    db.end("c1")
    result = hook(db, "release", db.state("c1", status="stopped"))
    check("meanwhile the container ends", result.code == 0 and not placed_cpus(db, "c1"), result)
    time.sleep(max(0, CUT - (time.monotonic() - cut)))
    ip("-n", f"{PREFIX}-db", "link", "set", "eth0", "up")
    check(f"after {CUT} s without a network both recover alone", eventually(
        lambda: fleet.node("db") == ("ready", 2, [])), fleet.nodes())
    check("and the reservation is over", eventually(
        lambda: got["id"] not in fleet.ask("reservations", "--json").out))

    before = fleet.ask("reservations", "--json").out
    kill(active)
    check("the scheduler is killed: the standby takes over",
          standby.wait("numastow-scheduler is active"), standby.said[-3:])
    check("the agents find it", eventually(
        lambda: {n: s[0] for n, s in fleet.nodes().items()} == dict.fromkeys(fleet.roots, "ready")),
        fleet.nodes())
    same("no reservation is lost",
         [(r["id"], r["annotation"]) for r in json.loads(fleet.ask("reservations", "--json").out)["reservations"]],
         [(r["id"], r["annotation"]) for r in json.loads(before)["reservations"]])
    again = fleet.scheduler(7200)
    check("the first one comes back, as the standby",
          again.wait("standby: another scheduler is active"), again.said)
    check("a command finds the active one of the two", eventually(
        lambda: fleet.ask("place", "--confirmed", "cpus=1").code == 0))
    for name, program in agents.items():
        program.process.terminate()
        same(f"agent {name} ends when asked", program.process.wait(PATIENCE), 0)


if os.geteuid() != 0:
    skip("agents in network namespaces", "needs root")
    finish()
NAMES = ("web", "db", "big")
try:
    problem = make_namespaces(HUB, NETWORK, [f"{PREFIX}-{name}" for name in NAMES])
    if problem:
        skip("agents in network namespaces", problem)
    else:
        with Temp() as folder:
            them = Fleet(folder)
            try:
                check_all(folder, them)
            finally:
                them.stop()
finally:
    drop_namespaces(HUB, [f"{PREFIX}-{name}" for name in NAMES])
finish()
