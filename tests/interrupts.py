"""Raises, in the middle of what a test does, what a signal handler would: at one chosen instruction after the other.

CPython runs signal handlers in the main thread at three kinds of places: where a function of Python's begins, after a
call has ended (the last thing that the call's own instruction does), and where a loop jumps back. A handler that raises
(Ctrl-C, SIGALRM, Celery's soft time limit) does so there and nowhere else: a look-up, an assignment, an operator or the
beginning of a `with` is not torn apart, nor is anything inside a function of C's. So only these places are counted:

    at = 0
    while strike(act, files=("sleepwalker/transport/blocking/connection_queue.py",), at=at):
        ...  # look that nothing was lost
        at += 1

Where that is more than is worth its time, `known` has each place struck once only, however often, and in however many
tests, it is passed: `while strike(act, files=..., known=known)`.

Since Python 3.12 a loop's jump back stands outside of a `try` (or `with`) around the loop: what is raised there passes
by its `except` and `finally`. So a loop in which something must not be lost goes into a function of its own, and the
`try` around the call of that.

A call of a function of Python's is counted at its beginning, and after its end as well, where CPython, for most of
them, does not look: what is right there is right. An end of a call is not counted where it is the last thing within
a `try` or `with`: what is raised here is raised by the next instruction, which stands outside.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any

#: An instruction about to be carried out, and those that called its function: each the code's id, and the offset in it.
Place = tuple[tuple[int, int], ...]

#: By the id of a code, where a handler may run in it. A code's own hash is made of all that it holds, each time anew.
_PLACES: dict[int, frozenset[int]] = {}
#: Codes that are known by their ids, so that these stay theirs.
_CODES: dict[int, CodeType] = {}


class Struck(BaseException):
    """What the handler raised. As KeyboardInterrupt, it is no Exception; `except Exception` does not stop it."""

    where = ""
    """The file, the line and the function in which it was raised."""


def _id_of(code: CodeType) -> int:
    number = id(code)
    _CODES[number] = code
    return number


def _places(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions that are about to be carried out when a handler may run."""
    number = _id_of(code)
    if number not in _PLACES:
        _PLACES[number] = _find_places(code)
    return _PLACES[number]


def _find_places(code: CodeType) -> frozenset[int]:
    found = set()
    bytecode = dis.Bytecode(code)
    entries: list[Any] = bytecode.exception_entries  # type: ignore[attr-defined]

    def handlers(offset: int) -> list[int]:
        return [entry.target for entry in entries if entry.start <= offset < entry.end]

    call: int | None = None
    for instruction in bytecode:
        offset = instruction.offset
        if instruction.opname in ("CACHE", "EXTENDED_ARG"):
            continue
        if call is not None and handlers(call) == handlers(offset):
            found.add(offset)
        if instruction.opname.startswith("JUMP_BACKWARD"):
            found.add(offset)
        # PRECALL, in 3.11, only prepares.
        call = offset if instruction.opname in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") else None
    return frozenset(found)


def _place(frame: FrameType, callers: int) -> Place:
    """Where a frame is, and where so many of its callers are."""
    place, at = [], frame
    for _ in range(callers + 1):
        place.append((_id_of(at.f_code), at.f_lasti))
        if at.f_back is None:
            break
        at = at.f_back
    return tuple(place)


class _Striker:
    def __init__(
        self,
        files: Sequence[str],
        at: int,
        error: Callable[[], BaseException | None],
        known: set[Place] | None,
        callers: int,
    ) -> None:
        self.struck: str | None = None
        self._files = tuple(files)
        self._left = at
        self._known = known
        self._callers = callers
        self._error = error

    def begin(self, frame: FrameType, event: str, argument: Any) -> Any:
        if self.struck is not None or not frame.f_code.co_filename.endswith(self._files):
            return None
        places = _places(frame.f_code)

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            """Once for each instruction, so it does little."""
            if event == "opcode" and frame.f_lasti in places and self.struck is None:
                self._pass(frame)
            return step

        frame.f_trace = step  # from 3.13 on, before opcodes can be asked for
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        # A generator's frame is also entered where it goes on; that is no beginning.
        if frame.f_lasti <= 0 or not frame.f_code.co_flags & 0x20:
            self._pass(frame)
        return step

    def _pass(self, frame: FrameType) -> None:
        if self._known is not None:
            place = _place(frame, self._callers)
            if place in self._known:
                return
            self._known.add(place)
        if self._left > 0:
            self._left -= 1
            return
        code = frame.f_code
        self.struck = f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}"
        sys.settrace(None)
        error = self._error()
        if error is not None:
            raise error


def strike(
    function: Callable[[], Any],
    *,
    files: Sequence[str],
    at: int = 0,
    error: Callable[[], BaseException | None] = Struck,
    known: set[Place] | None = None,
    callers: int = 0,
) -> str | None:
    """Call `function` and raise `error()` at the `at`-th place (from 0) in `files`, by the ends of their paths.

    Where `error()` is None nothing is raised: the handler only did something.

    With `known` only the places that are not in it count, and the one that is struck is put in. A place that is called
    from elsewhere is another one, as far as `callers` of its callers go.

    Where it was raised; None where `function` came to its end before. What it raises besides is the test's to see. What
    was raised is kept, with its traceback and so all that its frames hold, until the next call: as a caller's
    `except` keeps it.
    """
    striker = _Striker(files, at, error, known, callers)
    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # what is raised in a finalizer goes nowhere
    sys.settrace(striker.begin)
    try:
        function()
    except BaseException as caught:
        sys.settrace(before)
        if striker.struck is None or not _is_from(caught, error):
            raise
        strike.latest = caught  # type: ignore[attr-defined]
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return striker.struck


def forget() -> None:
    """Let go of what was raised last, and of all that frames held: what was torn away unclosed is warned of now."""
    strike.latest = None  # type: ignore[attr-defined]
    gc.collect()


def _is_from(caught: BaseException, error: Callable[[], BaseException | None]) -> bool:
    kind = error if isinstance(error, type) else type(error())
    return isinstance(caught, kind)
