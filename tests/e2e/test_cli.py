"""The AWS CLI (v1, HTTP/1.1, JSON) over http and https: the commands that a person types first, its waiter, and how it shows an error.

It has no subscribe-to-shard: that is boto3's, the SDKs' and raw HTTP/2's part."""

import base64
import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import ACCOUNT, shard_id, stream_arn

AWS = pathlib.Path(sys.executable).with_name("aws")
FAILED = 255  # what version 1 ends with when the service answers an error; 252 is its own parser's


@pytest.fixture(params=["http", "https"])
def aws(request, server, tmp_path):
    """aws("create-stream", ...): what the command prints, from JSON; aws.fails(...): its standard error."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_") and not name.lower().endswith("_proxy")},
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_DEFAULT_OUTPUT": "json",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_ENDPOINT_URL_KINESIS": server.url.replace("http", request.param, 1),
    }
    if request.param == "https":
        environment["AWS_CA_BUNDLE"] = os.path.join(server.data_dir, "tls", "ca.pem")

    def run(*arguments):
        command = [str(AWS), "kinesis", *map(str, arguments)]
        return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def call(*arguments):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def fails(*arguments, status=FAILED):
        done = run(*arguments)
        assert done.returncode == status, done
        assert done.stdout == ""
        return done.stderr.strip()

    call.fails, call.scheme = fails, request.param
    return call


def text(record):
    return base64.b64decode(record["Data"]).decode()


def made(aws, kind, shards=1):
    name = f"cli-{kind}-{aws.scheme}"
    assert aws("create-stream", "--stream-name", name, "--shard-count", shards) is None
    assert aws("wait", "stream-exists", "--stream-name", name) is None
    return name


def test_put_and_get(aws):
    name = made(aws, "put", 2)
    # Version 1 takes data as it is, and encodes it itself; version 2 would want base64.
    one = aws("put-record", "--stream-name", name, "--partition-key", "a", "--data", "first")
    assert one["SequenceNumber"].isdigit() and len(one["SequenceNumber"]) == 56
    many = aws("put-records", "--stream-name", name, "--records", *(f"Data=n{i},PartitionKey=a" for i in range(3)))
    assert many["FailedRecordCount"] == 0
    assert {entry["ShardId"] for entry in many["Records"]} == {one["ShardId"]}  # one key, one shard
    position = ["--stream-name", name, "--shard-id", one["ShardId"], "--shard-iterator-type"]
    iterator = aws("get-shard-iterator", *position, "TRIM_HORIZON")["ShardIterator"]
    page = aws("get-records", "--shard-iterator", iterator)
    assert [text(record) for record in page["Records"]] == ["first", "n0", "n1", "n2"]
    assert [record["SequenceNumber"] for record in page["Records"]] == [one["SequenceNumber"], *(e["SequenceNumber"] for e in many["Records"])]
    assert page["MillisBehindLatest"] == 0 and page["NextShardIterator"]
    after = aws("get-shard-iterator", *position, "AFTER_SEQUENCE_NUMBER", "--starting-sequence-number", one["SequenceNumber"])
    page = aws("get-records", "--shard-iterator", after["ShardIterator"], "--limit", 2)
    assert [text(record) for record in page["Records"]] == ["n0", "n1"]


def test_look_at_streams_and_shards(aws):
    name = made(aws, "look", 3)
    summary = aws("describe-stream-summary", "--stream-name", name)["StreamDescriptionSummary"]
    assert (summary["StreamARN"], summary["StreamStatus"], summary["OpenShardCount"]) == (stream_arn(name), "ACTIVE", 3)
    shards = aws("list-shards", "--stream-name", name)["Shards"]
    assert [shard["ShardId"] for shard in shards] == [shard_id(i) for i in range(3)]
    ranges = [(int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])) for shard in shards]
    assert ranges[0][0] == 0 and ranges[-1][1] == 2**128 - 1
    assert all(low[1] + 1 == high[0] for low, high in zip(ranges, ranges[1:]))
    # By hand, since the CLI's own paging sends the name beside the token, which AWS refuses too.
    page = aws("list-shards", "--stream-name", name, "--no-paginate", "--max-results", 2)
    assert page["Shards"] + aws("list-shards", "--no-paginate", "--next-token", page["NextToken"])["Shards"] == shards
    # One at a time: the CLI's own paging puts the pages together again.
    described = aws("describe-stream", "--stream-name", name, "--page-size", 1)["StreamDescription"]
    assert [shard["ShardId"] for shard in described["Shards"]] == [shard_id(i) for i in range(3)]
    assert name in aws("list-streams", "--page-size", 1)["StreamNames"]
    assert aws("delete-stream", "--stream-name", name) is None
    assert aws("wait", "stream-not-exists", "--stream-name", name) is None


def test_consumers(aws):
    arn = stream_arn(made(aws, "consumers"))
    consumer = aws("register-stream-consumer", "--stream-arn", arn, "--consumer-name", "app")["Consumer"]
    assert consumer["ConsumerARN"].startswith(f"{arn}/consumer/app:")
    described = aws("describe-stream-consumer", "--consumer-arn", consumer["ConsumerARN"])["ConsumerDescription"]
    assert (described["ConsumerName"], described["StreamARN"], described["ConsumerStatus"]) == ("app", arn, "ACTIVE")
    assert [c["ConsumerName"] for c in aws("list-stream-consumers", "--stream-arn", arn)["Consumers"]] == ["app"]
    assert aws("deregister-stream-consumer", "--consumer-arn", consumer["ConsumerARN"]) is None
    assert aws("list-stream-consumers", "--stream-arn", arn)["Consumers"] == []


def test_errors(aws):
    name = made(aws, "errors")
    # An operation is named as the CLI names it; what follows is the service's own.
    assert aws.fails("describe-stream-summary", "--stream-name", "absent").endswith(
        "An error occurred (ResourceNotFoundException) when calling the DescribeStreamSummary operation: "
        f"Stream absent under account {ACCOUNT} not found."
    )
    assert aws.fails("create-stream", "--stream-name", name, "--shard-count", 1).endswith(
        "An error occurred (ResourceInUseException) when calling the CreateStream operation: "
        f"Stream {name} under account {ACCOUNT} already exists."
    )
    assert "(InvalidArgumentException) when calling the GetRecords" in aws.fails("get-records", "--shard-iterator", "nonsense")
    assert "(ValidationException) when calling the PutRecord operation" in aws.fails(
        "put-record", "--stream-name", name, "--partition-key", "k", "--data", "x", "--explicit-hash-key", "nonsense"
    )
