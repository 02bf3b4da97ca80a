"""A policy prepared for its calls: everything that can be computed once."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache

from sleepwalker.clock import Clock
from sleepwalker.engine.outcome import Outcome
from sleepwalker.engine.retrying import Retries
from sleepwalker.policy import HedgePolicy, Policy, RetryPolicy


class CompiledPolicy:
    """The call's own parts of a policy (timeout, retry, log), compiled. Shared by all calls that follow it.

    `timeout` is a caller's `(connect, read)` in seconds. The attempt and total deadlines are lengthened where they are
    too short for it.
    """

    __slots__ = (
        "attempt",
        "breaker",
        "budget",
        "bulkhead",
        "connect",
        "finished_level",
        "hasty",
        "hedge",
        "methods",
        "policy",
        "propagate",
        "rate_limit",
        "read",
        "rejections",
        "retries",
        "sample",
        "statuses",
        "total",
        "worth_it",
    )

    read: float
    connect: float

    def __init__(self, policy: Policy, clock: Clock, timeout: tuple[float, float] | None = None) -> None:
        # Loaded now: a circuit changes under a lock, which should not be held during an import.
        import sleepwalker.engine.host.machine  # noqa: F401, PLC0415

        self.policy: Policy = policy
        self.hasty: bool = False
        """Whether its caller leaves the host less time than the connection does."""
        self.connect = policy.timeout.connect
        self.read = policy.timeout.read
        self.attempt: float = policy.timeout.attempt
        self.total: float = policy.timeout.total
        self.propagate: str | None = policy.timeout.propagate
        if timeout is not None:
            self.connect, self.read = timeout
            self.attempt = max(self.attempt, self.connect + self.read)
            self.total = max(self.total, self.attempt)
        self.retries: Retries | None = Retries(policy.retry, clock) if policy.retry else None
        self.statuses: frozenset[int] = policy.retry.statuses if policy.retry else frozenset[int]()
        self.methods: frozenset[str] = (policy.retry or _usual()).methods
        """The methods that may be sent twice. A hedge needs them even without retries."""
        self.hedge: HedgePolicy | None = policy.hedge
        self.worth_it: Callable[[Outcome], bool] = (self.retries or Retries(_usual(), clock)).worth_it
        """Whether an outcome is one to send again for. Without retries, by the default policy's list."""
        self.breaker: bool = policy.breaker is not None
        self.budget: bool = policy.retry is not None and policy.retry.budget is not None
        self.bulkhead: bool = policy.bulkhead is not None
        self.rate_limit: bool = not passes_rate_limit(policy)
        self.finished_level = policy.log.finished
        self.sample: float = policy.log.sample
        self.rejections: float = policy.log.rejections

    def beside(self, own: CompiledPolicy) -> CompiledPolicy:
        """This policy for a call of a connection whose own policy is `own`."""
        self.hasty = self.attempt < own.attempt or self.connect < own.connect or self.read < own.read
        return self

    def within(self, total: float) -> CompiledPolicy:
        """The same policy for a call of at most `total` seconds: longer timeouts are shortened to fit."""
        short = copy(self)
        short.total = total
        short.hasty = self.hasty or total < self.attempt
        short.attempt, short.connect, short.read = (min(one, total) for one in (self.attempt, self.connect, self.read))
        return short

    def hurried(self, connect: float, read: float) -> CompiledPolicy:
        """The same policy for a call whose caller waits for at most these seconds, if they are shorter."""
        if connect >= self.connect and read >= self.read:
            return self
        short = copy(self)
        short.connect, short.read, short.hasty = min(connect, self.connect), min(read, self.read), True
        return short


@cache
def _usual() -> RetryPolicy:
    return RetryPolicy()


def passes_rate_limit(policy: Policy) -> bool:
    """Whether calls that follow `policy` bypass their host's rate limit.

    They do if the policy switches the limit off explicitly. In most policies it is off only by default, and a call that
    changes only its timeouts must not bypass the limit.
    """
    return policy.rate_limit is None and "rate_limit" in policy.model_fields_set
