"""Corners of connections for asyncio that their documentation met."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from servers import FaultServer, reply

from sleepwalker import ANONYMOUS
from sleepwalker.aio import AsyncConnection


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


def test_a_coroutine_function_is_no_body_and_the_error_says_what_is_one(server: FaultServer) -> None:
    """Its coroutine is closed: else Python warns that it was never awaited."""
    server.default = reply(200, b"ok")

    async def body() -> bytes:
        return b"item"

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            with pytest.raises(TypeError, match=r"gave coroutine; it must give .* or asynchronous iterable of bytes"):
                await conn.put("/", data=body)

    asyncio.run(main())
    assert server.requests == []
