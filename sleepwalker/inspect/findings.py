"""What a report says in sentences: which host, from when until when, what was done, is it over, and what to do now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from sleepwalker.inspect.advice import advice, page_of
from sleepwalker.inspect.model import HostFacts, Report
from sleepwalker.inspect.over import flaps_every, over
from sleepwalker.inspect.trouble import Episode, Finding, Together
from sleepwalker.inspect.words import RESTORED, count, kind, seconds, share, span, times, until, when

__all__ = ["findings"]

#: Below this share of failed calls, retries hide most failures: then the share of failed sends is shown, too.
_FEW = 0.05
#: Failures that cover more than this share of the period are spread over it.
_MOST = 0.5
#: How many of the hosts that fell together are named. The page's table and `--json` have all.
_NAMED = 6
#: Seconds. Hosts that were back within this time of each other share a line.
_AT_ONCE = 5.0
#: Seconds. From this time on between the first and the last of them, the line has both.
_APART = 1.0
_ORDER = {"bad": 0, "over": 1, "note": 2, "good": 3}


def findings(report: Report, runbook: str | None = None) -> list[Finding]:
    """A finding for each group of hosts that fell together and for each other host, worst first.

    Without any trouble, the first one says so.
    """
    facts = {one.host: one for one in report.hosts}
    found = [_together(one, facts, report, runbook) for one in report.together]
    alone: dict[str, list[int]] = {}
    for at, one in enumerate(report.episodes):
        if one.together is None:
            alone.setdefault(one.host, []).append(at)
    found += [_of_host(facts.get(host, HostFacts(host)), at, report, runbook) for host, at in alone.items()]
    found.sort(key=lambda one: _badness(one, report))
    return found if report.trouble else [_no_trouble(report), *found]


def _badness(one: Finding, report: Report) -> tuple[float, ...]:
    mine = [report.episodes[at] for at in one.episodes]
    total = any(each.kind in ("total", "broken") and each.end is None for each in mine)
    return (_ORDER[one.tone], -len(one.hosts), not total, -sum(each.failed for each in mine), mine[0].begin)


def _no_trouble(report: Report) -> Finding:
    calls = report.total("calls")
    if not calls:
        return Finding("good", "No calls ended in this period, and no host was out of use")
    hosts = sum(facts.calls > 0 for facts in report.hosts)
    answered, failed = report.total("answered"), report.total("failed")
    of = f"{report.about}{count(calls, 'call')} to {count(hosts, 'host')}, {share(answered / calls)} answered"
    if not failed:
        which = f"All is well: {of}"
    else:
        which = f"No outage: {of}; {count(failed, 'call')} failed{_where(report) if failed > 1 else ''}"
    unanswered = [facts.label for facts in report.hosts if facts.failed and not facts.answered]
    if unanswered:
        which += f". Too few calls to judge, and none answered: {', '.join(unanswered)}"
    it = report.retries
    exact = it.exact or not report.sampled
    return Finding("good", which, done=_retried(it.sends, it.saved, exact=exact) if it.saved else "")


def _where(report: Report) -> str:
    """When the first and the last call failed, or that failures are spread over the period."""
    first = min((one.first_failure for one in report.hosts if one.first_failure is not None), default=report.begin)
    last = max((one.last_failure for one in report.hosts if one.last_failure is not None), default=report.end)
    if last - first > _MOST * (report.end - report.begin):
        return ", spread over the time"
    return f", all from {when(first, report)} to {when(last, report)}"


# -- one host ------------------------------------------------------------------------------------


def _of_host(facts: HostFacts, numbers: Sequence[int], report: Report, runbook: str | None) -> Finding:
    mine = [report.episodes[at] for at in numbers]
    troubles = [one for one in mine if one.trouble]
    # The latest trouble that goes on; else the one that ended last.
    last = next(
        (one for one in reversed(troubles) if one.end is None), max(troubles or mine, key=lambda one: one.end or 0.0)
    )
    flaps = last.end is not None and flaps_every(troubles, report) is not None
    tone: Literal["bad", "over", "note"] = "bad" if last.end is None else "over"
    return Finding(
        tone if troubles else "note",
        facts.label,
        since=tuple(_line(one, report) for one in mine),
        done=_done(mine, facts.sampled and not report.retries.exact),
        over=over(last, troubles, facts, report) if troubles else "",
        next=advice(last, flaps=flaps, fleet=_in_fleet(last, report)),
        runbook=page_of(last, runbook, flaps=flaps),
        hosts=(facts.host,),
        episodes=tuple(numbers),
    )


def _in_fleet(one: Episode, report: Report) -> bool:
    return bool(report.fleets or one.told or one.isolated_by == "fleet")


def _line(one: Episode, report: Report) -> str:
    return f"{_from_until(one.begin, one.end, one.last_good, report)}: {_what(one, report)}"


def _from_until(begin: float, end: float | None, last_good: float | None, report: Report) -> str:
    since = when(begin, report)
    if last_good is None and begin - report.begin <= report.interval:
        since += " or before"
    if end is None:
        return f"since {since}, {span(report.end - begin)} so far"
    return f"{since} to {until(begin, end, report)}, {span(end - begin)}"


def _what(one: Episode, report: Report) -> str:
    mostly = f", mostly {kind(one.error)}" if one.error else ""
    if one.kind == "isolated":
        to = f"until {when(one.isolated_until, report)}" if one.isolated_until is not None else None
        why = ", ".join(part for part in (one.isolated_reason, to) if part)
        all_workers = " for all workers" if one.isolated_by == "fleet" else ""
        said = f"isolated by an operator{all_workers}" + (f": {why}" if why else "")
        said += f"; {RESTORED[one.restored_by]}" if one.restored_by else ""
    elif one.kind == "hooks":
        said = _hooks(one)
    elif one.kind == "slow":
        said = f"slow: p95 {seconds(one.p95)}, usually {seconds(one.usual_p95)}"
        if one.failed:
            said += f"; {one.failed:,} of {count(one.calls, 'call')} failed"
    elif one.kind == "limited":
        said = f"{one.refused:,} of {count(one.calls, 'call')} refused by our own limit ({kind(one.error)})"
    elif one.kind == "retried":
        saved = "all calls" if not one.failed else f"all but {count(one.failed, 'call')}"
        said = f"{_share_of_sends(one)} failed{mostly}; retries saved {saved}"
    elif one.kind == "broken" and not one.failed:
        said = f"broken{f' ({kind(one.error)})' if one.error else ''}; no call shows how much failed"
    else:
        said = ("broken: " if one.broken and one.kind != "partial" else "") + _failing(one, mostly, report)
    if 0 < one.processes < one.of_processes:
        said += f"; in {one.processes} of {one.of_processes} processes"
    return said + _moved(one, report)


def _hooks(one: Episode) -> str:
    parts = []
    if one.hook_hangs:
        parts.append(f"hung {times(one.hook_hangs)}, longer than timeout.total")
    if one.hook_failures:
        parts.append(f"failed {times(one.hook_failures)}{f', mostly {kind(one.error)}' if one.error else ''}")
    return f"its hook{f' {one.hook}' if one.hook else ''} {' and '.join(parts)}"


def _failing(one: Episode, mostly: str, report: Report) -> str:
    if not one.calls and one.sends_failed:
        return f"{one.sends_failed:,} of {count(one.sends, 'send')} failed{mostly}; no call has ended since"
    if not report.answers_logged:
        return f"{count(one.failed, 'call')} failed{mostly}; how many were answered is not in the log"
    told = _failed_of(one.failed, one.calls)
    if (one.share or 0.0) < _FEW and one.sends_failed:
        told += f" after retries, {_share_of_sends(one)}"
    return told + mostly


def _failed_of(failed: int, calls: int) -> str:
    if failed >= calls:
        return f"{'the only call' if calls == 1 else f'all {calls:,} calls'} failed"
    return f"{share(failed / calls)} of {count(calls, 'call')} failed"


def _share_of_sends(one: Episode) -> str:
    if not one.sends:
        return count(one.sends_failed, "send")
    return f"{share(min(1.0, one.sends_failed / one.sends))} of {count(one.sends, 'send')}"


def _moved(one: Episode, report: Report) -> str:
    if one.moved_at is None:
        return ""
    said = f"; a hook gave its callers {one.moved_to} at {when(one.moved_at, report)}"
    return said + (f", and this host again at {when(one.moved_back_at, report)}" if one.moved_back_at else "")


# -- several that fell together ------------------------------------------------------------------


def _together(one: Together, facts: dict[str, HostFacts], report: Report, runbook: str | None) -> Finding:
    mine = [report.episodes[at] for at in one.episodes]
    going_on = [each for each in mine if each.end is None]
    verb = "were slow" if mine[0].kind == "slow" else "fell"
    what = f"{len(one.hosts)} of {one.of_hosts} hosts {verb} together at {when(one.begin, report)}: is it us?"
    if going_on:
        names = _names(going_on, facts)
        over = f"no: {len(going_on)} of {len(mine)} are not back" if len(going_on) < len(mine) else "no: none is back"
        over += f" ({names})" if len(going_on) < len(mine) else ""
    else:
        since = sum(each.answered_since for each in mine)
        strays = sum(each.failed_since for each in mine)
        over = f"yes, since {when(one.end or report.end, report)}: {count(since, 'call')} answered since"
        over += f", {strays:,} failed" if strays else ""
    return Finding(
        "bad" if going_on else "over",
        what,
        since=tuple(_clusters(mine, facts, report)),
        done=_done(mine, sampled=report.sampled and not report.retries.exact),
        over=over,
        next=advice(*mine),
        runbook=page_of(None, runbook),
        hosts=one.hosts,
        episodes=one.episodes,
    )


def _clusters(mine: Sequence[Episode], facts: dict[str, HostFacts], report: Report) -> list[str]:
    """Hosts that were back at about the same time share a line."""
    lines: list[list[Episode]] = []
    for one in sorted(mine, key=lambda each: (each.kind == "slow", each.end is None, each.end or 0.0)):
        first = lines[-1][0] if lines else None
        if first and (first.kind == "slow") == (one.kind == "slow") and _as_late(first, one, report.interval):
            lines[-1].append(one)
        else:
            lines.append([one])
    return [_cluster(these, facts, report) for these in lines]


def _cluster(these: Sequence[Episode], facts: dict[str, HostFacts], report: Report) -> str:
    ends = sorted(one.end for one in these if one.end is not None)
    period = _from_until(min(one.begin for one in these), max(ends, default=None), 0.0, report)
    if ends and ends[-1] - ends[0] >= _APART:
        period += f" (the first was back at {when(ends[0], report)})"
    calls, failed = sum(one.calls for one in these), sum(one.failed for one in these)
    if these[0].kind == "slow":
        said = "slow"
    else:
        said = _failed_of(failed, calls) if calls else "broken"
        errors = Counter(one.error for one in these if one.error)
        said += f", mostly {kind(errors.most_common(1)[0][0])}" if errors else ""
    return f"{period}: {said}: {_names(these, facts)}"


def _names(these: Sequence[Episode], facts: dict[str, HostFacts]) -> str:
    """The first of them by name, and how many more there are. The address is added if a name is not unique."""
    shared = Counter(name for one in facts.values() for name in one.names[:1])
    found = sorted(
        name if (name := next(iter(facts[one.host].names), None)) and shared[name] == 1 else facts[one.host].label
        for one in these
    )
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED + 1 else ""
    return ", ".join(found[:_NAMED] if more else found) + more


def _as_late(one: Episode, other: Episode, interval: float) -> bool:
    if one.end is None or other.end is None:
        return one.end is other.end
    return abs(one.end - other.end) <= max(interval, _AT_ONCE)


# -- what was done -------------------------------------------------------------------------------


def _done(mine: Sequence[Episode], sampled: bool) -> str:
    def total(name: str) -> int:
        return sum(getattr(one, name) for one in mine)

    parts = []
    if opened := total("opened"):
        many = max(one.opened_in for one in mine)
        told = total("told")
        by = "" if not told else f", {told:,} of them" if told < opened else ","
        parts.append(
            f"circuit opened {times(opened)}{f' in {many:,} processes' if many > 1 else ''}"
            f"{f'{by} told by other workers' if told else ''}"
        )
    if would_open := total("would_open"):
        parts.append(f"circuit would have opened {times(would_open)} (dry run)")
    if refused := total("refused"):
        parts.append(f"{count(refused, 'call')} refused unsent")
    if retries := total("retries"):
        parts.append(_retried(retries, total("saved"), exact=not sampled))
    if evicted := total("evicted"):
        parts.append(f"{count(evicted, 'connection')} given up, {total('hooked'):,} made anew")
    return "; ".join(parts) or "nothing"


def _retried(retries: int, saved: int, *, exact: bool) -> str:
    text = f"{count(retries, 'retry', 'retries')} saved {count(saved, 'call')}"
    return text if exact else f"{text} (estimated: answered calls are logged by a sample)"
