"""Where redirects lead, and what goes along: everything to the own origin, nothing to any other."""

from __future__ import annotations

import copy
import errno
import pickle
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import (
    Exchange,
    FaultServer,
    Request,
    Step,
    TlsMaterial,
    TooLate,
    elapsed,
    garbage,
    hang_up,
    in_time,
    redirect,
    refused_port,
    reply,
    stall,
    timing_test,
    truncated,
)

from sleepwalker import (
    ANONYMOUS,
    ConnectError,
    Connection,
    DeadlineExceeded,
    HTTPServiceUnavailable,
    Policy,
    RedirectError,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.transport.blocking.sockets import BoundedConnection
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

SECRET = "canary-7d1f"
ONCE = Policy(retry=False)
STATUSES = (301, 302, 303, 307, 308)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture
def other() -> Iterator[FaultServer]:
    """Another origin: same host, another port."""
    with FaultServer() as running:
        yield running


def everything(request: Request) -> str:
    return repr((request.target, request.headers, request.body))


# -- to the same origin --------------------------------------------------------------------------


@threads_only("the sockets of the blocking side are replaced")
@pytest.mark.parametrize("status", [302, 303])
def test_a_post_that_was_answered_by_a_redirect_is_not_sent_again_when_the_next_hop_is_refused(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """The redirect says that it was processed; the refused connection was taken for a proof that it never left."""
    server.script(reply(status, headers={"Location": "/orders/1"}, close=True))
    really_open, opened = BoundedConnection._open, []

    def open_once(self: BoundedConnection, deadline: Any) -> Any:
        opened.append(self)
        if len(opened) == 2:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return really_open(self, deadline)

    monkeypatch.setattr(BoundedConnection, "_open", open_once)
    with Connection(server.url, ANONYMOUS) as conn:
        with pytest.raises(ConnectError) as caught:
            conn.post("/orders", data=b"one")
        assert conn.health.failures == 1
    assert not caught.value.never_sent
    assert len(caught.value.attempts) == 1
    assert [request.method for request in server.requests] == ["POST"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("method", METHODS)
def test_on_the_own_origin_every_method_is_followed_as_browsers_do(
    server: FaultServer, method: str, status: int
) -> None:
    server.script(redirect("/there?x=1", status))
    body = None if method in ("GET", "HEAD") else b"payload"
    with Connection(server.url, ("user", SECRET), headers={"X-Api-Key": SECRET}) as conn:
        response = conn.request(method, "/here", data=body, headers={"Content-Type": "text/plain"})
    first, second = server.requests
    becomes_get = (status in (302, 303) and method != "HEAD") or (status == 301 and method == "POST")
    assert second.method == ("GET" if becomes_get else method)
    assert second.target == "/there?x=1"
    assert second.body == (b"" if becomes_get or body is None else body)
    assert second.header("Content-Type") == (None if becomes_get else "text/plain")
    assert second.header("X-Api-Key") == SECRET
    assert second.header("Authorization") == first.header("Authorization") is not None
    assert [step.status_code for step in response.history] == [status]
    assert response.history[0].headers["Location"] == "/there?x=1"
    assert response.url == f"{server.url}/there?x=1"
    assert server.accepted == 1, "the socket of the redirect is used again"


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    "data",
    [b"payload", "payload", {"a": "payload"}, lambda: iter([b"pay", b"load"]), [("a", "payload")]],
    ids=["bytes", "str", "form", "callable", "pairs"],
)
def test_a_body_that_can_be_replayed_goes_along(server: FaultServer, data: Any, status: int) -> None:
    server.script(redirect("/there", status))
    with Connection(server.url, ANONYMOUS) as conn:
        conn.post("/here", data=data)
    first, second = server.requests
    assert first.complete
    assert second.complete
    assert first.body == second.body
    assert b"payload" in second.body


def test_a_file_goes_along_from_where_it_stood(server: FaultServer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"skipped-payload")
    server.script(redirect("/there", 307))
    with path.open("rb") as file, Connection(server.url, ANONYMOUS) as conn:
        file.seek(8)
        conn.put("/here", data=file)
    assert [request.body for request in server.requests] == [b"payload", b"payload"]


def test_a_body_that_can_be_sent_only_once_ends_in_an_error_that_says_so(server: FaultServer) -> None:
    server.script(redirect("/there", 307))
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(RedirectError, match="only once"):
        conn.post("/here", data=iter([b"payload"]))
    assert len(server.requests) == 1


def test_cookies_set_on_the_way_are_sent_from_then_on(server: FaultServer) -> None:
    server.script(redirect("/there", 302, {"Set-Cookie": "sid=1; Path=/"}))
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/here")
    assert [request.header("Cookie") for request in server.requests] == [None, "sid=1"]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("there", "/a/there"),
        ("/there", "/there"),
        ("../there", "/there"),
        ("?x=1", "/a/b?x=1"),
        ("//{netloc}/there", "/there"),
        ("{url}/there", "/there"),
        ("{url}/a b", "/a%20b"),
        ("/ä", "/%C3%A4"),
        ("/there#fragment", "/there"),
        ("/%2F%20", "/%2F%20"),
        ("/a:b", "/a:b"),
        ("/x@y", "/x@y"),
    ],
)
def test_a_location_is_read_as_a_browser_reads_it(server: FaultServer, location: str, target: str) -> None:
    text = location.format(netloc=f"127.0.0.1:{server.port}", url=server.url)
    server.script(redirect(text.encode("utf-8").decode("latin-1")))
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/a/b")
    assert server.requests[1].target == target


