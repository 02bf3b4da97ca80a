"""One connection on both sides of a fork: neither gets the other's responses, and no lock of the parent stays held."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from servers import Exchange, FaultServer, Step, TlsMaterial, forward_proxy, json_reply, redirect, reply, slow_dns

from sleepwalker import ANONYMOUS, Connection, Policy
from tests.forks import fork, wait
from tests.ranges import some

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ONCE = Policy(retry=False, breaker=False)


def echo(exchange: Exchange) -> Step:
    assert exchange.request is not None
    return json_reply({"path": exchange.request.path, "body": exchange.request.body.decode()})


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(default=echo) as running:
        yield running


def ask(conn: Connection, who: str, count: int) -> bool:
    """Ask `count` questions; whether each answer belonged to its question."""
    for number in range(count):
        answer = conn.post(f"/{who}/{number}", data=f"{who}-{number}").json()
        if answer != {"path": f"/{who}/{number}", "body": f"{who}-{number}"}:
            return False
    return True


@pytest.mark.parametrize("session", [None, "plain", "custom adapter"])
def test_parent_and_child_each_get_their_own_answers(server: FaultServer, session: str | None) -> None:
    """On one pooled socket, requests mixes 17 of 20 answers up."""
    own = None if session is None else requests.Session()
    if own is not None and session == "custom adapter":
        own.mount("http://", type("Mine", (HTTPAdapter,), {})())
    with Connection(server.url, ANONYMOUS, policy=ONCE, session=own) as conn:
        assert ask(conn, "before", 3)
        assert server.accepted == 1
        pid = fork(lambda: ask(conn, "child", 100))
        assert ask(conn, "parent", 100)
        assert wait(pid) == 0
        assert ask(conn, "after", 3)
    assert {request.connection for request in server.requests if request.path.startswith("/parent")} == {1}
    assert 1 not in {request.connection for request in server.requests if request.path.startswith("/child")}


def test_tls_and_proxied_connections_too(tls: TlsMaterial) -> None:
    with FaultServer(tls=tls.server_context(), default=echo) as secure, forward_proxy() as proxy:
        direct = Connection(secure.url, ANONYMOUS, policy=ONCE, verify=str(tls.ca))
        proxied = Connection(secure.url, ANONYMOUS, policy=ONCE, verify=str(tls.ca), proxies={"https": proxy.url})
        with direct, proxied:
            for conn in (direct, proxied):
                assert ask(conn, "before", 3)
                pid = fork(lambda conn=conn: ask(conn, "child", 30))  # type: ignore[misc]
                assert ask(conn, "parent", 30)
                assert wait(pid) == 0


def test_pools_of_redirect_targets_too(server: FaultServer) -> None:
    with FaultServer(default=echo) as other:
        server.default = lambda exchange: redirect(f"{other.url}{exchange.request.path}")  # type: ignore[union-attr]

        def follow(conn: Connection, who: str) -> bool:
            return all(conn.get(f"/{who}/{n}").json()["path"] == f"/{who}/{n}" for n in range(30))

        with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
            assert follow(conn, "before")
            pid = fork(lambda: follow(conn, "child"))
            assert follow(conn, "parent")
            assert wait(pid) == 0


def test_several_children_at_once(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        assert ask(conn, "before", 3)
        pids = [fork(lambda n=n: ask(conn, f"child{n}", 30)) for n in range(4)]  # type: ignore[misc]
        assert ask(conn, "parent", 30)
        assert [wait(pid) for pid in pids] == [0] * 4


def test_a_grandchild(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:

        def child() -> bool:
            pid = fork(lambda: ask(conn, "grandchild", 20))
            return ask(conn, "child", 20) and wait(pid) == 0

        assert ask(conn, "before", 1)
        pid = fork(child)
        assert ask(conn, "parent", 20)
        assert wait(pid) == 0


def test_a_child_may_close_without_harm_to_the_parent(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        assert ask(conn, "before", 1)
        assert wait(fork(conn.close)) == 0
        assert not conn.closed
        assert ask(conn, "parent", 5)
    assert {request.connection for request in server.requests} == {1}, "not even the socket was touched"


def test_a_connection_that_the_parent_closed_is_closed_in_the_child(server: FaultServer) -> None:
    conn = Connection(server.url, ANONYMOUS)
    conn.close()

    def refused() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            conn.get("/")
            return False
        return True

    assert wait(fork(refused)) == 0


def test_a_fork_while_other_threads_send(server: FaultServer) -> None:
    """Each fork happens at some other moment of theirs: in a lock, on the wire, in a log line."""
    with Connection(server.url, ANONYMOUS, policy=Policy(retry=False)) as conn:
        stop = threading.Event()

        def busy(number: int) -> bool:
            while not stop.is_set():
                if not ask(conn, f"thread{number}", 3):
                    return False
            return True

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(busy, number) for number in range(4)]
            try:
                for round_ in range(some(5, 12)):
                    pid = fork(lambda r=round_: ask(conn, f"child{r}", 5) and conn.health.in_flight == 0)  # type: ignore[misc]
                    assert wait(pid) == 0
            finally:
                stop.set()
            assert all(future.result(60) for future in futures)


def test_a_request_in_flight_stays_the_parents(server: FaultServer) -> None:
    done = threading.Event()

    def slow(exchange: Exchange) -> Step:
        while not done.is_set():
            exchange.pause(0.01)
        return reply(200, b"slow")

    server.routes = {"/slow": slow}
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn, ThreadPoolExecutor(1) as pool:
        slow_call = pool.submit(conn.get, "/slow")
        server.wait_for_requests(1)
        assert conn.health.in_flight == 1
        assert wait(fork(lambda: conn.health.in_flight == 0 and ask(conn, "child", 3))) == 0
        done.set()
        assert slow_call.result(30).text == "slow"
        assert conn.health.in_flight == 0


@pytest.mark.parametrize("lock", ["host", "cookies", "lookup", "pool"])
def test_a_lock_that_another_thread_holds_at_the_fork_does_not_hang_the_child(server: FaultServer, lock: str) -> None:
    from sleepwalker.transport import resolver

    url = server.url.replace("127.0.0.1", "localhost")
    with Connection(url, ANONYMOUS, policy=Policy(retry=False)) as conn:
        server.script(reply(200, b"", {"Set-Cookie": "sid=1"}))
        conn.get("/")
        held: Any = {
            "host": conn._record.lock.mutex,
            "cookies": conn.conn.cookies._cookies_lock.mutex,  # type: ignore[attr-defined]
            "lookup": resolver._lookups_lock,
            "pool": conn._route._adapter.poolmanager.pools.lock,
        }[lock]
        release, taken = threading.Event(), threading.Event()

        def hold() -> None:
            with held:
                taken.set()
                release.wait(100)

        thread = threading.Thread(target=hold)
        thread.start()
        assert taken.wait(30)
        try:
            began = time.monotonic()
            assert wait(fork(lambda: ask(conn, "child", 3) and conn.health.calls >= 3)) == 0
            assert time.monotonic() - began < 50
        finally:
            release.set()
            thread.join()


def test_a_name_look_up_under_way_at_the_fork_is_begun_anew_in_the_child(server: FaultServer) -> None:
    """The thread that looks the name up is the parent's alone; its future would never be done."""
    url = server.url.replace("127.0.0.1", "slow.example")
    with (
        slow_dns("slow.example", delay=0.5),
        Connection(url, ANONYMOUS, policy=ONCE) as conn,
        ThreadPoolExecutor(1) as pool,
    ):
        parent = pool.submit(ask, conn, "parent", 1)
        time.sleep(0.1)
        assert wait(fork(lambda: ask(conn, "child", 1))) == 0
        assert parent.result(30)


def test_an_open_circuit_is_known_to_the_child_and_recovers_on_its_own(server: FaultServer) -> None:
    policy = Policy(
        retry=False, breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 2, "ramp": 0, "close_after": 1}
    )
    server.script(reply(500), reply(500))
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        for _ in range(2):
            conn.get("/", raise_for_status=False)

        def child() -> bool:
            if conn.health.breaker != "open":
                return False
            time.sleep(2.3)
            return ask(conn, "child", 2) and conn.health.breaker == "closed"

        assert wait(fork(child)) == 0
        assert conn.health.breaker in ("open", "half-open"), "the child's success is not the parent's"


def test_a_connection_made_and_forgotten_before_the_fork_does_no_harm(server: FaultServer) -> None:
    for _ in range(50):
        Connection(server.url, ANONYMOUS).close()
    conns = [Connection(server.url, ANONYMOUS, policy=ONCE) for _ in range(50)]
    assert wait(fork(lambda: all(ask(conn, "child", 1) for conn in conns))) == 0
    for conn in conns:
        conn.close()
