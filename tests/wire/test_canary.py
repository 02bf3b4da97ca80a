"""A secret goes into everything that a caller may give, every failure is provoked, and it never comes out."""

from __future__ import annotations

import base64
import contextlib
import copy
import gc
import json
import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth
from servers import (
    FaultServer,
    Step,
    TlsMaterial,
    drip_head,
    forward_proxy,
    garbage,
    hang_up,
    huge_body,
    json_reply,
    redirect,
    refused_port,
    reply,
    reset,
    slow_dns,
    stall,
    truncated,
    unanswered_port,
)

import sleepwalker.logging
from sleepwalker import ANONYMOUS, Connection, ConnectionManager, HTTPError, Policy, SleepwalkerException, status
from sleepwalker.cli import main
from sleepwalker.events import Event
from tests.both_drivers import threads_only
from tests.naming import steady
from tests.ranges import whole
from tests.wire.watching import Watch, watching

pytestmark = pytest.mark.both_drivers

CANARY = "canary7d1f"
PACKAGE = str(Path(sleepwalker.__file__).parent)
#: As it stands, and as Basic and Digest credentials, URLs and JSON would carry it.
SHAPES = [
    CANARY,
    base64.b64encode(f"{CANARY}:{CANARY}".encode()).decode(),
    base64.b64encode(CANARY.encode()).decode()[:12],
]

FAST = Policy(
    timeout={"connect": 0.2, "read": 0.2, "attempt": 0.3, "total": 1.0},
    retry={"attempts": 2, "wait_initial": 0.01, "wait_max": 0.02},
    breaker={"consecutive": 1000},
)
#: For what is asserted of an answer: a machine that stands still for a second must not end the call before it.
PATIENT = FAST.replace(timeout={"connect": 10, "read": 10, "attempt": 10, "total": 30})


class Everything:
    """All that comes out: logs, events, warnings, exceptions, reprs, health, its page, spans, metrics."""

    def __init__(self, watch: Watch) -> None:
        self.parts: list[str] = []
        self.watch = watch

    def __call__(self, event: Event, level: str | None = None, /) -> None:
        self.add("event", repr(event), json.dumps(event.fields(), default=str))

    def add(self, source: str, *texts: str) -> None:
        self.parts += [f"[{source}] {text}" for text in texts]

    def add_error(self, error: BaseException) -> None:
        seen: set[int] = set()
        link: BaseException | None = error
        while link is not None and id(link) not in seen:
            seen.add(id(link))
            self.add("error", str(link), repr(link), ascii(link.args), "".join(traceback.format_exception_only(link)))
            self.add("vars", repr(getattr(link, "__dict__", None)))
            for frame in traceback.TracebackException.from_exception(link, capture_locals=True).stack:
                if frame.filename.startswith(PACKAGE):
                    self.add("locals", f"{frame.name}: {frame.locals}")
            link = link.__cause__ or link.__context__
        # Source lines are this file's own: they hold the word CANARY, never its value.
        self.add("traceback", "".join(traceback.format_exception(error)))
        for attempt in getattr(error, "attempts", ()):
            self.add("attempt", repr(attempt), json.dumps(attempt.to_dict()))

    def add_connection(self, conn: Connection) -> None:
        health = conn.health
        self.add("repr", repr(conn), str(conn), repr(health), json.dumps(health.to_dict()), repr(conn.policy))
        self.add_page(conn)

    def add_page(self, source: Connection | ConnectionManager) -> None:
        page = status.app(source)
        for path in ("/", "/hosts.json"):
            said: list[Any] = []
            body = page({"REQUEST_METHOD": "GET", "PATH_INFO": path}, lambda *words, said=said: said.append(words))
            self.add("page", f"{said} {b''.join(body).decode()}")

    def leaks(self) -> list[str]:
        return [part for part in self.parts if any(shape in part for shape in SHAPES)]


@pytest.fixture
def watch() -> Iterator[Watch]:
    with watching() as made:
        yield made


