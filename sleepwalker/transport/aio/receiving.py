"""Receives the body of a response within its attempt's deadline, and returns the socket."""

from __future__ import annotations

import aiohttp
import requests

from sleepwalker.clock import Clock
from sleepwalker.exceptions import DecodeError
from sleepwalker.transport.aio.deadline import AttemptDeadline
from sleepwalker.transport.aio.response import Got, read_body, read_error
from sleepwalker.transport.aio.stream import AsyncResponse, begin_stream, keep_alive_of
from sleepwalker.transport.headers import store_of
from sleepwalker.transport.loaded import SHORT, loaded_body, set_body
from sleepwalker.transport.outgoing import OutgoingRequest
from sleepwalker.transport.url import safe_path

#: Bytes kept of an error's body: more than a useful one has, and quick to parse as JSON.
_OF_AN_ERROR = 1 << 20


async def read_short(response: requests.Response, got: Got, deadline: AttemptDeadline, clock: Clock) -> None:
    """Read the body of an intermediate response if it is short, so that its socket can be reused."""
    try:
        body, _ = await read_error(got, _codings(response), SHORT, deadline)
    except (aiohttp.ClientError, OSError):  # the body is not needed
        body = b""
        got.close()
    set_body(response, body)
    _give_back(response, deadline, clock)


def is_received(
    response: requests.Response, got: Got, outgoing: OutgoingRequest, deadline: AttemptDeadline, clock: Clock
) -> bool:
    """Take a body that arrived with its head, as most do. Returns whether it did and is complete."""
    if outgoing.stream or outgoing.max_body is not None or response.status_code >= 400 or not got.content.is_eof():
        return False
    if _codings(response) or loaded_body(response) is not None:
        return False
    body = got.content.read_nowait(-1)
    if deadline.socket is not None:
        deadline.socket.check_end(response)
    set_body(response, body)
    _give_back(response, deadline, clock)
    return True


async def receive(
    response: requests.Response,
    got: Got,
    outgoing: OutgoingRequest,
    deadline: AttemptDeadline,
    clock: Clock,
    origin: str,
) -> None:
    """Read the body; for a stream, leave it to its reader."""
    if response.status_code >= 400 and (outgoing.raise_for_status or not outgoing.stream):
        if loaded_body(response) is None:
            await read_whole_error(response, got, outgoing, deadline, clock)
        return
    if loaded_body(response) is not None:
        return  # it was read for a hook
    if isinstance(response, AsyncResponse):
        used, deadline.socket, deadline.on_release = deadline.socket, None, None
        begin_stream(response, got, clock, read=deadline.read, body_ends_at=outgoing.body_ends_at, used=used)
        return
    codings, limit = _codings(response), outgoing.max_body
    announced = limit is not None and not codings and response.request.method != "HEAD"
    length = got.content_length if announced else None
    # A response to HEAD, or a 304, announces a body that it does not have.
    refused = length is not None and limit is not None and length > limit and not got.content.is_eof()
    body, whole = (b"", False) if refused else await read_body(got, codings, limit, deadline)
    if not whole:
        where = f"{origin}{safe_path(response.url or '')}"
        size = f"{length} bytes, more than {limit}" if refused else f"more than {limit} bytes"
        raise DecodeError(f"{where}: {response.status_code} with a body of {size} (max_body)", response=response)
    if deadline.socket is not None:
        deadline.socket.check_end(response)
    set_body(response, body)
    _give_back(response, deadline, clock)


async def read_whole_error(
    response: requests.Response,
    got: Got,
    outgoing: OutgoingRequest,
    deadline: AttemptDeadline,
    clock: Clock,
) -> None:
    """Read an error's body. If it is not what its Content-Encoding says, it stays raw and is marked."""
    limit = outgoing.max_body
    if outgoing.raise_for_status:
        most = SHORT if outgoing.stream else _OF_AN_ERROR
        limit = most if limit is None else min(limit, most)
    body, fine = await read_error(got, _codings(response), limit, deadline)
    if not fine:
        response.undecoded = True  # type: ignore[attr-defined]
    set_body(response, body)
    _give_back(response, deadline, clock)


def _codings(response: requests.Response) -> str:
    fields = store_of(response.headers)
    if fields is None:
        return response.headers.get("Content-Encoding", "")
    found = fields.get("content-encoding")
    return "" if found is None else str(found[1])


def _give_back(response: requests.Response, deadline: AttemptDeadline, clock: Clock) -> None:
    """Return the socket for reuse. Close it if the response's status says that the machine behind it fails."""
    used, deadline.socket, deadline.on_release = deadline.socket, None, None
    if used is None:
        return
    if response.status_code in deadline.failures:
        used.close()
    else:
        used.done(clock.monotonic(), keep_alive_of(response))
