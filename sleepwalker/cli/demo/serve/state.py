"""What one address of the server remembers while it runs."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

#: The most entries of any kind that are kept. The oldest are dropped first.
MOST = 1000
#: How many requests are remembered.
SEEN = 100

Value = TypeVar("Value")

#: What a request gets in place of a plain response: a status, or the name of a fault.
Fault = int | str


@dataclass(slots=True)
class Seen:
    """One request, as the terminal and `/seen` show it: no header, no query and no body."""

    method: str
    path: str
    status: int | None = None
    """None until something was sent."""
    note: str = ""
    """What was wrong with the answer, or that the client hung up before it was complete."""


class Neighbour(Protocol):
    """One of the server's addresses, which can be taken down and brought back."""

    @property
    def url(self) -> str: ...

    async def up(self) -> None: ...

    def down(self) -> None: ...


@dataclass(slots=True)
class State:
    """The state of one address. `dice` is its own source of chance."""

    url: str
    dice: random.Random
    fail: float = 0.0
    """The share of all its requests that are answered with 503."""
    neighbours: Sequence[Neighbour] = ()
    """All addresses, including this one."""
    script: deque[Fault] = field(default_factory=deque)
    """What the next requests get."""
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=SEEN))
    kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    """By path, the JSON that GET returns there."""
    tokens: OrderedDict[str, float] = field(default_factory=OrderedDict)
    """The access tokens that were issued, and when they expire by the loop's clock."""
    ids: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """By `Idempotency-Key`, the id that its first request got."""
    last_id: int = 0
    busy_until: float | None = None
    window: tuple[float, int] = (0.0, 0)
    """When the window of `/limited` ends, and how many requests it has let in."""


def keep(things: OrderedDict[str, Value], key: str, value: Value) -> None:
    """Remember one more thing. Beyond `MOST`, the oldest is dropped."""
    things[key] = value
    while len(things) > MOST:
        things.popitem(last=False)
