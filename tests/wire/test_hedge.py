"""Hedging over real sockets: the hedge attempt that saves a slow call, and how the other one ends."""

from __future__ import annotations

import _thread
import contextvars
import gc
import io
import itertools
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import requests
import urllib3
from servers import (
    Exchange,
    FaultServer,
    Step,
    TlsMaterial,
    drip_body,
    elapsed,
    in_time,
    redirect,
    reply,
    slow_dns,
    stall,
    timing_test,
    truncated,
    unanswered_port,
)

from sleepwalker import (
    ANONYMOUS,
    Connection,
    DeadlineExceeded,
    HTTPNotFound,
    HTTPServiceUnavailable,
    Policy,
)
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.drivers.threads import hedge, timer
from sleepwalker.events import Event, HedgeFinished, HedgeSent, RequestFinished
from sleepwalker.transport.blocking.canceller import Canceller
from sleepwalker.transport.blocking.deadline import AttemptDeadline
from tests.both_drivers import threads_only
from tests.deadlines import attempt_deadline
from tests.interrupts import forget, strike
from tests.naming import steady

pytestmark = pytest.mark.both_drivers

DELAY = 0.05
#: A call that no copy saved ends after 30 s: much later than anything here is waited for.
TIMES = {"connect": 10, "read": 30, "attempt": 30, "total": 60}
HEDGED = Policy(timeout=TIMES, hedge={"delay": DELAY}, retry={"wait_initial": 0, "wait_max": 0, "budget": False})


def hedged(server: FaultServer, **options: Any) -> Connection:
    return Connection(server.url, ANONYMOUS, **{"policy": HEDGED, **options})


def workers() -> list[threading.Thread]:
    """The threads of copies under way."""
    return [thread for thread in threading.enumerate() if thread.name == "sleepwalker hedge"]


def once_hedged(step: Step) -> Step:
    """That step as soon as the copy has come as well, however late on a busy machine."""
    return Step(lambda exchange: exchange.server.wait_for_requests(2) or step)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_until(fact: Callable[[], bool], what: str, within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not fact():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.005)


_DUE = hedge._Hedge._due


@pytest.fixture(autouse=True)
def no_copy_is_due_before_its_first_attempt_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes: what is not on its way is not hedged, and a copy must not overtake.

    Nor may it in the server, where each connection has a thread: the first request is read before the copy is sent.
    """
    run, start, here = hedge._Hedge.run, FaultServer.start, os.getpid()
    servers: list[FaultServer] = []

    def started(self: FaultServer) -> None:
        servers.append(self)
        start(self)

    def read() -> int:
        return sum(len(server.requests) for server in servers)

    def begun(self: Any) -> Any:
        self.read_before = read()
        return run(self)

    def came(self: Any) -> bool:
        if self._first._deadline.phase not in ("head", "body"):
            return False
        return read() > self.read_before or os.getpid() != here  # a child does not see its parent's servers

    def due(self: Any) -> None:
        while not (came(self) or self._over.is_set()):
            time.sleep(0.001)
        _DUE(self)

    monkeypatch.setattr(FaultServer, "start", started)
    monkeypatch.setattr(hedge._Hedge, "run", begun)
    monkeypatch.setattr(hedge._Hedge, "_due", due)


@pytest.fixture
def retries_have_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are answered at once, but on a busy machine even that may take longer than `DELAY`."""
    due = hedge._Hedge._due
    monkeypatch.setattr(hedge._Hedge, "_due", lambda self: due(self) if self._step.number == 1 else None)


@pytest.fixture(autouse=True)
def no_copy_stays_behind() -> Iterator[None]:
    """The call does not wait for the thread of an attempt that lost, which ends at once."""
    yield
    wait_until(lambda: not workers(), "every copy's thread ended")


# -- the copy wins --------------------------------------------------------------------------------


