"""Closes connections of any kind for an `AsyncConnectionManager`."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable
from typing import Any

from sleepwalker.connection.guard import CLOSING
from sleepwalker.drivers.aio.tasks import Tasks


class Closing:
    """Calls `aclose`, or `close`, of what is to be closed. What that has to wait for is done by a task."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def close(self, conn: Any) -> None:
        """Close a connection. Where no loop is there, one whose `close` is a coroutine function stays as it is."""
        close = next(filter(callable, (getattr(conn, name, None) for name in CLOSING)), None)
        if close is None:
            return
        closing = close()
        if inspect.isawaitable(closing):
            self._tasks.start_anywhere(_quietly(closing), "sleepwalker close")


async def _quietly(closing: Awaitable[object]) -> None:
    with contextlib.suppress(Exception):  # what closes badly is gone all the same
        await closing
