"""Which credentials go on the wire, and which never do."""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth
from requests.structures import CaseInsensitiveDict
from servers import FaultServer, Step, TlsMaterial, forward_proxy, garbage, hang_up, reply, truncated

from sleepwalker import (
    ANONYMOUS,
    AuthenticationError,
    Connection,
    HTTPUnauthorized,
    InsecureAuthError,
    Policy,
    ReadError,
    URLError,
)
from sleepwalker.transport.url import Origin
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

SECRET = "canary-7d1f"


class Chunks:
    """An iterable that can be iterated again and again."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"pay", b"load"])


class OneWay(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *args: Any) -> int:
        raise OSError("one way only")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode("latin-1")).decode()


def own_header(request: Any) -> Any:
    request.headers["Authorization"] = basic("own", "pass")
    return request


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes the netrc file that counts."""
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))

    def write(text: str) -> Path:
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


# -- netrc ---------------------------------------------------------------------------------------


def test_the_netrc_entry_of_the_host_is_sent(server: FaultServer, netrc: Callable[[str], Path]) -> None:
    netrc(f"machine other.example login x password y\nmachine 127.0.0.1 login user password {SECRET}\n")
    with Connection(server.url) as conn:
        conn.get("/")
        conn.get("/")
    assert [request.header("Authorization") for request in server.requests] == [basic("user", SECRET)] * 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "default login user password canary\n",
        "machine other.example login user password canary\n",
        "machine 127.0.0.2 login u password p",
    ],
)
def test_without_an_entry_the_first_request_fails_and_names_the_ways_out(
    server: FaultServer, netrc: Callable[[str], Path], text: str
) -> None:
    """A default entry answers for every host, so it counts for none."""
    netrc(text)
    with Connection(server.url) as conn:
        for _ in range(2):
            with pytest.raises(AuthenticationError) as caught:
                conn.get("/")
    for way in ("pass auth=", "netrc", "auth=ANONYMOUS"):
        assert way in str(caught.value)
    assert "canary" not in str(caught.value)
    assert server.accepted == 0


def test_an_entry_added_later_is_found_by_the_next_request(server: FaultServer, netrc: Callable[[str], Path]) -> None:
    with Connection(server.url) as conn:
        with pytest.raises(AuthenticationError):
            conn.get("/")
        netrc(f"machine 127.0.0.1 login user password {SECRET}\n")
        assert conn.get("/").ok


def test_a_broken_netrc_file_is_named_and_not_quoted(server: FaultServer, netrc: Callable[[str], Path]) -> None:
    path = netrc(f"machine 127.0.0.1 login user password {SECRET} {SECRET}\n")
    with Connection(server.url) as conn, pytest.raises(AuthenticationError) as caught:
        conn.get("/")
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)
    assert server.accepted == 0


def test_anonymous_sends_nothing_and_does_not_look(server: FaultServer, netrc: Callable[[str], Path]) -> None:
    netrc("machine 127.0.0.1 login user password canary\nthis is broken")
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/")
    assert server.requests[0].header("Authorization") is None


@pytest.mark.parametrize(
    "auth",
    [("own", "pass"), HTTPBasicAuth("own", "pass"), own_header],
    ids=["pair", "basic", "callable"],
)
def test_an_explicit_auth_is_never_overwritten_by_netrc(
    server: FaultServer, netrc: Callable[[str], Path], auth: Any
) -> None:
    netrc("machine 127.0.0.1 login user password canary\n")
    with Connection(server.url, auth) as conn:
        conn.get("/")
    assert server.requests[0].header("Authorization") == basic("own", "pass")


