"""Changes of a host's state: its circuit, its health, its isolation and its cooldowns."""

from __future__ import annotations

from typing import ClassVar, Literal

from sleepwalker.events.base import Event, Level, Transition, event_type

__all__ = [
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "CooldownBegan",
    "HostBroken",
    "HostIsolated",
    "HostRecovered",
    "HostRestored",
]


@event_type
class BreakerOpened(Transition):
    """The host's circuit opened: calls fail at once for `open_for` seconds."""

    name = "breaker.opened"
    level: ClassVar[Level] = "warning"

    rule: Literal["consecutive", "failure_ratio", "fleet", "probe", "slow_ratio"]
    open_for: float
    cause: str | None
    """The last failure: a status (`503`), the name of an exception type, or `slow calls`."""
    observed: bool | None = None
    """True in a dry run (`mode = "observe"`), which rejects nothing; else absent."""
    by: Literal["fleet"] | None = None
    """`fleet`: other workers find the host broken; else absent."""


@event_type
class BreakerHalfOpened(Transition):
    """The open time is over: probes are admitted."""

    name = "breaker.half_opened"
    level: ClassVar[Level] = "info"

    observed: bool | None = None
    """True in a dry run (`mode = "observe"`), which rejects nothing; else absent."""


@event_type
class BreakerClosed(Transition):
    """The circuit closed: enough probes succeeded, or an operator closed it. The admitted load grows with each round of
    successes."""

    name = "breaker.closed"
    level: ClassVar[Level] = "info"

    ramp: float
    observed: bool | None = None
    """True in a dry run (`mode = "observe"`), which rejects nothing; else absent."""
    by_hand: bool | None = None
    """True if `reset_circuit` closed it; else absent."""
    by: Literal["fleet"] | None = None
    """`fleet`: other workers got answers, or an operator closed it for all; else absent."""


@event_type
class CooldownBegan(Transition):
    """The host asked callers to wait, and `retry.after_binds` extends the wait to other calls."""

    name = "cooldown.began"
    level: ClassVar[Level] = "warning"

    cause: str
    """The status of the response that asked for it."""
    binds: Literal["pair", "host"]
    """The calls that wait: all with the same credentials, or all to the host."""
    wait: float
    """The wait that the server asked for, at most `retry.retry_after_max`."""


@event_type
class HostBroken(Transition):
    """The host is broken from now on: its circuit opened, connecting failed too often in a row, or other workers say
    so."""

    name = "host.broken"
    level: ClassVar[Level] = "error"

    reason: Literal["breaker", "connect", "fleet"]
    """Whether its circuit opened, connecting failed `health.broken_after` times in a row, or other workers say so."""
    failures: int
    """Attempts that failed in a row."""
    cause: str | None
    """The last failure: a status (`503`), the name of an exception type, or `slow calls`."""
    by: Literal["fleet"] | None = None
    """`fleet`: other workers say so; else absent."""


@event_type
class HostRecovered(Transition):
    """The host responds again, and its circuit is closed."""

    name = "host.recovered"
    level: ClassVar[Level] = "info"

    broken_for: float
    by_hand: bool | None = None
    """True if `reset_circuit` ended it, so that the host's health is not known yet; else absent."""
    by: Literal["fleet"] | None = None
    """`fleet`: other workers were answered or take their word back, or an operator ended it for all; else absent."""


@event_type
class HostIsolated(Event):
    """An operator took the host out of use, or changed why or until when."""

    name = "host.isolated"
    level: ClassVar[Level] = "warning"

    reason: str | None = None
    """The operator's reason, if given."""
    until: float | None = None
    by: Literal["fleet"] | None = None
    """`fleet`: an operator took it out of use for all workers; else absent."""


@event_type
class HostRestored(Event):
    """The host is back in use: an operator restored it, or its isolation ended by itself."""

    name = "host.restored"
    level: ClassVar[Level] = "info"

    by: Literal["fleet", "hand", "time"] = "hand"
    """What ended the isolation: `restore` here (`hand`) or in another worker (`fleet`), or its `until` (`time`). For
    `time`, the event comes with the next use of the host."""
    reason: str | None = None
    """The reason of the isolation, if one was given."""
    until: float | None = None
