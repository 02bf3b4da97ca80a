"""The report as one HTML file that opens anywhere: no other file, no network, and nothing in it but text and charts."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from sleepwalker.inspect.charts import library
from sleepwalker.inspect.model import Finding, HostFacts, Report, Span
from sleepwalker.inspect.spans import CIRCUIT, HOST, coarse
from sleepwalker.inspect.words import count, share, span, when

__all__ = ["page"]

#: The longest lists of a page; `--json` has all.
_HOSTS, _OUTAGES = 100, 50

#: Of a lane: more than a screen has columns.
_MOST_SPANS = 2_000

_MARKS = {"good": "all is well", "over": "over", "bad": "trouble"}

#: Nothing but what is in the page. Plotly writes style elements and attributes as it draws.
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def page(report: Report) -> str:
    """The page. Raises `InspectError` where the charting library is not installed."""
    scripts = [library(), _asset("page.js")]
    policy = _POLICY.format(scripts=" ".join(map(_hash, scripts)))
    title = f"sleepwalker: {when(report.begin, report)} to {when(report.end, report)} UTC"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<style>
{_asset("page.css")}</style>
</head>
<body>
<main>
{_head(report)}
{"".join(map(_finding, report.findings))}
{_tiles(report)}
{_charts(report)}
{_hosts(report)}
{_outages(report)}
{_problems(report)}
{_retries(report)}
{_slow(report)}
{_lines(report)}
</main>
<script type="application/json" id="data">{_data(report)}</script>
<script>{scripts[0]}</script>
<script>{scripts[1]}</script>
</body>
</html>
"""


@cache
def _asset(name: str) -> str:
    return resources.files("sleepwalker.inspect").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What the policy lets run: this script, byte for byte."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(report: Report) -> str:
    """What the charts are drawn from. No text in it can end the element that it stands in."""
    charted = {series.host for series in report.series}
    data = {
        "begin": report.begin,
        "end": report.end,
        "step": report.step,
        "series": [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in report.series],
        "states": [
            {
                "host": facts.host,
                "spans": _spans(facts.host_spans, HOST, report),
                "circuit": _spans(facts.circuit_spans, CIRCUIT, report),
            }
            for facts in report.hosts
            if facts.host in charted
        ],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _spans(spans: Sequence[Span], states: Sequence[str], report: Report) -> list[tuple[str, float, float]]:
    shown = coarse(spans, states, report.begin, report.end, _MOST_SPANS)
    return [(one.state, one.since, one.until) for one in shown]


def _text(value: object) -> str:
    return html.escape(str(value))


def _head(report: Report) -> str:
    period = f"{when(report.begin, report)} to {when(report.end, report)} UTC, {span(report.end - report.begin)}"
    files = ", ".join(file.name for file in report.files[:3]) + (" …" if len(report.files) > 3 else "")
    about = f"{period} · {count(report.events, 'event')} of {files}"
    return f"<header><h1>What happened</h1><p>{_text(about)}</p></header>"


def _finding(finding: Finding) -> str:
    rows = "".join(
        f"<dt>{label}</dt><dd>{_text(said)}</dd>"
        for label, said in (("since", finding.since), ("done", finding.done), ("over?", finding.over))
        if said
    )
    return (
        f'<section class="finding {finding.tone}"><h2><span class="mark">{_MARKS[finding.tone]}</span> '
        f"{_text(finding.which)}</h2>{f'<dl>{rows}</dl>' if rows else ''}</section>\n"
    )


def _tiles(report: Report) -> str:
    calls, answered = report.total("calls"), report.total("answered")
    p50, p95, p99, _ = report.latency
    about = "about " if any(facts.sampled for facts in report.hosts) else ""
    tiles = [
        ("calls", f"{about}{calls:,}", count(len([one for one in report.hosts if one.calls]), "host")),
        ("answered", share(answered / calls if calls else None), f"{answered:,}"),
        ("failed", f"{report.total('failed') - report.total('rejected'):,}", "after they were sent"),
        ("refused", f"{report.total('rejected'):,}", "before they were sent"),
        ("saved by retries", f"{report.retries.saved:,}", count(report.retries.sends, "retry", "retries")),
        ("latency p50", _seconds(p50), f"p95 {_seconds(p95)}, p99 {_seconds(p99)}"),
    ]
    made = "".join(
        f'<li><span class="name">{name}</span><b>{_text(value)}</b><span>{_text(more)}</span></li>'
        for name, value, more in tiles
    )
    return f'<ul class="tiles">{made}</ul>'


def _charts(report: Report) -> str:
    options = "".join(
        f'<option value="{number}">{_text(one.host or "all hosts")}</option>'
        for number, one in enumerate(report.series)
    )
    return f"""<section class="charts">
<div class="bar"><h2>Over time</h2><label>of <select id="host" autocomplete="off">{options}</select></label>
<span class="hint">drag to zoom, double-click to see all; an interval is {_text(span(report.step))}</span></div>
<ul id="key"></ul>
<div id="charts"></div>
<noscript><p>The charts need JavaScript. All that follows does not.</p></noscript>
</section>"""


def _seconds(value: float | None) -> str:
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


def _hosts(report: Report) -> str:
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
            f"<b>{_text(one.host)}</b>",
            _state(one),
            f"{one.calls:,}",
            share(one.success_ratio).replace("<", "&lt;").replace(">", "&gt;"),
            f"{one.failed - one.rejected:,}",
            f"{one.rejected:,}",
            f"{one.retries:,}",
            f"{one.saved:,}",
            *(_seconds(value) for value in (one.p50, one.p95, one.p99, one.longest)),
        ]
        for one in report.hosts
    ]
    more = f"and {count(len(rows) - _HOSTS, 'host')} more" if len(rows) > _HOSTS else ""
    return _table("Hosts, worst first", headers, rows[:_HOSTS], "0 1", more)


