# SPDX-License-Identifier: Apache-2.0
"""What the tests of the fleet with etcd share: schedulers on an etcd cluster, agents that move from one to the other, and
callers that place while something is broken."""
import collections
import threading
import time

import grpc

from daemons import PATIENCE, SCHEDULER, Daemon, fetch, free_port
from fleetlib import (GIB, FakeAgent, Names, channel_to, eventually, full_report, scheduler_pb2,
                      scheduler_pb2_grpc)
from harness import FULL, check

S = scheduler_pb2
PLACEMENTS = 1000 if FULL else 200
CALLERS = 8
NODES, NUMA, CPUS = 4, 4, 100


class Scheduler:
    """One of several schedulers, which is restarted when it ends, as by systemd. `inside`: the words with which a command
    begins that runs in the network namespace of the address."""

    def __init__(self, cluster, host="127.0.0.1", inside=()):
        self.options, self.inside, self.host = cluster.options(), inside, host
        self.port, self.metrics = free_port(), free_port()
        self.program = None
        self.start()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def start(self):
        self.program = Daemon([*self.inside, SCHEDULER, "--config", "/dev/null", "--listen", self.address,
                               "--metrics", f"{self.host}:{self.metrics}", "--stale-after", "3s",
                               *(["--insecure"] if self.inside else []), *self.options])

    @property
    def pid(self):
        return self.program.process.pid

    def ended(self):
        return self.program.process.poll() is not None

    def drain_log(self):
        while not self.program.lines.empty():
            line = self.program.lines.get()
            if line is not None:
                self.program.said.append(line)
        return self.program.said

    def says(self, text):
        return [line for line in self.drain_log() if text in line]

    def active(self):
        if self.ended():
            return False
        status, body = fetch(self.program, "/healthz")
        return status == 200 and body.strip() == "active"


class Machine(threading.Thread):
    """A simulated agent that moves from scheduler to scheduler and records each directive with its epoch. Like the real one
    it rejects directives of an older epoch."""

    def __init__(self, name, schedulers, stop):
        super().__init__(daemon=True)
        self.node, self.schedulers, self.stop = name, schedulers, stop
        self.epoch, self.old, self.told = 0, 0, []
        self.connected = None

    def run(self):
        at = 0
        while not self.stop.is_set():
            scheduler = self.schedulers[at % len(self.schedulers)]
            at += 1
            with channel_to(scheduler.address) as channel:
                agent = FakeAgent(channel, full_report(self.node, numa_nodes=NUMA, cpus=CPUS, memory=64 * GIB))
                seen = 0
                end = time.monotonic() + 30  # a paused one never answers
                while not self.stop.is_set() and not agent.error:
                    with agent.news:
                        agent.news.wait(0.1)
                        fresh, seen = agent.directives[seen:], len(agent.directives)
                    if fresh:
                        self.connected = scheduler
                    elif not seen and time.monotonic() > end:
                        break
                    if not all(self.obey(d) for d in fresh):
                        break
                    agent.out.put(S.ReportRequest(heartbeat=S.Heartbeat(time=time.time_ns())))
                agent.close()
            self.connected = None
            self.stop.wait(0.05)

    def obey(self, directive):
        if directive.epoch < self.epoch:
            self.old += 1
            return False
        self.epoch = directive.epoch
        self.told.append((directive.epoch, directive.WhichOneof("kind")))
        return True


class Caller(threading.Thread):
    """Place, each time with a new request_id, and repeat the call at the other schedulers until one answers."""

    def __init__(self, number, schedulers, names, stop):
        super().__init__(daemon=True)
        self.schedulers, self.names, self.stop, self.at = schedulers, names, stop, number
        self.answered, self.refusals = {}, collections.Counter()

    def run(self):
        channels = [grpc.insecure_channel(s.address, options=[
            ("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 200)]) for s in self.schedulers]
        stubs = [scheduler_pb2_grpc.SchedulerStub(c) for c in channels]
        while not self.stop.is_set():
            try:
                name = next(self.names)
            except StopIteration:
                break
            request = S.PlaceRequest(request_id=name, lifetime=3600 * 10**9, pods=[
                S.PodRequest(name=name, cpus=1, memory=1 << 20)])
            while not self.stop.is_set() and name not in self.answered:
                try:
                    got = stubs[self.at % len(stubs)].Place(request, timeout=5)
                    self.answered[name] = got.reservations[0].id
                except grpc.RpcError as error:
                    self.refusals[error.code().name] += 1
                    self.at += 1
                    self.stop.wait(0.05)
        for channel in channels:
            channel.close()


def leader_of(schedulers):
    active = [s for s in schedulers if s.active()]
    return active[0] if len(active) == 1 else None


def wait_for_leader(what, schedulers, machines, but=None):
    """Return the scheduler that is active and has all machines; restart those that ended."""
    def found():
        for s in schedulers:
            if s.ended():
                s.start()
        leader = leader_of(schedulers)
        return leader if leader and leader is not but and \
            all(m.connected is leader for m in machines) else None
    leader = eventually(found)
    check(f"{what}: one scheduler leads and has the machines", leader,
          ([(m.node, m.connected and m.connected.port) for m in machines],
           [(s.port, s.ended(), s.active(), s.drain_log()[-3:]) for s in schedulers]))
    return leader


def listed(leader):
    with channel_to(leader.address) as channel:
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        return list(stub.ListReservations(S.ListReservationsRequest(), timeout=PATIENCE).reservations)


class Storm:
    """Callers that work during the block; at its end all calls are answered."""

    def __init__(self, what, schedulers, machines, answered):
        self.what, self.schedulers, self.machines, self.answered = what, schedulers, machines, answered
        self.stop = threading.Event()
        names = Names(what, PLACEMENTS)
        self.callers = [Caller(i, schedulers, names, self.stop) for i in range(CALLERS)]

    def done(self):
        return sum(len(c.answered) for c in self.callers)

    def __enter__(self):
        for caller in self.callers:
            caller.start()
        eventually(lambda: self.done() >= PLACEMENTS // 10)
        return self

    def __exit__(self, *_):
        leader = wait_for_leader(self.what, self.schedulers, self.machines)
        all_done = eventually(lambda: self.done() == PLACEMENTS, 2 * PATIENCE)
        self.stop.set()
        for caller in self.callers:
            caller.join(PATIENCE)
            self.answered.update(caller.answered)
        check(f"{self.what}: all were answered in the end", all_done,
              (self.done(), sum((c.refusals for c in self.callers), collections.Counter())))
        leader = wait_for_leader(self.what, self.schedulers, self.machines)
        there = listed(leader) if leader else []
        lost = set(self.answered.values()) - {r.id for r in there}
        check(f"{self.what}: no answered reservation is lost", not lost, len(lost))
        twice = [n for n, many in collections.Counter(r.pod.name for r in there).items() if many > 1]
        check(f"{self.what}: none is there twice", not twice, twice)
        same_id = [n for n, i in self.answered.items()
                   if {r.id for r in there if r.pod.name == n} not in (set(), {i})]
        check(f"{self.what}: each is the one that was answered", not same_id, same_id[:3])
        if leader:
            with channel_to(leader.address) as channel:
                scheduler_pb2_grpc.SchedulerStub(channel).Release(
                    S.ReleaseRequest(ids=[r.id for r in there]), timeout=PATIENCE)
            check(f"{self.what}: all is given back", not listed(leader))
            self.answered.clear()
        for m in self.machines:
            epochs = [e for e, _ in m.told]
            check(f"{self.what}: {m.node} obeyed no old epoch", epochs == sorted(epochs), epochs)
