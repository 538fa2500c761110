# SPDX-License-Identifier: Apache-2.0
"""What the tests of the fleet share: Python stubs of our .proto files, the daemons, and a simulated agent and
scheduler."""
import atexit
import contextlib
import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from daemons import AGENT, NUMASTOW, PATIENCE, SCHEDULER, Daemon
from etcdlib import Etcd
from harness import BUILD, MIB, PROJECT, check, eventually, run

ON_ETCD = os.environ.get("ENGINE") == "etcd"  # schedulers store there, where a test does not say
PYTHON = tempfile.mkdtemp(prefix="numastow-python-")  # of this test: others make theirs at the same time
atexit.register(shutil.rmtree, PYTHON, True)
GIB = 1 << 30
SECOND = 1000000000


def generate():
    """Make the stubs of our .proto files with Debian's protoc, and load the descriptors of all files."""
    proto = os.path.join(PROJECT, "proto")
    ours = sorted(os.path.join("numastow/v1", f) for f in os.listdir(f"{proto}/numastow/v1")
                  if f.endswith(".proto"))
    others = [os.path.relpath(os.path.join(at, f), proto) for at, _, files in os.walk(f"{proto}/grpc")
              for f in files if f.endswith(".proto")]
    subprocess.run(["protoc", f"-I{proto}", f"--python_out={PYTHON}",
                    "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin",
                    f"--grpc_python_out={PYTHON}", *ours], check=True)
    # A Python package "grpc" would hide the library: these are made from their descriptors.
    subprocess.run(["protoc", f"-I{proto}", "--include_imports",
                    f"--descriptor_set_out={PYTHON}/all.bin", *ours, *others], check=True)
    sys.path.insert(0, PYTHON)


generate()
from numastow.v1 import (agent_pb2, agent_pb2_grpc, drain_pb2, node_pb2, scheduler_pb2,  # noqa: E402
                         scheduler_pb2_grpc)

POOL = descriptor_pool.DescriptorPool()
with open(f"{PYTHON}/all.bin", "rb") as handle:
    FILES = descriptor_pb2.FileDescriptorSet.FromString(handle.read())
for one in FILES.file:
    POOL.Add(one)


def message(name):
    """Return the class of a message without stubs, such as "grpc.health.v1.HealthCheckRequest"."""
    return message_factory.MessageFactory(POOL).GetPrototype(POOL.FindMessageTypeByName(name))


def plain_call(channel, method, request, answer):
    """Make a unary call of a service without stubs."""
    return channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                               response_deserializer=message(answer).FromString)(
                                   request, timeout=PATIENCE)


def status_of(function, *args, **kwargs):
    """Return the name of the status with which a call ends, and its text."""
    try:
        answer = function(*args, timeout=kwargs.pop("timeout", PATIENCE), **kwargs)
        if hasattr(answer, "__next__"):
            for _ in answer:
                pass
        return "OK", ""
    except grpc.RpcError as error:
        return error.code().name, error.details()


# --- our programs ---------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def shared_etcd():
    """Return the etcd cluster, which all checks of a test share."""
    cluster = Etcd()
    cluster.__enter__()
    atexit.register(cluster.__exit__)
    return cluster


def store_of(data):
    """Return the options of a scheduler's store: a folder, or in etcd a prefix of the same name."""
    if not ON_ETCD:
        return ["--data", data]
    return shared_etcd().options(prefix=f"/{os.path.abspath(data).strip('/')}/", lease="10s")


def start_scheduler(data, *options, listen="127.0.0.1:0", limit=0, config="/dev/null"):
    """Start a scheduler, with a limit of descriptors if one is given; it has its port."""
    limited = ["prlimit", f"--nofile={limit}", "--"] if limit else []
    # On a busy computer a machine may be silent for longer than by default.
    patient = ["--stale-after", "60s"] if config == "/dev/null" else []
    program = Daemon([*limited, SCHEDULER, "--config", config, "--listen", listen, "--metrics", "",
                      "--confirm-within", "60s", *patient, *store_of(data), *options])
    said = program.wait("listening")
    if not said:
        check("the scheduler listens", False, program.said)
    program.port = said["port"] if said else 0
    if not program.wait("numastow-scheduler is active"):
        check("the scheduler is active", False, program.said)
    return program