def _outages(report: Report) -> str:
    found = sorted(
        ((one, facts.host) for facts in report.hosts for one in facts.outages), key=lambda pair: -pair[0].since
    )
    rows = [
        [
            _text(when(one.since, report)),
            _text(when(one.until, report)) if one.until is not None else "not over when the log ends",
            _text(span((one.until or report.end) - one.since)),
            _text(host),
            "an operator" if one.why == "isolated" else _text(one.cause or ""),
        ]
        for one, host in found
    ]
    more = f"and {len(rows) - _OUTAGES:,} earlier ones" if len(rows) > _OUTAGES else ""
    return _table("Outages, latest first", ("from", "until", "for", "host", "cause"), rows[:_OUTAGES], "0 1 3 4", more)


def _problems(report: Report) -> str:
    rows = [
        [
            _text(one.host),
            _text(f"status {one.error}" if one.error.isdigit() else one.error),
            f"{one.attempts:,}",
            _text(when(one.first, report)),
            _text(when(one.last, report)),
            f"<code>{_text(one.path or '')}</code>",
            _text(one.detail or ""),
        ]
        for one in report.problems
    ]
    headers = ("host", "what", "times", "first", "last", "most often at", "the last one said")
    return _table("Failed sends", headers, rows, "0 1 5 6")


def _retries(report: Report) -> str:
    it = report.retries
    rows = [["sends beyond the first", f"{it.sends:,}", f"in {count(it.calls, 'call')}"]] if it.sends else []
    rows += [[f"calls saved by attempt {attempt}", f"{number:,}", ""] for attempt, number in it.saved_by.items()]
    if it.hedges:
        rows.append(["hedges", f"{it.hedges:,}", f"{it.saved_by_hedges:,} answered first"])
    if it.sends:
        rows.append(["calls that failed all the same", f"{it.in_vain:,}", ""])
        rows.append(["waiting between sends", _text(span(it.waited)), "all calls together"])
    if it.server_directed:
        rows.append(["waits set by Retry-After", f"{it.server_directed:,}", ""])
    rows += [["not retried", f"{number:,}", _text(reason)] for reason, number in it.abandoned.items()]
    return _table("What retries were good for", ("", "", ""), rows, "0 2")


def _slow(report: Report) -> str:
    rows = [
        [
            _seconds(one.duration),
            _text(when(one.time, report)),
            _text(one.error or one.status or "answered"),
            str(one.attempts),
            f"<code>{_text(f'{one.method} {one.host}{one.path}')}</code>",
        ]
        for one in report.slow
    ]
    return _table("Slowest calls", ("took", "ended", "came to", "sends", "call"), rows, "1 2 4")


def _lines(report: Report) -> str:
    rows = [
        [
            _text(file.name),
            f"{file.events:,}",
            f"{file.other:,}",
            f"{file.malformed:,}",
            "yes" if file.unfinished else "",
        ]
        for file in report.files
    ]
    headers = ("file", "events", "other JSON lines", "unreadable", "last line unfinished")
    bad = [
        [f"{_text(one.file)}:{one.line}", _text(one.fault), f"<code>{_text(one.excerpt)}</code>"]
        for one in report.bad_lines
    ]
    return _table("What was read", headers, rows, "0 4") + _table(
        "Lines that could not be read", ("line", "fault", "begins"), bad, "0 1 2"
    )
