"""Walks of asyncio: the steps are those of the blocking ones, so this is about how they are performed."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import traceback
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import requests

import sleepwalker
import sleepwalker.links
from sleepwalker import ANONYMOUS, Connection, ConnectionManager, LinkError, RelationError, URLError
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.aio.links import follow, pages

SECRET = "canary-91d4"
PACKAGE = str(Path(sleepwalker.__file__).parent)
HOME = "https://a.test"


def page(url: str, links: dict[str, Any]) -> requests.Response:
    response = requests.Response()
    response.status_code, response.url = 200, url
    response._content = json.dumps({"_links": links}).encode()
    response.headers["Content-Type"] = "application/json"
    return response


class Client:
    """A foreign client whose requests are awaited. It has as many pages as `last` says."""

    def __init__(self, last: int = 3, deprecated: bool = False) -> None:
        self.last, self.more = last, {"deprecation": ""} if deprecated else {}
        self.sent: list[tuple[str, str, Any]] = []
        self.before: Callable[[str], Awaitable[None]] | None = None

    def first(self) -> requests.Response:
        return self.page(f"{HOME}/1")

    def page(self, url: str) -> requests.Response:
        number = int(url.rpartition("/")[2])
        return page(url, {"next": {"href": f"/{number + 1}", **self.more}} if number < self.last else {})

    async def request(self, method: str, url: str, **options: Any) -> requests.Response:
        if self.before is not None:
            await self.before(url)
        await asyncio.sleep(0)
        self.sent.append((method, url, options))
        return self.page(url)


class Manager:
    """Finds one client for all hosts, once it is awaited."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.asked: list[tuple[str, Any]] = []

    async def find(self, host: str, auth: Any = None) -> Any:
        await asyncio.sleep(0)
        self.asked.append((host, auth))
        return self.client


async def numbers(walk: Any) -> list[int]:
    return [int(one.url.rpartition("/")[2]) async for one in walk]


def test_each_step_awaits_the_manager_and_what_it_found() -> None:
    client = Client()
    manager = Manager(client)

    async def walk() -> None:
        assert await numbers(pages(client.first(), manager=manager, headers={"X-A": "1"})) == [1, 2, 3]
        assert (await follow(client.first(), "next", manager=manager, method="PUT")).url == f"{HOME}/2"

    asyncio.run(walk())
    assert manager.asked == [(HOME, None)] * 3
    assert [one[:2] for one in client.sent] == [("GET", f"{HOME}/2"), ("GET", f"{HOME}/3"), ("PUT", f"{HOME}/2")]
    assert client.sent[0][2] == {"headers": {"X-A": "1"}}


def test_a_plain_function_that_finds_will_do() -> None:
    client = Client()

    class Plain:
        def find(self, host: str, auth: Any = None) -> Client:
            return client

    assert asyncio.run(numbers(pages(client.first(), manager=Plain()))) == [1, 2, 3]


def test_what_is_decided_at_once_is_raised_as_in_blocking_code() -> None:
    async def walk() -> None:
        with pytest.raises(RelationError, match="has no link 'sold'"):
            await follow(Client().first(), "sold", manager=Manager(None))
        with pytest.raises(RelationError, match="pass missing='end'"):
            pages(Client().first(), "sold", manager=Manager(None))
        with pytest.raises(URLError, match=r"whose credentials are sent nowhere else|no longer exists"):
            await follow(Client().first(), "next")

    asyncio.run(walk())


@pytest.mark.parametrize("of", ["manager", "connection"])
def test_what_would_block_the_loop_is_refused_before_it_is_asked(of: str) -> None:
    def connect(host: str, auth: Any) -> Any:
        raise AssertionError("a hook was asked")

    with Connection(HOME, ANONYMOUS) as conn, ConnectionManager() as blocking:
        manager: Any = Manager(conn)
        if of == "manager":
            blocking.add_conn_hook(type("Hook", (sleepwalker.ConnectionHook,), {"connect": staticmethod(connect)})())
            manager = blocking
        says = r"the Connection(Manager)? would block the event loop: use an AsyncConnection(Manager)?, or"
        with pytest.raises(TypeError, match=says):
            asyncio.run(numbers(pages(Client().page(f"{HOME}/1"), manager=manager)))


