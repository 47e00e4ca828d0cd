"""Consumers that follow a stream through splits and merges the way the KCL does, and the rules that every answer must keep on the way.

A Follower is pushed to, a Poller asks; both start with the shards that have no parents, take a child up once all of its parents are at
their end, and keep what they saw in their own order. Both survive a server that is killed: they resume after the last position they were told.
"""

import base64
import http.client
import random
import threading
import time

from penstock_client import ApiError, Client, Subscription, data_of

GONE = (OSError, http.client.HTTPException, ValueError)
LAST_KEY = (1 << 128) - 1


def check_children(position, children):
    """What the KCL demands of every event and answer (DataRetrievalUtil.isValidResult, and ShutdownTask for a merge)."""
    assert (position is None) == bool(children), f"position {position} with children {children}: the KCL would reject it for ever"
    for child in children:
        assert child["ParentShards"] and set(child) == {"ShardId", "ParentShards", "HashKeyRange"}, child
        assert set(child["HashKeyRange"]) == {"StartingHashKey", "EndingHashKey"}, child
    if len(children) == 1:
        assert len(children[0]["ParentShards"]) == 2, f"one child that is no merge: {children}"


def check_event(event):
    check_children(event.get("ContinuationSequenceNumber"), event.get("ChildShards", []))
    assert isinstance(event["MillisBehindLatest"], int)


def check_answer(answer):
    check_children(answer.get("NextShardIterator"), answer.get("ChildShards", []))


def list_shards(client, name, **more):
    shards, answer = [], client.call("ListShards", StreamName=name, **more)
    while True:
        shards += answer["Shards"]
        if "NextToken" not in answer:
            return shards
        answer = client.call("ListShards", NextToken=answer["NextToken"])


def is_open(shard):
    return "EndingSequenceNumber" not in shard["SequenceNumberRange"]


def hash_range(shard):
    return int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])


def check_lineage(shards):
    """The open shards cover every hash key exactly once; a child is listed only with its parents closed, and its numbers lie above theirs."""
    expect = 0
    for first, last in sorted(hash_range(shard) for shard in shards if is_open(shard)):
        assert first == expect and last > first, f"the hash ranges of open shards leave a hole or overlap at {expect}"
        expect = last + 1
    assert expect == LAST_KEY + 1, f"the open shards end at {expect}"
    by_id = {shard["ShardId"]: shard for shard in shards}
    assert len(by_id) == len(shards) and [s["ShardId"] for s in shards] == sorted(by_id)
    for shard in shards:
        parents = [shard[key] for key in ("ParentShardId", "AdjacentParentShardId") if key in shard]
        for parent in parents:
            assert parent < shard["ShardId"] and not is_open(by_id[parent]), f"{shard['ShardId']} is listed while {parent} is open"
            end = int(by_id[parent]["SequenceNumberRange"]["EndingSequenceNumber"])
            assert end < int(shard["SequenceNumberRange"]["StartingSequenceNumber"]), f"{shard['ShardId']} begins below the end of {parent}"


def wait_active(client, name, seconds=30):
    end = time.monotonic() + seconds
    while True:
        summary = client.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "ACTIVE":
            return summary
        assert time.monotonic() < end, f"{name} stays {summary['StreamStatus']}"
        time.sleep(0.002)


