"""What an error holds when it leaves the process, as to the parent of a worker or into a queue: no credential."""

from __future__ import annotations

import base64
import concurrent.futures
import copy
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import requests
from servers import FaultServer, json_reply, redirect, refused_port, reply

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    ConnectError,
    Connection,
    DecodeError,
    HTTPError,
    HTTPServiceUnavailable,
    Policy,
)

pytestmark = pytest.mark.both_drivers

SECRET = "canary7d1f"
BASIC = base64.b64encode(f"{SECRET}:{SECRET}".encode())
ONCE = Policy(retry=False, breaker={"consecutive": 1, "consecutive_for": 0, "open_for": 5})


def through_a_pickle(error: Any) -> Any:
    whole = pickle.dumps(error)
    for shape in (SECRET.encode(), BASIC):
        assert shape not in whole
    return pickle.loads(whole)


WAYS = [through_a_pickle, copy.copy, copy.deepcopy]


def caught(url: str, *, as_json: bool = False) -> Any:
    """The error of a call with the secret in all that it is given."""
    uri, body, headers = f"/orders?token={SECRET}", {"pin": SECRET}, {"X-Call": SECRET}
    with Connection(url, (SECRET, SECRET), policy=ONCE, headers={"X-Api-Key": SECRET}, max_body=100) as conn:
        conn.conn.cookies.set("sid", SECRET)
        with pytest.raises(requests.RequestException) as raised:
            _ = (
                conn.json_request("POST", uri, body, None, headers)
                if as_json
                else conn.post(uri, json=body, headers=headers)
            )
    return raised.value


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_error_of_a_status_keeps_what_the_server_said(server: FaultServer, way: Callable[[Any], Any]) -> None:
    said = {"error_text": "no more pens", "left": 0}
    server.default = json_reply(
        said, 503, {"Retry-After": "7", "X-Request-Id": "r1", "Set-Cookie": f"sid={SECRET}; Path=/"}
    )
    error = caught(server.url)
    twin = way(error)
    assert type(twin) is HTTPServiceUnavailable
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), ("no more pens",))
    assert (twin.http_code, twin.json_data, twin.text) == (503, said, None)
    assert (twin.attempts, twin.retry_after) == (error.attempts, 7.0)
    assert twin.__notes__ == error.__notes__ == [f"POST {server.url}/orders: 503 after 1 attempt"]
    assert dict(twin.headers) == {name: value for name, value in error.headers.items() if name != "Set-Cookie"}
    assert twin.headers["x-request-id"] == "r1"
    answer = twin.response
    assert (answer.status_code, answer.reason, answer.json()) == (503, "Service Unavailable", said)
    assert (answer.url, answer.elapsed, answer.attempts) == (
        f"{server.url}/orders",
        error.response.elapsed,
        error.attempts,
    )
    assert not answer.cookies
    assert (answer.request.method, answer.request.url) == ("POST", f"{server.url}/orders")
    assert (dict(answer.request.headers), answer.request.body) == ({}, None)
    assert twin.request is answer.request
    with pytest.raises(requests.HTTPError):
        answer.raise_for_status()
    for shape in (SECRET, BASIC.decode()):
        assert shape not in repr([vars(part) for part in (twin, answer, answer.request)])


def test_the_original_is_as_users_of_requests_know_it(server: FaultServer) -> None:
    server.default = reply(503, b"", {"Set-Cookie": "a=1"})
    error = caught(server.url)
    for way in WAYS:
        way(error)
    request = error.response.request
    assert request.headers["X-Api-Key"] == SECRET
    assert SECRET.encode() in request.body
    assert error.response.cookies["a"] == error.headers["Set-Cookie"][2:] == "1"
    assert f"token={SECRET}" in error.response.url
    assert SECRET not in repr(vars(error))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("body", ["no json", "x" * 1000], ids=["not json", "too long"])
def test_an_answer_that_could_not_be_used(server: FaultServer, way: Callable[[Any], Any], body: str) -> None:
    server.default = reply(200, body)
    error = caught(server.url, as_json=True)
    twin = way(error)
    assert type(twin) is DecodeError
    assert (str(twin), twin.args, twin.doc, twin.attempts) == (str(error), error.args, "", error.attempts)
    assert twin.response.status_code == 200
    assert twin.response.content == (body.encode() if len(body) < 100 else b"")
    assert twin.request is twin.response.request
    assert (twin.request.method, twin.request.url, twin.request.body) == ("POST", f"{server.url}/orders", None)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_an_error_without_an_answer(way: Callable[[Any], Any]) -> None:
    with refused_port() as port:
        url = f"http://127.0.0.1:{port}"
        error = caught(url)
        twin = way(error)
        assert type(twin) is ConnectError
        assert (str(twin), twin.never_sent, twin.local) == (str(error), True, False)
        assert (twin.request, twin.response) == (None, None)
        assert twin.attempts == error.attempts
        assert twin.__notes__ == error.__notes__
        with Connection(url, (SECRET, SECRET), policy=ONCE) as conn:
            for kind in (ConnectError, CircuitOpenError):
                with pytest.raises(kind) as raised:
                    conn.get("/")
        again = way(raised.value)
        assert (again.host, again.cause) == (url, "ConnectError")


def test_where_a_redirect_led_is_told_without_its_query(server: FaultServer) -> None:
    server.routes = {"/orders": redirect(f"/done?token={SECRET}"), "/done": reply(500)}
    error = caught(server.url)
    twin = through_a_pickle(error)
    assert twin.response.url == f"{server.url}/done"
    assert twin.response.history == []


def worker(url: str) -> None:
    with Connection(url, (SECRET, SECRET), policy=ONCE) as conn:
        conn.post(f"/orders?token={SECRET}", json={"pin": SECRET})


def test_it_comes_back_from_a_worker_process(server: FaultServer) -> None:
    server.default = json_reply({"error_text": "no more pens"}, 503)
    spawn = multiprocessing.get_context("forkserver")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool,
        pytest.raises(HTTPServiceUnavailable, match="no more pens") as raised,
    ):
        pool.submit(worker, server.url).result(timeout=60)
    assert raised.value.json_data == {"error_text": "no more pens"}
    assert SECRET not in str(raised.value.__cause__), "the worker's traceback"


class Answer:
    """What a service's own kind of connection may answer with."""

    status_code, headers, reason, text = 404, {"X-A": "1"}, "Not Found", "gone"

    def json(self) -> Any:
        raise ValueError


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_an_answer_of_another_kind_is_its_owners(way: Callable[[Any], Any]) -> None:
    twin = way(HTTPError.of(Answer()))
    assert (twin.http_code, str(twin), twin.headers, twin.text) == (404, "Not Found", {"X-A": "1"}, "gone")


def test_an_error_that_was_made_by_hand() -> None:
    response = requests.Response()
    response.status_code, response._content = 404, b"{}"
    for error in (HTTPError.of(response), DecodeError("no", response=response), DecodeError("no"), ConnectError("no")):
        twin = through_a_pickle(error)
        assert (type(twin), str(twin)) == (type(error), str(error))
    with Connection("http://127.0.0.1:1", ANONYMOUS) as conn, pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(conn)
