"""What a manager for asyncio puts around foreign objects: the policy around their coroutine functions, and no more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
import pytest

from sleepwalker import CircuitOpenError, ConnectionManager, DeadlineExceeded, Policy, TimeoutPolicy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.aio import AsyncConnectionHook, AsyncConnectionManager
from sleepwalker.connection.guard import is_guard, unguarded
from sleepwalker.events import Event, RequestFailed, RequestFinished, RetryScheduled
from tests.unit.manager_driver import A

#: Retries cost no time, and the host is never given up.
POLICY = Policy(
    retry={"attempts": 3, "wait_initial": 0, "wait_max": 0}, breaker={"consecutive_for": 0, "consecutive": 1000}
)
ONCE = POLICY.replace(retry=False)


class Api:
    """A foreign client: it responds by its script, once each, and then with 200."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.calls: list[str] = []
        self.closed_after: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.cut = 0

    async def _answer(self, name: str) -> Any:
        self.calls.append(name)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        came = self.script.pop(0) if self.script else 200
        if isinstance(came, BaseException):
            raise came
        return SimpleNamespace(status_code=came, headers={})

    async def get(self, url: str) -> Any:
        return await self._answer("get")

    async def post(self, url: str) -> Any:
        return await self._answer("post")

    async def fetch(self, number: int) -> Any:
        return await self._answer("fetch")

    async def other(self) -> str:
        return threading.current_thread().name

    def head(self, url: str) -> str:
        """A plain function, though it is called as one that asks."""
        self.calls.append("head")
        return "at once"

    async def aclose(self) -> None:
        self.closed_after.append(len(self.calls))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


class Bed:
    """A manager that guards, an object in it, and what it told."""

    def __init__(self, *script: Any, policy: Policy = POLICY, guard: Any = True) -> None:
        self.told: list[Event] = []
        self.api = Api(*script)
        self.manager: AsyncConnectionManager[Any] = AsyncConnectionManager(
            policy=policy, guard=guard, observer=self.told.append
        )
        self.manager.add(A, None, self.api)

    async def __aenter__(self) -> Self:
        self.guard = await self.manager.find(A)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.manager.close()

    def all(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]


