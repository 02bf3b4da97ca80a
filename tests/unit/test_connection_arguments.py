"""Wrong arguments of `Connection` and its calls: which error, what it says, and that nothing left the process."""

from __future__ import annotations

import math
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sleepwalker import (
    ANONYMOUS,
    AuthenticationError,
    Connection,
    InsecureAuthError,
    PolicyError,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError
from tests.both_drivers import threads_only
from tests.naming import steady

pytestmark = pytest.mark.both_drivers

SECRET = "canary-7d1f"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Opening a socket or looking up a name fails the test, even if the error was swallowed."""
    touched: list[str] = []

    def touch(name: str) -> Any:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            touched.append(name)
            raise AssertionError(f"{name} was called")

        return refuse

    monkeypatch.setattr(socket.socket, "connect", touch("connect"))
    monkeypatch.setattr(socket, "getaddrinfo", touch("getaddrinfo"))
    yield
    assert touched == []


@pytest.fixture
def conn() -> Iterator[Connection]:
    with Connection("http://127.0.0.1:1", ANONYMOUS) as connection:
        yield connection


def said(error: BaseException) -> str:
    return str(error) + repr(error) + "".join(traceback.format_exception(error)).split("Traceback", 1)[0]


def everything(error: BaseException) -> str:
    lines = [line for line in "".join(traceback.format_exception(error)).splitlines() if not line.startswith("    ")]
    return "\n".join([str(error), repr(error), repr(error.args), *lines])


NAN, INF = math.nan, math.inf

# What is passed besides the hostname, the error's class, and what its text names.
CONSTRUCTOR: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    ({"hostname": None}, URLError, ["hostname", "NoneType"]),
    ({"hostname": 7}, URLError, ["hostname", "int"]),
    ({"hostname": b"https://host.com"}, URLError, ["hostname", "bytes"]),
    ({"hostname": ""}, URLError, ["hostname", "https://"]),
    ({"hostname": "host.com"}, URLError, ["hostname 'host.com'", "scheme"]),
    ({"hostname": "host.com:8443"}, URLError, ["'host.com:8443'", "scheme"]),
    ({"hostname": "ftp://host.com"}, URLError, ["'ftp://host.com'", "scheme", "http"]),
    ({"hostname": "file:///etc/passwd"}, URLError, ["scheme"]),
    ({"hostname": "https://"}, URLError, ["hostname 'https://'", "no host"]),
    ({"hostname": f"https://user:{SECRET}@host.com"}, URLError, ["hostname", "auth="]),
    ({"hostname": f"https://{SECRET}@host.com"}, URLError, ["hostname", "auth="]),
    ({"hostname": f"https://host.com/?token={SECRET}"}, URLError, ["hostname 'https://host.com/'", "params"]),
    ({"hostname": "https://host.com\r\nX: 1"}, URLError, ["hostname", "control"]),
    ({"hostname": "https://host .com"}, URLError, ["hostname", "whitespace"]),
    ({"hostname": "https://hóst.com"}, URLError, ["hostname", "non-ASCII"]),
    ({"hostname": "https://host.com:0"}, URLError, ["'https://host.com:0'", "1 to 65535"]),
    ({"hostname": "https://host.com:65536"}, URLError, ["65536", "1 to 65535"]),
    ({"hostname": "https://host.com:x"}, URLError, ["'https://host.com:x'"]),
    ({"hostname": "https://host.com:8443", "port": 8444}, URLError, ["hostname", "8443", "port 8444", "different"]),
    ({"port": 0}, URLError, ["port", "0", "1 to 65535"]),
    ({"port": -1}, URLError, ["port", "-1"]),
    ({"port": 65536}, URLError, ["port", "65536"]),
    ({"port": True}, URLError, ["port", "True"]),
    ({"port": 443.0}, URLError, ["port", "443.0"]),
    ({"port": ""}, URLError, ["port", "''"]),
    ({"port": "https"}, URLError, ["port", "text"]),
    ({"port": SECRET}, URLError, ["port", "text"]),
    ({"port": " 80"}, URLError, ["port", "' 80'"]),
    ({"port": "80/x@y"}, URLError, ["port"]),
    ({"auth": ("user",)}, ValueError, ["auth", "length 1"]),
    ({"auth": ("user", SECRET, "x")}, ValueError, ["auth", "length 3"]),
    ({"auth": ("user", None)}, TypeError, ["auth", "password", "NoneType"]),
    ({"auth": (None, SECRET)}, TypeError, ["auth", "user", "NoneType"]),
    ({"auth": ("user", SECRET + "\n")}, ValueError, ["auth", "password", "line break"]),
    ({"auth": ("user", SECRET + "€")}, ValueError, ["auth", "password", "Latin-1"]),
    ({"auth": SECRET}, TypeError, ["auth", "str", "ANONYMOUS"]),
    ({"auth": 0}, TypeError, ["auth", "int"]),
    ({"auth": False}, TypeError, ["auth", "bool"]),
    ({"auth": {"user": SECRET}}, TypeError, ["auth", "dict"]),
    ({"auth": requests.auth.HTTPBasicAuth}, TypeError, ["auth", "HTTPBasicAuth", "instance"]),
    ({"hostname": "http://host.com", "auth": ("user", SECRET)}, InsecureAuthError, ["auth", "http://host.com"]),
    ({"verify": "/no/such/bundle.pem"}, ValueError, ["verify", "/no/such/bundle.pem"]),
    ({"verify": ""}, ValueError, ["verify"]),
    ({"verify": None}, ValueError, ["verify", "NoneType"]),
    ({"verify": 0}, ValueError, ["verify", "int"]),
    ({"verify": 1}, ValueError, ["verify", "int"]),
    ({"cert": "/no/such/cert.pem"}, ValueError, ["cert", "/no/such/cert.pem"]),
    ({"cert": ("/no/cert.pem", "/no/key.pem")}, ValueError, ["cert", "/no/cert.pem", "/no/key.pem"]),
    ({"cert": ("a", "b", "c")}, ValueError, ["cert", "length 3"]),
    ({"cert": 7}, ValueError, ["cert", "int"]),
    *(
        ({"timeout": timeout}, ValueError, ["timeout", repr(timeout).replace(",)", ")")[:50]])
        for timeout in (
            *(0, 0.0, -1, -0.5, NAN, INF, -INF, True, False, "5", 10**400),
            *((), (1,), (1, 2, 3), (0, 1), (1, 0), (1, NAN), (INF, 1), (True, 1), ("5", 1)),
        )
    ),
    *(
        ({"timeout": timeout}, ValueError, ["timeout", kind])
        for timeout, kind in (
            *(
                (b"5", "bytes"),
                ([1, 2], "list"),
                ({"connect": SECRET}, "dict"),
                ((None, 1), "NoneType"),
                (SECRET, "text"),
            ),
            *(((1, None), "NoneType"), ((SECRET, 1), "text"), ([SECRET], "list"), ((1, (SECRET, 1)), "tuple")),
        )
    ),
    ({"policy": "no-such-policy"}, PolicyError, ["no-such-policy", "standard"]),
    ({"policy": Path("/no/such/policy.toml")}, PolicyError, ["/no/such/policy.toml"]),
    ({"policy": False}, TypeError, ["policy", "bool", "standard"]),
    ({"policy": {"retry": False}}, TypeError, ["policy", "dict"]),
    ({"policy": 7}, TypeError, ["policy", "int"]),
    ({"session": object()}, TypeError, ["session", "Session", "object"]),
    ({"session": requests.Session}, TypeError, ["session", "type"]),
    ({"session": "x"}, TypeError, ["session", "str"]),
    ({"max_body": 0}, ValueError, ["max_body", "0"]),
    ({"max_body": -1}, ValueError, ["max_body", "-1"]),
    ({"max_body": 1.5}, ValueError, ["max_body", "1.5"]),
    ({"max_body": True}, ValueError, ["max_body", "True"]),
    ({"max_body": None}, ValueError, ["max_body", "None"]),
    ({"max_body": "1"}, ValueError, ["max_body", "'1'"]),
    ({"observer": 7}, TypeError, ["observer", "int"]),
    ({"observer": []}, TypeError, ["observer", "list"]),
    ({"headers": "X-A: 1"}, URLError, ["headers", "str"]),
    ({"headers": [("X-A", SECRET)]}, URLError, ["headers", "list"]),
    ({"headers": {"X-A": 1}}, URLError, ["X-A", "int"]),
    ({"headers": {"X-A": f"{SECRET}\r\nX-B: 1"}}, URLError, ["X-A", "line break"]),
    ({"headers": {f"X-A: {SECRET}": "1"}}, URLError, ["'X-A'"]),
    ({"headers": {"X-A": " " + SECRET}}, URLError, ["X-A", "whitespace"]),
    ({"headers": {"X-A": SECRET + "€"}}, URLError, ["X-A", "Latin-1"]),
    ({"headers": {7: SECRET}}, URLError, ["int"]),
    ({"headers": {"": SECRET}}, URLError, ["empty"]),
    ({"headers": {"X-A": "a\nb", "X B": "1"}}, URLError, ["X-A", "'X'"]),
    ({"proxies": f"http://user:{SECRET}@proxy:1"}, TypeError, ["proxies", "str"]),
    ({"proxies": [SECRET]}, TypeError, ["proxies", "list"]),
    ({"proxies": {"http": 7}}, TypeError, ["proxies", "'http'", "int"]),
    ({"proxies": {7: f"http://user:{SECRET}@proxy:1"}}, TypeError, ["proxies", "int"]),
    ({"proxies": {"https": f"http://user:{SECRET}@"}}, URLError, ["proxies", "'https'"]),
    ({"proxies": {"https": f"http://user:{SECRET}@proxy:99999"}}, URLError, ["proxies", "'https'"]),
    ({"proxies": {"https": "ftp://proxy:1"}}, URLError, ["proxies", "'https'", "http"]),
]


@pytest.mark.parametrize(("arguments", "kind", "named"), CONSTRUCTOR, ids=lambda value: steady(value)[:60])
def test_a_wrong_constructor_argument_is_named(
    arguments: dict[str, Any], kind: type[Exception], named: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        Connection(**{"hostname": "https://host.com", "auth": ANONYMOUS, **arguments})
    text = str(caught.value)
    for word in named:
        assert word in text
    assert SECRET not in everything(caught.value)


def test_the_errors_are_those_that_users_of_requests_and_of_python_catch() -> None:
    for catch in (OurConnectionError, requests.exceptions.InvalidURL, requests.RequestException, ValueError):
        with pytest.raises(catch):
            Connection("host.com")
    with pytest.raises(ValueError, match="policy"):
        Connection("https://host.com", policy="no-such-policy")


@threads_only("a session of requests")
def test_a_constructor_that_fails_leaves_a_session_given_to_it_as_it_was() -> None:
    with requests.Session() as session:
        before = dict(session.adapters)
        for wrong in ({"auth": ("u", "p")}, {"auth": 7}, {"verify": ""}, {"proxies": 7}, {"observer": 7}):
            with pytest.raises((ValueError, TypeError)):
                Connection(**{"hostname": "http://host.com", "session": session, **wrong})
        assert dict(session.adapters) == before


@pytest.mark.parametrize(
    ("hostname", "port", "expected"),
    [
        ("https://host.com", 20483, "https://host.com:20483"),
        ("https://host.com", "20483", "https://host.com:20483"),
        ("https://host.com/", 20483, "https://host.com:20483/"),
        ("https://host.com/api/", 20483, "https://host.com:20483/api/"),
        ("https://host.com:20483", 20483, "https://host.com:20483"),
        ("https://host.com:20483/x", "20483", "https://host.com:20483/x"),
        ("https://host.com", 443, "https://host.com:443"),
        ("https://host.com", None, "https://host.com"),
        ("HTTPS://Host.COM/", None, "HTTPS://Host.COM/"),
        ("https://host.com:443", None, "https://host.com:443"),
        ("https://[::1]", 8443, "https://[::1]:8443"),
        ("https://10.0.0.1", 8443, "https://10.0.0.1:8443"),
    ],
)
def test_a_port_is_appended_and_otherwise_the_hostname_stays_as_given(hostname: str, port: Any, expected: str) -> None:
    assert Connection(hostname, port=port).hostname == expected


def test_a_port_may_be_given_by_position() -> None:
    assert Connection("https://host.com", ("u", "p"), 20483, True, 60).hostname == "https://host.com:20483"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/a", "https://host.com/a"),
        ("a", "https://host.com/api/a"),
        ("../a", "https://host.com/a"),
        ("", "https://host.com/api/"),
        ("?x=1", "https://host.com/api/?x=1"),
        ("https://other.com/a", "https://other.com/a"),
        ("//other.com/a", "https://other.com/a"),
    ],
)
def test_get_url_joins_as_urljoin_does(uri: str, expected: str) -> None:
    assert Connection("https://host.com/api/").get_url(uri) == expected


# The uri, and what the error names.
URIS: list[tuple[Any, list[str]]] = [
    (None, ["uri", "NoneType"]),
    (7, ["uri", "int"]),
    (b"/a", ["uri", "bytes"]),
    ("http://127.0.0.1:2/", ["http://127.0.0.1:2", "http://127.0.0.1:1", "ConnectionManager.find"]),
    ("https://127.0.0.1:1/", ["https://127.0.0.1:1"]),
    ("http://localhost:1/", ["http://localhost:1"]),
    ("//other.com/x", ["http://other.com"]),
    (f"http://user:{SECRET}@127.0.0.1:1/", ["credentials", "auth="]),
    (f"//user:{SECRET}@127.0.0.1:1/", ["credentials", "auth="]),
    (f"http://127.0.0.1:1@other.com/?token={SECRET}", ["credentials"]),
    (f"http://other.com/?token={SECRET}", ["http://other.com"]),
    ("http://127.0.0.1:1\\@other.com/", []),
    ("\\\\other.com/x", ["backslash"]),
    ("/a\r\nHost: other.com", ["control"]),
    ("/a b\x00", ["control"]),
    ("http://[::1", []),
    ("http://127.0.0.1:99999/", []),
    ("ftp://127.0.0.1:1/", ["ftp://127.0.0.1:1/"]),
    ("javascript:alert(1)", []),
    (f"/a\ud800?token={SECRET}", ["surrogate"]),
]


@pytest.mark.parametrize(("uri", "named"), URIS, ids=lambda value: ascii(value)[:60])
def test_a_wrong_uri_is_refused_before_anything_is_sent(conn: Connection, uri: Any, named: list[str]) -> None:
    for call in (
        conn.get,
        conn.post,
        lambda it: conn.json_request("GET", it),
        lambda it: conn.get(it, params={"a": 1}),
    ):
        with pytest.raises(URLError) as caught:
            call(uri)
        assert "uri" in str(caught.value)
        for word in named:
            assert word in str(caught.value)
        assert SECRET not in everything(caught.value)
        assert caught.value.attempts == ()


@pytest.mark.parametrize("method", [None, 7, "", "GET ", "G T", "GET\r\nX: 1", "GÉT", b"GET", "G/T", ["GET"], {}])
def test_a_wrong_method_is_refused_before_anything_is_sent(conn: Connection, method: Any) -> None:
    for call in (conn.request, conn.json_request):
        with pytest.raises(URLError, match="method"):
            call(method, "/")


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ("X-A: 1", "str"),
        ({"X-A": 7}, "X-A"),
        ({"X-A": f"{SECRET}\n"}, "X-A"),
        ({"X-A": f"{SECRET}\r\nX-B: 2"}, "X-A"),
        ({"X-A": f"{SECRET}\x00"}, "X-A"),
        ({f"X-A\r\nX-B: {SECRET}": "1"}, "'X-A'"),
        ({"X-A": ["a"]}, "X-A"),
        ({"Authorization": f"Bearer {SECRET}\n"}, "Authorization"),
        ({"Cookie": f"a={SECRET}\r\n"}, "Cookie"),
    ],
    ids=ascii,
)
def test_a_wrong_header_is_refused_before_anything_is_sent(conn: Connection, headers: Any, named: str) -> None:
    calls = [
        lambda: conn.get("/", headers=headers),
        lambda: conn.json_request("GET", "/", extra_headers=headers),
        lambda: conn.add_headers(headers),
    ]
    for call in calls:
        with pytest.raises(URLError) as caught:
            call()
        assert named in str(caught.value)
        assert SECRET not in everything(caught.value)


@threads_only("a session of requests")
def test_a_wrong_header_of_a_session_is_named_without_its_value() -> None:
    """http.client quotes the value in its own error."""
    session = requests.Session()
    session.headers["X-Api-Key"] = f"{SECRET}\n"
    with Connection("http://127.0.0.1:1", ANONYMOUS, session=session) as conn, pytest.raises(URLError) as caught:
        conn.get("/")
    assert "X-Api-Key" in str(caught.value)
    assert SECRET not in everything(caught.value)


@pytest.mark.parametrize(
    "timeout", [0, -1, NAN, INF, True, "5", (), (1,), (1, 2, 3), (None, 1), (1, None), (1, 0), [1, 2]]
)
def test_a_wrong_timeout_of_a_call_is_refused(conn: Connection, timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be"):
        conn.get("/", timeout=timeout)


@pytest.mark.parametrize("total", [0, -1, 0.0, NAN, INF, 2_000_001, True, "5", (1, 2)], ids=str)
def test_a_wrong_total_of_a_call_is_refused(conn: Connection, total: Any) -> None:
    for call in (conn.get, conn.post, lambda uri, **more: conn.request("PUT", uri, **more)):
        with pytest.raises(
            ValueError, match=r"total must be a positive number of seconds.*the policy's timeout\.total"
        ):
            call("/", total=total)


@pytest.mark.parametrize(
    ("policy", "kind", "match"),
    [("no-such-policy", PolicyError, "no-such-policy"), (7, TypeError, "policy"), ({}, TypeError, "policy")],
)
def test_a_wrong_policy_of_a_call_is_refused(conn: Connection, policy: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        conn.get("/", policy=policy)


@pytest.mark.parametrize("data", [7, 1.5, True, object()], ids=lambda data: type(data).__name__)
def test_a_body_of_a_type_that_cannot_be_sent_is_refused(conn: Connection, data: Any) -> None:
    with pytest.raises(TypeError, match=f"data must be .* not {type(data).__name__}"):
        conn.post("/", data=data)


@pytest.mark.parametrize("params", [7, object(), [1], {"a": "\ud800"}], ids=steady)
def test_parameters_that_cannot_be_sent_are_refused(conn: Connection, params: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="params"):
        conn.get("/", params=params)


@pytest.mark.parametrize(
    "body", [object(), {"a": object()}, {1, object()}, lambda: None], ids=lambda body: type(body).__name__
)
def test_a_json_body_that_json_cannot_hold_is_refused(conn: Connection, body: Any) -> None:
    for call in (lambda: conn.json_request("POST", "/", body), lambda: conn.post("/", json=body)):
        with pytest.raises(TypeError, match="is not JSON serializable"):
            call()


@pytest.mark.parametrize("number", [NAN, INF, -INF])
def test_a_number_that_json_does_not_have_is_refused(conn: Connection, number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        conn.json_request("POST", "/", {"a": number})


def test_a_closed_connection_refuses_everything_and_closes_twice(conn: Connection) -> None:
    conn.close()
    conn.close()
    assert conn.closed
    for call in (lambda: conn.get("/"), lambda: conn.json_request("GET", "/")):
        with pytest.raises(OurConnectionError, match="closed"):
            call()


def test_without_credentials_the_constructor_is_silent_and_the_first_request_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    conn = Connection("http://127.0.0.1:1")
    with pytest.raises(AuthenticationError) as caught:
        conn.get("/")
    for way in ("auth=", "netrc", "ANONYMOUS", "machine 127.0.0.1"):
        assert way in str(caught.value)


def test_a_repr_shows_no_secret() -> None:
    conn = Connection(
        "https://host.com/api",
        ("user", SECRET),
        headers={"X-Api-Key": SECRET},
        proxies={"https": f"http://u:{SECRET}@proxy:3128"},
    )
    assert repr(conn) == "<Connection 'https://host.com/api' auth=HTTPBasicAuth>"
    conn.close()
    assert repr(conn) == "<Connection 'https://host.com/api' auth=HTTPBasicAuth closed>"
    assert repr(Connection("https://host.com")) == "<Connection 'https://host.com' auth=netrc>"
    assert repr(Connection("https://host.com", ANONYMOUS)) == "<Connection 'https://host.com' auth=ANONYMOUS>"
