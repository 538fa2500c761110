#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Memory leaves a machine that is a folder: its agent, a scheduler in Python that orders, the command.
Debian's python3 is asked for by its path: the gRPC bindings are its own."""
import json
import os
import queue
import signal
import subprocess
import threading

import grpc

from daemons import NUMASTOW, PATIENCE, free_port
from fleetlib import (agent_pb2, agent_pb2_grpc, channel_to, command, drain_pb2, eventually, node_pb2,
                      python_server, scheduler_pb2, scheduler_pb2_grpc, start_agent, start_scheduler,
                      status_of)
from harness import (ACPI, BLOCK, DIMM, MEMORY, MIB, Machine, Temp, add_memory, check, finish, query, run,
                     same)
from schemalib import valid


PACED = ("--drain-rate", "256Mi")  # two blocks a second
SLOW = ("--drain-rate", "32Mi")  # four seconds for a block, so that a busy computer comes half way, too
ENDS = (drain_pb2.DRAIN_STEP_DONE, drain_pb2.DRAIN_STEP_PARTIAL, drain_pb2.DRAIN_STEP_FAILED,
        drain_pb2.DRAIN_STEP_CANCELLED)


def states(machine):
    return {machine.read(f"{MEMORY}/memory{b}/state").split("_")[0] for b in DIMM}


def back_online(machine):
    for block in DIMM:
        machine.write(f"{MEMORY}/memory{block}/state", "online\n")


def all_online(machine):
    """Online, and nothing fenced: as it was. What was "online_movable" to write is "online" to read,
    which this folder does not know."""
    good = states(machine) == {"online"} and \
        not query(machine, "SELECT * FROM fence WHERE owner LIKE 'drain:%'")
    if good:
        back_online(machine)
    return good


class Scheduler(scheduler_pb2_grpc.SchedulerServicer):
    """Welcomes the agent with the drains in `mine`, orders, and keeps what it hears."""

    def __init__(self):
        self.mine, self.progress, self.results, self.reports = [], [], {}, []
        self.news = threading.Condition()
        self.out = None
        self.number = 0

    def Report(self, requests, context):
        out = queue.Queue()
        context.add_callback(lambda: out.put(None))

        def read():
            try:
                for request in requests:
                    self.take(request, out)
            except Exception:  # the stream has ended
                pass

        threading.Thread(target=read, daemon=True).start()
        while (directive := out.get()) is not None:
            yield directive

    def take(self, request, out):
        with self.news:
            kind = request.WhichOneof("kind")
            if kind == "report":
                self.reports.append(request.report)
                if request.report.sequence == 1:
                    self.out = out
                    self.direct(welcome=scheduler_pb2.Welcome(version="0.0.9", drains=self.mine,
                                                              heartbeat_interval=10 ** 10))
            elif kind == "drain":
                self.progress.append(request.drain)
            elif kind == "result":
                self.results[request.result.directive] = request.result
            self.news.notify_all()

    def direct(self, **kind):
        with self.news:
            self.number += 1
            self.out.put(scheduler_pb2.Directive(id=self.number, **kind))
            return self.number

    def result(self, number):
        with self.news:
            self.news.wait_for(lambda: number in self.results, PATIENCE)
            return self.results.get(number)

    def order(self, drain, plan=False, **spec):
        number = self.direct(drain=scheduler_pb2.OrderDrain(id=drain, plan=plan,
                                                            spec=drain_pb2.DrainSpec(**spec)))
        return self.result(number)

    def cancel(self, drain):
        return self.result(self.direct(cancel_drain=scheduler_pb2.CancelDrainOrder(id=drain)))

    def heard(self, drain, *steps):
        """The first progress with one of the steps."""
        def found():
            return next((p for p in self.progress if p.id == drain and p.step in steps), None)
        with self.news:
            self.news.wait_for(found, PATIENCE)
            return found()

    def says(self, test):
        """Whether the last report that says anything of it does."""
        with self.news:
            return self.news.wait_for(lambda: bool(self.reports) and test(self.reports), PATIENCE)


def node_state(reports, numa):
    for report in reversed(reports):
        for node in report.numa_nodes:
            if node.id == numa:
                return node.state
    return None


