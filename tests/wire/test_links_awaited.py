"""Links where calls are awaited: what a task has of its own. What leads where is in test_links.py, for both drivers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, json_reply, reply

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, HTTPUnauthorized, LinkError, Policy, URLError
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager, follow, pages

FAST = Policy(retry={"attempts": 2, "wait_initial": 0.001, "wait_max": 0.001, "budget": False}, breaker=False)


def numbered(last: int, body: bytes = b"") -> Any:
    def answer(exchange: Exchange) -> Step:
        assert exchange.request is not None
        number = int(exchange.request.path.strip("/") or 0)
        return reply(200, body, {"Link": f'</{number + 1}>; rel="next"'} if number < last else {})

    return answer


def test_a_connection_stands_for_its_last_response_in_this_task(server: FaultServer) -> None:
    server.default = numbered(9)

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=FAST) as conn:
            await conn.get("/0")

            async def other() -> None:
                with pytest.raises(LinkError, match="has no response in this task yet"):
                    await follow(conn, "next")
                await conn.get("/7")
                assert (await follow(conn, "next")).url == f"{server.url}/8"

            await asyncio.create_task(other())
            assert (await follow(conn, "next")).url == f"{server.url}/1"
            assert [page.url async for page in pages(conn.scope("eu"), missing="end")][:1] == [f"{server.url}/1"]

    asyncio.run(main())


def test_walks_of_many_tasks_through_one_connection_have_their_own_pages(server: FaultServer) -> None:
    failed: set[str] = set()

    def answer(exchange: Exchange) -> Step:
        assert exchange.request is not None
        path = exchange.request.path
        if path not in failed and path.endswith("1"):
            failed.add(path)
            return reply(503)
        walk, number = map(int, path.strip("/").split("-"))
        more = {"Link": f'</{walk}-{number + 1}>; rel="next"'} if number < 5 else {}
        return json_reply([walk, number], headers=more)

    server.default = answer

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=FAST) as conn:

            async def walk(number: int) -> list[Any]:
                return [page.json() async for page in pages(await conn.get(f"/{number}-0"))]

            walks = await asyncio.gather(*map(walk, range(20)))
        assert walks == [[[walk, number] for number in range(6)] for walk in range(20)]

    asyncio.run(main())


def test_a_response_does_not_keep_its_connection_alive_and_pages_do(server: FaultServer) -> None:
    server.default = reply(200, "", {"Link": "</x>; rel=next"})

    async def main() -> None:
        async def asked() -> Any:
            return await AsyncConnection(server.url, ANONYMOUS).get("/")

        first = await asked()
        gc.collect()
        with pytest.raises(URLError, match="keep the Connection"):
            await follow(first, "next")

        conn = AsyncConnection(server.url, ANONYMOUS)
        await conn.get("/")
        walk = pages(conn)
        del conn
        gc.collect()
        assert [(await anext(walk)).url for _ in range(2)] == [f"{server.url}/", f"{server.url}/x"]

    asyncio.run(main())


def test_a_page_is_forgotten_when_the_next_one_is_there(server: FaultServer) -> None:
    server.default = numbered(99, b"x" * 100_000)

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            walk = pages(await conn.get("/0"))
            seen = [weakref.ref(await anext(walk)) for _ in range(20)]
            gc.collect()
            assert [page() is not None for page in seen] == [False] * 19 + [True]

    asyncio.run(main())


def test_a_stream_is_no_option_of_a_walk(server: FaultServer) -> None:
    server.default = numbered(9)

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            with pytest.raises(TypeError, match="stream: use `async with"):
                await follow(await conn.get("/0"), "next", stream=True)

    asyncio.run(main())
    assert len(server.requests) == 1


def test_a_walk_logs_in_again_by_a_hook_that_awaits_and_is_told_apart_from_blocking_ones(server: FaultServer) -> None:
    tokens = itertools.count(1)
    good = {"1"}

    def answer(exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.header("X-Token") not in good:
            return reply(401)
        number = int(exchange.request.path.strip("/"))
        return json_reply([number], headers={"Link": f'</{number + 1}>; rel="next"'} if number < 4 else {})

    server.default = answer

    class Login(AsyncConnectionHook):
        async def connect(self, host: str, auth: Any) -> AsyncConnection:
            await asyncio.sleep(0)
            return AsyncConnection(host, ANONYMOUS, headers={"X-Token": str(next(tokens))}, policy=FAST)

    async def main() -> None:
        policy = FAST.replace(health={"rehook_initial": 0.01})
        async with AsyncConnectionManager(policy=policy) as manager:
            manager.add_conn_hook(Login())
            conn = await manager.find(server.url, ("anna", "secret"))
            walk = pages(await conn.get("/0"), manager=manager)
            got = [(await anext(walk)).json(), (await anext(walk)).json()]
            good.clear()  # the token expires
            with pytest.raises(HTTPUnauthorized):
                await anext(walk)
            good.add("2")
            got += [page.json() async for page in walk]
            assert got == [[0], [1], [2], [3], [4]]
            with ConnectionManager(hosts=manager.hosts) as threads, Connection(server.url, ANONYMOUS) as blocking:
                threads.add(server.url, None, blocking)
                with pytest.raises(TypeError, match="the ConnectionManager would block the event loop"):
                    await follow(
                        await (await manager.find(server.url, ("anna", "secret"))).get("/0"), "next", manager=threads
                    )

    asyncio.run(main())
