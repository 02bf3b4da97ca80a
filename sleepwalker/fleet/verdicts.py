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

#: What a worker says of a host. A worker without an opinion says nothing.
Opinion = Literal["broken", "failing", "fine"]
#: The opinions of those whom the host does not answer.
ACCUSES: frozenset[Opinion | None] = frozenset({"broken", "failing"})


#: So many workers of which the host answers none are enough as well, though none has failed for long, when the first
#: has for so many seconds: together they have met as many failures as no chance makes.
_MANY, _LASTED = 8, 0.7


@dataclass(frozen=True, slots=True)
class Tally:
    """The workers' opinions on one host, as the store counts them. Moments are on the store's clock, in seconds."""

    broken: int
    """Workers that find it broken."""
    fine: int
    """Workers that it has answered since that trouble began."""
    since: float
    """When the present trouble began, as the first of them said so; infinity where none says so."""
    began: float
    """When the attempts of that first one had begun to fail."""
    round: int = 0
    """How often the host has come back: what was said of it before does not count any more."""
    failed_at: float = -math.inf
    """When an attempt of one of them last failed; -infinity once a look at the host was answered after that."""
    cause: str | None = None
    """The last failure that one of them met: a status, or the name of an exception type."""
    failing: int = 0
    """Workers whose attempts all fail, though not for so long yet that they find it broken."""

    @property
    def accusers(self) -> int:
        """Workers that get no answer from it."""
        return self.broken + self.failing


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many workers must agree for a verdict."""

    share: float = 0.5
    """More than this share of those that report must find the host broken; 1.0 is all of them."""
    min_reporters: int = 2
    """And at least so many."""
    hearing: float = 0.3
    """Seconds from the first accusation on in which the others are heard first."""

    def needed(self, reports: int) -> int:
        """How many of so many reporting workers must agree."""
        share = _exactly(self.share)
        most = share.numerator * reports // share.denominator + 1
        return max(self.min_reporters, min(most, reports))

    def decides_at(self, tally: Tally) -> float:
        """From when on the host is broken for all, by the present reports; infinity if too few say so."""
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
    """The share that was meant: 3 of 10 are no more than 0.3, nor is 1 of 3 more than 1 / 3, though floats say so."""
    return Fraction(share).limit_denominator(10_000)
