"""Another policy while real requests are under way: they end as they began, and those after them follow the new one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, reply, stall

from sleepwalker import (
    ANONYMOUS,
    BulkheadFullError,
    Connection,
    ConnectionHook,
    ConnectionManager,
    DeadlineExceeded,
    Policy,
    RateLimitedError,
    SleepwalkerException,
)

pytestmark = pytest.mark.both_drivers


class Direct(ConnectionHook):
    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def connect(self, host: str, auth: Any) -> Connection:
        return Connection(host, auth or ANONYMOUS, policy=self.policy)


def wait_until(fact: Callable[[], Any], within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def once(moment: threading.Event) -> Callable[[Exchange], Step]:
    """Answers as soon as that has come, however long the machine stands still before."""

    def act(exchange: Exchange) -> Step:
        while not moment.is_set():
            exchange.pause(0.01)
        return reply(200)

    return act


def test_requests_in_flight_finish_and_the_next_find_the_new_limits() -> None:
    before = Policy(bulkhead={"max_concurrent": 4})
    refused = threading.Event()
    with (
        FaultServer(default=once(refused)) as server,
        ConnectionManager(policy=before) as manager,
        ThreadPoolExecutor(4) as pool,
    ):
        manager.add_conn_hook(Direct(before))
        conn = manager.find(server.url)
        jobs = [pool.submit(conn.get, f"/{number}") for number in range(4)]
        wait_until(lambda: len(server.requests) == 4)
        manager.reload(Policy(bulkhead={"max_concurrent": 1}, rate_limit={"rate": 0.01, "burst": 2}))
        assert manager.find(server.url) is conn
        assert (conn.health.in_flight, conn.health.limit) == (4, 1)
        with pytest.raises(BulkheadFullError):
            conn.get("/refused")
        refused.set()
        assert [job.result(10).status_code for job in jobs] == [200] * 4
        assert conn.health.in_flight == 0
        assert [conn.get("/").status_code for _ in range(2)] == [200, 200]
        with pytest.raises(RateLimitedError):
            conn.get("/")
        health = manager.health(server.url)
        assert (health.calls, health.attempts, health.rejections) == (8, 6, 2)


def test_who_queues_gets_in_by_a_reload_and_who_waits_to_retry_goes_on_by_the_old_policy() -> None:
    let_in = threading.Event()

    def came(path: str) -> bool:
        return any(request.path == path for request in server.requests)

    def busy(exchange: Exchange) -> Step:
        assert exchange.request is not None
        first = sum(request.path == exchange.request.path for request in server.requests) == 1
        return reply(503) if first and exchange.request.path == "/retried" else once(let_in)(exchange)

    before = Policy(
        bulkhead={"max_concurrent": 2, "max_wait": 5},
        retry={"attempts": 2, "jitter": "none", "wait_initial": 0.3},
    )
    with (
        FaultServer(default=busy) as server,
        ConnectionManager(policy=before) as manager,
        ThreadPoolExecutor(3) as pool,
    ):
        manager.add_conn_hook(Direct(before))
        conn = manager.find(server.url)
        retried = pool.submit(conn.get, "/retried")
        wait_until(lambda: conn.health.attempts >= 1)  # where the machine stood still, the second may have begun
        held = pool.submit(conn.get, "/held")
        wait_until(lambda: came("/held"))
        queued = pool.submit(conn.get, "/queued")
        wait_until(lambda: conn._record.admission.bulkhead.queue)
        manager.reload(Policy(bulkhead={"mode": "observe"}, retry=False))
        conn.policy = Policy(retry=False)
        wait_until(lambda: came("/queued"))
        let_in.set()  # no call gave up a place before
        answers = [job.result(10) for job in (retried, held, queued)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert len(answers[0].attempts) == 2  # its own policy said so when it began
        assert conn.health.in_flight == 0


def test_a_deadline_under_way_is_the_one_that_the_call_began_with() -> None:
    patient = Policy(retry=False, timeout={"connect": 5, "read": 5, "attempt": 5, "total": 5})
    ended = threading.Event()
    with (
        FaultServer(default=stall()) as server,
        ThreadPoolExecutor(1) as pool,
        Connection(server.url, ANONYMOUS, policy=patient) as conn,
    ):
        server.script(once(ended))
        job = pool.submit(conn.get, "/")
        wait_until(lambda: server.requests)
        conn.policy = patient.replace(timeout={"connect": 0.1, "read": 0.1, "attempt": 0.1, "total": 0.1})
        with pytest.raises(DeadlineExceeded):
            conn.get("/")
        ended.set()
        assert job.result(10).status_code == 200


def test_a_changed_probe_has_its_own_path_and_pace_and_one_that_is_taken_out_ends() -> None:
    policy = Policy(
        retry=False,
        breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 60, "open_max": 60, "ramp": 0},
        health={"probe": "/old", "probe_interval": 0.05, "rehook_initial": 100, "rehook_max": 100},
    )

    def asked(path: str) -> int:
        return sum(request.path == path for request in server.requests)

    with FaultServer(default=reply(503)) as server, ConnectionManager(policy=policy) as manager:
        manager.add_conn_hook(Direct(policy))
        for _ in range(2):
            with pytest.raises(SleepwalkerException):
                manager.find(server.url).get("/")
        wait_until(lambda: asked("/old") >= 2)
        begin = time.monotonic()
        manager.reload(policy.replace(health={"probe": "/new", "probe_interval": 0.1}))
        wait_until(lambda: asked("/new") >= 1)
        old = asked("/old")
        wait_until(lambda: asked("/new") >= 5)
        assert time.monotonic() - begin >= 0.4  # at the old pace 0.25; not since the first one, which may be seen late
        assert asked("/old") == old
        manager.reload(policy.replace(health={"probe": None}))
        time.sleep(0.15)
        seen = len(server.requests)
        time.sleep(0.25)
        assert len(server.requests) == seen
        assert asked("/None") == 0
        server.default = reply(200)
        manager.reload(policy)
        wait_until(lambda: manager.health(server.url).breaker == "closed")