SLOW = [
    pytest.param(stall, id="head"),
    pytest.param(lambda: truncated(b"x" * 100, 10, then="stall"), id="body"),
    pytest.param(lambda: drip_body(b"x" * 1000, interval=0.02), id="drip"),
]


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("slow", SLOW)
def test_a_copy_answers_in_place_of_a_slow_attempt_whose_socket_is_closed(
    tls: TlsMaterial, secure: bool, slow: Callable[[], Step]
) -> None:
    @timing_test
    def measured() -> None:
        events: list[Event] = []
        with (
            FaultServer(tls=tls.server_context() if secure else None) as server,
            hedged(server, verify=tls.client_context(), observer=lambda event, _: events.append(event)) as conn,
        ):
            server.script(slow(), reply(200, b"copy"))
            with elapsed() as took:
                response = conn.get("/?token=canary")
            took.assert_within(DELAY, 0.1)
            assert response.content == b"copy"
            assert conn.response is response
            assert [request.target for request in server.requests] == ["/?token=canary"] * 2
            server.wait_for_open(1)  # the loser's is closed, the winner's is kept
            assert [(one.number, one.status) for one in response.attempts] == [(1, None), (2, 200)]
            assert response.attempts[0].error == "cancelled: attempt 2 came first"
            assert [type(event) for event in events] == [HedgeSent, HedgeFinished, RequestFinished]
            health = conn.health
            assert (health.attempts, health.hedges, health.retries, health.failures) == (2, 1, 0, 0)
            assert health.in_flight == 0
            with in_time(DELAY):  # a copy of it would open a third one
                assert conn.get("/again").content == b"ok"
                assert server.accepted == 2

    measured()


def test_after_a_hundred_copies_no_socket_and_no_thread_is_left() -> None:
    seen = set[str]()

    def act(exchange: Exchange) -> Step:
        assert exchange.request is not None
        target = exchange.request.target
        first = target not in seen  # of the two, the one that arrives first
        seen.add(target)
        return stall() if first else reply(200, b"ok")

    policy = HEDGED.replace(hedge={"delay": 0.005}, pool={"size": 2, "block": True})
    with FaultServer(default=act) as server, hedged(server, policy=policy) as conn:
        for number in range(100):
            assert conn.get(f"/{number}").content == b"ok"
        assert conn.health.hedges == 100
        assert len(server.requests) == 200
        server.wait_for_open(1)
        wait_until(lambda: not workers(), "the threads ended")
        descriptors = open_descriptors()
        for number in range(10):
            conn.get(f"/more/{number}")
        wait_until(lambda: not workers(), "the threads ended")
        server.wait_for_open(1)
        assert open_descriptors() <= descriptors


def test_eight_threads_hedge_side_by_side() -> None:
    lock, seen = threading.Lock(), dict[str, int]()

    def act(exchange: Exchange) -> Step:
        assert exchange.request is not None
        with lock:
            count = seen[exchange.request.target] = seen.get(exchange.request.target, 0) + 1
        return stall() if count == 1 and exchange.request.target.endswith("0") else reply(200, exchange.request.target)

    with FaultServer(default=act) as server, hedged(server) as conn:
        answers: dict[int, list[str]] = {}

        def work(worker: int) -> None:
            answers[worker] = [conn.get(f"/{worker}-{number}").text for number in range(20)]

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert answers == {worker: [f"/{worker}-{number}" for number in range(20)] for worker in range(8)}
        assert conn.health.hedges >= 16
        assert conn.health.in_flight == 0


def test_a_stream_is_hedged_until_its_head() -> None:
    with FaultServer() as server, hedged(server) as conn:
        server.script(stall(), drip_body(b"x" * 10, interval=0.02))
        with conn.get("/", stream=True) as response:
            assert b"".join(response.iter_content(1)) == b"x" * 10
        assert len(server.requests) == 2
        conn.close()
        server.wait_for_open(0)


