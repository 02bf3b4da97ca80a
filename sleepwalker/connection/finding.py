"""What drivers of a manager's lookups share, for threads and tasks: the steps that never wait, and changes."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal, NoReturn, TypeVar, cast

from sleepwalker.connection.adopting import Adopting
from sleepwalker.connection.in_force import default_policy
from sleepwalker.connection.leading import LeadingBase
from sleepwalker.connection.probing import ProbingBase
from sleepwalker.connection.retiring import Retiring
from sleepwalker.connection.said import own_copy
from sleepwalker.engine import Isolation
from sleepwalker.events import Event, Observer
from sleepwalker.fork import renewed_after_fork
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.members import AtWork, Lead
from sleepwalker.hosts.names import check_host
from sleepwalker.lookup import change
from sleepwalker.lookup.fast import FastKey, asked_for, remember
from sleepwalker.lookup.find import Found, Waiter, find
from sleepwalker.lookup.foreign import Candidate
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import Adopt, Emit, Look, Machine, Probe, Release, Remember, Share
from sleepwalker.lookup.table import Snapshot
from sleepwalker.transport.url import Origin

T = TypeVar("T")


class FinderBase:
    """The lookups of one manager, which owns this object. The lock is held only while a machine computes.

    No step is performed under the lock. A signal handler may raise at any point, and may call the manager again.
    """

    def __init__(
        self,
        lookup: Lookup,
        observe: Observer,
        retiring: Retiring,
        probing: ProbingBase,
        adopting: Adopting,
        leading: LeadingBase,
    ) -> None:
        self.lookup: Lookup = lookup
        self.hosts: HostTable = lookup.hosts
        self._observe = observe
        # None of these refers back here: a dropped manager is freed at once, with the sockets of its connections.
        self.retiring: Retiring = retiring
        self.probing: ProbingBase = probing
        self._adopting = adopting
        self._leading = leading
        self._working = False
        """Whether a machine is at work; changed with the lock."""
        self._put_off: deque[Callable[[], Machine[Any]]] = deque()
        """Changes that a signal handler asked for in the middle of another one."""
        self._use_lock()
        self.hosts.members.join(self)
        _finders.add(self)

    def _use_lock(self) -> None:
        # Re-entrant: a signal handler or a finaliser may call the manager at any call here.
        self.lock: threading.RLock = self.hosts.lock
        self.retiring.lock = self.probing.lock = self._leading.lock = self.lock

    def renew_after_fork(self) -> None:
        """Threads that exist only in the parent may hold the lock or run flights: replace both."""
        self._use_lock()
        self._working = False
        self.lookup.begin_anew()

    # -- for the table of hosts

    def leads(self) -> Iterator[Lead]:
        """The hosts that the slots lead to."""
        return self.lookup.leads()

    def at_work(self) -> list[AtWork]:
        """The pairs for which hooks are running."""
        return self.lookup.at_work()

    def policies_changed(self) -> None:
        """Switch to the current policies of the hosts."""
        with self.lock:
            self.lookup.flights.follow(self.lookup.patience)
            self._adopting.policies_changed()
            self.probing.renew()
            self.lookup.sweep_at = self.lookup.table.due_at()

    def isolations_changed(self) -> None:
        """Make the next `find` check for isolation instead of using the fast path."""
        self.lookup.fast = {}

    def circuit_was_reset(self, name: str, origin: Origin | None) -> None:
        """End the back-off of all pairs that lead to the host."""
        with self.lock:
            self.lookup.end_back_offs(self.lookup.table.leading_to(name, origin))

    # -- for the manager

    def search(self, host: str, auth: Any, timeout: float | None, key: FastKey) -> Machine[Found]:
        """The common path of `find`: the slot's connection, or the result of a hook flight."""
        check_host(host)
        waiter = Waiter(self.lookup.patience if timeout is None else timeout, nested=self.nested())
        asked = asked_for(host, auth, key)
        self.hosts.policy_map.matched(asked.name if asked.origin is None else asked.origin.text)
        return find(self.lookup, asked, waiter)

    def evict(self, name: str, origin: Origin | None, asked: Asked | None) -> int:
        """Release the connection of one slot, or of the whole host if `asked` is missing. Returns their number."""
        there = 0
        if self.in_a_change():
            table = self.lookup.table
            slots = table.slots_of(name, origin) if asked is None else [table.look(asked).slot]
            there = sum(slot is not None and slot.ready for slot in slots)
        return self.change(lambda: change.evict(self.lookup, name, origin, asked), there)

    def clear(self, how: Callable[[Lookup], Machine[None]]) -> None:
        """Release everything, and end the calls on connections released before."""
        left = self.retiring.left()
        self.change(partial(how, self.lookup), None)
        self.retiring.cut(*left)
        if not self.nested():  # observers are called
            # Even if no connection of ours is closed: it may be released already, or be a guarded object.
            for record in self.lookup.hosts.records():
                record.tell_refused()

    def close(self) -> None:
        """The same as `clear`, permanently."""
        self.lookup.closed = True
        self.probing.stop()
        self.clear(change.close)

    def follow_default(self) -> None:
        """Follow the application's default policy, if neither the manager nor its table was given one."""
        self.run(change.follow_default(self.lookup, default_policy))

    def nested(self) -> bool:
        """Whether this thread already holds the lock: a signal handler or finaliser interrupted a change."""
        owned = getattr(self.lock, "_is_owned", None)  # no public name tells
        return owned is not None and owned()

    def in_a_change(self) -> bool:
        """Whether the interrupted change is of this manager, not only of the host table or of another manager."""
        return self._working and self.nested()

    def change(self, make: Callable[[], Machine[T]], otherwise: T) -> T:
        """Carry out a change. If this thread is already inside a change, defer it and return `otherwise`."""
        if self.in_a_change():
            self._put_off.append(make)
            return otherwise
        return self.run(make())

    def order(
        self,
        kind: Literal["isolate", "restore", "reset"],
        key: tuple[str, Origin | None, str | None],
        make: Callable[[], Machine[None]],
        isolation: Isolation | None = None,
    ) -> None:
        """Carry out an operator's change here, and order it for all workers of the fleet."""
        if (fleet := self.lookup.hosts.fleet) is None:
            self.change(make, None)
            return
        tell = fleet.order(kind, key, isolation)
        try:
            self.change(make, None)
            tell()
        except BaseException:
            # A signal handler raised: an order carried out by some workers must be carried out by all.
            self.change(make, None)
            tell()
            raise

    def emit(self, events: Iterable[Event]) -> None:
        """Pass events to the observers."""
        for event in events:
            self._observe(event)

    # -- a machine's steps

    def run(self, machine: Machine[T]) -> T:
        """Perform the steps of a machine; returns its result."""
        try:
            return self._run(machine)
        except BaseException:
            self._close(machine)
            raise
        finally:
            self.catch_up()

    def _run(self, machine: Machine[T]) -> T:
        # Not within the `try` of `run`: since Python 3.12 a loop's jump back may stand outside of the `try` around it,
        # and a signal handler may raise there.
        reply: Any = None
        while True:
            over, reply = self.advance(machine, reply)
            if over:
                return cast(T, reply)
            reply = self.performed[type(reply)](self, reply)

    def advance(self, machine: Machine[Any], reply: Any) -> tuple[bool, Any]:
        """Run a machine until its next step or its end; returns whether it ended, and with what."""
        with self.lock:
            before, self._working = self._working, True
            try:
                return False, machine.send(reply)
            except StopIteration as stop:
                return True, stop.value
            finally:
                self._working = before

    def _close(self, machine: Machine[Any]) -> None:
        with self.lock:
            before, self._working = self._working, True
            try:
                machine.close()
            finally:
                self._working = before

    def catch_up(self) -> None:
        """Carry out the deferred changes, unless this thread is still inside another change."""
        if not self._put_off or self.in_a_change():
            return
        with contextlib.suppress(IndexError):  # another thread may take them as well
            while True:
                make = self._put_off.popleft()
                self.run(make())

    def _look(self, step: Look) -> Snapshot:
        return self.lookup.table.look(step.asked)

    def _emit(self, step: Emit) -> None:
        self.emit(step.events)

    def _release(self, step: Release) -> None:
        self.retiring.release(step.released, cut=step.cut)

    def _remember(self, step: Remember) -> None:
        remember(step)

    def _start_probing(self, step: Probe) -> None:
        self.probing.start()

    def _adopt(self, step: Adopt) -> Candidate:
        return self._adopting.adopt(step)

    def _share(self, step: Share) -> None:
        self._adopting.share(step)

    performed: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        Adopt: _adopt,
        Emit: _emit,
        Look: _look,
        Probe: _start_probing,
        Release: _release,
        Remember: _remember,
        Share: _share,
    }
    """What is done for each kind of step."""


def _renew(finder: FinderBase) -> None:
    finder.renew_after_fork()


_finders = renewed_after_fork("managers", _renew)


def found_or_raised(found: Found) -> Any:
    """The connection that a lookup returned. Raises the lookup's error if it failed."""
    if found.error is None:
        return found.conn
    if not found.shared:
        _raise(found.error)
    raise own_copy(cast(Exception, found.error))


def _raise(error: BaseException) -> NoReturn:
    """Raise an error of another thread or task, and keep the `__context__` that it had there."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context or error.__context__
