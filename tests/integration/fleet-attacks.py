#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks by peers without rights, or with bad intentions: while each of them goes on, a client with rights is answered, and
it leaves no trace. (fleet-hostile.py has messages that are invalid.)

--unit-limit: only more silent connections than the unit allows descriptors, which needs a hard limit of that many."""
import contextlib
import ctypes
import gzip
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc

from daemons import PATIENCE, free_port, tls
from fleetlib import (MIB, FakeAgent, Growth, Patience, agent_pb2, agent_pb2_grpc, channel_to, eventually, full_report,
                      logged, numa_node, scheduler_pb2, scheduler_pb2_grpc, start_agent, start_scheduler, status_of)
from harness import PROJECT, Machine, Temp, check, finish, run, same, skip
from peerlib import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RESET,
                     SETTINGS, UNKNOWN, WINDOW, Peer, announced, field, frame, headers)

FULL = "--full" in sys.argv[1:]
CA = os.path.join(PROJECT, "deploy/numastow-ca")
PER_PEER = 4
REFUSALS = 2000
UNIT_LIMIT = 65536  # LimitNOFILE= in numastow-scheduler.service


# --- names ----------------------------------------------------------------------------------------


def certificate(ca, name, subject, san):
    """Make a client's certificate, with any subject: a CA that others use, too, may sign one."""
    at = f"{ca}/client/{name}"
    os.makedirs(at)
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", f"{at}/tls.key", "-subj",
                    "/CN=" + subject.replace("/", "\\/"), "-out", f"{at}/csr"], check=True, capture_output=True)
    with open(f"{at}/ext", "w", encoding="utf-8") as handle:
        handle.write(f"subjectAltName = {san}\nextendedKeyUsage = clientAuth\n")
    subprocess.run(["openssl", "x509", "-req", "-in", f"{at}/csr", "-CA", f"{ca}/ca.crt", "-CAkey",
                    f"{ca}/ca.key", "-days", "2", "-extfile", f"{at}/ext", "-out", f"{at}/tls.crt"],
                   check=True, capture_output=True)
    with open(f"{ca}/ca.crt", "rb") as source, open(f"{at}/ca.crt", "wb") as copy:
        copy.write(source.read())
    return at


def secure(folder, port):
    def read(name):
        with open(f"{folder}/{name}", "rb") as handle:
            return handle.read()
    credentials = grpc.ssl_channel_credentials(read("ca.crt"), read("tls.key"), read("tls.crt"))
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, [("grpc.enable_http_proxy", 0),
                                                                   ("grpc.use_local_subchannel_pool", 1)])


def check_names(ca, port):
    """A role or an agent must be named by a URI: the same text as a common name or DNS name has no rights."""
    drain = "numastow:role/drain"
    for what, at in (("a common name", certificate(ca, "by-cn", drain, "DNS:x.example")),
                     ("a DNS name", certificate(ca, "by-dns", "x", f"DNS:{drain}"))):
        with secure(at, port) as channel:
            stub = scheduler_pb2_grpc.SchedulerStub(channel)
            same(f"{what} that reads like a role may not read",
                 status_of(stub.ListNodes, scheduler_pb2.ListNodesRequest())[0], "PERMISSION_DENIED")
    for what, at in (("a common name", certificate(ca, "agent-cn", "numastow:agent/db", "DNS:x.example")),
                     ("a DNS name", certificate(ca, "agent-dns", "x", "DNS:numastow:agent/db"))):
        with secure(at, port) as channel:
            stub = scheduler_pb2_grpc.SchedulerStub(channel)
            report = scheduler_pb2.ReportRequest(report=full_report("db"))
            same(f"{what} that reads like an agent's may not report",
                 status_of(stub.Report, iter([report]))[0], "PERMISSION_DENIED")


# --- many behind one address ----------------------------------------------------------------------


