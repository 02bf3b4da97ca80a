"""Counts the calls and events of each episode, exactly between its begin and its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import comb

from sleepwalker.eventlog.columns import REJECTIONS, literal
from sleepwalker.inspect.episodes import Draft, over_by_answers
from sleepwalker.inspect.lists import SAVED, sampled_retries, whole
from sleepwalker.inspect.session import Session
from sleepwalker.inspect.spans import Process
from sleepwalker.inspect.ticks import bound
from sleepwalker.inspect.trouble import Episode

__all__ = ["count_episodes", "count_others"]

#: No call takes this long: the bound for a host without a usual p95.
_NEVER = 1e12
#: Seconds before and after an episode of one process, in which calls of the others are counted.
_AROUND = 5.0
#: The share of the others' calls that would fail, too, if the host were at fault.
_LIKELY = 0.3
#: Below this probability, chance does not explain that none of the other processes saw it.
_SURPRISE = 0.01


def count_episodes(
    session: Session,
    episodes: Sequence[tuple[Episode, Draft]],
    interval: int,
    usual: Mapping[str, float],
    names: Mapping[str, Sequence[str]],
    of: Mapping[tuple[int, int | None], Process],
    *,
    sampled: bool,
) -> list[int]:
    """Fill in the counts of each episode until its draft ends. Returns how many of its calls our own limits refused."""
    limited = [0] * len(episodes)
    if episodes:
        found = [one for one, _ in episodes]
        within = _prepare(session, episodes, interval, usual)
        _calls(session, found, within, of, limited)
        _events(session, found, within, set(sampled_retries(session)) if sampled else set())
        _circuits(session, found, within, of)
        _connections(session, episodes, names)
    return limited


def count_others(
    session: Session, episodes: Sequence[Episode], of: Mapping[tuple[int, int | None], Process], dated: str
) -> None:
    """For each episode that only one process still holds: note if it was the only process with failures around then.

    The episode itself may be too short for calls of other processes, so the seconds around it count as well.
    """
    held = {at: one for at, one in enumerate(episodes) if one.held and one.end is not None}
    if not held:
        return
    around = _micros(_AROUND)
    table = ", ".join(
        f"({at}, {literal(one.host)}, {_micros(one.begin) - around}::BIGINT, {_micros(one.end or 0) + around}::BIGINT)"
        for at, one in held.items()
    )
    ill: list[set[int]] = [set() for _ in episodes]
    well: list[dict[int, int]] = [{} for _ in episodes]
    for at, file, pid, answered, failed in session.rows(f"""
            SELECT id, file, pid, count(*) FILTER (answered), count(*) FILTER (NOT answered)
            FROM calls JOIN (VALUES {table}) AS given(id, host, b, e) USING (host)
            WHERE epoch_us(time) BETWEEN b AND e AND {dated} GROUP BY id, file, pid"""):
        process = of[file, pid].number
        well[at][process] = well[at].get(process, 0) + answered
        if failed:
            ill[at].add(process)
    for at, one in held.items():
        answers = sum(number for process, number in well[at].items() if process not in ill[at])
        if len(ill[at]) == 1 and over_by_answers(_LIKELY, answers):
            one.processes, one.of_processes = 1, len(well[at])


def _prepare(
    session: Session, episodes: Sequence[tuple[Episode, Draft]], interval: int, usual: Mapping[str, float]
) -> str:
    """Make a table of the intervals of each episode. Returns the join by which calls find their episode.

    Joining on host and interval makes it a hash join. A call counts once: if one episode lies within another, for the
    shorter one.
    """
    own = _own(episodes)
    rows = ", ".join(
        f"({at}, {literal(one.host)}, {begin}::BIGINT, {end}::BIGINT, "
        f"{end if draft.well_from is None else _micros(draft.well_from)}::BIGINT, "
        f"{bound(usual[one.host]) if one.host in usual else _NEVER!r}::DOUBLE)"
        for at, (one, draft) in enumerate(episodes)
        for begin, end in own[at]
    )
    size = interval * 1_000_000
    session.rows(f"""
        CREATE OR REPLACE TEMP TABLE stretches AS
        SELECT id, host, b, e, well, bound, unnest(range(b // {size}, e // {size} + 1)) AS number
        FROM (VALUES {rows}) AS given(id, host, b, e, well, bound)""")
    return (
        f"JOIN stretches ON stretches.host = told.host AND stretches.number = epoch_us(told.time) // {size} "
        "AND epoch_us(told.time) BETWEEN b AND e"
    )


def _own(episodes: Sequence[tuple[Episode, Draft]]) -> list[list[tuple[int, int]]]:
    """The times of each episode in microseconds, without those of shorter ones of the same host."""
    whole = [(_micros(one.begin), max(_micros(one.begin), _micros(draft.end))) for one, draft in episodes]
    of: dict[str, list[int]] = {}
    for at, (one, _) in enumerate(episodes):
        of.setdefault(one.host, []).append(at)
    own: list[list[tuple[int, int]]] = [[] for _ in episodes]
    for mine in of.values():
        mine.sort(key=lambda at: (whole[at][1] - whole[at][0], at))
        for rank, at in enumerate(mine):
            pieces = [whole[at]]
            for begin, end in (whole[each] for each in mine[:rank]):
                pieces = [
                    (first, last)
                    for b, e in pieces
                    for first, last in ((b, min(e, begin - 1)), (max(b, end + 1), e))
                    if first <= last
                ]
            own[at] = pieces
    return own


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _calls(
    session: Session,
    episodes: Sequence[Episode],
    within: str,
    of: Mapping[tuple[int, int | None], Process],
    limited: list[int],
) -> None:
    seen: list[dict[int, tuple[float, float]]] = [{} for _ in episodes]
    for at, file, pid, answered, failed, refused, shut, limits, sends, retries, saved, slow in session.rows(f"""
            SELECT id, file, pid, sum(weight) FILTER (answered), sum(weight) FILTER (NOT answered),
                sum(weight) FILTER (rejected_by IS NOT NULL),
                sum(weight) FILTER (rejected_by IN ('breaker', 'isolation')),
                sum(weight) FILTER (rejected_by NOT IN ('breaker', 'isolation')), sum(weight * attempts),
                sum(weight * greatest(attempts - 1, 0)), sum(weight) FILTER ({SAVED}),
                count(*) FILTER (answered AND attempts = 1 AND duration > bound)
            FROM calls AS told {within} AND (NOT answered OR epoch_us(told.time) <= well) GROUP BY id, file, pid"""):
        one, process = episodes[at], of[file, pid].number
        one.answered += whole(answered)
        one.failed += whole(failed)
        one.refused += whole(refused)
        one.sends += whole(sends)
        one.retries += whole(retries)
        one.saved += whole(saved)
        limited[at] += whole(limits)
        # Refusals by a process's own circuit do not show what it saw: one failure may have opened it.
        tried = (failed or 0) - (shut or 0)
        bad, calls = seen[at].get(process, (0.0, 0.0))
        seen[at][process] = bad + tried + slow, calls + tried + (answered or 0)
    failed_sends = f"""
        SELECT id, file, pid, count(*) FROM events AS told {within} WHERE event = 'attempt.failed'
        GROUP BY id, file, pid"""
    for at, file, pid, count in session.rows(failed_sends, "attempt.failed"):
        process = of[file, pid].number
        bad, calls = seen[at].get(process, (0.0, 0.0))
        # A process with a failed send has seen it, even if a retry saved the call.
        seen[at][process] = max(bad, float(min(count, calls or count))), max(calls, 1.0)
    for one, by_process in zip(episodes, seen, strict=True):
        one.calls = one.answered + one.failed
        one.processes, one.of_processes = _that_saw_it(list(by_process.values())), len(by_process)
    for at, p95 in session.rows(f"""
            SELECT id, quantile_cont(duration, 0.95) FROM calls AS told {within}
            WHERE answered AND attempts = 1 AND duration IS NOT NULL AND epoch_us(told.time) <= well GROUP BY id"""):
        episodes[at].p95 = p95


def _that_saw_it(processes: Sequence[tuple[float, float]]) -> int:
    """How many of these processes saw it. Each is given by its bad calls and all its calls.

    Those without a bad call count as well if chance explains it: they may just have called too seldom.
    """
    ill = [(bad, calls) for bad, calls in processes if bad]
    if not ill:
        return 0
    calls, bad = sum(calls for _, calls in processes), sum(bad for bad, _ in ill)
    well = sum(calls for bad, calls in processes if not bad)
    # The probability that none of the bad calls fell to those, if all processes were alike: times the number of ways
    # to pick as many, because these were picked by what they did.
    chance = float(comb(len(processes), len(ill)))
    for number in range(round(bad)):
        chance *= max(0.0, calls - well - number) / max(1.0, calls - number)
    return len(ill) if chance < _SURPRISE else len(processes)


def _events(session: Session, episodes: Sequence[Episode], within: str, sampled: Collection[str]) -> None:
    kind = "coalesce(error, status::VARCHAR)"
    most = f"mode({kind} ORDER BY {kind})"  # in order: of kinds as frequent, DuckDB would take now one, now another
    refusals = ", ".join(map(literal, REJECTIONS))
    for at, failed, opened, told, would_open, scheduled, *errors in session.rows(f"""
            SELECT id, count(*) FILTER (event = 'attempt.failed'),
                count(*) FILTER (event = 'breaker.opened' AND NOT coalesce(observed, false)),
                count(*) FILTER (event = 'breaker.opened' AND rule = 'fleet'),
                count(*) FILTER (event = 'breaker.opened' AND observed),
                count(*) FILTER (event = 'retry.scheduled'),
                {most} FILTER (event = 'attempt.failed'),
                {most} FILTER (event = 'request.failed' AND coalesce(error, '') NOT IN ({refusals})),
                mode(cause ORDER BY cause) FILTER (event IN ('host.broken', 'breaker.opened')),
                {most} FILTER (event = 'request.failed')
            FROM events AS told {within} WHERE event <> 'request.finished' GROUP BY id"""):
        one = episodes[at]
        one.sends_failed, one.opened, one.told, one.would_open = failed, opened, told, would_open
        if failed:
            # Not the sends of calls that ended: for a host that hangs now, none has.
            one.sends = one.answered + failed
        if not one.calls or one.host in sampled:
            one.retries = scheduled or one.retries
        one.error = next((error for error in errors if error), None)


def _circuits(
    session: Session, episodes: Sequence[Episode], within: str, of: Mapping[tuple[int, int | None], Process]
) -> None:
    """Count the processes in which circuits opened."""
    seen: list[set[int]] = [set() for _ in episodes]
    opened = f"""
        SELECT DISTINCT id, file, pid FROM events AS told {within}
        WHERE event = 'breaker.opened' AND NOT coalesce(observed, false)"""
    for at, file, pid in session.rows(opened, "breaker.opened"):
        seen[at].add(of[file, pid].number)
    for one, numbers in zip(episodes, seen, strict=True):
        one.opened_in = len(numbers)


def _connections(
    session: Session, episodes: Sequence[tuple[Episode, Draft]], names: Mapping[str, Sequence[str]]
) -> None:
    """Count evictions and hooks, which are logged under the name that was asked for."""
    if not session.has("connection.evicted", "connection.hooked"):
        return
    own = _own(episodes)
    rows = ", ".join(
        f"({at}, {literal(name)}, {begin}::BIGINT, {end}::BIGINT)"
        for at, (one, _) in enumerate(episodes)
        for name in {one.host, *names.get(one.host, ())}
        for begin, end in own[at]
    )
    if not rows:
        return
    for at, evicted, hooked in session.rows(f"""
            SELECT id, count(*) FILTER (event = 'connection.evicted'), count(*) FILTER (event = 'connection.hooked')
            FROM events JOIN (VALUES {rows}) AS named(id, host, b, e) USING (host)
            WHERE event IN ('connection.evicted', 'connection.hooked') AND epoch_us(time) BETWEEN b AND e
            GROUP BY id"""):
        episodes[at][0].evicted, episodes[at][0].hooked = evicted, hooked
