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

    # Neither is in the repr, which a traceback with locals would show.
    host: Any = field(repr=False)
    """As it was first passed to `find`. It may be a name that only a hook understands."""
    auth: Any = field(repr=False)
    home: bool = False
    """Whether the walk began at this host. What the caller passes is for it."""
    primary: str | None = None
    """The host's own origin, if known: the walk may have begun at a failover target of it."""

    def is_of(self, other: Found) -> bool:
        """Whether both are of the same host."""
        return (self.home and other.home) or self.host is other.host


@dataclass(frozen=True)
class Trail:
    """What each response of a walk carries. It never changes, so branches of a walk are independent.

    Several origins may map to one pair in `known`: those of a host and its failover target, or of a name.
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
        """The pair that a host was found with. None if the walk has not visited it, or asked no manager for it.

        For the host of the current page it is the pair that the page was requested with.
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
        """This trail, with `found` as the pair of the walk's first connection."""
        known = dict(self.known)
        for origin in (self.home, origin_of_host(found.host), origin_of_host(found.primary or "")):
            if origin is not None:
                known[origin] = found
        return replace(self, known=known, by=found if self.at == self.home else self.by)

    def gone_to(self, target: Origin, at: Origin, found: Found | None) -> Trail:
        """The trail after a step: `target` was to be requested, and the response came from `at`."""
        if found is None:
            return replace(self, at=at, by=None)
        # The caller may have passed other credentials for the same host: they count for all its origins.
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
    """The trail that the response carries; else a new one, of a walk that begins with it.

    `conn` is the connection that it came through. A new trail begins at that connection's origin, or if that is
    unknown, at the origin that was requested before redirects.
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
    """Attach the trail to a response. Copies and pickles of the response do not have it."""
    if response is not None:
        response._sleepwalker_trail = trail  # type: ignore[attr-defined]


def _asked_origin(response: requests.Response) -> Origin | None:
    """The origin that a response was requested from, before redirects; None without a request over the network."""
    try:
        return origin_of((response.history[0] if response.history else response).url or "")
    except URLError:
        return None


def held_as(held: tuple[Held, ...], manager: object, auth: object) -> Found | tuple[Held, ...] | None:
    """The pair that a connection was found with, out of those that it was held for.

    Returns all of them if that cannot be determined, None if there are none. If this manager held it, only its pairs
    count. Otherwise all do, as the manager that held it may be behind this one. Only `auth` decides between pairs with
    different credentials: a walk must not go on with other credentials, nor at another host that shares the connection.
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
