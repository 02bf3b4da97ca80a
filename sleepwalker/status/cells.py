"""The state of one host, as the cells of its row."""

from __future__ import annotations

from collections.abc import Callable

from sleepwalker.engine import HostHealth, RejectedBy
from sleepwalker.status import fleet
from sleepwalker.status.line import activity
from sleepwalker.status.runbook import Runbook, kind_of
from sleepwalker.status.words import DASH, ago, last_outcome_at, latency, percent, plural, span, text, time_of_day

#: The most characters of an error text on the page. hosts.json has all of it.
_LONGEST_ERROR = 2000
#: A longer error text is folded, to be opened.
_SHORT_ERROR = 60
#: How many names of a host are shown.
_MOST_NAMES = 3

_CLOSED, _OFF = "closed", "off"
#: Cells that a card leaves out, as space is short.
_GREY = frozenset({DASH, _CLOSED, _OFF, "0"})
_RULES = {
    "consecutive": "by failures in a row",
    "failure_ratio": "by a share of failures",
    "slow_ratio": "by a share of slow calls",
    "probe": "by first calls that failed",
    "fleet": "told by other workers",
}
_REFUSERS = {
    "breaker": "circuit",
    "bulkhead": "bulkhead",
    "rate_limit": "rate limit",
    "cooldown": "cooldown",
    "isolation": "isolation",
}


def row(health: HostHealth, taken: float, copy: int, runbook: Runbook | None) -> str:
    """The row of a host. `copy` distinguishes several records of one host."""
    cells = (
        ("state", "State", _state(health, taken, runbook)),
        ("since", "Since", _since(health, taken)),
        ("circuit", "Circuit", _circuit(health, taken)),
        ("rate", "Last 15 min", activity(health, taken)),
        ("success", "Success", _success(health.success_ratio)),
        ("number", "p95", _latency(health)),
        ("number", "In flight", _in_flight(health)),
        ("number", "Calls", _calls(health)),
        ("number", "Rejected", _rejected(health)),
        ("error", "Last error" if health.last_error else "", _error(health, taken)),
    )
    body = "".join(
        f'<td role="cell" class="{kind}{" dull" * (cell in _GREY)}" data-label="{label}"><span>{cell}</span></td>'
        for kind, label, cell in cells
    )
    state = "unused" if not health.used and health.state in ("broken", "degraded") else health.state
    return (
        f'<tr role="row" class="{state}" data-key="{copy} {text(health.host)}">'
        f'<th role="rowheader" scope="row">{_host(health)}</th>{body}</tr>'
    )


def _host(health: HostHealth) -> str:
    """The names that people use, and the address."""
    origin, mark, scope = health.host.partition("#")
    part = f"<wbr>#{text(scope)}" if mark else ""
    scheme, slashes, rest = origin.rpartition("://")
    # Allow line breaks between the labels of the address, rather than anywhere.
    address = "<wbr>.".join(text(label) for label in rest.split("."))
    address = f"<small>{text(scheme)}://</small><wbr>{address}" if slashes else address
    if not health.names:
        return f'<span class="name"><bdi>{address}{part}</bdi>{_copy(health.host)}</span>'
    names = "".join(
        f'<span class="name"><bdi>{text(name)}{part}</bdi>{_copy(name)}</span>' for name in health.names[:_MOST_NAMES]
    )
    more = len(health.names) - _MOST_NAMES
    names += f"<small>and {plural(more, 'more name')}</small> " if more > 0 else ""
    return f'{names}<span class="address"><bdi>{address}{part}</bdi>{_copy(health.host)}</span>'


def _copy(name: str) -> str:
    return (
        f'<button type="button" class="copy" data-copy="{text(name)}" aria-label="Copy {text(name)}" title="Copy">'
        '<svg aria-hidden="true"><use href="#copy"/></svg></button>'
    )


def _state(health: HostHealth, taken: float, runbook: Runbook | None) -> str:
    pill = f'<span class="pill"><svg aria-hidden="true"><use href="#{health.state}"/></svg>{health.state}</span>'
    notes = [] if (words := _of_state(health, taken)) is None else [words]
    if (others := fleet.says(health)) is not None:
        notes.append(others)
    if health.failover is not None:
        notes.append(f"calls go to <bdi>{text(health.failover)}</bdi>")
    small = "".join(f"<small>{note}</small>" for note in notes)
    if runbook is None or (kind := kind_of(health, taken)) is None:
        return pill + small
    return pill + small + runbook.link(kind)


def _of_state(health: HostHealth, taken: float) -> str | None:
    """What the word for its state leaves out."""
    if not health.used and health.state in ("broken", "degraded"):
        return "moved: nothing uses it any more"
    if health.state == "degraded" and health.broken_since is not None:
        return "broken until a try succeeds"
    if health.state != "unknown":
        return None
    heard = last_outcome_at(health)
    if heard is not None:
        error = ", an error" if heard == health.last_error_at else ""
        return f"quiet: last heard {ago(heard, taken)}{error}"
    return "no verdict yet" if health.attempts else "not tried yet"


