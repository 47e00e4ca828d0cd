"""The k-th call on the disk fails, for each k: from the start of the server through puts on four connections, a read, a new stream and its
deletion, to the stop. The disk is tests/crash/fault.c below the real server; a failed sync of a segment really loses what was written
since the last one.

For each k, once with EIO and once with ENOSPC, by whether the call fails at the start, later, or in the stop:
- whoever was acknowledged is on the disk at the next start, byte by byte, once; nothing is there that was not put.
- a put is answered, with 200 or with 500 InternalFailure; none that waits when the disk fails is left without an answer.
- a segment that cannot be written or synced: the log names file and call, no put that is sent after it is acknowledged, the process ends
  with exit status 1. A full disk instead: the process lives, and the next puts are acknowledged within a second.
- a start that cannot be: exit status 1, and a line that names the file. A stream whose files cannot be read or repaired at the start stops
  nothing: the log names the file, all that is asked of that stream is answered with an error, and the next start reads it.

PENSTOCK_FAULTS=all takes every k; else 40 of each error, at random, the syncs of the log among them. PENSTOCK_SEED repeats them.
"""

import base64
import collections
import http.client
import os
import random
import re
import shutil
import threading
import time

from damage import essence, make_streams, memory_dir, shard_id, start
from fault import calls, compile_shim, environment
from penstock_client import ApiError, Client, patient

ALL = os.environ.get("PENSTOCK_FAULTS") == "all"
SEED = int(os.environ.get("PENSTOCK_SEED", str(random.randrange(1 << 32))))
PUTTERS, PUTS, SAMPLE = 4, 6, 40
STREAM = "s"
GONE = (OSError, http.client.HTTPException)

Put = collections.namedtuple("Put", "begin_ns end_ns outcome shard number data")  # outcome: 200, 500 or None for a lost connection


class Putter(threading.Thread):
    """Some puts of about 100 KB each, one after the other on one connection: together they fill a segment."""

    def __init__(self, port, seed):
        super().__init__(daemon=True)
        self.rng, self.puts, self.error = random.Random(seed), [], None
        self.client = Client(port, timeout=10)
        try:
            self.client.call("ListStreams")  # connected now: in its last moments the server takes no new connections
        except GONE:
            self.client.close()

    def put(self):
        data = self.rng.randbytes(self.rng.randrange(60000, 110000))
        begin = time.monotonic_ns()
        outcome, shard, number = 200, None, None
        try:
            key, text = f"k{self.rng.randrange(9)}", base64.b64encode(data).decode()
            answer = self.client.call("PutRecord", StreamName=STREAM, PartitionKey=key, Data=text)
            shard, number = answer["ShardId"], answer["SequenceNumber"]
        except ApiError as error:
            assert (error.status, error.type) == (500, "InternalFailure"), error
            outcome = 500
        except GONE:
            self.client.close()
            outcome = None
        self.puts.append(Put(begin, time.monotonic_ns(), outcome, shard, number, data))

    def run(self):
        try:
            for _ in range(PUTS):
                self.put()
        except AssertionError as error:
            self.error = error


def use_the_rest(port):
    """A read and the catalogue. What they answer while the disk fails is theirs to say; it must be an answer or the end of the process."""
    client = Client(port, timeout=10)
    try:
        for ask in (
            lambda: client.read_all(STREAM, shard_id(0)),
            lambda: client.call("CreateStream", StreamName="other", ShardCount=1),
            lambda: client.call("DeleteStream", StreamName="other"),
        ):
            try:
                ask()
            except ApiError as error:
                assert error.status >= 400, error
        time.sleep(0.02)  # the lifecycle of "other" goes on by itself
    except GONE:
        pass
    client.close()


