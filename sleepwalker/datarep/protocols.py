"""The interface of a service that representations use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class AnyService(Protocol):
    """A `Service`, or an object with the same methods."""

    servicedef: Any
    host: Any
    instance: Any
    servicepath: Any
    service_manager: Any
    connection: Any
    connection_manager: Any
    auth: Any
    headers: Any

    def request(
        self,
        method: str,
        uri: str,
        body: Any = None,
        params: Any = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a request to the service. Returns the decoded response."""
        ...

    def add_headers(self, headers: Mapping[str, Any]) -> None:
        """Send these with all later requests."""
        ...

    def bind(self, _resource_name: str, **kwargs: Any) -> Any:
        """The representation of a resource."""
        ...

    def lookup_resource(self, name: str) -> Any:
        """The schema of a resource."""
        ...

    def lookup_type(self, name: str) -> Any:
        """The schema of a type."""
        ...

    @property
    def response(self) -> Any:
        """The last response."""
        ...
