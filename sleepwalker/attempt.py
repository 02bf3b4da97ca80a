"""The record of one attempt, as callers, exceptions and events see it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sleepwalker.frozen import frozen


@frozen
class Attempt:
    """One send of a call, and what came of it. Times are in seconds.

    `error` is text rather than the exception: an exception that holds itself through its
    attempts would keep its frames, and the bodies in them, alive until the next collection.
    """

    number: int
    """1 for the first send."""
    start: float
    """When it began, since the call began."""
    duration: float
    """How long it took, the body included."""
    status: int | None = None
    """The answer's status code, None where no answer came."""
    error: str | None = None
    """The exception's type and text where no answer came, e.g. `ConnectError: http://h:1 refused …`."""
    wait: float = 0.0
    """How long the call had waited before this attempt."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return asdict(self)
