"""The application's defaults for managers and connections that were given no policy of their own."""

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
    """The defaults in force."""

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
    """Set the default policy and guard for connections and managers that other code creates; returns the new defaults.

    For an application whose libraries create managers and connections. The defaults apply to every open
    `ConnectionManager` that was made without the argument, before or later, and to every `Connection` that is made
    later without `policy=`. An argument of a constructor or of a manager's `reload` takes precedence.

    Args:
        policy: A `Policy`, the name of a shipped one, or the path of a TOML file. Managers switch to it as with
            `reload`.
        guard: True, False, or names of methods, as for a `ConnectionManager`. Applies to what hooks return from now on.

    An argument that is left out stays as it is. None restores the shipped default: `standard`, and no guard. Raises
    PolicyError or TypeError for an invalid argument and then changes nothing. Thread-safe.
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
    """The policy for objects that were given none."""
    chosen = _chosen.policy
    return load_policy(_SHIPPED) if chosen is None else chosen


def default_guarded() -> frozenset[str]:
    """The methods to guard in a manager that was given no `guard`."""
    return guarded_names(_chosen.guard)


def follow_defaults(follower: _Follower) -> None:
    """Notify `follower` when the default policy changes, and at once if it has changed since the follower read it."""
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
    """The host table for a manager with these arguments and a clock of its `own`."""
    if hosts is not None:
        _check_shared(hosts, policy, policies, None if clock is own else clock)
        return hosts
    chosen = default_policy() if policy is None else policy
    hosts = HostTable(policy=chosen, policies=policies, max_hosts=most, clock=own if clock is None else clock)
    hosts.own_policy = policy is not None
    return hosts


def clock_with(hosts: HostTable, own: Clock) -> Clock:
    """The clock for a manager's guards: a table that was given a test clock uses that one."""
    return hosts.clock if hosts.clock is not SYSTEM_CLOCK else own


def _check_shared(hosts: object, policy: object, policies: object, clock: Clock | None) -> None:
    """Refuse an object that is not a table, and arguments that the table has already."""
    if not isinstance(hosts, HostTable):
        raise TypeError(f"hosts must be a HostTable, not {type(hosts).__name__}")
    if policy is not None or policies is not None:
        raise TypeError("with hosts= the policies are the table's: give policy= and policies= to HostTable(...)")
    if clock is not None and clock is not hosts.clock:
        raise ValueError("with hosts= the clock is the table's: give clock= to HostTable(...), or leave it out")
