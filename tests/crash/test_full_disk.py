"""A small disk that fills and empties: a real tmpfs, with a ballast file that comes and goes, and the real server on it.

- the disk itself is full (32 MiB; the server is told of more free space than there is, so that nothing but ENOSPC stops it): puts fill it
- its floor is reached (256 MiB; the server stops taking puts while there is less than 128 MiB free)
- --free-floor: a disk that says how much is free decides as the option says

While full: a put answers 500 InternalFailure, which every SDK repeats; what is stored is read, polled and pushed; a subscription lives on.
After the ballast is gone: the first put is acknowledged within a second. The same after kill -9 and a start on the full disk. At the end
every acknowledged record is there, once, and was pushed. (After a clean stop, a disk without one free byte refuses the start, and the
message says that.)

The tmpfs is mounted in a mount namespace of the test's own (unshare), which a user may make too; where that is not allowed the disk is
tests/crash/fault.c, which refuses whatever takes space. Which of them it was is printed.
"""

import base64
import contextlib
import http.client
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from damage import essence, memory_dir, shard_id, start
from fault import compile_shim, environment
from penstock_client import ApiError, Client, Server, Subscription, data_of, patient

MIB = 1 << 20
SEED = int(os.environ.get("PENSTOCK_SEED", str(random.randrange(1 << 32))))
INNER = "PENSTOCK_FULL_DISK_INNER"
STREAM = "s"


# ---- Disks ----

class Tmpfs:
    """A disk of so many MiB; a ballast file fills it up to `left`."""

    name = "tmpfs"

    def __init__(self, folder, size_mib):
        self.path, self.ballast, self.env = folder, os.path.join(folder, "ballast"), {}
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "penstock-test", folder], check=True)

    def fill(self, left):
        with open(self.ballast, "ab") as file:
            while (free := os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize) > left:
                with contextlib.suppress(OSError):  # the server, which writes zeros ahead, was faster
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free - left)

    def fill_for_start(self):
        self.fill(0)

    def empty(self):
        os.unlink(self.ballast)

    def close(self):
        subprocess.run(["umount", "--lazy", self.path], check=True)


class Shim:
    """fault.c: full while a file is there."""

    name = "fault.c"

    def __init__(self, folder, shim):
        self.path, self.ballast = folder, folder + ".full"
        self.env = environment(shim, folder, full=self.ballast)

    def fill(self, left):
        open(self.ballast, "w").close()

    def fill_for_start(self):
        self.empty()  # it refuses a block that a real disk has just been given back

    def empty(self):
        os.unlink(self.ballast)

    def close(self):
        pass


# ---- Who looks on ----

class Watcher(threading.Thread):
    """A pushed consumer that must never be cut off while the server lives."""

    def __init__(self, port, consumer, seen=(), **position):
        super().__init__(daemon=True)
        self.seen, self.error = list(seen), None
        self.subscription = Subscription(port, consumer, shard_id(0), **position)

    def run(self):
        try:
            for event in self.subscription:
                self.seen += [(r["SequenceNumber"], data_of(r)) for r in event["Records"]]
        except (Subscription.StreamException, http.client.HTTPException, OSError) as error:
            self.error = error

    def wait_for(self, number):
        end = time.monotonic() + 10
        while not self.seen or self.seen[-1][0] != number:
            assert not self.error and time.monotonic() < end, f"what is stored is not pushed: {self.error}"
            time.sleep(0.005)


