# SPDX-License-Identifier: Apache-2.0
"""An etcd cluster on loopback, with TLS or without, for the tests of the fleet. Debian's etcd-server."""
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from certificates import sign_expired
from daemons import PATIENCE, free_port

ETCD = shutil.which("etcd")


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Certificates:
    """A CA, and one certificate for all addresses that serves members and schedulers."""

    def __init__(self, folder, hosts):
        names = ",".join(f"IP:{h}" for h in hosts)
        os.makedirs(folder)
        self.ca, self.key, self.certificate = (f"{folder}/{n}" for n in ("ca.crt", "tls.key", "tls.crt"))
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=etcd CA", "-addext", "keyUsage=critical,keyCertSign", "-keyout", f"{folder}/ca.key",
            "-out", self.ca)
        with open(f"{folder}/ext", "w", encoding="ascii") as out:
            out.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self.folder = folder
        self.issue("numastow", self.key, self.certificate)

    def issue(self, user, key, certificate, expired=False):
        """Write a key and a certificate of that user of etcd."""
        folder = self.folder
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={user}", "-keyout", key, "-out", f"{folder}/csr")
        if expired:
            sign_expired(f"{folder}/csr", self.ca, f"{folder}/ca.key", certificate, f"{folder}/ext")
            return
        run("openssl", "x509", "-req", "-in", f"{folder}/csr", "-CA", self.ca, "-CAkey", f"{folder}/ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", f"{folder}/ext", "-out", certificate)


class Member:
    def __init__(self, cluster, number, host, inside):
        self.cluster, self.number, self.host, self.inside = cluster, number, host, inside
        self.client, self.peer = free_port(), free_port()
        self.process = None

    def start(self):
        c, scheme = self.cluster, self.cluster.scheme
        argv = [*self.inside, ETCD, "--name", f"m{self.number}", "--data-dir", f"{c.folder}/m{self.number}",
                "--listen-client-urls", f"{scheme}://{self.host}:{self.client}",
                "--advertise-client-urls", f"{scheme}://{self.host}:{self.client}",
                "--listen-peer-urls", f"{scheme}://{self.host}:{self.peer}",
                "--initial-advertise-peer-urls", f"{scheme}://{self.host}:{self.peer}",
                "--initial-cluster", ",".join(f"m{m.number}={scheme}://{m.host}:{m.peer}"
                                              for m in c.members)]
        if c.tls:
            for what in ("", "peer-"):
                argv += [f"--{what}client-cert-auth", f"--{what}trusted-ca-file", c.tls.ca,
                         f"--{what}cert-file", c.tls.certificate, f"--{what}key-file", c.tls.key]
        with open(f"{c.folder}/m{self.number}.log", "ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)  # pylint: disable=consider-using-with

    def kill(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Relay:
    """A port in front of a member. By its `mode` it passes everything on, accepts connections and passes nothing ("silent"),
    answers with what is not HTTP ("garbage"), or passes on to another port (that number)."""

    def __init__(self, port):
        self.port, self.mode, self.over = port, "through", False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        mode, ends = self.mode, [peer]
        try:
            if mode == "garbage":
                peer.recv(65536)
                peer.sendall(b"\0\1\2 220 hello\r\n" * 100)
            else:
                ends.append(socket.create_connection(("127.0.0.1", mode if isinstance(mode, int) else self.port)))
                self.pump(mode, *ends)
        except OSError:
            pass
        for end in ends:
            end.close()

    def pump(self, mode, *ends):
        """Pass bytes on until one side closes the connection, or the mode changes."""
        while not self.over and (self.mode == mode or {self.mode, mode} == {"silent", "through"}):
            if self.mode == "silent":
                time.sleep(0.1)
                continue
            for end in select.select(ends, [], [], 0.1)[0]:
                data = end.recv(65536)
                if not data:
                    return
                ends[end is ends[0]].sendall(data)

    def close(self):
        self.over = True
        self.listener.close()


class Etcd:
    """A cluster of `size` members, for a `with` block. With `hosts`, a list of (address, words), each member has that address,
    and its command begins with these words, which run it there."""

    def __init__(self, size=1, tls=False, on=None, hosts=()):
        hosts = hosts or [("127.0.0.1", ())] * size
        # On a disk that is none, where there is one, unless it is told: what is tested is not its speed.
        ram = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix="etcd-", dir=on or ram)
        self.tls = Certificates(f"{self.folder}/tls", sorted({h for h, _ in hosts})) if tls else None
        self.scheme = "https" if tls else "http"
        self.members = []
        for i in range(size):
            self.members.append(Member(self, i, *hosts[i]))

    @property
    def urls(self):
        return ",".join(f"{self.scheme}://{m.host}:{m.client}" for m in self.members)

    def options(self, prefix="/numastow/", lease="3s"):
        """Return the options for numastow-scheduler. A scheduler that cannot renew its lease in time, as on a busy computer,
        ends: a test in which none may end has a longer `lease`."""
        out = ["--store", f"etcd:{self.urls}", "--store-prefix", prefix, "--store-lease", lease]
        if self.tls:
            out += ["--store-ca", self.tls.ca, "--store-certificate", self.tls.certificate,
                    "--store-key", self.tls.key]
        return out

    def healthy(self):
        """Return whether a member has a leader: then it answers /health."""
        for member in self.members:
            argv = ["curl", "--silent", "--noproxy", "*", "--max-time", "2",
                    f"{self.scheme}://{member.host}:{member.client}/health"]
            if self.tls:
                argv += ["--cacert", self.tls.ca, "--cert", self.tls.certificate, "--key", self.tls.key]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if '"true"' in done.stdout:
                return True
        return False

    def wait(self):
        end = time.monotonic() + PATIENCE
        while not self.healthy() and time.monotonic() < end:
            time.sleep(0.1)

    def __enter__(self):
        for member in self.members:
            member.start()
        self.wait()
        return self

    def __exit__(self, *_):
        for member in self.members:
            if member.process:
                member.kill()
        shutil.rmtree(self.folder)
