"""Trouble as data: episodes of one host, hosts that fell together, and findings about them.

Times are seconds since 1970, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Episode", "Finding", "Kind", "Together"]

#: What was wrong in an episode.
#:
#: - `total`: almost no call was answered
#: - `partial`: a share of the calls, or of the sends, failed
#: - `slow`: calls took far longer than this host's calls usually do
#: - `broken`: only its state events say so; hardly a call that ended meanwhile failed
#: - `isolated`: an operator had taken the host out of use
#: - `limited`: at least half of the failed calls were refused by our own limit: bulkhead, rate limit, cooldown
#: - `hooks`: the hooks that are asked for a connection failed or hung
#: - `retried`: a share of the sends failed, and retries saved almost all calls: no trouble
Kind = Literal["total", "partial", "slow", "broken", "isolated", "limited", "hooks", "retried"]


@dataclass(slots=True)
class Episode:
    """A time in which something was wrong with one host. Counts are of the calls that ended in it."""

    host: str
    kind: Kind
    begin: float
    """When the first call began that failed or was slow, or the time of the event that says so."""
    end: float | None
    """The event of the recovery, the move of the callers, or else what the calls show: the last one that failed or was
    slow, or the first answered one sent after every call that failed. None if it goes on when the log ends."""
    broken: bool = False
    """Whether its events say that it was broken: its circuit opened, or connecting failed too often."""
    held: bool = False
    """Whether a process that has not called since still counts it as broken, while others are answered."""
    calls: int = 0
    answered: int = 0
    failed: int = 0
    """Refused ones included."""
    refused: int = 0
    """Refused by a policy before anything was sent."""
    sends: int = 0
    sends_failed: int = 0
    p95: float | None = None
    """Of calls that were answered without a retry."""
    usual_p95: float | None = None
    error: str | None = None
    """The most frequent failure of its sends: a status or the name of an exception type."""
    opened: int = 0
    """How often the circuit opened."""
    told: int = 0
    """How many of these openings came from other workers."""
    opened_in: int = 0
    """In how many processes; each has a circuit of its own."""
    would_open: int = 0
    retries: int = 0
    saved: int = 0
    """Answered calls that needed more than one send."""
    evicted: int = 0
    """Connections given up because they were no longer good."""
    hooked: int = 0
    """Connections made by hooks, also to other hosts."""
    moved_to: str | None = None
    """Where a hook sent the callers, if it did."""
    moved_at: float | None = None
    """When the first of them was sent there."""
    moved_back_at: float | None = None
    hook: str | None = None
    """The type of the hook that failed or hung."""
    hook_failures: int = 0
    hook_hangs: int = 0
    """How often hooks ran for longer than `timeout.total`."""
    processes: int = 0
    """How many processes saw it."""
    of_processes: int = 0
    """How many processes called the host meanwhile."""
    last_good: float | None = None
    """The last answered call before it. The trouble may have begun at any time since then."""
    answered_since: int = 0
    """Calls that were answered after its end."""
    failed_since: int = 0
    """Calls that failed after its end and belong to no other episode."""
    last_stray: float | None = None
    """The last of those."""
    isolated_reason: str | None = None
    """The operator's reason for the isolation, if given."""
    isolated_until: float | None = None
    """The end that the operator gave the isolation, if any."""
    isolated_by: Literal["fleet", "hand"] | None = None
    """`fleet`: by an order to all workers, as far as the log shows; else `hand`. None if no event says it."""
    restored_by: Literal["fleet", "hand", "time"] | None = None
    """What ended the isolation: an order to all workers, `restore` in a worker of the log, or its time was over."""
    together: int | None = None
    """The index of the entry in `Report.together` that it belongs to."""

    @property
    def share(self) -> float | None:
        """Failed calls of all calls."""
        return self.failed / self.calls if self.calls else None

    @property
    def trouble(self) -> bool:
        """Whether callers noticed it, or an operator caused it. False for `retried`."""
        return self.kind != "retried"


@dataclass(frozen=True, slots=True)
class Together:
    """Hosts that fell within an interval or so of each other: more likely our own fault than that of all of them."""

    begin: float
    end: float | None
    """When the last of them was over; None if one is not."""
    hosts: tuple[str, ...]
    of_hosts: int
    """How many hosts were called at that time."""
    episodes: tuple[int, ...]
    """Their indexes in `Report.episodes`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the report says about a host, or about several that fell together; or that all is well."""

    tone: Literal["good", "note", "over", "bad"]
    """`bad`: trouble goes on; `over`: trouble has ended; `note`: worth knowing, no trouble; `good`: all is well."""
    which: str
    """The heading: the host with its name, or how many hosts fell together; a sentence if all is well."""
    since: tuple[str, ...] = ()
    """A line for each episode, or for hosts that were back together: from when until when, and what was wrong."""
    done: str = ""
    """What sleepwalker did about it."""
    over: str = ""
    """Whether it is over. Begins with `yes`, `no`, or words for something in between, such as `for now`."""
    next: str = ""
    """What to do now."""
    runbook: str = ""
    """Where to read on: a link, or a page of our documentation."""
    hosts: tuple[str, ...] = ()
    """Addresses of the hosts that it is about."""
    episodes: tuple[int, ...] = ()
    """The indexes of its episodes in `Report.episodes`."""
