"""What the manager finds, whom it asks, what it gives up, and what it leaves behind: no time passes, no sockets."""

from __future__ import annotations

import _thread
import contextlib
import errno
import gc
import itertools
import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import requests
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from sleepwalker import (
    ANONYMOUS,
    Connection,
    ConnectionManager,
    HostIsolatedError,
    HTTPError,
    Policy,
    PolicyError,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection import ConnectionHook
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.events import ConnectionEvicted, Event, HookFailed
from tests.both_drivers import threads_only
from tests.ranges import some
from tests.unit.engine_driver import FakeClock, answer
from tests.unit.manager_driver import (
    PLAIN,
    A,
    B,
    Bed,
    Hook,
    Thing,
    fail,
    failed_over,
    hooks_are_over,
    in_thread,
    nothing,
    until,
)

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")


class Numb:
    """Cannot be hashed, compared or asked whether it is true."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("compare me not")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")


class Counts:
    """Says by a number how closed it is, as some database drivers do."""

    closed = 3


class Sulky:
    """Raises whatever it is asked, and when it is closed."""

    @property
    def closed(self) -> bool:
        raise RuntimeError("who knows")

    def close(self) -> None:
        raise RuntimeError("no")


# -- finding -------------------------------------------------------------------------------------


def test_a_connection_that_was_added_is_found() -> None:
    bed, thing = Bed(hooked=False), Thing()
    bed.manager.add(A, None, thing)
    assert bed.manager.find(A) is bed.manager.find(A, None) is thing
    assert bed.manager.find(A, auth=None) is thing


def _opened(bed: Bed, conn: Connection) -> None:
    bed.trip(A)


def _cut_off(bed: Bed, conn: Connection) -> None:
    bed.unreachable(A)


def _logged_out(bed: Bed, conn: Connection) -> None:
    bed.unauthorized(conn)


def _idle(bed: Bed, conn: Connection) -> None:
    bed.clock.advance(301)


def _old(bed: Bed, conn: Connection) -> None:
    bed.manager.reload(PLAIN.replace(health={"max_age": 200.0}))
    bed.clock.advance(201)


FAULTS = pytest.mark.parametrize("fault", [_opened, _cut_off, _logged_out, _idle, _old])


@FAULTS
@pytest.mark.parametrize("hooked", [False, True])
def test_an_added_connection_stays_where_no_hook_makes_another(fault: Callable[..., None], hooked: bool) -> None:
    """Without a hook nothing could ever bring it back: one outage would be one for good."""
    bed = Bed(hooked=False)
    hook = Hook(nothing)
    if hooked:
        bed.manager.add_conn_hook(hook)
    bed.manager.add(A, ANONYMOUS, conn := bed.conn(A))
    fault(bed, conn)
    assert bed.manager.find(A, ANONYMOUS) is conn
    assert bed.manager.find(A, ANONYMOUS) is conn
    assert len(hook.asked) == hooked, "the hooks are asked once in a back-off"
    assert not conn.closed
    assert bed.reasons() == []


@FAULTS
def test_an_added_connection_gives_way_to_one_that_a_hook_makes(fault: Callable[..., None]) -> None:
    bed = Bed()
    bed.manager.add(A, ANONYMOUS, conn := bed.conn(A))
    fault(bed, conn)
    found = bed.manager.find(A, ANONYMOUS)
    assert found is not conn
    assert len(bed.hook.asked) == len(bed.reasons()) == 1


def test_an_added_connection_that_was_closed_is_not_found() -> None:
    bed = Bed(hooked=False)
    bed.manager.add(A, ANONYMOUS, conn := bed.conn(A))
    conn.close()
    with pytest.raises(OurConnectionError, match="add_conn_hook"):
        bed.manager.find(A, ANONYMOUS)


def test_an_added_connection_is_not_dropped_because_others_are_looked_for() -> None:
    bed = Bed()
    bed.manager.add(A, ANONYMOUS, conn := bed.conn(A))
    for _ in range(5):
        bed.clock.advance(301)
        bed.manager.find(B, ANONYMOUS)
    assert bed.manager.conns[A, ANONYMOUS] is conn


def test_hooks_are_asked_in_the_order_in_which_they_were_added() -> None:
    bed, order = Bed(hooked=False), []
    for number in range(3):

        def act(host: Any, auth: Any, number: int = number) -> Any:
            order.append(number)
            return Thing() if number == 1 else None

        bed.manager.add_conn_hook(Hook(act))
    bed.manager.find(A)
    assert order == [0, 1]


@pytest.mark.parametrize("host", ["HTTPS://A.Test/", "Orders/", "consul://Orders", A])
def test_the_host_reaches_the_hook_exactly_as_given(host: str) -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: Thing()
    auth = {"token": "t"}
    bed.manager.find(host, auth)
    assert bed.hook.asked == [(host, auth)]
    assert bed.hook.asked[0][1] is auth


@threads_only("the facade is another object each time")
def test_a_hook_is_asked_once_for_a_pair() -> None:
    bed = Bed()
    found = {id(bed.manager.find(host, ("u", "p"))) for host in (A, A + "/", "HTTPS://A.test:443") for _ in range(3)}
    assert len(found) == len(bed.hook.asked) == 1


def test_another_host_or_other_credentials_are_another_pair() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: Thing()
    pairs = [(A, None), (A, ANONYMOUS), (A, ("u", "p")), (A, ("u", "q")), (B, None), (A + "/api", None), ("a", None)]
    assert len({id(bed.manager.find(*pair)) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("make", [lambda: HTTPBasicAuth("u", "p"), lambda: HTTPDigestAuth("u", "p"), lambda: ["u", "p"],
                                  lambda: {"t": 1}, lambda: ("u", ["p"])])  # fmt: skip
def test_credentials_that_cannot_be_hashed_find_their_connection_again(make: Callable[[], Any]) -> None:
    """Version 2.0 died of these with a TypeError."""
    bed = Bed()
    assert bed.manager.find(A, make()) is bed.manager.find(A, make()) is bed.manager.find(A + "/", make())
    assert len(bed.hook.asked) == 1


def test_a_pair_of_words_is_basic_and_digest_is_not() -> None:
    bed = Bed()
    basic = bed.manager.find(A, ("u", "p"))
    assert bed.manager.find(A, HTTPBasicAuth("u", "p")) is basic
    assert bed.manager.find(A, HTTPDigestAuth("u", "p")) is not basic


def test_a_changed_password_is_not_given_the_connection_of_the_old_one() -> None:
    bed, auth = Bed(), HTTPBasicAuth("u", "p")
    old = bed.manager.find(A, auth)
    auth.password = "q"
    assert bed.manager.find(A, auth) is not old


@pytest.mark.parametrize(
    "conn",
    [None, 0, "", [], {}, object(), Numb(), Sulky(), Mock(spec=Connection), MagicMock(), Counts()],
    ids=lambda conn: type(conn).__name__,
)
def test_any_object_is_a_connection(conn: Any) -> None:
    bed = Bed(hooked=False)
    bed.manager.add(A, None, conn)
    assert bed.manager.find(A) is conn
    bed.clock.advance(10)
    assert bed.manager.find(A) is conn
    assert [found is conn for _, found in bed.manager] == [True]
    assert next(iter(bed.manager.conns.values())) is conn
    assert bed.manager.health()[A].connections == 1
    bed.manager.reset()
    assert len(bed.manager) == 0


def test_only_none_means_that_a_hook_does_not_know_the_host() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: 0
    assert bed.manager.find(A) == 0
    assert bed.manager.find(A) == 0
    assert len(bed.hook.asked) == 1


@pytest.mark.parametrize("host", ["https://u:geheim@a.test", "https://a.test:0", "http://", "u:geheim@a.test"])
def test_a_host_that_cannot_be_is_refused_before_any_hook_is_asked(host: str) -> None:
    bed = Bed()
    for ask in (bed.manager.find, bed.manager.evict, bed.manager.isolate, bed.manager.restore, bed.manager.health):
        with pytest.raises(URLError) as caught:
            ask(host)
        assert "geheim" not in str(caught.value)
    assert bed.hook.asked == []


# -- hooks that fail -----------------------------------------------------------------------------


def test_the_base_hook_must_be_subclassed() -> None:
    with pytest.raises(NotImplementedError, match="connect"):
        ConnectionHook().connect(A, None)


@pytest.mark.parametrize("hook", [object(), None, ConnectionHook, Hook])
def test_what_is_no_hook_is_refused(hook: Any) -> None:
    with pytest.raises(TypeError, match="hook"):
        Bed().manager.add_conn_hook(hook)


class Other(Hook):
    pass


def test_the_error_names_the_host_and_what_each_hook_said() -> None:
    bed = Bed()
    bed.hook.act = nothing
    bed.manager.add_conn_hook(Other(fail(OurConnectionError("the login page is gone"))))
    bed.manager.add_conn_hook(Hook(fail(OSError(111, "Connection refused"))))
    with pytest.raises(OurConnectionError) as caught:
        bed.manager.find(A)
    text = str(caught.value)
    assert A in text
    assert "Hook does not know the host" in text
    assert "Other: ConnectionError: the login page is gone" in text
    assert "Hook: ConnectionRefusedError: Connection refused" in text


def test_what_the_caller_is_handling_is_not_what_a_hook_said() -> None:
    """A fallback looks for its replica in an `except` block."""
    bed = Bed()

    def log_in() -> Any:
        raise requests.ConnectionError("reset")

    bed.hook.act = lambda host, auth: log_in()
    try:
        raise OurConnectionError("the primary is down")
    except OurConnectionError:
        with pytest.raises(OurConnectionError) as caught:
            bed.manager.find(A)
    assert "the primary is down" not in str(caught.value)
    assert "the exchange failed" in str(caught.value)


def response(status: int) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.url = A + "/login?token=geheim"
    return made


def status_error() -> Exception:
    try:
        response(401).raise_for_status()
    except requests.HTTPError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OurConnectionError("out of order"), "ConnectionError: out of order"),
        (HTTPError.of(response(503)), "HTTPServiceUnavailable"),
        (requests.ConnectionError(f"Max retries exceeded with url: {A}/?token=geheim"), "ConnectionError"),
        (requests.Timeout("geheim"), "Timeout"),
        (status_error(), "HTTPError: 401"),
        (OSError("backend 7 is away"), "OSError: backend 7 is away"),
        (
            ConnectionError("no, see https://u:geheim@a.test/x?token=geheim"),
            "ConnectionError: no, see https://a.test/x",
        ),
        (ConnectionError("bad login https://u:pa/geheim@a.test, password=geheim"), "ConnectionError: bad login … …"),
        (OSError(errno.ECONNREFUSED, "https://u:geheim@a.test"), f"Error: {os.strerror(errno.ECONNREFUSED)}"),
        (OSError("\x1b]0;geheim\x07 " + "x " * 50_000), "OSError: … x x"),
        (TimeoutError(), "TimeoutError"),
        (FileNotFoundError(2, "No such file or directory", "/geheim"), "No such file"),
        (type("Theirs", (OSError,), {})("geheim"), "Theirs"),
    ],
)
def test_a_hook_fails_as_connections_fail(error: Exception, said: str) -> None:
    """The next one is asked. No text of others may carry a URL's query into ours."""
    bed = Bed()
    bed.hook.act = fail(error)
    with pytest.raises(OurConnectionError) as caught:
        bed.manager.find(A)
    assert said in str(caught.value)
    assert "geheim" not in str(caught.value) + repr(bed.events)
    assert [event.error for event in bed.all(HookFailed)] == [type(error).__name__]
    assert f"Hook: {bed.all(HookFailed)[0].detail}" in str(caught.value)
    bed.manager.add_conn_hook(Hook(lambda host, auth: bed.conn(host)))
    assert isinstance(bed.manager.find(A), Connection)


def test_without_hooks_the_error_says_how_to_add_one() -> None:
    with pytest.raises(OurConnectionError, match="add_conn_hook") as caught:
        Bed(hooked=False).manager.find(A)
    assert caught.value.retry_after is None


def test_a_closed_connection_is_no_success_of_a_hook() -> None:
    bed = Bed()

    def act(host: Any, auth: Any) -> Any:
        conn = bed.conn(host)
        conn.close()
        return conn

    bed.hook.act = act
    with pytest.raises(OurConnectionError, match="closed"):
        bed.manager.find(A)
    assert len(bed.manager) == 0


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("k"), RuntimeError(), NotImplementedError(),
                                   KeyboardInterrupt(), SystemExit(1), GeneratorExit()])  # fmt: skip
