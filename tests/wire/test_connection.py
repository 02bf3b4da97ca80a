"""What `Connection` promises, over real sockets: calls, answers, headers, threads, streams and closing."""

from __future__ import annotations

import dataclasses
import datetime
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from servers import Exchange, FaultServer, Step, json_reply, redirect, reply, stall

from sleepwalker import (
    ANONYMOUS,
    Attempt,
    Connection,
    DecodeError,
    HTTPError,
    HTTPInternalServerError,
    HTTPNotFound,
    Policy,
    ReadTimeout,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError
from tests.both_drivers import threads_only
from tests.ranges import whole

pytestmark = pytest.mark.both_drivers

ONCE = Policy(retry=False, breaker=False)
VERBS = ("get", "head", "post", "put", "patch", "delete", "options")


def echo(exchange: Exchange) -> Step:
    request = exchange.request
    assert request is not None
    return json_reply({"method": request.method, "target": request.target, "body": request.body.decode()})


# -- json_request --------------------------------------------------------------------------------


def test_json_request_sends_json_and_returns_the_decoded_answer(server: FaultServer) -> None:
    server.script(json_reply({"id": 7, "name": "é"}))
    with Connection(server.url, ANONYMOUS) as conn:
        assert conn.json_request("POST", "/items", {"name": "é"}) == {"id": 7, "name": "é"}
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/items")
    assert json.loads(request.body) == {"name": "é"}
    assert request.header("Content-Type") == "application/json"
    assert request.header("Accept") == "application/json"
    assert request.header("Content-Length") == str(len(request.body))


@threads_only("the class of the facade would be derived from")
def test_the_verbs_go_through_an_overridden_request_and_json_request_does_not(server: FaultServer) -> None:
    class Counting(Connection):
        calls = 0

        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            self.calls += 1
            return super().request(*args, **kwargs)

    with Counting(server.url, ANONYMOUS) as conn:
        for verb in VERBS:
            getattr(conn, verb)("/")
        server.script(json_reply([1]))
        assert conn.json_request("GET", "/") == [1]
    assert conn.calls == len(VERBS)


def test_json_request_takes_its_five_arguments_by_position(server: FaultServer) -> None:
    """Services call it as `json_request(method, uri, body, params, headers)`."""
    server.script(json_reply([1]))
    with Connection(server.url, ANONYMOUS, headers={"X-A": "conn", "X-B": "conn"}) as conn:
        assert conn.json_request("PUT", "/items/1", {"a": 1}, {"q": "x y", "n": [1, 2]}, {"X-A": "call"}) == [1]
    (request,) = server.requests
    assert request.target == "/items/1?q=x+y&n=1&n=2"
    assert (request.header("X-A"), request.header("X-B")) == ("call", "conn")
    assert request.body == b'{"a": 1}'


def test_json_request_lets_the_caller_override_its_own_headers(server: FaultServer) -> None:
    server.script(json_reply({}))
    with Connection(server.url, ANONYMOUS) as conn:
        headers = {"accept": "application/vnd.x+json", "content-type": "application/merge-patch+json"}
        conn.json_request("PATCH", "/", {}, extra_headers=headers)
    (request,) = server.requests
    assert [value for name, value in request.headers if name.lower() == "accept"] == ["application/vnd.x+json"]
    types = [value for name, value in request.headers if name.lower() == "content-type"]
    assert types == ["application/merge-patch+json"]


@pytest.mark.parametrize("step", [reply(204), reply(200, b""), reply(200, b"", chunked=True), reply(201)])
def test_json_request_returns_none_where_there_is_no_body(server: FaultServer, step: Step) -> None:
    server.script(step)
    with Connection(server.url, ANONYMOUS) as conn:
        assert conn.json_request("DELETE", "/") is None


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, "text", 1.5, {"a": [None]}])
def test_json_request_returns_every_kind_of_json(server: FaultServer, value: Any) -> None:
    server.script(json_reply(value))
    with Connection(server.url, ANONYMOUS) as conn:
        assert conn.json_request("GET", "/") == value


