#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every method of both programs, spoken to by Python's gRPC from our .proto files; and our programs
speaking to servers in Python. Debian's python3 is asked for by its path: the bindings are its own."""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import grpc

from daemons import NUMASTOW, PATIENCE, fetch, free_port, has_six
from fleetlib import (GIB, MIB, POOL, SECOND, FakeAgent, Patience, agent_pb2, agent_pb2_grpc, channel_to, command,
                      drain_pb2, eventually, full_report, logged, message, node_pb2, plain_call, python_server,
                      scheduler_pb2, scheduler_pb2_grpc, start_agent, start_scheduler, status_of)
from harness import Machine, Temp, check, finish, hook, same, skip
from schemalib import valid

ASK = "numastow.io/"


def pod(**fields):
    return scheduler_pb2.PodRequest(**fields)


def until_deadline(events):
    """The events of a stream, until it ends, however it does."""
    try:
        yield from events
    except grpc.RpcError as error:
        print(f"# a stream has ended: {error.code().name} {error.details()}")


# --- what every server of ours answers ------------------------------------------------------------


def check_standard(what, address, service):
    with channel_to(address) as channel:
        ask = message("grpc.health.v1.HealthCheckRequest")
        for name in ("", service):
            answer = plain_call(channel, "/grpc.health.v1.Health/Check", ask(service=name),
                                "grpc.health.v1.HealthCheckResponse")
            same(f"{what}: health of \"{name}\"", answer.status, 1)
        same(f"{what}: health of a service that is not there",
             status_of(channel.unary_unary("/grpc.health.v1.Health/Check",
                                           request_serializer=lambda m: m.SerializeToString()),
                       ask(service="nothing"))[0], "NOT_FOUND")
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=message("grpc.health.v1.HealthCheckResponse").FromString)(
                ask(service=service), timeout=PATIENCE)
        same(f"{what}: health is watched", next(watch).status, 1)
        watch.cancel()
        check_reflection(what, channel, service)
        same(f"{what}: an unknown method",
             status_of(channel.unary_unary(f"/{service}/Dance"), b"")[0], "UNIMPLEMENTED")


def check_reflection(what, channel, service):
    ask = message("grpc.reflection.v1alpha.ServerReflectionRequest")
    answers = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda m: m.SerializeToString(),
        response_deserializer=message("grpc.reflection.v1alpha.ServerReflectionResponse").FromString)(
            iter([ask(list_services="*"), ask(file_containing_symbol=service),
                  ask(file_containing_symbol="no.such.thing")]), timeout=PATIENCE)
    listed = next(answers)
    check(f"{what}: reflection lists its services",
          {s.name for s in listed.list_services_response.service} >=
          {service, "grpc.health.v1.Health"}, listed)
    files = next(answers).file_descriptor_response.file_descriptor_proto
    from google.protobuf import descriptor_pb2
    methods = {m.name for f in files for s in descriptor_pb2.FileDescriptorProto.FromString(f).service
               for m in s.method}
    missing = {m.name for m in POOL.FindServiceByName(service).methods} - methods
    same(f"{what}: reflection describes every method", missing, set())
    same(f"{what}: reflection on what is not there", next(answers).error_response.error_code, 5)


# --- the scheduler --------------------------------------------------------------------------------


def check_place(stub, agent):
    asked = scheduler_pb2.PlaceRequest(
        pods=[pod(name="db", cpus=4, memory=GIB, cpu_mode=scheduler_pb2.CPU_MODE_EXCLUSIVE,
                  hugepages=[node_pb2.Hugepages(page_size=2 * MIB, pages=8)])],
        confirmed=True, request_id="r1")
    got = stub.Place(asked, timeout=PATIENCE).reservations[0]
    check("Place: a reservation", got.node == "py" and len(got.id) == 16 and
          got.annotation == f"{got.id}:{got.numa_nodes}@py" and got.reason, got)
    same("Place: what it takes", [(p.cpus, p.memory_promised, p.hugepages[0].pages)
                                  for p in got.parts], [(4, GIB, 8)])
    directive = agent.wait("reserve")
    check("Place: the agent was told, and had it when the answer came",
          directive and directive.reserve.id == got.id and got.id in agent.held, directive)
    same("Place: asked again with the same request_id",
         stub.Place(asked, timeout=PATIENCE).reservations[0].id, got.id)
    same("Place: another request with it", status_of(stub.Place, scheduler_pb2.PlaceRequest(
        pods=[pod(cpus=1)], request_id="r1"))[0], "INVALID_ARGUMENT")
    listed = stub.ListReservations(scheduler_pb2.ListReservationsRequest(node="py"),
                                   timeout=PATIENCE).reservations
    same("ListReservations", [(r.id, r.state) for r in listed],
         [(got.id, scheduler_pb2.RESERVATION_STATE_HELD)])
    # A container takes it: the report says so.
    with agent.order:
        agent.bound[got.id] = agent.held.pop(got.id)
    agent.send_change(containers=[node_pb2.Container(
        id="c1", state=node_pb2.CONTAINER_STATE_ACTIVE, reservation=got.id, cpus="0-3",
        numa_nodes=got.numa_nodes)])
    check("ListReservations: bound to its container", eventually(
        lambda: [(r.state, r.container) for r in stub.ListReservations(
            scheduler_pb2.ListReservationsRequest(), timeout=PATIENCE).reservations] ==
        [(scheduler_pb2.RESERVATION_STATE_BOUND, "c1")]))
    with agent.order:
        agent.bound.pop(got.id)
        agent.send_room(gone=["c1"])
    check("and gone with it", eventually(lambda: not stub.ListReservations(
        scheduler_pb2.ListReservationsRequest(), timeout=PATIENCE).reservations))


