"""Whether a body that ends with its TLS connection is complete: only if TLS announced the end (RFC 8446, 6.1)."""

from __future__ import annotations

import contextlib
import ssl
import weakref
from typing import Any

import requests

from sleepwalker.transport.framing import UNANNOUNCED, MalformedResponse


class Goodbye:
    """Notes whether the other end of a TLS connection announces its end."""

    __slots__ = ("ended", "heard")

    def __init__(self, protocol: Any, tls: ssl.SSLObject) -> None:
        self.heard: bool = False
        self.ended: bool = False
        """Whether nothing more comes, announced or not. The transport takes a while longer to close."""
        known = weakref.ref(protocol)  # a strong reference would be a cycle that keeps the socket

        def eof_received() -> Any:
            """asyncio calls this at any end. OpenSSL's `read` returns b"" only if close_notify arrived."""
            self.ended = True
            with contextlib.suppress(ssl.SSLError):
                self.heard = tls.read(1) == b""
            protocol = known()
            return None if protocol is None else type(protocol).eof_received(protocol)

        protocol.eof_received = eof_received

    def check(self, response: requests.Response) -> None:
        """MalformedResponse if the body of a response ended with the connection, unannounced."""
        if not self.heard and _ends_with_its_connection(response):
            raise MalformedResponse(UNANNOUNCED)


def goodbye_of(protocol: Any) -> Goodbye | None:
    """For a connection over TLS, unless its context treats each end as announced."""
    transport = protocol.transport
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    if tls is None or tls.context.options & getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0):
        return None
    return Goodbye(protocol, tls)


def _ends_with_its_connection(response: requests.Response) -> bool:
    """Whether neither a length nor chunks say where the body ends (RFC 9112, section 6.3)."""
    if response.status_code in (204, 304) or response.request.method == "HEAD":
        return False
    if "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return False
    return "Content-Length" not in response.headers
