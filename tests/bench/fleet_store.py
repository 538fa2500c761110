# SPDX-License-Identifier: Apache-2.0
"""The fleet's part of `make bench` that is about stores: placements with SQLite and with etcd beside etcd's
own puts, the time until another scheduler has taken over, the fleet's lock under a storm of reports."""
import os
import re
import subprocess
import sys
import time
import urllib.request

import fleet

sys.path.insert(0, os.path.join(fleet.PROJECT, "tests/integration"))
from etcdlib import ETCD, Etcd  # noqa: E402
from fleetlib import scheduler_pb2, scheduler_pb2_grpc  # noqa: E402
import grpc  # noqa: E402

KILLS = 20
ROAMERS = 200
SECONDS = 5


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return {k: float(v) for k, v in re.findall(r"^(\w+) ([0-9.e+-]+)$", answer.read().decode(), re.M)}


def tls_options(certs):
    return ["--ca", f"{certs}/ca.crt", "--certificate", f"{certs}/scheduler.crt", "--key",
            f"{certs}/scheduler.key"] if certs else []


class Store:
    """Where a scheduler stores: SQLite, or an etcd of so many members on the disk of `temp`."""

    def __init__(self, temp, members):
        self.temp, self.members = temp, members
        self.name = f"etcd, {members} member{'s' * (members > 1)}" if members else "sqlite"
        self.cluster = Etcd(members, on=temp) if members else None
        self.runs = 0

    def options(self):
        self.runs += 1
        if not self.cluster:
            at = f"{self.temp}/store-{os.getpid()}-{self.runs}"
            os.makedirs(at)
            return ["--store", f"sqlite:{at}"]
        return ["--store", f"etcd:{self.cluster.urls}", "--store-prefix", f"/bench-{self.runs}/"]

    def __enter__(self):
        if self.cluster:
            self.cluster.__enter__()
        return self

    def __exit__(self, *_):
        if self.cluster:
            self.cluster.__exit__()


def place(build, temp, store, certs, callers):
    """What fleet_sim prints, with placements and the store's transactions while it ran."""
    port, at = fleet.free_port(), fleet.free_port()
    with fleet.scheduler(build, temp, port, *tls_options(certs), *store.options(), "--metrics",
                         f"127.0.0.1:{at}"):
        before = metrics(at)
        done = subprocess.run(
            [f"{build}/tests/bench/fleet_sim", f"127.0.0.1:{port}", "--nodes", str(fleet.NODES), "--numa",
             str(fleet.NUMA), "--connections", str(fleet.CONNECTIONS), "--callers", str(callers), "--seconds",
             str(SECONDS), *(["--certs", certs] if certs else [])], capture_output=True, text=True, check=False)
        after = metrics(at)
    found = fleet.keys(done.stdout)
    commits, placed = (after[f"numastow_scheduler_{k}_total"] - before[f"numastow_scheduler_{k}_total"]
                       for k in ("store_commits", "placed_pods"))
    found["each"] = placed / max(commits, 1)
    found["error"] = done.stderr.strip()[:120]
    return found


def puts(build, store, callers):
    target = f"127.0.0.1:{store.cluster.members[0].client}"
    done = subprocess.run([f"{build}/tests/bench/fleet_put", target, str(callers), str(SECONDS)],
                          capture_output=True, text=True, check=True)
    return fleet.keys(done.stdout)


def ms(us):
    return f"{us / 1000:.2f} ms"


def measure_places(build, temp, certs, stores, say, table):
    say(f"Placements in a fleet of {fleet.NODES:,} machines of {fleet.NUMA} NUMA nodes, by store, beside etcd's "
        "plain puts on the same disk in turn")
    rows = [["store", "", "callers", "p50", "p99", "a second", "a transaction", "plain puts: p50", "p99",
             "a second", "rates", "wanted"]]
    for store in stores:
        for callers in (1, 16, 64) if store.cluster else (1, 16):
            own = puts(build, store, callers) if store.cluster else None
            for name, certificate in (("plaintext", None), ("mutual TLS", certs)):
                r = place(build, temp, store, certificate, callers)
                wanted = "" if store.cluster else "p99 <= 1 ms" if callers == 1 else ">= 5,000/s"
                if store.cluster and callers > 1:
                    wanted = ">= 10 a transaction"
                if "place_p50_us" not in r:
                    rows.append([store.name, name, str(callers), "FAILED", *[""] * 7, r["error"]])
                    continue
                rows.append([store.name, name, str(callers), ms(r["place_p50_us"]), ms(r["place_p99_us"]),
                             f"{r['place_rate']:,.0f}", f"{r['each']:.1f}",
                             *([ms(own["put_p50_us"]), ms(own["put_p99_us"]), f"{own['put_rate']:,.0f}",
                                f"{r['place_rate'] / own['put_rate']:.2f}x"] if own else [""] * 4), wanted])
    table(rows)


# --- takeover -------------------------------------------------------------------------------------


