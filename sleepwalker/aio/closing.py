"""Closes connections of any kind for an `AsyncConnectionManager`."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from sleepwalker.aio.connection import AsyncConnection, close_now
from sleepwalker.connection.base import ConnectionBase
from sleepwalker.connection.guard import CLOSING
from sleepwalker.connection.kinds import as_connection
from sleepwalker.connection.retiring import Closing
from sleepwalker.drivers.aio.loops import in_loop, running_loop
from sleepwalker.drivers.aio.tasks import Tasks


class AsyncClosing(Closing):
    """Closes connections by their `aclose` or `close`. If that must be awaited, a task does it."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def close(self, conn: Any) -> None:
        """Close a connection. Without a loop, one whose `close` is a coroutine function cannot be closed.

        One of ours then gives up its sockets.
        """
        if issubclass(type(conn), AsyncConnection) and type(conn).close is AsyncConnection.close:
            self._here(close_now, conn)  # at once: its users' next calls are refused
            return
        close = next(filter(callable, (getattr(conn, name, None) for name in CLOSING)), None)
        if close is None:
            return
        closing = close()
        if inspect.isawaitable(closing) and not self._tasks.start_anywhere(_quietly(closing), "sleepwalker close"):
            self.leave(closing)
            if (ours := as_connection(conn)) is not None:
                ours.retire()

    def retire(self, conn: ConnectionBase) -> None:
        """Make one of our connections give up its sockets."""
        conn.usage.retired = True
        self._here(conn.retire)

    def _here(self, act: Callable[..., object], *args: Any) -> None:
        """Call `act` in the loop, if there is one: sockets are closed there."""
        loop = self._tasks.loop or running_loop()
        if loop is None or loop.is_closed():
            act(*args)
        else:
            in_loop(loop, act, *args)


async def _quietly(closing: Awaitable[object]) -> None:
    with contextlib.suppress(Exception):  # a connection that fails to close is gone anyway
        await closing
