#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Servers with bad intentions: a scheduler, for an agent and for numastow, and a member of etcd, for a scheduler. What they send
takes little memory, the connection ends, and others are answered meanwhile. (fleet-attacks.py has clients.)"""
import functools
import os
import socket
import ssl
import struct
import threading
import time

from daemons import NUMASTOW, PATIENCE, SCHEDULER, Daemon, fetch, free_port, tls
from fleetlib import MIB, Growth, agent_pb2, agent_pb2_grpc, channel_to, eventually, start_agent
from harness import PROJECT, Machine, Temp, check, finish, run
from peerlib import (CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, SETTINGS, UNKNOWN, WINDOW,
                     Peer, announced, field, frame)

CA = os.path.join(PROJECT, "deploy/numastow-ca")
ENOUGH, LONG = 1 << 30, 3  # bytes on one connection; seconds
HELLO = field(":status", "200") + field("content-type", "application/grpc")


class Host(Peer):
    """The server's side of a connection."""
    ENDS = ()

    def __init__(self, sock):  # pylint: disable=super-init-not-called
        sock.settimeout(PATIENCE)
        self.sock, self.heard, self.seen = sock, b"", len(PREFACE)
        self.windows, self.initial, self.ended, self.sent = {0: 65535}, 65535, set(), 0
        self.until, self.dropped = time.monotonic() + LONG, False
        super().say(frame(SETTINGS, 0, 0))

    def say(self, data):
        self.sent += len(data)
        if time.monotonic() > self.until or self.sent > ENOUGH:
            return False
        self.dropped = not super().say(data)
        return not self.dropped

    def call(self):  # pylint: disable=arguments-differ
        """Wait for a call, and return its stream."""
        while len(self.windows) == 1 and self.read(PATIENCE):
            pass
        return max(self.windows)

    def repeat(self, data):
        """Send this until the other side takes no more of it."""
        data *= 1 + 65536 // len(data)
        while self.say(data):
            while self.read(0):
                pass


def message_without_end(host, stream):
    host.say(frame(HEADERS, END_HEADERS, stream, HELLO))
    data = announced(1 << 30) + bytes(1 << 20)
    while host.send(stream, data, seconds=LONG) == len(data):
        data = bytes(1 << 20)


def crumbs(host, stream):
    """A message byte by byte: each byte keeps what was received with it."""
    host.say(frame(HEADERS, END_HEADERS, stream, HELLO) + frame(DATA, 0, stream, announced(1 << 20)))
    host.repeat(frame(DATA, 0, stream, b"x") + frame(UNKNOWN, 0, 0, bytes(8000)))


def fields_without_end(host, stream):
    host.say(frame(HEADERS, 0, stream, HELLO))
    host.repeat(frame(CONTINUATION, 0, stream, b"".join(field(f"x-{i:03}", "v" * 100) for i in range(140))))


def flood(host, stream, data):
    host.say(frame(HEADERS, END_HEADERS, stream, HELLO))
    host.repeat(data)


ATTACKS = [("a message without end", message_without_end), ("a message in crumbs", crumbs),
           ("header fields without end", fields_without_end)]
ATTACKS += [(f"{what} without end", functools.partial(flood, data=data)) for what, data in (
    ("pings", frame(PING, 0, 0, bytes(8))), ("settings", frame(SETTINGS, 0, 0)), ("empty frames", frame(DATA, 0, 1)),
    ("window updates", frame(WINDOW, 0, 0, struct.pack(">I", 1))), ("priorities", frame(PRIORITY, 0, 1, bytes(5))),
    ("goodbyes", frame(GOAWAY, 0, 0, struct.pack(">II", 0x7fffffff, 0))),
    ("unknown frames", frame(UNKNOWN, 0, 0, bytes(4000))),
    ("small messages beside unknown frames", frame(DATA, 0, 1, announced(2) + b"\x08\x01") + frame(UNKNOWN, 0, 0, bytes(30))))]


class Server:
    """Does this to each client that calls, for a `with` block."""

    def __init__(self, attack, certificate=None):
        self.attack, self.certificate, self.hosts, self.over = attack, certificate, [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            if self.certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(f"{self.certificate}/tls.crt", f"{self.certificate}/tls.key")
                context.set_alpn_protocols(["h2"])
                sock = context.wrap_socket(sock, server_side=True)
            host = Host(sock)
            stream = host.call()
            self.hosts.append(host)
            if stream:
                self.attack(host, stream)
        except (OSError, ValueError):
            pass  # it was closed
        self.over += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for host in self.hosts:
            host.close()


def under_attack(server, pid, what, most, ask):
    """Wait until the first attack is over, and check what it took; `most`: MiB."""
    growth = Growth(pid)
    check(f"{what}: it has called", eventually(lambda: server.hosts))
    check(f"{what}: others are answered", ask())
    check(f"{what}: it comes to an end", eventually(lambda: server.over))
    check(f"{what}: others are answered afterwards", ask())
    grown = growth.most()
    check(f"{what}: it takes little", grown < most * MIB * Growth.ROOM, f"{grown >> 20} MiB of {server.hosts[0].sent >> 20}")
    print(f"# {what}: it grew by {grown >> 20} MiB of {server.hosts[0].sent >> 20}")


def check_agent(folder, certificates):
    for what, attack in ATTACKS:
        for how in (None, certificates) if attack in (a for _, a in ATTACKS[:3]) else (None,):
            with Server(attack, how and f"{how}/scheduler/127.0.0.1") as server:
                machine = Machine(f"{folder}/{server.port}")
                more = tls(f"{how}/agent/m") if how else ()
                with start_agent(machine, "m", server.port, *more) as program, channel_to(
                        f"unix:{program.socket}") as channel:
                    def ask(stub=agent_pb2_grpc.AgentStub(channel)):
                        return stub.GetNode(agent_pb2.GetNodeRequest(), timeout=PATIENCE).name == "m"
                    under_attack(server, program.process.pid, f"{what}{', by TLS' if how else ''}, to an agent", 64, ask)


def check_scheduler():
    for what, attack in ATTACKS:
        with Server(attack) as server, Daemon([
                SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics", f"127.0.0.1:{free_port()}",
                "--store", f"etcd:http://127.0.0.1:{server.port}"]) as program:
            program.wait("listening")
            under_attack(server, program.process.pid, f"{what}, to a scheduler", 400,
                         lambda p=program: fetch(p, "/livez")[0] == 200)


def check_command():
    for what, attack in ATTACKS[:2]:
        with Server(attack) as server:
            said = run([NUMASTOW, "nodes", "--config", "/dev/null", "--scheduler", f"127.0.0.1:{server.port}"], "")
            check(f"{what}, to numastow nodes: one line", said.one_line(), said)


with Temp() as temp:
    ca = f"{temp}/ca"
    run([CA, "init", ca], "")
    run([CA, "scheduler", ca, "127.0.0.1"], "")
    run([CA, "agent", ca, "m"], "")
    check_agent(temp, ca)
    check_scheduler()
    check_command()
finish()
