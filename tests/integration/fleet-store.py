#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A store that refuses: a full disk, a row that the database does not take. Who asked is told, the
others' writes go through, it is said and counted, and what is in memory and on the machines is what is
stored, before a restart and after."""
import base64
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
from concurrent import futures

import grpc

from daemons import PATIENCE, SCHEDULER, Daemon, fetch, free_port, has_six, metrics_of
from etcdlib import ETCD, Etcd, Relay
from fleetlib import (GIB, FakeAgent, channel_to, eventually, full_report, scheduler_pb2,
                      scheduler_pb2_grpc, start_scheduler, status_of)
from harness import Temp, check, finish, run, same, skip

S = scheduler_pb2
COPY = [SCHEDULER, "--config", "/dev/null", "--copy-store"]


class Fleet:
    """A scheduler, a machine, and what is in force as the scheduler and the machine have it."""

    def __init__(self, data, *options):
        self.server = start_scheduler(data, "--metrics", f"127.0.0.1:{free_port()}", *options)
        self.channel = channel_to(f"127.0.0.1:{self.server.port}")
        self.stub = scheduler_pb2_grpc.SchedulerStub(self.channel.__enter__())
        self.agent = FakeAgent(self.channel_of(), full_report("n", cpus=100, memory=64 * GIB))
        self.agent.wait("welcome")

    def channel_of(self):
        self.agents_channel = channel_to(f"127.0.0.1:{self.server.port}")
        return self.agents_channel.__enter__()

    def close(self):
        self.agent.close()
        self.agents_channel.__exit__(None, None, None)
        self.channel.__exit__(None, None, None)
        self.server.stop()

    def place(self, name, numa=""):
        return status_of(self.stub.Place, S.PlaceRequest(
            pods=[S.PodRequest(name=name, cpus=1, memory=GIB >> 4, numa_nodes=numa)], lifetime=3600 * 10**9))

    def reservations(self):
        return sorted(r.pod.name for r in self.stub.ListReservations(
            S.ListReservationsRequest(), timeout=PATIENCE).reservations)

    def fenced(self):
        return [n.fenced for n in self.stub.ListNodes(S.ListNodesRequest(), timeout=PATIENCE).nodes]

    def told_fences(self):
        return [d.fence.numa_nodes for d in self.agent.directives if d.WhichOneof("kind") == "fence"]

    def cancelled(self):
        return [d for d in self.agent.directives if d.WhichOneof("kind") == "cancel"]

    def healthy(self):
        return fetch(self.server, "/healthz")[0] == 200


def check_refusals(what, fleet, one):
    """Nothing can be stored: nothing changes."""
    status, why = fleet.place("b")
    # RESOURCE_EXHAUSTED means no room in the fleet, PERMISSION_DENIED a role that the caller lacks.
    check(f"{what}: a placement is refused, and says why", status in ("UNKNOWN", "ABORTED") and "store" in why,
          (status, why))
    for call, request in ((fleet.stub.Fence, S.FenceRequest(node="n", numa_nodes="0")),
                          (fleet.stub.Unfence, S.UnfenceRequest(node="n", numa_nodes="1")),
                          (fleet.stub.Release, S.ReleaseRequest(ids=[one]))):
        status, why = status_of(call, request)
        check(f"{what}: {type(request).__name__} is refused", status not in ("OK", "DEADLINE_EXCEEDED"),
              (status, why))
    same(f"{what}: the fence is as it was", fleet.fenced(), ["1"])
    same(f"{what}: the machine was told of no other", fleet.told_fences(), ["1"])
    same(f"{what}: the reservation is still there", fleet.reservations(), ["a"])
    same(f"{what}: the machine was not told of its end", fleet.cancelled(), [])
    check(f"{what}: it is unhealthy", eventually(lambda: not fleet.healthy()))
    check(f"{what}: and says so once", fleet.server.wait("the store does not accept writes"))
    check(f"{what}: the metrics say so", "numastow_scheduler_store_healthy 0" in metrics_of(fleet.server))


def check_after(what, fleet, data, one, *options):
    """It can be stored again."""
    check(f"{what}, over: it is healthy by itself", eventually(fleet.healthy))
    same(f"{what}, over: a placement", fleet.place("c")[0], "OK")
    same(f"{what}, over: a release", status_of(fleet.stub.Release, S.ReleaseRequest(ids=[one]))[0], "OK")
    same(f"{what}, over: a fence", status_of(
        fleet.stub.Fence, S.FenceRequest(node="n", numa_nodes="0", revoke=True))[0], "OK")
    check(f"{what}, over: the machine is told of it", eventually(lambda: fleet.told_fences()[-1] == "0-1"))
    before = fleet.reservations(), fleet.fenced()
    fleet.close()
    again = Fleet(data, *options)
    same(f"{what}: a restart shows the same", (again.reservations(), again.fenced()), before)
    again.close()


def prepare(data, *options):
    fleet = Fleet(data, *options)
    same("a fence", status_of(fleet.stub.Fence, S.FenceRequest(node="n", numa_nodes="1"))[0], "OK")
    same("a placement", fleet.place("a")[0], "OK")
    one = fleet.stub.ListReservations(S.ListReservationsRequest(), timeout=PATIENCE).reservations[0].id
    return fleet, one


def is_small(place):
    """Make a folder on a disk of 4 MB, which the caller unmounts; False: that is not allowed."""
    os.mkdir(place)
    return os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "small", place], check=False, stderr=subprocess.DEVNULL).returncode == 0


def full_disk(folder):
    place = f"{folder}/small"
    if not is_small(place):
        skip("a full disk", "mounting is not allowed")
        return
    try:
        fleet, one = prepare(f"{place}/data")
        with open(f"{place}/filler", "wb", buffering=0) as filler:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        filler.write(b"x" * size)
                except OSError:
                    pass
        # The log's file has room up to the end of its last page, and can be reused from its beginning.
        full = eventually(lambda: fleet.place("filler")[0] != "OK")
        check("a full disk: it is noticed", full)
        for r in fleet.stub.ListReservations(S.ListReservationsRequest(), timeout=PATIENCE).reservations:
            if r.pod.name == "filler":
                fleet.stub.Release(S.ReleaseRequest(ids=[r.id]))
        check_refusals("a full disk", fleet, one)
        os.unlink(f"{place}/filler")
        check_after("a full disk", fleet, f"{place}/data", one)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def full_etcd(folder):
    """etcd's alarm, as when its database has reached its quota."""
    if not ETCD:
        skip("etcd without space", "etcd is not installed (Debian: etcd-server)")
        return
    with Etcd(hosts=[("[::1]" if has_six() else "127.0.0.1", ())]) as cluster:
        def alarm(action):
            member = cluster.members[0]
            done = run(["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--globoff", "--data",
                        json.dumps({"action": action, "memberID": "0", "alarm": "NOSPACE"}),
                        f"http://{member.host}:{member.client}/v3/maintenance/alarm"], "")
            check(f"etcd's alarm NOSPACE: {action}", done.code == 0, done)

        options = cluster.options(lease="20s")
        fleet, one = prepare(f"{folder}/no-space", *options)
        alarm("ACTIVATE")
        check_refusals("etcd without space", fleet, one)
        alarm("DEACTIVATE")
        check_after("etcd without space", fleet, f"{folder}/no-space", one, *options)


