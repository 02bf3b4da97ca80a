"""The caller's own function that decides which responses and errors are retried."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import requests

from sleepwalker.engine import Outcome
from sleepwalker.exceptions import ConnectionError
from sleepwalker.functions import runs_later

#: Gets an attempt's response or error; True sends the request again.
RetryIf = Callable[[requests.Response | ConnectionError], object]


def check_retry_if(function: object) -> RetryIf | None:
    """A plain function, or None. TypeError for anything else, including coroutine functions."""
    if function is None:
        return None
    if not callable(function):
        kind = type(function).__name__
        raise TypeError(f"retry_if must be a function of one argument, the response or the error, not of type {kind}")
    if runs_later(function):
        raise TypeError(_always_true(function, "is a coroutine or generator function, whose return value"))
    return function


def asking(*functions: RetryIf | None) -> Callable[[Outcome], bool]:
    """A function that asks all of them about an outcome, in order, until one returns True."""
    given = [function for function in functions if function is not None]

    def ask(outcome: Outcome) -> bool:
        came: Any = outcome.response if outcome.error is None else outcome.error
        return any(_says(function, came) for function in given)

    return ask


def _says(function: RetryIf, came: requests.Response | ConnectionError) -> bool:
    again = function(came)
    if inspect.isawaitable(again):  # of a lambda around a coroutine function, say
        if inspect.iscoroutine(again):
            again.close()
        raise TypeError(_always_true(function, f"returned a {type(again).__name__}, which"))
    return bool(again)


def _always_true(function: object, what: str) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"retry_if must be a plain function that returns True or False: {name} {what} always counts as true"
