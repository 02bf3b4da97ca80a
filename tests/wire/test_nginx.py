"""Against nginx: keep-alive, compression, real error pages, and every way in which TLS can be right or wrong."""

from __future__ import annotations

import ssl
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3.exceptions
from servers import FILES, STATUSES, FaultServer, Nginx, TlsMaterial, wait_until_closed

from sleepwalker import (
    ANONYMOUS,
    Connection,
    HTTPBadGateway,
    HTTPBadRequest,
    HTTPError,
    HTTPMethodNotAllowed,
    HTTPNotFound,
    HTTPRequestEntityTooLarge,
    Policy,
    TLSError,
)
from sleepwalker import ConnectionError as OurConnectionError
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

ONCE = Policy(retry=False, breaker=False)


def connections(responses: list[Any]) -> set[str]:
    return {response.headers["X-Connection"] for response in responses}


# -- plain HTTP ----------------------------------------------------------------------------------


@threads_only("aiohttp closes a connection after some answers to HEAD")
def test_20_requests_take_one_connection(nginx: Nginx) -> None:
    with Connection(nginx.http, ANONYMOUS) as conn:
        answers = [conn.get("/100b.json") for _ in range(10)]
        answers += [conn.get("/missing", raise_for_status=False) for _ in range(5)]
        answers += [conn.head("/1mb.json"), conn.get("/empty"), conn.get("/moved"), conn.get("/1mb.json")]
        conn.json_request("GET", "/10kb.json")
        assert conn.response is not None
        answers.append(conn.response)
    assert len(answers) == 20
    assert len(connections(answers)) == 1


def test_errors_of_the_client_keep_the_connection_and_those_of_the_server_do_not(nginx: Nginx) -> None:
    """What fails at once comes back first, and would be taken first."""
    with Connection(nginx.http, ANONYMOUS, policy=ONCE) as conn:
        seen = []
        for status in STATUSES:
            with pytest.raises(HTTPError) as caught:
                conn.get(f"/status/{status}")
            assert caught.value.http_code == status
            seen.append(caught.value.response)
    kept = [answer for answer in seen if answer is not None and answer.headers.get("Connection") != "close"]
    servers = [answer for answer in kept if answer.status_code >= 500 and answer.status_code != 501]
    others = [answer for answer in kept if answer not in servers]
    assert len(connections(servers)) == len(servers) > 2
    assert len(connections(others)) <= 2, "nginx itself closes after some errors"


@pytest.mark.parametrize(("name", "size"), FILES.items())
def test_files_come_whole(nginx: Nginx, name: str, size: int) -> None:
    with Connection(nginx.http, ANONYMOUS) as conn:
        assert len(conn.get(f"/{name}").content) == size
        assert conn.json_request("GET", f"/{name}")["name"] == name
        assert len(conn.get(f"/{name}", headers={"Accept-Encoding": "identity"}).content) == size
        assert len(b"".join(conn.get(f"/{name}", stream=True).iter_content(1000))) == size


def test_compression_is_asked_for_and_undone(nginx: Nginx) -> None:
    with Connection(nginx.http, ANONYMOUS) as conn:
        response = conn.get("/10kb.json")
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.content) == 10_000


def test_real_error_pages(nginx: Nginx) -> None:
    with Connection(nginx.http, ANONYMOUS, policy=ONCE) as conn:
        with pytest.raises(HTTPNotFound) as missing:
            conn.json_request("GET", "/no/such/file")
        assert missing.value.json_data == {"error": "no such file"}
        with pytest.raises(HTTPBadGateway) as gateway:
            conn.get("/bad-gateway")
        assert gateway.value.json_data is None
        assert "<html>" in (gateway.value.text or "")
        with pytest.raises(HTTPMethodNotAllowed):
            conn.post("/100b.json", data=b"x")


def test_a_body_that_is_too_large_is_that_error(nginx: Nginx) -> None:
    """nginx answers early and hangs up: the answer counts, not the broken pipe."""
    with Connection(nginx.http, ANONYMOUS, policy=ONCE) as conn:
        with pytest.raises((HTTPRequestEntityTooLarge, OurConnectionError)) as caught:
            conn.post("/100b.json", data=b"x" * 1_100_000)
        assert isinstance(caught.value, HTTPRequestEntityTooLarge) or not caught.value.never_sent  # type: ignore[attr-defined]
        assert conn.get("/100b.json").ok


def test_a_socket_that_the_server_closed_meanwhile_is_replaced_in_silence(nginx: Nginx) -> None:
    with Connection(nginx.http, ANONYMOUS, policy=ONCE) as conn:
        for _ in range(3):
            first = conn.get("/short/100b.json")
            wait_until_closed(conn)
            second = conn.post("/100b.json", data=b"x", raise_for_status=False)
            assert len(connections([first, second])) == 2
        assert conn.health.failures == 0


def test_many_threads(nginx: Nginx) -> None:
    with Connection(nginx.http, ANONYMOUS) as conn, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: conn.get("/10kb.json"), range(200)))
    assert {len(answer.content) for answer in answers} == {10_000}
    assert len(connections(answers)) <= 8