# --- etcd that is wrong -----------------------------------------------------------------------------


class NoEtcd(grpc.GenericRpcHandler):
    """Answers each method of etcd: bytes that are no message, or a message without a field of etcd's, in turn."""

    def __init__(self):
        self.asked = 0

    def service(self, handler_call_details):
        def answer():
            self.asked += 1
            return b"" if self.asked % 2 else b"\x0a\xff\xff"
        if handler_call_details.method.endswith(("/LeaseKeepAlive", "/Watch")):
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: iter([answer()]))
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer())


def said_of(program, urls):
    """Lines that name one of the members, with a reason."""
    return [line for line in map(json.loads, filter(lambda l: l.startswith("{"), program.so_far()))
            if any(url in line.get("member", "") + line.get("error", "") for url in urls) and len(line["error"]) > 5]


def names_all(program, relays):
    """/healthz fails, and names each of the members."""
    status, text = fetch(program, "/healthz")
    return status == 503 and all(f"{r.url}: " in text for r in relays)


def check_faulty(fleet, relays, mode, what):
    """Two of three members, then all of them, until it ends."""
    for relay in relays[:2]:
        relay.mode = mode
    same(f"two members: {what}: a placement", fleet.place(what)[0], "OK")
    relays[2].mode = mode
    never = f"no, it {what}"
    status, why = status_of(fleet.stub.Place, S.PlaceRequest(pods=[S.PodRequest(name=never, cpus=1)]), timeout=4)
    check(f"all members: {what}: nothing is granted", status != "OK", (status, why))
    check(f"all members: {what}: it is said, with member and reason", eventually(
        lambda: said_of(fleet.server, [r.url for r in relays])), fleet.server.so_far()[-3:])
    if mode == "silent":  # the others, too, after as long
        check(f"all members: {what}: it is unhealthy, and all of them are named", eventually(
            lambda: names_all(fleet.server, relays)), fetch(fleet.server, "/healthz"))
        check(f"all members: {what}: the metrics say so", eventually(
            lambda: "numastow_scheduler_store_healthy 0" in metrics_of(fleet.server)))
    same(f"all members: {what}: the machine was told nothing", [d for d in fleet.agent.directives if never == (
        d.reserve.pod.name if d.WhichOneof("kind") == "reserve" else "")], [])
    for relay in relays:
        relay.mode = "through"
    check(f"{what}, over: it is healthy by itself", eventually(fleet.healthy))
    same(f"{what}, over: a placement", fleet.place("again")[0], "OK")


