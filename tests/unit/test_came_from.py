"""What is known of where a response came from lies beside it: in no attribute, and for no longer than it lives."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import pytest
import requests

from sleepwalker import ANONYMOUS, Connection
from sleepwalker.connection import came_from as module
from sleepwalker.connection.came_from import CameFrom, came_from, note_came_from

ONE, OTHER = CameFrom(object, None, None), CameFrom(object, None, None)


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> set[object]:
    """Those of responses of other tests are left alone: they may go at any moment."""
    kept: set[object] = set()
    monkeypatch.setattr(module, "_notes", kept)
    return kept


class Cached(requests.Response):
    """As a caching session has them: a class that compares by value, and so has no hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cached)

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [requests.Response, Cached])
def test_it_is_known_of_that_very_response(kind: type[requests.Response]) -> None:
    first, second, third = kind(), kind(), kind()
    note_came_from(first, ONE)
    note_came_from(second, OTHER)
    assert (came_from(first), came_from(second), came_from(third)) == (ONE, OTHER, None)


def test_the_latest_note_counts_and_a_response_has_one(notes: set[object]) -> None:
    """A foreign object may hand out the same response again and again."""
    response = requests.Response()
    for known in (ONE, OTHER, ONE, OTHER):
        note_came_from(response, known)
    assert came_from(response) is OTHER
    assert len(notes) == 1


@pytest.mark.parametrize("kind", [requests.Response, Cached])
def test_it_is_forgotten_with_its_response(kind: type[requests.Response], notes: set[object]) -> None:
    for _ in range(10):
        note_came_from(kind(), ONE)
    assert notes == set()
    circle = kind()
    circle.history = [circle]
    note_came_from(circle, ONE)
    assert len(notes) == 1
    del circle
    gc.collect()
    assert notes == set()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda response: pickle.loads(pickle.dumps(response))])
def test_a_copy_is_without_it_and_a_response_shows_nothing_of_it(copied: Any) -> None:
    response = requests.Response()
    response._content = b""
    attributes = dict(vars(response))
    note_came_from(response, ONE)
    assert vars(response) == attributes
    assert came_from(copied(response)) is None
    assert came_from(response) is ONE


def test_the_connection_is_known_for_as_long_as_it_lives() -> None:
    conn = Connection("https://host.test", ANONYMOUS)
    response = requests.Response()
    note_came_from(response, conn.scope("reports")._part.came_from)
    known = came_from(response)
    assert known is not None
    assert known.connection is conn.scope("reports")
    del conn
    gc.collect()
    assert known.connection is None