@pytest.mark.parametrize("body", [False, 0, "", [], {}])
def test_a_body_that_is_empty_but_not_none_is_sent(server: FaultServer, body: Any) -> None:
    with Connection(server.url, ANONYMOUS) as conn:
        server.script(json_reply(1), json_reply(1))
        conn.json_request("POST", "/", body)
        conn.post("/", json=body)
    assert [request.body for request in server.requests] == [json.dumps(body).encode()] * 2
    assert [request.header("Content-Type") for request in server.requests] == ["application/json"] * 2


def test_json_request_without_a_body_sends_none(server: FaultServer) -> None:
    server.script(json_reply(1), json_reply(1))
    with Connection(server.url, ANONYMOUS) as conn:
        conn.json_request("GET", "/")
        conn.json_request("POST", "/")
    assert [request.body for request in server.requests] == [b"", b""]
    assert [request.header("Content-Length") for request in server.requests] == [None, "0"]


def test_json_request_encodes_what_services_really_send(server: FaultServer) -> None:
    @dataclasses.dataclass
    class Item:
        day: datetime.date

    server.script(json_reply(1))
    with Connection(server.url, ANONYMOUS) as conn:
        conn.json_request("POST", "/", {"items": [Item(datetime.date(2024, 2, 29))], "set": {2, 1}})
    assert json.loads(server.requests[0].body) == {"items": [{"day": "2024-02-29"}], "set": [1, 2]}


@pytest.mark.parametrize("body", [b"<html>secret</html>", b"{", b"\xff\xfe\x00", b"[1,]", b"nul", b" "])
def test_a_body_that_is_not_json_raises_an_error_that_carries_the_response(server: FaultServer, body: bytes) -> None:
    server.script(reply(200, body))
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(DecodeError) as caught:
        conn.json_request("GET", "/page?token=x")
    assert caught.value.response.content == body
    assert caught.value.response.status_code == 200
    assert f"{server.url}/page" in str(caught.value)
    assert "token" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(caught.value.attempts) == 1
    assert len(server.requests) == 1, "the same body would come again"


def test_json_in_another_encoding_is_decoded_by_its_content_type(server: FaultServer) -> None:
    server.script(reply(200, '"é"'.encode("latin-1"), {"Content-Type": "application/json; charset=latin-1"}))
    server.script(reply(200, '"é"'.encode("utf-16")), reply(200, b'\xef\xbb\xbf"\xc3\xa9"'))
    with Connection(server.url, ANONYMOUS) as conn:
        assert [conn.json_request("GET", "/") for _ in range(3)] == ["é"] * 3


def test_json_request_raises_the_error_of_the_status_with_the_servers_own_text(server: FaultServer) -> None:
    server.script(json_reply({"error_text": "no such item", "error_id": "X"}, 404))
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(HTTPNotFound) as caught:
        conn.json_request("GET", "/items/9")
    assert str(caught.value) == "no such item"
    assert caught.value.http_code == 404
    assert caught.value.json_data == {"error_text": "no such item", "error_id": "X"}


def test_json_request_with_head_returns_none(server: FaultServer) -> None:
    server.script(json_reply({"a": 1}))
    with Connection(server.url, ANONYMOUS) as conn:
        assert conn.json_request("HEAD", "/") is None


# -- verbs, headers, answers ---------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_sends_its_method(server: FaultServer, verb: str) -> None:
    with Connection(server.url, ANONYMOUS) as conn:
        response = getattr(conn, verb)("/a", params={"q": "1"}, headers={"X-A": "1"})
    assert isinstance(response, requests.Response)
    (request,) = server.requests
    assert (request.method, request.target, request.header("X-A")) == (verb.upper(), "/a?q=1", "1")


@pytest.mark.parametrize("method", ["get", "Get", "PROPFIND", "report"])
def test_a_method_is_sent_in_upper_case_as_requests_sends_it(server: FaultServer, method: str) -> None:
    with Connection(server.url, ANONYMOUS) as conn:
        conn.request(method, "/")
    assert server.requests[0].method == method.upper()


URIS = [
    *(
        "/",
        "/a",
        "/a/b/",
        "/a%20b",
        "/a b",
        "/ä",
        "/a?x=1",
        "/a?x=1&y=ä",
        "/a;b",
        "/a//b",
        "/a/../b",
        "/./a",
        "a",
        "",
        "?x",
    ),
    *(
        "/a%2Fb",
        "/%",
        "/a%zz",
        "/a'b",
        '/a"b',
        "/<a>",
        "/[a]",
        "/a|b",
        "/~a",
        "/a#frag",
        "/a?b#frag",
        "/a?",
        "/a@b",
        "/a:b",
    ),
]


