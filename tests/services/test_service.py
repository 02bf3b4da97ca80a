"""`ServiceManager` and `Service`: how they are found, what they send, and which names they know."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from reschema.exceptions import InvalidServiceId, InvalidServiceName, ValidationError

import sleepwalker
from sleepwalker import (
    ConnectionManager,
    ResourceException,
    Service,
    ServiceException,
    ServiceManager,
    TypeException,
)
from sleepwalker.datarep import ContainerDataRep, DataRep, DictDataRep, ListDataRep, Schema
from tests.services.driver import HARBOR, STAFF, Hub, Stub, U, World, definition, definitions, parsed


class Recorder:
    """A definition manager that notes how it was called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def find_by_id(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return definition("staff")

    find_by_name = find_by_id


def test_a_connection_gets_five_positional_arguments_and_a_uri_without_host() -> None:
    calls = []

    class Positional:
        def json_request(self, *args: Any) -> str:
            calls.append(args)
            return "answer"

    service = Service(definition("harbor"), "http://q1", connection=Positional())
    assert service.request("GET", "/p", params={"a": 1}) == "answer"
    assert service.bind("berth", num=1).push({"num": 1}).data == "answer"
    assert calls == [
        ("GET", "/p", None, {"a": 1}, {}),
        ("PUT", U + "/berths/1", {"num": 1}, None, {}),
    ]


def test_a_connection_manager_gets_host_and_auth_as_they_are_by_position() -> None:
    host, auth = object(), object()
    hub = Hub()
    service = Service(definition("harbor"), host, connection_manager=hub, auth=auth)
    service.request("GET", "/")
    assert hub.finds == [(host, auth)]


@pytest.mark.parametrize("cls", [Service, ServiceManager, Schema, DataRep, ContainerDataRep, DictDataRep, ListDataRep])
def test_a_caller_may_use_a_metaclass_and_new_of_its_own(cls: type) -> None:
    assert type(cls) is type


def test_a_service_manager_may_be_made_by_the_new_of_a_subclass() -> None:
    class Once(type):
        pass

    class Shared(ServiceManager, metaclass=Once):
        def __new__(cls) -> Any:
            return ServiceManager("definitions", "connections")

    made = Shared()
    assert type(made) is ServiceManager
    assert (made.servicedef_manager, made.connection_manager) == ("definitions", "connections")


def test_loggers_are_named_after_the_modules() -> None:
    assert sleepwalker.service.logger is logging.getLogger("sleepwalker.service")
    assert sleepwalker.datarep.target.logger is logging.getLogger("sleepwalker.datarep.target")


def test_the_manager_of_the_module_knows_nothing_until_it_is_told() -> None:
    assert isinstance(sleepwalker.mgr, ServiceManager)
    assert isinstance(sleepwalker.mgr.connection_manager, ConnectionManager)
    with pytest.raises(InvalidServiceId):
        sleepwalker.mgr.find_by_id("http://q1", HARBOR)
    with pytest.raises(InvalidServiceName):
        sleepwalker.mgr.find_by_name("http://q1", "harbor", "1.4")


def test_a_service_manager_keeps_what_it_was_made_of() -> None:
    manager = ServiceManager(servicedef_manager="definitions", connection_manager="connections")
    assert (manager.servicedef_manager, manager.connection_manager) == ("definitions", "connections")


def test_a_service_manager_asks_for_the_definition_by_position_each_time() -> None:
    known = Recorder()
    manager = ServiceManager(known, Hub())
    manager.find_by_id("http://q1", STAFF)
    manager.find_by_name("http://q1", "staff", "1.0")
    manager.find_by_name("http://q1", "staff", "1.0", "acme")
    assert known.calls == [((STAFF,), {}), (("staff", "1.0", "riverbed"), {}), (("staff", "1.0", "acme"), {})]


def test_a_found_service_has_what_it_was_found_with_and_no_connection_yet(world: World) -> None:
    hub = world.hub()
    manager = ServiceManager(definitions(), hub)
    service = manager.find_by_name("http://q1", "harbor", "1.4", "acme", "east", "tok")
    again = manager.find_by_id("http://q1", HARBOR, "east", "tok")
    for one in (service, again):
        assert (one.servicedef.id, one.host, one.instance, one.auth) == (HARBOR, "http://q1", "east", "tok")
        assert (one.service_manager, one.connection_manager, one.connection) == (manager, hub, None)
        assert one.servicepath == "/api/east/harbor/1.4"
    assert len(hub.conns) == 0
    assert service != again


def test_services_of_one_host_and_auth_share_a_connection(world: World) -> None:
    manager = ServiceManager(definitions(), world.hub())
    one, other = manager.find_by_id("http://q1", HARBOR), manager.find_by_id("http://q1", STAFF)
    one.request("GET", "/a")
    other.request("GET", "/b")
    assert one.connection is other.connection
    assert [entry[1] for entry in one.connection.net()] == ["/a", "/b"]


def test_a_service_keeps_all_arguments_as_attributes() -> None:
    names = ("servicedef", "host", "instance", "servicepath", "service_manager", "connection", "connection_manager")
    service = Service(*names, auth="auth")  # type: ignore[arg-type]
    assert [getattr(service, name) for name in (*names, "auth")] == [*names, "auth"]
    assert service.headers == {}
    for name in (*names, "auth", "headers"):
        setattr(service, name, "other")
        assert getattr(service, name) == "other"


@pytest.mark.parametrize(
    ("instance", "version", "path"),
    [
        ("", "1.4", "/api/harbor/1.4"),
        (0, "1.4", "/api/harbor/1.4"),
        (7, 2, "/api/7/harbor/2"),
        ("w", "", "/api/w/harbor"),
    ],
)
def test_the_service_path_leaves_out_what_is_empty(instance: Any, version: Any, path: str) -> None:
    servicedef = SimpleNamespace(id="x", name="harbor", version=version)
    assert Service(servicedef, "h", instance).servicepath == path


def test_the_root_of_the_service_path_is_that_of_service_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Service):
        DEFAULT_ROOT = "/mine"

    assert Mine(definition("harbor"), "h").servicepath == U
    monkeypatch.setattr(Service, "DEFAULT_ROOT", "/v2")
    assert Mine(definition("harbor"), "h").servicepath == "/v2/harbor/1.4"


