"""The plots of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.fleet.figures import Side
from benchmarks.fleet.report import MOST_SENT, rows
from benchmarks.fleet.setting import ALONE, Setting
from benchmarks.outage import svg

#: The setting that is shown second by second, and worker by worker.
SHOWN = ("503", 24, 60.0, 1.0)
_WIDTH = 820
_SIDES = {ALONE: "bad", "redis": "own", "file": "third"}
_NAMES = {ALONE: "without a fleet", "redis": "a fleet, Redis", "file": "a fleet, a file"}


def plots(result: Mapping[str, Any]) -> dict[str, str]:
    """SVG files by name: those whose settings the result has."""
    drawn: dict[str, str] = {}
    outages = rows(result, "outages")
    for row in outages:
        setting = row.setting
        if (setting.kind, setting.workers, setting.outage, setting.rate) == SHOWN and len(row.sides) == len(_SIDES):
            drawn["load"] = _load(setting, row.sides)
            drawn["workers"] = _workers(setting, row.sides)
    shares = [row for row in outages if row.setting.kind == "503" and row.setting.workers == SHOWN[1]]
    if len({row.setting.rate for row in shares}) > 2:
        drawn["share"] = _share([(row.setting, row.share("redis")) for row in shares if "redis" in row.sides])
    return drawn


def _load(setting: Setting, sides: Mapping[str, Side]) -> str:
    """What came to the host in each second of the outage."""
    left, right, top, height, gap = 170, 780, 100, 80, 26
    most = max(max(side.series) for side in sides.values())
    title = f"What comes to a host that is down for {setting.outage:g} s"
    subtitle = f"Requests per second; {setting.workers} workers, {setting.rate:g} call a second each, 503"
    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    for number, (name, kind) in enumerate(_SIDES.items()):
        side, bottom = sides[name], top + number * (height + gap) + height
        wide = (right - left) / len(side.series)
        for tick in (0, most // 2, most):
            y = bottom - height * tick / most
            parts.append(svg.line((left, y), (right, y), "grid"))
            parts.append(svg.text(left - 8, y + 4, str(tick), "soft small", "end"))
        for second, count in enumerate(side.series):
            if count:
                tall = height * count / most
                parts.append(svg.rectangle((left + second * wide + 0.5, bottom - tall), wide - 1, tall, kind))
        parts.append(svg.text(24, bottom - height + 12, _NAMES[name], f"{kind} bold"))
        parts.append(svg.text(24, bottom - height + 30, f"{side.reached} in all", "soft small"))
    bottom = top + 3 * height + 2 * gap
    for second in range(0, round(setting.outage) + 1, 10):
        x = left + (right - left) * second / setting.outage
        parts.append(svg.text(x, bottom + 18, f"{second} s", "soft small", "middle"))
    notes = "; ".join(f"{_NAMES[name]}: {sides[name].reached} in all" for name in _SIDES)
    return svg.document(_WIDTH, bottom + 36, title, f"{subtitle}. {notes}.", parts)


def _workers(setting: Setting, sides: Mapping[str, Side]) -> str:
    """A dot for each worker: when its circuit opened, and when it closed again."""
    left, right, top, height = 170, 780, 118, 46
    title = "When each worker knows that the host is down, and that it is back"
    subtitle = (
        f"Seconds after its death, and after its return; {setting.workers} workers, {setting.rate:g} call a second each"
    )
    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    notes = []
    panels = (("knows", "knew", left, left + 280), ("is back", "back", left + 330, right))
    for heading, field, begin, end in panels:
        found = {name: [one for one in getattr(side, field) if one is not None] for name, side in sides.items()}
        most = max([1.0, *(one for its in found.values() for one in its)])
        parts.append(svg.text(begin, top - 24, heading, "soft small"))
        bottom = top + len(_SIDES) * height - 20
        step = 1 if most <= 6 else 5
        for tick in range(0, int(most) + 1, step):
            x = begin + (end - begin) * tick / most
            parts.append(svg.line((x, top - 14), (x, bottom), "grid"))
            parts.append(svg.text(x, bottom + 18, f"{tick} s", "soft small", "middle"))
        for number, (name, kind) in enumerate(_SIDES.items()):
            y = top + number * height
            parts += [svg.dot((begin + (end - begin) * one / most, y), kind) for one in found[name]]
            never = sum(one is None for one in getattr(sides[name], field))
            last = "not all" if never else f"{max(found[name], default=0):.1f} s"
            notes.append(f"{_NAMES[name]}, the last one {heading} after {last}")
    for number, (name, kind) in enumerate(_SIDES.items()):
        parts.append(svg.text(24, top + number * height + 4, _NAMES[name], f"{kind} bold"))
    bottom = top + len(_SIDES) * height
    return svg.document(_WIDTH, bottom + 20, title, f"{subtitle}. {'; '.join(notes)}.", parts)


def _share(points: Sequence[tuple[Setting, float]]) -> str:
    """What is sent with a fleet, of what is sent without one, over the rate of calls; a line for each length."""
    left, right, top, bottom = 70, 600, 96, 336
    workers = points[0][0].workers
    title = "What comes to a host that is down, as a share of what comes without a fleet"
    subtitle = f"{workers} workers, 503, Redis"
    rates = sorted({setting.rate for setting, _ in points})
    most = max(1.0, *(share for _, share in points))

    def place(rate: float, share: float) -> svg.Point:
        x = left + 20 + (right - left - 40) * rates.index(rate) / (len(rates) - 1)
        return x, bottom - (bottom - top) * share / most

    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    for tick in (0.0, MOST_SENT, 0.5, 0.75, 1.0):
        y = place(rates[0], tick)[1]
        parts.append(svg.line((left, y), (right, y), "made" if tick == MOST_SENT else "grid"))
        parts.append(svg.text(left - 8, y + 4, f"{100 * tick:.0f} %", "soft small", "end"))
    for rate in rates:
        parts.append(svg.text(place(rate, 0)[0], bottom + 18, f"{rate:g}", "soft small", "middle"))
    parts.append(svg.text((left + right) / 2, bottom + 38, "calls a second of each worker", "soft small", "middle"))
    notes = []
    for number, (length, kind) in enumerate(zip((20.0, 60.0, 120.0), ("bad", "fourth", "own"), strict=True)):
        mine = sorted((setting.rate, share) for setting, share in points if setting.outage == length)
        if not mine:
            continue
        parts.append(svg.curve([place(rate, share) for rate, share in mine], kind))
        parts += [svg.dot(place(rate, share), kind) for rate, share in mine]
        parts.append(svg.text(right + 24, top + 12 + 24 * number, f"down for {length:g} s", f"{kind} bold"))
        notes.append(f"{length:g} s: " + ", ".join(f"{100 * share:.0f} % at {rate:g}" for rate, share in mine))
    parts.append(svg.text(right + 24, place(rates[0], MOST_SENT)[1] + 4, "aimed for (dashed)", "soft small"))
    return svg.document(_WIDTH, bottom + 56, title, f"{subtitle}. {'; '.join(notes)}.", parts)
