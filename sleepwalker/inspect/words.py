"""What a report says in sentences: which host, since when, what was done about it, and whether it is over."""

from __future__ import annotations

from typing import Literal

from sleepwalker.inspect.model import HostFacts, Report
from sleepwalker.inspect.trouble import Finding
from sleepwalker.inspect.window import clock_time, iso

__all__ = ["count", "findings", "misdated", "share", "span", "when"]

#: A host that answers less than this share of its calls is spoken of, as `health.degraded_below` has it.
_DEGRADED = 0.95
#: One failure of a host that was called twice is no finding.
_FEWEST = 3
#: So many outages make a habit.
_OFTEN = 4
#: Seconds: what is due within these after the log's end needs no date.
_SOON = 12 * 3600.0
#: Hosts that are spoken of one by one.
MOST = 3


def findings(report: Report) -> list[Finding]:
    """A finding per host in trouble, worst first, and one that names the others; or that all is well."""
    troubled = [facts for facts in report.hosts if _in_trouble(facts)]
    if not troubled:
        return [_all_well(report)]
    found = [_finding(facts, report) for facts in troubled[:MOST]]
    if rest := troubled[MOST:]:
        names = ", ".join(facts.host for facts in rest[:MOST])
        more = f" and {len(rest) - MOST} more" if len(rest) > MOST else ""
        tone: Literal["over", "bad"] = "bad" if any(_finding(facts, report).tone == "bad" for facts in rest) else "over"
        found.append(Finding(tone, f"and {count(len(rest), 'other host')}: {names}{more}"))
    return found


def _in_trouble(facts: HostFacts) -> bool:
    ratio = facts.success_ratio
    failing = ratio is not None and ratio < _DEGRADED and facts.failed >= _FEWEST
    return bool(facts.outages) or failing or facts.state != "fine"


def _all_well(report: Report) -> Finding:
    hosts = sum(facts.calls > 0 for facts in report.hosts)  # others are names that hooks found connections for
    calls = report.total("calls")
    if not calls:
        return Finding("good", "No call ended here, and no host went out of use")
    ratio = report.total("answered") / calls
    which = f"All is well: {count(calls, 'call')} to {count(hosts, 'host')}, {share(ratio)} answered"
    it = report.retries
    done = _retried(it.sends, it.saved, sampled=report.sampled) if it.saved else ""
    return Finding("good", which, done=done)


def _finding(facts: HostFacts, report: Report) -> Finding:
    over = _over(facts, report)
    tone: Literal["over", "bad"] = "bad" if over.startswith(("no", "perhaps")) else "over"
    return Finding(tone, facts.host, (_since(facts, report),), _done(facts), over, hosts=(facts.host,))


def _since(facts: HostFacts, report: Report) -> str:
    if not facts.outages:
        first, last = facts.first_failure or report.begin, facts.last_failure or report.end
        text = f"{when(first, report)} to {when(last, report)}: {facts.failed:,} of {count(facts.calls, 'call')} failed"
        return text + (f", mostly {_kind(facts.error)}" if facts.error else "")
    one = facts.outages[-1]
    state = "isolated by an operator" if one.why == "isolated" else "broken"
    if one.cause and one.why != "isolated":
        state += f" ({_kind(one.cause)})"
    if one.until is None:
        lasted = f"{span(report.end - one.since)} so far"
    else:
        lasted = span(one.until - one.since)
    text = f"{when(one.since, report)}: {state}, {lasted}"
    if (times := len(facts.outages)) > 1:
        whole = sum((outage.until or report.end) - outage.since for outage in facts.outages)
        text += f"; {count(times, 'outage')} since {when(facts.outages[0].since, report)}, {span(whole)} in all"
    return text


def _kind(error: str | None) -> str:
    """`503` reads as `status 503`."""
    return f"status {error}" if error and error.isdigit() else str(error)


def _done(facts: HostFacts) -> str:
    parts = []
    if facts.opened:
        parts.append(f"circuit opened {_times(facts.opened)}")
    if facts.would_open:
        parts.append(f"circuit would have opened {_times(facts.would_open)} (dry run)")
    if facts.rejected:
        parts.append(f"{count(facts.rejected, 'call')} refused unsent")
    if facts.retries:
        parts.append(_retried(facts.retries, facts.saved, sampled=facts.sampled))
    if facts.evicted:
        parts.append(f"{count(facts.evicted, 'connection')} given up, {facts.hooked} made anew")
    return "; ".join(parts) or "nothing"


