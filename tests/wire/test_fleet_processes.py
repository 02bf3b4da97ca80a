"""Workers of a fleet as processes: they spare a host that is down, and a worker that is cut off misleads nobody.

The same harness as `benchmarks.fleet`, in small; so this also keeps that honest.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import TooLate, timing_test

from benchmarks.fleet.figures import Side, side_of
from benchmarks.fleet.run import run
from benchmarks.fleet.setting import ALONE, Setting

pytestmark = [pytest.mark.once, pytest.mark.left_to_ci, pytest.mark.needs("redis-server")]

#: Alone, some workers find out soon, and the last one long after them.
DEAD = Setting("503", 1.0, 5.0, workers=6, before=0.5, after=5.0)
LYING = Setting("none", 4.0, 4.0, workers=6, before=0.5, after=0.5, beside="cut", cut=1, sides=("redis", "file"))
#: Where a worker's call begins so many seconds late, the machine was too busy for any of these figures.
_LATE = 0.5
STORES = ("redis", "file")


@timing_test
def _measured() -> dict[str, dict[str, Any]]:
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(("dead", "lying"), pool.map(run, (DEAD, LYING)), strict=True))
    late = max(
        worker["late"] for its in results.values() for side in its["sides"].values() for worker in side["workers"]
    )
    if late > _LATE:
        raise TooLate(f"a call was begun {late:.2f} s late")
    return results


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, Any]]:
    """A host that dies and comes back; and one that is well, from which one worker of six is cut off."""
    return _measured()


@pytest.fixture(scope="module")
def dead(measured: dict[str, dict[str, Any]]) -> dict[str, Side]:
    return {name: side_of(DEAD, found) for name, found in measured["dead"]["sides"].items()}


@pytest.fixture(scope="module")
def lying(measured: dict[str, dict[str, Any]]) -> dict[str, Side]:
    return {name: side_of(LYING, found) for name, found in measured["lying"]["sides"].items()}


def _sent(found: dict[str, Any]) -> int:
    """Attempts that were answered during the outage, by the workers' books: retries are in the events alone."""
    return sum(1 for worker in found["workers"] for _, _, outcome in worker["calls"] if outcome == "503")


@pytest.mark.parametrize("store", STORES)
def test_a_fleet_spares_a_host_that_is_down(dead: dict[str, Side], store: str) -> None:
    """By how much is chance with so few workers and so short an outage: virtual time says it."""
    assert 0 < dead[store].reached < dead[ALONE].reached
    assert dead[store].finding < dead[ALONE].finding


def _after_two(side: Side) -> float:
    """Seconds from when two workers knew until the last one did; two make a verdict."""
    moments = sorted(math.inf if moment is None else moment for moment in side.knew)
    return moments[-1] - moments[1]


@pytest.mark.parametrize("store", STORES)
def test_what_two_workers_find_out_all_know_at_once(dead: dict[str, Side], store: str) -> None:
    assert _after_two(dead[store]) < 1.2 < _after_two(dead[ALONE])
    assert dead[store].answered[1] == dead[ALONE].answered[1] == 0, "the host was down for all"


@pytest.mark.parametrize("store", STORES)
def test_all_workers_are_back_within_seconds_of_the_host(dead: dict[str, Side], store: str) -> None:
    moments = [moment for moment in dead[store].back if moment is not None]
    assert len(moments) == len(dead[store].back) == DEAD.workers
    assert max(moments) < 4.5
    assert dead[store].most_probes <= 5


@pytest.mark.parametrize("store", STORES)
def test_a_worker_that_is_cut_off_changes_nothing_for_the_others(
    measured: dict[str, dict[str, Any]], lying: dict[str, Side], store: str
) -> None:
    side, workers = lying[store], measured["lying"]["sides"][store]["workers"]
    assert any(event == "breaker.opened" for _, event, _ in workers[0]["events"]), "it was cut off, and found so"
    assert side.opened == 0
    assert side.failed == (0, 0, 0)


def test_the_host_counts_what_the_workers_do(measured: dict[str, dict[str, Any]], dead: dict[str, Side]) -> None:
    """Two books: each call that ended with 503 is one request at least, and at most three."""
    for name, side in dead.items():
        met = _sent(measured["dead"]["sides"][name])
        assert 0 < met <= side.reached <= 3 * met
        assert side.reached == side.finding + side.probing == sum(side.series)
