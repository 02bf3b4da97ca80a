"""What works with requests works with a connection: mocks, hooks, adapters, caching sessions, proxies."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
import responses
from requests.adapters import HTTPAdapter
from servers import Exchange, FaultServer, Step, TlsMaterial, forward_proxy, json_reply, redirect, refused_port, reply

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    HTTPNotFound,
    HTTPServiceUnavailable,
    Policy,
    ProxyError,
    ReadTimeout,
    TLSError,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError

QUICK = Policy(retry={"attempts": 3, "wait_initial": 0.001, "wait_max": 0.002}, breaker={"consecutive": 100})


class Shop:
    """A small service as users write them."""

    def __init__(self, url: str, policy: Policy = QUICK, **options: Any) -> None:
        self.conn = Connection(url, ANONYMOUS, policy=policy, **options)

    def item(self, number: int) -> Any:
        return self.conn.json_request("GET", f"/items/{number}")

    def add(self, name: str) -> Any:
        return self.conn.json_request("POST", "/items", {"name": name})


SHOP = "https://shop.example"


# -- responses -----------------------------------------------------------------------------------


@responses.activate
def test_responses_answers_in_place_of_the_server() -> None:
    responses.get(f"{SHOP}/items/7", json={"id": 7}, headers={"X-A": "1"})
    responses.post(f"{SHOP}/items", json={"id": 8}, status=201)
    shop = Shop(SHOP)
    assert shop.item(7) == {"id": 7}
    assert shop.conn.response is not None
    assert shop.conn.response.headers["X-A"] == "1"
    assert shop.add("pen") == {"id": 8}
    assert responses.calls[1].request.body == b'{"name": "pen"}'
    assert len(responses.calls) == 2


@responses.activate
def test_responses_sees_each_attempt_and_its_errors_become_ours() -> None:
    responses.get(f"{SHOP}/items/7", body=requests.exceptions.ConnectionError("simulated"))
    responses.get(f"{SHOP}/items/7", status=503)
    responses.get(f"{SHOP}/items/7", json={"id": 7})
    shop = Shop(SHOP)
    assert shop.item(7) == {"id": 7}
    assert responses.assert_call_count(f"{SHOP}/items/7", 3)


@responses.activate
@pytest.mark.parametrize(
    ("simulated", "error", "calls"),
    [
        (requests.exceptions.ConnectionError("simulated"), OurConnectionError, 3),
        (requests.exceptions.ConnectTimeout("simulated"), OurConnectionError, 3),
        (requests.exceptions.ReadTimeout("simulated"), ReadTimeout, 3),
        (requests.exceptions.SSLError("simulated"), TLSError, 3),
        (requests.exceptions.ProxyError("simulated"), ProxyError, 3),
        (ConnectionResetError(104, "reset"), OurConnectionError, 3),
        (LookupError("own"), LookupError, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_responses_simulates_is_the_error_that_the_wire_would_give(
    simulated: Exception, error: type[Exception], calls: int
) -> None:
    responses.get(f"{SHOP}/items/7", body=simulated)
    with pytest.raises(error) as caught:
        Shop(SHOP).item(7)
    assert len(responses.calls) == calls
    if error is not LookupError:
        assert isinstance(caught.value, requests.RequestException)
        assert len(caught.value.attempts) == calls  # type: ignore[attr-defined]


@responses.activate
def test_a_host_that_was_not_registered_is_the_error_of_responses() -> None:
    with pytest.raises(requests.ConnectionError):
        Shop(SHOP).item(7)


@responses.activate
def test_a_post_is_not_sent_twice_by_responses_either() -> None:
    responses.post(f"{SHOP}/items", status=503)
    with pytest.raises(HTTPServiceUnavailable):
        Shop(SHOP).add("pen")
    assert len(responses.calls) == 1


@responses.activate
def test_matchers_redirects_and_cookies_of_responses_work() -> None:
    responses.get(
        f"{SHOP}/items/7",
        status=302,
        headers={"Location": "/items/8", "Set-Cookie": "sid=1; Path=/"},
        match=[responses.matchers.header_matcher({"Accept": "application/json"})],
    )
    responses.get(f"{SHOP}/items/8", json={"id": 8}, match=[responses.matchers.query_param_matcher({})])
    shop = Shop(SHOP)
    assert shop.item(7) == {"id": 8}
    assert shop.conn.conn.cookies["sid"] == "1"


@responses.activate
def test_the_breaker_works_under_responses() -> None:
    responses.get(f"{SHOP}/items/7", status=500)
    shop = Shop(SHOP, Policy(retry=False, breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 5}))
    for _ in range(2):
        with pytest.raises(requests.HTTPError):
            shop.item(7)
    with pytest.raises(CircuitOpenError):
        shop.item(7)
    assert len(responses.calls) == 2


@responses.activate
def test_streams_under_responses() -> None:
    responses.get(f"{SHOP}/big", body=b"x" * 10_000)
    response = Connection(SHOP, ANONYMOUS).get("/big", stream=True)
    assert sum(map(len, response.iter_content(1000))) == 10_000


# -- requests-mock -------------------------------------------------------------------------------


@pytest.mark.parametrize("made", ["before", "inside"])
def test_requests_mock_answers_in_place_of_the_server(made: str) -> None:
    shop = Shop(SHOP) if made == "before" else None
    with requests_mock.Mocker() as mock:
        mock.get(f"{SHOP}/items/7", json={"id": 7})
        mock.post(f"{SHOP}/items", json={"id": 8}, status_code=201)
        shop = shop or Shop(SHOP)
        assert shop.item(7) == {"id": 7}
        assert shop.add("pen") == {"id": 8}
        assert mock.last_request is not None
        assert mock.last_request.json() == {"name": "pen"}
        assert mock.call_count == 2


def test_requests_mock_sees_each_attempt() -> None:
    with requests_mock.Mocker() as mock:
        mock.get(
            f"{SHOP}/items/7",
            [{"exc": requests.exceptions.ConnectTimeout}, {"status_code": 503}, {"json": {"id": 7}}],
        )
        assert Shop(SHOP).item(7) == {"id": 7}
        assert mock.call_count == 3


def test_an_adapter_of_requests_mock_mounted_on_a_session() -> None:
    session = requests.Session()
    adapter = requests_mock.Adapter()
    session.mount("https://", adapter)
    adapter.register_uri("GET", f"{SHOP}/items/7", [{"status_code": 502}, {"json": {"id": 7}}])
    assert Shop(SHOP, session=session).item(7) == {"id": 7}
    assert adapter.call_count == 2
    adapter.register_uri("GET", f"{SHOP}/items/8", status_code=404)
    with pytest.raises(HTTPNotFound):
        Shop(SHOP, session=session).item(8)


# -- sessions, hooks, adapters -------------------------------------------------------------------


def test_response_hooks_of_the_session_run_once_per_answer(server: FaultServer) -> None:
    server.script(redirect("/b"), reply(200), reply(503), reply(200))
    seen: list[int] = []
    with Connection(server.url, ANONYMOUS, policy=QUICK) as conn:
        conn.conn.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
        conn.get("/a")
        conn.get("/")
    assert seen == [302, 200, 503, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_a_hook_may_read_the_body(server: FaultServer, stream: bool) -> None:
    server.default = reply(200, b'{"id": 7}')
    seen: list[bytes] = []
    with Connection(server.url, ANONYMOUS) as conn:
        conn.conn.hooks["response"].append(lambda response, **_: seen.append(response.content))
        assert conn.get("/", stream=stream).content == b'{"id": 7}'
        assert conn.json_request("GET", "/") == {"id": 7}
    assert seen == [b'{"id": 7}'] * 2


@pytest.mark.parametrize("by", ["session", "auth"])
def test_a_hook_that_is_refused_elsewhere_does_not_send_a_post_twice(server: FaultServer, by: str) -> None:
    """The answer had come; the refusal was taken for one of ours, which is retried for every method."""

    def ask_elsewhere(response: requests.Response, **_: Any) -> None:
        response.close()
        with refused_port() as port:
            requests.get(f"http://127.0.0.1:{port}/", timeout=1)

    def auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", ask_elsewhere)
        return request

    with Connection(server.url, auth if by == "auth" else ANONYMOUS, policy=QUICK) as conn:
        if by == "session":
            conn.conn.hooks["response"].append(ask_elsewhere)
        with pytest.raises(requests.ConnectionError) as caught:
            conn.post("/orders", data=b"one")
        assert conn.health.failures == 0
    assert not isinstance(caught.value, OurConnectionError), "it is the hook's own"
    assert [request.method for request in server.requests] == ["POST"]


@pytest.mark.parametrize("many", [False, True])
def test_a_hook_may_replace_the_answer_and_may_be_one_or_many(server: FaultServer, many: bool) -> None:
    def stamp(response: requests.Response, **_: Any) -> requests.Response:
        response.headers["X-Hooked"] = "yes"
        return response

    session = requests.Session()
    session.hooks = {"response": [stamp] if many else stamp}  # type: ignore[dict-item]
    with Connection(server.url, ANONYMOUS, session=session) as conn:
        assert conn.get("/").headers["X-Hooked"] == "yes"


def test_an_error_of_a_hook_is_the_callers_own(server: FaultServer) -> None:
    def raise_for_status(response: requests.Response, **_: Any) -> None:
        response.close()  # else its socket is let go of unread, as with requests alone
        response.raise_for_status()

    def own(response: requests.Response, **_: Any) -> None:
        response.close()
        raise LookupError("own")

    server.default = reply(404)
    with Connection(server.url, ANONYMOUS, policy=QUICK) as conn:
        conn.conn.hooks["response"] = [raise_for_status]
        with pytest.raises(requests.HTTPError, match="404"):
            conn.get("/")
        conn.conn.hooks["response"] = [own]
        with pytest.raises(LookupError, match="own"):
            conn.get("/")
        assert conn.health.failures == 0
    assert len(server.requests) == 2


class Counting(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self.sent += 1
        return super().send(*args, **kwargs)


def test_an_adapter_that_the_owner_mounted_keeps_sending(server: FaultServer) -> None:
    session, adapter = requests.Session(), Counting()
    session.mount("http://", adapter)
    server.script(reply(503), reply(200, b"ok"))
    with Connection(server.url, ANONYMOUS, policy=QUICK, session=session) as conn:
        assert conn.get("/").text == "ok"
        assert session.get_adapter(server.url) is adapter
    assert adapter.sent == 2


def test_an_adapter_of_the_owners_for_this_host_alone(server: FaultServer) -> None:
    session, adapter = requests.Session(), Counting()
    session.mount(server.url, adapter)
    with Connection(server.url, ANONYMOUS, session=session) as conn:
        conn.get("/")
    assert adapter.sent == 1


class Caching(requests.Session):
    """The smallest caching session: it answers GETs that it has seen from its memory."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, requests.Response] = {}

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        key = f"{request.method} {request.url}"
        if key not in self.memory:
            response = super().send(request, **kwargs)
            if not response.ok:
                return response
            _ = response.content
            self.memory[key] = response
        return self.memory[key]


