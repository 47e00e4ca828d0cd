"""What TLS offers, asked with openssl s_client, one version and one suite at a time: TLS 1.2 and 1.3 alone, ECDHE with an AEAD alone, no
compression, no renegotiation, no early data; ALPN as announced."""

import re
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from penstock_client import Server

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl program")
WEAK = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"  # so that the client itself refuses nothing


@pytest.fixture(scope="module")
def penstock():
    with Server() as server:
        yield server


def ask(server, *options, data=b""):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost", *options]
    return subprocess.run(command, input=data, capture_output=True, timeout=20).stdout.decode(errors="replace")


def agreed(said):
    """(version, suite), or None when there was no handshake."""
    found = re.search(r"New, (\S+), Cipher is (\S+)", said)
    return None if not found or found[2] == "(NONE)" else (found[1], found[2])


def suites(version):
    command = ["openssl", "ciphers", "-s", f"-{version}", WEAK]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return [suite for suite in out.split(":") if not suite.startswith("TLS_")]


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_versions_are_refused(penstock, version):
    assert agreed(ask(penstock, f"-{version}", "-cipher", WEAK)) is None


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_new_versions_are_served_and_the_certificate_verifies(penstock, version):
    said = ask(penstock, f"-{version}", "-CAfile", f"{penstock.data_dir}/tls/ca.pem", "-verify_return_error")
    assert agreed(said), said
    assert "Verify return code: 0 (ok)" in said
    assert "Compression: NONE" in said


def test_sslv2_and_sslv3_hellos_are_refused(penstock):
    for hello in (
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01\x00\x80" * 7 + b"x" * 16,  # SSL 2
        b"\x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00" + b"r" * 32 + b"\x00\x00\x04\xc0\x2f\x00\x35\x01\x00",  # SSL 3
    ):
        with socket.create_connection(("127.0.0.1", penstock.port), timeout=5) as raw:
            raw.sendall(hello)
            got = raw.recv(1000)
            assert got[:1] != b"\x16", "a handshake record would be a ServerHello"


def test_only_ECDHE_with_an_AEAD_over_TLS_1_2(penstock):
    taken = [suite for suite in suites("tls1_2") if agreed(ask(penstock, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"))]
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in taken or "ECDHE-RSA-AES128-GCM-SHA256" in taken, "RFC 9113 9.2.2 wants one of them"
    print(f"\nTLS 1.2 suites: {' '.join(taken)}")
    for suite in taken:
        assert suite.startswith("ECDHE-") and ("-GCM-" in suite or "-POLY1305" in suite), suite


def test_TLS_1_3_suites(penstock):
    names = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    assert all(agreed(ask(penstock, "-tls1_3", "-ciphersuites", name)) == ("TLSv1.3", name) for name in names)
    for name in ("TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"):
        assert agreed(ask(penstock, "-tls1_3", "-ciphersuites", name)) is None


@pytest.mark.parametrize("group, served", [("X25519", True), ("P-256", True), ("P-384", True), ("P-224", False), ("ffdhe2048", False)])
def test_groups(penstock, group, served):
    version = "-tls1_2" if group == "P-224" else "-tls1_3"
    assert bool(agreed(ask(penstock, version, "-groups", group))) == served


def test_a_downgrade_is_refused(penstock):
    assert agreed(ask(penstock, "-tls1_2", "-fallback_scsv")) is None, "TLS 1.3 could have been had"


def test_no_renegotiation(penstock):
    with subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{penstock.port}", "-tls1_2", "-cipher", "ECDHE"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as client:  # fmt: skip
        client.stdin.write(b"R\n")
        client.stdin.flush()
        time.sleep(0.5)
        out, _ = client.communicate(b"", timeout=10)
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out


def test_no_early_data(penstock):
    said = ask(penstock, "-tls1_3", data=b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert "Max Early Data: 0" in said or "Early data was not sent" in said
    assert not re.search(r"Max Early Data: [1-9]", said)


@pytest.mark.parametrize("offered, chosen", [("h2", "h2"), ("http/1.1", "http/1.1"), ("h3,h2", "h2"), ("http/1.1,h2", "http/1.1"), ("spdy/3", None)])
def test_alpn(penstock, offered, chosen):
    said = ask(penstock, "-alpn", offered)
    if chosen:
        assert f"ALPN protocol: {chosen}" in said
    else:
        assert agreed(said) is None, "no_application_protocol"


def test_a_client_that_leaves_without_a_word_is_no_error(penstock):
    context = ssl.create_default_context(cafile=f"{penstock.data_dir}/tls/ca.pem")
    for _ in range(20):
        context.wrap_socket(socket.create_connection(("127.0.0.1", penstock.port)), server_hostname="localhost").close()
    assert penstock.get("/healthz")[0] == 200
