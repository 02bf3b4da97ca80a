"""The fast path is tried out once in a process, beside the ordinary path, and closed for good where they differ."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from urllib3 import HTTPResponse

from sleepwalker.events import Event, FastPathOff
from sleepwalker.transport.blocking import fast_path, rehearsal
from sleepwalker.transport.blocking.sockets import BoundedConnection

ORIGIN = "https://host.test"


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The process is a new one."""
    told: list[Event] = []
    monkeypatch.setattr(fast_path, "proven", None)
    monkeypatch.setattr(rehearsal, "_todo", [True])
    monkeypatch.setattr(rehearsal, "emit", told.append)
    return told


def test_both_paths_give_the_same_with_what_is_installed(events: list[Event]) -> None:
    rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, events) == (True, [])


def late(response: HTTPResponse) -> None:
    response.informational = [103]  # type: ignore[attr-defined]


def retried(response: HTTPResponse) -> None:
    response.retries = None


@pytest.mark.parametrize(
    ("change", "reason"), [(late, "HTTPResponse.informational"), (retried, "HTTPResponse._retries")]
)
def test_what_urllib3_does_to_its_responses_besides_closes_the_fast_path(
    events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[HTTPResponse], None],
    reason: str,
) -> None:
    make_request = rehearsal._Pool._make_request

    def changed(*args: Any, **kwargs: Any) -> Any:
        response = make_request(*args, **kwargs)
        change(response)
        return response

    monkeypatch.setattr(rehearsal._Pool, "_make_request", changed)
    rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, events) == (False, [FastPathOff(ORIGIN, reason)])


def test_a_fast_path_that_cannot_be_taken_is_closed(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "request_bytes", lambda *_: None)
    rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, events) == (False, [FastPathOff(ORIGIN, "the path")])


def test_whatever_is_raised_closes_the_fast_path(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> NoReturn:
        raise AttributeError

    monkeypatch.setattr(BoundedConnection, "begin_to_send", fail)
    rehearsal.rehearse(ORIGIN)
    rehearsal.rehearse(ORIGIN)
    assert fast_path.proven is False
    assert events == [FastPathOff(ORIGIN, "AttributeError")]


def test_what_leaves_otherwise_closes_the_fast_path(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    usual = fast_path.request_bytes
    monkeypatch.setattr(fast_path, "request_bytes", lambda *given: (usual(*given) or b"").replace(b"X-H", b"x-h"))
    rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, events) == (False, [FastPathOff(ORIGIN, "sent")])


def test_nothing_is_tried_out_while_a_tool_looks_on(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would see requests that the caller did not make. The first request without a tool runs it."""
    with monkeypatch.context() as patch:
        patch.setattr(fast_path, "is_unpatched", lambda: False)
        rehearsal.rehearse(ORIGIN)
    assert fast_path.proven is None
    rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, events) == (True, [])


def test_nothing_is_tried_out_while_http_client_prints_what_it_sends(
    events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would print a request that nobody made, and the fast path would stay closed when it has ended."""
    with monkeypatch.context() as patch:
        patch.setattr(http.client.HTTPConnection, "debuglevel", 1)
        rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, capsys.readouterr().out) == (None, "")
    rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, events) == (True, [])


def test_one_thread_tries_and_no_other_waits_for_it(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    def difference() -> str:
        rehearsal.rehearse("https://other.test")  # as from another thread meanwhile
        return "sent"

    monkeypatch.setattr(rehearsal, "_difference", difference)
    rehearsal.rehearse(ORIGIN)
    assert events == [FastPathOff(ORIGIN, "sent")]


def test_a_try_that_is_interrupted_is_made_again(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rehearsal, "_difference", interrupt)
        with pytest.raises(KeyboardInterrupt):
            rehearsal.rehearse(ORIGIN)
    assert fast_path.proven is None
    rehearsal.rehearse(ORIGIN)
    assert (fast_path.proven, events) == (True, [])


def test_it_does_not_look_for_the_users_netrc_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("requests.sessions.get_netrc_auth", asked.append)
    assert rehearsal._difference() is None
    assert asked == []
