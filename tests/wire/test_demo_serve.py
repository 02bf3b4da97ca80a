"""`sleepwalker demo --serve`: what it answers, what goes wrong on purpose, and how it begins and ends."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sleepwalker import ANONYMOUS, Connection, ReadError, links
from sleepwalker.cli import main
from sleepwalker.cli.demo.serve import serving
from sleepwalker.cli.demo.serve.command import introduction
from sleepwalker.cli.demo.serve.http import BODY_LIMIT, HEAD_LIMIT
from sleepwalker.cli.demo.serve.routes import ROUTES, table
from tests.terminal import Screen

pytestmark = pytest.mark.once

_SERVE = [sys.executable, "-m", "sleepwalker", "demo", "--serve"]


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """The URL of a server of all tests, for what leaves no trace."""
    with serving() as [url]:
        yield url


@pytest.fixture(scope="module")
def plain() -> Iterator[requests.Session]:
    """Plain requests, which sees what comes."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def own() -> Iterator[str]:
    """The URL of a server of the test's own, for what it remembers."""
    with serving() as [url]:
        yield url


def _raw(url: str, request: bytes, *, timeout: float = 10.0) -> bytes:
    """All that comes back for these bytes, to the end of the connection."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


# -- the request comes back ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/anything", "/orders/7", "/get", "/delay/0"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_request_comes_back_from_paths_that_are_not_known(
    shared: str, plain: requests.Session, method: str, path: str
) -> None:
    headers = {"X-Own": "é", "Authorization": "Basic YTpi"}
    said = plain.request(method, f"{shared}{path}?a=1&b=2&b=3&c=", json={"x": [1]}, headers=headers).json()
    assert (said["method"], said["url"]) == (method, f"{shared}{path}?a=1&b=2&b=3&c=")
    assert said["args"] == {"a": "1", "b": ["2", "3"], "c": ""}
    assert (said["json"], said["data"], said["form"], said["files"]) == ({"x": [1]}, '{"x": [1]}', {}, {})
    assert (said["headers"]["X-Own"], said["headers"]["Authorization"]) == ("é", "Basic YTpi")


def test_forms_files_and_bytes_come_back_apart(shared: str, plain: requests.Session) -> None:
    said = plain.post(f"{shared}/post", data={"a": "1", "b": ["2", "3"]}).json()
    assert (said["form"], said["data"], said["json"]) == ({"a": "1", "b": ["2", "3"]}, "", None)
    said = plain.post(f"{shared}/post", data={"a": "1"}, files={"file": ("name.txt", b"content")}).json()
    assert (said["form"], said["files"]) == ({"a": "1"}, {"file": "content"})
    said = plain.post(f"{shared}/post", data=b"\xff\x00").json()
    assert said["data"] == "data:application/octet-stream;base64,/wA="
    said = plain.post(f"{shared}/post", data=iter([b"in ", b"chunks"])).json()
    assert (said["data"], said["headers"]["Transfer-Encoding"]) == ("in chunks", "chunked")


def test_a_browser_is_shown_the_table(shared: str, plain: requests.Session) -> None:
    assert "/flaky " in plain.get(shared, headers={"Accept": "text/html,*/*"}).text
    assert plain.get(shared).json()["url"] == f"{shared}/"


def test_compressed_answers_are_what_their_header_says(shared: str, plain: requests.Session) -> None:
    answer = plain.get(f"{shared}/gzip", stream=True)
    assert json.loads(gzip.decompress(answer.raw.read()))["gzipped"] is True
    assert plain.get(f"{shared}/deflate").json()["deflated"] is True


# -- sound answers -------------------------------------------------------------------------------


def test_documents_and_parts_of_the_request(shared: str, plain: requests.Session) -> None:
    assert plain.get(f"{shared}/json").json()["slideshow"]["slides"]
    assert plain.get(f"{shared}/html").headers["Content-Type"] == "text/html; charset=utf-8"
    assert plain.get(f"{shared}/xml").text.startswith("<?xml")
    assert plain.get(f"{shared}/headers", headers={"X-A": "1"}).json()["headers"]["X-A"] == "1"
    assert plain.get(f"{shared}/ip").json() == {"origin": "127.0.0.1"}
    assert plain.get(f"{shared}/user-agent", headers={"User-Agent": "me"}).json() == {"user-agent": "me"}
    assert plain.get(f"{shared}/uuid").json() != plain.get(f"{shared}/uuid").json()
    assert len(plain.get(f"{shared}/stream/3").text.splitlines()) == 3
    answers = [plain.get(f"{shared}/bytes/1000?seed=1").content for _ in range(2)]
    assert answers[0] == answers[1]
    assert [len(answers[0]), len(plain.get(f"{shared}/bytes/1000").content)] == [1000, 1000]


@pytest.mark.parametrize("status", [200, 204, 304, 404, 418, 451, 503, 599])
def test_a_status_is_had_by_its_number(shared: str, plain: requests.Session, status: int) -> None:
    assert plain.get(f"{shared}/status/{status}").status_code == status


def test_of_several_statuses_chance_takes_one(shared: str, plain: requests.Session) -> None:
    assert {plain.get(f"{shared}/status/200,503").status_code for _ in range(40)} == {200, 503}  # else 1 in 10 ** 11


def test_redirects_lead_to_the_end_and_cookies_stay(shared: str, plain: requests.Session) -> None:
    assert [len(plain.get(f"{shared}/redirect/3").history), plain.get(f"{shared}/redirect/3").url] == [
        3, f"{shared}/get"
    ]  # fmt: skip
    moved = plain.get(f"{shared}/redirect-to?url=/orders&status_code=307", allow_redirects=False)
    assert (moved.status_code, moved.headers["Location"]) == (307, "/orders")
    assert plain.get(f"{shared}/cookies/set?a=1&b=2").json() == {"cookies": {"a": "1", "b": "2"}}
    assert plain.get(f"{shared}/cookies/delete?a=&b=").json() == {"cookies": {}}


def test_the_query_becomes_headers_but_never_breaks_the_response(shared: str, plain: requests.Session) -> None:
    answer = plain.get(f"{shared}/response-headers", params={"Link": "</a>; rel=next", "X-A": "1"})
    assert (answer.headers["Link"], answer.json()["X-A"]) == ("</a>; rel=next", "1")
    for query in ("X-A=1%0d%0aX-B:2", "Content-Length=3", "a%20b=1"):
        assert plain.get(f"{shared}/response-headers?{query}").status_code == 400
    assert plain.get(f"{shared}/redirect-to?url=/%0d%0aX-B:2").status_code == 400


def test_credentials_are_asked_for(shared: str, plain: requests.Session) -> None:
    for path, refused in (("basic-auth", 401), ("hidden-basic-auth", 404)):
        url = f"{shared}/{path}/anna/secret"
        assert plain.get(url, auth=("anna", "secret")).json() == {"authenticated": True, "user": "anna"}
        assert [plain.get(url).status_code, plain.get(url, auth=("anna", "x")).status_code] == [refused] * 2
    assert plain.get(f"{shared}/basic-auth/anna/secret").headers["WWW-Authenticate"].startswith("Basic")
    assert plain.get(f"{shared}/bearer").status_code == 401
    assert plain.get(f"{shared}/bearer", headers={"Authorization": "Bearer t"}).json()["token"] == "t"


def test_a_head_has_no_body_and_a_wrong_method_is_told_the_right_ones(shared: str, plain: requests.Session) -> None:
    answer = plain.head(f"{shared}/json")
    assert (answer.content, int(answer.headers["Content-Length"]) > 100) == (b"", True)
    assert plain.get(f"{shared}/json").status_code == 200  # over the same connection
    answer = plain.post(f"{shared}/json")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "HEAD, GET")


@pytest.mark.parametrize("path", ["/status/abc", "/status/99", "/delay/61", "/bytes/-1", "/redirect/0", "/flaky/2"])
def test_a_number_out_of_bounds_is_answered_with_the_bounds(shared: str, plain: requests.Session, path: str) -> None:
    answer = plain.get(f"{shared}{path}")
    assert answer.status_code == 400
    assert re.search(r"must be a number from \d+ to \d+", answer.json()["error_text"])


# -- faults --------------------------------------------------------------------------------------


def test_a_flaky_path_fails_for_its_share(shared: str, plain: requests.Session) -> None:
    statuses = [plain.get(f"{shared}/flaky").status_code for _ in range(100)]
    assert set(statuses) == {200, 503}
    assert 5 < statuses.count(503) < 60  # 30 by chance; beyond these, one run in 10 ** 9
    assert {plain.get(f"{shared}/flaky/1").status_code for _ in range(5)} == {503}


def test_retries_get_over_a_flaky_path(shared: str) -> None:
    with Connection(shared, ANONYMOUS) as conn:
        assert conn.get("/flaky/0.1").status_code == 200


def test_with_a_seed_the_same_requests_fail(plain: requests.Session) -> None:
    def statuses(seed: int | None) -> list[int]:
        with serving(seed=seed, fail=0.5) as [url]:
            return [plain.get(f"{url}/orders").status_code for _ in range(40)]

    assert statuses(7) == statuses(7)
    assert statuses(7) != statuses(8)
    assert statuses(None) != statuses(None)


def test_a_busy_server_asks_to_be_left_alone_and_is_there_then(own: str, plain: requests.Session) -> None:
    answer = plain.get(f"{own}/busy")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert plain.get(f"{own}/busy").status_code == 503
    time.sleep(2.05)
    assert plain.get(f"{own}/busy").status_code == 200


def test_beyond_its_limit_a_path_answers_429_and_says_how_long(own: str, plain: requests.Session) -> None:
    answers = [plain.get(f"{own}/limited") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[0].headers["RateLimit-Policy"] == '"demo";q=5;w=5'
    assert re.fullmatch(r'"demo";r=0;t=[345]', answers[5].headers["RateLimit"])
    assert answers[5].headers["Retry-After"] == answers[5].headers["RateLimit"][-1]


def test_a_path_hangs_until_the_client_hangs_up(own: str, plain: requests.Session) -> None:
    with pytest.raises(requests.ReadTimeout):
        plain.get(f"{own}/hang", timeout=0.2)
    _eventually(lambda: _seen(own, plain)[-1]["note"] == "client hung up")
    assert _seen(own, plain) == [{"method": "GET", "path": "/hang", "status": None, "note": "client hung up"}]


def test_a_body_drips_in_the_time_that_was_asked_for(shared: str, plain: requests.Session) -> None:
    begin = time.monotonic()
    assert plain.get(f"{shared}/drip?numbytes=5&duration=0.5&code=201").content == b"*" * 5
    assert time.monotonic() - begin >= 0.45


def test_a_body_is_cut_and_a_connection_reset(shared: str) -> None:
    with Connection(shared, ANONYMOUS, policy="off") as conn:
        with pytest.raises(ReadError, match="broke off"):
            conn.get("/cut")
        with pytest.raises(ReadError, match="reset"):
            conn.get("/reset")


@pytest.mark.parametrize("path", ["/json", "/stream/3", "/orders", "/status/200"])
def test_the_next_requests_get_what_was_asked_for_whatever_their_path(
    own: str, plain: requests.Session, path: str
) -> None:
    assert plain.post(f"{own}/next", json=[503, 200, "cut", "reset", "drip", "hang"]).status_code == 200
    assert [plain.get(own + path).status_code for _ in range(2)] == [503, 200]
    for error in (requests.exceptions.ChunkedEncodingError, requests.ConnectionError):
        with pytest.raises(error):
            plain.get(own + path)
    for _ in range(2):
        with contextlib.suppress(requests.Timeout, requests.ConnectionError):  # an empty body drips in no time
            plain.get(own + path, timeout=0.1)
    assert plain.get(own + path).status_code == 200
    seen = [(seen["status"], seen["note"]) for seen in _seen(own, plain)]
    assert seen[:4] == [(503, "set by /next"), (200, ""), (200, "cut off"), (None, "reset")]
    assert [status for status, _ in seen[4:]] == [200, None, 200]  # a head and no end; nothing; all


@pytest.mark.parametrize("body", ["no list", "{}", "[302]", '["fire"]', "[true]", "[[]]", f"[{'503,' * 1000}503]"])
def test_what_cannot_be_next_is_answered_with_what_can(shared: str, plain: requests.Session, body: str) -> None:
    answer = plain.post(f"{shared}/next", data=body)
    assert answer.status_code == 400
    assert '200, a status from 400 to 599, "hang", "drip", "cut", "reset"' in answer.json()["error_text"]


def test_a_share_of_all_requests_can_fail_and_what_steers_the_server_does_not(plain: requests.Session) -> None:
    with serving(fail=1.0) as [url]:
        assert {plain.get(url + path).status_code for path in ("/json", "/orders", "/file")} == {503}
        assert plain.post(f"{url}/next", json=[]).status_code == 200
        assert [seen["note"] for seen in _seen(url, plain)] == ["by chance, --fail"] * 3


def test_an_address_goes_and_comes_back(plain: requests.Session) -> None:
    with serving(2) as [first, second]:
        assert plain.post(f"{first}/hosts/1/down").json() == {"url": first, "up": False}
        _eventually(lambda: not _listens(first))
        assert plain.get(second).ok
        for _ in range(2):  # a second time changes nothing
            assert plain.post(f"{second}/hosts/1/up").json() == {"url": first, "up": True}
            assert plain.get(first).ok
        assert plain.post(f"{second}/hosts/1/down").json() == {"url": first, "up": False}
        assert not _listens(first)
        assert plain.post(f"{second}/hosts/3/up").json()["error_text"] == "there are addresses 1 to 2"


def _listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


# -- downloads and what lasts --------------------------------------------------------------------


def test_a_file_breaks_off_and_can_be_gone_on_with(shared: str, plain: requests.Session) -> None:
    url = f"{shared}/file?size=200000&cut=70000"
    whole = plain.get(f"{shared}/file?size=200000&cut=0")
    assert (whole.status_code, len(whole.content)) == (200, 200_000)
    got, tag, gets = b"", whole.headers["ETag"], 0
    while len(got) < 200_000:
        answer = plain.get(url, headers={"Range": f"bytes={len(got)}-", "If-Range": tag}, stream=True)
        assert (answer.status_code, answer.headers["Content-Range"]) == (206, f"bytes {len(got)}-199999/200000")
        with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
            for part in answer.iter_content(1000):
                got += part
        gets += 1
    assert hashlib.sha256(got).digest() == hashlib.sha256(whole.content).digest()
    assert gets == 3


def test_ranges_follow_the_standard(shared: str, plain: requests.Session) -> None:
    url = f"{shared}/range/100000"
    content = plain.get(url).content

    def part(value: str, **headers: str) -> tuple[int, bytes]:
        answer = plain.get(url, headers={"Range": value, **headers})
        return answer.status_code, answer.content

    assert part("bytes=10-19") == (206, content[10:20])
    assert part("bytes=65530-65545") == (206, content[65530:65546])
    assert part("bytes=-5") == (206, content[-5:])
    assert part("bytes=99990-200000") == (206, content[99990:])
    assert part("bytes=0-0,5-5") == part("lines=1-2") == part("bytes=-") == (200, content)
    assert part("bytes=10-19", **{"If-Range": '"another"'}) == (200, content)
    assert [part("bytes=100000-")[0], part("bytes=20-10")[0], part("bytes=-0")[0]] == [416] * 3
    assert plain.get(url, headers={"If-None-Match": '"range-100000"'}).status_code == 304


def test_pages_link_to_each_other(shared: str) -> None:
    with Connection(shared, ANONYMOUS) as conn:
        pages = list(links.pages(conn.get("/pages")))
    assert [item["id"] for page in pages for item in page.json()["items"]] == list(range(1, 10))


def test_what_was_put_is_what_get_returns_there(own: str, plain: requests.Session) -> None:
    kept = {"id": 7, "item": "lamp"}
    assert plain.put(f"{own}/keep/api/orders/7", json=kept).json() == {"url": f"{own}/api/orders/7"}
    assert plain.get(f"{own}/api/orders/7").json() == kept
    assert plain.post(f"{own}/api/orders/7").json()["method"] == "POST"
    assert plain.put(f"{own}/keep/a", data="no JSON").status_code == 400
    assert plain.put(f"{own}/keep/a", data="1" * 65_537).status_code == 400  # a number with too many digits
    assert plain.put(f"{own}/keep/a", json="1" * 65_537).status_code == 413


def test_an_id_is_made_once_per_key(own: str, plain: requests.Session) -> None:
    def made(**headers: str) -> Any:
        return plain.post(f"{own}/ids", headers=headers).json()["id"]

    key = {"Idempotency-Key": "k"}
    assert [made(), made(), made(**key), made(**key), made()] == [1, 2, 3, 3, 4]


def test_a_call_whose_answer_was_lost_is_not_made_twice(own: str, plain: requests.Session) -> None:
    plain.post(f"{own}/next", json=["reset"])
    with Connection(own, ANONYMOUS) as conn:
        answer = conn.post("/ids", headers={"Idempotency-Key": "k"})
    assert (answer.json(), len(answer.attempts)) == ({"id": 1, "repeated": True}, 2)


def test_a_token_is_good_until_it_expires(own: str, plain: requests.Session) -> None:
    def protected(token: str) -> int:
        return plain.get(f"{own}/protected", headers={"Authorization": f"Bearer {token}"}).status_code

    grant = {"grant_type": "client_credentials", "client_id": "shop", "client_secret": "s"}
    token = plain.post(f"{own}/token", data=grant).json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 60)
    brief = plain.post(f"{own}/token?expires_in=0.2", data={"grant_type": "client_credentials"}, auth=("a", "b"))
    assert protected(brief.json()["access_token"]) == 200
    time.sleep(0.25)
    assert [protected(brief.json()["access_token"]), protected(token["access_token"]), protected("x")] == [
        401,
        200,
        401,
    ]
    refused = plain.post(f"{own}/token", data={**grant, "client_secret": "wrong"})
    assert (refused.status_code, refused.json()) == (401, {"error": "invalid_client"})
    assert plain.post(f"{own}/token", data={}).json() == {"error": "invalid_request"}


# -- bounds and discretion -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * HEAD_LIMIT + b" HTTP/1.1\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999999999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
    ],
)
def test_what_is_too_large_or_no_request_is_refused_and_the_connection_ends(
    shared: str, request_: bytes, status: int
) -> None:
    answer = _raw(shared, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close" in answer


def test_a_body_is_taken_after_a_continue(shared: str) -> None:
    head = b"POST /x HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    answer = _raw(shared, head + b"hi")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert b'"data": "hi"' in answer


def test_a_client_of_http_1_0_gets_an_end(shared: str) -> None:
    assert _raw(shared, b"GET /ip HTTP/1.0\r\n\r\n").endswith(b'"origin": "127.0.0.1"\n}\n')


def test_the_server_remembers_no_secret(own: str, plain: requests.Session) -> None:
    plain.get(f"{own}/basic-auth/anna/hunter2?token=hunter2", auth=("anna", "hunter2"))
    plain.post(f"{own}/login?key=hunter2", data="hunter2", headers={"Authorization": "hunter2", "Cookie": "a=hunter2"})
    text = plain.get(f"{own}/seen").text
    assert "hunter2" not in text
    assert [seen["path"] for seen in json.loads(text)] == ["/basic-auth/...", "/login"]


def test_it_listens_on_loopback_alone(shared: str) -> None:
    port = int(shared.rpartition(":")[2])
    listening = [
        line.split()[1] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]  # fmt: skip
    assert listening == [f"0100007F:{port:04X}"]


# -- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80])
def test_the_table_has_every_path_and_fits(columns: int) -> None:
    text = table(columns)
    assert max(map(len, text.splitlines())) <= columns
    shown = [row.shown for rows in ROUTES.values() for row in rows if row.about]
    assert len(shown) > 20
    assert [path for path in shown if f"\n  {path} " not in text] == []
    named = [row.shown.partition("{")[0] for rows in ROUTES.values() for row in rows]
    hidden = [path for path in named if path not in text]
    assert hidden == ["/hidden-basic-auth/"]  # the same as the one above it


def test_what_is_shown_to_be_copied_runs(shared: str) -> None:
    lines = introduction([shared], 80).partition("In Python:\n")[2].partition("In another")[0]
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(line[2:] for line in lines.splitlines())], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "") or "HTTPServiceUnavailable" in run.stderr  # 27 of 1000 times


@contextlib.contextmanager
def _on_a_terminal(*options: str) -> Iterator[tuple[Screen, int, str]]:
    """The command on a terminal of 80 columns: its screen, its pid, and its URL."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["COLUMNS"] = "80"
        os.execv(sys.executable, [*_SERVE, "--port", "0", *options])
    screen = Screen(terminal)
    try:
        screen.until(b"Ctrl-C ends it.")
        [url] = re.findall(r"Connection\(\"(http://127.0.0.1:\d+)\"", screen.seen.decode())
        yield screen, child, url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(terminal)


