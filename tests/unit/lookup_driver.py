"""Drives a lookup without threads: each caller is a machine, whose steps one function performs when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sleepwalker.hosts import HostTable
from sleepwalker.hosts.members import AtWork, Lead
from sleepwalker.lookup import ending
from sleepwalker.lookup.fast import remember
from sleepwalker.lookup.find import Found, Waiter, find
from sleepwalker.lookup.foreign import Answer, Candidate
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.lead import carry_out
from sleepwalker.lookup.slot import State
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import (
    Adopt,
    AskHook,
    Await,
    AwaitRetired,
    Emit,
    Job,
    Look,
    Machine,
    Release,
    Remember,
    Start,
)
from sleepwalker.lookup.table import Released
from sleepwalker.policy import Policy
from tests.unit.engine_driver import FakeClock
from tests.unit.manager_driver import PLAIN, A


class Flag:
    """What waiters are woken by: a value."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


class Conn:
    closed = False


HOOK: Any = SimpleNamespace()

#: What a hook says: it gives a connection, has no such host, fails, or hangs until it is told otherwise.
Say = Callable[[], Any]


@dataclass
class World:
    """Callers are machines; each step of one is performed when it is asked for, by nothing but this thread."""

    clock: FakeClock = field(default_factory=FakeClock)
    say: Say = Conn
    hangs: bool = False
    policy: Policy = PLAIN

    def __post_init__(self) -> None:
        self.hosts = HostTable(policy=self.policy, clock=self.clock)
        self.who: Hashable = "nobody"
        self.lookup = Lookup(self.hosts, 100, caller=lambda: self.who, signal=Flag)
        self.lookup.hooks = (HOOK,)
        self.log: list[Any] = []
        self.hosts.members.join(self)
        self.jobs: list[Job] = []
        self.released: list[Any] = []
        self.asked = 0

    def caller(self, name: str, host: str = A, auth: Any = None, seconds: float = 30.0) -> Caller:
        return Caller(self, name, find(self.lookup, Asked(host, auth), Waiter(seconds, nested=False)))

    def find(self, host: str = A, **options: Any) -> Found:
        caller = self.caller("caller", host, **options)
        while not caller.over:
            caller.step()
            self.let_hooks_answer()
        return caller.result

    def let_hooks_answer(self) -> None:
        """The leaders go on to their ends, each in a task of its own."""
        while self.jobs and not self.hangs:
            job = self.jobs.pop(0)
            self.who = f"leader {id(job)}"
            if ending.begin(self.lookup, job.flight):
                self.end(job, self.run(carry_out(self.lookup, job)))

    def end(self, job: Job, released: list[Released]) -> None:
        self.run(ending.end(self.lookup, job.flight, released, None, copied=lambda error: error)).set()

    def run(self, machine: Machine[Any]) -> Any:
        task = Caller(self, str(self.who), machine)
        while not task.over:
            task.step()
        return task.result

    # -- for the table of hosts

    def leads(self) -> Iterator[Lead]:
        return self.lookup.leads()

    def at_work(self) -> list[AtWork]:
        return self.lookup.at_work()

    def policies_changed(self) -> None:
        """Its policies stay."""

    def isolations_changed(self) -> None:
        self.lookup.fast = {}

    # -- what a driver does

    def state(self) -> State | None:
        slots = self.lookup.table.slots()
        return slots[0].state(self.clock.now) if slots else None

    def perform(self, step: Any) -> Any:
        match step:
            case Look():
                return self.lookup.table.look(step.asked)
            case Start():
                self.jobs.append(step.job)
                step.job.flight.taken = True
            case Await():
                if not step.flight.done.is_set() and self.hangs:
                    self.clock.advance(step.until - self.clock.now)
                return step.flight.done.is_set()
            case AskHook():
                return self.answer()
            case Adopt():
                record = self.hosts.host(self.lookup.table.names_of(step.slot, None)[0])
                return Candidate(step.conn, step.conn, None, None, record, None)
            case Release():
                self.let_go(step.released)
            case Emit():
                self.log += [event.name for event in step.events]
            case Remember():
                remember(step)
            case AwaitRetired():
                pass
        return None

    def let_go(self, released: list[Released]) -> None:
        self.log += [("released", each.reason) for each in released]
        self.released += [each.conn for each in released]

    def answer(self) -> Answer:
        self.asked += 1
        try:
            said = self.say()
        except OSError as error:
            return Answer("Hook", 0.0, error=type(error).__name__, detail=str(error))
        return Answer("Hook", 0.0) if said is None else Answer("Hook", 0.0, said, "Conn")


class Caller:
    """One machine, a step at a time. What it asked for last is performed when it goes on."""

    def __init__(self, world: World, name: str, machine: Machine[Any]) -> None:
        self.world, self.name, self.machine = world, name, machine
        self.asked: Any = None
        self.over = False
        self.result: Any = None

    @property
    def waits(self) -> bool:
        return isinstance(self.asked, Await)

    def step(self) -> None:
        reply = None if self.asked is None else self.world.perform(self.asked)
        self.world.who = self.name
        try:
            self.asked = self.machine.send(reply)
        except StopIteration as stop:
            self.over, self.result = True, stop.value

    def until_it_waits(self) -> None:
        while not self.waits and not self.over:
            self.step()
