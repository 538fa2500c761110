#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three network namespaces with a member of etcd and a scheduler in each, and machines and callers in a
fourth: the leader is cut off from etcd's majority, then from the machines and callers, while 1,000 are to
be placed. No answered reservation is lost, none is there twice, no directive of an old epoch is obeyed.

With --full: 5 rounds of it.
"""
import os
import subprocess
import sys
import threading

from daemons import PATIENCE
from etcdlib import ETCD, Etcd
from harness import FULL, Temp, check, eventually, finish, skip
from netnslib import drop_namespaces, ip, make_namespaces
from stormlib import NODES, Machine, Scheduler, Storm, leader_of, wait_for_leader

PREFIX = f"nstow{os.getppid() if '--inside' in sys.argv else os.getpid()}"
HUB = f"{PREFIX}-hub"
NETWORK = "10.78.0"
SITES = 3
ROUNDS = 5


def name_of(site):
    return f"{PREFIX}-s{site}"


def host_of(site):
    return f"{NETWORK}.{11 + site}"


def metrics_at(site, scheduler):
    """Return a scheduler's metrics, read in its own namespace."""
    return subprocess.run(["ip", "netns", "exec", name_of(site), "curl", "--silent", "--noproxy", "*", "--max-time",
                           "5", f"http://{scheduler.host}:{scheduler.metrics}/metrics"], capture_output=True, text=True,
                          check=False).stdout


class Cut:
    """Cut a namespace off from some addresses, in both directions, until the end of the block."""

    def __init__(self, site, hosts):
        self.site, self.hosts = site, hosts

    def route(self, verb):
        for host in self.hosts:
            done = ip("-n", name_of(self.site), "route", verb, "blackhole", f"{host}/32")
            check(f"a route {verb}s", done.returncode == 0, done.stderr)

    def __enter__(self):
        self.route("add")
        return self

    def __exit__(self, *_):
        self.route("del")


def one_round(number, schedulers, machines, answered):
    def storm(what):
        return Storm(f"{number}: {what}", schedulers, machines, answered)

    what = f"{number}: the leader cut off from etcd"
    with storm("the leader cut off from etcd"):
        leader = eventually(lambda: leader_of(schedulers))
        site = schedulers.index(leader)
        with Cut(site, [host_of(i) for i in range(SITES) if i != site]):
            others = [s for s in schedulers if s is not leader]
            other = wait_for_leader(what, others, machines)
            check(f"{what}: another one leads", other and other is not leader)
            check(f"{what}: it does not say that it is active", eventually(lambda: not leader.active()))
    eventually(lambda: wait_for_leader(what, schedulers, machines))

    what = f"{number}: the leader cut off from machines and callers"
    with storm("the leader cut off from machines and callers"):
        leader = eventually(lambda: leader_of(schedulers))
        site = schedulers.index(leader)
        with Cut(site, [f"{NETWORK}.1"]):
            check(f"{what}: it says that they are silent", eventually(
                lambda: f'nodes{{state="stale"}} {NODES}\n' in metrics_at(site, leader)), metrics_at(site, leader))
            check(f"{what}: no other one takes over", not [
                s for s in schedulers if s is not leader and s.active()])
        check(f"{what}: it leads on", wait_for_leader(what, schedulers, machines) is leader)


def inside():
    stop = threading.Event()
    places = [(host_of(i), ("ip", "netns", "exec", name_of(i))) for i in range(SITES)]
    with Temp(), Etcd(SITES, tls=True, hosts=places) as cluster:
        schedulers = [Scheduler(cluster, *place) for place in places]
        machines = [Machine(f"n{i}", schedulers, stop) for i in range(NODES)]
        for m in machines:
            m.start()
        if wait_for_leader("at first", schedulers, machines):
            for i in range(ROUNDS):
                one_round(i + 1, schedulers, machines, {})
        stop.set()
        for s in schedulers:
            s.program.stop()
        for m in machines:
            m.join(PATIENCE)
    finish()


def main():
    if "--inside" in sys.argv:
        inside()
    why = "takes minutes: with --full" if not FULL else "needs root" if os.geteuid() else \
        None if ETCD else "etcd is not installed (Debian: etcd-server)"
    try:
        why = why or make_namespaces(HUB, NETWORK, map(name_of, range(SITES)))
        if why:
            skip("a leader that is cut off", why)
            finish()
        sys.exit(subprocess.run(["ip", "netns", "exec", HUB, sys.executable, __file__, "--full", "--inside"],
                                check=False).returncode)
    finally:
        drop_namespaces(HUB, map(name_of, range(SITES)))


main()
