"""Scopes of a connection: the same connection, seen as a part of its host; and what a manager makes of them."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from sleepwalker import ANONYMOUS, Connection, ConnectionError, HostIsolatedError, Policy, URLError
from sleepwalker.engine import Outcome, Permit
from sleepwalker.engine.host.parts import MOST_PARTS
from sleepwalker.engine.host.permits import FREE_PERMIT
from sleepwalker.events import HostBroken, HostIsolated, HostRestored
from sleepwalker.hosts.names import check_scope
from sleepwalker.status.view import Views
from tests.both_drivers import threads_only
from tests.unit.engine_driver import FakeClock, answer, bearer, refused
from tests.unit.manager_driver import A, B, Bed, in_thread

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")

REPORTS = f"{A}#reports"


def conn(**options: Any) -> Connection:
    return Connection(A, ANONYMOUS, clock=FakeClock(), **options)


def settle(one: Connection, outcome: Callable[[], Outcome], times: int = 6) -> None:
    """The calls of a connection, or a scope of one, came to this."""
    record, clock = one._record, one._compiler.clock
    assert isinstance(clock, FakeClock)
    for _ in range(times):
        permit, _ = record.admission.admit(bearer(), clock.now, 100.0)
        held = permit if isinstance(permit, Permit) else FREE_PERMIT
        record.outcomes.settle(held, outcome(), clock.now, 0.0, first=True)
        clock.advance(0.2)


# What it is called.


@pytest.mark.parametrize("name", ["reports", "a b", "/orders/{id}", "Mandant-ü", "7", "x" * 100])
def test_a_name_may_be_anything_that_can_be_shown(name: str) -> None:
    assert conn().scope(name).health.host == f"{A}#{name}"


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("", ValueError, "name is empty"),
        ("  ", ValueError, "name is blank"),
        ("x" * 101, ValueError, "name has 101 characters"),
        ("a#b", ValueError, "'#'"),
        ("a\nb", ValueError, "cannot be printed"),
        ("a\u202eb", ValueError, "cannot be printed"),
        ("a\x1b[31m", ValueError, "cannot be printed"),
        (" a", ValueError, "starts or ends with blanks"),
        ("a ", ValueError, "starts or ends with blanks"),
        (7, TypeError, "name must be a str"),
        (None, TypeError, "not NoneType"),
        (b"a", TypeError, "not bytes"),
    ],
)
def test_a_name_that_cannot_be_shown_is_refused_by_its_parameter(name: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=r"^name ") as caught:
        conn().scope(name)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 250


def test_of_a_str_that_says_something_else_than_it_is_the_text_counts() -> None:
    class Odd(str):
        __slots__ = ()

        def strip(self, *args: Any) -> str:
            return "other"

        def __hash__(self) -> int:
            raise OSError("never asked")

    assert type(check_scope(Odd("plain"))) is str
    assert conn().scope(Odd("plain")).health.host == f"{A}#plain"


def test_it_is_shown_in_its_repr() -> None:
    one = Connection(A, ("user", "sesame"), clock=FakeClock())
    scope = one.scope("reports")
    assert repr(scope) == f"<Connection {A!r} auth=HTTPBasicAuth scope='reports'>"
    one.close()
    assert repr(scope) == f"<Connection {A!r} auth=HTTPBasicAuth scope='reports' closed>"


# One and the same.


def test_it_is_the_same_object_each_time_it_is_asked_for() -> None:
    one = conn()
    scope = one.scope("reports")
    assert one.scope("reports") is scope
    assert one.scope("reports", policy="batch") is scope
    assert one.scope("orders") is not scope
    assert isinstance(scope, Connection)


def test_threads_that_ask_at_the_same_time_get_the_same_object() -> None:
    one = conn()
    start = threading.Barrier(8)

    def ask() -> Connection:
        start.wait(10)
        return one.scope("reports")

    waits = [in_thread(ask) for _ in range(8)]
    assert len({id(wait()) for wait in waits}) == 1


@threads_only("the last response is a thread's; in asyncio a task's")
def test_session_credentials_headers_and_the_last_answer_are_the_connections() -> None:
    one = conn(headers={"X-One": "1"})
    scope = one.scope("reports")
    one.add_headers({"X-Two": "2"})
    scope.add_headers({"X-Three": "3"})
    assert scope._maker.headers is one._maker.headers
    assert {*one._maker.headers} == {"X-One", "X-Two", "X-Three"}
    assert scope.conn is one.conn
    assert (scope.hostname, scope.origin, scope.usage) == (one.hostname, one.origin, one.usage)
    one._handover._latest.response = "the last"
    assert scope.response == "the last"
    assert scope.get_url("/x") == f"{A}/x"


@threads_only("the class of the facade would be derived from")
def test_what_a_subclass_keeps_is_shared_as_well() -> None:
    """A token that one call renews is renewed for all."""

    class Api(Connection):
        __slots__ = ("region",)

        def __init__(self) -> None:
            super().__init__(A, ANONYMOUS, clock=FakeClock())
            self.token = "first"
            self.region = "eu"

    api = Api()
    scope = api.scope("reports")
    assert type(scope) is Api
    api.token = "second"
    assert (scope.token, scope.region) == ("second", "eu")
    scope.token = "third"
    assert api.token == "third"


def test_a_scope_has_no_scopes() -> None:
    with pytest.raises(ValueError, match="this is the scope 'reports', and a scope cannot have scopes"):
        conn().scope("reports").scope("eu")


@threads_only("the facade of a scope does not keep that of its connection")
def test_neither_a_connection_nor_its_scopes_keep_each_other_from_going() -> None:
    """A scope keeps its connection; both are freed at once without a reference, and not by the garbage collector."""
    gc.disable()
    try:
        one = conn()
        scope = weakref.ref(one.scope("reports"))
        assert scope() is None
        held, ref = one.scope("reports"), weakref.ref(one)
        del one
        assert ref() is not None
        assert held._record is not None
        del held
        assert ref() is None
    finally:
        gc.enable()


def test_many_scopes_do_not_fill_the_memory() -> None:
    one = conn()
    for number in range(MOST_PARTS + 50):
        one.scope(f"tenant {number}")
    gc.collect()
    assert one._scopes is not None
    assert len(one._scopes) == 0
    assert len(one._record.parts()) == MOST_PARTS


def test_a_scope_without_a_reference_is_remembered_all_the_same() -> None:
    one = conn()
    settle(one.scope("reports", policy="careful"), lambda: answer(500))
    assert one.scope("reports").health.breaker == "open"
    assert one.scope("reports").policy == Policy.load("careful")


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_cannot_be_copied_or_pickled_any_more_than_its_connection(act: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="Connection cannot be pickled"):
        act(conn().scope("reports"))


# Closing.


def test_closing_the_connection_closes_its_scopes() -> None:
    one = conn()
    scope = one.scope("reports")
    one.close()
    assert scope.closed
    assert scope.retired
    with pytest.raises(ConnectionError, match="this connection is closed"):
        scope.get("/")
    with pytest.raises(ConnectionError, match="this connection is closed"):
        one.scope("late").get("/")


def test_closing_a_scope_changes_nothing_for_those_who_share_it() -> None:
    closings = []

    class Logout(Connection):
        def close(self) -> None:
            closings.append(self)
            super().close()

    one = Logout(A, ANONYMOUS, clock=FakeClock())
    scope = one.scope("reports")
    with scope as entered:
        assert entered is scope
    assert closings == []
    scope.close()
    assert not one.closed
    assert not scope.closed


# Whose policy.


def test_without_a_policy_it_goes_by_that_of_its_connection_also_when_that_changes() -> None:
    one = conn(policy=Policy(bulkhead={"max_concurrent": 2}), timeout=7)
    scope = one.scope("reports")
    assert scope.policy is one.policy
    one.policy = Policy(bulkhead={"max_concurrent": 3}, timeout={"total": 25})
    assert scope.policy is one.policy
    assert scope._record.limit == 3
    assert scope._part.compiled is one._part.compiled


def test_with_a_policy_its_calls_and_its_record_go_by_that() -> None:
    own = Policy(bulkhead={"max_concurrent": 9}, timeout={"total": 21}, retry=False)
    one = conn(policy=Policy(bulkhead={"max_concurrent": 2}))
    scope = one.scope("reports", policy=own)
    assert scope.policy is own
    assert (scope._record.limit, scope._part.compiled.total, scope._part.compiled.retries) == (9, 21, None)
    assert (one.policy.bulkhead, one._record.limit) == (Policy(bulkhead={"max_concurrent": 2}).bulkhead, 2)
    one.policy = Policy()
    assert scope.policy is own


def test_a_policy_may_be_a_name_or_a_file_and_a_bad_one_is_told_as_ever() -> None:
    one = conn()
    assert one.scope("reports", policy="batch").policy == Policy.load("batch")
    with pytest.raises(TypeError, match="policy must be a Policy"):
        one.scope("orders", policy=7)  # type: ignore[arg-type]
    assert one._record.known_part("orders") is None


def test_the_timeouts_that_the_connection_was_given_hold_for_its_scopes() -> None:
    """Who asks for 60 s gets 60 s, and a policy that only sets a rate must not take it back."""
    scope = conn(timeout=(5, 60)).scope("tenant", policy=Policy(rate_limit={"rate": 1}))
    assert (scope._part.compiled.connect, scope._part.compiled.read, scope._part.compiled.attempt) == (5, 60, 65)


def test_its_policy_may_be_set_and_holds_for_the_scope_alone() -> None:
    one = conn()
    scope = one.scope("reports")
    scope.policy = Policy(bulkhead={"max_concurrent": 4}, timeout={"total": 22})
    assert (scope._record.limit, scope._part.compiled.total) == (4, 22)
    assert one._record.limit == 1000
    assert one.scope("reports").policy.timeout.total == 22
    scope.policy = "batch"
    assert scope.policy == Policy.load("batch")
    assert one.policy == Policy()


# In a manager.


def found(bed: Bed, url: str = A) -> Connection:
    one = bed.manager.find(url)
    assert isinstance(one, Connection)
    return one


def test_connections_to_one_host_share_the_records_of_its_scopes_whatever_their_auth() -> None:
    bed = Bed()
    one = found(bed)
    bed.manager.add(A, ("user", "sesame"), Connection(A, ("user", "sesame"), clock=bed.clock))
    other = bed.manager.find(A, ("user", "sesame"))
    assert one.scope("reports")._record is other.scope("reports")._record
    assert one.scope("reports") is not other.scope("reports")
    assert found(bed, B).scope("reports")._record is not one.scope("reports")._record


def test_a_connection_that_is_made_anew_inherits_the_scopes_of_its_host() -> None:
    bed = Bed()
    settle(found(bed).scope("reports"), lambda: answer(500))
    bed.manager.evict(A)
    assert found(bed).scope("reports").health.breaker == "open"


def test_what_a_hook_says_of_a_scope_holds_in_the_manager() -> None:
    """It may have set up the scopes of a connection before it gave it away."""
    bed = Bed(policy=Policy(bulkhead={"max_concurrent": 2}))

    def connect(host: Any, auth: Any) -> Connection:
        one = bed.conn(host)
        one.scope("reports", policy=Policy(bulkhead={"max_concurrent": 9}))
        one.scope("orders")
        return one

    bed.hook.act = connect
    one = found(bed)
    assert [one.scope(name)._record.limit for name in ("reports", "orders")] == [9, 2]


def test_a_scope_follows_its_manager_unless_it_has_a_policy_of_its_own() -> None:
    bed = Bed()
    one = found(bed)
    plain, own = one.scope("plain"), one.scope("own", policy=Policy(bulkhead={"max_concurrent": 9}))
    bed.manager.reload(Policy(bulkhead={"max_concurrent": 5}))
    assert (plain._record.limit, own._record.limit) == (5, 9)


def test_an_open_circuit_of_a_scope_costs_the_connection_nothing() -> None:
    bed = Bed()
    one = found(bed)
    settle(one.scope("reports"), lambda: answer(500), 10)
    assert bed.manager.health(REPORTS).state == "broken"
    assert found(bed) is one
    assert (len(bed.hook.asked), bed.reasons()) == (1, [])


def test_failures_to_connect_through_a_scope_have_the_hooks_asked() -> None:
    bed = Bed()
    one = found(bed)
    settle(one.scope("reports"), refused, 3)
    assert bed.manager.health(A).state == "broken"
    assert [event.host for event in bed.all(HostBroken)] == []  # told to the observer of the connection that called
    bed.clock.advance(1)
    assert found(bed) is not one
    assert bed.reasons() == ["connect"]


def test_a_login_that_ran_out_in_a_scope_is_the_connections() -> None:
    bed = Bed()
    one = found(bed)
    for number in range(4):
        scope = found(bed).scope("reports")
        settle(scope, lambda: answer(200), 1)
        scope.usage.accepted = True
        bed.clock.advance(3600)
        scope.usage.unauthorized = True
        settle(scope, lambda: answer(401), 1)
        assert found(bed) is not one
        assert bed.reasons() == ["unauthorized"] * (number + 1)
    pair = next(iter(bed.manager._lookup.table._slots))
    assert pair.again_at - bed.clock.now <= 1, "no back-off grew: the host answered in between"


def test_a_scope_that_is_well_ends_no_back_off_over_the_circuit_of_its_host() -> None:
    """Else the hooks would be asked at each find for as long as the rest of the host is ill."""
    bed = Bed()
    scope = found(bed).scope("reports")
    for _ in range(3):
        bed.trip(A)
        bed.clock.advance(1)
        found(bed)
        asked = len(bed.hook.asked)
        bed.clock.advance(0.1)
        settle(scope, lambda: answer(200), 1)
        assert bed.manager.health(A).breaker == "open"
        found(bed)
        assert len(bed.hook.asked) == asked
        bed.clock.advance(100)


def test_health_lists_scopes_behind_their_hosts_and_knows_each() -> None:
    bed = Bed()
    one = found(bed)
    found(bed, B)
    for name in ("reports", "orders"):
        settle(one.scope(name), lambda: answer(200), 1)
    assert [*bed.manager.health()] == [A, f"{A}#orders", REPORTS, B]
    health = bed.manager.health(REPORTS)
    assert (health.host, health.attempts, health.connections) == (REPORTS, 1, 1)
    assert bed.manager.health(f"{A.upper()}:443/#reports").attempts == 1
    assert bed.manager.health(A).attempts == 0
    assert one.scope("reports").health == health


def test_asking_for_the_health_of_an_unused_scope_makes_none() -> None:
    bed = Bed()
    for host in (A, B):
        if host == A:
            found(bed)
        health = bed.manager.health(f"{host}#never")
        assert (health.host, health.state, health.calls) == (f"{host}#never", "unknown", 0)
    assert [*bed.manager.health()] == [A]


def test_isolating_a_host_isolates_its_scopes_and_a_scope_alone_itself() -> None:
    bed = Bed()
    one = found(bed)
    scope, other = one.scope("reports"), one.scope("orders")
    bed.manager.isolate(REPORTS, reason="too slow", until=60)
    assert [event.host for event in bed.all(HostIsolated)] == [REPORTS]
    with pytest.raises(HostIsolatedError, match=r"#reports is isolated by an operator until .* UTC: too slow"):
        scope.get("/")
    assert (other.health.state, found(bed)) == ("unknown", one)
    bed.manager.isolate(A)
    with pytest.raises(HostIsolatedError, match=f"^{A} is isolated"):
        other.get("/")
    with pytest.raises(HostIsolatedError):
        bed.manager.find(A)
    bed.manager.restore(A)
    assert (scope.health.state, other.health.state) == ("isolated", "unknown"), "each by its own word"
    bed.clock.advance(61)
    bed.manager.health()
    assert scope.health.state == "unknown"
    assert [(event.host, event.by) for event in bed.all(HostRestored)] == [(A, "hand"), (REPORTS, "time")]


def test_a_scope_may_be_isolated_before_its_first_use() -> None:
    bed = Bed()
    bed.manager.isolate(REPORTS)
    gc.collect()
    with pytest.raises(HostIsolatedError):
        found(bed).scope("reports").get("/")
    bed.manager.restore(REPORTS)
    assert found(bed).scope("reports").health.state == "unknown"


@pytest.mark.parametrize("by", ["forget", "forget the scope", "reset"])
def test_a_scope_stays_isolated_whatever_becomes_of_the_record_of_its_host(by: str) -> None:
    bed = Bed()
    found(bed)
    bed.manager.isolate(REPORTS)
    if by == "reset":
        bed.manager.reset()
    else:
        bed.manager.forget(A if by == "forget" else REPORTS)
    gc.collect()
    assert bed.manager.health(REPORTS).state == bed.manager.health()[REPORTS].state == "isolated"
    with pytest.raises(HostIsolatedError):
        found(bed).scope("reports").get("/")
    bed.manager.restore(REPORTS)
    assert found(bed).scope("reports").health.state == "unknown"


def test_a_circuit_is_reset_by_the_name_of_its_scope_or_of_its_host() -> None:
    bed = Bed()
    one = found(bed)
    scopes = [one.scope(name) for name in ("reports", "orders")]

    def states() -> list[str]:
        return [scope.health.breaker for scope in scopes]

    for scope in scopes:
        settle(scope, lambda: answer(500))
    bed.manager.reset_circuit(REPORTS)
    assert states() == ["closed", "open"]
    bed.manager.reset_circuit(A)
    assert states() == ["closed", "closed"]
    settle(scopes[0], lambda: answer(500))
    scopes[0].reset_circuit()
    assert states() == ["closed", "closed"]
    settle(scopes[0], lambda: answer(500))
    one.reset_circuit()
    assert states() == ["closed", "closed"]
    bed.manager.reset_circuit(f"{B}#never")


def test_a_scope_is_forgotten_and_its_connection_kept() -> None:
    bed = Bed()
    one = found(bed)
    scope = one.scope("reports")
    settle(scope, lambda: answer(500))
    bed.manager.forget(REPORTS)
    assert REPORTS not in bed.manager.health()
    assert found(bed) is one
    assert (scope.health.attempts, scope.health.breaker) == (0, "closed"), "also for those who have the scope"
    assert scope._record is bed.record(A).known_part("reports")


def test_a_scope_in_use_keeps_its_policy_though_the_record_is_forgotten() -> None:
    """An operator who clears a record has not configured the program anew."""
    bed = Bed()
    one = found(bed)
    given, without = one.scope("reports", policy="batch"), one.scope("orders")
    for name in (REPORTS, f"{A}#orders"):
        bed.manager.forget(name)
    assert given.policy == Policy.load("batch")
    assert given._record.policy == Policy.load("batch")
    assert without.policy == one.policy
    bed.manager.forget(REPORTS)
    assert one.scope("reports", policy="interactive").policy == Policy.load("interactive"), "which is given anew"


def test_a_host_is_forgotten_with_its_scopes() -> None:
    bed = Bed()
    settle(found(bed).scope("reports"), lambda: answer(500))
    bed.manager.forget(A)
    assert bed.manager.health() == {}
    assert found(bed).scope("reports").health.attempts == 0


@pytest.mark.parametrize("act", ["find", "evict", "add"])
def test_what_only_a_connection_has_is_not_asked_for_by_the_name_of_a_scope(act: str) -> None:
    bed = Bed()
    args = (f"{A}#token=sesame", None, bed.conn(A)) if act == "add" else (f"{A}#token=sesame",)
    with pytest.raises(URLError, match=r"get a scope from a connection with find\(host\).scope") as caught:
        getattr(bed.manager, act)(*args)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("act", ["isolate", "restore", "reset_circuit", "forget", "health"])
def test_an_operator_is_told_of_a_name_that_no_scope_has(act: str) -> None:
    with pytest.raises(ValueError, match=r"^the scope in host is empty"):
        getattr(Bed().manager, act)(f"{A}#")


@threads_only("the class of the facade would be derived from")
def test_a_hook_may_give_scopes_of_one_connection_to_several() -> None:
    """One login for all, and a record for each tenant. Giving up one pair must not close what the other one has."""
    bed = Bed()
    closings: list[object] = []

    class Counted(Connection):
        def close(self) -> None:
            closings.append(type(self) if self._part.came_from.scope is None else self)
            super().close()

    shared = Counted(A, ANONYMOUS, clock=bed.clock)
    bed.hook.act = lambda host, auth: shared.scope(auth[0])
    ann, bob = (bed.manager.find(A, (name, "sesame")) for name in ("ann", "bob"))
    assert (ann, bob) == (shared.scope("ann"), shared.scope("bob"))
    assert bed.manager.is_current(ann, A, ("ann", "sesame"))
    assert bed.record(A).held == 2
    bed.manager.evict(A, ("ann", "sesame"))
    assert not shared.retired
    bed.manager.evict(A, ("bob", "sesame"))
    assert shared.retired
    assert not shared.closed
    bed.manager.find(A, ("ann", "sesame"))
    assert not shared.retired
    bed.manager.close()
    assert shared.closed
    assert {*closings} == {Counted}, "the connection, and no scope of it"


def test_an_open_circuit_of_a_scope_that_a_hook_gave_does_not_have_it_replaced() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(host).scope("reports")
    one = found(bed)
    settle(one, lambda: answer(500), 10)
    assert bed.manager.health(REPORTS).breaker == "open"
    assert found(bed) is one
    bed.manager.forget(A)
    assert one._record.origin == REPORTS


def test_a_scope_is_current_while_its_connection_is() -> None:
    bed = Bed()
    scope = found(bed).scope("reports")
    assert bed.manager.is_current(scope, A)
    assert bed.manager.held_as(scope) == ((A, None),)
    bed.manager.evict(A)
    assert not bed.manager.is_current(scope, A)


# Where they are seen.


def test_metrics_and_the_status_page_list_scopes_without_counting_a_connection_twice() -> None:
    bed = Bed()
    one = found(bed)
    settle(one.scope("reports"), lambda: answer(200), 1)
    assert [(host.origin, held) for host, held, _ in bed.manager._records()] == [(A, 1), (REPORTS, 0)]
    view = Views([bed.manager], bed.clock).current()
    assert {health.host: health.connections for health in view.hosts} == {A: 1, REPORTS: 1}


def test_a_connection_outside_of_a_manager_shows_its_scopes_as_well() -> None:
    one = conn()
    scope = one.scope("reports")
    settle(scope, lambda: answer(200), 1)
    assert [(host.origin, held) for host, held, _ in one._records()] == [(A, 1), (REPORTS, 0)]
    assert [(host.origin, held) for host, held, _ in scope._records()] == [(REPORTS, 1)]
    view = Views([one], FakeClock()).current()
    assert {health.host: health.connections for health in view.hosts} == {A: 1, REPORTS: 1}
