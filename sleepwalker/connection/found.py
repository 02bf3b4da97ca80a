"""The type of connections that a manager returns, for type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["Found_co"]

# With a default, the type needs no parameter in brackets; at run time only Python 3.13 has that. Covariant, though
# `add` takes one: a function that takes a manager of connections also takes a manager of a subclass.
if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from sleepwalker.connection.connection import Connection

    Found_co = TypeVar("Found_co", covariant=True, default=Connection)
else:
    from typing import TypeVar

    Found_co = TypeVar("Found_co", covariant=True)
