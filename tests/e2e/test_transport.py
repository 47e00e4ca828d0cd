"""The push path's corners over HTTP/2, TLS and HTTP/1.1, each test named after the requirement of the field's clients that it guards:
R1 one port for all, R2 TLS, R3 connection frames, R4 the answer's form, R5 first event, R6 cadence, R7 five minutes, R14 takeover."""

import base64
import json
import pathlib
import socket
import ssl
import subprocess
import threading
import time

import h2.events
import h2.settings
import pytest
from conftest import binary
from h2_client import H2Client
from penstock_client import ApiError, Client, Server, Subscription, data_of, headers


@pytest.fixture(scope="module")
def penstock():
    with Server("--limits", "off", "--transition-ms", "0") as server:
        yield server


@pytest.fixture
def stream(penstock, request):
    """(name, consumer ARN, shard) of a stream of its own with one shard and one consumer."""
    name = request.node.name.replace("[", "-").replace("]", "")[:100]
    client = Client(penstock.port)
    arn = client.make_stream(name)
    consumer = client.register(arn, "consumer")
    client.close()
    return name, consumer, "shardId-000000000000"


def put(port, name, *texts):
    client = Client(port)
    for text in texts:
        client.call("PutRecord", StreamName=name, PartitionKey="k", Data=base64.b64encode(text.encode()).decode())
    client.close()


def records_of(messages):
    return [data_of(r).decode() for found, payload in messages if found[":event-type"] == "SubscribeToShardEvent" for r in json.loads(payload)["Records"]]


def ca(penstock):
    return f"{penstock.data_dir}/tls/ca.pem"


# ---- R1, R2: one port -------------------------------------------------------------------------------------------------


def test_R1_h2c_by_prior_knowledge_and_http11_on_one_port(penstock):
    h2c = H2Client(penstock.port)
    assert h2c.call("ListStreams")[0] == 200
    h2c.close()
    http11 = Client(penstock.port)
    assert "StreamNames" in http11.call("ListStreams")
    http11.close()


