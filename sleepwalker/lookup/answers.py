"""What the answer of a hook means: a connection, no such host, or a failure as connections fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sleepwalker.exceptions import ConnectionError, HTTPError
from sleepwalker.lookup.foreign import Answer, Hook, says_closed

#: A hook that raises one of these failed to connect (requests' exceptions are OSErrors). Any other error is a bug.
HOOK_FAILURES = (ConnectionError, HTTPError, OSError)


def answer_of(
    hook: Hook,
    conn: Any,
    error: Exception | None,
    duration: float,
    *,
    target: Callable[[Any], str],
    words: Callable[[Exception], str],
) -> Answer:
    """The answer of a hook that returned `conn`, or raised one of `HOOK_FAILURES`.

    It runs code of connections and exceptions: hold no lock.

    Args:
        hook: The hook.
        conn: What it returned; None for a host that it does not know.
        error: What it raised, if anything.
        duration: How long it took, in seconds.
        target: A function that returns where a connection goes.
        words: A function that describes an error without secrets.
    """
    kind = type(hook).__name__
    if conn is not None:
        if not says_closed(conn):
            return Answer(kind, duration, conn, target(conn))
        error = ConnectionError("it returned a closed connection")
    if error is None:
        return Answer(kind, duration)
    return Answer(kind, duration, error=type(error).__name__, detail=words(error))
