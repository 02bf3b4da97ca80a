"""Tasks that go on by themselves: kept alive, and waited for where their owner ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sleepwalker.drivers.aio.loops import in_loop, running_loop

T = TypeVar("T")


class Tasks:
    """The tasks of one owner, all in one loop at a time. A loop itself would not keep them alive."""

    __slots__ = ("_all", "loop")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The one that they run in, set by the owner. Those of another one that was closed have ended with it."""
        self._all: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start one in the running loop."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._all.add(task)
        task.add_done_callback(self._over)
        return task

    def start_anywhere(self, work: Coroutine[Any, Any, Any], name: str) -> bool:
        """Start one from any thread; False, and nothing done, where no loop is there to run it."""
        loop = self.loop or running_loop()
        if loop is None or loop.is_closed():
            work.close()
            return False
        in_loop(loop, self.start, work, name)
        return True

    def cancel(self) -> None:
        """Cancel all of them but the one that asks."""
        for task in self._others():
            task.cancel()

    async def ended(self) -> None:
        """Wait until all of them have ended but the one that waits."""
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
