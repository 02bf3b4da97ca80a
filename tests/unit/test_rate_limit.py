"""The rate limit: how many calls a host gets per second, who waits for a turn, and who is rejected."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepwalker.engine import CompiledPolicy, Request, Send, Wait, run
from sleepwalker.engine.host import rate_limit as buckets
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.engine.host.rate_limit import Bucket
from sleepwalker.events import RequestFailed, RequestFinished, RequestRejected
from sleepwalker.exceptions import (
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceeded,
    HostIsolatedError,
    RateLimitedError,
)
from sleepwalker.exceptions import ConnectionError as OurConnectionError
from sleepwalker.policy import Policy, RateLimitPolicy
from tests.unit.engine_driver import HOST, Running, World, answer, reset


def world(rate: float = 1.0, burst: int | None = 1, max_wait: float = 0.0, **parts: Any) -> World:
    limit = {"rate": rate, "burst": burst, "max_wait": max_wait}
    return World(Policy(rate_limit=limit, **{"breaker": False, **parts}))


def sent(here: World, calls: int) -> int:
    """How many of so many calls at once are sent."""
    return sum(bool(here.call(answer(200)).sends) for _ in range(calls))


def test_after_the_burst_calls_are_rejected_until_tokens_come_back_at_the_rate() -> None:
    here = world(rate=2.0, burst=3)
    assert sent(here, 10) == 3
    here.clock.advance(0.5)
    assert sent(here, 10) == 1
    here.clock.advance(0.49)
    assert sent(here, 10) == 0
    here.clock.advance(1000)
    assert sent(here, 10) == 3


@pytest.mark.parametrize(("rate", "burst"), [(5.0, 5), (5.9, 5), (1.0, 1), (0.1, 1)])
def test_without_a_burst_one_seconds_worth_may_go_at_once_and_one_call_always(rate: float, burst: int) -> None:
    assert sent(world(rate, burst=None), 20) == burst


def test_a_rejection_says_by_what_and_when_to_come_again_and_sends_nothing() -> None:
    here = world(rate=0.5)
    here.call(answer(200))
    here.clock.advance(0.4)
    call = here.begin()
    error = call.outcome.error
    assert isinstance(error, RateLimitedError)
    assert error.host == HOST
    assert error.retry_after == pytest.approx(1.6)
    assert error.never_sent
    assert not error.retryable
    assert str(error) == f"{HOST}: the policy's rate limit (rate_limit.rate) is reached; next try in 1.6 s"
    assert call.sends == []
    rejected = here.only(RequestRejected)
    assert (rejected.by, rejected.retry_after) == ("rate_limit", error.retry_after)
    assert here.only(RequestFailed).error == "RateLimitedError"
    health = here.host.snapshot()
    assert (health.calls, health.attempts, health.rejections, health.failures) == (2, 1, 1, 0)
    here.clock.advance(error.retry_after or 0)
    assert sent(here, 2) == 1


def test_a_call_waits_for_a_turn_that_comes_within_max_wait() -> None:
    here = world(rate=2.0, max_wait=1.0)
    began = here.clock.now
    calls = [here.begin() for _ in range(4)]
    assert [call.step for call in calls[1:3]] == [Wait(0.5), Wait(1.0)]
    assert isinstance(calls[3].outcome.error, RateLimitedError)
    assert calls[3].outcome.error.retry_after == 1.5
    here.clock.advance(0.5)
    step = calls[1].reply(False).step
    assert isinstance(step, Send)
    here.clock.advance(0.5)
    assert isinstance(calls[2].reply(False).step, Send)
    calls[2].reply(answer(200))
    finished = here.only(RequestFinished)
    assert (finished.waited, finished.duration) == (1.0, 1.0)
    assert here.clock.now == began + 1.0


def test_waiting_for_a_turn_is_part_of_the_total() -> None:
    here = world(rate=0.1, max_wait=9.9, timeout={"connect": 1, "attempt": 8, "total": 12})
    here.begin()
    here.clock.advance(0.5)
    call = here.begin()
    here.clock.advance(9.5)
    call.reply(False)
    assert isinstance(call.step, Send)
    assert call.step.limit == "total"
    assert call.step.deadline == here.clock.now - 9.5 + 12


def test_a_wait_beyond_the_total_is_not_begun() -> None:
    here = world(rate=0.1, max_wait=20)
    here.begin()
    short = Policy(timeout={"connect": 1, "attempt": 5, "total": 5}, retry={"wait_max": 1})
    error = here.begin(policy=short).outcome.error
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 10.0


def test_a_wait_that_took_longer_than_the_total_sends_nothing() -> None:
    """A machine that slept: the token is there, and the call's time is over."""
    here = world(rate=1.0, max_wait=5)
    here.begin().reply(answer(200))
    call = here.begin()
    here.clock.advance(31)
    error = call.reply(False).outcome.error
    assert isinstance(error, DeadlineExceeded)
    assert (error.limit, error.phase, error.never_sent) == ("total", "queue", True)
    assert call.sends == []
    assert isinstance(here.begin().step, Send)  # the token went back
    assert here.begin().step == Wait(1.0)


