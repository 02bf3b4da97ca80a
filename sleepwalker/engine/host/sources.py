"""What a source says of a host: something that knows by itself whether it is broken."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

#: The names of those that say why a host is broken.
SourceName = Literal["breaker", "connect", "fleet"]


class Finding(NamedTuple):
    """A source does not find the host healthy."""

    source: SourceName
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


class Word(NamedTuple):
    """Other workers of the fleet say that the host is broken.

    A circuit that is open or half-open carries the word. Where there is none, or one in a dry run, it is a source.
    """

    since: float
    """When it came, on the host's clock, in seconds."""
    until: float
    """Until then nobody is sent to the host; after that, some try it."""
    cause: str | None
    """The last failure that they met: a status, or the name of an exception type."""

    def finding(self, now: float) -> Finding:
        """What it says as of `now`."""
        return Finding("fleet", broken=now < self.until, since=self.since, cause=self.cause)

    def held(self, until: float) -> Word:
        """The same, until then at least."""
        return self._replace(until=max(self.until, until))

    def cut(self, latest: float) -> Word:
        """The same, until then at the most."""
        return self._replace(until=min(self.until, latest))
