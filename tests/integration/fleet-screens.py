#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The screens of the commands that ask an agent or a scheduler, as screens.py looks at those of one machine: at 60, 80 and
200 columns and piped, with machines, pods and containers whose names have 63 characters."""
import os

from daemons import PATIENCE
from fleetlib import (GIB, MIB, FakeAgent, channel_to, eventually, full_report, node_pb2, scheduler_pb2,
                      scheduler_pb2_grpc, start_agent, start_scheduler)
from harness import Machine, Temp, check, finish, hook, same
from screens import CONTAINERS, NUMASTOW, look, name_of, whole

MACHINES = 8


def machine_name(i):
    return f"rack-{i}-".ljust(62, "abcdefghij"[i % 10]) + "z"


def report(i):
    made = full_report(machine_name(i), numa_nodes=2 + 6 * (i % 2), cpus=64, memory=512 * GIB, pages=4096)
    made.failure_domain = f"row-{i % 3}-".ljust(63, "r")
    for c in range(2):
        made.containers.append(node_pb2.Container(
            id=f"{c}{i}".ljust(64, "0123456789abcdef"[i]), name=name_of(c), namespace="n" * 63, pod="p" * 63,
            state=node_pb2.CONTAINER_STATE_ACTIVE, cpus="0-5,64-69,128,130", numa_nodes="0-1"))
    return made


def check_fleet(temp):
    with start_scheduler(f"{temp}/data") as server, channel_to(f"127.0.0.1:{server.port}") as channel:
        agents = [FakeAgent(channel, report(i)) for i in range(MACHINES)]
        check("all are welcome", all(a.wait("welcome") for a in agents))
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        for i in range(3):
            pod = scheduler_pb2.PodRequest(name=f"pod-{i}-".ljust(63, "q"), namespace="default", cpus=2, memory=GIB)
            stub.Place(scheduler_pb2.PlaceRequest(pods=[pod], lifetime=600 * 10 ** 9), timeout=PATIENCE)
        stub.Fence(scheduler_pb2.FenceRequest(node=machine_name(1), numa_nodes="0,2-7"), timeout=PATIENCE)
        scheduler = ["--config", "/dev/null", "--scheduler", f"127.0.0.1:{server.port}"]
        for words in (["nodes"], ["nodes", machine_name(0)], ["node", machine_name(0)], ["node", machine_name(1)],
                      ["reservations"], ["reservations", machine_name(0)],
                      ["explain", "--cluster", "cpus=2", "memory=1Gi"],
                      ["explain", "--cluster", "cpus=2", "memory=9Gi", "cpu-mode=exclusive", "policy=best-effort"]):
            screens = look("fleet", [*words, *scheduler], fixed=False)  # SEEN and LEFT go on
            if words == ["nodes"]:
                for width, screen in screens.items():
                    same(f"names that are cut at {width} columns",
                         [n for n in map(machine_name, range(MACHINES)) if not whole(screen, n)], [])
        for agent in agents:
            agent.close()


def check_agent(temp):
    """A machine of eight NUMA nodes and 30 containers, and its agent alone."""
    machine = Machine(f"{temp}/m", nodes=8, cpus=128, pools={2 * MIB: (0, 4096)})
    for i in range(CONTAINERS):
        asked = {"numastow.io/cpus": str(1 + i % 3), "io.kubernetes.container.name": name_of(i),
                 "io.kubernetes.pod.name": name_of(i), "io.kubernetes.pod.uid": f"uid-{i}",
                 "io.kubernetes.pod.namespace": "default"}
        machine.container(name_of(i), asked)
        if hook(machine, "apply", machine.state(name_of(i))).code:
            check(f"{name_of(i)} is placed", False)
    with start_agent(machine, machine_name(0), 0) as agent:
        local = ["--config", "/dev/null", "--agent", agent.socket]

        def listed():
            return os.popen(f"{NUMASTOW} containers {' '.join(local)}").read().count("\n") > CONTAINERS
        check("the agent sees its containers", eventually(listed))
        for words in (["containers"], ["node"]):
            look("agent", [*words, *local], fixed=False)


def main():
    with Temp() as temp:
        check_fleet(temp)
        check_agent(temp)
    finish()


if __name__ == "__main__":
    main()
