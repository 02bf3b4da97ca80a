"""What operators order through a fleet: what is told, what is carried out, and what is known already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepwalker.events import Event
from sleepwalker.fleet import Fleet
from sleepwalker.fleet.client import Client
from sleepwalker.fleet.orders import Orders
from sleepwalker.fleet.store import Heard, Order, Store, StoreError
from sleepwalker.hosts import HostTable
from tests.unit.virtual import VirtualClock

#: Decisions of our own: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

A, B = "https://a.test", "https://b.test"


def heard(*, everything: bool = False, **orders: Order) -> Heard:
    named = {{"a": A, "b": B}[name]: order for name, order in orders.items()}
    return Heard("store", 1, 0.0, 1, orders=named, everything=everything)


@pytest.fixture
def orders() -> Orders:
    return Orders("web-7 1")


def told(orders: Orders, now: float = 0.0) -> dict[str, Order]:
    """One sync, of which the store answers that it has heard it."""
    orders.take()
    said, telling = orders.says(now)
    orders.hears(Heard("store", 1, 0.0, 1), telling, now)
    return said


def test_each_order_is_told_once(orders: Orders) -> None:
    orders.prepared(A, Order("isolate", reason="disks"), 0.0)()
    orders.prepared(B, Order("restore"), 0.0)()
    assert told(orders) == {A: Order("isolate", reason="disks"), B: Order("restore")}
    assert not orders.waiting
    assert told(orders) == {}


def test_a_reset_and_an_isolation_of_one_name_do_not_replace_each_other(orders: Orders) -> None:
    orders.prepared(A, Order("isolate"), 0.0)()
    orders.prepared(A, Order("reset"), 0.0)()
    assert told(orders)[A].kind == "isolate"
    assert orders.waiting
    assert told(orders)[A].kind == "reset"


def test_a_restore_replaces_an_isolation_that_was_not_told_yet(orders: Orders) -> None:
    orders.prepared(A, Order("isolate"), 0.0)()
    orders.prepared(A, Order("restore"), 0.0)()
    assert told(orders) == {A: Order("restore")}


def test_what_is_told_late_has_so_much_less_time_left_and_what_is_over_is_not_told(orders: Orders) -> None:
    orders.prepared(A, Order("isolate", left=100.0), 0.0)()
    orders.prepared(B, Order("isolate", left=20.0), 0.0)()
    assert told(orders, 30.0) == {A: Order("isolate", left=70.0)}
    assert not orders.waiting


def test_a_reset_of_long_ago_is_not_told(orders: Orders) -> None:
    orders.prepared(A, Order("reset"), 0.0)()
    assert told(orders, 61.0) == {}
    assert not orders.waiting


def test_an_order_of_another_worker_is_carried_out_once(orders: Orders) -> None:
    other = Order("isolate", 3, "disks", by="web-8 1")
    assert orders.hears(heard(a=other), {}, 0.0) == [(A, other)]
    assert orders.hears(heard(a=other, everything=True), {}, 0.0) == [], "after it was alone for a while"


def test_ones_own_order_is_not_carried_out_again(orders: Orders) -> None:
    orders.prepared(A, Order("isolate", reason="disks"), 0.0)()
    orders.take()
    _, telling = orders.says(0.0)
    assert orders.hears(heard(a=Order("isolate", 1, "disks", by="web-7 1")), telling, 0.0) == []


def test_a_store_that_was_flushed_may_give_another_order_the_same_number(orders: Orders) -> None:
    orders.hears(heard(a=Order("isolate", 1, "disks", by="web-8 1")), {}, 0.0)
    other = Order("isolate", 1, "cables", by="anna's shell")
    assert orders.hears(heard(a=other, everything=True), {}, 0.0) == [(A, other)]


def test_a_store_that_was_flushed_is_told_which_isolations_hold(orders: Orders) -> None:
    disks = Order("isolate", 1, "disks", by="web-8 1")
    orders.hears(heard(a=disks, b=Order("isolate", 2)), {}, 0.0)
    orders.hears(heard(b=Order("restore", 3)), {}, 0.0)
    orders.hears(heard(everything=True), {}, 0.0)
    assert told(orders) == {A: disks}


def test_a_forked_child_knows_what_holds_and_leaves_its_parent_what_is_to_be_told(orders: Orders) -> None:
    disks = Order("isolate", 1, "disks", by="web-8 1")
    orders.hears(heard(a=disks), {}, 0.0)
    orders.prepared(B, Order("isolate"), 0.0)()
    child = orders.renewed("web-7 2")
    assert told(child) == {}
    assert child.hears(heard(a=disks, everything=True), {}, 0.0) == []
    assert told(orders) == {B: Order("isolate")}


# What a store may do to the thread


class Odd:
    """A store that fails as no store may, and then as one may."""

    shown = "odd"

    def __init__(self, errors: Iterator[Exception]) -> None:
        self._errors = errors

    def version(self) -> None:
        raise next(self._errors)

    def sync(self, said: object) -> Heard:
        raise next(self._errors)


def test_a_failure_that_nobody_foresaw_does_not_end_the_thread(tmp_path: Path) -> None:
    events: list[Event] = []
    fleet = Fleet(f"file://{tmp_path}/x.fleet")
    client = Client(
        fleet, HostTable(clock=VirtualClock(1)), lambda name, order: (), lambda event, level=None: events.append(event)
    )
    odd: Store = Odd(iter([KeyError("secret"), StoreError("it is full")]))  # type: ignore[assignment]
    assert 0 < client.turn(odd) < 10
    assert client.health().error == "unexpected KeyError"
    client.turn(odd)
    assert client.health().error == "it is full"
    real = fleet.opened()
    client.turn(real)
    assert client.health().joined
    real.close()
    assert [event.name for event in events] == ["fleet.lost", "fleet.joined"]
