"""The event catalogue: what happened to a call or a host, and who wants to know.

An event is a constant dotted name, a level and typed fields; there is no prose in it. No field
holds a credential, a cookie, a query string, a header, a body or user information of a URL.
Durations are seconds. `host` is the origin, `https://api.example.net:8443`, of a scope with its name
after a `#`; `path` has no query;
`error` is the name of an exception type and `detail` that exception's text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar, Literal, Protocol

from sleepwalker.frozen import frozen, reader

__all__ = [
    "CATALOGUE",
    "AnyObserver",
    "AttemptFailed",
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "ConnectionEvicted",
    "ConnectionHooked",
    "ConnectionRetired",
    "CooldownBegan",
    "Event",
    "HedgeFinished",
    "HedgeSent",
    "HookFailed",
    "HookSlow",
    "HostBroken",
    "HostIsolated",
    "HostRecovered",
    "HostRestored",
    "Level",
    "Observer",
    "PolicyIgnored",
    "RequestFailed",
    "RequestFinished",
    "RequestRejected",
    "RequestWouldReject",
    "RetryAbandoned",
    "RetryScheduled",
]

Level = Literal["debug", "info", "warning", "error"]


@frozen
class Event:
    """What every event has."""

    name: ClassVar[str]
    level: ClassVar[Level]

    host: str

    def fields(self) -> dict[str, Any]:
        """The fields by name, those that are None left out."""
        kind: Any = type(self)
        names, values = _reading(kind)
        return {name: value for name, value in zip(names, values(self), strict=True) if value is not None}


@frozen
class RequestFinished(Event):
    """The server's answer was handed to the caller, a 404 included. Its level follows `log.finished`."""

    name = "request.finished"
    level = "info"

    method: str
    path: str
    status: int | None
    """Absent only for a guarded object that does not say."""
    attempts: int
    duration: float
    waited: float
    sample: float | None = None
    """`log.sample`, the share of answered calls that are logged; absent where all of them are."""


@frozen
class RequestFailed(Event):
    """The caller got an answer that counts against the host, an exception, or a rejection."""

    name = "request.failed"
    level = "error"

    method: str
    path: str
    status: int | None
    error: str | None
    detail: str | None
    attempts: int
    duration: float
    waited: float


@frozen
class AttemptFailed(Event):
    """One send came to an error or to a status that asks for a retry or counts as a failure."""

    name = "attempt.failed"
    level = "warning"

    method: str
    path: str
    attempt: int
    status: int | None
    error: str | None
    detail: str | None
    duration: float


@frozen
class RetryScheduled(Event):
    """The call waits, then sends again. `attempt` is the number of the send to come."""

    name = "retry.scheduled"
    level = "info"

    method: str
    path: str
    attempt: int
    wait: float
    server_directed: bool
    """True where the server set the wait: by this answer or, under `retry.after_binds`, by one to another call."""
    reason: Literal["status", "error", "retry_if"]
    """What for: a status of `retry.statuses`, an error, or the word of the call's or connection's `retry_if`."""


@frozen
class RetryAbandoned(Event):
    """A retry would have been due and attempts were left, but `reason` forbade it."""

    name = "retry.abandoned"
    level = "warning"

    method: str
    path: str
    attempt: int
    reason: Literal["breaker", "budget", "closed", "deadline", "not idempotent", "not replayable", "retry after"]


@frozen
class HedgeSent(Event):
    """An attempt is slow, so a copy of it was sent as well. The first good answer wins."""

    name = "hedge.sent"
    level = "info"

    method: str
    path: str
    attempt: int
    """The number of the copy."""
    delay: float


@frozen
class HedgeFinished(Event):
    """A copy's race is over."""

    name = "hedge.finished"
    level = "info"

    method: str
    path: str
    attempt: int
    """The number of the copy."""
    won: bool
    """Whether its answer was the one that counts."""


@frozen
class RequestRejected(Event):
    """A policy of ours refused the call before anything was sent."""

    name = "request.rejected"
    level = "warning"

    method: str
    path: str
    by: Literal["breaker", "bulkhead", "cooldown", "isolation", "rate_limit"]
    """The policy part that refused the call; `cooldown`: the host had asked to be left alone (`retry.after_binds`);
    `isolation`: an operator had taken it out of use."""
    retry_after: float | None


@frozen
class RequestWouldReject(Event):
    """A policy of ours that only observes would have refused this send; it is made all the same."""

    name = "request.would_reject"
    level = "info"

    method: str
    path: str
    by: Literal["breaker", "bulkhead", "rate_limit"]
    attempt: int
    """The number of the send. The first would have been a rejected call, a later one an abandoned retry."""
    retry_after: float | None


@frozen
class BreakerOpened(Event):
    """The host's circuit opened: calls fail at once for `open_for` seconds."""

    name = "breaker.opened"
    level = "warning"

    rule: Literal["consecutive", "failure_ratio", "probe", "slow_ratio"]
    open_for: float
    cause: str | None
    """What the last failure was: a status (`503`) or the name of an exception type; or `slow calls`."""
    observed: bool | None = None
    """True in a dry run (`mode = "observe"`), in which nothing is rejected; else absent."""


@frozen
class BreakerHalfOpened(Event):
    """The open time is over: probes are let through."""

    name = "breaker.half_opened"
    level = "info"

    observed: bool | None = None
    """True in a dry run (`mode = "observe"`), in which nothing is rejected; else absent."""


