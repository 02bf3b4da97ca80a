"""Against httpbin, a foreign server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sleepwalker import (
    ANONYMOUS,
    Connection,
    HTTPBadGateway,
    HTTPBadRequest,
    HTTPConflict,
    HTTPError,
    HTTPForbidden,
    HTTPGatewayTimeout,
    HTTPInternalServerError,
    HTTPNotFound,
    HTTPServiceUnavailable,
    HTTPTooManyRequests,
    HTTPUnauthorized,
    Policy,
    ReadTimeout,
    RedirectError,
)
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

ONCE = Policy(retry=False, breaker=False)


@pytest.fixture
def conn(httpbin: str) -> Iterator[Connection]:
    with Connection(httpbin, ANONYMOUS, policy=ONCE) as connection:
        yield connection


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_json_goes_both_ways(conn: Connection, method: str) -> None:
    body = None if method == "GET" else {"name": "é", "list": [1, None]}
    answer = conn.json_request(method, "/anything/x", body, {"q": ["a b", "ü"]}, {"X-Own": "1"})
    assert answer["method"] == method
    assert answer["json"] == body
    assert answer["args"] == {"q": ["a b", "ü"]}
    assert answer["headers"]["X-Own"] == "1"
    assert answer["headers"]["Accept"] == "application/json"


def test_forms_files_and_bytes(conn: Connection) -> None:
    answer = conn.post("/post", data={"a": "1", "b": ["2", "3"]}).json()
    assert answer["form"] == {"a": "1", "b": ["2", "3"]}
    answer = conn.post("/post", data={"a": "1"}, files={"file": ("name.txt", b"content")}).json()
    assert (answer["form"], answer["files"]) == ({"a": "1"}, {"file": "content"})
    assert conn.put("/put", data=b"raw").json()["data"] == "raw"
    assert conn.post("/post", json={"a": 1}).json()["json"] == {"a": 1}


@pytest.mark.parametrize(
    ("uri", "count"),
    [("/redirect/3", 3), ("/relative-redirect/2", 2), ("/absolute-redirect/2", 2), ("/redirect-to?url=/get", 1)],
)
def test_redirects(conn: Connection, uri: str, count: int) -> None:
    response = conn.get(uri)
    assert response.url.endswith("/get")
    assert [step.status_code for step in response.history] == [302] * count


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_post_is_what_requests_makes_of_it(conn: Connection, status: int) -> None:
    params = {"url": "/anything", "status_code": str(status)}
    ours = conn.post("/redirect-to", params=params, data={"a": "1"}).json()
    theirs = requests.post(conn.get_url("/redirect-to"), params=params, data={"a": "1"}, timeout=30).json()
    assert (ours["method"], ours["form"]) == (theirs["method"], theirs["form"])


def test_too_many_redirects(conn: Connection) -> None:
    with pytest.raises(RedirectError):
        conn.get("/redirect/31")


def test_cookies(conn: Connection) -> None:
    assert conn.get("/cookies/set", params={"a": "1", "b": "2"}).json() == {"cookies": {"a": "1", "b": "2"}}
    assert conn.json_request("GET", "/cookies") == {"cookies": {"a": "1", "b": "2"}}
    conn.get("/cookies/delete", params={"a": ""})
    assert conn.json_request("GET", "/cookies") == {"cookies": {"b": "2"}}


@pytest.mark.parametrize("uri", ["/gzip", "/deflate", "/brotli"])
def test_packed_answers(conn: Connection, uri: str) -> None:
    if uri == "/brotli":
        pytest.importorskip("brotlicffi")
    answer = conn.json_request("GET", uri)
    assert answer[{"/gzip": "gzipped", "/deflate": "deflated", "/brotli": "brotli"}[uri]] is True


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, HTTPBadRequest),
        (401, HTTPUnauthorized),
        (403, HTTPForbidden),
        (404, HTTPNotFound),
        (409, HTTPConflict),
        (429, HTTPTooManyRequests),
        (500, HTTPInternalServerError),
        (502, HTTPBadGateway),
        (503, HTTPServiceUnavailable),
        (504, HTTPGatewayTimeout),
        (499, HTTPError),
        (599, HTTPError),
    ],
)
def test_a_status_is_its_exception(conn: Connection, status: int, error: type[HTTPError]) -> None:
    with pytest.raises(error) as caught:
        conn.get(f"/status/{status}")
    assert caught.value.http_code == status
    assert isinstance(caught.value, requests.HTTPError)
    assert caught.value.response is not None
    assert caught.value.response.status_code == status
    assert conn.get(f"/status/{status}", raise_for_status=False).status_code == status


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 304])
def test_a_status_below_400_is_an_answer(conn: Connection, status: int) -> None:
    assert conn.get(f"/status/{status}").status_code == status


def test_streaming(conn: Connection) -> None:
    response = conn.get("/stream/20", stream=True)
    lines = [json.loads(line) for line in response.iter_lines() if line]
    assert [line["id"] for line in lines] == list(range(20))
    response = conn.get("/stream-bytes/100000", params={"seed": 1}, stream=True)
    assert sum(map(len, response.iter_content(1000))) == 100_000


@pytest.mark.parametrize(
    "way",
    [
        *("iter_content", "iter_lines", "content", "with"),
        pytest.param("raw", marks=threads_only("response.raw, which is urllib3's")),
    ],
)
def test_every_way_to_read_a_stream(conn: Connection, way: str) -> None:
    response: Any = conn.get("/bytes/5000", params={"seed": 7}, stream=True)
    expected = conn.get("/bytes/5000", params={"seed": 7}).content
    if way == "with":
        with response:
            assert next(response.iter_content(100)) == expected[:100]
        return
    read = {
        "iter_content": lambda: b"".join(response.iter_content(7)),
        "iter_lines": lambda: b"".join(response.iter_lines(delimiter=b"\x00no")),
        "content": lambda: response.content,
        "raw": lambda: b"".join(response.raw.stream(50)),
    }[way]
    assert read() == expected


def test_text_and_encodings(conn: Connection) -> None:
    response = conn.get("/encoding/utf8")
    assert response.encoding == "utf-8"
    assert "∮ E⋅da = Q" in response.text


def test_uris_and_parameters_arrive_as_they_were_meant(conn: Connection) -> None:
    answer = conn.get("/anything/a b/ü/%2F?x=1&y=ü", params={"z": "&="}).json()
    assert answer["args"] == {"x": "1", "y": "ü", "z": "&="}


def test_a_slow_answer_is_a_read_timeout(conn: Connection) -> None:
    with pytest.raises(ReadTimeout):
        conn.get("/delay/3", timeout=(5, 0.3))


def test_a_redirect_to_a_host_elsewhere_shows_it_nothing(conn: Connection, httpbin: str) -> None:
    elsewhere = httpbin.replace("127.0.0.1", "localhost") + "/anything"
    answer = conn.get("/redirect-to", params={"url": elsewhere}, headers={"X-Api-Key": "secret"}).json()
    assert answer["url"] == elsewhere
    assert "X-Api-Key" not in answer["headers"]


def test_head_and_options(conn: Connection) -> None:
    assert conn.head("/get").content == b""
    assert "GET" in conn.options("/get").headers["Allow"]
