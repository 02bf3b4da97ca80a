"""A manager for asyncio on real sockets: failover, probes, foreign clients, threads beside tasks, and ends of loops."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from servers import FaultServer, elapsed, json_reply, reply, reset, stall, timing_test

from sleepwalker import ANONYMOUS, CircuitOpenError, Connection, ConnectionManager, DeadlineExceeded, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager
from sleepwalker.events import AttemptFailed, Event, RequestFinished
from sleepwalker.fleet import Fleet

QUICK = Policy(
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 8},
    retry=False,
    breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 0.2, "open_max": 0.2, "ramp": 0},
    health={"rehook_initial": 0.05, "rehook_max": 0.1},
)
#: Only a probe, or a restart, ends what is wrong.
PATIENT = QUICK.replace(
    breaker={"open_for": 60, "open_max": 60}, health={"rehook_initial": 100, "rehook_max": 100, "probe_interval": 0.05}
)
PROBED = PATIENT.replace(health={"probe": "/health"})
RETRYING = QUICK.replace(
    retry={"attempts": 3, "wait_initial": 0.01, "wait_max": 0.02, "budget": False}, breaker={"consecutive": 10}
)

Manager = AsyncConnectionManager[AsyncConnection]


@pytest.fixture(autouse=True)
def _nothing_pending(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs what was left pending, and what nobody retrieved, once it is collected."""
    caplog.set_level(logging.WARNING, logger="asyncio")
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def go(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Nothing is left of the manager's when `main` returns."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()
        assert [task.get_name() for task in asyncio.all_tasks() if "sleepwalker" in task.get_name()] == []

    asyncio.run(bounded())


async def eventually(fact: Callable[[], object], within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not fact():  # noqa: ASYNC110 - what it waits for is in another thread, and knows no event
            await asyncio.sleep(0.005)


class Hook(AsyncConnectionHook):
    def __init__(self, policy: Policy = QUICK) -> None:
        self.policy = policy
        self.calls = 0

    async def connect(self, host: str, auth: Any) -> AsyncConnection:
        self.calls += 1
        return AsyncConnection(host, auth or ANONYMOUS, policy=self.policy)


class Replicas(AsyncConnectionHook):
    """Connects to the first server that accepts connections; looks in a thread, as most code of today does."""

    def __init__(self, *urls: str) -> None:
        self.urls = urls

    def connect(self, host: str, auth: Any) -> AsyncConnection:
        assert threading.current_thread() is not threading.main_thread()
        for url in self.urls:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1).close()
                return AsyncConnection(url, ANONYMOUS, policy=QUICK)
        raise OurConnectionError("all replicas are down")


def manager_of(*hooks: Any, policy: Policy = QUICK, **options: Any) -> Any:
    manager: AsyncConnectionManager[Any] = AsyncConnectionManager(
        policy=None if "hosts" in options else policy, **options
    )
    for hook in hooks:
        manager.add_conn_hook(hook)
    return manager


async def ask_until(manager: Any, host: str, wanted: bytes) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OurConnectionError):
                if (await (await manager.find(host)).get("/")).content == wanted:
                    return
            await asyncio.sleep(0.01)


async def break_it(manager: Any, url: str) -> None:
    for _ in range(2):
        with contextlib.suppress(OurConnectionError):
            await (await manager.find(url)).get("/", raise_for_status=False)
    assert manager.health(url).breaker == "open"


@pytest.mark.parametrize("probed", [False, True])
def test_a_replica_takes_over_and_hands_back(probed: bool) -> None:
    policy = QUICK.replace(health={"probe": "/health", "probe_interval": 0.1}) if probed else QUICK

    async def main() -> None:
        with FaultServer(default=reply(200, b"A")) as a, FaultServer(default=reply(200, b"B")) as b:
            async with manager_of(Replicas(a.url, b.url), policy=policy) as manager:
                await ask_until(manager, a.url, b"A")
                a.stop()
                await ask_until(manager, a.url, b"B")
                a.start()
                await ask_until(manager, a.url, b"A")

    go(main)


def test_a_hundred_tasks_at_a_new_host_log_in_once_and_all_are_answered(server: FaultServer) -> None:
    async def main() -> None:
        hook = Hook()
        async with manager_of(hook) as manager:

            async def ask() -> int:
                return int((await (await manager.find(server.url)).get("/")).status_code)

            assert await asyncio.gather(*(ask() for _ in range(100))) == [200] * 100
        assert hook.calls == 1

    go(main)


# -- probes


def test_a_probe_closes_a_circuit_without_traffic_and_without_a_thread(server: FaultServer) -> None:
    server.default = reply(503)

    async def main() -> None:
        threads = threading.active_count()
        async with manager_of(Hook(PROBED), policy=PROBED) as manager:
            await break_it(manager, server.url)
            with contextlib.suppress(OurConnectionError):
                await manager.find(server.url)
            await eventually(lambda: any(request.path == "/health" for request in server.requests))
            assert threading.active_count() - threads <= 1  # none but that of the server for one more socket
            server.default = reply(200)
            await eventually(lambda: manager.health(server.url).breaker == "closed")

    go(main)