def test_a_service_without_a_definition_needs_a_path_and_can_send_requests(world: World) -> None:
    with pytest.raises(ServiceException, match="pass servicepath="):
        Service(None, "http://q1")
    _, conn = world.on()
    service = Service(None, "http://q1", servicepath="/x", connection=conn)
    assert service.request("GET", "/y") is None
    for work in (service.bind, service.lookup_resource, service.lookup_type):
        with pytest.raises(ServiceException, match="no definition"):
            work("berth")


def test_a_service_shows_its_id() -> None:
    assert repr(Service(definition("harbor"), "h")) == f"<Service {HARBOR}>"


def test_headers_of_the_service_are_added_in_place(world: World) -> None:
    service, conn = world.on()
    headers = service.headers
    assert service.add_headers({"X-A": "1"}) is None  # type: ignore[func-returns-value]
    assert service.headers is headers
    service.bind("gauge").pull()
    assert conn.sent == {"X-A": "1"}


def test_headers_keep_the_type_that_the_caller_gave_them(world: World) -> None:
    service, conn = world.on()
    given = OrderedDict({"X-B": "call"})
    service.add_headers({"X-A": "svc"})
    service.request("GET", "/p", headers=given)
    assert type(conn.sent) is OrderedDict
    assert given == {"X-B": "call"}
    assert conn.sent == {"X-B": "call", "X-A": "svc"}
    service.headers = None
    service.request("GET", "/p", headers=given)
    assert conn.sent is given


def test_without_a_connection_and_a_manager_there_is_no_request() -> None:
    with pytest.raises(ServiceException, match="pass connection= or connection_manager="):
        Service(definition("harbor"), "h").request("GET", "/")


