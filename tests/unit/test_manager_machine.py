"""A manager does what a small model of the contract says, whatever happens in whatever order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from requests.auth import HTTPBasicAuth

from sleepwalker import ANONYMOUS, Connection, HostIsolatedError, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.lookup.keys import Asked
from tests.ranges import some
from tests.unit.engine_driver import answer, refused
from tests.unit.manager_driver import A, B, Bed, Hook, Thing

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

#: Each host in the words that it may be asked for with.
WORDS = {
    A: [A, A + "/", "HTTPS://A.test:443"],
    B: [B, "https://b.TEST"],
    "orders": ["orders", "Orders/"],
}
#: Each set of credentials in the objects that it may come as; the last cannot be hashed.
AUTHS: dict[str, list[Any]] = {"none": [None], "basic": [("u", "p"), HTTPBasicAuth("u", "p")], "dict": [{"t": 1}]}
REPLICA = "https://replica.test"
TARGETS = [A, B, REPLICA]

IDLE, AGE, FIRST, LAST, OPEN = 100.0, 400.0, 1.0, 8.0, 5.0
TIMES = st.sampled_from([0.01, 0.5, 1.0, 2.0, 4.0, 8.0, 30.0, 101.0])

Key = tuple[str, str]


@dataclass
class Server:
    """A host, as its calls know it."""

    unreached: int = 0
    consecutive: int = 0
    opened: float | None = None
    """When its circuit opened, None while that is closed."""
    good_probes: int = 0
    last_success: float = -1.0
    isolated: bool = False
    unled: float | None = None
    """Since when it has been broken, and nothing has led to it."""

    def rejects(self, now: float) -> bool:
        return self.opened is not None and now < self.opened + OPEN

    def broken(self, now: float) -> str | None:
        return "connect" if self.unreached >= 3 else "breaker" if self.rejects(now) else None

    @property
    def troubled(self) -> bool:
        return self.unreached >= 3 or self.opened is not None

    def success(self, now: float) -> None:
        self.unreached = self.consecutive = 0
        self.last_success = now
        if self.opened is not None:
            self.good_probes += 1
            if self.good_probes == 2:
                self.opened = None

    def failure(self, now: float, *, reached: bool) -> None:
        self.consecutive += 1
        self.unreached = self.unreached if self.unreached >= 3 else 0 if reached else self.unreached + 1
        if self.opened is not None or self.consecutive >= 5:
            self.opened, self.good_probes = now, 0


@dataclass
class Held:
    """A pair, as the contract speaks of it."""

    host: str
    conn: Any = None
    by_hand: bool = False
    """It was added by hand, so it stays until a hook gives another one."""
    target: str | None = None
    home: str | None = None
    stands_in: bool = False
    unauthorized: bool = False
    accepted: bool = False
    made: float = 0.0
    used: float = 0.0
    last_round: float = 0.0
    in_a_row: int = 0
    next_round: float = 0.0
    refused: bool = False
    """Whether the last round gave nothing."""
    down_then: bool = False


@dataclass
class Model:
    now: float
    pairs: dict[Key, Held] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=lambda: {name: Server() for name in [*TARGETS, "orders"]})
    hooks: list[str] = field(default_factory=list)
    """What each hook does."""
    isolations: dict[str, set[str]] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    """When each of these ends by itself, if it does."""

    def isolated(self, host: str, pair: Held | None) -> bool:
        names = [host, *((pair.home, pair.target) if pair else ())]
        return any(name is not None and self.servers[name].isolated for name in names)

    def blocked(self, host: str, pair: Held) -> bool:
        """Whether the pair may not be found: also over an isolated stand-in, until the hooks may be asked again."""
        if not self.isolated(host, pair):
            return False
        others = any(name is not None and self.servers[name].isolated for name in (host, pair.home))
        return others or not pair.stands_in or pair.conn is None or self.now < pair.next_round

    def fault(self, pair: Held) -> str | None:
        server = self.servers[pair.target or pair.host]
        if pair.unauthorized:
            return "unauthorized"
        if pair.conn.closed:
            return "closed"
        if server.isolated:
            return "isolated"
        if broken := server.broken(self.now):
            return broken
        if self.now - pair.used > IDLE:
            return "idle"
        if self.now - pair.made > AGE:
            return "age"
        if pair.stands_in and pair.home is not None and self.now >= pair.next_round:
            home = self.servers[pair.home]
            return None if home.broken(self.now) == "breaker" else "failback"
        return None

    def down(self, pair: Held) -> bool:
        return any(name is not None and self.servers[name].troubled for name in (pair.home, pair.target))

    def well(self, pair: Held) -> bool:
        """Whether the host answered since the last round, and took the credentials."""
        if pair.unauthorized and not pair.accepted:
            return False
        name = pair.home if pair.stands_in or pair.target is None else pair.target
        return name is not None and self.servers[name].last_success > pair.last_round

    def too_early(self, pair: Held, fault: str | None) -> bool:
        if self.now >= pair.next_round:
            return False
        if pair.refused:
            return not (pair.down_then and self.well(pair))
        return not self.well(pair) and (fault == "unauthorized" or self.down(pair))

    def end_back_offs(self) -> None:
        for pair in self.pairs.values():
            end_back_off(pair)


def end_back_off(pair: Held) -> None:
    pair.in_a_row, pair.next_round, pair.refused = 0, 0.0, False


class ManagerMachine(RuleBasedStateMachine):
    """One manager with up to three hooks, three hosts and three sets of credentials."""

    @initialize(most=st.sampled_from([2, 1000]))
    def start(self, most: int) -> None:
        policy = Policy(
            health={"window": 0.1, "idle": IDLE, "max_age": AGE, "rehook_initial": FIRST, "rehook_max": LAST},
            breaker={"open_for": OPEN, "open_max": OPEN, "ramp": 0, "min_calls": 1_000_000, "consecutive_for": 0},
        )
        self.most = most
        self.bed = Bed(hooked=False, policy=policy, max_connections=most)
        self.manager = self.bed.manager
        self.model = Model(self.bed.clock.now)
        # Kept, since records of unused hosts go when the garbage collector runs.
        self.records = [self.manager.hosts.host(name) for name in self.model.servers]
        self.hooks: list[Hook] = []
        self.gone: list[Any] = []
        """Connections that were given up."""
        self.asked: Key | None = None
        """The pair that was last asked for or added."""
        self.ends: dict[Key, float] = {}
        """When each pair had its last round; absent where something ended its back-off since."""

    # -- what the hooks make

    def make(self, does: str, host: str) -> Any:
        if does in ("fail", "bug"):
            raise OSError("down") if does == "fail" else LookupError("a bug")
        if does == "unknown":
            return None
        if does == "thing":
            return ClosableThing()
        target = REPLICA if does == "replica" else A if host.lower().startswith("orders") else host
        return Connection(target, ANONYMOUS, clock=self.bed.clock)

    @precondition(lambda self: len(self.hooks) < 3)
    @rule(does=st.sampled_from(["home", "home", "replica", "thing", "fail", "unknown", "bug"]))
    def a_hook_is_added(self, does: str) -> None:
        number = len(self.hooks)
        hook = Hook(lambda host, auth: self.make(self.model.hooks[number], host))
        self.hooks.append(hook)
        self.model.hooks.append(does)
        self.manager.add_conn_hook(hook)
        self.model.end_back_offs()
        self.ends.clear()

    @precondition(lambda self: self.hooks)
    @rule(
        data=st.data(), does=st.sampled_from(["home", "home", "replica", "replica", "thing", "fail", "unknown", "bug"])
    )
    def a_hook_changes_its_mind(self, data: st.DataObject, does: str) -> None:
        self.model.hooks[data.draw(st.integers(0, len(self.hooks) - 1))] = does

    @precondition(lambda self: self.hooks)
    @rule()
    def hooks_are_cleared(self) -> None:
        self.manager.clear_hooks()
        self.hooks.clear()
        self.model.hooks.clear()
        self.model.end_back_offs()
        self.ends.clear()

    # -- what is asked of the manager

    def words(self, data: st.DataObject, key: Key) -> tuple[str, Any]:
        return data.draw(st.sampled_from(WORDS[key[0]])), data.draw(st.sampled_from(AUTHS[key[1]]))

    @rule(data=st.data(), host=st.sampled_from([A, A, B, "orders"]), auth=st.sampled_from([*AUTHS]))
    def a_host_is_looked_for(self, data: st.DataObject, host: str, auth: str) -> None:
        key = (host, auth)
        model, now = self.model, self.model.now
        calls = [len(hook.asked) for hook in self.hooks]
        asked_for = self.words(data, key)
        pair = model.pairs.get(key) or Held(host, home=None if host == "orders" else host)
        isolated = model.blocked(host, pair)
        fault = model.fault(pair) if pair.conn is not None else None
        too_early = model.too_early(pair, fault)
        found = raised = None
        if pair.home is not None:
            model.servers[pair.home].unled = None  # for as long as that takes it is led to
        try:
            found = self.manager.find(*asked_for)
        except (OurConnectionError, LookupError) as error:
            raised = error
        calls = [len(hook.asked) - before for hook, before in zip(self.hooks, calls, strict=True)]
        self.asked = key
        if isolated:
            assert isinstance(raised, HostIsolatedError)
            assert sum(calls) == 0
            return
        if pair.conn is not None and fault is None:
            assert found is pair.conn
            assert sum(calls) == 0
            pair.used = now
        elif too_early:
            assert sum(calls) == 0
            if pair.conn is not None and pair.conn.closed:
                self.give_up(pair)
                pair.refused = pair.refused or fault == "unauthorized"
            if pair.conn is not None:
                assert found is pair.conn
                pair.used = now
            else:
                assert type(raised) is OurConnectionError
                assert raised.retry_after == pair.next_round - now
            model.pairs[key] = pair
        else:
            self.a_round(key, pair, fault, found, raised, calls)
            for hook, made in zip(self.hooks, calls, strict=True):
                assert all(asked == asked_for for asked in hook.asked[len(hook.asked) - made :])
        if found is not None:
            assert not found.closed, "no closed connection is ever returned"

    def a_round(self, key: Key, pair: Held, fault: str | None, found: Any, raised: Any, calls: list[int]) -> None:
        """The hooks were asked: what came of it, and when they may be asked again."""
        model, now = self.model, self.model.now
        self.check_spacing(key, pair)
        over = (
            (pair.down_then and model.well(pair))
            if pair.refused
            else model.well(pair) or (fault in ("idle", "age", "closed") and not model.down(pair))
        )
        if over:
            pair.in_a_row = 0
        keeps = fault == "failback" or (pair.by_hand and fault is not None and fault != "closed")
        down = fault in ("breaker", "connect") and not keeps
        if down and isinstance(pair.conn, Connection) and pair.target == pair.home:
            pair.stands_in = True
        stand_in = pair.conn if keeps else None
        if stand_in is None and pair.conn is not None:
            self.give_up(pair)
        # Who is asked, and what they say.
        outcome, failed = "nothing", False
        expected = []
        for does in model.hooks:
            expected.append(1)
            if does in ("home", "replica", "thing", "bug"):
                outcome = does
                break
            failed |= does == "fail"
        assert calls == expected + [0] * (len(model.hooks) - len(expected))
        if outcome in ("home", "replica", "thing"):
            if stand_in is not None:
                self.give_up(pair)
            self.hold(pair, self.held_now(key), preferred=not failed)
            if model.isolated(key[0], pair):
                assert isinstance(raised, HostIsolatedError)
            else:
                assert (found, raised) == (pair.conn, None)
            self.back_off(key, pair)
        elif outcome == "bug":
            assert isinstance(raised, LookupError)
            if stand_in is not None:
                self.back_off(key, pair)
        elif stand_in is not None:
            assert found is stand_in
            if pair.by_hand:
                pair.made = pair.used = now
            self.back_off(key, pair)
        else:
            assert type(raised) is OurConnectionError
            pair.refused = failed
            if failed:
                self.back_off(key, pair)
                assert raised.retry_after == pair.next_round - now
            else:
                assert raised.retry_after is None
        known = pair.stands_in or (pair.in_a_row > 0 and (pair.refused or now < pair.next_round))
        if pair.conn is not None or known:
            model.pairs[key] = pair
        else:
            model.pairs.pop(key, None)

    def held_now(self, key: Key) -> Any:
        """What the manager holds for the pair, which is not found where its host is isolated."""
        seen = self.manager._lookup.table.look(Asked(key[0], AUTHS[key[1]][0]))
        assert seen.slot is not None
        return seen.conn

    def check_spacing(self, key: Key, pair: Held) -> None:
        """Apart from the model's own arithmetic: rounds over a broken host, or after one that failed, are spaced."""
        if key in self.ends and (pair.refused or self.model.down(pair)) and not self.model.well(pair):
            assert self.model.now - self.ends[key] >= FIRST

    def back_off(self, key: Key, pair: Held) -> None:
        pair.next_round = self.model.now + min(FIRST * 2**pair.in_a_row, LAST)
        pair.in_a_row += 1
        pair.last_round = self.model.now
        pair.down_then = self.model.down(pair)
        self.ends[key] = self.model.now

    def hold(self, pair: Held, conn: Any, *, preferred: bool = True, by_hand: bool = False) -> None:
        """`preferred` is whether no hook had trouble that could have named another place."""
        pair.conn, pair.by_hand = conn, by_hand
        pair.target = conn.origin.text if isinstance(conn, Connection) else pair.home or pair.host
        if pair.home is None or (pair.host == "orders" and preferred):
            pair.home, pair.stands_in = pair.target, False
        elif pair.target == pair.home:
            pair.stands_in = False
        elif self.model.servers[pair.home].troubled:
            pair.stands_in = True
        pair.made = pair.used = self.model.now
        pair.unauthorized = pair.accepted = pair.refused = False

    def give_up(self, pair: Held) -> None:
        self.gone.append(pair.conn)
        pair.conn = pair.target = None
        pair.unauthorized = pair.accepted = False

    # -- what else is done to it

    @rule(data=st.data(), host=st.sampled_from([A, "orders"]), auth=st.sampled_from([*AUTHS]), ours=st.booleans())
    def a_connection_is_added(self, data: st.DataObject, host: str, auth: str, ours: bool) -> None:
        key = (host, auth)
        conn = self.make("home" if ours else "thing", host)
        self.manager.add(*self.words(data, key), conn)
        pair = self.model.pairs.setdefault(key, Held(host, home=None if host == "orders" else host))
        if pair.conn is not None:
            self.give_up(pair)
        end_back_off(pair)
        pair.stands_in = False
        self.hold(pair, conn, by_hand=True)
        self.asked = key
        self.ends.pop(key, None)
        if host in self.model.isolations:
            self.isolate(host)

    @precondition(lambda self: self.model.pairs)
    @rule(data=st.data(), whole=st.booleans())
    def a_pair_or_a_host_is_evicted(self, data: st.DataObject, whole: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.pairs)))
        host, auth = self.words(data, key)
        keys = [other for other in self.model.pairs if other[0] == key[0]] if whole else [key]
        count = sum(self.model.pairs[one].conn is not None for one in keys)
        assert (self.manager.evict(host) if whole else self.manager.evict(host, auth)) == count
        self.forget(keys)

    @rule()
    def everything_is_reset(self) -> None:
        self.manager.reset()
        self.forget(list(self.model.pairs))

    def forget(self, keys: list[Key]) -> None:
        for key in keys:
            pair = self.model.pairs.pop(key)
            if pair.conn is not None:
                self.give_up(pair)
            self.ends.pop(key, None)

    @rule(data=st.data(), host=st.sampled_from([A, "orders"]))
    def a_host_is_forgotten(self, data: st.DataObject, host: str) -> None:
        self.manager.forget(data.draw(st.sampled_from(WORDS[host])))
        pairs, records = self.model.pairs, {host}
        if host == "orders":
            led = [{name for name in (pair.home, pair.target) if name} for pair in pairs.values()]
            mine = [names for key, names in zip(pairs, led, strict=True) if key[0] == host]
            others = [names for key, names in zip(pairs, led, strict=True) if key[0] != host]
            records = records.union(*mine).difference(*others)
        self.forget([key for key, pair in pairs.items() if key[0] == host or pair.target in records])
        for pair in pairs.values():
            if pair.home in records:
                pair.home, pair.stands_in = pair.target, False
                end_back_off(pair)
        for name in records:
            if not self.model.servers[name].isolated:
                self.model.servers[name] = Server()
                self.records.append(self.manager.hosts.host(name))

    @rule(data=st.data(), host=st.sampled_from([*WORDS]), until=st.sampled_from([None, None, 1.0, 30.0]))
    def a_host_is_isolated(self, data: st.DataObject, host: str, until: float | None) -> None:
        self.manager.isolate(data.draw(st.sampled_from(WORDS[host])), until=until)
        self.model.ends[host] = math.inf if until is None else self.model.now + until
        self.isolate(host)

    def isolations_end(self) -> None:
        model = self.model
        over = [host for host in model.isolations if model.ends[host] <= model.now]
        names = set[str]().union(*(model.isolations.pop(host) for host in over))
        for name in names.difference(*model.isolations.values()):
            model.servers[name].isolated = False

    @rule(data=st.data(), host=st.sampled_from([*WORDS, REPLICA]))
    def a_circuit_is_reset(self, data: st.DataObject, host: str) -> None:
        self.manager.reset_circuit(data.draw(st.sampled_from(WORDS.get(host, [host]))))
        model = self.model
        records = {host}
        for key, pair in model.pairs.items():
            if key[0] == host:
                records |= {pair.home, *(() if pair.stands_in and host != "orders" else (pair.target,))} - {None}
        for key, pair in model.pairs.items():
            if key[0] == host or records & {pair.home, pair.target}:
                end_back_off(pair)
                self.ends.pop(key, None)
        for name in records:
            server = model.servers[name]
            server.unreached, server.consecutive, server.opened, server.good_probes = 0, 0, None, 0

    def isolate(self, host: str) -> None:
        model = self.model
        behind = {
            pair.target
            for key, pair in model.pairs.items()
            if key[0] == host and pair.target and (host == "orders" or not pair.stands_in)
        }
        model.isolations.setdefault(host, set()).update({host, *behind})
        for name in model.isolations[host]:
            model.servers[name].isolated = True

    @precondition(lambda self: self.model.isolations)
    @rule(data=st.data(), host=st.sampled_from([*WORDS, REPLICA]))
    def a_host_is_restored(self, data: st.DataObject, host: str) -> None:
        self.manager.restore(data.draw(st.sampled_from(WORDS.get(host, [host]))))
        isolations = self.model.isolations
        back = isolations.pop(host, set())
        for others in isolations.values():
            if host in others:
                others.remove(host)
                back.add(host)
        for name in back.difference(*isolations.values()):
            self.model.servers[name].isolated = False

    # -- what happens to hosts and connections

    @rule(seconds=TIMES)
    def time_passes(self, seconds: float) -> None:
        self.bed.clock.advance(seconds)
        self.model.now = self.bed.clock.now
        self.isolations_end()

    def holding(self, kind: type = object) -> list[Key]:
        """The pairs that have such a connection."""
        return [key for key, pair in self.model.pairs.items() if pair.conn is not None and isinstance(pair.conn, kind)]

    @rule(
        name=st.sampled_from([A, A, B, REPLICA, "orders"]),
        how=st.sampled_from(["answers", "cannot be reached", "cannot be reached", "fails"]),
    )
    def a_host_is_called(self, name: str, how: str) -> None:
        server, now = self.model.servers[name], self.model.now
        for _ in range({"answers": 1, "cannot be reached": 3, "fails": 5}[how]):
            if server.rejects(now):
                return
            outcome = {"answers": answer(200), "cannot be reached": refused(), "fails": answer(500)}[how]
            self.bed.settle(name, outcome)
            if how == "answers":
                server.success(now)
            else:
                server.failure(now, reached=how == "fails")

    @precondition(lambda self: self.holding(Connection))
    @rule(data=st.data(), unauthorized=st.booleans())
    def a_connection_gets_an_answer(self, data: st.DataObject, unauthorized: bool) -> None:
        pair = self.model.pairs[data.draw(st.sampled_from(self.holding(Connection)))]
        assert pair.target is not None
        server = self.model.servers[pair.target]
        if server.rejects(self.model.now):
            return
        if unauthorized:
            pair.unauthorized = pair.conn.usage.unauthorized = True
        else:
            pair.accepted = pair.conn.usage.accepted = True
        self.bed.answers(pair.target)
        server.success(self.model.now)

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def a_connection_is_closed_by_its_holder(self, data: st.DataObject) -> None:
        self.model.pairs[data.draw(st.sampled_from(self.holding()))].conn.close()

    # -- what holds at any time

    def table(self) -> dict[Key, Any]:
        """The manager's own pairs."""
        kinds = {"NoneType": "none", "HTTPBasicAuth": "basic", "dict": "dict"}
        pairs = self.manager._lookup.table.slots()
        return {(pair.name, kinds[repr(pair.key).split()[-1][:-1]]): pair for pair in pairs}

    def may_be_forgotten(self, key: Key, table: dict[Key, Any]) -> bool:
        """Unused for long, or where there are too many the least recently used; never during a back-off."""
        now, pair = self.model.now, self.model.pairs[key]
        stamp = pair.next_round if pair.conn is None else pair.used
        if pair.conn is None and now < pair.next_round:
            return False
        if now - stamp >= IDLE and not (pair.conn is not None and pair.by_hand):
            return True
        alike = {name: one for name, one in self.model.pairs.items() if (one.conn is None) == (pair.conn is None)}
        left = [one for name, one in alike.items() if name in table and name != self.asked]
        # One that was added by hand is spared where others expire, and has its place among those in use from then on.
        left = [one for one in left if not (one.by_hand and now - one.used >= IDLE)]
        # The one looked for counts, also where nothing is worth remembering of it.
        return len(alike) >= self.most and (pair.conn is None or all(stamp <= one.used for one in left))

    @invariant()
    def model_and_manager_agree(self) -> None:
        if hasattr(self, "model"):
            self.the_manager_holds_what_the_model_holds()
            assert all(is_given_up(conn) for conn in self.gone), "what was given up keeps no sockets"
            self.tables_are_bounded()
            self.broken_hosts_that_nothing_leads_to_are_forgotten()
            self.records_are_the_hosts_and_shared()

    def the_manager_holds_what_the_model_holds(self) -> None:
        table, model = self.table(), self.model
        missing = [key for key in model.pairs if key not in table]
        assert all(self.may_be_forgotten(key, table) for key in missing)
        self.forget(missing)
        assert set(table) == set(model.pairs), (set(table), set(model.pairs))
        held = {key: pair.conn for key, pair in model.pairs.items() if pair.conn is not None}
        assert {id(conn) for conn in self.manager.conns.values()} == {id(conn) for conn in held.values()}
        assert len(self.manager) == len(self.manager.conns) == len(held) == len(list(self.manager))
        assert self.manager

    def tables_are_bounded(self) -> None:
        registry = self.manager._lookup.table
        assert len(self.manager) <= self.most
        assert len(self.manager._lookup.fast) <= 2 * self.most + 1
        assert len(self.manager.hosts.kept._latest) <= max(self.most, 4)
        assert max(map(len, registry._expiry._queues)) <= 2 * len(WORDS) * len(AUTHS) + 17
        assert self.manager._lookup.flights.waiting == {}
        assert all(pair.flight is None for pair in registry.slots())

    def broken_hosts_that_nothing_leads_to_are_forgotten(self) -> None:
        health, now = self.manager.health(), self.model.now
        led = {name for pair in self.model.pairs.values() for name in (pair.home, pair.target)}
        for name, server in self.model.servers.items():
            if name in led or not server.troubled or server.isolated:
                server.unled = None
            elif server.unled is None:
                server.unled = now
            over = server.unled is not None and now - server.unled >= LAST and not server.rejects(now)
            assert (name not in health) == over
            if over:
                self.model.servers[name] = Server()
                self.records.append(self.manager.hosts.host(name))

    def records_are_the_hosts_and_shared(self) -> None:
        health, now = self.manager.health(), self.model.now
        for name, server in self.model.servers.items():
            targets = [pair.target for pair in self.model.pairs.values() if pair.conn is not None]
            assert health[name].connections == targets.count(name)
            assert (health[name].state == "isolated") == server.isolated
            assert (health[name].state == "broken") == (server.broken(now) is not None and not server.isolated)
        for pair in self.model.pairs.values():
            if isinstance(pair.conn, Connection) and not pair.conn.closed:
                assert pair.target is not None
                assert pair.conn._record is self.bed.record(pair.target)

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        conns = list(self.manager.conns.values())
        self.manager.close()
        assert all(conn.closed for conn in conns)
        assert len(self.manager) == 0
        with pytest.raises(OurConnectionError, match="closed"):
            self.manager.find(A)


def is_given_up(conn: Any) -> bool:
    return conn.retired if isinstance(conn, Connection) else conn.closed


class ClosableThing(Thing):
    closed = False

    def close(self) -> None:
        super().close()
        self.closed = True


ManagerMachine.TestCase.settings = settings(max_examples=some(25, 80), stateful_step_count=40, deadline=None)
TestManager = ManagerMachine.TestCase
