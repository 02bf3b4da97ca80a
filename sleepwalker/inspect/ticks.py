"""Counts per host and interval, by which trouble is judged. DuckDB counts, and returns hosts with anything bad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sleepwalker.eventlog.columns import literal
from sleepwalker.inspect.session import Row, Session

__all__ = ["INTERVALS", "Tick", "bound", "interval_for", "ticks", "usual_latencies"]

#: Seconds: intervals that people count in.
INTERVALS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
#: Enough for a day in minutes. More would make a week's log slow. Begins are exact anyway: those of the first failure.
_MOST_INTERVALS = 1_500
#: Intervals of all hosts together: Python handles them one by one.
_MOST_TICKS = 300_000

#: About how many calls a block has. The usual p95 of a host is the median over its blocks.
_BLOCK = 20
#: A host with fewer blocks has no usual p95.
_FEWEST_BLOCKS = 3
#: A slow call takes more than this many times the usual p95, and is this many seconds above it. 8 ms instead of 2 are
#: not slow to callers, and 3 s instead of 2 are within what load does.
_FACTOR, _FLOOR = 3.0, 0.2

_QUICK = "event = 'request.finished' AND attempts = 1 AND duration IS NOT NULL"
#: When the first of them began. A call that hangs until its timeout begins long before its event, as the outage does.
_BEGAN = "min(epoch_us(time) / 1e6 - coalesce(duration, 0))"


@dataclass(slots=True)
class Tick:
    """What happened to one host in one interval. Times are seconds since 1970."""

    number: int
    """Of the interval, counted from 1970."""
    answered: float = 0.0
    failed: float = 0.0
    """After they were sent, or before that for a reason of their own."""
    shut: float = 0.0
    """Refused by an open circuit, or by one that has just closed."""
    isolated: float = 0.0
    limited: float = 0.0
    """Refused by a limit of ours."""
    first_bad: float | None = None
    """When the first failed call or send began. Refusals by circuits and isolations do not count here."""
    last_bad: float | None = None
    first_shut: float | None = None
    last_shut: float | None = None
    last_good: float | None = None
    sends_failed: int = 0
    quick: int = 0
    """Calls that were answered at once, without a retry: their times are the host's own."""
    slow: int = 0
    """Those of them that took far longer than usual."""
    first_slow: float | None = None
    last_slow: float | None = None


def interval_for(length: float, hosts: int) -> int:
    """Seconds per interval for a log of this length (in seconds) with this many hosts."""
    most = max(100, min(_MOST_INTERVALS, _MOST_TICKS // max(1, hosts)))
    return next((one for one in INTERVALS if length / one < most), INTERVALS[-1])


def usual_latencies(session: Session, interval: int, hosts: str, dated: str) -> dict[str, float]:
    """The usual p95 of each host: the median over blocks of intervals in which it was called often enough.

    It comes from the whole log, not only the period: an hour of trouble does not make itself usual.
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
    """The seconds above which a call is slow, for a host with this usual p95."""
    return max(_FACTOR * usual, usual + _FLOOR)


def ticks(
    session: Session, interval: int, usual: Mapping[str, float], also: Iterable[str], dated: str
) -> dict[str, list[Tick]]:
    """The intervals, in order, of every host that had anything bad in one, and of the hosts `also`."""
    found: dict[str, dict[int, Tick]] = {}

    def tick(host: str, number: int) -> Tick:
        return found.setdefault(host, {}).setdefault(number, Tick(number))

    sends = f"""
        SELECT host, {_number(interval)}, count(*), {_BEGAN}, {_seconds("max(time)")}
        FROM events WHERE event = 'attempt.failed' AND {dated} GROUP BY ALL"""
    for host, number, count, first, last in session.rows(sends, "attempt.failed"):
        one = tick(host, number)
        one.sends_failed, one.first_bad, one.last_bad = count, first, last
    for host, number, count, first, last in _slow(session, interval, usual, dated):
        one = tick(host, number)
        one.slow, one.first_slow, one.last_slow = count, first, last
    failed = "SELECT DISTINCT host FROM calls WHERE NOT answered"
    hosts = {*found, *also, *(host for (host,) in session.rows(failed, "request.failed"))}
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
