"""When a host is broken for all workers: the quorum. Pure: no I/O, no clock, no thread.

A worker has an opinion on a host in trouble. `broken`: its own circuit or connects say so. `failing`: all its attempts
fail, but not for long enough. `fine`: the host answered it after the trouble began. No opinion: it did not call the
host. A worker that does not use the host neither accuses nor clears it. So a worker whose own network is cut is
outvoted by those that get answers, and so are two such workers.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

#: What a worker reports about a host. A worker without an opinion reports nothing.
Opinion = Literal["broken", "failing", "fine"]
#: The opinions of workers that the host does not answer.
ACCUSES: frozenset[Opinion | None] = frozenset({"broken", "failing"})


#: If no worker gets an answer, this many are also enough, even if none has failed for long, once the first has failed
#: for this many seconds: together they have seen more failures than chance explains.
_MANY, _LASTED = 8, 0.7


@dataclass(frozen=True, slots=True)
class Tally:
    """The workers' opinions on one host, as the store counts them. Times are on the store's clock, in seconds."""

    broken: int
    """Workers that find it broken."""
    fine: int
    """Workers that it has answered since that trouble began."""
    since: float
    """When the first worker reported the current trouble; infinity if none reports any."""
    began: float
    """When the attempts of that worker had begun to fail."""
    round: int = 0
    """How often the host has come back. Reports on an earlier round no longer count."""
    failed_at: float = -math.inf
    """When a worker last reported a failure; -infinity once a probe was answered after that."""
    cause: str | None = None
    """The last reported failure: a status, or the name of an exception type."""
    failing: int = 0
    """Workers whose attempts all fail, but not yet for long enough to find it broken."""

    @property
    def accusers(self) -> int:
        """Workers that get no answer from the host."""
        return self.broken + self.failing


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many workers must agree for a verdict."""

    share: float = 0.5
    """More than this share of the reporting workers must find the host broken; 1.0 means all of them."""
    min_reporters: int = 2
    """At least this many must find it broken as well."""
    hearing: float = 0.3
    """Seconds after the first report that the others get to report as well."""

    def needed(self, reports: int) -> int:
        """How many of this many reporting workers must agree."""
        share = _exactly(self.share)
        most = share.numerator * reports // share.denominator + 1
        return max(self.min_reporters, min(most, reports))

    def decides_at(self, tally: Tally) -> float:
        """From when on the host is broken for all, by the current reports; infinity if too few say so."""
        if tally.broken >= self.needed(tally.broken + tally.fine):
            return tally.since + self.hearing
        if tally.fine == 0 and tally.broken + tally.failing >= max(self.min_reporters, _MANY):
            return max(tally.since + self.hearing, tally.began + _LASTED)
        return math.inf

    def is_broken(self, tally: Tally, now: float) -> bool:
        """Whether the host is broken for all at `now`, on the store's clock."""
        return now >= self.decides_at(tally)


@functools.lru_cache(maxsize=16)
def _exactly(share: float) -> Fraction:
    """The share that was meant, without a float's error: 3 of 10 are not more than 0.3, nor 1 of 3 more than 1 / 3."""
    return Fraction(share).limit_denominator(10_000)
