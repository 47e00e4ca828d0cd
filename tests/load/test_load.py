"""penstock-load as a person uses it, against the real server; against a fake one for what the real one never does."""

import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from fake_kinesis import FakeKinesis

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "client"))
from penstock_client import BINARY, ApiError, Client, Server, patient  # noqa: E402

LOAD = os.environ.get("PENSTOCK_LOAD_BIN", str(pathlib.Path(BINARY).with_name("penstock-load")))
QUICK = ("--duration", 2, "--warm-up", 0.5, "--rate", 100)


class Load:
    """penstock-load as a child process. sigint: its disposition of SIGINT at the start; the test's own may be either."""

    def __init__(self, port, *words, folder, sigint=signal.SIG_DFL):
        self.json = pathlib.Path(folder) / "figures.json"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        command = [LOAD, *map(str, words), "--endpoint", f"http://127.0.0.1:{port}", "--json", str(self.json)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, sigint))

    def end(self, expect=0, seconds=90):
        self.out, self.err = self.process.communicate(timeout=seconds)
        assert self.process.returncode == expect, f"exit status {self.process.returncode}\n{self.out}\n{self.err}"
        return json.loads(self.json.read_text()) if self.json.exists() else None


def load(port, *words, folder, expect=0):
    return Load(port, *words, folder=folder).end(expect)


def only(figures):
    assert len(figures["regimes"]) == 1
    return figures["regimes"][0]


def proven(side, records):
    """Each receiver has had each of so many records."""
    assert not any(side["proof"].values())
    assert side["records"] - side["put_twice"] == records * side["receivers"]
    assert side["latency"]["n"] > 0


def streams(server):
    return patient(lambda: Client(server.port).call("ListStreams"), lambda answer: True)["StreamNames"]


def gone(server):
    """Nothing is left of the load."""
    patient(lambda: Client(server.port).call("ListStreams"), lambda answer: answer["StreamNames"] == [])


@pytest.fixture(scope="module")
def penstock():
    with Server("--limits", "off") as server:
        yield server


# ---- Modes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, pushed, polled", [("put", 0, 0), ("push", 2, 0), ("poll", 0, 2), ("mixed", 2, 2)])
@pytest.mark.parametrize("how", [(), ("--format", "cbor"), ("--protocol", "http1")], ids=["h2-json", "h2-cbor", "http1-json"])
def test_mode(penstock, tmp_path, mode, pushed, polled, how):
    words = [mode, *QUICK, "--shards", 2, *how]
    words += ["--consumers", pushed] if pushed else []
    words += ["--pollers", polled] if polled else []
    figures = load(penstock.port, *words, folder=tmp_path)
    regime = only(figures)
    assert figures["command"] == mode and figures["right"] and regime["shards"] == 2
    put = regime["put"]
    assert put["acknowledged"] == put["records"] and 230 <= put["records"] <= 270 and put["failed"] == 0
    assert 180 <= put["latency"]["n"] <= 205, "the warm-up is not measured"
    for side, receivers in (("pushed", pushed), ("polled", polled)):
        assert (regime[side]["receivers"] if regime[side] else 0) == receivers
        if receivers:
            proven(regime[side], put["acknowledged"])
    assert 2 <= len(regime["timeline"]["at_s"]) and 0 < regime["client_cpu"] < 2
    gone(penstock)


def test_without_a_mode(penstock, tmp_path):
    """As it always was: puts and one pushed consumer; progress only when asked for."""
    run = Load(penstock.port, "--seconds", 1, "--warmup", 0, "--stream", "named", folder=tmp_path)
    regime = only(run.end())
    assert regime["pushed"]["receivers"] == 1 and regime["polled"] is None and run.err == ""
    gone(penstock)


def test_idle(penstock, tmp_path):
    regime = only(load(penstock.port, "idle", "--duration", 3, "--shards", 4, "--consumers", 3, folder=tmp_path))
    assert regime["put"]["records"] == 3 and regime["pushed"]["calls"] == 12
    proven(regime["pushed"], 3)


def test_closed_loop_of_batches(penstock, tmp_path):
    words = ("mixed", "--rate", 0, "--batch", 50, "--in-flight", 3, "--connections", 2, "--duration", 1, "--size", "exp:500", "--shards", 3)
    regime = only(load(penstock.port, *words, folder=tmp_path))
    assert regime["put"]["acknowledged"] > 1000 and regime["put"]["calls"] * 50 == regime["put"]["records"]
    assert 400 < regime["put"]["bytes"] / regime["put"]["acknowledged"] < 600
    proven(regime["pushed"], regime["put"]["acknowledged"])
    proven(regime["polled"], regime["put"]["acknowledged"])


