"""Policies below the clients of httpx: `Transport` for `httpx.Client`, `AsyncTransport` for `httpx.AsyncClient`."""

from __future__ import annotations

from sleepwalker.adapters.transports.aio import AwaitedTransport
from sleepwalker.adapters.transports.blocking import BlockingTransport
from sleepwalker.adapters.transports.library import library_of

try:
    import httpx
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "sleepwalker.adapters.httpx needs the package httpx: pip install httpx", name=_error.name
    ) from None

__all__ = ["AsyncTransport", "Transport"]


class Transport(BlockingTransport[httpx.BaseTransport, httpx.Request, httpx.Response], httpx.BaseTransport):
    """TODO"""

    _library = library_of("httpx")


class AsyncTransport(AwaitedTransport[httpx.AsyncBaseTransport, httpx.Request, httpx.Response], httpx.AsyncBaseTransport):
    """TODO"""

    _library = library_of("httpx")