def test_a_call_takes_one_token_whatever_its_attempts() -> None:
    here = world(rate=0.001, burst=2)
    assert len(here.call(answer(503)).sends) == 3
    assert sent(here, 2) == 1


def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    here = world(rate=1.0, max_wait=5)
    here.begin()
    waiting = here.begin()
    here.clock.advance(1.0)
    assert here.begin().step == Wait(1.0)
    assert isinstance(waiting.reply(False).step, Send)


def test_who_wakes_up_late_finds_no_more_than_the_burst() -> None:
    here = world(rate=1.0, max_wait=5)
    here.begin()
    waiting = [here.begin() for _ in range(3)]
    here.clock.advance(20)
    assert isinstance(waiting[0].reply(False).step, Send)
    assert waiting[1].reply(False).step == Wait(1.0)
    assert waiting[2].reply(False).step == Wait(1.0)
    here.clock.advance(1)
    assert isinstance(waiting[2].reply(False).step, Send)
    here.clock.advance(9.5)
    waiting[1].reply(False)
    assert isinstance(waiting[1].outcome.error, DeadlineExceeded)


def test_who_wakes_up_too_late_for_another_wait_is_rejected() -> None:
    here = world(rate=0.1, max_wait=25)
    here.begin()
    first, second = here.begin(), here.begin()
    here.clock.advance(25)
    assert isinstance(first.reply(False).step, Send)
    assert isinstance(second.reply(False).outcome.error, RateLimitedError)
    assert here.host.snapshot().rejections == 1
    assert not here.host.admission.rate_limit.waiting  # type: ignore[union-attr]


def _interrupted(call: Running) -> None:
    with pytest.raises(KeyboardInterrupt):
        call.throw(KeyboardInterrupt())


@pytest.mark.parametrize(
    "end", [_interrupted, Running.close, lambda call: call.reply(True)], ids=["Ctrl-C", "dropped", "closed"]
)
def test_who_stops_waiting_leaves_the_turn_to_the_next(end: Any) -> None:
    here = world(rate=1.0, max_wait=1)
    here.call(answer(200))
    end(here.begin())
    assert not here.host.busy
    assert here.host.snapshot().calls == 2
    assert here.begin().step == Wait(1.0)


def test_closing_the_connection_ends_the_wait() -> None:
    here = world(rate=1.0, max_wait=1)
    here.call(answer(200))
    error = here.begin().reply(True).outcome.error
    assert type(error) is OurConnectionError
    assert (error.never_sent, error.retryable) == (True, False)
    assert str(error) == f"{HOST}: this connection was closed while the call was queued"
    assert here.only(RequestFailed).attempts == 0


