"""What is known of aiohttp's deadlines and cancellations does not reach those who call."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import warnings
from collections.abc import Awaitable, Callable

import pytest
from servers import FaultServer, TooLate, reply, stall, timing_test, unanswered_port

from sleepwalker import ANONYMOUS, DeadlineExceeded, Policy
from sleepwalker.aio import AsyncConnection

#: One send, with the given deadlines.
ONCE = Policy(retry=False)


@pytest.mark.long
def test_a_deadline_above_five_seconds_is_not_rounded_up_to_whole_ones(server: FaultServer) -> None:
    """aiohttp's own timeouts are, from 5 s on: this call would have ended after 6 s."""
    server.default = stall()

    async def main() -> float:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await conn.get("/", total=5.15)
            return time.monotonic() - began

    assert 5.15 <= asyncio.run(main()) < 5.7


@timing_test
def test_a_cancellation_at_the_moment_of_a_deadline_is_never_lost(server: FaultServer) -> None:
    """A task whose cancellation met a timeout of aiohttp's went on as if nobody had cancelled it."""
    server.default = stall()
    total = 0.05

    async def main() -> list[str]:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            ends: list[str] = []

            async def call() -> None:
                try:
                    await conn.get("/", total=total)
                except DeadlineExceeded:
                    ends.append("deadline")
                    await asyncio.sleep(0)  # a cancellation that was kept to itself would not come here
                    await asyncio.sleep(10)

            for microseconds in range(-1500, 1500, 75):
                task = asyncio.ensure_future(call())
                asyncio.get_running_loop().call_later(total + microseconds / 1e6, task.cancel)
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert task.cancelled()
                ends.append("cancelled")
            assert conn.health.in_flight == 0
            return ends

    ends = asyncio.run(main())
    assert ends.count("cancelled") == 40
    if not 0 < ends.count("deadline") < 40:
        raise TooLate(
            f"of 40 cancellations {40 - ends.count('deadline')} came before their deadline: both orders count"
        )


def test_a_deadline_leaves_its_task_as_if_it_had_never_been_cancelled(server: FaultServer) -> None:
    """A count of cancellations that stays behind makes the next `asyncio.timeout` around the task fail to end it."""
    server.default = stall()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            for _ in range(3):
                with pytest.raises(DeadlineExceeded):
                    await conn.get("/", total=0.05)
                assert task.cancelling() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await conn.get("/", total=5)
            async with asyncio.timeout(5):
                await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("cut", ["cancelled", "deadline"])
def test_a_connect_that_is_cut_leaves_no_socket_and_no_warning(server: FaultServer, scheme: str, cut: str) -> None:
    """To a port that takes no connection, and to a server that says nothing to a TLS handshake."""
    server.default = stall()
    messages: list[dict[str, object]] = []

    async def main(url: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context))
        async with AsyncConnection(url, ANONYMOUS, policy=ONCE) as conn:
            await _cut_once(conn.get, cut)
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a list of numbers
            for _ in range(10):
                await _cut_once(conn.get, cut)
            async with asyncio.timeout(10):  # the server's side of a socket goes after ours
                while len(os.listdir("/proc/self/fd")) > before:  # noqa: PTH208, ASYNC110
                    await asyncio.sleep(0.02)
            assert conn.health.in_flight == 0

    with unanswered_port() as port, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(main(f"http://127.0.0.1:{port}" if scheme == "http" else server.url.replace("http:", "https:")))
        gc.collect()
    assert [str(one.message) for one in told] == []
    assert messages == []


async def _cut_once(get: Callable[..., Awaitable[object]], cut: str) -> None:
    if cut == "deadline":
        with pytest.raises(DeadlineExceeded):
            await get("/", total=0.03)
        return
    task = asyncio.ensure_future(get("/"))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_group_of_tasks_ends_the_others_when_one_fails(server: FaultServer) -> None:
    server.default = stall()

    async def both(*conns: AsyncConnection) -> None:
        async with asyncio.TaskGroup() as group:
            for conn in conns:
                group.create_task(conn.get("/"))

    async def main(other: str) -> float:
        began = time.monotonic()
        async with AsyncConnection(server.url, ANONYMOUS) as slow, AsyncConnection(other, ANONYMOUS) as bad:
            with pytest.raises(ExceptionGroup) as caught:
                await both(slow, bad)
            assert [type(error).__name__ for error in caught.value.exceptions] == ["HTTPNotFound"]
            assert slow.health.in_flight == 0
            assert slow.health.failures == 0
        return time.monotonic() - began

    with FaultServer(default=reply(404, b"no")) as other:
        assert asyncio.run(main(other.url)) < 2
