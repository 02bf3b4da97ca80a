"""Does the statements of a session in a thread of their own, so that Ctrl-C is heard while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Aside"]

#: Seconds between two looks at how far a statement has come.
_TICK = 0.1

_Result = TypeVar("_Result")


class Aside:
    """One thread for all statements of a session: to start one for each took a sixth of the time of a small report.

    A statement that runs in the main thread turns what the handler of a signal raised into an error of DuckDB's.
    """

    def __init__(self) -> None:
        # No daemon: an interpreter that ends while one works in DuckDB is aborted. This one ends with what owns it.
        self._thread = ThreadPoolExecutor(1, "sleepwalker inspect")
        self._thread.submit(int).result()  # it runs from now on: no statement that is interrupted leaves half a start

    def do(
        self, work: Callable[[], _Result], interrupt: Callable[[], None], meanwhile: Callable[[], None] | None = None
    ) -> _Result:
        """The result of `work`, or its error.

        `meanwhile` is called again and again until it is there. What is raised here in that time, as by a Ctrl-C, has
        `interrupt` called, which makes `work` end early, and is raised when it has ended.
        """
        results: list[_Result] = []
        errors: list[BaseException] = []
        done = threading.Event()
        given_up = False

        def run() -> None:
            try:
                if not given_up:
                    results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised below, where it was asked
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
            self._thread.submit(int).result()  # comes after `run`, if that was handed over before the signal came
            raise
        if errors:
            raise errors[0]
        return results[0]

    def end(self) -> None:
        """End the thread, when it has done what it was given."""
        self._thread.shutdown(wait=False)
