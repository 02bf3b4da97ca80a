"""What a connection's calls came to, for the manager that holds it, and whether one does."""

from __future__ import annotations

from sleepwalker.connection.held import Held


class Usage:
    """Plain values: a manager reads and sets them under its lock without running the code of whoever subclassed."""

    __slots__ = ("accepted", "held", "last_used", "retired", "unauthorized")

    def __init__(self, now: float) -> None:
        self.last_used = now
        """When the connection was last called, or made, on its clock."""
        self.held: tuple[Held, ...] = ()
        """The pairs that managers hold the connection for, or held it for."""
        self.retired = False
        """Whether a manager gave the connection up, so that it keeps no sockets."""
        self.unauthorized = False
        """Whether an answer was a 401: its credentials may have to be renewed."""
        self.accepted = False
        """Whether an answer was anything else."""
