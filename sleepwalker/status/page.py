"""The page for people: a view of all hosts as HTML that is complete without its script, styled and run by hash only."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple
from urllib.parse import quote, urlencode

from sleepwalker.engine import HostHealth
from sleepwalker.status.view import STATES, View

#: The most hosts that are drawn; more would not be read. The others are found by the filter.
SHOWN = 200
#: An error text is drawn up to here; hosts.json has all of it.
_LONGEST_ERROR = 2000
#: An error text up to here stands there as it is; a longer one is opened.
_SHORT_ERROR = 60

_FILES = files("sleepwalker.status")
_STYLE = (_FILES / "page.css").read_text("utf-8")
_SCRIPT = (_FILES / "page.js").read_text("utf-8")
_PAGE = Template((_FILES / "page.html").read_text("utf-8"))


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


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

#: The icon on the browser's tab has the shape and the colour of the worst state.
_ICONS = {
    "broken": ("#d4382c", "<path d='M5 .5h6L15.5 5v6L11 15.5H5L.5 11V5z'/>"),
    "degraded": ("#d99a1c", "<path d='M8 1L15.5 15H.5z'/>"),
    "isolated": ("#8a6fe0", "<rect x='.5' y='.5' width='15' height='15' rx='3'/>"),
    "healthy": ("#2f9e5b", "<circle cx='8' cy='8' r='7.5'/>"),
    "unknown": ("#8590a0", "<circle cx='8' cy='8' r='7.5'/>"),
}
_CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}")


class Asked(NamedTuple):
    """What the page was asked to show."""

    words: str
    """Part of a host's name."""
    states: frozenset[str]
    """Empty for all."""
    beside: str
    """The relative path that leads to what lies beside the page."""


def render(view: View, asked: Asked, title: str, process: int) -> str:
    """The whole page."""
    matching = view.matching(asked.words, asked.states)
    worst = _worst(view)
    return _PAGE.substitute(
        style=_STYLE,
        script=_SCRIPT,
        title=_text(title),
        summary=_summary(view),
        worst=worst,
        icon=_icon(worst),
        taken=f"{view.taken:.3f}",
        datetime=f"{_moment(view.taken):%Y-%m-%dT%H:%M:%SZ}",
        clock=f"{_moment(view.taken):%H:%M:%S}",
        chips=_chips(view, asked),
        words=_text(asked.words),
        hidden="".join(f'<input type="hidden" name="state" value="{state}">' for state in sorted(asked.states)),
        note=_note(len(view.hosts), len(matching), asked),
        hosts=_table(matching[:SHOWN], view.taken) if matching else "",
        process=process,
        beside=_text(asked.beside),
        query=_text(_query(asked.words, asked.states)),
    )


def _worst(view: View) -> str:
    """The state that the page is headed with: unknown hosts are no news while others are well."""
    return next((state for state in STATES if view.states[state]), "unknown")


def _summary(view: View) -> str:
    total = len(view.hosts)
    noun = "hosts and scopes" if any("#" in health.host for health in view.hosts) else "hosts"
    if not total:
        return "No hosts yet"
    for state in ("broken", "degraded", "isolated"):
        if number := view.states[state]:
            return f"{_of(number, total, noun)} {'is' if number == 1 else 'are'} {state}"
    if view.states["unknown"] == total:
        return f"Nothing was heard of {'the' if total == 1 else 'any'} host lately"
    if view.states["healthy"] == total:
        return "The host is healthy" if total == 1 else f"All {total:,} {noun} are healthy"
    return f"None of {total:,} {noun} is in trouble"


def _of(number: int, total: int, noun: str) -> str:
    return "The host" if total == 1 else f"{number:,} of {total:,} {noun}"


def _chips(view: View, asked: Asked) -> str:
    """A link for all hosts and for each state; the ones that are shown are marked."""
    chips = [_chip("all", len(view.hosts), "", asked.words, not asked.states)]
    for state in STATES:
        chips.append(_chip(state, view.states[state], state, asked.words, state in asked.states))
    return "".join(chips)