def test_what_a_connection_raises_arrives_unchanged() -> None:
    class Odd(Exception):
        pass

    error = Odd()
    stub = Stub().on("GET", U + "/gauge", error)
    with pytest.raises(Odd) as caught:
        Service(definition("harbor"), "h", connection=stub).bind("gauge").pull()
    assert caught.value is error


def test_the_found_connection_is_kept(world: World) -> None:
    hub = world.hub()
    service = Service(definition("harbor"), "http://q1", connection_manager=hub)
    service.request("GET", "/a")
    conn = service.connection
    service.request("GET", "/b")
    assert service.connection is conn
    assert len(conn.net()) == 2


def test_response_is_that_of_the_connection_or_none() -> None:
    service = Service(definition("harbor"), "h")
    assert service.response is None
    service.connection = SimpleNamespace(response="the last one")
    assert service.response == "the last one"
    service.connection = object()
    assert service.response is None


def test_response_is_that_of_this_thread(real_world: World) -> None:
    service, _ = real_world.on(("GET", "/gauge", 1), ("GET", "/tugs/1", {"ok": True}))
    service.bind("gauge").pull()
    seen: list[Any] = []

    def other() -> None:
        seen.append(service.response)
        service.bind("tug", id=1).execute("get")
        seen.append(service.response.json())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(60)
    assert seen == [None, {"ok": True}]
    assert service.response.json() == 1


def test_two_threads_use_one_service(world: World) -> None:
    canned = [("GET", f"/berths/{number}", {"num": number}) for number in range(8)]
    service, conn = world.on(*canned)  # type: ignore[arg-type]
    seen: list[Any] = []

    def work(number: int) -> None:
        for _ in range(5):
            seen.append((number, service.bind("berth", num=number).data["num"]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == sorted((number, number) for number in range(8) for _ in range(5))
    assert len(conn.net()) == 40


def test_any_name_can_be_a_variable() -> None:
    servicedef = parsed("{thing: {type: object, links: {self: {path: '$/{name}/{id}/{self}'}}}}")
    service = Service(servicedef, "h", servicepath="/s")
    assert service.bind("thing", name=1, id=2, self=3).uri == "/s/1/2/3"


def test_unknown_names_are_told_apart() -> None:
    service = Service(definition("harbor"), "h")
    for work in (service.bind, service.lookup_resource):
        with pytest.raises(ResourceException, match="no resource 'boat'"):
            work("boat")
    with pytest.raises(TypeException, match="no type 'boat'"):
        service.lookup_type("boat")


def test_a_definition_that_raises_key_error_means_unknown_as_well() -> None:
    def find(name: str) -> None:
        raise KeyError(name)

    servicedef = SimpleNamespace(id="x", name="n", version="1", find_resource=find, find_type=find)
    service = Service(servicedef, "h")
    with pytest.raises(ResourceException):
        service.bind("boat")
    with pytest.raises(TypeException):
        service.lookup_type("boat")


@pytest.mark.parametrize("what", ["request", "response"])
def test_validation_follows_the_service_then_its_manager_then_the_module(
    world: World, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = definitions()
    manager = ServiceManager(known, world.hub())
    service = manager.find_by_id("http://q1", HARBOR)
    manager.connection_manager.find("http://q1", None).on("PUT", U + "/berths/3", {"no": "num"})
    name = f"validate_{what}"
    sent = {"no": "num"} if what == "request" else {"num": 3}

    def refused() -> bool:
        try:
            service.bind("berth", num=3).push(sent)
        except ValidationError:
            return True
        return False

    monkeypatch.setattr(sleepwalker.datarep, name.upper(), True)
    assert refused()
    setattr(manager, name, False)
    assert not refused()
    setattr(service, name, True)
    assert refused()
    setattr(service, name, None)
    assert not refused()
    setattr(manager, name, None)
    monkeypatch.setattr(sleepwalker.datarep, name.upper(), False)
    assert not refused()


def test_a_double_of_a_service_manager_decides_nothing_about_validation() -> None:
    """A mock has every attribute, and each of them is true."""
    stub = Stub().on("GET", U + "/gauge", "no integer")
    service = Service(definition("harbor"), "h", connection=stub, service_manager=MagicMock())
    assert service.bind("gauge").data == "no integer"
