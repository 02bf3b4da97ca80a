"""Hostile servers and hostile users of the asynchronous connections, as far as they differ from the blocking ones."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from servers import FaultServer

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
