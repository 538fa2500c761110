#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: callers without access, and callers with access that send garbage, floods and oversized messages. Each is refused or
disconnected with the right status, while another client places and releases all the time, undisturbed. (tests/integration/ca.py has
roles, and other nodes' names.)"""
import datetime
import os
import queue
import re
import socket
import ssl
import subprocess
import threading
import time

import grpc

from daemons import PATIENCE, free_port, metrics_of, tls
from fleetlib import (MIB, FakeAgent, agent_pb2, agent_pb2_grpc, channel_to, come_back, command, eventually,
                      full_report, node_pb2, scheduler_pb2, scheduler_pb2_grpc, start_agent,
                      start_scheduler, status_of)
from harness import PROJECT, Machine, Temp, check, finish, run, same, skip

CA = os.path.join(PROJECT, "deploy/numastow-ca")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


def read_file(path):
    with open(path, "rb") as handle:
        return handle.read()


def secure(folder, port, name=None, own=False):
    """A channel with the certificate in `folder`; `name`: the name that the server's certificate must have; `own`: with a connection
    of its own."""
    credentials = grpc.ssl_channel_credentials(*(read_file(f"{folder}/{f}") for f in (
        "ca.crt", "tls.key", "tls.crt")))
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, [
        ("grpc.ssl_target_name_override", name or "127.0.0.1"), ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", int(own))])


def expired(ca):
    """A client's certificate of the same CA that expired yesterday."""
    at = f"{ca}/client/late"
    run([CA, "client", ca, "late", "drain"], "")
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    with open(f"{at}/ca.cnf", "w", encoding="utf-8") as handle:
        handle.write(f"""[ca]
default_ca = it
[it]
database = {at}/index
serial = {at}/serial
new_certs_dir = {at}
certificate = {ca}/ca.crt
private_key = {ca}/ca.key
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
""")
    open(f"{at}/index", "w", encoding="utf-8").close()
    with open(f"{at}/serial", "w", encoding="utf-8") as handle:
        handle.write("4242\n")
    subprocess.run(["openssl", "req", "-new", "-key", f"{at}/tls.key", "-subj", "/CN=late", "-addext",
                    "subjectAltName=URI:numastow:role/drain", "-out", f"{at}/late.csr"],
                   check=True, capture_output=True)
    subprocess.run(["openssl", "ca", "-batch", "-config", f"{at}/ca.cnf", "-in", f"{at}/late.csr",
                    "-out", f"{at}/tls.crt", "-notext",
                    "-startdate", (now - 9 * day).strftime("%Y%m%d%H%M%SZ"),
                    "-enddate", (now - day).strftime("%Y%m%d%H%M%SZ")],
                   check=True, capture_output=True)
    return at


class Good(threading.Thread):
    """Places and releases all the time, and collects errors."""

    def __init__(self, stub, node):
        super().__init__(daemon=True)
        self.stub, self.node, self.over = stub, node, threading.Event()
        self.done, self.wrong, self.longest = 0, [], 0.0

    def run(self):
        while not self.over.wait(0.02):
            started = time.monotonic()
            try:
                got = self.stub.Place(scheduler_pb2.PlaceRequest(
                    pods=[scheduler_pb2.PodRequest(cpus=1, node=self.node)]), timeout=PATIENCE)
                self.stub.Release(scheduler_pb2.ReleaseRequest(ids=[got.reservations[0].id]),
                                  timeout=PATIENCE)
                self.done += 1
            except grpc.RpcError as error:
                self.wrong.append(error.details())
            self.longest = max(self.longest, time.monotonic() - started)

    def report(self, what):
        before = self.done
        check(f"{what}: the others are undisturbed",
              eventually(lambda: self.done > before + 3) and not self.wrong, self.wrong)
        print(f"# the longest round trip of the others so far: {self.longest * 1000:.0f} ms")


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
        return int(next(line for line in handle if line.startswith("VmRSS")).split()[1]) * 1024


# --- callers without access --------------------------------------------------------------------------


def check_certificates(folder, ca, port):
    other = f"{folder}/other"
    run([CA, "init", other], "")
    run([CA, "client", other, "x", "drain"], "")
    stranger = f"{other}/client/x"
    with open(f"{stranger}/ca.crt", "wb") as handle:
        handle.write(read_file(f"{ca}/ca.crt"))
    ask = scheduler_pb2.ListNodesRequest()
    for what, at, name in (("of another CA", stranger, None), ("that has expired", expired(ca), None)):
        with secure(at, port, name) as channel:
            same(f"a certificate {what}",
                 status_of(scheduler_pb2_grpc.SchedulerStub(channel).ListNodes, ask)[0], "UNAVAILABLE")
    with secure(f"{ca}/client/ops", port, "other.example") as channel:
        same("a server's certificate with another name",
             status_of(scheduler_pb2_grpc.SchedulerStub(channel).ListNodes, ask)[0], "UNAVAILABLE")
    with channel_to(f"127.0.0.1:{port}") as channel:
        same("no TLS at all",
             status_of(scheduler_pb2_grpc.SchedulerStub(channel).ListNodes, ask)[0], "UNAVAILABLE")
    for what, options, pattern in (
            ("without TLS", (), "127.0.0.1"),
            ("with an expired certificate", tls(f"{ca}/client/late"), "127.0.0.1"),
            ("that wants another server name",
             (*tls(f"{ca}/client/ops"), "--server-name", "other.example"), "127.0.0.1")):
        result = command("nodes", port=port, options=options)
        check(f"numastow {what} has one line", result.one_line() and pattern in result.err, result)
    with secure(f"{ca}/agent/web", port) as channel:
        thief = FakeAgent(channel, full_report("db"))
        thief.wait("welcome")
        check("an agent for another node", thief.error and
              thief.error.code() == grpc.StatusCode.PERMISSION_DENIED, thief.error)


# --- callers with access ----------------------------------------------------------------------------------


def check_large(what, place):
    for size, wanted in ((5, "RESOURCE_EXHAUSTED"), (100, "UNAVAILABLE")):
        big = scheduler_pb2.PlaceRequest(pods=[scheduler_pb2.PodRequest(name="x" * (size * MIB))])
        same(f"{what}: a message of {size} MiB", status_of(place, big)[0], wanted)
    many = scheduler_pb2.PlaceRequest(pods=[scheduler_pb2.PodRequest(cpus=1)] * 100000)
    status, why = status_of(place, many)
    check(f"{what}: a hundred thousand pods", status in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED") and
          "\n" not in why, f"{status} {why}")


def check_bloat(what, channel, method):
    """Two million fields of two bytes, each of which would take two hundred in memory."""
    raw = channel.unary_unary(method)
    for kind, unit in (("unknown fields", b"\x78\x00"), ("unknown texts", b"\x7a\x00"), ("empty messages", b"\x0a\x00")):
        status, why = status_of(raw, unit * (2000 << 10))
        check(f"{what}: four megabytes of {kind}", status == "RESOURCE_EXHAUSTED" and
              "too many fields for its size" in why, f"{status} {why}")


def check_garbage(what, channel, method):
    raw = channel.unary_unary(method)
    for kind, data in (("garbage", os.urandom(3000)), ("a cut message", b"\x0a\x05ab"),
                       ("nested lengths", b"\x0a\xff\xff\xff\xff\x0f"), ("nothing but 0xff", b"\xff" * 100)):
        status, why = status_of(raw, data)
        check(f"{what}: {kind} instead of a message",
              status in ("INTERNAL", "INVALID_ARGUMENT") and "\n" not in why, f"{status} {why}")


def connect(address, wrap=None):
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.socket()
    sock.connect(address)  # a unix socket with a timeout would not wait for its place in the queue
    sock.settimeout(PATIENCE)
    return wrap(sock) if wrap else sock


def is_dropped(sock):
    """Whether the other side closes the connection, whatever it sends before that."""
    try:
        while sock.recv(65536):
            pass
        return True
    except (ConnectionError, ssl.SSLError):
        return True
    except socket.timeout:
        return False
    finally:
        sock.close()


def check_bytes(what, address, wrap=None):
    """Bytes on a connection that are not gRPC, and connections on which nothing comes."""
    for kind, data in (("garbage", os.urandom(5000)), ("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                       ("a preface and garbage", PREFACE + os.urandom(5000))):
        sock = connect(address, wrap)
        try:
            sock.sendall(data)
        except OSError:
            pass
        check(f"{what}: {kind} ends the connection", is_dropped(sock))
    idle = [connect(address) for _ in range(200)]
    half = [connect(address, wrap) for _ in range(20)]
    for sock in half:
        try:
            sock.sendall(PREFACE[:30])
        except OSError:
            pass  # too slow, for a server that ends handshakes which take long
    return idle + half


def check_rapid_reset(what, address, wrap):
    """Streams opened and reset without end (CVE-2023-44487)."""
    sock = connect(address, wrap)
    header = bytes.fromhex("838604") + b"\x0c/numastow.v1/" [:1] + b"/numastow.v1"
    sent = 0
    try:
        sock.sendall(PREFACE)
        for stream in range(1, 40001, 2):
            frame = len(header).to_bytes(3, "big") + b"\x01\x04" + stream.to_bytes(4, "big") + header
            reset = b"\x00\x00\x04\x03\x00" + stream.to_bytes(4, "big") + b"\x00\x00\x00\x08"
            sock.sendall(frame + reset)
            sent += 1
    except OSError:
        pass
    sock.close()
    print(f"# {what}: {sent} streams reset")


def check_slow_reader(server, place_channel, slow_channel):
    """A client that watches and does not read: its stream ends, and what the scheduler keeps for it is bounded."""
    stub = scheduler_pb2_grpc.SchedulerStub(place_channel)
    # Big nodes, so that every event is some hundred kB.
    crowd = [node_pb2.Container(id=f"{i:064d}", reason="r" * 200, cpus="0-7", numa_nodes="0")
             for i in range(1000)]
    report = full_report("crowded")
    report.containers.extend(crowd)
    agent = come_back(lambda: FakeAgent(place_channel, report))
    lazy = scheduler_pb2_grpc.SchedulerStub(slow_channel).WatchNodes(
        scheduler_pb2.WatchNodesRequest(containers=True), timeout=PATIENCE)
    next(lazy)
    before = resident(server.process.pid)
    for i in range(300):
        crowd[0].reason = str(i)
        agent.send_change(containers=[crowd[0]])
    check("a slow reader: the reports get through", eventually(lambda: [
        n.report.sequence for n in stub.ListNodes(scheduler_pb2.ListNodesRequest(names=["crowded"]),
                                                  timeout=PATIENCE).nodes] >= [301]))
    grown = resident(server.process.pid) - before
    check("a slow reader: little is kept for it", grown < 64 * MIB, f"{grown >> 20} MiB")
    print(f"# a slow reader: the scheduler grew by {grown >> 10} KiB")
    agent.close()
    return lazy


def raw_report(channel, report):
    """A stream with one report, in which "@@@@" becomes invalid UTF-8: the queue of its messages, and the call."""
    out = queue.Queue()
    out.put(scheduler_pb2.ReportRequest(report=report).SerializeToString().replace(b"@@@@", b"\xff\xc0\x9b\x07"))
    return out, channel.stream_stream("/numastow.v1.Scheduler/Report",
                                      response_deserializer=scheduler_pb2.Directive.FromString)(
                                          iter(out.get, None), timeout=PATIENCE)


def welcomed(out, stream):
    """The same once the scheduler has accepted it; None while the machine's last stream has not ended there."""
    try:
        next(stream)
        return out, stream
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.ALREADY_EXISTS:
            raise
        out.put(None)
        return None


def check_texts(channel, good):
    """Invalid and oversized texts: in a request they are refused; in a machine's report they are cleaned and cut, so that others can
    read the list of machines."""
    stub = scheduler_pb2_grpc.SchedulerStub(channel)
    long = "x" * (900 << 10)
    for what, request in (("a pod's name", {"name": long}), ("a namespace", {"namespace": long}),
                          ("NUMA nodes", {"numa_nodes": "0," * (450 << 10)}), ("a bell", {"name": "a\a"})):
        status, why = status_of(stub.Place, scheduler_pb2.PlaceRequest(
            pods=[scheduler_pb2.PodRequest(cpus=1, node="web", **request)]))
        check(f"texts: {what} is refused", status == "INVALID_ARGUMENT" and "\n" not in why and len(why) < 200,
              f"{status} {why[:300]}")
    streams = []
    for name in ("crowded", "loud"):
        report = full_report(name)
        report.version, report.failure_domain = "@@@@" + "v" * (3 << 20), "@@@@"
        report.containers.add(id="@@@@", pod="@@@@" * 1000, reason="r" * 100000, numa_nodes="0")
        streams.append(eventually(lambda wanted=report: welcomed(*raw_report(channel, wanted))))
    nodes = {n.report.name: n for n in stub.ListNodes(scheduler_pb2.ListNodesRequest(containers=True),
                                                      timeout=PATIENCE).nodes}
    check("texts: other clients can read the list", {"crowded", "loud", "web"} <= set(nodes), list(nodes))
    odd = nodes["loud"].report
    check("texts: what is shown is short", len(odd.version) <= 253 and len(odd.containers[0].pod) <= 253 and
          len(odd.containers[0].reason) <= 1024 and odd.failure_domain.startswith("?"), odd.failure_domain)
    names, token = [], ""
    while True:
        page = stub.ListNodes(scheduler_pb2.ListNodesRequest(page_size=1, page_token=token), timeout=PATIENCE)
        names += [n.report.name for n in page.nodes]
        token = page.next_page_token
        if not token:
            break
    same("texts: pages of one have all", names, sorted(nodes))
    good.report("invalid texts")
    for out, stream in streams:
        out.put(None)
        stream.cancel()


def check_unknown_ids(channel, alone, good):
    """Reports that list thousands of unknown reservations: too many are refused, and the others are looked up a few at a time.
    `alone` is another connection, which the first agent's reports do not fill."""
    report = full_report("crowded")
    agent = come_back(lambda: FakeAgent(channel, report))
    stub = scheduler_pb2_grpc.SchedulerStub(channel)
    ask = scheduler_pb2.ListReservationsRequest(node="crowded")
    for i in range(30):
        agent.bound = {f"{i + 1 << 32 | n:016x}": scheduler_pb2.Reservation() for n in range(4096)}
        agent.send_change()
    check("unknown ids: every report is taken", eventually(lambda: [
        n.report.sequence for n in stub.ListNodes(scheduler_pb2.ListNodesRequest(names=["crowded"]),
                                                  timeout=PATIENCE).nodes] >= [31]), agent.error)

    def known():
        agent.send_change()
        return len(stub.ListReservations(ask, timeout=PATIENCE).reservations)

    check("unknown ids: they are looked up with time", eventually(lambda: 0 < known() <= 4096), agent.error)
    agent.close()
    good.report("unknown ids")
    agent = come_back(lambda: FakeAgent(alone, full_report("loud")))
    agent.bound = {f"{n + 1:016x}": scheduler_pb2.Reservation() for n in range(60000)}
    agent.send_change()
    check("unknown ids: sixty thousand are refused", eventually(lambda: agent.error, 3 * PATIENCE) and
          agent.error.code() == grpc.StatusCode.INVALID_ARGUMENT, agent.error)
    good.report("sixty thousand unknown ids")
    agent.close()


def check_scheduler(folder):
    ca = f"{folder}/ca"
    run([CA, "init", ca], "")
    run([CA, "scheduler", ca, "127.0.0.1"], "")
    run([CA, "client", ca, "ops", "drain"], "")
    run([CA, "agent", ca, "web"], "")
    with start_scheduler(f"{folder}/data", *tls(f"{ca}/scheduler/127.0.0.1"), "--role",
                         "ops=agent/crowded,ops=agent/loud", "--metrics", f"127.0.0.1:{free_port()}") as server, \
            secure(f"{ca}/client/ops", server.port) as channel, \
            secure(f"{ca}/agent/web", server.port) as at_web:
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        web = FakeAgent(at_web, full_report("web", cpus=64))
        check("an agent is welcomed", web.wait("welcome"), web.error)
        good = Good(stub, "web")
        good.start()
        check_certificates(folder, ca, server.port)
        good.report("bad certificates")
        # A message that is far too long ends the connection: use one that no other client shares.
        with secure(f"{ca}/client/ops", server.port, own=True) as alone:
            check_large("scheduler", scheduler_pb2_grpc.SchedulerStub(alone).Place)
        check_bloat("scheduler", channel, "/numastow.v1.Scheduler/Place")
        check_garbage("scheduler", channel, "/numastow.v1.Scheduler/Place")
        good.report("bad messages")
        context = ssl.create_default_context(cafile=f"{ca}/ca.crt")
        context.load_cert_chain(f"{ca}/client/ops/tls.crt", f"{ca}/client/ops/tls.key")
        context.set_alpn_protocols(["h2"])

        def wrap(sock):
            return context.wrap_socket(sock, server_hostname="127.0.0.1")

        address = ("127.0.0.1", server.port)
        idle = check_bytes("scheduler", address, wrap)
        check_rapid_reset("scheduler", address, wrap)
        good.report("garbage, and 220 connections that say nothing")
        with secure(f"{ca}/client/ops", server.port) as slow:
            lazy = check_slow_reader(server, channel, slow)
            good.report("a slow reader")
            lazy.cancel()
        with secure(f"{ca}/client/ops", server.port, own=True) as alone:
            check_unknown_ids(channel, alone, good)
        check_texts(channel, good)
        for sock in idle:
            sock.close()
        good.over.set()
        good.join()
        longest = re.search(r"held_longest_seconds ([0-9.e-]+)", metrics_of(server)).group(1)
        print(f"# the longest hold of the scheduler's lock: {float(longest) * 1000:.1f} ms")
        web.close()
        check("the scheduler has been there all the time", server.process.poll() is None)
        refused = server.wait("request refused", method="Report")
        check("audit: an agent that reports for another node", refused and refused["caller"] == "web" and
              refused["code"] == "PERMISSION_DENIED" and "db" in refused["result"], refused)
        placed = server.wait("request", method="Place", code="OK")
        check("audit: a placement, with its caller and result", placed and placed["caller"] == "ops" and
              "node=web" in placed["request"] and "@web" in placed["result"] and
              "127.0.0.1" in placed["address"] and placed["duration_us"] > 0, placed)
        check("audit: a release", server.wait("request", method="Release", code="OK",
                                                     result="released 1"))


# --- the agent's socket ---------------------------------------------------------------------------


def in_container(*words):
    """A process with the namespaces of a container, as root in it, with the machine's files."""
    return subprocess.run(["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount",
                           "--mount-proc", *words], capture_output=True, text=True, check=False,
                          timeout=PATIENCE)


def check_agent(folder):
    machine = Machine(f"{folder}/m")
    with start_agent(machine, "m", 0) as program, channel_to(f"unix:{program.socket}") as channel:
        stub = agent_pb2_grpc.AgentStub(channel)
        raw = channel.unary_unary("/numastow.v1.Agent/Explain")
        for size, wanted in ((5, "RESOURCE_EXHAUSTED"), (100, "UNAVAILABLE")):
            same(f"agent: a message of {size} MiB", status_of(raw, bytes(size * MIB))[0], wanted)
        check_bloat("agent", channel, "/numastow.v1.Agent/Explain")
        check_garbage("agent", channel, "/numastow.v1.Agent/Explain")
        idle = check_bytes("agent", program.socket)
        check("agent: it still answers", stub.GetNode(agent_pb2.GetNodeRequest(),
                                                      timeout=PATIENCE).name == "m")
        for sock in idle:
            sock.close()
        if os.geteuid() or in_container("true").returncode:
            skip("agent: root in a container", "this machine lets nobody make user namespaces")
            return
        own = command("repin", "nobody", socket=program.socket)
        check("agent: root of the machine may repin", "no container nobody" in own.err, own)
        argv = ["--config", "/dev/null", "--agent", program.socket]
        numastow = os.path.join(os.path.dirname(program.process.args[0]), "numastow")
        inside = in_container(numastow, "repin", "nobody", *argv)
        check("agent: root in a container may not", inside.returncode == 1 and
              "permitted only to the machine's root" in inside.stderr and "in a container" in inside.stderr,
              inside)
        inside = in_container(numastow, "containers", *argv)
        check("agent: nor see the containers", inside.returncode == 1 and "only to root" in inside.stderr,
              inside)
        inside = in_container(numastow, "node", *argv)
        check("agent: but what the machine has", inside.returncode == 0 and "m" in inside.stdout, inside)


with Temp() as temp:
    check_scheduler(temp)
    check_agent(temp)
finish()
