"""Counts the calls and events of each episode, exactly between its begin and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sleepwalker.eventlog.columns import REJECTIONS, literal
from sleepwalker.inspect.lists import SAVED, whole
from sleepwalker.inspect.session import Session
from sleepwalker.inspect.spans import Process
from sleepwalker.inspect.ticks import bound
from sleepwalker.inspect.trouble import Episode

__all__ = ["count_episodes"]

#: No call takes so long: the bound for a host of which it is not known how fast it usually is.
_NEVER = 1e12
#: Less likely than this, chance does not explain that none of the other processes saw it.
_SURPRISE = 0.01


def count_episodes(
    session: Session,
    episodes: Sequence[tuple[Episode, float]],
    interval: int,
    usual: Mapping[str, float],
    names: Mapping[str, Sequence[str]],
    of: Mapping[tuple[int, int | None], Process],
) -> list[int]:
    """Fill in the counts of each episode until the time beside it; how many calls of each our own limits refused."""
    limited = [0] * len(episodes)
    if episodes:
        found = [one for one, _ in episodes]
        within = _prepare(session, episodes, interval, usual)
        _calls(session, found, within, of, limited)
        _events(session, found, within)
        _circuits(session, found, within, of)
        _connections(session, episodes, names)
    return limited


def _prepare(
    session: Session, episodes: Sequence[tuple[Episode, float]], interval: int, usual: Mapping[str, float]
) -> str:
    """A table of the intervals of each episode, by which calls find theirs: host and interval make a hash join."""
    rows = ", ".join(
        f"({at}, {literal(one.host)}, {_micros(one.begin)}, {_micros(end)}, "
        f"{bound(usual[one.host]) if one.host in usual else _NEVER!r}::DOUBLE)"
        for at, (one, end) in enumerate(episodes)
    )
    size = interval * 1_000_000
    session.rows(f"""
        CREATE OR REPLACE TEMP TABLE stretches AS
        SELECT id, host, b, e, bound, unnest(range(b // {size}, e // {size} + 1)) AS number
        FROM (VALUES {rows}) AS given(id, host, b, e, bound)""")
    return (
        f"JOIN stretches ON stretches.host = told.host AND stretches.number = epoch_us(told.time) // {size} "
        "AND epoch_us(told.time) BETWEEN b AND e"
    )


def _micros(seconds: float) -> str:
    return f"{round(seconds * 1e6)}::BIGINT"


def _calls(
    session: Session,
    episodes: Sequence[Episode],
    within: str,
    of: Mapping[tuple[int, int | None], Process],
    limited: list[int],
) -> None:
    seen: list[dict[int, tuple[float, float]]] = [{} for _ in episodes]
    for at, file, pid, answered, failed, refused, limits, sends, retries, saved, slow in session.rows(f"""
            SELECT id, file, pid, sum(weight) FILTER (answered), sum(weight) FILTER (NOT answered),
                sum(weight) FILTER (rejected_by IS NOT NULL),
                sum(weight) FILTER (rejected_by NOT IN ('breaker', 'isolation')), sum(weight * attempts),
                sum(weight * greatest(attempts - 1, 0)), sum(weight) FILTER ({SAVED}),
                count(*) FILTER (answered AND attempts = 1 AND duration > bound)
            FROM calls AS told {within} GROUP BY id, file, pid"""):
        one, process = episodes[at], of[file, pid].number
        one.answered += whole(answered)
        one.failed += whole(failed)
        one.refused += whole(refused)
        one.sends += whole(sends)
        one.retries += whole(retries)
        one.saved += whole(saved)
        limited[at] += whole(limits)
        bad, calls = seen[at].get(process, (0.0, 0.0))
        seen[at][process] = bad + (failed or 0) + slow, calls + (failed or 0) + (answered or 0)
    for one, by_process in zip(episodes, seen, strict=True):
        one.calls = one.answered + one.failed
        one.processes, one.of_processes = _that_saw_it(list(by_process.values())), len(by_process)
    for at, p95 in session.rows(f"""
            SELECT id, quantile_cont(duration, 0.95) FROM calls AS told {within}
            WHERE answered AND attempts = 1 AND duration IS NOT NULL GROUP BY id"""):
        episodes[at].p95 = p95


def _that_saw_it(processes: Sequence[tuple[float, float]]) -> int:
    """How many of these processes saw it, by their bad calls and all of them.

    One without a bad call counts as well, unless that would be a surprise: it may just have called too seldom.
    """
    ill = [(bad, calls) for bad, calls in processes if bad]
    if not ill:
        return 0
    share = sum(bad for bad, _ in ill) / sum(calls for _, calls in ill)
    well = sum(calls for bad, calls in processes if not bad)
    return len(ill) if (1 - min(share, 0.99)) ** well < _SURPRISE else len(processes)


def _events(session: Session, episodes: Sequence[Episode], within: str) -> None:
    kind = "coalesce(error, status::VARCHAR)"
    refusals = ", ".join(map(literal, REJECTIONS))
    for at, failed, opened, would_open, scheduled, *errors in session.rows(f"""
            SELECT id, count(*) FILTER (event = 'attempt.failed'),
                count(*) FILTER (event = 'breaker.opened' AND NOT coalesce(observed, false)),
                count(*) FILTER (event = 'breaker.opened' AND observed),
                count(*) FILTER (event = 'retry.scheduled'),
                mode({kind}) FILTER (event = 'attempt.failed'),
                mode({kind}) FILTER (event = 'request.failed' AND coalesce(error, '') NOT IN ({refusals})),
                mode(cause) FILTER (event IN ('host.broken', 'breaker.opened')),
                mode({kind}) FILTER (event = 'request.failed')
            FROM events AS told {within} WHERE event <> 'request.finished' GROUP BY id"""):
        one = episodes[at]
        one.sends_failed, one.opened, one.would_open = failed, opened, would_open
        one.retries = scheduled or one.retries
        one.error = next((error for error in errors if error), None)


def _circuits(
    session: Session, episodes: Sequence[Episode], within: str, of: Mapping[tuple[int, int | None], Process]
) -> None:
    """In how many processes circuits opened."""
    seen: list[set[int]] = [set() for _ in episodes]
    for at, file, pid in session.rows(f"""
            SELECT DISTINCT id, file, pid FROM events AS told {within}
            WHERE event = 'breaker.opened' AND NOT coalesce(observed, false)"""):
        seen[at].add(of[file, pid].number)
    for one, numbers in zip(episodes, seen, strict=True):
        one.opened_in = len(numbers)


def _connections(
    session: Session, episodes: Sequence[tuple[Episode, float]], names: Mapping[str, Sequence[str]]
) -> None:
    """Evictions and hooks are told by the name that was asked for."""
    rows = ", ".join(
        f"({at}, {literal(name)}, {_micros(one.begin)}, {_micros(end)})"
        for at, (one, end) in enumerate(episodes)
        for name in {one.host, *names.get(one.host, ())}
    )
    for at, evicted, hooked in session.rows(f"""
            SELECT id, count(*) FILTER (event = 'connection.evicted'), count(*) FILTER (event = 'connection.hooked')
            FROM events JOIN (VALUES {rows}) AS named(id, host, b, e) USING (host)
            WHERE event IN ('connection.evicted', 'connection.hooked') AND epoch_us(time) BETWEEN b AND e
            GROUP BY id"""):
        episodes[at][0].evicted, episodes[at][0].hooked = evicted, hooked
