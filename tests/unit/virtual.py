"""Callers and hosts in virtual time: the engine decides as it does in earnest, and a minute takes no time to pass.

Calls come by the clock. Each is driven by itself: an attempt is answered after the latency that its host gives it, a
wait ends when it is over or its waiter is woken, and meanwhile the other calls go on.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sleepwalker.engine import CompiledPolicy, Host, Outcome, Queue, Reply, Request, Send, Steps, Wait, failed, run
from sleepwalker.events import BreakerOpened, Event, Level
from sleepwalker.exceptions import DeadlineExceeded
from sleepwalker.policy import Policy
from tests.unit.engine_driver import answer

#: What an attempt that begins at this second comes to, and after how many seconds.
Server = Callable[[float], tuple[Outcome, float]]

#: What the clock shows when a world begins. Not 0, as no machine's does.
START = 10_000.0
LATENCY = 0.005

GOOD, BAD = answer(200), answer(503)


class VirtualClock:
    """Time that the world moves, and dice with a seed."""

    def __init__(self, seed: int) -> None:
        self.now = START
        self.dice = random.Random(seed)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now

    def random(self) -> float:
        return self.dice.random()


@dataclass
class Record:
    """What happened, by the second; seconds count from the start."""

    due: Counter[int] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    """Of the calls that were due in that second, those that were answered in the end."""
    sends: Counter[int] = field(default_factory=Counter)
    vain: Counter[int] = field(default_factory=Counter)
    """Attempts that failed."""
    opened: list[float] = field(default_factory=list)
    """When a circuit opened."""
    tripped: list[float] = field(default_factory=list)
    """When one opened that was closed."""
    ends: list[tuple[float, bool]] = field(default_factory=list)
    """When each call was due, and whether it was answered."""

    def share(self, since: float = 0.0, until: float = 1e9) -> float:
        """The share of calls due in that time that were answered."""
        ours = [good for due, good in self.ends if since <= due < until]
        return sum(ours) / len(ours)

    def sends_a_call(self, since: int = 0, until: int = 10**9) -> float:
        """Attempts in those seconds for each call that was due in them."""
        sends = sum(number for second, number in self.sends.items() if since <= second < until)
        return sends / sum(number for second, number in self.due.items() if since <= second < until)

    def good_again(self, since: float) -> float:
        """Seconds from `since` to the first second from which on 99 of 100 calls that were due in it were answered."""
        ends = sorted(end for end in self.ends if end[0] >= since)
        for index, (due, _) in enumerate(ends):
            ours = [good for then, good in ends[index:] if then < due + 1.0]
            if sum(ours) >= 0.99 * len(ours):
                return due - since
        raise AssertionError("it never was")


class World:
    """Some callers (processes, each with a record of the host of its own) and what serves them."""

    def __init__(self, seed: int, policy: Policy | None = None, processes: int = 1) -> None:
        self.clock = VirtualClock(seed)
        self.policy = Policy() if policy is None else policy
        self.hosts = [Host("https://h.test", self.policy, self.clock) for _ in range(processes)]
        self.compiled = CompiledPolicy(self.policy, self.clock)
        self.record = Record()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._request = Request("GET", "/", idempotent=True, replayable=True)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.now - START

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at that second."""
        heapq.heappush(self._agenda, (START + when, next(self._order), action))

    def go(self) -> Record:
        """Until nothing is left to do."""
        while self._agenda:
            when, _, action = heapq.heappop(self._agenda)
            self.clock.now = max(self.clock.now, when)
            action()
        return self.record

    def observe(self, event: Event, level: Level | None = None, /) -> None:
        if isinstance(event, BreakerOpened):
            self.record.opened.append(self.now)
            if event.rule != "probe":
                self.record.tripped.append(self.now)

    def calls(self, rate: float, seconds: float, server: Server, process: int = 0, start: float = 0.0) -> None:
        """Calls that come evenly, `rate` a second."""
        times = (start + number / rate for number in range(round(rate * seconds)))
        self._next_call(times, server, process)

    def _next_call(self, times: Iterator[float], server: Server, process: int) -> None:
        due = next(times, None)
        if due is not None:

            def begin() -> None:
                self._next_call(times, server, process)
                self.call(server, process)

            self.at(due, begin)

    def call(self, server: Server, process: int = 0, done: Callable[[bool], None] | None = None) -> None:
        """One call, from now on."""
        due = self.now
        self.record.due[int(due)] += 1
        steps = run(self.hosts[process], self.compiled, self._request, self.clock, self.observe)

        def end(good: bool) -> None:
            self.record.ends.append((due, good))
            self.record.answered[int(due)] += good
            if done is not None:
                done(good)

        self._go_on(steps, None, server, end)

    def _go_on(self, steps: Steps, reply: Reply, server: Server, end: Callable[[bool], None]) -> None:
        try:
            step = steps.send(reply)
        except StopIteration as stop:
            outcome = stop.value.outcome
            end(outcome.error is None and outcome.succeeded)
            return
        if isinstance(step, Send):
            outcome, seconds = server(self.now)
            if (left := step.deadline - self.clock.now) < seconds:
                outcome, seconds = failed(DeadlineExceeded("too late", limit=step.limit)), left
            self.record.sends[int(self.now)] += 1
            if not outcome.succeeded:
                self.record.vain[int(self.now)] += 1
            self.at(self.now + seconds, lambda: self._go_on(steps, outcome, server, end))
        elif isinstance(step, Wait | Queue):
            self._wait(step, lambda: self._go_on(steps, False, server, end))
        else:
            raise AssertionError(step)

    def _wait(self, step: Wait | Queue, go_on: Callable[[], None]) -> None:
        """Until the time is over, or the waiter is woken."""
        over = [False]

        def once() -> None:
            if not over[0]:
                over[0] = True
                go_on()

        self.at(self.now + step.seconds, once)
        if step.waiter is not None:
            step.waiter.notify = lambda: self.at(self.now, once)
            if step.waiter.woken:
                self.at(self.now, once)


