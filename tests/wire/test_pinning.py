"""Whom a connection trusts, through every kind of session: what is pinned is never left out without a word."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from requests.adapters import BaseAdapter, HTTPAdapter
from servers import Exchange, FaultServer, Step, TlsMaterial, redirect, reply

import sleepwalker.transport.tls
from sleepwalker import ANONYMOUS, Connection, Policy, RedirectError, TLSError
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

ONCE = Policy(retry=False)


class Own(HTTPAdapter):
    """As a caching, counting or signing adapter is."""


class BringsContext(HTTPAdapter):
    """One that knows whom to trust by itself, as its owner decided."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Adds nothing: requests would have the context trust its own bundle, too."""


class Elsewhere(BaseAdapter):
    """An adapter that is not of requests' kind: it notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.verify: Any = None

    def send(self, request: requests.PreparedRequest, *_: Any, verify: Any = None, **__: Any) -> requests.Response:
        self.verify = verify
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url or "", request
        response._content = b"elsewhere"
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def public(tls: TlsMaterial, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server's authority is one that requests and the system trust, as a public one is."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(tls.ca))
    monkeypatch.setattr("sleepwalker.transport.tls.DEFAULT_CA_BUNDLE_PATH", str(tls.ca))
    sleepwalker.transport.tls._shared.cache_clear()
    yield
    sleepwalker.transport.tls._shared.cache_clear()


def trusts_none() -> ssl.SSLContext:
    """A context that trusts no authority."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def mounted(adapter: Any, prefix: str = "https://") -> requests.Session:
    session = requests.Session()
    session.mount(prefix, adapter)
    return session


@threads_only("a session of requests")
@pytest.mark.parametrize("how", ["no session", "a session", "a shared session", "a session that pins", "environment"])
def test_a_pinned_context_decides_whatever_else_would_trust_the_server(
    tls: TlsMaterial, tls_server: FaultServer, public: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    options: dict[str, Any] = {"verify": trusts_none()}
    if how == "a session":
        options["session"] = requests.Session()
        options["session"].verify = str(tls.ca)
    elif how == "a shared session":
        options["session"] = requests.Session()
        other = Connection(tls_server.url, ANONYMOUS, session=options["session"])
        assert other.get("/").status_code == 200
    elif how == "a session that pins":
        options = {"session": requests.Session()}
        options["session"].verify = trusts_none()
    else:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.ca))
    conn = Connection(tls_server.url, ANONYMOUS, policy=ONCE, **options)
    already = len(tls_server.requests)
    with conn, pytest.raises(TLSError, match="certificate"):
        conn.get("/")
    assert len(tls_server.requests) == already


@threads_only("an adapter of requests")
@pytest.mark.parametrize(
    ("adapter", "prefix"),
    [(Own, "https://"), (Own, "{url}"), (Own, "{url}/api/"), (Own, "HTTPS://LOCALHOST"), (HTTPAdapter, "{url}/api/")],
)
def test_an_adapter_that_takes_no_context_is_refused_with_one(
    tls_server: FaultServer, public: None, adapter: type[HTTPAdapter], prefix: str
) -> None:
    """It was told verify=True, and every public authority could vouch for the server."""
    url = f"https://localhost:{tls_server.port}"
    session = mounted(adapter(), prefix.format(url=url))
    before = dict(session.adapters)
    says = rf"^verify: .*\({adapter.__name__}\).*SSLContext.*CA bundle.*HTTPAdapter.*leave verify out"
    with pytest.raises(ValueError, match=says):
        Connection(url, ("user", "pw"), session=session, verify=trusts_none())
    assert dict(session.adapters) == before
    session = mounted(Own(), "https://other.example")
    with (
        Connection(url, ("user", "pw"), session=session, verify=trusts_none(), policy=ONCE) as conn,
        pytest.raises(TLSError),
    ):
        conn.get("/api/x")


@threads_only("an adapter of requests")
def test_an_adapter_that_is_mounted_later_sends_nothing_with_a_context(tls_server: FaultServer, public: None) -> None:
    already = len(tls_server.requests)
    with Connection(tls_server.url, ANONYMOUS, verify=trusts_none(), policy=ONCE) as conn:
        conn.conn.mount(tls_server.url, Own())
        with pytest.raises((TypeError, TLSError)):
            conn.get("/")
    assert len(tls_server.requests) == already


