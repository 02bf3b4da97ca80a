"""Hostile servers and hostile users of the asynchronous connections, as far as they differ from the blocking ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
import requests
from servers import Exchange, FaultServer, at, forward_proxy, hang_up, reply

from sleepwalker import ANONYMOUS, Policy, ReadError, URLError
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager


async def _one(url: str) -> None:
    async with AsyncConnection(url, ANONYMOUS) as conn:
        await conn.get("/")


async def _several(url: str) -> None:
    async with AsyncConnection(url, ANONYMOUS) as conn:
        await asyncio.gather(*(conn.get("/") for _ in range(5)))


async def _dropped(url: str) -> None:
    await AsyncConnection(url, ANONYMOUS).get("/")


async def _managed(url: str) -> None:
    async with AsyncConnectionManager() as manager:
        manager.add(url, None, AsyncConnection(url, ANONYMOUS))
        await (await manager.find(url)).get("/")


@pytest.mark.parametrize("use", [_one, _several, _dropped, _managed])
def test_a_connection_that_was_closed_leaves_no_task_to_a_loop_that_ends(
    server: FaultServer, use: Callable[[str], Coroutine[Any, Any, None]]
) -> None:
    """Of aiohttp's, which waits for sockets to be gone, the loop said: Task was destroyed but it is pending."""
    told: list[str] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the socket of one that was dropped
        try:
            loop.run_until_complete(use(server.url))
            assert asyncio.all_tasks(loop) == set()
        finally:
            loop.close()
        gc.collect()
    assert told == []


@pytest.mark.parametrize("body", [None, b"x" * 200_000], ids=["short", "long"])
def test_a_header_value_in_latin_1_leaves_in_the_same_bytes_by_every_call(
    server: FaultServer, body: bytes | None
) -> None:
    """The first call of a connection sent it as UTF-8, the later ones as Latin-1, as the blocking side does."""

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS) as conn:
            for _ in range(3):
                await conn.put("/", data=body, headers={"X-Name": "Zoë"})

    asyncio.run(main())
    assert [request.header("X-Name") for request in server.requests] == ["Zoë"] * 3


@pytest.mark.parametrize("way", ["own", "session", "proxy"])
def test_a_server_that_never_says_100_gets_the_body_all_the_same(server: FaultServer, way: str) -> None:
    """A server of HTTP/1.0 does not know `Expect`: the call waited until its deadline (RFC 9110, section 10.1.1)."""

    async def main(proxies: dict[str, str] | None) -> list[bytes]:
        session = aiohttp.ClientSession() if way == "session" else None
        async with AsyncConnection(server.url, ANONYMOUS, session=session, proxies=proxies) as conn:
            for _ in range(2):
                await conn.post("/", data=b"paid", headers={"Expect": "100-continue"}, total=5)
        if session is not None:
            await session.close()
        return [request.body for request in server.requests]

    if way == "proxy":
        with forward_proxy() as proxy:
            assert asyncio.run(main({"http": proxy.url})) == [b"paid"] * 2
    else:
        assert asyncio.run(main(None)) == [b"paid"] * 2