def settled(stub, agent):
    """Until the agent holds nothing, and its last report has come, in which all is free."""
    def free():
        [node] = stub.ListNodes(scheduler_pb2.ListNodesRequest(names=["py"]), timeout=PATIENCE).nodes
        return (not agent.held and node.report.sequence == agent.sequence and
                all(n.cpus_free == 8 for n in node.report.numa_nodes))
    return eventually(free)


def check_groups(stub, agent):
    three = [pod(name=f"p{i}", cpus=8) for i in range(3)]
    status, why = status_of(stub.Place, scheduler_pb2.PlaceRequest(pods=three))
    check("Place: a group is placed as a whole or not at all",
          status == "RESOURCE_EXHAUSTED" and "pod 3 of 3" in why, f"{status} {why}")
    same("and leaves nothing behind", len(stub.ListReservations(
        scheduler_pb2.ListReservationsRequest(), timeout=PATIENCE).reservations), 0)
    two = stub.Place(scheduler_pb2.PlaceRequest(pods=three[:2], confirmed=True), timeout=PATIENCE)
    same("two of them fit, each on its NUMA node", sorted(r.numa_nodes for r in two.reservations),
         ["0", "1"])
    out = stub.Release(scheduler_pb2.ReleaseRequest(ids=[r.id for r in two.reservations] + ["f" * 16]),
                       timeout=PATIENCE)
    same("Release: of what was there", out.released, 2)
    check("Release: and the room is free again", settled(stub, agent))
    for what, bad in (("no pods", scheduler_pb2.PlaceRequest()),
                      ("a list of nodes that is none", scheduler_pb2.PlaceRequest(
                          pods=[pod(cpus=1, numa_nodes="x")])),
                      ("a node that is not there", scheduler_pb2.PlaceRequest(
                          pods=[pod(cpus=1, node="ghost")]))):
        status, why = status_of(stub.Place, bad)
        check(f"Place: {what} is refused in one line",
              status in ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED") and why and
              "\n" not in why, f"{status} {why}")


def check_explain(stub):
    good = stub.Explain(scheduler_pb2.ExplainRequest(pods=[pod(cpus=2)]), timeout=PATIENCE)
    check("Explain: what fits", good.fits and good.reservations[0].node == "py" and
          not good.reservations[0].id and good.fitting == 1 and good.considered == 1, good)
    bad = stub.Explain(scheduler_pb2.ExplainRequest(pods=[pod(cpus=9)]), timeout=PATIENCE)
    check("Explain: what does not, and why on each machine", not bad.fits and
          "9 CPUs" in bad.nodes[0].reason and not bad.nodes[0].fits, bad)


def check_watch(stub, agent):
    events = stub.WatchNodes(scheduler_pb2.WatchNodesRequest(containers=True), timeout=PATIENCE)
    first, second = next(events), next(events)
    check("WatchNodes: every node, then synced",
          first.node.report.name == "py" and first.node.state == scheduler_pb2.NODE_STATE_READY and
          second.synced, f"{first} {second}")
    changed = node_pb2.NumaNode()
    changed.CopyFrom(agent.report.numa_nodes[1])
    changed.memory_allocatable = 3 * GIB
    agent.send_change(numa_nodes=[changed])
    # Each event has a node's whole state, but what is looked for need not be in the next one.
    check("WatchNodes: a change, and the rest as it was", any(
        [n.memory_allocatable for n in event.node.report.numa_nodes] == [16 * GIB, 3 * GIB]
        for event in until_deadline(events)))
    events.cancel()
    nodes = stub.ListNodes(scheduler_pb2.ListNodesRequest(names=["py", "none", "py"]),
                           timeout=PATIENCE).nodes
    same("ListNodes: by name", [(n.report.name, n.report.version) for n in nodes], [("py", "0.0.9")])
    agent.send_change(numa_nodes=[agent.report.numa_nodes[1]])


def check_fences(stub, agent):
    fenced = len([d for d in agent.directives if d.WhichOneof("kind") == "fence"])
    held = stub.Place(scheduler_pb2.PlaceRequest(pods=[pod(cpus=1, numa_nodes="0")], confirmed=True),
                      timeout=PATIENCE).reservations[0]
    done = []
    fence = stub.Fence.future(scheduler_pb2.FenceRequest(node="py", numa_nodes="0"), timeout=PATIENCE)
    fence.add_done_callback(done.append)
    directive = agent.wait("fence", fenced + 1)
    check("Fence: the agent is told", directive and directive.fence.numa_nodes == "0", directive)
    status, why = status_of(stub.Place, scheduler_pb2.PlaceRequest(pods=[pod(cpus=1, numa_nodes="0")]))
    check("Fence: nothing new is placed", status == "RESOURCE_EXHAUSTED" and "fenced" in why,
          f"{status} {why}")
    check("Fence: it waits for the reservation under it", not done)
    stub.Release(scheduler_pb2.ReleaseRequest(ids=[held.id]), timeout=PATIENCE)
    same("Fence: and answers when that is gone", fence.result().revoked, 0)
    stub.Unfence(scheduler_pb2.UnfenceRequest(node="py", numa_nodes="0"), timeout=PATIENCE)
    stub.Place(scheduler_pb2.PlaceRequest(pods=[pod(cpus=1, numa_nodes="0")], confirmed=True),
               timeout=PATIENCE)
    same("Fence: revoking does not wait", stub.Fence(scheduler_pb2.FenceRequest(
        node="py", numa_nodes="0", revoke=True), timeout=PATIENCE).revoked, 1)
    stub.Unfence(scheduler_pb2.UnfenceRequest(node="py", numa_nodes="0"), timeout=PATIENCE)
    check("Unfence: and the room is free again", settled(stub, agent))


