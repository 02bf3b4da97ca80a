"""The host record and the policy that apply to the calls of a connection or of one of its scopes."""

from __future__ import annotations

from dataclasses import dataclass

from sleepwalker.clock import Clock
from sleepwalker.connection.came_from import CameFrom
from sleepwalker.connection.options import CallOptions
from sleepwalker.engine import CompiledPolicy, Host, passes_rate_limit
from sleepwalker.events import Observer, PolicyIgnored
from sleepwalker.policy import Policy
from sleepwalker.policy.shared import OF_A_SCOPE, unlike

#: How many policies and timeouts of single calls are kept compiled.
_MOST_OTHERS = 64


@dataclass(slots=True, eq=False, repr=False)
class Compiler:
    """Compiles policies for the calls of one connection."""

    origin: str
    hostname: str
    clock: Clock
    timeout: tuple[float, float] | None
    """The constructor's `(connect, read)`, which replaces that of the connection's own policy."""

    def for_host(self, policy: Policy) -> Policy:
        """The policy, or its table for this host."""
        return policy.for_host(self.origin, self.hostname)

    def own(self, policy: Policy) -> CompiledPolicy:
        """The policy of a connection or a scope."""
        return CompiledPolicy(policy, self.clock, self.timeout)

    def of_call(self, policy: Policy, timeout: tuple[float, float] | None, own: CompiledPolicy) -> CompiledPolicy:
        """The policy of a single call; `own` is that of its connection or scope."""
        return CompiledPolicy(policy, self.clock, timeout).beside(own)


class Part:
    """The record in which the calls of a connection or scope count, and the policy that they follow.

    A scope follows its connection and checks it on each call, because a manager may give the connection another record
    and forget the scope's record.
    """

    __slots__ = ("_compiler", "_observe", "_others", "attached", "came_from", "compiled", "host", "name", "whole")

    compiled: CompiledPolicy

    def __init__(
        self,
        compiler: Compiler,
        observe: Observer,
        came_from: CameFrom,
        host: Host,
        compiled: CompiledPolicy,
        *,
        name: str | None = None,
        whole: Part | None = None,
    ) -> None:
        self._compiler = compiler
        self._observe = observe
        self._others: dict[tuple[Policy, bool, tuple[float, float] | None], CompiledPolicy] = {}
        self.came_from: CameFrom = came_from
        """The note for its responses, which link walks read."""
        self.host: Host = host
        self.compiled = compiled
        self.name: str | None = name
        """The scope's name, None for the connection itself."""
        self.whole: Part | None = whole
        """The part of its connection, if this is a scope's."""
        self.attached: bool = False
        """Whether a manager gave the connection its host's record: then it decides about the record's policy."""

    def scope(self, name: str, came_from: CameFrom) -> Part:
        """The part of the scope with that name."""
        part = Part(self._compiler, self._observe, came_from, self.host, self.compiled, name=name, whole=self)
        part.catch_up()
        return part

    def compiled_for(self, options: CallOptions) -> CompiledPolicy:
        """The policy of one call. A call's own policy or timeout is compiled once per such pair."""
        compiled = own = self.compiled
        if options.policy is not None or options.timeout is not None:
            chosen = own.policy if options.policy is None else self._compiler.for_host(options.policy)
            key = (chosen, passes_rate_limit(chosen), options.timeout)  # equal policies may set different fields
            found = self._others.get(key)
            if found is None:
                found = self._compiler.of_call(chosen, options.timeout, own)
                if len(self._others) >= _MOST_OTHERS:
                    self._others = {}
                self._others[key] = found
            compiled = found
        if options.total is not None:  # not cached: a caller's remaining time is a different number each time
            compiled = compiled.within(options.total)
        return compiled

    def catch_up(self) -> None:
        """For a scope: adopt the current policy of its connection and the host's current record of the scope."""
        whole = self.whole
        if whole is None or self.name is None:
            return
        host, _, _ = whole.host.part(self.name)
        # The record was forgotten and is new. The program's settings for this scope still apply.
        if host is not self.host and host.own_policy is None and (given := self.host.own_policy) is not None:
            whole.give(self.name, given)
        own = host.own_policy
        if own is None:
            self._follow(whole.compiled)
        elif own is not self.compiled.policy:
            self._follow(self._compiler.own(own))
        self.host = host

    def give(self, name: str, policy: Policy) -> None:
        """Give the scope with that name a policy. If it already has another one, that one stays, and an event says so.

        There is only one such event for each scope.
        """
        part, heeded, transitions = self.host.part(name, policy)
        for event in transitions:
            self._observe(event)
        if heeded or part.told_ignored:
            return
        if ignored := unlike(policy, part.policy, OF_A_SCOPE):
            part.told_ignored = True
            self._observe(PolicyIgnored(part.origin, ignored=", ".join(ignored), followed="scope"))

    def follow(self, policy: Policy) -> None:
        """Set the policy of later calls. In a manager, only its `reload` changes the policy of the host's record."""
        if self.whole is not None:
            self.catch_up()
            transitions = self.host.give(policy)
        else:
            self._follow(self._compiler.own(policy))
            transitions = () if self.attached else self.host.reconfigure(policy)
        for event in transitions:
            self._observe(event)

    def reset_circuit(self) -> None:
        """Close the circuit of the record in which later calls count."""
        self.catch_up()
        for event in self.host.reset_circuit():
            self._observe(event)

    def attach(self, host: Host) -> None:
        """Share a record with others. Policies given to scopes apply there, unless others apply already."""
        whole = self if self.whole is None else self.whole
        before, whole.host, whole.attached = whole.host, host, True
        if before is not host:
            for part in before.parts():
                if part.own_policy is not None:
                    whole.give(part.origin.partition("#")[2], part.own_policy)

    def _follow(self, compiled: CompiledPolicy) -> None:
        if compiled is not self.compiled:
            self.compiled, self._others = compiled, {}
