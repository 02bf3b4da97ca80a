"""What a manager knows of one <host, auth> pair: its connection, and when the hooks may be asked again."""

from __future__ import annotations

import threading
from typing import Any, Literal

from sleepwalker.connection.connection import Connection
from sleepwalker.engine.host import Host
from sleepwalker.policy import HealthPolicy

#: Why a connection is not used any more. `idle` and `age` retire a good one.
Fault = Literal["age", "breaker", "closed", "connect", "failback", "idle", "isolated", "unauthorized"]


class Round:
    """One asking of the hooks for one pair, by one thread; others who want the pair wait for it."""

    __slots__ = ("abandoned", "done", "error", "leader", "result")

    def __init__(self) -> None:
        self.leader = threading.get_ident()
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None
        self.abandoned = False
        """True where the leader was stopped, as by Ctrl-C: whoever waits asks anew."""


class Pair:
    """One pair. What changes, changes under the manager's lock; `ready` is read without it."""

    __slots__ = (
        "again_at",
        "asked",
        "auth",
        "conn",
        "failover",
        "home",
        "host",
        "key",
        "made",
        "name",
        "ready",
        "record",
        "refusal",
        "round",
        "used",
    )

    def __init__(self, host: Any, auth: Any, key: Any, name: str) -> None:
        self.host = host
        """As first given."""
        self.auth = auth
        self.key = key
        self.name = name
        """The host for events and texts."""
        self.conn: Any = None
        self.ready = False
        """Whether `conn` may be tried; None is a connection like any other object here."""
        self.record: Host | None = None
        """The record of the host that the connection goes to."""
        self.home: Host | None = None
        """The record of the host asked for."""
        self.failover: Connection | None = None
        """Where another host stands in: the last connection to the host asked for, to probe it with."""
        self.round: Round | None = None
        self.made = 0.0
        self.used = 0.0
        self.asked = 0
        """Rounds in a row without the host having been well in between."""
        self.again_at = 0.0
        """Before this there is no round, unless the host was well since the last one."""
        self.refusal: str | None = None
        """What the last round came to, where it gave no connection."""

    def fault(self, now: float, health: HealthPolicy) -> Fault | None:
        """What is wrong with the connection, None if nothing is."""
        conn, record = self.conn, self.record
        if isinstance(conn, Connection):
            if conn.closed:
                return "closed"
            if conn.unauthorized and health.unauthorized_evicts:
                return "unauthorized"
        elif getattr(conn, "closed", False) is True:
            return "closed"
        if record is not None and record.trouble:
            if record.isolated:
                return "isolated"
            if (broken := record.broken_by(now)) is not None:
                return broken
        if now - self.used > health.idle and now - self.last_used() > health.idle:
            return "idle"
        if health.max_age is not None and now - self.made > health.max_age:
            return "age"
        if self.failover is None:
            return None
        if self.home is not None and self.home.isolated:
            return "isolated"
        if now >= self.again_at and self._home_may_be_tried(now, health):
            return "failback"
        return None

    def last_used(self) -> float:
        """When it was asked for, or its connection called, for the last time."""
        return max(self.used, self.conn.last_used) if isinstance(self.conn, Connection) else self.used

    def well_since(self, moment: float) -> bool:
        """Whether the host asked for answered, and accepted the credentials, since then."""
        if isinstance(self.conn, Connection) and self.conn.unauthorized and not self.conn.accepted:
            return False
        record = self.record if self.failover is None else self.home
        return record is not None and record.answered_since(moment)

    def back_off(self, now: float, health: HealthPolicy) -> None:
        """Put the next round off, each time twice as long."""
        wait = health.rehook_initial
        for _ in range(self.asked):
            if wait >= health.rehook_max:
                break
            wait *= 2
        self.asked += 1
        self.again_at = now + min(wait, health.rehook_max)

    def _home_may_be_tried(self, now: float, health: HealthPolicy) -> bool:
        if self.home is None:
            return True
        broken = self.home.broken_by(now)
        # Where nothing probes it, a host that could not be connected to looks the same until somebody tries.
        return broken is None or (broken == "connect" and health.probe is None)
