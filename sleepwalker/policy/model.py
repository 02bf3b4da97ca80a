"""`Policy`: everything that a connection does to survive, as one value."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict, Unpack, cast

from pydantic import Field, PrivateAttr

from sleepwalker.policy import load
from sleepwalker.policy.base import PolicyModel, fill, policy_error
from sleepwalker.policy.constraints import Constraint, less_than, waits_fit
from sleepwalker.policy.hosts import HOST, HostTable, first_of, tables_of
from sleepwalker.policy.parts.breaker import BreakerFields, BreakerPolicy
from sleepwalker.policy.parts.bulkhead import BulkheadFields, BulkheadPolicy
from sleepwalker.policy.parts.health import HealthFields, HealthPolicy
from sleepwalker.policy.parts.hedge import HedgeFields, HedgePolicy
from sleepwalker.policy.parts.log import LogFields, LogPolicy
from sleepwalker.policy.parts.pool import PoolFields, PoolPolicy
from sleepwalker.policy.parts.rate_limit import RateLimitFields, RateLimitPolicy
from sleepwalker.policy.parts.retry import RetryFields, RetryPolicy
from sleepwalker.policy.parts.timeout import TimeoutFields, TimeoutPolicy
from sleepwalker.policy.schema import toml_schema
from sleepwalker.policy.toml import dumps

_QUEUED = "queueing counts towards the total"


class PolicyFields(TypedDict, total=False):
    """The parts of a `Policy`, as keyword arguments: each is its model or a dict of its fields."""

    timeout: TimeoutPolicy | TimeoutFields
    retry: RetryPolicy | RetryFields | Literal[False] | None
    breaker: BreakerPolicy | BreakerFields | Literal[False] | None
    bulkhead: BulkheadPolicy | BulkheadFields | Literal[False] | None
    rate_limit: RateLimitPolicy | RateLimitFields | Literal[False] | None
    hedge: HedgePolicy | HedgeFields | Literal[False] | None
    health: HealthPolicy | HealthFields
    log: LogPolicy | LogFields
    pool: PoolPolicy | PoolFields
    host: Sequence[Mapping[str, Any] | HostTable[Any]]


class Policy(PolicyModel, frozen=True):
    """How a connection deals with failures. A part that is absent has its defaults, those of the policy `standard`.

    A part is given as its model or as a dict of its fields. False or None switches off `retry`, `breaker`,
    `bulkhead`, `rate_limit` and `hedge`; a part that is off is None on the object, and `false` in TOML.
    All durations are seconds.

    `host`, `[[host]]` in TOML, is a list of tables: `match`, a pattern or a list of them, and the parts and fields that
    differ from the rest for the hosts that fit. `for_host` gives the policy of one host.

    Raises `PolicyError`, a ValueError, that lists every fault with its path, the value and what is allowed.

    Example:
        ```python
        policy = Policy(timeout={"total": 20}, retry=RetryPolicy(attempts=4), bulkhead=False)
        patient = policy.replace(timeout={"total": 60})
        conn = Connection("https://api.example.com", policy=patient)
        ```
    """

    constraints: ClassVar[tuple[Constraint, ...]] = (
        waits_fit,
        less_than("breaker.slow_call", "timeout.total", "no call lasts long enough to be slow"),
        less_than("bulkhead.max_wait", "timeout.total", _QUEUED),
        less_than("rate_limit.max_wait", "timeout.total", _QUEUED),
        less_than("hedge.delay", "timeout.attempt", "the attempt is over before its hedge is sent"),
    )

    timeout: TimeoutPolicy = Field(default_factory=cache(TimeoutPolicy))
    """How long things may take."""
    retry: RetryPolicy | None = Field(default_factory=cache(RetryPolicy))
    """Which failed attempts are followed by another."""
    breaker: BreakerPolicy | None = Field(default_factory=cache(BreakerPolicy))
    """When a failing host is left alone."""
    bulkhead: BulkheadPolicy | None = Field(default_factory=cache(BulkheadPolicy))
    """How many calls may be in flight per host."""
    rate_limit: RateLimitPolicy | None = None
    """How many calls per second are sent to a host."""
    hedge: HedgePolicy | None = None
    """When a hedge is sent beside a slow call."""
    health: HealthPolicy = Field(default_factory=cache(HealthPolicy))
    """How a host is judged, and connections made anew."""
    log: LogPolicy = Field(default_factory=cache(LogPolicy))
    """How much is written about calls that got a response."""
    pool: PoolPolicy = Field(default_factory=cache(PoolPolicy))
    """How many sockets are kept open, and for how long."""

    if TYPE_CHECKING:

        def __init__(self, **parts: Unpack[PolicyFields]) -> None: ...

    _hosts: tuple[HostTable[Any], ...] = PrivateAttr(default=())
    _rest: Policy | None = PrivateAttr(default=None)
    """The same policy without tables, if it has some."""

    def _take(self, data: Mapping[Any, Any]) -> list[str]:
        top = {key: value for key, value in data.items() if key != HOST}
        faults = fill(self, top, "", also=(HOST,))[1]
        if HOST not in data:
            return faults
        tables, more = tables_of(type(self), top, data[HOST], faults)
        if tables and not faults and not more:
            self._hosts = tables  # type: ignore[misc]  # private, and set once, as it is made
            self._rest = self._build(top)  # type: ignore[misc]
        return faults + more

    @property
    def hosts(self) -> tuple[HostTable[Self], ...]:
        """Its tables for single hosts, in order."""
        return self._hosts

    def for_host(self, host: str, *names: str) -> Self:
        """The policy of one host: that of the first table that matches, or else this one without its tables.

        `host` is its URL, or a name passed to `ConnectionManager.find`; `names` are its other names.
        """
        if not self._hosts:
            return self
        number = self.table_for(host, *names)
        return cast("Self", self._rest if number is None else self._hosts[number].policy)

    def table_for(self, host: str, *names: str) -> int | None:
        """The place among `hosts` of the first table that fits, None if none does."""
        return first_of(self._hosts, (host, *names)) if self._hosts else None

    def replace(self, **changes: Unpack[PolicyFields]) -> Self:  # type: ignore[override]
        """A copy with some parts changed, checked as a whole.

        A dict for a part changes only the fields that it names: `policy.replace(timeout={"read": 5})` keeps the other
        timeouts. For a part that is off it switches the part on, with the defaults for the rest. Tables for single
        hosts stay. Raises `PolicyError` that lists every fault.
        """
        if self._hosts and HOST not in changes:
            changes["host"] = self._hosts
        return super().replace(**changes)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values that TOML and JSON can hold; what is off is False, sets are sorted lists."""
        tables = {HOST: [table.to_dict() for table in self._hosts]} if self._hosts else {}
        return super().to_dict() | tables

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Fields for the `repr`, and what the tables for single hosts say."""
        yield from super().__repr_args__()
        if self._hosts:
            yield HOST, [table.to_dict() for table in self._hosts]

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Self:
        """The shipped policy of that name, or the one in a TOML file.

        A text with a `/` or a suffix, and any `os.PathLike`, is a path. Raises `PolicyError` for an unknown name, a
        file that cannot be read, TOML that cannot be parsed (with line and column), and every fault of the policy.
        """
        if load.is_name(name_or_path):
            return cls._shipped(name_or_path)
        source, data = load.read_path(name_or_path)
        return cls._build(data, source)

    @classmethod
    @cache
    def _shipped(cls, name: str) -> Self:
        """One object for all: calls may name their policy, and should not read a file each time."""
        source, data = load.read_name(name)
        return cls._build(data, source)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The policy that `to_dict` or a TOML parser made a dict of. Raises `PolicyError` that lists every fault."""
        given = cast("object", data)
        if not isinstance(given, Mapping):
            raise policy_error(cls.__name__, [f"data: a {type(given).__name__} is not allowed; must be a dict"])
        return cls._build(data)

    def to_toml(self) -> str:
        """The policy as TOML with all its fields; `tomllib` and `from_dict` read it back to an equal object."""
        return dumps(self.to_dict())

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A JSON schema of the TOML form, for editors; constraints between fields are not in it."""
        return toml_schema(cls)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The names of the shipped policies, sorted."""
        return load.names()
