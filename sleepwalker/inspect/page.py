"""The report as one HTML file that opens anywhere: no other file, no network, and nothing in it but text and charts."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from sleepwalker.inspect import tables
from sleepwalker.inspect.charts import library
from sleepwalker.inspect.model import Report, Span
from sleepwalker.inspect.spans import CIRCUIT, HOST, coarse
from sleepwalker.inspect.trouble import Finding
from sleepwalker.inspect.words import count, misdated, share, span, when

__all__ = ["page"]

#: Of a lane: more than a screen has columns.
_MOST_SPANS = 2_000

_MARKS = {"good": "all is well", "note": "note", "over": "over", "bad": "trouble"}

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
{tables.hosts(report)}
{tables.outages(report)}
{tables.problems(report)}
{tables.retries(report)}
{tables.slow(report)}
{tables.lines(report)}
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


def _head(report: Report) -> str:
    period = f"{when(report.begin, report)} to {when(report.end, report)} UTC, {span(report.end - report.begin)}"
    files = ", ".join(file.name for file in report.files[:3]) + (" …" if len(report.files) > 3 else "")
    about = f"{period} · {count(report.events, 'event')} of {files}"
    note = f"<p>{tables.text(said)}</p>" if (said := misdated(report)) else ""
    return f"<header><h1>What happened</h1><p>{tables.text(about)}</p>{note}</header>"


def _finding(finding: Finding) -> str:
    said = [("when", one) for one in finding.since]
    said += [("done", finding.done), ("over?", finding.over), ("next", finding.next), ("runbook", finding.runbook)]
    rows = "".join(f"<dt>{label}</dt><dd>{tables.text(words)}</dd>" for label, words in said if words)
    return (
        f'<section class="finding {finding.tone}"><h2><span class="mark">{_MARKS[finding.tone]}</span> '
        f"{tables.text(finding.which)}</h2>{f'<dl>{rows}</dl>' if rows else ''}</section>\n"
    )


def _tiles(report: Report) -> str:
    calls, answered = report.total("calls"), report.total("answered")
    p50, p95, p99, _ = report.latency
    about = report.about
    tiles = [
        ("calls", f"{about}{calls:,}", count(len([one for one in report.hosts if one.calls]), "host")),
        ("answered", share(answered / calls if calls else None), f"{answered:,}"),
        ("failed", f"{report.total('failed') - report.total('rejected'):,}", "after they were sent"),
        ("refused", f"{report.total('rejected'):,}", "before they were sent"),
        ("saved by retries", f"{about}{report.retries.saved:,}", count(report.retries.sends, "retry", "retries")),
        ("latency p50", tables.seconds(p50), f"p95 {tables.seconds(p95)}, p99 {tables.seconds(p99)}"),
    ]
    made = "".join(
        f'<li><span class="name">{name}</span><b>{tables.text(value)}</b><span>{tables.text(more)}</span></li>'
        for name, value, more in tiles
    )
    return f'<ul class="tiles">{made}</ul>'


def _charts(report: Report) -> str:
    options = "".join(
        f'<option value="{number}">{tables.text(one.host or "all hosts")}</option>'
        for number, one in enumerate(report.series)
    )
    return f"""<section class="charts">
<div class="bar"><h2>Over time</h2><label>of <select id="host" autocomplete="off">{options}</select></label>
<span class="hint">drag to zoom, double-click to see all; an interval is {tables.text(span(report.step))}</span></div>
<ul id="key"></ul>
<div id="charts"></div>
<noscript><p>The charts need JavaScript. All that follows does not.</p></noscript>
</section>"""