@pytest.fixture
def out(tmp_path: Path, watch: Watch) -> Iterator[Everything]:
    gc.freeze()  # what was there before need not be looked through at the end
    everything = Everything(watch)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            everything.add(f"log {record.name}", record.getMessage(), repr(record.__dict__))

    root, handler = logging.getLogger(), Handler(level=1)
    level = root.level
    root.setLevel(1)
    root.addHandler(handler)
    for name in ("urllib3", "requests", "sleepwalker", "http"):
        logging.getLogger(name).setLevel(1)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield everything
            gc.collect()
            for warning in caught:
                everything.add("warning", str(warning.message), repr(warning))
        for source, text in watch.texts():
            everything.add(source, text)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for name in ("urllib3", "requests", "sleepwalker", "http"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert everything.parts, "something was written at all"
    assert everything.leaks() == []


def connect(out: Everything, url: str, auth: Any = (CANARY, CANARY), **options: Any) -> Connection:
    """A connection with the secret in all that it is given."""
    options.setdefault("policy", FAST)
    conn = Connection(url, auth, headers={"X-Api-Key": CANARY, "X-Bytes": CANARY.encode()}, observer=out, **options)
    conn.conn.cookies.set("session", CANARY)
    out.watch.collector.add(conn)
    return conn


def call(
    out: Everything, conn: Connection, method: str = "PUT", uri: str = f"/path?token={CANARY}", **options: Any
) -> None:
    """One call with the secret in all that it is given; whatever it raises is looked at."""
    arguments: dict[str, Any] = {
        "params": {"q": CANARY},
        "data": json.dumps({"password": CANARY}),
        "headers": {"X-Call": CANARY, "Cookie": f"a={CANARY}"},
        **options,
    }
    try:
        response = conn.request(method, uri, **arguments)
        with contextlib.suppress(Exception):
            out.add("response", repr(response))
        if arguments.get("stream"):
            _ = response.content
    except Exception as error:
        out.add_error(error)
        _pickled(out, error)
    out.add_connection(conn)


def _pickled(out: Everything, error: Exception) -> None:
    if not isinstance(error, SleepwalkerException):
        return  # of the caller's own code
    whole = pickle.dumps(error)
    out.add("pickle", whole.decode("latin-1"))
    for twin in (pickle.loads(whole), copy.copy(error), copy.deepcopy(error)):
        out.add("copy", str(twin), repr(twin), repr(vars(twin)))
        for part in (twin.response, twin.request) if isinstance(twin, requests.RequestException) else ():
            out.add("copy's part", repr(part), repr(vars(part) if part is not None else None))


FAULTS: dict[str, Step] = {
    "503": reply(503),
    "500": reply(500),
    "404": reply(404),
    "401": reply(401, b"", {"WWW-Authenticate": "Basic"}),
    "429": reply(429, b"", {"Retry-After": "100"}),
    "hang-up": hang_up(),
    "reset": reset(),
    "stall": stall(),
    "drip": drip_head(interval=0.05),
    "garbage": garbage(),
    "truncated": truncated(b"x" * 1000, 10),
    "bad-gzip": reply(200, b"x", {"Content-Encoding": "gzip"}),
    "loop": redirect("/path"),
    "redirect-elsewhere": redirect("http://127.0.0.1:9/"),
    "redirect-with-secret": redirect(f"http://user:{CANARY}@127.0.0.1:9/?{CANARY}"),
    "redirect-nowhere": redirect(f"ftp://{CANARY}/"),
    "ok": reply(200, b"ok"),
    "cookie": reply(200, b"ok", {"Set-Cookie": f"sid={CANARY}"}),
    "echo": reply(200, CANARY, {"X-Echo": CANARY}),
}


def test_what_is_exported_is_looked_at(server: FaultServer, out: Everything) -> None:
    """Were nothing exported, nothing could leak there, and all other tests would pass."""
    server.script(reply(503, CANARY))
    with connect(out, server.url, (CANARY, CANARY), policy=PATIENT) as conn:
        call(out, conn)
        seen = dict(out.watch.texts())
        server.default = reply(404)
        call(out, conn)
    assert '"attempt.failed"' in seen["span"]
    assert '"url.full"' in seen["span"]
    assert '"http.client.request.duration"' in seen["otel metric"]
    assert "'server.address': '127.0.0.1'" in seen["running span"]
    for source in ("vars", "locals", "pickle", "copy", "page", "event", "attempt"):
        assert any(part.startswith(f"[{source}]") for part in out.parts), source
    assert f'sleepwalker_attempts_total{{host="{server.url}",name="{server.url}"}} 2.0' in seen["prometheus"]


@pytest.mark.parametrize("method", [whole("GET"), "POST", whole("PUT")])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server(server: FaultServer, out: Everything, fault: str, method: str) -> None:
    server.default = FAULTS[fault]
    with connect(out, server.url) as conn:
        call(out, conn, method)
        call(out, conn, method, stream=True)
    sent = repr([(request.target, request.headers, request.body) for request in server.requests])
    assert all(shape in sent for shape in SHAPES[:2]), "the secrets did go on the wire"


def signed(request: Any) -> Any:
    request.headers["Authorization"] = f"Bearer {CANARY}"
    request.headers["X-Signature"] = CANARY
    return request


@pytest.mark.parametrize(
    "auth",
    [HTTPBasicAuth(CANARY, CANARY), HTTPDigestAuth(CANARY, CANARY), ANONYMOUS, signed],
    ids=["basic", "digest", "anonymous", "callable"],
)
def test_every_kind_of_auth(server: FaultServer, out: Everything, auth: Any) -> None:
    server.default = reply(401, b"", {"WWW-Authenticate": f'Digest realm="r", nonce="{CANARY}", qop="auth"'})
    with connect(out, server.url, auth) as conn:
        call(out, conn)


class Faulty(AuthBase):
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, request: Any) -> Any:
        request.headers["X-Token"] = self.value
        return request