def test_drain_and_existing(penstock, tmp_path):
    """A stream is filled and kept; then read by both kinds from its start, and kept again."""
    load(penstock.port, "put", *QUICK, "--stream", "kept", "--keep", folder=tmp_path)
    regime = only(load(penstock.port, "mixed", "--stream", "kept", "--existing", "--records", 1000, "--consumers", 2, folder=tmp_path))
    for side in (regime["pushed"], regime["polled"]):
        assert side["records"] == 250 * side["receivers"] and not any(side["proof"].values())
    with_puts = only(load(penstock.port, "push", *QUICK, "--stream", "kept", "--existing-puts", folder=tmp_path))
    proven(with_puts["pushed"], with_puts["put"]["acknowledged"])
    assert streams(penstock) == ["kept"]
    arn = Client(penstock.port).call("DescribeStreamSummary", StreamName="kept")["StreamDescriptionSummary"]["StreamARN"]
    patient(lambda: Client(penstock.port).call("ListStreamConsumers", StreamARN=arn), lambda answer: answer["Consumers"] == [])
    Client(penstock.port).call("DeleteStream", StreamName="kept")
    gone(penstock)


def test_compare(tmp_path):
    outputs = ("--csv", tmp_path / "figures.csv", "--hdr", tmp_path / "h", "--report", tmp_path / "page.html", "--label", "ours")
    with Server() as server:
        figures = load(server.port, "compare", "--duration", 4, "--warm-up", 1, "--pollers-max", 5, "--consumers-max", 3, *outputs, folder=tmp_path)
        gone(server)
    assert [regime["name"] for regime in figures["regimes"]] == [
        "1 poller", "2 pollers", "5 pollers", "1 consumer", "3 consumers", "5 pollers and 3 consumers"]
    assert figures["right"] and figures["server"] == "ours"
    for regime in figures["regimes"]:
        for side in filter(None, (regime["pushed"], regime["polled"])):
            proven(side, regime["put"]["acknowledged"])
    one, _, five, pushed, *_ = figures["regimes"]
    assert 70 < one["polled"]["latency"]["mean_ms"] < 180 and five["polled"]["throttled"] == 0
    assert 400 < five["polled"]["latency"]["mean_ms"] < 650 and 850 < five["polled"]["latency"]["p99_ms"] < 1300
    assert pushed["pushed"]["latency"]["p50_ms"] < 50
    assert {hop["name"] for hop in pushed["hops"]} >= {"queue", "commit"}
    assert "<html" in (tmp_path / "page.html").read_text() and len((tmp_path / "figures.csv").read_text().splitlines()) > 10
    assert len(list(tmp_path.glob("h-*.hgrm"))) > 10


# ---- Open loop ----------------------------------------------------------------------------------------------------------


def test_a_stalled_server_cannot_hide(tmp_path):
    """It is stopped for a second: a hundred puts were meant to be sent in it, and each is seen to have waited."""
    with Server() as server:
        run = Load(server.port, "push", "--duration", 4, "--warm-up", 0, folder=tmp_path)
        time.sleep(2)
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(server.pid, signal.SIGCONT)
        regime = only(run.end())
    assert 390 <= regime["put"]["records"] <= 410
    proven(regime["pushed"], regime["put"]["acknowledged"])
    for latency in (regime["put"]["latency"], regime["pushed"]["latency"]):
        assert 900 < latency["max_ms"] < 2500
        # A quarter of all records fell into that second, half of them into its first half.
        assert latency["p90_ms"] > 400


# ---- Real consumers -----------------------------------------------------------------------------------------------------


def test_faults(tmp_path):
    faults = ("throttle=0.1", "lost-answer=0.05", "error=0.03", "reset=0.05:1s", "end=0.5:1s")
    with Server(*(word for fault in faults for word in ("--fault", fault))) as server:
        words = ("mixed", "--duration", 6, "--warm-up", 0, "--consumers", 2, "--pollers", 2, "--shards", 2)
        regime = only(load(server.port, *words, folder=tmp_path))
    put, pushed, polled = regime["put"], regime["pushed"], regime["polled"]
    proven(pushed, put["acknowledged"])
    proven(polled, put["acknowledged"])
    assert put["acknowledged"] == put["records"] and put["throttled"] > 20 and put["retried"] > put["throttled"]
    assert pushed["resubscribed"] > 0 and polled["throttled"] > 0 and polled["retried"] > polled["throttled"]
    assert pushed["put_twice"] > 0 and pushed["put_twice"] / 2 == polled["put_twice"] / 2, "stored twice, since the answer was lost"


