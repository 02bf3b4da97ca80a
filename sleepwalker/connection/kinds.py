"""Tells the kind of a connection object: one of ours, a guard, a scope, or a foreign object."""

from __future__ import annotations

from typing import Any

from sleepwalker.connection.base import ConnectionBase
from sleepwalker.connection.guard import unguarded
from sleepwalker.connection.usage import Usage
from sleepwalker.lookup.foreign import says_closed
from sleepwalker.transport.url import Origin


def bare(conn: Any) -> Any:
    """The connection behind a guard or a scope. Runs no user's code."""
    conn = unguarded(conn)
    kind: Any = type(conn)
    return conn if not issubclass(kind, ConnectionBase) or conn._whole is None else conn._whole


def as_connection(conn: Any) -> ConnectionBase | None:
    """`conn` if it is one of ours. A proxy of one counts; a mock that only claims to be one does not.

    Like `says_closed`, this may run code of the object's class, so call it without a lock.
    """
    ours = isinstance(conn, ConnectionBase) and type(getattr(conn, "usage", None)) is Usage
    return conn if ours and isinstance(conn.origin, Origin) else None


def seems_good(conn: object) -> bool:
    """Whether a connection is worth keeping, as far as that can be told outside a manager."""
    ours = as_connection(conn)
    if ours is None:
        return not says_closed(conn)
    if ours.closed or (ours.usage.unauthorized and ours.policy.health.unauthorized_evicts):
        return False
    return ours.health.state not in ("broken", "isolated")
