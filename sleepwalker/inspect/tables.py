"""The tables of the page, as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from sleepwalker.inspect.model import HostFacts, Report
from sleepwalker.inspect.words import count, share, span, when

__all__ = ["hosts", "lines", "outages", "problems", "retries", "seconds", "slow", "text"]

#: The longest lists of a page; `--json` has all.
_HOSTS, _OUTAGES = 100, 50


def text(value: object) -> str:
    return html.escape(str(value))


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 0.0995 else f"{value:.2f} s" if value < 9.95 else f"{value:.1f} s"


def _table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], words: str, note: str = "") -> str:
    """A table; nothing where it has no rows. `words` are the numbers of the columns that are flush left.

    Cells are HTML already.
    """
    if not rows:
        return ""
    left = [' class="word"' if str(at) in words.split() else "" for at in range(len(headers))]
    body = "".join(
        "<tr>" + "".join(f"<td{side}>{cell}</td>" for side, cell in zip(left, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    names = "".join(f'<th scope="col"{side}>{name}</th>' for side, name in zip(left, headers, strict=True))
    head = f"<thead><tr>{names}</tr></thead>" if any(headers) else ""
    after = f"<p>{note}</p>" if note else ""
    return (
        f'<section><h2>{title}</h2><div class="wide"><table>{head}<tbody>{body}</tbody></table></div>{after}</section>'
    )


def _state(facts: HostFacts) -> str:
    state = facts.state if facts.state != "fine" or facts.circuit == "closed" else facts.circuit
    return f'<span class="state {state.replace(" ", "-")}">{state}</span>'


def hosts(report: Report) -> str:
    headers = (
        "host",
        "now",
        "calls",
        "answered",
        "failed",
        "refused",
        "retries",
        "saved",
        "p50",
        "p95",
        "p99",
        "longest",
    )
    rows = [
        [
            f"<b>{text(one.host)}</b>",
            _state(one),
            f"{one.calls:,}",
            share(one.success_ratio).replace("<", "&lt;").replace(">", "&gt;"),
            f"{one.failed - one.rejected:,}",
            f"{one.rejected:,}",
            f"{one.retries:,}",
            f"{one.saved:,}",
            *(seconds(value) for value in (one.p50, one.p95, one.p99, one.longest)),
        ]
        for one in report.met
    ]
    more = f"and {count(len(rows) - _HOSTS, 'host')} more" if len(rows) > _HOSTS else ""
    return _table("Hosts, worst first", headers, rows[:_HOSTS], "0 1", more)


def outages(report: Report) -> str:
    found = sorted(
        ((one, facts.host) for facts in report.hosts for one in facts.outages), key=lambda pair: -pair[0].since
    )
    rows = [
        [
            text(when(one.since, report)),
            text(when(one.until, report)) if one.until is not None else "not over when the log ends",
            text(span((one.until or report.end) - one.since)),
            text(host),
            "an operator" if one.why == "isolated" else text(one.cause or ""),
        ]
        for one, host in found
    ]
    more = f"and {len(rows) - _OUTAGES:,} earlier ones" if len(rows) > _OUTAGES else ""
    return _table("Outages, latest first", ("from", "until", "for", "host", "cause"), rows[:_OUTAGES], "0 1 3 4", more)


def problems(report: Report) -> str:
    rows = [
        [
            text(one.host),
            text(f"status {one.error}" if one.error.isdigit() else one.error),
            f"{one.attempts:,}",
            text(when(one.first, report)),
            text(when(one.last, report)),
            f"<code>{text(one.path or '')}</code>",
            text(one.detail or ""),
        ]
        for one in report.problems
    ]
    headers = ("host", "what", "times", "first", "last", "most often at", "the last one said")
    return _table("Failed sends", headers, rows, "0 1 5 6")


def retries(report: Report) -> str:
    it, about = report.retries, report.about
    rows = [["sends beyond the first", f"{about}{it.sends:,}", f"in {count(it.calls, 'call')}"]] if it.sends else []
    rows += [[f"calls saved by attempt {one}", f"{about}{number:,}", ""] for one, number in it.saved_by.items()]
    if it.hedges:
        rows.append(["hedges", f"{it.hedges:,}", f"{it.saved_by_hedges:,} answered first"])
    if it.sends:
        rows.append(["calls that failed all the same", f"{it.in_vain:,}", ""])
        rows.append(["waiting between sends", text(span(it.waited)), "all calls together"])
    if it.server_directed:
        rows.append(["waits set by Retry-After", f"{it.server_directed:,}", ""])
    rows += [["not retried", f"{number:,}", text(reason)] for reason, number in it.abandoned.items()]
    return _table("What retries were good for", ("", "", ""), rows, "0 2")


def slow(report: Report) -> str:
    rows = [
        [
            seconds(one.duration),
            text(when(one.time, report)),
            text(one.error or one.status or "answered"),
            str(one.attempts),
            f"<code>{text(f'{one.method} {one.host}{one.path}')}</code>",
        ]
        for one in report.slow
    ]
    return _table("Slowest calls", ("took", "ended", "came to", "sends", "call"), rows, "1 2 4")


def lines(report: Report) -> str:
    rows = [
        [
            text(file.name),
            f"{file.events:,}",
            f"{file.other:,}",
            f"{file.malformed:,}",
            "cut off or damaged" if file.cut else "last line unfinished" if file.unfinished else "",
        ]
        for file in report.files
    ]
    headers = ("file", "events", "other JSON lines", "unreadable", "its end")
    bad = [
        [f"{text(one.file)}:{one.line}", text(one.fault), f"<code>{text(one.excerpt)}</code>"]
        for one in report.bad_lines
    ]
    return _table("What was read", headers, rows, "0 4") + _table(
        "Lines that could not be read", ("line", "fault", "begins"), bad, "0 1 2"
    )
