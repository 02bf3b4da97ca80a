"""A manager on real sockets: replicas, hooks that hang, logins, eviction, retirement, isolation and forks."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
import requests
from servers import Exchange, FaultServer, Step, elapsed, in_time, reply, timing_test

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    ConnectionManager,
    HostIsolatedError,
    HTTPServiceUnavailable,
    HTTPUnauthorized,
    Policy,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection.hook import ConnectionHook
from sleepwalker.events import ConnectionEvicted, ConnectionRetired, Event, HostRestored
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

QUICK = Policy(
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 8},
    retry=False,
    breaker={"consecutive_for": 0, "open_for": 0.2, "open_max": 0.2, "ramp": 0},
    health={"rehook_initial": 0.05, "rehook_max": 0.1},
)
#: No second round of the hooks and no half-open circuit within a test, though the machine may stand still for a second.
PATIENT = QUICK.replace(
    breaker={"open_for": 60, "open_max": 60, "ramp": 0}, health={"rehook_initial": 100, "rehook_max": 100}
)
A, B = "http://127.0.0.2", "http://127.0.0.3"


class Told(list[Event]):
    """An observer that keeps what it is told."""

    def __call__(self, event: Event, level: object = None, /) -> None:
        self.append(event)

    def reasons(self, kind: type[Event]) -> list[str]:
        return [event.reason for event in self if isinstance(event, kind)]  # type: ignore[attr-defined]


class Hook(ConnectionHook):
    """Connects to the host it is asked for; counts the calls."""

    def __init__(self, policy: Policy = QUICK, **kwargs: Any) -> None:
        self.calls = 0
        self.policy = policy
        self.kwargs = kwargs

    def connect(self, host: str, auth: Any) -> Any:
        self.calls += 1
        return Connection(host, auth or ANONYMOUS, policy=self.policy, **self.kwargs)


class Replicas(ConnectionHook):
    """Connects to the first server that accepts connections."""

    def __init__(self, *urls: str, policy: Policy = QUICK) -> None:
        self.urls = urls
        self.policy = policy
        self.calls = 0

    def connect(self, host: str, auth: Any) -> Connection:
        self.calls += 1
        for url in self.urls:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1).close()
                return Connection(url, ANONYMOUS, policy=self.policy)
        raise OurConnectionError("all replicas are down")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


@contextlib.contextmanager
def two_replicas() -> Iterator[tuple[FaultServer, FaultServer]]:
    with FaultServer(default=reply(200, b"A")) as a, FaultServer(default=reply(200, b"B")) as b:
        yield a, b


def manager_of(hook: ConnectionHook, policy: Policy = QUICK, **kwargs: Any) -> ConnectionManager:
    manager = ConnectionManager(policy=policy, **kwargs)
    manager.add_conn_hook(hook)
    return manager


def wait_for(fact: Callable[[], bool], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.002)


def ask_until(manager: ConnectionManager, host: str, wanted: bytes, within: float = 20.0) -> list[bytes | str]:
    """The answers, or the names of errors, until one is `wanted`; AssertionError where none is."""
    seen: list[bytes | str] = []
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            seen.append(manager.find(host).get("/").content)
        except OurConnectionError as error:
            seen.append(type(error).__name__)
        if seen[-1] == wanted:
            return seen
        time.sleep(0.01)
    raise AssertionError(f"no {wanted!r} in {seen}")


def break_it(manager: ConnectionManager, host: str, times: int = 3) -> None:
    for _ in range(times):
        with pytest.raises(OurConnectionError):
            manager.find(host).get("/")


# -- replicas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("name", [None, "the-service"])
def test_a_replica_takes_over_and_hands_back(probed: bool, name: str | None) -> None:
    """`name`: a host that only the hook understands works as the URL of the first replica does."""
    policy = QUICK.replace(health={"probe": "/health", "probe_interval": 0.1}) if probed else QUICK
    if name is not None:  # nothing leads to the first one any more, which is forgotten after so long
        policy = policy.replace(health={"rehook_max": 30})
    told = Told()
    with two_replicas() as (a, b), manager_of(Replicas(a.url, b.url, policy=policy), policy, observer=told) as manager:
        host = name or a.url
        assert ask_until(manager, host, b"A") == [b"A"]
        a.stop()
        seen = ask_until(manager, host, b"B")
        assert set(seen[:-1]) <= {"ReadError", "ConnectError", "CircuitOpenError"}
        assert len(seen) <= 6, "failures beyond the three that give the host up"
        for _ in range(20):
            assert manager.find(host).get("/").content == b"B"
        assert manager.health(a.url).state in {"broken", "degraded"}
        assert manager.health(b.url).state == "healthy"
        if name is not None:  # no origin to come back to: the stand-in is as good as the first one
            return
        time.sleep(0.3)
        a.start()
        seen = ask_until(manager, host, b"A")
        assert set(seen[:-1]) <= {b"B"}, "no call is refused for the sake of going back"
        for _ in range(20):
            assert manager.find(host).get("/").content == b"A"
        assert manager.health(a.url).breaker == "closed"
        assert manager.health(a.url).broken_since is None
        b.wait_for_open(0)
    assert set(told.reasons(ConnectionEvicted)) == {"connect", "failback"}


def test_the_replicas_connection_has_the_replicas_record() -> None:
    with two_replicas() as (a, b), manager_of(Replicas(a.url, b.url)) as manager:
        ask_until(manager, a.url, b"A")
        a.stop()
        ask_until(manager, a.url, b"B")
        conn = manager.find(a.url)
        assert conn.health.host == b.url
        assert conn.health.attempts == manager.health(b.url).attempts
        assert manager.health(a.url).connections == 0
        assert manager.health(b.url).connections == 1
        assert manager.conns == {(a.url, None): conn}


def test_a_replica_that_dies_too_makes_room_for_the_first_one() -> None:
    with two_replicas() as (a, b), manager_of(Replicas(a.url, b.url)) as manager:
        ask_until(manager, a.url, b"A")
        a.stop()
        ask_until(manager, a.url, b"B")
        b.stop()
        break_it(manager, a.url, 5)
        a.start()
        ask_until(manager, a.url, b"A")


def test_while_the_first_one_is_down_the_stand_in_serves_every_request() -> None:
    """Asking the hooks again and again whether it is back costs no request."""
    hook: Replicas
    with two_replicas() as (a, b), manager_of(hook := Replicas(a.url, b.url)) as manager:
        ask_until(manager, a.url, b"A")
        a.stop()
        ask_until(manager, a.url, b"B")
        calls = hook.calls
        with elapsed() as took, ThreadPoolExecutor(8) as pool:

            def work() -> set[bytes]:
                answers = set()
                while took.seconds < 0.6 or (hook.calls - calls < 2 and took.seconds < 10):
                    answers.add(manager.find(a.url).get("/").content)
                return answers

            assert set().union(*[job.result() for job in [pool.submit(work) for _ in range(8)]]) == {b"B"}
        assert 2 <= hook.calls - calls <= took.seconds / 0.05 + 2


# -- a hook that hangs ---------------------------------------------------------------------------


class Hanging(Hook):
    """Hangs for one host until it is let go, or raises `error` then. As a context it lets go in any case."""

    def __init__(self, slow: str, error: Exception | None = None) -> None:
        super().__init__(PATIENT)
        self.slow = slow
        self.error = error
        self.hangs = threading.Event()
        self.go = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.go.set()

    def connect(self, host: str, auth: Any) -> Connection:
        if host == self.slow:
            self.hangs.set()
            assert self.go.wait(30)
            if self.error is not None:
                raise self.error
        return super().connect(host, auth)


@timing_test
def test_a_hook_that_hangs_does_not_delay_find_of_another_host() -> None:
    hook = Hanging(A)
    with FaultServer() as server, manager_of(hook) as manager, ThreadPoolExecutor(4) as pool:
        with hook:
            first = pool.submit(manager.find, A)
            assert hook.hangs.wait(10)
            manager.find(server.url)  # a new host
            with elapsed() as new:
                manager.find(f"{server.url}/other")
            with elapsed() as known:
                for _ in range(100):
                    manager.find(server.url)
            with elapsed() as rest:
                manager.health()
                assert len(manager) == 2
                assert list(manager.conns) == [(server.url, None), (f"{server.url}/other", None)]
                manager.evict(server.url)
                manager.isolate(B)
                manager.restore(B)
            assert manager.find(server.url).get("/").content == b"ok"
            assert not first.done()
        first.result(10)
        for measured in (new, known, rest):
            measured.assert_at_most(0.05)


def test_all_who_want_the_host_of_a_hanging_hook_get_its_one_connection() -> None:
    hook = Hanging(A)
    with manager_of(hook) as manager, ThreadPoolExecutor(16) as pool, hook:
        jobs = [pool.submit(manager.find, A) for _ in range(16)]
        assert hook.hangs.wait(10)
        time.sleep(0.05)
        assert not any(job.done() for job in jobs)
        hook.go.set()
        found = [job.result(10) for job in jobs]
        assert len({id(conn) for conn in found}) == 1
        assert hook.calls == 1


def test_all_who_wait_for_a_hook_that_fails_in_the_end_get_an_error_of_their_own() -> None:
    hook = Hanging(A, OurConnectionError("login failed"))
    with manager_of(hook, PATIENT) as manager, ThreadPoolExecutor(8) as pool, hook:
        jobs = [pool.submit(manager.find, A) for _ in range(8)]
        assert hook.hangs.wait(10)
        time.sleep(0.05)
        hook.go.set()
        errors = [job.exception(10) for job in jobs]
    assert all(isinstance(error, OurConnectionError) and "login failed" in str(error) for error in errors)
    assert len({id(error) for error in errors}) == 8, "one object raised in eight threads mixes their tracebacks"
    assert all(error.retry_after is not None for error in errors)  # type: ignore[union-attr]


def test_another_auth_does_not_wait_for_the_hook_that_hangs_for_the_first_one() -> None:
    class OneAuthHangs(Hanging):
        def connect(self, host: str, auth: Any) -> Connection:
            return super().connect(host, auth) if auth is None else Hook.connect(self, host, auth)

    hook = OneAuthHangs(A)
    with manager_of(hook) as manager, ThreadPoolExecutor(2) as pool, hook:
        job = pool.submit(manager.find, A)
        assert hook.hangs.wait(10)
        assert manager.find(A, ANONYMOUS) is not None
        assert not job.done()
        hook.go.set()
        assert job.result(10) is not manager.find(A, ANONYMOUS)


# -- eviction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("give_up", ["evict", "evict one", "reset", "close", "add"])
def test_requests_in_flight_on_a_connection_that_is_given_up_finish(give_up: str) -> None:
    arrived = threading.Semaphore(0)
    go = threading.Event()

    def slow(exchange: Exchange) -> Step:
        arrived.release()
        while not go.is_set():
            exchange.pause(0.01)
        return reply(200, b"slow")

    hook = Hook()
    with FaultServer(routes={"/slow": slow}) as server, manager_of(hook) as manager, ThreadPoolExecutor(8) as pool:
        conn = manager.find(server.url)
        jobs = [pool.submit(conn.get, "/slow") for _ in range(8)]
        for _ in jobs:
            assert arrived.acquire(timeout=10)
        {
            "evict": lambda: manager.evict(server.url),
            "evict one": lambda: manager.evict(server.url, None),
            "reset": manager.reset,
            "close": manager.close,
            "add": lambda: manager.add(server.url, None, Connection(server.url, ANONYMOUS, policy=QUICK)),
        }[give_up]()
        if give_up in ("reset", "close"):
            with pytest.raises(OurConnectionError, match="closed"):
                conn.get("/")
        else:
            assert conn.retired
            assert conn.get("/").content == b"ok", "its caller cannot know that it was given up"
        if give_up != "close":
            assert manager.find(server.url) is not conn
            assert manager.find(server.url).get("/").content == b"ok", "the new one is usable at once"
        go.set()
        assert [job.result(10).content for job in jobs] == [b"slow"] * 8
        server.wait_for_open(0 if give_up == "close" else 1)  # the sockets of the old one are not kept


@pytest.mark.parametrize("give_up", ["evict", "add", "401", "age"])
@pytest.mark.parametrize("waits_for", ["a retry", "a token", "a place"])
def test_calls_that_wait_on_a_connection_that_is_given_up_go_on(waits_for: str, give_up: str) -> None:
    """It is given up for reasons that have nothing to do with them."""
    arrived, go = threading.Semaphore(0), threading.Event()
    retry = {"attempts": 20, "wait_initial": 0.5, "wait_max": 0.5, "jitter": "none", "budget": False}
    policy = PATIENT.replace(breaker=False, timeout={"total": 30}, retry=retry)
    if waits_for == "a token":
        policy = policy.replace(rate_limit={"rate": 2, "burst": 1, "max_wait": 20})
    elif waits_for == "a place":
        policy = policy.replace(bulkhead={"max_concurrent": 1, "max_wait": 20})
    if give_up == "age":
        policy = policy.replace(health={"max_age": 0.05})

    def answer(exchange: Exchange) -> Step:
        arrived.release()
        if waits_for == "a place":
            while not go.is_set():
                exchange.pause(0.01)
        return reply(503 if waits_for == "a retry" and not go.is_set() else 200)

    with (
        FaultServer(routes={"/": answer, "/secret": reply(401)}) as server,
        manager_of(Hook(policy), policy) as manager,
        ThreadPoolExecutor(2) as pool,
    ):
        conn = manager.find(server.url)
        if give_up == "401":
            assert conn.get("/well").content == b"ok"
            with pytest.raises(HTTPUnauthorized):
                conn.get("/secret")
        jobs = [pool.submit(conn.get, "/")]
        if waits_for != "a retry":
            jobs.append(pool.submit(conn.get, "/"))
        assert arrived.acquire(timeout=10)
        wait_for(lambda: manager.hosts.hosts()[0].gauges().queued == (waits_for != "a retry"))
        if give_up == "evict":
            assert manager.evict(server.url) == 1
        elif give_up == "add":
            manager.add(server.url, None, Connection(server.url, ANONYMOUS, policy=policy))
        else:
            wait_for(lambda: manager.find(server.url) is not conn)
        assert manager.find(server.url) is not conn
        assert conn.retired
        go.set()
        assert [job.result(15).status_code for job in jobs] == [200] * len(jobs)
        server.wait_for_open(0)


def test_a_connection_evicted_because_its_host_broke_lets_its_requests_finish(server: FaultServer) -> None:
    """They may be the last that the host answers."""
    go = threading.Event()
    begun = threading.Event()

    def slow(exchange: Exchange) -> Step:
        begun.set()
        while not go.is_set():
            exchange.pause(0.01)
        return reply(200, b"slow")

    server.script(reply(200), slow)
    server.default = reply(503)
    told = Told()
    with manager_of(Hook(PATIENT), PATIENT, observer=told) as manager, ThreadPoolExecutor(1) as pool:
        conn = manager.find(server.url)
        conn.get("/")
        job = pool.submit(conn.get, "/slow")
        assert begun.wait(10)
        for _ in range(5):
            conn.get("/", raise_for_status=False)
        assert manager.find(server.url) is not conn
        assert conn.retired
        assert told.reasons(ConnectionEvicted) == ["breaker"]
        go.set()
        assert job.result(10).content == b"slow"


def test_a_connection_made_anew_inherits_the_record(server: FaultServer) -> None:
    server.script(reply(200))
    server.default = reply(503)
    with manager_of(Hook(PATIENT), PATIENT) as manager:
        for _ in range(6):
            manager.find(server.url).get("/", raise_for_status=False)
        old, new = manager.conns[server.url, None], manager.find(server.url)
        assert new is not old
        assert (new.health.attempts, new.health.failures) == (6, 5)
        assert new.health.breaker == "open"
        with pytest.raises(CircuitOpenError):
            new.get("/")
        assert len(server.requests) == 6, "a new connection is no new start for the circuit"
        manager.evict(server.url)
        with pytest.raises(CircuitOpenError):
            manager.find(server.url).get("/")


def test_two_auths_on_one_host_share_breaker_and_health(server: FaultServer) -> None:
    server.default = reply(503)
    with manager_of(Hook(PATIENT), PATIENT) as manager:
        first, second = manager.find(server.url), manager.find(server.url, ("user", "password"))
        assert first is not second
        for conn in (first, second, first, second, first):
            conn.get("/", raise_for_status=False)
        for conn in (first, second):
            with pytest.raises(CircuitOpenError):
                conn.get("/")
        health = manager.health(server.url)
        assert (health.attempts, health.failures, health.connections) == (5, 5, 2)
        assert (first.health.attempts, second.health.attempts) == (5, 5)
        assert list(manager.health()) == [server.url]
        sent = [request.header("Authorization") for request in server.requests]
        assert sent.count(None) == 3, "what is shared is not the credentials"


def test_equal_credentials_find_one_connection_whatever_object_carries_them(server: FaultServer) -> None:
    with manager_of(Hook()) as manager:
        found = [
            manager.find(server.url, ("user", "password")),
            manager.find(server.url, requests.auth.HTTPBasicAuth("user", "password")),
            manager.find(server.url + "/", requests.auth.HTTPBasicAuth("user", "password")),
            manager.find(server.url.upper().replace("HTTP", "http"), ("user", "password")),
        ]
        assert len({id(conn) for conn in found}) == 1
        assert manager.find(server.url, ("user", "other")) is not found[0]
        assert manager.find(server.url, requests.auth.HTTPBasicAuth("user", "other")) is not found[0]
        assert manager.find(server.url, requests.auth.HTTPDigestAuth("user", "password")) is not found[0]
        assert manager.find(server.url, requests.auth.HTTPProxyAuth("user", "password")) is not found[0]
        found[0].get("/")
        assert server.requests[0].header("Authorization") == "Basic dXNlcjpwYXNzd29yZA=="


# -- logging in ----------------------------------------------------------------------------------


class TokenServer:
    """Gives out tokens at /login; other paths answer 401 to all but the last one given out."""

    def __init__(self) -> None:
        self.logins = 0
        self.valid: str | None = None
        self.rejects_all = False

    def __call__(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.path == "/login":
            self.logins += 1
            self.valid = f"token-{self.logins}"
            return reply(200, self.valid)
        good = exchange.request.header("X-Token") == self.valid and not self.rejects_all
        return reply(200, b"welcome") if good else reply(401)


class Login(ConnectionHook):
    def __init__(self, policy: Policy = PATIENT) -> None:
        self.policy = policy

    def connect(self, host: str, auth: Any) -> Connection:
        conn = Connection(host, ANONYMOUS, policy=self.policy)
        conn.add_headers({"X-Token": conn.post("/login").text})
        return conn


def test_a_401_means_that_the_next_find_logs_in_again() -> None:
    tokens = TokenServer()
    told = Told()
    with FaultServer(default=tokens) as server, manager_of(Login(), PATIENT, observer=told) as manager:
        for _ in range(10):
            assert manager.find(server.url).get("/").content == b"welcome"
        for expired in range(1, 4):
            tokens.valid = None
            with pytest.raises(HTTPUnauthorized):
                manager.find(server.url).get("/")
            for _ in range(10):
                assert manager.find(server.url).get("/").content == b"welcome"
            assert tokens.logins == 1 + expired
        assert told.reasons(ConnectionEvicted) == ["unauthorized"] * 3
        assert manager.health(server.url).state == "healthy", "a 401 proves the host alive"


def test_sixteen_threads_whose_token_expired_log_in_once() -> None:
    tokens = TokenServer()
    with FaultServer(default=tokens) as server, manager_of(Login(), PATIENT) as manager:
        assert manager.find(server.url).get("/").content == b"welcome"
        tokens.valid = None
        start = threading.Barrier(16)

        def work() -> int:
            start.wait(10)
            for tries in range(50):
                try:
                    assert manager.find(server.url).get("/").content == b"welcome"
                    return tries
                except (HTTPUnauthorized, OurConnectionError):  # the second: another thread evicted it just then
                    continue
            return 50

        with ThreadPoolExecutor(16) as pool:
            tries = [job.result() for job in [pool.submit(work) for _ in range(16)]]
        assert max(tries) <= 2
        assert tokens.logins == 2


def test_credentials_that_are_simply_wrong_make_no_login_storm() -> None:
    tokens = TokenServer()
    tokens.rejects_all = True
    with FaultServer(default=tokens) as server, manager_of(Login(), PATIENT) as manager, ThreadPoolExecutor(8) as pool:

        def work() -> None:
            for _ in range(25):
                with pytest.raises(HTTPUnauthorized):
                    manager.find(server.url).get("/")

        for job in [pool.submit(work) for _ in range(8)]:
            job.result()
        assert tokens.logins == 1
        assert len(server.requests) == 201


def test_wrong_credentials_are_tried_again_when_the_back_off_is_over() -> None:
    tokens = TokenServer()
    tokens.rejects_all = True
    with FaultServer(default=tokens) as server, manager_of(Login(QUICK)) as manager:
        with elapsed() as took:
            while took.seconds < 0.55 or (tokens.logins < 3 and took.seconds < 10):
                with pytest.raises(HTTPUnauthorized):
                    manager.find(server.url).get("/")
        assert 3 <= tokens.logins <= 1 + 1 + took.seconds / 0.1
        tokens.rejects_all = False
        tokens.valid = None
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(HTTPUnauthorized):
                assert manager.find(server.url).get("/").content == b"welcome"
                break
            assert time.monotonic() < end


def test_a_hook_that_is_refused_a_login_says_so_without_the_credentials() -> None:
    class Refused(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Connection:
            conn = Connection(host, auth, policy=PATIENT)
            conn.post("/login?token=SECRET")
            return conn

    with FaultServer(default=reply(401)) as server, manager_of(Refused(), PATIENT) as manager:
        for _ in range(50):
            with pytest.raises(OurConnectionError, match="Refused: HTTPUnauthorized") as caught:
                manager.find(server.url, ("user", "SECRET"))
            assert "SECRET" not in str(caught.value)
        assert len(server.requests) == 1


# -- an operator's hand --------------------------------------------------------------------------


def test_an_isolated_host_gets_no_request_until_it_is_restored(server: FaultServer) -> None:
    with FaultServer() as other, manager_of(Hook()) as manager:
        conn = manager.find(server.url)
        conn.get("/")
        manager.isolate(server.url.upper().replace("HTTP", "http") + "/")
        for _ in range(3):
            with pytest.raises(HostIsolatedError):
                manager.find(server.url)
            with pytest.raises(HostIsolatedError):
                manager.find(server.url, ("another", "auth"))
            with pytest.raises(HostIsolatedError):
                conn.get("/")
        assert manager.health(server.url).state == "isolated"
        assert manager.find(other.url).get("/").content == b"ok"
        assert len(server.requests) == 1
        manager.restore(server.url)
        assert manager.find(server.url) is conn
        assert conn.get("/").content == b"ok"
        assert manager.health(server.url).state == "healthy"


def test_a_request_in_flight_when_its_host_is_isolated_finishes(server: FaultServer) -> None:
    server.script(reply(200, b"slow", delay=0.3))
    with manager_of(Hook()) as manager, ThreadPoolExecutor(1) as pool:
        job = pool.submit(manager.find(server.url).get, "/")
        server.wait_for_requests(1)
        manager.isolate(server.url)
        assert job.result(10).content == b"slow"


def test_an_isolation_outlasts_reset_and_evict(server: FaultServer) -> None:
    with manager_of(Hook()) as manager:
        manager.find(server.url).get("/")
        manager.isolate(server.url)
        manager.reset()
        manager.evict(server.url)
        with pytest.raises(HostIsolatedError):
            manager.find(server.url)
        manager.restore(server.url)
        assert manager.find(server.url).get("/").content == b"ok"


def test_an_isolation_ends_by_itself(server: FaultServer) -> None:
    events: list[Event] = []
    with manager_of(Hook(), observer=events.append) as manager:
        conn = manager.find(server.url)
        until = datetime.now(UTC) + timedelta(seconds=0.4)
        manager.isolate(server.url, reason="maintenance", until=until)
        for call in (lambda: manager.find(server.url), lambda: conn.get("/")):
            with pytest.raises(HostIsolatedError, match="UTC: maintenance; ") as caught:
                call()
            assert caught.value.until is not None
            assert abs(caught.value.until - until) < timedelta(milliseconds=1)
        while datetime.now(UTC) < until:
            time.sleep(0.02)
        assert manager.find(server.url) is conn
        assert conn.get("/").content == b"ok"
    assert [event.by for event in events if isinstance(event, HostRestored)] == ["time"]
    assert len(server.requests) == 1


def test_a_circuit_that_an_operator_closes_lets_all_in(server: FaultServer) -> None:
    policy = Policy(retry=False, breaker={"open_for": 60, "open_max": 60})
    with manager_of(Hook(policy), policy=policy) as manager:
        conn = manager.find(server.url)
        while manager.health(server.url).breaker == "closed":
            server.script(reply(503))
            with pytest.raises(HTTPServiceUnavailable):
                conn.get("/", policy=policy)
        manager.reset_circuit(server.url)
        for _ in range(20):
            assert manager.find(server.url).get("/").content == b"ok"


# -- retirement ----------------------------------------------------------------------------------


@timing_test
def test_an_idle_connections_sockets_are_closed_while_others_are_used() -> None:
    told = Told()
    policy = QUICK.replace(health={"idle": 0.3})
    with (
        FaultServer() as server,
        FaultServer() as busy,
        manager_of(Hook(policy), policy, observer=told) as manager,
    ):
        idle = manager.find(server.url)
        idle.get("/")
        assert server.open == 1
        used = manager.find(busy.url)
        end = time.monotonic() + 10
        while server.open and time.monotonic() < end:
            with in_time(0.25):
                time.sleep(0.01)
                assert manager.find(busy.url) is used
                used.get("/")
        assert server.open == 0
        assert idle.retired
        assert [(event.host, event.reason) for event in told if isinstance(event, ConnectionRetired)] == [
            (server.url, "idle")
        ]
        assert busy.accepted == 1, "what is used stays"
        assert manager.find(server.url).get("/").content == b"ok"


@timing_test
def test_a_connection_that_is_called_but_not_looked_for_is_not_idle() -> None:
    """A worker may keep what it found."""
    policy = QUICK.replace(health={"idle": 0.3})
    with FaultServer() as server, FaultServer() as busy, manager_of(Hook(policy), policy) as manager:
        kept = manager.find(server.url)
        end = time.monotonic() + 0.9
        while time.monotonic() < end:
            with in_time(0.25):
                time.sleep(0.02)
                kept.get("/")
                manager.find(busy.url)
                assert not kept.retired
        assert server.accepted == 1
        with in_time(0.25):
            kept.get("/")
            assert manager.find(server.url) is kept


def test_a_request_longer_than_the_idle_time_keeps_its_connection(server: FaultServer) -> None:
    policy = QUICK.replace(health={"idle": 0.2})
    server.script(reply(200, b"slow", delay=0.8))
    with FaultServer() as busy, manager_of(Hook(policy), policy) as manager, ThreadPoolExecutor(1) as pool:
        kept = manager.find(server.url)
        job = pool.submit(kept.get, "/")
        server.wait_for_requests(1)  # until it has begun, it is idle indeed
        while not job.done():
            manager.find(busy.url)
            assert not kept.retired
            time.sleep(0.02)
        assert job.result().content == b"slow"


def test_an_over_age_connection_is_made_anew_and_its_socket_closed(server: FaultServer) -> None:
    told = Told()
    policy = QUICK.replace(health={"max_age": 0.2, "idle": 100})
    hook = Hook(policy)
    with manager_of(hook, policy, observer=told) as manager:
        answers = set()
        with elapsed() as took:
            while took.seconds < 1.1 or (hook.calls < 3 and took.seconds < 10):
                answers.add(manager.find(server.url).get("/").content)
                time.sleep(0.005)
        assert answers == {b"ok"}
        assert 3 <= hook.calls <= 1 + took.seconds / 0.2
        server.wait_for_open(1)
        assert server.accepted == hook.calls
        assert set(told.reasons(ConnectionRetired)) == {"age"}


def test_the_least_recently_used_connection_makes_room_and_closes_its_socket() -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(FaultServer()) for _ in range(4)]
        manager = stack.enter_context(manager_of(Hook(), max_connections=3))
        for server in servers[:3]:
            manager.find(server.url).get("/")
            time.sleep(0.002)
        manager.find(servers[0].url)
        manager.find(servers[3].url).get("/")
        servers[1].wait_for_open(0)
        assert len(manager) == 3
        assert [server.open for server in servers] == [1, 0, 1, 1]


def test_replaced_and_reset_connections_close_their_sockets(server: FaultServer) -> None:
    with ConnectionManager(policy=QUICK) as manager:
        first, second = (Connection(server.url, ANONYMOUS, policy=QUICK) for _ in range(2))
        manager.add(server.url, None, first)
        manager.find(server.url).get("/")
        manager.add(server.url, None, second)
        server.wait_for_open(0)
        manager.find(server.url).get("/")
        server.wait_for_open(1)
        manager.reset()
        server.wait_for_open(0)


# -- anything a hook returns ---------------------------------------------------------------------


class Plain:
    """A minimal foreign client: no close, no health, unhashable, falsy."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, url: str) -> None:
        self.url = url

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    def get(self, path: str) -> bytes:
        return requests.get(self.url + path, timeout=3).content


