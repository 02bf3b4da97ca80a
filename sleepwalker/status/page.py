"""The page for people: all hosts as HTML. It is complete without its script; CSP hashes allow style and script."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from string import Template
from typing import NamedTuple
from urllib.parse import quote, urlencode

from sleepwalker.clock import give_way
from sleepwalker.engine import HostHealth
from sleepwalker.process import THIS_PROCESS
from sleepwalker.status import fleet
from sleepwalker.status.cells import row
from sleepwalker.status.headline import Headline, headline
from sleepwalker.status.runbook import Runbook
from sleepwalker.status.sorting import COLUMNS, DEFAULT, Column, in_order
from sleepwalker.status.view import STATES, View
from sleepwalker.status.words import moment, text, time_of_day

#: The most hosts that are drawn: more would not be read. The filter finds the others.
SHOWN = 200

_FILES = files("sleepwalker.status")
_STYLE = (_FILES / "page.css").read_text("utf-8")
_SCRIPT = (_FILES / "page.js").read_text("utf-8")
_PAGE = Template((_FILES / "page.html").read_text("utf-8"))


def _hash(part: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() + "'"


#: The Content-Security-Policy of every response: this style, this script, this origin, and nothing else.
POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "img-src data:",  # the icon
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


def _icon(colour: str, shape: str) -> str:
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='{colour}'>{shape}</svg>"
    return "data:image/svg+xml," + quote(svg)


#: The icon on the browser's tab has the shape and the colour of the worst state.
_ICONS = {
    "broken": _icon("#d4382c", "<path d='M5 .5h6L15.5 5v6L11 15.5H5L.5 11V5z'/>"),
    "degraded": _icon("#d99a1c", "<path d='M8 1L15.5 15H.5z'/>"),
    "isolated": _icon("#8a6fe0", "<rect x='.5' y='.5' width='15' height='15' rx='3'/>"),
    "healthy": _icon("#2f9e5b", "<circle cx='8' cy='8' r='7.5'/>"),
    "unknown": _icon("#8590a0", "<circle cx='8' cy='8' r='7.5'/>"),
}
#: The icon that the script shows when the page is out of date: a broken ring.
_LOST = _icon(
    "#d4382c",
    "<path d='M8 .5A7.5 7.5 0 1 0 15.5 8h-3A4.5 4.5 0 1 1 8 3.5z'/><path d='M9.5 6.5v-6l6 6z' fill='#8590a0'/>",
)


class Asked(NamedTuple):
    """What the request for the page, or for `hosts.json`, selects."""

    words: str
    """Part of a host's name."""
    states: frozenset[str]
    """Empty for all."""
    order: str
    """One of `sorting.ORDERS`."""
    beside: str
    """The relative path to what lies beside the page."""

    def hosts(self, view: View) -> tuple[HostHealth, ...]:
        """The selected hosts, in the requested order."""
        return in_order(view.matching(self.words, self.states), self.order, view.taken)

    def query(self, **changes: str) -> str:
        """The query string for the same selection with these changes."""
        states = [changes["state"]] * bool(changes["state"]) if "state" in changes else sorted(self.states)
        order = changes.get("sort", self.order)
        pairs = [("q", self.words)] * bool(self.words) + [("state", state) for state in states]
        pairs += [("sort", order)] * (order != DEFAULT)
        return "?" + urlencode(pairs, errors="replace") if pairs else ""


class ServingProcess(NamedTuple):
    """The process that responds: its service's title, its machine, and its runbook."""

    title: str
    machine: str
    runbook: Runbook | None