@pytest.mark.parametrize("words", [(), ("--format", "cbor")], ids=["json", "cbor"])
def test_the_drain_waits_for_the_doubles(tmp_path, words):
    """The last record is stored twice, and its second copy is shown late: it is waited for, and counted."""
    fake, late = FakeKinesis(), []

    def put(body):
        stored = len(fake.records)
        answer = fake.on_PutRecord(body)
        return (500, {"__type": "InternalFailure"}) if stored == 9 else answer

    def show(body):
        if len(fake.records) == 11 and len(late) < 3:
            late.append(fake.records.pop())  # as if it were not durable yet
            answer = fake.on_GetRecords(body)
            fake.records.append(late[-1])
            return answer
        return "honest"

    fake.lies = {"PutRecord": put, "GetRecords": show}
    with fake:
        words = ("poll", "--records", 10, "--rate", 100, "--warm-up", 0, *words)
        regime = only(load(fake.port, *words, folder=tmp_path))
    assert len(late) == 3 and regime["put"]["acknowledged"] == 10
    assert regime["polled"]["put_twice"] == 1
    proven(regime["polled"], 10)


def test_only_throttled_records_are_put_again(tmp_path):
    """Half of each batch is over the shard's limit."""
    with Server("--limit", "write_records=100") as server:
        words = ("push", "--rate", 2, "--batch", 100, "--duration", 3, "--warm-up", 0)
        regime = only(load(server.port, *words, folder=tmp_path))
    assert regime["put"]["acknowledged"] == 600 and regime["put"]["throttled"] > 0
    proven(regime["pushed"], 600)
    assert regime["pushed"]["put_twice"] == 0


def test_more_pollers_than_the_limit_allows(tmp_path):
    """Two calls a second are allowed, five are made: most turns are refused, and nothing is lost."""
    with Server("--limit", "read_calls=2") as server:
        regime = only(load(server.port, "poll", *QUICK, "--pollers", 2, folder=tmp_path))
    assert regime["polled"]["throttled"] > 3 and regime["polled"]["retried"] == regime["polled"]["throttled"], "as puts are counted"
    proven(regime["polled"], regime["put"]["acknowledged"])


def test_subscriptions_that_end(tmp_path):
    with Server("--subscription-seconds", "1") as server:
        regime = only(load(server.port, "push", "--duration", 5, "--consumers", 2, folder=tmp_path))
    assert regime["pushed"]["resubscribed"] >= 8
    proven(regime["pushed"], regime["put"]["acknowledged"])


def test_a_server_that_restarts(tmp_path):
    """Every connection breaks, and is refused for a while."""
    with Server(data_dir=tmp_path / "data") as server:
        run = Load(server.port, "mixed", "--duration", 5, "--stream", "survivor", folder=tmp_path)
        time.sleep(2.5)
        server.kill()
        with Server(data_dir=tmp_path / "data", listen=f"127.0.0.1:{server.port}"):
            regime = only(run.end())
    assert regime["put"]["retried"] > 0 and regime["pushed"]["retried"] > 0
    proven(regime["pushed"], regime["put"]["acknowledged"])
    proven(regime["polled"], regime["put"]["acknowledged"])


