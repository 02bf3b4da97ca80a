"""`Schema` and `DataRep`: what they are made of, which class, and the states of their data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonpointer import JsonPointerException
from reschema.exceptions import InvalidReference, MissingParameter, ValidationError
from reschema.servicedef import ServiceDef

import sleepwalker.datarep
from sleepwalker import DataPullError, FragmentError, HTTPInternalServerError, InvalidParameter, LinkError, Service
from sleepwalker.datarep import DataRep, DictDataRep, ListDataRep, Schema
from tests.services.driver import BERTH, VISIT, Reply, Stub, U, World, definition, parsed


def _bound(servicedef: ServiceDef, name: str, **variables: Any) -> DataRep:
    return Service(servicedef, "h", servicepath="/s").bind(name, **variables)


def _berth(world: World) -> tuple[DataRep, Any]:
    service, conn = world.on(("GET", "/berths/3", BERTH), ("PUT", "/berths/3", {"num": 3}))
    return service.bind("berth", num=3), conn


# -- Schema ---------------------------------------------------------------------------------------


def test_a_schema_has_its_service_and_the_schema_of_the_definition() -> None:
    service = Service(definition("harbor"), "h")
    schema = service.lookup_resource("berth")
    assert schema.service is service
    assert schema.jsonschema is service.servicedef.find_resource("berth")
    assert schema == schema  # noqa: PLR0124
    assert schema != service.lookup_resource("berth")
    assert {name for name in vars(Schema) if not name.startswith("__")} == {"bind"}


def test_binding_names_all_variables_that_there_are_not() -> None:
    service = Service(definition("harbor"), "h")
    with pytest.raises(InvalidParameter, match=r"no variable 'depth', 'size' \(it has 'side'\)"):
        service.bind("berths", depth=1, size=2)


def test_what_is_wrong_with_a_binding_is_found_in_order() -> None:
    """An unknown variable before a missing one."""
    with pytest.raises(InvalidParameter):
        Service(definition("harbor"), "h").bind("berth", depth=1)


@pytest.mark.parametrize(
    ("value", "end"), [(0, "0"), (None, "None"), ("a/b c", "a%2Fb%20c"), ("ä", "%C3%A4"), (True, "True"), ("", "")]
)
def test_values_are_written_into_the_uri_as_text_and_encoded(value: Any, end: str) -> None:
    assert Service(definition("harbor"), "h").bind("tug", id=value).uri == f"{U}/tugs/{end}"


def test_variables_that_are_not_in_the_path_go_into_the_query_and_may_be_left_out() -> None:
    servicedef = parsed("""{list: {type: array, items: {type: integer}, links: {self: {
        path: {template: '$/l/{kind}', vars: {size: {type: integer}}}, params: {page: {type: integer}}}}}}""")
    assert _bound(servicedef, "list", kind="x").uri == "/s/l/x"
    assert _bound(servicedef, "list", kind="x", page=2).uri == "/s/l/x?page=2"
    assert _bound(servicedef, "list", kind="x", size=0).uri == "/s/l/x?size=0"


def test_only_a_dollar_stands_for_the_service_path() -> None:
    servicedef = parsed("""{
        top: {type: object, links: {self: {path: '/status'}, ping: {method: POST, path: 'http://else/{x}'}},
              relations: {up: {resource: '#/resources/top'}}}}""")
    stub = Stub()
    top = Service(servicedef, "h", servicepath="/s", connection=stub).bind("top")
    assert top.uri == "/status"
    assert repr(Service(servicedef, "h", servicepath="/s").lookup_resource("top")) == "<Schema '/status' type:top>"
    assert top.execute("ping", x=1).uri == "http://else/1"
    assert top.follow("up").uri == "/status"
    top.data = {"a": 1}
    assert top.full().uri == "/status"  # type: ignore[union-attr]


def test_a_self_link_without_a_path_cannot_be_bound() -> None:
    servicedef = parsed("{thing: {type: object, links: {self: {}}}}")
    with pytest.raises(LinkError, match="no link 'self' with a path"):
        _bound(servicedef, "thing")


# -- construction ---------------------------------------------------------------------------------


def test_states_are_four_values_that_stay_themselves_when_copied() -> None:
    states = [DataRep.UNSET, DataRep.FAIL, DataRep.DELETED, DataRep.FRAGMENT]
    assert len(set(map(id, states))) == 4
    for state, name in zip(states, ["UNSET", "FAIL", "DELETED", "FRAGMENT"], strict=True):
        assert state
        assert name in repr(state)
        assert copy.deepcopy(state) is state


def test_a_root_needs_a_service_a_uri_and_a_schema() -> None:
    service = Service(definition("harbor"), "h")
    schema = service.servicedef.find_resource("gauge")
    whole = {"service": service, "uri": "/x", "jsonschema": schema}
    rep = DataRep(**whole)
    assert (rep.service, rep.uri, rep.jsonschema, rep.fragment, rep.root) == (service, "/x", schema, "", None)
    assert rep.data_unset()
    assert DataRep(**whole, data=None).data is None
    for missing in whole:
        for nothing in (None, ""):
            with pytest.raises(TypeError, match=f"no {missing}"):
                DataRep(**{**whole, missing: nothing})
    with pytest.raises(TypeError, match="no service and no uri and no jsonschema"):
        DataRep()


@pytest.mark.parametrize(
    "also", [{"service": 1}, {"uri": "/x"}, {"jsonschema": 1}, {"data": None}, {"root": None}, {"fragment": ""}]
)
def test_a_fragment_has_a_root_and_a_pointer_and_nothing_else(also: dict[str, Any]) -> None:
    root = _bound(definition("harbor"), "berth", num=3)
    with pytest.raises(FragmentError):
        DataRep(**{"root": root, "fragment": "/note", **also})


def test_a_fragment_takes_what_it_is_from_its_root() -> None:
    root = _bound(definition("harbor"), "berth", num=3)
    part = DataRep(root=root, fragment="/spot/lat")
    assert (part.service, part.uri, part.root) == (root.service, root.uri, root)
    assert part.has_query_vars is root.has_query_vars
    assert part.jsonschema.fullname() == "point.lat"
    assert part._data is DataRep.FRAGMENT
    assert part.path_vars is None
    assert [getattr(part, f"_{name}link") for name in ("get", "set", "create", "delete")] == [
        getattr(root, f"_{name}link") for name in ("get", "set", "create", "delete")
    ]


@pytest.mark.parametrize(("fragment", "error"), [("/tags/x", TypeError), ("note", KeyError), ("/note/x", TypeError)])
def test_a_pointer_that_the_schema_cannot_have_is_an_error_of_its_own(fragment: str, error: type[Exception]) -> None:
    root = _bound(definition("harbor"), "berth", num=3)
    for make in (DataRep, DataRep.from_schema):
        with pytest.raises(error):
            make(root=root, fragment=fragment)  # type: ignore[operator]


def test_the_root_is_always_the_topmost(world: World) -> None:
    service, _ = world.on(("GET", "/visits/5", VISIT))
    visit = service.bind("visit", id=5)
    part = visit["cargo"][1]
    assert (part.root, part.fragment) == (visit, "/cargo/1")
    by_hand = DataRep(root=visit["cargo"], fragment="/1")
    assert (by_hand.root, by_hand.fragment, by_hand.data) == (visit, "/cargo/1", {"sku": "y 2"})


@pytest.mark.parametrize(
    ("uri", "has"), [("/x", False), ("/x?", False), ("/x?a", True), ("/x?a=1#f", True), ("/x#f?a=1", False)]
)
def test_query_variables_are_a_query_that_is_not_empty(uri: str, has: bool) -> None:
    service = Service(definition("harbor"), "h")
    assert DataRep(service, uri, service.servicedef.find_resource("gauge")).has_query_vars is has


def test_links_and_relations_are_those_of_the_schema() -> None:
    visit = _bound(definition("harbor"), "visit", id=5)
    assert visit.links is visit.jsonschema.links
    assert visit.relations is visit.jsonschema.relations
    assert next(iter(visit.links)) == "self"
    assert not hasattr(visit, "params")


def test_links_that_are_declared_after_others_come_first_if_they_are_self() -> None:
    servicedef = parsed("{a: {type: object, links: {get: {method: GET, path: '/a'}, self: {path: '/a'}}}}")
    assert list(_bound(servicedef, "a").links) == ["self", "get"]


@pytest.mark.parametrize(
    ("links", "usable"),
    [
        ("{get: {method: GET, response: {$ref: '#/resources/a'}}}", "get"),
        ("{get: {method: GET}}", ""),
        ("{get: {method: GET, response: {$ref: '#/resources/b'}}}", ""),
        ("{get: {method: GET, response: {$ref: '#/resources/twin'}}}", "get"),
        ("{set: {method: PUT, request: {$ref: '#/resources/a'}, response: {$ref: '#/resources/a'}}}", "set"),
        ("{set: {method: PUT, request: {$ref: '#/resources/a'}}}", ""),
        ("{set: {method: PUT, request: {$ref: '#/resources/b'}, response: {$ref: '#/resources/a'}}}", ""),
        ("{set: {method: POST, request: {$ref: '#/resources/a'}, response: {$ref: '#/resources/a'}}}", "set"),
        ("{create: {method: POST, request: {$ref: '#/resources/b'}, response: {$ref: '#/resources/b'}}}", "create"),
        ("{create: {method: POST, request: {$ref: '#/resources/b'}, response: {$ref: '#/resources/a'}}}", ""),
        ("{create: {method: POST, request: {type: object}, response: {type: object}}}", ""),
        ("{delete: {method: DELETE}}", "delete"),
        ("{}", ""),
    ],
)
def test_links_decide_what_can_be_done(links: str, usable: str) -> None:
    links = links[:1] + "self: {path: '$/a'}" + (", " if links != "{}" else "") + links[1:]
    servicedef = parsed(f"""{{
        a: {{type: object, links: {links}}},
        b: {{type: object, links: {{self: {{path: '$/b'}}}}}},
        twin: {{type: array, items: {{type: integer}}, links: {{self: {{path: '$/a'}}}}}}}}""")
    stub = Stub()
    rep = Service(servicedef, "h", servicepath="/s", connection=stub).bind("a")
    for name, work in {
        "get": rep.pull,
        "set": lambda: rep.push({}),
        "create": lambda: rep.create({}),
        "delete": rep.delete,
    }.items():
        state = getattr(rep, f"_{name}link")
        if name == usable:
            assert state is True
            continue
        with pytest.raises(LinkError) as caught:
            work()
        assert str(caught.value) == state
    assert stub.net() == []


def test_requests_go_to_the_own_uri_by_a_fixed_method_whatever_the_link_says() -> None:
    servicedef = parsed("""{a: {type: object, links: {
        self: {path: '$/a'},
        get: {method: POST, path: '$/get', response: {$ref: '#/resources/a'}},
        set: {method: POST, path: '$/set', request: {$ref: '#/resources/a'}, response: {$ref: '#/resources/a'}},
        create: {method: PUT, path: '$/new', request: {$ref: '#/resources/a'}, response: {$ref: '#/resources/a'}},
        delete: {method: POST, path: '$/del'}}}}""")
    stub = Stub().on("GET", "/s/a", {}).on("PUT", "/s/a", {})
    rep = Service(servicedef, "h", servicepath="/s", connection=stub).bind("a")
    rep.pull().push().create({})
    rep.delete()
    assert stub.net() == [
        ("GET", "/s/a", None, None),
        ("PUT", "/s/a", {}, None),
        ("POST", "/s/a", {}, None),
        ("DELETE", "/s/a", None, None),
    ]


def test_the_schema_decides_the_class_and_not_who_is_asked() -> None:
    service = Service(definition("harbor"), "h")
    find = service.servicedef.find_resource
    for asked in (DataRep, DictDataRep, ListDataRep):
        assert type(asked.from_schema(service, "/x", find("berth"))) is DictDataRep
        assert type(asked.from_schema(service, "/x", find("berths"))) is ListDataRep
        assert type(asked.from_schema(service, "/x", find("gauge"))) is DataRep
        assert type(asked.from_schema(root=service.bind("berth", num=1), fragment="/tags")) is ListDataRep


def test_a_class_needs_a_schema_or_a_fragment() -> None:
    root = _bound(definition("harbor"), "berth", num=3)
    with pytest.raises(TypeError, match="jsonschema, or root and fragment"):
        DataRep.from_schema()
    with pytest.raises(TypeError):
        DataRep.from_schema(fragment="/note")
    with pytest.raises(TypeError):
        DataRep.from_schema(root=root, fragment=None)
    with pytest.raises(FragmentError):
        DataRep.from_schema(root=root, fragment="")
    with pytest.raises(FragmentError):
        DataRep.from_schema(jsonschema=root.jsonschema, root=root, fragment="/note")


_TYPES = """{
    base: {type: object, properties: {a: {type: integer}}},
    merged: {$merge: {source: {$ref: '#/types/base'}, with: {properties: {b: {type: array, items: {type: integer}}}}}},
    either: {anyOf: [{type: integer}, {type: string}]}}"""


def test_references_are_followed_to_the_end() -> None:
    servicedef = parsed(
        """{a: {$ref: '#/resources/b'}, b: {$ref: '#/types/merged'},
            c: {type: object, properties: {x: {$ref: '#/resources/a'}}, links: {self: {path: '$/c'}}}}""",
        _TYPES,
    )
    service = Service(servicedef, "h", servicepath="/s")
    schema = servicedef.find_resource("a")
    rep = DataRep.from_schema(service, "/a", schema, data={"a": 1, "b": [2]})
    assert type(rep) is DictDataRep
    assert rep.jsonschema is schema, "the instance keeps what it was given"
    assert type(rep["b"]) is ListDataRep
    assert rep["b"][0].data == 2
    c = service.bind("c")
    c.data = {"x": {"b": [7, 8]}}
    assert [item.data for item in c["x"]["b"]] == [7, 8]  # type: ignore[index]


@pytest.mark.usefixtures("undisturbed")
def test_a_reference_to_itself_is_an_error_and_not_for_ever() -> None:
    servicedef = parsed("{a: {$ref: '#/types/b'}}", "{b: {$ref: '#/types/c'}, c: {$ref: '#/types/b'}}")
    service = Service(servicedef, "h", servicepath="/s")
    with pytest.raises((InvalidReference, RecursionError)):
        DataRep.from_schema(service, "/a", servicedef.find_resource("a"))


def test_a_schema_without_a_type_has_no_class() -> None:
    servicedef = parsed("{a: {$ref: '#/types/either'}}", _TYPES)
    with pytest.raises(NotImplementedError, match="names no type"):
        DataRep.from_schema(Service(servicedef, "h"), "/a", servicedef.find_resource("a"))


def test_showing_one_sends_nothing(world: World) -> None:
    berth, conn = _berth(world)
    assert repr(berth) == f"<DataRep '{U}/berths/3' type:berth>"
    assert repr(DataRep(root=berth, fragment="/tags/0")) == f"<DataRep '{U}/berths/3#/tags/0' type:berth.tags[items]>"
    assert conn.net() == []


# -- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "valid", "unset"),
    [
        (DataRep.UNSET, False, True),
        (None, True, False),
        (0, True, False),
        ({}, True, False),
        (DataRep.FAIL, False, False),
        (DataRep.DELETED, False, False),
    ],
)
def test_each_state_is_told_without_asking(state: Any, valid: bool, unset: bool) -> None:
    berth = _bound(definition("harbor"), "berth", num=3)  # which has no connection
    part = DataRep(root=berth, fragment="/note")
    berth._data = state
    for rep in (berth, part):
        assert (rep.data_valid(), rep.data_unset()) == (valid, unset)
    if valid:
        assert berth.data is state
    elif not unset:
        for rep in (berth, part):
            with pytest.raises(DataPullError):
                rep.data  # noqa: B018


def test_states_are_told_by_identity() -> None:
    class Same:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("it was compared")

        __hash__ = None  # type: ignore[assignment]

    berth = _bound(definition("harbor"), "berth", num=3)
    berth.data = same = Same()
    assert berth.data_valid()
    assert not berth.data_unset()
    assert berth.data is same


def test_a_pull_that_assigns_a_state_is_taken_at_its_word() -> None:
    class Odd(DataRep):
        def pull(self) -> Any:
            self._data = DataRep.FAIL

    service = Service(definition("harbor"), "h")
    with pytest.raises(DataPullError):
        Odd(service, "/x", service.servicedef.find_resource("gauge")).data  # noqa: B018


def test_data_is_the_stored_object_and_setting_it_asks_and_checks_nothing(world: World) -> None:
    berth, conn = _berth(world)
    for state in (DataRep.UNSET, DataRep.FAIL, DataRep.DELETED, {"num": 1}):
        berth._data = state
        berth.data = mine = {"bad": True}
        assert berth.data is mine
    berth.data["more"] = 1
    assert mine == {"bad": True, "more": 1}
    assert conn.net() == []


def test_data_that_is_there_is_not_refreshed_by_itself(world: World) -> None:
    berth, conn = _berth(world)
    assert berth.data is berth.data
    assert len(conn.net()) == 1


def test_a_fragment_reads_and_writes_its_roots_data_and_pulls_it_first(world: World) -> None:
    berth, conn = _berth(world)
    DataRep(root=berth, fragment="/note").data = "mine"
    assert berth.data["note"] == "mine"
    assert DataRep(root=berth, fragment="/tags/1").data == "b"
    assert len(conn.net()) == 1


def test_a_part_that_is_gone_is_told_without_the_rest_of_the_data() -> None:
    """The pointer library's own texts quote all of the document."""
    berth = _bound(definition("harbor"), "berth", num=3)
    berth.data = {"num": 3, "tags": ["canary"], "note": "canary"}
    tag, lat = DataRep(root=berth, fragment="/tags/5"), DataRep(root=berth, fragment="/spot/lat")
    for part in (tag, lat):
        assert part.data_valid(), "of the root"
        with pytest.raises(JsonPointerException) as caught:
            part.data  # noqa: B018
        assert "canary" not in str(caught.value)
        assert caught.value.__context__ is None
        with pytest.raises(JsonPointerException) as caught:
            part.data = 1
        assert "canary" not in str(caught.value)


