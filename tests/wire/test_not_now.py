"""What a server asks for when it says "not now", and who obeys."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest
import requests
from servers import Exchange, FaultServer, Step, elapsed, redirect, reply, timing_test

from sleepwalker import (
    ANONYMOUS,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HTTPTooManyRequests,
    Policy,
    RateLimitedError,
    SleepwalkerException,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.events import CooldownBegan, Event, RequestFinished, RequestRejected
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

#: Retries at once where the server asks for nothing, without a breaker or a budget that could come between.
AT_ONCE: dict[str, Any] = {"wait_initial": 0, "jitter": "none", "budget": False}
POLICY = Policy(timeout={"connect": 3, "read": 3, "attempt": 3, "total": 12}, retry=AT_ONCE, breaker=False)


def connect(url: str, policy: Policy = POLICY, **kwargs: Any) -> Connection:
    return Connection(url, ANONYMOUS, policy=policy, **kwargs)


def not_now(status: int, headers: Callable[[], Mapping[str, str]]) -> Callable[[Exchange], Step]:
    """An answer whose headers are made when it is given."""
    return lambda exchange: reply(status, headers=headers())


@timing_test
@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_a_date_counts_from_the_answers_own_whatever_the_servers_clock_shows(skew: int) -> None:
    def dates() -> Mapping[str, str]:
        there = int(time.time()) + skew
        return {"Date": formatdate(there, usegmt=True), "Retry-After": formatdate(there + 1, usegmt=True)}

    with FaultServer() as server, connect(server.url) as conn, elapsed() as took:
        server.script(not_now(503, dates))
        conn.get("/")
    took.assert_within(1.0, 0.2)


@timing_test
@pytest.mark.parametrize(
    "headers",
    [
        lambda: {"RateLimit": '"burst";r=0;t=1, "daily";r=90;t=3600'},
        lambda: {"RateLimit": "limit=10, remaining=0, reset=1"},
        lambda: {"RateLimit-Reset": "1", "RateLimit-Remaining": "0"},
        lambda: {"X-RateLimit-Reset": "1"},
        lambda: {"x-ratelimit-reset": str(int(time.time()) + 1), "date": formatdate(int(time.time()), usegmt=True)},
    ],
)
def test_a_429_is_waited_for_until_its_limit_starts_anew(headers: Callable[[], Mapping[str, str]]) -> None:
    with FaultServer() as server, connect(server.url) as conn, elapsed() as took:
        server.script(not_now(429, headers))
        conn.get("/")
    took.assert_within(1.0, 0.2)


@pytest.mark.parametrize("status", [200, 503])
def test_on_other_answers_a_rate_limit_is_only_talk(status: int) -> None:
    with FaultServer() as server, connect(server.url) as conn, elapsed() as took:
        server.script(reply(status, headers={"RateLimit": '"default";r=0;t=60', "X-RateLimit-Reset": "60"}))
        conn.get("/")
    took.assert_at_most(5)


# -- whom it holds back ----------------------------------------------------------------------------

#: Long enough that nothing but a wait takes as long on a busy machine.
ASKED = 1.0
ANN, BOB = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}


def binding(binds: str, **changes: Any) -> Policy:
    return POLICY.replace(retry={"after_binds": binds}, **changes)


class Told:
    """A call to a server that refuses it, and so has it wait; over when the block is."""

    def __init__(
        self, server: FaultServer, call: Callable[[], Any], *, status: int = 429, asked: float = ASKED
    ) -> None:
        self._server, self._call = server, call
        self._answer = reply(status, headers={"Retry-After": f"{asked:g}"})

    def __enter__(self) -> None:
        before = len(self._server.requests)
        self._server.script(self._answer)
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        end = time.monotonic() + 10
        while len(self._server.requests) == before:
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(0.1)  # until the answer has been read

    def _ask(self) -> None:
        with contextlib.suppress(SleepwalkerException):
            self._call()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


@timing_test
@pytest.mark.parametrize(
    ("binds", "ann_waits", "bob_waits"), [("call", False, False), ("pair", True, False), ("host", True, True)]
)
def test_a_not_now_to_one_call_holds_back_the_others_that_the_policy_names(
    binds: str, ann_waits: bool, bob_waits: bool
) -> None:
    def seconds(headers: Mapping[str, str]) -> float:
        began = time.monotonic()
        assert conn.get("/", headers=headers).ok
        return time.monotonic() - began

    with (
        FaultServer() as server,
        Connection(server.url, policy=binding(binds)) as conn,
        ThreadPoolExecutor(2) as two,
        Told(server, lambda: conn.get("/", headers=ANN)),
    ):
        ann, bob = two.map(seconds, [ANN, BOB])
    assert [took >= ASKED - 0.4 for took in (ann, bob)] == [ann_waits, bob_waits]
    assert max(ann, bob) < 1.1 * ASKED + 0.5


@pytest.fixture
def manager() -> Iterator[ConnectionManager]:
    class Hook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Connection:
            return Connection(host, auth, policy=binding("pair"))

    with ConnectionManager(policy=binding("pair")) as made:
        made.add_conn_hook(Hook())
        yield made


@timing_test
def test_in_a_manager_a_pair_is_a_host_with_its_credentials(manager: ConnectionManager) -> None:
    """Equal credentials are one pair also where they are other objects, of another connection to the host."""
    with FaultServer() as server:
        ann = manager.find(server.url, ("ann", "sesame"))
        again = Connection(server.url, requests.auth.HTTPBasicAuth("ann", "sesame"), policy=binding("pair"))
        manager.add(f"{server.url}/again", None, again)
        bob = manager.find(server.url, ("bob", "sesame"))
        with Told(server, lambda: ann.get("/")):
            with elapsed() as at_once:
                bob.get("/")
            with elapsed() as took:
                again.get("/")
    at_once.assert_at_most(0.4)
    took.assert_within(ASKED - 0.2, 0.35)


@timing_test
def test_eight_threads_leave_a_host_alone_that_asks_for_it() -> None:
    """And then do not fall upon it in the same moment."""
    began = time.monotonic()
    server = FaultServer(
        default=lambda exchange: (
            reply(429, headers={"Retry-After": f"{ASKED:g}"}) if time.monotonic() - began < 0.5 * ASKED else reply()
        )
    )
    events: list[Event] = []
    with server, connect(server.url, binding("host"), observer=events.append) as conn:

        def work() -> None:
            while time.monotonic() - began < 0.8 * ASKED:
                conn.get("/")
                time.sleep(0.01)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: work(), range(8)))
        early = [request.time for request in server.requests if request.time < began + 0.5 * ASKED]
        later = sorted(request.time for request in server.requests if request.time > began + 0.5 * ASKED)
    assert len(early) <= 8, "at most what was under way when the first answer came"
    assert len(later) == 8
    assert later[-1] - later[0] > 0.02 * ASKED
    assert any(isinstance(event, CooldownBegan) for event in events)
    assert later[0] - early[0] > 0.9 * ASKED
    assert all(event.waited > 0 for event in events if isinstance(event, RequestFinished))


@pytest.mark.parametrize("binds", ["pair", "host"])
def test_who_has_no_time_for_it_is_told_so_at_once(binds: str) -> None:
    events: list[Event] = []
    with FaultServer() as server, connect(server.url, binding(binds), observer=events.append) as conn:
        server.script(reply(429, headers={"Retry-After": "30"}))
        with pytest.raises(HTTPTooManyRequests):
            conn.get("/")
        with elapsed() as took, pytest.raises(RateLimitedError) as caught:
            conn.get("/")
        took.assert_at_most(5)
        error = caught.value
        assert error.retry_after is not None
        assert 20 < error.retry_after <= 30
        assert (error.cause, error.never_sent, error.attempts) == ("429", True, ())
        assert "the server asked to wait (429)" in str(error)
        assert [event.by for event in events if isinstance(event, RequestRejected)] == ["cooldown"]
        assert len(server.requests) == 1
        assert conn.health.cooldown is not None
        conn.reset_circuit()
        assert conn.get("/").ok


def test_a_connection_that_closes_sends_home_those_that_wait() -> None:
    with FaultServer() as server, connect(server.url, binding("host")) as conn, ThreadPoolExecutor(1) as one:
        with Told(server, lambda: conn.get("/"), asked=8), elapsed() as took:
            call = one.submit(conn.get, "/")
            while conn._record.gauges().queued == 0:
                time.sleep(0.001)
            conn.close()
            with pytest.raises(OurConnectionError, match="was closed while the call was queued"):
                call.result(10)
        took.assert_at_most(5)
        assert len(server.requests) == 1


def test_another_hosts_answer_holds_back_no_call() -> None:
    with FaultServer() as server, FaultServer() as other, connect(server.url, binding("host")) as conn:
        server.script(redirect(f"{other.url}/there"))
        other.default = reply(429, headers={"Retry-After": "30"})
        with pytest.raises(HTTPTooManyRequests):
            conn.get("/")
        assert conn.get("/").ok


def test_the_background_probe_is_not_held_back() -> None:
    """The circuit is open for longer than the server asks for; the probe is what closes it."""
    policy = binding(
        "host",
        breaker={"open_for": 60, "open_max": 60, "ramp": 0, "consecutive_for": 0, "consecutive": 1, "close_after": 1},
        health={"probe": "/health", "probe_interval": 0.05, "rehook_initial": 100, "rehook_max": 100},
    )

    class Hook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Connection:
            return Connection(host, ANONYMOUS, policy=policy)

    with FaultServer(routes={"/health": reply()}) as server, ConnectionManager(policy=policy) as manager:
        manager.add_conn_hook(Hook())
        server.script(reply(503, headers={"Retry-After": "11"}))
        with pytest.raises(SleepwalkerException):
            manager.find(server.url).get("/")
        end = time.monotonic() + 8
        while manager.health(server.url).breaker != "closed":
            assert time.monotonic() < end, "no probe came by"
            time.sleep(0.005)
        with pytest.raises(RateLimitedError):
            manager.find(server.url).get("/", total=2)


@threads_only("a blocking client behind a guard")
def test_a_guarded_object_is_held_back_too() -> None:
    class Client:
        def __init__(self, url: str) -> None:
            self.url = url

        def get(self, path: str) -> requests.Response:
            return requests.get(self.url + path, timeout=5)

    class Hook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Client:
            return Client(host)

    with FaultServer() as server, ConnectionManager(policy=binding("pair"), guard=True) as manager:
        manager.add_conn_hook(Hook())
        ann, bob = (manager.find(server.url, (who, "sesame")) for who in ("ann", "bob"))
        server.script(reply(429, headers={"X-RateLimit-Reset": "30", "X-RateLimit-Remaining": "0"}))
        assert ann.get("/").status_code == 429
        with pytest.raises(RateLimitedError):
            ann.get("/")
        assert bob.get("/").status_code == 200


@threads_only("a fork: a loop does not survive it")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_host_alone_as_well() -> None:
    with FaultServer() as server, connect(server.url, binding("host")) as conn:
        server.script(reply(503, headers={"Retry-After": "60"}))
        with pytest.raises(SleepwalkerException):
            conn.get("/")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forking with threads
            pid = os.fork()
        if pid == 0:
            code = 1
            try:
                conn.get("/")
            except RateLimitedError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(server.requests) == 1
