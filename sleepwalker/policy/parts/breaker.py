"""`BreakerPolicy`: when a host has failed enough to be left alone, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypedDict, Unpack

from pydantic import Field

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.constraints import Constraint, at_most, slow_both_or_neither
from sleepwalker.policy.statuses import SERVER_FAILURES
from sleepwalker.policy.values import Count, Mode, Ratio, Seconds, SecondsOrZero, Statuses


class BreakerFields(TypedDict, total=False):
    """The fields of a `BreakerPolicy`, as keyword arguments or as a dict: which, and of what types."""

    failure_ratio: float
    window: float
    min_calls: int
    consecutive: int
    consecutive_for: float
    statuses: Iterable[int | Literal["5xx"]]
    slow_ratio: float | Literal[False] | None
    slow_call: float | Literal[False] | None
    open_for: float
    open_growth: float
    open_max: float
    half_open_probes: int
    close_after: int
    ramp: float
    max_wait: float
    mode: Mode


class BreakerPolicy(PolicyModel, frozen=True):
    """When the circuit of a host opens, and how it closes. It counts attempts, per host.

    Example:
        ```python
        policy = Policy(breaker=BreakerPolicy(statuses=[502, 503, 504], open_for=2, max_wait=5))
        ```
    """

    constraints: ClassVar[tuple[Constraint, ...]] = (at_most("open_for", "open_max"), slow_both_or_neither)

    failure_ratio: Ratio = 0.85
    """Share of failures within `window` at which the circuit opens. Above it, hardly any attempt succeeds. Below it,
    retries get more responses than an open circuit."""
    window: Seconds = 30.0
    """Seconds of the past that the shares cover."""
    min_calls: Count = 50
    """The least number of outcomes within `window` before a share counts: two of three may be chance."""
    consecutive: Count = 5
    """Failures in a row that open the circuit, if they lasted `consecutive_for` and are not explained by chance (less
    than 1 in 100,000, given the share of failures before). This also covers hosts with few calls. The attempts of a
    single call do not open it."""
    consecutive_for: SecondsOrZero = 0.5
    """Seconds that a run of failures must have lasted, because many attempts can fail within one short fault. 0: the
    run alone decides, at once."""
    statuses: Statuses = SERVER_FAILURES
    """Statuses that are failures of the host: for the circuit, its health, counts and events. `"5xx"` is short for all
    5xx but 501, and may stand beside numbers: `["5xx", 429]`. Of the others, 408, 429 and 501 are neutral, and the rest
    are successes. `[]`: no response is a failure."""
    slow_ratio: Ratio | None = None
    """Share of slow calls within `window` at which the circuit opens. Off by default."""
    slow_call: Seconds | None = None
    """Seconds after which a call counts as slow, even while it is in flight. Off by default."""
    open_for: Seconds = 1.0
    """Seconds that an open circuit rejects all calls before it admits a probe, ±10 % so that clients do not probe at
    the same time. Multiplied by `open_growth` after each failed probe and each relapse."""
    open_growth: Annotated[float, Field(ge=1, le=10)] = 1.5
    """Factor for the open time after each failed probe and each relapse. 1: it stays the same."""
    open_max: Seconds = 10.0
    """Seconds that a circuit stays open at most before it admits a probe."""
    half_open_probes: Count = 1
    """Calls that probe the host at the same time; all others are rejected at once, or wait."""
    close_after: Count = 2
    """Successful probes after which the circuit closes."""
    ramp: SecondsOrZero = 5.0
    """Seconds that the slow start after closing takes at most. The calls admitted at once double with each
    round of successes and halve with a failure, until all are admitted. So a cold host is not overloaded again, and a
    healthy one soon has its full load. 0 admits all at once."""
    max_wait: SecondsOrZero = 0.0
    """Seconds that a call waits for a circuit that does not admit it, within its `total`, first come, first served. It
    keeps its place in the bulkhead meanwhile. 0 rejects at once."""
    mode: Mode = "enforce"
    """`enforce` rejects calls; `observe` only reports what it would have done."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[BreakerFields]) -> None: ...

        def replace(self, **changes: Unpack[BreakerFields]) -> Self: ...  # type: ignore[override]
