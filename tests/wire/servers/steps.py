"""The steps a script is made of: answers, and the ways in which an answer can go wrong."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from .fault import Exchange, Handler, Moment, Step

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


def at(when: Moment, handler: Handler) -> Step:
    """A handler of the test's own that strikes at another moment than after the whole request."""
    return Step(handler, when)


# -- answers -------------------------------------------------------------------------------------


def reply(
    status: int = 200,
    body: bytes | str = b"",
    headers: Headers = (),
    *,
    chunked: bool = False,
    close: bool = False,
    close_after: float | None = None,
    delay: float = 0.0,
    interim: Iterable[int] = (),
    when: Literal["head", "request"] = "request",
) -> Step:
    """A proper answer.

    `close` announces the close and does it; `close_after` closes the kept connection unannounced when it
    was idle so many seconds (0: at once). `delay` is waited before the answer. `interim` statuses (100, 103)
    go first. `when="head"` answers before the body was read; it is read afterwards.
    """
    data = body.encode() if isinstance(body, str) else body
    pairs = _pairs(headers)

    def act(exchange: Exchange) -> None:
        exchange.pause(delay)
        for early in interim:
            exchange.send(_head(early, []))
        exchange.keep = exchange.keep and not close
        exchange.idle = close_after
        bodiless = status < 200 or status in (204, 304)
        framing = [] if bodiless else [_framing(len(data), chunked)]
        if bodiless or (exchange.request is not None and exchange.request.method == "HEAD"):
            content = b""
        else:
            content = _chunk(data) + _chunk(b"", last=True) if chunked else data
        exchange.send(_head(status, pairs, framing, keep=exchange.keep) + content)

    return Step(act, when)


def json_reply(value: Any, status: int = 200, headers: Headers = ()) -> Step:
    """A JSON document as answer."""
    return reply(status, json.dumps(value), [("Content-Type", "application/json"), *_pairs(headers)])


def redirect(to: str, status: int = 302, headers: Headers = ()) -> Step:
    """Send the client elsewhere; `redirect("/")` for every request is a loop."""
    return reply(status, b"", [("Location", to), *_pairs(headers)])


def cookies(count: int, size: int = 100, status: int = 200) -> Step:
    """An answer that sets so many cookies, each with a value of `size` bytes."""
    return reply(status, b"ok", [("Set-Cookie", f"c{number}={'v' * size}") for number in range(count)])


# -- answers that never come, or not as HTTP -----------------------------------------------------


def stall(when: Moment = "request") -> Step:
    """Say nothing until the client leaves."""
    return Step(lambda exchange: exchange.pause(None), when)


def reset(when: Moment = "request") -> Step:
    """A TCP reset instead of an answer. At `accept` the client may meet it in its connect, send or read."""
    return Step(lambda exchange: exchange.link.reset(), when)


def hang_up(when: Moment = "request") -> Step:
    """Close without an answer. After the whole request it is a clean FIN; with bytes unread, a reset."""
    return Step(lambda exchange: exchange.link.close(), when)


def garbage(data: bytes = b"\x00\xff SMTP ready\r\n\r\n" * 4, when: Moment = "request") -> Step:
    """Bytes that are no HTTP, then the close."""
    return _then_close([data], when=when)


# -- answers that break off ----------------------------------------------------------------------


def truncated(
    body: bytes,
    sent: int,
    *,
    status: int = 200,
    headers: Headers = (),
    chunked: bool = False,
    then: Literal["close", "reset", "stall"] = "close",
) -> Step:
    """Announce all of `body`, send `sent` bytes of it, then close, reset or say nothing more.

    Chunked, the one chunk announces the whole body, so the end is missed inside a chunk.
    """

    def act(exchange: Exchange) -> Step | None:
        announced = b"%x\r\n" % len(body) if chunked else b""
        exchange.send(_head(status, _pairs(headers), [_framing(len(body), chunked)]) + announced + body[:sent])
        if then == "close":
            exchange.link.close()
            return None
        return reset() if then == "reset" else stall()

    return Step(act)


# -- answers that take their time ----------------------------------------------------------------


def drip(pieces: Iterable[bytes], interval: float, *, first: bytes = b"", when: Moment = "request") -> Step:
    """Send `first` at once, then one piece every `interval` seconds, then close."""
    return _then_close(pieces, interval, first=first, when=when)


def drip_head(body: bytes = b"ok", *, interval: float, status: int = 200, headers: Headers = ()) -> Step:
    """The head byte by byte, each within any read timeout; then the body at once."""
    head = _head(status, _pairs(headers), [_framing(len(body), False)], keep=False)
    return drip([*_bytes(head), body], interval)


