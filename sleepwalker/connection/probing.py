"""Probes a manager's broken hosts in the background to find out whether they are back."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Generator
from typing import NamedTuple, Protocol, cast

from sleepwalker.connection.connection import Connection
from sleepwalker.drivers.threads.prober import LONGEST, Prober
from sleepwalker.engine import Host, Outcome, Verdict
from sleepwalker.events import Observer
from sleepwalker.lookup.foreign import Own
from sleepwalker.lookup.state import Lookup
from sleepwalker.policy import HealthPolicy

#: A probe due within this many seconds is made at once.
_DUE = 0.001


class Ask(NamedTuple):
    """Send a probe for a path through a connection. Sent back: the outcome; None if the probe was not possible."""

    conn: Own
    path: str


#: One round of probes, as a machine: a driver performs what it yields, and closes it whatever happens.
Round = Generator[Ask, Outcome | None, float]


class Rounds(Protocol):
    """Runs the probe rounds in the background, one after the other."""

    def start(self) -> None:
        """Start, if it is not running. May be called repeatedly."""

    def stop(self) -> None:
        """Run no more rounds."""


class ProbingBase:
    """Decides which hosts are probed, and when. A thread or task drives it while a policy asks for probes."""

    def __init__(self, lookup: Lookup, observe: Observer) -> None:
        self.lock: threading.RLock = threading.RLock()
        """The lookup's lock."""
        self._lookup, self._observe = lookup, observe
        self.prober: Rounds | None = None
        self._due: dict[str, float] = {}
        """Seconds until the next probe of each broken host that is probed, by origin."""

    def rounds(self, every: float) -> Rounds | None:
        """A driver for rounds with at most this interval, in seconds; None if there can be none now."""
        raise NotImplementedError

    def able(self) -> bool:
        """Whether rounds are possible now."""
        return True

    def start(self) -> None:
        """Start probing, if there is something to probe. The driver does not survive a fork."""
        with self.lock:
            every = self._lookup.hosts.probe_every
            if self._lookup.closed or every == math.inf:
                return
            if self.prober is None:
                self._due = {}
                self.prober = self.rounds(every)
            if self.prober is not None:
                self.prober.start()

    def stop(self) -> None:
        """Stop probing."""
        with self.lock:
            self._leave()
            if self.prober is not None:
                self.prober.stop()

    def _leave(self) -> None:
        """Leave all hosts to be probed by other managers."""
        self._lookup.hosts.probe_turns.take(self, ())

    def renew(self) -> None:
        """Restart after the policies changed."""
        with self.lock:
            self.stop()
            self.prober = None
            if len(self._lookup.table):
                self.start()

    def _round(self, elapsed: float) -> Round:
        """Probe each broken host that is due. Returns the seconds until the next round.

        Hosts that another manager on the same host table probes are left to it, and those that other workers of the
        fleet probe without success are left to them. `elapsed` is the seconds since the last round.
        """
        with self.lock:
            prober, again = self.prober, self._lookup.hosts.probe_every
            targets = self._targets()
            mine = self._lookup.hosts.probe_turns.take(self, targets)
        due: dict[str, float] = {}
        for origin, (conn, record, health) in targets.items():
            if self._lookup.closed or self.prober is not prober:  # a new policy has a prober of its own
                return again
            if health.probe is None or origin not in mine:
                continue
            due[origin] = self._due.get(origin, 0.0) - elapsed
            if due[origin] < _DUE:
                due[origin] = health.probe_interval
                if record.verdict.left_alone(self._lookup.clock.monotonic()):
                    continue  # or each worker of a fleet would send as many probes as a single worker
                try:
                    yield from self._probe(conn, record, health.probe)
                except BaseException:  # an observer raised, or the driver ends: the hosts are left to others
                    self._leave()
                    raise
        self._due = due
        return min([again, *due.values()])

    def _targets(self) -> dict[str, tuple[Own, Host, HealthPolicy]]:
        """The broken hosts that are to be probed, each with a connection to probe it through."""
        targets: dict[str, tuple[Own, Host, HealthPolicy]] = {}
        for slot in self._lookup.table.slots():
            conn, record = (slot.probe_with, slot.primary) if slot.failed_over else (slot.own, slot.record)
            if conn is None or record is None or record.health_policy.probe is None:
                continue
            if record.verdict.suspect and not record.isolated:
                targets[record.origin] = (conn, record, record.health_policy)
        return targets

    def _probe(self, conn: Own, record: Host, path: str) -> Generator[Ask, Outcome | None]:
        breaker = record.policy.breaker
        needed = breaker.close_after if breaker else 1
        for _ in range(needed):
            outcome = yield Ask(conn, path)
            # Neutral with an error: the credentials, which are a user's code, failed during the probe.
            if outcome is None or (outcome.verdict is Verdict.NEUTRAL and outcome.error is not None):
                record.verdict.not_probed()
                return
            for event in record.outcomes.probed(outcome, self._lookup.clock.monotonic()):
                self._observe(event)
            if not record.verdict.suspect or not outcome.succeeded:
                return


class Probing(ProbingBase):
    """Probing with at most one thread, which runs while a policy asks for probes."""

    def rounds(self, every: float) -> Prober:
        """A thread."""
        return Prober(self.probe_broken, every)

    def probe_broken(self, elapsed: float = math.inf) -> float:
        """Run one round; see `_round`."""
        machine, outcome = self._round(elapsed), None
        try:
            while True:
                outcome = _asked(machine.send(outcome))
        except StopIteration as stop:
            return cast(float, stop.value)
        finally:
            machine.close()


def _asked(ask: Ask) -> Outcome | None:
    conn = cast(Connection, ask.conn)
    if inspect.iscoroutinefunction(conn.probe):
        return None  # one for asyncio, which no thread can ask
    try:
        return conn.probe(ask.path, LONGEST)
    except Exception:  # noqa: BLE001 - credentials are a user's code, and the other hosts are waiting
        return None