def test_any_other_exception_is_the_callers_and_leaves_nothing_behind(error: BaseException) -> None:
    bed = Bed()
    bed.hook.act = fail(error)
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            bed.manager.find(A)
        assert caught.value is error
    assert len(bed.hook.asked) == 3, "it starts no back-off"
    assert bed.manager._lookup.table.slots() == []
    bed.hook.act = lambda host, auth: bed.conn(host)
    assert isinstance(in_thread(lambda: bed.manager.find(A))(), Connection)


def test_unknown_hosts_are_forgotten_at_once() -> None:
    bed = Bed()
    bed.hook.act = nothing
    for number in range(50):
        with pytest.raises(OurConnectionError):
            bed.manager.find(f"https://h{number}.test")
    assert bed.manager._lookup.table.slots() == []


def test_a_hook_that_fails_badly_once_does_not_forget_the_host_that_is_down() -> None:
    """A replica that takes over afterwards gives the host back when that is up again."""
    bed = Bed()
    home = bed.manager.find(A)
    bed.answers(A)
    bed.clock.advance(5)
    bed.unreachable(A)
    bed.hook.act = fail(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        bed.manager.find(A)
    assert home.retired
    bed.hook.act = lambda host, auth: bed.conn(B)
    assert bed.manager.find(A).origin.text == B
    bed.clock.advance(5)
    bed.hook.act = lambda host, auth: bed.conn(host)
    assert bed.manager.find(A).origin.text == A


# -- threads -------------------------------------------------------------------------------------


class Gate:
    """A hook that waits until it may go on."""

    def __init__(self, act: Callable[[Any, Any], Any]) -> None:
        self.act = act
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, host: Any, auth: Any) -> Any:
        self.entered.set()
        assert self.go.wait(10)
        return self.act(host, auth)


