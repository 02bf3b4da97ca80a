"""One step of a link walk: chooses the connection, and which options and credentials go with the request."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any, NamedTuple

import requests

from sleepwalker.connection.allowed import explain_withheld
from sleepwalker.connection.came_from import CameFrom, note_came_from
from sleepwalker.connection.guard import usage_of
from sleepwalker.connection.kinds import as_connection, seems_good
from sleepwalker.connection.managing import ManagerBase
from sleepwalker.connection.response import Response
from sleepwalker.exceptions import ConnectionError, HTTPError, URLError
from sleepwalker.links.destination import Destination
from sleepwalker.links.link import Link, shown_link, shown_names
from sleepwalker.links.performing import Call, Steps
from sleepwalker.links.through import Request, check_kind, send_through
from sleepwalker.links.trail import Found, Trail, held_as, keep_trail, one_auth, origin_of_host
from sleepwalker.links.way import Finder, Way, check_options
from sleepwalker.lookup.foreign import says_closed
from sleepwalker.lookup.held import Held
from sleepwalker.lookup.keys import AuthKey
from sleepwalker.transport.credentials import ANONYMOUS
from sleepwalker.transport.url import Origin


class Step(NamedTuple):
    """The result of a step."""

    response: Response
    conn: Any
    trail: Trail


class _Asked(NamedTuple):
    """The pair to ask a manager for."""

    found: Found
    withheld: bool = False
    """Whether the auth of the walk's first host is withheld from it."""


def begun(trail: Trail, way: Way) -> Trail:
    """The trail with the pair that the walk's first connection is held for, if that can be determined."""
    if trail.own is not None:  # known since an earlier step
        return trail
    held = _held(trail, way)
    return trail.begun_as(held) if isinstance(held, Found) else trail


def send(link: Link, conn: object, to: Destination, way: Way, trail: Trail) -> Steps[Step]:
    """Request `to`, the link's target, through the right connection."""
    target = to.origin
    trail = begun(trail, way)
    if way.manager is None:
        _check_own(link, conn, target, trail)
    if not trail.is_home(target):
        check_options(link, target, way)
    asked = _to_find(target, way, trail)
    try:
        if way.manager is None:
            through, found = conn, None
        else:
            through, found = yield from _found(link, conn, target, way, trail, asked.found, way.manager)
            through = _in_scope(through, target, trail)
        check_kind(through)
        ours = as_connection(through)
        at = _place_of(found, target) if ours is None else ours.origin
        trail = trail.gone_to(target, at, found)
        # A hook may have chosen another host: a failover target.
        response = yield from send_through(through, Request(way.method, to.at(at), way.options))
    except (ConnectionError, HTTPError) as error:
        if way.manager is None and isinstance(error, HTTPError) and error.http_code == 401:
            error.add_note("pass manager=, a ConnectionManager whose hook logs in again")
        if asked.withheld:
            explain_withheld(error, str(trail.home or "the host that the walk began at"), target.text)
        if isinstance(error.response, requests.Response):
            keep_trail(error.response, trail)  # a walk along its links goes on from here
        raise
    if ours is None:
        note_came_from(response, CameFrom(through, at, usage_of(through)))
    keep_trail(response, trail)
    return Step(response, through, trail)


def _check_own(link: Link, conn: object, target: Origin, trail: Trail) -> None:
    """Without a manager: raise unless the connection that the response came through can request the target."""
    told = f"{shown_link(link)} leads to {target}, but "
    if conn is None:
        raise URLError(
            f"{told}the response's connection no longer exists, or is not sleepwalker's: keep the Connection alive "
            f"while you follow links, or pass manager="
        )
    if trail.at != target:
        raise URLError(
            f"{told}the response came from {trail.at}, and that connection sends its credentials nowhere else: pass "
            f"manager=, a ConnectionManager that finds connections to other hosts"
        )
    if says_closed(conn):
        closed = ConnectionError(
            f"{told}the response's connection is closed: pass manager=, a ConnectionManager that finds another one"
        )
        closed.never_sent, closed.retryable = True, False
        raise closed


