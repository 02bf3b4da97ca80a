"""The circuit breaker: which attempts its circuit admits, and which calls wait for it.

A call takes a permit, works without any lock, and reports its outcome. pybreaker's own `call()` is not used, because it
holds one lock during the whole call. A permit has the generation of the state that issued it; outcomes of an older
generation are ignored.
"""

from __future__ import annotations

from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.host.circuit_queue import CircuitQueue
from sleepwalker.engine.host.holdings import Waiter
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.engine.host.permits import CLOSED, HALF_OPEN, OPEN, Permit, PermitHolder, Places, Refusal, State
from sleepwalker.engine.outcome import FAILURE, Head, Verdict
from sleepwalker.policy import BreakerPolicy


class Breaker:
    """The breaker of one host. Not thread-safe: methods that end in `_locked` need the owner's lock held."""

    __slots__ = ("circuit", "queue")

    def __init__(self, host: str, policy: BreakerPolicy, clock: Clock, lock: HostLock) -> None:
        self.circuit: Circuit = Circuit(host, policy, clock)
        self.queue: CircuitQueue = CircuitQueue(lock)

    def admit_locked(
        self, holder: PermitHolder, now: float, lifetime: float, waiter: Waiter | None = None
    ) -> Permit | Refusal:
        """A permit, or the refusal. A permit with a place counts as lost after `lifetime` seconds.

        `waiter` is the call's place in the queue, if it has waited: new calls go behind waiting ones.
        """
        circuit = self.circuit
        if circuit.slow is not None:
            circuit.catch_up(now)
        state = circuit.trip.state
        if state == OPEN and now < circuit.open.until:
            return self._refusal(OPEN, circuit.open.until - now)
        admit = self._admit_closed if state == CLOSED else self._admit_probe
        admission = admit(now, lifetime, waiter)
        if isinstance(admission, Permit):
            holder.permit = admission
            if admission.expires is not None:
                circuit.places.take(admission)
            if circuit.slow is not None:
                circuit.slow.begin(admission, now)
        return admission

    def _admit_probe(self, now: float, lifetime: float, waiter: Waiter | None) -> Permit | Refusal:
        circuit = self.circuit
        if circuit.trip.state == OPEN:
            circuit.half_open(now)
        if not self.queue.lets_in(waiter, now, circuit.places.free_now(circuit.policy.half_open_probes, now)):
            return self._refusal(HALF_OPEN, circuit.places.next_expiry(now))
        return Permit(circuit.generation, now + lifetime, now, probe=True)

    def _admit_closed(self, now: float, lifetime: float, waiter: Waiter | None) -> Permit | Refusal:
        circuit = self.circuit
        start = circuit.start
        if start is not None:
            if now >= start.until:
                circuit.end_slow_start()
                self.wake_locked(now)
            elif self.queue.lets_in(waiter, now, circuit.places.free_now(start.at_once, now)):
                start.let_in()
                return Permit(circuit.generation, now + lifetime, now)
            else:
                start.held_back()
                return self._refusal(CLOSED, start.until - now)
        if waiter is not None:
            self.queue.drop(waiter)
        return Permit(circuit.generation) if circuit.closed_permit is None else circuit.closed_permit

    def _refusal(self, state: State, retry_after: float) -> Refusal:
        circuit = self.circuit
        max_wait = 0.0 if circuit.observes else circuit.policy.max_wait
        return Refusal(state, retry_after, circuit.cause, circuit.observes, max_wait, circuit.told)

    def report_locked(
        self,
        permit: Permit,
        verdict: Verdict,
        now: float,
        cause: str | None,
        *,
        first: bool = True,
        head: Head | None = None,
    ) -> None:
        """Return a permit with its outcome; `cause` names a failure. `first` is an attempt that is not a retry.

        With `head` it is the outcome of a streamed response's head or, if that failed, of its body.
        """
        circuit = self.circuit
        if circuit.slow is not None:
            circuit.catch_up(now)
        if permit.generation == circuit.generation:
            circuit.report(permit, verdict, now, cause, first=first, head=head)
        elif head is not None and verdict is FAILURE and circuit.closed_by(permit):
            circuit.reopen(permit, now, cause)
        else:
            return
        if self.queue.waiters:
            self.wake_locked(now)

    def wait_locked(self, waiter: Waiter, now: float, seconds: float) -> float | None:
        """Queue for the circuit, or stay in the queue. Returns the seconds after which to ask again.

        A waiter may be woken before. None if the circuit stays open longer than `seconds`.
        """
        circuit = self.circuit
        opens_in = circuit.open.until - now if circuit.trip.state == OPEN else 0.0
        if opens_in > seconds:
            return None
        return self.queue.wait(waiter, now, seconds, opens_in, self._room(), circuit.policy.half_open_probes)

    def stop_waiting_locked(self, waiter: Waiter, now: float) -> None:
        """End a call's wait, whether it was admitted or not."""
        self.queue.drop(waiter)
        self.wake_locked(now)  # even if the call was not queued: a Ctrl-C may have come before this the last time

    def wake_locked(self, now: float) -> None:
        """Wake the waiters that are admitted now, or as soon as the circuit may be tried again."""
        if self.queue.waiters:
            circuit = self.circuit
            self.queue.wake(now, self._room(), circuit.open.until if circuit.trip.state == OPEN else None)

    def _room(self) -> int | None:
        """How many more attempts may begin; if the circuit is open, once its open time is over. None for any number."""
        circuit = self.circuit
        if circuit.trip.state == CLOSED:
            return None if circuit.start is None else circuit.places.free(circuit.start.at_once)
        return circuit.places.free(circuit.policy.half_open_probes)

    def probed_locked(self, now: float) -> None:
        """A probe outside any call succeeded."""
        self.circuit.catch_up(now)
        if self.circuit.probed(now):
            self.wake_locked(now)

    def vouched_locked(self, now: float) -> None:
        """Other workers say that the host is back: this counts as the required successful probes."""
        with self.circuit.moved("fleet"):
            for _ in range(self.circuit.policy.close_after):
                self.probed_locked(now)

    def reset_locked(self, by: Literal["fleet"] | None = None) -> None:
        """Close the circuit by hand."""
        with self.circuit.moved(by):
            self.circuit.reset()
        self.queue.wake_all()

    def reconfigure_locked(self, policy: BreakerPolicy, now: float) -> None:
        """Continue in the same state with the numbers of `policy`."""
        if policy != self.circuit.policy:
            self.circuit.reconfigure(policy, now)
            self.queue.wake_all()

    def renew_after_fork(self) -> None:
        """Forget what only the parent's threads hold: places and turns."""
        self.circuit.places = Places()
        self.queue.waiters = ()
        if self.circuit.slow is not None:
            self.circuit.slow.forget_under_way()
