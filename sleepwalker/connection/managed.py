"""What a manager, metrics and walks along links do with a connection. Its callers need nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sleepwalker.connection.scopes import Scoped
from sleepwalker.connection.usage import Usage
from sleepwalker.engine import Host
from sleepwalker.policy import Policy
from sleepwalker.telemetry.counted import CountedHost
from sleepwalker.transport.route import Route


class AnyCalls(Protocol):
    """What makes the calls of a connection, one way or another."""

    closed: bool

    def renew_after_fork(self) -> None:
        """Begin with sockets and waits that are not the parent's."""
        ...


class Managed(Scoped):
    """For a `Connection`, whose attributes these are."""

    __slots__ = ()

    if TYPE_CHECKING:
        _calls: AnyCalls
        _route: Route
        given_policy: Policy | None
        """The policy that it was told to follow, None where it follows the default."""
        usage: Usage
        """How its calls ended, and whether it is retired."""

    @property
    def retired(self) -> bool:
        """Whether it no longer keeps sockets: a manager replaced it, or it is closed."""
        return self._calls.closed or self.usage.retired

    @property
    def _record(self) -> Host:
        """What is counted and known of the host, or of this part of it."""
        self._part.catch_up()
        return self._part.host

    def _records(self) -> list[CountedHost]:
        """The host's record and how many connections to it are held, then those of its scopes, which hold none.

        Of a scope its own. What a manager's `find` was asked for only that knows.
        """
        host = self._record
        held = host.connections or (0 if self._calls.closed else 1)
        return [CountedHost(host, held, None), *(CountedHost(part, 0, None) for part in host.parts())]

    def attach(self, host: Host) -> None:
        """Share `host`, the record of this connection's origin, with others.

        Policies that were given to its scopes apply there, too, unless others were given before.
        """
        self._part.attach(host)

    def retire(self) -> None:
        """Close idle sockets, and keep none from now on, as with a connection that is replaced.

        Calls go on to their end, also those that wait for a turn or a retry, and later ones: their callers cannot know
        that another thread replaced the connection. Each call's socket is closed after it.
        """
        self.usage.retired = True
        self._route.close()

    def _renew_after_fork(self) -> None:
        if self._scopes is not None:
            self._scopes.renew_after_fork()
        self._calls.renew_after_fork()
