"""The fleet's benchmark works out what its name says, and its page follows from what was measured."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import pytest

from benchmarks.fleet import command
from benchmarks.fleet.figures import isolations, side_of
from benchmarks.fleet.load import moments, offer
from benchmarks.fleet.report import knew
from benchmarks.fleet.setting import ISOLATED, Setting, from_dict
from benchmarks.machine import RESULTS

pytestmark = pytest.mark.left_to_ci

#: Down from the second 10 to the second 20.
SETTING = Setting("503", 1.0, 10.0, workers=2, before=10.0, after=10.0, sides=("alone",))


def _worker(events: list[tuple[float, str]], calls: list[tuple[float, str]], connects: list[float]) -> dict[str, Any]:
    return {
        "calls": [[due, 0.1, outcome] for due, outcome in calls],
        "events": [[moment, name, {}] for moment, name in events],
        "connects": connects,
        "late": 0.0,
        "cpu": 1.0,
    }


def _raw() -> dict[str, Any]:
    """Two workers: one finds the host broken, looks twice and is back; the other never finds out."""
    first = [(12.0, "breaker.opened"), (15.0, "breaker.opened"), (18.0, "breaker.opened"), (21.5, "breaker.closed")]
    calls = [(5.0, "ok"), (11.0, "503"), (15.0, "503"), (25.0, "ok")]
    return {
        "reached": [
            [5.0, 0, 200],
            [11.0, 0, 503],
            [11.5, 1, 503],
            [11.9, 0, 503],
            [14.9, 0, 503],
            [17.9, 0, 503],
            [19.0, 1, 503],
            [21.0, 0, 200],
        ],
        "workers": [_worker(first, calls, [5.0, 11.0]), _worker([], [(4.0, "ok"), (19.0, "503")], [11.5])],
    }


def test_what_reaches_the_host_is_finding_until_a_workers_own_circuit_is_open_and_looking_after_that() -> None:
    side = side_of(SETTING, _raw())
    assert (side.reached, side.finding, side.probing) == (6, 4, 2)
    assert side.series == (0, 3, 0, 0, 1, 0, 0, 1, 0, 1)
    assert side.knew == (2.0, None)
    assert side.back == (1.5,), "the other one was never away"
    assert side.answered == (1.0, 0.0, 1.0)
    assert side.failed == (0, 3, 0)


def test_of_a_host_that_refuses_connects_are_counted() -> None:
    refusing = from_dict({**SETTING.to_dict(), "kind": "refuse"})
    assert side_of(refusing, _raw()).reached == 2


def test_a_worker_that_is_cut_off_does_not_count_among_the_others() -> None:
    cut = from_dict({**SETTING.to_dict(), "kind": "none", "beside": "cut", "cut": 1})
    side = side_of(cut, _raw())
    assert side.opened == 0
    assert side.failed == (0, 1, 0)


def test_of_a_host_that_hangs_time_counts_from_the_first_worker_that_knows() -> None:
    hanging = from_dict({**SETTING.to_dict(), "kind": "hang"})
    side = side_of(hanging, _raw())
    assert knew(hanging, side) == [0.0, None]


def test_a_worker_that_refuses_too_late_or_not_at_all_is_not_reached() -> None:
    reached = _worker([(10.4, "host.isolated")], [(10.2, "ok"), (11.0, "ok")], [])
    missed = _worker([(10.5 + ISOLATED, "host.isolated")], [(11.0, "ok")], [])
    raw = {"ordered": {"redis": {"store": 10.0}}, "sides": {"redis": {"workers": [reached, missed]}}}
    found = isolations(raw)["redis"]["store"]
    assert found["reached"] == [0.4, None]
    assert found["let through"] == 2


def test_calls_come_at_random_and_the_same_on_all_sides() -> None:
    found = moments(5.0, 100.0, "1 7")
    assert found == moments(5.0, 100.0, "1 7") != moments(5.0, 100.0, "1 8")
    assert found == sorted(found)
    assert 400 < len(found) < 600


def test_a_call_begins_when_it_is_due_while_others_wait() -> None:
    with contextlib.ExitStack() as stack:
        left, right = (stack.enter_context(one) for one in socket.socketpair())
        begun: list[bool] = []

        def call() -> None:
            begun.append(True)
            if len(begun) == 5:
                right.sendall(b".....")
            left.recv(1)

        offered = offer(call, [0.0, 0.01, 0.02, 0.03, 0.04], time.monotonic(), 30.0, {})
    assert offered.outcomes == ["ok"] * 5
    assert offered.threads == 5


@pytest.mark.skipif(not (RESULTS / "fleet.json").exists(), reason="nothing was measured yet")
def test_page_and_plots_are_those_of_the_committed_result() -> None:
    for name, text in command.drawn(command.read(RESULTS)).items():
        assert (RESULTS / name).read_text(encoding="utf-8") == text, f"{command.COMMAND} --redraw"
