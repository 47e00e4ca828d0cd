"""What the tests of damage share: where in a segment file which bytes lie, what the server said of them, and reading around them.

docs/on-disk.md has the layout. Only lengths are taken from the file here, no checksum: the files that are parsed are whole.
"""

import collections
import os
import re
import struct
import tempfile

from penstock_client import ApiError, Server, data_of

HEADER_HEAD, GROUP_HEAD, EXTENT_HEAD, FOOTER_HEAD, TRAILER, SECTOR = 80, 64, 40, 80, 16, 512

Extent = collections.namedtuple("Extent", "shard first count offset length")
Group = collections.namedtuple("Group", "offset length extents")
Said = collections.namedtuple("Said", "event file offset length")


class Segment:
    """header_length, groups, footer (offset, None without one) of a segment file's bytes."""

    def __init__(self, data):
        self.data = data
        self.header_length, self.n_marks = struct.unpack_from("<I", data, 12)[0], struct.unpack_from("<I", data, 72)[0]
        self.groups, at = [], self.header_length
        while data[at : at + 4] == b"PGRP":
            self.groups.append(self.group(at))
            at += self.groups[-1].length
        self.end = at
        self.footer = at if data[at : at + 4] == b"PFTR" else None

    def group(self, at):
        length, n = struct.unpack_from("<QI", self.data, at + 48)
        extents, frames = [], at + GROUP_HEAD + n * EXTENT_HEAD
        for i in range(n):
            shard, count, first, _, _, size, _ = struct.unpack_from("<IIQqQII", self.data, at + GROUP_HEAD + i * EXTENT_HEAD)
            extents.append(Extent(shard, first, count, frames, size))
            frames += size
        return Group(at, length, extents)


def frames_end(group):
    return group.extents[-1].offset + group.extents[-1].length


def memory_dir():
    """For tests that damage files by themselves: no machine fails in them, so a disk would only slow their thousands of fdatasyncs."""
    return tempfile.TemporaryDirectory(prefix="penstock-test-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def said(log_file, *events):
    """The log's lines of these events that name a file."""
    lines = []
    with open(log_file) as log:
        for line in log:
            match = re.match(r"\S+ \w+ +(\w+) .*?file=(\S+)(?: offset=(\d+) length=(\d+))?", line)
            if match and match[1] in events:
                lines.append(Said(match[1], match[2], int(match[3] or 0), int(match[4] or 0)))
    return lines


def make_streams(client, names, shards):
    """Many at once: asks of each only once all are on their way."""
    for name in names:
        client.call("CreateStream", StreamName=name, ShardCount=shards)
    return {name: client.wait_active(name)["StreamARN"] for name in names}


def make_consumers(client, arns):
    made = {
        name: client.call("RegisterStreamConsumer", StreamARN=arn, ConsumerName="app")["Consumer"]["ConsumerARN"]
        for name, arn in arns.items()
    }
    for arn in made.values():
        while client.call("DescribeStreamConsumer", ConsumerARN=arn)["ConsumerDescription"]["ConsumerStatus"] != "ACTIVE":
            pass
    return made


def shard_id(number):
    return f"shardId-{number:012d}"


def essence(record):
    return record["SequenceNumber"], record["PartitionKey"], data_of(record), record["ApproximateArrivalTimestamp"]


class Files:
    """The segment files of some streams, kept as they were: path -> bytes without the zeros at the end, and size."""

    def __init__(self, data_dir, ids):
        self.root, self.ids = os.path.join(data_dir, "streams"), ids
        self.kept = {path: self.load(path) for name in ids for path in self.paths(name)}

    def paths(self, name):
        folder = os.path.join(self.root, str(self.ids[name]))
        return sorted(os.path.join(folder, file) for file in os.listdir(folder))

    @staticmethod
    def load(path):
        with open(path, "rb") as file:
            data = file.read()
        return data.rstrip(b"\0"), len(data)

    @staticmethod
    def write(path, data, size):
        with open(path, "wb") as file:
            file.write(data[:size])
            file.truncate(size)

    def restore(self):
        for name in self.ids:
            for path in self.paths(name):
                os.unlink(path)
        for path, (data, size) in self.kept.items():
            self.write(path, data, size)


def read_around(client, stream, shard, truth):
    """All that can be read of a shard, its damage passed over: (records, how many reads answered 500). `truth`: what was put, in order;
    it has the sequence numbers to go on with."""
    position = {"ShardIteratorType": "TRIM_HORIZON"}
    records, failures, at = [], 0, 0
    numbers = {entry[0]: i for i, entry in enumerate(truth)}
    while True:
        iterator = client.call("GetShardIterator", StreamName=stream, ShardId=shard, **position)["ShardIterator"]
        try:
            answer = client.call("GetRecords", ShardIterator=iterator)
            while answer["Records"]:
                records += [essence(record) for record in answer["Records"]]
                at = numbers.get(records[-1][0], len(truth) - 1) + 1
                iterator = answer["NextShardIterator"]
                answer = client.call("GetRecords", ShardIterator=iterator)
            assert answer["MillisBehindLatest"] == 0, f"{stream} {shard}: an empty answer that is not at the tip"
            return records, failures
        except ApiError as error:
            assert (error.status, error.type) == (500, "InternalFailure"), error
            assert at < len(truth), f"{stream} {shard}: the tip cannot be read: {error}"
        failures += 1
        position = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": truth[at][0]}
        at += 1


def start(data_dir, log_file, **more):
    options = ("--limits", "off", "--transition-ms", "1", "--max-connections", "1000")
    return Server(*options, data_dir=data_dir, log_level="warn", log_file=log_file, **more)