def read_shard(client, name, shard):
    """Every record of a shard from TRIM_HORIZON to its end or tip, each answer checked."""
    iterator = client.call("GetShardIterator", StreamName=name, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    records = []
    while iterator:
        answer = client.call("GetRecords", ShardIterator=iterator)
        check_answer(answer)
        records += answer["Records"]
        iterator = answer.get("NextShardIterator")
        if answer["MillisBehindLatest"] == 0 and not answer["Records"]:
            break
    return records


class Reader:
    """What Followers and Pollers share: one thread per shard, children behind their parents. `port` may change at any time."""

    def __init__(self, port, name):
        self.port, self.name = port, name
        self.lock = threading.Lock()
        self.seen = []  # (shard, sequence number, text), in the order in which this consumer was given them
        self.ended, self.started = {}, set()  # ended: shard -> its ChildShards
        self.errors, self.threads = [], []
        self.stopping = False

    def start(self, shards):
        for shard in shards:
            if "ParentShardId" not in shard:
                self.take_up(shard["ShardId"])

    def take_up(self, shard):
        self.started.add(shard)
        thread = threading.Thread(target=self.run, args=(shard,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def run(self, shard):
        try:
            self.follow(shard)
        except Exception as error:  # pylint: disable=broad-except
            if not self.stopping:
                self.errors.append(f"{type(self).__name__} {shard}: {type(error).__name__} {error}")

    def give(self, shard, records):
        with self.lock:
            self.seen += [(shard, record["SequenceNumber"], data_of(record).decode()) for record in records]

    def end(self, shard, children):
        with self.lock:
            self.ended[shard] = children
            for child in children:
                if child["ShardId"] not in self.started and all(parent in self.ended for parent in child["ParentShards"]):
                    self.take_up(child["ShardId"])

    def stop(self):
        self.stopping = True
        for thread in list(self.threads):
            thread.join(timeout=20)
        assert not self.errors, self.errors


class Follower(Reader):
    def __init__(self, port, name, consumer):
        super().__init__(port, name)
        self.consumer = consumer

    def follow(self, shard):
        position, children = {"Type": "TRIM_HORIZON"}, None
        while children is None and not self.stopping:
            try:
                subscription = Subscription(self.port, self.consumer, shard, timeout=20, **position)
            except ApiError as error:
                if error.type != "ResourceInUseException" and error.status < 500:
                    raise
                time.sleep(0.01)
                continue
            except GONE:
                time.sleep(0.005)
                continue
            try:
                for event in subscription:
                    assert children is None, "an event behind the end of the shard"
                    check_event(event)
                    self.give(shard, event["Records"])
                    if "ContinuationSequenceNumber" in event:
                        position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": event["ContinuationSequenceNumber"]}
                    else:
                        children = event["ChildShards"]
                    if self.stopping:
                        break
            except GONE:
                pass
            finally:
                subscription.close()
        if children is not None:
            self.end(shard, children)


class Poller(Reader):
    def follow(self, shard):
        client, port, iterator, last = None, None, None, None
        while not self.stopping:
            try:
                if client is None or port != self.port:
                    port, iterator = self.port, iterator if client else None
                    client = Client(port, timeout=20)
                if iterator is None:
                    at = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last} if last else {"ShardIteratorType": "TRIM_HORIZON"}
                    iterator = client.call("GetShardIterator", StreamName=self.name, ShardId=shard, **at)["ShardIterator"]
                answer = client.call("GetRecords", ShardIterator=iterator)
            except ApiError as error:
                if error.status < 500:
                    raise
                time.sleep(0.01)
                continue
            except GONE:
                if client:
                    client.close()
                client, iterator = None, None
                time.sleep(0.005)
                continue
            check_answer(answer)
            self.give(shard, answer["Records"])
            if answer["Records"]:
                last = answer["Records"][-1]["SequenceNumber"]
            if "NextShardIterator" not in answer:
                self.end(shard, answer["ChildShards"])
                break
            iterator = answer["NextShardIterator"]
            if not answer["Records"]:
                time.sleep(0.02)
        if client:
            client.close()


class Producer(threading.Thread):
    """Puts records `key:count` of its own keys, all over the hash range; each call is answered before the next. `acknowledged` has what was."""

    def __init__(self, port, name, number, keys=5, seed=0):
        super().__init__(daemon=True)
        self.port, self.name = port, name
        self.keys = {f"p{number}-{i}": 0 for i in range(keys)}
        self.rng = random.Random(seed * 1000 + number)
        self.acknowledged, self.errors, self.slowest = [], [], 0.0
        self.stopping = False

    def batch(self):
        texts = []
        for _ in range(self.rng.choice((1, 1, 3, 20))):
            key = self.rng.choice(list(self.keys))
            self.keys[key] += 1
            texts.append((key, f"{key}:{self.keys[key]}:" + "x" * self.rng.randrange(0, 500)))
        return texts

    def put(self, client, texts):
        records = [{"Data": base64.b64encode(text.encode()).decode(), "PartitionKey": key} for key, text in texts]
        begin = time.monotonic()
        answer = client.call("PutRecords", StreamName=self.name, Records=records)
        self.slowest = max(self.slowest, time.monotonic() - begin)
        for (_, text), result in zip(texts, answer["Records"]):
            if "SequenceNumber" in result:
                self.acknowledged.append((result["ShardId"], result["SequenceNumber"], text))
            else:
                self.errors.append(result)

    def run(self):
        client, port = None, None
        while not self.stopping:
            if client is None or port != self.port:
                port = self.port
                client = Client(port, timeout=20)
            try:
                self.put(client, self.batch())
            except ApiError as error:
                self.errors.append(str(error))
            except GONE as error:
                self.errors.append(str(error))
                client.close()
                client = None
                time.sleep(0.005)


def check_order(reader):
    """Each record once, and per key in the order of its counts."""
    counts, doubled = {}, 0
    for _, _, text in reader.seen:
        key, count, _ = text.split(":", 2)
        assert int(count) > counts.get(key, 0), f"{key}: {count} behind {counts.get(key)}"
        counts[key] = int(count)
    numbers = [(shard, number) for shard, number, _ in reader.seen]
    doubled = len(numbers) - len(set(numbers))
    assert doubled == 0, f"{doubled} records twice"
