"""Read by the type checker, never run: all that a user writes with services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import sleepwalker
import sleepwalker.datarep
from sleepwalker import ConnectionManager, DataRep, Schema, Service, ServiceDefManager, ServiceManager
from sleepwalker.datarep import VALIDATE_REQUEST, VALIDATE_RESPONSE, ContainerDataRep, DictDataRep, ListDataRep


class Canned:
    """What answers as a connection does."""

    def json_request(self, method: str, uri: str, body: Any, params: Any, headers: Any) -> Any:
        return None


class Kind(type):
    """A metaclass of the caller's."""


class Shared(ServiceManager, metaclass=Kind):
    """A service manager of the caller's."""


def finding(manager: ServiceManager) -> None:
    assert_type(sleepwalker.mgr, ServiceManager)
    assert_type(manager.find_by_id("https://host.com", "http://specs.example.net/shop/1.0"), Service)
    assert_type(manager.find_by_name("https://host.com", "shop", "1.0", "acme", "west", ("user", "password")), Service)
    manager.find_by_name("https://host.com", "shop", "1.0", provider="acme", instance="west", auth=None)
    ServiceManager(servicedef_manager=ServiceDefManager(), connection_manager=ConnectionManager())
    ServiceManager(ServiceDefManager(), ConnectionManager(), allow=["https://b.example.com", "people"])
    manager.allow = ["https://*.example.com"]
    assert_type(manager.allow, tuple[str, ...])
    manager.validate_response = True
    manager.validate_request = "no"  # type: ignore[assignment]
    manager.find_by_id("https://host.com")  # type: ignore[call-arg]


def using(service: Service) -> None:
    Service(None, "host", servicepath="", connection=Canned())
    service.add_headers({"X-A": "1"})
    assert_type(service.auth_stays_with, str | None)
    service.validate_request = None
    service.connection = Canned()
    assert_type(service.request("GET", "/status", None, {"q": 1}, {"X-B": "2"}), Any)
    assert_type(service.bind("order", id=7, name="x"), DataRep)
    assert_type(service.lookup_resource("order"), Schema)
    assert_type(service.lookup_type("point").bind(), DataRep)
    service.bind()  # type: ignore[call-arg]


def representing(rep: DataRep, service: Service) -> None:
    assert_type(rep.data, Any)
    rep.data = {"id": 7}
    assert_type(rep.pull(), DataRep)
    assert_type(rep.push({"id": 7}).delete(), DataRep)
    assert_type(rep.create({}), DataRep)
    assert_type(rep.execute("ship", "now", id=7), DataRep)
    assert_type(rep.follow("buyer", **{"$host": "https://host.com"}), DataRep)
    assert_type(rep.full(), DataRep | None)
    assert_type(rep.apply_params(page=2), DataRep)
    assert_type(rep.uri, str)
    assert_type(rep.data_valid(), bool)
    assert_type(rep.service.servicepath, Any)
    assert_type(DataRep.from_schema(service, "/x", rep.jsonschema, data=DataRep.UNSET), DataRep)
    DataRep(root=rep, fragment="/a")
    if isinstance(rep, DictDataRep):
        assert_type(rep["a"], DataRep)
        assert_type(rep.get("a"), Any)
        assert_type(rep.items(), Iterator[tuple[Any, DataRep]])
        assert_type(rep.pull(), DictDataRep)
    if isinstance(rep, ListDataRep):
        assert_type(rep[0], DataRep)
        assert_type(rep[1:2], list[DataRep])
        assert_type(rep.index(3), int)
        for item in rep:
            assert_type(item, DataRep)
    if isinstance(rep, ContainerDataRep):
        assert_type(len(rep), int)


def switching() -> None:
    sleepwalker.datarep.VALIDATE_RESPONSE = True
    assert_type(VALIDATE_REQUEST, bool)
    assert_type(VALIDATE_RESPONSE, bool)