def test_an_object_without_close_or_hash_is_found_used_and_forgotten(server: FaultServer) -> None:
    class PlainHook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Any:
            return Plain(host)

    with manager_of(PlainHook()) as manager:
        conn = manager.find(server.url)
        assert type(conn) is Plain
        assert manager.find(server.url) is conn
        assert conn.get("/") == b"ok"
        assert manager.evict(server.url) == 1
        assert manager.find(server.url) is not conn
        manager.reset()
        assert len(manager) == 0


# -- fork ----------------------------------------------------------------------------------------

_FORK = """
    import os, sys, threading, warnings
    import sleepwalker
    from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy
    from sleepwalker.connection.hook import ConnectionHook

    warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads running is what this is about
    url = sys.argv[1]
    policy = Policy(retry=False, health={"probe": "/health", "probe_interval": 0.05})

    class Hook(ConnectionHook):
        def __init__(self): self.go = threading.Event()
        def connect(self, host, auth):
            if host.endswith("/slow"):
                print("hangs", flush=True)
                self.go.wait()
            return Connection(host, ANONYMOUS, policy=policy)

    hook = Hook()
    manager = ConnectionManager(policy=policy)
    manager.add_conn_hook(hook)

    def ask(who, count):
        for number in range(count):
            text = manager.find(url).get(f"/{who}/{number}").text
            assert text == f"/{who}/{number}", (who, number, text)

    ask("parent", 3)
    # At the moment of the fork one thread asks the hooks, and others use the manager.
    threading.Thread(target=manager.find, args=(url + "/slow",), daemon=True).start()
    stop = threading.Event()
    failures = []
    def busy(name):
        try:
            while not stop.is_set():
                ask(name, 5)
        except BaseException as error:
            failures.append(repr(error))
    threads = [threading.Thread(target=busy, args=(f"busy{number}",)) for number in range(4)]
    for thread in threads: thread.start()
    children = []
    for number in range(6):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                ask(f"child{number}", 20)
                hook.go.set()
                assert manager.find(url + "/slow") is not None  # the parent's round is not waited for
                assert manager.health(url).in_flight == 0
                manager.evict(url)
                ask(f"again{number}", 3)
                manager.close()
                code = 0
            except BaseException as error:
                print(number, repr(error), flush=True)
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    ask("parent", 20)
    stop.set()
    for thread in threads: thread.join()
    hook.go.set()
    print(codes, failures)
"""


def _echo_path(exchange: Exchange) -> Step:
    assert exchange.request is not None
    return reply(200, exchange.request.path)


@threads_only("a fork: a loop does not survive it")
def test_a_manager_works_on_both_sides_of_a_fork() -> None:
    """Children get sockets of their own, and wait for none of the locks and rounds of the parent's threads."""
    with FaultServer(default=_echo_path) as server:
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_FORK), server.url], capture_output=True, text=True, timeout=60
        )
        assert run.stderr == ""
        assert run.stdout.splitlines()[-1] == "[0, 0, 0, 0, 0, 0] []", run.stdout
        owners: dict[int, set[str]] = {}
        for request in server.requests:
            who = request.path.split("/")[1].removeprefix("again").removeprefix("child")
            owners.setdefault(request.connection, set()).add(who if who.isdigit() else "parent")
        assert all(len(who) == 1 for who in owners.values()), "a socket that two processes used"
