"""Drives the lookups of a manager with threads: performs their steps, and runs the hooks in separate threads."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any, cast

from sleepwalker.connection.adopting import Adopting
from sleepwalker.connection.finding import FinderBase, found_or_raised
from sleepwalker.connection.guarded_calls import GuardedCalls
from sleepwalker.connection.leading import Leading, ask_hook
from sleepwalker.connection.probing import Probing
from sleepwalker.connection.retiring import Closing, Retiring
from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.events import Observer
from sleepwalker.hosts import HostTable
from sleepwalker.latch import Latch
from sleepwalker.lookup.fast import FastKey
from sleepwalker.lookup.foreign import Answer
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import AskHook, Await, AwaitRetired, Start

#: Seconds between a waiter's checks of the interpreter's exit and of a test clock.
_SLICE = 0.25


class Finder(FinderBase):
    """The lookups of a manager whose callers are threads."""

    def __init__(
        self,
        manager: weakref.ref[Any],
        hosts: HostTable,
        max_connections: int,
        guarded: frozenset[str] | None,
        observe: Observer,
        clock: BlockingClock,
    ) -> None:
        lookup = Lookup(hosts, max_connections, caller=threading.get_ident, signal=Latch)
        retiring = Retiring(lookup, observe, Closing())
        adopting = Adopting(manager, lookup, guarded, observe, clock, GuardedCalls)
        leading = self._leads = Leading(lookup, retiring)
        super().__init__(lookup, observe, retiring, Probing(lookup, observe), adopting, leading)

    def find(self, host: str, auth: Any, timeout: float | None, key: FastKey) -> Any:
        """The common path: the slot's connection, or the result of a hook flight."""
        return found_or_raised(self.run(self.search(host, auth, timeout, key)))

    def _ask_hook(self, step: AskHook) -> Answer:
        return ask_hook(step, self.lookup.clock)

    def _start(self, step: Start) -> None:
        self._leads.start(step, self.run)

    def _await(self, step: Await) -> bool | None:
        done = cast(Latch, step.flight.done)
        # The hooks' thread is real, even if the manager has a test clock.
        done.wait(min(step.until - self.lookup.clock.monotonic(), _SLICE))
        return None if sys.is_finalizing() and not done.is_set() else done.is_set()

    def _await_retired(self, step: AwaitRetired) -> None:
        cast(Latch, step.flight.retired).wait(step.until - self.lookup.clock.monotonic())

    performed = FinderBase.performed | {
        AskHook: _ask_hook,
        Await: _await,
        AwaitRetired: _await_retired,
        Start: _start,
    }
