"""States over time as text. A column is an interval, a lane is a host's state, its circuit's, or how much failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sleepwalker.cli import display
from sleepwalker.cli.display import Cell, RenderableType
from sleepwalker.cli.text import safe_line
from sleepwalker.inspect.model import Span
from sleepwalker.inspect.spans import CIRCUIT, worst
from sleepwalker.inspect.words import count, span, when

if TYPE_CHECKING:
    from sleepwalker.inspect import Report
    from sleepwalker.inspect.model import HostFacts, Series

_LABEL = 9
_HOSTS = 5
_FEWEST_COLUMNS, _MOST_COLUMNS = 10, 120


@dataclass(frozen=True, slots=True)
class _Marks:
    """The characters of a picture."""

    states: dict[str, str]
    bars: str
    """The share of calls that failed, from little to all."""
    none: str
    """There were calls, and none failed."""


_PRETTY = _Marks(
    {
        "fine": "─", "moved": "╌", "slow": "≈", "broken": "█", "isolated": "▓",
        "closed": "─", "would be open": "┄", "half-open": "▒", "open": "█",
    },
    "▁▂▃▄▅▆▇█", "·",
)  # fmt: skip
_ASCII = _Marks(
    {
        "fine": "-", "moved": "=", "slow": "s", "broken": "#", "isolated": "I",
        "closed": "-", "would be open": "~", "half-open": "+", "open": "#",
    },
    "12345678", ".",
)  # fmt: skip
#: The states of a host, worst last.
_HOST = ("fine", "moved", "slow", "broken", "isolated")
_STYLES = {
    "slow": "yellow",
    "broken": "red",
    "isolated": "magenta",
    "open": "red",
    "half-open": "yellow",
    "would be open": "cyan",
}


def lanes(report: Report, width: int, *, plain: bool) -> list[RenderableType]:
    """The hosts to which anything happened, worst first; empty without any."""
    marks = _ASCII if plain else _PRETTY
    columns = max(_FEWEST_COLUMNS, min(_MOST_COLUMNS, width - _LABEL - 1))
    length = max(report.end - report.begin, 0.001)
    series = {one.host: one for one in report.series if one.host is not None}
    ill = {one.host for one in report.episodes if one.trouble}
    # The sort is stable: first the hosts in trouble, then the others, each with the worst first.
    found = sorted(report.hosts, key=lambda facts: facts.host not in ill)
    found = [facts for facts in found if facts.host in ill or facts.host_spans or facts.circuit_spans or facts.failed]
    chosen, others = found[:_HOSTS], found[_HOSTS:]
    if not chosen:
        return []
    made: list[RenderableType] = [
        display.line(("over time", "bold underline"), ("  a column is ", "dim"), span(length / columns))
    ]
    seen: set[str] = set()
    for facts in chosen:
        made.append(display.folded((safe_line(facts.label), "bold")))
        host = _host(facts, report, length, columns)
        circuit = worst(facts.circuit_spans, CIRCUIT, report.begin, length, columns) if facts.circuit_spans else []
        for label, shown in (("host", host), ("circuit", circuit)):
            if shown:
                seen.update(shown)
                made.append(_lane(label, [(marks.states[state], _STYLES.get(state, "green")) for state in shown]))
        if one := series.get(facts.host):
            made.append(_lane("failing", _failing(one, report, length, columns, marks)))
    made.append(display.line(" " * (_LABEL + 1), (_scale(report, columns), "dim")))
    legend = [f"{marks.states[state]} {state}" for state in (*_HOST[1:], *CIRCUIT[1:]) if state in seen]
    legend += [f"{marks.none} no call failed", f"{marks.bars[0]} to {marks.bars[-1]} share of failed calls"]
    made.append(
        display.labelled(
            [("", "  ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in legend))], _LABEL + 1, width
        )
    )
    if rest := sum(facts.host in ill for facts in others):
        made.append(display.line((f"and {count(rest, 'more host')} in trouble; --html and --json have all", "dim")))
    return made


def _host(facts: HostFacts, report: Report, length: float, columns: int) -> list[str]:
    """Its state in each column, also slow, which no state event tells. Empty if it has no state and was never slow."""
    slow = [
        Span("slow", one.begin, report.end if one.end is None else one.end)
        for one in report.episodes
        if one.host == facts.host and one.kind == "slow"
    ]
    lanes = [worst(spans, _HOST, report.begin, length, columns) for spans in (facts.host_spans, slow) if spans]
    return [max(states, key=_HOST.index) for states in zip(*lanes, strict=True)]


def _lane(label: str, cells: Sequence[Cell]) -> RenderableType:
    return display.line((f"  {label:<{_LABEL - 1}}", "dim"), *cells)


def _failing(one: Series, report: Report, length: float, columns: int, marks: _Marks) -> list[Cell]:
    """The share of failed and rejected calls in each column: that of the worst interval that overlaps with it."""
    cells: list[Cell] = []
    for column in range(columns):
        first = int(column * length / columns / report.step)
        last = max(first, int(((column + 1) * length / columns - 1e-9) / report.step))
        shares = []
        for at in range(first, min(last, len(one.answered) - 1) + 1):
            bad, good = one.failed[at] + one.rejected[at], one.answered[at]
            if bad + good:
                shares.append(bad / (bad + good))
        if not shares:
            cells.append(" ")
        elif max(shares) == 0:
            cells.append((marks.none, "green"))
        else:
            height = min(len(marks.bars) - 1, int(max(shares) * len(marks.bars)))
            cells.append((marks.bars[height], "red"))
    return cells


def _scale(report: Report, columns: int) -> str:
    """The times at both ends and in the middle."""
    first, middle, last = (
        when(report.begin + share * (report.end - report.begin), report) for share in (0.0, 0.5, 1.0)
    )
    left = columns // 2 - len(middle) // 2 - len(first)
    right = columns - len(first) - left - len(middle) - len(last)
    return f"{first}{' ' * max(1, left)}{middle}{' ' * max(1, right)}{last}"