def test_a_caching_session_caches(server: FaultServer) -> None:
    server.routes = {"/items/7": json_reply({"id": 7}), "/moved": redirect("/items/7")}
    with Caching() as session:
        shop = Shop(server.url, session=session)
        for _ in range(5):
            assert shop.item(7) == {"id": 7}
            assert shop.conn.get("/moved").json() == {"id": 7}
        assert len(server.requests) == 2
        assert shop.conn.health.calls == 10
        server.script(reply(503), reply(503))
        assert shop.conn.get("/items/8").ok
        assert len(server.requests) == 5


def test_a_session_given_stays_open_and_its_owners(server: FaultServer) -> None:
    with requests.Session() as session:
        session.headers["X-Session"] = "1"
        session.params = {"common": "1"}
        session.cookies.set("sid", "1")
        with Connection(server.url, ANONYMOUS, session=session, headers={"X-Conn": "1"}) as conn:
            assert conn.conn is session
            conn.get("/", params={"own": "2"})
        assert session.get(server.url, timeout=30).text == "ok"
        with FaultServer() as other:
            assert session.get(other.url, timeout=30).text == "ok"
    (first, second) = server.requests
    assert first.query == "common=1&own=2"
    assert [first.header(name) for name in ("X-Session", "X-Conn", "Cookie")] == ["1", "1", "sid=1"]
    assert [second.header(name) for name in ("X-Session", "X-Conn")] == ["1", None]


