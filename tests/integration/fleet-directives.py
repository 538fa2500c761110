#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A scheduler that sends directives faster than the agent carries them out, or a Welcome with more than a machine can
have: the agent reads no more than it can hold, says so once, stays small and serves its machine."""
import threading
import time
import urllib.request

import grpc

from daemons import PATIENCE, free_port
from fleetlib import (MIB, SECOND, Growth, agent_pb2, agent_pb2_grpc, channel_to, eventually, logged, node_pb2, python_server,
                      scheduler_pb2, scheduler_pb2_grpc, start_agent)
from harness import Machine, Temp, check, finish, hook, same

MANY = 100000
LATER = time.time_ns() + 3600 * SECOND


def reserve(number):
    """A directive of 4 KiB, for more CPUs than there are."""
    return scheduler_pb2.Directive(id=number, reserve=reservation(number, cpus=1000, name="x" * 4000))


def reservation(number, cpus=0, name=""):
    """For more CPUs than there are, or for a MiB."""
    return scheduler_pb2.Reservation(
        id=f"{number:016x}", node="m", numa_nodes="0", expires=LATER,
        pod=scheduler_pb2.PodRequest(name=name, cpus=cpus),
        parts=[node_pb2.ContainerPart(numa_node=0, cpus=cpus, memory_promised=0 if cpus else MIB)])


class Flood(scheduler_pb2_grpc.SchedulerServicer):
    """Sends what it is given, as fast as the agent takes it, and counts what is answered."""

    def __init__(self, directives):
        self.directives, self.sent, self.answered = directives, 0, 0
        self.last, self.over = None, threading.Event()
        self.streams, self.leases = 0, set()  # numbers of leases reported before the first answer
        self.listed = None  # reservations of the last report

    def Report(self, requests, context):
        self.streams += 1

        def read():
            try:
                for request in requests:
                    if request.WhichOneof("kind") == "report":
                        self.listed = set(request.report.reservations)
                    if request.WhichOneof("kind") == "report" and not self.answered:
                        self.leases.add(len(request.report.reservations))
                    if request.WhichOneof("kind") == "result":
                        self.answered += 1
                        self.last = request.result
            except grpc.RpcError:
                pass
            except Exception:  # pylint: disable=broad-except
                pass  # the stream has ended

        threading.Thread(target=read, daemon=True).start()
        for directive in self.directives():
            if self.over.is_set() or not context.is_active():
                return
            yield directive
            self.sent += 1
        while context.is_active() and not self.over.wait(0.2):
            pass


def welcome(**more):
    return scheduler_pb2.Directive(id=1, welcome=scheduler_pb2.Welcome(
        version="9", heartbeat_interval=SECOND, **more))


def flood():
    yield welcome()
    for number in range(2, MANY + 2):
        yield reserve(number)


def check_flood(folder):
    machine, fake, port = Machine(f"{folder}/m"), Flood(flood), free_port()
    with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as at, \
            start_agent(machine, "m", at, "--metrics", f"127.0.0.1:{port}") as program, \
            channel_to(f"unix:{program.socket}") as channel:
        stub = agent_pb2_grpc.AgentStub(channel)
        growth = Growth(program.process.pid)
        check("directives are answered", eventually(lambda: fake.answered > 500), fake.answered)
        answered, sent = fake.answered, fake.sent
        metrics = eventually(lambda: paused(port))
        check("metrics have those that wait, and that no more were read", metrics, metrics)
        check("the others wait at the scheduler", sent - answered < 5000, f"{sent} sent, {answered} answered")
        same("the hook places", hook(machine, "apply", machine.container(
            "web", {"numastow.io/cpus": "2"})).code, 0)
        check("the agent sees it", eventually(lambda: [
            c.id for c in stub.ListContainers(agent_pb2.ListContainersRequest(), timeout=PATIENCE).containers
            if c.id == "web"]))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
            same("it is healthy", answer.status, 200)
        grown = growth.most()
        check("it stays small", grown < 32 * MIB * Growth.ROOM, f"{grown >> 20} MiB")
        print(f"# {fake.sent} sent, {fake.answered} answered; the agent grew by {grown >> 10} KiB")
        same("it says so once", len(logged(
            program, "the scheduler sends directives faster than they are carried out")), 1)
        refused = logged(program, "a reservation was refused")
        check("a flood of refusals is no flood of lines", refused and len(refused) < fake.answered / 2,
              f"{len(refused)} lines, {fake.answered} answered")
        fake.over.set()


def paused(port):
    """The metrics of directives when more wait than may, else None."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        values = dict(line.split(" ") for line in answer.read().decode().splitlines()
                      if line.startswith("numastow_agent_directive"))
    waiting, size = (float(values[f"numastow_agent_directives_waiting{end}"]) for end in ("", "_bytes"))
    pauses, received = (float(values[f"numastow_agent_{name}_total"]) for name in ("directive_pauses", "directives"))
    return values if 0 < waiting <= 1025 and 0 < size < 2 * MIB and 0 < pauses <= received else None


