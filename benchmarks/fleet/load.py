"""Calls at random moments, each in a thread of its own or one that is free, whether earlier ones have ended or not."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.outage.load import OK, UNENDED, Offered, outcome_of

#: A worker that is so many seconds behind gives up: the machine has more to do than it can, and figures mean nothing.
BEHIND = 4.0


class TooBusyError(Exception):
    """This machine is too busy for the load that was wanted."""


def moments(rate: float, seconds: float, seed: str) -> list[float]:
    """When calls are due that come at random, `rate` a second on average: seconds from the begin, in order."""
    chance, found, due = random.Random(seed), [], 0.0
    while (due := due + chance.expovariate(rate)) < seconds:
        found.append(due)
    return found


def offer(
    call: Callable[[], object],
    dues: Sequence[float],
    begins: float,
    patience: float,
    beside: Mapping[float, Callable[[], object]],
) -> Offered:
    """Make a call at each moment, counted from the monotonic second `begins` on; and what is to be done beside, at its.

    Returns when all have ended, or `patience` seconds after the last was due; those that have not are left behind.
    Raises `TooBusyError` where the machine cannot keep up.
    """
    offered = Offered([0.0] * len(dues), [UNENDED] * len(dues), [0.0] * len(dues))
    todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    idle, ended = threading.Semaphore(0), threading.Semaphore(0)

    def caller() -> None:
        while (number := todo.get()) is not None:
            due = begins + dues[number]
            offered.late[number] = time.monotonic() - due
            try:
                call()
                outcome = OK
            except Exception as error:
                outcome = outcome_of(error)
            offered.durations[number] = time.monotonic() - due
            offered.outcomes[number] = outcome
            idle.release()
            ended.release()

    plan = sorted([*((begins + due, number) for number, due in enumerate(dues)), *((moment, -1) for moment in beside)])
    for moment, number in plan:
        if (now := time.monotonic()) > moment + BEHIND:
            raise TooBusyError(f"{now - moment:.1f} s behind")
        time.sleep(max(0.0, moment - now))
        if number < 0:
            beside[moment]()
            continue
        if not idle.acquire(blocking=False):
            threading.Thread(target=caller, daemon=True).start()
            offered.threads += 1
        todo.put(number)
    until = (plan[-1][0] if plan else begins) + patience
    for _ in dues:
        if not ended.acquire(timeout=max(0.0, until - time.monotonic())):
            break
    for _ in range(offered.threads):
        todo.put(None)
    return offered
