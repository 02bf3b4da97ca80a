"""A header is one header: what would be more, or ends one early, is refused before anything is sent, on every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from servers import FaultServer, redirect, reply

from sleepwalker import ANONYMOUS, Connection, Policy, URLError
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

ONCE = Policy(retry=False)
SECRET = "canary-7d1f"
CONTROLS = ["\0", "\x01", "\b", "\n", "\r", "\r\n X", "\x0b", "\x1b[2J", "\x1f", "\x7f", "\r\nInjected: 1"]


class Own(HTTPAdapter):
    """An adapter of the session's owner."""


@pytest.fixture
def session(driver: str) -> dict[str, Any]:
    """An argument of `Connection`: what has its headers and cookies. An asynchronous one has that by itself."""
    return {"session": requests.Session()} if driver == "threads" else {}


class Sets:
    """An auth object that sets a header."""

    def __init__(self) -> None:
        self.name, self.value = "X-Signature", "fine"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self.name] = self.value
        return request


def by_session(conn: Connection, name: str, value: str) -> None:
    conn.conn.headers[name] = value


def by_cookie(conn: Connection, name: str, value: str) -> None:
    conn.conn.cookies = requests.cookies.RequestsCookieJar()
    conn.conn.cookies.set("sid", value)


def by_auth(conn: Connection, name: str, value: str) -> None:
    auth: Any = conn._authentication.given
    auth.name, auth.value = name, value


BY_SESSION = pytest.param(by_session, id="by_session", marks=threads_only("a session of requests"))
PLACES = [BY_SESSION, by_cookie, by_auth]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
@pytest.mark.parametrize(
    "way", ["short", "long", pytest.param("owner's adapter", marks=threads_only("an adapter of requests"))]
)
def test_a_control_character_is_refused_alike_on_every_way(
    server: FaultServer, place: Callable[[Connection, str, str], None], control: str, way: str, session: dict[str, Any]
) -> None:
    """What is given to a connection is checked there. These come by later, and NUL was sent the short way."""
    if way == "owner's adapter":
        session["session"].mount("http://", Own())
    with Connection(server.url, Sets(), policy=ONCE, **session) as conn:
        if way != "long":
            conn.get("/")  # there is an open socket now
        already = len(server.requests)
        place(conn, "X-Late", f"{SECRET}{control}y")
        with pytest.raises(URLError) as caught:
            conn.get("/")
        assert caught.value.never_sent
        assert conn.health.failures == 0
        name = "Cookie" if place is by_cookie else "X-Late"
        assert str(caught.value).startswith(f"headers: the value of {name} has a line break or another control")
        assert SECRET not in repr(caught.value)
        assert (len(server.requests), server.accepted) == (already, min(already, 1))


@pytest.mark.parametrize("name", ["X: y", "X y", "X\r\nInjected", "X\0", "", "\x7fX", "Xé"], ids=ascii)
@pytest.mark.parametrize("place", [BY_SESSION, by_auth], ids=lambda place: place.__name__)
@pytest.mark.parametrize("warm", [True, False])
def test_a_name_that_is_none_is_refused_alike(
    server: FaultServer, place: Callable[[Connection, str, str], None], name: str, warm: bool, session: dict[str, Any]
) -> None:
    with Connection(server.url, Sets(), policy=ONCE, **session) as conn:
        if warm:
            conn.get("/")
        already = len(server.requests)
        place(conn, name, SECRET)
        with pytest.raises(URLError, match="name") as caught:
            conn.get("/")
        assert SECRET not in str(caught.value)
        assert len(server.requests) == already


def test_what_a_header_may_have_is_sent(server: FaultServer, session: dict[str, Any]) -> None:
    late: dict[str, Any] = {"X-Late": "a\tb é", "X-Bytes": b"\xe9"}
    with Connection(server.url, Sets(), policy=ONCE, **session) as conn:
        for number in range(4):
            late["X-Bytes"] = b"\xe9" if number < 3 else None  # as in requests: none
            if session:
                conn.conn.headers.update(late)
            conn.get("/", headers=None if session else late)
    assert [request.header("X-Late") for request in server.requests] == ["a\tb é"] * 4
    assert [request.header("X-Bytes") for request in server.requests] == ["é"] * 3 + [None]


def test_a_server_cannot_have_control_characters_sent_back(server: FaultServer) -> None:
    """As RFC 6265bis has it, such a cookie is no cookie: it must not keep the client from asking again either."""
    server.script(
        reply(200, b"", [("Set-Cookie", "evil=a\x01b; Path=/"), ("Set-Cookie", "good=1; Path=/")]),
        redirect("/there", headers={"Set-Cookie": "worse=\x7f; Path=/"}),
    )
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        conn.get("/")
        conn.get("/")
        assert [cookie.name for cookie in conn.conn.cookies] == ["good"]
    assert [request.header("Cookie") for request in server.requests] == [None, "good=1", "good=1"]


@pytest.mark.parametrize(
    "part",
    [
        ("name", b"x", "text/plain\r\nInjected: 1"),
        ("name", b"x", "text/plain", {"X-Part": "1\r\nInjected: 1"}),
        ("name", b"x", "text/plain", {"X-Part\r\nInjected": "1"}),
        ["name", b"x", "text/plain\0"],
    ],
    ids=["type", "value", "name", "NUL"],
)
@pytest.mark.parametrize("pairs", [True, False])
def test_the_parts_of_a_form_have_headers_too(server: FaultServer, part: Any, pairs: bool) -> None:
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        with pytest.raises(URLError, match=r"line break or another control|name that starts"):
            conn.post("/", files=[("f", part)] if pairs else {"f": part})
        assert server.accepted == 0
        conn.post(
            "/", files={"f": ("a\r\nInjected: 1", b"x"), "g": b"x", "h": ("n", b"x", None), "i": ("n", b"x", "t/p")}
        )
        conn.post("/", files=iter([("f", ("n", b"x", "text/plain", {"X-Part": "1"}))]))
    assert b"\nInjected" not in server.requests[0].body
    assert b"X-Part: 1\r\n" in server.requests[1].body
