"""`find` has a bound: a hook that hangs holds each caller once, and shows; what it makes later is there for others."""

from __future__ import annotations

import contextvars
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker import DeadlineExceeded, HostIsolatedError, Policy
from sleepwalker.drivers.threads import workers
from sleepwalker.drivers.threads.clock import interpreter_ends
from sleepwalker.events import HookFailed, HookSlow
from sleepwalker.status import page as status_page
from sleepwalker.status.view import Views
from tests.interrupts import Place, strike
from tests.unit.manager_driver import (
    A,
    B,
    Bed,
    Thing,
    fail,
    failed_over,
    hooks_are_over,
    in_thread,
    until,
)


class Hanging:
    """What a hook does that hangs until it is let go. It lets time go on before, so that no test waits for long."""

    def __init__(self, bed: Bed, *, seconds: float = 0.0, act: Callable[[Any, Any], Any] | None = None) -> None:
        self.bed = bed
        self.seconds = seconds
        self.act = act or (lambda host, auth: Thing())
        self.go = threading.Event()
        self.made: list[Any] = []
        bed.hook.act = self

    def __call__(self, host: Any, auth: Any) -> Any:
        self.bed.clock.advance(self.seconds)
        assert self.go.wait(10)
        self.made.append(self.act(host, auth))
        return self.made[-1]

    def end(self) -> None:
        self.go.set()
        hooks_are_over()


def late(bed: Bed, host: str = A) -> Hanging:
    """A hook that is at work for longer than `timeout.total`."""
    hanging = Hanging(bed, seconds=30)
    with pytest.raises(DeadlineExceeded):
        bed.manager.find(host)
    return hanging


# -- how long a caller waits


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "5", (1, 2), [1], -float("inf"), 10**400])
def test_a_timeout_that_is_no_positive_number_is_refused_also_where_no_thread_would_wait(timeout: Any) -> None:
    bed = Bed()
    bed.manager.find(A)
    for host in (A, B):
        with pytest.raises(ValueError, match="timeout must be a positive number of seconds, or float"):
            bed.manager.find(host, timeout=timeout)
    assert bed.hook.asked == [(A, None)]


def test_a_caller_whose_time_is_over_goes_with_an_error_that_says_who_is_at_work() -> None:
    bed = Bed()
    hanging = Hanging(bed, seconds=30)
    with pytest.raises(DeadlineExceeded) as caught:
        bed.manager.find(A)
    error = caught.value
    assert str(error) == (
        f"no connection to {A} within 30 s: its hooks are still running (Hook for 30 s); "
        "give the hook's own requests a timeout, and do not let it call find for the same host in another thread"
    )
    assert isinstance(error, OurConnectionError)
    assert isinstance(error, TimeoutError)
    assert (error.phase, error.limit, error.never_sent, error.retry_after) == ("wait", "total", True, 1.0)
    hanging.end()


def test_what_comes_late_is_there_for_the_next_find_and_nothing_is_asked_twice() -> None:
    bed = Bed()
    hanging = Hanging(bed, seconds=2)
    with pytest.raises(DeadlineExceeded, match="within 2 s"):
        bed.manager.find(A, timeout=1.5)
    assert bed.all(HookSlow) == [], "a caller in a hurry makes no hook slow"
    hanging.end()
    assert [bed.manager.find(A)] == hanging.made
    assert len(bed.hook.asked) == 1


def test_those_who_wait_each_wait_their_own_time() -> None:
    bed = Bed()
    hanging = Hanging(bed)
    patient = in_thread(lambda: bed.manager.find(A))
    until(lambda: len(bed.manager._lookup.flights.waiting) == 1)
    hasty = in_thread(lambda: bed.manager.find(A, timeout=5))
    until(lambda: len(bed.manager._lookup.flights.waiting) == 2)
    bed.clock.advance(5)
    with pytest.raises(DeadlineExceeded, match="within 5 s"):
        hasty()
    hanging.end()
    assert [patient()] == hanging.made
    assert bed.manager._lookup.flights.waiting == {}


def test_without_a_bound_a_hook_is_asked_in_its_callers_own_thread() -> None:
    bed = Bed()
    at_work: list[threading.Thread] = []
    bed.hook.act = lambda host, auth: at_work.append(threading.current_thread()) or Thing()
    bed.manager.find(A, timeout=float("inf"))
    bed.manager.find(B)
    assert at_work[0] is threading.current_thread()
    assert (at_work[1].name, at_work[1].daemon) == ("sleepwalker hook", True)


