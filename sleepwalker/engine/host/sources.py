"""Sources of the verdict: each decides by itself whether the host is broken."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

#: The names of the sources that say why a host is broken.
SourceName = Literal["breaker", "connect", "fleet"]


class Finding(NamedTuple):
    """A source's reason why the host is not healthy."""

    source: SourceName
    broken: bool
    """Whether the host is broken. If not, it is recovering, and some attempts are admitted."""
    since: float
    """Since when, on the host's clock, in seconds."""
    cause: str | None
    """The last failure: a status, or the name of an exception type."""


class Source(Protocol):
    """A source that the verdict asks."""

    def finding(self, now: float) -> Finding | None:
        """Its finding at `now`; None if the host is healthy, or unknown to it."""
        ...


class Word(NamedTuple):
    """The report of other workers of the fleet that the host is broken.

    An open or half-open circuit carries this report. Without one, or in a dry run, this object is the source.
    """

    since: float
    """When it came, on the host's clock, in seconds."""
    until: float
    """Until then no call goes to the host; after that, some calls try it."""
    cause: str | None
    """The last failure that they met: a status, or the name of an exception type."""

    def finding(self, now: float) -> Finding:
        """Its finding at `now`."""
        return Finding("fleet", broken=now < self.until, since=self.since, cause=self.cause)

    def held(self, until: float) -> Word:
        """The same report, at least until then."""
        return self._replace(until=max(self.until, until))

    def cut(self, latest: float) -> Word:
        """The same report, at most until then."""
        return self._replace(until=min(self.until, latest))
