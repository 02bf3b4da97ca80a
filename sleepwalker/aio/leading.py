"""Leads flights with tasks: calls hooks that are coroutine functions in a separate task, and plain ones in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp

from sleepwalker.clock import Clock
from sleepwalker.connection.leading import HOOK_THREAD, LeadingBase, said_by, without_our_frames
from sleepwalker.connection.retiring import Retiring
from sleepwalker.connection.said import own_copy
from sleepwalker.drivers.aio.tasks import Tasks
from sleepwalker.drivers.aio.threads import in_thread
from sleepwalker.drivers.threads.workers import NoThread
from sleepwalker.exceptions import ConnectionError
from sleepwalker.lookup import answers
from sleepwalker.lookup.ending import begin, end
from sleepwalker.lookup.foreign import Answer
from sleepwalker.lookup.lead import carry_out
from sleepwalker.lookup.slot import Flight, Signal
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import AskHook, Job, Machine, Start
from sleepwalker.lookup.table import Released

#: A hook that raises one of these failed to connect. Not all of aiohttp's errors are OSErrors.
HOOK_FAILURES = (*answers.HOOK_FAILURES, aiohttp.ClientError)

#: The task that leads the flight whose hook runs in this context. Tasks and threads that the hook starts inherit it.
leader: ContextVar[asyncio.Task[Any] | None] = ContextVar("leader", default=None)

_Run = Callable[[Machine[Any]], Any]
_Drive = Callable[[Machine[Any]], Coroutine[Any, Any, Any]]


class AsyncLeading(LeadingBase):
    """Leads flights with tasks."""

    def __init__(self, lookup: Lookup, retiring: Retiring, tasks: Tasks) -> None:
        super().__init__(lookup, retiring)
        self._tasks = tasks

    def start(self, step: Start, run: _Run, drive: _Drive) -> None:
        """Start a task that calls the hooks and gives the result to all waiters.

        `run` performs the steps of a machine that never waits, `drive` those of any. What happens to the calling task
        does not affect the hooks.
        """
        job = step.job
        if not self._lookup.hooks:
            self._lead_here(job, run)
            return
        task = self._tasks.start(self._lead(job, run, drive), HOOK_THREAD)
        job.flight.taken = True
        task.add_done_callback(partial(self._over, job.flight))

    async def _lead(self, job: Job, run: _Run, drive: _Drive) -> None:
        """Carry out a flight. If this task is cancelled, the manager or the loop ends: its waiters ask again."""
        me = asyncio.current_task()
        leader.set(me)
        with self.lock:
            if not begin(self._lookup, job.flight):
                return
        released: list[Released] = []
        error: BaseException | None = None
        cut = False
        try:
            released = await drive(carry_out(self._lookup, job))
        except asyncio.CancelledError as raised:
            cut = me is not None and me.cancelling() > 0  # else a task that the hook waited for was cancelled
            error = without_our_frames(raised)
        except BaseException as raised:  # noqa: BLE001 - the caller's to see
            error = without_our_frames(raised)
        signal: Signal = run(end(self._lookup, job.flight, released, None if cut else error, own_copy))
        signal.set()
        if cut and error is not None:
            try:
                raise error
            finally:
                del error

    def _over(self, flight: Flight, task: object) -> None:
        """The task has ended, or was cancelled before it began."""
        with self.lock:
            if not flight.over:
                self._lookup.end(flight)
        flight.done.set()


async def ask_hook(step: AskHook, clock: Clock, retiring: Retiring) -> Answer:
    """The answer of a hook. A connection from a plain function that arrives after all waiters have gone is closed."""
    began, conn = clock.monotonic(), None
    error: Exception | None = None
    try:
        conn = await _asked(step, retiring)
        if inspect.iscoroutine(conn):  # of a coroutine function that a plain one wraps
            conn = await conn
    except HOOK_FAILURES as raised:
        error = raised
    except NoThread as raised:
        error = ConnectionError(f"its thread cannot be started: {raised}")
    except BaseException:
        del step  # a traceback with locals, of a coroutine, would show the credentials
        raise
    return said_by(step, conn, error, clock.monotonic() - began)


def _asked(step: AskHook, retiring: Retiring) -> Awaitable[Any]:
    connect: Callable[..., Any] = step.hook.connect
    if inspect.iscoroutinefunction(connect):
        asked: Awaitable[Any] = connect(step.asked.host, step.asked.auth)
        return asked
    return in_thread(partial(connect, step.asked.host, step.asked.auth), HOOK_THREAD, retiring.drop)
