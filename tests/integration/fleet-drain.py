#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Drains of memory as the scheduler runs them: turns and limits, fences and reservations, webhooks over
HTTP and HTTPS, cancelling, restarts (SIGKILL) in every phase, and agents that are too old, that were
restarted, or that lie. The agents are Python's; what a kernel does is tests/vm's."""
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import shlex
import socket
import sqlite3
import ssl
import threading
import time
import unittest.mock
import urllib.request

import grpc

import fleetlib
from daemons import PATIENCE, free_port
from fleetlib import (GIB, MIB, SECOND, FakeAgent, Growth, Patience, come_back, drain_pb2, eventually, full_report,
                      node_pb2, scheduler_pb2, scheduler_pb2_grpc, start_scheduler, status_of)
from harness import Temp, check, finish, run, same, skip
from kubelib import make_certificates

SECRET = b"not a secret at all\xff"
STEPS = {v.number: v.name[len("DRAIN_STEP_"):].lower() for v in drain_pb2.DrainStep.DESCRIPTOR.values}
(WAITING, PLANNED, FENCED, MOVING, OFFLINING, RETURNING, SAFE, REMOVED, UNDOING, DONE, PARTIAL, FAILED,
 CANCELLED) = range(1, 14)
EJECT, WAIT = drain_pb2.DRAIN_EJECT_EJECT, drain_pb2.DRAIN_EJECT_WAIT
STAYS, WHOLE, SHRINK = (drain_pb2.DRAIN_RELEASE_UNSPECIFIED, drain_pb2.DRAIN_RELEASE_DEVICE,
                        drain_pb2.DRAIN_RELEASE_SHRINK)


# --- who is told ----------------------------------------------------------------------------------


class Receiver:
    """A controller of a cloud: answers with the statuses that it is given, then with 200, and acts once
    on what it takes."""

    def __init__(self, *statuses, tls=None):
        self.statuses = list(statuses)
        self.tries, self.acted = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.take(dict(self.headers), body)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{tls}/tls.crt", f"{tls}/tls.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}/drains?of=fleet"

    def take(self, headers, body):
        self.tries.append((headers, body))
        status = self.statuses.pop(0) if self.statuses else 200
        key = headers["Idempotency-Key"]
        if status == 200 and key not in [k for k, _ in self.acted]:
            self.acted.append((key, json.loads(body)))
        return status

    def events(self, drain=None):
        return [b["event"] for _, b in self.acted if drain in (None, b["drain"])]

    def wait(self, *wanted, drain=None):
        return eventually(lambda: self.events(drain) == list(wanted))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def is_signed(headers, body):
    stamp = headers["X-Numastow-Timestamp"]
    mac = hmac.new(SECRET, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return (headers["X-Numastow-Signature"] == f"sha256={mac}" and
            abs(int(stamp) - time.time()) < 600)


# --- who does it ----------------------------------------------------------------------------------


def plan_of(numa=1, blocks=range(48, 56), **fields):
    listed = [drain_pb2.DrainBlock(id=b, bytes=128 * MIB, zone="Movable") for b in blocks]
    return drain_pb2.DrainPlan(blocks=listed, bytes=128 * MIB * len(listed), numa_node=numa,
                               device="dimm0", device_path="\\_SB_.MHPC.MP00", address=0x180000000,
                               **fields)


class DrainAgent(FakeAgent):
    """Plans at once, unless it is told otherwise, and then does what the test makes it do. It has what it
    was told to do until the scheduler says that it has heard of the end."""

    def __init__(self, channel, name, plan=None, domain="", refuses=0, mute=False, has=()):
        self.plan, self.refuses, self.mute = plan or plan_of(), refuses, mute
        self.orders, self.plans, self.cancels = [], [], []
        report = full_report(name)
        report.failure_domain = domain
        self.first = dict.fromkeys(has)
        super().__init__(channel, report)

    def send(self, report):
        self.drains = {**self.first, **self.drains}
        self.first = {}
        super().send(report)

    def say(self, drain, step, **fields):
        if step in (SAFE, REMOVED, DONE):  # a whole device, unless it is said otherwise
            fields.setdefault("release", WHOLE)
        self.out.put(scheduler_pb2.ReportRequest(
            drain=drain_pb2.DrainProgress(id=drain, step=step, **fields)))

    def act(self, directive, kind):
        code, text = 0, ""
        if kind == "drain" and self.refuses:
            code, text = self.refuses, "no such directive"
        elif kind == "drain" and directive.drain.plan:
            self.plans.append(directive.drain)
            if not self.mute:
                self.say(directive.drain.id, PLANNED, plan=self.plan, message="8 blocks")
        elif kind == "drain":
            self.orders.append(directive.drain)
            self.drains[directive.drain.id] = directive.drain
        elif kind == "cancel_drain":
            self.cancels.append(directive.cancel_drain.id)
            if directive.cancel_drain.id not in self.drains:
                code, text = grpc.StatusCode.NOT_FOUND.value[0], "no such drain"
        self.answer(directive, code, text)

    def ordered(self, drain, number=1):
        return eventually(lambda: [o.id for o in self.orders].count(drain) >= number)


class Call(threading.Thread):
    """A DrainMemory under way: what it was told so far."""

    def __init__(self, stub, node, **fields):
        super().__init__(daemon=True)
        spec = {k: fields.pop(k) for k in list(fields) if k not in
                ("dry_run", "revoke", "request_id")}
        spec = spec if {"blocks", "device"} & set(spec) else {"numa_node": 1, **spec}
        self.asked = scheduler_pb2.DrainMemoryRequest(node=node, spec=drain_pb2.DrainSpec(**spec),
                                                      **fields)
        self.told, self.status, self.why = [], None, ""
        self.stream = stub.DrainMemory(self.asked)
        self.start()

    def run(self):
        try:
            for progress in self.stream:
                self.told.append(progress)
            self.status = "OK"
        except grpc.RpcError as error:
            self.status, self.why = error.code().name, error.details()

    @property
    def id(self):
        eventually(lambda: self.told or self.status)
        return self.told[0].id if self.told else None

    def steps(self):
        seen = []
        for progress in self.told:
            if progress.step not in seen:
                seen.append(progress.step)
        return seen

    def last(self):
        return self.told[-1] if self.told else drain_pb2.DrainProgress()

    def wait(self, step):
        return eventually(lambda: self.last().step == step or
                          (self.status and self.last().step == step))

    def ended(self):
        eventually(lambda: self.status)
        return self.last().step if self.status == "OK" else self.status


class Fleet:
    """A scheduler, and agents by name; the scheduler may be killed and started again."""

    def __init__(self, folder, *options, **machines):
        self.data, self.options = f"{folder}/data", options
        self.patience = Patience(folder)
        self.agents = {}
        self.up()
        for name, fields in machines.items():
            self.join(name, **fields)

    def up(self):
        self.program = start_scheduler(self.data, *self.options, config=self.patience.path)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.program.port}",
                                             options=[("grpc.enable_http_proxy", 0)])
        self.stub = scheduler_pb2_grpc.SchedulerStub(self.channel)

    def join(self, name, **fields):
        agent = self.agents[name] = come_back(lambda: DrainAgent(self.channel, name, **fields))
        if not agent or not agent.wait("welcome"):
            check(f"{name} is welcomed", False, agent and agent.error)
        return agent

    def leave(self, name):
        """The machine's agent hangs up, and the scheduler notices that it is silent."""
        self.agents[name].close()
        check(f"{name} is stale", self.patience.await_stale(self.program, self.stub, name))

    def kill(self):
        self.program.process.kill()
        self.program.process.wait()
        for agent in self.agents.values():
            agent.heart.set()

    def again(self, **machines):
        """Killed, and started again; with these agents, of those that were there by default."""
        old = self.agents
        self.kill()
        self.channel.close()
        self.up()
        self.agents = {}
        for name, agent in old.items():
            fields = {"has": list(agent.drains), "domain": agent.report.failure_domain}
            self.join(name, **{**fields, **machines.get(name, {})})

    def drain(self, node, **fields):
        return Call(self.stub, node, **fields)

    def listed(self, **fields):
        return self.stub.ListDrains(scheduler_pb2.ListDrainsRequest(**fields), timeout=PATIENCE).drains

    def cancel(self, drain):
        return self.stub.CancelDrain(scheduler_pb2.CancelDrainRequest(id=drain), timeout=PATIENCE).id

    def fenced(self, name):
        [node] = self.stub.ListNodes(scheduler_pb2.ListNodesRequest(names=[name]),
                                     timeout=PATIENCE).nodes
        return node.fenced

    def place(self, node, numa, **fields):
        return status_of(self.stub.Place, scheduler_pb2.PlaceRequest(pods=[scheduler_pb2.PodRequest(
            cpus=1, node=node, numa_nodes=numa)], **fields))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for agent in self.agents.values():
            agent.close()
        self.channel.close()
        self.program.stop()


