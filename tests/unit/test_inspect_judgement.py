"""Judgement of logs in which something is special: calls that hang, faults within faults, answers that are missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sleepwalker.inspect import Filter, Report
from tests.unit.inspect_logs import HOST, NOON, answered, failed, line, report_on, write

pytestmark = pytest.mark.once

Made = Callable[..., Report]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """The report on such lines, which are put in the order of their times."""
    return lambda *lines, **options: report_on(
        write(tmp_path / "events.jsonl", sorted(lines, key=lambda one: one[one.index("20") : one.index("Z")])),
        **options,
    )


def hung(at: float, **values: object) -> str:
    """A send that hung for 10 s."""
    return line(at, "attempt.failed", attempt=1, error="DeadlineExceeded", detail="ran out", duration=10.0, **values)


def test_a_host_that_hangs_now_is_trouble_although_no_call_has_failed_yet(made: Made) -> None:
    report = made(*(answered(at) for at in range(600)), *(hung(610 + number / 10) for number in range(8)))
    [one] = report.episodes
    assert (one.kind, one.sends, one.sends_failed, one.end) == ("total", 8, 8, None)
    assert report.trouble
    [finding] = report.findings
    assert finding.tone == "bad"
    assert finding.since[0].endswith("8 of 8 sends failed, mostly DeadlineExceeded; no call has ended since")
    assert finding.over == "no: no call has ended since"


# -- which processes saw it ------------------------------------------------------------------------


def partly(host: str, ill: range, share: float, until: int = 26) -> list[str]:
    """Calls of 8 processes to a host that fails some sends for 6 s; a retry is made once."""
    dice = random.Random(host)
    lines = []
    for at in range(0, 600):
        pid, when = at % 8, at / 10
        now = share if 20 <= when < until and pid in ill else 0.0
        sends = 1 + (dice.random() < now)
        if sends == 2:
            lines.append(line(when, "attempt.failed", host, attempt=1, status=503, duration=0.01, pid=pid))
        lines.append(
            failed(when + 0.05, host, error=None, status=503, attempts=2, pid=pid)
            if sends == 2 and dice.random() < now
            else answered(when + 0.05, host, attempts=sends, pid=pid)
        )
    return lines


def test_a_fault_for_all_is_not_told_of_some_processes(made: Made) -> None:
    lines = [one for number in range(40) for one in partly(f"https://svc-{number}.example.net", range(8), 0.4)]
    episodes = made(*lines).episodes
    assert len(episodes) > 20
    assert [one.host for one in episodes if one.processes < one.of_processes] == []


def test_a_fault_of_one_process_is_told_of_it(made: Made) -> None:
    [one] = made(*partly(HOST, range(3, 4), 1.0, until=50)).episodes
    assert (one.processes, one.of_processes) == (1, 8)
