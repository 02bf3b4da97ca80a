"""Whether a host can be connected to, judged by consecutive failures to connect."""

from __future__ import annotations

import math

from sleepwalker.engine.host.history import History
from sleepwalker.engine.host.sources import Finding
from sleepwalker.engine.outcome import SUCCESS, Outcome

#: A run of connect failures that is less likely than this (a logarithm), given the share of failures before it, is no
#: chance; and the most that this share is taken for.
_CHANCE, _MOST = math.log(1e-5), 0.5
#: How many attempts must be known before their share of failures says what chance explains.
_ENOUGH = 20


class ConnectFailures:
    """A source of the verdict. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_broken_after", "_by_chance", "_history", "_reset_at", "broken", "count")

    count: int

    def __init__(self, broken_after: int, history: History) -> None:
        self._history = history
        self._broken_after = broken_after
        self.count = 0
        """How many attempts in a row have failed to connect, as of now."""
        self.broken: bool = False
        """Whether these are so many that the host counts as broken."""
        self._by_chance = 0
        """The longest run that chance explains, for example if one of three machines refuses connections."""
        self._reset_at = -math.inf
        """Attempts that began before this do not count."""

    def finding(self, now: float) -> Finding | None:
        """Its finding about the host."""
        if not self.broken:
            return None
        return Finding("connect", broken=True, since=now, cause=self._history.last_cause)

    def attempted(self, outcome: Outcome, began: float, now: float, broken_since: float | None) -> None:
        """An attempt that began at `began` ended with a success or a failure."""
        if outcome.verdict is SUCCESS:
            if broken_since is None or began >= broken_since:  # a late response is no recovery
                self.answered()
        elif outcome.never_sent:
            if began >= self._reset_at:
                if self.count == 0:
                    good, bad = self._history.verdicts.totals(now)
                    self._by_chance = _longest_by_chance(good, bad - 1)
                self.count += 1
                self._judge()
        elif not self.broken:  # another failure: it did connect, but ends no outage
            self.answered()

    def answered(self) -> None:
        """The host was connected to."""
        self.count, self.broken = 0, False

    def reset(self, now: float) -> None:
        """Assume that the host can be connected to, and ignore attempts that began earlier."""
        self.count, self.broken, self._reset_at = 0, False, now

    def reconfigure(self, broken_after: int) -> None:
        """From now on, `broken_after` failures in a row make the host broken."""
        self._broken_after = broken_after
        self._judge()

    def _judge(self) -> None:
        self.broken = self.count >= self._broken_after and self.count > self._by_chance


def _longest_by_chance(good: int, bad: int) -> int:
    """The longest run of failures that chance explains (1 in 100,000 or more), given the outcomes before it."""
    if bad <= 0 or good + bad < _ENOUGH:
        return 0
    return int(_CHANCE / math.log(min(bad / (good + bad), _MOST)))
