"""Which operations (pull, push, create, delete) the links of a schema allow."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

#: True, or the reason why not.
Usable = Literal[True] | str


class Capabilities(NamedTuple):
    """For each operation, whether it is allowed, or why not."""

    get: Usable
    set: Usable
    create: Usable
    delete: Usable


def capabilities(schema: Any) -> Capabilities:
    """The operations that the schema's links allow."""
    links = schema.links
    return Capabilities(
        _get(schema, links), _set(schema, links), _create(schema, links), "delete" in links or _no(schema, "delete")
    )


def _get(schema: Any, links: Any) -> Usable:
    if "get" not in links:
        return _no(schema, "get")
    return schema.matches(links["get"].response) or f"the response of 'get' is not a {schema.fullname()}"


def _set(schema: Any, links: Any) -> Usable:
    if "set" not in links:
        return _no(schema, "set")
    if not schema.matches(links["set"].request):
        return f"the request of 'set' is not a {schema.fullname()}"
    return schema.matches(links["set"].response) or f"the response of 'set' is not a {schema.fullname()}"


def _create(schema: Any, links: Any) -> Usable:
    if "create" not in links:
        return _no(schema, "create")
    request = links["create"].request
    if "self" not in request.links:
        return f"the request of 'create' of {schema.fullname()} has no link 'self'"
    return request.matches(links["create"].response) or (
        f"the response of 'create' of {schema.fullname()} has another type than its request"
    )


def _no(schema: Any, name: str) -> str:
    return f"{schema.fullname()} has no link {name!r}"
