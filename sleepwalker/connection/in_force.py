"""What managers and connections follow that were given nothing of their own, which an application may choose."""

from __future__ import annotations

import enum
import os
import weakref
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.connection.guard import guarded_names
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.policies import PoliciesByPattern, load_policy
from sleepwalker.policy import Policy

_SHIPPED = "standard"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is in force where nothing else was given."""

    policy: Policy
    guard: bool | frozenset[str]
    """True, False, or the names of the methods that are guarded besides the usual ones."""


class _NotGiven(enum.Enum):
    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return self.name


_NOT_GIVEN: Literal[_NotGiven.NOT_GIVEN] = _NotGiven.NOT_GIVEN


class _Chosen:
    """The application's choice. Each part is set and read by itself, in one step, so no lock is needed."""

    policy: Policy | None = None
    guard: bool | frozenset[str] = False


class _Follower(Protocol):
    def follow_default(self) -> None: ...


_chosen = _Chosen()
#: By their ids. A copy of this table's values is taken in one step, while other threads add theirs.
_followers: weakref.WeakValueDictionary[int, _Follower] = weakref.WeakValueDictionary()


def defaults(
    *,
    policy: Policy | str | os.PathLike[str] | Literal[_NotGiven.NOT_GIVEN] | None = _NOT_GIVEN,
    guard: bool | Collection[str] | Literal[_NotGiven.NOT_GIVEN] | None = _NOT_GIVEN,
) -> Defaults:
    """Choose what applies where code that you do not write says nothing; returns what is in force now.

    For an application whose libraries make managers and connections of their own. It binds every `ConnectionManager`
    that was made without that argument, before or later, but for closed ones, and every `Connection` that is made
    later without `policy=`. What a constructor, or a manager's `reload`, was told goes before.

    Args:
        policy: A `Policy`, the name of a shipped one, or the path of a TOML file. Managers follow it as by `reload`.
        guard: True, False, or names of methods, as for a `ConnectionManager`, for what hooks make from now on.

    One that is left out stays as it is; None puts the shipped one back: `standard`, and no guard.
    Raises PolicyError or TypeError for what cannot be, and leaves everything as it was. Thread-safe.
    """
    chosen = policy if policy is None or policy is _NOT_GIVEN else load_policy(policy)
    if guard is not _NOT_GIVEN:
        guard = False if guard is None else guard
        guarded_names(guard)  # raises
        _chosen.guard = guard if isinstance(guard, bool) else frozenset(guard)
    if chosen is not _NOT_GIVEN:
        _chosen.policy = chosen
        for ref in _followers.valuerefs():
            if (follower := ref()) is not None:
                follower.follow_default()
    return Defaults(default_policy(), _chosen.guard)


def default_policy() -> Policy:
    """The policy of what was given none."""
    chosen = _chosen.policy
    return load_policy(_SHIPPED) if chosen is None else chosen


def default_guarded() -> frozenset[str]:
    """The methods that a manager guards which was told nothing of it."""
    return guarded_names(_chosen.guard)


def follow_defaults(follower: _Follower) -> None:
    """Have `follower` told when the default policy changes; and now, should it have done so since it was looked up."""
    _followers[id(follower)] = follower
    follower.follow_default()


def host_table(
    hosts: HostTable | None,
    policy: Policy | str | os.PathLike[str] | None,
    policies: PoliciesByPattern | None,
    most: int,
    clock: Clock | None,
    own: Clock,
) -> HostTable:
    """The table of hosts for a manager that was given these arguments, and that has a clock of its `own`."""
    if hosts is not None:
        _check_shared(hosts, policy, policies, None if clock is own else clock)
        return hosts
    chosen = default_policy() if policy is None else policy
    hosts = HostTable(policy=chosen, policies=policies, max_hosts=most, clock=own if clock is None else clock)
    hosts.own_policy = policy is not None
    return hosts


def clock_with(hosts: HostTable, own: Clock) -> Clock:
    """What a manager's guards wait by: a table of a test's has a clock of its own."""
    return hosts.clock if hosts.clock is not SYSTEM_CLOCK else own


def _check_shared(hosts: object, policy: object, policies: object, clock: Clock | None) -> None:
    """Refuse what is no table, and what the table says already."""
    if not isinstance(hosts, HostTable):
        raise TypeError(f"hosts must be a HostTable, not {type(hosts).__name__}")
    if policy is not None or policies is not None:
        raise TypeError("with hosts= the policies are the table's: give policy= and policies= to HostTable(...)")
    if clock is not None and clock is not hosts.clock:
        raise ValueError("with hosts= the clock is the table's: give clock= to HostTable(...), or leave it out")