def test_a_failing_pull_leaves_the_state_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    berth, conn = _berth(world)
    conn.on("GET", U + "/berths/3", HTTPInternalServerError(Reply(500, {"x": 1})))
    with pytest.raises(HTTPInternalServerError):
        berth.data  # noqa: B018
    assert berth.data_unset()
    berth.data = {"num": 1}
    with pytest.raises(HTTPInternalServerError):
        berth.pull()
    assert berth.data == {"num": 1}
    monkeypatch.setattr(sleepwalker.datarep, "VALIDATE_RESPONSE", True)
    conn.on("GET", U + "/berths/3", {"num": "no number"})
    with pytest.raises(ValidationError):
        berth.pull()
    assert berth.data == {"num": 1}


def test_truth_is_that_of_the_data_and_may_fail_as_reading_it_does(world: World) -> None:
    service, conn = world.on(("GET", "/berths", []), ("GET", "/berths/3", {"num": 3}))
    assert not service.bind("berths")
    assert service.bind("berth", num=3)
    with pytest.raises(LinkError):
        bool(service.bind("tug", id=1))
    assert len(conn.net()) == 2


def test_each_is_equal_to_itself_only() -> None:
    one, other = (_bound(definition("harbor"), "berth", num=3) for _ in range(2))
    assert one == one  # noqa: PLR0124
    assert one != other
    assert len({one, other, one}) == 2
    with pytest.raises(TypeError):
        one < other  # type: ignore[operator]  # noqa: B015


