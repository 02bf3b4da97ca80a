"""Drives a worker of a fleet: one background thread talks with the store. No request and no `find` waits for it."""

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
from typing import Literal, NamedTuple

from sleepwalker.drivers.threads import workers
from sleepwalker.engine import Fellows, Host, Isolation, Standing
from sleepwalker.engine import fleet as word
from sleepwalker.events import Event, FleetJoined, FleetLost, Observer
from sleepwalker.fleet.known import RUN
from sleepwalker.fleet.options import Fleet
from sleepwalker.fleet.store import Heard, Order, Store, StoreError
from sleepwalker.fleet.worker import Action, Worker
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.fleet import FleetHealth
from sleepwalker.hosts.isolations import isolation_key
from sleepwalker.latch import Latch
from sleepwalker.process import THIS_PROCESS
from sleepwalker.transport.url import Origin

#: So many failures in a row are one that lasts: then the worker is alone.
_FAILURES = 2
#: While it is alone it tries again after so many intervals at most.
_RETRY = 5.0
#: So many syncs in a row at most, where there is more to hear or to say than fits into one.
_MOST_SYNCS = 4
#: In a name, before the mark that stands for what is not shown of it.
_MARK = "…"
#: Seconds within which workers that are started or forked together begin.
_SPREAD = 0.1


class _Given(NamedTuple):
    """An order of this process's operator."""

    order: Order
    ends: float | None
    """When it ends, on the monotonic clock."""

    def now(self, now: float) -> Order | None:
        """The order as of now; None where its time is over."""
        if self.ends is None:
            return self.order
        return replace(self.order, left=self.ends - now) if self.ends > now else None


