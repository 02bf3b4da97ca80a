"""Random URIs and Locations, made of what parsers disagree about: nothing of ours leaves the origin by any of them.

`SLEEPWALKER_FUZZ=100000` tries so many URIs and as many Locations, rather than 2000; `SLEEPWALKER_SEED` repeats a run.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urldefrag, urljoin

import pytest
import requests
from requests.utils import requote_uri

from sleepwalker import ConnectError, Connection, Policy, RedirectError, SleepwalkerException, URLError
from sleepwalker.transport.url import plain_path
from tests.ranges import some

pytestmark = [pytest.mark.once, pytest.mark.both_drivers]

COUNT = int(os.environ.get("SLEEPWALKER_FUZZ", some(300, 900)))
SEED = int(os.environ.get("SLEEPWALKER_SEED") or int.from_bytes(os.urandom(4)))

SECRET = "canary7d1f"
#: What must arrive nowhere else: values in all their shapes, and the names under which they go.
OURS = [
    SECRET.encode(),
    base64.b64encode(f"{SECRET}:{SECRET}".encode()),
    *(name.lower() for name in (b"Authorization", b"X-Api-Key", b"Cookie", b"X-Call", b"Content-Type", b"Referer")),
]
ONCE = Policy(retry=False, breaker=False, timeout={"connect": 5, "read": 5, "attempt": 10, "total": 20})

#: `{own}` and `{other}` are addresses with ports.
FRAGMENTS = [
    *(
        "/",
        "//",
        "///",
        "\\",
        "/\\",
        "\\\\",
        "@",
        "#",
        "?",
        ";",
        ":",
        ".",
        "..",
        "/.",
        "/..",
        "/../",
        "./",
        "*",
        "&",
        "=",
    ),
    *(
        "%2f",
        "%2F",
        "%5c",
        "%40",
        "%3a",
        "%23",
        "%3f",
        "%2e%2e",
        "%00",
        "%0d%0a",
        "%09",
        "%",
        "%zz",
        "%u002f",
        "%25",
        "+",
    ),
    *(
        "http:",
        "https:",
        "http://",
        "https://",
        "HTTP://",
        "http:/",
        "http:///",
        "https:\\\\",
        "ftp://",
        "file:///",
        "ws://",
    ),
    *("javascript:", "data:", "mailto:", "http:\\/\\/", "http:@", "//@", "://", "http", "x:"),
    *(
        "{own}",
        "{own}:",
        "{own}@",
        "{other}",
        "@{other}",
        "{other}@",
        "{own}@{other}",
        "{own}#@{other}",
        "{own}\\@{other}",
    ),
    *(
        "{other}#",
        "{other}?",
        "{other}/",
        "{own}.{other}",
        "{own}%2f@{other}",
        "//{other}",
        "http://{other}",
        "http://{own}",
    ),
    *(
        "127.0.0.1",
        "localhost",
        "evil.example",
        "127.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[",
        "]",
    ),
    *(
        "[::1%25lo]",
        "0",
        "127.0.0.1.",
        "evil.example.",
        "user:pass@",
        "user@",
        ":80",
        ":443",
        ":0",
        ":99999",
        ":x",
        "::",
    ),
    *(
        " ",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "\0",
        "\x0b",
        "\x1f",
        "\x7f",
        "\x85",
        "\xa0",
        "\xad",
        "\u200b",
        "\u2028",
        "\ufeff",
    ),
    *("\u3002", "\uff0e", "\uff0f", "\uff20", "\uff1a", "\u2100", "\u2044", "ß", "ı", "é", "漢", "🙂", "\ud800", "İ"),
    *(
        "a",
        "b",
        "c/d",
        "items",
        "x=1",
        "a b",
        "a:b",
        "-",
        "_",
        "~",
        "'",
        '"',
        "<",
        ">",
        "|",
        "^",
        "`",
        "{",
        "}",
        "$",
        "!",
    ),
]
USUAL = [
    "/",
    "items",
    "a/b",
    "7",
    "?",
    "x=1",
    "&",
    "@",
    ":",
    "{other}",
    ".",
    "-",
    "~",
    "'",
    "$",
    "+",
    "=",
    ",",
    "//",
    "#",
]


class Listener:
    """Keeps each head that comes, and answers as `answer` says; what is no HTTP is kept, too, and hung up on."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.netloc = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.netloc}"
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> list[bytes]:
        """What came since the last time."""
        heads, self.heads = self.heads, []
        return heads

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        waiting = b""
        with sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := sock.recv(65536):
                waiting += data
                if not waiting[:1].isalpha():  # a TLS handshake, say
                    self.heads.append(waiting)
                    return
                head, found, rest = waiting.partition(b"\r\n\r\n")
                if not found:
                    continue
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
                )
                while len(rest) < length:
                    rest += sock.recv(65536)
                waiting = rest[length:]
                self.heads.append(head + found + rest[:length])
                sock.sendall(self.answer(head))


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def moved(status: int, location: bytes) -> bytes:
    return b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location)


