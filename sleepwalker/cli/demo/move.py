"""A hook that asks a directory where each server is, and a record of what it did for the server that moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sleepwalker
from sleepwalker.cli.demo.fleet import DIRECTORY
from sleepwalker.cli.summary import Summary
from sleepwalker.cli.text import count, seconds
from sleepwalker.events import (
    ConnectionEvicted,
    ConnectionHooked,
    ConnectionRetired,
    Event,
    HookFailed,
    HostBroken,
    Level,
    Observer,
)

#: The server that moves.
MOVING = "moves"

_FOLLOWED = (HostBroken, ConnectionEvicted, ConnectionRetired, ConnectionHooked, HookFailed)


class DirectoryHook(sleepwalker.ConnectionHook):
    """Connects to the address that a directory has for a host. Callers know only the host's name."""

    def __init__(
        self,
        manager: sleepwalker.ConnectionManager[sleepwalker.Connection],
        policies: Mapping[str, str],
        observer: Observer,
    ) -> None:
        self._manager = manager
        self._policies = policies
        self._observer = observer

    def connect(self, host: str, auth: Any) -> sleepwalker.Connection | None:
        """None for a host that the directory does not list."""
        directory = self._manager.find(DIRECTORY, sleepwalker.ANONYMOUS)
        address = directory.json_request("GET", "/addresses").get(host)
        if address is None:
            return None
        return sleepwalker.Connection(address, auth, policy=self._policies[host], observer=self._observer)


@dataclass(frozen=True, slots=True)
class Gap:
    """The gap at the move: the last response from the old address, and the first one from the new."""

    old: str
    new: str
    last: float
    """Seconds since the traffic began, like `first`."""
    first: float


class Move:
    """Records the responses that callers of the moving server get, and what the manager does for them."""

    def __init__(self, planned_at: float, elapsed: Callable[[], float]) -> None:
        self.events: list[dict[str, Any]] = []
        """What happened to the host and its connection: `at` (seconds since the traffic began), `event`, its fields."""
        self._planned_at = planned_at
        self._elapsed = elapsed
        self._responses: list[tuple[float, str]] = []

    def answered(self, address: str) -> None:
        """Note a response from this address."""
        self._responses.append((self._elapsed(), address))

    def observe(self, event: Event, _level: Level | None = None, /) -> None:
        """Note an event, which may come from any thread."""
        if isinstance(event, _FOLLOWED):
            self.events.append({"at": self._elapsed(), "event": event.name, **event.fields()})

    def gap(self) -> Gap | None:
        """The gap at the move; None if one of the two addresses never responded."""
        responses = sorted(self._responses)
        old = responses[0][1] if responses else ""
        new = next((address for _, address in responses if address != old), None)
        if new is None:
            return None
        first = min(at for at, address in responses if address == new)
        return Gap(old, new, max(at for at, address in responses if address == old), first)

    def hook_calls(self) -> int:
        """How often the hook was called, by the events of its results."""
        return self._count(ConnectionHooked, HookFailed)

    def to_dict(self) -> dict[str, Any]:
        """The measurements as JSON-ready values. Times are seconds since the traffic began."""
        gap = self.gap()
        return {
            "host": MOVING,
            "moved_at": self._planned_at,
            "from": gap and gap.old,
            "to": gap and gap.new,
            "last_answer_before": gap and round(gap.last, 3),
            "first_answer_after": gap and round(gap.first, 3),
            "hook_calls": self.hook_calls(),
            "events": [{**event, "at": round(event["at"], 3)} for event in self.events],
        }

    def sentence(self, ours: Summary, theirs: Summary) -> str:
        """The conclusion in words."""
        gap = self.gap()
        if gap is None:
            return (
                f"Move: moves changed its port at {self._planned_at:g} s. One of the two ports never answered: "
                f"{_unanswered(ours)} of {ours.calls} calls failed."
            )
        text = f"Move: moves went from port {_port(gap.old)} to {_port(gap.new)} at {self._planned_at:g} s"
        steps = [event for event in self.events if gap.last < event["at"] < gap.first]
        if steps:
            text += ": " + ", ".join(f"{step['event']} at {step['at']:.1f} s" for step in steps)
        text += (
            f". Its callers had no response for {seconds(max(0.0, gap.first - gap.last))}: {_unanswered(ours)} of "
            f"{ours.calls} calls failed, and {_unanswered(theirs)} through plain requests, which only knows the old "
            f"port. The hook was called {count(self.hook_calls(), 'time')}"
        )
        back = self._count(ConnectionEvicted, reason="failback")
        return text + (f", {back} of them to try the old port again." if back else ".")

    def _count(self, *kinds: type[Event], **fields: str) -> int:
        names = {kind.name for kind in kinds}
        return sum(event["event"] in names and fields.items() <= event.items() for event in self.events)


def _unanswered(numbers: Summary) -> int:
    return numbers.calls - numbers.answered


def _port(address: str) -> str:
    return address.rpartition(":")[2]
