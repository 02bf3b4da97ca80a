"""The result of a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import requests

from sleepwalker.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Download:
    """A completely downloaded file.

    Example:
        ```python
        done = conn.download("/releases/app.tar.gz", "app.tar.gz")
        print(done.path, done.size, "bytes,", done.resumed, "of them from before,", len(done.attempts), "attempts")
        ```
    """

    path: Path
    """Where it is."""
    size: int
    """Its bytes."""
    resumed: int
    """How many of them were there before the call and were kept."""
    attempts: tuple[Attempt, ...]
    """What was tried, each with how far it `reached`."""
    response: requests.Response
    """The last response, with its status and headers. Its body is in the file."""
