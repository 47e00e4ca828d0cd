"""ContinuationSequenceNumber while a shard is idle: it rises with each empty event, and resuming from any of them, AT or AFTER, here and
after a restart or a split, gives exactly what comes next."""

import base64
import time

from penstock_client import Client, Server, Subscription

OPTIONS = ("--limits", "off", "--transition-ms", "5", "--heartbeat-ms", "50")
SHARD = "shardId-000000000000"


def put(client, text):
    return client.call("PutRecord", StreamName="s", PartitionKey="k", Data=base64.b64encode(text.encode()).decode())["SequenceNumber"]


def texts(event):
    return [base64.b64decode(record["Data"]).decode() for record in event["Records"]]


def idle_positions(subscription, n):
    """The continuations of the next n empty events."""
    return [event["ContinuationSequenceNumber"] for event, _ in zip(subscription, range(n)) if not event["Records"]]


def first_texts(port, consumer, kind, number):
    """The records of the first event that has any."""
    subscription = Subscription(port, consumer, SHARD, Type=kind, SequenceNumber=number)
    found = next(texts(event) for event in subscription if event["Records"])
    subscription.close()
    return found


def check_resumed(server, consumer, numbers, expected):
    for number in numbers:
        for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            assert first_texts(server.port, consumer, kind, number)[:1] == [expected], (kind, number)


def test_an_idle_shard_gives_positions_that_rise(tmp_path):
    with Server(*OPTIONS, data_dir=tmp_path) as server:
        client = Client(server.port)
        consumer = client.register(client.make_stream("s"), "c")
        before = Subscription(server.port, consumer, SHARD, Type="TRIM_HORIZON")
        empty = idle_positions(before, 3)
        before.close()
        first = put(client, "first")
        behind = Subscription(server.port, consumer, SHARD, Type="TRIM_HORIZON")
        event = next(iter(behind))
        assert texts(event) == ["first"], "records come in the first event"
        assert event["ContinuationSequenceNumber"] == first
        idle = idle_positions(behind, 4)
        behind.close()
        everything = [*empty, first, *idle]
        assert [int(number) for number in everything] == sorted({int(number) for number in everything}), "each above the last"
        second = put(client, "second")
        assert int(second) > int(idle[-1])
        check_resumed(server, consumer, empty, "first")
        check_resumed(server, consumer, idle, "second")
        client.close()
    with Server(*OPTIONS, data_dir=tmp_path) as server:
        client = Client(server.port)
        check_resumed(server, consumer, [empty[0], empty[-1]], "first")
        check_resumed(server, consumer, [idle[0], idle[-1]], "second")
        # A resumed subscription keeps on from the position that it was given.
        resumed = Subscription(server.port, consumer, SHARD, Type="AFTER_SEQUENCE_NUMBER", SequenceNumber=second)
        later = idle_positions(resumed, 2)
        resumed.close()
        again = Subscription(server.port, consumer, SHARD, Type="AT_SEQUENCE_NUMBER", SequenceNumber=later[-1])
        assert int(idle_positions(again, 1)[0]) > int(later[-1])
        again.close()
        # A closed shard: what lies behind the position is its end.
        client.call("SplitShard", StreamName="s", ShardToSplit=SHARD, NewStartingHashKey=str(2**127))
        for number in (later[0], later[-1]):
            ended = Subscription(server.port, consumer, SHARD, Type="AT_SEQUENCE_NUMBER", SequenceNumber=number)
            last = list(ended)[-1]
            ended.close()
            assert not last["Records"] and len(last["ChildShards"]) == 2
        check_resumed(server, consumer, [idle[-1]], "second")
        client.close()


def test_records_that_wait_come_first_and_lag_no_more_than_their_age():
    with Server(*OPTIONS) as server:
        client = Client(server.port)
        begin = time.monotonic()
        consumer = client.register(client.make_stream("s"), "c")
        put(client, "one")
        put(client, "two")
        subscription = Subscription(server.port, consumer, SHARD, Type="TRIM_HORIZON")
        events = [event for event, _ in zip(subscription, range(2))]
        subscription.close()
        # A shard's first second lies 2 s before its stream: that is no record's age.
        age_ms = (time.monotonic() - begin) * 1000 + 1
        assert texts(events[0])[0] == "one"
        assert all(event["MillisBehindLatest"] <= age_ms for event in events)
        assert events[-1]["MillisBehindLatest"] == 0, "at the tip"
        client.close()
