"""`ServiceManager` finds services by their definition. `Service` is one service on one host, with its resources."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sleepwalker.connection import ConnectionManager
from sleepwalker.connection.allowed import checked_allow, explain_withheld, shown_host
from sleepwalker.connection.kinds import seems_good
from sleepwalker.datarep import DataRep, Schema
from sleepwalker.exceptions import ConnectionError, HTTPError, ResourceException, ServiceException, TypeException
from sleepwalker.frames import without_locals
from sleepwalker.lookup.foreign import says_closed
from sleepwalker.transport.headers import unshared

if TYPE_CHECKING:
    from sleepwalker.links.way import Finder

logger: logging.Logger = logging.getLogger(__name__)

__all__ = ["Service", "ServiceManager"]


class ServiceManager:
    """Finds service definitions, and creates `Service` objects that use the connections of one manager.

    Args:
        servicedef_manager: Finds definitions; reschema's `ServiceDefManager`.
        connection_manager: Finds connections: a `ConnectionManager`, or any object with `find(host, auth)`.
        allow: Other hosts that may get a service's credentials when its data names them (`$host` of a relation):
            origins such as "https://b.example.com", patterns such as "https://*.example.com", and names that a hook
            understands. Unlisted hosts get the credentials that the hooks have for them. https never leads to http. A
            connection manager that is not a `ConnectionManager` is not restricted: it decides itself.

    Example:
        ```python
        services = ServiceManager(ServiceDefManager(), manager)
        shop = services.find_by_name("https://api.example.com", "shop", "1.0", "acme")
        print(shop.bind("order", id=7).pull().data)
        ```
    """

    validate_request: bool | None = None
    """Whether its services validate what they send; None leaves it to `sleepwalker.datarep.VALIDATE_REQUEST`."""
    validate_response: bool | None = None
    """Whether its services validate responses; None leaves it to `sleepwalker.datarep.VALIDATE_RESPONSE`."""

    _allow: tuple[str, ...] = ()

    @without_locals
    def __init__(self, servicedef_manager: Any, connection_manager: Finder, *, allow: Iterable[str] = ()) -> None:
        if inspect.iscoroutinefunction(getattr(connection_manager, "find", None)):
            kind = type(connection_manager).__name__
            raise TypeError(
                f"connection_manager: find of {kind} is a coroutine function, and services await nothing; "
                "pass a ConnectionManager, with hosts=manager.hosts for both to see one circuit"
            )
        self.servicedef_manager = servicedef_manager
        self.connection_manager = connection_manager
        self.allow = allow

    @property
    def allow(self) -> tuple[str, ...]:
        """Other hosts that may get a service's credentials. Assign to change it for relations followed later."""
        return self._allow

    @allow.setter
    def allow(self, allow: Iterable[str]) -> None:
        self._allow = checked_allow(allow, names=True)

    @without_locals
    def find_by_id(self, host: object, id: str, instance: object = None, auth: object = None) -> Service:  # noqa: A002
        """The service on `host` whose definition has this id. Opens no connection.

        An unknown id raises what the definition manager raises.
        """
        return self._service(self.servicedef_manager.find_by_id(id), host, instance, auth)

    @without_locals
    def find_by_name(
        self,
        host: object,
        name: str,
        version: str,
        provider: str = "riverbed",
        instance: object = None,
        auth: object = None,
    ) -> Service:
        """The service on `host` whose definition has this name, version and provider. Opens no connection.

        An unknown name raises what the definition manager raises.
        """
        return self._service(self.servicedef_manager.find_by_name(name, version, provider), host, instance, auth)

    def _service(self, servicedef: object, host: object, instance: object, auth: object) -> Service:
        return Service(
            servicedef,
            host,
            instance=instance,
            service_manager=self,
            connection_manager=self.connection_manager,
            auth=auth,
        )