def waiting(bed: Bed, count: int) -> None:
    """Until so many threads wait for a round."""
    moment = threading.Event()
    for _ in range(5000):
        if len(bed.manager._lookup.flights.waiting) == count:
            return
        moment.wait(0.002)
    raise AssertionError(f"{len(bed.manager._lookup.flights.waiting)} threads wait")


def test_eight_threads_that_find_a_new_host_make_one_hook_call() -> None:
    bed = Bed()
    gate = bed.hook.act = Gate(bed.hook.act)
    jobs = [in_thread(lambda: bed.manager.find(A)) for _ in range(8)]
    waiting(bed, 8)
    gate.go.set()
    assert len({id(job()) for job in jobs}) == 1
    assert len(bed.hook.asked) == 1


@pytest.mark.parametrize("error", [OSError("down"), ValueError("a bug")])
def test_who_waits_for_a_round_that_fails_gets_its_error(error: Exception) -> None:
    bed = Bed()
    gate = bed.hook.act = Gate(fail(error))
    jobs = [in_thread(lambda: bed.manager.find(A)) for _ in range(4)]
    waiting(bed, 4)
    gate.go.set()
    kind = ValueError if isinstance(error, ValueError) else OurConnectionError
    errors = []
    for job in jobs:
        with pytest.raises(kind, match=str(error)) as caught:
            job()
        errors.append(caught.value)
    assert len(bed.hook.asked) == 1
    if kind is OurConnectionError:
        assert len({id(one) for one in errors}) == 4, "no error collects the tracebacks of other threads"
        assert {one.retry_after for one in errors} == {1.0}


def test_who_waits_for_a_round_that_is_interrupted_asks_anew() -> None:
    bed = Bed()
    gate = bed.hook.act = Gate(fail(KeyboardInterrupt()))
    leader = in_thread(lambda: bed.manager.find(A))
    assert gate.entered.wait(10)
    follower = in_thread(lambda: bed.manager.find(A))
    waiting(bed, 2)
    bed.hook.act = lambda host, auth: bed.conn(host)
    gate.go.set()
    with pytest.raises(KeyboardInterrupt):
        leader()
    assert isinstance(follower(), Connection)


@threads_only("signal handlers strike a thread")
def test_what_a_signal_handler_raises_is_raised_in_no_other_thread() -> None:
    """A time limit as Celery's is an Exception, and the main thread's alone. The hook goes on, for those who wait."""
    bed = Bed()
    waiters: list[Callable[[], Any]] = []

    def act(host: Any, auth: Any) -> Any:
        if not waiters:
            waiters.append(in_thread(lambda: bed.manager.find(A)))
            waiting(bed, 2)
            _thread.interrupt_main(signal.SIGTERM)
            waiting(bed, 1)
        return "thing"

    def struck(number: int, frame: object) -> None:
        raise RuntimeError("as a signal handler would")

    bed.hook.act = act
    before = signal.signal(signal.SIGTERM, struck)
    try:
        with pytest.raises(RuntimeError):
            bed.manager.find(A)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert waiters[0]() == "thing"
    assert len(bed.hook.asked) == 1


