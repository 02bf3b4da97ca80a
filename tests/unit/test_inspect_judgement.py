"""Judgement of logs in which something is special: calls that hang, faults within faults, answers that are missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sleepwalker.inspect import Filter, Report
from tests.ranges import some
from tests.unit.inspect_logs import HOST, NOON, answered, failed, line, rejected, report_on, write

pytestmark = pytest.mark.once

Made = Callable[..., Report]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """The report on such lines, which are put in the order of their times."""
    return lambda *lines, **options: report_on(
        write(tmp_path / "events.jsonl", sorted(lines, key=lambda one: one[one.index("20") : one.index("Z")])),
        **options,
    )


def hung(at: float) -> str:
    """A send that hung for 10 s."""
    return line(at, "attempt.failed", attempt=1, error="DeadlineExceeded", detail="ran out", duration=10.0)


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
    lines: list[str] = []
    for at in range(600):
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


# -- faults within faults --------------------------------------------------------------------------


def sometimes(dice: random.Random, at: float, share: float, retried: bool = False, slow: float = 0.01) -> list[str]:
    """A call of which the sends fail with such a probability; it may be sent three times."""
    lines: list[str] = []
    for send in range(1, 4 if retried else 2):
        if dice.random() >= share:
            return [*lines, answered(at, attempts=send, duration=slow)]
        lines.append(line(at, "attempt.failed", attempt=send, status=503, duration=0.01))
        if retried and send < 3:
            lines.append(line(at, "retry.scheduled", attempt=send + 1, wait=0.01))
    return [*lines, failed(at, error=None, status=503, attempts=3 if retried else 1)]


def told(report: Report) -> list[tuple[str, float, float]]:
    return [
        (one.kind, round(one.begin - NOON, -1), round((one.end or report.end) - NOON, -1)) for one in report.episodes
    ]


def test_an_outage_within_a_longer_partial_failure_is_told_beside_it(made: Made) -> None:
    dice = random.Random(3)
    lines = [one for at in range(3600) for one in sometimes(dice, at, 1.0 if 1500 <= at < 1800 else 0.12)]
    report = made(*lines)
    outer, inner = report.episodes
    assert (outer.kind, outer.end) == ("partial", None)
    assert outer.begin - NOON < 60
    assert told(report)[1] == ("total", 1500, 1800)
    assert (inner.failed, inner.answered) == (inner.calls, 0)
    assert outer.share == pytest.approx(0.12, abs=0.03)
    assert outer.failed + inner.failed <= report.hosts[0].failed


def test_slowness_within_a_longer_partial_failure_is_told_beside_it(made: Made) -> None:
    dice = random.Random(4)
    lines: list[str] = []
    for at in range(3600):
        slow = 1.5 if 1500 <= at < 1800 else 0.02
        lines += sometimes(dice, at, 0.3 if 1000 <= at < 2400 else 0.0, slow=slow)
    assert told(made(*lines)) == [("partial", 1000, 2400), ("slow", 1500, 1800)]


def test_an_outage_of_a_host_whose_sends_always_fail_now_and_then_counts_nothing_twice(made: Made) -> None:
    dice = random.Random(5)
    lines = [one for at in range(1800) for one in sometimes(dice, at, 1.0 if 900 <= at < 960 else 0.3, retried=True)]
    report = made(*lines)
    assert [one.kind for one in report.episodes] == ["partial", "total"]
    assert sum(one.retries for one in report.episodes) <= report.hosts[0].retries


@pytest.mark.parametrize("since", [None, NOON + 650])
def test_an_outage_that_goes_on_is_one_episode_wherever_the_look_begins(made: Made, since: float | None) -> None:
    dice = random.Random(6)
    lines = [one for at in range(700) for one in sometimes(dice, at, 1.0 if at >= 600 else 0.0)]
    [one] = made(*lines, chosen=Filter(since=since)).episodes
    assert (one.kind, one.end) == ("total", None)
    assert one.failed == (100 if since is None else 50)


@pytest.mark.parametrize("seed", range(some(4, 12)))
def test_what_episodes_sum_up_to_is_never_more_than_the_host_has(made: Made, seed: int) -> None:
    dice = random.Random(seed)
    always = dice.choice([0.0, 0.02, 0.15, 0.3])
    retried = dice.random() < 0.5
    faults = []
    for _ in range(dice.randrange(1, 5)):
        begin = dice.randrange(1200)
        faults.append((begin, begin + dice.randrange(5, 600), dice.choice([0.3, 0.7, 1.0]), dice.random() < 0.4))
    lines = []
    refusing = False
    for at in range(1500):
        mine = [fault for fault in faults if fault[0] <= at < fault[1]]
        opened = any(fault[3] for fault in mine)
        if opened and not refusing:
            lines.append(line(at, "breaker.opened", rule="consecutive", open_for=5.0, cause="503"))
            lines.append(line(at, "host.broken", reason="breaker", failures=5, cause="503"))
        if refusing and not opened:
            lines.append(line(at, "breaker.closed", ramp=5.0))
            lines.append(line(at, "host.recovered", broken_for=1.0))
        refusing = opened
        if opened:
            lines.append(rejected(at))
        else:
            share = max([always, *(fault[2] for fault in mine)])
            lines += sometimes(dice, at, share, retried, dice.choice([0.01, 0.01, 0.5]))
    report = made(*lines)
    [facts] = report.hosts
    of = report.episodes
    assert of
    assert sum(one.calls for one in of) <= facts.calls
    assert sum(one.failed for one in of) <= facts.failed
    assert sum(one.refused for one in of) <= facts.rejected
    assert sum(one.retries for one in of) <= facts.retries
    assert sum(one.saved for one in of) <= facts.saved
    assert sum(one.opened for one in of) <= facts.opened


# -- what is said of the rest ----------------------------------------------------------------------


def test_failures_that_are_no_outage_are_told_with_the_time_in_which_they_lie(made: Made) -> None:
    """One path of fifty fails for ten minutes: too few calls for an outage."""
    lines = [failed(at, error=None, status=503) if 1200 <= at < 1800 and at % 50 == 0 else answered(at)
             for at in range(3600)]  # fmt: skip
    [finding] = made(*lines).findings
    assert finding.which.endswith("12 calls failed, all from 14:20:00 to 14:29:10")


def test_a_host_that_its_callers_have_left_is_none_of_those_that_fell_together(made: Made) -> None:
    lines = []
    for number in range(6):
        host = f"https://svc-{number}.example.net"
        lines += [failed(at, host) if number < 4 and at >= 500 else answered(at, host) for at in range(600)]
    lines += [answered(at, "https://left.example.net") for at in range(480)]
    lines += [answered(at, "https://seldom.example.net") for at in range(0, 500, 30)]
    [together] = made(*lines).together
    assert (len(together.hosts), together.of_hosts) == (4, 7)


def test_what_hung_is_over_when_the_host_answers_again_although_calls_end_later(made: Made) -> None:
    """Eight callers hang for 10 s; the first is answered again while the calls of others still fail."""
    lines = [answered(at / 10) for at in range(1000) if not 300 <= at < 398]
    for number in range(8):
        at = 40 + number / 10
        lines += [hung(at), failed(at, error="DeadlineExceeded", duration=10.0)]
    [one] = made(*lines).episodes
    assert one.end is not None
    assert (one.kind, one.calls, one.failed, one.p95) == ("total", 8, 8, None)
    assert one.begin - NOON == pytest.approx(30, abs=0.1)
    assert one.end - NOON == pytest.approx(39.8, abs=0.1)
    assert one.failed_since == 0
