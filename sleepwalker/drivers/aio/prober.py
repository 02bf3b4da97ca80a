"""Probes broken hosts in the background, so that they recover without a user's call."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from sleepwalker.drivers.aio.loops import in_loop
from sleepwalker.drivers.aio.tasks import Tasks

_NAME = "sleepwalker probe"
_Round = Callable[[float], Coroutine[Any, Any, float]]


class Prober:
    """A timer of a loop, and a task for each round. It ends with its owner, with the loop, or on `stop`.

    Between two rounds there is no task, so a loop may end then without pending tasks.
    """

    def __init__(self, tasks: Tasks, probe_all: _Round, interval: float) -> None:
        """`probe_all` gets the seconds waited, `interval` the first time, and returns the seconds to wait next."""
        self._tasks = tasks
        self._probe_all = weakref.WeakMethod(probe_all)
        self._interval = interval
        self._running = self._stopped = False
        self._context = contextvars.Context()
        """Empty: what a caller has set for its own request must not apply to a probe."""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[float] | None = None

    def start(self) -> None:
        """Start, if it is not running. From any thread."""
        loop = self._tasks.loop
        if loop is not None and not self._running:
            self._running = True
            in_loop(loop, self._plan, loop, self._interval)

    def stop(self) -> None:
        """Stop, including a running round. From any thread."""
        self._stopped = True
        if (loop := self._tasks.loop) is not None:
            in_loop(loop, self._end)

    def _plan(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        if not self._stopped:
            self._timer = loop.call_later(interval, self._begin, loop, interval, context=self._context)

    def _begin(self, loop: asyncio.AbstractEventLoop, elapsed: float) -> None:
        self._timer = None
        if (probe_all := self._probe_all()) is not None:
            self._task = self._tasks.start(self._round(loop, probe_all, elapsed), _NAME)

    async def _round(self, loop: asyncio.AbstractEventLoop, probe_all: _Round, elapsed: float) -> float:
        try:
            again = await probe_all(elapsed)
        except BaseException:
            self._running = False
            raise
        self._plan(loop, again)
        return again

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
