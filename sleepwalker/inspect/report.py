"""Makes a report from the events of a session."""

from __future__ import annotations

from typing import Any

from sleepwalker.inspect import fleet, lists
from sleepwalker.inspect.findings import findings
from sleepwalker.inspect.hosts import LATENCY, answered_after, called_by, count_hosts, count_processes, states
from sleepwalker.inspect.judge import judge, now
from sleepwalker.inspect.model import HostFacts, Report
from sleepwalker.inspect.moves import names, seconds
from sleepwalker.inspect.session import Session
from sleepwalker.inspect.ticks import interval_for
from sleepwalker.inspect.window import Filter

__all__ = ["make"]

#: How many intervals a chart has at most, and how many hosts have charts of their own.
_MOST_STEPS = 150
_CHARTED = 12
#: This many calls may end without an event: cancelled ones.
_CANCELLED = 3

#: Seconds: intervals that people count in.
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800)

#: How a host is at the end, worst first.
_RANKS = {"broken": 0, "isolated": 0, "failing": 1, "slow": 1, "limited": 1, "hooks failing": 1, "open": 1}

_TIME = seconds("time")


def make(session: Session, chosen: Filter, runbook: str | None = None) -> Report | None:
    """The report on the events that the filter includes; None if there are none.

    `runbook` is the address of a page with the anchors that findings have; by default it is one of our documentation.
    """
    chosen = session.use(chosen)
    dated = session.dated()
    ((events, known, earliest, first),) = session.rows(f"""
        SELECT count(*), count(*) FILTER ({dated}), min({_TIME}), min({_TIME}) FILTER ({dated}) FROM events""")
    if not events:
        return None
    misdated = session.misdated(f"NOT ({dated})") if known < events else []
    # One event of 1970 would stretch a day to half a century. If all are misdated, they are at least shown in order.
    if not known or not misdated:
        dated, first = "true", earliest
    # Whether trouble is over is judged at the end of the log of all hosts, also for a host that has fallen silent.
    whole = Filter(chosen.since, chosen.until).condition()
    ((end,),) = session.rows(f"SELECT max({_TIME}) FROM everything WHERE {whole} AND {dated}")
    answers_logged = _answers_logged(session)
    step = next((step for step in _STEPS if (end - first) / step < _MOST_STEPS), (end - first) / _MOST_STEPS)
    hosts = count_hosts(session, dated)
    known_names = names(session)
    for host, by in known_names.items():
        if host in hosts:
            hosts[host].names = list(by)
    processes = count_processes(session, dated)
    for host, number in called_by(session, processes, dated).items():
        hosts[host].processes = number
    fleets = fleet.read(session, processes, chosen, dated)
    evidence = states(session, hosts, chosen, (first, end), processes, fleets, dated)
    interval = interval_for(end - first, sum(facts.calls > 0 for facts in hosts.values()))
    judged = judge(session, chosen, hosts, evidence, known_names, processes, (first, end), interval, dated)
    ends = {
        facts.host: max(facts.last_failure or 0.0, facts.recovered_at or 0.0)
        for facts in hosts.values()
        if facts.last_failure is not None or facts.recovered_at is not None
    }
    for host, count in answered_after(session, ends, dated).items():
        hosts[host].answered_since = count
    problems = lists.problems(session, hosts, dated)
    for facts in hosts.values():
        facts.now = now(facts, [one for one in judged.episodes if one.host == facts.host], end)
    ranked = sorted(hosts.values(), key=_badness)
    p50, p95, p99, longest = session.rows(f"SELECT {LATENCY} FROM calls")[0]
    charted = [facts.host for facts in ranked if facts.calls or facts.outages][:_CHARTED]
    report = Report(
        files=session.files(),
        bad_lines=session.bad_lines(),
        chosen=chosen,
        events=events,
        begin=first,
        end=end,
        hosts=ranked,
        problems=problems,
        retries=lists.retries(session, sampled=any(facts.sampled for facts in ranked)),
        slow=lists.slowest(session),
        interval=float(interval),
        step=float(step),
        series=lists.series(session, charted, first, end, float(step), dated),
        rejections={
            by: lists.whole(count)
            for by, count in session.rows(
                """
                SELECT rejected_by, sum(weight) FROM calls WHERE rejected_by IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1
                """,
                "request.failed",
            )
        },
        answers_logged=answers_logged,
        processes=len({process.number for process in processes.values()}),
        misdated=events - known,
        misdated_lines=misdated,
        latency=(p50, p95, p99, longest),
        episodes=judged.episodes,
        together=judged.together,
        fleets=fleets.facts(first, end),
    )
    report.findings = findings(report, runbook)
    return report


def _answers_logged(session: Session) -> bool:
    """False if other events show that calls were answered, but the log has none of those calls.

    A log in which every call failed has no answered calls either, but it is complete: it lacks those other events.
    """
    if session.has("request.finished"):
        return True
    well = "event IN ('host.recovered', 'breaker.closed') AND NOT coalesce(observed, false)"
    if session.rows(f"SELECT 1 FROM everything WHERE {well} LIMIT 1", "host.recovered", "breaker.closed"):
        return False
    if not session.has("attempt.failed"):
        return True
    # A call with a failed send ends as failed or answered, unless it was under way when the log ended.
    ((saved,),) = session.rows("""
        SELECT count(DISTINCT call) FROM everything
        WHERE event = 'attempt.failed' AND call NOT IN (
            SELECT call FROM everything WHERE event = 'request.failed' AND call IS NOT NULL)
        AND epoch_us(time) < (
            SELECT max(epoch_us(time)) - 1e6 * max(coalesce(duration, 0)) FROM everything
            WHERE event = 'request.failed')""")
    return bool(saved <= _CANCELLED)


def _badness(facts: HostFacts) -> tuple[Any, ...]:
    """Out of use now, in trouble now, then by how many calls failed."""
    return (
        _RANKS.get(facts.now, 2),
        -facts.failed,
        -len(facts.outages),
        -(facts.retries),
        facts.host,
    )
