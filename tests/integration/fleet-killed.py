#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A scheduler that dies (SIGKILL) in the middle of a thousand placements, again and again: what it had
answered is there when it comes back, once, and nothing is given twice.

5 rounds on SQLite and 2 on etcd; 20 on each with --full.
"""
import collections
import random
import threading
import time

import grpc

from daemons import PATIENCE
from etcdlib import ETCD, Etcd
from fleetlib import (GIB, FakeAgent, Names, channel_to, eventually, full_report, scheduler_pb2,
                      scheduler_pb2_grpc, start_scheduler)
from harness import FULL, Temp, check, finish, same, skip

ROUNDS = 20 if FULL else 5
PLACEMENTS = 1000
CALLERS = 16
NODES, NUMA, CPUS = 4, 4, 100
random.seed(20251123)


class Caller(threading.Thread):
    """Places one pod after the other, each under its own request_id, until told to stop. Calls `answer` after
    each one."""

    def __init__(self, stub, names, stop, answer):
        super().__init__(daemon=True)
        self.stub, self.names, self.stop, self.answer = stub, names, stop, answer
        self.answered, self.unanswered = {}, []

    def run(self):
        while not self.stop.is_set():
            try:
                name = next(self.names)
            except StopIteration:
                return
            try:
                got = self.stub.Place(asked(name), timeout=PATIENCE)
                self.answered[name] = got.reservations[0].id
                self.answer()
            except grpc.RpcError:
                self.unanswered.append(name)
                return


def asked(name):
    return scheduler_pb2.PlaceRequest(
        pods=[scheduler_pb2.PodRequest(name=name, cpus=1, memory=GIB >> 4)], request_id=name)


def agents(channel):
    return [FakeAgent(channel, full_report(f"n{i}", numa_nodes=NUMA, cpus=CPUS, memory=64 * GIB))
            for i in range(NODES)]


def listed(stub):
    return stub.ListReservations(scheduler_pb2.ListReservationsRequest(), timeout=PATIENCE).reservations


def check_books(what, reservations):
    """Nothing is there twice, and no NUMA node has given more than it has."""
    ids = collections.Counter(r.id for r in reservations)
    pods = collections.Counter(r.pod.name for r in reservations)
    check(f"{what}: none is there twice", not [i for i in (*ids.values(), *pods.values()) if i > 1],
          [k for k, n in (ids + pods).items() if n > 1])
    given = collections.Counter()
    for r in reservations:
        for part in r.parts:
            given[r.node, part.numa_node] += part.cpus
    check(f"{what}: no NUMA node gives more than it has", all(n <= CPUS for n in given.values()), given)


def one_round(number, store, last):
    stop = threading.Event()
    answered, unanswered = {}, []
    with start_scheduler("/nonexistent", *store) as server, channel_to(f"127.0.0.1:{server.port}") as channel:
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        mine = agents(channel)
        check(f"round {number}: the agents are welcomed", all(a.wait("welcome") for a in mine))
        names = Names(f"r{number}", PLACEMENTS)
        wanted = PLACEMENTS if last else random.randrange(20, PLACEMENTS * 8 // 10)
        left = iter(range(wanted - 1))

        def answer():  # whoever gets the last answer kills it: somebody who looks on would come too late
            if next(left, None) is None:
                server.process.kill()

        callers = [Caller(stub, names, stop, answer) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        check(f"round {number}: it is killed", eventually(lambda: server.process.poll() is not None))
        server.process.kill()
        server.process.wait()
        stop.set()
        for caller in callers:
            caller.join(PATIENCE)
            answered.update(caller.answered)
            unanswered += caller.unanswered
        for agent in mine:
            agent.close()
    check(f"round {number}: it died at work", last or len(answered) < PLACEMENTS, len(answered))
    with start_scheduler("/nonexistent", *store) as server, channel_to(f"127.0.0.1:{server.port}") as channel:
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        there = listed(stub)
        what = f"round {number}, killed after {len(answered)} answers"
        lost = set(answered.values()) - {r.id for r in there}
        check(f"{what}: no answered reservation is lost", not lost, lost)
        check_books(what, there)
        # Who was not answered asks again, and so does one that was.
        mine = agents(channel)
        check(f"{what}: the agents are welcomed again", all(a.wait("welcome") for a in mine))
        before = {r.pod.name: r.id for r in there}
        again = {n: stub.Place(asked(n), timeout=PATIENCE).reservations[0].id
                 for n in unanswered + random.sample(sorted(answered), min(20, len(answered)))}
        same(f"{what}: asking again gives what there is",
             {n: i for n, i in again.items() if n in before and before[n] != i}, {})
        after = listed(stub)
        same(f"{what}: and no more", len(after), len(there) + len(set(again) - set(before)))
        check_books(f"{what}, then asked again", after)
        stub.Release(scheduler_pb2.ReleaseRequest(ids=[r.id for r in after]), timeout=PATIENCE)
        same(f"{what}: all is given back", len(listed(stub)), 0)
        for agent in mine:
            agent.close()
    return len(answered)


def all_rounds(engine, rounds, store):
    started, total = time.monotonic(), 0
    for i in range(rounds):
        total += one_round(f"{i + 1} on {engine}", store, i == rounds - 1)
    print(f"# {total} placements answered in {rounds} rounds on {engine}, {time.monotonic() - started:.0f} s")


with Temp() as folder:
    all_rounds("sqlite", ROUNDS, ["--store", f"sqlite:{folder}/data"])
if ETCD:
    with Etcd() as cluster:
        # Each start waits until the lease of the one that was killed has ended.
        all_rounds("etcd", ROUNDS if FULL else 2, cluster.options(lease="20s"))
else:
    skip("the same on etcd", "etcd is not installed (Debian: etcd-server)")
finish()
