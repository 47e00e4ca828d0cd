"""Every operation through the API, with boto3 and with raw requests: results, error texts, persistence, limits, and the requirements of the
field's clients (R...) as far as they show without a reshard and without looking at frames."""

import base64
import datetime
import hashlib
import json
import re
import socket
import sqlite3
import struct
import time

import cbor2
import pytest
from botocore.exceptions import ClientError, EventStreamError
from conftest import ACCOUNT, AUTH, CBOR_TYPE, JSON_TYPE, make_consumer, make_stream, shard_id, stream_arn, wait_for

MIB = 1 << 20


class expect:
    """with expect(code, text): the block must raise that error. text None: any."""

    def __init__(self, code, text=None, status=400):
        self.code, self.text, self.status = code, text, status

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert kind is not None and issubclass(kind, ClientError), f"expected {self.code}, got {error!r}"
        assert error.response["Error"]["Code"] == self.code, error
        if self.text is not None:
            assert error.response["Error"]["Message"] == self.text
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == self.status
        assert error.response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-errortype"] == self.code
        return True


def iterator_of(client, stream, kind="TRIM_HORIZON", shard=0, **more):
    return client.get_shard_iterator(StreamName=stream, ShardId=shard_id(shard), ShardIteratorType=kind, **more)["ShardIterator"]


def read_all(client, iterator, limit=10000):
    records = []
    while True:
        page = client.get_records(ShardIterator=iterator, Limit=limit)
        records += page["Records"]
        iterator = page["NextShardIterator"]
        if page["MillisBehindLatest"] == 0:
            return records


def not_found(stream):
    return f"Stream {stream} under account {ACCOUNT} not found."


def no_shard(stream, number):
    return f"Shard {shard_id(number)} in stream {stream} under account {ACCOUNT} does not exist"


# ---- CreateStream, DescribeStream, DescribeStreamSummary, ListStreams, DeleteStream ----------------------------------------