def test_a_stream_that_lost_is_closed() -> None:
    """Both heads come at about the same time, many times over; only one of the bodies is read."""
    with FaultServer(default=reply(200, b"x" * 100_000, delay=DELAY)) as server, hedged(server) as conn:
        for _ in range(10):
            with conn.get("/", stream=True) as response:
                assert len(b"".join(response.iter_content(8192))) == 100_000
        wait_until(lambda: not workers(), "the threads ended")
        conn.close()
        server.wait_for_open(0)


@timing_test
def test_the_copy_has_a_deadline_header_of_its_own() -> None:
    policy = HEDGED.replace(timeout={"propagate": "X-Left"}, hedge={"delay": 0.3})
    with FaultServer() as server, hedged(server, policy=policy) as conn:
        server.script(stall(), reply(200))
        with elapsed() as took:
            conn.get("/", headers={"X-Mine": "1"})
        first, copy = ({name.lower(): value for name, value in one.headers} for one in server.requests)
    assert first["x-mine"] == copy["x-mine"] == "1"
    assert 0.29 <= float(first["x-left"]) - float(copy["x-left"]) <= took.seconds
    took.assert_at_most(0.4)


def test_auth_objects_sign_the_copy_as_well() -> None:
    counts = itertools.count(1)

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Signature"] = str(next(counts))
        return request

    with FaultServer() as server, Connection(server.url, sign, policy=HEDGED) as conn:
        server.script(stall(), reply(200))
        assert conn.put("/", data=b"body").status_code == 200
        signed = [dict(request.headers).get("X-Signature") for request in server.requests]
        assert signed == ["1", "2"]
        assert [request.body for request in server.requests] == [b"body", b"body"]


def test_a_copy_follows_redirects() -> None:
    with FaultServer() as server, hedged(server) as conn:
        server.script(stall(), redirect("/there"), reply(200, b"there"))
        response = conn.get("/")
        assert response.content == b"there"
        assert len(response.history) == 1


@threads_only("a session of requests")
def test_the_callers_context_is_seen_by_the_sessions_hooks_of_the_copy() -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")
    seen: list[tuple[str, bool]] = []
    with FaultServer() as server, requests.Session() as session:
        main = threading.get_ident()
        session.hooks["response"].append(lambda *_, **__: seen.append((trace.get(), threading.get_ident() == main)))
        with Connection(server.url, ANONYMOUS, policy=HEDGED, session=session) as conn:
            server.script(stall(), reply(200))
            token = trace.set("4bf92f")
            conn.get("/")
            trace.reset(token)
    assert seen == [("4bf92f", False)]


@threads_only("an adapter of requests")
def test_a_copy_is_sent_with_a_request_of_its_own() -> None:
    """Attempts write on their request, and two would write at a time."""

    class Recording(requests.Session):
        requests: list[requests.PreparedRequest]

        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            self.requests.append(request)
            return super().send(request, **options)

    with FaultServer() as server, Recording() as session:
        session.requests = []
        with Connection(server.url, ANONYMOUS, policy=HEDGED, session=session) as conn:
            server.script(stall(), reply(200))
            conn.put("/", data=b"x", headers={"X-Mine": "1"})
        first, copy = session.requests
        assert first is not copy
        assert first.headers is not copy.headers
        assert first.hooks["response"] is not copy.hooks["response"]
        assert (first.headers, first.hooks, first.body, first.url) == (copy.headers, copy.hooks, copy.body, copy.url)


@threads_only("the threads of a race")
def test_what_a_race_held_is_freed_as_soon_as_its_caller_lets_go() -> None:
    """Without waiting for the garbage collector, which in a service may come late."""
    with FaultServer() as server, hedged(server, policy=HEDGED.replace(retry=False)) as conn:
        gc.disable()
        try:
            server.script(stall(), reply(200))
            answer = weakref.ref(conn.get("/"))
            conn._handover._latest.response = None
            server.script(stall(), stall())
            try:
                conn.get("/", policy=conn.policy.replace(timeout={"connect": 0.3, "attempt": 0.3}))
            except DeadlineExceeded as late:
                error = weakref.ref(late)
            wait_until(lambda: answer() is None and error() is None, "both are freed")
        finally:
            gc.enable()


