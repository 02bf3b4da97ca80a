"""`DataRep`: the representation of a resource, or of a part of one, with its operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlencode

from sleepwalker.datarep.base import BaseDataRep, State, split_query
from sleepwalker.datarep.capabilities import Usable
from sleepwalker.datarep.protocols import AnyService
from sleepwalker.datarep.target import Way, target_of
from sleepwalker.datarep.validation import validates
from sleepwalker.definitions import error_schema, kind_of, resolved_path, resolved_relation, schema_at
from sleepwalker.exceptions import (
    DataNotSetError,
    FragmentError,
    HTTPError,
    LinkError,
    RelationError,
)
from sleepwalker.frames import without_locals

_BODIES = ("POST", "PUT", "PATCH")


class DataRep(BaseDataRep):
    """A resource of a service, or a part of one, with its data after `pull`.

    `Service.bind` creates them, as do `follow`, `full`, `create` and `execute` of other representations. Members of
    containers are representations too. Objects and arrays are `DictDataRep` and `ListDataRep`.

    Args:
        service: The service that it belongs to.
        uri: Its URI, without a host.
        jsonschema: Its schema, as a reschema object.
        fragment: For a part: the JSON pointer from the root. It takes all of the above from `root`.
        root: For a part: the representation it belongs to.
        data: Its data, if already known.
        path_vars: The variable values in its URI.

    Raises TypeError if it has no fragment and lacks service, uri or jsonschema. FragmentError for a fragment without a
    root, or with an argument that its root provides.

    Every request may raise what the connection raises. An HTTPError with a JSON body gets a `datarep`, which represents
    that body.

    Example:
        ```python
        order = shop.bind("order", id=7).pull()
        order.data["item"] = "lamp"
        order.push()
        parcel = order.follow("parcel").pull()
        ```
    """

    if TYPE_CHECKING:
        # The schema decides at run time whether this is a container, so a checker takes every one for a container.

        def __len__(self) -> int: ...

        def __contains__(self, value: Any, /) -> bool: ...

        def __iter__(self) -> Iterator[Any]: ...

        def __getitem__(self, key: Any, /) -> Any: ...

    @classmethod
    def from_schema(
        cls,
        service: AnyService | None = None,
        uri: str | None = None,
        jsonschema: Any = None,
        root: DataRep | None = None,
        fragment: str | None = "",
        **kwargs: Any,
    ) -> DataRep:
        """A representation of the class that its schema requires, also if called on another class.

        Raises NotImplementedError for a schema that does not name the type of its data.
        """
        deciding = jsonschema
        if deciding is None:
            if root is None or fragment is None:
                raise TypeError("from_schema needs jsonschema, or root and fragment")
            if fragment == "":
                raise FragmentError("fragment must be a JSON pointer such as '/items/0' where root is given, not ''")
            deciding = schema_at(root.jsonschema, fragment)
        kind: type[DataRep] = cls._classes[kind_of(deciding)]
        return kind(service=service, uri=uri, jsonschema=jsonschema, root=root, fragment=fragment, **kwargs)

    @without_locals
    def apply_params(self, /, **kwargs: Any) -> DataRep:
        """The same resource with these parameters as its query. They replace the existing ones.

        NotImplementedError for a fragment.
        """
        if self.root is not None:
            raise NotImplementedError("parameters apply to a whole resource: call apply_params on the fragment's root")
        path, query = split_query(self.uri)
        dropped = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
        known = self.path_vars if isinstance(self.path_vars, Mapping) else {}  # after full() it is the data
        kept = {name: value for name, value in known.items() if name not in dropped}
        uri = f"{path}?{urlencode(kwargs)}" if kwargs else path
        return self.from_schema(self.service, uri, self.jsonschema, path_vars={**kept, **kwargs})

    @without_locals
    def pull(self) -> Self:
        """Fetch the data, even if there is some already. Returns this object. A fragment fetches its whole root.

        LinkError if the schema has no link `get` whose response is the resource.
        """
        if self.root is not None:
            self.root.pull()
            return self
        self._check(self._getlink)
        reply = self._send("GET", self.uri)
        self._validate_response(self.links["get"], reply)
        self._data = reply
        return self

    @without_locals
    def push(self, obj: Any = State.UNSET) -> Self:
        """Send the data, or `obj` instead. The response becomes the data. Returns this object.

        A fragment puts `obj` into the root's data and sends all of it. LinkError if the schema has no link `set` for
        the resource, or if the URI has a query, because a query may show only a part. DataNotSetError without data,
        because `push` never pulls.
        """
        if self.root is not None:
            if obj is not State.UNSET:
                self.data = obj
            self.root.push()
            return self
        self._check(self._setlink)
        if self.has_query_vars:
            raise LinkError(
                f"{self._shown} was bound with a query, so its data may be only part of the resource: bind it without "
                f"the query"
            )
        if obj is not State.UNSET:
            self._data = obj
        data = self._data
        if not self.data_valid():
            raise DataNotSetError(f"{self._shown} has no data to send: set data, pass it to push(), or pull() first")
        link = self.links["set"]
        self._validate_request(link, data)
        reply = self._send("PUT", self.uri, data)
        self._validate_response(link, reply)
        self._data = reply
        return self

    @without_locals
    def create(self, obj: Any) -> DataRep:
        """Create a new member from `obj` on the server. Returns its representation, with the response as its data.

        LinkError if the schema has no link `create` whose response is the new member.
        """
        if self.root is not None:
            return self.root.create(obj)
        self._check(self._createlink)
        link = self.links["create"]
        self._validate_request(link, obj)
        reply = self._send("POST", self.uri, obj)
        self._validate_response(link, reply)
        made = link.response
        uri = self._placed(resolved_path(made.links["self"].path, reply))
        return self.from_schema(self.service, uri, made, data=reply)

    @without_locals
    def delete(self) -> Self:
        """Delete the resource (of a fragment, its root). Returns this object. LinkError without a link `delete`."""
        if self.root is not None:
            self.root.delete()
            return self
        self._check(self._deletelink)
        reply = self._send("DELETE", self.uri)
        self._validate_response(self.links["delete"], reply)
        self._data = State.DELETED
        return self

    @without_locals
    def execute(self, /, _name: str, _data: Any = None, **kwargs: Any) -> DataRep:
        """Use the link with this name. Returns the representation of its response. This object does not change.

        Variables of the link's path come from `kwargs`, else from the data; without data, from the values it was bound
        with. `_data` is sent as the body, or as query parameters with GET. LinkError for an unknown link,
        MissingParameter for a variable without a value, ValidationError if `_data` does not match the link's schema.
        """
        if _name not in self.links:
            raise LinkError(f"{self._shown} has no link {_name!r}; it has {_listed(self.links)}")
        link = self.links[_name]
        if link.path is None:
            raise LinkError(f"the link {_name!r} of {self._shown} has no path")
        uri = self._placed(resolved_path(link.path, self._source(), kwargs, self.fragment or ""))
        if link.method is None:
            raise LinkError(f"the link {_name!r} of {self._shown} has no method")
        if link.response is None:
            raise LinkError(f"the link {_name!r} of {self._shown} does not say what its response is")
        if link.request is not None:
            self._validate_request(link, _data)
        body = _data if link.method in _BODIES else None
        params = _data if link.method == "GET" else None
        reply = self._send(link.method, uri, body, params)
        self._validate_response(link, reply)
        return self.from_schema(self.service, uri, link.response, data=reply)

    @without_locals
    def follow(self, /, _name: str, **kwargs: Any) -> DataRep:
        """The target of the relation with this name, possibly on another service and host. Sends nothing to it.

        Variables come from `kwargs`, else from the data, which is pulled if needed. RelationError for an unknown
        relation, MissingParameter for a variable without a value, ServiceException if it leads to another service and
        there is no service manager. LinkError and URLError for an invalid host in the data.

        If the data names another host, that host does not get these credentials, unless the service manager's `allow`
        lists it.
        """
        if _name not in self.relations:
            raise RelationError(f"{self._shown} has no relation {_name!r}; it has {_listed(self.relations)}")
        whole = self if self.root is None else self.root
        data = whole.data if self._getlink is True or self.data_valid() else None
        relation = self.relations[_name]
        path, values = resolved_relation(relation, data, self.fragment or "", kwargs)
        resource = relation.resource
        told = f"the relation {_name!r} of {self._shown}"
        target = target_of(self.service, Way(told, resource.servicedef.id, values, kwargs))
        return self.from_schema(target, placed(target, path), resource, path_vars=values)

    def full(self) -> DataRep | None:
        """The whole resource that this summarises: the target of the relation `full`, or else of its own link `self`.

        None if it has neither.
        """
        if self.fragment is None:
            return self
        if "full" in self.relations:
            return self.follow("full")
        if "self" not in self.links:
            return None
        data = self.data
        uri = self._placed(resolved_path(self.links["self"].path, data))
        return self.from_schema(self.service, uri, self.jsonschema, path_vars=data)

    def _source(self) -> Any:
        """The values for variables of a link's path; sends nothing."""
        if self.data_valid():
            return self._raw
        return self.path_vars if self.root is None else None

    def _placed(self, path: str) -> str:
        return placed(self.service, path)

    def _check(self, usable: Usable) -> None:
        if usable is not True:
            raise LinkError(usable)

    def _validate_request(self, link: Any, data: Any) -> None:
        if validates(self.service, "request"):
            link.request.validate(data)

    def _validate_response(self, link: Any, reply: Any) -> None:
        if validates(self.service, "response"):
            link.response.validate(reply)

    def _send(self, method: str, uri: str, body: Any = None, params: Any = None) -> Any:
        """The service's response. An `HTTPError` with a JSON body gets a `datarep` of it."""
        try:
            return self.service.request(method, uri, body, params)
        except HTTPError as error:
            if error.json_data is not None:
                error.datarep = self.from_schema(self.service, uri, error_schema(self.jsonschema), data=error.json_data)
            raise


BaseDataRep._classes["plain"] = DataRep


def placed(service: AnyService, path: str) -> str:
    """A path of a definition as a URI of the service. A leading `$` is replaced by the service's own path."""
    return f"{service.servicepath}{path[1:]}" if path.startswith("$") else path


def _listed(names: Any) -> str:
    return ", ".join(repr(str(name)) for name in names) or "none"
