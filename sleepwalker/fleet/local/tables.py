"""The data of one service in the file, and the steps of a sync, all in one transaction."""

from __future__ import annotations

import math
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import cast

from sleepwalker.fleet.local.rows import (
    CAUSE,
    CHANGED,
    IN_TROUBLE,
    LABEL,
    NAME,
    ORDER,
    ORDERS,
    REASON,
    SWEEP_CALM,
    SWEEP_HOSTS,
    SWEEP_ORDERS,
    Host,
    cut,
    cut_or_none,
    order_of,
    view_of,
)
from sleepwalker.fleet.store import KEPT_FOR, ORDER_KEPT_FOR, VIEWS, Heard, Order, Overview, Said, StoreError, View
from sleepwalker.fleet.verdicts import ACCUSES, Tally

__all__ = ["Service"]

#: Expired rows are ignored. They are deleted once an hour, or after this many changes.
_SWEEP_AFTER, _SWEEP_CHANGES = 3_600.0, 20_000
#: How many healthy hosts are kept, for their round: a program that visits millions must not fill the disk.
_CALM_HOSTS = 10_000


class Service:
    """One service within one transaction. `now` is the store's clock."""

    def __init__(self, connection: sqlite3.Connection, name: str, now: float) -> None:
        self._run = connection.execute
        self._now = now
        row = self._run(
            "SELECT number, store, version, counter, kept_until, swept_at, swept FROM services WHERE name = ?", (name,)
        ).fetchone()
        self.is_there = row is not None
        if row is None:
            row = (0, os.urandom(12).hex(), 0, 0, 0.0, now, 0)
        self._number, self._store, self._version = int(row[0]), str(row[1]), int(row[2])
        self._counter, self._kept_until = int(row[3]), float(row[4])
        self._swept_at, self._swept = float(row[5]), int(row[6])
        self._name = name

    def sync(self, said: Said) -> Heard:
        if len(said.views) > VIEWS:
            raise StoreError(f"one sync may report at most {VIEWS:,} hosts, and this one reports {len(said.views):,}")
        self._make()
        # If this store has not reached that version yet, an older copy of the file was put back.
        afresh = said.since < 0 or said.store != self._store or said.since > self._version
        self._age()
        if said.renew:
            self._renew()
        self._run(
            "INSERT INTO workers VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET label = excluded.label, "
            "ends = excluded.ends",
            (self._number, cut(said.worker, NAME), cut(said.label, LABEL), self._now + said.ttl),
        )
        late = [name for name, view in said.views.items() if self._hear(cut(said.worker, NAME), name, view)]
        granted = tuple(name for name, seconds in said.looks.items() if self._grant(name, seconds))
        for name, order in said.orders.items():
            self.order(name, order, said.label)
        self._sweep_if_due()
        heard = self._answer(said, -1 if afresh else said.since, late, granted)
        self._write()
        return heard

    def order(self, name: str, order: Order, label: str | None = None) -> int:
        """Store an order and return its number; 0 if it is already over."""
        if len(name) > NAME:
            return 0
        self._make()
        name, is_reset, number = cut(name, NAME), order.kind == "reset", order.number
        stands = self._run(ORDER, {**self._moment(), "name": name, "is_reset": is_reset}).fetchone()
        if number:
            self._counter = max(self._counter, number)
            if stands is not None and stands[4] < number:
                # The stored order was given after the store had lost its numbers, so it is newer: renumber it above.
                self._counter += 1
                self._version += 1
                self._run(
                    "UPDATE orders SET number = ?, changed = ? WHERE service = ? AND name = ? AND is_reset = ?",
                    (self._counter, self._version, self._number, name, is_reset),
                )
                self._write()
                return int(self._counter)
            if stands is not None or (order.left is not None and order.left <= 0):
                self._write()
                return int(stands[4]) if stands is not None else 0
        else:
            self._counter += 1
            number = self._counter
        self._version += 1
        kept_for = ORDER_KEPT_FOR[order.kind]
        left = order.left if order.kind == "isolate" else None
        self._run(
            "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._number, name, is_reset, order.kind, number, cut_or_none(order.reason, REASON),
                cut_or_none(order.by or label, LABEL), left, self._now + (kept_for if left is None else left),
                self._version,
            ),
        )  # fmt: skip
        self._write()
        return number

    def leave(self, worker: str) -> None:
        if self.is_there:
            self._remove(cut(worker, NAME))
            self._write()

    def overview(self) -> Overview:
        here = self._run("SELECT worker, label FROM workers WHERE service = ? AND ends > ?", (self._number, self._now))
        workers = dict(here.fetchall())
        views: dict[str, dict[str, View]] = {}
        rounds = {host.host: host for host in self._hosts(IN_TROUBLE, self._number, -1)}
        rows = self._run("SELECT host, worker, opinion, cause, lasted FROM views WHERE service = ?", (self._number,))
        for host, worker, opinion, cause, lasted in rows:
            if worker in workers and host in rounds:
                view = view_of(opinion, rounds[host].round, cause, lasted)
                views.setdefault(host, {})[worker] = view
        tallies = {}
        for host, said in list(views.items()):
            opinions = Counter(view.opinion for view in said.values())
            kept = rounds[host]
            if opinions["broken"] or opinions["failing"]:
                kept.failing, kept.fine = opinions["failing"], opinions["fine"]
                kept.accusers = opinions["broken"] + kept.failing
                tallies[host] = kept.tally
            else:
                del views[host]  # all workers that reported trouble are gone
        orders = {name: order for name, order, _ in self._orders(-1) if order.kind != "reset"}
        return Overview(self._now, workers, tallies, views, orders)

    def _make(self) -> None:
        if not self.is_there:
            self.is_there = True
            cursor = self._run(
                "INSERT INTO services (name, store, version, counter, kept_until, swept_at, swept) "
                "VALUES (?, ?, 0, 0, 0, ?, 0)",
                (self._name, self._store, self._now),
            )
            self._number = cast(int, cursor.lastrowid)

    def _write(self) -> None:
        self._run(
            "UPDATE services SET version = ?, counter = ?, kept_until = ?, swept_at = ?, swept = ? WHERE number = ?",
            (self._version, self._counter, self._kept_until, self._swept_at, self._swept, self._number),
        )

    def _moment(self) -> dict[str, object]:
        return {"service": self._number, "now": self._now, "kept_until": self._kept_until}

    def _age(self) -> None:
        over = self._run("SELECT worker FROM workers WHERE service = ? AND ends <= ?", (self._number, self._now))
        for (worker,) in over.fetchall():
            self._remove(worker)

    def _renew(self) -> None:
        if self._kept_until <= self._now:
            self._sweep()  # so that the renewal does not revive expired rows
        self._kept_until = self._now + KEPT_FOR

    def _sweep_if_due(self) -> None:
        if self._now >= self._swept_at + _SWEEP_AFTER or self._version >= self._swept + _SWEEP_CHANGES:
            self._sweep()
            # Services without reports for so long are removed as a whole: a service in use sweeps once an hour.
            gone = (self._now - KEPT_FOR - 2 * _SWEEP_AFTER,)
            for table in ("workers", "hosts", "views", "orders"):
                self._run(
                    f"DELETE FROM {table} WHERE service IN (SELECT number FROM services WHERE swept_at < ?)",  # noqa: S608
                    gone,
                )
            self._run("DELETE FROM services WHERE swept_at < ?", gone)

    def _sweep(self) -> None:
        self._run(SWEEP_HOSTS, self._moment())
        self._run(SWEEP_CALM, {"service": self._number, "most": _CALM_HOSTS})
        self._run(SWEEP_ORDERS, self._moment())
        self._swept_at, self._swept = self._now, self._version

    def _remove(self, worker: str) -> None:
        self._run("DELETE FROM workers WHERE service = ? AND worker = ?", (self._number, worker))
        views = self._run("SELECT host, opinion FROM views WHERE service = ? AND worker = ?", (self._number, worker))
        for name, opinion in views.fetchall():
            if (host := self._host(name)) is not None:
                self._take_back(worker, host, opinion)
                self._save(host, True)
        self._run("DELETE FROM views WHERE service = ? AND worker = ?", (self._number, worker))

    def _host(self, name: str) -> Host | None:
        row = self._run("SELECT * FROM hosts WHERE service = ? AND host = ?", (self._number, name)).fetchone()
        if row is None:
            return None
        host = Host(*row)
        forgotten = not host.accusers and host.ends <= self._now and self._kept_until <= self._now
        return None if forgotten else host

    def _hosts(self, question: str, *values: object) -> Iterator[Host]:
        return (Host(*row) for row in self._run(question, values))

    def _save(self, host: Host, is_news: bool) -> None:
        if not host.accusers:
            self._clear(host)
        if is_news:
            self._version += 1
            host.changed = self._version
        host.ends = self._now + KEPT_FOR
        self._run(
            "INSERT OR REPLACE INTO hosts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                host.service, host.host, host.round, host.since, host.began, host.failed_at, host.cause, host.look_at,
                host.accusers, host.failing, host.fine, host.changed, host.ends,
            ),
        )  # fmt: skip

    def _clear(self, host: Host) -> None:
        """Remove all reports on the host."""
        if host.accusers or host.fine:
            self._run("DELETE FROM views WHERE service = ? AND host = ?", (self._number, host.host))
        host.accusers = host.failing = host.fine = 0
        host.since = host.began = math.inf
        host.failed_at, host.cause = -math.inf, None

    def _take_back(self, worker: str, host: Host, opinion: str) -> None:
        self._run("DELETE FROM views WHERE service = ? AND worker = ? AND host = ?", (self._number, worker, host.host))
        host.accusers -= opinion in ACCUSES
        host.failing -= opinion == "failing"
        host.fine -= opinion == "fine"

    def _hear(self, worker: str, name: str, view: View) -> bool:
        """Store a view. Returns whether it came too late, because its round is over."""
        if len(name) > NAME:
            return False
        name = cut(name, NAME)
        host = self._host(name)
        if host is None:
            if view.opinion not in ACCUSES and not view.back:
                return False
            host = Host(self._number, name, view.round)
        elif view.round < host.round:
            return True
        is_news = False
        if view.round > host.round:
            is_news = host.accusers > 0
            self._clear(host)
            host.round = view.round
        is_back = view.back
        if not view.back:
            is_news |= self._count(worker, host, view)
            if view.answered and host.accusers:
                is_back = host.failed_at == -math.inf  # another probe was answered before, and none failed since
                host.failed_at = -math.inf
                is_news = True
        if is_back and host.accusers:
            is_news = True
            self._clear(host)
            host.round += 1
            host.look_at = 0.0
        self._save(host, is_news)
        return False

    def _count(self, worker: str, host: Host, view: View) -> bool:
        """Count a worker's view of a host in its current round. Returns whether that changed anything."""
        own = self._run(
            "SELECT opinion FROM views WHERE service = ? AND worker = ? AND host = ?", (self._number, worker, host.host)
        ).fetchone()
        before = own[0] if own else None
        same = before == view.opinion and not (view.opinion == "broken" and view.failed)
        if same or (view.opinion == "fine" and not host.accusers):
            return False
        if before is not None:
            self._take_back(worker, host, before)
        if view.opinion is None:
            return True
        lasted = view.lasted if 0 <= view.lasted < math.inf else 0.0
        cause = cut_or_none(view.cause, CAUSE)
        if view.opinion in ACCUSES:
            if host.since == math.inf:
                host.since, host.began = self._now, self._now - lasted
            host.failed_at, host.cause = self._now, cause
            host.accusers += 1
            host.failing += view.opinion == "failing"
        else:
            host.fine += 1
        self._run(
            "INSERT OR REPLACE INTO views VALUES (?, ?, ?, ?, ?, ?)",
            (self._number, worker, host.host, view.opinion, cause, lasted),
        )
        return True

    def _grant(self, name: str, seconds: float) -> bool:
        host = self._host(cut(name, NAME))
        if host is None or not host.accusers or self._now < host.look_at:
            return False
        self._run(
            "UPDATE hosts SET look_at = ? WHERE service = ? AND host = ?",
            (self._now + seconds, self._number, host.host),
        )
        return True

    def _orders(self, since: int) -> Iterator[tuple[str, Order, int]]:
        """For each order since that version: name, order, and the version at which it was given."""
        for row in self._run(ORDERS, {**self._moment(), "since": since}):
            _, name, _, kind, number, reason, by, given_for, ends, changed = row
            left = None if given_for is None else min(float(ends) - self._now, float(given_for))
            yield name, order_of(kind, number, reason, left, by), changed

    def _answer(self, said: Said, since: int, late: list[str], granted: tuple[str, ...]) -> Heard:
        most = max(said.most, 1)
        version, more = self._version, False
        tallies: dict[str, Tally] = {}
        orders: dict[str, Order] = {}
        if since < version:
            if since < 0:
                hosts = list(self._hosts(IN_TROUBLE, self._number, most + 1))
            else:
                hosts = list(self._hosts(CHANGED, self._number, since, most + 1))
            if len(hosts) > most:
                del hosts[most:]
                version, more = hosts[-1].changed, True
            tallies = {host.host: host.tally for host in hosts}
            for name, order, changed in self._orders(since):
                if since < 0 and order.kind == "reset":
                    continue
                if name in orders:
                    # Only one order per name fits. The next answer, which begins just before this one, has it.
                    version, more = min(version, changed - 1), True
                else:
                    orders[name] = order
        for name in late:
            if (host := self._host(cut(name, NAME))) is not None:
                tallies[host.host] = host.tally
        (workers,) = self._run("SELECT count(*) FROM workers WHERE service = ?", (self._number,)).fetchone()
        return Heard(self._store, version, self._now, workers, tallies, orders, granted, more, since < 0)