class Pair:
    """Two schedulers of one store, and machines that find the active one."""

    def __init__(self, build, temp, store):
        self.build, self.temp = build, temp
        self.options = store.options()
        self.ports = [fleet.free_port(), fleet.free_port()]
        self.programs = [None, None]
        self.stubs = []

    def start(self, i, ready):
        self.programs[i] = fleet.Daemon(
            [f"{self.build}/numastow-scheduler", "--config", "/dev/null", "--listen", f"127.0.0.1:{self.ports[i]}",
             "--metrics", "", *self.options], ready, f"{self.temp}/pair-{i}.log")

    def __enter__(self):
        self.start(0, "numastow-scheduler is active")
        self.start(1, "standby: ")
        self.machines = subprocess.Popen(
            [f"{self.build}/tests/bench/fleet_roam", ",".join(f"127.0.0.1:{p}" for p in self.ports), "--nodes",
             str(ROAMERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.machines.stdout.readline()
        quick = [("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 20),
                 ("grpc.min_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]
        self.stubs = [scheduler_pb2_grpc.SchedulerStub(grpc.insecure_channel(f"127.0.0.1:{p}", options=quick))
                      for p in self.ports]
        return self

    def answered(self, i):
        try:
            return self.stubs[i].Place(scheduler_pb2.PlaceRequest(lifetime=10**9, pods=[
                scheduler_pb2.PodRequest(name="p", cpus=1)]), timeout=1)
        except grpc.RpcError:
            return None

    def take_over(self, leader):
        """Seconds from the leader's end to the next placement that is answered, by the other one."""
        began = time.monotonic()
        self.programs[leader].process.kill()
        self.programs[leader].process.wait()
        while not self.answered(1 - leader):
            time.sleep(0.005)
        took = time.monotonic() - began
        self.start(leader, "standby: ")
        self.machines.stdout.readline()  # all machines have found it
        time.sleep(0.5)
        return took

    def __exit__(self, *_):
        self.machines.stdin.close()
        self.machines.wait()
        for program in self.programs:
            program.process.kill()
            program.process.wait()


def measure_takeover(build, temp, stores, say, table):
    say(f"From SIGKILL of the leader to the next placement that is answered, {KILLS} times, {ROAMERS} machines "
        "(etcd: store-lease 5s, of which two thirds to all are left when it dies)")
    rows = [["store", "p50", "longest", "shortest"]]
    for store in stores:
        with Pair(build, temp, store) as pair:
            took = sorted(pair.take_over(i % 2) for i in range(KILLS))
        rows.append([store.name, f"{took[KILLS // 2]:.2f} s", f"{took[-1]:.2f} s", f"{took[0]:.2f} s"])
    table(rows)


# --- the lock -------------------------------------------------------------------------------------


def measure_lock(build, temp, say, table):
    say(f"The fleet's lock while {fleet.NODES:,} machines report, and 200 placements a second are made")
    rows = [["reports/s, wanted", "got", "placements: p50", "p99", "held, mean", "longest: registering", "all"]]
    for rate in (2000, 10000, 40000):
        port, at = fleet.free_port(), fleet.free_port()
        with fleet.scheduler(build, temp, port, "--metrics", f"127.0.0.1:{at}"):
            sim = subprocess.Popen(
                [f"{build}/tests/bench/fleet_sim", f"127.0.0.1:{port}", "--nodes", str(fleet.NODES), "--numa",
                 str(fleet.NUMA), "--connections", str(fleet.CONNECTIONS), "--reports", str(rate),
                 "--placements", "200", "--seconds", str(SECONDS)], stdout=subprocess.PIPE, text=True)
            while not sim.stdout.readline().startswith("registered"):
                pass
            before = metrics(at)
            time.sleep(SECONDS - 0.5)
            after = metrics(at)
            found = fleet.keys(sim.communicate()[0])
        held, n = (after[f"numastow_scheduler_lock_held_seconds_{k}"] -
                   before[f"numastow_scheduler_lock_held_seconds_{k}"] for k in ("sum", "count"))
        longest = "numastow_scheduler_lock_held_longest_seconds"
        rows.append([f"{rate:,}", f"{found['reports'] / SECONDS:,.0f}", ms(found["place_p50_us"]),
                     ms(found["place_p99_us"]), f"{held / n * 1e6:.1f} us", ms(before[longest] * 1e6),
                     ms(after[longest] * 1e6)])
    table(rows)


def measure_store(build, temp, say, table):
    certs = f"{temp}/certs" if os.path.isdir(f"{temp}/certs") else fleet.certificates(temp)
    stores = [Store(temp, 0)]
    if ETCD:
        stores += [Store(temp, 1), Store(temp, 3)]
    else:
        say("etcd is not installed (Debian: etcd-server): SQLite only")
    for store in stores:
        with store:
            measure_places(build, temp, certs, [store], say, table)
            measure_takeover(build, temp, [store], say, table)
    measure_lock(build, temp, say, table)
