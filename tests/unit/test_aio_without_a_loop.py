"""Under another library than asyncio, such as trio, what is awaited says so."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from sleepwalker import ANONYMOUS
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager


def _awaited(work: Coroutine[Any, Any, Any]) -> Any:
    """What comes of a coroutine that another library drives, which knows nothing of what asyncio waits for."""
    try:
        given = work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError(f"it waits for {given!r}")


async def _asked(conn: AsyncConnection) -> None:
    async with conn:
        await conn.get("/")


async def _found(manager: AsyncConnectionManager) -> None:
    async with manager:
        await manager.find("https://host.test", ANONYMOUS)


def test_a_call_raises_what_it_lacks_also_from_a_block_that_closes_its_connection() -> None:
    """Closing gave a turn to a loop that was not there, and the other library complained of that instead."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        _awaited(_asked(AsyncConnection("https://host.test", ANONYMOUS)))
    with pytest.raises(RuntimeError, match="no running event loop"):
        _awaited(_found(AsyncConnectionManager()))


def test_closing_a_connection_needs_no_loop() -> None:
    conn = AsyncConnection("https://host.test", ANONYMOUS)
    _awaited(conn.close())
    assert conn.closed
