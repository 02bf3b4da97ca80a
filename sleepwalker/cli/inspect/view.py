"""What `sleepwalker inspect` shows on a terminal: findings first, then tables and states over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sleepwalker.cli import display
from sleepwalker.cli.display import Cell, Console, RenderableType
from sleepwalker.cli.inspect.lanes import lanes
from sleepwalker.cli.inspect.rows import rows_of
from sleepwalker.cli.text import safe_line
from sleepwalker.inspect.advice import read_on
from sleepwalker.inspect.words import (
    about_filter,
    alone,
    count,
    cut_short,
    glued,
    kind,
    misdated,
    not_retried,
    period,
    seconds,
    share,
    span,
    until,
    when,
)  # fmt: skip

if TYPE_CHECKING:
    from sleepwalker.inspect import Report
    from sleepwalker.inspect.trouble import Finding

#: How long the lists are; --json and --html have all.
_HOSTS, _PROBLEMS, _SLOW, _BAD_LINES = 12, 8, 5, 5
#: How many findings are shown in full (more would fill a screen, so of the others only their times are shown), and how
#: many times of each.
_FINDINGS, _TIMES = 6, 8
#: How many times without the store of a fleet are listed.
_ALONE = 4
#: Tables are at least this wide. A narrower terminal shows their left side.
_NARROWEST = 60
#: Columns of the label before a text.
_LABEL = 9
#: The most characters of an exception's name.
_KIND = 24
#: The most characters of a file's name before a line number.
_PLACE = 30
_TONES = {
    "good": ("OK", "bold green"),
    "note": ("NOTE", "bold cyan"),
    "over": ("OVER", "bold yellow"),
    "bad": ("TROUBLE", "bold red"),
}
_STATES = {
    "broken": "bold red", "failing": "bold red", "hooks failing": "bold red", "isolated": "bold magenta", "open": "red",
    "slow": "yellow", "limited": "yellow", "half-open": "yellow", "recovering": "yellow",
}  # fmt: skip
#: Parts of a policy, in words.
_PARTS = {
    "breaker": "the open circuit", "bulkhead": "the bulkhead", "cooldown": "a wait that the host asked for",
    "isolation": "an operator's isolation", "rate_limit": "our rate limit",
}  # fmt: skip


def render(report: Report, screen: Console) -> RenderableType:
    """The report, as wide as the console. If that is narrow, sentences wrap, and tables use two lines a row."""
    width, wide = screen.width, max(_NARROWEST, screen.width)
    plain = screen.encoding.lower().replace("-", "") not in ("utf8", "utf16")
    parts: list[RenderableType] = []
    for title, body in (
        (None, list(_cut_short(report, width))),
        (None, list(_findings(report, width))),
        (None, list(_summary(report, width))),
        ("hosts, worst first", _hosts(report, wide)),
        (None, lanes(report, width, plain=plain)),
        ("failed sends", _problems(report, wide)),
        ("retries", list(_retries(report, width))),
        ("slowest calls", _slow(report, wide)),
        (None, list(_lines(report, width))),
    ):
        if body:
            parts += [*([display.line((title, "bold underline"))] if title else []), *body, ""]
    return display.stacked(*parts[:-1])


def print_rows(screen: Console, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print the rows of a user's query, as wide as they are."""
    numeric = {
        name
        for at, name in enumerate(names)
        if any(isinstance(row[at], int | float) for row in rows) and not any(isinstance(row[at], str) for row in rows)
    }
    cells = [[_value(value) for value in row] for row in rows]
    words = [name for name in names if name not in numeric]
    wide = [max(len(name), *(len(row[at]) for row in cells), 0) + 2 for at, name in enumerate(names)] or [0]
    screen.width = max(screen.width, sum(wide) + 2)
    screen.print(display.table([safe_line(name) for name in names], cells, words=words), soft_wrap=True)
    screen.print(f"{count(len(rows), 'row')}")


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    return safe_line(f"{value:.6g}" if isinstance(value, float) else str(value))


def _cut_short(report: Report, width: int) -> Iterator[RenderableType]:
    if said := cut_short(report):
        yield _labelled([(("READ", "bold yellow"), said)], 6, width)


def _labelled(rows: Sequence[tuple[Cell, str]], label: int, width: int) -> RenderableType:
    """Labelled rows in which numbers stay with their units. Plain spaces are shown, so that texts can be searched."""
    return display.labelled([(name, glued(said)) for name, said in rows], label, width)


