"""`PoolPolicy`: how many sockets are kept open to a host, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypedDict, Unpack

from pydantic import Field

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.values import Seconds, SecondsOrZero


class PoolFields(TypedDict, total=False):
    """The fields of a `PoolPolicy`, as keyword arguments or as a dict: which, and of what types."""

    size: int
    idle: float
    max_age: float | Literal[False] | None
    block: bool
    require_close_notify: bool


class PoolPolicy(PolicyModel, frozen=True):
    """How many sockets are kept open to a host, and for how long.

    Example:
        ```python
        policy = Policy(pool=PoolPolicy(size=8, max_age=60))
        ```
    """

    size: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Idle sockets kept per connection: about as many as threads use it at a time."""
    idle: SecondsOrZero = 50.0
    """Seconds after which an idle socket is not used again. Less than the 60 s after which common servers and load
    balancers close it: a request sent just then is lost. 0 never reuses one. If a server's `Keep-Alive: timeout=` is
    shorter, that counts, less 1 s."""
    max_age: Seconds | None = 300.0
    """Seconds after which a socket is not used again even if it is busy, ±10 % so that a fleet's do not all end
    together: within this time calls follow a name that moved, and reach new machines. False: no limit."""
    block: bool = False
    """Whether a call waits for a socket when `size` are in use, rather than opening another."""
    require_close_notify: bool = True
    """Whether a body that ends with its TLS connection counts as whole only if TLS's close_notify came: without it,
    anyone in between may have cut the connection. False for old servers that send none. Bodies with a length and
    chunked ones say themselves where they end, and do not need it."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PoolFields]) -> None: ...

        def replace(self, **changes: Unpack[PoolFields]) -> Self: ...  # type: ignore[override]
