"""Containers: the members of objects and the items of arrays."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from typing import Any

import pytest

from sleepwalker import Service
from sleepwalker.datarep import ContainerDataRep, DataRep, DictDataRep, ListDataRep
from tests.services.driver import BERTH, Stub, U, World, definition, parsed


def _own(schema: str, data: Any, types: str = "{}") -> Any:
    rep = Service(parsed(f"{{a: {schema}}}", types), "h", servicepath="/s", connection=Stub()).bind("a")
    rep.data = data
    return rep


_SELF = "links: {self: {path: '$/a'}, get: {method: GET, response: {$ref: '#/resources/a'}}}"


def test_containers_are_representations() -> None:
    assert [cls.__bases__[0] for cls in (DictDataRep, ListDataRep, ContainerDataRep)] == [
        ContainerDataRep,
        ContainerDataRep,
        DataRep,
    ]


@pytest.mark.parametrize("work", [len, iter, lambda rep: rep[0], lambda rep: 1 in rep])
def test_a_plain_value_is_no_container(work: Any) -> None:
    gauge = Service(definition("harbor"), "h").bind("gauge")
    gauge.data = 7
    with pytest.raises(TypeError):
        work(gauge)


@pytest.mark.parametrize("name", ["__setitem__", "__delitem__", "append", "pop", "update"])
def test_members_are_changed_by_way_of_the_data_alone(name: str) -> None:
    assert not any(hasattr(cls, name) for cls in (DataRep, ContainerDataRep, DictDataRep, ListDataRep))


def test_an_abstract_container_has_no_members() -> None:
    service = Service(definition("harbor"), "h")
    rep = ContainerDataRep(service, "/x", service.servicedef.find_resource("berth"), data={"num": 1})
    for work in (lambda: iter(rep), lambda: rep["num"]):
        with pytest.raises(NotImplementedError):
            work()


def test_members_of_an_object(world: World) -> None:
    service, conn = world.on(("GET", "/berths/3", BERTH))
    berth: Any = service.bind("berth", num=3)
    assert (len(berth), "note" in berth, "n" in berth, berth.has_key("note"), berth.has_key("n")) == (
        4, True, False, True, False,
    )  # fmt: skip
    assert list(berth) == list(berth.keys()) == ["num", "note", "tags", "spot"]
    assert [member.data for member in berth.values()] == list(BERTH.values())
    assert [(key, member.fragment) for key, member in berth.items()] == [
        ("num", "/num"), ("note", "/note"), ("tags", "/tags"), ("spot", "/spot"),
    ]  # fmt: skip
    assert berth.get("note").data == "n"
    assert berth.get("n") is None
    assert berth.get("n", 5) == 5
    with pytest.raises(KeyError) as caught:
        berth["n"]
    assert caught.value.args == ("n",)
    assert berth["note"] is not berth["note"]
    assert len(conn.net()) == 1


def test_iterators_are_no_lists() -> None:
    berth: Any = Service(definition("harbor"), "h").bind("berth", num=3)
    berth.data = dict(BERTH)
    for made in (iter(berth), berth.keys(), berth.values(), berth.items()):
        assert iter(made) is made
    keys = iter(berth)
    next(keys)
    berth.data["more"] = 1
    with pytest.raises(RuntimeError):
        next(keys)


@pytest.mark.parametrize("name", ["keys", "values", "items", "__iter__", "__len__"])
def test_each_view_of_an_object_pulls_at_once(name: str) -> None:
    stub = Stub().on("GET", U + "/berths/3", BERTH)
    berth = Service(definition("harbor"), "h", connection=stub).bind("berth", num=3)
    getattr(berth, name)()
    assert len(stub.net()) == 1


def test_items_of_an_array(world: World) -> None:
    service, conn = world.on(("GET", "/berths/3", BERTH))
    tags: Any = DataRep.from_schema(root=service.bind("berth", num=3), fragment="/tags")
    assert (len(tags), "b" in tags, "z" in tags, tags.index("c")) == (3, True, False, 2)
    assert [tags[key].fragment for key in (0, -1, "1", 1.9, -3, True)] == [
        "/tags/0", "/tags/2", "/tags/1", "/tags/1", "/tags/0", "/tags/1",
    ]  # fmt: skip
    assert [tag.data for tag in tags[::-1]] == ["c", "b", "a"]
    assert tags[5:9] == []
    for key in (3, -4, "3"):
        with pytest.raises(IndexError):
            tags[key]
    for bad in ("x", None, [], float("inf"), float("nan")):
        with pytest.raises(TypeError):
            tags[bad]
    with pytest.raises(ValueError, match="z"):
        tags.index("z")
    assert len(conn.net()) == 1


def test_how_many_items_there_are_is_fixed_when_the_iterator_is_made() -> None:
    berth: Any = Service(definition("harbor"), "h").bind("berth", num=3)
    berth.data = {"num": 3, "tags": ["a", "b"]}
    items = iter(berth["tags"])
    berth.data["tags"] += ["c"]
    assert [item.data for item in items] == ["a", "b"]


def test_a_huge_list_is_gone_through_one_by_one() -> None:
    berth: Any = Service(definition("harbor"), "h").bind("berth", num=3)
    berth.data = {"num": 3, "tags": ["x"] * 1_000_000}
    tracemalloc.start()
    try:
        items = iter(berth["tags"])
        assert sum(len(item.data) for item in itertools.islice(items, 200)) == 200
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_callers_loop_over_a_member_and_use_what_they_find(world: World) -> None:
    service, conn = world.on(
        ("GET", "/visits/5", {"id": 5, "cargo": [{"sku": "a"}, {"sku": "b"}]}), ("POST", "/visits/5/cargo/b", None)
    )
    visit: Any = service.bind("visit", id=5)
    assert [crate.data["sku"] for crate in visit["cargo"]] == ["a", "b"]
    visit["cargo"][1].execute("stamp", "ok")
    assert visit["cargo"][0].pull().root is visit
    assert [entry[:2] for entry in conn.net()] == [
        ("GET", U + "/visits/5"),
        ("POST", U + "/visits/5/cargo/b"),
        ("GET", U + "/visits/5"),
    ]


#: Keys that mean something in a JSON pointer, or are called as what reschema's own objects have.
_KEYS = ["a/b", "m~n", "~1", "~0", "", " ", "ü", "0", "-", "name", "links", "parent", "{x}", "%2F", "#"]


@pytest.mark.parametrize("key", _KEYS)
def test_any_key_finds_its_own_member_at_any_depth(key: str) -> None:
    quoted = json.dumps(key)
    leaf = f"{{type: object, properties: {{{quoted}: {{type: integer}}, 'other': {{type: string}}}}}}"
    middle = f"{{type: object, properties: {{{quoted}: {{$ref: '#/types/leaf'}}}}}}"
    top = f"{{type: object, properties: {{{quoted}: {{type: array, items: {middle}}}}}, {_SELF}}}"
    rep = _own(top, {key: [{key: {key: 5, "other": "x"}}]}, f"{{leaf: {leaf}}}")
    found = rep[key][0][key][key]
    assert found.data == 5
    assert type(found.jsonschema).__name__ == "Integer"
    found.data = 6
    assert rep.data == {key: [{key: {key: 6, "other": "x"}}]}
    assert [name for name, _ in rep[key][0][key].items()] == [key, "other"]
    assert rep.get(key)[0].get(key).get(key).data == 6


def test_members_that_the_schema_does_not_name_are_in_the_data_alone() -> None:
    rep = _own(f"{{type: object, properties: {{a: {{type: integer}}}}, {_SELF}}}", {"a": 1, "b": 2})
    assert (len(rep), list(rep), "b" in rep, rep.data["b"]) == (2, ["a", "b"], True, 2)
    for work in (lambda: rep["b"], lambda: rep.get("b"), lambda: list(rep.values()), lambda: list(rep.items())):
        with pytest.raises(NotImplementedError):
            work()


def test_additional_properties_with_a_type_have_members() -> None:
    rep = _own(
        f"{{type: object, additionalProperties: {{type: array, items: {{type: integer}}}}, {_SELF}}}", {"x": [7]}
    )
    assert rep["x"][0].data == 7


def test_items_of_several_types_have_no_class() -> None:
    rep = _own(f"{{type: array, items: {{anyOf: [{{type: integer}}, {{type: string}}]}}, {_SELF}}}", [1, "x"])
    assert len(rep) == 2
    with pytest.raises(NotImplementedError):
        rep[0]


@pytest.mark.parametrize("key", ["name", "id", "parent", "children"])
def test_a_member_of_a_reference_may_be_called_as_what_the_reference_itself_has(key: str) -> None:
    """reschema's own look-up in a `$ref` finds the attributes of the `$ref` first."""
    thing = f"{{type: object, properties: {{{key}: {{type: array, items: {{type: integer}}}}}}, {_SELF}}}"
    rep = _own("{$ref: '#/types/thing'}", {key: [7]}, f"{{thing: {thing}}}")
    assert rep[key][0].data == 7
