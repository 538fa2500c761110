# SPDX-License-Identifier: Apache-2.0
"""The fleet's programs, run for real on loopback, and calls of their methods.

Python's gRPC is the client, curl reads the metrics, and protoc makes messages of text: none is our code.
"""
import json
import os
import queue
import random
import socket
import subprocess
import threading

import grpc

from harness import BUILD, PATIENCE, PROJECT, run

AGENT = os.path.join(BUILD, "numastow-agent")
SCHEDULER = os.path.join(BUILD, "numastow-scheduler")
NUMASTOW = os.path.join(BUILD, "numastow")


class Daemon:
    """A daemon that logs JSON to standard error. It ends with the `with` block."""

    def __init__(self, argv):
        self.process = subprocess.Popen(argv + ["--log-format", "json", "--log-level", "debug"],
                                        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.lines = queue.Queue()
        self.said = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stderr:
            self.lines.put(line)
        self.lines.put(None)

    def wait(self, message, **fields):
        """Return the next line with that message and these fields; None when the daemon ends or takes too long."""
        while True:
            try:
                line = self.lines.get(timeout=PATIENCE)
            except queue.Empty:
                return None
            if line is None:
                return None
            self.said.append(line)
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if found["message"] == message and fields.items() <= found.items():
                return found

    def so_far(self):
        """Return all lines so far."""
        while not self.lines.empty():
            line = self.lines.get()
            if line is not None:
                self.said.append(line)
        return self.said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


PORTS = range(10000, 30000)  # below the ports that the kernel assigns by itself
taken = []


def free_port():
    """Return a port that no other test uses until this one ends: each port has an abstract unix socket's name, and the test
    that has bound the name owns the port."""
    while True:
        number, name = random.choice(PORTS), socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0numastow-test-port-{number}")
            with socket.socket() as sock:
                sock.bind(("0.0.0.0", number))
            taken.append(name)
            return number
        except OSError:
            name.close()


def has_six():
    """Whether this machine has IPv6's loopback."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


def fetch(program, path):
    """Return (status, body) of a path of the metrics server, whose address was in the program's arguments."""
    argv = program.process.args
    address = [argv[i + 1] for i, word in enumerate(argv) if word == "--metrics"][-1]
    done = run(["curl", "--silent", "--noproxy", "*", "--max-time", str(PATIENCE), "--write-out",
                "\n%{http_code}", f"http://{address}{path}"], "", PATIENCE * 2)
    body, _, status = done.out.rpartition("\n")
    return int(status or 0), body


def metrics_of(program):
    return fetch(program, "/metrics")[1]


def tls(folder):
    return ["--ca", f"{folder}/ca.crt", "--certificate", f"{folder}/tls.crt",
            "--key", f"{folder}/tls.key"]


def scheduler(data, *options):
    os.makedirs(data, exist_ok=True)
    return Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics", "",
                   "--confirm-within", "60s", "--data", data, *options])


def agent(machine, node, port, *options):
    return Daemon([AGENT, "--sysroot", machine.path, "--config", "/dev/null", "--metrics", "",
                   "--node", node, "--scheduler", f"127.0.0.1:{port}", *options])


def grpc_call(port, method, message=b"", ca=None, certificate=None):
    """Make a unary call to the scheduler, and return (gRPC status, bytes of the answer, text of the error). With `ca`, a
    file, by TLS; with `certificate`, a folder with tls.crt and tls.key, as a client with that certificate."""
    def contents(path):
        with open(path, "rb") as handle:
            return handle.read()

    where, options = f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]
    if ca:
        pair = [contents(f"{certificate}/tls.{kind}") if certificate else None for kind in ("key", "crt")]
        channel = grpc.secure_channel(where, grpc.ssl_channel_credentials(contents(ca), *pair), options)
    else:
        channel = grpc.insecure_channel(where, options)
    with channel:
        try:
            return 0, channel.unary_unary(f"/numastow.v1.Scheduler/{method}")(message, timeout=PATIENCE), ""
        except grpc.RpcError as error:
            return error.code().value[0], b"", error.details()


def protoc(how, kind, data):
    return subprocess.run(["protoc", f"--{how}=numastow.v1.{kind}", f"-I{PROJECT}/proto",
                           "numastow/v1/scheduler.proto"], input=data, capture_output=True,
                          check=True).stdout
