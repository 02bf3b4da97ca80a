"""What all unit tests share."""

from collections.abc import Generator

import pytest

from sleepwalker.connection import finder
from tests.event_guard import events_are_what_the_catalogue_says

__all__ = ["events_are_what_the_catalogue_says"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Who waits for hooks sees soon that a clock was moved. No fixture: for 10,000 tests, that takes seconds."""
    usual, finder._SLICE = finder._SLICE, 0.002
    try:
        return (yield)
    finally:
        finder._SLICE = usual
