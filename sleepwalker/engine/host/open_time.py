"""How long a circuit stays open: longer each time, while its host stays broken."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sleepwalker.policy import BreakerPolicy

#: After a failed probe, at least this share of the open time follows, however long the probe took.
_LEAST_REST = 0.1
#: The open time is multiplied by a random factor of `_LEAST` to `_LEAST + _SPREAD`, so that the processes of a fleet do
#: not probe together.
_LEAST, _SPREAD = 0.9, 0.2


@dataclass(frozen=True, slots=True)
class OpenTime:
    """The memory of the circuit's last open times. Moments are on the host's clock, in seconds.

    It is a value: undoing a step of the state machine restores the earlier one.
    """

    until: float = 0.0
    """When the circuit may be tried again."""
    seconds: float = 0.0
    """For how many seconds it opened last."""
    without_jitter: float = 0.0
    """The same without jitter, and without the rest that a slow probe gave the host."""
    closed_at: float = -math.inf
    """When it closed last by an attempt, or a probe, that was answered."""
    answered: bool = True
    """Whether the host answered an attempt since it opened. A background probe does not count."""
    answered_half_open: bool = False
    """Whether it has answered an attempt in the present half-open state."""
    probe_doubted: bool = False
    """Whether a background probe closed the circuit, and then calls failed."""
    rest_since: float = 0.0
    """When the probe that failed was admitted."""

    def opened(self, policy: BreakerPolicy, now: float, chance: float, *, was_closed: bool) -> OpenTime:
        """The circuit opens; `chance` is a number from [0, 1)."""
        without_jitter = self._next(policy, now, was_closed=was_closed)
        seconds = without_jitter * (_LEAST + _SPREAD * chance)
        if not was_closed:
            # A probe without a response gave the host a rest as well.
            seconds = max(seconds - max(0.0, now - self.rest_since), seconds * _LEAST_REST)
        answered = self.answered and not was_closed
        return replace(self, until=now + seconds, seconds=seconds, without_jitter=without_jitter, answered=answered)

    def told(self, policy: BreakerPolicy, now: float, until: float) -> OpenTime:
        """The circuit opens until then because other workers say so; its own open time does not grow.

        The growth that it had decays with the time since, as if the circuit opened now by itself.
        """
        left = self.without_jitter - (now - self.closed_at)
        without_jitter = left if left >= policy.open_for else 0.0
        return replace(self, until=until, seconds=until - now, without_jitter=without_jitter, answered=False)

    def held(self, earliest: float) -> OpenTime:
        """Other workers probe without success: it stays open at least until then."""
        return replace(self, until=max(self.until, earliest))

    def _next(self, policy: BreakerPolicy, now: float, *, was_closed: bool) -> float:
        """For how many seconds it stays open, without jitter."""
        last = self.without_jitter
        if not was_closed:
            # A host that answered some of the probes is not down, but perhaps cold: it is tried again soon.
            grows, least = not self.answered_half_open, policy.open_for
        else:
            # If the host answered calls after it came back, the time that it was back is taken off the open time: else
            # a host that is down for 1 s in 4 would be unavailable to its callers for nearly all of the time.
            closed_for = now - self.closed_at
            grows = not self.answered and closed_for < policy.ramp + last
            least = max(policy.open_for, last - closed_for)
        return min(last * policy.open_growth if grows and last else least, policy.open_max)

    def half_opened(self) -> OpenTime:
        """The circuit may be tried again, and is being tried."""
        return replace(self, answered_half_open=False)

    def closed(self, now: float) -> OpenTime:
        """An attempt or a probe got an answer, and the circuit closes."""
        return replace(self, closed_at=now)

    def attempt_answered(self, *, half_open: bool) -> OpenTime:
        """An attempt got an answer."""
        return replace(
            self, answered=True, probe_doubted=False, answered_half_open=half_open or self.answered_half_open
        )

    def probe_failed(self, since: float) -> OpenTime:
        """A probe admitted then failed."""
        return replace(self, rest_since=since)

    def unanswered(self, since: float) -> OpenTime:
        """The response of a probe admitted then broke after its head, so it does not count as an answer."""
        return replace(self, answered=False, rest_since=since)

    def doubted(self) -> OpenTime:
        """A background probe had succeeded, and then the first call failed: no call has seen the host healthy."""
        return replace(self, probe_doubted=True)

    def forgotten(self) -> OpenTime:
        """Reset by hand: nothing of it counts any more."""
        return replace(self, without_jitter=0.0, answered=True, probe_doubted=False)

    def cut(self, latest: float) -> OpenTime:
        """Another policy, or permission to probe now: it stays open at most until then."""
        return replace(self, until=min(self.until, latest))
