"""Every field of a policy is obeyed: two values of it, and nothing else changed, lead to two behaviours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from sleepwalker.engine import DUE, Outcome, Queue, Send, Wait
from sleepwalker.events import RequestFinished, RequestRejected
from sleepwalker.policy import Policy
from tests.policy_fields import Case, all_fields, case, with_field
from tests.unit.engine_driver import World, answer, refused
from tests.unit.manager_driver import A, Bed
from tests.wire.test_every_field import CASES as ON_THE_WIRE

#: No random waits, no budget, one send: what is not the field's own is out of the way.
QUIET = {"retry": False, "breaker": False}
JITTERLESS = {"jitter": "none", "budget": False}
TRIPS_AT_ONCE = {"consecutive_for": 0, "consecutive": 1, "ramp": 0}
RATIO_ONLY = {"consecutive_for": 0, "consecutive": 1_000_000, "ramp": 0}


def sends(outcome: Outcome, method: str = "GET", **how: Any) -> Callable[[Policy], int]:
    """How often a call is sent that comes to this each time."""
    return lambda policy: len(World(policy).call(outcome, method, **how).sends)


def waits(policy: Policy) -> list[float]:
    """What a call waits between attempts that all fail, with dice that always show a quarter."""
    here = World(policy)
    here.clock.roll = lambda: 0.25
    return here.call(answer(503)).waits


def held_back(policy: Policy) -> list[bool]:
    """Whether calls wait after one of Ann's was told to: another one of hers, and one of Bob's."""
    here = World(policy)
    here.begin(credentials="ann").reply(answer(429, "5"))
    return [isinstance(here.begin(credentials=who).step, Wait) for who in ("ann", "bob")]


def retries_of_an_outage(policy: Policy) -> int:
    """Ten calls that go well, a pause of 15 s, then fifty that fail: how many retries those get."""
    here = World(policy)
    for _ in range(10):
        here.call(answer(200))
    here.clock.advance(15)
    for _ in range(50):
        here.call(answer(503))
    return here.host.snapshot().retries


def opens_after(*statuses: int, apart: float = 0.0, took: float = 0.0) -> Callable[[Policy], int | None]:
    """After how many of these answers the circuit is open."""

    def watch(policy: Policy) -> int | None:
        here = World(policy)
        for number, status in enumerate(statuses, start=1):
            here.call(answer(status, failures=here.host.failures), took=took)
            if here.host.snapshot().breaker == "open":
                return number
            here.clock.advance(apart)
        return None

    return watch


def third_time_open(policy: Policy) -> float | None:
    """For how many seconds the circuit opens when the second probe has failed as well."""
    here = World(policy)
    here.trip()
    for _ in range(2):
        here.clock.advance(here.host.snapshot().retry_in or 0.0)
        here.call(answer(500))
    return here.host.snapshot().retry_in


def admitted_half_open(policy: Policy) -> int:
    """How many of five calls are sent at once when the circuit half-opens."""
    here = World(policy)
    here.trip()
    here.clock.advance(here.host.snapshot().retry_in or 0.0)
    calls = [here.begin() for _ in range(5)]
    return sum(len(call.sends) for call in calls)


def probes_until_closed(policy: Policy) -> int:
    here = World(policy)
    here.trip()
    here.clock.advance(here.host.snapshot().retry_in or 0.0)
    number = 0
    while here.host.snapshot().breaker != "closed":
        here.call(answer(200))
        number += 1
    return number


def sent_after_closing(policy: Policy) -> list[int]:
    """How many of five calls are sent at once when the circuit has closed, and how many three seconds later."""
    here, sent = World(policy), []
    here.trip()
    here.recover()
    for _ in range(2):
        calls = [here.begin() for _ in range(5)]
        sent.append(sum(len(call.sends) for call in calls))
        for call in calls:
            call.close()
        here.clock.advance(3)
    return sent


def sent_while_open(policy: Policy) -> bool:
    here = World(policy)
    here.trip() if policy.breaker else here.call(answer(500))
    return bool(here.begin().sends)


def waits_for_the_circuit(policy: Policy) -> list[float]:
    """What a call waits before it is sent that finds the circuit open."""
    here = World(policy)
    here.trip()
    return here.call(answer(200)).waits


def begun_at_once(policy: Policy) -> list[str]:
    """What five calls do that come at the same moment."""
    here = World(policy)
    kinds = {Send: "sent", Queue: "queues", Wait: "waits"}
    calls = [here.begin() for _ in range(5)]
    return [kinds.get(type(call.step), "rejected") for call in calls]


def sent_together(policy: Policy) -> int:
    """How many of 1001 calls are sent that come at the same moment."""
    here = World(policy)
    calls = [here.begin() for _ in range(1001)]
    return sum(len(call.sends) for call in calls)


def begun_with_two_keys(policy: Policy) -> dict[str, list[str]]:
    """What three calls each do that come at the same moment with two kinds of credentials, one kind after the other."""
    here = World(policy)
    return {
        key: ["sent" if here.begin(credentials=key).sends else "rejected" for _ in range(3)] for key in ("ann", "bob")
    }


def sent_in_ten_seconds(policy: Policy) -> int:
    """How many of forty calls are sent, four in each second."""
    here, sent = World(policy), 0
    for _ in range(40):
        running = here.begin()
        if isinstance(running.step, Send):
            running.reply(answer(200))
            sent += 1
        here.clock.advance(0.25)
    return sent


def state_after(*statuses: int, pause: float = 0.0) -> Callable[[Policy], str]:
    def watch(policy: Policy) -> str:
        here = World(policy)
        for status in statuses:
            here.call(answer(status))
        here.clock.advance(pause)
        return here.host.snapshot().state

    return watch


def refusals_until_broken(policy: Policy) -> int:
    here, number = World(policy), 0
    while here.host.snapshot().state != "broken":
        here.call(refused())
        number += 1
    return number


def asked_after(*moments: float) -> Callable[[Policy], list[int]]:
    """How often the hooks of a host that cannot be reached have been asked by each of these seconds."""

    def watch(policy: Policy) -> list[int]:
        bed = Bed(policy=policy)
        bed.manager.find(A)
        asked = []
        for moment in moments:
            bed.unreachable(A)
            bed.clock.advance(moment)
            bed.manager.find(A)
            asked.append(len(bed.hook.asked))
        return asked

    return watch


def kept(*, uses: int, apart: float) -> Callable[[Policy], bool]:
    """Whether `find` gives the same connection each of so many times, so many seconds apart."""

    def watch(policy: Policy) -> bool:
        bed = Bed(policy=policy)
        first = bed.manager.find(A)
        for _ in range(uses):
            bed.clock.advance(apart)
            bed.answers(A)
            if bed.manager.find(A) is not first:
                return False
        return True

    return watch


def kept_after_a_401(policy: Policy) -> bool:
    bed = Bed(policy=policy)
    first = bed.manager.find(A)
    first.usage.accepted = True
    bed.unauthorized(first)
    bed.clock.advance(100)
    return bed.manager.find(A) is first


def finished_levels(policy: Policy) -> list[str | None]:
    """At which levels a hundred calls that went well are announced, with dice that go round evenly."""
    here = World(policy)
    rolls = iter(number / 100 for number in range(1000))
    here.clock.roll = lambda: next(rolls)
    for _ in range(100):
        here.call(answer(200))
    levels = [level for event, level in here.announced if isinstance(event, RequestFinished)]
    return [str(len(levels)), *{level or "" for level in levels}]


def refusals_told(policy: Policy) -> list[int]:
    """For how many calls each event stands, of seventeen that an open circuit refuses, eight a second."""
    here = World(policy)
    here.trip()
    for _ in range(17):
        here.call(answer(200))
        here.clock.advance(0.125)
    return [event.count or 1 for event, _ in here.announced if isinstance(event, RequestRejected)]


def open_for(policy: Policy) -> float | None:
    here = World(policy)
    here.trip()
    return here.host.snapshot().retry_in


def slow_mix(policy: Policy) -> int | None:
    """After how many answers the circuit opens, of which every other one takes two seconds."""
    here = World(policy)
    for number in range(1, 50):
        here.call(answer(200), took=2.0 * (number % 2))
        if here.host.snapshot().breaker == "open":
            return number
    return None


def copies_of_a_slow_call(policy: Policy) -> list[float]:
    """When a call that never ends is sent again, after seventy that took 0.1 s and thirty that took 2 s."""
    here = World(policy)
    for number in range(100):
        here.call(answer(200), took=2.0 if number % 10 < 3 else 0.1)
    call = here.begin(concurrent=True)
    began = here.clock.now
    while isinstance(call.step, Send) and call.step.hedge_in is not None:
        here.clock.advance(call.step.hedge_in)
        call.reply(DUE)
    return [start - began for start, _ in call.sends[1:]]


CASES = [
    case(
        "timeout.attempt",
        QUIET,
        lambda policy: World(policy).begin().sends[0][1].deadline - World(policy).clock.now,
        (10.0, 10.0),
        (4.0, 4.0),
    ),
    case("timeout.total", {"retry": JITTERLESS}, sends(answer(503, "12")), (30.0, 3), (20.0, 2), (12.0, 1)),
    case("retry", {"breaker": False}, sends(answer(503)), (False, 1), ({}, 3)),
    case("retry.attempts", {}, sends(answer(503)), (3, 3), (2, 2), (1, 1)),
    case("retry.wait_initial", {"retry": JITTERLESS}, waits, (0.1, [0.1, 0.2]), (0.4, [0.4, 0.8])),
    case("retry.wait_multiplier", {"retry": JITTERLESS}, waits, (2.0, [0.1, 0.2]), (5.0, [0.1, 0.5])),
    case("retry.wait_max", {"retry": JITTERLESS}, waits, (5.0, [0.1, 0.2]), (0.15, [0.1, 0.15])),
    case(
        "retry.jitter",
        {},
        waits,
        ("none", [0.1, 0.2]),
        ("full", [0.025, 0.05]),
        ("equal", pytest.approx([0.0625, 0.125])),
        ("decorrelated", pytest.approx([0.15, 0.1875])),
    ),
    case("retry.statuses", {}, sends(answer(500)), ((503,), 1), ((500, 503), 3)),
    case("retry.retry_after_max", {"timeout": {"total": 100}}, sends(answer(503, "20")), (60.0, 3), (10.0, 1)),
    case(
        "retry.after_binds",
        {},
        held_back,
        ("call", [False, False]),
        ("pair", [True, False]),
        ("host", [True, True]),
    ),
    case("retry.never_sent", {}, sends(refused(), "POST"), (True, 3), (False, 1)),
    case(
        "retry.budget",
        {"breaker": False},
        retries_of_an_outage,
        (False, 100),
        ({"min_per_second": 0, "window": 20}, 12),
    ),
    case(
        "retry.budget.ratio",
        {"breaker": False, "retry": {"budget": {"min_per_second": 0, "window": 1000}}},
        retries_of_an_outage,
        (0.2, 12),
        (1.0, 60),
    ),
    case(
        "retry.budget.min_per_second",
        {"breaker": False, "retry": {"wait_initial": 0, "budget": {"ratio": 0.0001}}},
        retries_of_an_outage,
        (1.0, 10),
        (3.0, 30),
    ),
    case(
        "retry.budget.window",
        {"breaker": False, "retry": {"wait_initial": 0, "budget": {"ratio": 0.0001, "min_per_second": 2}}},
        retries_of_an_outage,
        (10.0, 20),
        (30.0, 60),
    ),
    case("breaker", {"retry": False}, opens_after(*[500] * 9, apart=0.2), (False, None), ({}, 5)),
    case(
        "breaker.failure_ratio",
        {"retry": False, "breaker": {**RATIO_ONLY, "min_calls": 20}},
        opens_after(*[200, 500, 500] * 10),
        (0.5, 20),
        (0.7, None),
    ),
    case(
        "breaker.window",
        {"retry": False, "breaker": {**RATIO_ONLY, "min_calls": 10}},
        opens_after(*[500] * 20, apart=4.0),
        (30.0, None),
        (60.0, 10),
    ),
    case("breaker.min_calls", {"retry": False, "breaker": RATIO_ONLY}, opens_after(*[500] * 50), (20, 20), (7, 7)),
    case("breaker.statuses", {"retry": False}, opens_after(*[429] * 9, apart=0.2), (("5xx",), None), (("5xx", 429), 5)),
    case(
        "breaker.consecutive",
        {"retry": False, "breaker": {"consecutive_for": 0}},
        opens_after(*[500] * 49),
        (5, 5),
        (3, 3),
    ),
    case(
        "breaker.consecutive_for",
        {"retry": False, "breaker": {"consecutive": 2}},
        opens_after(*[500] * 49, apart=0.25),
        (0.0, 2),
        (0.5, 3),
        (2.0, 9),
    ),
    case(
        "breaker.slow_ratio",
        {"retry": False, "breaker": {**RATIO_ONLY, "min_calls": 20, "slow_call": 1.0}},
        slow_mix,
        (0.4, 20),
        (0.9, None),
    ),
    case(
        "breaker.slow_call",
        {"retry": False, "breaker": {**RATIO_ONLY, "min_calls": 20, "slow_ratio": 0.5}},
        opens_after(*[200] * 25, took=1.0),
        (0.5, 20),
        (2.0, None),
    ),
    case(
        "breaker.open_for",
        {"retry": False, "breaker": TRIPS_AT_ONCE},
        open_for,
        (5.0, 5.0),
        (7.0, 7.0),
    ),
    case(
        "breaker.open_growth",
        {"retry": False, "breaker": TRIPS_AT_ONCE},
        third_time_open,
        (1.0, 1.0),
        (1.5, 2.25),
        (3.0, 9.0),
    ),
    case(
        "breaker.open_max",
        {"retry": False, "breaker": {**TRIPS_AT_ONCE, "open_for": 5, "open_growth": 2}},
        third_time_open,
        (60.0, 20.0),
        (12.0, 12.0),
    ),
    case("breaker.half_open_probes", {"retry": False, "breaker": TRIPS_AT_ONCE}, admitted_half_open, (1, 1), (3, 3)),
    case("breaker.close_after", {"retry": False, "breaker": TRIPS_AT_ONCE}, probes_until_closed, (2, 2), (4, 4)),
    case(
        "breaker.ramp",
        {"retry": False, "breaker": {"consecutive_for": 0, "consecutive": 1}},
        sent_after_closing,
        (0.0, [5, 5]),
        (2.0, [2, 5]),
        (5.0, [2, 2]),
    ),
    case(
        "breaker.max_wait",
        {"retry": False, "breaker": {**TRIPS_AT_ONCE, "open_for": 5}},
        waits_for_the_circuit,
        (4.0, []),
        (6.0, [5.0]),
    ),
    case(
        "breaker.mode",
        {"retry": False, "breaker": TRIPS_AT_ONCE},
        sent_while_open,
        ("enforce", False),
        ("observe", True),
    ),
    case("bulkhead", QUIET, sent_together, (False, 1001), ({}, 1000)),
    case(
        "bulkhead.max_concurrent",
        QUIET,
        begun_at_once,
        (1000, ["sent"] * 5),
        (2, ["sent", "sent", "rejected", "rejected", "rejected"]),
    ),
    case(
        "bulkhead.max_wait",
        {**QUIET, "bulkhead": {"max_concurrent": 4}},
        begun_at_once,
        (0.0, ["sent"] * 4 + ["rejected"]),
        (1.0, ["sent"] * 4 + ["queues"]),
    ),
    case("bulkhead.adaptive", QUIET, sent_together, (False, 1000), (True, 4)),
    case(
        "bulkhead.mode",
        {**QUIET, "bulkhead": {"max_concurrent": 4}},
        begun_at_once,
        ("enforce", ["sent"] * 4 + ["rejected"]),
        ("observe", ["sent"] * 5),
    ),
    case("rate_limit", QUIET, sent_in_ten_seconds, (False, 40), ({"rate": 1, "burst": 1}, 10)),
    case("rate_limit.rate", {**QUIET, "rate_limit": {"burst": 1}}, sent_in_ten_seconds, (2.0, 20), (1.0, 10)),
    case(
        "rate_limit.burst",
        {**QUIET, "rate_limit": {"rate": 1.0}},
        begun_at_once,
        (1, ["sent"] + ["rejected"] * 4),
        (3, ["sent"] * 3 + ["rejected"] * 2),
    ),
    case(
        "rate_limit.max_wait",
        {**QUIET, "rate_limit": {"rate": 1.0, "burst": 4}},
        begun_at_once,
        (0.0, ["sent"] * 4 + ["rejected"]),
        (2.0, ["sent"] * 4 + ["waits"]),
    ),
    case(
        "rate_limit.per",
        {**QUIET, "rate_limit": {"rate": 1.0, "burst": 2}},
        begun_with_two_keys,
        ("host", {"ann": ["sent", "sent", "rejected"], "bob": ["rejected"] * 3}),
        ("credentials", {"ann": ["sent", "sent", "rejected"], "bob": ["sent", "sent", "rejected"]}),
    ),
    case(
        "rate_limit.mode",
        {**QUIET, "rate_limit": {"rate": 1.0, "burst": 4}},
        begun_at_once,
        ("enforce", ["sent"] * 4 + ["rejected"]),
        ("observe", ["sent"] * 5),
    ),
    case("hedge", QUIET, copies_of_a_slow_call, (False, []), ({"delay": 1.0}, [1.0])),
    case("hedge.delay", QUIET, copies_of_a_slow_call, (1.0, [1.0]), (2.5, [2.5])),
    case(
        "hedge.percentile",
        QUIET,
        copies_of_a_slow_call,
        (50.0, [pytest.approx(0.1, rel=0.25)]),
        (90.0, [pytest.approx(2.0, rel=0.25)]),
    ),
    case(
        "hedge.max_extra", {**QUIET, "hedge": {"delay": 1.0}}, copies_of_a_slow_call, (1, [1.0]), (3, [1.0, 2.0, 3.0])
    ),
    case("health.window", QUIET, state_after(200, pause=70), (60.0, "unknown"), (100.0, "healthy")),
    case("health.degraded_below", QUIET, state_after(200, 200, 200, 500), (0.95, "degraded"), (0.7, "healthy")),
    case("health.broken_after", QUIET, refusals_until_broken, (3, 3), (6, 6)),
    case("health.rehook_initial", {}, asked_after(0.0, 1.5, 0.0), (1.0, [1, 2, 2]), (10.0, [1, 1, 1])),
    case(
        "health.rehook_max",
        {},
        asked_after(*[5.0] * 12),
        (60.0, [2, 3, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6]),
        (4.0, list(range(2, 14))),
    ),
    case("health.idle", {}, kept(uses=1, apart=200.0), (300.0, True), (100.0, False)),
    case("health.max_age", {}, kept(uses=10, apart=100.0), (None, True), (500.0, False)),
    case("health.unauthorized_evicts", {}, kept_after_a_401, (True, False), (False, True)),
    case("log.finished", {}, finished_levels, ("info", ["100", "info"]), ("debug", ["100", "debug"]), ("off", ["0"])),
    case(
        "log.rejections",
        {"retry": False, "breaker": {**TRIPS_AT_ONCE, "open_for": 60, "open_max": 60}},
        refusals_told,
        (1.0, [1, 8, 8]),
        (4.0, [1, 2, 2, 2, 2, 2, 2, 2, 2]),
    ),
    case("log.sample", {}, finished_levels, (1.0, ["100", "info"]), (0.25, ["25", "info"])),
]


@pytest.mark.parametrize(
    ("one", "value", "seen"),
    [pytest.param(one, value, seen, id=f"{one.field}={value}") for one in CASES for value, seen in one.seen],
)
def test_the_field_decides(one: Case, value: Any, seen: object) -> None:
    assert one.watch(with_field(one.rest, one.field, value)) == seen


def test_every_field_has_a_case_that_could_not_pass_if_the_field_were_ignored() -> None:
    cases = [(one.field, one.seen) for one in CASES] + [(one.field, one.seen) for one in ON_THE_WIRE]
    assert sorted(field for field, _ in cases) == sorted(all_fields())
    for field, seen in cases:
        results = [result for _, result in seen]
        assert len(results) > 1, field
        assert all(result != other for result, other in itertools.combinations(results, 2)), field
