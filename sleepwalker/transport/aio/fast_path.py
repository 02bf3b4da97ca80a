"""A request and its response without the steps of aiohttp's session that do nothing for them.

The session prepares for redirects, compression, tracing and resending, and its own headers and cookies: more than half
of the cost of a small request. Here the request's bytes are written to the socket from aiohttp's connector, and aiohttp
reads the response. The required parts of aiohttp are tried out first, in memory. If this release works differently, or
a tracer or a mock has replaced the session, requests go through the session.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import requests
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from sleepwalker.events import FastPathOff
from sleepwalker.telemetry.log import emit
from sleepwalker.transport.aio.deadline import AttemptDeadline
from sleepwalker.transport.aio.sockets import Connector
from sleepwalker.transport.aio.uploading import Message, upload
from sleepwalker.transport.framing import LONGEST_LINE, MOST_INTERIM, MalformedResponse
from sleepwalker.transport.headers import store_of

#: Heads to remember: more than a connection sends repeatedly.
_MOST_HEADS = 64
#: The same settings as those of a route's session.
_READING: dict[str, Any] = {
    "read_until_eof": True,
    "auto_decompress": False,
    "read_timeout": None,
    "read_bufsize": 1 << 16,
    "max_line_size": LONGEST_LINE,
    "max_field_size": LONGEST_LINE,
}
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_REQUEST = aiohttp.ClientSession.__dict__.get("_request")


class Received:
    """What an attempt needs from an `aiohttp.ClientResponse`."""

    __slots__ = ("_conn", "content", "raw_headers", "reason", "status")

    def __init__(self, message: Any, content: aiohttp.StreamReader, conn: Connection, *, kept: bool) -> None:
        """A connection that is not `kept` goes back to aiohttp's pool once the body is read."""
        self.status: int = message.code
        self.reason: str | None = message.reason
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.content: aiohttp.StreamReader = content
        self._conn = conn
        if message.code == 101:  # no other protocol was requested
            conn.close()
        elif not kept:
            content.on_eof(conn.release)  # at once, if the whole body is there

    @property
    def content_length(self) -> int | None:
        """The length that the head announces."""
        for name, value in self.raw_headers:
            if name.lower() == b"content-length":
                return int(value) if value.isdigit() else None
        return None

    def close(self) -> None:
        """Close its socket, unless it was returned."""
        self._conn.close()