def test_a_slow_hook_for_one_host_does_not_delay_find_of_another() -> None:
    bed = Bed()
    gate = Gate(lambda host, auth: bed.conn(host))
    bed.hook.act = lambda host, auth: gate(host, auth) if host == A else bed.conn(host)
    job = in_thread(lambda: bed.manager.find(A))
    assert gate.entered.wait(10)
    assert in_thread(lambda: bed.manager.find(B))().origin.text == B
    assert in_thread(lambda: len(bed.manager.health()))() == 2
    gate.go.set()
    assert job().origin.text == A


@threads_only("code of the test runs in the loop")
def test_a_connection_that_is_replaced_while_it_is_looked_at_is_not_given() -> None:
    """`find` holds no lock for those that are fine."""
    bed, other = Bed(), Thing()

    class Replaced(Connection):
        looked_at = False

        @property
        def closed(self) -> bool:
            if self.looked_at:
                self.looked_at = False
                bed.manager.add(A, None, other)
            return False

    bed.hook.act = lambda host, auth: Replaced(host, ANONYMOUS, clock=bed.clock)
    bed.manager.find(A).looked_at = True
    assert bed.manager.find(A) is other


def test_while_the_hooks_are_asked_to_go_back_others_keep_the_stand_in() -> None:
    bed = Bed()
    _, stand_in = failed_over(bed)
    bed.clock.advance(1)
    gate = bed.hook.act = Gate(lambda host, auth: bed.conn(A))
    job = in_thread(lambda: bed.manager.find(A))
    assert gate.entered.wait(10)
    assert in_thread(lambda: bed.manager.find(A))() is stand_in
    gate.go.set()
    assert job().origin.text == A


@threads_only("hooks that are plain functions wait in threads")
def test_a_hook_that_finds_the_pair_it_makes_is_told_so() -> None:
    bed = Bed()
    bed.hook.act = bed.manager.find
    with pytest.raises(OurConnectionError, match="its own hooks call find for it"):
        in_thread(lambda: bed.manager.find(A))()
    assert len(bed.hook.asked) == 1


def test_a_hook_may_find_other_pairs() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(host) if auth is None else (bed.manager.find(host), auth)[0]
    inner = in_thread(lambda: bed.manager.find(A, ("u", "p")))()
    assert inner is bed.manager.find(A)
    assert len(bed.manager) == 2


@threads_only("hooks that are plain functions wait in threads")
def test_hooks_of_two_threads_that_wait_for_each_other_are_told_so() -> None:
    bed = Bed()
    both = threading.Barrier(2)

    def act(host: Any, auth: Any) -> Any:
        if auth is None:
            both.wait(10)
        return bed.manager.find(B if host == A else A)

    bed.hook.act = act
    jobs = [in_thread(lambda host=host: bed.manager.find(host)) for host in (A, B)]  # type: ignore[misc]
    for job in jobs:
        with pytest.raises(OurConnectionError, match="its own hooks call find for it"):
            job()
    assert bed.manager._lookup.flights.waiting == {}


@pytest.mark.parametrize("conn", [Thing, lambda: "a string"])
def test_a_connection_that_two_pairs_have_is_closed_with_the_last_of_them(conn: Callable[[], Any]) -> None:
    bed, shared = Bed(), conn()
    bed.hook.act = lambda host, auth: shared
    assert bed.manager.find(A) is bed.manager.find(B) is shared
    bed.manager.evict(A)
    assert bed.manager.find(B) is shared
    assert getattr(shared, "closings", 0) == 0
    bed.manager.evict(B)
    assert getattr(shared, "closings", 1) == 1


# -- while a round is under way ------------------------------------------------------------------


def underway(bed: Bed) -> tuple[Gate, Callable[[], Any]]:
    gate = bed.hook.act = Gate(bed.hook.act)
    job = in_thread(lambda: bed.manager.find(A))
    assert gate.entered.wait(10)
    return gate, job


def test_add_during_a_round_wins() -> None:
    bed, thing = Bed(), Thing()
    made: list[Connection] = []
    bed.hook.act = lambda host, auth: made.append(bed.conn(host)) or made[-1]
    gate, job = underway(bed)
    bed.manager.add(A, None, thing)
    assert bed.manager.find(A) is thing
    assert job() is thing, "waiters get it at once"
    gate.go.set()
    hooks_are_over()
    assert bed.manager.find(A) is thing
    assert made[0].retired, "no pair has it"
    assert len(bed.manager) == 1


def test_reset_during_a_round_leaves_one_connection_of_one_round() -> None:
    """Once, a second round began, and the first one's connection was held without being known."""
    bed = Bed()
    gate, job = underway(bed)
    bed.manager.reset()
    other = in_thread(lambda: bed.manager.find(A))
    waiting(bed, 2)
    gate.go.set()
    assert job() is other() is bed.manager.find(A)
    assert len(bed.hook.asked) == 1
    assert len(bed.manager) == len(bed.manager.conns) == 1


def test_evict_during_a_round_leaves_the_round() -> None:
    bed = Bed()
    gate, job = underway(bed)
    assert bed.manager.evict(A) == 0
    gate.go.set()
    assert job() is bed.manager.find(A) is bed.manager.find(A + "/")
    assert len(bed.manager) == len(bed.manager.conns) == 1


def test_close_during_a_round_closes_what_the_round_makes() -> None:
    bed = Bed()
    made: list[Connection] = []
    bed.hook.act = lambda host, auth: made.append(bed.conn(host)) or made[-1]
    gate, job = underway(bed)
    follower = in_thread(lambda: bed.manager.find(A))
    waiting(bed, 2)
    bed.manager.close()
    for one in (job, follower):
        with pytest.raises(OurConnectionError, match="closed"):
            one()
    gate.go.set()
    hooks_are_over()
    until(lambda: made[0].closed)
    assert len(bed.manager) == 0


