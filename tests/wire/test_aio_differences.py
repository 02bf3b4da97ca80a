"""What docs/reference/asyncio.md says of asyncio that is not so of threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth
from servers import FaultServer, reply, stall

from sleepwalker import ANONYMOUS, HTTPNotFound, Policy, ReadTimeout, URLError
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager
from sleepwalker.exceptions import ConnectionError


def run(url: str, use: Callable[[AsyncConnection], Awaitable[Any]], *auth: Any, **options: Any) -> Any:
    async def main() -> Any:
        async with AsyncConnection(url, *(auth or (ANONYMOUS,)), **options) as conn:
            return await use(conn)

    return asyncio.run(main())


@pytest.mark.parametrize("value", ["é", b"\xe9", "é".encode()], ids=["text", "Latin-1", "UTF-8"])
@pytest.mark.parametrize("body", [None, b"x", b"x" * 200_000], ids=["none", "short", "long"])
def test_a_header_value_is_latin_1_and_through_a_session_of_the_callers_utf_8(
    server: FaultServer, value: str | bytes, body: bytes | None
) -> None:
    server.default = reply(200, b"ok")

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            for theirs in (None, session):
                async with AsyncConnection(server.url, ANONYMOUS, session=theirs) as conn:
                    await conn.post("/", data=body, headers={"X-A": value})

    asyncio.run(main())
    ours, theirs = (str(request.header("X-A")).encode("latin-1") for request in server.requests)
    assert ours == (value.encode("latin-1") if isinstance(value, str) else value)
    assert theirs == "é".encode()


def test_a_value_beyond_latin_1_is_refused(server: FaultServer) -> None:
    with pytest.raises(URLError, match="encode it to bytes"):
        run(server.url, lambda conn: conn.get("/", headers={"X-A": "€"}))


def test_a_socks_proxy_is_refused_when_the_connection_is_made() -> None:
    with pytest.raises(URLError, match="SOCKS"):
        AsyncConnection("http://api.example.com", ANONYMOUS, proxies={"http": "socks5://127.0.0.1:1080"})


class Challenged(AuthBase):
    """Sends again once it is asked who it is, and does something after that."""

    def __init__(self) -> None:
        self.went_on = False

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        prepared.register_hook("response", self.respond)
        return prepared

    def respond(self, response: Any, **kwargs: Any) -> Any:
        if response.status_code != 401:
            return response
        again = response.request.copy()
        again.headers["Authorization"] = "Token 1"
        answer = response.connection.send(again, **kwargs)
        self.went_on = True
        return answer


def test_an_auth_object_may_send_again_and_what_it_does_after_that_is_not_run(server: FaultServer) -> None:
    server.script(reply(401), reply(200, b"ok"))
    auth = Challenged()
    response = run(server.url, lambda conn: conn.get("/"), auth)
    assert (response.content, auth.went_on, len(response.attempts)) == (b"ok", False, 1)
    assert server.requests[-1].header("Authorization") == "Token 1"


def test_digest_works(server: FaultServer) -> None:
    challenge = {"WWW-Authenticate": 'Digest realm="a", nonce="b", qop="auth", algorithm=SHA-256'}
    server.script(reply(401, headers=challenge), reply(200, b"ok"))
    assert run(server.url, lambda conn: conn.get("/"), HTTPDigestAuth("user", "password")).content == b"ok"
    assert str(server.requests[-1].header("Authorization")).startswith("Digest ")


def test_code_of_the_callers_runs_in_the_loop_and_plain_hooks_in_threads(server: FaultServer) -> None:
    server.default = reply(503)
    where: dict[str, threading.Thread] = {}

    def here(name: str, value: Any) -> Any:
        where[name] = threading.current_thread()
        return value

    class Plain(AsyncConnectionHook):
        def connect(self, host: str, auth: Any) -> AsyncConnection:
            here("hook", None)
            return AsyncConnection(
                server.url,
                lambda prepared: here("auth", prepared),
                observer=lambda event: here("observer", None),
                retry_if=lambda outcome: here("retry_if", False),
                policy=Policy(retry={"attempts": 2, "wait_initial": 0, "statuses": []}),
            )

    async def main() -> None:
        async with AsyncConnectionManager() as manager:
            manager.add_conn_hook(Plain())
            conn = await manager.find("orders")
            await conn.put("/", data=lambda: here("data", b"one"), raise_for_status=False)

    asyncio.run(main())
    assert where.pop("hook") is not threading.main_thread()
    assert set(where) == {"auth", "observer", "retry_if", "data"}
    assert set(where.values()) == {threading.main_thread()}


def test_the_last_response_is_that_of_the_task(server: FaultServer) -> None:
    server.default = reply(200, b"ok")

    async def use(conn: AsyncConnection) -> tuple[list[str], object]:
        async def mine(path: str) -> str:
            await conn.get(path)
            await asyncio.sleep(0.01)
            assert conn.response is not None
            return conn.response.request.path_url

        return [*await asyncio.gather(mine("/1"), mine("/2"))], conn.response

    assert run(server.url, use) == (["/1", "/2"], None)


def test_there_is_no_session_before_the_first_call_and_nothing_raw_after_it(server: FaultServer) -> None:
    server.default = reply(200, b"ok")

    async def use(conn: AsyncConnection) -> tuple[Any, ...]:
        before = conn.conn
        response = await conn.get("/")
        return before, type(conn.conn), response.raw, hasattr(response, "connection")

    assert run(server.url, use) == (None, aiohttp.ClientSession, None, False)


def test_of_a_session_of_the_callers_headers_count_and_timeout_and_raise_for_status_do_not(server: FaultServer) -> None:
    server.script(reply(404), stall())

    async def main() -> bool:
        timeout = aiohttp.ClientTimeout(total=0.001)
        async with aiohttp.ClientSession(headers={"X-S": "1"}, timeout=timeout, raise_for_status=True) as session:
            async with AsyncConnection(server.url, ANONYMOUS, session=session, policy="off") as conn:
                with pytest.raises(HTTPNotFound):
                    await conn.get("/")
                with pytest.raises(ReadTimeout):
                    await conn.get("/", timeout=0.3)
            return session.closed

    assert asyncio.run(main()) is False
    assert [request.header("X-S") for request in server.requests] == ["1", "1"]


def test_a_stream_that_breaks_is_an_error_and_a_failure_of_its_host(server: FaultServer) -> None:
    server.default = reply(200, b"short", headers={"Content-Length": "1000"})

    async def use(conn: AsyncConnection) -> tuple[bytes, int]:
        received = b""
        async with conn.stream("GET", "/") as response:
            try:
                async for piece in response.aiter_bytes():
                    received += piece
            except ConnectionError:
                return received, conn.health.failures
        raise AssertionError("it was taken for whole")

    assert run(server.url, use, policy=Policy(timeout={"read": 0.5})) == (b"short", 1)


def test_an_asynchronous_iterable_is_sent_once_and_a_function_that_makes_one_again(server: FaultServer) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def use(conn: AsyncConnection) -> list[int]:
        tried = []
        for body in (pieces(), pieces):
            server.script_clear()
            server.script(reply(503), reply(200, b"ok"))
            tried.append(len((await conn.put("/", data=body, raise_for_status=False)).attempts))
        return tried

    assert run(server.url, use) == [1, 2]
    assert [request.body for request in server.requests] == [b"onetwo"] * 3
