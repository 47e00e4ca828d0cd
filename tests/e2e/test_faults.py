"""--fault and PUT /faults: each fault as a client meets it, that it breaks no promise silently, that it repeats, and who may ask for it."""

import base64
import http.client
import json
import socket
import subprocess
import time

import boto3
import botocore.config
import pytest
from conftest import binary
from h2_client import H2Client
from penstock_client import ApiError, Client, Server, Subscription, data_of, headers
from signing import Request

SHARD = "shardId-000000000000"


def fault_options(*faults, seed=1):
    options = ["--limits", "off", "--transition-ms", "0", "--fault-seed", str(seed)]
    return options + [word for fault in faults for word in ("--fault", fault)]


def change(server, body, **headers):
    """PUT /faults: (status, document)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("PUT", "/faults", body if isinstance(body, bytes) else json.dumps(body), headers)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def faults(server):
    return json.loads(server.get("/faults")[1])


def met(server, name):
    return server.metric(f"penstock_faults_{name}_total")


def put(client, name, text):
    return client.call("PutRecord", StreamName=name, PartitionKey="k", Data=base64.b64encode(text.encode()).decode())


def outcomes(client, name, n, prefix=""):
    """Puts n records once each; the error's type for each, or None."""
    said = []
    for i in range(n):
        try:
            put(client, name, f"{prefix}{i}")
            said.append(None)
        except ApiError as error:
            assert error.message.endswith("is on."), "whoever looks for the mistake is told that there is none"
            said.append(error.type)
    return said


def texts(client, name):
    return [data_of(record).decode() for record in client.read_all(name, SHARD)]


# ---- Calls ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault, kind", [("throttle", "ProvisionedThroughputExceededException"), ("error", "InternalFailure")])
def test_what_was_refused_was_not_written(fault, kind):
    with Server(*fault_options(f"{fault}.PutRecord=0.2")) as server:
        client = Client(server.port)
        client.make_stream("s")
        said = outcomes(client, "s", 300)
        refused = said.count(kind)
        assert 30 < refused < 90 and said.count(None) == 300 - refused
        assert texts(client, "s") == [str(i) for i, what in enumerate(said) if what is None]
        assert met(server, fault) == refused


def test_a_lost_answer_was_written():
    with Server(*fault_options("lost-answer=0.2")) as server:
        client = Client(server.port)
        client.make_stream("s")
        said = outcomes(client, "s", 200)
        assert 20 < said.count("InternalFailure") < 60
        assert texts(client, "s") == [str(i) for i in range(200)]
        assert met(server, "lost_answer") == said.count("InternalFailure")


