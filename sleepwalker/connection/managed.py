"""The internal interface of a connection, for managers, metrics and link walks. Users do not need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sleepwalker.connection.scopes import Scoped
from sleepwalker.connection.usage import Usage
from sleepwalker.engine import Host
from sleepwalker.policy import Policy
from sleepwalker.telemetry.counted import CountedHost
from sleepwalker.transport.route import Route


class AnyCalls(Protocol):
    """The part of a connection that makes its calls, in threads or tasks."""

    closed: bool

    def renew_after_fork(self) -> None:
        """Start with new sockets and waits, separate from the parent's."""
        ...


class Managed(Scoped):
    """A mixin for `Connection`, whose attributes it uses."""

    __slots__ = ()

    if TYPE_CHECKING:
        _calls: AnyCalls
        _route: Route
        given_policy: Policy | None
        """The policy that it was given; None if it follows the default."""
        usage: Usage
        """How its calls ended, and whether it is retired."""

    @property
    def retired(self) -> bool:
        """Whether it no longer keeps sockets: a manager replaced it, or it is closed."""
        return self._calls.closed or self.usage.retired

    @property
    def _record(self) -> Host:
        """The record of the host, or of this scope of it."""
        self._part.catch_up()
        return self._part.host

    def _records(self) -> list[CountedHost]:
        """The host's record and how many connections to it are held, then those of its scopes, which hold none.

        For a scope, only its own record. The names that `find` was asked for are known to the manager alone.
        """
        host = self._record
        held = host.connections or (0 if self._calls.closed else 1)
        return [CountedHost(host, held, None), *(CountedHost(part, 0, None) for part in host.parts())]

    def attach(self, host: Host) -> None:
        """Share `host`, the record of this connection's origin, with others.

        Policies given to the connection's scopes apply there too, unless others were given first.
        """
        self._part.attach(host)

    def retire(self) -> None:
        """Close idle sockets and keep none from now on, because the connection was replaced.

        Running calls, queued calls and retries continue. Later calls still work, because a caller cannot know that
        another thread replaced the connection. Each call's socket is closed after the call.
        """
        self.usage.retired = True
        self._route.close()

    def _renew_after_fork(self) -> None:
        if self._scopes is not None:
            self._scopes.renew_after_fork()
        self._calls.renew_after_fork()