@pytest.mark.parametrize("value", [f"{CANARY}\n", f"{CANARY}€", [CANARY], {CANARY: 1}, f"\r\n{CANARY}"], ids=ascii)
def test_an_auth_object_with_a_header_that_cannot_be_sent(server: FaultServer, out: Everything, value: Any) -> None:
    with connect(out, server.url, Faulty(value)) as conn:
        call(out, conn)


def test_no_connection(out: Everything) -> None:
    with refused_port() as port, connect(out, f"http://127.0.0.1:{port}") as conn:
        call(out, conn)


def test_no_answer_to_the_connect(out: Everything) -> None:
    with unanswered_port() as port, connect(out, f"http://127.0.0.1:{port}") as conn:
        call(out, conn)


def test_no_such_name(out: Everything) -> None:
    with connect(out, "https://no-such-host.invalid") as conn:
        call(out, conn)


def test_a_name_server_that_hangs(out: Everything) -> None:
    with slow_dns("slow.example"), connect(out, "https://slow.example") as conn:
        call(out, conn)


@pytest.mark.parametrize("verify", [True, False])
def test_tls(tls_server: FaultServer, out: Everything, verify: bool) -> None:
    with connect(out, tls_server.url, verify=verify) as conn:
        call(out, conn)


def test_a_handshake_with_a_server_that_speaks_no_tls(server: FaultServer, out: Everything) -> None:
    server.default = garbage(when="bytes")
    with connect(out, server.url.replace("http:", "https:"), verify=False) as conn:
        call(out, conn)


def test_a_circuit_that_is_open(server: FaultServer, out: Everything) -> None:
    server.default = reply(500)
    with connect(
        out, server.url, policy=Policy(retry=False, breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 5})
    ) as conn:
        for _ in range(4):
            call(out, conn)
        assert conn.health.breaker == "open"


def test_a_full_bulkhead_and_an_empty_budget(server: FaultServer, out: Everything) -> None:
    server.default = reply(503)
    policy = Policy(retry={"wait_initial": 0, "budget": {"min_per_second": 0, "ratio": 0.001}})
    with connect(out, server.url, policy=policy) as conn:
        call(out, conn)
        conn._record.admission.bulkhead._most = 0
        call(out, conn)


def test_a_closed_connection(server: FaultServer, out: Everything) -> None:
    conn = connect(out, server.url)
    conn.close()
    call(out, conn)


