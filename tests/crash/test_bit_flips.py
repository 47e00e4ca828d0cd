"""One bit flipped in a sealed segment, and the real server started on it: 200 streams with three sealed segments each, so that one start
shows 200 flips, each in a log of its own, and a name in the server's log can only mean that flip.

A flip hits any part of a segment: header, marks, padding, group heads, extent headers, frames, footer. For half of the flips of segments
that are not the newest the footer is cut off as well: then the start must read the groups themselves.

For each: what is served is what was put, byte by byte, in order, never twice; what cannot be served is exactly the records of the extent
that was hit (of the group, where its head was, and only without a footer), and file, offset and length of it are named; where nothing
is missing, the flip is harmless or named. A read of damaged records answers 500 InternalFailure to a poller and the exception
InternalFailureException to a subscriber, after everything before it; the server then does nothing more about it. Puts go on behind damage
that a start did not see, under numbers that were never used; they answer 500 where the start did.

PENSTOCK_FLIPS (1600) flips; PENSTOCK_SEED repeats a run's random choices.
"""

import base64
import collections
import os
import random
import time

from damage import (EXTENT_HEAD, FOOTER_HEAD, GROUP_HEAD, HEADER_HEAD, TRAILER, Files, Segment, essence, frames_end, make_consumers,
                    make_streams, memory_dir, read_around, said, shard_id, start)
from penstock_client import ApiError, Client, Subscription

FLIPS = int(os.environ.get("PENSTOCK_FLIPS", "1600"))
SEED = int(os.environ.get("PENSTOCK_SEED", str(random.randrange(1 << 32))))
STREAMS, SEGMENTS, SHARDS = 200, 3, (0, 1)
AT_START = ("log_damaged", "torn_tail_cut", "segment_without_footer")
AT_READ = ("extent_damaged", "extent_unreadable")


# ---- What is there ----

def put_groups(client, name, rng):
    """Some groups, most with an extent for each of the two shards."""
    for _ in range(rng.randrange(2, 5)):
        records = [
            {"Data": base64.b64encode(rng.randbytes(rng.randrange(1, 500))).decode(), "PartitionKey": f"k{rng.randrange(99)}",
             "ExplicitHashKey": str(rng.randrange(2) << 127)}
            for _ in range(rng.randrange(1, 7))
        ]
        assert client.call("PutRecords", StreamName=name, Records=records)["FailedRecordCount"] == 0


def regions(segment):
    """(what, begin, end) of each part of the file."""
    parts = [("header", 0, HEADER_HEAD), ("marks", HEADER_HEAD, HEADER_HEAD + 24 * segment.n_marks),
             ("header padding", HEADER_HEAD + 24 * segment.n_marks, segment.header_length)]
    for group in segment.groups:
        extents = group.offset + GROUP_HEAD
        frames = extents + len(group.extents) * EXTENT_HEAD
        parts += [("group head", group.offset, extents), ("extent headers", extents, frames), ("frames", frames, frames_end(group)),
                  ("group padding", frames_end(group), group.offset + group.length)]
    end = len(segment.data)
    runs_end = len(segment.data[: end - TRAILER].rstrip(b"\0"))
    parts += [("footer head", segment.footer, segment.footer + FOOTER_HEAD), ("footer entries", segment.footer + FOOTER_HEAD, runs_end),
              ("footer padding", runs_end, end - TRAILER), ("trailer", end - TRAILER, end)]
    return [part for part in parts if part[1] < part[2]]


class Log:
    """One stream: its files, and what its shards hold."""

    def __init__(self, name, consumer, client):
        self.name, self.consumer = name, consumer
        self.truth = [[essence(r) for r in client.read_all(name, shard_id(shard))] for shard in SHARDS]

    def load(self, files):
        self.paths, self.segments = files.paths(self.name), []
        for path in self.paths:
            data, size = files.kept[path]
            self.segments.append(Segment(data.ljust(size, b"\0")))
            assert self.segments[-1].footer, f"{path} is not sealed"
        self.kinds = [regions(segment) for segment in self.segments]

    def flip(self, rng):
        """One bit, in a kind of place first, so that the header's padding does not get most of them."""
        self.nth = rng.randrange(len(self.segments))
        segment, newest = self.segments[self.nth], self.nth == len(self.segments) - 1
        self.scanned = not newest and rng.random() < 0.5
        parts = [part for part in self.kinds[self.nth] if not (self.scanned and part[1] >= segment.footer)]
        self.kind = rng.choice(sorted({part[0] for part in parts}))
        _, begin, end = rng.choice([part for part in parts if part[0] == self.kind])
        self.at, bit = rng.randrange(begin, end), rng.randrange(8)
        data = bytearray(segment.data[: segment.footer] if self.scanned else segment.data)
        data[self.at] ^= 1 << bit
        self.path = self.paths[self.nth]
        Files.write(self.path, bytes(data), len(data))
        self.case = f"{self.path}, {self.kind}, byte {self.at}, bit {bit}{', without its footer' if self.scanned else ''}"

    def hit(self):
        """The extents that cannot be served: shard -> the indexes of their records, from 0."""
        segment = self.segments[self.nth]
        for group in segment.groups:
            if self.kind in ("group head", "extent headers") and self.scanned and group.offset <= self.at < group.offset + group.length:
                return group.extents
            for extent in group.extents:
                if extent.offset <= self.at < extent.offset + extent.length:
                    return [extent]
        return []

    def missing(self):
        gone = {shard: set() for shard in SHARDS}
        for extent in self.hit():
            gone[extent.shard] |= set(range(extent.first - 1, extent.first - 1 + extent.count))
        return gone


