"""Runs the statements of a session in a thread of their own, so that Ctrl-C works while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Aside"]

#: Seconds between two looks at the progress of a statement.
_TICK = 0.1

_Result = TypeVar("_Result")


class Aside:
    """One thread for all statements of a session: one for each took a sixth of the time of a small report.

    If a statement ran in the main thread, DuckDB would turn what a signal handler raises into an error of its own.
    """

    def __init__(self) -> None:
        # Not a daemon: an interpreter that exits while a daemon works in DuckDB is aborted. `end` ends this one.
        self._thread = ThreadPoolExecutor(1, "sleepwalker inspect")
        self._thread.submit(int).result()  # start the thread now, where no interrupted statement can leave half a start

    def do(
        self, work: Callable[[], _Result], interrupt: Callable[[], None], meanwhile: Callable[[], None] | None = None
    ) -> _Result:
        """The result of `work`, or its error.

        `meanwhile` is called again and again until then. If anything is raised here in that time, as by Ctrl-C,
        `interrupt` is called, which makes `work` end early. The exception is raised when it has ended.
        """
        results: list[_Result] = []
        errors: list[BaseException] = []
        done = threading.Event()
        given_up = False

        def run() -> None:
            try:
                if not given_up:
                    results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                errors.append(error)
            finally:
                done.set()

        try:
            self._thread.submit(run)
            while not done.wait(None if meanwhile is None else _TICK):
                if meanwhile is not None:
                    meanwhile()
        except BaseException:
            given_up = True
            interrupt()
            self._thread.submit(int).result()  # waits for `run`, if that was submitted before the signal came
            raise
        if errors:
            raise errors[0]
        return results[0]

    def end(self) -> None:
        """End the thread after its current work, without waiting for that."""
        self._thread.shutdown(wait=False)