def drip_header(interval: float) -> Step:
    """One header line that grows byte by byte and never ends."""
    return drip(itertools.repeat(b"x"), interval, first=b"HTTP/1.1 200 OK\r\nX-Endless: ")


def drip_body(body: bytes | None, *, interval: float, chunked: bool = False, status: int = 200) -> Step:
    """The body byte by byte (chunked: a chunk for each); None is a body that never ends, always chunked."""
    if body is None:
        return drip(itertools.repeat(_chunk(b"x")), interval, first=_head(status, [], [_framing(0, True)], keep=False))
    pieces = [*map(_chunk, _bytes(body)), _chunk(b"", last=True)] if chunked else list(_bytes(body))
    return drip(pieces, interval, first=_head(status, [], [_framing(len(body), chunked)], keep=False))


def drip_chunk_line(interval: float) -> Step:
    """A chunked body whose next size line grows for ever: no byte of the body ever comes."""
    first = _head(200, [], [_framing(0, True)]) + _chunk(b"begun") + b"5;x="
    return drip(itertools.repeat(b"x"), interval, first=first)


def drip_handshake(interval: float) -> Step:
    """A TLS record that grows for ever instead of a handshake; for https URLs on a server with or without TLS."""
    return drip(itertools.repeat(b"\x00"), interval, first=b"\x16\x03\x03\x3f\xff", when="bytes")


# -- answers that are too much -------------------------------------------------------------------


def endless_headers(line: bytes = b"X-More: " + b"y" * 1000 + b"\r\n") -> Step:
    """Header lines as fast as the client takes them, without an end."""
    return _then_close(itertools.repeat(line), first=b"HTTP/1.1 200 OK\r\n")


def endless_interim(status: int = 100, interval: float = 0.0) -> Step:
    """`100 Continue` for ever, and never an answer."""
    return _then_close(itertools.repeat(_head(status, [])), interval)


def huge_body(size: int, *, chunked: bool = False, headers: Headers = ()) -> Step:
    """A body of `size` bytes that is never held in memory here. The client may leave in the middle."""
    block = b"x" * min(size, 65536)
    first = _head(200, _pairs(headers), [_framing(size, chunked)], keep=False)

    def pieces() -> Iterator[bytes]:
        if not chunked:
            return _blocks(block, size)
        return itertools.chain(map(_chunk, _blocks(block, size)), [_chunk(b"", last=True)])

    return Step(lambda exchange: _then_close(pieces(), first=first))


def gzip_bomb(size: int) -> Step:
    """A gzip body of about `size` / 1000 bytes that becomes `size` bytes when it is unpacked."""

    def packed() -> Iterator[bytes]:
        gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
        for block in _blocks(bytes(1 << 20), size):
            if piece := gzip.compress(block):
                yield _chunk(piece)
        yield _chunk(gzip.flush())
        yield _chunk(b"", last=True)

    first = _head(200, [("Content-Encoding", "gzip")], [_framing(0, True)], keep=False)
    return Step(lambda exchange: _then_close(packed(), first=first))


# -- the parts -----------------------------------------------------------------------------------


def _then_close(
    pieces: Iterable[bytes], interval: float = 0.0, *, first: bytes = b"", when: Moment = "request"
) -> Step:
    def act(exchange: Exchange) -> None:
        exchange.keep = False
        if first:
            exchange.send(first)
        for piece in pieces:
            if interval:
                exchange.pause(interval)
            exchange.send(piece)
        if exchange.request is None:  # nothing was read: what waits unread must not block the close
            exchange.link.linger()

    return Step(act, when)


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def _head(status: int, headers: Headers, framing: Headers = (), *, keep: bool = True) -> bytes:
    """A head; what the test gave itself (a false Content-Length, say) is not given a second time."""
    given = _pairs(headers)
    names = {name.lower() for name, _ in given}
    if not keep:
        framing = [*_pairs(framing), ("Connection", "close")]
    lines = [*given, *((name, value) for name, value in _pairs(framing) if name.lower() not in names)]
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unassigned"
    text = f"HTTP/1.1 {status} {phrase}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    return text.encode("latin-1")


def _framing(length: int, chunked: bool) -> tuple[str, str]:
    return ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length))


def _chunk(data: bytes, *, last: bool = False) -> bytes:
    if not data and not last:
        return b""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _bytes(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def _blocks(block: bytes, size: int) -> Iterator[bytes]:
    whole, rest = divmod(size, len(block) or 1)
    yield from itertools.repeat(block, whole)
    if rest:
        yield block[:rest]
