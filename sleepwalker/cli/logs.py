"""The event log that a command writes for `--log`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sleepwalker import logging
from sleepwalker.cli.parser import UsageError


@contextlib.contextmanager
def events_to(path: Path | None) -> Iterator[None]:
    """A context in which all events are appended to the file as JSON lines. Without a path, nothing happens."""
    if path is None:
        yield
        return
    try:
        logging.configure(path)
    except OSError as error:
        raise UsageError(f"--log: {error}") from None
    try:
        yield
    finally:
        logging.reset()
