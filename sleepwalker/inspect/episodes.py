"""Episodes of one host: from when until when too much failed or was slow, or its state said so. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sleepwalker.inspect.model import Outage
from sleepwalker.inspect.segments import CALLS, FEWEST, SENDS, SLOW, Count, Scale, bad_runs, total_within
from sleepwalker.inspect.ticks import Tick
from sleepwalker.inspect.trouble import Episode, Kind, Together

__all__ = ["Draft", "Evidence", "drafts", "kind_of", "over_by_answers", "together"]

#: Shares of failed calls, from which on almost nothing was answered, or callers notice at all.
_TOTAL, _NOTICED = 0.8, 0.05
#: `_TOTAL` for a host that was broken: of its few calls, the probes answered at the end may be half.
_HALF = 0.5
#: Below this share of failed calls, retries have hidden the failures from almost all callers.
_HIDDEN = 0.02
#: A run with at least this share of all that a host was sent is the host's usual state.
_ALWAYS = 0.9
#: It is over when the answers since would be less likely than this if it still went on.
_SURPRISE = 0.05
#: Hosts that fell together are at least this many, and at least this share of those that were called.
_FEWEST_TOGETHER, _MOST_OF = 3, 0.5
#: A worse part of an episode is one of its own, if the whole is longer by more than this factor and has no more than
#: this many such parts.
_LONGER, _MOST_WITHIN = 3.0, 3
#: Seconds. Calls that hang fail at their timeout, and not all in the same moment.
_SAME_MOMENT = 2.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about one host over time."""

    ticks: Sequence[Tick] = ()
    broken: Sequence[Outage] = ()
    """When its events say that it was broken."""
    isolated: Sequence[Outage] = ()
    ramps: Sequence[tuple[float, float]] = ()
    """When its load grew after its circuit closed: calls that are refused then say nothing about the host."""


@dataclass(slots=True)
class Draft:
    """An episode before its calls are counted."""

    begin: float
    end: float
    """The last evidence of it."""
    signs: set[str] = field(default_factory=set)
    """What showed it: calls, sends, slow, broken, isolated."""
    counts_go_on: bool = False
    """Whether no later interval was bad: it goes on, unless enough is answered after it."""
    state_goes_on: bool = False
    """Whether no event had ended the state when the log ended."""
    share: float = 0.0
    """The bad share of the calls or sends that showed it."""
    last_bad: float = 0.0
    """The last evidence, without that of a state."""
    well_from: float | None = None
    """When the first answered call was sent after all those that failed. Of these, hung ones end later than that."""
    always: bool = False
    """Whether it covers almost all that the host was sent: then it is not merged with shorter ones."""
    worse: bool = False
    """Whether it is the worse part of a longer one."""

    @property
    def goes_on(self) -> bool:
        """Whether it went on when the log ended, as far as the draft knows."""
        return self.counts_go_on or self.state_goes_on


def drafts(known: Evidence, interval: int, end: float) -> list[Draft]:
    """The episodes of a host, by begin. `end` is the end of the log."""
    found = [
        *_told_by(known, interval, "calls", CALLS, lambda one: _bad_calls(one, known, interval), _answered),
        *_told_by(known, interval, "sends", SENDS, lambda one: float(one.sends_failed), _answered),
        *_told_by(known, interval, "slow", SLOW, lambda one: float(one.slow), lambda one: float(one.quick - one.slow)),
        *(_of_state(one, "broken", end) for one in known.broken),
    ]
    within = _within(found, known, interval)
    taken = {id(one) for _, parts in within for one in parts}
    rest = [one for one in found if id(one) not in taken and not one.worse and not one.always]
    merged = _merged(rest, known, interval)
    for one in (one for one in found if one.always):
        alike = next((each for each in merged if _overlap(each, one, interval) and not _far_longer(one, [each])), None)
        if alike is None:
            merged.append(one)
        else:
            _merge(alike, one)
    merged += [one for one, _ in within]
    for one in merged:
        if not one.always:
            _end_with_recovery(one, known, interval)
    return sorted(
        [*merged, *(_of_state(one, "isolated", end) for one in known.isolated)],
        key=lambda one: (one.begin, -one.end),
    )


def _merged(found: Sequence[Draft], known: Evidence, interval: int) -> list[Draft]:
    merged: list[Draft] = []
    for one in sorted(found, key=lambda draft: (draft.begin, draft.end)):
        if merged and _belong_together(merged[-1], one, known.ticks, interval):
            _merge(merged[-1], one)
        else:
            merged.append(one)
    return merged


