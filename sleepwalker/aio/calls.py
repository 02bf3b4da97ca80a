"""Makes the calls of one asynchronous connection: prepares and drives each one, and hands over the outcome."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from sleepwalker.aio.receiving import on_disk, receive
from sleepwalker.clock import Clock
from sleepwalker.connection.call_base import CallsBase
from sleepwalker.connection.downloading import DownloadCall, Receiving
from sleepwalker.connection.handover import Streams
from sleepwalker.connection.options import CallOptions
from sleepwalker.connection.outgoing import PreparedCall
from sleepwalker.connection.part import Part
from sleepwalker.connection.response import Response
from sleepwalker.downloads import Download
from sleepwalker.drivers.aio.drive import Receiver, drive
from sleepwalker.drivers.aio.hedge import hedge
from sleepwalker.drivers.aio.waits import Waits
from sleepwalker.engine import Final, Outcome, Send, Steps, run
from sleepwalker.events import Observer
from sleepwalker.exceptions import ConnectionError
from sleepwalker.telemetry import tracing
from sleepwalker.transport.aio.attempt import attempt, discard
from sleepwalker.transport.aio.errors import translate
from sleepwalker.transport.aio.route import Route
from sleepwalker.transport.aio.stream import watch_stream
from sleepwalker.transport.framing import ClosedByReader

STREAMS = Streams(watch_stream, translate, (ClosedByReader,))


class TaskLatest:
    """The last response of each task, for as long as the task exists: a service has a task for each request."""

    def __init__(self) -> None:
        # By id, not in a WeakKeyDictionary, which would make a new reference for each call of a task.
        self._of_tasks: dict[int, _OfTask] = {}

    @property
    def response(self) -> Any:
        """The response of the running task; None if there is none."""
        task = _running_task()
        found = None if task is None else self._of_tasks.get(id(task))
        return None if found is None else found.response

    @response.setter
    def response(self, response: Any) -> None:
        if (task := _running_task()) is None:
            return
        found = self._of_tasks.get(id(task))
        if found is None:
            # The entry goes when the task does, before another one can have its id.
            forget = partial(_forgotten, self._of_tasks, id(task))
            found = self._of_tasks[id(task)] = _OfTask(weakref.ref(task, forget))
        found.response = response


class _OfTask:
    """The last response of one task."""

    __slots__ = ("response", "task")

    def __init__(self, task: weakref.ref[asyncio.Task[Any]]) -> None:
        self.task = task
        self.response: Any = None


def _forgotten(of_tasks: dict[int, _OfTask], key: int, _: object) -> None:
    of_tasks.pop(key, None)


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


class Calls(CallsBase[Route, Clock, Waits]):
    """Makes the calls of one connection and its scopes, until it is closed."""

    _under_way = 0

    def _new_waits(self) -> Waits:
        return Waits()

    def call(self, part: Part, method: str, uri: str, options: CallOptions) -> Coroutine[Any, Any, Response]:
        """The response to a request. Raises the error that explains why there is none."""
        return self._made(self._prepared(part, method, uri, options), self._run)

    async def _made(
        self, call: PreparedCall, run: Callable[[PreparedCall, Observer], Coroutine[Any, Any, Final]]
    ) -> Response:
        # No local variable here may be secret, because the traceback of an error has this frame.
        tracer = tracing.tracer
        self._under_way += 1
        try:
            # Passed on without a name: otherwise this frame and the error it raises would keep each other alive.
            return self._handover.hand_over(
                await (run(call, self._observe) if tracer is None else tracer.awaited(self._traced(call, run))),
                call,
            )
        except BaseException as error:
            for deadline in call.outgoing.deadlines:
                deadline.release()
            if not call.outgoing.deadlines and isinstance(error, ConnectionError):
                await asyncio.sleep(0)  # refused at once: a caller that goes on calling must not block the loop
            raise
        finally:
            self._ended()

    def download(self, part: Part, uri: str, asked: DownloadCall, streams: Streams) -> Coroutine[Any, Any, Download]:
        """Download the file of a URI. Raises the error that explains why it is not complete."""
        call = self._prepared(part, "GET", uri, asked.options)
        return self._downloaded(call, Receiving(call, asked, self._origin, streams, self._clock))

    async def _downloaded(self, call: PreparedCall, receiving: Receiving) -> Download:
        transfer, run = receiving.transfer, partial(self._run_download, receiving)
        try:
            await on_disk(transfer.open)
            return transfer.result(await self._made(call, run))
        finally:
            await on_disk(transfer.close)

    def stream(
        self, part: Part, method: str, uri: str, options: CallOptions
    ) -> contextlib.AbstractAsyncContextManager[Any]:
        """A context manager with the response, whose body the caller reads. It closes the response at the end."""
        return self._streamed(lambda: self.call(part, method, uri, options))

    @contextlib.asynccontextmanager
    async def _streamed(self, call: Callable[[], Awaitable[Response]]) -> AsyncIterator[Any]:
        self._under_way += 1
        try:
            response = await call()
            try:
                yield response
            finally:
                response.close()
        finally:
            self._ended()

    async def probe(self, part: Part, path: str, seconds: float) -> Outcome:
        """Request `path` once, within `seconds`, without policies or counters. Works on a closed connection too."""
        outgoing, step = self._probing(part, path, seconds)
        self._under_way += 1
        try:
            return await attempt(self._route.sender, outgoing, part.compiled.connect, part.compiled.read, step)
        finally:
            self._ended()

    def close(self) -> None:
        """End waits, close idle sockets, and refuse later calls. Requests in flight finish."""
        self.closed = True
        self.waits.end()
        self._route.close()
        self.end_if_idle()

    def end_if_idle(self) -> None:
        """Close all sockets if the connection keeps none and no call is under way."""
        if self._under_way == 0 and (self.closed or self._usage.retired):
            self._route.end()

    def renew_after_fork(self) -> None:
        """Start with new sockets and waits, separate from the parent's, and without its calls."""
        self._under_way = 0
        super().renew_after_fork()

    def _ended(self) -> None:
        self._under_way -= 1
        if self._under_way == 0 and (self.closed or self._usage.retired):
            self._route.end()

    def _run(self, call: PreparedCall, observe: Observer) -> Coroutine[Any, Any, Final]:
        """Drive a call to its end."""
        return self._driven(call, run(call.host, call.compiled, call.request, self._clock, observe), None)

    def _run_download(self, receiving: Receiving, call: PreparedCall, observe: Observer) -> Coroutine[Any, Any, Final]:
        """Drive a download to its end."""
        return self._driven(call, receiving.steps(observe), partial(receive, receiving, self._clock))

    def _driven(self, call: PreparedCall, steps: Steps, receiver: Receiver | None) -> Coroutine[Any, Any, Final]:
        compiled = call.compiled
        send = partial(attempt, self._route.sender, call.outgoing, compiled.connect, compiled.read)
        if compiled.hedge is None:
            return drive(steps, self.waits, send, discard, None, receiver)
        begin = partial(self._hedged, call)
        hedged = partial(hedge, begin=begin, release=discard, clock=self._clock, is_over=lambda: self.closed)
        return drive(steps, self.waits, send, discard, hedged, receiver)

    def _hedged(self, call: PreparedCall, step: Send, extra: bool) -> Coroutine[Any, Any, Outcome]:
        """An attempt of a call that may be hedged. An `extra` one gets a copy of the request, which attempts change."""
        outgoing = call.outgoing.copy() if extra else call.outgoing
        return attempt(self._route.sender, outgoing, call.compiled.connect, call.compiled.read, step)