def faulty_etcd(folder):
    """Members that accept connections and never answer, that speak no HTTP, or are another server: the next one is asked.
    All of them: nothing is granted."""
    if not ETCD:
        skip("etcd that does not answer", "etcd is not installed (Debian: etcd-server)")
        return
    with Etcd() as cluster:
        relays = [Relay(cluster.members[0].client) for _ in range(3)]
        options = cluster.options(lease="60s")
        options[options.index("--store") + 1] = "etcd:" + ",".join(r.url for r in relays)
        fleet, _ = prepare(f"{folder}/faulty", *options)
        server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[NoEtcd()], options=[("grpc.so_reuseport", 0)])
        other = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            for mode, what in (("silent", "never answers"), ("garbage", "speaks no HTTP"), (other, "is another server")):
                check_faulty(fleet, relays, mode, what)
                relays.append(relays.pop(0))
            for relay in relays:
                relay.mode = "silent"
            with Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics",
                         f"127.0.0.1:{free_port()}", *options]) as standby:
                check("a standby whose members never answer names all of them", eventually(
                    lambda: names_all(standby, relays)), fetch(standby, "/healthz"))
                for relay in relays:
                    relay.mode = "through"
                check("they answer: it is healthy by itself", eventually(
                    lambda: fetch(standby, "/healthz") == (200, "standby\n")), fetch(standby, "/healthz"))
            check("it is the same scheduler", fleet.server.process.poll() is None)
        finally:
            fleet.close()
            server.stop(0)
            for relay in relays:
                relay.close()


