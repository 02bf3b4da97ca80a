"""The HTTP verbs as methods: each calls `request` with that method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from sleepwalker.connection.options import AsyncRequestOptions
from sleepwalker.connection.response import Response
from sleepwalker.frames import without_locals


class AsyncVerbs:
    """For a class with a `request`. The verbs call it by name, so a subclass may replace it."""

    __slots__ = ()

    if TYPE_CHECKING:

        async def request(self, method: str, uri: str, **options: Unpack[AsyncRequestOptions]) -> Response: ...

    @without_locals
    async def get(self, uri: str, **kwargs: Unpack[AsyncRequestOptions]) -> Response:
        """`request` with GET."""
        return await self.request("GET", uri, **kwargs)

    @without_locals
    async def head(self, uri: str, **kwargs: Unpack[AsyncRequestOptions]) -> Response:
        """`request` with HEAD."""
        return await self.request("HEAD", uri, **kwargs)

    @without_locals
    async def post(self, uri: str, **kwargs: Unpack[AsyncRequestOptions]) -> Response:
        """`request` with POST."""
        return await self.request("POST", uri, **kwargs)

    @without_locals
    async def put(self, uri: str, **kwargs: Unpack[AsyncRequestOptions]) -> Response:
        """`request` with PUT."""
        return await self.request("PUT", uri, **kwargs)

    @without_locals
    async def patch(self, uri: str, **kwargs: Unpack[AsyncRequestOptions]) -> Response:
        """`request` with PATCH."""
        return await self.request("PATCH", uri, **kwargs)

    @without_locals
    async def delete(self, uri: str, **kwargs: Unpack[AsyncRequestOptions]) -> Response:
        """`request` with DELETE."""
        return await self.request("DELETE", uri, **kwargs)

    @without_locals
    async def options(self, uri: str, **kwargs: Unpack[AsyncRequestOptions]) -> Response:
        """`request` with OPTIONS."""
        return await self.request("OPTIONS", uri, **kwargs)
