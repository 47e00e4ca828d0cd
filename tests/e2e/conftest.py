"""A penstock of its own for each kind of test: started with a temporary data directory on a port that the kernel chooses, stopped by its
process id with SIGTERM, and its exit status checked."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import boto3
import botocore.config
import botocore.exceptions
import cbor2
import pytest
from penstock_client import read_state

ROOT = pathlib.Path(__file__).resolve().parents[2]
AUTH = "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=abc"
ACCOUNT = "000000000000"
JSON_TYPE = "application/x-amz-json-1.1"
CBOR_TYPE = "application/x-amz-cbor-1.1"
START_S = 30  # under a sanitizer, on a busy machine


def binary():
    path = pathlib.Path(os.environ.get("PENSTOCK_BIN", ROOT / "build" / "penstock"))
    return str(path if path.is_absolute() else ROOT / path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def document(self):
        return cbor2.loads(self.body) if self.headers["Content-Type"] == CBOR_TYPE else json.loads(self.body)


class Penstock:
    def __init__(self, data_dir, *options):
        self.data_dir, self.options, self.process = str(data_dir), options, None

    def start(self, preexec_fn=None):
        command = [binary(), "--print-ready", "--listen", "127.0.0.1:0", "--data-dir", self.data_dir, *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=preexec_fn)
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening (127\.0\.0\.1:\d+)\n", line)
        assert match, f"{command} said {line!r}"
        self.url = "http://" + match[1]
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(START_S)
        self.process.stdout.close()
        self.process = None
        assert status == 0

    def restart(self):
        self.stop()
        return self.start()

    def client(self, **config):
        return boto3.client(
            "kinesis",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=botocore.config.Config(retries={"total_max_attempts": 1}, **config),
        )

    def get(self, path):
        try:
            with urllib.request.urlopen(self.url + path) as reply:
                return Answer(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def state(self):
        def get(path):
            answer = self.get(path)
            return answer.status, answer.body

        return read_state(get)

    def raw(self, operation, body, kind=JSON_TYPE, **headers):
        """One POST without an SDK. body: bytes as they are, anything else is encoded by `kind`."""
        if not isinstance(body, bytes):
            body = cbor2.dumps(body) if kind == CBOR_TYPE else json.dumps(body).encode()
        sent = {"Content-Type": kind, "X-Amz-Target": f"Kinesis_20131202.{operation}", "Authorization": AUTH, "X-Amz-Date": "20200101T000000Z"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        request = urllib.request.Request(self.url, body, {name: value for name, value in sent.items() if value is not None}, method="POST")
        try:
            with urllib.request.urlopen(request) as reply:
                return Answer(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())


@pytest.fixture
def start(tmp_path_factory):
    """start(*options): a server that this test alone uses, and may restart. preexec_fn: as of Popen."""
    running = []

    def begin(*options, **how):
        running.append(Penstock(tmp_path_factory.mktemp("data"), *options).start(**how))
        return running[-1]

    yield begin
    for server in running:
        if server.process:
            server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Without limits; shared by tests that only make streams of their own."""
    running = Penstock(tmp_path_factory.mktemp("data"), "--limits", "off", "--heartbeat-ms", "500").start()
    yield running
    running.stop()


@pytest.fixture
def kinesis(server):
    return server.client()


def wait_for(condition, seconds=10):
    """Polls: the API has no other way to tell of a transition. A few times at once, then 8 times a second: AWS has limits on that, too."""
    deadline, wait = time.monotonic() + seconds, 0.01
    while time.monotonic() < deadline:
        try:
            value = condition()
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "LimitExceededException":
                raise
            value = None
        if value:
            return value
        time.sleep(wait)
        wait = min(wait * 2, 0.125)
    raise AssertionError("it did not happen in time")


def make_stream(client, shards=1, name=None, **more):
    name = name or "s-" + uuid.uuid4().hex
    if shards:
        more["ShardCount"] = shards
    wait_for(lambda: client.create_stream(StreamName=name, **more))
    wait_for(lambda: client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")
    return name


def make_consumer(client, stream, name="app"):
    arn = stream_arn(stream)
    made = wait_for(lambda: client.register_stream_consumer(StreamARN=arn, ConsumerName=name))["Consumer"]
    wait_for(
        lambda: client.describe_stream_consumer(ConsumerARN=made["ConsumerARN"])["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE"
    )
    return made["ConsumerARN"]


def stream_arn(name):
    return f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}"


def shard_id(number):
    return f"shardId-{number:012d}"
