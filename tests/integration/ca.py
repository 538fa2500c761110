#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/numastow-ca: what it makes, what it refuses, and that the fleet's programs take it.
"""
import collections
import json
import os
import re
import shutil
import stat
import tempfile
import time

from certificates import sign_expired
from daemons import AGENT, NUMASTOW, SCHEDULER, agent, fetch, free_port, grpc_call, metrics_of, scheduler, tls
from harness import PROJECT, Machine, Temp, check, eventually, finish, run, same

CA = os.path.join(PROJECT, "deploy/numastow-ca")


def ca(*words):
    return run([CA, *words], "")


def openssl(*words):
    return run(["openssl", *words], "")


def contents(folder):
    found = {}
    for at, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(at, name), "rb") as handle:
                found[os.path.relpath(os.path.join(at, name), folder)] = handle.read()
    return found


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# --- files ------------------------------------------------------------------------------------------


def check_made(folder, kind, name, usage, names):
    """One certificate: its files, what it says, and for what it is good."""
    at = f"{folder}/{kind}/{name}"
    what = f"{kind} {name[:20]}"
    same(f"{what}: its files", sorted(os.listdir(at)), ["ca.crt", "tls.crt", "tls.key"])
    same(f"{what}: only the owner reads the key", (mode(f"{at}/tls.key"), mode(at)), (0o600, 0o700))
    said = openssl("x509", "-in", f"{at}/tls.crt", "-noout", "-ext",
                   "subjectAltName,extendedKeyUsage,basicConstraints").out
    found = re.search(r"Alternative Name: *\n *(.*)", said)
    same(f"{what}: its names", found and found.group(1), names)
    check(f"{what}: it is no CA", "CA:FALSE" in said, said)
    good = openssl("verify", "-CAfile", f"{folder}/ca.crt", "-purpose", usage, f"{at}/tls.crt")
    check(f"{what}: openssl verifies it as {usage}", good.code == 0, good)
    other = {"sslclient": "sslserver", "sslserver": "sslclient"}[usage]
    bad = openssl("verify", "-CAfile", f"{folder}/ca.crt", "-purpose", other, f"{at}/tls.crt")
    check(f"{what}: and not as {other}", bad.code != 0 and "purpose" in bad.err, bad)


def check_refused(folder, words, code, pattern):
    before = contents(folder)
    result = ca(*words)
    check(f"refused: {' '.join(w[:30] for w in words).replace(folder, 'DIR')}",
          result.code == code and result.err.startswith("numastow-ca: ") and
          result.err.count("\n") == 1 and re.search(pattern, result.err) and not result.out and
          contents(folder) == before, result)


def check_files(folder):
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    result = ca("init", folder)
    check("init: it says where, and until when",
          result.code == 0 and result.out.startswith(folder + ": ") and "until" in result.out, result)
    same("init: the key is the owner's", (mode(f"{folder}/ca.key"), mode(folder)), (0o600, 0o700))
    check("init: openssl takes it for a CA",
          "CA:TRUE, pathlen:0" in openssl("x509", "-in", f"{folder}/ca.crt", "-noout", "-text").out)
    for words in (("agent", folder, "web-3"), ("agent", folder, longest),
                  ("scheduler", folder, "sched.example", "127.0.0.1", "::1", "--days", "30"),
                  ("client", folder, "reader", "read"), ("client", folder, "placer", "place"),
                  ("client", folder, "ops", "read", "drain")):
        result = ca(*words)
        check(f"{words[0]} {words[2][:20]}: it is made", result.code == 0, result)
    check_made(folder, "agent", "web-3", "sslclient", "URI:numastow:agent/web-3")
    check_made(folder, "agent", longest, "sslclient", f"URI:numastow:agent/{longest}")
    check_made(folder, "scheduler", "sched.example", "sslserver",
               "DNS:sched.example, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1")
    check_made(folder, "client", "ops", "sslclient",
               "URI:numastow:role/read, URI:numastow:role/drain")
    for days, rc in (("29", 0), ("31", 1)):
        same(f"--days 30: whether it still is good in {days} days",
             openssl("x509", "-noout", "-in", f"{folder}/scheduler/sched.example/tls.crt",
                     "-checkend", str(int(days) * 86400)).code, rc)
    same("nothing else is left behind", sorted(os.listdir(folder)),
         ["agent", "ca.crt", "ca.key", "client", "scheduler"])


def check_refusals(folder):
    for words, code, pattern in (
            (("init", folder), 1, "has a CA already"),
            (("agent", folder, "web-3"), 1, "is there already; --force replaces it"),
            (("client", folder, "ops", "read"), 1, "is there already"),
            (("agent", folder, "Web"), 1, '"Web" is not a node\'s name'),
            (("agent", folder, "../x"), 1, "not a node's name"),
            (("agent", folder, "a" * 254), 1, "1 to 253"),
            (("agent", folder, "x,URI:numastow:role/drain"), 1, "not a node's name"),
            (("agent", folder, "a", "b"), 2, "one node's name"),
            (("scheduler", folder), 2, "the names"),
            (("scheduler", folder, "a", "256.1.1.1"), 1, '"256.1.1.1" is neither'),
            (("scheduler", folder, "a, URI:numastow:role/drain"), 1, "neither a DNS name"),
            (("scheduler", folder, "1:2"), 1, "openssl"),
            (("client", folder, "x"), 2, "roles"),
            (("client", folder, "x", "write"), 1, 'unknown role "write"'),
            (("client", folder, "numastow:role/drain", "read"), 1, "is not a name"),
            (("agent", folder, "x", "--days", "0"), 2, "--days 0"),
            (("agent", folder, "x", "--days", "99999"), 1, "the CA ends before"),
            (("agent", folder, "x", "--days"), 2, "--days wants a number"),
            (("agent", folder, "x", "--dayz", "1"), 2, "unknown option --dayz"),
            (("agent", folder + "/none", "x"), 1, "has no CA"),
            (("sign", folder), 2, 'unknown command "sign"'),
            ((), 2, "no command")):
        check_refused(folder, words, code, pattern)


def check_force(folder):
    at = f"{folder}/agent/web-3"
    before = contents(at)
    result = ca("agent", folder, "web-3", "--force")
    after = contents(at)
    check("--force: key and certificate are new",
          result.code == 0 and before["tls.key"] != after["tls.key"] and
          before["tls.crt"] != after["tls.crt"] and before["ca.crt"] == after["ca.crt"], result)
    public = openssl("pkey", "-in", f"{at}/tls.key", "-pubout").out
    same("--force: they belong together",
         openssl("x509", "-in", f"{at}/tls.crt", "-noout", "-pubkey").out, public)


# --- programs ---------------------------------------------------------------------------------------


def check_settings(folder):
    nothing = os.path.join(folder, "empty.yaml")
    with open(nothing, "w", encoding="utf-8"):
        pass
    pair = {AGENT: f"{folder}/agent/web-3", SCHEDULER: f"{folder}/scheduler/sched.example"}
    for program, files in pair.items():
        name = os.path.basename(program)
        good = run([program, "--config", nothing, "--check-config", *tls(files)], "")
        same(f"{name} --check-config takes it", (good.code, good.out, good.err),
             (0, "the settings are fine\n", ""))
        swapped = tls(files)[:-1] + [f"{folder}/client/ops/tls.key"]
        bad = run([program, "--config", nothing, "--check-config", *swapped], "")
        check(f"{name} --check-config finds a key of another certificate",
              bad.code == 2 and "does not belong to" in bad.err, bad)
    os.unlink(nothing)


def call(folder, certificate, port, method):
    """(gRPC status, answer or error) of a call with an empty message."""
    status, answer, words = grpc_call(port, method, b"", f"{folder}/ca.crt",
                                      f"{folder}/{certificate}" if certificate else None)
    return status, answer if status == OK else words


OK, INVALID, NOT_FOUND, DENIED, UNAVAILABLE = 0, 3, 5, 7, 14


def check_roles(folder, port, temp):
    """An empty request is answered to each role that may call the method, and refused to the others."""
    for who, method, wanted in (
            ("client/reader", "ListNodes", OK), ("client/reader", "ListReservations", OK),
            ("client/reader", "Explain", INVALID), ("client/reader", "Place", DENIED),
            ("client/reader", "Fence", DENIED), ("client/placer", "ListNodes", OK),
            ("client/placer", "Place", INVALID), ("client/placer", "Release", OK),
            ("client/placer", "Unfence", DENIED), ("client/ops", "ListNodes", OK),
            ("client/ops", "Place", INVALID), ("client/ops", "Fence", INVALID),
            ("client/reader", "ListDrains", OK), ("client/reader", "CancelDrain", DENIED),
            ("client/reader", "DrainMemory", DENIED), ("client/placer", "ListDrains", OK),
            ("client/placer", "DrainMemory", DENIED), ("client/placer", "CancelDrain", DENIED),
            ("client/ops", "DrainMemory", INVALID), ("client/ops", "CancelDrain", NOT_FOUND),
            ("agent/web-3", "DrainMemory", DENIED), ("agent/web-3", "ListDrains", DENIED),
            ("agent/web-3", "ListNodes", DENIED), ("agent/web-3", "Fence", DENIED)):
        status, said = call(folder, who, port, method)
        check(f"{who}: {method} is answered with status {wanted}", status == wanted,
              f"{status} {said!r}")
    for who, why in ((None, "nobody without a certificate"),
                     ("scheduler/sched.example", "no scheduler's certificate as a client's")):
        status, said = call(folder, who, port, "ListNodes")
        check(f"the scheduler takes {why}", status == UNAVAILABLE and said, f"{status} {said!r}")
    stranger = f"{temp}/stranger"
    ca("init", stranger)
    ca("client", stranger, "x", "drain")
    shutil.copy(f"{folder}/ca.crt", f"{stranger}/ca.crt")
    status, said = call(stranger, "client/x", port, "ListNodes")
    check("the scheduler takes nobody of another CA", status == UNAVAILABLE and said, f"{status} {said!r}")


def check_turned_away(folder, temp):
    """Who is refused in the handshake is said: from where, with what, and why."""
    stranger = f"{temp}/stranger"
    with scheduler(f"{temp}/refusals", *tls(f"{folder}/scheduler/sched.example"), "--metrics",
                   f"127.0.0.1:{free_port()}") as server:
        port = server.wait("listening")["port"]
        server.wait("numastow-scheduler is active")
        began = time.monotonic()
        for who, address, message, reason in (
                (None, "127.0.0.2", "handshake failed", "did not return a certificate"),
                ("client/x", "127.0.0.3", "certificate refused", "verify|self-signed|issuer"),
                ("old", "127.0.0.4", "certificate refused", "expired")):
            files = f"{stranger}/{who}"
            argv = ["curl", "--silent", "--noproxy", "*", "--interface", address, "--cacert", f"{folder}/ca.crt",
                    *(["--cert", f"{files}/tls.crt", "--key", f"{files}/tls.key"] if who else []),
                    f"https://127.0.0.1:{port}/"]
            if who == "old":
                make_expired(folder, files)
            for _ in range(20):
                run(argv, "")
            said = server.wait(message, times=1)
            check(f"{message}: {reason}: is said", said and said["address"].startswith(f"ipv4:{address}:") and
                  re.search(reason, said["reason"]) and bool(said["certificate"]) == bool(who), said)
        # Other lines must not come in: an address has one in ten seconds, and the program's own probes none.
        time.sleep(4)
        lines = [json.loads(line) for line in server.so_far()
                 if '"handshake failed"' in line or '"certificate refused"' in line]
        most = 1 + int(time.monotonic() - began) // 10
        found = collections.Counter(line["address"].split(":")[1] for line in lines)
        check("one line for each address, in ten seconds", set(found) == {"127.0.0.2", "127.0.0.3", "127.0.0.4"} and
              max(found.values()) <= most, (found, most))
        check("and all are counted", eventually(
            lambda: re.search(r'refused_total\{reason="handshake"\} 60\n', metrics_of(server))), metrics_of(server))


def make_expired(folder, at):
    """A certificate of the right CA that has expired."""
    os.makedirs(at)
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            f"{at}/tls.key", "-subj", "/CN=old", "-out", f"{at}/csr")
    sign_expired(f"{at}/csr", f"{folder}/ca.crt", f"{folder}/ca.key", f"{at}/tls.crt")


def check_fleet(folder, temp):
    machine = Machine(f"{temp}/machine")
    with scheduler(f"{temp}/data", *tls(f"{folder}/scheduler/sched.example")) as server:
        listening = server.wait("listening")
        if not check("the scheduler listens with its certificate",
                     listening and server.wait("numastow-scheduler is active") and listening["tls"] == "yes", server.said):
            return
        port = listening["port"]
        check_roles(folder, port, temp)
        with agent(machine, "web-3", port,
                   *tls(f"{folder}/agent/web-3")) as node:
            check("the agent's certificate brings it to the scheduler",
                  node.wait("welcomed by the scheduler"), node.said[-5:])
            status, body = call(folder, "client/reader", port, "ListNodes")
            check("where its node is seen", status == OK and b"web-3" in body, f"{status} {body!r}")
        with agent(machine, "web-4", port,
                   *tls(f"{folder}/agent/web-3")) as node:
            said = node.wait("no scheduler")
            check("for another node it is refused",
                  said and "may not report for node" in said["error"], node.said[-5:])
        with agent(machine, "web-4", port,
                   *tls(f"{folder}/client/ops")) as node:
            said = node.wait("no scheduler")
            check("and so is a client's, whatever its roles",
                  said and "may not report for node" in said["error"], node.said[-5:])
        check("the other node is not known",
              b"web-4" not in call(folder, "client/reader", port, "ListNodes")[1])
    with scheduler(f"{temp}/data2", *tls(f"{folder}/agent/web-3")) as server:
        listening = server.wait("listening")
        with agent(machine, "web-3", listening["port"],
                   *tls(f"{folder}/agent/web-3")) as node:
            said = node.wait("no scheduler")
            check("an agent does not take another agent for a scheduler", said, node.said[-5:])
        server.stop()
        check("which has heard of nobody", server.wait("node connected") is None, server.said)


def check_two_cas(folder, temp):
    """While a new CA takes over from an old one, both are known."""
    newer = f"{temp}/newer"
    ca("init", newer)
    ca("scheduler", newer, "127.0.0.1")
    ca("client", newer, "reader", "read")
    both = "".join(contents(at)["ca.crt"].decode() for at in (folder, newer))
    for at in (folder, newer, f"{newer}/scheduler/127.0.0.1"):
        with open(f"{at}/ca.crt", "w", encoding="utf-8") as handle:
            handle.write(both)
    with scheduler(f"{temp}/data3", *tls(f"{newer}/scheduler/127.0.0.1")) as server:
        listening = server.wait("listening")
        server.wait("numastow-scheduler is active")
        for at, which in ((folder, "old"), (newer, "new")):
            status, said = call(at, "client/reader", listening["port"], "ListNodes")
            check(f"with both CAs in one file, a client of the {which} one is known", status == OK, said)


def sign(issuer, at, subject, *extensions, expired=False):
    """A key and a certificate in the folder `at`, by the CA (certificate, key)."""
    os.makedirs(at, exist_ok=True)
    with open(f"{at}/extensions", "w", encoding="utf-8") as handle:
        handle.write("\n".join(extensions) + "\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            f"{at}/tls.key", "-subj", f"/CN={subject}", "-out", f"{at}/csr")
    if expired:
        sign_expired(f"{at}/csr", *issuer, f"{at}/tls.crt", f"{at}/extensions")
        return at
    done = openssl("x509", "-req", "-in", f"{at}/csr", "-CA", issuer[0], "-CAkey", issuer[1], "-CAcreateserial",
                   "-days", "30", "-out", f"{at}/tls.crt", "-extfile", f"{at}/extensions")
    check(f"openssl signs {subject}", done.code == 0, done)
    return at


def read(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def replace(path, text):
    with open(f"{path}.new", "w", encoding="utf-8") as handle:
        handle.write(text)
    os.rename(f"{path}.new", path)


def served(temp, files):
    """A scheduler with these files, on a store of its own, with metrics."""
    return scheduler(tempfile.mkdtemp(dir=temp), *tls(files), "--metrics", f"127.0.0.1:{free_port()}")


def is_healthy(server):
    return eventually(lambda: fetch(server, "/healthz")[0] == 200 and re.search(
        r"probe_last_seconds [1-9]", metrics_of(server)))


def becomes_unhealthy(server, reason):
    """In one line, which /healthz and the log have."""
    check(f"not healthy: {reason}", eventually(lambda: fetch(server, "/healthz")[0] == 503 and
                                               reason in fetch(server, "/healthz")[1]), fetch(server, "/healthz"))
    said = server.wait("not healthy")
    check(f"which is said: {reason}", said and reason in said["error"], said)


def check_wildcard(folder, temp):
    """A certificate for all names of a domain: for the probe of its own port, and for agents."""
    at = sign((f"{folder}/ca.crt", f"{folder}/ca.key"), f"{temp}/wildcard", "*.fleet.example",
              "subjectAltName=DNS:*.fleet.example", "extendedKeyUsage=serverAuth,clientAuth")
    shutil.copy(f"{folder}/ca.crt", at)
    machine = Machine(f"{temp}/wild-machine")
    with served(temp, at) as server:
        port = server.wait("listening")["port"]
        check("wildcard: the scheduler is healthy", is_healthy(server), fetch(server, "/healthz"))
        for name, good in (("one.fleet.example", True), ("one.two.fleet.example", False), ("fleet.example", False)):
            with agent(machine, "web-3", port, "--server-name", name, *tls(f"{folder}/agent/web-3")) as node:
                said = node.wait("welcomed by the scheduler" if good else "no scheduler")
                check(f"wildcard: {name}", said and (good or f"name {name} is not in" in said["error"]), node.said[-3:])


def check_expired(folder, temp):
    """Files that expire while programs use them."""
    issuer = f"{folder}/ca.crt", f"{folder}/ca.key"
    live = f"{temp}/expiring"
    shutil.copytree(f"{folder}/scheduler/127.0.0.1", live)
    good = {name: read(f"{live}/{name}") for name in ("ca.crt", "tls.crt", "tls.key")}
    old = sign(issuer, f"{temp}/old", "old", "subjectAltName=IP:127.0.0.1", "extendedKeyUsage=serverAuth", expired=True)
    bad = run([SCHEDULER, "--config", "/dev/null", "--check-config", "--ca", f"{folder}/ca.crt",
               *tls(old)[2:]], "")
    check("expired: --check-config says so", bad.code == 2 and bad.err.count("\n") == 1 and
          f"the certificate {old}/tls.crt expired on 20" in bad.err, bad)
    machine = Machine(f"{temp}/expired-machine")
    with served(temp, live) as server:
        port = server.wait("listening")["port"]
        check("expired: healthy before", is_healthy(server), fetch(server, "/healthz"))
        with agent(machine, "web-3", port, *tls(f"{folder}/agent/web-3")) as node:
            check("expired: an agent is welcomed before", node.wait("welcomed by the scheduler"), node.said[-3:])
            mine = sign(issuer, f"{temp}/old-agent", "old-agent", "subjectAltName=URI:numastow:agent/web-4",
                        "extendedKeyUsage=clientAuth", expired=True)
            shutil.copy(f"{folder}/ca.crt", mine)
            with agent(Machine(f"{temp}/late-machine"), "web-4", port, *tls(mine)) as late:
                said = late.wait("no scheduler")
                check("expired: an agent names its own file", said and
                      f"the certificate {mine}/tls.crt expired on 20" in said["error"], late.said[-3:])
            shown = run([NUMASTOW, "nodes", "--config", "/dev/null", "--scheduler", f"127.0.0.1:{port}",
                         *tls(mine)], "")
            check("expired: so does the command", shown.code == 1 and shown.err.count("\n") == 1 and
                  f"the certificate {mine}/tls.crt expired on 20" in shown.err, shown)
            for name in ("tls.key", "tls.crt"):
                replace(f"{live}/{name}", read(f"{old}/{name}"))
            becomes_unhealthy(server, f"the certificate {live}/tls.crt expired on 20")
            same("expired: alive, because a restart would not help", fetch(server, "/livez"), (200, "ok\n"))
            for name in ("tls.key", "tls.crt"):
                replace(f"{live}/{name}", good[name])
            check("expired: healthy with the new one", is_healthy(server), fetch(server, "/healthz"))
            check("expired: which is said", server.wait("healthy again"), server.said[-3:])
            check("expired: metrics have the end of the new one", eventually(lambda: float(re.search(
                r"^numastow_scheduler_certificate_expires_seconds (\S+)$", metrics_of(server),
                re.M).group(1)) > time.time()))
            check("expired: the agent was never away",
                  not any('"no scheduler"' in line for line in node.so_far()), node.said[-3:])


def check_garbage(folder, temp):
    """Files that become something else while the scheduler uses them: it goes on with those that it has."""
    live = f"{temp}/garbage"
    shutil.copytree(f"{folder}/scheduler/127.0.0.1", live)
    good = {name: read(f"{live}/{name}") for name in ("ca.crt", "tls.crt", "tls.key")}
    with served(temp, live) as server:
        port = server.wait("listening")["port"]
        check("garbage: healthy before", is_healthy(server), fetch(server, "/healthz"))
        with agent(Machine(f"{temp}/garbage-machine"), "web-3", port, *tls(f"{folder}/agent/web-3")) as node:
            check("garbage: an agent is welcomed before", node.wait("welcomed by the scheduler"), node.said[-3:])
            for name, text, reason in (
                    ("ca.crt", "garbage\n", "ca.crt: no CA certificate in PEM format"),
                    ("ca.crt", "", "ca.crt: no CA certificate in PEM format"),
                    ("ca.crt", good["ca.crt"] + good["ca.crt"][:300], "ca.crt: CA certificate 2 cannot be read"),
                    ("tls.crt", good["tls.crt"] + good["tls.crt"].replace("M", "!"),
                     "tls.crt: certificate 2 cannot be read"),
                    ("tls.key", read(f"{folder}/agent/web-3/tls.key"),
                     f"the key {live}/tls.key does not belong to the certificate {live}/tls.crt")):
                replace(f"{live}/{name}", text)
                check(f"garbage: healthy, with a warning: {reason}", eventually(
                    lambda t=reason: (found := fetch(server, "/healthz"))[0] == 200 and t in found[1] and
                    found[1].startswith("active; the TLS files cannot be used at the next start")), fetch(server, "/healthz"))
                said = server.wait("the TLS files cannot be used")
                check(f"garbage: which is said: {reason}", said and reason in said["error"], said)
                status, said = call(folder, "client/reader", port, "ListNodes")
                check(f"garbage: a new client is served: {reason}", status == OK, said)
                replace(f"{live}/{name}", good[name])
                check("garbage: mended", server.wait("the TLS files can be used again"), server.said[-3:])
                same("garbage: health has no warning", fetch(server, "/healthz"), (200, "active\n"))
            check("garbage: it was always healthy", not any('"not healthy"' in line for line in server.so_far()),
                  server.said[-3:])
            check("garbage: the agent was never away",
                  not any('"no scheduler"' in line for line in node.so_far()), node.said[-3:])


def check_chain(folder, temp):
    """Certificates of a CA below the root that the others know."""
    root = f"{temp}/root"
    os.makedirs(root)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            f"{root}/ca.key", "-out", f"{root}/ca.crt", "-subj", "/CN=root", "-days", "30",
            "-addext", "basicConstraints=critical,CA:TRUE")
    middle = sign((f"{root}/ca.crt", f"{root}/ca.key"), f"{temp}/middle", "middle",
                  "basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign")
    issuer = f"{middle}/tls.crt", f"{middle}/tls.key"
    ends = (sign(issuer, f"{temp}/chain-scheduler", "scheduler", "subjectAltName=IP:127.0.0.1",
                 "extendedKeyUsage=serverAuth"),
            sign(issuer, f"{temp}/chain-agent", "agent", "subjectAltName=URI:numastow:agent/web-3",
                 "extendedKeyUsage=clientAuth"))
    alone = read(f"{ends[1]}/tls.crt")
    for at in ends:
        replace(f"{at}/tls.crt", read(f"{at}/tls.crt") + read(issuer[0]))
        shutil.copy(f"{root}/ca.crt", at)
    machine = Machine(f"{temp}/chain-machine")
    with served(temp, ends[0]) as server:
        port = server.wait("listening")["port"]
        check("chain: the scheduler is healthy", is_healthy(server), fetch(server, "/healthz"))
        with agent(machine, "web-3", port, *tls(ends[1])) as node:
            check("chain: the agent is welcomed", node.wait("welcomed by the scheduler"), node.said[-3:])
        replace(f"{ends[1]}/tls.crt", alone)
        with agent(machine, "web-3", port, *tls(ends[1])) as node:
            check("chain: not without the CA between", node.wait("no scheduler"), node.said[-3:])
            said = server.wait("certificate refused")
            check("chain: which the scheduler says", said and "local issuer" in said["reason"], said)


def main():
    with Temp() as temp:
        folder = f"{temp}/ca"
        check_files(folder)
        check_refusals(folder)
        check_force(folder)
        check_settings(folder)
        check_fleet(folder, temp)
        check_turned_away(folder, temp)
        ca("scheduler", folder, "127.0.0.1")
        check_wildcard(folder, temp)
        check_expired(folder, temp)
        check_garbage(folder, temp)
        check_chain(folder, temp)
        check_two_cas(folder, temp)
    finish()


if __name__ == "__main__":
    main()
