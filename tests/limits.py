"""Puts an attempt's limits over what a test sends or reads by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sleepwalker.transport import deadline
from sleepwalker.transport.deadline import Limits


@contextlib.contextmanager
def attempt_limits(limits: Limits) -> Iterator[None]:
    """In place of `deadline.under`, as a statement."""
    before, deadline._current.limits = deadline._current.limits, limits
    try:
        yield
    finally:
        deadline._current.limits = before
        limits.answer = None
