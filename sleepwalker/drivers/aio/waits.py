"""The waits of a connection's calls, which all end when it closes."""

from __future__ import annotations

import asyncio
from functools import partial

from sleepwalker.drivers.aio.loops import finish, in_loop, until_done
from sleepwalker.engine import Waiter


class Waits:
    """Waits of tasks. Any thread may end them."""

    __slots__ = ("_waiting", "over")

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self.over: bool = False
        """Whether `end` was called: then every wait ends at once."""

    async def pause(self, seconds: float) -> bool:
        """Wait for `seconds`; True if the connection had been closed."""
        if not self.over:
            await until_done(asyncio.get_running_loop().create_future(), seconds, self._waiting)
        return self.over

    async def queue(self, waiter: Waiter, seconds: float) -> bool:
        """Wait until the waiter is woken, at most `seconds`; True if the connection had been closed."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        waiter.notify = partial(in_loop, loop, finish, woken)
        try:
            # Checked after `notify` is set: a change is seen here, or wakes it.
            if not self.over and not waiter.woken:
                await until_done(woken, seconds, self._waiting)
            return self.over
        finally:
            waiter.notify = None

    def end(self) -> None:
        """End all waits, present and future."""
        self.over = True
        for waiting in tuple(self._waiting):
            in_loop(waiting.get_loop(), finish, waiting)