class Used:
    """A server on a disk, and what it acknowledged."""

    def __init__(self, disk, env, rng):
        self.disk, self.env, self.rng = disk, dict(disk.env, **env), rng
        self.data_dir, self.log_file = os.path.join(disk.path, "data"), disk.path + ".said"
        self.acknowledged, self.refused, self.resumed, self.full_times = [], 0, [], 0
        self.start()
        arn = self.client.make_stream(STREAM)
        self.consumer, self.late = self.client.register(arn, "app"), self.client.register(arn, "late")
        self.watch(Type="TRIM_HORIZON")

    def start(self):
        self.server = start(self.data_dir, self.log_file, env=self.env)
        self.client = Client(self.server.port)

    def watch(self, **position):
        self.watcher = Watcher(self.server.port, self.consumer, **position)
        self.watcher.start()

    def put(self, size):
        """True: acknowledged. A refusal must be what an SDK repeats."""
        data = self.rng.randbytes(size)
        try:
            answer = self.client.call("PutRecord", StreamName=STREAM, PartitionKey="k", Data=base64.b64encode(data).decode())
        except ApiError as error:
            assert (error.status, error.type) == (500, "InternalFailure"), error
            self.refused += 1
            return False
        self.acknowledged.append((answer["SequenceNumber"], data))
        return True

    def put_until_full(self, size, most=400):
        """Full is what refuses 20 in a row: one alone may have met zeros that were written ahead, and are given back to a full disk."""
        refused = 0
        for _ in range(most):
            refused = 0 if self.put(size) else refused + 1
            if refused == 20:
                return
        raise AssertionError(f"{most} puts of {size} bytes did not fill it")

    def check_full(self):
        """Puts go on being refused, PutRecords too; all else is served."""
        assert not self.put(200_000)
        record = {"Data": base64.b64encode(bytes(200_000)).decode(), "PartitionKey": "k"}
        answer = self.client.call("PutRecords", StreamName=STREAM, Records=[record, record])
        assert answer["FailedRecordCount"] == 2 and {r["ErrorCode"] for r in answer["Records"]} == {"InternalFailure"}
        self.check_log()
        self.watcher.wait_for(self.acknowledged[-1][0])
        late = Watcher(self.server.port, self.late, Type="TRIM_HORIZON")
        late.start()
        late.wait_for(self.acknowledged[-1][0])
        late.subscription.close()
        late.join()
        assert late.seen == self.acknowledged
        self.full_times += 1

    def check_log(self):
        log = [(number, data) for number, _, data, _ in map(essence, self.client.read_all(STREAM, shard_id(0)))]
        assert log == self.acknowledged, f"{len(log)} records are stored, {len(self.acknowledged)} were acknowledged"

    def resume(self):
        """The ballast goes; until a put is taken, in seconds."""
        self.disk.empty()
        begin = time.monotonic()
        while not self.put(1000):
            assert time.monotonic() < begin + 1, "puts did not resume within 1 s"
            time.sleep(0.002)
        self.resumed.append(time.monotonic() - begin)
        self.watcher.wait_for(self.acknowledged[-1][0])

    def kill_and_start(self, fill=False):
        """On the disk as it is, or filled to the last byte."""
        self.server.kill()
        if fill:
            self.disk.fill_for_start()
        self.watcher.join()
        seen = self.watcher.seen
        assert seen == self.acknowledged, "what was pushed is not what was acknowledged"
        self.start()
        if fill:
            self.disk.fill(0)
        self.watch(seen=seen, Type="AFTER_SEQUENCE_NUMBER", SequenceNumber=seen[-1][0])


# ---- The two ways of being full ----

def use(disk, what, left, env, rng):
    """Full and empty, twice; then killed while full, started while full, and emptied; then a start on the emptied disk."""
    used = Used(disk, env, rng)
    assert used.put(1000)  # the shim leaves room for none
    for _ in range(2):
        disk.fill(left)
        used.put_until_full(200_000)
        used.check_full()
        used.resume()
    disk.fill(left)
    used.put_until_full(200_000)
    used.watcher.wait_for(used.acknowledged[-1][0])
    used.kill_and_start(fill=True)
    used.check_full()
    used.resume()
    used.kill_and_start()
    used.check_log()
    assert used.put(1000)
    used.watcher.wait_for(used.acknowledged[-1][0])
    used.server.stop()
    left_no_room(used)
    times = ", ".join(f"{seconds * 1000:.0f}" for seconds in used.resumed)
    print(f"full disk ({what}, {disk.name}): full {used.full_times} times, {used.refused} puts refused with 500, {len(used.acknowledged)} "
          f"acknowledged, 0 lost; puts resumed {times} ms after there was room")


def left_no_room(used):
    """A clean stop removes SQLite's index of the WAL, and not a byte is left for the next: it starts in the room of the reserve; on a disk
    that is too small for one the start says so, and goes well with room."""
    if used.disk.name != "tmpfs":
        return
    used.disk.fill(0)
    if os.path.exists(os.path.join(used.data_dir, "reserve")):
        used.start()
        used.check_log()
        used.server.stop()
        return
    with pytest.raises(RuntimeError, match="exit status 1"):
        used.start()
    with open(used.log_file) as said:
        assert f"{used.data_dir}/catalogue.db: disk I/O error; check that the disk has room" in said.read()
    used.disk.empty()
    used.start()
    used.check_log()
    used.server.stop()


def mounted():
    """Are we where a tmpfs may be mounted and nobody else sees it?"""
    return os.environ.get(INNER) == "1"


def can_mount():
    probe = 'mount -t tmpfs -o size=1m penstock-test "$0"'
    with memory_dir() as folder:
        return subprocess.run(["unshare", "-rm", "sh", "-c", probe, folder], capture_output=True).returncode == 0


@contextlib.contextmanager
def small_disk(size_mib):
    """(disk, shim)"""
    with memory_dir() as folder:
        path, shim = os.path.join(folder, "disk"), compile_shim(folder)
        os.mkdir(path)
        disk = Tmpfs(path, size_mib) if mounted() else Shim(path, shim)
        try:
            yield disk, shim
        finally:
            disk.close()


