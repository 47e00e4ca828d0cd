"""Writes sigv4_vectors.h: requests that botocore has signed, in the form in which they cross the wire. Run it with the test environment's
Python to make them anew:  python make_sigv4_vectors.py > sigv4_vectors.h

The cases are those of AWS's own suite (whose first signature is asserted, so that both speak of the same thing), and what Kinesis clients
send. botocore is the other implementation; its own test files are not in its package.
"""

import datetime
import urllib.parse
from unittest import mock

import botocore
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "example.amazonaws.com"
NOW = "20150830T123600Z"
UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
PUT = b'{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8="}'


def kinesis(operation, kind="application/x-amz-json-1.1", host="kinesis.us-east-1.amazonaws.com", more=(), **rest):
    headers = [("Host", host), ("Content-Type", kind), ("X-Amz-Target", "Kinesis_20131202." + operation), *more]
    return dict(method="POST", headers=headers, service="kinesis", **rest)


# name: what differs from GET / with a Host header. query: what crosses the wire; pairs: the same, decoded, for the signer.
CASES = {
    "get-vanilla": {},
    "get-vanilla-query": dict(query="Param1=value1"),
    "get-vanilla-query-order-key": dict(query="Param2=value2&Param1=value1"),
    "get-vanilla-query-order-key-case": dict(query="param=b&Param=a"),
    "get-vanilla-query-order-value": dict(query="Param1=value2&Param1=Value1"),
    "get-vanilla-query-unreserved": dict(query=f"{UNRESERVED}={UNRESERVED}"),
    "get-vanilla-utf8-query": dict(query="%E1%88%B4=bar", pairs=[("\u1234", "bar")]),
    "get-query-empty-value": dict(query="Param1=&Param2=x"),
    "get-query-no-equals": dict(query="flag&other=1", pairs=[("flag", ""), ("other", "1")]),
    "get-query-space": dict(query="a%20b=c%20d", pairs=[("a b", "c d")]),
    "get-query-lower-case-hex": dict(query="a%2fb=c%3dd", pairs=[("a/b", "c=d")]),
    "get-query-needless-encoding": dict(query="%41=%7e%2D", pairs=[("A", "~-")]),
    "get-query-reserved": dict(query="r=%21%2A%27%28%29%3B%3A%40%26%3D%2B%24%2C%2F%3F%23%5B%5D", pairs=[("r", "!*'();:@&=+$,/?#[]")]),
    "get-query-prefix-names": dict(query="ab=1&a=2&a-=3&a.=4", pairs=[("ab", "1"), ("a", "2"), ("a-", "3"), ("a.", "4")]),
    "get-unreserved": dict(path="/" + UNRESERVED),
    "get-utf8": dict(path="/%E1%88%B4"),
    "get-space": dict(path="/example%20space/"),
    "get-slash": dict(path="//"),
    "get-slashes": dict(path="//example//"),
    "get-slash-dot-slash": dict(path="/./"),
    "get-slash-pointless-dot": dict(path="/./example"),
    "get-relative": dict(path="/example/.."),
    "get-relative-relative": dict(path="/example1/example2/../.."),
    "get-relative-beyond-root": dict(path="/../../x/../y/"),
    "get-path-reserved": dict(path="/a:b,c;d=e@f+g"),
    "get-header-key-duplicate": dict(headers=[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")]),
    "get-header-value-order": dict(headers=[("My-Header1", "value4"), ("My-Header1", "value1"), ("My-Header1", "value3")]),
    "get-header-value-trim": dict(headers=[("My-Header1", " value1"), ("My-Header2", '  "a   b   c"  ')]),
    "get-header-value-tabs": dict(headers=[("My-Header1", "a\t b\t\tc")]),
    "get-header-value-empty": dict(headers=[("My-Header1", "")]),
    "get-header-names-sort": dict(headers=[("Zoo", "1"), ("a-b", "2"), ("a1", "3"), ("a", "4"), ("aa", "5")]),
    "post-vanilla": dict(method="POST"),
    "post-vanilla-query": dict(method="POST", query="Param1=value1"),
    "post-header-key-case": dict(method="POST", headers=[("MY-HEADER1", "value1")]),
    "post-header-value-case": dict(method="POST", headers=[("My-Header1", "VALUE1")]),
    "post-sts-token": dict(method="POST", token="AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQW=="),
    "post-x-www-form-urlencoded": dict(
        method="POST", headers=[("Content-Type", "application/x-www-form-urlencoded")], body=b"Param1=value1"
    ),
    "post-x-www-form-urlencoded-parameters": dict(
        method="POST", headers=[("Content-Type", "application/x-www-form-urlencoded; charset=utf8")], body=b"Param1=value1"
    ),
    "post-date-header": dict(method="POST", headers=[("Date", "replaced")]),
    "put-midnight": dict(method="PUT", now="20151231T235959Z"),
    "put-leap-day": dict(method="PUT", now="20160229T000000Z", region="eu-central-1"),
    "kinesis-put-record": kinesis("PutRecord", body=PUT),
    "kinesis-cbor": kinesis("ListStreams", kind="application/x-amz-cbor-1.1", body=b"\xa0"),
    "kinesis-subscribe": kinesis("SubscribeToShard", body=b'{"ConsumerARN":"c","ShardId":"s"}', host="127.0.0.1:4567"),
    "kinesis-token": kinesis("PutRecord", body=PUT, token="IQoJb3JpZ2luX2VjEXAMPLE"),
    "kinesis-sdk-headers": kinesis(
        "PutRecord",
        body=PUT,
        more=[("Content-Length", str(len(PUT))), ("amz-sdk-invocation-id", "8f6c"), ("amz-sdk-request", "attempt=1; max=3")],
    ),
    "kinesis-binary-body": kinesis("PutRecord", body=bytes(range(256)) * 4),
    "presigned-get": dict(presigned=3600),
    "presigned-get-query": dict(presigned=60, query="b=2&a=1"),
    "presigned-post": dict(kinesis("ListStreams", body=b"{}"), presigned=604800),
    "presigned-token": dict(kinesis("ListStreams", body=b"{}"), presigned=1, token="IQoJb3JpZ2luX2VjEXAMPLE/+="),
}


class QueryAuth(botocore.auth.SigV4QueryAuth):
    """The body stays the body: botocore would move it into the query."""

    body = b""

    def payload(self, request):
        return botocore.auth.sha256(self.body).hexdigest()


def sign(method="GET", path="/", query="", pairs=None, headers=(), body=b"", now=NOW, region="us-east-1", service="service", token=None, presigned=0):
    host = dict(headers).get("Host", HOST)
    request = AWSRequest(method=method, url=f"http://{host}{path}{'?' + query if query and pairs is None else ''}", data=b"" if presigned else body)
    if pairs is not None:
        request.params = pairs
    if "Host" not in dict(headers):
        request.headers.add_header("Host", HOST)
    for name, value in headers:
        request.headers.add_header(name, value)
    credentials = Credentials(KEY, SECRET, token)
    auth = QueryAuth(credentials, service, region, presigned) if presigned else botocore.auth.SigV4Auth(credentials, service, region)
    auth.body = body
    seen = []
    plain = auth.canonical_request
    auth.canonical_request = lambda request: seen.append(plain(request)) or seen[-1]
    moment = datetime.datetime.strptime(now, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    with mock.patch("botocore.auth.get_current_datetime", lambda: moment):
        auth.add_auth(request)
    if presigned:
        query = urllib.parse.urlsplit(request.url).query
    authorization = request.headers.get("Authorization", "")
    signature = (authorization or query).rsplit("Signature=", 1)[1]
    wire = "".join(f"{name.lower()}:{value}\n" for name, value in request.headers.items() if name.lower() != "authorization")
    return method, path, query, wire, body, now, region, service, authorization, signature, seen[0]


def quoted(value):
    """A C string literal; three octal digits, so that nothing that follows is taken for one more."""
    value = value.encode() if isinstance(value, str) else value
    return '"' + "".join(chr(c) if 32 <= c < 127 and c not in b'"\\?' else f"\\{c:03o}" for c in value) + '"'


def main():
    print(f"/* Made by make_sigv4_vectors.py with botocore {botocore.__version__}; edit nothing here.")
    print(" * name, method, path, query, headers, body and its length, time, region, service, Authorization, signature, canonical request */")
    print("/* clang-format off */")
    for name, case in CASES.items():
        method, path, query, wire, body, *rest = sign(**case)
        if name == "get-vanilla":
            assert rest[-2] == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        fields = [quoted(field) for field in (name, method, path, query, wire, body)] + [str(len(body))] + [quoted(field) for field in rest]
        print("{" + ",\n ".join(fields) + "},")
    print("/* clang-format on */")


main()
