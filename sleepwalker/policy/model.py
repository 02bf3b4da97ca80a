"""`Policy`: everything that a connection does to survive, as one value."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import Field, PrivateAttr

from sleepwalker.policy import load
from sleepwalker.policy.base import PolicyModel, fill, policy_error
from sleepwalker.policy.hosts import HOST, HostTable, first_of, tables_of
from sleepwalker.policy.parts import (
    BreakerPolicy,
    BulkheadPolicy,
    HealthPolicy,
    HedgePolicy,
    LogPolicy,
    PoolPolicy,
    RateLimitPolicy,
    RetryPolicy,
    TimeoutPolicy,
)
from sleepwalker.policy.rules import Rule, less_than, waits_fit
from sleepwalker.policy.schema import toml_schema
from sleepwalker.policy.toml import dumps

if TYPE_CHECKING:
    _Fields = Mapping[str, Any]
    _Off = Literal[False] | None

_QUEUED = "queueing counts towards the total"


class Policy(PolicyModel):
    """All parts. One that is absent has its defaults, which are those of the shipped policy `standard`.

    A part is given as its model or as a dict of its fields. False or None switches off `retry`, `breaker`,
    `bulkhead`, `rate_limit` and `hedge`; a part that is off is None on the object, and `false` in TOML.
    All durations are seconds.

    `host`, `[[host]]` in TOML, is a list of tables: `match`, a pattern or a list of them, and the parts and fields that
    differ from the rest for the hosts that fit. `for_host` gives the policy of one host.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        waits_fit,
        less_than("breaker.slow_call", "timeout.total", "no call lasts long enough to be slow"),
        less_than("bulkhead.max_wait", "timeout.total", _QUEUED),
        less_than("rate_limit.max_wait", "timeout.total", _QUEUED),
        less_than("hedge.delay", "timeout.attempt", "the attempt is over before its copy is sent"),
    )

    timeout: TimeoutPolicy = Field(default_factory=cache(TimeoutPolicy), description="How long things may take.")
    retry: RetryPolicy | None = Field(
        default_factory=cache(RetryPolicy), description="Which failed attempts are followed by another."
    )
    breaker: BreakerPolicy | None = Field(
        default_factory=cache(BreakerPolicy), description="When a failing host is left alone."
    )
    bulkhead: BulkheadPolicy | None = Field(
        default_factory=cache(BulkheadPolicy), description="How many calls may be in flight per host."
    )
    rate_limit: RateLimitPolicy | None = Field(
        default=None, description="How many calls per second are sent to a host."
    )
    hedge: HedgePolicy | None = Field(default=None, description="When a copy of a slow call is sent.")
    health: HealthPolicy = Field(
        default_factory=cache(HealthPolicy), description="How a host is judged, and connections made anew."
    )
    log: LogPolicy = Field(default_factory=cache(LogPolicy), description="How much is written about answered calls.")
    pool: PoolPolicy = Field(
        default_factory=cache(PoolPolicy), description="How many sockets are kept open, and for how long."
    )

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            timeout: TimeoutPolicy | _Fields = ...,
            retry: RetryPolicy | _Fields | _Off = ...,
            breaker: BreakerPolicy | _Fields | _Off = ...,
            bulkhead: BulkheadPolicy | _Fields | _Off = ...,
            rate_limit: RateLimitPolicy | _Fields | _Off = ...,
            hedge: HedgePolicy | _Fields | _Off = ...,
            health: HealthPolicy | _Fields = ...,
            log: LogPolicy | _Fields = ...,
            pool: PoolPolicy | _Fields = ...,
            host: Sequence[_Fields] = ...,
        ) -> None: ...

    _hosts: tuple[HostTable[Any], ...] = PrivateAttr(default=())
    _rest: Policy | None = PrivateAttr(default=None)
    """The same without tables, where it has some."""

    def _take(self, data: Mapping[Any, Any]) -> list[str]:
        top = {key: value for key, value in data.items() if key != HOST}
        faults = fill(self, top, "", also=(HOST,))[1]
        if HOST not in data:
            return faults
        tables, more = tables_of(type(self), top, data[HOST], faults)
        if tables and not faults and not more:
            self._hosts, self._rest = tables, self._build(top)
        return faults + more

    @property
    def hosts(self) -> tuple[HostTable[Self], ...]:
        """Its tables for single hosts, in order."""
        return self._hosts

    def for_host(self, host: str, *names: str) -> Self:
        """The policy of one host: that of the first table that fits, or where none does this one without its tables.

        `host` is its URL, or a name that `ConnectionManager.find` is asked for; `names` are others that it goes by.
        """
        if not self._hosts:
            return self
        number = self.table_for(host, *names)
        return cast("Self", self._rest if number is None else self._hosts[number].policy)

    def table_for(self, host: str, *names: str) -> int | None:
        """The place among `hosts` of the first table that fits, None if none does."""
        return first_of(self._hosts, (host, *names)) if self._hosts else None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, as of any part. Its tables for single hosts say of it what they said."""
        if self._hosts and HOST not in changes:
            changes[HOST] = self._hosts
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
        """A JSON schema of the TOML form, for editors; rules between fields are not in it."""
        return toml_schema(cls)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The names of the shipped policies, sorted."""
        return load.names()
