"""Helpers to run something in an event loop, from any thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def a_turn() -> None:
    """Yield to the loop once, so that it closes sockets. Other libraries, such as trio, have none here."""
    if running_loop() is not None:
        await asyncio.sleep(0)


def in_loop(loop: asyncio.AbstractEventLoop, act: Callable[..., object], *args: Any) -> None:
    """Make `loop` call `act`: now if it runs in this thread, else as soon as possible.

    If the loop is closed nothing happens: everything that waited in it has ended.
    """
    if running_loop() is loop:
        act(*args)
        return
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(act, *args)


def finish(future: asyncio.Future[None]) -> None:
    """Set a future's result, unless it has one or was cancelled. In its loop's thread."""
    if not future.done():
        future.set_result(None)


async def until_done(future: asyncio.Future[None], seconds: float, waiting: set[asyncio.Future[None]]) -> None:
    """Wait until a future is done, at most `seconds`; meanwhile it is in `waiting`."""
    timer = future.get_loop().call_later(seconds, finish, future)
    waiting.add(future)
    try:
        await future
    finally:
        waiting.discard(future)
        timer.cancel()
