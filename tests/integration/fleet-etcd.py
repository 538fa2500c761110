#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two schedulers on an etcd cluster of three members with TLS, machines, and callers that go on placing
while the leader is killed, paused for longer than its lease and continued, a member of etcd is killed, and
the majority is: no answered reservation is lost, none is there twice, no directive of an old epoch is
obeyed, and without a majority nothing is granted. (fleet-cut.py has networks that are cut.)

1 round; 20 with --full.
"""
import re
import signal
import threading
import time

import grpc

from daemons import PATIENCE, fetch
from etcdlib import ETCD, Etcd
from fleetlib import channel_to, command, eventually, scheduler_pb2, scheduler_pb2_grpc
from harness import FULL, Temp, check, finish, skip
from stormlib import NODES, Machine, Scheduler, Storm, leader_of, wait_for_leader

S = scheduler_pb2
ROUNDS = 20 if FULL else 1


def one_round(number, cluster, schedulers, machines, answered):
    def storm(what):
        return Storm(f"{number}: {what}", schedulers, machines, answered)

    with storm("the leader killed"):
        leader = eventually(lambda: leader_of(schedulers))
        killed = time.monotonic()
        leader.program.process.kill()
        leader.program.process.wait()
        other = wait_for_leader(f"{number}: killed", [s for s in schedulers if s is not leader], [])
        print(f"# the standby leads {time.monotonic() - killed:.1f} s after the leader was killed")
        check(f"{number}: killed: the other one has taken over", other is not leader)

    with storm("the leader paused"):
        leader = eventually(lambda: leader_of(schedulers))
        # Reservations that expire, at least one of them while the leader is paused: once continued, it writes that first.
        with channel_to(f"127.0.0.1:{leader.port}") as channel:
            for seconds in range(2, 30, 2):
                scheduler_pb2_grpc.SchedulerStub(channel).Place(S.PlaceRequest(lifetime=seconds * 10**9, pods=[
                    S.PodRequest(name=f"short-{seconds}", cpus=1, memory=1 << 20)]), timeout=PATIENCE)
        leader.program.process.send_signal(signal.SIGSTOP)
        wait_for_leader(f"{number}: paused", [s for s in schedulers if s is not leader], [])
        leader.program.process.send_signal(signal.SIGCONT)
        check(f"{number}: paused and continued: it ends, to be a standby", eventually(leader.ended))
        eventually(lambda: leader.says("etcd refused a write") or leader.says("has ended this"))
        check(f"{number}: paused and continued: it says that its lease is lost", eventually(
            lambda: leader.says("lease lost")), leader.drain_log()[-5:])
        check(f"{number}: paused and continued: its write is refused", leader.says("etcd refused a write"),
              leader.drain_log()[-5:])

    with storm("a member of etcd killed"):
        member = cluster.members[number % 3]
        member.kill()
    member.start()
    cluster.wait()

    with storm("etcd without a majority"):
        gone = [cluster.members[(number + i) % 3] for i in (0, 1)]
        leader = wait_for_leader(f"{number}: before", schedulers, machines)
        for member in gone:
            member.kill()
        check(f"{number}: without a majority no scheduler says that it is active",
              eventually(lambda: not [s for s in schedulers if s.active()]))
        with channel_to(f"127.0.0.1:{leader.port}") as channel:
            try:
                got = scheduler_pb2_grpc.SchedulerStub(channel).Place(S.PlaceRequest(
                    pods=[S.PodRequest(name="never", cpus=1)]), timeout=PATIENCE)
            except grpc.RpcError as error:
                got = error
        check(f"{number}: without a majority nothing is granted, and that is said",
              isinstance(got, grpc.RpcError) and "lease" in got.details(), got)
        for member in gone:
            member.start()
        cluster.wait()


def check_said(cluster, leader, standby):
    """The leader and the standby are named in the log, in a metric, and in `numastow nodes`."""
    check("the leader says that it was elected", eventually(lambda: leader.says('"leader elected"')),
          leader.program.said[-5:])
    check("the standby says who was", eventually(lambda: [
        line for line in standby.says('"another leader elected"') if f":{leader.port}" in line]),
        standby.program.said[-5:])
    wanted = rf"^leader \S+:{leader.port}, for \S+, store etcd:{re.escape(cluster.urls)}, standby \S+:{standby.port}$"
    check("nodes shows both", eventually(lambda: re.search(wanted, command("nodes", port=leader.port).out, re.M)),
          command("nodes", port=leader.port))
    check("how far the standby is behind is a metric",
          eventually(lambda: "numastow_scheduler_standby_lag_seconds 0\n" in fetch(standby.program, "/metrics")[1]))


def main():
    stop = threading.Event()
    with Temp(), Etcd(3, tls=True) as cluster:
        schedulers = [Scheduler(cluster), Scheduler(cluster)]
        machines = [Machine(f"n{i}", schedulers, stop) for i in range(NODES)]
        for m in machines:
            m.start()
        leader = wait_for_leader("at first", schedulers, machines)
        if not leader:
            finish()
        check_said(cluster, leader, next(s for s in schedulers if s is not leader))
        for i in range(ROUNDS):
            one_round(i + 1, cluster, schedulers, machines, {})
        stop.set()
        for s in schedulers:
            s.program.stop()
        for m in machines:
            m.join(PATIENCE)


if ETCD:
    main()
else:
    skip("the store in etcd", "etcd is not installed (Debian: etcd-server)")
finish()
