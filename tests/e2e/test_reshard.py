"""SplitShard, MergeShards, UpdateShardCount over the wire: results, texts, the end of a shard as clients must see it (R8, R9, R12), and a
stream that grows and shrinks under load while three pushed consumers and a poller follow."""

import base64
import time

import pytest
from h2_client import H2Client
from lineage import (LAST_KEY, Follower, Poller, Producer, check_answer, check_event, check_lineage, check_order, hash_range, is_open, list_shards,
                     read_shard, wait_active)
from penstock_client import ApiError, Client, Server, Subscription, data_of

ACCOUNT = "000000000000"
HALF = 1 << 127


@pytest.fixture(scope="module")
def penstock():
    with Server("--limits", "off", "--transition-ms", "0") as server:
        yield server


@pytest.fixture
def client(penstock):
    made = Client(penstock.port)
    yield made
    made.close()


@pytest.fixture
def name(request):
    return request.node.name.replace("[", "-").replace("]", "")[:100]


def shard_id(number):
    return f"shardId-{number:012d}"


def put(client, name, *texts, hash_key=None):
    more = {} if hash_key is None else {"ExplicitHashKey": str(hash_key)}
    return [client.call("PutRecord", StreamName=name, PartitionKey="k", Data=base64.b64encode(t.encode()).decode(), **more) for t in texts]


def split(client, name, number, at):
    client.call("SplitShard", StreamName=name, ShardToSplit=shard_id(number), NewStartingHashKey=str(at))
    wait_active(client, name)


def merge(client, name, number, adjacent):
    client.call("MergeShards", StreamName=name, ShardToMerge=shard_id(number), AdjacentShardToMerge=shard_id(adjacent))
    wait_active(client, name)


def update(client, name, target):
    answer = client.call("UpdateShardCount", StreamName=name, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
    wait_active(client, name)
    return answer


def refused(client, operation, **members):
    with pytest.raises(ApiError) as caught:
        client.call(operation, **members)
    assert caught.value.status == 400
    return caught.value.type, caught.value.message


def events_of(subscription):
    events = list(subscription)  # to the end of the body
    for event in events:
        check_event(event)
    return events


# ---- Results (4.5, 4.6) -----------------------------------------------------------------------------------------------


def test_split_closes_the_parent_and_makes_two(client, name):
    client.make_stream(name, 1)
    before = put(client, name, "a", "b")
    assert client.call("SplitShard", StreamName=name, ShardToSplit=shard_id(0), NewStartingHashKey=str(HALF)) == {}
    wait_active(client, name)
    shards = list_shards(client, name)
    check_lineage(shards)
    assert [(s["ShardId"], s.get("ParentShardId"), s.get("AdjacentParentShardId"), is_open(s), hash_range(s)) for s in shards] == [
        (shard_id(0), None, None, False, (0, LAST_KEY)),
        (shard_id(1), shard_id(0), None, True, (0, HALF - 1)),
        (shard_id(2), shard_id(0), None, True, (HALF, LAST_KEY)),
    ]
    assert client.call("DescribeStream", StreamName=name)["StreamDescription"]["Shards"] == shards
    assert client.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]["OpenShardCount"] == 2
    low, high = put(client, name, "c", hash_key=0)[0], put(client, name, "d", hash_key=LAST_KEY)[0]
    assert (low["ShardId"], high["ShardId"]) == (shard_id(1), shard_id(2))
    assert int(before[1]["SequenceNumber"]) < int(shards[0]["SequenceNumberRange"]["EndingSequenceNumber"]) < int(low["SequenceNumber"])
    assert [data_of(r) for r in read_shard(client, name, shard_id(0))] == [b"a", b"b"]
    record = read_shard(client, name, shard_id(1))[0]
    assert record["ApproximateArrivalTimestamp"] <= time.time(), "only the number's second runs ahead of the clock"


