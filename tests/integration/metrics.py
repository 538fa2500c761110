#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""/metrics of both daemons: it follows Prometheus' rules for names and types (`promtool check metrics` agrees), docs/metrics.md
lists all metrics, and the alerting rules use metrics that exist. Errors of clients are one sentence."""
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import yaml

from daemons import NUMASTOW, fetch, free_port, metrics_of
from fleetlib import FakeAgent, Growth, channel_to, command, eventually, full_report, node_pb2, start_agent, start_scheduler
from harness import PROJECT, Machine, Temp, check, finish, run, same, skip

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)$')


def parse(text):
    """Return {name: type}, {name of a sample with its labels: value}, and the violations of rules."""
    types, helps, samples, wrong = {}, {}, {}, []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            wrong += [f"{name}: HELP twice"] if name in helps else []
            wrong += [] if words else [f"{name}: no help"]
            helps[name] = words
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            wrong += [f"{name}: TYPE twice"] if name in types else []
            types[name] = kind
        else:
            found = SAMPLE.match(line)
            if not found:
                wrong.append(f"no sample: {line}")
                continue
            name, labels, value = found.groups()
            base = re.sub("_(bucket|sum|count)$", "", name)
            wrong += [] if name in types or types.get(base) == "histogram" else [f"{name}: no TYPE before it"]
            wrong += [f"{name}{labels}: twice"] if (name, labels) in samples else []
            samples[name, labels or ""] = float(value)
    for name, kind in types.items():
        wrong += [] if name in helps else [f"{name}: no HELP"]
        wrong += [f"{name}: a {kind}"] if (kind == "counter") != name.endswith("_total") else []
        wrong += [f"{name}: ends like a histogram's"] if re.search("_(count|sum|bucket)$", name) else []
        wrong += [f"{name}: not a base unit"] if re.search(
            "_(ms|us|milliseconds|microseconds|minutes|hours|kib|mib|kilobytes|pages_total_bytes)(_total)?$",
            name) else []
        wrong += [f"{name}: its type is in its name"] if re.search("(gauge|counter|histogram|summary)", name) else []
        wrong += [f"{name}: no lower case with underscores"] if not re.fullmatch("[a-z][a-z0-9_]*", name) else []
    return types, {f"{n}{l}": v for (n, l), v in samples.items()}, wrong


CACHE = os.path.expanduser("~/.cache/numastow/prometheus")
UNPACK = 'cd "$0" && apt-get -qq download prometheus && mkdir -p "$1" && dpkg-deb -x prometheus_*.deb "$1"'


def promtool(what, words, text, said=""):
    """Debian's package also starts a server that listens on all addresses: it is unpacked, and not installed."""
    path = shutil.which("promtool") or f"{CACHE}/usr/bin/promtool"
    if not os.path.exists(path):
        with Temp() as folder:
            run(["sh", "-c", UNPACK, folder, CACHE], "")
    if not os.path.exists(path):
        return skip(what, "Debian's package prometheus cannot be fetched")
    done = run([path, *words], text)
    rest = [line for line in (done.out + done.err).splitlines() if line.strip() and not (said and re.search(said, line))]
    return check(what, done.code == 0 and not rest, (done, rest))


def check_rules(what, text, prefix):
    types, samples, wrong = parse(text)
    same(f"{what}: Prometheus' rules", wrong, [])
    promtool(f"{what}: promtool has nothing to say", ["check", "metrics"], text)
    same(f"{what}: names with a prefix of its own",
         [n for n in types if not n.startswith((prefix, "process_"))], [])
    return types, samples


class Slow(threading.Thread):
    """Connections to a server of metrics: silent ones, some that send or read a byte from time to time, some that ask a
    hundred times and read nothing. Each is opened again when it is closed. From other addresses come those that hang up at once."""

    KINDS, EACH = ("silent", "sends", "reads", "asks"), 20
    GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over, self.opened, self.flood = port, threading.Event(), 0, 0
        self.socks = {}
        self.start()

    def open(self, source="127.0.0.1"):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(1)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.port))
        sock.setblocking(False)
        return sock

    def act(self, kind, key):
        sock = self.socks.get(key)
        try:
            if not sock:
                sock = self.socks[key] = self.open()
                self.opened += 1
                sock.send({"silent": b"", "sends": b"GET /metrics HTTP/1.1\r\nX: "}.get(
                    kind, self.GET if kind == "reads" else self.GET * 100))
            elif kind == "sends":
                sock.send(b"x")
            elif kind == "silent" or kind == "reads":
                if not sock.recv(1):
                    raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            if sock:
                sock.close()
            self.socks[key] = None

    def run(self):
        while not self.over.wait(0.2):
            for number in range(self.EACH * len(self.KINDS)):
                self.act(self.KINDS[number % len(self.KINDS)], number)
            for number in range(40):
                try:
                    self.open(f"127.0.2.{number % 8 + 1}").close()
                    self.flood += 1
                except OSError:
                    pass

    def stop(self):
        self.over.set()
        self.join()
        for sock in filter(None, self.socks.values()):
            sock.close()


