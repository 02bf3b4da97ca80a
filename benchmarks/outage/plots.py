"""The plots of a result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.outage import group_plots, svg
from benchmarks.outage.figures import Run, repeated, runs
from benchmarks.outage.svg import Point

_WIDTH = 820
_LEFT, _RIGHT, _TOP = 200, 660, 124
_PANEL, _GAP = 74, 16


@dataclass(frozen=True, slots=True)
class _Panel:
    """One client's series over time, as areas on top of each other, with what is said beside it."""

    name: str
    layers: Sequence[tuple[str, Sequence[Point]]]
    """The kind of each layer, and its upper edge: seconds and figures."""
    notes: Sequence[str]


def plots(result: Mapping[str, Any]) -> dict[str, str]:
    """SVG files by name: those whose scenarios and clients the result has."""
    found = runs(result)
    drawn: dict[str, str] = {}
    if outage := _all(
        found,
        "outage",
        ["requests + urllib3.Retry", "requests + tenacity + pybreaker", "sleepwalker", "sleepwalker, probing"],
    ):
        drawn["load"] = _load(outage)
    if outage := _all(
        found, "outage", ["requests", "requests + tenacity + pybreaker", "sleepwalker", "sleepwalker, open_max=2"]
    ):
        drawn["success"] = _success(outage)
    if tail := _all(
        found, "tail", ["requests + tenacity + pybreaker", "requests", "sleepwalker", "sleepwalker, hedging"]
    ):
        drawn["tail"] = _tail(tail)
    if hang := _all(
        found,
        "hang",
        ["requests + urllib3.Retry", "requests + tenacity + pybreaker", "sleepwalker", "sleepwalker, slow_call=1"],
    ):
        drawn["hang"] = _hang(hang)
    several = repeated(result)
    for name, plot in {"partial": group_plots.partial, "returns": group_plots.outages}.items():
        if text := plot(several):
            drawn[name] = text
    return drawn


def _all(found: Mapping[str, Mapping[str, Run]], scenario: str, clients: Sequence[str]) -> list[Run]:
    there = found.get(scenario, {})
    return [there[client] for client in clients] if set(clients) <= there.keys() else []


def _load(clients: Sequence[Run]) -> str:
    scenario = clients[0].scenario
    panels = []
    for run in clients:
        series = run.reached_series()
        panels.append(
            _Panel(
                run.client,
                [
                    ("bad", [(second, good + bad) for second, good, bad in series]),
                    ("own", [(second, good) for second, good, _ in series]),
                ],
                [f"{run.amplification:.2f}", "requests per call", "during the outage"],
            )
        )
    return _panels(
        f"What reaches a server that answers 503 for {_length(clients[0]):g} s",
        f"Requests per second at the server; each client makes {scenario.rate:g} calls per second (dashed)",
        clients[0],
        panels,
        ticks=[0, scenario.rate, 3 * scenario.rate],
        made=scenario.rate,
        key=[("own", "answered well"), ("bad", "answered 503")],
    )


def _success(clients: Sequence[Run]) -> str:
    panels = [
        _Panel(
            run.client,
            [
                ("bad", [(second, 100.0) for second, _ in run.success_series()]),
                ("own", [(second, 100 * share) for second, share in run.success_series()]),
            ],
            _recovery(run),
        )
        for run in clients
    ]
    return _panels(
        f"Calls that are answered, before, during and after {_length(clients[0]):g} s of 503",
        "Percent of the calls made",
        clients[0],
        panels,
        ticks=[0, 50, 100],
        key=[("own", "answered"), ("bad", "failed")],
    )


def _recovery(run: Run) -> list[str]:
    after = "not in time" if run.recovery is None else f"{run.recovery:.1f} s"
    return [after, "until 99 % are", "answered again"]


