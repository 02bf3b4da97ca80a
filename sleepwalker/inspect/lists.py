"""The lists of a report: failed sends by kind, what retries achieved, the slowest calls, and counts over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sleepwalker.inspect.model import Call, HostFacts, Problem, Retries, Series
from sleepwalker.inspect.moves import seconds
from sleepwalker.inspect.session import Row, Session

__all__ = ["SAVED", "problems", "retries", "sampled_retries", "series", "slowest", "whole"]

#: How long the lists are.
_LISTED = 20
_SLOWEST = 10

_TIME = seconds("time")
#: Calls that were answered after more than one send. 408 and 429 are no answers.
SAVED = "answered AND attempts > 1 AND coalesce(status, 200) NOT IN (408, 429)"


def whole(value: float | None) -> int:
    """A weighted count."""
    return round(value or 0)


def problems(session: Session, hosts: Mapping[str, HostFacts], dated: str) -> list[Problem]:
    """Failed sends by host and kind; if the log's level left those out, failed calls that were not rejected."""
    if not session.has("attempt.failed", "request.failed"):
        return []
    (logged,) = session.rows("SELECT count(*) FROM events WHERE event = 'attempt.failed'")[0]
    table = "events WHERE event = 'attempt.failed'" if logged else "calls WHERE NOT answered AND rejected_by IS NULL"
    # A kind whose events are all misdated is shown with the times that they have.
    first, last, detail = (
        f"coalesce({one} FILTER ({dated}), {one})"
        for one in (f"min({_TIME})", f"max({_TIME})", "arg_max(detail, time)")
    )
    # ORDER BY path: of paths that failed equally often, DuckDB's threads would find now one first, now another.
    rows: list[Row] = session.rows(f"""
        SELECT host, coalesce(error, status::VARCHAR, 'unknown') AS kind, count(*) AS number,
            {first}, {last}, {detail}, mode(path ORDER BY path)
        FROM (SELECT * FROM {table}) GROUP BY host, kind ORDER BY number DESC, host, kind""")
    for host, kind, *_ in reversed(rows):
        hosts[host].error = kind
    return [Problem(*row) for row in rows[:_LISTED]]


def retries(session: Session, *, sampled: bool) -> Retries:
    """What retries achieved. If answered calls are sampled, the events of the retries are counted, if logged."""
    sends, calls, in_vain, waited = session.rows("""
        SELECT sum(weight * (attempts - 1)), sum(weight), sum(weight) FILTER (NOT answered), sum(weight * waited)
        FROM calls WHERE attempts > 1""")[0]
    by_attempts: list[Row] = []
    if calls:
        by_attempts = session.rows(
            f"SELECT attempts, sum(weight) FROM calls WHERE {SAVED} GROUP BY attempts ORDER BY attempts"
        )
    saved_by = {int(attempts): whole(count) for attempts, count in by_attempts}
    directed = hedges = won = 0
    abandoned: list[Row] = []
    if session.has("retry.", "hedge."):
        directed, hedges, won = session.rows("""
            SELECT count(*) FILTER (event = 'retry.scheduled' AND server_directed),
                count(*) FILTER (event = 'hedge.sent'), count(*) FILTER (event = 'hedge.finished' AND won)
            FROM events""")[0]
        abandoned = session.rows("""
            SELECT reason, count(*) FROM events WHERE event = 'retry.abandoned' AND reason IS NOT NULL
            GROUP BY reason ORDER BY 2 DESC, 1""")
    made = Retries(
        sends=whole(sends),
        calls=whole(calls),
        saved=sum(saved_by.values()),
        saved_by=saved_by,
        in_vain=whole(in_vain),
        waited=waited or 0.0,
        server_directed=directed,
        abandoned=dict(abandoned),
        hedges=hedges,
        saved_by_hedges=won,
    )
    if sampled and (known := sampled_retries(session)):
        sends, calls, waited = (sum(column) for column in zip(*known.values(), strict=True))
        failed, lost, spent = session.rows("""
            SELECT sum(attempts - 1), count(*), sum(waited) FROM calls WHERE attempts > 1 AND NOT answered""")[0]
        made.sends = int(sends) + whole(failed) + made.hedges
        made.saved, made.calls = int(calls), int(calls) + lost
        made.waited, made.exact = waited + (spent or 0.0), True
    return made


def sampled_retries(session: Session) -> dict[str, tuple[int, int, float]]:
    """For each host, if answered calls are sampled: retries of answered calls, those calls, and seconds waited.

    `retry.scheduled` is logged for each retry, however few answered calls are. Empty if calls have no id, or the log's
    level left these events out.
    """
    ((sampled, retried),) = session.rows("SELECT bool_or(answered AND weight <> 1), max(attempts) FROM calls")
    if not sampled:
        return {}
    ((events, ids),) = session.rows("SELECT count(*), count(call) FROM events WHERE event = 'retry.scheduled'")
    if events != ids or (not events and (retried or 0) > 1):
        return {}
    rows = session.rows("""
        SELECT host, count(*), count(DISTINCT call), sum(wait) FROM events
        WHERE event = 'retry.scheduled' AND call NOT IN (SELECT call FROM calls WHERE NOT answered AND call IS NOT NULL)
        GROUP BY host""")
    return {host: (sends, calls, waited or 0.0) for host, sends, calls, waited in rows}


def slowest(session: Session) -> list[Call]:
    """The calls that took longest."""
    return [
        Call(*row)
        for row in session.rows(f"""
            SELECT {_TIME}, host, coalesce(method, ''), coalesce(path, ''), status, error, attempts, duration,
                coalesce(waited, 0)
            FROM calls WHERE attempts > 0 AND duration IS NOT NULL
            ORDER BY duration DESC, time, host LIMIT {_SLOWEST}""")
    ]


def series(session: Session, hosts: Sequence[str], begin: float, end: float, step: float, dated: str) -> list[Series]:
    """Counts per interval from `begin` on, for all hosts together and for each of `hosts`."""
    length = int((end - begin) / step) + 1
    names = {host: number for number, host in enumerate(hosts, 1)}
    made = [Series(host) for host in (None, *hosts)]
    for one in made:
        for counts in (one.answered, one.failed, one.rejected, one.retries):
            counts.extend([0] * length)
        one.p50.extend([None] * length)
        one.p95.extend([None] * length)
    interval = f"floor(({_TIME} - {begin!r}) / {step!r})::BIGINT"
    for host, together, number, answered, failed, rejected, retries, p50, p95 in session.rows(f"""
            SELECT host, grouping(host), {interval} AS number,
                sum(weight) FILTER (answered), sum(weight) FILTER (NOT answered AND rejected_by IS NULL),
                sum(weight) FILTER (rejected_by IS NOT NULL), sum(weight * greatest(attempts - 1, 0)),
                quantile_cont(duration, 0.5) FILTER (attempts > 0), quantile_cont(duration, 0.95) FILTER (attempts > 0)
            FROM calls WHERE {dated} GROUP BY GROUPING SETS ((number), (number, host))"""):
        if not together and host not in names:
            continue
        one = made[0 if together else names[host]]
        at = min(max(number, 0), length - 1)
        one.answered[at] += whole(answered)
        one.failed[at] += whole(failed)
        one.rejected[at] += whole(rejected)
        one.retries[at] += whole(retries)
        one.p50[at], one.p95[at] = p50, p95
    return made
