"""Processes of a benchmark: modules of its own that speak JSON by lines, and end with what started them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import ROOT

#: How a process ends on a machine that is too busy for it.
BUSY = 75


class BusyError(RuntimeError):
    """A process gave up: the machine has more to do than it can."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running one."""

    module: str
    process: subprocess.Popen[str]

    def say(self, value: object) -> None:
        """Write a line."""
        assert self.process.stdin is not None
        print(json.dumps(value), file=self.process.stdin, flush=True)

    def hear(self) -> Any:
        """Read a line; RuntimeError where it ended instead, `BusyError` where it gave up."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait(10)
            raise (BusyError if status == BUSY else RuntimeError)(f"{self.module} ended with {status}")
        return json.loads(line)

    def ask(self, value: object) -> Any:
        """Write a line, and read one."""
        self.say(value)
        return self.hear()

    def done(self) -> Any:
        """End its input, and read what it says at last."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.hear()


_running: list[subprocess.Popen[str]] = []


def end_all() -> None:
    """End those that run, whoever waits for them."""
    for process in [*_running]:
        process.terminate()


@contextlib.contextmanager
def started(module: str) -> Iterator[Child]:
    """`python -m MODULE`, which is ended in the end."""
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _running.append(process)
    try:
        yield Child(module, process)
    finally:
        _running.remove(process)
        process.terminate()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
