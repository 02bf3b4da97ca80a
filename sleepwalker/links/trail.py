"""What a walk along links remembers: where it began, and the pair that each host was found with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import requests

from sleepwalker.connection.came_from import CameFrom, came_from
from sleepwalker.connection.guard import usage_of
from sleepwalker.connection.kinds import as_connection
from sleepwalker.exceptions import URLError
from sleepwalker.hosts.names import host_key
from sleepwalker.lookup.held import Held
from sleepwalker.lookup.keys import AuthKey
from sleepwalker.transport.url import Origin, origin_of

#: The most hosts whose pair is remembered: pages may lead to ever more hosts.
_MOST_HOSTS = 256


@dataclass(frozen=True, slots=True)
class Found:
    """The arguments of a manager's `find`."""

    # Neither is shown, for a traceback with locals may have it.
    host: Any = field(repr=False)
    """As it was first asked for, which may be a name that only a hook understands."""
    auth: Any = field(repr=False)
    home: bool = False
    """Whether the walk began there: what the caller passes is for that host."""
    primary: str | None = None
    """Its origin, if the walk began at a failover target instead."""

    def is_of(self, other: Found) -> bool:
        """Whether the other is of the same host."""
        return (self.home and other.home) or self.host is other.host


@dataclass(frozen=True)
class Trail:
    """One value that each response of a walk carries. It never changes, so branches of a walk are independent.

    Origins are keys to what was found, and not the other way about: where another host stood in, or a name was asked
    for, several origins lead to one pair.
    """

    home: Origin | None
    """Where the walk began: the host that the caller's credentials and parameters are for."""
    began: CameFrom | None
    """The connection that it began with."""
    at: Origin | None
    """The origin of the connection that the current response came through."""
    by: Found | None = field(default=None, repr=False)
    """The pair that it was found with, if a manager was asked."""
    known: dict[Origin, Found] = field(default_factory=dict, repr=False)

    def found_as(self, target: Origin) -> Found | None:
        """What a host was found as. None for one that the walk has not been at, or where no manager was asked.

        What a page's own host is, was settled by how the page was come by; for others it is how they were found first.
        """
        return self.by if self.by is not None and target == self.at else self.known.get(target)

    def is_home(self, target: Origin) -> bool:
        """Whether it is the host that the walk began at, or a failover target of it."""
        found = self.found_as(target)
        return target == self.home if found is None else found.home

    @property
    def own(self) -> Found | None:
        """The pair that its first host was found with."""
        return None if self.home is None else self.known.get(self.home)

    def begun_as(self, found: Found) -> Trail:
        """The trail of a walk that began with a connection which was found as that."""
        known = dict(self.known)
        for origin in (self.home, origin_of_host(found.host), origin_of_host(found.primary or "")):
            if origin is not None:
                known[origin] = found
        return replace(self, known=known, by=found if self.at == self.home else self.by)

    def gone_to(self, target: Origin, at: Origin, found: Found | None) -> Trail:
        """The trail of the response that came from `at`, where `target` was asked for."""
        if found is None:
            return replace(self, at=at, by=None)
        # The caller may have had the same host asked for with other credentials: that goes for all its places.
        known = {origin: found if one.is_of(found) else one for origin, one in self.known.items()}
        for origin in (target, at):
            if found.home or origin != self.home:  # another name may lead to the host that the walk began at
                known.setdefault(origin, found)
        for origin in list(known):
            if len(known) <= _MOST_HOSTS:
                break
            if not known[origin].home and origin not in (target, at):
                del known[origin]
        return replace(self, at=at, by=found, known=known)


def trail_of(response: requests.Response, conn: object) -> Trail:
    """The trail of a walk that goes on from this response, which came through `conn`, or begins with it.

    It begins where the response was asked for, which a redirect may have led away from.
    """
    trail = getattr(response, "_sleepwalker_trail", None)
    if isinstance(trail, Trail):
        return trail
    known = came_from(response)
    if known is None or (conn is not None and known.connection is not conn):
        if conn is None:
            home = _asked_origin(response)
            return Trail(home, None, home)
        ours = as_connection(conn)
        known = CameFrom(conn, _asked_origin(response), usage_of(conn)) if ours is None else ours._part.came_from
    return Trail(known.origin, known, known.origin)


def keep_trail(response: requests.Response | None, trail: Trail) -> None:
    """Attach it to a response. Copies and pickles of the response do not have it."""
    if response is not None:
        response._sleepwalker_trail = trail  # type: ignore[attr-defined]


def _asked_origin(response: requests.Response) -> Origin | None:
    """The origin that a response was requested from, before redirects; None without a request over the network."""
    try:
        return origin_of((response.history[0] if response.history else response).url or "")
    except URLError:
        return None


def held_as(held: tuple[Held, ...], manager: object, auth: object) -> Found | tuple[Held, ...] | None:
    """What a connection was found as which was held for these pairs; the pairs, where that cannot be told.

    Those of this manager count, if it has any: else the manager that held it may be behind this one. With several pairs
    `auth` tells which is meant. Nothing else does: a walk must not go on with other credentials, nor at another host
    that a hook had in the same place.
    """
    mine = [one for one in held if one.holder() is manager] or list(held)
    if not mine:
        return None
    if not one_auth(mine):
        if auth is None:
            return tuple(mine)
        key = AuthKey(auth)
        same = [one for one in mine if one.key == key]
        mine = same or [Held(one.holder, one.name, one.host, auth, key, one.primary) for one in mine]
    if any(one.name != mine[0].name for one in mine):
        return tuple(mine)
    return Found(mine[0].host, mine[0].auth, home=True, primary=mine[0].primary)


def one_auth(held: Sequence[Held]) -> bool:
    """Whether the pairs have the same credentials."""
    return all(one.key == held[0].key for one in held)


def origin_of_host(host: object) -> Origin | None:
    """The origin of a host that `find` was asked for; None for a name that only a hook understands."""
    try:
        return host_key(host)[1]
    except URLError:
        return None
