"""Connections for asyncio, through the same engine: the names and policies of `sleepwalker`, awaited."""
