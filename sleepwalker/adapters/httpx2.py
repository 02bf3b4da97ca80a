"""Policies for clients of httpx2: `Transport` for `httpx2.Client`, `AsyncTransport` for `httpx2.AsyncClient`."""

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
    """A transport for `httpx2.Client` that wraps another transport and applies a policy.

    Calls of the client get the deadlines, retries, circuit, limits, health and events of a `Connection`. The client
    keeps its headers, credentials, cookies and redirects, and gets responses of any status. Each redirect that it
    follows is a separate call to the redirect's host. The client's timeouts apply if they are shorter than the
    policy's. Hedges are not sent, because a blocking attempt cannot be cancelled here.

    A transport cannot know whether its caller streams. It reads up to `buffer` bytes of each body within the attempt.
    Longer bodies, and types that are produced while they are read (`text/event-stream`, JSON lines, audio, video,
    multipart), are handed over after that part, at least after the head; the caller reads the rest.

    Args:
        policy: A `Policy`, the name of a shipped one, or the path of a TOML file. If it has tables for single hosts,
            the table for the host applies. None: each call follows the policy of its host in `hosts`.
        transport: The transport that sends. None: an `httpx2.HTTPTransport()`. Pass one for TLS settings, a proxy,
            HTTP/2 or limits, because a client with a transport ignores its own arguments for these.
        hosts: Host records to share, such as a manager's (`hosts=manager.hosts`). The manager's `health`, status page
            and metrics then show these hosts, and its isolations apply here. None: a separate table, available as
            `.hosts`.
        retry_if: A function that gets the response (of any status) or the error of an attempt which the policy would
            not retry. True retries, within the policy's limits.
        idempotent: Whether a request may be sent twice although the server may have processed it: True, False, or a
            function of the `httpx2.Request` that returns True, False or None. With None the method decides, and an
            `Idempotency-Key` header counts as True.
        buffer: How many bytes of a response's body (as sent) are read within the attempt; 0 for none. A request's body
            that is an iterator with a `Content-Length` of at most this is read in advance, to be sent again.
        observer: A function called with each event and its level, or with the event alone, in addition to the log.
        clock: The source of time and randomness; for tests.

    Raises PolicyError, TypeError or ValueError for invalid arguments.

    Errors are both sleepwalker's and httpx2's exceptions, such as `ReadTimeout`, and have `attempts`. Responses have
    them as `response.extensions["attempts"]`.

    Example:
        ```python
        client = httpx2.Client(transport=Transport("standard"))
        ```
    """

    _library = library_of("httpx2")


class AsyncTransport(
    AwaitedTransport[httpx2.AsyncBaseTransport, httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport
):
    """A transport for `httpx2.AsyncClient`: the same as `Transport`, awaited.

    It takes the same arguments, with an `httpx2.AsyncBaseTransport` as `transport`. Hedges are sent if the policy has
    them and the body is bytes. Cancelling a task ends its attempt at once, and nothing counts against the host. It
    needs asyncio: under another library, such as trio, a call raises RuntimeError.

    Example:
        ```python
        client = httpx2.AsyncClient(transport=AsyncTransport("standard"))
        ```
    """

    _library = library_of("httpx2")
