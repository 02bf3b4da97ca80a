"""What the demo shows: the state of the traffic while it runs, then the table and the conclusions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sleepwalker.cli import display
from sleepwalker.cli.demo.conclusions import Summaries, conclusions
from sleepwalker.cli.demo.move import MOVING, Move
from sleepwalker.cli.demo.plan import HOSTS, PLAIN_TIMEOUT, SIDES, Course, Side
from sleepwalker.cli.summary import Summary, summarise
from sleepwalker.cli.text import seconds
from sleepwalker.cli.traffic import Lane
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    ConnectionHooked,
    Event,
    Level,
    RequestRejected,
)

Lanes = Mapping[Side, Mapping[str, Lane]]

_HEADERS = ("host", "through", "calls", "answered", "failed", "rejected", "retries", "breaker", "p50", "p95")


class Report:
    """Follows one run."""

    def __init__(self, course: Course, lanes: Lanes) -> None:
        self.course = course
        self.transitions: list[dict[str, Any]] = []
        """What the breakers did: `at` (seconds since the traffic began), `host`, `to`, and why it opened."""
        self.rejected_at: list[tuple[float, str]] = []
        """For each rejected call, when (seconds since the traffic began), and its host."""
        self.move: Move = Move(course.move_at, self.elapsed)
        self.done_after: dict[Side, float] = {}
        """Seconds until all calls of a side were done."""
        self._lanes = lanes
        self._names: dict[str, str] = {}
        """The names of hosts, by the origins that the hook found for them."""
        self._begin = 0.0
        self._took: float | None = None

    def begin(self) -> None:
        """Note that the traffic begins now."""
        self._begin = SYSTEM_CLOCK.monotonic()

    def end(self) -> None:
        """Note that nothing runs any more."""
        self._took = self.elapsed()
        for side in SIDES:
            self.done_after.setdefault(side, self._took)

    def elapsed(self) -> float:
        """Seconds since the traffic began."""
        return SYSTEM_CLOCK.monotonic() - self._begin if self._begin else 0.0

    def lanes(self) -> Iterator[Lane]:
        """The lanes of both sides."""
        for side in SIDES:
            yield from self._lanes[side].values()

    def running(self) -> bool:
        """Whether any side is still running. Notes when a side is done."""
        for side in SIDES:
            if side not in self.done_after and not any(lane.running() for lane in self._lanes[side].values()):
                self.done_after[side] = self.elapsed()
        return len(self.done_after) < len(SIDES)

    def observe(self, event: Event, _level: Level | None = None, /) -> None:
        """Note an event of the manager or its connections, from any thread."""
        if isinstance(event, ConnectionHooked) and event.target is not None:
            self._names[event.target] = event.host
        at, host = self.elapsed(), self._names.get(event.host, event.host)
        if host == MOVING:
            self.move.observe(event)
        match event:
            case BreakerOpened():
                why = {"rule": event.rule, "cause": event.cause, "open_for": round(event.open_for, 3)}
                self.transitions.append({"at": at, "host": host, "to": "open", **why})
            case BreakerHalfOpened():
                self.transitions.append({"at": at, "host": host, "to": "half-open"})
            case BreakerClosed():
                self.transitions.append({"at": at, "host": host, "to": "closed"})
            case RequestRejected():
                self.rejected_at += [(at, host)] * (event.count or 1)

    def summaries(self, *, final: bool) -> Summaries:
        """The numbers by host and side. `final`: with the calls that were never sent."""
        return {
            host.name: {
                side: summarise(lane.calls, lane.total if final else None)
                for side in SIDES
                for lane in (self._lanes[side][host.name],)
            }
            for host in HOSTS
        }

    def introduction(self) -> display.RenderableType:
        """What is about to happen."""
        course = asdict(self.course)
        rows = [(host.name, host.about.format(**course), f"{host.rate:g}/s", host.policy) for host in HOSTS]
        headers = ("host", "what it does", "calls", "policy")
        title = (
            "Six servers on 127.0.0.1, called through sleepwalker and, at the same time and "
            f"rate, through plain requests with timeout={PLAIN_TIMEOUT}:\n"
        )
        return display.stacked(title, display.table(headers, rows, words=(*headers[:2], headers[3])), "")

    def picture(self) -> display.RenderableType:
        """The current state, to be drawn again and again."""
        note = f"{self.elapsed():4.1f} s{self._situation()}"
        done, planned = sum(len(lane.calls) for lane in self.lanes()), sum(lane.total for lane in self.lanes())
        return display.stacked(self._table(final=False), "", display.progress(note, done, planned, self.elapsed()))

    def line(self) -> str:
        """The current state in one line."""
        parts = []
        for side in SIDES:
            if side in self.done_after:
                parts.append(f"{side} is done")
                continue
            now = summarise(call for lane in self._lanes[side].values() for call in lane.calls)
            rejected = f", {now.rejected} rejected" if side == "sleepwalker" else ""
            parts.append(f"{side} {now.answered} ok, {now.failed} failed{rejected}")
        return f"{self.elapsed():4.0f} s  {' | '.join(parts)}"

    def result(self) -> display.RenderableType:
        """The table and the conclusions."""
        return display.stacked(self._table(final=True), "", *self._conclusions(self.summaries(final=True)))

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready values."""
        summaries = self.summaries(final=True)
        return {
            "duration": round(self._took or self.elapsed(), 3),
            "course": asdict(self.course),
            "done_after": {side: round(after, 3) for side, after in self.done_after.items()},
            "hosts": [
                {"name": host.name, "policy": host.policy}
                | {side: summaries[host.name][side].to_dict() for side in SIDES}
                for host in HOSTS
            ],
            "transitions": [{**what, "at": round(what["at"], 3)} for what in self.transitions],
            "move": self.move.to_dict(),
            "conclusions": self._conclusions(summaries),
        }

    def _conclusions(self, summaries: Summaries) -> list[str]:
        return conclusions(self.course, summaries, self.transitions, self.rejected_at, self.done_after, self.move)

    def _situation(self) -> str:
        if self.elapsed() < self.course.down_at:
            return ""
        if self.elapsed() < self.course.back_at:
            moved = ", moves has moved" if self.elapsed() >= self.course.move_at else ""
            return f": dies and reboots are down{moved}"
        return "" if "sleepwalker" not in self.done_after else ": sleepwalker is done, plain requests is still waiting"

    def _table(self, *, final: bool) -> display.RenderableType:
        rows: list[list[display.Cell]] = []
        for name, sides in self.summaries(final=final).items():
            moves = sum(what["host"] == name for what in tuple(self.transitions))
            rows.append([(name, "bold"), *_cells("sleepwalker", sides["sleepwalker"], str(moves))])
            rows.append(["", *_cells("requests", sides["requests"], "-")])
        return display.table(_HEADERS, rows, words=_HEADERS[:2], every=2, tight=True, keys=2)


def _cells(side: Side, numbers: Summary, moves: str) -> list[display.Cell]:
    ours = side == "sleepwalker"
    return [
        side,
        str(numbers.calls),
        (str(numbers.answered), "green" if numbers.answered == numbers.calls else ""),
        (str(numbers.failed), "red" if numbers.failed else ""),
        (str(numbers.rejected), "yellow" if numbers.rejected else "") if ours else "-",
        str(numbers.retries) if ours else "-",
        moves,
        seconds(numbers.p50),
        seconds(numbers.p95),
    ]
