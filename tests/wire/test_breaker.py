"""The circuit breaker in front of a real host: opening, probing, closing, and what callers and observers see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import (
    Elapsed,
    Exchange,
    FaultServer,
    Step,
    elapsed,
    hang_up,
    in_time,
    refused_port,
    reply,
    timing_test,
)

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    ClientHTTPError,
    ConnectError,
    Connection,
    ConnectionManager,
    HTTPInternalServerError,
    HTTPServiceUnavailable,
    Policy,
    ReadError,
)
from sleepwalker.events import Event
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

OPEN_FOR = 0.2


def policy(**changes: Any) -> Policy:
    """No retries, and a circuit with short times that three failures in a row open."""
    breaker = {
        "consecutive": 3,
        "consecutive_for": 0.0,
        "open_for": OPEN_FOR,
        "open_growth": 2.0,
        "open_max": 1.0,
        "close_after": 2,
        "ramp": 0.0,
    }
    return Policy(retry=False, breaker={**breaker, **changes})


class Seen:
    """An observer that remembers the events of the breaker."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, level: str | None = None, /) -> None:
        self.events.append(event)

    def names(self, start: str = "breaker.") -> list[str]:
        return [event.name for event in self.events if event.name.startswith(start)]


def until(fact: Callable[[], bool], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.005)


def trip(conn: Connection, times: int = 3) -> None:
    for _ in range(times):
        with pytest.raises(HTTPInternalServerError):
            conn.get("/")


# -- opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "error", "cause"),
    [
        (reply(500), HTTPInternalServerError, "500"),
        (reply(503), HTTPServiceUnavailable, "503"),
        (hang_up(), ReadError, "ReadError"),
    ],
)
def test_failures_in_a_row_open_the_circuit_and_each_caller_gets_its_own_error(
    step: Step, error: type[Exception], cause: str
) -> None:
    calls = policy(open_for=30, open_max=30)
    with FaultServer(default=step) as server, Connection(server.url, ANONYMOUS, policy=calls) as conn:
        for number in range(3):
            assert conn.health.breaker == "closed"
            with pytest.raises(error) as caught:  # also the third, which opens it
                conn.get("/")
            assert len(caught.value.attempts) == 1, number  # type: ignore[attr-defined]
        assert conn.health.breaker == "open"
        with pytest.raises(CircuitOpenError) as refused:
            conn.get("/path?token=x")
        assert len(server.requests) == 3
    assert refused.value.host == server.url
    assert refused.value.cause == cause
    assert 0 < (refused.value.retry_after or 0) <= 30 * 1.1
    assert refused.value.attempts == ()
    assert refused.value.never_sent
    assert server.url in str(refused.value)
    assert cause in str(refused.value)
    assert "token" not in str(refused.value)


@timing_test
def test_failures_in_a_row_open_the_circuit_only_once_they_have_lasted() -> None:
    with (
        FaultServer(default=reply(500)) as server,
        Connection(server.url, ANONYMOUS, policy=policy(consecutive_for=0.5)) as conn,
    ):
        with in_time(0.5):
            trip(conn, 20)
            assert conn.health.breaker == "closed"
        time.sleep(0.5)
        trip(conn, 1)
        assert conn.health.breaker == "open"


def test_the_attempts_of_one_call_alone_do_not_open_the_circuit(server: FaultServer) -> None:
    server.script(*[reply(503)] * 9)
    calls = policy(consecutive_for=0.01).replace(retry={"attempts": 8, "wait_initial": 0.01, "wait_max": 0.01})
    with Connection(server.url, ANONYMOUS, policy=calls) as conn:
        assert len(conn.get("/", raise_for_status=False).attempts) == 8
        assert conn.health.breaker == "closed"
        conn.get("/", raise_for_status=False)
        assert conn.health.breaker == "open"


