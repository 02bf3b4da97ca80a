"""What an inspection finds. Times are seconds since 1970, durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sleepwalker.inspect.trouble import Episode, Finding, Together
from sleepwalker.inspect.window import Filter

__all__ = [
    "Alone",
    "BadLine",
    "Call",
    "FileFacts",
    "FleetFacts",
    "HostFacts",
    "Misdated",
    "Outage",
    "Problem",
    "Report",
    "Retries",
    "Series",
    "Span",
]

#: The state of a host by its events, worst last.
HostState = Literal["fine", "moved", "broken", "isolated"]
#: The state of its circuit. `would be open`: in a dry run, in which nothing is refused.
CircuitState = Literal["closed", "would be open", "half-open", "open"]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be read."""

    file: str
    line: int
    """From 1."""
    fault: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """How many lines of each kind a file has."""

    name: str
    events: int
    other: int
    malformed: int
    unfinished: int
    cut: bool
    """Whether it is a gzip file that was cut off or damaged: the rest could not be read."""


@dataclass(frozen=True, slots=True)
class Misdated:
    """An event before 2020, or more than a day in the future: from a wrong clock."""

    file: str
    line: int | None
    """From 1. None if the file has so many such events that it was not kept."""
    time: float


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which something was in one state."""

    state: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Outage:
    """From when until when a host was out of use, and why."""

    since: float
    until: float | None
    """None if it went on when the log ended."""
    why: Literal["breaker", "connect", "fleet", "isolated"]
    """`fleet`: reported by other workers."""
    cause: str | None
    """The failure before it: a status or the name of an exception type."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A time in which workers of a fleet could not use its store, and each went on alone. Not the trouble of a host."""

    begin: float
    end: float | None
    """When the last of them was back; None if one is not."""
    workers: int
    """How many processes, all together."""
    of_workers: int
    """How many workers the fleet had then."""
    still: int
    """How many of them were not back when the log ended."""
    reason: str
    """The most frequent reason that they logged."""


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """Workers of one service that share a store."""

    store: str
    """Its URL."""
    service: str
    workers: int
    """How many processes of the log, all together."""
    alone: list[Alone]


@dataclass(slots=True)
class HostFacts:
    """What the events say about a host. Counts are of calls unless they say otherwise."""

    host: str
    """The address: an origin, or `https://host#scope` for a scope. A name, if all of its events are those of hooks."""
    names: list[str] = field(default_factory=list)
    """The names that `find` was given for it, most frequent first, without the address itself."""
    now: str = "fine"
    """One word for how it is when the log ends: fine, failing, slow, broken, isolated, moved, open, half-open,
    recovering, limited, hooks failing, not called."""
    processes: int = 0
    """How many processes called it."""
    calls: int = 0
    answered: int = 0
    failed: int = 0
    """Rejected ones included."""
    rejected: int = 0
    """Refused by a policy before anything was sent."""
    attempts: int = 0
    """Sends."""
    retries: int = 0
    """Sends beyond the first of a call."""
    saved: int = 0
    """Answered calls that needed more than one send."""
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    longest: float | None = None
    usual_p95: float | None = None
    """The median p95 over blocks of time, without retried calls; None if it was called too seldom."""
    first_failure: float | None = None
    """Of a call, except for refusals by the breaker or an isolation: they say nothing about the host."""
    last_failure: float | None = None
    last_answer: float | None = None
    answered_since: int = 0
    """Answered after the last failure, or after the recovery if that came later."""
    recovered_at: float | None = None
    """When its circuit last closed, or it recovered otherwise, if it did not break again; not in a dry run."""
    ramp_until: float | None = None
    """When the ramp ends that began when its circuit last closed."""
    next_try: float | None = None
    """When its circuit, open at the end of the log, lets a probe through. Workers of a fleet that take turns do not
    count."""
    in_turn: bool = False
    """Whether its circuit is open or half-open in workers of a fleet when the log ends: they try it in turn."""
    sampled: bool = False
    """Whether only a sample of the answered calls was logged: counts of them are then estimates."""
    state: HostState = "fine"
    circuit: CircuitState = "closed"
    opened: int = 0
    """How often the circuit opened; not in a dry run."""
    would_open: int = 0
    """How often it would have opened, in a dry run."""
    evicted: int = 0
    """Connections given up because they were no longer good."""
    hooked: int = 0
    """Connections made by hooks."""
    moved_to: str | None = None
    """Where a hook sent its callers while it failed, if they are still there when the log ends."""
    moved_at: float | None = None
    """When the first of them was sent there. Later hooks that give the same target change nothing."""
    moved_back_at: float | None = None
    """When a hook first gave them this host again, after the last move away from it."""
    error: str | None = None
    """The most frequent failure of its sends."""
    outages: list[Outage] = field(default_factory=list)
    host_spans: list[Span] = field(default_factory=list)
    circuit_spans: list[Span] = field(default_factory=list)

    @property
    def label(self) -> str:
        """For people: the name with the address, as in `payments (https://10.0.0.1)`, or the address alone."""
        return f"{', '.join(self.names[:2])} ({self.host})" if self.names else self.host

    @property
    def success_ratio(self) -> float | None:
        """Answered calls of all calls."""
        return self.answered / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of failure of one host's sends."""

    host: str
    error: str
    """A status, or the name of an exception type."""
    attempts: int
    first: float
    last: float
    detail: str | None
    """The error text of the last one."""
    path: str | None
    """The path with most of these failures."""


