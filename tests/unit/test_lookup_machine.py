"""Lookups whose flights overlap come to what a small model says: callers wait, hooks answer late, hands change things.

The model knows no tables, queues or steps: a pair has a connection or not, flights that are at work for it, and a
moment before which its hooks are left alone. Records of hosts are told apart in `test_manager_machine`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker import DeadlineExceeded, HostIsolatedError, Policy
from sleepwalker.engine import Isolation
from sleepwalker.hosts.names import host_key
from sleepwalker.lookup import change, ending
from sleepwalker.lookup.fast import asked_for, at_hand
from sleepwalker.lookup.find import Waiter, find
from sleepwalker.lookup.foreign import EMPTY
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.lead import carry_out
from sleepwalker.lookup.steps import Adopt, AskHook, Job, Machine
from tests.unit.lookup_driver import Caller, Conn, World
from tests.unit.manager_driver import A

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

HOSTS = [A, A, "orders"]
IDLE, FIRST, LAST, PATIENCE = 100.003, 1.0, 8.0, 30.0
POLICY = Policy(
    timeout={"total": PATIENCE}, health={"window": 0.1, "idle": IDLE, "rehook_initial": FIRST, "rehook_max": LAST}
)
#: How long it waits beside its timeout, for each caller: shorter than hooks may take, as long, longer, without end.
SECONDS = st.sampled_from([2.0, PATIENCE, 100.0, float("inf")])


SAYS = st.sampled_from(["gives", "gives", "gives", "fails", "fails", "nothing", "gives one that is closed later"])


@dataclass(eq=False)
class Flight:
    """Hooks at work for a pair."""

    pair: Pair
    since: float
    hooks: int
    """Which set of hooks was asked."""
    late: bool = False
    dismissed: bool = False
    """Its waiters look again."""
    over: bool = False
    conn: Any = None
    error: type[Exception] | None = None


@dataclass(eq=False)
class Pair:
    """A host, as the contract speaks of it."""

    host: str
    conn: Any = None
    by_hand: bool = False
    """It was added by hand, so it stays until a hook gives another one."""
    used: float = 0.0
    flight: Flight | None = None
    """The one that decides what it holds."""
    late: list[Flight] = field(default_factory=list)
    in_a_row: int = 0
    again: float = 0.0
    refused: bool = False
    said: bool = True
    """Whether the hooks said why, where they refused."""
    spared: float = 0.0
    """It was looked for, or at work, when it would have been forgotten: its time begins anew then."""

    @property
    def asking(self) -> bool:
        return self.flight is not None or bool(self.late)

    def back_off(self, now: float) -> None:
        self.again = now + min(FIRST * 2**self.in_a_row, LAST)
        self.in_a_row += 1

    def end_back_off(self) -> None:
        self.in_a_row, self.again, self.refused = 0, 0.0, False


@dataclass(eq=False)
class Seeker:
    """A caller of `find`, in the world and in the model."""

    caller: Caller
    host: str
    since: float
    seconds: float
    waits_for: Flight | None = None


@dataclass(eq=False)
class Leader:
    """The hooks of one flight, in the world and in the model."""

    task: Caller
    job: Job
    flight: Flight
    says: Any = None
    """What the hook said, once it did: a connection, None, or an exception."""


class LookupMachine(RuleBasedStateMachine):
    """One lookup with one hook, two hosts, and callers whose flights overlap."""

    @initialize()
    def start(self) -> None:
        self.world = World(policy=POLICY)
        self.lookup = self.world.lookup
        self.pairs: dict[str, Pair] = {}
        self.seekers: list[Seeker] = []
        self.leaders: list[Leader] = []
        self.made: list[Any] = []
        self.gone: list[Any] = []
        """Connections that are released, each once."""
        self.isolated: set[str] = set()
        self.closed = False
        self.hooks = self.number = self.asked = 0

    @property
    def now(self) -> float:
        return self.world.clock.now

    def conn(self) -> Conn:
        self.made.append(Conn())
        return self.made[-1]

    def by_hand(self, machine: Machine[Any]) -> Any:
        self.world.who = "an operator"
        return self.world.run(machine)

    # -- what the model says

    def release(self, pair: Pair) -> None:
        if pair.conn is not None:
            self.gone.append(pair.conn)
            pair.conn = None

    def tidy(self, pair: Pair) -> None:
        if pair.conn is not None or pair.asking:
            return
        if pair.in_a_row == 0 or (not pair.refused and self.now >= pair.again):
            self.drop(pair)
        else:
            pair.spared = 0.0

    def drop(self, pair: Pair) -> None:
        if self.pairs.get(pair.host) is pair:
            del self.pairs[pair.host]

    def sweep(self, keep: Pair) -> None:
        for pair in list(self.pairs.values()):
            moment = pair.again if pair.conn is None else pair.used
            if max(moment, pair.spared) + IDLE > self.now:
                continue
            kept = pair is keep or (pair.conn is not None and pair.by_hand)
            if kept or pair.asking:
                pair.spared = self.now if kept else self.now + 1
            else:
                self.release(pair)
                self.drop(pair)

    def notice_late(self) -> None:
        for flight in [leader.flight for leader in self.leaders]:
            if self.now < flight.since + PATIENCE or flight.late:
                continue
            pair, flight.late = flight.pair, True
            pair.late.append(flight)
            if pair.flight is flight:
                pair.flight = None
                if pair.conn is None:
                    pair.refused, pair.said = True, False
                pair.back_off(self.now)

    def fault(self, pair: Pair) -> str | None:
        return "closed" if pair.conn.closed else "idle" if self.now - pair.used > IDLE else None

    def decide(self, seeker: Seeker) -> Any:
        """A connection, the type of an error, or a flight to wait for."""
        if self.closed:
            return OurConnectionError
        self.notice_late()
        pair = self.pairs.setdefault(seeker.host, Pair(seeker.host))
        self.sweep(pair)
        fault = None if pair.conn is None else self.fault(pair)
        if seeker.host in self.isolated:
            return HostIsolatedError
        keeps = pair.conn is not None and pair.by_hand and fault != "closed"
        if pair.conn is not None and (fault is None or (keeps and pair.flight is not None)):
            pair.used = self.now
            return pair.conn
        if pair.flight is not None:
            return pair.flight
        full = len(pair.late) >= 3
        if full or (self.now < pair.again and pair.refused):
            if pair.conn is not None and fault == "closed":
                self.release(pair)
            if pair.conn is not None:
                pair.used = self.now
                return pair.conn
            waited_for = [flight for flight in pair.late if not flight.dismissed]
            return waited_for[-1] if waited_for and seeker.seconds > PATIENCE else OurConnectionError
        if fault is not None and not pair.refused:
            pair.in_a_row = 0
        if not keeps:
            self.release(pair)
        pair.flight = Flight(pair, self.now, self.hooks)
        return pair.flight

    def hold(self, pair: Pair, conn: Any, but: Flight | None = None, *, by_hand: bool = False) -> None:
        """The pair has this one now; other flights no longer decide for it."""
        for flight in [*pair.late, *([pair.flight] if pair.flight not in (None, but) else [])]:
            flight.dismissed = True
        if pair.flight is not but:
            pair.flight = None
        pair.conn, pair.used, pair.refused, pair.spared = conn, self.now, False, 0.0
        pair.by_hand = by_hand
        self.pairs[pair.host] = pair

    def settle(self, leader: Leader) -> None:
        """The hooks have answered."""
        flight, says = leader.flight, leader.says
        pair, gave, failed = flight.pair, isinstance(says, Conn), isinstance(says, Exception)
        flight.over = True
        flight.error = None if gave else OurConnectionError
        flight.conn = says if gave else None
        if self.closed:
            flight.error = OurConnectionError
            self.gone += [says] if gave else []
        elif pair.flight is flight:
            if gave:
                self.release(pair)
                self.hold(pair, says, flight)
            elif pair.conn is not None:
                flight.error, flight.conn, pair.used = None, pair.conn, self.now
            else:
                pair.refused = pair.said = failed
            if gave or failed or pair.conn is not None:
                pair.back_off(self.now)
            if flight.hooks != self.hooks:
                pair.end_back_off()
            self.sweep(pair)
        else:
            self.settle_late(flight, says if gave else None)
        if pair.flight is flight:
            pair.flight = None
        if flight in pair.late:
            pair.late.remove(flight)
        if flight.error is None and pair.host in self.isolated:
            flight.error = HostIsolatedError
        self.tidy(pair)

    def settle_late(self, flight: Flight, gave: Any) -> None:
        pair = self.pairs.get(flight.pair.host, flight.pair)
        if pair.conn is not None:
            self.gone += [gave] if gave is not None else []
            flight.conn, flight.error = pair.conn, None
        elif gave is None:
            flight.pair.said = True
        elif pair.flight is not None and not flight.late:
            self.gone.append(gave)
            flight.dismissed = True
        else:
            self.hold(pair, gave, flight)

    def outcome(self, seeker: Seeker) -> Any:
        """What a caller comes to as of now; the flight that it waits for where it goes on waiting."""
        for _ in range(10):
            flight = seeker.waits_for
            if flight is None:
                decided = self.decide(seeker)
                if not isinstance(decided, Flight):
                    self.tidy_of(seeker)
                    return decided
                seeker.waits_for = flight = decided
            if not (flight.over or flight.dismissed):
                if not flight.late and self.now >= flight.since + PATIENCE:
                    self.notice_late()
                if self.now < seeker.since + seeker.seconds:
                    return flight
                self.tidy_of(seeker)
                pair = self.pairs.get(seeker.host)
                good = pair is not None and pair.conn is not None
                good = good and (self.fault(pair) is None or (pair.by_hand and self.fault(pair) != "closed"))
                good = good and seeker.host not in self.isolated
                return pair.conn if pair is not None and good else DeadlineExceeded
            self.tidy_of(seeker)
            seeker.waits_for = None
            if not flight.dismissed:
                return flight.error or flight.conn
        raise AssertionError("a caller asks again and again")

    def tidy_of(self, seeker: Seeker) -> None:
        if (pair := self.pairs.get(seeker.host)) is not None:
            self.tidy(pair)

    # -- the same in the world

    def run(self, seeker: Seeker) -> bool:
        """Have a caller go on until it waits; whether that is over. It must come to what the model says."""
        caller, waited = seeker.caller, False
        expected, steps = self.outcome(seeker), 0
        while not caller.over and not (waited and caller.waits and not caller.asked.flight.done.is_set()):
            caller.step()
            steps += 1
            assert steps < 200, "a caller asks again and again"
            waited |= caller.waits
            self.new_leaders(seeker)
        if not caller.over:
            assert isinstance(expected, Flight), expected
            return False
        found = caller.result
        if isinstance(expected, type):
            assert type(found.error) is expected, (found, expected)
        else:
            assert found.error is None, found.error
            assert found.conn is expected
        return True

    def new_leaders(self, seeker: Seeker) -> None:
        while self.world.jobs:
            job = self.world.jobs.pop()
            assert seeker.waits_for is not None
            self.number += 1
            self.world.who = name = f"leader {self.number}"
            assert ending.begin(self.lookup, job.flight)
            leader = Leader(Caller(self.world, name, carry_out(self.lookup, job)), job, seeker.waits_for)
            while not isinstance(leader.task.asked, AskHook):
                leader.task.step()
            self.leaders.append(leader)

    def all_go_on(self) -> None:
        """Each caller in its turn, until none has anything to do."""
        self.seekers = [seeker for seeker in self.seekers if not self.run(seeker)]

    # -- rules

    @rule(host=st.sampled_from(HOSTS), seconds=SECONDS)
    def a_caller_finds(self, host: str, seconds: float) -> None:
        self.number += 1
        found, key = at_hand(self.lookup, host, None)
        pair = self.pairs.get(host)
        if found is not EMPTY:
            assert pair is not None
            assert (found, self.fault(pair)) == (pair.conn, None)
            assert host not in self.isolated
            pair.used = self.now
            return
        asked = asked_for(host, None, key)
        # What has no bound is asked for in the caller's own thread, which is the driver's business.
        machine = find(self.lookup, asked, Waiter(min(seconds, 1e9), nested=False))
        seeker = Seeker(Caller(self.world, f"caller {self.number}", machine), host, self.now, min(seconds, 1e9))
        if not self.run(seeker):
            self.seekers.append(seeker)

    @precondition(lambda self: any(isinstance(leader.task.asked, AskHook) for leader in self.leaders))
    @rule(data=st.data(), says=SAYS)
    def a_hook_answers(self, data: st.DataObject, says: str) -> None:
        asked = [leader for leader in self.leaders if isinstance(leader.task.asked, AskHook)]
        leader = data.draw(st.sampled_from(asked))
        leader.says = {"gives": Conn, "fails": lambda: OSError("down"), "nothing": lambda: None}.get(says, Conn)()
        if isinstance(leader.says, Conn):
            self.made.append(leader.says)

        def say() -> Any:
            if isinstance(leader.says, Exception):
                raise leader.says
            return leader.says

        self.world.say = say
        self.asked += 1
        while not leader.task.over and not isinstance(leader.task.asked, Adopt):
            leader.task.step()
        if leader.task.over:  # there is nothing to be held
            self.settled(leader)
        elif says != "gives":
            leader.says.closed = True  # by its user, before it is held

    @precondition(lambda self: any(isinstance(leader.task.asked, Adopt) for leader in self.leaders))
    @rule(data=st.data())
    def what_a_hook_gave_is_held(self, data: st.DataObject) -> None:
        leader = data.draw(st.sampled_from([one for one in self.leaders if isinstance(one.task.asked, Adopt)]))
        while not leader.task.over:
            leader.task.step()
        self.settled(leader)

    def settled(self, leader: Leader) -> None:
        self.leaders.remove(leader)
        self.settle(leader)
        self.world.end(leader.job, leader.task.result)
        self.all_go_on()

    @precondition(lambda self: not self.closed)
    @rule(host=st.sampled_from(HOSTS))
    def a_connection_is_added(self, host: str) -> None:
        conn = self.conn()
        self.by_hand(change.add(self.lookup, Asked(host, None), conn))
        pair = self.pairs.setdefault(host, Pair(host))
        self.release(pair)
        pair.end_back_off()
        self.hold(pair, conn, by_hand=True)
        self.sweep(pair)
        self.all_go_on()

    @rule(
        host=st.sampled_from(HOSTS),
        what=st.sampled_from(["evict", "forget", "reset", "isolate", "restore", "restore", "new hooks"]),
    )
    def an_operator_does_something(self, host: str, what: str) -> None:
        pair = self.pairs.get(host)
        match what:
            case "evict":
                self.evict(host, pair)
            case "forget":
                self.forget(host, pair)
            case "reset":
                self.by_hand(change.reset(self.lookup))
                self.drop_all()
            case "isolate":
                self.by_hand(change.isolate_host(self.lookup, *host_key(host), Isolation(), None))
                self.isolated.add(host)
            case "restore":
                self.by_hand(change.restore(self.lookup, *host_key(host), None))
                self.isolated.discard(host)
            case "new hooks":
                change.set_hooks(self.lookup, (SimpleNamespace(),))
                self.hooks += 1
                for each in list(self.pairs.values()):
                    each.end_back_off()
                    self.tidy(each)
        self.all_go_on()

    def evict(self, host: str, pair: Pair | None) -> None:
        there = pair is not None and pair.conn is not None
        assert self.by_hand(change.evict(self.lookup, *host_key(host), None)) == there
        if pair is not None:
            self.release(pair)
            pair.end_back_off()
            self.tidy(pair)

    def forget(self, host: str, pair: Pair | None) -> None:
        self.by_hand(change.forget(self.lookup, *host_key(host), None))
        if pair is not None:
            self.release(pair)
            pair.flight = None
            pair.end_back_off()
            self.drop(pair)

    def drop_all(self) -> None:
        for pair in list(self.pairs.values()):
            self.release(pair)
            if not pair.asking:
                self.drop(pair)

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def a_connection_is_closed_by_its_user(self, data: st.DataObject) -> None:
        self.pairs[data.draw(st.sampled_from(self.holding()))].conn.closed = True

    def holding(self) -> list[str]:
        return [host for host, pair in self.pairs.items() if pair.conn is not None]

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 31.0, 31.0, 31.0, 101.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.all_go_on()

    @precondition(lambda self: not self.closed and self.number > 30)
    @rule()
    def it_is_closed(self) -> None:
        self.by_hand(change.close(self.lookup))
        self.closed = True
        for leader in self.leaders:
            leader.flight.dismissed = True
        self.drop_all()
        self.all_go_on()

    # -- what holds at any time

    @invariant()
    def world_and_model_agree(self) -> None:
        if not hasattr(self, "world"):
            return
        table = self.lookup.table
        held = {slot.name: conn for slot, conn in table.held()}
        assert held == {host: self.pairs[host].conn for host in self.holding()}
        assert {slot.name for slot in table.slots()} == set(self.pairs)
        assert sorted(map(id, self.world.released)) == sorted(map(id, self.gone)), "each is released once"
        asked = [leader.says for leader in self.leaders if leader.says is not None]
        known = [*held.values(), *self.gone, *asked]
        assert sorted(map(id, known)) == sorted(map(id, self.made)), "none is lost"
        assert {seeker.caller.name for seeker in self.seekers} == set(self.lookup.flights.waiting)
        assert len(self.lookup.flights.at_work()) == len(self.leaders)
        assert self.world.asked == self.asked
        for slot in table.slots():
            pair = self.pairs[slot.name]
            assert (slot.flight is not None, len(slot.late)) == (pair.flight is not None, len(pair.late))
            assert (slot.refusal is not None, slot.again_at, slot.flights) == (pair.refused, pair.again, pair.in_a_row)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        if not self.closed:
            self.it_is_closed()
        assert self.seekers == []
        for leader in list(self.leaders):
            if isinstance(leader.task.asked, AskHook):
                self.world.say, leader.says = self.conn, None
                self.asked += 1
            while not leader.task.over:
                leader.task.step()
            self.world.end(leader.job, leader.task.result)
        assert sorted(map(id, self.world.released)) == sorted(map(id, self.made))
        assert len(self.lookup.table) == 0
        assert self.lookup.flights.at_work() == []


LookupMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
TestLookup = LookupMachine.TestCase


def test_a_find_whose_time_is_over_gets_no_connection_of_a_host_that_was_isolated_meanwhile() -> None:
    """A connection that was added by hand stays whatever is wrong with it, but not for an isolated host."""
    state, host = LookupMachine(), "https://a.test"
    state.start()
    state.a_connection_is_added(host=host)
    state.a_connection_is_closed_by_its_user(data=SimpleNamespace(draw=lambda _: host))
    state.a_caller_finds(host=host, seconds=2.0)
    state.an_operator_does_something(host=host, what="forget")
    state.a_connection_is_added(host=host)
    state.an_operator_does_something(host=host, what="isolate")
    state.a_connection_is_added(host=host)
    state.time_passes(seconds=3.0)
    state.teardown()
