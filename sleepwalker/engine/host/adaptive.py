"""A limit of calls in flight that follows the host's latency: additive increase, multiplicative decrease.

By Little's law a full host holds more calls only by holding each one longer. So the limit grows while attempts take
about as long as without a queue, and is cut when they take twice as long, or when the host reports overload. Increase
and decrease are those of TCP (Chiu and Jain 1989; RFC 5681). Latency as the signal is that of TCP Vegas (Brakmo and
Peterson 1995). For services, both were tried by Netflix (`concurrency-limits`) and Envoy (its adaptive concurrency
filter). The numbers below are ours, from simulations of hosts with 1 to 100 workers and constant, exponential,
log-normal and bimodal service times: see `tests/unit/test_adaptive.py`.
"""

from __future__ import annotations

import math

from sleepwalker.engine.outcome import Outcome, Verdict
from sleepwalker.exceptions import ConnectTimeout, DeadlineExceeded, ReadTimeout

FLOOR = 1
#: Four at once is what nearly every host can do, and little enough to learn how long it takes when nothing queues.
START = 4
#: A round whose mean is this many times the baseline shows a queue, and not chance.
_TOLERANCE = 2.0
#: The share of the limit that a cut leaves. Below 1 / _TOLERANCE, so that the queue drains and the baseline shows.
_SHRINK = 0.4
#: The share of the difference by which a round moves the baseline.
_PULL = 0.25
#: Attempts in a round: a few times the limit, no fewer than the limit, and enough for a mean.
_ROUND_LEAST, _ROUND_MOST, _ROUND_PER_PLACE = 8, 64, 4
#: Overload responses and timeouts within a round that cause a cut: a few may be chance.
_OVERLOADED = 4
#: A single attempt counts for at most this many baselines.
_CLIP = 4.0

#: 429 always means overload; 503 unless `breaker.statuses` leaves it out.
_TOO_MANY, _UNAVAILABLE = 429, 503
_TIMEOUTS = (DeadlineExceeded, ReadTimeout, ConnectTimeout)


class Adaptive:
    """The limit, between 1 and `most`, and what it has learned. Not thread-safe: its owner holds a lock.

    It works in rounds of attempts. After each round it grows by half its square root (at least 1; it doubles until the
    first cut), if at least half of it was in use. Attempts that began before the last cut are left out, so that a burst
    of slow responses causes one cut.
    """

    __slots__ = (
        "_after_cut",
        "_baseline",
        "_count",
        "_limit",
        "_most",
        "_overloads",
        "_since",
        "_slow_start",
        "_sum",
        "_used",
    )

    def __init__(self, most: int, in_flight: int = 0) -> None:
        self._most = most
        self._limit = float(min(most, max(START, in_flight)))
        self._baseline: float | None = None
        self._slow_start = True
        self._since = -math.inf
        self._after_cut = False
        self._begin_round()

    @property
    def limit(self) -> int:
        """How many calls may be in flight now."""
        return int(self._limit)

    @property
    def baseline(self) -> float | None:
        """The duration of an attempt without a queue, in seconds; None before anything was learned."""
        return self._baseline

    def reconfigure(self, most: int) -> None:
        """Continue with another upper bound."""
        self._most = most
        self._limit = min(self._limit, float(most))

    def entered(self, in_flight: int) -> None:
        """So many calls are in flight now, including the one that has just begun."""
        if 2 * in_flight >= self.limit:
            self._used = True

    def learn(self, outcome: Outcome, began: float, now: float) -> None:
        """Learn from a finished attempt. Neutral outcomes, and failures other than overload, are ignored."""
        if began < self._since:
            return
        busy = outcome.status == _TOO_MANY or (outcome.status == _UNAVAILABLE and outcome.verdict is Verdict.FAILURE)
        if busy or isinstance(outcome.error, _TIMEOUTS):
            if outcome.error is not None and outcome.verdict is Verdict.NEUTRAL:  # this machine's own doing
                return
            self._count += 1
            self._overloads += 1
            if self._overloads >= min(_OVERLOADED, self._size()):
                self._cut(now)
        elif outcome.verdict is Verdict.SUCCESS:
            self._count += 1
            took = now - began
            self._sum += took if self._baseline is None else min(took, _CLIP * self._baseline)
        else:
            return
        if self._count >= self._size():
            self._judge(now)

    def _size(self) -> int:
        limit = self.limit
        return max(limit, min(_ROUND_MOST, max(_ROUND_LEAST, _ROUND_PER_PLACE * limit)))

    def _judge(self, now: float) -> None:
        mean = self._sum / (self._count - self._overloads)
        if self._baseline is None:
            self._baseline = mean
        slow = mean > _TOLERANCE * self._baseline
        # Seen without a queue of our own: a faster round, the first after a cut, or one with room to spare. Rounds
        # between two cuts must not raise it, or it would learn the queue.
        if mean < self._baseline or self._after_cut or not self._used or self.limit <= FLOOR:
            self._baseline += (mean - self._baseline) * _PULL
        if slow and self._used:
            self._cut(now)
            return
        if not slow and self._used:
            step = self._limit if self._slow_start else max(1.0, math.sqrt(self._limit) / 2)
            self._limit = min(float(self._most), self._limit + step)
        self._begin_round()

    def _cut(self, now: float) -> None:
        self._slow_start = False
        self._limit = max(float(FLOOR), self._limit * _SHRINK)
        self._since = now
        self._begin_round()
        self._after_cut = True

    def _begin_round(self) -> None:
        self._count = self._overloads = 0
        self._sum = 0.0
        self._used = self._after_cut = False
