"""The state of a host and of its circuit over time, from their events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sleepwalker.inspect.model import HostFacts, Outage, Span

__all__ = ["CIRCUIT", "HOST", "Process", "Transition", "coarse", "describe", "processes", "restarts", "worst"]

#: States, worst last. If processes differ, or a column of a chart holds several states, the worst one counts.
HOST = ("fine", "moved", "broken", "isolated")
CIRCUIT = ("closed", "would be open", "half-open", "open")

#: Stands for a time: a circuit that other workers opened lets a probe through when it is this worker's turn.
_SHARED = float("inf")

#: For each event: whose state it sets, the new state, and what the state must have been before.
_TELLS = {
    "host.broken": ("host", "broken", "fine"),
    "host.recovered": ("host", "fine", "broken"),
    "host.isolated": ("isolation", "isolated", "fine"),
    "host.restored": ("isolation", "fine", "isolated"),
    "breaker.opened": ("circuit", "open", "closed"),
    "breaker.half_opened": ("circuit", "half-open", "open"),
    "breaker.closed": ("circuit", "closed", "half-open"),
}


@dataclass(frozen=True, slots=True)
class Transition:
    """One of these events."""

    time: float
    event: str
    process: int
    cause: str | None
    reason: str | None
    broken_for: float | None
    observed: bool
    rule: str | None
    lasts: float | None
    """Seconds for which a circuit opened, or for which its load grows after it closed."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that wrote events."""

    number: int
    began: float
    """The time of its first event."""
    gone: float | None
    """The time of its last event, if another process took its place after that. The states that it held end then."""


def processes(periods: Sequence[tuple[int, int | None, float, float]]) -> dict[tuple[int, int | None], Process]:
    """The process behind each file and pid. `periods` has the file, the pid, and the times of its first and last event.

    Files of one pid that follow each other, as after a rotation, are of one process. If they overlap in time, they are
    of several, for example of containers that each have a process 1. The same holds for files without a pid.
    """
    found: dict[tuple[int, int | None], int] = {}
    lives: list[tuple[float, float]] = []
    for pid in sorted({pid for _, pid, *_ in periods}, key=lambda pid: (pid is not None, pid)):
        mine = [one for one in periods if one[1] == pid]
        for places in _in_turn([(begin, end) for *_, begin, end in mine]):
            for at in places:
                found[mine[at][:2]] = len(lives)
            lives.append((mine[places[0]][2], mine[places[-1]][3]))
    gone = {turn[at]: lives[turn[at]][1] for turn in _in_turn(lives) for at in range(len(turn) - 1)}
    return {key: Process(number, lives[number][0], gone.get(number)) for key, number in found.items()}