def test_on_a_terminal_each_request_is_a_line_and_ctrl_c_ends_it_well(plain: requests.Session) -> None:
    with _on_a_terminal() as (screen, child, url):
        plain.get(f"{url}/orders/7?key=hunter2")
        plain.post(f"{url}/next", json=[503])
        plain.get(f"{url}/json")
        screen.until(b"200 POST   /next\r\n503 GET    /json  (set by /next)\r\n")
        with pytest.raises(requests.ReadTimeout):
            plain.get(f"{url}/hang", timeout=0.1)
        screen.until(b"  - GET    /hang  (client hung up)\r\n")
        os.write(screen._terminal, b"\x03")
        screen.until(b"ended\r\n")
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        text = screen.seen.decode()
    assert "200 GET    /orders/7\r\n" in text
    assert "hunter2" not in text
    assert "Traceback" not in text
    # The command to be copied is as long as the path of this checkout.
    assert max(len(line) for line in text.splitlines() if not line.endswith("/flaky")) <= 80


def test_ctrl_c_ends_it_while_requests_hang_and_a_quiet_one_shows_none(plain: requests.Session) -> None:
    with _on_a_terminal("--quiet") as (screen, child, url), socket.socket() as waits:
        plain.get(f"{url}/json")
        waits.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        waits.sendall(b"GET /hang HTTP/1.1\r\n\r\n")
        _eventually(lambda: [seen["path"] for seen in _seen(url, plain)] == ["/json", "/hang"])
        os.kill(child, signal.SIGINT)
        _, status = os.waitpid(child, 0)
        screen.to_the_end()
        assert os.waitstatus_to_exitcode(status) == 0
        assert screen.seen.decode().partition("Ctrl-C ends it.")[2].split() == ["ended"]


