"""How rows are found and read, and how texts are cut for storage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from sleepwalker.fleet.store import CAUSE, LABEL, NAME, REASON, Order, View
from sleepwalker.fleet.verdicts import Opinion, Tally

__all__ = [
    "CAUSE",
    "CHANGED",
    "IN_TROUBLE",
    "LABEL",
    "NAME",
    "ORDER",
    "ORDERS",
    "REASON",
    "SWEEP_CALM",
    "SWEEP_HOSTS",
    "SWEEP_ORDERS",
    "Host",
    "cut",
    "cut_or_none",
    "order_of",
    "view_of",
]

_KINDS = ("isolate", "restore", "reset")
#: Whether an order is still in force: until its end or, for an isolation without an end, as long as workers renew it.
_HOLDS = "(ends > :now OR (:kept_until > :now AND kind = 'isolate' AND given_for IS NULL))"
IN_TROUBLE = "SELECT * FROM hosts WHERE service = ? AND accusers > 0 ORDER BY changed LIMIT ?"
CHANGED = "SELECT * FROM hosts WHERE service = ? AND changed > ? ORDER BY changed LIMIT ?"
ORDERS = f"SELECT * FROM orders WHERE service = :service AND changed > :since AND {_HOLDS} ORDER BY changed"  # noqa: S608
ORDER = f"SELECT * FROM orders WHERE service = :service AND name = :name AND is_reset = :is_reset AND {_HOLDS}"  # noqa: S608
SWEEP_HOSTS = "DELETE FROM hosts WHERE service = :service AND accusers = 0 AND ends <= :now AND :kept_until <= :now"
SWEEP_CALM = """
DELETE FROM hosts WHERE service = :service AND accusers = 0 AND changed <= (
    SELECT changed FROM hosts WHERE service = :service AND accusers = 0 ORDER BY changed DESC LIMIT 1 OFFSET :most)
"""
SWEEP_ORDERS = f"DELETE FROM orders WHERE service = :service AND NOT {_HOLDS}"  # noqa: S608


@dataclass(slots=True)
class Host:
    """A row of `hosts`, in the order of its columns."""

    service: int
    host: str
    round: int
    since: float = math.inf
    began: float = math.inf
    failed_at: float = -math.inf
    cause: str | None = None
    look_at: float = 0.0
    accusers: int = 0
    """How many workers find it broken or failing."""
    failing: int = 0
    fine: int = 0
    changed: int = 0
    ends: float = 0.0

    @property
    def tally(self) -> Tally:
        """Its summary. Raises `ValueError` and `TypeError` for data that no worker wrote."""
        return Tally(
            broken=int(self.accusers) - int(self.failing), failing=int(self.failing), fine=int(self.fine),
            since=float(self.since), began=float(self.began),
            round=int(self.round), failed_at=float(self.failed_at), cause=_text(self.cause),
        )  # fmt: skip


def cut(value: str, most: int) -> str:
    """The part of a text that is stored. A lone surrogate, which cannot be stored, becomes a question mark."""
    return value[:most].encode("utf-8", "replace").decode()


def cut_or_none(value: str | None, most: int) -> str | None:
    return None if value is None else cut(value, most)


def view_of(opinion: object, number: int, cause: object, lasted: float) -> View:
    """A view from the file. Raises `ValueError` and `TypeError` for data that no worker wrote."""
    if opinion not in get_args(Opinion):
        raise ValueError(f"the opinion {opinion!r}")
    return View(cast(Opinion, opinion), int(number), _text(cause), float(lasted))


def order_of(kind: object, number: int, reason: object, left: float | None, by: object) -> Order:
    """An order from the file. Raises `ValueError` and `TypeError` for data that no worker wrote."""
    if kind not in _KINDS:
        raise ValueError(f"an order of the kind {kind!r}")
    return Order(cast(Literal["isolate", "restore", "reset"], kind), int(number), _text(reason), left, _text(by))


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a text of the type {type(value).__name__}")
    return value
