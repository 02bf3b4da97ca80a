"""Times, durations, shares and counts in words, for the terminal and the page."""

from __future__ import annotations

import re

from sleepwalker.inspect.model import Alone, Report
from sleepwalker.inspect.window import clock_time, iso

__all__ = [
    "RESTORED", "about_filter", "alone", "count", "cut_short", "glued", "kind", "misdated", "not_retried", "period",
    "seconds", "share", "span", "times", "until", "when",
]  # fmt: skip

#: Spaces at which a line must not break: `23 h 59 min`, `19.5 % of`, `8 processes`, `p95 20 ms`.
_APART = re.compile(
    r"(?<=\d) (?=(?:ms|s|min|h|d|of|UTC|calls?|sends?|events?|process(?:es)?|hosts?|times|retr(?:y|ies))\b)"
    r"|(?<=\d) (?=%)|(?<=%) (?=of\b)|(?<=\d (?:h|d)) (?=\d)|(?<=\d min) (?=\d)|(?<=\bp\d\d) (?=[\d.]+ )"
    r"|(?<=\d\d-\d\d) (?=\d\d:)"
)
#: Why retries were not made, in words.
_NOT_RETRIED = {
    "breaker": "the circuit had opened",
    "budget": "too many others had failed (the retry budget)",
    "closed": "the connection had been closed",
    "deadline": "no time was left",
    "not idempotent": "the call is not idempotent, and could take effect twice",
    "not replayable": "the body cannot be sent again",
    "retry after": "the host asked for a longer wait than allowed",
}
#: What ended an isolation, in words.
RESTORED = {
    "fleet": "an order to all workers restored it",
    "hand": "it was restored by hand",
    "time": "its time had expired",
}
#: Seconds. A time that is due within these after the log's end is not written in full.
_SOON = 12 * 3600.0


def misdated(report: Report) -> str | None:
    """The sentence about events with impossible times; None if there are none."""
    if not report.misdated:
        return None
    first = report.misdated_lines[0]
    place = first.file if first.line is None else f"{first.file}:{first.line}"
    said = f"with a wrong clock, the first stamped {iso(first.time)[:19]} ({place})"
    if report.misdated == report.events:
        return f"all events come {said}"
    return f"{count(report.misdated, 'event')} {said}: counted, but left out of everything over time"


def when(seconds: float, report: Report) -> str:
    """A time of day, with the date if the report covers more than one, and with tenths if it covers under two minutes.

    A time outside the report's period is written in full, unless it is due soon after.
    """
    length = report.end - report.begin
    if not report.begin - 1 <= seconds <= report.end + _SOON:
        return iso(seconds)[:19].replace("T", " ")
    dated = length > 20 * 3600 or len({clock_time(at, date=True)[:5] for at in (report.begin, report.end, seconds)}) > 1
    return clock_time(seconds, date=dated, fraction=length < 120)


def until(begin: float, end: float, report: Report) -> str:
    """The end of a time whose begin was written before: without the day, if that is the same."""
    first, last = when(begin, report), when(end, report)
    day, space, clock = last.rpartition(" ")
    return clock if space and first.startswith(f"{day} ") else last


def period(report: Report) -> str:
    """From when until when, with the year and the zone, and how long that is."""
    begin, end = (iso(at)[: 21 if report.end - report.begin < 120 else 19] for at in (report.begin, report.end))
    begin, end = begin.replace("T", " "), end.replace("T", " ")
    if begin[:10] == end[:10]:
        end = end[11:]
    return f"{begin} to {end} UTC, {span(report.end - report.begin)}"


def about_filter(report: Report) -> str:
    """What the filter includes; empty if that is everything."""
    chosen = report.chosen
    parts = [f"hosts that fit {' or '.join(chosen.hosts)}"] if chosen.hosts else []
    for word, at in (("since", chosen.since), ("until", chosen.until)):
        if at is not None:
            parts.append(f"{word} {iso(at)[:19].replace('T', ' ')} UTC")
    return f"only {', '.join(parts)}" if parts else ""


def alone(report: Report) -> list[str]:
    """A sentence for each time in which workers were without the store of their fleet, latest last."""
    return [_alone(one, fleet.store, report) for fleet in report.fleets for one in fleet.alone]


def _alone(one: Alone, store: str, report: Report) -> str:
    of = f" of {one.of_workers:,}" if one.workers < one.of_workers else ""
    who = f"{one.workers:,}{of} {'worker' if max(one.workers, one.of_workers) == 1 else 'workers'}"
    one_only = one.workers == 1
    if one.end is not None:
        tense = "was" if one_only else "were"
        period = f"{when(one.begin, report)} to {until(one.begin, one.end, report)}"
    else:
        tense = "is" if one_only else "are"
        period = f"since {when(one.begin, report)}"
        if back := one.workers - one.still:
            period += f" ({back:,} {'is' if back == 1 else 'are'} back)"
    reason = f": {one.reason}" if one.reason else ""
    return f"{who} {tense} without {'its' if one_only else 'their'} store {store} {period}{reason}"


def kind(error: str | None) -> str:
    """`503` reads as `status 503`."""
    return f"status {error}" if error and error.isdigit() else error or "unknown"


def times(number: int) -> str:
    """`once`, `twice`, `12 times`."""
    return "once" if number == 1 else "twice" if number == 2 else f"{number:,} times"


def seconds(value: float | None) -> str:
    """A latency: `20 ms`, `1.05 s`."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 0.0995 else f"{value:.2f} s" if value < 9.95 else f"{value:.1f} s"


def span(seconds: float) -> str:
    """A duration to read: `7 ms`, `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, below, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def share(ratio: float | None) -> str:
    """A ratio in percent: never `100 %` unless it is all, never `0 %` unless it is none."""
    if ratio is None:
        return "-"
    percent = ratio * 100
    if 0 < percent < 0.01:
        return "<0.01 %"
    digits = 2 if percent > 99 or percent < 1 else 1
    shown = f"{percent:.{digits}f}"
    if ratio < 1 and float(shown) >= 100:
        return ">99.99 %"
    return f"{shown.rstrip('0').rstrip('.') if '.' in shown else shown} %"


def glued(text: str) -> str:
    """The text with no-break spaces between numbers and what they count, for text that is wrapped."""
    return _APART.sub("\N{NO-BREAK SPACE}", text)


def cut_short(report: Report) -> str:
    """The warning if a log could not be read to its end; empty if all could."""
    cut = [file.name for file in report.files if file.cut]
    if not cut:
        return ""
    are = "is" if len(cut) == 1 else "are"
    return f"{', '.join(cut)} {are} cut off or damaged: this report covers only the readable part"


def not_retried(reason: str) -> str:
    """Why a retry was not made, in words."""
    return _NOT_RETRIED.get(reason, reason)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 call`, `12,345 calls`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
