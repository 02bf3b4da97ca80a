"""Runs a benchmark that starts many processes of a kind: the first of each kind is started, the others are forked.

`python tests/wire/forking.py benchmarks.aio --quick` does what `python -m benchmarks.aio --quick` does. A process that
is started imports all that it needs, which takes half a second of CPU. One that is forked has it from this one.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self


class Fork:
    """What `benchmarks.children` needs of a `Popen`, for a fork that runs `main()` of a module."""

    def __init__(self, module: str) -> None:
        its_input, to_it = os.pipe()
        from_it, its_output = os.pipe()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            _be(module, its_input, its_output)
        os.close(its_input)
        os.close(its_output)
        self.stdin, self.stdout = os.fdopen(to_it, "w", encoding="utf-8"), os.fdopen(from_it, encoding="utf-8")
        self.returncode: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        self.stdout.close()
        self.wait()

    def terminate(self) -> None:
        if self.returncode is None:
            os.kill(self._pid, signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self.returncode


def _be(module: str, its_input: int, its_output: int) -> None:
    """In the fork: run the module's `main()` on these two pipes, and end."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(its_input, 0)
        os.dup2(its_output, 1)
        os.closerange(3, 1024)  # what others are spoken to by: they would never find their input ended
        sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
        importlib.import_module(module).main()
        sys.stdout.flush()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


_begun: set[str] = set()


def _start(command: list[str], **options: Any) -> Any:
    module = command[-1]
    assert command[:-1] == [sys.executable, "-m"]
    if module in _begun and hasattr(importlib.import_module(module), "main"):
        return Fork(module)
    _begun.add(module)
    return subprocess.Popen(command, **options)


def outages(lanes: int, jobs: list[tuple[dict[str, Any], str]]) -> None:
    """Print what the runs of `benchmarks.outage` found, each in a fork."""
    command: Any = importlib.import_module("benchmarks.outage.command")
    read = importlib.import_module("benchmarks.outage.scenario").from_dict
    importlib.import_module("benchmarks.outage.job")
    command.subprocess = SimpleNamespace(Popen=lambda command, **_: Fork(command[-1]), PIPE=subprocess.PIPE)
    print(json.dumps(command.run_jobs([(read(scenario), client) for scenario, client in jobs], lanes)))


def main() -> int:
    sys.path[0] = str(Path(__file__).parents[2])
    if sys.argv[1] == "outages":
        outages(*json.loads(sys.argv[2]))
        return 0
    children: Any = importlib.import_module("benchmarks.children")
    children.subprocess = SimpleNamespace(Popen=_start, PIPE=subprocess.PIPE)
    return int(importlib.import_module(f"{sys.argv[1]}.command").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
