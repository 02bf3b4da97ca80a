"""A host's recent attempts: the share of successes, failures in a row, and durations."""

from __future__ import annotations

from sleepwalker.engine.host.latencies import Latencies
from sleepwalker.engine.host.window import Window
from sleepwalker.engine.outcome import Head, Outcome

_GOOD, _BAD = 0, 1
#: The least number of known attempts before a percentile decides when to hedge.
_ENOUGH = 20
#: A percentile never hedges earlier than this many seconds: below it, sending takes most of the time.
_MIN_DELAY = 0.001
#: Seconds that a computed percentile stays valid; computing it takes tens of microseconds.
_CACHE_TTL = 0.25
#: How many are cached: per-call policies may have any number of percentiles.
_CACHED = 8
#: Until a percentile is asked for.
_EMPTY: dict[float, tuple[float | None, float]] = {}


class History:
    """Times are on the host's clock, in seconds. Not thread-safe: its owner holds a lock."""

    __slots__ = (
        "_cancelled",
        "_latest_head",
        "_percentiles",
        "answered_at",
        "consecutive",
        "failing_since",
        "last_cause",
        "last_error",
        "last_error_at",
        "latencies",
        "probed_at",
        "verdicts",
        "vouched_at",
        "window",
    )

    consecutive: int

    def __init__(self, window: float) -> None:
        self.consecutive = 0
        """Failures in a row."""
        self.last_error: str | None = None
        self.last_cause: str | None = None
        self.last_error_at: float | None = None
        self.answered_at: float | None = None
        """When an attempt was answered last."""
        self.probed_at: float | None = None
        """When a background probe was last answered and left the host healthy."""
        self.vouched_at: float | None = None
        """When other workers last said that the host is back, and it counted as healthy then."""
        self.failing_since: float = 0.0
        """When the first of the failures in a row was."""
        self._latest_head: Head | None = None
        self._begin(window)

    def _begin(self, window: float) -> None:
        self.window: float = window
        self.verdicts: Window = Window(window, channels=2)
        self.latencies: Latencies = Latencies(window)
        self._cancelled: Latencies | None = None
        self._percentiles = _EMPTY

    def reconfigure(self, window: float) -> None:
        """Cover the last `window` seconds from now on. A window of another length starts everything again."""
        if window != self.window:
            self._begin(window)

    def succeeded(self, now: float, head: Head | None = None) -> None:
        """An attempt got an answer from a healthy host; with `head`, its body is still to come."""
        self.verdicts.add(now, _GOOD)
        if head is not None:
            head.counted_at, head.failures_before = now, self.consecutive
        self._latest_head = head
        self.consecutive = 0
        self.answered_at = now

    def failed(self, outcome: Outcome, now: float) -> None:
        """An attempt failed. If its body failed, the success of its head is taken back."""
        head = outcome.head
        if head is not None and head.counted_at is not None:
            self.verdicts.take_back(now, head.counted_at, _GOOD)
            if self._latest_head is head:  # no other success came after it
                self.consecutive += head.failures_before
        self.verdicts.add(now, _BAD)
        if self.consecutive == 0:
            self.failing_since = now
        self.consecutive += 1
        self.note_error(outcome, now)

    def note_error(self, outcome: Outcome, now: float) -> None:
        """Set the latest failure."""
        text, cause = outcome.describe(), outcome.cause
        self.last_error, self.last_cause, self.last_error_at = text, cause, now

    def cancelled(self, seconds: float, now: float) -> None:
        """An attempt was cancelled after `seconds`, because another one of its call was answered first."""
        if self._cancelled is None:
            self._cancelled = Latencies(self.window)
        self._cancelled.add(now, seconds)

    @property
    def last_success(self) -> float | None:
        """When it last answered an attempt or a probe."""
        return _latest(self.answered_at, self.probed_at)

    @property
    def known_well_at(self) -> float | None:
        """The same, or when it answered another worker, as far as is known here."""
        return _latest(self.answered_at, self.probed_at, self.vouched_at)

    @property
    def empty_since(self) -> float | None:
        """When the latest attempt with a verdict left the window; None before the first."""
        latest = _latest(self.last_success, self.last_error_at)
        return None if latest is None else latest + self.window

    def ratio(self, now: float) -> float | None:
        """The share of successes among attempts with a verdict; None without any."""
        good, bad = self.verdicts.totals(now)
        return good / (good + bad) if good + bad else None

    def known_latency(self, share: float, now: float) -> tuple[float | None] | None:
        """The last value of `latency_above`; None if it must be computed again. Needs no lock."""
        known = self._percentiles.get(share)
        return (known[0],) if known is not None and now < known[1] else None

    def latency_above(self, share: float, now: float) -> float | None:
        """Seconds that `share` (0 to 1) of the attempts took at most; None while too few are known.

        Cancelled attempts count with the time they had taken. They are the slowest: without them the measure would sink
        with each cancellation.
        """
        value = self.latencies.above(now, share, _ENOUGH, self._cancelled)
        if value is not None:
            value = max(value, _MIN_DELAY)
        if self._percentiles is _EMPTY or len(self._percentiles) >= _CACHED:
            self._percentiles = {}
        self._percentiles[share] = value, now + _CACHE_TTL
        return value


def _latest(*moments: float | None) -> float | None:
    """The latest of the moments that are known."""
    return max((moment for moment in moments if moment is not None), default=None)
