"""Every event of the catalogue happens, and so does every word that a field of one may hold."""

from __future__ import annotations

import functools
import ssl
import tempfile
import threading
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any

import pytest

from sleepwalker import ANONYMOUS, Connection, DeadlineExceeded
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.engine import DUE, CompiledPolicy, Completed, Isolation, Request, fleet, run
from sleepwalker.events import CATALOGUE, BreakerClosed, CallEvent, Event, HostIsolated, RequestRejected, event_type
from sleepwalker.fleet import Fleet
from sleepwalker.fleet.client import Client
from sleepwalker.hosts import HostTable
from sleepwalker.policy import Policy
from sleepwalker.transport.blocking import fast_path, rehearsal, sockets
from tests.event_guard import faults_of
from tests.unit.engine_driver import World, answer, refused
from tests.unit.manager_driver import A, B, Bed, Thing, fail, replicas, well

Scenario = Callable[[], list[Event]]
SCENARIOS: list[Scenario] = []


def scenario(happens: Scenario) -> Scenario:
    """Something that makes events, which it returns."""
    SCENARIOS.append(happens)
    return happens


# --- calls


@scenario
def a_retried_call_and_a_failed_one() -> list[Event]:
    world = World()
    world.call([answer(503), answer(200)])
    world.call(answer(500))
    world.call([refused(), answer(202), answer(200)], retry_if=lambda outcome: outcome.status == 202)
    sampled = World(Policy(log={"sample": 0.6}))
    sampled.call(answer(200))
    return world.events + sampled.events


@scenario
def retries_that_are_abandoned() -> list[Event]:
    no_budget = Policy(retry={"budget": {"ratio": 0.01, "min_per_second": 0}})
    opens_at_once = Policy(breaker={"consecutive_for": 0, "consecutive": 1})
    worlds = [World(no_budget), World(opens_at_once), *(World() for _ in range(5))]
    worlds[0].call(answer(503))
    worlds[1].call(answer(503))
    worlds[2].call(answer(503), "POST")
    worlds[3].call(answer(503), replayable=False)
    worlds[4].call(answer(503, "50"))
    worlds[5].call(answer(503, "100"))
    worlds[6].begin().reply(answer(503)).reply(True)
    return [event for world in worlds for event in world.events]


@scenario
def calls_that_are_rejected() -> list[Event]:
    full = World(Policy(bulkhead={"max_concurrent": 1}))
    there = full.begin()
    full.begin()
    there.close()
    limited = World(Policy(rate_limit={"rate": 1, "burst": 1, "max_wait": 0}))
    limited.call(answer(200))
    limited.begin()
    cooling = World(Policy(retry={"after_binds": "host"}))
    cooling.begin().reply(answer(429, "29"))
    cooling.begin(total=5)
    paired = World(Policy(retry={"after_binds": "pair"}))
    paired.begin().reply(answer(429, "29"))
    isolated, broken = World(), World()
    isolated.host.isolate()
    isolated.begin()
    broken.trip()
    for _ in range(3):
        broken.begin()
    broken.clock.advance(0.5)
    broken.host.tell_refused()
    return [event for world in (full, limited, cooling, paired, isolated, broken) for event in world.events]


@scenario
def calls_that_a_dry_run_would_reject() -> list[Event]:
    full = World(Policy(bulkhead={"max_concurrent": 1, "mode": "observe"}))
    there = full.begin()
    full.call(answer(200))
    there.close()
    limited = World(Policy(rate_limit={"rate": 1, "burst": 1, "max_wait": 0, "mode": "observe"}))
    limited.call([answer(200)])
    limited.call([answer(200)])
    broken = World(Policy(breaker={"mode": "observe"}))
    broken.trip()
    broken.call(answer(500))
    broken.clock.advance(10)
    for _ in range(2):
        broken.call(answer(200))
    return [event for world in (full, limited, broken) for event in world.events]


@scenario
def a_hedged_call() -> list[Event]:
    world = World(Policy(hedge={"delay": 1.0}))
    request = Request("GET", "/things", idempotent=True, replayable=True, concurrent=True, name=world.name)
    steps = run(world.host, CompiledPolicy(world.policy, world.clock), request, world.clock, world.observe)
    next(steps)
    world.clock.advance(1.0)
    steps.send(DUE)
    with pytest.raises(StopIteration):
        steps.send(Completed(2, answer(200)))
    return world.events


# --- hosts