class Auth:
    """etcd's users and roles (rpc.proto, service Auth), as its user root."""

    def __init__(self, cluster):
        def contents(path):
            with open(path, "rb") as handle:
                return handle.read()
        tls = cluster.tls
        self.channel = grpc.secure_channel(
            cluster.urls.removeprefix("https://"), grpc.ssl_channel_credentials(
                contents(tls.ca), contents(tls.key), contents(tls.certificate)), [("grpc.enable_http_proxy", 0)])
        self.token = ()

    def call(self, method, *fields):
        """With fields 1, 2, ...: texts and messages."""
        request = b"".join(bytes(((number << 3) | 2, len(text))) + text for number, text in enumerate(
            (f.encode() if isinstance(f, str) else f for f in fields), 1))
        return self.channel.unary_unary(f"/etcdserverpb.Auth/{method}")(request, timeout=PATIENCE, metadata=self.token)

    def enable(self):
        self.call("UserAdd", "root", "secret")
        self.call("RoleAdd", "root")
        self.call("UserGrantRole", "root", "root")
        self.call("RoleAdd", "fleet")
        prefix = b"/numastow/"  # of this length: (1 << 3) | 0, READWRITE; key; the end of the range
        self.call("RoleGrantPermission", "fleet", b"\x08\x02\x12\x0a" + prefix + b"\x1a\x0a" + prefix[:-1] + b"0")
        self.add("numastow")
        self.call("AuthEnable")
        answer = self.call("Authenticate", "root", "secret")
        # Its header, then the token, the last field.
        at = answer.index(b"\x12", 2 + answer[1])
        self.token = (("token", answer[at + 2:at + 2 + answer[at + 1]].decode()),)

    def add(self, user):
        self.call("UserAdd", user, "secret")
        self.call("UserGrantRole", user, "fleet")


def denied_etcd(folder):
    """etcd takes the scheduler's rights away, and gives them back; and does not know a standby's user, then it does."""
    if not ETCD:
        skip("etcd that denies", "etcd is not installed (Debian: etcd-server)")
        return
    with Etcd(tls=True) as cluster:
        auth = Auth(cluster)
        options = cluster.options(lease="20s")
        fleet, one = prepare(f"{folder}/denied", *options)
        auth.enable()
        check("etcd with users: it is healthy", eventually(fleet.healthy))
        files = [f"{cluster.folder}/stranger.{kind}" for kind in ("key", "crt")]
        cluster.tls.issue("stranger", *files)
        stranger = [*options]
        for option, path in zip(("--store-key", "--store-certificate"), files):
            stranger[stranger.index(option) + 1] = path
        with Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics",
                     f"127.0.0.1:{free_port()}", *stranger]) as standby:
            said = standby.wait("standby: the store cannot be read")
            check("a user that etcd does not know: it is said, with the member", said and
                  cluster.urls in said["error"], standby.said[-3:])
            check("a user that etcd does not know: it is unhealthy, and why", eventually(
                lambda: (found := fetch(standby, "/healthz"))[0] == 503 and "permission denied" in found[1]),
                fetch(standby, "/healthz"))
            check("a user that etcd does not know: the metrics say so",
                  "numastow_scheduler_store_healthy 0" in metrics_of(standby))
            auth.add("stranger")
            check("etcd knows it: it stands by", standby.wait("standby: another scheduler is active"), standby.said[-3:])
            check("etcd knows it: it is healthy by itself", eventually(lambda: fetch(standby, "/healthz") == (200, "standby\n")),
                  fetch(standby, "/healthz"))
            check("etcd knows it: the metrics say so", eventually(
                lambda: "numastow_scheduler_store_healthy 1" in metrics_of(standby)))
        cluster.tls.issue("stranger", *files, expired=True)
        with Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics", "", *stranger]) as standby:
            said = standby.wait("standby: the store cannot be read")
            check("a certificate for etcd that has expired: it is said, with the file", said and
                  files[1] in said["error"] and "expired" in said["error"], standby.said[-3:])
        auth.call("UserRevokeRole", "numastow", "fleet")
        check_refusals("etcd that denies", fleet, one)
        check("etcd that denies: member and reason are said", [line for line in said_of(fleet.server, [cluster.urls])
                                                                if "permission denied" in line["error"]],
              fleet.server.so_far()[-3:])
        auth.call("UserGrantRole", "numastow", "fleet")
        check_after("etcd that denies", fleet, f"{folder}/denied", one, *options)
        auth.channel.close()


