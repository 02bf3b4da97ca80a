"""What a report says of trouble: which host, from when until when, where callers went, is it over, is it us?"""

from __future__ import annotations

import gzip
import math
import random
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sleepwalker.inspect import Filter, Report
from sleepwalker.inspect.trouble import Episode
from tests.ranges import whole
from tests.unit.inspect_logs import HOST, NOON, answered, failed, line, rejected, report_on, write

#: DuckDB's counting is tests/unit/test_inspect.py's; what is made of the counts depends on no interpreter.
pytestmark = pytest.mark.once

Made = Callable[..., Report]
DAY = 86_400


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """The report on such lines, which are put in the order of their times."""
    return lambda *lines, **options: report_on(write(tmp_path / "events.jsonl", sorted(lines, key=_time)), **options)


def _time(text: str) -> str:
    return text[text.index("20") : text.index("Z")]


def spans(episodes: Sequence[Episode]) -> list[tuple[str, str, float, float | None]]:
    return [
        (one.host, one.kind, round(one.begin - NOON, 1), None if one.end is None else round(one.end - NOON, 1))
        for one in episodes
    ]


def steady(host: str = HOST, *, until: int = 600, every: int = 1, but: range = range(0), **values: Any) -> list[str]:
    """Calls that are answered, but for a time."""
    return [answered(at, host, **values) for at in range(0, until, every) if at not in but]


def broken(at: float, host: str = HOST, **values: Any) -> list[str]:
    opened = line(at, "breaker.opened", host, rule="consecutive", open_for=5.0, cause="ConnectError", **values)
    return [opened, line(at, "host.broken", host, reason="breaker", failures=5, cause="ConnectError", **values)]


def recovered(at: float, since: float, host: str = HOST, **values: Any) -> list[str]:
    return [
        line(at, "breaker.half_opened", host, **values),
        line(at, "breaker.closed", host, ramp=5.0, **values),
        line(at, "host.recovered", host, broken_for=at - since, **values),
    ]


# -- an hour in a day ------------------------------------------------------------------------------


def test_an_hour_of_trouble_in_a_day_is_found_and_so_is_an_hour_of_slowness(made: Made) -> None:
    """Over the whole day 99.2 % were answered, which was called well."""
    dice = random.Random(5)
    lines = []
    for at in range(0, DAY, 10):
        ill = 14 * 3600 <= at < 15 * 3600 and at % 50 == 0
        lines.append((failed if ill else answered)(at, "https://stock", duration=dice.lognormvariate(-3.6, 0.4)))
        slow = 20 if 9 * 3600 <= at < 10 * 3600 else 1
        lines.append(answered(at + 1, "https://geo", duration=slow * dice.lognormvariate(-3.6, 0.4)))
    report = made(*lines)
    assert report.interval == 60
    geo, stock = report.episodes
    assert (geo.host, geo.kind, stock.host, stock.kind) == ("https://geo", "slow", "https://stock", "partial")
    for one, hour in ((geo, 9), (stock, 14)):
        assert one.begin - NOON == pytest.approx(hour * 3600, abs=report.interval)
        assert one.end is not None
        assert one.end - NOON == pytest.approx((hour + 1) * 3600, abs=report.interval)
    assert stock.share == pytest.approx(0.2, abs=0.01)
    assert (geo.p95 or 0) > 15 * (geo.usual_p95 or 1)
    assert {finding.tone for finding in report.findings} == {"over"}
    assert report.trouble


