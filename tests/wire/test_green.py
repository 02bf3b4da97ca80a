"""Under gevent and eventlet, the real ones: greenlets in place of threads, locks, queues and sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Exchange, FaultServer, Step, TlsMaterial, reply

PROGRAM = Path(__file__).with_name("green.py")
SCENARIOS = (
    "an_open_pool",
    "a_pool_that_blocks",
    "a_wait_for_a_retry_lets_others_go_on",
    "close_ends_a_wait",
    "one_hook_is_asked_for_all_who_find",
    "a_slow_attempt_is_hedged",
    "a_name_is_looked_up",
    "a_full_bulkhead_is_queued_for",
    "uploads_are_sent_whole_or_refused",
)


def _once(first: Step, later: Step) -> Step:
    """That step for the first request, and the other one for all later ones."""
    seen: list[Exchange] = []

    def act(exchange: Exchange) -> Step:
        seen.append(exchange)
        return first if len(seen) == 1 else later

    return Step(act)


def _refuse(exchange: Exchange) -> None:
    """Says so and reads no further."""
    exchange.send(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
    exchange.pause(None)


def _count(exchange: Exchange) -> Step:
    assert exchange.request is not None
    return reply(200, str(len(exchange.request.body)))


@pytest.fixture(scope="module", params=["gevent", "eventlet"])
def came(request: pytest.FixtureRequest, tls: TlsMaterial) -> Iterator[dict[str, str]]:
    """What came of each scenario. Where the library cannot be imported, that is a failure as well."""
    ok, busy = reply(200, b"ok"), reply(503, b"busy")
    routes = {
        "/slow": reply(200, b"ok", delay=0.2),
        "/busy": busy,
        "/busy-once": _once(busy, ok),
        "/slow-once": _once(reply(200, b"late", delay=3), ok),
        "/refused": Step(_refuse, "head"),
        "/counted": Step(_count),
    }
    with FaultServer(routes=routes) as server, FaultServer(routes=routes, tls=tls.server_context()) as secure:
        command = [sys.executable, str(PROGRAM), request.param, server.url, secure.url, *SCENARIOS]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_works_under_greenlets_as_it_does_under_threads(came: dict[str, str], scenario: str) -> None:
    assert came[scenario] == "right"
