"""The newest segment's last bytes torn at every place, and the real server started on it.

64 streams, so that one start of the server shows 64 torn tails, each in a log of its own. A case is a length: what lies before it reached
the disk, what lies behind it did not. Behind it are, in turn: the end of the file; zeros, as a file has that is written ahead; garbage;
stale sectors, which are whole groups of the same log from another place. What is torn is, in turn: the last group, behind others; the only
group of its segment; the footer.

For each: the server starts, names the torn tail by file, offset and length (and says nothing where nothing is torn), serves every record
before it byte by byte and of the torn group all or nothing, takes a put under a sequence number above all that it served, and after a
second start has the same and says nothing more.

PENSTOCK_TORN=all takes every length; else the edges of sectors and fields, and every 61st byte.
"""

import base64
import os
import random

from damage import (EXTENT_HEAD, GROUP_HEAD, SECTOR, Files, Segment, essence, frames_end, make_streams, memory_dir, read_around, said,
                    shard_id, start)
from penstock_client import Client

ALL = os.environ.get("PENSTOCK_TORN") == "all"
SEED = int(os.environ.get("PENSTOCK_SEED", str(random.randrange(1 << 32))))
SHAPES = ("a group behind others", "the only group", "a footer")
BEHIND = ("end of file", "zeros", "garbage", "stale sectors")
STREAMS = 64
EVENTS = ("torn_tail_cut", "log_damaged", "extent_damaged", "extent_unreadable", "segment_without_footer")


def put_group(client, stream, rng):
    """One group with an extent for each of the two shards; of the same length every time."""
    records = [
        {"Data": base64.b64encode(rng.randbytes(200)).decode(), "PartitionKey": "k", "ExplicitHashKey": str(shard << 127)}
        for shard in (0, 1, 1)
    ]
    assert client.call("PutRecords", StreamName=stream, Records=records)["FailedRecordCount"] == 0


def read_shard(client, stream, shard):
    return [essence(record) for record in client.read_all(stream, shard)]