def check_streams(stub, channel, agent, gone):
    """What a Report stream must not do."""
    def first_error(*requests):
        try:
            for _ in stub.Report(iter(requests), timeout=PATIENCE):
                pass
            return "OK", ""
        except grpc.RpcError as error:
            return error.code().name, error.details()

    def asked(report):
        return scheduler_pb2.ReportRequest(report=report)

    late = full_report("late")
    late.sequence = 7
    gap = full_report("gap")
    gap.sequence = 3
    part = full_report("part")
    part.full = False
    for what, wanted, requests in (
            ("a beginning that is not full", "INVALID_ARGUMENT", [asked(part)]),
            ("a beginning with another number", "INVALID_ARGUMENT", [asked(late)]),
            ("a heartbeat first", "INVALID_ARGUMENT",
             [scheduler_pb2.ReportRequest(heartbeat=scheduler_pb2.Heartbeat())]),
            ("a gap", "ABORTED", [asked(full_report("gap")), asked(gap)]),
            ("a second agent of a node", "ALREADY_EXISTS", [asked(full_report("py"))])):
        status, why = first_error(*requests)
        check(f"Report: {what} ends the stream", status == wanted and why, f"{status} {why}")
    # A newer agent's fields and kinds mean nothing, and do no harm.
    newer = full_report("newer")
    newer.MergeFromString(b"\xf2\x7f\x03new")  # field 2046, as bytes
    other = FakeAgent(channel, newer)
    check("Report: unknown fields are passed over", other.wait("welcome"), other.error)
    other.out.put(scheduler_pb2.ReportRequest.FromString(b"\xf2\x7f\x03new"))
    other.send_change()
    check("Report: and an unknown kind", eventually(lambda: [
        n.report.sequence for n in stub.ListNodes(scheduler_pb2.ListNodesRequest(names=["newer"]),
                                                  timeout=PATIENCE).nodes] >= [2]))
    other.close()
    refuser = FakeAgent(channel, full_report("refuser"), obeys=False)
    refuser.wait("welcome")
    status, why = status_of(stub.Place, scheduler_pb2.PlaceRequest(
        pods=[pod(cpus=1, node="refuser")], confirmed=True))
    check("Place: an agent that refuses is believed",
          status in ("RESOURCE_EXHAUSTED", "ABORTED", "UNAVAILABLE") and "no room" in why,
          f"{status} {why}")
    refuser.close()
    agent.close()
    check("a node whose agent has gone is stale", gone())
    status, why = status_of(stub.Place, scheduler_pb2.PlaceRequest(pods=[pod(cpus=1, node="py")]))
    check("and gets nothing new", status == "RESOURCE_EXHAUSTED" and "py" in why, f"{status} {why}")


def check_scheduler(temp):
    patience = Patience(temp)
    with start_scheduler(f"{temp}/data", config=patience.path) as server, \
            channel_to(f"127.0.0.1:{server.port}") as channel:
        check_standard("scheduler", f"127.0.0.1:{server.port}", "numastow.v1.Scheduler")
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        agent = FakeAgent(channel, full_report("py", pages=64))
        check("Report: welcomed", agent.wait("welcome") and
              agent.directives[0].welcome.heartbeat_interval == 60 * SECOND, agent.error)
        check_place(stub, agent)
        check_groups(stub, agent)
        check_explain(stub)
        check_watch(stub, agent)
        check_fences(stub, agent)
        check_streams(stub, channel, agent, lambda: patience.await_stale(server, stub, "py"))


# --- two agents with one name ---------------------------------------------------------------------


def check_rivals(temp):
    """The agent that has the node keeps it, the other one asks more and more rarely; when the first has ended, the
    other has the node."""
    refused = "another agent reports for a node that has one: it is refused"
    with start_scheduler(f"{temp}/rivals") as server, \
            start_agent(Machine(f"{temp}/first"), "one", server.port) as first:
        check("rivals: the first is connected", server.wait("node connected", node="one"), server.said[-3:])
        with start_agent(Machine(f"{temp}/second"), "one", server.port) as second:
            tries = eventually(lambda: (found := logged(second, "no scheduler")) and len(found) >= 4 and found[:4]) or []
            check("rivals: the second is told whom the node has", len(tries) == 4 and all(
                "another agent reports for node one, from ipv4:127.0.0.1:" in line["error"] for line in tries),
                second.so_far()[-3:])
            check("rivals: it pauses longer each time", all(
                100 << n <= line["next_try_ms"] <= 200 << n for n, line in enumerate(tries)), tries)
            said = logged(server, refused)
            check("rivals: the scheduler says once that there are two, and where", len(said) == 1 and
                  said[0]["node"] == "one" and said[0]["has"] in tries[0]["error"] and said[0]["refused"], said)
            same("rivals: the first is left alone", (len(logged(server, "node connected")),
                                                     logged(first, "no scheduler")), (1, []))
            first.stop()
            check("rivals: the second has the node when the first has ended", eventually(
                lambda: len(logged(server, "node connected")) == 2), server.so_far()[-3:])