def check_busy(machine, fake):
    """While one drain is under way; it is cancelled."""
    drain = "00000000000000a0"
    same("a slow order is taken", fake.order(drain, device="dimm0").code, 0)
    check("the report lists it", fake.says(lambda r: drain in r[-1].drains))
    check("its NUMA node is draining", fake.says(
        lambda r: node_state(r, 1) == node_pb2.NUMA_NODE_STATE_DRAINING))
    again = fake.order("00000000000000b2", device="dimm0")
    check("one at a time", again.code == grpc.StatusCode.FAILED_PRECONDITION.value[0] and
          drain in again.message, again)
    fake.cancel(drain)
    check("it is cancelled", fake.heard(drain, drain_pb2.DRAIN_STEP_CANCELLED))
    fake.cancel(drain)
    check("and forgotten", fake.says(lambda r: drain not in r[-1].drains))
    check("and all is as it was", all_online(machine), states(machine))


def check_ordered(machine, fake):
    drain = "00000000000000a1"
    answer = fake.order(drain, plan=True, device="dimm0")
    planned = fake.heard(drain, drain_pb2.DRAIN_STEP_PLANNED)
    check("a plan is made", answer and answer.code == 0 and planned and
          [b.id for b in planned.plan.blocks] == list(DIMM) and planned.plan.device == "dimm0" and
          planned.plan.device_path == "\\_SB_.MHPC.MP00", planned)
    check("and changes nothing", all_online(machine) and not fake.reports[-1].drains)
    fake.progress.clear()
    answer = fake.order(drain, device="dimm0")
    same("an order is taken", answer.code, 0)
    end = fake.heard(drain, *ENDS)
    check("it is done", end and end.step == drain_pb2.DRAIN_STEP_DONE and
          end.blocks_offline == 4 and end.blocks_gone == "48-51" and
          end.release == drain_pb2.DRAIN_RELEASE_DEVICE and end.bytes_staying == 0, end)
    steps = [p.step for p in fake.progress if p.id == drain]
    check("and every step was told, in order", steps == sorted(steps) and set(steps) >= {
        drain_pb2.DRAIN_STEP_PLANNED, drain_pb2.DRAIN_STEP_FENCED, drain_pb2.DRAIN_STEP_OFFLINING,
        drain_pb2.DRAIN_STEP_SAFE, drain_pb2.DRAIN_STEP_DONE}, steps)
    same("all of it is offline", states(machine), {"offline"})
    check("its NUMA node gets things again", fake.says(
        lambda r: node_state(r, 1) == node_pb2.NUMA_NODE_STATE_READY))
    over = fake.order("00000000000000c3", blocks="48")
    check("what is off already is said", fake.heard("00000000000000c3", *ENDS).code ==
          grpc.StatusCode.ALREADY_EXISTS.value[0], over)
    return drain


def check_ends_are_kept(fake, drain):
    """An end is told again to a scheduler that still knows the drain; then it is forgotten."""
    fake.progress.clear()
    fake.mine = [drain]
    again = fake.order(drain, device="dimm0")
    end = fake.heard(drain, *ENDS)
    check("the same order again is answered with the end", again.code == 0 and end and
          end.step == drain_pb2.DRAIN_STEP_DONE, end)
    same("what is no drain of the agent's cannot be cancelled", fake.cancel("00000000000000dd").code,
         grpc.StatusCode.NOT_FOUND.value[0])
    same("the scheduler has heard of the end", fake.cancel(drain).code, 0)
    check("and it is forgotten", fake.says(lambda r: drain not in r[-1].drains))