def enclosed(test):
    """Runs one test of this file in a mount namespace of its own. False: that is not allowed here."""
    if mounted() or not can_mount():
        return False
    command = ["unshare", "-rm", sys.executable, "-m", "pytest", "-q", "-s", f"{__file__}::{test}"]
    done = subprocess.run(command, env=dict(os.environ, **{INNER: "1"}), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print("\n".join(line for line in done.stdout.splitlines() if line.startswith(("full disk", "PENSTOCK_SEED"))))
    return True


def test_no_space_left():
    """ENOSPC itself."""
    if enclosed("test_no_space_left"):
        return
    print(f"PENSTOCK_SEED={SEED}")
    with small_disk(32) as (disk, shim):
        env = environment(shim, disk.path, free=1 << 40) if mounted() else {}
        use(disk, "no space left", 3 * MIB, env, random.Random(SEED))


def test_floor():
    """The server's own reserve: max(128 MiB, 1 %)."""
    if enclosed("test_floor"):
        return
    if not mounted():
        pytest.skip("needs a real disk: no tmpfs can be mounted here")
    with small_disk(256) as (disk, _):
        use(disk, "floor", 132 * MIB, {}, random.Random(SEED))


def use_by_creations(disk):
    """Streams with a record each, until the floor; then another process takes all that is left."""
    data_dir, log_file = os.path.join(disk.path, "data"), disk.path + ".said"
    options = ("--limits", "off", "--transition-ms", "0", "--free-floor", "8")
    server = Server(*options, data_dir=data_dir, log_file=log_file)
    client, made = Client(server.port), []

    def free():
        return os.statvfs(disk.path).f_bavail * os.statvfs(disk.path).f_frsize

    def create(name):
        client.make_stream(name)
        made.append(name)
        client.call("PutRecord", StreamName=name, PartitionKey="k", Data=base64.b64encode(bytes(200_000)).decode())

    def delete(names):
        for name in names:
            client.call("DeleteStream", StreamName=name)
            made.remove(name)
        patient(lambda: client.call("ListStreams"), lambda answer: len(answer["StreamNames"]) == min(len(made), 100))

    at_first = free()
    with pytest.raises(ApiError, match="500 InternalFailure: .*free-space floor"):
        while True:
            create(f"s{len(made)}")
    time.sleep(0.15)  # the free space that a creation is judged by is up to 100 ms old
    n, left = len(made), free()
    assert n > 100 and left > 6 * MIB
    for operation, members in (
        ("CreateStream", {"StreamName": "more", "ShardCount": 1}),
        ("UpdateShardCount", {"StreamName": made[0], "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}),
        ("RegisterStreamConsumer", {"StreamARN": client.wait_active(made[0])["StreamARN"], "ConsumerName": "c"}),
    ):
        with pytest.raises(ApiError, match="500 InternalFailure: .*free-space floor"):
            client.call(operation, **members)
    disk.fill(0)
    delete(made[: n // 2])
    disk.fill(0)
    server.kill()
    server = Server(*options, data_dir=data_dir, log_file=log_file)
    client = Client(server.port)
    delete(list(made))
    disk.empty()
    assert free() > at_first - 12 * MIB, "the deletions gave the room back"
    time.sleep(0.15)
    create("again")
    server.stop()
    print(f"full disk (creations, {disk.name}): {n} streams until the floor, {left >> 10} KiB were left; with 0 bytes left all deleted, "
          "also after kill -9")


def test_creations():
    """64 MiB filled by creations, and then by another process."""
    if enclosed("test_creations"):
        return
    if not mounted():
        pytest.skip("needs a real disk: no tmpfs can be mounted here")
    with small_disk(64) as (disk, _):
        use_by_creations(disk)


@pytest.mark.parametrize("options, taken", [((), False), (("--free-floor", "65"), False), (("--free-floor", "64"), True)])
def test_floor_by_option(tmp_path, options, taken):
    """64 MiB are free: too little, unless the option says that it is enough."""
    data_dir = tmp_path / "data"
    env = environment(compile_shim(tmp_path), data_dir, free=64 * MIB)
    with Server(data_dir=data_dir) as server:
        Client(server.port).make_stream(STREAM)
    with Server(*options, data_dir=data_dir, env=env) as server:
        client = Client(server.port)

        def put():
            return client.call("PutRecord", StreamName=STREAM, PartitionKey="k", Data="AAAA")

        if taken:
            put()
        else:
            with pytest.raises(ApiError, match="500 InternalFailure: .*free-space floor"):
                put()
