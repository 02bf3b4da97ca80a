"""When a circuit opens: the counts of attempts, and the rules that read them.

Behind one address there are mostly several machines. One that is ill makes attempts fail, and also some in a row: at
500 attempts a second with a fifth failing, five in a row come every few seconds. So a run of failures opens the circuit
only where it has lasted, and where the share of failures before it does not explain it; and a share does so only where
hardly any attempt is answered. The counts are the storage of pybreaker's state machine.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal

import pybreaker

from sleepwalker.engine.window import Window
from sleepwalker.policy import BreakerPolicy

CLOSED: Literal["closed"] = "closed"

_GOOD, _BAD = 0, 1
#: A run that the share before it makes less likely than this is no chance.
_CHANCE = math.log(1e-5)
#: So many attempts are thought to have been before the first: with few, the share of failures says little.
_BEFORE = 5
#: A run is judged as if at most this share had failed before it.
_MOST = 0.95
#: A host that has just come back may be cold, and fail most attempts for a while; or be down again, which is likelier
#: now than at any other time. So its run is judged by this share, and less has to speak against chance.
_COLD, _COLD_CHANCE = 0.8, math.log(1e-2)
#: With each success, what is remembered of the attempts before fades by a tenth: that are some ten successes, and the
#: failures between them. It is counted in sixteenths, for there are many hosts, and small whole numbers take no room.
_ONE = 16
#: Logarithms are compared with so much to spare: the limit may be reached, not exceeded.
_ROUNDING = 1e-9


class Trip(pybreaker.CircuitBreakerStorage):
    """The counts since the circuit closed last. pybreaker opens it as soon as `counter` says 1."""

    #: A plain attribute in place of pybreaker's property: each call reads it, some of them several times.
    state: str = CLOSED

    def __init__(self, policy: BreakerPolicy) -> None:
        super().__init__("sleepwalker")
        self._policy = policy
        self._least = _least(policy)
        self._window = Window(policy.window, channels=2)
        self.state = CLOSED
        self._now = 0.0
        self._successes = 0
        self.consecutive = 0
        self._run_since = 0.0
        self._run_calls = 0
        self._past = self._past_bad = 0
        """The attempts before the run, and the failures of them, however long ago: the window of a host with few calls
        is empty when the next one comes. From the first failure on: most hosts need not remember anything."""
        self.suspect = False
        """Whether the circuit is about to open: the run of failures is no chance, and has lasted half of what it must.

        Read without a lock, by who thinks about a retry.
        """
        self.cold_until = 0.0
        """Until then the host counts as just come back."""

    def follow(self, policy: BreakerPolicy) -> None:
        """Go on by the numbers of `policy`. Over a window of another length the counts begin anew."""
        if policy.window != self._policy.window:
            self._window = Window(policy.window, channels=2)
        self._policy = policy
        self._least = _least(policy)

    def success(self, now: float) -> None:
        """An attempt was answered."""
        self._window.add(now, _GOOD)
        # What an outage failed says nothing of the time before it or after.
        if (self.consecutive or self._past_bad) and self.state == CLOSED:
            self._past_bad = self._past_bad * 9 // 10 + self.consecutive * _ONE
            self._past = self._past * 9 // 10 + (self.consecutive + 1) * _ONE
        self.consecutive = 0
        self.suspect = False

    def failure(self, now: float, *, first: bool) -> None:
        """An attempt failed; `first` is one that is no retry."""
        self._window.add(now, _BAD)
        if self.consecutive == 0:
            self._run_since, self._run_calls = now, 0
        self.consecutive += 1
        self._run_calls += first
        self._now = now
        self.suspect = self._is_suspect()

    def broken_rule(self) -> Literal["consecutive", "failure_ratio"] | None:
        """The rule by which the latest failure opens the circuit, None if it does not."""
        policy = self._policy
        if self.consecutive >= policy.consecutive and self._run_lasted():
            return "consecutive"
        good, bad = self._window.totals(self._now)
        if good + bad >= policy.min_calls and bad >= policy.failure_ratio * (good + bad):
            # While a host is cold, a share says nothing: it rises.
            return "failure_ratio" if self._now >= self.cold_until else None
        return None

    def _run_lasted(self) -> bool:
        """Whether the failures in a row mean that the host is down: they are no chance, and have lasted."""
        must_last = self._policy.consecutive_for
        return must_last == 0 or (self.suspect and self._now - self._run_since >= must_last)

    def _is_suspect(self) -> bool:
        policy = self._policy
        if policy.consecutive_for == 0 or self.consecutive < policy.consecutive:
            return False
        return 2 * (self._now - self._run_since) >= policy.consecutive_for and self._no_chance()

    def _no_chance(self) -> bool:
        # The attempts of one call are one experience: they cannot open the circuit, and so end their own call early.
        if self._run_calls < min(2, self._policy.consecutive):
            return False
        good, bad = self._window.totals(self._now)
        # None of the window where the run is longer than it.
        before = max(0, good + bad - self.consecutive) + self._past / _ONE
        failed = max(0, bad - self.consecutive) + self._past_bad / _ONE
        share = (failed + _BEFORE * self._least) / (before + _BEFORE)
        share, chance = min(max(share, self._least), _MOST), _CHANCE
        if self._now < self.cold_until:
            share, chance = max(share, _COLD), _COLD_CHANCE
        return self.consecutive * math.log(share) <= chance + _ROUNDING

    @property
    def counter(self) -> int:
        return 0 if self.broken_rule() is None else 1

    def reset_counter(self) -> None:
        self._window.clear()
        self.consecutive = 0
        self.suspect = False

    @property
    def success_counter(self) -> int:
        return self._successes

    def increment_success_counter(self) -> None:
        self._successes += 1

    def reset_success_counter(self) -> None:
        self._successes = 0

    @property
    def opened_at(self) -> datetime | None:
        """Not kept: the wall clock can be set back, so `Breaker` holds monotonic times."""
        return None

    @opened_at.setter
    def opened_at(self, when: datetime) -> None:
        pass


def _least(policy: BreakerPolicy) -> float:
    """A run is judged as if at least this share had failed before it: what makes one of `consecutive` no chance.

    A tenth, for 5: so many are enough where less than that failed before.
    """
    return math.exp(_CHANCE / policy.consecutive)
