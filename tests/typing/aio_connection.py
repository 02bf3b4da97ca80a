"""Read by the type checker, never run: what a user writes with `AsyncConnection`, and what the checker says it is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, assert_type

import aiohttp
import requests
from requests.auth import HTTPDigestAuth

from sleepwalker import ANONYMOUS, Download, HostHealth, HTTPNotFound, Policy, Response, URLError
from sleepwalker.aio import AsyncConnection, AsyncResponse, follow, pages
from sleepwalker.events import Event


class Shop(AsyncConnection):
    async def price(self, item: str) -> float:
        price: float = (await self.json_request("GET", f"/items/{item}"))["price"]
        return price


async def makes(session: aiohttp.ClientSession, events: list[Event], context: ssl.SSLContext) -> None:
    AsyncConnection("https://host.com")
    AsyncConnection("https://host.com", ("user", "password"), 20483, True, 3.0)
    AsyncConnection("https://host.com", HTTPDigestAuth("user", "password"), "20483", context, (3.0, 10))
    AsyncConnection("https://host.com", ANONYMOUS, policy=Path("shop.toml"), cert=("a.pem", "a.key"))
    AsyncConnection("https://host.com", ANONYMOUS, session=session, headers={"X-A": "1", "X-B": b"2"})
    AsyncConnection("https://host.com", observer=events.append, retry_if=lambda outcome: True, max_body=1_000)
    AsyncConnection("https://host.com", session=requests.Session())  # type: ignore[arg-type]
    async with Shop("https://host.com", policy=Policy(retry=False)) as shop:
        assert_type(shop, Shop)
        assert_type(await shop.price("lamp"), float)
        assert_type(shop.scope("reports"), Shop)
    with Shop("https://host.com"):  # type: ignore[attr-defined]
        pass


async def calls(conn: AsyncConnection) -> None:
    response = await conn.get("/", params={"page": 2}, headers={"X-A": None}, total=3, policy="batch")
    assert_type(response, Response)
    assert_type(response.attempts[0].duration, float)
    assert_type(await conn.json_request("POST", "/", {"a": 1}, extra_headers={"X-A": "1"}), Any)
    assert_type(await conn.request("GET", "/", raise_for_status=False), Response)
    for verb in (conn.head, conn.post, conn.put, conn.patch, conn.delete, conn.options):
        assert_type(await verb("/", json=[1], idempotent=True), Response)
    assert_type(conn.response, Response | None)
    assert_type(conn.conn, aiohttp.ClientSession | None)
    assert_type(conn.health, HostHealth)
    assert_type(await conn.close(), None)
    conn.get("/").json()  # type: ignore[attr-defined]
    await conn.get("/", stream=True)  # type: ignore[call-arg]
    await conn.get("/", timout=5)  # type: ignore[call-arg]


async def downloads(conn: AsyncConnection) -> None:
    done = await conn.download("/big", "big", progress=lambda done, total: print(done), total=60)
    assert_type(done, Download)
    await conn.download("/big", "big", stream=True)  # type: ignore[call-arg]


async def bodies(conn: AsyncConnection) -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b"one"

    await conn.put("/", data=lines())
    await conn.put("/", data=lines)
    await conn.put("/", data=b"one")
    await conn.put("/", data={"a": "b"}, files={"c": b"d"})


async def streams(conn: AsyncConnection) -> None:
    async with conn.stream("GET", "/export.csv", total=60, total_covers_body=True) as response:
        assert_type(response, AsyncResponse)
        async for piece in response.aiter_bytes(65536):
            assert_type(piece, bytes)
        async for text in response.aiter_text():
            assert_type(text, str)
        async for line in response.aiter_lines():
            assert_type(line, str)
        assert_type(await response.aread(), bytes)
    with conn.stream("GET", "/"):  # type: ignore[attr-defined]
        pass


async def together(conn: AsyncConnection) -> None:
    first, second = await asyncio.gather(conn.get("/1"), conn.get("/2"))
    assert_type((first, second), tuple[Response, Response])
    try:
        async with asyncio.timeout(3), asyncio.TaskGroup() as group:
            task = group.create_task(conn.get("/"))
        assert_type(task.result(), Response)
    except* HTTPNotFound as errors:
        print(errors.exceptions[0])
    except* URLError:
        pass


async def walks(conn: AsyncConnection, response: Response) -> None:
    assert_type(await follow(conn, "orders"), Response)
    async for page in pages(response):
        assert_type(page, Response)
