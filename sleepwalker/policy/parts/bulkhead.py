"""`BulkheadPolicy`: how many calls to one host may be in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.values import Count, Mode, SecondsOrZero


class BulkheadFields(TypedDict, total=False):
    """The fields of a `BulkheadPolicy`, as keyword arguments or as a dict: which, and of what types."""

    max_concurrent: int
    max_wait: float
    adaptive: bool
    mode: Mode


class BulkheadPolicy(PolicyModel, frozen=True):
    """How many calls to one host may be in flight, so that one slow host cannot take all threads.

    Example:
        ```python
        policy = Policy(bulkhead=BulkheadPolicy(max_concurrent=20, max_wait=1))
        ```
    """

    max_concurrent: Count = 1000
    """The most calls in flight per host. High by default: a guard against leaks, not a throttle."""
    max_wait: SecondsOrZero = 0.0
    """Seconds that a call waits for a permit. 0 rejects at once: a queue would hide the problem."""
    adaptive: bool = False
    """Whether the limit follows the host's latency, between 1 and `max_concurrent`. It grows step by step while
    attempts are fast. It shrinks to less than half if they take twice as long as usual, time out, or get a 429, or a
    503 that is in `breaker.statuses`."""
    mode: Mode = "enforce"
    """`enforce` rejects calls; `observe` only reports what it would have done."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[BulkheadFields]) -> None: ...

        def replace(self, **changes: Unpack[BulkheadFields]) -> Self: ...  # type: ignore[override]
