"""The report as one HTML file that opens anywhere: no other file, no network, and nothing in it but text and charts."""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib import resources

from sleepwalker.inspect import charts, tables
from sleepwalker.inspect.markup import breakable, seconds, text
from sleepwalker.inspect.model import Report
from sleepwalker.inspect.trouble import Finding
from sleepwalker.inspect.window import Filter, iso
from sleepwalker.inspect.words import count, misdated, share, span

__all__ = ["page"]

#: Findings that are told one by one: more would not be read, and `--json` has all.
_FINDINGS = 100

#: Episodes of a finding that are told at once; the others can be opened.
_SOME = 3

_MARKS = {"good": "all is well", "note": "note", "over": "over", "bad": "goes on"}

#: Nothing but what is in the page. Plotly writes style elements and attributes as it draws.
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
<title>{text(f"{headline} · {_period(report)} · sleepwalker inspect")}</title>
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
    """What the policy lets run: this script, byte for byte."""
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


def _period(report: Report) -> str:
    begin, end = (iso(at)[:19].replace("T", " ") for at in (report.begin, report.end))
    return f"{begin} to {end[11:] if begin[:10] == end[:10] else end} UTC"


def _about(report: Report) -> str:
    about = [
        f"<b>{text(_period(report))}</b>",
        text(span(report.end - report.begin)),
        count(len(report.met), "host"),
        *([f"{report.processes:,} processes"] if report.processes > 1 else []),
        f"{count(report.events, 'event')} of {text(_files(report))}",
    ]
    lines = [" · ".join(about), *_chosen(report.chosen)]
    if said := misdated(report):
        lines.append(text(said))
    return "".join(f"<p>{line}</p>\n" for line in lines)


def _files(report: Report) -> str:
    names = [file.name for file in report.files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _chosen(chosen: Filter) -> list[str]:
    """What was left out by the filter."""
    parts = [f"since {iso(chosen.since)[:19]}Z"] if chosen.since is not None else []
    parts += [f"until {iso(chosen.until)[:19]}Z"] if chosen.until is not None else []
    parts += [f"hosts like {' or '.join(chosen.hosts)}"] if chosen.hosts else []
    return [f"<b>Only a part of the log: {text(', '.join(parts))}</b>"] if parts else []


def _findings(report: Report) -> str:
    shown = report.findings[:_FINDINGS]
    left = len(report.findings) - len(shown)
    note = f'<p class="aside">and {count(left, "finding")} more, which --json has</p>' if left else ""
    return f'<ol class="findings">{"".join(_finding(one, report) for one in shown)}</ol>{note}'


def _finding(finding: Finding, report: Report) -> str:
    since = [f"<div>{text(one)}</div>" for one in finding.since]
    # Of one host the latest, of hosts that fell together those that fell first.
    shown, more = (since[:_SOME], since[_SOME:]) if len(finding.hosts) > 1 else (since[-_SOME:], since[:-_SOME])
    if more:
        shown.append(f"<details><summary>{len(more):,} more</summary>{''.join(more)}</details>")
    runbook, linked = breakable(finding.runbook), finding.runbook.startswith(("https://", "http://"))
    parts = [
        [("When", "".join(shown))],
        [("Done", text(finding.done)), ("Over?", text(finding.over))],
        [("Now", text(finding.next)), ("Runbook", "" if linked else runbook)],
    ]
    lists = [[f"<dt>{label}</dt><dd>{said}</dd>" for label, said in part if said] for part in parts]
    when, done, now = (f"<dl>{''.join(rows)}</dl>" if rows else "" for rows in lists)
    name = text(finding.which)
    links = [
        f'<a class="runbook" href="{text(finding.runbook)}" rel="noreferrer" aria-label="Runbook: {name}">Runbook</a>'
    ] * linked
    links += _place(finding, report, name)
    after = f'<p class="links">{"".join(links)}</p>' if links else ""
    mark = f'<span class="mark">{_MARKS[finding.tone]}</span>'
    return (
        f'<li class="finding {finding.tone}"><div><h2>{mark} {_which(finding)}</h2>{when}</div>'
        f"<div>{done}</div><div>{now}{after}</div></li>\n"
    )


def _which(finding: Finding) -> str:
    """The heading; of a host with a name the address is the less important part."""
    name, bracket, address = finding.which.partition(" (")
    if bracket and len(finding.hosts) == 1:
        return f"{text(name)} <small>{breakable(address.removesuffix(')'))}</small>"
    return breakable(finding.which)


def _place(finding: Finding, report: Report, name: str) -> list[str]:
    """A link that shows a finding's time, and its host if it is about one, in the charts."""
    told = [report.episodes[number] for number in finding.episodes]
    if not told:
        return []
    alone = len(finding.hosts) == 1
    seen = told[-1:] if alone else told
    begin = min(one.begin for one in seen)
    until = max(report.end if one.end is None else one.end for one in seen)
    place = f'data-host="{text(finding.hosts[0]) if alone else ""}" data-from="{begin:.3f}" data-until="{until:.3f}"'
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
