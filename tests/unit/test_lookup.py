"""A lookup needs no thread, no socket, no `Connection` and no real time: here one function performs all its steps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from sleepwalker import lookup
from sleepwalker.exceptions import ConnectionError, DeadlineExceeded, HTTPNotFound, ReadTimeout
from sleepwalker.lookup import change, ending
from sleepwalker.lookup.answers import HOOK_FAILURES, answer_of
from sleepwalker.lookup.fast import asked_for, at_hand
from sleepwalker.lookup.flights import MAX_LATE_OF_A_SLOT
from sleepwalker.lookup.foreign import EMPTY
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.lead import carry_out
from sleepwalker.lookup.released import Leaving
from sleepwalker.lookup.slot import State
from sleepwalker.lookup.steps import Release, Start
from sleepwalker.lookup.table import Released
from tests.unit.lookup_driver import HOOK, Caller, Conn, World
from tests.unit.manager_driver import PLAIN, A

NOT_FOUND = HTTPNotFound(requests.Response())


def fails() -> Any:
    raise OSError("down")


def test_what_a_hook_gives_is_found_and_found_again_without_asking() -> None:
    world = World()
    first = world.find()
    assert isinstance(first.conn, Conn)
    assert world.find().conn is first.conn
    assert world.asked == 1
    assert world.state() is State.HELD


def test_the_states_of_a_slot_have_names() -> None:
    world = World(hangs=True)
    caller = world.caller("one")
    caller.until_it_waits()
    assert world.state() is State.ASKING
    world.hangs, world.say = False, fails
    world.let_hooks_answer()
    assert world.state() is State.BACKING_OFF
    world.clock.advance(100)
    assert world.state() is State.EMPTY


def test_of_many_callers_one_leads_and_the_others_wait_for_it() -> None:
    world = World()
    callers = [world.caller(f"caller {number}") for number in range(5)]
    for caller in callers:
        caller.until_it_waits()
    assert len(world.jobs) == 1
    world.let_hooks_answer()
    for caller in callers:
        while not caller.over:
            caller.step()
    assert len({id(caller.result.conn) for caller in callers}) == 1
    assert world.asked == 1


def test_all_waiters_are_told_what_the_hooks_said_as_a_shared_error() -> None:
    world = World(say=fails)
    callers = [world.caller(f"caller {number}") for number in range(2)]
    for caller in callers:
        caller.until_it_waits()
    world.let_hooks_answer()
    for caller in callers:
        while not caller.over:
            caller.step()
        assert isinstance(caller.result.error, ConnectionError)
        assert caller.result.shared
    assert world.find().error is not callers[0].result.error
    assert world.asked == 1, "they are not asked again before the back-off ends"


def test_hooks_that_hang_are_late_in_virtual_time() -> None:
    world = World(hangs=True)
    found = world.find(seconds=7)
    assert isinstance(found.error, DeadlineExceeded)
    world.clock.advance(PLAIN.timeout.total)
    assert isinstance(world.find().error, ConnectionError)
    assert "connection.hook_slow" in world.log
    world.hangs = False
    world.let_hooks_answer()
    assert isinstance(world.find().conn, Conn), "what comes late is held"
    assert world.asked == 1


def test_a_flight_that_waiters_were_sent_away_from_is_not_waited_for_again() -> None:
    """As many hooks hang as may, a connection is added and closed: a caller with more time than most is refused."""
    world = World(hangs=True)
    patience = PLAIN.timeout.total
    for _ in range(MAX_LATE_OF_A_SLOT):
        assert isinstance(world.find(seconds=patience).error, DeadlineExceeded)
        world.clock.advance(100)
    added = Conn()
    world.run(change.add(world.lookup, Asked(A, None), added))
    assert world.find().conn is added
    added.closed = True
    caller = world.caller("one with time", seconds=2 * patience)
    for _ in range(20):
        if not caller.over:
            caller.step()
    assert caller.over, "it asks again and again"
    assert isinstance(caller.result.error, ConnectionError)
    assert "3 threads" in str(caller.result.error)


def test_one_that_would_wait_for_itself_is_refused() -> None:
    world = World(hangs=True)
    outer = world.caller("one")
    outer.until_it_waits()
    [job] = world.jobs
    job.flight.leader = "the hook"
    inner = world.caller("the hook")
    while not inner.over:
        inner.step()
    assert "its own hooks call find for it" in str(inner.result.error)


def test_one_that_is_closed_by_its_user_is_replaced() -> None:
    world = World()
    first = world.find().conn
    first.closed = True
    assert world.find().conn is not first
    assert ("released", "closed") in world.log


def test_a_caller_that_is_dropped_before_the_hooks_are_asked_leaves_nothing_behind() -> None:
    world = World()
    caller = world.caller("one")
    caller.step()
    caller.machine.close()
    assert world.lookup.flights.waiting == {}
    assert isinstance(world.find().conn, Conn)


@pytest.mark.parametrize("where", ["end", "tidy"])
def test_a_flight_that_a_signal_handler_strikes_twice_is_over_all_the_same(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stayed at work for ever: its slot was asked for again only when it was late, and it counted as that."""
    world = World()
    caller = world.caller("one")
    while not isinstance(caller.asked, Start):
        caller.step()
    act, strikes = getattr(world.lookup, where), [KeyboardInterrupt()]

    def struck(*given: Any) -> None:
        if strikes:
            raise strikes.pop()
        act(*given)

    monkeypatch.setattr(world.lookup, where, struck)
    with pytest.raises(KeyboardInterrupt):
        caller.machine.close()
    assert strikes == []
    assert world.lookup.flights.at_work() == []
    assert world.lookup.flights.waiting == {}
    assert isinstance(world.find().conn, Conn)


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_leader_that_is_dropped_at_any_step_leaves_its_waiters_to_ask_anew(steps: int) -> None:
    world = World()
    caller = world.caller("one")
    caller.until_it_waits()
    [job] = world.jobs
    world.jobs.clear()
    leader = Caller(world, "leader", carry_out(world.lookup, job))
    for _ in range(steps):
        if not leader.over:
            leader.step()
    leader.machine.close()
    world.lookup.end(job.flight)
    job.flight.done.set()
    while not caller.over:
        caller.step()
        world.let_hooks_answer()
    assert isinstance(caller.result.conn, Conn)


