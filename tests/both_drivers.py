"""Runs the same tests against `Connection` and against `sleepwalker.aio`, on the same sockets.

A test marked `both_drivers` (by its module's `pytestmark`, as a rule) runs twice, as `[threads]` and as `[asyncio]`.
The second time the names `Connection` and `ConnectionManager` of its module stand for those of `tests.on_a_loop`, as
`follow` and `pages` do: they have the methods of the blocking ones, and run each call in an event loop of the test's
own. What a test does from eight threads is then done by eight tasks of one loop.

Modules of helpers that make connections for a test are arguments of the mark, by their names.

`threads_only("why")` is for a test, or for one of its parameters, that says something of the blocking side alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest

import sleepwalker
import sleepwalker.links

DRIVERS = ("threads", "asyncio")


def threads_only(reason: str) -> pytest.MarkDecorator:
    """The mark of what does not run on asyncio, with the reason why not."""
    assert reason
    return pytest.mark.threads_only(reason=reason)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = metafunc.definition
    if marks.get_closest_marker("both_drivers") and not marks.get_closest_marker("threads_only"):
        metafunc.parametrize("driver", DRIVERS, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what single parameters are not for."""
    items[:] = [item for item in items if not (_runs_on_asyncio(item) and item.get_closest_marker("threads_only"))]


def _runs_on_asyncio(item: pytest.Item) -> bool:
    callspec: Any = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("driver") == "asyncio"


@pytest.fixture(autouse=True)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which driver the running test is for."""
    name: str = getattr(request, "param", "threads")
    if name != "asyncio":
        yield name
        return
    from tests import on_a_loop

    stands_in: dict[Any, Any] = {
        sleepwalker.Connection: on_a_loop.Connection,
        sleepwalker.ConnectionManager: on_a_loop.ConnectionManager,
        sleepwalker.links.follow: on_a_loop.follow,
        sleepwalker.links.pages: on_a_loop.pages,
    }
    helpers = [name for mark in request.node.iter_markers("both_drivers") for name in mark.args]
    for module in (request.module, *map(importlib.import_module, helpers)):
        for known, value in list(vars(module).items()):
            if isinstance(value, type | FunctionType) and value in stands_in:
                monkeypatch.setattr(module, known, stands_in[value])
    with on_a_loop.running_loop():
        yield name
