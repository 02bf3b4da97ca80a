"""Sends many real calls from many threads and keeps the result of each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import sleepwalker
from sleepwalker.attempt import Attempt
from sleepwalker.cli.summary import Call, Outcome
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, BlockingClock

#: What one of our policies raises instead of sending.
_REJECTIONS = (
    sleepwalker.CircuitOpenError,
    sleepwalker.BulkheadFullError,
    sleepwalker.RateLimitedError,
    sleepwalker.HostIsolatedError,
)


class Response(Protocol):
    """The part of a response that the command line looks at."""

    status_code: int
    reason: str | None
    encoding: str | None
    attempts: tuple[Attempt, ...]

    @property
    def content(self) -> bytes: ...


class Lane:
    """`total` calls of one kind, sent by `workers` threads, `rate` a second or as fast as they are answered.

    With a rate, call n is due n / rate seconds after the start. If all threads are busy then, it is sent late.
    """

    def __init__(
        self,
        send: Callable[[], Call],
        *,
        total: int,
        workers: int,
        rate: float | None = None,
        clock: BlockingClock = BLOCKING_CLOCK,
    ) -> None:
        self.total = total
        self.calls: list[Call] = []
        self.crash: BaseException | None = None
        """The exception that ended a thread: a defect, to be raised in the main thread."""
        self._send = send
        self._rate = rate
        self._clock = clock
        self._begin = 0.0
        self._stop = threading.Event()
        self._numbers = iter(range(total))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(workers, total))]

    def start(self) -> None:
        """Begin to send."""
        self._begin = self._clock.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more. Calls in flight count as unfinished from now on, even if they still succeed."""
        self._stop.set()

    def running(self) -> bool:
        """Whether any call is still to be sent or in flight."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self, timeout: float) -> None:
        """Wait for the threads, `timeout` seconds at most."""
        end = self._clock.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - self._clock.monotonic()))

    def _work(self) -> None:
        try:
            while (number := self._next()) is not None:
                if self._rate is not None:
                    due = self._begin + number / self._rate
                    self._clock.sleep(due - self._clock.monotonic(), self._stop)
                if self._stop.is_set():
                    return
                call = self._send()
                if self._stop.is_set():
                    call = Call("unfinished", call.duration, "unfinished", call.sends)
                self.calls.append(call)
        except BaseException as crash:  # noqa: BLE001 - the main thread raises it
            self.crash = crash
            self._stop.set()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)


def measured(send: Callable[[], Response], clock: BlockingClock = BLOCKING_CLOCK) -> Call:
    """Make one call through a Connection. Returns its result, with how long it took."""
    begin = clock.monotonic()
    try:
        response = send()
    except sleepwalker.SleepwalkerException as error:
        took = clock.monotonic() - begin
        if isinstance(error, _REJECTIONS) and not error.attempts:
            return Call("rejected", took, type(error).__name__, 0)
        status = error.http_code if isinstance(error, sleepwalker.HTTPError) else None
        return Call("failed", took, str(status or type(error).__name__), len(error.attempts))
    took = clock.monotonic() - begin
    outcome: Outcome = "answered" if response.status_code < 400 else "failed"
    return Call(outcome, took, str(response.status_code), len(response.attempts))
