"""What an application chooses once holds for managers and connections that were given nothing of their own."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sleepwalker
from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy
from sleepwalker.connection import defaults
from sleepwalker.connection.guard import is_guard
from sleepwalker.events import HostRecovered
from sleepwalker.exceptions import PolicyError
from tests.unit.engine_driver import answer
from tests.unit.manager_driver import A, B, Bed, Hook, Thing, in_thread

STANDARD, BATCH, CAREFUL = (Policy.load(name) for name in ("standard", "batch", "careful"))


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    yield
    defaults(policy=None, guard=None)


def manager(**options: Any) -> ConnectionManager:
    """A manager whose hook gives objects that are no connections of ours."""
    made = ConnectionManager(**options)
    made.add_conn_hook(Hook(lambda host, auth: Thing()))
    return made


def policy_of(manager: ConnectionManager) -> Policy:
    """What hosts that it did not know before follow."""
    return manager.hosts.policy


def guards(manager: ConnectionManager, host: str = A) -> bool:
    return is_guard(manager.find(host))


# -- choosing ------------------------------------------------------------------------------------


def test_as_shipped_there_is_no_guard_and_the_policy_is_standard() -> None:
    assert defaults() == defaults(policy="standard", guard=False) == defaults(policy=None, guard=None)
    assert (defaults().policy, defaults().guard) == (STANDARD, False)


def test_what_is_left_out_stays_and_none_puts_the_shipped_one_back() -> None:
    assert defaults(guard=True).policy == STANDARD
    chosen = defaults(policy="batch")
    assert (chosen.policy, chosen.guard) == (BATCH, True)
    chosen = defaults(guard=None)
    assert (chosen.policy, chosen.guard) == (BATCH, False)
    chosen = defaults(policy=None, guard=["fetch", "push"])
    assert (chosen.policy, chosen.guard) == (STANDARD, {"fetch", "push"})


def test_what_is_returned_can_be_given_again_and_not_be_changed() -> None:
    before = defaults(policy=CAREFUL, guard={"fetch"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.guard = True  # type: ignore[misc]
    defaults(policy=None, guard=False)
    assert defaults(policy=before.policy, guard=before.guard) == before


def test_a_policy_comes_from_a_file_as_well(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[timeout]\ntotal = 25\n")
    assert defaults(policy=path).policy.timeout.total == 25


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        ({"policy": 3}, TypeError, "policy must be a Policy"),
        ({"policy": "no such policy"}, PolicyError, "no such policy"),
        ({"guard": "fetch"}, TypeError, "guard must be True, False or names"),
        ({"guard": 3}, TypeError, "guard must be True, False or names"),
        ({"guard": {3}}, TypeError, "guard must be True, False or names"),
        ({"policy": "careful", "guard": 3}, TypeError, "guard"),
        ({"policy": 3, "guard": False}, TypeError, "policy"),
    ],
)
def test_what_cannot_be_is_refused_at_once_as_by_the_constructors(wrong: Any, kind: type[Exception], says: str) -> None:
    before = defaults(policy="batch", guard=True)
    earlier = ConnectionManager()
    with pytest.raises(kind, match=says):
        defaults(**wrong)
    assert defaults() == before
    assert policy_of(earlier) is BATCH
    for each in (ConnectionManager, Connection) if "guard" not in wrong else (ConnectionManager,):
        with pytest.raises(kind, match=says):
            each(*(["https://a.test"] if each is Connection else []), **wrong)


def test_it_takes_keywords_alone() -> None:
    with pytest.raises(TypeError):
        defaults("batch")  # type: ignore[call-arg]


# -- the guard -----------------------------------------------------------------------------------


def test_managers_guard_that_are_made_later() -> None:
    defaults(guard=True)
    assert guards(manager())


def test_managers_guard_that_were_made_before_what_is_hooked_from_now_on() -> None:
    """Client libraries make theirs when they are imported, which comes before the application's first line."""
    early = manager()
    held = early.find(A)
    defaults(guard=True)
    assert early.find(A) is held
    assert guards(early, B)
    early.evict(A)
    assert guards(early, A)


def test_what_is_added_by_hand_is_guarded_too() -> None:
    early = ConnectionManager()
    defaults(guard=True)
    early.add(A, None, Thing())
    assert guards(early)


@pytest.mark.parametrize("own", [True, False, {"fetch"}])
def test_a_manager_that_was_told_goes_by_what_it_was_told(own: Any) -> None:
    early = manager(guard=own)
    defaults(guard=not own)
    assert guards(early) == guards(manager(guard=own)) == bool(own)


def test_names_of_methods_are_guarded_by_default_too() -> None:
    class Api(Thing):
        def fetch(self) -> str:
            return "ok"

    defaults(guard=["fetch"])
    made = ConnectionManager()
    made.add_conn_hook(Hook(lambda host, auth: Api()))
    assert made.find(A).fetch() == "ok"
    assert made.health(A).calls == 1


def test_guards_stay_guards_when_it_is_switched_off_again() -> None:
    defaults(guard=True)
    early = manager()
    held = early.find(A)
    defaults(guard=None)
    assert early.find(A) is held
    assert not guards(early, B)


# -- the policy ----------------------------------------------------------------------------------


