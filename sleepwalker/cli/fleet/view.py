"""A fleet for people to read: a table of hosts by workers, and the isolations below it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sleepwalker.cli.display import Cell, RenderableType, Text, folded, line, stacked, table
from sleepwalker.cli.fleet.trouble import Picture, Trouble, machine_of
from sleepwalker.cli.fleet.words import lasting, moment_of, short
from sleepwalker.cli.text import count

#: How many hosts, and how many isolations, are shown. All are in the JSON.
_MOST = 50
#: More workers than this are counted by machine. Columns that a row needs at least, besides the host's name.
_MOST_CELLS, _REST = 60, 30
#: Lines besides those of hosts, machines and isolations.
_HEAD = 10
_SAYS: dict[str | None, Cell] = {
    "broken": ("B", "bold red"),
    "failing": ("x", "red"),
    "fine": ("f", "green"),
    None: (".", "dim"),
}


def render(shown: Picture, store: str, service: str, width: int, height: int | None = None) -> RenderableType:
    """All of it in `width` columns, and in about `height` lines if it must not scroll."""
    isolated = min(_MOST, len(shown.isolated), _MOST if height is None else max(1, height // 8))
    lines = None if height is None else height - _HEAD - 2 * isolated
    return stacked(
        folded(f"{_many(len(shown.workers), 'worker')} of service {service} at {store}, {moment_of(shown.now)}"),
        folded(*_summary(shown)),
        *_hosts(shown, width, lines),
        *_isolated(shown, isolated),
    )


def _many(number: int, noun: str) -> str:
    return count(number, noun).replace(str(number), f"{number:,}")


def _summary(shown: Picture) -> list[Cell]:
    if not shown.trouble:
        return [("no worker finds a host broken, and no host is isolated", "green" if shown.workers else "")]
    broken = sum(one.verdict == "broken" for one in shown.hosts)
    parts: list[Cell] = [f"{_many(len(shown.hosts), 'host')} in trouble, "]
    parts.append((f"{broken:,} broken for all", "bold red" if broken else ""))
    parts.append((f", {len(shown.isolated):,} isolated", "yellow") if shown.isolated else "")
    return parts


def _hosts(shown: Picture, width: int, lines: int | None) -> list[RenderableType]:
    """The hosts in trouble, with a cell for each worker if there is room, or else counts by machine."""
    if not shown.hosts:
        return []
    hosts = shown.hosts[: _MOST if lines is None else max(1, min(_MOST, lines))]
    names = [_shortened(one.host, max(24, width - _REST)) for one in hosts]
    room = width - max(map(len, names)) - 2
    machines = [list(group) for _, group in itertools.groupby(shown.workers, lambda one: machine_of(one[1])[0])]
    each = 0 < len(shown.workers) <= _MOST_CELLS and len(shown.workers) + len(machines) - 1 <= room
    failing = any(one.tally.failing for one in hosts)
    rows: list[Sequence[Cell | Text]] = [
        [
            name,
            _verdict(one),
            f"{one.tally.broken:,}",
            *([f"{one.tally.failing:,}"] if failing else []),
            f"{one.tally.fine:,}",
            short(one.tally.since, shown.now),
            one.tally.cause or "-",
            _cells(one, machines) if each else _counts(one, machines, room),
        ]
        for name, one in zip(names, hosts, strict=True)
    ]
    headers = ["host", "for all", "broken", *(["failing"] if failing else []), "fine", "since (UTC)", "cause"]
    headers.append("workers" if each else "no answer on")
    if lines is not None:
        lines -= 2 + len(machines) if each else 0
        parts_of_it = _parts([headers, *rows], width)
        rows = rows[: max(1, (lines - 3 * (parts_of_it - 1)) // parts_of_it)]
    parts: list[RenderableType] = ["", table(headers, rows, words={"host", "for all", "cause", headers[-1]})]
    if len(shown.hosts) > len(rows):
        parts.append(line(f"and {len(shown.hosts) - len(rows):,} more with less trouble; --json shows all"))
    if lines is None:
        whole = zip(names, hosts, strict=True)
        parts += [folded(f"{name} is {one.host}") for name, one in whole if name != one.host]
    if each:
        parts += ["", folded("B: finds it broken, x: its calls fail, f: got an answer, .: no calls; in order:")]
        parts += [
            folded(f"  {machine_of(group[0][1])[0]}: {' '.join(machine_of(label)[1] for _, label in group)}")
            for group in machines
        ]
    return parts


def _parts(rows: Sequence[Sequence[Cell | Text]], width: int) -> int:
    """The number of parts, below each other, in which a table of these rows is shown."""
    first, *rest = (max(len(_plain(row[at])) for row in rows) + 2 for at in range(len(rows[0])))
    parts, room = 1, width + 2 - first
    for wide in rest:
        if wide > room:
            parts, room = parts + 1, width + 2 - first
        room -= wide
    return parts


def _plain(cell: Cell | Text) -> str:
    return cell if isinstance(cell, str) else cell[0] if isinstance(cell, tuple) else cell.plain


def _verdict(one: Trouble) -> Cell:
    if one.verdict == "broken":
        return "broken", "bold red"
    if one.verdict == "heard":
        return "soon", "red"
    reports = one.tally.broken + one.tally.fine
    return f"needs {one.needed:,} {f'of {reports:,}' if reports >= one.needed else 'workers'}", "yellow"


def _cells(one: Trouble, machines: Sequence[Sequence[tuple[str, str]]]) -> Text:
    """A letter for each worker, a blank between machines."""
    cells: list[Cell] = []
    for group in machines:
        cells += [" "] if cells else []
        cells += [_SAYS[one.views[worker].opinion if worker in one.views else None] for worker, _ in group]
    return line(*cells)


def _counts(one: Trouble, machines: Sequence[Sequence[tuple[str, str]]], room: int) -> str:
    """The machines with the most workers that find it broken or failing: three, or as many as there is room for."""
    found = {
        machine_of(group[0][1])[0]: (sum(_accuses(one, worker) for worker, _ in group), len(group))
        for group in machines
    }
    worst = sorted(((name, *counts) for name, counts in found.items() if counts[0]), key=lambda of: (-of[1], of[0]))
    texts = [f"{name} {broken} of {there}" for name, broken, there in worst]
    for most in range(min(3, len(texts)), 0, -1):
        more = f", {len(texts) - most:,} more" if len(texts) > most else ""
        if len(text := ", ".join(texts[:most]) + more) <= room:
            return text
    return f"{len(texts):,} of {_many(len(machines), 'machine')}"[:room]


def _accuses(one: Trouble, worker: str) -> bool:
    return worker in one.views and one.views[worker].opinion in ("broken", "failing")


def _isolated(shown: Picture, most: int) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for name, order in shown.isolated[:most]:
        end = "until it is restored"
        if order.left is not None:
            end = f"until {moment_of(shown.now + order.left)}, for {lasting(order.left)} more"
        by = f", by {order.by}" if order.by else ""
        why = f": {order.reason}" if order.reason else ""
        parts.append(folded((name, "bold"), (" isolated ", "yellow"), f"{end}{by}{why}"))
    if len(shown.isolated) > most:
        parts.append(line(f"and {len(shown.isolated) - most:,} more isolated; --json has all"))
    return ["", *parts] if parts else []


def _shortened(name: str, most: int) -> str:
    """A name, without its middle if it is too long: its begin and its end tell it apart best."""
    if len(name) <= most:
        return name
    begin = most // 2
    return f"{name[:begin]}…{name[len(name) - (most - begin - 1) :]}"
