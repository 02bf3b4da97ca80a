"""Generates responses, byte by byte, from a seed: mostly plain ones with one or two things odd about them.

Each decision has a name and a generator of its own, seeded with it. So a case can be made again without one of its
oddities and with all else as it was, which is how a failing one is made smaller.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE")


@dataclass(frozen=True)
class Case:
    """A request's method, and the bytes of the response to it."""

    seed: str
    without: frozenset[str]
    """Oddities that it was not to have."""
    method: str
    status: int | None
    """None where the status line has none that can be read."""
    data: bytes
    closes: bool
    """Whether the server closes the connection after them."""
    oddities: tuple[str, ...]
    """What is odd about it, as `reason: utf-8`."""
    body: bytes
    """The body before any coding and framing."""
    head_cut: bool
    """Whether they end before the empty line that ends the head."""

    def has(self, *starts: str) -> bool:
        """Whether one of its oddities starts with one of these."""
        return any(oddity.startswith(starts) for oddity in self.oddities)

    def shown(self) -> str:
        """For the text of a failure."""
        end = "then the server closes" if self.closes else "and the connection stays open"
        return f"seed {self.seed}, {self.method}, {', '.join(self.oddities) or 'nothing odd'}:\n{self.data!r}\n{end}"


class Draw:
    """Makes the decisions of one case."""

    def __init__(self, seed: str, without: Iterable[str] = ()) -> None:
        self._seed = seed
        self._without = frozenset(without)
        self.oddities: list[str] = []

    def chance(self, name: str) -> random.Random:
        """The generator of one decision."""
        return random.Random(f"{self._seed}/{name}")

    def plain(self, name: str, options: Iterable[T]) -> T:
        """One of these, none of which is odd."""
        return self.chance(name).choice(list(options))

    def happens(self, name: str, share: float) -> bool:
        """Whether something odd happens."""
        if name in self._without or self.chance(name).random() >= share:
            return False
        self.oddities.append(name)
        return True

    def odd(self, kind: str, share: float, options: Mapping[str, T]) -> T | None:
        """In a share of the cases one of the odd options, else None."""
        chance = self.chance(kind)
        if chance.random() >= share:
            return None
        label = chance.choice(list(options))
        if f"{kind}: {label}" in self._without:
            return None
        self.oddities.append(f"{kind}: {label}")
        return options[label]


