"""Where it was the proxy, the error says so and names it; where it was the server, it does not."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import (
    Exchange,
    FaultServer,
    Step,
    TlsMaterial,
    drip_head,
    elapsed,
    forward_proxy,
    garbage,
    hang_up,
    make_tls,
    refused_port,
    reply,
    reset,
    stall,
    timing_test,
)

from sleepwalker import (
    ANONYMOUS,
    ConnectError,
    Connection,
    DeadlineExceeded,
    Policy,
    ProxyError,
    ReadError,
    ReadTimeout,
    TLSError,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

SECRET = "geheim"
POLICY = Policy(
    timeout={"connect": 5, "read": 5, "attempt": 10, "total": 30},
    retry={"wait_initial": 0, "jitter": "none", "budget": False},
    breaker=False,
)
ONCE = POLICY.replace(retry=False)
TARGET = "https://api.example.test"


def proxied(proxy: FaultServer, **options: Any) -> Connection:
    url = proxy.url.replace("//", f"//user:{SECRET}@")
    given: dict[str, Any] = {"policy": ONCE, "proxies": {"http": url, "https": url}, **options}
    return Connection(TARGET, ANONYMOUS, **given)


def failure(conn: Connection) -> ProxyError:
    with conn, pytest.raises(ProxyError) as caught:
        conn.post("/", data=b"x")
    error = caught.value
    assert SECRET not in f"{error} {error!r} {error.attempts}"
    assert error.never_sent
    return error


# -- CONNECT -------------------------------------------------------------------------------------


BREAKS: dict[str, tuple[Step, str]] = {
    "hung up": (hang_up(), "refused or closed the connection, or is not a proxy"),
    "reset": (reset(), "failed: Connection reset by peer (errno "),
    "nonsense": (garbage(), "refused or closed the connection, or is not a proxy"),
    "nothing of HTTP": (garbage(b"SSH-2.0-x\r\n"), "refused or closed the connection, or is not a proxy"),
    "403": (reply(403), "answered 403 to CONNECT"),
    "407": (reply(407), "answered 407 to CONNECT: its URL in proxies= needs the right user and password"),
    "502": (reply(502), "answered 502 to CONNECT"),
}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(how, marks=[threads_only("aiohttp takes it for a 400")] if how.startswith("no") else [])
        for how in BREAKS
    ],
)
def test_a_proxy_that_gives_no_tunnel_is_named(how: str) -> None:
    step, words = BREAKS[how]
    with FaultServer(default=step) as proxy:
        error = failure(proxied(proxy))
        assert str(error).startswith(f"{TARGET}: the proxy 127.0.0.1:{proxy.port} {words}")
        assert proxy.requests[0].method == "CONNECT"


@pytest.mark.parametrize(("status", "tries"), [(403, 1), (407, 1), (502, 3), (503, 3)])
def test_what_a_proxy_refuses_is_not_asked_again_and_what_fails_is(status: int, tries: int) -> None:
    with FaultServer(default=reply(status)) as proxy:
        assert len(failure(proxied(proxy, policy=POLICY)).attempts) == proxy.accepted == tries


@threads_only("aiohttp does not say that it waits for the proxy's answer to CONNECT")
@timing_test
def test_a_proxy_that_says_nothing_to_connect_is_named() -> None:
    with FaultServer(default=stall()) as proxy:
        policy = ONCE.replace(timeout={"connect": 0.3})
        with elapsed() as time:
            error = failure(proxied(proxy, policy=policy))
        time.assert_within(0.3, 0.2)
        words = f"the proxy 127.0.0.1:{proxy.port} did not respond within 0.3 s (timeout.connect)"
        assert str(error) == f"{TARGET}: {words}"


@threads_only("aiohttp does not say that it waits for the proxy's answer to CONNECT")
@timing_test
def test_where_the_deadline_runs_out_at_the_proxy_it_is_named() -> None:
    with FaultServer(default=stall()) as proxy:
        policy = ONCE.replace(timeout={"connect": 0.3, "attempt": 0.3})
        with proxied(proxy, policy=policy) as conn, pytest.raises(DeadlineExceeded) as caught:
            conn.get("/")
        assert str(caught.value).endswith(f"at the proxy 127.0.0.1:{proxy.port}")
        assert caught.value.never_sent


@pytest.mark.parametrize("target", ["http://api.example.test", TARGET])
def test_a_proxy_that_cannot_be_reached_is_named(target: str) -> None:
    with refused_port() as port:
        proxies = {"http": f"http://u:{SECRET}@127.0.0.1:{port}", "https": f"http://u:{SECRET}@127.0.0.1:{port}"}
        error = failure(Connection(target, ANONYMOUS, policy=ONCE, proxies=proxies))
        assert str(error).startswith(f"{target}: the proxy 127.0.0.1:{port} failed: Connection refused (errno ")


def test_a_proxy_whose_name_does_not_resolve_is_named() -> None:
    proxies = {"https": f"http://u:{SECRET}@no-such-proxy.invalid:3128"}
    error = failure(Connection(TARGET, ANONYMOUS, policy=ONCE, proxies=proxies))
    assert str(error).startswith(f"{TARGET}: the name of the proxy no-such-proxy.invalid:3128 does not resolve: ")


@pytest.mark.parametrize("step", [hang_up("bytes"), reset("bytes")], ids=["hung up", "reset"])
def test_what_breaks_behind_the_tunnel_is_not_the_proxys(step: Step) -> None:
    with FaultServer(default=step) as server, forward_proxy() as proxy:
        url = server.url.replace("http:", "https:")
        with (
            Connection(url, ANONYMOUS, policy=ONCE, proxies={"https": proxy.url}) as conn,
            pytest.raises(TLSError, match="the TLS handshake failed"),
        ):
            conn.get("/")


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        (hang_up(), ReadError, "closed without a "),
        (stall(), ReadTimeout, "nothing arrived for 0.3 s (timeout.read)"),
    ],
    ids=["hung up", "silent"],
)
@pytest.mark.parametrize("secure", [False, True], ids=["forwarded", "tunnel"])
def test_where_it_may_have_been_either_both_are_named(
    tls: TlsMaterial, step: Step, kind: type[Exception], words: str, secure: bool
) -> None:
    """The request was forwarded, so it may have arrived."""
    server, proxy = FaultServer(default=step, tls=tls.server_context() if secure else None), forward_proxy()
    with server, proxy:
        url = proxy.url.replace("//", f"//u:{SECRET}@")
        options: dict[str, Any] = {"verify": str(tls.ca), "proxies": {"http": url, "https": url}}
        conn = Connection(server.url, ANONYMOUS, policy=ONCE, timeout=(5, 0.3), **options)
        with conn, pytest.raises(kind) as caught:
            conn.get("/")
        text = str(caught.value)
        assert text.startswith(f"{server.url}: {words}")
        assert text.endswith(f" (through the proxy 127.0.0.1:{proxy.port})")
        assert not caught.value.never_sent  # type: ignore[attr-defined]


def test_a_socket_within_two_tls_that_brought_more_than_the_answer_is_not_used_again(
    tls: TlsMaterial, tls_proxy: FaultServer
) -> None:
    def act(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")

    server = FaultServer(tls=tls.server_context())
    server.script(Step(act))
    with server, to_proxy(server.url, tls_proxy, verify=str(tls.ca)) as conn:
        assert [conn.get("/").text for _ in range(3)] == ["ok"] * 3
        assert [request.connection for request in server.requests] == [1, 2, 2]


# -- a proxy that is spoken to over TLS ----------------------------------------------------------


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], Path]) -> TlsMaterial:
    return make_tls(tmp_path_factory.mktemp("stranger"), program("openssl"))


@pytest.fixture
def tls_proxy(tls: TlsMaterial) -> Iterator[FaultServer]:
    with forward_proxy(tls=tls.server_context()) as running:
        yield running


def to_proxy(target: str, proxy: FaultServer, **options: Any) -> Connection:
    url = proxy.url.replace("127.0.0.1", "localhost")
    return Connection(target, ANONYMOUS, **{"policy": ONCE, "proxies": {"http": url, "https": url}, **options})


@pytest.mark.parametrize(
    "form", ["path", "context", "environment", pytest.param("session", marks=threads_only("a session of requests"))]
)
@pytest.mark.parametrize("secure", [False, True], ids=["forwarded", "tunnel"])
def test_the_ca_settings_count_for_the_proxy_as_for_the_server(
    server: FaultServer,
    tls_server: FaultServer,
    tls_proxy: FaultServer,
    tls: TlsMaterial,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    secure: bool,
) -> None:
    target = tls_server.url if secure else server.url
    options: dict[str, Any] = {}
    if form == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.ca))
    elif form == "session":
        options["session"] = requests.Session()
        options["session"].trust_env = False
        options["session"].verify = str(tls.ca)
    else:
        options["verify"] = tls.client_context() if form == "context" else str(tls.ca)
    with warnings.catch_warnings(), to_proxy(target, tls_proxy, **options) as conn:
        warnings.simplefilter("error")
        for _ in range(3):
            assert conn.get("/").text == "ok"
        if form == "session":  # by hand, too
            url = tls_proxy.url.replace("127.0.0.1", "localhost")
            assert conn.conn.get(target, timeout=10, proxies={"http": url, "https": url}).text == "ok"
    assert tls_proxy.requests[0].method == ("CONNECT" if secure else "GET")


@pytest.mark.parametrize("target", ["http://api.example.test", TARGET], ids=["forwarded", "tunnel"])
def test_a_proxy_that_is_not_trusted_is_told_from_a_server_that_is_not(
    stranger: TlsMaterial, tls: TlsMaterial, target: str
) -> None:
    with forward_proxy(tls=stranger.server_context()) as proxy:
        error = failure(to_proxy(target, proxy, verify=str(tls.ca), policy=POLICY))
        words = f"the certificate of the proxy localhost:{proxy.port} was not accepted: "
        assert str(error).startswith(f"{target}: {words}")
        assert (error.retryable, len(error.attempts), proxy.requests) == (False, 1, [])


def test_the_name_of_the_proxy_is_checked(tls: TlsMaterial) -> None:
    with forward_proxy(tls=tls.server_context(tls.wrong_host)) as proxy:
        error = failure(to_proxy(TARGET, proxy, verify=str(tls.ca)))
        assert "the certificate of the proxy" in str(error)


def test_public_authorities_do_not_count_for_the_proxy_where_a_bundle_is_given(
    tls: TlsMaterial, stranger: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL's own list of authorities was trusted before."""
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.ca))
    with forward_proxy(tls=stranger.server_context()) as proxy:
        assert "certificate" in str(failure(to_proxy(TARGET, proxy, verify=str(tls.ca))))