@dataclass(slots=True)
class Retries:
    """What retries achieved."""

    sends: int = 0
    """Sends beyond the first of a call, hedges included."""
    calls: int = 0
    """Calls that were sent more than once."""
    saved: int = 0
    """The answered ones of those. Includes calls with a hedge, because their events do not tell hedges from retries."""
    saved_by: dict[int, int] = field(default_factory=dict)
    """The same by the number of sends."""
    in_vain: int = 0
    """Calls that failed after more than one send."""
    waited: float = 0.0
    """Seconds that calls spent between sends, all together."""
    server_directed: int = 0
    """Waits that the server's `Retry-After` set."""
    abandoned: dict[str, int] = field(default_factory=dict)
    """Retries that were due but not made, by reason."""
    hedges: int = 0
    """Hedges sent."""
    saved_by_hedges: int = 0
    """Hedges that were answered before the attempt beside which they were sent."""
    exact: bool = False
    """Whether answered calls are sampled, but retries are counted by their own events. `saved_by` is estimated."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    time: float
    host: str
    method: str
    path: str
    status: int | None
    error: str | None
    attempts: int
    duration: float
    waited: float


@dataclass(slots=True)
class Series:
    """Counts per interval, from `Report.begin` on: a list per quantity, all of the same length."""

    host: str | None
    """None for all hosts together."""
    answered: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    """Rejected calls not included."""
    rejected: list[int] = field(default_factory=list)
    retries: list[int] = field(default_factory=list)
    p50: list[float | None] = field(default_factory=list)
    p95: list[float | None] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The report of an inspection."""

    files: list[FileFacts]
    bad_lines: list[BadLine]
    chosen: Filter
    """Which part of the logs it is about."""
    events: int
    """How many the filter let through."""
    begin: float
    end: float
    hosts: list[HostFacts]
    """Worst first."""
    problems: list[Problem]
    retries: Retries
    slow: list[Call]
    interval: float
    """Seconds per interval in which trouble is judged. Begins and ends are right within one."""
    step: float
    """Seconds per interval of the series."""
    series: list[Series]
    """Of all hosts together, then of the worst ones."""
    rejections: dict[str, int]
    """Rejected calls, by the policy part that refused them."""
    answers_logged: bool = True
    """False if answered calls are missing in the logs: then it is not known which share of the calls failed."""
    processes: int = 1
    """How many processes wrote the events."""
    misdated: int = 0
    """Events before 2020, or more than a day in the future: counted, but left out of everything over time."""
    misdated_lines: list[Misdated] = field(default_factory=list)
    """The first of them."""
    latency: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)
    """p50, p95, p99 and the longest, of all calls that were sent."""
    episodes: list[Episode] = field(default_factory=list)
    """By begin."""
    together: list[Together] = field(default_factory=list)
    fleets: list[FleetFacts] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Worst first, all of them."""

    def total(self, name: str) -> int:
        """A count of calls, over all hosts."""
        return sum(getattr(host, name) for host in self.hosts)

    @property
    def trouble(self) -> bool:
        """Whether there was any trouble in the period, over or not. `--check` asks for it."""
        return any(one.trouble for one in self.episodes)

    @property
    def met(self) -> list[HostFacts]:
        """Hosts that were called or had an outage. Others are names for which hooks found connections elsewhere."""
        return [host for host in self.hosts if host.calls or host.outages]

    @property
    def sampled(self) -> bool:
        """Whether not all answered calls are in the log, so that counts of them are estimates."""
        return any(host.sampled for host in self.hosts)

    @property
    def about(self) -> str:
        """The word before a count that may be an estimate."""
        return "about " if self.sampled else ""
