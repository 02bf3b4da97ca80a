"""Tables of a policy for single hosts, `[[host]]` in a file, with what differs from the rest of the policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sleepwalker.policy.base import PolicyModel, fill, plain
from sleepwalker.policy.match import Patterns, fault_of

HOST = "host"
"""The name of the tables in a policy."""
MATCH = "match"
"""The name of the patterns in a table."""
_WANTED = "a text or a list of texts, patterns for the hosts that the table is for"


P = TypeVar("P", bound=PolicyModel)


@dataclass(frozen=True, slots=True)
class HostTable(Generic[P]):
    """One `[[host]]` table: the hosts that it is for, the fields that it sets, and the resulting policy."""

    match: tuple[str, ...]
    parts: Mapping[str, Any]
    """The fields that it names, as plain values by part. Compared by value; not to be changed."""
    policy: P
    """The complete policy: these fields, and the others of the policy that the table is in."""

    def to_dict(self) -> dict[str, Any]:
        """The table as TOML and JSON can hold it."""
        return {MATCH: list(self.match), **self.parts}


def tables_of(
    cls: type[P], top: Mapping[Any, Any], given: object, known: Iterable[str]
) -> tuple[tuple[HostTable[P], ...], list[str]]:
    """The tables that a policy of this class and content was given, and all their faults.

    `known` are the faults of the rest. Each table that does not correct them has them, too; they are reported once.
    With faults the tables must not be used.
    """
    if isinstance(given, Mapping):
        return (), [f"{HOST}: a single table is not allowed; must be a list of tables: write [[{HOST}]] in TOML"]
    if not isinstance(given, list | tuple):
        return (), [f"{HOST}: a {type(given).__name__} is not allowed; must be a list of tables"]
    top = {key: value for key, value in top.items() if key in cls.model_fields}
    told = set(known)
    tables: list[HostTable[P]] = []
    faults: list[str] = []
    first: dict[str, int] = {}
    for number, table in enumerate(given):
        path = f"{HOST}[{number}]"
        if isinstance(table, HostTable):
            table = table.to_dict()  # noqa: PLW2901 - over another top it is another policy
        if not isinstance(table, Mapping):
            faults.append(f"{path}: a {type(table).__name__} is not allowed; must be a table")
            continue
        match, wrong = _match_of(table, f"{path}.{MATCH}")
        for pattern in match:
            before = first.setdefault(pattern.lower().rstrip("/"), number)
            if before != number:
                wrong.append(f"{path}.{MATCH}: {pattern!r} is already in {HOST}[{before}], which comes first and wins")
        said = {key: value for key, value in table.items() if key != MATCH}
        policy = cls.__new__(cls)
        inner = fill(policy, _overlaid(top, said), f"{path}.", also=(MATCH,))[1]
        wrong += [fault for fault in inner if fault.replace(f"{path}.", "") not in told]
        faults += wrong
        if not faults and not told:
            tables.append(HostTable(match, _named(policy, said), policy))
    return tuple(tables), faults


def first_of(tables: tuple[HostTable[Any], ...], hosts: Iterable[str]) -> int | None:
    """Which of the tables is the first that fits one of the hosts, URLs or names; None if none does."""
    return _patterns_of(tuple(table.match for table in tables)).first(hosts)


@lru_cache(maxsize=64)
def _patterns_of(matches: tuple[tuple[str, ...], ...]) -> Patterns:
    return Patterns((pattern, number) for number, match in enumerate(matches) for pattern in match)


def _match_of(table: Mapping[Any, Any], path: str) -> tuple[tuple[str, ...], list[str]]:
    if MATCH not in table:
        return (), [f"{path}: missing; must be {_WANTED}"]
    given = table[MATCH]
    patterns = given if isinstance(given, list | tuple) else [given]
    if not patterns:
        return (), [f"{path}: an empty list is not allowed; must be {_WANTED}"]
    found = [(pattern, fault_of(pattern)) for pattern in patterns]
    faults = [
        f"{path}{f'[{number}]' if patterns is given else ''}: {fault}"
        for number, (_, fault) in enumerate(found)
        if fault is not None
    ]
    return tuple(pattern for pattern, fault in found if fault is None), faults


def _overlaid(base: object, changes: Mapping[Any, Any]) -> dict[Any, Any]:
    """The fields of `base`, a part or a mapping, with some changed. A part that is off has none."""
    if isinstance(base, PolicyModel):  # fields that were not set there are not set here
        base = {name: getattr(base, name) for name in base.model_fields_set}
    merged = dict(base) if isinstance(base, Mapping) else {}
    for name, value in changes.items():
        merged[name] = _overlaid(merged.get(name), value) if isinstance(value, Mapping) else value
    return merged


def _named(made: PolicyModel, said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a policy or part that a table names, as plain values: the same, however the table wrote them."""
    named: dict[str, Any] = {}
    for name, value in said.items():
        whole = getattr(made, name)
        some = isinstance(whole, PolicyModel) and isinstance(value, Mapping) and value
        named[name] = _named(whole, value) if some else plain(whole)
    return named
