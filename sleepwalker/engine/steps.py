"""What a call may ask for, and what it is answered: the words between the engine and whoever performs its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from enum import Enum
from typing import Literal

from sleepwalker.attempt import Attempt
from sleepwalker.engine.breaker import Permit
from sleepwalker.engine.limits import Ticket
from sleepwalker.engine.outcome import Outcome
from sleepwalker.frozen import slotted


def _nobody() -> str:
    return ""


@slotted
class Request:
    """What the policies need to know of a request."""

    method: str
    path: str
    """Without the query."""
    idempotent: bool
    """Whether it may be sent twice once it may have been processed."""
    replayable: bool
    """Whether its body can be sent a second time."""
    concurrent: bool = False
    """Whether its body can be sent twice at the same time, and a send that is no longer wanted can be cut."""
    retry_if: Callable[[Outcome], bool] | None = None
    """What the caller says of an outcome that the policy would not retry: True for another attempt. For an `Ask`."""
    credentials: Callable[[], str] = _nobody
    """Makes a mark of the credentials that it goes out with, the same for equal ones. Not to be called under a lock."""


@slotted
class Send:
    """Send the request; what came of it is sent back as an `Outcome`. Times are on the call's clock.

    One with `hedge_in` begins a race. What comes of each of its sends is sent back as a `Came`, by whichever thread
    has the news, and the race is on for as long as the answer is `Hold` or, to `DUE`, another `Send`. Any other step
    ends it: what is under way still is to be cut, and nobody asks what comes of it.
    """

    deadline: float
    limit: Literal["attempt", "total"]
    """Which of the two deadlines comes first."""
    seconds: float
    """How long that limit is as a whole."""
    number: int = 1
    """Which of the call's sends it is."""
    hedge_in: float | None = None
    """Seconds after which `DUE` is to be sent back, if the race is still on; None for never."""
    proven_since: float = -math.inf
    """A socket that lay idle may be used if it has answered since then: never, where this is infinity."""


@slotted
class Wait:
    """Do nothing for `seconds`; True is sent back where the wait was cut short for good.

    One with a `ticket` is over, too, as soon as that wakes.
    """

    seconds: float
    ticket: Ticket | None = None


@slotted
class Queue:
    """Wait until `ticket.wake` is set, `seconds` at most; True is sent back where the wait was cut short for good."""

    ticket: Ticket
    seconds: float


@slotted
class Ask:
    """Ask the caller whether this outcome is worth another attempt; `retry_if`'s word is sent back.

    A step, because the function is the caller's: it runs where no lock is held and no permit is out.
    """

    outcome: Outcome
    retry_if: Callable[[Outcome], bool]
    attempts: tuple[Attempt, ...]
    """All of the call so far, this outcome's included."""


@slotted
class Hold:
    """Nothing new to do: go on with what is under way."""


@slotted
class Came:
    """What came of one send of a race."""

    number: int
    outcome: Outcome


class Signal(Enum):
    """News of a race that are no outcome."""

    DUE = "due"
    """The latest send has been under way for its `hedge_in` seconds."""
    LATE = "late"
    """The race has an outcome, and what is still under way is past its deadline."""


DUE, LATE = Signal.DUE, Signal.LATE

Step = Send | Wait | Queue | Ask | Hold
Reply = Outcome | Came | Signal | bool | None
Steps = Generator[Step, Reply, "Final"]


@slotted
class Final:
    """What a call came to: the last real outcome, what was tried, and the permit that it was tried under."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]
    permit: Permit