# -- the first one wins ---------------------------------------------------------------------------


def test_a_fast_call_sends_no_copy_and_starts_no_thread_of_its_own() -> None:
    with FaultServer() as server, hedged(server, policy=HEDGED.replace(hedge={"delay": 5})) as conn:
        conn.get("/")
        before = threading.active_count()
        for _ in range(50):
            conn.get("/")
        assert len(server.requests) == 51
        assert server.accepted == 1
        assert threading.active_count() <= before


def test_where_the_first_attempt_answers_after_all_the_copy_is_cut() -> None:
    @timing_test
    def measured() -> None:
        with FaultServer() as server, hedged(server) as conn:
            server.script(once_hedged(reply(200, b"first")), stall())
            with elapsed() as took:
                response = conn.get("/")
            took.assert_within(DELAY, 0.1)
            assert response.content == b"first"
            assert [(one.number, one.status) for one in response.attempts] == [(1, 200), (2, None)]
            assert response.attempts[1].error == "cancelled: attempt 1 came first"
            server.wait_for_open(1)
            wait_until(lambda: not workers(), "the copy's thread ended")

    measured()


@threads_only("the timer thread of races")
def test_the_timer_keeps_nothing_of_a_call_that_is_over() -> None:
    with FaultServer() as server, hedged(server, policy=HEDGED.replace(hedge={"delay": 25})) as conn:
        answer = weakref.ref(conn.get("/"))
        conn._handover._latest.response = None
        assert all(entry.cancelled for due, _, entry in timer._timer._heap if due > time.monotonic() + 5)
        assert answer() is None


# -- what is bad waits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [lambda: reply(503), lambda: truncated(b"x" * 10, 5, then="reset")], ids=["503", "reset"]
)
def test_a_bad_answer_waits_for_the_good_one(bad: Callable[[], Step]) -> None:
    with FaultServer() as server, hedged(server, policy=HEDGED.replace(hedge={"delay": 0.02})) as conn:
        server.script(once_hedged(bad()), reply(200, b"good", delay=0.2))
        response = conn.get("/")
        assert response.content == b"good"
        assert response.attempts[0].status == 503 or "ReadError" in str(response.attempts[0].error)
        assert response.attempts[1].status == 200
        assert len(server.requests) == 2


@pytest.mark.usefixtures("retries_have_no_copy")
def test_where_both_are_bad_the_call_is_retried() -> None:
    with FaultServer() as server, hedged(server) as conn:
        server.script(once_hedged(reply(503)), reply(503), reply(200, b"third"))
        response = conn.get("/")
        assert response.content == b"third"
        assert [one.status for one in response.attempts] == [503, 503, 200]
        assert (conn.health.hedges, conn.health.retries) == (1, 1)


@pytest.mark.usefixtures("retries_have_no_copy")
def test_where_the_copy_is_the_last_to_fail_the_retries_go_on_in_the_callers_thread() -> None:
    """Then one decision is made in the copy's thread and the next one in another, and tenacity counts per thread."""
    with FaultServer() as server, hedged(server) as conn:
        server.script(once_hedged(reply(503)), reply(503, delay=0.1), reply(503), reply(200, b"fourth"))
        response = conn.get("/")
        assert response.content == b"fourth"
        assert [one.status for one in response.attempts] == [503, 503, 503, 200]


def test_without_retries_the_last_error_is_raised_with_all_attempts() -> None:
    with FaultServer() as server, hedged(server, policy=HEDGED.replace(retry=False)) as conn:
        server.script(once_hedged(reply(503)), reply(503, b"copy"))
        with pytest.raises(HTTPServiceUnavailable) as caught:
            conn.get("/")
        assert [one.status for one in caught.value.attempts] == [503, 503]


def test_a_status_that_is_not_retried_wins() -> None:
    with FaultServer() as server, hedged(server) as conn:
        server.script(stall(), reply(404))
        with pytest.raises(HTTPNotFound) as caught:
            conn.get("/")
        assert [one.status for one in caught.value.attempts] == [None, 404]


