"""What makes connections for a manager."""

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
    """What a manager takes for a hook: a `ConnectionHook`, or any object with such a `connect`."""

    def connect(self, host: str, auth: Any, /) -> _C_co | None:
        """A connection to `host` with `auth`; None if this hook does not know the host."""
        ...


class ConnectionHook(ABC):
    """Makes connections for a manager: subclass it, and register an object with `ConnectionManager.add_conn_hook`.

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
        """A connection to `host`, exactly as it was asked for, with `auth`; None if this hook does not know the host.

        Any object may be a connection; a `Connection` has policies and health. `auth` is what `find` was
        given: credentials, or whatever else the hook understands. It may take its time, within the policy's
        `timeout.total`. If it cannot connect it raises `ConnectionError`, `HTTPError` or an `OSError`, and the next
        hook is asked. Other exceptions are passed on to the callers of `find`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement connect(host, auth)")


def check_hook(hook: Any) -> None:
    """Refuse what cannot be asked for connections: TypeError."""
    if isinstance(hook, type):
        raise TypeError(f"hook is the class {hook.__name__}: pass an instance of it")
    if not callable(getattr(hook, "connect", None)):
        raise TypeError(
            f"hook must have a method connect(host, auth), as ConnectionHook has, not be a {type(hook).__name__}"
        )


def refuse_coroutines(hook: Any) -> None:
    """Refuse what a `ConnectionManager` cannot ask, as it awaits nothing: TypeError."""
    if inspect.iscoroutinefunction(getattr(hook, "connect", None)):
        raise TypeError(
            f"hook: connect of {type(hook).__name__} is a coroutine function, which ConnectionManager does not await; "
            "add it to a sleepwalker.aio.AsyncConnectionManager, or make it a plain function"
        )