def _findings(report: Report, width: int) -> Iterator[RenderableType]:
    """All findings; those beyond the first `_FINDINGS` only with their times."""
    for finding in report.findings[:_FINDINGS]:
        yield from _finding(finding, width)
    for finding in report.findings[_FINDINGS:]:
        mark, style = _TONES[finding.tone]
        yield display.folded((f"{mark}  ", style), (finding.which, "bold"))
        yield _labelled([(("  when", "dim"), one) for one in finding.since[-_TIMES:]], _LABEL, width)


def _finding(finding: Finding, width: int) -> Iterator[RenderableType]:
    mark, style = _TONES[finding.tone]
    yield display.folded((f"{mark}  ", style), (finding.which, "bold"))
    said = [("when", one) for one in finding.since[:_TIMES]]
    if rest := finding.since[_TIMES:]:
        said.append(("", f"and {count(len(rest), 'time')} more, the last {rest[-1]}"))
    said += [("done", finding.done), ("over?", finding.over), ("now", finding.next), ("see", read_on(finding.runbook))]
    rows: list[tuple[Cell, str]] = [((f"  {label}", "dim"), safe_line(words)) for label, words in said if words]
    if rows:
        yield _labelled(rows, _LABEL, width)


def _summary(report: Report, width: int) -> Iterator[RenderableType]:
    calls, answered = report.total("calls"), report.total("answered")
    wrote = f" of {report.processes:,} processes" if report.processes > 1 else ""
    rows: list[tuple[Cell, str]] = [("period", f"{period(report)}; {count(report.events, 'event')}{wrote}")]
    if only := about_filter(report):
        rows.append(("", only))
    if calls:
        failed = report.total("failed")
        rows.append(
            ("calls", f"{report.about}{calls:,}; {answered:,} answered ({share(answered / calls)}), {failed:,} failed")
        )
        if report.rejections:
            by = ", ".join(f"{number:,} by {_PARTS.get(part, part)}" for part, number in report.rejections.items())
            rows.append(("", f"refused unsent, of those that failed: {by}"))
    if calls and not report.answers_logged:
        rows.append(
            ("note", "no request.finished events: answered calls were not logged (log.finished, or the log level)")
        )
    if said := misdated(report):
        rows.append(("note", said))
    told = alone(report)
    if (rest := len(told) - _ALONE) > 0:
        told = [*told[-_ALONE:], f"and {count(rest, 'time')} more before, which --json has"]
    rows += [("fleet" if not at else "", safe_line(one)) for at, one in enumerate(told)]
    p50, p95, p99, longest = report.latency
    if p50 is not None:
        rows.append(
            ("latency", f"p50 {seconds(p50)}, p95 {seconds(p95)}, p99 {seconds(p99)}, longest {seconds(longest)}")
        )
    yield _labelled(rows, 9, width)


def _hosts(report: Report, width: int) -> list[RenderableType]:
    headers = ("now", "calls", "answered", "failed", "refused", "retries", "p50", "p95")
    rows: list[tuple[str, list[Cell]]] = []
    hosts = report.met
    for facts in hosts[:_HOSTS]:
        ratio = facts.success_ratio
        failed = facts.failed - facts.rejected
        cells: list[Cell] = [
            (facts.now, _STATES.get(facts.now, "")),
            _number(facts.calls),
            (share(ratio), "red" if ratio is not None and ratio < 0.95 else ""),
            (_number(failed), "red" if failed else ""),
            (_number(facts.rejected), "yellow" if facts.rejected else ""),
            _number(facts.retries),
            seconds(facts.p50),
            seconds(facts.p95),
        ]
        rows.append((facts.label, cells))
    made = list(rows_of("host", headers, rows, width, words=headers[:1], spare=("p50", "retries", "refused", "failed")))
    if (rest := len(hosts) - _HOSTS) > 0:
        made.append(display.line((f"and {count(rest, 'host')} more, none of them worse; --json has all", "dim")))
    return made


def _number(number: int) -> str:
    """`99,999` as it is, then `129k`, `1.29M`, so that a column of counts stays narrow."""
    if number < 100_000:
        return f"{number:,}" if number else "0"
    return f"{number / 1e3:.0f}k" if number < 999_500 else f"{number / 1e6:.2f}M"