def test_merge_makes_one_of_two(client, name):
    client.make_stream(name, 3)
    merge(client, name, 0, 1)
    shards = list_shards(client, name)
    check_lineage(shards)
    child = shards[3]
    assert (child["ShardId"], child["ParentShardId"], child["AdjacentParentShardId"]) == (shard_id(3), shard_id(0), shard_id(1))
    assert hash_range(child) == (0, hash_range(shards[1])[1])
    assert put(client, name, "x", hash_key=5)[0]["ShardId"] == shard_id(3)


@pytest.mark.parametrize("before, after, total", [(2, 4, 6), (4, 2, 6), (4, 3, 11), (4, 5, 15), (1, 8, 15), (5, 5, 5)])
def test_update_shard_count_walks_the_boundaries(client, name, before, after, total):
    arn = client.make_stream(name, before)
    assert update(client, name, after) == {"StreamName": name, "StreamARN": arn, "CurrentShardCount": before, "TargetShardCount": after}
    shards = list_shards(client, name)
    check_lineage(shards)
    ranges = sorted(hash_range(s) for s in shards if is_open(s))
    step = (1 << 128) // after
    assert [first for first, _ in ranges] == [i * step for i in range(after)]
    assert len(shards) == total
    if (before, after) == (4, 3):
        assert [s["ShardId"] for s in shards if is_open(s)] == [shard_id(6), shard_id(9), shard_id(10)], "as AWS was seen to number them"
    for shard in shards:
        read_shard(client, name, shard["ShardId"])  # R9 on each, intermediate ones too


def test_shard_numbers_are_never_used_again(client, name):
    client.make_stream(name, 1)
    for round_ in range(3):
        split(client, name, 3 * round_, HALF)
        merge(client, name, 3 * round_ + 1, 3 * round_ + 2)
    assert [s["ShardId"] for s in list_shards(client, name)] == [shard_id(i) for i in range(10)]


def test_updating_is_seen_and_refuses_another(name):
    with Server("--limits", "off", "--transition-ms", "300") as server:
        client = Client(server.port)
        client.make_stream(name, 2)
        client.call("SplitShard", StreamName=name, ShardToSplit=shard_id(0), NewStartingHashKey="7")
        assert client.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] == "UPDATING"
        assert len(list_shards(client, name)) == 2, "no child before its parent is closed"
        text = f"Stream {name} under account {ACCOUNT} not ACTIVE, instead in state UPDATING"
        assert refused(client, "SplitShard", StreamName=name, ShardToSplit=shard_id(1), NewStartingHashKey="7") == ("ResourceInUseException", text)
        assert refused(client, "MergeShards", StreamName=name, ShardToMerge="0", AdjacentShardToMerge="1") == ("ResourceInUseException", text)
        assert refused(client, "UpdateShardCount", StreamName=name, TargetShardCount=4, ScalingType="UNIFORM_SCALING") == (
            "ResourceInUseException", text)
        assert put(client, name, "x", hash_key=0)[0]["ShardId"] == shard_id(0), "until it is done the parent takes the records"
        wait_active(client, name)
        check_lineage(list_shards(client, name))
        client.close()


def test_a_restart_goes_on_with_the_update(tmp_path):
    server = Server("--limits", "off", "--transition-ms", "60000", data_dir=tmp_path)
    client = Client(server.port)
    client.call("CreateStream", StreamName="s", ShardCount=2)
    client.close()
    server.stop()
    server = Server("--limits", "off", "--transition-ms", "0", data_dir=tmp_path)
    client = Client(server.port)
    wait_active(client, "s")
    put(client, "s", "a", hash_key=0)
    client.close()
    server.stop()
    server = Server("--limits", "off", "--transition-ms", "60000", data_dir=tmp_path)
    client = Client(server.port)
    client.call("UpdateShardCount", StreamName="s", TargetShardCount=3, ScalingType="UNIFORM_SCALING")
    put(client, "s", "b", hash_key=0)
    client.close()
    server.kill()
    server = Server("--limits", "off", "--transition-ms", "0", data_dir=tmp_path)
    client = Client(server.port)
    assert wait_active(client, "s")["OpenShardCount"] == 3
    check_lineage(list_shards(client, "s"))
    assert [data_of(r) for r in read_shard(client, "s", shard_id(0))] == [b"a", b"b"]
    client.close()
    server.stop()


