"""The record of one attempt, as callers, exceptions and events see it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sleepwalker.value import Value, value_type


@value_type
class Attempt(Value):
    """One send of a call, and its result; frozen. Times are in seconds.

    `error` is text, not the exception: an exception that refers to itself through its attempts would keep its frames,
    and the bodies in them, alive until the next garbage collection.

    Example:
        ```python
        for attempt in conn.get("/items").attempts:
            print(attempt.number, attempt.status or attempt.error, f"{attempt.duration:.3f} s")
        ```
    """

    number: int
    """1 for the first send."""
    start: float
    """When it began, since the call began."""
    duration: float
    """How long it took, the body included."""
    status: int | None = None
    """The response's status code, None where no response came."""
    error: str | None = None
    """The exception's type and text where no response came, e.g. `ConnectError: http://h:1 refused …`.

    Of a download also beside a `status`: what broke its body off.
    """
    wait: float = 0.0
    """How long the call had waited before this attempt."""
    reached: int | None = None
    """Of a download: how many bytes of the file were there at its end. Else None."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return asdict(self)
