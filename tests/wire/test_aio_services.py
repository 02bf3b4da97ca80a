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

from sleepwalker import ANONYMOUS, Connection, DeadlineExceeded, Policy
from sleepwalker.aio import AsyncConnection
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