@timing_test
def test_a_hedge_without_a_response_ends_with_its_attempts_deadline() -> None:
    """Which leaves time for the copy to be sent, also where everything stands still for a second."""
    policy = HEDGED.replace(timeout={"connect": 1.5, "attempt": 1.5}, retry=False)
    with FaultServer(default=stall()) as server, hedged(server, policy=policy) as conn:
        with elapsed() as took, pytest.raises(DeadlineExceeded) as caught:
            conn.get("/")
        took.assert_within(1.5, 0.1)
        assert len(caught.value.attempts) == 2
        server.wait_for_open(0)


# -- what is not hedged ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "sends"),
    [
        ("POST", {"data": b"x"}, 1),
        ("PATCH", {"data": b"x"}, 1),
        ("POST", {"data": b"x", "idempotent": True}, 2),
        ("POST", {"data": b"x", "headers": {"Idempotency-Key": "1"}}, 2),
        ("GET", {"idempotent": False}, 1),
        ("PUT", {"json": {"a": 1}}, 2),
        ("PUT", {"files": {"a": b"x"}}, 2),
        ("PUT", {"data": lambda: io.BytesIO(b"x")}, 1),
        ("PUT", {"data": lambda: iter([b"x"])}, 1),
        ("PUT", {"data": lambda: lambda: b"x"}, 1),
        ("GET", {"policy": "standard"}, 1),
        ("GET", {}, 2),
    ],
    ids=lambda value: value if isinstance(value, str) else steady(value),
)
def test_only_what_may_be_sent_twice_at_a_time_is_hedged(method: str, options: dict[str, Any], sends: int) -> None:
    if callable(options.get("data")):
        options = {**options, "data": options["data"]()}
    with FaultServer(default=once_hedged(reply(200)) if sends == 2 else reply(200, delay=3 * DELAY)) as server:
        with hedged(server) as conn:
            conn.request(method, "/", **options)
        assert len(server.requests) == sends


def test_without_retries_idempotent_methods_are_hedged_all_the_same() -> None:
    with (
        FaultServer(default=reply(200, delay=3 * DELAY)) as server,
        hedged(server, policy=HEDGED.replace(retry=False)) as conn,
    ):
        server.script(once_hedged(reply(200)))
        conn.get("/")
        conn.post("/")
        assert [request.method for request in server.requests] == ["GET", "GET", "POST"]


def test_an_empty_budget_ends_the_copies() -> None:
    budget = {"ratio": 0.0001, "min_per_second": 1, "window": 3}
    policy = HEDGED.replace(hedge={"delay": 0.01}, retry={"budget": budget})
    with FaultServer(default=reply(200, delay=0.05)) as server, hedged(server, policy=policy) as conn:
        for _ in range(8):
            conn.get("/")
        assert conn.health.hedges == 3
        assert len(server.requests) <= 11  # a copy may lose before it is sent


@timing_test
def test_a_circuit_that_opens_meanwhile_and_one_that_is_half_open_send_no_copy() -> None:
    breaker = {"consecutive": 1, "consecutive_for": 0, "open_for": 0.2, "ramp": 0, "close_after": 1}
    with (
        FaultServer(routes={"/bad": reply(500)}, default=reply(200, delay=0.6)) as server,
        hedged(server, policy=HEDGED.replace(breaker=breaker, hedge={"delay": 0.3})) as conn,
    ):
        slow = threading.Thread(target=conn.get, args=("/",))
        slow.start()
        server.wait_for_requests(1)
        with in_time(0.2):
            conn.get("/bad", raise_for_status=False)
            assert conn.health.breaker == "open"
        with in_time(0.65):
            slow.join(30)
            assert len(server.requests) == 2
        wait_until(lambda: conn.health.breaker == "half-open", "half-open")
        conn.get("/")
        assert conn.health.breaker == "closed"
        assert conn.health.hedges == 0
        assert len(server.requests) == 3


