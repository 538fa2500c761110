#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Machines by the hundred lose their scheduler at the same moment, look for the next one as the agent does,
and are all served again; on both engines, and over mutual TLS.

500 machines; 10,000 with --full.
"""
import os
import re
import subprocess
import sys

import grpc

from daemons import PATIENCE, SCHEDULER, Daemon, free_port
from etcdlib import ETCD, Etcd
from fleetlib import channel_to, eventually, scheduler_pb2, scheduler_pb2_grpc, status_of
from harness import BUILD, FULL, PROJECT, Temp, check, finish, same, skip

sys.path.insert(0, os.path.join(PROJECT, "tests/bench"))
from fleet import certificates  # noqa: E402 pylint: disable=wrong-import-position

SIMULATOR = os.path.join(BUILD, "tests/bench/fleet_roam")
MACHINES = 10000 if FULL else 500
WITHIN = 30  # seconds that are promised


def scheduler(port, store):
    program = Daemon([SCHEDULER, "--config", "/dev/null", "--listen", f"127.0.0.1:{port}", "--metrics", "",
                      *store])
    program.port = port
    return program


class Machines:
    """The simulated ones; each line is an outage that is over."""

    def __init__(self, ports, certs):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [SIMULATOR, ",".join(f"127.0.0.1:{p}" for p in ports), "--nodes", str(MACHINES), "--seconds",
             str(4 * PATIENCE), *(["--certs", certs] if certs else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def found(self):
        """(ms, lost, dials, busiest, welcomes of each second)"""
        line = self.process.stdout.readline()
        match = re.match(r"found (\d+) lost (\d+) dials (\d+) busiest (\d+) welcomes ([\d ]+)$", line)
        return (*map(int, match.groups()[:4]), match.group(5)) if match else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(PATIENCE)


def connect(port, certs):
    def read(name):
        with open(f"{certs}/{name}", "rb") as handle:
            return handle.read()
    if not certs:
        return channel_to(f"127.0.0.1:{port}")
    credentials = grpc.ssl_channel_credentials(read("ca.crt"), read("place.key"), read("place.crt"))
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, [("grpc.enable_http_proxy", 0)])


def places(port, certs):
    """Whether a pod is placed, with the machine's word for it."""
    with connect(port, certs) as channel:
        return status_of(scheduler_pb2_grpc.SchedulerStub(channel).Place, scheduler_pb2.PlaceRequest(
            pods=[scheduler_pb2.PodRequest(name="p", cpus=1)], confirmed=True))[0] == "OK"


def lose(engine, store, certs=None):
    what = f"{MACHINES} machines, {engine}"
    if certs:
        what += ", mutual TLS"
        store = [*store, "--ca", f"{certs}/ca.crt", "--certificate", f"{certs}/scheduler.crt",
                 "--key", f"{certs}/scheduler.key"]
    ports = [free_port(), free_port()]
    first = scheduler(ports[0], store)
    check(f"{what}: one is active", first.wait("numastow-scheduler is active"), first.said)
    with scheduler(ports[1], store) as second, Machines(ports, certs) as machines:
        check(f"{what}: the other stands by", second.wait("standby: another scheduler is active"), second.said)
        if not check(f"{what}: all are welcomed", machines.found(), first.so_far()[-3:]):
            first.stop()
            return
        first.process.kill()
        first.process.wait()
        ms, lost, dials, busiest, welcomes = machines.found() or (0, 0, 0, 0, "")
        check(f"{what}: the other one is there", second.process.poll() is None, second.so_far()[-3:])
        print(f"# {what}: {ms / 1000:.1f} s, {dials} dials, {busiest} in the busiest 0.1 s, welcomed in each "
              f"second: {welcomes}")
        same(f"{what}: all have lost it and found the other", lost, MACHINES)
        # With TLS the time is that of the handshakes: this machine makes those of all machines, too.
        if FULL and not certs:
            check(f"{what}: within {WITHIN} s", ms < WITHIN * 1000, f"{ms} ms")
        # A machine that asked all the time would have dialled once for each 50 ms.
        check(f"{what}: they do not keep dialling", dials <= lost * (2 + ms / 400), dials)
        check(f"{what}: the other one places", eventually(lambda: places(ports[1], certs)))


with Temp() as folder:
    os.makedirs(f"{folder}/data")
    lose("sqlite", ["--store", f"sqlite:{folder}/data"])
    lose("sqlite", ["--store", f"sqlite:{folder}/other"], certificates(folder))
if ETCD:
    with Etcd() as cluster:
        lose("etcd", cluster.options(lease="20s"))
else:
    skip("the same on etcd", "etcd is not installed (Debian: etcd-server)")
finish()
