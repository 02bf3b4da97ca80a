"""A signal handler that raises at any instruction of the engine's or the connection's: nothing is lost, no thread
hangs.

Each test makes one call again and again, struck each time one place later, until it comes to its end unharmed. After
each strike all that is counted is as if the call had never been, and the next call is answered.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import FaultServer, Step, elapsed, reply

import sleepwalker
from sleepwalker import ANONYMOUS, CircuitOpenError, Connection, HTTPError, Policy
from sleepwalker.engine import Host
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.transport.blocking.deadline import current_deadline
from tests.interrupts import Struck, strike
from tests.ranges import some

ROOT = Path(sleepwalker.__file__).parent
FILES = tuple(
    f"sleepwalker/{path.relative_to(ROOT)}"
    for pattern in (
        "engine/**/*.py",
        "drivers/**/*.py",
        "connection/*.py",
        "clock.py",
        "latch.py",
        "attempt.py",
    )
    for path in ROOT.glob(pattern)
)
POLICY = Policy(
    timeout={"connect": 5, "read": 5, "attempt": 5, "total": 10},
    retry={"attempts": 3, "wait_initial": 0.0005, "wait_max": 0.001, "budget": None},
    breaker=False,
    pool={"size": 1, "block": True},
)
#: Where signals are delivered changed between 3.11 and 3.12: CI strikes at every second place with the one, and at
#: every seventh with the other.
_STEP = some(7, 2)
#: A retry that no test waits for.
WAITING = {"attempts": 2, "wait_initial": 30, "wait_max": 30, "jitter": "none"}


def assert_whole(host: Host) -> None:
    """Nothing is counted any more of calls that are over."""
    gauges, counters = host.gauges(), host.counters
    assert (gauges.in_flight, gauges.queued, host.admission.bulkhead._over_limit) == (0, 0, 0)
    assert host.admission.bulkhead.queue == ()
    assert repr(host.lock.mutex).startswith("<unlocked ")
    assert counters.calls == counters.answered + counters.failed + counters.rejected + counters.cancelled
    if host.admission.rate_limit is not None:
        assert host.admission.rate_limit.waiting == 0
    if host.breaker is not None:
        assert (host.breaker.circuit.places.out, host.breaker.queue.waiters) == ((), ())
        assert host.breaker.circuit.slow is None or not host.breaker.circuit.slow._under_way
    assert current_deadline() is None


def assert_answered(conn: Connection) -> None:
    """The next call, in another thread, is answered within its time."""
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(conn.get, "/").result(20).status_code == 200


def strike_everywhere(
    act: Callable[[], Any],
    look: Callable[[], None],
    *,
    error: Callable[[], BaseException] = Struck,
    before: Callable[[], None] = lambda: None,
    step: int = 1,
    files: tuple[str, ...] = FILES,
) -> int:
    """How many places there are at which `act` can be struck. `look` is called after each; `before` before each.

    In CI it is one in two, at the desk one in seven, or in so many as `step` says if that is more.
    """
    step = max(step, _STEP)
    at = zlib.crc32(act.__qualname__.encode()) % step  # not always the even ones
    while True:
        before()
        where = strike(act, files=files, at=at, error=error)
        try:
            look()
        except BaseException as fault:
            fault.add_note(f"struck at {where} ({at})")
            raise
        if where is None:
            return at
        at += step


@contextlib.contextmanager
def connected(policy: Policy = POLICY, **routes: Step) -> Iterator[Connection]:
    """A connection to a server that answers 200, and for the paths named what is said."""
    routes = {"/" + path: answer for path, answer in routes.items()}
    with FaultServer(routes=routes) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        yield conn


class _LimitError(Exception):
    """As Celery's soft time limit is: an exception like any other."""


@pytest.mark.parametrize("error", [Struck, _LimitError])
def test_an_ordinary_call(error: type[BaseException]) -> None:
    with connected() as conn:

        def look() -> None:
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(lambda: conn.get("/"), look, error=error) > 100


def test_a_call_that_is_sent_again_after_a_503() -> None:
    with connected(busy=reply(503)) as conn:

        def act() -> None:
            with contextlib.suppress(HTTPError):
                conn.get("/busy")

        def look() -> None:
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(act, look) > 200


