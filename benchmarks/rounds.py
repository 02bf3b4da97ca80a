"""Times cases against each other in rounds, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import cProfile
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise, repeat

#: Calls at the start of each block that are not timed: they fill the caches that the case before emptied.
LEAD_IN = 5


@dataclass(frozen=True, slots=True)
class Case:
    """Something to be timed: one row of a result."""

    group: str
    """Cases of one group take turns."""
    name: str
    call: Callable[[], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    """Entered before a block of calls and left after it, untimed."""
    share: float = 1.0
    """Of the calls that a round makes of a case: less for a call that takes long."""


@dataclass(frozen=True, slots=True)
class Samples:
    """A case's microseconds per call, one figure per round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of all of the process's threads, the kernel's work for it included; not the server's."""
    each: list[float] = field(default_factory=list)
    """Wall time of every single call of all rounds."""


def measure(
    cases: Sequence[Case], rounds: int, calls: int, progress: Callable[[int], None] = lambda _: None
) -> dict[Case, Samples]:
    """Time `calls` calls of every case in each of `rounds` rounds; `progress` is told how many rounds are done.

    The order in each group moves on by one case a round, so that none is always first.
    """
    samples = {case: Samples() for case in cases}
    groups = {case.group: [other for other in cases if other.group == case.group] for case in cases}
    for number in range(rounds):
        for members in groups.values():
            first = number % len(members)
            for case in members[first:] + members[:first]:
                _time(case, max(1, round(calls * case.share)), samples[case])
        progress(number + 1)
    return samples


def profile(case: Case, calls: int) -> cProfile.Profile:
    """What cProfile saw of `calls` calls."""
    profiler = cProfile.Profile()
    with case.around():
        _repeat(case.call, LEAD_IN)
        gc.collect()
        profiler.enable()
        _repeat(case.call, calls)
        profiler.disable()
    return profiler


def function_calls(case: Case, calls: int) -> float:
    """How many functions, Python's and C's, one call calls, the case's own included: a figure without noise."""
    return sum(entry.callcount for entry in profile(case, calls).getstats()) / calls


def _time(case: Case, calls: int, samples: Samples) -> None:
    """Add the wall and CPU time per call of one block."""
    call, clock = case.call, time.perf_counter
    with case.around():
        _repeat(call, LEAD_IN if case.share == 1 else 1)
        gc.collect()  # so that no case pays for the garbage of another
        ends = []
        cpu, wall = time.process_time(), clock()
        for _ in repeat(None, calls):
            call()
            ends.append(clock())
        cpu = time.process_time() - cpu
    samples.wall.append((ends[-1] - wall) / calls * 1e6)
    samples.cpu.append(cpu / calls * 1e6)
    samples.each.extend((end - begin) * 1e6 for begin, end in pairwise([wall, *ends]))


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in repeat(None, times):
        call()
