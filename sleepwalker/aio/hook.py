"""Hooks: they create connections for an `AsyncConnectionManager`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from sleepwalker.connection.hook import ConnectionHook

__all__ = ["AsyncConnectionHook", "AsyncHook"]

_C_co = TypeVar("_C_co", covariant=True)


class AsyncHook(Protocol[_C_co]):
    """What an `AsyncConnectionManager` accepts as a hook: one of either kind, or any object with such a `connect`."""

    def connect(self, host: str, auth: Any, /) -> Awaitable[_C_co | None] | _C_co | None:
        """A connection to `host` with `auth`; None if this hook does not know the host."""
        ...


class AsyncConnectionHook(ConnectionHook):
    """Makes connections for an `AsyncConnectionManager`: subclass it, and register an object with `add_conn_hook`.

    Example:
        ```python
        class Login(AsyncConnectionHook):
            async def connect(self, host: str, auth: Any) -> AsyncConnection | None:
                return AsyncConnection(host, auth, policy="careful") if host.startswith("https://") else None

        manager.add_conn_hook(Login())
        ```
    """

    @abstractmethod
    def connect(self, host: str, auth: Any) -> Any:
        """As `ConnectionHook.connect`, but it may be a coroutine function.

        A coroutine function runs in a task of its own, which a cancelled caller does not cancel. A plain function runs
        in a thread, because it may wait. The end of the loop does not wait for that thread.
        """
        return super().connect(host, auth)  # type: ignore[safe-super]