def test_a_call_that_sends_a_cookie_and_is_given_one() -> None:
    """http.cookiejar takes its lock before its `try`: struck between the two, it would keep it for good."""
    files = ("http/cookiejar.py", "requests/cookies.py", "sleepwalker/transport/cookies.py")
    with connected(login=reply(200, headers={"Set-Cookie": "sid=1; Max-Age=60"})) as conn:
        conn.get("/login")

        def look() -> None:
            lock: Any = conn.conn.cookies._cookies_lock  # type: ignore[attr-defined]
            assert repr(getattr(lock, "mutex", lock)).startswith("<unlocked ")
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(lambda: conn.get("/login"), look, files=files) > 100


def test_a_call_that_others_were_told_to_keep_back() -> None:
    """It waits before it is in, and so holds nothing but its place among those that wait."""
    busy = reply(429, headers={"Retry-After": "0.002"})
    with connected(POLICY.replace(retry={"after_binds": "host"}), busy=busy) as conn:

        def act() -> None:
            with contextlib.suppress(HTTPError):
                conn.get("/busy", policy=once)
            conn.get("/")

        def look() -> None:
            assert_whole(conn._record)
            assert_answered(conn)

        once = conn.policy.replace(retry={"attempts": 1})
        conn.get("/", policy=once)
        assert strike_everywhere(act, look, step=3) > 200


def test_a_call_that_waits_in_the_queue_and_gets_a_place() -> None:
    with connected(POLICY.replace(bulkhead={"max_concurrent": 1, "max_wait": 5})) as conn, ThreadPoolExecutor(1) as two:
        host = conn._record
        over = threading.Event()

        def leave(held: Holdings) -> None:
            while not host.admission.bulkhead.queue and not over.wait(0.0005):
                pass
            host.admission.leave(held, "answered", 0.0, 0.0, sent=True)

        def act() -> None:
            conn.get("/")

        def before() -> None:
            nonlocal waits
            held = Holdings()
            host.admission.enter(held, bulkhead=True)
            over.clear()
            waits = two.submit(leave, held)

        def look() -> None:
            over.set()
            waits.result(10)
            assert_whole(host)
            assert_answered(conn)

        waits: Future[None]
        assert strike_everywhere(act, look, before=before) > 100


def test_a_call_that_gives_its_place_to_one_who_waits() -> None:
    """Struck in that, it must neither lose the place nor leave the other waiting for it."""
    with connected(POLICY.replace(bulkhead={"max_concurrent": 1, "max_wait": 5})) as conn, ThreadPoolExecutor(1) as two:
        host = conn._record

        def act() -> None:
            nonlocal waits
            held = Holdings()
            try:
                host.admission.enter(held, bulkhead=True)
                waits = two.submit(lambda: conn.get("/"))
                while not host.admission.bulkhead.queue:
                    time.sleep(0.0005)
            finally:
                try:
                    host.admission.leave(held, "answered", 0.0, 0.0, sent=True)
                except BaseException:
                    host.admission.leave(held, "answered", 0.0, 0.0, sent=True)
                    raise

        def look() -> None:
            with elapsed() as took:
                if waits is not None:
                    assert waits.result(20).status_code == 200
            took.assert_at_most(5)
            assert_whole(host)

        waits: Future[Any] | None = None
        assert strike_everywhere(act, look) > 5


def test_a_call_that_waits_for_a_token() -> None:
    with connected(POLICY.replace(rate_limit={"rate": 500, "burst": 1, "max_wait": 5})) as conn:

        def look() -> None:
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(lambda: conn.get("/"), look) > 100
        time.sleep(0.01)
        assert conn._record.admission.rate_limit is not None
        assert conn._record.admission.take_token(Holdings(), time.monotonic(), 1.0).decision == "go"


@pytest.mark.parametrize("slow", [False, True])
def test_a_probe_of_a_half_open_circuit(slow: bool) -> None:
    breaker = {
        "consecutive": 1,
        "consecutive_for": 0,
        "open_for": 0.002,
        "open_max": 0.004,
        "close_after": 2,
        "ramp": 0,
    }
    if slow:
        breaker |= {"slow_ratio": 0.9, "slow_call": 5.0}
    with connected(POLICY.replace(breaker=breaker), broken=reply(500)) as conn:

        def before() -> None:
            while conn.health.breaker == "half-open":
                conn.get("/")
            with pytest.raises(HTTPError):
                conn.get("/broken")
            while conn.health.breaker == "open":
                time.sleep(0.0005)

        def look() -> None:
            assert_whole(conn._record)
            while conn.health.breaker == "open":
                time.sleep(0.0005)
            for _ in range(2):
                assert_answered(conn)
            assert conn.health.breaker == "closed"
            assert_whole(conn._record)

        assert strike_everywhere(lambda: conn.get("/"), look, before=before) > 150