def test_changes_by_hand_are_machines_as_well() -> None:
    world = World()
    conn = Conn()
    world.run(change.add(world.lookup, Asked(A, None), conn))
    assert world.find().conn is conn
    assert world.run(change.evict(world.lookup, A, None, None)) == 1
    assert ("released", "by hand") in world.log
    assert world.lookup.table.slots() == []


def test_a_closed_lookup_says_so() -> None:
    world = World()
    world.run(change.close(world.lookup))
    assert "closed" in str(world.find().error)


class Failing(Conn):
    @property
    def closed(self) -> bool:  # type: ignore[override]
        raise RuntimeError("cannot say")


@pytest.mark.parametrize(
    ("given", "raised", "error", "detail"),
    [
        (Conn(), None, None, ""),
        (0, None, None, ""),
        (Failing(), None, None, ""),
        (None, None, None, ""),
        (SimpleNamespace(closed=True), None, "ConnectionError", "it returned a closed connection"),
        (None, OSError("down"), "OSError", "down"),
        (None, NOT_FOUND, "HTTPNotFound", ""),
    ],
)
def test_what_the_answer_of_a_hook_means(given: Any, raised: Any, error: str | None, detail: str) -> None:
    answer = answer_of(HOOK, given, raised, 2.0, target=lambda conn: "there", words=str)
    assert (answer.hook, answer.duration, answer.error) == ("SimpleNamespace", 2.0, error)
    assert answer.detail.startswith(detail)
    gave = given is not None and error is None
    assert (answer.conn is given, answer.target) == (gave, "there" if gave else "")


@pytest.mark.parametrize("error", [OSError(), ConnectionError("x"), NOT_FOUND, ReadTimeout("x")])
def test_these_are_failures_of_connections(error: Exception) -> None:
    assert isinstance(error, HOOK_FAILURES)


def test_what_was_found_is_at_hand_until_something_is_wrong_with_it() -> None:
    world = World()
    conn = world.find().conn
    found, key = at_hand(world.lookup, A, None)
    assert found is conn
    assert asked_for(A, None, key).key == Asked(A, None).key
    conn.closed = True
    assert at_hand(world.lookup, A, None) == (EMPTY, key)
    assert at_hand(world.lookup, A, {"no": "hash"})[0] is EMPTY


def test_a_flight_ends_before_its_waiters_are_woken_and_they_before_anything_is_retired() -> None:
    world = World()
    caller = world.caller("one")
    caller.until_it_waits()
    [job] = world.jobs
    flight, order = job.flight, []

    def wake(set_it: Callable[[], None] = flight.done.set) -> None:
        order.append(("woken", flight.over))
        set_it()

    flight.done.set = wake  # type: ignore[method-assign]
    before = Released(job.slot, Conn(), "breaker")
    machine = ending.end(world.lookup, flight, [before], None, copied=lambda error: error)
    step = next(machine)
    assert step == Release([before])
    assert order == [("woken", True)]
    assert flight.retired is not None
    machine.close()
    assert flight.retired.is_set(), "the caller waits for it in vain"


def test_what_a_hook_raised_is_told_where_none_waits_for_it() -> None:
    world = World(say=lambda: (_ for _ in ()).throw(LookupError("a bug")))
    caller = world.caller("one")
    caller.until_it_waits()
    caller.machine.close()
    [job] = world.jobs
    with pytest.raises(LookupError) as raised:
        world.run(carry_out(world.lookup, job))
    machine = ending.end(world.lookup, job.flight, [], raised.value, copied=lambda error: error)
    world.perform(next(machine))
    assert job.flight.done.is_set(), "an observer that ends the thread holds none who came meanwhile"
    machine.close()
    assert world.log == ["connection.hook_failed"]
    assert world.lookup.flights.at_work() == []


def test_a_connection_is_closed_once_nothing_holds_it_and_no_guard_of_it_is_at_work() -> None:
    world = World()
    conn = world.find().conn
    leaving = Leaving(world.lookup.table)
    first, second = Conn(), Conn()  # two guards of it
    assert not leaving.may_close(first, conn), "it is held"
    world.run(change.evict(world.lookup, A, None, None))
    leaving.goes_on(first, conn)
    leaving.goes_on(second, conn)
    assert not leaving.may_close(first, conn), "the other is at work"
    assert leaving.may_close(second, conn)
    assert leaving.all()[0] == []


def test_one_that_a_hook_gives_again_while_it_is_retired_is_held_as_before() -> None:
    world = World()
    conn = world.find().conn
    usage = SimpleNamespace(retired=True)
    leaving = Leaving(world.lookup.table)
    leaving.retired(conn, conn, usage)
    assert not usage.retired
    assert list(leaving.all()[1]) == []


@pytest.mark.parametrize("path", sorted(Path(lookup.__path__[0]).glob("*.py")), ids=lambda path: path.name)
def test_no_file_of_it_knows_threads_sockets_or_connections(path: Path) -> None:
    imported = set(re.findall(r"^(?:from|import) ([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert imported.isdisjoint({"threading", "socket", "time", "asyncio", "sleepwalker.latch"})
    assert not any(name.startswith(("sleepwalker.connection", "sleepwalker.drivers")) for name in imported)
