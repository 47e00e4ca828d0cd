"""The whole server under a sanitizer and mixed load: ./dev test mixed.

    python mixed.py SECONDS KIND...        KIND: tsan or asan, with build/KIND/penstock

Rounds of some seconds on one data directory. In each the server starts, everything that it does is asked of it at once (puts, polls and
pushes in both formats, over HTTP/1.1, h2c and TLS; reshards; streams and consumers that come and go; /state, /metrics, /faults; attacks;
clients that vanish; SIGHUP), and SIGTERM comes in the middle of it. Every second round is signed. Fails if a sanitizer reports anything, if
the server ends otherwise than by its SIGTERM with status 0, or if an acknowledged record of the stream that lives on is not there at the end.

Prints a line for each round, what was done, and `no report` or the reports.
"""

import collections
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import boto3
import botocore.config
import botocore.exceptions

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "client"), str(ROOT / "tests" / "abuse")]

import lineage  # noqa: E402
import penstock_client  # noqa: E402
import signing  # noqa: E402
from attacks import ATTACKS  # noqa: E402
from penstock_client import ApiError, Client, Server, Subscription  # noqa: E402

ROUND_S = 14
LASTING = "lasting"
KEYS = "[one]\naws_access_key_id = AKIDONE\naws_secret_access_key = secret-{0}\n[two]\naws_access_key_id = AKIDTWO\naws_secret_access_key = two\n"
GONE = (OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, ApiError, ValueError, *lineage.GONE)
OPTIONS = {
    "tsan": {"TSAN_OPTIONS": "log_path={0}:halt_on_error=0:second_deadlock_stack=1"},
    "asan": {"ASAN_OPTIONS": "log_path={0}:detect_leaks=1", "UBSAN_OPTIONS": "log_path={0}:print_stacktrace=1"},
}


