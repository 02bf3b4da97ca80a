"""The work of a flight's leader: call the hooks, and hold their connection."""

from __future__ import annotations

from typing import Any, NamedTuple

from sleepwalker.engine import Host
from sleepwalker.events import ConnectionHooked, HookFailed
from sleepwalker.exceptions import ConnectionError
from sleepwalker.lookup.find import look
from sleepwalker.lookup.foreign import EMPTY, Answer, Candidate, Hook
from sleepwalker.lookup.refusals import hooks_refusal
from sleepwalker.lookup.slot import Flight, Slot
from sleepwalker.lookup.state import Lookup, closed_error
from sleepwalker.lookup.steps import Adopt, AskHook, Emit, Job, Machine, Probe, Release, Remember, Share
from sleepwalker.lookup.table import Released, Snapshot


class _Said(NamedTuple):
    """The connection of a hook, or what all hooks said."""

    conn: Any = None
    refusal: ConnectionError | None = None
    preferred: bool = True
    """Whether no hook that was asked before the one with the connection failed."""

    @property
    def may_ask_again(self) -> bool:
        """Whether a hook failed, so that a later flight may succeed."""
        return self.refusal is not None and self.refusal.retryable


class _Result(NamedTuple):
    """What a flight brings to its slot."""

    job: Job
    said: _Said
    hooks: tuple[Hook, ...]
    """Those that were asked."""
    candidate: Candidate | None

    @property
    def flight(self) -> Flight:
        """The flight."""
        return self.job.flight


def carry_out(lookup: Lookup, job: Job) -> Machine[list[Released]]:
    """Call the hooks and hold their connection. Returns what to release."""
    flight, slot, asked, hooks = job.flight, job.slot, job.asked, lookup.hooks
    if flight.dismissed:
        return job.released
    if job.released:
        yield Release(job.released)
    said = yield from _ask(lookup, job, hooks)
    candidate: Candidate | None = None
    if said.refusal is None:
        candidate = yield Adopt(said.conn, slot, None)
    # What the slot holds matters only if the flight no longer decides for it, or if that is still in use.
    seen: Snapshot | None = None
    if slot.flight is not flight or job.fault == "failback":
        seen = yield from look(lookup, asked)
    released: list[Released] = []
    holds, probe = _settle(lookup, _Result(job, said, hooks, candidate), seen, released)
    fast = lookup.fast_table(slot) if holds else None
    flight.abandoned = False
    if probe:
        yield Probe()
    if candidate is not None and holds:
        if (record := moved(slot, candidate)) is not None:
            yield Share(slot.conn, record)
        if fast is not None:
            yield Remember(fast, asked, slot)
    if flight.error is None:
        # The host, or the failover target before, may have been isolated while the hooks were at work.
        isolates = lookup.hosts.isolates(asked.name, asked.origin)
        events = lookup.hosts.isolate(asked.name, asked.origin) if isolates else []
        if (record := lookup.isolated_by(slot)) is not None:
            flight.error = lookup.isolation_error(record)
        if events:
            yield Emit(events)
    return released


def _ask(lookup: Lookup, job: Job, hooks: tuple[Hook, ...]) -> Machine[_Said]:
    """The first connection that a hook returns, or what all of them said."""
    said: list[str] = []
    failed = False
    flight, name = job.flight, job.slot.name
    for hook in hooks:
        flight.hook_since, flight.hook = lookup.clock.monotonic(), type(hook).__name__
        answer: Answer = yield AskHook(hook, job.asked)
        if answer.conn is not EMPTY:
            yield Emit([ConnectionHooked(name, hook=answer.hook, target=answer.target, duration=answer.duration)])
            return _Said(answer.conn, preferred=not failed)
        if answer.error is None:
            said.append(f"{answer.hook} does not know the host")
            continue
        failed = True
        said.append(f"{answer.hook}: {answer.detail}")
        error, duration, detail = answer.error, answer.duration, answer.detail
        yield Emit([HookFailed(name, hook=answer.hook, error=error, duration=duration, detail=detail)])
    return _Said(refusal=hooks_refusal(name, said, job.fault, failed=failed))


def _settle(lookup: Lookup, result: _Result, seen: Snapshot | None, released: list[Released]) -> tuple[bool, bool]:
    """End a flight. Returns whether the hooks' connection is held now, and whether hosts are to be probed."""
    flight, slot, said, candidate = result.flight, result.job.slot, result.said, result.candidate
    flight.error, flight.result = said.refusal, None if candidate is None else candidate.conn
    if lookup.closed:
        _settle_closed(result, released)
        return False, False
    if slot.flight is not flight and seen is not None:
        return _settle_late(lookup, result, seen, released), False
    now = lookup.clock.monotonic()
    holds = _fill(lookup, result, seen, now, released)
    _schedule_next(lookup, result, now)
    slot.flight = None
    released += lookup.sweep(now, slot)
    return holds, lookup.probes