def test_one_session_serves_several_connections(server: FaultServer) -> None:
    with FaultServer() as other, requests.Session() as session:
        first = Connection(server.url, ANONYMOUS, session=session)
        second = Connection(other.url, ANONYMOUS, session=session)
        third = Connection(server.url, ("user", "pass"), session=session)
        for conn in (first, second, third):
            assert conn.get("/").ok
        first.close()
        assert second.get("/").ok
        assert third.get("/").ok
        third.close()
        assert session.get(server.url, timeout=30).ok
    assert [request.header("Authorization") is None for request in server.requests] == [True, False, False, True]


def test_verify_false_of_one_connection_is_not_that_of_another_through_the_same_session(
    tls_server: FaultServer, tls: TlsMaterial
) -> None:
    with requests.Session() as session:
        lax = Connection(tls_server.url, ANONYMOUS, verify=False, session=session)
        strict = Connection(tls_server.url, ANONYMOUS, verify=True, session=session)
        private = Connection(tls_server.url, ANONYMOUS, verify=tls.client_context(), session=session)
        with pytest.warns(Warning, match="Unverified"):
            assert lax.get("/").ok
        with pytest.raises(TLSError):
            strict.get("/")
        assert private.get("/").ok
        with pytest.raises(TLSError):
            strict.get("/")
        with pytest.raises(requests.exceptions.SSLError):
            session.get(tls_server.url, timeout=30)
        assert session.get(tls_server.url, timeout=30, verify=str(tls.ca)).ok


