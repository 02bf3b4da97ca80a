"""Links as servers write them, well or badly: headers, HAL, JSON:API, templates; what is found and what is refused."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker import (
    ANONYMOUS,
    Connection,
    ConnectionManager,
    DecodeError,
    HTTPError,
    HTTPUnauthorized,
    InvalidParameter,
    LinkError,
    MissingVariable,
    RelationError,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection.came_from import CameFrom, note_came_from
from sleepwalker.connection.options import RequestOptions
from sleepwalker.links import Link, follow, links, pages
from sleepwalker.links.template import expand, variables_of

SECRET = "canary-51d0"
BASE = "https://api.example.com/orders/7?page=2"


def answer(
    body: Any = None, *, link: str | None = None, kind: str | None = "application/hal+json", url: str = BASE
) -> requests.Response:
    """An answer that came through nothing."""
    response = requests.Response()
    response.status_code = 200
    response.url = url
    response._content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    if kind is not None:
        response.headers["Content-Type"] = kind
    if link is not None:
        response.headers["Link"] = link
    return response


class Asked(Connection):
    """A connection that sends nothing: it keeps the requests."""

    def __init__(self, hostname: str = "https://api.example.com", **kwargs: Any) -> None:
        super().__init__(hostname, ANONYMOUS, **kwargs)
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.answers: list[requests.Response] = []

    def request(self, method: str, uri: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.calls.append((method, uri, kwargs))
        response = self.answers.pop(0) if self.answers else answer(url=uri)
        return through(self, response)

    @property
    def urls(self) -> list[str]:
        return [url for _, url, _ in self.calls]


def through(conn: Connection, response: requests.Response) -> requests.Response:
    """As if `conn` had handed the answer over."""
    vars(response)["kept"] = conn  # as a caller would, for an answer alone does not keep it
    note_came_from(response, CameFrom(conn, conn.origin, conn.usage))
    return response


class Phonebook:
    """A manager that has a connection for each host that it is asked for, and keeps what it was asked."""

    def __init__(self, **hosts: Any) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.hosts: dict[str, Any] = hosts

    def find(self, host: str, auth: Any, /) -> Any:
        self.asked.append((host, auth))
        return self.hosts.setdefault(host, Asked(host))


def followed(response: requests.Response, relation: str = "next", **kwargs: Any) -> str:
    """The URL that is asked for."""
    conn = Asked()
    follow(through(conn, response), relation, **kwargs)
    return conn.urls[0]


# -- Link headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "relation", "leads_to"),
    [
        ('</a>; rel="next"', "next", "/a"),
        ("</a>; rel=next", "NEXT", "/a"),
        ('<?page=3>; rel="next"', "next", "/orders/7?page=3"),
        ('<>; rel="next"', "next", "/orders/7?page=2"),
        ('<8#top>; rel="next"', "next", "/orders/8"),
        ('<../a/./b>; rel="next"', "next", "/a/b"),
        ('</a>; rel="prev  next"', "next", "/a"),
        ('</a>; title="one, <two>; rel=next"; rel="prev", </b>; rel="next"', "next", "/b"),
        ('</a>; rel="prev"; rel="next", </b>; rel=next', "next", "/b"),  # the first rel counts (RFC 8288, 3.3)
        ('</a>; title="\\"x\\", y"; rel="next"', "next", "/a"),
        ('</a,b;c>; rel="next"', "next", "/a,b;c"),
        ('</a>;REL="next"', "next", "/a"),
        ('</a>; rel="https://example.com/rel/Order"', "https://example.com/rel/order", "/a"),
        ('</a>; rel=next, </a>; rel=next, <https://api.example.com/a>; rel="next"', "next", "/a"),
        ('</a>; rel="next"; anchor="https://api.example.com/orders/7?page=2"', "next", "/a"),
        ('</a>; rel="next"; anchor=""', "next", "/a"),
        ('junk, </b>; rel="next"', "next", "/b"),
        ('</a>; rel="next"; =x; ;;, , ,', "next", "/a"),
        ('</a>; rel="next', "next", "/a"),
        ('</a> rel="next", </b>; rel="next"', "next", "/b"),
        ("<https://api.example.com:443/a>; rel=next", "next", "/a"),
        ("<//API.example.com/a>; rel=next", "next", "/a"),
    ],
)
def test_a_link_header_is_followed_as_rfc_8288_reads_it(header: str, relation: str, leads_to: str) -> None:
    assert followed(answer(link=header), relation) == f"https://api.example.com{leads_to}"


@pytest.mark.parametrize("anchor", ["#part", "/other", "https://elsewhere.example.com/"])
def test_a_link_of_another_resource_is_not_followed_as_one_of_the_answer(anchor: str) -> None:
    response = answer(link=f'</a>; rel="next"; anchor="{anchor}"')
    with pytest.raises(RelationError, match="another resource"):
        follow(response, "next")
    (link,) = links(response)
    assert link.context is not None
    conn = Asked()
    follow(through(conn, response), link)  # a caller may allow it
    assert conn.urls == ["https://api.example.com/a"]


def test_a_title_in_another_character_set_is_decoded() -> None:
    (link,) = links(answer(link="</a>; rel=next; title=\"plain\"; title*=UTF-8'de'n%c3%a4chste; type=text/html"))
    assert (link.title, link.type) == ("nächste", "text/html")


def test_the_first_place_that_has_the_relation_counts() -> None:
    body = {"_links": {"next": {"href": "/hal"}, "prev": {"href": "/hal"}}, "links": {"next": "/api", "last": "/api"}}
    response = answer(body, link='</header>; rel="next"')
    assert followed(response, "next") == "https://api.example.com/header"
    assert followed(response, "prev") == "https://api.example.com/hal"
    assert followed(response, "last") == "https://api.example.com/api"
    assert [(link.relation, link.place) for link in links(response)] == [
        ("next", "Link"),
        ("next", "_links"),
        ("prev", "_links"),
        ("next", "links"),
        ("last", "links"),
    ]


def test_a_body_that_is_not_needed_is_not_read() -> None:
    assert followed(answer(b"{", link="</a>; rel=next")) == "https://api.example.com/a"


@given(st.text(alphabet=st.sampled_from('<>;,="\\ \t#?{}*abrel/:@\x00é'), max_size=60))
def test_no_header_breaks_the_reader(header: str) -> None:
    for link in links(answer(link=header)):
        assert SECRET not in repr(link)
        assert link.relation


_PATH = st.text(alphabet="abc/,;=?&%20-_.~!", max_size=12).map(lambda text: f"/x{text}")
_TITLE = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(st.lists(st.tuples(_PATH, st.sampled_from(["next", "prev", "item"]), _TITLE), max_size=5))
def test_what_is_written_as_rfc_8288_says_is_read_again(written: list[tuple[str, str, str]]) -> None:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"')

    header = ", ".join(f'<{path}>; title="{quoted(title)}"; rel="{rel}"' for path, rel, title in written)
    found = [(link.target, link.relation, link.title) for link in links(answer(link=header))]
    assert found == written


# -- HAL and JSON:API --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "relation"),
    [
        ({"_links": {"next": {"href": "/a"}}}, "next"),
        ({"_links": {"next": [{"href": "/a"}]}}, "next"),
        ({"_links": {"next": [{"href": "/a", "name": "x"}, {"href": "https://api.example.com/a"}]}}, "next"),
        ({"_links": {"next": "/a"}}, "next"),
        ({"_links": {"next": {"href": "/a", "templated": False}}}, "next"),
        ({"_links": {"next": {"href": "/{id}", "templated": True}}}, "next"),
        ({"_links": {"next": {"href": "/{id}"}}}, "next"),
        ({"_links": [], "links": {"next": "/a"}}, "next"),
        ({"_links": None, "links": {"next": "/a"}}, "next"),
        ({"links": {"next": {"href": "/a", "meta": {"count": 3}}}}, "next"),
        ({"_links": {"next": None}, "links": {"next": "/a"}}, "next"),
        ({"_links": {"ex:order": {"href": "/a"}, "curies": [{"name": "ex", "href": "/rels/{rel}"}]}}, "ex:order"),
        ({"_links": {"ex:order": {"href": "/a"}, "curies": [{"name": "ex", "href": "/rels/{rel}"}]}}, "/rels/order"),
        ({"_links": {"/rels/order": {"href": "/a"}, "curies": {"name": "ex", "href": "/rels/{rel}"}}}, "ex:order"),
    ],
)
def test_links_of_a_json_body_are_followed(document: Any, relation: str) -> None:
    variables = {"variables": {"id": "a"}} if "{id}" in json.dumps(document) else {}
    assert followed(answer(document), relation, **variables) == "https://api.example.com/a"


def test_braces_stay_braces_where_hal_says_that_it_is_no_template() -> None:
    assert followed(answer({"_links": {"next": {"href": "/{a}", "templated": False}}})).endswith("/{a}")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"_links": {"next": {"href": 5}}}, "its href is of type int, not a string"),
        ({"_links": {"next": {}}}, "it has no href"),
        ({"_links": {"next": [7]}}, "it is of type int"),
        ({"links": {"next": {"href": ["/a"]}}}, "its href is of type list"),
        ({"_links": "no"}, "`_links` of https://api.example.com/orders/7 must be an object"),
        ({"_links": [1]}, "must be an object"),
    ],
)
def test_what_a_server_wrote_in_a_links_place_is_told_and_no_end_of_the_pages(document: Any, says: str) -> None:
    with pytest.raises(LinkError, match=says):
        follow(answer(document), "next")
    with pytest.raises(LinkError, match=says):
        list(pages(answer(document)))


def test_links_leaves_out_what_is_no_link() -> None:
    document = {"_links": {"a": {"href": 5}, "b": {"href": "/b"}, "c": 7, "curies": [{"name": "x", "href": "/{rel}"}]}}
    assert [link.relation for link in links(answer(document))] == ["b"]


@pytest.mark.parametrize("value", [[{"rel": "next", "href": "/a"}], 3, "all", {"count": 2}])
def test_a_plain_document_may_call_anything_its_links(value: Any) -> None:
    with pytest.raises(RelationError):
        follow(answer({"links": value}, kind="application/json"), "next")


def test_json_api_must_keep_its_word() -> None:
    with pytest.raises(LinkError, match="must be an object"):
        follow(answer({"links": 3}, kind="application/vnd.api+json"), "next")


@pytest.mark.parametrize("kind", ["text/html", "application/jsonx", None])
def test_only_a_body_that_is_said_to_be_json_is_read(kind: str | None) -> None:
    with pytest.raises(RelationError, match="none at all"):
        follow(answer({"_links": {"next": {"href": "/a"}}}, kind=kind), "next")


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff\xfe\x00", b"[" * 200_000, b'{"_links":' * 100_000, b"1" * 10_000, b'"\\ud800' + SECRET.encode()],
)
def test_a_body_that_is_not_json_is_an_error_and_no_end_of_the_pages(body: bytes) -> None:
    with pytest.raises(DecodeError, match="its Content-Type says JSON, but its body of") as caught:
        list(pages(answer(body)))
    assert SECRET not in str(caught.value)


@pytest.mark.left_to_ci
@pytest.mark.once
def test_a_million_links_are_looked_through_in_bounded_time() -> None:
    many = b'{"_links":{"item":[' + b",".join(b'{"href":"/%d"}' % n for n in range(1_000_000)) + b"]}}"
    began = time.process_time()
    with pytest.raises(LinkError, match="more than 10 different targets"):
        follow(answer(many), "item")
    with pytest.raises(RelationError):
        follow(answer(many), "next")
    assert time.process_time() - began < 20  # seconds; parsing JSON, twice, takes one or two of them


@pytest.mark.parametrize("template", ["/" + "{rel}" * 10_000, "/" + "a" * 60_000 + "{rel}"])
def test_a_curie_cannot_make_names_grow(template: str) -> None:
    names = {f"ex:{n}": {"href": "/a"} for n in range(10_000)}
    hostile = answer({"_links": {"curies": [{"name": "ex", "href": template}], "ex:" + "b" * 10_000: None, **names}})
    began = time.process_time()
    with pytest.raises(RelationError):
        follow(hostile, "next")
    assert followed(hostile, "ex:7") == "https://api.example.com/a"
    assert time.process_time() - began < 5  # seconds; it takes a tenth of one


@pytest.mark.parametrize("name", ["a/b c", "\ud800", "", "x:y"])
def test_a_curie_is_expanded_with_whatever_name(name: str) -> None:
    document = {"_links": {"curies": [{"name": "ex", "href": "/r/{rel}#"}], f"ex:{name}": {"href": "/a"}}}
    assert followed(answer(document), f"ex:{name}") == "https://api.example.com/a"
    expected = None if name == "\ud800" else f"/r/{quote(name, safe='')}#"
    assert [link.full_relation for link in links(answer(document))] == [expected]


@pytest.mark.left_to_ci
@pytest.mark.once
def test_a_million_relations_are_not_all_listed() -> None:
    many = b'{"_links":{' + b",".join(b'"r%d":{"href":"/%d"}' % (n, n) for n in range(200_000)) + b"}}"
    with pytest.raises(RelationError, match=r"'r0', .*'r19' and 199980 more"):
        follow(answer(many), "next")


# -- which link ----------------------------------------------------------------------------------------


def test_a_relation_that_is_not_there_names_those_that_are_and_no_query() -> None:
    header = f'</a?token={SECRET}>; rel="prev", </b>; rel="https://u:{SECRET}@example.com/x https://example.com/r?k={SECRET}"'
    response = answer({"_links": {"self": {"href": "/c"}, "curies": []}}, link=header, url=f"{BASE}&t={SECRET}")
    with pytest.raises(RelationError) as caught:
        follow(response, f"https://example.com/q?{SECRET}")
    assert str(caught.value) == (
        "https://api.example.com/orders/7 has no link 'https://example.com/q': "
        "it has 'prev', (not shown, as it has an @), 'https://example.com/r', 'self'"
    )


def test_a_relation_that_leads_to_several_places_is_refused_and_one_of_them_can_be_passed() -> None:
    document = {"_links": {"item": [{"href": "/1", "name": "one"}, {"href": "/2", "name": "two"}, {"href": "/1"}]}}
    conn = Asked()
    response = through(conn, answer(document))
    with pytest.raises(LinkError, match=r"has 2 different targets \('one', 'two'\): pass the right link"):
        follow(response, "item")
    follow(response, next(link for link in links(response) if link.name == "two"))
    assert conn.urls == ["https://api.example.com/2"]


def test_a_deprecated_link_is_followed_with_a_warning_that_says_where_to_read_on() -> None:
    deprecated = {"href": "/a", "deprecation": f"https://docs.example.com/old?t={SECRET}"}
    with pytest.warns(DeprecationWarning, match=r"'next' .* is deprecated; see https://docs.example.com/old$") as told:
        followed(answer({"_links": {"next": deprecated}}))
    assert told[0].filename == __file__


def test_the_repr_of_a_link_shows_no_query_and_no_userinfo() -> None:
    header = f'</a?token={SECRET}>; rel=a, <https://u:{SECRET}@h.example.com/>; rel=b, <x?{SECRET}="{{t}}">; rel=c'
    assert list(map(repr, links(answer(link=header)))) == [
        "<Link 'a' to https://api.example.com/a>",
        "<Link 'b' to (a URL that is not shown)>",
        "<Link 'c' to https://api.example.com/orders/x templated>",
    ]


# -- where it may lead ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("javascript:alert(1)", "scheme 'javascript'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("ftp://api.example.com/a", "scheme 'ftp'"),
        ("data:text/plain,x", "scheme 'data'"),
        ("http://api.example.com/a", "from https to http://api.example.com"),
        ("http:a", "not an http or https URL"),
        (f"https://user:{SECRET}@api.example.com/a", "credentials"),
        (f"//{SECRET}@api.example.com/", "credentials"),
        ("https://api.example.com\\@elsewhere.example.com/", "credentials"),
        ("https://api.example.com\t/a", "control characters"),
        ("\x00/a", "control characters"),
        ("java\nscript:x", "control characters"),
        ("https://[::1/a", "not a URI"),
        ("https://api.example.com:99999/", "port"),
        ("https://0x7f.1/", "number as host"),
        ("/" + "a" * 70_000, "70024 characters"),
        ("https://elsewhere.example.com/a", "leads to https://elsewhere.example.com, but .* pass manager="),
        ("//elsewhere.example.com/a", "pass manager="),
        ("https://api.example.com:8443/a", "leads to https://api.example.com:8443, but"),
    ],
)
@pytest.mark.parametrize("place", ["_links", "links"])
def test_a_target_that_may_not_be_followed_is_refused_before_anything_is_sent(
    target: str, says: str, place: str
) -> None:
    conn = Asked()
    response = through(conn, answer({place: {"next": {"href": f"{target}"}}}))
    with pytest.raises(URLError, match=says) as caught:
        follow(response, "next")
    assert "the link 'next' of https://api.example.com/orders/7" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    assert conn.calls == []


@given(st.text(max_size=40) | st.from_regex(r"[a-z]{0,6}:?/{0,3}[^/]{0,20}@?[^/]{0,9}.{0,9}", fullmatch=True))
def test_whatever_a_server_writes_only_its_own_host_is_asked(target: str) -> None:
    conn = Asked()
    response = through(conn, answer({"_links": {"next": {"href": target, "templated": False}}}))
    try:
        follow(response, "next")
    except (URLError, LinkError):
        assert conn.calls == []
    else:
        (url,) = conn.urls
        assert url.startswith("https://api.example.com/")


def test_a_link_from_http_to_https_is_fine() -> None:
    manager = Phonebook()
    response = through(
        Asked("http://127.0.0.1"), answer(link="<https://b.example.com/x>; rel=next", url="http://127.0.0.1/")
    )
    follow(response, "next", manager=manager)
    assert manager.hosts["https://b.example.com"].urls == ["https://b.example.com/x"]


# -- which connection -----------------------------------------------------------------------------------


def test_hosts_that_are_allowed_are_found_by_the_manager_with_the_auth_that_was_given() -> None:
    own, manager = Asked(), Phonebook()
    response = through(own, answer(link="<https://b.example.com/x?y=1>; rel=next"))
    follow(
        response, "next", manager=manager, auth="token", method="POST", json={"a": 1}, allow=["https://b.example.com"]
    )
    assert manager.asked == [("https://b.example.com", "token")]
    assert manager.hosts["https://b.example.com"].calls == [
        ("POST", "https://b.example.com/x?y=1", {"json": {"a": 1}}),
    ]
    assert own.calls == []


def test_another_host_is_found_with_what_the_hooks_have_for_it() -> None:
    manager = Phonebook()
    follow(through(Asked(), answer(link="<https://b.example.com/>; rel=next")), "next", manager=manager, auth=SECRET)
    assert manager.asked == [("https://b.example.com", None)]


def test_that_no_credentials_are_wanted_is_handed_on() -> None:
    manager = Phonebook()
    follow(through(Asked(), answer(link="<https://b.example.com/>; rel=next")), "next", manager=manager, auth=ANONYMOUS)
    assert manager.asked == [("https://b.example.com", ANONYMOUS)]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"params": {"api_key": SECRET}}, "params="),
        ({"data": SECRET}, "data="),
        ({"json": {"key": SECRET}}, "json="),
        ({"files": {"key": SECRET}}, "files="),
        (
            {"json": [SECRET], "params": SECRET, "headers": {"X-Api-Key": SECRET}},
            "params=, json=, headers .*'X-Api-Key'",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_sent_to_one_host_is_not_sent_on_to_another(options: Any, shown: str, method: str) -> None:
    own, manager = Asked(), Phonebook()
    response = through(own, answer(link="<https://b.example.com/>; rel=next, </x>; rel=own"))
    with pytest.raises(URLError, match=rf"{shown}.*; pass allow=\['https://b.example.com'\]") as caught:
        follow(response, "next", manager=manager, method=method, **options)
    assert SECRET not in str(caught.value)
    assert (own.calls, manager.asked) == ([], [])
    follow(response, "next", manager=manager, method=method, allow=["https://*.example.com"], **options)
    assert manager.hosts["https://b.example.com"].calls == [(method, "https://b.example.com/", options)]
    follow(response, "own", manager=manager, method=method, **options)
    assert own.calls == [(method, "https://api.example.com/x", options)]


def test_allow_does_not_lead_from_https_to_http() -> None:
    manager = Phonebook()
    response = through(Asked(), answer(link="<http://b.example.com/>; rel=next"))
    with pytest.raises(URLError, match="from https to http"):
        follow(response, "next", manager=manager, allow=["http://b.example.com"])
    assert manager.asked == []


def test_allow_does_not_stand_for_a_manager() -> None:
    response = through(Asked(), answer(link="<https://b.example.com/>; rel=next"))
    with pytest.raises(URLError, match="pass manager="):
        follow(response, "next", allow=["https://b.example.com"])


def test_the_host_that_was_asked_first_is_the_one_that_a_copied_answer_is_of() -> None:
    """A redirect may have led away from it, and where that came to has no claim to what is sent there."""
    first, landed = answer(url="https://api.example.com/"), answer(url="https://b.example.com/")
    landed.headers["Link"] = "<https://api.example.com/x>; rel=own, <y>; rel=next"
    landed.history = [first]
    manager = Phonebook()
    follow(landed, "own", manager=manager, auth=SECRET, headers={"X-Api-Key": SECRET})
    assert manager.asked == [("https://api.example.com", SECRET)]
    with pytest.raises(URLError, match="X-Api-Key"):
        follow(landed, "next", manager=manager, auth=SECRET, headers={"X-Api-Key": SECRET})
    follow(landed, "next", manager=manager, auth=SECRET)
    assert manager.asked[1:] == [("https://b.example.com", None)]


def test_the_answers_own_host_is_asked_through_its_own_connection_even_if_there_is_a_manager() -> None:
    own, manager = Asked(), Phonebook()
    follow(through(own, answer(link="</x>; rel=next")), "next", manager=manager)
    assert (own.urls, manager.asked) == (["https://api.example.com/x"], [])


def test_a_connection_that_was_closed_is_replaced_by_the_managers() -> None:
    own, manager = Asked(), Phonebook()
    own.close()
    follow(through(own, answer(link="</x>; rel=next")), "next", manager=manager, headers={"X-Api-Key": "k"})
    assert manager.asked == [("https://api.example.com", None)]


def test_a_host_that_stands_in_gets_the_path() -> None:
    replica = Asked("https://replica.example.com")
    manager = Phonebook(**{"https://b.example.com": replica})
    follow(answer(link="<https://b.example.com//x?y=1>; rel=next"), "next", manager=manager)
    assert replica.urls == ["https://replica.example.com//x?y=1"]


def test_what_the_manager_finds_must_be_a_connection() -> None:
    manager = Phonebook(**{"https://b.example.com": requests.Session})
    with pytest.raises(TypeError, match="this is a type"):
        follow(answer(link="<https://b.example.com/>; rel=next"), "next", manager=manager)


def test_headers_that_may_be_credentials_are_not_sent_on_to_another_host() -> None:
    manager = Phonebook()
    response = through(Asked(), answer(link="<https://b.example.com/>; rel=next"))
    with pytest.raises(URLError, match="'X-Api-Key'") as caught:
        follow(response, "next", manager=manager, headers={"X-Api-Key": SECRET, "Accept": "text/html"})
    assert SECRET not in str(caught.value)
    assert manager.asked == []
    follow(response, "next", manager=manager, headers={"Accept": "text/html"})
    assert manager.hosts["https://b.example.com"].calls[0][2] == {"headers": {"Accept": "text/html"}}


@pytest.mark.parametrize("headers", [[("Authorization", SECRET)], {("Authorization", SECRET)}, f"A: {SECRET}", 5])
def test_headers_that_are_no_mapping_are_refused_and_not_shown(headers: Any) -> None:
    response = through(Asked(), answer(link="<https://other.example.com/>; rel=next"))
    with pytest.raises(URLError, match=r"^headers must be a mapping of names to values, not ") as caught:
        follow(response, "next", manager=Phonebook(), headers=headers)
    assert SECRET not in str(caught.value)


def test_an_answer_whose_connection_is_gone_says_so() -> None:
    with pytest.raises(URLError, match="no longer exists, or is not sleepwalker's: keep the Connection"):
        follow(answer(link="</x>; rel=next"), "next")


def test_a_connection_without_an_answer_in_this_thread_says_so() -> None:
    with pytest.raises(LinkError, match="no response in this thread yet"):
        follow(Asked(), "next")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("text", "next"), "not a str"),
        ((answer(), ""), "relation must be"),
        ((answer(), 7), "relation must be"),
        ((answer(), "next", {"manager": object()}), "manager must be"),
        ((answer(), "next", {"manager": ConnectionManager}), "manager is the class ConnectionManager"),
        ((answer(), "next", {"manager": "https://b.example.com"}), "manager must be"),  # a text has a find, too
        ((answer(), "next", {"variables": ["id"]}), "variables must be"),
        ((answer(), "next", {"allow": "https://b.example.com"}), "allow must be a list"),
    ],
)
def test_arguments_that_cannot_be_are_told(arguments: Any, says: str) -> None:
    *positional, keywords = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(TypeError, match=says):
        follow(*positional, **keywords)


# -- templates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "values", "url"),
    [
        ("/orders/{id}", {"id": 7}, "/orders/7"),
        ("/orders/{id}", {"id": "a/b c"}, "/orders/a%2Fb%20c"),
        ("/orders/{id}{?lang,page}", {"id": 7, "page": 2}, "/orders/7?page=2"),
        ("/orders/{id}{?lang}", {"id": 7}, "/orders/7"),
        ("/orders/{id}", {"id": None}, "/orders/"),
        ("/orders{/id}", {}, "/orders"),
        ("{+path}/x{&a}", {"path": "/p/q"}, "/p/q/x"),
        ("/x{?l*}", {"l": ["a", None, "b"]}, "/x?l=a&l=b"),
        ("/x{?l}", {"l": (1, 2)}, "/x?l=1,2"),
        ("/x{?m*}", {"m": {"b": 1, "a": None}}, "/x?b=1"),
        ("/x/{id:3}", {"id": 12345}, "/x/123"),
        ("/x/{a.b}", {"a.b": Decimal("1.50")}, "/x/1.50"),
        ("/x{;v}{.w}", {"v": True, "w": 0}, "/x;v=True.0"),
        ("", {}, ""),
    ],
)
def test_templates_are_expanded_as_rfc_6570_says(template: str, values: dict[str, Any], url: str) -> None:
    assert expand(template, values) == url


@pytest.mark.parametrize(
    ("template", "values", "kind", "says"),
    [
        ("/{id}{?a}", {}, MissingVariable, r"needs 'id' \(it has 'id', 'a'\): pass id=..., or None"),
        ("/{a.b}", {}, MissingVariable, r"pass variables=\{'a.b': ...\}"),
        ("/{json}", {}, MissingVariable, r"pass variables=\{'json': ...\}"),
        ("/{id}", {"ide": 7}, InvalidParameter, r"no variable 'ide' \(it has 'id', and needs 'id'\)"),
        ("/x", {"id": 7}, InvalidParameter, "it has none"),
        ("/{id}", {"id": b"x"}, InvalidParameter, "'id' must be .* contains one of type bytes"),
        ("/{id}", {"id": {1}}, InvalidParameter, "contains one of type set"),
        ("/{id}", {"id": [[1]]}, InvalidParameter, "contains one of type list"),
        ("/{id:1}", {"id": {"a": SECRET}}, InvalidParameter, "first characters of 'id', which a list or mapping"),
        ("/{+id:1}", {"id": {"a": SECRET}}, InvalidParameter, "first characters of 'id'"),
        ("/{?x,id:3}{&id*}", {"id": [SECRET, "b"]}, InvalidParameter, "first characters of 'id'"),
        ("/{id:3}", {"id": ()}, InvalidParameter, "first characters of 'id'"),
        ("/{id}", {"id": f"{SECRET}\ud800"}, InvalidParameter, "lone surrogates"),
        ("/{id", {}, LinkError, "RFC 6570, from character 1"),
        ("/{}", {}, LinkError, "from character 1"),
        ("/{a b}", {}, LinkError, "from character 1"),
        ("/{!a}", {}, LinkError, "from character 1"),
        ("/{a=5}", {}, LinkError, "from character 1"),
        ("/{a:x}", {}, LinkError, "from character 1"),
        ("/a}", {}, LinkError, "from character 2"),
        ("{" * 200_000, {}, LinkError, "200000 characters"),
    ],
)
def test_what_is_wrong_with_a_template_or_its_values_is_told(
    template: str, values: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        expand(template, values, frozenset(RequestOptions.__annotations__))
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("template", ["{" * 60_000, "{a" * 30_000, "{a," * 20_000, "{?" + "a" * 60_000, "{a.." * 9000])
def test_a_template_that_is_none_is_found_out_at_once(template: str) -> None:
    began = time.process_time()
    with pytest.raises(LinkError):
        variables_of(template)
    assert time.process_time() - began < 1


_NAMES = st.from_regex(r"[a-z_]{1,4}", fullmatch=True)


@given(
    st.lists(st.tuples(st.sampled_from(["", "+", "/", "?", ".", "&", ";"]), _NAMES), min_size=1, max_size=4),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
def test_a_template_with_all_its_variables_has_no_braces_left(parts: list[tuple[str, str]], value: str) -> None:
    template = "/".join(f"{{{operator}{name}}}" for operator, name in parts)
    names = variables_of(template)
    assert set(names) == {name for _, name in parts}
    plain = "x" + re.sub("[{}.%]", "", value)  # with dots it might be refused
    assert "{" not in expand(template, dict.fromkeys(names, plain))


def test_options_go_to_the_request_and_other_keywords_to_the_template() -> None:
    conn = Asked()
    response = through(conn, answer({"_links": {"find": {"href": "/find{?q,data}", "templated": True}}}))
    follow(response, "find", q="lamp", timeout=3, headers={"X-A": "1"}, variables={"data": "full"})
    assert conn.calls == [
        ("GET", "https://api.example.com/find?q=lamp&data=full", {"timeout": 3, "headers": {"X-A": "1"}})
    ]


def test_a_keyword_that_could_be_a_variable_or_an_option_is_refused() -> None:
    response = answer({"_links": {"find": {"href": "/find{?q,data}", "templated": True}}})
    with pytest.raises(InvalidParameter, match=r"'data' is both a variable of its template and a request option"):
        follow(response, "find", q="lamp", data="full")


@pytest.mark.parametrize("value", ["..", ".", "../..", "%2e%2e", "a/../.."])
def test_a_value_that_leads_out_of_the_path_is_refused_before_anything_is_sent(value: str) -> None:
    conn = Asked()
    response = through(conn, answer({"_links": {"order": {"href": "/orders/{id}", "templated": True}}}))
    with pytest.raises(InvalidParameter, match=r"^the link 'order' of https://api.example.com/orders/7: the value of"):
        follow(response, "order", id=value, method="DELETE")
    assert conn.calls == []


def test_a_misspelt_option_is_told_also_where_there_is_no_template() -> None:
    with pytest.raises(InvalidParameter, match="not a template, so it has no variable 'timout'"):
        follow(answer(link="</x>; rel=next"), "next", timout=3)


# -- pages ----------------------------------------------------------------------------------------------


def chain_of(*targets: str | None, conn: Asked | None = None) -> tuple[Asked, requests.Response]:
    """A connection whose answers lead from one to the next, and the first answer."""
    conn = conn or Asked()
    found = [answer(url="https://api.example.com/0", link=targets[0] and f"<{targets[0]}>; rel=next")]
    for here, there in zip(targets, [*targets[1:], None], strict=True):
        if here is not None:
            found.append(answer(url=f"https://api.example.com{here}", link=there and f"<{there}>; rel=next"))
    first, *conn.answers = found
    return conn, through(conn, first)


def test_pages_begins_with_the_answer_itself_and_asks_for_one_when_it_is_wanted() -> None:
    conn, first = chain_of("/1", "/2")
    walk = pages(first)
    assert next(walk) is first
    assert conn.urls == []
    assert next(walk).url == "https://api.example.com/1"
    assert conn.urls == ["https://api.example.com/1"]
    assert [page.url for page in walk] == ["https://api.example.com/2"]


def test_a_walk_warns_of_a_deprecated_link_at_the_callers_line() -> None:
    first = answer({"_links": {"next": {"href": "/1", "deprecation": "https://docs.example.com/old"}}})
    walk = pages(through(Asked(), first))
    next(walk)
    with pytest.warns(DeprecationWarning, match="'next' .* is deprecated") as told:
        next(walk)
    assert told[0].filename == __file__


@pytest.mark.parametrize(("targets", "asked"), [(["/0"], 0), (["/1", "/1"], 1), (["/1", "/2", "/1#again"], 2)])
def test_a_loop_is_cut_before_a_page_is_asked_for_twice(targets: list[str], asked: int) -> None:
    conn, first = chain_of(*targets)
    with pytest.raises(LinkError, match=r"the link 'next' .* leads back to .* never end"):
        list(pages(first))
    assert len(conn.urls) == asked


def test_an_answer_with_the_port_spelled_out_is_the_same_place() -> None:
    first = answer(url="https://api.example.com:443/0", link="<https://api.example.com/0>; rel=next")
    with pytest.raises(LinkError, match="leads back"):
        list(pages(through(Asked(), first)))


def test_an_endless_chain_is_cut_after_so_many_pages_as_are_allowed() -> None:
    class Endless(Asked):
        def request(self, method: str, uri: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
            number = int(uri.rpartition("/")[2]) + 1
            self.answers.append(answer(url=uri, link=f"</{number}>; rel=next"))
            return super().request(method, uri, **kwargs)

    conn = Endless()
    first = through(conn, answer(url="https://api.example.com/0", link="</1>; rel=next"))
    walk = pages(first, max_pages=50)
    assert [next(walk).url.rpartition("/")[2] for _ in range(50)] == [str(number) for number in range(50)]
    with pytest.raises(LinkError, match="leads to more than max_pages=50 pages"):
        next(walk)
    assert len(conn.urls) == 49


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", iter([b"x"])),
        ("data", io.BytesIO(b"x")),
        ("files", {"f": ("name", io.BytesIO(b"x"))}),
        ("files", [("f", io.BytesIO(b"x"))]),
        ("params", iter([("a", "1")])),
    ],
)
def test_what_can_be_read_once_does_not_go_with_each_page(name: str, value: Any) -> None:
    """The second page would be asked for with an empty body, without a word."""
    conn, first = chain_of("/1", "/2")
    with pytest.raises(TypeError, match=f"^{name}= can be read only once, but must be sent for each page"):
        pages(first, method="POST", **{name: value})
    assert conn.urls == []
    follow(first, "next", method="POST", **{name: value})
    assert len(conn.urls) == 1


@pytest.mark.parametrize("value", [b"x", "x", {"a": ["1", "2"]}, lambda: iter([b"x"])])
def test_what_can_be_read_again_goes_with_each_page(value: Any) -> None:
    conn, first = chain_of("/1", "/2")
    list(pages(first, method="POST", data=value))
    assert [call[2]["data"] for call in conn.calls] == [value] * 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_without_a_body_is_no_end_of_a_walk_along_links_in_bodies(method: str) -> None:
    """Of a streamed answer, or one to a HEAD, only the header is looked at."""
    conn = Asked()
    second = answer(url="https://api.example.com/1")
    if method == "HEAD":
        second.request = requests.Request("HEAD", second.url).prepare()
    else:
        second._content = False  # as it is before it is read
    conn.answers = [second]
    walk = pages(through(conn, answer({"_links": {"next": {"href": "/1"}}})), method=method)
    assert next(walk)
    assert next(walk) is second
    for _ in range(2):
        with pytest.raises(LinkError, match=r"https://api.example.com/1 may not be the last page"):
            next(walk)
    conn, first = chain_of("/1", "/2")
    for page in conn.answers:
        page.request = requests.Request(method, page.url).prepare()
        page._content = False if method == "GET" else b""
    assert len(list(pages(first, method=method))) == 3


def test_exactly_as_many_pages_as_are_allowed_are_no_error() -> None:
    _, first = chain_of("/1", "/2")
    assert len(list(pages(first, max_pages=3))) == 3


class Failing(Asked):
    """Raises what it was given, once each, before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[BaseException] = []

    def request(self, method: str, uri: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        if self.troubles:
            raise self.troubles.pop(0)
        return super().request(method, uri, **kwargs)


@pytest.mark.parametrize("trouble", [OurConnectionError("reset"), HTTPError.of(answer()), KeyboardInterrupt()])
def test_a_walk_goes_on_after_a_failure_with_the_step_that_failed(trouble: BaseException) -> None:
    conn = Failing()
    chain_of("/1", "/2", "/3", conn=conn)
    first = through(conn, answer(url="https://api.example.com/0", link="</1>; rel=next"))
    walk = pages(first)
    got = [next(walk), next(walk)]
    for _ in range(2):
        conn.troubles = [trouble]
        with pytest.raises(type(trouble)):
            next(walk)
    got += list(walk)
    assert [page.url[-1] for page in got] == ["0", "1", "2", "3"]
    assert [url[-1] for url in conn.urls] == ["1", "2", "3"]
    assert list(walk) == []


def test_a_walk_that_was_struck_after_its_page_had_come_gives_that_page_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler that raises anywhere in a step must not lose the page, which the caller has not seen yet."""
    code = type(pages(answer(), missing="end")).__next__.__wrapped__.__code__  # type: ignore[attr-defined]
    for line in range(1, 20):
        conn, first = chain_of("/1", "/2")
        walk = pages(first)
        got = [next(walk)]

        def strike(frame: Any, event: str, arg: object, line: int = line) -> Any:
            if frame.f_code is not code:
                return None

            def at(frame: Any, event: str, arg: object) -> Any:
                if event in ("line", "return") and frame.f_lineno == code.co_firstlineno + line:
                    sys.settrace(None)
                    raise KeyboardInterrupt
                return at

            return at

        before = sys.gettrace()
        try:
            sys.settrace(strike)
            got.append(next(walk))
        except KeyboardInterrupt:
            conn.answers.insert(0, answer(url="https://api.example.com/1", link="</2>; rel=next"))
            if len(conn.urls) == 0:
                conn.answers.pop(0)
        finally:
            sys.settrace(before)
        got += list(walk)
        assert [page.url[-1] for page in got] == ["0", "1", "2"], line


@pytest.mark.parametrize(
    ("targets", "options", "says"),
    [(["/1", "/1"], {}, "leads back"), (["/1", "/2"], {"max_pages": 2}, "max_pages=2"), (["/1", "ftp:x"], {}, "ftp")],
)
def test_an_error_of_the_walk_itself_is_raised_again_and_never_taken_for_its_end(
    targets: list[str], options: Any, says: str
) -> None:
    conn, first = chain_of(*targets)
    walk = pages(first, **options)
    assert len([next(walk), next(walk)]) == 2
    for _ in range(3):
        with pytest.raises((LinkError, URLError), match=says):
            next(walk)
    assert len(conn.urls) == 1


def test_a_walk_that_is_over_stays_so() -> None:
    walk = pages(answer({"links": {"next": None}}))
    assert (len(list(walk)), list(walk), next(walk, None)) == (1, [], None)


def test_a_relation_that_the_first_page_does_not_have_is_an_error_of_the_call() -> None:
    """A misspelt one would end the walk after one page in silence, and the rest would be lost."""
    conn, first = chain_of("/1")
    says = r"/0 has no link 'nextt': it has 'next'; pass missing='end' if it may be the only page$"
    with pytest.raises(RelationError, match=says):
        pages(first, "nextt")
    assert list(pages(first, "nextt", missing="end")) == [first]
    assert len(list(pages(first, missing="error"))) == 2
    assert conn.urls == ["https://api.example.com/1"]


@pytest.mark.parametrize("wrong", ["ignore", None, True, ["end"]])
def test_what_missing_may_be_is_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match="missing must be 'error' or 'end', not "):
        pages(answer(link="</1>; rel=next"), missing=wrong)


def test_allow_is_checked_at_the_call() -> None:
    with pytest.raises(ValueError, match="is not an origin such as"):
        pages(answer(), allow=["b.example.com"])


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "9", None])
def test_max_pages_is_checked_at_the_call(wrong: Any) -> None:
    with pytest.raises(ValueError, match="max_pages must be"):
        pages(answer(), max_pages=wrong)


def test_pages_passes_options_with_each_step() -> None:
    conn, first = chain_of("/1", "/2")
    list(pages(first, timeout=4))
    assert [options for _, _, options in conn.calls] == [{"timeout": 4}] * 2


def test_a_json_api_document_ends_with_a_next_that_is_null() -> None:
    assert len(list(pages(answer({"links": {"next": None}}, kind="application/vnd.api+json")))) == 1


# -- what it is made of ---------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["uritemplate", "weblinking"])
def test_without_the_extra_one_sentence_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; import sleepwalker.links"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: sleepwalker.links needs the package {package}: pip install 'sleepwalker[services]'"
    )


def test_a_link_is_a_value() -> None:
    (one,) = links(answer(link="</a>; rel=next"))
    assert one == Link("next", "/a", BASE, "Link")
    assert hash(one) == hash(Link("next", "/a", BASE, "Link"))


@pytest.mark.parametrize(("word", "meant"), [("max_page", "max_pages"), ("managr", "manager"), ("timout", "timeout")])
def test_a_misspelt_option_is_told_at_the_call_with_the_one_that_was_meant(word: str, meant: str) -> None:
    conn, first = chain_of("/1", "/2")
    with pytest.raises(InvalidParameter, match=f"has no variable '{word}'; did you mean {meant}=\\?"):
        pages(first, **{word: 3})
    assert conn.urls == []


def test_a_401_without_a_manager_says_what_would_log_in_again() -> None:
    class Refused(Asked):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            raise HTTPUnauthorized(refusal)

    refusal = answer()
    refusal.status_code = 401
    _conn, first = chain_of("/1", conn=Refused())
    with pytest.raises(HTTPUnauthorized) as caught:
        follow(first, "next")
    assert "pass manager=" in caught.value.__notes__[-1]
