"""Drives a manager without time and sockets: hooks that follow a script, hosts that fail and answer when told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection import ConnectionHook
from sleepwalker.drivers.threads import workers
from sleepwalker.engine import Host, Outcome, Permit
from sleepwalker.engine.host.permits import FREE_PERMIT
from sleepwalker.events import ConnectionEvicted, ConnectionRetired, Event
from sleepwalker.hosts import HostTable
from tests.unit.engine_driver import PLAIN_BREAKER, FakeClock, answer, bearer, refused

A, B = "https://a.test", "https://b.test"

E = TypeVar("E", bound=Event)


class Thing:
    """A connection that is none of ours."""

    def __init__(self) -> None:
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


class Hook(ConnectionHook):
    """Does as `act` says, and remembers what it was asked for."""

    def __init__(self, act: Callable[[Any, Any], Any]) -> None:
        self.act = act
        self.asked: list[tuple[Any, Any]] = []

    def connect(self, host: Any, auth: Any) -> Any:
        self.asked.append((host, auth))
        return self.act(host, auth)


#: Circuits here are there to be open.
PLAIN = Policy(breaker=PLAIN_BREAKER)


class Bed:
    """A manager with one hook, which makes a connection to whatever it is asked for unless told otherwise."""

    def __init__(
        self,
        *,
        hooked: bool = True,
        policy: Policy | None = PLAIN,
        hosts: HostTable | None = None,
        clock: FakeClock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.events: list[Event] = []
        chosen = policy if hosts is None else None
        self.manager = ConnectionManager(policy=chosen, hosts=hosts, clock=self.clock, observer=self.observe, **options)
        self.hook = Hook(lambda host, auth: self.conn(host))
        if hooked:
            self.manager.add_conn_hook(self.hook)

    def observe(self, event: Event, level: object = None, /) -> None:
        """Events are told while no lock is held."""
        assert not self.manager._finder.lock._is_owned()  # type: ignore[attr-defined]
        self.events.append(event)

    def conn(self, url: str) -> Connection:
        return Connection(url, ANONYMOUS, clock=self.clock)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def reasons(self) -> list[str]:
        """Why connections were given up."""
        return [event.reason for event in self.events if isinstance(event, ConnectionEvicted | ConnectionRetired)]

    def record(self, url: str) -> Host:
        return self.manager.hosts.kept._known[url]

    def settle(self, url: str, outcome: Outcome, times: int = 1) -> None:
        """The host's calls came to this, whatever its circuit says."""
        record = self.record(url)
        for _ in range(times):
            permit, _ = record.admission.admit(bearer(), self.clock.now, 100.0)
            held = permit if isinstance(permit, Permit) else FREE_PERMIT
            record.outcomes.settle(held, outcome, self.clock.now, 0.0, first=True)

    def answers(self, url: str) -> None:
        self.settle(url, answer(200))

    def unreachable(self, url: str) -> None:
        """Connecting fails as often as it takes for the host to count as broken."""
        self.settle(url, refused(), 3)

    def trip(self, url: str) -> None:
        """The circuit opens."""
        breaker = self.record(url)._policy.breaker
        assert breaker is not None
        self.settle(url, answer(500), breaker.consecutive - 1)
        self.clock.advance(breaker.consecutive_for)
        self.settle(url, answer(500))
        assert self.manager.health(url).breaker == "open"

    def unauthorized(self, conn: Connection) -> None:
        """It got a 401."""
        conn.usage.unauthorized = True
        self.answers(conn.origin.text)


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` in a thread; the function returned waits for it and gives its result, or raises what it raised."""
    box: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            box.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> Any:
        thread.join(10)
        assert not thread.is_alive(), "it hangs"
        if errors:
            raise errors[0]
        return box[0]

    return wait


def hooks_are_over() -> None:
    """Until no thread is at work for a hook any more: it ends, or waits for more work, after its result was given."""
    until(lambda: count_threads("sleepwalker hook") == len(workers._parked), "a hook hangs")


def count_threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def until(fact: Callable[[], bool], otherwise: str = "it did not come") -> None:
    """Wait for what other threads do, ten seconds at most."""
    for _ in range(20_000):
        if fact():
            return
        time.sleep(0.0005)
    raise AssertionError(otherwise)


def fail(error: BaseException) -> Callable[[Any, Any], Any]:
    def act(host: Any, auth: Any) -> Any:
        raise error

    return act


def nothing(host: Any, auth: Any) -> None:
    """Does not know the host."""


def well(bed: Bed, host: str = A, auth: Any = None) -> Connection:
    """A connection whose host answered, a while ago."""
    conn = bed.manager.find(host, auth)
    bed.clock.advance(1)
    bed.answers(host)
    conn.usage.accepted = True
    bed.clock.advance(1)
    return conn


def replicas(bed: Bed) -> list[str]:
    """The hook gives the first of these; returns the list, to be changed."""
    up = [A, B]
    bed.hook.act = lambda host, auth: bed.conn(up[0])
    return up


def failed_over(bed: Bed, how: Callable[[Bed, str], None] = Bed.unreachable) -> tuple[list[str], Connection]:
    """A is broken, and a connection to its replica B serves.

    Returns what the hook gives the first of, to be changed (A is not among it), and that connection.
    """
    up = replicas(bed)
    well(bed)
    how(bed, A)
    up.remove(A)
    target = bed.manager.find(A)
    assert target.origin.text == B
    return up, target


def rounds(bed: Bed, until: float, step: float = 0.25) -> list[float]:
    """When the hooks are asked, in seconds from now, if `find` is called again and again."""
    began, seen = bed.clock.now, len(bed.hook.asked)
    times = []
    while bed.clock.now <= began + until:
        with contextlib.suppress(OurConnectionError):
            bed.manager.find(A)
        if len(bed.hook.asked) > seen:
            times.append(bed.clock.now - began)
            seen = len(bed.hook.asked)
        bed.clock.advance(step)
    return times
