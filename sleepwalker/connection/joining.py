"""Connects a manager to the fleet of its service: all workers carry out what an operator orders in one of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from sleepwalker.connection.settings import check_reason, check_seconds
from sleepwalker.engine import Isolation
from sleepwalker.events import Event, Observer
from sleepwalker.fleet.client import Client
from sleepwalker.fleet.options import Fleet, fleet_of
from sleepwalker.fleet.store import Order
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.names import checked_record_key
from sleepwalker.transport.url import Origin


def join(given: Fleet | str, hosts: HostTable, observe: Observer, manager: object) -> Client:
    """Share the state of the table's hosts with the other workers, until the manager leaves.

    TypeError if another manager on the same table joined a different fleet.
    """
    fleet, joined = fleet_of(given), hosts.fleet
    if isinstance(joined, Client) and joined.wanted:
        if joined.fleet != fleet:
            raise TypeError(
                f"fleet: the managers that share these hosts= have already joined {joined.fleet!r}: leave fleet= out"
            )
        joined.enter(manager, observe)
        return joined
    table = weakref.ref(hosts)  # else the table and the client would form a reference cycle

    def carry_out(name: str, order: Order) -> Iterable[Event]:
        there = table()
        return () if there is None else _carry_out(there, name, order)

    client = Client(fleet, hosts, carry_out, observe)
    client.enter(manager, observe)
    if isinstance(joined, Client):
        joined.close()  # its managers were dropped, and its thread has not noticed yet
    hosts.fleet = client
    client.start()
    return client


def _carry_out(hosts: HostTable, name: str, order: Order) -> Iterable[Event]:
    """Carry out here what an operator ordered elsewhere. Returns the events."""
    try:
        key = checked_record_key(name)
        reason, left = check_reason(order.reason), None if order.left is None else check_seconds(order.left)
    except (TypeError, ValueError):
        return ()  # no manager wrote that into the store
    if order.kind == "restore":
        return hosts.restore(*key, by="fleet")
    if order.kind == "reset":
        return _reset(hosts, key)
    now, wall = hosts.clock.monotonic(), hosts.clock.wall()
    until, ends = (None, None) if left is None else (wall + left, now + left)
    return hosts.isolate(key[0], key[1], Isolation(reason, until, ends, by="fleet"), key[2])


def _reset(hosts: HostTable, key: tuple[str, Origin | None, str | None]) -> Iterable[Event]:
    name, origin, scope = key
    records = hosts.led_to(name, origin) if scope is None else hosts.parts(origin, scope)
    events = [event for record in records for event in record.reset_circuit("fleet")]
    if scope is None:
        for member in hosts.members.all():
            member.circuit_was_reset(name, origin)
    return events