@pytest.mark.parametrize(
    "uri",
    [
        f"http://{CANARY}:{CANARY}@127.0.0.1:1/",
        f"http://other.example/{CANARY[:0]}?token={CANARY}",
        f"//{CANARY}@other.example/",
        f"/a\r\n?x={CANARY}",
        f"/a\ud800?x={CANARY}",
        f"/ok?x={CANARY}#{CANARY}",
        f"ftp://user:{CANARY}@host/",
        f"http://user:{CANARY}/slash@127.0.0.1/",
        f"\\\\{CANARY}@x",
    ],
)
def test_a_uri_that_may_not_be_sent(server: FaultServer, out: Everything, uri: str) -> None:
    with connect(out, server.url) as conn:
        call(out, conn, uri=uri)


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Call": f"{CANARY}\n"}},
        {"headers": {f"X: {CANARY}": "1"}},
        {"headers": {"X-Call": [CANARY]}},
        {"headers": [("X-Call", CANARY)]},
        {"headers": f"X-Call: {CANARY}"},
        {"params": {"q": f"{CANARY}\ud800"}},
        {"params": [CANARY]},
        {"data": object()},
        {"data": {"password": f"{CANARY}\ud800"}},
        {"data": f"{CANARY}\ud800"},
        {"data": [CANARY]},
        {"data": [1, CANARY]},
        {"data": iter([CANARY, 7])},
        {"data": None, "json": {"password": CANARY, "x": object()}},
        {"data": None, "json": {CANARY: {object()}}},
        {"data": None, "json": {"password": CANARY.encode() + b"\xff"}},
        {"data": None, "json": f"{CANARY}\ud800"},
        {"data": None, "files": {"file": (f"{CANARY}", f"{CANARY}\ud800")}},
        {"files": {"file": CANARY}},
        {"files": {"file": 7}},
    ],
    ids=lambda value: steady(value)[:50].replace(CANARY, "secret"),
)
def test_an_argument_that_cannot_be_sent(server: FaultServer, out: Everything, options: dict[str, Any]) -> None:
    with connect(out, server.url) as conn:
        call(out, conn, **options)
        out.add("reached", "the end")


def test_a_body_that_fails_while_it_is_sent(server: FaultServer, out: Everything) -> None:
    def chunks() -> Iterator[bytes]:
        yield CANARY.encode()
        raise OSError("disk")

    with connect(out, server.url) as conn:
        call(out, conn, data=chunks())


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    "body",
    [f"{CANARY}", f'{{"a": "{CANARY}', "[" * 100_000 + CANARY, f'["{CANARY}"] x', CANARY.encode("utf-16")],
    ids=lambda b: ascii(b)[:20],
)
def test_an_answer_that_is_not_json(server: FaultServer, out: Everything, body: Any) -> None:
    server.default = reply(200, body)
    with connect(out, server.url) as conn:
        try:
            conn.json_request("POST", f"/x?token={CANARY}", {"password": CANARY}, {"q": CANARY}, {"X-Call": CANARY})
        except Exception as error:
            out.add_error(error)
        else:
            pytest.fail("it was no JSON")
        out.add_connection(conn)


def test_an_answer_that_is_too_long(server: FaultServer, out: Everything) -> None:
    server.default = huge_body(1_000_000)
    with connect(out, server.url, max_body=1000) as conn:
        try:
            conn.json_request("POST", f"/x?token={CANARY}", {"password": CANARY})
        except Exception as error:
            out.add_error(error)
        else:
            pytest.fail("it was too long")


def test_the_text_of_an_http_error_is_the_servers_own_and_stays_out_of_the_logs(
    server: FaultServer, out: Everything
) -> None:
    """The one exception: what the server says of an error is for the caller, so it is in the error's text."""
    server.default = json_reply({"error_text": f"no such token: {CANARY}"}, 400)
    with connect(out, server.url, policy=PATIENT) as conn:
        with pytest.raises(HTTPError, match=CANARY):
            conn.get("/")
        out.add_connection(conn)
    assert any(part.startswith("[event]") for part in out.parts)