#: The circuit opens at each failure, for a moment.
BRIEF = {"consecutive": 1, "consecutive_for": 0, "open_for": 0.002, "open_max": 0.004, "close_after": 1}


def test_a_call_that_waits_for_its_circuit() -> None:
    with connected(POLICY.replace(breaker={**BRIEF, "ramp": 0, "max_wait": 5}), broken=reply(500)) as conn:

        def before() -> None:
            with pytest.raises(HTTPError):
                conn.get("/broken")

        def look() -> None:
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(lambda: conn.get("/"), look, before=before) > 150


def test_a_call_that_lets_one_through_who_waits_for_the_circuit() -> None:
    """Struck in that, it must not leave the other waiting for it."""
    release = threading.Event()
    policy = POLICY.replace(breaker={**BRIEF, "ramp": 0, "max_wait": 5}, pool={"size": 2})
    held = Step(lambda exchange: reply(200) if release.wait(5) else reply(500))
    with connected(policy, broken=reply(500), held=held) as conn, ThreadPoolExecutor(1) as two:
        breaker = conn._record.breaker
        assert breaker is not None

        def wait_behind() -> int:
            """The call of the other thread: it comes while the probe is under way, and is let through after it."""
            while not breaker.circuit.places.out and not over.is_set():
                time.sleep(0.0002)
            threading.Timer(0.005, release.set).start()
            return conn.get("/").status_code

        def before() -> None:
            nonlocal other
            release.clear()
            over.clear()
            with pytest.raises(HTTPError):
                conn.get("/broken")
            while conn.health.breaker == "open":
                time.sleep(0.0005)
            other = two.submit(wait_behind)

        def look() -> None:
            over.set()
            with elapsed() as took:
                assert other.result(20) == 200
            took.assert_at_most(5)
            release.set()
            assert_whole(conn._record)

        over = threading.Event()
        other: Future[int]
        assert strike_everywhere(lambda: conn.get("/held"), look, before=before) > 100


def test_a_call_in_the_slow_start_after_its_circuit_closed() -> None:
    with connected(POLICY.replace(breaker={**BRIEF, "ramp": 60}), broken=reply(500)) as conn:

        def before() -> None:
            with pytest.raises(HTTPError):
                conn.get("/broken")
            while conn.health.breaker == "open":
                time.sleep(0.0005)
            conn.get("/")
            assert conn._record.breaker is not None
            assert conn._record.breaker.circuit.start is not None

        def look() -> None:
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(lambda: conn.get("/"), look, before=before) > 100


@pytest.mark.parametrize("from_half_open", [False, True])
def test_a_call_whose_failure_opens_the_circuit(from_half_open: bool) -> None:
    """Whether it opened or not: what the circuit says of itself holds together, and it closes again."""
    breaker = {
        "consecutive": 1,
        "consecutive_for": 0,
        "open_for": 0.002,
        "open_max": 0.004,
        "close_after": 1,
        "ramp": 0,
    }
    with connected(POLICY.replace(breaker=breaker), broken=reply(500)) as conn:

        def wait() -> None:
            while conn.health.breaker == "open":
                time.sleep(0.0005)

        def fail() -> None:
            with contextlib.suppress(HTTPError, CircuitOpenError):
                conn.get("/broken")

        def before() -> None:
            if from_half_open:
                fail()
                wait()

        def look() -> None:
            host = conn._record
            assert_whole(host)
            assert host.breaker is not None
            assert (host.breaker.circuit.closed_permit is None) or host.breaker.circuit.state(
                time.monotonic()
            ) == "closed"
            fail()
            assert conn.health.breaker != "closed"
            assert host.verdict.suspect
            wait()
            assert_answered(conn)
            assert conn.health.breaker == "closed"
            assert not host.verdict.suspect
            assert_whole(host)

        assert strike_everywhere(fail, look, before=before) > 150


