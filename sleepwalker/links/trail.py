"""What a walk along links knows: where it began, and as whom each host was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import requests

from sleepwalker.connection.came_from import CameFrom
from sleepwalker.connection.guard import usage_of
from sleepwalker.connection.held import Held
from sleepwalker.connection.keys import AuthKey, host_key
from sleepwalker.connection.pair import as_connection
from sleepwalker.exceptions import URLError
from sleepwalker.transport.url import Origin, origin_of

#: A page may lead to one more host, and the next one to another: of so many at most is known as whom they were found.
_MOST_HOSTS = 256


@dataclass(frozen=True, slots=True)
class Found:
    """What a manager's `find` is asked for."""

    # Neither is shown, for a traceback with locals may have it.
    host: Any = field(repr=False)
    """In the words in which it was asked for first, which may be a name that only a hook understands."""
    auth: Any = field(repr=False)
    home: bool = False
    """Whether the walk began there: what the caller passes is for that host."""
    primary: str | None = None
    """Where it is, should another host have stood in for it when the walk began."""

    def is_of(self, other: Found) -> bool:
        """Whether the other is of the same host."""
        return (self.home and other.home) or self.host is other.host


@dataclass(frozen=True)
class Trail:
    """One value that each answer of a walk carries. It never changes, so branches of a walk know nothing of each other.

    Origins are keys to what was found, and not the other way about: where another host stood in, or a name was asked
    for, several origins lead to one pair.
    """

    home: Origin | None
    """Where the walk began: the host that the caller's credentials and parameters are for."""
    began: CameFrom | None
    """The connection that it began with."""
    at: Origin | None
    """Where the connection goes that the answer at hand came through."""
    by: Found | None = field(default=None, repr=False)
    """What that was found as, if a manager was asked for it."""
    known: dict[Origin, Found] = field(default_factory=dict, repr=False)

    def found_as(self, target: Origin) -> Found | None:
        """What a host was found as. None for one that the walk has not been at, or where no manager was asked.

        What a page's own host is, was settled by how the page was come by; for others it is how they were found first.
        """
        return self.by if self.by is not None and target == self.at else self.known.get(target)

    def is_home(self, target: Origin) -> bool:
        """Whether it is the host that the walk began at, or another one that stands in for it."""
        found = self.found_as(target)
        return target == self.home if found is None else found.home

    @property
    def own(self) -> Found | None:
        """What the host that it began at was found as."""
        return None if self.home is None else self.known.get(self.home)

    def begun_as(self, found: Found) -> Trail:
        """The trail of a walk that began with a connection which was found as that."""
        known = dict(self.known)
        for origin in (self.home, origin_of_host(found.host), origin_of_host(found.primary or "")):
            if origin is not None:
                known[origin] = found
        return replace(self, known=known, by=found if self.at == self.home else self.by)

    def gone_to(self, target: Origin, at: Origin, found: Found | None) -> Trail:
        """The trail of the answer that came from `at`, where `target` was asked for."""
        if found is None:
            return replace(self, at=at, by=None)
        # By the caller's word the same host may have been asked for as somebody else: that goes for all its places.
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


def trail_of(response: requests.Response, conn: Any) -> Trail:
    """The trail of a walk that goes on from this answer, which came through `conn`, or begins with it.

    It begins where the answer was asked for, which a redirect may have led away from.
    """
    trail = getattr(response, "_sleepwalker_trail", None)
    if isinstance(trail, Trail):
        return trail
    came_from = getattr(response, "_sleepwalker", None)
    if not isinstance(came_from, CameFrom) or (conn is not None and came_from.connection is not conn):
        if conn is None:
            home = _asked_origin(response)
            return Trail(home, None, home)
        ours = as_connection(conn)
        came_from = CameFrom(conn, _asked_origin(response), usage_of(conn)) if ours is None else ours._came_from
    return Trail(came_from.origin, came_from, came_from.origin)


def keep_trail(response: requests.Response | None, trail: Trail) -> None:
    """Have an answer carry it. Copies and pickles of the answer are without."""
    if response is not None:
        response._sleepwalker_trail = trail  # type: ignore[attr-defined]


def _asked_origin(response: requests.Response) -> Origin | None:
    """Where an answer was asked for in the first place; None for one that did not come over the network."""
    try:
        return origin_of((response.history[0] if response.history else response).url or "")
    except URLError:
        return None


def held_as(held: tuple[Held, ...], manager: Any, auth: Any) -> Found | tuple[Held, ...] | None:
    """What a connection was found as which was held for these pairs; the pairs, where that cannot be told.

    Those of this manager count, if it has any: else whoever held it may be behind the manager. With several pairs
    `auth` tells which is meant. Nothing else does: a walk must not go on as somebody else, nor at another host that
    a hook had in the same place.
    """
    mine = [one for one in held if one.holder() is manager] or list(held)
    if not mine:
        return None
    if not one_auth(mine):
        if auth is None:
            return tuple(mine)
        key = AuthKey(auth)
        same = [one for one in mine if one.key == key]
        mine = same or [Held(one.holder, one.name, one.host, auth, key, one.home) for one in mine]
    if any(one.name != mine[0].name for one in mine):
        return tuple(mine)
    return Found(mine[0].host, mine[0].auth, home=True, primary=mine[0].home)


def one_auth(held: Sequence[Held]) -> bool:
    """Whether the pairs have the same credentials."""
    return all(one.key == held[0].key for one in held)


def origin_of_host(host: Any) -> Origin | None:
    """Where a host is that `find` was asked for; None for a name that only a hook understands."""
    try:
        return host_key(host)[1]
    except URLError:
        return None