@pytest.mark.parametrize("where", ["connection", "added", "call", "json", "session"])
@pytest.mark.parametrize("entry", [True, False])
def test_an_explicit_authorization_header_is_credentials_enough(
    server: FaultServer, netrc: Callable[[str], Path], where: str, entry: bool
) -> None:
    if entry:
        netrc("machine 127.0.0.1 login user password canary\n")
    bearer = {"authorization": f"Bearer {SECRET}"}
    session = requests.Session()
    if where == "session":
        session.headers.update(bearer)
    with Connection(server.url, headers=bearer if where == "connection" else None, session=session) as conn:
        if where == "added":
            conn.add_headers(bearer)
        for _ in range(2):
            if where == "json":
                with pytest.raises(ValueError, match="not JSON"):
                    conn.json_request("GET", "/", None, None, bearer)
            else:
                conn.get("/", headers=bearer if where == "call" else None)
    assert [request.header("Authorization") for request in server.requests] == [f"Bearer {SECRET}"] * 2


def test_a_header_given_after_netrc_was_used_still_counts(server: FaultServer, netrc: Callable[[str], Path]) -> None:
    netrc("machine 127.0.0.1 login user password canary\n")
    with Connection(server.url) as conn:
        conn.get("/")
        conn.get("/", headers={"Authorization": f"Bearer {SECRET}"})
        conn.get("/")
    sent = [request.header("Authorization") for request in server.requests]
    assert sent == [basic("user", "canary"), f"Bearer {SECRET}", basic("user", "canary")]


@threads_only("a session of requests")
def test_the_auth_of_a_session_is_used_and_checked(server: FaultServer, netrc: Callable[[str], Path]) -> None:
    session = requests.Session()
    session.auth = ("user", SECRET)
    with Connection(server.url, session=session) as conn:
        conn.get("/")
    assert server.requests[0].header("Authorization") == basic("user", SECRET)
    with pytest.raises(InsecureAuthError):
        Connection("http://host.example", session=session)


# -- TLS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", [("user", SECRET), HTTPBasicAuth("user", SECRET)])
def test_basic_credentials_over_plain_http_are_refused_unless_they_stay_on_this_machine(auth: Any) -> None:
    for hostname in ("http://host.example", "http://10.0.0.1", "http://host.example:8080/api"):
        with pytest.raises(InsecureAuthError) as caught:
            Connection(hostname, auth)
        assert isinstance(caught.value, URLError)
        assert SECRET not in str(caught.value)
    for hostname in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://host.example"):
        Connection(hostname, auth).close()


BASIC_HEADERS: list[Any] = [
    {"Authorization": basic("user", SECRET)},
    {"authorization": f"basic {SECRET}"},
    {b"AUTHORIZATION": f"BASIC\t{SECRET}".encode()},
]


@threads_only("a session of requests")
@pytest.mark.parametrize("headers", BASIC_HEADERS, ids=["usual", "small", "bytes"])
def test_basic_credentials_in_a_header_are_refused_in_the_clear_as_those_of_auth_are(headers: Any) -> None:
    refused: list[Callable[[], Any]] = []
    with forward_proxy() as proxy:
        options: dict[str, Any] = {"proxies": {"http": proxy.url}}
        session = requests.Session()
        session.headers.update({name: value for name, value in headers.items() if isinstance(name, str)})
        conn = Connection("http://host.example", ANONYMOUS, **options)
        late = Connection("http://host.example", ANONYMOUS, session=requests.Session(), **options)
        late.conn.headers.update(session.headers)
        refused += [
            lambda: Connection("http://host.example", ANONYMOUS, headers=headers, **options),
            lambda: conn.add_headers(headers),
            lambda: conn.get("/", headers=headers),
            lambda: conn.json_request("GET", "/", extra_headers=headers),
        ]
        if "Authorization" in session.headers:
            refused.append(lambda: Connection("http://host.example", ANONYMOUS, session=session, **options))
            refused.append(lambda: late.get("/"))
            refused.append(lambda: Connection("http://127.0.0.1:1", ANONYMOUS, headers=headers, **options))
        for send in refused:
            with pytest.raises(InsecureAuthError, match=r"Authorization.*unencrypted") as caught:
                send()
            assert SECRET not in str(caught.value)
        conn.add_headers({"X-A": "1"})
        assert proxy.accepted == 0