def go(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


def test_a_call_is_retried_and_gives_what_the_object_gives() -> None:
    async def main() -> None:
        async with Bed(503, OSError("cut"), 200) as bed:
            assert (await bed.guard.get("/items")).status_code == 200
            assert bed.api.calls == ["get"] * 3
            assert len(bed.all(RetryScheduled)) == 2
            [event] = bed.all(RequestFinished)
            assert (event.method, event.path, event.attempts) == ("GET", "/items", 3)
            assert bed.manager.health(A).calls == 1

    go(main)


def test_what_may_have_been_processed_is_not_sent_twice() -> None:
    async def main() -> None:
        async with Bed(OSError("cut")) as bed:
            with pytest.raises(OSError, match="cut"):
                await bed.guard.post("/items")
            assert bed.api.calls == ["post"]

    go(main)


def test_the_objects_own_exception_is_raised_and_a_circuit_opens() -> None:
    async def main() -> None:
        policy = ONCE.replace(breaker={"consecutive": 2, "open_for": 60, "open_max": 60})
        async with Bed(*[aiohttp.ServerDisconnectedError()] * 2, ConnectionResetError(), policy=policy) as bed:
            for _ in range(2):
                with pytest.raises(aiohttp.ServerDisconnectedError):
                    await bed.guard.get("/")
            with pytest.raises(CircuitOpenError):
                await bed.guard.get("/")
            assert len(bed.api.calls) == 2

    go(main)


def test_plain_functions_and_those_that_are_not_named_are_passed_through() -> None:
    async def main() -> None:
        async with Bed() as bed:
            assert bed.guard.head("/") == "at once"
            assert await bed.guard.other() == threading.current_thread().name
            await bed.guard.fetch(7)
            assert bed.manager.health(A).calls == 0
        async with Bed(guard=["fetch"]) as bed:
            await bed.guard.fetch(7)
            assert bed.manager.health(A).calls == 1

    go(main)


def test_a_guarded_function_is_still_a_coroutine_function() -> None:
    async def main() -> None:
        async with Bed() as bed:
            assert asyncio.iscoroutinefunction(bed.guard.get)
            assert bed.guard.get.__name__ == "get"
            assert is_guard(bed.guard)
            assert unguarded(bed.guard) is bed.api

    go(main)


def test_an_attempt_whose_time_is_over_is_cancelled_and_a_failure_of_the_host() -> None:
    async def main() -> None:
        async with Bed(policy=ONCE.replace(timeout=TimeoutPolicy(connect=0.01, read=0.01, attempt=0.02))) as bed:
            bed.api.gate.clear()
            with pytest.raises(DeadlineExceeded, match=r"0\.02 s"):
                await bed.guard.get("/")
            assert bed.api.cut == 1
            assert bed.manager.health(A).failures == 1
            assert len(bed.all(RequestFailed)) == 1

    go(main)


def test_a_time_limit_of_the_callers_cuts_the_call_and_says_nothing_of_the_host() -> None:
    async def main() -> None:
        async with Bed() as bed:
            bed.api.gate.clear()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await bed.guard.get("/")
            health = bed.manager.health(A)
            assert (bed.api.cut, health.failures, health.in_flight) == (1, 0, 0)

    go(main)


def test_a_401_has_the_hooks_asked_for_another_object() -> None:
    async def main() -> None:
        made: list[Api] = []

        class Login(AsyncConnectionHook):
            async def connect(self, host: str, auth: Any) -> Api:
                made.append(Api() if made else Api(200, 401))
                return made[-1]

        manager: AsyncConnectionManager[Any] = AsyncConnectionManager(policy=ONCE, guard=True)
        manager.add_conn_hook(Login())
        async with manager:
            for status in (200, 401, 200):
                conn = await manager.find(A)
                assert (await conn.get("/")).status_code == status
            assert len(made) == 2
        assert [api.closed_after for api in made] == [[2], [1]]

    go(main)


def test_an_object_that_is_given_up_is_closed_once_its_calls_are_over() -> None:
    async def main() -> None:
        async with Bed() as bed:
            bed.api.gate.clear()
            call = asyncio.create_task(bed.guard.get("/"))
            await asyncio.sleep(0)
            bed.manager.evict(A)
            await asyncio.sleep(0.005)
            assert bed.api.closed_after == []
            bed.api.gate.set()
            assert (await call).status_code == 200
            await asyncio.sleep(0.005)
            assert bed.api.closed_after == [1]

    go(main)


def test_a_reset_ends_a_wait_for_a_retry() -> None:
    async def main() -> None:
        policy = POLICY.replace(retry={"wait_initial": 5, "wait_max": 5, "jitter": "none"})
        async with Bed(503, policy=policy) as bed:
            call = asyncio.create_task(bed.guard.get("/"))
            while not bed.all(RetryScheduled):  # noqa: ASYNC110 - it knows no event
                await asyncio.sleep(0)
            bed.manager.reset()
            assert (await call).status_code == 503

    go(main)


def test_a_guard_that_is_entered_stays_one() -> None:
    async def main() -> None:
        async with Bed(503) as bed:
            async with bed.guard as entered:
                assert entered is bed.guard
                assert (await entered.get("/")).status_code == 200
            assert bed.api.closed_after == [2]

    go(main)


def test_a_blocking_manager_passes_coroutine_functions_through() -> None:
    """Nothing there could await between two attempts."""
    api = Api(503)
    with ConnectionManager[Any](policy=POLICY, guard=True) as manager:
        manager.add(A, None, api)
        assert asyncio.run(manager.find(A).get("/")).status_code == 503
        assert manager.health(A).calls == 0
    assert api.closed_after == []  # nothing there could await that, either


def test_an_isolated_host_is_not_asked() -> None:
    async def main() -> None:
        async with Bed() as bed:
            bed.manager.isolate(A)
            with pytest.raises(OurConnectionError, match="isolated"):
                await bed.guard.get("/")
            assert bed.api.calls == []

    go(main)
