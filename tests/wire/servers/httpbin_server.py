"""httpbin, served by werkzeug's threaded server in a process of its own: its work does not share the tests' GIL."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

# HTTP/1.1 for chunked answers (werkzeug closes after each all the same: nginx is there for keep-alive), and
# no Nagle: head and body are two writes, and the second would wait 40 ms for the client's delayed ACK.
# The end of stdin, also when the tests are killed, ends the server.
_PROGRAM = """
import os, sys, threading
from httpbin import app
from werkzeug.serving import WSGIRequestHandler, make_server

class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
server.daemon_threads = True
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def run_httpbin(folder: Path, within: float = 90.0) -> Iterator[str]:
    """Its base URL, once it listens. RuntimeError with its log if it does not come up."""
    log = folder / "httpbin.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True
        )
    assert process.stdout is not None
    killer = threading.Timer(within, process.kill)  # a server that hangs must not hang the tests
    killer.start()
    try:
        port = process.stdout.readline().strip()
        killer.cancel()
        if not port:
            raise RuntimeError(f"httpbin did not start:\n{log.read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        killer.cancel()
        killer.join()
        process.terminate()
        process.communicate()
