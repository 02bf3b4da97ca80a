"""The steps of a call, performed by a driver, and the replies to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from sleepwalker.attempt import Attempt
from sleepwalker.engine.host.holdings import Waiter
from sleepwalker.engine.host.permits import Permit
from sleepwalker.engine.outcome import Outcome
from sleepwalker.events import RequestRejected


def _no_credentials() -> str:
    return ""


@dataclass(slots=True)
class Request:
    """What the policies need to know about a request."""

    method: str
    path: str
    """Without the query."""
    idempotent: bool
    """Whether it may be sent twice once it may have been processed."""
    replayable: bool
    """Whether its body can be sent a second time."""
    concurrent: bool = False
    """Whether its body can be sent twice at the same time, and an attempt that is no longer wanted can be cancelled."""
    retry_if: Callable[[Outcome], bool] | None = None
    """For an `Ask`: whether the caller wants another attempt after an outcome that the policy would not retry."""
    credentials: Callable[[], str] = _no_credentials
    """Returns a mark of the request's credentials, the same for equal ones. Must not be called under a lock."""
    name: str | None = None
    """What `find` was asked for, if that is not the host."""


@dataclass(slots=True)
class Send:
    """Send the request; its result is sent back as an `Outcome`. Times are on the call's clock.

    A `Send` with `hedge_in` may be hedged. The outcome of each of its attempts is sent back as a `Completed`, from any
    thread, as long as the reply is `Hold` or, to `DUE`, another `Send`. Any other step ends the hedge: the driver
    cancels the running attempts and drops their outcomes.
    """

    deadline: float
    limit: Literal["attempt", "total"]
    """Which of the two deadlines comes first."""
    seconds: float
    """How long that limit is as a whole."""
    number: int = 1
    """Which of the call's sends it is."""
    hedge_in: float | None = None
    """Seconds after which `DUE` is to be sent back, if the hedge is still on; None for never."""
    proven_since: float = -math.inf
    """An idle socket may be used only if it has responded since then; with infinity, none may."""


@dataclass(slots=True)
class Wait:
    """Do nothing for `seconds`; True is sent back if the connection had been closed.

    With a `waiter` it also ends when that is woken.
    """

    seconds: float
    waiter: Waiter | None = None


@dataclass(slots=True)
class Queue:
    """Wait until `waiter` is woken, at most `seconds`; True is sent back if the connection had been closed."""

    waiter: Waiter
    seconds: float


@dataclass(slots=True)
class Ask:
    """Ask the caller whether to retry this outcome; the result of `retry_if` is sent back.

    It is a step because the function is the caller's: it runs without a lock or a permit.
    """

    outcome: Outcome
    retry_if: Callable[[Outcome], bool]
    attempts: tuple[Attempt, ...]
    """All of the call so far, this outcome's included."""


@dataclass(slots=True)
class Receive:
    """Receive the body of a download's response until it ends or breaks off; a `Received` is sent back."""

    outcome: Outcome
    """That of the response's head."""


@dataclass(slots=True)
class Hold:
    """Nothing new to do: continue with the running attempts."""


@dataclass(slots=True)
class Completed:
    """One attempt of a hedge ended."""

    number: int
    outcome: Outcome


@dataclass(slots=True)
class Received:
    """How far a response brought a download."""

    outcome: Outcome
    """That of the head if the download is over, or must be requested again; else the error that broke it off."""
    over: bool
    """Whether there is nothing more to request: the file is whole, or the response says that there is none."""
    forward: bool
    """Whether it made so much progress that the count of attempts starts again."""
    reached: int | None
    """How many bytes of the file are there; None if the response was of no use."""


class Signal(Enum):
    """A message to a hedge that is not an outcome."""

    DUE = "due"
    """The latest send has been under way for its `hedge_in` seconds."""
    LATE = "late"
    """An outcome is known, and the attempts still under way are past their deadline."""


DUE, LATE = Signal.DUE, Signal.LATE

Step = Send | Wait | Queue | Ask | Hold | Receive
Reply = Outcome | Completed | Signal | Received | bool | None
Steps = Generator[Step, Reply, "Final"]


@dataclass(slots=True)
class Final:
    """The end of a call: the last real outcome, its attempts, and the permit of the last one."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]
    permit: Permit
    call: str = ""
    """The id of the call, which its events have."""
    rejected: RequestRejected | None = None
    """The event of its refusal, if it was refused. It may be announced later, together with those of other calls."""