def test_ctrl_c_while_the_old_connection_is_closed_leaves_no_round_behind() -> None:
    bed = Bed()

    class Stubborn(Thing):
        def close(self) -> None:
            raise KeyboardInterrupt

    thing = Stubborn()
    bed.manager.add(A, None, thing)
    bed.clock.advance(10)
    thing.closed = True  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        bed.manager.find(A)
    assert isinstance(in_thread(lambda: bed.manager.find(A))(), Connection)


# -- adding, evicting, closing -------------------------------------------------------------------


def test_add_replaces_and_closes_the_one_before() -> None:
    bed, one, two = Bed(hooked=False), Thing(), Thing()
    bed.manager.add(A, ("u", "p"), one)
    bed.manager.add(A + "/", HTTPBasicAuth("u", "p"), two)
    assert bed.manager.find(A, ("u", "p")) is two
    assert (one.closings, two.closings) == (1, 0)
    assert len(bed.manager) == 1
    assert bed.reasons() == ["replaced"]


@pytest.mark.parametrize("guard", [False, True])
def test_adding_the_same_connection_again_does_not_close_it(guard: bool) -> None:
    bed, thing = Bed(hooked=False, guard=guard), Thing()
    for _ in range(3):
        bed.manager.add(A, None, thing)
    assert thing.closings == 0
    assert bed.manager.find(A) == thing
    assert len(bed.manager) == 1


@threads_only("derives from Connection")
def test_a_connection_that_a_hook_gives_again_as_it_is_retired_keeps_its_sockets() -> None:
    """What else is held for good, and opens a socket for each call."""
    bed = Bed()

    class GivenAgain(Connection):
        def retire(self) -> None:
            if not len(bed.manager):
                bed.manager.find(A, "bob")
            super().retire()

    conn = GivenAgain(A, ANONYMOUS, clock=bed.clock)
    bed.hook.act = lambda host, auth: conn
    bed.manager.find(A, "anna")
    bed.manager.evict(A, "anna")
    assert list(bed.manager) == [(A, conn)]
    assert not conn.retired


ENDS = [ConnectionManager.reset, ConnectionManager.close]


@threads_only("the loop closes a connection in its own time")
@pytest.mark.parametrize("end", ENDS)
def test_what_closes_all_connections_closes_those_given_up_before(end: Callable[[ConnectionManager], None]) -> None:
    """A service that is told to end shall not wait for what waits on them for a retry."""
    bed = Bed()
    old, given_again, released = (bed.manager.find(host) for host in (A, B, "https://c.test"))
    gone = weakref.ref(released)
    for host in (A, B, "https://c.test"):
        bed.manager.evict(host)
    bed.manager.add(B, None, given_again)
    del released
    assert gone() is None, "nothing refers to it any more"
    assert not old.closed
    end(bed.manager)
    assert old.closed
    assert given_again.closed


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_all_waits_ends_those_of_guards_given_up_before(end: Callable[[ConnectionManager], None]) -> None:
    begun, go = threading.Event(), threading.Event()

    class Refusing(Thing):
        calls = 0

        def get(self, uri: str) -> None:
            self.calls += 1
            begun.set()
            go.wait(10)
            raise ConnectionRefusedError

    bed, thing = Bed(guard=True), Refusing()
    bed.clock.sleep = lambda seconds, wake=None: wake is not None and wake.is_set()  # type: ignore[method-assign]
    bed.hook.act = lambda host, auth: thing
    guarded = bed.manager.find(A)
    ended = in_thread(lambda: guarded.get("/"))
    assert begun.wait(10)
    bed.manager.evict(A)
    end(bed.manager)
    go.set()
    with pytest.raises(ConnectionRefusedError):
        ended()
    assert thing.calls == 1
    assert thing.closings == 1


def test_reset_closes_and_forgets_all_connections() -> None:
    bed = Bed()
    conns = [bed.manager.find(A), bed.manager.find(B), bed.manager.find(A, ("u", "p"))]
    bed.manager.add("plain", None, object())
    bed.manager.add("sulky", None, Sulky())
    bed.trip(A)
    bed.manager.reset()
    assert all(conn.closed for conn in conns)
    assert len(bed.manager) == 0
    assert dict(bed.manager.conns) == {}
    assert list(bed.manager) == []
    assert bed.manager.health(A).breaker == "open", "what is known of the hosts remains true"
    assert bed.manager.find(A) not in conns


def test_evict_takes_one_pair_or_all_of_the_host() -> None:
    bed = Bed()
    pairs = [(A, None), (A, ("u", "p")), (A, HTTPDigestAuth("u", "p")), (A + "/api", None), (B, None)]
    conns = [bed.manager.find(*pair) for pair in pairs]
    assert bed.manager.evict(A, None) == 1
    assert [conn.retired for conn in conns] == [True, False, False, False, False]
    assert bed.manager.evict("HTTPS://a.test/", HTTPBasicAuth("u", "p")) == 1
    assert bed.manager.evict(A + "/api") == 1
    bed.manager.find(A + "/api")
    assert bed.manager.evict(A) == 2
    assert [conn.retired for conn in conns] == [True, True, True, True, False]
    assert bed.manager.evict(A) == bed.manager.evict("unheard of") == bed.manager.evict(A, "x") == 0
    assert {event.reason for event in bed.all(ConnectionEvicted)} == {"by hand"}


def test_after_evict_the_hooks_are_asked_at_once() -> None:
    bed = Bed()
    bed.hook.act = fail(OSError("down"))
    for _ in range(3):
        with pytest.raises(OurConnectionError):
            bed.manager.find(A)
        bed.manager.evict(A)
    assert len(bed.hook.asked) == 3


def test_a_closed_manager_finds_nothing() -> None:
    bed = Bed()
    with bed.manager as manager:
        assert manager is bed.manager
        conn = manager.find(A)
    assert conn.closed
    manager.close()
    for refused in (lambda: manager.find(A), lambda: manager.find(B), lambda: manager.add(A, None, Thing())):
        with pytest.raises(OurConnectionError, match="closed"):
            refused()
    assert len(manager) == 0
    assert bed.hook.asked == [(A, None)]
    assert "closed" in repr(manager)


