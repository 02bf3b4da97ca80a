"""Calls and errors of the last 15 minutes: as a line, as numbers, and as a sentence for screen readers."""

from __future__ import annotations

from collections.abc import Sequence

from sleepwalker.engine import HostHealth, Recent
from sleepwalker.status.words import DASH, ago, plural, rate

#: How many intervals the line shows, and how high it is, in the units of the drawing.
_INTERVALS, _HEIGHT = 60, 24
#: Intervals for the current rate: the running one alone has too few calls, so the one before counts as well.
_LATEST = 2


def calls_per_second(recent: Recent, taken: float) -> float:
    """Recent calls a second, over the elapsed time of the current interval and the one before."""
    if recent.began is None:
        return 0.0
    kept = min(_LATEST, len(recent.calls))
    began = recent.began + (len(recent.calls) - kept) * recent.seconds
    return sum(recent.calls[-kept:]) / max(1.0, taken - began)


def activity(health: HostHealth, taken: float) -> str:
    """The cell of a host: calls a second, errors, and the line."""
    recent = health.recent
    if recent.began is None:
        return DASH
    now, errors = rate(calls_per_second(recent, taken)), sum(recent.errors)
    shown = f"<small>{plural(errors, 'error')}</small>" if errors else ""
    return f"<b>{now}</b>{_drawn(recent, _sentence(recent, now, taken))}{shown}"


def _sentence(recent: Recent, now: str, taken: float) -> str:
    peak = max(recent.calls) / recent.seconds
    words = f"{now} now, at most {rate(peak)} in the last 15 minutes; "
    latest = next((place for place in reversed(range(len(recent.errors))) if recent.errors[place]), None)
    if latest is None or recent.began is None:
        return words + "no errors"
    when = ago(recent.began + (latest + 1) * recent.seconds, taken)
    return f"{words}{plural(sum(recent.errors), 'error')}, the latest {when}"


def _drawn(recent: Recent, sentence: str) -> str:
    """Both lines at the same scale. The running interval is not drawn until it is over: it would look like a drop."""
    calls, errors = recent.calls, recent.errors
    if len(calls) > 1:
        calls, errors = calls[:-1], errors[:-1]
    top = max(*calls, *errors, 1)
    first = _INTERVALS - len(calls)
    lines = f'<path class="calls" d="{_path(calls, first, top)}"/>'
    if any(errors):
        lines += f'<path class="errors" d="{_path(errors, first, top)}"/>'
    return (
        f'<svg class="line" viewBox="0 0 {_INTERVALS} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{sentence}">{lines}</svg>'
    )


def _path(counts: Sequence[int], first: int, top: int) -> str:
    """A step for each interval, so that a single bad interval is as wide as any other."""
    base = height = _HEIGHT
    steps = []
    for place, count in enumerate((*counts, 0), first):
        here = base - (max(2, round(count / top * (base - 1))) if count else 0)
        if here != height:
            steps.append(f"M{place} {base}V{here}" if height == base else f"H{place}V{here}")
            height = here
    return "".join(steps)