def test_settings_of_the_session_count(tls_server: FaultServer, tls: TlsMaterial) -> None:
    with requests.Session() as session:
        session.verify = str(tls.ca)
        with Connection(tls_server.url, ANONYMOUS, session=session) as conn:
            assert conn.get("/").ok


def test_a_ca_path_reaches_an_adapter_of_the_owners(tls_server: FaultServer, tls: TlsMaterial) -> None:
    session, adapter = requests.Session(), Counting()
    session.mount("https://", adapter)
    with Connection(tls_server.url, ANONYMOUS, session=session, verify=tls.ca) as conn:
        assert conn.get("/").ok
    assert adapter.sent == 1


def test_the_underlying_session_may_be_used_by_hand(server: FaultServer) -> None:
    server.script(redirect("/b"), reply(200, b"there"))
    with Connection(server.url, ANONYMOUS) as conn:
        response = conn.conn.get(server.url, timeout=30)
        assert (response.text, len(response.history)) == ("there", 1)


# -- proxies and the environment -----------------------------------------------------------------


def test_plain_http_goes_through_the_proxy(server: FaultServer, proxy: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, proxies={"http": proxy.url}) as conn:
        assert conn.get("/a?x=1").text == "ok"
        assert conn.post("/b", data=b"payload").text == "ok"
    assert [request.target for request in proxy.requests] == [f"{server.url}/a?x=1", f"{server.url}/b"]
    assert server.requests[1].body == b"payload"


def test_https_goes_through_a_tunnel(tls_server: FaultServer, tls: TlsMaterial, proxy: FaultServer) -> None:
    with Connection(tls_server.url, ("user", "pass"), verify=str(tls.ca), proxies={"https": proxy.url}) as conn:
        for _ in range(3):
            assert conn.get("/a?token=1").ok
    (tunnel,) = proxy.requests
    assert (tunnel.method, tunnel.target) == ("CONNECT", f"127.0.0.1:{tls_server.port}")
    assert tunnel.header("Authorization") is None


def test_the_certificate_is_checked_through_a_tunnel_too(tls_server: FaultServer, proxy: FaultServer) -> None:
    with Connection(tls_server.url, ANONYMOUS, proxies={"https": proxy.url}) as conn, pytest.raises(TLSError):
        conn.get("/")


@pytest.mark.parametrize("secure", [False, True])
def test_the_proxys_password_goes_to_the_proxy_alone(
    server: FaultServer, tls_server: FaultServer, tls: TlsMaterial, secure: bool
) -> None:
    target = tls_server if secure else server
    with forward_proxy(("user", "pass")) as proxy:
        url = proxy.url.replace("//", "//user:pass@")
        proxies = {"http": url, "https": url}
        with Connection(target.url, ANONYMOUS, verify=str(tls.ca), proxies=proxies) as conn:
            assert conn.get("/").ok
        assert proxy.requests[0].header("Proxy-Authorization") is not None
    assert target.requests[-1].header("Proxy-Authorization") is None
    assert target.requests[-1].header("Authorization") is None


