"""The addresses of a name: which to try first, and which one a socket is connected to."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

AddressInfo = tuple[Any, ...]
"""As `socket.getaddrinfo` gives it."""
#: Seconds for which an address that could not be connected to is tried after the others.
_REMEMBERED = 30.0
_MOST = 1000
#: Errors that say that the address is dead. Others are about this machine: no descriptor, port or buffer left.
_DEAD = frozenset(
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


class Peer:
    """The other end of one socket. Each socket has its own, which identifies it after it is gone."""

    __slots__ = ("address", "several")

    def __init__(self, address: Any = None, *, several: bool = False) -> None:
        self.address: Any = address
        """As `socket.connect` takes it; None for a socket that was opened without a deadline."""
        self.several: bool = several
        """Whether its name has other addresses."""

    def differs_from(self, used: Sequence[Peer]) -> bool:
        """Whether it is another socket than `used` and, if the name has several addresses, another address."""
        return self not in used and not (self.several and any(self.address == other.address for other in used))


class FailedAddresses:
    """Addresses to which a connect failed."""

    def __init__(self) -> None:
        # No lock is needed: each operation is a single one of dict.
        self._at: dict[Any, float] = {}

    def note(self, address: Any, error: OSError, now: float) -> None:
        """Connecting to `address` raised `error`."""
        if not isinstance(error, TimeoutError) and error.errno not in _DEAD:
            return
        if len(self._at) >= _MOST:
            self._at.clear()  # at worst, dead addresses are tried first once more
        self._at[address] = now

    def forget(self, address: Any) -> None:
        """A connect to `address` succeeded."""
        if self._at:
            self._at.pop(address, None)

    def has(self, address: Any) -> bool:
        """Whether the last connect to it failed, at any time."""
        return address in self._at

    def __len__(self) -> int:
        return len(self._at)

    def order(self, addresses: list[AddressInfo], used: Sequence[Peer], now: float) -> list[AddressInfo]:
        """The addresses in order: new ones, then those in `used`, then failed ones, the latest failure last."""
        if len(addresses) < 2 or not (used or self._at):
            return addresses
        earlier = {peer.address for peer in used}

        def rank(info: AddressInfo) -> tuple[float, bool]:
            failed = self._at.get(info[4], 0.0)
            return failed if now - failed < _REMEMBERED else 0.0, info[4] in earlier

        return sorted(addresses, key=rank)