def check_slow(what, program):
    """Slow readers keep no other reader out, and the daemon's memory does not grow."""
    argv = program.process.args
    port = int([argv[i + 1] for i, word in enumerate(argv) if word == "--metrics"][-1].rsplit(":", 1)[1])
    before = parse(metrics_of(program))[1]["process_resident_memory_bytes"]
    slow = Slow(port)
    check(f"{what}: slow readers are connected", eventually(lambda: slow.opened >= 80 and slow.flood > 100),
          (slow.opened, slow.flood))
    for path in ("/metrics", "/healthz") * 3:
        check(f"{what}: {path} is answered meanwhile", eventually(lambda p=path: fetch(program, p)[0] == 200))
    after = parse(eventually(lambda: (found := fetch(program, "/metrics"))[0] == 200 and found[1]))[1]
    grown = after["process_resident_memory_bytes"] - before
    check(f"{what}: slow readers take little", grown < (32 << 20) * Growth.ROOM, f"{grown / (1 << 20):.1f} MiB")
    print(f"# {what}: {slow.opened} slow readers, {slow.flood} that hung up; it grew by {grown / (1 << 20):.1f} MiB")
    slow.stop()


def documented():
    with open(os.path.join(PROJECT, "docs/metrics.md"), encoding="utf-8") as handle:
        return set(re.findall(r"^\| `([a-z_]+)", handle.read(), re.M))


