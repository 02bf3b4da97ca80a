"""What a source says of a host: something that knows by itself whether it is broken."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol


class Finding(NamedTuple):
    """A source does not find the host healthy."""

    source: Literal["breaker", "connect"]
    broken: bool
    """Whether it is broken; or else it recovers from that, and some attempts are let through to see."""
    since: float
    """Since when, on the host's clock, in seconds."""
    cause: str | None
    """The last failure: a status, or the name of an exception type."""


class Source(Protocol):
    """One of those that the verdict asks."""

    def finding(self, now: float) -> Finding | None:
        """What it says as of `now`; None of a host that it finds healthy, or knows nothing of."""
        ...
