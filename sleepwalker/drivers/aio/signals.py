"""A signal that tasks wait for. Any thread can set it, once."""

from __future__ import annotations

import asyncio

from sleepwalker.drivers.aio.loops import finish, in_loop, until_done

#: Seconds that one wait lasts at most: not all loops take infinity for a time.
_LONGEST = 3600.0


class Signal:
    """A `Latch` for tasks: once set, it stays set. It belongs to no loop, and its waiters may be in several."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: set[asyncio.Future[None]] = set()

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._set

    def set(self) -> None:
        """Wake all waiters, present and future. From any thread."""
        self._set = True
        for waiting in tuple(self._waiting):
            in_loop(waiting.get_loop(), finish, waiting)

    async def wait(self, seconds: float) -> bool:
        """Wait until it is set, at most `seconds` and at most an hour; returns whether it is set."""
        if self._set or seconds <= 0:
            return self._set
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        if self._set:  # checked again now that the future is known to `set`
            self._waiting.discard(future)
        else:
            await until_done(future, min(seconds, _LONGEST), self._waiting)
        return self._set
