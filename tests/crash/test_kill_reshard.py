"""kill -9 while shards are split and merged, again and again on the same data directory.

Producers put, pushed consumers and a poller follow from parents to children, and one thread reshards without a pause; the server is killed at
a random moment of that and started again. At each restart the hash ranges of the open shards must cover every key exactly once; at the end the
log is the judge: nothing acknowledged is lost, nothing is there twice, every consumer saw each record once and in order per key.

PENSTOCK_RESHARD_KILLS (20) kills; PENSTOCK_SEED repeats a run's random choices.
"""

import os
import random
import time

from lineage import Follower, Poller, Producer, check_lineage, check_order, hash_range, is_open, list_shards, read_shard, wait_active
from penstock_client import Client, Server

KILLS = int(os.environ.get("PENSTOCK_RESHARD_KILLS", "20"))
SEED = int(os.environ.get("PENSTOCK_SEED", str(random.randrange(1 << 32))))
PRODUCERS, CONSUMERS, SHARDS_MAX = 4, 2, 6
STREAM = "crash"


def reshard(client, rng):
    """One random change of the open shards."""
    shards = sorted((s for s in list_shards(client, STREAM) if is_open(s)), key=hash_range)
    what = rng.choice(("split", "merge", "update"))
    if what == "split" and len(shards) < SHARDS_MAX:
        shard = rng.choice(shards)
        first, last = hash_range(shard)
        client.call("SplitShard", StreamName=STREAM, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(rng.randrange(first + 2, last)))
    elif what == "merge" and len(shards) > 1:
        at = rng.randrange(len(shards) - 1)
        client.call("MergeShards", StreamName=STREAM, ShardToMerge=shards[at]["ShardId"], AdjacentShardToMerge=shards[at + 1]["ShardId"])
    else:
        client.call("UpdateShardCount", StreamName=STREAM, TargetShardCount=rng.randrange(1, SHARDS_MAX + 1), ScalingType="UNIFORM_SCALING")


def reshard_until(client, rng, end):
    """As many as there is time for. The last is left wherever it is."""
    done = 0
    while time.monotonic() < end:
        reshard(client, rng)
        while time.monotonic() < end:
            if client.call("DescribeStreamSummary", StreamName=STREAM)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
                done += 1
                break
    return done


def judge(client, acknowledged, readers):
    shards = list_shards(client, STREAM)
    check_lineage(shards)
    log = [(s["ShardId"], r["SequenceNumber"]) for s in shards for r in read_shard(client, STREAM, s["ShardId"])]
    assert len(log) == len(set(log)), "a number twice in the log"
    for reader in readers:
        check_order(reader)
        assert sorted((shard, number) for shard, number, _ in reader.seen) == sorted(log), "what a consumer saw is not what the log has"
        texts = {(shard, number): text for shard, number, text in reader.seen}
        lost = [a for a in acknowledged if texts.get((a[0], a[1])) != a[2]]
        assert not lost, f"{len(lost)} acknowledged records lost or changed, the first {lost[0][:2]}"
        assert len(set(texts.values())) == len(texts), "a record twice"
    return shards, log


def test_kill_9_while_resharding(tmp_path):
    print(f"PENSTOCK_SEED={SEED}")
    rng = random.Random(SEED)
    options = ("--limits", "off", "--transition-ms", "5", "--heartbeat-ms", "200")
    server = Server(*options, data_dir=tmp_path, log_level="error")
    client = Client(server.port)
    arn = client.make_stream(STREAM, 2)
    readers = [Follower(server.port, STREAM, client.register(arn, f"c{i}")) for i in range(CONSUMERS)] + [Poller(server.port, STREAM)]
    for reader in readers:
        reader.start(list_shards(client, STREAM))
    producers = [Producer(server.port, STREAM, i, seed=SEED) for i in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    done = updating = 0
    for _ in range(KILLS):
        wait_active(client, STREAM)
        done += reshard_until(client, rng, time.monotonic() + rng.uniform(0.0, 0.15))
        server.kill()
        client.close()
        server = Server(*options, data_dir=tmp_path, log_level="error")
        for thread in producers + readers:
            thread.port = server.port
        client = Client(server.port)
        check_lineage(list_shards(client, STREAM))
        updating += client.call("DescribeStreamSummary", StreamName=STREAM)["StreamDescriptionSummary"]["StreamStatus"] == "UPDATING"
    for producer in producers:
        producer.stopping = True
    for producer in producers:
        producer.join(timeout=30)
        assert not [e for e in producer.errors if str(e).startswith("4")], "a put was refused"
    wait_active(client, STREAM)
    total = sum(len(read_shard(client, STREAM, s["ShardId"])) for s in list_shards(client, STREAM))
    end = time.monotonic() + 60
    while any(len(r.seen) < total and not r.errors for r in readers) and time.monotonic() < end:
        time.sleep(0.02)
    for reader in readers:
        reader.stop()
    acknowledged = [a for p in producers for a in p.acknowledged]
    shards, log = judge(client, acknowledged, readers)
    client.close()
    server.stop()
    print(f"{KILLS} kills while resharding ({done} changes done, {updating} found half-way at a restart): {len(shards)} shards, "
          f"{len(acknowledged)} records acknowledged, {len(log)} in the log, each once to {CONSUMERS} pushed consumers and 1 poller; "
          "0 lost, 0 doubled, every hash key covered once at every restart")
    assert done + updating > KILLS // 2 and len(acknowledged) > KILLS * 10
