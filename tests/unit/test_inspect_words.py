"""Times as people type them, states over time, and the sentences that answer a person at 3 a.m."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sleepwalker.inspect import Filter, Report, document, moment
from sleepwalker.inspect.advice import advice
from sleepwalker.inspect.findings import findings
from sleepwalker.inspect.model import HostFacts, Retries, Span
from sleepwalker.inspect.spans import HOST as HOST_STATES
from sleepwalker.inspect.spans import coarse, processes, worst
from sleepwalker.inspect.trouble import Episode
from sleepwalker.inspect.words import share, span
from tests.unit.inspect_logs import HOST, NOON, answered, failed, line, rejected, report_on, write

#: How a report is worded and laid out; that DuckDB counts right, test_inspect.py sees with each release.
pytestmark = pytest.mark.once


def _report(facts: HostFacts, *episodes: Episode) -> Report:
    return Report(
        files=[], bad_lines=[], chosen=Filter(), events=1, begin=NOON, end=NOON + 600, hosts=[facts], problems=[],
        retries=Retries(), slow=[], interval=1.0, step=10.0, series=[], rejections={}, episodes=list(episodes),
    )  # fmt: skip


Made = Callable[..., Report]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """The report on such lines."""
    return lambda *lines, **options: report_on(write(tmp_path / "events.jsonl", lines), **options)


# -- times ---------------------------------------------------------------------------------------

NOW = datetime(2025, 11, 22, 14, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds_ago"),
    [
        ("15m", 900),
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5H", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("250ms", 0.25),
        ("14:03", 27 * 60),
        ("14:30", 0),
        ("14:31", 86_400 - 60),
        ("14:03:30", 26 * 60 + 30),
        ("14:03:30.4", 26 * 60 + 29.6),
        ("2025-11-22T14:00:00Z", 1800),
        ("2025-11-22 14:00", 1800),
        ("2025-11-22T15:00:00+01:00", 1800),
        ("2025-11-22", 14.5 * 3600),
        (str(NOW), 0),
    ],
)
def test_a_time_is_understood(text: str, seconds_ago: float) -> None:
    assert moment(text, NOW) == pytest.approx(NOW - seconds_ago)


@pytest.mark.parametrize("text", ["5000w", "99999999999w", "9" * 400 + "d"])
def test_longer_ago_than_clocks_go_is_since_ever(text: str) -> None:
    assert moment(text, NOW) == 0


@pytest.mark.parametrize(
    "text", ["", "15", "yesterday", "m", "25:00", "15 parsecs", "2025-13-01", "1e400", "nan", "-5m"]
)
def test_what_is_no_time_is_refused_with_the_ways_to_say_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time: use 2025-11-22T14:03:07Z, .* how long ago"):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"), (0.0004, "0 ms"), (0.04, "40 ms"), (0.0996, "0.1 s"), (5.21, "5.2 s"), (12, "12 s"),
        (59.7, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_a_duration_reads_well(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (None, "-"), (0.0, "0 %"), (1.0, "100 %"), (0.5, "50 %"), (0.998, "99.8 %"), (0.999999, ">99.99 %"),
        (1e-6, "<0.01 %"),
    ],
)  # fmt: skip
def test_a_share_is_all_or_nothing_only_if_it_is(ratio: float | None, text: str) -> None:
    assert share(ratio) == text


# -- states --------------------------------------------------------------------------------------


def _spans(spans: list[Span]) -> list[tuple[str, float, float]]:
    return [(one.state, round(one.since - NOON, 3), round(one.until - NOON, 3)) for one in spans]


def test_states_follow_the_events(made: Made) -> None:
    report = made(
        answered(0),
        line(10, "breaker.opened", rule="consecutive", open_for=5.0, cause="503"),
        line(10, "host.broken", reason="breaker", failures=5, cause="503"),
        line(15, "breaker.half_opened"),
        line(16, "breaker.opened", rule="probe", open_for=10.0, cause="503"),
        line(26, "breaker.half_opened"),
        line(27, "breaker.closed", ramp=5.0),
        line(27, "host.recovered", broken_for=17.0),
        answered(40),
    )
    [facts] = report.hosts
    assert _spans(facts.circuit_spans) == [
        ("closed", 0, 10), ("open", 10, 15), ("half-open", 15, 16), ("open", 16, 26), ("half-open", 26, 27),
        ("closed", 27, 40),
    ]  # fmt: skip
    assert _spans(facts.host_spans) == [("fine", 0, 10), ("broken", 10, 27), ("fine", 27, 40)]
    [outage] = facts.outages
    assert (outage.since - NOON, outage.until, outage.why, outage.cause) == (10, NOON + 27, "breaker", "503")
    assert (facts.opened, facts.state, facts.circuit) == (2, "fine", "closed")


def test_a_log_that_begins_in_an_outage_knows_it_from_the_recovery(made: Made) -> None:
    [facts] = made(rejected(0), line(30, "host.recovered", broken_for=100.0), answered(40)).hosts
    assert _spans(facts.host_spans) == [("broken", 0, 30), ("fine", 30, 40)]
    [facts] = made(answered(0), answered(1), line(30, "host.recovered", broken_for=10.0), answered(40)).hosts
    assert _spans(facts.host_spans) == [("fine", 0, 20), ("broken", 20, 30), ("fine", 30, 40)]


def test_an_outage_that_ends_with_the_logs_last_event_has_ended(made: Made) -> None:
    lines = [
        answered(0),
        line(1, "host.broken", reason="connect", failures=3),
        line(9, "host.recovered", broken_for=8.0),
    ]
    [facts] = made(*lines).hosts
    assert facts.state == "fine"
    assert [outage.until for outage in facts.outages] == [NOON + 9]


def _breaks(at: float) -> list[str]:
    return [
        line(at - 0.001, "breaker.opened", rule="consecutive", open_for=30.0, cause="503"),
        line(at, "host.broken", reason="breaker", failures=5, cause="503"),
    ]


def test_a_second_outage_after_a_restart_is_one_of_its_own(made: Made) -> None:
    """No recovery was logged: the process that had seen the first one was gone. The two were told as one."""
    late = answered(10.2, duration=1.0)  # sent before the circuit opened
    lines = [answered(0), *_breaks(10), late, rejected(12), *(answered(at, duration=0.5) for at in range(40, 100))]
    [facts] = made(*lines, failed(109), *_breaks(110), rejected(115), rejected(120)).hosts
    assert [(one.since - NOON, one.until and one.until - NOON) for one in facts.outages] == [(10, 40), (110, None)]
    assert _spans(facts.circuit_spans) == [
        ("closed", 0, 9.999), ("open", 9.999, 40), ("closed", 40, 109.999), ("open", 109.999, 120),
    ]  # fmt: skip


def test_a_second_outage_is_one_of_its_own_also_where_no_answer_is_known(made: Made) -> None:
    """`level="warning"` logs neither answers nor recoveries."""
    [facts] = made(failed(0), *_breaks(10), rejected(12), failed(109), *_breaks(110), rejected(120)).hosts
    assert [one.since - NOON for one in facts.outages] == [10, 110]
    assert facts.opened == 2


def test_a_probe_that_fails_ends_no_outage_and_neither_do_those_before_it_that_succeed(made: Made) -> None:
    lines = [answered(0), *_breaks(10), line(40, "breaker.half_opened"), answered(40.5)]
    lines += [line(41, "breaker.opened", rule="probe", open_for=60.0, cause="503"), rejected(50)]
    [facts] = made(*lines).hosts
    assert [one.since - NOON for one in facts.outages] == [10]
    assert _spans(facts.circuit_spans)[1:] == [("open", 9.999, 40), ("half-open", 40, 41), ("open", 41, 50)]


def test_a_dry_run_opens_nothing(made: Made) -> None:
    lines = [answered(0), line(5, "breaker.opened", rule="consecutive", open_for=5.0, observed=True), answered(9)]
    [facts] = made(*lines).hosts
    assert (facts.opened, facts.would_open, facts.circuit) == (0, 1, "would be open")


def test_files_that_overlap_are_of_different_processes_and_those_that_follow_are_of_one() -> None:
    found = processes([(0, None, 0, 10), (1, None, 5, 15), (2, None, 10, 20), (3, None, 15, 30)])
    assert {file: process.number for (file, _), process in found.items()} == {0: 0, 2: 0, 1: 1, 3: 1}


def test_a_host_is_as_bad_as_the_worst_of_its_processes_takes_it_for(tmp_path: Path) -> None:
    """One worker's recovery must not hide that another one's circuit is open."""
    broken, recovered = (
        lambda at: line(at, "host.broken", reason="breaker", failures=5),
        lambda at, since: line(at, "host.recovered", broken_for=at - since),
    )
    one = write(tmp_path / "1.jsonl", [answered(0), broken(10), recovered(20, 10), answered(60)])
    two = write(tmp_path / "2.jsonl", [answered(0), broken(15), recovered(50, 15), answered(60)])
    [facts] = report_on(one, two).hosts
    assert _spans(facts.host_spans) == [("fine", 0, 10), ("broken", 10, 50), ("fine", 50, 60)]


def test_after_a_rotation_the_state_goes_on(tmp_path: Path) -> None:
    old = write(tmp_path / "events.jsonl.1", [answered(0), line(10, "host.broken", reason="connect", failures=3)])
    new = write(tmp_path / "events.jsonl", [line(20, "host.recovered", broken_for=10.0), answered(30)])
    [facts] = report_on(new, old).hosts
    assert _spans(facts.host_spans) == [("fine", 0, 10), ("broken", 10, 20), ("fine", 20, 30)]


def test_in_a_picture_the_worst_state_of_each_column_is_seen() -> None:
    spans = [Span("fine", 0, 10), Span("broken", 10, 10.1), Span("fine", 10.1, 100)]
    assert worst(spans, HOST_STATES, 0, 100, 10) == ["fine", "broken", *["fine"] * 8]
    assert coarse(spans, HOST_STATES, 0, 100, 2) == [Span("broken", 0, 50), Span("fine", 50, 100)]
    assert coarse(spans, HOST_STATES, 0, 100, 3) == spans


# -- sentences -----------------------------------------------------------------------------------

BROKEN = line(10, "host.broken", reason="connect", failures=3, cause="ConnectError")


def test_all_is_well_where_nothing_happened(made: Made) -> None:
    hooked = line(0, "connection.hooked", "a-name-of-a-hook", hook="Directory", target=HOST)
    [finding] = made(hooked, *(answered(at, attempts=1 + (at == 3)) for at in range(100))).findings
    assert finding.tone == "good"
    assert finding.which == "All is well: 100 calls to 1 host, 100 % answered"
    assert finding.done == "1 retry saved 1 call"


def test_an_outage_that_lasts_is_said_to_be_not_over(made: Made) -> None:
    [finding] = made(answered(0), failed(9.5), BROKEN, rejected(130), rejected(140)).findings
    assert finding.tone == "bad"
    assert finding.which == HOST
    [since] = finding.since
    assert since == "since 14:00:09, 2 min 11 s so far: broken: all 3 calls failed, mostly ConnectError"
    assert finding.done == "2 calls refused unsent"
    assert finding.over == "no: the last call failed, at 14:00:09"


def test_an_outage_that_is_over_says_what_was_done_and_how_much_went_well_since(made: Made) -> None:
    lines = [answered(0), failed(9.5), BROKEN, rejected(15), line(70, "host.recovered", broken_for=60.0)]
    [finding] = made(*lines, *(answered(at, attempts=2) for at in range(80, 200))).findings
    assert finding.tone == "over"
    assert finding.since == ("14:00:10 to 14:01:10, 1 min: broken: the only call failed, mostly ConnectError",)
    assert finding.done == "1 call refused unsent"
    assert finding.over == "yes: 120 calls answered since 14:01:10"


#: A circuit that opened at 10 s and closed at 27 s, its load growing until 32 s.
CLOSED = [
    answered(0),
    failed(9.5),
    line(10, "breaker.opened", rule="consecutive", open_for=5.0, cause="503"),
    line(10, "host.broken", reason="breaker", failures=5, cause="503"),
    rejected(12),
    line(26, "breaker.half_opened"),
    line(27, "breaker.closed", ramp=5.0),
    line(27, "host.recovered", broken_for=17.0),
]


def test_what_the_ramp_of_a_closed_circuit_refuses_says_nothing_about_the_host(made: Made) -> None:
    """It was called TROUBLE or OVER by the last call alone."""
    ramp = [answered(27.01), rejected(27.5), answered(28), rejected(28.5), answered(29), rejected(30)]
    for last in range(len(ramp) + 1):
        [finding] = made(*CLOSED, *ramp[:last]).findings
        answers = sum("finished" in one for one in ramp[:last])
        calls = "1 call" if answers == 1 else f"{answers} calls"
        until = "the load grows until 14:00:32.0 at the latest"
        said = f"recovering: {calls} answered since 14:00:27.0; {until}"
        assert (finding.tone, finding.over) == ("over", said)
    [finding] = made(*CLOSED, *ramp, answered(40)).findings
    assert (finding.tone, finding.over) == ("over", "yes: 4 calls answered since 14:00:27.0")


def test_a_call_that_fails_after_the_circuit_closed_is_no_recovery(made: Made) -> None:
    sent = line(28, "attempt.failed", attempt=1, error="ConnectError", duration=0.01)
    [finding] = made(*CLOSED, answered(27.01), sent, failed(28)).findings
    assert (finding.tone, finding.over) == ("bad", "no: the last call failed, at 14:00:28.0")
    [finding] = made(*CLOSED, answered(27.01), sent, failed(28), answered(29), answered(40)).findings
    said = "yes: 3 calls answered since 14:00:27.0; 1 call failed since, the last at 14:00:28.0, which is no outage"
    assert finding.over == said


def test_a_call_whose_last_send_failed_before_the_circuit_closed_says_nothing_of_the_time_after(made: Made) -> None:
    """It was waiting to be sent again, which the ramp did not let it."""
    sent = line(25, "attempt.failed", attempt=1, status=503, duration=0.01)
    [finding] = made(sent, *CLOSED, answered(27.01), failed(28, error=None, status=503), answered(50)).findings
    assert finding.over.startswith("yes: 2 calls answered since 14:00:27.0; 1 call failed since")


def test_an_open_circuit_says_when_it_is_tried_again(made: Made) -> None:
    [finding] = made(answered(0), failed(9), *_breaks(10), rejected(20)).findings
    assert finding.over == "no: the circuit is open, next try at 14:00:40.0"
    [finding] = made(answered(0), failed(9), *_breaks(10), rejected(20), answered(60, "https://other")).findings
    for end in (40.5, 49):
        [finding] = made(answered(0), failed(9), *_breaks(10), rejected(20), answered(end, "https://other")).findings
        assert finding.over == "no: the circuit is open, next try at 14:00:40.0", "a circuit waits for a call"
    [finding] = made(answered(0), failed(9), *_breaks(10), rejected(20), answered(60, "https://other")).findings
    assert (
        finding.over == "no: the circuit is open; the next try was due at 14:00:40.0, but the log has nothing about it"
    )


def test_a_host_that_only_refused_calls_are_known_of_is_not_said_to_answer(made: Made) -> None:
    [finding] = made(*(rejected(at) for at in range(5))).findings
    assert (finding.tone, finding.over) == ("bad", "no: the last call failed")
    [finding] = made(*(rejected(at) for at in range(5)), answered(9)).findings
    assert finding.over == "yes: 1 call answered since 14:00:04.0"


def test_answers_without_a_recovery_are_told_apart_from_one(made: Made) -> None:
    """The process was restarted: its circuits are new, and no event says so."""
    [finding] = made(answered(0), failed(9.5), BROKEN, *(answered(at) for at in range(60, 200))).findings
    assert finding.over.startswith("perhaps: 140 calls answered since the last failure at 14:00:09, but no recovery")


def test_the_first_failures_of_a_later_outage_are_no_strays() -> None:
    """The interval in which it began is not all within it."""
    early, late = (Episode(HOST, "total", NOON + at, NOON + at + 8, failed=40, calls=40) for at in (20, 90))
    early.answered_since, early.failed_since = 500, 3
    facts = HostFacts(HOST)
    for stray, told in ((NOON + 89.9, False), (NOON + 60, True)):
        early.last_stray = stray
        report = _report(facts, early, late)
        late.together = 0
        [finding] = findings(report)
        assert finding.over.startswith("yes: 500 calls answered since 14:00:28")
        assert ("which is no outage" in finding.over) == told


def test_once_over_what_only_one_process_saw_is_no_matter_of_the_hosts_people() -> None:
    one = Episode(HOST, "partial", NOON, NOON + 30, processes=1, of_processes=8)
    said = "Nothing now. In the morning, look at that process: its network, DNS, proxy, credentials, machine."
    assert advice(one) == said
    assert advice(one, flaps=True) == said
    one.end = None
    where = "network, DNS, proxy, credentials, machine"
    assert advice(one) == f"Look at that process first: its {where}. The host is fine for the other 7."
    one.of_processes = 2
    assert advice(one) == f"Look at that process first: its {where}. The host is fine for the other one."
    one.of_processes = 8
    one.error = "TLSError"
    assert advice(one).endswith("for the other 7. Often an expired certificate.")
    one.error = "ConnectError"
    assert advice(one).endswith("for the other 7."), "something listens there: the others are answered"
    one.processes = 2
    assert advice(one).startswith(f"Look at those 2 processes first: their {where}. The host is fine for the other 6.")
    one.kind = "retried"
    assert advice(one) == (
        f"Nothing now: callers did not notice. In the morning, look at those 2 processes: their {where}."
    )
    one.kind = "partial"
    one.processes = 5
    assert advice(one).startswith("Check which path"), "what most of them saw is no matter of theirs"


def test_a_host_that_breaks_again_and_again_is_over_only_for_now(made: Made) -> None:
    lines = [answered(at) for at in range(1200) if at % 100 > 10]
    for at in range(100, 1101, 100):
        lines += [line(at, "host.broken", reason="connect", failures=3, cause="503"), failed(at)]
        lines += [line(at + 5, "host.recovered", broken_for=5.0)]
    [finding] = made(*lines).findings
    assert len(finding.since) == 11
    assert finding.since[-1] == "14:18:20 to 14:18:25, 5.0 s: broken: the only call failed, mostly ConnectError"
    assert finding.over == "for now: 89 calls answered since 14:18:25, but it failed every 1 min 40 s on average"
    assert finding.next.startswith("It recovers and fails again: tell its operators.")
    assert finding.runbook.endswith("#flapping")


def test_a_host_that_fails_without_breaking_is_found_and_goes_on(made: Made) -> None:
    lines = [failed(at, error=None, status=503) if at % 3 == 0 else answered(at) for at in range(300)]
    [finding] = made(*lines).findings
    [since] = finding.since
    assert since == ("since 14:00:00 or before, 4 min 59 s so far: 33.3 % of 300 calls failed, mostly status 503")
    assert finding.over == "no: 2 calls answered since the last failure at 14:04:57"
    assert finding.tone == "bad"


def test_what_an_operator_said_is_no_reason_of_an_outage(tmp_path: Path) -> None:
    """One process finds the host broken, and for a part of that time it is isolated in another one."""
    first = [
        answered(0),
        line(10, "host.broken", reason="connect", failures=3, cause="ConnectError"),
        answered(90, "https://other"),
    ]
    second = [
        answered(5),
        line(20, "host.isolated", reason="<b>new disks</b>", until=NOW),
        line(30, "host.restored", by="hand", reason="<b>new disks</b>", until=NOW),
        answered(80, "https://other"),
    ]
    report = report_on(write(tmp_path / "a.jsonl", first), write(tmp_path / "b.jsonl", second))
    [facts] = [facts for facts in report.hosts if facts.outages]
    assert [(one.why, one.cause) for one in facts.outages] == [
        ("connect", "ConnectError"),
        ("isolated", None),
        ("connect", "ConnectError"),
    ]


def test_an_isolated_host_waits_for_its_operator(made: Made) -> None:
    [finding] = made(answered(0), line(10, "host.isolated"), answered(200, "https://other")).findings
    assert finding.since == ("since 14:00:10, 3 min 10 s so far: isolated by an operator",)
    assert finding.over == "no: isolated until an operator restores it"


def test_what_an_operator_said_of_an_isolation_is_told(made: Made) -> None:
    """The last word counts, and it may have been said before what is looked at."""
    lines = [answered(0), line(10, "host.isolated", reason="new disks", until=NOON + 400)]
    lines += [line(20, "host.isolated", reason="maintenance", until=NOON + 900)]
    lines += [failed(150, error="HostIsolatedError", attempts=0), answered(200, "https://other")]
    for since in (None, NOON + 100):
        report = made(*lines, chosen=Filter(since=since))
        [one] = report.episodes
        assert (one.isolated_reason, one.isolated_until) == ("maintenance", NOON + 900)
        [finding] = report.findings
        assert "so far: isolated by an operator: maintenance, until 14:15:00" in finding.since[0]
        assert finding.over.startswith("no: isolated until an operator restores it or its time is over, at 14:15:00")
    assert document(report)["episodes"][0]["isolated_until"] == "2025-11-22T14:15:00.000Z"


def test_callers_who_were_given_another_host_are_said_to_be_over_it(made: Made) -> None:
    [finding] = made(
        line(0, "connection.hooked", "stock", hook="Hook", target=HOST, duration=0.1),
        failed(9.5), BROKEN, line(11, "connection.evicted", "stock", reason="connect"),
        line(12, "connection.hooked", "stock", hook="Hook", target="https://spare", duration=0.1),
        answered(200, "https://spare"),
    ).findings  # fmt: skip
    assert finding.over == "for its callers: a hook gave them https://spare at 14:00:12"
    assert finding.tone == "over"


def test_the_end_of_the_log_counts_for_a_host_that_fell_silent(made: Made) -> None:
    lines = [answered(0), BROKEN, *(answered(at, "https://other") for at in range(11, 1000))]
    [finding] = made(*lines, chosen=Filter(hosts=("api",))).findings
    assert "16 min 29 s so far" in finding.since[0]


@pytest.mark.parametrize(
    ("own", "told", "says"),
    [
        (1, 2, "circuit opened 3 times in 3 processes, 2 of them told by other workers"),
        (0, 2, "circuit opened twice in 2 processes, told by other workers"),
        (2, 0, "circuit opened twice in 2 processes"),
    ],
)
def test_a_circuit_that_opened_by_the_word_of_other_workers_is_told_as_that(
    made: Made, own: int, told: int, says: str
) -> None:
    lines = [answered(0, pid=9)]
    for pid in range(own + told):
        word = {"rule": "consecutive"} if pid < own else {"rule": "fleet", "by": "fleet"}
        reason = {"reason": "breaker"} if pid < own else {"reason": "fleet", "by": "fleet"}
        lines += [failed(at, pid=pid) for at in range(10, 12)] if pid < own else []
        lines.append(line(12, "breaker.opened", pid=pid, open_for=60.0, cause="503", **word))
        lines.append(line(12, "host.broken", pid=pid, failures=0, cause="503", **reason))
        lines += [rejected(at, pid=pid) for at in (13, 14)]
    [finding, *_] = made(*lines).findings
    assert says in finding.done.split("; ")
