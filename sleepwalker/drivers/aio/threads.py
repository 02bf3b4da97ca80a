"""Runs slow plain functions for tasks: each in a daemon thread that no loop waits for."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from sleepwalker.drivers.threads import workers

T = TypeVar("T")


class _Ended(Generic[T]):
    """How a function ended. An exception is kept as a value, because an abandoned future would log it."""

    __slots__ = ("error", "value")

    def __init__(self, run: Callable[[], T]) -> None:
        self.error: BaseException | None = None
        try:
            self.value: T = run()
        except BaseException as error:  # noqa: BLE001 - the caller's to see
            error.__traceback__ = None if error.__traceback__ is None else error.__traceback__.tb_next
            self.error = error


async def in_thread(run: Callable[[], T], name: str, dropped: Callable[[T], object] = lambda value: None) -> T:
    """Call `run` in a thread of that name, with the task's context. Returns what it returns, raises what it raises.

    A cancelled task does not wait for it. A late result is passed to `dropped`: in the loop, or in the thread if the
    loop is closed.

    Raises `workers.NoThread` if no thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Ended[T]] = loop.create_future()
    workers.lend(partial(contextvars.copy_context().run, _work, [run], loop, future, dropped), name)
    del run  # a traceback with locals, of a coroutine, would show what it holds
    ended = await future
    if ended.error is None:
        return ended.value
    try:
        raise ended.error
    finally:
        del ended  # which holds the error, whose traceback holds this frame


def _work(
    run: list[Callable[[], T]],
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[_Ended[T]],
    dropped: Callable[[T], object],
) -> None:
    ended = _Ended(run.pop())
    try:
        loop.call_soon_threadsafe(_hand_over, ended, future, dropped)
    except RuntimeError:  # it is closed
        _drop(ended, dropped)


def _hand_over(ended: _Ended[T], future: asyncio.Future[_Ended[T]], dropped: Callable[[T], object]) -> None:
    if future.done():
        _drop(ended, dropped)
    else:
        future.set_result(ended)


def _drop(ended: _Ended[T], dropped: Callable[[T], object]) -> None:
    if ended.error is None:
        dropped(ended.value)
