"""Starts the threads of the package."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

from sleepwalker.fork import renew_after_fork

#: For how many seconds an idle thread waits for more work, and how many threads may wait.
_PARKED_FOR = 0.1
_MOST_PARKED = 8


class NoThread(RuntimeError):
    """No thread can be started: there are too many, or the interpreter is exiting."""


def start(run: Callable[[], None], name: str) -> None:
    """Start a daemon thread. `NoThread` if none can be started.

    `Thread.start` waits until the new thread reports that it runs, on an Event that both share. If an exception of a
    signal handler strikes there, the new thread hangs before it has begun. So it is called where no signal is handled:
    in a first thread, which starts in one step of the interpreter, or in the caller's own thread if that is not the
    main one.
    """
    if threading.get_ident() != threading.main_thread().ident:
        try:
            threading.Thread(target=run, daemon=True, name=name).start()
        except RuntimeError as error:
            raise NoThread(str(error)) from None
        return
    try:
        _thread.start_new_thread(_start, (run, name))
    except RuntimeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # what a signal handler raised, whose frame is there
        raise NoThread(str(error)) from None


def _start(run: Callable[[], None], name: str) -> None:
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=run, daemon=True, name=name).start()
        return
    run()  # no other thread is left, or the interpreter ends; this one has no name, but it runs


def lend(run: Callable[[], None], name: str) -> None:
    """The same as `start`, but it reuses a recently idle thread if there is one.

    All callers pass the same name. No work waits for other work to end.
    """
    work = [run]  # the thread that takes it out carries it out, so that it happens once
    try:
        chosen = _parked.pop()
    except IndexError:
        start(partial(_serve, work), name)
        return
    chosen.handed.put(work)
    if chosen.gone and work:
        try:
            start(partial(_serve, work), name)
        except NoThread:
            if _taken(work) is not None:
                raise


class _Parked:
    """A thread that has nothing to do, and waits a moment for work."""

    __slots__ = ("gone", "handed")

    def __init__(self) -> None:
        self.handed: SimpleQueue[list[Callable[[], None]]] = SimpleQueue()
        self.gone = False
        """Whether it may have looked for work for the last time."""


#: The one that came last is chosen first, so that those that are not needed end.
_parked: list[_Parked] = []


def _serve(work: list[Callable[[], None]] | None) -> None:
    me = _Parked()
    while work is not None:
        run = _taken(work)
        if run is not None:
            run()
        del run  # and all that it refers to
        work = None if me.gone or len(_parked) >= _MOST_PARKED else _more(me)


def _more(me: _Parked) -> list[Callable[[], None]] | None:
    _parked.append(me)
    with contextlib.suppress(Empty):
        return me.handed.get(timeout=_PARKED_FOR)
    me.gone = True
    with contextlib.suppress(ValueError):  # another thread has just chosen it
        _parked.remove(me)
    with contextlib.suppress(Empty):
        return me.handed.get_nowait()
    return None


def _taken(work: list[Callable[[], None]]) -> Callable[[], None] | None:
    try:
        return work.pop()
    except IndexError:
        return None


renew_after_fork("threads", _parked.clear)