def _retried(retries: int, saved: int, *, sampled: bool) -> str:
    text = f"{count(retries, 'retry', 'retries')} saved {count(saved, 'call')}"
    return f"{text} (estimated: answered calls are logged by a sample)" if sampled else text


def _times(number: int) -> str:
    return "once" if number == 1 else "twice" if number == 2 else f"{number:,} times"


def _over(facts: HostFacts, report: Report) -> str:
    """Begins with `yes`, `recovering`, `for now`, `for its callers`, `perhaps`, `not yet` or `no`."""
    failed, recovered = facts.last_failure, facts.recovered_at
    recovering = recovered is not None and (failed is None or failed <= recovered)
    answers = f"{count(facts.answered_since, 'call')} answered since "
    answers += "it recovered" if recovering else "the last failure"
    if (since := recovered if recovering else failed) is not None:
        answers += f" at {when(since, report)}"
    if facts.state == "isolated":
        return "no: isolated until an operator restores it or its time is over"
    if facts.state == "broken":
        return _over_while_broken(facts, report, answers)
    if facts.circuit in ("open", "half-open"):
        return f"not yet: the circuit is {facts.circuit}{_next_try(facts, report)}"
    if facts.ramp_until is not None and report.end < facts.ramp_until and (recovering or facts.answered_since):
        return f"recovering: {answers}; the load grows until {when(facts.ramp_until, report)} at the latest"
    if not facts.failed:
        return f"yes: all {count(facts.calls, 'call')} were answered" if facts.calls else "yes"
    if recovering:
        return _lasting(facts, report, answers)
    if failed is None and facts.failed > facts.rejected:
        return "perhaps: when its calls failed is not known"
    if failed is None:
        sent = count(facts.calls - facts.rejected, "call")
        return f"yes: {sent} sent, all of them answered" if facts.answered else "perhaps: no call was sent"
    if not facts.answered_since:
        return "not yet: the last call failed"
    return _lasting(facts, report, answers)


def _over_while_broken(facts: HostFacts, report: Report, answers: str) -> str:
    if facts.moved_to and facts.moved_at is not None:
        return f"for its callers: a hook gave them {facts.moved_to} at {when(facts.moved_at, report)}"
    since = facts.outages[-1].since if facts.outages else report.begin
    if facts.answered_since and (facts.last_answer or 0) > since:
        return f"perhaps: {answers}, but no recovery is logged (was the process restarted?)"
    return f"no: the circuit is {facts.circuit}{_next_try(facts, report)}" if facts.circuit != "closed" else "no"


def _next_try(facts: HostFacts, report: Report) -> str:
    if facts.next_try is None:
        return ""
    if facts.next_try > report.end:
        return f", next try at {when(facts.next_try, report)}"
    return f"; the next try was due at {when(facts.next_try, report)}, of which nothing is logged"


def _lasting(facts: HostFacts, report: Report, answers: str) -> str:
    """Whether what is over now is over: a host that fails now and then has always just been answered."""
    quiet = report.end - max(facts.last_failure or 0.0, facts.recovered_at or 0.0)
    if len(facts.outages) >= _OFTEN:
        every = (facts.outages[-1].since - facts.outages[0].since) / (len(facts.outages) - 1)
        if quiet < 2 * every:
            return f"for now: {answers}, but it broke every {span(every)} on average"
    elif not facts.outages and quiet < ((facts.last_failure or 0) - (facts.first_failure or 0)) / 10:
        return f"no, it goes on: {answers}"
    return f"yes: {answers}"


def misdated(report: Report) -> str | None:
    """What is to be said of events whose time cannot be; nothing where there are none."""
    if not report.misdated:
        return None
    first = report.misdated_lines[0]
    place = first.file if first.line is None else f"{first.file}:{first.line}"
    said = f"of a clock that was not right, the first stamped {iso(first.time)[:19]} ({place})"
    if report.misdated == report.events:
        return f"all events are {said}"
    return f"{count(report.misdated, 'event')} {said}: counted, but left out of all that is told over time"


def when(seconds: float, report: Report) -> str:
    """A time of day, with the date where the report covers more than one, and with tenths where it covers minutes.

    One that lies outside what the report covers is told in full, unless it is due soon after.
    """
    length = report.end - report.begin
    if not report.begin - 1 <= seconds <= report.end + _SOON:
        return iso(seconds)[:19].replace("T", " ")
    dated = length > 20 * 3600 or len({clock_time(at, date=True)[:5] for at in (report.begin, report.end, seconds)}) > 1
    return clock_time(seconds, date=dated, fraction=length < 120)


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


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 call`, `12,345 calls`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
