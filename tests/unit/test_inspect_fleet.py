"""What `sleepwalker inspect` says of workers that share what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sleepwalker.inspect import Filter, Report
from tests.unit.inspect_logs import HOST, answered, failed, line, rejected, report_on, write

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
    chosen = Filter(since=1_763_820_000.0 + 9, hosts=("api",))
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