def test_a_stream_can_be_deleted_while_it_is_updated(name):
    with Server("--limits", "off", "--transition-ms", "100") as server:
        client = Client(server.port)
        client.make_stream(name, 1)
        client.call("SplitShard", StreamName=name, ShardToSplit=shard_id(0), NewStartingHashKey="7")
        client.call("DeleteStream", StreamName=name)
        while name in client.call("ListStreams")["StreamNames"]:
            time.sleep(0.01)
        client.make_stream(name, 1)
        assert len(list_shards(client, name)) == 1
        client.close()


# ---- Refusals (3.10, 3.11) --------------------------------------------------------------------------------------------


def test_split_is_refused_in_order(client, name):
    for given in ("2147483648", "ABKLFD8", "2.14E4"):
        assert refused(client, "SplitShard", StreamName="nope", ShardToSplit=given, NewStartingHashKey="7") == (
            "ResourceNotFoundException", f"Could not find shard {given} in stream nope under account {ACCOUNT}.")
    assert refused(client, "SplitShard", StreamName="nope", ShardToSplit="0", NewStartingHashKey="7") == (
        "ResourceNotFoundException", f"Stream nope under account {ACCOUNT} not found.")
    client.make_stream(name, 2)
    assert refused(client, "SplitShard", StreamName=name, ShardToSplit="abc-5", NewStartingHashKey="0") == (
        "ResourceNotFoundException", f"Could not find shard {shard_id(5)} in stream {name} under account {ACCOUNT}.")
    for key in ("0", "1", str(HALF - 1), str(LAST_KEY), "9" * 39):
        assert refused(client, "SplitShard", StreamName=name, ShardToSplit="0", NewStartingHashKey=key) == (
            "InvalidArgumentException",
            f"NewStartingHashKey {key} used in SplitShard() on shard {shard_id(0)} in stream {name} under account {ACCOUNT} is not both greater than "
            f"one plus the shard's StartingHashKey 0 and less than the shard's EndingHashKey {HALF - 1}.")
    split(client, name, 0, 2)
    closed = (f"Shard {shard_id(0)} in stream {name} under account {ACCOUNT} has already been merged or split, and thus is not eligible for merging or "
              "splitting.")
    assert refused(client, "SplitShard", StreamName=name, ShardToSplit="0", NewStartingHashKey="7") == ("InvalidArgumentException", closed)
    assert refused(client, "MergeShards", StreamName=name, ShardToMerge="0", AdjacentShardToMerge="1") == ("InvalidArgumentException", closed)
    assert refused(client, "SplitShard")[0] == "ValidationException"
    assert "'newStartingHashKey' failed" in refused(client, "SplitShard", StreamName=name, ShardToSplit="0", NewStartingHashKey="007")[1]


def test_merge_is_refused_in_order(client, name):
    client.make_stream(name, 3)
    assert refused(client, "MergeShards", StreamName="nope", ShardToMerge="0", AdjacentShardToMerge="x") == (
        "ResourceNotFoundException", f"Could not find shard x in stream nope under account {ACCOUNT}.")
    assert refused(client, "MergeShards", StreamName=name, ShardToMerge="0", AdjacentShardToMerge="9") == (
        "ResourceNotFoundException", f"Could not find shard {shard_id(9)} in stream {name} under account {ACCOUNT}.")
    for lower, upper in ((0, 2), (1, 0), (1, 1), (2, 0)):
        assert refused(client, "MergeShards", StreamName=name, ShardToMerge=shard_id(lower), AdjacentShardToMerge=shard_id(upper)) == (
            "InvalidArgumentException",
            f"Shards {shard_id(lower)} and {shard_id(upper)} in stream {name} under account {ACCOUNT} are not an adjacent pair of shards eligible for "
            "merging")


