"""The event catalogue: what happened to a call or a host.

An event has a constant dotted name, a level and typed fields, and no prose. No field holds a credential, a cookie, a
query string, a header, a body or user information of a URL. Durations are seconds. `host` is the origin,
`https://api.example.net:8443`; for a scope, followed by `#` and its name; in `fleet.*`, the URL of the store. `path`
has no query. `error` is the name of an exception type and `detail` that exception's text. All events of one call have
the same, unique `call`. Each event has the `pid` of its process.
"""

from __future__ import annotations

from sleepwalker.events.base import (
    AnyObserver,
    CallEvent,
    Event,
    Level,
    Observer,
    Transition,
    event_type,
    logged_names,
    reader,
)
from sleepwalker.events.calls import (
    AttemptFailed,
    HedgeFinished,
    HedgeSent,
    RequestFailed,
    RequestFinished,
    RequestRejected,
    RequestWouldReject,
    RetryAbandoned,
    RetryScheduled,
)
from sleepwalker.events.connections import (
    ConnectionEvicted,
    ConnectionHooked,
    ConnectionRetired,
    HookFailed,
    HookSlow,
    PolicyIgnored,
)
from sleepwalker.events.fleet import FleetJoined, FleetLost
from sleepwalker.events.hosts import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    CooldownBegan,
    HostBroken,
    HostIsolated,
    HostRecovered,
    HostRestored,
)
from sleepwalker.events.transport import FastPathOff, TLSFilesNotLoaded

__all__ = [
    "CATALOGUE",
    "AnyObserver",
    "AttemptFailed",
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "CallEvent",
    "ConnectionEvicted",
    "ConnectionHooked",
    "ConnectionRetired",
    "CooldownBegan",
    "Event",
    "FastPathOff",
    "FleetJoined",
    "FleetLost",
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
    "TLSFilesNotLoaded",
    "Transition",
    "event_type",
    "logged_names",
    "reader",
]

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
        FleetJoined,
        FleetLost,
        FastPathOff,
        TLSFilesNotLoaded,
    )
}
