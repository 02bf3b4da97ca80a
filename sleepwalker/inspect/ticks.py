"""Counts per host and interval, from which trouble is told: DuckDB counts, hosts with anything bad come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sleepwalker.eventlog.columns import literal
from sleepwalker.inspect.session import Row, Session

__all__ = ["INTERVALS", "Tick", "bound", "interval_for", "ticks", "usual_latencies"]

#: Seconds: intervals that people count in.
INTERVALS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
#: A day in minutes is told; more intervals make a week's log slow, and no begin better known than by its first failure.
_MOST_INTERVALS = 1_500
#: Of all hosts together: what Python looks at one by one.
_MOST_TICKS = 300_000

#: Calls of a block, over which the p95 is taken that is compared with those of the other blocks.
_BLOCK = 20
#: So many blocks make a usual.
_FEWEST_BLOCKS = 3
#: What is slow: so many times the usual p95, and so many seconds above it. A host of 2 ms that takes 8 is not slow for
#: callers; one of 2 s that takes 3 is within what load does.
_FACTOR, _FLOOR = 3.0, 0.2

_QUICK = "event = 'request.finished' AND attempts = 1 AND duration IS NOT NULL"
#: What hangs until its time is up began long before its event: an outage did, too.
_BEGAN = "min(epoch_us(time) / 1e6 - coalesce(duration, 0))"


@dataclass(slots=True)
class Tick:
    """What happened to one host in one interval. Times are seconds since 1970."""

    number: int
    """The interval begins at so many of them after 1970."""
    answered: float = 0.0
    failed: float = 0.0
    """After they were sent, or before that for a reason of the call's own."""
    shut: float = 0.0
    """Refused by an open circuit, or by one that has just closed."""
    isolated: float = 0.0
    limited: float = 0.0
    """Refused by a limit of ours."""
    first_bad: float | None = None
    """When the first call or send began that failed; what circuits and operators refuse does not count here."""
    last_bad: float | None = None
    first_shut: float | None = None
    last_shut: float | None = None
    last_good: float | None = None
    sends_failed: int = 0
    quick: int = 0
    """Calls that were answered at once, without a retry: their times are the host's own."""
    slow: int = 0
    """Those that took far longer than they usually do."""
    first_slow: float | None = None
    last_slow: float | None = None


def interval_for(length: float, hosts: int) -> int:
    """Seconds of an interval for a log of such a length and so many hosts."""
    most = max(100, min(_MOST_INTERVALS, _MOST_TICKS // max(1, hosts)))
    return next((one for one in INTERVALS if length / one < most), INTERVALS[-1])


def usual_latencies(session: Session, interval: int, hosts: str, dated: str) -> dict[str, float]:
    """The usual p95 of each host: the median over blocks of intervals in which it was called often enough.

    All of the log counts, not only the part that is looked at: an hour of trouble does not make itself usual.
    """
    sizes = [
        (host, max(1, round(_BLOCK * (last - first) / interval / number)))
        for host, number, first, last in session.rows(f"""
            SELECT host, count(*), {_seconds("min(time)")}, {_seconds("max(time)")}
            FROM everything WHERE {_QUICK} AND {hosts} AND {dated} GROUP BY host""")
        if number >= _BLOCK
    ]
    if not sizes:
        return {}
    table = ", ".join(f"({literal(host)}, {size})" for host, size in sizes)
    rows = session.rows(f"""
        WITH blocks AS (
            SELECT host, quantile_cont(duration, 0.95) AS p95
            FROM everything JOIN (VALUES {table}) AS sizes(host, size) USING (host) WHERE {_QUICK} AND {dated}
            GROUP BY host, {_number(interval)} // size HAVING count(*) >= {_BLOCK // 2})
        SELECT host, median(p95) FROM blocks GROUP BY host HAVING count(*) >= {_FEWEST_BLOCKS}""")
    return dict(rows)


def bound(usual: float) -> float:
    """From when on a call is slow for a host of such a usual p95."""
    return max(_FACTOR * usual, usual + _FLOOR)


def ticks(
    session: Session, interval: int, usual: Mapping[str, float], also: Iterable[str], dated: str
) -> dict[str, list[Tick]]:
    """The intervals of every host that had anything bad in one, and of `also`, in their order."""
    found: dict[str, dict[int, Tick]] = {}

    def tick(host: str, number: int) -> Tick:
        return found.setdefault(host, {}).setdefault(number, Tick(number))

    for host, number, count, first, last in session.rows(f"""
            SELECT host, {_number(interval)}, count(*), {_BEGAN}, {_seconds("max(time)")}
            FROM events WHERE event = 'attempt.failed' AND {dated} GROUP BY ALL"""):
        one = tick(host, number)
        one.sends_failed, one.first_bad, one.last_bad = count, first, last
    for host, number, count, first, last in _slow(session, interval, usual, dated):
        one = tick(host, number)
        one.slow, one.first_slow, one.last_slow = count, first, last
    hosts = {host for (host,) in session.rows("SELECT DISTINCT host FROM calls WHERE NOT answered")}
    hosts |= {*found, *also}
    if not hosts:
        return {}
    chosen = ", ".join(map(literal, sorted(hosts)))
    shut = "rejected_by = 'breaker'"
    own = "NOT answered AND coalesce(rejected_by, '') NOT IN ('breaker', 'isolation')"
    for row in session.rows(f"""
            SELECT host, {_number(interval)}, sum(weight) FILTER (answered),
                sum(weight) FILTER (NOT answered AND rejected_by IS NULL), sum(weight) FILTER ({shut}),
                sum(weight) FILTER (rejected_by = 'isolation'),
                sum(weight) FILTER (rejected_by NOT IN ('breaker', 'isolation')),
                count(*) FILTER (answered AND attempts = 1 AND duration IS NOT NULL),
                {_BEGAN} FILTER ({own}), {_seconds(f"max(time) FILTER ({own})")},
                {_seconds(f"min(time) FILTER ({shut})")}, {_seconds(f"max(time) FILTER ({shut})")},
                {_seconds("max(time) FILTER (answered)")}
            FROM calls WHERE host IN ({chosen}) AND {dated} GROUP BY ALL"""):
        one = tick(row[0], row[1])
        one.answered, one.failed, one.shut, one.isolated, one.limited = (value or 0.0 for value in row[2:7])
        one.quick = row[7]
        one.first_bad = min((at for at in (one.first_bad, row[8]) if at is not None), default=None)
        one.last_bad = max((at for at in (one.last_bad, row[9]) if at is not None), default=None)
        one.first_shut, one.last_shut, one.last_good = row[10:]
    return {host: [rows[number] for number in sorted(rows)] for host, rows in found.items()}


def _slow(session: Session, interval: int, usual: Mapping[str, float], dated: str) -> list[Row]:
    if not usual:
        return []
    bounds = ", ".join(f"({literal(host)}, {bound(p95)!r}::DOUBLE)" for host, p95 in usual.items())
    return session.rows(f"""
        SELECT host, {_number(interval)}, count(*), {_BEGAN}, {_seconds("max(time)")}
        FROM events JOIN (VALUES {bounds}) AS bounds(host, bound) USING (host)
        WHERE {_QUICK} AND duration > bound AND {dated} GROUP BY ALL""")


def _number(interval: int) -> str:
    return f"(epoch_us(time) // {interval * 1_000_000})"


def _seconds(time: str) -> str:
    return f"epoch_us({time}) / 1e6"
