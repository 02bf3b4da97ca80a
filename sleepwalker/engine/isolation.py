"""An isolation: an operator took a host out of use, for a reason, and perhaps until a moment."""

from __future__ import annotations

from datetime import UTC, datetime

from sleepwalker.exceptions import HostIsolatedError
from sleepwalker.frozen import frozen


@frozen
class Isolation:
    """Why a host is out of use and until when, as far as its operator said."""

    reason: str | None = None
    until: float | None = None
    """When it ends by itself, in seconds since 1970-01-01 UTC: a moment of the wall clock, for so it was meant."""

    def over(self, wall: float) -> bool:
        """Whether its time is over."""
        return self.until is not None and wall >= self.until

    def outlasts(self, other: Isolation) -> bool:
        """Whether it ends later than another one."""
        return other.until is not None and (self.until is None or self.until > other.until)

    def refusal(self, host: str, wall: float) -> HostIsolatedError:
        """What whoever looks for the host, or calls it, is told."""
        until = None if self.until is None else datetime.fromtimestamp(self.until, UTC)
        when = "" if until is None else f" until {until:%Y-%m-%d %H:%M:%S} UTC"
        why = "" if self.reason is None else f": {self.reason}"
        return HostIsolatedError(
            f"{host} is isolated by an operator{when}{why}; restore() ends that",
            host=host,
            retry_after=None if self.until is None else max(0.0, self.until - wall),
            reason=self.reason,
            until=until,
        )


#: Until somebody restores the host.
FOR_GOOD = Isolation()
