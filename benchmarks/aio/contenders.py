"""The ways to get a small document that are compared, each as plain as its own documentation writes it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import aiohttp
import httpx2
import requests

import sleepwalker
import sleepwalker.aio

AIOHTTP = "aiohttp"
CONTROL = "aiohttp, again"
OURS = "sleepwalker.aio, no logging"
LOGGED = "sleepwalker.aio, JSON event log"
HTTPX2 = "httpx2"
REQUESTS = "requests"
BLOCKING = "sleepwalker, blocking, no logging"

#: What these are, for the page.
WORDS: Mapping[str, str] = {
    AIOHTTP: "`async with session.get(url) as response: await response.read()` with one `aiohttp.ClientSession`",
    CONTROL: "the same in a second process: as far as its ratios are from 1, others may be off by chance",
    OURS: "`await conn.get(path)` with one `AsyncConnection` under the `standard` policy, no logging configured",
    LOGGED: "the same, each call's event written to a file",
    HTTPX2: "`await client.get(url)` with one `httpx2.AsyncClient`",
    REQUESTS: "`session.get(url)` with one `requests.Session`; of many threads, one for each",
    BLOCKING: "`conn.get(path)` with one `sleepwalker.Connection` under the `standard` policy, which all threads share",
}

#: What is asked for: 100 bytes.
SIZE = 100
PATH = f"/{SIZE}.json"

#: Gets the document once, by a coroutine or a plain function.
Getting = Callable[[], Awaitable[bytes]]
Call = Callable[[], bytes]


@contextlib.asynccontextmanager
async def _aiohttp(url: str) -> AsyncIterator[Getting]:
    async with aiohttp.ClientSession() as session:

        async def call() -> bytes:
            async with session.get(url + PATH) as response:
                return await response.read()

        yield call


@contextlib.asynccontextmanager
async def _ours(url: str) -> AsyncIterator[Getting]:
    async with sleepwalker.aio.AsyncConnection(url, sleepwalker.ANONYMOUS) as conn:

        async def call() -> bytes:
            return (await conn.get(PATH)).content

        yield call


@contextlib.asynccontextmanager
async def _httpx2(url: str) -> AsyncIterator[Getting]:
    async with httpx2.AsyncClient() as client:

        async def call() -> bytes:
            return (await client.get(url + PATH)).content

        yield call


@contextlib.contextmanager
def _requests(url: str) -> Iterator[Call]:
    with contextlib.ExitStack() as sessions:
        mine = threading.local()

        def call() -> bytes:
            if not hasattr(mine, "session"):
                mine.session = sessions.enter_context(requests.Session())
            return bytes(mine.session.get(url + PATH).content)

        yield call


@contextlib.contextmanager
def _blocking(url: str) -> Iterator[Call]:
    with sleepwalker.Connection(url, sleepwalker.ANONYMOUS) as conn:
        yield lambda: conn.get(PATH).content


#: Those that are awaited, and those that block.
TASKS: Mapping[str, Callable[[str], AbstractAsyncContextManager[Getting]]] = {
    AIOHTTP: _aiohttp,
    CONTROL: _aiohttp,
    OURS: _ours,
    LOGGED: _ours,
    HTTPX2: _httpx2,
}
THREADS: Mapping[str, Callable[[str], AbstractContextManager[Call]]] = {REQUESTS: _requests, BLOCKING: _blocking}
