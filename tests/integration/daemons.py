# SPDX-License-Identifier: Apache-2.0
"""The fleet's programs, run for real on loopback, and calls of their methods.

curl is the client, for it speaks HTTP/2 and TLS, and protoc makes messages of text: neither is our code.
"""
import json
import os
import queue
import re
import socket
import subprocess
import threading

from harness import BUILD, PROJECT, run

AGENT = os.path.join(BUILD, "numastow-agent")
SCHEDULER = os.path.join(BUILD, "numastow-scheduler")
NUMASTOW = os.path.join(BUILD, "numastow")
PATIENCE = 60  # seconds after which something that must happen has not
CURL_RESET = 92


class Daemon:
    """A program that speaks JSON on standard error, until the end of the block."""

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
        """The first line with that message, from now on; None when it ends or is too slow."""
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
        """All lines until now."""
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


def free_port():
    """One that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def fetch(program, path):
    """(status, body) of the metrics' server of a program that was given its address."""
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
                   "--data", data, *options])


def agent(machine, node, port, *options):
    return Daemon([AGENT, "--sysroot", machine.path, "--config", "/dev/null", "--metrics", "",
                   "--node", node, "--scheduler", f"127.0.0.1:{port}", *options])


def grpc(url, temp, message=b"", options=()):
    """(gRPC status, answer's message, error's words) of a unary call; without an answer the status is
    None, and the words are curl's."""
    body, head = f"{temp}/body", f"{temp}/head"
    with open(f"{temp}/message", "wb") as handle:
        handle.write(b"\0" + len(message).to_bytes(4, "big") + message)
    argv = ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE), "--noproxy", "*",
            *options, "-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary",
            f"@{temp}/message", "--dump-header", head, "--output", body, url]
    # Who is refused before his message is read is told so with a reset of the stream, which curl may
    # see first.
    for _ in range(5):
        done = run(argv, "", PATIENCE * 2)
        if done.code != CURL_RESET:
            break
    if done.code != 0:
        return None, b"", done.err
    with open(head, encoding="latin-1") as handle:
        head = handle.read()
    status = re.search(r"^grpc-status: *(\d+)", head, re.M)
    words = re.search(r"^grpc-message: *(.*)", head, re.M)
    with open(body, "rb") as handle:
        answer = handle.read()[5:]
    return int(status.group(1)) if status else None, answer, words.group(1) if words else ""


def protoc(how, kind, data):
    return subprocess.run(["protoc", f"--{how}=numastow.v1.{kind}", f"-I{PROJECT}/proto",
                           "numastow/v1/scheduler.proto"], input=data, capture_output=True,
                          check=True).stdout
