"""kill -9 under load, again and again on the same data directory.

8 producers and 4 subscribers run; the server is killed at a random moment and started again. At the end the log is the judge:
nothing acknowledged is lost, changed, doubled or out of order; nothing was pushed that is not in it; and what each subscriber saw, over
all its resumptions AFTER its last ContinuationSequenceNumber, is one unbroken piece of it.

PENSTOCK_KILLS (100) kills; PENSTOCK_SEED repeats a run's random choices.
"""

import base64
import http.client
import os
import random
import threading
import time

from penstock_client import ApiError, Client, Server, Subscription, data_of

KILLS = int(os.environ.get("PENSTOCK_KILLS", "100"))
SEED = int(os.environ.get("PENSTOCK_SEED", str(random.randrange(1 << 32))))
PRODUCERS, CONSUMERS, SHARDS = 8, 2, 2  # 2 consumers x 2 shards: 4 subscribers
STREAM = "crash"
GONE = (OSError, http.client.HTTPException, ValueError, AssertionError)


class Producer(threading.Thread):
    """Puts records with text that names it, one or a few at a time; remembers what was acknowledged."""

    def __init__(self, number, acknowledged):
        super().__init__(daemon=True)
        self.number, self.acknowledged, self.count = number, acknowledged, 0
        self.rng = random.Random(SEED * 100 + number)
        self.port = None
        self.stopping = False

    def records(self):
        made = []
        for _ in range(self.rng.choice((1, 1, 1, 5, 40))):
            self.count += 1
            text = f"{self.number}:{self.count}:" + "x" * self.rng.randrange(0, 2000)
            made.append(text)
        return made

    def put(self, client, texts):
        records = [{"Data": base64.b64encode(t.encode()).decode(), "PartitionKey": t.split(":x")[0]} for t in texts]
        answer = client.call("PutRecords", StreamName=STREAM, Records=records)
        for text, result in zip(texts, answer["Records"]):
            if "SequenceNumber" in result:
                self.acknowledged.append((result["ShardId"], result["SequenceNumber"], text))

    def run(self):
        client, port = None, None
        while not self.stopping:
            if client is None or port != self.port:
                port = self.port
                client = Client(port, timeout=5)
            try:
                self.put(client, self.records())
            except ApiError as error:
                assert error.status >= 500, error
            except GONE:
                client.close()
                client = None
                time.sleep(0.005)


class Subscriber(threading.Thread):
    """Follows one shard for one consumer; after each kill it resumes after the last ContinuationSequenceNumber."""

    def __init__(self, consumer, shard):
        super().__init__(daemon=True)
        self.consumer, self.shard, self.seen, self.continuation = consumer, shard, [], None
        self.port = None
        self.stopping = False
        self.target = None

    def position(self):
        if self.continuation:
            return {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self.continuation}
        return {"Type": "TRIM_HORIZON"}

    def follow(self):
        subscription = Subscription(self.port, self.consumer, self.shard, timeout=5, **self.position())
        try:
            for event in subscription:
                self.seen += [(r["SequenceNumber"], data_of(r).decode()) for r in event["Records"]]
                self.continuation = event["ContinuationSequenceNumber"]
                if self.stopping:
                    return
        finally:
            subscription.close()

    def run(self):
        while not self.stopping:
            try:
                self.follow()
            except (ApiError, Subscription.StreamException, *GONE):
                time.sleep(0.005)


def judge(server, acknowledged, subscribers):
    client = Client(server.port)
    log = {shard: [(r["SequenceNumber"], data_of(r).decode()) for r in client.read_all(STREAM, shard)] for shard in client.shard_ids(STREAM)}
    for shard, records in log.items():
        numbers = [int(number) for number, _ in records]
        assert numbers == sorted(set(numbers)), f"{shard}: out of order or a number twice"
        texts = [text for _, text in records]
        assert len(texts) == len(set(texts)), f"{shard}: a record twice"
    stored = {shard: dict(records) for shard, records in log.items()}
    lost = [a for a in acknowledged if stored[a[0]].get(a[1]) != a[2]]
    assert not lost, f"{len(lost)} acknowledged records lost or changed, the first {lost[0][:2]}"
    for subscriber in subscribers:
        records = log[subscriber.shard]
        assert subscriber.seen == records[: len(subscriber.seen)], f"{subscriber.shard}: what was pushed is not an unbroken piece of the log"
    return sum(map(len, log.values()))


def wait_for_all(client, subscribers):
    """Until each subscriber has seen its shard's tip."""
    tips = {shard: len(client.read_all(STREAM, shard)) for shard in client.shard_ids(STREAM)}
    end = time.monotonic() + 60
    while any(len(s.seen) < tips[s.shard] for s in subscribers):
        assert time.monotonic() < end, "a subscriber did not reach the tip"
        time.sleep(0.02)


def test_kill_9_loses_nothing(tmp_path):
    print(f"PENSTOCK_SEED={SEED}")
    rng = random.Random(SEED)
    acknowledged, slowest = [], 0.0
    server = Server("--limits", "off", data_dir=tmp_path, log_level="error")
    client = Client(server.port)
    arn = client.make_stream(STREAM, SHARDS)
    consumers = [client.register(arn, f"c{i}") for i in range(CONSUMERS)]
    subscribers = [Subscriber(consumer, shard) for consumer in consumers for shard in client.shard_ids(STREAM)]
    producers = [Producer(i, acknowledged) for i in range(PRODUCERS)]
    for thread in producers + subscribers:
        thread.port = server.port
        thread.start()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, 0.4))
        server.kill()
        begin = time.monotonic()
        server = Server("--limits", "off", data_dir=tmp_path, log_level="error")
        slowest = max(slowest, time.monotonic() - begin)
        for thread in producers + subscribers:
            thread.port = server.port
    for producer in producers:
        producer.stopping = True
    for producer in producers:
        producer.join(timeout=30)
    wait_for_all(Client(server.port), subscribers)
    for subscriber in subscribers:
        subscriber.stopping = True
    total = judge(server, acknowledged, subscribers)
    pushed = sum(len(s.seen) for s in subscribers)
    server.stop()
    print(f"{KILLS} kills: {len(acknowledged)} acknowledged, {total} in the log, {pushed} pushed; 0 lost, 0 doubled, 0 out of order; "
          f"slowest restart {slowest * 1000:.0f} ms")
    assert len(acknowledged) > KILLS * 10
