#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A scheduler that sends directives faster than the agent carries them out: the agent reads no more than it can
hold, says so once, stays small and serves its machine."""
import json
import threading
import time
import urllib.request

import grpc

from daemons import PATIENCE, free_port
from fleetlib import (MIB, SECOND, agent_pb2, agent_pb2_grpc, channel_to, eventually, node_pb2, python_server,
                      scheduler_pb2, scheduler_pb2_grpc, start_agent)
from harness import BUILD, Machine, Temp, check, finish, hook, same

ROOM = 8 if "asan" in BUILD else 1  # a sanitizer keeps what was freed
MANY = 100000
LATER = time.time_ns() + 3600 * SECOND


def memory(pid):
    """The most that the process ever had in memory."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
        return int(next(line for line in handle if line.startswith("VmHWM")).split()[1]) * 1024


def reserve(number):
    """A directive of 4 KiB, for more CPUs than there are."""
    return scheduler_pb2.Directive(id=number, reserve=scheduler_pb2.Reservation(
        id=f"{number:016x}", node="m", numa_nodes="0", expires=LATER,
        pod=scheduler_pb2.PodRequest(name="x" * 4000, cpus=1000),
        parts=[node_pb2.ContainerPart(numa_node=0, cpus=1000)]))


class Flood(scheduler_pb2_grpc.SchedulerServicer):
    """Sends what it is given, as fast as the agent takes it, and counts what is answered."""

    def __init__(self, directives):
        self.directives, self.sent, self.answered = directives, 0, 0
        self.last, self.over = None, threading.Event()

    def Report(self, requests, context):
        def read():
            try:
                for request in requests:
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
        before = memory(program.process.pid)
        check("directives are answered", eventually(lambda: fake.answered > 500), fake.answered)
        answered, sent = fake.answered, fake.sent
        check("the others wait at the scheduler", sent - answered < 5000, f"{sent} sent, {answered} answered")
        same("the hook places", hook(machine, "apply", machine.container(
            "web", {"numastow.io/cpus": "2"})).code, 0)
        check("the agent sees it", eventually(lambda: [
            c.id for c in stub.ListContainers(agent_pb2.ListContainersRequest(), timeout=PATIENCE).containers
            if c.id == "web"]))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
            same("it is healthy", answer.status, 200)
        grown = memory(program.process.pid) - before
        check("it stays small", grown < 32 * MIB * ROOM, f"{grown >> 20} MiB")
        print(f"# {fake.sent} sent, {fake.answered} answered; the agent grew by {grown >> 10} KiB")
        said = [line for line in program.so_far() if line.startswith("{") and json.loads(line)["message"] ==
                "the scheduler sends directives faster than they are carried out"]
        same("it says so once", len(said), 1)
        fake.over.set()


with Temp() as temp:
    check_flood(temp)
finish()