def test_where_no_thread_can_be_started_hooks_are_asked_in_the_callers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bed()
    at_work: list[threading.Thread] = []

    def start(run: Callable[[], None], name: str) -> None:
        raise workers.NoThread("can't start new thread")

    monkeypatch.setattr(workers, "lend", start)
    bed.hook.act = lambda host, auth: at_work.append(threading.current_thread()) or Thing()
    assert isinstance(bed.manager.find(A), Thing)
    assert at_work == [threading.current_thread()]


def test_a_hook_sees_the_context_variables_of_its_caller() -> None:
    bed = Bed()
    tenant = contextvars.ContextVar("tenant", default="nobody")
    bed.hook.act = lambda host, auth: tenant.get()
    token = tenant.set("anna")
    assert bed.manager.find(A) == "anna"
    tenant.reset(token)


def test_a_way_back_that_hangs_leaves_the_stand_in() -> None:
    bed = Bed()
    _, stand_in = failed_over(bed)
    bed.clock.advance(1)
    hanging = Hanging(bed, seconds=30)
    assert bed.manager.find(A) is stand_in
    assert bed.manager.find(A) is stand_in
    assert len(bed.hook.asked) == 3, "no caller waits for it again"
    hanging.end()


# -- errors, and signals


def test_an_error_of_a_hook_is_the_callers_to_see_with_its_frames_and_cause() -> None:
    bed = Bed()
    raised = LookupError("a bug")
    raised.__context__ = KeyError("before")
    bed.hook.act = fail(raised)
    with pytest.raises(LookupError) as caught:
        bed.manager.find(A, "canary")
    assert caught.value is raised
    assert isinstance(raised.__context__, KeyError)
    assert caught.traceback[-1].name == "act"
    ours = [entry for entry in caught.traceback if "sleepwalker/" in str(entry.path)]
    assert len(ours) > 3
    assert not any("canary" in str(value) for entry in ours for value in entry.frame.raw.f_locals.values())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_ends_it_from_a_hook_too(error: BaseException) -> None:
    bed = Bed()
    bed.hook.act = fail(error)
    with pytest.raises(type(error)):
        bed.manager.find(A)
    bed.hook.act = lambda host, auth: Thing()
    assert isinstance(bed.manager.find(A), Thing)


def test_an_error_after_all_waiters_left_is_an_event() -> None:
    bed = Bed()
    hanging = Hanging(bed, seconds=2, act=fail(LookupError("a bug")))
    with pytest.raises(DeadlineExceeded):
        bed.manager.find(A, timeout=1)
    hanging.end()
    assert [(event.hook, event.error) for event in bed.all(HookFailed)] == [("Hook", "LookupError")]


def test_ctrl_c_strikes_who_waits_and_not_the_hook() -> None:
    bed = Bed()

    def act(host: Any, auth: Any) -> Any:
        signal.raise_signal(signal.SIGINT)  # its handler runs in the main thread
        until(lambda: not bed.manager._lookup.flights.waiting)
        return Thing()

    bed.hook.act = act
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            bed.manager.find(A)
    finally:
        signal.signal(signal.SIGINT, before)
    hooks_are_over()
    assert isinstance(bed.manager.find(A), Thing)
    assert len(bed.hook.asked) == 1


def test_ctrl_c_has_no_wait_take_the_interpreter_for_ending() -> None:
    """`is_alive` of the main thread, struck in itself, makes it a dead one on Python up to 3.12."""

    def ask() -> None:
        interpreter_ends()

    at = 0
    while strike(ask, files=("threading.py", "clock.py"), at=at):
        assert threading.main_thread().is_alive()
        at += 1
    assert at > 0


# -- hooks that are late


def test_a_late_hook_is_told_of_once_and_holds_no_caller_again() -> None:
    bed = Bed()
    hanging = late(bed)
    assert [(event.host, event.hook, event.duration) for event in bed.all(HookSlow)] == [(A, "Hook", 30.0)]
    for _ in range(3):
        with pytest.raises(OurConnectionError) as caught:
            bed.manager.find(A)
        assert not isinstance(caught.value, DeadlineExceeded), "it does not wait"
        assert str(caught.value) == (
            f"no connection to {A}: its hooks are still running (Hook for 30 s); they can be called again in 1.0 s"
        )
        assert (caught.value.retry_after, caught.value.never_sent) == (1.0, True)
    assert len(bed.all(HookSlow)) == len(bed.hook.asked) == 1
    hanging.end()
    assert [bed.manager.find(A)] == hanging.made
    assert len(bed.hook.asked) == 1


