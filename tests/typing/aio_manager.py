"""How a manager for asyncio is used, for the type checker to read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, assert_type

from sleepwalker import ANONYMOUS, ConnectionHook, ConnectionManager, HostHealth, Policy
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager
from sleepwalker.fleet import Fleet
from sleepwalker.hosts import HostTable


class Login(AsyncConnectionHook):
    async def connect(self, host: str, auth: Any) -> AsyncConnection | None:
        return AsyncConnection(host, auth or ANONYMOUS) if host.startswith("https://") else None


class Blocking(AsyncConnectionHook):
    def connect(self, host: str, auth: Any) -> AsyncConnection:
        return AsyncConnection(host, auth)


class Old(ConnectionHook):
    def connect(self, host: str, auth: Any) -> AsyncConnection | None:
        return None


class Like:
    async def connect(self, host: str, auth: Any) -> AsyncConnection:
        return AsyncConnection(host, auth)


class Client:
    async def get(self, url: str) -> bytes:
        return b""


class Clients:
    async def connect(self, host: str, auth: Any) -> Client | None:
        return Client()


async def found(hosts: HostTable, fleet: Fleet) -> None:
    manager = AsyncConnectionManager(policy="interactive", policies={"https://*.example.com": Policy()}, fleet=fleet)
    for hook in (Login(), Blocking(), Old(), Like()):
        manager.add_conn_hook(hook)
    conn = await manager.find("https://api.example.com", ("user", "password"), timeout=5)
    assert_type(conn, AsyncConnection)
    assert_type((await conn.get("/")).status_code, int)
    manager.add("https://api.example.com", None, conn)
    assert_type(manager.conns, Mapping[tuple[str, Any], AsyncConnection])
    assert_type(list(manager), list[tuple[str, AsyncConnection]])
    assert_type(manager.is_current(conn, "https://api.example.com"), bool)
    assert_type(manager.held_as(conn), tuple[tuple[str, Any], ...])
    assert_type(manager.health(), dict[str, HostHealth])
    assert_type(manager.health("https://api.example.com"), HostHealth)
    assert_type(manager.evict("https://api.example.com"), int)
    assert_type(len(manager), int)
    manager.isolate("https://api.example.com", reason="moves", until=datetime.now(UTC))
    manager.restore("https://api.example.com")
    manager.reset_circuit("https://api.example.com")
    manager.forget("https://api.example.com")
    manager.reload("batch")
    manager.clear_hooks()
    manager.reset()
    await manager.close()


async def found_otherwise() -> None:
    async with AsyncConnectionManager[Client](guard=["fetch"]) as manager:
        assert_type(manager, AsyncConnectionManager[Client])
        manager.add_conn_hook(Clients())
        assert_type(await manager.find("https://api.example.com"), Client)
        assert_type(await (await manager.find("https://api.example.com")).get("/"), bytes)
        beside = ConnectionManager(hosts=manager.hosts)
        assert_type(AsyncConnectionManager(hosts=beside.hosts).hosts, HostTable)