def test_a_call_that_something_else_rejects_gives_its_token_back() -> None:
    here = world(rate=0.001, burst=3, breaker={"consecutive_for": 0, "consecutive": 1})
    here.call(reset(), "POST")
    for _ in range(10):
        assert isinstance(here.begin().outcome.error, CircuitOpenError)
    here.host.isolate()
    for _ in range(10):
        assert isinstance(here.begin().outcome.error, HostIsolatedError)
    here.host.restore()
    here.clock.advance(10)
    assert sent(here, 3) == 2
    full = world(rate=0.001, burst=3, bulkhead={"max_concurrent": 1})
    under_way = full.begin()
    for _ in range(10):
        assert full.begin().sends == []
    under_way.reply(answer(200))
    assert sent(full, 5) == 2


def test_a_calls_policy_passes_the_limit_by_only_where_it_says_so() -> None:
    """Nearly every policy has it off without a word: a call that asks for other timeouts must not pass it by."""
    here = world(rate=1.0)
    here.call(answer(200))
    standard = Policy.load("standard")
    silent = (Policy(), standard, standard.replace(timeout={"total": 25}), Policy(rate_limit={"rate": 1000}))
    for policy in silent:
        assert isinstance(here.begin(policy=policy).outcome.error, RateLimitedError)
    plain = Policy.from_dict({"rate_limit": False})
    for policy in (Policy(rate_limit=False), Policy(rate_limit=None), plain, standard.replace(rate_limit=False)):
        assert here.call(answer(200), policy=policy.replace(retry=False)).sends
    here.clock.advance(1.0)
    assert sent(here, 2) == 1  # who passes by takes no token


def test_a_host_that_calls_wait_for_is_busy() -> None:
    here = world(rate=1.0, max_wait=5)
    here.call(answer(200))
    call = here.begin()
    assert here.host.busy
    call.close()
    assert not here.host.busy


LIMITS = st.builds(
    RateLimitPolicy,
    rate=st.floats(0.01, 1000),
    burst=st.none() | st.integers(1, 20),
    max_wait=st.floats(0, 20),
)


@settings(max_examples=150, deadline=None)
@given(LIMITS, st.lists(st.tuples(st.sampled_from(["come", "come", "wake", "leave"]), st.floats(0, 5)), max_size=80))
def test_within_any_window_no_more_go_than_burst_and_rate_allow(
    limit: RateLimitPolicy, steps: list[tuple[str, float]]
) -> None:
    here = World(Policy(rate_limit=limit, breaker=False, bulkhead=False, timeout={"total": 1000}))
    calls: list[Running] = []
    sends: list[float] = []
    for kind, pause in steps:
        here.clock.advance(pause)
        if kind == "come":
            calls.append(here.begin())
        elif calls and kind == "leave":
            calls.pop(0).close()
        elif calls:
            calls[0].reply(False)
        sends += [when for call in calls for when, _ in call.sends]
        calls = [call for call in calls if isinstance(call.step, Wait)]
        assert here.host.admission.rate_limit is not None
        assert here.host.admission.rate_limit.waiting == len(calls)
    burst = limit.burst or max(1.0, limit.rate)
    for first, begin in enumerate(sends):
        for last, end in enumerate(sends[first:], first):
            assert last - first + 1 <= burst + limit.rate * (end - begin) + 1e-4


@settings(max_examples=150, deadline=None)
@given(LIMITS, st.lists(st.floats(0, 5), max_size=60))
def test_those_who_do_not_wait_go_exactly_when_a_bucket_has_a_token(
    limit: RateLimitPolicy, pauses: list[float]
) -> None:
    """The model: a level that grows by rate times time, up to the burst."""
    size = limit.burst or max(1.0, limit.rate)
    now, level = 0.0, size
    bucket = Bucket(limit, now)
    for pause in pauses:
        now += pause
        level = min(size, level + pause * limit.rate)
        if abs(level - 1.0) < 1e-4:  # a matter of rounding
            return
        wait = bucket.take(Holdings(), now)
        assert (wait == 0) == (level >= 1.0)
        if wait:
            assert wait == pytest.approx((1.0 - level) / limit.rate, rel=1e-3, abs=1e-6)
        else:
            level -= 1.0


