"""The record and the policy that apply to an adapter's calls, host by host."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

from sleepwalker.connection.in_force import clock_with, default_policy
from sleepwalker.connection.retry_if import check_retry_if
from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.engine import CompiledPolicy, Host
from sleepwalker.events import AnyObserver, Observer
from sleepwalker.fork import renewed_after_fork
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.members import AtWork, Lead
from sleepwalker.hosts.policies import load_policy
from sleepwalker.policy import Policy
from sleepwalker.telemetry.log import observing
from sleepwalker.transport.url import Origin

R = TypeVar("R")
#: Whether requests may be sent twice once they may have been processed: all, none, or those of which the function says
#: so. Where it returns None, the method decides.
Idempotent = bool | Callable[[R], bool | None]

#: The most hosts whose compiled policies are kept.
_MOST = 1000


class Renewable(Protocol):
    """An adapter that can continue in a forked child."""

    def renew_after_fork(self) -> None:
        """Start with new sockets and waits, separate from the parent's."""


class Place:
    """A host as one adapter's calls see it."""

    __slots__ = ("compiled", "host", "last_used", "origin")

    def __init__(self, origin: Origin, host: Host, compiled: CompiledPolicy) -> None:
        self.origin: Origin = origin
        self.host: Host = host
        self.compiled: CompiledPolicy = compiled
        self.last_used: float = 0.0
        """On the table's clock."""


class Places:
    """The hosts that an adapter's calls go to. Thread-safe.

    It is a member of its host table: a host with recent calls counts as used.
    """

    def __init__(
        self,
        policy: Policy | str | os.PathLike[str] | None,
        hosts: HostTable | None,
        retry_if: Callable[[Any], object] | None,
        idempotent: Idempotent[Any] | None,
        observer: AnyObserver | None,
        clock: BlockingClock,
    ) -> None:
        if hosts is not None and not isinstance(hosts, HostTable):
            raise TypeError(
                f"hosts must be a HostTable, such as the one of a manager (hosts=manager.hosts), not "
                f"{type(hosts).__name__}"
            )
        if idempotent is not None and not isinstance(idempotent, bool) and not callable(idempotent):
            raise TypeError(
                "idempotent must be True, False, or a function of the request that returns True, False or None, not "
                f"{type(idempotent).__name__}"
            )
        self.own: Policy | None = None if policy is None else load_policy(policy)
        """The policy that the adapter was given; None if calls follow that of their host."""
        self.retry_if: Callable[[Any], object] | None = check_retry_if(retry_if)
        self.idempotent: Idempotent[Any] | None = idempotent
        self.observer: AnyObserver | None = observer
        self.observe: Observer = observing(observer)
        if hosts is None:
            hosts = HostTable(policy=self.own or default_policy(), clock=clock)
        self.hosts: HostTable = hosts
        self.clock: BlockingClock = cast(BlockingClock, clock_with(hosts, clock))
        """The clock that calls wait by: a table may have a test's clock."""
        self._known: dict[str, Place] = {}
        hosts.members.join(self)

    def at(self, origin: Origin) -> Place:
        """The place of a host. Looked up for each call, because a manager may have forgotten the host."""
        name = origin.text
        host, place = self.hosts.host(name), self._known.get(name)
        if place is None or place.host is not host or (self.own is None and place.compiled.policy is not host.policy):
            place = self._made(origin, host)
        place.last_used = self.hosts.clock.monotonic()
        return place

    def _made(self, origin: Origin, host: Host) -> Place:
        name = origin.text
        for event in self.hosts.settle(host, (name,), self.own):
            self.observe(event)
        policy = host.policy if self.own is None else self.own.for_host(name)
        if len(self._known) >= _MOST:
            self._known = {}
        place = self._known[name] = Place(origin, host, CompiledPolicy(policy, self.clock))
        return place

    def is_idempotent(self, request: Any, method: str, headers: Any, compiled: CompiledPolicy) -> bool:
        """Whether a request may be sent twice although the server may have processed it."""
        said = self.idempotent(request) if callable(self.idempotent) else self.idempotent
        if said is None:
            return method in compiled.methods or "Idempotency-Key" in headers
        return bool(said)

    # -- as a member of the table

    def leads(self) -> Iterator[Lead]:
        """The hosts of recent calls."""
        now = self.hosts.clock.monotonic()
        for place in list(self._known.values()):
            if now - place.last_used < place.host.health_policy.idle:
                yield Lead(place.origin.text, place.host, place.host, failed_over=False)

    def at_work(self) -> list[AtWork]:
        """Nothing: it has no hooks."""
        return []

    def policies_changed(self) -> None:
        """Nothing: each call reads the current policy of its host."""

    def isolations_changed(self) -> None:
        """Nothing: each call asks the record of its host."""

    def circuit_was_reset(self, name: str, origin: Origin | None) -> None:
        """Nothing: it has no hooks with a back-off."""


def _renew(adapter: Renewable) -> None:
    adapter.renew_after_fork()


#: All adapters, for a forked child to renew.
renewed = renewed_after_fork("adapters", _renew)