def secret(folder):
    with open(f"{folder}/secret", "wb") as handle:
        handle.write(SECRET + b"\n")
    return ["--webhook-secret", f"{folder}/secret"]


def finish_drain(agent, drain, *steps):
    """What an agent says that does it all."""
    for step in steps or (MOVING, OFFLINING, SAFE, DONE):
        gone = {"blocks_gone": "48-55", "bytes_offline": GIB} if step >= SAFE else {}
        agent.say(drain, step, bytes_total=GIB, blocks_total=8, **gone)


# --- receivers with bad intentions ----------------------------------------------------------------


class Bad:
    """A receiver that answers with this, and then with the rest again and again."""

    def __init__(self, first, rest=b"", pause=0):
        self.first, self.rest, self.pause, self.asked = first, rest, pause, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(sock,), daemon=True).start()

    def answer(self, sock):
        self.asked += 1
        try:
            with sock:
                sock.recv(65536)
                sock.sendall(self.first)
                while self.rest:
                    sock.sendall(self.rest)
                    time.sleep(self.pause)
        except OSError:
            pass


def bad_receivers(temp):
    """Whatever they answer, the others hear of the drain, and the scheduler takes little memory."""
    line = b"HTTP/1.1 200 OK\r\n"
    bad = [Bad(line, b"X", 1), Bad(line + b"\r\n", bytes(65536)), Bad(line, b"X-Y: " + b"z" * 8000 + b"\r\n"),
           Bad(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)]
    bad += [Bad(b"HTTP/1.1 307 Go\r\nLocation: " + where + b"\r\nContent-Length: 0\r\n\r\n")
            for where in (b"file:///etc/hostname", b"unix:///run/numastow/agent.sock", b"http://127.0.0.1:1/")]
    receiver = Receiver()
    with Fleet(f"{temp}/bad", "--webhook", ",".join(r.url for r in (*bad, receiver)), "--webhook-timeout", "1s",
               "--webhook-retry", "20ms", web={}) as fleet:
        growth = Growth(fleet.program.process.pid)
        call = fleet.drain("web", eject=WAIT)
        check("bad receivers: it is ordered", call.wait(FENCED) and fleet.agents["web"].ordered(call.id), call.told)
        finish_drain(fleet.agents["web"], call.id, MOVING, OFFLINING, RETURNING, SAFE, REMOVED, DONE)
        same("bad receivers: it is done", call.ended(), DONE)
        check("bad receivers: another one hears all", receiver.wait("planned", "safe-to-remove", "removed"),
              receiver.events())
        check("bad receivers: each is asked again", eventually(lambda: all(r.asked > 1 for r in bad)),
              [r.asked for r in bad])
        grown = growth.most()
        check("bad receivers: it takes little", grown < 64 * MIB * Growth.ROOM, f"{grown >> 20} MiB")
        same("bad receivers: nodes are listed", fleet.fenced("web"), "")
    receiver.close()
    for one in bad:
        one.listener.close()


# --- the whole way --------------------------------------------------------------------------------