VERSIONS = {
    "1.0": b"HTTP/1.0",
    "1.2": b"HTTP/1.2",
    "1.": b"HTTP/1.",
    "1": b"HTTP/1",
    "2.0": b"HTTP/2.0",
    "0.9": b"HTTP/0.9",
    "lower case": b"http/1.1",
    "1.10": b"HTTP/1.10",
    "another protocol": b"ICY",
    "none": b"",
}
STATUSES = (200, 200, 200, 200, 201, 202, 203, 204, 205, 206, 226, 300, 304, 400, 401, 404, 410, 429, 500, 501, 503)
ODD_STATUSES = {
    "299": b"299",
    "499": b"499",
    "599": b"599",
    "600": b"600",
    "999": b"999",
    "four digits": b"2000",
    "two digits": b"20",
    "leading zero": b"0200",
    "below 100": b"099",
    "negative": b"-200",
    "plus": b"+200",
    "underscore": b"2_00",
    "fraction": b"200.5",
    "letters": b"abc",
    "empty": b"",
    "switching": b"101",
}
REASONS = {
    "empty": b" ",
    "none": b"",
    "two spaces": b"  Not  Found ",
    "tab": b" a\tb",
    "latin-1": b" \xe4\xf6",
    "utf-8": " ✓ é".encode(),
    "control": b" a\x01\x7fb",
    "separator": b" a\x1c\x85b\x0bc\x0cd",
    "null": b" a\x00b",
    "long": b" " + b"x" * 3000,
    "endless": b" " + b"x" * 70_000,
}
FIELDS = (
    (b"Server", b"test"),
    (b"Date", b"Mon, 30 Nov 2026 08:00:00 GMT"),
    (b"Content-Type", b"text/html"),
    (b"Content-Type", b"application/json; charset=utf-8"),
    (b"X-A", b"1"),
    (b"x-a", b"2"),
    (b"X-B", b"a, b"),
    (b"ETag", b'"e"'),
    (b"Link", b'</b>; rel="next"'),
    (b"Vary", b"Accept"),
    (b"Location", b"/elsewhere"),
    (b"Retry-After", b"1"),
)
#: Whole lines. Those after which http.client reads no further are in `BREAKING`.
LINES = {
    "empty value": b"X-Odd:\r\n",
    "blank value": b"X-Odd:   \t \r\n",
    "no space": b"X-Odd:v\r\n",
    "many spaces": b"X-Odd: \t  v \t \r\n",
    "latin-1": b"X-Odd: \xe4\xf6\r\n",
    "utf-8": "X-Odd: ✓\r\n".encode(),
    "nbsp": b"X-Odd: \xa0v\xa0\r\n",
    "control": b"X-Odd: a\x01b\x7f\r\n",
    "separator": b"X-Odd: a\x1cb\x1dc\x0bd\x0ce\x85f\r\n",
    "null": b"X-Odd: a\x00b\r\n",
    "fold": b"X-Odd: a\r\n  b\r\n\tc\r\n",
    "fold to nothing": b"X-Odd: a\r\n  \r\n",
    "long": b"X-Odd: " + b"v" * 9000 + b"\r\n",
    "odd name": b"X-(Odd)@: v\r\n",
    "underscores": b"x_odd_: v\r\n",
    "repeated": b"X-Odd: 1\r\nx-odd: 2\r\nX-ODD: 1\r\n",
    "repeated type": b"Content-Type: text/plain\r\nContent-Type: text/html; charset=latin-1\r\n",
    "punycode": b"Content-Type: text/plain; charset=punycode\r\n",
    "unknown charset": b'Content-Type: text/plain; charset="no-such"\r\n',
    "odd type": b"Content-Type: ;;charset\r\n",
    "many": b"".join(b"X-%d: v\r\n" % number for number in range(90)),
}
BREAKING = {
    "no colon": b"this is no header\r\n",
    "space before colon": b"X-Odd : v\r\n",
    "empty name": b": v\r\n",
    "space in name": b"X Odd: v\r\n",
    "control in name": b"X\x01Odd: v\r\n",
    "latin-1 in name": b"X-\xe4: v\r\n",
    "fold first": b" X-Odd: v\r\n",
    "bare cr": b"X-Odd: a\rb\r\n",
    "bare cr and a field": b"X-Odd: a\rX-Smuggled: b\r\n",
    "bare lf": b"X-Odd: a\nX-Second: b\n",
    "cr cr lf": b"X-Odd: a\r\r\n",
    "from line": b"From someone\r\n",
    "too many": b"".join(b"X-%d: v\r\n" % number for number in range(101)),
    "line too long": b"X-Odd: " + b"v" * 66_000 + b"\r\n",
}
LENGTHS: dict[str, Callable[[int], bytes]] = {
    "spaces": lambda size: b"Content-Length:   %d \t\r\n" % size,
    "leading zeros": lambda size: b"Content-Length: 000%d\r\n" % size,
    "plus": lambda size: b"Content-Length: +%d\r\n" % size,
    "underscore": lambda size: b"Content-Length: 0_%d\r\n" % size,
    "twice": lambda size: b"Content-Length: %d\r\n" % size * 2,
    "a list": lambda size: b"Content-Length: %d, %d\r\n" % (size, size),
    "two that differ": lambda size: b"Content-Length: %d\r\nContent-Length: %d\r\n" % (size, size + 1),
    "a list that differs": lambda size: b"Content-Length: %d, %d\r\n" % (size, size + 1),
    "negative": lambda size: b"Content-Length: -%d\r\n" % (size + 1),
    "hexadecimal": lambda size: b"Content-Length: 0x%x\r\n" % size,
    "empty": lambda size: b"Content-Length:\r\n",
    "words": lambda size: b"Content-Length: all\r\n",
    "fraction": lambda size: b"Content-Length: %d.0\r\n" % size,
    "digits of latin-1": lambda size: b"Content-Length: \xb2\r\n",
    "endless": lambda size: b"Content-Length: " + b"9" * 5000 + b"\r\n",
    "too long": lambda size: b"Content-Length: %d\r\n" % (size + 7),
}
#: The Transfer-Encoding line of a body that is sent in chunks all the same.
TRANSFER = {
    "upper case": b"Transfer-Encoding: CHUNKED\r\n",
    "spaces": b"Transfer-Encoding:  chunked \r\n",
    "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "a list": b"Transfer-Encoding: chunked, chunked\r\n",
    "identity, chunked": b"Transfer-Encoding: identity, chunked\r\n",
    "two lines": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n",
    "parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "with a length": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "with a length after it": b"Transfer-Encoding: chunked\r\nContent-Length: 100000\r\n",
    "unknown": b"Transfer-Encoding: rot13\r\n",
}
#: Those that all clients read as chunks.
CHUNKED_FOR_ALL = ("upper case", "twice", "with a length", "with a length after it")
#: How a chunk of data is written.
CHUNKS: dict[str, Callable[[bytes], bytes]] = {
    "upper case": lambda data: b"%X\r\n%b\r\n" % (len(data), data),
    "extension": lambda data: b'%x;name="v;\\"";b\r\n%b\r\n' % (len(data), data),
    "leading zeros": lambda data: b"000%x\r\n%b\r\n" % (len(data), data),
    "space before crlf": lambda data: b"%x \r\n%b\r\n" % (len(data), data),
    "space first": lambda data: b" %x\r\n%b\r\n" % (len(data), data),
    "bare lf": lambda data: b"%x\n%b\n" % (len(data), data),
    "prefix": lambda data: b"0x%x\r\n%b\r\n" % (len(data), data),
    "plus": lambda data: b"+%x\r\n%b\r\n" % (len(data), data),
    "underscore": lambda data: b"0_%x\r\n%b\r\n" % (len(data), data),
    "negative": lambda data: b"-%x\r\n%b\r\n" % (len(data), data),
    "letters": lambda data: b"zz\r\n%b\r\n" % data,
    "empty size": lambda data: b"\r\n%b\r\n" % data,
    "no crlf after data": lambda data: b"%x\r\n%b" % (len(data), data),
    "other bytes after data": lambda data: b"%x\r\n%bXY" % (len(data), data),
    "size too small": lambda data: b"%x\r\n%b\r\n" % (max(len(data) - 1, 1), data),
    "beyond measure": lambda data: b"8000000000000000\r\n%b\r\n" % data,
    "long line": lambda data: b"%x;%b\r\n%b\r\n" % (len(data), b"e" * 70_000, data),
}
LAST_CHUNKS = {
    "trailers": b"0\r\nX-Trailer: v\r\nX-B: c\r\n\r\n",
    "zeros": b"000\r\n\r\n",
    "extension": b"0;last\r\n\r\n",
    "no empty line": b"0\r\n",
    "bare lf": b"0\n\n",
    "none": b"",
    "trailer that is none": b"0\r\nno colon\r\n\r\n",
    "trailer cut": b"0\r\nX-Trail",
    "many trailers": b"0\r\n" + b"X-T: v\r\n" * 150 + b"\r\n",
}
BODIES = (
    b"",
    b"ok",
    b'{"a": [1, 2]}',
    bytes(range(256)),
    b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
    b"0\r\n\r\n",
    b"x" * 9_000,
    b"long " * 14_000,
)


