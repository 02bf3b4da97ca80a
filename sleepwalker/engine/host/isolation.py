"""An isolation: an operator took a host out of use, for a reason, and possibly until a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.exceptions import HostIsolatedError

#: Who restores a host before its time is over: an operator here, or one of another worker.
Restorer = Literal["fleet", "hand"]
#: Seconds. A wall clock that moves by more was set, not corrected.
_STEP = 1.0


@dataclass(frozen=True, slots=True)
class Isolation:
    """Why a host is out of use and until when, if its operator said so."""

    reason: str | None = None
    until: float | None = None
    """When it ends by itself, in seconds since 1970-01-01 UTC, as it seemed when it began."""
    ends: float | None = None
    """The same on the monotonic clock, if it was given in seconds: setting the wall clock does not move it."""
    by: Literal["fleet"] | None = field(default=None, compare=False)
    """Set if its operator gave it to all workers of the fleet, in another worker or by the command line."""

    def over(self, clock: Clock) -> bool:
        """Whether its time is over."""
        if self.ends is not None:
            return clock.monotonic() >= self.ends
        return self.until is not None and clock.wall() >= self.until

    def tells(self, before: Isolation | None, clock: Clock) -> bool:
        """Whether it differs from the earlier one. Times that the fleet repeats may differ by a moment."""
        if before is None or self.by is None or before.over(clock):
            return self != before
        now, wall = clock.monotonic(), clock.wall()
        ends, ended = self.left(now, wall), before.left(now, wall)
        return self.reason != before.reason or not (ends == ended or abs(ends - ended) < _STEP)

    def left(self, now: float, wall: float) -> float:
        """Seconds until it ends by itself, by both clocks; infinity if it does not."""
        if self.ends is not None:
            return max(0.0, self.ends - now)
        return math.inf if self.until is None else max(0.0, self.until - wall)

    def moment(self, clock: Clock) -> float | None:
        """When it ends by itself, in seconds since 1970-01-01 UTC, by the current wall clock."""
        if self.ends is None or self.until is None:
            return self.until
        moment = clock.wall() + self.ends - clock.monotonic()
        return self.until if abs(moment - self.until) < _STEP else moment

    def refusal(self, host: str, clock: Clock) -> HostIsolatedError:
        """The error of a call to the host, or of a `find` for it."""
        moment = self.moment(clock)
        until = None if moment is None else datetime.fromtimestamp(moment, UTC)
        when = "" if until is None else f" until {until:%Y-%m-%d %H:%M:%S} UTC"
        why = "" if self.reason is None else f": {self.reason}"
        by_command = "" if self.by is None else ", and so does the command sleepwalker fleet restore"
        return HostIsolatedError(
            f"{host} is isolated by an operator{when}{why}; restore() ends that{by_command}",
            host=host,
            retry_after=None if until is None else self.left(clock.monotonic(), clock.wall()),
            reason=self.reason,
            until=until,
        )


#: Until the host is restored by hand.
FOR_GOOD = Isolation()
