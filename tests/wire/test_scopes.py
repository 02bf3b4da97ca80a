"""Scopes over real sockets: what one part of a host meets leaves the rest answered, through the same sockets."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, elapsed, json_reply, refused_port, reply, stall
from test_fork import fork, wait
from test_struck import assert_answered, assert_whole, connected, strike_everywhere

from sleepwalker import (
    ANONYMOUS,
    BulkheadFullError,
    CircuitOpenError,
    Connection,
    ConnectionError,
    ConnectionHook,
    ConnectionManager,
    HostIsolatedError,
    HTTPError,
    Policy,
    RateLimitedError,
    SleepwalkerException,
)
from sleepwalker.events import BreakerOpened, Event, HostBroken, RequestFinished
from sleepwalker.links import follow, pages
from sleepwalker.service import Service
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

#: The circuit opens after a few failures, and stays so for the rest of the test.
HASTY = Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 3, "open_for": 60, "open_max": 60})


class Direct(ConnectionHook):
    """Makes connections with what it is given."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.asked = 0

    def connect(self, host: Any, auth: Any) -> Connection:
        self.asked += 1
        return Connection(host, auth or ANONYMOUS, **self.options)


def came_to(call: Callable[..., Any], *args: Any, **options: Any) -> str:
    """An answer's status, or the name of the error."""
    try:
        return str(call(*args, **options).status_code)
    except SleepwalkerException as error:
        return type(error).__name__


def trip(one: Connection, path: str = "/report") -> None:
    """Call until the circuit is open."""
    until = time.monotonic() + 20
    while came_to(one.get, path) != "CircuitOpenError":
        assert time.monotonic() < until, "it does not open"
        time.sleep(0.05)


def test_a_bad_route_under_a_scope_leaves_the_rest_answered() -> None:
    events: list[Event] = []
    with (
        FaultServer(routes={"/report": reply(503)}) as server,
        Connection(server.url, ANONYMOUS, policy=HASTY, observer=events.append) as conn,
    ):
        reports = conn.scope("reports")
        trip(reports)
        with pytest.raises(CircuitOpenError) as caught:
            reports.get("/report")
        assert caught.value.host == f"{server.url}#reports"
        assert [came_to(conn.get, f"/orders/{number}") for number in range(20)] == ["200"] * 20
        assert came_to(conn.scope("other").get, "/orders") == "200"
        assert (conn.health.breaker, reports.health.breaker) == ("closed", "open")
        assert len({request.connection for request in server.requests if request.path != "/report"}) == 1
        opened = next(event for event in events if isinstance(event, BreakerOpened))
        finished = next(event for event in events if isinstance(event, RequestFinished))
        assert (opened.host, finished.host) == (f"{server.url}#reports", server.url)


def test_a_host_whose_usual_calls_fail_still_answers_what_is_urgent() -> None:
    with (
        FaultServer(routes={"/pay": reply(200)}, default=reply(503)) as server,
        Connection(server.url, ANONYMOUS, policy=HASTY) as conn,
    ):
        trip(conn, "/browse")
        assert came_to(conn.get, "/pay") == "CircuitOpenError"
        assert came_to(conn.scope("payments").get, "/pay") == "200"


def test_the_quota_of_one_tenant_leaves_those_of_the_others_alone() -> None:
    quota = Policy(rate_limit={"rate": 0.01, "burst": 3})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=Policy(retry=False)) as conn:
        for tenant in ("ann", "bob"):
            one = conn.scope(f"tenant {tenant}", policy=quota)
            assert [came_to(one.get, "/") for _ in range(5)] == ["200"] * 3 + ["RateLimitedError"] * 2
        assert came_to(conn.get, "/") == "200"
        with pytest.raises(RateLimitedError, match="#tenant ann: the policy's rate limit"):
            conn.scope("tenant ann").get("/")


