"""Generates requests, as callers write them, from a seed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.wire.differential.grammar import Draw

METHODS = ("GET", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
ODD_METHODS = {"lower case": "post", "unknown": "PURGE", "with a space": "GE T", "empty": "", "not ascii": "GÉT"}
PATHS = {
    "space": "/a b",
    "umlaut": "/ü/✓",
    "escaped": "/a%20b%2fc%C3%BC",
    "half an escape": "/%zz/%",
    "semicolon": "/a;b=c;d",
    "two slashes": "/a//b",
    "dot": "/a/./b",
    "two dots": "/a/../b",
    "query": "/a?q=1&r=a+b",
    "odd query": "/a?q=a b&ü=✓&&=%",
    "fragment": "/a?b#part",
    "question marks": "/a?b?c=/d",
    "quotes": "/'\"<>",
    "signs": "/a|b^c`d{e}[f]\\g",
    "colon": "/a:b@c",
    "tilde": "/~a!$&'()*+,",
    "relative": "a/b",
    "only a query": "?a=1",
    "empty": "",
}
PARAMS: dict[str, Any] = {
    "none": {},
    "one": {"a": "1"},
    "a list": {"a": ["1", "2"]},
    "none as value": {"a": None, "b": "1"},
    "odd text": {"a b": "ü&=#/?+ %"},
    "pairs": [("a", "1"), ("a", "2"), ("b", "3")],
    "text": "a=1&b=ü c",
    "bytes": b"a=1",
    "numbers": {"a": 1, "b": 2.5, "c": True},
    "empty name": {"": ""},
    "empty list": {"a": []},
    "bytes as value": {"a": b"\xff"},
}
HEADERS: dict[str, dict[Any, Any]] = {
    "one": {"X-A": "1"},
    "two": {"x-b": "1", "X-A": ""},
    "bytes": {"X-A": b"\xff"},
    "bytes as name": {b"X-A": "1"},
    "latin-1": {"X-A": "ä"},
    "beyond latin-1": {"X-A": "✓"},
    "number": {"X-A": 5},
    "line break": {"X-A": "a\r\nX-B: b"},
    "line break in name": {"X-A\r\nX-B": "a"},
    "blank before": {"X-A": " a"},
    "blank after": {"X-A": "a "},
    "tab": {"X-A": "a\tb"},
    "control": {"X-A": "a\x01b"},
    "odd name": {"X(A)": "1"},
    "none": {"X-A": None, "Accept": None},
    "no user agent": {"User-Agent": None},
    "no accept-encoding": {"Accept-Encoding": None},
    "own accept-encoding": {"accept-encoding": "identity"},
    "host": {"Host": "other.example"},
    "close": {"Connection": "close"},
    "type": {"Content-Type": "text/x-own"},
    "length": {"Content-Length": "4"},
    "chunked": {"Transfer-Encoding": "chunked"},
    "cookie": {"Cookie": "a=1"},
    "authorization": {"Authorization": "Bearer token"},
    "expect": {"Expect": "x-nothing"},
}


class _Chunks:
    def __iter__(self) -> Iterator[bytes]:
        return iter([b"one", b"two"])


def _placed() -> io.BytesIO:
    file = io.BytesIO(b"not this, but this")
    file.seek(10)
    return file


#: The arguments that make a body; made anew for each client.
BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "bytes": lambda: {"data": b"body\x00\xff"},
    "no bytes": lambda: {"data": b""},
    "text": lambda: {"data": "text"},
    "wide text": lambda: {"data": "täxt ✓"},
    "no text": lambda: {"data": ""},
    "form": lambda: {"data": {"a": "1", "b": "ü &="}},
    "form with lists": lambda: {"data": {"a": ["1", "2"], "b": None, "c": 3}},
    "pairs": lambda: {"data": [("a", "1"), ("a", "2")]},
    "no form": lambda: {"data": {}},
    "json": lambda: {"json": {"a": [1, 2.5, None, True, "ü✓"]}},
    "json list": lambda: {"json": []},
    "json text": lambda: {"json": "x"},
    "json number": lambda: {"json": 0},
    "json false": lambda: {"json": False},
    "json and data": lambda: {"json": {"a": 1}, "data": {"b": "2"}},
    "json and no data": lambda: {"json": {"a": 1}, "data": {}},
    "json nan": lambda: {"json": float("nan")},
    "file": lambda: {"data": io.BytesIO(b"file " * 20_000)},
    "file from its middle": lambda: {"data": _placed()},
    "empty file": lambda: {"data": io.BytesIO()},
    "text file": lambda: {"data": io.StringIO("text ü")},
    "iterator": lambda: {"data": iter([b"one", b"", b"three"])},
    "iterator of texts": lambda: {"data": iter(["one", "ü"])},
    "empty iterator": lambda: {"data": iter([])},
    "iterable": lambda: {"data": _Chunks()},
    "bytearray": lambda: {"data": bytearray(b"body")},
    "memoryview": lambda: {"data": memoryview(b"body")},
    "upload": lambda: {"files": {"f": b"data"}},
    "upload with form": lambda: {"files": {"f": ("ü.txt", io.BytesIO(b"data"), "text/plain")}, "data": {"k": "v"}},
    "uploads": lambda: {"files": [("f", ("a", "text")), ("f", ("b", b"data", "x/y", {"X-Part": "1"}))]},
    "no uploads": lambda: {"files": {}, "data": {"a": "1"}},
    "number": lambda: {"data": 5},
}


@dataclass(frozen=True)
class Upload:
    """The arguments of a request."""

    seed: str
    without: frozenset[str]
    """Oddities that it was not to have."""
    method: str
    path: str
    oddities: tuple[str, ...]
    arguments: Callable[[], dict[str, Any]]
    """The rest of them, made anew."""

    def has(self, *starts: str) -> bool:
        """Whether one of its oddities starts with one of these."""
        return any(oddity.startswith(starts) for oddity in self.oddities)

    def shown(self) -> str:
        """For the text of a failure."""
        return f"seed {self.seed}, {self.method!r} {self.path!r}: {', '.join(self.oddities) or 'nothing odd'}"


def make(seed: str, without: Iterable[str] = ()) -> Upload:
    """The request of a seed."""
    draw = Draw(seed, without)
    odd_method = draw.odd("method", 0.04, ODD_METHODS)
    method = draw.plain("plain method", METHODS) if odd_method is None else odd_method
    odd_path = draw.odd("path", 0.35, PATHS)
    params = draw.odd("params", 0.3, PARAMS)
    headers = draw.odd("headers", 0.45, HEADERS)
    body = draw.odd("body", 0.6, BODIES)

    def arguments() -> dict[str, Any]:
        return {"params": params, "headers": headers, **(body() if body else {})}

    return Upload(
        seed, frozenset(without), method, "/plain" if odd_path is None else odd_path, tuple(draw.oddities), arguments
    )


def all_oddities() -> set[str]:
    """All that `make` may draw."""
    maps: dict[str, Iterable[str]] = {
        "method": ODD_METHODS,
        "path": PATHS,
        "params": PARAMS,
        "headers": HEADERS,
        "body": BODIES,
    }
    return {f"{kind}: {label}" for kind, labels in maps.items() for label in labels}
