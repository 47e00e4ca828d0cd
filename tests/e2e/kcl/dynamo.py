"""The DynamoDB that the KCL keeps its leases in: moto's, in memory, on a free port of loopback, until standard input is closed."""

import contextlib
import logging
import sys

from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
with contextlib.redirect_stdout(sys.stderr):
    server.start()
print("listening %s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
