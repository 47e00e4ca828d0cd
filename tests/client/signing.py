"""Signature Version 4 by hand, for requests that no SDK would send: signed well, and then changed."""

import datetime
import hashlib
import hmac
import http.client
import json
import urllib.parse

REGION, SERVICE = "us-east-1", "kinesis"
JSON_TYPE, CBOR_TYPE = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _quote(text):
    return urllib.parse.quote(text, safe="-_.~")


def _signature(secret, scope, moment, canonical):
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    return _hmac(key, text).hex()


class Request:
    """One POST. Everything is a plain attribute, to be changed after sign() or presign()."""

    def __init__(self, host, operation, body=b"{}", kind=JSON_TYPE, path="/", query=()):
        self.method, self.path, self.query = "POST", path, list(query)
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {"host": host, "content-type": kind, "x-amz-target": f"Kinesis_20131202.{operation}"}

    def _canonical(self, names):
        query = "&".join(f"{name}={value}" for name, value in sorted((_quote(n), _quote(v)) for n, v in self.query))
        head = "".join(f"{name}:{' '.join(self.headers[name].split())}\n" for name in names)
        path = urllib.parse.quote(self.path, safe="/-_.~")
        return "\n".join([self.method, path, query, head, ";".join(names), hashlib.sha256(self.body).hexdigest()])

    def _moment(self, shift_s):
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=shift_s)
        return now.strftime("%Y%m%dT%H%M%SZ")

    def sign(self, key, secret, token=None, shift_s=0, region=REGION):
        moment = self.headers["x-amz-date"] = self._moment(shift_s)
        if token:
            self.headers["x-amz-security-token"] = token
        names, scope = sorted(self.headers), f"{moment[:8]}/{region}/{SERVICE}/aws4_request"
        self.headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={_signature(secret, scope, moment, self._canonical(names))}"
        )
        return self

    def presign(self, key, secret, token=None, shift_s=0, expires_s=None):
        moment = self._moment(shift_s)
        names, scope = sorted(self.headers), f"{moment[:8]}/{REGION}/{SERVICE}/aws4_request"
        self.query += [("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", f"{key}/{scope}"), ("X-Amz-Date", moment)]
        self.query += [("X-Amz-SignedHeaders", ";".join(names))]
        self.query += [("X-Amz-Expires", str(expires_s))] if expires_s else []
        self.query += [("X-Amz-Security-Token", token)] if token else []
        self.query += [("X-Amz-Signature", _signature(secret, scope, moment, self._canonical(names)))]
        return self

    @property
    def target(self):
        return self.path + ("?" + "&".join(f"{_quote(n)}={_quote(v)}" for n, v in self.query) if self.query else "")

    def send(self, port):
        """(HTTP status, headers, body), over HTTP/1.1."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
        for name, value in {**self.headers, "content-length": str(len(self.body))}.items():
            connection.putheader(name, value)
        connection.endheaders(self.body)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body