class Load:
    """What all actors of a round share. An actor is a method that runs again and again on a thread of its own until the round is over."""

    def __init__(self, server, signed, rng, counts, keys):
        self.server, self.signed, self.counts, self.keys = server, signed, counts, keys
        self.seed, self.over = rng.random(), threading.Event()
        self.ca = str(pathlib.Path(server.data_dir) / "tls" / "ca.pem")
        self.threads, self.mistakes, self.children = [], [], []

    def start(self, actor, n=1):
        for i in range(n):
            thread = threading.Thread(target=self.run, args=(actor, random.Random(f"{self.seed} {actor.__name__} {i}")), daemon=True)
            self.threads.append(thread)
            thread.start()

    def run(self, actor, rng):
        while not self.over.is_set():
            try:
                actor(rng)
                self.counts[actor.__name__] += 1
            except GONE as error:
                self.counts[f"{actor.__name__}: {type(error).__name__}"] += 1
                time.sleep(0.01)
            except Exception:  # pylint: disable=broad-except
                self.mistakes.append(traceback.format_exc())
                return

    def finish(self):
        for child in list(self.children):
            child.terminate()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                self.mistakes.append(f"{thread.name} hangs")

    def child(self, command, seconds, **more):
        """A process that ends with the round, if not before."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
        self.children.append(process)
        end = time.monotonic() + seconds
        while process.poll() is None and not self.over.wait(0.05) and time.monotonic() < end:
            pass
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.children.remove(process)

    def boto(self, rng):
        tls = rng.random() < 0.5
        return boto3.session.Session().client(
            "kinesis", endpoint_url=f"{'https' if tls else 'http'}://localhost:{self.server.port}", region_name="us-east-1", verify=self.ca if tls else None,
            aws_access_key_id="AKIDTWO", aws_secret_access_key="two",
            config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=5, connect_timeout=5),
        )

    # ---- Records ----

    def load_program(self, rng):
        """penstock-load with a stream and consumers of its own."""
        mode = rng.choice(("mixed", "push", "poll", "put"))
        words = [mode, "--duration", rng.choice((2, 30)), "--warm-up", 0, "--rate", rng.choice((0, 50, 300)), "--shards", rng.choice((1, 3)), "--size", "exp:2000"]
        words += ["--format", rng.choice(("json", "cbor")), "--protocol", rng.choice(("h2", "http1")), "--batch", rng.choice((1, 1, 40)), "--quiet"]
        words += ["--stalled", 1] if mode == "push" and rng.random() < 0.3 else []
        tls = rng.random() < 0.5
        words += ["--endpoint", f"{'https' if tls else 'http'}://127.0.0.1:{self.server.port}"] + (["--ca", self.ca] if tls else [])
        environment = dict(os.environ, AWS_ACCESS_KEY_ID="AKIDTWO", AWS_SECRET_ACCESS_KEY="two")
        self.child([str(ROOT / "build" / "penstock-load"), *map(str, words)], 20, env=environment)

    def sdk(self, rng):
        """Everything that touches records, by boto3, on a stream that the churn of this round made."""
        client = self.boto(rng)
        for stream in client.list_streams(Limit=100)["StreamNames"]:
            if self.over.is_set() or rng.random() < 0.4:
                continue
            client.put_record(StreamName=stream, PartitionKey=str(rng.random()), Data=rng.randbytes(rng.randrange(2000)))
            records = [{"PartitionKey": str(rng.random()), "Data": rng.randbytes(rng.randrange(3000))} for _ in range(rng.randrange(1, 60))]
            client.put_records(StreamName=stream, Records=records)
            shard = rng.choice(client.list_shards(StreamName=stream)["Shards"])["ShardId"]
            iterator = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=rng.choice(("LATEST", "TRIM_HORIZON")))["ShardIterator"]
            for _ in range(3):
                iterator = iterator and client.get_records(ShardIterator=iterator, Limit=500).get("NextShardIterator")

    def sdk_subscriptions(self, rng):
        client = self.boto(rng)
        arn = client.describe_stream_summary(StreamName=LASTING)["StreamDescriptionSummary"]["StreamARN"]
        name = f"sdk-{rng.randrange(6)}"
        made = client.register_stream_consumer(StreamARN=arn, ConsumerName=name)["Consumer"]["ConsumerARN"]
        try:
            time.sleep(0.1)
            shard = rng.choice(client.list_shards(StreamName=LASTING)["Shards"])["ShardId"]
            answer = client.subscribe_to_shard(ConsumerARN=made, ShardId=shard, StartingPosition={"Type": rng.choice(("LATEST", "TRIM_HORIZON"))})
            for at, _ in enumerate(answer["EventStream"]):
                if at > 5 or self.over.is_set():
                    break
            answer["EventStream"].close()
        finally:
            client.deregister_stream_consumer(ConsumerARN=made)

    # ---- The catalogue ----

    def churn(self, rng):
        """Streams that live for a moment, with consumers and subscriptions on them when they go."""
        client, name = self.boto(rng), f"churn-{rng.randrange(8)}"
        if name not in client.list_streams(Limit=100)["StreamNames"]:
            client.create_stream(StreamName=name, ShardCount=rng.randrange(1, 4))
            time.sleep(rng.random() * 0.1)
        summary = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        if summary["ConsumerCount"] == 0:
            client.register_stream_consumer(StreamARN=summary["StreamARN"], ConsumerName="short")
        client.put_record(StreamName=name, PartitionKey="k", Data=b"x" * rng.randrange(1, 50000))
        client.list_stream_consumers(StreamARN=summary["StreamARN"])
        if rng.random() < 0.8:
            client.delete_stream(StreamName=name, EnforceConsumerDeletion=True)

    def reshard(self, rng):
        client = self.boto(rng)
        shards = [s for s in client.list_shards(StreamName=LASTING)["Shards"] if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
        ranges = {int(s["HashKeyRange"]["StartingHashKey"]): s for s in shards}
        begin, shard = rng.choice(sorted(ranges.items()))
        end = int(shard["HashKeyRange"]["EndingHashKey"])
        if len(shards) < 6 and rng.random() < 0.5:
            client.split_shard(StreamName=LASTING, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((begin + end) // 2 + 1))
        elif end + 1 in ranges and rng.random() < 0.7:
            client.merge_shards(StreamName=LASTING, ShardToMerge=shard["ShardId"], AdjacentShardToMerge=ranges[end + 1]["ShardId"])
        else:
            client.update_shard_count(StreamName=LASTING, TargetShardCount=max(1, min(6, len(shards) + rng.choice((-1, 1)))), ScalingType="UNIFORM_SCALING")
        time.sleep(0.3)

    # ---- Everything else ----

    def admin(self, rng):
        path = rng.choice(("/state", "/state?limit=3", "/metrics", "/healthz", "/faults", "/nothing"))
        self.server.get(path, self.signature(path) if self.signed else {})
        if rng.random() < 0.05:
            rules = rng.choice(({"delay": "0.2:5ms-50ms"}, {"reset": "0.05", "end": "2s"}, {}))
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as sock:
                body = json.dumps(rules).encode()
                sock.sendall(b"PUT /faults HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                sock.recv(4096)
        time.sleep(0.01)

    def signature(self, path):
        """The headers of a signed GET."""
        request = signing.Request(f"127.0.0.1:{self.server.port}", "", b"")
        request.method, (request.path, _, query) = "GET", path.partition("?")
        request.query, request.headers = [tuple(pair.split("=")) for pair in query.split("&") if pair], {"host": request.headers["host"]}
        return request.sign("AKIDTWO", "two").headers

    def attack(self, rng):
        name = rng.choice(sorted(ATTACKS))
        arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{LASTING}/consumer/attacked:1"
        self.child([sys.executable, str(ROOT / "tests" / "abuse" / "attacks.py"), name, str(self.server.port), "0.5", LASTING, arn], 4)

    def garbage(self, rng):
        """Bytes of no protocol, requests that are not whole, bodies of no format; and then a reset."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as sock:
            head = "POST / HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"{k}: {v}\r\n" for k, v in penstock_client.headers(rng.choice(("PutRecord", "GetRecords", "Unknown"))).items())
            body = rng.choice((b"{", b"[]", b'{"StreamName": 7}', rng.randbytes(200), b'{"Records":[' + b"{}," * 2000))
            whole = head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
            sent = rng.choice((rng.randbytes(300), whole, whole[: rng.randrange(len(whole))], b"\x16\x03\x01" + rng.randbytes(100), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(60)))
            sock.sendall(sent)
            if rng.random() < 0.5:
                sock.settimeout(0.2)
                sock.recv(4096)
            vanish(sock)

    def tls_garbage(self, rng):
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(rng.choice((["h2"], ["http/1.1"])))
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as sock:
            with context.wrap_socket(sock, server_hostname="localhost") as inner:
                inner.sendall(rng.choice((rng.randbytes(100), b"GET /state HTTP/1.1\r\nHost: l\r\n\r\n" * 3)))
                if rng.random() < 0.5:
                    vanish(inner)

    def vanishing(self, rng):
        """Asks for something that takes a moment, and is gone before it is answered."""
        operation, members = rng.choice((
            ("PutRecord", {"StreamName": LASTING, "PartitionKey": "v:", "Data": "djox"}),
            ("ListShards", {"StreamName": LASTING}),
            ("CreateStream", {"StreamName": f"churn-{rng.randrange(8)}", "ShardCount": 1}),
        ))
        client = Client(self.server.port, timeout=5)
        client.connection.request("POST", "/", json.dumps(members).encode(), penstock_client.headers(operation))
        vanish(client.connection.sock)
        time.sleep(0.02)

    def vanishing_subscription(self, rng):
        client = Client(self.server.port, timeout=5)
        consumers = client.call("ListStreamConsumers", StreamARN=f"arn:aws:kinesis:us-east-1:000000000000:stream/{LASTING}")["Consumers"]
        shard = rng.choice(client.shard_ids(LASTING))
        subscription = Subscription(self.server.port, rng.choice(consumers)["ConsumerARN"], shard, timeout=5, Type="TRIM_HORIZON")
        if rng.random() < 0.7:
            next(iter(subscription))
        vanish(subscription.socket)
        subscription.close()
        client.close()
        time.sleep(0.05)

    def hangup(self, rng):
        self.keys.write_text(KEYS.format(rng.random()) + rng.choice(("", "", "[broken\n")))
        self.server.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)


