"""Work in a child of a fork, and how it ended."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any


def fork(work: Callable[[], Any]) -> int:
    """Run `work` in a child; the child's exit code is 0 if it returned True or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forking with threads: that is the point
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(100)  # a child that hangs in a lock ends all the same
        code = 0 if work() in (True, None) else 2
    except BaseException:
        traceback.print_exc()
        code = 3
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """The child's exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
