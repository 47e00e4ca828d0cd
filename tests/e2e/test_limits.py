"""Limits one by one: each on by itself with its error and text, off when it is lifted, and what is refused comes back with time. Then the
options around them: --limit, --config, --log-format."""

import json
import subprocess
import time

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, binary, make_consumer, make_stream, shard_id, stream_arn, wait_for
from penstock_client import ApiError, Client, Subscription

MIB = 1 << 20
AWS = {
    "write_records": 1000,
    "read_bytes": 2 * MIB,
    "iterator_calls": 5,
    "subscribe_calls": 1,
    "consumers": 20,
    "describe_summary_calls": 20,
    "list_shards_calls": 1000,
}


def only(**limits):
    """Options of a server with these limits and no other."""
    return ["--limits", "off"] + [word for name, value in limits.items() for word in ("--limit", f"{name}={value}")]


def rate(name):
    return f"Rate exceeded for stream {name} under account {ACCOUNT}."


def rate_of_shard(name):
    return f"Rate exceeded for shard {shard_id(0)} in stream {name} under account {ACCOUNT}."


def refusal(call, tries):
    """Calls at once, again and again; (type, text) of the first refusal, None if there is none."""
    for _ in range(tries):
        try:
            call()
        except ClientError as error:
            return error.response["Error"]["Code"], error.response["Error"]["Message"]
    return None


def limits_of(server):
    return server.state()["limits"]


# ---- Calls of the control plane ---------------------------------------------------------------------------------------------


def names():
    count = 0
    while True:
        count += 1
        yield f"n{count}"


def calls(client, name, consumer):
    """limit -> (a call that counts against it, the text of its refusal)."""
    new = names()
    arn = stream_arn(name)
    last = []  # what create_stream was asked for, for its text

    def create():
        last[:] = [next(new)]
        return client.create_stream(StreamName=last[0], ShardCount=1)

    def missing(call):
        """Of what may be gone: that it is not found is no refusal."""

        def tolerant():
            try:
                return call()
            except client.exceptions.ResourceNotFoundException:
                return None

        return tolerant

    return {
        "create_stream_calls": (create, lambda: rate(last[0])),
        "delete_stream_calls": (missing(lambda: client.delete_stream(StreamName="gone")), lambda: rate("gone")),
        "describe_stream_calls": (lambda: client.describe_stream(StreamName=name), lambda: rate(name)),
        "describe_summary_calls": (lambda: client.describe_stream_summary(StreamARN=arn), lambda: rate(name)),
        "list_streams_calls": (client.list_streams, lambda: f"Rate exceeded for account {ACCOUNT}."),
        "list_shards_calls": (lambda: client.list_shards(StreamName=name), lambda: rate(name)),
        "register_consumer_calls": (lambda: client.register_stream_consumer(StreamARN=arn, ConsumerName=next(new)), lambda: rate(name)),
        "deregister_consumer_calls": (missing(lambda: client.deregister_stream_consumer(ConsumerARN=consumer)), lambda: rate(name)),
        "describe_consumer_calls": (missing(lambda: client.describe_stream_consumer(ConsumerARN=consumer)), lambda: rate(name)),
        "list_consumers_calls": (lambda: client.list_stream_consumers(StreamARN=arn), lambda: rate(name)),
    }


def prepared(start, *options, transition_ms=20):
    server = start(*options, "--transition-ms", str(transition_ms))
    client = server.client()
    name = make_stream(client)
    return client, name, calls(client, name, make_consumer(client, name))


ALL = list(calls(type("", (), {"list_streams": None})(), "s", None))


@pytest.mark.parametrize("limit", ALL)
def test_calls_per_second(start, limit):
    # A consumer that is long in going can be deregistered again and again.
    client, name, every = prepared(start, *only(**{limit: 2}), transition_ms=1500 if limit == "deregister_consumer_calls" else 20)
    call, text = every[limit]
    time.sleep(1)
    assert refusal(call, 2) is None, "a second's worth passes at once"
    assert refusal(call, 20) == ("LimitExceededException", text())
    time.sleep(0.6)
    assert refusal(call, 1) is None, "it comes back with time"
    for other, (free, _) in every.items():
        if other not in (limit, "deregister_consumer_calls"):
            assert refusal(free, 8) is None, f"{other} is not limited"


