"""Connections for asyncio, through the same engine: the names and policies of `sleepwalker`, awaited."""

from __future__ import annotations

try:
    import aiohttp as _aiohttp  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    raise ModuleNotFoundError('sleepwalker.aio needs aiohttp: pip install "sleepwalker[aio]"', name="aiohttp") from None

from sleepwalker.aio.connection import AsyncConnection
from sleepwalker.aio.hook import AsyncConnectionHook
from sleepwalker.aio.manager import AsyncConnectionManager
from sleepwalker.transport.aio.stream import AsyncResponse

__all__ = ["AsyncConnection", "AsyncConnectionHook", "AsyncConnectionManager", "AsyncResponse"]
