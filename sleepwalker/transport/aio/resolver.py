"""Name look-ups that a deadline can cut: they run in threads, shared with blocking connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from sleepwalker.transport import resolver
from sleepwalker.transport.addresses import AddressInfo
from sleepwalker.transport.aio.deadline import present


class Resolver(AbstractResolver):
    """Resolves names with `socket.getaddrinfo`, as blocking connections do. Orders the addresses for each attempt."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name, in the order of tries. OSError if there are none."""
        deadline = present()
        if deadline is not None:
            deadline.begin_connect()
        found = await _looked_up(host, port)
        if deadline is not None:
            deadline.several = len(found) > 1
            earlier = {peer.address for peer in deadline.avoid}
            found = sorted(found, key=lambda info: info[4] in earlier)  # aiohttp tries the next one after 0.25 s
        return [_result(host, info) for info in found if family in (socket.AF_UNSPEC, info[0])]

    async def close(self) -> None:
        """Nothing is held."""


async def _looked_up(host: str, port: int) -> list[AddressInfo]:
    """The addresses from `getaddrinfo`. If the caller is cancelled, the look-up's thread goes on."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[None] = loop.create_future()

    def done() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_finish, found)

    lookup = resolver.begin(host, port)
    if not lookup.done.is_set():
        lookup.when_done(done)
        try:
            await found
        finally:
            lookup.forget(done)
    return lookup.result()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _result(host: str, info: AddressInfo) -> ResolveResult:
    family, _, protocol, _, address = info
    numeric: Any = address[0]
    if family == socket.AF_INET6 and len(address) > 3 and address[3]:  # a link-local address needs its interface
        numeric = f"{address[0].partition('%')[0]}%{address[3]}"
    return ResolveResult(
        hostname=host,
        host=numeric,
        port=address[1],
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