def test_a_port_that_is_taken_is_told_with_the_way_out(shared: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = int(shared.rpartition(":")[2])
    assert main(["demo", "--serve", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"sleepwalker: port {port} of 127.0.0.1 cannot be used: address already in use. Is another `sleepwalker demo "
        "--serve` running? `--port 9000` takes another port, `--port 0` one that is free.\n"
    )


def test_ports_beyond_the_last_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--serve", "--port", "65535", "--hosts", "2"]) == 1
    assert "port 65536 of 127.0.0.1 cannot be used: there is no such port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "80"], "--port needs --serve: sleepwalker demo --serve --port"),
        (["--quiet"], "--quiet needs --serve"),
        (["--serve", "--quick"], "--quick does not go with --serve"),
        (["--serve", "--log", "x.jsonl"], "--log does not go with --serve"),
        (["--serve", "--port", "70000"], "'70000' is not a port: 0 to 65535"),
        (["--serve", "--fail", "30"], "'30' is not a share from 0 to 1, such as 0.3"),
        (["--serve", "--hosts", "0"], "'0' is not a whole number of 1 or more"),
    ],
)
def test_wrong_options_are_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *words]) == 2
    assert said in capsys.readouterr().err


def test_it_needs_no_extra() -> None:
    """As in an environment without rich and shtab: they are looked for and not found."""
    program = (
        "import signal, sys; signal.alarm(60); sys.modules.update(rich=None, shtab=None); "
        "from sleepwalker.cli import main; sys.exit(main(['demo', '--serve', '--port', '0']))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"Ctrl-C ends it."):
            process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 0)


def _seen(url: str, plain: requests.Session) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = plain.get(f"{url}/seen").json()
    return seen


def _eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