class Patience:
    """A scheduler's configuration with which no machine becomes stale because the computer is busy, until the test wants
    that."""

    def __init__(self, folder):
        self.path = f"{folder}/scheduler.yaml"
        self.set("60s")

    def set(self, stale_after):
        with open(self.path, "w", encoding="ascii") as handle:
            handle.write(f"stale-after: {stale_after}\n")

    def await_stale(self, program, stub, name):
        """Let machines become stale after a second from now on. Return whether that machine, whose agent is silent, does."""
        self.set("1s")
        program.process.send_signal(signal.SIGHUP)
        return eventually(lambda: [n.state for n in stub.ListNodes(scheduler_pb2.ListNodesRequest(
            names=[name]), timeout=PATIENCE).nodes] == [scheduler_pb2.NODE_STATE_STALE])


class Growth:
    """The resident memory of a process in bytes, beyond what it has at this moment."""
    ROOM = 8 if "asan" in BUILD else 1  # a sanitizer keeps what was freed

    def __init__(self, pid):
        self.pid = pid
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as handle:
            handle.write("5")  # the kernel counts the most anew: what came before is not this growth
        self.before = self.read("VmRSS")

    def read(self, name):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as handle:
            return int(next(line for line in handle if line.startswith(name)).split()[1]) * 1024

    def now(self):
        return self.read("VmRSS") - self.before

    def most(self):
        return self.read("VmHWM") - self.before


def logged(program, message):
    """Return the lines with that message so far."""
    lines = (json.loads(line) for line in program.so_far() if line.startswith("{"))
    return [line for line in lines if line["message"] == message]


def start_agent(machine, node, port, *options):
    program = Daemon([AGENT, "--sysroot", machine.path, "--config", "/dev/null", "--metrics", "",
                      "--node", node, "--poll-interval", "200ms", "--reconcile-interval", "200ms",
                      *(["--scheduler", f"127.0.0.1:{port}"] if port else []), *options])
    program.socket = machine.file("/run/numastow/agent.sock")
    if not program.wait("numastow-agent is ready"):
        check("the agent is ready", False, program.said)
    return program


def command(*words, port=0, socket=None, options=()):
    """Run numastow with a scheduler or an agent."""
    return run([NUMASTOW, *words, "--config", "/dev/null",
                *(["--scheduler", f"127.0.0.1:{port}"] if port else []),
                *(["--agent", socket] if socket else []), *options], "")