def test_one_that_hangs_fills_its_own_places_and_no_others() -> None:
    slow = Policy(bulkhead={"max_concurrent": 2}, timeout={"connect": 3, "read": 9, "attempt": 9, "total": 10})
    with (
        FaultServer(routes={"/export": stall()}) as server,
        Connection(server.url, ANONYMOUS, policy="off") as conn,
        ThreadPoolExecutor(2) as threads,
    ):
        exports = conn.scope("exports", policy=slow)
        hanging = [threads.submit(came_to, exports.get, "/export") for _ in range(2)]
        server.wait_for_requests(2)
        with pytest.raises(BulkheadFullError):
            exports.get("/export")
        assert came_to(conn.get, "/") == "200"
        assert (exports.health.in_flight, conn.health.in_flight) == (2, 0)
        server.close()
        assert all(one.result(20) != "200" for one in hanging)


def test_headers_set_later_and_credentials_go_with_the_calls_of_a_scope() -> None:
    routes = {"/json": json_reply({"b": 2})}
    with FaultServer(routes=routes) as server, Connection(server.url, ("ann", "sesame")) as conn:
        scope = conn.scope("reports")
        conn.add_headers({"X-Later": "yes"})
        answer = scope.get("/")
        (request,) = server.requests
        assert request.header("Authorization") == "Basic YW5uOnNlc2FtZQ=="
        assert request.header("X-Later") == "yes"
        assert conn.response is scope.response is answer
        assert scope.json_request("POST", "/json", {"a": 1}) == {"b": 2}
        assert scope.health.calls == 2


def test_a_host_that_refuses_connections_is_down_for_all_and_back_for_all() -> None:
    """Each circuit goes by its own attempts, but whether the machine is there is known by all of them."""
    events: list[Event] = []
    policy = HASTY.replace(breaker=False, health={"rehook_initial": 0, "rehook_max": 0})
    server = FaultServer()
    server.start()
    hook = Direct(policy=policy, observer=events.append)
    with ConnectionManager(policy=policy) as manager:
        manager.add_conn_hook(hook)
        scope = manager.find(server.url).scope("reports")
        assert came_to(scope.get, "/") == "200"
        server.stop()
        assert [came_to(scope.get, "/") for _ in range(3)] == ["ConnectError"] * 3
        assert [(event.host, event.reason) for event in events if isinstance(event, HostBroken)] == [
            (server.url, "connect")
        ]
        assert {health.state for health in manager.health().values()} == {"broken"}
        again = manager.find(server.url)
        assert (again.scope("reports") is not scope, hook.asked) == (True, 2)
        server.start()
        assert came_to(again.scope("orders").get, "/") == "200"
        assert [health.state for health in manager.health().values()] == ["unknown", "healthy", "degraded"]
        assert manager.find(server.url) is again
        server.close()


def test_an_unreachable_host_is_one_for_a_scope_alone_too() -> None:
    with refused_port() as port, Connection(f"http://127.0.0.1:{port}", ANONYMOUS, policy=HASTY) as conn:
        scope = conn.scope("reports")
        assert [came_to(scope.get, "/") for _ in range(3)] == ["ConnectError"] * 3
        assert (conn.health.state, conn.health.attempts) == ("broken", 0)


def test_an_operator_isolates_the_machine_or_a_part_of_it() -> None:
    with FaultServer() as server, ConnectionManager() as manager:
        manager.add_conn_hook(Direct())
        conn = manager.find(server.url)
        reports = conn.scope("reports")
        manager.isolate(f"{server.url}#reports", reason="too slow")
        assert [came_to(one.get, "/") for one in (reports, conn)] == ["HostIsolatedError", "200"]
        manager.isolate(server.url)
        assert [came_to(one.get, "/") for one in (reports, conn)] == ["HostIsolatedError"] * 2
        manager.restore(server.url)
        with pytest.raises(HostIsolatedError, match="#reports is isolated by an operator: too slow"):
            reports.get("/")
        manager.restore(f"{server.url}#reports")
        assert came_to(reports.get, "/") == "200"


