"""Performs a race: an attempt in its caller's thread, and copies of it in threads of their own while it is slow."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from sleepwalker.clock import Clock
from sleepwalker.connection import timer
from sleepwalker.connection.waits import Waits
from sleepwalker.engine.outcome import Outcome
from sleepwalker.engine.steps import DUE, LATE, Came, Final, Hold, Send, Signal, Step, Steps
from sleepwalker.events import Event, Level, Observer
from sleepwalker.latch import Latch
from sleepwalker.transport.deadline import Limits

#: Makes ready what a step asks for, with a request of its own where that is True: its limits, and what performs it.
Prepare = Callable[[Send, bool], tuple[Limits, Callable[[], Outcome]]]

#: A copy that has not ended so many seconds after its deadline is not waited for.
_GRACE = 0.03
#: A first attempt that lost is cancelled again after so many seconds each: it may just have begun to connect.
_AGAIN = (0.01, 0.05, 0.2, 1.0)


class Outbox:
    """Observes a call whose steps several threads take. Events wait in it while a lock is held, and go on in order."""

    __slots__ = ("_observe", "_waiting", "held")

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._waiting: deque[tuple[Event, Level | None]] = deque()
        self.held = False
        """Whether events are to wait."""

    def __call__(self, event: Event, level: Level | None = None, /) -> None:
        if self.held:
            self._waiting.append((event, level))
        else:
            self._observe(event, level)

    def flush(self) -> None:
        """Hand on what waits."""
        while self._waiting:
            try:
                event, level = self._waiting.popleft()
            except IndexError:  # another thread was quicker
                return
            self._observe(event, level)


def race(
    steps: Steps,
    step: Send,
    *,
    outbox: Outbox,
    prepare: Prepare,
    let_go: Callable[[Any], None],
    waits: Waits,
    clock: Clock,
) -> tuple[Step | Final, Outcome]:
    """Run the race that `step` begins. What the call does next, and the outcome that it goes on with."""
    return _Race(steps, step, outbox, prepare, let_go, waits, clock).run()


class _Race:
    """One race. Whoever has news takes the call's next step, under the lock."""

    def __init__(
        self,
        steps: Steps,
        step: Send,
        outbox: Outbox,
        prepare: Prepare,
        let_go: Callable[[Any], None],
        waits: Waits,
        clock: Clock,
    ) -> None:
        self._steps = steps
        self._step = step
        self._outbox = outbox
        self._prepare = prepare
        self._let_go = let_go
        self._waits = waits
        self._clock = clock
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._over = Latch()
        self._first_ended = Latch()
        self._running: dict[int, Limits] = {}
        self._outcomes: list[Outcome] = []
        self._entry: timer.Entry | None = None
        self._next: Step | Final | None = None
        self._error: BaseException | None = None

    def run(self) -> tuple[Step | Final, Outcome]:
        """The first attempt, here and now, and whatever comes of it."""
        step = self._step
        try:
            try:
                self._first, send = self._prepare(step, False)
                self._running[step.number] = self._first
                self._arm(step)
                try:
                    outcome = send()
                finally:
                    try:
                        self._first.end()
                    finally:
                        self._first_ended.set()
                self._came(step.number, outcome)
                # A copy may still be under way, and be the last hope.
                if not self._over.wait(max(0.0, step.deadline + _GRACE - self._clock.monotonic())):
                    with self._lock:
                        self._tell_locked(LATE)
                if self._error is not None:
                    raise self._error
            finally:
                if self._entry is not None:
                    self._entry.cancel()
                self._outbox.flush()
            if self._next is None:
                raise AssertionError("a race that is over has a next step")  # pragma: no cover
            self._let_go_of(self._outcomes[:-1])
            return self._next, self._outcomes[-1]
        except BaseException as error:  # a Ctrl-C may come at any moment of all that, the last one included
            self._stop(error)
            self._error = None  # or it would hold itself, by this frame, until the garbage collector comes
            self._let_go_of(self._outcomes)
            self._outbox.flush()
            raise

    def _arm(self, step: Send) -> None:
        if step.hedge_in is None:
            return
        with contextlib.suppress(RuntimeError):  # no thread left for the timer, or the interpreter ends
            self._entry = timer.after(step.hedge_in, self._due)

    def _due(self) -> None:
        """In the timer's thread: start the copy's. What is not in a pool of ours cannot be cut, nor sped up."""
        if self._over.is_set() or self._waits.over or self._first.phase is None:
            return
        run = self._context.copy().run
        with contextlib.suppress(RuntimeError):  # as above
            threading.Thread(target=run, args=(self._hedge,), daemon=True, name="sleepwalker hedge").start()

    def _hedge(self) -> None:
        """In the copy's thread: ask for leave, and send."""
        try:
            with self._lock:
                copy = self._copy_locked()
            self._outbox.flush()
            if copy is not None:
                number, limits, send = copy
                try:
                    outcome = send()
                finally:
                    limits.end()
                self._came(number, outcome)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self._stop(error)
        if not self._over.is_set():
            self._outbox.flush()
            return
        for pause in _AGAIN:
            if self._first_ended.wait(pause):
                return
            self._first.cancel()

    def _copy_locked(self) -> tuple[int, Limits, Callable[[], Outcome]] | None:
        """The copy that the call wants, if it does: its number, its limits, and what performs it."""
        step = self._tell_locked(DUE)
        if not isinstance(step, Send):
            return None
        limits, send = self._prepare(step, True)
        self._running[step.number] = limits
        self._arm(step)
        return step.number, limits, send

    def _came(self, number: int, outcome: Outcome) -> None:
        with self._lock:
            self._running.pop(number, None)
            late = self._over.is_set()
            if not late:
                self._outcomes.append(outcome)
                self._tell_locked(Came(number, outcome))
        if late:
            self._let_go(outcome.response)

    def _tell_locked(self, news: Came | Signal) -> Step | None:
        """Take the call's next step, if the race is on; None once it is over."""
        if self._over.is_set():
            return None
        self._outbox.held = True
        try:
            step: Step | Final = self._steps.send(news)
        except StopIteration as stop:
            step = stop.value
        finally:
            self._outbox.held = False
        if isinstance(step, Hold) or (isinstance(step, Send) and news is DUE):
            return step
        self._next = step
        self._end_locked()
        return None

    def _stop(self, error: BaseException) -> None:
        """End the race without a result; what is under way still is cut, also where that had been begun before."""
        with self._lock:
            if not self._over.is_set():
                self._error = error
                self._outbox.held = True
                try:
                    with contextlib.suppress(BaseException):
                        self._steps.throw(error)  # gives the permits back, logs the call's end, and raises it again
                finally:
                    self._outbox.held = False
            self._end_locked()

    def _end_locked(self) -> None:
        self._over.set()
        for limits in self._running.values():
            limits.cancel()

    def _let_go_of(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._let_go(outcome.response)
