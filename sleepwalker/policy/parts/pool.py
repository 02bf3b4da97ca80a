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
    """Seconds after which an idle socket is not used again. Below 60 s, because common servers and load balancers close
    it then, and a request sent at that moment is lost. 0 never reuses a socket. If a server's `Keep-Alive: timeout=` is
    shorter, that applies, less 1 s."""
    max_age: Seconds | None = 300.0
    """Seconds after which even a busy socket is not used again, ±10 % so that those of many processes do not end
    together. Within this time calls follow a name that moved, and reach new machines. False: no limit."""
    block: bool = False
    """Whether a call waits for a socket when `size` are in use, rather than opening another."""
    require_close_notify: bool = True
    """Whether a body that ends with its TLS connection counts as whole only after TLS's close_notify. Without it,
    anyone on the network path may have cut the connection. Set False for old servers that send none. Chunked bodies,
    and bodies with a length, do not need it."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PoolFields]) -> None: ...

        def replace(self, **changes: Unpack[PoolFields]) -> Self: ...  # type: ignore[override]