def check_alerts():
    """Each alerting rule names metrics that exist and has the keys that Prometheus requires, and docs/metrics.md says what to
    alert on."""
    path = os.path.join(PROJECT, "deploy/prometheus/numastow.rules.yaml")
    with open(path, encoding="utf-8") as handle:
        groups = yaml.safe_load(handle)["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    names = [rule["alert"] for rule in rules]
    same("alerts: names", (len(set(names)), [n for n in names if not re.fullmatch("Numastow[A-Za-z]+", n)]), (len(rules), []))
    used = {m for rule in rules for m in re.findall("numastow_[a-z_]+", rule["expr"])}
    same("alerts: metrics that there are not", sorted(used - documented()), [])
    with open(os.path.join(PROJECT, "docs/metrics.md"), encoding="utf-8") as handle:
        wanted = set(re.findall("`(numastow_[a-z_]+)`", handle.read().split("What to alert on")[1].split("\n\n")[0]))
    same("alerts: all that docs/metrics.md says to alert on", sorted(wanted - used), [])
    for rule in rules:
        same(f"{rule['alert']}: keys", (set(rule) - {"for"}, set(rule["annotations"]), rule["labels"]["severity"] in ("warning", "critical")),
             ({"alert", "expr", "labels", "annotations"}, {"summary", "description"}, True))
        check(f"{rule['alert']}: brackets", all(rule["expr"].count(a) == rule["expr"].count(b) for a, b in ("()", "[]", "{}")), rule["expr"])
    promtool("alerts: promtool has nothing to say", ["check", "rules", path], "", ": SUCCESS|rules found|Checking")


def check_metrics(folder):
    machine = Machine(f"{folder}/m")
    with start_scheduler(f"{folder}/data", "--metrics", f"127.0.0.1:{free_port()}") as server, \
            start_agent(machine, "m", server.port, "--metrics", f"127.0.0.1:{free_port()}") as program, \
            channel_to(f"127.0.0.1:{server.port}") as channel:
        odd = FakeAgent(channel, full_report("odd"))
        odd.wait("welcome")
        check("a machine observes", eventually(lambda: odd.send_change(mode=node_pb2.MODE_OBSERVE) or
                                               'state="not-enforcing"} 1' in metrics_of(server)))
        check("the agent is connected", eventually(
            lambda: "numastow_agent_connected 1" in metrics_of(program)))
        command("place", "cpus=1", "--node", "m", port=server.port)
        refused = command("place", "cpus=500", port=server.port)
        check("a placement is refused", refused.code != 0, refused)
        # A call is counted after its caller has the answer.
        eventually(lambda: 'method="Place",code="OK"} 1' in metrics_of(server) and
                   'method="Place",code="RESOURCE_EXHAUSTED"} 1' in metrics_of(server))
        ours, of_agent = check_rules("agent", metrics_of(program), "numastow_agent_")
        theirs, of_scheduler = check_rules("scheduler", metrics_of(server), "numastow_scheduler_")
        names = set(ours) | set(theirs)
        same("docs/metrics.md has all, and nothing else", sorted(documented() ^ names), [])
        same("one thing, one name", sorted(n for n in set(ours) & set(theirs) if not n.startswith("process_")), [])
        for text, value in (('numastow_scheduler_nodes{state="ready"}', 1),
                            ('numastow_scheduler_nodes{state="not-enforcing"}', 1),
                            ('numastow_scheduler_nodes{state="unknown"}', 0),
                            ('numastow_scheduler_placed_pods_total', 1),
                            ('numastow_scheduler_rpcs_total{method="Place",code="OK"}', 1),
                            ('numastow_scheduler_rpcs_total{method="Place",code="RESOURCE_EXHAUSTED"}', 1)):
            same(text, of_scheduler.get(text), value)
        same("the agent's mode", of_agent.get('numastow_agent_mode{mode="enforce"}'), 1)
        check("when it looked last", of_agent.get("numastow_agent_last_look_seconds", 0) > 1e9, of_agent)
        shown = command("nodes", port=server.port).out
        rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
        same("who observes is not ready", rows.get("odd", [])[1:3], ["not-ready", "observe"])
        same("who enforces is", rows.get("m", [])[1:3], ["ready", "enforce"])
        # The command waits only two seconds for the scheduler's answer to this: try again.
        check("who leads, since when, with which store", eventually(lambda: re.search(
            rf"^leader \S+:{server.port}, for [0-9ms]+, store sqlite:{folder}/data$",
            command("nodes", port=server.port).out, re.M)), shown)
        check_head(server.port, odd)
        odd.close()
        check_slow("agent", program)
        check_slow("scheduler", server)


def check_head(port, agent):
    """`numastow watch | head`: SIGPIPE ends it, without a message, like other programs."""
    with subprocess.Popen([NUMASTOW, "watch", "--config", "/dev/null", "--scheduler", f"127.0.0.1:{port}"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
        watch.stdout.readline()
        watch.stdout.close()
        modes = itertools.cycle((node_pb2.MODE_ENFORCE, node_pb2.MODE_OBSERVE))
        check("watch | head: ends when it has to write", eventually(
            lambda: agent.send_change(mode=next(modes)) or watch.poll() is not None))
        watch.kill()
        said = watch.stderr.read()
        same("watch | head: ends by SIGPIPE, in silence", (watch.wait(), said), (-signal.SIGPIPE, b""))


def check_errors(folder):
    nobody = f"127.0.0.1:{free_port()}"
    config = f"{folder}/client.yaml"
    with open(config, "w", encoding="utf-8") as handle:
        handle.write(f"scheduler: {nobody}\n")
    for what, argv, words in (
            ("nobody there", ["nodes", "--config", "/dev/null", "--scheduler", nobody],
             (nobody, "command line", "is it running?")),
            ("nobody there, by the file", ["nodes", "--config", config], (nobody, config, "is it running?")),
            ("no agent", ["node", "--config", "/dev/null", "--agent", f"{folder}/none.sock"],
             (f"{folder}/none.sock", "is it running?")),
            ("no port that there is", ["nodes", "--config", "/dev/null", "--scheduler", "localhost:70000"],
             ("localhost:70000", "port"))):
        done = run([NUMASTOW, *argv], "")
        check(f"{what}: one sentence that names it", done.one_line() and all(w in done.err for w in words), done)
    agent = os.path.join(os.path.dirname(NUMASTOW), "numastow-agent")
    for what, option, word in (("a group that is not there", ["--readers", "no-such-group"], "no-such-group"),
                               ("a port that is none", ["--scheduler", "db:0"], "db:0")):
        done = run([agent, "--config", "/dev/null", "--node", "m", "--check-config", *option], "")
        check(f"--check-config refuses {what}", done.code == 2 and word in done.err, done)
    done = run([agent, "--config", "/dev/null", "--node", "m", "--check-config", "--scheduler", "localhost"], "")
    check("--check-config takes a host without a port", done.code == 0, done)


check_alerts()
with Temp() as temp:
    check_metrics(temp)
    check_errors(temp)
finish()
