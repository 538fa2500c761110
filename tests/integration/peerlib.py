# SPDX-License-Identifier: Apache-2.0
"""Peers that misbehave, which no library allows: they write HTTP/2 frame by frame, on any descriptor."""
import select
import socket
import ssl
import struct
import time

from daemons import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
UNKNOWN = 250
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def field(name, value):
    """A header field, literal, without indexing (RFC 7541, 6.2.2)."""
    def text(data):
        assert len(data) < 127
        return bytes((len(data),)) + data.encode()
    return b"\0" + text(name) + text(value)


def headers(method, *more):
    """The header fields of a call of "/package.Service/Method"."""
    return b"".join(field(*f) for f in (
        (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost"),
        ("te", "trailers"), ("content-type", "application/grpc"), *more))


def announced(length, flag=0):
    """The prefix of a gRPC message of that length."""
    return struct.pack(">BI", flag, length)


class Peer:
    """A connection on which any frames can be sent."""
    ENDS = DATA, HEADERS  # frames that may end a stream for us

    def __init__(self, address, wrap=None, settings=b""):
        self.sock = self.dial(address)
        if wrap:
            self.sock = wrap(self.sock)
        self.next, self.heard, self.seen = 1, b"", 0
        self.windows, self.initial = {0: 65535}, 65535
        self.ended = set()  # streams that the other side has ended
        self.say(PREFACE + frame(SETTINGS, 0, 0, settings))

    @staticmethod
    def dial(address):
        """Connect to a path, or to a host and port; by TLS, if the folder of a certificate follows."""
        if isinstance(address, socket.socket):
            return address
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        # A unix socket with a timeout would not wait for its place in the queue.
        sock.connect(address if isinstance(address, str) else tuple(address[:2]))
        sock.settimeout(PATIENCE)
        if isinstance(address, str) or len(address) < 3:
            return sock
        context = ssl.create_default_context(cafile=f"{address[2]}/ca.crt")
        context.load_cert_chain(f"{address[2]}/tls.crt", f"{address[2]}/tls.key")
        context.set_alpn_protocols(["h2"])
        return context.wrap_socket(sock, server_hostname=address[0])

    def say(self, data):
        """Send bytes. False: the other side has closed the connection."""
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def call(self, method, *more):
        """Open a stream, and return its number."""
        stream, self.next = self.next, self.next + 2
        self.windows[stream] = self.initial
        self.say(frame(HEADERS, END_HEADERS, stream, headers(method, *more)))
        return stream

    def ask(self, method, message=b"", *more):
        """Make a whole unary call, without waiting for the answer."""
        stream = self.call(method, *more)
        self.say(frame(DATA, END_STREAM, stream, announced(len(message)) + message))
        return stream

    def send(self, stream, data, flags=0, seconds=PATIENCE):
        """Send data as fast as the other side takes it, until it ends the stream; return how much it took. The last frame has
        the flags."""
        at, end = 0, time.monotonic() + seconds
        while at < len(data) and stream not in self.ended:
            n = min(16384, self.windows[0], self.windows[stream], len(data) - at)
            if n <= 0:
                left = end - time.monotonic()
                if left <= 0 or not self.read(left):
                    break
                continue
            if not self.say(frame(DATA, flags if at + n == len(data) else 0, stream, data[at:at + n])):
                break
            self.windows[0], self.windows[stream] = self.windows[0] - n, self.windows[stream] - n
            at += n
        return at

    def listen(self):
        """Update the windows by the frames that have arrived."""
        while len(self.heard) - self.seen >= 9:
            at = self.seen
            length = int.from_bytes(self.heard[at:at + 3], "big")
            kind, flags = self.heard[at + 3], self.heard[at + 4]
            stream = int.from_bytes(self.heard[at + 5:at + 9], "big")
            payload = self.heard[at + 9:at + 9 + length]
            if len(payload) < length:
                return
            self.seen = at + 9 + length
            if kind == HEADERS:
                self.windows.setdefault(stream, self.initial)
            if kind == RESET or kind in self.ENDS and flags & END_STREAM:
                self.ended.add(stream)
            if kind == WINDOW and stream in self.windows:
                self.windows[stream] += int.from_bytes(payload, "big")
            elif kind == SETTINGS and not flags & ACK:
                for i in range(0, length, 6):
                    key, value = struct.unpack(">HI", payload[i:i + 6])
                    if key == 4:
                        grown, self.initial = value - self.initial, value
                        for stream in self.windows:
                            self.windows[stream] += grown if stream else 0
                self.say(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                self.say(frame(PING, ACK, 0, payload))

    def hears(self, text, seconds=PATIENCE):
        """Return whether these bytes arrive, in any frame, before the connection ends."""
        end = time.monotonic() + seconds
        while text not in self.heard:
            left = end - time.monotonic()
            if left <= 0 or not self.read(left):
                return text in self.heard
        return True

    def read(self, seconds):
        """Read more bytes; False at the end of the connection, or when nothing arrives."""
        pending = getattr(self.sock, "pending", lambda: 0)()
        if not pending and not select.select([self.sock], [], [], seconds)[0]:
            return False
        try:
            data = self.sock.recv(65536)
        except OSError:
            return False
        self.heard += data
        self.listen()
        return bool(data)

    def is_dropped(self, seconds=PATIENCE):
        """Return whether the other side closes the connection, whatever it sends before that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not select.select([self.sock], [], [], end - time.monotonic())[0]:
                return False
            try:
                if not self.sock.recv(65536):
                    return True
            except OSError:
                return True
        return False

    def close(self):
        self.sock.close()