def test_a_host_that_refuses_connections_opens_the_circuit() -> None:
    calls = policy(open_for=30, open_max=30)
    with refused_port() as port, Connection(f"http://127.0.0.1:{port}", ANONYMOUS, policy=calls) as conn:
        for _ in range(3):
            with pytest.raises(ConnectError):
                conn.post("/")
        with pytest.raises(CircuitOpenError) as caught:
            conn.post("/")
        assert caught.value.cause == "ConnectError"
        assert conn.health.state == "broken"


@timing_test
def test_an_open_circuit_rejects_in_less_than_5_ms_without_a_connection() -> None:
    calls = policy(open_for=30, open_max=30)
    with FaultServer(default=reply(500)) as server, Connection(server.url, ANONYMOUS, policy=calls) as conn:
        trip(conn)
        accepted = server.accepted
        waits = []
        for _ in range(20):
            with elapsed() as took, pytest.raises(CircuitOpenError):
                conn.get("/")
            waits.append(took)
        sorted(waits, key=lambda took: took.seconds)[10].assert_at_most(0.005)  # a machine holds up one or two of them
        assert server.accepted == accepted
        assert len(server.requests) == 3
        assert conn.health.rejections == 20


def test_a_share_of_failures_opens_the_circuit_once_there_are_enough_calls() -> None:
    calls = policy(consecutive=100, min_calls=10, failure_ratio=0.5, open_for=30, open_max=30)
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=calls) as conn:
        server.script(*[reply(status) for status in [500, 200] * 5])
        for number in range(10):
            assert conn.health.breaker == "closed", number
            conn.get("/", raise_for_status=False)
        server.script(reply(500))
        conn.get("/", raise_for_status=False)
        assert conn.health.breaker == "open"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 408, 501])
def test_an_answer_that_blames_the_caller_never_opens_the_circuit(status: int) -> None:
    calls = policy(min_calls=1, failure_ratio=0.01)
    with FaultServer(default=reply(status)) as server, Connection(server.url, ANONYMOUS, policy=calls) as conn:
        for _ in range(10):
            conn.get("/", raise_for_status=False)
        assert conn.health.breaker == "closed"
        assert conn.health.failures == 0


def test_a_success_in_between_starts_the_count_anew(server: FaultServer) -> None:
    server.script(*[reply(status) for status in (500, 500, 404, 500, 500, 200, 500, 500)])
    with Connection(server.url, ANONYMOUS, policy=policy()) as conn:
        for _ in range(8):
            conn.get("/", raise_for_status=False)
        assert conn.health.breaker == "closed"


def test_neutral_answers_neither_break_a_row_of_failures_nor_add_to_it(server: FaultServer) -> None:
    server.script(*[reply(status) for status in (500, 429, 500, 408, 501, 500)])
    with Connection(server.url, ANONYMOUS, policy=policy(open_for=30, open_max=30)) as conn:
        for number in range(6):
            assert conn.health.breaker == "closed", number
            conn.get("/", raise_for_status=False)
        assert conn.health.breaker == "open"


def test_wrong_calls_and_the_callers_own_errors_do_not_count(server: FaultServer) -> None:
    def broken_body() -> Any:
        yield b"x"
        raise LookupError("own")

    server.routes = {"/404": reply(404)}
    with Connection(server.url, ANONYMOUS, policy=policy()) as conn:
        for _ in range(5):
            with pytest.raises(ClientHTTPError):
                conn.get("/404")
            with pytest.raises(LookupError, match="own"):
                conn.post("/", data=broken_body())
            with pytest.raises(ValueError, match="uri"):
                conn.get("http://other.example/")
        assert conn.health.breaker == "closed"
        assert conn.health.failures == 0


def test_a_burst_that_fails_at_once_is_one_trip() -> None:
    seen = Seen()
    gate = threading.Barrier(8)

    def all_at_once(exchange: Exchange) -> Step:
        gate.wait(30)
        return reply(500)

    with FaultServer(default=all_at_once) as server:
        calls = policy(open_for=30, open_max=300)
        with Connection(server.url, ANONYMOUS, policy=calls, observer=seen) as conn, ThreadPoolExecutor(8) as pool:
            statuses = pool.map(lambda _: conn.get("/", raise_for_status=False).status_code, range(8))
            assert list(statuses) == [500] * 8
            retry_in = conn.health.retry_in
    assert seen.names() == ["breaker.opened"]
    assert retry_in is not None
    assert retry_in <= 33, "not doubled by the failures that came after it opened"


