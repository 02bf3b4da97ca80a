"""What a manager does with connections and hooks, and which policy it follows."""

from __future__ import annotations

from typing import ClassVar, Literal

from sleepwalker.events.base import Event, Level, event_type

__all__ = [
    "ConnectionEvicted",
    "ConnectionHooked",
    "ConnectionRetired",
    "HookFailed",
    "HookSlow",
    "PolicyIgnored",
]


@event_type
class ConnectionHooked(Event):
    """A hook made a connection for the host asked for."""

    name = "connection.hooked"
    level: ClassVar[Level] = "info"

    hook: str
    """The hook's type."""
    target: str
    """The origin that the connection goes to, or the type of an object that does not say."""
    duration: float


@event_type
class ConnectionEvicted(Event):
    """A connection was evicted because it can no longer be used."""

    name = "connection.evicted"
    level: ClassVar[Level] = "warning"

    reason: Literal[
        "breaker", "by hand", "closed", "connect", "failback", "fleet", "isolated", "replaced", "unauthorized"
    ]
    """Why; `failback`: it went to a failover target, and the primary may be tried again; `isolated`: it went to a
    failover target that was isolated."""


@event_type
class HookFailed(Event):
    """A hook raised a connection error; or any other exception after all its callers had stopped waiting."""

    name = "connection.hook_failed"
    level: ClassVar[Level] = "warning"

    hook: str
    """The hook's type."""
    error: str
    duration: float
    detail: str | None = None
    """The text that `find` has for it: status and server, or its own text without possible secrets."""


@event_type
class HookSlow(Event):
    """The hooks for a host have been running for longer than `timeout.total`; told once, while they run."""

    name = "connection.hook_slow"
    level: ClassVar[Level] = "warning"

    hook: str
    """The type of the hook that is running; empty if none was asked yet."""
    duration: float
    """How long the hooks have been running."""


@event_type
class ConnectionRetired(Event):
    """A healthy connection was closed: unused for long, too old, to make room, or together with all of its manager."""

    name = "connection.retired"
    level: ClassVar[Level] = "info"

    reason: Literal["age", "idle", "reset", "room"]
    """`health.max_age` or `health.idle` was reached; `reset` or `close` of the manager was called; or it held
    `max_connections`."""


@event_type
class PolicyIgnored(Event):
    """Some fields of a policy are ignored: the record of its host is shared, and follows another policy. Told once per
    host or scope."""

    name = "policy.ignored"
    level: ClassVar[Level] = "warning"

    ignored: str
    """The fields that are ignored, such as `breaker.consecutive, bulkhead`."""
    followed: Literal["policies", "connection", "manager", "scope"]
    """Where the policy that is followed comes from: `policies=` or a `[[host]]` table, the first connection (of a hook
    or `add`), the manager, or the first one given for the scope."""
