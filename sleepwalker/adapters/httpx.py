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
    """A transport for `httpx.Client` that sends by another one, under a policy.

    What goes through the client then has the deadlines, retries, circuit, limits, health and events of a `Connection`.
    The client stays as it is: headers, credentials, cookies and redirects are its own, and a response of any status is
    returned. Each redirect that it follows is a call of its own, to the host that it leads to. Its timeouts hold where
    they are shorter than the policy's. Hedges are not sent: an attempt that blocks here cannot be cancelled.

    A transport is not told whether its caller streams. Bodies are read within the attempt, up to `buffer` bytes; of
    those that are longer, or of a kind that is made while it is read (`text/event-stream`, JSON lines, audio, video,
    multipart), the attempt ends with what was read until then, the head at least, and the caller reads the rest.

    Args:
        policy: A `Policy`, the name of a shipped one, or the path of a TOML file; where it has tables for single hosts,
            the one for the host counts. None: each call follows the policy of its host in `hosts`.
        transport: What sends. None: an `httpx.HTTPTransport()`. Give one for TLS settings, a proxy, HTTP/2 or limits:
            a client that is given a transport uses its own arguments for these no more.
        hosts: The records of hosts, such as a manager's (`hosts=manager.hosts`): then its `health`, its status page and
            metrics show these hosts, and what it isolates is isolated here. None: a table of its own, as `.hosts`.
        retry_if: Called with an attempt's response, of any status, or its error, where the policy would not retry that.
            True sends again, within the policy's limits.
        idempotent: Whether a request may be sent twice once it may have been processed: True, False, or a function of
            the `httpx.Request` that returns one of these, or None. With None its method says so, and an
            `Idempotency-Key` header does.
        buffer: Bytes of a response's body that are read within the attempt, as they are sent; 0 for none. A request's
            body that is an iterator, but not longer, is read beforehand, so that it can be sent again.
        observer: Called with each event and its level, or with the event alone, besides the log.
        clock: The source of time and chance; for tests.

    Raises PolicyError, TypeError or ValueError for invalid arguments.

    Errors are sleepwalker's exceptions and `httpx`'s at once, such as `ReadTimeout`, and have `attempts`. A response
    has them as `response.extensions["attempts"]`.

    Example:
        ```python
        client = httpx.Client(transport=Transport("standard"))
        ```
    """

    _library = library_of("httpx")


class AsyncTransport(
    AwaitedTransport[httpx.AsyncBaseTransport, httpx.Request, httpx.Response], httpx.AsyncBaseTransport
):
    """A transport for `httpx.AsyncClient`: as `Transport`, awaited.

    It takes the same arguments, with an `httpx.AsyncBaseTransport` as `transport`. Hedges are sent where a policy has
    them and the body is bytes. A task that is cancelled ends its attempt at once, and says nothing of the host. It
    needs asyncio: under another library, such as trio, a call raises RuntimeError.

    Example:
        ```python
        client = httpx.AsyncClient(transport=AsyncTransport("standard"))
        ```
    """

    _library = library_of("httpx")