def check_part(machine, fake):
    """A part of a DIMM: never safe, and what stays is said."""
    drain = "00000000000000c7"
    fake.progress.clear()
    fake.mine = [drain]
    fake.order(drain, device="dimm0", size=3 * BLOCK)
    end = fake.heard(drain, *ENDS)
    told = [p for p in fake.progress if p.id == drain]
    check("a part of a DIMM: it ends well, and what stays is said", end and
          end.step == drain_pb2.DRAIN_STEP_DONE and end.bytes_staying == BLOCK and
          "128Mi of dimm0 stays online and cannot be removed" in end.message, end)
    check("a part of a DIMM: at no step may it be removed", told and
          drain_pb2.DRAIN_STEP_SAFE not in {p.step for p in told} and
          {p.release for p in told} == {drain_pb2.DRAIN_RELEASE_UNSPECIFIED} and
          not any("may be removed" in p.message for p in told), told)
    [planned] = [p for p in told if p.step == drain_pb2.DRAIN_STEP_PLANNED][:1]
    check("a part of a DIMM: the plan says so before", planned.bytes_staying == BLOCK and
          any("128Mi of dimm0 stays online" in n for n in planned.plan.notes), planned.plan.notes)
    # What the ledger has of its end, too, after a restart of the agent.
    same("a part of a DIMM: so the ledger has it", query(
        machine, f"SELECT release, bytes_staying, bytes_offline FROM drain WHERE id = '{drain}'"),
         [(0, BLOCK, 3 * BLOCK)])
    same("a part of a DIMM: block by block", query(
        machine, f"SELECT block, zone, gone FROM drain_block WHERE drain = '{drain}'"),
         [(49, 2, 1), (50, 2, 1), (51, 2, 1)])
    same("a part of a DIMM: it is forgotten", fake.cancel(drain).code, 0)
    check("a part of a DIMM: with all its rows", eventually(
        lambda: not query(machine, "SELECT * FROM drain_block")))
    back_online(machine)


def check_cancelled(machine, fake):
    drain = "00000000000000d4"
    fake.order(drain, device="dimm0")
    fake.heard(drain, drain_pb2.DRAIN_STEP_OFFLINING)
    check("half way", eventually(lambda: "offline" in states(machine)))
    same("a cancel is taken", fake.cancel(drain).code, 0)
    end = fake.heard(drain, *ENDS)
    same("it ends", end and (end.step, end.code), (drain_pb2.DRAIN_STEP_CANCELLED, 1))
    check("and all is as it was", all_online(machine), states(machine))


def check_limits(machine, fake):
    refused = fake.heard("00000000000000e5", *ENDS) if fake.order(
        "00000000000000e5", device="dimm0").code == 0 else None
    check("an agent lets only so much leave", refused and
          refused.code == grpc.StatusCode.PERMISSION_DENIED.value[0] and all_online(machine), refused)


def begin(machine, fake, port, *options):
    """An agent that the scheduler has welcomed."""
    with fake.news:
        fake.out = None
        fake.progress.clear()
    agent = start_agent(machine, "web-3", port, *options)
    with fake.news:
        check("the agent reports", fake.news.wait_for(lambda: fake.out, PATIENCE))
    return agent


def check_killed(machine, fake, port):
    """SIGKILL in the middle: the next agent undoes it, and says so; or goes on."""
    for drain, resume, wanted in (("00000000000000f6", False, drain_pb2.DRAIN_STEP_FAILED),
                                  ("0000000000000107", True, drain_pb2.DRAIN_STEP_DONE)):
        fake.mine = [drain]
        with begin(machine, fake, port, *(PACED if resume else SLOW)) as agent:
            fake.order(drain, device="dimm0", resume=resume)
            eventually(lambda: "offline" in states(machine))
            agent.process.kill()
            agent.process.wait()
        check("it was killed half way", "offline" in states(machine), states(machine))
        with begin(machine, fake, port, *PACED):
            end = fake.heard(drain, *ENDS)
            same(f"the next agent {'goes on' if resume else 'undoes it'}, and says so",
                 end and end.step, wanted)
            if resume:
                same("all of it is offline", states(machine), {"offline"})
            else:
                check("and all is as it was", all_online(machine), states(machine))
            fake.mine = []
            fake.cancel(drain)
        back_online(machine)


def check_stopped(machine, fake, port):
    """SIGTERM takes it back first, and the end is told by the next agent when it was not heard."""
    drain = "0000000000000118"
    fake.mine = [drain]
    agent = begin(machine, fake, port, *SLOW)
    fake.order(drain, device="dimm0")
    eventually(lambda: "offline" in states(machine))
    agent.stop()
    same("the agent ends well", agent.process.returncode, 0)
    check("and all is as it was", all_online(machine), states(machine))
    with begin(machine, fake, port):
        end = fake.heard(drain, *ENDS)
        same("and the end was told", end and end.step, drain_pb2.DRAIN_STEP_CANCELLED)