def _found(
    link: Link, conn: object, target: Origin, way: Way, trail: Trail, found: Found, manager: Finder
) -> Steps[tuple[Any, Found | None]]:
    """With a manager: the connection to use, and the pair that `find` was asked for; None if no pair is known."""
    held = _held(trail, way)
    several = held if isinstance(held, tuple) else ()
    if trail.found_as(target) is None and target in (
        trail.home,
        trail.at,
        *(origin_of_host(one.host) for one in several),
    ):
        # No pair is known to ask for: the connection at hand is used as long as it is usable.
        at_hand = conn if trail.at == target else None if trail.began is None else trail.began.connection
        if at_hand is not None and _is_good(at_hand, several, manager):
            return at_hand, None
        if several:
            return (yield from _found_again(link, target, several, manager)), None
    through = yield _finding(manager, found.host, found.auth)
    return through, found


def _finding(manager: Finder, host: Any, auth: Any) -> Call:
    return Call(manager, lambda: manager.find(host, auth))


def _in_scope(through: object, target: Origin, trail: Trail) -> Any:
    """The connection that was found; at the walk's first host, its scope that the walk began in, if in any."""
    scope = None if trail.began is None else trail.began.scope
    if scope is None or not trail.is_home(target):
        return through
    ours = as_connection(through)
    return through if ours is None or ours._part.came_from.scope is not None else ours.scope(scope)


def _found_again(link: Link, target: Origin, several: tuple[Held, ...], manager: Finder) -> Steps[Any]:
    """Find a connection to replace one that was held for several pairs, which may differ only in their hosts.

    Returns the one that leads to the link's target, or one of them if all lead to one other place. Else raises URLError
    or the last error of `find`.
    """
    gone = f"{shown_link(link)} leads to {target}, whose connection was held for several"
    if not one_auth(several):
        raise URLError(f"{gone} credentials and no longer exists: pass auth= to choose the credentials for this walk")
    failed, through, places = None, None, set()
    for name in {one.name: one for one in several}.values():
        try:
            through = yield _finding(manager, name.host, name.auth)
        except (ConnectionError, HTTPError) as error:
            failed = error
            continue
        ours = as_connection(through)
        place = origin_of_host(name.host) if ours is None else ours.origin
        if place == target:
            return through
        places.add(place)
    if failed is not None:  # it may be the right one, and work again later
        raise failed
    if len(places) == 1 and None not in places:
        return through
    raise URLError(
        f"{gone} hosts ({shown_names(one.name for one in several)}) and no longer exists, and these hosts now have "
        f"different addresses: call find for the right one, and request the page from it"
    )


def _to_find(target: Origin, way: Way, trail: Trail) -> _Asked:
    known, given, own = trail.found_as(target), way.auth, trail.own
    found = known if known is not None else Found(target.text, None, home=target == trail.home)
    if found.home:
        return _Asked(found if given is None else replace(found, auth=given))
    secret = given if given is not None or own is None else own.auth
    if way.allows(target):
        if given is not None or known is None:
            found = replace(found, auth=secret)
    elif known is None and given is ANONYMOUS:  # which is no credential, and says that none are wanted
        found = replace(found, auth=given)
    withheld = found.auth is None and secret is not None and secret is not ANONYMOUS
    return _Asked(found, withheld)


def _held(trail: Trail, way: Way) -> Found | tuple[Held, ...] | None:
    """The pair that the walk's first connection is or was held for; all pairs, if it cannot be determined which."""
    if way.manager is None or trail.home is None or trail.own is not None or trail.began is None:
        return trail.own
    held = trail.began.held
    if trail.began.usage is None and isinstance(way.manager, ManagerBase):
        # A foreign connection: only the manager that holds it knows, and only while it holds it.
        pairs, holder = way.manager.held_as(trail.began.connection), weakref.ref(way.manager)
        held = tuple(Held(holder, "", host, auth, AuthKey(auth)) for host, auth in pairs)
    return held_as(held, way.manager, way.auth)


def _is_good(conn: object, several: tuple[Held, ...], manager: object) -> bool:
    """Whether a connection whose pair is unknown may still be used."""
    mine = [one for one in several if one.holder() is manager]
    if mine and isinstance(manager, ManagerBase):
        return any(manager.is_current(conn, one.host, one.auth) for one in mine)
    return seems_good(conn)


def _place_of(found: Found | None, target: Origin) -> Origin:
    """The origin of a foreign connection, which does not tell it: that of the host that `find` was asked for."""
    return (None if found is None else origin_of_host(found.host)) or target
