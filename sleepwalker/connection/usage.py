"""What a connection's calls came to, for the manager that holds it."""

from __future__ import annotations


class Usage:
    """Plain values, so that a manager reads them under its lock without running the code of whoever subclassed."""

    __slots__ = ("accepted", "last_used", "unauthorized")

    def __init__(self, now: float) -> None:
        self.last_used = now
        """When the connection was last called, or made, on its clock."""
        self.unauthorized = False
        """Whether an answer was a 401: its credentials may have to be renewed."""
        self.accepted = False
        """Whether an answer was anything else."""
