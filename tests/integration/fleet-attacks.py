#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What strangers and bad peers do to others: each attack goes on while a right client is answered, and is
over once it ends. (fleet-hostile.py has what they get wrong.)"""
import gzip
import os
import signal
import socket
import subprocess
import sys
import time

import grpc

from daemons import PATIENCE, tls
from fleetlib import (MIB, agent_pb2, agent_pb2_grpc, channel_to, eventually, full_report, scheduler_pb2,
                      scheduler_pb2_grpc, start_agent, start_scheduler, status_of)
from harness import PROJECT, Machine, Temp, check, finish, run, same, skip
from peerlib import Peer, announced, frame, DATA, END_STREAM

CA = os.path.join(PROJECT, "deploy/numastow-ca")


def memory(pid, most=False):
    """What a process has in memory, or the most that it ever had."""
    name = "VmHWM" if most else "VmRSS"
    with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
        return int(next(line for line in handle if line.startswith(name)).split()[1]) * 1024


# --- names ----------------------------------------------------------------------------------------


def certificate(ca, name, subject, san):
    """A client's certificate as another CA's customer might get one: with a subject of his own."""
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
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, [("grpc.enable_http_proxy", 0)])


def check_names(ca, port):
    """A name of one kind is no name of another."""
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


def check_scheduler(folder):
    ca = f"{folder}/ca"
    run([CA, "init", ca], "")
    run([CA, "scheduler", ca, "127.0.0.1"], "")
    with start_scheduler(f"{folder}/data", *tls(f"{ca}/scheduler/127.0.0.1")) as server:
        check_names(ca, server.port)


# --- the agent's socket ---------------------------------------------------------------------------

EXPLAIN = "/numastow.v1.Agent/Explain"


def check_gzip(program, stub):
    """A megabyte that unpacks to a gigabyte: it is not unpacked."""
    before = memory(program.process.pid)
    bomb = gzip.compress(bytes(1 << 30), 9)
    for what, more in (("said", (("grpc-encoding", "gzip"),)), ("not said", ())):
        peer = Peer(program.socket)
        stream = peer.call(EXPLAIN, *more)
        peer.read(PATIENCE)
        peer.send(stream, announced(len(bomb), 1) + bomb, END_STREAM, 5)
        check(f"a compressed message, its encoding {what}, is refused",
              peer.hears(b"is disabled") if more else peer.hears(b"not a message"), peer.heard)
        peer.close()
    grown = memory(program.process.pid, most=True) - before
    check("a gigabyte that was packed: it takes little", grown < 64 * MIB, f"{grown >> 20} MiB")
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
    """A process of the machine, root's, with that number; None when the kernel gives us another."""
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
    """The process that has connected ends, and its number becomes root's: that is not who connects."""
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


def check_agent(folder):
    machine = Machine(f"{folder}/m")
    with start_agent(machine, "m", 0) as program, channel_to(f"unix:{program.socket}") as channel:
        stub = agent_pb2_grpc.AgentStub(channel)
        check_gzip(program, stub)
        check_number(program)


with Temp() as temp:
    check_scheduler(temp)
    check_agent(temp)
finish()
