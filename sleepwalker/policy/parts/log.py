"""`LogPolicy`: how much is written about calls that got a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypedDict, Unpack

from pydantic import Field

from sleepwalker.policy.base import PolicyModel


class LogFields(TypedDict, total=False):
    """The fields of a `LogPolicy`, as keyword arguments or as a dict: which, and of what types."""

    finished: Literal["debug", "info", "warning", "error", "off"]
    sample: float
    rejections: float


class LogPolicy(PolicyModel, frozen=True):
    """How much is logged of calls with a response, and of calls refused before sending. Other failures are always
    logged.

    Example:
        ```python
        policy = Policy(log=LogPolicy(finished="debug", sample=0.01))
        ```
    """

    finished: Literal["debug", "info", "warning", "error", "off"] = "info"
    """Level of `request.finished`, or `off`."""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the calls with a response that are logged: 0.01 keeps one in a hundred, 0 none."""
    rejections: Annotated[float, Field(ge=0.0001, le=1_000_000)] = 1.0
    """How many times a second a host's refused calls are logged. The first one is logged at once; the others are
    grouped, and each line says how many calls it stands for. 1000000 logs each."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[LogFields]) -> None: ...

        def replace(self, **changes: Unpack[LogFields]) -> Self: ...  # type: ignore[override]
