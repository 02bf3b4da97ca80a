"""What `sleepwalker inspect` says of workers that share what they find."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sleepwalker.cli.display import console
from sleepwalker.cli.inspect.view import render
from sleepwalker.inspect import Filter, Report, document, page
from sleepwalker.inspect.advice import advice
from sleepwalker.inspect.trouble import Episode
from sleepwalker.inspect.words import alone
from tests.unit.inspect_logs import HOST, NOON, answered, failed, line, rejected, report_on, write

#: How a report is worded and what it concludes; that DuckDB counts right, test_inspect.py sees with each release.
pytestmark = pytest.mark.once

STORE = "redis://cache.example.net/0"
Made = Callable[..., Report]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """The report on such lines."""
    return lambda *lines, **options: report_on(write(tmp_path / "events.jsonl", lines), **options)


def joined(at: float, pid: int, **values: object) -> str:
    return line(at, "fleet.joined", STORE, pid=pid, service="billing", **{"workers": 2, **values})


def lost(at: float, pid: int, reason: str = f"{STORE}: no answer in time (1 s)") -> str:
    return line(at, "fleet.lost", STORE, pid=pid, service="billing", reason=reason)


def opened(at: float, pid: int, rule: str = "consecutive", **values: object) -> Iterator[str]:
    by = {"by": "fleet"} if rule == "fleet" else {}
    reason = "fleet" if rule == "fleet" else "breaker"
    yield line(at, "breaker.opened", pid=pid, rule=rule, open_for=2.0, cause="503", **by, **values)
    yield line(at, "host.broken", pid=pid, failures=5, reason=reason, cause="503", **by)


def closed(at: float, pid: int, **values: object) -> Iterator[str]:
    yield line(at, "breaker.closed", pid=pid, ramp=5.0, **values)
    yield line(at, "host.recovered", pid=pid, broken_for=10.0, **values)


def shown(report: Report) -> str:
    """What a terminal shows."""
    written = io.StringIO()
    screen = console(written)
    screen.print(render(report, screen))
    return written.getvalue()


def broken(*, second: str = "fleet") -> list[str]:
    """Two workers, each of which calls twice a second; both circuits open at 12 and refuse what comes until 40."""
    return [
        *(answered(at, pid=pid) for at in range(1, 10) for pid in (1, 2)),
        *(failed(at, pid=pid) for at in (10, 11) for pid in (1, 2)),
        *opened(12, 1),
        *opened(12, 2, second),
        *(rejected(at, pid=pid) for at in range(13, 41) for pid in (1, 2)),
    ]


# -- whether it is over --------------------------------------------------------------------------


def test_the_open_time_of_a_circuit_is_no_due_date_in_a_fleet(made: Made) -> None:
    """Others try the host for it: that it has not tried itself is no sign of anything."""
    report = made(joined(0, 1), joined(0, 2), *broken())
    assert report.findings[0].over == (
        "no: the circuit is open; the workers of its fleet try it in turn, and the last failure was at 14:00:11.0"
    )
    assert (report.hosts[0].next_try, report.hosts[0].in_turn) == (None, True)


def test_answered_tries_of_a_fleet_are_told(made: Made) -> None:
    tried = [line(39, "breaker.half_opened", pid=2), answered(39.5, pid=2)]
    report = made(joined(0, 1), joined(0, 2), *broken(), *tried, *(rejected(at, pid=1) for at in range(41, 60)))
    assert report.findings[0].over.endswith("try it in turn: 1 call answered since the last failure at 14:00:11.0")


@pytest.mark.parametrize("fleet", [[], [joined(0, 1), joined(0, 2), lost(5, 1), lost(5, 2)]], ids=["none", "lost"])
def test_alone_a_worker_has_a_due_date(made: Made, fleet: list[str]) -> None:
    report = made(*fleet, *broken(second="consecutive"))
    assert "the next try was due at 14:00:14.0" in report.findings[0].over
    assert not report.hosts[0].in_turn


def test_a_circuit_that_others_opened_shows_a_fleet_of_which_nothing_else_is_logged(made: Made) -> None:
    report = made(*broken(second="fleet"))
    assert "the next try was due at 14:00:14.0" in report.findings[0].over  # of the first one, which may be alone
    report = made(*[one for one in broken(second="fleet") if '"pid":1' not in one])
    assert "try it in turn" in report.findings[0].over


def test_of_workers_some_of_which_are_alone_those_have_a_due_date(made: Made) -> None:
    report = made(joined(0, 1), joined(0, 2), *broken(second="consecutive"), lost(20, 2), rejected(41, pid=1))
    assert report.hosts[0].next_try is not None


def test_a_fleet_that_was_joined_before_what_is_looked_at_counts(made: Made) -> None:
    chosen = Filter(since=NOON + 9, hosts=("api",))
    assert "try it in turn" in made(joined(0, 1), joined(0, 2), *broken(), chosen=chosen).findings[0].over


def test_a_worker_that_was_killed_holds_nothing_where_the_others_of_its_fleet_closed(made: Made) -> None:
    end = [*closed(42, 1), *(answered(at, pid=1) for at in range(43, 60))]
    lines = [joined(0, 1), joined(0, 2), *broken(), *end]
    report = made(*lines)
    assert report.findings[0].over == "yes: 17 calls answered since 14:00:42.0"
    assert (report.hosts[0].state, report.hosts[0].circuit, report.hosts[0].now) == ("fine", "closed", "fine")
    alone = made(*lines, lost(41, 2))
    assert alone.hosts[0].circuit == "open"  # of the second, which heard nothing of it


def test_a_circuit_that_opens_again_after_the_others_closed_is_open(made: Made) -> None:
    end = [*closed(42, 1), *opened(44, 2), *(rejected(at, pid=2) for at in range(45, 60))]
    report = made(joined(0, 1), joined(0, 2), *broken(), *end)
    assert report.hosts[0].circuit == "open"


def test_an_isolation_of_a_worker_that_was_killed_ends_with_that_of_the_others(made: Made) -> None:
    order = [line(5, "host.isolated", pid=pid, reason="drill", by="fleet") for pid in (1, 2)]
    end = [line(20, "host.restored", pid=1, by="fleet"), *(answered(at, pid=1) for at in range(21, 30))]
    report = made(joined(0, 1), joined(0, 2), answered(1, pid=1), answered(1, pid=2), *order, *end)
    assert report.findings[0].over.startswith("yes, since 14:00:20.0")


def test_a_circuit_is_not_open_before_its_worker_was_there(made: Made) -> None:
    """A worker that joins while a host is broken logs no opening: its first event is a try."""
    old = [joined(0, 1), *(answered(at, pid=1) for at in range(1, 100))]
    new = [joined(100, 2), line(101, "breaker.half_opened", pid=2), *opened(101, 2, "probe"), *closed(103, 2)]
    [first, *rest] = made(*old, *new, answered(104, pid=2)).hosts[0].circuit_spans
    assert (first.state, round(first.until - first.since)) == ("closed", 100)
    assert rest[0].state == "open"


def test_the_store_of_a_fleet_is_no_host(made: Made) -> None:
    assert [one.host for one in made(joined(0, 1), answered(1, pid=1)).hosts] == [HOST]


# -- workers without their store -----------------------------------------------------------------


def _alone(*lines: str, made: Made, **options: object) -> list[str]:
    return alone(made(*lines, *(answered(at, pid=pid) for at in range(0, 200, 5) for pid in (1, 2)), **options))


def test_workers_that_lost_their_store_are_told_together_and_are_no_trouble(made: Made) -> None:
    report = made(
        joined(0, 1), joined(0, 2), joined(0, 3), lost(20, 1), lost(21, 2), joined(42, 1), joined(43, 2),
        *(answered(at, pid=pid) for at in range(0, 200, 5) for pid in (1, 2, 3)),
    )  # fmt: skip
    told = f"2 of 3 workers were without their store {STORE} 14:00:20 to 14:00:43: no answer in time (1 s)"
    assert alone(report) == [told]
    assert not report.trouble
    assert [one.tone for one in report.findings] == ["good"]
    assert told in page(report)
    assert told in " ".join(shown(report).split())
    assert document(report)["fleets"] == [
        {
            "store": STORE, "service": "billing", "workers": 3,
            "alone": [
                {
                    "from": "2025-11-22T14:00:20.000Z", "until": "2025-11-22T14:00:43.000Z",
                    "workers": 2, "of_workers": 3, "still": 0, "reason": "no answer in time (1 s)",
                }
            ],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([lost(20, 1)], "1 of 2 workers is without its store {} since 14:00:20"),
        ([lost(20, 1), lost(20, 2)], "2 workers are without their store {} since 14:00:20"),
        ([lost(20, 1), lost(20, 2), joined(30, 2)], "2 workers are without their store {} since 14:00:20 (1 is back)"),
        ([lost(20, 1), joined(29, 1)], "1 of 2 workers was without its store {} 14:00:20 to 14:00:29"),
    ],
)
def test_who_is_not_back_is_told(made: Made, lines: list[str], says: str) -> None:
    assert _alone(joined(0, 1), joined(0, 2), *lines, made=made) == [f"{says.format(STORE)}: no answer in time (1 s)"]


def test_losses_that_lie_apart_are_told_apart(made: Made) -> None:
    lines = [lost(20, 1), joined(29, 1), lost(60, 1), joined(65, 1)]
    assert [one.split(STORE)[1][:21] for one in _alone(joined(0, 1), *lines, made=made)] == [
        " 14:00:20 to 14:00:29",
        " 14:01:00 to 14:01:05",
    ]


def test_a_process_with_two_managers_is_back_when_both_are(made: Made) -> None:
    lines = [lost(20, 1), lost(21, 1), joined(30, 1), joined(40, 1)]
    [said] = _alone(joined(0, 1), joined(0, 1), *lines, made=made)
    assert "1 worker was without its store" in said
    assert "14:00:20 to 14:00:40" in said


def test_a_worker_that_was_replaced_while_it_was_alone_is_alone_no_more(made: Made) -> None:
    old = [joined(0, 1), *(answered(at, pid=1) for at in range(1, 20)), lost(20, 1), answered(25, pid=1)]
    new = [joined(30, 2), *(answered(at, pid=2) for at in range(31, 50))]
    [said] = alone(made(*old, *new))
    assert "14:00:20.0 to 14:00:25.0" in said


def test_losses_that_ended_before_what_is_looked_at_are_not_told(made: Made) -> None:
    lines = [joined(0, 1), lost(20, 1), joined(29, 1), lost(60, 1), joined(65, 1)]
    [said] = _alone(*lines, made=made, chosen=Filter(since=NOON + 40))
    assert "14:01:00 to 14:01:05" in said
    [said] = _alone(*lines, made=made, chosen=Filter(until=NOON + 62, hosts=("api",)))[1:]
    assert said.split(STORE)[1].startswith(" since 14:01:00")


def test_a_terminal_is_not_filled_with_losses(made: Made) -> None:
    lines = [one for at in range(10, 150, 10) for one in (lost(at, 1), joined(at + 3, 1))]
    report = made(joined(0, 1), *lines, *(answered(at, pid=1) for at in range(0, 200, 5)))
    assert "and 10 times more before, which --json has" in shown(report)
    assert "and without it 8 times more before, which --json has" in page(report)
    assert len(document(report)["fleets"][0]["alone"]) == 14


# -- one of several ------------------------------------------------------------------------------


def _others(first: int, end: int) -> list[str]:
    return [answered(at + pid / 10, pid=pid) for at in range(first, end) for pid in (2, 3, 4)]


@pytest.mark.parametrize("fleet", [True, False])
def test_what_one_worker_of_several_finds_broken_is_looked_for_at_that_worker(made: Made, fleet: bool) -> None:
    """At night nobody is to be called for a host that the others are answered by."""
    mine = [
        *(answered(at, pid=1) for at in range(1, 20)),
        *(failed(at, pid=1, error="ConnectTimeout") for at in range(20, 25)),
        *opened(25, 1),
        *(rejected(at, pid=1) for at in range(25, 50)),
    ]
    [finding] = made(*[joined(0, pid) for pid in (1, 2, 3, 4) if fleet], *mine, *_others(1, 50)).findings
    assert finding.tone == "bad"
    assert "in 1 of 4 processes" in finding.since[0]
    assert finding.next.startswith("Look at that process first: its network, ")
    assert "people" not in finding.next
    assert finding.over.startswith(
        "no: the circuit is open in 1 of 4 processes; the others are answered" if fleet else "no: the circuit is open;"
    )


def test_a_moment_in_which_one_worker_failed_is_compared_with_what_others_had_around_it(made: Made) -> None:
    """The others of a fleet are answered, if not in the same tenth of a second."""
    mine = [
        joined(20, 1),
        *(line(20.3 + at / 20, "attempt.failed", pid=1, error="ProxyError", attempt=at + 1) for at in range(3)),
        line(20.4, "host.broken", pid=1, failures=3, reason="connect", cause="ProxyError"),
        failed(20.41, pid=1, error="ProxyError", attempts=3),
    ]
    [finding] = made(*(joined(0, pid) for pid in (2, 3, 4)), *mine, *_others(1, 50)).findings
    assert finding.next.startswith("Nothing now. In the morning, look at that process: its network, ")
    assert "in 1 of 4 processes" in finding.since[0]


def test_a_host_that_failed_for_all_is_a_matter_of_its_people(made: Made) -> None:
    [finding] = made(joined(0, 1), joined(0, 2), *broken()).findings
    assert "Call its operators" in finding.next


# -- orders --------------------------------------------------------------------------------------


def test_in_a_fleet_the_orders_to_all_workers_are_named(made: Made) -> None:
    def said(*lines: str) -> str:
        return made(*lines).findings[0].next

    isolate = f"manager.isolate (or: sleepwalker fleet isolate {HOST}) keeps callers away"
    assert isolate in said(joined(0, 1), joined(0, 2), *broken())
    assert isolate in said(*broken()), "the fleet's word shows that there is one"
    assert "manager.isolate keeps callers away" in said(*broken(second="consecutive"))
    isolated = [answered(0), line(10, "host.isolated"), answered(20, "https://other")]
    assert said(*isolated).endswith("manager.restore ends the isolation.")
    assert said(joined(0, 1), *isolated).endswith(
        f"manager.restore (or: sleepwalker fleet restore {HOST}) ends the isolation."
    )


def test_a_command_that_is_named_can_be_pasted_into_a_shell() -> None:
    one = Episode(f"{HOST}#a part; ls", "isolated", NOON, None)
    assert f"sleepwalker fleet restore '{HOST}#a part; ls')" in advice(one, fleet=True)


@pytest.mark.parametrize(
    ("ends", "by", "says"),
    [
        ([(20, "hand")], "hand", "it was restored by hand"),
        ([(20, "fleet"), (20.3, "fleet")], "fleet", "an order to all workers restored it"),
        ([(20, "hand"), (20.3, "fleet")], "hand", "it was restored by hand"),
        ([(20, "time"), (23, "time")], "time", "its time had expired"),
    ],
)
def test_who_restored_a_host_is_told(made: Made, ends: list[tuple[float, str]], by: str, says: str) -> None:
    pids = range(1, len(ends) + 1)
    begin = [line(5, "host.isolated", pid=pid, reason="drill", until=NOON + 900, by="fleet") for pid in pids]
    end = [line(at, "host.restored", pid=pid, by=by) for pid, (at, by) in zip(pids, ends, strict=True)]
    lines = [answered(1, pid=pid) for pid in pids] + begin + end + [answered(at, pid=1) for at in range(24, 40)]
    report = made(*lines)
    [finding] = report.findings
    assert f"isolated by an operator for all workers: drill, until 14:15:00.0; {says}" in finding.since[0]
    assert finding.over == f"yes, since 14:00:{ends[-1][0]:04.1f}: {says}"
    assert (report.episodes[0].isolated_by, report.episodes[0].restored_by) == ("fleet", by)


def test_of_an_isolation_that_goes_on_nobody_restored_it(made: Made) -> None:
    """An earlier one was."""
    earlier = [line(2, "host.isolated", pid=1), line(4, "host.restored", pid=1, by="hand")]
    report = made(
        answered(1, pid=1),
        *earlier,
        answered(5, pid=1),
        line(10, "host.isolated", pid=1),
        answered(20, "https://other", pid=1),
    )
    assert [one.restored_by for one in report.episodes] == ["hand", None]
    assert "restored" not in report.findings[0].since[1]


def test_an_isolation_by_hand_is_no_order_to_all_because_an_earlier_one_was(made: Made) -> None:
    earlier = [line(2, "host.isolated", pid=1, by="fleet"), line(4, "host.restored", pid=1, by="fleet")]
    later = [line(10, "host.isolated", pid=1, reason="mine"), answered(20, "https://other", pid=1)]
    report = made(answered(1, pid=1), *earlier, answered(5, pid=1), *later)
    assert [one.isolated_by for one in report.episodes] == ["fleet", "hand"]


def test_an_order_that_a_worker_of_the_log_gave_is_one_to_all(made: Made) -> None:
    told = [line(10.2, "host.isolated", pid=pid, by="fleet") for pid in (2, 3)]
    report = made(*_others(1, 9), line(10, "host.isolated", pid=1), *told, answered(20, "https://other", pid=1))
    assert [one.isolated_by for one in report.episodes] == ["fleet"]


def test_the_circuit_of_a_scope_is_each_workers_own_also_in_a_fleet(made: Made) -> None:
    scope = f"{HOST}#reports"
    lines = [one.replace(f'"host":"{HOST}"', f'"host":"{scope}"') for one in broken(second="consecutive")]
    report = made(joined(0, 1), joined(0, 2), *lines)
    assert report.findings[0].over.startswith("no: the circuit is open; the next try was due at 14:00:14.0")
    ended = [one.replace(f'"host":"{HOST}"', f'"host":"{scope}"') for one in closed(42, 1)]
    [facts] = made(joined(0, 1), joined(0, 2), *lines, *ended).hosts
    assert facts.circuit == "open"  # of the other one
