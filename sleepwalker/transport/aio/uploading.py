"""Sends a long body piece by piece, and listens for a response meanwhile.

If the server refuses an upload, the rest of the body is not sent. If it reports success early, the whole body is sent
anyway: otherwise a part would be stored as the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import aiohttp
from aiohttp.http_writer import StreamWriter

from sleepwalker.transport.aio.deadline import AttemptDeadline

#: The most bytes of a body that are sent together with the head, and the size of a piece of a longer body.
PIECE = 1 << 16

_AT_ONCE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

#: The head of the final response, and its body.
Message = tuple[Any, aiohttp.StreamReader]


def is_long(body: Any, headers: Any) -> bool:
    """Whether a request's body is sent in pieces; also a short one without an announced length."""
    if body is None:
        return False
    return not isinstance(body, bytes | str) or len(body) > PIECE or "transfer-encoding" in headers


async def pieces_of(body: Any, deadline: AttemptDeadline) -> AsyncIterator[bytes]:
    """A body in pieces. Each must be taken within `timeout.read`."""
    deadline.await_piece()
    async for given in _given(body):
        for begin in range(0, len(given), PIECE):
            deadline.await_room()
            yield given[begin : begin + PIECE]
            # Lets the loop poll for a response, and read it. Once the server has closed its end of the socket, sending
            # more would lose the response.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        deadline.await_piece()
    deadline.await_head()


async def upload(
    protocol: Any, transport: asyncio.WriteTransport, body: Any, *, chunked: bool,
    read: Callable[[Any], Coroutine[Any, Any, Message]], deadline: AttemptDeadline,
) -> Message:  # fmt: skip
    """Send a body after its head, and `read` the response.

    A status of 300 or more stops sending; the socket is not reused then.
    """
    reading = deadline.loop.create_task(read(protocol))
    try:
        whole = await _is_sent(protocol, transport, body, chunked, reading, deadline)
        message, content = await reading
        if not whole:
            protocol.force_close()
            content.on_eof(partial(_abort, transport))
        return message, content
    finally:
        reading.cancel()


def _abort(transport: asyncio.WriteTransport) -> None:
    """Close a socket, and discard what was not sent: the system would keep it until the server reads it."""
    with contextlib.suppress(AttributeError, OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


async def _is_sent(
    protocol: Any, transport: asyncio.WriteTransport, body: Any, chunked: bool, reading: asyncio.Task[Message],
    deadline: AttemptDeadline,
) -> bool:  # fmt: skip
    """Send all of a body; False if the server refuses the rest."""
    writer = StreamWriter(protocol, deadline.loop)
    async for piece in pieces_of(body, deadline):
        if _refuses(reading):
            return False
        if transport.is_closing():
            return await _refused_before_the_end(reading)
        transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if protocol.writing_paused and not await _has_room(protocol, writer, reading, deadline):
            return False
    if _refuses(reading):
        return False
    if chunked:
        transport.write(b"0\r\n\r\n")
    return True


async def _has_room(
    protocol: Any, writer: StreamWriter, reading: asyncio.Task[Message], deadline: AttemptDeadline
) -> bool:
    """Wait until there is room for another piece; False if the server refuses it."""
    drained = deadline.loop.create_task(writer.drain())
    drained.add_done_callback(_seen)  # the response, or its error, may be reported instead
    try:
        while not drained.done():
            await asyncio.wait({drained} if reading.done() else {drained, reading}, return_when="FIRST_COMPLETED")
            if _refuses(reading):
                return False
        return True if drained.exception() is None else await _refused_before_the_end(reading)
    finally:
        drained.cancel()
        # aiohttp 3.13 leaves a future that gets the error of a lost socket, and that nothing awaits.
        left = getattr(protocol, "_drain_waiter", None)
        if isinstance(left, asyncio.Future):
            left.add_done_callback(_seen)


def _refuses(reading: asyncio.Task[Message]) -> bool:
    """Whether a response of status 300 or more has arrived. Raises the error if reading it failed."""
    return reading.done() and reading.result()[0].code >= 300


async def _refused_before_the_end(reading: asyncio.Task[Message]) -> bool:
    """False, as if there were no room, if the server refused the body before it hung up; else raises what broke."""
    await asyncio.wait([reading])
    if _refuses(reading):
        return False
    raise aiohttp.ClientConnectionResetError("Connection lost")


async def _given(body: Any) -> AsyncIterator[bytes]:
    """A body as bytes, in the pieces in which it comes."""
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, str):
        yield body.encode("utf-8")
    elif hasattr(body, "read"):
        async for piece in _read(body):
            yield piece
    elif hasattr(body, "__aiter__"):
        async for piece in body:
            yield piece
    else:
        for piece in body:
            yield piece


async def _read(file: Any) -> AsyncIterator[bytes]:
    """Read a file in a thread, since a disk may be slow."""
    owner = file.owner
    if owner.reading is not None:  # an earlier attempt was cut while a thread read for it, which moved the position
        await asyncio.wait([owner.reading])
        owner.reading = None
        if hasattr(file, "seek"):
            file.seek(0)
    while True:
        owner.reading = reading = asyncio.get_running_loop().run_in_executor(None, file.read, PIECE)
        reading.add_done_callback(_seen)
        piece = await asyncio.shield(reading)
        owner.reading = None
        if not piece:
            return
        yield piece


def _seen(reading: asyncio.Future[Any]) -> None:
    """Mark the error as retrieved: nothing awaits the future, and asyncio would log the error."""
    if not reading.cancelled():
        reading.exception()
