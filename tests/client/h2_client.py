"""A hand-driven HTTP/2 client on python-h2, for the protocol's corners: no ALPN, small windows, GOAWAY while a stream runs."""

import json
import socket
import ssl
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

from penstock_client import decode_messages, headers


class H2Client:
    def __init__(self, port, tls_ca=None, alpn=None, window=65535, acknowledge=True, timeout=20):
        """tls_ca: verify against this file. alpn: protocols to offer, None: no ALPN extension at all. acknowledge: give windows back."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls_ca:
            context = ssl.create_default_context(cafile=tls_ca)
            if alpn:
                context.set_alpn_protocols(alpn)
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.acknowledge = acknowledge
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.status, self.head, self.body, self.ended, self.reset = {}, {}, {}, set(), {}
        self.events = []
        self.connection.initiate_connection()
        self.flush()
        if window != 65535 and alpn != ["http/1.1", "h2"]:
            self.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            self.flush()
            acknowledged = h2.events.SettingsAcknowledged
            self.until(lambda: sum(isinstance(event, acknowledged) for event in self.events) == 2)

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def request(self, operation, **members):
        stream = self.connection.get_next_available_stream_id()
        body = json.dumps(members).encode()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")]
        head += [(name.lower(), value) for name, value in headers(operation).items()]
        self.connection.send_headers(stream, head)
        self.connection.send_data(stream, body, end_stream=True)
        self.body[stream] = bytearray()
        self.flush()
        return stream

    def pump(self):
        """Reads once, and books what came. Returns the events."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server closed the connection")
        came = self.connection.receive_data(data)
        for event in came:
            if isinstance(event, h2.events.ResponseReceived):
                self.head[event.stream_id] = dict(event.headers)
                self.status[event.stream_id] = int(self.head[event.stream_id][":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.body[event.stream_id] += event.data
                if self.acknowledge and event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.reset[event.stream_id] = event.error_code
        self.events += came
        self.flush()
        return came

    def until(self, what, seconds=10):
        end = time.monotonic() + seconds
        while not what():
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self.pump()

    def call(self, operation, **members):
        stream = self.request(operation, **members)
        self.until(lambda: stream in self.ended)
        return self.status[stream], json.loads(self.body[stream] or b"{}")

    def subscribe(self, consumer, shard, **position):
        return self.request("SubscribeToShard", ConsumerARN=consumer, ShardId=shard, StartingPosition=position)

    def messages(self, stream):
        """Whole messages that have come for a stream: (headers, payload)."""
        return list(decode_messages(self.body[stream]))

    def close(self):
        self.socket.close()
