"""The tables of the page."""

from __future__ import annotations

from sleepwalker.inspect.markup import breakable, table, text
from sleepwalker.inspect.model import HostFacts, Report
from sleepwalker.inspect.trouble import Episode
from sleepwalker.inspect.words import count, kind, not_retried, seconds, share, span, when

__all__ = ["hosts", "lines", "problems", "retries", "slow", "troubles"]

#: The longest lists of a page; `--json` has all.
_HOSTS, _TROUBLES = 100, 200

#: The tone in which a host's state at the end of the log is shown. Any other state is `over`.
_TONES = {"fine": "good", "broken": "bad", "failing": "bad", "open": "bad", "hooks failing": "bad"}


def hosts(report: Report) -> str:
    columns = (
        "host|name", "now|word", "calls", "answered", "failed", "refused", "retries", "saved by them",
        "p50", "p95", "p99", "longest",
    )  # fmt: skip
    rows = [
        [
            _called(one),
            f'<span class="state {_TONES.get(one.now, "over")}">{text(one.now)}</span>',
            f"{one.calls:,}",
            text(share(one.success_ratio)),
            f"{one.failed - one.rejected:,}",
            f"{one.rejected:,}",
            f"{one.retries:,}",
            f"{one.saved:,}",
            *(seconds(value) for value in (one.p50, one.p95, one.p99, one.longest)),
        ]
        for one in report.met[:_HOSTS]
    ]
    return table("Hosts, worst first", columns, rows, _left_out(len(report.met), _HOSTS, "host"))


def _called(facts: HostFacts) -> str:
    """A host by its name, with the address below it."""
    if not facts.names:
        return breakable(facts.host)
    return f"{text(', '.join(facts.names[:2]))}<small>{breakable(facts.host)}</small>"


def _left_out(number: int, shown: int, noun: str) -> str:
    return f"and {count(number - shown, noun)} more, which --json has" if number > shown else ""


def troubles(report: Report) -> str:
    found = [one for one in reversed(report.episodes) if one.trouble]
    known = {facts.host: facts for facts in report.hosts}
    columns = (
        "host|name", "what|word brief", "from|word brief", "until|word brief", "for",
        "calls", "failed", "refused", "p95", "mostly|word error", "processes|word brief",
    )  # fmt: skip
    rows = [
        [
            _called(known[one.host]) if one.host in known else breakable(one.host),
            one.kind,
            text(when(one.begin, report)),
            "goes on" if one.end is None else text(when(one.end, report)),
            text(span((report.end if one.end is None else one.end) - one.begin)),
            f"{one.calls:,}",
            f"{one.failed - one.refused:,}",
            f"{one.refused:,}",
            seconds(one.p95),
            text(kind(one.error)) if one.error else "",
            _seen_by(one),
        ]
        for one in found[:_TROUBLES]
    ]
    return table("Troubles, latest first", columns, rows, _left_out(len(found), _TROUBLES, "trouble"))


def _seen_by(one: Episode) -> str:
    return f"{one.processes} of {one.of_processes}" if one.of_processes > 1 else ""


def problems(report: Report) -> str:
    known = {facts.host: facts for facts in report.hosts}
    columns = (
        "host|name whole", "what|word error whole", "times", "first|word brief", "last|word brief",
        "most often at|word long", "last error text|word long",
    )  # fmt: skip
    rows = [
        [
            _called(known[one.host]) if one.host in known else breakable(one.host),
            text(kind(one.error)),
            f"{one.attempts:,}",
            text(when(one.first, report)),
            text(when(one.last, report)),
            f"<code>{text(one.path)}</code>" if one.path else "",
            text(one.detail or ""),
        ]
        for one in report.problems
    ]
    return table("Failed sends", columns, rows)


def retries(report: Report) -> str:
    it, about = report.retries, report.about
    rows = [["sends beyond the first", f"{about}{it.sends:,}", f"in {count(it.calls, 'call')}"]] if it.sends else []
    rows += [[f"calls saved by attempt {one}", f"{about}{number:,}", ""] for one, number in it.saved_by.items()]
    if it.hedges:
        rows.append(["hedges", f"{it.hedges:,}", f"{it.saved_by_hedges:,} answered first"])
    if it.sends:
        rows.append(["calls that failed despite retries", f"{it.in_vain:,}", ""])
        rows.append(["waiting between sends", text(span(it.waited)), "all calls together"])
    if it.server_directed:
        rows.append(["waits set by Retry-After", f"{it.server_directed:,}", ""])
    rows += [
        [f"not retried: {text(not_retried(reason))}", f"{number:,}", ""] for reason, number in it.abandoned.items()
    ]
    return table("What retries achieved", ("what|name", "number", "more|word"), rows)


def slow(report: Report) -> str:
    names = {facts.host: f"<small>{text(facts.names[0])}</small>" for facts in report.hosts if facts.names}
    columns = ("call|name", "took", "ended|word brief", "came to|word", "sends")
    rows = [
        [
            f"<code>{breakable(f'{one.method} {one.host}{one.path}')}</code>{names.get(one.host, '')}",
            seconds(one.duration),
            text(when(one.time, report)),
            text(one.error or one.status or "answered"),
            str(one.attempts),
        ]
        for one in report.slow
    ]
    return table("Slowest calls", columns, rows)


def lines(report: Report) -> str:
    columns = (
        "file|name",
        "events",
        "other JSON lines",
        "unreadable",
        "its end|word",
    )
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
    bad = [
        [f"{text(one.file)}:{one.line}", text(one.fault), f"<code>{text(one.excerpt)}</code>"]
        for one in report.bad_lines
    ]
    faults = ("line|name", "fault|word long", "begins|word long")
    return table("What was read", columns, rows) + table("Lines that could not be read", faults, bad)