def denied_in_doubt(folder):
    """A write is not answered, and then etcd takes the right away, and renews the lease all the same: the lead is given up,
    and a scheduler that has the right leads."""
    if not ETCD:
        skip("etcd that denies what is in doubt", "etcd is not installed (Debian: etcd-server)")
        return
    with Etcd(tls=True) as cluster:
        relay = Relay(cluster.members[0].client)
        options = cluster.options(lease="60s")
        others = [*options]
        options[options.index("--store") + 1] = "etcd:" + relay.url.replace("http:", "https:")
        fleet, _ = prepare(f"{folder}/doubt", *options)
        auth = Auth(cluster)
        auth.enable()
        check("etcd with users: it is healthy", eventually(fleet.healthy))
        files = [f"{cluster.folder}/other.{kind}" for kind in ("key", "crt")]
        cluster.tls.issue("other", *files)
        auth.add("other")
        for option, path in zip(("--store-key", "--store-certificate"), files):
            others[others.index(option) + 1] = path
        with Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics", "", *others]) as standby:
            check("it stands by", standby.wait("standby: another scheduler is active"), standby.said[-3:])
            relay.mode = "silent"
            call = fleet.stub.Place.future(S.PlaceRequest(pods=[S.PodRequest(name="doubt", cpus=1)]), timeout=PATIENCE)
            check("a write is in doubt", fleet.server.wait("the result of a write is not known; it is sent again"))
            auth.call("UserRevokeRole", "numastow", "fleet")
            relay.mode = "through"
            lost = fleet.server.wait("lease lost: this scheduler exits, to become a standby")
            check("etcd denies it: the lead is given up, and why", lost and "permission denied" in lost["error"] and
                  "not known whether the last write took effect" in lost["error"], lost or fleet.server.so_far()[-3:])
            check("etcd denies it: its caller is told", call.exception(PATIENCE) is not None)
            check("etcd denies it: the other one leads", standby.wait("leader elected"), standby.said[-3:])
        fleet.close()
        auth.channel.close()
        relay.close()


def sql(data, text):
    with sqlite3.connect(f"{data}/scheduler.db", PATIENCE) as db:
        db.executescript(text)
    db.close()


def refused_rows(folder):
    """By triggers: of everything, and of one row of many."""
    data = f"{folder}/data"
    fleet, one = prepare(data)
    tables = ("reservation", "fence", "meta", "answer")
    for verb in ("INSERT", "DELETE"):
        for table in tables:
            sql(data, f"CREATE TRIGGER no_{verb}_{table} BEFORE {verb} ON {table} "
                      "BEGIN SELECT RAISE(ABORT, 'no'); END")
    check_refusals("a database that refuses", fleet, one)
    for verb in ("INSERT", "DELETE"):
        for table in tables:
            sql(data, f"DROP TRIGGER no_{verb}_{table}")
    check("a database that refuses, over: it is healthy by itself", eventually(fleet.healthy))
    sql(data, "CREATE TRIGGER bad BEFORE INSERT ON answer WHEN NEW.request = 'bad' "
              "BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END")
    calls = [fleet.stub.Place.future(S.PlaceRequest(
        pods=[S.PodRequest(name=f"many-{i}", cpus=1)], request_id="bad" if i == 20 else f"good-{i}"),
        timeout=PATIENCE) for i in range(40)]
    bad = [i for i, call in enumerate(calls) if call.exception()]
    same("one row that is refused is one caller's failure", bad, [20])
    sql(data, "DROP TRIGGER bad")
    check_after("a database that refuses", fleet, data, one)


