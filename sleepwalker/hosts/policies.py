"""Whose policy a host follows in a manager: a pattern's, its first connection's, or the manager's own."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sleepwalker.exceptions import PolicyError
from sleepwalker.policy import Policy
from sleepwalker.policy.base import policy_error
from sleepwalker.policy.match import Patterns, fault_of

Whose = Literal["policies", "connection", "manager"]
PoliciesByPattern = Mapping[str, Policy | str | os.PathLike[str]]
#: Checked patterns and policies, in order.
Matched = tuple[tuple[str, Policy], ...]

#: The most hosts whose policy by pattern is remembered. They are looked up while a lock is held.
_MOST_KNOWN = 20_000


def load_policy(policy: Any) -> Policy:
    """A `Policy` from itself, the name of a shipped one, or the path of a TOML file."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, str | os.PathLike):
        return Policy.load(policy)
    raise TypeError(
        f"policy must be a Policy, the name of a shipped one ({', '.join(Policy.names())}) or the path of a TOML file, "
        f"not {type(policy).__name__}"
    )


def names_of(origin: str, name: str) -> tuple[str, ...]:
    """The names of a host that is found under `name`: its origin, and that name."""
    return (origin,) if name == origin else (origin, name)


class Followed(NamedTuple):
    """A policy, and where it comes from."""

    policy: Policy
    whose: Whose


class PolicyMap:
    """A manager's policy, and others for hosts by pattern. Immutable."""

    __slots__ = ("_known", "_matched", "_patterns", "idle", "policies", "policy", "probe_every")

    def __init__(self, policy: Policy, policies: Matched = ()) -> None:
        """`policies` are (pattern, policy), of which the first that fits counts; then come the policy's own tables."""
        tables = [(table.match, table.policy) for table in policy.hosts]
        entries = [*(((pattern,), chosen) for pattern, chosen in policies), *tables]
        self.policy: Policy = policy
        self.policies: Matched = policies
        self._matched: list[Policy] = [chosen for _, chosen in entries]
        self._patterns = Patterns((pattern, at) for at, (match, _) in enumerate(entries) for pattern in match)
        self._known: dict[tuple[str, ...], Policy | None] = {}
        every = [policy, *self._matched]
        self.idle: float = min(each.health.idle for each in every)
        """The shortest time after which any of them retires a connection, in seconds."""
        self.probe_every: float = min(map(probe_every, every))
        """The shortest `health.probe_interval` of policies with a probe, in seconds; or infinity."""

    def matched(self, *names: str) -> Policy | None:
        """The policy of the first pattern that matches one of a host's names, its origin included."""
        if not self._matched:
            return None
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

    def replaced(self, policy: Policy | None, policies: Matched | None) -> PolicyMap:
        """A copy with another policy, or others by pattern; None keeps the present ones."""
        return PolicyMap(policy or self.policy, self.policies if policies is None else policies)

    def followed(self, names: tuple[str, ...], hooks: Policy | None = None) -> Followed:
        """The policy for a host with these names. `hooks` is the policy that its first connection brought, if any."""
        if (found := self.matched(*names)) is not None:
            return Followed(found, "policies")
        return Followed(self.policy, "manager") if hooks is None else Followed(hooks, "connection")


def probe_every(policy: Policy) -> float:
    """Its `health.probe_interval` in seconds; infinity without a probe."""
    return math.inf if policy.health.probe is None else policy.health.probe_interval


def check_reload(policy: object, policies: object) -> tuple[Policy | None, Matched | None]:
    """The arguments of a `reload`, checked; None keeps the present ones."""
    if policy is None and policies is None:
        raise TypeError("reload needs policy= or policies=: pass at least one of them")
    return None if policy is None else load_policy(policy), None if policies is None else check_policies(policies)


def check_policies(policies: Any) -> Matched:
    """`policies=` as pairs of a pattern and a policy, in order. PolicyError lists all faults."""
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
            faults.append(f"{pattern!r}: the same as {before!r}, which comes first and wins")
        try:
            chosen.append((pattern, load_policy(given)))
        except TypeError as error:
            raise TypeError(f"policies[{pattern!r}]: {error}") from None
        except PolicyError as error:
            faults += [f"{pattern!r}: {fault}" for fault in error.faults]
    if faults:
        raise policy_error("policies", faults)
    return tuple(chosen)
