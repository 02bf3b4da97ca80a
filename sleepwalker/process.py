"""What tells this process, and each of its calls, apart from others in a log that several write to."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.fork import renew_after_fork

__all__ = ["THIS_PROCESS", "Process"]

#: Bytes of chance in the prefix of a call's id: ten thousand processes share one less often than once in 20,000 logs.
_PREFIX = 5


class Process:
    """The number of the process, since when it runs, and its source of ids for calls. A forked child has all anew."""

    __slots__ = ("calls", "pid", "prefix", "since")

    calls: Iterator[int]
    """Numbers of calls, each given to one thread only. A call's id is `prefix-number`, the number in hexadecimal."""
    pid: int
    prefix: str
    since: float
    """When it was forked, or else when it imported this, in seconds since 1970-01-01 UTC."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Ask the kernel for what makes this process another one than its parent."""
        self.pid = os.getpid()
        # Not a clock's chance: a program that seeds that in all its workers alike would give their calls the same ids.
        self.prefix = os.urandom(_PREFIX).hex()
        self.calls = itertools.count(1)
        self.since = SYSTEM_CLOCK.wall()


#: Read as it is needed, rather than kept: a fork changes it.
THIS_PROCESS = Process()

renew_after_fork("process", THIS_PROCESS.renew)