# -- proxies, netrc, sessions --------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("secure", [True, False])
def test_a_proxy_with_a_password(
    server: FaultServer, tls_server: FaultServer, tls: TlsMaterial, out: Everything, accepted: bool, secure: bool
) -> None:
    target = tls_server if secure else server
    already = len(target.requests)
    with forward_proxy((CANARY, CANARY if accepted else "other")) as proxy:
        url = proxy.url.replace("http://", f"http://{CANARY}:{CANARY}@")
        options: dict[str, Any] = {"proxies": {"http": url, "https": url}, "policy": PATIENT}
        with connect(out, target.url, ANONYMOUS, verify=str(tls.ca), **options) as conn:
            call(out, conn)
        assert proxy.requests
    assert (len(target.requests) > already) == accepted
    for request in target.requests[already:]:
        assert request.header("Proxy-Authorization") is None


@pytest.mark.parametrize(
    "proxy", [f"http://{CANARY}:{CANARY}@127.0.0.1:{{port}}", f"http://{CANARY}@no-such-proxy.invalid:1"]
)
def test_a_proxy_that_cannot_be_reached(out: Everything, proxy: str) -> None:
    with refused_port() as port:
        proxies = {"http": proxy.format(port=port)}
        with connect(out, "http://127.0.0.1:1", ANONYMOUS, proxies=proxies) as conn:
            call(out, conn)