def long_welcome():
    """The machine may hold a thousand; the others are refused."""
    yield welcome(reservations=[reservation(number) for number in range(1, 4097)])


def check_long_welcome(folder):
    machine, fake = Machine(f"{folder}/long"), Flood(long_welcome)
    with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as at, \
            start_agent(machine, "m", at) as program:
        check("a long Welcome is carried out", eventually(lambda: fake.answered), fake.answered)
        check("it reports meanwhile", any(0 < n < 1000 for n in fake.leases), fake.leases)
        same("it goes on with that stream", fake.streams, 1)
        refused = logged(program, "reservations of the scheduler's list were refused")
        same("one line has the refused ones", [line["refused"] for line in refused], [3096])
        check("and why", "its limit is 1000" in refused[0]["error"], refused)
        same("no line has one of them", logged(program, "a reservation was refused"), [])
        fake.over.set()


def other_clock():
    """By a clock that is an hour behind, and one that is an hour ahead: what counts is the lifetime."""
    late, early = reservation(1), reservation(2)
    late.expires, late.lifetime = time.time_ns() - 3600 * SECOND, 3600 * SECOND
    early.lifetime = SECOND // 100
    yield welcome(reservations=[late, early])


def check_other_clock(folder):
    machine, fake = Machine(f"{folder}/clock"), Flood(other_clock)
    with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as at, \
            start_agent(machine, "m", at):
        check("the Welcome is carried out", eventually(lambda: fake.answered), fake.answered)
        check("a lease lasts as long as the scheduler says, whatever its clock shows",
              eventually(lambda: fake.listed == {f"{1:016x}"}), fake.listed)
        fake.over.set()


class Brief(scheduler_pb2_grpc.SchedulerServicer):
    """Welcomes each agent, and ends the stream: without an error, or as a scheduler that renews the connection."""

    def __init__(self, renews):
        self.renews, self.welcomed = renews, 0

    def Report(self, requests, context):
        next(requests)
        self.welcomed += 1
        yield welcome()
        if self.renews:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is renewed: connect again")


def check_brief(folder, what, renews, said, wanted):
    """The agent of a scheduler that welcomes and hangs up dials less and less often, as one that is refused."""
    machine, fake = Machine(f"{folder}/brief-{renews}"), Brief(renews)
    with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as at, \
            start_agent(machine, "m", at) as program:
        ends = eventually(lambda: (found := logged(program, said)) and len(found) >= 6 and found[:6])
        pauses = [line["next_try_ms"] for line in ends or ()]
        # Each is between a half and the whole of 200 ms, 400 ms, ...
        check(f"{what}: the pauses grow", len(pauses) == 6 and all(
            100 << n <= pause <= 200 << n for n, pause in enumerate(pauses)), (pauses, program.so_far()[-5:]))
        same(f"{what}: no more than one line is a warning", [line["level"] for line in ends or ()], wanted)
        check(f"{what}: each followed a Welcome", fake.welcomed >= 6, fake.welcomed)


def check_bad_welcome(folder, what, directives, error):
    machine, fake = Machine(f"{folder}/{directives.__name__}"), Flood(directives)
    with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as at, \
            start_agent(machine, "m", at) as program, channel_to(f"unix:{program.socket}") as channel:
        ended = eventually(lambda: [line for line in logged(program, "no scheduler") if error in line["error"]])
        check(f"{what}: the agent ends the stream and says why", ended, program.so_far()[-5:])
        check(f"{what}: it connects again", eventually(lambda: fake.streams > 1), fake.streams)
        node = agent_pb2_grpc.AgentStub(channel).GetNode(agent_pb2.GetNodeRequest(), timeout=PATIENCE)
        same(f"{what}: nothing is held", list(node.reservations), [])
        fake.over.set()


def sixty_thousand():
    yield welcome(reservations=[reservation(number) for number in range(1, 60001)])


def many_drains():
    yield welcome(drains=[f"{number:016x}" for number in range(1, 20001)])


def twice():
    yield welcome()
    yield welcome()


with Temp() as temp:
    check_flood(temp)
    check_long_welcome(temp)
    check_other_clock(temp)
    check_brief(temp, "a scheduler that hangs up after the Welcome", False, "no scheduler", ["warning"] + ["info"] * 5)
    check_brief(temp, "one that renews the connection each time", True, "the connection is renewed", ["info"] * 6)
    check_bad_welcome(temp, "60,000 reservations", sixty_thousand, "a Welcome with 60000 reservations; at most 4096")
    check_bad_welcome(temp, "20,000 drains", many_drains, "a Welcome with 20000 drains; at most 10000")
    check_bad_welcome(temp, "two Welcomes", twice, "a second Welcome on one stream")
finish()
