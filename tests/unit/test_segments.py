"""Values of a template's variables that a server could read as a way out of the path, and those that only look so."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker import InvalidParameter
from sleepwalker.links.template import expand
from sleepwalker.transport.segments import has_dots


@pytest.mark.parametrize(
    "segment",
    [
        ".",
        "..",
        "%2e",
        "%2E%2e",
        ".%2e",
        "%252e%252e",
        "..;",
        "..;x=1",
        "..%3B",
        "..%2F..",
        "a%2F..%2Fb",
        "..\\",
        "a%5C..",
    ],
)
def test_a_segment_that_some_server_reads_as_dots_is_one(segment: str) -> None:
    assert has_dots(segment)


@pytest.mark.parametrize(
    "segment", ["", "...", "..a", "a..", ".a", "a.b", "1.4", "%2e%2ea", "a;..", "%25", "%", "..%00"]
)
def test_a_segment_with_dots_in_it_is_none(segment: str) -> None:
    assert not has_dots(segment)


@pytest.mark.parametrize(
    ("template", "values", "names"),
    [
        ("/orders/{id}", {"id": ".."}, "'id'"),
        ("/orders/{id}", {"id": "."}, "'id'"),
        ("/orders/{id}/lines", {"id": ".."}, "'id'"),
        ("/orders/{id}", {"id": "../.."}, "'id'"),
        ("/orders/{id}", {"id": "%2e%2e"}, "'id'"),
        ("/orders/{id}", {"id": "..;"}, "'id'"),
        ("/orders/{a}{b}", {"a": ".", "b": "."}, "'a', 'b'"),
        ("/orders/{a,b}{c}", {"a": None, "b": None, "c": ".."}, "'a', 'b', 'c'"),
        ("/orders/.{a}", {"a": ""}, "'a'"),
        ("/orders/{a}..", {"a": ""}, "'a'"),
        ("/orders/.{a}", {"a": "."}, "'a'"),
        ("/orders{/a*}", {"a": ["x", "..", "y"]}, "'a'"),
        ("/orders{/a,b}", {"a": "x", "b": ".."}, "'a', 'b'"),
        ("/orders/x{.a}", {"a": "x/.."}, "'a'"),
        ("/orders/{.a}", {"a": "."}, "'a'"),
        ("/orders/{+a}", {"a": "a/../.."}, "'a'"),
        ("/orders/{+a}", {"a": "%2e%2e/x"}, "'a'"),
        ("/orders/{+a}", {"a": "..;x"}, "'a'"),
        ("/orders/{+a}/..", {"a": "../x?"}, "'a'"),
        ("/orders/{a}{;b}", {"a": "..", "b": "1"}, "'a', 'b'"),
        ("{a}/orders", {"a": ".."}, "'a'"),
        ("../{a}/{b}", {"a": "x", "b": ".."}, "'b'"),
        ("/{a:2}", {"a": "..x"}, "'a'"),
        ("https://api.example.com/{a}", {"a": ".."}, "'a'"),
    ],
)
def test_a_value_that_makes_a_dot_segment_is_refused_and_its_variable_named(
    template: str, values: dict[str, Any], names: str
) -> None:
    with pytest.raises(InvalidParameter, match=rf"^the value of {names} puts a dot segment") as caught:
        expand(template, values)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("template", "values", "uri"),
    [
        ("/orders/{id}", {"id": "..."}, "/orders/..."),
        ("/orders/{id}", {"id": "a..b"}, "/orders/a..b"),
        ("/orders/{id}", {"id": ".htaccess"}, "/orders/.htaccess"),
        ("/orders/{id}.json", {"id": "7"}, "/orders/7.json"),
        ("/orders/{id}", {"id": "1.4"}, "/orders/1.4"),
        ("/files/{+path}", {"path": "a/b.c/d"}, "/files/a/b.c/d"),
        ("/orders{?q}", {"q": ".."}, "/orders?q=.."),
        ("/orders?q={q}", {"q": ".."}, "/orders?q=.."),
        ("/orders?at=/{+q}", {"q": "a/../b"}, "/orders?at=/a/../b"),
        ("/orders#/{+q}", {"q": "../b"}, "/orders#/../b"),
        ("/a/../{b}", {"b": "x"}, "/a/../x"),  # as its author wrote it
        ("/a/..{?q}", {"q": "x"}, "/a/..?q=x"),
        ("/a/..{?q}", {}, "/a/.."),
        ("./{b}", {"b": "x"}, "./x"),
        ("../{b}", {"b": ""}, "../"),
        ("{/a}/..", {"a": "x"}, "/x/.."),
    ],
)
def test_dots_that_mean_no_way_out_are_sent(template: str, values: dict[str, Any], uri: str) -> None:
    assert expand(template, values) == uri


@pytest.mark.parametrize(
    "template", ["/.." * 10_000 + "{a}" * 8_000, "{a}" * 8_000 + "/.." * 10_000, "{/a}/.." * 8_000]
)
def test_a_template_of_thousands_of_parts_takes_no_long_time(template: str) -> None:
    began = time.process_time()
    with contextlib.suppress(InvalidParameter):
        expand(template, {"a": "x"})
    assert time.process_time() - began < 5  # seconds; it takes less than one


_TEMPLATES = st.lists(
    st.sampled_from(["/", "{a}", "{b}", "{+a}", "{/a}", "{/b*}", "{.a}", "{;b}", "x", ".", "..", "{?a}", "{#b}"]),
    max_size=7,
).map("".join)
_VALUES = st.text(alphabet="./%2eE5;a\\?#", max_size=6)


@given(_TEMPLATES, _VALUES, _VALUES)
def test_whatever_the_values_no_segment_is_dots_that_is_not_so_without_them(template: str, a: str, b: str) -> None:
    values = {name: value for name, value in {"a": a, "b": b}.items() if name in template}
    try:
        uri = expand(template, values)
    except InvalidParameter:
        return
    skeleton = re.sub(r"\{[^}]*\}", "x", re.sub(r"\{[?#].\}", "?", template))
    paths = [text.partition("#")[0].partition("?")[0] for text in (uri, skeleton)]
    found, written = ([segment for segment in path.split("/") if has_dots(segment)] for path in paths)
    assert len(found) <= len(written)