@pytest.mark.parametrize(
    "proxy", [f"http://u:{CANARY}@", f"http://u:{CANARY}@h:99999", f"ftp://u:{CANARY}@h", f"u:{CANARY}@h:x"]
)
def test_a_proxy_that_is_none(out: Everything, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out.add("begun", "")
    for proxies in ({"https": proxy}, None):
        if proxies is None:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
        try:
            Connection("https://host.example", ANONYMOUS, proxies=proxies)
        except ValueError as error:
            out.add_error(error)
        else:
            pytest.fail("it was no proxy")


@pytest.mark.parametrize(
    "text",
    [
        f"machine 127.0.0.1 login {CANARY} password {CANARY}\n",
        f"machine 127.0.0.1 login {CANARY} password {CANARY} {CANARY}\n",
        f"machine other login {CANARY} password {CANARY}\n",
        f"default login {CANARY} password {CANARY}\n",
        f'machine 127.0.0.1 login {CANARY} password "{CANARY}\n',
        f"{CANARY}\n",
    ],
    ids=["entry", "three-words", "other", "default", "quote", "word"],
)
def test_netrc(
    server: FaultServer, out: Everything, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = tmp_path / "netrc"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    server.default = reply(503)
    with connect(out, server.url, None) as conn:
        call(out, conn)


@threads_only("a session of requests")
def test_a_session_with_secrets_of_its_own(server: FaultServer, out: Everything) -> None:
    session = requests.Session()
    session.headers["X-Session"] = f"{CANARY}\n"
    session.params = {"token": CANARY}
    session.auth = (CANARY, CANARY)
    with connect(out, server.url, None, session=session) as conn:
        call(out, conn)
        session.headers["X-Session"] = CANARY
        server.default = reply(503)
        call(out, conn)


def test_a_manager(server: FaultServer, out: Everything) -> None:
    server.default = hang_up()
    with ConnectionManager(policy=FAST, observer=out) as manager:
        conn = connect(out, server.url)
        manager.add(server.url, (CANARY, CANARY), conn)
        call(out, conn)
        for host in (
            f"http://{CANARY}:{CANARY}@127.0.0.1/",
            f"http://127.0.0.1/?{CANARY}",
            f"{CANARY}:{CANARY}@127.0.0.1",
        ):
            with pytest.raises(SleepwalkerException) as caught:
                manager.find(host, (CANARY, CANARY))
            out.add_error(caught.value)
        assert list(manager.health()) == [server.url]
        out.add_page(manager)
        assert server.url in out.parts[-1]
        out.add("repr", repr(manager), repr(manager.health()))


def test_a_constructor_that_fails(out: Everything, tmp_path: Path) -> None:
    out.add("begun", "")
    wrong: list[Callable[[], Any]] = [
        lambda: Connection(f"https://{CANARY}:{CANARY}@host"),
        lambda: Connection(f"https://host/?token={CANARY}"),
        lambda: Connection("http://host", (CANARY, CANARY)),
        lambda: Connection("https://host", (CANARY, CANARY, CANARY)),
        lambda: Connection("https://host", CANARY),
        lambda: Connection("https://host", (CANARY, [CANARY])),
        lambda: Connection("https://host", headers={"X": f"{CANARY}\n"}),
        lambda: Connection("https://host", session=CANARY),  # type: ignore[arg-type]
        lambda: Connection("https://host", proxies=CANARY),  # type: ignore[arg-type]
        lambda: Connection("http://host", headers={"Authorization": f"Basic {CANARY}"}),
        lambda: Connection("https://host", timeout=CANARY),  # type: ignore[arg-type]
        lambda: Connection("https://host", None, CANARY),
        lambda: Connection("https://host", max_body=CANARY),  # type: ignore[arg-type]
        lambda: Connection("https://host", observer=CANARY),  # type: ignore[arg-type]
    ]
    for make in wrong:
        with pytest.raises((ValueError, TypeError)) as caught:
            make()
        out.add_error(caught.value)


def test_a_log_file_and_what_is_made_of_it(
    server: FaultServer, out: Everything, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "log.jsonl", tmp_path / "report.html"
    server.default = reply(503)
    sleepwalker.logging.configure(path, "debug")
    try:
        with connect(out, server.url) as conn:
            call(out, conn)
    finally:
        sleepwalker.logging.reset()
    assert path.stat().st_size > 0
    out.add("file", path.read_text())
    for arguments in ([], ["--json"], ["--html", str(report)], ["--sql", "SELECT * FROM events", "--json"]):
        assert main(["inspect", str(path), *arguments]) in (0, 3)
    said = capsys.readouterr()
    assert server.url in said.out
    out.add("inspect", said.out, said.err, report.read_text())


def key_of(tls: TlsMaterial, folder: Path) -> tuple[str, str]:
    """A client's certificate and key, with the secret in their paths."""
    folder = folder / CANARY
    folder.mkdir()
    paths = (folder / "client.pem", folder / "client.key")
    for path, source in zip(paths, (tls.client.cert, tls.client.key), strict=True):
        path.write_bytes(source.read_bytes())
    return str(paths[0]), str(paths[1])


@threads_only("a session of requests")
@pytest.mark.parametrize("fault", ["503", "reset", "redirect-elsewhere"])
def test_where_a_client_key_is(tls: TlsMaterial, out: Everything, tmp_path: Path, fault: str) -> None:
    """It goes into no log, event or span: their readers need not learn where the keys are."""
    cert = key_of(tls, tmp_path)
    with FaultServer(tls=tls.server_context(client_ca=True), default=FAULTS[fault]) as server:
        with connect(out, server.url, verify=str(tls.ca), cert=cert, policy=PATIENT.replace(retry=False)) as conn:
            call(out, conn)
        assert server.requests
        Path(cert[1]).unlink()  # the connection has it
        session = requests.Session()
        session.cert = cert
        with pytest.raises(ValueError, match=CANARY) as caught:  # to its caller alone, who has to find the file
            Connection(server.url, ANONYMOUS, session=session)
        assert "cert: the key" in str(caught.value)
        with connect(out, server.url, verify=str(tls.ca)) as conn:
            call(out, conn)


def test_a_token_that_is_given_as_a_header(server: FaultServer, out: Everything) -> None:
    server.default = reply(403)
    with connect(out, server.url, ANONYMOUS) as conn:
        conn.add_headers({"Authorization": f"Bearer {CANARY}"})
        call(out, conn)
        call(out, conn, headers={"Authorization": f"Basic {SHAPES[1]}", "Proxy-Authorization": CANARY})
    with connect(out, "http://host.example", ANONYMOUS) as conn:
        for headers in ({"Authorization": f"Basic {SHAPES[1]}"}, {"Cookie": f"a={CANARY}\0"}):
            call(out, conn, headers=headers)


def test_the_net_catches_a_leak() -> None:
    """The test that looks for leaks does see one."""
    out = Everything(Watch())
    out.add_error(ValueError(f"token={CANARY}"))
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError("clean") from error
    except ValueError as error:
        out.add_error(error)
    out.add("header", "Basic " + SHAPES[1])
    assert len(out.leaks()) >= 4
    before = len(out.leaks())
    error = SleepwalkerException()
    error.kept = CANARY  # type: ignore[attr-defined]
    out.add_error(error)
    assert len(out.leaks()) == before + 1
