"""Writes the reference page of the policies from their fields and the shipped files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sleepwalker.policy.base import PolicyModel, allowed, can_be_off, default_of, part_of, plain
from sleepwalker.policy.descriptions import descriptions, summary
from sleepwalker.policy.model import Policy

__all__ = ["page"]

_HEAD = """\
# Policies

<!-- Generated from the policy objects: `make reference` writes this page. -->

A policy sets the timeouts, retries and limits of a connection. It is a frozen value, made in code or read from a TOML
file. It is checked as a whole: an invalid one raises `PolicyError`, which lists every fault with its path, the value
and what is allowed. All durations are seconds.

```toml
# A part or field that is absent has its default.
bulkhead = false

[timeout]
total = 20

[retry]
attempts = 4
```

The same in code. A part is its model or a dict; False or None switches it off. A part that is off is None on the
object:

```python
from sleepwalker import Policy, RetryPolicy

policy = Policy(bulkhead=False, timeout={"total": 20}, retry=RetryPolicy(attempts=4))
patient = policy.replace(timeout={"total": 60})  # the other timeouts stay

assert patient.timeout.attempt == 10
assert patient.bulkhead is None
assert Policy.load("standard") == Policy()
```

These rules hold between fields: `connect` ≤ `attempt` ≤ `total`; the longest possible waits between attempts add up to
less than `total`; `wait_initial` ≤ `wait_max`; `open_for` ≤ `open_max`; `rehook_initial` ≤ `rehook_max`; `slow_ratio`
and `slow_call` are given together; a hedge has either `delay` or `percentile`, and its `delay` is shorter than
`attempt`; `slow_call`, and the `max_wait` of `bulkhead` and `rate_limit`, are shorter than `total`.
"""

_MATCH = (
    "Patterns for the hosts of the table, as in `fnmatch`: `*` matches any characters, `?` one, `[ab]` one of these. "
    "One pattern must match the origin (`https://host.com:8443`) or the name passed to a manager's `find`. Letter "
    "case, a trailing slash and a default port make no difference."
)
_HOSTS = f"""\
## host

One policy for many hosts: a list of tables, each with `match` and with the parts and fields that differ for the hosts
that fit. What a table does not say is as in the rest of the policy, and a part that is off there comes on with its
defaults. Rules between fields hold for the result.
[How-to](../how-to/choose-and-write-a-policy.md#one-file-for-many-hosts)

```toml
[timeout]
total = 20

[[host]]
match = "https://*.slow.example.com"
timeout.total = 60

[[host]]
match = ["billing", "https://billing.example.com:8443"]
retry = false
breaker.consecutive = 3
```

| field | allowed | meaning |
|---|---|---|
| `match` | a text, or a list of texts | {_MATCH} |

The first table that fits counts, and no other. No pattern may stand in two tables. In code it is
`Policy(host=[{{"match": "billing", "retry": False}}])`; `policy.hosts` has the tables, and
`policy.for_host("https://host.com", "name")` gives the policy of one host.
"""


def page() -> str:
    """The page `docs/reference/policies.md`."""
    parts = (_section(name, part) for name, part in _parts(Policy, ""))
    return "\n".join([_HEAD, *parts, _HOSTS, _shipped()]).rstrip("\n") + "\n"


def _parts(cls: type[PolicyModel], prefix: str) -> Iterator[tuple[str, type[PolicyModel]]]:
    for name in cls.model_fields:
        part = part_of(cls, name)
        if part is not None:
            yield f"{prefix}{name}", part
            yield from _parts(part, f"{prefix}{name}.")


def _section(path: str, part: type[PolicyModel]) -> str:
    lines = [f"## {path}", "", f"`{part.__name__}`: {summary(part)} {_switch(path)}".rstrip(), ""]
    lines += ["| field | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in part.model_fields.items():
        if part_of(part, name) is not None:
            default, takes = "", f"see [{path}.{name}](#{path}{name})"
        else:
            default = "" if field.is_required() else f"`{_toml(plain(default_of(field)))}`"
            takes = allowed(part, name)
        lines.append(f"| `{name}` | {default} | {takes} | {descriptions(part)[name]} |")
    return "\n".join([*lines, ""])


def _switch(path: str) -> str:
    owner: type[PolicyModel] = Policy
    *parents, name = path.split(".")
    for parent in parents:
        owner = part_of(owner, parent) or owner
    if not can_be_off(owner, name):
        return "It cannot be switched off."
    return "Off by default." if default_of(owner.model_fields[name]) is None else "`false` switches it off."


def _shipped() -> str:
    names = ["standard", *(name for name in Policy.names() if name != "standard")]
    values = {name: dict(_flat(Policy.load(name).to_dict(), "")) for name in names}
    paths = list(dict.fromkeys(path for flat in values.values() for path in flat))
    lines = [
        "## Shipped policies",
        "",
        "Each file says when to use it and why its numbers are what they are. Where they differ:",
        "",
        f"| field | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for path in paths:
        row = [values[name].get(path) for name in names]
        if any(value not in (None, row[0]) for value in row):
            # A policy without the path has the part off (and its fields are nowhere), or on (and `false` is not there).
            missing = "on" if any(other.startswith(f"{path}.") for other in paths) else ""
            cells = (missing if value is None else f"`{_toml(value)}`" for value in row)
            lines.append(f"| `{path}` | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _toml(value: Any) -> str:
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