def _settle_closed(result: _Result, released: list[Released]) -> None:
    flight, slot = result.flight, result.job.slot
    flight.error = closed_error()
    if slot.flight is flight:
        slot.flight = None
    if result.candidate is not None:
        released.append(Released(slot, result.candidate.conn, "by hand"))


def _fill(lookup: Lookup, result: _Result, seen: Snapshot | None, now: float, released: list[Released]) -> bool:
    """Put the flight's connection into its slot. Returns whether the slot holds it now."""
    flight, slot, said, candidate = result.flight, result.job.slot, result.said, result.candidate
    if candidate is None:
        if slot.ready:  # a failover target, or one added by hand: it stays, and the hooks are asked again later
            if slot.by_hand:
                slot.made = slot.used = now  # its age and idleness were the reason to ask; they count from here again
            flight.error, flight.result = None, slot.conn
        else:
            slot.refusal = str(said.refusal) if said.may_ask_again else None
        return False
    if seen is not None and _holds_alike(slot, candidate, seen, now):
        flight.result = slot.conn  # the hooks chose the same host again, and this one's sockets are open
        if candidate.bare is not slot.bare:
            released.append(Released(slot, candidate.conn, None))
        if said.preferred:
            lookup.table.settle_primary(slot)
        return False
    released += replaced(lookup, slot, candidate, result.job.fault or "replaced")
    hold(lookup, slot, flight, candidate, now, preferred=said.preferred)
    return True


def _schedule_next(lookup: Lookup, result: _Result, now: float) -> None:
    """Say when the hooks may be asked for the slot again."""
    slot, refusal = result.job.slot, result.said.refusal
    if result.flight.error is None or result.said.may_ask_again:
        lookup.back_off(slot, now)
    if result.hooks is not lookup.hooks:  # the new ones have not been asked
        slot.end_back_off()
    elif refusal is not None and refusal.retryable:
        refusal.retry_after = slot.again_at - now


def _settle_late(lookup: Lookup, result: _Result, seen: Snapshot, released: list[Released]) -> bool:
    """End a flight that no longer decides for its slot. Returns whether its connection is held now.

    Either a connection was added meanwhile, and that one is used; or the slot was evicted again, or the flight took
    too long.
    """
    flight, candidate = result.flight, result.candidate
    slot = seen.slot or result.job.slot
    if slot.ready:
        flight.error, flight.result = None, slot.conn
        if candidate is not None and candidate.bare is not slot.bare:
            released.append(Released(slot, candidate.conn, "replaced"))
        return False
    if candidate is None:
        if result.job.slot.refusal == "" and flight.error is not None:
            result.job.slot.refusal = str(flight.error)
        return False
    # It is held, unless another flight will fill the slot. A late flight's connection is held even then.
    if slot.flight is not None and not flight.late:
        flight.dismissed = True  # its waiters get the other flight's connection
        released.append(Released(slot, candidate.conn, "replaced"))
        return False
    flight.slot = slot
    hold(lookup, slot, flight, candidate, lookup.clock.monotonic(), preferred=result.said.preferred)
    lookup.sweep_at = lookup.table.due_at()
    return True


def _holds_alike(slot: Slot, candidate: Candidate, seen: Snapshot, now: float) -> bool:
    """Whether the connection in hand goes to the same place as the new one, and nothing is wrong with it."""
    if candidate.own is None or slot.own is None or slot.record is None:
        return False
    same = slot.record.origin == candidate.record.origin
    return same and slot.fault(now, seen.closed) in (None, "failback")


def replaced(lookup: Lookup, slot: Slot, candidate: Candidate, reason: Any = "replaced") -> list[Released]:
    """Take out the connection of a slot that this one replaces."""
    same = slot.bare is candidate.bare
    released = lookup.table.release(slot, reason)
    return [] if same else released


def hold(
    lookup: Lookup,
    slot: Slot,
    flight: Flight,
    candidate: Candidate,
    now: float,
    *,
    preferred: bool,
    by_hand: bool = False,
) -> None:
    """Put a connection into the slot.

    Other running flights no longer decide for the slot: their waiters get this connection.
    """
    others = [*slot.late]
    if slot.flight is not None and slot.flight is not flight:
        others.append(slot.flight)
        slot.flight = None
    lookup.table.put(slot, candidate, now, preferred=preferred, by_hand=by_hand)
    for one in others:
        one.dismiss()


def moved(slot: Slot, candidate: Candidate) -> Host | None:
    """The record for a slot's connection, if it is a new one because its host was forgotten meanwhile."""
    return slot.record if slot.bare is candidate.bare and slot.record is not candidate.record else None
