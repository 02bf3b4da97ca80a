"""How a connection's calls ended, and the pairs for which managers hold it."""

from __future__ import annotations

from sleepwalker.lookup.held import Held


class Usage:
    """Plain values. A manager reads and sets them under its lock, where no code of a subclass may run."""

    __slots__ = ("accepted", "held", "last_used", "retired", "unauthorized")

    def __init__(self, now: float) -> None:
        self.last_used: float = now
        """When the connection was last called, or made, on its clock."""
        self.held: tuple[Held, ...] = ()
        """The pairs that managers hold the connection for, or held it for."""
        self.retired: bool = False
        """Whether a manager gave the connection up, so that it keeps no sockets."""
        self.unauthorized: bool = False
        """Whether a response was a 401: its credentials may have to be renewed."""
        self.accepted: bool = False
        """Whether a response was anything else."""

    def asked_for(self, origin: str) -> str | None:
        """The name that `find` was given, if it is not `origin`; the first one if several names lead here."""
        held = self.held
        return held[0].name if held and held[0].name != origin else None
