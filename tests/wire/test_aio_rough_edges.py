"""Corners of connections for asyncio that their documentation met."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from servers import FaultServer, reply

from sleepwalker import ANONYMOUS, Connection, Policy
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager
from sleepwalker.service import ServiceManager
from sleepwalker.transport.aio.sockets import Socket
from tests.ranges import whole

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("body", [b"", b"x" * 200_000], ids=["short", "long"])
@pytest.mark.parametrize("of_the_callers", [False, True], ids=["own session", "session="])
def test_the_bytes_of_a_header_value_that_are_utf_8_leave_as_they_came(
    server: FaultServer, body: bytes, of_the_callers: bool
) -> None:
    """They were taken for Latin-1, and encoded a second time."""
    server.default = reply(200, b"ok")

    async def main() -> None:
        session = aiohttp.ClientSession() if of_the_callers else None
        async with AsyncConnection(server.url, ANONYMOUS, session=session) as conn:
            await conn.post("/", data=body, headers={"X-Price": "20 €".encode()})
        if session is not None:
            await session.close()

    asyncio.run(main())
    price = server.requests[-1].header("X-Price")
    assert price is not None
    assert price.encode("latin-1") == "20 €".encode()


@pytest.mark.parametrize(
    "read",
    [
        lambda response: response.content,
        lambda response: response.json(),
        lambda response: next(response.iter_content(10)),
        lambda response: next(response.iter_lines()),
        lambda response: next(iter(response)),
    ],
    ids=["content", "json", "iter_content", "iter_lines", "iter"],
)
def test_a_blocking_read_of_a_stream_says_how_to_read_it(server: FaultServer, read: Callable[[Any], object]) -> None:
    """`iter_content` died of an AttributeError of requests' own."""
    server.default = reply(200, b'["one"]')

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn, conn.stream("GET", "/") as response:
            with pytest.raises(RuntimeError, match=r"await response\.aread\(\)"):
                read(response)
            await response.aread()
            read(response)

    asyncio.run(main())


@pytest.mark.parametrize("size", [1, 7, 65_536, 199_999, 200_000, 10**9])
def test_pieces_of_a_stream_have_the_size_that_was_asked_for(server: FaultServer, size: int) -> None:
    """All that was there was copied for each piece: 100 MB in pieces of 64 MB took six seconds of the loop."""
    body = random.Random(size).randbytes(200_000)
    server.default = reply(200, body)

    async def main() -> list[bytes]:
        async with AsyncConnection(server.url, ANONYMOUS) as conn, conn.stream("GET", "/") as response:
            return [piece async for piece in response.aiter_bytes(size)]

    assert asyncio.run(main()) == [body[begin : begin + size] for begin in range(0, len(body), size)]


def test_a_coroutine_function_is_no_body_and_the_error_says_what_is_one(server: FaultServer) -> None:
    """Its coroutine is closed: else Python warns that it was never awaited."""
    server.default = reply(200, b"ok")

    async def body() -> bytes:
        return b"item"

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            with pytest.raises(TypeError, match=r"returned coroutine; it must .* or asynchronous iterable of bytes"):
                await conn.put("/", data=body)

    asyncio.run(main())
    assert server.requests == []


@pytest.mark.parametrize("of_the_callers", [False, True], ids=["own session", "session="])
def test_a_body_may_come_more_slowly_than_a_server_may_answer(server: FaultServer, of_the_callers: bool) -> None:
    """The time that the caller's own code took was taken for the host's silence, and counted against it."""
    server.default = reply(200, b"ok")
    quick = Policy(timeout={"connect": 1, "read": 0.2, "attempt": 20, "total": 20})

    async def slow() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two", b"three"):
            await asyncio.sleep(0.4)
            yield piece

    async def main() -> int:
        session = aiohttp.ClientSession() if of_the_callers else None
        async with AsyncConnection(server.url, ANONYMOUS, policy=quick, session=session) as conn:
            await conn.post("/", data=slow())
        if session is not None:
            await session.close()
        return conn.health.failures

    assert asyncio.run(main()) == 0
    assert server.requests[-1].body == b"onetwothree"


async def _coroutine(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Awaited:
    async def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@pytest.mark.parametrize("auth", [_coroutine, _Awaited()], ids=["function", "object"])
@pytest.mark.parametrize("kind", [Connection, AsyncConnection])
def test_credentials_that_would_have_to_be_awaited_are_refused_when_the_connection_is_made(
    kind: type[Connection | AsyncConnection], auth: Any
) -> None:
    """The first request raised, and Python warned of a coroutine that was never awaited."""
    with pytest.raises(TypeError, match="auth is a coroutine function, which is never awaited: fetch the token"):
        kind("https://api.example.com", auth)


def test_services_refuse_a_manager_whose_find_is_awaited() -> None:
    """They called it, and used the coroutine as a connection."""
    with pytest.raises(TypeError, match=r"AsyncConnectionManager is a coroutine function.*hosts=manager\.hosts"):
        ServiceManager(None, AsyncConnectionManager())


#: Calls in three loops, ends as `sys.argv[2]` says, and counts the sockets that are open afterwards.
_LOOPS = """\
import asyncio, gc, os, sys
from sleepwalker import ANONYMOUS, Connection, Policy
from sleepwalker.aio import AsyncConnection
before = len(os.listdir("/proc/self/fd"))
conn = AsyncConnection(sys.argv[1], ANONYMOUS)
for _ in range(3):
    asyncio.run(conn.get("/"))
if sys.argv[2] == "closed":
    asyncio.run(conn.close())
del conn
gc.collect()
print(len(os.listdir("/proc/self/fd")) - before)
"""


@pytest.mark.parametrize("end", ["closed", "dropped"])
@pytest.mark.parametrize("headers", [{}, whole({"Connection": "close"}, with_each=True)], ids=["kept open", "hangs up"])
def test_a_connection_that_goes_from_loop_to_loop_leaves_nothing_behind(
    server: FaultServer, end: str, headers: dict[str, str]
) -> None:
    """aiohttp logged "Unclosed client session" for each loop but the last, and to close it was a RuntimeError."""
    server.default = reply(200, b"ok", headers)
    command = [sys.executable, "-c", _LOOPS, server.url, end]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (run.stdout, run.stderr) == ("0\n", "")
    assert len(server.requests) == 3


def test_sockets_that_were_closed_are_not_remembered(server: FaultServer) -> None:
    """The pool knew each one for as long as its connection was there: a server that hangs up filled the memory."""
    server.default = reply(200, b"ok", {"Connection": "close"})

    async def main() -> int:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            for _ in range(20):
                await conn.get("/")
            gc.collect()
            return sum(type(one) is Socket for one in gc.get_objects())

    assert asyncio.run(main()) <= 2
