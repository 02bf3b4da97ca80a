"""Receives the bodies of a download in its caller's task; what touches the disk runs in a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sleepwalker.clock import Clock
from sleepwalker.connection.downloading import Receiving
from sleepwalker.downloads import Take
from sleepwalker.drivers.aio.threads import in_thread
from sleepwalker.drivers.threads.workers import NoThread
from sleepwalker.engine import Outcome, Received
from sleepwalker.transport.aio.attempt import discard

T = TypeVar("T")
#: Bytes that are written at a time, and the seconds after which fewer are: if the process ends, waiting ones are lost.
_AT_ONCE, _SOON = 1 << 20, 0.1


async def on_disk(act: Callable[[], T]) -> T:
    """Call `act` in a thread and return its result. A cancelled task waits for it, so that the file stays open."""
    work = asyncio.ensure_future(in_thread(act, "sleepwalker-file"))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # marks the error as retrieved: the cancellation is raised instead
        raise
    except NoThread:  # nothing was done yet: better here than not at all
        return act()


async def receive(receiving: Receiving, clock: Clock, head: Outcome) -> Received:
    """Write the body of a response to its file, as far as it comes."""
    transfer = receiving.transfer
    try:
        take = await on_disk(partial(transfer.begin, head))
        if not isinstance(take, Take):
            return receiving.ended(take)
        receiving.watch(head.response)
        broken = await _write(receiving, clock, head)
        act = partial(transfer.end, head) if broken is None else partial(transfer.broke, broken)
        return receiving.ended(await on_disk(act))
    finally:
        discard(head.response)


async def _write(receiving: Receiving, clock: Clock, head: Outcome) -> Exception | None:
    """Write what arrives. Returns the error that broke the body off, if one did."""
    transfer = receiving.transfer
    broken: Exception | None = None
    ready: list[bytes] = []
    size, since = 0, clock.monotonic()
    async with contextlib.aclosing(head.response.aiter_bytes()) as pieces:
        while broken is None:
            try:
                piece = await anext(pieces, b"")
            except Exception as error:  # noqa: BLE001 - one that is not about the body is raised again
                broken, piece = receiving.one_of_ours(error), b""
            ready.append(piece)
            size += len(piece)
            if size < _AT_ONCE and piece and clock.monotonic() - since < _SOON:
                continue
            if size:
                if not await on_disk(partial(transfer.write, b"".join(ready))):
                    return None
                receiving.tell()
            ready, size, since = [], 0, clock.monotonic()
            if not piece:
                break
    return broken