def build(data_dir, log_file, rng):
    names = [f"s{i}" for i in range(STREAMS)]
    ids = {name: i + 1 for i, name in enumerate(names)}
    for round in range(SEGMENTS):
        with start(data_dir, log_file) as server:
            client = Client(server.port)
            if round == 0:
                consumers = make_consumers(client, make_streams(client, names, len(SHARDS)))
            for name in names:
                put_groups(client, name, rng)
    with start(data_dir, log_file) as server:
        client = Client(server.port)
        logs = [Log(name, consumers[name], client) for name in names]
    files = Files(data_dir, ids)
    for log in logs:
        log.load(files)
    return files, logs


# ---- What must hold ----

def check_put(client, log, readonly):
    """A put under a number above all others, or 500. What is in the shard now: [its essence] or []."""
    try:
        answer = client.call("PutRecord", StreamName=log.name, PartitionKey="new", ExplicitHashKey="0", Data="bmV3")
    except ApiError as error:
        assert (error.status, error.type) == (500, "InternalFailure") and readonly, f"{log.case}: {error}"
        return []
    assert not readonly, f"{log.case}: a put is taken behind damage"
    assert int(answer["SequenceNumber"]) > int(log.truth[0][-1][0]) if log.truth[0] else True, f"{log.case}: a number again"
    return [(answer["SequenceNumber"], "new", b"new")]


def check_reads(client, log, new):
    """What is served is what was put; what is missing is what was hit: returns how many. (Of a shard whose oldest records a start has found
    damaged, TRIM_HORIZON is behind them, as if retention had taken them: no read of them fails.)"""
    missing = log.missing()
    for shard in SHARDS:
        expected = [record for i, record in enumerate(log.truth[shard]) if i not in missing[shard]]
        truth = log.truth[shard] + (new if shard == 0 else [])
        records, failed = read_around(client, log.name, shard_id(shard), truth)
        if shard == 0 and new:
            assert records and records.pop()[:3] == new[0], f"{log.case}: the new record is not there"
        assert records == expected, f"{log.case}: shard {shard} serves other records than what is whole of it"
        at_front = log.scanned and 0 in missing[shard]
        assert failed == (0 if at_front else len(missing[shard])), f"{log.case}: {failed} reads failed of {len(missing[shard])} records"
    return sum(map(len, missing.values()))


def check_push(port, log):
    """A subscriber of a damaged shard gets all before the damage, then the exception, then the end."""
    for shard, gone in log.missing().items():
        if not gone or (log.scanned and 0 in gone):
            continue
        subscription = Subscription(port, log.consumer, shard_id(shard), Type="TRIM_HORIZON")
        records = []
        try:
            for event in subscription:
                records += [essence(record) for record in event["Records"]]
            raise AssertionError(f"{log.case}: the subscription ended without an exception")
        except Subscription.StreamException as exception:
            assert exception.kind == "InternalFailureException", exception
        finally:
            subscription.close()
        assert records == log.truth[shard][: min(gone)], f"{log.case}: what was pushed is not what lies before the damage"


def check_names(log, at_start, at_read, missing):
    """The log's lines about this file cover the byte, or nothing is missing. Returns how it was told."""
    for line in at_start + at_read:
        assert line.file == log.path, f"{log.case}: another file is named: {line}"
    damaged = [line for line in at_start if line.event != "segment_without_footer"] + at_read
    if missing:
        assert any(line.offset <= log.at < line.offset + line.length for line in damaged), f"{log.case}: is not named but by {damaged}"
    assert len(set(damaged)) <= 1, f"{log.case}: named in two ways: {damaged}"
    if damaged:
        line = damaged[0]
        assert line.offset <= log.at < line.offset + line.length, f"{log.case}: {line} is not where it is"
        return "named at the start" if line.event in AT_START else "named at the read"
    return "harmless, missed footer named" if at_start else "harmless"


def by_file(lines):
    found = collections.defaultdict(list)
    for line in lines:
        found[os.path.dirname(line.file)].append(line)
    return found


def show(data_dir, files, logs, rng, counts):
    """One flip in each of these logs, and one start."""
    files.restore()
    log_file = os.path.join(data_dir, "said")
    for log in logs:
        log.flip(rng)
    missing = {}
    with start(data_dir, log_file) as server:
        client = Client(server.port)
        at_start = by_file(said(log_file, *AT_START))
        for log in logs:
            lines = at_start[os.path.dirname(log.path)]
            new = check_put(client, log, any(line.event == "log_damaged" for line in lines))
            missing[log] = check_reads(client, log, new)
            check_push(server.port, log)
        cpu = server.cpu_s()
        time.sleep(0.2)
        cpu = server.cpu_s() - cpu
        assert cpu <= 0.05, f"the server is busy with damage that nobody reads: {cpu:.2f} s of 0.2"
        at_read = by_file(said(log_file, *AT_READ))
    for log in logs:
        folder = os.path.dirname(log.path)
        counts[log.kind, check_names(log, at_start[folder], at_read[folder], missing[log])] += 1


def test_flipped_bits_in_sealed_segments():
    print(f"PENSTOCK_SEED={SEED}")
    rng, counts, done = random.Random(SEED), collections.Counter(), 0
    with memory_dir() as data_dir:
        files, logs = build(data_dir, os.path.join(data_dir, "said"), rng)
        while done < FLIPS:
            now = logs[: FLIPS - done]
            show(data_dir, files, now, rng, counts)
            done += len(now)
    for kind in sorted({kind for kind, _ in counts}):
        told = ", ".join(f"{n} {how}" for (k, how), n in sorted(counts.items(), key=lambda item: -item[1]) if k == kind)
        print(f"  {kind}: {told}")
    named = sum(n for (_, how), n in counts.items() if how.startswith("named"))
    print(f"bit flips: {done} flips, {named} named by file and offset, {done - named} harmless, 0 wrong bytes, 0 whole records unreadable")