def test_a_late_success_does_not_close_an_open_circuit(server: FaultServer) -> None:
    tripped = threading.Event()

    def late_answer(exchange: Exchange) -> Step:
        while not tripped.is_set():
            exchange.pause(0.01)
        return reply(200, b"late")

    server.script(late_answer, connection=1)
    with (
        Connection(server.url, ANONYMOUS, policy=policy(open_for=60, open_max=60)) as conn,
        ThreadPoolExecutor(1) as pool,
    ):
        late = pool.submit(conn.get, "/")
        server.wait_for_requests(1)
        server.script(*[reply(500)] * 3)
        trip(conn)
        tripped.set()
        assert late.result(30).text == "late"
        assert conn.health.breaker == "open"
        with pytest.raises(CircuitOpenError):
            conn.get("/")


@threads_only("Ctrl-C in a session of requests; a task is cancelled instead")
def test_ctrl_c_in_a_probe_gives_its_permit_back(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script(*[reply(500)] * 3)
    with Connection(server.url, ANONYMOUS, policy=policy()) as conn:
        trip(conn)
        until(lambda: conn.health.breaker == "half-open")

        def interrupt(*args: Any, **kwargs: Any) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(conn.conn, "send", interrupt)
            with pytest.raises(KeyboardInterrupt):
                conn.get("/")
        assert conn.get("/").ok
        assert conn.get("/").ok
        assert conn.health.breaker == "closed"


# -- probing and closing -------------------------------------------------------------------------


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_half_open_lets_exactly_so_many_probes_through_at_a_time(probes: int) -> None:
    release = threading.Event()

    def hold(exchange: Exchange) -> Step:
        while not release.is_set():
            exchange.pause(0.01)
        return reply(200)

    with FaultServer() as server:
        server.script(*[reply(500)] * 3)
        calls = policy(half_open_probes=probes, close_after=8)
        with Connection(server.url, ANONYMOUS, policy=calls) as conn, ThreadPoolExecutor(8) as pool:
            trip(conn)
            server.default = hold
            until(lambda: conn.health.breaker == "half-open")
            start = threading.Barrier(8)

            def call(_: int) -> str:
                start.wait(30)
                try:
                    conn.get("/")
                except CircuitOpenError:
                    return "rejected"
                return "sent"

            futures = [pool.submit(call, number) for number in range(8)]
            until(lambda: sum(future.done() for future in futures) == 8 - probes)
            server.wait_for_requests(3 + probes)
            assert len(server.requests) == 3 + probes
            release.set()
            results = [future.result(30) for future in futures]
    assert results.count("sent") == probes


def test_probes_that_succeed_close_the_circuit_and_each_change_is_told_once(server: FaultServer) -> None:
    seen = Seen()
    server.script(*[reply(500)] * 3, reply(500))
    with Connection(server.url, ANONYMOUS, policy=policy(), observer=seen) as conn:
        trip(conn)
        until(lambda: conn.health.breaker == "half-open")
        assert seen.names() == ["breaker.opened"], "half-open is told when a probe goes"
        with pytest.raises(HTTPInternalServerError):
            conn.get("/")
        assert seen.names()[-1] == "breaker.opened"
        until(lambda: conn.health.breaker == "half-open")
        assert conn.get("/").ok
        assert conn.health.breaker == "half-open", "two successes are asked for"
        assert conn.get("/").ok
        assert conn.health.breaker == "closed"
        for _ in range(5):
            conn.get("/")
    assert seen.names() == [
        "breaker.opened",
        "breaker.half_opened",
        "breaker.opened",
        "breaker.half_opened",
        "breaker.closed",
    ]
    opened = [event.fields() for event in seen.events if event.name == "breaker.opened"]
    assert [event["rule"] for event in opened] == ["consecutive", "probe"]
    assert [event["cause"] for event in opened] == ["500", "500"]
    assert all(event["host"] == server.url for event in opened)
    assert 0.9 * OPEN_FOR <= opened[0]["open_for"] <= 1.1 * OPEN_FOR
    # The time that the probe took counts as a rest for the host.
    assert 1.3 * OPEN_FOR <= opened[1]["open_for"] <= 2.2 * OPEN_FOR


@timing_test
def test_the_circuit_opens_for_as_long_as_it_says() -> None:
    with FaultServer(default=reply(500)) as server, Connection(server.url, ANONYMOUS, policy=policy()) as conn:
        with in_time(OPEN_FOR / 2):  # from before it opens
            trip(conn)
            took = Elapsed()
            retry_in = conn.health.retry_in
            assert retry_in is not None
        until(lambda: conn.health.breaker == "half-open")
        took.assert_within(retry_in)
        assert conn.health.retry_in is None


class Gate:
    """A route that holds what comes until it is told to answer."""

    def __init__(self, server: FaultServer, conn: Connection) -> None:
        self._server = server
        self._conn = conn
        self._step = reply(200)
        self._release = threading.Event()
        server.default = self._hold

    def _hold(self, exchange: Exchange) -> Step:
        release = self._release
        while not release.is_set():
            exchange.pause(0.01)
        return self._step

    def _call(self, _: int) -> bool:
        try:
            self._conn.get("/", raise_for_status=False)
        except CircuitOpenError:
            return False
        return True

    def let_in(self, calls: int, expected: int, step: Step | None = None) -> int:
        """How many of `calls` at once are let in. All of these are answered with `step` as soon as `expected` came."""
        self._release, self._step = threading.Event(), step or reply(200)
        before = len(self._server.requests)
        with ThreadPoolExecutor(calls) as pool:
            futures = [pool.submit(self._call, number) for number in range(calls)]
            until(lambda: sum(future.done() for future in futures) >= calls - expected)
            self._server.wait_for_requests(before + expected)
            self._release.set()
            return sum(future.result(30) for future in futures)


def just_closed(server: FaultServer, conn: Connection, failures: int = 3) -> Gate:
    server.script(*[reply(500)] * failures)
    trip(conn, failures)
    until(lambda: conn.health.breaker == "half-open")
    conn.get("/")
    assert conn.health.breaker == "closed"
    return Gate(server, conn)


def test_after_closing_the_load_doubles_with_each_round_of_successes_until_nothing_is_held_back(
    server: FaultServer,
) -> None:
    with Connection(server.url, ANONYMOUS, policy=policy(ramp=60.0, close_after=1)) as conn:
        gate = just_closed(server, conn)
        for expected in (2, 4, 8, 16):
            assert gate.let_in(16, expected) == expected
        assert gate.let_in(24, 24) == 24


def test_a_failure_after_closing_halves_the_load(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=policy(ramp=60.0, close_after=1, consecutive=9)) as conn:
        gate = just_closed(server, conn, failures=9)
        for expected, step in ((2, 200), (4, 200), (8, 500), (4, 200), (8, 200)):
            assert gate.let_in(16, expected, reply(step)) == expected


def test_a_slow_start_is_over_after_its_longest_time_at_the_latest(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=policy(ramp=0.2, close_after=1)) as conn:
        gate = just_closed(server, conn)
        time.sleep(0.25)
        assert gate.let_in(16, 16) == 16


@timing_test
def test_who_waits_for_the_circuit_looks_for_the_host_as_soon_as_may_be_and_all_go_on_once_it_is_back(
    server: FaultServer,
) -> None:
    calls = policy(open_for=0.05, open_growth=1.0, max_wait=20.0, close_after=1, ramp=5.0)
    with Connection(server.url, ANONYMOUS, policy=calls) as conn, ThreadPoolExecutor(8) as pool:
        server.script(*[reply(500)] * 6)
        trip(conn)
        with elapsed() as took:
            answers = list(pool.map(lambda _: conn.get("/", raise_for_status=False).status_code, range(8)))
        assert sorted(answers) == [200] * 5 + [500] * 3
        assert conn.health.rejections == 0
        took.assert_at_most(0.9)


@timing_test
def test_who_would_wait_for_the_circuit_in_vain_is_refused_at_once(server: FaultServer) -> None:
    calls = policy(open_for=60, open_max=60, max_wait=20.0)
    server.script(*[reply(500)] * 3)
    with Connection(server.url, ANONYMOUS, policy=calls) as conn:
        trip(conn)
        with in_time(10), pytest.raises(CircuitOpenError):
            conn.get("/")
        assert conn.health.rejections == 1


def test_a_rejection_is_one_event_and_one_failed_call(server: FaultServer) -> None:
    seen = Seen()
    server.script(*[reply(500)] * 3)
    with Connection(server.url, ANONYMOUS, policy=policy(open_for=30, open_max=30), observer=seen) as conn:
        trip(conn)
        seen.events.clear()
        with pytest.raises(CircuitOpenError) as caught:
            conn.get("/a?token=x")
    assert caught.value.__notes__ == [f"GET {server.url}/a: not sent"]
    assert [event.name for event in seen.events] == ["request.rejected", "request.failed"]
    rejected, failed = (event.fields() for event in seen.events)
    assert (rejected["by"], rejected["path"], failed["error"], failed["attempts"]) == (
        "breaker",
        "/a",
        "CircuitOpenError",
        0,
    )


def test_a_rejection_by_the_breaker_is_never_retried(server: FaultServer) -> None:
    server.script(*[reply(503)] * 3)
    retried = policy(open_for=30, open_max=30).replace(retry={"wait_initial": 0.01, "attempts": 5})
    with Connection(server.url, ANONYMOUS, policy=retried) as conn:
        with pytest.raises(HTTPServiceUnavailable) as caught:
            conn.get("/")
        assert [attempt.status for attempt in caught.value.attempts] == [503] * 3
        with pytest.raises(CircuitOpenError) as refused:
            conn.get("/")
        assert len(server.requests) == 3
        assert refused.value.attempts == ()


def test_a_call_may_go_past_the_breaker_and_then_moves_nothing(server: FaultServer) -> None:
    server.script(*[reply(500)] * 3)
    with Connection(server.url, ANONYMOUS, policy=policy(open_for=30, open_max=30)) as conn:
        trip(conn)
        assert conn.get("/", policy="off").ok
        assert conn.health.breaker == "open"


def test_with_the_breaker_off_nothing_is_rejected() -> None:
    calls = Policy(retry=False, breaker=False)
    with FaultServer(default=reply(500)) as server, Connection(server.url, ANONYMOUS, policy=calls) as conn:
        trip(conn, 20)
        assert len(server.requests) == 20


# -- slow calls ----------------------------------------------------------------------------------


def test_a_host_that_hangs_opens_the_circuit_before_its_first_answer() -> None:
    """No deadline is over, and nothing has failed: two threads wait, and no other has to."""
    seen = Seen()
    release = threading.Event()

    def hold(exchange: Exchange) -> Step:
        while not release.is_set():
            exchange.pause(0.01)
        return reply(200)

    calls = policy(slow_ratio=1.0, slow_call=0.2, min_calls=2, consecutive=100, open_for=30, open_max=30)
    with (
        FaultServer(default=hold) as server,
        ThreadPoolExecutor(2) as pool,
        Connection(server.url, ANONYMOUS, policy=calls, observer=seen) as conn,
    ):
        waiting = [pool.submit(conn.get, "/") for _ in range(2)]
        server.wait_for_requests(2)
        until(lambda: conn.health.breaker == "open")
        assert not any(call.done() for call in waiting)
        with pytest.raises(CircuitOpenError, match="after slow calls") as caught:
            conn.get("/")
        assert caught.value.cause == "slow calls"
        release.set()
        assert [call.result(30).status_code for call in waiting] == [200, 200], "they go on and are answered"
        assert conn.health.breaker == "open", "an answer that came late closes nothing"
    (opened,) = [event.fields() for event in seen.events if event.name == "breaker.opened"]
    assert (opened["rule"], opened["cause"]) == ("slow_ratio", "slow calls")


@timing_test
def test_a_stream_is_as_slow_as_its_head() -> None:
    calls = policy(slow_ratio=0.01, slow_call=0.2, min_calls=1, open_for=30, open_max=30)
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=calls) as conn:
        with in_time(0.2):
            response = conn.get("/", stream=True)
            assert conn.health.breaker == "closed"
        with response:
            time.sleep(0.3)
            assert conn.health.breaker == "closed"
            assert response.content is not None
        server.script(reply(200, delay=0.3))
        with conn.get("/", stream=True):
            assert conn.health.breaker == "open"


