"""Operators' orders from this worker and others: which to report, and which to carry out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from sleepwalker.fleet.store import RESET_FOR, Heard, Order


class _Given(NamedTuple):
    """An order that was given or heard here."""

    order: Order
    ends: float = math.inf
    """When it ends, on the monotonic clock."""

    def now(self, now: float) -> Order | None:
        """The order with the time that is left; None if its time is over."""
        if self.ends <= now:
            return None
        if self.order.kind != "isolate" or self.ends == math.inf:
            return self.order
        return replace(self.order, left=self.ends - now)

    def is_same(self, order: Order) -> bool:
        """Whether it is the same order. The number alone does not tell: a flushed store counts from 1 again."""
        return (self.order.number, self.order.reason, self.order.by) == (order.number, order.reason, order.by)


#: A name, and whether it is a reset, which replaces no other order.
_Place = tuple[str, bool]
#: The orders that one sync reports.
Telling = dict[_Place, _Given]


class Orders:
    """The orders of one worker. Any thread may call `prepared`. The rest is for the thread that talks to the store."""

    def __init__(self, label: str) -> None:
        self.label = label
        """The worker's label, which tells who gave an order."""
        self._given: deque[tuple[str, _Given]] = deque()
        """Orders given here that `take` has not processed yet."""
        self._to_tell: Telling = {}
        self._isolations: dict[str, _Given] = {}
        """The isolations through the fleet, by name, until they are restored."""

    def renewed(self, label: str) -> Orders:
        """The orders of a forked child: its hosts are isolated like the parent's, and the parent reports the pending
        ones."""
        mine = Orders(label)
        mine._isolations = dict(self._isolations)
        return mine

    def prepared(self, name: str, order: Order, now: float) -> Callable[[], None]:
        """A function that gives the order when called, in one step that no signal handler can interrupt."""
        ends = math.inf if order.left is None else now + order.left
        if order.kind == "reset":
            ends = now + RESET_FOR
        return partial(self._given.append, (name, _Given(order, ends)))

    @property
    def waiting(self) -> bool:
        """Whether there is something to report."""
        return bool(self._to_tell)

    def take(self) -> None:
        """Process the orders given here."""
        while self._given:
            name, given = self._given.popleft()
            self._to_tell[name, given.order.kind == "reset"] = given
            if given.order.kind != "reset":
                self._isolations.pop(name, None)
            if given.order.kind == "isolate":
                self._isolations[name] = given

    def says(self, now: float) -> tuple[dict[str, Order], Telling]:
        """The orders to report in one sync, one per name; the rest follows in the next."""
        orders: dict[str, Order] = {}
        telling: Telling = {}
        for place, given in self._to_tell.items():
            order = given.now(now)
            if order is None:
                telling[place] = given  # it is over: drop it without a report
            elif place[0] not in orders:
                orders[place[0]], telling[place] = order, given
        return orders, telling

    def hears(self, heard: Heard, told: Telling, now: float) -> list[tuple[str, Order]]:
        """Process the store's answer. Returns the orders to carry out here, with their names, oldest first.

        A name may be anything, because any program that can write to the store may have written it.
        """
        self._to_tell = {place: given for place, given in self._to_tell.items() if told.get(place) is not given}
        news: list[tuple[str, Order]] = []
        for name, order in sorted(heard.orders.items(), key=lambda item: item[1].number):
            known, given = self._isolations.get(name), told.get((name, order.kind == "reset"))
            if order.kind == "isolate":
                self._isolations[name] = _Given(order, math.inf if order.left is None else now + order.left)
            elif order.kind == "restore":
                self._isolations.pop(name, None)
            mine = given is not None and order.by == self.label and order.kind == given.order.kind
            if not mine and (known is None or order.kind != "isolate" or not known.is_same(order)):
                news.append((name, order))
        if heard.everything:
            # Tell a flushed store again what it forgot.
            for name, given in list(self._isolations.items()):
                if name not in heard.orders and (name, False) not in self._to_tell:
                    self._to_tell[name, False] = given
        return news