def test_closing_the_connection_ends_the_waits_of_its_scopes() -> None:
    policy = Policy(retry={"attempts": 2, "wait_initial": 20, "wait_max": 20, "jitter": "none"})
    with FaultServer(default=reply(503)) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        scope = conn.scope("reports")

        def close() -> None:
            server.wait_for_requests(1)
            time.sleep(0.1)
            conn.close()

        closer = threading.Thread(target=close)
        closer.start()
        with elapsed() as took, pytest.raises(HTTPError):
            scope.get("/")
        closer.join()
        took.assert_at_most(15)
        with pytest.raises(ConnectionError, match="this connection is closed"):
            scope.get("/")


def test_a_connection_that_a_manager_gave_up_goes_on_for_its_scopes() -> None:
    with FaultServer() as server, ConnectionManager() as manager:
        manager.add_conn_hook(Direct())
        scope = manager.find(server.url).scope("reports")
        manager.evict(server.url)
        assert scope.retired
        assert came_to(scope.get, "/") == "200"
        server.wait_for_open(0)


@threads_only("a fork: a loop does not survive it")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_on_with_sockets_of_its_own_and_the_same_circuit() -> None:
    with (
        FaultServer(routes={"/report": reply(503)}) as server,
        Connection(server.url, ANONYMOUS, policy=HASTY) as conn,
    ):
        scope = conn.scope("reports")
        assert came_to(scope.get, "/") == "200"
        trip(scope)
        held, release = threading.Event(), threading.Event()

        def ask_for_one() -> None:
            assert conn._scopes is not None
            with conn._scopes._lock:
                held.set()
                release.wait(60)

        asking = threading.Thread(target=ask_for_one)
        asking.start()
        held.wait(10)

        def child() -> bool:
            before = len(server.requests)
            found = [came_to(scope.get, "/"), came_to(conn.get, "/"), came_to(conn.scope("new").get, "/")]
            return found == ["CircuitOpenError", "200", "200"] and conn.scope("reports") is scope and before >= 0

        pid = fork(child)
        release.set()
        asking.join()
        assert wait(pid) == 0
        assert came_to(conn.get, "/") == "200"


def paged(exchange: Exchange) -> Step:
    """Three pages, the second of which says who asked."""
    assert exchange.request is not None
    number = int(exchange.request.path.rpartition("/")[2])
    more = [("Link", f'</pages/{number + 1}>; rel="next"')] if number < 3 else []
    return json_reply({"page": number}, headers=more)


@pytest.mark.parametrize("managed", [False, True])
def test_a_walk_that_begins_in_a_scope_goes_on_in_it(managed: bool) -> None:
    """Also where only the walk refers to the scope."""
    with FaultServer(default=paged) as server, ConnectionManager() as manager:
        manager.add_conn_hook(Direct())
        conn = manager.find(server.url)
        options: dict[str, Any] = {"manager": manager} if managed else {}
        first = conn.scope("exports").get("/pages/1")
        assert [page.json()["page"] for page in pages(first, **options)] == [1, 2, 3]
        assert (conn.scope("exports").health.calls, conn.health.calls) == (3, 0)


@threads_only("each call of a test is a task of its own")
@pytest.mark.parametrize("managed", [False, True])
def test_a_scope_stands_for_the_last_answer_of_its_connection(managed: bool) -> None:
    with FaultServer(default=paged) as server, ConnectionManager() as manager:
        manager.add_conn_hook(Direct())
        conn = manager.find(server.url)
        options: dict[str, Any] = {"manager": manager} if managed else {}
        assert conn.get("/pages/2").json()["page"] == 2
        assert follow(conn.scope("exports"), "next", **options).json()["page"] == 3
        assert (conn.scope("exports").health.calls, conn.health.calls) == (1, 1)


def test_a_walk_that_leaves_its_host_leaves_the_scope_and_comes_back_to_it() -> None:
    with FaultServer() as home, FaultServer() as away, ConnectionManager() as manager:
        ways = {"/1": f"{away.url}/2", "/2": f"{home.url}/3"}

        def leads(exchange: Exchange) -> Step:
            assert exchange.request is not None
            to = ways.get(exchange.request.path)
            return json_reply({}, headers=[("Link", f'<{to}>; rel="next"')] if to else [])

        home.default = away.default = leads
        manager.add_conn_hook(Direct())
        walk = pages(manager.find(home.url).scope("exports").get("/1"), manager=manager)
        assert len(list(walk)) == 3
        calls = {host: health.calls for host, health in manager.health().items()}
        assert calls == {home.url: 0, f"{home.url}#exports": 2, away.url: 1}


