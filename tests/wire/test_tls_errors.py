"""A TLS connection that comes to nothing: the error says why, and which side has to change something."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Exchange, FaultServer, Pair, Step, TlsMaterial, garbage, hang_up, make_tls, reply, reset

from sleepwalker import ANONYMOUS, Connection, Policy, ReadError, TLSError
from sleepwalker import ConnectionError as OurConnectionError
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

THRICE = Policy(retry={"wait_initial": 0, "jitter": "none", "budget": False}, breaker=False)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], Path]) -> TlsMaterial:
    """Another authority, which the servers here do not know."""
    return make_tls(tmp_path_factory.mktemp("stranger"), program("openssl"))


def context_of(tls: TlsMaterial, version: ssl.TLSVersion | None = None, **options: Any) -> ssl.SSLContext:
    context = tls.server_context(**options)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def named(pair: Pair) -> tuple[str, str]:
    return str(pair.cert), str(pair.key)


def failure(server: FaultServer, tls: TlsMaterial, **options: Any) -> OurConnectionError:
    options = {"verify": str(tls.ca), "policy": THRICE, **options}
    url = server.url.replace("http:", "https:").replace("127.0.0.1", "localhost")
    with Connection(url, ANONYMOUS, **options) as conn, pytest.raises(OurConnectionError) as caught:
        conn.post("/", data=b"x")
    assert server.requests == []
    assert str(caught.value).startswith(f"{url}: ")
    return caught.value


def text_of(server: FaultServer, error: OurConnectionError) -> str:
    return str(error).partition(f":{server.port}: ")[2]


# -- in the handshake ----------------------------------------------------------------------------


@pytest.mark.parametrize(("theirs", "ours"), [(V12, V13), (V13, V12)])
def test_no_common_version(tls: TlsMaterial, theirs: ssl.TLSVersion, ours: ssl.TLSVersion) -> None:
    context = tls.client_context()
    context.minimum_version = context.maximum_version = ours
    with FaultServer(tls=context_of(tls, theirs)) as server:
        error = failure(server, tls, verify=context)
        assert text_of(server, error) == (
            "the TLS handshake failed: the server speaks no TLS version that is allowed here "
            "(TLSV1_ALERT_PROTOCOL_VERSION)"
        )
    assert type(error) is TLSError
    assert (error.never_sent, len(error.attempts)) == (True, 3)


def test_no_common_cipher(tls: TlsMaterial) -> None:
    theirs, ours = context_of(tls, V12), tls.client_context()
    theirs.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    ours.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    ours.maximum_version = V12
    with FaultServer(tls=theirs) as server:
        error = failure(server, tls, verify=ours)
        assert "accepts none of the ciphers, or asks for a client certificate" in text_of(server, error)
    assert "(SSLV3_ALERT_HANDSHAKE_FAILURE)" in str(error)


ALERTS: list[tuple[ssl.AlertDescription, str]] = [
    (ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME, "the server does not know this host name (TLSV1_UNRECOGNIZED_NAME)"),
    (ssl.ALERT_DESCRIPTION_INTERNAL_ERROR, "the server reports an error of its own (TLSV1_ALERT_INTERNAL_ERROR)"),
    (ssl.ALERT_DESCRIPTION_DECODE_ERROR, "the server sent the alert 'decode error' (TLSV1_ALERT_DECODE_ERROR)"),
]


@pytest.mark.parametrize(("alert", "words"), ALERTS, ids=lambda value: value.name if hasattr(value, "name") else "")
def test_an_alert_of_the_server_is_named(tls: TlsMaterial, alert: ssl.AlertDescription, words: str) -> None:
    context = tls.server_context()
    context.sni_callback = lambda *_: alert
    with FaultServer(tls=context) as server:
        error = failure(server, tls)
        assert text_of(server, error) == f"the TLS handshake failed: {words}"
    assert error.never_sent


@pytest.mark.parametrize(
    "step", [garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n", "bytes"), garbage(when="bytes")], ids=["http", "garbage"]
)
def test_a_port_without_tls_is_named(tls: TlsMaterial, step: Step) -> None:
    with FaultServer(default=step) as server:
        error = failure(server, tls)
        assert text_of(server, error) == (
            "the TLS handshake failed: the server does not speak TLS on this port (http?) (WRONG_VERSION_NUMBER)"
        )
    assert type(error) is TLSError


@pytest.mark.parametrize(
    ("step", "words"),
    [(hang_up("bytes"), "the server hung up"), (reset("bytes"), "Connection reset by peer")],
    ids=["hung up", "reset"],
)
def test_a_handshake_that_breaks_off_says_how(tls: TlsMaterial, step: Step, words: str) -> None:
    with FaultServer(default=step) as server:
        error = failure(server, tls)
        assert words in text_of(server, error) or "Connection reset by peer" in str(error)  # with bytes unread
    assert type(error) is TLSError


# -- the client's certificate --------------------------------------------------------------------


def test_a_missing_client_certificate_is_named_in_the_handshake(tls: TlsMaterial) -> None:
    with FaultServer(tls=context_of(tls, V12, client_ca=True)) as server:
        error = failure(server, tls)
        assert "client certificate" in text_of(server, error)
    assert (type(error), error.never_sent) == (TLSError, True)


def test_the_client_certificate_of_a_stranger_is_refused_in_the_handshake(
    tls: TlsMaterial, stranger: TlsMaterial
) -> None:
    with FaultServer(tls=context_of(tls, V12, client_ca=True)) as server:
        error = failure(server, tls, cert=named(stranger.client))
        assert text_of(server, error) == (
            "the server did not accept the client certificate (cert=): it does not know the authority that signed it "
            "(TLSV1_ALERT_UNKNOWN_CA)"
        )
    assert (type(error), error.retryable, error.never_sent, len(error.attempts)) == (TLSError, False, True, 1)


def refusing(context: ssl.SSLContext) -> Step:
    """As large servers do it: the alert is sent, and what arrives after it is read, so that no reset overtakes it."""

    def act(exchange: Exchange) -> None:
        with exchange.link.socket.dup() as raw:
            with contextlib.suppress(ssl.SSLError):
                exchange.link.secure(context)
                raise AssertionError("the client certificate was accepted")
            raw.settimeout(10)
            with contextlib.suppress(OSError):  # the client may have hung up
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass

    return Step(act, "bytes")


REFUSED = {
    "none": "it requires one, and none was sent (TLSV13_ALERT_CERTIFICATE_REQUIRED)",
    "stranger": "it does not know the authority that signed it (TLSV1_ALERT_UNKNOWN_CA)",
    "a server's": "it is of a kind that the server does not support (SSLV3_ALERT_UNSUPPORTED_CERTIFICATE)",
}


@pytest.mark.parametrize("which", REFUSED)
@pytest.mark.parametrize("body", [b"x", b"x" * 20_000_000], ids=["small", "large"])
def test_a_client_certificate_that_is_refused_after_the_handshake_is_no_broken_answer(
    tls: TlsMaterial, stranger: TlsMaterial, which: str, body: bytes
) -> None:
    """TLS 1.3: the client has sent its request by then, and the server has not read it. To try again is in vain."""
    cert = {"none": None, "stranger": named(stranger.client), "a server's": named(tls.server)}[which]
    context = context_of(tls, V13, client_ca=True)
    with FaultServer(default=refusing(context)) as server:
        url = server.url.replace("http:", "https:")
        conn = Connection(url, ANONYMOUS, verify=str(tls.ca), cert=cert, policy=THRICE)
        with conn, pytest.raises(TLSError) as caught:
            conn.put("/", data=body)
        assert server.accepted == 1
    error = caught.value
    assert str(error) == f"{url}: the server did not accept the client certificate (cert=): {REFUSED[which]}"
    assert (error.retryable, error.never_sent, len(error.attempts)) == (False, True, 1)


@threads_only("the reader of blocking sockets")
def test_on_a_socket_that_brought_a_response_the_request_may_have_been_read(
    tls: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So an alert about the certificate is named there, too, but does not mean that nothing was sent."""
    server = FaultServer(tls=tls.server_context())
    with server, Connection(server.url, ANONYMOUS, verify=str(tls.ca), policy=THRICE) as conn:
        conn.get("/")

        def refused(*_: Any) -> bytes:
            error = ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_REVOKED] canary")
            error.reason = "SSLV3_ALERT_CERTIFICATE_REVOKED"
            raise error

        monkeypatch.setattr("sleepwalker.transport.blocking.reader.BoundedReader.read_head", refused)
        with pytest.raises(TLSError, match="it was revoked") as caught:
            conn.put("/", data=b"x")
        assert (caught.value.retryable, caught.value.never_sent) == (False, False)
        assert "canary" not in str(caught.value)


