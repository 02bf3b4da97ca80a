"""Over real sockets: which events belong to which call, which name it was found by, and which process made it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import FaultServer, reply, stall

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, Policy
from sleepwalker.events import (
    AttemptFailed,
    CallEvent,
    Event,
    HedgeFinished,
    HedgeSent,
    RequestFailed,
    RequestFinished,
    RetryScheduled,
)
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

ROOT = Path(__file__).parents[2]
PATIENT = Policy(retry={"wait_initial": 0.01, "jitter": "none", "budget": False}, breaker=False)


def by_call(events: list[Event]) -> dict[str | None, list[Event]]:
    """The events of calls, in the order in which they were told."""
    told: dict[str | None, list[Event]] = defaultdict(list)
    for event in events:
        if isinstance(event, CallEvent):
            told[event.call].append(event)
    return told


class Foreign:
    """No `Connection`: the manager guards it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=10)


class Named(ConnectionHook):
    """Knows one name, and where that is."""

    def __init__(self, name: str, make: Any) -> None:
        self.name = name
        self.make = make

    def connect(self, host: Any, auth: Any) -> Any:
        return self.make() if host == self.name else None


def test_each_event_of_concurrent_calls_to_one_path_can_be_put_to_its_call() -> None:
    events: list[Event] = []
    with (
        FaultServer() as server,
        Connection(server.url, ANONYMOUS, policy=PATIENT, observer=events.append) as conn,
        ThreadPoolExecutor(12) as pool,
    ):
        server.script(*[reply(503)] * 12)
        answered = [
            one.result() for one in [pool.submit(conn.get, "/items", raise_for_status=False) for _ in range(24)]
        ]
    told = by_call(events)
    assert len(told) == 24
    sends = []
    for *before, last in told.values():
        assert isinstance(last, RequestFinished | RequestFailed)
        failed = [event.attempt for event in before if isinstance(event, AttemptFailed)]
        assert failed == list(range(1, len(failed) + 1))
        assert [event.attempt for event in before if isinstance(event, RetryScheduled)] == [n + 1 for n in failed[:2]]
        sends.append(last.attempts)
    assert Counter(sends) == Counter(len(response.attempts) for response in answered)  # type: ignore[attr-defined]
    assert max(sends) > 1


def test_a_hedge_and_both_of_its_events_bear_the_id_of_the_call() -> None:
    events: list[Event] = []
    policy = Policy(hedge={"delay": 0.05}, timeout={"read": 5})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy, observer=events.append) as conn:
        server.script(stall(), reply(200))
        assert conn.get("/slow").status_code == 200
    (mine,) = by_call(events).values()
    assert {HedgeSent, HedgeFinished} <= {type(event) for event in mine}


def test_events_say_what_find_was_asked_for_where_that_is_not_the_host(driver: str) -> None:
    """Of a connection, of its scopes, of a guarded object, and of one that stands in for another host."""
    events: list[Event] = []
    with (
        FaultServer() as server,
        FaultServer() as other,
        ConnectionManager(guard=True, observer=events.append) as manager,
    ):
        make = partial(Connection, server.url, ANONYMOUS, observer=events.append)
        manager.add_conn_hook(Named("billing", make))
        manager.add_conn_hook(Named("stock", lambda: Foreign(server.url)))
        manager.add_conn_hook(Named(other.url, make))
        manager.add("https://replaced.test/api", None, make())
        manager.find("billing").get("/")
        manager.find("billing").scope("eu").get("/")
        if driver == "threads":  # that client is blocking
            manager.find("stock").get("/")
        manager.find(other.url).get("/")
        manager.find("https://replaced.test/api").get("/")
        with make() as alone, ConnectionManager() as plain:
            plain.add(server.url, None, alone)
            plain.find(server.url).get("/")
            plain.find(server.url).scope("eu").get("/")
    found = [(event.host, event.asked_for) for event in events if isinstance(event, RequestFinished)]
    assert found == [
        (server.url, "billing"),
        (f"{server.url}#eu", "billing"),
        *([("stock", None)] if driver == "threads" else []),
        (server.url, other.url),
        (server.url, "https://replaced.test/api"),
        (server.url, None),
        (f"{server.url}#eu", None),
    ]


@threads_only("a program of its own")
def test_a_log_of_two_processes_tells_them_and_their_calls_apart(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    program = textwrap.dedent(
        f"""
        import os, sleepwalker
        sleepwalker.logging.configure({str(path)!r})
        child = os.fork()
        with sleepwalker.Connection(os.environ["SERVER"], sleepwalker.ANONYMOUS) as conn:
            conn.get("/")
        if child:
            os.waitpid(child, 0)
        """
    )
    with FaultServer() as server:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "SERVER": server.url}
        subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=60)
    one, two = map(json.loads, path.read_text().splitlines())
    assert one["pid"] != two["pid"]
    assert one["call"].partition("-")[0] != two["call"].partition("-")[0]