def test_a_redirect_without_a_location_is_an_answer(server: FaultServer) -> None:
    server.script(reply(302, b"nowhere"), reply(302, b"nowhere", {"Location": ""}), reply(304))
    with Connection(server.url, ANONYMOUS) as conn:
        assert [conn.get("/").status_code for _ in range(3)] == [302, 302, 304]
    assert len(server.requests) == 3


# -- to another origin ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_to_another_origin_nothing_of_ours_goes_along(
    server: FaultServer, other: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, status: int
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login netrc-user password {SECRET}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.script(reply(200, b"", {"Set-Cookie": f"sid={SECRET}; Path=/"}), redirect(f"{other.url}/there", status))
    common = {"X-Api-Key": SECRET, "X-Trace": "conn-mark", "Accept": "text/plain", "User-Agent": "mine/1"}
    with Connection(server.url, ("user", SECRET), headers=common) as conn:
        conn.get("/")
        conn.conn.cookies.set("everywhere", SECRET)
        response = conn.request(
            method, "/here", params={"q": SECRET}, headers={"X-Call": "call-mark", "Referer": SECRET}
        )
    (request,) = other.requests
    assert (request.method, request.target) == (method, "/there")
    seen = everything(request)
    for mark in (SECRET, "conn-mark", "call-mark", "netrc-user", "X-Api-Key", "X-Call"):
        assert mark not in seen
    for name in ("Authorization", "Cookie", "Referer", "Proxy-Authorization"):
        assert request.header(name) is None
    assert (request.header("Accept"), request.header("User-Agent")) == ("text/plain", "mine/1")
    assert [step.status_code for step in response.history] == [status]


def test_credentials_of_an_auth_object_do_not_go_along(server: FaultServer, other: FaultServer) -> None:
    def signed(request: Any) -> Any:
        request.headers["X-Signature"] = SECRET
        return request

    server.script(redirect(other.url))
    with Connection(server.url, signed) as conn:
        conn.get("/")
    assert server.requests[0].header("X-Signature") == SECRET
    assert SECRET not in everything(other.requests[0])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("status", STATUSES)
def test_other_methods_are_not_followed_to_another_origin(
    server: FaultServer, other: FaultServer, method: str, status: int
) -> None:
    server.script(redirect(f"{other.url}/?token={SECRET}", status))
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(RedirectError) as caught:
        conn.request(method, "/", data=b"payload")
    assert other.accepted == 0
    assert other.url in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(server.requests) == 1, "the same redirect would come again"
    assert len(caught.value.attempts) == 1


def test_back_home_from_another_origin_the_request_stays_stripped(server: FaultServer, other: FaultServer) -> None:
    """Else another host could choose what our credentials are used for."""
    server.script(redirect(f"{other.url}/b"))
    other.script(redirect(f"{server.url}/c"))
    with Connection(server.url, ("user", SECRET), headers={"X-Api-Key": SECRET}) as conn:
        conn.conn.cookies.set("sid", SECRET)
        response = conn.get("/a")
    assert [request.path for request in server.requests] == ["/a", "/c"]
    assert SECRET in everything(server.requests[0])
    assert SECRET not in everything(server.requests[1])
    assert server.requests[1].header("Authorization") is None
    assert len(response.history) == 2