def test_conns_is_a_read_only_view_by_the_host_as_first_given() -> None:
    bed = Bed()
    first = bed.manager.find("HTTPS://A.test/", ("u", "geheim"))
    bed.manager.find(A, ("u", "geheim"))
    bare = bed.manager.add("Orders", None, "thing")
    assert bare is None
    conns = bed.manager.conns
    assert conns == {("HTTPS://A.test/", ("u", "geheim")): first, ("Orders", None): "thing"}
    with pytest.raises(TypeError):
        conns[A, None] = first  # type: ignore[index]
    bed.manager.find(B, HTTPBasicAuth("u", "geheim"))
    (key,) = [auth for host, auth in bed.manager.conns if host == B]
    assert "geheim" not in repr(key)
    assert set(bed.manager) == {("HTTPS://A.test/", first), ("Orders", "thing"), (B, bed.manager.conns[B, key])}


def test_conns_is_live() -> None:
    bed = Bed()
    conns = bed.manager.conns
    assert (len(conns), dict(conns), list(conns.items())) == (0, {}, [])
    conn = bed.manager.find(A, ("u", "geheim"))
    assert conns[A, ("u", "geheim")] is conn
    assert (A, ("u", "geheim")) in conns
    assert list(conns.values()) == [conn]
    assert len(conns) == 1
    assert "geheim" not in repr(conns)
    for other in ((A + "/", ("u", "geheim")), (A, None), (B, None), ("https://u:p@a.test", None), A, None):
        assert other not in conns, "only the host as it was first given, with its credentials"
    with pytest.raises(KeyError) as caught:
        conns[A, ("u", "secret")]
    assert "secret" not in str(caught.value)
    before = iter(conns)
    bed.manager.evict(A)
    assert conns == {}
    assert list(before) == [(A, ("u", "geheim"))], "of when it began"


def test_conns_shows_credentials_that_are_equal_but_of_different_types() -> None:
    bed = Bed()
    found = [bed.manager.find(A, auth) for auth in (1, True, 1.0)]
    assert list(bed.manager.conns.values()) == found
    assert len(bed.manager) == 3


def test_an_empty_manager_is_true_and_its_repr_shows_no_secret() -> None:
    bed = Bed()
    assert bed.manager
    assert len(bed.manager) == 0
    bed.manager.find(A, ("u", "geheim"))
    assert repr(bed.manager) == "<ConnectionManager connections=1 hooks=1>"


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "10", None])
def test_a_wrong_max_connections_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="max_connections"):
        ConnectionManager(max_connections=value)


def test_a_wrong_policy_guard_or_observer_is_named() -> None:
    with pytest.raises(TypeError, match="policy"):
        ConnectionManager(policy=3)  # type: ignore[arg-type]
    with pytest.raises(PolicyError):
        ConnectionManager(policy="no such policy")
    for guard in ("fetch", 3, {3}):
        with pytest.raises(TypeError, match="guard"):
            ConnectionManager(guard=guard)  # type: ignore[arg-type]

    async def later(event: Event) -> None: ...

    class Later:
        async def __call__(self, event: Event, level: str | None) -> None: ...

    for observer in (3, lambda: None, lambda event, level, more: None, later, Later()):
        with pytest.raises(TypeError, match="observer"):
            ConnectionManager(observer=observer)


def test_an_observer_may_take_the_event_alone() -> None:
    events: list[Event] = []
    with ConnectionManager(observer=events.append) as manager:
        manager.add_conn_hook(Hook(fail(OurConnectionError("down"))))
        with pytest.raises(OurConnectionError):
            manager.find(A)
    assert [event.name for event in events] == ["connection.hook_failed"]


# -- tables --------------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first() -> None:
    bed = Bed(max_connections=3)
    conns = {}
    for name in "abc":
        bed.clock.advance(1)
        conns[name] = bed.manager.find(f"https://{name}.test")
    bed.clock.advance(1)
    bed.manager.find(A)
    conns["d"] = bed.manager.find("https://d.test")
    assert {name: conn.retired for name, conn in conns.items()} == {"a": False, "b": True, "c": False, "d": False}
    assert len(bed.manager) == 3
    assert bed.reasons() == ["room"]


def test_at_one_moment_the_first_goes_first() -> None:
    bed = Bed(max_connections=2)
    conns = [bed.manager.find(f"https://h{number}.test") for number in range(5)]
    assert [conn.retired for conn in conns] == [True, True, True, False, False]


def test_connections_in_use_do_not_make_room() -> None:
    """Once, the one just made had to go, and find gave a closed connection."""
    bed = Bed(max_connections=1)
    busy = bed.manager.find(A)
    call = Holdings()
    bed.record(A).admission.enter(call, bulkhead=True)
    bed.clock.advance(1)
    found = bed.manager.find(B)
    assert not busy.retired
    assert not found.retired
    assert len(bed.manager) == 2
    bed.record(A).admission.leave(call, "answered", 0.0, 0.0, sent=True)
    bed.clock.advance(2)
    bed.manager.find(B)
    assert busy.retired
    assert len(bed.manager) == 1


def test_what_is_asked_for_does_not_make_room_for_itself() -> None:
    bed = Bed(max_connections=1)
    conn = bed.manager.find(A)
    call = Holdings()
    bed.record(A).admission.enter(call, bulkhead=True)
    bed.manager.find(B)
    bed.record(A).admission.leave(call, "answered", 0.0, 0.0, sent=True)
    bed.clock.advance(5)
    assert bed.manager.find(A) is conn
    assert not conn.retired