def test_a_proxy_that_refuses_the_tunnel_is_a_proxy_error(tls_server: FaultServer) -> None:
    with (
        forward_proxy(("user", "pass")) as proxy,
        Connection(tls_server.url, ANONYMOUS, policy="off", proxies={"https": proxy.url}) as conn,
        pytest.raises(ProxyError),
    ):
        conn.get("/")


def test_a_proxy_of_the_environment_is_read_once_when_the_connection_is_made(
    server: FaultServer, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    with Connection(server.url, ANONYMOUS) as conn:
        monkeypatch.delenv("HTTP_PROXY")
        monkeypatch.delenv("http_proxy")
        conn.get("/")
        assert len(proxy.requests) == 1
        with Connection(server.url, ANONYMOUS) as later:
            monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
            later.get("/")
        assert len(proxy.requests) == 1
        conn.get("/")
        assert len(proxy.requests) == 2


#: The host that is asked, NO_PROXY, and how many requests the proxy sees. PORT stands for the server's.
EXCEPTIONS = [
    ("127.0.0.1", "", 1),
    ("127.0.0.1", "other.example.com", 1),
    ("127.0.0.1", "*", 0),
    ("127.0.0.1", "localhost,127.0.0.1,::1", 0),
    ("127.0.0.1", "  other.example.com , 127.0.0.1", 0),
    ("127.0.0.1", "127.0.0.0/8", 0),
    ("127.0.0.1", "10.0.0.0/8 fd00::/8", 1),
    ("127.0.0.1", "127.0.0.1:PORT", 0),
    ("127.0.0.1", "127.0.0.1:9", 1),
    ("localhost", "LOCALHOST", 0),
    ("localhost", ".localhost", 0),
    ("localhost", "localhost.", 0),
    ("localhost", "localhost:PORT", 0),
    ("localhost", "localhost:9", 1),
    ("localhost", "127.0.0.1", 1),
    ("localhost", "host", 1),
    ("[::1]", "::1", 0),
    ("[::1]", "[::1]", 0),
    ("[::1]", "0:0:0:0:0:0:0:1", 0),
    ("[::1]", "::/64", 0),
    ("[::1]", "[::1]:PORT", 0),
    ("[::1]", "[::1]:9", 1),
    ("[::1]", "fd00::/8", 1),
]


@pytest.mark.parametrize(("host", "no_proxy", "proxied"), EXCEPTIONS)
def test_each_form_of_an_exception_is_kept_to(
    proxy: FaultServer, monkeypatch: pytest.MonkeyPatch, host: str, no_proxy: str, proxied: int
) -> None:
    """Nor does any of them keep a connection from being made."""
    with FaultServer(host="::1" if host == "[::1]" else "127.0.0.1") as server:
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setenv("no_proxy", no_proxy.replace("PORT", str(server.port)))
        monkeypatch.setenv("http_proxy", proxy.url)
        with Connection(f"http://{host}:{server.port}", ANONYMOUS, policy="off") as conn:
            assert conn.get("/").text == "ok"
        assert (len(proxy.requests), len(server.requests)) == (proxied, 1)


OTHERS_PROXIES = {
    "NO_PROXY": "fe80::/10,metadata:80,10.0.0.0/8;x,*.svc",
    "ENVOY_PROXY": "unix:///run/envoy.sock",
    "CLOUD_SQL_PROXY": "project:region:db=tcp:3306",
    "HTTPS_PROXY": "quic://proxy",
}


@pytest.mark.parametrize("own_session", [True, False])
def test_what_is_not_about_this_host_is_not_looked_at(
    server: FaultServer, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch, own_session: bool
) -> None:
    """Also on the way that a redirect takes, here and elsewhere."""
    for name, value in OTHERS_PROXIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("http_proxy", proxy.url)
    session = None if own_session else requests.Session()
    with FaultServer(default=reply(200, b"there")) as other:
        server.script(redirect("/here"), reply(200, b"here"), redirect(other.url))
        with Connection(server.url, ANONYMOUS, policy="off", session=session) as conn:
            assert [conn.get("/").text, conn.get("/").text] == ["here", "there"]
        assert [request.target for request in proxy.requests] == [
            f"{server.url}/", f"{server.url}/here", f"{server.url}/", f"{other.url}/"
        ]  # fmt: skip


def test_a_redirect_elsewhere_is_judged_by_where_it_leads(
    server: FaultServer, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(default=reply(200, b"there")) as other:
        for excepted, seen in ((server, f"{other.url}/"), (other, f"{server.url}/")):
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("no_proxy", f"127.0.0.1:{excepted.port}")
            server.script(redirect(other.url))
            with Connection(server.url, ANONYMOUS, policy="off") as conn:
                assert conn.get("/").text == "there"
            assert proxy.requests[-1].target == seen
    assert len(proxy.requests) == 2


def test_a_proxy_that_cannot_be_is_found_when_a_redirect_leads_to_it(
    server: FaultServer, tls_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "quic://user:geheim@proxy")
    server.default = redirect(tls_server.url)
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(URLError, match=r"^https_proxy: ") as caught:
        conn.get("/")
    assert "geheim" not in str(caught.value)
    assert (caught.value.never_sent, len(caught.value.attempts)) == (False, 1)
    assert conn.health.failures == 0


def test_a_proxy_may_be_written_without_a_scheme(
    server: FaultServer, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"localhost:{proxy.port}")
    with Connection(server.url, ANONYMOUS, policy="off") as conn:
        assert conn.get("/").text == "ok"
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(("value", "proxied"), [("127.0.0.1", 0), ("*", 0), ("127.0.0.0/8", 0), ("other.example", 1)])
def test_no_proxy_is_kept_to(
    server: FaultServer, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str, proxied: int
) -> None:
    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv(name, value)
    with Connection(server.url, ANONYMOUS) as conn:
        monkeypatch.setenv(name, "")
        conn.get("/")
    assert len(proxy.requests) == proxied
    assert len(server.requests) == 1


def test_none_for_a_scheme_means_no_proxy_as_in_requests(
    server: FaultServer, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    none: Any = {"http": None}
    with Connection(server.url, ANONYMOUS, proxies=none) as conn:
        conn.get("/")
    assert proxy.requests == []


def test_a_session_that_does_not_trust_the_environment_is_left_alone(
    server: FaultServer, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    session = requests.Session()
    session.trust_env = False
    with Connection(server.url, ANONYMOUS, session=session) as conn:
        conn.get("/")
    assert proxy.requests == []


def test_a_proxy_that_is_down_is_a_proxy_error(server: FaultServer) -> None:
    with (
        Connection(server.url, ANONYMOUS, policy="off", proxies={"http": "http://127.0.0.1:9"}) as conn,
        pytest.raises(ProxyError) as caught,
    ):
        conn.get("/")
    assert "proxy" in str(caught.value)
    assert server.accepted == 0


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_ca_bundle_of_the_environment_is_read_once_when_the_connection_is_made(
    tls_server: FaultServer, tls: TlsMaterial, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    with Connection(tls_server.url, ANONYMOUS, policy="off") as before:
        monkeypatch.setenv(name, str(tls.ca))
        with pytest.raises(TLSError):
            before.get("/")
    with Connection(tls_server.url, ANONYMOUS) as conn:
        monkeypatch.delenv(name)
        assert conn.get("/").ok


def test_a_ca_bundle_of_the_environment_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="REQUESTS_CA_BUNDLE"):
        Connection("https://host.example", ANONYMOUS)


def test_a_redirect_elsewhere_goes_through_the_proxy_too(server: FaultServer, proxy: FaultServer) -> None:
    with FaultServer(default=reply(200, b"there")) as other:
        server.default = redirect(other.url)
        with Connection(server.url, ANONYMOUS, proxies={"http": proxy.url}) as conn:
            assert conn.get("/").text == "there"
        assert len(proxy.requests) == 2


# -- threads -------------------------------------------------------------------------------------


def test_threads_share_a_connection_without_more_sockets_than_threads() -> None:
    def slow(exchange: Exchange) -> Step:
        assert exchange.request is not None
        return reply(200, exchange.request.path, delay=0.002)

    with FaultServer(default=slow) as server, Connection(server.url, ANONYMOUS) as conn:
        start = threading.Barrier(8)

        def work(number: int) -> bool:
            start.wait(30)
            return all(conn.get(f"/{number}/{step}").text == f"/{number}/{step}" for step in range(25))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
        assert server.accepted <= 8
        assert conn.health.calls == 200