def failing(share: float, seed: int, latency: float = LATENCY) -> Server:
    """A server that fails this share of attempts, at random."""
    dice = random.Random(seed)
    return lambda now: (BAD if dice.random() < share else GOOD, latency)


def down(since: float, until: float, share: float = 0.0, seed: int = 0, latency: float = LATENCY) -> Server:
    """A server that refuses all in that time, at once, and fails a share of attempts before and after."""
    otherwise = failing(share, seed, latency)
    return lambda now: (BAD, LATENCY) if since <= now < until else otherwise(now)


def flapping(up: float, down_for: float) -> Server:
    """A server that is up for so many seconds, then down for so many, again and again."""
    return lambda now: (GOOD if now % (up + down_for) < up else BAD, LATENCY)


def overloaded(capacity: float) -> Server:
    """A server that serves `capacity` a second, and refuses the rest, which takes a fifth of the work."""
    room, since = [1.0], [0.0]

    def serve(now: float) -> tuple[Outcome, float]:
        room[0] = min(10.0, room[0] + (now - since[0]) * capacity)
        since[0] = now
        served = room[0] >= 1.0
        room[0] -= 1.0 if served else 0.2
        return (GOOD if served else BAD), LATENCY

    return serve


def cold(since: float, until: float, load: float) -> Server:
    """A server that is down in that time, and cold after it: it takes a fifth of the load, and all of it after 4 s.

    The rest gets a 503.
    """
    room, last = [1.0], [0.0]

    def serve(now: float) -> tuple[Outcome, float]:
        if since <= now < until:
            return BAD, LATENCY
        warm = min(1.0, 0.2 + 0.8 * (now - until) / 4) if now >= until else 1.0
        room[0] = min(1.0 + load * warm / 10, room[0] + (now - last[0]) * load * warm * 1.05)
        last[0] = now
        if room[0] < 1.0:
            return BAD, LATENCY
        room[0] -= 1.0
        return GOOD, LATENCY

    return serve
