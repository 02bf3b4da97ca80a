"""Read by the type checker, never run: all that a user writes with `sleepwalker.links`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import requests

from sleepwalker import Connection, ConnectionManager, Response, aio
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager
from sleepwalker.links import Link, follow, links, pages


class OwnManager:
    """What finds connections as a `ConnectionManager` does."""

    def find(self, host: str, auth: Any = None) -> Connection:
        return Connection(host, auth)


def following(conn: Connection, manager: ConnectionManager) -> None:
    response = conn.get("/")
    assert_type(follow(response, "next"), Response)
    assert_type(follow(conn, "next"), Response)
    follow(response, "order", id=7, lang=None)
    follow(response, "order", variables={"id": 7, "data": "full"}, timeout=3)
    follow(response, "create", method="POST", json={"item": "lamp"}, headers={"Accept": "application/hal+json"})
    follow(response, "stock", manager=manager, auth=("user", "password"))
    follow(response, "stock", manager=OwnManager())
    follow(response, "stock", manager=manager, auth="token", allow=["https://b.example.com", "https://*.example.com"])
    follow(response, "stock", manager=manager, allow=5)  # type: ignore[arg-type]
    follow("https://host.com", "next")  # type: ignore[arg-type]
    follow(response, relation="next")  # type: ignore[call-arg]
    follow(response, "next", manager=conn)  # type: ignore[arg-type]


def paging(conn: Connection, manager: ConnectionManager) -> None:
    assert_type(pages(conn), Iterator[Response])
    for page in pages(conn.get("/items"), "older", max_pages=100, manager=manager, allow=(), stream=True):
        assert_type(page, Response)
    pages(conn, missing="end")
    pages(conn, missing="ignore")  # type: ignore[arg-type]


async def awaiting(conn: AsyncConnection, manager: AsyncConnectionManager) -> None:
    response = await conn.get("/")
    assert_type(await aio.follow(response, "next"), Response)
    assert_type(await aio.follow(conn, "order", id=7, manager=manager, auth=("user", "password")), Response)
    assert_type(aio.pages(conn), AsyncIterator[Response])
    async for page in aio.pages(response, "older", max_pages=100, manager=manager, missing="end"):
        assert_type(page, Response)
    await aio.follow("https://host.com", "next")  # type: ignore[arg-type]
    await aio.follow(response, "next", manager=conn)  # type: ignore[arg-type]
    aio.pages(conn, missing="ignore")  # type: ignore[arg-type]


def listing(response: requests.Response) -> None:
    assert_type(links(response), Iterator[Link])
    for link in links(response):
        assert_type(link.relation, str)
        assert_type(link.title, str | None)
        assert_type(link.templated, bool)
        assert_type(follow(response, link), Response)
        assert_type(link.context, str | None)


def by_hand(response: requests.Response) -> None:
    link = Link("next", response.json()["paging"]["older"], response.url)
    assert_type(follow(response, link), Response)
    Link("order", "/orders/{id}", response.url, templated=True)
    Link("next", "/2", response.url, "links")
    Link("next", "/2", response.url, "elsewhere")  # type: ignore[arg-type]
    Link("next", None, response.url)  # type: ignore[arg-type]