def _hang(clients: Sequence[Run]) -> str:
    panels = [_Panel(run.client, [("own", run.in_flight(0.25))], _waiting(run)) for run in clients]
    most = max(run.most_in_flight for run in clients)
    top = math.ceil(most / 100) * 100 if most > 20 else 20
    return _panels(
        f"Calls that wait for a host that accepts connections and never answers, for {_length(clients[0]):g} s",
        f"Waiting threads of the application; it makes {clients[0].scenario.rate:g} calls per second",
        clients[0],
        panels,
        ticks=[0, top // 2, top],
    )


def _waiting(run: Run) -> list[str]:
    return [str(run.most_in_flight), "calls waiting", "at most"]


def _panels(
    title: str,
    subtitle: str,
    like: Run,
    panels: Sequence[_Panel],
    *,
    ticks: Sequence[float],
    made: float | None = None,
    key: Sequence[tuple[str, str]] = (),
) -> str:
    """Panels below each other with one time axis; its zero is the fault's begin, and the fault is shaded."""
    begin, end = like.scenario.fault
    seconds = like.scenario.seconds
    top = max([*ticks, *(figure for panel in panels for _, points in panel.layers for _, figure in points)])
    x = _scale(0, seconds, _LEFT, _RIGHT)
    bottom = _TOP + len(panels) * (_PANEL + _GAP)
    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    parts.append(svg.rectangle((x(begin), _TOP - 18), x(end) - x(begin), bottom - _TOP + 10, "band"))
    parts.append(svg.text((x(begin) + x(end)) / 2, _TOP - 4, "outage", "soft small", "middle"))
    place = float(_LEFT)
    for kind, words in key:
        parts.append(svg.rectangle((place, 74), 11, 11, kind))
        parts.append(svg.text(place + 17, 84, words, "soft small"))
        place += 40 + 6.5 * len(words)
    for number, panel in enumerate(panels):
        low = _TOP + number * (_PANEL + _GAP) + _PANEL
        y = _scale(0, top, low, low - _PANEL)
        for tick in ticks:
            parts.append(svg.line((_LEFT, y(tick)), (_RIGHT, y(tick)), "grid"))
            parts.append(svg.text(_LEFT - 8, y(tick) + 4, f"{tick:g}", "soft small", "end"))
        for kind, points in panel.layers:
            upper = [(x(second), y(figure)) for second, figure in points]
            parts.append(svg.area(upper, [(upper[0][0], low), (upper[-1][0], low)], kind))
        if made is not None:
            parts.append(svg.line((_LEFT, y(made)), (_RIGHT, y(made)), "made"))
        parts += _name(panel.name, low - _PANEL / 2)
        parts.append(svg.text(_RIGHT + 14, low - _PANEL / 2 - 8, panel.notes[0], "title"))
        parts += [
            svg.text(_RIGHT + 14, low - _PANEL / 2 + 10 + 15 * line, words, "soft small")
            for line, words in enumerate(panel.notes[1:])
        ]
    for second in _seconds(-begin, seconds - begin):
        parts.append(
            svg.text(
                x(begin + second), bottom + 10, f"{second:g} s".replace("-", "\N{MINUS SIGN}"), "soft small", "middle"
            )
        )
    notes = "; ".join(f"{panel.name}: {' '.join(panel.notes)}" for panel in panels)
    return svg.document(_WIDTH, bottom + 28, title, f"{subtitle}. {notes}.", parts)


def _name(name: str, middle: float) -> list[str]:
    """The client's name to the left of its panel, broken where it has parts."""
    parts = name.replace(" + ", "|+ ").replace(", ", "|").split("|")
    kind = "ink bold" if name.startswith("sleepwalker") else "ink"
    first = middle + 5 - 8 * (len(parts) - 1)
    return [svg.text(24, first + 16 * number, words, kind) for number, words in enumerate(parts)]


def _tail(clients: Sequence[Run]) -> str:
    """Durations at each percentile, both axes so that the slow ones have room."""
    title = "A slow tail, with and without hedging"
    slow = clients[0].scenario
    subtitle = (
        f"How long calls take when {100 * slow.slow_share:g} % of the responses take {slow.slow_factor:g} times longer;"
        f" {slow.rate:g} calls per second"
    )
    percents = [50, 90, 95, 99, 99.9]
    slowest = max(run.duration(percents[-1]) for run in clients)
    ticks = [seconds for seconds in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0) if seconds < 3.4 * slowest]
    low, high = 0.002, max(slowest, ticks[-1])
    top, bottom, left, right = 84, 384, 84, 560
    x = _scale(_nines(percents[0]), _nines(percents[-1]), left, right)
    y = _scale(math.log10(low), math.log10(high), bottom, top)
    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    for seconds in ticks:
        parts.append(svg.line((left, y(math.log10(seconds))), (right, y(math.log10(seconds))), "grid"))
        words = f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
        parts.append(svg.text(left - 8, y(math.log10(seconds)) + 4, words, "soft small", "end"))
    for percent in percents:
        parts.append(svg.line((x(_nines(percent)), top), (x(_nines(percent)), bottom), "grid"))
        parts.append(svg.text(x(_nines(percent)), bottom + 18, f"{percent:g} %", "soft small", "middle"))
    parts.append(svg.text((left + right) / 2, bottom + 38, "of the calls are faster than this", "soft small", "middle"))
    steps = [_nines(50) + number / 60 * (_nines(99.9) - _nines(50)) for number in range(61)]
    kinds = {"requests": "other", "sleepwalker": "third", "sleepwalker, hedging": "own"}
    labels = []
    for run in clients:
        kind = kinds.get(run.client, "bad")
        points = [(nines, run.duration(100 * (1 - 10**-nines))) for nines in steps]
        parts.append(svg.curve([(x(nines), y(math.log10(min(max(s, low), high)))) for nines, s in points], kind))
        if run.client.startswith("sleepwalker"):
            at = x(_nines(99)), y(math.log10(run.duration(99)))
            parts.append(svg.dot(at, kind))
            parts.append(svg.text(at[0] + 6, at[1] - 10, f"{run.duration(99) * 1000:.0f} ms", f"{kind} bold"))
        labels.append((y(math.log10(points[-1][1])), run, kind))
    for place, (_, run, kind) in zip(_apart([at for at, _, _ in labels], 36), labels, strict=True):
        load = f", {run.requests / run.calls:.2f} requests per call" if "hedging" in run.client else ""
        parts.append(svg.text(right + 12, place, run.client, f"{kind} bold"))
        parts.append(svg.text(right + 12, place + 15, f"p99 {run.duration(99) * 1000:.0f} ms{load}", "soft small"))
    notes = "; ".join(f"{run.client}: p99 {run.duration(99) * 1000:.0f} ms" for run in clients)
    return svg.document(_WIDTH, bottom + 56, title, f"{subtitle}. {notes}.", parts)


def _apart(places: Sequence[float], least: float) -> list[float]:
    """The places, each moved so that all are at least so far from each other, their order kept."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for before, number in itertools.pairwise(order):
        moved[number] = max(moved[number], moved[before] + least)
    return moved


def _nines(percent: float) -> float:
    """99 % is 2, 99.9 % is 3."""
    return -math.log10(1 - percent / 100)


def _length(run: Run) -> float:
    begin, end = run.scenario.fault
    return end - begin


def _scale(first: float, last: float, begin: float, end: float) -> Callable[[float], float]:
    return lambda figure: begin + (figure - first) / (last - first) * (end - begin)


def _seconds(first: float, last: float) -> list[float]:
    """Round seconds from `first` to `last`, some eight of them, zero included."""
    step = next(step for step in (1, 2, 5, 10, 20, 60) if (last - first) / step <= 12)
    return [number * step for number in range(math.ceil(first / step), math.floor(last / step) + 1)]
