"""A small client for tests: the server as a process, plain calls over HTTP/1.1, and event streams decoded with both CRCs checked.

Real SDKs are used wherever they can show the same; this is for what they hide: kill -9, raw bytes, many connections.
"""

import base64
import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("PENSTOCK_BIN", str(ROOT / "build" / "penstock"))
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)


class ApiError(Exception):
    def __init__(self, status, body):
        self.status = status
        parsed = json.loads(body) if body[:1] == b"{" else {}
        self.type = parsed.get("__type")
        self.message = parsed.get("message", parsed.get("Message"))
        super().__init__(f"{status} {self.type}: {self.message}")


def patient(ask, good, seconds=30):
    """Asks until the answer is good, as an SDK's user would: a few times at once, then 8 times a second; LimitExceededException says only
    that it was too soon."""
    end, wait = time.monotonic() + seconds, 0.02
    while True:
        try:
            answer = ask()
            if good(answer):
                return answer
        except ApiError as error:
            if error.type != "LimitExceededException":
                raise
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(wait)
        wait = min(wait * 2, 0.125)


def read_state(get):
    """All of /state, page by page; get(path): (status, body). A stream that goes on in the next page is one again."""
    whole, after = None, ""
    while True:
        status, body = get("/state" + after)
        assert status == 200, body
        page = json.loads(body)
        if whole is None:
            whole = {**page, "streams": [], "subscriptions": []}
        for stream in page["streams"]:
            if whole["streams"] and whole["streams"][-1]["name"] == stream["name"]:
                whole["streams"][-1]["shards"] += stream["shards"]
                whole["streams"][-1]["consumers"] += stream["consumers"]
            else:
                whole["streams"].append(stream)
        whole["subscriptions"] += page["subscriptions"]
        if "next" not in page:
            return whole
        after = "?after=" + page["next"]


