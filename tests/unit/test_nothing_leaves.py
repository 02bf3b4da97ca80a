"""Random links and `$host`s of a server that means harm: whatever it writes, each host gets its own and no more.

`ORIGINS=100000` runs so many of each; by default they are a thousand at most.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import requests
import urllib3.util
from requests.adapters import BaseAdapter

from sleepwalker import (
    ANONYMOUS,
    Connection,
    ConnectionHook,
    ConnectionManager,
    ServiceManager,
    SleepwalkerException,
)
from sleepwalker.links import Link, follow, pages
from tests.ranges import some
from tests.services.driver import HARBOR, definitions

COUNT = int(os.environ.get("ORIGINS", some(800, 1000)))
HOME, FRIEND = "https://api.example.com", "https://friend.example.com:8443"
#: What is for the home alone, and for hosts that it may go on to: in credentials, parameters, headers and bodies.
SECRET = "canary-77ab"
BASIC = base64.b64encode(f"user:{SECRET}".encode()).decode()

_HOSTS = (
    "api.example.com",
    "API.EXAMPLE.COM",
    "api.example.com.",
    "api.example.com.evil.example",
    "evil.example",
    "friend.example.com",
    "friend.example.com:8443",
    "evil-friend.example.com:8443",
    "api.example.com:443",
    "api.example.com:80",
    "api.example.com:8443",
    "api.example.com:0443",
    "127.0.0.1",
    "[::1]:8443",
    "0x7f.1",
    "xn--pi-xka.example.com",
    "\uff41pi.example.com",
    "api.example.com\uff0fevil.example",
    "api.example.com%2eevil.example",
    "people",
    "",
)
_SCHEMES = ("https://", "http://", "HTTPS://", "//", "///", "/", "\\\\", "/\\", "https:", "https:/", "hTTp://", "", "")
_MORE = (
    "ftp://",
    "file://",
    "javascript:",
    "data:text/html,",
    "https:\\\\",
    "https:///",
    "ws://",
    "blob:https://",
    "?",
    "#",
)
_USERS = (
    "",
    "",
    "",
    "",
    "user@",
    "user:pw@",
    "api.example.com@",
    "api.example.com:443@",
    "@",
    "evil.example\\@",
    "%40",
)
_ENDS = (
    "",
    "/",
    "/x",
    "/../x",
    "?a=b",
    "#f",
    "\\x",
    "/\\evil.example",
    "/%2e%2e/x",
    ";x",
    ":1",
    "@evil.example/",
    "/{a}",
)
_NOISE = "/\\:@?#.;%[]{}<>\t\n\r\x00 \u202e\u3002\u2044é0aZ"


def _place(chance: random.Random) -> str:
    """Something in a URL's place: mostly one, or nearly one."""
    if chance.random() < 0.3:
        return f"https://{chance.choice(_HOSTS)}/x"
    schemes = _MORE if chance.random() < 0.15 else _SCHEMES
    text = "".join(map(chance.choice, (schemes, _USERS, _HOSTS, _ENDS)))  # type: ignore[arg-type]
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(_NOISE) + text[at + chance.choice((0, 1)) :]
    return text


STANDS_IN, STOOD_IN_FOR = "https://stands-in.example", "https://stood-in-for.example"