@threads_only("an adapter of requests")
def test_a_session_that_never_comes_to_a_socket_is_not_hedged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock, or a cache: a copy could not be cut, nor be of use."""
    monkeypatch.setattr(hedge._Hedge, "_due", _DUE)

    class Slow(requests.adapters.BaseAdapter):
        sent = 0

        def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
            self.sent += 1
            time.sleep(3 * DELAY)
            response = requests.Response()
            response.status_code, response.raw, response.url = 200, io.BytesIO(b"mine"), request.url or ""
            return response

        def close(self) -> None:
            pass

    adapter = Slow()
    with requests.Session() as session:
        session.mount("http://h.test/", adapter)
        with Connection("http://h.test", ANONYMOUS, policy=HEDGED, session=session) as conn:
            assert conn.get("/").content == b"mine"
    assert adapter.sent == 1


def test_no_copy_is_sent_once_the_connection_is_closed_and_the_call_finishes() -> None:
    def close(exchange: Exchange) -> Step:
        conn.close()
        return reply(200, b"late", delay=0.5)

    policy = HEDGED.replace(hedge={"delay": 0.3})
    with FaultServer(default=close) as server, hedged(server, policy=policy) as conn:
        assert conn.get("/").content == b"late"
        assert len(server.requests) == 1
        server.wait_for_open(0)


# -- the percentile -------------------------------------------------------------------------------


@timing_test
def test_interactive_hedges_what_is_slower_than_most() -> None:
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy="interactive") as conn:
        for _ in range(30):
            conn.get("/")
        time.sleep(0.3)  # until the percentile is worked out again
        server.script(stall(), reply(200, b"copy"))
        with elapsed() as took:
            assert conn.get("/").content == b"copy"
        took.assert_at_most(1)
        assert conn.health.hedges >= 1


# -- interrupted ----------------------------------------------------------------------------------


def test_ctrl_c_cuts_both() -> None:
    with FaultServer(default=stall()) as server, hedged(server) as conn:

        def interrupt() -> None:
            server.wait_for_requests(2)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with elapsed() as took, pytest.raises(KeyboardInterrupt):
            conn.get("/")
        assert took.seconds < 20
        server.wait_for_open(0)
        assert (conn.health.in_flight, conn.health.failures) == (0, 0)


def test_ctrl_c_while_only_the_copy_is_under_way_cuts_it() -> None:
    with FaultServer(default=stall()) as server, hedged(server) as conn:
        server.script(once_hedged(reply(503)))

        def interrupt() -> None:
            wait_until(lambda: conn.health.failures == 1, "the first attempt failed")
            time.sleep(0.1)  # until its thread waits for the copy
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            conn.get("/")
        server.wait_for_open(0)  # that of the 503 is not used again
        assert conn.health.in_flight == 0


@threads_only("a session of requests")
def test_what_a_hook_raises_in_the_copys_thread_reaches_the_caller() -> None:
    class Enough(BaseException):
        """Not an Exception, as a framework's own cancellation."""

    main = threading.get_ident()

    def hook(*_: Any, **__: Any) -> None:
        if threading.get_ident() != main:
            raise Enough

    with FaultServer() as server, requests.Session() as session:
        session.hooks["response"].append(hook)
        with Connection(server.url, ANONYMOUS, policy=HEDGED, session=session) as conn:
            server.script(stall(), reply(200))
            with pytest.raises(Enough):
                conn.get("/")
            assert conn.health.in_flight == 0
            conn.close()
        server.wait_for_open(0)


@threads_only("the lock of a race of threads")
def test_an_observer_is_called_outside_the_races_lock() -> None:
    """One that waits for a lock that the caller holds delays a copy at most."""
    mine = threading.RLock()

    def observe(event: Event, _: object) -> None:
        with mine:
            pass

    with FaultServer() as server, hedged(server, observer=observe) as conn:
        server.script(reply(200, b"first", delay=0.3), stall())
        with mine:
            assert conn.get("/").content == b"first"
        server.wait_for_open(1)


