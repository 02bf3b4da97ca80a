"""What a server asks for when it says "not now", and who obeys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, elapsed, reply, timing_test

from sleepwalker import ANONYMOUS, Connection, Policy

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