def test_a_probe_knows_nothing_of_the_call_in_whose_course_its_timer_was_set(server: FaultServer) -> None:
    """What was bound for one request, as its id is, would be told of each probe that comes after it."""
    server.default = reply(503)
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    class Own(AsyncConnection):
        __slots__ = ()

        async def probe(self, path: str, seconds: float) -> Any:
            seen.append(who.get())
            return await super().probe(path, seconds)

    class Makes(AsyncConnectionHook):
        async def connect(self, host: str, auth: Any) -> AsyncConnection:
            return Own(host, ANONYMOUS, policy=PROBED)

    async def main() -> None:
        who.set("a caller")
        async with manager_of(Makes(), policy=PROBED) as manager:
            await break_it(manager, server.url)
            await eventually(lambda: len(seen) > 1)

    go(main)
    assert set(seen) == {"nobody"}


def test_closing_the_manager_cuts_a_probe_under_way(server: FaultServer) -> None:
    server.default = reply(503)
    server.routes = {"/health": stall()}

    async def main() -> None:
        async with manager_of(Hook(PROBED), policy=PROBED) as manager:
            await break_it(manager, server.url)
            await eventually(lambda: any(request.path == "/health" for request in server.requests))
            began = time.monotonic()
        assert time.monotonic() - began < 1

    go(main)


def test_a_loop_may_end_between_two_probes_and_they_go_on_in_the_next_one(server: FaultServer) -> None:
    server.default = reply(503)
    manager = manager_of(Hook(PROBED), policy=PROBED)

    async def first() -> None:
        await break_it(manager, server.url)
        await eventually(lambda: any(request.path == "/health" for request in server.requests))

    async def second() -> None:
        server.default = reply(200)
        async with manager:
            await eventually(lambda: manager.health(server.url).breaker == "closed")
            assert (await (await manager.find(server.url)).get("/")).status_code == 200

    asyncio.run(first())
    go(second)


def test_once_its_loop_has_ended_a_manager_leaves_its_hosts_to_be_probed_by_others(server: FaultServer) -> None:
    server.default = reply(503)
    with ConnectionManager[Connection](policy=PROBED) as blocking:
        manager = manager_of(Hook(PROBED), hosts=blocking.hosts)

        async def first() -> None:
            await break_it(manager, server.url)
            await eventually(lambda: any(request.path == "/health" for request in server.requests))

        asyncio.run(first())
        blocking.add(server.url, None, Connection(server.url, ANONYMOUS, policy=PROBED))
        server.default = reply(200)
        end = time.monotonic() + 20
        while blocking.health(server.url).breaker != "closed":
            assert time.monotonic() < end
            time.sleep(0.01)
        asyncio.run(manager.close())


def test_the_probes_of_a_manager_that_was_dropped_end(server: FaultServer) -> None:
    server.default = reply(503)

    async def main() -> None:
        manager = manager_of(Hook(PROBED), policy=PROBED)
        await break_it(manager, server.url)
        await eventually(lambda: any(request.path == "/health" for request in server.requests))
        del manager
        await asyncio.sleep(0.1)
        gc.collect()
        asked = len(server.requests)
        await asyncio.sleep(0.3)
        assert len(server.requests) == asked

    go(main)


def test_threads_that_reload_the_policies_have_the_tasks_probe(server: FaultServer) -> None:
    """A blocking manager on the same hosts is told; the timer is the loop's."""
    server.default = reply(503)

    async def main() -> None:
        blocking = ConnectionManager[Connection](policy=PATIENT)
        async with manager_of(Hook(PATIENT), hosts=blocking.hosts) as manager:
            await break_it(manager, server.url)
            await asyncio.to_thread(blocking.reload, PROBED)
            server.default = reply(200)
            await eventually(lambda: manager.health(server.url).breaker == "closed")
        blocking.close()

    go(main)


# -- threads and tasks


def test_threads_and_tasks_see_one_circuit(server: FaultServer) -> None:
    server.default = reply(500)

    async def main() -> None:
        with ConnectionManager[Connection](policy=PATIENT) as blocking:
            own = Connection(server.url, ANONYMOUS, policy=PATIENT)
            blocking.add(server.url, None, own)
            async with manager_of(Hook(PATIENT), hosts=blocking.hosts) as manager:
                await break_it(manager, server.url)
                with pytest.raises(CircuitOpenError):
                    await asyncio.to_thread(own.get, "/")
                await asyncio.to_thread(blocking.reset_circuit, server.url)
                server.default = reply(200)
                conn = await manager.find(server.url)
                assert (await conn.get("/")).status_code == 200
                server.default = reply(500)
                for _ in range(2):
                    await asyncio.to_thread(own.get, "/", raise_for_status=False)
                with pytest.raises(CircuitOpenError):
                    await conn.get("/")
                assert manager.health(server.url).attempts == 5  # of both

    go(main)


