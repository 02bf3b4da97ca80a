"""Refused calls are told together: a circuit that refuses hundreds of calls a second writes two lines a second."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import weakref
from collections.abc import Iterable
from contextvars import Context, ContextVar, copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    ConnectError,
    Connection,
    ConnectionError,
    ConnectionHook,
    ConnectionManager,
    Policy,
)
from sleepwalker.engine.host import refusals
from sleepwalker.events import CallEvent, Event, RequestFailed, RequestFinished, RequestRejected
from tests.both_drivers import threads_only
from tests.ranges import whole
from tests.unit.engine_driver import World, answer

pytestmark = [pytest.mark.both_drivers("tests.unit.manager_driver"), pytest.mark.once]

#: A circuit that opens at the first failure, and for long.
OPEN: dict[str, Any] = {"consecutive_for": 0, "consecutive": 1, "open_for": 600, "open_max": 600, "ramp": 0}
POLICY = Policy(retry=False, breaker=OPEN)


def world(**log: Any) -> World:
    """A host whose circuit is open."""
    here = World(POLICY.replace(log=log))
    here.trip()
    here.announced.clear()
    return here


def told(here: World, kind: type[Any] = RequestRejected) -> list[tuple[int, float]]:
    """For how many calls each event of the kind stands, and how long ago the latest of them was."""
    return [
        (event.count or 1, event.ago or 0.0)
        for event, _ in here.announced
        if isinstance(event, kind) and not getattr(event, "attempts", 0)
    ]


def test_of_a_thousand_refused_calls_in_ten_seconds_eleven_pairs_of_events_tell() -> None:
    here = world()
    for _ in range(1024):
        here.call(answer(200))
        here.clock.advance(10 / 1024)
    pairs = [type(event) for event, _ in here.announced]
    assert pairs == [RequestRejected, RequestFailed] * 10
    assert told(here) == told(here, RequestFailed)
    here.host.tell_refused()
    assert len(told(here)) == 11
    assert sum(count for count, _ in told(here)) == 1024
    assert here.host.counters.rejected == 1024


def test_a_single_refused_call_is_told_at_once_without_a_count() -> None:
    here = world()
    here.call(answer(200))
    rejected, failed = (event for event, _ in here.announced)
    assert isinstance(rejected, RequestRejected)
    assert isinstance(failed, RequestFailed)
    assert (rejected.count, rejected.ago, failed.count, failed.ago) == (None, None, None, None)
    assert (rejected.by, failed.error, failed.attempts) == ("breaker", "CircuitOpenError", 0)
    assert rejected.call == failed.call
    assert "count" not in rejected.fields()


def test_what_waits_is_told_by_the_next_call_that_is_answered_and_says_how_long_ago_it_was() -> None:
    here = world()
    for _ in range(5):
        here.call(answer(200))
    here.clock.advance(0.5)
    here.host.reset_circuit()
    here.call(answer(200))
    assert told(here) == [(1, 0.0)], "not before a second is over"
    here.clock.advance(0.75)
    here.call(answer(200))
    assert told(here) == told(here, RequestFailed) == [(1, 0.0), (4, 1.25)]
    assert isinstance(here.announced[-1][0], RequestFinished), "in the order in which they happened"


def test_each_part_that_refuses_is_counted_apart() -> None:
    here = World(POLICY.replace(bulkhead={"max_concurrent": 1}))
    first = here.begin()
    for _ in range(3):
        here.begin()
    here.host.isolate()
    for _ in range(4):
        here.begin()
    first.close()
    here.clock.advance(1)
    here.begin()
    found: dict[str, int] = {}
    for event, _ in here.announced:
        if isinstance(event, RequestRejected):
            found[event.by] = found.get(event.by, 0) + (event.count or 1)
    assert found == {"bulkhead": 3, "isolation": 5}


def test_the_events_are_those_of_the_latest_call() -> None:
    here = world()
    for method in ("GET", "PUT", "DELETE"):
        here.call(answer(200), method)
    here.clock.advance(1)
    here.call(answer(200), "PATCH")
    events = [event for event, _ in here.announced if isinstance(event, CallEvent)]
    assert [event.method for event in events] == ["GET", "GET", "PATCH", "PATCH"]
    assert len({event.call for event in events}) == 2


def test_a_large_number_tells_each_call() -> None:
    here = world(rejections=1_000_000)
    for _ in range(20):
        here.call(answer(200))
        here.clock.advance(0.001)
    assert told(here) == [(1, 0.0)] * 20


@given(st.lists(st.tuples(st.sampled_from(["refused", "answered", "time"]), st.integers(1, 20)), max_size=30))
def test_no_call_is_lost_from_the_count_and_no_second_has_more_than_its_lines(steps: list[tuple[str, int]]) -> None:
    here = world(rejections=2)
    refused, times = 0, []
    for step, number in steps:
        before = len(told(here))
        if step == "time":
            here.clock.advance(number / 16)
        elif step == "refused":
            refused += number
            for _ in range(number):
                here.call(answer(200))
        else:
            here.host.reset_circuit()
            here.call(answer(200))
            here.trip()
        times += [here.clock.now] * (len(told(here)) - before)
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(times))
    here.host.tell_refused()
    assert sum(count for count, _ in told(here)) == refused == here.host.counters.rejected
    assert told(here) == told(here, RequestFailed)


def refuse(conn: Any, times: int) -> None:
    for _ in range(times):
        with pytest.raises(CircuitOpenError):
            conn.get("/")


@pytest.fixture
def nobody() -> str:
    """An address that nothing listens at."""
    return "http://127.0.0.1:9"


def seen(events: Iterable[Event]) -> int:
    return sum(event.count or 1 for event in events if isinstance(event, RequestRejected))


def test_closing_a_connection_tells_what_waits(nobody: str) -> None:
    events: list[Event] = []
    with Connection(nobody, ANONYMOUS, policy=POLICY, observer=events.append) as conn:
        with pytest.raises(ConnectError):
            conn.get("/")
        refuse(conn, 30)
        part = conn.scope("part")
        with pytest.raises(ConnectError):
            part.get("/")
        refuse(part, 12)
        assert seen(events) < 30
    assert seen(events) == 42


def test_closing_a_manager_tells_what_waits(nobody: str) -> None:
    events: list[Event] = []
    with ConnectionManager(policy=POLICY) as manager:
        conn = Connection(nobody, ANONYMOUS, policy=POLICY, observer=events.append)
        manager.add(nobody, ANONYMOUS, conn)
        with pytest.raises(ConnectError):
            conn.get("/")
        refuse(conn, 30)
    assert seen(events) == 30


def test_what_waits_at_a_forgotten_host_is_told_with_the_next_refused_call_of_any_host(nobody: str) -> None:
    events: list[Event] = []
    conn = Connection(nobody, ANONYMOUS, policy=POLICY, observer=events.append)
    with pytest.raises(ConnectError):
        conn.get("/")
    refuse(conn, 30)
    del conn
    gc.collect()
    assert seen(events) == 1
    here = world()
    here.call(answer(200))
    assert seen(events) == 30
    assert len(told(here)) == 1


def test_a_record_that_gives_way_to_a_managers_loses_no_refused_call(nobody: str) -> None:
    events: list[Event] = []
    conn = Connection(nobody, ANONYMOUS, policy=POLICY, observer=events.append)
    with pytest.raises(ConnectError):
        conn.get("/")
    refuse(conn, 30)
    with ConnectionManager(policy=POLICY) as manager:
        manager.add(nobody, ANONYMOUS, conn)
        with pytest.raises(ConnectError):
            conn.get("/")
        refuse(conn, 10)
    assert seen(events) == 40


class Foreign:
    closed = False

    def get(self, path: str) -> None:
        raise ConnectionRefusedError(path)


class Hook(ConnectionHook):
    def connect(self, host: str, auth: Any, /) -> Foreign:
        return Foreign()


@threads_only("a blocking client behind a guard")
def test_closing_a_manager_tells_what_waits_at_guarded_objects() -> None:
    events: list[Event] = []
    manager: ConnectionManager[Any] = ConnectionManager(policy=POLICY, guard=["get"], observer=events.append)
    with manager:
        manager.add_conn_hook(Hook())
        found = manager.find("stock", ANONYMOUS)
        with pytest.raises(ConnectionRefusedError):
            found.get("/")
        refuse(found, 30)
    assert seen(events) == 30


def test_an_event_that_comes_later_has_the_context_of_its_own_call(nobody: str) -> None:
    """Else a log line about one caller's request bears the id of another's."""
    request: ContextVar[str] = ContextVar("request", default="none")
    events: list[tuple[str, str]] = []

    def observe(event: Event) -> None:
        if isinstance(event, RequestRejected):
            events.append((event.path, request.get()))

    def ask(conn: Connection, path: str) -> None:
        request.set(path)
        with pytest.raises(ConnectionError):
            conn.get(path)

    with Connection(nobody, ANONYMOUS, policy=POLICY, observer=observe) as conn:
        for path in ("/0", "/1", "/2", "/3"):
            copy_context().run(ask, conn, path)
        request.set("another")
    assert events == [("/1", "/1"), ("/3", "/3")]


def test_how_often_is_said_by_each_call_for_itself() -> None:
    """A call with a policy of its own holds back none of the others, nor does the number before a reload."""
    here = world(rejections=0.0001)
    here.call(answer(200))
    here.call(answer(200))
    here.clock.advance(0.001)
    here.call(answer(200), policy=here.policy.replace(log={"rejections": 1_000_000}))
    assert told(here) == [(1, 0.0), (2, 0.0)]


def test_a_signal_handler_that_tells_in_the_middle_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    here = world()
    for _ in range(4):
        here.call(answer(200))

    def interrupted() -> Context:
        here.host.tell_refused()
        return copy_context()

    monkeypatch.setattr(refusals, "copy_context", interrupted)
    here.call(answer(200))
    here.host.tell_refused()
    assert sum(count for count, _ in told(here)) == 5


PROGRAM = """
import atexit
import sys
import sleepwalker
from sleepwalker import ANONYMOUS, Connection, Policy

