"""What one address of the server remembers while it runs."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

#: The most that is kept of anything; the oldest goes first.
MOST = 1000
#: The requests that are remembered.
SEEN = 100

Value = TypeVar("Value")

#: The alternatives to a plain response: a status, or the name of a fault.
Fault = int | str


@dataclass(slots=True)
class Seen:
    """One request, as the terminal and `/seen` show it: no header, no query and no body."""

    method: str
    path: str
    status: int | None = None
    """None as long as nothing was sent."""
    note: str = ""
    """What was wrong with the answer, or that the client hung up before it had it."""


class Neighbour(Protocol):
    """One of the server's addresses, which can be taken down and brought back."""

    @property
    def url(self) -> str: ...

    async def up(self) -> None: ...

    def down(self) -> None: ...


@dataclass(slots=True)
class State:
    """Of one address; `dice` is its own chance."""

    url: str
    dice: random.Random
    fail: float = 0.0
    """The share of all its requests that are answered with 503."""
    neighbours: Sequence[Neighbour] = ()
    """All addresses, this one among them."""
    script: deque[Fault] = field(default_factory=deque)
    """What the next requests get."""
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=SEEN))
    kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    """By path, the JSON that GET returns there."""
    tokens: OrderedDict[str, float] = field(default_factory=OrderedDict)
    """The access tokens that were handed out, and when they end by the loop's clock."""
    ids: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """By `Idempotency-Key`, the id that its first request got."""
    last_id: int = 0
    busy_until: float | None = None
    window: tuple[float, int] = (0.0, 0)
    """When the window of `/limited` ends, and how many requests it has let in."""


def keep(things: OrderedDict[str, Value], key: str, value: Value) -> None:
    """Remember one thing more, within bounds."""
    things[key] = value
    while len(things) > MOST:
        things.popitem(last=False)
