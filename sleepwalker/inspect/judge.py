"""Judges what was trouble: episodes of every host, whether each is over, where callers went, what fell together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sleepwalker.eventlog.columns import literal
from sleepwalker.inspect import moves
from sleepwalker.inspect.details import count_episodes, count_others
from sleepwalker.inspect.episodes import Draft, Evidence, drafts, kind_of, over_by_answers, together
from sleepwalker.inspect.hooks import hook_episodes
from sleepwalker.inspect.hosts import answered_after
from sleepwalker.inspect.model import HostFacts, Span
from sleepwalker.inspect.moves import Move
from sleepwalker.inspect.session import Session
from sleepwalker.inspect.spans import Process
from sleepwalker.inspect.ticks import Tick, ticks, usual_latencies
from sleepwalker.inspect.trouble import Episode, Together
from sleepwalker.inspect.window import Filter

__all__ = ["Judged", "judge", "now"]

#: How many intervals, or at least how many seconds, make a block. The hosts called around a time are counted by blocks.
_AROUND, _AROUND_SECONDS = 10, 60.0
#: Seconds by which the last calls to a host may end after its callers have left.
_LATE = 2.0
_TIME = moves.seconds("time")
#: A host counts as called until this many times the mean time between its calls has passed since the last one.
_GAPS = 5.0
#: The least share of calls that is assumed to fail, because state events do not tell the share.
_LIKELY = 0.3


@dataclass(frozen=True, slots=True)
class Judged:
    """What was trouble."""

    episodes: list[Episode]
    together: list[Together]


def judge(
    session: Session,
    chosen: Filter,
    hosts: Mapping[str, HostFacts],
    evidence: Mapping[str, Evidence],
    names: Mapping[str, Sequence[str]],
    processes: Mapping[tuple[int, int | None], Process],
    period: tuple[float, float],
    interval: int,
    dated: str,
) -> Judged:
    """The episodes by begin. What they say about a host is noted in `hosts`."""
    begin, end = period
    usual = usual_latencies(session, interval, replace(chosen, since=None, until=None).condition(), dated)
    for host, p95 in usual.items():
        if host in hosts:
            hosts[host].usual_p95 = p95
    rows = ticks(session, interval, usual, evidence, dated)
    found: list[tuple[Episode, Draft]] = []
    for host in sorted(set(rows) | set(evidence)):
        known = replace(evidence.get(host, Evidence()), ticks=rows.get(host, []))
        for draft in drafts(known, interval, end):
            draft.begin = max(draft.begin, begin)  # a call may have begun before the period did
            one = Episode(host, "broken", draft.begin, None, usual_p95=usual.get(host))
            one.broken = "broken" in draft.signs
            found.append((one, draft))
    moved = moves.moves(session, names, processes, dated)
    for one, draft in found:
        _move(one, draft, moved, hosts[one.host], end, interval)
    _end_held(session, found, hosts, dated)
    _end_hung(session, found, dated)
    sampled = any(facts.sampled for facts in hosts.values())
    limited = count_episodes(session, found, interval, usual, names, processes, sampled=sampled)
    _settle(session, found, limited, rows, interval, dated)
    for host in {one.host for one, _ in found}:
        _afterwards([pair for pair in found if pair[0].host == host], rows.get(host, ()), interval)
    count_others(session, [one for one, _ in found], processes, dated)
    _answered_since(session, [one for one, _ in found], dated)
    latest = {one.host: one for one, _ in sorted(found, key=lambda pair: pair[1].end)}
    for one, draft in found:
        if latest[one.host] is one and _fails_again(one, draft, hosts[one.host]):
            one.end = None
    episodes = sorted(
        [*(one for one, _ in found), *hook_episodes(session, processes, dated)], key=lambda one: (one.begin, one.host)
    )
    moves.note_isolations(session, episodes, end, dated)
    groups = together(episodes, _called(session, interval, dated), interval) if len(episodes) > 1 else []
    for number, group in enumerate(groups):
        for at in group.episodes:
            episodes[at].together = number
    return Judged(episodes, groups)


def _settle(
    session: Session,
    found: Sequence[tuple[Episode, Draft]],
    limited: Sequence[int],
    rows: Mapping[str, Sequence[Tick]],
    interval: int,
    dated: str,
) -> None:
    """Set each episode's kind, its end, and when the host was last well before it."""
    ends: dict[str, float] = {}
    for one, draft in found:
        if draft.counts_go_on:
            ends[one.host] = max(draft.end, ends.get(one.host, 0.0))
    after = answered_after(session, ends, dated)
    for (one, draft), refused in zip(found, limited, strict=True):
        mine = rows.get(one.host, ())
        one.kind = kind_of(one, draft, refused)
        one.last_good = max(
            (tick.last_good for tick in mine if tick.last_good is not None and tick.last_good < one.begin), default=None
        )
        answered = after.get(one.host, 0)
        if over_by_answers(draft.share, answered):
            draft.counts_go_on = False
        one.end = None if draft.goes_on else draft.well_from or draft.end
        if one.end is None and not draft.state_goes_on and draft.end == ends.pop(one.host, None):
            one.answered += answered
            one.calls += answered