@scenario
def circuits_that_open_by_each_rule_and_close() -> list[Event]:
    run, relapse, share = (
        World(),
        World(),
        World(Policy(breaker={"consecutive": 1000, "failure_ratio": 0.5, "min_calls": 4})),
    )
    run.trip()
    run.recover()
    relapse.trip()
    relapse.clock.advance(10)
    relapse.call(answer(500))
    share.call([answer(200)])
    share.call([answer(200)])
    for _ in range(2):
        share.call(answer(500))
    slow = World(Policy(breaker={"slow_ratio": 0.5, "slow_call": 2, "min_calls": 1}))
    slow.call(answer(200), took=3)
    return [event for world in (run, relapse, share, slow) for event in world.events]


@scenario
def what_other_workers_say() -> list[Event]:
    told, without, given_up, isolated = World(), World(Policy(breaker=None)), Bed(), Bed()
    for world in (told, without):
        now = world.clock.now
        for event in (*fleet.told_broken(world.host, "503", now + 10, now), *fleet.came_back(world.host, now)):
            world.observe(event)
    well(given_up)
    fleet.told_broken(given_up.record(A), "503", given_up.clock.now + 10, given_up.clock.now)
    given_up.manager.find(A)
    key = A, isolated.manager.find(A).origin
    isolated.events += isolated.manager.hosts.isolate(*key, Isolation("deployment", by="fleet"))
    isolated.events += isolated.manager.hosts.restore(*key, by="fleet")
    return [*told.events, *without.events, *given_up.events, *isolated.events]


@scenario
def a_host_that_cannot_be_reached() -> list[Event]:
    world = World(Policy(breaker=None))
    world.call(refused())
    return world.events


@scenario
def an_operators_hand() -> list[Event]:
    bed = Bed()
    bed.manager.isolate(A)
    bed.manager.restore(A)
    bed.manager.isolate(A, reason="maintenance", until=60)
    bed.clock.advance(60)
    bed.manager.find(A)
    bed.trip(A)
    bed.manager.reset_circuit(A)
    return bed.events


# --- connections


@scenario
def connections_that_are_given_up() -> list[Event]:
    beds = []
    for fault in ("breaker", "connect", "unauthorized", "closed", "idle", "age"):
        bed = Bed(policy=Policy(health={"max_age": 200, "idle": 100}))
        beds.append(bed)
        conn = well(bed)
        if fault == "breaker":
            bed.trip(A)
        elif fault == "connect":
            bed.unreachable(A)
        elif fault == "unauthorized":
            bed.unauthorized(conn)
        elif fault == "closed":
            conn.close()
        for _ in range({"idle": 1, "age": 3}.get(fault, 0)):
            bed.clock.advance(101 if fault == "idle" else 70)
            bed.manager.find(A)
        bed.manager.find(A)
    return [event for bed in beds for event in bed.events]


@scenario
def connections_that_are_replaced_evicted_make_room_or_end_with_their_manager() -> list[Event]:
    bed = Bed(max_connections=1)
    bed.manager.add(A, ANONYMOUS, Thing())
    bed.manager.add(A, ANONYMOUS, Thing())
    bed.manager.evict(A)
    for name in "bcd":
        bed.clock.advance(1)
        bed.manager.find(f"https://{name}.test")
    bed.manager.close()
    return bed.events


@scenario
def a_stand_in_that_hands_back() -> list[Event]:
    bed = Bed()
    up = replicas(bed)
    well(bed)
    bed.unreachable(A)
    up.remove(A)
    bed.manager.find(A)
    up.insert(0, A)
    bed.clock.advance(5)
    bed.manager.find(A)
    return bed.events


@scenario
def a_stand_in_whose_host_is_isolated() -> list[Event]:
    bed = Bed()
    up = replicas(bed)
    well(bed)
    bed.unreachable(A)
    up.remove(A)
    bed.manager.find(A)
    bed.manager.isolate(B)
    up.insert(0, A)
    bed.clock.advance(60)
    bed.answers(A)
    bed.manager.find(A)
    return bed.events


@scenario
def connections_whose_policy_is_not_followed() -> list[Event]:
    events: list[Event] = []
    for policies, first in (({A: Policy()}, None), (None, {"consecutive": 3}), (None, None)):
        bed = Bed(policies=policies)
        for own in (first, {"consecutive": 2}):
            conn = Connection(A, ANONYMOUS, clock=bed.clock, policy=None if own is None else Policy(breaker=own))
            bed.manager.add(A, own, conn)
        events += bed.events
    conn = Connection(A, ANONYMOUS, observer=events.append)
    scope = conn.scope("reports", policy="batch")
    conn.scope("reports", policy="careful")
    assert scope.policy == Policy.load("batch")
    return events


@scenario
def a_hook_that_fails() -> list[Event]:
    bed = Bed()
    bed.hook.act = fail(OurConnectionError("no"))
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    return bed.events


