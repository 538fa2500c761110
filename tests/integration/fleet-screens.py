#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The screens of the commands that ask an agent or a scheduler, as screens.py looks at those of one machine: at 60, 80 and
200 columns and piped, with machines, pods and containers whose names have 63 characters."""
import json
import os
import re
import signal
import subprocess

from daemons import PATIENCE
from fleetlib import (GIB, MIB, FakeAgent, channel_to, drain_pb2, eventually, full_report, node_pb2, scheduler_pb2,
                      scheduler_pb2_grpc, start_agent, start_scheduler)
from harness import BUILD, Machine, Temp, again, check, columns_of, finish, hook, run, same
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


class DrainAgent(FakeAgent):
    """Plans a drain of eight blocks with containers of long names in them, and never comes to its end."""

    def act(self, directive, kind):
        if kind == "drain" and directive.drain.plan:
            plan = drain_pb2.DrainPlan(
                bytes=GIB, numa_node=1, device="dimm0", device_path="\\_SB_.MHPC.MP00", to_move=GIB // 2, expected=10 ** 9,
                notes=["rounded up to whole blocks"],
                blocks=[drain_pb2.DrainBlock(id=b, bytes=128 * MIB, zone="Movable", to_move=64 * MIB) for b in range(48, 56)],
                affected=[drain_pb2.DrainAffected(
                    id=f"{i}".ljust(64, "c"), name=name_of(i), pod="p" * 63, namespace="n" * 63, bytes=64 * MIB,
                    action=drain_pb2.DRAIN_ACTION_REPIN, numa_nodes="0,2-7",
                    suspect="pinned memory (vfio)" if i % 2 else "") for i in range(8)])
            self.out.put(scheduler_pb2.ReportRequest(drain=drain_pb2.DrainProgress(
                id=directive.drain.id, step=drain_pb2.DRAIN_STEP_PLANNED, plan=plan, bytes_total=GIB,
                message="containers have memory there, and most of it moves to other NUMA nodes")))
        elif kind == "drain":
            self.drains[directive.drain.id] = directive.drain
        self.answer(directive)


def ask(*words):
    done = run([NUMASTOW, *words], "")
    check(" ".join(words[:4]), done.code == 0, done)
    return done.out


def check_drains(scheduler):
    """What a drain would do, and the list of drains."""
    machine = machine_name(0)
    screens = look("fleet", ["drain", machine, "--node", "1", "--dry-run", *scheduler], fixed=False)
    for width, screen in screens.items():
        check(f"a plan at {width} columns has its tables", "UNMOVABLE" in screen and "OUTCOME" in screen, screen)
    ask("drain", machine, "--node", "1", "--detach", *scheduler)
    screens = look("fleet", ["drains", "--cluster", *scheduler], fixed=False)
    for width, screen in screens.items():
        check(f"there is a drain at {width} columns", "rack-0-" in screen and "NUMA" in screen, screen)
    listed = json.loads(ask("drains", "--cluster", "--json", *scheduler))["drains"]
    same("columns of drains", [line.split(" ") for line in ask("drains", "--cluster", "-nr", "-o", "DRAIN,NODE,SIZE", "-b",
                                                               *scheduler).splitlines()],
         [[d["id"], d["node"], str(d["progress"]["bytes_total"])] for d in listed])


def check_options(scheduler):
    """The options of util-linux for tables; with them nothing but rows is printed."""
    names = sorted(machine_name(i) for i in range(MACHINES))
    same("nodes -nro NODE", sorted(ask("nodes", "-nro", "NODE", *scheduler).splitlines()), names)
    same("nodes --raw", ask("nodes", "--raw", "-oNODE,numa", *scheduler).splitlines()[0], "NODE NUMA")
    same("nodes -P", sorted(ask("nodes", "-P", "--output=node,containers", *scheduler).splitlines()),
         [f'NODE="{name}" CONTAINERS="2"' for name in names])
    rows = ask("nodes", "-n", "-b", "-o", "MEMORY", machine_name(7), *scheduler)
    check("nodes --bytes", re.fullmatch(rf" *\d+/{8 * 512 * GIB}\n", rows), rows)
    rows = ask("nodes", "--output-all", "--pairs", *scheduler).splitlines()
    check("nodes --output-all", len(rows) == MACHINES and all(row.count('="') == 11 for row in rows), rows)
    rows = ask("reservations", "-rn", "-o", "+NAMESPACE", *scheduler).splitlines()
    check("reservations -o +NAMESPACE", len(rows) == 3 and all(row.endswith(" default") for row in rows), rows)
    same("none", ask("reservations", "-n", "there-is-none", *scheduler), "")
    for found, code in (([], 1), ([names[1]], 64)):
        done = run([NUMASTOW, "nodes", "-nro", "NODE", "nosuch", *found, *scheduler], "")
        same(f"nodes: {len(found)} of those that are named", (done.code, done.out.split(), done.err),
             (code, found, 'numastow: no node "nosuch" reports to this scheduler\n'))
    for words in (["nodes"], ["reservations"], ["drains", "--cluster"]):
        unknown_column(words, scheduler)


def unknown_column(words, where):
    """--output takes the columns that --help lists, and no other."""
    done = run([NUMASTOW, *words, "-o", "NODE,colour", *where], "")
    known = ",".join(columns_of(run([NUMASTOW, words[0], "--help"], "").out))
    check(f"{words[0]}: an unknown column", done.code == 2 and not done.out and known.count(",") > 5 and
          f'--output "{"NODE" if "NODE" not in known else "colour"}": expected columns of {known}\n' in done.err and
          f"numastow {words[0]} --help" in done.err, done)


def check_again(scheduler):
    """--watch and --quiet of what the scheduler answers."""
    again("nodes", [NUMASTOW, "nodes", "-nro", "NODE,FENCED", *scheduler], lambda: ask("fence", machine_name(2), "1", *scheduler),
          f"{machine_name(2)} 1\n")
    again("node", [NUMASTOW, "node", machine_name(3), *scheduler], lambda: ask("fence", machine_name(3), "0", *scheduler),
          "fenced   NUMA nodes 0")
    kept = ask("place", "--lifetime", "24h", "cpus=1", *scheduler)
    check("the whole lifetime is left", "expires     in 24h," in kept, kept)
    same("also in the table", ask("reservations", "-nro", "LEFT", *scheduler).splitlines().count("24h"), 1)
    again("reservations", [NUMASTOW, "reservations", "-nro", "POD", *scheduler],
          lambda: ask("place", "--name", "later", "cpus=1", *scheduler), "later")
    again("drains", [NUMASTOW, "drains", "--cluster", "-nro", "NODE", *scheduler],
          lambda: ask("drain", machine_name(4), "--node", "1", "--detach", *scheduler), machine_name(4))
    again("explain", [NUMASTOW, "explain", "--cluster", "--node", machine_name(5), "cpus=1", *scheduler],
          lambda: ask("fence", machine_name(5), "0-6", *scheduler), "NUMA nodes  7\n")
    for options in (["-nw"], ["--watch", "-n"], ["-nw100ms"]):
        with subprocess.Popen([NUMASTOW, "nodes", *options, "-oSTATE", *scheduler], stdout=subprocess.PIPE) as process:
            seen = [process.stdout.readline() for _ in range(2 * MACHINES)]
            process.terminate()
        check(f"nodes {options}: again and again", process.returncode == -signal.SIGTERM and seen[-1], seen)
    for words in (["nodes", "--watch=1ms"], ["nodes", "-w1ms"], ["drains", "--cluster", "-w0s"]):
        done = run([NUMASTOW, *words, *scheduler], "")
        check(f"{words}: too often", done.code == 2 and not done.out and "100ms" in done.err, done)




def check_fleet(temp):
    with start_scheduler(f"{temp}/data") as server, channel_to(f"127.0.0.1:{server.port}") as channel:
        agents = [DrainAgent(channel, report(i)) for i in range(MACHINES)]
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
        check_options(scheduler)
        check_drains(scheduler)
        check_again(scheduler)
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
        rows = ask("containers", "-nro", "NAME,NAMESPACE", *local).splitlines()
        # As the command runs for users that cannot read the ledger: the agent makes the table.
        done = run([os.path.join(BUILD, "numastow-fleet"), "ledger", "-nro", "POD,NAMESPACE", *local], "")
        same("ledger -nro by the agent", sorted(done.out.splitlines()),
             sorted(f"uid-{i} default" for i in range(CONTAINERS)))
        done = run([os.path.join(BUILD, "numastow-fleet"), "ledger", "-o", "colour", *local], "")
        check("ledger by the agent: an unknown column", done.code == 2 and "expected columns of CONTAINER," in done.err, done)
        unknown_column(["containers"], local)
        done = run([NUMASTOW, "containers", "nosuch", *local], "")
        check("containers: one that is not there", done.code == 1 and done.one_line() and '"nosuch"' in done.err, done)
        machine.container("last", {"numastow.io/cpus": "1"})
        again("containers", [NUMASTOW, "containers", "-nro", "CONTAINER", *local],
              lambda: hook(machine, "apply", machine.state("last")), "last\n")
        machine.container("more", {"numastow.io/cpus": "1"})
        again("ledger by the agent", [os.path.join(BUILD, "numastow-fleet"), "ledger", "-nro", "CONTAINER", *local],
              lambda: hook(machine, "apply", machine.state("more")), "more\n")
        same("containers -nro", sorted(rows), sorted(f"{name_of(i)} default" for i in range(CONTAINERS)))


def main():
    with Temp() as temp:
        check_fleet(temp)
        check_agent(temp)
    finish()


if __name__ == "__main__":
    main()
