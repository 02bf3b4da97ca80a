"""Asks for the status page without a server: hosts that are what a test says, and what is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from html import unescape
from html.parser import HTMLParser
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from sleepwalker import ConnectionManager, HostHealth, Policy, status
from sleepwalker.engine import Host, Latency
from tests.unit.engine_driver import WALL, FakeClock

QUIET = replace(
    Host("https://a.test", Policy(), FakeClock()).snapshot(),
    state="healthy",
    calls=10,
    attempts=12,
    failures=1,
    success_ratio=0.9996,
    latency=Latency(0.004, 0.25, 12.0),
    in_flight=2,
    retries=3,
    rejections=4,
    last_success=WALL - 5,
    state_since=WALL - 5000,
)
BROKEN = replace(
    QUIET,
    host="https://b.test",
    state="broken",
    breaker="open",
    success_ratio=0.0,
    last_error="ConnectError: https://b.test: Connection refused (errno 111)",
    last_error_at=WALL - 3,
    broken_since=WALL - 400,
    state_since=WALL - 400,
    opened_at=WALL - 399,
    opened_by="consecutive",
    retry_in=3.2,
)


class Known(ConnectionManager):
    """A manager whose hosts are what a test says, and that counts how often it is asked for them."""

    def __init__(self, *hosts: HostHealth) -> None:
        super().__init__()
        self.hosts = hosts
        self.asked = 0
        self.on_asked: Callable[[], object] = lambda: None

    def health(self, host: str | None = None) -> Any:
        self.asked += 1
        self.on_asked()
        return dict(enumerate(self.hosts))


@dataclass
class Answer:
    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(app: Any, path: str = "/", query: str = "", method: str = "GET", **environ: str) -> Answer:
    """What a server gets that asks as the WSGI standard says, and checks that the answer is as it says."""
    setup_testing_defaults(environ)
    environ |= {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": method}
    said: list[Any] = []
    answered: Iterable[bytes] = validator(app)(environ, lambda *words: said.append(words))
    try:
        body = b"".join(answered)
    finally:
        answered.close()  # type: ignore[attr-defined]
    ((code, headers),) = said
    assert len({name.lower() for name, _ in headers}) == len(headers), "no header comes twice"
    return Answer(code, dict(headers), body)


def page(*hosts: HostHealth, query: str = "", **options: Any) -> str:
    clock = FakeClock()
    return ask(status.app(Known(*hosts), clock=clock, **options), query=query).text


def words(html: str) -> str:
    """What a person reads of it, without tags, styles and scripts."""
    html = re.sub(r"<(style|script|svg)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<wbr>", "", html.replace("<small>https://</small>", "https://"))).split())


class Tags(HTMLParser):
    """Every element that the browser would make, with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def text_of(*hosts: HostHealth, **options: Any) -> str:
    """All the words of the page about these hosts."""
    return words(re.sub(r"<[^>]+>", " ", re.sub(r"<wbr>|</?bdi>", "", page(*hosts, **options))))