def test_R1_a_preface_that_arrives_byte_by_byte(penstock):
    raw = socket.create_connection(("127.0.0.1", penstock.port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5):
        raw.sendall(bytes([byte]))
    raw.settimeout(5)
    assert raw.recv(9)[3] == 4, "the server's SETTINGS"
    raw.close()


@pytest.mark.parametrize("alpn", [["h2"], ["h2", "http/1.1"], ["http/1.1", "h2"], None])
def test_R2_tls_with_h2_by_alpn_or_without_any(penstock, alpn):
    client = H2Client(penstock.port, tls_ca=ca(penstock), alpn=alpn)
    if alpn != ["http/1.1", "h2"]:
        assert client.socket.selected_alpn_protocol() == ("h2" if alpn else None)
        assert client.call("ListStreams")[0] == 200
    else:
        assert client.socket.selected_alpn_protocol() == "http/1.1", "the client's order counts"
    client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_R2_http11_over_tls(penstock, version):
    context = ssl.create_default_context(cafile=ca(penstock))
    context.minimum_version = context.maximum_version = version
    raw = context.wrap_socket(socket.create_connection(("127.0.0.1", penstock.port)), server_hostname="127.0.0.1")
    raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert raw.recv(4096).startswith(b"HTTP/1.1 200 ")
    raw.close()


# ---- R3: the connection's own frames ------------------------------------------------------------------------------------


def test_R3_settings_come_first_and_allow_many_streams(penstock):
    client = H2Client(penstock.port)
    client.until(lambda: client.connection.remote_settings.max_concurrent_streams != 2**32 + 1 and any(
        isinstance(e, h2.events.RemoteSettingsChanged) for e in client.events))
    assert client.connection.remote_settings.max_concurrent_streams >= 1000
    client.close()


def test_R3_ping_is_acked_while_a_stream_is_blocked(penstock, stream):
    name, consumer, shard = stream
    client = H2Client(penstock.port, window=1000, acknowledge=False)
    subscription = client.subscribe(consumer, shard, Type="LATEST")
    client.until(lambda: client.messages(subscription))
    put(penstock.port, name, *["x" * 20000] * 20)
    client.connection.ping(b"12345678")
    client.flush()
    client.until(lambda: any(isinstance(e, h2.events.PingAckReceived) for e in client.events), seconds=2)
    client.close()


def test_R3_a_client_goaway_and_a_second_settings_leave_the_stream_running(penstock, stream):
    name, consumer, shard = stream
    client = H2Client(penstock.port)
    subscription = client.subscribe(consumer, shard, Type="LATEST")
    client.until(lambda: subscription in client.status)
    client.connection.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    client.flush()
    client.socket.sendall(b"\x00\x00\x08\x07\x00" + bytes(4) + bytes(8))  # GOAWAY, last stream 0, NO_ERROR
    put(penstock.port, name, "after the goaway")
    seen = []
    client.until(lambda: seen.extend(client.messages(subscription)) or "after the goaway" in records_of(seen))
    client.close()


def test_R3_RST_STREAM_frees_the_subscription_at_once(penstock, stream):
    _, consumer, shard = stream
    client = H2Client(penstock.port)
    first = client.subscribe(consumer, shard, Type="LATEST")
    client.until(lambda: client.messages(first))
    client.connection.reset_stream(first, error_code=8)
    second = client.subscribe(consumer, shard, Type="LATEST")  # sent in the same breath
    client.until(lambda: second in client.status)
    assert client.status[second] == 200
    client.close()


def test_R3_streams_of_one_connection_share_it_fairly(penstock):
    client = Client(penstock.port)
    arn = client.make_stream("fair", 4)
    consumer = client.register(arn, "consumer")
    text = base64.b64encode(b"y" * 50000).decode()
    for _ in range(40):
        client.call("PutRecords", StreamName="fair", Records=[
            {"Data": text, "PartitionKey": "k", "ExplicitHashKey": str(i * 2**126)} for i in range(4)])
    h2c = H2Client(penstock.port, window=1 << 20)
    streams = [h2c.subscribe(consumer, f"shardId-{i:012d}", Type="TRIM_HORIZON") for i in range(4)]
    h2c.until(lambda: sum(len(h2c.body[s]) for s in streams) > 3_000_000)
    shares = [len(h2c.body[s]) for s in streams]
    assert min(shares) * 3 > max(shares), shares
    h2c.close()


# ---- R4, R5: the answer's form, the first event -------------------------------------------------------------------------


def test_R4_form_of_the_answer(penstock, stream):
    _, consumer, shard = stream
    client = H2Client(penstock.port)
    subscription = client.subscribe(consumer, shard, Type="LATEST")
    messages = []
    client.until(lambda: messages.extend(client.messages(subscription)) or len(messages) >= 2)
    head = client.head[subscription]
    assert client.status[subscription] == 200
    assert head["content-type"] == "application/vnd.amazon.eventstream"
    assert len(head["x-amzn-requestid"]) == 36
    assert "content-length" not in head
    first, payload = messages[0]
    assert first == {":event-type": "initial-response", ":content-type": "application/json", ":message-type": "event"}
    assert list(first) == [":event-type", ":content-type", ":message-type"]
    assert payload == b"{}"
    client.close()


def test_R4_errors_before_the_stream_are_plain_answers(penstock, stream):
    _, consumer, shard = stream
    client = H2Client(penstock.port)
    status, body = client.call("SubscribeToShard", ConsumerARN=consumer, ShardId="shardId-000000000009", StartingPosition={"Type": "LATEST"})
    assert (status, body["__type"]) == (400, "ResourceNotFoundException")
    status, body = client.call("SubscribeToShard", ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": "SOMETIME"})
    assert (status, body["__type"]) == (400, "ValidationException")
    client.close()


@pytest.mark.clock
@pytest.mark.parametrize("position", ["LATEST", "TRIM_HORIZON"])
def test_R5_the_first_event_comes_at_once_though_there_are_no_records(penstock, stream, position):
    _, consumer, shard = stream
    begin = time.monotonic()
    subscription = Subscription(penstock.port, consumer, shard, Type=position)
    event = next(iter(subscription))
    assert time.monotonic() - begin < 1
    assert event["Records"] == [] and event["MillisBehindLatest"] == 0
    assert event["ContinuationSequenceNumber"].isdigit() and "ChildShards" not in event
    subscription.close()


def test_LATEST_is_fixed_at_the_call(penstock, stream):
    name, consumer, shard = stream
    put(penstock.port, name, "before")
    subscription = Subscription(penstock.port, consumer, shard, Type="LATEST")
    put(penstock.port, name, "after")
    seen = []
    for event in subscription:
        seen += [data_of(r).decode() for r in event["Records"]]
        if seen:
            break
    assert seen == ["after"]
    subscription.close()


# ---- R6, R7: cadence and life -------------------------------------------------------------------------------------------


@pytest.mark.clock
def test_R6_and_R7_with_short_times():
    with Server("--limits", "off", "--transition-ms", "0", "--heartbeat-ms", "200", "--subscription-seconds", "2") as server:
        client = Client(server.port)
        arn = client.make_stream("short")
        consumer = client.register(arn, "consumer")
        begin = time.monotonic()
        subscription = Subscription(server.port, consumer, "shardId-000000000000", Type="LATEST")
        events = [(time.monotonic() - begin, event) for event in subscription]  # ends by itself: a last chunk
        life = time.monotonic() - begin
        assert 1.9 < life < 2.6
        assert 9 <= len(events) <= 11, "one at once and one every 200 ms"
        assert all(event["Records"] == [] and event["ContinuationSequenceNumber"] for _, event in events)
        # R7: after a clean end the next subscription begins at once, and R10: after the last continuation.
        again = Subscription(server.port, consumer, "shardId-000000000000", Type="AFTER_SEQUENCE_NUMBER",
                             SequenceNumber=events[-1][1]["ContinuationSequenceNumber"])
        put(server.port, "short", "next")
        assert next(data_of(event["Records"][0]) for event in again if event["Records"]) == b"next"
        again.close()


def test_R7_a_stream_over_h2_ends_with_END_STREAM():
    with Server("--limits", "off", "--transition-ms", "0", "--subscription-seconds", "1") as server:
        client = Client(server.port)
        consumer = client.register(client.make_stream("short"), "consumer")
        h2c = H2Client(server.port)
        subscription = h2c.subscribe(consumer, "shardId-000000000000", Type="LATEST")
        h2c.until(lambda: subscription in h2c.ended, seconds=4)
        assert subscription not in h2c.reset
        assert len(h2c.messages(subscription)) == 2 and not h2c.body[subscription], "whole messages only"
        h2c.close()


# ---- R14: takeover --------------------------------------------------------------------------------------------------------


@pytest.mark.clock
def test_R14_refused_within_five_seconds_then_taken_over(penstock, stream):
    _, consumer, shard = stream
    first = Subscription(penstock.port, consumer, shard, Type="LATEST")
    begin = time.monotonic()
    next(iter(first))
    text = f"Another active subscription exists for this consumer: 000000000000:{stream[0]}:{shard}:consumer"
    with pytest.raises(ApiError) as refused:
        Subscription(penstock.port, consumer, shard, Type="LATEST")
    assert (refused.value.status, refused.value.type, refused.value.message) == (400, "ResourceInUseException", text)
    while True:
        try:
            second = Subscription(penstock.port, consumer, shard, Type="LATEST")
            break
        except ApiError as error:
            assert error.type == "ResourceInUseException"
            time.sleep(0.05)
    assert 4.9 < time.monotonic() - begin < 6
    with pytest.raises(Subscription.StreamException) as ended:
        for _ in first:
            pass
    assert ended.value.kind == "ResourceInUseException" and text in str(ended.value)
    next(iter(second))
    second.close()


def test_R14_a_client_that_is_gone_does_not_block_the_next(penstock, stream):
    _, consumer, shard = stream
    for _ in range(5):
        subscription = Subscription(penstock.port, consumer, shard, Type="LATEST")
        next(iter(subscription))
        subscription.close()


# ---- Slow readers -----------------------------------------------------------------------------------------------------------


def test_a_shut_window_holds_only_its_own_stream_and_loses_nothing(penstock, stream):
    name, consumer, shard = stream
    client = Client(penstock.port)
    other = client.register(consumer.split("/consumer/")[0], "other")
    slow = H2Client(penstock.port, window=2000, acknowledge=False)
    blocked = slow.subscribe(consumer, shard, Type="LATEST")
    slow.until(lambda: slow.messages(blocked))
    free = Subscription(penstock.port, other, shard, Type="LATEST")
    next(iter(free))
    texts = [f"{i}:" + "z" * 3000 for i in range(1000)]  # 3 MB: more than a ring holds
    threading.Thread(target=put, args=(penstock.port, name, *texts), daemon=True).start()
    seen = []
    for event in free:
        seen += [data_of(r).decode() for r in event["Records"]]
        if len(seen) == len(texts):
            break
    assert seen == texts
    free.close()
    slow.acknowledge = True
    slow.connection.increment_flow_control_window(1 << 24)
    slow.connection.increment_flow_control_window(1 << 24, blocked)
    slow.flush()
    late = []
    slow.until(lambda: late.extend(slow.messages(blocked)) or len(records_of(late)) >= len(texts), seconds=20)
    assert records_of(late) == texts
    slow.close()


# ---- HTTP/1.1 -----------------------------------------------------------------------------------------------------------------


def raw_exchange(port, text, close=True):
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    raw.sendall(text)
    got = b""
    try:
        while True:
            part = raw.recv(65536)
            if not part:
                break
            got += part
            if not close and b"\r\n\r\n" in got:
                break
    except TimeoutError:
        pass
    raw.close()
    return got


def head(operation="ListStreams", extra=""):
    return "POST / HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers(operation).items()) + extra


def test_http11_expect_100_continue(penstock):
    raw = socket.create_connection(("127.0.0.1", penstock.port), timeout=5)
    raw.sendall((head(extra="Expect: 100-continue\r\nContent-Length: 2\r\n") + "\r\n").encode())
    assert raw.recv(100).startswith(b"HTTP/1.1 100 ")
    raw.sendall(b"{}")
    assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
    raw.close()


def test_http11_pipelined_requests_are_answered_in_order(penstock):
    one = (head(extra="Content-Length: 2\r\n") + "\r\n{}").encode()
    last = (head(extra="Content-Length: 2\r\nConnection: close\r\n") + "\r\n{}").encode()
    assert raw_exchange(penstock.port, one * 5 + last).count(b"HTTP/1.1 200 ") == 6


@pytest.mark.parametrize("bad", [
    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length: 2\r\nContent-Length: 3\r\n",
    "Content-Length: 2\r\nFoo Bar: x\r\n",
    "Content-Length: 2\r\nFoo : x\r\n",
    "Content-Length: 2\r\nFoo: x\r\n folded\r\n",
    "Content-Length: 2\nFoo: x\r\n",
    "Content-Length: -2\r\n",
    "Transfer-Encoding: gzip\r\n",
])
def test_http11_what_smuggles_is_refused_and_closed(penstock, bad):
    got = raw_exchange(penstock.port, (head(extra=bad) + "\r\n{}").encode() + (head(extra="Content-Length: 2\r\n") + "\r\n{}").encode())
    assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1


def test_http11_a_large_head_is_431_and_a_large_body_413(penstock):
    assert raw_exchange(penstock.port, (head(extra="X: " + "y" * 20000 + "\r\n") + "\r\n").encode()).startswith(b"HTTP/1.1 431 ")
    assert raw_exchange(penstock.port, (head(extra="Content-Length: 100000000\r\n") + "\r\n").encode()).startswith(b"HTTP/1.1 413 ")


# ---- Bad input ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"\x16\x03\x01\x00\x05hello", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
                                     b"GET\r\n\r\n", b"\x80" * 1000, b"POST / HTTP/9.9\r\n\r\n"])
