"""The status page, metrics and events where calls are awaited: by themselves, and where threads share the hosts."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import structlog
from servers import Exchange, FaultServer, Step, reply

import sleepwalker.logging
from sleepwalker import ANONYMOUS, Connection, ConnectionManager, HTTPError, Policy, status
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager
from sleepwalker.prometheus import Collector
from sleepwalker.telemetry.log import send_to

FAST = Policy(
    retry={"attempts": 2, "wait_initial": 0.001, "wait_max": 0.001}, breaker={"consecutive": 3, "consecutive_for": 0}
)


async def ask(app: Any, path: str) -> tuple[int, bytes]:
    """What a server would get, in the running loop."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def hosts_of(app: Any) -> list[dict[str, Any]]:
    code, body = await ask(app, "/hosts.json")
    assert code == 200
    found: list[dict[str, Any]] = json.loads(body)["hosts"]
    return found


def broken_at(path: str) -> Any:
    def answer(exchange: Exchange) -> Step:
        assert exchange.request is not None
        return reply(503) if exchange.request.path == path else reply(200)

    return answer


def test_the_page_shows_the_hosts_names_and_history_of_tasks_in_their_own_loop(server: FaultServer) -> None:
    server.default = broken_at("/broken")

    async def main() -> None:
        async with AsyncConnectionManager(policy=FAST) as manager:
            manager.add("billing", None, AsyncConnection(server.url, ANONYMOUS, policy=FAST))
            app = status.asgi(manager, title="checkout")
            conn = await manager.find("billing")
            await asyncio.gather(*(conn.get("/") for _ in range(8)))
            for _ in range(2):
                with pytest.raises(HTTPError):
                    await conn.get("/broken")
            [host] = await hosts_of(app)
            told = [host[name] for name in ("host", "names", "calls", "attempts", "breaker", "connections")]
            assert told == [server.url, ["billing"], 10, 11, "open", 1]
            assert host["state"] == "broken"
            assert (sum(host["recent"]["calls"]), sum(host["recent"]["errors"])) == (10, 2)
            code, page = await ask(app, "/")
            assert code == 200
            assert b"billing" in page
            assert host["in_flight"] == 0

    asyncio.run(main())


def test_threads_and_tasks_that_share_their_hosts_are_one_row_and_one_circuit(server: FaultServer) -> None:
    server.default = broken_at("/broken")

    async def main() -> None:
        with ConnectionManager(policy=FAST) as threads:
            threads.add("reports", None, Connection(server.url, ANONYMOUS, policy=FAST))
            async with AsyncConnectionManager(hosts=threads.hosts) as tasks:
                tasks.add("orders", None, AsyncConnection(server.url, ANONYMOUS, policy=FAST))
                conn = await tasks.find("orders")
                await conn.get("/")
                await asyncio.to_thread(lambda: threads.find("reports").get("/"))
                for sources in ((tasks,), (threads,), (threads, tasks)):
                    [host] = await hosts_of(status.asgi(*sources))
                    assert (host["calls"], sorted(host["names"]), host["connections"]) == (2, ["orders", "reports"], 2)
                for _ in range(2):
                    with pytest.raises(HTTPError):
                        await conn.get("/broken")
                assert threads.health(server.url).breaker == "open"
                assert tasks.health("orders").breaker == threads.health("reports").breaker

    asyncio.run(main())


def test_a_collector_reads_connections_and_managers_of_both_kinds(server: FaultServer) -> None:
    server.default = broken_at("/broken")

    async def main() -> str:
        async with AsyncConnectionManager(policy=FAST) as manager, AsyncConnection(server.url, ANONYMOUS) as own:
            manager.add("billing", None, AsyncConnection(server.url, ANONYMOUS, policy=FAST))
            with Connection(server.url, ANONYMOUS) as blocking:
                registry = prometheus_client.CollectorRegistry()
                collector = Collector(manager, blocking)
                collector.add(own)
                registry.register(collector)
                await (await manager.find("billing")).get("/")
                await own.get("/")
                await own.scope("eu").get("/")
                await asyncio.to_thread(blocking.get, "/")
                return prometheus_client.generate_latest(registry).decode()

    lines = asyncio.run(main()).splitlines()
    calls = [line for line in lines if line.startswith("sleepwalker_calls_total{") and 'outcome="answered"' in line]
    counted = {line.partition('host="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in calls}
    assert counted == {server.url: 3.0, f"{server.url}#eu": 1.0}


def test_the_page_about_many_hosts_is_made_beside_the_loop() -> None:
    """Made in it, 1,000 hosts would stop it for 20 to 60 ms."""
    taken: list[int] = []

    class Seen(AsyncConnectionManager):  # type: ignore[type-arg]
        def health(self, host: Any = None) -> Any:
            taken.append(threading.get_ident())
            return super().health(host)

    async def main() -> None:
        async with Seen() as manager:
            for number in range(1000):
                manager.add(f"https://h{number}.test", None, AsyncConnection(f"https://h{number}.test", ANONYMOUS))
            assert len(await hosts_of(status.asgi(manager))) == 1000

    asyncio.run(main())
    assert taken
    assert threading.get_ident() not in taken


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The events as the application's log has them so far."""
    path = tmp_path / "events.jsonl"
    sleepwalker.logging.configure(path)
    try:
        yield lambda: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    finally:
        send_to(None)
        structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("hedged", [False, True])
def test_events_have_what_the_task_bound_that_makes_the_call(
    server: FaultServer, lines: Callable[[], list[dict[str, Any]]], hedged: bool
) -> None:
    """Tasks take turns in one thread, and each has its own; a hedge attempt is sent by a task of its own."""
    asked: set[str] = set()

    def answer(exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.path not in asked:
            asked.add(exchange.request.path)
            return reply(503)
        exchange.pause(0.05)
        return reply(200)

    server.default = answer
    policy = FAST.replace(hedge={"delay": 0.02}, breaker=False) if hedged else FAST.replace(breaker=False)

    async def work(conn: AsyncConnection, number: int) -> None:
        structlog.contextvars.bind_contextvars(request_id=number)
        await conn.get(f"/{number}")

    async def main() -> None:
        structlog.contextvars.bind_contextvars(request_id="the application's own")
        async with AsyncConnection(server.url, ANONYMOUS, policy=policy) as conn:
            await asyncio.gather(*(work(conn, number) for number in range(10)))

    asyncio.run(main())
    told = [line for line in lines() if "path" in line]
    assert {line["event"] for line in told} >= {"attempt.failed", "request.finished"}
    assert ("hedge.sent" in {line["event"] for line in told}) is hedged
    assert [line for line in told if line["path"] != f"/{line['request_id']}"] == []
    assert len([line for line in told if line["event"] == "request.finished"]) == 10


def test_a_connection_keeps_no_response_of_a_task_that_is_gone(server: FaultServer) -> None:
    """A service has a task for each request, and a response may be large."""
    server.default = reply(200, b"x" * 100_000)

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:

            async def work() -> weakref.ref[Any]:
                response = await conn.get("/")
                assert conn.response is response
                await conn.get("/")
                await asyncio.create_task(conn.get("/other"))
                assert conn.response is not None
                assert conn.response.url == f"{server.url}/", "that of this task"
                return weakref.ref(conn.response)

            kept = [await asyncio.create_task(work()) for _ in range(10)]
            await asyncio.sleep(0)  # the loop still has the last one
            gc.collect()
            assert [ref() for ref in kept] == [None] * 10
            assert conn.response is None

    asyncio.run(main())
