"""A request that is made of one like it is the one that would be made anew, and shares nothing that may change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import requests

from sleepwalker.transport.headers import checked_headers
from sleepwalker.transport.prepare import Base, Remembered, prepare
from sleepwalker.transport.url import parse_hostname


class _Nothing:
    params = data = files = json_bytes = None


def _prepared(session: requests.Session, method: str, uri: str, *headers: Any) -> requests.PreparedRequest:
    hostname, origin, prefix = parse_hostname("http://a.example/", None)
    return prepare(Base(session, hostname, prefix, origin, True), method, uri, _Nothing(), headers)[0]


@pytest.fixture
def session() -> requests.Session:
    return requests.Session()


HEADERS = checked_headers({"A-B": "c"})
JSON = checked_headers({"Accept": "application/json"})


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("kind", [None, JSON])
def test_it_equals_one_that_is_made_anew(session: requests.Session, method: str, kind: Any) -> None:
    remembered = Remembered(session)
    assert remembered.request(method, "/x", HEADERS, kind) is None
    made = _prepared(session, method, "/x", HEADERS, kind)
    remembered.keep(method, "/x", made, kind)
    again = remembered.request(method, "/x", HEADERS, kind)
    assert again is not None
    assert vars(again) == vars(made)
    assert type(again.headers) is type(made.headers)
    assert list(again.headers.items()) == list(made.headers.items())
    other = None if kind is JSON else JSON
    assert remembered.request(method, "/x", HEADERS, other) is None


def test_what_is_changed_in_one_is_not_changed_in_the_next(session: requests.Session) -> None:
    remembered = Remembered(session)
    remembered.request("GET", "/x", HEADERS, None)
    first = _prepared(session, "GET", "/x", HEADERS)
    before = copy.deepcopy(vars(first))
    remembered.keep("GET", "/x", first, None)
    for _ in range(2):
        made = first if _ == 0 else remembered.request("GET", "/x", HEADERS, None)
        assert made is not None
        made.headers["Authorization"] = "secret"
        made.hooks["response"].append(print)
        made.url, made.body = "http://other/", b"x"
    again = remembered.request("GET", "/x", HEADERS, None)
    assert again is not None
    assert {name: value for name, value in vars(again).items() if name != "_cookies"} == {
        name: value for name, value in before.items() if name != "_cookies"
    }


def test_headers_that_were_added_to_a_connection_are_in_its_next_request(session: requests.Session) -> None:
    remembered = Remembered(session)
    remembered.request("GET", "/x", HEADERS, None)
    remembered.keep("GET", "/x", _prepared(session, "GET", "/x", HEADERS), None)
    more = checked_headers({"A-B": "c", "D": "e"})
    assert remembered.request("GET", "/x", more, None) is None
    assert remembered.request("GET", "/x", HEADERS, None) is None


def test_with_cookies_nothing_is_remembered(session: requests.Session) -> None:
    """They differ from path to path, and expire."""
    remembered = Remembered(session)
    remembered.request("GET", "/x", HEADERS, None)
    remembered.keep("GET", "/x", _prepared(session, "GET", "/x", HEADERS), None)
    session.cookies.set("name", "value", domain="a.example", path="/")
    assert remembered.request("GET", "/x", HEADERS, None) is None
    remembered.keep("GET", "/y", _prepared(session, "GET", "/y", HEADERS), None)
    session.cookies.clear()
    assert remembered.request("GET", "/y", HEADERS, None) is None
    assert remembered.request("GET", "/x", HEADERS, None) is not None


@pytest.mark.parametrize("uri", ["/x?token=secret", "/" + 200 * "x"])
def test_uris_with_a_query_or_long_ones_are_not_kept(session: requests.Session, uri: str) -> None:
    remembered = Remembered(session)
    remembered.request("GET", uri, HEADERS, None)
    remembered.keep("GET", uri, _prepared(session, "GET", uri, HEADERS), None)
    assert remembered.request("GET", uri, HEADERS, None) is None


def test_only_so_many_are_kept(session: requests.Session) -> None:
    remembered = Remembered(session)
    remembered.request("GET", "/", HEADERS, None)
    for number in range(1000):
        remembered.keep("GET", f"/{number}", _prepared(session, "GET", f"/{number}", HEADERS), None)
    known = [number for number in range(1000) if remembered.request("GET", f"/{number}", HEADERS, None) is not None]
    assert 0 < len(known) <= 256
    assert known[-1] == 999