def vanish(sock):
    """A reset instead of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Run:
    def __init__(self, kind, folder, seed):
        self.kind, self.folder, self.rng, self.counts = kind, pathlib.Path(folder), random.Random(seed), collections.Counter()
        self.acknowledged, self.mistakes, self.rounds = [], [], 0
        self.reports = self.folder / "report"
        self.environment = {name: value.format(self.reports) for name, value in OPTIONS[kind].items()}
        self.keys = self.folder / "keys"
        self.keys.write_text(KEYS.format(0))
        self.keys.chmod(0o600)

    def serve(self, *options):
        self.server = Server("--limits", "off", "--transition-ms", "5", *options, data_dir=self.folder / "data", log_level="error", log_file=self.folder / "log",
                             env=self.environment)
        return self.server

    def end(self, server, what):
        server.process.send_signal(signal.SIGTERM)
        try:
            status = server.process.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            status = "none within 60 s of SIGTERM"
        server.process.stdout.close()
        if status != 0:
            self.mistakes.append(f"{what}: exit status {status}\n" + (self.folder / "log").read_text()[-2000:])

    def prepare(self):
        server = self.serve()
        client = Client(server.port)
        arn = client.make_stream(LASTING, 2)
        for name in ("pushed", "spare"):
            client.register(arn, name)
        client.close()
        self.end(server, "the first start")

    def round(self, seconds):
        self.rounds += 1
        signed = self.rounds % 2 == 0
        more = ["--workers", "2", "--lanes", str(1 + self.rounds // 2 % 2)] + (["--credentials", str(self.keys)] if signed else [])
        more += ["--subscription-seconds", "3"] if self.rounds % 3 == 0 else []
        self.keys.write_text(KEYS.format(0))  # hangup may have left a broken one, which ends a start
        server = self.serve(*more)
        load = Load(server, signed, self.rng, self.counts, self.keys)
        actors = [(load.load_program, 2), (load.sdk, 2), (load.sdk_subscriptions, 2), (load.churn, 2), (load.reshard, 1), (load.admin, 2), (load.attack, 1),
                  (load.garbage, 1), (load.tls_garbage, 1)]
        actors += [(load.hangup, 1)] if signed else [(load.vanishing, 1), (load.vanishing_subscription, 2)]
        producers = [] if signed else [lineage.Producer(server.port, LASTING, self.rounds * 10 + i) for i in range(2)]
        for actor, n in actors:
            load.start(actor, n)
        for producer in producers:
            producer.start()
        time.sleep(seconds + self.rng.random())
        died = server.process.poll()
        self.end(server, f"round {self.rounds}")
        load.over.set()
        for producer in producers:
            producer.stopping = True
            producer.join(60)
            self.acknowledged += producer.acknowledged
        load.finish()
        self.mistakes += load.mistakes + ([f"round {self.rounds}: it ended by itself"] if died is not None else [])
        print(f"  round {self.rounds}{', signed' if signed else ''}: {len(self.acknowledged)} records of {LASTING} acknowledged in all, "
              f"{len(self.found())} files of reports, {len(self.mistakes)} other mistakes", flush=True)

    def check(self):
        """Each acknowledged record is in the shard that its answer named."""
        server = self.serve()
        client = Client(server.port, timeout=120)
        shards = lineage.list_shards(client, LASTING)
        lineage.check_lineage(shards)
        there = {(shard["ShardId"], record["SequenceNumber"]): penstock_client.data_of(record).decode(errors="replace")
                 for shard in shards for record in lineage.read_shard(client, LASTING, shard["ShardId"])}
        lost = [key for *key, text in self.acknowledged if there.get(tuple(key)) != text]
        if lost:
            self.mistakes.append(f"{len(lost)} acknowledged records of {len(self.acknowledged)} are lost: {lost[:3]}")
        client.close()
        self.end(server, "the last start")

    def found(self):
        return sorted(self.folder.glob("report.*"))


def run(kind, seconds, seed):
    binary = ROOT / "build" / kind / "penstock"
    penstock_client.BINARY = str(binary)
    print(f"{kind}: {seconds:.0f} s, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="penstock-mixed-") as folder:
        mixed = Run(kind, folder, seed)
        try:
            mixed.prepare()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                mixed.round(min(ROUND_S, max(2, end - time.monotonic())))
            mixed.check()
        except BaseException:
            print("\n".join(mixed.mistakes), (mixed.folder / "log").read_text()[-2000:], sep="\n", flush=True)
            raise
        finally:
            if mixed.server.process.poll() is None:
                mixed.server.kill()
        print("  " + ", ".join(f"{name} {n}" for name, n in sorted(mixed.counts.items())))
        for path in mixed.found():
            print(path.read_text(errors="replace"))
        for mistake in mixed.mistakes:
            print(mistake)
        bad = len(mixed.found()) + len(mixed.mistakes)
        print(f"{kind}: {mixed.rounds} rounds, {len(mixed.acknowledged)} records acknowledged, {len(mixed.mistakes)} mistakes, "
              f"{f'{len(mixed.found())} files of reports' if mixed.found() else 'no report'}", flush=True)
    return bad == 0


if __name__ == "__main__":
    seconds, *kinds = sys.argv[1:]
    good = [run(kind, float(seconds), int(os.environ.get("PENSTOCK_MIXED_SEED", time.time()))) for kind in kinds]
    sys.exit(0 if all(good) else 1)
