"""--credentials: who is let in and who is not, over every way in; the file read anew on SIGHUP; which addresses are bound."""

import datetime
import json
import re
import signal
import subprocess
import time
from unittest import mock

import boto3
import botocore.config
import botocore.exceptions
import cbor2
import pytest
from conftest import binary, make_consumer, make_stream
from h2_client import H2Client
from signing import CBOR_TYPE, Request

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN_KEY, TOKEN_SECRET, TOKEN = "ASIAEXAMPLE", "temporary+secret", "IQoJb3Jp/Z2lu+X2Vj=="
FILE = f"""# who may call
[default]
aws_access_key_id = {KEY}
aws_secret_access_key = {SECRET}

[temporary]
aws_access_key_id = {TOKEN_KEY}
aws_secret_access_key = {TOKEN_SECRET}
aws_session_token = {TOKEN}

[abroad]
aws_access_key_id = AKABROAD
aws_secret_access_key = {SECRET}
account_id = 222222222222
"""
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. "
    "Consult the service documentation for details."
)
UNKNOWN = "The security token included in the request is invalid."


class Guarded:
    """A server with credentials, and its log."""

    def __init__(self, directory, *options, listen="127.0.0.1:0"):
        self.file, self.log_file = directory / "credentials", directory / "log"
        self.write(FILE)
        command = [binary(), "--print-ready", "--listen", listen, "--data-dir", str(directory / "data"), "--limits", "off"]
        command += ["--credentials", str(self.file), "--log-level", "debug", *options]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening "), self.log_file.read_text()
        self.address = line.split()[1]
        self.port = int(self.address.rsplit(":", 1)[1])
        self.ca = str(directory / "data" / "tls" / "ca.pem")

    def write(self, text, mode=0o600):
        self.file.write_text(text)
        self.file.chmod(mode)

    def reload(self, event):
        """SIGHUP, and waits for what the log says of it."""
        before = self.log_file.read_text().count(event)
        self.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while self.log_file.read_text().count(event) == before:
            assert time.monotonic() < end, f"the log never said {event}"
            time.sleep(0.01)
        return [line for line in self.log_file.read_text().splitlines() if event in line][-1]

    def client(self, key=KEY, secret=SECRET, token=None, tls=False, region="us-east-1"):
        return boto3.client(
            "kinesis",
            endpoint_url=f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}",
            verify=self.ca if tls else None,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )

    def request(self, operation="ListStreams", body=b"{}", **more):
        return Request(f"127.0.0.1:{self.port}", operation, body, **more)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self.process.stdout.close()
        assert status == 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    server.stop()


@pytest.fixture
def own(tmp_path):
    server = Guarded(tmp_path)
    yield server
    server.stop()


def refusal(call, *arguments, **members):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*arguments, **members)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def refused(answer):
    status, headers, body = answer
    document = cbor2.loads(body) if headers["Content-Type"] == CBOR_TYPE else json.loads(body)
    assert status == 400 and headers["x-amzn-ErrorType"] == document["__type"]
    return document["__type"], document["message"]


# ---- SDK ----


@pytest.mark.parametrize("tls", [False, True])
def test_an_sdk_with_good_keys_does_everything(guarded, tls):
    client = guarded.client(tls=tls)
    name = make_stream(client)
    client.put_record(StreamName=name, PartitionKey="k\u00e9", Data=b"one")
    consumer = make_consumer(client, name)
    events = client.subscribe_to_shard(
        ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition={"Type": "TRIM_HORIZON"}
    )["EventStream"]
    for event in events:
        records = event["SubscribeToShardEvent"]["Records"]
        if records:
            assert [record["Data"] for record in records] == [b"one"]
            break
    events.close()


def test_temporary_credentials(guarded):
    assert "StreamNames" in guarded.client(TOKEN_KEY, TOKEN_SECRET, TOKEN).list_streams()
    assert refusal(guarded.client(TOKEN_KEY, TOKEN_SECRET).list_streams) == ("UnrecognizedClientException", UNKNOWN)
    assert refusal(guarded.client(TOKEN_KEY, TOKEN_SECRET, TOKEN + "x").list_streams) == ("UnrecognizedClientException", UNKNOWN)
    assert refusal(guarded.client(KEY, SECRET, TOKEN).list_streams) == ("UnrecognizedClientException", UNKNOWN)