def test_other_schemes_and_hosts_that_are_safe_may_have_an_authorization_header(server: FaultServer) -> None:
    """Bearer tokens may be sent unencrypted: many are signed for one request."""
    for value in (f"Bearer {SECRET}", f"Basically {SECRET}", SECRET, "Digest x"):
        Connection("http://host.example", ANONYMOUS, headers={"Authorization": value}).close()
    Connection("https://host.example", ANONYMOUS, headers={"Authorization": basic("user", SECRET)}).close()
    with Connection(server.url, ANONYMOUS, headers={"Authorization": basic("user", SECRET)}) as conn:
        conn.get("/")
    assert server.requests[0].header("Authorization") == basic("user", SECRET)


def test_verify_false_stays_allowed_with_credentials(tls_server: FaultServer) -> None:
    with (
        Connection(tls_server.url, ("user", SECRET), verify=False) as conn,
        pytest.warns(Warning, match="Unverified HTTPS"),
    ):
        conn.get("/")
    assert tls_server.requests[-1].header("Authorization") == basic("user", SECRET)


def test_credentials_of_netrc_pass_the_same_check_at_the_first_request(
    netrc: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc("machine host.example login user password canary\n")
    with forward_proxy() as proxy:
        conn = Connection("http://host.example", proxies={"http": proxy.url})
        with pytest.raises(InsecureAuthError) as caught:
            conn.get("/")
        assert proxy.accepted == 0
    assert "canary" not in str(caught.value)


def test_a_loopback_host_behind_a_proxy_is_not_on_this_machine(server: FaultServer) -> None:
    with pytest.raises(InsecureAuthError, match="proxy"):
        Connection(server.url, ("user", SECRET), proxies={"http": "http://proxy.example:3128"})


# -- auth objects --------------------------------------------------------------------------------


def test_digest_auth_works(httpbin: str) -> None:
    with Connection(httpbin, HTTPDigestAuth("user", SECRET)) as conn:
        for _ in range(3):
            assert conn.get(f"/digest-auth/auth/user/{SECRET}").json() == {"authenticated": True, "user": "user"}
        with pytest.raises(HTTPUnauthorized):
            conn.get("/digest-auth/auth/user/other")


def test_digest_auth_sends_the_body_again_whole(tmp_path: Path) -> None:
    challenge = reply(401, b"", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    path = tmp_path / "file"
    path.write_bytes(b"payload")
    file = path.open("rb")
    bodies: list[Any] = [
        *(b"payload", {"a": "payload"}, [("a", "payload")], file, Chunks()),
        *(lambda: b"payload", lambda: iter([b"pay", b"load"]), lambda: io.BytesIO(b"payload")),
    ]
    for body in bodies:
        with FaultServer() as server, Connection(server.url, HTTPDigestAuth("user", SECRET)) as conn:
            server.script(challenge)
            conn.post("/", data=body)
            first, second = server.requests
            assert first.header("Authorization") is None
            assert (second.header("Authorization") or "").startswith("Digest ")
            assert second.body == first.body
            assert b"payload" in second.body
    file.close()


@pytest.mark.parametrize("body", [iter([b"payload"]), OneWay(b"payload")], ids=["iterator", "pipe"])
def test_digest_auth_with_a_body_that_can_be_sent_only_once_ends_in_an_error_that_says_so(
    server: FaultServer, body: Any
) -> None:
    """requests sends an empty body the second time, and is told that all went well."""
    server.script(reply(401, b"", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}))
    with Connection(server.url, HTTPDigestAuth("user", SECRET)) as conn, pytest.raises(ValueError, match="only once"):
        conn.post("/", data=body)
    assert [request.complete for request in server.requests] in ([True], [True, False])
    assert conn.health.failures == 0


GOOD_CHALLENGE = 'Digest realm="r", nonce="n", qop="auth"'


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest nonce="n", qop="auth"',
        'Digest realm="r", qop="auth"',
        "Digest realm, nonce",
        "Digest",
        "Digest ",
        'Basic realm="our digest area"',
        'Digest realm="r", nonce="n", algorithm=SHA-999',
        'Digest realm="r", nonce="n", algorithm=""',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Digest realm="r", nonce="n", qop="auth-int", algorithm=MD5',
    ],
)
def test_a_digest_challenge_that_cannot_be_answered_leaves_the_401_as_it_is(
    server: FaultServer, challenge: str
) -> None:
    """requests raises a KeyError for some of them, and again for each later request of the thread."""
    ask, bad = (reply(401, b"", {"WWW-Authenticate": text}) for text in (GOOD_CHALLENGE, challenge))
    with Connection(server.url, HTTPDigestAuth("user", SECRET)) as conn:
        server.script(bad)
        with pytest.raises(HTTPUnauthorized):
            conn.get("/")
        assert len(server.requests) == 1
        server.script(ask, reply(200, b"in"))
        assert conn.get("/").content == b"in"
        server.script(bad)
        with pytest.raises(HTTPUnauthorized):
            conn.get("/")
        assert conn.get("/").ok
        assert (server.requests[-1].header("Authorization") or "").startswith("Digest ")
        assert conn.health.failures == 0


