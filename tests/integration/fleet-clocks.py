#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Wall clocks that are set while agent and scheduler run: a day ahead and back, a day back and ahead again, that of one of them
and of both. Reservations live as long as they would have, leases and the lead are kept, repeated calls get their answer, what
is said has true durations, also after a start by the wrong clock. A certificate counts by the clock as it is."""
import contextlib
import json
import os
import struct
import subprocess

import grpc

from daemons import PATIENCE, fetch, free_port, tls
from etcdlib import ETCD, Etcd
from fleetlib import (GIB, SECOND, channel_to, eventually, logged, scheduler_pb2, scheduler_pb2_grpc, start_agent,
                      start_scheduler)
from harness import PROJECT, Machine, Temp, check, finish, hook, run, same, skip

S = scheduler_pb2
HERE = os.path.dirname(os.path.abspath(__file__))
CA = os.path.join(PROJECT, "deploy/numastow-ca")
DAY, HOUR = 86400, 3600
LIFETIME = 10 * HOUR  # of reservations: what the test takes is far less than two hours


def build(folder):
    library = f"{folder}/set_clock.so"
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-Wall", "-fPIC", "-shared", "-o", library,
                    f"{HERE}/set_clock.c"], check=True)
    return library


class Clock:
    """The wall clock of the programs that are started while it is `given`."""

    def __init__(self, library, path):
        self.library, self.path = library, path
        self.set(0)

    def set(self, days):
        mode = "r+b" if os.path.exists(self.path) else "wb"
        with open(self.path, mode, buffering=0) as handle:
            handle.write(struct.pack("q", days * DAY))

    @contextlib.contextmanager
    def given(self):
        os.environ.update(LD_PRELOAD=self.library, CLOCK_AT=self.path)
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["CLOCK_AT"]


class Fleet:
    """A scheduler and an agent, and what is placed."""

    def __init__(self, library, folder, what, options):
        os.mkdir(folder)
        self.what, self.folder, self.options = what, folder, options
        self.clocks = {name: Clock(library, f"{folder}/{name}.clock") for name in ("scheduler", "agent")}
        self.listen = f"127.0.0.1:{free_port()}"
        self.machine = Machine(f"{folder}/machine")
        self.placed = 0
        self.start()
        with self.clocks["agent"].given():
            self.agent = start_agent(self.machine, "n", self.server.port)

    def start(self):
        with self.clocks["scheduler"].given():
            self.server = start_scheduler(f"{self.folder}/data", *self.options, listen=self.listen)

    def call(self, method, request):
        with channel_to(self.listen) as channel:
            return getattr(scheduler_pb2_grpc.SchedulerStub(channel), method)(request, timeout=PATIENCE)

    def place(self, name, request_id=""):
        """The reservation; or the error."""
        try:
            return self.call("Place", S.PlaceRequest(
                pods=[S.PodRequest(name=name, cpus=1, memory=GIB >> 4)], lifetime=LIFETIME * SECOND, confirmed=True,
                request_id=request_id)).reservations[0]
        except grpc.RpcError as error:
            return error

    def reservation(self, number):
        found = self.call("ListReservations", S.ListReservationsRequest()).reservations
        return next((r for r in found if r.id == number), None)

    def stop(self):
        self.agent.stop()
        self.server.stop()


def is_held(reservation):
    """By its machine, for what is left of its time."""
    return (reservation and reservation.state == S.RESERVATION_STATE_HELD and
            (LIFETIME - 2 * HOUR) * SECOND < reservation.lifetime <= LIFETIME * SECOND)


def check_fleet(fleet, what, kept):
    what = f"{fleet.what}, {what}"
    check(f"{what}: the reservation is held, and has its time", eventually(lambda: is_held(fleet.reservation(kept.id))),
          fleet.reservation(kept.id))
    again = fleet.place("kept", "kept")
    check(f"{what}: a repeated call gets its answer", getattr(again, "id", None) == kept.id, again)
    fleet.placed += 1
    check(f"{what}: the machine is ready", eventually(lambda: [
        n.state for n in fleet.call("ListNodes", S.ListNodesRequest()).nodes] == [S.NODE_STATE_READY]))
    new = fleet.place(f"new-{fleet.placed}")
    check(f"{what}: another one is placed, and confirmed", getattr(new, "id", None), new)
    if getattr(new, "id", None):
        check(f"{what}: it has its time", eventually(lambda: is_held(fleet.reservation(new.id))), fleet.reservation(new.id))
        same(f"{what}: it is released", fleet.call("Release", S.ReleaseRequest(ids=[new.id])).released, 1)
    answer = fleet.call("ListNodes", S.ListNodesRequest())
    check(f"{what}: it was heard of just now", 0 < answer.nodes[0].silent_for < 2 * HOUR * SECOND, answer.nodes[0].silent_for)
    check(f"{what}: the leader leads as long as it does", 0 < answer.leader.active_for < 2 * HOUR * SECOND, answer.leader)
    check(f"{what}: the agent has stayed connected", len(logged(fleet.server, "node connected")) == 1 and
          not logged(fleet.server, "node disconnected"), fleet.server.so_far()[-5:])


def check_starts(fleet, kept):
    """The scheduler starts by a wrong clock, and again by the right one."""
    def epoch():
        return int(fleet.machine.read("/run/numastow/epoch").split()[0])

    for days in (1, 0, -1, 0):
        what, before = f"a start with the clock {days:+d} days off", epoch()
        fleet.server.stop()
        fleet.clocks["scheduler"].set(days)
        fleet.start()
        # Within a minute, which all answers are kept for.
        again = fleet.place("kept", "kept")
        check(f"{fleet.what}, {what}: a repeated call gets its answer", getattr(again, "id", None) == kept.id, again)
        check(f"{fleet.what}, {what}: its epoch is a later one", eventually(lambda: epoch() > before), (before, epoch()))
        check_fleet(fleet, what, kept)


def check_container(fleet, kept):
    """A container gets what is reserved for it."""
    for clock in fleet.clocks.values():
        clock.set(1)
    state = fleet.machine.container("web", {"numastow.io/reservation": kept.annotation})
    result = hook(fleet.machine, "apply", state)
    check(f"{fleet.what}, the clocks a day ahead: a container gets its reservation", result.code == 0, result)
    check(f"{fleet.what}, the clocks a day ahead: the scheduler knows", eventually(
        lambda: (r := fleet.reservation(kept.id)) and r.state == S.RESERVATION_STATE_BOUND), fleet.reservation(kept.id))
    for clock in fleet.clocks.values():
        clock.set(0)
    same(f"{fleet.what}, the clocks right again: it keeps it", fleet.reservation(kept.id).state, S.RESERVATION_STATE_BOUND)


def check_said(fleet):
    """What was logged has durations of this test."""
    lines = [line for text in fleet.server.so_far() if text.startswith("{") and "duration_us" in (line := json.loads(text))]
    check(f"{fleet.what}: audit lines have true durations", lines and all(
        0 <= line["duration_us"] < 2 * HOUR * 10**6 for line in lines), [line["duration_us"] for line in lines])
    check(f"{fleet.what}: no lease was lost", not logged(fleet.server, "lease lost: this scheduler exits, to become a standby"))


def check_engine(library, folder, what, options):
    fleet = Fleet(library, folder, what, options)
    try:
        # The first report may come before the agent has read everything.
        kept = eventually(lambda: r if hasattr(r := fleet.place("kept", "kept"), "annotation") else None)
        if not check(f"{what}: a reservation", kept, fleet.server.so_far()[-5:]):
            return
        check_fleet(fleet, "at first", kept)
        for names in (["scheduler"], ["agent"], ["scheduler", "agent"]):
            for days in (1, -1):
                for at in (days, 0):
                    for name in names:
                        fleet.clocks[name].set(at)
                    check_fleet(fleet, f"the clocks of {' and '.join(names)} {at:+d} days off", kept)
        check_starts(fleet, kept)
        check_container(fleet, kept)
        check_said(fleet)
    finally:
        fleet.stop()


def check_certificates(library, folder):
    """By a scheduler's clock that is two years ahead all certificates have expired; set back, they count again."""
    os.mkdir(folder)
    files = f"{folder}/ca"
    for words in (["init", files], ["scheduler", files, "127.0.0.1"], ["agent", files, "n"]):
        check(f"numastow-ca {words[0]}", run([CA, *words], "").code == 0)
    clock = Clock(library, f"{folder}/clock")
    with clock.given():
        server = start_scheduler(f"{folder}/data", *tls(f"{files}/scheduler/127.0.0.1"), "--metrics", f"127.0.0.1:{free_port()}")
    agent = start_agent(Machine(f"{folder}/machine"), "n", server.port, *tls(f"{files}/agent/n"))

    def connections():
        return len(logged(server, "node connected")) - len(logged(server, "node disconnected"))

    try:
        for i in range(2):
            check(f"certificates, {i}: the agent is connected", eventually(lambda: connections() == 1), server.so_far()[-5:])
            check(f"certificates, {i}: healthy", eventually(lambda: fetch(server, "/healthz")[0] == 200), fetch(server, "/healthz"))
            clock.set(730)
            check(f"certificates, {i}: expired, the connection ends", eventually(lambda: connections() == 0), server.so_far()[-5:])
            check(f"certificates, {i}: expired, it is said", eventually(
                lambda: (found := fetch(server, "/healthz"))[0] == 503 and "expired" in found[1]), fetch(server, "/healthz"))
            clock.set(0)
        check("certificates: the agent is connected again", eventually(lambda: connections() == 1), server.so_far()[-5:])
    finally:
        agent.stop()
        server.stop()


with Temp() as temp:
    lib = build(temp)
    check_engine(lib, f"{temp}/sqlite", "SQLite", [])
    if ETCD:
        with Etcd() as cluster:
            check_engine(lib, f"{temp}/etcd", "etcd", cluster.options(lease="20s"))
    else:
        skip("clocks that are set, on etcd", "etcd is not installed (Debian: etcd-server)")
    check_certificates(lib, f"{temp}/certificates")
finish()