def test_a_scope_in_use_counts_where_its_connection_does() -> None:
    """A connection that was in use before a manager got it, and a policy that changes meanwhile."""
    with FaultServer() as server, ConnectionManager() as manager:
        conn = Connection(server.url, ANONYMOUS)
        scope = conn.scope("reports")
        scope.get("/")
        manager.add(server.url, None, conn)
        scope.get("/")
        assert manager.health(f"{server.url}#reports").calls == 1
        manager.forget(f"{server.url}#reports")
        scope.get("/")
        assert manager.health(f"{server.url}#reports").calls == 1
        conn.policy = Policy(timeout={"propagate": "X-Time-Left"})
        scope.get("/")
        assert server.requests[-1].header("X-Time-Left") is not None


def test_a_walk_goes_on_in_its_scope_when_the_connection_was_made_anew() -> None:
    with FaultServer(default=paged) as server, ConnectionManager() as manager:
        manager.add_conn_hook(Direct())
        walk = pages(manager.find(server.url).scope("exports").get("/pages/1"), manager=manager)
        for expected in (1, 2, 3):
            assert next(walk).json()["page"] == expected
            manager.evict(server.url)
        health = manager.health(f"{server.url}#exports")
        assert (health.calls, manager.health(server.url).calls) == (3, 0)


def test_a_service_sends_through_the_scope_that_it_is_given() -> None:
    with FaultServer(default=json_reply({"a": 1})) as server, ConnectionManager() as manager:
        manager.add_conn_hook(Direct())
        conn = manager.find(server.url)
        given = Service(None, server.url, servicepath="/api/x/1", connection=conn.scope("x"))
        assert given.request("GET", "/things") == {"a": 1}
        manager.clear_hooks()
        manager.add(server.url, None, conn.scope("by hand"))
        found = Service(None, server.url, servicepath="/api/x/1", connection_manager=manager)
        assert [found.request("GET", "/things") for _ in range(2)] == [{"a": 1}] * 2
        calls = {host.rpartition("#")[2]: health.calls for host, health in manager.health().items()}
        assert calls == {server.url: 0, "x": 1, "by hand": 2}


@threads_only("signal handlers strike a thread")
def test_a_call_of_a_scope_that_is_struck_loses_nothing() -> None:
    """A signal handler that raises at any instruction, the making of the scope and of its record included."""
    with connected() as conn:

        def act() -> None:
            conn.scope("reports").get("/")

        def look() -> None:
            scope = conn.scope("reports")
            for host in (conn._record, scope._record):
                assert_whole(host)
            assert conn._scopes is not None
            assert repr(conn._scopes._lock).startswith("<unlocked ")
            assert conn.scope("reports") is scope
            assert_answered(scope)
            conn._record.forget_part("reports")

        assert strike_everywhere(act, look) > 100


def test_threads_in_many_scopes_get_their_own_answers() -> None:
    def echo(exchange: Exchange) -> Step:
        assert exchange.request is not None
        return json_reply({"path": exchange.request.path})

    with (
        FaultServer(default=echo) as server,
        Connection(server.url, ANONYMOUS, policy=Policy(breaker=False)) as conn,
        ThreadPoolExecutor(8) as threads,
    ):

        def ask(number: int) -> bool:
            scope = conn.scope(f"tenant {number % 5}")
            with contextlib.suppress(ConnectionError):
                return bool(scope.get(f"/{number}").json()["path"] == f"/{number}")
            return False

        assert all(threads.map(ask, range(200)))
        healths = [part.snapshot() for part in conn._record.parts()]
        assert [health.calls for health in healths] == [40] * 5
        assert all(health.in_flight == 0 for health in healths)
