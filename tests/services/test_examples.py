"""The worked examples: statements, and expressions with the value that they have or the error that they raise."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonpointer
import pytest
import reschema.exceptions

import sleepwalker
from sleepwalker import HTTPError
from sleepwalker.service import Service
from tests.services.driver import BERTH, VISIT, RealWorld, Reply, U, World, definitions, examples

EXAMPLES = dict(examples())


def _error(name: str) -> type[BaseException]:
    for place in (sleepwalker, reschema.exceptions, jsonpointer):
        if hasattr(place, name):
            found: type[BaseException] = getattr(place, name)
            return found
    builtins: dict[str, Any] = {"KeyError": KeyError, "IndexError": IndexError, "TypeError": TypeError}
    return builtins[name]


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_worked_example_holds(world: World, title: str) -> None:
    known = definitions()
    harbor = known.find_by_name("harbor", "1.4", "acme")
    names: dict[str, Any] = {
        "A": harbor,
        "m": known,
        "U": U,
        "BERTH": deepcopy(BERTH),
        "VISIT": deepcopy(VISIT),
        "Hub": world.hub,
        "Reply": Reply,
        "Service": Service,
        "ServiceManager": world.manager,
        "on": lambda *canned: world.on(*canned, servicedef=harbor),
        "sleepwalker": sleepwalker,
    }
    for line in EXAMPLES[title]:
        statement, arrow, expected = line.partition(" --> ")
        if not arrow:
            exec(line, names)
        elif expected.startswith("raises "):
            with pytest.raises(_error(expected.removeprefix("raises "))) as caught:
                eval(statement, names)
            if isinstance(caught.value, HTTPError):
                assert world.real or caught.value is names["e"], "another exception arrived"
                names["e"] = caught.value  # over a network it is made anew from the answer
        else:
            assert repr(eval(statement, names)) == expected, line


def test_no_worked_example_is_left_out() -> None:
    assert [int(title.split()[0]) for title in EXAMPLES] == list(range(1, 26))
    assert sum(" --> " in line for lines in EXAMPLES.values() for line in lines) == 68


def test_the_servers_fail_every_second_time_and_are_asked_again() -> None:
    """The flaky runs of all tests here prove nothing unless this holds."""
    world = RealWorld(flaky=True)
    try:
        service, conn = world.on(("POST", "/berths", {"num": 1}), ("GET", "/berths/1", {"num": 1}))
        service.bind("berths").create({"num": 1}).pull()
        statuses = [attempt.status for attempt in service.response.attempts]
        assert statuses == [None, 200], "a dropped connection"
        assert [conn.net(), world.sites["http://q1"].faults] == [
            [("POST", f"{U}/berths", {"num": 1}, None), ("GET", f"{U}/berths/1", None, None)],
            2,
        ]
    finally:
        world.close()
