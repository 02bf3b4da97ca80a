"""The state of one <host, auth>: its connection, and when the hooks may be called again."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import Any, Literal, Protocol

from sleepwalker.engine import Host
from sleepwalker.hosts.members import Lead
from sleepwalker.lookup.foreign import EMPTY, Own, Usage
from sleepwalker.lookup.keys import Asked, AuthKey
from sleepwalker.policy import HealthPolicy

#: Why a connection is not used any more. `idle` and `age` retire a good one.
Fault = Literal["age", "breaker", "closed", "connect", "failback", "fleet", "idle", "isolated", "unauthorized"]


class State(enum.Enum):
    """What `find` can expect of a slot."""

    EMPTY = "no connection, and the hooks may be asked"
    ASKING = "no connection, and the hooks are at work"
    HELD = "a connection to the host asked for"
    FAILED_OVER = "a connection to another host, for as long as the one asked for is broken"
    BACKING_OFF = "no connection, and too early to ask the hooks again"


class Signal(Protocol):
    """Wakes waiters: once set, it stays set. A driver creates them."""

    def set(self) -> None:
        """Wake all waiters, present and future."""

    def is_set(self) -> bool:
        """Whether it was set."""


class Flight:
    """One round of hooks for one slot: the leader calls the hooks, and the others wait for the result."""

    __slots__ = (
        "abandoned",
        "behalf",
        "caller",
        "dismissed",
        "done",
        "error",
        "hook",
        "hook_since",
        "late",
        "late_at",
        "leader",
        "over",
        "raised",
        "result",
        "retired",
        "since",
        "slot",
        "taken",
    )

    late_at: float
    since: float

    def __init__(self, caller: Hashable, done: Signal, behalf: Hashable) -> None:
        self.caller: Hashable = caller
        """The thread or task that looks for the slot, and has the hooks called if need be."""
        self.behalf: Hashable = behalf
        """The worker whose hook the caller works for; the caller itself if it works for none."""
        self.leader: Hashable | None = None
        """The thread or task in which the hooks are at work; None before it runs."""
        self.slot: Slot | None = None
        """The slot that the caller looks for."""
        self.since = self.late_at = 0.0
        """When it began, and from when on it is late."""
        self.late: bool = False
        """Whether it outlasted its time, and therefore does not decide for its slot any more."""
        self.hook: str = ""
        """The type of the hook that is running; empty before the first."""
        self.hook_since: float = 0.0
        self.taken: bool = False
        """Whether a worker of its own carries it out, so that its caller may leave it."""
        self.over: bool = False
        """Whether it has ended, or will not begin."""
        self.done: Signal = done
        """Set once there is nothing to wait for any more."""
        self.retired: Signal | None = None
        """Set once the connections that it replaced are retired, which may run a user's code. None without any."""
        self.dismissed: bool = False
        """Whether its slot got a connection otherwise, or the manager was closed, so that its waiters ask again."""
        self.result: Any = None
        self.error: Exception | None = None
        """What all waiters raise copies of."""
        self.raised: BaseException | None = None
        """What a hook raised, for the caller."""
        self.abandoned: bool = True
        """True until there is a result. If it is stopped before, as by Ctrl-C, its waiters ask again."""

    def dismiss(self) -> None:
        """Make its waiters ask again."""
        self.dismissed = True
        self.done.set()


