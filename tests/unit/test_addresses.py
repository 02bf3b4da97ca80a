"""An address that could not be connected to is tried last for a while, and a call's next attempt goes elsewhere."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from sleepwalker.transport.addresses import FailedAddresses, Peer


def info(number: int) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", 80))


def address(number: int) -> Any:
    return info(number)[4]


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
THREE = [info(1), info(2), info(3)]


def order(failed: FailedAddresses, now: float, *used: Peer) -> list[int]:
    return [int(found[4][0].rpartition(".")[2]) for found in failed.order(THREE, used, now)]


def test_the_resolvers_order_holds_while_nothing_failed() -> None:
    failed = FailedAddresses()
    assert failed.order(THREE, (), 5.0) is THREE
    assert order(failed, 5.0) == [1, 2, 3]


@pytest.mark.parametrize("error", [REFUSED, TimeoutError("timed out"), OSError(errno.EHOSTUNREACH, "no route")])
def test_a_dead_address_comes_last_for_thirty_seconds(error: OSError) -> None:
    failed = FailedAddresses()
    failed.note(address(1), error, 100.0)
    assert [order(failed, now) for now in (100.0, 129.0, 131.0)] == [[2, 3, 1], [2, 3, 1], [1, 2, 3]]


def test_where_all_have_failed_the_one_that_failed_first_is_tried_first() -> None:
    failed = FailedAddresses()
    for number in (2, 3, 1):
        failed.note(address(number), REFUSED, 100.0 + number % 3)
    assert order(failed, 105.0) == [3, 1, 2]


def test_an_address_that_was_reached_has_not_failed() -> None:
    failed = FailedAddresses()
    failed.note(address(1), REFUSED, 100.0)
    failed.forget(address(1))
    failed.forget(address(2))
    assert order(failed, 100.0) == [1, 2, 3]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EACCES])
def test_what_this_machine_lacks_says_nothing_against_an_address(code: int) -> None:
    failed = FailedAddresses()
    failed.note(address(1), OSError(code, "here"), 100.0)
    assert order(failed, 100.0) == [1, 2, 3]


def test_no_more_than_a_thousand_addresses_are_remembered() -> None:
    failed = FailedAddresses()
    for number in range(5000):
        failed.note((f"10.0.{number // 250}.{number % 250}", 80), REFUSED, 100.0)
        assert len(failed) <= 1000


def test_the_next_attempt_goes_to_an_address_that_the_call_has_not_tried() -> None:
    failed = FailedAddresses()
    first, second = (Peer(address(number), several=True) for number in (1, 2))
    assert order(failed, 5.0, first) == [2, 3, 1]
    assert order(failed, 5.0, first, second) == [3, 1, 2]


def test_an_address_that_answered_with_an_error_comes_before_a_dead_one() -> None:
    failed = FailedAddresses()
    failed.note(address(2), REFUSED, 100.0)
    failed.note(address(3), REFUSED, 101.0)
    assert order(failed, 102.0, Peer(address(1), several=True)) == [1, 2, 3]


def test_a_route_leads_past_another_where_it_is_another_socket_to_another_address() -> None:
    one, again = Peer(address(1), several=True), Peer(address(1), several=True)
    other = Peer(address(2), several=True)
    assert (one.differs_from([one]), again.differs_from([one]), other.differs_from([one])) == (False, False, True)
    assert one.differs_from([])


def test_where_a_name_has_one_address_another_socket_is_enough() -> None:
    """Behind it may be many machines."""
    one, again = Peer(address(1)), Peer(address(1))
    assert (one.differs_from([one]), again.differs_from([one])) == (False, True)
