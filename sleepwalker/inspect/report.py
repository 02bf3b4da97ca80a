"""Asks a session everything that a report says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sleepwalker.eventlog.columns import literal
from sleepwalker.inspect import words
from sleepwalker.inspect.model import Call, HostFacts, Problem, Report, Retries, Series
from sleepwalker.inspect.session import Row, Session
from sleepwalker.inspect.spans import Transition, describe, processes, restarts
from sleepwalker.inspect.window import Filter

__all__ = ["make"]

#: How many intervals a chart has at most, how many hosts have charts of their own, and how long the lists are.
_MOST_STEPS = 150
_CHARTED = 12
_LISTED = 20
_SLOWEST = 10

#: Seconds: intervals that people count in.
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800)

_TIME = "epoch_us(time) / 1e6"
#: Of a call that was answered in the end, and not with "later".
_SAVED = "answered AND attempts > 1 AND coalesce(status, 200) NOT IN (408, 429)"
#: Of a call whose failure says something about its host, or about its other limits: what a circuit refused, or the ramp
#: of one that has just closed, is told by the circuit's own state.
_FAILED = "NOT answered AND coalesce(rejected_by, '') NOT IN ('breaker', 'isolation')"


def make(session: Session, chosen: Filter) -> Report | None:
    """The report on the events that the filter includes; None if there are none."""
    session.use(chosen)
    dated = session.dated()
    ((events, known),) = session.rows(f"SELECT count(*), count(*) FILTER ({dated}) FROM events")
    if not events:
        return None
    misdated = session.misdated(f"NOT ({dated})") if known < events else []
    # One event of 1970 would stretch a day to half a century. Where all are such, they are at least told in order.
    if not known or not misdated:
        dated = "true"
    ((first,),) = session.rows(f"SELECT min({_TIME}) FROM events WHERE {dated}")
    # Whether it is over is a matter of when the log ends, also for a host that has fallen silent.
    whole = Filter(chosen.since, chosen.until).condition()
    ((end,),) = session.rows(f"SELECT max({_TIME}) FROM everything WHERE {whole} AND {dated}")
    step = next((step for step in _STEPS if (end - first) / step < _MOST_STEPS), (end - first) / _MOST_STEPS)
    hosts = _hosts(session, dated)
    _states(session, hosts, chosen, first, end, dated)
    _answered_since(session, hosts, dated)
    _moves(session, hosts, dated)
    ranked = sorted(hosts.values(), key=_badness)
    p50, p95, p99, longest = session.rows(f"SELECT {_LATENCY} FROM calls")[0]
    report = Report(
        files=session.files(),
        bad_lines=session.bad_lines(),
        chosen=chosen,
        events=events,
        begin=first,
        end=end,
        hosts=ranked,
        problems=_problems(session, hosts, dated),
        retries=_retries(session),
        slow=_slow(session),
        interval=float(step),
        step=float(step),
        series=_series(
            session,
            [facts.host for facts in ranked if facts.calls or facts.outages][:_CHARTED],
            first,
            end,
            float(step),
            dated,
        ),
        rejections={
            by: int(count)
            for by, count in session.rows(
                "SELECT rejected_by, count(*) FROM calls WHERE rejected_by IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1"
            )
        },
        misdated=events - known,
        misdated_lines=misdated,
        latency=(p50, p95, p99, longest),
    )
    report.findings = words.findings(report)
    return report


_LATENCY = (
    ", ".join(f"quantile_cont(duration, {share}) FILTER (attempts > 0)" for share in (0.5, 0.95, 0.99))
    + ", max(duration) FILTER (attempts > 0)"
)


def _badness(facts: HostFacts) -> tuple[Any, ...]:
    """Out of use now with nowhere else to go, then by how many calls failed."""
    return (
        facts.state == "fine" or facts.moved_to is not None,
        -facts.failed,
        -len(facts.outages),
        -(facts.retries),
        facts.host,
    )


def _hosts(session: Session, dated: str) -> dict[str, HostFacts]:
    found: dict[str, HostFacts] = {}
    for host, evicted, hooked in session.rows("""
            SELECT host, count(*) FILTER (event = 'connection.evicted'), count(*) FILTER (event = 'connection.hooked')
            FROM events GROUP BY host"""):
        found[host] = HostFacts(host, evicted=evicted, hooked=hooked)
    # A call that was sent before a circuit opened may end, with a refused retry, after it has closed again.
    failed_sends = f"SELECT host, max({_TIME}) AS last_send FROM attempts WHERE failed AND {dated} GROUP BY host"
    for row in session.rows(f"""
            SELECT host, sum(weight), sum(weight) FILTER (answered), count(*) FILTER (NOT answered),
                count(rejected_by), sum(weight * attempts), sum(weight * greatest(attempts - 1, 0)),
                sum(weight) FILTER ({_SAVED}), {_LATENCY},
                min({_TIME}) FILTER ({_FAILED} AND {dated}),
                greatest(
                    max({_TIME}) FILTER ({_FAILED} AND attempts = 0 AND {dated}),
                    least(max({_TIME}) FILTER ({_FAILED} AND attempts > 0 AND {dated}), any_value(last_send))),
                max({_TIME}) FILTER (answered AND {dated}), bool_or(weight <> 1)
            FROM calls LEFT JOIN ({failed_sends}) USING (host) GROUP BY host"""):
        facts = found[row[0]]
        facts.calls, facts.answered, facts.failed, facts.rejected = map(_whole, row[1:5])
        facts.attempts, facts.retries, facts.saved = map(_whole, row[5:8])
        facts.p50, facts.p95, facts.p99, facts.longest = row[8:12]
        facts.first_failure, facts.last_failure, facts.last_answer = row[12:15]
        facts.sampled = bool(row[15])
    return found


def _answered_since(session: Session, hosts: dict[str, HostFacts], dated: str) -> None:
    """How many calls went well after all that did not."""
    since = {
        facts.host: max(facts.last_failure or 0.0, facts.recovered_at or 0.0)
        for facts in hosts.values()
        if facts.last_failure is not None or facts.recovered_at is not None
    }
    if not since:
        return
    table = ", ".join(f"({literal(host)}, {time!r}::DOUBLE)" for host, time in since.items())
    for host, count in session.rows(f"""
            SELECT host, sum(weight) FROM calls JOIN (VALUES {table}) AS ends(host, last) USING (host)
            WHERE answered AND {_TIME} > last AND {dated} GROUP BY host"""):
        hosts[host].answered_since = _whole(count)


def _whole(value: float | None) -> int:
    return round(value or 0)


def _states(
    session: Session, hosts: dict[str, HostFacts], chosen: Filter, begin: float, end: float, dated: str
) -> None:
    """What was before is asked as well: a circuit that opened then may still be open."""
    periods = session.rows(f"SELECT file, min({_TIME}), max({_TIME}) FROM everything WHERE {dated} GROUP BY file")
    order = processes([(first, last) for _, first, last in periods])
    process = {file: number for (file, *_), number in zip(periods, order, strict=True)}
    until = Filter(None, chosen.until, chosen.hosts).condition()
    found: dict[str, list[Transition]] = {}
    for host, time, event, file, cause, reason, broken_for, observed, rule, lasts in session.rows(f"""
            SELECT host, {_TIME}, event, file, cause, reason, broken_for, observed, rule, coalesce(open_for, ramp)
            FROM everything
            WHERE (event LIKE 'host.%' OR event LIKE 'breaker.%') AND {until} AND {dated} ORDER BY time, file, line"""):
        one = Transition(time, event, process[file], cause, reason, broken_for, bool(observed), rule, lasts)
        if host in hosts:
            found.setdefault(host, []).append(one)
    alive = _alive(session, found, dated)
    for host, transitions in found.items():
        describe(hosts[host], transitions, begin, end, alive[host])
    for host, opened, would_open in session.rows(f"""
            SELECT host, count(*) FILTER (NOT coalesce(observed, false)), count(*) FILTER (observed) FROM events
            WHERE event = 'breaker.opened' AND NOT ({dated}) GROUP BY host"""):
        hosts[host].opened += opened
        hosts[host].would_open += would_open


def _alive(session: Session, found: dict[str, list[Transition]], dated: str) -> dict[str, dict[int, float]]:
    """When each host was healthy again, for transitions that do not say since when.

    That is the first response to a call sent after the previous transition; without one, the time of the transition.
    """
    alive: dict[str, dict[int, float]] = {host: {} for host in found}
    gaps = [(host, number, after) for host in found for number, after in restarts(found[host])]
    if not gaps:
        return alive
    for host, number, _ in gaps:
        alive[host][number] = found[host][number].time
    table = ", ".join(f"({literal(host)}, {number}, {after!r}::DOUBLE)" for host, number, after in gaps)
    for host, number, time in session.rows(f"""
            SELECT gaps.host, number, ended FROM (VALUES {table}) AS gaps(host, number, after)
            ASOF JOIN (
                SELECT host, {_TIME} AS ended, {_TIME} - coalesce(duration, 0) AS begun FROM everything
                WHERE event = 'request.finished' AND {dated}) AS responses
            ON gaps.host = responses.host AND gaps.after < responses.begun"""):
        alive[host][number] = min(time, alive[host][number])
    return alive


def _moves(session: Session, hosts: dict[str, HostFacts], dated: str) -> None:
    """Where hooks sent the callers of a broken host: the last place, unless that is the host itself again."""
    latest: dict[str, tuple[float, str]] = {}
    targets: dict[str, set[str]] = {}
    for name, time, target in session.rows(f"""
            SELECT host, {_TIME}, target FROM events
            WHERE event = 'connection.hooked' AND target IS NOT NULL AND {dated} ORDER BY time"""):
        latest[name] = (time, target)
        targets.setdefault(name, set()).add(target)
    for name, (time, target) in latest.items():
        for host in {name, *targets[name]} - {target}:
            facts = hosts.get(host)
            if facts and facts.outages and facts.outages[-1].until is None and time >= facts.outages[-1].since:
                facts.moved_to, facts.moved_at = target, time


def _problems(session: Session, hosts: dict[str, HostFacts], dated: str) -> list[Problem]:
    """Failed sends by host and kind; where the log's level left those out, failed calls that were sent."""
    (logged,) = session.rows("SELECT count(*) FROM attempts WHERE failed")[0]
    table = "attempts WHERE failed" if logged else "calls WHERE NOT answered AND rejected_by IS NULL"
    # Those of a kind that have no time that could be are told with what they have.
    first, last, detail = (
        f"coalesce({one} FILTER ({dated}), {one})"
        for one in (f"min({_TIME})", f"max({_TIME})", "arg_max(detail, time)")
    )
    rows: list[Row] = session.rows(f"""
        SELECT host, coalesce(error, status::VARCHAR, 'unknown') AS kind, count(*) AS number,
            {first}, {last}, {detail}, mode(path)
        FROM (SELECT * FROM {table}) GROUP BY host, kind ORDER BY number DESC, host, kind""")
    for host, kind, *_ in reversed(rows):
        hosts[host].error = kind
    return [Problem(*row) for row in rows[:_LISTED]]


