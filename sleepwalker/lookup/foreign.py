"""What a lookup knows of connections of any kind: values that were read without a lock."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from sleepwalker.engine import Host
from sleepwalker.lookup.held import Held, Holding


class _Empty:
    def __repr__(self) -> str:
        return "EMPTY"


#: What a slot without a connection holds. None would be a connection, like any other object.
EMPTY: Any = _Empty()


class Usage(Protocol):
    """How a connection's calls ended. Plain values, which are read and set without running a user's code."""

    last_used: float
    held: tuple[Held, ...]
    retired: bool
    unauthorized: bool
    accepted: bool


class Own(Protocol):
    """A connection of one of the library's own kinds, which can be probed."""

    @property
    def retired(self) -> bool:
        """Whether it no longer keeps sockets."""


class Hook(Protocol):
    """An object that creates connections."""

    def connect(self, host: str, auth: Any) -> Any:
        """A connection to `host`, or None if this hook does not know it. A driver may await the result."""


class Candidate(NamedTuple):
    """A connection that a slot can hold. It was examined without a lock, because that may run a user's code."""

    conn: Any
    """What `find` returns: the connection, or a guard of it."""
    bare: Any
    """The connection itself."""
    own: Own | None
    """The connection, if it is one of the library's own kinds."""
    usage: Usage | None
    record: Host
    """The record that it counts in."""
    holding: Holding | None
    """What to note in its usage, if it has one, about the slot."""


class Answer(NamedTuple):
    """The answer of one hook."""

    hook: str
    """Its type."""
    duration: float
    """How long it took, in seconds."""
    conn: Any = EMPTY
    target: str = ""
    """Where the connection goes, or its type."""
    error: str | None = None
    """The type of the exception, if the hook failed to connect."""
    detail: str = ""
    """The same in words, without secrets."""


def says_closed(conn: Any) -> bool:
    """Whether a connection's `closed` is True. Other values do not count: they may be mocks.

    Its `closed` may run a user's code, which may be slow or call the manager, so call this without a lock.
    """
    try:
        return getattr(conn, "closed", False) is True
    except Exception:  # noqa: BLE001 - an object that cannot say is not known to be closed
        return False
