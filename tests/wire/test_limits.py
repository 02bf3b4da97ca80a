"""Limits on what a host gets, over real sockets: the rate limit."""

from __future__ import annotations

import threading
import time

import pytest
from servers import FaultServer, elapsed

from sleepwalker import ANONYMOUS, Connection, Policy, RateLimitedError
from sleepwalker import ConnectionError as OurConnectionError


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    policy = Policy(rate_limit={"rate": 10, "burst": 3, "max_wait": 0.45})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        with elapsed() as took:
            for _ in range(6):
                conn.get("/")
        assert len(server.requests) == 6
        assert 0.29 <= took.seconds < 2


def test_a_call_over_the_rate_is_not_sent() -> None:
    policy = Policy(rate_limit={"rate": 0.1, "burst": 1})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        with pytest.raises(RateLimitedError) as caught:
            conn.get("/path?token=x", policy="off")
        assert len(server.requests) == 1
        assert 9 < (caught.value.retry_after or 0) <= 10
        assert caught.value.host == server.url
        assert conn.health.rejections == 1


def test_closing_the_connection_ends_a_wait_for_a_turn() -> None:
    policy = Policy(rate_limit={"rate": 0.1, "burst": 1, "max_wait": 20})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        threading.Timer(0.1, conn.close).start()
        began = time.monotonic()
        with pytest.raises(OurConnectionError, match="closed while the call waited"):
            conn.get("/")
        assert time.monotonic() - began < 1
        assert len(server.requests) == 1
