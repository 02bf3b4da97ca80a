"""What all unit tests share."""

import pytest

from sleepwalker.connection import finder
from tests.event_guard import events_are_what_the_catalogue_says

__all__ = ["events_are_what_the_catalogue_says"]


@pytest.fixture(autouse=True)
def who_waits_for_hooks_sees_that_a_clock_was_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "_SLICE", 0.002)