@scenario
def a_hook_that_hangs() -> list[Event]:
    bed = Bed()
    go = threading.Event()
    bed.hook.act = lambda host, auth: (bed.clock.advance(30), go.wait(10))
    with pytest.raises(DeadlineExceeded):
        bed.manager.find(A)
    go.set()
    return bed.events


# --- the process


@scenario
def a_fast_path_that_gives_something_else() -> list[Event]:
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_path, "proven", None)
        patch.setattr(rehearsal, "_todo", [True])
        patch.setattr(rehearsal, "_difference", lambda: "HTTPResponse.headers")
        patch.setattr(rehearsal, "emit", events.append)
        rehearsal.rehearse(A)
    return events


@scenario
def tls_files_that_cannot_be_loaded() -> list[Event]:
    events: list[Event] = []
    context = ssl.create_default_context()
    conn = sockets.BoundedTLSConnection("api.example.com", ssl_context=context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sockets, "emit", events.append)
        for fault in ("missing", "unusable"):
            patch.setattr(sockets, "renewed_context", lambda context, fault=fault: (context, fault))
            assert conn._renewed(context) is context
    assert {event.host for event in events} == {"https://api.example.com"}
    return events


@scenario
def a_store_of_a_fleet_that_is_lost_and_found() -> list[Event]:
    events: list[Event] = []
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder, "there")
        client = Client(
            Fleet(f"file://{there}/billing.fleet"),
            HostTable(),
            lambda name, order: (),
            lambda event, level=None: events.append(event),
        )
        store = client.fleet.opened()
        client.turn(store)
        there.mkdir()
        client.turn(store)
        store.close()
    return events


# --- the guards


@functools.cache
def happened() -> list[Event]:
    plain = [event for happens in SCENARIOS for event in happens()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "name", "things")
        return plain + [event for happens in SCENARIOS for event in happens()]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_event_of_the_catalogue_happens(name: str) -> None:
    assert any(event.name == name for event in happened())


def words() -> Iterator[tuple[str, str, str]]:
    """Event, field and word, for each word that a field may hold."""
    for name, cls in CATALOGUE.items():
        for field, hint in typing.get_type_hints(cls).items():
            if typing.get_origin(hint) is typing.Literal and field != "level":
                yield from ((name, field, word) for word in typing.get_args(hint))


@pytest.mark.parametrize(("name", "field", "word"), list(words()))
def test_every_word_that_a_field_may_hold_happens(name: str, field: str, word: str) -> None:
    assert any(event.name == name and getattr(event, field) == word for event in happened())


def test_a_field_that_may_be_absent_is_there_at_times() -> None:
    never = []
    for name, cls in CATALOGUE.items():
        found = [event for event in happened() if event.name == name]
        for field, hint in typing.get_type_hints(cls).items():
            if NoneType in typing.get_args(hint) and all(getattr(event, field) is None for event in found):
                never.append(f"{name}.{field}")
    assert never == []


@pytest.mark.parametrize("name", [name for name, cls in CATALOGUE.items() if issubclass(cls, CallEvent)])
def test_every_event_of_a_call_says_which_call_and_what_was_asked_for_if_anything_was(name: str) -> None:
    found = [event for event in happened() if isinstance(event, CallEvent) and event.name == name]
    assert all(event.call for event in found)
    assert {event.asked_for for event in found} == {None, "things"}


@event_type
class Unheard(Event):
    """In no catalogue."""

    name = "un.known"
    level = "info"


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (Unheard("https://h"), "Unheard (un.known) is not in the catalogue"),
        (BreakerClosed("https://h", ramp=5, observed=None), None),
        (BreakerClosed("https://h", ramp=True), "breaker.closed.ramp: True is not <class 'float'>"),
        (BreakerClosed("https://h", ramp="5 s"), "breaker.closed.ramp: '5 s' is not"),  # type: ignore[arg-type]
        (BreakerClosed("https://h", ramp=1.0, observed=1), "observed: 1 is not bool | None"),  # type: ignore[arg-type]
        (HostIsolated(None), "host.isolated.host: None is not <class 'str'>"),  # type: ignore[arg-type]
        (RequestRejected("h", "GET", "/", "mood", 1.0), "request.rejected.by: 'mood' is not"),  # type: ignore[arg-type]
    ],
)
def test_an_event_that_is_not_as_documented_is_found(event: Event, says: str | None) -> None:
    """The guard itself: one that found nothing would pass for ever."""
    found = faults_of(event)
    assert (found == []) if says is None else (len(found) == 1 and says in found[0])


def test_such_an_event_fails_the_test_during_which_it_is_made(events_are_what_the_catalogue_says: Any) -> None:
    RequestRejected("https://h", "GET", "/", "mood", None)  # type: ignore[arg-type]
    assert len(events_are_what_the_catalogue_says) == 1
    events_are_what_the_catalogue_says.clear()