@pytest.mark.parametrize(
    "params",
    [
        None,
        {"q": "ä b", "l": [1, 2]},
        *(whole(one, with_each=True) for one in ([("a", "1"), ("a", "2")], "raw=1", b"raw=1", {"n": None})),
    ],
)
@pytest.mark.parametrize("uri", URIS)
def test_a_request_looks_on_the_wire_as_one_of_requests(server: FaultServer, uri: str, params: Any) -> None:
    with Connection(server.url + "/base/", ANONYMOUS) as conn, requests.Session() as session:
        conn.get(uri, params=params, headers={"User-Agent": session.headers["User-Agent"]})
        session.get(conn.get_url(uri), params=params, timeout=30)
    ours, theirs = server.requests
    assert ours.target == theirs.target
    assert sorted(ours.headers) == sorted(theirs.headers)


def test_headers_common_to_all_requests_can_be_added_overridden_and_taken_away(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, headers={"X-A": "1", "X-B": "1"}) as conn:
        conn.add_headers({"x-b": "2", "X-C": b"3"})
        conn.get("/", headers={"X-A": None, "x-c": "4"})
        conn.get("/", headers={"User-Agent": None, "Accept": None})
        conn.get("/")
    first, second, third = server.requests
    assert [first.header(name) for name in ("X-A", "X-B", "X-C")] == [None, "2", "4"]
    assert second.header("Accept") is None
    assert [third.header(name) for name in ("X-A", "X-B", "X-C")] == ["1", "2", "3"]
    for request in server.requests:
        names = [name.lower() for name, _ in request.headers]
        assert len(names) == len(set(names)), "no header is sent twice"


