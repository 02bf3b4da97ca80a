"""Where links are found in answers: HAL, JSON:API, OData, by name at the top level, and those of items."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker import ANONYMOUS, Connection, DecodeError, LinkError, RelationError, URLError
from sleepwalker.connection.came_from import CameFrom, note_came_from
from sleepwalker.links import Link, follow, links, pages
from sleepwalker.links.finding import has, one

#: Decisions of our own: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

SECRET = "canary-51d0"
BASE = "https://api.example.com/orders?page=2"


def answer(body: Any, *, link: str | None = None, kind: str = "application/json", url: str = BASE) -> requests.Response:
    """An answer that came through nothing."""
    response = requests.Response()
    response.status_code = 200
    response.url = url
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response.headers["Content-Type"] = kind
    if link is not None:
        response.headers["Link"] = link
    return response


class Asked(Connection):
    """A connection that sends nothing: it keeps the requests."""

    def __init__(self) -> None:
        super().__init__("https://api.example.com", ANONYMOUS)
        self.urls: list[str] = []
        self.answers: list[requests.Response] = []

    def request(self, method: str, uri: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.urls.append(uri)
        return through(self, self.answers.pop(0) if self.answers else answer({}, url=uri))


def through(conn: Connection, response: requests.Response) -> requests.Response:
    """As if `conn` had handed the answer over."""
    note_came_from(response, CameFrom(conn, conn.origin, conn.usage))
    return response


def followed(response: requests.Response, relation: str | Link = "next") -> str:
    """The URL that is asked for, without the host."""
    conn = Asked()
    follow(through(conn, response), relation)
    return conn.urls[0].removeprefix("https://api.example.com")


def found(response: requests.Response) -> list[tuple[str, str, str, str | None]]:
    return [(link.place, link.relation, link.target, link.context) for link in links(response)]


# -- one document with all of them -----------------------------------------------------------------------


EVERYWHERE: dict[str, Any] = {
    "_links": {"next": {"href": "/hal"}},
    "links": {"next": "/api"},
    "@odata.nextLink": "/odata",
    "next": "/body",
    "_embedded": {"orders": [{"_links": {"next": {"href": "/not-this"}, "seller": {"href": "/embedded"}}}]},
    "data": [
        {
            "links": {"next": "/not-this", "seller": "/data"},
            "relationships": {"seller": {"links": {"related": "/related"}}},
        }
    ],
}


def test_all_links_are_listed_in_the_order_of_the_places() -> None:
    assert found(answer(EVERYWHERE, link="</header>; rel=next")) == [
        ("Link", "next", "/header", None),
        ("_links", "next", "/hal", None),
        ("links", "next", "/api", None),
        ("@odata.nextLink", "next", "/odata", None),
        ("body", "next", "/body", None),
        ("_embedded", "next", "/not-this", "#/_embedded/orders/0"),
        ("_embedded", "seller", "/embedded", "#/_embedded/orders/0"),
        ("data", "next", "/not-this", "#/data/0"),
        ("data", "seller", "/data", "#/data/0"),
        ("relationships", "seller", "/related", "#/data/0"),
    ]


def test_the_first_place_that_has_the_relation_counts() -> None:
    document = dict(EVERYWHERE)
    assert followed(answer(document, link="</header>; rel=next")) == "/header"
    for member, leads_to in [("_links", "/hal"), ("links", "/api"), ("@odata.nextLink", "/odata"), ("next", "/body")]:
        assert followed(answer(document)) == leads_to
        del document[member]
    assert one(answer(document), "next") is None
    assert followed(answer(document), "seller") == "/embedded"


# -- whether a relation is there at all --------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"_links": {"next": None}},
        {"_links": {"Next": []}},
        {"links": {"next": None}},
        {"@odata.nextLink": None},
        {"@odata.nextLink": ""},
        {"next": None},
        {"next": ""},
    ],
)
def test_a_relation_may_be_there_to_say_that_there_is_no_such_link(document: Any) -> None:
    response = answer(document)
    assert has(response, "next")
    assert one(response, "next") is None
    assert not has(response, "prev")
    assert list(links(response)) == []


def test_a_relation_of_an_item_may_be_there_to_say_that_there_is_no_such_link() -> None:
    response = answer({"data": {"relationships": {"author": {"data": None}, "next": {"links": {"related": None}}}}})
    assert has(response, "author")
    assert not has(response, "next")


def test_a_relation_of_the_header_is_there() -> None:
    response = answer({}, link='</3>; rel="next", </9>; rel="last"; anchor="/other"')
    assert has(response, "NEXT")
    assert not has(response, "last")


# -- OData -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["@odata.nextLink", "@nextLink", "odata.nextLink"])
def test_the_next_link_of_odata_has_its_own_name_and_that_of_any_other_api(name: str) -> None:
    response = answer({"value": [1], name: "Orders?$skiptoken=7"})
    assert followed(response, name) == followed(response, "next") == "/Orders?$skiptoken=7"


@pytest.mark.parametrize(
    ("context", "target", "leads_to"),
    [
        ("../$metadata#Orders", "Customers(1)/orders?$skip=2", "/v4/Customers(1)/orders?$skip=2"),
        ("https://api.example.com/v4/$metadata#Orders", "orders?$skip=2", "/v4/orders?$skip=2"),
        ("../$metadata", "https://api.example.com/x", "/x"),
        ("https://[", "orders?$skip=2", "/v4/Customers(1)/orders?$skip=2"),
        (7, "orders?$skip=2", "/v4/Customers(1)/orders?$skip=2"),
    ],
)
def test_a_relative_link_of_odata_is_relative_to_the_context_of_the_document(
    context: Any, target: str, leads_to: str
) -> None:
    document = {"@odata.context": context, "@odata.nextLink": target}
    assert followed(answer(document, url="https://api.example.com/v4/Customers(1)/orders")) == leads_to


@pytest.mark.parametrize("context", ["http://api.example.com/", "https://elsewhere.example.com/"])
def test_a_context_leads_nowhere_that_a_link_may_not_lead(context: str) -> None:
    with pytest.raises(URLError):
        followed(answer({"@odata.context": context, "@odata.nextLink": "x"}))


def test_a_target_with_control_characters_stays_as_it_is_and_is_refused() -> None:
    with pytest.raises(URLError, match="control characters"):
        followed(answer({"@odata.context": "/x", "@odata.nextLink": "/a\n/b"}))


def test_braces_in_a_next_link_of_odata_are_no_variables() -> None:
    assert followed(answer({"@odata.nextLink": "/orders?$skiptoken={7}"})) == "/orders?$skiptoken={7}"


def test_a_next_link_of_odata_that_is_none_is_told() -> None:
    with pytest.raises(LinkError, match=r"in `@odata.nextLink` of .*/orders is not a link: .* int"):
        followed(answer({"@odata.nextLink": 7}))


# -- by name at the top level ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "leads_to"),
    [
        ("https://api.example.com/orders?page=3", "/orders?page=3"),
        ("HTTPS://api.example.com/3", "/3"),
        ("/3", "/3"),
        ("./3", "/3"),
        ("../3", "/3"),
        ("?page=3", "/orders?page=3"),
        ({"href": "/3"}, "/3"),
        ({"href": "3"}, "/3"),
    ],
)
def test_a_member_of_the_relations_name_is_a_link_if_it_looks_like_one(value: Any, leads_to: str) -> None:
    assert followed(answer({"next": value})) == leads_to
    assert followed(answer({"next_page_url": value}), "next_page_url") == leads_to


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (SECRET, "text that does not begin like a URL"),
        ("3", "text that does not begin like a URL"),
        (" /3", "text that does not begin like a URL"),
        ("ftp://api.example.com/", "text that does not begin like a URL"),
        ("javascript:alert(1)", "text that does not begin like a URL"),
        (3, "it is of type int"),
        (True, "it is of type bool"),
        (["/3"], "it is of type list"),
        ({"cursor": SECRET}, "it has no href"),
        ({"href": 3}, "its href is of type int"),
    ],
)
def test_a_cursor_or_a_number_is_told_and_never_followed(value: Any, says: str) -> None:
    """A cursor that is taken for a relative path would ask for the wrong page."""
    conn = Asked()
    response = through(conn, answer({"next": value}))
    with pytest.raises(LinkError, match=rf"'next' at the top level of https://api.example.com/orders .*{says}") as told:
        follow(response, "next")
    assert SECRET not in str(told.value)
    with pytest.raises(LinkError, match=says):
        list(pages(response))
    assert conn.urls == []
    assert list(links(response)) == []


def test_only_the_well_known_names_of_the_top_level_are_listed() -> None:
    document = {"next": "/3", "previous": "/1", "self": {"href": "/2"}, "avatar": "/kim.png", "first": "Kim", "last": 9}
    assert found(answer(document)) == [
        ("body", "next", "/3", None),
        ("body", "previous", "/1", None),
        ("body", "self", "/2", None),
    ]
    assert followed(answer(document), "avatar") == "/kim.png"


@pytest.mark.parametrize("member", ["_links", "_embedded"])
def test_what_holds_links_is_none_itself(member: str) -> None:
    with pytest.raises(RelationError):
        follow(answer({member: {"href": "/x"}}), member)


def test_a_template_at_the_top_level_is_one() -> None:
    conn = Asked()
    follow(through(conn, answer({"repository_url": "/repos/{owner}"})), "repository_url", owner="kim")
    assert conn.urls == ["https://api.example.com/repos/kim"]


def test_pages_of_an_api_that_writes_next_at_the_top_level() -> None:
    conn = Asked()
    conn.answers = [answer({"next": "?page=4"}, url="https://api.example.com/orders?page=3"), answer({"next": None})]
    walk = pages(through(conn, answer({"next": "https://api.example.com/orders?page=3"})))
    assert len(list(walk)) == 3
    assert conn.urls == ["https://api.example.com/orders?page=3", "https://api.example.com/orders?page=4"]


# -- items -------------------------------------------------------------------------------------------------


def test_a_link_of_an_item_says_of_which() -> None:
    document = {
        "_embedded": {
            "orders": [
                {"_links": {"self": {"href": "/orders/1"}, "seller": {"href": "/kim"}}},
                {"_links": {"self": {"href": "/orders/{id}", "templated": True}, "seller": {"href": "/lee"}}},
            ],
            "ex:a/b~c d\ud800": {"_links": {"seller": [{"href": "/sam"}]}},
        }
    }
    assert found(answer(document)) == [
        ("_embedded", "self", "/orders/1", "/orders/1"),
        ("_embedded", "seller", "/kim", "/orders/1"),
        ("_embedded", "self", "/orders/{id}", "#/_embedded/orders/1"),
        ("_embedded", "seller", "/lee", "#/_embedded/orders/1"),
        ("_embedded", "seller", "/sam", "#/_embedded/ex:a~1b~0c%20d%ED%A0%80"),
    ]


def test_a_relationship_of_json_api_leads_to_what_is_related_and_has_links_of_its_own() -> None:
    about = {"self": "/articles/1/relationships/author", "related": {"href": "/people/9", "title": "Kim"}}
    document = {
        "data": {
            "links": {"self": "/articles/1"},
            "relationships": {"author": {"links": about}, "tags": {"links": {"next": "/tags?page=2"}}, "x": None},
        }
    }
    assert found(answer(document, kind="application/vnd.api+json")) == [
        ("data", "self", "/articles/1", "/articles/1"),
        ("relationships", "author", "/people/9", "/articles/1"),
        ("relationships", "self", "/articles/1/relationships/author", "#/data/relationships/author"),
        ("relationships", "next", "/tags?page=2", "#/data/relationships/tags"),
    ]
    assert followed(answer(document), "author") == "/people/9"


def test_what_a_relationship_has_beside_is_not_the_items() -> None:
    response = answer({"data": {"relationships": {"author": {"links": {"history": "/a/history"}}}}})
    for relation in ("history", "author"):
        with pytest.raises(RelationError):
            follow(response, relation)
    assert found(response) == [("relationships", "history", "/a/history", "#/data/relationships/author")]


OF_ITEMS = [
    {"_embedded": {"orders": [{"_links": {"next": {"href": "/8"}, "self": {"href": "/7"}}}]}},
    {"_embedded": {"order": {"_links": {"next": {"href": "/8"}, "self": {"href": "/7"}}}}},
    {"data": {"links": {"next": "/8", "self": "/7"}}},
    {"data": [{"relationships": {"next": {"links": {"related": "/8", "self": "/7"}}}}]},
    {"data": [{"relationships": {"order": {"links": {"next": "/8", "self": "/7"}}}}]},
    {"_embedded": {"x": {"_links": {"curies": [{"name": "x", "href": "{rel}"}], "x:next": "/8", "x:self": "/7"}}}},
]


@pytest.mark.parametrize("document", OF_ITEMS)
def test_the_next_of_an_item_is_not_the_pages(document: Any) -> None:
    """Else a page of one item that is the last one would go on with something else."""
    response = answer(document)
    for relation in ("next", "NEXT", "self"):
        assert one(response, relation) is None
        assert not has(response, relation)
    assert {link.target for link in links(response)} == {"/7", "/8"}
    assert all(link.context is not None for link in links(response))


def test_that_only_items_have_such_a_link_is_told() -> None:
    response = answer({"_embedded": {"orders": [{"_links": {"next": {"href": "/8"}, "seller": "/kim"}}]}, "n": 1})
    with pytest.raises(RelationError) as told:
        follow(response, "next")
    assert str(told.value) == (
        "https://api.example.com/orders has no link 'next': it has none at all; its items have 'seller'; its items "
        "have such links; get them from links(response)"
    )
    (link,) = [link for link in links(response) if link.relation == "next"]
    assert followed(response, link) == "/8"


@pytest.mark.parametrize(
    "documents",
    [
        lambda authors: {"data": [{"relationships": {"author": {"links": {"related": at}}}} for at in authors]},
        lambda authors: {"_embedded": {"articles": [{"_links": {"author": {"href": at}}} for at in authors]}},
        lambda authors: {"data": [{"links": {"author": at}} for at in authors]},
    ],
)
def test_a_relation_of_items_is_followed_where_all_of_them_lead_to_one_place(documents: Any) -> None:
    assert followed(answer(documents(["/kim"])), "author") == "/kim"
    assert followed(answer(documents(["/kim", "/kim", "https://api.example.com/kim"])), "author") == "/kim"
    with pytest.raises(LinkError, match=r"has 2 different targets: pass the right link from .*, by its context"):
        followed(answer(documents(["/kim", "/lee", "/kim"])), "author")


def test_an_item_has_the_curies_of_what_it_is_in() -> None:
    document = {
        "_links": {"curies": [{"name": "ex", "href": "/rels/{rel}"}]},
        "_embedded": {
            "a": {"_links": {"ex:one": "/1"}},
            "b": {"_links": {"ex:two": "/2", "curies": [{"name": "ex", "href": "/own/{rel}"}]}},
        },
    }
    assert followed(answer(document), "/rels/one") == "/1"
    assert followed(answer(document), "/own/two") == "/2"


def test_what_is_no_link_in_an_item_is_told_when_it_is_asked_for() -> None:
    response = answer({"_embedded": {"a": [{"_links": {"seller": {"href": 5}}}, {"_links": 7}, 7], "b": 7}, "data": 7})
    with pytest.raises(LinkError, match=r"'seller' in `_embedded` of https://api.example.com/orders is not a link"):
        follow(response, "seller")
    assert list(links(response)) == []


# -- what is missing ---------------------------------------------------------------------------------------


def test_a_relation_that_is_not_there_names_those_of_all_places() -> None:
    document = {
        "_links": {"self": {"href": "/"}},
        "links": {"last": "/9"},
        "@odata.nextLink": "/3",
        "after_url": "/4",
        "title": "x",
        "count": 5,
        "_embedded": {"orders": [{"_links": {"seller": "/kim", "self": "/7"}}, {"_links": {"seller": "/lee"}}]},
        "data": {
            "links": {"self": "/8", "pdf": "/8.pdf"},
            "relationships": {
                "author": {"links": {"related": "/sam", "edit": "/r"}},
                "up": {"links": {"related": "/"}},
            },
        },
    }
    with pytest.raises(RelationError) as told:
        follow(answer(document, link="</1>; rel=first"), "nxt")
    assert str(told.value) == (
        "https://api.example.com/orders has no link 'nxt': it has 'first', 'self', 'last', 'next', '@odata.nextLink', "
        "'after_url'; its items have 'seller', 'pdf', 'author'"
    )


# -- made by hand --------------------------------------------------------------------------------------------


def test_a_link_made_by_hand_is_followed() -> None:
    conn = Asked()
    response = through(conn, answer({"paging": {"after_url": "?after=7"}}))
    link = Link("next", response.json()["paging"]["after_url"], response.url)
    assert (link.place, link.templated, link.context) == ("", False, None)
    follow(response, link)
    assert conn.urls == ["https://api.example.com/orders?after=7"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("next", None, BASE), "target of a Link must be a string, not a NoneType"),
        ((None, "/3", BASE), "relation of a Link must be a string, not a NoneType"),
        (("next", "/3", answer({})), "base of a Link must be a string, not a Response"),
    ],
)
def test_a_link_made_by_hand_of_something_else_is_told(arguments: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Link(*arguments)


@pytest.mark.parametrize("base", ["", "/orders", "no"])
def test_a_link_made_by_hand_whose_base_is_no_url_is_refused(base: str) -> None:
    with pytest.raises(URLError):
        followed(answer({}), Link("next", "3", base))


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("@odata.nextLink", "@odata.context"),
        ("@nextLink", "@odata.context"),
        ("@nextLink", "@context"),
        ("odata.nextLink", "odata.metadata"),
    ],
)
def test_each_version_of_odata_has_its_name_for_the_context(name: str, context: str) -> None:
    document = {context: "https://api.example.com/svc/$metadata#Orders", name: "Orders?$skip=9"}
    assert followed(answer(document)) == "/svc/Orders?$skip=9"


@pytest.mark.parametrize("base", ["", "http://api.example.com/", " https://api.example.com/"])
def test_a_link_made_by_hand_does_not_lead_from_https_to_http_whatever_its_base_is(base: str) -> None:
    conn = Asked()
    with pytest.raises(URLError, match="from https to http"):
        follow(through(conn, answer({})), Link("next", "http://api.example.com/3", base))
    assert conn.urls == []


# -- hostile documents -----------------------------------------------------------------------------------------


def _many(number: int) -> list[bytes]:
    hal = b",".join(b'{"_links":{"a":"/%d","self":"/x"}}' % n for n in range(number))
    api = b",".join(b'{"relationships":{"a":{"links":{"related":"/%d","self":"/x"}}}}' % n for n in range(number))
    alike = b",".join([b'{"links":{"a":"/x"}}'] * number)
    named = b",".join(b'"%d":{"_links":{"a":"/%d"}}' % (n, n) for n in range(number))
    return [
        b'{"_embedded":{"i":[%b]}}' % hal,
        b'{"data":[%b]}' % api,
        b'{"data":[%b]}' % alike,
        b'{"_embedded":{%b}}' % named,
    ]


@pytest.mark.once
@pytest.mark.parametrize("shape", range(4))
def test_many_items_are_looked_through_in_time_that_grows_with_their_number(shape: int) -> None:
    """In processor seconds: 10,000 items take 0.3, as they are looked through five times. Where each looked at all the
    others, these would take 25."""
    number = 10_000
    response = answer(_many(number)[shape])
    began = time.process_time()
    assert sum(1 for _ in links(response)) >= number
    assert one(response, "next") is None
    with pytest.raises(RelationError):
        follow(response, "b")
    if shape == 2:
        assert followed(response, "a") == "/x"
    else:
        with pytest.raises(LinkError, match="more than 10 different targets"):
            follow(response, "a")
    assert time.process_time() - began < 5


def test_items_in_items_are_looked_through_to_a_depth_and_no_further() -> None:
    document: dict[str, Any] = {}
    for _ in range(80):
        document = {"_links": {"a": "/x"}, "_embedded": {"i": [document]}}
    assert [link.context for link in links(answer(document))] == [
        None,
        "#/_embedded/i/0",
        "#/_embedded/i/0/_embedded/i/0",
        "#/_embedded/i/0/_embedded/i/0/_embedded/i/0",
    ]


@pytest.mark.parametrize("opening", [b'{"_embedded":{"i":[', b'{"_embedded":{"i":', b'{"data":[', b'{"data":'])
def test_deep_nesting_is_an_error_or_nothing(opening: bytes) -> None:
    closing = opening.translate(bytes.maketrans(b"{[", b"}]"), b'":_abcdefghijklmnopqrstuvwxyz')[::-1]
    for depth in (100, 100_000):
        try:
            assert list(links(answer(opening * depth + b"{}" + closing * depth))) == []
        except DecodeError:
            assert depth > 100


def test_a_long_name_does_not_make_a_small_document_large() -> None:
    items = [{"_links": {"a": "/x"}}] * 1_000
    size = sum(len(link.context or "") for link in links(answer({"_embedded": {"é" * 100_000: items, "i": items}})))
    assert size < 100_000


# -- any document ------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(
    ["next", "self", "Next", "href", "links", "_links", "_embedded", "data", "relationships", "related", "author"]
) | (
    st.sampled_from(["@odata.nextLink", "odata.nextLink", "curies", "ex:next", "name", "templated", "deprecation"])
    | st.text(max_size=3)
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["/a", "?b", "c", "", "{rel}", "/{d}", "https://[", "//b.example.com/", "javascript:e"])
    | st.text(max_size=5)
)
_DOCUMENTS = st.dictionaries(
    _NAMES,
    st.recursive(
        _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=25
    ),
    max_size=6,
)


def _strings(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(_strings, inner))


@given(_DOCUMENTS, st.sampled_from(["application/json", "application/hal+json", "application/vnd.api+json"]))
def test_any_document_has_links_that_it_has_or_an_error_that_tells(document: Any, kind: str) -> None:
    response = answer(document, kind=kind)
    written = _strings(document)
    for relation in ("next", "self", "author", "@odata.nextLink", "ex:next", "links", "data", "_embedded"):
        with contextlib.suppress(LinkError):
            if link := one(response, relation):
                assert link.target in written
                assert has(response, relation)
    try:
        found = list(links(response))
    except LinkError:
        return
    assert {link.target for link in found} <= written
    assert all(
        (link.context is None) == (link.place in ("_links", "links", "@odata.nextLink", "body")) for link in found
    )
    assert all(urljoin(BASE, link.context) for link in found if (link.context or "").startswith("#"))


@given(_DOCUMENTS)
def test_whatever_items_have_is_no_next_of_the_page(document: Any) -> None:
    """All that only items have is asked for, under every name that says where a document stands."""
    items = {name: value for name, value in document.items() if name in ("_embedded", "data")}
    for relation in ("next", "self", "NEXT", "prev", "first"):
        response = answer({"_embedded": document, "data": [document], **items})
        assert one(response, relation) is None
        assert not has(response, relation)


def test_what_odata_says_of_the_document_is_not_among_the_links_that_there_are() -> None:
    only = answer({"@odata.context": "https://api.example.com/$metadata#orders", "value": []})
    with pytest.raises(RelationError, match="it has none at all"):
        pages(only)
