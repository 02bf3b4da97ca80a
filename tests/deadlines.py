"""Puts an attempt's deadline over what a test sends or reads by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sleepwalker.transport.blocking.deadline import AttemptDeadline, _current


@contextlib.contextmanager
def attempt_deadline(deadline: AttemptDeadline) -> Iterator[None]:
    """In place of `deadline.run_with_deadline`, as a statement."""
    before, _current.deadline = _current.deadline, deadline
    try:
        yield
    finally:
        _current.deadline = before
        deadline.response = None
