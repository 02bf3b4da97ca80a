"""What a manager knows of one <host, auth> pair: its connection, and when the hooks may be asked again."""

from __future__ import annotations

import threading
from typing import Any, Literal, NamedTuple

from sleepwalker.connection.connection import Connection
from sleepwalker.connection.guard import unguarded
from sleepwalker.connection.held import Holding
from sleepwalker.connection.keys import Asked
from sleepwalker.connection.usage import Usage
from sleepwalker.engine.host import Host
from sleepwalker.latch import Latch
from sleepwalker.policy import HealthPolicy
from sleepwalker.transport.url import Origin

#: Why a connection is not used any more. `idle` and `age` retire a good one.
Fault = Literal["age", "breaker", "closed", "connect", "failback", "idle", "isolated", "unauthorized"]


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


#: What a pair without a connection holds; None is a connection like any other object here.
NOTHING: Any = _Nothing()


class Round:
    """One asking of the hooks for one pair; those who want the pair wait for it, as long as they have time."""

    __slots__ = (
        "abandoned",
        "caller",
        "dismissed",
        "done",
        "error",
        "given_up",
        "hook",
        "hook_since",
        "late",
        "late_at",
        "leader",
        "over",
        "pair",
        "raised",
        "result",
        "since",
        "taken",
    )

    def __init__(self) -> None:
        self.caller = threading.get_ident()
        """The thread that looks for the pair, and has the hooks asked where the pair says so."""
        self.leader: int | None = None
        """The thread in which the hooks are at work; None before it runs."""
        self.pair: Pair | None = None
        """The pair that is looked at, and for which the hooks are asked where the pair says so."""
        self.since = self.late_at = 0.0
        """When it began, and from when on it is late."""
        self.late = False
        """Whether it outlasted its time, and therefore does not decide for its pair any more."""
        self.hook = ""
        """The type of the hook that is at work; empty before the first."""
        self.hook_since = 0.0
        self.taken = False
        """Whether a thread of its own carries it out, so that its caller may leave it."""
        self.over = False
        """Whether the hooks are not, or no more, to be asked for it."""
        self.done = Latch()
        """Set once there is nothing to wait for any more."""
        self.given_up: Latch | None = None
        """Where it put a connection in the place of others: set once those are retired, which may be anybody's code."""
        self.dismissed = False
        """Whether its pair got a connection otherwise, or the manager was closed, so that nobody need wait for it."""
        self.result: Any = None
        self.error: Exception | None = None
        """What all who wait raise copies of."""
        self.raised: BaseException | None = None
        """What a hook raised, for the caller."""
        self.abandoned = True
        """Until there is a result, for it may be stopped, as by Ctrl-C: those who wait then ask anew."""

    def dismiss(self) -> None:
        """Have those who wait for it ask anew."""
        self.dismissed = True
        self.done.set()


class Made(NamedTuple):
    """A connection that a pair can hold, looked at while no lock was held, for that may run anybody's code."""

    conn: Any
    """What `find` gives: the connection, or a guard of it."""
    bare: Any
    """The connection itself."""
    ours: Connection | None
    """The connection, if it is a `Connection`."""
    usage: Usage | None
    record: Host
    """The record that it counts in."""
    holding: Holding | None
    """What its usage, if it has one, is to say of the pair."""


