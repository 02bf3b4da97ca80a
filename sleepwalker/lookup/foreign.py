"""What a lookup knows of connections, which may be objects of any kind: values read while no lock was held."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from sleepwalker.engine import Host
from sleepwalker.lookup.held import Held, Holding


class _Empty:
    def __repr__(self) -> str:
        return "EMPTY"


#: What a slot without a connection holds; None is a connection like any other object here.
EMPTY: Any = _Empty()


class Usage(Protocol):
    """What a connection's calls came to. Plain values, which are read and set without running a user's code."""

    last_used: float
    held: tuple[Held, ...]
    retired: bool
    unauthorized: bool
    accepted: bool


class Own(Protocol):
    """A connection of the library's own kinds, which can be probed."""

    @property
    def retired(self) -> bool:
        """Whether it keeps no sockets any more."""


class Hook(Protocol):
    """What makes connections."""

    def connect(self, host: str, auth: Any) -> Any:
        """A connection to `host`, or None if this hook does not know it. A driver may await what it gets."""


class Candidate(NamedTuple):
    """A connection that a slot can hold, looked at while no lock was held, for that may run a user's code."""

    conn: Any
    """What `find` gives: the connection, or a guard of it."""
    bare: Any
    """The connection itself."""
    own: Own | None
    """The connection, if it is one of the library's own kinds."""
    usage: Usage | None
    record: Host
    """The record that it counts in."""
    holding: Holding | None
    """What its usage, if it has one, is to say of the slot."""


class Answer(NamedTuple):
    """What one hook said."""

    hook: str
    """Its type."""
    duration: float
    """How long it took, in seconds."""
    conn: Any = EMPTY
    target: str = ""
    """Where the connection goes, or its type."""
    error: str | None = None
    """The type of the exception with which it failed as connections fail."""
    detail: str = ""
    """The same in words, without secrets."""


def says_closed(conn: Any) -> bool:
    """Whether a connection says that it is closed, in so many words: others count, or mock.

    Its `closed` may be a user's code, which takes its time or asks the manager, so no lock is held meanwhile.
    """
    try:
        return getattr(conn, "closed", False) is True
    except Exception:  # noqa: BLE001 - an object that cannot say is not known to be closed
        return False
