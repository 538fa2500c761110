#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow status and doctor beside a running agent, scheduler and API server: what they show while all of them answer, and
when one of them stops. In a mount namespace, where /etc/numastow is the test's."""
import json
import os
import signal
import subprocess

import kubebench
from daemons import PATIENCE, fetch, free_port
from fleetlib import eventually, start_agent, start_scheduler
from harness import BUILD, Machine, Temp, check, finish, same, skip
from kubelib import make_certificates

NUMASTOW = os.path.join(BUILD, "numastow")
IN_NAMESPACE = ["unshare", "--mount", "sh", "-c",
                'mount -t overlay overlay -o lowerdir="$0":/etc /etc && exec "$@"']


class Etc:
    """Files in /etc/numastow, instead of this machine's own."""

    def __init__(self, temp):
        self.path = f"{temp}/etc"
        os.makedirs(f"{self.path}/numastow")
        for name in ("agent.yaml", "client.yaml", "scheduler.yaml", "config.yaml"):
            self.write(name, "")

    def write(self, name, text):
        with open(f"{self.path}/numastow/{name}", "w", encoding="utf-8") as handle:
            handle.write(text)

    def run(self, *argv):
        return subprocess.run([*IN_NAMESPACE, self.path, *argv], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE)


def status(etc):
    done = etc.run(NUMASTOW, "status", "--json")
    if not check("status answers", done.returncode in (0, 4), done):
        return {}
    answer = json.loads(done.stdout)
    return {k: (answer[k]["state"], answer[k]["text"]) for k in ("agent", "scheduler", "kubernetes")}


def becomes(what, etc, key, state, text):
    """Wait until the status has that state and text: a daemon takes time to start or stop."""
    seen = {}

    def asked():
        seen.update(status(etc))
        return seen.get(key, ("", ""))[0] == state and text in seen[key][1]
    check(what, eventually(asked), seen)


def check_fleet(temp, etc):
    machine = Machine(f"{temp}/m")
    with start_scheduler(f"{temp}/data") as server:
        with start_agent(machine, "m", server.port) as agent:
            etc.write("agent.yaml", f"socket: {agent.socket}\nscheduler: 127.0.0.1:{server.port}\n")
            etc.write("client.yaml", f"agent: {agent.socket}\n")
            becomes("the agent answers", etc, "agent", "ok", "answers")
            becomes("the scheduler needs client.yaml", etc, "scheduler", "unknown", "client.yaml")
            etc.write("client.yaml", f"scheduler: 127.0.0.1:{server.port}\nagent: {agent.socket}\n")
            becomes("with it, the scheduler answers", etc, "scheduler", "ok", "answers")
            same("Kubernetes is off", status(etc).get("kubernetes"), ("off", "off in agent.yaml"))
            done = etc.run(NUMASTOW, "doctor", "--json")
            check("doctor has its answer beside them", done.returncode in (0, 4) and "findings" in json.loads(done.stdout), done)
            agent.process.send_signal(signal.SIGSTOP)
            becomes("an agent that hangs is a problem", etc, "agent", "problem", "does not answer")
            agent.process.send_signal(signal.SIGCONT)
            becomes("until it goes on", etc, "agent", "ok", "answers")
        becomes("an agent that has ended", etc, "agent", "off", "does not run")
    becomes("a scheduler that has ended is a problem", etc, "scheduler", "problem", "does not answer")


def check_kubernetes(temp, etc):
    folder = f"{temp}/certificates"
    os.makedirs(folder)
    make_certificates(folder)
    with kubebench.Bench(temp, "kubernetes", folder) as bench:
        port = free_port()
        etc.write("client.yaml", "")
        etc.write("agent.yaml", f"kubernetes: true\nmetrics: 127.0.0.1:{port}\n")
        becomes("without an agent", etc, "kubernetes", "problem", "metrics cannot be read")

        def refuse(handler, *_):
            handler.refuse(403, "Forbidden", "no")
            return True
        bench.api.faults = [refuse]
        bench.start("--metrics", f"127.0.0.1:{port}")
        check("the agent serves metrics", eventually(lambda: fetch(bench.program, "/metrics")[0] == 200))
        becomes("an API server that refuses everything", etc, "kubernetes", "problem", "nothing was published yet")
        bench.api.faults = []
        becomes("and one that does not", etc, "kubernetes", "ok", "up to date")
        etc.write("agent.yaml", f"kubernetes: true\nmetrics: 0.0.0.0:{port}\n")
        becomes("also where metrics are served on all addresses", etc, "kubernetes", "ok", "up to date")


def main():
    with Temp() as temp:
        etc = Etc(temp)
        if os.geteuid() or etc.run("true").returncode:
            skip("status beside running daemons", "needs root, a mount namespace and overlayfs")
        else:
            check_fleet(temp, etc)
            check_kubernetes(temp, etc)
    finish()


if __name__ == "__main__":
    main()