# -- the dry run ---------------------------------------------------------------------------------


def test_a_dry_run_sends_everything_and_tells_what_it_would_have_refused() -> None:
    seen = Seen()
    calls = policy(mode="observe", open_for=30, open_max=30)
    with (
        FaultServer(default=reply(500)) as server,
        Connection(server.url, ANONYMOUS, policy=calls, observer=seen) as conn,
    ):
        trip(conn, 5)
        assert len(server.requests) == 5
        health = conn.health
        assert (health.breaker, health.rejections, health.retry_in) == ("open", 0, None)
        assert health.state == "degraded"
    assert seen.names("breaker.") == ["breaker.opened"]
    assert seen.names("request.would") == ["request.would_reject"] * 2
    assert seen.names("request.rejected") == seen.names("host.") == []
    would = next(event.fields() for event in seen.events if event.name == "request.would_reject")
    assert (would["host"], would["path"], would["by"], would["attempt"]) == (server.url, "/", "breaker", 1)
    assert 0 < would["retry_after"] <= 33


def test_a_manager_keeps_the_connection_to_a_host_whose_circuit_is_only_observed() -> None:
    calls = policy(mode="observe", open_for=30, open_max=30)
    with FaultServer(default=reply(500)) as server, ConnectionManager(policy=calls) as manager:
        manager.add(server.url, ANONYMOUS, conn := Connection(server.url, ANONYMOUS))
        trip(conn, 5)
        assert manager.health(server.url).breaker == "open"
        assert manager.find(server.url, ANONYMOUS) is conn
        assert len(server.requests) == 5


