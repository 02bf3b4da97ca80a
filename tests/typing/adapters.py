"""Read by the type checker, never run: what a user writes with the adapters for clients that are not ours."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import assert_type

import httpx
import httpx2
import requests

from sleepwalker import ConnectionManager, Policy, adapters
from sleepwalker.adapters import Idempotent, RequestsAdapter
from sleepwalker.adapters import httpx as for_httpx
from sleepwalker.adapters.httpx2 import AsyncTransport, Transport
from sleepwalker.hosts import HostTable


def a_session(manager: ConnectionManager) -> None:
    session = requests.Session()
    adapter = RequestsAdapter("standard")
    session.mount("https://", adapter)
    assert_type(adapter.hosts, HostTable)
    session.mount("https://", adapters.RequestsAdapter(Policy(), hosts=manager.hosts, observer=print))
    session.mount("https://", RequestsAdapter(Path("sdk.toml"), idempotent=True, retry_if=busy))
    session.mount("https://", RequestsAdapter(idempotent=lambda request: request.method == "LIST"))
    session.mount("https://", RequestsAdapter(idempotent=searches))
    ConnectionManager(hosts=adapter.hosts)
    RequestsAdapter(idempotent="yes")  # type: ignore[arg-type]
    RequestsAdapter(hosts=manager)  # type: ignore[arg-type]
    RequestsAdapter(retries=3)  # type: ignore[call-arg]


def busy(came: requests.Response | Exception) -> bool:
    return isinstance(came, requests.Response) and came.status_code == 423


def searches(request: requests.PreparedRequest) -> bool | None:
    return True if request.path_url.startswith("/search") else None


def a_client(manager: ConnectionManager, context: ssl.SSLContext) -> None:
    transport = Transport("standard")
    with httpx2.Client(transport=transport) as client:
        assert_type(client.get("https://api.example.com/"), httpx2.Response)
    assert_type(transport.hosts, HostTable)
    below = httpx2.HTTPTransport(verify=context, http2=True)
    Transport(Policy(), transport=below, hosts=manager.hosts, buffer=0)
    Transport(idempotent=lambda request: request.url.path == "/search")
    Transport(retry_if=lambda came: isinstance(came, httpx2.Response) and came.status_code == 423)
    Transport(transport=httpx2.MockTransport(lambda request: httpx2.Response(204)))
    Transport(transport=httpx.HTTPTransport())  # type: ignore[arg-type]
    Transport(transport=httpx2.AsyncHTTPTransport())  # type: ignore[arg-type]
    Transport(buffer="1 MB")  # type: ignore[arg-type]
    httpx2.AsyncClient(transport=Transport())  # type: ignore[arg-type]
    httpx.Client(transport=Transport())  # type: ignore[arg-type]


async def an_async_client(manager: ConnectionManager) -> None:
    transport = AsyncTransport("interactive", hosts=manager.hosts, transport=httpx2.AsyncHTTPTransport(http2=True))
    async with httpx2.AsyncClient(transport=transport) as client:
        assert_type(await client.get("https://api.example.com/"), httpx2.Response)
    httpx2.Client(transport=AsyncTransport())  # type: ignore[arg-type]


def the_older_library(idempotent: Idempotent[httpx.Request]) -> None:
    with httpx.Client(transport=for_httpx.Transport("standard", idempotent=idempotent)) as client:
        assert_type(client.get("https://api.example.com/"), httpx.Response)


async def the_older_library_awaited() -> None:
    async with httpx.AsyncClient(transport=for_httpx.AsyncTransport()) as client:
        assert_type(await client.get("https://api.example.com/"), httpx.Response)
