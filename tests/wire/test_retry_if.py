"""`retry_if` over real sockets: the caller's own word on which answers and errors are sent again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from servers import Exchange, FaultServer, Step, json_reply, redirect, reply, reset, stall

from sleepwalker import ANONYMOUS, Connection, HTTPConflict, HTTPNotFound, Policy, ReadError, RedirectError
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.drivers.threads import hedge
from sleepwalker.events import Event, RequestFailed, RetryAbandoned, RetryScheduled
from sleepwalker.links import pages
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

AT_ONCE: dict[str, Any] = {"wait_initial": 0, "jitter": "none", "budget": False}
POLICY = Policy(timeout={"connect": 3, "read": 3, "attempt": 3, "total": 12}, retry=AT_ONCE)

Came = requests.Response | OurConnectionError


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


def connect(server: FaultServer, policy: Policy = POLICY, **options: Any) -> Connection:
    return Connection(server.url, ANONYMOUS, policy=policy, **options)


def waits(came: Came) -> bool:
    """Whether the body says that it is not ready."""
    return isinstance(came, requests.Response) and came.json() == {"state": "WAIT"}


def statuses(answer: Any) -> list[int | None]:
    return [attempt.status for attempt in answer.attempts]


WAIT, GO = json_reply({"state": "WAIT"}), json_reply({"state": "GO"})


def test_a_200_whose_body_says_wait_is_asked_for_again(server: FaultServer) -> None:
    events: list[Event] = []
    server.script(WAIT, WAIT, GO)
    with connect(server, retry_if=waits, observer=events.append) as conn:
        assert conn.json_request("GET", "/state") == {"state": "GO"}
        assert conn.response is not None
        assert statuses(conn.response) == [200, 200, 200]
        assert server.accepted == 3
        assert [event.reason for event in events if isinstance(event, RetryScheduled)] == ["retry_if", "retry_if"]
        assert (conn.health.failures, conn.health.retries) == (0, 2)
        server.script(WAIT, GO)
        assert conn.get("/state").json() == {"state": "GO"}
        assert server.accepted == 3, "each attempt of a call has a socket of its own, and they are kept"


def test_one_for_a_call_is_asked_beside_the_connections(server: FaultServer) -> None:
    def busy(came: Came) -> bool:
        return isinstance(came, requests.Response) and came.status_code == 409

    with connect(server, retry_if=waits) as conn:
        server.script(WAIT, json_reply({}, 409), GO)
        assert conn.get("/", retry_if=busy).json() == {"state": "GO"}
        server.script(json_reply({}, 409))
        with pytest.raises(HTTPConflict):
            conn.get("/")
        server.script(json_reply({}, 409), GO)
        assert conn.request("GET", "/", retry_if=busy).json() == {"state": "GO"}


def test_it_gets_an_answer_from_400_on_as_a_response_and_what_is_no_answer_as_the_error(server: FaultServer) -> None:
    came: list[Came] = []
    with connect(server) as conn:
        server.script(reply(404, b"lagging"), reply(200))
        with pytest.raises(HTTPNotFound):
            conn.get("/", retry_if=came.append)
        server.script_clear()
        server.default = redirect("/", 307)
        with pytest.raises(RedirectError) as caught:
            conn.get("/", retry_if=came.append)
    first, second = came
    assert isinstance(first, requests.Response)
    assert (first.status_code, first.content) == (404, b"lagging")
    assert second is caught.value


@pytest.mark.parametrize("options", [{}, {"idempotent": False}])
def test_a_post_that_may_have_been_processed_is_not_sent_twice(server: FaultServer, options: dict[str, Any]) -> None:
    events: list[Event] = []
    server.script(WAIT)
    with connect(server, observer=events.append) as conn:
        assert conn.post("/", json={}, retry_if=waits, **options).json() == {"state": "WAIT"}
        assert [event.reason for event in events if isinstance(event, RetryAbandoned)] == ["not idempotent"]


@pytest.mark.parametrize("options", [{"idempotent": True}, {"headers": {"Idempotency-Key": "7"}}])
def test_a_post_that_its_caller_calls_idempotent_is(server: FaultServer, options: dict[str, Any]) -> None:
    server.script(WAIT, GO)
    with connect(server) as conn:
        assert conn.post("/", json={}, retry_if=waits, **options).json() == {"state": "GO"}


def test_of_a_stream_it_sees_the_head_and_the_body_is_still_the_callers_to_read(server: FaultServer) -> None:
    read: list[object] = []

    def not_ready(came: Came) -> bool:
        assert isinstance(came, requests.Response)
        read.append(came._content)
        return came.headers.get("X-State") == "WAIT"

    server.script(reply(200, b"x" * 200_000, {"X-State": "WAIT"}), reply(200, b"done"))
    with connect(server) as conn:
        with conn.get("/", stream=True, retry_if=not_ready) as response:
            assert b"".join(response.iter_content(2)) == b"done"
        assert read == [False, False]
        server.wait_for_at_most(1)


@pytest.mark.parametrize("stream", [False, True])
def test_what_it_raises_is_raised_as_it_is_and_nothing_is_held(server: FaultServer, stream: bool) -> None:
    mine = LookupError("no state")

    def raising(came: Came) -> bool:
        raise mine

    events: list[Event] = []
    policy = POLICY.replace(bulkhead={"max_concurrent": 1}, pool={"size": 1, "block": True})
    server.script(reply(200, b"x" * 200_000))
    with connect(server, policy, observer=events.append) as conn:
        with pytest.raises(LookupError) as caught:
            conn.get("/", stream=stream, retry_if=raising)
        assert caught.value is mine
        assert (mine.__cause__, mine.__context__) == (None, None)
        health = conn.health
        assert (health.in_flight, health.attempts, health.failures, health.success_ratio) == (0, 1, 0, 1.0)
        assert [event.error for event in events if isinstance(event, RequestFailed)] == ["LookupError"]
        assert conn.get("/").ok  # the only place and the only socket are free
        server.wait_for_at_most(1)


class Adapter(requests.adapters.HTTPAdapter):
    """The caller's own session, whose sockets only its owner can close."""


