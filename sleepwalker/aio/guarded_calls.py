"""The calls that a guard makes of a foreign object's coroutine functions, under a policy."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any

import aiohttp

from sleepwalker.connection import guarded_calls
from sleepwalker.connection.foreign import outcome_of_deadline
from sleepwalker.connection.guarded_calls import GuardedCallsBase
from sleepwalker.drivers.aio.drive import drive
from sleepwalker.drivers.aio.waits import Waits
from sleepwalker.engine import Final, Outcome, Send
from sleepwalker.frames import empty_frames
from sleepwalker.transport.aio.errors import translate


class AsyncGuardedCalls(GuardedCallsBase):
    """The work of a guard, with tasks. Plain functions are passed through: their waits would block the loop.

    The methods of an `aiohttp.ClientSession` are plain functions, but what they return is awaited, or entered.
    """

    __slots__ = ()

    waits: Waits

    def __post_init__(self) -> None:
        GuardedCallsBase.__post_init__(self)
        self.waits = Waits()

    def takes(self, function: Callable[..., Any]) -> bool:
        """Whether it is a coroutine function, or a method of an `aiohttp.ClientSession`."""
        return inspect.iscoroutinefunction(function) or _is_of_aiohttp(function)

    def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` under the policy."""

        @functools.wraps(function, updated=())
        async def call(*args: Any, **kwargs: Any) -> Any:
            mark = object()
            try:
                self._begin(mark)
                return self._hand_over(await self._driven(name, function, args, kwargs))
            except BaseException as error:
                empty_frames(error)
                raise
            finally:
                self._end(mark)
                del args, kwargs  # a traceback with locals, of a coroutine, would show them

        if not _is_of_aiohttp(function):
            return call

        @functools.wraps(function, updated=())
        def begin(*args: Any, **kwargs: Any) -> _Answering:
            return _Answering(functools.partial(call, *args, **kwargs))

        return begin

    def _driven(
        self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Final]:
        attempt = functools.partial(self._attempt, function, args, kwargs)
        return drive(self._steps(name, args, kwargs), self.waits, attempt, release)

    async def _attempt(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], step: Send
    ) -> Outcome:
        """Call the object once; it is cancelled when the attempt's time is over."""
        handled = sys.exception()
        left = step.deadline - self.clock.monotonic()
        time = asyncio.timeout(None if left == math.inf else left)
        try:
            async with time:
                value = await function(*args, **kwargs)
        except TimeoutError as error:
            if time.expired():
                return outcome_of_deadline(error, step, self.host, self.compiled, handled)
            return self._raised(error, handled, translate)
        except Exception as error:  # noqa: BLE001 - raised again when the call ends
            return self._raised(error, handled, translate)
        finally:
            del args, kwargs
        return self._returned(value)


class _Answering:
    """What a guarded method of an `aiohttp.ClientSession` returns, as its own: `await` it, or enter it."""

    __slots__ = ("_call", "_response")

    def __init__(self, call: Callable[[], Coroutine[Any, Any, aiohttp.ClientResponse]]) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, Any, aiohttp.ClientResponse]:
        return self._call().__await__()

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._response = await self._call()
        return await self._response.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._response.__aexit__(kind, error, traceback)


def _is_of_aiohttp(function: Callable[..., Any]) -> bool:
    return isinstance(getattr(function, "__self__", None), aiohttp.ClientSession)


def release(response: Any) -> None:
    """Release the result of an attempt that is not used."""
    if isinstance(response, aiohttp.ClientResponse):
        response.release()
    else:
        guarded_calls.release(response)