def test_calls_without_limits(start):
    _, _, every = prepared(start, "--limits", "off", transition_ms=1500)
    for limit, (call, _) in sorted(every.items()):  # deregistering comes early, while the consumer is there
        assert refusal(call, 30) is None, limit


def test_calls_as_aws_has_them(start):
    """Through two clients with a connection each, which two workers may serve: the limit is the account's all the same."""
    server = start("--workers", "2")
    clients = [server.client(), server.client()]
    name = make_stream(clients[0])
    time.sleep(1)
    begin = time.monotonic()
    passed = 0
    for i in range(60):
        passed += refusal(lambda: clients[i % 2].describe_stream(StreamName=name), 1) is None
    assert passed <= 10 * (1 + time.monotonic() - begin) + 1
    assert passed >= 10


def test_a_lifted_one(start):
    server = start("--limit", "describe-stream-calls=0")
    client = server.client()
    name = make_stream(client)
    assert refusal(lambda: client.describe_stream(StreamName=name), 60) is None
    assert refusal(client.list_streams, 60) == ("LimitExceededException", f"Rate exceeded for account {ACCOUNT}.")


# ---- Counts -----------------------------------------------------------------------------------------------------------------


def test_shards(start):
    client = start(*only(shards=3)).client()
    make_stream(client, 2)
    kind, text = refusal(lambda: client.create_stream(StreamName="more", ShardCount=2), 1)
    assert kind == "LimitExceededException"
    assert "Current shard count for the account: 2. Limit: 3. Number of additional shards that would have resulted from this request: 2." in text
    make_stream(client, 1)


