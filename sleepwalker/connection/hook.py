"""Hooks: they create connections for a manager."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

__all__ = ["ConnectionHook", "Hook", "check_hook"]

_C_co = TypeVar("_C_co", covariant=True)

# For checkers `connect` is abstract, so that a hook without one is found. At run time the base can be made, and says so
# when it is asked.
if TYPE_CHECKING:
    from abc import ABC, abstractmethod
else:
    ABC = object

    def abstractmethod(function):
        return function


class Hook(Protocol[_C_co]):
    """What a manager accepts as a hook: a `ConnectionHook`, or any object with such a `connect`."""

    def connect(self, host: str, auth: Any, /) -> _C_co | None:
        """A connection to `host` with `auth`; None if this hook does not know the host."""
        ...


class ConnectionHook(ABC):
    """Creates connections for a manager. Subclass it, and pass an instance to `ConnectionManager.add_conn_hook`.

    Example:
        ```python
        class Login(ConnectionHook):
            def connect(self, host: str, auth: Any) -> Connection | None:
                return Connection(host, auth, policy="careful") if host.startswith("https://") else None

        manager.add_conn_hook(Login())
        ```
    """

    @abstractmethod
    def connect(self, host: str, auth: Any) -> Any:
        """Return a connection to `host` with `auth`, or None if this hook does not know the host.

        `host` is exactly what `find` was given. `auth` is what `find` was given: credentials, or any value that the
        hook understands. The connection may be any object; a `Connection` has policies and health. The hook has
        `timeout.total` of the policy to finish. If it cannot connect, it raises `ConnectionError`, `HTTPError` or an
        `OSError`, and the manager calls the next hook. Any other exception reaches the callers of `find`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement connect(host, auth)")


def check_hook(hook: Any) -> None:
    """Refuse an object that is not a hook: TypeError."""
    if isinstance(hook, type):
        raise TypeError(f"hook is the class {hook.__name__}: pass an instance of it")
    if not callable(getattr(hook, "connect", None)):
        raise TypeError(
            f"hook must have a method connect(host, auth), as ConnectionHook has; {type(hook).__name__} has none"
        )


def refuse_coroutines(hook: Any) -> None:
    """Refuse a hook with a coroutine function, because a `ConnectionManager` awaits nothing: TypeError."""
    if inspect.iscoroutinefunction(getattr(hook, "connect", None)):
        raise TypeError(
            f"hook: connect of {type(hook).__name__} is a coroutine function, which ConnectionManager does not await; "
            "add it to a sleepwalker.aio.AsyncConnectionManager, or make it a plain function"
        )
