"""Leads flights: calls the hooks of a manager, if possible in a separate thread."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.connection.kinds import as_connection
from sleepwalker.connection.retiring import Retiring
from sleepwalker.connection.said import own_copy, told
from sleepwalker.drivers.threads import workers
from sleepwalker.frames import empty_frames
from sleepwalker.lookup.answers import HOOK_FAILURES, answer_of
from sleepwalker.lookup.ending import begin, begin_here, end, fail
from sleepwalker.lookup.foreign import Answer
from sleepwalker.lookup.lead import carry_out
from sleepwalker.lookup.slot import Signal
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import AskHook, Job, Machine, Start
from sleepwalker.lookup.table import Released

#: The name of the threads and tasks that run hooks.
HOOK_THREAD = "sleepwalker hook"

T = TypeVar("T")
_Run = Callable[[Machine[Any]], Any]


class LeadingBase:
    """What threads and tasks share. No lock is held while its methods are called."""

    def __init__(self, lookup: Lookup, retiring: Retiring) -> None:
        self.lock: threading.RLock = threading.RLock()
        """The lookup's lock."""
        self._lookup, self._retiring = lookup, retiring

    def _lead_here(self, job: Job, run: _Run) -> None:
        """Carry out a flight in the caller's own thread or task."""
        mine = job.flight
        begin_here(self._lookup, mine)
        try:
            released: list[Released] = run(carry_out(self._lookup, job))
        except Exception as error:
            # In the main thread it may come from a signal handler (a time limit), which does not concern the waiters:
            # they ask again. In other threads it is a hook's.
            if mine.caller != threading.main_thread().ident:
                fail(mine, error, own_copy)
            raise
        finally:
            with self.lock:
                self._lookup.end(mine)
            mine.done.set()
        self._retiring.release(released)


class Leading(LeadingBase):
    """Leads flights with threads."""

    def start(self, step: Start, run: _Run) -> None:
        """Start a thread that calls the hooks and gives the result to all waiters.

        `run` performs the steps of a machine. An exception in the calling thread does not affect the hooks.
        """
        job = step.job
        if self._lookup.hooks and not job.alone and not sys.is_finalizing():
            context = contextvars.copy_context()
            with contextlib.suppress(workers.NoThread):
                work = partial(context.run, self._lead_in_thread, job, run)
                workers.lend(partial(_finish, [work]), HOOK_THREAD)
                job.flight.taken = True
                return
        self._lead_here(job, run)

    def _lead_in_thread(self, job: Job, run: _Run) -> Signal:
        """Carry out a flight, in a thread that nothing interrupts. Returns the signal that is still waited for."""
        with self.lock:
            if not begin(self._lookup, job.flight):
                return job.flight.done
        released: list[Released] = []
        error: BaseException | None = None
        try:
            released = run(carry_out(self._lookup, job))
        except BaseException as raised:  # noqa: BLE001 - the caller's to see
            error = without_our_frames(raised)
        signal: Signal = run(end(self._lookup, job.flight, released, error, own_copy))
        return signal


def _finish(work: list[Callable[[], Signal]]) -> None:
    """Do the work of a flight's thread, and drop all that it needed before the waiters go on.

    Otherwise a manager or connection that they drop would live on for a moment, in the frames of this thread.
    """
    work.pop()().set()


def without_our_frames(raised: BaseException) -> BaseException:
    """An exception from another thread or task, prepared for the caller's traceback."""
    # The frame of the function that caught it is still running, so it cannot be cleared.
    raised.__traceback__ = None if raised.__traceback__ is None else raised.__traceback__.tb_next
    empty_frames(raised)
    return raised


def ask_hook(step: AskHook, clock: Clock) -> Answer:
    """The answer of a hook."""
    began, conn = clock.monotonic(), None
    error: Exception | None = None
    try:
        conn = step.hook.connect(step.asked.host, step.asked.auth)
    except HOOK_FAILURES as raised:
        error = raised
    return said_by(step, conn, error, clock.monotonic() - began)


def said_by(step: AskHook, conn: Any, error: Exception | None, duration: float) -> Answer:
    """The answer of a hook that returned `conn`, or failed to connect, after `duration` seconds."""
    return answer_of(step.hook, conn, error, duration, target=_target, words=lambda error: told(error, step.asked))


def _target(conn: Any) -> str:
    """Where a connection goes, or its type."""
    ours = as_connection(conn)
    return type(conn).__name__ if ours is None else ours.origin.text
