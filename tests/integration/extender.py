#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The extender over TLS, with Python's ssl as kube-scheduler: machines of a real scheduler, filtered and scored; clients
without a certificate."""
import contextlib
import http.client
import json
import os
import ssl

from certificates import sign_expired
from daemons import PATIENCE, SCHEDULER, fetch, free_port, metrics_of
from fleetlib import FakeAgent, channel_to, command, eventually, full_report, start_scheduler
from harness import Temp, check, finish, run, same
from kubelib import make_certificates


class Extender:
    def __init__(self, port, server, client):
        self.port, self.server, self.client = port, server, client

    def post(self, path, body, client=True):
        """(status, text)"""
        context = ssl.create_default_context(cafile=f"{self.server}/ca.crt")
        if client:
            context.load_cert_chain(f"{self.client}/tls.crt", f"{self.client}/tls.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=context)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def ask(self, verb, names, **annotations):
        """The answer, to what kube-scheduler sends."""
        pod = {"metadata": {"name": "p", "annotations": {f"numastow.io/{key}": value for key, value in
                                                         annotations.items()}},
               "spec": {"containers": [{"name": "a"}]}}
        status, text = self.post(f"/{verb}", {"Pod": pod, "Nodes": None, "NodeNames": names})
        return json.loads(text) if status == 200 else text


def folder_of(path):
    os.makedirs(path)
    make_certificates(path)
    return path


def check_answers(extender, program):
    names = ["small", "large", "gone"]
    check("machines that have reported fit", eventually(
        lambda: extender.ask("filter", names, cpus="2")["NodeNames"] == ["small", "large"]))
    got = extender.ask("filter", names, cpus="6")
    same("those that fit", got["NodeNames"], ["large"])
    check("why the others do not", "6 CPUs on one NUMA node" in got["FailedNodes"]["small"], got)
    same("and one without an agent", got["FailedAndUnresolvableNodes"],
         {"gone": "no agent of this machine is connected"})
    same("scores: the fullest first", extender.ask("prioritize", names, cpus="2"),
         [{"Host": "small", "Score": 10}, {"Host": "large", "Score": 5}, {"Host": "gone", "Score": 0}])
    same("other pods pass", extender.ask("filter", names)["NodeNames"], names)
    same("nothing is reserved", "numastow_scheduler_reservations 0\n" in metrics_of(program), True)
    placed = command("place", "cpus=8", "--node", "large", port=program.port)
    same("a reservation is made", placed.code, 0)
    same("and its room is gone", eventually(
        lambda: extender.ask("filter", ["large"], cpus="8", nodes="0")["NodeNames"] +
        extender.ask("filter", ["large"], cpus="8", nodes="1")["NodeNames"] == ["large"]), True)
    same("and that of both", extender.ask("filter", ["large"], cpus="9", policy="best-effort")["NodeNames"], [])


def check_strangers(extender, program):
    body = {"Pod": {}, "NodeNames": ["small"]}
    same("without a client certificate: refused", extender.post("/filter", body, client=False)[0], 403)
    other = Extender(extender.port, extender.server, extender.server)
    same("with another CA's: refused", other.post("/filter", body)[0], 403)
    same("with the right one: answered", extender.post("/filter", body)[0], 200)
    same("Nodes instead of names", extender.post("/filter", {"Pod": {}, "Nodes": {"items": []}}),
         (400, "NodeNames: missing; set nodeCacheCapable: true for the extender\n"))
    got = extender.ask("filter", ["small"] * 5001, cpus="1")
    same("too many machines", (got["NodeNames"], got["Error"]), ([], "NodeNames: 5001 machines; at most 5000"))
    same("which is no score", extender.ask("prioritize", ["small"] * 5001, cpus="1"),
         "NodeNames: 5001 machines; at most 5000\n")
    check("metrics count them", eventually(
        lambda: 'numastow_scheduler_extender_requests_total{result="failed"} 2\n' in metrics_of(program)))
    def counted():
        return [line for line in metrics_of(program).splitlines()
                if line.startswith("numastow_scheduler_extender_requests_total{")]
    before = counted()
    for client in (False, True):
        same(f"the self-test's path, client certificate {client}",
             extender.post("/self-test", body, client=client)[0], 200 if client else 403)
    same("the program is healthy", fetch(program, "/healthz"), (200, "active\n"))
    same("the self-test is not counted among kube-scheduler's requests", counted(), before)


def check_expired(extender, program):
    """Health knows a certificate that kube-scheduler does not accept; a restart would not help."""
    sign_expired(f"{extender.server}/tls.csr", f"{extender.server}/ca.crt", f"{extender.server}/ca.key",
                 f"{extender.server}/tls.crt", f"{extender.server}/ext")
    check("an expired certificate", eventually(lambda: fetch(program, "/healthz")[0] == 503 and
                                               "extender: its certificate has expired" in fetch(program, "/healthz")[1]),
          fetch(program, "/healthz"))
    check("which is logged", program.wait("the extender is not healthy"), program.said[-3:])
    same("alive", fetch(program, "/livez"), (200, "ok\n"))
    make_certificates(extender.server)
    check("a new one is read", program.wait("the extender is healthy again"), program.said[-3:])
    same("healthy", fetch(program, "/healthz"), (200, "active\n"))


def main():
    with Temp() as folder:
        server, client = folder_of(f"{folder}/server"), folder_of(f"{folder}/client")
        port = free_port()
        certificate = ["--admission-certificate", f"{server}/tls.crt", "--admission-key", f"{server}/tls.key"]
        said = run([SCHEDULER, "--config", "/dev/null", "--check-config", "--extender", f"127.0.0.1:{port}",
                    *certificate], "")
        check("not without a CA of clients", said.code == 2 and "extender-ca: missing" in said.err, said)
        with start_scheduler(f"{folder}/data", "--extender", f"127.0.0.1:{port}", "--extender-ca", f"{client}/ca.crt",
                             "--metrics", f"127.0.0.1:{free_port()}", *certificate) as program, \
                channel_to(f"127.0.0.1:{program.port}") as channel:
            agents = [FakeAgent(channel, full_report("small", cpus=4)), FakeAgent(channel, full_report("large"))]
            extender = Extender(port, server, client)
            check_answers(extender, program)
            check_strangers(extender, program)
            check_expired(extender, program)
            for agent in agents:
                agent.close()
    finish()


main()