class Strangers(threading.Thread):
    """Connections from 127.0.0.1 that say nothing, dialled again when they are closed."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.port, self.over, self.socks, self.dialled = port, threading.Event(), [None] * number, 0
        self.start()

    def run(self):
        while not self.over.wait(0.5):
            for i, sock in enumerate(self.socks):
                try:
                    if not sock:
                        self.socks[i] = socket.create_connection(("127.0.0.1", self.port), 1)
                        self.socks[i].setblocking(False)
                        self.dialled += 1
                    elif not sock.recv(1):
                        raise ConnectionResetError
                except BlockingIOError:
                    pass
                except OSError:
                    if sock:
                        sock.close()
                    self.socks[i] = None

    def stop(self):
        self.over.set()
        self.join()
        for sock in filter(None, self.socks):
            sock.close()


def check_address(ca, port):
    """Machines behind one address, as by NAT, with strangers there: each agent counts by its certificate, so the limit of
    the address is that of connections without an allowed call."""
    channels = []

    def agent(name):
        channels.append(secure(f"{ca}/agent/{name}", port))
        return FakeAgent(channels[-1], full_report(name))
    names = [f"nat-{i}" for i in range(PER_PEER + 2)]
    for name in names:
        run([CA, "agent", ca, name], "")
    agents = []
    for name in names[:-1]:  # one after the other: before its first call, each counts as the address's
        agents.append(agent(name))
        check("one address: more agents than connections of a peer", agents[-1].wait("welcome"), agents[-1].error)
    strangers = Strangers(port, 4 * PER_PEER)
    check("one address: strangers have its connections", eventually(lambda: strangers.dialled > 8 * PER_PEER),
          strangers.dialled)

    def comes():
        late = agent(names[-1])
        if late.wait("welcome"):
            return late
        late.close()
        return None
    late = eventually(comes)
    check("one address: an agent is not kept out by strangers", late)
    same("one address: those that are connected stay", [a.error for a in agents], [None] * len(agents))
    strangers.stop()
    for one in (*agents, *filter(None, [late])):
        one.close()
    for channel in channels:
        channel.close()


# --- descriptors ----------------------------------------------------------------------------------

EXPLAIN, WATCH, REPIN = (f"/numastow.v1.Agent/{m}" for m in ("Explain", "WatchNode", "Repin"))
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class Right(threading.Thread):
    """A client with rights, which calls again and again; over a new connection each time, if `ask` makes one."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self.ask, self.over, self.done, self.wrong = ask, threading.Event(), 0, []
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            try:
                self.ask()
                self.done += 1
            except grpc.RpcError as error:
                self.wrong.append(error.details())

    def check(self, what):
        """Check that the client is still answered, and that no call has failed."""
        before = self.done
        check(f"{what}: a right client is answered", eventually(lambda: self.done > before + 3) and
              not self.wrong, self.wrong[:3])

    def stop(self):
        self.over.set()
        self.join()


def dial_all(address, number, sources=1):
    """Open silent connections, from that many addresses, until the other side accepts no more."""
    socks = []
    for i in range(number):
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        sock.settimeout(5)
        try:
            if sources > 1:
                sock.bind((f"127.0.1.{i % sources + 1}", 0))
            sock.connect(address)
        except OSError:
            sock.close()
            break
        socks.append(sock)
    return socks


class Crowd:
    """Silent connections, held by as many processes as their descriptors need."""

    def __init__(self, address, number, sources):
        self.ends = []
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2
        for at in range(0, number, most):
            self.ends.append(as_stranger("silent", address, min(most, number - at), sources))

    def close(self):
        for end in self.ends:
            end()


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def answered(port):
    """Return whether a call over a new connection succeeds."""
    with channel_to(f"127.0.0.1:{port}") as channel:
        return status_of(scheduler_pb2_grpc.SchedulerStub(channel).ListNodes,
                         scheduler_pb2.ListNodesRequest(), timeout=5)[0] == "OK"