class Run:
    """One life of the server with one failing call."""

    def __init__(self, shim, data_dir, at, error, seed):
        self.data_dir, self.error = data_dir, error
        self.log_file, self.trace = data_dir + ".said", data_dir + ".trace"
        self.started, self.puts, self.status, self.late = False, [], None, None
        env = environment(shim, data_dir, at=at, error=error, trace=self.trace)
        try:
            server = start(data_dir, self.log_file, env=env)
        except RuntimeError as failed:
            self.status = int(str(failed).rsplit(" ", 1)[1])
        else:
            self.started, self.ready_ns = True, time.monotonic_ns()
            self.live(server, seed)
        self.calls = calls(self.trace)
        self.failed = next((call for call in self.calls if call.failed), None)
        with open(self.log_file) as lines:
            self.said = lines.read()
        self.case = f"{error} from call {at}, {self.failed and ' '.join(self.failed[2:4])}"

    def live(self, server, seed):
        putters = [Putter(server.port, seed + i) for i in range(PUTTERS)]
        late = Putter(server.port, seed + PUTTERS)
        for putter in putters:
            putter.start()
        use_the_rest(server.port)
        for putter in putters:
            putter.join()
            assert not putter.error, putter.error
        self.puts = [put for putter in putters for put in putter.puts]
        self.late = self.put_late(late)
        self.stop_ns = time.monotonic_ns()
        if server.process.poll() is None:
            server.process.terminate()
        self.status = server.process.wait(timeout=30)
        server.process.stdout.close()

    def put_late(self, late):
        """When all is over: until a put is taken, a second at most. How long it took, or None."""
        begin, outcome = time.monotonic(), 500
        while outcome == 500 and time.monotonic() < begin + 1:
            late.put()
            self.puts.append(late.puts[-1])
            outcome = self.puts[-1].outcome
            time.sleep(0.01)
        return time.monotonic() - begin - 0.01 if outcome == 200 else None

    # ---- What must hold ----

    def when(self):
        if not self.started or self.failed.ns < self.ready_ns:
            return "at the start"
        return "in the stop" if self.failed.ns > self.stop_ns else "while it served"

    def stops_the_log(self):
        """A write or a sync of a stream's segments, or of their directory."""
        changes = self.failed.name in ("open", "pwritev", "fdatasync", "ftruncate", "fsync")
        return changes and re.match(re.escape(self.data_dir) + r"/streams/\d+(/|$)", self.failed.path)

    def check(self):
        assert self.status in (0, 1), f"{self.case}: exit status {self.status}"
        if not self.failed:
            return
        if self.status == 1 or not self.started:
            named = self.failed.path in self.said or os.path.dirname(self.failed.path) in self.said
            assert named, f"{self.case}: the log does not name it:\n{self.said}"
        if not self.started:
            assert self.status == 1
        elif self.when() == "at the start":
            self.check_start()
        elif self.when() == "while it served":
            self.check_served()

    def check_start(self):
        assert self.status == 0, f"{self.case}: the process ended:\n{self.said}"
        if "stream_damaged" in self.said:
            named = self.failed.path in self.said or os.path.dirname(self.failed.path) in self.said
            assert named, f"{self.case}: the log does not name it:\n{self.said}"
            assert all(put.outcome == 500 for put in self.puts), f"{self.case}: a put was taken by a stream that cannot be read"
        else:
            assert self.late is not None, f"{self.case}: puts did not resume"

    def check_served(self):
        if self.failed.name == "pread" and self.failed.path.endswith(".seg"):
            named = re.search(rf"extent_unreadable file={re.escape(self.failed.path)} offset=\d+ length=\d+", self.said)
            assert named, f"{self.case}: the log does not name it:\n{self.said}"
        for put in self.puts:
            waited = put.begin_ns < self.failed.ns + 20_000_000
            assert put.outcome is not None or not waited, f"{self.case}: a put that waited got no answer"
        if self.error == "EIO" and self.stops_the_log():
            if self.failed.path.startswith(self.data_dir + "/streams/2") and self.status == 0:
                return  # it was being made or deleted: nothing was in it, and that is tried again
            late = [put for put in self.puts if put.begin_ns > self.failed.ns and put.outcome == 200]
            assert not late or "/streams/2" in self.failed.path, f"{self.case}: {len(late)} puts were acknowledged after it"
            assert self.status == 1 and "log_poisoned" in self.said, f"{self.case}: the process went on"
        else:
            assert self.status == 0, f"{self.case}: the process ended:\n{self.said}"
            assert self.late is not None, f"{self.case}: puts did not resume"

    def check_disk(self, before):
        """The next start, on a disk that is well: all that was acknowledged, and nothing that was not put."""
        with start(self.data_dir, self.log_file) as server:
            client = Client(server.port)
            now = [[essence(r) for r in client.read_all(STREAM, shard_id(shard))] for shard in (0, 1)]
            client.call("PutRecord", StreamName=STREAM, PartitionKey="k", Data="bmV3")
        put = {put.data for put in self.puts}
        for shard in (0, 1):
            assert now[shard][: len(before[shard])] == before[shard], f"{self.case}: what was there is lost or changed"
            numbers = [int(record[0]) for record in now[shard]]
            assert numbers == sorted(set(numbers)), f"{self.case}: a number twice or out of order"
            new = [record[2] for record in now[shard][len(before[shard]) :]]
            assert len(set(new)) == len(new) and put.issuperset(new), f"{self.case}: a record twice, or one that nobody put"
        there = {(shard_id(shard), record[0], record[2]) for shard in (0, 1) for record in now[shard]}
        acknowledged = [put for put in self.puts if put.outcome == 200]
        lost = [put for put in acknowledged if (put.shard, put.number, put.data) not in there]
        assert not lost, f"{self.case}: {len(lost)} of {len(acknowledged)} acknowledged records are lost"
        return len(acknowledged)