class Pair:
    """One pair. What changes, changes under the manager's lock; `find` reads `conn` without it.

    Nothing here runs the code of a connection or of credentials, so all of it may be called under the lock.
    """

    __slots__ = (
        "again_at",
        "asked",
        "auth",
        "conn",
        "failover",
        "home",
        "host",
        "key",
        "late",
        "made",
        "name",
        "named",
        "ours",
        "place",
        "queued",
        "record",
        "refusal",
        "round",
        "settled",
        "stands_in",
        "usage",
        "used",
        "was_down",
    )

    def __init__(self, asked: Asked) -> None:
        self.host = asked.host
        """As first given."""
        self.auth = asked.auth
        self.key = asked.key
        self.place = asked.place
        self.name = asked.name
        """The host for events and texts."""
        self.named = asked.origin is None
        """Whether it was asked for by a name that only hooks understand, rather than by a URL."""
        self.conn: Any = NOTHING
        self.ours: Connection | None = None
        """The connection, if it is a `Connection`."""
        self.usage: Usage | None = None
        """What the calls of a `Connection`, or of a guard, came to."""
        self.record: Host | None = None
        """The record of the host that the connection goes to."""
        self.home: Host | None = None
        """The record of the host asked for; for a name, of where the hooks last said without trouble that it is."""
        self.stands_in = False
        """Whether the connection goes, or the next one may go, to another host while the one asked for is broken."""
        self.failover: Connection | None = None
        """Where another host stands in: the last connection to the host asked for, if any, to probe it with."""
        self.round: Round | None = None
        """The one that decides what the pair holds."""
        self.late: tuple[Round, ...] = ()
        """Rounds that outlasted their time, and whose hooks are still at work."""
        self.queued = 0
        """Which of the registry's queues know it, as bits."""
        self.made = 0.0
        self.used = 0.0
        self.settled = 0.0
        """When the last round that a back-off followed was over."""
        self.asked = 0
        """Rounds in a row without the host having been well in between."""
        self.again_at = 0.0
        """Before this no round is made for a host that is broken, or after a round that gave no connection."""
        self.refusal: str | None = None
        """What the last round came to, where it gave no connection."""
        self.was_down = False
        """Whether the host was broken when the last round was over."""

    @property
    def ready(self) -> bool:
        """Whether it has a connection."""
        return self.conn is not NOTHING

    @property
    def asking(self) -> bool:
        """Whether hooks are at work for it."""
        return self.round is not None or bool(self.late)

    def fault(self, now: float, closed: bool) -> Fault | None:
        """What is wrong with the connection, None if nothing is. `closed` is what it says of itself."""
        usage, record = self.usage, self.record
        if record is None:  # given up a moment ago by another thread
            return None
        health = record.judged_by
        if usage is not None and usage.unauthorized and health.unauthorized_evicts:
            return "unauthorized"  # first, for a login that failed has to wait, also once the caller closed it
        if closed:
            return "closed"
        if record.trouble:
            if record.isolated:
                return "isolated"
            if (broken := record.broken_by(now)) is not None:
                return broken
        if now - self.used > health.idle and now - self.last_used() > health.idle:
            return "idle"
        if health.max_age is not None and now - self.made > health.max_age:
            return "age"
        if not self.stands_in:
            return None
        if self.home is not None and self.home.isolated:
            return "isolated"
        if now >= self.again_at and self._home_may_be_tried(now):
            return "failback"
        return None

    def last_used(self) -> float:
        """When it was asked for, or its connection called, for the last time."""
        usage = self.usage
        return self.used if usage is None else max(self.used, usage.last_used)

    def holds_off(self, now: float, fault: Fault | None) -> bool:
        """Whether it is too early to ask the hooks again about a connection with this fault, or about none."""
        if now >= self.again_at:
            return False
        if fault == "isolated":  # the stand-in: hooks that give it again and again are not asked at each find
            return True
        if self.refusal is not None:
            return not (self.was_down and self._well_since_round())
        return not self._well_since_round() and (fault == "unauthorized" or self._down())

    def may_replace(self, isolated: Host) -> bool:
        """Whether what was isolated is only the host that stands in, so that the hooks may know another."""
        return self.stands_in and isolated is self.record and isolated is not self.home and self.round is None

    def begin_round(self, now: float, fault: Fault | None) -> None:
        """Take note of why the hooks are asked, before the connection is given up."""
        if self.refusal is not None:
            over = self.was_down and self._well_since_round()
        else:
            over = self._well_since_round() or (fault in ("age", "idle", "closed") and not self._down())
        if over:
            self.asked = 0
        if fault in ("breaker", "connect") and self.ours is not None and self.record is self.home:
            self.stands_in, self.failover = True, self.ours

    def back_off(self, now: float, health: HealthPolicy) -> None:
        """Put the next round off, each time twice as long."""
        wait = health.rehook_initial
        for _ in range(self.asked):
            if wait >= health.rehook_max:
                break
            wait *= 2
        self.asked += 1
        self.settled = now
        self.again_at = now + min(wait, health.rehook_max)
        self.was_down = self._down()

    def end_back_off(self) -> None:
        """Let the hooks be asked at once."""
        self.asked, self.again_at, self.refusal = 0, 0.0, None

    def stay_home(self) -> None:
        """No other host stands in any more."""
        self.stands_in, self.failover = False, None

    def _well_since_round(self) -> bool:
        """Whether the host asked for answered, and accepted the credentials, since the hooks were asked last."""
        if self.usage is not None and self.usage.unauthorized and not self.usage.accepted:
            return False
        record = self.home if self.stands_in or self.record is None else self.record
        return record is not None and record.answered_since(self.settled)

    def _down(self) -> bool:
        """Whether the host asked for, or the one that the connection goes to, is broken or recovering from it."""
        return any(record is not None and record.down for record in (self.record, self.home))

    def _home_may_be_tried(self, now: float) -> bool:
        if self.home is None:
            return True
        if (
            self.home.judged_by.probe is not None
            and self.failover is not None
            and (well := self.home.well_by_probe) is not None
        ):
            return well  # time alone half-opens a circuit; here there is better news to wait for
        broken = self.home.broken_by(now)
        # Where nothing probes it, a host that could not be connected to looks the same until somebody tries.
        return broken in (None, "connect")


def bare(conn: Any) -> Any:
    """The connection itself, where this is a guard or a scope of it. Runs nobody's code."""
    conn = unguarded(conn)
    kind: Any = type(conn)
    return conn if not issubclass(kind, Connection) or conn._whole is None else conn._whole


def as_connection(conn: Any) -> Connection | None:
    """`conn` if it is one of ours. A proxy of one is; a mock that only says so is not.

    That may run the code of its class, as `says_closed` does, so no lock is held meanwhile.
    """
    ours = isinstance(conn, Connection) and type(getattr(conn, "usage", None)) is Usage
    return conn if ours and isinstance(conn.origin, Origin) else None


def says_closed(conn: Any) -> bool:
    """Whether a connection says that it is closed, in so many words: others count, or mock.

    Its `closed` may be anybody's code, which takes its time or asks the manager, so no lock is held meanwhile.
    """
    try:
        return getattr(conn, "closed", False) is True
    except Exception:  # noqa: BLE001 - an object that cannot say is not known to be closed
        return False


def seems_good(conn: Any) -> bool:
    """Whether a connection is worth keeping, as far as it can be told without a manager that holds it."""
    ours = as_connection(conn)
    if ours is None:
        return not says_closed(conn)
    if ours.closed or (ours.usage.unauthorized and ours.policy.health.unauthorized_evicts):
        return False
    return ours.health.state not in ("broken", "isolated")