def test_another_alert_in_place_of_a_response_is_a_read_error_that_names_it(tls: TlsMaterial) -> None:
    def act(exchange: Exchange) -> None:
        inner, outer = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(inner, outer, server_side=True)
        sock = exchange.link.socket
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outer.read())
                inner.write(sock.recv(65536))
        # What follows the handshake is damaged on the way, so this side complains in an alert.
        inner.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        with contextlib.suppress(ssl.SSLError):
            while True:  # the request may have come along with the end of the handshake
                session.read()
        sock.sendall(outer.read())
        exchange.link.linger()

    context = context_of(tls, V13)
    with FaultServer(default=Step(act, "bytes")) as server:
        url = server.url.replace("http:", "https:")
        with (
            Connection(url, ANONYMOUS, verify=str(tls.ca), policy=THRICE) as conn,
            pytest.raises(ReadError, match="TLS broke off: the server sent the alert 'bad record mac'") as caught,
        ):
            conn.get("/")
    assert (caught.value.never_sent, len(caught.value.attempts)) == (False, 3)


# -- files that are renewed ----------------------------------------------------------------------


@pytest.fixture
def look(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at for each new socket, and not once a second, as in asyncio."""
    if driver == "asyncio":
        monkeypatch.setattr("sleepwalker.transport.aio.route._LOOK_AGAIN", 0.0)


def copied(pair: Pair, to: tuple[Path, Path]) -> None:
    for source, target in zip((pair.cert, pair.key), to, strict=True):
        shutil.copyfile(source, target)


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "client.pem", tmp_path / "client.key"


@pytest.mark.usefixtures("look")
def test_a_renewed_client_certificate_is_shown_by_new_sockets(
    tls: TlsMaterial, stranger: TlsMaterial, shown: tuple[Path, Path], driver: str
) -> None:
    """Certificates that live for hours are renewed in place, and a service runs for weeks."""
    copied(stranger.client, shown)
    server = FaultServer(tls=context_of(tls, client_ca=True))
    with server, Connection(server.url, ANONYMOUS, verify=str(tls.ca), cert=shown, policy=THRICE) as conn:
        for _ in range(2):
            with pytest.raises(OurConnectionError):
                conn.get("/")
        copied(tls.client, shown)
        assert conn.get("/").ok
        copied(stranger.client, shown)
        if driver == "threads":  # aiohttp knows sockets by their context
            assert conn.get("/").ok, "an open socket stays"
            conn.get("/", headers={"Connection": "close"})
        with pytest.raises(OurConnectionError):
            conn.get("/")


@pytest.mark.usefixtures("look")
def test_a_renewed_bundle_is_trusted_by_new_sockets(tls: TlsMaterial, stranger: TlsMaterial, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    shutil.copyfile(stranger.ca, bundle)
    server = FaultServer(tls=tls.server_context())
    with server, Connection(server.url, ANONYMOUS, verify=str(bundle), policy=THRICE) as conn:
        with pytest.raises(TLSError):
            conn.get("/")
        new = tmp_path / "new.pem"
        shutil.copyfile(tls.ca, new)
        new.replace(bundle)  # as careful programs do
        assert conn.get("/").ok


@pytest.mark.usefixtures("look")
def test_files_that_are_half_written_break_nothing(
    tls: TlsMaterial, stranger: TlsMaterial, shown: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The old certificate goes on until the new pair is whole. It is said once what the matter is."""
    copied(tls.client, shown)
    server = FaultServer(tls=context_of(tls, client_ca=True), default=reply(200, b"ok", close=True))
    certificate, key = shown
    with server, Connection(server.url, ANONYMOUS, verify=str(tls.ca), cert=shown, policy=THRICE) as conn:
        assert conn.get("/").ok
        certificate.write_bytes(stranger.client.cert.read_bytes())  # and the key is the old one
        assert [conn.get("/").ok for _ in range(3)] == [True] * 3
        key.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
        assert [conn.get("/").ok for _ in range(3)] == [True] * 3
        key.unlink()
        assert [conn.get("/").ok for _ in range(3)] == [True] * 3
        told: list[Any] = [record for record in caplog.records if "tls.files_not_loaded" in record.getMessage()]
        assert [record.fields["reason"] for record in told] == ["unusable", "unusable", "missing"]
        assert {(record.levelname, record.fields["host"]) for record in told} == {("WARNING", server.url)}
        assert str(shown[0].parent) not in caplog.text
        key.write_bytes(stranger.client.key.read_bytes())
        with pytest.raises(OurConnectionError):
            conn.get("/")


def test_files_are_looked_at_only_when_a_socket_is_opened(
    tls: TlsMaterial, shown: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(tls.client, shown)
    server = FaultServer(tls=context_of(tls, client_ca=True))
    with server, Connection(server.url, ANONYMOUS, verify=str(tls.ca), cert=shown, policy=THRICE) as conn:
        conn.get("/")
        monkeypatch.setattr("sleepwalker.transport.tls._stamps", None)
        for _ in range(3):
            assert conn.get("/").ok
