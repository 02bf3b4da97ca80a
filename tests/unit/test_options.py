"""The options of a call are one value: what `request` takes, what the verbs take and what it holds are the same."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from sleepwalker import Connection, Policy
from sleepwalker.connection.options import CallOptions, RequestOptions, checked_options

ENCODER = json.JSONEncoder()


def test_the_verbs_take_the_keywords_of_request() -> None:
    parameters = inspect.signature(Connection.request).parameters.values()
    assert {one.name for one in parameters if one.kind is one.KEYWORD_ONLY} == set(RequestOptions.__annotations__)


def test_a_call_that_is_given_nothing_has_the_defaults_of_request() -> None:
    defaults: Any = {
        one.name: one.default
        for one in inspect.signature(Connection.request).parameters.values()
        if one.kind is one.KEYWORD_ONLY
    }
    assert checked_options(defaults, ENCODER) == checked_options({}, ENCODER) == CallOptions()


def test_options_hold_what_was_given_worked_out() -> None:
    options = checked_options(
        {"json": {"a": 1}, "headers": {b"X-A": "1"}, "timeout": 5, "policy": "batch", "total": 7}, ENCODER
    )
    assert options.json_bytes == b'{"a": 1}'
    assert options.headers == {"X-A": "1"}
    assert options.timeout == (5.0, 5.0)
    assert options.policy == Policy.load("batch")
    assert options.total == 7.0


def test_options_cannot_be_changed() -> None:
    """They are read at each floor that a call goes down."""
    with pytest.raises(AttributeError):
        CallOptions().stream = True  # type: ignore[misc]