def test_an_sdk_retries_and_ends_up_with_at_least_once(start):
    """boto3 as people use it, with its retries, against everything at once."""
    server = start(*fault_options("throttle=0.1", "error=0.05", "lost-answer=0.05", "reset=0.05", "delay=0.1:1ms-10ms"))
    patient = boto3.client(
        "kinesis",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=botocore.config.Config(retries={"total_max_attempts": 12}),
    )
    patient.create_stream(StreamName="s", ShardCount=1)
    patient.get_waiter("stream_exists").wait(StreamName="s", WaiterConfig={"Delay": 1})
    for i in range(60):
        patient.put_record(StreamName="s", PartitionKey="k", Data=str(i))
    iterator = patient.get_shard_iterator(StreamName="s", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    got = []
    while True:
        answer = patient.get_records(ShardIterator=iterator)
        got += [int(record["Data"]) for record in answer["Records"]]
        iterator = answer["NextShardIterator"]
        if answer["MillisBehindLatest"] == 0:
            break
    assert sorted(set(got)) == list(range(60)), "at least once"


def test_control_calls_are_throttled_in_their_own_way():
    with Server(*fault_options("throttle=1")) as server:
        client = Client(server.port)
        calls = [("ListStreams", {}), ("DescribeStreamSummary", {"StreamName": "s"}), ("ListShards", {"StreamName": "s"})]
        for operation, members in calls:
            with pytest.raises(ApiError) as refused:
                client.call(operation, **members)
            assert refused.value.type == "LimitExceededException"


@pytest.mark.clock
def test_an_answer_comes_later_and_what_it_tells_of_was_done_at_once():
    with Server(*fault_options("delay.PutRecord=1:1500ms")) as server:
        client, other = Client(server.port), Client(server.port)
        client.make_stream("s")
        begin = time.monotonic()
        client.connection.putrequest("POST", "/")
        # The put is on its way, and its answer is held: another connection reads what it wrote.
        body = json.dumps({"StreamName": "s", "PartitionKey": "k", "Data": "YQ=="}).encode()
        for name, value in {**headers("PutRecord"), "Content-Length": str(len(body))}.items():
            client.connection.putheader(name, value)
        client.connection.endheaders(body)
        while not texts(other, "s"):
            pass
        read = time.monotonic() - begin
        assert client.connection.getresponse().status == 200
        assert time.monotonic() - begin >= 1.5 and read < 1.5
        assert met(server, "delay") == 1


def test_reset_over_http1_ends_the_connection():
    with Server(*fault_options("reset.PutRecord=1")) as server:
        client = Client(server.port)
        client.make_stream("s")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            put(client, "s", "a")
        assert texts(Client(server.port), "s") == []
        assert met(server, "reset") == 1


def test_reset_over_http2_ends_the_stream_alone():
    with Server(*fault_options("reset.PutRecord=1")) as server:
        Client(server.port).make_stream("s")
        client = H2Client(server.port)
        stream = client.request("PutRecord", StreamName="s", PartitionKey="k", Data="YQ==")
        client.until(lambda: stream in client.reset)
        assert stream not in client.status
        listed = client.request("ListStreams")
        client.until(lambda: listed in client.ended)
        assert client.status[listed] == 200
        assert met(server, "reset") == 1


# ---- Subscriptions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault, name", [("end=100ms", "end"), ("reset.SubscribeToShard=1:100ms", "reset")])
def test_a_reader_that_subscribes_again_gets_each_record_once(fault, name):
    """Ended with END_STREAM, or cut in the middle: from the last position that was given, nothing is lost or doubled."""
    with Server(*fault_options(fault), "--heartbeat-ms", "50") as server:
        client = Client(server.port)
        consumer = client.register(client.make_stream("s"), "app")
        got, subscriptions, position = [], 0, {"Type": "TRIM_HORIZON"}
        end = time.monotonic() + 20
        sent = 0
        while len(got) < 300:
            assert time.monotonic() < end, f"{len(got)} records in {subscriptions} subscriptions"
            reader = Subscription(server.port, consumer, SHARD, timeout=10, **position)
            subscriptions += 1
            try:
                for event in reader:
                    got += [int(data_of(record)) for record in event["Records"]]
                    position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": event["ContinuationSequenceNumber"]}
                    if sent < 300 and subscriptions > sent // 60:
                        for _ in range(10):
                            put(client, "s", str(sent))
                            sent += 1
                    if len(got) == 300:
                        break
                else:
                    assert name == "end", "a stream that was reset does not end well"
            except (http.client.IncompleteRead, ConnectionResetError):
                assert name == "reset"
            reader.close()
        assert got == list(range(300))
        assert subscriptions > 2 and met(server, name) >= 2


def test_a_subscription_is_reset_over_http2():
    with Server(*fault_options("reset.SubscribeToShard=1:20ms")) as server:
        client = Client(server.port)
        consumer = client.register(client.make_stream("s"), "app")
        h2 = H2Client(server.port)
        stream = h2.request("SubscribeToShard", ConsumerARN=consumer, ShardId=SHARD, StartingPosition={"Type": "LATEST"})
        h2.until(lambda: stream in h2.reset)
        assert h2.status[stream] == 200 and stream not in h2.ended
        assert server.metric("penstock_subscriptions") == 0, "its lease is given up"


# ---- They repeat ------------------------------------------------------------------------------------------------------------


def sequence(seed, n=120):
    with Server(*fault_options("throttle=0.2", "error=0.1", seed=seed)) as server:
        client = Client(server.port)
        while True:  # the stream is made in spite of them
            try:
                client.call("CreateStream", StreamName="s", ShardCount=1)
                break
            except ApiError:
                pass
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                if client.call("DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
                    break
            except ApiError:
                pass
        first = outcomes(client, "s", n)
        assert change(server, faults(server))[0] == 200  # counting begins anew
        assert outcomes(client, "s", n) == first
        return first


def test_the_same_calls_meet_the_same_faults():
    first = sequence(7)
    assert sequence(7) == first
    assert sequence(8) != first
    assert {None, "ProvisionedThroughputExceededException", "InternalFailure"} == set(first)


# ---- /faults, the log, the options --------------------------------------------------------------------------------------------


def test_changed_while_it_runs():
    with Server("--limits", "off", "--transition-ms", "0", "--workers", "4") as server:
        clients = [Client(server.port) for _ in range(8)]
        clients[0].make_stream("s")
        assert faults(server) == {}
        status, now = change(server, {"throttle": 1, "delay.ListStreams": "0.5:1ms-2ms", "seed": 5})
        assert status == 200 and now == {"seed": 5, "throttle": "1", "delay.ListStreams": "0.5:1ms-2ms"} == faults(server)
        assert server.state()["faults"] == now
        for client in clients:  # whichever worker serves it: it holds once the PUT is answered
            assert outcomes(client, "s", 1) == ["ProvisionedThroughputExceededException"]
        assert change(server, {})[0] == 200 and faults(server) == {}
        for client in clients:
            assert outcomes(client, "s", 1) == [None]
        status, said = change(server, {"throttle": 2})
        assert status == 400 and said["message"] == "throttle wants a share from 0 to 1, such as 0.1"
        status, said = change(server, b"{")
        assert status == 400 and said["message"]
        assert change(server, {"throttle": 1}, Origin="http://example.org")[0] == 403
        assert faults(server) == {}


def test_every_change_is_in_the_log(tmp_path):
    log = tmp_path / "log"
    options = fault_options("throttle=0.1", "end=10s", seed=3)
    with log.open("w") as file:
        command = [binary(), "--print-ready", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), "--profile", "aws", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        own = type("", (), {"port": port})
        assert change(own, {"reset": 0.5})[0] == 200
        assert change(own, {})[0] == 200
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
    lines = [line.split(None, 2)[2].strip() for line in log.read_text().splitlines() if " warn " in line]
    lines = [line for line in lines if line.startswith(("faults", "profile"))]
    assert [line.split(" advice")[0] for line in lines] == [
        "faults_on seed=3 throttle=0.1 end=1:10000ms",
        "profile_on profile=aws seed=3",
        "faults_on seed=3 reset=0.5",
        "faults_off",
    ]


def test_with_credentials_a_change_is_signed(tmp_path):
    keys = tmp_path / "credentials"
    keys.write_text("[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n")
    keys.chmod(0o600)
    with Server(*fault_options(), "--credentials", str(keys)) as server:
        status, said = change(server, {"throttle": 1})
        assert status == 403 and said["message"] == "Missing Authentication Token"

        def signed(secret, method="PUT", body=b'{"throttle": 1}'):
            request = Request(f"127.0.0.1:{server.port}", "none", body, path="/faults")
            request.method = method
            status, _, document = request.sign("AKID", secret).send(server.port)
            return status, json.loads(document)

        assert server.get("/faults")[0] == 403 and signed("wrong", "GET", b"")[0] == 403
        assert signed("wrong")[0] == 403 and signed("secret", "GET", b"") == (200, {})
        assert signed("secret") == (200, {"seed": 1, "throttle": "1"}) == signed("secret", "GET", b"")


def other_address():
    """An address of this machine that is none of loopback's, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return None


@pytest.mark.skipif(other_address() in (None, "127.0.0.1"), reason="this machine has loopback alone")
def test_others_may_look_and_not_change():
    address = other_address()
    options = fault_options("throttle=0") + ["--insecure-listen", "yes-without-signatures", "--allow-host", address]
    with Server(*options, listen="0.0.0.0:0") as server:
        for method, status in (("GET", 200), ("PUT", 403)):
            connection = http.client.HTTPConnection(address, server.port, timeout=10)
            connection.request(method, "/faults", "{}" if method == "PUT" else None)
            assert connection.getresponse().status == status
            connection.close()
        assert faults(server) == {"seed": 1, "throttle": "0"}
        assert change(server, {})[0] == 200, "from loopback it goes"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--fault", "throttle"], '--fault wants NAME=SHARE, such as throttle=0.1, not "throttle"'),
        (["--fault", "slow=0.1"], '--fault: "slow" is no fault; there are throttle, error, lost-answer, reset, delay and end, not "0.1"'),
        (["--fault", "throttle=2"], '--fault: "throttle" wants a share from 0 to 1, such as 0.1, not "2"'),
        (["--fault", "end.PutRecord=1s"], '--fault: "end.PutRecord" is for SubscribeToShard alone, not "1s"'),
        (["--profile", "gcp"], '--profile wants aws or none, not "gcp"'),
    ],
)
def test_options_that_are_refused(words, said):
    done = subprocess.run([binary(), *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == f"penstock: {said}\n"


def test_from_a_file(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"fault": {"throttle": 0.25, "delay.PutRecord": "0.5:10ms"}, "fault_seed": 4, "profile": "aws"}))
    with Server("--config", str(file)) as server:
        assert faults(server) == {"seed": 4, "throttle": "0.25", "delay.PutRecord": "0.5:10ms"}
    with Server("--config", str(file), "--fault", "error=0.5") as server:
        assert faults(server) == {"seed": 4, "error": "0.5"}, "the command line stands for all of the file's"
