"""The asyncio transport."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import partial
from typing import Any

from sleepwalker.adapters.transports.base import Call, PolicyTransport, RequestT, ResponseT, TransportT
from sleepwalker.adapters.transports.bodies import AsyncRest, async_body_of, check_whole, is_read_within
from sleepwalker.adapters.transports.progress import Phases, note_progress_async
from sleepwalker.drivers.aio.drive import drive
from sleepwalker.drivers.aio.hedge import hedge
from sleepwalker.drivers.aio.waits import Waits
from sleepwalker.engine import Final, Outcome, Send, run
from sleepwalker.events import Observer
from sleepwalker.telemetry import tracing


class AwaitedTransport(PolicyTransport[TransportT, RequestT, ResponseT]):
    """Wraps another transport and applies a policy, in its caller's task."""

    def _begin(self) -> None:
        self._waits = Waits()
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    def _kinds(cls) -> tuple[type[Any], type[Any]]:
        module = cls._library.module
        return module.AsyncBaseTransport, module.AsyncHTTPTransport

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """The response to a request, of any status. Raises the error that explains why there is none."""
        self._check_loop()
        place = self._place(request)
        if place is None:
            response: ResponseT = await self._inner.handle_async_request(request)
            return response
        call = self._call(request, await async_body_of(self._library, request, self._buffer), place)
        work, tracer, observe = partial(self._perform, call), tracing.tracer, self._places.observe
        final = await (work(observe) if tracer is None else tracer.awaited(self._traced(call, work)))
        try:
            if not final.attempts:
                await asyncio.sleep(0)  # refused at once: a caller that goes on calling must not block the loop
            handed: ResponseT = self._hand_over(final, call)
            return handed
        finally:
            del final  # or an error would refer to itself through this frame, until the garbage collector runs

    async def aclose(self) -> None:
        """Close the wrapped transport, and end waiting calls (queued or before a retry)."""
        waits, self._waits = self._waits, Waits()
        waits.end()
        await self._inner.aclose()

    def _check_loop(self) -> None:
        """RuntimeError if no asyncio loop runs: its timers keep the deadlines."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            name = type(self).__name__
            raise RuntimeError(
                f"{name} needs a running asyncio event loop, and there is none: under another library, such as trio, "
                f"use {self._library.name}.AsyncHTTPTransport, or run the blocking transport in a thread"
            ) from None

    async def _perform(self, call: Call, observe: Observer) -> Final:
        compiled, clock = call.compiled, self._clock
        send = partial(self._attempt, call)
        steps = run(call.place.host, compiled, call.request, clock, observe)
        if compiled.hedge is None:
            return await drive(steps, self._waits, send, self._release)
        begin = lambda step, extra: send(step)  # noqa: E731 - each attempt has a request of its own
        return await drive(
            steps, self._waits, send, self._release, partial(hedge, begin=begin, release=self._release, clock=clock)
        )

    async def _attempt(self, call: Call, step: Send) -> Outcome:
        """Send once, and read the body."""
        handled, progress = sys.exception(), Phases(self._at_first)
        request = self._request(call, step, cut=False)
        note_progress_async(progress, request.extensions)
        timer = asyncio.timeout(step.deadline - self._clock.monotonic())
        try:
            async with timer:
                response, whole = await self._exchanged(request, progress)
        except Exception as error:  # noqa: BLE001 - raised, translated, when the call ends
            hit = timer.expired()
            return self._failed(
                call, step, error, handled, progress.phase, at_proxy=progress.at_proxy, deadline_hit=hit
            )
        return self._answered(call, response, whole=whole)

    async def _exchanged(self, request: Any, progress: Phases) -> tuple[Any, bool]:
        """The response, and whether its body was read."""
        response = await self._inner.handle_async_request(request)
        progress.phase = "body"
        library, most = self._library, self._buffer
        try:
            pieces: list[bytes] = []
            more, size, whole = aiter(response.stream), 0, False
            if is_read_within(response.status_code, response.headers, most):
                while size <= most:
                    if (piece := await anext(more, None)) is None:
                        whole = True
                        break
                    pieces.append(piece)
                    size += len(piece)
                if whole:
                    check_whole(pieces, response)
            elif response.status_code == 101:
                return response, True
        except BaseException:
            with contextlib.suppress(Exception):
                await response.aclose()
            raise
        if not whole:
            return self._rebuilt(response, library.stream(AsyncRest)(pieces, more, response.stream)), False
        await response.aclose()
        return self._rebuilt(response, library.module.ByteStream(b"".join(pieces))), True

    def _release(self, response: Any) -> None:
        """Release the connection of a response that is not used: in a task, because this function cannot wait."""
        if response is None or not isinstance(response.stream, AsyncRest):
            return  # its body was read, and its connection is free
        closing = asyncio.ensure_future(_closed(response))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _closed(response: Any) -> None:
    with contextlib.suppress(Exception):
        await response.aclose()
