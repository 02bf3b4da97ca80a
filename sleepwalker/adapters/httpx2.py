"""Policies below the clients of httpx2: `Transport` for `httpx2.Client`, `AsyncTransport` for `httpx2.AsyncClient`."""

from __future__ import annotations

from sleepwalker.adapters.transports.aio import AwaitedTransport
from sleepwalker.adapters.transports.blocking import BlockingTransport
from sleepwalker.adapters.transports.library import library_of

try:
    import httpx2
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "sleepwalker.adapters.httpx2 needs the package httpx2: pip install 'sleepwalker[httpx2]'", name=_error.name
    ) from None

__all__ = ["AsyncTransport", "Transport"]


class Transport(BlockingTransport[httpx2.BaseTransport, httpx2.Request, httpx2.Response], httpx2.BaseTransport):
    """TODO"""

    _library = library_of("httpx2")


class AsyncTransport(AwaitedTransport[httpx2.AsyncBaseTransport, httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport):
    """TODO"""

    _library = library_of("httpx2")
