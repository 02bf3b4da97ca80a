"""What a `DataRep` does: pull, push, create, delete, execute, follow, full; and what an error carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jsonpointer import JsonPointerException
from reschema.exceptions import MissingParameter, ValidationError
from reschema.jsonschema import Schema

import sleepwalker.datarep
from sleepwalker import (
    DataNotSetError,
    DataPullError,
    HTTPConflict,
    HTTPError,
    HTTPForbidden,
    HTTPNotFound,
    LinkError,
    RelationError,
    Service,
    ServiceException,
    ServiceManager,
    SleepwalkerException,
)
from sleepwalker.datarep import DataRep, DictDataRep
from tests.services.driver import BERTH, HARBOR, VISIT, Hub, Reply, Stub, U, World, definition, definitions, parsed


@pytest.fixture
def answers_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleepwalker.datarep, "VALIDATE_RESPONSE", True)


def _verbs(conn: Any) -> list[tuple[str, str]]:
    return [(method, uri.removeprefix(U)) for method, uri, *_ in conn.net()]


# -- pull, push, create, delete ---------------------------------------------------------------------


def test_a_part_is_pulled_pushed_and_deleted_as_a_whole(world: World) -> None:
    service, conn = world.on(("GET", "/berths/3", BERTH), ("PUT", "/berths/3", BERTH))
    berth = service.bind("berth", num=3)
    note = berth["note"]  # type: ignore[index]
    assert note.pull() is note
    assert note.push("mine") is note
    assert note.delete() is note
    assert berth._data is DataRep.DELETED
    assert [entry[:3] for entry in conn.net()] == [
        ("GET", U + "/berths/3", None),
        ("GET", U + "/berths/3", None),
        ("PUT", U + "/berths/3", {**BERTH, "note": "mine"}),
        ("DELETE", U + "/berths/3", None),
    ]


def test_a_part_creates_in_the_roots_collection(world: World) -> None:
    service, conn = world.on(("GET", "/berths", [{"num": 1}]), ("POST", "/berths", {"num": 2}))
    made = service.bind("berths")[0].create({"num": 2})  # type: ignore[index]
    assert (made.uri, made.root, made.data) == (U + "/berths/2", None, {"num": 2})
    assert _verbs(conn) == [("GET", "/berths"), ("POST", "/berths")]


def test_a_pull_asks_in_any_state_and_drops_local_edits(world: World) -> None:
    service, conn = world.on(("GET", "/berths/3", BERTH))
    berth = service.bind("berth", num=3)
    for state in (DataRep.UNSET, {"num": 0}, DataRep.FAIL, DataRep.DELETED):
        berth._data = state
        assert berth.pull() is berth
        assert berth.data == BERTH
    assert _verbs(conn) == [("GET", "/berths/3")] * 4


def test_a_push_checks_links_then_data_and_never_pulls(world: World) -> None:
    service, conn = world.on(("GET", "/berths/3", BERTH))
    tug, gauge, berth = service.bind("tug", id=1), service.bind("gauge", unit="m"), service.bind("berth", num=3)
    with pytest.raises(LinkError):
        tug.push({})
    assert tug.data_unset()
    with pytest.raises(LinkError, match="with a query"):
        gauge.push(1)
    assert gauge.data_unset()
    for nothing in (DataRep.UNSET, DataRep.DELETED):
        berth._data = nothing
        with pytest.raises(DataNotSetError):
            berth.push()
    assert conn.net() == []


def test_the_answer_to_a_push_is_the_data_even_if_it_is_none(world: World) -> None:
    service, _ = world.on()
    berth = service.bind("berth", num=3)
    assert berth.push({"num": 3}).data is None
    assert berth.data_valid()


def test_what_could_not_be_pushed_stays_as_local_data(world: World) -> None:
    service, conn = world.on(("PUT", "/berths/3", HTTPConflict(Reply(409, {"error_text": "taken"}))))
    berth = service.bind("berth", num=3)
    with pytest.raises(HTTPConflict):
        berth.push({"num": 3, "note": "mine"})
    assert berth.data == {"num": 3, "note": "mine"}
    with pytest.raises(ValidationError):
        berth.push({"bad": 1})
    assert berth.data == {"bad": 1}
    assert _verbs(conn) == [("PUT", "/berths/3")]


def test_a_part_takes_what_is_pushed_before_anything_is_checked(world: World) -> None:
    service, conn = world.on(("GET", "/gauge?unit=m", 7), ("GET", "/visits/5", VISIT))
    visit = service.bind("visit", id=5)
    pilot = DataRep(root=visit, fragment="/pilot")
    with pytest.raises(LinkError):
        pilot.push("lee")
    assert visit.data["pilot"] == "lee"
    assert _verbs(conn) == [("GET", "/visits/5")]


def test_request_validation_can_be_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleepwalker.datarep, "VALIDATE_REQUEST", False)
    service, conn = world.on(("POST", "/berths", {"num": 1}))
    service.bind("berth", num=3).push({"bad": 1})
    service.bind("berths").create("bad")
    service.bind("berth", num=3).execute("paint", 5)
    assert [entry[2] for entry in conn.net()] == [{"bad": 1}, "bad", 5]


@pytest.mark.usefixtures("answers_checked")
@pytest.mark.parametrize(
    ("verb", "path", "work"),
    [
        ("GET", "/berths/3", lambda rep: rep.pull()),
        ("PUT", "/berths/3", lambda rep: rep.push({"num": 3})),
        ("DELETE", "/berths/3", lambda rep: rep.delete()),
        ("POST", "/berths/3/paint", lambda rep: rep.execute("paint", "red")),
    ],
)
def test_an_answer_that_is_refused_changes_nothing(
    world: World, verb: str, path: str, work: Callable[[Any], Any]
) -> None:
    service, conn = world.on((verb, path, "neither null nor an object"))
    berth = service.bind("berth", num=3)
    berth.data = {"num": 3}
    with pytest.raises(ValidationError):
        work(berth)
    assert berth.data == {"num": 3}
    assert _verbs(conn) == [(verb, path)]


@pytest.mark.usefixtures("answers_checked")
def test_an_answer_to_create_is_refused_after_it_was_sent(world: World) -> None:
    service, conn = world.on(("POST", "/berths", {"num": "no number"}))
    with pytest.raises(ValidationError):
        service.bind("berths").create({"num": 1})
    assert _verbs(conn) == [("POST", "/berths")]


def test_create_keeps_the_query_and_the_collection_as_it_is(world: World) -> None:
    service, conn = world.on(("POST", "/berths?side=port", {"num": 4}))
    berths = service.bind("berths", side="port")
    made = berths.create({"num": 0})
    assert (type(made), made.uri, made.data, made.path_vars) == (DictDataRep, U + "/berths/4", {"num": 4}, None)
    assert made.jsonschema is service.servicedef.find_resource("berth")
    assert berths.data_unset()
    assert _verbs(conn) == [("POST", "/berths?side=port")]


def test_an_answer_without_the_variables_of_its_uri_is_found_after_the_post(world: World) -> None:
    service, conn = world.on(("POST", "/berths", {"note": "no num"}))
    with pytest.raises(MissingParameter):
        service.bind("berths").create({"num": 1})
    assert _verbs(conn) == [("POST", "/berths")]


def test_delete_can_be_repeated_and_left_again(world: World) -> None:
    service, conn = world.on(("GET", "/berths/3", BERTH))
    berth = service.bind("berth", num=3)
    assert berth.delete().delete() is berth
    assert _verbs(conn) == [("DELETE", "/berths/3")] * 2
    assert berth.pull().data == BERTH
    berth.delete().data = {"num": 1}
    assert berth.data == {"num": 1}


# -- execute ----------------------------------------------------------------------------------------

_VERBS = """{a: {type: object, properties: {id: {type: integer}}, links: {
    self: {path: '$/a/{id}'},
    patch: {method: PATCH, request: {type: object}}, low: {method: post, request: {type: object}},
    head: {method: HEAD, request: {type: object}}, get: {method: GET, request: {type: object}},
    post: {method: POST, request: {type: object}}, put: {method: PUT, request: {type: object}},
    delete: {method: DELETE, request: {type: object}}}}}"""


@pytest.mark.parametrize(
    ("link", "method", "body", "params"),
    [
        ("get", "GET", None, {"x": 1}),
        ("post", "POST", {"x": 1}, None),
        ("put", "PUT", {"x": 1}, None),
        ("patch", "PATCH", {"x": 1}, None),
        ("delete", "DELETE", None, None),
        ("head", "HEAD", None, None),
        ("low", "post", None, None),
    ],
)
def test_the_method_says_where_the_data_goes(link: str, method: str, body: Any, params: Any) -> None:
    stub = Stub()
    rep = Service(parsed(_VERBS), "h", servicepath="/s", connection=stub).bind("a", id=1)
    rep.execute(link, {"x": 1})
    assert stub.net() == [(method, "/s/a/1", body, params)]


def test_a_patch_arrives_with_its_body(real_world: World) -> None:
    _, conn = real_world.on(("PATCH", "/a/1", {"ok": True}))
    own = Service(parsed(_VERBS), "http://q1", servicepath=U, connection=conn)
    assert own.bind("a", id=1).execute("patch", {"x": 1}).data is not None
    server = real_world.sites["http://q1"].server  # type: ignore[attr-defined]
    assert [(sent.method, sent.body) for sent in server.requests[-1:]] == [("PATCH", b'{"x": 1}')]


def test_executing_get_and_delete_leaves_the_representation_alone(world: World) -> None:
    service, _ = world.on(("GET", "/berths/3", BERTH))
    berth = service.bind("berth", num=3)
    assert berth.execute("get").data == BERTH
    assert berth.data_unset()
    assert berth.execute("delete").data is None
    assert berth.data_unset()


def test_the_result_is_a_root_of_the_responses_schema_at_the_requests_uri(world: World) -> None:
    service, conn = world.on(("POST", "/berths/3/paint", {"eta": 4}), ("GET", "/berths/3", BERTH))
    berth = service.bind("berth", num=3)
    painted = berth.execute("paint", "red")
    assert (painted.service, painted.uri, painted.root, painted.path_vars) == (
        service,
        U + "/berths/3/paint",
        None,
        None,
    )
    assert painted.jsonschema is berth.links["paint"].response
    got = berth.execute("get", num=3)
    assert got.uri == U + "/berths/3"
    assert got.full().uri == U + "/berths/3"  # type: ignore[union-attr]
    assert len(conn.net()) == 2


def test_a_self_link_with_a_method_but_no_response_is_not_sent() -> None:
    servicedef = parsed("{a: {type: object, links: {self: {path: '$/a', method: GET}}}}")
    stub = Stub()
    with pytest.raises(LinkError, match="does not say what its response is"):
        Service(servicedef, "h", connection=stub).bind("a").execute("self")
    assert stub.net() == []


def test_a_self_link_with_a_method_and_a_response_works_and_any_data_goes_with_it() -> None:
    servicedef = parsed("{a: {type: object, links: {self: {path: '$/a', method: POST, response: {type: object}}}}}")
    stub = Stub().on("POST", "/s/a", {"x": 1})
    rep = Service(servicedef, "h", servicepath="/s", connection=stub).bind("a")
    assert rep.execute("self", {"any": "thing"}).data == {"x": 1}


def test_unknown_links_and_relations_are_told_with_those_that_there_are() -> None:
    visit = Service(definition("harbor"), "h").bind("visit", id=5)
    with pytest.raises(LinkError, match="no link 'sail'; it has 'self', 'get'"):
        visit.execute("sail")
    with pytest.raises(RelationError, match="no relation 'crew'; it has 'pilot', 'berths'"):
        visit.follow("crew")


def test_the_variables_of_a_link_are_looked_for_before_anything_else() -> None:
    """A missing variable comes before a missing method and before data that is not valid."""
    servicedef = parsed("""{a: {type: object, links: {self: {path: '$/a/{id}'},
        go: {method: POST, path: '$/a/{id}/{x}', request: {type: string}}}}}""")
    rep = Service(servicedef, "h", connection=Stub()).bind("a", id=1)
    with pytest.raises(MissingParameter):
        rep.execute("go", 5)
    with pytest.raises(ValidationError):
        rep.execute("go", 5, x=1)


@pytest.mark.parametrize("state", [DataRep.UNSET, DataRep.DELETED, DataRep.FAIL])
def test_without_data_the_variables_come_from_what_it_was_bound_with(state: Any) -> None:
    stub = Stub()
    berth = Service(definition("harbor"), "h", connection=stub).bind("berth", num=3)
    berth._data = state
    assert berth.execute("paint", "x").uri == U + "/berths/3/paint"


@pytest.mark.parametrize("data", [{}, None, 0, []])
def test_data_that_is_empty_gives_no_variables_and_hides_what_it_was_bound_with(data: Any) -> None:
    berth = Service(definition("harbor"), "h", connection=Stub()).bind("berth", num=3)
    berth.data = data
    with pytest.raises(MissingParameter):
        berth.execute("paint", "x")
    assert berth.execute("paint", "x", num=1).uri == U + "/berths/1/paint"


def test_a_part_of_a_root_without_data_has_only_keywords() -> None:
    stub = Stub()
    visit = Service(definition("harbor"), "h", connection=stub).bind("visit", id=5)
    crate = DataRep(root=visit, fragment="/cargo/0")
    with pytest.raises(MissingParameter):
        crate.execute("stamp", "ok")
    with pytest.raises(MissingParameter):
        crate.execute("stamp", "ok", sku="x")
    assert crate.execute("stamp", "ok", sku="x", id=6).uri == U + "/visits/6/cargo/x"
    assert visit.data_unset()


def test_a_part_that_is_gone_has_no_variables_and_the_error_does_not_quote_the_data() -> None:
    visit = Service(definition("harbor"), "h", connection=Stub()).bind("visit", id=5)
    visit.data = {"id": 5, "pilot": "canary", "cargo": []}
    with pytest.raises(JsonPointerException) as caught:
        DataRep(root=visit, fragment="/cargo/0").execute("stamp", "ok")
    assert "canary" not in f"{caught.value} {caught.value.__context__}"


def test_a_type_of_another_definition_keeps_the_service_path_of_the_own_service() -> None:
    known = definitions()
    other = parsed("{}", "{door: {type: object, links: {knock: {method: POST, path: '$/knock'}}}}")
    known.add(other)
    own = parsed(f"{{house: {{type: object, properties: {{d: {{$ref: '{other.id}#/types/door'}}}}, "
                 "links: {self: {path: '$/h'}}}}")  # fmt: skip
    known.add(own)
    house = Service(own, "h", servicepath="/own", connection=Stub()).bind("house")
    house.data = {"d": {}}
    assert house["d"].execute("knock").uri == "/own/knock"  # type: ignore[index]


# -- follow and full --------------------------------------------------------------------------------


def test_following_pulls_where_it_can_even_if_it_needs_nothing(world: World) -> None:
    service, conn = world.on(("GET", "/visits/5", VISIT))
    visit = service.bind("visit", id=5)
    berths = visit.follow("berths")
    assert berths.data_unset()
    assert _verbs(conn) == [("GET", "/visits/5")]
    visit._data = DataRep.DELETED
    with pytest.raises(DataPullError):
        visit.follow("berths")


def test_what_cannot_be_pulled_can_be_followed_with_keywords_or_data() -> None:
    servicedef = parsed("""{a: {type: object, links: {self: {path: '$/a'}},
        relations: {b: {resource: '#/resources/b', vars: {id: '0/bid'}}}},
        b: {type: object, links: {self: {path: '$/b/{id}'}}}}""")
    a = Service(servicedef, "h", servicepath="/s").bind("a")
    for state in (DataRep.UNSET, DataRep.DELETED):
        a._data = state
        with pytest.raises(MissingParameter):
            a.follow("b")
        assert a.follow("b", id=7, bogus=1).uri == "/s/b/7"
    a.data = {"bid": 8}
    assert a.follow("b").path_vars == {"id": 8}
    assert a.follow("b", id=9, bogus=1).path_vars == {"id": 9, "bogus": 1}
    a.data = {"other": "canary"}
    with pytest.raises(MissingParameter) as caught:
        a.follow("b")
    assert caught.value.__context__ is None


def _harbor(instance: Any = "east") -> tuple[Any, Any]:
    hub = Hub()
    service = ServiceManager(definitions(), hub).find_by_id("http://q1", HARBOR, instance, "tok")
    return service, hub


@pytest.mark.parametrize(
    ("given", "host", "instance"),
    [
        ({}, "http://q2", "east"),
        ({"$host": "http://q3"}, "http://q3", "east"),
        ({"$host": ""}, "http://q1", "east"),
        ({"$instance": "west"}, "http://q2", "west"),
        ({"$instance": None}, "http://q2", "east"),
    ],
)
def test_host_and_instance_of_the_target_come_from_keywords_data_or_the_service(
    given: dict[str, Any], host: str, instance: str
) -> None:
    service, hub = _harbor()
    visit = service.bind("visit", id=5)
    visit.data = VISIT
    target = visit.follow("pilot", **given)
    assert (target.service.host, target.service.instance, target.service.auth) == (host, instance, "tok")
    assert target.uri == f"/api/{instance}/staff/1.0/people/kim"
    assert target.path_vars == {"ref": "kim", "$host": "http://q2", "$instance": "", **given}
    assert hub.conns == {}


def test_the_same_service_is_the_same_object_and_another_host_or_instance_is_another() -> None:
    service, _ = _harbor()
    visit = service.bind("visit", id=5)
    visit.data = VISIT
    assert visit.follow("berths").service is service
    assert visit.follow("berths", **{"$host": "http://q1", "$instance": "east"}).service is service
    other = visit.follow("berths", **{"$instance": "west"}).service
    assert other is not service
    assert (other.servicedef, other.servicepath) == (service.servicedef, "/api/west/harbor/1.4")


def test_the_service_manager_is_asked_as_version_2_asked_it() -> None:
    calls = []

    class Manager:
        def find_by_id(self, *args: Any, **kwargs: Any) -> Service:
            calls.append((args, kwargs))
            return Service(definition("staff"), "x", servicepath="/other")

    service, _ = _harbor()
    service.service_manager = Manager()
    visit = service.bind("visit", id=5)
    visit.data = VISIT
    assert visit.follow("pilot").uri == "/other/people/kim"
    assert calls == [(("http://q2", "http://specs.example.net/staff/1.0", "east"), {"auth": "tok"})]


def test_another_service_needs_a_service_manager() -> None:
    visit = Service(definitions().find_by_id(HARBOR), "h").bind("visit", id=5)
    visit.data = VISIT
    with pytest.raises(ServiceException, match="no service manager"):
        visit.follow("pilot")


def test_a_relation_leads_over_the_network_to_another_host(real_world: World) -> None:
    hub = real_world.hub()
    service = real_world.manager(definitions(), hub).find_by_id("http://q1", HARBOR, auth="tok")
    hub.find("http://q1", "tok").on("GET", U + "/visits/5", VISIT)
    hub.find("http://q2", "tok").on("GET", "/api/staff/1.0/people/kim", {"name": "Kim"})
    hub.reset()
    pilot = service.bind("visit", id=5).follow("pilot")
    assert list(hub.conns) == [("http://q1", "tok")]
    assert pilot.data == {"name": "Kim"}
    assert list(hub.conns) == [("http://q1", "tok"), ("http://q2", "tok")]
    assert hub.health(pilot.service.connection.hostname).calls == 1


def test_full_without_a_pointer_is_the_representation_itself() -> None:
    service = Service(definition("harbor"), "h")
    rep = DataRep(service, "/x", service.servicedef.find_resource("berth"), fragment=None)
    assert rep.fragment is None
    assert rep.full() is rep


def test_full_by_the_own_link_reads_the_data_and_starts_anew(world: World) -> None:
    service, conn = world.on(("GET", "/berths/3?x=1", BERTH), ("POST", "/berths", {"num": 9}))
    berth = DataRep.from_schema(service, U + "/berths/3?x=1", service.servicedef.find_resource("berth"))
    whole = berth.full()
    assert whole is not None
    assert (whole.uri, whole.root, whole.data_unset(), whole.path_vars) == (U + "/berths/3", None, True, BERTH)
    assert (whole.service, whole.jsonschema) == (service, berth.jsonschema)
    assert _verbs(conn) == [("GET", "/berths/3?x=1")]


def test_a_part_with_a_link_of_its_own_is_found_by_it() -> None:
    servicedef = parsed("""{list: {type: array, items: {$ref: '#/resources/one'}, links: {self: {path: '$/l'}}},
        one: {type: object, properties: {id: {type: integer}}, links: {self: {path: '$/l/{id}'}}}}""")
    listed = Service(servicedef, "h", servicepath="/s").bind("list")
    listed.data = [{"id": 4}]
    whole = listed[0].full()  # type: ignore[index]
    assert (whole.uri, whole.fragment, whole.path_vars) == ("/s/l/4", "", {"id": 4})


# -- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "path", "work"),
    [
        ("GET", "/berths/3", lambda rep: rep.pull()),
        ("PUT", "/berths/3", lambda rep: rep.push({"num": 3})),
        ("DELETE", "/berths/3", lambda rep: rep.delete()),
        ("POST", "/berths/3/paint", lambda rep: rep.execute("paint", "red")),
    ],
)
@pytest.mark.parametrize("body", [{"error_text": "no"}, ["no"], "no", 0])
def test_an_error_with_json_has_a_representation_of_it(
    world: World, verb: str, path: str, work: Callable[[Any], Any], body: Any
) -> None:
    service, _ = world.on((verb, path, HTTPForbidden(Reply(403, body))))
    berth = service.bind("berth", num=3)
    with pytest.raises(HTTPForbidden) as caught:
        work(berth)
    rep = caught.value.datarep
    assert type(rep) is DictDataRep
    assert (rep.service, rep.uri, rep.root, rep.path_vars) == (service, U + path, None, None)
    assert rep.data == body
    assert rep.jsonschema.fullname() == "httperror"
    if isinstance(body, dict):
        assert list(rep) == ["error_text"]
        with pytest.raises(NotImplementedError):
            rep["error_text"]


def test_the_schema_of_an_error_has_the_parent_of_the_one_that_failed(world: World) -> None:
    service, conn = world.on(("POST", "/berths/3/paint", {"eta": 1}))
    painted = service.bind("berth", num=3).execute("paint", "red")
    assert painted.jsonschema.parent is not None
    with pytest.raises(LinkError):
        painted.pull()
    painted._getlink = True
    painted.links["get"] = painted.service.bind("berth", num=3).links["get"]
    conn.on("GET", U + "/berths/3/paint", HTTPNotFound(Reply(404, {})))
    with pytest.raises(HTTPNotFound) as caught:
        painted.pull()
    assert caught.value.datarep.jsonschema.parent is painted.jsonschema.parent
    assert caught.value.datarep.jsonschema.servicedef is service.servicedef


def test_an_error_without_json_has_none() -> None:
    class NoJson(Reply):
        text = "<html>"

        def json(self) -> Any:
            raise ValueError

    stub = Stub().on("GET", U + "/gauge", HTTPError(NoJson(599, None)))
    with pytest.raises(HTTPError) as caught:
        Service(definition("harbor"), "h", connection=stub).bind("gauge").pull()
    assert caught.value.datarep is None


def test_errors_do_not_make_definitions_grow() -> None:
    """reschema remembers every schema that it ever parsed."""
    stub = Stub().on("GET", U + "/gauge", HTTPForbidden(Reply(403, {})))
    gauge = Service(definition("harbor"), "h", connection=stub).bind("gauge")
    sizes = []
    for _ in range(5):
        with pytest.raises(HTTPForbidden):
            gauge.pull()
        sizes.append(len(Schema.schemas))
    assert sizes[1:] == sizes[:-1]


def test_no_text_of_an_error_has_the_query_in_it() -> None:
    service = Service(definition("harbor"), "h", connection=Stub())
    gauge = service.bind("gauge", unit="canary")
    said = []
    for work in (
        lambda: gauge.push(1),
        lambda: gauge.create(1),
        gauge.delete,
        lambda: gauge.execute("nope"),
        lambda: gauge.execute("self"),
        lambda: gauge.follow("nope"),
        lambda: service.bind("gauge", unit="canary", other="canary"),
    ):
        with pytest.raises(SleepwalkerException) as caught:
            work()
        said.append(str(caught.value))
    for state in (DataRep.DELETED, DataRep.FAIL):
        gauge._data = state
        with pytest.raises(DataPullError) as failed:
            gauge.data  # noqa: B018
        said.append(str(failed.value))
    assert len(said) == 9
    assert not any("canary" in text for text in said)
    assert said[0].startswith(f"gauge at {U}/gauge was bound with a query")
