"""What `sleepwalker inspect` shows on a terminal: findings first, then tables, and states over time as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sleepwalker.cli import display
from sleepwalker.cli.display import Cell, Console, RenderableType
from sleepwalker.cli.inspect.lanes import lanes
from sleepwalker.cli.text import safe_line, seconds
from sleepwalker.inspect.words import count, misdated, share, span, when

if TYPE_CHECKING:
    from sleepwalker.inspect import Report
    from sleepwalker.inspect.model import HostFacts
    from sleepwalker.inspect.trouble import Finding

#: How long the lists are; --json and --html have all.
_HOSTS, _PROBLEMS, _SLOW, _BAD_LINES = 12, 8, 5, 5
_NARROWEST = 60
#: Characters of an exception's name.
_KIND = 24
#: Characters of a file's name, where it is not what matters.
_PLACE = 30
_TONES = {"good": ("OK", "bold green"), "note": ("NOTE", "bold cyan"), "over": ("OVER", "bold yellow"), "bad": ("TROUBLE", "bold red")}
_STATES = {"broken": "bold red", "isolated": "bold magenta", "open": "red", "half-open": "yellow"}


def render(report: Report, screen: Console) -> RenderableType:
    """The report, as wide as the console. Where that is narrow, sentences are wrapped and tables lose their edge."""
    width, wide = screen.width, max(_NARROWEST, screen.width)
    plain = screen.encoding.lower().replace("-", "") not in ("utf8", "utf16")
    parts: list[RenderableType] = []
    for title, body in (
        (None, [part for finding in report.findings for part in _finding(finding, width)]),
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
    """The answer to a question of the user's, as wide as it is."""
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


def _finding(finding: Finding, width: int) -> Iterator[RenderableType]:
    mark, style = _TONES[finding.tone]
    yield display.line((f"{mark}  ", style), (safe_line(finding.which), "bold"))
    said = [("when", one) for one in finding.since]
    said += [("done", finding.done), ("over?", finding.over), ("next", finding.next), ("runbook", finding.runbook)]
    rows: list[tuple[Cell, str]] = [((f"  {label}", "dim"), safe_line(words)) for label, words in said if words]
    if rows:
        yield display.labelled(rows, 9, width)


def _summary(report: Report, width: int) -> Iterator[RenderableType]:
    calls, answered = report.total("calls"), report.total("answered")
    begin, end = when(report.begin, report), when(report.end, report)
    rows: list[tuple[Cell, str]] = [
        ("period", f"{begin} to {end} UTC, {span(report.end - report.begin)}; {count(report.events, 'event')}"),
    ]
    if calls:
        failed = report.total("failed")
        rows.append(
            ("calls", f"{report.about}{calls:,}; {answered:,} answered ({share(answered / calls)}), {failed:,} failed")
        )
        if report.rejections:
            by = ", ".join(f"{number:,} by {part.replace('_', ' ')}" for part, number in report.rejections.items())
            rows.append(("", f"refused unsent, of those that failed: {by}"))
    if calls and not answered:
        rows.append(
            ("note", "no request.finished in these lines: answered calls were not logged (log.finished, level)")
        )
    if said := misdated(report):
        rows.append(("note", said))
    p50, p95, p99, longest = report.latency
    if p50 is not None:
        rows.append(
            ("latency", f"p50 {seconds(p50)}, p95 {seconds(p95)}, p99 {seconds(p99)}, longest {seconds(longest)}")
        )
    yield display.labelled(rows, 9, width)


def _hosts(report: Report, width: int) -> list[RenderableType]:
    headers = ("host", "now", "calls", "answered", "failed", "refused", "retries", "p50", "p99")
    rows: list[list[Cell]] = []
    hosts = report.met
    for facts in hosts[:_HOSTS]:
        state = _state(facts)
        ratio = facts.success_ratio
        rows.append(
            [
                "",
                (state, _STATES.get(state, "")),
                _number(facts.calls),
                (share(ratio), "red" if ratio is not None and ratio < 0.95 else ""),
                (_number(facts.failed - facts.rejected), "red" if facts.failed - facts.rejected else ""),
                (_number(facts.rejected), "yellow" if facts.rejected else ""),
                _number(facts.retries),
                seconds(facts.p50),
                seconds(facts.p99),
            ]
        )
    if not rows:  # names that only hooks know, or a time before the first call
        return []
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    others = sum(max(len(headers[at]), *(len(row[at]) for row in texts)) + 1 for at in range(1, len(headers)))
    for row, facts in zip(rows, hosts, strict=False):
        row[0] = (_short(facts.host, width - others - 1), "bold")
    made: list[RenderableType] = [display.table(headers, rows, words=headers[:2], tight=True)]
    if (rest := len(hosts) - _HOSTS) > 0:
        made.append(display.line((f"and {count(rest, 'host')} more", "dim")))
    return made


def _state(facts: HostFacts) -> str:
    if facts.state != "fine":
        return facts.state
    return facts.circuit if facts.circuit in ("open", "half-open") else "fine"


def _number(number: int) -> str:
    """`99,999` as it is, then `129k`, `1.29M`: a column of counts has to be narrow."""
    if number < 100_000:
        return f"{number:,}" if number else "0"
    return f"{number / 1e3:.0f}k" if number < 999_500 else f"{number / 1e6:.2f}M"


