"""Which parts of a policy belong to a host rather than to a call, and in which fields two policies differ."""

from __future__ import annotations

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.model import Policy

#: The parts that all connections to a host share.
SHARED = ("retry.budget", "breaker", "bulkhead", "rate_limit", "health")
#: The parts that a scope of a connection has of its own.
OF_A_SCOPE = ("timeout", "retry", "breaker", "bulkhead", "rate_limit", "hedge", "health", "log")


def alike(one: Policy, other: Policy) -> bool:
    """Whether two policies share the same per host."""
    return all(_part(one, path) == _part(other, path) for path in SHARED)


def unlike(wanted: Policy, followed: Policy, parts: tuple[str, ...] = SHARED) -> list[str]:
    """The fields of these parts in which a policy differs from the one that is followed.

    A part that `wanted` switches off does not count: its calls bypass that part.
    """
    found: list[str] = []
    for path in parts:
        mine, theirs = _part(wanted, path), _part(followed, path)
        if mine is None or mine == theirs:
            continue
        if theirs is None:
            found.append(path)
        else:
            fields = [name for name in type(mine).model_fields if getattr(mine, name) != getattr(theirs, name)]
            found += [f"{path}.{name}" for name in fields]
    return found


def _part(policy: Policy, path: str) -> PolicyModel | None:
    part: PolicyModel | None = policy
    for name in path.split("."):
        part = None if part is None else getattr(part, name)
    return part
