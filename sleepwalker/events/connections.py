"""Events of a manager's connections and hooks, and of ignored policies."""

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
    """A hook created a connection for the requested host."""

    name = "connection.hooked"
    level: ClassVar[Level] = "info"

    hook: str
    """The hook's type."""
    target: str
    """The origin of the connection, or the type of an object without one."""
    duration: float


@event_type
class ConnectionEvicted(Event):
    """A connection was evicted because it can no longer be used."""

    name = "connection.evicted"
    level: ClassVar[Level] = "warning"

    reason: Literal[
        "breaker", "by hand", "closed", "connect", "failback", "fleet", "isolated", "replaced", "unauthorized"
    ]
    """Why. `failback`: it went to a failover target, and the primary may be tried again. `isolated`: it went to a
    failover target that was isolated."""


@event_type
class HookFailed(Event):
    """A hook raised a connection error, or any exception after all its callers had stopped waiting."""

    name = "connection.hook_failed"
    level: ClassVar[Level] = "warning"

    hook: str
    """The hook's type."""
    error: str
    duration: float
    detail: str | None = None
    """The text that `find` shows for it: status and server, or the exception's text without possible secrets."""


@event_type
class HookSlow(Event):
    """The hooks for a host have been running longer than `timeout.total`. Logged once, while they run."""

    name = "connection.hook_slow"
    level: ClassVar[Level] = "warning"

    hook: str
    """The type of the running hook; empty if none was called yet."""
    duration: float
    """How long the hooks have been running."""


@event_type
class ConnectionRetired(Event):
    """A healthy connection was closed: unused for long, too old, to make room, or with all others of its manager."""

    name = "connection.retired"
    level: ClassVar[Level] = "info"

    reason: Literal["age", "idle", "reset", "room"]
    """`health.max_age` or `health.idle` was reached; `reset` or `close` of the manager was called; or it held
    `max_connections`."""


@event_type
class PolicyIgnored(Event):
    """Some fields of a connection's policy are ignored, because the host's shared record follows another policy. Logged
    once per host or scope."""

    name = "policy.ignored"
    level: ClassVar[Level] = "warning"

    ignored: str
    """The ignored fields, such as `breaker.consecutive, bulkhead`."""
    followed: Literal["policies", "connection", "manager", "scope"]
    """The source of the policy in force: `policies=` or a `[[host]]` table, the first connection (of a hook or `add`),
    the manager, or the first policy given for the scope."""
