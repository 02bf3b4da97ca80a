"""What of a policy belongs to a host rather than to a call, and in which fields two policies differ."""

from __future__ import annotations

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.model import Policy

#: What all connections to a host share.
SHARED = ("retry.budget", "breaker", "bulkhead", "rate_limit", "health")
#: What a scope of a connection has of its own.
OF_A_SCOPE = ("timeout", "retry", "breaker", "bulkhead", "rate_limit", "hedge", "health", "log")


def alike(one: Policy, other: Policy) -> bool:
    """Whether two policies share the same per host."""
    return all(_part(one, path) == _part(other, path) for path in SHARED)


def unlike(wanted: Policy, followed: Policy, parts: tuple[str, ...] = SHARED) -> list[str]:
    """The fields of these parts in which a policy differs from the one that is followed.

    Not those of a part that it has off: its calls pass that by.
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
