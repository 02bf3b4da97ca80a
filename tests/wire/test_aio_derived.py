"""A class derived from `AsyncConnection`, as `test_connection.py` and `test_scopes.py` have those of `Connection`."""

from __future__ import annotations

import asyncio
from typing import Any

import requests
from servers import FaultServer, json_reply

from sleepwalker import ANONYMOUS
from sleepwalker.aio import AsyncConnection

VERBS = ("get", "head", "post", "put", "patch", "delete", "options")


class Counting(AsyncConnection):
    calls = 0

    async def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        self.calls += 1
        return await super().request(*args, **kwargs)


def test_the_verbs_go_through_an_overridden_request_and_json_request_does_not(server: FaultServer) -> None:
    async def work() -> int:
        async with Counting(server.url, ANONYMOUS) as conn:
            for verb in VERBS:
                await getattr(conn, verb)("/")
            server.script(json_reply([1]))
            assert await conn.json_request("GET", "/") == [1]
            return conn.calls

    assert asyncio.run(work()) == len(VERBS)


def test_its_scopes_are_of_its_class_and_share_what_it_keeps(server: FaultServer) -> None:
    async def work() -> None:
        async with Counting(server.url, ANONYMOUS) as conn:
            scope = conn.scope("reports")
            assert type(scope) is Counting
            await scope.get("/")
            await conn.get("/")
            assert (scope.calls, conn.calls) == (2, 2)
            assert (scope.health.calls, conn.health.calls) == (1, 1)

    asyncio.run(work())
