"""`breaker.max_wait` on real sockets: work that can wait gets through an outage whole, and whatever ends it ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from servers import Elapsed, FaultServer, elapsed, reply, timing_test

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    ConnectionManager,
    HostIsolatedError,
    HTTPServiceUnavailable,
    Policy,
)
from sleepwalker import ConnectionError as OurConnectionError
from tests.both_drivers import threads_only

pytestmark = [pytest.mark.both_drivers, pytest.mark.long]

#: A circuit that one failure opens for half a minute, and calls that wait for it for twice as long.
SHUT: dict[str, Any] = {
    "consecutive_for": 0,
    "consecutive": 1,
    "open_for": 30,
    "open_max": 30,
    "close_after": 1,
    "ramp": 0,
    "max_wait": 60,
}


def shut(retry: Any = False, **changes: Any) -> Policy:
    return Policy(retry=retry, timeout={"total": 120}, breaker={**SHUT, **changes})


def trip(conn: Connection) -> None:
    assert conn.get("/trip", raise_for_status=False).status_code == 500
    assert conn.health.breaker == "open"


def waiting(conn: Connection) -> int:
    breaker = conn._record.breaker
    return 0 if breaker is None else len(breaker.queue.waiters)


def until(fact: Callable[[], bool], within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.005)


def queued(conn: Connection, pool: ThreadPoolExecutor, *paths: str) -> list[Future[Any]]:
    """Calls that wait, in this order."""
    calls = []
    for number, path in enumerate(paths, start=waiting(conn) + 1):
        calls.append(pool.submit(conn.get, path))
        until(lambda number=number: waiting(conn) == number)  # type: ignore[misc]
    return calls


@pytest.mark.parametrize("how", ["stopped", "answers 503"])
def test_eight_workers_of_a_batch_get_through_an_outage_of_three_seconds_and_lose_nothing(how: str) -> None:
    ill = threading.Event()
    with (
        FaultServer(default=lambda _: reply(503) if ill.is_set() else reply(200)) as server,
        Connection(server.url, ANONYMOUS, policy=Policy.load("batch")) as conn,
        ThreadPoolExecutor(8) as pool,
    ):
        end = time.monotonic() + 4.5

        def work(_: int) -> int:
            done = 0
            while time.monotonic() < end:
                assert conn.get("/item").status_code == 200
                done += 1
                time.sleep(0.02)
            return done

        workers = [pool.submit(work, number) for number in range(8)]
        time.sleep(0.5)
        if how == "stopped":
            server.stop()
        else:
            ill.set()
        time.sleep(3)
        if how == "stopped":
            server.start()
        else:
            ill.clear()
        done = [worker.result(60) for worker in workers]
        assert min(done) > 0
        health = conn.health
        assert health.calls == sum(done)
        assert (health.rejections, waiting(conn), health.in_flight) == (0, 0, 0)
        # Each worker's call of that moment and its retries, and one look at a time from then on.
        assert health.failures <= 8 * 4


def test_the_order_is_kept() -> None:
    """One probe at a time: each is the call that has waited for longest."""
    with FaultServer() as server, ThreadPoolExecutor(8) as pool:
        server.script(reply(500))
        with Connection(server.url, ANONYMOUS, policy=shut(open_for=2.0, close_after=8)) as conn:
            trip(conn)
            paths = [f"/{number}" for number in range(8)]
            calls = queued(conn, pool, *paths)
            assert [call.result(30).status_code for call in calls] == [200] * 8
        assert [request.path for request in server.requests] == ["/trip", *paths]


@timing_test
def test_they_go_on_within_a_moment_of_each_other() -> None:
    """Who is next is woken; it does not look up now and then."""
    with FaultServer() as server, ThreadPoolExecutor(8) as pool:
        server.script(reply(500))
        with Connection(server.url, ANONYMOUS, policy=shut(open_for=0.5, close_after=8)) as conn:
            trip(conn)
            with elapsed() as took:
                calls = [pool.submit(conn.get, "/") for _ in range(8)]
                assert [call.result(30).status_code for call in calls] == [200] * 8
            took.assert_at_most(0.55 + 0.9)


@timing_test
def test_closing_the_connection_ends_it_at_once() -> None:
    with FaultServer() as server, ThreadPoolExecutor(3) as pool:
        server.script(reply(500))
        with Connection(server.url, ANONYMOUS, policy=shut()) as conn:
            trip(conn)
            calls = queued(conn, pool, "/a", "/b", "/c")
            with elapsed() as took:
                conn.close()
                for call in calls:
                    with pytest.raises(OurConnectionError, match="closed while the call was queued") as caught:
                        call.result(20)
                    assert caught.value.never_sent
            took.assert_at_most(1)
            assert (waiting(conn), conn.health.in_flight, conn.health.rejections) == (0, 0, 0)
        assert len(server.requests) == 1


@timing_test
def test_ctrl_c_ends_it_at_once_and_the_next_one_goes_first() -> None:
    with FaultServer() as server, ThreadPoolExecutor(1) as pool:
        server.script(reply(500))
        with Connection(server.url, ANONYMOUS, policy=shut(open_for=3)) as conn:
            trip(conn)
            struck: list[float] = []

            def interrupt() -> None:
                until(lambda: waiting(conn) == 1)
                queued(conn, pool, "/next")
                struck.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=interrupt).start()
            with pytest.raises(KeyboardInterrupt):
                conn.get("/mine")
            Elapsed(struck[0]).assert_at_most(1)
            assert waiting(conn) == 1
            server.wait_for_requests(2, within=20)
            assert [request.path for request in server.requests] == ["/trip", "/next"]
            until(lambda: conn.health.in_flight == 0)


@timing_test
@pytest.mark.parametrize("by", ["isolate", "reset_circuit"])
def test_an_operators_hand_ends_it_at_once(by: str) -> None:
    with (
        FaultServer() as server,
        ConnectionManager(policy=shut()) as manager,
        ThreadPoolExecutor(3) as pool,
        Connection(server.url, ANONYMOUS, policy=shut()) as conn,
    ):
        server.script(reply(500))
        manager.add(server.url, None, conn)
        trip(conn)
        calls = queued(conn, pool, "/a", "/b", "/c")
        with elapsed() as took:
            if by == "isolate":
                manager.isolate(server.url)
                for call in calls:
                    assert isinstance(call.exception(20), HostIsolatedError)
            else:
                manager.reset_circuit(server.url)
                assert [call.result(20).status_code for call in calls] == [200] * 3
        took.assert_at_most(1)
        assert (waiting(conn), conn.health.in_flight) == (0, 0)


def test_a_retry_that_is_not_let_through_gives_the_answer_in_hand_with_its_body() -> None:
    retry = {"attempts": 2, "wait_initial": 0.01, "jitter": "none"}
    with FaultServer() as server, ThreadPoolExecutor(1) as pool:
        server.script(reply(503, b"come again"))
        with Connection(server.url, ANONYMOUS, policy=shut(retry=retry)) as conn:
            call = pool.submit(conn.get, "/")
            until(lambda: waiting(conn) == 1)
            server.wait_for_open(0)  # that of a 503 is not used again, and is not kept open for the wait either
            conn.close()
            with pytest.raises(HTTPServiceUnavailable) as caught:
                call.result(20)
        assert caught.value.response is not None
        assert caught.value.response.content == b"come again"
        assert len(server.requests) == 1


def test_the_total_of_a_call_bounds_it() -> None:
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=shut(open_for=0.5)) as conn:
        server.script(reply(500))
        trip(conn)
        with pytest.raises(CircuitOpenError) as caught:
            conn.get("/", total=0.2)
        assert caught.value.never_sent
        assert conn.get("/", total=30).status_code == 200
        assert conn.health.rejections == 1


@threads_only("a program of its own")
def test_the_process_ends_though_daemon_threads_wait() -> None:
    """A worker thread that waits for a circuit does not keep the interpreter."""

    code = """
import threading, time
from sleepwalker import ANONYMOUS, Connection, Policy
breaker = {"consecutive_for": 0, "consecutive": 1, "open_for": 300, "open_max": 300, "max_wait": 600}
conn = Connection("http://127.0.0.1:9", ANONYMOUS, policy=Policy(retry=False, timeout={"total": 700}, breaker=breaker))
try:
    conn.get("/")
except Exception:
    pass
threading.Thread(target=conn.get, args=("/",), daemon=True).start()
while not conn._record.admission.queued:
    time.sleep(0.01)
print("waits")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "waits\n"), ended.stderr