def _deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def _brotli(body: bytes) -> bytes:
    """As one uncompressed block after another would be too long; the package compresses."""
    import brotlicffi

    return bytes(brotlicffi.compress(body))


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


CODINGS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", _gzip),
    "x-gzip": (b"x-gzip", _gzip),
    "GZIP": (b"GZIP", _gzip),
    "gzip of two members": (b"gzip", lambda body: _gzip(body[:7]) + _gzip(body[7:])),
    "gzip with junk after it": (b"gzip", lambda body: _gzip(body) + b"junk"),
    "gzip with zeros after it": (b"gzip", lambda body: _gzip(body) + bytes(9)),
    "gzip cut": (b"gzip", lambda body: _gzip(body)[:-9]),
    "gzip cut in its checksum": (b"gzip", lambda body: _gzip(body)[:-3]),
    "gzip that is none": (b"gzip", lambda body: b"plain " + body),
    "gzip with a wrong checksum": (b"gzip", lambda body: _gzip(body)[:-8] + b"\0" * 8),
    "gzip of nothing": (b"gzip", lambda body: b""),
    "deflate": (b"deflate", zlib.compress),
    "deflate without wrapper": (b"deflate", _deflated),
    "deflate cut": (b"deflate", lambda body: zlib.compress(body)[:-5]),
    "deflate without wrapper cut": (b"deflate", lambda body: _deflated(body)[:-1]),
    "deflate that is none": (b"deflate", lambda body: b"plain " + body),
    "br": (b"br", _brotli),
    "br cut": (b"br", lambda body: _brotli(body)[:-1]),
    "br that is none": (b"br", lambda body: b"\xff\xff plain " + body),
    "identity": (b"identity", bytes),
    "unknown": (b"rot13", bytes),
    "empty": (b"", bytes),
    "gzip, gzip": (b"gzip, gzip", lambda body: _gzip(_gzip(body))),
    "deflate, gzip": (b"deflate, gzip", lambda body: _gzip(zlib.compress(body))),
    "gzip, unknown": (b"gzip, rot13", _gzip),
    "gzip, identity": (b"gzip, identity", _gzip),
    "six": (b"gzip, gzip, gzip, gzip, gzip, gzip", _gzip),
    "two lines": (b"gzip\r\nContent-Encoding: deflate", lambda body: zlib.compress(_gzip(body))),
}
COOKIES = {
    "plain": b"a=1",
    "attributes": b"a=1; Path=/; HttpOnly; SameSite=Lax",
    "several": b"a=1\r\nSet-Cookie: b=2; Path=/\r\nset-cookie: a=3",
    "quoted": b'a="x y"; Path="/"',
    "equals": b"a=b=c==",
    "no value": b"a=",
    "no equals": b"alone",
    "no name": b"=1",
    "nothing": b"",
    "semicolons": b";;;",
    "comma": b"a=1, b=2",
    "expired": b"a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    "expires later": b"a=1; Expires=Wed, 01-Jan-2036 00:00:00 GMT",
    "expires never": b"a=1; Expires=soon",
    "max age": b"a=1; Max-Age=60",
    "max age over": b"a=1; Max-Age=0",
    "max age odd": b"a=1; Max-Age=soon",
    "max age without value": b"a=1; Max-Age",
    "path below": b"a=1; Path=/deeper",
    "path of no path": b"a=1; Path=x",
    "path without value": b"a=1; Path",
    "secure": b"a=1; Secure",
    "other domain": b"a=1; Domain=example.com",
    "own domain": b"a=1; Domain=127.0.0.1",
    "empty domain": b"a=1; Domain=",
    "dot as domain": b"a=1; Domain=.",
    "domain without value": b"a=1; Domain",
    "version 1": b"a=1; Version=1; Port",
    "dollar": b"$a=1",
    "latin-1": b"a=\xe4",
    "control": b"a=x\x01y",
    "large": b"a=" + b"x" * 5000,
    "sixty": b"\r\nSet-Cookie: ".join(b"c%d=%d" % (number, number) for number in range(60)),
    "of 1965": b"a=1\r\nSet-Cookie2: b=2; Version=1",
}
CONNECTION = {
    "close": b"Connection: close\r\n",
    "Close": b"Connection: Close\r\n",
    "keep-alive": b"Connection: keep-alive\r\n",
    "a list with close": b"Connection: upgrade, close\r\n",
    "unclosed": b"Connection: unclosed\r\n",
    "two lines": b"Connection: keep-alive\r\nConnection: close\r\n",
    "keep-alive for a second": b"Connection: keep-alive\r\nKeep-Alive: timeout=1\r\n",
    "proxy's": b"Proxy-Connection: close\r\n",
}
INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
    "100 with fields": b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n",
    "100 twice": b"HTTP/1.1 100 Continue\r\n\r\n" * 2,
    "100 and 103": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    "199": b"HTTP/1.1 199 Something\r\n\r\n",
    "100 of 1.0": b"HTTP/1.0 100 Continue\r\n\r\n",
}
FIRST = {
    "blank line": b"\r\n",
    "blank lines": b"\r\n\r\n",
    "junk": b"junk\r\n",
    "junk without an end": b"\x16\x03\x01\x02",
}
EXTRA = {
    "a byte": b"!",
    "crlf": b"\r\n",
    "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    "ten kilobytes": b"y" * 10_000,
}