def test_an_absolute_uri_of_the_own_origin_is_fine(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get(f"{server.url}/a")
        conn.get(f"//127.0.0.1:{server.port}/b")
        conn.get(f"HTTP://127.0.0.1:{server.port}/c")
    assert [request.path for request in server.requests] == ["/a", "/b", "/c"]


def test_an_absolute_uri_of_another_origin_is_refused_and_names_the_way_out(server: FaultServer) -> None:
    with FaultServer() as other, Connection(server.url, ("user", "pass")) as conn:
        with pytest.raises(URLError, match=r"ConnectionManager\.find"):
            conn.get(f"{other.url}/a")
        assert (other.accepted, server.accepted) == (0, 0)


def test_a_status_raises_its_error_unless_the_caller_says_not_to(server: FaultServer) -> None:
    server.script(reply(404, b"gone"), reply(404, b"gone"), reply(500), reply(399))
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        with pytest.raises(HTTPNotFound):
            conn.get("/")
        assert conn.get("/", raise_for_status=False).text == "gone"
        with pytest.raises(HTTPInternalServerError):
            conn.get("/")
        assert conn.get("/").status_code == 399


def test_the_last_response_is_at_hand_in_its_own_thread_only(server: FaultServer) -> None:
    server.script(reply(200, b"first"), reply(404, b"second"))
    seen: list[Any] = []
    with Connection(server.url, ANONYMOUS) as conn:
        assert conn.response is None
        response = conn.get("/")
        assert conn.response is response
        with pytest.raises(HTTPNotFound):
            conn.get("/")
        assert conn.response is not None
        assert conn.response.text == "second"
        thread = threading.Thread(target=lambda: seen.append(conn.response))
        thread.start()
        thread.join()
    assert seen == [None]


def test_attempts_tell_what_was_tried(server: FaultServer) -> None:
    policy = Policy(retry={"wait_initial": 0.5, "jitter": "none"})
    server.script(reply(503), reply(200), reply(503), reply(503), reply(503))
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        response = conn.get("/")
        first, second = response.attempts  # type: ignore[attr-defined]
        assert isinstance(first, Attempt)
        assert (first.number, first.status, first.error, first.wait) == (1, 503, None, 0.0)
        assert (second.number, second.status, second.error, second.wait) == (2, 200, None, 0.5)
        assert first.start < 0.5 <= second.start
        assert first.duration > 0
        with pytest.raises(HTTPError) as caught:
            conn.get("/", policy=policy.replace(retry={"wait_initial": 0}))
        assert [attempt.status for attempt in caught.value.attempts] == [503] * 3


def test_policy_and_health_and_session_are_at_hand(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy="batch") as conn:
        assert conn.policy == Policy.load("batch")
        assert isinstance(conn.conn, requests.Session)
        assert conn.health.state == "unknown"
        conn.get("/")
        health = conn.health
        assert (health.host, health.state, health.calls, health.attempts) == (server.url, "healthy", 1, 1)
        assert (health.in_flight, health.connections) == (0, 1)
        json.dumps(health.to_dict())


def test_cookies_of_the_server_come_back_to_it(server: FaultServer) -> None:
    server.script(reply(200, b"", {"Set-Cookie": "sid=1; Path=/"}))
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/")
        conn.get("/")
        conn.get("/", headers={"Cookie": "own=1"})
    assert [request.header("Cookie") for request in server.requests] == [None, "sid=1", "own=1"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize(
    "attributes",
    [
        "; Domain=",
        "; Domain",
        "; domain = .",
        "; Domain=HOST",
        "; Domain=.HOST",
        "; DOMAIN=HOST; Path=/; HttpOnly",
        "; Path",
        "; Path=",
        "; Max-Age",
        "; Max-Age=",
        "; Max-Age=soon; Secure2",
        "; Domain; Max-Age=60; Path=/",
    ],
)
def test_an_attribute_without_a_usable_value_costs_no_cookie(server: FaultServer, host: str, attributes: str) -> None:
    """RFC 6265, 5.2: such an attribute is ignored. http.cookiejar ignores the cookie, or files it where it is lost."""
    server.script(reply(200, b"", [("Set-Cookie", "a=1" + attributes.replace("HOST", host)), ("Set-Cookie", "b=2")]))
    with Connection(server.url.replace("127.0.0.1", host), ANONYMOUS) as conn:
        first = conn.get("/")
        assert (first.cookies.get_dict(), first.headers["Set-Cookie"].count("a=1")) == ({"a": "1", "b": "2"}, 1)
        conn.get("/")
        server.script(reply(200, b"", {"Set-Cookie": "a=; Max-Age=0; Domain=" + host}))
        conn.get("/")
        conn.get("/")
    sent = [request.header("Cookie") for request in server.requests]
    assert [sorted((line or "").split("; ")) for line in sent] == [[""], ["a=1", "b=2"], ["a=1", "b=2"], ["b=2"]]


@pytest.mark.parametrize("domain", ["com", ".com", "example.com", "other", "0.0.1", "host.localhost"])
def test_a_cookie_of_another_domain_is_refused(server: FaultServer, domain: str) -> None:
    server.script(reply(200, b"", {"Set-Cookie": f"a=1; Domain={domain}"}))
    with Connection(server.url.replace("127.0.0.1", "localhost"), ANONYMOUS) as conn:
        conn.get("/")
        conn.get("/")
    assert server.requests[-1].header("Cookie") is None


# -- timeouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [1.2, (5.0, 1.2)])
def test_a_timeout_stands_in_for_the_policys(server: FaultServer, timeout: Any) -> None:
    server.script(stall())
    with Connection(server.url, ANONYMOUS, timeout=timeout, policy=ONCE) as conn:
        began = time.monotonic()
        with pytest.raises(ReadTimeout, match=r"1\.2 s"):
            conn.get("/")
        assert 1.19 < time.monotonic() - began < 6


def test_a_timeout_lifts_deadlines_that_are_too_short_for_it(server: FaultServer) -> None:
    policy = Policy(timeout={"connect": 0.1, "read": 0.1, "attempt": 0.1, "total": 0.2}, retry=False)
    server.script(reply(200, delay=0.5), reply(200, delay=0.5), reply(200, delay=3))
    with Connection(server.url, ANONYMOUS, timeout=(4, 4), policy=policy) as conn:
        assert conn.get("/").status_code == 200
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        assert conn.get("/", timeout=5).status_code == 200
        with pytest.raises(OurConnectionError):
            conn.get("/")


# -- threads, streams, closing -------------------------------------------------------------------


def test_threads_that_share_a_connection_get_their_own_answers() -> None:
    with FaultServer(default=echo) as server, Connection(server.url, ANONYMOUS) as conn:

        def work(number: int) -> bool:
            uri = f"/{number}"
            response = conn.post(uri, data=str(number), headers={"X-N": str(number)})
            return (
                response.json() == {"method": "POST", "target": uri, "body": str(number)} and conn.response is response
            )

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(400)))
        assert conn.health.calls == 400
        assert conn.health.in_flight == 0
        assert server.most_open <= 16