def test_a_session_of_the_callers_adds_no_content_type_of_aiohttps_own(server: FaultServer) -> None:
    """A body of bytes has none, as on the blocking side; aiohttp called it application/octet-stream."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session, AsyncConnection(server.url, ANONYMOUS, session=session) as conn:
            await conn.post("/", data=b"bytes")
            await conn.post("/", json={"of": "the caller"})

    asyncio.run(main())
    assert [request.header("Content-Type") for request in server.requests] == [None, "application/json"]


class Changes:
    """An auth object that signs a request: here it changes an attribute of it, from the second request on."""

    def __init__(self, name: str, change: Callable[[Any], Any]) -> None:
        self._name, self._change = name, change
        self.begun = False

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.begun:
            setattr(request, self._name, self._change(getattr(request, self._name)))
        return request


def _called_with(url: str, auth: Changes, *, warm: bool) -> None:
    async def main() -> None:
        async with AsyncConnection(url, auth) as conn:
            if warm:
                await conn.get("/warm")
            auth.begun = True
            await conn.get("/signed")

    asyncio.run(main())


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize(
    ("added", "sent"),
    [
        ("?by=a\r\nX-Injected: 1", "?by=a%0D%0AX-Injected:%201"),
        ("?by=a b", "?by=a%20b"),
        ("?by=Zoë\0", "?by=Zo%C3%AB%00"),
        ("?by=a%20b/+=", "?by=a%20b/+="),
    ],
)
def test_what_an_auth_object_adds_to_a_url_ends_no_line(server: FaultServer, added: str, sent: str, warm: bool) -> None:
    """It went to the wire as it was, and what came after a line break there was another header."""
    _called_with(server.url, Changes("url", lambda url: url + added), warm=warm)
    assert server.requests[-1].target == f"/signed{sent}"
    assert server.requests[-1].header("X-Injected") is None


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("method", ["GET evil", "GET / HTTP/1.1\r\n\r\nDELETE", ""])
def test_a_method_of_an_auth_object_that_is_none_is_refused(server: FaultServer, method: str, warm: bool) -> None:
    """Later calls of a connection sent two requests for one."""
    with pytest.raises(URLError, match="method"):
        _called_with(server.url, Changes("method", lambda _: method), warm=warm)
    assert [request.target for request in server.requests] == ["/warm"] * warm


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
def test_an_iterator_that_an_auth_object_gave_for_a_body_is_sent_in_chunks(server: FaultServer, warm: bool) -> None:
    """Nothing said where it ended: the server took it for the beginning of the next request."""
    _called_with(server.url, Changes("body", lambda _: iter([b"ab", b"c"])), warm=warm)
    assert server.requests[-1].body == b"abc"


#: Each call is one send; the second one goes by the short way if there is one.
ONCE = Policy(retry=False)


def _says(raw: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(raw)


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "xchunked", "chunked;q=1", "\x0bchunked", "chunked, gzip"])
def test_a_transfer_coding_that_was_not_asked_for_is_refused(server: FaultServer, coding: str, warm: bool) -> None:
    """aiohttp gave such a body as it came, still encoded, and with a 200."""

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            if warm:
                await conn.get("/")
            body = b"2\r\nok\r\n0\r\n\r\n"
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: {coding}\r\n\r\n"
            server.script(_says(head.encode("latin-1") + body))
            with pytest.raises(ReadError, match="Transfer-Encoding"):
                await conn.get("/", total=5)
            await asyncio.to_thread(server.wait_for_open, 0)

    asyncio.run(main())


def test_whitespace_before_the_colon_is_no_part_of_a_name(server: FaultServer) -> None:
    """Its header was there, but not to be found by its name."""

    async def main() -> str | None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            server.script(_says(b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"))
            return (await conn.get("/")).headers.get("Content-Length")

    assert asyncio.run(main()) == "2"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
def test_a_socket_that_changed_its_protocol_is_not_used_again(server: FaultServer, warm: bool, streamed: bool) -> None:
    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            if warm:
                await conn.get("/")
            server.script(_says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"))
            if streamed:
                async with conn.stream("GET", "/") as response:
                    assert (response.status_code, await response.aread()) == (101, b"")
            else:
                assert (await conn.get("/")).status_code == 101
            await conn.get("/")

    asyncio.run(main())
    assert server.requests[-1].connection == 2


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
def test_a_length_that_is_announced_and_not_brought_is_not_above_max_body(
    server: FaultServer, method: str, status: int, warm: bool
) -> None:
    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE, max_body=1000) as conn:
            if warm:
                await conn.get("/")
            server.script(_says(b"HTTP/1.1 %d Fine\r\nContent-Length: 5000\r\n\r\n" % status))
            assert await conn.json_request(method, "/") is None
            await conn.get("/")

    asyncio.run(main())
    assert {request.connection for request in server.requests} == {1}


def test_interim_responses_without_end_are_refused_soon(server: FaultServer) -> None:
    """They kept the loop busy until the deadline."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            await conn.get("/")
            server.script(_says(interim * 1000 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            assert (await conn.get("/")).content == b"ok"
            for body in (b"", b"x" * 5_000_000):
                server.script(at("head", _says(interim * 1001)))
                with pytest.raises(ReadError, match="more than 1000 interim"):
                    await conn.put("/", data=body)

    asyncio.run(main())


def test_a_few_bytes_that_are_decoded_to_many_leave_the_loop_to_other_tasks(server: FaultServer) -> None:
    """What one read of a stream brought was decoded at once: 64 KB of a bomb to 64 MB; the loop stood still."""
    server.default = reply(200, gzip.compress(bytes(5_000_000)), {"Content-Encoding": "gzip"})

    async def main() -> tuple[int, list[int]]:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn, conn.stream("GET", "/") as response:
            task = asyncio.ensure_future(others())
            size, seen = 0, []
            async for piece in response.aiter_bytes():
                size += len(piece)
                seen.append(turns)
            task.cancel()
        return size, seen

    size, seen = asyncio.run(main())
    assert size == 5_000_000
    assert len(seen) > 50
    assert len(set(seen)) == len(seen)


def test_a_session_of_the_callers_sends_a_request_no_more_often_than_the_policy_says(server: FaultServer) -> None:
    """aiohttp sent an idempotent one again by itself, where a socket broke that had been used before."""
    passed: list[str] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        passed.append(request.url.path)
        return await handler(request)

    async def main() -> None:
        async with (
            aiohttp.ClientSession(middlewares=(note,)) as session,
            AsyncConnection(server.url, ANONYMOUS, policy=ONCE, session=session) as conn,
        ):
            await conn.get("/first")
            server.script(hang_up())
            with pytest.raises(ReadError) as caught:
                await conn.get("/broke")
            assert len(caught.value.attempts) == 1
            await conn.get("/last")
            async with session.get(server.url + "/own") as response:
                assert response.status == 200

    asyncio.run(main())
    assert [request.target for request in server.requests] == ["/first", "/broke", "/last", "/own"]
    assert passed == ["/first", "/broke", "/last", "/own"]


def test_a_middleware_of_the_callers_session_may_send_again(server: FaultServer) -> None:
    async def patient(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        return response if response.status < 500 else await handler(request)

    async def main() -> None:
        async with (
            aiohttp.ClientSession(middlewares=(patient,)) as session,
            AsyncConnection(server.url, ANONYMOUS, policy=ONCE, session=session) as conn,
        ):
            server.script(reply(503), reply(200, b"fine"))
            assert (await conn.get("/")).content == b"fine"

    asyncio.run(main())
    assert len(server.requests) == 2


@pytest.mark.parametrize("of_the_callers", [False, True], ids=["own session", "session="])
def test_a_task_that_outlasts_the_attempt_in_which_it_began_may_use_the_session(
    server: FaultServer, of_the_callers: bool
) -> None:
    """It was taken for the attempt that was over, which sends once: aiohttp's errors said that the server hung up."""
    begun: list[asyncio.Task[list[int]]] = []

    async def main() -> None:
        session = aiohttp.ClientSession() if of_the_callers else None
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE, session=session) as conn:
            over = asyncio.Event()

            async def later() -> list[int]:
                await over.wait()
                assert conn.conn is not None
                statuses = []
                for _ in range(2):
                    async with conn.conn.get(server.url) as response:
                        statuses.append(response.status)
                return statuses

            async def body() -> AsyncIterator[bytes]:
                begun.append(asyncio.ensure_future(later()))
                yield b"begun"

            await conn.put("/", data=body)
            over.set()
            assert await begun[0] == [200, 200]
        if session is not None:
            await session.close()

    asyncio.run(main())


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
def test_an_idle_socket_that_brings_what_was_not_asked_for_is_closed(server: FaultServer, warm: bool) -> None:
    """aiohttp reads all that comes, and kept it for a next call: a flood filled the memory, 100 MB each second."""
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def floods(exchange: Exchange) -> None:
        exchange.send(response)
        exchange.pause(0.05)
        while True:
            exchange.send(response * 10)
            exchange.pause(0.02)

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            if warm:
                await conn.get("/")
            server.script(floods)
            await conn.get("/")
            await asyncio.to_thread(server.wait_for_open, 0)
            assert (await conn.get("/")).content == b"ok"

    asyncio.run(main())


def test_a_socket_that_the_server_is_about_to_close_is_closed_though_nothing_is_called(server: FaultServer) -> None:
    server.script(reply(200, b"ok"), reply(200, b"ok", {"Keep-Alive": "timeout=1"}))

    async def main() -> None:
        async with AsyncConnection(server.url, ANONYMOUS, policy=ONCE) as conn:
            await conn.get("/")
            await asyncio.sleep(1.2)  # looked at, and left open
            await conn.get("/")
            await asyncio.to_thread(server.wait_for_open, 0)

    asyncio.run(main())
    assert [request.connection for request in server.requests] == [1, 1]


def test_a_server_that_floods_an_idle_socket_loses_it_within_two_seconds() -> None:
    """What it sends is parsed, and kept: without a look at idle sockets it would fill the memory."""

    async def main() -> None:
        cut = asyncio.Event()

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                while True:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            writer.close()
            cut.set()

        server = await asyncio.start_server(flood, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncConnection(url, ANONYMOUS) as conn:
            assert (await conn.get("/")).content == b"ok"
            async with asyncio.timeout(5):
                await cut.wait()
        server.close()

    asyncio.run(main())
