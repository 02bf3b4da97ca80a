"""The permit to send one attempt, the refusal, and the permits that hold a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

CLOSED: Literal["closed"] = "closed"
OPEN: Literal["open"] = "open"
HALF_OPEN: Literal["half-open"] = "half-open"
State = Literal["closed", "open", "half-open"]
#: Why a circuit opened: a run of failures, a share of them, a probe that failed, a share of slow calls, or the report
#: of other workers.
Rule = Literal["consecutive", "failure_ratio", "fleet", "probe", "slow_ratio"]


@dataclass(slots=True)
class Permit:
    """The permission to send one attempt.

    A permit with `expires` holds a place, of a probe or in a slow start. Others cannot use that place until the permit
    is returned or expires.
    """

    generation: int
    """Which of the circuit's states it was given in, counted from 0."""
    expires: float | None = None
    """When its place counts as lost, on the host's clock; None for a permit without one."""
    issued: float = 0.0
    """When it was given, on the host's clock."""
    probe: bool = False
    """Whether it was given in half-open state."""


#: The permit of an attempt without a breaker.
FREE_PERMIT = Permit(-1)


@dataclass(slots=True)
class Refusal:
    """No permission to send. `retry_after` is in seconds, `cause` the failure that opened the circuit."""

    state: State
    """The circuit's. A closed one refuses during its slow start."""
    retry_after: float
    cause: str | None
    observed: bool = False
    """True in a dry run: the attempt is sent all the same, and its outcome moves nothing."""
    max_wait: float = 0.0
    """Seconds that a call waits rather than be refused."""
    told: bool = False
    """Whether the circuit is open, or half-open, only because other workers say so."""


class PermitHolder(Protocol):
    """Asks for a permit. The permit is stored here before it counts as issued, so that it can be returned."""

    permit: Permit


class Places:
    """The issued permits with a place, by identity: equal ones are not the same.

    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("out",)

    def __init__(self) -> None:
        self.out: tuple[Permit, ...] = ()
        """The oldest first. Mostly none: then a tuple takes no room."""

    def take(self, permit: Permit) -> None:
        """A permit with a place is issued."""
        self.out += (permit,)

    def give_back(self, permit: Permit) -> None:
        """A permit is returned. Repeating it changes nothing."""
        self.out = tuple([other for other in self.out if other is not permit])

    def free(self, most: int) -> int:
        """How many of `most` are free."""
        return max(0, most - len(self.out))

    def free_now(self, most: int, now: float) -> int:
        """The same; places of expired permits are free."""
        if len(self.out) >= most:
            self.out = tuple([permit for permit in self.out if permit.expires is None or permit.expires > now])
        return max(0, most - len(self.out))

    def next_expiry(self, now: float) -> float:
        """Seconds until the first one expires; 0 if none is issued."""
        first = min((permit.expires or now for permit in self.out), default=now)
        return max(0.0, first - now)
