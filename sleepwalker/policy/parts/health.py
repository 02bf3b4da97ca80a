"""`HealthPolicy`: how a host is judged, and when connections are made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypedDict, Unpack

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.constraints import Constraint, at_most
from sleepwalker.policy.values import Count, ProbePath, Ratio, Seconds, SecondsOrZero


class HealthFields(TypedDict, total=False):
    """The fields of a `HealthPolicy`, as keyword arguments or as a dict: which, and of what types."""

    window: float
    degraded_below: float
    broken_after: int
    rehook_initial: float
    rehook_max: float
    idle: float
    max_age: float | Literal[False] | None
    probe: str | Literal[False] | None
    probe_interval: float
    unauthorized_evicts: bool


class HealthPolicy(PolicyModel, frozen=True):
    """When a host counts as degraded or broken, and when connections are evicted and replaced.

    Example:
        ```python
        policy = Policy(health=HealthPolicy(probe="/health", probe_interval=2))
        ```
    """

    constraints: ClassVar[tuple[Constraint, ...]] = (at_most("rehook_initial", "rehook_max"),)

    window: Seconds = 60.0
    """Seconds of the past that success ratio and latencies cover."""
    degraded_below: Ratio = 0.95
    """Success ratio below which a host is called degraded."""
    broken_after: Count = 3
    """Connect failures in a row after which a host is broken and its connection evicted. More are needed if chance
    explains so many, given the share of failures within `window`: for example if one of several machines refuses all
    connections."""
    rehook_initial: SecondsOrZero = 1.0
    """Seconds before the hooks are called again for a broken host; doubled each time."""
    rehook_max: SecondsOrZero = 60.0
    """Seconds between two rounds of hooks at most."""
    idle: Seconds = 300.0
    """Seconds after which an unused connection is retired."""
    max_age: Seconds | None = None
    """Seconds after which a manager replaces a connection even if it is in use, for hosts that move. Its sockets are
    not used longer either. Off by default."""
    probe: ProbePath | None = None
    """Path requested in the background while the host is broken, so that it recovers without a user's call. Off by
    default."""
    probe_interval: Seconds = 5.0
    """Seconds between two probes of a broken host."""
    unauthorized_evicts: bool = True
    """Whether a 401 evicts the connection, so that the hook logs in again."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HealthFields]) -> None: ...

        def replace(self, **changes: Unpack[HealthFields]) -> Self: ...  # type: ignore[override]