def test_managers_follow_the_policy_whenever_they_were_made() -> None:
    early = Bed(policy=None)
    conn = early.conn(A)
    early.manager.add(A, None, conn)
    defaults(policy=STANDARD.replace(breaker={"consecutive_for": 0, "consecutive": 2}))
    late = Bed(policy=None)
    for bed in (early, late):
        bed.manager.find(A)
        bed.settle(A, answer(500), 2)
        assert bed.manager.health(A).breaker == "open"


def test_guards_follow_the_policy_too() -> None:
    class Api(Thing):
        calls = 0

        def get(self) -> str:
            self.calls += 1
            raise ConnectionResetError

    defaults(guard=True)
    bed = Bed(policy=None, hooked=False)
    bed.manager.add_conn_hook(Hook(lambda host, auth: Api()))
    guarded = bed.manager.find(A)
    defaults(policy="off")
    with pytest.raises(ConnectionResetError):
        guarded.get()
    assert guarded.calls == 1


def test_a_manager_with_a_policy_of_its_own_keeps_it() -> None:
    given, reloaded = ConnectionManager(policy="careful"), ConnectionManager()
    reloaded.reload("careful")
    explicit = ConnectionManager(policy="standard")
    defaults(policy="batch")
    assert policy_of(given) is policy_of(reloaded) is CAREFUL
    assert policy_of(explicit) is STANDARD
    defaults(policy=None)
    assert policy_of(reloaded) is CAREFUL


def test_the_shipped_policy_comes_back() -> None:
    early = ConnectionManager()
    defaults(policy="batch")
    assert policy_of(early) is BATCH
    defaults(policy=None)
    assert policy_of(early) is STANDARD


def test_a_manager_that_is_closed_is_left_alone() -> None:
    closed = ConnectionManager()
    closed.close()
    defaults(policy="batch")
    assert policy_of(closed) is STANDARD


def test_what_changes_is_told_while_no_lock_is_held() -> None:
    bed = Bed(policy=None)
    bed.manager.find(A)
    bed.trip(A)
    defaults(policy=STANDARD.replace(breaker=False))
    assert len(bed.all(HostRecovered)) == 1  # and Bed's observer looked at the lock


def test_of_two_choices_at_a_time_the_later_one_counts_for_all() -> None:
    beds = [Bed(policy=None) for _ in range(3)]
    for bed in beds:
        bed.manager.find(A)
        bed.trip(A)
        bed.manager._finder._observe = _once(lambda: defaults(policy="careful"))
    defaults(policy=STANDARD.replace(breaker=False))
    assert [policy_of(bed.manager) for bed in beds] == [CAREFUL] * 3


def _once(act: Any) -> Any:
    done: list[Any] = []

    def observe(event: object) -> None:
        if not done:
            done.append(event)
            act()

    return observe


def test_a_manager_that_is_being_made_meanwhile_follows_the_new_policy() -> None:
    class Names(list[str]):
        def __iter__(self) -> Iterator[str]:
            defaults(policy="batch")  # by another thread, say
            return super().__iter__()

    assert policy_of(ConnectionManager(guard=Names(["fetch"]))) is BATCH


def test_connections_that_are_made_later_follow_the_policy() -> None:
    early = Connection(A, ANONYMOUS)
    defaults(policy="batch")
    assert Connection(A, ANONYMOUS).policy is BATCH
    assert Connection(A, ANONYMOUS, policy=None).policy is BATCH
    assert Connection(A, ANONYMOUS, policy="standard").policy is STANDARD
    assert early.policy is STANDARD
    defaults(policy=None)
    assert Connection(A, ANONYMOUS).policy is STANDARD


def test_a_connection_of_a_hook_follows_the_default_for_what_is_its_own_under_any_manager() -> None:
    bed = Bed(policy=CAREFUL)
    defaults(policy="batch")
    assert bed.manager.find(A).policy is BATCH
    assert policy_of(bed.manager) is CAREFUL


# -- around it -----------------------------------------------------------------------------------


def test_the_manager_of_sleepwalker_mgr_follows() -> None:
    mine = sleepwalker.mgr.connection_manager
    defaults(guard=True, policy="batch")
    hook = Hook(lambda host, auth: Thing())
    mine.add_conn_hook(hook)
    try:
        assert guards(mine, "https://mgr.test")
        assert policy_of(mine) is BATCH
    finally:
        mine.clear_hooks()
        mine.reset()


def test_no_manager_is_kept_alive_by_it() -> None:
    gone = weakref.ref(ConnectionManager())
    gc.collect()
    assert gone() is None
    defaults(policy="batch")


def test_threads_choose_and_make_managers_at_the_same_time() -> None:
    made: list[ConnectionManager] = []

    def choose(name: str) -> None:
        for _ in range(30):
            defaults(policy=name)

    def make() -> None:
        made.extend(ConnectionManager() for _ in range(100))

    jobs = [in_thread(lambda name=name: choose(name)) for name in ("batch", "careful", "off")]
    jobs += [in_thread(make) for _ in range(3)]
    for wait in jobs:
        wait()
    assert len(made) == 300
    assert {policy_of(each).to_toml() for each in made} == {defaults().policy.to_toml()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_the_child_of_a_fork_has_the_choice_and_makes_its_own() -> None:
    early = manager()
    defaults(policy="batch", guard=True)
    pid = os.fork()
    if pid == 0:  # no assert may leave the child
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        good = False
        try:
            good = policy_of(early) is BATCH and guards(early) and guards(manager())
            defaults(policy="careful", guard=False)
            good = good and policy_of(early) is CAREFUL and not guards(early, B)
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert policy_of(early) is BATCH
    assert guards(early)
