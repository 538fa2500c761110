# SPDX-License-Identifier: Apache-2.0
"""The fleet's part of `make bench`: the scheduler with thousands of simulated machines, the agent at
rest, and the time until the scheduler knows of a new container."""
import json
import os
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.realpath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
NODES, NUMA, CONNECTIONS = 10000, 8, 100
RESTING = 30  # seconds
SCHEDULER_WITHIN = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
        return next(int(line.split()[1]) for line in handle if line.startswith(key)) * 1024


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as handle:
        fields = handle.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mib(n):
    return f"{n / (1 << 20):.1f} MiB"


def keys(text):
    return {k: float(v) for k, v in (line.split() for line in text.splitlines() if line.count(" ") == 1)}


class Daemon:
    """A program of ours, ready when it says so."""

    def __init__(self, argv, ready, log):
        self.started = time.monotonic()
        self.log = log
        with open(log, "w", encoding="utf-8") as handle:
            self.process = subprocess.Popen(argv, stderr=handle, stdout=handle)
        self.pid = self.process.pid
        while ready not in self.said():
            if self.process.poll() is not None or time.monotonic() - self.started > SCHEDULER_WITHIN:
                raise RuntimeError(self.said())
            time.sleep(0.005)

    def said(self):
        with open(self.log, encoding="utf-8") as handle:
            return handle.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def scheduler(build, temp, port, *options):
    data = f"{temp}/data-{port}"
    return Daemon([f"{build}/numastow-scheduler", "--config", "/dev/null", "--listen",
                   f"127.0.0.1:{port}", "--metrics", "", "--data", data, *options],
                  "numastow-scheduler is active", f"{temp}/scheduler.log")


def certificates(temp):
    """One for each connection, good for all of its machines; one that places; the scheduler's."""
    at, made = f"{temp}/certs", 0
    os.makedirs(at)

    def ssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    ssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=bench", "-addext", "keyUsage=critical,keyCertSign", "-keyout", f"{at}/ca.key", "-out", f"{at}/ca.crt")
    per = NODES // CONNECTIONS
    wanted = {f"conn-{i}": [f"URI:numastow:agent/sim-{n:05d}" for n in range(i * per, (i + 1) * per)]
              for i in range(CONNECTIONS)}
    wanted["place"] = ["URI:numastow:role/place"]
    wanted["scheduler"] = ["IP:127.0.0.1"]
    for name, names in wanted.items():
        with open(f"{at}/{name}.cnf", "w", encoding="utf-8") as handle:
            handle.write("subjectAltName=" + ",".join(names) + "\n")
        ssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            f"/CN={name}", "-keyout", f"{at}/{name}.key", "-out", f"{at}/{name}.csr")
        ssl("x509", "-req", "-in", f"{at}/{name}.csr", "-CA", f"{at}/ca.crt", "-CAkey", f"{at}/ca.key",
            "-set_serial", str(1000 + made), "-days", "2", "-extfile", f"{at}/{name}.cnf", "-out",
            f"{at}/{name}.crt")
        made += 1
    return at


def one_fleet(build, temp, nodes, callers, certs=None, seconds=5):
    """What fleet_sim prints, and the scheduler's memory."""
    port = free_port()
    options = ["--ca", f"{certs}/ca.crt", "--certificate", f"{certs}/scheduler.crt", "--key",
               f"{certs}/scheduler.key"] if certs else []
    with scheduler(build, temp, port, *options) as server:
        empty = status(server.pid, "VmRSS")
        done = subprocess.run(
            [f"{build}/tests/bench/fleet_sim", f"127.0.0.1:{port}", "--nodes", str(nodes), "--numa",
             str(NUMA), "--connections", str(min(CONNECTIONS, nodes)), "--callers", str(callers),
             "--seconds", str(seconds), *(["--certs", certs] if certs else [])],
            capture_output=True, text=True, check=False)
        found = keys(done.stdout)
        found["memory"] = (status(server.pid, "VmHWM") - empty) / nodes
        found["rss"] = status(server.pid, "VmRSS")
    if done.returncode:
        found["error"] = done.stderr.strip()[:200]
    return found


def measure_fleet(build, temp, say, table):
    certs = certificates(temp)
    say(f"A fleet of {NODES:,} simulated machines of {NUMA} NUMA nodes, over gRPC; placements are durable "
        "when they are answered")
    rows = [["", "registered", "callers", "p50", "p99", "placements/s", "a machine", "wanted"]]
    for name, certificate in (("plaintext", None), ("mutual TLS", certs)):
        for callers, wanted in ((1, "p99 <= 2 ms"), (16, ">= 5,000/s")):
            r = one_fleet(build, temp, NODES, callers, certificate)
            if "place_p50_us" not in r:
                rows.append([name, "FAILED", str(callers), "", "", "", "", r.get("error", "")])
                continue
            rows.append([name, f"{r['registered_ms'] / 1000:.1f} s", str(callers),
                         f"{r['place_p50_us'] / 1000:.2f} ms", f"{r['place_p99_us'] / 1000:.2f} ms",
                         f"{r['place_rate']:,.0f}", f"{r['memory'] / 1024:.1f} KiB", wanted])
    table(rows)
    say("The same by the number of machines (plaintext, one caller)")
    rows = [["machines", "registered", "p50", "p99", "placements/s", "scheduler"]]
    for nodes in (100, 1000, 10000):
        r = one_fleet(build, temp, nodes, 1, None, 3)
        rows.append([f"{nodes:,}", f"{r['registered_ms'] / 1000:.2f} s",
                     f"{r['place_p50_us'] / 1000:.2f} ms", f"{r['place_p99_us'] / 1000:.2f} ms",
                     f"{r['place_rate']:,.0f}", mib(r["rss"])])
    table(rows)
    say("Inside the scheduler: finding room and booking it (medians of 2,000; wanted: <= 100 us at "
        f"{NODES:,})")
    done = subprocess.run([f"{build}/tests/bench/fleet_place"], capture_output=True, text=True, check=True)
    by_size = {}
    for line in done.stdout.splitlines():
        machines, kind, median, _ = line.split()
        by_size.setdefault(machines, {})[kind] = int(median)
    kinds = {"one": "2 CPUs on one NUMA node", "restricted": "20 CPUs on two", "nowhere": "what nobody has"}
    first = by_size[min(by_size, key=int)]
    table([["machines", *kinds.values(), "growth"]] +
          [[f"{int(n):,}", *(f"{r[k] / 1000:.1f} us" for k in kinds), f"{r['one'] / first['one']:.1f}x"]
           for n, r in by_size.items()])
    kinds = {"report": "a report", "alike": "one, all alike", "apart": "nobody has: apart",
             "scattered": "scattered", "pages": "hugepages"}
    table([["machines", *kinds.values()]] +
          [[f"{int(n):,}", *(f"{r[k] / 1000:.1f} us" for k in kinds)] for n, r in by_size.items()])


