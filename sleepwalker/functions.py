"""What kind of function a caller passed."""

from __future__ import annotations

import inspect


def runs_later(function: object) -> bool:
    """Whether a call of it returns at once, before anything of it has run: of a coroutine or generator function.

    `function` may also be an object whose class defines `__call__`.
    """
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return any(is_one(one) for one in (function, type(function).__call__) for is_one in kinds)