def metric(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    return None


def may_open(number):
    """Return how many descriptors our processes may have, at most that number; as root, raise the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < number:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, number))
        except (OSError, ValueError):
            pass
    return min(number, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def check_descriptors(folder, limit, number, sources):
    """More silent connections than descriptors: the port is served meanwhile, and afterwards."""
    what = f"{number} silent connections on {limit} descriptors"
    port = free_port()
    with start_scheduler(f"{folder}/few-{limit}", "--metrics", f"127.0.0.1:{port}",
                         limit=limit) as server, channel_to(f"127.0.0.1:{server.port}") as channel:
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        right = Right(lambda: stub.ListNodes(scheduler_pb2.ListNodesRequest(), timeout=PATIENCE))
        right.check("before")
        crowd = Crowd(("127.0.0.1", server.port), number, sources)
        right.check(what)
        check(f"{what}: a new client is answered meanwhile", eventually(lambda: answered(server.port)))
        check(f"{what}: descriptors are left", eventually(lambda: open_files(server.process.pid) < limit - 20),
              open_files(server.process.pid))
        check(f"{what}: metrics are served", metric(
            port, 'numastow_scheduler_rpc_refused_total{reason="peer"}') is not None)
        crowd.close()
        check(f"{what}: afterwards, too", eventually(lambda: answered(server.port)))
        right.stop()
        check(f"{what}: it has been there all the time", server.process.poll() is None)


def check_starved(folder):
    """The program has no descriptors left at all: its listener survives that."""
    with start_scheduler(f"{folder}/starved") as server:
        used = open_files(server.process.pid)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 8, used + 300))
        socks = dial_all(("127.0.0.1", server.port), 50)
        time.sleep(0.5)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 300, used + 300))
        for sock in socks:
            sock.close()
        check("no descriptor at all, then some: the port is there again",
              eventually(lambda: answered(server.port)))


def check_pace(folder):
    """A machine that reports without end: its own reports wait, those of other machines do not."""
    rate, burst = 5, 25  # fewer a second than any machine sends
    metrics = free_port()
    with start_scheduler(f"{folder}/pace", "--max-reports", str(rate), "--metrics", f"127.0.0.1:{metrics}") as server, \
            channel_to(f"127.0.0.1:{server.port}") as channel, \
            channel_to(f"127.0.0.1:{server.port}", **{"grpc.use_local_subchannel_pool": 1}) as other:
        loud, quiet = FakeAgent(other, full_report("loud")), FakeAgent(channel, full_report("quiet"))
        check("two machines are welcomed", loud.wait("welcome") and quiet.wait("welcome"))
        began = time.monotonic()
        loud.heart.set()
        number = 0

        def held():
            nonlocal number
            for _ in range(burst):
                loud.send_change()
                number += 1
            return metric(metrics, "numastow_scheduler_reports_held_total")
        check("that reports wait is counted", eventually(held))
        quiet.send_change(numa_nodes=[numa_node(1, memory=5 << 30)])
        stub = scheduler_pb2_grpc.SchedulerStub(channel)

        def shown(name):
            return stub.ListNodes(scheduler_pb2.ListNodesRequest(names=[name]), timeout=PATIENCE).nodes[0].report
        check("another machine's report comes through",
              eventually(lambda: shown("quiet").numa_nodes[1].memory_total == 5 << 30))
        check("a pod is placed", stub.Place(scheduler_pb2.PlaceRequest(pods=[scheduler_pb2.PodRequest(
            name="p", cpus=1, node="quiet")], confirmed=True), timeout=PATIENCE).reservations)
        check("all reports are taken in the end", eventually(lambda: shown("loud").sequence == loud.sequence))
        least = (number - 1 - burst) / rate  # the last one is shown before it waits
        took = time.monotonic() - began
        check("but no faster than is allowed", took >= least - 0.1, f"{took:.1f} s, at least {least:.1f}")
        check("and said", server.wait("node reports too often: its reports wait", node="loud"), server.said[-3:])
        check("the loud one is still there", not loud.error, loud.error)


def check_silent(folder):
    """Many machines that are silent at once: the scheduler writes some lines, and how many there are."""
    number = 60
    patience = Patience(folder)
    with start_scheduler(f"{folder}/silent", config=patience.path) as server, \
            channel_to(f"127.0.0.1:{server.port}") as channel:
        agents = [FakeAgent(channel, full_report(f"s-{i}")) for i in range(number)]
        check("many machines are welcomed", all(agent.wait("welcome") for agent in agents))
        for agent in agents:
            agent.heart.set()
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        check("all of them are stale", all(patience.await_stale(server, stub, f"s-{i}") for i in range(number)))
        lines = logged(server, "node not ready: it is silent, and nothing new is placed there")
        check("silent machines: some lines", 1 < len(lines) < number / 2, len(lines))
        for agent in agents:
            agent.close()


def check_scheduler(folder):
    ca = f"{folder}/ca"
    run([CA, "init", ca], "")
    run([CA, "scheduler", ca, "127.0.0.1"], "")
    with start_scheduler(f"{folder}/data", *tls(f"{ca}/scheduler/127.0.0.1"), "--max-connections-per-peer",
                         str(PER_PEER)) as server:
        check_names(ca, server.port)
        check_address(ca, server.port)
    check_descriptors(folder, 700, 900, 4)
    if FULL:
        limit = may_open(UNIT_LIMIT)
        if limit < UNIT_LIMIT:
            skip(f"{UNIT_LIMIT} descriptors, as in the unit", f"this process may have {limit} only")
        check_descriptors(folder, limit, limit + 4000, 40)
    check_starved(folder)
    check_pace(folder)
    check_silent(folder)


# --- the agent's socket ---------------------------------------------------------------------------

def check_gzip(program, stub):
    """A megabyte that unpacks to a gigabyte: it is not unpacked."""
    growth = Growth(program.process.pid)
    bomb = gzip.compress(bytes(1 << 30), 9)
    for what, more in (("said", (("grpc-encoding", "gzip"),)), ("not said", ())):
        peer = Peer(program.socket)
        stream = peer.call(EXPLAIN, *more)
        peer.read(PATIENCE)
        peer.send(stream, announced(len(bomb), 1) + bomb, END_STREAM)
        check(f"a compressed message, its encoding {what}, is refused",
              peer.hears(b"is disabled") if more else peer.hears(b"not a message"), peer.heard)
        peer.close()
    grown = growth.most()
    check("a gigabyte that was packed: it takes little", grown < 64 * MIB * Growth.ROOM, f"{grown >> 20} MiB")
    check("and the agent answers", stub.GetNode(agent_pb2.GetNodeRequest(), timeout=PATIENCE).name == "m")
    with channel_to(f"unix:{program.socket}", **{"grpc.default_compression_algorithm": 2}) as channel:
        status, why = status_of(agent_pb2_grpc.AgentStub(channel).Explain, agent_pb2.AgentExplainRequest())
        check("a library's compression is refused in one line", status == "UNIMPLEMENTED" and
              "compress" in why.lower() and "\n" not in why, f"{status} {why}")


# Connects as root in namespaces of its own, and leaves the connection to its parent.
CONNECT = """
import socket, sys
at = socket.socket(socket.AF_UNIX)
at.connect(sys.argv[1])
over = socket.socket(fileno=int(sys.argv[2]))
socket.send_fds(over, [b"x"], [at.fileno()])
"""


def take_number(number):
    """Start a process of root with that number; None: the kernel gave it another."""
    for _ in range(20):
        try:
            with open("/proc/sys/kernel/ns_last_pid", "w", encoding="utf-8") as handle:
                handle.write(str(number - 1))
        except OSError:
            return None
        process = subprocess.Popen(["sleep", "600"])
        if process.pid == number:
            return process
        process.kill()
        process.wait()
    return None


def check_number(program):
    """The process that has connected ends, and a process of root gets its number: the connection has no rights of root."""
    if os.geteuid():
        skip("a process's number that is another's by now", "needs root")
        return
    program.process.send_signal(signal.SIGSTOP)  # so that the connection waits
    ours, theirs = socket.socketpair()
    child = subprocess.Popen(["unshare", "--mount", sys.executable, "-c", CONNECT, program.socket,
                              str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    child.wait()
    other = take_number(child.pid)
    program.process.send_signal(signal.SIGCONT)
    if not other:
        skip("a process's number that is another's by now", "the kernel gives no chosen numbers")
        return
    peer = Peer(socket.socket(fileno=descriptors[0]))
    peer.ask("/numastow.v1.Agent/Repin", b"\x0a\x06nobody")
    heard = peer.hears(b"no container nobody", 5)
    # Linux before 6.5 cannot say more than the number.
    known = socket.socketpair(socket.AF_UNIX)
    try:
        known[0].getsockopt(socket.SOL_SOCKET, 77, 4)
        check("a process's number that is another's by now has no rights", not heard, peer.heard)
    except OSError:
        skip("a process's number that is another's by now", "this kernel has no SO_PEERPIDFD")
    peer.close()
    other.kill()
    other.wait()


def check_stream_ends(machine):
    """A stream that needs no permission has an end, whatever is sent on it."""
    with start_agent(Machine(f"{machine.path}-2"), "m2", 0, "--request-timeout", "1s") as program:
        peer = Peer(program.socket)
        stream = peer.call(REFLECT)
        peer.say(frame(DATA, 0, stream, announced(2) + b"\x3a\x00" + announced(100)))
        check("a stream of reflection has an end", peer.hears(b"not complete within 1000 ms") and stream in peer.ended,
              peer.heard)
        peer.close()


# --- attacks on the agent by another user, on the scheduler with a certificate -------------------

# `where`: the agent's socket, or the scheduler's host and port, the folder of a certificate, and the method to call.


def methods(where):
    return (EXPLAIN, WATCH) if isinstance(where, str) else (where[3], where[3])


def silent(address, number, sources=1):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    return dial_all(tuple(address) if isinstance(address, list) else address, number, sources)


def unfinished(where):
    peers = [Peer(where) for _ in range(8)]
    for _ in range(64):
        for peer in peers:
            peer.read(0.001)
            stream = peer.call(methods(where)[0])
            peer.say(frame(DATA, 0, stream, announced(4 << 20)))
            peer.send(stream, bytes(1 << 20), seconds=0.05)
    return peers


def readers(where):
    """Give a window that takes everything, and read nothing."""
    peers = [Peer(where, settings=struct.pack(">HI", 4, 0x7fffffff)) for _ in range(12)]
    for peer in peers:
        peer.say(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fff0000)))
        for _ in range(1000):
            peer.ask(methods(where)[1])
    time.sleep(1)
    return peers


def flood(where, message, connections=8):
    """Send a frame again and again, until the other side takes no more of it, and read no answer."""
    peers = [Peer(where) for _ in range(connections)]
    for peer in peers:
        peer.sock.settimeout(1)
        for _ in range(500):
            if not peer.say(message * 1000):
                break
    return peers


def pings(where):
    return flood(where, frame(PING, 0, 0, bytes(8)))


def settings(where):
    return flood(where, frame(SETTINGS, 0, 0))


def frames(where):
    """Frames without an effect, one kind on each connection."""
    return [flood(where, frame(kind, 0, stream, data), 1) for kind, stream, data in (
        (GOAWAY, 0, bytes(8)), (PRIORITY, 1, bytes(5)), (WINDOW, 0, struct.pack(">I", 1)), (UNKNOWN, 0, bytes(100)),
        (UNKNOWN, 0, b""))]


def dripping(where):
    """Connections that begin with TLS and send a byte now and then; a certificate whose chain is a megabyte long."""
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(190)
    socks = dial_all(tuple(where[:2]), 200)
    for byte in hello[:40]:
        for sock in socks:
            try:
                sock.sendall(bytes((byte,)))
            except OSError:
                pass  # it has closed the connection
        time.sleep(0.05)
    for _ in range(8):
        try:
            socks.append(Peer((*where[:2], where[4])))
        except OSError:
            pass  # it refused the chain
    return socks


def resets(where):
    """Open streams, and reset each at once (CVE-2023-44487)."""
    peers = [Peer(where) for _ in range(8)]
    for peer in peers:
        peer.sock.settimeout(1)
        for _ in range(2000):
            if not peer.say(frame(RESET, 0, peer.call(methods(where)[0]), struct.pack(">I", 8))):
                break
    return peers


def small_calls(where, number):
    """That many calls, of ten bytes each."""
    # The fields of the first enter the table of recent ones (RFC 7541, 6.2.1), from which the others take them.
    return frame(HEADERS, END_HEADERS, 1, headers(methods(where)[0]).replace(b"\0", b"\x40")) + b"".join(
        frame(HEADERS, END_HEADERS, stream, bytes(range(0xc3, 0xbd, -1))) for stream in range(3, 2 * number, 2))


def crowd(where):
    peers = [Peer(where) for _ in range(200)]
    for peer in peers:
        peer.say(small_calls(where, 1000))
    time.sleep(2)
    return peers


def later(where):
    """Streams whose second message never ends, beside small ones that are whole."""
    peers = [Peer(where, settings=struct.pack(">HI", 4, 0x7fffffff)) for _ in range(8)]
    small = announced(2) + b"\x3a\x00"
    for peer in peers:
        peer.sock.settimeout(1)
        peer.say(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fff0000)))
    for _ in range(64):
        for peer in peers:
            beside, stream = peer.call(REFLECT), peer.call(REFLECT)
            peer.send(stream, small + announced(4 << 20) + bytes(1 << 20), seconds=0.05)
            peer.say(frame(DATA, 0, beside, small) * 1000 + frame(DATA, END_STREAM, beside, small))
            while peer.read(0.001):
                pass
    return peers


def refusals(where):
    """Calls without permission, and after a while one more."""
    peer = Peer(where)
    for i in range(REFUSALS):
        stream = peer.ask(REPIN)
        if i == REFUSALS - 2:
            time.sleep(6)
        if i % 32 == 0 or i >= REFUSALS - 2:
            while stream not in peer.ended and peer.read(PATIENCE):
                pass
    return [peer]


def unacknowledged(where):
    """Calls without end, on connections that never acknowledge the SETTINGS that limit calls."""
    peers = [Peer(where) for _ in range(8)]
    for peer in peers:
        peer.say(small_calls(where, 8000))
    time.sleep(1)
    for peer in peers:
        peer.say(frame(PING, 0, 0, bytes(8)))  # they are read now, if not before
    time.sleep(1)
    return peers


def fields(where):
    """Calls with two hundred kilobytes of header fields, and one whose fields never end."""
    peers, many = [Peer(where) for _ in range(12)], b"".join(field(f"x-{i:03}", "v" * 100) for i in range(150))
    for i, peer in enumerate(peers):
        peer.sock.settimeout(1)
        for _ in range(20 if i % 3 else 1):
            stream, peer.next = peer.next, peer.next + 2
            said = peer.say(frame(HEADERS, 0, stream, headers(methods(where)[0])))
            for _ in range(12 if i % 3 else 4000):
                said = said and peer.say(frame(CONTINUATION, 0, stream, many))
            if not said or not i % 3 or not peer.say(frame(CONTINUATION, END_HEADERS, stream, many)):
                break
    return peers


def halves(where):
    """Calls that end before their message, and connections whose sending half is closed after whole calls."""
    peers = [Peer(where) for _ in range(100)]
    for i, peer in enumerate(peers):
        peer.sock.settimeout(1)
        for _ in range(20):
            if i % 2:
                peer.ask(methods(where)[0])
                continue
            for method in methods(where):
                peer.say(frame(HEADERS, END_HEADERS | END_STREAM, peer.next, headers(method)))
                peer.next += 2
        if i % 2:
            try:
                peer.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has closed the connection
    return peers


ATTACKS = {attack.__name__: attack for attack in (silent, unfinished, later, readers, pings, settings, frames, dripping,
                                                  resets, crowd, unacknowledged, fields, halves, refusals)}


def attack_until_told(name, *words):
    """Do this in the program that as_stranger() has started, until its standard input ends: as another user, on a socket."""
    words = [json.loads(word) for word in words]
    if not os.geteuid() and isinstance(words[0], str):
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    kept = ATTACKS[name](*words)
    print("x", flush=True)
    sys.stdin.read()
    del kept


def as_stranger(name, *arguments):
    """Run the attack in a program of its own, and return when everything is in place. The caller ends it by the function
    that this returns. (A process with channels of gRPC cannot fork on Debian 13: gRPC waits until they are idle.)"""
    program = subprocess.Popen([sys.executable, __file__, "--attack", name, *map(json.dumps, arguments)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    check("the attack is on", program.stdout.read(1) == b"x", "it has failed")

    def end():
        with program:
            program.stdin.close()
    return end


def asks_anew(program):
    def ask():
        """Call with wait_for_ready: gRPC tries again when connecting takes longer than its limit for one attempt."""
        with channel_to(f"unix:{program.socket}") as channel:
            agent_pb2_grpc.AgentStub(channel).GetNode(agent_pb2.GetNodeRequest(), timeout=PATIENCE, wait_for_ready=True)
    return ask


ON_BOTH = (("calls without an acknowledgement", "unacknowledged", 150), ("header fields without end", "fields", 40),
           ("200000 calls on 200 connections", "crowd", 150), ("512 unfinished messages", "unfinished", 150),
           ("512 unfinished messages beside small ones", "later", 150), ("12000 readers that do not read", "readers", 60),
           ("pings whose answers nobody reads", "pings", 150), ("settings without end", "settings", 150),
           ("frames without an effect", "frames", 150),
           ("streams that are reset", "resets", 150), ("half-closed calls and connections", "halves", 150))


def under_attack(program, ask, what, most, attack, *arguments):
    """A client with rights calls over a new connection each time, during the attack; `most`: MiB."""
    growth = Growth(program.process.pid)
    right = Right(ask)
    right.check(f"before {what}")
    end = as_stranger(attack, *arguments)
    right.check(what)
    grown = growth.most()
    check(f"{what}: it takes little", grown < most * MIB * Growth.ROOM, f"{grown >> 20} MiB")
    print(f"# {what}: it grew by {grown >> 10} KiB")
    end()
    right.check(f"after {what}")
    right.stop()


def reach(path):
    """Let other users reach it."""
    at = os.path.dirname(path)
    while at.startswith(tempfile.gettempdir()) or at.startswith("/dev/shm/"):
        os.chmod(at, 0o755)
        at = os.path.dirname(at)


def check_refusals(program):
    as_stranger("refusals", program.socket)()
    lines = logged(program, "request refused")
    check("refusals without end have a limit of lines", 1 < len(lines) < REFUSALS / 10, len(lines))
    same("and all are counted", sum(line["times"] for line in lines), REFUSALS)


def check_agent(folder):
    machine = Machine(f"{folder}/m")
    with start_agent(machine, "m", 0) as program, channel_to(f"unix:{program.socket}") as channel:
        stub = agent_pb2_grpc.AgentStub(channel)
        check_number(program)
        check_stream_ends(machine)
        reach(program.socket)
        under_attack(program, asks_anew(program), "3000 silent connections", 150, "silent", program.socket, 3000)
        for what, attack, most in ON_BOTH:
            under_attack(program, asks_anew(program), what, most, attack, program.socket)
        check_gzip(program, stub)
        check_refusals(program)


def places_anew(folder, port):
    def ask():
        with secure(folder, port) as channel:
            stub = scheduler_pb2_grpc.SchedulerStub(channel)
            pod = scheduler_pb2.PodRequest(name="p", cpus=1)
            held = stub.Place(scheduler_pb2.PlaceRequest(pods=[pod], confirmed=True), timeout=PATIENCE, wait_for_ready=True)
            stub.Release(scheduler_pb2.ReleaseRequest(ids=[held.reservations[0].id]), timeout=PATIENCE)
    return ask


def check_key_updates(at, port):
    """TLS 1.3 lets a peer change its key at any time: not without end, because each takes as long as a call."""
    lib = ctypes.CDLL("libssl.so.3")
    for function in (lib.TLS_client_method, lib.SSL_CTX_new, lib.SSL_new):
        function.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
    lib.SSL_CTX_use_certificate_chain_file(context, f"{at}/tls.crt".encode())
    lib.SSL_CTX_use_PrivateKey_file(context, f"{at}/tls.key".encode(), 1)
    lib.SSL_CTX_set_alpn_protos(context, b"\2h2", 3)
    tls13 = ctypes.c_void_p(lib.SSL_new(context))
    with socket.create_connection(("127.0.0.1", port)) as sock:
        lib.SSL_set_fd(tls13, sock.fileno())
        same("TLS 1.3", (lib.SSL_connect(tls13), lib.SSL_version(tls13)), (1, 0x304))
        hello = PREFACE + frame(SETTINGS, 0, 0)
        same("HTTP/2", lib.SSL_write(tls13, hello, len(hello)), len(hello))
        for _ in range(100):
            lib.SSL_key_update(tls13, 0)
            lib.SSL_do_handshake(tls13)
        peer = Peer.__new__(Peer)
        peer.sock = sock
        check("key updates without end: the connection ends", peer.is_dropped(15))  # silent, it would end after 40
    lib.SSL_free(tls13)
    lib.SSL_CTX_free(context)


def check_fences(ca, port):
    """Calls of Fence that wait: those of one caller leave room for those of another."""
    for name in ("greedy", "modest"):
        run([CA, "client", ca, name, "drain"], "")
    with contextlib.ExitStack() as channels:
        greedy = [scheduler_pb2_grpc.SchedulerStub(channels.enter_context(secure(f"{ca}/client/greedy", port)))
                  for _ in range(3)]
        modest = scheduler_pb2_grpc.SchedulerStub(channels.enter_context(secure(f"{ca}/client/modest", port)))
        pod = scheduler_pb2.PodRequest(name="p", cpus=1, node="good")
        check("a reservation waits", modest.Place(scheduler_pb2.PlaceRequest(pods=[pod], confirmed=True),
                                                  timeout=PATIENCE).reservations)
        fence = scheduler_pb2.FenceRequest(node="good", numa_nodes="0-1")
        waiting = [stub.Fence.future(fence, timeout=10 * PATIENCE) for stub in greedy for _ in range(100)]
        check("a caller has no more than its share of waiting fences", eventually(
            lambda: any(one.done() and one.code() == grpc.StatusCode.ABORTED for one in waiting)))
        same("and another caller's waits, too", status_of(modest.Fence, fence, timeout=3)[0], "DEADLINE_EXCEEDED")
        for one in waiting:
            one.cancel()


def check_certificates(folder):
    """A peer with an agent's certificate, and one that may do nothing, while a client places pods on another's machine."""
    ca = f"{folder}/tls"
    run([CA, "init", ca], "")
    run([CA, "scheduler", ca, "127.0.0.1"], "")
    for name in ("good", "bad"):
        run([CA, "agent", ca, name], "")
    run([CA, "client", ca, "right", "place"], "")
    with start_scheduler(f"{folder}/of-tls", *tls(f"{ca}/scheduler/127.0.0.1")) as server, \
            secure(f"{ca}/agent/good", server.port) as channel:
        good, ask = FakeAgent(channel, full_report("good")), places_anew(f"{ca}/client/right", server.port)
        check("an agent is connected", good.wait("welcome"), good.error)
        for whose, at, method in (("an agent's certificate", f"{ca}/agent/bad", "Report"),
                                  ("one without rights", certificate(ca, "none", "x", "DNS:x.example"), "Explain")):
            where = ("127.0.0.1", server.port, at, f"/numastow.v1.Scheduler/{method}")
            for what, attack, most in ON_BOTH:
                under_attack(server, ask, f"{what}, with {whose}", most, attack, where)
        long = certificate(ca, "long", "y", "DNS:y.example")
        with open(f"{long}/tls.crt", "r+", encoding="ascii") as handle:
            own = handle.read()
            handle.write(own * ((1 << 20) // len(own)))
        under_attack(server, ask, "handshakes byte by byte, and long chains", 150, "dripping", (*where, long))
        check("the agent has stayed", not good.error, good.error)
        check_key_updates(f"{ca}/agent/bad", server.port)
        check_fences(ca, server.port)
        good.close()


if sys.argv[1:2] == ["--attack"]:
    attack_until_told(*sys.argv[2:])
    sys.exit()
with Temp() as temp:
    if "--unit-limit" in sys.argv[1:]:
        check_descriptors(temp, may_open(UNIT_LIMIT), UNIT_LIMIT + 4000, 40)
    else:
        check_scheduler(temp)
        check_certificates(temp)
        check_agent(temp)
finish()