def test_a_broken_hosts_back_off_is_not_forgotten_for_want_of_room() -> None:
    bed = Bed(max_connections=2)
    bed.hook.act = lambda host, auth: bed.conn(host) if host != A else fail(OSError("down"))(host, auth)
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    for number in range(20):
        bed.manager.find(f"https://h{number}.test")
    asked = len(bed.hook.asked)
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    assert len(bed.hook.asked) == asked
    assert len(bed.manager) == 2
    bed.clock.advance(302)
    bed.manager.find(B)
    assert A not in {pair.name for pair in bed.manager._lookup.table.slots()}


def test_hosts_that_are_down_do_not_drive_out_the_connections_to_those_that_are_not() -> None:
    bed = Bed(max_connections=2)
    conns = [bed.manager.find(A), bed.manager.find(B)]
    bed.hook.act = fail(OSError("down"))
    for number in range(10):
        with pytest.raises(OurConnectionError):
            bed.manager.find(f"https://h{number}.test")
    assert [bed.manager.find(A), bed.manager.find(B)] == conns
    bed.clock.advance(2)
    with pytest.raises(OurConnectionError):
        bed.manager.find("https://i.test")
    assert len(bed.manager._lookup.table.slots()) == 2 + 2


def test_an_open_circuit_is_not_forgotten_for_want_of_room() -> None:
    bed = Bed(max_connections=2)
    bed.manager.find(A)
    bed.trip(A)
    bed.manager.evict(A)
    bed.hook.asked.clear()
    gc.collect()
    for number in range(20):
        bed.manager.find(f"https://h{number}.test")
    assert bed.manager.health(A).breaker == "open"
    bed.clock.advance(100)
    for number in range(20):
        bed.manager.find(f"https://i{number}.test")
    gc.collect()
    assert A not in bed.manager.health()


def test_all_tables_stay_bounded_over_a_long_life() -> None:
    """The queue once gained an entry at each hook round."""
    bed = Bed(max_connections=10)
    for number in range(some(480, 720)):
        bed.clock.advance(1)
        host = f"https://h{number % 40}.test"
        makes: Callable[[Any, Any], Any] = lambda host, auth: bed.conn(host)  # noqa: E731
        bed.hook.act = (makes, fail(OSError()), nothing)[number % 3]
        with contextlib.suppress(OurConnectionError):
            bed.manager.find(host, ("u", str(number % 3))).close()
    registry = bed.manager._lookup.table
    gc.collect()
    assert len(bed.manager) <= 10
    assert len(registry.slots()) <= 10 + 10 + 5
    assert sum(map(len, registry._expiry._queues)) <= 2 * (10 + 10 + 5)
    assert len(bed.manager._lookup.fast) <= 2 * 10 + 1
    assert len(bed.manager.hosts.kept._latest) <= 10
    assert len(bed.manager.health()) <= 50
    assert sum(record.held for record in bed.manager.hosts.hosts()) == len(bed.manager)
    assert len(registry._holders) <= 10
    assert len(registry._places) <= 10 + 10 + 5
    assert len(bed.manager.hosts.kept._left) <= 2 * 10 + 1


def test_a_pair_that_is_made_anew_again_and_again_is_queued_once() -> None:
    bed = Bed()
    for _ in range(300):
        bed.clock.advance(1)
        bed.manager.find(A).close()
    assert sum(map(len, bed.manager._lookup.table._expiry._queues)) <= 2


def test_what_was_evicted_does_not_wait_in_the_queue() -> None:
    bed = Bed()
    for _ in range(200):
        bed.manager.add(A, None, "thing")
        bed.manager.evict(A)
    assert max(map(len, bed.manager._lookup.table._expiry._queues)) < 20


def test_a_forgotten_manager_is_collected() -> None:
    bed = Bed(policy=Policy(health={"probe": "/health"}))
    bed.manager.find(A)
    manager = weakref.ref(bed.manager)
    del bed
    hooks_are_over()
    gc.collect()
    assert manager() is None


def test_what_a_manager_that_is_dropped_held_is_gone_at_once() -> None:
    """It waited for the garbage collector: a program that makes a manager per job piled up sockets."""
    gc.disable()
    try:
        manager = ConnectionManager()
        manager.add_conn_hook(Hook(lambda host, auth: Connection(host, auth=("u", "p"))))
        found = manager.find(A)
        gone = [weakref.ref(each) for each in (manager, manager.hosts, found, found._record)]
        hooks_are_over()
        del manager, found
        assert [each() for each in gone] == [None] * 4
    finally:
        gc.enable()


# -- fork ----------------------------------------------------------------------------------------


@threads_only("a fork: a loop does not survive it")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_finds_although_the_parents_threads_held_everything() -> None:
    bed = Bed(policy=Policy(health={"probe": "/health", "probe_interval": 10_000}))
    known = bed.manager.find(B)
    bed.record(B).admission.enter(Holdings(), bulkhead=True)
    gate, job = underway(bed)
    follower = in_thread(lambda: bed.manager.find(A))
    waiting(bed, 2)
    bed.manager._finder.lock.acquire()
    pid = os.fork()
    if pid == 0:  # no assert may leave the child
        code = 1
        try:
            bed.hook.act = lambda host, auth: bed.conn(host)
            good = in_thread(lambda: bed.manager.find(A).origin.text)() == A
            good &= bed.manager.find(B) is known
            good &= bed.manager.health(B).in_flight == 0
            good &= len(bed.manager) == 2
            code = 0 if good else 2
        finally:
            os._exit(code)
    bed.manager._finder.lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    gate.go.set()
    assert job() is follower()
    assert bed.manager.health(B).in_flight == 1
    bed.manager.close()


def test_the_clock_of_a_manager_is_its_own() -> None:
    clock = FakeClock(now=1_000_000.0)
    manager = ConnectionManager(clock=clock)
    manager.add(A, None, "thing")
    assert manager.find(A) == "thing"