def _short(host: str, width: int) -> str:
    """A host's origin in so many characters: the scheme goes first, then the end of the name; port and scope stay."""
    text, mark, scope = safe_line(host).partition("#")
    if mark:
        scope = _cut(scope, max(1, width // 2 - 1))
        return f"{_short(text, width - 1 - len(scope))}#{scope}"
    for scheme in ("https://", "http://"):
        if len(text) > width:
            text = text.removeprefix(scheme)
    if len(text) <= width:
        return text
    name, colon, port = text.rpartition(":")
    tail = f"…:{port}" if colon and port.isdigit() else "…"
    return (name if colon and port.isdigit() else text)[: max(1, width - len(tail))] + tail


def _problems(report: Report, width: int) -> list[RenderableType]:
    rows: list[list[Cell]] = []
    for one in report.problems[:_PROBLEMS]:
        kind = f"status {one.error}" if one.error.isdigit() else one.error
        times = f"{when(one.first, report)} to {when(one.last, report)}"
        rows.append([(_number(one.attempts), "red"), _cut(safe_line(kind), _KIND), "", times])
    if not rows:
        return []
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    others = sum(max(len(row[at]) for row in texts) + 1 for at in (1, 3)) + 6
    for row, one in zip(rows, report.problems, strict=False):
        row[2] = _short(one.host, width - others - 1)
    made: list[RenderableType] = [
        display.table(
            ("times", "what", "host", "from the first to the last"),
            rows,
            words=("what", "host", "from the first to the last"),
            tight=True,
        )
    ]
    worst = report.problems[0]
    if worst.detail:
        made.append(display.line(("last of the most: ", "dim"), _cut(safe_line(worst.detail), width - 18)))
    return made


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _retries(report: Report, width: int) -> Iterator[RenderableType]:
    it, about = report.retries, report.about
    if not it.sends and not it.abandoned:
        return
    rows: list[tuple[Cell, str]] = []
    if it.sends:
        saved = ", ".join(f"{number:,} by attempt {attempt}" for attempt, number in it.saved_by.items())
        sent = f"{about}{count(it.sends, 'send')} beyond the first of {count(it.calls, 'call')}"
        rows += [
            ("sent", f"{sent}; {span(it.waited)} waited"),
            ("saved", f"{about}{count(it.saved, 'call')} that would have failed" + (f": {saved}" if saved else "")),
            ("in vain", f"{count(it.in_vain, 'call')} failed all the same"),
        ]
    if it.hedges:
        rows.append(("hedges", f"{it.hedges:,} sent, {it.saved_by_hedges:,} answered first; counted above as well"))
    if it.server_directed:
        rows.append(("told to", f"{count(it.server_directed, 'wait')} set by the server's Retry-After"))
    if it.abandoned:
        rows.append(("not made", ", ".join(f"{number:,} for {reason}" for reason, number in it.abandoned.items())))
    yield display.labelled(rows, 10, width)


def _slow(report: Report, width: int) -> list[RenderableType]:
    rows: list[list[Cell]] = []
    for call in report.slow[:_SLOW]:
        came_to = call.error or str(call.status or "answered")
        rows.append(
            [seconds(call.duration), when(call.time, report), _cut(safe_line(came_to), _KIND), str(call.attempts), ""]
        )
    if not rows:
        return []
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    heads = ("took", "ended", "came to", "sends")
    others = sum(max(len(head), *(len(row[at]) for row in texts)) + 1 for at, head in enumerate(heads))
    for row, call in zip(rows, report.slow, strict=False):
        origin, mark, scope = call.host.removeprefix("https://").removeprefix("http://").partition("#")
        row[4] = _cut(safe_line(f"{call.method} {origin}{call.path}{f' #{scope}' if mark else ''}"), width - others - 1)
    return [display.table((*heads, "call"), rows, words=("ended", "came to", "call"), tight=True)]


def _lines(report: Report, width: int) -> Iterator[RenderableType]:
    """What was read, where there is anything to say about that."""
    malformed = sum(file.malformed for file in report.files)
    notes = []
    if others := sum(file.other for file in report.files):
        notes.append(f"{count(others, 'other JSON line')} left aside")
    if malformed:
        notes.append(f"{count(malformed, 'line')} could not be read")
    if unfinished := [file.name for file in report.files if file.unfinished]:
        notes.append(f"the last line of {', '.join(map(safe_line, unfinished))} is unfinished")
    if cut := [file.name for file in report.files if file.cut]:
        notes.append(f"{', '.join(map(safe_line, cut))} is cut off or damaged: the rest could not be read")
    if notes:
        yield display.labelled([(("lines", "dim"), "; ".join(notes))], 7, width)
    for bad in report.bad_lines[:_BAD_LINES]:
        name = safe_line(bad.file)
        place = name if len(name) <= _PLACE else f"…{name[1 - _PLACE :]}"
        yield display.line((f"  {place}:{bad.line}: ", "dim"), f"{bad.fault}: {safe_line(bad.excerpt)}")
    if malformed > _BAD_LINES:
        yield display.line((f"  and {malformed - _BAD_LINES:,} more; --json names up to 20 of each file", "dim"))
