"""The buckets of a rate limit: one for the whole host, or one for each of the credentials that it is called with."""

from __future__ import annotations

from collections import OrderedDict

from sleepwalker.engine.limits import Bucket
from sleepwalker.policy import RateLimitPolicy

#: Those of so many credentials are kept, or a server that hands out a token per call would fill the memory.
MOST_BUCKETS = 1_000
#: How many one call looks at to drop one, so that the lock is held for microseconds.
_AT_ONCE = 16


class Buckets:
    """By a mark of the credentials, which holds nothing of them; by "" where they make no difference.

    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_buckets", "_policy", "by_credentials")

    def __init__(self, policy: RateLimitPolicy) -> None:
        self._policy = policy
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        """Used last comes last."""
        self.by_credentials = policy.per == "credentials"
        """Whether it must be known whose call it is. Read without the lock."""

    @property
    def waiting(self) -> int:
        """How many calls wait for a token."""
        return sum(bucket.waiting for bucket in tuple(self._buckets.values()))

    @property
    def rate(self) -> float:
        """How many calls may begin per second, with all the credentials together that are in use."""
        return self._policy.rate * max(1, len(self._buckets))

    def of(self, credentials: str, now: float) -> Bucket:
        """The bucket of whoever has these credentials."""
        bucket = self._buckets.get(credentials)
        if bucket is None:
            bucket = self._buckets[credentials] = Bucket(self._policy, now)
            if len(self._buckets) > MOST_BUCKETS:
                self._drop_one()
        elif self.by_credentials:
            self._buckets.move_to_end(credentials)
        return bucket

    def follow(self, policy: RateLimitPolicy, now: float) -> None:
        """Go on with the numbers of `policy`. Where it is for others than before, all begin anew."""
        if policy.per != self._policy.per:
            self._buckets = OrderedDict()
        self._policy = policy
        self.by_credentials = policy.per == "credentials"
        for bucket in tuple(self._buckets.values()):
            bucket.follow(policy, now)

    def renew_after_fork(self) -> None:
        """Forget the calls of threads that only the parent has."""
        for bucket in tuple(self._buckets.values()):
            bucket.waiting = 0

    def _drop_one(self) -> None:
        """The one that was unused for longest; a call that waits at its bucket must find it there."""
        for _ in range(_AT_ONCE):
            oldest = next(iter(self._buckets))
            if not self._buckets[oldest].waiting:
                del self._buckets[oldest]
                return
            self._buckets.move_to_end(oldest)