def test_it_is_told_of_though_all_callers_left_before() -> None:
    bed = Bed()
    hanging = Hanging(bed, seconds=2)
    with pytest.raises(DeadlineExceeded):
        bed.manager.find(A, timeout=1)
    bed.clock.advance(28)
    bed.manager.health()
    assert [event.duration for event in bed.all(HookSlow)] == [30.0]
    hanging.end()


def test_hooks_that_hang_are_asked_a_growing_pause_apart_and_three_times_at_most() -> None:
    bed = Bed()
    hanging = late(bed)
    for pause in (1, 2):
        bed.clock.advance(pause)
        with pytest.raises(DeadlineExceeded):
            bed.manager.find(A)
    bed.clock.advance(100)
    with pytest.raises(OurConnectionError) as caught:
        bed.manager.find(A)
    assert str(caught.value) == (
        f"no connection to {A}: its hooks are still running (Hook for 193 s), in 3 threads; "
        "they can be called again when one of them has ended"
    )
    assert len(bed.hook.asked) == len(bed.all(HookSlow)) == 3
    bed.manager.evict(A)
    with pytest.raises(OurConnectionError, match="in 3 threads"):
        bed.manager.find(A)
    hanging.act = fail(OSError("down"))
    hanging.end()
    bed.hook.act = lambda host, auth: "well again"
    assert bed.manager.find(A) == "well again"


def test_once_many_hooks_are_late_one_for_a_host_is_the_most() -> None:
    """So that a few hosts whose hooks hang do not use up the threads that there are for all."""
    bed = Bed()
    hanging = Hanging(bed, seconds=30)
    for number in range(16):
        with pytest.raises(DeadlineExceeded):
            bed.manager.find(f"https://h{number}.test")
    bed.clock.advance(100)
    with pytest.raises(OurConnectionError, match="in 1 thread; they can be called again when one of them has ended"):
        bed.manager.find("https://h0.test")
    with pytest.raises(DeadlineExceeded):
        bed.manager.find(A)
    assert len(bed.hook.asked) == 17
    hanging.end()


def test_64_late_hooks_of_a_manager_are_the_most() -> None:
    bed = Bed()
    hanging = Hanging(bed, seconds=30)
    hosts = [f"https://h{number}.test" for number in range(65)]
    for host in hosts[:64]:
        with pytest.raises(DeadlineExceeded):
            bed.manager.find(host)
    with pytest.raises(OurConnectionError, match="still running for other hosts, in 64 threads"):
        bed.manager.find(hosts[64])
    assert len(bed.hook.asked) == 64
    hanging.end()
    bed.hook.act = lambda host, auth: Thing()
    assert isinstance(bed.manager.find(hosts[64]), Thing)


def test_the_next_round_serves_those_who_still_wait_for_the_late_one() -> None:
    bed = Bed()
    hanging = Hanging(bed)
    patient = in_thread(lambda: bed.manager.find(A, timeout=1000))
    until(lambda: bool(bed.hook.asked))
    bed.clock.advance(31)
    until(lambda: bool(bed.all(HookSlow)))
    bed.clock.advance(1)
    good = Thing()
    bed.hook.act = lambda host, auth: good
    assert bed.manager.find(A) is good
    assert patient() is good
    hanging.end()
    assert hanging.made[0].closings == 1, "it came too late"
    assert bed.manager.find(A) is good


def test_a_late_result_serves_those_who_wait_for_the_next_round() -> None:
    bed = Bed()
    first = late(bed)
    bed.clock.advance(1)
    second = Hanging(bed)
    waits = in_thread(lambda: bed.manager.find(A))
    until(lambda: len(bed.hook.asked) == 2)
    first.go.set()
    assert [waits()] == first.made
    second.end()
    assert second.made[0].closings == 1
    assert [bed.manager.find(A)] == first.made


def test_a_shorter_total_holds_for_hooks_that_are_at_work_already() -> None:
    bed = Bed(policy=Policy(timeout={"total": 300}))
    before = Hanging(bed, seconds=1)
    with pytest.raises(DeadlineExceeded):
        bed.manager.find(B, timeout=1)
    bed.manager.reload(Policy(timeout={"total": 30}))
    hanging = late(bed)
    assert [event.host for event in bed.all(HookSlow)] == [B, A]
    with pytest.raises(OurConnectionError, match="they can be called again in"):
        bed.manager.find(A)
    before.go.set()
    hanging.end()


