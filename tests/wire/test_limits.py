"""Limits on what a host gets, over real sockets: rate limit, queue before the bulkhead, deadline told to the server."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import Exchange, FaultServer, Request, Step, elapsed, redirect, reply, timing_test

from sleepwalker import ANONYMOUS, BulkheadFullError, Connection, DeadlineExceeded, Policy, RateLimitedError
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.drivers.threads.clock import BlockingSystemClock, Wake

pytestmark = pytest.mark.both_drivers


def once(moment: threading.Event) -> Step:
    """An answer as soon as that has come."""

    def act(exchange: Exchange) -> Step:
        while not moment.is_set():
            exchange.pause(0.01)
        return reply(200, b"slow")

    return Step(act)


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    policy = Policy(rate_limit={"rate": 10, "burst": 3, "max_wait": 5})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        with elapsed() as took:
            for _ in range(6):
                conn.get("/")
        assert len(server.requests) == 6
        assert took.seconds >= 0.29
        took.assert_at_most(10)


def test_a_call_over_the_rate_is_not_sent() -> None:
    policy = Policy(rate_limit={"rate": 0.01, "burst": 1})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        with pytest.raises(RateLimitedError) as caught:
            conn.get("/path?token=x", policy="interactive")
        assert len(server.requests) == 1
        assert 70 < (caught.value.retry_after or 0) <= 100
        assert caught.value.host == server.url
        conn.get("/", policy="off")  # it says `rate_limit = false`
        conn.get("/", policy=conn.policy.replace(rate_limit=False))
        with pytest.raises(RateLimitedError):
            conn.get("/", policy=Policy())  # equal to the one before but for its silence
        assert len(server.requests) == 3
        assert conn.health.rejections == 2


def test_closing_the_connection_ends_a_wait_for_a_turn(driver: str) -> None:
    policy = Policy(rate_limit={"rate": 0.02, "burst": 1, "max_wait": 60}, timeout={"total": 120})
    waits = threading.Event()

    class Watched(BlockingSystemClock):
        def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
            waits.set()
            return super().sleep(seconds, wake)

    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy, clock=Watched()) as conn:
        conn.get("/")

        def close() -> None:
            # Closed before, it would refuse the call without a wait. The clock of a loop is the loop's own.
            waits.wait(30 if driver == "threads" else 0.5)
            conn.close()

        closer = threading.Thread(target=close)
        closer.start()
        with elapsed() as took, pytest.raises(OurConnectionError, match="closed while the call was queued"):
            conn.get("/")
        closer.join()
        took.assert_at_most(20)
        assert len(server.requests) == 1


def test_calls_that_find_no_place_go_one_after_the_other() -> None:
    policy = Policy(bulkhead={"max_concurrent": 1, "max_wait": 20})
    with (
        FaultServer(default=reply(200, b"slow", delay=0.1)) as server,
        Connection(server.url, ANONYMOUS, policy=policy) as conn,
        ThreadPoolExecutor(4) as pool,
    ):
        with elapsed() as took:
            answers = [job.result(60) for job in [pool.submit(conn.get, "/") for _ in range(4)]]
        assert [answer.content for answer in answers] == [b"slow"] * 4
        assert took.seconds >= 0.4
        assert server.accepted == 1  # one socket was enough
        assert conn.health.in_flight == 0


def test_a_call_whose_turn_does_not_come_is_not_sent() -> None:
    policy = Policy(bulkhead={"max_concurrent": 1, "max_wait": 0.1})
    refused = threading.Event()
    with (
        FaultServer(default=once(refused)) as server,
        Connection(server.url, ANONYMOUS, policy=policy) as conn,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(conn.get, "/")
        while not server.requests:
            time.sleep(0.01)
        with elapsed() as took, pytest.raises(BulkheadFullError):
            conn.get("/")
        assert took.seconds >= 0.1
        refused.set()
        assert first.result(10).status_code == 200
        assert len(server.requests) == 1


def test_closing_the_connection_ends_the_queue_and_lets_the_request_in_flight_finish() -> None:
    policy = Policy(bulkhead={"max_concurrent": 1, "max_wait": 20})
    ended = threading.Event()
    with (
        FaultServer(default=once(ended)) as server,
        Connection(server.url, ANONYMOUS, policy=policy) as conn,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(conn.get, "/")
        while not server.requests:
            time.sleep(0.01)
        second = pool.submit(conn.get, "/")
        while not conn._record.admission.bulkhead.queue:
            time.sleep(0.01)
        conn.close()
        with pytest.raises(OurConnectionError, match="closed while the call was queued"):
            second.result(15)
        ended.set()
        assert first.result(10).status_code == 200
        assert len(server.requests) == 1


# -- telling the server how long there is ---------------------------------------------------------

PROPAGATE = {"connect": 1, "attempt": 2, "total": 3, "propagate": "X-Request-Timeout"}


def told(request: Request) -> str | None:
    """What the server was told, under whatever spelling of the header's name."""
    return {name.lower(): value for name, value in request.headers}.get("x-request-timeout")


@timing_test
def test_each_attempt_tells_the_server_how_many_seconds_are_left_for_it() -> None:
    policy = Policy(timeout=PROPAGATE, retry={"attempts": 2, "jitter": "none", "wait_initial": 1.2})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        server.script(reply(503), reply(200))
        with elapsed() as took:
            conn.get("/")
        took.assert_at_most(1.3)
        first, second = [told(request) or "" for request in server.requests]
    assert all(re.fullmatch(r"[0-9]\.[0-9]{3}", text) for text in (first, second))
    assert 1.9 <= float(first) <= 2.0
    assert 1.7 <= float(second) <= 1.8  # of the total, which ends before the attempt's own deadline


def test_a_deadline_header_of_the_callers_own_stays() -> None:
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=Policy(timeout=PROPAGATE)) as conn:
        conn.get("/", headers={"x-request-timeout": "0.5"})
        conn.get("/", policy="standard")
        assert [told(request) for request in server.requests] == ["0.5", None]


def test_a_redirect_to_another_host_does_not_get_the_deadline() -> None:
    with FaultServer() as other, FaultServer() as server:
        server.script(redirect(other.url + "/"))
        with Connection(server.url, ANONYMOUS, policy=Policy(timeout=PROPAGATE)) as conn:
            conn.get("/")
        assert told(server.requests[0])
        assert told(other.requests[0]) is None


# -- another policy while it runs -----------------------------------------------------------------


def test_a_policy_that_is_set_while_a_request_is_under_way_is_for_later_calls() -> None:
    refused = threading.Event()
    with (
        FaultServer(default=once(refused)) as server,
        Connection(server.url, ANONYMOUS) as conn,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(conn.get, "/")
        while not server.requests:
            time.sleep(0.01)
        conn.policy = Policy(bulkhead={"max_concurrent": 1}, timeout={"connect": 0.1, "attempt": 0.1})
        with pytest.raises(BulkheadFullError):
            conn.get("/")
        refused.set()
        assert first.result(10).status_code == 200
        refused.clear()
        with pytest.raises(DeadlineExceeded):
            conn.get("/", idempotent=False, data=iter([b"once"]))
