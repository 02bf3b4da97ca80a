"""`RetryPolicy` and `RetryBudget`: which failed attempts are followed by another, and how many of them there may be."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypedDict, Unpack

from pydantic import Field

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.constraints import Constraint, at_most
from sleepwalker.policy.values import (
    IDEMPOTENT_METHODS,
    Binds,
    Jitter,
    Methods,
    Ratio,
    Seconds,
    SecondsOrZero,
    Statuses,
)


class BudgetFields(TypedDict, total=False):
    """The fields of a `RetryBudget`, as keyword arguments or as a dict: which, and of what types."""

    ratio: float
    min_per_second: float
    window: float


class RetryBudget(PolicyModel, frozen=True):
    """How many of a host's recent sends may be failed retries, so that retries never multiply an outage.

    Example:
        ```python
        policy = Policy(retry={"attempts": 4, "budget": RetryBudget(ratio=0.1)})
        ```
    """

    ratio: Ratio = 0.2
    """Failed retries, as a share of the calls within `window`. A retry that got a response is not charged. If the host
    is down, its load grows by this share instead of `attempts`-fold."""
    min_per_second: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Failed retries per second that are always allowed, so that hosts with few calls have some."""
    window: Seconds = 10.0
    """Seconds of the past that count as recent."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[BudgetFields]) -> None: ...

        def replace(self, **changes: Unpack[BudgetFields]) -> Self: ...  # type: ignore[override]


class RetryFields(TypedDict, total=False):
    """The fields of a `RetryPolicy`, as keyword arguments or as a dict: which, and of what types."""

    attempts: int
    wait_initial: float
    wait_multiplier: float
    wait_max: float
    jitter: Jitter
    statuses: Iterable[int | Literal["5xx"]]
    methods: Iterable[str]
    retry_after_max: float
    after_binds: Binds
    never_sent: bool
    budget: RetryBudget | BudgetFields | Literal[False] | None


class RetryPolicy(PolicyModel, frozen=True):
    """Which failed attempts are retried, how often, and after what wait.

    Example:
        ```python
        policy = Policy(retry=RetryPolicy(attempts=4, statuses=[429, "5xx"], wait_max=2))
        ```
    """

    constraints: ClassVar[tuple[Constraint, ...]] = (at_most("wait_initial", "wait_max"),)

    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Sends in all, the first included. 1: no retry, but `budget` and the other fields still hold."""
    wait_initial: SecondsOrZero = 0.1
    """Seconds before the second attempt, before jitter."""
    wait_multiplier: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Factor from one wait to the next. Decorrelated jitter does not use it: it draws between `wait_initial` and three
    times the last wait."""
    wait_max: SecondsOrZero = 5.0
    """Seconds between two attempts at most; a `Retry-After` may be longer."""
    jitter: Jitter = "full"
    """How waits are randomised, so that callers that failed together do not retry together. `full`: from 0 to the whole
    wait. `equal`: from half of it. `decorrelated`: up to three times the last wait. `none`: not at all."""
    statuses: Statuses = frozenset({408, 429, 502, 503, 504})
    """Statuses that are retried, because they mean `not now`. 500 is not among them, because a retry usually gets it
    again. Any status from 200 on is allowed, such as 202 for an unfinished job. When attempts run out, a response below
    400 is returned.
    `"5xx"` is short for all 5xx but 501."""
    methods: Methods = IDEMPOTENT_METHODS
    """Methods that are sent again even if the first send may have been processed; by default the idempotent ones (RFC
    9110 section 9.2.2). A call's `idempotent=` and an `Idempotency-Key` header override this."""
    retry_after_max: SecondsOrZero = 60.0
    """Seconds of `Retry-After` that a call waits at most, if it has the time. A response that asks for more is
    returned at once."""
    after_binds: Binds = "call"
    """Which calls wait when a server says `not now`, by `Retry-After` or, with a 429, by its rate limit's headers:
    `call` only the call that got the response, `pair` all calls to the host with the same credentials (for servers that
    count per user or key), `host` all calls to the host. Calls that have the time wait, for `retry_after_max` at most;
    the others raise RateLimitedError at once."""
    never_sent: bool = True
    """Whether requests that provably never reached the server (refused, unknown name, connect timeout) are retried for
    any method."""
    budget: RetryBudget | None = Field(default_factory=cache(RetryBudget))
    """The share of retries among a host's calls; without it only `attempts` limits them."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RetryFields]) -> None: ...

        def replace(self, **changes: Unpack[RetryFields]) -> Self: ...  # type: ignore[override]
