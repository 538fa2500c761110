#!/usr/bin/python3
"""Plays the hypervisor, in the very machine: what a cloud's controller does with numastow's webhooks.

usage: hypervisor.py serve --control SOCKET --log FILE [--port PORT] [--secret FILE] [--fail N] [--hold]
       hypervisor.py tell SOCKET WORD...     ask a running one
       hypervisor.py qmp COMMAND [JSON]      have QEMU do something

serve takes webhooks on http://127.0.0.1:PORT/ and checks their signature with the secret. At
"safe-to-remove" or "safe-to-shrink" it pulls what the webhook names: device_del of the DIMM at that address, or the size
of a virtio-mem device lowered; once for each Idempotency-Key, whatever comes twice. Its log has one
JSON object a line: {"did": "webhook", "event": ..., "key": ..., "status": 200, "body": {...}}, and "pull",
"event" (of QEMU), "forged", "repeated".

 --fail N   answer the first N requests with 503, and act on none of them
 --hold     do not pull anything at those

Words for tell: "qmp COMMAND [JSON]", "fail N", "hold", "release" (what was held stays), "pull" (what was held), "stop".

QEMU's port can be open once only: while serve runs, "qmp" goes through it ($VM_HYPERVISOR is its
control socket; lib.sh sets it).
"""
import json
import os
import queue
import socket
import sys
import threading
import time

if sys.argv[1:2] == ["serve"]:
    # Under emulation every module takes its time to load (http.server 5 s): too much for one command to QEMU.
    import hmac
    import re

REPLY = 60  # s, for one answer of QEMU: the machine may be very busy


class Qmp:
    """QEMU's own control port: commands with their replies, events to whoever listens."""

    def __init__(self, on_event=None):
        self.fd = os.open(os.environ["VM_QMP"], os.O_RDWR | os.O_CLOEXEC)
        self.on_event = on_event
        self.lock = threading.Lock()
        self.replies = queue.Queue()
        # What an earlier user of the port has left is told apart by the number of the command.
        self.id = os.getpid() * 100000 + int(time.monotonic() * 10) % 10000
        threading.Thread(target=self.read, daemon=True).start()
        self.ask("qmp_capabilities")

    def read(self):
        rest = b""
        while True:
            got = os.read(self.fd, 65536)
            if not got:
                # Nobody at the other end yet.
                time.sleep(0.05)
                continue
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # the rest of something that was meant for an earlier user
                if "event" in message:
                    if self.on_event:
                        self.on_event(message)
                else:
                    self.replies.put(message)

    def ask(self, command, arguments=None):
        with self.lock:
            self.id += 1
            request = {"execute": command, "id": self.id}
            if arguments is not None:
                request["arguments"] = arguments
            data = json.dumps(request).encode() + b"\n"
            while data:
                data = data[os.write(self.fd, data):]
            end = time.monotonic() + REPLY
            while True:
                try:
                    reply = self.replies.get(timeout=max(0.01, end - time.monotonic()))
                except queue.Empty:
                    return {"error": {"desc": f"no answer from QEMU within {REPLY} s"}}
                if reply.get("id") == self.id:
                    return reply


