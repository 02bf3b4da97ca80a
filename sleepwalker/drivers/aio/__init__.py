"""The driver for asyncio: each call runs in its caller's task, and a wait blocks nothing."""
