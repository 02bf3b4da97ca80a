"""The reasons why there is no connection, in words."""

from __future__ import annotations

from collections.abc import Iterable

from sleepwalker.exceptions import ConnectionError, DeadlineExceeded
from sleepwalker.lookup.flights import MAX_LATE
from sleepwalker.lookup.slot import Fault, Flight, Slot


def hooks_refusal(name: str, said: Iterable[str], fault: Fault | None, *, failed: bool) -> ConnectionError:
    """No hook returned a connection: the answer of each hook, and why the previous connection was evicted."""
    why = "; ".join(said) or "this manager has no hooks; add a hook with add_conn_hook, or a connection with add"
    before = "" if fault is None or fault == "failback" else f" (the previous connection was evicted: {fault})"
    error = ConnectionError(f"no connection to {name}: {why}{before}")
    error.retryable, error.never_sent = failed, True
    return error


def too_early(slot: Slot, now: float) -> ConnectionError:
    """There is no connection, and it is too early to call the hooks."""
    wait = slot.again_at - now
    why = slot.refusal or f"no connection to {slot.name}"
    error = ConnectionError(f"{why}; the hooks can be called again in {max(wait, 0.1):.1f} s")
    error.retry_after, error.never_sent = wait, True
    return error


def _still_at_work(one: Flight, now: float) -> str:
    hook = f" ({one.hook} for {now - one.hook_since:.3g} s)" if one.hook else ""
    return f"its hooks are still running{hook}"


def out_of_time(name: str, one: Flight, waited: float, now: float, worker: str) -> DeadlineExceeded:
    """A caller's wait for a flight has reached its limit."""
    slot = one.slot
    oldest = slot.late[0] if slot is not None and slot.late else one
    error = DeadlineExceeded(
        f"no connection to {name} within {waited:.3g} s: {_still_at_work(oldest, now)}; give the hook's own requests "
        f"a timeout, and do not let it call find for the same host in another {worker}",
        limit="total",
        phase="wait",
    )
    error.never_sent = True
    if one.late and slot is not None and slot.again_at > now:
        error.retry_after = slot.again_at - now
    return error


def too_late(slot: Slot, now: float) -> ConnectionError:
    """There is no connection, and the hooks, which are still running, may not be called again yet."""
    wait = slot.again_at - now
    why = f"{_still_at_work(slot.late[0], now)}; they can be called again in {max(wait, 0.1):.1f} s"
    error = ConnectionError(f"no connection to {slot.name}: {why}")
    error.retry_after, error.never_sent = wait, True
    return error


def no_room(slot: Slot, now: float, worker: str) -> ConnectionError:
    """The hooks should be called, but too many are still running."""
    if slot.late:
        workers = f"1 {worker}" if len(slot.late) == 1 else f"{len(slot.late)} {worker}s"
        why = f"{_still_at_work(slot.late[0], now)}, in {workers}"
    else:
        why = f"hooks of this manager are still running for other hosts, in {MAX_LATE} {worker}s"
    error = ConnectionError(f"no connection to {slot.name}: {why}; they can be called again when one of them has ended")
    error.never_sent = True
    return error


def refused(name: str, why: str) -> ConnectionError:
    """There is no connection, for that reason."""
    return ConnectionError(f"no connection to {name}: {why}")