class Tail:
    """One stream: its newest segment, where its tail begins, and what its shards hold."""

    def __init__(self, stream, shape, client, files):
        self.stream, self.shape = stream, shape
        self.truth = [read_shard(client, stream, shard_id(shard)) for shard in (0, 1)]
        paths = files.paths(stream)
        self.path = paths[-1]
        assert len(paths) == (1 if shape == "a footer" else 2)  # a start alone makes no segment
        self.data, self.size = files.load(self.path)
        segment = Segment(self.data.ljust(self.size, b"\0"))
        if shape == "a footer":
            self.begin, self.end = segment.footer, self.size
            self.data = self.data.ljust(self.size, b"\0")
            self.needed, self.head = self.end, self.end - self.begin
            self.torn_records = [0, 0]
        else:
            group = segment.groups[-1]
            self.begin, self.end = group.offset, group.offset + group.length
            self.data = self.data.ljust(self.end, b"\0")
            self.needed, self.head = frames_end(group), GROUP_HEAD + EXTENT_HEAD * len(group.extents)
            self.torn_records = [sum(e.count for e in group.extents if e.shard == shard) for shard in (0, 1)]
        self.length = self.end - self.begin
        first = files.load(paths[0])[0]
        group = Segment(first + bytes(SECTOR)).groups[0]
        self.stale = first[group.offset : group.offset + group.length].ljust(group.length, b"\0")

    def lengths(self):
        if ALL:
            return range(self.length)
        edges = {0, self.needed - self.begin, self.length, GROUP_HEAD, GROUP_HEAD + EXTENT_HEAD, GROUP_HEAD + 2 * EXTENT_HEAD}
        edges |= {4, 6, 8, 24, 32, 40, 48, 56, 60} | set(range(0, self.length, SECTOR))
        near = {edge + by for edge in edges for by in (-1, 0, 1)} | set(range(0, self.length, 61))
        return sorted(length for length in near if 0 <= length < self.length)

    def tear(self, length, behind, rng):
        """Writes the file. self.whole: all that counts got through; self.lost: so much must be said to be torn from self.cut on."""
        kept = self.data[: self.begin + length]
        if behind == "end of file":
            after, size = b"", len(kept)
        else:
            size = max(self.size, self.end + 2 * SECTOR)
            after = {
                "zeros": b"",
                "garbage": rng.randbytes(self.length - length + SECTOR),
                "stale sectors": (self.stale * (2 + self.length // len(self.stale)))[length : self.length + SECTOR],
            }[behind]
        Files.write(self.path, kept + after, size)
        image = (kept + after).ljust(size, b"\0")

        def got_through(end):
            return image[self.begin : end] == self.data[self.begin : end]

        self.whole = size >= self.end and got_through(self.needed)
        self.cut = self.end if self.whole else self.begin
        sectors = -(-(len(image.rstrip(b"\0")) - self.begin) // SECTOR)
        last = min(size, self.begin + sectors * SECTOR)
        if size >= self.end and got_through(self.begin + self.head):
            last = max(last, self.end)  # the head, which is whole, says how long the group was
        self.lost = max(0, last - self.cut)
        if self.shape == "a footer" and self.whole:
            self.lost = 0  # what lies behind a whole footer is not looked at

    def expected(self):
        keep = [len(t) if self.whole else len(t) - n for t, n in zip(self.truth, self.torn_records)]
        return [t[:n] for t, n in zip(self.truth, keep)]


def build(data_dir, log_file, rng):
    """The streams, each with a sealed segment and one that kill -9 left open."""
    names = [f"s{i}" for i in range(STREAMS)]
    server = start(data_dir, log_file)
    client = Client(server.port)
    make_streams(client, names, 2)
    ids = {name: i + 1 for i, name in enumerate(names)}
    for name in names:
        for _ in range(3):
            put_group(client, name, rng)
    server.stop()
    server = start(data_dir, log_file)
    client = Client(server.port)
    shapes = {name: SHAPES[i % len(SHAPES)] for i, name in enumerate(names)}
    for name, shape in shapes.items():
        for _ in range({"a group behind others": 3, "the only group": 1, "a footer": 0}[shape]):
            put_group(client, name, rng)
    files = Files(data_dir, ids)
    tails = [Tail(name, shape, client, files) for name, shape in shapes.items()]
    server.kill()
    files = Files(data_dir, ids)
    return files, tails


def check_reads(client, tail, expected):
    for shard in (0, 1):
        records, failures = read_around(client, tail.stream, shard_id(shard), expected[shard])
        same = records == expected[shard] and failures == 0
        assert same, f"{tail.case}: shard {shard} has {len(records)} records, not {len(expected[shard])}"


def check_said(log_file, tails):
    lines = {}
    for line in said(log_file, *EVENTS):
        lines.setdefault(line.file, []).append(line[:1] + line[2:])
    for tail in tails:
        expected = [("torn_tail_cut", tail.cut, tail.lost)] if tail.lost else []
        assert lines.pop(tail.path, []) == expected, f"{tail.case}: expected {expected}, see {log_file}"
    assert not lines, f"files are named that are whole: {lines}"


def check_put(client, tail, rng):
    before = tail.expected()
    put_group(client, tail.stream, rng)
    now = [read_shard(client, tail.stream, shard_id(shard)) for shard in (0, 1)]
    for shard, n in ((0, 1), (1, 2)):
        assert now[shard][:-n] == before[shard], f"{tail.case}: a put changed what was there"
        numbers = [int(record[0]) for record in now[shard]]
        assert numbers == sorted(set(numbers)), f"{tail.case}: a sequence number twice or out of order"
    return now


def show(data_dir, files, cases, rng):
    """cases: [(tail, length, behind)], one of a stream at most."""
    files.restore()
    log_file = os.path.join(data_dir, "said")
    for tail, length, behind in cases:
        tail.case = f"{tail.stream}, {tail.shape}, cut at {length} of {tail.length}, then {behind}"
        tail.tear(length, behind, rng)
    tails = [case[0] for case in cases]
    with start(data_dir, log_file) as server:
        client = Client(server.port)
        check_said(log_file, tails)
        for tail in tails:
            check_reads(client, tail, tail.expected())
        after = {tail.stream: check_put(client, tail, rng) for tail in tails}
    with start(data_dir, log_file) as server:
        client = Client(server.port)
        assert not said(log_file, *EVENTS), f"the second start found something, see {log_file}"
        for tail in tails:
            check_reads(client, tail, after[tail.stream])
    return sum(tail.lost > 0 for tail in tails)


def test_torn_at_every_byte():
    print(f"PENSTOCK_SEED={SEED}")
    rng = random.Random(SEED)
    with memory_dir() as data_dir:
        files, tails = build(data_dir, os.path.join(data_dir, "said"), rng)
        by_shape = {tail.shape: tail for tail in tails}
        queues = {shape: [(length, behind) for length in tail.lengths() for behind in BEHIND] for shape, tail in by_shape.items()}
        total, starts, named = sum(map(len, queues.values())), 0, 0
        while any(queues.values()):
            cases = [(tail, *queues[tail.shape].pop()) for tail in tails if queues[tail.shape]]
            named, starts = named + show(data_dir, files, cases, rng), starts + 2
    print(f"torn tails: {total} cases in {starts} starts, {named} named by file, offset and length, {total - named} with nothing "
          "to name; 0 records lost, 0 wrong bytes, 0 numbers used twice")
