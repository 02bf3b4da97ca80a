"""Connections for asyncio, through the same engine: the names and policies of `sleepwalker`, awaited."""

from __future__ import annotations

from sleepwalker.aio.hook import AsyncConnectionHook
from sleepwalker.aio.manager import AsyncConnectionManager

__all__ = ["AsyncConnectionHook", "AsyncConnectionManager"]
