"""What an error shows of the library's own frames: which they were, and no value that was in them.

A traceback with locals, as error trackers and test runners take it, would show the headers, bodies and credentials that
a call was given, for each frame that they went through.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from types import CodeType, TracebackType
from typing import Any, ParamSpec, TypeVar, cast

_P = ParamSpec("_P")
_R = TypeVar("_R")
_OURS = f"{__name__.partition('.')[0]}."
_LENGTH = len(_OURS)
#: While they are suspended, clearing their frame would end them.
_SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def without_locals(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Empty the frames of ours through which an error comes out of `function`, this one included.

    The frames of the caller's own code, such as an auth object's, stay as they are. Of a coroutine function those are
    emptied that are no coroutine's, and its own: other coroutines within hold nothing by a name that may be secret.
    """
    if inspect.iscoroutinefunction(function):
        return cast("Callable[_P, _R]", _awaited_without_locals(function))

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            empty_frames(error)
            raise
        finally:
            del args, kwargs

    return call


def _awaited_without_locals(function: Callable[_P, Coroutine[Any, Any, _R]]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    code = function.__code__

    @functools.wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            awaited = function(*args, **kwargs)
        finally:
            del args, kwargs
        try:
            return await awaited
        except BaseException as error:
            empty_frames(error)
            _empty_inner(error, code)
            raise
        finally:
            del awaited

    return call


def _empty_inner(error: BaseException, code: CodeType) -> None:
    """Clear the frame of the coroutine that the error came out of, which has ended.

    Apart from the caller, whose frame must not refer to it: from Python 3.13 on it refers to its caller's.
    """
    step = None if error.__traceback__ is None else error.__traceback__.tb_next
    if step is not None and step.tb_frame.f_code is code:
        step.tb_frame.clear()


def empty_frames(error: BaseException) -> None:
    """Clear our frames in the tracebacks of an error, its cause and its context.

    Frames that still run stay: the caller deletes its own variables.
    """
    _empty(error.__traceback__)
    if error.__cause__ is None and error.__context__ is None:
        return
    seen = {id(error)}
    todo = [error.__cause__, error.__context__]
    while todo:
        link = todo.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            todo += [link.__cause__, link.__context__]
            _empty(link.__traceback__)


def _empty(step: TracebackType | None) -> None:
    while step is not None:
        frame, step = step.tb_frame, step.tb_next
        try:
            # No function is called but the one: rejections of an open circuit come by here, as many as there are calls.
            if frame.f_globals["__name__"][:_LENGTH] == _OURS and not frame.f_code.co_flags & _SUSPENDABLE:
                frame.clear()
        except (KeyError, RuntimeError, TypeError):  # of no module; still at work
            continue