def test_cookies_of_another_origin_are_neither_kept_nor_sent(server: FaultServer, other: FaultServer) -> None:
    server.routes = {"/away": redirect(f"{other.url}/1")}
    other.routes = {"/1": redirect("/2", headers={"Set-Cookie": "foreign=1; Path=/"})}
    other.default = reply(200, b"", {"Set-Cookie": "foreign2=1; Path=/"})
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/away")
        conn.get("/away")
        assert list(conn.conn.cookies) == []
        conn.get("/home")
    assert [request.header("Cookie") for request in (*server.requests, *other.requests)] == [None] * 7


def test_a_failure_elsewhere_does_not_count_against_our_host(server: FaultServer, other: FaultServer) -> None:
    with refused_port() as refused:
        server.routes = {
            "/refused": redirect(f"http://127.0.0.1:{refused}/"),
            "/503": redirect(f"{other.url}/503"),
            "/hang-up": redirect(f"{other.url}/hang-up"),
        }
        other.routes = {"/503": reply(503), "/hang-up": hang_up()}
        with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
            for uri, error in (
                ("/refused", OurConnectionError),
                ("/503", HTTPServiceUnavailable),
                ("/hang-up", OurConnectionError),
            ):
                for _ in range(5):
                    with pytest.raises(error) as caught:
                        conn.get(uri)
                    assert not getattr(caught.value, "never_sent", False), "our host did get the request"
            health = conn.health
        assert (health.failures, health.consecutive_failures, health.breaker) == (0, 0, "closed")
        assert health.state in ("healthy", "unknown")


def test_from_https_to_http_nothing_is_followed(tls: TlsMaterial, server: FaultServer) -> None:
    with FaultServer(tls=tls.server_context()) as secure:
        secure.default = redirect(server.url)
        with Connection(secure.url, ("user", SECRET), verify=str(tls.ca)) as conn:
            for method in METHODS:
                with pytest.raises(RedirectError, match="https to http"):
                    conn.request(method, "/")
    assert server.accepted == 0


def test_a_downgrade_at_the_second_hop_is_not_followed_either(tls: TlsMaterial, server: FaultServer) -> None:
    with FaultServer(tls=tls.server_context()) as first, FaultServer(tls=tls.server_context()) as second:
        first.default, second.default = redirect(second.url), redirect(server.url)
        with Connection(first.url, ANONYMOUS, verify=str(tls.ca)) as conn, pytest.raises(RedirectError):
            conn.get("/")
    assert (len(first.requests), len(second.requests), server.accepted) == (1, 1, 0)


def test_from_http_to_https_of_the_same_host_is_another_origin(tls: TlsMaterial, server: FaultServer) -> None:
    with FaultServer(tls=tls.server_context()) as secure:
        server.default = redirect(secure.url)
        with Connection(server.url, ("user", SECRET), verify=str(tls.ca)) as conn:
            assert conn.get("/").status_code == 200
            with pytest.raises(RedirectError):
                conn.post("/")
    assert SECRET not in everything(secure.requests[0])
    assert secure.requests[0].header("Authorization") is None