def build(data_dir):
    """A stream with a sealed segment and one that kill -9 left open."""
    log_file = data_dir + ".said"
    server = start(data_dir, log_file)
    client = Client(server.port)
    make_streams(client, [STREAM], 2)
    for i in range(10):
        client.call("PutRecord", StreamName=STREAM, PartitionKey=f"k{i}", Data=base64.b64encode(random.randbytes(1000)).decode())
    server.stop()
    server = start(data_dir, log_file)
    client = Client(server.port)
    for i in range(10):
        client.call("PutRecord", StreamName=STREAM, PartitionKey=f"k{i}", Data=base64.b64encode(random.randbytes(1000)).decode())
    before = [[essence(r) for r in client.read_all(STREAM, shard_id(shard))] for shard in (0, 1)]
    server.kill()
    return before


def choose(clean, rng):
    """Which calls fail. The run without a failure says how many there are; threads make a few more or less of them each time."""
    last = clean[-1].number
    if ALL:
        return list(range(1, last + 3))
    syncs = [call.number for call in clean if call.name in ("fdatasync", "pwritev") and call.path.endswith(".seg")]
    return sorted(set(rng.sample(syncs, min(len(syncs), SAMPLE // 2))) | set(rng.sample(range(1, last + 1), SAMPLE // 2)))


def test_each_call_fails_once():
    print(f"PENSTOCK_SEED={SEED}")
    rng, counts, acknowledged = random.Random(SEED), collections.Counter(), 0
    with memory_dir() as folder:
        shim, kept, data_dir = compile_shim(folder), os.path.join(folder, "kept"), os.path.join(folder, "data")
        before = build(kept)

        def run(at, error):
            shutil.rmtree(data_dir, ignore_errors=True)
            shutil.copytree(kept, data_dir)
            if os.path.exists(data_dir + ".trace"):
                os.unlink(data_dir + ".trace")
            done = Run(shim, data_dir, at, error, rng.randrange(1 << 32))
            done.check()
            return done, done.check_disk(before)

        clean = run(0, "EIO")[0]
        assert clean.late is not None and all(put.outcome == 200 for put in clean.puts)
        for error in ("EIO", "ENOSPC"):
            for at in choose(clean.calls, rng):
                done, n = run(at, error)
                acknowledged += n
                if done.failed:
                    counts[error, done.when(), "ended, said why" if done.status else "went on"] += 1
    for (error, when, how), n in sorted(counts.items()):
        print(f"  {error} {when}: {n} {how}")
    print(f"disk errors: {sum(counts.values())} calls failed, of the {len(clean.calls)} of a run, with EIO or ENOSPC; {acknowledged} records "
          "acknowledged, 0 lost, 0 wrong bytes, 0 acknowledged after a failed sync")


def test_an_unreadable_stream_stops_no_other():
    """A segment that cannot be opened (a loop of symbolic links): that stream answers errors and can be deleted, the other one is served; with
    the file back the next start has its records."""
    with memory_dir() as folder:
        data_dir = os.path.join(folder, "data")
        log_file, segment, kept = data_dir + ".said", os.path.join(data_dir, "streams/1", f"{1:020}.seg"), os.path.join(folder, "kept")

        def put(client, name):
            return client.call("PutRecord", StreamName=name, PartitionKey="k", Data="AAAA")

        def refused(ask):
            try:
                ask()
            except ApiError as error:
                return (error.status, error.type) == (500, "InternalFailure")
            return False

        with start(data_dir, log_file) as server:
            client = Client(server.port)
            make_streams(client, ["bad", "good"], 1)
            put(client, "bad"), put(client, "good")
        os.rename(segment, kept)
        os.symlink(segment, segment)
        with start(data_dir, log_file) as server:
            client = Client(server.port)
            assert refused(lambda: put(client, "bad")) and refused(lambda: client.read_all("bad", shard_id(0)))
            put(client, "good")
            assert len(client.read_all("good", shard_id(0))) == 2
            assert server.metric("penstock_streams_damaged") == 1
        with open(log_file) as lines:
            said = lines.read()
        assert f"segment_unreadable file={segment}" in said and "stream_damaged stream=bad" in said, said
        os.unlink(segment)
        os.rename(kept, segment)
        with start(data_dir, log_file) as server:
            client = Client(server.port)
            assert len(client.read_all("bad", shard_id(0))) == 1
            put(client, "bad")
        os.rename(segment, kept)
        os.symlink(segment, segment)
        with start(data_dir, log_file) as server:
            client = Client(server.port)
            client.call("DeleteStream", StreamName="bad")
            patient(lambda: client.call("ListStreams"), lambda answer: answer["StreamNames"] == ["good"])
            assert server.metric("penstock_streams_damaged") == 0
            assert not os.path.lexists(os.path.dirname(segment))