def hedging() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sleepwalker hedge"]


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="3.12.1 crashes as a traced generator goes on elsewhere")
def test_a_call_that_is_hedged() -> None:
    policy = POLICY.replace(hedge={"delay": 0.002, "max_extra": 1}, pool={"size": 2, "block": True})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")

        def before() -> None:
            server.script(reply(delay=0.03), reply(200, b"copy"))

        def look() -> None:
            server.script_clear()
            with elapsed() as took:
                while hedging():  # which cannot be joined before they have begun
                    time.sleep(0.0005)
            took.assert_at_most(10)
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(lambda: conn.get("/"), look, before=before) > 100


def test_a_stream_that_is_read_to_its_end() -> None:
    with connected(stream=reply(200, b"x" * 5000, chunked=True)) as conn:

        def act() -> None:
            # What `get` returns as it is: after a function of Python's CPython does not look for signals.
            with conn._requested("GET", "/stream", {"stream": True}) as response:
                assert sum(map(len, response.iter_content(1000))) == 5000

        def look() -> None:
            assert_whole(conn._record)
            assert_answered(conn)

        assert strike_everywhere(act, look) > 80


def test_a_call_whose_connection_is_closed_while_it_waits() -> None:
    with FaultServer(routes={"/busy": reply(503)}) as server, ThreadPoolExecutor(1) as two:
        policy = POLICY.replace(retry=WAITING, timeout={"total": 100})
        over = threading.Event()

        def before() -> None:
            nonlocal conn, closes
            conn = Connection(server.url, ANONYMOUS, policy=policy)
            over.clear()
            closes = two.submit(close, conn)

        def close(conn: Connection) -> None:
            while not conn._calls.waits._closing._waiters and not over.wait(0.0005):
                pass
            conn.close()

        def act() -> None:
            with contextlib.suppress(HTTPError):
                conn.get("/busy")

        def look() -> None:
            over.set()
            closes.result(10)
            assert_whole(conn._record)
            assert not conn._calls.waits._closing._waiters

        conn: Connection
        closes: Future[None]
        assert strike_everywhere(act, look, before=before, step=3) > 200


def test_closing_while_another_thread_waits() -> None:
    """However far it came, the other thread does not wait for its turn of half a minute."""
    policy = POLICY.replace(
        timeout={"total": 100},
        retry=WAITING,
        bulkhead={"max_concurrent": 1, "max_wait": 60},
    )
    with FaultServer(routes={"/busy": reply(503)}) as server, ThreadPoolExecutor(2) as others:

        def before() -> None:
            nonlocal conn, calls
            conn = Connection(server.url, ANONYMOUS, policy=policy)
            calls = [others.submit(conn.get, "/busy") for _ in range(2)]
            while not (conn._calls.waits._closing._waiters and conn._calls.waits._queueing):
                time.sleep(0.0005)

        def look() -> None:
            if not conn.closed:
                conn.close()
            with elapsed() as took:
                assert [type(call.exception(20)) for call in calls] != []
            took.assert_at_most(5)
            conn.close()  # its sockets, where it was struck while it closed them
            assert_whole(conn._record)

        conn: Connection
        calls: list[Future[Any]]
        assert strike_everywhere(lambda: conn.close(), look, before=before) > 5  # noqa: PLW0108 - another one each time


@pytest.mark.parametrize("handler", ["health", "close"])
def test_a_handler_that_asks_for_the_health_or_closes(handler: str) -> None:
    """It runs in the thread that it interrupts, and so perhaps in the middle of what it asks about."""
    patient = POLICY.replace(breaker={"consecutive": 10**6, "failure_ratio": 1.0, "min_calls": 10**6})
    with FaultServer(routes={"/busy": reply(503)}) as server:

        def before() -> None:
            nonlocal conn
            if conn is None or conn.closed:
                conn = Connection(server.url, ANONYMOUS, policy=patient)

        def handle() -> BaseException:
            assert conn is not None
            _ = conn.health if handler == "health" else conn.close()
            return Struck()

        def act() -> None:
            assert conn is not None
            with contextlib.suppress(HTTPError):
                conn.get("/busy")

        def look() -> None:
            assert conn is not None
            assert_whole(conn._record)

        conn: Connection | None = None
        assert strike_everywhere(act, look, before=before, error=handle, step=7) > 200
        assert conn is not None
        conn.close()
