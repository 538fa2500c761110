#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What etcd does rarely: it applies a write and answers that there is no space; it elects a scheduler whose attempt was given
up; a member of another cluster is among the members; it comes back from a backup. Nobody leads twice, and what is in memory is
what etcd has."""
import shutil
import signal
import time
from concurrent import futures

import grpc

from daemons import PATIENCE, SCHEDULER, Daemon, fetch, free_port, metrics_of
from etcdlib import ETCD, Etcd, Relay
from fleetlib import (FakeAgent, channel_to, eventually, full_report, scheduler_pb2, scheduler_pb2_grpc, start_scheduler,
                      status_of)
from harness import Temp, check, finish, same, skip

S = scheduler_pb2


class Proxy(grpc.GenericRpcHandler):
    """In front of a member; `txn` is called for transactions in its place, with the request and a function that forwards one."""

    def __init__(self, member):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{member.client}", [("grpc.enable_http_proxy", 0)])
        self.txn = None
        self.more = {}  # bytes that are appended to the answers of a method: of a field that comes twice, the last counts
        self.server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[self], options=[("grpc.so_reuseport", 0)])
        self.url = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, handler_call_details):
        method = handler_call_details.method

        def alter(answer):
            return answer + self.more.get(method.rpartition("/")[2], b"")
        if method.endswith(("/Watch", "/LeaseKeepAlive")):
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: map(alter, self.channel.stream_stream(method)(requests)))

        def answer(request, context):
            def forward(what):
                return alter(self.channel.unary_unary(method)(what, timeout=PATIENCE))
            try:
                return self.txn(request, forward, context) if self.txn and method.endswith("/Txn") else forward(request)
            except grpc.RpcError as error:
                return context.abort(error.code(), error.details())
        return grpc.unary_unary_rpc_method_handler(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(0)
        self.channel.close()


def store_at(cluster, urls, lease="60s"):
    options = cluster.options(lease=lease)
    options[options.index("--store") + 1] = f"etcd:{urls}"
    return options


def start(options):
    """One that need not become active."""
    program = Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics",
                      f"127.0.0.1:{free_port()}", *options])
    program.port = program.wait("listening")["port"]
    return program


def place(server, name):
    """On a machine whose agent was there once."""
    with channel_to(f"127.0.0.1:{server.port}") as channel:
        if not hasattr(server, "agent"):
            server.agent = FakeAgent(channel, full_report("n", cpus=64))
            server.agent.wait("welcome")
            server.agent.close()
        return status_of(scheduler_pb2_grpc.SchedulerStub(channel).Place, S.PlaceRequest(
            pods=[S.PodRequest(name=name, cpus=1)], lifetime=3600 * 10**9))[0]


def placed(server):
    with channel_to(f"127.0.0.1:{server.port}") as channel:
        return sorted(r.pod.name for r in scheduler_pb2_grpc.SchedulerStub(channel).ListReservations(
            S.ListReservationsRequest(), timeout=PATIENCE).reservations)


def applied_without_space():
    """A write exceeds the quota after it was accepted: etcd applies it, and answers RESOURCE_EXHAUSTED."""
    with Etcd() as cluster, Proxy(cluster.members[0]) as proxy, start_scheduler(
            "/nonexistent", *store_at(cluster, proxy.url)) as server:
        same("a placement", place(server, "a"), "OK")

        def txn(request, forward, context):
            proxy.txn = None
            forward(request)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
        proxy.txn = txn
        same("one that etcd applies without space", place(server, "b"), "OK")
        same("the next one", place(server, "c"), "OK")
        same("all are there", placed(server), ["a", "b", "c"])
        check("the leader is the same", server.process.poll() is None)


def elected_late():
    """The first attempt takes effect when the second one arrives."""
    with Etcd() as cluster, Proxy(cluster.members[0]) as proxy:
        kept = []

        def txn(request, forward, context):
            kept.append(request)
            if len(kept) == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
            proxy.txn = None
            forward(kept[0])
            return forward(request)
        proxy.txn = txn
        with start_scheduler("/nonexistent", *store_at(cluster, proxy.url)) as server:
            same("elected late: a placement", place(server, "a"), "OK")


def two_clusters():
    """A member that belongs to another cluster is like one that does not answer."""
    with Etcd() as cluster, Etcd() as other:
        relay = Relay(cluster.members[0].client)
        options = store_at(cluster, f"{relay.url},{cluster.urls}")
        with start_scheduler("/nonexistent", *options) as server:
            relay.mode = other.members[0].client
            for name in "abc":
                same("a member of another cluster: a placement", place(server, name), "OK")
            check("a member of another cluster: the leader is the same", server.process.poll() is None)
            relay.mode = "through"
            standby = start(store_at(cluster, relay.url))
            check("it stands by", standby.wait("standby: another scheduler is active"), standby.said[-3:])
            relay.mode = other.members[0].client
            check("another cluster: a standby does not lead there, and says why", eventually(
                lambda: "a member of cluster" in fetch(standby, "/healthz")[1]), fetch(standby, "/healthz"))
            check("another cluster: it is no leader", not any('"leader elected"' in line for line in standby.so_far()))
            standby.stop()
        relay.close()


def number(field, value):
    """A field of a message, as a varint."""
    out, value = bytearray((field << 3,)), value % (1 << 64)
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out) + bytes((value,))


def header(value):
    """An answer's header with that revision."""
    inner = number(3, value)
    return b"\x0a" + bytes((len(inner),)) + inner


