"""The report as one HTML file that opens anywhere: no other file, no network, and nothing in it but text and charts."""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib import resources

from sleepwalker.inspect import charts, tables
from sleepwalker.inspect.advice import read_on
from sleepwalker.inspect.markup import breakable, text
from sleepwalker.inspect.model import Report
from sleepwalker.inspect.trouble import Finding
from sleepwalker.inspect.words import (
    about_filter,
    alone,
    count,
    cut_short,
    misdated,
    period,
    seconds,
    share,
    span,
    when,
)

__all__ = ["page"]

#: How many findings are shown: more would not be read, and `--json` has all.
_FINDINGS = 100

#: How many episodes of a finding are shown at once. The others can be opened.
_SOME = 3

#: How many times without the store of a fleet are listed.
_ALONE = 6

_MARKS = {"good": "ok", "note": "note", "over": "over", "bad": "goes on"}

#: Allows only what is in the page, and inline styles, because Plotly writes them as it draws.
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def page(report: Report) -> str:
    """The page."""
    scripts = [charts.library(), _asset("traces.js"), _asset("page.js")]
    policy = _POLICY.format(scripts=" ".join(map(_hash, scripts)))
    tone, headline = _headline(report)
    run = "\n".join(f"<script>{script}</script>" for script in scripts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(f"{headline} · {period(report)} · sleepwalker inspect")}</title>
<style>
{_asset("page.css")}</style>
</head>
<body>
<main>
<header><p>sleepwalker inspect</p>
<h1 class="{tone}">{text(headline)}</h1>
{_about(report)}</header>
{_findings(report)}
{_tiles(report)}
{charts.section(report)}
{tables.troubles(report)}
{tables.hosts(report)}
{tables.problems(report)}
{tables.retries(report)}
{tables.slow(report)}
{tables.lines(report)}
</main>
<script type="application/json" id="data">{charts.data(report)}</script>
{run}
</body>
</html>
"""


@cache
def _asset(name: str) -> str:
    return resources.files("sleepwalker.inspect").joinpath(name).read_text(encoding="utf-8")


@cache
def _hash(script: str) -> str:
    """The hash by which the policy allows this script, byte for byte."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _headline(report: Report) -> tuple[str, str]:
    """The tone and the words of the page's heading: whether anything is wrong, and whether it is over."""
    on, over = (sum(one.tone == tone for one in report.findings) for tone in ("bad", "over"))
    if on and over:
        return "bad", f"{count(on, 'trouble goes on', 'troubles go on')}, {over} {'is' if over == 1 else 'are'} over"
    if on:
        return "bad", count(on, "trouble goes on", "troubles go on")
    if over:
        return "over", "1 trouble, and it is over" if over == 1 else f"{over} troubles, all of them over"
    return "good", "No trouble"


def _about(report: Report) -> str:
    about = [
        f"<b>{text(period(report))}</b>",
        count(len(report.met), "host"),
        *([f"{report.processes:,} processes"] if report.processes > 1 else []),
        f"{count(report.events, 'event')} of {text(_files(report))}",
    ]
    chosen = about_filter(report)
    lines = [" · ".join(about), f"<b>{text(chosen)}</b>" if chosen else "", text(misdated(report) or "")]
    told = alone(report)
    lines += [text(one) for one in told[-_ALONE:]]
    if (rest := len(told) - _ALONE) > 0:
        lines.append(f"and without it {count(rest, 'time')} more before, which --json has")
    lines.insert(0, f"<b>{text(cut_short(report))}</b>" if cut_short(report) else "")
    return "".join(f"<p>{line}</p>\n" for line in lines if line)


