"""What a manager makes of a host that dies under load: who reaches it, who asks the hooks, and when it is back."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from servers import FaultServer, TooLate, elapsed, hang_up, reply, timing_test

from sleepwalker import (
    ANONYMOUS,
    ConnectError,
    Connection,
    ConnectionManager,
    Policy,
    SleepwalkerException,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection.hook import ConnectionHook
from sleepwalker.events import ConnectionEvicted, Event, HostBroken, HostRecovered

#: Once: it takes ten seconds, and hardly depends on the interpreter.
pytestmark = [pytest.mark.both_drivers, pytest.mark.once]

THREADS = 16
#: How long the host is down, in seconds: several times as long as its circuit stays open.
OUTAGE = 1.5
OPEN_FOR = 0.3
PROBE_INTERVAL = 1.0
BUDGET = {"ratio": 0.2, "min_per_second": 1, "window": 2}

#: Quick to give up on a host and to try it again, so that a test sees several rounds of that.
QUICK = Policy(
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 8},
    retry={"attempts": 3, "wait_initial": 0.01, "wait_max": 0.02, "budget": BUDGET},
    breaker={"consecutive_for": 0, "open_for": OPEN_FOR, "open_max": OPEN_FOR, "ramp": 0},
    health={"rehook_initial": 0.2, "rehook_max": 0.4},
)
#: A circuit that would stay open for longer than the test: only a probe can close it.
PROBED = QUICK.replace(
    breaker={"open_for": 60, "open_max": 60, "ramp": 0},
    health={"probe": "/health", "probe_interval": PROBE_INTERVAL},
)
#: No second round of the hooks within a test.
PATIENT = QUICK.replace(health={"rehook_initial": 100, "rehook_max": 100}, retry=False)


class Hook(ConnectionHook):
    """Makes a connection to the host it is asked for; `connects` decides whether it may."""

    def __init__(self, policy: Policy = QUICK, **kwargs: Any) -> None:
        self.calls = 0
        self.policy = policy
        self.kwargs = kwargs
        self.refusal: Exception | None = None

    def connect(self, host: str, auth: Any) -> Connection:
        self.calls += 1
        if self.refusal is not None:
            raise self.refusal
        return Connection(host, auth or ANONYMOUS, policy=self.policy, **self.kwargs)


class Told(list[tuple[float, Event]]):
    """An observer that keeps what it is told, and when."""

    def __call__(self, event: Event, level: object = None, /) -> None:
        self.append((time.monotonic(), event))

    def times(self, kind: type[Event]) -> list[float]:
        return [moment for moment, event in self if isinstance(event, kind)]


@dataclass
class Result:
    """One `find` and one request."""

    began: float
    ended: float
    error: Exception | None


@dataclass
class Load:
    """Threads that `find` and ask, again and again."""

    manager: ConnectionManager
    url: str
    results: list[Result] = field(default_factory=list)
    unexpected: list[Exception] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def _work(self) -> None:
        # Together some hundred calls a second: with more of them a slow machine would measure its own interpreter lock.
        while not self._stop.wait(0.02):
            began = time.monotonic()
            error: Exception | None = None
            try:
                answer = self.manager.find(self.url).get("/")
                assert answer.content == b"ok"
            except SleepwalkerException as raised:
                error = raised
            except Exception as raised:
                self.unexpected.append(raised)
                return
            self.results.append(Result(began, time.monotonic(), error))

    def stop(self) -> None:
        self._stop.set()

    def between(self, start: float, end: float = math.inf) -> list[Result]:
        """What began and ended in this time."""
        return [done for done in list(self.results) if start < done.began and done.ended < end]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of lines about rejected calls are of no use."""
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