# -- by hand -------------------------------------------------------------------------------------


def test_a_connection_closes_its_circuit_by_hand(server: FaultServer) -> None:
    seen = Seen()
    with Connection(
        server.url, ANONYMOUS, policy=policy(open_for=60.0, open_max=60.0, ramp=5.0), observer=seen
    ) as conn:
        conn.reset_circuit()
        assert seen.events == []
        server.script(*[reply(500)] * 3)
        trip(conn)
        with pytest.raises(CircuitOpenError):
            conn.get("/")
        conn.reset_circuit()
        assert (conn.health.breaker, conn.health.retry_in) == ("closed", None)
        for _ in range(20):
            assert conn.get("/").ok
    assert seen.names() == ["breaker.opened", "breaker.closed"]
    assert seen.names("host.") == ["host.broken", "host.recovered"]
    assert [
        event.fields().get("by_hand") for event in seen.events if event.name.startswith(("breaker.c", "host.r"))
    ] == [
        True,
        True,
    ]


def test_a_call_that_was_under_way_when_a_circuit_was_closed_by_hand_does_not_open_it(server: FaultServer) -> None:
    server.script(*[reply(500, delay=0.3)] * 4)
    with Connection(server.url, ANONYMOUS, policy=policy(open_for=60.0, open_max=60.0)) as conn:
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(conn.get, "/", raise_for_status=False) for _ in range(4)]
            server.wait_for_requests(4)
            conn.reset_circuit()
            assert [call.result(10).status_code for call in calls] == [500] * 4
        assert conn.health.breaker == "closed"
        assert conn.get("/").ok