class Server:
    """penstock as a child process on a free port of loopback. It is ended by its process id, never by name."""

    def __init__(self, *options, data_dir=None, log_level="warn", listen="127.0.0.1:0", log_file=None, env=None, open_files=None):
        """log_file: where what it says goes, else to stderr. env: on top of the environment. open_files: its limit on descriptors."""
        self._temporary = None
        if data_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="penstock-test-")
            data_dir = self._temporary.name
        self.data_dir = str(data_dir)
        said = open(log_file, "w") if log_file else None
        self.process = subprocess.Popen(
            [BINARY, "--listen", listen, "--data-dir", self.data_dir, "--print-ready", "--log-level", log_level, *options],
            stdout=subprocess.PIPE,
            stderr=said,
            env=dict(os.environ, **env) if env else None,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))) if open_files else None,
        )
        if said:
            said.close()
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening "):
            raise RuntimeError(f"penstock did not start: exit status {self.process.wait()}")
        self.port = int(line.strip().rsplit(":", 1)[1])

    @property
    def pid(self):
        return self.process.pid

    def stop(self, expect=0):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        self.process.stdout.close()
        if self._temporary:
            self._temporary.cleanup()
        assert status == expect, f"exit status {status}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            if kind:
                self.kill()
            else:
                self.stop()

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def get(self, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def state(self):
        return read_state(self.get)

    def metric(self, name):
        for line in self.get("/metrics")[1].decode().splitlines():
            if line.split(" ")[0] == name:
                return float(line.split(" ")[1])
        raise KeyError(name)


def headers(operation):
    return {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"Kinesis_20131202.{operation}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": AUTHORIZATION,
    }


class Client:
    """One kept-alive connection. Not for several threads at once."""

    def __init__(self, port, timeout=30):
        self.port = port
        self.timeout = timeout
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def call(self, operation, **members):
        self.connection.request("POST", "/", json.dumps(members).encode(), headers(operation))
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ApiError(answer.status, body)
        return json.loads(body) if body else {}

    def close(self):
        self.connection.close()

    def make_stream(self, name, shards=1):
        patient(lambda: self.call("CreateStream", StreamName=name, ShardCount=shards), lambda answer: True)
        return self.wait_active(name)["StreamARN"]

    def wait_active(self, name):
        return patient(
            lambda: self.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"],
            lambda summary: summary["StreamStatus"] == "ACTIVE",
        )

    def register(self, stream_arn, name):
        made = patient(lambda: self.call("RegisterStreamConsumer", StreamARN=stream_arn, ConsumerName=name), lambda answer: True)
        arn = made["Consumer"]["ConsumerARN"]
        patient(
            lambda: self.call("DescribeStreamConsumer", ConsumerARN=arn)["ConsumerDescription"],
            lambda consumer: consumer["ConsumerStatus"] == "ACTIVE",
        )
        return arn

    def shard_ids(self, name):
        return [shard["ShardId"] for shard in self.call("ListShards", StreamName=name)["Shards"]]

    def read_all(self, name, shard):
        """Every record of a shard from TRIM_HORIZON to the tip. For servers with --limits off."""
        iterator = self.call("GetShardIterator", StreamName=name, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        records = []
        while True:
            answer = self.call("GetRecords", ShardIterator=iterator)
            records += answer["Records"]
            if answer["MillisBehindLatest"] == 0 and not answer["Records"]:
                return records
            iterator = answer["NextShardIterator"]


def decode_messages(buffer):
    """Takes whole messages off the front of a bytearray: yields (headers, payload)."""
    while len(buffer) >= 16:
        total, header_len, prelude_crc = struct.unpack_from(">III", buffer)
        assert zlib.crc32(buffer[:8]) == prelude_crc, "prelude CRC"
        if len(buffer) < total:
            return
        assert zlib.crc32(buffer[: total - 4]) == struct.unpack_from(">I", buffer, total - 4)[0], "message CRC"
        at, found = 12, {}
        while at < 12 + header_len:
            n = buffer[at]
            name = buffer[at + 1 : at + 1 + n].decode()
            at += 1 + n
            assert buffer[at] == 7, "header type"
            (m,) = struct.unpack_from(">H", buffer, at + 1)
            found[name] = buffer[at + 3 : at + 3 + m].decode()
            at += 3 + m
        yield found, bytes(buffer[12 + header_len : total - 4])
        del buffer[:total]


class Subscription:
    """SubscribeToShard over HTTP/1.1, chunked. Iterate for events (dicts); exceptions of the stream are raised as StreamException."""

    class StreamException(Exception):
        def __init__(self, kind, message):
            self.kind = kind
            super().__init__(f"{kind}: {message}")

    def __init__(self, port, consumer_arn, shard, timeout=30, **position):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = json.dumps({"ConsumerARN": consumer_arn, "ShardId": shard, "StartingPosition": position}).encode()
        head = "POST / HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers("SubscribeToShard").items())
        self.socket.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.answer = http.client.HTTPResponse(self.socket, method="POST")
        self.answer.begin()
        if self.answer.status != 200:
            error = ApiError(self.answer.status, self.answer.read())
            self.close()
            raise error
        assert self.answer.getheader("Content-Type") == "application/vnd.amazon.eventstream"
        self.buffer = bytearray()
        self.initial = False

    def messages(self):
        while True:
            data = self.answer.read1(1 << 20)
            if not data:
                return
            self.buffer += data
            yield from decode_messages(self.buffer)

    def __iter__(self):
        for found, payload in self.messages():
            if found[":message-type"] == "exception":
                raise self.StreamException(found[":exception-type"], json.loads(payload).get("message"))
            if found[":event-type"] == "initial-response":
                self.initial = True
                continue
            assert self.initial, "the first message is initial-response"
            yield json.loads(payload)

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # HTTPResponse holds the descriptor too: close alone would not end it
        except OSError:
            pass
        self.socket.close()


def data_of(record):
    return base64.b64decode(record["Data"])