@frozen
class BreakerClosed(Event):
    """Enough probes succeeded, or an operator closed it: its load grows with each round of successes."""

    name = "breaker.closed"
    level = "info"

    ramp: float
    observed: bool | None = None
    """True in a dry run (`mode = "observe"`), in which nothing is rejected; else absent."""
    by_hand: bool | None = None
    """True where `reset_circuit` closed it, whatever its probes came to; else absent."""


@frozen
class CooldownBegan(Event):
    """The host asked to be left alone, and by `retry.after_binds` other calls than the one that it told wait, too."""

    name = "cooldown.began"
    level = "warning"

    cause: str
    """The status of the answer that asked for it."""
    binds: Literal["pair", "host"]
    """Whom it holds back: all calls with the same credentials, or all calls to the host."""
    wait: float
    """For how long: what the server asked for, at most `retry.retry_after_max`."""


@frozen
class HostBroken(Event):
    """The host counts as broken from now on: its circuit opened, or connecting failed too often in a row."""

    name = "host.broken"
    level = "error"

    reason: Literal["breaker", "connect"]
    """Whether its circuit opened, or connecting failed `health.broken_after` times in a row."""
    failures: int
    """Attempts that failed in a row."""
    cause: str | None
    """What the last failure was: a status (`503`) or the name of an exception type; or `slow calls`."""


@frozen
class HostRecovered(Event):
    """The host answers again, and its circuit is closed."""

    name = "host.recovered"
    level = "info"

    broken_for: float
    by_hand: bool | None = None
    """True where `reset_circuit` ended it, so that nothing is known yet of how the host does; else absent."""


@frozen
class HostIsolated(Event):
    """An operator took the host out of use, or changed why or until when."""

    name = "host.isolated"
    level = "warning"

    reason: str | None = None
    """Why, in the operator's words, if they said so."""
    until: float | None = None


@frozen
class HostRestored(Event):
    """The host is back in use: an operator restored it, or the time of its isolation was over."""

    name = "host.restored"
    level = "info"

    by: Literal["hand", "time"] = "hand"
    """What ended the isolation: `restore`, or its `until`. The latter is told when somebody looks for the host next."""
    reason: str | None = None
    """Why it had been isolated, in the operator's words, if they said so."""
    until: float | None = None


@frozen
class ConnectionHooked(Event):
    """A hook made a connection for the host asked for."""

    name = "connection.hooked"
    level = "info"

    hook: str
    """The hook's type."""
    target: str
    """The origin that the connection goes to, or the type of an object that does not say."""
    duration: float


@frozen
class ConnectionEvicted(Event):
    """A connection was given up because it is no longer good."""

    name = "connection.evicted"
    level = "warning"

    reason: Literal["breaker", "by hand", "closed", "connect", "failback", "isolated", "replaced", "unauthorized"]
    """What was wrong with it; `failback`: it was a stand-in, and the host asked for may be tried again; `isolated`: it
    was a stand-in whose host was isolated."""


@frozen
class HookFailed(Event):
    """A hook raised a connection error; or any other exception, after the time of all its callers was over."""

    name = "connection.hook_failed"
    level = "warning"

    hook: str
    """The hook's type."""
    error: str
    duration: float
    detail: str | None = None
    """What `find` says of it: the status and the server, or its words without what may be a secret."""


@frozen
class HookSlow(Event):
    """The hooks for a host are at work for longer than `timeout.total`; said once, while they still are."""

    name = "connection.hook_slow"
    level = "warning"

    hook: str
    """The type of the hook that is at work; empty if none was asked yet."""
    duration: float
    """How long the hooks have been at work."""


@frozen
class ConnectionRetired(Event):
    """A good connection was given up: unused for long, too old, to make room, or with all of its manager's."""

    name = "connection.retired"
    level = "info"

    reason: Literal["age", "idle", "reset", "room"]
    """`health.max_age` or `health.idle` was reached; `reset` or `close` of the manager was called; or it held
    `max_connections`."""


@frozen
class PolicyIgnored(Event):
    """A policy was given that is not followed, for others share what it would limit; told once per host or scope."""

    name = "policy.ignored"
    level = "warning"

    ignored: str
    """The fields of its policy that are not followed, such as `breaker.consecutive, bulkhead`."""
    followed: Literal["policies", "connection", "manager", "scope"]
    """Whose policy is: one of `policies=` or a `[[host]]` table, that of the host's first connection, from a hook or
    `add`, the manager's; or the one that was given first for the scope."""


class Observer(Protocol):
    """Receives events, called outside every lock. `level` stands in for the event's own where a policy sets it."""

    def __call__(self, event: Event, level: Level | None = None, /) -> None: ...


#: What a caller may pass for one: the level may be left out, as `list.append` does.
AnyObserver = Observer | Callable[[Event], object]


#: Every event type by its name.
CATALOGUE: dict[str, type[Event]] = {
    cls.name: cls
    for cls in (
        RequestFinished,
        RequestFailed,
        AttemptFailed,
        RetryScheduled,
        RetryAbandoned,
        HedgeSent,
        HedgeFinished,
        RequestRejected,
        RequestWouldReject,
        BreakerOpened,
        BreakerHalfOpened,
        BreakerClosed,
        CooldownBegan,
        HostBroken,
        HostRecovered,
        HostIsolated,
        HostRestored,
        ConnectionHooked,
        ConnectionEvicted,
        HookFailed,
        HookSlow,
        ConnectionRetired,
        PolicyIgnored,
    )
}


@cache
def _reading(cls: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The names of an event type's fields, which `dataclasses.fields` collects anew at each call, and their reader."""
    names = tuple(field.name for field in fields(cls))
    return names, reader(names)