def test_changing_streams(start):
    client = start(*only(changing_streams=1), "--transition-ms", "700").client()
    client.create_stream(StreamName="a", ShardCount=1)
    kind, text = refusal(lambda: client.create_stream(StreamName="b", ShardCount=1), 1)
    assert kind == "LimitExceededException" and text.endswith(f"in CREATING or DELETING for the account {ACCOUNT}. Limit: 1.")
    wait_for(lambda: client.describe_stream_summary(StreamName="a")["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")
    client.create_stream(StreamName="b", ShardCount=1)


def test_consumers(start):
    client = start(*only(consumers=2)).client()
    first, second = make_stream(client), make_stream(client)
    for name in ("a", "b"):
        make_consumer(client, first, name)
    assert refusal(lambda: client.register_stream_consumer(StreamARN=stream_arn(first), ConsumerName="c"), 1) == (
        "LimitExceededException",
        f"This request would exceed the limit of registered consumers of stream {first} under account {ACCOUNT}. Limit: 2.",
    )
    make_consumer(client, second, "c")


def test_creating_consumers(start):
    client = start(*only(creating_consumers=1), "--transition-ms", "700").client()
    name = make_stream(client)
    client.register_stream_consumer(StreamARN=stream_arn(name), ConsumerName="a")
    assert refusal(lambda: client.register_stream_consumer(StreamARN=stream_arn(name), ConsumerName="b"), 1) == (
        "LimitExceededException",
        "This request would exceed the limit on the number of consumers that can simultaneously be in CREATING for the account "
        f"{ACCOUNT}. Limit: 1.",
    )
    wait_for(lambda: refusal(lambda: client.register_stream_consumer(StreamARN=stream_arn(name), ConsumerName="b"), 1) is None)


# ---- The data plane ---------------------------------------------------------------------------------------------------------


def iterator(client, name, kind="TRIM_HORIZON"):
    return client.get_shard_iterator(StreamName=name, ShardId=shard_id(0), ShardIteratorType=kind)["ShardIterator"]


def test_iterators(start):
    client = start(*only(iterator_calls=5)).client()
    name, other = make_stream(client), make_stream(client)
    assert refusal(lambda: iterator(client, name), 5) is None
    assert refusal(lambda: iterator(client, name, "LATEST"), 30) == ("ProvisionedThroughputExceededException", rate_of_shard(name))
    assert refusal(lambda: iterator(client, other), 1) is None, "the limit is a shard's"
    time.sleep(0.25)
    assert refusal(lambda: iterator(client, name), 1) is None


@pytest.mark.parametrize("limit", [{"write_records": 2}, {"write_bytes": 100}])
def test_writes(start, limit):
    client = start(*only(**limit)).client()
    name = make_stream(client)

    def put():
        client.put_record(StreamName=name, PartitionKey="k", Data=bytes(49))

    assert refusal(put, 2) is None
    assert refusal(put, 20) == ("ProvisionedThroughputExceededException", rate_of_shard(name))
    assert refusal(lambda: iterator(client, name), 20) is None
    time.sleep(0.6)
    assert refusal(put, 1) is None


def test_read_calls(start):
    client = start(*only(read_calls=2)).client()
    name = make_stream(client)
    it = iterator(client, name)
    assert refusal(lambda: client.get_records(ShardIterator=it), 2) is None
    assert refusal(lambda: client.get_records(ShardIterator=it), 20) == ("ProvisionedThroughputExceededException", rate_of_shard(name))
    time.sleep(0.6)
    assert refusal(lambda: client.get_records(ShardIterator=it), 1) is None


def refused_for(call):
    """How long calls are refused from now on, looked at each 20 ms."""
    begin = time.monotonic()
    while refusal(call, 1):
        time.sleep(0.02)
    return time.monotonic() - begin


@pytest.mark.clock
@pytest.mark.parametrize("records,seconds", [(11, 5.0), (3, 1.5)])
def test_reading_too_much(start, records, seconds):
    """After 10 MiB calls fail for 5 s: as long as the answer costs at 2 MiB a second."""
    client = start(*only(read_bytes=2 * MIB)).client()
    name = make_stream(client)
    for _ in range(records):
        client.put_record(StreamName=name, PartitionKey="k", Data=bytes(MIB - 1))
    it = iterator(client, name)
    asked = time.monotonic()
    answer = client.get_records(ShardIterator=it)
    answered = time.monotonic()
    assert len(answer["Records"]) == min(records, 10)
    again = lambda: client.get_records(ShardIterator=answer["NextShardIterator"])  # noqa: E731
    assert refusal(again, 1) == ("ProvisionedThroughputExceededException", rate_of_shard(name))
    refused_for(again)
    now = time.monotonic()
    # The time begins when the bytes were read: after the question, before the answer.
    assert now - asked >= seconds and now - answered < seconds + 3, (now - asked, now - answered)


def test_over_reading_in_small_pieces(start):
    client = start(*only(read_bytes=MIB)).client()
    name = make_stream(client)
    for _ in range(4):
        client.put_record(StreamName=name, PartitionKey="k", Data=bytes(700000))
    it = iterator(client, name)
    call = lambda: client.get_records(ShardIterator=it, Limit=1)  # noqa: E731
    asked = time.monotonic()
    assert refusal(call, 10) == ("ProvisionedThroughputExceededException", rate_of_shard(name))
    refused = refused_for(call)
    # The second began with one of the calls before.
    assert time.monotonic() - asked >= 1 and refused < 4, "a second, though the debt is paid earlier"


# ---- SubscribeToShard -------------------------------------------------------------------------------------------------------


def subscribed(server, consumer, kind="LATEST"):
    return Subscription(int(server.url.rsplit(":", 1)[1]), consumer, shard_id(0), Type=kind)


def error_of(server, consumer):
    with pytest.raises(ApiError) as caught:
        subscribed(server, consumer)
    return caught.value.type, caught.value.message


def test_subscribing_too_often(start):
    server = start(*only(subscribe_calls=1))
    client = server.client()
    name = make_stream(client)
    consumer, other = make_consumer(client, name), make_consumer(client, name, "other")
    first = subscribed(server, consumer)
    first.close()
    live = subscribed(server, consumer)  # who cancels and comes back at once is served
    refused = (
        "LimitExceededException",
        f"Rate exceeded for consumer app on shard {shard_id(0)} in stream {name} under account {ACCOUNT}.",
    )
    assert error_of(server, consumer) == refused
    assert error_of(server, consumer) == refused
    subscribed(server, other).close()
    events = iter(live)
    assert next(events)["Records"] == []
    client.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    while not (event := next(events))["Records"]:
        pass
    assert event["Records"][0]["PartitionKey"] == "k", "the refused calls have left the live subscription alone"
    time.sleep(1.1)
    kind, text = error_of(server, consumer)
    assert kind == "ResourceInUseException" and text.startswith("Another active subscription exists"), "within the rate it is asked for again"
    live.close()


def test_subscribing_without_the_limit(start):
    server = start("--limit", "subscribe_calls=0")
    client = server.client()
    consumer = make_consumer(client, make_stream(client))
    for _ in range(6):
        subscribed(server, consumer).close()


def test_R7_resubscribing_after_a_clean_end(start):
    """Lives of a second, one directly after the other: a rate of a call a second, kept for ever."""
    server = start("--subscription-seconds", "1")
    client = server.client()
    name = make_stream(client)
    consumer = make_consumer(client, name)
    position = {"Type": "LATEST"}
    port = int(server.url.rsplit(":", 1)[1])
    for _ in range(4):
        for event in Subscription(port, consumer, shard_id(0), **position):
            position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": event["ContinuationSequenceNumber"]}


@pytest.mark.clock
def test_push_bytes(start):
    server = start(*only(push_bytes=100000))
    client = server.client()
    name = make_stream(client)
    consumer = make_consumer(client, name)
    for _ in range(6):
        client.put_record(StreamName=name, PartitionKey="k", Data=bytes(49999))
    begin, count = time.monotonic(), 0
    live = subscribed(server, consumer, "TRIM_HORIZON")
    for event in live:
        count += len(event["Records"])
        if count == 6:
            break
    assert time.monotonic() - begin > 1.0, "300,000 bytes, of which the first 100,000 (and one record more) come at once"
    live.close()


# ---- Options ----------------------------------------------------------------------------------------------------------------


def test_state_says_which_limits_hold(start):
    assert AWS.items() <= limits_of(start()).items()
    assert set(limits_of(start("--limits", "off")).values()) == {0}
    some = limits_of(start(*only(consumers=7)))
    assert some.pop("consumers") == 7 and set(some.values()) == {0}


def test_config_file(start, tmp_path):
    path = tmp_path / "penstock.json"
    path.write_text(json.dumps({"transition_ms": 0, "limits": "off", "limit": {"consumers": 3, "list-streams-calls": 1}, "log_level": "warn"}))
    server = start("--config", str(path), "--limit", "consumers=4")
    limits = limits_of(server)
    assert limits["consumers"] == 4, "the command line wins"
    assert limits["list_streams_calls"] == 1
    assert limits["write_records"] == 0
    client = server.client()
    make_consumer(client, make_stream(client))
    assert refusal(client.list_streams, 5)[0] == "LimitExceededException"


def said_by(*options):
    done = subprocess.run([binary(), *options], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


def test_bad_options_are_named(tmp_path):
    path = tmp_path / "penstock.json"
    assert said_by("--limit", "speed=3") == (2, 'penstock: --limit knows no "speed"; --help lists the names\n')
    assert said_by("--limit", "shards=many") == (2, 'penstock: --limit shards wants 0 to 1000000000000000, not "many"\n')
    path.write_text('{"workers": "two"}')
    assert said_by("--config", str(path)) == (2, f"penstock: {path}: workers wants a number, not a string\n")
    path.write_text('{"limit": {"speed": 3}}')
    assert said_by("--config", str(path)) == (2, f'penstock: {path}: limit knows no "speed"; --help lists the names\n')
    path.write_text("{")
    assert said_by("--config", str(path))[0] == 2


def test_log_as_json(tmp_path):
    directory = tmp_path / 'with "quotes" and blanks'
    command = [binary(), "--listen", "127.0.0.1:0", "--data-dir", str(directory), "--print-ready", "--log-format", "json", "--log-level", "debug"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    client = Client(port)
    arn = client.make_stream("logged", 2)
    client.register(arn, "app")
    client.close()
    process.terminate()
    lines = [json.loads(line) for line in process.communicate(timeout=30)[1].splitlines()]
    assert process.returncode == 0
    events = {line["event"]: line for line in lines}
    assert all(list(line)[:3] == ["ts", "level", "event"] for line in lines)
    assert {"started", "stream_creating", "stream_active", "consumer_active", "stopping", "stopped"} <= set(events)
    assert events["started"]["data_dir"] == str(directory) and events["started"]["limits"] == "aws"
    assert events["started"]["level"] == "info" and isinstance(events["started"]["workers"], int)
    assert events["stream_creating"]["stream"] == "logged" and events["stream_creating"]["shards"] == 2