def test_blocking_code_says_where_the_awaited_functions_are_and_leaves_no_coroutine() -> None:
    client = Client()
    with pytest.raises(TypeError, match=r"returned an awaitable: use follow and pages from sleepwalker.aio"):
        sleepwalker.links.follow(client.first(), "next", manager=Manager(client))
    gc.collect()  # a coroutine that was never awaited would warn, and warnings are errors here
    assert client.sent == []


def test_a_walk_that_is_cancelled_or_fails_goes_on_with_the_same_step() -> None:
    client = Client()
    troubles: list[BaseException] = [OurConnectionError("reset"), asyncio.CancelledError(), LinkError("odd")]

    async def trouble(url: str) -> None:
        if troubles:
            raise troubles.pop()

    async def walk() -> None:
        client.before = trouble
        going = pages(client.first(), manager=Manager(client))
        assert (await anext(going)).url == f"{HOME}/1"
        for error in list(reversed(troubles)):
            with pytest.raises(type(error)):
                await anext(going)
        assert await numbers(going) == [2, 3]
        assert await numbers(going) == []

    asyncio.run(walk())


def test_a_walk_whose_task_is_cancelled_while_it_waits_loses_no_page() -> None:
    client = Client()

    async def walk() -> None:
        going = pages(client.first(), manager=Manager(client))
        await anext(going)
        begun = asyncio.Event()

        async def hang(url: str) -> None:
            begun.set()
            await asyncio.Event().wait()

        client.before = hang
        task = asyncio.ensure_future(going.__anext__())
        await begun.wait()
        with pytest.raises(ValueError, match="another task uses this iterator: make one iterator per task"):
            await asyncio.ensure_future(going.__anext__())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        client.before = None
        assert await numbers(going) == [2, 3]

    asyncio.run(walk())


def test_a_warning_is_about_the_callers_line() -> None:
    client = Client(deprecated=True)
    manager = Manager(client)

    async def walk() -> None:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await follow(client.first(), "next", manager=manager)
            async for _ in pages(client.first(), manager=manager):
                pass
        assert [(one.category, one.filename) for one in told] == [(DeprecationWarning, __file__)] * 3

    asyncio.run(walk())


@pytest.mark.parametrize("how", ["follow", "pages", "refused"])
def test_an_error_shows_nothing_of_what_goes_with_each_step(how: str) -> None:
    class Failing(Client):
        async def request(self, method: str, url: str, **options: Any) -> requests.Response:
            raise OurConnectionError("no way")

    client = Failing()
    first = page(f"{HOME}/1", {"next": {"href": f"/2?token={SECRET}"}})
    more: dict[str, Any] = {"auth": ("anna", SECRET), "headers": {"X-A": SECRET}, "params": {"key": SECRET}}

    async def walk() -> None:
        if how == "follow":
            await follow(first, "next", manager=Manager(client), **more)
        elif how == "pages":
            await numbers(pages(first, manager=Manager(client), **more))
        else:
            await follow(first, "next", allow=[f"https://x:{SECRET}@b"], **more)

    with pytest.raises((OurConnectionError, URLError, ValueError)) as caught:
        asyncio.run(walk())
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    assert ours
    assert SECRET not in repr([frame.locals for frame in ours])


@pytest.mark.parametrize("name", ["follow", "pages"])
def test_the_arguments_and_the_text_are_those_of_the_blocking_function(name: str) -> None:
    blocking, awaited = getattr(sleepwalker.links, name), {"follow": follow, "pages": pages}[name]
    assert inspect.signature(awaited).parameters == inspect.signature(blocking).parameters
    assert awaited.__doc__ == blocking.__doc__
    assert (awaited.__name__, blocking.__name__) == (name, name)
    assert inspect.iscoroutinefunction(follow)
    assert inspect.signature(pages).return_annotation == "AsyncIterator[Response]"
