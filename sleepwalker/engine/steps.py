"""What a call may ask for, and what it is answered: the words between the engine and whoever performs its steps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from sleepwalker.attempt import Attempt
from sleepwalker.engine.breaker import Permit
from sleepwalker.engine.limits import Ticket
from sleepwalker.engine.outcome import Outcome


@dataclass(slots=True)
class Request:
    """What the policies need to know of a request."""

    method: str
    path: str
    """Without the query."""
    idempotent: bool
    """Whether it may be sent twice once it may have been processed."""
    replayable: bool
    """Whether its body can be sent a second time."""


@dataclass(slots=True)
class Send:
    """Send the request; what came of it is sent back as an `Outcome`. Times are on the call's clock."""

    deadline: float
    limit: Literal["attempt", "total"]
    """Which of the two deadlines comes first."""
    seconds: float
    """How long that limit is as a whole."""
    number: int = 1
    """Which of the call's sends it is."""


@dataclass(slots=True)
class Wait:
    """Do nothing for `seconds`; True is sent back where the wait was cut short for good."""

    seconds: float


@dataclass(slots=True)
class Queue:
    """Wait until `ticket.wake` is set, `seconds` at most; True is sent back where the wait was cut short for good."""

    ticket: Ticket
    seconds: float


Step = Send | Wait | Queue
Reply = Outcome | bool | None
Steps = Generator[Step, Reply, "Final"]


@dataclass(slots=True)
class Final:
    """What a call came to: the last real outcome, what was tried, and the permit that it was tried under."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]
    permit: Permit