def _problems(report: Report, width: int) -> list[RenderableType]:
    labels = {facts.host: facts.label for facts in report.hosts}
    rows: list[tuple[str, list[Cell]]] = []
    for one in report.problems[:_PROBLEMS]:
        lasted = f"{when(one.first, report)} to {until(one.first, one.last, report)}"
        cells: list[Cell] = [(_number(one.attempts), "red"), _cut(kind(one.error), _KIND), lasted]
        rows.append((labels.get(one.host, one.host), cells))
    heads = ("times", "what", "from the first to the last")
    made = list(rows_of("host", heads, rows, width, words=heads[1:], first=False))
    if made and (detail := report.problems[0].detail):
        made.append(display.line(("last of the most: ", "dim"), _cut(safe_line(detail), width - 18)))
    return made


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _retries(report: Report, width: int) -> Iterator[RenderableType]:
    it = report.retries
    about = "" if it.exact else report.about
    if not it.sends and not it.abandoned:
        return
    rows: list[tuple[Cell, str]] = []
    if it.sends:
        of_sampled = "about " if it.exact and report.sampled else ""
        saved = ", ".join(f"{of_sampled}{number:,} by send {attempt}" for attempt, number in it.saved_by.items())
        sent = f"{about}{count(it.sends, 'send')} beyond the first of {count(it.calls, 'call')}"
        rows += [
            ("sent", f"{sent}; {span(it.waited)} waited"),
            ("saved", f"{about}{count(it.saved, 'call')} that would have failed" + (f": {saved}" if saved else "")),
            ("lost", f"{count(it.in_vain, 'call')} failed although they were retried"),
        ]
    if it.hedges:
        rows.append(("hedges", f"{it.hedges:,} sent, {it.saved_by_hedges:,} answered first; counted above as well"))
    if it.server_directed:
        rows.append(("waits", f"{count(it.server_directed, 'wait')} as long as the server's Retry-After asked for"))
    for reason, number in it.abandoned.items():
        rows.append(("not sent", f"{count(number, 'retry', 'retries')}: {not_retried(reason)}"))
    yield _labelled(rows, 10, width)


def _slow(report: Report, width: int) -> list[RenderableType]:
    heads = ("took", "ended", "came to", "sends")
    names = {facts.host: facts.names for facts in report.hosts if facts.names}
    rows: list[tuple[str, list[Cell]]] = []
    for call in report.slow[:_SLOW]:
        came_to = call.error or str(call.status or "answered")
        cells: list[Cell] = [
            seconds(call.duration), when(call.time, report), _cut(safe_line(came_to), _KIND), str(call.attempts),
        ]  # fmt: skip
        origin, mark, scope = call.host.removeprefix("https://").removeprefix("http://").partition("#")
        whose = f"{call.method} {origin}"
        part = f" #{scope}" if mark else ""
        part += f" ({names[call.host][0]})" if call.host in names else ""
        # If the call needs more than a line of its own, its path is cut, but never its host.
        rows.append((whose + _cut(call.path, max(10, width - len(whose) - len(part))) + part, cells))
    return list(rows_of("call", heads, rows, width, words=("ended", "came to"), first=False))


def _lines(report: Report, width: int) -> Iterator[RenderableType]:
    """Notes on the lines that were not read as events, if there are any."""
    malformed = sum(file.malformed for file in report.files)
    notes = []
    if others := sum(file.other for file in report.files):
        notes.append(f"{count(others, 'other JSON line')} left aside")
    if malformed:
        notes.append(f"{count(malformed, 'line')} could not be read")
    if unfinished := [file.name for file in report.files if file.unfinished]:
        notes.append(f"the last line of {', '.join(map(safe_line, unfinished))} is unfinished")
    if notes:
        yield _labelled([(("lines", "dim"), "; ".join(notes))], 7, width)
    for bad in report.bad_lines[:_BAD_LINES]:
        name = safe_line(bad.file)
        place = name if len(name) <= _PLACE else f"…{name[1 - _PLACE :]}"
        yield display.line((f"  {place}:{bad.line}: ", "dim"), f"{bad.fault}: {safe_line(bad.excerpt)}")
    if malformed > _BAD_LINES:
        yield display.line((f"  and {malformed - _BAD_LINES:,} more; --json names up to 20 of each file", "dim"))