def ask(times):
    for _ in range(times):
        try:
            conn.get("/")
        except sleepwalker.ConnectionError:
            pass

atexit.register(ask, int(sys.argv[2]))  # it runs last: what was registered later runs before
sleepwalker.logging.configure(sys.argv[1])
breaker = {"consecutive_for": 0, "consecutive": 1, "open_for": 600, "open_max": 600}
conn = Connection("http://127.0.0.1:9", ANONYMOUS, policy=Policy(retry=False, breaker=breaker))
ask(41)
"""


@pytest.mark.parametrize("at_exit", [whole(0), 7])
def test_the_end_of_the_program_tells_what_waits(tmp_path: Any, at_exit: int) -> None:
    """Calls that an exit handler makes are refused after that, and told one by one."""
    log = tmp_path / "log.jsonl"
    subprocess.run([sys.executable, "-c", PROGRAM, str(log), str(at_exit)], check=True, timeout=60)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for name in ("request.rejected", "request.failed"):
        of_refused = [line for line in lines if line["event"] == name and not line.get("attempts")]
        assert sum(line.get("count", 1) for line in of_refused) == 40 + at_exit
        assert len(of_refused) <= 3 + at_exit


def test_nothing_that_waits_keeps_a_connection_alive(nobody: str) -> None:
    conn = Connection(nobody, ANONYMOUS, policy=POLICY)
    with pytest.raises(ConnectError):
        conn.get("/")
    refuse(conn, 3)
    gone = weakref.ref(conn)
    del conn
    gc.collect()
    assert gone() is None
