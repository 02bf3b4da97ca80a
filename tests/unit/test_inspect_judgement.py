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
