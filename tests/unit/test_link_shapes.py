"""Where links are found in answers: HAL, JSON:API, OData, by name at the top level, and those of items."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from sleepwalker.links.finding import has, one

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


@pytest.mark.parametrize("document", [{"_links": {"next": None}}, {"links": {"next": None}}, {"_links": {"Next": []}}])
def test_a_relation_may_be_there_to_say_that_there_is_no_such_link(document: Any) -> None:
    response = answer(document)
    assert has(response, "next")
    assert one(response, "next") is None
    assert not has(response, "prev")


def test_a_relation_of_the_header_is_there() -> None:
    response = answer({}, link='</3>; rel="next", </9>; rel="last"; anchor="/other"')
    assert has(response, "NEXT")
    assert not has(response, "last")
