#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The admission webhook over TLS, with Python's ssl as the API server: reviews, health, certificates that change,
a CA of clients, silent connections, bodies without end."""
import base64
import contextlib
import http.client
import json
import os
import resource
import shutil
import socket
import ssl
import subprocess

from certificates import sign_expired
from daemons import PATIENCE, SCHEDULER, Daemon, fetch, free_port, metrics_of
from harness import Temp, check, eventually, finish, run, same
from kubelib import make_certificates

SILENT = 10000


def review(annotations, uid="u-1", **spec):
    pod = {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "web"}], **spec}}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": uid, "operation": "CREATE", "object": pod,
                        "resource": {"group": "", "version": "v1", "resource": "pods"}}}


class Webhook:
    """The program with its webhook, and a client of it."""

    def __init__(self, folder, tls, *options):
        os.makedirs(f"{folder}/data")
        self.tls, self.port = tls, free_port()
        self.program = Daemon([SCHEDULER, "--config", "/dev/null", "--listen", "127.0.0.1:0", "--metrics",
                               f"127.0.0.1:{free_port()}", "--data", f"{folder}/data",
                               "--admission", f"0.0.0.0:{self.port}", "--admission-certificate", f"{tls}/tls.crt",
                               "--admission-key", f"{tls}/tls.key", *options])
        if not self.program.wait("numastow-scheduler is active"):
            check("the scheduler is active", False, self.program.said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.stop()

    def context(self, client=None):
        context = ssl.create_default_context(cafile=f"{self.tls}/ca.crt")
        if client:
            context.load_cert_chain(f"{client}/tls.crt", f"{client}/tls.key")
        return context

    def connect(self, client=None, source="127.0.0.1"):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.context(client),
                                           source_address=(source, 0))

    def ask(self, body, method="POST", path="/mutate", **how):
        """(status, body)"""
        connection = self.connect(**how)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def response(self, annotations, **how):
        status, text = self.ask(review(annotations), **how)
        return json.loads(text)["response"] if status == 200 else text

    def serial(self):
        """None: it is not of the CA in the folder."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain, \
                contextlib.suppress(ssl.SSLError), \
                self.context().wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            return secure.getpeercert()["serialNumber"]
        return None


def check_reviews(folder, tls):
    with Webhook(f"{folder}/reviews", tls) as webhook:
        got = webhook.response({"numastow.io/cpus": "2"})
        check("annotations become a claim", got["allowed"] and got["patchType"] == "JSONPatch" and any(
            o["path"] == "/spec/resourceClaims" for o in json.loads(base64.b64decode(got["patch"]))), got)
        got = webhook.response({"numastow.io/cpsu": "2"})
        same("a bad annotation is refused as by the hook", (got["allowed"], got["status"]["message"]),
             (False, 'unknown annotation "numastow.io/cpsu"; did you mean "numastow.io/cpus"?'))
        same("other pods are let through", webhook.response({"a": "b"}), {"uid": "u-1", "allowed": True})
        for what, status, how in (("no JSON", 400, {"body": "{"}), ("no body", 400, {"body": ""}),
                                  ("another path", 404, {"body": "", "path": "/"}),
                                  ("another method", 405, {"body": None, "method": "GET"})):
            got = webhook.ask(**how)
            check(f"{what}: {status} and one line", got[0] == status and got[1].count("\n") == 1, got)
        with contextlib.closing(webhook.connect()) as connection:
            # Without the body: the server answers and closes, and a client that still sends may see that first.
            connection.putrequest("POST", "/mutate")
            connection.putheader("Content-Length", str((3 << 20) + 1))
            connection.endheaders()
            same("a body that says to be long", connection.getresponse().status, 413)
        got = webhook.ask("{" + " " * ((3 << 20) - 2) + "}")
        same("3 MiB are read", got[0], 400)
        connection = webhook.connect()
        with contextlib.closing(connection):
            for _ in range(3):
                connection.request("POST", "/mutate", json.dumps(review({"numastow.io/cpus": "2"})))
                check("many requests on one connection", connection.getresponse().read())
        same("health, for kubelet", webhook.ask(None, "GET", "/healthz"), (200, "active\n"))
        check("metrics count reviews", eventually(
            lambda: 'numastow_scheduler_admission_reviews_total{result="refused"} 1\n' in metrics_of(webhook.program)))


def check_certificates(folder, tls):
    """A certificate that changes, also to one that is none; and one that has expired."""
    mine = f"{folder}/changing"
    shutil.copytree(tls, mine)
    with Webhook(f"{folder}/certificates", mine) as webhook:
        first = webhook.serial()
        with open(f"{mine}/tls.key", "w", encoding="ascii") as handle:
            handle.write("nothing\n")
        same("half a change: the old one is served", webhook.serial(), first)
        check("and that is logged", webhook.program.wait("the last certificate is kept: the new one is not valid"))
        make_certificates(mine)
        check("the new one is served", eventually(lambda: webhook.serial() not in (first, None)))
        check("by a new CA, requests are answered", webhook.response({"numastow.io/cpus": "1"})["allowed"])
        sign_expired(f"{mine}/tls.csr", f"{mine}/ca.crt", f"{mine}/ca.key", f"{mine}/tls.crt", f"{mine}/ext")
        check("an expired one is bad health", eventually(
            lambda: "expired" in fetch(webhook.program, "/healthz")[1]), fetch(webhook.program, "/healthz"))
        same("which has its status", fetch(webhook.program, "/healthz")[0], 503)
        make_certificates(mine)
        check("until it is replaced", eventually(lambda: fetch(webhook.program, "/healthz")[0] == 200))


