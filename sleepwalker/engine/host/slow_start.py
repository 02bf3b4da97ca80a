"""How a recovered host gets its load again: by success, like TCP's slow start (RFC 5681, section 3.1)."""

from __future__ import annotations


class SlowStart:
    """How many attempts are admitted at once.

    Each success adds one, so a round of successes doubles it. Failures halve it; failures of attempts that ran together
    halve it once. It ends after the first round in which nothing was held back, and at `until` at the latest. Not
    thread-safe: its owner holds a lock.
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
        """The share of attempts in this round that were admitted."""
        return self._let_in / (self._let_in + self._held_back) if self._held_back else 1.0

    def let_in(self) -> None:
        """An attempt was admitted."""
        self._let_in += 1

    def held_back(self) -> None:
        """An attempt was held back."""
        self._held_back += 1

    def succeeded(self) -> bool:
        """An attempt got an answer. True if that ends the slow start."""
        self.at_once += 1
        self._left -= 1
        if self._left > 0:
            return False
        over = self._held_back == 0
        self._begin_round()
        return over

    def failed(self, issued: float, now: float) -> None:
        """An attempt admitted at `issued` failed."""
        if issued < self._halved_at:
            return
        self._halved_at = now
        self.at_once = max(1, self.at_once // 2)
        self._begin_round()
