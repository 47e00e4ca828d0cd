"""A thousand clients that ask for large answers and take a byte a second of them: what they hold stays within the budget of answers, a quarter of it
for their address, and the records and pushes of a good client at another address go on meanwhile.

    PENSTOCK_ABUSE_EACH=1 python -m pytest -s tests/abuse/test_answers.py     # a thousand clients for each kind of answer, not for each group of them
"""

import json
import os
import socket
import struct
import threading
import time

import hpack
import pytest
from attacks import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame, h1_head, h2_block
from penstock_client import Client, Server, Subscription

ANSWERS_MAX = 256 << 20
ATTACKERS = os.environ.get("PENSTOCK_ABUSE_ADDRESS", "127.0.0.2")  # 127.0.0.1: the good client's
CLIENTS = 1000  # half of them HTTP/1.1, half HTTP/2
SECONDS = 2
RECORD = "eHh4" * 175_000  # 525,000 bytes


class Target:
    def __init__(self):
        self.server = Server("--limits", "off", "--transition-ms", "0", log_level="error")
        self.client = Client(self.server.port)
        self.small = self.client.make_stream("small")
        self.client.make_stream("large")
        self.client.make_stream("wide", shards=1500)
        for i in range(60):
            self.client.make_stream(f"{i:02}" + "x" * 126)
        for _ in range(10):
            self.client.call("PutRecord", StreamName="large", PartitionKey="k", Data=RECORD)
        self.consumer = self.client.register(self.small, "good")
        self.iterator = self.iterator_of("large")

    def iterator_of(self, name):
        shard = self.client.shard_ids(name)[0]
        asked = dict(StreamName=name, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        return self.client.call("GetShardIterator", **asked)["ShardIterator"]


@pytest.fixture(scope="module")
def target():
    made = Target()
    with made.server:
        yield made
        made.client.close()


class Slow:
    """An attacker's connection: one request, and of its answer a byte a second."""

    def __init__(self, port, h2, method, path, operation, body):
        self.h2 = h2
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.bind((ATTACKERS, 0))
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", port))
        if h2:
            shut = struct.pack(">HI", 4, 0)
            block = h2_block(hpack.Encoder(), operation, path, method)
            flags = END_HEADERS | (0 if body else END_STREAM)
            sent = PREFACE + frame(SETTINGS, 0, 0, shut) + frame(HEADERS, flags, 1, block)
            for at in range(0, len(body), 16384):
                sent += frame(DATA, END_STREAM if at + 16384 >= len(body) else 0, 1, body[at : at + 16384])
        elif method == "GET":
            sent = f"GET {path} HTTP/1.1\r\nHost: l\r\n\r\n".encode()
        else:
            sent = h1_head(operation, f"Content-Length: {len(body)}\r\n\r\n") + body
        self.sock.sendall(sent)
        self.sock.setblocking(False)

    def take_a_byte(self):
        try:
            if self.h2:
                self.sock.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))
            self.sock.recv(1)
        except OSError:
            pass


class Good:
    """Puts, reads and is pushed to, as fast as it is answered; counts each. Its address is another."""

    def __init__(self, target):
        self.target, self.reads, self.pushed, self.failed, self.over = target, 0, 0, None, threading.Event()
        self.stream = Subscription(target.server.port, target.consumer, "shardId-000000000000", Type="LATEST")
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._ask, self._listen)]
        for thread in self.threads:
            thread.start()
        while not self.reads and self.failed is None:
            time.sleep(0.01)

    def _ask(self):
        client = Client(self.target.server.port)
        try:
            while not self.over.is_set():
                client.call("PutRecord", StreamName="small", PartitionKey="k", Data="eHh4")
                answer = client.call("GetRecords", ShardIterator=self.target.iterator)
                assert len(answer["Records"]) == 10
                self.reads += 1
                self.over.wait(0.05)
        except Exception as error:  # told by the test
            self.failed = error
        client.close()

    def _listen(self):
        try:
            for event in self.stream:
                self.pushed += len(event["Records"])
        except Exception:  # it is closed
            pass

    def stop(self):
        self.over.set()
        self.threads[0].join(30)
        self.stream.close()


PRODUCERS = {
    "records": lambda target: ("POST", "/", "GetRecords", {"ShardIterator": target.iterator}),
    "shards": lambda target: ("POST", "/", "ListShards", {"StreamName": "wide"}),
    "streams": lambda target: ("POST", "/", "ListStreams", {"Limit": 1000}),
    "describe": lambda target: ("POST", "/", "DescribeStream", {"StreamName": "wide", "Limit": 1500}),
    "bad_base64": lambda target: ("POST", "/", "PutRecord", {"StreamName": "small", "PartitionKey": "k", "Data": "." * 100_000}),
    "metrics": lambda target: ("GET", "/metrics", "none", None),
    "state": lambda target: ("GET", "/state", "none", None),
}


GROUPS = [["records"], ["shards", "describe", "streams"], ["bad_base64", "metrics", "state"]]
if os.environ.get("PENSTOCK_ABUSE_EACH"):
    GROUPS = [[name] for name in PRODUCERS]


def request_of(name, target):
    method, path, operation, members = PRODUCERS[name](target)
    return method, path, operation, json.dumps(members).encode() if members else b""


@pytest.mark.parametrize("names", GROUPS, ids="+".join)
def test_answers_that_are_taken_a_byte_a_second(names, target):
    requests = [request_of(name, target) for name in names]
    good, highest = Good(target), 0
    attackers = []
    try:
        for i in range(CLIENTS):
            attackers.append(Slow(target.server.port, i % 2 == 1, *requests[i // 2 % len(requests)]))
            if i % 50 == 0:
                highest = max(highest, target.server.metric("penstock_answer_bytes"))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for attacker in attackers:
                attacker.take_a_byte()
            highest = max(highest, target.server.metric("penstock_answer_bytes"))
            time.sleep(0.5)
        reads, pushed = good.reads, good.pushed
    finally:
        for attacker in attackers:
            attacker.sock.close()
        good.stop()
    print(f"\nanswers {'+'.join(names)}: at most {highest / (1 << 20):.1f} MiB; good client: {reads} reads, {pushed} pushed")
    assert good.failed is None
    assert reads > 5 and pushed > 5
    own = 16 << 20  # the good client's
    assert highest <= ANSWERS_MAX // 4 + own
    held = lambda: target.server.metric("penstock_answer_bytes")  # noqa: E731
    end = time.monotonic() + 20
    while held() > 1 << 20:
        assert time.monotonic() < end, "answers of clients that are gone are still counted"
        time.sleep(0.05)
