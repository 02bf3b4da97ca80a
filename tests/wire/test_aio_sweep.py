"""A call that is cancelled at any moment gives everything back: one moment after the other, all of them are tried."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, redirect, reply

from sleepwalker import ANONYMOUS, Policy
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager

POLICY = Policy(
    retry={"wait_initial": 0.001, "wait_max": 0.002, "statuses": [429, 503], "after_binds": "host", "budget": False},
    breaker=False,
)
#: More moments than any of the calls has.
_MOST = 400


class Loop(asyncio.SelectorEventLoop):
    """An event loop that cancels a task before, or after, the n-th callback that is planned from now on."""

    def __init__(self, *, before: bool) -> None:
        super().__init__()
        self._before = before
        self._victim: asyncio.Task[Any] | None = None
        self._left = 0

    def cut(self, task: asyncio.Task[Any] | None, at: int) -> None:
        """Cancel `task` at the callback of that number."""
        self._victim, self._left = task, at

    def let_go(self) -> None:
        """Cancel nothing any more."""
        self._victim = None

    @property
    def has_cut(self) -> bool:
        """Whether that moment came."""
        return self._left <= 0

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        if self._victim is None:
            return super().call_soon(callback, *args, context=context)

        def called(*args: Any) -> None:
            if self._before:
                self._count()
            callback(*args)
            if not self._before:
                self._count()

        return super().call_soon(called, *args, context=context)

    def _count(self) -> None:
        if self._victim is not None:
            self._left -= 1
            if self._left == 0:
                self._victim.cancel()


async def _get(conn: AsyncConnection) -> None:
    assert (await conn.get("/")).content == b"ok"


async def _post(conn: AsyncConnection) -> None:
    assert await conn.json_request("POST", "/", {"of": "json"}) == {}


async def _upload(conn: AsyncConnection) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000
            await asyncio.sleep(0)

    assert (await conn.put("/", data=body)).content == b"ok"


async def _stream(conn: AsyncConnection) -> None:
    async with conn.stream("GET", "/") as response:
        assert len([piece async for piece in response.aiter_bytes(50_000)]) == 4


async def _second(conn: AsyncConnection) -> None:
    """A call that has to wait for another one, or for what that has taken."""
    first = asyncio.ensure_future(conn.get("/first"))
    await asyncio.sleep(0)
    try:
        await _get(conn)
    finally:
        await asyncio.shield(first)


def _every_other(step: Step) -> Callable[[], Callable[[Exchange], Step]]:
    """A server that gives `step` and a good response by turns."""

    def answers() -> Callable[[Exchange], Step]:
        turns = itertools.cycle([step, reply(200, b"ok")])
        return lambda _: next(turns)

    return answers


@dataclass(frozen=True)
class Case:
    call: Callable[[AsyncConnection], Awaitable[None]] = _get
    answers: Callable[[], Step | Callable[[Exchange], Step]] = lambda: reply(200, b"ok")
    policy: Policy = POLICY
    idle: int = 1
    """Sockets that may be open afterwards."""
    fails: bool = False
    """Whether the server does."""
    anew: bool = False
    """Whether each call has a connection of its own."""


CASES = {
    "over an open socket": Case(),
    "over a new socket": Case(anew=True),
    "over a socket that is closed after it": Case(answers=lambda: reply(200, b"ok", close=True), idle=0),
    "in chunks": Case(answers=lambda: reply(200, b"ok", chunked=True)),
    "encoded": Case(answers=lambda: reply(200, gzip.compress(b"ok"), {"Content-Encoding": "gzip"})),
    "with a body": Case(_post, lambda: reply(200, b"{}")),
    "with a body in pieces": Case(_upload),
    "redirected": Case(answers=_every_other(redirect("/"))),
    "retried": Case(answers=_every_other(reply(503)), idle=3, fails=True),
    "told to wait": Case(answers=_every_other(reply(429, b"", {"Retry-After": "0.003"})), idle=3),
    "streamed": Case(_stream, lambda: reply(200, b"x" * 200_000)),
    "hedged": Case(
        answers=lambda: reply(200, b"ok", delay=0.006), policy=POLICY.replace(hedge={"delay": 0.002}), idle=4
    ),
    "streamed, and hedged": Case(
        _stream, lambda: reply(200, b"x" * 200_000, delay=0.006), POLICY.replace(hedge={"delay": 0.002}), idle=4
    ),
    "queued for a place": Case(
        _second, lambda: reply(200, b"ok", delay=0.001), POLICY.replace(bulkhead={"max_concurrent": 1, "max_wait": 9})
    ),
    "queued for a token": Case(
        _second, policy=POLICY.replace(rate_limit={"rate": 300, "burst": 1, "max_wait": 9}), idle=2
    ),
    "queued for a socket": Case(
        _second, lambda: reply(200, b"ok", delay=0.001), POLICY.replace(pool={"size": 1, "block": True})
    ),
}


async def _one(loop: Loop, call: Callable[[], Awaitable[None]], at: int) -> str:
    """Make a call that is cancelled at a moment: how it ended."""

    async def victim() -> None:
        loop.cut(asyncio.current_task(), at)
        await asyncio.sleep(0)
        try:
            await call()
        finally:
            loop.let_go()

    task = asyncio.ensure_future(victim())
    ended, _ = await asyncio.wait([task], timeout=10)
    assert ended, f"cancelled at callback {at}, it hangs: {task!r}"
    await _others_ended()
    if task.cancelled():
        return "cancelled"
    task.result()
    return "fine"


async def _others_ended() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        _, left = await asyncio.wait(others, timeout=10)
        assert not left


async def _until_open(server: FaultServer, most: int) -> None:
    async with asyncio.timeout(10):
        while server.open > most:  # noqa: ASYNC110 - a server with threads
            await asyncio.sleep(0.002)


async def _all_moments(loop: Loop, case: Case, server: FaultServer) -> list[str]:
    """How a call ended that was cancelled at its first moment, at its second, and so on beyond its last."""
    ends: list[str] = []
    conn = AsyncConnection(server.url, ANONYMOUS, policy=case.policy)
    if not case.anew:
        await case.call(conn)
    for at in range(1, _MOST):
        ends.append(await _one(loop, partial(case.call, conn), at))
        beyond = not loop.has_cut
        health = conn.health
        assert health.in_flight == 0, f"cancelled at callback {at}"
        assert case.fails or health.failures == 0, f"cancelled at callback {at}"
        await case.call(conn)
        await _until_open(server, case.idle)
        if case.anew or beyond:
            await conn.close()
            await _until_open(server, 0)
            conn = AsyncConnection(server.url, ANONYMOUS, policy=case.policy)
        if beyond:
            return ends
    raise AssertionError(f"the call has more than {_MOST} moments")


@pytest.mark.parametrize("before", [True, False], ids=["before a callback", "after a callback"])
@pytest.mark.parametrize("name", CASES)
def test_a_call_that_is_cancelled_at_any_moment_gives_everything_back(
    server: FaultServer, name: str, before: bool
) -> None:
    """No permit, token, place or socket stays taken, nothing counts against the host, and the next call is answered."""
    case = CASES[name]
    server.default = case.answers()
    told: list[str] = []
    loop = Loop(before=before)
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    try:
        ends = loop.run_until_complete(_all_moments(loop, case, server))
    finally:
        loop.close()
    assert told == []
    assert ends[0] == "cancelled"
    assert ends[-1] == "fine"


class Logs(AsyncConnectionHook):
    """A hook that logs in."""

    async def connect(self, host: str, auth: object) -> AsyncConnection:
        conn = AsyncConnection(host, ANONYMOUS)
        await conn.get("/login")
        return conn


class Plain(AsyncConnectionHook):
    """A hook that runs in a thread."""

    def connect(self, host: str, auth: object) -> AsyncConnection:
        return AsyncConnection(host, ANONYMOUS)


@pytest.mark.parametrize("before", [True, False], ids=["before a callback", "after a callback"])
@pytest.mark.parametrize("hook", [Logs, Plain])
def test_who_is_cancelled_while_a_manager_looks_for_a_connection_leaves_nothing_behind(
    server: FaultServer, hook: type[AsyncConnectionHook], before: bool
) -> None:
    loop = Loop(before=before)

    async def all_moments() -> list[str]:
        ends: list[str] = []
        for at in range(1, _MOST):
            manager: AsyncConnectionManager = AsyncConnectionManager(policy=POLICY)
            manager.add_conn_hook(hook())

            async def call(manager: AsyncConnectionManager = manager) -> None:
                await _get(await manager.find(server.url))

            ends.append(await _one(loop, call, at))
            await call()
            assert {health.in_flight for health in manager.health().values()} == {0}
            await manager.close()
            await _until_open(server, 0)
            if not loop.has_cut:
                return ends
        raise AssertionError(f"the call has more than {_MOST} moments")

    server.default = reply(200, b"ok")
    try:
        ends = loop.run_until_complete(all_moments())
    finally:
        loop.close()
    assert ends[0] == "cancelled"
    assert ends[-1] == "fine"
