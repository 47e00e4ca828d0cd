"""The bounds on connections, a worker's fairness between them, and a stop in the middle of everything."""

import json
import signal
import socket
import threading
import time

import hpack
import pytest
from attacks import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame, h1_head, h2_block
from penstock_client import Client, Server


def healthy(port, source="127.0.0.1"):
    """A connection that was answered, or None when it was closed without."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(source, 0))
    try:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if sock.recv(4096).startswith(b"HTTP/1.1 200 "):
            return sock
    except OSError:
        pass
    sock.close()
    return None


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_connections_of_one_address():
    with Server("--max-connections-per-address", "5", "--workers", "2", log_level="error") as server:
        held = [healthy(server.port) for _ in range(5)]
        assert all(held)
        assert healthy(server.port) is None, "one more than allowed, over all workers"
        other = healthy(server.port, "127.0.0.2")
        assert other, "another address has its own count"
        held.pop().close()
        again = []
        until(lambda: again.append(healthy(server.port)) or again[-1])
        for sock in (*held, other, *filter(None, again)):
            sock.close()
        until(lambda: server.metric("penstock_connections") <= 1)
        assert server.metric("penstock_clients_cut_total") >= 1


def test_loopback_is_not_counted_unless_asked_for():
    with Server(log_level="error") as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2100)]
        sock = healthy(server.port)
        assert sock
        for one in (sock, *held):
            one.close()


def test_connections_of_all():
    with Server("--max-connections", "10", log_level="error") as server:
        held = [healthy(server.port) for _ in range(10)]
        assert all(held)
        assert healthy(server.port) is None
        held.pop().close()
        until(lambda: healthy(server.port))
        for sock in held:
            sock.close()


def test_pipelined_requests_are_all_answered_in_order_however_many():
    """More than a quantum's worth: they wait their turn, and none is lost."""
    with Server(log_level="error") as server:
        client = Client(server.port)
        client.make_stream("s")
        body = json.dumps({"StreamName": "s", "PartitionKey": "k", "Data": "eHh4"}).encode()
        one = b"GET /healthz HTTP/1.1\r\nHost: l\r\n\r\n" + h1_head(extra=f"Content-Length: {len(body)}\r\n\r\n") + body
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        threading.Thread(target=sock.sendall, args=(one * 800,), daemon=True).start()
        got = b""
        while got.count(b"HTTP/1.1 ") < 1600 or not got.endswith((b"}", b"ok", b"\n")):
            part = sock.recv(1 << 16)
            assert part
            got += part
        kinds = ["put" if b"x-amzn-RequestId" in answer else "get" for answer in got.split(b"HTTP/1.1 ")[1:]]
        assert kinds == ["get", "put"] * 800
        sock.close()
        client.close()


def test_many_streams_at_once_are_all_answered():
    with Server("--limits", "off", log_level="error") as server:
        client = Client(server.port)
        client.make_stream("s")
        client.close()
        encoder, body = hpack.Encoder(), json.dumps({"StreamName": "s", "PartitionKey": "k", "Data": "eHh4"}).encode()
        out = PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, b"\x01\0\0\0")
        for stream in range(1, 2000, 2):
            out += frame(HEADERS, END_HEADERS, stream, h2_block(encoder)) + frame(DATA, END_STREAM, stream, body)
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        threading.Thread(target=sock.sendall, args=(out,), daemon=True).start()
        ended, got, decoder, statuses = set(), b"", hpack.Decoder(), []
        while len(ended) < 1000:
            part = sock.recv(1 << 16)
            assert part
            got += part
            while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3], "big"):
                n = int.from_bytes(got[:3], "big")
                if got[3] == HEADERS:
                    statuses.append(dict(decoder.decode(got[9 : 9 + n]))[":status"])
                if got[3] <= HEADERS and got[4] & END_STREAM:
                    ended.add(got[5:9])
                assert got[3] not in (3, 7), "no RST_STREAM, no GOAWAY"
                got = got[9 + n :]
        assert statuses == ["200"] * 1000
        sock.close()


@pytest.mark.parametrize("after_ms", [0, 1, 3, 10])
def test_a_stop_among_joins_and_puts_is_clean(after_ms):
    """Joins, puts and resets on their way when the signal comes: the exit status is 0, and under a sanitizer nothing is left."""
    server = Server("--limits", "off", "--transition-ms", "0", log_level="error")
    try:
        client = Client(server.port)
        arn = client.make_stream("s", 8)
        consumers = [client.register(arn, f"c{i}") for i in range(3)]
        client.close()
        encoder, stream = hpack.Encoder(), 1
        out = PREFACE + frame(SETTINGS, 0, 0)
        put = json.dumps({"StreamName": "s", "PartitionKey": "k", "Data": "eHh4"}).encode()
        for consumer in consumers * 3:
            for shard in range(8):
                body = json.dumps({"ConsumerARN": consumer, "ShardId": f"shardId-{shard:012d}", "StartingPosition": {"Type": "LATEST"}}).encode()
                out += frame(HEADERS, END_HEADERS, stream, h2_block(encoder, "SubscribeToShard")) + frame(DATA, END_STREAM, stream, body)
                out += frame(HEADERS, END_HEADERS, stream + 2, h2_block(encoder)) + frame(DATA, END_STREAM, stream + 2, put)
                if shard % 3 == 0:
                    out += frame(3, 0, stream, b"\0\0\0\x08")
                stream += 4
        socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
        for sock in socks:
            sock.sendall(out)
        time.sleep(after_ms / 1000)
        server.process.send_signal(signal.SIGTERM)
        for sock in socks[:2]:
            sock.close()
        assert server.process.wait(timeout=30) == 0
        for sock in socks[2:]:
            sock.close()
    finally:
        if server.process.poll() is None:
            server.kill()