def check_thaw(temp):
    """An agent that is silent loses its node to another; when it is back, it is the one that is refused."""
    patience = Patience(temp)
    with start_scheduler(f"{temp}/thaw", config=patience.path) as server, \
            channel_to(f"127.0.0.1:{server.port}") as channel, \
            channel_to(f"127.0.0.1:{server.port}", **{"grpc.use_local_subchannel_pool": 1}) as other:
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        frozen = FakeAgent(other, full_report("two"))
        frozen.wait("welcome")
        frozen.heart.set()
        check("a silent agent: its node is stale", patience.await_stale(server, stub, "two"))
        heir = FakeAgent(channel, full_report("two"))
        check("a silent agent: another takes the node over", heir.wait("welcome"), heir.error)
        check("a silent agent: its stream ends", eventually(lambda: frozen.error) and
              frozen.error.code() == grpc.StatusCode.ABORTED and "taken over" in frozen.error.details(), frozen.error)
        patience.set("60s")
        server.process.send_signal(signal.SIGHUP)
        check("a silent agent: settings", eventually(lambda: len(logged(server, "reloaded")) == 2))
        heir.send_change()
        back = FakeAgent(other, full_report("two"))
        back.wait("welcome")
        check("a silent agent, back: it is refused", back.error and
              back.error.code() == grpc.StatusCode.ALREADY_EXISTS, back.error)
        same("a silent agent, back: the other is left alone", heir.error, None)
        for agent in (frozen, heir, back):
            agent.close()


# --- IPv6 -----------------------------------------------------------------------------------------


def check_six(temp):
    """Addresses of IPv6, with brackets wherever they are shown."""
    if not has_six():
        skip("IPv6", "this machine has no ::1")
        return
    nobody = f"[::1]:{free_port()}"
    with start_scheduler(f"{temp}/six", "--metrics", f"[::1]:{free_port()}", listen="[::1]:0") as server, \
            start_agent(Machine(f"{temp}/six-m"), "six", 0, "--scheduler", f"{nobody},[::1]:{server.port}",
                        "--metrics", f"[::1]:{free_port()}") as agent:
        found = server.wait("node connected", node="six")
        check("IPv6: an agent is connected", found and found["from"].startswith("ipv6:[::1]:"), server.said[-3:])
        tries = logged(agent, "no scheduler")
        check("IPv6: it has tried both of its schedulers", tries and tries[0]["address"] == nobody and
              "%5B" not in tries[0]["error"], tries)
        for program in (server, agent):
            check("IPv6: /healthz", eventually(lambda p=program: fetch(p, "/healthz")[0] == 200),
                  fetch(program, "/healthz"))
        at = f"[::1]:{server.port}"
        check("IPv6: numastow nodes", eventually(lambda: command("nodes", options=(
            "--scheduler", at)).out.find("six") >= 0), command("nodes", options=("--scheduler", at)))
        placed = command("place", "cpus=1", options=("--scheduler", at))
        same("IPv6: numastow place", placed.code, 0)
        said = server.wait("request", method="Place")
        check("IPv6: the audit has the address", said and said["address"].startswith("ipv6:[::1]:"), said)
        result = command("nodes", options=("--scheduler", nobody))
        check("IPv6: an error names the address", result.one_line() and nobody in result.err and
              "%5B" not in result.err, result)


# --- the agent ------------------------------------------------------------------------------------


class Watched:
    """A machine as its reports show it. One event has what has changed since the last one, which is all
    of it for whoever reads slowly: nothing can be expected of a single event."""

    def __init__(self, events):
        self.events, self.numa_nodes, self.containers = until_deadline(events), {}, {}

    def __next__(self):
        event = next(self.events)
        if event.full:
            self.numa_nodes, self.containers = {}, {}
        self.numa_nodes.update((n.id, n) for n in event.numa_nodes)
        self.containers.update((c.id, c) for c in event.containers)
        for name in event.gone:
            self.containers.pop(name, None)
        return event

    def until(self, test):
        """Reads on until that holds; False at the stream's end."""
        try:
            while not test():
                next(self)
            return True
        except StopIteration:
            return False

    def __repr__(self):
        return f"{self.numa_nodes} {self.containers}"


