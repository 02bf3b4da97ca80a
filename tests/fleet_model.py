"""What a store of a fleet does, as its rules say it, one after the other, without a thought of speed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from sleepwalker.fleet.store import KEPT_FOR, RESTORED_FOR, Order, View
from sleepwalker.fleet.verdicts import ACCUSES, Tally


@dataclass
class Kept:
    """What the model keeps of a host."""

    round: int
    views: dict[str, str] = field(default_factory=dict)
    since: float = math.inf
    began: float = math.inf
    failed_at: float = -math.inf
    cause: str | None = None
    look_at: float = 0.0
    changed: int = 0

    def accusers(self) -> int:
        return sum(opinion in ACCUSES for opinion in self.views.values())

    def settle(self) -> None:
        if not self.accusers():
            self.views.clear()
            self.since = self.began = math.inf
            self.failed_at, self.cause = -math.inf, None

    def tally(self) -> Tally:
        said = Counter(self.views.values())
        moments = (self.since, self.began, self.round, self.failed_at)
        return Tally(said["broken"], said["fine"], *moments, self.cause, said["failing"])


class Model:
    """The rules, one after the other, without a thought of speed."""

    def __init__(self) -> None:
        self.hosts: dict[str, Kept] = {}
        self.workers: dict[str, float] = {}
        self.orders: dict[tuple[str, bool], tuple[Order, float, int]] = {}
        self.version = 0
        self.counter = 0

    def bump(self, host: str) -> None:
        self.version += 1
        self.hosts[host].changed = self.version

    def remove(self, worker: str) -> None:
        self.workers.pop(worker, None)
        for name, host in self.hosts.items():
            if host.views.pop(worker, None):
                host.settle()
                self.bump(name)

    def age(self, now: float) -> None:
        for worker, end in list(self.workers.items()):
            if end <= now:
                self.remove(worker)
        self.orders = {place: kept for place, kept in self.orders.items() if kept[1] > now}

    def view(self, worker: str, name: str, view: View, now: float) -> bool:
        """Whether it came too late, for an earlier round."""
        if name not in self.hosts:
            if not view.back and view.opinion not in ACCUSES:
                return False
            self.hosts[name] = Kept(view.round)
        host = self.hosts[name]
        if view.round < host.round:
            return True
        of_round, views = host.round, dict(host.views)
        if view.round > host.round:
            host.round = view.round
            host.views.clear()
            host.settle()
        back = view.back
        if view.back:
            pass
        elif view.opinion in ACCUSES:
            if not host.accusers():
                host.since, host.began = now, now - view.lasted
            if (view.opinion == "broken" and view.failed) or host.views.get(worker) != view.opinion:
                host.failed_at, host.cause = now, view.cause
                host.views[worker] = view.opinion
        elif view.opinion == "fine" and host.accusers():
            host.views[worker] = "fine"
        elif view.opinion is None:
            host.views.pop(worker, None)
        host.settle()
        freed = view.answered and not view.back and host.accusers() > 0
        if freed:
            back = host.failed_at == -math.inf
            host.failed_at = -math.inf
        if back and host.accusers():
            host.round += 1
            host.views.clear()
            host.look_at = 0.0
            host.settle()
        looked = view.opinion == "broken" and view.failed
        if looked or freed or host.views != views or (views and host.round != of_round):
            self.bump(name)
        return False

    def give(self, name: str, order: Order, now: float) -> None:
        place = (name, order.kind == "reset")
        if place in self.orders and self.orders[place][1] <= now:
            del self.orders[place]
        end = now + {"restore": RESTORED_FOR, "reset": 60.0, "isolate": KEPT_FOR}[order.kind]
        if order.left is not None:
            end = now + order.left
        number = order.number
        if number:
            self.counter = max(self.counter, number)
            if end <= now or (place in self.orders and self.orders[place][0].number >= number):
                return
            if place in self.orders:
                order, end, _ = self.orders[place]
                number = 0
        if not number:
            self.counter += 1
            number = self.counter
        self.version += 1
        kept = Order(order.kind, number, order.reason, order.left, order.by)
        self.orders[place] = (kept, end, self.version)
