"""The status page as an ASGI application (version 3), for servers that run asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.status.site import Request, Response, Site, Source

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


def asgi(
    *sources: Source, title: str = "Hosts", runbook: str | None = None, clock: Clock = SYSTEM_CLOCK
) -> ASGIApplication:
    """The status page as an ASGI application; the same as `app`, with the same arguments.

    A separate thread makes the responses, because a page of ten thousand hosts takes a second. So the loop stays free,
    and the page responds even if all threads of the loop wait for hosts that hang. The thread starts with the first
    request. Lifespan messages are answered, but do nothing.
    """
    return _Application(Site(sources, title, runbook, clock))


class _Application:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            response = await self._made(_request(scope))
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
            await send({"type": "http.response.start", "status": response.status.value, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _made(self, request: Request) -> Response:
        executor = self._executor
        if executor is None or self._process != os.getpid():  # the threads of a parent are not in its child
            self._process = os.getpid()
            executor = self._executor = ThreadPoolExecutor(1, thread_name_prefix="sleepwalker status")
        return await asyncio.get_running_loop().run_in_executor(executor, self._site.respond, request)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                if self._executor is not None:
                    self._executor.shutdown(wait=False)
                    self._executor = None
                return


def _request(scope: Scope) -> Request:
    path, mounted = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    # Servers and frameworks differ in whether `path` includes where the application is mounted.
    if mounted and (path == mounted or path.startswith(f"{mounted}/")):
        path = path[len(mounted) :]
    headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
    return Request(
        method=scope["method"],
        path=path,
        query=scope.get("query_string", b"").decode("latin-1"),
        mounted=mounted,
        accept_encoding=headers.get(b"accept-encoding", ""),
        if_none_match=headers.get(b"if-none-match", ""),
    )