class Wire(BaseAdapter):
    """In place of the network: keeps what would be sent, and answers as it is told."""

    def __init__(self, answer: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self.answer = answer
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.sent.append(request)
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, request.url or ""
        response._content = json.dumps(self.answer()).encode()
        response.headers["Content-Type"] = "application/json"
        return response

    def close(self) -> None:
        """Nothing is open."""


class Hosts(ConnectionHook):
    """Connects to any host that is a URL, with what it is given and a key that is that host's own."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.asked: list[tuple[Any, Any]] = []

    def connect(self, host: Any, auth: Any) -> Any:
        self.asked.append((host, auth))
        if not host.lower().startswith("http"):
            return None
        session = requests.Session()
        session.trust_env = False
        for scheme in ("https://", "http://"):
            session.mount(scheme, self.wire)
        made = Connection(host, auth or ANONYMOUS, session=session, policy="off")
        made.add_headers({"X-Key": f"of {made.origin}"})
        return made


def _destination(request: requests.PreparedRequest) -> str:
    """Where it would go, as urllib3 reads it and not we."""
    url = urllib3.util.parse_url(request.url or "")
    port = url.port or {"https": 443, "http": 80}[url.scheme or ""]
    return f"{url.scheme}://{url.host}" + ("" if (url.scheme, port) in (("https", 443), ("http", 80)) else f":{port}")


def _check(sent: list[requests.PreparedRequest], allowed: set[str], told: object) -> int:
    """Every request has what belongs where it goes; returns how many went elsewhere than home."""
    elsewhere = 0
    for request in sent:
        place = _destination(request)
        assert place.startswith("https://"), told
        assert request.headers["X-Key"] == f"of {place}", told
        everything = f"{request.url} {dict(request.headers)} {request.body!r}"
        if place not in allowed:
            assert SECRET not in everything, told
            assert BASIC not in everything, told
        elsewhere += place != HOME
    return elsewhere


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20_241_129)


def _managed(wire: Wire) -> ConnectionManager:
    manager = ConnectionManager(policy="off", max_connections=64)
    manager.add_conn_hook(Hosts(wire))
    return manager


_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"params": {"k": SECRET}},
    {"json": {"k": SECRET}},
    {"data": SECRET},
    {"headers": {"X-Api-Key": SECRET}},
    {"headers": {"Cookie": SECRET}, "params": {"k": SECRET}},
)


@pytest.mark.once
def test_links_at_random(chance: random.Random) -> None:
    elsewhere = refused = followed = 0
    wire = Wire(lambda: {"links": {"next": _place(chance)}})
    with _managed(wire) as manager:
        for _ in range(COUNT):
            allow = [FRIEND] if chance.random() < 0.3 else []
            options = {**chance.choice(_OPTIONS), "allow": allow, "auth": chance.choice((None, ("user", SECRET)))}
            start = manager.find(HOME, ("user", SECRET)).get("/")
            wire.sent.clear()
            said = ""
            try:
                if chance.random() < 0.5:
                    follow(start, "next", manager=manager, method=chance.choice(("GET", "POST")), **options)
                else:
                    list(islice(pages(start, manager=manager, **options), 5))
                followed += 1
            except SleepwalkerException as error:
                refused += 1
                said = str(error)
            assert SECRET not in said
            elsewhere += _check(wire.sent, {HOME, *allow}, start.content)
    assert min(elsewhere, refused, followed) > COUNT / 100, (elsewhere, refused, followed)


class Tenants(Hosts):
    """Any host under its own name, and some that stand in for others; each with what it is given and its own key."""

    def connect(self, host: Any, auth: Any) -> Any:
        made = super().connect(STANDS_IN if host == STOOD_IN_FOR else host, auth)
        if made is not None:
            made.add_headers({"X-Asked-As": repr(auth)})
        return made


@pytest.mark.once
def test_walks_at_random_keep_who_they_are_on_each_host(chance: random.Random) -> None:
    """Steps of one walk with other options each, over hosts that it has been at and others, while hosts are evicted."""
    places = [HOME, FRIEND, STOOD_IN_FOR, STANDS_IN, "https://a.example", "https://b.example", "", "http://c.example"]
    wire = Wire(lambda: {"links": {"next": f"{chance.choice(places)}/{chance.randrange(10**9)}"}})
    manager = ConnectionManager(policy="off", max_connections=64)
    manager.add_conn_hook(Tenants(wire))
    secret = ("user", SECRET)
    followed = refused = elsewhere = 0
    with manager:
        for _ in range(COUNT // 10):
            page = manager.find(HOME, secret).get("/")
            allowed: set[str] = {HOME}
            for _ in range(10):
                wire.sent.clear()
                allow = [FRIEND] if chance.random() < 0.2 else []
                allowed.update(allow)  # from then on it is known as whom the walk was there
                options = {**chance.choice(_OPTIONS), "allow": allow, "auth": chance.choice((None, secret))}
                try:
                    page = follow(page, "next", manager=manager, **options)
                    followed += 1
                except SleepwalkerException:
                    refused += 1
                    page = follow(page, Link("home", f"{HOME}/", str(page.url), "links"), manager=manager)
                elsewhere += _check(wire.sent, allowed, page.url)
                assert all(request.headers["X-Asked-As"] == repr(secret) for request in wire.sent if _at(request, HOME))
                if chance.random() < 0.2:
                    manager.evict(chance.choice(places[:6]))
    assert min(elsewhere, refused, followed) > COUNT / 100, (elsewhere, refused, followed)


def _at(request: requests.PreparedRequest, host: str) -> bool:
    return _destination(request) == host


def _visits(manager: ConnectionManager, allow: list[str]) -> Any:
    service = ServiceManager(definitions(), manager, allow=allow).find_by_id(HOME, HARBOR, auth=("user", SECRET))
    service.add_headers({"X-Api-Key": SECRET})
    return service.bind("visit", id=5)


_WRONG = (5, 1.5, True, False, 0, [], ["https://evil.example"], {"a": 1}, None, "", "x" * 100_000)


@pytest.mark.once
def test_hosts_at_random(chance: random.Random) -> None:
    elsewhere = refused = followed = 0
    wire = Wire(dict)

    def hosts() -> Iterator[Any]:
        while True:
            yield chance.choice(_WRONG) if chance.random() < 0.05 else _place(chance)

    with _managed(wire) as manager:
        visits = [(_visits(manager, allow), {HOME, *allow}) for allow in ([], [FRIEND])]
        for host in islice(hosts(), COUNT):
            visit, allowed = chance.choice(visits)
            visit.data = {"id": 5, "pilot": "kim", "host": host, "zone": "", "cargo": []}
            wire.sent.clear()
            said = ""
            try:
                visit.follow("pilot").pull()
                followed += 1
            except SleepwalkerException as error:
                refused += 1
                said = str(error)
            assert len(said) < 2_000
            assert said == "" or said.isprintable()
            elsewhere += _check(wire.sent, allowed, host)
    assert min(elsewhere, refused, followed) > COUNT / 100, (elsewhere, refused, followed)