def make_client(folder, name):
    """A CA of clients of its own, and a certificate of it."""
    path = f"{folder}/{name}"
    os.makedirs(path)
    make_certificates(path)
    return path


def check_client_ca(folder, tls):
    client, other = make_client(folder, "client"), make_client(folder, "other")
    with Webhook(f"{folder}/ca", tls, "--admission-ca", f"{client}/ca.crt") as webhook:
        same("without a client certificate: refused", webhook.ask(review({}))[0], 403)
        same("with another CA's: refused", webhook.ask(review({}), client=other)[0], 403)
        same("with the right one: answered", webhook.ask(review({}), client=client)[0], 200)
        same("kubelet has none, and needs none", webhook.ask(None, "GET", "/healthz")[0], 200)
        same("the program itself is healthy", fetch(webhook.program, "/healthz")[0], 200)
        shutil.copy(f"{other}/ca.crt", f"{client}/ca.crt.new")
        os.rename(f"{client}/ca.crt.new", f"{client}/ca.crt")
        same("a new CA is read", webhook.ask(review({}), client=other)[0], 200)
        same("and the old one does not count", webhook.ask(review({}), client=client)[0], 403)


def check_silence(folder, tls):
    """Ten thousand connections that say nothing, from one address."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SILENT + 500
    if hard < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    n = min(SILENT, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    with Webhook(f"{folder}/silence", tls) as webhook, contextlib.ExitStack() as silent:
        for i in range(n):
            sock = silent.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.settimeout(PATIENCE)
                sock.connect(("127.0.0.1", webhook.port))
            if i % 1000 == 999:
                check("another address is answered meanwhile",
                      webhook.response({"numastow.io/cpus": "1"}, source="127.0.0.2")["allowed"])
        same("the program is healthy", fetch(webhook.program, "/healthz")[0], 200)
        text = metrics_of(webhook.program)
        found = [float(line.split()[1]) for line in text.splitlines()
                 if line.startswith("numastow_scheduler_admission_connections ")]
        check("connections are bounded", found and found[0] <= 256, found)


def check_endless(folder, tls):
    """Bodies without end, by chunks; a body that stops; a head without end."""
    with Webhook(f"{folder}/endless", tls) as webhook:
        def send(head, part, times):
            """Send until the server ends the connection; False: it takes all."""
            with socket.create_connection(("127.0.0.1", webhook.port), PATIENCE) as plain, \
                    webhook.context().wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                try:
                    secure.sendall(head)
                    for _ in range(times):
                        secure.sendall(part)
                    return not secure.recv(1)
                except TimeoutError:
                    return False
                except OSError:
                    return True
        head = b"POST /mutate HTTP/1.1\r\nHost: h\r\n"
        check("a body without end is ended", send(head + b"Transfer-Encoding: chunked\r\n\r\n",
                                                  b"10000\r\n" + b"x" * 65536 + b"\r\n", 1000))
        check("a body that stops is ended", send(head + b"Content-Length: 1000\r\n\r\n{", b"", 0))
        check("a head without end is ended", send(head, b"X-A: " + b"x" * 4000 + b"\r\n", 10000))
        same("the program is healthy", fetch(webhook.program, "/healthz")[0], 200)
        check("others are answered", webhook.response({"numastow.io/cpus": "1"})["allowed"])


def check_settings(folder, tls):
    base = [SCHEDULER, "--config", "/dev/null", "--data", folder, "--check-config", "--admission"]
    given = ["--admission-certificate", f"{tls}/tls.crt", "--admission-key", f"{tls}/tls.key"]
    same("--check-config is content", run([*base, "127.0.0.1:1", *given], "").code, 0)
    for what, argv, word in (
            ("no certificate", ["127.0.0.1:1"], "admission-certificate: missing"),
            ("no key", ["127.0.0.1:1", *given[:2]], "admission-key: missing"),
            ("no address", ["webhook:1", *given], "webhook:1"),
            ("a key that is none", ["127.0.0.1:1", *given[:3], f"{tls}/ca.crt"], "no private key"),
            ("another key", ["127.0.0.1:1", *given[:3], f"{tls}/ca.key"], "does not belong to")):
        done = run([*base, *argv], "")
        check(f"{what}: one line", done.code == 2 and word in done.err and done.err.count("\n") == 1, done)


with Temp() as temp:
    os.makedirs(f"{temp}/tls")
    make_certificates(f"{temp}/tls")
    check_settings(temp, f"{temp}/tls")
    check_reviews(temp, f"{temp}/tls")
    check_certificates(temp, f"{temp}/tls")
    check_client_ca(temp, f"{temp}/tls")
    check_endless(temp, f"{temp}/tls")
    check_silence(temp, f"{temp}/tls")
finish()
