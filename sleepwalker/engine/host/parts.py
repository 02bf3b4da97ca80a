"""The scopes ("parts") of a host with their own records: which exist, and how many are kept."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: For one host. Names may come from anything, such as tenants, and each record takes some kilobytes.
MOST_PARTS = 1_000
#: How many one call examines to drop one, so that the lock is held for microseconds.
_BATCH = 16
_name = attrgetter("key")


class Parts(Generic[T]):
    """Records by name. One lives while it is in use, or is among the most recently used.

    Not thread-safe: its owner holds a lock. Listing them needs none.
    """

    __slots__ = ("_known", "_latest")

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[str, T] = weakref.WeakValueDictionary()
        self._latest: OrderedDict[str, T] = OrderedDict()
        """The most recently used comes last."""

    def get(self, name: str) -> T | None:
        """The record of that name, if it exists; marks it as used."""
        part = self._latest.get(name)
        if part is not None:
            self._latest.move_to_end(name)
        elif (part := self._known.get(name)) is not None:
            self._latest[name] = part
        return part

    def peek(self, name: str) -> T | None:
        """The same, without marking it as used."""
        return self._known.get(name)

    def put(self, name: str, part: T) -> None:
        """Add a new one."""
        self._latest[name] = self._known[name] = part

    def drop(self, name: str) -> None:
        """Forget one."""
        self._latest.pop(name, None)
        self._known.pop(name, None)

    @property
    def over_capacity(self) -> bool:
        """Whether there are too many, so that some must go."""
        return len(self._latest) > MOST_PARTS

    def trim(self, needed: Callable[[T], bool]) -> None:
        """If there are too many, drop the least recently used ones that are not needed.

        Several at a time: many may have been needed at once, as in an outage, and no longer are.
        """
        for _ in range(_BATCH):
            if not self.over_capacity:
                return
            oldest = next(iter(self._latest))
            if needed(self._latest[oldest]):
                self._latest.move_to_end(oldest)
            else:
                del self._latest[oldest]

    def all(self) -> list[T]:
        """All known records, by name."""
        # The references are copied in one step: other threads add parts meanwhile.
        refs: list[Any] = sorted(self._known.valuerefs(), key=_name)
        return [part for ref in refs if (part := ref()) is not None]