def test_a_digest_class_of_the_callers_sees_every_challenge(server: FaultServer) -> None:
    """It may know an algorithm that requests does not."""

    class Newer(HTTPDigestAuth):
        def build_digest_header(self, method: str, url: str) -> str:
            return "Digest newer"

    server.script(reply(401, b"", {"WWW-Authenticate": 'Digest realm="r", nonce="n", algorithm=SHA-999'}))
    with Connection(server.url, Newer("user", SECRET)) as conn:
        assert conn.get("/").ok
    assert server.requests[-1].header("Authorization") == "Digest newer"


def test_the_hooks_of_one_auth_object_touch_no_other_connection(server: FaultServer) -> None:
    """Digest auth answers every 401 it sees, so a list of hooks that is shared gives its credentials away."""
    challenge = reply(401, b"", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    with FaultServer(default=challenge) as other:
        with Connection(server.url, HTTPDigestAuth("user", SECRET)) as conn:
            for _ in range(3):
                conn.get("/")
        with Connection(other.url, ANONYMOUS) as conn, pytest.raises(HTTPUnauthorized):
            conn.get("/")
        assert len(other.requests) == 1


def test_an_auth_object_signs_each_attempt_anew(server: FaultServer) -> None:
    class Signer(AuthBase):
        def __init__(self) -> None:
            self.count = 0

        def __call__(self, request: Any) -> Any:
            self.count += 1
            assert "X-Signature" not in request.headers
            request.headers["X-Signature"] = f"{self.count}:{request.method}:{request.path_url}:{len(request.body)}"
            return request

    server.script(reply(503), reply(503))
    with Connection(server.url, Signer(), policy=Policy(retry={"wait_initial": 0.01})) as conn:
        conn.put("/a?b=c", data=b"payload")
    assert [request.header("X-Signature") for request in server.requests] == [f"{n}:PUT:/a?b=c:7" for n in (1, 2, 3)]


def test_an_auth_object_may_change_the_body(server: FaultServer) -> None:
    def wrap(request: Any) -> Any:
        request.body = b"signed:" + request.body
        return request

    with Connection(server.url, wrap) as conn:
        conn.post("/", data=b"payload")
    (request,) = server.requests
    assert (request.body, request.header("Content-Length"), request.complete) == (b"signed:payload", "14", True)


def test_an_auth_object_may_give_a_get_a_body(server: FaultServer) -> None:
    """Sent in chunks, as without its length, it is refused or not read by many servers."""

    def add(request: Any) -> Any:
        request.body = b"signed"
        return request

    with Connection(server.url, add) as conn:
        conn.get("/")
        conn.get("/")
    for request in server.requests:
        assert (request.body, request.header("Content-Length"), request.complete) == (b"signed", "6", True)
        assert request.header("Transfer-Encoding") is None


def test_an_auth_object_may_ask_another_host_through_a_connection_of_its_own(server: FaultServer) -> None:
    """The limits of the inner call must not replace those of the outer one, nor the other way round."""
    with FaultServer(default=reply(200, b"token-1", delay=0.3)) as issuer:
        inner = Connection(issuer.url, ANONYMOUS, timeout=(5, 5))

        def bearer(request: Any) -> Any:
            request.headers["Authorization"] = f"Bearer {inner.get('/token').text}"
            return request

        policy = Policy(timeout={"connect": 3, "read": 3, "attempt": 4, "total": 4}, retry=False)
        with Connection(server.url, bearer, policy=policy) as conn:
            for _ in range(2):
                assert conn.get("/").ok
        inner.close()
    assert server.requests[0].header("Authorization") == "Bearer token-1"


def test_an_auth_object_that_raises_is_the_callers_to_see_and_says_nothing_of_the_host(server: FaultServer) -> None:
    class TokenExpired(Exception):
        pass

    def fails(request: Any) -> Any:
        raise TokenExpired("log in")

    with Connection(server.url, fails) as conn:
        for _ in range(8):
            with pytest.raises(TokenExpired, match="log in"):
                conn.get("/")
        health = conn.health
    assert server.accepted == 0
    assert (health.failures, health.breaker, health.in_flight) == (0, "closed", 0)


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"{SECRET}\r\nX-Injected: 1", f"{SECRET}€", f"\n{SECRET}"])
def test_a_token_that_no_header_can_hold_is_named_and_not_shown(server: FaultServer, token: str) -> None:
    """A token read from a file often ends in a line break; http.client quotes it in its error."""

    def bearer(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    with Connection(server.url, bearer) as conn, pytest.raises(URLError) as caught:
        conn.get("/")
    assert "Authorization" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    assert server.requests == []
    assert conn.health.failures == 0


@pytest.mark.parametrize("result", [None, "request", 7])
def test_an_auth_object_that_returns_no_request_is_told_so(server: FaultServer, result: Any) -> None:
    with (
        Connection(server.url, lambda request: result) as conn,
        pytest.raises(TypeError, match="must return the request"),
    ):
        conn.get("/")
    assert server.accepted == 0


def test_equal_pairs_are_one_header_for_all_threads(server: FaultServer) -> None:
    with Connection(server.url, ("user", SECRET)) as conn:
        threads = [threading.Thread(target=conn.get, args=("/",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {request.header("Authorization") for request in server.requests} == {basic("user", SECRET)}


@pytest.mark.parametrize("auth", [("üser", "pässword"), (b"\xc3\xbcser", b"p"), ("user", "with:colon"), ("", "")])
def test_credentials_are_encoded_as_requests_encodes_them(server: FaultServer, auth: Any) -> None:
    with Connection(server.url, auth) as conn:
        conn.get("/")
    requests.get(server.url, auth=auth, timeout=30)
    ours, theirs = (request.header("Authorization") for request in server.requests)
    assert ours == theirs


def test_basic_auth_of_httpbin(httpbin: str) -> None:
    with Connection(httpbin, ("user", SECRET)) as conn:
        assert conn.json_request("GET", f"/basic-auth/user/{SECRET}") == {"authenticated": True, "user": "user"}
        with pytest.raises(HTTPUnauthorized):
            conn.get("/basic-auth/other/other")


def test_credentials_over_tls(tls_server: FaultServer, tls: TlsMaterial) -> None:
    with Connection(tls_server.url, ("user", SECRET), verify=str(tls.ca)) as conn:
        conn.get("/")
    assert tls_server.requests[-1].header("Authorization") == basic("user", SECRET)
    assert Origin("https", "127.0.0.1", tls_server.port).text == tls_server.url


@threads_only("a session of requests")
@pytest.mark.parametrize("kind", [dict, CaseInsensitiveDict, UserDict, OrderedDict])
def test_a_callers_mappings_stay_as_they_are_and_what_is_sent_does_not_change_with_them(
    server: FaultServer, kind: Callable[[Any], Any]
) -> None:
    """Two hosts, one set of mappings: what one host gets from its auth and its own headers is not for the other."""

    class Token(AuthBase):
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {self.name}"
            return request

    common, added, of_a_call, params = kind({"X-Common": "1"}), kind({"X-Added": "1"}), kind({"X-Call": "1"}), kind({})
    with requests.Session() as session, FaultServer() as other:
        session.headers["X-Session"] = "1"
        before = dict(session.headers)
        conns = [
            Connection(url, Token(name), headers=common, session=session)
            for url, name in ((server.url, "one"), (other.url, "two"))
        ]
        for conn in conns:
            conn.add_headers(added)
        conns[0].add_headers({"X-Key": "one"})
        for conn in conns:
            conn.get("/", headers=of_a_call, params=params)
            conn.json_request("HEAD", "/", None, params, of_a_call)
        assert dict(session.headers) == before
        assert [dict(given) for given in (common, added, of_a_call, params)] == [
            {"X-Common": "1"},
            {"X-Added": "1"},
            {"X-Call": "1"},
            {},
        ]
        common["X-Common"] = added["X-Added"] = "2"
        conns[1].get("/")
    assert [sent.header("X-Key") for sent in (*server.requests, *other.requests)] == ["one"] * 2 + [None] * 3
    assert {sent.header("Authorization") for sent in other.requests} == {"Bearer two"}
    last = other.requests[-1]
    assert [last.header(name) for name in ("X-Common", "X-Added", "X-Call", "X-Session")] == ["1", "1", None, "1"]


@pytest.mark.parametrize("step", [hang_up(), garbage(b"no HTTP\r\n\r\n")], ids=["hung up", "no HTTP"])
def test_a_second_request_of_digest_that_breaks_is_an_error_of_the_exchange(server: FaultServer, step: Step) -> None:
    """It is sent by a response hook of requests', and an error of a hook is its author's."""
    challenge = reply(401, b"", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    with Connection(server.url, HTTPDigestAuth("user", SECRET)) as conn:
        server.script(challenge, step, challenge, reply(200, b"in"))
        first, second = conn.get("/").attempts
        assert (str(first.error).partition(":")[0], second.status) == ("ReadError", 200)
        server.script(challenge, step)
        with pytest.raises(ReadError):
            conn.post("/")
        assert conn.health.failures == 2


def test_a_challenge_of_digest_that_breaks_off_is_an_error_of_the_exchange(server: FaultServer) -> None:
    """Its body is read by that hook, before it sends the second request."""
    headers = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
    cut = truncated(b"x" * 50, 2, status=401, headers=headers)
    with Connection(server.url, HTTPDigestAuth("user", SECRET)) as conn:
        server.script(cut, reply(401, b"", headers), reply(200, b"in"))
        first, second = conn.get("/").attempts
        assert (str(first.error).partition(":")[0], second.status) == ("ReadError", 200)
        assert conn.health.failures == 1


def test_what_a_hook_raises_after_it_read_the_body_is_its_own(server: FaultServer) -> None:
    def hook(response: requests.Response, **_: Any) -> None:
        assert response.content == b"all"
        raise LookupError("not found")

    server.default = garbage(b"HTTP/1.1 200 OK\r\n\r\nall")
    with Connection(server.url, ANONYMOUS) as conn:
        conn.conn.hooks["response"].append(hook)
        with pytest.raises(LookupError):
            conn.get("/")
        assert (conn.health.failures, len(server.requests)) == (0, 1)
