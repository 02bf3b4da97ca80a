"""The addresses of a name: which to try first, and which of them a socket leads to."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

AddressInfo = tuple[Any, ...]
"""As `socket.getaddrinfo` gives it."""
#: Seconds for which an address that could not be connected to is tried after the others.
_REMEMBERED = 30.0
_MOST = 1000
#: What says that nobody is there. Others say something of this machine: no descriptor, no port, no buffer left.
_NOBODY_THERE = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
    }
)


class Route:
    """Where one socket leads. Each socket has one of its own, by which it is known after it is gone."""

    __slots__ = ("address", "several")

    def __init__(self, address: Any = None, *, several: bool = False) -> None:
        self.address = address
        """As `socket.connect` takes it; None where the session was used by hand."""
        self.several = several
        """Whether its name had others."""

    def leads_past(self, used: Sequence[Route]) -> bool:
        """Whether it is another socket than those, and to another address where the name has several."""
        return self not in used and not (self.several and any(self.address == other.address for other in used))


class Failed:
    """Addresses that could not be connected to a while ago."""

    def __init__(self) -> None:
        # Without a lock: each step is one of a dict's own.
        self._at: dict[Any, float] = {}

    def note(self, address: Any, error: OSError, now: float) -> None:
        """Connecting to `address` raised `error`."""
        if not isinstance(error, TimeoutError) and error.errno not in _NOBODY_THERE:
            return
        if len(self._at) >= _MOST:
            self._at.clear()  # it costs the next ones who meet a dead address some time, and nothing else
        self._at[address] = now

    def forget(self, address: Any) -> None:
        """It could be connected to."""
        if self._at:
            self._at.pop(address, None)

    def has(self, address: Any) -> bool:
        """Whether it could not be connected to when that was tried last, however long ago."""
        return address in self._at

    def __len__(self) -> int:
        return len(self._at)

    def order(self, addresses: list[AddressInfo], used: Sequence[Route], now: float) -> list[AddressInfo]:
        """Those that failed last of all, the latest last, and those in `used` after the others; else as they come."""
        if len(addresses) < 2 or not (used or self._at):
            return addresses
        earlier = {route.address for route in used}

        def rank(info: AddressInfo) -> tuple[float, bool]:
            failed = self._at.get(info[4], 0.0)
            return failed if now - failed < _REMEMBERED else 0.0, info[4] in earlier

        return sorted(addresses, key=rank)