def _within(found: Sequence[Draft], known: Evidence, interval: int) -> list[tuple[Draft, list[Draft]]]:
    """Episodes of their own within a longer one: total outages in it, or something else that is wrong.

    Each comes with the drafts that it was made of.
    """
    longer = [one for one in found if not one.worse and "broken" not in one.signs]
    inner = [
        one
        for one in found
        if "broken" not in one.signs
        and any(_far_longer(each, [one]) and (one.worse or _differ(each, one)) for each in longer)
    ]
    made: list[tuple[Draft, list[Draft]]] = []
    for one in sorted(inner, key=lambda draft: (draft.begin, draft.end)):
        if made and _overlap(made[-1][0], one, interval):
            _merge(made[-1][0], one)
            made[-1][1].append(one)
        else:
            made.append((replace(one, signs=set(one.signs)), [one]))
    for state in (one for one in found if "broken" in one.signs):
        for one, parts in made:
            if _overlap(one, state, interval) and not _far_longer(state, [one]):
                _merge(one, state)
                parts.append(state)
                break
    parts_of = {id(one) for _, parts in made for one in parts}
    for outer in (one for one in longer if id(one) not in parts_of):
        mine = [one for one, _ in made if outer.begin <= one.end and one.begin <= outer.end]
        if len(mine) > _MOST_WITHIN or not _far_longer(outer, mine):
            made = [pair for pair in made if all(pair[0] is not one for one in mine)]
    for one, _ in made:
        one.worse = True
        one.counts_go_on &= all(one.end + interval >= each.end for each in longer)
    return made


def _differ(one: Draft, within: Draft) -> bool:
    """Whether what lies within another is wrong in another way, or total while the other is far from that."""
    if ("slow" in one.signs) != ("slow" in within.signs):
        return True
    return "slow" not in one.signs and within.share >= _TOTAL >= 2 * one.share


def _overlap(one: Draft, other: Draft, interval: int) -> bool:
    return one.begin <= other.end + interval and other.begin <= one.end + interval


def _far_longer(one: Draft, parts: Sequence[Draft]) -> bool:
    """Whether it overlaps with each of the parts, and is far longer than all of them together."""
    if not parts:
        return True
    inside = all(one.begin <= each.end and each.begin <= one.end for each in parts)
    return inside and one.end - one.begin > _LONGER * sum(each.end - each.begin for each in parts)


def _answered(one: Tick) -> float:
    return one.answered


def _of_state(one: Outage, sign: str, end: float) -> Draft:
    return Draft(one.since, end if one.until is None else one.until, {sign}, state_goes_on=one.until is None)


def _told_by(
    known: Evidence,
    interval: int,
    sign: str,
    scale: Scale,
    bad: Callable[[Tick], float],
    good: Callable[[Tick], float],
) -> list[Draft]:
    seen = [one for one in known.ticks if bad(one) or good(one) > 0]
    counts = [Count(one.number, bad(one), max(0.0, good(one))) for one in seen]
    runs = bad_runs(counts, scale)
    worse = {part for run in runs for part in total_within(counts, run, scale)} if sign != "slow" else set()
    made = []
    for first, stop in [*runs, *sorted(worse - set(runs))]:
        goes_on = stop == runs[-1][1]  # unless enough is answered after it
        last = max(at for at in range(first, stop + 1) if bad(seen[at]))
        begin, _ = _edges(seen[first], sign, known, interval)
        _, end = _edges(seen[last], sign, known, interval)
        end = max(begin, end)
        ill = sum(bad(one) for one in seen[first : last + 1])
        within = ill + sum(good(one) for one in seen[first : last + 1])
        part = (first, stop) in worse
        always = sign == "sends" and not part and within >= _ALWAYS * sum(bad(one) + good(one) for one in seen)
        made.append(Draft(begin, end, {sign}, goes_on, share=ill / within, last_bad=end, always=always, worse=part))
    return made


def _bad_calls(one: Tick, known: Evidence, interval: int) -> float:
    """Calls that were not answered. Refusals by an isolation count only if the log has no events of the isolation."""
    bad = one.failed + one.limited
    if not known.isolated:
        bad += one.isolated
    return bad + (one.shut if _means_shut(one, known, interval) else 0.0)


def _means_shut(one: Tick, known: Evidence, interval: int) -> bool:
    """Whether refusals by the circuit show that the host is ill: not during a ramp."""
    begin = one.number * interval
    return bool(one.shut) and not any(since < begin + interval and until > begin for since, until in known.ramps)


def _edges(one: Tick, sign: str, known: Evidence, interval: int) -> tuple[float, float]:
    """The first and the last bad moment of an interval."""
    moments = [one.first_bad, one.last_bad]
    if sign == "slow":
        moments = [one.first_slow, one.last_slow]
    elif sign == "calls" and _means_shut(one, known, interval):
        moments += [one.first_shut, one.last_shut]
    times = [at for at in moments if at is not None] or [float(one.number * interval)]
    return min(times), max(times)


def _belong_together(earlier: Draft, later: Draft, ticks: Sequence[Tick], interval: int) -> bool:
    """Whether they touch, or nothing was answered between them."""
    if later.begin <= earlier.end + interval:
        return True
    if "slow" in earlier.signs | later.signs:
        return False
    return not any(one.last_good is not None and earlier.end < one.last_good < later.begin for one in ticks)