def render(view: View, asked: Asked, serving: ServingProcess) -> str:
    """The whole page."""
    matching = asked.hosts(view)
    head = headline(view)
    process = THIS_PROCESS
    return _PAGE.substitute(
        style=_STYLE,
        script=_SCRIPT,
        title=text(serving.title),
        summary=text(head.words),
        notes=_notes(head, serving.runbook),
        fleet=fleet.section(view.fleets, view.states["isolated"], view.taken, serving.runbook),
        worst=head.state,
        severity=STATES.index(head.state),
        icon=_ICONS[head.state],
        lost=_LOST,
        taken=f"{view.taken:.3f}",
        datetime=f"{moment(view.taken):%Y-%m-%dT%H:%M:%SZ}",
        clock=f"{moment(view.taken):%H:%M:%S}",
        pid=process.pid,
        machine=text(serving.machine),
        since=time_of_day(process.since, view.taken),
        chips=_chips(view, asked),
        words=text(asked.words),
        hidden=_hidden(asked),
        note=_note(len(view.hosts), len(matching), asked),
        hosts=_table(matching[:SHOWN], view.taken, asked, serving.runbook) if matching else "",
        heard=", and has heard of the fleet" if view.fleets else "",
        beside=text(asked.beside),
        query=text(asked.query()),
    )


def _notes(head: Headline, runbook: Runbook | None) -> str:
    link = f"<p>{runbook.link('together')}</p>" if head.together and runbook is not None else ""
    return "".join(f"<p>{text(note)}</p>" for note in head.notes) + link


def _chips(view: View, asked: Asked) -> str:
    """A link for all hosts and for each state. Those that are shown are marked."""
    chips = [_chip("all", len(view.hosts), asked.query(state=""), not asked.states)]
    for state in STATES:
        chips.append(_chip(state, view.states[state], asked.query(state=state), state in asked.states))
    return "".join(chips)


def _chip(name: str, number: int, query: str, current: bool) -> str:
    icon = f'<svg aria-hidden="true"><use href="#{name}"/></svg>' if name != "all" else ""
    mark = ' aria-current="true"' if current else ""
    empty = "" if number else " empty"
    return f'<a class="{name}{empty}" href="{text(query) or "?"}"{mark}>{icon}<b>{number:,}</b> {name}</a>'


def _hidden(asked: Asked) -> str:
    pairs = [("state", state) for state in sorted(asked.states)] + [("sort", asked.order)] * (asked.order != DEFAULT)
    return "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in pairs)


def _note(total: int, matching: int, asked: Asked) -> str:
    if not total:
        return "A host appears here after the first find or call."
    if not matching:
        return "No host matches."
    if matching > SHOWN:
        first = "worst" if asked.order == DEFAULT else "first"
        return f"The {SHOWN} {first} of {matching:,} are shown: filter by name or state to see others."
    return f"{matching:,} of {total:,} match." if asked.words or asked.states else ""


def _table(hosts: Iterable[HostHealth], taken: float, asked: Asked, runbook: Runbook | None) -> str:
    # Roles are explicit, because browsers do not treat a table that is styled as cards as a table.
    heads = "".join(_heading(column, asked) for column in COLUMNS)
    seen: Counter[str] = Counter()
    rows = []
    for health in hosts:
        give_way()
        rows.append(row(health, taken, seen[health.host], runbook))
        seen[health.host] += 1
    order = "worst first" if asked.order == DEFAULT else "sorted"
    return (
        f'<table role="table"><caption>Hosts, {order}</caption><thead role="rowgroup"><tr role="row">{heads}</tr>'
        f'</thead><tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )


def _heading(column: Column, asked: Asked) -> str:
    """A column's heading: a link that sorts by it or, if it is sorted by it already, in reverse."""
    order, mark = column.first, ""
    if asked.order.lstrip("-") == column.name:
        falls = asked.order.startswith("-")
        order = column.name if falls else f"-{column.name}"
        falls ^= column.name == DEFAULT  # worst first
        mark = f' aria-sort="{"descending" if falls else "ascending"}"'
    query = text(asked.query(sort=order)) or "?"
    return (
        f'<th role="columnheader" scope="col" class="{column.name}"{mark}>'
        f'<a href="{query}" title="{column.hint}">{column.title}</a></th>'
    )