def odd_numbers():
    """Numbers out of every range: the scheduler does not end by them, and leads once they are right."""
    most, least = (1 << 63) - 1, -(1 << 63)
    with Etcd() as cluster, Proxy(cluster.members[0]) as proxy:
        for what, method, more in [
                (f"{name} {value}", method, make(value)) for name, method, make in (
                    ("a lease of", "LeaseGrant", lambda v: number(3, v)),
                    ("a lease with the id", "LeaseGrant", lambda v: number(2, v)),
                    ("a lease that is renewed for", "LeaseKeepAlive", lambda v: number(3, v)),
                    ("a write at revision", "Txn", header), ("a read at revision", "Range", header),
                    ("a watch at revision", "Watch", header), ("a watch compacted at", "Watch", lambda v: number(5, v)))
                for value in (most, least, -1, 0)] + [("pages without end", "Range", number(3, 1))]:
            proxy.more = {method: more}
            program = start(store_at(cluster, proxy.url, lease="3s"))
            time.sleep(1)
            check(f"{what}: it lives, or exits because it lost its lease", program.process.poll() is None or any(
                "lease lost" in line for line in program.so_far()), program.so_far()[-3:])
            proxy.more = {}
            program.stop()
            check(f"{what}: it ends when it is told", program.process.returncode in (0, 1), program.process.returncode)
        with start_scheduler("/nonexistent", *store_at(cluster, proxy.url)) as server:
            same("right numbers again: a placement", place(server, "a"), "OK")


def from_a_backup():
    """What was written after it is gone, also from a standby's memory."""
    with Etcd() as cluster:
        member = cluster.members[0]

        def stop():
            member.process.send_signal(signal.SIGTERM)
            member.process.wait()
        data = f"{cluster.folder}/m{member.number}"
        options = cluster.options(lease="20s")
        with start_scheduler("/nonexistent", *options) as first, start(options) as standby:
            standby.wait("standby: another scheduler is active")
            same("before the backup: a placement", place(first, "kept"), "OK")
            stop()
            shutil.copytree(data, f"{data}.backup")
            member.start()
            for i in range(20):
                check("after the backup: a placement", eventually(lambda n=f"lost-{i}": place(first, n) == "OK"))
            time.sleep(3)  # so that the standby has seen some of them, and its lag is measured again
            eventually(lambda: "numastow_scheduler_standby_lag_seconds 0" in metrics_of(standby))
            stop()
            shutil.rmtree(data)
            shutil.move(f"{data}.backup", data)
            member.start()
            check("the backup: the leader notices", first.wait("lease lost: this scheduler exits, to become a standby"),
                  first.said[-3:])
            check("the backup: the standby leads", standby.wait("leader elected"), standby.said[-3:])
            same("the backup: the standby has what etcd has", placed(standby), ["kept"])


with Temp():
    if ETCD:
        applied_without_space()
        elected_late()
        two_clusters()
        odd_numbers()
        from_a_backup()
    else:
        skip("what etcd does rarely", "etcd is not installed (Debian: etcd-server)")
finish()