def test_a_clock_that_was_read_before_another_threads_takes_nothing_back() -> None:
    bucket = Bucket(RateLimitPolicy(rate=1.0, burst=1), 10.0)
    assert bucket.take(Holdings(), 12.0) == 0
    assert bucket.take(Holdings(), 11.5) == 1.0
    assert bucket.take(Holdings(), 12.5) == 0.5


def test_threads_share_the_tokens_exactly() -> None:
    here = world(rate=1.0, burst=50)
    done: list[bool] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(25):
            done.append(bool(here.call(answer(200)).sends))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), sum(done)) == (200, 50)
    assert here.host.snapshot().rejections == 150


def by_credentials(rate: float = 1.0, burst: int | None = 1, max_wait: float = 0.0) -> World:
    limit = {"rate": rate, "burst": burst, "max_wait": max_wait, "per": "credentials"}
    return World(Policy(rate_limit=limit, breaker=False))


def sent_as(here: World, credentials: str, calls: int = 10) -> int:
    """How many of so many calls at once with these credentials are sent."""
    return sum(bool(here.begin(credentials=credentials).sends) for _ in range(calls))


def test_with_per_credentials_each_have_a_rate_of_their_own() -> None:
    """Servers count per account: one tenant that has used up its quota must not stop the others."""
    here = by_credentials(rate=2.0, burst=3)
    assert [sent_as(here, who) for who in ("ann", "bob", "ann", "")] == [3, 3, 0, 3]
    here.clock.advance(0.5)
    assert [sent_as(here, who) for who in ("ann", "bob", "carol")] == [1, 1, 3]


def test_a_rejection_says_that_the_rate_is_that_of_these_credentials() -> None:
    here = by_credentials(rate=0.5)
    assert sent_as(here, "ann", 1) == 1
    error = here.begin(credentials="ann").outcome.error
    limit = "the policy's rate limit (rate_limit.rate) for these credentials"
    assert str(error) == f"{HOST}: {limit} is reached; next try in 2 s"


def test_who_waits_for_a_token_waits_behind_those_with_the_same_credentials_only() -> None:
    here = by_credentials(rate=1.0, max_wait=10)
    calls = [here.begin(credentials=who) for who in ("ann", "ann", "ann", "bob", "bob")]
    steps = [call.step for call in calls]
    assert steps[1:3] == [Wait(1.0), Wait(2.0)]
    assert isinstance(steps[3], Send)
    assert steps[4] == Wait(1.0)
    assert here.host.gauges().queued == 3
    assert here.host.busy


def test_a_call_that_was_not_sent_gives_its_token_back_to_its_own_credentials() -> None:
    here = World(Policy(rate_limit={"rate": 0.1, "burst": 1, "per": "credentials"}, bulkhead={"max_concurrent": 1}))
    first = here.begin(credentials="ann")
    assert first.sends
    refused = here.begin(credentials="bob")
    assert isinstance(refused.outcome.error, BulkheadFullError)
    first.reply(answer(200))
    assert [sent_as(here, who, 1) for who in ("ann", "bob")] == [0, 1]


def test_the_mark_of_credentials_is_made_only_where_they_count() -> None:
    """Making one may run the code of their class, and takes as long as all the rest of a rejection."""
    here = world()

    def make() -> str:
        raise AssertionError("asked for without need")

    request = Request("GET", "/things", idempotent=True, replayable=True, credentials=make)
    running = Running(here, run(here.host, CompiledPolicy(here.policy, here.clock), request, here.clock, here.observe))
    assert isinstance(running.reply(None).step, Send)