def check_agent(temp):
    machine = Machine(f"{temp}/m")
    with start_agent(machine, "m", 0) as program, channel_to(f"unix:{program.socket}") as channel:
        check_standard("agent", f"unix:{program.socket}", "numastow.v1.Agent")
        stub = agent_pb2_grpc.AgentStub(channel)
        report = stub.GetNode(agent_pb2.GetNodeRequest(), timeout=PATIENCE)
        same("GetNode", (report.name, report.full, [n.cpus for n in report.numa_nodes],
                         [list(n.distances) for n in report.numa_nodes]),
             ("m", True, ["0-3", "4-7"], [[10, 21], [21, 10]]))
        events = stub.WatchNode(agent_pb2.WatchNodeRequest(), timeout=PATIENCE)
        seen = Watched(events)
        check("WatchNode: full first", next(seen).full)
        result = hook(machine, "apply", machine.container(
            "web", {ASK + "cpus": "2", ASK + "cpu-mode": "exclusive", ASK + "memory": "1Gi"}))
        check("a container comes", result.code == 0, result)
        check("WatchNode: the container, and what it takes", seen.until(
            lambda: "web" in seen.containers and
            seen.containers["web"].state == node_pb2.CONTAINER_STATE_ACTIVE and
            sum(n.memory_promised for n in seen.numa_nodes.values()) == GIB), seen)
        listed = stub.ListContainers(agent_pb2.ListContainersRequest(ids=["web"]),
                                     timeout=PATIENCE).containers
        same("ListContainers", [(c.id, c.exclusive, c.owner) for c in listed],
             [("web", True, node_pb2.CONTAINER_OWNER_NUMASTOW)])
        same("ListContainers: of an id that is not there", len(stub.ListContainers(
            agent_pb2.ListContainersRequest(ids=["none"]), timeout=PATIENCE).containers), 0)
        shown = stub.ShowLedger(agent_pb2.ShowLedgerRequest(json=True), timeout=PATIENCE).text
        same("ShowLedger: what numastow prints", json.loads(shown), json.loads(subprocess.run(
            [NUMASTOW, "ledger", "--json", "--sysroot", machine.path],
            capture_output=True, check=True).stdout))
        shown = stub.ShowLedger(agent_pb2.ShowLedgerRequest(history=True, id="we"),
                                timeout=PATIENCE).text
        check("ShowLedger: what happened", "placed" in shown and "web" in shown, shown)
        good = stub.Explain(agent_pb2.AgentExplainRequest(pod=pod(cpus=2)), timeout=PATIENCE)
        bad = stub.Explain(agent_pb2.AgentExplainRequest(pod=pod(cpus=5)), timeout=PATIENCE)
        check("Explain", good.fits and good.cpus and not bad.fits and "5 CPUs" in bad.reason,
              f"{good} {bad}")
        same("Explain: nothing asked", status_of(stub.Explain, agent_pb2.AgentExplainRequest())[0],
             "INVALID_ARGUMENT")
        plan = list(stub.Repin(agent_pb2.RepinRequest(id="web", dry_run=True), timeout=PATIENCE))
        other = {"0": "1", "1": "0"}[listed[0].numa_nodes]
        same("Repin: a plan", [(p.step, p.to) for p in plan], [(agent_pb2.REPIN_STEP_PLANNED, other)])
        status, why = status_of(stub.Repin, agent_pb2.RepinRequest(id="ghost"))
        check("Repin: of nobody", status == "NOT_FOUND" and "ghost" in why, f"{status} {why}")
        status, why = status_of(stub.Repin, agent_pb2.RepinRequest(id="web", numa_nodes="9-"))
        check("Repin: to nodes that are none", status == "INVALID_ARGUMENT" and "numa_nodes" in why,
              f"{status} {why}")
        machine.end("web")
        hook(machine, "release", machine.state("web", status="stopped"))
        check("WatchNode: it is gone, and what it took", seen.until(
            lambda: not seen.containers and
            not sum(n.memory_promised for n in seen.numa_nodes.values())), seen)
        events.cancel()
        check("it ends", eventually(lambda: not stub.ListContainers(
            agent_pb2.ListContainersRequest(), timeout=PATIENCE).containers))


# --- a scheduler in Python ------------------------------------------------------------------------


class FakeScheduler(scheduler_pb2_grpc.SchedulerServicer):
    """Takes reports, and says what it is told to."""

    def __init__(self):
        self.got, self.streams = [], 0
        self.news = threading.Condition()
        self.say = None
        self.asked = []
        self.renewals = 0  # how often a stream ends because the connection is renewed
        self.node = scheduler_pb2.Node(report=full_report("far"), state=scheduler_pb2.NODE_STATE_READY,
                                       last_seen=time.time_ns(), fenced="1")
        self.leader = None
        self.reservation = scheduler_pb2.Reservation(
            id="00112233445566aa", node="far", numa_nodes="0", annotation="00112233445566aa:0@far",
            reason="because", expires=time.time_ns() + 300 * SECOND)

    def Report(self, requests, context):
        import queue
        out = queue.Queue()
        with self.news:
            self.streams += 1
            self.say = out.put
            self.end = lambda: out.put(None)
        # A stream that is gone must not keep its thread: Python waits for it at its end.
        context.add_callback(self.end)

        def read():
            try:
                for request in requests:
                    with self.news:
                        self.got.append(request)
                        self.news.notify_all()
            except Exception:  # the stream has ended
                pass

        threading.Thread(target=read, daemon=True).start()
        while (directive := out.get()) is not None:
            yield directive
        context.abort(grpc.StatusCode.UNAVAILABLE, "over")

    def wait(self, test):
        with self.news:
            self.news.wait_for(lambda: any(map(test, self.got)), PATIENCE)
            return next(filter(test, self.got), None)

    def record(name, answer):  # pylint: disable=no-self-argument
        def method(self, request, context):
            self.asked.append((name, request))
            return answer(self)
        return method

    Place = record("Place", lambda s: scheduler_pb2.PlaceResponse(reservations=[s.reservation]))
    Release = record("Release", lambda s: scheduler_pb2.ReleaseResponse(released=1))
    Explain = record("Explain", lambda s: scheduler_pb2.ExplainResponse(
        fits=False, reason="full", considered=2, nodes=[scheduler_pb2.NodeVerdict(
            node="far", reason="9 CPUs are too many")]))
    ListNodes = record("ListNodes", lambda s: scheduler_pb2.ListNodesResponse(nodes=[s.node], leader=s.leader))
    ListReservations = record("ListReservations", lambda s: scheduler_pb2.ListReservationsResponse(
        reservations=[s.reservation]))
    Fence = record("Fence", lambda s: scheduler_pb2.FenceResponse(revoked=3))
    Unfence = record("Unfence", lambda s: scheduler_pb2.UnfenceResponse())

    def renew(self, context):
        if self.renewals:
            self.renewals -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is renewed: connect again")

    def DrainMemory(self, request, context):
        self.asked.append(("DrainMemory", request))
        yield drain_pb2.DrainProgress(id="d1", step=drain_pb2.DRAIN_STEP_FENCED)
        self.renew(context)
        yield drain_pb2.DrainProgress(id="d1", step=drain_pb2.DRAIN_STEP_DONE)

    def WatchNodes(self, request, context):
        self.asked.append(("WatchNodes", request))
        self.renew(context)
        yield scheduler_pb2.NodeEvent(node=self.node)
        yield scheduler_pb2.NodeEvent(synced=True)
        yield scheduler_pb2.NodeEvent(gone="far")


