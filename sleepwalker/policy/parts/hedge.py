"""`HedgePolicy`: when a second attempt is sent beside a slow one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypedDict, Unpack

from pydantic import Field

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.constraints import Constraint, one_trigger
from sleepwalker.policy.values import Seconds


class HedgeFields(TypedDict, total=False):
    """The fields of a `HedgePolicy`, as keyword arguments or as a dict: which, and of what types."""

    delay: float | Literal[False] | None
    percentile: float | Literal[False] | None
    max_extra: int


class HedgePolicy(PolicyModel, frozen=True):
    """When a hedge attempt is sent beside a slow idempotent one; the first response counts. It spends the retry budget.

    Example:
        ```python
        policy = Policy(hedge=HedgePolicy(percentile=95))
        ```
    """

    constraints: ClassVar[tuple[Constraint, ...]] = (one_trigger,)

    delay: Seconds | None = None
    """Seconds after which a hedge is sent. Give this or `percentile`."""
    percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Percentile of the host's recent latencies after which a hedge is sent: 95 hedges the slowest twentieth. Give this
    or `delay`."""
    max_extra: Annotated[int, Field(ge=1, le=10)] = 1
    """Hedges of one call, the first attempt not counted."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HedgeFields]) -> None: ...

        def replace(self, **changes: Unpack[HedgeFields]) -> Self: ...  # type: ignore[override]
