"""Drives the lookups of a manager with tasks: performs their steps, and runs the hooks in separate tasks."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, ClassVar, TypeVar, cast

from sleepwalker.aio.closing import AsyncClosing
from sleepwalker.aio.guarded_calls import AsyncGuardedCalls
from sleepwalker.aio.leading import AsyncLeading, ask_hook, leader
from sleepwalker.aio.probing import AsyncProbing
from sleepwalker.clock import Clock, SystemClock
from sleepwalker.connection.adopting import Adopting
from sleepwalker.connection.finding import FinderBase, found_or_raised
from sleepwalker.connection.retiring import Retiring
from sleepwalker.drivers.aio.signals import Signal
from sleepwalker.drivers.aio.tasks import Tasks
from sleepwalker.events import Observer
from sleepwalker.hosts import HostTable
from sleepwalker.lookup.find import Found
from sleepwalker.lookup.foreign import Answer
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import AskHook, Await, AwaitRetired, Machine, Start

T = TypeVar("T")

#: Seconds between a waiter's checks of a clock that is not the system's: a test's clock advances without the loop.
_SLICE = 0.25


class AsyncFinder(FinderBase):
    """The lookups of a manager whose callers are tasks of one loop at a time."""

    def __init__(
        self,
        manager: weakref.ref[Any],
        hosts: HostTable,
        max_connections: int,
        guarded: frozenset[str] | None,
        observe: Observer,
        clock: Clock,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that it works in."""
        self.thread: int = 0
        """The id of the loop's thread."""
        self.tasks: Tasks = Tasks()
        """The tasks that call hooks, and that probe."""
        self._closings = Tasks()
        lookup = Lookup(hosts, max_connections, caller=_caller, signal=Signal, behalf=_behalf, worker="task")
        retiring = Retiring(lookup, observe, AsyncClosing(self._closings))
        adopting = Adopting(manager, lookup, guarded, observe, clock, AsyncGuardedCalls)
        leading = self._leads = AsyncLeading(lookup, retiring, self.tasks)
        self._looks_up: bool = not isinstance(lookup.clock, SystemClock)
        super().__init__(lookup, observe, retiring, AsyncProbing(lookup, observe, self.tasks), adopting, leading)

    # -- for the manager

    async def found(self, machine: Machine[Found]) -> Any:
        """The connection that the machine of `search` finds. Raises its error."""
        return found_or_raised(await self.drive(machine))

    def enter(self) -> None:
        """Work in the running loop from now on. RuntimeError if it works in another loop that is still open."""
        loop = asyncio.get_running_loop()
        with self.lock:
            before = self.loop
            if before is not loop:
                if before is not None and not before.is_closed():
                    raise RuntimeError(
                        "this manager is in use in another event loop that is still open: make one manager per loop, "
                        "and pass hosts=manager.hosts so that they share the state of hosts"
                    )
                self.loop = self.tasks.loop = self._closings.loop = loop
                if before is not None:
                    self.lookup.begin_anew()
                self.probing.renew()
            self.thread = threading.get_ident()

    def renew_after_fork(self) -> None:
        """In a forked child, forget the loop, too: it is the parent's."""
        super().renew_after_fork()
        self.loop = self.tasks.loop = self._closings.loop = None

    async def ended(self) -> None:
        """Cancel the tasks in the background, and wait until connections are closed."""
        self.tasks.cancel()
        await self.tasks.ended()
        await self._closings.ended()
        await asyncio.sleep(0)  # a loop closes sockets when its turn comes

    # -- a machine's steps

    async def drive(self, machine: Machine[T]) -> T:
        """Perform the steps of a machine, including those that wait. Returns its result."""
        reply: Any = None
        try:
            while True:
                over, reply = self.advance(machine, reply)
                if over:
                    return cast(T, reply)
                kind = type(reply)
                wait = self.awaited.get(kind)
                reply = self.performed[kind](self, reply) if wait is None else await wait(self, reply)
        except BaseException:
            self._close(machine)
            raise
        finally:
            del reply, machine  # a traceback with locals, of a coroutine, would show what was asked for
            self.catch_up()

    def _start(self, step: Start) -> None:
        self._leads.start(step, self.run, self.drive)

    def _ask_hook(self, step: AskHook) -> Awaitable[Answer]:
        return ask_hook(step, self.lookup.clock, self.retiring)

    async def _await(self, step: Await) -> bool:
        left = step.until - self.lookup.clock.monotonic()
        return await cast(Signal, step.flight.done).wait(min(left, _SLICE) if self._looks_up else left)

    async def _await_retired(self, step: AwaitRetired) -> None:
        await cast(Signal, step.flight.retired).wait(step.until - self.lookup.clock.monotonic())

    performed = FinderBase.performed | {Start: _start}
    awaited: ClassVar[dict[type, Callable[[Any, Any], Awaitable[Any]]]] = {
        AskHook: _ask_hook,
        Await: _await,
        AwaitRetired: _await_retired,
    }


def _caller() -> Hashable:
    """The running task; outside of one, the id of the thread."""
    try:
        return asyncio.current_task() or threading.get_ident()
    except RuntimeError:
        return threading.get_ident()


def _behalf() -> Hashable:
    """The task that leads the flight whose hook calls, also by tasks or threads that it started; else the caller."""
    return leader.get() or _caller()
