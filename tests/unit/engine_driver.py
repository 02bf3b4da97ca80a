"""Drives the engine without time and sockets: a clock that stands still, outcomes from a list, recorded events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sleepwalker.drivers.threads.clock import Wake
from sleepwalker.engine import (
    DUE,
    Ask,
    CompiledPolicy,
    Completed,
    Final,
    Head,
    Hold,
    Host,
    Outcome,
    Queue,
    Reply,
    Request,
    Send,
    Step,
    Steps,
    Wait,
    answered,
    failed,
    run,
)
from sleepwalker.engine.host.permits import FREE_PERMIT
from sleepwalker.engine.record import AttemptUnderWay
from sleepwalker.engine.retry_after import parse_retry_after
from sleepwalker.events import Event, Level, RequestFailed, RequestFinished, RetryAbandoned
from sleepwalker.exceptions import ConnectError, ReadError, TLSError
from sleepwalker.policy import SERVER_FAILURES, Policy

HOST = "https://h.test"
#: Noon of 2024-06-01 UTC.
WALL = 1_717_243_200.0
IDEMPOTENT = Policy().retry.methods  # type: ignore[union-attr]

#: A circuit whose rules take no time to explain: for tests of what comes after, and of each rule by itself.
PLAIN_BREAKER: dict[str, Any] = {
    "consecutive_for": 0,
    "failure_ratio": 0.5,
    "min_calls": 20,
    "open_for": 5,
    "open_growth": 2,
    "open_max": 60,
}

E = TypeVar("E", bound=Event)


class FakeClock:
    """Time that moves only when told, and dice that show what they are told (the middle by default)."""

    def __init__(self, now: float = 5000.0) -> None:
        self.now = now
        self.time_of_day = WALL
        self.roll: Callable[[], float] = lambda: 0.5

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.time_of_day

    def random(self) -> float:
        return self.roll()

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        raise AssertionError("the engine never sleeps")

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.now += seconds
        self.time_of_day += seconds


def bearer() -> AttemptUnderWay:
    """A holder of a permit."""
    return AttemptUnderWay(0.0, 0.0, FREE_PERMIT)


def answer(status: int, retry_after: str | None = None, failures: frozenset[int] = SERVER_FAILURES) -> Outcome:
    """What an answer with this status, and this Retry-After header, comes to."""
    wait = None if retry_after is None else parse_retry_after(retry_after, WALL)
    return answered(status, None, wait, failures)


def refused() -> Outcome:
    """The connection was refused: the request was provably never sent."""
    error = ConnectError(f"{HOST}: Connection refused (errno 111)")
    error.never_sent = True
    return failed(error)


def reset() -> Outcome:
    """The connection broke after the request had been sent: it may have been processed."""
    return failed(ReadError(f"{HOST}: Connection reset by peer (errno 104)"))


def bad_certificate() -> Outcome:
    """The certificate was not accepted: never sent, and never worth another try."""
    error = TLSError(f"{HOST}: the server's certificate was not accepted: expired")
    error.never_sent = True
    error.retryable = False
    return failed(error)


@dataclass
class Running:
    """A call under way: it stands at `step` until it is told what came of it."""

    world: World
    steps: Steps
    step: Step | None = None
    final: Final | None = None
    sends: list[tuple[float, Send]] = field(default_factory=list)
    """When each send began, and the step."""
    waits: list[float] = field(default_factory=list)
    under_way: dict[int, Send] = field(default_factory=dict)
    """The sends that have not come to anything, by their numbers."""
    due: bool = False
    """Whether the latest of them is to be hedged if it takes long."""
    racing: bool = False
    notified: bool = False
    """Whether the driver of the present wait was told that its waiter is woken."""

    def reply(self, reply: Reply) -> Running:
        """Say what came of the step."""
        if isinstance(reply, Completed):
            del self.under_way[reply.number]
        elif reply is DUE:
            self.due = False
        self._go_on(lambda: self.steps.send(reply))
        return self

    def throw(self, error: BaseException) -> None:
        """Interrupt the step; raises what the call lets through."""
        self.step = None
        self._go_on(lambda: self.steps.throw(error))

    def close(self) -> None:
        """Abandon the call as garbage collection would."""
        self.step = None
        self.steps.close()

    @property
    def outcome(self) -> Outcome:
        """What the call came to."""
        assert self.final is not None, f"not over: {self.step}"
        return self.final.outcome

    def _go_on(self, act: Callable[[], Step]) -> None:
        try:
            self.step = act()
        except StopIteration as stop:
            self.step, self.final = None, stop.value
        if not isinstance(self.step, Hold) and not (self.racing and isinstance(self.step, Send)):
            self.under_way, self.due, self.racing = {}, False, False
        if isinstance(self.step, Send):
            self.sends.append((self.world.clock.now, self.step))
            self.under_way[self.step.number] = self.step
            self.due = self.step.hedge_in is not None
            self.racing = self.racing or self.due
        elif isinstance(self.step, Wait):
            self.waits.append(self.step.seconds)
        if isinstance(self.step, Queue | Wait) and self.step.waiter is not None:
            self.notified, self.step.waiter.notify = self.step.waiter.woken, self._notify

    def _notify(self) -> None:
        """What a driver does is its own business: it is called while no lock is held."""
        assert repr(self.world.host.lock.mutex).startswith("<unlocked ")
        self.notified = True


class World:
    """One host, the policy of its calls, a clock and everything that was announced."""

    name: str | None = None
    """What `find` was asked for."""

    def __init__(self, policy: Policy | None = None, clock: FakeClock | None = None) -> None:
        self.policy = Policy() if policy is None else policy
        self.clock = FakeClock() if clock is None else clock
        self.host = Host(HOST, self.policy, self.clock)
        self.announced: list[tuple[Event, Level | None]] = []

    def observe(self, event: Event, level: Level | None = None, /) -> None:
        """The observer of all calls. It may ask for the host's health: events are told while no lock is held."""
        assert repr(self.host.lock.mutex).startswith("<unlocked ")
        self.announced.append((event, level))

    @property
    def events(self) -> list[Event]:
        return [event for event, _ in self.announced]

    def names(self) -> list[str]:
        """The events' names in order."""
        return [event.name for event in self.events]

    def all(self, kind: type[E]) -> list[E]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def only(self, kind: type[E]) -> E:
        """The one event of a type."""
        (event,) = self.all(kind)
        return event

    def closings(self) -> int:
        """How many calls have announced their end."""
        self.host.tell_refused()
        return len(self.all(RequestFinished)) + sum(event.count or 1 for event in self.all(RequestFailed))

    def reasons(self) -> list[str]:
        """Why retries were abandoned."""
        return [event.reason for event in self.all(RetryAbandoned)]

    def stream(self, status: int = 200) -> Callable[[], None]:
        """A call whose head comes, and its body later; what is returned breaks the body."""
        outcome = answered(status, None, None)
        head = outcome.head = Head()
        call = self.call(outcome)
        if call.final is None:
            raise AssertionError("a call that was answered is over")
        permit = call.final.permit

        def broken() -> None:
            came = failed(ReadError("broke off"))
            came.head = head
            for event in self.host.outcomes.settle_body(permit, came, self.clock.now):
                self.observe(event)

        return broken

    def begin(
        self,
        method: str = "GET",
        *,
        idempotent: bool | None = None,
        replayable: bool = True,
        concurrent: bool = False,
        policy: Policy | None = None,
        timeout: tuple[float, float] | None = None,
        total: float | None = None,
        retry_if: Callable[[Outcome], bool] | None = None,
        credentials: str = "",
    ) -> Running:
        """Start a call and take it to its first step, or to its end where it is rejected."""
        own = CompiledPolicy(self.policy, self.clock)
        compiled = CompiledPolicy(self.policy if policy is None else policy, self.clock, timeout).beside(own)
        if total is not None:
            compiled = compiled.within(total)
        can = method in IDEMPOTENT if idempotent is None else idempotent
        request = Request(method, "/things", can, replayable, concurrent, retry_if, lambda: credentials, self.name)
        return Running(self, run(self.host, compiled, request, self.clock, self.observe)).reply(None)

    def call(
        self,
        outcomes: Outcome | Iterable[Outcome],
        method: str = "GET",
        *,
        took: float = 0.0,
        idempotent: bool | None = None,
        replayable: bool = True,
        policy: Policy | None = None,
        timeout: tuple[float, float] | None = None,
        total: float | None = None,
        retry_if: Callable[[Outcome], bool] | None = None,
        credentials: str = "",
    ) -> Running:
        """A whole call: each send takes `took` seconds and comes to the next outcome; a single outcome repeats."""
        left: Iterator[Outcome] = iter(lambda: outcomes, None) if isinstance(outcomes, Outcome) else iter(outcomes)
        running = self.begin(
            method,
            idempotent=idempotent,
            replayable=replayable,
            policy=policy,
            timeout=timeout,
            total=total,
            retry_if=retry_if,
            credentials=credentials,
        )
        while running.final is None:
            if isinstance(running.step, Send):
                self.clock.advance(took)
                running.reply(next(left))
            elif isinstance(running.step, Ask):
                running.reply(running.step.retry_if(running.step.outcome))
            else:
                assert isinstance(running.step, Wait | Queue)
                self.clock.advance(running.step.seconds)
                running.reply(False)
        return running

    def trip(self) -> None:
        """Open the circuit by failures that follow each other."""
        breaker = self.policy.breaker
        assert breaker is not None
        for _ in range(breaker.consecutive - 1):
            self.call(answer(500))
        self.clock.advance(breaker.consecutive_for)
        self.call(answer(500))
        assert self.host.snapshot().breaker == "open"

    def recover(self) -> None:
        """Wait until the circuit half-opens, and close it by successful probes."""
        breaker = self.policy.breaker
        assert breaker is not None
        self.clock.advance(self.host.snapshot().retry_in or 0.0)
        for _ in range(breaker.close_after):
            self.call(answer(200))
        assert self.host.snapshot().breaker == "closed"
