"""`AsyncConnectionManager`: the `ConnectionManager` for tasks, with one connection per <host, auth>."""

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
    """`ConnectionManager` for asyncio: the same arguments, methods and rules. `find` and `close` are awaited.

    The `connect` of a hook may be a coroutine function, which runs in a separate task, or a plain function, which runs
    in a separate thread. Cancelling a caller stops neither: others may wait for the hook, and its connection is kept.

    With `guard`, the request coroutine functions of objects that are not an `AsyncConnection` go through the policy,
    and so do those methods of an `aiohttp.ClientSession`. An attempt that runs out of time is cancelled. Plain
    functions are passed through, because their waits would block the loop. An evicted object is closed with its
    `aclose` or `close`, which may be coroutine functions.

    `hosts` may be those of a `ConnectionManager`, and vice versa: threads and tasks then share one circuit per host.

    A manager belongs to the event loop of its first `find`. Once that loop is closed, it can be used in another one.
    Methods that are not awaited may be called from any thread, also without a running loop.

    For type checkers the connections are `AsyncConnection` objects. If hooks return another type, name it:
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
        """Add a hook, to be called after those added before. Its `connect` may be a coroutine function."""
        self._add_hook(hook)

    async def find(self, host: str, auth: object = None, *, timeout: float | None = None) -> AsyncFound_co:  # noqa: ASYNC109 - as with threads
        """Return the connection to `host` with `auth`. Hooks create it if there is none or it is broken.

        A connection at hand is returned without yielding to the loop. `timeout` is the longest wait for the hooks, in
        seconds; the default is the policy's `timeout.total`, and `float("inf")` means no limit. A connection that they
        create later is kept for the next `find`.

        Raises what `ConnectionManager.find` raises, and RuntimeError in another event loop than the manager's.
        """
        key: object = None
        try:
            if timeout is not None:
                check_wait(timeout)
            finder = self._finder
            # In Python 3.11, asking which loop is running would take a third of the time of all this.
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
        """Close and forget all connections, permanently: a later `find` raises `ConnectionError`.

        Hooks in tasks are cancelled; hooks in threads continue. `close` returns when all connections are closed.
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
