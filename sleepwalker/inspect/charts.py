"""The charts of the page: the library's script, the elements that it draws into, and their data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources

from sleepwalker.inspect.markup import text
from sleepwalker.inspect.model import HostFacts, Report, Series, Span
from sleepwalker.inspect.spans import CIRCUIT, HOST, coarse
from sleepwalker.inspect.words import span

__all__ = ["LEGENDS", "data", "hue", "library", "section"]

#: Per lane: enough for a zoom into a tenth of the time.
_MOST_SPANS = 600

#: Kinds of trouble that have no colour of their own.
_HUES = {"total": "broken", "partial": "broken", "hooks": "broken", "limited": "slow"}

#: The legend of each chart: the look of a swatch, its colour, and its words.
LEGENDS = {
    "states": (
        ("", "broken", "failing, broken, circuit open"),
        ("", "slow", "slow, limited"),
        ("striped", "half-open", "half-open"),
        ("", "moved", "its callers go to another host"),
        ("", "isolated", "isolated"),
        ("", "would-be-open", "would be open (dry run)"),
        ("thin", "fine", "fine, closed"),
    ),
    "calls": (
        ("", "failed", "failed after they were sent"),
        ("striped", "refused", "refused before they were sent"),
        ("", "answered", "answered"),
    ),
    "share": (("line", "", "one host each, as above"), ("line dots", "", "all hosts")),
    "latency": (("line", "", "p95: 95 of 100 calls took less"), ("line dots", "", "p50: half of them took less")),
    "retries": (("", "retried", "sends beyond a call's first"),),
}
_TITLES = {
    "states": "Troubles and circuits",
    "calls": "Calls",
    "share": "Answered, % of calls",
    "latency": "Latency",
    "retries": "Retries",
}
_TOOLS = (("earlier", "◀", "Earlier"), ("later", "▶", "Later"), ("in", "+", "Zoom in"), ("out", "−", "Zoom out"))


@cache
def library() -> str:
    """Plotly's basic bundle as one script. `vendor/pin.toml` says why this one, and which version."""
    return resources.files("sleepwalker.inspect").joinpath("vendor", "plotly-basic.min.js").read_text(encoding="utf-8")


def _short(facts: HostFacts) -> str:
    """A host's label in the charts: without the usual scheme of its address."""
    return facts.label.replace("https://", "", 1) if facts.label.count("https://") == 1 else facts.label


def data(report: Report) -> str:
    """The data of the charts as JSON, escaped so that no text in it can end its HTML element."""
    known = {facts.host: facts for facts in report.hosts}
    labels = {host: _short(facts) for host, facts in known.items()}
    drawn = {
        "begin": report.begin,
        "end": report.end,
        "step": report.step,
        "series": [_series(one, labels) for one in report.series],
        "states": [_states(known[one.host], report) for one in report.series if one.host in known],
    }
    packed = json.dumps(drawn, separators=(",", ":"), allow_nan=False)
    return packed.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _series(series: Series, labels: dict[str, str]) -> dict[str, object]:
    return {
        "host": series.host,
        "label": "all hosts" if series.host is None else labels.get(series.host, series.host),
        **{name: getattr(series, name) for name in ("answered", "failed", "rejected", "retries")},
        **{name: [_rounded(value) for value in getattr(series, name)] for name in ("p50", "p95")},
    }


def _rounded(value: float | None) -> float | None:
    """Four digits: more than a picture shows, and a third of the bytes."""
    return None if value is None else float(f"{value:.4g}")


def _states(facts: HostFacts, report: Report) -> dict[str, object]:
    troubles = [
        Span(one.kind, one.begin, report.end if one.end is None else one.end)
        for one in report.episodes
        if one.host == facts.host and one.trouble
    ]
    return {
        "host": facts.host,
        "label": _short(facts),
        "troubles": _spans(troubles, report),
        "spans": _spans(coarse(facts.host_spans, HOST, report.begin, report.end, _MOST_SPANS), report),
        "circuit": _spans(coarse(facts.circuit_spans, CIRCUIT, report.begin, report.end, _MOST_SPANS), report),
    }


def _spans(spans: Sequence[Span], report: Report) -> list[tuple[str, str, float, float]]:
    """Each span's state, the name of its colour, and its seconds since the begin."""
    return [
        (
            one.state,
            hue(one.state),
            round(one.since - report.begin, 3),
            round(one.until - report.begin, 3),
        )
        for one in spans
    ]


def hue(state: str) -> str:
    """The name of a state's colour in page.css."""
    return _HUES.get(state, state).replace(" ", "-")


def section(report: Report) -> str:
    """The elements that the charts are drawn into, with their headings, legends and controls."""
    tools = "".join(
        f'<button type="button" data-do="{name}" aria-label="{label}" title="{label}">{sign}</button>'
        for name, sign, label in _TOOLS
    )
    charted = len(report.series) - 1
    left = len(report.met) - charted
    which = f"The {charted} worst of {len(report.met):,} hosts have lines of their own; " if left > 0 else ""
    figures = "".join(_figure(name, legend) for name, legend in LEGENDS.items())
    return f"""<section id="charts" aria-labelledby="over-time">
<div class="bar"><h2 id="over-time">Over time</h2><p id="chosen" role="status"></p>
<div class="tools" role="group" aria-label="Time shown">{tools}
<button type="button" data-do="all">All</button></div></div>
<ul id="key" aria-label="Hosts in the charts"></ul>
<p class="aside">{text(which)}{"a" if which else "A"}n interval is {text(span(report.step))}. Choose a host to see it
alone. <span class="hint">Drag across a chart to zoom, double-click to see all; or use the keys
←&nbsp;→&nbsp;+&nbsp;−&nbsp;0.</span></p>
<noscript><p>The charts need JavaScript. All that follows does not.</p></noscript>
{figures}
<details id="numbers"><summary>The numbers of the charts as a table</summary>
<table><caption></caption><thead></thead><tbody></tbody></table></details>
</section>"""


def _figure(name: str, legend: Iterable[tuple[str, str, str]]) -> str:
    entries = "".join(_entry(look, hue, words) for look, hue, words in legend)
    return (
        f'<figure><figcaption><h3>{_TITLES[name]}</h3><ul class="legend">{entries}</ul></figcaption>'
        f'<div class="plot {name}" role="img" aria-label="{_TITLES[name]}"></div></figure>\n'
    )


def _entry(look: str, hue: str, words: str) -> str:
    mark = ' id="median"' if words.startswith("p50") else ""
    colour = f' style="--hue:var(--{hue})"' if hue else ""
    return f'<li{mark}><i class="{look}"{colour}></i>{words}</li>'