def _since(health: HostHealth, taken: float) -> str:
    if health.state_since is None:
        return DASH
    return f"<b>{span(taken - health.state_since)}</b><small>{time_of_day(health.state_since, taken)}</small>"


def _circuit(health: HostHealth, taken: float) -> str:
    dry = health.breaker_mode == "observe"
    if health.breaker_mode == "off":
        return _OFF
    if health.breaker == "closed":
        if dry:
            return "closed<small>dry run</small>"
        return _CLOSED if health.share >= 1 else f"<b>closed</b><small>lets in {percent(health.share)}</small>"
    why = "" if health.opened_by is None else f"<small>{_RULES[health.opened_by]}</small>"
    when = "" if health.opened_at is None else f"<small>opened {time_of_day(health.opened_at, taken)}</small>"
    if dry:
        when = when.replace("opened", "since")
        return f"<b>would be {health.breaker}</b><small>dry run: refuses nothing</small>{when}{why}"
    if health.breaker == "half-open":
        return f"<b>half-open</b><small>lets single calls try</small>{when}{why}"
    probe = "" if health.retry_in is None else f"<small>next try in {span(health.retry_in)}</small>"
    return f"<b>open</b>{probe}{when}{why}"


def _success(ratio: float | None) -> str:
    if ratio is None:
        return DASH
    shown = percent(ratio)
    bar = f'<rect class="track" width="100" height="6"/><rect width="{shown.split()[0]}" height="6"/>'
    return (
        f'<b>{shown}</b><svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
    )


def _latency(health: HostHealth) -> str:
    found = health.latency
    if found.p95 is None:
        return DASH
    return (
        f"{latency(found.p95)}<small>p50&nbsp;{latency(found.p50)}</small><small>p99&nbsp;{latency(found.p99)}</small>"
    )


def _in_flight(health: HostHealth) -> str:
    near = health.limit is not None and 2 * health.in_flight >= health.limit
    return f"{health.in_flight:,}" + (f"<small>of {health.limit:,}</small>" if near else "")


def _calls(health: HostHealth) -> str:
    failed = f"<small>{plural(health.failures, 'failed attempt')}</small>" if health.failures else ""
    retries = f"<small>{plural(health.retries, 'retry', 'retries')}</small>" if health.retries else ""
    return f"{health.calls:,}{failed}{retries}"


def _rejected(health: HostHealth) -> str:
    by = "".join(f"<small>{count:,} {words}</small>" for count, words in _by(health.rejected))
    would = sum(count for count, _ in _by(health.would_reject))
    dry = f"<small>dry run {would:,}</small>" if would else ""
    return f"{health.rejections:,}{by}{dry}"


def _by(rejected: RejectedBy) -> list[tuple[int, str]]:
    return [(count, words) for part, words in _REFUSERS.items() if (count := getattr(rejected, part))]


def _error(health: HostHealth, taken: float) -> str:
    notes = "".join(f"<small>{words}</small>" for tell in _NOTES if (words := tell(health, taken)))
    if health.last_error is None:
        return notes or DASH
    error = health.last_error.replace(f"{health.host.partition('#')[0]}: ", "", 1)  # the row names the host already
    if len(error) > _LONGEST_ERROR:
        error = error[:_LONGEST_ERROR] + " …"
    shown = f"<bdi>{text(error)}</bdi>"
    if len(error) > _SHORT_ERROR:
        shown = f"<details><summary>{shown}</summary></details>"
    return shown + notes


def _error_at(health: HostHealth, taken: float) -> str:
    at = health.last_error_at
    return "" if at is None else f"{ago(at, taken)}, {time_of_day(at, taken)}"


def _success_at(health: HostHealth, taken: float) -> str:
    if health.last_success is None:
        return "no success yet" if health.last_error else ""
    return f"last success {ago(health.last_success, taken)}"


def _hooks(health: HostHealth, taken: float) -> str:
    return "" if health.hooks_since is None else f"hooks running since {time_of_day(health.hooks_since, taken)}"


def _cooldown(health: HostHealth, taken: float) -> str:
    return "" if health.cooldown is None else f"asks callers to wait {span(health.cooldown)}"


def _isolation(health: HostHealth, taken: float) -> str:
    """Why, since when and until when an operator isolated the host, as far as they said."""
    if health.state != "isolated":
        return ""
    since = "" if health.isolated_since is None else f" at {time_of_day(health.isolated_since, taken)}"
    until = "" if health.isolated_until is None else f" until {time_of_day(health.isolated_until, taken)}"
    reason = "" if health.isolated_reason is None else f": <bdi>{text(health.isolated_reason)}</bdi>"
    return f"isolated by an operator{since}{until}{reason}"


_NOTES: tuple[Callable[[HostHealth, float], str], ...] = (_error_at, _isolation, _success_at, _hooks, _cooldown)