def test_create_describe_delete(kinesis):
    name = make_stream(kinesis, 3)
    before = datetime.datetime.now(datetime.timezone.utc)
    stream = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert stream["StreamARN"] == stream_arn(name)
    assert stream["StreamStatus"] == "ACTIVE" and stream["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert stream["RetentionPeriodHours"] == 24 and stream["EncryptionType"] == "NONE" and not stream["HasMoreShards"]
    assert stream["EnhancedMonitoring"] == [{"ShardLevelMetrics": []}]
    assert abs((before - stream["StreamCreationTimestamp"]).total_seconds()) < 30
    assert [shard["ShardId"] for shard in stream["Shards"]] == [shard_id(i) for i in range(3)]
    ends = [shard["HashKeyRange"] for shard in stream["Shards"]]
    assert [end["StartingHashKey"] for end in ends] == ["0", "113427455640312821154458202477256070485", "226854911280625642308916404954512140970"]
    assert [end["EndingHashKey"] for end in ends] == [
        "113427455640312821154458202477256070484",
        "226854911280625642308916404954512140969",
        str(2**128 - 1),
    ]
    for shard in stream["Shards"]:
        assert re.fullmatch(r"\d{56}", shard["SequenceNumberRange"]["StartingSequenceNumber"])
        assert "EndingSequenceNumber" not in shard["SequenceNumberRange"] and "ParentShardId" not in shard
    with expect("ResourceInUseException", f"Stream {name} under account {ACCOUNT} already exists."):
        kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.delete_stream(StreamARN=stream_arn(name))
    wait_for(lambda: name not in kinesis.list_streams()["StreamNames"])
    with expect("ResourceNotFoundException", not_found(name)):
        kinesis.describe_stream(StreamName=name)
    with expect("ResourceNotFoundException", not_found(name)):
        kinesis.delete_stream(StreamName=name)


def test_create_on_demand(kinesis):
    for more in ({"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, {}):
        name = make_stream(kinesis, None, **more)
        summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        assert summary["OpenShardCount"] == 4 and summary["StreamModeDetails"]["StreamMode"] == "ON_DEMAND"
    with expect("ValidationException", "ShardCount is not expected when StreamMode=ON_DEMAND"):
        kinesis.create_stream(StreamName="x", ShardCount=1, StreamModeDetails={"StreamMode": "ON_DEMAND"})


def test_R13_summary_without_stream_id(kinesis):
    name = make_stream(kinesis, 2)
    summary = kinesis.describe_stream_summary(StreamARN=stream_arn(name))["StreamDescriptionSummary"]
    assert "StreamId" not in summary and "Shards" not in summary
    assert summary["OpenShardCount"] == 2 and summary["ConsumerCount"] == 0 and summary["MaxRecordSizeInKiB"] == 1024


def test_names_and_arns(kinesis):
    name = make_stream(kinesis)
    assert kinesis.describe_stream(StreamName=name, StreamARN=stream_arn(name))
    with expect("InvalidArgumentException", "StreamARN and StreamName do not match."):
        kinesis.describe_stream(StreamName="other", StreamARN=stream_arn(name))
    with expect("InvalidArgumentException", "Either StreamName or StreamARN must be provided."):
        kinesis.describe_stream()
    with expect("ResourceNotFoundException", not_found("nope")):
        kinesis.describe_stream(StreamARN=stream_arn("nope"))


def test_describe_pages(kinesis):
    name = make_stream(kinesis, 250)
    first = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert len(first["Shards"]) == 100 and first["HasMoreShards"], "100 is default and effective maximum"
    pages = kinesis.get_paginator("describe_stream").paginate(StreamName=name, Limit=10000)
    assert [s["ShardId"] for page in pages for s in page["StreamDescription"]["Shards"]] == [shard_id(i) for i in range(250)]


def test_list_streams_both_ways(start):
    client = start("--limits", "off").client()
    names = sorted(make_stream(client, name=f"s{i:02d}") for i in range(7))
    pages = list(client.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 3}))
    assert [name for page in pages for name in page["StreamNames"]] == names
    assert [s["StreamName"] for page in pages for s in page["StreamSummaries"]] == names
    assert all(s["StreamARN"] == stream_arn(s["StreamName"]) and s["StreamStatus"] == "ACTIVE" for page in pages for s in page["StreamSummaries"])
    last = client.list_streams(ExclusiveStartStreamName="s04", Limit=3)
    assert last["StreamNames"] == names[5:] and not last["HasMoreStreams"] and "NextToken" not in last
    with expect("InvalidArgumentException", "Invalid NextToken."):
        client.list_streams(NextToken="garbage")


def test_transitions_as_observers_see_them(start):
    """R17: what passes is ResourceInUse where KCL waits for it, and not found where AWS says so."""
    server = start("--transition-ms", "1500")
    client = server.client()
    client.create_stream(StreamName="slow", ShardCount=1)
    stream = client.describe_stream(StreamName="slow")["StreamDescription"]
    assert stream["StreamStatus"] == "CREATING" and stream["Shards"] == [] and not stream["HasMoreShards"]
    assert client.list_streams()["StreamNames"] == ["slow"]
    with expect("ResourceInUseException", f"Stream slow under account {ACCOUNT} not ACTIVE, instead in state CREATING"):
        client.list_shards(StreamName="slow")
    with expect("ResourceNotFoundException", not_found("slow")):
        client.put_record(StreamName="slow", PartitionKey="k", Data=b"")
    with expect("ResourceNotFoundException", no_shard("slow", 0)):
        iterator_of(client, "slow")
    with expect("ResourceInUseException"):
        client.register_stream_consumer(StreamARN=stream_arn("slow"), ConsumerName="c")
    wait_for(lambda: client.describe_stream(StreamName="slow")["StreamDescription"]["StreamStatus"] == "ACTIVE")
    iterator = iterator_of(client, "slow")
    consumer = client.register_stream_consumer(StreamARN=stream_arn("slow"), ConsumerName="c")["Consumer"]
    assert consumer["ConsumerStatus"] == "CREATING"
    created = int(consumer["ConsumerCreationTimestamp"].timestamp())
    with expect(
        "ResourceInUseException",
        f"Consumer c with creation timestamp {created} under stream: slow , account {ACCOUNT} is not in ACTIVE status.",
    ):
        client.subscribe_to_shard(ConsumerARN=consumer["ConsumerARN"], ShardId=shard_id(0), StartingPosition={"Type": "LATEST"})
    with expect(
        "ResourceInUseException",
        f"DeleteStream can't delete {stream_arn('slow')} because there are consumers associated with this data stream. To delete slow anyway, "
        "set the EnforceConsumerDeletion parameter to true to force the deletion of all the consumers that are associated with it.",
    ):
        client.delete_stream(StreamName="slow")
    client.delete_stream(StreamName="slow", EnforceConsumerDeletion=True)
    assert client.describe_stream_summary(StreamName="slow")["StreamDescriptionSummary"]["StreamStatus"] == "DELETING"
    with expect("ResourceInUseException", f"Stream slow under account {ACCOUNT} already exists."):
        client.create_stream(StreamName="slow", ShardCount=1)
    with expect("ResourceNotFoundException", no_shard("slow", 0)):
        client.get_records(ShardIterator=iterator)
    with expect("ResourceNotFoundException", not_found("slow")):
        client.put_record(StreamName="slow", PartitionKey="k", Data=b"")
    wait_for(lambda: client.list_streams()["StreamNames"] == [])


def test_an_iterator_does_not_outlive_its_incarnation(kinesis):
    name = make_stream(kinesis)
    iterator = iterator_of(kinesis, name)
    kinesis.delete_stream(StreamName=name)
    wait_for(lambda: name not in kinesis.list_streams()["StreamNames"])
    make_stream(kinesis, name=name)
    with expect("ResourceNotFoundException", no_shard(name, 0)):
        kinesis.get_records(ShardIterator=iterator)


def test_limits_of_control_operations(start):
    client = start("--transition-ms", "1500", "--limit", "create_stream_calls=0").client()
    make_stream(client, 2)
    with expect(
        "LimitExceededException",
        f"This request would exceed the shard limit for the account {ACCOUNT} in us-east-1. Current shard count for the account: 2. Limit: 20000. "
        "Number of additional shards that would have resulted from this request: 19999. Refer to the AWS Service Limits page "
        "(http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request higher limits.",
    ):
        client.create_stream(StreamName="many", ShardCount=19999)
    with expect(
        "ValidationException",
        "1 validation error detected: Value '100001' at 'shardCount' failed to satisfy constraint: Member must have value less than or equal to 100000",
    ):
        client.create_stream(StreamName="many", ShardCount=100001)
    for i in range(5):
        client.create_stream(StreamName=f"s{i}", ShardCount=1)
    with expect(
        "LimitExceededException",
        "This request would have exceed the limit on the number  of streams that can simultaneously be in CREATING or DELETING for the account "
        f"{ACCOUNT}. Limit: 5.",
    ):
        client.create_stream(StreamName="s5", ShardCount=1)


# ---- ListShards -------------------------------------------------------------------------------------------------------------


def test_R12_list_shards_pages_and_filters(kinesis):
    name = make_stream(kinesis, 5)
    every = [shard_id(i) for i in range(5)]

    def ids(**arguments):
        return [shard["ShardId"] for shard in kinesis.list_shards(**arguments)["Shards"]]

    assert ids(StreamName=name, StreamARN=stream_arn(name)) == every
    now, past = time.time(), 1500000000
    for given in (
        {"Type": "AT_LATEST"},
        {"Type": "AT_TRIM_HORIZON"},
        {"Type": "FROM_TRIM_HORIZON"},
        {"Type": "AT_TIMESTAMP", "Timestamp": now},
        {"Type": "AT_TIMESTAMP", "Timestamp": past},
        {"Type": "FROM_TIMESTAMP", "Timestamp": now},
        {"Type": "FROM_TIMESTAMP", "Timestamp": past},
    ):
        assert ids(StreamName=name, ShardFilter=given) == every, given
    assert ids(StreamName=name, ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": shard_id(2)}) == every[3:]
    assert ids(StreamName=name, ExclusiveStartShardId=shard_id(3)) == every[4:]
    first = kinesis.list_shards(StreamName=name, MaxResults=2)
    second = kinesis.list_shards(NextToken=first["NextToken"], MaxResults=2, ShardFilter={"Type": "AT_TRIM_HORIZON"})
    third = kinesis.list_shards(NextToken=second["NextToken"])
    assert [s["ShardId"] for page in (first, second, third) for s in page["Shards"]] == every and "NextToken" not in third
    for shard in first["Shards"]:
        assert shard["HashKeyRange"].keys() == {"StartingHashKey", "EndingHashKey"}
        assert shard["SequenceNumberRange"].keys() == {"StartingSequenceNumber"}


def test_R12_every_filter_covers_the_whole_hash_range(kinesis):
    """What a KCL demands of its first lease sync."""
    name = make_stream(kinesis, 7)
    for given in ({"Type": "AT_LATEST"}, {"Type": "AT_TRIM_HORIZON"}, {"Type": "AT_TIMESTAMP", "Timestamp": time.time() - 3600}):
        ranges = sorted(
            (int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"]))
            for s in kinesis.list_shards(StreamName=name, ShardFilter=given)["Shards"]
        )
        assert ranges[0][0] == 0 and ranges[-1][1] == 2**128 - 1
        assert all(a[1] + 1 == b[0] for a, b in zip(ranges, ranges[1:]))


def test_list_shards_errors(kinesis):
    name = make_stream(kinesis, 2)
    token = kinesis.list_shards(StreamName=name, MaxResults=1)["NextToken"]
    with expect("InvalidArgumentException", "Either NextToken or StreamName should be provided."):
        kinesis.list_shards()
    with expect("InvalidArgumentException", "NextToken and StreamName cannot be provided together."):
        kinesis.list_shards(NextToken=token, StreamName=name)
    with expect("InvalidArgumentException", "NextToken and StreamARN cannot be provided together."):
        kinesis.list_shards(NextToken=token, StreamARN=stream_arn(name))
    with expect("InvalidArgumentException", "NextToken and ExclusiveStartShardId cannot be provided together."):
        kinesis.list_shards(NextToken=token, ExclusiveStartShardId=shard_id(0))
    with expect("InvalidArgumentException", "Invalid NextToken."):
        kinesis.list_shards(NextToken=token[:-8] + "AAAAAAA=")
    with expect("ResourceNotFoundException", not_found(name)):
        kinesis.list_shards(StreamName=name, StreamCreationTimestamp=1500000000)
    created = kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamCreationTimestamp"]
    assert len(kinesis.list_shards(StreamName=name, StreamCreationTimestamp=created)["Shards"]) == 2


# ---- PutRecord, PutRecords --------------------------------------------------------------------------------------------------


def test_put_record_goes_where_its_hash_is(kinesis):
    name = make_stream(kinesis, 3)
    for key, shard in (("a", 0), ("b", 1), ("e", 2), ("f", 1)):
        answer = kinesis.put_record(StreamName=name, PartitionKey=key, Data=b"x")
        assert answer["ShardId"] == shard_id(shard) and re.fullmatch(r"\d{56}", answer["SequenceNumber"]) and "EncryptionType" not in answer
    answer = kinesis.put_record(StreamARN=stream_arn(name), PartitionKey="a", ExplicitHashKey=str(2**128 - 1), Data=b"")
    assert answer["ShardId"] == shard_id(2)


def test_put_record_errors(kinesis):
    name = make_stream(kinesis)
    with expect("ResourceNotFoundException", not_found("nope")):
        kinesis.put_record(StreamName="nope", PartitionKey="k", Data=b"")
    with expect(
        "InvalidArgumentException",
        f"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {2**128}",
    ):
        kinesis.put_record(StreamName=name, PartitionKey="k", ExplicitHashKey=str(2**128), Data=b"")
    with expect(
        "InvalidArgumentException", f"ExclusiveMinimumSequenceNumber {2**180} used in PutRecord on stream {name} under account {ACCOUNT} is invalid."
    ):
        kinesis.put_record(StreamName=name, PartitionKey="k", SequenceNumberForOrdering=str(2**180), Data=b"")
    with expect("ValidationException", "1 validation error detected: Value at 'data' failed to satisfy constraint: Member must have length less than or equal to 1048576"):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes(MIB))
    with expect(
        "ValidationException",
        "1 validation error detected: Value at 'data' failed to satisfy constraint: "
        "Member must have length less than or equal to 10485760",
    ):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes(10 * MIB + 1))
    assert kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes(MIB - 1))