class Service:
    """One service on one host. Each argument is kept as an attribute of the same name, which may be assigned to.

    Args:
        servicedef: Its definition. None is possible with a `servicepath`, for plain requests.
        host: Its host, as passed to the connection manager's `find`.
        instance: Its part of the service path, if a host has several instances of the service.
        servicepath: The beginning of its URIs. Default: `/api/`, instance, name and version of the definition.
        service_manager: Finds the services that relations lead to.
        connection: Sends the requests: any object with `json_request(method, uri, body, params, headers)`. Default: the
            connection that `connection_manager` finds at the first request.
        connection_manager: Finds the connection, and finds a new one when that is no longer good.
        auth: Credentials, as passed to the connection manager's `find`.

    Threads may share it.

    Example:
        ```python
        shop = services.find_by_name("https://api.example.com", "shop", "1.0", "acme")
        shop.add_headers({"Idempotency-Key": "import-2031"})
        order = shop.bind("order", id=7)
        ```
    """

    DEFAULT_ROOT = "/api"

    validate_request: bool | None = None
    """Whether it validates what it sends; None leaves it to its manager, and that to all services' default."""
    validate_response: bool | None = None
    """Whether it validates responses; None leaves it to its manager, and that to all services' default."""

    auth_stays_with: str | None = None
    """The host whose credentials this service does not have: data led here from there, and `allow` does not name it."""

    # A connection, and whether it came from the manager: one value, as another thread may be reading it.
    _held: tuple[Any, bool] = (None, False)

    @without_locals
    def __init__(
        self,
        servicedef: Any,
        host: Any,
        instance: object = None,
        servicepath: str | None = None,
        service_manager: object = None,
        connection: object = None,
        connection_manager: Any = None,
        auth: object = None,
    ) -> None:
        self.servicedef = servicedef
        self.host = host
        self.instance = instance
        self.service_manager = service_manager
        self.connection = connection
        self.connection_manager = connection_manager
        self.auth = auth
        self.headers: Any = {}
        self.servicepath: Any = self._default_path() if servicepath is None else servicepath

    @property
    def connection(self) -> Any:
        """The connection that sends requests. None until the connection manager has found one."""
        return self._held[0]

    @connection.setter
    def connection(self, connection: object) -> None:
        self._held = (connection, False)

    @property
    def response(self) -> Any:
        """The last response of the connection, for a `Connection` the last in this thread; None if there is none."""
        conn, found = self._held
        if conn is None:
            return None
        if found:  # the manager may have given another one to another thread since
            conn = getattr(self._latest, "connection", conn)
        return getattr(conn, "response", None)

    def add_headers(self, headers: Mapping[str, Any]) -> None:
        """Send these headers with all later requests. They replace headers of the same name in a request."""
        self.headers.update(headers)

    @without_locals
    def request(
        self,
        method: str,
        uri: str,
        body: object = None,
        params: object = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a request to a URI without host. Returns the decoded JSON of the response, or None for an empty one.

        Raises ServiceException without a connection and a connection manager, and what these raise.
        """
        if self.auth_stays_with is None or self.auth is not None:
            return self._request(method, uri, body, params, headers)
        try:
            return self._request(method, uri, body, params, headers)
        except (ConnectionError, HTTPError) as error:
            explain_withheld(error, self.auth_stays_with, shown_host(self.host))
            raise

    def _request(self, method: str, uri: str, body: object, params: object, headers: Mapping[str, Any] | None) -> Any:
        conn = self._connection()
        sent = self._merged(headers)
        try:
            return conn.json_request(method, uri, body, params, sent)
        except ConnectionError as error:
            if not self._closed_meanwhile(conn, error):
                raise
        return self._connection().json_request(method, uri, body, params, sent)

    def bind(self, /, _resource_name: str, **kwargs: Any) -> DataRep:
        """The representation of a resource, with these values for the variables of its URI. Sends nothing.

        ServiceException without a definition, ResourceException for an unknown name, and what `Schema.bind` raises.
        """
        return self.lookup_resource(_resource_name).bind(**kwargs)

    def lookup_resource(self, name: str) -> Schema:
        """The schema of a resource. ServiceException without a definition, ResourceException for an unknown name."""
        schema = self._found("resource", name)
        if schema is None:
            raise ResourceException(f"{self!r} has no resource {name!r}")
        return Schema(self, schema)

    def lookup_type(self, name: str) -> Schema:
        """The schema of a type. ServiceException without a definition, TypeException for an unknown name."""
        schema = self._found("type", name)
        if schema is None:
            raise TypeException(f"{self!r} has no type {name!r}")
        return Schema(self, schema)

    def __repr__(self) -> str:
        if "servicepath" not in vars(self):  # a traceback with locals, of a constructor that failed
            return f"<{type(self).__name__}, not made>"
        return f"<Service {getattr(self.servicedef, 'id', self.servicepath)}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_by_thread"}  # a copy has its own

    @property
    def _latest(self) -> threading.local:
        """The connection that was found for the last request of each thread."""
        latest: threading.local = self.__dict__.setdefault("_by_thread", threading.local())
        return latest

    def _default_path(self) -> str:
        if self.servicedef is None:
            raise ServiceException("without servicedef= the service path is unknown: pass servicepath=")
        parts = (Service.DEFAULT_ROOT, self.instance, self.servicedef.name, self.servicedef.version)
        return "/".join(str(part) for part in parts if part)

    def _found(self, what: str, name: str) -> Any:
        """What the definition has under this name, None for nothing."""
        if self.servicedef is None:
            raise ServiceException(f"no {what} {name!r}: this service has no definition; pass servicedef=")
        try:
            return getattr(self.servicedef, f"find_{what}")(name)
        except KeyError:
            return None

    def _merged(self, headers: Mapping[str, Any] | None) -> Any:
        if headers is None:
            return self.headers
        if self.headers is None:
            return headers
        merged = unshared(headers)
        if isinstance(merged, Mapping) and not hasattr(merged, "update"):
            merged = dict(merged)
        merged.update(self.headers)
        return merged

    def _connection(self) -> Any:
        """The connection to send through: the present one if it is the caller's own, or usable."""
        conn, found = self._held
        if conn is not None and not found:
            return conn
        manager = self.connection_manager
        if conn is None and manager is None:
            raise ServiceException(
                f"{self!r} has no connection: get it from a ServiceManager, or pass connection= or connection_manager="
            )
        if conn is None or (manager is not None and not self._is_good(conn, manager)):
            if conn is not None:
                logger.debug("%r: its connection is no longer good: the manager is called for another one", self)
            conn = manager.find(self.host, self.auth)
            self._held = (conn, True)
        self._latest.connection = conn
        return conn

    def _is_good(self, conn: object, manager: object) -> bool:
        """Whether the manager would give this connection again; of a manager of another kind, as far as can be told."""
        if isinstance(manager, ConnectionManager):
            return manager.is_current(conn, self.host, self.auth)
        return seems_good(conn)

    def _closed_meanwhile(self, conn: object, error: ConnectionError) -> bool:
        """Whether nothing was sent because another thread had the manager give up the connection just now."""
        return self._held[1] and error.never_sent and not error.attempts and says_closed(conn)