@threads_only("an adapter of requests")
def test_the_ways_out_that_the_error_names(tls: TlsMaterial, tls_server: FaultServer, public: None) -> None:
    url = tls_server.url
    bundle = Connection(url, ANONYMOUS, session=mounted(Own()), verify=tls.ca, policy=ONCE)
    plain = Connection(url, ANONYMOUS, session=mounted(HTTPAdapter()), verify=tls.client_context(), policy=ONCE)
    brings = Connection(url, ANONYMOUS, session=mounted(BringsContext(tls.client_context())), policy=ONCE)
    for conn in (bundle, plain, brings):
        with conn:
            assert conn.get("/").status_code == 200
    pins = Connection(url, ANONYMOUS, session=mounted(BringsContext(trusts_none())), policy=ONCE)
    with pins, pytest.raises(TLSError):
        pins.get("/")


@threads_only("an adapter of requests")
def test_a_bundle_and_a_client_certificate_reach_an_adapter_of_the_owners(tls: TlsMaterial) -> None:
    """requests hands them on as they are, but knows text only: a Path of a certificate was taken for a pair."""
    with FaultServer(tls=tls.server_context(client_ca=True)) as server:
        both = tls.client.cert.with_name("both.pem")
        both.write_bytes(tls.client.cert.read_bytes() + tls.client.key.read_bytes())
        pair = (tls.client.cert, tls.client.key)
        for cert in (pair, list(pair), tuple(map(str, pair)), both, str(both), (both, None)):
            for session in (mounted(Own()), requests.Session(), None):
                conn = Connection(server.url, ANONYMOUS, verify=tls.ca, cert=cert, session=session, policy=ONCE)
                with conn:
                    assert conn.get("/").status_code == 200
        untold = Connection(server.url, ANONYMOUS, session=mounted(Own()), verify=tls.ca, policy=ONCE)
        with untold, pytest.raises(requests.ConnectionError):
            untold.get("/")
    with FaultServer(tls=tls.server_context()) as server:
        wrong = Connection(
            server.url, ANONYMOUS, session=mounted(Own()), verify=str(Path(requests.certs.where())), policy=ONCE
        )
        with wrong, pytest.raises(TLSError):
            wrong.get("/")


@threads_only("a mock of requests")
def test_a_mock_works_with_a_context_and_is_handed_it() -> None:
    context = trusts_none()
    with requests_mock.Mocker() as mock:
        mock.get("https://api.example/x", text="mocked")
        for session in (None, requests.Session()):
            with Connection("https://api.example", ANONYMOUS, verify=context, session=session) as conn:
                assert conn.get("/x").text == "mocked"
        assert mock.last_request is not None
        assert mock.last_request.verify is context
    adapter = Elsewhere()
    with Connection("https://api.example", ANONYMOUS, verify=context, session=mounted(adapter)) as conn:
        assert conn.get("/x").text == "elsewhere"
    assert adapter.verify is context


# -- redirects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cert", [True, False])
def test_a_redirect_is_not_trusted_by_others_than_the_origin_is(tls: TlsMaterial, public: None, cert: bool) -> None:
    """With a context the other origin was trusted by all public authorities."""
    with FaultServer(tls=tls.server_context()) as ours, FaultServer(tls=tls.server_context()) as foreign:
        ours.routes = {"/away": redirect(foreign.url + "/"), "/here": redirect("/")}
        context = tls.client_context(cert=cert)
        with Connection(ours.url, ANONYMOUS, verify=context, policy=ONCE) as conn:
            assert conn.get("/here").status_code == 200
            with pytest.raises(RedirectError, match=r"SSLContext.*Make a connection.*CA bundle") as caught:
                conn.get("/away")
            assert conn.health.failures == 0
        assert not caught.value.never_sent
        assert foreign.accepted == 0
        with Connection(ours.url, ANONYMOUS, verify=str(tls.ca), policy=ONCE) as conn:
            assert conn.get("/away").status_code == 200


def test_a_bundle_is_what_counts_at_another_origin_too(tls: TlsMaterial, public: None) -> None:
    with FaultServer(tls=tls.server_context()) as foreign:
        for trusted in (str(tls.ca), requests.certs.where()):
            ours = FaultServer(default=redirect(foreign.url + "/"))
            with ours, Connection(ours.url, ANONYMOUS, verify=trusted, policy=ONCE) as conn:
                if trusted == str(tls.ca):
                    assert conn.get("/").status_code == 200
                else:
                    with pytest.raises(TLSError):
                        conn.get("/")


def test_a_context_is_not_asked_where_a_redirect_stays_in_the_clear(server: FaultServer) -> None:
    def answer(exchange: Exchange) -> Step:
        return reply(200, b"there")

    with FaultServer(default=answer) as other:
        server.default = redirect(other.url)
        with Connection(server.url, ANONYMOUS, verify=trusts_none(), policy=ONCE) as conn:
            assert conn.get("/").text == "there"