def check_directives(temp):
    """Our agent with a scheduler that is not ours."""
    machine, fake = Machine(f"{temp}/d"), FakeScheduler()
    direct = scheduler_pb2.Directive
    keep = scheduler_pb2.Reservation(
        id="0123456789abcdef", node="d", numa_nodes="1", expires=time.time_ns() + 3600 * SECOND,
        pod=pod(cpus=2, memory=GIB), parts=[node_pb2.ContainerPart(
            numa_node=1, cpus=2, memory_promised=GIB)])

    def result(number):
        got = fake.wait(lambda r: r.WhichOneof("kind") == "result" and r.result.directive == number)
        return got and (got.result.code, got.result.message)

    with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as port, \
            start_agent(machine, "d", port) as program:
        first = fake.wait(lambda r: r.WhichOneof("kind") == "report")
        check("the agent's first report is full", first and first.report.full and
              first.report.sequence == 1 and len(first.report.numa_nodes) == 2, first)
        fake.say(direct(id=1, welcome=scheduler_pb2.Welcome(
            version="9", heartbeat_interval=SECOND, fenced="0", reservations=[keep])))
        same("Welcome is obeyed", result(1), (0, ""))
        got = fake.wait(lambda r: keep.id in r.report.reservations)
        check("the reservation is held, and counted", got and
              got.report.numa_nodes[-1].cpus_free == 2, got)
        check("the fence is reported", fake.wait(lambda r: any(
            n.id == 0 and n.state == node_pb2.NUMA_NODE_STATE_FENCED for n in r.report.numa_nodes)))
        check("heartbeats come", fake.wait(lambda r: r.WhichOneof("kind") == "heartbeat"))
        fake.say(direct(id=2, reserve=scheduler_pb2.Reservation(
            id="00000000000000bb", node="d", numa_nodes="1", expires=time.time_ns() + 3600 * SECOND,
            pod=pod(cpus=3), parts=[node_pb2.ContainerPart(numa_node=1, cpus=3)])))
        code, why = result(2) or (0, "")
        check("a reservation without room is refused with the reason",
              code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0] and "CPU" in why, f"{code} {why}")
        fake.say(direct.FromString(b"\x08\x03\xf2\x7f\x03new"))
        same("a directive of a newer scheduler", (result(3) or (0, ""))[0],
             grpc.StatusCode.UNIMPLEMENTED.value[0])
        fake.say(direct(id=4, report=scheduler_pb2.ReportAgain()))
        check("asked to report again, it reports in full",
              fake.wait(lambda r: r.report.full and r.report.sequence > 1))
        numbers = [r.report.sequence for r in fake.got if r.WhichOneof("kind") == "report"]
        same("its reports are numbered without a gap", numbers, list(range(1, len(numbers) + 1)))
        fake.say(direct(id=5, fence=scheduler_pb2.SetFence(numa_nodes="")))
        same("a fence goes", result(5), (0, ""))
        fake.say(direct(id=6, cancel=scheduler_pb2.CancelReservation(id=keep.id)))
        same("a reservation is cancelled", result(6), (0, ""))
        # A scheduler that another one has taken over from: paused for longer than its lease, say.
        fake.say(direct(id=7, epoch=9, fence=scheduler_pb2.SetFence(numa_nodes="")))
        same("a directive of a later epoch is obeyed", result(7), (0, ""))
        seen = fake.streams
        fake.say(direct(id=8, epoch=8, fence=scheduler_pb2.SetFence(numa_nodes="1")))
        said = program.wait("no scheduler")
        check("one of an old epoch is refused, and says which",
              said and "old epoch, 8" in said["error"] and "epoch 9" in said["error"], said)
        check("the agent goes on to the next scheduler", eventually(lambda: fake.streams > seen))
        fake.say(direct(id=9, epoch=9, welcome=scheduler_pb2.Welcome(
            version="9", heartbeat_interval=SECOND)))
        same("which it obeys", result(9), (0, ""))
        check("nothing is fenced", not [r for r in fake.got for n in r.report.numa_nodes
                                        if n.id == 1 and n.state == node_pb2.NUMA_NODE_STATE_FENCED])
        seen = fake.streams
        fake.end()
        check("it comes again when the stream ends", eventually(lambda: fake.streams > seen))
        # The same when it was started anew meanwhile.
        program.stop()
        seen = fake.streams
        with start_agent(machine, "d", port) as again:
            check("an agent that was started anew comes", eventually(lambda: fake.streams > seen))
            fake.say(direct(id=10, epoch=8, welcome=scheduler_pb2.Welcome(
                version="9", heartbeat_interval=SECOND, fenced="1")))
            said = again.wait("no scheduler")
            check("it still knows the epoch", said and "old epoch, 8" in said["error"] and
                  "epoch 9" in said["error"], said)
            machine_says = machine.file("/run/numastow/epoch")
            with open(machine_says, encoding="ascii") as handle:
                same("which is in a file", handle.read(), "9\n")
            check("that root alone reads", os.stat(machine_says).st_mode & 0o777 == 0o600)