def two_that_are_about_to_be_late() -> tuple[Bed, Hanging]:
    bed = Bed()
    hanging = Hanging(bed)
    jobs = [in_thread(partial(bed.manager.find, host, timeout=1)) for host in (A, B)]
    until(lambda: len(bed.hook.asked) == 2)
    bed.clock.advance(1)
    for job in jobs:
        with pytest.raises(DeadlineExceeded):
            job()
    bed.clock.advance(29)
    return bed, hanging


def test_a_signal_handler_may_ask_the_manager_while_that_notices_late_hooks() -> None:
    known: set[Place] = set()
    where: str | None = ""
    while where is not None:
        bed, hanging = two_that_are_about_to_be_late()

        def ask(bed: Bed = bed) -> None:
            bed.manager.health()

        where = strike(bed.manager.health, files=("managing.py", "flights.py"), error=ask, known=known, callers=1)
        pairs = bed.manager._lookup.table.slots()
        assert [(len(pair.late), pair.flights) for pair in pairs] == [(1, 1)] * 2, where
        hanging.end()
    assert len(known) > 5


def test_who_waits_longer_than_others_waits_for_a_late_hook_too() -> None:
    bed = Bed()
    hanging = late(bed)
    patient = in_thread(lambda: bed.manager.find(A, timeout=float("inf")))
    until(lambda: len(bed.manager._lookup.flights.waiting) == 1)
    hanging.end()
    assert [patient()] == hanging.made


def test_a_late_refusal_is_what_the_hooks_said() -> None:
    bed = Bed()
    hanging = Hanging(bed, seconds=30, act=fail(OSError("down")))
    with pytest.raises(DeadlineExceeded):
        bed.manager.find(A)
    hanging.end()
    with pytest.raises(OurConnectionError, match=r"Hook: OSError: down.*can be called again in"):
        bed.manager.find(A)


# -- an operator's hand meanwhile


def test_what_is_added_serves_at_once_those_who_wait_too() -> None:
    bed = Bed()
    hanging = Hanging(bed)
    jobs = [in_thread(lambda: bed.manager.find(A)) for _ in range(3)]
    until(lambda: len(bed.manager._lookup.flights.waiting) == 3 and bool(bed.hook.asked))
    added = Thing()
    bed.manager.add(A, None, added)
    assert [job() for job in jobs] == [added] * 3
    hanging.end()
    assert hanging.made[0].closings == 1
    assert bed.manager.find(A) is added


@pytest.mark.parametrize("how", ["evict", "forget"])
def test_what_a_hook_makes_for_a_host_that_is_asked_for_anew_meanwhile_is_closed(how: str) -> None:
    bed = Bed()
    first = Hanging(bed)
    jobs = [in_thread(lambda: bed.manager.find(A))]
    until(lambda: len(bed.hook.asked) == 1)
    if how == "evict":
        bed.manager.add(A, None, "added")
        assert jobs.pop()() == "added"
        bed.manager.evict(A)
    else:
        bed.manager.forget(A)
    second = Hanging(bed)
    jobs.append(in_thread(lambda: bed.manager.find(A)))
    until(lambda: len(bed.hook.asked) == 2)
    first.go.set()
    until(lambda: bool(first.made) and first.made[0].closings == 1)
    second.end()
    assert [job() for job in jobs] == second.made * len(jobs)
    assert [bed.manager.find(A)] == second.made


def test_evicting_or_a_new_hook_has_hooks_asked_anew_though_some_hang() -> None:
    for act in (lambda bed: bed.manager.evict(A), lambda bed: bed.manager.add_conn_hook(bed.hook)):
        bed = Bed()
        hanging = late(bed)
        act(bed)
        bed.hook.act = lambda host, auth: "new"
        assert bed.manager.find(A) == "new"
        hanging.end()
        assert bed.manager.find(A) == "new"


def test_a_forgotten_host_is_asked_for_anew_though_its_hook_hangs() -> None:
    bed = Bed()
    hanging = late(bed)
    bed.manager.forget(A)
    bed.hook.act = lambda host, auth: "new"
    assert bed.manager.find(A) == "new"
    hanging.end()
    assert bed.manager.find(A) == "new"


