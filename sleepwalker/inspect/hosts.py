"""Each host's counts, its states over time, and when it was well again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sleepwalker.eventlog.columns import literal
from sleepwalker.inspect.episodes import Evidence
from sleepwalker.inspect.fleet import Fleets
from sleepwalker.inspect.lists import SAVED, sampled_retries, whole
from sleepwalker.inspect.model import HostFacts, Outage
from sleepwalker.inspect.moves import seconds
from sleepwalker.inspect.session import Session
from sleepwalker.inspect.spans import Process, Transition, describe, processes, restarts
from sleepwalker.inspect.window import Filter

__all__ = ["LATENCY", "answered_after", "called_by", "count_hosts", "count_processes", "states"]

_TIME = seconds("time")
LATENCY = (
    ", ".join(f"quantile_cont(duration, {share}) FILTER (attempts > 0)" for share in (0.5, 0.95, 0.99))
    + ", max(duration) FILTER (attempts > 0)"
)
#: Failed calls that say something about their host or its limits. Refusals by a circuit (or by the ramp after it
#: closed) and by an isolation do not: those have events of their own.
_FAILED = "NOT answered AND coalesce(rejected_by, '') NOT IN ('breaker', 'isolation')"

#: The states that a worker logs of a host, independent of each other.
_LANES = ("host", "isolation", "circuit")
#: Seconds within which events of one moment are logged.
_SAME = 0.1


def count_hosts(session: Session, dated: str) -> dict[str, HostFacts]:
    """The counts, latencies and first and last times of every host."""
    found: dict[str, HostFacts] = {}
    for host, evicted, hooked in session.rows("""
            SELECT host, count(*) FILTER (event = 'connection.evicted'), count(*) FILTER (event = 'connection.hooked')
            FROM events WHERE event NOT LIKE 'fleet.%' GROUP BY host"""):
        found[host] = HostFacts(host, evicted=evicted, hooked=hooked)
    # A call that was sent before a circuit opened may end, with a refused retry, after it has closed again.
    last_send, joined = "NULL", ""
    if session.has("attempt.failed"):
        last_send = "any_value(last)"
        joined = f"""LEFT JOIN (
            SELECT host, max({_TIME}) AS last FROM events WHERE event = 'attempt.failed' AND {dated} GROUP BY host
        ) USING (host)"""
    for row in session.rows(f"""
            SELECT host, sum(weight), sum(weight) FILTER (answered), sum(weight) FILTER (NOT answered),
                sum(weight) FILTER (rejected_by IS NOT NULL), sum(weight * attempts),
                sum(weight * greatest(attempts - 1, 0)), sum(weight) FILTER ({SAVED}), {LATENCY},
                min({_TIME}) FILTER ({_FAILED} AND {dated}),
                greatest(
                    max({_TIME}) FILTER ({_FAILED} AND attempts = 0 AND {dated}),
                    least(max({_TIME}) FILTER ({_FAILED} AND attempts > 0 AND {dated}), {last_send})),
                max({_TIME}) FILTER (answered AND {dated}), bool_or(answered AND weight <> 1)
            FROM calls {joined} GROUP BY host"""):
        facts = found[row[0]]
        facts.calls, facts.answered, facts.failed, facts.rejected = map(whole, row[1:5])
        facts.attempts, facts.retries, facts.saved = map(whole, row[5:8])
        facts.p50, facts.p95, facts.p99, facts.longest = row[8:12]
        facts.first_failure, facts.last_failure, facts.last_answer = row[12:15]
        facts.sampled = bool(row[15])
    if any(facts.sampled for facts in found.values()):
        _exact_retries(session, found)
    return found


def _exact_retries(session: Session, hosts: Mapping[str, HostFacts]) -> None:
    """If answered calls are sampled, count retries by their own events, if those are in the log."""
    known = sampled_retries(session)
    if not known:
        return
    of_failed: dict[str, float] = dict(
        session.rows("SELECT host, sum(attempts - 1) FROM calls WHERE NOT answered AND attempts > 1 GROUP BY host")
    )
    for facts in hosts.values():
        if facts.sampled:
            sends, facts.saved, _ = known.get(facts.host, (0, 0, 0.0))
            facts.retries = sends + whole(of_failed.get(facts.host))
            facts.attempts = facts.calls - facts.rejected + facts.retries


def answered_after(session: Session, since: Mapping[str, float], dated: str) -> dict[str, int]:
    """How many calls of each of these hosts were answered after its time."""
    if not since:
        return {}
    table = ", ".join(f"({literal(host)}, {time!r}::DOUBLE)" for host, time in since.items())
    return {
        host: whole(count)
        for host, count in session.rows(f"""
            SELECT host, sum(weight) FROM calls JOIN (VALUES {table}) AS ends(host, last) USING (host)
            WHERE answered AND {_TIME} > last AND {dated} GROUP BY host""")
    }


def count_processes(session: Session, dated: str) -> dict[tuple[int, int | None], Process]:
    """The processes that wrote the events, by file and pid."""
    return processes(
        session.rows(f"SELECT file, pid, min({_TIME}), max({_TIME}) FROM everything WHERE {dated} GROUP BY file, pid")
    )


def called_by(session: Session, of: Mapping[tuple[int, int | None], Process], dated: str) -> dict[str, int]:
    """How many processes called each host."""
    callers: dict[str, set[int]] = {}
    for host, file, pid in session.rows(f"SELECT DISTINCT host, file, pid FROM calls WHERE {dated}"):
        callers.setdefault(host, set()).add(of[file, pid].number)
    return {host: len(numbers) for host, numbers in callers.items()}


def states(
    session: Session,
    hosts: Mapping[str, HostFacts],
    chosen: Filter,
    period: tuple[float, float],
    of: Mapping[tuple[int, int | None], Process],
    fleets: Fleets,
    dated: str,
) -> dict[str, Evidence]:
    """Fill in the states of the hosts. Returns them as evidence.

    Events before the period count as well: a circuit that opened then may still be open.
    """
    until = replace(chosen, since=None).condition()
    if not session.has("host.", "breaker."):
        return {}
    found: dict[str, list[Transition]] = {}
    for host, time, event, file, pid, cause, reason, broken_for, observed, rule, lasts in session.rows(f"""
            SELECT host, {_TIME}, event, file, pid, cause, reason, broken_for, observed, rule, coalesce(open_for, ramp)
            FROM everything
            WHERE (event LIKE 'host.%' OR event LIKE 'breaker.%') AND {until} AND {dated} ORDER BY time, file, line"""):
        number = of[file, pid].number
        one = Transition(time, event, number, cause, reason, broken_for, bool(observed), rule, lasts)
        if host in hosts:
            found.setdefault(host, []).append(one)
    alive = _alive(session, found, dated)
    began = {one.number: one.began for one in of.values()}
    gone = {one.number: one.gone for one in of.values() if one.gone is not None}
    in_fleet = {one.number for one in of.values() if fleets.of(one.number, period[1])}
    known: dict[str, Evidence] = {}
    for host, transitions in found.items():
        alone = "#" in host  # the circuit of a scope is each worker's own
        shared = ("isolation",) if alone else _LANES
        ends = {one: fleets.ended(one, transitions) | gone if one in shared else gone for one in _LANES}
        broken, isolated = describe(
            hosts[host], transitions, *period, alive[host], began, ends, set() if alone else in_fleet
        )
        closed = [one for one in transitions if one.event == "breaker.closed" and not one.observed and one.lasts]
        ramps = [(one.time, one.time + (one.lasts or 0.0)) for one in closed]
        known[host] = Evidence((), [_with_its_circuit(one, transitions) for one in broken], isolated, ramps)
    for host, opened, would_open in session.rows(f"""
            SELECT host, count(*) FILTER (NOT coalesce(observed, false)), count(*) FILTER (observed) FROM events
            WHERE event = 'breaker.opened' AND NOT ({dated}) GROUP BY host"""):
        hosts[host].opened += opened
        hosts[host].would_open += would_open
    return known


def _with_its_circuit(one: Outage, transitions: Sequence[Transition]) -> Outage:
    """The outage from the moment when the circuit opened: that is logged just before `host.broken`."""
    opened = (each.time for each in transitions if each.event == "breaker.opened" and not each.observed)
    since = min((time for time in opened if 0 <= one.since - time <= _SAME), default=one.since)
    return replace(one, since=since)


def _alive(session: Session, found: Mapping[str, Sequence[Transition]], dated: str) -> dict[str, dict[int, float]]:
    """When each host was healthy again, for the transitions of `restarts`.

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
