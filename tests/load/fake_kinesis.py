"""A Kinesis of one shard over HTTP/1.1, in JSON and CBOR, that lies where a test wants it to: for what penstock itself never does."""

import http.server
import json
import threading
import time

import cbor2

CBOR_TYPE = "application/x-amz-cbor-1.1"


class FakeKinesis:
    """`lies` maps a point of the code to a function; see where it is asked. No operation of enhanced fan-out is known."""

    def __init__(self, **lies):
        self.lies, self.records, self.calls, self.streams, self.lock = lies, [], [], set(), threading.Lock()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].split(".")[1]
                cbor = self.headers["Content-Type"] == CBOR_TYPE
                with fake.lock:
                    fake.calls.append(operation)
                    answer = fake.answer(operation, cbor2.loads(body) if cbor else json.loads(body))
                if answer is None:
                    self.close_connection = True
                    return
                status, members = answer
                text = fake.lies.get("cbor", cbor2.dumps)(members) if cbor else json.dumps(members).encode()
                self.send_response(status)
                self.send_header("Content-Type", CBOR_TYPE if cbor else "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *arguments):
        self.server.shutdown()
        self.server.server_close()

    def error(self, kind, message="so it is"):
        return 400, {"__type": kind, "message": message}

    def answer(self, operation, body):
        """(status, members), or None: hang up."""
        if operation in self.lies:
            lie = self.lies[operation](body)
            if lie != "honest":
                return lie
        method = getattr(self, "on_" + operation, None)
        return method(body) if method else self.error("UnknownOperationException", "")

    def on_CreateStream(self, body):
        if body["StreamName"] in self.streams:
            return self.error("ResourceInUseException")
        self.streams.add(body["StreamName"])
        return 200, {}

    def on_DeleteStream(self, body):
        self.streams.discard(body["StreamName"])
        return 200, {}

    def on_DescribeStream(self, body):
        return 200, {"StreamDescription": {"StreamName": body["StreamName"], "StreamStatus": "ACTIVE", "StreamARN": "arn:fake",
                                           "Shards": [{"ShardId": "shardId-000000000000"}]}}

    def on_PutRecord(self, body):
        self.records.append({"Data": body["Data"], "PartitionKey": body["PartitionKey"], "ApproximateArrivalTimestamp": time.time()})
        return 200, {"ShardId": "shardId-000000000000", "SequenceNumber": str(len(self.records))}

    def on_GetShardIterator(self, body):
        at = {"LATEST": len(self.records), "TRIM_HORIZON": 0}.get(body["ShardIteratorType"])
        return 200, {"ShardIterator": str(int(body["StartingSequenceNumber"]) if at is None else at)}

    def on_GetRecords(self, body):
        """Sequence numbers grow in width: 9 comes before 10."""
        at = int(body["ShardIterator"])
        records = [dict(record, SequenceNumber=str(at + i + 1)) for i, record in enumerate(self.records[at:])]
        return 200, {"Records": self.lies.get("records", lambda r: r)(records), "NextShardIterator": str(len(self.records)), "MillisBehindLatest": 0}