class Hypervisor:
    def __init__(self, control, log, port=0, secret=None, fail=0, hold=False):
        self.log = open(log, "a", buffering=1)
        self.lock = threading.Lock()
        self.secret = None
        if secret:
            with open(secret, "rb") as f:
                self.secret = f.read().strip()
        self.fail, self.hold = fail, hold
        self.held = []
        self.seen = set()
        self.waiting = {}
        self.qmp = Qmp(self.on_event)
        self.server = socket.create_server(("127.0.0.1", port))
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(control)
        self.control.listen(16)
        threading.Thread(target=self.listen, daemon=True).start()
        self.note("ready", port=self.server.getsockname()[1])

    def note(self, did, **rest):
        with self.lock:
            self.log.write(json.dumps({"did": did, "at": round(time.time(), 3), **rest}) + "\n")

    def on_event(self, message):
        self.note("event", event=message["event"], data=message.get("data", {}))

    ### webhooks

    def listen(self):
        while True:
            peer, _ = self.server.accept()
            threading.Thread(target=self.request, args=(peer,), daemon=True).start()

    def request(self, peer):
        """One request, of what HTTP a webhook needs: a POST with a length."""
        with peer, peer.makefile("rwb") as stream:
            line, headers = stream.readline(), {}
            while field := stream.readline().strip():
                name, _, value = field.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get("content-length", 0)))
            status = self.webhook(headers, body) if line.startswith(b"POST ") else 405
            stream.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)

    def signed(self, headers, body):
        """Whether the signature is that of "TIMESTAMP.BODY", and the timestamp of these minutes."""
        if not self.secret:
            return True
        text = headers.get("x-numastow-signature", "")
        stamp = headers.get("x-numastow-timestamp") or (re.search(r"\bt=(\d+)", text) or [0, ""])[1]
        given = re.search(r"\b([0-9a-f]{64})\b", text)
        if not given or not stamp.isdigit() or abs(int(stamp) - time.time()) > 300:
            return False
        want = hmac.new(self.secret, stamp.encode() + b"." + body, "sha256").hexdigest()
        return hmac.compare_digest(given[1], want)

    def webhook(self, headers, body):
        key = headers.get("idempotency-key", "")
        if not self.signed(headers, body):
            self.note("forged", headers=headers, body=body.decode("utf-8", "replace"))
            return 401
        try:
            said = json.loads(body)
        except ValueError:
            self.note("nonsense", body=body.decode("utf-8", "replace"))
            return 400
        event = said.get("event", "")
        with self.lock:
            failing = self.fail > 0
            self.fail -= failing
            again = key in self.seen
            if not failing and key:
                self.seen.add(key)
        self.note("webhook", event=event, key=key, status=503 if failing else 200, body=said)
        if failing:
            return 503
        if not key:
            self.note("keyless", event=event)
            return 400
        if again:
            self.note("repeated", key=key)
        elif event in ("safe-to-remove", "safe-to-shrink"):
            if self.hold:
                self.held.append(said)
                self.note("held", key=key)
            else:
                threading.Thread(target=self.pull, args=(said,), daemon=True).start()
        return 200

    ### pulling memory

    def find(self, said):
        """The memory device that a webhook names, by its physical address."""
        address, size = number(said, "address"), number(said, "bytes", "size")
        for device in self.qmp.ask("query-memory-devices").get("return", []):
            data = device["data"]
            start = data.get("addr", data.get("memaddr", -1))
            length = data.get("max-size", data["size"])
            if start <= address < start + length:
                return device["type"], data, size
        return None, None, size

    def pull(self, said):
        kind, data, size = self.find(said)
        if kind in ("dimm", "nvdimm"):
            reply = self.qmp.ask("device_del", {"id": data["id"]})
            self.note("pull", device=data["id"], command="device_del", reply=reply)
        elif kind == "virtio-mem":
            rest = max(0, data["requested-size"] - size)
            reply = self.qmp.ask("qom-set", {"path": f"/machine/peripheral/{data['id']}",
                                             "property": "requested-size", "value": rest})
            self.note("pull", device=data["id"], command="requested-size", value=rest, reply=reply)
        else:
            self.note("unknown", body=said)

    ### control

    def told(self, words):
        match words:
            case ["qmp", command, *arguments]:
                return self.qmp.ask(command, *map(json.loads, arguments))
            case ["fail", n]:
                self.fail = int(n)
            case ["hold"]:
                self.hold = True
            case ["release"]:
                self.hold = False
            case ["pull"]:
                while self.held:
                    self.pull(self.held.pop(0))
            case ["stop"]:
                return None
            case _:
                return {"error": {"desc": f"what is {words}?"}}
        return {"return": {}}

    def serve(self):
        while True:
            peer, _ = self.control.accept()
            threading.Thread(target=self.answer, args=(peer,), daemon=True).start()

    def answer(self, peer):
        with peer, peer.makefile("rwb") as stream:
            reply = self.told(json.loads(stream.readline()))
            stream.write(json.dumps(reply or {"return": {}}).encode() + b"\n")
            stream.flush()
        if reply is None:
            os._exit(0)


def number(said, *names):
    """A number that may be anywhere in the body, in the plan for instance; JSON of protobuf has large ones as text."""
    for name in names:
        stack = [said]
        while stack:
            at = stack.pop(0)
            if isinstance(at, dict):
                if name in at:
                    return int(at[name])
                stack.extend(at.values())
            elif isinstance(at, list):
                stack.extend(at)
    return -1


def tell(control, words):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(control)
        with peer.makefile("rwb") as stream:
            stream.write(json.dumps(words).encode() + b"\n")
            stream.flush()
            return json.loads(stream.readline())


def show(reply):
    print(json.dumps(reply.get("return", reply.get("error"))))
    return "error" in reply


def main(arguments):
    match arguments:
        case ["serve", *rest]:
            options = {}
            while rest:
                name = rest.pop(0).removeprefix("--")
                options[name] = name == "hold" or rest.pop(0)
            for name in ("port", "fail"):
                if name in options:
                    options[name] = int(options[name])
            Hypervisor(**options).serve()
        case ["tell", control, *words]:
            return show(tell(control, words))
        case ["qmp", *words]:
            control = os.environ.get("VM_HYPERVISOR", "")
            if control and os.path.exists(control):
                return show(tell(control, ["qmp", *words]))
            return show(Qmp().ask(words[0], *map(json.loads, words[1:2])))
        case _:
            print(__doc__.strip(), file=sys.stderr)
            return 2


sys.exit(main(sys.argv[1:]))
