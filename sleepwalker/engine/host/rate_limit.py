"""The rate limit: how many calls a host gets per second, and how many wait for a token."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal, NamedTuple, Protocol

from sleepwalker.policy import RateLimitPolicy

#: Seconds. A token that is due within this time is there: about the resolution of a clock that counts from a machine's
#: start.
_TICK = 1e-8
#: The most buckets, one for each of the credentials in use: a server that hands out credentials per call would fill the
#: memory. Each takes half a kilobyte. Credentials whose bucket was dropped get a full one: with more credentials in use
#: at a time, the rate holds for none.
MOST_BUCKETS = 10_000
#: How many one call looks at to drop some, so that the lock is held for microseconds.
_BATCH = 4


class RateDecision(NamedTuple):
    """The rate limit's decision about a call."""

    decision: Literal["go", "wait", "rejected", "over_limit"]
    """An `over_limit` call goes all the same: the limit only observes."""
    wait: float
    """Seconds until a token is due."""


class TokenHolder(Protocol):
    """A call, with what is marked about it here."""

    waits_for_token: bool
    token: bool


class WaitingCount:
    """How many calls wait for a token, at all buckets together."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: int = 0


class Bucket:
    """How many calls a host may get: a token bucket that fills at the policy's rate.

    Each call takes a token at the moment it goes, never earlier. So within any `t` seconds at most `burst + rate * t`
    calls go, however late the waiting ones wake up. Waiting calls go before new ones. Not thread-safe: its owner holds
    a lock.
    """

    __slots__ = ("_count", "_filled", "_level", "_size", "max_wait", "observes", "rate", "waiting")

    waiting: int

    def __init__(self, policy: RateLimitPolicy, now: float, count: WaitingCount | None = None) -> None:
        """`count` counts the calls that wait here, too."""
        self.waiting = 0
        """How many wait for a token."""
        self._count = WaitingCount() if count is None else count
        self._filled = now
        self._level = math.inf
        self.reconfigure(policy, now)

    def reconfigure(self, policy: RateLimitPolicy, now: float) -> None:
        """Continue with the numbers of `policy`; spent tokens stay spent."""
        if self._level < math.inf:
            self._fill(now)
        self.rate: float = policy.rate
        self.max_wait: float = policy.max_wait
        self.observes: bool = policy.mode == "observe"
        self._size = float(policy.burst or max(1.0, policy.rate))
        self._level = min(self._level, self._size)

    def full(self, now: float) -> bool:
        """Whether it holds all its tokens, like a new one."""
        return self._level + (now - self._filled) * self.rate >= self._size

    def take(self, call: TokenHolder, now: float) -> float:
        """Take a token and return 0; or take none, and return the seconds until one is due."""
        if now > self._filled:
            self._fill(now)
        missing = 1.0 - self._level + (0 if call.waits_for_token else self.waiting)
        if missing > self.rate * _TICK:
            return missing / self.rate
        self._level -= 1.0
        call.token = True
        return 0.0

    def reserve(self, call: TokenHolder) -> None:
        """Take a future token for a waiting call, so that later calls wait longer."""
        self._level -= 1.0
        call.token = True

    def give_back(self, call: TokenHolder) -> None:
        """Return the token of a call that sent nothing."""
        level = min(self._size, self._level + 1.0)
        if call.token:
            self._level = level
            call.token = False

    def wait(self, call: TokenHolder) -> None:
        """Count the call among those that wait for a token."""
        self.waiting += 1
        self._count.waiting += 1
        call.waits_for_token = True

    def stop_waiting(self, call: TokenHolder) -> None:
        """End that count."""
        if call.waits_for_token:
            call.waits_for_token = False
            if self.waiting > 0:  # a fork forgets the waiters
                self.waiting -= 1
                self._count.waiting -= 1

    def _fill(self, now: float) -> None:
        if now > self._filled:  # not so for a thread that read its clock before another one came through here
            self._level = min(self._size, self._level + (now - self._filled) * self.rate)
            self._filled = now


class RateLimit:
    """Its buckets: one for the whole host, or one for each of the credentials used.

    They are stored by a mark of the credentials, which reveals nothing; by "" if credentials make no difference. Not
    thread-safe: its owner holds a lock.
    """

    __slots__ = ("_buckets", "_count", "_policy", "by_credentials")

    def __init__(self, policy: RateLimitPolicy) -> None:
        self._policy = policy
        self._count = WaitingCount()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        """The most recently used comes last."""
        self.by_credentials: bool = policy.per == "credentials"
        """Whether each of the credentials has its own bucket. Read without the lock."""

    @property
    def waiting(self) -> int:
        """How many calls wait for a token."""
        return self._count.waiting

    @property
    def rate(self) -> float:
        """How many calls may begin per second, with all credentials in use together."""
        return self._policy.rate * max(1, len(self._buckets))

    def of(self, credentials: str, now: float) -> Bucket:
        """The bucket of calls with these credentials."""
        bucket = self._buckets.get(credentials)
        if bucket is None:
            self._drop_some(now)
            bucket = self._buckets[credentials] = Bucket(self._policy, now, self._count)
        elif self.by_credentials:
            self._buckets.move_to_end(credentials)
        return bucket

    def reconfigure(self, policy: RateLimitPolicy, now: float) -> None:
        """Continue with the numbers of `policy`. If `per` changes, all buckets start again."""
        if policy.per != self._policy.per:
            self._buckets = OrderedDict()
        self._policy = policy
        self.by_credentials = policy.per == "credentials"
        for bucket in tuple(self._buckets.values()):
            bucket.reconfigure(policy, now)

    def renew_after_fork(self) -> None:
        """Forget the calls of threads that exist only in the parent."""
        self._count.waiting = 0
        for bucket in tuple(self._buckets.values()):
            bucket.waiting = 0

    def _drop_some(self, now: float) -> None:
        """Drop buckets that were unused for longest: full ones, which is no loss, and others if there are too many.

        A bucket with a waiting call is kept.
        """
        for _ in range(min(_BATCH, len(self._buckets))):
            oldest = next(iter(self._buckets))
            bucket = self._buckets[oldest]
            if bucket.waiting:
                self._buckets.move_to_end(oldest)
            elif bucket.full(now) or len(self._buckets) >= MOST_BUCKETS:
                del self._buckets[oldest]
            else:
                return
