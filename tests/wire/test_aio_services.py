"""Connections for asyncio in a service: FastAPI under uvicorn, and the scopes of anyio that it brings along."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from servers import FaultServer, drip_body, reply, stall

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, DeadlineExceeded, Policy
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager
from tests.unit.manager_driver import until


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The URL of a service, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        running = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        running.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        running.join()


def test_a_stream_that_is_handed_on_ends_with_its_client(server: FaultServer) -> None:
    """As docs/how-to/stream-downloads.md has it."""
    server.default = drip_body(b"x" * 10_000, interval=0.01)
    files = AsyncConnection(server.url, ANONYMOUS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with files:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/export")
    async def export() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            async with files.stream("GET", "/") as response:
                async for piece in response.aiter_bytes():
                    yield piece

        return StreamingResponse(body())

    with serving(app) as url, Connection(url, ANONYMOUS, policy="off") as client:
        with client.get("/export", stream=True) as response:
            assert next(response.iter_content(1)) == b"x"
            assert server.open == 1
        server.wait_for_open(0)
        assert (files.health.in_flight, files.health.failures) == (0, 0)


@pytest.mark.parametrize("total", [0.2, 20])
def test_a_scope_of_anyio_and_a_deadline_cut_what_is_theirs(server: FaultServer, total: float) -> None:
    server.default = stall()

    async def main() -> tuple[bool, Any, int, int]:
        error = None
        async with AsyncConnection(server.url, ANONYMOUS, policy=Policy(retry=False)) as conn:
            with anyio.move_on_after(0.5) as scope:
                try:
                    await conn.get("/", total=total)
                except DeadlineExceeded as raised:
                    error = raised.limit
            task = asyncio.current_task()
            assert task is not None
            return scope.cancelled_caught, error, task.cancelling(), conn.health.in_flight

    assert anyio.run(main) == ((False, "total", 0, 0) if total < 0.5 else (True, None, 0, 0))


def test_a_task_group_of_anyio_that_is_cancelled_leaves_no_call_behind(server: FaultServer) -> None:
    server.script(reply(200, b"ok"))
    server.default = stall()

    async def main() -> int:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            await conn.get("/")
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(conn.get, "/")
                await anyio.sleep(0.05)
                group.cancel_scope.cancel()
            return conn.health.in_flight

    assert anyio.run(main) == 0


def test_threads_and_tasks_of_several_loops_stand_in_one_queue(server: FaultServer) -> None:
    """They share the places and the tokens of a host, and wake each other when one comes back."""
    server.default = reply(200, b"ok")
    scarce = Policy(
        bulkhead={"max_concurrent": 2, "max_wait": 25}, rate_limit={"rate": 500, "burst": 5, "max_wait": 25}
    )
    blocking = ConnectionManager(policy=scarce)
    blocking.add(server.url, ANONYMOUS, Connection(server.url, ANONYMOUS))
    errors: list[Exception] = []

    def in_a_thread() -> None:
        for _ in range(20):
            try:
                blocking.find(server.url, ANONYMOUS).get("/")
            except Exception as error:
                errors.append(error)

    async def calls() -> None:
        async with AsyncConnectionManager(hosts=blocking.hosts) as manager:
            manager.add(server.url, ANONYMOUS, AsyncConnection(server.url, ANONYMOUS))
            conn = await manager.find(server.url, ANONYMOUS)
            done = await asyncio.gather(*(conn.get("/") for _ in range(40)), return_exceptions=True)
            errors.extend(error for error in done if isinstance(error, Exception))

    runs = [threading.Thread(target=in_a_thread) for _ in range(3)]
    runs += [threading.Thread(target=asyncio.run, args=[calls()]) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    health = blocking.health(server.url)
    blocking.close()
    assert errors == []
    assert (health.calls, health.attempts, health.rejections, health.in_flight) == (180, 180, 0, 0)
    assert server.most_open <= 8
