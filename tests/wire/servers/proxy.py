"""A forward proxy: plain forwarding and CONNECT tunnels, on real sockets."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
from urllib.parse import urlsplit

from .fault import Exchange, FaultServer, Step
from .steps import reply

_HOP = {"proxy-authorization", "proxy-connection", "connection", "keep-alive", "te", "upgrade", "transfer-encoding"}


def forward_proxy(auth: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> FaultServer:
    """A proxy that records what it saw in `requests` and can be given a script of faults like any `FaultServer`.

    With `auth`, requests without these Basic credentials get 407. With `tls`, it is spoken to over TLS. CONNECT
    requests have the target `host:port`, forwarded ones the absolute URL.
    """
    expected = auth and "Basic " + base64.b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()

    def serve(exchange: Exchange) -> Step | None:
        request = exchange.request
        assert request is not None
        if expected is not None and request.header("Proxy-Authorization") != expected:
            return reply(407, b"", {"Proxy-Authenticate": 'Basic realm="tests"'})
        tunnel = request.method == "CONNECT"
        target = urlsplit("//" + request.target if tunnel else request.target)
        if target.hostname is None:
            return reply(400, b"a proxy wants the absolute URL")
        try:
            upstream = socket.create_connection((target.hostname, target.port or 80), 5)
        except OSError:
            return reply(502, b"", close=True)
        with upstream:
            if tunnel:
                exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                # One upstream connection per request: its end is the answer's end.
                lines = [f"{request.method} {target._replace(scheme='', netloc='').geturl() or '/'} HTTP/1.1"]
                kept = [(n, v) for n, v in request.headers if n.lower() not in _HOP | {"content-length"}]
                if request.body:
                    kept.append(("Content-Length", str(len(request.body))))
                lines += [f"{name}: {value}" for name, value in [*kept, ("Connection", "close")]]
                upstream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + request.body)
            _relay(exchange.link.socket, upstream)
        exchange.keep = False
        return None

    return FaultServer(default=serve, tls=tls)


def _relay(client: socket.socket, upstream: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    with contextlib.suppress(OSError):
        while True:
            for source in select.select([client, upstream], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                (upstream if source is client else client).sendall(data)