def _in_turn(periods: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Lists of the indexes of periods that follow each other: each follows the one that had ended last."""
    turns: list[list[int]] = []
    for number in sorted(range(len(periods)), key=lambda number: periods[number]):
        over = [turn for turn in turns if periods[turn[-1]][1] <= periods[number][0]]
        if over:
            max(over, key=lambda turn: periods[turn[-1]][1]).append(number)
        else:
            turns.append([number])
    return turns


def restarts(transitions: Sequence[Transition]) -> list[tuple[int, float]]:
    """Transitions that break a host again although nothing had ended before, as after a restart of its process.

    Each is the index of the transition, and the time of the one before it: the end lies between them. A circuit that
    opens again because a probe failed does not count.
    """
    found: list[tuple[int, float]] = []
    states: dict[tuple[str, int, bool], str] = {}
    seen: dict[int, list[Transition]] = {}
    for number, one in enumerate(transitions):
        whose, state, _ = _TELLS[one.event]
        earlier = seen.setdefault(one.process, [])
        lane = whose, one.process, one.observed
        begins = one.event == "host.broken" or (one.event == "breaker.opened" and one.rule != "probe")
        if begins and states.get(lane) in ("broken", "open", "half-open"):
            # `breaker.opened` and the `host.broken` after it belong together.
            same = one.event == "host.broken" and earlier[-1].event == "breaker.opened" and earlier[-1].rule != "probe"
            found.append((number, earlier[-2 if same and len(earlier) > 1 else -1].time))
        states[lane] = state
        earlier.append(one)
    return found


def describe(
    facts: HostFacts,
    transitions: Sequence[Transition],
    begin: float,
    end: float,
    alive: Mapping[int, float],
    began: Mapping[int, float],
    gone: Mapping[str, Mapping[int, float]],
    in_fleet: Collection[int] = (),
) -> tuple[list[Outage], list[Outage]]:
    """Fill in the host's states and outages from its transitions, which are ordered by time.

    Returns the times in which the host was broken, and those in which it was isolated.

    `alive`: for each transition of `restarts`, when the host was known to be well again before it. `began`: when each
    process began. `gone`: for each of `host`, `isolation` and `circuit`, when the state of a process ended because the
    process was replaced, or because another one ended it for all. `in_fleet`: the processes that hear from other
    workers when the log ends.
    """
    broken, isolated, circuit = (
        _lanes(whose, transitions, begin, alive, began, gone[whose]) for whose in ("host", "isolation", "circuit")
    )
    facts.host_spans = _merge([*broken, *isolated], HOST, begin, end)
    facts.circuit_spans = _merge(circuit, CIRCUIT, begin, end)
    waiting: dict[int, float] = {}
    for one in transitions:
        if one.event == "breaker.opened" and one.time >= begin:
            facts.would_open += bool(one.observed)
            facts.opened += not one.observed
        if not one.observed:
            _take_times(facts, one, waiting)
    # In a fleet, workers try the host for each other: the end of one circuit's open time is not when it is tried.
    open_in = waiting.keys() - gone["circuit"].keys()
    shared = {process for process in open_in if waiting[process] == _SHARED or process in in_fleet}
    facts.next_try = min((waiting[process] for process in open_in - shared), default=None)
    if facts.host_spans:
        facts.state = facts.host_spans[-1].state  # type: ignore[assignment]
    if facts.circuit_spans:
        facts.circuit = facts.circuit_spans[-1].state  # type: ignore[assignment]
    if facts.circuit != "open":
        facts.next_try = None
    facts.in_turn = facts.circuit in ("open", "half-open") and bool(shared)
    facts.outages = list(_outages(facts.host_spans, transitions))
    return (
        list(_outages(_merge(broken, HOST, begin, end), transitions)),
        list(_outages(_merge(isolated, HOST, begin, end), transitions)),
    )


def _lanes(
    whose: str,
    transitions: Sequence[Transition],
    begin: float,
    alive: Mapping[int, float],
    began: Mapping[int, float],
    gone: Mapping[int, float],
) -> list[list[tuple[float, str]]]:
    """For each process, since when each state of the host, of its isolation or of its circuit holds."""
    lanes: dict[int, list[tuple[float, str]]] = {}
    seen: set[int] = set()
    for number, one in enumerate(transitions):
        target, state, before = _TELLS[one.event]
        if target != whose:
            continue
        if one.observed:
            state, before = _dry(state), _dry(before)
        lane = lanes.setdefault(one.process, _first(one, _before(one, before), begin, began.get(one.process, begin)))
        if one.broken_for is not None and one.process not in seen and one.time - one.broken_for > begin:
            lane[:] = [(begin, "fine"), (one.time - one.broken_for, "broken")]
        if number in alive:
            lane.append((alive[number], before))
        seen.add(one.process)
        lane.append((one.time, state))
    for process, lane in lanes.items():
        if process in gone:
            lane.append((max(gone[process], lane[-1][0]), CIRCUIT[0] if whose == "circuit" else HOST[0]))
    return list(lanes.values())


def _first(one: Transition, state: str, begin: float, began: float) -> list[tuple[float, str]]:
    """The states of a lane before its first transition. Until the process begins, all is well."""
    if one.time >= began > begin:
        return [(begin, CIRCUIT[0] if one.event.startswith("breaker.") else HOST[0]), (began, state)]
    return [(min(begin, one.time), state)]


def _take_times(facts: HostFacts, one: Transition, waiting: dict[int, float]) -> None:
    """Note when a host recovered, when its ramp ends, and when each of its open circuits lets a probe through."""
    if one.event in ("breaker.opened", "host.broken"):
        facts.recovered_at = facts.ramp_until = None
    if one.event.startswith("breaker."):
        waiting.pop(one.process, None)
    if one.event == "breaker.opened" and one.lasts is not None:
        waiting[one.process] = _SHARED if one.rule == "fleet" else one.time + one.lasts
    if one.event == "breaker.closed":
        facts.ramp_until = None if one.lasts is None else one.time + one.lasts
    if one.event in ("breaker.closed", "host.recovered"):
        facts.recovered_at = one.time


def _dry(state: str) -> str:
    """The name of a state in a dry run, in which an open circuit lets everything through."""
    return "closed" if state == "closed" else "would be open"


def _before(one: Transition, usual: str) -> str:
    return "broken" if one.event == "host.recovered" else usual


def _merge(lanes: Sequence[Sequence[tuple[float, str]]], states: Sequence[str], begin: float, end: float) -> list[Span]:
    """One lane made of several: at any time the worst of their states."""
    if not lanes:
        return []
    changes = sorted(
        (time, lane, number) for lane, points in enumerate(lanes) for number, (time, _) in enumerate(points)
    )
    now = [0] * len(lanes)
    spans: list[Span] = []
    state, since = states[0], begin
    for time, lane, number in changes:
        now[lane] = states.index(lanes[lane][number][1])
        worst = states[max(now)]
        if worst != state:
            if time > since:
                spans.append(Span(state, since, time))
            state, since = worst, max(time, begin)
    spans.append(Span(state, since, max(end, since)))
    return spans


def _outages(spans: Sequence[Span], transitions: Sequence[Transition]) -> Iterable[Outage]:
    begins = [one for one in transitions if one.event in ("host.broken", "host.isolated")]
    for number, span in enumerate(spans):
        if span.state == HOST[0]:
            continue
        # The event that began it may lie before the period, or be missing.
        event = f"host.{span.state}"
        first = next((one for one in reversed(begins) if one.event == event and one.time <= span.since), None)
        why = "isolated" if span.state == "isolated" else (first.reason if first else None) or "breaker"
        last = number == len(spans) - 1
        yield Outage(span.since, None if last else span.until, why, first.cause if first else None)  # type: ignore[arg-type]


def worst(spans: Sequence[Span], states: Sequence[str], begin: float, length: float, columns: int) -> list[str]:
    """The worst state in each of `columns` equal intervals, so that short states are not overlooked."""
    found = [0] * columns
    for one in spans:
        rank = states.index(one.state)
        first, last = ((time - begin) / length * columns for time in (one.since, one.until))
        # A span that ends where an interval begins is not in that interval, unless it is nothing else.
        end = int(last) - 1 if last == int(last) and int(last) > int(first) else int(last)
        for column in range(max(int(first), 0), min(end, columns - 1) + 1):
            found[column] = max(found[column], rank)
        if int(first) >= columns:
            found[-1] = max(found[-1], rank)
    return [states[rank] for rank in found]


def coarse(spans: Sequence[Span], states: Sequence[str], begin: float, end: float, most: int) -> list[Span]:
    """The spans; if there are more than `most` of them, those of the worst state in each of `most` equal intervals."""
    if len(spans) <= most:
        return list(spans)
    width = (end - begin) / most
    merged: list[Span] = []
    for column, state in enumerate(worst(spans, states, begin, end - begin, most)):
        since = begin + column * width
        if merged and merged[-1].state == state:
            merged[-1] = Span(state, merged[-1].since, since + width)
        else:
            merged.append(Span(state, since, since + width))
    return merged
