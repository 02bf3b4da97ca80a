"""Event logs for applications that have no logging of their own."""

from __future__ import annotations

import os

from sleepwalker.events import Level
from sleepwalker.telemetry.jsonl import JsonLines
from sleepwalker.telemetry.log import LEVELS, send_to

__all__ = ["configure", "reset"]


def configure(path: str | os.PathLike[str] | None = None, level: Level = "info") -> None:
    """Write every event of `level` and above as one JSON line to the file `path`, or to stderr.

    Lines are appended, and each is written at once. A line has `timestamp` (ISO 8601, UTC, milliseconds),
    `level` and `event`, then the event's fields, then what the application bound through
    `structlog.contextvars`. This takes precedence over structlog and over the standard library's
    logging until `reset`. Called again, the later call wins and the earlier file is closed, so calling
    it with the same path after the file was rotated away starts a new one.

    A new file is made with mode 0640, or less where the umask says so; one that is there and lets others do more is
    warned of. The file is a regular one, or `/dev/stdout` and its like. A link is followed where this user or root made
    it, and to a file of theirs.

    Raises `ValueError` for a level other than debug, info, warning or error, and `OSError` for a path that
    cannot be written to or is no regular file; what was configured before stays then.
    """
    if level not in tuple(LEVELS):  # a tuple: it can be asked about a value that has no hash
        raise ValueError(f"level: {level!r} is not one of {', '.join(LEVELS)}")
    send_to(JsonLines(path, LEVELS[level]))


def reset() -> None:
    """Undo `configure`: close its file, and leave events to the application's own logging again."""
    send_to(None)
