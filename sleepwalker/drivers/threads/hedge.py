"""Performs a hedged send: an attempt in its caller's thread, and hedge attempts in others while it is slow."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from sleepwalker.clock import Clock
from sleepwalker.drivers.threads import timer
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import DUE, LATE, Completed, Final, Hold, Outcome, Send, Signal, Step, Steps
from sleepwalker.events import Event, Level, Observer
from sleepwalker.latch import Latch

#: For how many seconds after the deadline a hedge attempt is waited for.
_GRACE = 0.03
#: Seconds after which a first attempt that lost is cancelled again: it may just have begun to connect.
_AGAIN = (0.01, 0.05, 0.2, 1.0)


class CancellableAttempt(Protocol):
    """One prepared attempt: one thread sends it, and any other may cancel it."""

    @property
    def on_the_wire(self) -> bool:
        """Whether it uses one of our sockets. If not, it cannot be cancelled."""
        ...

    def send(self) -> Outcome:
        """Send, and wait for the response."""
        ...

    def cancel(self) -> None:
        """Cancel it. May be repeated, because an attempt that is about to connect may not notice."""
        ...

    def end(self) -> None:
        """Mark the attempt as over: it can no longer be cancelled."""
        ...


#: Prepares the attempt of a step. True for a hedge attempt, which needs a request of its own.
Begin = Callable[[Send, bool], CancellableAttempt]


class PendingEvents:
    """Observes a call whose steps run in several threads. Holds events back while a lock is held; keeps their order."""

    __slots__ = ("_pending", "behind", "held")

    def __init__(self, observe: Observer) -> None:
        self.behind: Observer = observe
        """The observer that outlives the call, or one in front of it."""
        self._pending: deque[tuple[Event, Level | None]] = deque()
        self.held: bool = False
        """Whether events are held back."""

    def __call__(self, event: Event, level: Level | None = None, /) -> None:
        if self.held:
            self._pending.append((event, level))
        else:
            self.behind(event, level)

    def emit(self) -> None:
        """Emit the events that were held back."""
        while self._pending:
            try:
                event, level = self._pending.popleft()
            except IndexError:  # another thread was quicker
                return
            self.behind(event, level)


def hedge(
    steps: Steps,
    step: Send,
    *,
    events: PendingEvents,
    begin: Begin,
    release: Callable[[object], None],
    waits: Waits,
    clock: Clock,
) -> tuple[Step | Final, Outcome]:
    """Send `step`, hedged. Returns the call's next step, and the outcome it continues with."""
    return _Hedge(steps, step, events, begin, release, waits, clock).run()


class _Hedge:
    """One hedged send. The thread whose attempt ends, or is due, takes the call's next step, under the lock."""

    def __init__(
        self,
        steps: Steps,
        step: Send,
        events: PendingEvents,
        begin: Begin,
        release: Callable[[object], None],
        waits: Waits,
        clock: Clock,
    ) -> None:
        self._steps = steps
        self._step = step
        self._events = events
        self._begin = begin
        self._release = release
        self._waits = waits
        self._clock = clock
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._over = Latch()
        self._first_ended = Latch()
        self._first: CancellableAttempt | None = None
        self._under_way: dict[int, CancellableAttempt] = {}
        self._outcomes: list[Outcome] = []
        self._entry: timer.Entry | None = None
        self._next: Step | Final | None = None
        self._error: BaseException | None = None

    def run(self) -> tuple[Step | Final, Outcome]:
        """Make the first attempt in this thread, and wait for the first good outcome of all."""
        step = self._step
        try:
            try:
                first = self._first = self._begin(step, False)
                self._under_way[step.number] = first
                self._arm(step)
                try:
                    outcome = first.send()
                finally:
                    try:
                        first.end()
                    finally:
                        self._first_ended.set()
                self._ended(step.number, outcome)
                # A hedge attempt may still be under way, and succeed.
                if not self._over.wait(max(0.0, step.deadline + _GRACE - self._clock.monotonic())):
                    with self._lock:
                        self._reply_locked(LATE)
                if self._error is not None:
                    raise self._error
            finally:
                if self._entry is not None:
                    self._entry.cancel()
                self._events.emit()
            if self._next is None:
                raise AssertionError("a hedged send that is over has a next step")  # pragma: no cover
            self._release_all(self._outcomes[:-1])
            return self._next, self._outcomes[-1]
        except BaseException as error:  # a Ctrl-C may come at any moment, even at the end
            self._stop(error)
            self._error = None  # else a cycle, by this frame, which only the garbage collector frees
            if self._first is not None:
                self._first.end()  # again, since a signal handler may have interrupted the first time
            self._release_all(self._outcomes)
            self._events.emit()
            raise

    def _arm(self, step: Send) -> None:
        if step.hedge_in is None:
            return
        with contextlib.suppress(RuntimeError):  # no thread left for the timer, or the interpreter ends
            self._entry = timer.after(step.hedge_in, self._due)

    def _due(self) -> None:
        """In the timer's thread: start the thread of the hedge attempt, if it may be of use."""
        if self._over.is_set() or self._waits.over or self._first is None or not self._first.on_the_wire:
            return
        run = self._context.copy().run
        with contextlib.suppress(RuntimeError):  # as above
            threading.Thread(target=run, args=(self._send_hedge,), daemon=True, name="sleepwalker hedge").start()

    def _send_hedge(self) -> None:
        """In the thread of the hedge attempt: ask the engine whether it may be sent, and send it."""
        try:
            with self._lock:
                admitted = self._admitted_locked()
            self._events.emit()
            if admitted is not None:
                number, attempt = admitted
                try:
                    outcome = attempt.send()
                finally:
                    attempt.end()
                self._ended(number, outcome)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self._stop(error)
        if not self._over.is_set():
            self._events.emit()
            return
        for pause in _AGAIN:
            if self._first is None or self._first_ended.wait(pause):
                return
            self._first.cancel()

    def _admitted_locked(self) -> tuple[int, CancellableAttempt] | None:
        """The number of the hedge attempt and the attempt; None if the call wants none."""
        step = self._reply_locked(DUE)
        if not isinstance(step, Send):
            return None
        attempt = self._under_way[step.number] = self._begin(step, True)
        self._arm(step)
        return step.number, attempt

    def _ended(self, number: int, outcome: Outcome) -> None:
        with self._lock:
            self._under_way.pop(number, None)
            late = self._over.is_set()
            if not late:
                self._outcomes.append(outcome)
                self._reply_locked(Completed(number, outcome))
        if late:
            self._release(outcome.response)

    def _reply_locked(self, reply: Completed | Signal) -> Step | None:
        """Take the call's next step; None if that ends the hedged send, or if it has ended."""
        if self._over.is_set():
            return None
        self._events.held = True
        try:
            step: Step | Final = self._steps.send(reply)
        except StopIteration as stop:
            step = stop.value
        finally:
            self._events.held = False
        if isinstance(step, Hold) or (isinstance(step, Send) and reply is DUE):
            return step
        self._next = step
        self._end_locked()
        return None

    def _stop(self, error: BaseException) -> None:
        """End the hedged send without a result: cancel running attempts, even if its end had begun before."""
        with self._lock:
            if not self._over.is_set():
                self._error = error
                self._events.held = True
                try:
                    with contextlib.suppress(BaseException):
                        self._steps.throw(error)  # gives the permits back, logs the call's end, and raises it again
                finally:
                    self._events.held = False
            self._end_locked()

    def _end_locked(self) -> None:
        self._over.set()
        for attempt in self._under_way.values():
            attempt.cancel()

    def _release_all(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._release(outcome.response)
