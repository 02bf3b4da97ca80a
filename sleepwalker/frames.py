"""What an error shows of the library's own frames: which they were, and no value that was in them.

A traceback with locals, as error trackers and test runners take it, would show the headers, bodies and credentials that
a call was given, for each frame that they went through.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_OURS = __name__.partition(".")[0]
#: While they are suspended, clearing their frame would end them.
_SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def without_locals(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Empty the frames of ours through which an error comes out of `function`, this one included.

    The frames of the caller's own code, such as an auth object's, stay as they are.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            _empty(error)
            raise
        finally:
            del args, kwargs

    return call


def _empty(error: BaseException) -> None:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        todo += [link.__cause__, link.__context__]
        step = link.__traceback__
        while step is not None:
            frame, step = step.tb_frame, step.tb_next
            if _is_ours(frame.f_globals.get("__name__")) and not frame.f_code.co_flags & _SUSPENDABLE:
                with contextlib.suppress(RuntimeError):  # it is still at work: the one that called us
                    frame.clear()


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == _OURS
