"""`TimeoutPolicy`: how long things may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypedDict, Unpack

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.constraints import Constraint, at_most, connect_fits_total, free_header
from sleepwalker.policy.values import HeaderName, Seconds


class TimeoutFields(TypedDict, total=False):
    """The fields of a `TimeoutPolicy`, as keyword arguments or as a dict: which, and of what types."""

    connect: float
    read: float
    attempt: float
    total: float
    propagate: str | Literal[False] | None


class TimeoutPolicy(PolicyModel, frozen=True):
    """How long things may take, in seconds. Every limit also holds while a server sends one byte at a time.

    Example:
        ```python
        policy = Policy(timeout=TimeoutPolicy(connect=1, attempt=4, total=10))
        ```
    """

    constraints: ClassVar[tuple[Constraint, ...]] = (
        at_most("connect", "attempt"),
        at_most("attempt", "total"),
        connect_fits_total,
        free_header("propagate"),
    )

    connect: Seconds = 3.05
    """Seconds to connect, including name look-up and TLS handshake. A little more than 3, so that a lost first
    packet, sent again after 1 s and after another 2 s, can still arrive."""
    read: Seconds = 10.0
    """Seconds between two bytes of the response, and from the request to its first byte. A value above `attempt` has no
    effect, except on streamed bodies."""
    attempt: Seconds = 10.0
    """Seconds for one attempt, from connecting to the last byte of the body (of the head, for a stream). One stuck
    attempt leaves time for another."""
    total: Seconds = 30.0
    """Seconds that the caller waits at most, for all attempts, the waits between them, and queueing."""
    propagate: HeaderName | None = None
    """Header that tells the server how many seconds are left for its response, such as `X-Request-Timeout`. So the
    server can stop working when the caller has given up. Off by default."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[TimeoutFields]) -> None: ...

        def replace(self, **changes: Unpack[TimeoutFields]) -> Self: ...  # type: ignore[override]