def test_adding_headers_while_others_send_does_no_harm() -> None:
    with FaultServer() as server, Connection(server.url, ANONYMOUS) as conn:
        stop = threading.Event()

        def add() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                conn.add_headers({f"X-{number % 50}": str(number)})

        thread = threading.Thread(target=add)
        thread.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(lambda _: conn.get("/").ok, range(100)))
        finally:
            stop.set()
            thread.join()


def test_a_streamed_body_comes_piece_by_piece(server: FaultServer) -> None:
    server.script(reply(200, b"x" * 200_000, chunked=True))
    with Connection(server.url, ANONYMOUS) as conn:
        response = conn.get("/", stream=True)
        assert sum(len(chunk) for chunk in response.iter_content(1000)) == 200_000
        conn.get("/")
    assert server.accepted == 1, "a stream that was read to its end gives its socket back"


def test_closing_ends_idle_sockets_at_once(server: FaultServer) -> None:
    conn = Connection(server.url, ANONYMOUS)
    conn.get("/")
    assert server.open == 1
    conn.close()
    server.wait_for_open(0)


def test_requests_in_flight_finish_after_a_close_and_leave_no_socket(server: FaultServer) -> None:
    server.script(reply(200, b"late", delay=0.3))
    conn = Connection(server.url, ANONYMOUS)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(conn.get, "/")
        server.wait_for_requests(1)
        conn.close()
        assert future.result(5).text == "late"
    server.wait_for_open(0)
    with pytest.raises(OurConnectionError, match="closed"):
        conn.get("/")
    assert conn.health.connections == 0


def test_the_block_of_a_with_statement_closes(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/")
    assert conn.closed
    server.wait_for_open(0)
    with pytest.raises(RuntimeError, match="own"), Connection(server.url, ANONYMOUS) as conn:
        raise RuntimeError("own")
    assert conn.closed


def test_nothing_connects_before_the_first_request(server: FaultServer) -> None:
    with Connection(server.url, ("user", "pass")) as conn:
        assert conn.hostname == server.url
    assert server.accepted == 0


def test_a_port_given_apart_is_where_the_requests_go(server: FaultServer) -> None:
    with Connection("http://127.0.0.1", ANONYMOUS, str(server.port)) as conn:
        assert conn.hostname == server.url
        assert conn.get("/").text == "ok"


def test_a_redirect_inside_a_call_is_one_attempt(server: FaultServer) -> None:
    server.script(redirect("/b"), reply(200, b"there"))
    with Connection(server.url, ANONYMOUS) as conn:
        response = conn.get("/a")
        assert response.text == "there"
        assert len(response.attempts) == 1  # type: ignore[attr-defined]
        assert conn.health.attempts == 1


def test_the_servers_operator_sees_who_retries(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/")
        conn.get("/", headers={"User-Agent": "mine/1"})
    ours, mine = (request.header("User-Agent") for request in server.requests)
    assert ours is not None
    assert ours.startswith("sleepwalker/3")
    assert f"python-requests/{requests.__version__}" in ours
    assert mine == "mine/1"


def test_an_http_error_says_when_to_come_again_and_which_call_it_was(server: FaultServer) -> None:
    """Its text is the server's own, which may be one word."""
    server.script(reply(429, b"", {"Retry-After": "90"}), reply(404, b""))
    with Connection(server.url, ANONYMOUS) as conn:
        with pytest.raises(HTTPError) as caught:
            conn.get("/items?token=canary")
        assert caught.value.retry_after == 90.0
        assert caught.value.__notes__ == [f"GET {server.url}/items: 429 after 1 attempt"]
        with pytest.raises(HTTPNotFound) as missing:
            conn.json_request("POST", "/items", {})
        assert missing.value.retry_after is None
        assert missing.value.__notes__ == [f"POST {server.url}/items: 404 after 1 attempt"]
