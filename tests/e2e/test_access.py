"""Who may look and call: web pages (Origin, Host), pages with --credentials, requests for other AWS services."""

import http.client
import json
import pathlib

import pytest
from conftest import AUTH, JSON_TYPE
from h2_client import H2Client
from penstock_client import Server

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
