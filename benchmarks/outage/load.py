"""Load: calls that begin by the clock, each in its own thread; and workers that make one call at a time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: The outcome of a call that was answered well, and of one that had not ended when the run was over.
OK, UNENDED = "ok", "not ended"


@dataclass(slots=True)
class Offered:
    """The result of each call, in the order in which they were due."""

    durations: list[float]
    """Seconds from when a call was due, not from when it was made: a late start is the caller's loss too."""
    outcomes: list[str]
    late: list[float] = field(default_factory=list)
    """Seconds by which each was begun late."""
    threads: int = 0
    """How many callers there were at most."""


def outcome_of(error: Exception) -> str:
    """A word for a call's failure: the server's status where there was one, else the error's name."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return str(status) if status is not None else type(error).__name__


def offer(call: Callable[[], object], rate: float, calls: int, begins: float, patience: float = 60) -> Offered:
    """Make `calls` calls, `rate` of them a second, from the monotonic second `begins` on.

    Returns when all have ended, or `patience` seconds after the last was due; those that have not are left behind.
    """
    offered = Offered([0.0] * calls, [UNENDED] * calls, [0.0] * calls)
    todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    idle, ended = threading.Semaphore(0), threading.Semaphore(0)

    def due(number: int) -> float:
        return begins + number / rate

    def caller() -> None:
        while (number := todo.get()) is not None:
            offered.late[number] = time.monotonic() - due(number)
            try:
                call()
                outcome = OK
            except Exception as error:
                outcome = outcome_of(error)
            offered.durations[number] = time.monotonic() - due(number)
            offered.outcomes[number] = outcome
            idle.release()
            ended.release()

    for number in range(calls):
        time.sleep(max(0.0, due(number) - time.monotonic()))
        if not idle.acquire(blocking=False):
            threading.Thread(target=caller, daemon=True).start()
            offered.threads += 1
        todo.put(number)
    until = due(calls) + patience
    for _ in range(calls):
        if not ended.acquire(timeout=max(0.0, until - time.monotonic())):
            break
    for _ in range(offered.threads):
        todo.put(None)
    over = time.monotonic()
    for number, outcome in enumerate(offered.outcomes):
        if outcome == UNENDED:
            offered.durations[number] = over - due(number)
    return offered


def work(call: Callable[[], object], workers: int, calls: int, begins: float, patience: float = 900) -> Offered:
    """Make `calls` calls from the monotonic second `begins` on, `workers` of them at a time.

    Returns when all have ended, or `patience` seconds after the begin. A call that failed is not made again.
    """
    offered = Offered([0.0] * calls, [UNENDED] * calls, [0.0] * calls, workers)
    todo = iter(range(calls))
    taking = threading.Lock()

    def worker() -> None:
        time.sleep(max(0.0, begins - time.monotonic()))
        while True:
            with taking:
                number = next(todo, None)
            if number is None:
                return
            since = time.monotonic()
            try:
                call()
                outcome = OK
            except Exception as error:
                outcome = outcome_of(error)
            offered.durations[number] = time.monotonic() - since
            offered.outcomes[number] = outcome

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, begins + patience - time.monotonic()))
    return offered
