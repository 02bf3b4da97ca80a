"""`AsyncConnection`: authentication and communication with one remote machine, under a policy, for asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, Unpack

import aiohttp

from sleepwalker.aio.calls import STREAMS, Calls, TaskLatest
from sleepwalker.aio.verbs import AsyncVerbs
from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.connection.arguments import Certificate, Credentials, HeaderValues, Params, Path, Verify
from sleepwalker.connection.base import ConnectionBase, connections
from sleepwalker.connection.downloading import DownloadCall, DownloadOptions
from sleepwalker.connection.json import HEADERS, MAX_BODY, decoded, json_options
from sleepwalker.connection.options import AsyncRequestOptions, CallOptions, checked_options
from sleepwalker.connection.response import Response
from sleepwalker.connection.retry_if import RetryIf
from sleepwalker.connection.settings import Timeout, check_max_body, pool_for
from sleepwalker.downloads import Download, OnProgress
from sleepwalker.drivers.aio.loops import a_turn
from sleepwalker.engine import Outcome
from sleepwalker.events import AnyObserver
from sleepwalker.frames import without_locals
from sleepwalker.policy import Policy
from sleepwalker.transport.aio.route import Route
from sleepwalker.transport.aio.stream import AsyncResponse


class AsyncConnection(AsyncVerbs, ConnectionBase):
    """`Connection` for asyncio: the same arguments, policies, exceptions, health and events; calls are awaited.

    Args:
        session: An `aiohttp.ClientSession` to send through, with its own cookies and connector. `close` leaves it open.

    All other arguments, and the errors they raise, are those of `Connection`. Calls return a `requests.Response` with
    its body read.

    A connection belongs to the event loop of its first call. Once that loop is closed, it can be used in another one.
    Cancelling a task ends its attempt at once: the socket is closed, and nothing counts against the host.

    Example:
        ```python
        async with AsyncConnection("https://api.example.com", ("user", "password"), policy="interactive") as conn:
            item = await conn.json_request("GET", "/items/7")
            first, second = await asyncio.gather(conn.get("/items/1"), conn.get("/items/2"))
        ```
    """

    __slots__ = ()

    @without_locals
    def __init__(
        self,
        hostname: str,
        auth: Credentials | None = None,
        port: int | str | None = None,
        verify: Verify = True,
        timeout: Timeout | None = None,
        *,
        policy: Policy | Path | None = None,
        cert: Certificate | None = None,
        proxies: Mapping[str, str] | None = None,
        headers: HeaderValues | None = None,
        session: aiohttp.ClientSession | None = None,
        max_body: int = MAX_BODY,
        retry_if: RetryIf | None = None,
        observer: AnyObserver | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        origin, followed = self._read(hostname, port, timeout, policy, clock)
        self._json_options = CallOptions(headers=HEADERS, max_body=check_max_body(max_body))
        session, pool = _checked_session(session), pool_for(followed)
        route = Route(origin, session, pool, clock, verify=verify, cert=cert, proxies=proxies)
        observe = self._set_up(route, followed, auth, headers, retry_if, observer, clock, TaskLatest(), STREAMS)
        self._client = route
        self._calls: Calls = Calls(origin, route, self._maker, self._handover, self.usage, clock, observe)
        connections.add(self)

    @without_locals
    async def json_request(
        self,
        method: str,
        uri: str,
        body: object = None,
        params: Params | None = None,
        extra_headers: HeaderValues | None = None,
    ) -> Any:
        """Send `body` as JSON. Returns the decoded JSON of the response, or None for 204 or an empty body.

        The same as `Connection.json_request`, awaited. Decoding JSON blocks the event loop. For bodies of many
        megabytes use `request` and `await asyncio.to_thread(response.json)`.
        """
        options = self._json_options
        if body is not None or params is not None or extra_headers:
            options = json_options(options, self._encoder, body, params, extra_headers)
        return decoded(await self._calls.call(self._part, method, uri, options), self._origin)

    @without_locals
    async def request(self, method: str, uri: str, **options: Unpack[AsyncRequestOptions]) -> Response:
        """Send a request under the policy. Returns the response with its body read; its `attempts` list what was tried.

        The same as `Connection.request`, awaited, except `stream`, which is a separate method here. `data` may also be
        an asynchronous iterable of bytes, which is sent only once, or a function that returns a new one for each
        attempt.
        """
        return await self._calls.call(self._part, method, uri, checked_options(options, self._encoder, awaits=True))

    @without_locals
    def stream(
        self, method: str, uri: str, **options: Unpack[AsyncRequestOptions]
    ) -> AbstractAsyncContextManager[AsyncResponse]:
        """A response whose body is read in pieces: `async with conn.stream("GET", uri) as response`.

        The attempt ends with the head of the response. `timeout.read` limits each wait for bytes; only
        `total_covers_body` limits the whole body. Arguments and errors are those of `request`. The end of the block
        closes the response, read or not.
        """
        checked = checked_options(options, self._encoder, awaits=True)._replace(stream=True)
        return self._calls.stream(self._part, method, uri, checked)

    @without_locals
    async def download(
        self,
        uri: str,
        path: Path,
        *,
        progress: OnProgress | None = None,
        checksum: str | None = None,
        **options: Unpack[DownloadOptions],
    ) -> Download:
        """Send a GET and write the body to a file, under the policy. If the body breaks off, ask for the rest.

        `Connection.download`, awaited, with the same arguments, errors and parts. The disk is read and written in
        threads. `progress` is called in the loop. If the task is cancelled, the part is kept.

        Example:
            ```python
            done = await conn.download("/releases/app.tar.gz", "app.tar.gz", checksum="sha256:9f86d0...")
            print(done.size, "bytes in", len(done.attempts), "attempts")
            ```
        """
        asked = DownloadCall(path, progress, checksum, self._encoder, **options)
        return await self._calls.download(self._part, uri, asked, STREAMS)

    @property
    def conn(self) -> aiohttp.ClientSession | None:
        """The underlying session. None before the first call, which creates it."""
        return self._client.client_session

    async def probe(self, path: str, seconds: float) -> Outcome:
        """Request `path` once, within `seconds`, without policies or counters. Works on a closed connection too."""
        return await self._calls.probe(self._part, path, seconds)

    def retire(self) -> None:
        """Close idle sockets and keep none from now on. Running and later calls still work."""
        super().retire()
        self._calls.end_if_idle()

    async def close(self) -> None:
        """Close idle sockets and end waiting calls (queued or before a retry). Later requests raise.

        Requests in flight finish. This closes the connection's scopes too. On a scope, `close` does nothing, because
        others use the same connection.
        """
        close_now(self)
        await a_turn()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._whole is None:  # checked here, because a subclass may log out when it closes
            await self.close()


def close_now(conn: AsyncConnection) -> None:
    """Close a connection in the thread of its loop, without waiting until its sockets are closed."""
    if conn._whole is None:
        conn._calls.close()
        conn._part.host.tell_refused()


def _checked_session(session: object) -> aiohttp.ClientSession | None:
    if session is not None and not isinstance(session, aiohttp.ClientSession):
        raise TypeError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
    return session