def _retries(session: Session) -> Retries:
    sends, calls, in_vain, waited = session.rows("""
        SELECT sum(weight * (attempts - 1)), sum(weight), count(*) FILTER (NOT answered), sum(weight * waited)
        FROM calls WHERE attempts > 1""")[0]
    saved_by = {
        int(attempts): _whole(count)
        for attempts, count in session.rows(
            f"SELECT attempts, sum(weight) FROM calls WHERE {_SAVED} GROUP BY attempts ORDER BY attempts"
        )
    }
    (directed,) = session.rows("SELECT count(*) FROM events WHERE event = 'retry.scheduled' AND server_directed")[0]
    hedges, won = session.rows("""
        SELECT count(*) FILTER (event = 'hedge.sent'), count(*) FILTER (event = 'hedge.finished' AND won)
        FROM events""")[0]
    abandoned = session.rows("""
        SELECT reason, count(*) FROM events WHERE event = 'retry.abandoned' AND reason IS NOT NULL
        GROUP BY reason ORDER BY 2 DESC, 1""")
    return Retries(
        sends=_whole(sends),
        calls=_whole(calls),
        saved=sum(saved_by.values()),
        saved_by=saved_by,
        in_vain=_whole(in_vain),
        waited=waited or 0.0,
        server_directed=directed,
        abandoned=dict(abandoned),
        hedges=hedges,
        saved_by_hedges=won,
    )


