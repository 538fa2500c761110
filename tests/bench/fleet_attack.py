#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long a client with the right role waits during attacks: placements by one caller, alone and during each
attack. As a program it is the attacker, until it is killed: fleet_attack.py NAME PORT CERTS."""
import itertools
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import fleet

sys.path.insert(0, os.path.join(fleet.PROJECT, "tests/integration"))
import grpc  # noqa: E402
from fleetlib import FakeAgent, full_report, scheduler_pb2, scheduler_pb2_grpc  # noqa: E402
from peerlib import DATA, HEADERS, RESET, WINDOW, Peer, announced, frame, headers  # noqa: E402

NODES, SECONDS = 1000, 6
EXPLAIN, WATCH = (f"/numastow.v1.Scheduler/{m}" for m in ("Explain", "WatchNodes"))


# --- the attacker ---------------------------------------------------------------------------------


class Attacker:
    def __init__(self, port, certs):
        self.address, self.certs = ("127.0.0.1", port), certs
        self.sources = itertools.cycle(f"127.0.1.{i}" for i in range(1, 200))

    def dial(self):
        """From one of many addresses."""
        sock = socket.socket()
        sock.settimeout(5)
        sock.bind((next(self.sources), 0))
        sock.connect(self.address)
        return sock

    def context(self, certificate=True):
        context = ssl.create_default_context(cafile=f"{self.certs}/ca.crt")
        context.set_alpn_protocols(["h2"])
        if certificate:
            context.load_cert_chain(f"{self.certs}/bad.crt", f"{self.certs}/bad.key")
        return context

    def peer(self, context, **more):
        return Peer(context.wrap_socket(self.dial(), server_hostname="127.0.0.1"), **more)

    def channel(self):
        def read(name):
            with open(f"{self.certs}/{name}", "rb") as handle:
                return handle.read()
        return grpc.secure_channel(f"127.0.0.1:{self.address[1]}", grpc.ssl_channel_credentials(
            read("ca.crt"), read("bad.key"), read("bad.crt")), [("grpc.enable_http_proxy", 0)])

    def agent(self):
        agent = FakeAgent(self.channel(), full_report("bad"))
        agent.wait("welcome")
        return agent

    # Each says that it is on, by yielding, and goes on.

    def silent(self):
        """3,000 connections that say nothing, and 200 more a second."""
        socks = []
        for i in itertools.count():
            try:
                socks.append(self.dial())
            except OSError:
                time.sleep(0.01)
            if len(socks) > 3000:
                socks.pop(0).close()
            if i >= 3000:
                yield
                time.sleep(0.005)

    def strangers(self):
        """200 handshakes a second without a certificate."""
        context = self.context(certificate=False)
        while True:
            began = time.monotonic()
            try:
                with context.wrap_socket(self.dial(), server_hostname="127.0.0.1") as sock:
                    sock.recv(1)
            except OSError:
                pass
            yield
            time.sleep(max(0, 0.005 - (time.monotonic() - began)))

    def unfinished(self):
        """512 messages of 4 MiB that are never whole, begun again when they are ended."""
        context = self.context()
        while True:
            peers = [self.peer(context) for _ in range(8)]
            for _ in range(64):
                for peer in peers:
                    peer.read(0.001)
                    stream = peer.call(EXPLAIN)
                    peer.say(frame(DATA, 0, stream, announced(4 << 20)))
                    peer.send(stream, bytes(1 << 20), seconds=0.02)
                yield
            time.sleep(0.5)
            for peer in peers:
                peer.close()

    def unread(self):
        """12 connections with 1,000 watchers each that read nothing."""
        context = self.context()
        while True:
            peers = [self.peer(context, settings=struct.pack(">HI", 4, 0x7fffffff)) for _ in range(12)]
            for peer in peers:
                peer.say(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fff0000)))
                for _ in range(1000):
                    peer.ask(WATCH)
                yield
            time.sleep(0.5)
            for peer in peers:
                peer.close()

    def resets(self):
        """Calls that are opened and reset at once, connection after connection."""
        context, head = self.context(), headers(EXPLAIN)
        # Not put together while it attacks: as fast as they can be sent.
        all_of_them = b"".join(frame(HEADERS, 4, stream, head) + frame(RESET, 0, stream, struct.pack(">I", 8))
                               for stream in range(1, 200001, 2))
        while True:
            peer = self.peer(context)
            for at in range(0, len(all_of_them), 1 << 16):
                if not peer.say(all_of_them[at:at + (1 << 16)]):
                    break
            yield
            peer.close()

    def unknown(self):
        """Reports with 4,096 ids of reservations that nobody knows, one after the other."""
        agent = self.agent()
        for i in itertools.count():
            agent.held = {f"{i:08x}{n:08x}": None for n in range(4096)}
            agent.send_change()
            yield
            time.sleep(0.02)

    def tiny(self):
        """10,000 reports a second that say nothing."""
        agent = self.agent()
        while True:
            began = time.monotonic()
            for _ in range(100):
                agent.send_change()
            yield
            time.sleep(max(0, 0.01 - (time.monotonic() - began)))
            if agent.error:
                agent = self.agent()

    def explain(self):
        """16 who ask which of the machines have room for 64 pods, without end."""
        stub = scheduler_pb2_grpc.SchedulerStub(self.channel())
        request = scheduler_pb2.ExplainRequest(pods=[scheduler_pb2.PodRequest(cpus=1000)] * 64)

        def ask():
            while True:
                try:
                    stub.Explain(request, timeout=10)
                except grpc.RpcError:
                    time.sleep(0.01)
        for _ in range(16):
            threading.Thread(target=ask, daemon=True).start()
        while True:
            yield
            time.sleep(1)


ATTACKS = ("silent", "strangers", "unfinished", "unread", "resets", "unknown", "tiny", "explain")


def attack(name, port, certs):
    os.nice(19)  # what the attacker's own machine would do
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    steps = getattr(Attacker(int(port), certs), name)()
    next(steps)
    print("on", flush=True)
    for _ in steps:
        pass


# --- the right client -----------------------------------------------------------------------------


def certificate(certs):
    """Of one who may report, read and place, and is no friend."""
    def ssl_of(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    with open(f"{certs}/bad.cnf", "w", encoding="utf-8") as handle:
        handle.write("subjectAltName=URI:numastow:role/place,URI:numastow:agent/bad\n")
    ssl_of("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=bad",
           "-keyout", f"{certs}/bad.key", "-out", f"{certs}/bad.csr")
    ssl_of("x509", "-req", "-in", f"{certs}/bad.csr", "-CA", f"{certs}/ca.crt", "-CAkey", f"{certs}/ca.key",
           "-set_serial", "666", "-days", "2", "-extfile", f"{certs}/bad.cnf", "-out", f"{certs}/bad.crt")


def placements(build, port, certs):
    done = subprocess.run(
        [f"{build}/tests/bench/fleet_sim", f"127.0.0.1:{port}", "--nodes", str(NODES), "--numa", str(fleet.NUMA),
         "--connections", str(NODES * fleet.CONNECTIONS // fleet.NODES), "--callers", "1", "--seconds", str(SECONDS),
         "--certs", certs], capture_output=True, text=True, check=False)
    return fleet.keys(done.stdout), done.stderr.strip()[:120]


def measure_attacks(build, temp, say, table):
    certs = f"{temp}/certs" if os.path.isdir(f"{temp}/certs") else fleet.certificates(temp)
    certificate(certs)
    say(f"One caller's placements over mutual TLS, {NODES:,} machines, quiet and under attack in turn; the attacker is "
        "on the same CPUs, at the lowest priority (wanted: p99 within 5x)")
    rows = [["attack", "quiet: p50", "p99", "attacked: p50", "p99", "p99", "failed"]]
    for name in ATTACKS:
        port = fleet.free_port()
        with fleet.scheduler(build, temp, port, "--ca", f"{certs}/ca.crt", "--certificate",
                             f"{certs}/scheduler.crt", "--key", f"{certs}/scheduler.key"):
            quiet, why = placements(build, port, certs)
            # pylint: disable-next=consider-using-with
            bad = subprocess.Popen([sys.executable, __file__, name, str(port), certs], stdout=subprocess.PIPE,
                                   text=True)
            bad.stdout.readline()
            attacked, why = placements(build, port, certs)
            ended = bad.poll()
            bad.kill()
            bad.wait()
        if ended is not None or "place_p99_us" not in attacked or "place_p99_us" not in quiet:
            rows.append([name, "FAILED", "", "", "", "", why])
            continue
        rows.append([name, *(f"{r[f'place_{p}_us'] / 1000:.2f} ms" for r in (quiet, attacked) for p in ("p50", "p99")),
                     f"{attacked['place_p99_us'] / quiet['place_p99_us']:.1f}x", f"{attacked['failed']:.0f}"])
    table(rows)


if __name__ == "__main__":
    attack(*sys.argv[1:])