def test_on_demand_is_refused(client, name):
    client.call("CreateStream", StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    wait_active(client, name)
    text = ("ValidationException", f"Request is invalid. Stream {name} under account {ACCOUNT} is in On-Demand mode.")
    assert refused(client, "SplitShard", StreamName=name, ShardToSplit="0", NewStartingHashKey="7") == text
    assert refused(client, "MergeShards", StreamName=name, ShardToMerge="0", AdjacentShardToMerge="1") == text
    assert refused(client, "UpdateShardCount", StreamName=name, TargetShardCount=4, ScalingType="UNIFORM_SCALING") == text


def test_open_and_closed_shards_have_a_limit(tmp_path):
    """penstock's own: nothing of AWS's keeps the closed ones from growing without end."""
    with Server("--transition-ms", "0", "--limits", "off", "--limit", "all_shards=4", data_dir=tmp_path) as server:
        client = Client(server.port)
        client.make_stream("s", 1)
        split(client, "s", 0, HALF)
        merge(client, "s", 1, 2)
        count = "Current count: 4. Limit: 4. Number of shards that this request would add: "
        for text, operation, more in (
            ("2", "SplitShard", {"ShardToSplit": "3", "NewStartingHashKey": str(HALF)}),
            ("2", "UpdateShardCount", {"TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}),
        ):
            assert refused(client, operation, StreamName="s", **more) == (
                "LimitExceededException",
                f"This request would exceed the limit on open and closed shards of all streams under account {ACCOUNT}. {count}{text}. "
                "A closed shard leaves when its records have passed retention.")
        assert client.call("PutRecord", StreamName="s", PartitionKey="k", Data="Z29lcyBvbg==")["ShardId"] == shard_id(3)


def test_update_shard_count_keeps_awss_limits(tmp_path):
    options = ("--transition-ms", "0", "--limits", "aws")
    server = Server(*options, data_dir=tmp_path)
    client = Client(server.port)
    client.make_stream("s", 3)

    def target(n):
        return {"StreamName": "s", "TargetShardCount": n, "ScalingType": "UNIFORM_SCALING"}

    assert refused(client, "UpdateShardCount", **target(10001)) == (
        "LimitExceededException",
        "Target shard count or number of open shards cannot be greater than 10000. Current open shard count: 3, Target shard count: 10001")
    assert refused(client, "UpdateShardCount", **target(7)) == (
        "LimitExceededException",
        "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 3, Target shard count: 7")
    assert refused(client, "UpdateShardCount", **target(1)) == (
        "LimitExceededException",
        "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: 3, Target shard count: 1")
    for _ in range(5):
        update(client, "s", 6)
        update(client, "s", 3)
        time.sleep(0.3)  # 10 calls a second are a limit too
    client.close()
    server.stop()
    server = Server(*options, data_dir=tmp_path)
    client = Client(server.port)
    kind, text = refused(client, "UpdateShardCount", **target(4))
    assert kind == "LimitExceededException" and "24 hour" in text, "the tenth of a day is the last, also after a restart"
    client.close()
    server.stop()


# ---- The end of a shard (4.8, 5.7) ------------------------------------------------------------------------------------


def test_R8_a_pushed_consumer_sees_the_last_records_then_the_children_then_the_end(penstock, client, name):
    consumer = client.register(client.make_stream(name, 1), "c")
    put(client, name, "a")
    subscription = Subscription(penstock.port, consumer, shard_id(0), Type="TRIM_HORIZON")
    events = iter(subscription)
    first = next(events)
    put(client, name, "b")
    split(client, name, 0, HALF)
    put(client, name, "c")
    events = [first, *events]
    for event in events:
        check_event(event)
    assert [data_of(r) for e in events for r in e["Records"]] == [b"a", b"b"]
    assert all("ContinuationSequenceNumber" in e and not e.get("ChildShards") for e in events[:-1])
    last = events[-1]
    assert "ContinuationSequenceNumber" not in last and last["Records"] == []
    assert last["ChildShards"] == [
        {"ShardId": shard_id(1), "ParentShards": [shard_id(0)], "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(HALF - 1)}},
        {"ShardId": shard_id(2), "ParentShards": [shard_id(0)], "HashKeyRange": {"StartingHashKey": str(HALF), "EndingHashKey": str(LAST_KEY)}},
    ]


def test_R8_over_http2_the_stream_ends_cleanly(penstock, client, name):
    consumer = client.register(client.make_stream(name, 1), "c")
    http2 = H2Client(penstock.port)
    stream = http2.subscribe(consumer, shard_id(0), Type="LATEST")
    http2.until(lambda: stream in http2.status)
    split(client, name, 0, HALF)
    http2.until(lambda: stream in http2.ended)
    assert stream not in http2.reset
    assert http2.messages(stream)[-1][0][":event-type"] == "SubscribeToShardEvent"
    http2.close()


def test_R8_both_parents_of_a_merge_see_the_same_child_with_both(penstock, client, name):
    consumer = client.register(client.make_stream(name, 2), "c")
    subscriptions = [Subscription(penstock.port, consumer, shard_id(i), Type="LATEST") for i in (0, 1)]
    streams = [iter(s) for s in subscriptions]
    for stream in streams:
        next(stream)
    merge(client, name, 0, 1)
    ends = [list(stream)[-1] for stream in streams]
    child = {"ShardId": shard_id(2), "ParentShards": [shard_id(0), shard_id(1)],
             "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(LAST_KEY)}}
    assert [e["ChildShards"] for e in ends] == [[child], [child]]
    for number in (0, 1):
        iterator = client.call("GetShardIterator", StreamName=name, ShardId=shard_id(number), ShardIteratorType="LATEST")["ShardIterator"]
        assert client.call("GetRecords", ShardIterator=iterator)["ChildShards"] == [child]


def test_R9_get_records_ends_with_the_last_record_and_not_before(client, name):
    client.make_stream(name, 1)
    put(client, name, *"abcde")
    iterator = client.call("GetShardIterator", StreamName=name, ShardId=shard_id(0), ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    split(client, name, 0, HALF)
    seen = []
    while iterator:
        answer = client.call("GetRecords", ShardIterator=iterator, Limit=2)
        check_answer(answer)
        seen += [data_of(r) for r in answer["Records"]]
        iterator = answer.get("NextShardIterator")
        assert iterator or len(seen) == 5
    assert seen == [b"a", b"b", b"c", b"d", b"e"]
    assert {c["ShardId"] for c in answer["ChildShards"]} == {shard_id(1), shard_id(2)}


@pytest.mark.parametrize("kind", ["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"])
@pytest.mark.parametrize("empty", [True, False])
def test_R9_any_position_on_a_closed_shard(penstock, client, name, kind, empty):
    """The KCL's clean-up asks a finished shard by LATEST; the ending number itself is a position too."""
    consumer = client.register(client.make_stream(name, 1), "c")
    texts = [] if empty else ["a", "b"]
    put(client, name, *texts)
    split(client, name, 0, HALF)
    ending = list_shards(client, name)[0]["SequenceNumberRange"]["EndingSequenceNumber"]
    expect = texts if kind == "TRIM_HORIZON" else []
    iterator_more, push_more = {}, {}
    if kind == "AT_TIMESTAMP":
        iterator_more = push_more = {"Timestamp": time.time()}
    elif "SEQUENCE" in kind:
        iterator_more, push_more = {"StartingSequenceNumber": ending}, {"SequenceNumber": ending}
    answer = client.call("GetShardIterator", StreamName=name, ShardId=shard_id(0), ShardIteratorType=kind, **iterator_more)
    answer = client.call("GetRecords", ShardIterator=answer["ShardIterator"])
    check_answer(answer)
    assert [data_of(r).decode() for r in answer["Records"]] == expect
    assert "NextShardIterator" not in answer and len(answer["ChildShards"]) == 2
    events = events_of(Subscription(penstock.port, consumer, shard_id(0), Type=kind, **push_more))
    assert [data_of(r).decode() for e in events for r in e["Records"]] == expect
    assert len(events[-1]["ChildShards"]) == 2
    if not expect:
        assert len(events) == 1, "initial-response, that one event, the end"


def test_R12_filters_cover_the_hash_range_whatever_generation(client, name):
    client.make_stream(name, 2)
    update(client, name, 4)
    between = time.time()
    time.sleep(0.01)
    update(client, name, 3)
    for shard_filter in ({"Type": "AT_LATEST"}, {"Type": "AT_TRIM_HORIZON"}, {"Type": "AT_TIMESTAMP", "Timestamp": between},
                         {"Type": "AT_TIMESTAMP", "Timestamp": time.time()}):
        ranges = sorted(hash_range(s) for s in list_shards(client, name, ShardFilter=shard_filter))
        assert ranges[0][0] == 0 and ranges[-1][1] == LAST_KEY and all(a[1] + 1 == b[0] for a, b in zip(ranges, ranges[1:])), shard_filter
    assert len(list_shards(client, name, ShardFilter={"Type": "FROM_TRIM_HORIZON"})) == len(list_shards(client, name))


@pytest.mark.clock
def test_an_idle_stream_tells_all_its_subscribers_at_once(penstock, client, name):
    arn = client.make_stream(name, 2)
    consumers = [client.register(arn, f"c{i}") for i in range(3)]
    streams = [iter(Subscription(penstock.port, consumer, shard_id(i), Type="LATEST")) for consumer in consumers for i in (0, 1)]
    for stream in streams:
        next(stream)
    begin = time.monotonic()
    update(client, name, 3)
    ends = [list(stream)[-1] for stream in streams]
    took = time.monotonic() - begin
    assert took < 2, "the end is pushed, not found at the next heartbeat"
    assert all(e["ChildShards"] for e in ends)


# ---- Under load -------------------------------------------------------------------------------------------------------


def test_grow_and_shrink_under_load(name):
    """Split, merge, 1 -> 8 -> 2 with 4 producers; 3 pushed consumers and 1 poller follow: each record once to each, in order per key."""
    with Server("--limits", "off", "--transition-ms", "50", "--heartbeat-ms", "200") as server:
        client = Client(server.port)
        arn = client.make_stream(name, 1)
        readers = [Follower(server.port, name, client.register(arn, f"c{i}")) for i in range(3)] + [Poller(server.port, name)]
        for reader in readers:
            reader.start(list_shards(client, name))
        producers = [Producer(server.port, name, i) for i in range(4)]
        for producer in producers:
            producer.start()

        def pause():
            time.sleep(0.5)
            check_lineage(list_shards(client, name))

        pause()
        split(client, name, 0, HALF)
        pause()
        merge(client, name, 1, 2)
        pause()
        update(client, name, 8)
        pause()
        update(client, name, 2)
        pause()
        for producer in producers:
            producer.stopping = True
        for producer in producers:
            producer.join(timeout=30)
            assert not producer.errors, "a put was refused or lost its connection"
        acknowledged = sorted(a for p in producers for a in p.acknowledged)
        end = time.monotonic() + 30
        while any(len(r.seen) < len(acknowledged) and not r.errors for r in readers) and time.monotonic() < end:
            time.sleep(0.02)
        for reader in readers:
            reader.stop()
            check_order(reader)
            assert sorted(reader.seen) == acknowledged, f"{len(reader.seen)} seen, {len(acknowledged)} acknowledged"
        shards = list_shards(client, name)
        slowest = max(p.slowest for p in producers)
        print(f"1 -> 2 -> 1 -> 8 -> 2 shards under load: {len(acknowledged)} records, each once and in order to 3 pushed consumers and 1 poller; "
              f"{len(shards)} shards in the end, {sum(map(is_open, shards))} open; slowest put {slowest * 1000:.0f} ms")
        client.close()