@contextlib.contextmanager
def channel_to(address, **options):
    with grpc.insecure_channel(address, options=[*options.items(),
                                                 ("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


# --- an agent in Python ---------------------------------------------------------------------------


def numa_node(number, cpus=8, memory=16 * GIB, pages=0):
    """An empty NUMA node of a report."""
    first = number * cpus
    listed = f"{first}-{first + cpus - 1}"
    return node_pb2.NumaNode(
        id=number, state=node_pb2.NUMA_NODE_STATE_READY, cpus=listed, cpus_shared=listed,
        cpus_takeable=listed, cpus_total=cpus, cpus_free=cpus, memory_total=memory,
        memory_free=memory, memory_available=memory, memory_allocatable=memory,
        hugepages=[node_pb2.HugepagePool(page_size=2 * MIB, total=pages, free=pages,
                                         allocatable=pages)])


def full_report(name, numa_nodes=2, **numa):
    report = node_pb2.NodeReport(name=name, full=True, sequence=1, time=time.time_ns(),
                                 version="0.0.9", boot_id="b", mode=node_pb2.MODE_ENFORCE)
    for i in range(numa_nodes):
        report.numa_nodes.append(numa_node(i, **numa))
        report.numa_nodes[i].distances.extend(10 if i == j else 21 for j in range(numa_nodes))
    return report


class FakeAgent:
    """The agent of a simulated machine. It holds the reservations that it is told to hold, unless `obeys` is false; what
    it holds, and what its containers have (`bound`), is no longer free in its reports. It sends a heartbeat every
    `every` seconds until it is closed."""

    def __init__(self, channel, report, obeys=True, every=0.3):
        self.report, self.obeys, self.every = report, obeys, every
        self.held, self.bound, self.drains = {}, {}, {}
        self.directives, self.error = [], None
        self.out = queue.Queue()
        self.sequence = 0
        self.order = threading.RLock()  # reports are numbered as they go out
        self.news = threading.Condition()
        self.stream = scheduler_pb2_grpc.SchedulerStub(channel).Report(iter(self.out.get, None))
        self.send(report)
        self.heart = threading.Event()  # set: no more heartbeats
        threading.Thread(target=self.read, daemon=True).start()
        threading.Thread(target=self.beat, daemon=True).start()

    def beat(self):
        while not self.heart.wait(self.every) and not self.error:
            self.out.put(scheduler_pb2.ReportRequest(heartbeat=scheduler_pb2.Heartbeat()))

    def send(self, report):
        copy = node_pb2.NodeReport()
        copy.CopyFrom(report)
        with self.order:
            self.sequence += 1
            copy.sequence, copy.time = self.sequence, time.time_ns()
            del copy.reservations[:]
            copy.reservations.extend(sorted({*self.held, *self.bound}))
            del copy.drains[:]
            copy.drains.extend(sorted(self.drains))
            self.out.put(scheduler_pb2.ReportRequest(report=copy))

    def send_change(self, **fields):
        self.send(node_pb2.NodeReport(name=self.report.name, **fields))

    def send_room(self, **fields):
        """Send a change with the present amounts. They change under the lock `order`, so that older amounts are never sent
        after newer ones."""
        with self.order:
            self.send_change(numa_nodes=self.numa_nodes(), **fields)

    def numa_nodes(self):
        """The amounts of the report, less what is held and bound."""
        left = {n.id: node_pb2.NumaNode.FromString(n.SerializeToString())
                for n in self.report.numa_nodes}
        for reservation in (*self.held.values(), *self.bound.values()):
            for part in reservation.parts:
                node = left[part.numa_node]
                node.cpus_free -= part.cpus
                node.memory_promised += part.memory_promised
                node.memory_allocatable -= part.memory_promised
                for pool, pages in zip(node.hugepages, part.hugepages):
                    pool.promised += pages.pages
                    pool.allocatable -= pages.pages
        return list(left.values())

    def answer(self, directive, code=0, text=""):
        self.out.put(scheduler_pb2.ReportRequest(result=scheduler_pb2.DirectiveResult(
            directive=directive.id, code=code, message=text)))

    def act(self, directive, kind):  # pylint: disable=unused-argument
        """Carry out and answer a directive, after it was recorded."""
        self.answer(directive)

    def read(self):
        try:
            for directive in self.stream:
                kind = directive.WhichOneof("kind")
                with self.order, self.news:
                    self.directives.append(directive)
                    if kind == "welcome":
                        self.held = {r.id: r for r in directive.welcome.reservations
                                     if r.id not in self.bound}
                    elif kind == "reserve" and self.obeys:
                        self.held[directive.reserve.id] = directive.reserve
                    elif kind == "cancel":
                        self.held.pop(directive.cancel.id, None)
                    self.news.notify_all()
                if kind == "reserve" and not self.obeys:
                    self.answer(directive, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "no room")
                else:
                    self.act(directive, kind)
                if kind in ("reserve", "cancel", "welcome"):
                    self.send_room()
        except grpc.RpcError as error:
            self.error = error
        with self.news:
            self.news.notify_all()

    def wait(self, kind, number=1):
        """Wait for the number-th directive of that kind."""
        def found():
            return [d for d in self.directives if d.WhichOneof("kind") == kind]
        with self.news:
            self.news.wait_for(lambda: len(found()) >= number or self.error, PATIENCE)
            return found()[number - 1] if len(found()) >= number else None

    def close(self):
        self.heart.set()
        self.out.put(None)
        self.stream.cancel()


def come_back(make):
    """Return a welcomed agent of a machine whose last agent has just disconnected. The scheduler may not know that yet, and
    refuse the new one at first."""
    def tried():
        agent = make()
        if agent.wait("welcome") or agent.error.code() != grpc.StatusCode.ALREADY_EXISTS:
            return agent
        agent.close()
        return None
    return eventually(tried)


class Names:
    """Names of that many requests, each of which is given to one thread."""

    def __init__(self, what, many):
        self.what, self.left, self.lock = what, many, threading.Lock()

    def __next__(self):
        with self.lock:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return f"{self.what}-{self.left}"


# --- servers in Python ----------------------------------------------------------------------------


@contextlib.contextmanager
def python_server(add, servicer, address="127.0.0.1:0"):
    """Serve with Python's gRPC; yield the port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16),
                         options=[("grpc.so_reuseport", 0)])
    add(servicer, server)
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(0.2).wait()