def _move(one: Episode, draft: Draft, moved: Sequence[Move], facts: HostFacts, end: float, interval: int) -> None:
    """Note where hooks sent the callers during the episode, which ends it for them."""
    if not draft.signs & {"calls", "broken"}:
        return
    went = moves.away(one.host, moved, one.begin, end if draft.goes_on else draft.end, interval)
    if not went:
        return
    last = max(went, key=lambda move: move.time)
    one.moved_at, one.moved_to = min(move.time for move in went), last.to
    home = moves.back(one.host, moved, one.moved_at)
    one.moved_back_at = facts.moved_back_at = home.time if home else None
    if draft.last_bad > last.time + max(float(interval), _LATE):
        return  # some of them still call it
    draft.end = max(one.begin, last.time, draft.last_bad)
    draft.counts_go_on = draft.state_goes_on = False
    if home is None:
        facts.moved_to, facts.moved_at = one.moved_to, one.moved_at
    _end_states(facts, draft.end, "fine" if home else "moved")


def _end_held(
    session: Session, found: Sequence[tuple[Episode, Draft]], hosts: Mapping[str, HostFacts], dated: str
) -> None:
    """End episodes that go on only for a process that has not called since, while other processes are answered."""
    held = {
        one.host: (one, draft)
        for one, draft in found
        if draft.state_goes_on and "isolated" not in draft.signs and hosts[one.host].processes > 1
    }
    last = {host: max(draft.last_bad, draft.begin) for host, (_, draft) in held.items()}
    for host, answered in answered_after(session, last, dated).items():
        one, draft = held[host]
        if over_by_answers(max(draft.share, _LIKELY), answered):
            draft.end, one.held = last[host], True
            draft.counts_go_on = draft.state_goes_on = False
            _end_states(hosts[host], draft.end, "fine")


def _end_hung(session: Session, found: Sequence[tuple[Episode, Draft]], dated: str) -> None:
    """Find when the host was well again: calls that hung fail at their timeout, maybe long after that."""
    told = [
        (at, one, draft)
        for at, (one, draft) in enumerate(found)
        if draft.signs <= {"calls", "sends"} and one.moved_at is None
    ]
    if not told:
        return
    table = ", ".join(
        f"({at}, {literal(one.host)}, {draft.begin!r}::DOUBLE, {draft.end!r}::DOUBLE)" for at, one, draft in told
    )
    begun = f"{_TIME} - coalesce(duration, 0)"
    for at, well in session.rows(f"""
            WITH given AS (SELECT * FROM (VALUES {table}) AS given(id, host, b, e)),
            ill AS (
                SELECT id, any_value(given.host) AS host, any_value(e) AS e, max({begun}) AS last
                FROM events JOIN given USING (host)
                WHERE event IN ('attempt.failed', 'request.failed') AND {_TIME} BETWEEN b AND e AND {dated}
                GROUP BY id)
            SELECT id, min({begun}) FROM calls JOIN ill USING (host)
            WHERE answered AND {begun} > last AND {_TIME} <= e AND {dated} GROUP BY id"""):
        found[at][1].well_from = well


