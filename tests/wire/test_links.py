"""Links over real sockets: two hosts, servers that fail every second time, and servers that mean harm."""

from __future__ import annotations

import copy
import gc
import itertools
import json
import pickle
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from servers import Exchange, FaultServer, Step, TlsMaterial, json_reply, redirect, reply, reset

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HTTPServiceUnavailable,
    HTTPUnauthorized,
    LinkError,
    Policy,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.links import follow, links, pages
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

SECRET = "canary-88a1"
#: Retries at once, and as often as two hops take, each of which fails every second time.
PATIENT = Policy(
    retry={"attempts": 5, "wait_initial": 0.001, "wait_max": 0.002, "budget": False},
    breaker=False,
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 8},
)


class Hosts(ConnectionHook):
    """Connects to the hosts that it was told of, with the key that each of them has."""

    def __init__(self, keys: dict[str, str], policy: Policy = PATIENT) -> None:
        self.keys = keys
        self.policy = policy

    def connect(self, host: str, auth: Any) -> Connection | None:
        if host not in self.keys:
            return None
        return Connection(host, ANONYMOUS, headers={"X-Key": self.keys[host]}, policy=self.policy)


class Shop:
    """A shop on one host and its warehouse on another, linked in all the ways there are; every second answer fails."""

    def __init__(self, flaky: bool) -> None:
        self.turns: Counter[tuple[str, str]] = Counter()
        self.flaky = flaky
        self.lock = threading.Lock()
        self.shop = FaultServer(default=self._shop)
        self.stock = FaultServer(default=self._stock)

    def _fails(self, path: str, host: str) -> bool:
        with self.lock:
            self.turns[host, path] += 1
            return self.flaky and self.turns[host, path] % 2 == 1

    def _shop(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        if self._fails(exchange.request.target, "shop"):
            return reply(503)
        path, query = exchange.request.path, exchange.request.query
        if path == "/":
            return json_reply(
                {
                    "_links": {
                        "ex:order": {"href": "/orders/{id}{?lang}", "templated": True},
                        "stock": {"href": f"{self.stock.url}/items"},
                        "curies": [{"name": "ex", "href": "https://example.com/rels/{rel}", "templated": True}],
                    },
                    "links": {"orders": {"href": "orders?page=1"}},
                },
                headers={"Link": '</moved>; rel="news"'},
            )
        if path == "/moved":
            return redirect("/deep/er/news")
        if path == "/deep/er/news":
            return reply(200, "", {"Link": "<../old>; rel=prev"})
        if path == "/orders" and exchange.request.method == "GET":
            page = int(query.removeprefix("page="))
            more = {"Link": f'<?page={page + 1}>; rel="next", </>; rel="up"'} if page < 4 else {}
            return json_reply([page], headers=more)
        return json_reply({"method": exchange.request.method, "target": exchange.request.target})

    def _stock(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        if self._fails(exchange.request.target, "stock"):
            return reply(503)
        back = {"Link": f'<{self.shop.url}/orders/5>; rel="sold", </items/2>; rel="next"'}
        return json_reply({"key": exchange.request.header("X-Key"), "target": exchange.request.target}, headers=back)


@pytest.fixture(params=[False, True], ids=["well", "every second answer is a 503"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    shop = Shop(request.param)
    with shop.shop, shop.stock:
        yield shop


@pytest.fixture
def manager(shop: Shop) -> Iterator[ConnectionManager]:
    with ConnectionManager(policy=PATIENT) as manager:
        manager.add_conn_hook(Hosts({shop.shop.url: "shop-key", shop.stock.url: "stock-key"}))
        yield manager


def test_links_of_every_kind_lead_where_they_say(shop: Shop, manager: ConnectionManager) -> None:
    conn = manager.find(shop.shop.url)
    start = conn.get("/")
    assert follow(start, "ex:order", id=7, lang="de").json()["target"] == "/orders/7?lang=de"
    assert follow(start, "https://example.com/rels/order", id=8).json()["target"] == "/orders/8"
    assert follow(start, "orders").json() == [1]
    sent = follow(start, "ex:order", id=9, method="PUT", json={"a": 1}).json()
    assert sent == {"method": "PUT", "target": "/orders/9"}
    assert {(link.relation, link.place) for link in links(start)} == {
        ("news", "Link"),
        ("ex:order", "_links"),
        ("stock", "_links"),
        ("orders", "links"),
    }


def test_a_relative_link_is_relative_to_the_url_that_answered_in_the_end(
    shop: Shop, manager: ConnectionManager
) -> None:
    news = follow(manager.find(shop.shop.url).get("/"), "news")
    assert follow(news, "prev").json()["target"] == "/deep/old"


@threads_only("each call of a test is a task of its own")
def test_a_connection_stands_for_its_last_answer(shop: Shop, manager: ConnectionManager) -> None:
    conn = manager.find(shop.shop.url)
    conn.json_request("GET", "/")
    assert follow(conn, "orders").json() == [1]
    assert [page.json() for page in pages(conn)] == [[1], [2], [3], [4]]


def test_pages_come_one_by_one(shop: Shop, manager: ConnectionManager) -> None:
    first = manager.find(shop.shop.url).get("/orders", params={"page": 2})
    assert [page.json() for page in pages(first)] == [[2], [3], [4]]


@threads_only("a stream of asyncio is a block")
def test_pages_can_be_streamed(shop: Shop, manager: ConnectionManager) -> None:
    first = manager.find(shop.shop.url).get("/orders", params={"page": 2}, stream=True)
    bodies = []
    for page in pages(first, stream=True):
        with page:
            bodies.append(b"".join(page.iter_content(10)))
    assert bodies == [b"[2]", b"[3]", b"[4]"]


def test_each_host_gets_its_own_key_and_no_other(shop: Shop, manager: ConnectionManager) -> None:
    """There and back again: shop, warehouse, warehouse, shop."""
    start = manager.find(shop.shop.url).get("/")
    items = follow(start, "stock", manager=manager)
    assert items.json()["key"] == "stock-key"
    more = follow(items, "next", manager=manager)
    assert more.json() == {"key": "stock-key", "target": "/items/2"}
    assert follow(more, "sold", manager=manager).json()["target"] == "/orders/5"
    assert {request.header("X-Key") for request in shop.shop.requests} == {"shop-key"}
    assert {request.header("X-Key") for request in shop.stock.requests} == {"stock-key"}


def test_without_a_manager_no_other_host_is_asked(shop: Shop, manager: ConnectionManager) -> None:
    start = manager.find(shop.shop.url).get("/")
    with pytest.raises(URLError, match="pass manager="):
        follow(start, "stock")
    assert shop.stock.requests == []


def test_a_host_that_no_hook_knows_is_not_asked(shop: Shop) -> None:
    with ConnectionManager() as manager, Connection(shop.shop.url, ANONYMOUS, policy=PATIENT) as conn:
        manager.add_conn_hook(Hosts({shop.shop.url: "shop-key"}))
        with pytest.raises(OurConnectionError, match="does not know the host"):
            follow(conn.get("/"), "stock", manager=manager)
    assert shop.stock.requests == []


def test_the_password_of_one_host_never_reaches_another(server: FaultServer) -> None:
    """Not by a link, not by a redirect to where the link is, not by a call's own header."""
    with FaultServer() as other, ConnectionManager(policy=PATIENT) as manager:
        manager.add_conn_hook(Hosts({other.url: "other"}))
        server.script(redirect(f"{other.url}/landed"))
        other.script(reply(200, "", {"Link": f"<next>; rel=next, <{server.url}/back>; rel=back"}))
        with Connection(server.url, ("user", SECRET), headers={"Cookie": SECRET}, policy=PATIENT) as conn:
            landed = conn.get("/")
            with pytest.raises(URLError, match="pass manager="):
                follow(landed, "next")
            with pytest.raises(URLError, match="Authorization"):
                follow(landed, "next", manager=manager, headers={"Authorization": SECRET})
            follow(landed, "next", manager=manager)
            follow(landed, "back")
    assert [request.target for request in other.requests] == ["/landed", "/next"]
    assert not [value for request in other.requests for _, value in request.headers if SECRET in value]
    assert [request.target for request in server.requests] == ["/", "/back"]
    assert all((request.header("Authorization") or "").startswith("Basic ") for request in server.requests)


def test_what_a_caller_passes_for_one_host_reaches_no_other_and_an_error_says_why(server: FaultServer) -> None:
    """`auth=`, parameters, bodies and headers; until the caller names the other host."""

    class Basic(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Connection:
            return Connection(host, auth or ANONYMOUS, policy=PATIENT)

    secrets: list[dict[str, Any]] = [
        {"params": {"api_key": SECRET}},
        {"json": {"key": SECRET}},
        {"data": SECRET},
        {"files": {"f": SECRET.encode()}},
        {"headers": {"X-Api-Key": SECRET}},
    ]
    with FaultServer(default=reply(401)) as other, ConnectionManager(policy=PATIENT) as manager:
        manager.add_conn_hook(Basic())
        server.script(reply(200, "", {"Link": f"<{other.url}/x>; rel=next"}))
        first = manager.find(server.url, ("user", SECRET)).get("/")
        for secret in secrets:
            with pytest.raises(URLError, match="these are not sent there"):
                follow(first, "next", manager=manager, method="POST", **secret)
        assert other.requests == []
        with pytest.raises(HTTPUnauthorized) as caught:
            follow(first, "next", manager=manager, auth=("user", SECRET))
        assert [asked.header("Authorization") for asked in other.requests] == [None]
        note = caught.value.__notes__[-1]
        assert note.startswith(f"the auth of {server.url} was not sent to {other.url}")
        assert SECRET not in note

        other.default = reply(200)
        follow(first, "next", manager=manager, auth=("user", SECRET), params={"a": 1}, allow=[other.url])
        asked = other.requests[-1]
        assert (asked.target, asked.header("Authorization") is not None) == ("/x?a=1", True)


def test_a_loop_over_follow_gives_away_no_more_than_a_walk(server: FaultServer) -> None:
    """The second step begins with an answer of the other host, whose connection may be gone by then."""

    class Given(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Connection:
            return Connection(host, auth or ANONYMOUS, policy=PATIENT)

    with FaultServer() as other, ConnectionManager() as manager:
        manager.add_conn_hook(Given())
        credentials, numbers = ("user", SECRET), itertools.count()
        server.default = reply(200, "", {"Link": f"<{other.url}/>; rel=next"})

        def on_and_on(_: Exchange) -> Step:
            return reply(200, "", {"Link": f"<{server.url}/>; rel=home, </{next(numbers)}>; rel=next"})

        other.default = on_and_on
        first = manager.find(server.url, credentials).get("/")
        there = follow(first, "next", manager=manager, auth=credentials)
        for secret in ({"params": {"key": SECRET}}, {"headers": {"X-Key": SECRET}}, {"json": {"key": SECRET}}):
            with pytest.raises(URLError, match="a server's link, so these are not sent"):
                follow(there, "next", manager=manager, **secret)
        manager.evict(other.url)
        gc.collect()
        there = follow(there, "next", manager=manager, auth=credentials)
        there = next(itertools.islice(pages(there, manager=manager, auth=credentials), 1, None))
        assert SECRET not in repr([(one.target, one.headers, one.body) for one in other.requests])
        assert not any(one.header("Authorization") for one in other.requests)
        follow(there, "home", manager=manager, auth=credentials, params={"key": "1"})
        assert server.requests[-1].target == "/?key=1"
        assert server.requests[-1].header("Authorization")


def test_a_walk_that_comes_back_sends_its_parameters_there_again(server: FaultServer) -> None:
    with FaultServer() as other, ConnectionManager(policy=PATIENT) as manager:
        manager.add_conn_hook(Hosts({other.url: "theirs", server.url: "ours"}))
        server.script(reply(200, "", {"Link": f"<{other.url}/2>; rel=next"}), reply(200))
        other.script(reply(200, "", {"Link": f"<{server.url}/3>; rel=next"}))
        walk = pages(manager.find(server.url).get("/1"), manager=manager, params={"a": 1}, allow=[other.url])
        assert [page.url.partition("?")[0][-2:] for page in walk] == ["/1", "/2", "/3"]
        server.script(reply(200, "", {"Link": f"<{other.url}/2>; rel=next"}))
        walk = pages(manager.find(server.url).get("/1"), manager=manager, params={"a": 1})
        with pytest.raises(URLError, match="params="):
            list(walk)
    assert [asked.target for asked in server.requests] == ["/1", "/3?a=1", "/1"]
    assert [asked.target for asked in other.requests] == ["/2?a=1"]


def test_a_link_from_https_to_http_is_refused(tls: TlsMaterial, server: FaultServer) -> None:
    with FaultServer(tls=tls.server_context()) as secure, ConnectionManager() as manager:
        manager.add_conn_hook(Hosts({server.url: "key"}))
        secure.script(reply(200, "", {"Link": f"<{server.url}/>; rel=next"}))
        with Connection(secure.url, ANONYMOUS, verify=str(tls.ca)) as conn:
            first = conn.get("/")
            with pytest.raises(URLError, match="from https to http"):
                follow(first, "next", manager=manager)
    assert server.requests == []


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("<javascript:alert(1)>; rel=next", "scheme 'javascript'"),
        ("<file:///etc/passwd>; rel=next", "scheme 'file'"),
        (f"<http://user:{SECRET}@127.0.0.1/>; rel=next", "credentials"),
        ("<//elsewhere.example.com/>; rel=next", "pass manager="),
        ("<" + "{" * 60_000 + ">; rel=next", "RFC 6570"),
        ("<" + "/a" * 30_000 + ">; rel=next" + ", <x>; rel=next" * 100, "has 2 different targets"),
    ],
)
def test_a_hostile_link_is_refused(server: FaultServer, link: str, says: str) -> None:
    server.script(reply(200, "", {"Link": link}))
    with Connection(server.url, ANONYMOUS, policy=PATIENT) as conn:
        first = conn.get("/")
        with pytest.raises((URLError, LinkError), match=says) as caught:
            follow(first, "next")
    assert SECRET not in str(caught.value)
    assert len(server.requests) == 1


def test_pages_that_lead_in_a_circle_over_two_hosts_are_cut(server: FaultServer) -> None:
    with FaultServer() as other, ConnectionManager(policy=PATIENT) as manager:
        manager.add_conn_hook(Hosts({other.url: "a", server.url: "b"}))
        server.default = reply(200, "", {"Link": f"<{other.url}/2>; rel=next"})
        other.default = reply(200, "", {"Link": f"<{server.url}/1>; rel=next"})
        walk = pages(manager.find(server.url).get("/1"), manager=manager)
        assert [next(walk).url, next(walk).url] == [f"{server.url}/1", f"{other.url}/2"]
        with pytest.raises(LinkError, match="leads back to"):
            next(walk)


def test_a_failure_on_the_way_is_raised_and_the_last_page_goes_on(server: FaultServer) -> None:
    numbers = itertools.count(1)
    server.default = lambda exchange: json_reply({"links": {"next": f"/{next(numbers)}"}})
    once = Policy(retry=False, breaker=False)
    with Connection(server.url, ANONYMOUS, policy=once) as conn:
        walk = pages(conn.get("/0"))
        last = next(walk)
        server.script(reply(503))
        with pytest.raises(HTTPServiceUnavailable):
            next(walk)
        again = pages(last)
        assert next(again) is last
        assert next(again).url == f"{server.url}/1"


def test_links_go_through_the_policy_of_their_host(server: FaultServer) -> None:
    policy = Policy(retry=False, breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 60, "open_max": 60})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        server.script(reply(200, "", {"Link": "</x>; rel=next"}), reply(503), reply(503))
        first = conn.get("/")
        for expected in (HTTPServiceUnavailable, HTTPServiceUnavailable, CircuitOpenError):
            with pytest.raises(expected):
                follow(first, "next")
    assert len(server.requests) == 3


@threads_only("each call of a test is a task of its own")
def test_an_answer_does_not_keep_its_connection_alive_and_pages_do(server: FaultServer) -> None:
    """A response in a cache must not hold a pool of sockets; a walk needs it to its end."""
    server.default = reply(200, "", {"Link": "</x>; rel=next"})
    first = Connection(server.url, ANONYMOUS).get("/")
    gc.collect()
    with pytest.raises(URLError, match="keep the Connection"):
        follow(first, "next")
    walk = pages(Connection(server.url, ANONYMOUS).get("/"))
    with pytest.raises(URLError, match="keep the Connection"):
        list(walk)

    def start() -> Iterator[requests.Response]:
        conn = Connection(server.url, ANONYMOUS)
        conn.get("/")
        return pages(conn)

    assert [page.url for page in itertools.islice(start(), 2)] == [f"{server.url}/", f"{server.url}/x"]


@threads_only("each call of a test is a task of its own")
def test_a_page_is_forgotten_when_the_next_one_is_there(server: FaultServer) -> None:
    numbers = itertools.count(1)
    body = json.dumps({"fill": "x" * 100_000}).encode()
    server.default = lambda exchange: reply(
        200, body, {"Link": f"</{next(numbers)}>; rel=next", "Content-Type": "application/json"}
    )
    with Connection(server.url, ANONYMOUS) as conn:
        walk = pages(conn.get("/0"))
        seen = [weakref.ref(next(walk)) for _ in range(20)]
        gc.collect()
        assert [page() is not None for page in seen] == [False] * 19 + [True]


@pytest.mark.parametrize("copied", [copy.copy, lambda response: pickle.loads(pickle.dumps(response))])
def test_a_copy_of_an_answer_has_its_attempts_and_can_be_followed_through_a_manager(
    server: FaultServer, copied: Any
) -> None:
    server.script(reply(503), reply(200, "ok", {"Link": "</x>; rel=next"}))
    with Connection(server.url, ANONYMOUS, policy=PATIENT) as conn, ConnectionManager() as manager:
        manager.add_conn_hook(Hosts({server.url: "key"}))
        response = conn.get("/")
        twin = copied(copied(response))
        assert [attempt.status for attempt in twin.attempts] == [503, 200]
        assert twin.attempts == response.attempts  # type: ignore[attr-defined]
        with pytest.raises(URLError, match="no longer exists, or is not sleepwalker's"):
            follow(twin, "next")
        assert follow(twin, "next", manager=manager).url == f"{server.url}/x"


# -- walks that outlive what they began with -------------------------------------------------------------

#: Nothing is tried again by itself, a host counts as down after two failures, and hooks may soon be asked again.
FRANK = Policy(
    retry=False,
    breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 0.05, "open_max": 0.05, "close_after": 1, "ramp": 0},
    health={"rehook_initial": 0.05, "rehook_max": 0.05},
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 8},
)


def numbered(exchange: Exchange, *, last: int, who: str) -> Step:
    """A page that leads to the next one."""
    assert exchange.request is not None
    number = int(exchange.request.path[1:])
    return json_reply([who, number], headers={"Link": f"</{number + 1}>; rel=next"} if number < last else {})


def test_a_walk_whose_token_expires_logs_in_again_and_gives_every_page_once(server: FaultServer) -> None:
    """Every third call of a token is its last one."""
    tokens: Counter[str] = Counter()

    def answered(exchange: Exchange) -> Step:
        assert exchange.request is not None
        token = exchange.request.header("X-Token") or ""
        tokens[token] += 1
        return reply(401) if tokens[token] > 3 else numbered(exchange, last=9, who=token)

    logins: list[Any] = []

    class Login(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Connection:
            logins.append(auth)
            return Connection(host, ANONYMOUS, headers={"X-Token": f"{auth}-{len(logins)}"}, policy=FRANK)

    server.default = answered
    got: list[Any] = []
    refused = 0
    with ConnectionManager(policy=FRANK) as manager:
        manager.add_conn_hook(Login())
        walk = pages(manager.find(server.url, "acme").get("/0"), manager=manager)
        while len(got) < 10:
            try:
                for page in walk:
                    got.append(page.json())
            except HTTPUnauthorized:
                refused += 1
                assert refused < 10
    assert [number for _, number in got] == list(range(10))
    assert [token for token, _ in got] == [f"acme-{1 + number // 3}" for number in range(10)]
    assert (logins, refused) == (["acme"] * 4, 3)
    assert len(server.requests) == 13


def test_a_walk_follows_its_host_to_a_replica_and_home_again() -> None:
    """By links that name no host: the walk knows whom the replica stands in for."""
    down = threading.Event()

    def primary(exchange: Exchange) -> Step:
        return reset() if down.is_set() else numbered(exchange, last=9, who="primary")

    with FaultServer(default=primary) as home, FaultServer() as replica, ConnectionManager(policy=FRANK) as manager:
        replica.default = lambda exchange: numbered(exchange, last=9, who="replica")

        class Two(ConnectionHook):
            def connect(self, host: str, auth: Any) -> Connection | None:
                if host != home.url:
                    return None
                for url in (home.url, replica.url):
                    conn = Connection(url, ANONYMOUS, policy=FRANK, headers={"X-Tenant": auth})
                    try:
                        conn.get("/0")
                    except OurConnectionError:
                        conn.close()
                    else:
                        return conn
                raise OurConnectionError("both are down")

        manager.add_conn_hook(Two())
        walk = pages(manager.find(home.url, "acme").get("/0"), manager=manager, params={"key": "k"})
        got = [next(walk).json(), next(walk).json()]
        down.set()
        failures = 0
        while len(got) < 5:
            try:
                got.append(next(walk).json())
            except OurConnectionError:
                failures += 1
                assert failures < 10
        assert got == [["primary", 0], ["primary", 1], ["replica", 2], ["replica", 3], ["replica", 4]]
        down.clear()
        time.sleep(0.1)  # the circuit of the host at home half-opens
        manager.evict(home.url)
        got += [page.json() for page in walk]
        assert [number for _, number in got] == list(range(10))
        assert got[5:] == [["primary", number] for number in range(5, 10)]
        sent = [request for request in (*home.requests, *replica.requests) if request.path != "/0"]
        assert {request.header("X-Tenant") for request in sent} == {"acme"}
        assert {request.query for request in sent} == {"key=k"}


def test_a_walk_goes_on_through_sessions_of_requests_and_back(server: FaultServer) -> None:
    class Sessions(ConnectionHook):
        def connect(self, host: str, auth: Any) -> requests.Session:
            session = requests.Session()
            session.trust_env = False
            session.headers["X-Key"] = f"key of {host}"
            session.headers["X-Tenant"] = str(auth)
            return session

    with FaultServer() as other, ConnectionManager(policy=FRANK, guard=True) as manager:
        manager.add_conn_hook(Sessions())
        server.script(
            json_reply({"next": f"{other.url}/1"}), json_reply({"links": {"next": "/3"}}), reply(503), json_reply({})
        )
        other.script(json_reply({"_links": {"next": {"href": f"{server.url}/2"}}}))
        first = manager.find(server.url, "acme").get(f"{server.url}/0")
        walk = pages(first, manager=manager, auth="acme", headers={"Accept": "application/json"})
        got = [next(walk).url for _ in range(3)]
        with pytest.raises(HTTPServiceUnavailable):
            next(walk)
        got += [page.url for page in walk]
        assert got == [f"{server.url}/0", f"{other.url}/1", f"{server.url}/2", f"{server.url}/3"]
        for host, tenant in ((server, "acme"), (other, "None")):
            assert {request.header("X-Key") for request in host.requests} == {f"key of {host.url}"}
            assert {request.header("X-Tenant") for request in host.requests} == {tenant}
