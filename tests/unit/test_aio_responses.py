"""A response that is made of aiohttp's has all that one of requests has, and shares nothing with others."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from sleepwalker.transport.aio import response as made_here
from sleepwalker.transport.aio.response import made_response


class _Got:
    status = 203
    reason = "Fine"
    raw_headers = ((b"A-B", b"c"), (b"Content-Type", b"text/html; charset=utf-8"))
    content: Any = None
    content_length = None

    def close(self) -> None:
        """Nothing is open."""


def _made() -> requests.Response:
    return made_response(requests.Response, _Got(), requests.Request("GET", "http://a/").prepare(), None, 0.5)


def test_nothing_is_missing_that_requests_own_constructor_sets() -> None:
    expected, made = requests.Response(), _made()
    assert vars(made).keys() == vars(expected).keys()
    assert {name: type(value) for name, value in vars(made).items() if name in ("history", "cookies", "headers")} == {
        name: type(getattr(expected, name)) for name in ("history", "cookies", "headers")
    }
    assert (made.status_code, made.reason, made.encoding, made.url) == (203, "Fine", "utf-8", "http://a/")


def test_two_responses_share_no_history_cookies_or_headers() -> None:
    first, second = _made(), _made()
    first.history.append(second)
    first.cookies.set("a", "b")
    first.headers["A-B"] = "d"
    assert (second.history, len(second.cookies), second.headers["A-B"]) == ([], 0, "c")
    assert (requests.Response().history, len(_made().cookies), _made().history) == ([], 0, [])


def test_a_release_of_requests_whose_responses_hold_more_makes_them_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_here, "_NEW_IS_KNOWN", False)
    calls: list[requests.Response] = []
    monkeypatch.setattr(requests.Response, "__init__", _counting(requests.Response.__init__, calls))
    assert calls == [_made()]


def _counting(init: Any, calls: list[requests.Response]) -> Any:
    def counted(self: requests.Response) -> None:
        calls.append(self)
        init(self)

    return counted