def drain_call(agent, **request):
    with channel_to(f"unix:{agent.socket}") as channel:
        yield from agent_pb2_grpc.AgentStub(channel).DrainMemory(
            agent_pb2.AgentDrainRequest(**request), timeout=PATIENCE)


def check_local(machine, agent):
    spec = drain_pb2.DrainSpec(device="dimm0")
    plan = list(drain_call(agent, spec=spec, dry_run=True))
    check("a local plan is the only message", len(plan) == 1 and
          plan[0].step == drain_pb2.DRAIN_STEP_PLANNED and len(plan[0].plan.blocks) == 4, plan)
    steps = drain_call(agent, spec=spec)
    first = next(steps)
    for step in steps:
        if step.blocks_offline:
            break
    with channel_to(f"unix:{agent.socket}") as channel:
        stub = agent_pb2_grpc.AgentStub(channel)
        listed = stub.ListDrains(agent_pb2.AgentListDrainsRequest(), timeout=PATIENCE).drains
        mine = [d for d in listed if d.id == first.id]
        check("it is listed", len(mine) == 1 and mine[0].node == "web-3" and
              mine[0].spec.device == "dimm0" and len(mine[0].plan.blocks) == 4, listed)
        same("by the beginning of its id", stub.CancelDrain(agent_pb2.AgentCancelDrainRequest(
            id=first.id[:6]), timeout=PATIENCE).id, first.id)
        same("the stream ends with the end", [s.step for s in steps][-1],
             drain_pb2.DRAIN_STEP_CANCELLED)
        check("and all is as it was", all_online(machine))
        same("there is none to cancel", status_of(stub.CancelDrain,
                                                  agent_pb2.AgentCancelDrainRequest())[0], "NOT_FOUND")
    for what, request in (("nothing", {}), ("two sizes", {"blocks": "48", "size": 1})):
        same(f"{what} to drain is refused", status_of(
            lambda timeout: list(drain_call(agent, spec=drain_pb2.DrainSpec(**request))))[0],
             "INVALID_ARGUMENT")


def check_caller_leaves(machine, agent):
    """Who hangs up has the drain taken back."""
    steps = drain_call(agent, spec=drain_pb2.DrainSpec(device="dimm0"))
    while not next(steps).blocks_offline:
        pass
    steps.close()
    check("the caller's end cancels it", eventually(lambda: all_online(machine)), states(machine))
    eventually(lambda: not query(machine, "SELECT * FROM drain WHERE ordered = 0"))


def check_detached(machine, agent):
    """Unless he said `detach`."""
    steps = drain_call(agent, spec=drain_pb2.DrainSpec(device="dimm0"), detach=True)
    next(steps)
    steps.close()
    check("one that is detached goes on", eventually(lambda: states(machine) == {"offline"}),
          states(machine))
    eventually(lambda: not query(machine, "SELECT * FROM drain WHERE ordered = 0"))
    back_online(machine)


# By itself: the command would not ask another machine's agent.
FLEET = os.path.join(os.path.dirname(NUMASTOW), "numastow-fleet")