@threads_only("an adapter of requests")
def test_what_it_raises_leaves_no_socket_of_a_callers_own_adapter(server: FaultServer) -> None:
    kept: list[Came] = []

    def raising(came: Came) -> bool:
        kept.append(came)
        raise LookupError

    session = requests.Session()
    session.mount("http://", Adapter())
    server.script(reply(200, b"x" * 200_000))
    with connect(server, session=session) as conn:
        with pytest.raises(LookupError):
            conn.get("/", stream=True, retry_if=raising)
        server.wait_for_at_most(0)
    session.close()


def test_a_request_that_broke_off_is_not_put_to_it(server: FaultServer) -> None:
    """What the policy retries by itself it is not asked of, also where attempts have run out."""
    came: list[Came] = []
    server.default = reset()
    with connect(server) as conn, pytest.raises(ReadError):
        conn.get("/", retry_if=lambda one: came.append(one) or True)
    assert came == []
    assert len(server.requests) == 3


@threads_only("the lock of a race of threads")
def test_it_is_asked_where_no_lock_is_held_though_a_copy_won_the_race(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[hedge._Hedge] = []

    class Kept(hedge._Hedge):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            kept.append(self)

    monkeypatch.setattr(hedge, "_Hedge", Kept)
    locked: list[bool] = []

    def word(came: Came) -> bool:
        locked.append(kept[0]._lock.locked() or not repr(conn._record.lock.mutex).startswith("<unlocked "))
        return waits(came)

    second = Step(lambda exchange: exchange.server.wait_for_requests(2) or WAIT)
    server.script(stall(), second, GO)
    with connect(server, POLICY.replace(hedge={"delay": 0.05}), retry_if=word) as conn:
        assert conn.get("/").json() == {"state": "GO"}
        assert locked == [False, False]
        assert conn.health.hedges >= 1


def test_each_page_of_a_walk_is_put_to_it(server: FaultServer) -> None:
    def page(exchange: Exchange) -> Step:
        assert exchange.request is not None
        number = int(exchange.request.path.strip("/"))
        if len([one for one in server.requests if one.path == exchange.request.path]) == 1:
            return WAIT
        return json_reply({"n": number}, headers={"Link": f'</{number + 1}>; rel="next"'} if number < 3 else {})

    def walk() -> Iterator[int]:
        first = conn.get("/1", retry_if=waits)
        for one in pages(first, retry_if=waits):
            yield one.json()["n"]

    server.default = Step(page)
    with connect(server) as conn:
        assert list(walk()) == [1, 2, 3]


def test_it_sees_how_many_attempts_there_were(server: FaultServer) -> None:
    """To give up after some, for one."""
    seen: list[int] = []

    def twice(came: Came) -> bool:
        assert isinstance(came, requests.Response)
        seen.append(len(came.attempts))  # type: ignore[attr-defined]
        return len(seen) < 2

    server.script(WAIT, WAIT, GO)
    with connect(server) as conn:
        assert conn.get("/state", retry_if=twice).json() == {"state": "WAIT"}
    assert seen == [1, 2]
