"""Policies for clients of httpx: `Transport` for `httpx.Client`, `AsyncTransport` for `httpx.AsyncClient`."""

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
    """A transport for `httpx.Client` that wraps another transport and applies a policy.

    Arguments, errors and the reading of bodies are those of `sleepwalker.adapters.httpx2.Transport`, with httpx in
    place of httpx2. The arguments are `policy`, `transport`, `hosts`, `retry_if`, `idempotent`, `buffer`, `observer`
    and `clock`.

    Example:
        ```python
        client = httpx.Client(transport=Transport("standard"))
        ```
    """

    _library = library_of("httpx")


class AsyncTransport(
    AwaitedTransport[httpx.AsyncBaseTransport, httpx.Request, httpx.Response], httpx.AsyncBaseTransport
):
    """A transport for `httpx.AsyncClient`; see `sleepwalker.adapters.httpx2.AsyncTransport`.

    Example:
        ```python
        client = httpx.AsyncClient(transport=AsyncTransport("standard"))
        ```
    """

    _library = library_of("httpx")