def test_a_split_and_a_merge(tmp_path):
    with Server() as server:
        run = Load(server.port, "mixed", "--duration", 6, "--stream", "parted", "--consumers", 2, "--pollers", 2, folder=tmp_path)
        client = Client(server.port)
        time.sleep(2)
        client.call("SplitShard", StreamName="parted", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
        time.sleep(2)
        patient(lambda: client.call("MergeShards", StreamName="parted", ShardToMerge="shardId-000000000001",
                                    AdjacentShardToMerge="shardId-000000000002"), lambda answer: True)
        regime = only(run.end())
    assert regime["pushed"]["calls"] >= 2 * 4, "each consumer read the parent, both children, and their child"
    proven(regime["pushed"], regime["put"]["acknowledged"])
    proven(regime["polled"], regime["put"]["acknowledged"])


def test_expired_iterators(tmp_path):
    seen = []

    def expire(body):
        seen.append(body)
        return (400, {"__type": "ExpiredIteratorException", "message": ""}) if len(seen) in (3, 8) else "honest"

    with FakeKinesis(GetRecords=expire) as fake:
        regime = only(load(fake.port, "poll", *QUICK, folder=tmp_path))
        assert fake.calls.count("GetShardIterator") == 3
    assert regime["polled"]["retried"] == 2
    proven(regime["polled"], regime["put"]["acknowledged"])


# ---- Any endpoint -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [None, (404, {}), (501, {}), (500, {"__type": "InternalFailure"}), "unknown"], ids=str)
def test_no_push(tmp_path, how):
    """It is said to have none, and the rest is measured. (Nor has it DescribeStreamSummary, nor ListShards.)"""
    lies = {} if how == "unknown" else {"RegisterStreamConsumer": lambda body: how}
    with FakeKinesis(**lies) as fake:
        run = Load(fake.port, "mixed", *QUICK, "--pollers", 2, folder=tmp_path)
        regime = only(run.end())
        assert fake.streams == set()
    assert regime["no_push"] and "RegisterStreamConsumer" in regime["no_push"] and regime["pushed"] is None
    assert "No push at this endpoint" in run.out
    if how == "unknown":
        assert regime["no_push"] == "RegisterStreamConsumer: 400 UnknownOperationException", "there is no message, and no colon"
    proven(regime["polled"], regime["put"]["acknowledged"])


def test_no_push_in_compare(tmp_path):
    with FakeKinesis() as fake:
        figures = load(fake.port, "compare", "--duration", 1, "--warm-up", 0, "--pollers-max", 1, "--consumers-max", 2, folder=tmp_path)
    assert figures["right"] and figures["regimes"][0]["polled"]["records"] > 0 and figures["regimes"][-1]["no_push"]
    left_out = [regime for regime in figures["regimes"] if not regime["pushed"] and not regime["polled"]]
    assert left_out and all(regime["cost"]["dollars_per_hour"] == 0 for regime in left_out)


# ---- CBOR that is none --------------------------------------------------------------------------------------------------


def base64_in_cbor(records):
    return [dict(record, Data=base64.b64encode(record["Data"]).decode()) for record in records]


def test_cbor_of_an_emulator(tmp_path):
    with FakeKinesis() as fake:
        regime = only(load(fake.port, "poll", *QUICK, "--format", "cbor", folder=tmp_path))
    proven(regime["polled"], regime["put"]["acknowledged"])


@pytest.mark.parametrize("lies, said", [
    ({"records": base64_in_cbor}, "GetRecords: the endpoint's CBOR answer could not be read: the Data of record 1 is no byte string; try --format json"),
    ({"GetRecords": lambda body: (200, {"NextShardIterator": "0"})},
     "GetRecords: the endpoint's CBOR answer could not be read: it has no list of Records; try --format json"),
    ({"GetShardIterator": lambda body: (200, {})},
     "GetShardIterator: the endpoint's CBOR answer could not be read: it has no ShardIterator; try --format json")], ids=["text", "records", "iterator"])
def test_cbor_that_is_wrong_is_no_damage(tmp_path, lies, said):
    with FakeKinesis(**lies) as fake:
        run = Load(fake.port, "poll", "--duration", 20, "--quiet", "--format", "cbor", folder=tmp_path)
        figures = run.end(expect=1, seconds=10)
        assert fake.streams == set()
    assert not any(only(figures)["polled"]["proof"].values()), "it is not damage"
    assert run.err == f"penstock-load: {said}\n" and f"! poll: {said}." in run.out and "WRONG" not in run.out


def test_cbor_that_is_json(tmp_path):
    with FakeKinesis(cbor=lambda members: json.dumps(members).encode() if members else b"") as fake:
        run = Load(fake.port, "poll", *QUICK, "--format", "cbor", folder=tmp_path)
        assert run.end(expect=1) is None and fake.streams == set()
    assert "DescribeStream: the endpoint's CBOR answer could not be read; try --format json" in run.err


def test_nothing_but_push_and_none_of_it(tmp_path):
    with FakeKinesis() as fake:
        load(fake.port, "push", *QUICK, folder=tmp_path, expect=1)
        assert fake.streams == set()


def lose(records):
    return [record for record in records if not record["SequenceNumber"].endswith("7")]


def swap(records):
    return records[:-2] + records[-1:] + records[-2:-1] if len(records) > 2 else records


def damage(records):
    return [dict(record, Data="AAAA" + record["Data"][4:]) if record["SequenceNumber"] == "20" else record for record in records]


@pytest.mark.parametrize("lie, name", [(lose, "missing"), (lambda records: records + records[-1:], "doubled"), (swap, "disordered"), (damage, "damaged")],
                         ids=["lose", "double", "swap", "damage"])
def test_wrong_is_named(tmp_path, lie, name):
    with FakeKinesis(records=lie) as fake:
        run = Load(fake.port, "poll", *QUICK, folder=tmp_path)
        proof = only(run.end(expect=1))["polled"]["proof"]
        assert fake.streams == set()
    assert proof[name] > 0 and "WRONG" in run.out


def test_refused_puts(tmp_path):
    with FakeKinesis(PutRecord=lambda body: (400, {"__type": "AccessDeniedException", "message": "not you"})) as fake:
        run = Load(fake.port, "put", *QUICK, folder=tmp_path)
        assert only(run.end(expect=1))["put"]["failed"] == 250
    assert "AccessDeniedException: not you" in run.err


def test_nobody_there(tmp_path):
    run = Load(1, "put", folder=tmp_path)
    assert run.end(expect=1) is None and "127.0.0.1:1" in run.err


# ---- What it leaves behind ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("during", ["creating", "putting"])
def test_interrupted(tmp_path, number, during):
    """In the middle of CREATING, which lets nobody delete it, and in the middle of the run."""
    with Server("--transition-ms", "800") as server:
        run = Load(server.port, "mixed", "--duration", 60, folder=tmp_path)
        if during == "creating":
            patient(lambda: Client(server.port).call("ListStreams"), lambda answer: answer["StreamNames"])
        else:  # a line a second; the first is warming up
            lines = (line for line in run.process.stderr if " s: put " in line)
            assert next(lines) and next(lines)
        run.process.send_signal(number)
        figures = run.end(expect=130, seconds=60)
        gone(server)
    assert (figures is None) == (during == "creating")
    if figures:
        assert figures["interrupted"] and not figures["right"] and only(figures)["put"]["acknowledged"] > 0


# A shell starts what is in the background of a script with SIGINT ignored: that is no reason to leave a stream behind, or to hang.
@pytest.mark.parametrize("sigint", [signal.SIG_DFL, signal.SIG_IGN], ids=["", "in-the-background"])
def test_interrupted_twice(tmp_path, sigint):
    put, removing, let_go = threading.Event(), threading.Event(), threading.Event()
    lies = {"PutRecord": lambda body: put.set() or "honest", "DeleteStream": lambda body: removing.set() or let_go.wait(30) and "honest"}
    with FakeKinesis(**lies) as fake:
        run = Load(fake.port, "put", "--duration", 60, folder=tmp_path, sigint=sigint)
        assert put.wait(30)
        run.process.send_signal(signal.SIGINT)
        assert removing.wait(30)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(timeout=30) == -signal.SIGINT
        let_go.set()
        assert "interrupted: removing what was made" in run.process.communicate()[1]


def test_a_stream_of_somebody_else_stays(penstock, tmp_path):
    Client(penstock.port).make_stream("theirs")
    run = Load(penstock.port, "push", *QUICK, "--stream", "theirs", folder=tmp_path)
    run.end(expect=1)
    assert "there is a stream \"theirs\" already" in run.err and streams(penstock) == ["theirs"]
    Client(penstock.port).call("DeleteStream", StreamName="theirs")
    gone(penstock)


@pytest.mark.parametrize("words, said", [
    (["pull"], "there is no mode"), (["push", "--speed", "5"], "--speed is no option"), (["push", "--rate"], "wants a value"), (["put", "--size", "5"], "--size wants 28"),
    (["put", "--size", "200-100"], "--size wants"), (["put", "--price", "hour=1"], "--price wants"), (["poll", "--consumers", "2"], "no such receivers"),
    (["put", "--duration", "soon"], "--duration wants 0.1 to 86400"), (["put", "again"], "what is \"again\""), (["put", "--keep"], "--stream")])
def test_bad_words(words, said):
    done = subprocess.run([LOAD, *words], capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