@threads_only("asyncio tells the loop of a TypeError of its own where TLS within TLS is aborted (CPython 3.11)")
def test_a_server_that_is_not_trusted_is_no_fault_of_the_proxy(
    stranger: TlsMaterial, tls: TlsMaterial, tls_proxy: FaultServer
) -> None:
    with (
        FaultServer(tls=stranger.server_context()) as server,
        to_proxy(server.url, tls_proxy, verify=str(tls.ca)) as conn,
        pytest.raises(TLSError, match="the server's certificate was not accepted"),
    ):
        conn.get("/")


def test_a_proxy_that_speaks_no_tls_is_named(tls: TlsMaterial, proxy: FaultServer) -> None:
    proxy.default = garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n", "bytes")
    url = proxy.url.replace("http:", "https:")
    error = failure(Connection(TARGET, ANONYMOUS, policy=ONCE, verify=str(tls.ca), proxies={"https": url}))
    words = "failed: it does not speak TLS on this port (http?) (WRONG_VERSION_NUMBER)"
    assert str(error) == f"{TARGET}: the TLS handshake with the proxy 127.0.0.1:{proxy.port} {words}"


@threads_only("aiohttp has one context for the proxy and the server")
def test_the_client_certificate_is_for_the_server_alone(tls: TlsMaterial) -> None:
    seen: list[Any] = []
    context = tls.server_context()
    context.load_verify_locations(tls.ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the certificate comes in the handshake
    cert = (str(tls.client.cert), str(tls.client.key))
    with forward_proxy(tls=context) as proxy, FaultServer(tls=tls.server_context(client_ca=True)) as server:
        inner = proxy.default

        def look(exchange: Any) -> Any:
            seen.append(exchange.link.socket.getpeercert())
            return inner(exchange)  # type: ignore[operator, misc]

        proxy.default = look
        with to_proxy(server.url, proxy, verify=str(tls.ca), cert=cert) as conn:
            assert conn.get("/").ok
    assert seen in ([{}], [None])


@threads_only("the warning is urllib3's")
def test_without_verification_the_proxy_is_not_verified_either_and_that_is_warned_of(
    server: FaultServer, stranger: TlsMaterial
) -> None:
    with (
        forward_proxy(tls=stranger.server_context()) as proxy,
        to_proxy(server.url, proxy, verify=False) as conn,
        pytest.warns(match="Unverified HTTPS request"),
    ):
        assert conn.get("/").ok


# -- SOCKS ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def socks_proxy(reply_code: int = 0) -> Iterator[int]:
    """The port of a SOCKS5 proxy without passwords."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=converse, args=(client,), daemon=True).start()

    def converse(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(10)
            client.recv(client.recv(2)[1])  # the ways to log in that the client knows
            client.sendall(b"\x05\x00")
            head = client.recv(4)
            name = client.recv(client.recv(1)[0]) if head[3] == 3 else socket.inet_ntoa(client.recv(4)).encode()
            port = int.from_bytes(client.recv(2), "big")
            client.sendall(bytes([5, reply_code, 0, 1, 0, 0, 0, 0, 0, 0]))
            if reply_code == 0:
                with socket.create_connection((name.decode(), port), 10) as upstream:
                    relay(client, upstream)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def relay(client: socket.socket, upstream: socket.socket) -> None:
    back = threading.Thread(target=pump, args=(upstream, client), daemon=True)
    back.start()
    pump(client, upstream)
    back.join(10)


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@threads_only("asyncio's connections refuse a SOCKS proxy")
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_socks_proxy_is_gone_through(
    server: FaultServer, tls_server: FaultServer, tls: TlsMaterial, scheme: str, secure: bool
) -> None:
    target = tls_server if secure else server
    with socks_proxy() as port:
        proxies = {"all": f"{scheme}://127.0.0.1:{port}"}
        with Connection(target.url, ANONYMOUS, policy=ONCE, verify=str(tls.ca), proxies=proxies) as conn:
            assert conn.get("/").text == "ok"


@threads_only("asyncio's connections refuse a SOCKS proxy")
@pytest.mark.parametrize(("code", "words"), [(2, "Connection not allowed by ruleset"), (5, "Connection refused")])
def test_a_socks_proxy_that_gives_no_way_is_named_with_its_reason(code: int, words: str) -> None:
    with socks_proxy(reply_code=code) as port:
        conn = Connection(TARGET, ANONYMOUS, policy=ONCE, proxies={"https": f"socks5h://u:{SECRET}@127.0.0.1:{port}"})
        expected = f"{TARGET}: the proxy 127.0.0.1:{port} could not connect to the server: {words}"
        assert str(failure(conn)) == expected


@threads_only("asyncio's connections refuse a SOCKS proxy")
@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["hung up", "http"])
def test_what_is_no_socks_proxy_is_named(greeting: bytes) -> None:
    with FaultServer(default=garbage(greeting, "bytes")) as proxy:
        url = f"socks5h://u:{SECRET}@127.0.0.1:{proxy.port}"
        error = failure(Connection(TARGET, ANONYMOUS, policy=ONCE, proxies={"https": url}))
        assert str(error).startswith(f"{TARGET}: the proxy 127.0.0.1:{proxy.port} ")


@threads_only("asyncio's connections refuse a SOCKS proxy")
@timing_test
def test_a_socks_proxy_that_says_nothing_is_named() -> None:
    with FaultServer(default=stall("bytes")) as proxy:
        policy = ONCE.replace(timeout={"connect": 0.3})
        with elapsed() as time:
            url = f"socks5h://127.0.0.1:{proxy.port}"
            error = failure(Connection(TARGET, ANONYMOUS, policy=policy, proxies={"https": url}))
        time.assert_within(0.3, 0.2)
        words = f"the proxy 127.0.0.1:{proxy.port} did not respond within 0.3 s (timeout.connect)"
        assert str(error) == f"{TARGET}: {words}"


@threads_only("asyncio's connections refuse a SOCKS proxy")
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_deadlines_and_refused_uploads_are_kept_to_through_a_socks_proxy(tls: TlsMaterial, secure: bool) -> None:
    @timing_test
    def measured() -> None:
        server = FaultServer(tls=tls.server_context() if secure else None)
        with server, socks_proxy() as port:
            policy = ONCE.replace(timeout={"connect": 0.5, "attempt": 0.5})
            proxies = {"all": f"socks5h://127.0.0.1:{port}"}
            server.script(drip_head(interval=0.05))
            with Connection(server.url, ANONYMOUS, policy=policy, verify=str(tls.ca), proxies=proxies) as conn:
                with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
                    conn.get("/")
                time.assert_within(0.5)
                assert caught.value.phase == "head"
            server.script(Step(refuse, "head"))
            with Connection(server.url, ANONYMOUS, policy=ONCE, verify=str(tls.ca), proxies=proxies) as conn:
                assert conn.put("/", data=bytes(20_000_000), raise_for_status=False).status_code == 413
                assert [conn.get("/").text for _ in range(3)] == ["ok"] * 3
                assert {request.connection for request in server.requests[-3:]} == {server.accepted}

    def refuse(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        exchange.pause(None)

    measured()


@threads_only("asyncio's connections refuse a SOCKS proxy")
def test_a_socks_proxy_that_cannot_be_reached_is_named() -> None:
    with refused_port() as port:
        conn = Connection(TARGET, ANONYMOUS, policy=ONCE, proxies={"https": f"socks5h://127.0.0.1:{port}"})
        assert str(failure(conn)).startswith(f"{TARGET}: the proxy 127.0.0.1:{port} failed: Connection refused")


@threads_only("asyncio's connections refuse a SOCKS proxy")
@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_a_name_that_is_looked_up_for_a_socks_proxy_is_not_taken_for_that_of_the_proxy(scheme: str) -> None:
    with socks_proxy() as port:
        conn = Connection(TARGET, ANONYMOUS, policy=ONCE, proxies={"https": f"{scheme}://127.0.0.1:{port}"})
        with pytest.raises(ConnectError) as caught:
            conn.post("/")
        error = caught.value
        assert error.never_sent
        assert str(error).startswith(f"{TARGET}: the name does not resolve: ")


@threads_only("asyncio's connections refuse a SOCKS proxy")
@timing_test
def test_a_socks_proxy_that_drips_its_reply_is_left_when_the_time_is_over() -> None:
    """PySocks has a timeout for each byte only."""

    def drip(exchange: Exchange) -> None:
        exchange.link.socket.recv(100)
        exchange.send(b"\x05\x00")
        exchange.link.socket.recv(1000)
        for byte in b"\x05\x00\x00\x03\xff" + bytes(257):
            exchange.send(bytes([byte]))
            exchange.pause(0.05)

    with FaultServer(default=Step(drip, "bytes")) as proxy:
        policy = ONCE.replace(timeout={"connect": 0.3})
        with elapsed() as time:
            url = f"socks5h://u:{SECRET}@127.0.0.1:{proxy.port}"
            error = failure(Connection(TARGET, ANONYMOUS, policy=policy, proxies={"https": url}))
        time.assert_within(0.3, 0.2)
        words = f"the proxy 127.0.0.1:{proxy.port} did not respond within 0.3 s (timeout.connect)"
        assert str(error) == f"{TARGET}: {words}"


WITHOUT_SOCKS = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
sys.modules["socks"] = None
import sleepwalker
for url in sys.argv[1:]:
    for given in (True, False):
        os.environ.pop("ALL_PROXY", None)
        if not given:
            os.environ["ALL_PROXY"] = url
        said = []
        for target in ("http://api.example.test", "https://api.example.test"):
            proxies = {"all": url} if given else None
            conn = sleepwalker.Connection(target, sleepwalker.ANONYMOUS, proxies=proxies)
            try:
                conn.get("/")
            except sleepwalker.URLError as error:
                said.append(f"{error} {error.never_sent} {len(error.attempts)} {conn.health.failures}")
        print(json.dumps([url.partition(":")[0], given, said]))
"""
SOCKS = ("socks4", "socks4a", "socks5", "socks5h", "SOCKS5")


@pytest.fixture(scope="module")
def said_without_socks() -> dict[tuple[str, bool], list[str]]:
    """By the scheme of the proxy, and whether it was given to the connection or is that of the environment."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SOCKS, *(f"{scheme}://u:{SECRET}@127.0.0.1:1" for scheme in SOCKS)],
        capture_output=True, text=True, check=True, timeout=60, env=clean_environment(),
    )  # fmt: skip
    assert done.stderr == ""
    return {(scheme, given): said for scheme, given, said in map(json.loads, done.stdout.splitlines())}


@threads_only("asyncio's connections refuse a SOCKS proxy")
@pytest.mark.parametrize("scheme", SOCKS)
@pytest.mark.parametrize("given", [True, False], ids=["given", "environment"])
def test_the_package_that_a_socks_proxy_needs_is_named(
    said_without_socks: dict[tuple[str, bool], list[str]], scheme: str, given: bool
) -> None:
    """requests needs PySocks for it, which it does not bring along."""
    lines = said_without_socks[scheme, given]
    assert len(lines) == 2
    for line in lines:
        assert 'a SOCKS proxy needs a package that is not installed: pip install "requests[socks]"' in line
        assert line.endswith(" True 1 0")
        assert SECRET not in line


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


@pytest.mark.parametrize(
    "proxy", ["ftp://proxy:1", "quic://proxy", "socks://proxy:1", "socks6://proxy", "http://", "://p"]
)
def test_a_proxy_of_an_unknown_kind_is_an_error_of_the_constructor(proxy: str) -> None:
    with pytest.raises(URLError, match="must be a URL with a host and one of the schemes http, https, socks4, "):
        Connection(TARGET, ANONYMOUS, proxies={"https": proxy})


def test_errors_of_a_proxy_are_connection_errors_of_ours(proxy: FaultServer) -> None:
    proxy.default = reply(403)
    with proxied(proxy) as conn, pytest.raises(OurConnectionError):
        conn.get("/")
    assert conn.health.failures == 1