def metrics_at(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        return answer.read().decode()


def whole_way(temp):
    receiver = Receiver(500, 503, 302, 404, 429)
    port = free_port()
    with Fleet(f"{temp}/whole", "--webhook", receiver.url, "--webhook-retry", "20ms", *secret(temp),
               "--metrics", f"127.0.0.1:{port}",
               web={"domain": "rack-1"}) as fleet:
        agent = fleet.agents["web"]
        call = fleet.drain("web", eject=WAIT)
        check("it is planned, fenced, and then ordered", call.wait(FENCED) and
              agent.ordered(call.id), call.told)
        same("the plan came with its step",
             [len(p.plan.blocks) for p in call.told if p.HasField("plan")], [8])
        same("the node is told of the fence before the order",
             [d.WhichOneof("kind") for d in agent.directives][:4], ["welcome", "drain", "fence", "drain"])
        same("nodes show it", fleet.fenced("web"), "1")
        status, why = fleet.place("web", "1")
        check("nothing new is placed there", status == "RESOURCE_EXHAUSTED" and "fenced" in why, why)
        same("but elsewhere on it", fleet.place("web", "0")[0], "OK")
        finish_drain(agent, call.id, MOVING, OFFLINING, RETURNING, SAFE)
        check("the receiver hears that it is safe, after five refusals",
              receiver.wait("planned", "safe-to-remove"), receiver.events())
        check("its progress is relayed", call.wait(SAFE) and call.last().bytes_offline == GIB, call.told)
        check("it waits in between", not call.status and fleet.fenced("web") == "1")
        finish_drain(agent, call.id, REMOVED, DONE)
        same("it is done", call.ended(), DONE)
        check("and gone", receiver.wait("planned", "safe-to-remove", "removed"), receiver.events())
        same("each step was seen, in order", call.steps(), [
            WAITING, PLANNED, FENCED, MOVING, OFFLINING, RETURNING, SAFE, REMOVED, DONE])
        same("the fence is lifted", fleet.fenced("web"), "")
        check("the agent may forget it", eventually(lambda: call.id in agent.cancels))
        same("five tries failed, three were taken", len(receiver.tries), 8)
        check("all are signed", all(is_signed(*t) for t in receiver.tries))
        same("the key stays the same over tries", {h["Idempotency-Key"] for h, _ in receiver.tries},
             {f"{call.id}-{e}" for e in ("planned", "safe-to-remove", "removed")})
        same("they are counted", [json.loads(b)["attempt"] for _, b in receiver.tries],
             [1, 2, 3, 4, 5, 6, 1, 1])
        body = receiver.acted[1][1]
        same("the body says what is to be pulled",
             {k: body[k] for k in ("event", "drain", "node", "failure_domain", "numa_node", "device",
                                   "device_path", "address", "bytes", "blocks", "step")},
             {"event": "safe-to-remove", "drain": call.id, "node": "web", "failure_domain": "rack-1",
              "numa_node": 1, "device": "dimm0", "device_path": "\\_SB_.MHPC.MP00",
              "address": 0x180000000, "bytes": GIB, "blocks": "48-55", "step": "safe"})
        check("and how it is sent", receiver.tries[0][0]["Content-Type"] == "application/json" and
              receiver.tries[0][0]["User-Agent"].startswith("numastow/"), receiver.tries[0][0])
        same("it is not listed any more", len(fleet.listed()), 0)
        [old] = fleet.listed(ended=True, node="web")
        check("but with those that have ended", old.id == call.id and old.progress.step == DONE and
              old.failure_domain == "rack-1" and old.plan.bytes == GIB and old.spec.numa_node == 1, old)
        # The receiver has heard it before the scheduler has its answer.
        for line in ("numastow_scheduler_webhooks_delivered_total 3", "numastow_scheduler_webhooks_failed_total 5",
                     "numastow_scheduler_webhooks_pending 0", 'numastow_scheduler_drains{step="safe"} 0',
                     'numastow_scheduler_drains_ended_total{end="done"} 1'):
            check(f"metrics: {line}", eventually(lambda wanted=line: wanted in metrics_at(port).splitlines()),
                  metrics_at(port))
    receiver.close()


def other_ends(temp):
    """Ejecting, keeping, failing, partial: what followers and webhooks hear."""
    receiver = Receiver()
    with Fleet(f"{temp}/ends", "--webhook", receiver.url, web={}) as fleet:
        agent = fleet.agents["web"]
        for what, fields, steps, events in (
                ("kept", {}, (MOVING, SAFE, DONE), ["planned", "safe-to-remove"]),
                ("ejected", {"eject": EJECT}, (OFFLINING, SAFE, REMOVED, DONE),
                 ["planned", "safe-to-remove", "removed"]),
                ("ejected, only its end was heard", {"eject": EJECT}, (DONE,),
                 ["planned", "safe-to-remove", "removed"]),
                ("failed", {}, (OFFLINING, UNDOING, FAILED), ["planned", "failed"]),
                ("partial", {"keep": True}, (OFFLINING, PARTIAL), ["planned", "failed"]),
                ("failed when it was safe already", {"eject": WAIT}, (SAFE, UNDOING, FAILED),
                 ["planned", "safe-to-remove", "failed"])):
            call = fleet.drain("web", **fields)
            agent.ordered(call.id)
            for step in steps[:-1]:
                finish_drain(agent, call.id, step)
                if step == SAFE:  # it is withdrawn when it is not so any more
                    receiver.wait("planned", "safe-to-remove", drain=call.id)
            agent.say(call.id, steps[-1], message="block 50 stayed", code=9 if steps[-1] > DONE else 0,
                      culprits=[drain_pb2.DrainCulprit(block=50, program="qemu", proven=True)])
            same(f"{what}: its end", call.ended(), steps[-1])
            check(f"{what}: with all that it says", call.last().message == "block 50 stayed" and
                  call.last().culprits[0].program == "qemu" and
                  (call.last().code == 0) == (steps[-1] == DONE), call.last())
            check(f"{what}: webhooks", receiver.wait(*events, drain=call.id), receiver.events(call.id))
            same(f"{what}: the fence is lifted", fleet.fenced("web"), "")
        agent.mute = True
        call = fleet.drain("web")
        eventually(lambda: [p for p in agent.plans if p.id == call.id])
        agent.say(call.id, FAILED, message="block 48: unmovable", code=9)
        same("cannot be planned: its end", call.ended(), FAILED)
        check("cannot be planned: why", call.last().message == "block 48: unmovable" and
              call.last().code == 9, call.last())
        check("cannot be planned: webhooks", receiver.wait("failed", drain=call.id))
        body = [b for _, b in receiver.acted if b["drain"] == call.id][0]
        check("cannot be planned: the body says so", body["message"] == "block 48: unmovable" and
              body["step"] == "failed" and body["bytes"] == 0 and body["numa_node"] == 1, body)
    receiver.close()


def parts(temp):
    """What is told of a part of a device: never that the device may be removed."""
    receiver = Receiver()
    with Fleet(f"{temp}/parts", "--webhook", receiver.url, web={}) as fleet:
        agent = fleet.agents["web"]
        for what, fields, words, events in (
                ("a part of a DIMM", {}, ((DONE, STAYS),), ["planned"]),
                ("kept, and cut short", {"keep": True}, ((PARTIAL, STAYS),), ["planned", "failed"]),
                # However it comes: an agent does not say that.
                ("safe, but of nothing whole", {}, ((SAFE, STAYS), (DONE, STAYS)), ["planned"]),
                ("a part of virtio-mem", {"eject": WAIT},
                 ((SAFE, SHRINK), (REMOVED, SHRINK), (DONE, SHRINK)),
                 ["planned", "safe-to-shrink", "removed"])):
            call = fleet.drain("web", **fields)
            agent.ordered(call.id)
            for step, release in words:
                agent.say(call.id, step, release=release, blocks_gone="48-50", bytes_offline=3 * 128 * MIB,
                          bytes_staying=640 * MIB, message="640Mi of dimm0 stays online",
                          code=9 if step > DONE else 0)
            call.ended()
            after = fleet.drain("web", request_id=f"after {what}")  # who is told of later ones has heard all
            agent.ordered(after.id)
            finish_drain(agent, after.id)
            after.ended()
            receiver.wait("planned", "safe-to-remove", drain=after.id)
            same(f"{what}: webhooks", receiver.events(call.id), events)
            check(f"{what}: and followers hear what stays", call.last().bytes_staying == 640 * MIB and
                  call.last().release == words[-1][1], call.last())
            for _, body in receiver.acted:
                if body["drain"] == call.id and body["event"] != "planned":
                    same(f"{what}: the body of {body['event']} has what stays", body["bytes_staying"],
                         640 * MIB)
        # What was true, and is not any more: somebody has brought the rest online.
        call = fleet.drain("web", request_id="rest")
        agent.ordered(call.id)
        receiver.wait("planned", drain=call.id)
        receiver.statuses = [503] * 100000
        finish_drain(agent, call.id, SAFE)
        call.wait(SAFE)
        agent.say(call.id, DONE, release=STAYS, bytes_staying=640 * MIB)
        call.ended()

        def waiting():
            if fleetlib.ON_ETCD:
                return False  # rows are looked at on the other engine
            with contextlib.closing(sqlite3.connect(f"{fleet.data}/scheduler.db", PATIENCE)) as store:
                return store.execute("SELECT event FROM webhook").fetchall()
        check("what is not true any more is withdrawn", eventually(lambda: not waiting()), waiting())
        same("and was not told", receiver.events(call.id), ["planned"])
    receiver.close()


def asking(temp):
    """Dry runs, asking again, and what is refused."""
    with Fleet(f"{temp}/asking", web={}, observer={}) as fleet:
        agent = fleet.agents["web"]
        call = fleet.drain("web", dry_run=True)
        same("a dry run: its plan, and no more", (call.ended(), len(call.told), call.last().step,
                                                  len(call.last().plan.blocks)),
             (PLANNED, 1, PLANNED, 8))
        same("a dry run: nothing is listed", len(fleet.listed(ended=True)), 0)
        same("a dry run: nothing is fenced", fleet.fenced("web"), "")
        first = fleet.drain("web", request_id="r1", eject=WAIT)
        agent.ordered(first.id)
        again = fleet.drain("web", request_id="r1", eject=WAIT)
        same("asked again: the same drain", again.id, first.id)
        check("asked again: where it is, with the plan", again.last().step == FENCED and
              len(again.told[0].plan.blocks) == 8, again.told)
        other = fleet.drain("web", request_id="r1")
        check("asked again for something else", other.ended() == "INVALID_ARGUMENT" and
              first.id in other.why, other.why)
        first.stream.cancel()
        eventually(lambda: first.status)
        finish_drain(agent, again.id)
        same("a call that ends ends no drain", again.ended(), DONE)
        late = fleet.drain("web", request_id="r1", eject=WAIT)
        same("asked again after its end: the end", (late.ended(), late.id), (DONE, first.id))
        same("one at a time on a machine was ordered", len(agent.orders), 1)
        for what, node, fields, wanted in (
                ("a node that is not there", "ghost", {}, "NOT_FOUND"),
                ("a NUMA node that is not there", "web", {"numa_node": 7}, "INVALID_ARGUMENT"),
                ("blocks that are no list", "web", {"blocks": "4x"}, "INVALID_ARGUMENT"),
                ("a size of blocks", "web", {"blocks": "48", "size": GIB}, "INVALID_ARGUMENT"),
                ("a device without a name", "web", {"device": ""}, "INVALID_ARGUMENT"),
                ("a timeout of a year", "web", {"timeout": 365 * 86400 * SECOND}, "INVALID_ARGUMENT"),
                ("a request_id that is too long", "web", {"request_id": "x" * 129},
                 "INVALID_ARGUMENT")):
            call = fleet.drain(node, **fields)
            check(f"refused: {what}", call.ended() == wanted and call.why and "\n" not in call.why,
                  f"{call.status} {call.why}")
        status, _ = status_of(fleet.stub.DrainMemory, scheduler_pb2.DrainMemoryRequest(node="web"))
        same("refused: nothing that is to leave", status, "INVALID_ARGUMENT")
        for what, asked, wanted in (("unknown", "f" * 16, "NOT_FOUND"), ("ended", first.id, "NOT_FOUND"),
                                    ("no id", "xyz", "INVALID_ARGUMENT")):
            status, why = status_of(fleet.stub.CancelDrain, scheduler_pb2.CancelDrainRequest(id=asked))
            check(f"cancelling is refused: {what}", status == wanted and why, f"{status} {why}")
        observer = fleet.agents["observer"]
        observer.send_change(mode=node_pb2.MODE_OBSERVE)
        eventually(lambda: fleet.stub.ListNodes(scheduler_pb2.ListNodesRequest(
            names=["observer"])).nodes[0].report.mode == node_pb2.MODE_OBSERVE)
        call = fleet.drain("observer")
        check("refused: a machine that observes", call.ended() == "FAILED_PRECONDITION" and
              "observe" in call.why, call.why)
        fleet.leave("observer")
        call = fleet.drain("observer")
        check("refused: a machine that is silent", call.ended() == "FAILED_PRECONDITION" and
              "not ready" in call.why, call.why)


# --- turns ----------------------------------------------------------------------------------------


def turns(temp):
    with Fleet(f"{temp}/turns", "--max-drains", "1", a={}, b={}) as fleet:
        a, b = fleet.agents["a"], fleet.agents["b"]
        first = fleet.drain("a")
        a.ordered(first.id)
        second = fleet.drain("b")
        check("max-drains: the second waits, and says for whom", eventually(
            lambda: first.id in second.last().message and "node a" in second.last().message),
              second.told)
        third = fleet.drain("a", blocks="3")
        check("the same machine: the third waits, too", eventually(
            lambda: first.id in third.last().message), third.told)
        same("they are listed, the oldest first", [d.id for d in fleet.listed()],
             [first.id, second.id, third.id])
        same("with what they do", [STEPS[d.progress.step] for d in fleet.listed()],
             ["fenced", "waiting", "waiting"])
        same("nobody else was asked", (b.plans, len(a.plans)), ([], 1))
        finish_drain(a, first.id)
        check("then it is its turn", b.ordered(second.id) and third.last().step == WAITING)
        finish_drain(b, second.id)
        check("and the third's", a.ordered(third.id))
        finish_drain(a, third.id)
        same("all are done", [c.ended() for c in (first, second, third)], [DONE] * 3)
    racks = {"a": {"domain": "r1"}, "b": {"domain": "r1"}, "c": {"domain": "r2"}, "d": {}, "e": {}}
    with Fleet(f"{temp}/domains", **racks) as fleet:
        calls = {n: fleet.drain(n) for n in racks}
        for name in "acde":
            check(f"per domain: {name} has a turn", fleet.agents[name].ordered(calls[name].id))
        check("per domain: b waits for a", eventually(
            lambda: calls["a"].id in calls["b"].last().message and
            "failure domain" in calls["b"].last().message), calls["b"].told)
        # Another domain's end is not what it waits for.
        finish_drain(fleet.agents["c"], calls["c"].id)
        same("per domain: c is done", calls["c"].ended(), DONE)
        time.sleep(0.2)
        same("per domain: and b waits", fleet.agents["b"].plans, [])
        finish_drain(fleet.agents["a"], calls["a"].id, FAILED)
        check("per domain: until a has ended, however", fleet.agents["b"].ordered(calls["b"].id))


# --- fences ---------------------------------------------------------------------------------------


def fences(temp):
    with Fleet(f"{temp}/fences", web={}) as fleet:
        agent = fleet.agents["web"]
        same("a reservation is there", fleet.place("web", "1", confirmed=True)[0], "OK")
        call = fleet.drain("web")
        check("it is fenced and waits for it", eventually(
            lambda: "waits for 1 reservation" in call.last().message) and call.last().step == PLANNED,
              call.told)
        same("the fence is seen at once", (fleet.fenced("web"), fleet.place("web", "1")[0]),
             ("1", "RESOURCE_EXHAUSTED"))
        same("nothing is ordered", agent.orders, [])
        status, why = status_of(fleet.stub.Unfence, scheduler_pb2.UnfenceRequest(
            node="web", numa_nodes="1"))
        check("nobody else lifts it", status == "FAILED_PRECONDITION" and call.id in why and
              "cancel" in why, f"{status} {why}")
        [held] = agent.held
        fleet.stub.Release(scheduler_pb2.ReleaseRequest(ids=[held]), timeout=PATIENCE)
        check("when that has ended it goes on", agent.ordered(call.id))
        same("an operator's fence may come beside it", fleet.stub.Fence(scheduler_pb2.FenceRequest(
            node="web", numa_nodes="1"), timeout=PATIENCE).revoked, 0)
        finish_drain(agent, call.id)
        call.ended()
        same("and stays after it", fleet.fenced("web"), "1")
        call = fleet.drain("web")
        agent.ordered(call.id)
        finish_drain(agent, call.id)
        same("as one does that was there before", (call.ended(), fleet.fenced("web")), (DONE, "1"))
        fleet.stub.Unfence(scheduler_pb2.UnfenceRequest(node="web", numa_nodes="1"), timeout=PATIENCE)
        fleet.place("web", "1", confirmed=True)
        call = fleet.drain("web", revoke=True)
        check("revoking does not wait", agent.ordered(call.id) and eventually(lambda: not agent.held))
        finish_drain(agent, call.id)
        call.ended()
    with Fleet(f"{temp}/wait", "--drain-wait", "1s", web={}) as fleet:
        fleet.place("web", "1", confirmed=True)
        call = fleet.drain("web")
        same("what does not clear in time fails", call.ended(), FAILED)
        check("and says so", "1 reservations on NUMA node 1" in call.last().message and
              "drain-wait" in call.last().message, call.last())
        same("and is not fenced any more", fleet.fenced("web"), "")


# --- cancelling -----------------------------------------------------------------------------------


def cancelling(temp):
    receiver = Receiver()
    with Fleet(f"{temp}/cancel", "--max-drains", "1", "--webhook", receiver.url, web={},
               other={}) as fleet:
        agent = fleet.agents["web"]
        busy = fleet.drain("other")
        fleet.agents["other"].ordered(busy.id)
        call = fleet.drain("web")
        eventually(lambda: "waits" in call.last().message)
        same("cancelled while it waits", (fleet.cancel(call.id[:8]), call.ended()), (call.id, CANCELLED))
        finish_drain(fleet.agents["other"], busy.id)
        busy.ended()
        agent.mute = True
        call = fleet.drain("web")
        eventually(lambda: agent.plans)
        fleet.cancel(call.id)
        same("cancelled while it is planned", call.ended(), CANCELLED)
        check("the machine is told", eventually(lambda: call.id in agent.cancels))
        agent.mute = False
        fleet.place("web", "1", confirmed=True)
        call = fleet.drain("web")
        eventually(lambda: "waits for 1 res" in call.last().message)
        fleet.cancel("")
        same("cancelled while it is fenced", (call.ended(), fleet.fenced("web")), (CANCELLED, ""))
        same("nothing was ordered", agent.orders, [])
        fleet.stub.Release(scheduler_pb2.ReleaseRequest(ids=list(agent.held)), timeout=PATIENCE)
        for steps in ((), (MOVING,), (MOVING, OFFLINING), (SAFE,)):
            call = fleet.drain("web", eject=WAIT)
            agent.ordered(call.id)
            if steps:
                finish_drain(agent, call.id, *steps)
            call.wait(steps[-1] if steps else FENCED)
            at = STEPS[call.last().step]
            fleet.cancel(call.id)
            check(f"cancelled in {at}: the machine is told", eventually(
                lambda: call.id in agent.cancels))
            check(f"cancelled in {at}: its word is waited for", not call.status and
                  fleet.fenced("web") == "1", call.told)
            agent.say(call.id, UNDOING)
            agent.say(call.id, CANCELLED, message="all is as it was", code=1)
            same(f"cancelled in {at}: its end", (call.ended(), call.last().code, fleet.fenced("web")),
                 (CANCELLED, 1, ""))
            check(f"cancelled in {at}: webhooks", eventually(
                lambda: receiver.events(call.id)[-1:] == ["failed"]), receiver.events(call.id))
            body = [b for _, b in receiver.acted if b["drain"] == call.id][-1]
            same(f"cancelled in {at}: with the word", body["step"], "cancelled")
        call = fleet.drain("web")
        agent.ordered(call.id)
        fleet.leave("web")
        fleet.cancel(call.id)
        same("cancelled with a machine that is gone", (call.ended(), fleet.fenced("web")),
             (CANCELLED, ""))
        back = fleet.join("web", has=[call.id])
        same("which is told when it is back", list(back.wait("welcome").welcome.drains), [])
    receiver.close()


def no_longer_safe(temp):
    """A receiver that was down all the time must not learn afterwards that it may pull."""
    receiver = Receiver()
    with Fleet(f"{temp}/unsafe", "--webhook", receiver.url, "--webhook-retry", "300ms", web={}) as fleet:
        for number, (what, cancel, end) in enumerate((("nobody has removed it", False, FAILED),
                                                      ("it is cancelled", True, CANCELLED))):
            agent = fleet.agents["web"]
            call = fleet.drain("web", eject=WAIT, request_id=f"u{number}")
            agent.ordered(call.id)
            receiver.wait("planned", drain=call.id)
            receiver.statuses = [503] * 100000
            finish_drain(agent, call.id, MOVING, OFFLINING, SAFE)
            call.wait(SAFE)
            eventually(lambda: any(b"safe-to-remove" in b for _, b in receiver.tries))
            if cancel:
                fleet.cancel(call.id)
                fleet.again()
                agent = fleet.agents["web"]
            agent.say(call.id, UNDOING)
            agent.say(call.id, end, message="all is as it was")
            call = fleet.drain("web", eject=WAIT, request_id=f"u{number}")
            same(f"{what}: its end", call.ended(), end)
            receiver.statuses = []
            check(f"{what}: that is told, and not that it is safe",
                  receiver.wait("planned", "failed", drain=call.id), receiver.events(call.id))
        # The scheduler is away while the machine takes it back, or goes on.
        for number, (steps, events) in enumerate((((UNDOING, FAILED), ["planned", "failed"]),
                                                  ((SAFE,), ["planned", "safe-to-remove"]))):
            agent = fleet.agents["web"]
            call = fleet.drain("web", eject=WAIT, request_id=f"v{number}")
            agent.ordered(call.id)
            receiver.wait("planned", drain=call.id)
            receiver.statuses = [503] * 100000
            finish_drain(agent, call.id, SAFE)
            call.wait(SAFE)
            fleet.kill()
            fleet.channel.close()
            receiver.statuses = []
            if not fleetlib.ON_ETCD:
                with contextlib.closing(sqlite3.connect(f"{fleet.data}/scheduler.db")) as store, store:
                    store.execute("UPDATE webhook SET next = 0")  # it is due before what comes later
            fleet.up()
            other = fleet.join("other")
            probe = fleet.drain("other")
            receiver.wait("planned", drain=probe.id)
            agent = fleet.join("web", has=[call.id])
            finish_drain(agent, call.id, *steps)
            check(f"killed when it was safe, then {STEPS[steps[0]]}: what is so then is told",
                  receiver.wait(*events, drain=call.id), receiver.events(call.id))
            other.ordered(probe.id)
            finish_drain(other, probe.id)
            probe.ended()
            other.close()
    receiver.close()


# --- agents ---------------------------------------------------------------------------------------


def agents_that_come_and_go(temp):
    with Fleet(f"{temp}/agents", web={}, old={"refuses": 12}) as fleet:
        call = fleet.drain("old")
        same("too old an agent: it fails", (call.ended(), call.last().code), (FAILED, 12))
        check("too old an agent: and says so", "too old" in call.last().message, call.last())
        agent = fleet.agents["web"]
        # The connection ends and comes back, with the drain.
        call = fleet.drain("web")
        agent.ordered(call.id)
        agent.say(call.id, OFFLINING)
        call.wait(OFFLINING)
        agent.close()
        agent = fleet.join("web", has=[call.id])
        same("welcome lists it", list(agent.wait("welcome").welcome.drains), [call.id])
        time.sleep(0.2)
        same("and it is not ordered again", agent.orders, [])
        finish_drain(agent, call.id, SAFE, DONE)
        same("it goes on", call.ended(), DONE)
        # It ends while nobody listens: the agent says it again.
        call = fleet.drain("web")
        agent.ordered(call.id)
        agent.say(call.id, OFFLINING)
        call.wait(OFFLINING)
        agent.close()
        agent = fleet.join("web", has=[call.id])
        agent.say(call.id, DONE)
        same("an end that comes late", call.ended(), DONE)
        agent.say(call.id, DONE)
        check("an end that comes twice is acknowledged again", eventually(
            lambda: agent.cancels.count(call.id) >= 2), agent.cancels)
        # Restarted: it has taken it back.
        call = fleet.drain("web")
        agent.ordered(call.id)
        agent.say(call.id, OFFLINING)
        call.wait(OFFLINING)
        agent.close()
        agent = fleet.join("web")
        same("an agent that was restarted without it", call.ended(), FAILED)
        check("and the line says so", "restarted" in call.last().message and
              fleet.fenced("web") == "", call.last())
        call = fleet.drain("web", resume=True)
        agent.ordered(call.id)
        agent.say(call.id, OFFLINING)
        call.wait(OFFLINING)
        agent.close()
        agent = fleet.join("web")
        check("with resume it is ordered again", agent.ordered(call.id), call.told)
        finish_drain(agent, call.id)
        same("and done", call.ended(), DONE)
        # While it plans: asked again.
        agent.mute = True
        call = fleet.drain("web")
        eventually(lambda: [p for p in agent.plans if p.id == call.id])
        agent.close()
        agent = fleet.join("web")
        check("an agent that comes back while planning", agent.ordered(call.id), call.told)
        finish_drain(agent, call.id)
        call.ended()


def agents_that_lie(temp):
    with Fleet(f"{temp}/lies", web={}, liar={}) as fleet:
        web, liar = fleet.agents["web"], fleet.agents["liar"]
        call = fleet.drain("web")
        web.ordered(call.id)
        call.wait(FENCED)
        for step in (DONE, FAILED, SAFE, PLANNED):
            liar.say(call.id, step, message="from another node")
        liar.say("nothing", DONE)
        liar.say("0" * 16, DONE)
        liar.say("1234567890abcdef", DONE)
        check("an id that nobody has is answered", eventually(
            lambda: "1234567890abcdef" in liar.cancels), liar.cancels)
        same("another node's drain is not its business", (call.last().step, call.id in liar.cancels),
             (FENCED, False))
        for what, plan in (("for a NUMA node that it does not have", plan_of(numa=7)),
                           ("for a negative one", plan_of(numa=-1)),
                           ("for another one", plan_of(numa=0))):
            liar.plan = plan
            lie = fleet.drain("liar")
            same(f"a plan {what}", (lie.ended(), fleet.fenced("liar")), (FAILED, ""))
            check(f"a plan {what}: is named", "the plan is for" in lie.last().message, lie.last())
        liar.plan = plan_of(blocks=range(30000), notes=["x" * 5000, "\x1b[2J\x85\u202d"] * 100,
                            affected=[drain_pb2.DrainAffected(id="c" * 3000)] * 500)
        lie = fleet.drain("liar")
        liar.ordered(lie.id)
        lie.wait(FENCED)
        plan = [p.plan for p in lie.told if p.HasField("plan")][0]
        check("a plan that is huge is cut, and says so", len(plan.blocks) == 16384 and
              plan.bytes == 30000 * 128 * MIB and "too long" in plan.notes[-1], len(plan.blocks))
        check("its texts are bounded, and nobody's terminal obeys them",
              max(map(len, plan.notes)) <= 1024 and len(plan.affected[0].id) <= 1024 and
              not any(c in n for n in plan.notes for c in "\x1b\x85"))
        same("it is listed all the same", len(fleet.listed()), 2)
        liar.say(lie.id, 77)
        liar.say(lie.id, OFFLINING, message="x\ny" * 1000, blocks_gone="rm -rf",
                 culprits=[drain_pb2.DrainCulprit(reason="r" * 9000)] * 200)
        check("progress, too", eventually(lambda: lie.last().step == OFFLINING) and
              len(lie.last().message) <= 1024 and "\n" not in lie.last().message and
              len(lie.last().culprits) == 64 and lie.last().blocks_gone == "", lie.last())
        finish_drain(web, call.id)
        same("the honest one is done", call.ended(), DONE)
        liar.plan = plan_of()
        liar.say(lie.id, FAILED, message="\u00e9" * 512)
        same("an end with a text as long as may be is UTF-8 still", (lie.ended(), len(fleet.listed(
            ended=True)) > 1), (FAILED, True))
        lie = fleet.drain("liar")
        liar.ordered(lie.id)
        liar.out.put(scheduler_pb2.ReportRequest.FromString(
            b"\x22\x15\x0a\x10" + lie.id.encode() + b"\xfa\x7f\x00"))  # an unknown field
        bad = full_report("liar")
        bad.drains.extend(["nonsense"])
        liar.send(bad)
        liar.drains["nonsense"] = None
        liar.send(bad)
        check("a list of drains that is none ends the stream", eventually(lambda: liar.error))


# --- the scheduler dies ---------------------------------------------------------------------------


def killed(temp):
    """In every phase; the receiver is down until the scheduler is back."""
    receiver = Receiver()
    at = f"{temp}/killed"
    with Fleet(at, "--webhook", receiver.url, "--webhook-retry", "20ms", "--max-drains", "1", web={},
               other={}) as fleet:
        def agent():
            return fleet.agents["web"]

        def same_call(old, **fields):
            return fleet.drain("web", request_id=old.asked.request_id, **fields)

        busy = fleet.drain("other", request_id="busy")
        fleet.agents["other"].ordered(busy.id)
        call = fleet.drain("web", request_id="k1")
        eventually(lambda: "waits" in call.last().message)
        fleet.again()
        call = same_call(call)
        check("killed while it waits: it waits", eventually(
            lambda: busy.id in call.last().message), call.told)
        finish_drain(fleet.agents["other"], busy.id)
        check("killed while it waits: it has its turn", agent().ordered(call.id))
        finish_drain(agent(), call.id)
        same("killed while it waits: done", call.ended(), DONE)

        agent().mute = True
        call = fleet.drain("web", request_id="k2")
        eventually(lambda: [p for p in agent().plans if p.id == call.id])
        fleet.again()
        call = same_call(call)
        check("killed while it is planned: planned again", agent().ordered(call.id))
        finish_drain(agent(), call.id)
        same("killed while it is planned: done", call.ended(), DONE)

        fleet.place("web", "1", confirmed=True)
        held = list(agent().held)
        call = fleet.drain("web", request_id="k3")
        eventually(lambda: "waits for 1 res" in call.last().message)
        fleet.again()
        call = same_call(call)
        check("killed while reservations are waited for: they are", eventually(
            lambda: "waits for 1 res" in call.last().message) and fleet.fenced("web") == "1", call.told)
        fleet.stub.Release(scheduler_pb2.ReleaseRequest(ids=held), timeout=PATIENCE)
        check("killed while reservations are waited for: it goes on", agent().ordered(call.id))
        finish_drain(agent(), call.id)
        same("killed while reservations are waited for: done", call.ended(), DONE)

        for number, step in enumerate((FENCED, MOVING, OFFLINING, RETURNING, SAFE, REMOVED, UNDOING)):
            word = STEPS[step]
            call = fleet.drain("web", request_id=f"s{number}", eject=EJECT)
            agent().ordered(call.id)
            if step > FENCED:
                finish_drain(agent(), call.id, step)
            call.wait(step)
            receiver.statuses += [500] if step == SAFE else []
            fleet.again()
            call = same_call(call, eject=EJECT)
            # What a machine says is stored without anybody waiting, which may take longer than this kill: it
            # says it again.
            known = call.id  # waits for the first message
            if step > FENCED and call.last().step != step:
                finish_drain(agent(), call.id, step)
            check(f"killed in {word}: it is there, as it was, fenced",
                  known and call.wait(step) and fleet.fenced("web") == "1", call.told)
            same(f"killed in {word}: welcome lists it",
                 list(agent().wait("welcome").welcome.drains), [call.id])
            if step == FENCED:
                check("killed in fenced: ordered again", agent().ordered(call.id))
            end = FAILED if step == UNDOING else DONE
            agent().say(call.id, end)
            same(f"killed in {word}: its end", (call.ended(), fleet.fenced("web")), (end, ""))
            events = ["planned", "failed"] if step == UNDOING else \
                ["planned", "safe-to-remove", "removed"]
            check(f"killed in {word}: webhooks, each once", receiver.wait(*events, drain=call.id),
                  receiver.events(call.id))

        call = fleet.drain("web", request_id="c1")
        agent().ordered(call.id)
        agent().say(call.id, OFFLINING)
        call.wait(OFFLINING)
        fleet.cancel(call.id)
        fleet.again()
        check("killed after a cancel: the machine is told again", eventually(
            lambda: call.id in agent().cancels))
        agent().say(call.id, CANCELLED)
        call = same_call(call)
        same("killed after a cancel: its end", call.ended(), CANCELLED)
        # What was not delivered is delivered by the next one.
        call = fleet.drain("web", request_id="w1")
        agent().ordered(call.id)
        receiver.statuses = [500] * 100000
        finish_drain(agent(), call.id)
        call.ended()
        fleet.again()
        tries = len(receiver.tries)
        check("killed with a full outbox: it is tried again", eventually(
            lambda: len(receiver.tries) > tries))
        receiver.statuses = []
        check("killed with a full outbox: and told in the end",
              receiver.wait("planned", "safe-to-remove", drain=call.id), receiver.events(call.id))
        ended = {d.id: STEPS[d.progress.step] for d in fleet.listed(ended=True)}
        fleet.again()
        same("those that have ended are still known", {
            d.id: STEPS[d.progress.step] for d in fleet.listed(ended=True)}, ended)
        same("and none is under way", len(fleet.listed()), 0)
    receiver.close()


# --- HTTPS ----------------------------------------------------------------------------------------


def https(temp):
    make_certificates(temp)
    receiver = Receiver(tls=temp)
    with Fleet(f"{temp}/https", "--webhook", receiver.url, "--webhook-ca", f"{temp}/ca.crt", web={}) \
            as fleet:
        call = fleet.drain("web")
        check("HTTPS with its CA", receiver.wait("planned", drain=call.id), receiver.events())
    stranger = Receiver(tls=temp)
    with Fleet(f"{temp}/https2", "--webhook", stranger.url, "--webhook-retry", "20ms", web={}) as fleet:
        call = fleet.drain("web")
        fleet.agents["web"].ordered(call.id)
        check("HTTPS without it is refused, and said", fleet.program.wait(
            "a webhook event could not be delivered"), fleet.program.said)
        same("and nothing has gone out", stranger.tries, [])
    for words, code in ((["--webhook", "http://hooks.example/x"], 2), (["--webhook", "ftp://127.0.0.1"], 2),
                        (["--webhook", "https://u:p@hooks.example/"], 2),
                        (["--webhook-secret", f"{temp}/none"], 2),
                        (["--webhook", "http://hooks.example/x", "--insecure"], 0),
                        (["--webhook", "https://hooks.example/x"], 0)):
        result = run([fleet.program.process.args[0], "--config", "/dev/null", "--check-config", *words],
                     "")
        check(f"--check-config {' '.join(words)}".replace(temp, "DIR"), result.code == code and
              (code == 0) == (result.err == ""), result)
    receiver.close()
    stranger.close()


def mute_name_server(temp):
    """Whoever stops does not wait for it. In a mount namespace, for all is read from /etc/resolv.conf."""
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    words = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"',
             f"{temp}/resolv.conf"]
    with open(f"{temp}/resolv.conf", "w", encoding="utf-8") as handle:
        handle.write("nameserver 127.0.0.77\noptions timeout:30 attempts:2\n")
    try:
        names.bind(("127.0.0.77", 53))
        allowed = run([*words, "true"], "").code == 0
    except OSError:
        allowed = False
    if not allowed:
        skip("a name server that does not answer", "needs root")
        return
    program = f"{temp}/scheduler"
    with open(program, "w", encoding="utf-8") as handle:
        handle.write("#!/bin/sh\nexec " + shlex.join([*words, fleetlib.SCHEDULER]) + ' "$@"\n')
    os.chmod(program, 0o755)
    with unittest.mock.patch("fleetlib.SCHEDULER", program), \
            Fleet(f"{temp}/names", "--webhook", "https://hooks.example/x", "--webhook-timeout", "1s",
                  "--webhook-retry", "60s", web={}) as fleet:
        call = fleet.drain("web")
        fleet.agents["web"].ordered(call.id)
        check("a name server that does not answer: that is a failure", fleet.program.wait(
            "a webhook event could not be delivered"), fleet.program.said)
        fleet.program.stop()
    names.setblocking(False)
    asked = []
    with contextlib.suppress(BlockingIOError):
        while True:
            asked.append(names.recv(1000)[12:])
    # The C library asks again after 30 s, and gives up after 60.
    check("a name server that does not answer: nobody waits until it is asked again",
          asked and len(asked) == len(set(asked)), asked)
    names.close()


with Temp() as place:
    for one in ("whole", "bad", "ends", "asking", "turns", "domains", "fences", "wait", "cancel", "unsafe",
                "agents", "lies", "killed", "parts", "https", "https2", "names"):
        os.makedirs(f"{place}/{one}")
    for test in (whole_way, bad_receivers, other_ends, parts, asking, turns, fences, cancelling, no_longer_safe,
                 agents_that_come_and_go, agents_that_lie, killed, https,
                 mute_name_server):
        print(f"# {test.__name__}")
        test(place)
finish()