class FastPath:
    """Sends the requests of one client to its own origin."""

    __slots__ = ("_connector", "_heads", "_host", "_prefix", "_session", "_settings")

    def __init__(
        self,
        connector: Connector,
        session: aiohttp.ClientSession,
        settings: dict[str, Any],
        origin: str,
        host: str,
    ) -> None:
        """`settings`: further arguments of the session's requests; `origin`: how URLs begin; `host`: for Host."""
        self._connector = connector
        self._session = session
        self._settings = settings
        self._prefix = f"{origin}/"
        self._host = f"Host: {host}\r\n"
        self._heads: dict[tuple[Any, ...], str] = {}

    async def send(self, prepared: requests.PreparedRequest, deadline: AttemptDeadline) -> Received | None:
        """The head of the response; None for a request that must go through the session."""
        template = self._connector.template
        url, store = prepared.url or "", store_of(prepared.headers)
        body: Any = prepared.body
        if store is None or aiohttp.ClientSession.__dict__.get("_request") is not _REQUEST:
            return None
        if not url.startswith(self._prefix) or "#" in url or "host" in store:
            return None
        method = prepared.method or "GET"
        head = f"{method} {url[len(self._prefix) - 1 :]} HTTP/1.1\r\n{self._host}{self._fields(store)}\r\n"
        if template is None:
            # The session makes one. But it encodes what is not ASCII differently, and waits for a 100 without end.
            if not deadline.uploads and "expect" not in store and head.isascii():
                return None
            template = self._template(deadline.loop)
        data = head.encode("latin-1")
        if not deadline.uploads and body is not None:
            data += body if isinstance(body, bytes) else body.encode("utf-8")
        conn = self._connector.at_hand(deadline)
        if conn is None:
            conn = await self._connector.connect(template, traces=[], timeout=_NO_TIMEOUT)
        try:
            protocol, transport = _begun(conn, data, method == "HEAD")
            if deadline.uploads:
                chunked = "transfer-encoding" in store
                message, content = await upload(
                    protocol, transport, body, chunked=chunked, read=_read, deadline=deadline
                )
            else:
                message, content = await protocol.read()
                if message.code < 200:
                    message, content = await _final(protocol, message, content)
            return Received(message, content, conn, kept=self._connector.keep(conn, deadline.socket))
        except BaseException:
            conn.close()
            raise

    def _template(self, loop: asyncio.AbstractEventLoop) -> Any:
        """A request to this origin, as the session makes it for the connector."""
        ssl = self._settings.get("ssl", True)
        self._connector.template = aiohttp.ClientRequest(
            "GET", URL(self._prefix), loop=loop, session=self._session, ssl=ssl
        )
        return self._connector.template

    def _fields(self, store: dict[str, tuple[str, Any]]) -> str:
        """The lines of headers that were checked."""
        key = tuple(store.values())
        lines = self._heads.get(key)
        if lines is None:
            lines = "".join(f"{name}: {_text(value)}\r\n" for name, value in key)
            if len(self._heads) >= _MOST_HEADS:
                self._heads = {}
            self._heads[key] = lines
        return lines


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _begun(conn: Connection, data: bytes, skip_payload: bool) -> tuple[Any, Any]:
    """Send the beginning of a request. Returns aiohttp's protocol and its transport."""
    protocol, transport = conn.protocol, conn.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(skip_payload=skip_payload, **_READING)
    transport.write(data)
    return protocol, transport


async def _read(protocol: Any) -> Message:
    """The head of the response, and its body."""
    return await _final(protocol, *await protocol.read())


async def _final(protocol: Any, message: Any, content: aiohttp.StreamReader) -> Message:
    """This head and its body; after an interim one, the final head and its body."""
    interim = 0
    while 100 <= message.code < 200 and message.code != 101:  # RFC 9110, section 15.2
        interim += 1
        if interim > MOST_INTERIM:
            raise MalformedResponse(f"more than {MOST_INTERIM} interim responses (1xx), and no final one")
        message, content = await protocol.read()
    return message, content


def is_open(session: aiohttp.ClientSession, host: str) -> bool:
    """Whether requests of a session may use the fast path."""
    global _works
    if session.trace_configs:
        return False
    if _works is None:
        differs = _rehearsed(asyncio.get_running_loop())
        _works = differs is None
        if differs is not None:
            emit(FastPathOff(host, reason=differs))
    return _works


#: Whether this release of aiohttp works as is expected here; None until it was tried.
_works: bool | None = None


class _Memory(asyncio.Transport):
    """A transport to nowhere."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing is open."""


def _rehearsed(loop: asyncio.AbstractEventLoop) -> str | None:
    """Read a response from memory. Returns what of aiohttp works differently than is expected here; None if nothing."""
    try:
        protocol = ResponseHandler(loop)
        protocol.connection_made(_Memory())
        protocol.set_response_params(skip_payload=False, **_READING)
        protocol.data_received(b"HTTP/1.1 203 Fine\r\nA-B: c\r\nContent-Length: 2\r\n\r\nok")
        steps = protocol.read().__await__()
        try:
            next(steps)
        except StopIteration as stop:
            message, content = stop.value
        else:
            return "ResponseHandler.read"
        ended: list[bool] = []
        content.on_eof(lambda: ended.append(True))
        if (message.code, message.reason, message.raw_headers[0]) != (203, "Fine", (b"A-B", b"c")):
            return "RawResponseMessage"
        if content.read_nowait(-1) != b"ok" or ended != [True]:
            return "StreamReader"
        if protocol.should_close or not protocol.is_connected() or _REQUEST is None:
            return "ResponseHandler"
    except Exception as error:  # noqa: BLE001 - a release may differ in any way
        return type(error).__name__
    return None
