"""What the outage benchmark counts: its server's plan, its series, and the figures of its runs and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.outage import figures, groups, words
from benchmarks.outage.figures import Run
from benchmarks.outage.load import OK
from benchmarks.outage.scenario import Phase, varied
from benchmarks.outage.scenarios import ALL, GROUPS, MACHINES, OUTAGE, OUTAGES
from benchmarks.outage.server import COLD, RESET, SLOW, UNANSWERED, WARM_AFTER, Plan
from benchmarks.outage.targets import TARGETS

#: Ten calls a second: 1 s well, 2 s of 503, 3 s well.
_PLAN = replace(OUTAGE, rate=10, phases=(Phase(1), Phase(2, "503"), Phase(3)))


def _run(outcomes: str = "." * 60, reached: Mapping[str, Mapping[int, int]] | None = None) -> Run:
    """A run by its outcomes, a letter for each: `.` is well and `x` is not."""
    answered = tuple({".": OK, "x": "503"}[letter] for letter in outcomes)
    counts = {status: _series(series) for status, series in (reached or {}).items()}
    return Run(_PLAN, "client", (0.005,) * len(answered), answered, counts)


def _series(counts: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(counts.get(step, 0) for step in range(60))


def test_of_several_machines_only_the_last_is_ill_and_fails_at_once() -> None:
    (scenario,) = (scenario for scenario in MACHINES if scenario.phases[-1].kind == "503")
    plan = Plan(scenario, begins=0)
    then = scenario.fault[0]
    assert [plan.receive(then, machine) for machine in range(4)] == [(200, scenario.answer)] * 3 + [(503, 0)]
    assert plan.receive(then - 0.01, 3) == (200, scenario.answer)


@pytest.mark.parametrize(
    ("kind", "status"), [("503", 503), ("404", 404), ("reset", RESET), ("refused", RESET), ("hang", UNANSWERED)]
)
def test_each_kind_of_failure_has_its_answer(kind: Any, status: int) -> None:
    assert Plan(replace(OUTAGE, phases=(Phase(1, kind),)), begins=0).receive(0)[0] == status


def test_a_slow_machine_answers_well_and_late() -> None:
    plan = Plan(replace(OUTAGE, phases=(Phase(1, "slow"),)), begins=0)
    found = [plan.receive(0) for _ in range(200)]
    assert {status for status, _ in found} == {200}
    assert SLOW[0] <= min(seconds for _, seconds in found) < max(seconds for _, seconds in found) <= SLOW[1]


def test_a_cold_server_answers_a_fifth_of_the_load_at_first_and_all_of_it_later() -> None:
    plan = Plan(replace(OUTAGE, phases=(Phase(60, "cold"),)), begins=0)
    # No call for a while: the first response fills the caches.
    seconds = [20 + number / OUTAGE.rate for number in range(round(OUTAGE.rate * 2 * WARM_AFTER))]
    answered = [second - 20 for second in seconds if plan.receive(second)[0] == 200]
    assert answered[0] == 0
    assert sum(second < 0.5 for second in answered) == pytest.approx(OUTAGE.rate * 0.5 * (COLD + 0.05), abs=2)
    assert sum(second < WARM_AFTER for second in answered) == pytest.approx(
        OUTAGE.rate * WARM_AFTER * (1 + COLD) / 2, rel=0.05
    )
    assert sum(second >= WARM_AFTER for second in answered) == OUTAGE.rate * WARM_AFTER


def test_outages_that_are_repeated_end_at_different_moments_and_are_on_average_as_long_as_they_say() -> None:
    (scenario,) = (scenario for scenario in OUTAGES if scenario.name == "outages-503-20")
    several = [varied(scenario, number) for number in range(scenario.repeat)]
    lengths = [one.fault[1] - one.fault[0] for one in several]
    assert lengths == pytest.approx([18.2 + 0.4 * number for number in range(10)])
    assert {one.phases[0].seconds for one in several} == {scenario.phases[0].seconds}
    assert len({one.seed for one in several}) == scenario.repeat
    assert varied(OUTAGE, 0) == OUTAGE


def test_a_series_begins_an_entry_with_each_phase() -> None:
    brief = replace(OUTAGE, phases=(Phase(1), Phase(2.5, "503"), Phase(1)), brief=True)
    assert brief.edges == [0, 1, 2, 3, 3.5]
    assert brief.counted([-0.1, 0.5, 1.0, 3.4, 3.5, 99]) == [2, 1, 0, 1, 2]
    assert replace(brief, brief=False, phases=(Phase(0.2), Phase(0.1, "503"))).edges == pytest.approx([0, 0.1, 0.2])


def test_what_a_deadline_has_to_teach_first_can_be_left_out() -> None:
    run = _run(reached={"no answer": {10: 10, 19: 5, 20: 2, 29: 1}})
    assert figures.amplification([run]) == run.amplification == 18 / 20
    assert figures.amplification([run], after=1) == 3 / 10
    assert figures.amplification([run, _run()], after=1) == 3 / 20


def test_the_ill_machine_s_share_is_of_the_requests_during_the_fault() -> None:
    run = _run(reached={"200": {0: 50, 10: 6, 29: 3, 30: 50}, "503": {11: 1}})
    ill = _series({0: 20, 11: 1, 29: 1, 30: 20})
    assert replace(run, ill=ill).ill_share == 2 / 10


def test_refused_attempts_count_as_requests_where_the_client_counted_them() -> None:
    refusing = replace(_PLAN, phases=(Phase(1), Phase(2, "refused"), Phase(3)))
    run = replace(_run(reached={"200": {5: 1}}), scenario=refusing)
    assert not run.counted
    run = replace(run, refused=_series({10: 4, 20: 1}))
    assert run.counted
    assert run.amplification == 5 / 20
    assert run.vain()[0] == pytest.approx(40)  # four in a tenth of a second
    assert sum(run.vain()) == pytest.approx(50)


@pytest.mark.parametrize(
    ("opened", "closed", "again"),
    [
        ((1.1, 2.5), (3.5,), 0),  # the look at 2.5 s failed: that is no opening anew
        ((1.1, 3.2), (3.5,), 0),
        ((1.1, 4.0), (3.5, 5.0), 1),
        ((1.1,), (), None),
        ((), (), 0),
    ],
)
def test_a_circuit_opens_again_after_it_has_closed(
    opened: tuple[float, ...], closed: tuple[float, ...], again: int | None
) -> None:
    assert replace(_run(), opened=opened, closed=closed).opened_again == again


def test_a_median_and_a_worst_of_which_some_never_came_say_so() -> None:
    soon, late, never = (_run("." * 10 + "x" * 20 + rest) for rest in ("." * 30, "x" * 10 + "." * 20, "x" * 30))
    assert groups.recovered([soon, late, late]) == "1.0 s, at worst 1.0 s"
    assert groups.recovered([soon, soon, never]) == "0.0 s, at worst not in time"
    assert groups.recovered([soon, never, never]) == "not in time, at worst not in time"


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (1, "100 %"), (0.9951, "99.51 %"), (0.97, "97.0 %"), (0.00656, "0.7 %")],
)
def test_a_share_tells_what_is_missing_from_all(share: float, said: str) -> None:
    assert words.share(share) == said


def test_every_target_speaks_of_a_scenario_and_a_client_that_is_run() -> None:
    known = {scenario.name: scenario for scenario in ALL}
    for target in TARGETS:
        assert set(target.clients) <= set(known[target.scenario].clients)
        assert target.group == known[target.scenario].group
    assert {target.group for target in TARGETS} == {"", *GROUPS}