def test_the_client_certificate_is_shown_to_its_own_host_only(tls: TlsMaterial) -> None:
    def peer(exchange: Exchange) -> Step:
        return reply(200, b"shown" if exchange.link.socket.getpeercert() else b"none")  # type: ignore[attr-defined]

    context = tls.server_context()
    context.load_verify_locations(tls.ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    cert = (str(tls.client.cert), str(tls.client.key))
    with FaultServer(tls=context, default=peer) as ours, FaultServer(tls=context, default=peer) as foreign:
        ours.routes = {"/away": redirect(foreign.url + "/")}
        with Connection(ours.url, ANONYMOUS, verify=str(tls.ca), cert=cert) as conn:
            assert conn.get("/").text == "shown"
            assert conn.get("/away").text == "none"


# -- redirects that are wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        f"http://user:{SECRET}@127.0.0.1:{{port}}/",
        f"//user:{SECRET}@127.0.0.1:{{port}}/",
        "http://127.0.0.1:{port}@example.com/",
        "ftp://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,x",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://ho st/",
        "https:///path",
        "http://h\u00f6st.example/",
        "http://127.0.0.1:{port}\\@example.com/",
        "///example.com/",
        "////example.com@127.0.0.1:{port}%2f",
        "HTTP:////example.com@127.0.0.1:{port}%2f",
        "/\\example.com/",
        "\\\\example.com/",
        "\x0b///example.com/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_location_that_is_no_plain_web_url_is_an_error(server: FaultServer, method: str, location: str) -> None:
    server.default = redirect(location.format(port=server.port), 307)
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(RedirectError) as caught:
        conn.request(method, "/")
    assert SECRET not in str(caught.value)
    assert len(server.requests) == 1
    assert not caught.value.never_sent
    assert conn.health.failures == 0


@pytest.mark.parametrize("location", ["/a\r\n X-Injected: 1", "/a\r\n\tX-Injected: 1"])
def test_a_folded_location_injects_nothing(server: FaultServer, location: str) -> None:
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    server.script(lambda exchange: exchange.send(head))
    with Connection(server.url, ANONYMOUS) as conn:
        try:
            conn.get("/")
        except RedirectError:
            assert len(server.requests) == 1
            return
    assert server.requests[1].header("X-Injected") is None
    assert "\n" not in server.requests[1].target


@pytest.mark.parametrize("status", STATUSES)
def test_a_loop_ends(server: FaultServer, status: int) -> None:
    server.default = redirect("/again", status)
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(RedirectError, match="30 redirects"):
        conn.get("/")
    assert len(server.requests) == 31
    assert server.accepted == 1


def test_a_loop_between_two_origins_ends(server: FaultServer, other: FaultServer) -> None:
    server.default, other.default = redirect(other.url), redirect(server.url)
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(RedirectError):
        conn.get("/")
    assert len(server.requests) + len(other.requests) == 31


def test_a_redirect_is_no_failure_of_the_host(server: FaultServer) -> None:
    server.default = redirect("/again")
    with Connection(server.url, ANONYMOUS) as conn:
        for _ in range(6):
            with pytest.raises(RedirectError):
                conn.get("/")
        assert conn.health.breaker == "closed"
        assert conn.health.failures == 0


@timing_test
def test_the_deadline_covers_all_hops() -> None:
    policy = Policy(timeout={"connect": 0.5, "read": 5, "attempt": 0.5, "total": 0.6}, retry=False)
    with FaultServer(default=redirect("/again")) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        server.default = reply(302, b"", {"Location": "/again"}, delay=0.2)
        with elapsed() as time, in_time(0.55), pytest.raises(DeadlineExceeded):
            conn.get("/")
        time.assert_at_most(0.7)
        if len(server.requests) < 2:
            raise TooLate("the first hop alone took all of the time")
        assert len(server.requests) <= 3


@timing_test
def test_the_deadline_covers_a_hop_to_another_origin() -> None:
    policy = Policy(timeout={"connect": 0.2, "read": 0.4, "attempt": 0.4, "total": 0.5}, retry=False)
    with FaultServer() as server, FaultServer(default=stall()) as other:
        server.script(redirect(other.url))
        with Connection(server.url, ANONYMOUS, policy=policy) as conn:
            with elapsed() as time, pytest.raises(OurConnectionError):
                conn.get("/")
            time.assert_at_most(0.6)


def test_the_body_of_a_redirect_is_not_swallowed_whole() -> None:
    """requests reads it to its end, however long that is."""
    head = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 300000000\r\n\r\n"
    pushed = [0]

    def flood(exchange: Exchange) -> None:
        exchange.keep = False
        exchange.send(head)
        for _ in range(300):
            exchange.send(b"x" * 1_000_000)
            pushed[0] += 1

    with FaultServer(default=reply(200, b"there")) as flooding, Connection(flooding.url, ANONYMOUS) as conn:
        flooding.script(flood)
        assert conn.get("/").text == "there"
    assert pushed[0] < 50


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_and_a_plain_call_follow_alike(server: FaultServer, other: FaultServer, stream: bool) -> None:
    server.script(redirect("/b"), redirect(other.url))
    other.script(reply(200, b"there"))
    with Connection(server.url, ANONYMOUS) as conn:
        response = conn.get("/", stream=stream)
        assert response.content == b"there"
        assert [step.status_code for step in response.history] == [302, 302]


# -- as requests has it ----------------------------------------------------------------------------


@pytest.mark.parametrize("fragment", ["", "#ours", "#o u%20rs"])
@pytest.mark.parametrize("location", ["/end", "/end#theirs", "/end#", "/end#th eirs", "/moved-again", "{other}/end"])
def test_the_fragment_of_a_url_is_kept_where_a_location_has_none(
    server: FaultServer, other: FaultServer, location: str, fragment: str
) -> None:
    """RFC 9110, section 10.2.2."""
    to = location.replace("{other}", other.url)
    server.routes = {"/moved": redirect(to), "/moved-again": redirect("/end")}
    theirs = requests.get(server.url + "/moved" + fragment, timeout=5)
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        for _ in range(2):
            ours = conn.get("/moved" + fragment)
            assert ours.url == theirs.url
            assert [hop.url for hop in ours.history] == [hop.url for hop in theirs.history]
    assert {request.target for request in server.requests} <= {"/moved", "/moved-again", "/end"}


#: Of the blocking side, which reads a head before it looks at the body.
ONE_PARSER = "aiohttp reads a head and what came of the body with it by one parser"
BROKEN = {
    "no gzip": reply(302, b"go", {"Location": "/end", "Content-Encoding": "gzip"}),
    "cut": truncated(b"x" * 100, 10, status=302, headers={"Location": "/end"}),
    "a cut chunk": truncated(b"x" * 100, 10, status=302, headers={"Location": "/end"}, chunked=True),
    "no chunk": garbage(b"HTTP/1.1 302 Found\r\nLocation: /end\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(step, id=name, marks=[threads_only(ONE_PARSER)] if name == "no chunk" else [])
        for name, step in BROKEN.items()
    ],
)
def test_a_redirect_is_followed_although_its_body_is_broken(server: FaultServer, broken: Step, stream: bool) -> None:
    server.routes = {"/moved": broken}
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        for _ in range(2):
            answer = conn.get("/moved", stream=stream)
            assert answer.content == b"ok"
            assert [(hop.status_code, hop.url) for hop in answer.history] == [(302, server.url + "/moved")]
        assert conn.health.failures == 0


def test_a_response_in_a_history_has_none_itself(server: FaultServer) -> None:
    """With requests the second one is in its own, a cycle that keeps its socket."""
    server.routes = {"/a": redirect("/b"), "/b": redirect("/c")}
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        assert [hop.history for hop in conn.get("/a").history] == [[], []]


def challenge(exchange: Exchange) -> Step:
    assert exchange.request is not None
    if exchange.request.header("Authorization"):
        return redirect("/end") if exchange.request.target == "/moved" else reply(200, b"in")
    return reply(401, b"who?", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})


