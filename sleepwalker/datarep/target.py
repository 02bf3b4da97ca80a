"""The service that a relation leads to. A host named by the caller is trusted; one named by data is not."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sleepwalker.connection import ConnectionManager
from sleepwalker.connection.allowed import allows, shown_host
from sleepwalker.connection.kinds import as_connection
from sleepwalker.datarep.protocols import AnyService
from sleepwalker.exceptions import InvalidParameter, LinkError, ServiceException, URLError
from sleepwalker.hosts.names import host_key
from sleepwalker.transport.credentials import ANONYMOUS
from sleepwalker.transport.segments import has_dots
from sleepwalker.transport.url import Origin

logger: logging.Logger = logging.getLogger(__name__)

#: Most characters of a `$host`: enough for a scheme and a host of 253 characters, and short enough for errors and logs.
_MAX_HOST = 1_000
#: JSON types that cannot be an instance's name.
_NO_INSTANCE = (bool, list, dict)
_NOT_IN_INSTANCE = re.compile(r"[?#\\]")


@runtime_checkable
class Noting(Protocol):
    """A service that explains in its errors why it has no credentials."""

    auth_stays_with: str | None


class Way(NamedTuple):
    """A relation that is followed."""

    told: str
    """The relation, as errors and logs name it."""
    definition: str
    """The id of the service definition that it leads to."""
    values: Mapping[str, Any]
    given: Mapping[str, Any]
    """The values that the caller gave."""


def target_of(own: AnyService, way: Way) -> AnyService:
    """The service that a relation of our service leads to: the same service, or another.

    The credentials go along if the host is the same, or if the caller named it: in the values, or in the manager's
    `allow`. A foreign connection manager always gets them and decides itself.
    """
    host, instance = way.values.get("$host") or own.host, _instance(own, way)
    known = own.servicedef
    if known is not None and (way.definition, host, instance) == (known.id, own.host, own.instance):
        return own
    manager = own.service_manager
    if manager is None:
        raise ServiceException(
            f"{way.told} leads to another service, {way.definition}, and no service manager can find it: get services "
            "from a ServiceManager, or pass service_manager="
        )
    logger.debug("%s leads to the service %s", way.told, way.definition)
    by_data = bool(way.values.get("$host")) and "$host" not in way.given and host != own.host
    ours = isinstance(getattr(manager, "connection_manager", own.connection_manager), ConnectionManager)
    allowed = not (by_data and ours) or _may_have_credentials(own, host, manager, way)
    goes = allowed or own.auth is ANONYMOUS  # not a credential: it says that none are wanted
    led: AnyService = manager.find_by_id(host, way.definition, instance, auth=own.auth if goes else None)
    if not goes and own.auth is not None:
        logger.debug("%s leads to another host, which does not get this host's credentials", way.told)
        if isinstance(led, Noting):
            led.auth_stays_with = shown_host(own.host)
    return led


def _may_have_credentials(own: AnyService, host: Any, manager: Any, way: Way) -> bool:
    """Whether a host named by data may get the service's credentials. Raises for a value that cannot be a host."""
    allowed = getattr(manager, "allow", ())
    allowed = allowed if isinstance(allowed, tuple) else ()
    name, origin = _named_by_data(host, way)
    own_name, own_origin = _own_host(own)
    if origin is None and "://" in name and name != own_name and not allows(allowed, name, None):
        raise URLError(f"`$host` of {way.told} has a scheme other than http and https")
    if origin is not None and origin.scheme == "http" and _scheme(own, own_origin) == "https":
        raise URLError(
            f"`$host` of {way.told} leads from https to {origin}: data from a server may not do that, because the "
            "request would be readable on the network; pass **{'$host': ...} to allow it"
        )
    same = origin == own_origin if origin is not None else own_origin is None and name == own_name
    return same or allows(allowed, name, origin)


def _named_by_data(host: Any, way: Way) -> tuple[str, Origin | None]:
    """The host's name and origin, as `host_key` returns them."""
    if not isinstance(host, str):
        raise LinkError(f"`$host` of {way.told} must be a string, and the data has one of type {type(host).__name__}")
    if len(host) > _MAX_HOST:
        raise LinkError(f"`$host` of {way.told} has {len(host)} characters; at most {_MAX_HOST} are allowed")
    if not host.isprintable():
        raise LinkError(f"`$host` of {way.told} has control or other unprintable characters")
    try:
        return host_key(host)
    except URLError as error:
        said = str(error)
    raise URLError(f"`$host` of {way.told}: {said}")


def _own_host(own: AnyService) -> tuple[Any, Origin | None]:
    """The same for the service's own host. An invalid one is returned as it is, without an origin."""
    try:
        return host_key(own.host)
    except URLError:
        return own.host, None


def _scheme(own: AnyService, origin: Origin | None) -> str | None:
    """The scheme by which the service is reached: that of its host or, if that has none, of its connection."""
    if origin is None and (conn := as_connection(own.connection)) is not None:
        origin = conn.origin
    return None if origin is None else origin.scheme


def _instance(own: AnyService, way: Way) -> Any:
    """The target's instance, which becomes part of the service path."""
    instance = way.values.get("$instance")
    if not instance:
        return own.instance
    if "$instance" not in way.given:
        if isinstance(instance, _NO_INSTANCE):
            raise LinkError(
                f"`$instance` of {way.told} must be a string, and the data has one of type {type(instance).__name__}"
            )
        if _NOT_IN_INSTANCE.search(str(instance)) or not str(instance).isprintable():
            raise LinkError(f"`$instance` of {way.told} has characters that a path cannot have")
    if has_dots(str(instance)):
        raise InvalidParameter(f"`$instance` of {way.told} is a dot segment, and would lead out of the service's path")
    return instance
