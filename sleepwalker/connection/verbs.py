"""The HTTP verbs as methods: each calls `request` with that method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from sleepwalker.connection.handover import Handover
from sleepwalker.connection.options import RequestOptions
from sleepwalker.connection.response import Response
from sleepwalker.frames import without_locals
from sleepwalker.transport.blocking.attempt import discard


class Verbs:
    """For a class with a `request`. The verbs call it by name, so a subclass may replace it."""

    __slots__ = ()

    if TYPE_CHECKING:
        _handover: Handover

        def request(self, method: str, uri: str, **options: Unpack[RequestOptions]) -> Response: ...

    @without_locals
    def get(self, uri: str, **kwargs: Unpack[RequestOptions]) -> Response:
        """`request` with GET."""
        return self._requested("GET", uri, kwargs)

    @without_locals
    def head(self, uri: str, **kwargs: Unpack[RequestOptions]) -> Response:
        """`request` with HEAD."""
        return self._requested("HEAD", uri, kwargs)

    @without_locals
    def post(self, uri: str, **kwargs: Unpack[RequestOptions]) -> Response:
        """`request` with POST."""
        return self._requested("POST", uri, kwargs)

    @without_locals
    def put(self, uri: str, **kwargs: Unpack[RequestOptions]) -> Response:
        """`request` with PUT."""
        return self._requested("PUT", uri, kwargs)

    @without_locals
    def patch(self, uri: str, **kwargs: Unpack[RequestOptions]) -> Response:
        """`request` with PATCH."""
        return self._requested("PATCH", uri, kwargs)

    @without_locals
    def delete(self, uri: str, **kwargs: Unpack[RequestOptions]) -> Response:
        """`request` with DELETE."""
        return self._requested("DELETE", uri, kwargs)

    @without_locals
    def options(self, uri: str, **kwargs: Unpack[RequestOptions]) -> Response:
        """`request` with OPTIONS."""
        return self._requested("OPTIONS", uri, kwargs)

    def _requested(self, method: str, uri: str, kwargs: RequestOptions) -> Response:
        """What `request` returns. If a Ctrl-C comes just then, the response, which nothing gets, is closed."""
        before = self._handover.latest
        try:
            return self.request(method, uri, **kwargs)
        except BaseException:
            if (latest := self._handover.latest) is not before:
                discard(latest)
            raise