def _chip(name: str, number: int, state: str, words: str, current: bool) -> str:
    href = _text(_query(words, [state] if state else []) or "?")
    icon = f'<svg aria-hidden="true"><use href="#{state}"/></svg>' if state else ""
    mark = ' aria-current="true"' if current else ""
    empty = "" if number else " empty"
    return f'<a class="{name}{empty}" href="{href}"{mark}>{icon}<b>{number:,}</b> {name}</a>'


def _query(words: str, states: Iterable[str]) -> str:
    pairs = [("q", words)] * bool(words) + [("state", state) for state in sorted(states)]
    return "?" + urlencode(pairs, errors="replace") if pairs else ""


def _note(total: int, matching: int, asked: Asked) -> str:
    if not total:
        return "A host appears here with the first look for it."
    if not matching:
        return "No host matches."
    if matching > SHOWN:
        return f"The {SHOWN} worst of {matching:,} are shown: filter by name or state to see others."
    return f"{matching:,} of {total:,} match." if asked.words or asked.states else ""


#: Heading, and its explanation.
_COLUMNS = (
    ("Host", "Scheme, name and port"),
    ("State", "Broken, degraded, isolated, healthy or unknown"),
    ("Circuit", "The circuit breaker, and when it lets a probe through"),
    ("Since", "How long the host has been broken"),
    ("Success", "Share of attempts that succeeded"),
    ("p50", "Half of the attempts took no longer"),
    ("p95", "95 % of the attempts took no longer"),
    ("p99", "99 % of the attempts took no longer"),
    ("In flight", "Calls under way"),
    ("Calls", "Calls begun, and attempts that failed"),
    ("Retries", "Attempts after the first"),
    ("Rejected", "Calls and retries refused unsent"),
    (
        "Last error",
        "What failed last, when an attempt last succeeded, what hooks do, and why the host is isolated",
    ),
)


