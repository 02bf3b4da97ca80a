"""Background tasks: kept alive, and awaited when their owner ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sleepwalker.drivers.aio.loops import in_loop, running_loop

T = TypeVar("T")


class Tasks:
    """The tasks of one owner, all in one loop at a time. The loop itself does not keep tasks alive."""

    __slots__ = ("_all", "loop")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that they run in, set by the owner. Tasks of an earlier loop ended when that was closed."""
        self._all: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task in the running loop."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._all.add(task)
        task.add_done_callback(self._over)
        return task

    def start_anywhere(self, work: Coroutine[Any, Any, Any], name: str) -> bool:
        """Start a task from any thread. Returns False, and does nothing, if there is no loop to run it."""
        loop = self.loop or running_loop()
        if loop is None or loop.is_closed():
            work.close()
            return False
        in_loop(loop, self.start, work, name)
        return True

    def cancel(self) -> None:
        """Cancel all of them except the calling one."""
        for task in self._others():
            task.cancel()

    async def ended(self) -> None:
        """Wait until all of them have ended, except the waiting one."""
        while others := self._others():
            await asyncio.wait(others)

    def _others(self) -> list[asyncio.Task[Any]]:
        me = asyncio.current_task() if running_loop() is not None else None
        return [task for task in tuple(self._all) if task is not me and task.get_loop() is self.loop]

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._all.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            told = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(told)
