"""The demo's conclusions in sentences: what was gained, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sleepwalker.cli.demo.move import MOVING, Move
from sleepwalker.cli.demo.plan import PLAIN_TIMEOUT, SIDES, Course, Side
from sleepwalker.cli.summary import Summary
from sleepwalker.cli.text import count, seconds

#: The least difference in seconds between the ends of the two sides that is reported.
_NOTEWORTHY = 0.1

Summaries = Mapping[str, Mapping[Side, Summary]]


def conclusions(
    course: Course,
    summaries: Summaries,
    transitions: Sequence[Mapping[str, Any]],
    rejected_at: Sequence[tuple[float, str]],
    done_after: Mapping[Side, float],
    move: Move,
) -> list[str]:
    """The sentences, a line each. All numbers in them are measured."""
    lines = [_answers(summaries)]
    if waited := _waiting(course, summaries, done_after):
        lines.append(waited)
    if opened := _breaker(course, summaries, transitions):
        lines.append(opened)
    lines.append(move.sentence(summaries[MOVING]["sleepwalker"], summaries[MOVING]["requests"]))
    lines.append(_cost(course, summaries, rejected_at))
    return lines


def _sum(summaries: Summaries, side: Side, field: str) -> int:
    return sum(getattr(sides[side], field) for sides in summaries.values())


def _answers(summaries: Summaries) -> str:
    summaries = {
        name: sides for name, sides in summaries.items() if name != MOVING
    }  # requests was not told the new address
    calls = _sum(summaries, "sleepwalker", "calls")
    ours, theirs = _sum(summaries, "sleepwalker", "answered"), _sum(summaries, "requests", "answered")
    difference = f"{ours - theirs} more" if ours > theirs else f"{theirs - ours} fewer" if theirs > ours else "as many"
    return (
        f"Answered, all hosts but moves: {ours} of {calls} calls through sleepwalker, {theirs} through plain "
        f"requests: {difference}."
    )


def _waiting(course: Course, summaries: Summaries, done_after: Mapping[Side, float]) -> str | None:
    ours, theirs = (summaries["drips"][side].longest or 0.0 for side in SIDES)
    parts = []
    if theirs >= course.drip / 2:  # else no body dripped, by chance, and there was nothing to wait for
        parts.append(f"the slowest call to drips took {seconds(ours)}, and {seconds(theirs)} through plain requests")
    if abs(done_after["sleepwalker"] - done_after["requests"]) >= _NOTEWORTHY:
        after = [seconds(done_after[side]) for side in SIDES]
        parts.append(f"all calls ended after {after[0]}, and after {after[1]} through plain requests")
    if not parts:
        return None
    text = f"Waiting: {'; '.join(parts)}."
    if theirs > PLAIN_TIMEOUT:
        text += f" (timeout={PLAIN_TIMEOUT} limits the silence between two bytes, not the call.)"
    return text


def _breaker(course: Course, summaries: Summaries, transitions: Sequence[Mapping[str, Any]]) -> str | None:
    steps = [what for what in transitions if what["host"] == "dies"]
    if not steps:
        return None
    moves = ", ".join(f"{what['to']} at {what['at']:.1f} s" for what in steps)
    text = f"Circuit: dies was down from {course.down_at:g} to {course.back_at:g} s; its circuit was {moves}."
    vain = _in_vain(summaries["dies"]["sleepwalker"])
    theirs = summaries["dies"]["requests"].failed
    text += f" {count(vain, 'request')} to it failed, and {theirs} through plain requests."
    patient = summaries["reboots"]["sleepwalker"]
    return (
        f"{text} reboots was down as long, but its policy is batch, which waits: {patient.answered} of "
        f"{patient.calls} calls were answered."
    )


def _in_vain(numbers: Summary) -> int:
    """Failed attempts: every retry follows one, and a failed call ends in one."""
    return numbers.retries + numbers.failed


def _cost(course: Course, summaries: Summaries, rejected_at: Sequence[tuple[float, str]]) -> str:
    calls, retries = _sum(summaries, "sleepwalker", "calls"), _sum(summaries, "sleepwalker", "retries")
    rejected = _sum(summaries, "sleepwalker", "rejected")
    late = sum(at > course.back_at for at, host in rejected_at if host == "dies")
    text = f"Cost: {count(retries, 'retry', 'retries')} for {calls} calls"
    if rejected:
        text += f"; {count(rejected, 'call')} rejected without being sent, {late} of them after dies was back"
    text += f"; calls to reboots took up to {seconds(summaries['reboots']['sleepwalker'].longest)}"
    ours, theirs = summaries["healthy"]["sleepwalker"].p50, summaries["healthy"]["requests"].p50
    if ours is None or theirs is None:
        return text + "."
    more = (ours - theirs) * 1000
    took = f"{more:.1f} ms longer" if more >= 0.05 else f"{-more:.1f} ms shorter" if more <= -0.05 else "as long"
    return f"{text}; the median call to healthy took {took}."