@contextlib.contextmanager
def load(manager: ConnectionManager, url: str) -> Iterator[Load]:
    work = Load(manager, url)
    threads = [threading.Thread(target=work._work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield work
    finally:
        work.stop()
        for thread in threads:
            thread.join()
    assert work.unexpected == []


@dataclass
class Outage:
    """When a host was down, and how often it was tried meanwhile."""

    work: Load
    dead: float
    back: float
    recovered: float
    attempts: int

    def check(self) -> None:
        """Every request before and after was answered, and every one in between failed fast."""
        before = self.work.between(0, self.dead - 0.2)
        during = self.work.between(self.dead, self.back)
        after = self.work.between(self.recovered)
        if min(len(before), len(during), len(after)) <= 3 * THREADS:
            raise TooLate("no load to speak of")
        assert [done.error for done in before if done.error] == []
        assert [done for done in during if done.error is None] == []
        assert [done.error for done in after if done.error] == []
        slowest = max(done.ended - done.began for done in self.work.results)
        if slowest > 1.0:
            raise TooLate(f"a request took {slowest:.3f} s")


def _outage(server: FaultServer, manager: ConnectionManager, told: Told, *, stop: Any, start: Any) -> Outage:
    """Load before, during and after the time between `stop` and `start`."""
    with load(manager, server.url) as work:
        time.sleep(0.5)
        stop()
        dead, attempts = time.monotonic(), manager.health(server.url).attempts
        time.sleep(OUTAGE)
        attempts = manager.health(server.url).attempts - attempts
        assert manager.health(server.url).state in {"broken", "degraded"}
        back = time.monotonic()
        start()
        while not (recoveries := [moment for moment in told.times(HostRecovered) if moment > back]):
            assert time.monotonic() < back + 30, "it never recovered"
            time.sleep(0.005)
        time.sleep(0.4)
    return Outage(work, dead, back, recoveries[0], attempts)


def _most_attempts(outage: Outage, breaker: Any = QUICK.breaker) -> int:
    """Those in flight when the circuit opened, those that opened it, and one each time that it half-opened."""
    return int(THREADS + breaker.consecutive + (outage.back - outage.dead) // (breaker.open_for * 0.9) + 1)


# -- a host that dies under load -----------------------------------------------------------------


@timing_test
def test_a_host_that_died_under_load_is_back_by_its_traffic_alone() -> None:
    told = Told()
    hook = Hook(observer=told)
    with FaultServer() as server, ConnectionManager(policy=QUICK, observer=told) as manager:
        manager.add_conn_hook(hook)
        outage = _outage(server, manager, told, stop=server.stop, start=server.start)
    outage.check()
    assert outage.attempts <= _most_attempts(outage)
    assert len(told.times(HostBroken)) == len(told.times(HostRecovered)) == 1, "one outage is one piece of news"
    assert hook.calls <= 2 + (outage.recovered - outage.dead + 1) / QUICK.health.rehook_initial
    if outage.recovered - outage.back > OPEN_FOR * 1.1 + 0.3:
        raise TooLate(f"back after {outage.recovered - outage.back:.3f} s")


@timing_test
def test_a_host_that_died_under_load_is_back_within_one_probe_interval() -> None:
    """The circuit would stay open for a minute."""
    told = Told()
    hook = Hook(PROBED, observer=told)
    with FaultServer() as server, ConnectionManager(policy=PROBED, observer=told) as manager:
        manager.add_conn_hook(hook)
        outage = _outage(server, manager, told, stop=server.stop, start=server.start)
        probes = [request for request in server.requests if request.path == "/health"]
    outage.check()
    assert outage.attempts <= _most_attempts(outage, PROBED.breaker)
    # The first half-opens the circuit, and a call that comes just then may be the second success, which closes it.
    assert 0 < len(probes) <= PROBED.breaker.close_after, "a healthy host is not probed"
    assert len(told.times(HostBroken)) == len(told.times(HostRecovered)) == 1
    if outage.recovered - outage.back > PROBE_INTERVAL + 0.6:
        raise TooLate(f"back after {outage.recovered - outage.back:.3f} s")


@timing_test
def test_a_host_that_answers_503_under_load_is_given_a_rest() -> None:
    told = Told()
    with FaultServer() as server, ConnectionManager(policy=QUICK, observer=told) as manager:
        manager.add_conn_hook(Hook(observer=told))

        def fail() -> None:
            server.default = reply(503)

        def recover() -> None:
            server.default = None

        outage = _outage(server, manager, told, stop=fail, start=recover)
        reached = [request for request in server.requests if outage.dead < request.time < outage.back]
    # Those on their way when it began to fail were answered, for the server chose its answer before.
    outage.dead += 0.1
    outage.check()
    assert len(reached) <= _most_attempts(outage) + THREADS
    if outage.recovered - outage.back > OPEN_FOR * 1.1 + 0.3:
        raise TooLate(f"back after {outage.recovered - outage.back:.3f} s")


def test_without_a_breaker_a_failing_host_gets_the_extra_requests_of_the_budget_and_no_more() -> None:
    """One budget for all sixteen threads, and for both connections to the host."""
    policy = QUICK.replace(breaker=False)
    with FaultServer(default=hang_up()) as server, ConnectionManager(policy=policy) as manager:
        manager.add_conn_hook(Hook(policy))
        began = time.monotonic()
        calls = 0
        lock = threading.Lock()

        def work(auth: Any) -> None:
            nonlocal calls
            while time.monotonic() < began + 1:
                with lock:
                    calls += 1
                with pytest.raises(SleepwalkerException):
                    manager.find(server.url, auth).get("/")

        threads = [threading.Thread(target=work, args=(auth,)) for auth in (None, ("user", "password")) * 8]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        extra = len(server.requests) - calls
    assert calls > 50
    assert 0 < extra <= BUDGET["ratio"] * calls + BUDGET["min_per_second"] * BUDGET["window"] * 2 + 1


def test_an_answer_that_was_under_way_when_the_host_died_is_no_recovery() -> None:
    """Its socket was there before; no other client gets one any more."""
    died, answer = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        link, _ = listener.accept()
        with link:
            link.recv(65536)
            listener.close()
            died.set()
            answer.wait(10)
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    told = Told()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with ConnectionManager(policy=PATIENT, observer=told) as manager, ThreadPoolExecutor(2) as pool:
        manager.add_conn_hook(Hook(PATIENT, observer=told))
        served = pool.submit(serve)
        slow = pool.submit(manager.find(url).get, "/")
        assert died.wait(10)
        for _ in range(3):
            with pytest.raises(ConnectError):
                manager.find(url).get("/")
        assert manager.health(url).state == "broken"
        answer.set()
        assert slow.result(10).content == b"ok"
        served.result(10)
        assert manager.health(url).state == "broken"
        assert told.times(HostRecovered) == []


# -- who asks the hooks while a host is down -----------------------------------------------------


def _break(manager: ConnectionManager, server: FaultServer) -> None:
    for _ in range(3):
        assert manager.find(server.url).get("/").content == b"ok"
    server.stop()
    for _ in range(3):
        with pytest.raises(OurConnectionError):
            manager.find(server.url).get("/")
    assert manager.health(server.url).state == "broken"


def _find_2000_times(manager: ConnectionManager, url: str) -> list[Any]:
    """What eight threads got, each of which looks 250 times."""
    found: list[Any] = []

    def work() -> None:
        for _ in range(250):
            try:
                found.append(manager.find(url))
            except OurConnectionError as error:
                found.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2000
    return found


def test_2000_finds_during_an_outage_ask_the_hook_once(server: FaultServer) -> None:
    hook = Hook(PATIENT)
    with ConnectionManager(policy=PATIENT) as manager:
        manager.add_conn_hook(hook)
        _break(manager, server)
        assert hook.calls == 1
        found = _find_2000_times(manager, server.url)
        assert hook.calls == 2
        assert len({id(conn) for conn in found}) == 1, "the one that the hook made meanwhile"
        assert not found[0].closed


def test_2000_finds_ask_a_hook_that_cannot_log_in_once_although_the_host_was_well_before(server: FaultServer) -> None:
    """The answers of the time before the outage once counted as the host being well again: 2,000 calls."""
    hook = Hook(PATIENT)
    with ConnectionManager(policy=PATIENT) as manager:
        manager.add_conn_hook(hook)
        _break(manager, server)
        hook.refusal = OurConnectionError("the login failed")
        found = _find_2000_times(manager, server.url)
        assert hook.calls == 2
        assert {type(error) for error in found} == {OurConnectionError}
        assert all("the login failed" in str(error) and server.url in str(error) for error in found)
        assert all(90 < error.retry_after <= 100 for error in found)


def test_2000_finds_ask_a_hook_that_connects_itself_once_for_a_host_never_seen() -> None:
    with FaultServer() as server, ConnectionManager(policy=PATIENT) as manager:
        server.stop()
        hook = LoginHook()
        manager.add_conn_hook(hook)
        found = _find_2000_times(manager, server.url)
        assert hook.calls == 1
        assert {type(error) for error in found} == {OurConnectionError}


def test_hook_rounds_of_an_outage_are_a_growing_back_off_apart() -> None:
    policy = PATIENT.replace(health={"rehook_initial": 0.1, "rehook_max": 0.4})
    with FaultServer() as server, ConnectionManager(policy=policy) as manager:
        rounds: list[float] = []

        class Counting(Hook):
            def connect(self, host: str, auth: Any) -> Connection:
                rounds.append(time.monotonic())
                return super().connect(host, auth)

        hook = Counting(policy)
        manager.add_conn_hook(hook)
        _break(manager, server)
        hook.refusal = OurConnectionError("down")
        del rounds[:]
        with elapsed() as took:
            while took.seconds < 1.6 or (len(rounds) < 4 and took.seconds < 10):
                with contextlib.suppress(OurConnectionError):
                    manager.find(server.url)
    waits = [late - early for early, late in pairwise(rounds)]
    expected = [0.1, 0.2, 0.4, 0.4, 0.4]
    assert 3 <= len(waits) <= len(expected) + (took.seconds - 1.6) / 0.4
    assert all(wait >= least - 0.01 for wait, least in zip(waits, expected, strict=False)), waits


class LoginHook(ConnectionHook):
    """Asks the host for a token first, as hooks do that log in."""

    def __init__(self, policy: Policy = PATIENT) -> None:
        self.calls = 0
        self.policy = policy

    def connect(self, host: str, auth: Any) -> Connection:
        self.calls += 1
        conn = Connection(host, ANONYMOUS, policy=self.policy)
        try:
            conn.post("/login")
        except BaseException:
            conn.close()
            raise
        return conn


@timing_test
def test_a_probe_that_finds_the_host_well_ends_the_back_off_of_a_hook_that_could_not_log_in() -> None:
    policy = PATIENT.replace(
        breaker={"open_for": 60, "open_max": 60, "ramp": 0},
        health={"rehook_initial": 100, "rehook_max": 100, "probe": "/health", "probe_interval": PROBE_INTERVAL},
    )
    hook = LoginHook(policy)
    with FaultServer() as server, ConnectionManager(policy=policy) as manager:
        manager.add_conn_hook(hook)
        _break(manager, server)
        for _ in range(100):
            with pytest.raises(OurConnectionError, match=r"can be called again in \d+\.\d s|refused"):
                manager.find(server.url)
        assert hook.calls == 2
        server.start()
        with elapsed() as waited:
            while True:
                with contextlib.suppress(OurConnectionError):
                    conn = manager.find(server.url)
                    break
                assert waited.seconds < 5, "the back-off of 100 s goes on"
                time.sleep(0.01)
        assert conn.get("/").content == b"ok"
        assert hook.calls == 3
        waited.assert_at_most(PROBE_INTERVAL + 0.6)


def test_a_connection_that_broke_is_evicted_once(server: FaultServer) -> None:
    """Eight threads see it at the same time."""
    told = Told()
    with ConnectionManager(policy=PATIENT, observer=told) as manager:
        manager.add_conn_hook(Hook(PATIENT))
        _break(manager, server)
        _find_2000_times(manager, server.url)
        evicted = [event for _, event in told if isinstance(event, ConnectionEvicted)]
        assert [event.reason for event in evicted] == ["connect"]
