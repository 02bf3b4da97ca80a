"""Hostile servers and hostile users of the asynchronous connections, as far as they differ from the blocking ones."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from servers import FaultServer, forward_proxy

from sleepwalker import ANONYMOUS
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager


async def _one(url: str) -> None:
    async with AsyncConnection(url, ANONYMOUS) as conn:
        await conn.get("/")


async def _several(url: str) -> None:
    async with AsyncConnection(url, ANONYMOUS) as conn:
        await asyncio.gather(*(conn.get("/") for _ in range(5)))


async def _dropped(url: str) -> None:
    await AsyncConnection(url, ANONYMOUS).get("/")


async def _managed(url: str) -> None:
    async with AsyncConnectionManager() as manager:
        manager.add(url, None, AsyncConnection(url, ANONYMOUS))
        await (await manager.find(url)).get("/")


@pytest.mark.parametrize("use", [_one, _several, _dropped, _managed])
def test_a_connection_that_was_closed_leaves_no_task_to_a_loop_that_ends(
    server: FaultServer, use: Callable[[str], Coroutine[Any, Any, None]]
) -> None:
    """Of aiohttp's, which waits for sockets to be gone, the loop said: Task was destroyed but it is pending."""
    told: list[str] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    try:
        loop.run_until_complete(use(server.url))
        assert asyncio.all_tasks(loop) == set()
    finally:
        loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the socket of one that was dropped
        gc.collect()
    assert told == []


@pytest.mark.parametrize("body", [None, b"x" * 200_000], ids=["short", "long"])
def test_a_header_value_in_latin_1_leaves_in_the_same_bytes_by_every_call(
    server: FaultServer, body: bytes | None
) -> None:
    """The first call of a connection sent it as UTF-8, the later ones as Latin-1, as the blocking side does."""

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            for _ in range(3):
                await conn.put("/", data=body, headers={"X-Name": "Zoë"})

    asyncio.run(main())
    assert [request.header("X-Name") for request in server.requests] == ["Zoë"] * 3


@pytest.mark.parametrize("way", ["own", "session", "proxy"])
def test_a_server_that_never_says_100_gets_the_body_all_the_same(server: FaultServer, way: str) -> None:
    """A server of HTTP/1.0 does not know `Expect`: the call waited until its deadline (RFC 9110, section 10.1.1)."""

    async def main(proxies: dict[str, str] | None) -> list[bytes]:
        session = aiohttp.ClientSession() if way == "session" else None
        async with AsyncConnection(server.url, ANONYMOUS, session=session, proxies=proxies) as conn:
            for _ in range(2):
                await conn.post("/", data=b"paid", headers={"Expect": "100-continue"}, total=5)
        if session is not None:
            await session.close()
        return [request.body for request in server.requests]

    if way == "proxy":
        with forward_proxy() as proxy:
            assert asyncio.run(main({"http": proxy.url})) == [b"paid"] * 2
    else:
        assert asyncio.run(main(None)) == [b"paid"] * 2


def test_a_session_of_the_callers_adds_no_content_type_of_aiohttps_own(server: FaultServer) -> None:
    """A body of bytes has none, as on the blocking side; aiohttp called it application/octet-stream."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session, AsyncConnection(server.url, ANONYMOUS, session=session) as conn:
            await conn.post("/", data=b"bytes")
            await conn.post("/", json={"of": "the caller"})

    asyncio.run(main())
    assert [request.header("Content-Type") for request in server.requests] == [None, "application/json"]
