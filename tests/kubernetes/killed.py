#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The agent killed at each change of a file that it makes while it prepares a claim, and while it unprepares one, with a
stock kubelet that asks again: the pod runs with one lease, and goes with all that it had. Another pod does not notice.

usage: tests/kubernetes/killed.py [FIRST [LAST]]     from one change on (1), up to another (all)
"""
import subprocess
import sys

from cluster import HERE, PODS, eventually
from harness import check, parse_list, same
import node
from vm import Machine, run_with_machines

MOST = 300  # no call has so many changes


class Test(node.Test):
    def start_killable(self, library):
        """The agent again, with the library; before its first change."""
        self.library = library
        self.machine.do("end agent; kill_at 0")
        return self.start_agent()

    def start_agent(self):
        before = self.registrations()
        self.machine.do(f"kill_at 0; KILLER={self.library} start_agent")
        return eventually(lambda: self.registrations() > before)

    def settle(self, number):
        """The change at which it died, or None once it has done what it had to do; then it runs again."""
        how = eventually(lambda: self.machine.out("killed_or_done"))
        changes = self.machine.out("changes")
        if how == "killed":
            check(f"killed at change {number}: kubelet registers the next agent", self.start_agent(),
                  self.machine.out("tail -n 5 $logs/agent.log"))
            return changes
        check(f"change {number}: it has answered", how == "done", how)
        self.machine.do("kill_at 0")
        return None

    def leases(self):
        return [r for r in self.records() if r["state"] == "lease" and r["id"] != self.kept]

    def prepared(self, number):
        """Killed while it prepares; the change, or None."""
        name = f"k{number}"
        self.machine.do(f"kill_at {number}")
        self.make(name, cpus=1, hugepages2Mi="2Mi")
        died = self.settle(number)
        container, seen = self.running(name)
        check(f"killed at change {number} of a start: the pod runs, with one lease and one CPU",
              container and len(self.leases()) == 1 and len(parse_list(seen.get("allowed", ""))) == 1,
              (self.cluster.said(name), self.records(), seen))
        same("... with its hugepages", (seen.get("max"), seen.get("rsvd")), (str(2 << 20),) * 2)
        return died

    def unprepared(self, number):
        name = f"k{number}"
        self.machine.do(f"kill_at {number}")
        self.cluster.delete(f"{PODS}/{name}")
        died = self.settle(number)
        check(f"killed at change {number} of an end: the pod goes, and its claim", self.remove(name), self.cluster.said(name))
        check("... its lease, and its CDI file", eventually(
            lambda: not self.leases() and len(self.machine.out("ls /var/run/cdi").split()) == 1),
            (self.records(), self.machine.out("ls /var/run/cdi")))
        return died

    def killed(self, first, last):
        """All changes, until there is none at which it dies."""
        self.make("stays", cpus=1, hugepages2Mi="2Mi")
        container, seen = self.running("stays")
        self.kept = next((r["id"] for r in self.records() if r["state"] == "lease"), None)
        deaths = {"start": [], "end": []}
        for number in range(first, last + 1):
            died = self.prepared(number), self.unprepared(number)
            for what, change in zip(deaths, died):
                if change:
                    deaths[what].append(change)
            print(f"#   {number}: {died[0] or 'done'} | {died[1] or 'done'}", flush=True)
            if not any(died):
                break
        else:
            check("all changes were tried", last < MOST, number)
        print(f"#   killed {len(deaths['start'])} times in a start, {len(deaths['end'])} times in an end", flush=True)
        for what, changes in deaths.items():
            for file in ("/run/numastow/ledger", "numastow.io-claim_"):
                check(f"among the changes of a {what} are those of {file}", any(file in c for c in changes), changes)
        again = self.running("stays")
        same("another pod has not noticed", (again[0], again[1].get("cpus")), (container, seen.get("cpus")))
        self.promises("after all deaths")
        check("it is deleted", self.remove("stays"))
        check("nothing is left in the ledger", eventually(lambda: not self.records()), self.records())
        same("no CDI file is left", self.machine.out("ls /var/run/cdi"), "")


def whole(cluster):
    words = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    first, last = (words + [1, MOST][len(words):])[:2]
    library = f"{cluster.folder}/killer.so"
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-Wall", "-fPIC", "-shared", "-o", library,
                    f"{HERE}/killer.c"], check=True)
    cluster.account("agent")
    cluster.device_class("numastow-exclusive", {"cpuMode": "exclusive"})
    with Machine(cluster, "v2", f"{cluster.folder}/machine.log") as machine:
        test = Test(cluster, machine)
        if test.start_node() and check("the agent starts with the library", test.start_killable(library)):
            test.killed(first, last)
        same("the kernel has not complained", machine.end(0), 0)


if __name__ == "__main__":
    run_with_machines("kubernetes-killed", whole)
