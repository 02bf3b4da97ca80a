"""Prepares connections from hooks and users for a manager: attaches the host's record, and guards foreign objects."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from sleepwalker.clock import Clock
from sleepwalker.connection.guard import follow, guard, rehost, unguarded, usage_of
from sleepwalker.connection.guarded_calls import GuardedCallsBase
from sleepwalker.connection.in_force import default_guarded
from sleepwalker.connection.kinds import as_connection, bare
from sleepwalker.engine import CompiledPolicy
from sleepwalker.events import Observer
from sleepwalker.hosts.policies import names_of
from sleepwalker.lookup.foreign import Candidate
from sleepwalker.lookup.held import Held, Holding
from sleepwalker.lookup.slot import Slot
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import Adopt, Share

Guarding = Callable[..., GuardedCallsBase]


class Adopting:
    """No lock is held while its methods are called, except for `policies_changed`."""

    def __init__(
        self,
        manager: weakref.ref[Any],
        lookup: Lookup,
        guarded: frozenset[str] | None,
        observe: Observer,
        clock: Clock,
        calls: Guarding,
    ) -> None:
        """`clock` is what guards wait by; `guarded` are the methods of foreign objects that are guarded.

        None stands for what `defaults` chose. `calls` makes the calls of a guard.
        """
        self._manager, self._lookup, self._hosts = manager, lookup, lookup.hosts
        self._guarded, self._observe, self._clock, self._calls = guarded, observe, clock, calls
        self._compiled: CompiledPolicy | None = None

    def adopt(self, step: Adopt) -> Candidate:
        """Prepare a connection for a slot: it shares its host's record, and is guarded if guarding is on."""
        conn, slot = step.conn, step.slot
        ours = as_connection(conn)
        origin = None if step.asked is None else step.asked.origin
        where = ours.origin if ours is not None else origin
        names = self._lookup.table.names_of(slot, None if where is None else where.text)
        self._hosts.policy_map.matched(*names)  # while no lock is held: then it is known
        record = self._hosts.host(names[0])
        for event in self._hosts.settle(record, names, None if ours is None else ours.given_policy):
            self._observe(event)
        if ours is not None:
            ours.attach(record)
            return Candidate(conn, bare(conn), ours, ours.usage, record, self._holding(ours.usage.held, slot))
        inner = unguarded(conn)
        methods = default_guarded() if self._guarded is None else self._guarded
        if methods and inner is conn:
            compiled = self.compiled_for(names)
            conn = guard(self._calls(inner, record, compiled, methods, self._clock, self._observe, slot.key.mark))
        usage = usage_of(conn)
        return Candidate(conn, inner, None, usage, record, None if usage is None else self._holding(usage.held, slot))

    def compiled_for(self, names: tuple[str, ...]) -> CompiledPolicy:
        """The policy for guarded calls to the host with these names. Foreign objects bring no policy of their own."""
        policy, whose = self._hosts.policy_map.followed(names)
        if whose != "manager":
            return CompiledPolicy(policy, self._clock)
        if (compiled := self._compiled) is None:
            compiled = self._compiled = CompiledPolicy(policy, self._clock)
        return compiled

    def _holding(self, held: tuple[Held, ...], slot: Slot) -> Holding:
        return Holding(held, Held(self._manager, slot.name, slot.host, slot.auth, slot.key))

    def share(self, step: Share) -> None:
        """Make a connection count in another record."""
        if (ours := as_connection(step.conn)) is not None:
            ours.attach(step.record)
        else:
            rehost(step.conn, step.record)

    def policies_changed(self) -> None:
        """Switch all guards to the current policies of their hosts. Runs no user's code."""
        self._compiled = None
        for slot in self._lookup.table.slots():
            if slot.record is not None:
                follow(slot.conn, self.compiled_for(names_of(slot.record.origin, slot.name)))
