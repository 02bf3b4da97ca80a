"""A download as one call of the engine: what counts as progress, what bounds it, and what is told of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sleepwalker import Attempt, CircuitOpenError, DeadlineExceeded, DownloadError, HostIsolatedError, Policy, ReadError
from sleepwalker.engine import (
    CompiledPolicy,
    Head,
    Outcome,
    Receive,
    Received,
    Request,
    Send,
    Wait,
    answered,
    download,
    failed,
)
from sleepwalker.events import AttemptFailed, RequestFailed, RequestFinished, RetryScheduled
from tests.unit.engine_driver import HOST, Running, World, answer, refused, reset

PLAIN: dict[str, Any] = {"jitter": "none", "wait_initial": 1.0, "budget": False}


def begin(world: World, *, ends_at: float = math.inf) -> Running:
    """Begin a download."""
    compiled = CompiledPolicy(world.policy, world.clock)
    request = Request("GET", "/big", idempotent=True, replayable=True)
    steps = download(world.host, compiled, request, world.clock, world.observe, ends_at)
    return Running(world, steps).reply(None)


def head(status: int = 206) -> Outcome:
    outcome = answered(status, None, None)
    outcome.head = Head()
    return outcome


def cut(reached: int, *, forward: bool, error: Exception | None = None) -> Received:
    return Received(failed(error or ReadError(f"{HOST}: broke off")), over=False, forward=forward, reached=reached)


def play(call: Running, *script: Outcome | Received, took: float = 1.0) -> Running:
    """Each send and each body takes `took` seconds, and comes to the next one of the script."""
    left = iter(script)
    while call.final is None:
        if isinstance(call.step, Wait):
            call.world.clock.advance(call.step.seconds)
            call.reply(False)
            continue
        reply = next(left, None)
        if reply is None:
            break
        assert isinstance(call.step, Receive if isinstance(reply, Received) else Send)
        call.world.clock.advance(took)
        if isinstance(reply, Received) and reply.over and reply.outcome.error is None:
            assert isinstance(call.step, Receive)
            reply.outcome = call.step.outcome
        call.reply(reply)
    return call


def whole(reached: int = 100) -> Received:
    return Received(head(), over=True, forward=True, reached=reached)


def test_attempts_are_counted_from_the_last_progress() -> None:
    """A proxy that cuts each 20 MB does not keep 200 MB from becoming whole, with three attempts."""
    world = World(Policy(retry=PLAIN))
    script: list[Outcome | Received] = []
    for number in range(9):
        script += [head(), cut(20 * number, forward=True)]
    call = play(begin(world), *script, head(), whole())
    assert call.outcome.status == 206
    assert len(call.sends) == 10
    assert call.waits == [1.0] * 9


def test_attempts_in_a_row_without_progress_are_as_many_as_the_policy_has() -> None:
    world = World(Policy(retry=PLAIN))
    lost = [head(), cut(5, forward=False)]
    call = play(begin(world), head(), cut(5, forward=True), *lost, *lost, *lost)
    assert isinstance(call.outcome.error, ReadError)
    assert len(call.sends) == 3  # the one that brought something is the first of the three
    assert call.waits == [1.0, 2.0]


def test_heads_that_fail_and_bodies_that_break_are_counted_together() -> None:
    world = World(Policy(retry=PLAIN))
    call = play(begin(world), answer(503), head(), cut(5, forward=False), refused())
    assert call.outcome.error is not None
    assert len(call.sends) == 3


def test_total_bounds_each_stretch_without_progress_and_not_the_size() -> None:
    world = World(Policy(timeout={"attempt": 10, "total": 30}, retry=PLAIN))
    call = begin(world)
    for number in range(5):
        play(call, head(), cut(number, forward=True), took=25.0)
    play(call, head(), whole(), took=9.0)
    assert call.outcome.status == 206
    assert world.clock.now - call.sends[0][0] > 250
    for began, send in call.sends:
        assert send.deadline == began + 10


def test_no_attempt_begins_once_a_stretch_without_progress_has_taken_the_total() -> None:
    world = World(Policy(timeout={"attempt": 10, "total": 30}, retry=PLAIN | {"attempts": 4}))
    call = play(begin(world), *[head(), cut(0, forward=False)] * 4, took=9.0)
    assert isinstance(call.outcome.error, ReadError)
    assert len(call.sends) == 2  # 37 s would be over
    assert world.reasons() == ["deadline"]


def test_the_whole_call_has_an_end_where_it_was_given_one() -> None:
    world = World(Policy(timeout={"attempt": 10, "total": 30}, retry=PLAIN))
    ends_at = world.clock.now + 40
    call = begin(world, ends_at=ends_at)
    play(call, head(), cut(1, forward=True), took=17.0)
    (_, first), (_, second) = call.sends
    assert first.deadline == world.clock.now - 25
    assert (second.deadline, second.limit) == (ends_at, "total")


def test_a_body_that_took_longer_than_its_caller_has_is_not_the_hosts_doing() -> None:
    world = World(Policy(retry=PLAIN))
    late = cut(5, forward=False, error=DeadlineExceeded("late", limit="total", phase="body"))
    late.outcome.retryable = False
    play(begin(world), head(), late)
    assert world.host.snapshot().failures == 0


def test_without_retries_a_body_that_breaks_ends_the_call() -> None:
    world = World(Policy(retry=False))
    call = play(begin(world), head(200), cut(5, forward=True))
    assert isinstance(call.outcome.error, ReadError)
    assert len(call.sends) == 1


def test_a_response_of_no_use_is_followed_by_another_request_at_once() -> None:
    """The rest is not to be had: all of it is asked for, which is no retry."""
    world = World(Policy(retry=False))
    anew = Received(head(416), over=False, forward=False, reached=None)
    call = play(begin(world), head(416), anew, head(200), whole())
    assert call.outcome.status == 200
    assert call.waits == []


def test_an_error_of_the_server_ends_it_as_it_ends_any_call() -> None:
    world = World(Policy(retry=PLAIN))
    call = begin(world)
    not_found = answer(404)
    call.reply(not_found)
    assert isinstance(call.step, Receive)
    call.reply(Received(not_found, over=True, forward=False, reached=None))
    assert call.outcome is not_found
    assert world.names() == ["request.finished"]


def test_a_body_that_breaks_after_progress_is_no_failure_of_the_host() -> None:
    world = World(Policy(retry=PLAIN))
    play(begin(world), *[head(), cut(5, forward=True)] * 30, head(), whole())
    health = world.host.snapshot()
    assert (health.calls, health.attempts, health.failures, health.breaker) == (1, 31, 0, "closed")


def test_a_body_that_breaks_without_progress_takes_the_success_of_its_head_back() -> None:
    world = World(Policy(retry=PLAIN))
    play(begin(world), *[head(), cut(5, forward=False)] * 3)
    health = world.host.snapshot()
    assert (health.calls, health.attempts, health.failures) == (1, 3, 3)


def test_a_body_of_another_host_is_none_of_the_hosts_business() -> None:
    world = World(Policy(retry=PLAIN))
    elsewhere = head()
    elsewhere.elsewhere = True
    call = play(begin(world), elsewhere, cut(5, forward=False))
    assert call.final is None
    assert world.host.snapshot().failures == 0


def test_bodies_that_break_without_progress_open_the_circuit_and_end_the_download() -> None:
    world = World(Policy(retry=PLAIN | {"wait_initial": 0.1}, breaker={"consecutive": 2, "consecutive_for": 0}))
    call = play(begin(world), *[head(), cut(5, forward=False)] * 3, took=0.1)
    assert len(call.sends) == 2
    assert world.reasons() == ["breaker"]
    with pytest.raises(CircuitOpenError):
        raise begin(world).outcome.error  # type: ignore[misc]


@pytest.mark.parametrize("broke", [True, False], ids=["broke off", "sent so much"])
def test_a_host_that_is_isolated_meanwhile_gets_no_further_request(broke: bool) -> None:
    """A download may take hours. What arrives goes on arriving."""
    world = World(Policy(retry=PLAIN))
    call = play(begin(world), head())
    world.host.isolate()
    so_far = cut(100_000, forward=True) if broke else Received(head(), over=False, forward=True, reached=100_000)
    play(call, so_far)
    assert len(call.sends) == 1
    with pytest.raises(HostIsolatedError):
        raise call.outcome.error  # type: ignore[misc]
    assert (world.host.snapshot().rejections, world.host.snapshot().in_flight) == (1, 0)


def test_retries_that_bring_nothing_are_charged_to_the_budget() -> None:
    """The head gives the share back: without more, who breaks each body would be asked three times as often."""
    budget = {"ratio": 0.01, "min_per_second": 0.03, "window": 100}
    world = World(Policy(retry=PLAIN | {"budget": budget}, breaker=False))
    lost = [head(), cut(0, forward=False)] * 3
    sends = [len(play(begin(world), *lost, took=0.0).sends) for _ in range(3)]
    assert sends == [3, 2, 1]


def test_retries_that_bring_the_file_forward_are_free() -> None:
    world = World(Policy(retry=PLAIN | {"budget": {"ratio": 0.01, "min_per_second": 0.01, "window": 100}}))
    call = play(begin(world), *[head(), cut(0, forward=True)] * 9, head(), whole(), took=0.0)
    assert len(call.sends) == 10


def test_a_retry_gives_its_share_back_once() -> None:
    budget = {"ratio": 0.01, "min_per_second": 0.05, "window": 100}
    world = World(Policy(retry=PLAIN | {"budget": budget}, breaker=False))
    other = world.call([answer(503)] * 3)  # two retries in vain
    assert len(other.sends) == 3
    assert world.host.admission.budget is not None
    left = world.host.admission.budget.left(world.clock.now)
    more = Received(head(), over=False, forward=True, reached=50)
    play(begin(world), head(), cut(5, forward=True), head(), more, head(), more, head(), whole(), took=0.0)
    assert world.host.admission.budget.left(world.clock.now) == pytest.approx(left, abs=0.02)


def test_attempts_say_how_far_each_came_and_what_broke_it_off() -> None:
    world = World(Policy(retry=PLAIN))
    call = play(begin(world), answer(503), head(200), cut(40, forward=True), head(), whole(100), took=0.5)
    assert call.final is not None
    assert call.final.attempts == (
        Attempt(1, 0.0, 0.5, 503, None, 0.0),
        Attempt(2, 1.5, 1.0, 200, f"ReadError: {HOST}: broke off", 1.0, 40),
        Attempt(3, 3.5, 1.0, 206, None, 1.0, 100),
    )


def test_one_call_is_told_of_with_its_attempts() -> None:
    world = World(Policy(retry=PLAIN))
    play(begin(world), head(200), cut(40, forward=True), head(), whole(), took=0.5)
    assert world.names() == ["attempt.failed", "retry.scheduled", "request.finished"]
    broke, finished = world.only(AttemptFailed), world.only(RequestFinished)
    assert (broke.attempt, broke.status, broke.error, broke.duration) == (1, 200, "ReadError", 1.0)
    assert world.only(RetryScheduled).attempt == 2
    assert (finished.status, finished.attempts, finished.duration, finished.waited) == (206, 2, 3.0, 1.0)
    assert {event.call for event in (broke, finished)} == {finished.call}


def test_a_response_that_is_no_file_fails_the_call_and_not_the_host() -> None:
    world = World(Policy(retry=PLAIN))
    no_file = failed(DownloadError("204 is no file"))
    play(begin(world), head(204), Received(no_file, over=True, forward=False, reached=None))
    assert world.only(RequestFailed).error == "DownloadError"
    assert world.host.snapshot().failures == 0


def test_a_download_that_is_interrupted_gives_all_back() -> None:
    world = World(Policy(retry=PLAIN, bulkhead={"max_concurrent": 1, "max_wait": 0}))
    call = begin(world)
    call.reply(head(200))
    with pytest.raises(KeyboardInterrupt):
        call.throw(KeyboardInterrupt())
    assert world.host.snapshot().in_flight == 0
    assert world.only(RequestFailed).error == "KeyboardInterrupt"
    assert world.host.snapshot().failures == 0


def test_a_download_holds_its_place_until_it_is_whole() -> None:
    world = World(Policy(retry=PLAIN, bulkhead={"max_concurrent": 1, "max_wait": 0}))
    call = begin(world)
    call.reply(head(200))
    assert world.host.snapshot().in_flight == 1
    assert world.call(answer(200)).sends == []
    play(call, whole())
    assert world.host.snapshot().in_flight == 0


def test_closing_the_connection_ends_the_wait_of_a_download() -> None:
    world = World(Policy(retry=PLAIN))
    call = begin(world)
    call.reply(head(200)).reply(cut(5, forward=True))
    assert isinstance(call.step, Wait)
    call.reply(True)
    assert isinstance(call.outcome.error, ReadError)
    assert world.reasons() == ["closed"]


def test_a_reset_before_any_head_is_retried_as_ever() -> None:
    world = World(Policy(retry=PLAIN))
    call = play(begin(world), reset(), head(200), whole())
    assert call.outcome.status == 200