def test_it_joins_a_fleet(tmp_path: Path) -> None:
    fleet = Fleet(f"file://{tmp_path}/team.fleet", service="team", interval=0.1)
    url = "https://api.example.com"

    async def main() -> None:
        async with manager_of(Hook(), fleet=fleet) as one, manager_of(Hook(), fleet=fleet) as other:
            await eventually(lambda: one.fleet.workers == other.fleet.workers == 2)
            one.isolate(url, reason="moving")
            await eventually(lambda: other.health(url).state == "isolated")
            one.restore(url)
            await eventually(lambda: other.health(url).state != "isolated")

    go(main)


# -- foreign clients


class Client(AsyncConnectionHook):
    """Makes clients of httpx, of either name."""

    def __init__(self, module: Any) -> None:
        self.module = module

    async def connect(self, host: str, auth: Any) -> Any:
        return self.module.AsyncClient(base_url=host, trust_env=False, timeout=30)


CLIENTS = pytest.mark.parametrize("module", [httpx, httpx2])


@CLIENTS
def test_a_client_of_httpx_is_protected_by_a_guard(server: FaultServer, module: Any) -> None:
    server.script(reply(503), reset(), json_reply({"id": 7}))
    told: list[Event] = []

    async def main() -> None:
        async with manager_of(Client(module), policy=RETRYING, guard=True, observer=told.append) as manager:
            client = await manager.find(server.url)
            assert isinstance(client, module.AsyncClient)
            response = await client.get("/items")
            assert response.json() == {"id": 7}
        assert client.is_closed

    go(main)
    failed = [event for event in told if isinstance(event, AttemptFailed)]
    assert [(event.status, event.error) for event in failed] == [(503, None), (None, "ReadError")]
    assert [event.attempts for event in told if isinstance(event, RequestFinished)] == [3]


@CLIENTS
def test_a_client_of_httpx_that_is_refused_has_never_sent(module: Any) -> None:
    """So it is asked again, whatever the method, and the host counts as broken."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    told: list[Event] = []

    async def main() -> None:
        async with manager_of(Client(module), policy=RETRYING, guard=True, observer=told.append) as manager:
            client = await manager.find(url)
            with pytest.raises(module.ConnectError):
                await client.post("/items", json={})
            assert manager.health(url).state == "broken"

    go(main)
    assert {event.error for event in told if isinstance(event, AttemptFailed)} == {"ConnectError"}


class Sessions(AsyncConnectionHook):
    async def connect(self, host: str, auth: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(host)


def test_a_session_of_aiohttp_is_protected_by_a_guard_awaited_or_entered(server: FaultServer) -> None:
    """Its methods are no coroutine functions."""
    server.script(reply(503), json_reply({"id": 7}), reply(502), json_reply({"id": 8}))
    told: list[Event] = []

    async def main() -> None:
        async with manager_of(Sessions(), policy=RETRYING, guard=True, observer=told.append) as manager:
            session = await manager.find(server.url)
            response = await session.get("/items/7", params={"a": "b"})
            assert await response.json() == {"id": 7}
            async with session.request("PUT", "/items/8", data=b"x") as response:
                assert await response.json() == {"id": 8}
            assert response.closed
            assert manager.health(server.url).calls == 2
        assert session.closed

    go(main)
    failed = [event for event in told if isinstance(event, AttemptFailed)]
    assert [event.status for event in failed] == [503, 502]
    server.wait_for_open(0)


@timing_test
def test_an_attempt_of_a_foreign_client_ends_when_its_time_is_over(server: FaultServer) -> None:
    server.default = stall()
    times = QUICK.replace(timeout={"connect": 0.1, "read": 0.2, "attempt": 0.3, "total": 1})

    async def main() -> None:
        async with manager_of(Client(httpx2), policy=times, guard=True) as manager:
            client = await manager.find(server.url)
            with elapsed() as took, pytest.raises(DeadlineExceeded):
                await client.get("/")
            took.assert_within(0.3)

    go(main)


# -- hooks that take their time


@timing_test
def test_a_plain_hook_that_takes_long_does_not_hold_up_the_loop(server: FaultServer) -> None:
    class Slow(AsyncConnectionHook):
        def connect(self, host: str, auth: Any) -> AsyncConnection:
            time.sleep(0.3)
            return AsyncConnection(host, ANONYMOUS)

    gaps: list[float] = []

    async def tick() -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            gaps.append(now - before)
            before = now

    async def main() -> None:
        async with manager_of(Slow()) as manager:
            ticking = asyncio.create_task(tick())
            await manager.find(server.url)
            ticking.cancel()

    go(main)
    assert len(gaps) > 50
    assert max(gaps) < 0.1


def test_a_program_ends_though_a_plain_hook_hangs() -> None:
    program = """
    import asyncio, time
    from sleepwalker.aio import AsyncConnectionHook, AsyncConnectionManager

    class Hangs(AsyncConnectionHook):
        def connect(self, host, auth):
            time.sleep(600)

    async def main():
        manager = AsyncConnectionManager()
        manager.add_conn_hook(Hangs())
        try:
            async with asyncio.timeout(0.1):
                await manager.find("https://hangs.example.com")
        except TimeoutError:
            print("over")

    asyncio.run(main())
    """
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "over\n", "")
    assert time.monotonic() - began < 30