class Slot:
    """The place of one <host, auth> in the table. It changes only under the owner's lock.

    `find` reads `conn` without it. Nothing here runs code of a connection or of credentials.
    """

    __slots__ = (
        "again_at",
        "auth",
        "bare",
        "by_hand",
        "conn",
        "failed_over",
        "flight",
        "flights",
        "host",
        "key",
        "late",
        "made",
        "name",
        "named",
        "own",
        "place",
        "primary",
        "probe_with",
        "queued",
        "record",
        "refusal",
        "settled",
        "usage",
        "used",
        "was_down",
    )

    by_hand: bool
    failed_over: bool
    again_at: float
    flights: int

    def __init__(self, asked: Asked) -> None:
        self.host: str = asked.host
        """As first given."""
        self.auth: Any = asked.auth
        self.key: AuthKey = asked.key
        self.place: tuple[str, int] = asked.place
        self.name: str = asked.name
        """The host for events and texts."""
        self.named: bool = asked.origin is None
        """Whether it was asked for by a name that only hooks understand, rather than by a URL."""
        self.conn: Any = EMPTY
        self.own: Own | None = None
        """The connection, if it is one of the library's own kinds."""
        self.bare: Any = EMPTY
        """The connection itself; `conn` may be a guard or a scope of it."""
        self.by_hand = False
        """Whether the connection was added by hand. Hooks may not know how to make another one."""
        self.usage: Usage | None = None
        """How the calls of a `Connection` or a guard ended."""
        self.record: Host | None = None
        """The record of the host that the connection goes to."""
        self.primary: Host | None = None
        """The record of the host asked for; for a name, of the host that hooks last returned without a failure."""
        self.failed_over = False
        """Whether the connection goes, or the next one may go, to another host while the one asked for is broken."""
        self.probe_with: Own | None = None
        """While it failed over: the last connection to the host asked for, if any, to probe it with."""
        self.flight: Flight | None = None
        """The flight that decides what the slot holds."""
        self.late: tuple[Flight, ...] = ()
        """Flights that outlasted their time, and whose hooks are still at work."""
        self.queued: int = 0
        """Which of the table's queues know it, as bits."""
        self.made: float = 0.0
        self.used: float = 0.0
        self.settled: float = 0.0
        """When the last flight that a back-off followed was over."""
        self.flights = 0
        """Flights in a row between which the host was not healthy."""
        self.again_at = 0.0
        """Until then no flight is made for a broken host, or after a flight without a connection."""
        self.refusal: str | None = None
        """Why the last flight gave no connection, if a later one may; else None. Empty if it is late."""
        self.was_down: bool = False
        """Whether the host was broken when the last flight was over."""

    def state(self, now: float) -> State:
        """What `find` may expect of it."""
        if self.ready:
            return State.FAILED_OVER if self.failed_over else State.HELD
        if self.flight is not None:
            return State.ASKING
        return State.BACKING_OFF if self.holds_off(now, None) else State.EMPTY

    def lead(self) -> Lead:
        """Where it leads, for the table of hosts."""
        return Lead(self.name, self.primary, self.record, self.failed_over)

    @property
    def ready(self) -> bool:
        """Whether it has a connection."""
        return self.conn is not EMPTY

    @property
    def asking(self) -> bool:
        """Whether hooks are running for it."""
        return self.flight is not None or bool(self.late)

    def fault(self, now: float, closed: bool) -> Fault | None:
        """What is wrong with the connection; None if nothing is. `closed` is the connection's own value."""
        usage, record = self.usage, self.record
        if record is None:  # released a moment ago by another thread
            return None
        health = record.health_policy
        if usage is not None and usage.unauthorized and health.unauthorized_evicts:
            return "unauthorized"  # first: hooks back off after a failed login, even if the connection is closed
        if closed:
            return "closed"
        if record.verdict.suspect:
            if record.isolated:
                return "isolated"
            if (broken := record.broken_by(now)) is not None:
                return broken
        if now - self.used > health.idle and now - self.last_used() > health.idle:
            return "idle"
        if health.max_age is not None and now - self.made > health.max_age:
            return "age"
        if not self.failed_over:
            return None
        if self.primary is not None and self.primary.isolated:
            return "isolated"
        if now >= self.again_at and self._primary_may_be_tried(now):
            return "failback"
        return None

    def keeps(self, fault: Fault | None) -> bool:
        """Whether a connection with this fault stays until a hook creates another one."""
        return fault == "failback" or (self.by_hand and fault != "closed")

    def last_used(self) -> float:
        """When it was last requested, or its connection last called."""
        usage = self.usage
        return self.used if usage is None else max(self.used, usage.last_used)

    def holds_off(self, now: float, fault: Fault | None) -> bool:
        """Whether it is too early to call the hooks again, for a connection with this fault or for none."""
        if now >= self.again_at:
            return False
        if fault == "isolated":  # the failover target: hooks that return it each time are not asked at each find
            return True
        if self.refusal is not None:
            return not (self.was_down and self._answered_since_flight())
        return not self._answered_since_flight() and (fault == "unauthorized" or self._down())

    def may_replace(self, isolated: Host) -> bool:
        """Whether only its failover target was isolated, so that the hooks may know another host."""
        return self.failed_over and isolated is self.record and isolated is not self.primary and self.flight is None

    def begin_flight(self, now: float, fault: Fault | None) -> None:
        """Note why the hooks are called, before the connection is released."""
        if self.refusal is not None:
            over = self.was_down and self._answered_since_flight()
        else:
            over = self._answered_since_flight() or (fault in ("age", "idle", "closed") and not self._down())
        if over:
            self.flights = 0
        down = fault in ("breaker", "connect", "fleet") and not self.keeps(fault)
        if down and self.own is not None and self.record is self.primary:
            self.failed_over, self.probe_with = True, self.own

    def back_off(self, now: float, health: HealthPolicy) -> None:
        """Delay the next flight, twice as long each time."""
        wait = health.rehook_initial
        for _ in range(self.flights):
            if wait >= health.rehook_max:
                break
            wait *= 2
        self.flights += 1
        self.settled = now
        self.again_at = now + min(wait, health.rehook_max)
        self.was_down = self._down()

    def end_back_off(self) -> None:
        """Allow a call of the hooks at once."""
        self.flights, self.again_at, self.refusal = 0, 0.0, None

    def end_failover(self) -> None:
        """The primary counts again."""
        self.failed_over, self.probe_with = False, None

    def _answered_since_flight(self) -> bool:
        """Whether the host asked for answered, and accepted the credentials, since the hooks were asked last."""
        if self.usage is not None and self.usage.unauthorized and not self.usage.accepted:
            return False
        record = self.primary if self.failed_over or self.record is None else self.record
        return record is not None and record.answered_since(self.settled)

    def _down(self) -> bool:
        """Whether the host asked for, or the one that the connection goes to, is broken or recovering from it."""
        return any(record is not None and record.unhealthy for record in (self.record, self.primary))

    def _primary_may_be_tried(self, now: float) -> bool:
        if self.primary is None:
            return True
        if (
            self.primary.health_policy.probe is not None
            and self.probe_with is not None
            and (well := self.primary.verdict.healthy_by_probe) is not None
        ):
            return well  # time alone half-opens a circuit; here a probe tells more
        broken = self.primary.broken_by(now)
        # Without a probe, nothing shows that connects succeed again until a call tries.
        return broken in (None, "connect")
