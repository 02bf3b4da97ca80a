"""The waits of a connection's calls, which all end when it closes."""

from __future__ import annotations

from sleepwalker.clock import Clock
from sleepwalker.engine.limits import Ticket
from sleepwalker.latch import Latch


class Waits:
    """Thread-safe. After `end` no wait takes any time."""

    __slots__ = ("_clock", "_closing", "_tickets")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._closing = Latch()
        self._tickets: set[Ticket] = set()

    @property
    def over(self) -> bool:
        """Whether `end` was called."""
        return self._closing.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait for `seconds`; True where that was cut short for good."""
        return self._clock.sleep(seconds, self._closing)

    def queue(self, ticket: Ticket, seconds: float) -> bool:
        """Wait until the ticket wakes, `seconds` at most; True where that was cut short for good."""
        try:
            self._tickets.add(ticket)
            if self._closing.is_set():  # looked at after the ticket is known: whoever ends us wakes it, or we see it
                return True
            woken = self._clock.sleep(seconds, ticket.wake)
            return self._closing.is_set() or (woken and not ticket.wake.is_set())  # the latter: the interpreter ends
        finally:
            self._tickets.discard(ticket)

    def end(self) -> None:
        """End all waits, also those to come."""
        self._closing.set()
        for ticket in list(self._tickets):
            ticket.wake.set()
