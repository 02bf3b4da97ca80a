"""The wrapped library, httpx or httpx2: its classes, and errors that belong to both the library and sleepwalker."""

from __future__ import annotations

import importlib
from typing import Any, TypeVar

from sleepwalker import exceptions as ours
from sleepwalker.transport import errors
from sleepwalker.transport.error_context import ErrorContext, Phase, Table

T = TypeVar("T")
#: For each of our errors the library's class, if the library did not raise one itself; the first match counts. A
#: rejection sent nothing.
_THEIRS: tuple[tuple[type[ours.ConnectionError], str], ...] = (
    (ours.CircuitOpenError, "ConnectError"),
    (ours.BulkheadFullError, "ConnectError"),
    (ours.RateLimitedError, "ConnectError"),
    (ours.HostIsolatedError, "ConnectError"),
    (ours.ConnectError, "ConnectError"),
    (ours.TLSError, "ConnectError"),
    (ours.ConnectTimeout, "ConnectTimeout"),
    (ours.ReadTimeout, "ReadTimeout"),
    (ours.DeadlineExceeded, "TimeoutException"),
    (ours.ProxyError, "ProxyError"),
    (ours.DecodeError, "DecodingError"),
    (ours.URLError, "LocalProtocolError"),
    (ours.ReadError, "ReadError"),
)
_OF_A_PHASE: dict[Phase, str] = {
    "queue": "PoolTimeout",
    "connect": "ConnectTimeout",
    "tls": "ConnectTimeout",
    "send": "WriteTimeout",
    "head": "ReadTimeout",
    "body": "ReadTimeout",
}


class Library:
    """httpx or httpx2. There is one object for each."""

    def __init__(self, module: Any) -> None:
        self.module: Any = module
        self.name: str = module.__name__
        exchange = (module.TimeoutException, module.NetworkError, module.RemoteProtocolError, module.ProxyError)
        self._table = Table(
            (*exchange, *errors.OF_REQUESTS.exchange),
            (
                ((module.ProxyError,), errors.of_proxy),
                ((module.PoolTimeout,), _no_connection_free),
                *errors.OF_REQUESTS.rules,
                # After those of the system's errors that they were raised from, which say more.
                ((module.ConnectTimeout,), errors.of_connect_timeout),
                ((module.TimeoutException,), errors.of_read_timeout),
                ((module.ConnectError,), errors.of_connect),
                (exchange, errors.of_read),
            ),
        )
        self._connecting: tuple[type[Exception], ...] = (module.ConnectError, module.ConnectTimeout, module.PoolTimeout)
        self._streams: dict[type[Any], type[Any]] = {}
        self._kinds: dict[tuple[type[ours.ConnectionError], type[Exception]], type[ours.ConnectionError]] = {}

    def stream(self, kind: type[T]) -> type[T]:
        """`kind`, an iterable of bytes, as a stream class that the library accepts."""
        made = self._streams.get(kind)
        if made is None:
            base = self.module.AsyncByteStream if hasattr(kind, "__aiter__") else self.module.SyncByteStream
            made = self._streams.setdefault(kind, type(kind.__name__, (kind, base), {}))
        return made

    def translate(self, error: Exception, context: ErrorContext) -> Exception:
        """The error to raise for `error`: one of both libraries if it is about the exchange."""
        if isinstance(error, self._connecting) and context.phase not in ("queue", "connect", "tls"):
            context.phase = "connect"  # the transport does not report its phases
        return self.both(errors.translate(error, context, self._table), error)

    def both(self, error: Exception, theirs: Exception | None = None) -> Exception:
        """Our error as one of the library as well, with the class of `theirs` if that is the library's own.

        Other errors are returned unchanged.
        """
        if not isinstance(error, ours.ConnectionError) or isinstance(error, self.module.RequestError):
            return error
        if isinstance(theirs, self.module.TransportError):
            kind: type[Exception] = type(theirs)
        else:
            kind = self._usual(error)
        return self.made(type(error), kind, error.args, vars(error))

    def made(
        self,
        kind: type[ours.ConnectionError],
        theirs: type[Exception],
        args: tuple[Any, ...],
        state: dict[str, Any],
    ) -> ours.ConnectionError:
        """An error of both classes. The combined class is cached, so that two such errors have the same class."""
        both = self._kinds.get((kind, theirs))
        if both is None:
            names = {"__doc__": kind.__doc__, "__module__": kind.__module__, "__reduce__": self._reduce}
            both = self._kinds.setdefault((kind, theirs), type(kind.__name__, (kind, theirs), names))
        error = both.__new__(both, *args)
        error.args = args
        vars(error).update({"_request": None, "response": None} | state)
        return error

    def _usual(self, error: ours.ConnectionError) -> type[Exception]:
        name = "NetworkError"
        if isinstance(error, ours.DeadlineExceeded) and error.phase in _OF_A_PHASE:
            name = _OF_A_PHASE[error.phase]
        else:
            name = next((theirs for kind, theirs in _THEIRS if isinstance(error, kind)), name)
        kind: type[Exception] = getattr(self.module, name)
        return kind

    @property
    def _reduce(self) -> Any:
        """The `__reduce__` of its errors: pickle finds their classes under no name, and a request may hold anything."""
        library = self.name

        def reduce(error: ours.ConnectionError) -> tuple[Any, ...]:
            kind, theirs = type(error).__bases__
            state = {name: value for name, value in vars(error).items() if name not in ("_request", "response")}
            return _remade, (library, kind, theirs, error.args, state)

        return reduce


def _no_connection_free(_: BaseException, context: ErrorContext) -> ours.ConnectionError:
    text = f"{context.origin}: no connection became free (the limits of the transport)"
    error = ours.DeadlineExceeded(text, limit=context.limit, phase="queue")
    error.never_sent = True
    return error


def _remade(
    library: str,
    kind: type[ours.ConnectionError],
    theirs: type[Exception],
    args: tuple[Any, ...],
    state: dict[str, Any],
) -> ours.ConnectionError:
    return library_of(library).made(kind, theirs, args, state)


_libraries: dict[str, Library] = {}


def library_of(name: str) -> Library:
    """The library with that name; it is imported."""
    found = _libraries.get(name)
    if found is None:
        found = _libraries.setdefault(name, Library(importlib.import_module(name)))
    return found