def _end_states(facts: HostFacts, at: float, state: str) -> None:
    """End the host's last outage, which no event ended, and set its state from then on."""
    if facts.outages and facts.outages[-1].until is None and facts.outages[-1].since <= at:
        facts.outages[-1] = replace(facts.outages[-1], until=at)
        last = facts.host_spans.pop()
        facts.host_spans += [replace(last, until=at), Span(state, at, max(at, last.until))]
        facts.state = state  # type: ignore[assignment]


def _afterwards(found: Sequence[tuple[Episode, Draft]], rows: Sequence[Tick], interval: int) -> None:
    """Count the calls answered after each episode, and the failed ones that belong to none."""
    mine = [one for one, _ in found]
    inside = {
        number
        for one, draft in found
        for number in range(
            int(one.begin // interval), int((one.begin if one.end is None else draft.end) // interval) + 1
        )
    }
    for at, one in enumerate(mine):
        if one.end is None:
            continue
        until = next((later.begin // interval for later in mine[at + 1 :] if later.begin > one.end), float("inf"))
        for tick in rows:
            if not one.end // interval < tick.number < until or tick.number in inside:
                continue
            one.answered_since += round(tick.answered)
            if failed := tick.failed + tick.limited:
                one.failed_since += round(failed)
                one.last_stray = tick.last_bad


def _answered_since(session: Session, found: Sequence[Episode], dated: str) -> None:
    """Count the answers after each host's last ended episode exactly: by them the report says that it is over."""
    last = {one.host: one for one in sorted(found, key=lambda one: one.end or 0.0) if one.end is not None}
    for host, count in answered_after(session, {host: one.end or 0.0 for host, one in last.items()}, dated).items():
        last[host].answered_since = count


def _fails_again(one: Episode, draft: Draft, facts: HostFacts) -> bool:
    """Whether the last call to a recovered host failed again, and too few were answered before it."""
    if one.end is None or one.moved_at is not None or not draft.signs & {"calls", "broken"}:
        return False
    last = facts.last_failure or 0.0
    return (
        draft.end < last
        and (facts.last_answer or 0.0) < last
        and not over_by_answers(max(draft.share, _LIKELY), one.answered_since)
    )


def _called(session: Session, interval: int, dated: str) -> Callable[[float], int]:
    """A function that returns how many hosts were being called around a time.

    A host does not count if its callers had left it before. The usual time between its calls decides that (`_GAPS`).
    """
    around = round(max(_AROUND_SECONDS, float(_AROUND * interval)))
    bucket = f"epoch_us(time) // {around * 1_000_000}"
    hosts: dict[int, set[str]] = {}
    for number, host in session.rows(f"SELECT DISTINCT {bucket}, host FROM calls WHERE {dated}"):
        hosts.setdefault(number, set()).add(host)
    until: dict[str, float] = dict(
        session.rows(f"""
            SELECT host, max({_TIME}) + {_GAPS} * (max({_TIME}) - min({_TIME})) / greatest(count(*) - 1, 1)
            FROM calls WHERE {dated} GROUP BY host""")
    )
    return lambda at: max(
        sum(until[host] + _LATE >= at for host in hosts.get(int(at // around) + before, ())) for before in (-1, 0, 1)
    )


_NOW = {
    "total": "failing",
    "partial": "failing",
    "slow": "slow",
    "broken": "broken",
    "isolated": "isolated",
    "limited": "limited",
    "hooks": "hooks failing",
}


def now(facts: HostFacts, episodes: Sequence[Episode], end: float) -> str:
    """One word for how a host is when the log ends."""
    going_on = [one.kind for one in episodes if one.end is None and one.trouble]
    for kind, word in _NOW.items():
        if kind in going_on:
            return "broken" if facts.state == "broken" and word == "failing" else word
    if facts.state != "fine":
        return facts.state
    if facts.circuit in ("open", "half-open") and not any(one.held for one in episodes):
        return facts.circuit
    if facts.moved_to:
        return "moved"
    if not facts.calls:
        return "not called"
    if facts.ramp_until is not None and end < facts.ramp_until:
        return "recovering"
    return "failing" if not facts.answered else "fine"
