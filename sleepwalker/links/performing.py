"""Makes the calls of a link walk: the walk's steps decide, and yield each call to make."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, TypeAlias, TypeVar

from sleepwalker.frames import empty_frames

_P = ParamSpec("_P")
_T = TypeVar("_T")
_R = TypeVar("_R")


class Call:
    """One call that a walk waits for: of a manager's `find`, or of a connection."""

    # It keeps Python's own repr: its arguments may be secret.
    __slots__ = ("_make", "of")

    def __init__(self, of: object, make: Callable[[], Any]) -> None:
        self.of = of
        """The manager or connection that is called."""
        self._make = make

    def __call__(self) -> Any:
        return self._make()


#: Yields each call, is sent its result or thrown its exception, and returns the result of the walk's step.
#: Its frames are not emptied when an error passes through, so its local variables must show no secret.
Steps: TypeAlias = Generator[Call, Any, _T]


def perform(steps: Steps[_T]) -> _T:
    """Run the steps to their end, each call in this thread, and return their result.

    TypeError for a call that returns a coroutine.
    """
    try:
        call = next(steps)
        while True:
            try:
                reply = call()
                if inspect.iscoroutine(reply):
                    reply.close()
                    raise TypeError(
                        f"the {type(call.of).__name__} returned an awaitable: use follow and pages from sleepwalker.aio"
                    )
            except BaseException as error:  # noqa: BLE001 - the steps raise it again, or go on
                call = steps.throw(error)
            else:
                call = steps.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def by(performer: Callable[[_T], _R]) -> Callable[[Callable[_P, _T]], Callable[_P, _R]]:
    """Decorator that makes a public function of a deciding one, whose result it passes to `performer`.

    So parameters and docstring are written once. As with `without_locals`, errors show no values of our frames.
    """

    def public(decide: Callable[_P, _T]) -> Callable[_P, _R]:
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return performer(decide(*args, **kwargs))
            except BaseException as error:
                empty_frames(error)
                raise
            finally:
                del args, kwargs

        return named(call, decide, performer)

    return public


def named(call: Callable[_P, _R], decide: Callable[..., Any], performer: Callable[..., Any]) -> Callable[_P, _R]:
    """`call` with the name, docstring and signature of `decide`, and with the return type of `performer`."""
    functools.update_wrapper(call, decide)
    call.__module__ = performer.__module__
    returned = performer.__annotations__["return"]
    call.__annotations__ = {**decide.__annotations__, "return": returned}
    call.__signature__ = inspect.signature(decide).replace(return_annotation=returned)  # type: ignore[attr-defined]
    return call
