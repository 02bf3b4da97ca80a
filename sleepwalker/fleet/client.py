"""Drives a worker of a fleet: one background thread talks to the store. No request and no `find` waits for it."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Literal

from sleepwalker.drivers.threads import workers
from sleepwalker.engine import Fellows, Host, Isolation, Standing
from sleepwalker.engine import fleet as word
from sleepwalker.events import Event, FleetJoined, FleetLost, Observer
from sleepwalker.fleet.action import Action, done
from sleepwalker.fleet.known import RUN
from sleepwalker.fleet.options import Fleet
from sleepwalker.fleet.orders import Orders
from sleepwalker.fleet.store import Heard, Order, Store, StoreError
from sleepwalker.fleet.worker import Worker
from sleepwalker.fork import forks_made
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.fleet import FleetHealth
from sleepwalker.hosts.isolations import isolation_key
from sleepwalker.hosts.names import is_marked
from sleepwalker.latch import Latch
from sleepwalker.process import THIS_PROCESS
from sleepwalker.transport.url import Origin

#: After this many failures in a row, the worker goes on alone.
_FAILURES = 2
#: The most intervals between two tries while it is alone.
_RETRY = 5.0
#: The most syncs in a row, if there is more to hear or to say than fits into one.
_MOST_SYNCS = 4
#: Turns are this many times as far apart as they take, so that they use a tenth of the time, but at most this many
#: seconds.
_SHARE, _LONGEST_TICK = 10, 5.0
#: A time by the store's clock is shown unchanged if it seems to have moved by fewer seconds than this.
_STEADY = 1.0
#: Seconds over which the starts of workers are spread, and seconds after which a forked child becomes a worker.
_SPREAD, _CHILD = 0.1, 0.3


class Client:
    """A manager's link to its fleet. Thread-safe. Only its own thread talks to the store.

    `carry_out` is called for each operator's order from another worker.
    """

    def __init__(
        self, fleet: Fleet, hosts: HostTable, carry_out: Callable[[str, Order], Iterable[Event]], observe: Observer
    ) -> None:
        self.fleet = fleet
        self._hosts = weakref.ref(hosts)
        """The table of hosts. It refers to the client, so both go with the last of its managers."""
        self._kept = hosts.kept
        self._clock = hosts.clock
        self._carry_out = carry_out
        self._observe = observe
        self._store = fleet.opened()  # raises for an invalid URL
        self._members: weakref.WeakKeyDictionary[object, Observer] = weakref.WeakKeyDictionary()
        """The managers that were given the fleet, oldest first."""
        self._closed = False
        self._orders = Orders(_label())
        self._begin()

    def _begin(self) -> None:
        self._worker = Worker(os.urandom(6).hex(), self._orders.label, self.fleet.verdicts(), self.fleet.interval)
        self._stopped = Latch()
        self._forks = forks_made()
        self._joined: bool | None = None
        self._error: str | None = None
        self._since = self._clock.wall()
        self._failures = 0
        self._words: dict[str, str | None] = {}
        """The hosts that count as broken for all, with the cause."""
        self._shown: dict[str, Fellows] = {}
        self._made: deque[tuple[Host, tuple[Event, ...]]] = deque()
        """Records made since the last turn, with the events to announce."""

    def start(self, after: float = 0.0) -> None:
        """Start its thread, which begins after this many seconds."""
        first = after + self._clock.random() * _SPREAD  # so that workers started together do not sync together
        run = partial(_run, weakref.ref(self), self._store, self._worker.id, self._stopped, first)
        with contextlib.suppress(workers.NoThread):  # the interpreter exits, or there are too many: it goes on alone
            workers.start(run, "sleepwalker fleet")

    def renew_after_fork(self) -> None:
        """A forked child is a separate worker: the thread and the connection to the store belong to the parent."""
        if self._closed:
            return
        self._store.abandon()
        self._store = self.fleet.opened()
        self._orders = self._orders.renewed(_label())
        self._begin()
        now = self._clock.monotonic()
        for record in self._kept.now():
            record.fellows = None
            if record.verdict.word is not None:  # the parent heard that; this worker has heard nothing yet
                self._made.append((record, word.withdrawn(record, now)))
        self.start(_CHILD)

    def enter(self, manager: object, observe: Observer) -> None:
        """Add a manager that was given the fleet. The oldest one gets the fleet's events."""
        self._members[manager] = observe

    @property
    def wanted(self) -> bool:
        """Whether a manager with the fleet still exists. A dropped manager need not be closed."""
        return bool(self._members)

    def leave(self, manager: object) -> None:
        """Remove a closed manager. The last one with the fleet stops the client."""
        self._members.pop(manager, None)
        for observe in self._members.values():
            self._observe = observe
            return
        self.close()

    def close(self) -> None:
        """Stop the thread, without waiting. The thread withdraws what the others said, and leaves the store."""
        self._closed = True
        self._stopped.set()
        hosts = self._hosts()
        if hosts is not None and hosts.fleet is self:
            hosts.fleet = None

    # -- for the manager

    def order(
        self,
        kind: Literal["isolate", "restore", "reset"],
        key: tuple[str, Origin | None, str | None],
        isolation: Isolation | None = None,
    ) -> Callable[[], None]:
        """A function that, when called, orders an operator's action for all workers.

        For a name that is shown with a mark it does nothing, because each process has another mark for that name.
        """
        name, now = isolation_key(*key), self._clock.monotonic()
        if is_marked(name):
            return _nothing
        left = math.inf if isolation is None else isolation.left(now, self._clock.wall())
        reason = None if isolation is None else isolation.reason
        return self._orders.prepared(name, Order(kind, reason=reason, left=None if left == math.inf else left), now)

    def made(self, record: Host) -> None:
        """Apply the fleet's verdict to a new record, so that it holds from the first call on."""
        host, now = record.origin, self._clock.monotonic()
        record.fellows = self._shown.get(host)
        events: tuple[Event, ...] = ()
        if host in self._words:  # if the thread removes it meanwhile, `_take_made` withdraws it
            events = word.told_broken(record, self._words.get(host), now + self._worker.held_for, now)
        if events or record.fellows is not None:
            self._made.append((record, events))

    def health(self) -> FleetHealth:
        """How it sees the fleet, as of the last exchange with the store."""
        joined = bool(self._joined)
        return FleetHealth(
            store=self.fleet.place,
            service=self.fleet.service,
            joined=joined,
            since=self._since,
            error=None if joined else self._error or "not heard of yet",
            workers=self._worker.workers if joined else 0,
            hosts=dict(self._shown) if joined else {},
        )

    # -- in its thread

    def turn(self, store: Store) -> float:
        """Do what is due now. Returns the seconds until the next turn."""
        began = self._clock.monotonic()
        if self._is_idle(store):
            return self._worker.tick
        try:
            self._take_made(began)
            self._exchange(store)
            self._perform(self._worker.decides(self._clock.monotonic()))
        except StoreError as error:
            return self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - else the thread would end, and the worker stay alone
            return self._failed(f"unexpected {type(error).__name__}")
        if not self._joined:
            self._joined, self._since, self._error = True, self._clock.wall(), None
            self._tell((FleetJoined(self.fleet.place, service=self.fleet.service, workers=self._worker.workers),))
        self._failures = 0
        self._show()
        took = self._clock.monotonic() - began
        self._worker.least = min(_SHARE * took, _LONGEST_TICK)
        return max(0.0, self._worker.tick - took)

    def _is_idle(self, store: Store) -> bool:
        """Whether this process is no worker: it forked others and has no hosts itself, like a server's main process."""
        idle = forks_made() > self._forks and not self._kept.now()
        if idle and self._joined:
            self._joined, self._since = False, self._clock.wall()
            self._error = "this process forked others, and has called no host itself"
            self.end()
            with contextlib.suppress(StoreError):
                store.leave(self._worker.id)
        return idle

    def end(self) -> None:
        """Withdraw what the others said, because the connection to them has ended."""
        self._perform(self._worker.lost())
        self._show()

    def _take_made(self, now: float) -> None:
        while self._made:
            record, events = self._made.popleft()
            self._tell(events)
            # The report on the host may have been withdrawn just before the record could be found.
            record.fellows = self._shown.get(record.origin)
            if record.origin not in self._words and record.verdict.word is not None:
                self._tell(word.withdrawn(record, now))

    def _exchange(self, store: Store) -> None:
        """Sync with the store: report what is new here, and hear what is new there."""
        worker, orders = self._worker, self._orders
        heard: Heard | None = None
        for number in range(_MOST_SYNCS):
            now = self._clock.monotonic()
            if not worker.may_sync(now):
                break
            # A report that was just heard may call for one about the same host at once.
            worker.note(self._standings(now, heard), now, others=heard is None)
            orders.take()
            wanted = worker.is_due(now) or orders.waiting
            if not wanted and (number > 0 or not worker.is_news(store.version())):
                break
            ordered, telling = orders.says(now)
            heard = store.sync(replace(worker.says(), orders=ordered, renew=worker.renews(now)))
            now = self._clock.monotonic()
            worker.hears(heard, now)
            for name, order in orders.hears(heard, telling, now):
                self._tell(self._carry_out(name, order))
            self._perform(worker.decides(now))  # before the next look at how hosts stand here

    def _standings(self, now: float, heard: Heard | None) -> dict[str, Standing]:
        """How hosts stand here: those in trouble here or elsewhere, or with `heard`, those that it has reports on."""
        records: dict[str, Host] = {}
        if heard is None:
            records = {
                record.origin: record
                for record in self._kept.now()
                if record.verdict.suspect or record.history.consecutive >= RUN
            }
        for host in self._worker.watched if heard is None else heard.tallies:
            if host not in records and (record := self._kept.peek(host)) is not None:
                records[host] = record
        return {host: word.standing(record, now) for host, record in records.items()}

    def _failed(self, error: str) -> float:
        self._failures += 1
        self._error = error
        if self._joined is not False and (self._failures >= _FAILURES or self._joined is None):
            self._joined, self._since = False, self._clock.wall()
            self.end()
            self._tell((FleetLost(self.fleet.place, service=self.fleet.service, reason=error),))
        pause: float = min(self._worker.tick * 2.0**self._failures, _RETRY * self.fleet.interval)
        return pause * (1 + self._clock.random()) / 2  # so that workers do not all return at the same time

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if (record := self._kept.peek(action.host)) is not None:
                self._tell(done(action, record, self._clock.monotonic()))

    def _show(self) -> None:
        """Update what the health of hosts says about the workers' findings."""
        workers_there = self._worker.workers
        now, wall = self._clock.monotonic(), self._clock.wall()
        before, self._words = self._shown, self._worker.words(now)
        ahead = self._worker.store_now(now) - wall  # the store's clock minus ours, as far as it is known
        shown = {}
        for host, (tally, broken) in self._worker.tallies().items():
            since, told = max(0.0, min(wall, tally.since - ahead)), before.get(host)
            if told is not None and told.since is not None and abs(told.since - since) < _STEADY:
                since = told.since
            shown[host] = Fellows(tally.accusers, tally.fine, workers_there, broken, since, tally.cause)
        self._shown = shown
        for host in before.keys() | self._shown.keys():
            if before.get(host) != self._shown.get(host) and (record := self._kept.peek(host)) is not None:
                record.fellows = self._shown.get(host)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._observe(event)


def _run(of: weakref.ref[Client], store: Store, worker: str, stopped: Latch, pause: float) -> None:
    """The thread's loop: until the client is closed, or no longer referenced."""
    try:
        while not stopped.wait(pause):
            client = of()
            if client is None or not client.wanted:
                break
            pause = client.turn(store)
            del client
    finally:
        if (client := of()) is not None:
            client.close()
            client.end()
            del client
        with contextlib.suppress(StoreError):
            store.leave(worker)
        store.close()


def _label() -> str:
    """This worker's name for people: the machine's host name, and the number of the process."""
    machine = "".join(char for char in socket.gethostname()[:60] if char.isprintable()) or "?"
    return f"{machine} {THIS_PROCESS.pid}"


def _nothing() -> None:
    """An order that cannot be given."""
