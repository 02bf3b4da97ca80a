"""Changes by users, as machines of steps: add, evict, forget, reset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from sleepwalker.engine import Isolation, Restorer
from sleepwalker.events import Event
from sleepwalker.hosts.policies import Matched
from sleepwalker.lookup.find import look
from sleepwalker.lookup.foreign import Candidate, Hook
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.lead import hold, moved, replaced
from sleepwalker.lookup.slot import Flight, Slot
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import Adopt, Emit, Machine, Probe, Release, Remember, Share
from sleepwalker.policy import Policy
from sleepwalker.transport.url import Origin


def add(lookup: Lookup, asked: Asked, conn: Any) -> Machine[None]:
    """Hold a connection. It replaces the one already held."""
    mine = lookup.flight()
    try:
        yield from _added(lookup, asked, mine, conn)
    finally:
        lookup.leave(mine)


def _added(lookup: Lookup, asked: Asked, mine: Flight, conn: Any) -> Machine[None]:
    lookup.refuse_closed()
    seen = yield from look(lookup, asked)
    candidate: Candidate = yield Adopt(conn, seen.slot or Slot(asked), asked)
    seen = yield from look(lookup, asked)
    lookup.refuse_closed()
    now = lookup.clock.monotonic()
    mine.slot = slot = seen.slot or Slot(asked)
    if seen.slot is None:
        lookup.table.insert(slot, asked.origin)
    released = replaced(lookup, slot, candidate)
    slot.end_back_off()
    slot.end_failover()
    hold(lookup, slot, mine, candidate, now, preferred=True, by_hand=True)
    isolates = lookup.hosts.isolates(asked.name, asked.origin)
    fast = lookup.fast_table(slot)
    events: list[Event] = lookup.hosts.isolate(asked.name, asked.origin) if isolates else []
    released += lookup.sweep(now, slot)
    if lookup.probes:
        yield Probe()
    if (record := moved(slot, candidate)) is not None:
        yield Share(slot.conn, record)
    if fast is not None:
        yield Remember(fast, asked, slot)
    if released:
        yield Release(released)
    if events:
        yield Emit(events)


def evict(lookup: Lookup, name: str, origin: Origin | None, asked: Asked | None) -> Machine[int]:
    """Release the connection of one slot, or of the whole host if `asked` is missing. Returns their number."""
    if asked is None:
        slots = lookup.table.slots_of(name, origin)
    else:
        seen = yield from look(lookup, asked)
        slots = [] if seen.slot is None else [seen.slot]
    released = lookup.table.release_by_hand(slots)
    yield Release(released)
    return len(released)


def forget(lookup: Lookup, name: str, origin: Origin | None, scope: str | None) -> Machine[None]:
    """Forget a host, or the record of its scope alone."""
    if scope is not None:
        lookup.hosts.forget_part(origin, scope)
        return
    lookup.fast = {}
    yield Release(lookup.table.forget(name, origin))


def reset(lookup: Lookup) -> Machine[None]:
    """Release everything."""
    released = lookup.table.clear()
    lookup.fast = {}
    yield Release(released, cut=True)


def close(lookup: Lookup) -> Machine[None]:
    """The same as `reset`, permanently."""
    lookup.closed = True
    lookup.dismiss_all()
    yield from reset(lookup)


def reset_circuit(
    lookup: Lookup, name: str, origin: Origin | None, scope: str | None, by: Literal["fleet"] | None = None
) -> Machine[None]:
    """Treat a host as healthy from now on."""
    if scope is None:
        records = lookup.hosts.led_to(name, origin)
        lookup.end_back_offs(lookup.table.leading_to(name, origin))
    else:
        records = lookup.hosts.parts(origin, scope)
    yield Emit([event for record in records for event in record.reset_circuit(by)])


def isolate_host(
    lookup: Lookup, name: str, origin: Origin | None, isolation: Isolation, scope: str | None
) -> Machine[None]:
    """Take a host out of use."""
    yield Emit(lookup.hosts.isolate(name, origin, isolation, scope))


def reload(lookup: Lookup, policy: Policy | None, policies: Matched | None) -> Machine[None]:
    """Switch all hosts to other policies; None keeps the present ones."""
    lookup.refuse_closed()
    lookup.hosts.own_policy = lookup.hosts.own_policy or policy is not None
    yield Emit(lookup.hosts.reload(policy, policies))


def follow_default(lookup: Lookup, chosen: Callable[[], Policy]) -> Machine[None]:
    """Switch all hosts to the application's default, if they were given no policy."""
    policy = chosen()  # read now: if two are set at the same time, the later one counts
    if not (lookup.closed or lookup.hosts.own_policy or policy is lookup.hosts.policy):
        yield Emit(lookup.hosts.reload(policy))


def set_hooks(lookup: Lookup, hooks: tuple[Hook, ...]) -> None:
    """Use these hooks from now on; they may be called at once."""
    lookup.hooks = hooks
    lookup.end_back_offs(lookup.table.slots())


def restore(
    lookup: Lookup, name: str, origin: Origin | None, scope: str | None, by: Restorer = "hand"
) -> Machine[None]:
    """End an isolation."""
    yield Emit(lookup.hosts.restore(name, origin, scope, by))


def notice(lookup: Lookup) -> Machine[None]:
    """End expired isolations, and mark flights that are late."""
    yield Emit(lookup.notice_late(lookup.clock.monotonic()))
