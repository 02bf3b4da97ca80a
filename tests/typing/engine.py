"""Read by the type checker, never run: all that the engine hands on to a driver, and what the checker says it is.

A test compares the names that are imported here with those that `sleepwalker.engine` hands on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, assert_type

from sleepwalker import Attempt, Policy
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.engine import (
    DUE,
    FOR_GOOD,
    LATE,
    Ask,
    CompiledPolicy,
    Completed,
    Fellows,
    Final,
    Gauges,
    Head,
    HealthState,
    Hold,
    Host,
    HostHealth,
    Isolation,
    Latency,
    Outcome,
    Permit,
    Queue,
    Receive,
    Received,
    Recent,
    RejectedBy,
    Reply,
    Request,
    Restorer,
    Routes,
    Send,
    Signal,
    Standing,
    State,
    Step,
    Steps,
    Verdict,
    Wait,
    Waiter,
    answered,
    asked_wait,
    download,
    failed,
    fleet,
    passes_rate_limit,
    run,
)
from sleepwalker.events import Event, Level


def observe(event: Event, level: Level | None = None, /) -> None:
    raise NotImplementedError


def begin(policy: Policy) -> Steps:
    host = Host("https://api.example.net", policy, SYSTEM_CLOCK)
    request = Request("GET", "/", idempotent=True, replayable=True, concurrent=True)
    assert_type(request.credentials(), str)
    assert_type(request.retry_if, Callable[[Outcome], bool] | None)
    compiled = CompiledPolicy(policy, SYSTEM_CLOCK).within(2.5)
    assert_type(compiled, CompiledPolicy)
    assert_type(passes_rate_limit(policy), bool)
    assert_type((compiled.attempt, compiled.total, compiled.methods), tuple[float, float, frozenset[str]])
    assert_type(download(host, compiled, request, SYSTEM_CLOCK, observe, ends_at=5.0), Steps)
    return run(host, compiled, request, SYSTEM_CLOCK, observe)


def perform(step: Step) -> Reply:
    match step:
        case Send():
            assert_type((step.deadline, step.seconds, step.proven_since), tuple[float, float, float])
            assert_type(step.limit, Literal["attempt", "total"])
            assert_type((step.number, step.hedge_in), tuple[int, float | None])
            return answered(503, object(), asked_wait(503, {"Retry-After": "3"}.get, SYSTEM_CLOCK.wall))
        case Wait():
            assert_type(step.waiter, Waiter | None)
            return wait(step.waiter, step.seconds)
        case Queue():
            assert_type(step.waiter, Waiter)
            return wait(step.waiter, step.seconds)
        case Ask():
            assert_type(step.attempts, tuple[Attempt, ...])
            return step.retry_if(step.outcome)
        case Receive():
            assert_type(step.outcome, Outcome)
            return Received(step.outcome, over=True, forward=True, reached=None)
        case Hold():
            return Completed(2, failed(OSError()))


def wait(waiter: Waiter | None, seconds: float) -> bool:
    if waiter is not None:
        waiter.notify = lambda: None
        assert_type((waiter.woken, waiter.granted, waiter.patience), tuple[bool, bool, float])
    return False


def end(final: Final) -> None:
    assert_type(final.attempts, tuple[Attempt, ...])
    assert_type(final.permit, Permit)
    outcome = final.outcome
    assert_type(outcome, Outcome)
    assert_type(outcome.verdict, Verdict)
    assert_type((outcome.status, outcome.retry_after), tuple[int | None, float | None])
    assert_type((outcome.error, outcome.succeeded, outcome.cause), tuple[Exception | None, bool, str])
    assert_type(outcome.head, Head | None)
    response: Any = outcome.response
    assert response is not None


def signals() -> tuple[Signal, ...]:
    return (DUE, LATE)


def record(host: Host, other: Policy) -> None:
    health = host.snapshot()
    assert_type(health, HostHealth)
    assert_type(health.state, HealthState)
    assert_type(health.breaker, State)
    assert_type(health.latency, Latency)
    assert_type((health.recent, health.rejected, health.would_reject), tuple[Recent, RejectedBy, RejectedBy])
    assert_type(host.snapshot(1, None, Routes(names=("stock",), used=True, failover=None)), HostHealth)
    assert_type(host.gauges(), Gauges)
    assert_type(host.reconfigure(other), tuple[Event, ...])
    assert_type(host.isolate(Isolation("deployment", until=1.8e9)), tuple[Event, ...])
    assert_type(FOR_GOOD, Isolation)
    by: Restorer = "fleet"
    assert_type(host.restore(by), tuple[Event, ...])
    assert_type((host.fellows, health.fleet), tuple[Fellows | None, Fellows | None])
    assert_type((host.isolated, host.busy, host.unhealthy, host.limit), tuple[bool, bool, bool, int | None])
    assert_type(host.outcomes.settle_body(Permit(0), failed(OSError()), 0.0), tuple[Event, ...])


def hears_of_the_fleet(host: Host) -> None:
    host.fellows = Fellows(broken=3, fine=0, workers=4, verdict=True)
    standing = fleet.standing(host, 0.0)
    assert_type(standing, Standing)
    assert_type((standing.broken, standing.told, standing.healthy), tuple[bool, bool, bool])
    assert_type((standing.failing, standing.lasted, standing.cause), tuple[bool, float, str | None])
    assert_type((standing.failed_looks, standing.answered_at), tuple[int, float | None])
    assert_type((standing.demand, standing.waiting), tuple[int, bool])
    assert_type(fleet.told_broken(host, "503", 10.0, 0.0), tuple[Event, ...])
    assert_type(fleet.hold(host, 10.0, 0.0), tuple[Event, ...])
    assert_type(fleet.let_look(host, 0.0), tuple[Event, ...])
    assert_type(fleet.came_back(host, 0.0), tuple[Event, ...])
    assert_type(fleet.withdrawn(host, 0.0), tuple[Event, ...])
