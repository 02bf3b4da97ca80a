"""Links are followed through whatever a hook may give: requests' sessions, guards, clients of version 2.0's style."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker import (
    ConnectionManager,
    HTTPError,
    HTTPNotFound,
    HTTPServiceUnavailable,
    LinkError,
    Policy,
    SleepwalkerException,
    URLError,
)
from sleepwalker.links import follow, links, pages
from tests.unit.manager_driver import Hook

A, B = "https://a.test", "https://b.test"
SECRET = "canary-71aa"
ONCE = Policy(retry=False, breaker=False)


def answer(url: str, target: str | None = None, status: int = 200) -> requests.Response:
    response = requests.Response()
    response.status_code, response.url = status, url
    response._content = json.dumps({"links": {"next": target}}).encode()
    response.headers["Content-Type"] = "application/json"
    return response


class Asking:
    """A client with the method that requests' sessions have."""

    def __init__(self, *answers: requests.Response) -> None:
        self.answers = list(answers)
        self.calls: list[Any] = []

    def request(self, method: str, url: str, **options: Any) -> Any:
        self.calls.append((method, url, dict(options)))
        if isinstance(options.get("headers"), dict | CaseInsensitiveDict):
            options["headers"]["Authorization"] = SECRET  # some clients do that
        return self.answers.pop(0) if self.answers else answer(url)


class Client:
    """A client of version 2.0's style: it gives the decoded body, and has its last answer as an attribute."""

    def __init__(self, *answers: requests.Response) -> None:
        self.answers = list(answers)
        self.calls: list[Any] = []
        self.response: requests.Response | None = None

    def json_request(self, *args: Any) -> Any:
        assert len(args) == 5
        self.calls.append(args)
        self.response = self.answers.pop(0) if self.answers else answer(A)
        return self.response.json()


