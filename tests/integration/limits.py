#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a scheduler can make an agent do, and what it cannot (docs/security.md); what a restart keeps."""
import re
import time

from daemons import PATIENCE, agent, grpc_call, protoc, scheduler
from harness import Machine, Temp, check, finish, hook, query, same

OK, NO_ROOM = 0, 8


class Fleet:
    """One scheduler, and calls of it in protobuf's text format."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.port = daemon.wait("listening")["port"]
        daemon.wait("numastow-scheduler is active")

    def ask(self, method, text, kind=None):
        status, answer, words = grpc_call(self.port, method,
                                          protoc("encode", f"{method}Request", text.encode()))
        return status, protoc("decode", kind or f"{method}Response", answer).decode(), words

    def until(self, method, text, wanted):
        """The first answer that has `wanted` in it; "" when it never comes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            said = self.ask(method, text)[1]
            if wanted in said:
                return said
            time.sleep(0.05)
        return ""

    def gone(self, method, text, unwanted):
        """Waits until an answer no longer has `unwanted` in it; whether that came."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if unwanted not in self.ask(method, text)[1]:
                return True
            time.sleep(0.05)
        return False


def leases(machine):
    return query(machine, "SELECT count(*) FROM container WHERE state = 0 AND kind = 2")[0][0]


def fences(machine):
    return query(machine, "SELECT node FROM fence WHERE owner = 'scheduler' ORDER BY node")


def check_reservations(temp, fleet):
    machine = Machine(f"{temp}/few", cpus=64)
    with agent(machine, "few", fleet.port, "--max-reservations", "3") as node:
        node.wait("welcomed by the scheduler")
        pods = 'pods { cpus: 1 node: "few" } ' * 10
        status, said, _ = fleet.ask("Place", pods)
        same("ten reservations for a machine that takes three", (status, said.count("annotation:")),
             (OK, 10))
        refused = [node.wait("a reservation was refused") for _ in range(7)]
        check("it refuses seven", all(r and "its limit is 3" in r["error"] for r in refused), refused)
        same("and holds three", leases(machine), 3)
        for _ in range(7):
            fleet.daemon.wait("a node refuses a reservation")
        left = fleet.ask("ListReservations", "")[1]
        same("the scheduler keeps those", left.count("annotation:"), 3)
        status, said, words = fleet.ask("Place", 'pods { cpus: 1 node: "few" } confirmed: true')
        check("who wants it confirmed is told", status not in (OK, None) and "limit" in words,
              (status, said, words))


def check_fences(temp, fleet):
    for name, most, wanted in (("half", "50", [(1,)]), ("none", "0", [])):
        machine = Machine(f"{temp}/{name}")
        with agent(machine, name, fleet.port, "--max-fenced", most) as node:
            node.wait("welcomed by the scheduler")
            fleet.ask("Fence", f'node: "{name}" numa_nodes: "1"')
            if wanted:
                node.wait("the scheduler fences", numa_nodes="1")
            else:
                fleet.daemon.wait("a node did not carry out a directive", node=name)
            same(f"max-fenced {most}: one of two NUMA nodes", fences(machine), wanted)
            fleet.ask("Fence", f'node: "{name}" numa_nodes: "0-1"')
            said = fleet.daemon.wait("a node did not carry out a directive", node=name)
            check(f"max-fenced {most}: both are too many", said and "exceeds its limit" in said["error"],
                  said)
            same(f"max-fenced {most}: nothing has changed", fences(machine), wanted)


def check_switch(temp, fleet):
    machine = Machine(f"{temp}/off")
    with agent(machine, "off", fleet.port) as node:
        node.wait("welcomed by the scheduler")
        pod = 'pods { cpus: 1 node: "off" } confirmed: true'
        same("a machine that is switched on", fleet.ask("Place", pod)[0], OK)
        # After that nothing else changes that would be news.
        fleet.until("ListNodes", 'names: "off" containers: true', "CONTAINER_STATE_LEASE")
        machine.write("/etc/numastow/disabled", "")
        check("it tells so", fleet.until("ListNodes", 'names: "off"', "mode: MODE_DISABLED"))
        status, _, words = fleet.ask("Place", pod)
        check("switched off it gets nothing, and the scheduler knows",
              status == NO_ROOM and "observe or disabled" in words, (status, words))
        same("what it holds stays", leases(machine), 1)


def check_restart(temp):
    """A container that runs has its reservation, however long ago that would have run out."""
    machine = Machine(f"{temp}/bound")
    with scheduler(f"{temp}/kept") as daemon:
        fleet = Fleet(daemon)
        with agent(machine, "bound", fleet.port) as node:
            node.wait("welcomed by the scheduler")
            for lifetime in (3, 15, 60):  # seconds; a busy computer may need more than the first
                said = fleet.ask("Place", 'pods { name: "db" cpus: 2 } confirmed: true '
                                 f"lifetime: {lifetime}000000000")[1]
                annotation = re.search(r'annotation: "(.*)"', said).group(1)
                done = hook(machine, "apply", machine.container(
                    "db", {"numastow.io/cpus": "2", "numastow.io/reservation": annotation}))
                if done.code == 0:
                    break
                machine.end("db")
            same("the container takes its reservation", (done.code, done.err), (0, ""))
            said = fleet.until("ListReservations", "", "STATE_BOUND")
            check("the scheduler sees it", 'container: "db"' in said, said)
            expires = int(re.search(r"expires: (\d+)", said).group(1))
        # Something else that runs out after it says that its time is over.
        with agent(machine, "bound", fleet.port) as node:
            node.wait("welcomed by the scheduler")
            fleet.ask("Place", f"pods {{ cpus: 1 }} lifetime: {lifetime + 1}000000000")
            daemon.wait("a reservation has expired")
    with scheduler(f"{temp}/kept") as daemon:
        fleet = Fleet(daemon)
        fleet.ask("Place", 'pods { cpus: 1 node: "bound" }')
        said = fleet.ask("ListReservations", "")[1]
        check("after a restart it is still there, before its machine is",
              "STATE_BOUND" in said and 'name: "db"' in said and
              f"expires: {expires}" in said, said)


def check_explain(temp, fleet):
    machine = Machine(f"{temp}/pages")  # 15 GiB are free on each of two NUMA nodes
    with agent(machine, "pages", fleet.port) as node:
        node.wait("welcomed by the scheduler")
        pod = 'pods { node: "pages" hugepages { page_size: 2097152 pages: 3500 } } '
        for n, fits in ((1, True), (4, True), (5, False)):
            _, explained, words = fleet.ask("Explain", pod * n)
            status = fleet.ask("Place", pod * n)[0]
            same(f"Explain says of {n} pods with hugepages what Place does",
                 ("fits: true" in explained.splitlines(), status == OK), (fits, fits))
            # The next ones find the machine empty: its report had these, and has them no more.
            held = fleet.gone("ListReservations", "", "STATE_RESERVED")
            for found in re.findall(r'\bid: "(.*)"', fleet.ask("ListReservations", "")[1]):
                fleet.ask("Release", f'ids: "{found}"')
            check(f"{n} pods are given back", held and fleet.gone(
                "ListNodes", 'names: "pages" containers: true', 'id: "reservation:'))


def main():
    with Temp() as temp:
        with scheduler(f"{temp}/data") as daemon:
            fleet = Fleet(daemon)
            check_reservations(temp, fleet)
            check_fences(temp, fleet)
            check_switch(temp, fleet)
            check_explain(temp, fleet)
        check_restart(temp)
    finish()


if __name__ == "__main__":
    main()
