"""Makes tests/upgrade/VERSION/: data directories as a released penstock leaves them, for tests/crash/test_upgrade.py.

    git worktree add /tmp/release v0.1.0 && (cd /tmp/release && ./dev build)
    PENSTOCK_BIN=/tmp/release/build/penstock PYTHONPATH=tests/client python3 tests/upgrade/make.py

Run it once, with the binary of a release, and commit what it writes. A directory of an older version is
never made again. Two ways to end: `stopped` by SIGTERM, `killed` by SIGKILL (records behind no footer,
commits of the catalogue in its WAL alone). Each is NAME.tar.xz, the data directory, and NAME.json, the
manifest: what clients of that version were told and must find again.

The streams:
    busy      3 shards, grown by a split, a merge and an UpdateShardCount with intermediate shards; records
              of 50 kB in segments that were sealed when they were full, by a stop and by a recovery, and in
              the open one; consumers, one of them registered twice
    again     deleted and created again, then split
    large     on-demand, records of up to 10 MiB allowed, one of 1.5 MiB
    empty     no record
    creating, updating, deleting
              in that state, and so are two consumers of busy: the server's next start goes on
"""

import base64
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

from lineage import list_shards, read_shard, wait_active
from penstock_client import BINARY, Client, Server

HERE = pathlib.Path(__file__).resolve().parent
HALF = 1 << 127
LONG_MS = "3600000"  # what is CREATING, UPDATING or DELETING stays so to the end