def _table(hosts: Iterable[HostHealth], taken: float) -> str:
    # Roles are spelled out, for browsers take a table that is styled as cards for no table.
    heads = "".join(f'<th role="columnheader" scope="col" title="{hint}">{name}</th>' for name, hint in _COLUMNS)
    seen: Counter[str] = Counter()
    rows = []
    for health in hosts:
        rows.append(_row(health, taken, seen[health.host]))
        seen[health.host] += 1
    return (
        f'<table role="table"><caption>Hosts, worst first</caption><thead role="rowgroup"><tr role="row">{heads}</tr>'
        f'</thead><tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )


def _row(health: HostHealth, taken: float, copy: int) -> str:
    host = _text(health.host)
    cells = (
        ("state", "State", f'<svg aria-hidden="true"><use href="#{health.state}"/></svg>{health.state}'),
        ("circuit", "Circuit", _circuit(health)),
        ("since", "Since", _since(health.broken_since, taken)),
        ("success", "Success", _success(health.success_ratio)),
        ("number p50", "p50", _seconds(health.latency.p50)),
        ("number p95", "p95", _seconds(health.latency.p95)),
        ("number p99", "p99", _seconds(health.latency.p99)),
        ("number", "In flight", _in_flight(health)),
        ("number", "Calls", _calls(health)),
        ("number", "Retries", f"{health.retries:,}"),
        ("number", "Rejected", f"{health.rejections:,}"),
        ("error", "Last error" if health.last_error else "", _error(health, taken)),
    )
    body = "".join(
        f'<td role="cell" class="{kind}{" dull" * (text in _DULL)}" data-label="{label}"><span>{text}</span></td>'
        for kind, label, text in cells
    )
    return (
        f'<tr role="row" class="{health.state}" data-key="{copy} {host}">'
        f'<th role="rowheader" scope="row" title="{host}"><bdi>{_name(health.host)}</bdi></th>{body}</tr>'
    )


def _name(host: str) -> str:
    """A host's name that breaks between its labels rather than anywhere."""
    origin, hash_, scope = host.partition("#")
    scheme, mark, rest = origin.rpartition("://")
    name = "<wbr>.".join(_text(part) for part in rest.split(".")) + (f"<wbr>#{_text(scope)}" if hash_ else "")
    return f"<small>{_text(scheme)}://</small><wbr>{name}" if mark else name


def _in_flight(health: HostHealth) -> str:
    near = health.limit is not None and 2 * health.in_flight >= health.limit
    return f"{health.in_flight:,}" + (f"<small>of {health.limit:,}</small>" if near else "")


def _calls(health: HostHealth) -> str:
    return f"{health.calls:,}" + (f"<small>{health.failures:,} failed sends</small>" if health.failures else "")


def _circuit(health: HostHealth) -> str:
    if health.breaker == "closed":
        return _CLOSED
    if health.retry_in is None:
        return f"<b>{health.breaker}</b>"
    return f"<b>open</b><small>probe in {_span(health.retry_in)}</small>"


def _since(moment: float | None, taken: float) -> str:
    if moment is None:
        return _DASH
    return f"<b>{_span(taken - moment)}</b><small>{_shown(moment, taken)}</small>"


def _shown(moment: float, taken: float) -> str:
    when = _moment(moment)
    return f"{when:%H:%M:%S}" if abs(taken - moment) < 12 * 3600 else f"{when:%d %b %H:%M}"


def _success(ratio: float | None) -> str:
    if ratio is None:
        return _DASH
    percent = math.floor(ratio * 1000 + 1e-6) / 10  # never rounded up: 100 % means that nothing failed
    bar = f'<rect class="track" width="100" height="6"/><rect width="{percent}" height="6"/>'
    return (
        f"<b>{percent:g} %</b>"
        f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
    )


def _error(health: HostHealth, taken: float) -> str:
    notes = f"<small>last success {_ago(health.last_success, taken)}</small>" if health.last_success else ""
    if health.hooks_since is not None:
        notes += f"<small>hooks at work since {_shown(health.hooks_since, taken)}</small>"
    if health.cooldown is not None:
        notes += f"<small>asks to be left alone for {_span(health.cooldown)}</small>"
    notes = _isolation(health, taken) + notes
    if health.last_error is None:
        return notes or _DASH
    text = health.last_error.replace(f"{health.host.partition('#')[0]}: ", "", 1)  # the row has said that
    if len(text) > _LONGEST_ERROR:
        text = text[:_LONGEST_ERROR] + " …"
    if len(text) <= _SHORT_ERROR:
        return f"<bdi>{_text(text)}</bdi>{notes}"
    return f"<details><summary><bdi>{_text(text)}</bdi></summary></details>{notes}"


def _isolation(health: HostHealth, taken: float) -> str:
    """Why and until when an operator isolated the host, as far as they said."""
    if health.isolated_reason is None and health.isolated_until is None:
        return ""
    until = "" if health.isolated_until is None else f" until {_shown(health.isolated_until, taken)}"
    reason = "" if health.isolated_reason is None else f": <bdi>{_text(health.isolated_reason)}</bdi>"
    return f"<small>isolated by an operator{until}{reason}</small>"


_DASH = "<i>–</i>"
_CLOSED = "closed"
#: What a card need not say, where space is short.
_DULL = frozenset({_DASH, _CLOSED, "0"})


def _text(text: str) -> str:
    """Any text as text of the page, in an attribute, too."""
    return escape(text.translate(_CONTROL))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(value: float | None) -> str:
    """A latency, with two digits that count."""
    if value is None:
        return _DASH
    if value < 0.0995:
        return f"{value * 1000:.0f} ms" if value >= 0.0005 else "&lt;1 ms"
    return f"{value:.2f} s" if value < 9.95 else f"{value:.1f} s"


def _span(seconds: float) -> str:
    """A duration to read at a glance: its two largest units."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def _ago(moment: float, taken: float) -> str:
    return "just now" if taken - moment < 1 else f"{_span(taken - moment)} ago"


def _icon(state: str) -> str:
    colour, shape = _ICONS[state]
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='{colour}'>{shape}</svg>"
    return "data:image/svg+xml," + quote(svg)
