"""Whose policy it is that a host follows in a manager: a pattern's, its first connection's, or the manager's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection import defaults
from sleepwalker.connection.guard import is_guard
from sleepwalker.connection.options import CallOptions
from sleepwalker.events import ConnectionRetired, Event, HostRecovered, PolicyIgnored
from sleepwalker.exceptions import PolicyError
from sleepwalker.hosts.policies import PolicyMap, check_policies
from sleepwalker.policy.shared import alike, unlike
from tests.both_drivers import threads_only
from tests.unit.engine_driver import answer, refused
from tests.unit.manager_driver import A, B, Bed, Thing, fail, rounds, well

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")

C = "https://c.test"
STRICT = Policy(breaker={"consecutive_for": 0, "consecutive": 2}, bulkhead={"max_concurrent": 3})
LAX = Policy(breaker={"consecutive_for": 0, "consecutive": 9}, bulkhead={"max_concurrent": 90})
NAMED = {"billing": A, "stock": B}


def bed(policy: Policy | None = None, *, own: Policy | None = None, **options: Any) -> Bed:
    """A manager whose hook knows names and URLs, and gives connections with a policy of their own if that is said."""
    made = Bed(policy=policy, **options)
    made.hook.act = lambda host, auth: Connection(NAMED.get(host, host), ANONYMOUS, clock=made.clock, policy=own)
    return made


def limit(here: Bed, host: str) -> int | None:
    """How many calls the host may get, by which the policies here are told apart."""
    return here.manager.health(host).limit


# --- who goes before whom


def test_a_hooks_own_policy_goes_before_the_managers_in_all_that_a_host_shares() -> None:
    own = Policy(
        retry={"budget": {"min_per_second": 7}},
        breaker={"consecutive_for": 0, "consecutive": 2},
        bulkhead={"max_concurrent": 3},
        rate_limit={"rate": 1, "burst": 1},
        health={"broken_after": 1},
    )
    here = bed(LAX, own=own)
    here.manager.find(A)
    record = here.record(A)
    assert record.policy is own
    assert (record.limit, record.gauges().rate) == (3, 1)
    assert record.admission.budget is not None
    assert record.admission.budget._policy.min_per_second == 7
    here.settle(A, answer(500), 2)
    assert here.manager.health(A).breaker == "open"
    here.manager.find(B)
    here.settle(B, refused())
    assert here.manager.health(B).state == "broken"
    assert here.all(PolicyIgnored) == []


def test_a_hook_that_says_nothing_has_its_hosts_follow_the_manager() -> None:
    here = bed(STRICT)
    here.manager.find(A)
    assert here.record(A).policy is STRICT
    assert limit(bed(), A) == Policy().bulkhead.max_concurrent  # type: ignore[union-attr]


def test_a_pattern_goes_before_what_the_hook_says() -> None:
    here = bed(LAX, own=LAX, policies={"https://a.*": STRICT})
    here.manager.find(A)
    here.manager.find(B)
    assert (limit(here, A), limit(here, B)) == (3, 90)


def test_the_first_pattern_that_fits_counts() -> None:
    policies = {B: "off", "https://*": STRICT, A: LAX}
    here = bed(policies=policies)
    for host in (A, B):
        here.manager.find(host)
    assert (limit(here, A), limit(here, B)) == (3, None)


def test_a_pattern_may_be_for_a_name_that_only_hooks_understand() -> None:
    here = bed(policies={"BILL*": STRICT})
    for name in ("Billing", "stock"):
        here.manager.find(name.lower())
    assert (limit(here, A), limit(here, B)) == (3, 1000)


def test_a_name_and_the_url_behind_it_are_one_host_and_the_earlier_of_their_patterns_counts() -> None:
    for policies in ({A: STRICT, "billing": LAX}, {"billing": STRICT, A: LAX}):
        here = bed(policies=policies)
        here.manager.find("billing")
        assert limit(here, A) == 3


def test_a_pattern_for_a_base_path_is_for_the_host_that_has_it() -> None:
    here = bed(policies={f"{A}/v1": STRICT})
    here.manager.find(f"{A}/v1/")
    assert limit(here, A) == 3


def test_a_pattern_counts_also_where_its_name_comes_after_the_url_was_found() -> None:
    """Which of two callers came first is chance, and what an operator wrote should not depend on it."""
    here = bed(LAX, policies={"billing": STRICT})
    here.manager.find(A)
    assert limit(here, A) == 90
    here.settle(A, answer(500), 2)
    here.manager.find("billing")
    assert limit(here, A) == 3
    assert here.manager.health(A).failures == 2
    assert here.all(PolicyIgnored) == []


def test_a_second_name_with_a_pattern_of_its_own_changes_nothing_and_is_told() -> None:
    here = bed(policies={"stock": LAX, "billing": STRICT})
    here.hook.act = lambda host, auth: here.conn(A)
    here.manager.find("billing")
    here.manager.find("stock")
    assert limit(here, A) == 3
    (told,) = here.all(PolicyIgnored)
    assert (told.host, told.followed) == (A, "policies")
    assert told.ignored == "breaker.consecutive, bulkhead.max_concurrent"


def test_a_host_that_nothing_was_found_for_is_judged_by_its_pattern() -> None:
    """Its back-off, where hooks fail, is that of the name that was asked for."""
    here = Bed(policies={"billing": Policy(health={"rehook_initial": 4, "rehook_max": 4})})
    here.hook.act = fail(ConnectionResetError())
    for name, seconds in (("billing", 4), ("stock", 1)):
        with pytest.raises(OurConnectionError) as caught:
            here.manager.find(name)
        assert caught.value.retry_after == seconds


def test_a_stand_in_is_a_host_of_its_own_that_the_name_asked_for_fits_too() -> None:
    here = Bed(policies={"billing": STRICT})
    up = [A, B]
    here.hook.act = lambda host, auth: here.conn(up[0])
    here.manager.find("billing")
    here.unreachable(A)
    del up[0]
    here.clock.advance(5)
    assert here.manager.find("billing").origin.text == B
    assert (limit(here, A), limit(here, B)) == (3, 3)
    other = Bed(policies={B: LAX, A: STRICT})
    up = [A, B]
    other.hook.act = lambda host, auth: other.conn(up[0])
    other.manager.find(A)
    other.unreachable(A)
    del up[0]
    other.clock.advance(5)
    assert other.manager.find(A).origin.text == B
    assert (limit(other, A), limit(other, B)) == (3, 90)


def test_a_name_that_moved_takes_its_pattern_along() -> None:
    here = Bed(policies={"billing": STRICT})
    where = [A]
    here.hook.act = lambda host, auth: here.conn(where[0])
    here.manager.find("billing")
    where[0] = B
    here.manager.evict("billing")
    here.manager.find("billing")
    assert limit(here, B) == 3


def test_of_a_policy_with_tables_those_of_the_manager_are_patterns() -> None:
    tables = Policy(bulkhead={"max_concurrent": 50}, host=[{"match": [A, "stock"], "bulkhead": {"max_concurrent": 5}}])
    here = bed(tables, own=LAX)
    for host in (A, "stock", C):
        here.manager.find(host)
    assert [limit(here, host) for host in (A, B, C)] == [5, 5, 90]
    here = bed(tables, policies={A: STRICT})
    for host in (A, "stock", C):
        here.manager.find(host)
    assert [limit(here, host) for host in (A, B, C)] == [3, 5, 50]


def test_of_a_policy_with_tables_a_pattern_and_a_hook_give_what_they_say_of_the_host() -> None:
    tables = Policy(
        bulkhead={"max_concurrent": 50}, host=[{"match": ["billing", B], "bulkhead": {"max_concurrent": 5}}]
    )
    for options in ({"own": tables}, {"policies": {"*": tables}}):
        here = bed(**options)  # type: ignore[arg-type]
        for host in ("billing", B, C):
            here.manager.find(host)
        assert [limit(here, host) for host in (A, B, C)] == [5, 5, 50]
        assert here.all(PolicyIgnored) == []


def test_one_file_for_manager_and_hook_leaves_nothing_to_tell(tmp_path: Path) -> None:
    """The connection does not know its name, so its own parts are those for its URL; what it shares is by the name."""
    file = tmp_path / "all.toml"
    file.write_text(
        '[[host]]\nmatch = "billing"\nbreaker.consecutive = 2\n[[host]]\nmatch = "https://b.*"\nretry = false'
    )
    here = Bed(policy=Policy.load(file))
    here.hook.act = lambda host, auth: Connection(NAMED[host], ANONYMOUS, clock=here.clock, policy=file)
    assert here.manager.find("billing").policy.retry is not None
    assert here.manager.find("stock").policy.retry is None
    breaker = here.record(A).policy.breaker
    assert breaker is not None
    assert breaker.consecutive == 2
    assert here.all(PolicyIgnored) == []


def test_a_connection_that_is_added_by_hand_has_its_say_as_those_of_hooks_have() -> None:
    here = Bed(hooked=False)
    here.manager.add(A, None, Connection(A, ANONYMOUS, policy=STRICT, clock=here.clock))
    assert limit(here, A) == 3


def test_a_policy_that_was_set_before_the_connection_came_is_its_own() -> None:
    here = Bed(hooked=False)
    conn = here.conn(A)
    conn.policy = STRICT
    here.manager.add(A, None, conn)
    assert limit(here, A) == 3
    conn.policy = LAX  # its own parts follow at once, and what is shared does not
    assert (limit(here, A), conn.policy) == (3, LAX)


def test_a_connection_outside_a_manager_follows_its_own() -> None:
    assert Connection(A, ANONYMOUS, policy=STRICT).health.limit == 3


# --- a connection outside a manager, and tables


def test_a_connection_follows_the_table_for_its_host_also_in_what_is_its_own() -> None:
    tables = Policy(
        timeout={"total": 20},
        host=[{"match": "https://a.*/v1", "retry": False}, {"match": A, "timeout": {"total": 40}}],
    )
    assert Connection(A, ANONYMOUS, policy=tables).policy == Policy(timeout={"total": 40})
    assert Connection(f"{A.upper()}:443/", ANONYMOUS, policy=tables).policy.timeout.total == 40
    assert Connection(f"{A}/v1", ANONYMOUS, policy=tables).policy.retry is None
    conn = Connection(B, ANONYMOUS, policy=tables)
    assert (conn.policy.timeout.total, conn.policy.hosts) == (20, ())
    other = Connection(A, ANONYMOUS)
    other.policy = tables
    assert (other.policy.timeout.total, other._part.compiled_for(CallOptions(policy=tables)).total) == (40, 40)


def test_a_default_policy_with_tables_is_for_connections_and_managers() -> None:
    defaults(
        policy=Policy(bulkhead={"max_concurrent": 50}, host=[{"match": "*a.test", "bulkhead": {"max_concurrent": 5}}])
    )
    try:
        assert [Connection(host, ANONYMOUS).health.limit for host in (A, B)] == [5, 50]
        here = bed()
        for host in (A, B):
            here.manager.find(host)
        assert [limit(here, host) for host in (A, B)] == [5, 50]
    finally:
        defaults(policy=None)
    assert [limit(here, host) for host in (A, B)] == [1000, 1000]


# --- what is ignored


def test_a_later_connection_with_other_shared_parts_changes_nothing_and_is_told_once() -> None:
    here = bed(own=STRICT)
    here.manager.find(A, "one")
    own = Policy(
        timeout={"total": 20},
        retry={"attempts": 7, "budget": {"ratio": 0.5}},
        breaker={"consecutive_for": 0, "consecutive": 9},
        rate_limit={"rate": 5},
        health={"idle": 5, "broken_after": 9},
    )
    here.hook.act = lambda host, auth: Connection(host, ANONYMOUS, clock=here.clock, policy=own)
    for auth in ("two", "three"):
        here.manager.find(A, auth)
    assert here.record(A).policy is STRICT
    (told,) = here.all(PolicyIgnored)
    assert told == PolicyIgnored(
        A,
        ignored="retry.budget.ratio, breaker.consecutive, bulkhead.max_concurrent, rate_limit, health.broken_after, "
        "health.idle",
        followed="connection",
    )


def test_each_host_is_told_of_by_itself() -> None:
    here = bed(own=LAX, policies={"https://*": STRICT})
    for host in (A, B, A):
        here.manager.find(host)
        here.manager.evict(host)
    assert [event.host for event in here.all(PolicyIgnored)] == [A, B]
    assert {event.followed for event in here.all(PolicyIgnored)} == {"policies"}


def test_a_later_connection_after_one_that_said_nothing_is_told_as_well() -> None:
    here = bed(STRICT)
    here.manager.find(A)
    here.manager.add(A, "other", Connection(A, ANONYMOUS, policy=LAX, clock=here.clock))
    assert limit(here, A) == 3
    assert [event.followed for event in here.all(PolicyIgnored)] == ["manager"]


@pytest.mark.parametrize(
    "later",
    [
        None,
        STRICT,
        STRICT.replace(timeout={"total": 20}, retry={"attempts": 9}, log={"sample": 0.5}, pool={"size": 3}),
        STRICT.replace(breaker=False, bulkhead=False),
    ],
    ids=["says nothing", "the same", "differs in what is its own", "has parts off, which its calls pass by"],
)
def test_a_later_connection_that_loses_nothing_is_not_told_of(later: Policy | None) -> None:
    here = bed(own=STRICT)
    here.manager.find(A)
    here.manager.add(A, "other", Connection(A, ANONYMOUS, policy=later, clock=here.clock))
    assert here.all(PolicyIgnored) == []


def test_what_is_made_anew_by_the_same_hook_is_not_told_of() -> None:
    here = bed(own=STRICT)
    for _ in range(3):
        here.manager.find(A)
        here.manager.evict(A)
    assert here.all(PolicyIgnored) == []


def test_a_host_that_was_forgotten_takes_the_next_policy() -> None:
    here = bed(own=STRICT)
    here.manager.find(A)
    here.manager.forget(A)
    here.hook.act = lambda host, auth: Connection(host, ANONYMOUS, clock=here.clock, policy=LAX)
    here.manager.find(A)
    assert limit(here, A) == 90
    assert here.all(PolicyIgnored) == []


def test_a_host_that_is_forgotten_while_its_connection_is_made_has_what_that_brought() -> None:
    here = bed()

    class Forgets(Connection):
        def attach(self, host: Any) -> None:
            if not self._part.attached:
                here.manager.forget(A)
            super().attach(host)

    here.hook.act = lambda host, auth: Forgets(host, ANONYMOUS, clock=here.clock, policy=STRICT)
    conn = here.manager.find(A)
    assert conn._record is here.record(A)
    assert limit(here, A) == 3


def test_another_policy_for_a_scope_is_told_once_with_all_that_it_would_have_changed() -> None:
    told: list[Event] = []
    conn = Connection(A, ANONYMOUS, observer=told.append)
    scope = conn.scope("reports", STRICT)
    conn.scope("reports", STRICT)
    conn.scope("reports", STRICT.replace(pool={"size": 3}))  # the pool is the connection's
    assert told == []
    for _ in range(2):
        conn.scope("reports", STRICT.replace(timeout={"total": 20}, retry=False, bulkhead={"max_concurrent": 4}))
    assert scope.policy is STRICT
    assert told == [PolicyIgnored(f"{A}#reports", ignored="timeout.total, bulkhead.max_concurrent", followed="scope")]


def test_a_scope_takes_the_table_for_its_host() -> None:
    tables = Policy(host=[{"match": A, "bulkhead": {"max_concurrent": 5}}])
    scope = Connection(A, ANONYMOUS).scope("reports", tables)
    assert (scope.health.limit, scope.policy.hosts) == (5, ())
    scope.policy = Policy(host=[{"match": A, "bulkhead": {"max_concurrent": 6}}])
    assert scope.health.limit == 6


def test_scopes_go_by_what_their_host_follows_unless_they_have_a_policy_of_their_own() -> None:
    here = bed(LAX, policies={"billing": STRICT})
    conn = here.manager.find(A)
    plain, own = conn.scope("plain"), conn.scope("own", Policy(bulkhead={"max_concurrent": 7}))
    assert (plain.health.limit, own.health.limit) == (90, 7)
    here.manager.find("billing")
    assert (plain.health.limit, own.health.limit) == (3, 7)
    here.manager.reload(policies={A: Policy(bulkhead={"max_concurrent": 8})})
    assert (plain.health.limit, own.health.limit) == (8, 7)


def test_a_hook_that_gives_scopes_of_one_connection_has_its_policy_followed() -> None:
    here = bed(LAX)
    whole = Connection(A, ANONYMOUS, clock=here.clock, policy=STRICT)
    here.hook.act = lambda host, auth: whole.scope(auth)
    for tenant in ("one", "two"):
        assert here.manager.find(A, tenant).health.limit == 3
    assert here.record(A).policy is STRICT
    assert here.all(PolicyIgnored) == []


def test_the_fields_that_two_policies_differ_in_are_those_that_a_host_shares() -> None:
    assert unlike(Policy(), Policy()) == []
    assert alike(Policy(), Policy(timeout={"total": 20}, hedge={"delay": 1}, retry={"attempts": 2}))
    assert unlike(Policy(), Policy(retry=False, breaker=False)) == ["retry.budget", "breaker"]
    assert unlike(Policy(retry=False, breaker=False), Policy()) == []
    assert not alike(Policy(retry=False), Policy())
    every = unlike(Policy(rate_limit={"rate": 1}), Policy.load("batch").replace(rate_limit={"rate": 2}))
    assert {path.partition(".")[0] for path in every} <= {"retry", "breaker", "bulkhead", "rate_limit", "health"}
    assert "rate_limit.rate" in every


# --- reloads


def test_a_reload_is_for_the_hosts_that_follow_the_manager() -> None:
    here = bed(policies={A: STRICT})
    here.manager.find(A)
    here.manager.find(B)
    here.manager.add(C, None, Connection(C, ANONYMOUS, policy=LAX, clock=here.clock))
    here.manager.reload(Policy(bulkhead={"max_concurrent": 7}))
    assert [limit(here, host) for host in (A, B, C)] == [3, 7, 90]
    here.manager.find("https://new.test")
    assert limit(here, "https://new.test") == 7


def test_a_reload_of_the_patterns_is_for_all_hosts_by_all_their_names() -> None:
    here = bed(own=LAX, policies={"https://*": STRICT})
    for host in ("billing", B, C):
        here.manager.find(host)
    here.manager.reload(policies={"billing": Policy(bulkhead={"max_concurrent": 4}), B: Policy(bulkhead=False)})
    assert [limit(here, host) for host in (A, B, C)] == [4, None, 90]
    here.manager.reload(policies={})
    assert [limit(here, host) for host in (A, B, C)] == [90, 90, 90]
    here.manager.reload(STRICT, policies={C: Policy(bulkhead={"max_concurrent": 4})})
    assert [limit(here, host) for host in (A, B, C)] == [90, 90, 4]


def test_a_reload_by_a_file_with_tables_has_its_tables_followed() -> None:
    here = bed(Policy(host=[{"match": A, "bulkhead": {"max_concurrent": 5}}]))
    for host in (A, B):
        here.manager.find(host)
    assert [limit(here, host) for host in (A, B)] == [5, 1000]
    here.manager.reload(Policy(bulkhead={"max_concurrent": 8}, host=[{"match": B, "bulkhead": {"max_concurrent": 6}}]))
    assert [limit(here, host) for host in (A, B)] == [8, 6]


def test_a_hook_that_brings_what_the_manager_has_says_nothing_of_its_own() -> None:
    """Both read one file, as they mostly do: then a reload of the manager is for its hosts as well."""
    here = bed(STRICT, own=STRICT.replace(timeout={"total": 20}))
    here.manager.find(A)
    here.manager.reload(LAX)
    assert limit(here, A) == 90
    here.manager.evict(A)
    here.manager.find(A)  # by a hook that was not told
    assert limit(here, A) == 90
    assert [event.followed for event in here.all(PolicyIgnored)] == ["manager"]


def test_nothing_that_is_known_of_a_host_is_lost_when_another_policy_takes_over() -> None:
    here = bed(LAX, policies={"billing": Policy(breaker=False)})
    here.manager.find(A)
    here.settle(A, answer(500), 9)
    assert here.manager.health(A).breaker == "open"
    here.manager.find("billing")
    assert here.manager.health(A).failures == 9
    assert len(here.all(HostRecovered)) == 1  # told while no lock is held: the observer of the bed looks


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        ({}, TypeError, "pass at least one of them"),
        ({"policies": {A: 3}}, TypeError, r"policies\['https://a.test'\]: policy must be a Policy"),
        ({"policies": {A: "nonsense"}}, PolicyError, "'https://a.test': name: unknown"),
        ({"policies": [A]}, TypeError, "policies must be a mapping of patterns to policies"),
        ({"policies": "batch"}, TypeError, "not str"),
        ({"policy": "batch", "policies": {"": "batch"}}, PolicyError, "matches no host"),
        ({"policies": {f"{A}#reports": "batch"}}, PolicyError, r"a scope has the policy that `scope\(name, policy=\)`"),
        ({"policy": 3, "policies": {A: "batch"}}, TypeError, "policy must be a Policy"),
    ],
)
def test_what_cannot_be_leaves_the_old_ones_in_force(wrong: Any, kind: type[Exception], says: str) -> None:
    here = bed(LAX, policies={A: STRICT})
    here.manager.find(A)
    with pytest.raises(kind, match=says):
        here.manager.reload(**wrong)
    here.manager.find(B)
    assert [limit(here, host) for host in (A, B)] == [3, 90]
    if wrong:
        with pytest.raises(kind, match=says):
            ConnectionManager(**wrong)


def test_every_fault_of_policies_is_told_and_no_secret() -> None:
    with pytest.raises(PolicyError) as caught:
        check_policies({"https://u:s3cr3t@h": "batch", 5: "batch", "a": "nonsense", "A/": "batch", "ok": "batch"})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["a pattern", "a pattern", "'a'", "'A/'"]
    assert "s3cr3t" not in str(caught.value)


def test_policies_may_be_names_paths_and_values_and_are_read_once(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("bulkhead.max_concurrent = 6")
    policies = {A: "batch", B: file, C: STRICT}
    here = bed(policies=policies)
    file.write_text("")
    policies.clear()
    for host in (A, B, C):
        here.manager.find(host)
    assert [here.record(host).policy for host in (A, C)] == [Policy.load("batch"), STRICT]
    assert limit(here, B) == 6


# --- what a manager does by a host's policy rather than its own


def test_each_host_retires_its_idle_connections_by_its_own_time() -> None:
    here = bed(policies={A: Policy(health={"idle": 10}), B: Policy(health={"idle": 500})})
    for host in (B, C, A):
        here.manager.find(host)
    here.clock.advance(11)
    here.manager.find("https://d.test")
    assert [event.host for event in here.all(ConnectionRetired)] == [A]
    here.clock.advance(290)
    here.manager.find("https://d.test")
    assert [event.host for event in here.all(ConnectionRetired)] == [A, C]
    here.clock.advance(190)
    here.manager.find("https://d.test")
    assert {host for host, _ in here.manager} == {B, "https://d.test"}
    here.clock.advance(11)
    here.manager.find("https://d.test")
    assert [event.host for event in here.all(ConnectionRetired)] == [A, C, B]


def test_a_shorter_idle_time_that_a_hook_brings_is_kept_to() -> None:
    here = bed()
    here.manager.find(B)
    here.hook.act = lambda host, auth: Connection(A, ANONYMOUS, policy=Policy(health={"idle": 10}), clock=here.clock)
    here.manager.find(A)
    here.clock.advance(11)
    here.manager.find(B)
    assert [event.host for event in here.all(ConnectionRetired)] == [A]


def test_each_host_is_given_up_by_its_own_rules() -> None:
    here = bed(policies={A: Policy(health={"max_age": 10, "unauthorized_evicts": False}), B: Policy()})
    first = {host: well(here, host) for host in (A, B)}
    for conn in first.values():
        here.unauthorized(conn)
    assert [here.manager.find(host) is conn for host, conn in first.items()] == [True, False]
    here.clock.advance(11)
    assert here.manager.find(A) is not first[A]


def test_hooks_are_asked_again_by_the_back_off_of_the_host_asked_for() -> None:
    slow = Policy(health={"rehook_initial": 8, "rehook_max": 8})
    here = bed(policies={A: slow})
    well(here)
    here.unreachable(A)
    assert rounds(here, 17) == [0, 8, 16]
    other = bed(slow, policies={A: Policy()})
    well(other)
    other.unreachable(A)
    assert rounds(other, 8) == [0, 1, 3, 7]


@threads_only("the thread of probes; in asyncio they are tasks")
def test_only_hosts_whose_policy_names_a_path_are_probed_each_at_its_own_pace() -> None:
    asked: list[tuple[str, str]] = []

    class Probed(Connection):
        def probe(self, path: str, seconds: float) -> Any:
            asked.append((self.origin.text, path))
            return answer(503)

    def probing(path: str, interval: float) -> Policy:
        return Policy(health={"probe": path, "probe_interval": interval})

    here = Bed(policies={A: probing("/a", 2000), B: probing("/b", 5000)})
    here.hook.act = lambda host, auth: Probed(host, ANONYMOUS, clock=here.clock)
    for host in (A, B, C):
        here.manager.find(host)
        here.trip(host)
    waits = [2000.0]
    for _ in range(6):
        waits.append(here.manager._finder.probing.probe_broken(waits[-1]))
    a, b = (A, "/a"), (B, "/b")
    assert asked == [a, b, a, a, b, a, a]
    assert waits == [2000, 2000, 2000, 1000, 1000, 2000, 2000]
    here.manager.close()


@threads_only("the thread of probes; in asyncio they are tasks")
def test_a_probe_closes_the_circuit_by_the_hosts_own_numbers() -> None:
    class Probed(Connection):
        def probe(self, path: str, seconds: float) -> Any:
            return answer(200)

    own = Policy(
        breaker={"close_after": 1, "open_for": 60, "open_max": 60}, health={"probe": "/", "probe_interval": 9999}
    )
    here = Bed(policy=Policy(breaker={"close_after": 7}))
    here.hook.act = lambda host, auth: Probed(host, ANONYMOUS, clock=here.clock, policy=own)
    here.manager.find(A)
    here.trip(A)
    assert here.manager._finder.probing.prober is not None  # though the manager's own policy has nothing probed
    here.manager._finder.probing.probe_broken()
    assert here.manager.health(A).breaker == "closed"
    here.manager.close()


@threads_only("a blocking client behind a guard")
def test_a_guarded_object_follows_the_pattern_for_its_host_and_brings_nothing() -> None:
    class Api(Thing):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def get(self, uri: str) -> int:
            self.calls += 1
            raise ConnectionRefusedError

    here = Bed(
        hooked=False, guard=True, policies={"shop*": Policy(retry={"attempts": 2}, bulkhead={"max_concurrent": 3})}
    )
    here.clock.sleep = lambda seconds, wake=None: False  # type: ignore[method-assign]
    apis = {name: Api() for name in ("shop-1", "depot", A)}
    for name, api in apis.items():
        here.manager.add(name, None, api)

    def sends(name: str) -> int:
        before = apis[name].calls
        guarded = here.manager.conns[name, None]
        assert is_guard(guarded)
        with pytest.raises(ConnectionRefusedError):
            guarded.get("/")
        return apis[name].calls - before

    assert [sends(name) for name in apis] == [2, 3, 3]
    assert (limit(here, "shop-1"), limit(here, "depot")) == (3, 1000)
    here.manager.reload(Policy(retry=False), policies={"depot": Policy(retry={"attempts": 4})})
    for name in apis:
        here.manager.reset_circuit(name)
    assert [sends(name) for name in apis] == [1, 4, 1]


@threads_only("a blocking client behind a guard")
def test_a_guard_of_a_host_that_a_connection_settled_keeps_the_managers_retries() -> None:
    class Api(Thing):
        calls = 0

        def get(self, uri: str) -> int:
            self.calls += 1
            raise ConnectionRefusedError

    here = Bed(hooked=False, guard=True)
    here.clock.sleep = lambda seconds, wake=None: False  # type: ignore[method-assign]
    here.manager.add(A, "ours", Connection(A, ANONYMOUS, policy=STRICT.replace(retry=False), clock=here.clock))
    api = Api()
    here.manager.add(A, "theirs", api)
    with pytest.raises(ConnectionRefusedError):
        here.manager.find(A, "theirs").get("/")
    assert (api.calls, limit(here, A)) == (2, 3)  # at the third the circuit was open


# --- how much it costs


@threads_only("no connection takes part")
def test_many_patterns_cost_a_host_nothing_once_it_is_known() -> None:
    policies = {f"https://*.{number}.test": STRICT for number in range(5000)}
    terms = PolicyMap(Policy(), tuple(policies.items()))
    terms.followed((A,))
    began = time.perf_counter()
    for _ in range(1000):
        terms.followed((A,))
    assert time.perf_counter() - began < 1  # looking through them takes milliseconds each time


@threads_only("no connection takes part")
def test_what_is_remembered_of_patterns_is_bounded() -> None:
    terms = PolicyMap(Policy(), (("https://*", STRICT),))
    for number in range(21_000):
        assert terms.matched(f"https://{number}.test") is STRICT
    assert len(terms._known) <= 20_000
