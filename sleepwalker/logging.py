"""Event logs for applications without logging of their own."""

from __future__ import annotations

import os

from sleepwalker.events import Level
from sleepwalker.telemetry.jsonl import JsonLines
from sleepwalker.telemetry.log import LEVELS, send_to

__all__ = ["configure", "reset"]


def configure(path: str | os.PathLike[str] | None = None, level: Level = "info") -> None:
    """Write every event of `level` and above as one JSON line to the file `path`, or to stderr.

    Lines are appended and written at once. A line has `timestamp` (ISO 8601, UTC, milliseconds), `level` and `event`,
    then the event's fields, then what the application bound through `structlog.contextvars`. Until `reset`, this takes
    precedence over structlog and the standard library's logging. A later call replaces an earlier one and closes its
    file. So after a rotation, calling it with the same path starts a new file.

    A new file gets mode 0640, or less if the umask says so. A warning says if an existing file allows more to others.
    The path must be a regular file, or `/dev/stdout` and its like. A symbolic link is followed if this user or root
    made it, and if it leads to a file of theirs.

    Raises `ValueError` for a level other than debug, info, warning or error, and `OSError` for a path that cannot be
    written to or is not a regular file. The earlier configuration then stays.
    """
    if level not in tuple(LEVELS):  # a tuple: it can be asked about a value that has no hash
        raise ValueError(f"level: {level!r} is not one of {', '.join(LEVELS)}")
    send_to(JsonLines(path, LEVELS[level]))


def reset() -> None:
    """Undo `configure`: close its file, and return events to the application's own logging."""
    send_to(None)
