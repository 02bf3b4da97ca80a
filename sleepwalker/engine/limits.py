"""Limits on how much work a host is given: the retry budget, the rate limit, and places in the bulkhead's queue."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from sleepwalker.engine.window import Window
from sleepwalker.latch import Latch
from sleepwalker.policy import RateLimitPolicy, RetryBudget

_CALL, _RETRY = 0, 1
#: A token that is so few seconds away is there: about what a clock that counts from a machine's start can tell apart.
_TICK = 1e-8


class Budget:
    """How many retries that come to nothing a host may get: a share of its recent calls plus a floor for quiet times.

    What calls deposit and retries spend counts for `window` seconds, as in Finagle. A retry is charged when it is
    decided upon, so that those under way count; one that is answered gives its share back.
    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_floor", "_policy", "_ratio", "_window")

    def __init__(self, policy: RetryBudget) -> None:
        self._ratio = policy.ratio
        self._floor = policy.min_per_second * policy.window
        self._window = Window(policy.window, channels=2)
        self._policy = policy

    def follow(self, policy: RetryBudget) -> None:
        """Go on with the numbers of `policy`. Over a window of another length the count begins anew."""
        if policy.window != self._policy.window:
            self._window = Window(policy.window, channels=2)
        self._ratio = policy.ratio
        self._floor = policy.min_per_second * policy.window
        self._policy = policy

    def deposit(self, now: float) -> None:
        """A call's first attempt is over. Rejected calls earn nothing: the host never saw them."""
        self._window.add(now, _CALL)

    def left(self, now: float) -> float:
        """How many retries may begin now."""
        calls, retries = self._window.totals(now)
        return calls * self._ratio + self._floor - retries

    def spend(self, now: float) -> bool:
        """Take one retry out; False where that is more than there is."""
        if self.left(now) < 1.0:
            return False
        self._window.add(now, _RETRY)
        return True

    def give_back(self, spent: float, now: float) -> None:
        """The retry that was taken out at `spent` was answered. Nothing is left of it once it is out of the window."""
        self._window.take_back(now, spent, _RETRY)


class Holdings:
    """What one call holds at its host, so that it can be given back whatever happens, and once.

    An exception from a signal handler may strike between any two steps of the interpreter's at which that looks for
    signals: after a call of what is written in C, at the entry of a function, at the end of a loop's round. So each
    count changes together with its mark here, with nothing of that kind between them.
    """

    __slots__ = ("beyond", "bucket", "cools", "counted", "inside", "over", "ticket", "token", "turn", "waits")

    def __init__(self) -> None:
        self.waits = False
        """Whether it counts as waiting for a token."""
        self.cools: tuple[float, float] | None = None
        """Its mark among those that wait for a cooldown to end."""
        self.token = False
        self.bucket: Bucket | None = None
        """Where it takes its token, whatever becomes of the policy meanwhile."""
        self.ticket: Ticket | None = None
        """Its place in the queue."""
        self.turn: Ticket | None = None
        """Its place among those who wait for the circuit."""
        self.inside = False
        """Whether it counts as in flight."""
        self.beyond = False
        """Whether it does so beyond a limit that only observes."""
        self.counted = False
        """Whether its beginning is in the tally."""
        self.over = False
        """Whether its end is."""


class Ticket:
    """A call's place in the queue before a full bulkhead, or before a circuit. Its owner's lock guards it."""

    __slots__ = ("ample_until", "call", "patience", "until", "wake")

    def __init__(self, call: Holdings, patience: float, ample_until: float = math.inf) -> None:
        self.call = call
        self.patience = patience
        """How long the call waits at most, in seconds."""
        self.until = math.inf
        """When that is over, of one that waits for its circuit."""
        self.ample_until = ample_until
        """Until then its time allows a whole attempt, as long as its policy lets one take."""
        self.wake = Latch()
        """Set when there is something to see: it was granted, or will not be."""

    @property
    def granted(self) -> bool:
        """Whether the call is in."""
        return self.call.inside


class Turn(NamedTuple):
    """What the rate limit says to a call."""

    word: Literal["go", "wait", "rejected", "beyond"]
    """`beyond` the rate, which only observes, it goes all the same."""
    wait: float
    """Seconds until a token is due."""


class Crowd:
    """How many calls wait for a token, at whichever bucket."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting = 0


class Bucket:
    """How many calls a host may get: a bucket of tokens that fills at the policy's rate.

    Each call takes a token at the moment it goes, never earlier, so that within any `t` seconds no more go than
    `burst + rate * t`, whoever wakes up late. Those who wait go before those who come.
    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_crowd", "_filled", "_level", "_size", "max_wait", "observes", "rate", "waiting")

    def __init__(self, policy: RateLimitPolicy, now: float, crowd: Crowd | None = None) -> None:
        """`crowd` counts its calls as well."""
        self.waiting = 0
        """How many wait for a token."""
        self._crowd = Crowd() if crowd is None else crowd
        self._filled = now
        self._level = math.inf
        self.follow(policy, now)

    def follow(self, policy: RateLimitPolicy, now: float) -> None:
        """Go on with the numbers of `policy`; tokens that were spent remain spent."""
        if self._level < math.inf:
            self._fill(now)
        self.rate = policy.rate
        self.max_wait = policy.max_wait
        self.observes = policy.mode == "observe"
        self._size = float(policy.burst or max(1.0, policy.rate))
        self._level = min(self._level, self._size)

    def full(self, now: float) -> bool:
        """Whether it holds all the tokens that it can, as a new one does."""
        return self._level + (now - self._filled) * self.rate >= self._size

    def take(self, call: Holdings, now: float) -> float:
        """Take a token and give 0; or take none, and give the seconds until one is due."""
        if now > self._filled:
            self._fill(now)
        missing = 1.0 - self._level + (0 if call.waits else self.waiting)
        if missing > self.rate * _TICK:
            return missing / self.rate
        self._level -= 1.0
        call.token = True
        return 0.0

    def reserve(self, call: Holdings) -> None:
        """Take a token that is yet to come, as one would who waits for it, so that those who follow wait longer."""
        self._level -= 1.0
        call.token = True

    def give_back(self, call: Holdings) -> None:
        """Return the token of a call that came to no send."""
        level = min(self._size, self._level + 1.0)
        if call.token:
            self._level = level
            call.token = False

    def wait(self, call: Holdings) -> None:
        """Count the call among those that wait for a token."""
        self.waiting += 1
        self._crowd.waiting += 1
        call.waits = True

    def stop_waiting(self, call: Holdings) -> None:
        """Count it there no more."""
        if call.waits:
            call.waits = False
            if self.waiting > 0:  # a fork forgets those who waited
                self.waiting -= 1
                self._crowd.waiting -= 1

    def _fill(self, now: float) -> None:
        if now > self._filled:  # not so for a thread that read its clock before another one came through here
            self._level = min(self._size, self._level + (now - self._filled) * self.rate)
            self._filled = now
