"""What comes from outside is read in linear time: else one text stops the process, past every deadline.

A regular expression that backtracks holds the interpreter's lock all the while. Time is counted in CPU seconds, of
which a machine that stands still uses none.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import pkgutil
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.cookies import extract_cookies_to_jar
from urllib3 import HTTPHeaderDict, HTTPResponse

import sleepwalker
from sleepwalker import Policy
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.engine.retry_after import parse_rate_limit, parse_reset, parse_retry_after
from sleepwalker.hosts import names
from sleepwalker.inspect import window
from sleepwalker.links.finding import links
from sleepwalker.links.template import expand, variables_of
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport import url
from sleepwalker.transport.blocking.adapter import Adapter
from sleepwalker.transport.blocking.deadline import AttemptDeadline
from sleepwalker.transport.blocking.head import BoundedResponse
from sleepwalker.transport.blocking.route import check_proxies
from sleepwalker.transport.body import NO_BODY
from sleepwalker.transport.cookies import BoundedCookieJar
from sleepwalker.transport.credentials import netrc_auth
from sleepwalker.transport.redirects import Hop, next_hop
from tests.deadlines import attempt_deadline
from tests.ranges import some

ORIGIN = url.parse_hostname("https://a.example")[1]


class TooLong(BaseException):
    """Passes whatever the code under test catches."""


@contextlib.contextmanager
def cpu(seconds: float) -> Iterator[None]:
    """End what takes more; regular expressions look at signals as well."""

    def stop(*_: object) -> None:
        raise TooLong(f"more than {seconds} s of CPU")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def took(read: Callable[[Any], object], text: Any) -> float:
    began = time.process_time()
    with contextlib.suppress(Exception):  # what makes no sense is refused
        read(text)
    return time.process_time() - began


def is_linear(read: Callable[[Any], object], make: Callable[[int], Any], size: int) -> bool:
    """Whether `size` takes no time to speak of, or four times as much takes about four times as long."""
    for _ in range(3):
        if took(read, make(size)) < 0.04:
            return True
        small, large = (min(took(read, make(n)) for _ in range(2)) for n in (size, 4 * size))
        if large < 8 * small:
            return True
    return False


# --- Heads of answers ---

ODD = {
    "folded": "X-Folded: one\r\n two\r\n",
    "only a line feed": "X-Lf: 1\nX-B: 2\r\n",
    "only a carriage return": "X-Cr: 1\rX-B: 2\r\n",
    "a space in the name": "X Odd: 1\r\n",
    "no colon": "odd\r\n",
    "no name": ": odd\r\n",
    "blanks": "X-Blanks:" + " " * 60_000 + "\rx\r\n",
    "tabs": "X-Tabs:" + "\t " * 30_000 + "\n",
    "folded blanks": "X-Blanks: a" + " " * 60_000 + "\r\n" + " " * 60_000 + "x\r\n",
    "colons": ":" * 60_000 + "\r\n",
    "a long name": "a" * 60_000 + "\r\n",
    "a media type": 'Content-Type: multipart/x;"' + ";" * 60_000 + "\r\nodd\r\n",
    "many carriage returns": "X:" + "\rb:c" * 15_000 + "\r\n",
}


class Sock:
    def __init__(self, data: str) -> None:
        self._data = io.BytesIO(data.encode("latin-1"))

    def recv(self, size: int) -> bytes:
        return self._data.read(size)

    def recv_into(self, buffer: memoryview) -> int:
        return self._data.readinto(buffer)

    def settimeout(self, seconds: float) -> None:
        pass

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO()


def read_head(text: str) -> list[tuple[str, str]]:
    with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 99)):
        response = BoundedResponse(Sock(f"HTTP/1.1 200 OK\r\n{text}Content-Length: 0\r\n\r\n"), method="GET")
        response.begin()
        return list(response.headers.items())


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_head_with_an_odd_line_is_read_in_no_time(odd: str) -> None:
    """28 ordinary lines and an odd one used to take minutes, and each line more twice as long."""
    for before in range(0, 99, 7):
        lines = [f"X-Header-{number}: value {number}\r\n" for number in range(97)]
        for text in ("".join([*lines[:before], odd, *lines[before:]]), "".join([odd, *lines[:before], odd])):
            with cpu(2), contextlib.suppress(Exception):
                read_head(text)


def test_lines_around_an_odd_one_are_those_that_came() -> None:
    lines = [(f"X-Header-{number}", f"value {number}") for number in range(97)]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines) + "X-Folded: one\r\n two\r\n"
    with cpu(2):
        assert read_head(head) == [*lines, ("X-Folded", "one two"), ("Content-Length", "0")]


# --- Values, by who reads them ---


def answered(**headers: str) -> requests.Response:
    """The answer that requests makes of these headers, cookies kept and all."""
    prepared = requests.Request("GET", "https://a.example/a").prepare()
    message = HTTPHeaderDict({name.replace("_", "-"): value for name, value in headers.items()})
    original: Any = type("Original", (), {"msg": _Message(message), "isclosed": lambda _: True})()
    raw = HTTPResponse(io.BytesIO(), message, 302, original_response=original, preload_content=False)
    response = Adapter(PoolPolicy(), None).build_response(prepared, raw)
    extract_cookies_to_jar(BoundedCookieJar(), prepared, raw)
    return response


class _Message(HTTPHeaderDict):
    def get_all(self, name: str, default: Any = None) -> Any:
        return self.getlist(name) or default


def redirected(location: str) -> None:
    response = answered(Location=location)
    hop = Hop(requests.Request("GET", "https://a.example/a").prepare(), ORIGIN.text)
    next_hop(hop, response, ORIGIN, NO_BODY, BoundedCookieJar())


def linked(value: str) -> None:
    list(links(answered(Link=value)))


def expanded(template: str) -> None:
    expand(template, dict.fromkeys(variables_of(template), "x"))


def hal(name: str) -> None:
    response = answered(Content_Type="application/hal+json")
    curies = [{"name": f"c{number}", "href": "/" + "x" * 1000 + "{rel}"} for number in range(100)]
    response._content = json.dumps({"_links": {"curies": curies, f"c0:{name}": {"href": name}}}).encode()
    list(links(response))


def netrc(folder: Path) -> Callable[[str], object]:
    path = folder / "netrc"
    path.touch(mode=0o600)

    def read(text: str) -> None:
        path.write_text(f"machine a.example login a password {text}", encoding="utf-8")
        netrc_auth(ORIGIN, {"NETRC": str(path)})

    return read


def toml(folder: Path) -> Callable[[str], object]:
    def read(text: str) -> None:
        path = folder / "policy.toml"
        path.write_text(text, encoding="utf-8")
        Policy.load(path)

    return read


def address(text: str) -> None:
    for read in (url.origin_of, url.safe_path, url.plain_path, url.parse_hostname, names.host_key):
        with contextlib.suppress(Exception):
            read(text)
    url.resolve(ORIGIN, "https://a.example/a/", text)


READERS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "Retry-After": (lambda text: parse_retry_after(text, 0.0), ("", "1", "Sun, 01 Jan ")),
    "RateLimit": (lambda text: parse_rate_limit(text, 0.0), ("", '"', '"default";r=0;', "limit=1, remaining=")),
    "RateLimit-Reset": (lambda text: parse_reset(text, 0.0), ("", "1", "Sun, 01 Jan ")),
    "Location": (redirected, ("", "/", "//", "https://a.example/", "https://a.example/?")),
    "Link": (linked, ("", "<", "<a>;", '<a>; rel="')),
    "Set-Cookie": (lambda text: answered(Set_Cookie=text), ("", "a=", 'a="', "a=b; Path=", "a=b; expires=1 Jan ")),
    "Set-Cookie2": (lambda text: answered(Set_Cookie="a=b", Set_Cookie2=text), ("", "a=", 'a="')),
    "Content-Type": (lambda text: answered(Content_Type=text), ("", "text/html;", 'text/html; charset="')),
    "Content-Length": (lambda text: answered(Content_Length=text), ("", "1")),
    "URLs": (address, ("", "/", "//", "http://", "https://a.example/", "https://[")),
    "templates": (expanded, ("", "{", "{a", "{?a,")),
    "HAL": (hal, ("", "/")),
    "proxies": (lambda text: check_proxies({"http": text}), ("", "http://", "http://a:", "http://[")),
    "times of inspect": (lambda text: window.moment(text, 0.0), ("", "2025-11-22T")),
}
UNITS = (
    *(
        " ",
        "\t",
        "a",
        "1",
        ",",
        ";",
        "=",
        '"',
        "\\",
        "/",
        "?",
        "#",
        "@",
        "%",
        ".",
        ":",
        "[",
        "{",
        "<",
        "(",
        "-",
        "\xe9",
    ),
    *(
        "%4",
        "%41",
        "../",
        "a/",
        "a,",
        "a;",
        "a=",
        "a=b;",
        "a=b,",
        'a="',
        "a.",
        "a:",
        "a@",
        "1,",
        "1 ",
        "1:",
        "1m",
        ", ",
    ),
    *("<a>,", "<a>;", "{a}", "{?a}", "{a", '\\"', '"\\', "://"),
)
ENDS = ("", "\x00")
SIZE = 8_000


def ended(units: Sequence[str]) -> list[tuple[str, str]]:
    """Every second unit with what is nowhere allowed after it; in CI also each with nothing."""
    return [(unit, ENDS[1]) for unit in units[::2]] + some([], [(unit, ENDS[0]) for unit in units])


@pytest.mark.once
@pytest.mark.parametrize("name", READERS)
def test_a_value_is_read_in_linear_time(name: str) -> None:
    read, beginnings = READERS[name]
    slow = []
    for beginning in beginnings:
        for unit, end in ended(UNITS):
            with cpu(20):
                if not is_linear(read, lambda size, b=beginning, u=unit, e=end: b + u * (size // len(u)) + e, SIZE):
                    slow.append((beginning, unit, end))
    assert slow == []


@pytest.mark.once
@pytest.mark.parametrize("kind", [netrc, toml])
def test_a_file_is_read_in_linear_time(kind: Callable[[Path], Callable[[str], object]], tmp_path: Path) -> None:
    read, slow = kind(tmp_path), []
    for beginning in ("", '"', "[", "a=", 'a="', "a='''"):
        for unit in (*some(UNITS[::3], UNITS), "a.b=1\n", "[a]\n", "macdef a\n", "#\n", "\n"):
            for end in ("\n", "a=1\n", "a]\n") if kind is toml else ("\n",):
                with cpu(20):
                    if not is_linear(read, lambda size, b=beginning, u=unit, e=end: b + u * (size // len(u)) + e, SIZE):
                        slow.append((beginning, unit, end))
    assert slow == []


def test_cookies_that_are_refused_are_not_read() -> None:
    """http.cookiejar copies the rest of such a header for each word of it, only to drop what it has found."""
    with cpu(2):
        answered(Set_Cookie="a=b", Set_Cookie2="a=b," * 75_000)


def test_a_body_is_not_decoded_as_punycode() -> None:
    """A megabyte of it would take Python a minute."""
    response = answered(Content_Type="text/html; charset=Punycode")
    response._content = b"a" * 1_000_000
    with cpu(5):
        assert response.text == "a" * 1_000_000


# --- Every regular expression of the package ---

SEARCHING = {"search", "sub", "subn", "split", "findall", "finditer"}
WAYS = SEARCHING | {"match", "fullmatch"}


def uses() -> Iterator[tuple[str, Callable[[Any], object], bool]]:
    """All that the package does with a regular expression: where it is made, how it looks at a text, whether bytes."""
    for module in pkgutil.walk_packages(sleepwalker.__path__, "sleepwalker."):
        found = module.module_finder.find_spec(module.name, None)
        source = Path(str(found and found.origin)).read_text(encoding="utf-8")
        if module.name == "sleepwalker.__main__" or "import re\n" not in source:
            continue
        loaded, tree = importlib.import_module(module.name), ast.parse(source)
        called: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=owner, attr=name) if name in WAYS:
                    called.setdefault(ast.unparse(owner), set()).add(name)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as made):
                    called.setdefault(ast.unparse(made), set()).update(called.get(name, ()), {f"={name}"})
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=function), args=[given, *more]):
                    flags = more[0] if function == "compile" and more else ast.Constant(0)
                    pattern = re.compile(*(eval(ast.unparse(part), vars(loaded)) for part in (given, flags)))
                    ways = called.get(ast.unparse(node), set()) if function == "compile" else {function}
                    for name in [way[1:] for way in ways if way.startswith("=")]:
                        ways = ways | called.get(name, set())
                    for way in {"search" if way in SEARCHING else way for way in ways if not way.startswith("=")}:
                        look = getattr(pattern, way)
                        yield f"{module.name}:{node.lineno} {way}", look, isinstance(pattern.pattern, bytes)


REPEATED = ("A: v\r\n", "//", "//a", "a//", "http://a", "1s", "1 s", "{a,", " \n", "\r", "?a", "''", "a://")
STARTS = ("", "/", "//", "http://", "http://a/", "a: ", ",", "{", "HTTP/1.1 200 ", "b'a:/")


@pytest.mark.once
def test_every_regular_expression_takes_linear_time() -> None:
    """Each meets each text, whether it is meant for it or not. A new one is found, and need not be entered here."""
    size, starts = SIZE // 2, some(STARTS[::5], STARTS)
    pairs = [(unit, ENDS[1]) for unit in UNITS + REPEATED] + some([], [(unit, ENDS[0]) for unit in UNITS[::3]])
    texts = [start + unit * (size // len(unit)) + end for start in starts for unit, end in pairs]
    slow, seen = [], {}
    for where, look, raw in uses():
        pattern: Any = getattr(look, "__self__")  # noqa: B009
        seen[pattern, look.__name__] = where, look, raw
    for where, look, raw in seen.values():
        with cpu(30):
            for text in texts:
                subject = text.encode("latin-1") if raw else text
                # The slowest takes 2 ms. `[ \t]*\n`, which is quadratic, takes 13 ms of 4,000 blanks.
                if all(took(look, subject) > 0.01 for _ in range(3)):
                    slow.append((where, text[:30]))
    assert slow == []
    assert len(seen) > 40