def text(stream, number, size):
    """Compresses well, and no two are alike."""
    line = f"{stream} {number} ".encode()
    return (line * (size // len(line) + 1))[:size]


class Maker:
    def __init__(self, data_dir):
        self.data_dir, self.put_count = data_dir, {}

    def start(self, transition_ms="5"):
        self.server = Server("--limits", "off", "--transition-ms", transition_ms, data_dir=self.data_dir, log_level="error")
        self.client = Client(self.server.port)

    def restart(self, kill=False, **more):
        self.client.close()
        if kill:
            self.server.kill()
        else:
            self.server.stop()
        self.start(**more)

    def put(self, stream, count, size=100):
        for _ in range(count):
            number = self.put_count[stream] = self.put_count.get(stream, 0) + 1
            data = base64.b64encode(text(stream, number, size)).decode()
            self.client.call("PutRecord", StreamName=stream, PartitionKey=f"key-{number}", Data=data)

    def reshard(self, operation, stream, **more):
        self.client.call(operation, StreamName=stream, **more)
        wait_active(self.client, stream)

    def delete(self, stream):
        self.client.call("DeleteStream", StreamName=stream)
        while stream in self.client.call("ListStreams")["StreamNames"]:
            time.sleep(0.01)


def fill(maker):
    """Everything but what is under way at the end."""
    maker.start()
    client = maker.client
    arn = client.make_stream("busy", 2)
    client.register(arn, "first")
    again = client.register(arn, "second")
    client.call("DeregisterStreamConsumer", ConsumerARN=again)
    client.make_stream("again", 1)
    maker.put("again", 5)
    maker.delete("again")
    client.make_stream("empty", 1)
    client.call("CreateStream", StreamName="large", StreamModeDetails={"StreamMode": "ON_DEMAND"}, MaxRecordSizeInKiB=10240)
    wait_active(client, "large")
    maker.put("large", 1, 1 << 20 | 1 << 19)
    maker.put("large", 5)
    maker.put("busy", 40, 50000)
    maker.reshard("SplitShard", "busy", ShardToSplit="0", NewStartingHashKey=str(HALF // 2))
    maker.put("busy", 20)
    time.sleep(1.1)  # a name's second rises
    client.make_stream("again", 1)
    maker.put_count["again"] = 100
    maker.put("again", 5)
    maker.restart()
    maker.put("busy", 20, 2000)
    maker.reshard("MergeShards", "busy", ShardToMerge="3", AdjacentShardToMerge="1")
    maker.put("busy", 20)
    maker.client.register(arn, "second")
    maker.restart(kill=True)
    maker.reshard("UpdateShardCount", "busy", TargetShardCount=3, ScalingType="UNIFORM_SCALING")
    maker.put("busy", 30)
    maker.reshard("SplitShard", "again", ShardToSplit="0", NewStartingHashKey=str(HALF))
    maker.put("again", 6)
    for name in ("updating", "deleting"):
        maker.client.make_stream(name, 2)
        maker.put(name, 6)
    leaving = maker.client.register(arn, "leaving")
    maker.restart(transition_ms=LONG_MS)
    maker.put("busy", 10, 5000)
    maker.client.call("DeregisterStreamConsumer", ConsumerARN=leaving)
    maker.client.call("RegisterStreamConsumer", StreamARN=arn, ConsumerName="late")
    maker.client.call("CreateStream", StreamName="creating", ShardCount=2)
    maker.client.call("DeleteStream", StreamName="deleting")
    maker.client.call("UpdateShardCount", StreamName="updating", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    maker.put("updating", 4)


def described(client, name):
    summary = client.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]
    found = {"summary": summary, "shards": [], "consumers": [], "records": {}}
    if summary["StreamStatus"] in ("ACTIVE", "UPDATING"):
        found["shards"] = list_shards(client, name)
        found["consumers"] = client.call("ListStreamConsumers", StreamARN=summary["StreamARN"])["Consumers"]
        for shard in found["shards"]:
            records = read_shard(client, name, shard["ShardId"])
            found["records"][shard["ShardId"]] = [entry(record) for record in records]
    return found


def entry(record):
    data = base64.b64decode(record["Data"])
    return [record["SequenceNumber"], record["PartitionKey"], record["ApproximateArrivalTimestamp"], len(data), hashlib.sha256(data).hexdigest()]


def manifest(maker, version, how):
    client = maker.client
    streams = {name: described(client, name) for name in client.call("ListStreams")["StreamNames"]}
    for name, count in (("busy", 140), ("again", 11), ("large", 6), ("updating", 10)):
        found = sum(len(records) for records in streams[name]["records"].values())
        assert found == count, f"{found} records of {name}, {count} were put"
    shard = streams["busy"]["shards"][0]["ShardId"]
    iterator = client.call("GetShardIterator", StreamName="busy", ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    tokens = {"iterator": iterator, "shard": shard, "list": client.call("ListShards", StreamName="busy", MaxResults=4)["NextToken"]}
    return {"version": version, "how": how, "written_s": time.time(), "streams": streams, "tokens": tokens}


def pack(data_dir, path):
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for root, folders, files in os.walk(data_dir):
            folders[:] = sorted(set(folders) - {"tls"})  # no keys in a source tree; the server makes new ones
            for name in sorted(files):
                if name in ("lock", "catalogue.db-shm"):  # of the process
                    continue
                full = pathlib.Path(root) / name
                info = tarfile.TarInfo(str(full.relative_to(data_dir)))
                info.size, info.mode = full.stat().st_size, 0o600
                archive.addfile(info, io.BytesIO(full.read_bytes()))


def make(folder, version, how):
    with tempfile.TemporaryDirectory(prefix="penstock-upgrade-") as data_dir:
        maker = Maker(data_dir)
        fill(maker)
        told = manifest(maker, version, how)
        if how == "killed":
            maker.server.kill()
        else:
            maker.server.stop()
        pack(data_dir, folder / f"{how}.tar.xz")
    (folder / f"{how}.json").write_text(json.dumps(told, indent=None, separators=(",", ":")) + "\n")


def main():
    version = subprocess.run([BINARY, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    folder = HERE / version
    if folder.exists():
        sys.exit(f"{folder} exists: it is never made again")
    folder.mkdir()
    for how in ("stopped", "killed"):
        make(folder, version, how)


if __name__ == "__main__":
    main()
