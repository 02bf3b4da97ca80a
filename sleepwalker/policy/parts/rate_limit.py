"""`RateLimitPolicy`: how many calls per second are sent to one host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypedDict, Unpack

from pydantic import Field

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.values import Count, Mode, SecondsOrZero


class RateLimitFields(TypedDict, total=False):
    """The fields of a `RateLimitPolicy`, as a dict: which, and of what types. A limit made anew needs `rate`."""

    rate: float
    burst: int | Literal[False] | None
    max_wait: float
    per: Literal["host", "credentials"]
    mode: Mode


class RateLimitPolicy(PolicyModel, frozen=True):
    """How many calls per second are sent to one host, for servers with a rate limit.

    Example:
        ```python
        policy = Policy(rate_limit=RateLimitPolicy(rate=5, burst=10, per="credentials"))
        ```
    """

    rate: Annotated[float, Field(ge=0.0001, le=1_000_000)]
    """Calls per second on average. It has no default: only the server's operator knows the limit."""
    burst: Count | None = None
    """Calls that may be sent at once after a pause. False: one second's worth, at least 1."""
    max_wait: SecondsOrZero = 0.0
    """Seconds that a call waits for its token. 0 rejects at once."""
    per: Literal["host", "credentials"] = "host"
    """Which calls are counted together: all of the `host`, or all with the same `credentials`, for servers that count
    per account or key. Credentials are `auth=` or the header `Authorization`; calls without any are counted
    together."""
    mode: Mode = "enforce"
    """`enforce` rejects calls; `observe` only reports what it would have done."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            rate: float,
            burst: int | Literal[False] | None = ...,
            max_wait: float = ...,
            per: Literal["host", "credentials"] = ...,
            mode: Mode = ...,
        ) -> None: ...

        def replace(self, **changes: Unpack[RateLimitFields]) -> Self: ...  # type: ignore[override]
