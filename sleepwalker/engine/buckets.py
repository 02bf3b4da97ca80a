"""The buckets of a rate limit: one for the whole host, or one for each of the credentials that it is called with."""

from __future__ import annotations

from collections import OrderedDict

from sleepwalker.engine.limits import Bucket, Crowd
from sleepwalker.policy import RateLimitPolicy

#: Those of so many credentials are kept that are not full, or a server that hands out a token per call would fill the
#: memory. Each takes half a kilobyte. Whoever comes back after theirs was dropped has a full one: with more credentials
#: than these in use at a time, the rate holds for nobody.
MOST_BUCKETS = 10_000
#: How many one call looks at to drop some, so that the lock is held for microseconds.
_AT_ONCE = 4


class Buckets:
    """By a mark of the credentials, which holds nothing of them; by "" where they make no difference.

    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_buckets", "_crowd", "_policy", "by_credentials")

    def __init__(self, policy: RateLimitPolicy) -> None:
        self._policy = policy
        self._crowd = Crowd()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        """Used last comes last."""
        self.by_credentials = policy.per == "credentials"
        """Whether it must be known whose call it is. Read without the lock."""

    @property
    def waiting(self) -> int:
        """How many calls wait for a token."""
        return self._crowd.waiting

    @property
    def rate(self) -> float:
        """How many calls may begin per second, with all the credentials together that are in use."""
        return self._policy.rate * max(1, len(self._buckets))

    def of(self, credentials: str, now: float) -> Bucket:
        """The bucket of whoever has these credentials."""
        bucket = self._buckets.get(credentials)
        if bucket is None:
            self._drop_some(now)
            bucket = self._buckets[credentials] = Bucket(self._policy, now, self._crowd)
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
        self._crowd.waiting = 0
        for bucket in tuple(self._buckets.values()):
            bucket.waiting = 0

    def _drop_some(self, now: float) -> None:
        """Of those that were unused for longest: what is full is no loss; of the others, what is too much.

        A call that waits at its bucket must find it there.
        """
        for _ in range(min(_AT_ONCE, len(self._buckets))):
            oldest = next(iter(self._buckets))
            bucket = self._buckets[oldest]
            if bucket.waiting:
                self._buckets.move_to_end(oldest)
            elif bucket.full(now) or len(self._buckets) >= MOST_BUCKETS:
                del self._buckets[oldest]
            else:
                return
