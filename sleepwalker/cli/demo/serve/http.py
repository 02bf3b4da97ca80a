"""HTTP/1.1, as far as a server for experiments needs it: reads requests within limits, and writes answers."""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

#: The most bytes of a request's head (or of one line of a chunked body), and of a whole body.
HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 2**20
#: Seconds that a connection may stay idle, and that a request may take to arrive.
IDLE = 75.0

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~\w-]{1,32}) (\S+) HTTP/1\.([01])", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)
#: Characters that a header's value cannot have.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Headers = tuple[tuple[str, str], ...]


class Refused(Exception):
    """The request is answered with only this status and a sentence."""

    def __init__(self, status: int, text: str, headers: Headers = ()) -> None:
        super().__init__(text)
        self.answer = failure(status, text, headers)


@dataclass(frozen=True)
class Request:
    """One request, with its whole body."""

    method: str
    target: str
    """As it was sent: a path with its query."""
    headers: Headers = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    persistent: bool = True
    """Whether the client may send another one over the same connection."""

    @cached_property
    def path(self) -> str:
        """The path, decoded and without the query."""
        return unquote(urlsplit(self.target).path) or "/"

    @cached_property
    def query(self) -> Mapping[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def header(self, name: str, default: str = "") -> str:
        """The values of a header, joined by commas."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else default

    def argument(self, name: str, default: str) -> str:
        """The last value of an argument in the query."""
        return self.query.get(name, [default])[-1]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. Its body is whole, or comes in parts."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: Headers = ()
    length: int | None = None
    """Bytes of a body that comes in parts; None if it is sent in chunks. A body that ends before is cut off."""
    note: str = ""
    """What is wrong with it, for the line on the terminal."""
    reset: bool = False
    """Whether the connection is reset instead."""
    then: Callable[[], None] | None = None
    """Called when it has been sent."""


def number(text: str, name: str, least: float, most: float) -> float:
    """The number in a path or a query. Raises `Refused` (400) if it is not a number, or outside the limits."""
    try:
        value = float(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise Refused(400, f"{name} must be a number from {least:g} to {most:g}")
    return value


def answer_json(data: Any, status: int = 200, headers: Headers = (), note: str = "") -> Answer:
    """An answer with this as JSON."""
    body = json.dumps(data, indent=2).encode() + b"\n"
    return Answer(status, body, (("Content-Type", "application/json"), *headers), note=note)


def failure(status: int, text: str, headers: Headers = (), note: str = "") -> Answer:
    """An answer with an error's text, in the member from which sleepwalker takes it."""
    return answer_json({"error_text": text}, status, headers, note or text)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request; None if no other comes. Raises `Refused` for one that is too large or malformed."""
    try:
        async with asyncio.timeout(IDLE):
            head = await reader.readuntil(b"\r\n\r\n")
            return await _request(head.decode("latin-1"), reader, writer)
    except asyncio.LimitOverrunError:
        raise Refused(431, f"the head has more than {HEAD_LIMIT} bytes") from None
    except (asyncio.IncompleteReadError, TimeoutError):
        return None


async def _request(head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    first, *lines = head.rstrip("\r\n").split("\r\n")
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        raise Refused(400, "the first line is no request of HTTP/1.1")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise Refused(400, "a line of the head is no header")
        headers.append((name, value.strip(" \t")))
    made = Request(found[1], found[2], tuple(headers))
    connection = made.header("Connection").lower()
    persistent = "close" not in connection and (found[3] == "1" or "keep-alive" in connection)
    return Request(found[1], found[2], made.headers, await _body(made, reader, writer), persistent)


async def _body(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    length, coding = request.header("Content-Length"), request.header("Transfer-Encoding").lower()
    if not length and not coding:
        return b""
    if coding not in ("", "chunked") or (coding and length):
        raise Refused(400, "Transfer-Encoding must be chunked, and come without Content-Length")
    if length and not (length.isascii() and length.isdecimal()):
        raise Refused(400, "Content-Length is no number")
    if length and (len(length) > 12 or int(length) > BODY_LIMIT):
        raise Refused(413, f"the body has more than {BODY_LIMIT} bytes")
    if request.header("Expect").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if length:
        return await reader.readexactly(int(length))
    parts: list[bytes] = []
    while size := await _chunk_size(reader):
        if sum(map(len, parts)) + size > BODY_LIMIT:
            raise Refused(413, f"the body has more than {BODY_LIMIT} bytes")
        parts.append(await reader.readexactly(size))
        await reader.readuntil(b"\r\n")
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        pass  # a trailer
    return b"".join(parts)


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    text = (await reader.readuntil(b"\r\n")).partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", text):
        raise Refused(400, "a chunk has no size")
    return int(text, 16)


def head_of(answer: Answer, length: int | None, *, persistent: bool) -> bytes:
    """The head of a response. Raises `Refused` for a header that cannot be sent."""
    if any(_NAME.fullmatch(name) is None or _CONTROL.search(value) for name, value in answer.headers):
        raise Refused(400, "this would make a header that cannot be sent")
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", f"Date: {email.utils.formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if not bodiless(answer.status):
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    if not persistent:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def bodiless(status: int) -> bool:
    """Whether responses with this status have no body."""
    return status in (204, 304) or status < 200


async def write_answer(writer: asyncio.StreamWriter, request: Request, answer: Answer) -> bool:
    """Send all of it. False if the connection cannot be used again: it ends here, or the body was cut off."""
    body, length = answer.body, answer.length
    if answer.reset:
        # Closing with a linger time of 0 sends a reset.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False
    if isinstance(body, bytes):
        length = len(body)
    head = head_of(answer, length, persistent=request.persistent)
    if request.method == "HEAD" or bodiless(answer.status):
        writer.write(head)
    elif isinstance(body, bytes):
        writer.write(head + body)
    else:
        writer.write(head)
        sent = 0
        async for part in body:
            writer.write(part if length is not None else b"%x\r\n%b\r\n" % (len(part), part))
            sent += len(part)
            await writer.drain()
        if length is None:
            writer.write(b"0\r\n\r\n")
        elif sent < length:
            return False
    await writer.drain()
    return request.persistent