def _merge(one: Draft, later: Draft) -> None:
    """Merge `later` into `one`. An event of the recovery ends what by its counts alone would go on."""
    last, first = (later, one) if later.end >= one.end else (one, later)
    told = last.signs == {"broken"} and not last.state_goes_on
    one.counts_go_on = last.counts_go_on or (first.counts_go_on and not told)
    one.state_goes_on = one.state_goes_on or later.state_goes_on
    one.begin, one.end = min(one.begin, later.begin), last.end
    one.share = max(one.share, later.share)
    one.last_bad = max(one.last_bad, later.last_bad)
    one.signs |= later.signs


def _end_with_recovery(one: Draft, known: Evidence, interval: int) -> None:
    """Move the end back to the recovery, if only stray failures followed it, and an answer followed those."""
    ends = [state.until for state in known.broken if one.begin <= state.since <= one.end]
    if not ends or None in ends:
        return
    recovered = max(end for end in ends if end is not None)
    failed = sum(
        max(_bad_calls(tick, known, interval), tick.sends_failed)
        for tick in known.ticks
        if recovered < _edges(tick, "calls", known, interval)[1] <= one.end
    )
    answered = any(tick.last_good is not None and tick.last_good > one.last_bad for tick in known.ticks)
    if one.end > recovered and failed < FEWEST and answered:
        one.end = one.last_bad = recovered
        one.counts_go_on = False


def over_by_answers(share: float, answered: int) -> bool:
    """Whether this many answers in a row since the last failure would be a surprise if that share still failed."""
    return answered > 0 and bool((1 - min(share, 1 - _SURPRISE)) ** answered <= _SURPRISE + 1e-9)


def kind_of(one: Episode, draft: Draft, limited: int) -> Kind:
    """What was wrong, once its calls are counted."""
    share, signs = one.share or 0.0, draft.signs
    if "isolated" in signs:
        return "isolated"
    if draft.worse and signs == {"slow"}:
        return "slow"
    if hangs(one, draft):
        return "total"
    if draft.always and share < _NOTICED:
        # If retries hide it from almost all callers, it is worth a note, and no more.
        return "retried" if one.failed < FEWEST or share < _HIDDEN else "partial"
    if "calls" in signs and limited * 2 >= one.failed > 0:
        return "limited"
    if share >= (_HALF if one.broken else _TOTAL):
        return "total"
    if "calls" in signs or share >= _NOTICED:
        return "partial"
    if "slow" in signs:
        return "slow"
    if "sends" in signs:
        return "retried" if one.failed < FEWEST else "partial"
    return "broken"


def hangs(one: Episode, draft: Draft) -> bool:
    """Whether it goes on and almost no call has ended since it began, none of them saved by a retry."""
    return (
        draft.counts_go_on
        and "sends" in draft.signs
        and not one.saved
        and one.failed < FEWEST <= one.sends_failed
        and one.sends_failed >= _TOTAL * one.sends
    )


def together(episodes: Sequence[Episode], called: Callable[[float], int], interval: int) -> list[Together]:
    """Episodes of several hosts that began within an interval or so. `called` tells how many were called at a time."""
    near = max(float(interval), _SAME_MOMENT)
    made: list[Together] = []
    for ill in ({"total", "partial", "broken"}, {"slow"}):
        waiting = sorted((at for at, one in enumerate(episodes) if one.kind in ill), key=lambda at: episodes[at].begin)
        while waiting:
            begin = episodes[waiting[0]].begin
            numbers = _fell([(at, episodes[at]) for at in waiting], begin + near)
            of_hosts = max(called(begin), len(numbers)) if len(numbers) >= _FEWEST_TOGETHER else 0
            if of_hosts and len(numbers) >= _MOST_OF * of_hosts:
                ends = [episodes[at].end for at in numbers]
                last = None if None in ends else max(one for one in ends if one is not None)
                made.append(Together(begin, last, tuple(episodes[at].host for at in numbers), of_hosts, tuple(numbers)))
                waiting = [at for at in waiting if at not in numbers]
            else:
                waiting = waiting[1:]
    return sorted(made, key=lambda one: one.begin)


def _fell(waiting: Sequence[tuple[int, Episode]], until: float) -> list[int]:
    """The episodes that had begun by `until`, one per host, and later ones of hosts that are seldom called.

    A later one counts if its host was last answered by `until`, and it began before all the others were back.
    """
    found: dict[str, int] = {}
    over = 0.0
    for at, one in waiting:
        late = one.begin > until
        if late and (one.last_good is None or one.last_good > until or one.begin > over):
            continue
        if one.host not in found:
            found[one.host] = at
            over = max(over, float("inf") if one.end is None else one.end)
    return sorted(found.values())