def _slow(session: Session) -> list[Call]:
    return [
        Call(*row)
        for row in session.rows(f"""
            SELECT {_TIME}, host, coalesce(method, ''), coalesce(path, ''), status, error, attempts, duration,
                coalesce(waited, 0)
            FROM calls WHERE attempts > 0 AND duration IS NOT NULL
            ORDER BY duration DESC, time, host LIMIT {_SLOWEST}""")
    ]


def _series(session: Session, hosts: Sequence[str], begin: float, end: float, step: float, dated: str) -> list[Series]:
    """Intervals begin at `begin`, for all hosts together and for each of those named."""
    length = int((end - begin) / step) + 1
    names = {host: number for number, host in enumerate(hosts, 1)}
    series = [Series(host) for host in (None, *hosts)]
    for one in series:
        for counts in (one.answered, one.failed, one.rejected, one.retries):
            counts.extend([0] * length)
        one.p50.extend([None] * length)
        one.p95.extend([None] * length)
    interval = f"floor(({_TIME} - {begin!r}) / {step!r})::BIGINT"
    for host, together, number, answered, failed, rejected, retries, p50, p95 in session.rows(f"""
            SELECT host, grouping(host), {interval} AS number,
                sum(weight) FILTER (answered), count(*) FILTER (NOT answered AND rejected_by IS NULL),
                count(rejected_by), sum(weight * greatest(attempts - 1, 0)),
                quantile_cont(duration, 0.5) FILTER (attempts > 0), quantile_cont(duration, 0.95) FILTER (attempts > 0)
            FROM calls WHERE {dated} GROUP BY GROUPING SETS ((number), (number, host))"""):
        if not together and host not in names:
            continue
        one = series[0 if together else names[host]]
        at = min(max(number, 0), length - 1)
        one.answered[at] += _whole(answered)
        one.failed[at] += failed
        one.rejected[at] += rejected
        one.retries[at] += _whole(retries)
        one.p50[at], one.p95[at] = p50, p95
    return series
