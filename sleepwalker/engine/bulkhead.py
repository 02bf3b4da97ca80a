"""The places at a host: how many calls are in flight, how many may be, and who waits for one."""

from __future__ import annotations

from typing import Literal

from sleepwalker.engine.adaptive import Adaptive
from sleepwalker.engine.limits import Holdings, Ticket
from sleepwalker.engine.outcome import Outcome
from sleepwalker.policy import BulkheadPolicy

Entry = Literal["in", "beyond", "full"] | Ticket
"""A call is in; or in `beyond` the limit, which only observes; or finds it full; or waits, with a ticket."""


class Bulkhead:
    """Counts the calls in flight, also where no policy limits them. Not thread-safe: its owner holds a lock.

    The queue is fair: who comes while others wait goes behind them. A dry run counts what enforcing would have let in:
    those `beyond` hold no place, so that as many are told of as would have been refused. It never queues, and counts
    as if `max_wait` were 0.
    """

    __slots__ = ("_beyond", "_max_wait", "_most", "_observes", "adaptive", "in_flight", "queue")

    def __init__(self, policy: BulkheadPolicy | None) -> None:
        self.in_flight = 0
        self.queue: list[Ticket] = []  # mostly empty, and an empty deque is larger than all the rest
        self._beyond = 0
        self.adaptive: Adaptive | None = None
        """What learns from attempts how many are good for the host; None where the limit is fixed."""
        self.follow(policy)

    @property
    def limit(self) -> int | None:
        """How many calls may be in flight now, None for any number."""
        return self._most if self.adaptive is None else self.adaptive.limit

    def follow(self, policy: BulkheadPolicy | None) -> None:
        """Go on with the numbers of `policy` and with all who are in; those who wait get in where there is room."""
        self._most = None if policy is None else policy.max_concurrent
        self._max_wait = 0.0 if policy is None else policy.max_wait
        self._observes = policy is not None and policy.mode == "observe"
        if policy is None or not policy.adaptive:
            self.adaptive = None
        elif self.adaptive is None:
            self.adaptive = Adaptive(policy.max_concurrent, self.in_flight)
        else:
            self.adaptive.follow(policy.max_concurrent)
        self._grant()

    def enter(self, call: Holdings, *, limited: bool, refused: bool) -> Entry:
        """Begin a call. One that is in, `beyond` or not, must `leave`; with a ticket it must `claim`, and `leave`.

        A call that is not `limited` passes the limit by and counts for the others. One that a dry run has `refused`
        already would not have come here: a bulkhead that observes, too, is silent about it.
        """
        if limited and self._most is not None:
            limit = self._most if self.adaptive is None else self.adaptive.limit
            if self._observes:
                if refused or self.in_flight - self._beyond >= limit:
                    self._beyond += 1
                    self.in_flight += 1
                    call.inside = call.beyond = True
                    return "beyond"
            elif self.in_flight >= limit or self.queue:
                if self._max_wait == 0:
                    return "full"
                ticket = call.ticket = Ticket(call, self._max_wait)
                self.queue.append(ticket)
                return ticket
        self.in_flight += 1
        call.inside = True
        if self.adaptive is not None:
            self.adaptive.entered(self.in_flight - self._beyond)
        return "in"

    def leave(self, call: Holdings) -> None:
        """End a call, in whichever way it began, and any number of times. Its place goes to the longest waiter."""
        if call.ticket is not None:
            self.claim(call)
        if call.inside:
            call.inside = False
            if self.in_flight > 0:  # 0 already in a child that was forked during the call
                self.in_flight -= 1
            if call.beyond:
                call.beyond = False
                if self._beyond > 0:
                    self._beyond -= 1
        if self.queue:
            self._grant()

    def claim(self, call: Holdings) -> bool:
        """End a wait: True for a call that got its place and so is in; others lose their turn."""
        if call.ticket in self.queue:
            self.queue.remove(call.ticket)
        call.ticket = None
        return call.inside

    def turn_all_away(self) -> None:
        """End all waits without a place."""
        while self.queue:
            self.queue[0].wake.set()  # while it is there: a Ctrl-C leaves it to the next one to come
            del self.queue[0]

    def learn(self, outcome: Outcome, began: float, now: float) -> None:
        """An attempt is over: an adaptive limit takes note, and may let others in."""
        if self.adaptive is not None:
            self.adaptive.learn(outcome, began, now)
            self._grant()

    def renew_after_fork(self) -> None:
        """Forget the calls of threads that only the parent has."""
        self.in_flight = self._beyond = 0
        self.queue.clear()

    def _grant(self) -> None:
        while self.queue:
            ticket = self.queue[0]
            if not ticket.call.inside:  # else a Ctrl-C came after it had been let in, and before it was woken
                if not self._observes and (limit := self.limit) is not None and self.in_flight >= limit:
                    return
                self.in_flight += 1
                ticket.call.inside = True
                if self.adaptive is not None:
                    self.adaptive.entered(self.in_flight - self._beyond)
            ticket.wake.set()
            del self.queue[0]