class Field:
    """Our origin, and one other, at which everything arrives that is not meant for ours, whatever its name and port."""

    def __init__(self) -> None:
        self.location = b"/"
        self.status = 302
        self.own = Listener(lambda head: moved(self.status, self.location) if b" /go HTTP" in head else OK)
        self.other = Listener(lambda head: moved(302, b"%b/back" % self.own.url.encode()) if len(head) % 8 == 0 else OK)

    def text(self, chance: random.Random) -> str:
        pool = FRAGMENTS if chance.random() < 0.7 else USUAL
        begin = (
            chance.choice(("/", "//{own}", "http://{other}", "http://{other}/", "//{other}/"))
            if chance.random() < 0.5
            else ""
        )
        picked = begin + "".join(chance.choice(pool) for _ in range(chance.randint(1, 7)))
        return picked.replace("{own}", self.own.netloc).replace("{other}", self.other.netloc)

    def find(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        """In place of `getaddrinfo`."""
        home = (host, port) == ("127.0.0.1", self.own.port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port if home else self.other.port))]


@pytest.fixture
def field(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Field]:
    caplog.set_level(logging.CRITICAL, "sleepwalker")  # kept for each of them, the lines would take most of the time
    made = Field()
    monkeypatch.setattr(socket, "getaddrinfo", made.find)
    yield made
    made.own.close()
    made.other.close()


@pytest.fixture
def conn(field: Field) -> Iterator[Connection]:
    with Connection(field.own.url, (SECRET, SECRET), policy=ONCE, headers={"X-Api-Key": SECRET}) as made:
        made.conn.cookies.set("sid", SECRET)
        yield made


def target_of(head: bytes) -> str:
    """Of a request that came; checked to be one, and to have one line of a request only."""
    line, *fields = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
    method, target, version = line.decode("ascii").split(" ")
    assert version == "HTTP/1.1"
    assert method in ("GET", "POST")
    assert target.startswith("/")
    assert target.isprintable()
    assert all(name and name.isascii() for name in (field.partition(b":")[0] for field in fields))
    return target


def as_requests_has_it(url: str) -> str:
    return requests.Request("GET", url).prepare().path_url


def test_a_uri(field: Field, conn: Connection) -> None:
    chance, sent, plain = random.Random(SEED), 0, 0
    for number in range(COUNT):
        uri = field.text(chance)
        case = f"SLEEPWALKER_SEED={SEED}, number {number}: {uri!r}"
        try:
            response = conn.get(uri, headers={"X-Call": SECRET})
        except URLError:
            assert field.own.take() == [], case
            continue
        assert response.status_code == 200
        sent, plain = sent + 1, plain + plain_path(uri)
        (head,) = field.own.take()
        assert target_of(head) == as_requests_has_it(urljoin(field.own.url, uri)), case
        assert f"\r\nHost: {field.own.netloc}\r\n".encode() in head, case
        assert head.lower().count(SECRET.encode()) == 3, case  # the key, the call's own header, the cookie
        assert OURS[1] in head, case
    assert field.other.accepted == 0, f"SLEEPWALKER_SEED={SEED}"
    assert sent > COUNT / 20
    assert plain > COUNT / 200, "some went the short way through the URL, too"
    assert field.own.accepted < 10, "and all over one socket"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_location(field: Field, conn: Connection, method: str, driver: str) -> None:
    chance, followed, left = random.Random(SEED), 0, 0
    for number in range(COUNT // 2):
        text = field.text(chance)
        location = text.encode("utf-8", "surrogatepass").translate(None, b"\r\n")
        field.location, field.status = location, chance.choice((301, 302, 303, 307, 308))
        case = f"SLEEPWALKER_SEED={SEED}, {method} {field.status}, number {number}: {location!r}"
        body = None if method == "GET" else SECRET.encode()
        error: SleepwalkerException | None = None
        try:
            conn.request(method, "/go", headers={"X-Call": SECRET, "Referer": SECRET}, data=body)
        except SleepwalkerException as caught:
            error = caught
            assert not getattr(error, "never_sent", False), case
        # To a name with https, the other is no TLS server; the handshake is all that it gets to see.
        first, *more = field.own.take()
        away = field.other.take()
        assert target_of(first) == "/go", case
        for head in away:
            assert not any(mark in head or mark in head.lower() for mark in OURS), case
            assert head[:4] == b"GET " or head[:3] == b"\x16\x03\x01", case
            left += 1
        if method == "POST":
            assert away == [], case
            # aiohttp refuses a head with a NUL in it.
            assert error is None or isinstance(error, RedirectError) or (driver == "asyncio" and b"\0" in location), (
                case
            )
        if error is None and not away and more:
            (second,) = more
            followed += 1
            assert b"\r\nX-Api-Key: " + SECRET.encode() in second, case
            if text.isascii() and location.strip() == location and text.isprintable():
                joined = urljoin(f"{field.own.url}/go", urldefrag(location.decode()).url)
                assert target_of(second) == as_requests_has_it(requote_uri(joined)), case
        elif away:
            for head in more:  # back from elsewhere, or a handshake with the wrong port
                assert target_of(head) == "/back", case
                assert not any(mark in head or mark in head.lower() for mark in OURS), case
        elif isinstance(error, RedirectError | URLError | ConnectError):
            assert more == [] or target_of(more[0]), case
    assert followed > COUNT / 40
    assert (left > COUNT / 40) is (method == "GET")