def test_sequence_numbers_of_a_shard_rise(kinesis):
    name = make_stream(kinesis)
    last = int(kinesis.describe_stream(StreamName=name)["StreamDescription"]["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"])
    for _ in range(10):
        answer = kinesis.put_records(StreamName=name, Records=[{"PartitionKey": str(i), "Data": b"x"} for i in range(20)])
        for record in answer["Records"]:
            assert int(record["SequenceNumber"]) > last
            last = int(record["SequenceNumber"])
    ordered = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"", SequenceNumberForOrdering=str(last))
    assert int(ordered["SequenceNumber"]) > last


def test_R16_put_records_answer(server, kinesis):
    name = make_stream(kinesis, 4)
    keys = [str(i) for i in range(500)]
    records = [{"PartitionKey": key, "Data": base64.b64encode(key.encode()).decode()} for key in keys]
    answer = server.raw("PutRecords", {"StreamName": name, "Records": records})
    assert answer.status == 200 and b'"FailedRecordCount":0' in answer.body, "Fluent Bit looks for these bytes"
    assert len(answer.document["Records"]) == 500
    step = 2**128 // 4
    for key, record in zip(keys, answer.document["Records"]):
        assert record["ShardId"] == shard_id(int(hashlib.md5(key.encode()).hexdigest(), 16) // step), "KPL predicts the shard"


def test_put_records_fails_as_a_whole(kinesis):
    name = make_stream(kinesis)
    with expect("InvalidArgumentException"):
        kinesis.put_records(
            StreamName=name,
            Records=[{"PartitionKey": "k", "Data": b"1"}, {"PartitionKey": "k", "Data": b"2", "ExplicitHashKey": str(2**128)}],
        )
    with expect("InvalidArgumentException", "Records size exceeds 10 MB limit"):
        kinesis.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": bytes(1000000)}] * 11)
    too_long = "validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to 1048576"
    with expect("ValidationException", "1 " + too_long % "records.2.member.data"):
        kinesis.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": b"1"}, {"PartitionKey": "k", "Data": bytes(MIB)}])
    with expect("ValidationException", "1 " + too_long % "data"):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes(MIB + 1))
    too_many = "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length less than or equal to 500"
    with expect("ValidationException", too_many):
        kinesis.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": b"1"}] * 501)
    with expect("DryRunOperationException"):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"1", DryRun=True)
    with expect("DryRunOperationException"):
        kinesis.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": b"1"}], DryRun=True)
    assert read_all(kinesis, iterator_of(kinesis, name)) == [], "nothing was stored"


