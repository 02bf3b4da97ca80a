"""Sends a request through an aiohttp session, with every feature switched off that a policy decides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
import requests
from yarl import URL

from sleepwalker.transport.aio.deadline import AttemptDeadline
from sleepwalker.transport.aio.fast_path import FastPath
from sleepwalker.transport.aio.response import Got
from sleepwalker.transport.aio.sockets import Connector
from sleepwalker.transport.aio.uploading import pieces_of
from sleepwalker.transport.framing import MalformedResponse

#: No timeout of aiohttp's: the attempt's deadline cuts.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@dataclass(slots=True)
class Client:
    """The session that requests are sent through, and how."""

    session: aiohttp.ClientSession
    settings: dict[str, Any]
    """Further arguments of `ClientSession.request`: ssl, proxy."""
    ours: Connector | None
    """The session's connector, if that is ours."""
    proxy: str | None
    """Host and port of its proxy."""
    fast: FastPath | None = None
    """For requests that need nothing of the session."""


async def through_session(prepared: requests.PreparedRequest, client: Client, deadline: AttemptDeadline) -> Got:
    headers = {name: _text(value) for name, value in prepared.headers.items()}
    if "Expect" in prepared.headers:
        # aiohttp would wait for a 100 for ever. A proxy of HTTP/1.0 never sends one (RFC 9110, section 10.1.1).
        headers = {name: value for name, value in headers.items() if name.lower() != "expect"}
    data: Any = prepared.body
    chunked = None
    if isinstance(data, str):
        data = data.encode("utf-8")
    if deadline.uploads:
        data = pieces_of(data, deadline)
        if "content-length" not in prepared.headers:
            headers.pop("Transfer-Encoding", None)
            chunked = True
    if client.ours is None:
        deadline.connected()  # a mock, or a connector that does not say when it is connected
    try:
        got = await client.session.request(
            prepared.method or "GET",
            URL(prepared.url or "", encoded=True),
            headers=headers,
            data=data,
            chunked=chunked,
            allow_redirects=False,
            raise_for_status=False,
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
            **client.settings,
        )
    except (aiohttp.ClientError, OSError, asyncio.CancelledError) as error:
        if client.ours is not None and not deadline.connects and not isinstance(error, aiohttp.InvalidURL):
            deadline.connected()  # a mock stands in for the session: no socket was asked for
        raise
    deadline.on_release = got.close
    if got.status == 101:  # no other protocol was requested
        got.close()
    if client.ours is not None and deadline.phase == "send" and got.status < 300:
        # aiohttp sends no more of a body once a response is there.
        raise MalformedResponse("the server reported success before the whole body was sent, so sending stopped")
    return got


def _text(value: Any) -> str:
    """A header's value for aiohttp, which encodes it as UTF-8: bytes of UTF-8 so leave as they came."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