def _files(report: Report) -> str:
    names = [file.name for file in report.files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _findings(report: Report) -> str:
    shown = report.findings[:_FINDINGS]
    left = len(report.findings) - len(shown)
    note = f'<p class="aside">and {count(left, "finding")} more, which --json has</p>' if left else ""
    return f'<ol class="findings">{"".join(_finding(one, report) for one in shown)}</ol>{note}'


def _finding(finding: Finding, report: Report) -> str:
    linked = finding.runbook.startswith(("https://", "http://"))
    runbook = text(read_on(finding.runbook).removeprefix("runbook, ")).replace("#", "<wbr>#")
    parts = [
        [("When", _when(finding, report))],
        [("Done", text(finding.done)), ("Over?", text(finding.over))],
        [("Now", text(finding.next)), ("Runbook", "" if linked else runbook)],
    ]
    lists = [[f"<dt>{label}</dt><dd>{said}</dd>" for label, said in part if said] for part in parts]
    since, done, now = (f"<dl>{''.join(rows)}</dl>" if rows else "" for rows in lists)
    name = text(finding.which)
    links = [
        f'<a class="runbook" href="{text(finding.runbook)}" rel="noreferrer" aria-label="Runbook: {name}">Runbook</a>'
    ] * linked
    links += _place(finding, report, name)
    after = f'<p class="links">{"".join(links)}</p>' if links else ""
    mark = f'<span class="mark">{_MARKS[finding.tone]}</span>'
    return (
        f'<li class="finding {finding.tone}"><div><h2>{mark} {_which(finding)}</h2>{since}</div>'
        f"{f'<div>{done}</div><div>{now}{after}</div>' if done or now or after else ''}</li>\n"
    )


def _when(finding: Finding, report: Report) -> str:
    """For one host, the latest episodes, and the others to be opened. For several, their whole time, then each."""
    lines = [f"<div>{text(one)}</div>" for one in finding.since]
    told = [report.episodes[number] for number in finding.episodes]
    if len(told) == len(lines):  # what goes on is the latest, whenever it began
        lines = [line for _, line in sorted(zip(told, lines, strict=True), key=lambda pair: pair[0].end is None)]
    shown, more, what = lines[-_SOME:], lines[:-_SOME], "earlier"
    if more and len(finding.hosts) > 1 and finding.episodes:
        begin, until = _time(finding, report)
        to = text(when(until, report)) if _over(finding, report) else "the end of the log"
        shown = [f"<div>{text(when(begin, report))} to {to}, {text(span(until - begin))}</div>"]
        more, what = lines, "lines, host by host"
    opened = f"<details><summary>{len(more):,} {what}</summary>{''.join(more)}</details>" if more else ""
    return "".join(shown) + opened


def _time(finding: Finding, report: Report) -> tuple[float, float]:
    """From when until when its episodes were. For one host, only the one that goes on, or the latest."""
    told = sorted((report.episodes[number] for number in finding.episodes), key=lambda one: one.end is None)
    seen = told if len(finding.hosts) > 1 else told[-1:]
    ends = [report.end if one.end is None else one.end for one in seen]
    return min(one.begin for one in seen), max(ends)


def _over(finding: Finding, report: Report) -> bool:
    return all(report.episodes[number].end is not None for number in finding.episodes)


def _which(finding: Finding) -> str:
    """The heading. If a host has a name, its address is set smaller."""
    name, bracket, address = finding.which.partition(" (")
    if bracket and len(finding.hosts) == 1:
        return f"{text(name)} <small>{breakable(address.removesuffix(')'))}</small>"
    return breakable(finding.which)


def _place(finding: Finding, report: Report, name: str) -> list[str]:
    """A link that shows a finding's time, and its host if it is about one, in the charts."""
    if not finding.episodes:
        return []
    begin, until = _time(finding, report)
    host = text(finding.hosts[0]) if len(finding.hosts) == 1 else ""
    place = f'data-host="{host}" data-from="{begin:.3f}" data-until="{until:.3f}"'
    words = "See it in the charts"
    return [f'<a class="go" href="#charts" {place} aria-label="{words}: {name}">{words}</a>']


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
        ("latency p50", seconds(p50), f"p95 {seconds(p95)}, p99 {seconds(p99)}"),
    ]
    made = "".join(
        f"<li><span>{name}</span><b>{text(value)}</b><span>{text(more)}</span></li>" for name, value, more in tiles
    )
    return f'<ul class="tiles" aria-label="All calls together">{made}</ul>'
