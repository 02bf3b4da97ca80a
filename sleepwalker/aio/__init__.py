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
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.connection.in_force import default_policy
from sleepwalker.engine import CompiledPolicy
from sleepwalker.transport.aio.stream import AsyncResponse

__all__ = ["AsyncConnection", "AsyncConnectionHook", "AsyncConnectionManager", "AsyncResponse"]

# The first connection is made while a loop runs, most likely. What would keep that from all else for a tenth of a
# second is done here: the libraries of the engine are imported, and the standard policy is read.
CompiledPolicy(default_policy(), SYSTEM_CLOCK)
