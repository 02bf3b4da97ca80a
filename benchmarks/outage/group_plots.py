"""The plots of scenarios that belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.outage import svg, words
from benchmarks.outage.figures import Found, Run
from benchmarks.outage.scenarios import INTERLOCK, PYBREAKER, RETRY, STAMINA

#: How each client is drawn, the last one on top.
KINDS = {RETRY: "other", STAMINA: "third", INTERLOCK: "fourth", PYBREAKER: "bad", "sleepwalker": "own"}
_WIDTH = 820
Scale = Callable[[float], float]


def partial(found: Found) -> str | None:
    """What is answered, and what is sent for it, over the share of attempts that fail."""
    clients: dict[str, list[Run]] = {}
    for of in found.values():
        for client, (run, *_) in of.items():
            if run.scenario.group == "partial" and run.scenario.error == "503":
                clients.setdefault(client, []).append(run)
    if clients.keys() != KINDS.keys() or len(clients["sleepwalker"]) < 2:
        return None
    top, bottom = 96, 356
    rate = clients["sleepwalker"][0].scenario.rate
    title = "Calls that are answered while a share of the attempts fails"
    subtitle = f"503, at random; {rate:g} calls per second, at most three attempts for clients that retry"
    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    panels: Sequence[tuple[str, Sequence[float], Callable[[Run], float], float]] = (
        ("answered, %", (0, 25, 50, 75, 100), lambda run: 100 * run.success, 64),
        ("requests per call", (0, 0.5, 1, 1.5, 2), lambda run: run.amplification, 344),
    )
    for heading, ticks, figure, left in panels:
        x, y = _scale(0, 70, left, left + 220), _scale(ticks[0], max(ticks[-1], *_all(clients, figure)), bottom, top)
        parts.append(svg.text(left, top - 14, heading, "soft small"))
        for tick in ticks:
            parts.append(svg.line((left, y(tick)), (left + 220, y(tick)), "grid"))
            parts.append(svg.text(left - 8, y(tick) + 4, f"{tick:g}", "soft small", "end"))
        for share in (0, 20, 40, 60):
            parts.append(svg.text(x(share), bottom + 18, f"{share} %", "soft small", "middle"))
        parts.append(svg.text(left + 110, bottom + 38, "of the attempts fail", "soft small", "middle"))
        for client, kind in KINDS.items():
            points = [(x(100 * run.scenario.error_share), y(figure(run))) for run in clients[client]]
            parts.append(svg.curve([(x(0), y(100 if "%" in heading else 1)), *points], kind))
            parts += [svg.dot(point, kind) for point in points]
    worst = {client: _at(several, 0.5) for client, several in clients.items()}
    place = top + 12
    for client, kind in sorted(KINDS.items(), key=lambda item: -worst[item[0]].success):
        for number, line in enumerate(_broken(client)):
            parts.append(svg.text(586, place, line, f"{kind} bold" if number == 0 else f"{kind} small"))
            place += 15
        parts.append(svg.text(586, place, _said(worst[client]), "soft small"))
        place += 30
    notes = "; ".join(f"{client}: {_said(run)}" for client, run in worst.items())
    return svg.document(_WIDTH, bottom + 56, title, f"{subtitle}. {notes}.", parts)


def outages(found: Found) -> str | None:
    """A dot for each run: how long after an outage calls were answered as before."""
    rows = [
        (client, several)
        for of in found.values()
        for client, several in of.items()
        if several[0].scenario.group == "outages" and several[0].scenario.phases[-1].kind != "cold"
    ]
    if not rows or len({run.scenario.title for _, (run, *_) in rows}) < 9:
        return None
    top, left, right, height = 96, 360, 690, 25
    most = max(run.scenario.phases[-1].seconds for _, several in rows for run in several)
    worst = max(run.recovery if run.recovery is not None else most for _, several in rows for run in several)
    longest = next(seconds for seconds in (6, 8, 10, 12, 16, 20) if seconds >= min(worst, 20))
    x, bottom = _scale(0, longest, left, right), top + height * len(rows)
    title = "How soon after an outage calls are answered again"
    subtitle = "Seconds until 99 % of the calls in one second are answered; a dot for each run"
    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    for second in range(0, longest + 1, 2):
        parts.append(svg.line((x(second), top - 12), (x(second), bottom - 8), "grid"))
        parts.append(svg.text(x(second), bottom + 10, f"{second} s", "soft small", "middle"))
    before, notes = "", []
    for number, (client, several) in enumerate(rows):
        y = top + height * number + 4
        name = several[0].scenario.title
        if name != before:
            parts.append(svg.text(24, y + 4, name, "ink"))
        before = name
        kind = KINDS[client]
        parts.append(svg.text(left - 14, y + 4, _short(client), f"{kind} small", "end"))
        seconds = [run.recovery for run in several]
        parts += [svg.dot((x(min(longest, longest if one is None else one)), y), kind) for one in seconds]
        said = words.seconds(None if None in seconds else max(one for one in seconds if one is not None))
        parts.append(svg.text(right + 14, y + 4, f"{said} at worst" if None not in seconds else said, "soft small"))
        notes.append(f"{name}, {client}: {said} at worst")
    return svg.document(_WIDTH, bottom + 30, title, f"{subtitle}. {'; '.join(notes)}.", parts)


def _said(run: Run) -> str:
    return f"{words.share(run.success)} at 50 %, {run.amplification:.2f} requests per call"


def _at(several: Sequence[Run], share: float) -> Run:
    return min(several, key=lambda run: abs(run.scenario.error_share - share))


def _broken(client: str) -> list[str]:
    """The client's name in lines: the first two of its parts, and the rest."""
    first, *rest = client.split(" + ")
    return [" + ".join([first, *rest[:1]]), *(f"+ {part}" for part in rest[1:])]


def _short(client: str) -> str:
    """The last of what a client is put together from."""
    return client.rpartition(" + ")[2]


def _all(clients: Mapping[str, Sequence[Run]], figure: Callable[[Run], float]) -> list[float]:
    return [figure(run) for several in clients.values() for run in several]


def _scale(first: float, last: float, begin: float, end: float) -> Scale:
    return lambda figure: begin + (figure - first) / (last - first) * (end - begin)