def test_of_more_credentials_than_are_kept_those_unused_for_longest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MOST_BUCKETS", 100)
    here = by_credentials(rate=0.001)
    assert all(sent_as(here, str(who), 2) == 1 for who in range(100))
    assert sent_as(here, "0", 1) == 0, "used again"
    assert sent_as(here, "one more", 1) == 1
    assert here.host.admission.rate_limit is not None
    assert len(here.host.admission.rate_limit._buckets) == 100
    assert [sent_as(here, who, 1) for who in ("0", "2", "one more")] == [0, 0, 0]
    assert sent_as(here, "1", 1) == 1, "it was forgotten, and begins anew"


def test_the_rate_holds_for_thousands_of_credentials_that_take_turns() -> None:
    """With room for a thousand, each was forgotten before it came again, and had all its tokens."""
    here = by_credentials(rate=0.01)
    sent = [sum(sent_as(here, str(who), 1) for who in range(2_000)) for _ in range(2)]
    assert sent == [2_000, 0]


def test_credentials_that_have_all_their_tokens_again_are_forgotten() -> None:
    here = by_credentials(rate=1.0)
    for _ in range(5):
        for who in range(100):
            sent_as(here, f"{here.clock.monotonic()} {who}", 1)
        here.clock.advance(2)
    assert here.host.admission.rate_limit is not None
    assert len(here.host.admission.rate_limit._buckets) <= 100


def test_all_waiting_calls_are_counted() -> None:
    """Also once the policy counts them otherwise, and they wait at a bucket that no other call uses."""
    here = by_credentials(rate=0.1, max_wait=19)
    waiting = [here.begin(credentials=who) for who in ("ann", "ann", "bob", "bob")]
    assert here.host.gauges().queued == 2
    here.host.reconfigure(here.policy.replace(rate_limit={"per": "host"}))
    assert here.host.gauges().queued == 2
    assert here.host.busy
    for call in waiting:
        call.close()
    assert here.host.gauges().queued == 0


def test_credentials_that_a_call_waits_with_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MOST_BUCKETS", 100)
    here = by_credentials(rate=0.1, max_wait=19)
    _, waiting = (here.begin(credentials="ann") for _ in range(2))
    assert waiting.step == Wait(10.0)
    for who in range(200):
        here.begin(credentials=str(who))
    late = here.begin(credentials="ann")
    assert isinstance(late.outcome.error, RateLimitedError)
    assert late.outcome.error.retry_after == 20.0, "behind the one that waits"
    here.clock.advance(10)
    assert isinstance(waiting.reply(False).step, Send)


def test_new_numbers_hold_for_all_credentials_and_spent_tokens_stay_spent() -> None:
    here = by_credentials(rate=1.0, burst=2)
    assert [sent_as(here, who) for who in ("ann", "bob")] == [2, 2]
    here.host.reconfigure(here.policy.replace(rate_limit={"rate": 4.0, "burst": 4, "per": "credentials"}))
    here.clock.advance(0.5)
    assert [sent_as(here, who) for who in ("ann", "bob", "carol")] == [2, 2, 4]


def test_a_rate_that_is_for_others_than_before_begins_anew_and_who_waits_goes_on() -> None:
    here = by_credentials(rate=1.0, max_wait=5)
    _, waiting = (here.begin(credentials="ann") for _ in range(2))
    here.host.reconfigure(here.policy.replace(rate_limit={"rate": 1.0, "burst": 1, "max_wait": 0, "per": "host"}))
    assert [sent_as(here, who) for who in ("ann", "bob")] == [1, 0]
    here.clock.advance(1)
    assert isinstance(waiting.reply(False).step, Send)
    waiting.reply(answer(200))


def test_the_rate_that_metrics_show_is_that_of_all_credentials_in_use() -> None:
    """The dashboard divides the calls of the host by it."""
    here = by_credentials(rate=2.5)
    assert here.host.gauges().rate == 2.5
    for who in ("ann", "bob", "ann"):
        here.begin(credentials=who)
    assert here.host.gauges().rate == 5.0
