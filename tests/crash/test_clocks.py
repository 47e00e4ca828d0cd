"""A wall clock that is wrong, on the real server: it is set while the server runs, or between two runs (tests/crash/clock.c).

Each test waits for rounds of retention, which come every 50 ms here, not for time.
"""

import base64
import mmap
import os
import struct
import time

import pytest

from fault import compile_shim
from penstock_client import ApiError, Client, Server, data_of

HOUR = 3600000
STREAM = "s"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return compile_shim(str(tmp_path_factory.mktemp("clock")), "clock")


class Machine:
    """One data directory, and the clock of the machine that it is on."""

    def __init__(self, folder, shim):
        self.data_dir, self.server, self.client = str(folder / "data"), None, None
        path = str(folder / "clock")
        self.file = open(path, "w+b")
        self.file.write(bytes(16))
        self.file.flush()
        self.map = mmap.mmap(self.file.fileno(), 16)
        self.env = {"LD_PRELOAD": shim, "PENSTOCK_CLOCK_FILE": path}

    def clock(self, hours, vouched=False):
        struct.pack_into("=qq", self.map, 0, int(hours * HOUR), vouched)

    def start(self, *options):
        self.server = Server("--test-retention-ms", "50", "--limits", "off", *options, data_dir=self.data_dir, log_level="error", env=self.env)
        self.client = Client(self.server.port)

    def stop(self):
        if self.server:
            self.client.close()
            self.server.stop()
        self.server = None

    def restart(self, *options):
        self.stop()
        self.start(*options)

    def rounds(self, n=5):
        """Waits until retention has looked so often."""
        until, give_up = self.server.metric("penstock_retention_rounds_total") + n, time.monotonic() + 30
        while self.server.metric("penstock_retention_rounds_total") < until:
            assert time.monotonic() < give_up
            time.sleep(0.01)

    def put(self, first, n, size=10):
        for i in range(first, first + n):
            self.client.call("PutRecord", StreamName=STREAM, PartitionKey=str(i), Data=data(i, size))

    def read(self):
        """Numbers of the records in all shards that ListShards has."""
        found = []
        for shard in self.client.shard_ids(STREAM):
            where = {"StreamName": STREAM, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
            answer = {"NextShardIterator": self.client.call("GetShardIterator", **where)["ShardIterator"], "Records": True}
            while answer["Records"] and "NextShardIterator" in answer:
                answer = self.client.call("GetRecords", ShardIterator=answer["NextShardIterator"])
                found += [int(data_of(record).split(b":")[0]) for record in answer["Records"]]
        return sorted(found)

    def segments(self):
        return sum(name.endswith(".seg") for _, _, names in os.walk(os.path.join(self.data_dir, "streams")) for name in names)


def data(i, size):
    return base64.b64encode(f"{i}:".encode() + b"." * size).decode()


@pytest.fixture
def machine(tmp_path, shim):
    made = Machine(tmp_path, shim)
    yield made
    made.stop()


def test_started_50_hours_ahead_then_set_right(machine):
    machine.clock(50)
    machine.start()
    machine.client.make_stream(STREAM)
    machine.rounds()
    machine.clock(0)
    machine.put(0, 40)
    assert machine.read() == list(range(40))
    machine.rounds()
    assert machine.read() == list(range(40))
    machine.restart()
    machine.rounds()
    assert machine.read() == list(range(40))


def test_48_hours_ahead_at_a_start_for_a_second(machine):
    machine.start()
    machine.client.make_stream(STREAM)
    for run in range(6):  # several segments: each start makes one
        machine.put(run * 10, 10)
        machine.restart()
    machine.stop()
    segments = machine.segments()
    machine.clock(48)
    machine.start()
    machine.rounds(20)
    assert machine.server.metric("penstock_clock_doubt_ms") > 47 * HOUR
    machine.clock(0)
    machine.rounds()
    assert machine.server.metric("penstock_clock_doubt_ms") < HOUR
    assert machine.read() == list(range(60))
    machine.restart()
    machine.rounds()
    assert machine.read() == list(range(60))
    assert machine.segments() >= segments


def test_25_hours_ahead_and_back_expires_no_parent(machine):
    machine.start()
    machine.client.make_stream(STREAM)
    machine.put(0, 20)
    machine.client.call("SplitShard", StreamName=STREAM, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 127))
    machine.client.wait_active(STREAM)
    machine.put(20, 20)
    for again in (lambda: None, machine.restart):
        machine.clock(25)
        again()
        machine.rounds()
        machine.clock(0)
        machine.rounds()
    machine.restart()
    listed = machine.client.call("ListShards", StreamName=STREAM, ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"]
    assert [s["ShardId"] for s in listed] == ["shardId-000000000000"]
    assert machine.read() == list(range(40))


def test_set_back_by_two_days_a_commit_makes_no_segment(machine):
    machine.clock(0, vouched=True)
    machine.start()
    machine.client.make_stream(STREAM)
    machine.put(0, 1)
    machine.clock(-48)
    machine.rounds()
    machine.put(1, 50)
    assert machine.segments() <= 4
    machine.clock(0, vouched=True)
    machine.rounds()
    assert machine.read() == list(range(51))
    machine.restart()
    machine.rounds()
    assert machine.read() == list(range(51))


def gone(machine):
    """What was put is let go."""
    give_up = time.monotonic() + 30
    while machine.read():
        assert time.monotonic() < give_up
        machine.rounds()
    assert machine.server.metric("penstock_clock_doubt_ms") < HOUR


@pytest.mark.parametrize("how", ["grace", "kernel", "kernel, later", "operator"])
def test_what_is_believed_expires(machine, how):
    grace = ["--clock-grace", "2"] if how == "grace" else []
    machine.clock(0, vouched=how.startswith("kernel"))
    machine.start(*grace)
    machine.client.make_stream(STREAM)
    machine.put(0, 10)
    machine.rounds()
    machine.clock(50)
    if how != "kernel, later":
        machine.restart(*grace)
    machine.rounds(3)
    if how != "grace":  # which a busy machine may outlast
        assert machine.read() == list(range(10))
    if how.startswith("kernel"):
        machine.clock(50, vouched=True)
    if how == "operator":
        machine.restart("--believe-clock")
    gone(machine)


def test_created_again_at_once(machine):
    machine.start()
    for again in range(3):
        machine.client.make_stream(STREAM)
        machine.put(0, 5)
        machine.client.call("SplitShard", StreamName=STREAM, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 127))
        machine.client.wait_active(STREAM)
        listed = machine.client.call("ListShards", StreamName=STREAM, ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"]
        assert [s["ShardId"] for s in listed] == ["shardId-000000000000"]
        number = machine.client.call("PutRecord", StreamName=STREAM, PartitionKey="5", Data=data(5, 1))["SequenceNumber"]
        machine.client.call("PutRecord", StreamName=STREAM, PartitionKey="5", Data=data(6, 1), SequenceNumberForOrdering=number)
        machine.rounds()
        assert machine.read() == list(range(7))
        if again < 2:
            machine.client.call("DeleteStream", StreamName=STREAM)
            give_up = time.monotonic() + 10
            while STREAM in machine.client.call("ListStreams")["StreamNames"]:
                assert time.monotonic() < give_up
    machine.restart()
    machine.rounds()
    assert machine.read() == list(range(7))


def test_iterators_survive_a_clock_that_is_set_back(machine):
    machine.start()
    machine.client.make_stream(STREAM)
    machine.put(0, 3)
    where = {"StreamName": STREAM, "ShardId": "shardId-000000000000"}
    iterator = machine.client.call("GetShardIterator", ShardIteratorType="TRIM_HORIZON", **where)["ShardIterator"]
    records = machine.client.call("GetRecords", ShardIterator=iterator)["Records"]
    machine.clock(-30)
    assert len(machine.client.call("GetRecords", ShardIterator=iterator)["Records"]) == 3
    # So does a time that a record was given.
    machine.client.call("GetShardIterator", ShardIteratorType="AT_TIMESTAMP",
                        Timestamp=records[-1]["ApproximateArrivalTimestamp"], **where)
    machine.clock(30)
    with pytest.raises(ApiError) as error:
        machine.client.call("GetRecords", ShardIterator=iterator)
    assert "ExpiredIterator" in str(error.value)
