"""The waits of a connection's calls, which all end when it closes."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from sleepwalker.engine import Waiter


class Waits:
    """Waits of tasks. `end` is called in the loop's own thread; the waiters of a host may be woken from any."""

    __slots__ = ("_waiting", "over")

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self.over: bool = False
        """Whether `end` was called: then every wait ends at once."""

    async def pause(self, seconds: float) -> bool:
        """Wait for `seconds`; True if the connection was closed meanwhile."""
        if not self.over:
            await self._wait(asyncio.get_running_loop().create_future(), seconds)
        return self.over

    async def queue(self, waiter: Waiter, seconds: float) -> bool:
        """Wait until the waiter is woken, `seconds` at most; True if the connection was closed meanwhile."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        waiter.notify = partial(_wake, loop, woken)
        try:
            # Looked at once `notify` is there: a change is seen here, or wakes it.
            if not self.over and not waiter.woken:
                await self._wait(woken, seconds)
            return self.over
        finally:
            waiter.notify = None

    def end(self) -> None:
        """End all waits, also those to come."""
        self.over = True
        for waiting in tuple(self._waiting):
            _finish(waiting)

    async def _wait(self, future: asyncio.Future[None], seconds: float) -> None:
        """Until the future is done, for so many seconds at most."""
        timer = future.get_loop().call_later(seconds, _finish, future)
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            timer.cancel()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    """Finish a future of `loop`, from any thread."""
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        _finish(future)
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed, and with it ended whoever waited
        loop.call_soon_threadsafe(_finish, future)