@pytest.mark.parametrize(
    "make",
    [
        lambda: [failed(at) if at % 100 == 37 else answered(at) for at in range(3000)],
        lambda: [answered(at, status=404 if 500 < at < 900 else 200) for at in range(1500)],
        lambda: [*steady(), failed(300.5)],
        lambda: [answered(at / (1 + (at // 500) % 3)) for at in range(3000)],
        lambda: [answered(0), answered(5000), failed(9000), answered(20_000)],
        lambda: [answered(at, duration=3.0) for at in range(600)],
        lambda: [answered(at, duration=0.02 * (2 + (at // 300) % 2)) for at in range(3000)],
        lambda: [answered(at, attempts=1 + (at % 25 == 0)) for at in range(600)],
    ],
    ids=["1 % errors", "404s", "a stray failure", "load", "few calls", "always slow", "slower by day", "retries"],
)
def test_a_healthy_log_has_no_trouble(made: Made, make: Callable[[], list[str]]) -> None:
    report = made(*make())
    assert report.episodes == []
    assert [finding.tone for finding in report.findings] == ["good"]
    assert not report.trouble


def test_of_errors_that_came_equally_often_the_first_by_name_is_told_however_the_log_is_read(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB took the one that it met first: in a log too long for tables, it may meet them in another order."""
    lines = [failed(at, error=("ReadTimeout", "ConnectError")[at % 2]) for at in range(60)]
    assert [one.error for one in made(*lines).episodes] == ["ConnectError"]
    monkeypatch.setattr("sleepwalker.inspect.session._KEPT", 0)
    assert [one.error for one in made(*lines).episodes] == ["ConnectError"]


def test_failed_calls_are_not_all_is_well(made: Made) -> None:
    [finding] = made(*(failed(at) if at % 100 == 37 else answered(at) for at in range(3000))).findings
    assert finding.which == "No outage: 3,000 calls to 1 host, 99 % answered; 30 calls failed, spread over the time"
    [finding] = made(*steady(), failed(3, "https://seldom")).findings
    assert finding.which.endswith("1 call failed. Too few calls to judge, and none answered: https://seldom")
    [facts] = [one for one in made(*steady(), failed(3, "https://seldom")).hosts if one.host == "https://seldom"]
    assert facts.now == "failing"


def test_sends_that_fail_while_retries_save_all_calls_are_a_note(made: Made) -> None:
    lines = []
    for at in range(600):
        bad = 200 <= at < 300 and at % 3 == 0
        lines += [line(at, "attempt.failed", attempt=1, status=503, duration=0.01)] if bad else []
        lines += [answered(at + 0.1, attempts=1 + bad)]
    report = made(*lines)
    assert [(one.kind, one.trouble) for one in report.episodes] == [("retried", False)]
    good, note = report.findings
    assert (good.tone, note.tone) == ("good", "note")
    assert "retries saved all calls" in note.since[0]
    assert not report.trouble


def test_a_log_in_which_every_call_failed_says_that_all_did(made: Made) -> None:
    [finding] = made(*(failed(at) for at in range(100, 140))).findings
    assert "all 40 calls failed, mostly ConnectError" in finding.since[0]


def test_a_log_without_its_answered_calls_says_so_of_its_shares(made: Made) -> None:
    """That the host recovered, or that calls ended of which a send had failed, shows that there were some."""
    [finding] = made(*(failed(at) for at in range(100, 140)), *broken(110), *recovered(140, 110)).findings
    assert "how many were answered is not in the log" in finding.since[0]
    lost = [line(at, "attempt.failed", attempt=1, status=503, duration=0.01, call=f"c-{at}") for at in range(100)]
    [finding] = made(*lost, *(failed(at, call=f"d-{at}") for at in range(100, 140))).findings
    assert "how many were answered is not in the log" in finding.since[0]


# -- is it over? -----------------------------------------------------------------------------------


def test_a_stray_failure_hours_later_does_not_move_the_end(made: Made) -> None:
    lines = steady(until=6 * 3600, every=5, but=range(3600, 4800))
    lines += [rejected(at) for at in range(3600, 4800, 5)]
    report = made(*lines, *broken(3600), *recovered(4800, 3600), failed(5 * 3600 + 600))
    assert spans(report.episodes) == [(HOST, "total", 3600, 4800)]
    [finding] = report.findings
    assert finding.since[0].startswith("15:00:00 to 15:20:00, 20 min: broken: ")
    assert finding.over == (
        "yes: 3,359 calls answered since 15:20:00; 1 call failed since, the last at 19:10:00, which is no outage"
    )


def test_two_outages_of_a_host_are_two_lines_of_one_finding(made: Made) -> None:
    lines = steady(until=2000, but=range(300, 330)) + [failed(at) for at in [*range(300, 330), *range(900, 960)]]
    report = made(*[one for one in lines if not 900 <= _at(one) < 960 or "failed" in one])
    assert [(round(one.begin - NOON), round((one.end or 0) - NOON)) for one in report.episodes] == [
        (300, 329), (900, 959),
    ]  # fmt: skip
    [finding] = report.findings
    assert len(finding.since) == 2


def _at(text: str) -> float:
    clock = _time(text)[11:]
    hours, minutes, seconds = clock.split(":")
    return (int(hours) - 14) * 3600 + int(minutes) * 60 + float(seconds)


def test_what_hung_until_its_time_was_up_began_when_the_calls_did(made: Made) -> None:
    lines = steady(until=200, but=range(100, 130))
    for at in range(100, 130, 2):
        lines += [line(at + 10, "attempt.failed", attempt=1, error="ConnectTimeout", duration=10.0)]
        lines += [failed(at + 10, error="ConnectTimeout", duration=10.0)]
    [one] = made(*lines).episodes
    assert one.begin - NOON == pytest.approx(100, abs=1)


# -- together --------------------------------------------------------------------------------------


def region(fallen: int, *, until: int = 1200, back: int | None = None) -> list[str]:
    lines = []
    for number in range(14):
        host = f"https://svc-{number:02}.example.net"
        bad = range(600, back or until) if number < fallen else range(0)
        lines += [failed(at, host, error="ConnectTimeout") for at in bad if at % 2 == 0]
        lines += steady(host, until=until, every=2, but=bad)
    return lines


def test_hosts_that_were_back_within_seconds_are_told_in_one_line_by_their_names(made: Made) -> None:
    lines = []
    for number, back in enumerate((660, 662, 664, 720)):
        host = f"https://10.0.0.{9 - number}"
        for at in range(0, 1200, 2):
            bad = 600 <= at < back
            lines.append((failed if bad else answered)(at, host, name=("two", "one", "three", "four")[number]))
    [finding] = made(*lines).findings
    first, second = finding.since
    assert first == (
        "14:10:00 to 14:11:02, 1 min 2 s (the first was back at 14:10:58): all 93 calls failed, mostly ConnectError: "
        "one, three, two"
    )
    assert second == "14:10:00 to 14:11:58, 1 min 58 s: all 60 calls failed, mostly ConnectError: four"


def test_hosts_that_fell_together_are_told_together_and_the_first_by_name(made: Made) -> None:
    report = made(*region(13))
    [together] = report.together
    assert (len(together.hosts), together.of_hosts, together.end) == (13, 14, None)
    [finding] = report.findings
    assert finding.which == "13 of 14 hosts fell together at 14:10:00: is it us?"
    assert finding.tone == "bad"
    assert "our own network, DNS, proxy, the last deploy" in finding.next
    names = ", ".join(f"https://svc-{number:02}.example.net" for number in range(6))
    [since] = finding.since
    assert since.endswith(f": all 3,900 calls failed, mostly ConnectTimeout: {names} and 7 more")
    assert len(finding.hosts) == 13
    assert finding.runbook.endswith("#together")


def test_hosts_that_are_not_back_are_named(made: Made) -> None:
    lines = [*region(10, back=900), *(failed(at, "https://svc-03.example.net") for at in range(900, 1200, 2))]
    late = 'host":"https://svc-03.example.net'
    report = made(*(one for one in lines if late not in one or "finished" not in one or _at(one) < 900))
    [finding] = report.findings
    assert (finding.tone, finding.over) == ("bad", "no: 1 of 10 are not back (https://svc-03.example.net)")
    assert len(finding.since) == 2


def test_two_of_many_hosts_are_told_one_by_one(made: Made) -> None:
    report = made(*region(2))
    assert report.together == []
    assert len(report.findings) == 2


def test_ten_hosts_in_trouble_at_different_times_are_ten_findings(made: Made) -> None:
    lines = []
    for number in range(10):
        host, bad = f"https://h{number}", range(100 * number + 50, 100 * number + 90)
        lines += steady(host, until=1200, but=bad) + [failed(at, host) for at in bad]
    report = made(*lines)
    assert len(report.findings) == 10
    assert all(finding.since and finding.over for finding in report.findings)


# -- moved -----------------------------------------------------------------------------------------

OLD, NEW = "http://10.0.0.1:80", "http://10.0.0.2:80"


def hooked(at: float, target: str, **values: Any) -> str:
    return line(at, "connection.hooked", "payments", hook="Directory", target=target, duration=0.01, **values)


def move(name: str | None = "payments") -> list[str]:
    """payments dies at 100, callers get another one at 118, and the hooks are asked again each minute."""
    called = {"name": name} if name else {}
    lines = [hooked(0, OLD), *(answered(at, OLD, **called) for at in range(1, 100))]
    lines += [failed(at / 10, OLD, error="ConnectError", **called) for at in range(1000, 1150, 5)]
    lines += [line(112, "host.broken", OLD, reason="connect", failures=3, cause="ConnectError")]
    lines += [line(118, "connection.evicted", "payments", reason="connect")]
    lines += [hooked(at, NEW) for at in range(118, 1800, 60)]
    return lines + [answered(at, NEW, **called) for at in range(118, 1800, 3)]


@pytest.mark.parametrize("name", ["payments", None], ids=["with the name", "an older log"])
def test_callers_moved_when_the_first_hook_gave_another_host(made: Made, name: str | None) -> None:
    report = made(*move(name))
    [one] = report.episodes
    assert (one.host, one.moved_to, one.moved_at, one.end) == (OLD, NEW, NOON + 118, NOON + 118)
    old = next(facts for facts in report.hosts if facts.host == OLD)
    assert (old.now, old.state, old.moved_to, old.moved_at) == ("moved", "moved", NEW, NOON + 118)
    assert [span.state for span in old.host_spans] == ["fine", "broken", "moved"]
    [finding] = report.findings
    assert (finding.tone, finding.which) == ("over", f"payments ({OLD})")
    assert finding.over == f"for its callers: a hook gave them {NEW} at 14:01:58"
    assert "2 connections given up" not in finding.done
    assert "1 connection given up, 1 made anew" in finding.done


def test_a_move_back_is_said_and_ends_the_move(made: Made) -> None:
    back = [hooked(1900, OLD), hooked(1960, OLD), *(answered(at, OLD, name="payments") for at in range(1900, 2000))]
    report = made(*move(), *back)
    [one] = report.episodes
    assert (one.moved_at, one.moved_back_at) == (NOON + 118, NOON + 1900)
    old = next(facts for facts in report.hosts if facts.host == OLD)
    assert (old.now, old.moved_to) == ("fine", None)
    [finding] = report.findings
    assert "they are back since 14:31:40" in finding.over


def test_callers_that_were_back_before_it_broke_have_not_left(made: Made) -> None:
    """The move away from before was once taken for the end: of a time that ended before it began."""
    lines = [hooked(0, OLD), hooked(1804, NEW), hooked(1805, OLD)]
    lines += [answered(at, OLD, name="payments") for at in range(3600) if not 1804 <= at < 1820]
    lines += [line(1806, "host.broken", OLD, reason="connect", failures=3, cause="ConnectError")]
    lines += [line(1818, "host.recovered", OLD, broken_for=12.0)]
    [one] = made(*lines).episodes
    assert (one.begin, one.end, one.moved_at) == (NOON + 1806, NOON + 1818, None)


def test_a_state_that_began_just_after_the_move_does_not_end_before_it_began(made: Made) -> None:
    lines = [hooked(0, OLD), *(answered(at, OLD, name="payments") for at in range(1800)), hooked(1800, NEW)]
    lines += [line(1803, "host.broken", OLD, reason="connect", failures=3, cause="ConnectError")]
    lines += [answered(at, NEW, name="payments") for at in range(1800, 3600)]
    [one] = made(*lines).episodes
    assert (one.begin, one.end, one.moved_at) == (NOON + 1803, NOON + 1803, NOON + 1800)


def test_a_host_that_some_still_call_in_vain_has_not_ended_by_the_move_of_others(made: Made) -> None:
    still = [failed(at / 2, OLD, error="ConnectError", pid=7, name="payments") for at in range(200, 3600)]
    report = made(*move(), *still)
    [one] = report.episodes
    assert (one.moved_at, one.end) == (NOON + 118, None)
    assert report.findings[0].tone == "bad"


# -- processes -------------------------------------------------------------------------------------


def two_workers(pids: bool) -> tuple[list[str], list[str]]:
    """Worker A's circuit stays open, worker B's opens and closes again."""
    a, b = ({"pid": 1}, {"pid": 2}) if pids else ({}, {})
    first = [failed(1, **a), *broken(1.1, **a)]
    first += [failed(at, error="CircuitOpenError", attempts=0, **a) for at in range(2, 50)]
    second = [failed(1.2, **b), *broken(1.3, **b), *recovered(6.6, 1.3, **b)]
    return first, second + [answered(at + 0.5, **b) for at in range(7, 50)]


def test_two_workers_in_one_file_are_told_as_in_two(tmp_path: Path) -> None:
    """Read as one process, the host was said to be well although one worker refuses all its calls."""
    first, second = two_workers(pids=True)
    apart = report_on(write(tmp_path / "a.jsonl", first), write(tmp_path / "b.jsonl", second))
    shared = report_on(write(tmp_path / "ab.jsonl", sorted(first + second, key=_time)))
    for report in (apart, shared):
        [facts] = report.hosts
        assert (facts.state, facts.circuit, facts.now, facts.processes) == ("broken", "open", "broken", 2)
        assert report.processes == 2
        [finding] = report.findings
        assert finding.tone == "bad"
        assert finding.over.startswith("no: the circuit is open; the next try was due at 14:00:06.1")
    assert apart.findings == shared.findings


@pytest.mark.parametrize("pids", [True, False])
def test_one_worker_that_fails_is_trouble_whether_or_not_it_has_a_pid(tmp_path: Path, pids: bool) -> None:
    lines = [one for worker in two_workers(pids) for one in worker]
    report = report_on(write(tmp_path / "ab.jsonl", sorted(lines, key=_time)))
    assert [(one.end, report.findings[0].tone) for one in report.episodes] == [(None, "bad")]


def test_how_many_processes_saw_it_is_said_where_they_differ(made: Made) -> None:
    lines = []
    for pid in range(8):
        bad = range(200, 260) if pid < 3 else range(0)
        lines += steady(but=bad, pid=pid) + [failed(at, pid=pid) for at in bad]
    [finding] = made(*lines).findings
    assert "in 3 of 8 processes" in finding.since[0]


def test_a_few_failures_in_some_of_many_processes_are_not_said_to_be_theirs(made: Made) -> None:
    lines = [
        (failed if 200 <= at < 260 and (at * 7 + pid * 3) % 4 == 0 else answered)(at + pid / 10, pid=pid)
        for at in range(0, 600, 5)
        for pid in range(8)
    ]
    [finding] = made(*lines).findings
    assert "processes" not in finding.since[0]


def test_a_process_that_was_replaced_holds_nothing_for_broken(made: Made) -> None:
    lines = [*steady(until=100, pid=1), *broken(100, pid=1), *(rejected(at, pid=1) for at in range(100, 120))]
    report = made(*lines, *(answered(at, pid=2) for at in range(125, 600)))
    [one] = report.episodes
    assert (round(one.begin - NOON), round((one.end or 0) - NOON)) == (100, 119)
    [facts] = report.hosts
    assert (facts.state, facts.circuit, facts.now) == ("fine", "closed", "fine")
    assert report.findings[0].tone == "over"


def test_a_process_that_does_not_call_any_more_says_nothing_of_now_where_others_are_answered(made: Made) -> None:
    """Its circuit lets the next call through as a probe, but none comes."""
    lines = [*steady(until=100, pid=1), *steady(until=600, but=range(100, 120), pid=2), *broken(100, pid=1)]
    lines += [*broken(100.1, pid=2), *recovered(120, 100.1, pid=2)]
    lines += [failed(at + pid / 10, pid=pid) for at in range(99, 105) for pid in (1, 2)]
    report = made(*lines, *(rejected(at, pid=2) for at in range(105, 120)))
    [one] = report.episodes
    assert one.held
    assert one.end == pytest.approx(NOON + 120, abs=report.interval)
    [finding] = report.findings
    assert finding.tone == "over"
    assert finding.over.endswith("a process that has not called since still counts it as broken")
    assert [facts.now for facts in report.hosts] == ["fine"]


# -- names and the filter --------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["payments", "PAY", "pay*", "10.0.0.2"])
def test_a_name_chooses_its_hosts_and_their_circuits(made: Made, word: str) -> None:
    other = [answered(at, "https://other", name="other") for at in range(100)]
    report = made(*move(), *other, chosen=Filter(hosts=(word,)))
    assert "https://other" not in {facts.host for facts in report.hosts}
    assert NEW in {facts.host for facts in report.hosts}
    if word != "10.0.0.2":
        assert [one.host for one in report.episodes] == [OLD]


def test_a_host_with_two_names_is_shown_with_both_and_chosen_by_one(made: Made) -> None:
    lines = [answered(at, name="billing" if at % 3 else "orders") for at in range(60)]
    [facts] = made(*lines).hosts
    assert (facts.label, facts.names) == (f"billing, orders ({HOST})", ["billing", "orders"])
    [facts] = made(*lines, chosen=Filter(hosts=("orders",))).hosts
    assert facts.calls == 20


# -- the rest of what an on-call person has to know ------------------------------------------------


def test_calls_that_a_limit_of_ours_refused_are_told_as_such(made: Made) -> None:
    bad = range(200, 260)
    lines = steady(but=bad) + [failed(at, error="BulkheadFullError", attempts=0, duration=0.0) for at in bad]
    report = made(*lines)
    [one] = report.episodes
    [finding] = report.findings
    assert (one.kind, one.refused) == ("limited", 60)
    assert "60 of 60 calls refused by our own limit (BulkheadFullError)" in finding.since[0]
    assert finding.runbook.endswith("#bulkhead")


def test_a_wait_that_the_host_asked_for_is_no_rate_limit_of_ours(made: Made) -> None:
    """Both raise `RateLimitedError`."""
    detail = f"{HOST}: the server asked to wait (429), which retry.after_binds extends to all calls to it; next try"
    cool = failed(3, error="RateLimitedError", attempts=0, detail=detail)
    ours = failed(
        4, error="RateLimitedError", attempts=0, detail=f"{HOST}: the policy's rate of calls to it is used up"
    )
    assert made(cool, ours, cool, answered(1)).rejections == {"cooldown": 2, "rate_limit": 1}


def test_hooks_that_hang_or_fail_are_told_by_the_name_that_was_asked_for(made: Made) -> None:
    slow = line(130, "connection.hook_slow", "billing", hook="Login", duration=30.0)
    report = made(*steady(), slow, line(190, "connection.hooked", "billing", hook="Login", target=HOST, duration=90.0))
    [one] = report.episodes
    assert (one.host, one.kind, one.begin, one.end) == ("billing", "hooks", NOON + 100, NOON + 190)
    [finding] = report.findings
    assert "its hook Login hung once, longer than timeout.total" in finding.since[0]
    fails = [line(at, "connection.hook_failed", "billing", hook="Login", error="ReadTimeout", duration=1.0)
             for at in range(100, 400, 60)]  # fmt: skip
    [finding] = made(*steady(), *fails).findings
    assert (finding.tone, finding.over) == ("bad", "no: no hook has given a connection since")
    assert "failed 5 times, mostly ReadTimeout" in finding.since[0]


def test_a_hook_that_passes_to_the_next_is_no_trouble(made: Made) -> None:
    lines = []
    for at in range(0, 600, 60):
        lines += [line(at, "connection.hook_failed", "billing", hook="First", error="ConnectError", duration=0.1)]
        lines += [line(at + 0.1, "connection.hooked", "billing", hook="Second", target=HOST, duration=0.1)]
    assert made(*steady(), *lines).episodes == []


def test_a_host_that_an_operator_isolated_is_told_so_and_its_circuit_apart(made: Made) -> None:
    lines = [*steady(until=300), line(300, "host.isolated", reason="new disks"), line(400, "host.restored")]
    lines += [failed(at, error="HostIsolatedError", attempts=0) for at in range(300, 400)]
    report = made(*lines, *(answered(at) for at in range(400, 600)))
    assert spans(report.episodes) == [(HOST, "isolated", 300, 400)]
    assert report.findings[0].over == "yes, since 14:06:40"


def test_refused_calls_that_one_line_stands_for_are_all_counted_and_when_they_were(made: Made) -> None:
    refused = {"error": "CircuitOpenError", "attempts": 0, "duration": 0.0}
    lines = steady(but=range(100, 200)) + broken(100) + recovered(200, 100)
    lines += [failed(at, count=50, **refused) for at in range(101, 200)]
    # The last ones were told when the next call came, an hour later.
    lines += [failed(4000, count=7, ago=3800.5, **refused)]
    report = made(*lines, answered(4001))
    [facts] = report.hosts
    assert (facts.rejected, facts.failed) == (99 * 50 + 7, 99 * 50 + 7)
    assert report.rejections == {"breaker": 99 * 50 + 7}
    assert sum(report.series[0].rejected) == 99 * 50 + 7
    [one] = report.episodes
    assert (one.refused, one.end) == (99 * 50 + 7, NOON + 200)
    assert not facts.sampled, "the count of refused calls is exact"


def test_calls_that_were_refused_in_the_millisecond_of_the_opening_are_not_before_it(made: Made) -> None:
    """Timestamps are cut to milliseconds, and `ago` is not: with all its digits, these calls came 0.2 ms too early."""
    lines = [*steady(until=100), *broken(100.863), rejected(100.863), *recovered(102.646, 100.863)]
    lines += [rejected(102.646, count=4, ago=1.7832), *(answered(at) for at in range(103, 200))]
    report = made(*lines)
    assert [(one.begin, one.refused) for one in report.episodes] == [(NOON + 100.863, 5)]


def test_retries_are_exact_where_answered_calls_are_sampled(made: Made) -> None:
    """Of ten calls that a retry saved, the log has one or none."""
    lines = []
    for number in range(200):
        about = {"call": f"c-{number}"}
        if number % 10 == 0:
            lines += [line(number, "attempt.failed", attempt=1, status=503, duration=0.1, **about)]
            lines += [line(number, "retry.scheduled", attempt=2, wait=0.5, server_directed=False, **about)]
        if number % 10 == 3:
            lines += [answered(number, sample=0.1, **about)]
    lines += [line(300, "retry.scheduled", attempt=2, wait=0.5, server_directed=False, call="lost")]
    lines += [failed(301, attempts=2, waited=0.5, call="lost")]
    report = made(*lines)
    it = report.retries
    assert (it.exact, it.sends, it.calls, it.saved, it.in_vain) == (True, 21, 21, 20, 1)
    assert it.waited == pytest.approx(10.5)
    [facts] = report.hosts
    assert (facts.retries, facts.saved, facts.calls) == (21, 20, 201)


@pytest.mark.parametrize("keep", [0.8, 0.9, 0.999])
@pytest.mark.parametrize("events", [3, 40])
def test_a_cut_gzip_is_read_as_far_as_it_goes_however_small_it_is(tmp_path: Path, keep: float, events: int) -> None:
    dice = random.Random(1)
    text = "".join(f"{answered(at, path=f'/{dice.getrandbits(200):x}')}\n" for at in range(events)).encode()
    packed = gzip.compress(text)
    left = packed[: int(len(packed) * keep)]
    path = tmp_path / "log.gz"
    path.write_bytes(left)
    report = report_on(path)
    assert report.files[0].cut
    assert report.events == zlib.decompressobj(31).decompress(left).count(b"\n") > 0


def test_a_gzip_with_a_flipped_byte_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    dice = random.Random(2)
    text = "".join(f"{answered(at, path=f'/{dice.getrandbits(200):x}')}\n" for at in range(60)).encode()
    packed = bytearray(gzip.compress(text))
    packed[len(packed) * 2 // 3] ^= 0xFF
    path = tmp_path / "log.gz"
    path.write_bytes(packed)
    report = report_on(path)
    assert report.files[0].cut
    assert report.events >= 20


# -- any fault in any log --------------------------------------------------------------------------


Log = tuple[list[str], dict[str, list[float]]]


def a_log(dice: random.Random, length: float, calls: int, faults: Sequence[tuple[str, str, float, float]]) -> Log:
    """Calls to three hosts over such a time, with a hundredth of errors, waves of load, and faults.

    Also when calls to each host were bad because of its fault.
    """
    lines = []
    truth: dict[str, list[float]] = {}
    for number in range(calls):
        at = length * number / calls
        # Busier by day than by night: by a wave that the log has twice.
        if dice.random() > 0.7 + 0.3 * math.sin(4 * math.pi * at / length):
            continue
        for host in ("https://a", "https://b", "https://c"):
            when = at + dice.random() * length / calls
            kind = next((kind for whose, kind, begin, end in faults if whose == host and begin <= when < end), "none")
            took = dice.lognormvariate(-3.6, 0.6) * (1 + 0.5 * math.sin(2 * math.pi * at / length))
            took *= 25 if kind == "slow" else 1
            bad = dice.random() < {"total": 1.0, "partial": 0.4}.get(kind, 0.01)
            lines.append((failed if bad else answered)(when + took, host, duration=took))
            if kind == "slow" or (bad and kind != "none"):
                truth.setdefault(host, []).append(when)
    return lines, truth


#: Seconds of a log, and of the intervals by which it is judged. A log has 84 calls in each interval.
LENGTHS = pytest.mark.parametrize(
    ("length", "interval", "seed"),
    [(60, 1, 0), (3600, 5, 0), whole(60, 1, 1), whole(DAY + 7200, 120, 0), whole(7 * DAY, 600, 1)],
    ids=["minute", "hour", "another minute", "day", "week"],
)


@LENGTHS
def test_any_fault_in_a_log_of_any_length_is_found_with_its_begin_and_end_and_nothing_else(
    made: Made, length: int, interval: int, seed: int
) -> None:
    """With some thirty calls in an interval."""
    dice = random.Random(seed)
    faults = []
    for host, kind in zip(("https://a", "https://b", "https://c"), ("total", "partial", "slow"), strict=True):
        begin = length * dice.uniform(0.1, 0.8)
        faults.append((host, kind, begin, begin + length * dice.uniform(0.06, 0.15)))
    lines, truth = a_log(dice, length, 40 * length // interval, faults)
    report = made(*lines)
    assert report.interval == interval
    found = {one.host: one for one in report.episodes}
    assert len(found) == len(report.episodes) == 3
    for host, kind, *_ in faults:
        one, bad = found[host], truth[host]
        assert one.kind == kind
        assert one.end is not None
        for found_at, true_at in ((one.begin, bad[0]), (one.end, bad[-1])):
            assert abs(found_at // interval - (NOON + true_at) // interval) <= 1


@LENGTHS
def test_a_log_of_any_length_without_a_fault_has_no_trouble(made: Made, length: int, interval: int, seed: int) -> None:
    report = made(*a_log(random.Random(seed), length, 5 * length // interval, [])[0])
    assert report.episodes == []
