"""`AsyncConnectionManager`: one connection per <host, auth>, as of a `ConnectionManager`, found by tasks."""

from __future__ import annotations

from threading import get_ident
from types import TracebackType
from typing import Self

from sleepwalker.aio.finder import AsyncFinder
from sleepwalker.aio.found import AsyncFound_co
from sleepwalker.aio.hook import AsyncHook
from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.connection.managing import ManagerBase
from sleepwalker.connection.settings import check_wait
from sleepwalker.frames import empty_frames
from sleepwalker.lookup.fast import at_hand
from sleepwalker.lookup.foreign import EMPTY


class AsyncConnectionManager(ManagerBase[Clock, AsyncFound_co]):
    """What `ConnectionManager` is to threads: the same arguments, methods and rules, and `find` and `close` awaited.

    A hook's `connect` may be a coroutine function, which runs in a task of its own, or a plain function, which runs in
    a thread of its own. A caller that is cancelled cuts neither: others may wait for it, and what it gives is held.

    With `guard` the request-like coroutine functions of what is no `AsyncConnection`, and those methods of an
    `aiohttp.ClientSession`, go through the policy, and an attempt whose time is over is cancelled. Plain functions are
    passed through, for a wait of theirs would block the loop. What is given up is closed by its `aclose`, or its
    `close`, which may be coroutine functions.

    `hosts` may be those of a `ConnectionManager`, and the other way round: threads and tasks see one circuit.

    It works in the event loop in which it was first asked, and in another one once that is closed. The methods that are
    not awaited may be called from any thread, also where no loop runs.

    To checkers it finds `AsyncConnection` objects. Where hooks make others, name their type:
    `AsyncConnectionManager[Client]()`.

    Example:
        ```python
        async with AsyncConnectionManager(policy="interactive") as manager:
            manager.add("https://api.example.com", None, AsyncConnection("https://api.example.com", ANONYMOUS))
            item = await (await manager.find("https://api.example.com")).json_request("GET", "/items/7")
        ```
    """

    _finder: AsyncFinder
    _own_clock = SYSTEM_CLOCK
    _made = AsyncFinder

    def add_conn_hook(self, hook: AsyncHook[AsyncFound_co]) -> None:
        """Ask `hook` as well from now on, after those added before. Its `connect` may be a coroutine function."""
        self._add_hook(hook)

    async def find(self, host: str, auth: object = None, *, timeout: float | None = None) -> AsyncFound_co:  # noqa: ASYNC109 - as with threads
        """The connection to `host` with `auth`, from the hooks if there is none yet or the one there is broken.

        One that is at hand is returned without a turn of the loop. `timeout` is how many seconds to wait for the hooks
        at most, the policy's `timeout.total` by default; what they make later is there for the next `find`. With
        `float("inf")` there is no bound.

        Raises what `ConnectionManager.find` raises, and RuntimeError in another loop than the manager's.
        """
        key: object = None
        try:
            if timeout is not None:
                check_wait(timeout)
            finder = self._finder
            # Python 3.11 takes a third of the time that all this takes to say which loop is running.
            if (loop := finder.loop) is None or get_ident() != finder.thread or not loop.is_running():
                finder.enter()
            conn, key = at_hand(self._lookup, host, auth)
            found: AsyncFound_co = (
                await finder.found(finder.search(host, auth, timeout, key)) if conn is EMPTY else conn
            )
            return found
        except BaseException as error:
            empty_frames(error)
            raise
        finally:
            del host, auth, key

    async def close(self) -> None:
        """Close and forget all connections, for good: a later `find` raises `ConnectionError`.

        Hooks that are at work in tasks are cancelled, those in threads left alone. It returns once all that has to be
        waited for is closed.
        """
        try:
            self._finder.enter()
            self._finder.close()
            await self._finder.ended()
        finally:
            if self._joined is not None:
                self._joined.leave(self)

    async def __aenter__(self) -> Self:
        self._finder.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
