"""How a host that came back gets its load again: by success, as TCP's slow start does (RFC 5681, section 3.1)."""

from __future__ import annotations


class SlowStart:
    """How many attempts are let in at once.

    Each success adds one, so that a round of successes doubles it; failures halve it, those that were under way
    together once. It is over after the first round in which nothing was held back, and in any case at `until`.
    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_halved_at", "_held_back", "_left", "_let_in", "at_once", "until")

    def __init__(self, at_once: int, until: float) -> None:
        self.at_once: int = at_once
        self.until: float = until
        self._halved_at = 0.0
        self._begin_round()

    def _begin_round(self) -> None:
        self._left = self.at_once
        self._let_in = self._held_back = 0

    @property
    def share(self) -> float:
        """Of those that asked in this round, the share that was let in."""
        return self._let_in / (self._let_in + self._held_back) if self._held_back else 1.0

    def let_in(self) -> None:
        """An attempt was let in."""
        self._let_in += 1

    def held_back(self) -> None:
        """An attempt was not let in."""
        self._held_back += 1

    def succeeded(self) -> bool:
        """An attempt was answered; True where that ends the slow start."""
        self.at_once += 1
        self._left -= 1
        if self._left > 0:
            return False
        over = self._held_back == 0
        self._begin_round()
        return over

    def failed(self, issued: float, now: float) -> None:
        """An attempt failed that was let in at `issued`."""
        if issued < self._halved_at:
            return
        self._halved_at = now
        self.at_once = max(1, self.at_once // 2)
        self._begin_round()
