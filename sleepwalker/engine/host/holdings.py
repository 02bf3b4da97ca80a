"""What one call holds at its host, and its places in queues."""

from __future__ import annotations

import math
from collections.abc import Callable

from sleepwalker.engine.host.rate_limit import Bucket


class Holdings:
    """What one call holds at its host, so that it is returned exactly once, whatever happens.

    An exception of a signal handler may strike wherever the interpreter checks for signals: after a call into C code,
    on entry to a function, at the end of a loop iteration. So each count changes together with its mark here, without
    such a point between them.
    """

    __slots__ = (
        "bucket",
        "circuit_waiter",
        "cooldown_place",
        "counted",
        "inside",
        "over",
        "over_limit",
        "token",
        "waiter",
        "waits_for_token",
    )

    def __init__(self) -> None:
        self.waits_for_token: bool = False
        """Whether it counts as waiting for a token."""
        self.cooldown_place: tuple[float, float] | None = None
        """Its mark among those that wait for a cooldown to end."""
        self.token: bool = False
        """Whether it has one."""
        self.bucket: Bucket | None = None
        """Where it takes its token, even if the policy changes meanwhile."""
        self.waiter: Waiter | None = None
        """Its place in the queue before a full bulkhead."""
        self.circuit_waiter: Waiter | None = None
        """Its place in the queue for the circuit."""
        self.inside: bool = False
        """Whether it counts as in flight."""
        self.over_limit: bool = False
        """Whether it is in flight over a limit that only observes."""
        self.counted: bool = False
        """Whether its beginning is in the counters."""
        self.over: bool = False
        """Whether its end is."""


class Waiter:
    """A call's place in the queue for the bulkhead or the circuit. The lock of its host guards it.

    It is plain data. The driver that performs the wait sets `notify`, then checks `woken`, then waits while `woken` is
    False. `notify` is called without any lock, in the thread that woke it, usually once and sometimes more often. It
    must not raise, and must be quick: a latch's `set`, or `loop.call_soon_threadsafe` of its own loop.
    """

    __slots__ = ("ample_until", "call", "notify", "patience", "until", "woken")

    def __init__(self, call: Holdings, patience: float, ample_until: float = math.inf) -> None:
        self.call: Holdings = call
        self.patience: float = patience
        """How long the call waits at most, in seconds."""
        self.until: float = math.inf
        """When its wait for the circuit ends."""
        self.ample_until: float = ample_until
        """Until then it has time for a whole attempt of the length that its policy allows."""
        self.woken: bool = False
        """Whether to look again: it was granted a place, or will not be, or the circuit may admit it."""
        self.notify: Callable[[], None] | None = None
        """How the driver learns that `woken` is True."""

    @property
    def granted(self) -> bool:
        """Whether the call is in."""
        return self.call.inside
