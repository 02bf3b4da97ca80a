"""Calls the caller's `retry_if`, for both drivers."""

from __future__ import annotations

from collections.abc import Callable

from sleepwalker.engine import Ask


def ask(step: Ask, release: Callable[[object], None]) -> bool:
    """Whether the caller's function wants another attempt. If it raises, the call ends and its response is released."""
    try:
        response = step.outcome.response
        if response is not None:
            response.attempts = step.attempts
        return step.retry_if(step.outcome)
    except BaseException:
        release(step.outcome.response)
        raise