@threads_only("the threads of a race")
@pytest.mark.parametrize("where", ["timer", "copy"])
def test_where_no_thread_can_be_started_the_call_goes_on_without_a_copy(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "timer":
        monkeypatch.setattr(timer, "_timer", timer.Timer())
        monkeypatch.setattr(_thread, "start_new_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == {"timer": "sleepwalker timer", "copy": "sleepwalker hedge"}[where]:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with FaultServer(default=reply(200, b"first", delay=0.2)) as server, hedged(server) as conn:
        assert conn.get("/").content == b"first"
        assert len(server.requests) == 1


@threads_only("the timer thread of races")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_hedges_with_a_timer_of_its_own() -> None:
    with FaultServer() as server, hedged(server) as conn:
        server.script(stall(), reply(200))
        conn.get("/")
        server.script(stall(), reply(200, b"child"))
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if conn.get("/").content == b"child" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(server.requests) == 4


# -- cutting an attempt, wherever it is -----------------------------------------------------------


def cancelled_after(
    act: Callable[[], Any], deadline: AttemptDeadline, when: Callable[[], object] = lambda: time.sleep(0.1)
) -> float:
    """How long `act`, in a thread of its own and under `limits`, goes on once it is cancelled: when `when` returns."""
    ended: list[float] = []

    def run() -> None:
        with attempt_deadline(deadline):
            try:
                act()
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
                ended.append(time.monotonic())
            finally:
                deadline.end()

    thread = threading.Thread(target=run)
    thread.start()
    when()
    assert thread.is_alive(), "it ended by itself"
    began = time.monotonic()
    deadline.cancel()
    thread.join(60)
    assert ended, "it came to something"
    return ended[0] - began


def cancellable() -> AttemptDeadline:
    return AttemptDeadline(
        SYSTEM_CLOCK, connect=30, read=30, ends_at=SYSTEM_CLOCK.monotonic() + 30, canceller=Canceller()
    )


@threads_only("the canceller of blocking sockets")
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("slow", [*SLOW, pytest.param(lambda: stall("bytes"), id="bytes")])
def test_an_attempt_is_cut_wherever_the_server_keeps_it(
    tls: TlsMaterial, secure: bool, slow: Callable[[], Step]
) -> None:
    """With TLS, silence at the first bytes is silence in the handshake."""
    with (
        FaultServer(default=slow(), tls=tls.server_context() if secure else None) as server,
        Connection(server.url, ANONYMOUS, verify=tls.client_context()) as conn,
    ):
        verify = conn._route.sender.settings["verify"]
        assert cancelled_after(lambda: conn.conn.get(server.url, verify=verify), cancellable()) < 10
        server.wait_for_open(0)


@threads_only("the canceller of blocking sockets")
def test_an_attempt_is_cut_while_it_connects() -> None:
    with unanswered_port() as port, Connection(f"http://127.0.0.1:{port}", ANONYMOUS) as conn:
        assert cancelled_after(lambda: conn.conn.get(conn.hostname), cancellable()) < 10


@threads_only("the canceller of blocking sockets")
def test_an_attempt_is_cut_while_its_name_is_looked_up() -> None:
    with slow_dns("slow.test"), Connection("http://slow.test", ANONYMOUS) as conn:
        assert cancelled_after(lambda: conn.conn.get(conn.hostname), cancellable()) < 10


@threads_only("the canceller of blocking sockets")
def test_an_attempt_is_cut_while_it_waits_for_a_socket() -> None:
    policy = Policy(pool={"size": 1, "block": True})
    with FaultServer(default=stall()) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        holder = cancellable()
        done = threading.Event()
        thread = threading.Thread(target=cancelled_after, args=(lambda: conn.conn.get(server.url), holder, done.wait))
        thread.start()
        server.wait_for_requests(1)
        assert cancelled_after(lambda: conn.conn.get(server.url), cancellable()) < 10
        assert thread.is_alive()
        done.set()
        thread.join(60)
        (pool,) = conn._route._adapter._pools.values()
        assert pool.pool.qsize() == 1  # it gave no place back, for it had none


@threads_only("the canceller of blocking sockets")
def test_an_attempt_is_cut_while_it_sends() -> None:
    with FaultServer(default=stall("head")) as server, Connection(server.url, ANONYMOUS) as conn:
        body = b"x" * 50_000_000
        assert (
            cancelled_after(lambda: conn.conn.put(server.url, data=body), cancellable(), lambda: time.sleep(0.3)) < 10
        )


@threads_only("the canceller of blocking sockets")
def test_a_socket_that_went_back_to_its_pool_is_out_of_reach() -> None:
    """The next request on it is another call's."""
    with FaultServer() as server, Connection(server.url, ANONYMOUS) as conn:
        deadline = cancellable()
        with attempt_deadline(deadline):
            conn.conn.get(server.url)
        deadline.cancel()
        deadline.end()
        assert conn.get("/").content == b"ok"
        assert server.accepted == 1


@threads_only("the canceller of blocking sockets")
def test_a_socket_that_is_cut_at_its_last_byte_is_not_used_again() -> None:
    with FaultServer() as server, Connection(server.url, ANONYMOUS) as conn:
        deadline = cancellable()
        with attempt_deadline(deadline):
            response = conn.conn.get(server.url, stream=True)
            deadline.canceller.cancel()  # type: ignore[union-attr]
            assert response.content in (b"ok", b"")
        deadline.end()
        assert conn.get("/").content == b"ok"
        assert server.accepted == 2
        server.wait_for_open(1)


def test_what_is_held_is_not_the_descriptor_itself() -> None:
    """Its number may be another thread's by the time of the cut."""
    one, other = socket.socketpair()
    canceller = Canceller()
    owner = object()
    canceller.attach(owner, one)
    one.close()
    again, far = socket.socketpair()  # one of them has the number now
    canceller.cancel()
    again.sendall(b"x")
    assert far.recv(1) == b"x"
    assert other.recv(1) == b""
    assert canceller.detach(owner)
    for sock in (other, again, far):
        sock.close()


def test_what_another_one_took_is_not_let_go_of() -> None:
    one, other = socket.socketpair()
    canceller = Canceller()
    canceller.attach(owner := object(), one)
    assert not canceller.detach(object())
    canceller.cancel()
    assert other.recv(1) == b""
    assert canceller.detach(owner)
    one.close()
    other.close()


@threads_only("the canceller of blocking sockets")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_signal_handler_that_raises_while_a_socket_is_taken_hold_of_leaves_no_descriptor_open() -> None:
    """A bare number that nothing refers to yet is lost, and its descriptor open for good."""
    files = ("/socket.py", "sleepwalker/transport/blocking/canceller.py")
    one, other = socket.socketpair()

    def hold() -> None:
        canceller = Canceller()
        canceller.attach(canceller, one)
        canceller.detach()

    with one, other:
        forget()  # what an earlier test left open is closed before any is counted
        before, at = open_descriptors(), 0
        while (where := strike(hold, files=files, at=at)) is not None:
            forget()
            assert open_descriptors() <= before, where
            at += 1
    assert at > 5


# -- the timer ------------------------------------------------------------------------------------


def test_the_timer_runs_things_in_the_order_in_which_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = timer.Timer()
    ran: list[int] = []
    done, now = threading.Event(), time.monotonic()
    with monkeypatch.context() as still:
        still.setattr(timer, "_now", lambda: now)  # until all of them are there, however long this thread is held up
        entries = [mine.after(0.03 * number, lambda number=number: ran.append(number)) for number in (3, 1, 2)]
        mine.after(0.15, done.set)
        entries[2].cancel()
    assert done.wait(30)
    assert ran == [1, 3]


def test_the_timer_holds_nothing_that_was_cancelled_for_long() -> None:
    mine = timer.Timer()
    for _ in range(10_000):
        mine.after(60, lambda: None).cancel()
    assert len(mine._heap) <= 600