# --- the agent ------------------------------------------------------------------------------------


class Containers:
    """Cgroups with a process in each, placed by the hook: in the ledger that the agent will read."""

    def __init__(self, cgroup, many, build, temp):
        self.parent, self.build = cgroup.parent, build
        self.paths, self.sleepers = [], []
        for i in range(many):
            path = f"{self.parent}/c{i}"
            os.makedirs(path, exist_ok=True)
            if cgroup.version == 1:
                for name in ("cpuset.cpus", "cpuset.mems"):
                    with open(f"{self.parent}/{name}", encoding="utf-8") as handle:
                        value = handle.read()
                    with open(f"{path}/{name}", "w", encoding="utf-8") as handle:
                        handle.write(value)
            sleeper = subprocess.Popen(["sleep", "3600"])
            with open(f"{path}/cgroup.procs", "w", encoding="utf-8") as handle:
                handle.write(str(sleeper.pid))
            self.paths.append(path)
            self.sleepers.append(sleeper)
        self.temp = temp

    def state(self, i):
        return json.dumps({"ociVersion": "1.0.2", "id": f"c{i}", "status": "created",
                           "pid": self.sleepers[i].pid, "bundle": self.temp + "/bundle",
                           "annotations": {"numastow.io/nodes": "0"}})

    def place(self, i):
        return subprocess.run([f"{self.build}/numastow-hook", "apply"], input=self.state(i), text=True,
                              capture_output=True, check=False)

    def end(self):
        for sleeper in self.sleepers:
            sleeper.kill()
            sleeper.wait()
        for path in self.paths:
            try:
                os.rmdir(path)
            except OSError:
                pass


def rest(build, temp, *options):
    """(resident bytes, percent of one CPU) of an agent that has nothing to do."""
    with Daemon([f"{build}/numastow-agent", "--config", "/dev/null", "--node", "bench", "--metrics", "",
                 *options], "numastow-agent is ready", f"{temp}/agent.log") as agent:
        time.sleep(3)
        before, started = cpu_seconds(agent.pid), time.monotonic()
        time.sleep(RESTING)
        used = (cpu_seconds(agent.pid) - before) / (time.monotonic() - started) * 100
        return status(agent.pid, "VmRSS"), used


def measure_agent(build, temp, cgroup, dump, say, table):
    say(f"The agent at rest, for {RESTING} s, every interval at 1 s (wanted: <= 24 MiB, <= 0.5 % of one CPU)")
    every = ["--poll-interval", "1s", "--reconcile-interval", "1s"]
    rows = [["", "resident", "of one CPU"]]
    containers = Containers(cgroup, 200, build, temp)
    try:
        failed = [r.stderr for r in map(containers.place, range(200)) if r.returncode]
        if failed:
            say(f"{len(failed)} of 200 containers FAILED: {failed[0].strip()}")
        memory, used = rest(build, temp, *every)
        rows.append(["this machine, 200 containers", mib(memory), f"{used:.2f} %"])
    finally:
        containers.end()
        subprocess.run([f"{build}/numastow", "gc", "--quiet"], check=False)
    if dump:
        memory, used = rest(build, temp, *every, "--sysroot", dump)
        rows.append(["64 NUMA nodes, 256 CPUs", mib(memory), f"{used:.2f} %"])
    table(rows)


def measure_delay(build, temp, cgroup, state, container, say, table):
    port = free_port()
    say("From the hook's end to the scheduler's table (300 runs; wanted: within 100 ms)")
    with scheduler(build, temp, port), \
            Daemon([f"{build}/numastow-agent", "--config", "/dev/null", "--node", "bench", "--metrics", "",
                    "--scheduler", f"127.0.0.1:{port}"], "welcomed by the scheduler", f"{temp}/agent.log"):
        done = subprocess.run([f"{build}/tests/bench/fleet_delay", f"127.0.0.1:{port}", "bench",
                               f"{build}/numastow-hook", state, "300", f"{build}/numastow", container],
                              capture_output=True, text=True, check=False)
    r = keys(done.stdout)
    if "p50_us" not in r:
        say(f"FAILED: {done.stderr.strip()[:300]}\n")
        return
    table([["runs", "lost", "p50", "p99", "longest"],
           [f"{r['runs']:.0f}", f"{r['lost']:.0f}", *(f"{r[k] / 1000:.1f} ms"
                                                      for k in ("p50_us", "p99_us", "max_us"))]])