def test_garbage_ends_in_a_clean_close(penstock, garbage):
    raw_exchange(penstock.port, garbage)
    assert penstock.get("/healthz")[0] == 200


def test_truncated_frames_and_a_vanishing_client(penstock, stream):
    _, consumer, shard = stream
    client = H2Client(penstock.port)
    client.subscribe(consumer, shard, Type="LATEST")
    client.socket.sendall(b"\x00\x10\x00\x00\x00\x00\x00")
    client.close()
    again = Subscription(penstock.port, consumer, shard, Type="LATEST")
    next(iter(again))
    again.close()


# ---- nghttp: another HTTP/2 implementation than python-h2 and Netty -----------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nghttp_puts_and_h2load_keeps_a_connection_busy(penstock, tmp_path, scheme):
    body = tmp_path / "body"
    body.write_text("{}")
    head = [argument for name, value in headers("ListStreams").items() for argument in ("-H", f"{name}: {value}")]
    url = f"{scheme}://127.0.0.1:{penstock.port}/"
    done = subprocess.run(["nghttp", "--no-verify-peer", "-v", "-d", str(body), *head, url], capture_output=True, text=True, timeout=20)
    assert ":status: 200" in done.stdout and '"StreamNames"' in done.stdout
    done = subprocess.run(["h2load", "-n", "2000", "-c", "2", "-m", "50", "-d", str(body), *head, url], capture_output=True, text=True, timeout=60)
    assert "2000 succeeded, 0 failed, 0 errored" in done.stdout and "status codes: 2000 2xx" in done.stdout


def test_bodies_beyond_the_memory_for_them_wait_and_are_all_taken(penstock):
    """128 bodies of 2.7 MB at once are more than the 256 MiB that all may have; who has to wait is not slow, and nobody waits for ever."""
    load = pathlib.Path(binary()).with_name("penstock-load")
    done = subprocess.run([load, "--endpoint", f"http://127.0.0.1:{penstock.port}", "--consumers", "0", "--rate", "0", "--producers", "8", "--in-flight", "16",
                           "--batch", "40", "--size", "50000", "--warmup", "0", "--seconds", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