class Client:
    """A manager's part in its fleet. Thread-safe; only its own thread talks with the store.

    `carry_out` is called with what an operator ordered elsewhere.
    """

    def __init__(
        self, fleet: Fleet, hosts: HostTable, carry_out: Callable[[str, Order], Iterable[Event]], observe: Observer
    ) -> None:
        self.fleet = fleet
        self._hosts = weakref.ref(hosts)
        """The table, which has the client: both are gone at once with the last of its managers."""
        self._kept = hosts.kept
        self._clock = hosts.clock
        self._carry_out = carry_out
        self._observe = observe
        self._store = fleet.opened()  # raises for what cannot be a store
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._worker = Worker(
            os.urandom(6).hex(), f"{_machine()} {THIS_PROCESS.pid}", self.fleet.verdicts(), self.fleet.interval
        )
        self._stopped = Latch()
        self._joined: bool | None = None
        self._error: str | None = None
        self._since = self._clock.wall()
        self._failures = 0
        self._given: deque[tuple[str, _Given]] = deque()
        """What is ordered here, and has not been looked at by the thread."""
        self._to_tell: dict[str, _Given] = {}
        self._orders: dict[str, _Given] = {}
        """The isolations through the fleet, by name, with the number that they have in the store."""
        self._words: dict[str, str | None] = {}
        """The hosts that count as broken for all, with the cause."""
        self._shown: dict[str, Fellows] = {}
        self._made: deque[tuple[Event, ...]] = deque()
        """What is to be announced of records that were made meanwhile."""

    def start(self) -> None:
        """Have its thread run."""
        first = self._clock.random() * _SPREAD  # so that workers that begin together do not come together
        run = partial(_run, weakref.ref(self), self._store, self._worker.id, self._stopped, first)
        with contextlib.suppress(workers.NoThread):  # the interpreter ends, or there are too many: it is alone
            workers.start(run, "sleepwalker fleet")

    def renew_after_fork(self) -> None:
        """The child is a worker of its own: the thread is the parent's, and so is the connection to the store."""
        if self._closed:
            return
        self._store.abandon()
        self._store = self.fleet.opened()
        for record in self._kept.now():
            if record.verdict.word is not None:  # what the parent was told; this worker has heard nothing yet
                self._tell(word.withdrawn(record, self._clock.monotonic()))
        self._begin()
        self.start()

    def close(self) -> None:
        """End the thread, which tells the store; nothing waits for it."""
        self._closed = True
        self._stopped.set()

    # -- for the manager

    def ordered(
        self,
        kind: Literal["isolate", "restore", "reset"],
        key: tuple[str, Origin | None, str | None],
        isolation: Isolation | None = None,
    ) -> None:
        """Have all workers carry out what an operator of this process did.

        A name that is shown by a mark has another mark in each process: it cannot be told.
        """
        name = isolation_key(*key)
        if _MARK in name:
            return
        left, now = math.inf, self._clock.monotonic()
        if isolation is not None:
            left = isolation.left(now, self._clock.wall())
        order = Order(kind, reason=None if isolation is None else isolation.reason)
        self._given.append((name, _Given(order, None if left == math.inf else now + left)))

    def made(self, record: Host) -> None:
        """A record was made: what all know of its host holds for it from the first call on."""
        if record.origin in self._words:
            now = self._clock.monotonic()
            until = now + self._worker.held_for
            self._made.append(word.told_broken(record, self._words[record.origin], until, now))

    def health(self) -> FleetHealth:
        """How it stands to the fleet, as it was heard last."""
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
        """Do what is to be done now; in how many seconds to come again."""
        began = self._clock.monotonic()
        while self._made:
            self._tell(self._made.popleft())
        try:
            self._exchange(store)
        except StoreError as error:
            return self._failed(str(error))
        if not self._joined:
            self._joined, self._since, self._error = True, self._clock.wall(), None
            self._tell((FleetJoined(self.fleet.place, service=self.fleet.service, workers=self._worker.workers),))
        self._failures = 0
        self._perform(self._worker.decides(self._clock.monotonic()))
        self._show()
        return max(0.0, self._worker.tick - (self._clock.monotonic() - began))

    def _exchange(self, store: Store) -> None:
        """Tell the store what is new, and hear what is."""
        worker = self._worker
        for number in range(_MOST_SYNCS):
            now = self._clock.monotonic()
            worker.note(self._standings(now), now)
            self._take_given()
            # What is heard of a host may ask for a word about it at once.
            wanted = worker.is_due(now) or bool(self._to_tell)
            if not wanted and (number > 0 or not worker.is_news(store.version())):
                break
            said, told = worker.says(), dict(self._to_tell)
            orders = {name: order for name, given in told.items() if (order := given.now(now)) is not None}
            heard = store.sync(replace(said, orders=orders, renew=worker.renews(now)))
            worker.hears(heard, self._clock.monotonic())
            self._to_tell = {name: given for name, given in self._to_tell.items() if told.get(name) is not given}
            self._hear_orders(heard, told)
            self._perform(worker.decides(self._clock.monotonic()))  # before how hosts stand here is looked at again

    def _standings(self, now: float) -> dict[str, Standing]:
        """How the hosts stand here that are not healthy, or that others have trouble with."""
        records = {
            record.origin: record
            for record in self._kept.now()
            if record.verdict.suspect or record.history.consecutive >= RUN
        }
        for host in self._worker.watched:
            if host not in records and (record := self._kept.peek(host)) is not None:
                records[host] = record
        return {host: word.standing(record, now) for host, record in records.items()}

    def _take_given(self) -> None:
        while self._given:
            name, given = self._given.popleft()
            self._to_tell[name] = given
            if given.order.kind != "reset":
                self._orders.pop(name, None)
            if given.order.kind == "isolate":
                self._orders[name] = given

    def _hear_orders(self, heard: Heard, told: dict[str, _Given]) -> None:
        now = self._clock.monotonic()
        for name, order in sorted(heard.orders.items(), key=lambda item: item[1].number):
            known = self._orders.get(name)
            ends = None if order.left is None else now + order.left
            if order.kind == "isolate":
                self._orders[name] = _Given(order, ends)
            elif order.kind == "restore":
                self._orders.pop(name, None)
            mine = name in told and order.by == self._worker.label and order.kind == told[name].order.kind
            if not mine and (known is None or known.order.number != order.number):
                self._tell(self._carry_out(name, order))
        if heard.everything:
            # A store that was flushed is told again what it forgot.
            for name, given in list(self._orders.items()):
                if name not in heard.orders and name not in self._to_tell:
                    self._to_tell[name] = given

    def _failed(self, error: str) -> float:
        self._failures += 1
        self._error = error
        if self._joined is not False and (self._failures >= _FAILURES or self._joined is None):
            self._joined, self._since = False, self._clock.wall()
            self._perform(self._worker.lost())
            self._show()
            self._tell((FleetLost(self.fleet.place, service=self.fleet.service, reason=error),))
        pause: float = min(self._worker.tick * 2.0**self._failures, _RETRY * self.fleet.interval)
        return pause * (1 + self._clock.random()) / 2  # so that workers do not come back together

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if action.kind == "broken":
                self._words[action.host] = action.cause
            elif action.kind in ("back", "withdraw"):
                self._words.pop(action.host, None)
            if (record := self._kept.peek(action.host)) is not None:
                self._tell(_done(action, record, self._clock.monotonic()))

    def _show(self) -> None:
        """Have the health of hosts say what the workers find."""
        workers_there = self._worker.workers
        before = self._shown
        self._shown = {
            host: Fellows(tally.accusers, tally.fine, workers_there, broken)
            for host, (tally, broken) in self._worker.tallies().items()
        }
        for host in before.keys() | self._shown.keys():
            if before.get(host) != self._shown.get(host) and (record := self._kept.peek(host)) is not None:
                record.fellows = self._shown.get(host)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._observe(event)


def _done(action: Action, record: Host, now: float) -> Iterable[Event]:
    """Do what is to be done with a record; what changed by it."""
    if action.kind == "broken":
        return word.told_broken(record, action.cause, action.until, now)
    if action.kind == "hold":
        return word.hold(record, action.until, now)
    if action.kind == "look":
        return word.let_look(record, now)
    return word.came_back(record, now) if action.kind == "back" else word.withdrawn(record, now)


def _run(of: weakref.ref[Client], store: Store, worker: str, stopped: Latch, pause: float) -> None:
    """The thread: until the client is closed, or nobody has it any more."""
    try:
        while not stopped.wait(pause):
            client = of()
            if client is None:  # the table of hosts is gone
                break
            pause = client.turn(store)
            del client
    finally:
        with contextlib.suppress(StoreError):
            store.leave(worker)
        store.close()


def _machine() -> str:
    """The name of this machine, as it calls itself."""
    return "".join(char for char in socket.gethostname()[:60] if char.isprintable()) or "?"
