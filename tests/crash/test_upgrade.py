"""A data directory that an older release wrote (tests/upgrade, made by make.py there) is opened by this
server: every stream, shard, consumer and record of its manifest is there, polled and pushed, what was
under way goes on, and puts go on. The catalogue's version is not looked at: the same must hold before and
after a migration.

A directory of a newer version is refused in one clear line, and nothing of it is changed.

The server's clock is set to when the directory was written (tests/upgrade/clock.c): its records would
have passed retention.
"""

import base64
import hashlib
import json
import os
import pathlib
import sqlite3
import subprocess
import tarfile
import time

import pytest
from lineage import check_event, check_lineage, is_open, list_shards, read_shard, wait_active
from penstock_client import BINARY, ROOT, ApiError, Client, Server, Subscription

KEPT = ROOT / "tests" / "upgrade"
DIRECTORIES = sorted(path.with_suffix("").with_suffix("") for path in KEPT.glob("*/*.tar.xz"))
NAMES = [f"{path.parent.name}-{path.name}" for path in DIRECTORIES]


@pytest.fixture(scope="session")
def clock(tmp_path_factory):
    shim = str(tmp_path_factory.mktemp("clock") / "clock.so")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", shim, str(KEPT / "clock.c")], check=True)
    return shim


def unpack(kept, data_dir):
    with tarfile.open(f"{kept}.tar.xz") as archive:
        archive.extractall(data_dir, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(data_dir)
    return json.loads(pathlib.Path(f"{kept}.json").read_text())


def environment(clock, told):
    """Ten seconds after it was written: iterators are good for five minutes."""
    return {"LD_PRELOAD": clock, "PENSTOCK_CLOCK_OFFSET_S": str(int(told["written_s"] + 10 - time.time()))}


def entry(record):
    data = base64.b64decode(record["Data"])
    return [record["SequenceNumber"], record["PartitionKey"], record["ApproximateArrivalTimestamp"], len(data), hashlib.sha256(data).hexdigest()]


def check_summary(client, name, told):
    found = wait_active(client, name)
    for member in ("StreamARN", "StreamModeDetails", "RetentionPeriodHours", "StreamCreationTimestamp", "MaxRecordSizeInKiB"):
        assert found.get(member) == told.get(member), (name, member)


def check_shards(client, name, told):
    """All that were there, each as it was; what was open may have been closed by a reshard that went on."""
    shards = list_shards(client, name)
    check_lineage(shards)
    found = {shard["ShardId"]: shard for shard in shards}
    for shard in told:
        now = found[shard["ShardId"]]
        if is_open(shard) and not is_open(now):
            now = dict(now, SequenceNumberRange={"StartingSequenceNumber": now["SequenceNumberRange"]["StartingSequenceNumber"]})
        assert now == shard
    return shards


def check_consumers(client, arn, told):
    found = {consumer["ConsumerARN"]: consumer for consumer in client.call("ListStreamConsumers", StreamARN=arn)["Consumers"]}
    for consumer in told:
        if consumer["ConsumerStatus"] != "DELETING":
            assert found[consumer["ConsumerARN"]]["ConsumerCreationTimestamp"] == consumer["ConsumerCreationTimestamp"]
    return found


def pushed(port, arn, shard, count, is_tip):
    """The records that a consumer is given from TRIM_HORIZON to the shard's end; is_tip: the first
    `count` of an open shard. And the end's ChildShards."""
    subscription, records = Subscription(port, arn, shard, Type="TRIM_HORIZON"), []
    try:
        for event in subscription:
            check_event(event)
            records += event["Records"]
            children = event.get("ChildShards", [])
            if children or (is_tip and len(records) >= count):
                return records, children
        return records, []
    finally:
        subscription.close()


def put_on(client, name, shards):
    """A record to each open shard: {shard: [entry]}."""
    done = {}
    for shard in filter(is_open, shards):
        key = shard["HashKeyRange"]["StartingHashKey"]
        answer = client.call("PutRecord", StreamName=name, PartitionKey="new", ExplicitHashKey=key, Data="bmV3")
        assert answer["ShardId"] == shard["ShardId"]
        done[shard["ShardId"]] = answer["SequenceNumber"]
    return done


def check_stream(client, port, name, told):
    check_summary(client, name, told["summary"])
    shards = check_shards(client, name, told["shards"])
    found = check_consumers(client, told["summary"]["StreamARN"], told["consumers"])
    new = put_on(client, name, shards)
    for shard in (shard["ShardId"] for shard in shards):
        records = [entry(record) for record in read_shard(client, name, shard)]
        before = told["records"].get(shard, [])
        assert records[: len(before)] == before, f"{name} {shard}"
        assert [record[0] for record in records[len(before) :]] == [new[s] for s in new if s == shard]
        assert [record[0] for record in records] == sorted((record[0] for record in records), key=int)
        if found:
            given, children = pushed(port, sorted(found)[0], shard, len(records), shard in new)
            assert [entry(record) for record in given] == records, f"pushed: {name} {shard}"
            assert bool(children) == (shard not in new)


def check_tokens(client, told):
    """A token of the older server is good or has expired, and is never called invalid."""
    try:
        records = client.call("GetRecords", ShardIterator=told["tokens"]["iterator"])["Records"]
        assert [entry(record) for record in records] == told["streams"]["busy"]["records"][told["tokens"]["shard"]][: len(records)]
        assert records
        rest = client.call("ListShards", NextToken=told["tokens"]["list"])["Shards"]
        assert [shard["ShardId"] for shard in rest] == [shard["ShardId"] for shard in told["streams"]["busy"]["shards"][4:]]
    except ApiError as error:
        assert error.type in ("ExpiredIteratorException", "ExpiredNextTokenException")


@pytest.mark.parametrize("kept", DIRECTORIES, ids=NAMES)
def test_a_directory_of_an_older_release(kept, clock, tmp_path):
    told = unpack(kept, tmp_path)
    options = ("--limits", "off", "--transition-ms", "5")
    with Server(*options, data_dir=tmp_path, env=environment(clock, told)) as server:
        client = Client(server.port)
        check_tokens(client, told)
        for name, stream in told["streams"].items():
            if name != "deleting":
                check_stream(client, server.port, name, stream)
        open_shards = {name: sum(map(is_open, list_shards(client, name))) for name in told["streams"] if name != "deleting"}
        assert (open_shards["creating"], open_shards["updating"]) == (2, 4), "what was under way is done"
        client.make_stream("deleting", 1)  # which waits until the old one has gone
        assert not read_shard(client, "deleting", client.shard_ids("deleting")[0])
        states = {c["ConsumerName"]: c["ConsumerStatus"] for c in client.call("ListStreamConsumers", StreamARN=arn_of(told, "busy"))["Consumers"]}
        assert states == {"first": "ACTIVE", "second": "ACTIVE", "late": "ACTIVE"}
        everything = {name: records_of(client, name) for name in told["streams"]}
        client.close()
    # Once more, as a directory of this version.
    with Server(*options, data_dir=tmp_path, env=environment(clock, told)) as server:
        client = Client(server.port)
        assert {name: records_of(client, name) for name in told["streams"]} == everything
        client.close()


def arn_of(told, name):
    return told["streams"][name]["summary"]["StreamARN"]


def records_of(client, name):
    return {shard: [entry(record) for record in read_shard(client, name, shard)] for shard in client.shard_ids(name)}


# ---- A newer version --------------------------------------------------------------------------------------------------------


def contents(data_dir):
    """Of every file but the lock, which names the process, and SQLite's shared memory."""
    files = (path for path in pathlib.Path(data_dir).rglob("*") if path.is_file() and path.name not in ("lock", "catalogue.db-shm"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kept", DIRECTORIES, ids=NAMES)
def test_a_newer_directory_is_refused_and_left_alone(kept, tmp_path):
    """Also what lies in the catalogue's WAL alone is the newer version's to write."""
    unpack(kept, tmp_path)
    with sqlite3.connect(tmp_path / "catalogue.db") as catalogue:
        catalogue.execute("PRAGMA wal_autocheckpoint = 0")
        catalogue.execute("UPDATE schema_version SET version = 1000")
        catalogue.commit()
        copied = tmp_path.with_name(tmp_path.name + "-newer")
        # With the WAL, since the connection is open: its last close would take it into the file.
        subprocess.run(["cp", "-r", str(tmp_path), str(copied)], check=True)
    catalogue.close()
    before = contents(copied)
    assert any(path.endswith("-wal") for path in before)
    command = [BINARY, "--listen", "127.0.0.1:0", "--data-dir", str(copied), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode != 0
    assert len(said) == 1 and "catalogue.db: is of version 1000" in said[0] and "start the server that wrote it" in said[0], said
    assert contents(copied) == before