# -- TLS -----------------------------------------------------------------------------------------


def test_a_private_authority_is_not_trusted_by_default(nginx: Nginx) -> None:
    with Connection(nginx.https, ("user", "pass")) as conn:
        with pytest.raises(TLSError, match="certificate") as caught:
            conn.post("/100b.json")
        assert caught.value.never_sent
        assert not caught.value.retryable
        assert len(caught.value.attempts) == 1, "the same certificate would come again"


@pytest.mark.parametrize("form", ["str", "path", "context"])
def test_a_private_authority_that_is_named_is_trusted(nginx: Nginx, tls: TlsMaterial, form: str) -> None:
    verify = {"str": nginx.ca, "path": Path(nginx.ca), "context": tls.client_context()}[form]
    with Connection(nginx.https, ("user", "pass"), verify=verify) as conn:
        answers = [conn.get("/100b.json") for _ in range(20)]
    assert len(connections(answers)) == 1


@threads_only("the warning is urllib3's")
def test_verify_false_works_and_warns_as_requests_does(nginx: Nginx) -> None:
    with (
        Connection(nginx.expired, ANONYMOUS, verify=False) as conn,
        pytest.warns(urllib3.exceptions.InsecureRequestWarning, match="Unverified HTTPS request"),
    ):
        assert conn.get("/100b.json").ok


def test_with_verification_nothing_is_warned_of(nginx: Nginx) -> None:
    with warnings.catch_warnings(), Connection(nginx.https, ANONYMOUS, verify=nginx.ca) as conn:
        warnings.simplefilter("error")
        assert conn.get("/100b.json").ok


@pytest.mark.parametrize(("which", "why"), [("wrong_host", "mismatch|match|valid for"), ("expired", "expired")])
def test_a_wrong_certificate_is_refused_and_said_why(nginx: Nginx, which: str, why: str) -> None:
    with Connection(getattr(nginx, which), ANONYMOUS, verify=nginx.ca) as conn, pytest.raises(TLSError, match=why):
        conn.get("/100b.json")


def test_a_context_of_the_callers_is_used_as_it_is(nginx: Nginx) -> None:
    context = ssl.create_default_context(cafile=nginx.ca)
    context.check_hostname = False
    with Connection(nginx.wrong_host, ANONYMOUS, verify=context) as conn:
        assert conn.get("/100b.json").ok
    assert context.check_hostname is False


def test_a_client_certificate_is_shown(nginx: Nginx, tls: TlsMaterial) -> None:
    with Connection(nginx.mtls, ANONYMOUS, verify=nginx.ca, cert=nginx.cert) as conn:
        assert conn.get("/100b.json").headers["X-Client-Name"] == "CN=client"
    with Connection(nginx.mtls, ANONYMOUS, verify=nginx.ca, cert=list(nginx.cert)) as conn:
        assert conn.get("/100b.json").headers["X-Client-Name"] == "CN=client"
    with Connection(nginx.mtls, ANONYMOUS, verify=tls.client_context(cert=True)) as conn:
        assert conn.get("/100b.json").headers["X-Client-Name"] == "CN=client"


def test_without_a_client_certificate_the_server_refuses(nginx: Nginx) -> None:
    with (
        Connection(nginx.mtls, ANONYMOUS, verify=nginx.ca) as conn,
        pytest.raises(HTTPBadRequest) as caught,
    ):
        conn.get("/100b.json")
    assert "No required SSL certificate" in (caught.value.text or "")


def test_a_server_that_demands_a_certificate_in_the_handshake_is_a_clear_error(tls: TlsMaterial) -> None:
    with FaultServer(tls=tls.server_context(client_ca=True)) as server:
        conn = Connection(server.url, ANONYMOUS, policy=ONCE, verify=str(tls.ca))
        with conn, pytest.raises(OurConnectionError):  # TLS 1.3 tells only after the handshake
            conn.get("/")
        assert server.requests == []


def test_plain_http_to_a_tls_port_is_an_answer_of_400(nginx: Nginx) -> None:
    with (
        Connection(nginx.https.replace("https:", "http:"), ANONYMOUS, policy=ONCE) as conn,
        pytest.raises(HTTPBadRequest),
    ):
        conn.get("/")


def test_tls_to_a_plain_port_is_a_tls_error(nginx: Nginx) -> None:
    with (
        Connection(nginx.http.replace("http:", "https:"), ANONYMOUS, policy=ONCE) as conn,
        pytest.raises(TLSError) as caught,
    ):
        conn.get("/")
    assert caught.value.never_sent


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_nothing_below_tls_1_2_is_spoken(tls: TlsMaterial, version: ssl.TLSVersion) -> None:
    """Version 2.0 answered any connection error by going down to TLSv1."""
    context = tls.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    with FaultServer(tls=context) as server:
        with Connection(server.url, ANONYMOUS, policy=ONCE, verify=str(tls.ca)) as conn:
            for _ in range(3):
                with pytest.raises(TLSError):
                    conn.get("/")
        server.wait_for_open(0)
        assert server.requests == []
        assert len(server.handshake_errors) == 3
