"""What to do about an episode, and where to read on: the runbook has a section for each kind."""

from __future__ import annotations

import shlex

from sleepwalker.inspect.trouble import Episode

__all__ = ["advice", "page_of", "read_on"]

#: The page with a section for every kind, by default.
_PAGE = "docs/operations/runbook.md"

#: Sections whose name is not that of the kind.
_SECTIONS = {"total": "broken", "BulkheadFullError": "bulkhead"}
_TOGETHER, _MOVED, _FLAPPING = "together", "moved", "flapping"

#: What an error mostly means.
_MEANS = {
    "ConnectError": "Nothing listens at its address, or its name is not found.",
    "ConnectTimeout": "Connection attempts get no reply: a network problem or a firewall.",
    "TLSError": "Often an expired certificate.",
    "AuthenticationError": "It rejects our credentials.",
}

_NOW = {
    "total": (
        "Call its operators and tell them since when. sleepwalker tries it again from time to time. A hook can return "
        "a replica; manager.isolate keeps callers away longer."
    ),
    "partial": (
        "Check which path and status fail. A steady share usually means one broken machine of several: tell its "
        "operators."
    ),
    "slow": (
        "Tell its operators since when. A shorter timeout.attempt, or breaker.slow_ratio, protects our own service."
    ),
    "isolated": "Ask the operator who isolated it whether it may come back. manager.restore ends the isolation.",
    "limited": "Did our own load grow? Then raise the limit. If not, find the code that calls in a loop.",
    "hooks": "Check the server that the hook calls: callers wait for it and get no connection.",
    "retried": "Nothing now: callers did not notice. In the morning, ask its operators what is broken.",
}
_NOW["broken"] = _NOW["total"]
_FLAPS = (
    "It recovers and fails again: tell its operators. Often it is too small for its load, or keeps restarting. A "
    "longer breaker.ramp lets in less load after each recovery."
)
#: Kinds for which the host is probably fine if it is well for at least half of the processes that call it.
_LOCAL = ("total", "partial", "slow", "broken", "retried")
_OVER = {
    "isolated": "Nothing.",
    "limited": "Nothing now. In the morning, check whether the limit is still right.",
    "hooks": "Nothing now. In the morning, ask the operators of the server that the hook calls.",
}


def advice(*episodes: Episode, flaps: bool = False, fleet: bool = False) -> str:
    """What to do now. Several episodes are those of hosts that fell together. `fleet`: orders can go to all workers."""
    one = episodes[0]
    if len(episodes) > 1:
        if all(each.end is not None for each in episodes):
            return "Nothing now. In the morning, look for a common cause: our own network, DNS, proxy, or a deploy."
        return "First check what they share: our own network, DNS, proxy, the last deploy. Then check the hosts."
    if one.moved_at is not None and one.end is not None:
        return "Nothing now. Change everything that still uses the old address."
    # If more than half of the processes saw it, they are less likely the cause.
    if 0 < one.processes <= one.of_processes / 2 and one.kind in _LOCAL:
        return _local(one)
    if flaps and one.kind != "limited":
        return _FLAPS
    if one.end is not None and one.kind != "retried":
        return _OVER.get(one.kind, "Nothing now. In the morning, ask its operators for the cause.")
    means = f"{_MEANS[one.error]} " if one.error in _MEANS and one.kind in ("total", "broken") else ""
    return f"{means}{_for_all(_NOW[one.kind], one.host) if fleet else _NOW[one.kind]}"


def _for_all(text: str, host: str) -> str:
    """Next to the manager's method, name the command that reaches all workers of the fleet."""
    for order in ("isolate", "restore"):
        text = text.replace(f"manager.{order}", f"manager.{order} (or: sleepwalker fleet {order} {shlex.quote(host)})")
    return text


def _local(one: Episode) -> str:
    these, whose = ("that process", "its") if one.processes == 1 else (f"those {one.processes} processes", "their")
    where = f"{whose} network, DNS, proxy, credentials, machine"
    if one.kind == "retried" or one.end is not None:
        now = "Nothing now: callers did not notice" if one.kind == "retried" else "Nothing now"
        return f"{now}. In the morning, look at {these}: {where}."
    others = one.of_processes - one.processes
    well = f"The host is fine for the other {others:,}." if others > 1 else "The host is fine for the other one."
    # Others are answered, so "nothing listens at its address" would be wrong.
    means = f" {_MEANS[one.error]}" if one.error in _MEANS and one.error != "ConnectError" else ""
    return f"Look at {these} first: {where}. {well}{means}"


def page_of(one: Episode | None, runbook: str | None, *, flaps: bool = False) -> str:
    """Where to read on. `one` is None for hosts that fell together."""
    if one is None:
        section = _TOGETHER
    elif one.moved_at is not None:
        section = _MOVED
    elif flaps and one.kind != "limited":
        section = _FLAPPING
    elif one.kind == "limited" and one.error == "BulkheadFullError":
        section = _SECTIONS["BulkheadFullError"]
    else:
        section = _SECTIONS.get(one.kind, one.kind)
    return f"{(runbook or _PAGE).partition('#')[0]}#{section}"


def read_on(page: str) -> str:
    """Where to read on, for people. Our own page is named with its project, because they may not have it at hand."""
    address, _, section = page.partition("#")
    return f'runbook, section "{section}" ({_PAGE} of the project)' if address == _PAGE else page
