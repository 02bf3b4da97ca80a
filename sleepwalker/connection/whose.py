"""Whose policy it is that a host follows in a manager: of a pattern, of its first connection, or the manager's own."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sleepwalker.connection.pair import Pair
from sleepwalker.connection.settings import load_policy
from sleepwalker.exceptions import PolicyError
from sleepwalker.policy import Policy
from sleepwalker.policy.base import policy_error
from sleepwalker.policy.match import Patterns, fault_of

Whose = Literal["policies", "connection", "manager"]
PoliciesByPattern = Mapping[str, Policy | str | os.PathLike[str]]

#: Hosts whose pattern is remembered. They are looked up while a lock is held.
_MOST_KNOWN = 20_000


def names_of(origin: str, pair: Pair) -> tuple[str, ...]:
    """What a host goes by where it is found for a pair: its origin, and what was asked for."""
    return (origin,) if pair.name == origin else (origin, pair.name)


class Followed(NamedTuple):
    """A policy, and whose it is."""

    policy: Policy
    whose: Whose


class Terms:
    """What a manager was told: its policy, and others for the hosts that a pattern fits. A value that never changes."""

    __slots__ = ("_known", "_matched", "_patterns", "idle", "policies", "policy", "probe_every")

    def __init__(self, policy: Policy, policies: tuple[tuple[str, Policy], ...] = ()) -> None:
        """`policies` are (pattern, policy), of which the first that fits counts; then come the policy's own tables."""
        tables = [(table.match, table.policy) for table in policy.hosts]
        entries = [*(((pattern,), chosen) for pattern, chosen in policies), *tables]
        self.policy = policy
        self.policies = policies
        self._matched = [chosen for _, chosen in entries]
        self._patterns = Patterns((pattern, at) for at, (match, _) in enumerate(entries) for pattern in match)
        self._known: dict[tuple[str, ...], Policy | None] = {}
        every = [policy, *self._matched]
        self.idle = min(each.health.idle for each in every)
        """The shortest time after which any of them retires a connection, in seconds."""
        self.probe_every = min(map(probe_every, every))
        """The shortest interval at which any of them has broken hosts probed, in seconds; or infinity."""

    def matched(self, *names: str) -> Policy | None:
        """The policy of the first pattern that fits a host which goes by these names, its origin among them."""
        try:
            return self._known[names]
        except KeyError:
            pass
        number = self._patterns.first(names)
        found = None if number is None else self._matched[number].for_host(*names)
        if len(self._known) >= _MOST_KNOWN:
            self._known = {}
        self._known[names] = found
        return found

    def followed(self, names: tuple[str, ...], hooks: Policy | None = None) -> Followed:
        """What a host follows that goes by these names, and whose first connection brought a policy, or none."""
        if (found := self.matched(*names)) is not None:
            return Followed(found, "policies")
        return Followed(self.policy, "manager") if hooks is None else Followed(hooks, "connection")


def probe_every(policy: Policy) -> float:
    """The interval at which it has broken hosts probed, in seconds; infinity where it does not."""
    return math.inf if policy.health.probe is None else policy.health.probe_interval


def check_policies(policies: Any) -> tuple[tuple[str, Policy], ...]:
    """`policies=` as pairs of a pattern and a policy, in order. PolicyError says everything that is wrong with it."""
    if not isinstance(policies, Mapping):
        raise TypeError(
            'policies must be a mapping of patterns to policies, such as {"https://*.example.com": "batch"}, '
            f"not {type(policies).__name__}"
        )
    chosen, faults = [], []
    seen: dict[str, str] = {}
    for pattern, given in policies.items():
        if (fault := fault_of(pattern)) is not None:
            faults.append(f"a pattern: {fault}")
            continue
        before = seen.setdefault(pattern.lower().rstrip("/"), pattern)
        if before != pattern:
            faults.append(f"{pattern!r}: the same as {before!r}, which counts")
        try:
            chosen.append((pattern, load_policy(given)))
        except TypeError as error:
            raise TypeError(f"policies[{pattern!r}]: {error}") from None
        except PolicyError as error:
            faults += [f"{pattern!r}: {fault}" for fault in error.faults]
    if faults:
        raise policy_error("policies", faults)
    return tuple(chosen)