def make(seed: str, without: Iterable[str] = ()) -> Case:
    """The case of a seed; `without` some of its oddities."""
    draw = Draw(seed, without)
    method = draw.plain("method", METHODS)
    status = draw.plain("status", STATUSES)
    body = draw.plain("body", BODIES)
    start, known = _status_line(draw, status)
    fields, breaks = _fields(draw)
    bare = known in (204, 304) or method == "HEAD" or (known is not None and 100 <= known < 200)
    framing, sent, clear = _framed(draw, body, bare)
    connection = draw.odd("connection", 0.12, CONNECTION) or b""
    head = start + draw.chance("order").choice([fields + connection + framing, framing + fields + connection]) + b"\r\n"
    interim = draw.odd("interim", 0.06, INTERIM) or b""
    first = draw.odd("first", 0.03, FIRST) or b""
    data = first + interim + head + sent
    clear = clear and not breaks and not first and not interim and not draw_has(draw, "version", "status")
    if extra := draw.odd("extra", 0.08, EXTRA):
        data += extra
    before_body = first + interim + head
    if draw.happens("bare lf everywhere", 0.04):
        data, before_body, clear = data.replace(b"\r\n", b"\n"), before_body.replace(b"\r\n", b"\n"), False
    if draw.happens("cut", 0.1):
        ends = draw.chance("cut in").choice([len(data), len(before_body)])  # or most cuts were in long bodies
        data, clear = data[: draw.chance("cut at").randrange(ends)], False
    closes = not clear or draw.chance("closes").random() < 0.2
    cut = len(data) < len(before_body)
    return Case(seed, frozenset(without), method, known, data, closes, tuple(draw.oddities), body, cut)