def test_large_records_where_the_stream_allows_them(kinesis):
    name = make_stream(kinesis, MaxRecordSizeInKiB=10240)
    data = (bytes(range(256)) * (40 * 1024))[:-1]  # with its key exactly 10 MiB
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=data)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"small")
    first = kinesis.get_records(ShardIterator=iterator_of(kinesis, name))
    assert len(first["Records"]) == 1 and first["Records"][0]["Data"] == data and first["MillisBehindLatest"] > 0
    assert kinesis.get_records(ShardIterator=first["NextShardIterator"])["Records"][0]["Data"] == b"small"


# ---- GetShardIterator, GetRecords -------------------------------------------------------------------------------------------


@pytest.fixture
def filled(kinesis):
    """(stream, sequence numbers) with ten records, "0" to "9", one by one."""
    name = make_stream(kinesis)
    return name, [kinesis.put_record(StreamName=name, PartitionKey="k", Data=str(i).encode())["SequenceNumber"] for i in range(10)]


def data_from(client, iterator):
    return b"".join(record["Data"] for record in read_all(client, iterator))


def test_R15_records_and_millis_behind(kinesis, filled):
    name, numbers = filled
    first = kinesis.get_records(ShardIterator=iterator_of(kinesis, name), Limit=4)
    assert [r["SequenceNumber"] for r in first["Records"]] == numbers[:4]
    assert all(abs(r["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 30 for r in first["Records"])
    assert first["MillisBehindLatest"] > 0
    rest = kinesis.get_records(ShardIterator=first["NextShardIterator"])
    assert [r["SequenceNumber"] for r in rest["Records"]] == numbers[4:]
    assert rest["MillisBehindLatest"] == 0
    tip = kinesis.get_records(ShardIterator=rest["NextShardIterator"])
    assert tip["Records"] == [] and tip["MillisBehindLatest"] == 0
    assert tip["NextShardIterator"] != rest["NextShardIterator"], "always a new one"


def test_iterator_positions(kinesis, filled):
    name, numbers = filled
    start = kinesis.describe_stream(StreamName=name)["StreamDescription"]["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"]

    def data(kind, **more):
        return data_from(kinesis, iterator_of(kinesis, name, kind, **more))

    assert data("TRIM_HORIZON") == b"0123456789"
    assert data("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[3]) == b"3456789"
    assert data("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[3]) == b"456789"
    assert data("AT_SEQUENCE_NUMBER", StartingSequenceNumber=start) == b"0123456789"
    assert data("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=start) == b"0123456789"
    assert data("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[9]) == b""
    assert data("AT_TIMESTAMP", Timestamp=1500000000) == b"0123456789"
    latest = iterator_of(kinesis, name, "LATEST")
    assert data_from(kinesis, latest) == b""
    now = iterator_of(kinesis, name, "AT_TIMESTAMP", Timestamp=time.time())
    assert data_from(kinesis, now) == b"", "no record at or after: the tip, not the horizon"
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    assert data_from(kinesis, latest) == b"x", "an iterator may be used again"
    assert data_from(kinesis, now) == b"x"


def test_iterator_at_a_time_between_records(kinesis):
    name = make_stream(kinesis)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"a")
    time.sleep(0.05)
    between = time.time()
    time.sleep(0.05)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"b")
    assert data_from(kinesis, iterator_of(kinesis, name, "AT_TIMESTAMP", Timestamp=between)) == b"b"


def test_R10_numbers_that_are_no_records_are_positions(kinesis, filled):
    """A ContinuationSequenceNumber of an empty event lies behind the last record, for AT as for AFTER, and below the next."""
    name, numbers = filled
    consumer = make_consumer(kinesis, name)
    stream = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard_id(0), StartingPosition={"Type": "LATEST"})["EventStream"]
    event = next(iter(stream))["SubscribeToShardEvent"]
    stream.close()
    continuation = event["ContinuationSequenceNumber"]
    assert event["Records"] == [] and re.fullmatch(r"\d{56}", continuation) and int(continuation) > int(numbers[9])
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        assert data_from(kinesis, iterator_of(kinesis, name, kind, StartingSequenceNumber=continuation)) == b""


def test_iterator_errors(kinesis, filled):
    name, numbers = filled
    for given in ("2147483648", "ABKLFD8", "2.14E4"):
        with expect("ResourceNotFoundException", f"Could not find shard {given} in stream {name} under account {ACCOUNT}."):
            kinesis.get_shard_iterator(StreamName=name, ShardId=given, ShardIteratorType="LATEST")
    with expect("ResourceNotFoundException", no_shard(name, 5)):
        kinesis.get_shard_iterator(StreamName=name, ShardId="abc-5", ShardIteratorType="LATEST")
    with expect("ResourceNotFoundException", no_shard("nope", 0)):
        kinesis.get_shard_iterator(StreamName="nope", ShardId="shardId-0", ShardIteratorType="LATEST")
    either = (
        "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no "
        "StartingSequenceNumber. Request specified "
    )
    with expect("InvalidArgumentException", either + "LATEST and also a StartingSequenceNumber."):
        iterator_of(kinesis, name, "LATEST", StartingSequenceNumber=numbers[0])
    with expect("InvalidArgumentException", either + "AT_SEQUENCE_NUMBER and no StartingSequenceNumber."):
        iterator_of(kinesis, name, "AT_SEQUENCE_NUMBER")
    with expect(
        "InvalidArgumentException",
        f"StartingSequenceNumber {2**190} used in GetShardIterator on shard {shard_id(0)} in stream {name} under account {ACCOUNT} is invalid.",
    ):
        iterator_of(kinesis, name, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=str(2**190))
    with expect(
        "InvalidArgumentException",
        f"Invalid StartingSequenceNumber. It encodes {shard_id(1)}, while it was used in a call to a shard with {shard_id(0)}",
    ):
        iterator_of(kinesis, name, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=str(int(numbers[0]) + 22300745198530623141535718272648361505980432))
    other = str(int(numbers[0]) + 2**148)  # created a second later
    with expect(
        "InvalidArgumentException",
        f"StartingSequenceNumber {other} used in GetShardIterator on shard {shard_id(0)} in stream {name} under account {ACCOUNT} is invalid "
        "because it did not come from this stream.",
    ):
        iterator_of(kinesis, name, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=other)
    with expect("InternalFailure", status=500):
        iterator_of(kinesis, name, "AT_SEQUENCE_NUMBER", StartingSequenceNumber="0")
    with expect(
        "InvalidArgumentException",
        "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.",
    ):
        iterator_of(kinesis, name, "AT_TIMESTAMP")
    with pytest.raises(ClientError, match=r"cannot be greater than the currentTimestampInMillis. timestampInMillis: \d{13}, currentTimestampInMillis: \d{13}"):
        iterator_of(kinesis, name, "AT_TIMESTAMP", Timestamp=int(time.time()) + 60)


def test_iterators_form_tampering_and_quotes(kinesis, filled):
    name, _ = filled
    iterator = iterator_of(kinesis, name)
    raw = base64.b64decode(iterator, validate=True)
    assert raw[:8] == bytes(7) + b"\1" and len(raw) == 152 + 16 * ((len(name) + 2) // 16)
    for at in (0, 7, 8, 30, 60, len(raw) - 1):
        changed = bytearray(raw)
        changed[at] ^= 1
        with expect("InvalidArgumentException", "Invalid ShardIterator."):
            kinesis.get_records(ShardIterator=base64.b64encode(changed).decode())
    for garbage in ("x", "garbage", iterator[:-4], iterator + "AAAA", base64.b64encode(bytes(152)).decode()):
        with expect("InvalidArgumentException", "Invalid ShardIterator."):
            kinesis.get_records(ShardIterator=garbage)
    assert len(kinesis.get_records(ShardIterator=f'"{iterator}"')["Records"]) == 10
    assert kinesis.get_records(ShardIterator=iterator, StreamARN=stream_arn(name))["Records"]
    with expect("InvalidArgumentException", "StreamARN does not match the stream of the ShardIterator."):
        kinesis.get_records(ShardIterator=iterator, StreamARN=stream_arn("other"))


def test_iterators_expire_after_300_seconds(start):
    """Ages one with the server's own key, instead of waiting for five minutes."""
    gcm = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead").AESGCM
    server = start("--limits", "off")
    client = server.client()
    name = make_stream(client)
    raw = base64.b64decode(iterator_of(client, name))
    head, nonce, sealed = raw[:8], raw[8:20], raw[20:]
    server.stop()
    with sqlite3.connect(server.data_dir + "/catalogue.db") as database:
        keys = [gcm(value) for (value,) in database.execute("SELECT value FROM secrets")]
    database.close()
    server.start()
    client = server.client()
    plain = key = None
    for key in keys:
        try:
            plain = key.decrypt(nonce, sealed, head)
            break
        except Exception:  # the page key
            continue
    created = struct.unpack(">q", plain[1:9])[0]
    assert abs(created / 1000 - time.time()) < 60

    def aged(ms):
        old = plain[:1] + struct.pack(">q", created - ms) + plain[9:]
        return base64.b64encode(head + nonce + key.encrypt(nonce, old, head)).decode()

    assert client.get_records(ShardIterator=aged(200000))["Records"] == []
    with pytest.raises(client.exceptions.ExpiredIteratorException) as caught:
        client.get_records(ShardIterator=aged(400000))
    date = r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d UTC \d{4}"
    assert re.fullmatch(
        f"Iterator expired. The iterator was created at time {date} while right now it is {date} which is further in the future than the tolerated "
        "delay of 300000 milliseconds.",
        caught.value.response["Error"]["Message"],
    )


def test_get_records_stops_at_10_MiB(kinesis):
    name = make_stream(kinesis)
    for _ in range(3):
        kinesis.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": bytes(MIB - 1)}] * 4)
    first = kinesis.get_records(ShardIterator=iterator_of(kinesis, name))
    assert len(first["Records"]) == 10 and first["MillisBehindLatest"] > 0
    second = kinesis.get_records(ShardIterator=first["NextShardIterator"])
    assert len(second["Records"]) == 2 and second["MillisBehindLatest"] == 0


def test_R9_an_open_shard_always_has_a_next_iterator(kinesis, filled):
    name, _ = filled
    for kind in ("TRIM_HORIZON", "LATEST"):
        page = kinesis.get_records(ShardIterator=iterator_of(kinesis, name, kind))
        assert page["NextShardIterator"] and "ChildShards" not in page


# ---- Consumers --------------------------------------------------------------------------------------------------------------


def test_consumers(kinesis):
    name = make_stream(kinesis)
    arn = stream_arn(name)
    made = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app")["Consumer"]
    created = int(made["ConsumerCreationTimestamp"].timestamp())
    assert made["ConsumerARN"] == f"{arn}/consumer/app:{created}" and "StreamARN" not in made
    with expect("ResourceInUseException", f"Consumer app under stream {name} already exists for account {ACCOUNT}."):
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app")
    for by in ({"ConsumerARN": made["ConsumerARN"]}, {"StreamARN": arn, "ConsumerName": "app"}):
        found = kinesis.describe_stream_consumer(**by)["ConsumerDescription"]
        assert found["ConsumerARN"] == made["ConsumerARN"] and found["StreamARN"] == arn
    with expect("ResourceNotFoundException", f"Consumer nope, account {ACCOUNT} not found."):
        kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName="nope")
    with expect("InvalidArgumentException", "Either ConsumerARN or both StreamARN and ConsumerName must be provided."):
        kinesis.describe_stream_consumer(StreamARN=arn)
    with expect("ResourceNotFoundException", not_found("nope")):
        kinesis.register_stream_consumer(StreamARN=stream_arn("nope"), ConsumerName="app")
    kinesis.deregister_stream_consumer(ConsumerARN=made["ConsumerARN"])
    wait_for(lambda: kinesis.list_stream_consumers(StreamARN=arn)["Consumers"] == [])
    with expect("ResourceNotFoundException", f"Consumer {made['ConsumerARN']}, account {ACCOUNT} not found."):
        kinesis.describe_stream_consumer(ConsumerARN=made["ConsumerARN"])
    again = make_consumer(kinesis, name)
    assert again != made["ConsumerARN"], "a new registration is a new consumer"


def test_list_consumers_pages(kinesis):
    name = make_stream(kinesis)
    names = [f"c{i:02d}" for i in range(12)]
    for consumer in reversed(names):
        make_consumer(kinesis, name, consumer)
    pages = kinesis.get_paginator("list_stream_consumers").paginate(StreamARN=stream_arn(name), PaginationConfig={"PageSize": 5})
    assert [c["ConsumerName"] for page in pages for c in page["Consumers"]] == names
    token = kinesis.list_stream_consumers(StreamARN=stream_arn(name), MaxResults=1)["NextToken"]
    with expect("InvalidArgumentException", "NextToken and StreamCreationTimestamp cannot be provided together."):
        kinesis.list_stream_consumers(StreamARN=stream_arn(name), NextToken=token, StreamCreationTimestamp=1)
    with expect("InvalidArgumentException", "Invalid NextToken."):
        kinesis.list_stream_consumers(StreamARN=stream_arn(make_stream(kinesis)), NextToken=token)


def test_consumer_limit(start):
    client = start("--limit", "register_consumer_calls=0").client()
    name = make_stream(client)
    for i in range(20):
        make_consumer(client, name, f"c{i}")
    with expect(
        "LimitExceededException", f"This request would exceed the limit of registered consumers of stream {name} under account {ACCOUNT}. Limit: 20."
    ):
        client.register_stream_consumer(StreamARN=stream_arn(name), ConsumerName="c20")


# ---- SubscribeToShard, as far as an SDK shows it ----------------------------------------------------------------------------


def subscribe(client, consumer, kind="LATEST", shard=0, **position):
    return client.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard_id(shard), StartingPosition={"Type": kind, **position})["EventStream"]


def push_until(stream, count):
    records, continuation = [], 0
    for event in stream:
        event = event["SubscribeToShardEvent"]
        assert event["MillisBehindLatest"] >= 0 and "ChildShards" not in event
        assert int(event["ContinuationSequenceNumber"]) >= continuation, "R10: monotonic"
        continuation = int(event["ContinuationSequenceNumber"])
        records += event["Records"]
        if len(records) >= count:
            return records, str(continuation)
    raise AssertionError("the stream ended early")


def test_subscribe_and_resume(kinesis, filled):
    name, numbers = filled
    consumer = make_consumer(kinesis, name)
    stream = subscribe(kinesis, consumer, "TRIM_HORIZON")
    records, continuation = push_until(stream, 10)
    assert [r["SequenceNumber"] for r in records] == numbers and [r["Data"] for r in records] == [str(i).encode() for i in range(10)]
    number = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"pushed")["SequenceNumber"]
    pushed, continuation = push_until(stream, 1)
    assert pushed[0]["SequenceNumber"] == number and pushed[0]["PartitionKey"] == "k"
    assert abs(pushed[0]["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 30
    stream.close()
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"later")
    again = subscribe(kinesis, make_consumer(kinesis, name, "other"), "AFTER_SEQUENCE_NUMBER", SequenceNumber=continuation)
    assert push_until(again, 1)[0][0]["Data"] == b"later"
    again.close()


def test_subscribe_positions(kinesis, filled):
    name, numbers = filled
    for i, (kind, more, first) in enumerate(
        (
            ("AT_SEQUENCE_NUMBER", {"SequenceNumber": numbers[4]}, b"4"),
            ("AFTER_SEQUENCE_NUMBER", {"SequenceNumber": numbers[4]}, b"5"),
            ("AT_TIMESTAMP", {"Timestamp": 1420070400}, b"0"),
        )
    ):
        stream = subscribe(kinesis, make_consumer(kinesis, name, f"c{i}"), kind, **more)
        assert push_until(stream, 1)[0][0]["Data"] == first, kind
        stream.close()


def test_R4_subscribe_errors_are_plain_answers(kinesis):
    name = make_stream(kinesis)
    consumer = make_consumer(kinesis, name)
    gone = f"{stream_arn(name)}/consumer/nope:1"
    with expect("ResourceNotFoundException", f"Consumer {gone}, account {ACCOUNT} not found."):
        subscribe(kinesis, gone)
    with expect("ResourceNotFoundException", no_shard(name, 7)):
        subscribe(kinesis, consumer, shard=7)
    with pytest.raises(ClientError, match="Request specified AT_SEQUENCE_NUMBER and no StartingSequenceNumber."):
        subscribe(kinesis, consumer, "AT_SEQUENCE_NUMBER")
    with pytest.raises(ClientError, match="The timestampInMillis parameter cannot be greater than the currentTimestampInMillis."):
        subscribe(kinesis, consumer, "AT_TIMESTAMP", Timestamp=int(time.time()) + 60)


def test_R14_second_subscription_within_5_seconds(server, kinesis):
    name = make_stream(kinesis)
    consumer = make_consumer(kinesis, name)
    stream = subscribe(kinesis, consumer)
    with expect("ResourceInUseException", f"Another active subscription exists for this consumer: {ACCOUNT}:{name}:{shard_id(0)}:app"):
        subscribe(server.client(), consumer)
    stream.close()
    wait_for(lambda: subscribe_once(server, consumer), 5)


def subscribe_once(server, consumer):
    try:
        subscribe(server.client(), consumer).close()
        return True
    except ClientError:
        return False


def test_a_deleted_consumer_ends_its_subscription(kinesis):
    name = make_stream(kinesis)
    consumer = make_consumer(kinesis, name)
    stream = subscribe(kinesis, consumer)
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
        for _ in stream:
            pass


def post_and_keep(server, operation, body, kind):
    """A request by hand whose answer is read from the socket, as it comes."""
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=10)
    head = {"Host": host, "Content-Type": kind, "X-Amz-Target": f"Kinesis_20131202.{operation}", "Authorization": AUTH, "X-Amz-Date": "x"}
    lines = "".join(f"{key}: {value}\r\n" for key, value in head.items())
    client.sendall(f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return client


def test_R11_a_cbor_request_gets_json_events(server, kinesis):
    name = make_stream(kinesis)
    asked = {"ConsumerARN": make_consumer(kinesis, name), "ShardId": shard_id(0), "StartingPosition": {"Type": "LATEST"}}
    bad = server.raw("SubscribeToShard", asked | {"ShardId": "x"}, CBOR_TYPE)
    assert bad.status == 400 and bad.headers["Content-Type"] == CBOR_TYPE and bad.document["__type"] == "ResourceNotFoundException"
    with post_and_keep(server, "SubscribeToShard", cbor2.dumps(asked), CBOR_TYPE) as client:
        got = b""
        while b'"MillisBehindLatest"' not in got:
            more = client.recv(4096)
            assert more, got
            got += more
    assert got.startswith(b"HTTP/1.1 200 ") and b"content-type: application/vnd.amazon.eventstream\r\n" in got.lower()
    assert b"initial-response" in got and b"application/json" in got and b'"ContinuationSequenceNumber":"' in got


# ---- Restart ----------------------------------------------------------------------------------------------------------------


def test_everything_outlives_a_restart(start):
    server = start("--limits", "off", "--heartbeat-ms", "500")
    client = server.client()
    name = make_stream(client, 2)
    make_stream(client, name="another")
    consumer = make_consumer(client, name)
    put = client.put_records(StreamName=name, Records=[{"PartitionKey": str(i), "Data": str(i).encode()} for i in range(100)])
    shards = client.list_shards(StreamName=name)["Shards"]
    before = client.describe_stream(StreamName=name)["StreamDescription"]
    iterators = [iterator_of(client, name, shard=shard) for shard in range(2)]
    token = client.list_streams(Limit=1)["NextToken"]
    stream = subscribe(client, consumer)
    continuation = next(iter(stream))["SubscribeToShardEvent"]["ContinuationSequenceNumber"]
    stream.close()

    client = server.restart().client()
    after = client.describe_stream(StreamName=name)["StreamDescription"]
    assert after["StreamCreationTimestamp"] == before["StreamCreationTimestamp"] and after["Shards"] == before["Shards"]
    assert client.list_shards(StreamName=name)["Shards"] == shards
    assert client.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE"
    found = [record for iterator in iterators for record in read_all(client, iterator)]
    assert {r["SequenceNumber"] for r in found} == {r["SequenceNumber"] for r in put["Records"]}
    assert len(client.list_streams(NextToken=token)["StreamNames"]) == 1, "page tokens too"
    resumed = subscribe(client, consumer, "AFTER_SEQUENCE_NUMBER", SequenceNumber=continuation)
    last = [r["SequenceNumber"] for r in put["Records"] if r["ShardId"] == shard_id(0)][-1]
    number = client.put_record(StreamName=name, PartitionKey="k", ExplicitHashKey="0", Data=b"new")["SequenceNumber"]
    assert int(number) > int(last), "numbers go on"
    assert push_until(resumed, 1)[0][0]["Data"] == b"new", "R10: a continuation is good after a restart, and nothing comes twice"
    resumed.close()


# ---- Limits -----------------------------------------------------------------------------------------------------------------


def throttled(name, shard=0):
    return f"Rate exceeded for shard {shard_id(shard)} in stream {name} under account {ACCOUNT}."


def test_write_limit_of_records(start):
    client = start().client()
    name = make_stream(client)
    failed = []
    for _ in range(4):
        answer = client.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": b"x"}] * 500)
        assert answer["FailedRecordCount"] == sum("ErrorCode" in r for r in answer["Records"])
        failed += [r for r in answer["Records"] if "ErrorCode" in r]
    assert failed and {(r["ErrorCode"], r["ErrorMessage"]) for r in failed} == {("ProvisionedThroughputExceededException", throttled(name))}
    assert all("SequenceNumber" not in r for r in failed)


def test_write_limit_of_bytes(start):
    client = start().client()
    name = make_stream(client)
    client.put_record(StreamName=name, PartitionKey="k", Data=bytes(900000))
    with expect("ProvisionedThroughputExceededException", throttled(name)):
        client.put_record(StreamName=name, PartitionKey="k", Data=bytes(900000))
    small = client.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": bytes(900000)}, {"PartitionKey": "k", "Data": b""}])
    assert "ErrorCode" in small["Records"][0] and "SequenceNumber" in small["Records"][1], "a small one passes behind a big failed one"


def test_read_limit_of_calls(start):
    client = start().client()
    name = make_stream(client)
    iterator = iterator_of(client, name)
    with expect("ProvisionedThroughputExceededException", throttled(name)):
        for _ in range(8):
            client.get_records(ShardIterator=iterator)
    wait_for(lambda: not refused(client, iterator), 3)


def refused(client, iterator):
    try:
        client.get_records(ShardIterator=iterator)
    except client.exceptions.ProvisionedThroughputExceededException:
        return True
    return False


# ---- Wire: JSON, CBOR, errors -----------------------------------------------------------------------------------------------


def test_cbor_end_to_end(server, kinesis):
    name = make_stream(kinesis)
    answer = server.raw("PutRecord", {"StreamName": name, "PartitionKey": "k", "Data": b"\x00\xff"}, CBOR_TYPE)
    assert answer.status == 200 and answer.headers["Content-Type"] == CBOR_TYPE
    assert answer.document["ShardId"] == shard_id(0)
    at = {"StreamName": name, "ShardId": shard_id(0), "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": cbor2.CBORTag(1, int(time.time() * 1000) - 60000)}
    iterator = server.raw("GetShardIterator", cbor2.dumps(at, datetime_as_timestamp=True), CBOR_TYPE).document["ShardIterator"]
    answer = server.raw("GetRecords", {"ShardIterator": iterator}, CBOR_TYPE)
    # Tag 1 around whole milliseconds, as the SDKs read it; cbor2 would take them for seconds.
    assert re.search(rb"\x78\x1bApproximateArrivalTimestamp\xc1\x1b.{8}", answer.body, re.S)
    assert b"\x64Data\x42\x00\xff" in answer.body
    error = server.raw("DescribeStream", {"StreamName": "nope"}, CBOR_TYPE)
    assert error.status == 400 and error.document == {"__type": "ResourceNotFoundException", "message": not_found("nope")}
    assert error.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"


def test_cbor_indefinite_lengths_as_java_sends_them(server, kinesis):
    name = make_stream(kinesis).encode()
    record = b"\xbf\x64Data\x42hi\x6cPartitionKey\x61k\xff"
    body = b"\xbf\x67Records\x9f" + record + record + b"\xff\x6aStreamName" + bytes([0x78, len(name)]) + name + b"\xff"
    answer = server.raw("PutRecords", body, CBOR_TYPE)
    assert answer.status == 200 and answer.document["FailedRecordCount"] == 0 and len(answer.document["Records"]) == 2


def test_json_times_are_seconds_with_fraction(server, kinesis):
    name = make_stream(kinesis)
    body = server.raw("DescribeStreamSummary", {"StreamName": name}).body
    assert re.search(rb'"StreamCreationTimestamp":\d{10}\.\d{3}[,}]', body)


def test_empty_answers_and_headers(server, kinesis):
    answer = server.raw("CreateStream", {"StreamName": "headers", "ShardCount": 1})
    assert answer.status == 200 and answer.body == b"" and answer.headers["Content-Length"] == "0" and answer.headers["Content-Type"] == JSON_TYPE
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.headers["x-amzn-RequestId"])
    assert len(base64.b64decode(answer.headers["x-amz-id-2"])) >= 64 and answer.headers["Date"].endswith("GMT")
    kinesis.delete_stream(StreamName="headers")


def test_wire_errors(server):
    def check(answer, status, kind, body):
        assert (answer.status, answer.headers["Content-Type"], answer.body) == (status, kind, body)

    check(server.raw("ListStreams", b""), 400, JSON_TYPE, b'{"__type":"SerializationException"}')
    check(server.raw("Nope", b"{}"), 400, JSON_TYPE, b'{"__type":"UnknownOperationException"}')
    check(server.raw("ListStreams", b"{"), 400, JSON_TYPE, b'{"__type":"SerializationException"}')
    check(server.raw("ListStreams", b"{}", "text/plain"), 404, None, b"<UnknownOperationException/>\n")
    denied = b"<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n</AccessDeniedException>\n"
    check(server.get("/"), 403, None, denied)
    check(
        server.raw("ListStreams", b"{}", "application/json"),
        404,
        "application/json",
        b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}',
    )
    check(
        server.raw("ListStreams", b"{}", Authorization=None),
        400,
        JSON_TYPE,
        b'{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}',
    )
    check(
        server.raw("ListStreams", {"Limit": "x"}),
        400,
        JSON_TYPE,
        b'{"__type":"SerializationException","Message":"class java.lang.String can not be converted to an Integer"}',
    )
    check(
        server.raw("GetRecords", {"ShardIterator": "", "Limit": 0}),
        400,
        JSON_TYPE,
        b'{"__type":"ValidationException","message":"2 validation errors detected: Value \'0\' at \'limit\' failed to satisfy constraint: Member must '
        b"have value greater than or equal to 1; Value '' at 'shardIterator' failed to satisfy constraint: Member must have length greater than or "
        b'equal to 1"}',
    )
    later = server.raw("AddTagsToStream", {"StreamName": "x", "Tags": {"a": "b"}})
    assert later.document == {"__type": "InvalidArgumentException", "message": "AddTagsToStream is not there yet in penstock."}


def test_boto_signs_and_is_taken(kinesis):
    assert kinesis.list_streams()["ResponseMetadata"]["HTTPStatusCode"] == 200


# ---- Admin pages ------------------------------------------------------------------------------------------------------------


def test_admin_pages(server, kinesis):
    assert server.get("/healthz").document == {"status": "ok"}
    assert re.search(rb"^penstock_requests_total \d+$", server.get("/metrics").body, re.M)
    name = make_stream(kinesis, 2)
    consumer = make_consumer(kinesis, name)
    stream = subscribe(kinesis, consumer, shard=1)
    next(iter(stream))
    state = server.state()
    found = [s for s in state["streams"] if s["name"] == name]
    assert found[0]["status"] == "ACTIVE" and len(found[0]["shards"]) == 2 and found[0]["consumers"] == [{"name": "app", "status": "ACTIVE"}]
    subscription = [s for s in state["subscriptions"] if s["stream"] == name]
    assert len(subscription) == 1 and subscription[0]["shard"] == shard_id(1) and subscription[0]["consumer"] == "app"
    assert subscription[0]["state"] == "IDLE" and subscription[0]["reason"] and subscription[0]["lag_records"] == 0
    stream.close()
    wait_for(lambda: not [s for s in server.state()["subscriptions"] if s["stream"] == name])


def test_state_says_why_a_silent_subscription_is_silent(server, kinesis):
    name = make_stream(kinesis)
    consumer = make_consumer(kinesis, name)
    body = json.dumps({"ConsumerARN": consumer, "ShardId": shard_id(0), "StartingPosition": {"Type": "LATEST"}}).encode()
    with post_and_keep(server, "SubscribeToShard", body, JSON_TYPE) as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")

        def mine():
            return [s for s in server.state()["subscriptions"] if s["stream"] == name][0]

        def backed_up():
            kinesis.put_records(StreamName=name, Records=[{"PartitionKey": "k", "Data": bytes(MIB - 1)}] * 4)
            return mine()["state"] == "ROOM"

        wait_for(backed_up)
        found = mine()
        assert "socket is backed up" in found["reason"] and found["lag_records"] > 0 and found["age_ms"] >= 0
    wait_for(lambda: not [s for s in server.state()["subscriptions"] if s["stream"] == name])