class Both(Client):
    """Its `request` gives the decoded body, too."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self.json_request(method, url, options.get("json"), options.get("params"), options.get("headers"))


def managed(connect: Any, **options: Any) -> tuple[ConnectionManager, Hook]:
    manager, hook = ConnectionManager(policy=ONCE, **options), Hook(connect)
    manager.add_conn_hook(hook)
    return manager, hook


def first(target: str = f"{B}/1") -> requests.Response:
    return answer(f"{A}/0", target)


# -- what is sent ---------------------------------------------------------------------------------------


def test_what_has_request_is_asked_for_the_whole_url_with_the_options() -> None:
    conn = Asking()
    manager, _ = managed(lambda host, auth: conn)
    options: dict[str, Any] = {"headers": {"Accept": "text/plain"}, "params": {"a": 1}, "timeout": 3, "stream": True}
    follow(first(f"{B}/1?x=2"), "next", manager=manager, method="PUT", json=[1], allow=[B], **options)
    ((method, url, given),) = conn.calls
    assert given["headers"].pop("Authorization") == SECRET
    assert (method, url, given) == ("PUT", f"{B}/1?x=2", {"json": [1], **options})


@pytest.mark.parametrize(("target", "uri"), [(f"{B}/1?x=2#y", "/1?x=2"), (B, "/"), (f"{B}?x=1", "/?x=1")])
def test_what_has_json_request_only_is_asked_by_five_positional_arguments(target: str, uri: str) -> None:
    conn = Client()
    manager, _ = managed(lambda host, auth: conn)
    came = follow(first(target), "next", manager=manager, method="PUT", json=[1], params={"a": 1}, allow=[B])
    assert conn.calls == [("PUT", uri, [1], {"a": 1}, None)]
    assert came is conn.response
    follow(first(target), "next", manager=manager, headers={"Accept": "a/b"}, stream=False, data=None)
    assert conn.calls[1:] == [("GET", uri, None, None, {"Accept": "a/b"})]


def test_what_gives_the_decoded_body_by_request_has_its_answer_beside_it() -> None:
    conn = Both()
    manager, _ = managed(lambda host, auth: conn)
    assert follow(first(), "next", manager=manager) is conn.response


@pytest.mark.parametrize(
    ("conn", "options", "says"),
    [
        (Asking(), {"policy": "off"}, "policy= cannot be passed on: the connection, a Asking"),
        (Asking(), {"idempotent": True}, "idempotent="),
        (Asking(), {"total": 2}, "total="),
        (Asking(), {"retry_if": bool}, "retry_if= cannot be passed on: the connection, a Asking"),
        (Client(), {"timeout": 3, "stream": True}, "timeout=, stream= cannot be passed on: the connection, a Client"),
        (Client(), {"data": "x", "allow": [B]}, "data="),
        (Client(), {"policy": "off"}, "policy="),
    ],
)
def test_an_option_that_it_cannot_take_is_refused_by_its_name(conn: Any, options: Any, says: str) -> None:
    manager, _ = managed(lambda host, auth: conn)
    with pytest.raises(TypeError, match=says):
        follow(first(), "next", manager=manager, **options)
    assert conn.calls == []


@pytest.mark.parametrize("kind", [dict, CaseInsensitiveDict])
def test_what_a_client_writes_into_the_headers_reaches_no_other_host(kind: Any) -> None:
    conns = {A: Asking(answer(f"{A}/2")), B: Asking(answer(f"{B}/1", f"{A}/2"))}
    manager, _ = managed(lambda host, auth: conns[host])
    headers = kind({"Accept": "text/plain"})
    walk = pages(first(), manager=manager, headers=headers)
    headers["X-Later"] = "1"
    assert len(list(walk)) == 3
    assert [dict(conn.calls[0][2]["headers"]) for conn in conns.values()] == [
        {"Accept": "text/plain", "Authorization": SECRET}
    ] * 2  # each its own
    assert dict(headers) == {"Accept": "text/plain", "X-Later": "1"}
    assert conns[A].calls[0][2]["headers"] is not conns[B].calls[0][2]["headers"]


# -- what comes of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Asking, Client, Both])
@pytest.mark.parametrize(("status", "error"), [(404, HTTPNotFound), (503, HTTPServiceUnavailable)])
@pytest.mark.parametrize("guard", [False, True])
def test_a_status_from_400_on_is_its_error_as_of_a_connection(
    kind: Any, status: int, error: type[HTTPError], guard: bool
) -> None:
    conn = kind(answer(f"{B}/1?key={SECRET}", status=status), answer(f"{B}/1", status=status))
    manager, _ = managed(lambda host, auth: conn, guard=guard)
    link = first(f"{B}/1?key={SECRET}")
    with pytest.raises(error) as caught:
        follow(link, "next", manager=manager)
    assert caught.value.__notes__[-1] == f"GET {B}/1: {status}"
    assert follow(link, "next", manager=manager, raise_for_status=False).status_code == status


@pytest.mark.parametrize(
    ("conn", "says"),
    [
        (SimpleNamespace(), "this is a SimpleNamespace"),
        (requests.Session, "this is a type"),
        (SimpleNamespace(request="GET"), "this is a SimpleNamespace"),
        (SimpleNamespace(request=lambda *args, **options: {"a": SECRET}), "cannot be used.*of type NoneType"),
        (SimpleNamespace(json_request=lambda *args: None, response=b""), "cannot be used.*of type bytes"),
    ],
)
def test_what_is_needed_is_said_of_what_is_no_connection(conn: Any, says: str) -> None:
    manager, _ = managed(lambda host, auth: conn)
    with pytest.raises(TypeError, match=says) as caught:
        follow(first(), "next", manager=manager)
    assert SECRET not in str(caught.value)


def test_what_a_client_raises_arrives_unchanged() -> None:
    class Odd(Exception):
        pass

    def fails(*args: Any, **options: Any) -> Any:
        raise Odd

    manager, _ = managed(lambda host, auth: SimpleNamespace(request=fails))
    with pytest.raises(Odd):
        follow(first(), "next", manager=manager)


# -- where it goes on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Asking, Client])
@pytest.mark.parametrize("guard", [False, True])
def test_a_walk_goes_on_with_what_the_manager_has_for_each_host(kind: Any, guard: bool) -> None:
    conns = {
        A: kind(answer(f"{A}/0", "/1"), answer(f"{A}/1", f"{B}/2"), answer(f"{A}/4")),
        B: kind(answer(f"{B}/2", "/3"), answer(f"{B}/3", f"{A}/4")),
    }
    manager, hook = managed(lambda host, auth: conns[host], guard=guard)
    conn = manager.find(A, "acme")
    if kind is Client:
        conn.json_request("GET", "/0", None, None, None)
        walk = pages(conn, manager=manager)
    else:
        walk = pages(conn.request("GET", f"{A}/0"), manager=manager, auth="acme")
    assert [page.url for page in walk] == [f"{A}/0", f"{A}/1", f"{B}/2", f"{B}/3", f"{A}/4"]
    assert hook.asked == [(A, "acme"), (B, None)]
    assert [len(conn.calls) for conn in conns.values()] == [3, 2]


@pytest.mark.parametrize("guard", [False, True])
def test_a_client_that_the_manager_holds_for_a_name_is_asked_for_by_that(guard: bool) -> None:
    clients = [Client(answer(f"{A}/0", "/1"), answer(f"{A}/1", "/2")), Client(answer(f"{A}/2", "/3"))]
    manager, hook = managed(lambda host, auth: clients[len(hook.asked) - 1], guard=guard)
    conn = manager.find("billing", ("user", SECRET))
    conn.json_request("GET", "/0", None, None, None)
    walk = pages(conn, manager=manager)
    assert [next(walk).url, next(walk).url] == [f"{A}/0", f"{A}/1"]
    manager.evict("billing")
    assert next(walk).url == f"{A}/2"
    assert hook.asked == [("billing", ("user", SECRET))] * 2


def test_a_client_that_is_held_for_several_tenants_is_no_guess() -> None:
    client = Client(answer(f"{A}/0", "/1"), answer(f"{A}/1", "/2"))
    manager, hook = managed(lambda host, auth: client)
    for tenant in ("acme", "other"):
        manager.find(A, tenant)
    client.json_request("GET", "/0", None, None, None)
    assert follow(client, "next", manager=manager).url == f"{A}/1"
    assert len(hook.asked) == 2


def test_a_guard_whose_token_expired_in_a_walk_logs_in_again() -> None:
    logins: list[Asking] = []

    def log_in(host: str, auth: Any) -> Asking:
        number = len(logins)
        logins.append(
            Asking(*([answer(f"{A}/1", "/2"), answer(f"{A}/2", "/3"), answer(A, status=401)], [])[number > 0])
        )
        if number:
            logins[-1].answers = [answer(f"{A}/3", "/4"), answer(f"{A}/4")]
        return logins[-1]

    manager, _ = managed(log_in, guard=True)
    walk = pages(answer(f"{A}/0", "/1"), manager=manager)
    got = [next(walk).url for _ in range(3)]
    with pytest.raises(HTTPError) as caught:
        next(walk)
    assert caught.value.http_code == 401
    got += [page.url for page in walk]
    assert (got, len(logins)) == ([f"{A}/{number}" for number in range(5)], 2)


@pytest.mark.parametrize("guard", [False, True])
def test_a_client_stands_for_its_last_answer_and_serves_its_links_without_a_manager(guard: bool) -> None:
    client: Any = Client(answer(f"{A}/0", "/1"), answer(f"{A}/1", "/2"), answer(f"{A}/2", f"{B}/3"))
    conn = managed(lambda host, auth: client, guard=guard)[0].find(A)
    conn.json_request("GET", "/0", None, None, None)
    assert [link.target for link in links(conn)] == ["/1"]
    page = follow(follow(conn, "next"), "next")
    assert [call[1] for call in client.calls] == ["/0", "/1", "/2"]
    with pytest.raises(URLError, match=rf"came from {A}, and that connection sends its credentials nowhere else"):
        follow(page, "next")
    client.closed = True
    with pytest.raises(OurConnectionError, match="is closed: pass manager="):
        follow(answer_of_walk(page), "next")


def answer_of_walk(page: requests.Response) -> requests.Response:
    """The same page with a link on its own host."""
    page._content = json.dumps({"links": {"next": "/3"}}).encode()
    return page


def test_what_a_caller_passes_to_one_host_is_not_for_another_through_any_connection() -> None:
    conns = {A: Client(answer(f"{A}/0", f"{B}/1")), B: Client(answer(f"{B}/1", "/2"))}
    manager, _ = managed(lambda host, auth: conns[host])
    conns[A].json_request("GET", "/0", None, None, None)
    with pytest.raises(URLError, match="params="):
        follow(conns[A], "next", manager=manager, params={"key": SECRET})
    page = follow(conns[A], "next", manager=manager)
    for options in ({"params": {"key": SECRET}}, {"headers": {"X-Key": SECRET}}, {"json": SECRET}):
        with pytest.raises(URLError, match="a host named by a server's link, so these are not sent"):
            follow(page, "next", manager=manager, **options)
    assert len(conns[B].calls) == 1


@pytest.mark.parametrize("source", [requests.Session(), Asking(), SimpleNamespace(response=7), "text", None])
def test_what_has_no_answer_to_look_in_is_told(source: Any) -> None:
    with pytest.raises(TypeError, match=r"an object whose `response` is a requests.Response, not a"):
        follow(source, "next")


def test_a_client_without_an_answer_says_so() -> None:
    with pytest.raises(LinkError, match="the Client has no response in this thread yet"):
        pages(Client())


def test_a_client_that_cannot_be_weakly_referenced_serves_its_own_step() -> None:
    class Slots:
        __slots__ = ("response",)

        def json_request(self, *args: Any) -> None:
            self.response = answer(f"{A}/1", "/2")

    client = Slots()
    client.response = answer(f"{A}/0", "/1")
    page = follow(client, "next")
    assert page.url == f"{A}/1"
    with pytest.raises(SleepwalkerException, match="keep the Connection"):
        follow(page, "next")
    client.response = answer(f"{A}/0", "/1")
    walk = pages(client)
    assert [next(walk).url, next(walk).url] == [f"{A}/0", f"{A}/1"]
