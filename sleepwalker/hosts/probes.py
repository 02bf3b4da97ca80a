"""Decides which manager probes a host if several share a table: one probe informs all of them."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Protocol


class Prober(Protocol):
    """The part of a manager that probes hosts."""

    def able(self) -> bool:
        """Whether it can probe: one for asyncio cannot while its loop does not run."""


class ProbeTurns:
    """The first manager that wants a host probed probes it, as long as it wants to and can.

    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_by_origin",)

    def __init__(self) -> None:
        self._by_origin: weakref.WeakValueDictionary[str, Prober] = weakref.WeakValueDictionary()

    def take(self, prober: Prober, origins: Collection[str]) -> set[str]:
        """The hosts among these that `prober` is to probe. It gives up all others."""
        for origin, other in list(self._by_origin.items()):
            if (other is prober and origin not in origins) or not other.able():
                del self._by_origin[origin]
        return {origin for origin in origins if self._by_origin.setdefault(origin, prober) is prober}

    def clear(self) -> None:
        """Start empty in a forked child, where the parent's threads do not exist."""
        self._by_origin.clear()