def test_an_sdk_with_bad_keys(guarded):
    assert refusal(guarded.client(secret="wrong").list_streams) == ("InvalidSignatureException", MISMATCH)
    assert refusal(guarded.client(key="AKNOBODY").list_streams) == ("UnrecognizedClientException", UNKNOWN)
    code, text = refusal(guarded.client(region="eu-west-1").list_streams)
    assert (code, text) == ("InvalidSignatureException", "Credential should be scoped to a valid region, not 'eu-west-1'. ")
    code, text = refusal(guarded.client(key="AKABROAD").list_streams)
    assert code == "AccessDeniedException" and text.startswith("User: arn:aws:iam::222222222222:user/abroad is not authorized to perform: ")
    subscribe = {"ConsumerARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1", "ShardId": "shardId-000000000000"}
    subscribe["StartingPosition"] = {"Type": "LATEST"}
    assert refusal(guarded.client(secret="wrong").subscribe_to_shard, **subscribe) == ("InvalidSignatureException", MISMATCH)
    assert refusal(guarded.client().subscribe_to_shard, **subscribe)[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "minutes, pattern",
    [
        (-6, r"Signature expired: (\d{8}T\d{6}Z) is now earlier than (\d{8}T\d{6}Z) \((\d{8}T\d{6}Z) - 5 min\.\)"),
        (6, r"Signature not yet current: (\d{8}T\d{6}Z) is still later than (\d{8}T\d{6}Z) \((\d{8}T\d{6}Z) \+ 5 min\.\)"),
    ],
)
def test_an_sdk_with_a_skewed_clock(guarded, minutes, pattern):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    with mock.patch("botocore.auth.get_current_datetime", lambda: moment):
        code, text = refusal(guarded.client().list_streams)
    match = re.fullmatch(pattern, text)
    assert code == "InvalidSignatureException" and match, text
    signed, bound, now = (datetime.datetime.strptime(part, "%Y%m%dT%H%M%SZ") for part in match.groups())
    assert abs(now - bound) == datetime.timedelta(minutes=5) and signed == moment.replace(microsecond=0, tzinfo=None)
    near = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes * 4 / 6)
    with mock.patch("botocore.auth.get_current_datetime", lambda: near):
        assert "StreamNames" in guarded.client().list_streams()


# ---- Raw ----


def test_raw_requests_as_an_sdk_sends_them(guarded):
    for query in ([], [("a", "1"), ("b c", "d/e"), ("a", "0")]):
        for path in ("/", "/what%20ever/x/"):
            assert guarded.request(query=query, path=path).sign(KEY, SECRET).send(guarded.port)[0] == 200


