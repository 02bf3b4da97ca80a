"""`Schema`: a resource or type of a service, to be bound to values of its URI's variables."""

from __future__ import annotations

from typing import Any

from sleepwalker.datarep.protocols import AnyService
from sleepwalker.datarep.rep import DataRep, placed
from sleepwalker.definitions import resolved_path, variables_of
from sleepwalker.exceptions import InvalidParameter, LinkError


class Schema:
    """A resource or type of a service. It comes from `Service.lookup_resource` and `Service.lookup_type`.

    Example:
        ```python
        schema = shop.lookup_resource("order")
        order = schema.bind(id=7)
        ```
    """

    def __init__(self, service: AnyService, jsonschema: Any) -> None:
        self.service = service
        self.jsonschema = jsonschema

    def bind(self, /, **kwargs: Any) -> DataRep:
        """The representation of the resource with these values for the variables of its URI. Sends nothing.

        LinkError for a type without a link `self`, InvalidParameter for an unknown variable, MissingParameter for a
        missing one.
        """
        links = self.jsonschema.links
        path = links["self"].path if "self" in links else None
        if path is None:
            raise LinkError(f"{self!r} has no link 'self' with a path, so there is no URI to bind it to")
        known = variables_of(path.template)
        if unknown := [name for name in kwargs if name not in known]:
            has = f"it has {', '.join(map(repr, sorted(known)))}" if known else "it has none"
            raise InvalidParameter(f"{self!r} has no variable {', '.join(map(repr, unknown))} ({has})")
        uri = placed(self.service, resolved_path(path, kvs=kwargs))
        return DataRep.from_schema(self.service, uri, self.jsonschema, path_vars=kwargs)

    def __repr__(self) -> str:
        links = self.jsonschema.links
        path = links["self"].path if "self" in links else None
        where = "" if path is None else f"{placed(self.service, path.template)!r} "
        return f"<Schema {where}type:{self.jsonschema.fullname()}>"
