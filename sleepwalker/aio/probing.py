"""Probes broken hosts of an `AsyncConnectionManager` in the background to find out whether they are back."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

from sleepwalker.connection.probing import Ask, ProbingBase
from sleepwalker.drivers.aio.prober import Prober
from sleepwalker.drivers.aio.tasks import Tasks
from sleepwalker.drivers.aio.threads import in_thread
from sleepwalker.drivers.threads.prober import LONGEST
from sleepwalker.engine import Outcome
from sleepwalker.events import Observer
from sleepwalker.lookup.state import Lookup


class AsyncProbing(ProbingBase):
    """Probing with a timer of the manager's loop and a task for each round, while a policy asks for probes."""

    def __init__(self, lookup: Lookup, observe: Observer, tasks: Tasks) -> None:
        super().__init__(lookup, observe)
        self._tasks = tasks

    def rounds(self, every: float) -> Prober | None:
        """A timer; none before the manager is first used in a loop."""
        return None if self._tasks.loop is None else Prober(self._tasks, self.probe_broken, every)

    def able(self) -> bool:
        """Whether the manager's loop runs: between two runs, and after the last, others probe its hosts."""
        return (loop := self._tasks.loop) is not None and loop.is_running()

    async def probe_broken(self, elapsed: float = math.inf) -> float:
        """Run one round; see `_round`."""
        machine, outcome = self._round(elapsed), None
        try:
            while True:
                outcome = await _asked(machine.send(outcome))
        except StopIteration as stop:
            again: float = stop.value
            return again
        finally:
            machine.close()


async def _asked(ask: Ask) -> Outcome | None:
    conn: Any = ask.conn
    try:
        if not inspect.iscoroutinefunction(conn.probe):  # a `Connection`, which waits
            return await in_thread(partial(conn.probe, ask.path, LONGEST), "sleepwalker probe")
        outcome: Outcome = await conn.probe(ask.path, LONGEST)
        return outcome
    except Exception:  # noqa: BLE001 - credentials are a user's code, and the other hosts are waiting
        return None
