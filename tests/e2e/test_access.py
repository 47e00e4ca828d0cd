"""Who may look and call: web pages (Origin, Host), pages with --credentials, requests for other AWS services."""

import http.client
import json
import pathlib
import re

import boto3
import botocore.config
import botocore.exceptions
import pytest
from conftest import AUTH, JSON_TYPE
from h2_client import H2Client
from penstock_client import Client, Server, Subscription, read_state
from test_signatures import KEY, SECRET, Guarded

LISTED, STRANGER = "http://localhost:3000", "http://evil.example"
CALL = {"Content-Type": JSON_TYPE, "X-Amz-Target": "Kinesis_20131202.ListStreams", "Authorization": AUTH, "X-Amz-Date": "20200101T000000Z"}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    """Without credentials, with one listed origin and one listed host."""
    log = tmp_path_factory.mktemp("access") / "log"
    options = ("--limits", "off", "--allow-origin", LISTED, "--allow-host", "kinesis")
    with Server(*options, log_level="info", log_file=log) as server:
        server.log = pathlib.Path(log)
        yield server


class H1:
    def __init__(self, server):
        self.port = server.port

    def ask(self, method, path, host, headers=(), body=None):
        """(status, headers in lower case, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, {"Host": host, **dict(headers)})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        status, text = answer.status, answer.read()
        connection.close()
        return status, found, text


class H2:
    """:authority stands for Host."""

    def __init__(self, server):
        self.port = server.port

    def ask(self, method, path, host, headers=(), body=None):
        client = H2Client(self.port)
        head = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
        head += [(name.lower(), value) for name, value in dict(headers).items()]
        stream = client.connection.get_next_available_stream_id()
        client.connection.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            client.connection.send_data(stream, body, end_stream=True)
        client.body[stream] = bytearray()
        client.flush()
        client.until(lambda: stream in client.ended)
        client.socket.close()
        return client.status[stream], client.head[stream], bytes(client.body[stream])


both = pytest.mark.parametrize("protocol", [H1, H2], ids=["h1", "h2"])


# ---- Web pages ----


@both
def test_web_pages_of_listed_origins_alone_are_obeyed(open_server, protocol):
    client = protocol(open_server)
    status, headers, body = client.ask("POST", "/", "localhost", {**CALL, "Origin": LISTED}, b"{}")
    assert status == 200 and headers["access-control-allow-origin"] == "*" and json.loads(body)["StreamNames"] == []
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-amz-target"}
    status, headers, _ = client.ask("OPTIONS", "/", "localhost", {"Origin": LISTED, **asked})
    assert status == 200 and headers["access-control-allow-headers"] == "content-type,x-amz-target"
    for origin in (STRANGER, "null", "http://localhost:3001"):
        for host in ("localhost", "evil.example"):
            status, headers, body = client.ask("POST", "/", host, {**CALL, "Origin": origin}, b"{}")
            assert status == 403 and "--allow-origin" in json.loads(body)["message"] and "access-control-allow-origin" not in headers
        status, headers, _ = client.ask("OPTIONS", "/", "localhost", {"Origin": origin, **asked})
        assert status == 403 and "access-control-allow-headers" not in headers
    assert open_server.log.read_text().count(f'origin_refused origin="{STRANGER}"') == 1, "once a minute"


@both
def test_calls_take_any_host_and_pages_only_known_ones(open_server, protocol):
    client = protocol(open_server)
    port = open_server.port
    for host in ("kinesis:4567", "evil.example", f"127.0.0.1:{port}"):
        assert client.ask("POST", "/", host, CALL, b"{}")[0] == 200
    for page in ("/state", "/metrics", "/faults"):
        for host in (f"127.0.0.1:{port}", "localhost", "[::1]:1", "kinesis:4567", "KINESIS"):
            assert client.ask("GET", page, host)[0] == 200
        for host in ("evil.example", f"evil.example:{port}", "kinesis.evil.example"):
            status, _, body = client.ask("GET", page, host)
            assert status == 403 and "--allow-host" in json.loads(body)["message"]
    assert client.ask("GET", "/healthz", "evil.example")[0] == 200


# ---- Requests for other services ----

SAYS = "penstock serves Kinesis only; set AWS_ENDPOINT_URL_KINESIS instead of AWS_ENDPOINT_URL"
OTHERS = {
    "s3": lambda c: c.list_buckets(),
    "dynamodb": lambda c: c.list_tables(),
    "sqs": lambda c: c.list_queues(),
    "sns": lambda c: c.list_topics(),
    "lambda": lambda c: c.list_functions(),
    "logs": lambda c: c.describe_log_groups(),
    "cloudwatch": lambda c: c.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1.0}]),
    "sts": lambda c: c.assume_role(RoleArn="arn:aws:iam::000000000000:role/r", RoleSessionName="session"),
    "firehose": lambda c: c.list_delivery_streams(),
    "route53": lambda c: c.list_hosted_zones(),
}


def client_of(service, port, key="key", secret="secret", region="us-east-1", **config):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=botocore.config.Config(retries={"total_max_attempts": 2}, **config),
    )


@pytest.mark.parametrize("service", OTHERS)
def test_clients_of_other_services_are_told(open_server, service):
    before = Server.metric(open_server, "penstock_requests_total")
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        OTHERS[service](client_of(service, open_server.port))
    error = raised.value.response["Error"]
    assert SAYS in error["Message"] and error["Code"] == "UnknownOperationException"
    assert Server.metric(open_server, "penstock_requests_total") - before == 2, "asked once, and the page: nothing is tried again"
    signed_as = client_of(service, open_server.port).meta.service_model.signing_name
    assert open_server.log.read_text().count(f"other_service service={signed_as} ") == 1


def test_other_forms_of_s3(open_server):
    s3 = client_of("s3", open_server.port)
    for call in (lambda: s3.put_object(Bucket="b", Key="k", Body=b"x" * 100000), lambda: s3.get_object(Bucket="b", Key="k")):
        with pytest.raises(botocore.exceptions.ClientError, match=SAYS):
            call()
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        s3.head_object(Bucket="b", Key="k")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    for version in ("s3", "s3v4"):
        signer = client_of("s3", open_server.port, signature_version=version)
        url = signer.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}).split(str(open_server.port), 1)[1]
        status, headers, body = H1(open_server).ask("GET", url, "localhost")
        assert status == 400 and headers["content-type"] == "text/xml" and SAYS.encode() in body


def test_a_kinesis_call_with_another_scope_stays_one(open_server):
    head = {**CALL, "Authorization": AUTH.replace("/kinesis/", "/dynamodb/")}
    assert H1(open_server).ask("POST", "/", "localhost", head, b"{}")[0] == 200
    head["X-Amz-Target"] = "Whatever.Nope"
    head["Authorization"] = AUTH
    status, _, body = H1(open_server).ask("POST", "/", "localhost", head, b"{}")
    assert status == 400 and json.loads(body) == {"__type": "UnknownOperationException"}


def test_caller_identity_without_credentials(open_server):
    for region in ("us-east-1", "eu-west-1"):
        identity = client_of("sts", open_server.port, region=region).get_caller_identity()
        assert identity["Account"] == "000000000000" and identity["Arn"] == "arn:aws:iam::000000000000:root"
        assert identity["UserId"] == "000000000000"
    status, _, body = H1(open_server).ask(
        "POST", "/", "localhost", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=GetCallerIdentity&Version=2011-06-15"
    )
    assert status == 403 and b"<Code>MissingAuthenticationToken</Code>" in body


# ---- With credentials ----


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Guarded(tmp_path_factory.mktemp("guarded"), "--account", "111111111111", "--region", "eu-west-1")
    yield server
    server.stop()


def test_caller_identity_is_the_signer(guarded):
    def identity(**how):
        return client_of("sts", guarded.port, **{"key": KEY, "secret": SECRET, "region": "eu-west-1", **how}).get_caller_identity()

    def refused(**how):
        with pytest.raises(botocore.exceptions.ClientError) as raised:
            identity(**how)
        return raised.value.response["Error"]["Code"]

    mine = identity()
    assert mine["Account"] == "111111111111" and mine["Arn"] == "arn:aws:iam::111111111111:user/default"
    assert re.fullmatch("AIDA[A-Z2-7]{17}", mine["UserId"]) and mine["UserId"] == identity(region="us-east-1")["UserId"]
    other = identity(key="AKABROAD")
    assert other["Account"] == "222222222222" and other["Arn"] == "arn:aws:iam::222222222222:user/abroad"
    assert other["UserId"] != mine["UserId"]
    assert refused(secret="wrong") == "SignatureDoesNotMatch"
    assert refused(key="AKNOBODY") == "InvalidClientTokenId"
    assert refused(region="us-west-2") == "SignatureDoesNotMatch"
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, body = H1(guarded).ask("POST", "/", "localhost", head, b"Action=GetCallerIdentity&Version=2011-06-15")
    assert status == 403 and b"MissingAuthenticationToken" in body


def test_a_signature_for_one_service_is_none_for_another(guarded):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        client = client_of("kinesis", guarded.port, KEY, SECRET, "eu-west-1")
        client.meta.events.register("choose-signer.kinesis", lambda context, **_: context.update(signing={"signing_name": "sts"}) or None)
        client.list_streams()
    assert "scoped to correct service: 'kinesis'" in raised.value.response["Error"]["Message"]


def test_metrics_want_a_token(tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    token.chmod(0o600)
    server = Guarded(tmp_path, "--metrics-token-file", str(token))

    def scrape(word, host="penstock.monitoring:4567"):
        return H1(server).ask("GET", "/metrics", host, {"Authorization": f"Bearer {word}"} if word else {})

    try:
        status, headers, body = scrape(None)
        assert status == 401 and headers["www-authenticate"].startswith("Bearer") and b"penstock_" not in body
        assert scrape("second")[0] == 401 and scrape("first")[0] == 200
        token.write_text("second\n")
        server.reload("metrics_token_loaded")
        assert scrape("first")[0] == 401 and scrape("second")[0] == 200
        token.chmod(0o644)
        assert "its mode is 0644" in server.reload("metrics_token_kept")
        assert scrape("second")[0] == 200
        assert "first" not in server.log_file.read_text() and "second" not in server.log_file.read_text().replace("seconds", "")
    finally:
        server.stop()


def test_state_page_by_page():
    """Streams, consumers and the subscriptions of all workers, in pages of every kind of end."""
    with Server("--limits", "off", "--transition-ms", "0", "--workers", "4") as server:
        client = Client(server.port)

        def metric_names():
            return [line.rsplit(" ", 1)[0] for line in server.get("/metrics")[1].decode().splitlines()]

        metrics = metric_names()
        arns = {f"s{i}": client.make_stream(f"s{i}", 3) for i in range(4)}
        subscriptions = []
        for stream, arn in arns.items():
            consumer = client.register(arn, "app")
            subscriptions += [Subscription(server.port, consumer, f"shardId-00000000000{shard}", Type="LATEST") for shard in range(3)]
        whole = server.state()
        assert [stream["name"] for stream in whole["streams"]] == sorted(arns) and len(whole["subscriptions"]) == 12
        assert all(len(stream["shards"]) == 3 and stream["consumers"] for stream in whole["streams"])
        assert len({row["worker"] for row in whole["subscriptions"]}) > 1

        def keys(state):
            return [(s["name"], [shard["id"] for shard in s["shards"]], s["consumers"]) for s in state["streams"]], sorted(
                row["id"] for row in state["subscriptions"]
            )

        for limit in (1, 2, 3, 5, 7, 31, 32, 33):
            paged = read_state(lambda path: server.get(path.replace("?", f"?limit={limit}&") if "?" in path else f"{path}?limit={limit}"))
            assert keys(paged) == keys(whole), limit
        assert metric_names() == metrics, "no row a stream, a consumer or a subscription"
        for subscription in subscriptions:
            subscription.close()