def moved(folder):
    """The file is no longer where the next start looks for it."""
    data = f"{folder}/moved"
    fleet, one = prepare(data)
    os.rename(f"{data}/scheduler.db", f"{folder}/elsewhere.db")
    check_refusals("a database that was moved", fleet, one)
    os.rename(f"{folder}/elsewhere.db", f"{data}/scheduler.db")
    check_after("a database that was moved", fleet, data, one)


def locked(folder):
    """Another program writes to it: a moment is waited for, and all who asked are told of more."""
    data = f"{folder}/locked"
    fleet, one = prepare(data)
    with contextlib.closing(sqlite3.connect(f"{data}/scheduler.db", PATIENCE, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        calls = [fleet.stub.Place.future(S.PlaceRequest(pods=[S.PodRequest(name=f"many-{i}", cpus=1)]),
                                         timeout=PATIENCE) for i in range(60)]
        refused = [call.exception() for call in calls]
        check("a locked database: all are refused", all(e and e.code() == grpc.StatusCode.ABORTED
                                                        for e in refused), refused[:2])
        check_refusals("a locked database", fleet, one)
        call = fleet.stub.Place.future(S.PlaceRequest(pods=[S.PodRequest(name="x", cpus=1)]), timeout=PATIENCE)
        db.execute("ROLLBACK")
        call.exception()  # it may have waited long enough
    check("a locked database, over: it is healthy by itself", eventually(fleet.healthy))
    same("a locked database, over: a placement", fleet.place("c")[0], "OK")
    fleet.close()


def state_on(*options):
    """What a scheduler shows of a fleet whose machines are away."""
    with start_scheduler("/nonexistent", *options) as server, \
            channel_to(f"127.0.0.1:{server.port}") as channel:
        stub = scheduler_pb2_grpc.SchedulerStub(channel)
        reservations = stub.ListReservations(S.ListReservationsRequest(), timeout=PATIENCE).reservations
        for reservation in reservations:
            reservation.ClearField("lifetime")  # what is left when it is asked
        return (sorted(r.SerializeToString(deterministic=True) for r in reservations),
                sorted((n.report.name, n.fenced) for n in stub.ListNodes(
                    S.ListNodesRequest(), timeout=PATIENCE).nodes))


def copied(folder):
    """From a directory to etcd, and back to another one."""
    data, back = f"{folder}/moving", f"{folder}/back"
    fleet, _ = prepare(data)
    for i in range(5):
        fleet.place(f"p{i}")
    refused = run([*COPY, f"sqlite:{data}", f"sqlite:{back}"], "", 200)
    check("a store with a scheduler is not copied", refused.code == 1 and
          "active" in refused.err and refused.err.count("\n") == 1, refused)
    fleet.close()
    before = state_on("--store", f"sqlite:{data}")
    if not ETCD:
        skip("a store copied to etcd", "etcd is not installed (Debian: etcd-server)")
        return
    with Etcd() as cluster:
        url = f"etcd:{cluster.urls}"
        done = run([*COPY, f"sqlite:{data}", url], "", 200)
        check("a store is copied to etcd, and compared", done.code == 0 and "the same" in done.out, done)
        same("etcd has what the directory had", state_on(*cluster.options(lease="20s")), before)
        done = run([*COPY, f"sqlite:{data}", url], "", 200)
        check("one that is not empty is left alone", done.code == 1 and "already" in done.err, done)
        done = run([*COPY, url, f"sqlite:{back}"], "", 200)
        check("and back", done.code == 0, done)
        same("the other directory has it as well", state_on("--store", f"sqlite:{back}"), before)


# --- a copy that does not end ---------------------------------------------------------------------

MANY = 20000


def check_part(what, to, *options):
    """A store that has a part of another one: no scheduler takes it, and it is neither copied nor added to."""
    started = run([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics", "", *options], "", 200)
    check(f"{what}: no scheduler takes what is there", started.code == 1 and "only a part" in started.err, started)
    other = tempfile.mkdtemp(prefix="other-", dir=FOLDER)
    done = run([*COPY, to, f"sqlite:{other}"], "", 200)
    check(f"{what}: nor is it copied", done.code == 1 and "only a part" in done.err, done)
    start_scheduler(other).stop()
    done = run([*COPY, f"sqlite:{FOLDER}/many", to], "", 200)
    check(f"{what}: nor is more added to it", done.code == 1 and "already" in done.err, done)


def stop_copying(what, to, has_some):
    """Send SIGTERM when some rows are there."""
    with subprocess.Popen([*COPY, f"sqlite:{FOLDER}/many", to]) as program:
        check(f"{what}: rows are copied", eventually(has_some))
        program.terminate()
        same(f"{what}: it ends", program.wait(PATIENCE), -signal.SIGTERM)


def copied_in_part(folder):
    start_scheduler(f"{folder}/many").stop()
    with contextlib.closing(sqlite3.connect(f"{folder}/many/scheduler.db", isolation_level=None)) as db:
        db.execute("BEGIN")
        db.executemany("INSERT INTO fence VALUES(?, '0')", [(f"{i:0250}",) for i in range(MANY)])
        db.execute("COMMIT")

    place = f"{folder}/tight"
    what = "a disk that is full before the end"
    if is_small(place):
        try:
            done = run([*COPY, f"sqlite:{folder}/many", f"sqlite:{place}/data"], "", 200)
            check(f"{what}: it is said", done.code == 1 and "full" in done.err.splitlines()[-1], done)
            subprocess.run(["mount", "-o", "remount,size=100m", place], check=True)
            check_part(what, f"sqlite:{place}/data", "--store", f"sqlite:{place}/data")
        finally:
            subprocess.run(["umount", "-l", place], check=True)
    else:
        skip(what, "mounting is not allowed")

    what, to = "SIGTERM before the end", f"{folder}/to"
    start_scheduler(to).stop()
    sql(to, f"CREATE TRIGGER hangs BEFORE INSERT ON fence WHEN NEW.machine = '{MANY - 100:0250}' BEGIN SELECT "
            "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c); END")
    with contextlib.closing(sqlite3.connect(f"{to}/scheduler.db")) as db:
        stop_copying(what, f"sqlite:{to}", lambda: db.execute("SELECT count(*) FROM fence").fetchone()[0])
    sql(to, "DROP TRIGGER hangs")
    check_part(what, f"sqlite:{to}", "--store", f"sqlite:{to}")

    what = "SIGTERM before the end, to etcd"
    if not ETCD:
        skip(what, "etcd is not installed (Debian: etcd-server)")
        return
    with Etcd() as cluster:
        relay = Relay(cluster.members[0].client)

        def has_some():
            """Count the fences, and let nothing more through when there are some."""
            done = run(["curl", "--silent", "--noproxy", "*", "--data", json.dumps(
                {"key": base64.b64encode(b"/numastow/f/").decode(),
                 "range_end": base64.b64encode(b"/numastow/f0").decode(), "count_only": True}),
                        f"{cluster.urls}/v3/kv/range"], "")
            if '"count"' in done.out:
                relay.mode = "silent"
            return relay.mode == "silent"
        stop_copying(what, f"etcd:{relay.url}", has_some)
        relay.close()
        check_part(what, f"etcd:{cluster.urls}", *cluster.options(lease="20s"))


with Temp() as temp:
    FOLDER = temp
    copied(temp)
    copied_in_part(temp)
    full_disk(temp)
    full_etcd(temp)
    faulty_etcd(temp)
    denied_etcd(temp)
    denied_in_doubt(temp)
    refused_rows(temp)
    moved(temp)
    locked(temp)
finish()
