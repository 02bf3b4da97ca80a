"""Whether trouble is over, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from sleepwalker.inspect.model import HostFacts, Report
from sleepwalker.inspect.trouble import Episode
from sleepwalker.inspect.words import RESTORED, count, span, when

__all__ = ["flaps_every", "over"]

#: From this many episodes on, a host may flap.
_OFTEN = 4
#: Seconds by which the try of an open circuit may be late: it waits for the next call.
_DUE = 10.0


def over(one: Episode, troubles: Sequence[Episode], facts: HostFacts, report: Report) -> str:
    """Begins with `yes`, `recovering`, `for now`, `for its callers`, `perhaps` or `no`."""
    if one.end is None:
        return _goes_on(one, facts, report)
    if one.moved_at is not None:
        back = f"; they are back since {when(one.moved_back_at, report)}" if one.moved_back_at else ""
        return f"for its callers: a hook gave them {one.moved_to} at {when(one.moved_at, report)}{back}"
    since = f"{count(one.answered_since, 'call')} answered since {when(one.end, report)}"
    if facts.ramp_until is not None and report.end < facts.ramp_until and one.end == facts.recovered_at:
        return f"recovering: {since}; the load grows until {when(facts.ramp_until, report)} at the latest"
    if one.kind in ("isolated", "hooks"):
        why = f": {RESTORED[one.restored_by]}" if one.restored_by else ""
        return f"yes, since {when(one.end, report)}{why}"
    if (every := flaps_every(troubles, report)) is not None:
        return f"for now: {since}, but it failed every {span(every)} on average"
    if not one.answered_since:
        return f"perhaps: it ended at {when(one.end, report)}, and no call has been answered since"
    stray = ""
    if one.failed_since and one.last_stray is not None and not _begins_another(one, one.last_stray, report):
        last = f"the last at {when(one.last_stray, report)}"
        stray = f"; {count(one.failed_since, 'call')} failed since, {last}, which is no outage"
    held = "; a process that has not called since still counts it as broken" if one.held else ""
    return f"yes: {since}{stray}{held}"


def flaps_every(troubles: Sequence[Episode], report: Report) -> float | None:
    """The mean seconds between the begins of a flapping host's troubles; None if it does not flap."""
    if len(troubles) < _OFTEN or troubles[-1].kind in ("isolated", "hooks") or troubles[-1].moved_at is not None:
        return None
    every = (troubles[-1].begin - troubles[0].begin) / (len(troubles) - 1)
    ends = [report.end if one.end is None else one.end for one in troubles]
    return every if report.end - max(ends) < 2 * every else None


def _begins_another(one: Episode, stray: float, report: Report) -> bool:
    """Whether a failure after an episode belongs to a later one of the host, give or take an interval."""
    return any(
        each.host == one.host
        and each.begin > one.begin
        and each.begin - report.interval <= stray <= (report.end if each.end is None else each.end + report.interval)
        for each in report.episodes
    )


def _goes_on(one: Episode, facts: HostFacts, report: Report) -> str:
    if one.kind == "isolated":
        over = f" or its time is over, at {when(one.isolated_until, report)}" if one.isolated_until is not None else ""
        return f"no: isolated until an operator restores it{over}"
    if one.kind == "hooks":
        return "no: no hook has given a connection since"
    if one.kind == "slow":
        return "no: calls were still slow when the log ended"
    answers = f"{count(facts.answered_since, 'call')} answered since the last failure"
    if facts.last_failure is not None:
        answers += f" at {when(facts.last_failure, report)}"
    if facts.circuit in ("open", "half-open"):
        return f"no: the circuit is {facts.circuit}{_next_try(one, facts, answers, report)}"
    if not one.calls and one.sends_failed:
        return "no: no call has ended since"
    if facts.state == "broken" and facts.answered_since and (facts.last_answer or 0) > one.begin:
        return f"perhaps: {answers}, but no recovery is logged (was the process restarted?)"
    if facts.answered_since:
        return f"no: {answers}"
    last = facts.last_failure
    return "no: the last call failed" + (f", at {when(last, report)}" if last is not None else "")


def _next_try(one: Episode, facts: HostFacts, answers: str, report: Report) -> str:
    if facts.next_try is None:
        return _in_turn(one, facts, answers, report) if facts.in_turn else ""
    if facts.next_try > report.end - _DUE:
        return f", next try at {when(facts.next_try, report)}"
    return f"; the next try was due at {when(facts.next_try, report)}, but the log has nothing about it"


def _in_turn(one: Episode, facts: HostFacts, answers: str, report: Report) -> str:
    if 0 < one.processes < one.of_processes and facts.answered_since:
        return f" in {one.processes:,} of {count(one.of_processes, 'process', 'processes')}; the others are answered"
    said = "; the workers of its fleet try it in turn"
    if facts.answered_since or facts.last_failure is None:
        return f"{said}: {answers}"
    return f"{said}, and the last failure was at {when(facts.last_failure, report)}"