CHANGES = {
    "body": lambda request: setattr(request, "body", b"{ }"),
    "operation": lambda request: request.headers.update({"x-amz-target": "Kinesis_20131202.DescribeLimits"}),
    "path": lambda request: setattr(request, "path", "/elsewhere"),
    "query": lambda request: request.query.append(("more", "1")),
    "host": lambda request: request.headers.update({"host": "localhost:1"}),
    "content type": lambda request: request.headers.update({"content-type": request.headers["content-type"] + "; charset=utf-8"}),
    "date": lambda request: request.headers.update({"x-amz-date": request._moment(2)}),
    "header more": lambda request: request.headers.update({"x-amz-meta": "1"}),
    "unsigned payload": lambda request: request.headers.update({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("kind, body", [("application/x-amz-json-1.1", b"{}"), (CBOR_TYPE, b"\xa0")])
def test_what_is_changed_behind_the_signature(guarded, what, kind, body):
    request = guarded.request(body=body, kind=kind).sign(KEY, SECRET)
    assert request.send(guarded.port)[0] == 200
    CHANGES[what](request)
    if what == "body" and kind == CBOR_TYPE:
        request.body = b"\xbf\xff"
    answer = request.send(guarded.port)
    assert answer[1]["Content-Type"] == kind
    kind_of_error, text = refused(answer)
    assert kind_of_error == "InvalidSignatureException"
    if what not in ("header more", "unsigned payload"):
        assert text == MISMATCH


def test_a_presigned_request(guarded):
    assert guarded.request().presign(KEY, SECRET, expires_s=60).send(guarded.port)[0] == 200
    assert guarded.request().presign(KEY, SECRET).send(guarded.port)[0] == 200
    assert guarded.request().presign(KEY, SECRET, expires_s=3600, shift_s=-3000).send(guarded.port)[0] == 200
    assert guarded.request().presign(TOKEN_KEY, TOKEN_SECRET, TOKEN).send(guarded.port)[0] == 200
    kind, text = refused(guarded.request().presign(KEY, SECRET, expires_s=60, shift_s=-70).send(guarded.port))
    assert kind == "InvalidSignatureException" and text.startswith("Signature expired: ") and text.endswith(" - 1 min.)")
    changed = guarded.request().presign(KEY, SECRET, expires_s=60)
    changed.query = [(name, "3600" if name == "X-Amz-Expires" else value) for name, value in changed.query]
    assert refused(changed.send(guarded.port)) == ("InvalidSignatureException", MISMATCH)
    both = guarded.request().presign(KEY, SECRET).sign(KEY, SECRET)
    assert refused(both.send(guarded.port))[1].startswith("Found both")


def test_forms_that_cannot_be_read(guarded):
    for header, text in (
        ("AWS4-HMAC-SHA1 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'."),
        ("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0", "Credential must have exactly 5 slash-delimited elements"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e", "Authorization header requires 'Signature' parameter. "),
    ):
        request = guarded.request().sign(KEY, SECRET)
        request.headers["authorization"] = header
        kind, message = refused(request.send(guarded.port))
        assert kind == "IncompleteSignatureException" and message.startswith(text)
    request = guarded.request()
    assert refused(request.send(guarded.port)) == ("MissingAuthenticationTokenException", "Missing Authentication Token")


def test_http2_signs_its_authority(guarded):
    client = H2Client(guarded.port)

    def send(request, authority):
        head = [(":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", request.target)]
        head += [(name, value) for name, value in request.headers.items() if name not in ("host", ":authority")]
        stream = client.connection.get_next_available_stream_id()
        client.connection.send_headers(stream, head)
        client.connection.send_data(stream, request.body, end_stream=True)
        client.body[stream] = bytearray()
        client.flush()
        client.until(lambda: stream in client.ended)
        return client.status[stream], json.loads(client.body[stream])

    for name in ("host", ":authority"):  # some SDKs sign the one, some the other
        request = guarded.request()
        request.headers[name] = request.headers.pop("host")
        request.sign(KEY, SECRET)
        assert send(request, f"127.0.0.1:{guarded.port}")[0] == 200
        status, document = send(request, "localhost")
        assert status == 400 and document["__type"] == "InvalidSignatureException"
    client.close()


def page_request(guarded, page, query=()):
    request = guarded.request(path=page, query=query)
    request.method, request.body, request.headers = "GET", b"", {"host": "x"}
    return request


def test_pages_that_name_streams_are_signed(guarded):
    for page in ("/healthz", "/metrics"):
        assert page_request(guarded, page).send(guarded.port)[0] == 200
    for page in ("/state", "/faults"):
        status, _, body = page_request(guarded, page).send(guarded.port)
        assert status == 403 and json.loads(body)["__type"] == "MissingAuthenticationTokenException"
        assert page_request(guarded, page).sign(KEY, SECRET).send(guarded.port)[0] == 200
        assert page_request(guarded, page).presign(KEY, SECRET).send(guarded.port)[0] == 200
        status, _, body = page_request(guarded, page).sign(KEY, "another").send(guarded.port)
        assert status == 403 and json.loads(body) == {"__type": "InvalidSignatureException", "message": MISMATCH}
        status, _, body = page_request(guarded, page).sign("AKABROAD", SECRET).send(guarded.port)
        assert status == 403 and json.loads(body)["__type"] == "AccessDeniedException"
    stolen = page_request(guarded, "/state", [("limit", "1")]).sign(KEY, SECRET)
    assert stolen.send(guarded.port)[0] == 200
    stolen.query = [("limit", "2")]
    assert stolen.send(guarded.port)[0] == 403
    assert refused(guarded.request(path="/healthz").send(guarded.port))[0] == "MissingAuthenticationTokenException"


# ---- The file ----


def test_the_file_is_read_anew(own):
    old = own.client()
    old.list_streams()
    kept = own.request().sign(KEY, SECRET)
    own.write(FILE.replace(KEY, "AKSECOND").replace(SECRET, "second", 1))
    assert "profiles=3" in own.reload("credentials_loaded")
    assert refusal(old.list_streams) == ("UnrecognizedClientException", UNKNOWN)
    assert refused(kept.send(own.port))[0] == "UnrecognizedClientException"
    own.client("AKSECOND", "second").list_streams()
    for text, mode, why in (
        (FILE + "[half]\naws_access_key_id = AKHALF\n", 0o600, ":15: this profile has no aws_secret_access_key"),
        ("nonsense", 0o600, ":1: neither [profile] nor setting = value nor # comment"),
        (FILE, 0o644, "its mode is 0644"),
        ("", 0o600, ":0: the file ends without a profile"),
    ):
        own.write(text, mode)
        assert why in own.reload("credentials_kept")
        own.client("AKSECOND", "second").list_streams()
        assert refusal(old.list_streams)[0] == "UnrecognizedClientException"
    own.file.unlink()
    assert "No such file" in own.reload("credentials_kept")
    own.write(FILE)
    own.reload("credentials_loaded")
    old.list_streams()
    assert own.process.poll() is None


def test_a_rotated_secret_is_seen_by_a_connection_that_is_open(own):
    client = own.client()
    for turn in range(20):
        secret = f"secret-{turn}"
        own.write(FILE.replace(SECRET, secret, 1))
        own.reload("credentials_loaded")
        assert refusal(client.list_streams) == ("InvalidSignatureException", MISMATCH)
        client = own.client(secret=secret)
        client.list_streams()


def test_nothing_secret_is_in_the_log(own):
    request = own.request().sign(KEY, SECRET)
    request.send(own.port)
    refusal(own.client(secret="another+secret").list_streams)
    own.request().sign(TOKEN_KEY, TOKEN_SECRET, TOKEN).send(own.port)
    own.write(FILE.replace("aws_secret_access_key = ", "aws_secret_access_key "))
    own.reload("credentials_kept")
    log = own.log_file.read_text()
    signature = request.headers["authorization"].rsplit("=", 1)[1]
    for secret in (SECRET, TOKEN_SECRET, TOKEN, "another+secret", signature, "AWS4-HMAC"):
        assert secret not in log


def start_and_fail(tmp_path, *options):
    done = subprocess.run(
        [binary(), "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0", *options], capture_output=True, text=True, timeout=30
    )
    return done.returncode, done.stderr.splitlines()[-1]


def test_files_that_are_refused_at_the_start(tmp_path):
    file = tmp_path / "credentials"
    file.write_text(FILE)
    for mode in (0o644, 0o640, 0o604):
        file.chmod(mode)
        code, line = start_and_fail(tmp_path, "--credentials", str(file))
        assert code == 1
        assert line == f"penstock: --credentials {file}: its mode is {mode:04o}, others than its owner can get at it; chmod 600 {file}"
    file.chmod(0o600)
    file.write_text(FILE + "aws_access_key_id\n")
    code, line = start_and_fail(tmp_path, "--credentials", str(file))
    assert code == 1 and line == f"penstock: {file}:15: neither [profile] nor setting = value nor # comment"
    code, line = start_and_fail(tmp_path, "--credentials", str(tmp_path / "absent"))
    assert code == 1 and line == f"penstock: --credentials {tmp_path / 'absent'}: No such file or directory"


# ---- Addresses ----


def test_more_than_loopback_wants_credentials_or_words(tmp_path):
    code, line = start_and_fail(tmp_path, "--listen", "0.0.0.0:0")
    assert code == 2 and "--credentials FILE" in line
    code, line = start_and_fail(tmp_path, "--listen", "0.0.0.0:0", "--insecure-listen", "true")
    assert code == 2 and "yes-without-signatures" in line
    server = Guarded(tmp_path, listen="0.0.0.0:0")
    try:
        assert server.address.startswith("0.0.0.0:")
        server.client().list_streams()
        assert refusal(server.client(secret="wrong").list_streams)[0] == "InvalidSignatureException"
    finally:
        server.stop()


def inherited(number, disposition):
    return lambda: signal.signal(number, disposition)


def test_sighup_without_credentials_is_what_it_always_was(start):
    server = start(preexec_fn=inherited(signal.SIGHUP, signal.SIG_DFL))
    process, server.process = server.process, None
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == -signal.SIGHUP
    process.stdout.close()


def test_sighup_under_nohup_is_ignored(start):
    server = start(preexec_fn=inherited(signal.SIGHUP, signal.SIG_IGN))
    server.process.send_signal(signal.SIGHUP)
    assert server.get("/healthz").status == 200 and server.process.poll() is None


def test_sigint_ends_it_in_the_background_of_a_script_too(start):
    """Where a shell has set it to be ignored: a server that is told to end, ends."""
    server = start(preexec_fn=inherited(signal.SIGINT, signal.SIG_IGN))
    process, server.process = server.process, None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()
