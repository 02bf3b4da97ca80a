"""What the child of a fork makes anew, in the order in which one thing stands on another."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Literal, TypeVar, get_args

T = TypeVar("T")

Stage = Literal[
    "process",
    "threads",
    "lookups",
    "timers",
    "hosts",
    "host tables",
    "connections",
    "managers",
    "adapters",
    "downloads",
]

#: A connection that is renewed finds its host's locks free, and so does a manager those of its connections.
_ORDER: tuple[Stage, ...] = get_args(Stage)

_renewals: dict[Stage, Callable[[], None]] = {}


def renew_after_fork(stage: Stage, renew: Callable[[], None]) -> None:
    """Have `renew` called in each child, at its stage. Each stage has one."""
    _renewals[stage] = renew


def renewed_after_fork(stage: Stage, renew: Callable[[T], None]) -> weakref.WeakSet[T]:
    """A set whose living members are renewed in each child, at their stage. It keeps nothing alive."""
    members: weakref.WeakSet[T] = weakref.WeakSet()

    def renew_all() -> None:
        for member in list(members):
            renew(member)

    renew_after_fork(stage, renew_all)
    return members


def _renew_all() -> None:
    for stage in _ORDER:
        if stage in _renewals:
            _renewals[stage]()


_forks_made = 0


def forks_made() -> int:
    """How many children this process, or one that it is a child of, has forked."""
    return _forks_made


def _count() -> None:
    global _forks_made
    _forks_made += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all, after_in_parent=_count)