def test_a_stand_in_serves_until_a_probe_finds_the_host_well() -> None:
    """Time alone half-opens the circuit: going back by it would trade a healthy stand-in for rejections."""
    bed = Bed(policy=Policy(health={"probe": "/health", "probe_interval": 10_000}))
    up, stand_in = failed_over(bed, Bed.trip)
    up.insert(0, A)
    for _ in range(5):
        bed.clock.advance(100)
        bed.record(A).outcomes.probed(answer(503), bed.clock.now)
        assert bed.manager.find(A) is stand_in
    bed.record(A).outcomes.probed(answer(200), bed.clock.now)
    assert bed.manager.find(A).origin.text == A
    bed.manager.close()


def test_a_round_that_gives_the_same_place_again_keeps_the_connection_in_hand() -> None:
    bed = Bed()
    _, stand_in = failed_over(bed)
    asked = len(bed.hook.asked)
    bed.clock.advance(5)
    assert bed.manager.find(A) is stand_in
    assert not stand_in.retired
    assert len(bed.hook.asked) == asked + 1
    assert len(bed.manager) == 1


def test_who_comes_from_a_round_that_is_over_does_not_wait_in_a_circle() -> None:
    """The thread that led it may look for another host before the one that waited for it has woken up."""
    bed = Bed()
    for _ in range(20):
        bed.manager.reset()
        gate = Gate(lambda host, auth: bed.conn(B))
        bed.hook.act = lambda host, auth, gate=gate: (  # type: ignore[misc]
            (bed.manager.find(B), bed.conn(A))[1] if host == A else gate(host, auth)
        )

        def both() -> Any:
            bed.manager.find(B)
            return bed.manager.find(A)

        logins = in_thread(both)
        assert gate.entered.wait(10)
        service = in_thread(lambda: bed.manager.find(A))
        waiting(bed, 3)
        gate.go.set()
        assert logins().origin.text == service().origin.text == A


def test_a_host_that_cannot_be_probed_is_gone_back_to_by_time() -> None:
    bed = Bed(policy=Policy(health={"probe": "/health", "probe_interval": 10_000}))
    up, _ = failed_over(bed, Bed.trip)
    up.insert(0, A)
    bed.record(A).verdict.not_probed()
    bed.clock.advance(100)
    assert bed.manager.find(A).origin.text == A
    bed.manager.close()


@pytest.mark.parametrize("host", ["https:/u:canary@h", "redis://u:can/canary@h", "u:canary@h", "x://u:canary@h/p"])
def test_a_password_in_a_name_is_refused_without_showing_it(host: Any) -> None:
    bed = Bed()
    bed.hook.act = fail(OSError("down"))
    with pytest.raises(URLError) as caught:
        bed.manager.find(host)
    assert "canary" not in f"{caught.value}{bed.events}".lower()


def test_a_host_that_is_isolated_while_its_hook_is_at_work_is_not_found() -> None:
    bed = Bed()
    gate = bed.hook.act = Gate(lambda host, auth: bed.conn(B))
    job = in_thread(lambda: bed.manager.find("orders"))
    assert gate.entered.wait(10)
    bed.manager.isolate("orders")
    gate.go.set()
    for look in (job, lambda: bed.manager.find("orders")):
        with pytest.raises(HostIsolatedError):
            look()
    bed.manager.restore("orders")
    assert bed.manager.find("orders").origin.text == B


def test_a_name_stays_isolated_though_the_host_behind_it_was_restored() -> None:
    bed = Bed()
    bed.manager.isolate("orders")
    bed.manager.add("orders", None, bed.conn(A))
    bed.manager.restore(A)
    with pytest.raises(HostIsolatedError):
        bed.manager.find("orders")
    bed.manager.restore("orders")
    assert bed.manager.find("orders").origin.text == A


def test_a_stand_in_that_is_isolated_gives_way_to_the_host_when_the_hooks_may_be_asked() -> None:
    """It used to block the pair until an operator restored it, even if the host was healthy."""
    bed = Bed()
    up, stand_in = failed_over(bed)
    bed.manager.isolate(B)
    with pytest.raises(HostIsolatedError):
        bed.manager.find(A)
    up.insert(0, A)
    bed.clock.advance(60)
    bed.answers(A)
    assert bed.manager.find(A).origin.text == A
    assert stand_in.retired
    assert bed.reasons()[-1] == "isolated"


def test_hooks_that_give_an_isolated_stand_in_again_are_asked_a_back_off_apart() -> None:
    bed = Bed()
    failed_over(bed)
    bed.manager.isolate(B)
    bed.clock.advance(60)
    asked = len(bed.hook.asked)
    for _ in range(5):
        with pytest.raises(HostIsolatedError):
            bed.manager.find(A)
    assert len(bed.hook.asked) == asked + 1


@pytest.mark.parametrize("closing", [False, True])
def test_a_caller_that_closes_the_connection_after_a_401_waits_with_its_next_login_all_the_same(closing: bool) -> None:
    bed = Bed()
    logins = []
    for _ in range(60):
        asked = len(bed.hook.asked)
        with contextlib.suppress(OurConnectionError):
            conn = bed.manager.find(A)
            if len(bed.hook.asked) > asked:
                logins.append(bed.clock.now)
            bed.unauthorized(conn)
            if closing:
                conn.close()
        bed.clock.advance(0.5)
    assert [later - earlier for earlier, later in itertools.pairwise(logins)] == [1, 2, 4, 8]


@threads_only("code of the test runs in the loop")
def test_what_a_round_makes_is_held_though_another_one_came_and_went_meanwhile() -> None:
    bed = Bed()
    gate = bed.hook.act = Gate(lambda host, auth: bed.conn(host))
    job = in_thread(lambda: bed.manager.find(A))
    assert gate.entered.wait(10)
    bed.manager.add(A, None, bed.conn(A))
    bed.manager.evict(A)
    gate.go.set()
    made = job()
    assert bed.manager.find(A) is made
    assert len(bed.manager) == 1
    bed.manager.close()
    assert made.closed