@pytest.mark.parametrize("path", ["/", "/moved"])
def test_the_history_of_digest_auth_is_that_of_requests(server: FaultServer, path: str) -> None:
    server.default = Step(challenge)
    theirs = requests.get(server.url + path, auth=requests.auth.HTTPDigestAuth("user", "password"), timeout=5)
    auth = requests.auth.HTTPDigestAuth("user", "password")
    with Connection(server.url, auth, policy=ONCE) as conn:
        ours = conn.get(path)
    assert [hop.status_code for hop in ours.history] == [hop.status_code for hop in theirs.history]
    assert ours.content == theirs.content == b"in"


@pytest.mark.parametrize("location", ["ftp://host.invalid/", "http://user:pw@127.0.0.1/", "/loop"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_that_is_not_followed_comes_with_its_error(server: FaultServer, method: str, location: str) -> None:
    server.routes = {"/first": redirect("/second", 307), "/second": redirect(location, 307)}
    server.routes |= {"/loop": redirect("/loop", 307)}
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        with pytest.raises(RedirectError) as caught:
            conn.request(method, "/first")
        error = caught.value
        answer = error.response
        assert answer is not None
        assert (answer.status_code, answer.headers["Location"]) == (307, location)
        assert answer.history[0].url == server.url + "/first"
        assert len(answer.history) == (30 if location == "/loop" else 1)
        for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert (str(twin), twin.response.status_code, "Location" in twin.response.headers) == (
                str(error),
                307,
                False,
            )


def test_a_redirect_that_a_context_forbids_comes_with_its_error(tls: TlsMaterial, tls_server: FaultServer) -> None:
    context = ssl.create_default_context(cafile=str(tls.ca))
    with FaultServer(tls=tls.server_context()) as server:
        server.default = redirect(tls_server.url + "/")
        with Connection(server.url, ANONYMOUS, policy=ONCE, verify=context) as conn:
            with pytest.raises(RedirectError, match="SSLContext") as caught:
                conn.get("/")
            assert caught.value.response is not None
            assert caught.value.response.status_code == 302
