"""`follow` and `pages` for asyncio: the walks of `sleepwalker.links`, awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from sleepwalker.connection import Connection, ConnectionManager
from sleepwalker.connection.response import Response
from sleepwalker.frames import empty_frames
from sleepwalker.links import deciding
from sleepwalker.links.performing import Call, Steps, by, named
from sleepwalker.links.walk import Walk

__all__ = ["follow", "pages"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def perform(steps: Steps[_T]) -> _T:
    """Run the steps to their end, awaiting each call in this task, and return their result.

    TypeError for a call that would block the loop.
    """
    try:
        call = next(steps)
        while True:
            try:
                reply = _made(call)
                if inspect.isawaitable(reply):
                    reply = await reply
            except BaseException as error:  # noqa: BLE001 - the steps raise it again, or go on
                call = steps.throw(error)
            else:
                call = steps.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _made(call: Call) -> Any:
    if isinstance(call.of, ConnectionManager | Connection):
        kind = type(call.of).__name__
        other = "AsyncConnectionManager" if isinstance(call.of, ConnectionManager) else "AsyncConnection"
        raise TypeError(
            f"the {kind} would block the event loop: use an {other}, or use follow and pages from sleepwalker.links"
        )
    return call()


class _Pages(AsyncIterator[Response]):
    """The walk of `pages`. Not an asynchronous generator, which would end with its first error."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    async def __anext__(self) -> Response:
        walk = self._walk
        page = walk.begin(asyncio.current_task(), "task")
        try:
            following = await perform(walk.onward(page, 5))
            if following is None:
                raise StopAsyncIteration
            walk.rest(following)
            return following.response
        except BaseException as error:
            walk.rest(page)  # also if it was cancelled as the response came: the caller has not seen it
            empty_frames(error)
            raise


async def _followed(steps: Steps[Response]) -> Response:
    return await perform(steps)


def _paged(walk: Walk) -> AsyncIterator[Response]:
    return _Pages(walk)


def _awaited(decide: Callable[_P, Steps[Response]]) -> Callable[_P, Coroutine[Any, Any, Response]]:
    """As `by(_followed)`, but a coroutine function, which decides once it is awaited."""

    async def call(*args: _P.args, **kwargs: _P.kwargs) -> Response:
        try:
            try:
                steps = decide(*args, **kwargs)
            finally:
                del args, kwargs
            return await _followed(steps)
        except BaseException as error:
            empty_frames(error)
            raise

    return named(call, decide, _followed)


follow = _awaited(deciding.follow)
pages = by(_paged)(deciding.pages)
