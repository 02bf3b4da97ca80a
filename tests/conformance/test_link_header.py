"""RFC 8288: the examples of its section 3.5, and what its grammar allows or servers send all the same."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import pytest

from sleepwalker.links.header import header_links

BASE = "http://example.com/here/index"


def read(text: str) -> list[dict[str, Any]]:
    """The links, with what is said of them."""
    found = []
    for link in header_links(text, BASE):
        said = {"rel": link.relation, "to": urljoin(link.base, link.target), "of": link.context}
        said |= {"title": link.title, "type": link.type}
        found.append({name: value for name, value in said.items() if value is not None})
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '<http://example.com/TheBook/chapter2>; rel="previous"; title="previous chapter"',
            [{"rel": "previous", "to": "http://example.com/TheBook/chapter2", "title": "previous chapter"}],
        ),
        (
            '</>; rel="http://example.net/foo"',
            [{"rel": "http://example.net/foo", "to": "http://example.com/"}],
        ),
        (
            '</terms>; rel="copyright"; anchor="#foo"',
            [{"rel": "copyright", "to": "http://example.com/terms", "of": "#foo"}],
        ),
        (
            """</TheBook/chapter2>; rel="previous"; title*=UTF-8'de'letztes%20Kapitel,
            </TheBook/chapter4>; rel="next"; title*=UTF-8'de'n%c3%a4chstes%20Kapitel""",
            [
                {"rel": "previous", "to": "http://example.com/TheBook/chapter2", "title": "letztes Kapitel"},
                {"rel": "next", "to": "http://example.com/TheBook/chapter4", "title": "nächstes Kapitel"},
            ],
        ),
        (
            '<http://example.org/>; rel="start http://example.net/relation/other"',
            [
                {"rel": "start", "to": "http://example.org/"},
                {"rel": "http://example.net/relation/other", "to": "http://example.org/"},
            ],
        ),
        (
            '<https://example.org/>; rel="start", <https://example.org/index>; rel="index"',
            [{"rel": "start", "to": "https://example.org/"}, {"rel": "index", "to": "https://example.org/index"}],
        ),
    ],
)
def test_an_example_is_read_as_it_says(text: str, expected: list[dict[str, Any]]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("<a>; rel=next", ["a"]),
        ("<a>;rel=next", ["a"]),
        ("<a> ; rel = next", ["a"]),
        ("<a>;;; rel=next;", ["a"]),
        ("<a>; REL=next", ["a"]),
        (",, <a>; rel=next, ,", ["a"]),
        ("<a>; rel=next, <b>; rel=next", ["a", "b"]),
        ('<a>; title="x, y; z"; rel=next', ["a"]),
        ('<a>; title="a \\"quoted\\" <b>; rel=next"; rel=next', ["a"]),
        ("<a,b;c>; rel=next", ["a,b;c"]),
        ("<a>; rel=next; rel=other", ["a"]),
        ("<a>; rel=other; rel=next", []),
        ('<a>; rel=""', []),
        ("<a>", []),
        ("<>; rel=next", [""]),
        ("a; rel=next", []),
        ("<a; rel=next", []),
        ("", []),
        ("nonsense", []),
    ],
)
def test_targets_of_next_are_those_that_the_grammar_gives(text: str, targets: list[str]) -> None:
    assert [link.target for link in header_links(text, BASE) if link.relation == "next"] == targets