class FakeNodeAgent(agent_pb2_grpc.AgentServicer):
    def __init__(self):
        self.cancelled = threading.Event()
        self.repinned = []

    def GetNode(self, request, context):
        return full_report("near")

    def ListContainers(self, request, context):
        known = [node_pb2.Container(id="c1", name="web", cpus="0-1", numa_nodes="0", state=node_pb2.CONTAINER_STATE_ACTIVE,
                                    owner=node_pb2.CONTAINER_OWNER_KUBELET, created=2),
                 node_pb2.Container(id="c0", name="old", cpus="2", numa_nodes="0", state=node_pb2.CONTAINER_STATE_ACTIVE, created=1),
                 node_pb2.Container(id="c9", state=node_pb2.CONTAINER_STATE_LEASE, created=3)]
        return agent_pb2.ListContainersResponse(containers=[c for c in known if not request.ids or c.id in request.ids])

    def Repin(self, request, context):
        context.add_callback(self.cancelled.set)
        self.repinned.append(request.id)
        if request.id == "lost":
            context.abort(grpc.StatusCode.NOT_FOUND, "no container lost")
        step = agent_pb2.RepinProgress
        yield step(step=agent_pb2.REPIN_STEP_PLANNED, to="1", cpus="4-5", message="roomy")
        yield step(step=agent_pb2.REPIN_STEP_WIDENED)
        yield step(step=agent_pb2.REPIN_STEP_MOVING, total=4 * MIB, moved=2 * MIB)
        if request.id == "slow":
            self.cancelled.wait(PATIENCE)
            return
        yield step(step=agent_pb2.REPIN_STEP_NARROWED, to="1")
        yield step(step=agent_pb2.REPIN_STEP_VERIFIED, to="1", moved=4 * MIB, left_unmapped=MIB,
                   longest_batch=1500000)