def draw_has(draw: Draw, *starts: str) -> bool:
    """Whether an oddity was drawn that starts with one of these."""
    return any(oddity.startswith(starts) for oddity in draw.oddities)


def _status_line(draw: Draw, status: int) -> tuple[bytes, int | None]:
    version = draw.odd("version", 0.05, VERSIONS)
    code = draw.odd("status", 0.05, ODD_STATUSES)
    reason = draw.odd("reason", 0.08, REASONS)
    text = b"%d" % status if code is None else code
    known = int(text) if text.isdigit() else None
    return (b"HTTP/1.1" if version is None else version) + b" " + text + (
        b" OK" if reason is None else reason
    ) + b"\r\n", known


def _fields(draw: Draw) -> tuple[bytes, bool]:
    """Lines that say nothing of where the body ends, and whether one of them may break the reading of others."""
    chance = draw.chance("fields")
    lines = [b"%b: %b\r\n" % pair for pair in chance.sample(FIELDS, chance.randrange(5))]
    if line := draw.odd("line", 0.15, LINES):
        lines.insert(chance.randrange(len(lines) + 1), line)
    if cookie := draw.odd("cookie", 0.15, COOKIES):
        lines.append(b"Set-Cookie: " + cookie + b"\r\n")
    breaking = draw.odd("breaking line", 0.06, BREAKING)
    if breaking:
        lines.insert(chance.randrange(len(lines) + 1), breaking)
    return b"".join(lines), breaking is not None


def _framed(draw: Draw, body: bytes, bare: bool) -> tuple[bytes, bytes, bool]:
    """Lines about the body, what is sent of it, and whether all clients agree on where it ends."""
    lines = b""
    if coding := draw.odd("coding", 0.15, CODINGS):
        lines = b"Content-Encoding: " + coding[0] + b"\r\n"
        body = coding[1](body)
    how = draw.plain("framing", ["length", "length", "length", "chunked", "chunked", "end"])
    clear = True
    if how == "length":
        odd = draw.odd("length", 0.15, LENGTHS)
        lines, clear = lines + (odd(len(body)) if odd else b"Content-Length: %d\r\n" % len(body)), odd is None
        sent = body
    elif how == "chunked":
        odd_line = draw.odd("transfer", 0.12, TRANSFER)
        lines += odd_line or b"Transfer-Encoding: chunked\r\n"
        sent, clear = _chunked(draw, body)
        clear = clear and (odd_line is None or draw_has(draw, *(f"transfer: {name}" for name in CHUNKED_FOR_ALL)))
    else:
        sent, clear = body, bare
    if bare:
        if not draw.happens("body where none may be", 0.05):
            return lines, b"", clear and how != "chunked"
        clear = False
    return lines, sent, clear


def _chunked(draw: Draw, body: bytes) -> tuple[bytes, bool]:
    size = draw.plain("chunk size", [3, 100, 4096, 100_000]) if len(body) < 1000 else 4096
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    odd = draw.odd("chunk", 0.12, CHUNKS) if pieces else None
    at = draw.chance("odd chunk").randrange(len(pieces)) if pieces else 0
    written = [
        odd(piece) if odd and number == at else b"%x\r\n%b\r\n" % (len(piece), piece)
        for number, piece in enumerate(pieces)
    ]
    last = draw.odd("last chunk", 0.1, LAST_CHUNKS)
    return b"".join(written) + (b"0\r\n\r\n" if last is None else last), odd is None and last is None


def all_oddities() -> set[str]:
    """All that `make` may draw, for a test that it does."""
    maps: dict[str, Mapping[str, Any]] = {
        "version": VERSIONS,
        "status": ODD_STATUSES,
        "reason": REASONS,
        "line": LINES,
        "breaking line": BREAKING,
        "cookie": COOKIES,
        "coding": CODINGS,
        "length": LENGTHS,
        "transfer": TRANSFER,
        "chunk": CHUNKS,
        "last chunk": LAST_CHUNKS,
        "connection": CONNECTION,
        "interim": INTERIM,
        "first": FIRST,
        "extra": EXTRA,
    }
    named = {f"{kind}: {label}" for kind, options in maps.items() for label in options}
    return named | {"cut", "bare lf everywhere", "body where none may be"}