def test_closing_ends_all_waits_at_once_and_closes_what_hooks_make_later() -> None:
    bed = Bed()
    hanging = Hanging(bed)
    jobs = [in_thread(lambda: bed.manager.find(A)) for _ in range(3)]
    until(lambda: len(bed.manager._lookup.flights.waiting) == 3 and bool(bed.hook.asked))
    bed.manager.close()
    for job in jobs:
        with pytest.raises(OurConnectionError, match="this manager is closed"):
            job()
    hanging.end()
    assert hanging.made[0].closings == 1
    assert len(bed.manager) == 0


def test_a_host_that_is_isolated_while_its_hook_is_at_work_is_isolated_for_all_who_wait() -> None:
    bed = Bed()
    hanging = Hanging(bed, act=lambda host, auth: bed.conn(B))
    jobs = [in_thread(lambda: bed.manager.find("orders")) for _ in range(3)]
    until(lambda: len(bed.manager._lookup.flights.waiting) == 3)
    bed.manager.isolate("orders")
    hanging.go.set()
    for job in jobs:
        with pytest.raises(HostIsolatedError) as caught:
            job()
        assert caught.value.host == B


# -- it shows


@pytest.mark.parametrize("host", [A, "orders"])
def test_health_says_since_when_hooks_are_at_work(host: str) -> None:
    bed = Bed()
    hanging = Hanging(bed)
    since = bed.clock.wall()
    job = in_thread(lambda: bed.manager.find(host))
    until(lambda: bool(bed.hook.asked))
    for pause in (7, 30):
        bed.clock.advance(pause)
        assert bed.manager.health(host).hooks_since == pytest.approx(since)
        assert bed.manager.health()[host].hooks_since == pytest.approx(since)
        assert bed.manager.health(host).to_dict()["hooks_since"] == pytest.approx(since)
    with pytest.raises(DeadlineExceeded):
        job()
    hanging.end()
    assert bed.manager.health(host).hooks_since is None
    assert bed.manager.health(B).hooks_since is None
    bed.manager.forget(host)
    assert [health.hooks_since for health in bed.manager.health().values()] in ([], [None])


def test_the_status_page_shows_a_host_that_never_had_a_connection() -> None:
    bed = Bed()
    hanging = late(bed, "orders")
    asked, serving = status_page.Asked("", frozenset(), "state", "./"), status_page.ServingProcess("T", "web-1", None)
    html = status_page.render(Views([bed.manager], bed.clock).current(), asked, serving)
    assert "orders" in html
    assert "<small>hooks running since " in html
    hanging.end()


def test_the_status_page_shows_a_host_whose_hooks_hang_before_those_that_are_well() -> None:
    """It may never have had a call, so its state is unknown; but each find of it fails."""
    bed = Bed()
    for host in (A, B):
        bed.manager.add(host, None, bed.conn(host))
        bed.answers(host)
    hanging = late(bed, "https://hangs.test")
    hosts = [health.host for health in Views([bed.manager], bed.clock).current().hosts]
    assert hosts == ["https://hangs.test", A, B]
    hanging.end()


# -- hooks that look for hosts


def test_a_hook_that_finds_its_own_host_in_a_thread_that_it_waits_for_comes_to_an_end() -> None:
    bed = Bed()
    inner: list[BaseException] = []

    def act(host: Any, auth: Any) -> Any:
        search = in_thread(lambda: bed.manager.find(host))
        until(lambda: len(bed.manager._lookup.flights.waiting) == 2)
        bed.clock.advance(30)
        try:
            return search()
        except OurConnectionError as error:
            inner.append(error)
            raise

    bed.hook.act = act
    with pytest.raises(OurConnectionError, match="let it call find for the same host in another thread"):
        bed.manager.find(A)
    hooks_are_over()
    assert "let it call find for the same host in another thread" in str(inner[0])


def test_a_hook_that_looks_for_ever_new_hosts_takes_a_hundred_threads_and_no_more() -> None:
    """It took two thousand in a second, and the process with them."""
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.manager.find(f"{host}x")
    with pytest.raises(OurConnectionError, match="100 hooks wait for one another in a chain of nested find calls"):
        bed.manager.find("a")
    assert len(bed.hook.asked) == 100
    hooks_are_over()
    assert bed.manager._lookup.flights._led == {}
    bed.hook.act = lambda host, auth: Thing() if len(host) == 90 else bed.manager.find(f"{host}x")
    assert isinstance(bed.manager.find("b"), Thing)