def check_command(machine, agent):
    fleet, near = [FLEET], ["--config", "/dev/null", "--agent", agent.socket]
    done = run([*fleet, "drain", "--device", "dimm0", "--dry-run", *near], "")
    check("numastow drain --dry-run: the plan", done.code == 0 and "48-51" in done.out and
          "512Mi" in done.out and "dimm0" in done.out and all_online(machine), done.out + done.err)
    whole = done.out
    for width in (60, 80, 200):
        done = run(["env", f"COLUMNS={width}", *fleet, "drain", "--device", "dimm0", "--dry-run", *near], "")
        check(f"the plan at {width} columns: no line is wider", done.code == 0 and all(
            len(line) <= width for line in done.out.splitlines()), done.out + done.err)
        # What is above the tables, with or without breaks.
        said = ["".join(text.split("\n\n")[0].split()) for text in (done.out, whole)]
        same(f"the plan at {width} columns: no word is lost", said[0], said[1])
    check("without a terminal each sentence is a line", max(map(len, whole.splitlines())) > 60, whole)
    done = run([*fleet, "drain", "--device", "dimm0", "--force-taint", *near], "")
    check("numastow drain --force-taint: refused without Kubernetes, in one line", done.code == 1 and done.err ==
          'numastow: force-taint: only an agent with "kubernetes: true" has taints\n' and all_online(machine), done)
    done = run([*fleet, "drain", "--blocks", "48-51", *near], "")
    check("numastow drain: its steps", done.code == 0 and all(
        w in done.out for w in ("planned", "fenced", "offlining", "512Mi of 512Mi", "safe", "done")),
          done.out + done.err)
    back_online(machine)
    done = run(["script", "-qec", " ".join([*fleet, "drain", "--blocks", "48-51", *near]), "/dev/null"], "")
    check("numastow drain on a terminal: a bar", done.code == 0 and 
          f"[{'#' * 30}] 100%  512Mi of 512Mi" in done.out, done.out)
    done = run([*fleet, "drain", "--blocks", "48-51", "--json", *near], "")
    last = json.loads(done.out.splitlines()[-1])
    check("numastow drain --json: one object a message, and the failure on standard error",
          done.code == 1 and last["step"] == "failed" and last["code"] == 6 and done.err, done)
    valid("drain", "numastow drain", done.out, lines=True)
    done = run([*fleet, "drains", "--json", *near], "")
    check("numastow drains --json", done.code == 0, done)
    valid("drains", "numastow drains", done.out)
    back_online(machine)


def check_command_interrupted(machine, agent):
    fleet, near = [FLEET], ["--config", "/dev/null", "--agent", agent.socket]
    going = subprocess.Popen([*fleet, "drain", "--blocks", "48-51", *near], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: "offline" in states(machine))
    going.send_signal(signal.SIGINT)
    out, err = going.communicate(timeout=PATIENCE)
    check("numastow drain: a signal takes it back", going.returncode == 130 and all_online(machine) and
          err.startswith("numastow: "), (going.returncode, out, err))
    done = run([*fleet, "drain", "--blocks", "48-51", "--detach", *near], "")
    check("numastow drain --detach: leaves", done.code == 0 and "drain  " in done.out, done)
    done = run([*fleet, "drains", *near], "")
    check("numastow drains: lists it", done.code == 0 and "48-51" in done.out, done.out)
    done = run([*fleet, "cancel", *near], "")
    check("numastow cancel: the only one", done.code == 0 and "is being cancelled" in done.out, done)
    check("and all is as it was", eventually(lambda: all_online(machine)), states(machine))


def check_both(temp, machine):
    """Our scheduler, and our agent."""
    with start_scheduler(f"{temp}/s") as scheduler:
        def ask(*words):
            return command(*words, port=scheduler.port)

        with start_agent(machine, "web-3", scheduler.port, *PACED):
            check_both_whole(machine, ask)
        with start_agent(machine, "web-3", scheduler.port, *SLOW):
            check_both_interrupted(machine, scheduler, ask)


def is_ready(ask):
    return eventually(lambda: any(line.split()[:2] == ["web-3", "ready"] for line in ask("nodes").out.splitlines()))


def check_both_whole(machine, ask):
    check("the scheduler knows the node", is_ready(ask))
    done = ask("drain", "web-3", "--device", "dimm0", "--dry-run")
    check("numastow drain MACHINE --dry-run: the plan", done.code == 0 and "48-51" in done.out and
          all_online(machine), done.out + done.err)
    done = ask("drain", "web-3", "--device", "dimm0")
    check("numastow drain MACHINE: its steps", done.code == 0 and states(machine) == {"offline"} and
          all(w in done.out for w in ("planned", "fenced", "offlining", "done")),
          done.out + done.err)
    check("the agent has forgotten it", eventually(
        lambda: not query(machine, "SELECT * FROM drain")), query(machine, "SELECT * FROM drain"))
    back_online(machine)


