"""When a circuit opens: the counts of attempts, and the rules that read them.

Usually there are several machines behind one address. A broken one makes attempts fail, sometimes several in a row: at
500 attempts a second with a fifth failing, five in a row occur every few seconds. So a run of failures opens the
circuit only if it has lasted, and if the share of failures before it does not explain it. A share opens it only if
hardly any attempt succeeds. The counts are those of pybreaker's state machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from sleepwalker.engine.host.permits import CLOSED, State
from sleepwalker.engine.host.window import Window
from sleepwalker.engine.outcome import Head
from sleepwalker.policy import BreakerPolicy

if TYPE_CHECKING:
    import pybreaker

#: The state machine, created for each step.
Machine: TypeAlias = "pybreaker.CircuitBreaker"
#: One step of the state machine.
Step = Callable[["Machine"], object]
#: Told of a transition: the state before, and the one after.
Listener = Callable[[State, State], None]

#: The error that the state machine gets; the real error stays with its caller.
_FAILED = Exception("an attempt failed")
_GOOD, _BAD = 0, 1
#: A run less likely than this, given the share of failures before it, is not chance.
_CHANCE = math.log(1e-5)
#: So many attempts are assumed before the first one: with few attempts, the share of failures says little.
_BEFORE = 5
#: The most that the share of failures before a run is taken for.
_MOST = 0.95
#: A host that has just come back may be cold, and fail most attempts for a while; or be down again, which is likelier
#: now than at any other time. So its run is judged by at least this share, and 1 in 100 is already no chance.
_COLD, _COLD_CHANCE = 0.8, math.log(1e-2)
#: Each success makes the memory of earlier attempts fade by a tenth: it covers about ten successes and the failures
#: between them. It is counted in sixteenths: there may be many hosts, and small whole numbers take no room.
_ONE = 16
#: The most successes that may still be taken back; older ones count for good.
_MOST_HEADS = 64
#: Tolerance for the comparison of logarithms, so that a run exactly at the limit counts.
_ROUNDING = 1e-9


class _HeadAfter(NamedTuple):
    """A success, mostly one that may be taken back, and the run of failures that it ended."""

    head: Head | None
    failures: int
    since: float
    calls: int

    def joined(self, earlier: _HeadAfter) -> _HeadAfter:
        """The same with the earlier run added: the success between the two was taken back."""
        since = earlier.since if earlier.failures else self.since
        return _HeadAfter(self.head, self.failures + earlier.failures, since, self.calls + earlier.calls)


class Trip:
    """The counts since the circuit last closed, and its state."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._least = _least(policy)
        self._window = Window(policy.window, channels=2)
        self.state: State = CLOSED
        self._now = 0.0
        self.successes: int = 0
        """The successes in half-open state, as the state machine counts them."""
        self.consecutive: int = 0
        self._run_since = 0.0
        self._run_calls = 0
        self._past = self._past_bad = 0
        """The attempts before the run, and how many of them failed, however long ago: the window of a host with few
        calls is empty when the next one comes. Counted from the first failure on: most hosts remember nothing."""
        self._heads: tuple[_HeadAfter, ...] = ()
        """The heads of streamed responses that succeeded since the last other success, the oldest first."""
        self.suspect: bool = False
        """Whether the circuit is about to open: the run of failures is no chance, and has lasted half of what it must.

        Read without a lock, before a retry.
        """
        self.cold_until: float = 0.0
        """Until then the host counts as just come back."""

    def reconfigure(self, policy: BreakerPolicy) -> None:
        """Continue with the numbers of `policy`. A window of another length starts the counts again."""
        if policy.window != self._policy.window:
            self._window = Window(policy.window, channels=2)
        self._policy = policy
        self._least = _least(policy)

    def success(self, now: float, head: Head | None = None) -> None:
        """An attempt got an answer; with `head`, its body is still to come."""
        self._window.add(now, _GOOD)
        if head is not None or self._heads:
            self._note_head(head)
        # The failures of an outage, while the circuit is not closed, say nothing about the time before it or after.
        elif (self.consecutive or self._past_bad) and self.state == CLOSED:
            self._past, self._past_bad = _faded(self._past, self._past_bad, self.consecutive)
        self.consecutive = 0
        self.suspect = False

    def _note_head(self, head: Head | None) -> None:
        """End the run with a success. With a head it may be taken back; without, no earlier one may be any more."""
        heads = (*self._heads, _HeadAfter(head, self.consecutive, self._run_since, self._run_calls))
        kept = heads[-_MOST_HEADS:] if head is not None else ()
        if self.state == CLOSED:
            self._past, self._past_bad = self._past_of(heads[: len(heads) - len(kept)])
        self._heads = kept

    def take_back(self, head: Head, now: float) -> None:
        """This success does not count: the run of failures that it ended continues."""
        if head.counted_at is not None:
            self._window.take_back(now, head.counted_at, _GOOD)
        place = next((place for place, ended in enumerate(self._heads) if ended.head is head), None)
        if place is None:
            return
        before, ended, after = self._heads[:place], self._heads[place], self._heads[place + 1 :]
        if after:
            after = (after[0].joined(ended), *after[1:])
        else:
            run = _HeadAfter(None, self.consecutive, self._run_since, self._run_calls).joined(ended)
            self.consecutive, self._run_since, self._run_calls = run.failures, run.since, run.calls
        self._heads = before + after

    def _past_of(self, heads: tuple[_HeadAfter, ...]) -> tuple[int, int]:
        """What is remembered of the attempts before the run, with the runs that these heads ended."""
        past, bad = self._past, self._past_bad
        for ended in heads:
            if ended.failures or bad:
                past, bad = _faded(past, bad, ended.failures)
        return past, bad

    def failure(self, now: float, *, first: bool) -> None:
        """An attempt failed; `first` is an attempt that is not a retry."""
        self._window.add(now, _BAD)
        if self.consecutive == 0:
            self._run_since, self._run_calls = now, 0
        self.consecutive += 1
        self._run_calls += first
        self._now = now
        self.suspect = self._is_suspect()

    def broken_rule(self) -> Literal["consecutive", "failure_ratio"] | None:
        """The rule by which the latest failure opens the circuit; None if it does not."""
        policy = self._policy
        if self.consecutive >= policy.consecutive and self._run_lasted():
            return "consecutive"
        good, bad = self._window.totals(self._now)
        if good + bad >= policy.min_calls and bad >= policy.failure_ratio * (good + bad):
            # While a host is cold, a share says nothing: it rises.
            return "failure_ratio" if self._now >= self.cold_until else None
        return None

    def _run_lasted(self) -> bool:
        """Whether the failures in a row mean that the host is down: they are no chance, and have lasted."""
        must_last = self._policy.consecutive_for
        return must_last == 0 or (self.suspect and self._now - self._run_since >= must_last)

    def _is_suspect(self) -> bool:
        policy = self._policy
        if policy.consecutive_for == 0 or self.consecutive < policy.consecutive:
            return False
        return 2 * (self._now - self._run_since) >= policy.consecutive_for and self._no_chance()

    def _no_chance(self) -> bool:
        # The attempts of one call alone cannot open the circuit: that would end their own call early.
        if self._run_calls < min(2, self._policy.consecutive):
            return False
        good, bad = self._window.totals(self._now)
        # None of the window's attempts came before a run that is longer than the window.
        past, past_bad = self._past_of(self._heads)
        before = max(0, good + bad - self.consecutive) + past / _ONE
        failed = max(0, bad - self.consecutive) + past_bad / _ONE
        share = (failed + _BEFORE * self._least) / (before + _BEFORE)
        share, chance = min(max(share, self._least), _MOST), _CHANCE
        if self._now < self.cold_until:
            share, chance = max(share, _COLD), _COLD_CHANCE
        return self.consecutive * math.log(share) <= chance + _ROUNDING

    def reset_counter(self) -> None:
        self._window.clear()
        self.consecutive = 0
        self._heads = ()
        self.suspect = False


def _faded(past: int, bad: int, failures: int) -> tuple[int, int]:
    """The memory of all attempts and of their failures, after a run of `failures` that a success ended."""
    return past * 9 // 10 + (failures + 1) * _ONE, bad * 9 // 10 + failures * _ONE


def half_open(machine: Machine) -> None:
    """The open time is over, or a background probe succeeded."""
    machine.half_open()


def force_open(machine: Machine) -> None:
    """Open it, whatever the counts say."""
    machine.open()


def count_success(machine: Machine) -> None:
    """An attempt got an answer: enough of them close a half-open circuit."""
    machine.state.on_success()


def count_failure(machine: Machine) -> None:
    """An attempt failed: this opens a circuit if its counts say so, and a half-open one at once."""
    machine.state.on_failure(_FAILED)


def _least(policy: BreakerPolicy) -> float:
    """The least that the share of failures before a run is taken for: with it, a run of `consecutive` is no chance.

    For 5 it is a tenth: five failures in a row are enough if no more than that failed before.
    """
    return math.exp(_CHANCE / policy.consecutive)
