"""More streams and segments than the process may have files open, and strangers that hold connections open.

With a limit of N descriptors: more than N streams, each with records in two segments; and N idle connections. The server refuses
connections beyond its share at once, and says how many it takes; puts, reads and a start go on as without a limit.

PENSTOCK_LIMITS=200,256,1024 takes these limits; else 200.
"""

import base64
import concurrent.futures
import os
import socket

import pytest

from damage import memory_dir, shard_id
from penstock_client import Client, Server, data_of

LIMITS = [int(limit) for limit in os.environ.get("PENSTOCK_LIMITS", "200").split(",")]
OPTIONS = ("--limits", "off", "--transition-ms", "0", "--free-floor", "1")


class Strangers:
    """Connections that send nothing."""

    def __init__(self, port, n):
        self.sockets = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(n)]

    def refused(self):
        n = 0
        for one in self.sockets:
            one.setblocking(False)
            try:
                n += one.recv(1) == b""
            except BlockingIOError:
                pass
            except ConnectionResetError:
                n += 1
        return n

    def close(self):
        for one in self.sockets:
            one.close()


def in_parallel(port, names, do):
    """Each name once, over four connections."""

    def some(part):
        client = Client(port)
        try:
            for name in part:
                do(client, name)
        finally:
            client.close()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(some, [names[i::4] for i in range(4)]))


def put(client, name, text):
    client.call("PutRecord", StreamName=name, PartitionKey="k", Data=base64.b64encode(text).decode())


def check(client, name, texts):
    records = client.read_all(name, shard_id(0))
    assert [data_of(record) for record in records] == [name.encode() + text for text in texts]


@pytest.mark.parametrize("limit", LIMITS)
def test_more_streams_than_descriptors(limit):
    names = [f"s{i}" for i in range(limit + 30)]
    with memory_dir() as folder:
        log_file, data_dir = os.path.join(folder, "said"), os.path.join(folder, "data")

        def server():
            return Server(*OPTIONS, data_dir=data_dir, log_file=log_file, open_files=limit)

        with server() as running:
            in_parallel(running.port, names, lambda client, name: client.make_stream(name))
            in_parallel(running.port, names, lambda client, name: put(client, name, name.encode() + b"-1"))
        with server() as running:
            known, pages = Client(running.port), Client(running.port)
            known.call("ListStreams")
            pages.call("ListStreams")
            strangers = Strangers(running.port, limit)
            for name in names:
                put(known, name, name.encode() + b"-2")
            for name in names:
                check(known, name, (b"-1", b"-2"))
            ended = strangers.refused()  # on a slow machine also those that said nothing for too long
            strangers.close()
            pages.connection.request("GET", "/metrics")
            metrics = dict(line.split(" ") for line in pages.connection.getresponse().read().decode().splitlines() if line[0] != "#")
            assert int(metrics["penstock_files_limit"]) == limit
            assert int(metrics["penstock_log_files"]) <= int(metrics["penstock_log_files_max"]) < limit
            connections = int(metrics["penstock_connections_max"])
            assert connections + int(metrics["penstock_log_files_max"]) < limit
            refused = int(metrics["penstock_connections_refused_total"])
            assert 0 < refused == limit + 2 - connections and ended >= refused
            known.close()
            pages.close()
            known = Client(running.port)
            known.call("DeleteStream", StreamName=names[0])
            put(known, names[1], names[1].encode() + b"-3")
            running.kill()
        with server() as running:
            client = Client(running.port)
            check(client, names[1], (b"-1", b"-2", b"-3"))
            in_parallel(running.port, names[2:], lambda client, name: check(client, name, (b"-1", b"-2")))
        with open(log_file) as lines:
            said = lines.read()
        assert said.count("few_files") == 1 and "poisoned" not in said, said
        print(f"{limit} descriptors: {len(names)} streams in 2 segments each, {connections} connections at most, {refused} refused")
