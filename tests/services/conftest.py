"""Each test of a service runs three times: without a network, over real servers, and over real servers that fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import sleepwalker.datarep
from tests.services.driver import RealWorld, World


@pytest.fixture(scope="session")
def _well() -> Iterator[RealWorld]:
    world = RealWorld(flaky=False)
    yield world
    world.close()


@pytest.fixture(scope="session")
def _flaky() -> Iterator[RealWorld]:
    world = RealWorld(flaky=True)
    yield world
    world.close()


def _world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "no network":
        yield World()
        return
    world: Any = request.getfixturevalue("_well" if request.param == "real servers" else "_flaky")
    yield world
    world.reset()


_REAL = ("real servers", "every second answer a 503 or a dropped connection")
world = pytest.fixture(params=["no network", *_REAL], name="world")(_world)
real_world = pytest.fixture(params=_REAL, name="real_world")(_world)


@pytest.fixture(autouse=True)
def _switches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test sets them to."""
    monkeypatch.setattr(sleepwalker.datarep, "VALIDATE_REQUEST", True)
    monkeypatch.setattr(sleepwalker.datarep, "VALIDATE_RESPONSE", False)