def check_both_interrupted(machine, scheduler, ask):
    check("the scheduler knows the node again", is_ready(ask))
    going = subprocess.Popen([NUMASTOW, "drain", "web-3", "--blocks", "48-51", "--config",
                              "/dev/null", "--scheduler", f"127.0.0.1:{scheduler.port}"],
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: "offline" in states(machine))
    going.send_signal(signal.SIGINT)
    out, err = going.communicate(timeout=PATIENCE)
    check("numastow drain MACHINE: a signal takes it back",
          going.returncode == 130 and all_online(machine), (going.returncode, out, err))
    done = ask("drains", "--cluster")
    check("numastow drains --cluster: lists what was", done.code == 0 and "web-3" in done.out and
          "cancelled" in done.out, done.out + done.err)


def check_scheduler_killed(temp, machine):
    """Our scheduler is killed while our agent drains, or before it hears of the end."""
    port = free_port()
    data, listen = f"{temp}/killed", f"127.0.0.1:{port}"
    scheduler = start_scheduler(data, listen=listen)
    with start_agent(machine, "web-3", port, *PACED):
        for what, late in (("while memory goes", False), ("before the end", True)):
            with channel_to(listen) as channel:
                stub = scheduler_pb2_grpc.SchedulerStub(channel)
                eventually(lambda: [n.state for n in stub.ListNodes(
                    scheduler_pb2.ListNodesRequest()).nodes] == [scheduler_pb2.NODE_STATE_READY])
                call = stub.DrainMemory(scheduler_pb2.DrainMemoryRequest(
                    node="web-3", spec=drain_pb2.DrainSpec(device="dimm0")))
                drain = next(call).id
                eventually(lambda: "offline" in states(machine))
            scheduler.process.kill()
            scheduler.process.wait()
            if late:
                check(f"killed {what}: the machine ends it alone",
                      eventually(lambda: states(machine) == {"offline"}))
            scheduler = start_scheduler(data, listen=listen)
            with channel_to(listen) as channel:
                stub = scheduler_pb2_grpc.SchedulerStub(channel)
                end = eventually(lambda: [d.progress for d in stub.ListDrains(
                    scheduler_pb2.ListDrainsRequest(ended=True)).drains
                                          if d.id == drain and d.progress.step in ENDS])
                same(f"killed {what}: the next one hears of the end",
                     end and (end[0].step, end[0].blocks_gone), (drain_pb2.DRAIN_STEP_DONE, "48-51"))
            check(f"killed {what}: the agent has forgotten it", eventually(
                lambda: not query(machine, "SELECT * FROM drain")))
            back_online(machine)
    scheduler.stop()


def check_observes(machine):
    with start_agent(machine, "web-3", 0, "--mode", "observe") as agent:
        spec = drain_pb2.DrainSpec(device="dimm0")
        status, words = status_of(lambda timeout: list(drain_call(agent, spec=spec)))
        check("in mode observe nothing leaves", status == "PERMISSION_DENIED" and "observe" in words,
              words)
        same("but a plan can be had", [p.step for p in drain_call(agent, spec=spec, dry_run=True)],
             [drain_pb2.DRAIN_STEP_PLANNED])


def main():
    with Temp() as temp:
        machine, fake = Machine(f"{temp}/m"), Scheduler()
        add_memory(machine)
        with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as port:
            with begin(machine, fake, port, *PACED):
                drain = check_ordered(machine, fake)
                check_ends_are_kept(fake, drain)
                back_online(machine)
                check_part(machine, fake)
            fake.mine = []
            with begin(machine, fake, port, *SLOW):
                check_busy(machine, fake)
                check_cancelled(machine, fake)
            fake.mine = []
            with begin(machine, fake, port, "--max-drain", "30"):
                check_limits(machine, fake)
            check_killed(machine, fake, port)
            check_stopped(machine, fake, port)
        with start_agent(machine, "web-3", 0, *SLOW) as agent:
            check_local(machine, agent)
            check_caller_leaves(machine, agent)
            check_command_interrupted(machine, agent)
        with start_agent(machine, "web-3", 0, *PACED) as agent:
            check_detached(machine, agent)
            check_command(machine, agent)
        check_both(temp, machine)
        check_scheduler_killed(temp, machine)
        check_observes(machine)
    finish()


if __name__ == "__main__":
    main()
