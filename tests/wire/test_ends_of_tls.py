"""The end of a TLS connection ends a body only if TLS says so: anyone in between can close the connection below it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, TlsMaterial, at, forward_proxy, reply

from sleepwalker import ANONYMOUS, Connection, Policy, ReadError
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

POLICY = Policy(retry=False, breaker=False, timeout={"connect": 5, "read": 5, "attempt": 5, "total": 10})
LENIENT = POLICY.replace(pool={"require_close_notify": False})
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n" + b"row " * 1000
WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "no end of the trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "length, HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}
SAID = "the connection ended without TLS's close_notify, so the body may be incomplete"
WAYS = pytest.mark.parametrize("warm", [False, True], ids=["ordinary", "fast"])


def cut(data: bytes) -> Step:
    """The bytes, and then the end of the connection below TLS."""

    def act(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.link.linger(farewell=False)

    return at("request", act)


def closed(data: bytes) -> Step:
    """The bytes, and then the end that TLS announces."""

    def act(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.keep = False

    return at("request", act)


@pytest.fixture
def secure(tls: TlsMaterial) -> Iterator[FaultServer]:
    with FaultServer(tls=tls.server_context()) as running:
        yield running


def connection(server: FaultServer, tls: TlsMaterial, warm: bool, policy: Policy = POLICY, **more: Any) -> Connection:
    conn = Connection(server.url, ANONYMOUS, policy=policy, **{"verify": str(tls.ca), **more})
    if warm:
        conn.get("/warm")
    return conn


@WAYS
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("verify", ["bundle", "context", "off"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_that_is_cut_below_tls_is_a_read_error(
    secure: FaultServer, tls: TlsMaterial, warm: bool, verify: str, streamed: bool
) -> None:
    verifies: dict[str, Any] = {"bundle": str(tls.ca), "context": tls.client_context(), "off": False}
    with connection(secure, tls, warm, verify=verifies[verify]) as conn:
        secure.script(cut(UNTIL_CLOSE))
        with pytest.raises(ReadError) as caught:
            list(conn.get("/", stream=streamed).iter_content(100))
        assert str(caught.value) == f"{secure.url}: {SAID} (pool.require_close_notify)"
        assert conn.health.failures == 1


@WAYS
@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_whose_end_tls_announces_is_whole(
    secure: FaultServer, tls: TlsMaterial, warm: bool, streamed: bool
) -> None:
    with connection(secure, tls, warm) as conn:
        secure.script(closed(UNTIL_CLOSE))
        pieces = conn.get("/", stream=streamed).iter_content(100)
        assert b"".join(pieces) == b"row " * 1000


@WAYS
@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(name, marks=[threads_only("aiohttp wants the end of the trailer")] if "trailer" in name else [])
        for name in WHOLE
    ],
)
def test_a_body_that_says_where_it_ends_needs_no_announcement(
    secure: FaultServer, tls: TlsMaterial, warm: bool, framing: str
) -> None:
    with connection(secure, tls, warm) as conn:
        secure.script(cut(WHOLE[framing]))
        assert conn.get("/").content == b"hello"
        # The closed socket may be used once more before its end is seen, so this one call may be sent twice.
        assert conn.get("/", policy=Policy(breaker=False)).content == b"ok"


@WAYS
@pytest.mark.parametrize("cut_at", [0, 1])
def test_a_head_that_is_cut_is_the_same_error_as_without_tls(
    secure: FaultServer, tls: TlsMaterial, warm: bool, cut_at: int
) -> None:
    with connection(secure, tls, warm) as conn:
        secure.script(cut(UNTIL_CLOSE[:cut_at]))
        with pytest.raises(ReadError, match="closed without a" if cut_at == 0 else "ended within|closed without a"):
            conn.get("/")


@WAYS
def test_an_old_server_may_be_excused(secure: FaultServer, tls: TlsMaterial, warm: bool) -> None:
    with connection(secure, tls, warm, LENIENT) as conn:
        secure.script(cut(UNTIL_CLOSE))
        assert conn.get("/").content == b"row " * 1000


def test_a_context_that_ignores_unexpected_ends_cannot_tell(secure: FaultServer, tls: TlsMaterial) -> None:
    """A context is used as it is: OpenSSL then takes each end for an announced one."""
    context = tls.client_context()
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    with connection(secure, tls, False, verify=context) as conn:
        secure.script(cut(UNTIL_CLOSE))
        assert conn.get("/").content == b"row " * 1000


def test_a_plain_connection_has_no_announcement(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        server.script(reply(200, UNTIL_CLOSE, close=True))
        assert conn.get("/").content == UNTIL_CLOSE


def test_an_idle_socket_may_end_without_an_announcement(secure: FaultServer, tls: TlsMaterial) -> None:
    with connection(secure, tls, True) as conn:
        secure.script(cut(WHOLE["length"].replace(b"Connection: close\r\n", b"")))
        assert conn.get("/").content == b"hello"
        time.sleep(0.05)  # the server's half of the connection ends
        assert conn.get("/").content == b"ok"
        assert secure.accepted == 2
        assert conn.health.failures == 0


@pytest.mark.parametrize("ends", [cut, closed], ids=["cut", "closed"])
@pytest.mark.parametrize("over_tls", [False, True])
def test_it_holds_behind_a_proxy_that_tunnels(
    secure: FaultServer, tls: TlsMaterial, ends: Any, over_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS to the proxy, the server's TLS runs within it, by other code of urllib3."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    proxy = forward_proxy()
    proxy.tls = tls.server_context() if over_tls else None
    with proxy, connection(secure, tls, False, proxies={"https": proxy.url}) as conn:
        secure.script(ends(UNTIL_CLOSE))
        if ends is closed:
            assert conn.get("/").content == b"row " * 1000
        else:
            with pytest.raises(ReadError, match="close_notify"):
                conn.get("/")
