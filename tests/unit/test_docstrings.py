"""What an editor shows where a name of the package is used: what it is for, and an example for each class."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

import pytest

import sleepwalker
import sleepwalker.aio
import sleepwalker.events
import sleepwalker.links
import sleepwalker.prometheus
from sleepwalker.exceptions import SleepwalkerException
from sleepwalker.hosts import HostTable
from sleepwalker.inspect import Session

#: Texts.
pytestmark = pytest.mark.once

_PUBLIC = {name: getattr(sleepwalker, name) for name in sleepwalker.__all__}
#: Their examples await.
AWAITED = [
    value for value in (getattr(sleepwalker.aio, name) for name in sleepwalker.aio.__all__) if inspect.isclass(value)
]
#: Of errors the bases, and two that carry more: the others say in a sentence what happened, and are caught alike.
CLASSES = {
    **{name: value for name, value in _PUBLIC.items() if inspect.isclass(value)},
    **{f"aio.{value.__name__}": value for value in AWAITED},
    "Connection.JsonEncoder": sleepwalker.Connection.JsonEncoder,
    "events.Event": sleepwalker.events.Event,
    "hosts.HostTable": HostTable,
    "inspect.Session": Session,
    "links.Link": sleepwalker.links.Link,
    "prometheus.Collector": sleepwalker.prometheus.Collector,
}
#: `Response` is requests' own when a program runs, and reschema's class is not ours to describe.
NOT_OURS = {"Response", "ServiceDefManager"}
_ERRORS = ("SleepwalkerException", "HTTPError", "PolicyError", "CircuitOpenError", "HostIsolatedError")
WITH_EXAMPLE = [
    value
    for name, value in CLASSES.items()
    if name not in NOT_OURS and (not issubclass(value, SleepwalkerException) or name in _ERRORS)
]


def example_of(thing: object) -> str:
    found = re.search(
        r"^Example:\n    ```python\n(.*?)\n    ```", inspect.getdoc(thing) or "", re.DOTALL | re.MULTILINE
    )
    return textwrap.dedent(found[1]) if found else ""


@pytest.mark.parametrize("thing", WITH_EXAMPLE, ids=lambda thing: thing.__name__)
def test_each_public_class_has_an_example(thing: type) -> None:
    """That it is sound is for a checker to say: tests/typing/test_checkers.py has one read them all."""
    assert ast.parse(example_of(thing)).body


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in NOT_OURS])
def test_each_public_method_says_what_it_does(name: str) -> None:
    silent = [
        member
        for member, value in inspect.getmembers(CLASSES[name])
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
        and (getattr(value, "__module__", None) or "sleepwalker").startswith("sleepwalker")
        and not inspect.getdoc(value)
    ]
    assert silent == []