def test_parameters_make_another_root_with_another_query() -> None:
    service = Service(definition("harbor"), "h")
    berths = service.bind("berths", side="port")
    berths.data = []
    more = berths.apply_params(b="x y", a=1)
    assert (type(more), more.uri, more.path_vars) == (ListDataRep, f"{U}/berths?b=x+y&a=1", {"b": "x y", "a": 1})
    assert (more.service, more.jsonschema, more.data_unset()) == (service, berths.jsonschema, True)
    assert (berths.uri, berths.data, berths.path_vars) == (f"{U}/berths?side=port", [], {"side": "port"})
    assert more.apply_params().uri == f"{U}/berths"
    assert service.bind("tug", id=1).apply_params(x=2).path_vars == {"id": 1, "x": 2}
    made = DataRep(service, "/x?a=1", service.servicedef.find_resource("gauge"))
    assert (made.apply_params(b=2).uri, made.apply_params(b=2).path_vars) == ("/x?b=2", {"b": 2})
    with pytest.raises(NotImplementedError):
        DataRep(root=service.bind("berth", num=1), fragment="/note").apply_params(a=1)


def test_parameters_apply_to_what_full_made_of_an_array() -> None:
    conn = Stub().on("GET", U + "/berths", [{"num": 3}])
    collection = Service(definition("harbor"), "h", connection=conn).bind("berths").full()
    assert collection is not None
    assert collection.path_vars == [{"num": 3}]
    assert collection.apply_params(side="port").path_vars == {"side": "port"}


def test_missing_parameters_do_not_drag_the_data_along() -> None:
    berth = _bound(definition("harbor"), "berth", num=3)
    berth.data = {"note": "canary"}
    with pytest.raises(MissingParameter) as caught:
        berth.execute("paint", "red")
    assert caught.value.__context__ is None
    assert "canary" not in str(caught.value)
