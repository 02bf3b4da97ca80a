"""The type of connections that an `AsyncConnectionManager` returns, for type checkers; as in `connection.found`."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["AsyncFound_co"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from sleepwalker.aio.connection import AsyncConnection

    AsyncFound_co = TypeVar("AsyncFound_co", covariant=True, default=AsyncConnection)
else:
    from typing import TypeVar

    AsyncFound_co = TypeVar("AsyncFound_co", covariant=True)
