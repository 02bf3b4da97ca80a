"""What hooks said, as `find` passes it on: in texts without secrets, and to each who waits as an error of its own."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable

import requests

from sleepwalker.connection.pair import Fault, Pair
from sleepwalker.exceptions import ConnectionError, HTTPError, SleepwalkerException
from sleepwalker.transport.errors import Scene, translate

#: A word of a hook's own that is not repeated: it may be a URL, a parameter with its value, or move a cursor.
_UNSAID = re.compile(r"//|[@=?#\x00-\x1f\x7f-\x9f]")
_MOST_SAID = 300


def own_copy(error: Exception) -> Exception:
    """The error of another thread's round, to be raised in this one.

    One object raised in several threads would collect the tracebacks of all of them.
    """
    if not isinstance(error, ConnectionError):
        return error
    copied = type(error)(*error.args)
    copied.retry_after, copied.retryable, copied.never_sent = error.retry_after, error.retryable, error.never_sent
    return copied


def hooks_refusal(name: str, said: Iterable[str], fault: Fault | None, *, failed: bool) -> ConnectionError:
    """No hook gave a connection: what each of them said, and why the one before was given up."""
    why = "; ".join(said) or "there is no hook; add one with add_conn_hook, or a connection with add"
    before = "" if fault is None or fault == "failback" else f" (the one before was given up: {fault})"
    error = ConnectionError(f"no connection to {name}: {why}{before}")
    error.retryable, error.never_sent = failed, True
    return error


def too_early(pair: Pair, now: float) -> ConnectionError:
    """There is no connection, and the hooks may not be asked yet."""
    error = ConnectionError(f"{pair.refusal or f'no connection to {pair.name}'}; the hooks are asked again later")
    error.retry_after, error.never_sent = pair.again_at - now, True
    return error


def told(error: Exception, name: str) -> str:
    """What a hook's failure may say here.

    Our own texts are safe, but for those of a status, which are the server's. Those of requests quote URLs with their
    queries, so they are said in our words, and a failure of the system in the system's. Other words are the hook's
    own: what could be part of a URL, or a name with its value, is left out of them.
    """
    kind = type(error).__name__
    if isinstance(error, HTTPError):
        return f"{kind}: {error.http_code}"
    if isinstance(error, SleepwalkerException):
        return f"{kind}: {error}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return f"{kind}: {status}"
    if isinstance(error, requests.RequestException):
        # No handler of ours is active here, so what is being handled is the caller's, and no part of the failure.
        said = translate(error, Scene(name, None, False, "attempt", 0.0, 0.0, 0.0, sys.exception()))
        return f"{kind}: {said}" if isinstance(said, SleepwalkerException) else kind
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return f"{kind}: {os.strerror(number)}"
    if type(error).__module__ not in ("builtins", "socket", "ssl"):
        return kind
    said_by_hook = getattr(error, "strerror", None) or " ".join(map(str, error.args))
    words = ["…" if _UNSAID.search(word) else word for word in str(said_by_hook)[:_MOST_SAID].split()]
    return f"{kind}: {' '.join(words)}" if words else kind