def check_interrupted():
    """Who waits for an answer that does not come can be stopped."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        waiting = subprocess.Popen([NUMASTOW, "nodes", "--config", "/dev/null", "--timeout", "1h",
                                    "--scheduler", f"127.0.0.1:{silent.getsockname()[1]}"],
                                   stderr=subprocess.DEVNULL)
        connection, _ = silent.accept()
        waiting.terminate()
        try:
            same("numastow nodes: a signal ends the waiting", waiting.wait(PATIENCE), -signal.SIGTERM)
        except subprocess.TimeoutExpired:
            check("numastow nodes: a signal ends the waiting", False)
            waiting.kill()
            waiting.wait()
        connection.close()


def check_command(temp):
    """numastow with servers that are not ours."""
    fake, near = FakeScheduler(), FakeNodeAgent()
    with python_server(scheduler_pb2_grpc.add_SchedulerServicer_to_server, fake) as port:
        def ask(what, words, pattern, code=0):
            result = command(*words, port=port)
            check(f"numastow {' '.join(words)}: {what}", result.code == code and
                  pattern in result.out, result.__repr__() + result.out)
            return result

        ask("the table", ["nodes"], "far")
        # By a clock that is a day ahead of this one, and by one that was set since.
        for ahead in (1, -1):
            fake.node.last_seen = time.time_ns() + ahead * 86400 * SECOND
            fake.node.silent_for = 7 * SECOND
            fake.leader = scheduler_pb2.Leader(name="far:7200", since=fake.node.last_seen, active_for=7200 * SECOND,
                                               store="sqlite:/far")
            ask(f"a clock {ahead} day off: how long it is silent", ["nodes", "--output", "NODE,SEEN"], " 7s\n")
            ask(f"a clock {ahead} day off: how long the leader leads", ["nodes"], "leader far:7200, for 2h,")
            ask(f"a clock {ahead} day off: one machine", ["node", "far"], ", seen 7s ago\n")
        fake.node.silent_for = 0  # an older scheduler does not tell it
        fake.node.last_seen, fake.leader.since, fake.leader.active_for = time.time_ns() - 3600 * SECOND, fake.leader.since, 0
        ask("an older scheduler", ["nodes", "--output", "NODE,SEEN"], " 60m\n")
        same("numastow nodes: its JSON is the message",
             json.loads(command("nodes", "--json", port=port).out)["nodes"][0]["report"]["name"], "far")
        ask("one machine", ["node", "far"], "NUMA nodes 1")
        ask("the annotation", ["place", "--annotation", "cpus=2", "memory=1Gi"],
            "numastow.io/reservation=00112233445566aa:0@far\n")
        same("numastow place: what it asked for", [
            (p.cpus, p.memory, p.policy) for p in fake.asked[-1][1].pods],
            [(2, GIB, scheduler_pb2.POLICY_SINGLE_NUMA_NODE)])
        ask("a group", ["place", "--pods", "2", "cpus=1", "+", "cpus=2", "hugepages-2Mi=4Mi"], "far")
        same("numastow place: of four pods", [
            (p.cpus, [h.pages for h in p.hugepages]) for p in fake.asked[-1][1].pods],
            [(1, []), (2, [2])] * 2)
        for inner in ({"numastow.io/cpus": "3"}, {"annotations": {"numastow.io/cpus": "3"}},
                      {"metadata": {"annotations": {"numastow.io/cpus": "3", "other": "1"}}}):
            with open(f"{temp}/asked.json", "w", encoding="utf-8") as handle:
                json.dump(inner, handle)
            ask("annotations of a file", ["place", "--file", f"{temp}/asked.json"], "far")
            same("numastow place: what the file asks for",
                 [p.cpus for p in fake.asked[-1][1].pods], [3])
        ask("given back", ["release", "--cluster", "00112233445566aa:0@far"], "released 1\n")
        same("numastow release: by id", list(fake.asked[-1][1].ids), ["00112233445566aa"])
        ask("the list", ["reservations"], "00112233445566aa")
        ask("no room", ["explain", "--cluster", "cpus=9"], "9 CPUs are too many", 3)
        ask("fenced", ["fence", "far", "0-1", "--revoke"], "3 reservations revoked")
        ask("unfenced", ["unfence", "far", "0-1"], "unfenced")
        ask("events", ["watch"], "far is gone")
        fake.renewals, began = 2, time.monotonic()
        ask("events, by a connection that is renewed", ["watch"], "far is gone")
        check("numastow watch: it pauses when it is sent away at once", time.monotonic() >= began + 2)
        fake.renewals = 1
        result = command("drain", "far", "--device", "dimm0", port=port)
        calls = [request.request_id for name, request in fake.asked if name == "DrainMemory"]
        check("numastow drain: it follows the same drain by a connection that is renewed", result.code == 0 and
              len(calls) == 2 and calls[0] == calls[1] != "", (result, calls))
        same("numastow drain: another one is another", len({*calls, (command(
            "drain", "far", "--device", "dimm0", port=port), fake.asked[-1][1].request_id)[1]}), 2)
        for schema, *words in (("nodes", "nodes"), ("node", "node", "far"), ("place", "place", "cpus=2"), ("reservations", "reservations"),
                               ("explain-cluster", "explain", "--cluster", "cpus=9"), ("fence", "fence", "far", "0"),
                               ("release-cluster", "release", "--cluster", "00112233445566aa"), ("unfence", "unfence", "far", "0"),
                               ("watch", "watch")):
            result = command(*words, "--json", port=port)
            check(f"{' '.join(words)} --json", result.code == (3 if schema == "explain-cluster" else 0), result)
            valid(schema, " ".join(words), result.out, lines=schema == "watch")
    result = command("nodes", port=port)
    check("numastow nodes: nobody there", result.one_line() and str(port) in result.err, result)
    check_interrupted()
    address = f"unix:{temp}/near.sock"
    with python_server(agent_pb2_grpc.add_AgentServicer_to_server, near, address):
        near_socket = f"{temp}/near.sock"
        result = command("node", socket=near_socket)
        check("numastow node: this machine", result.code == 0 and "near" in result.out, result)
        result = command("containers", socket=near_socket)
        check("numastow containers", "kubelet" in result.out and "c1" in result.out, result)
        result = command("repin", "c1", socket=near_socket)
        check("numastow repin: its steps", result.code == 0 and all(
            w in result.out for w in ("planned", "widened", "moving", "narrowed", "4Mi", "1.500 ms")),
            result.out)
        result = command("containers", "--last", socket=near_socket)
        check("numastow containers --last", result.code == 0 and "c1" in result.out and "c0" not in result.out, result)
        result = command("repin", "--last", socket=near_socket)
        check("numastow repin --last", result.code == 0 and "narrowed" in result.out and near.repinned[-1] == "c1", result)
        for words in (("containers", "--last", "c0"), ("repin", "--last", "c0"), ("repin",)):
            result = command(*words, socket=near_socket)
            check(f"numastow {' '.join(words)}: which", result.code == 2 and not result.out and "--last" in result.err, result)
        result = command("repin", "web", socket=near_socket)
        check("numastow repin: by name", result.code == 0 and "narrowed" in result.out, result)
        for schema, *words in (("node", "node"), ("containers", "containers"), ("repin", "repin", "c1")):
            result = command(*words, "-J", socket=near_socket)
            check(f"{words[0]} -J", result.code == 0, result)
            valid(schema, f"{words[0]} of the agent", result.out, lines=schema == "repin")
        result = command("repin", "lost", socket=near_socket)
        check("numastow repin: refused", result.one_line() and "no container lost" in result.err, result)


with Temp() as folder:
    check_scheduler(folder)
    check_rivals(folder)
    check_thaw(folder)
    check_six(folder)
    check_agent(folder)
    check_directives(folder)
    check_command(folder)
finish()
