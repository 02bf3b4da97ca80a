"""A plain request on an open socket takes a short way: the same bytes leave, and the same answer comes back."""

from __future__ import annotations

import contextlib
import copy
import datetime
import gzip
import http.client
import logging
import operator
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from unittest import mock
from urllib.parse import urljoin

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from urllib3 import HTTPConnectionPool, HTTPHeaderDict, Retry

from sleepwalker import ANONYMOUS, Connection, HTTPNotFound, Policy, SleepwalkerException
from sleepwalker.transport.blocking import fast_path
from tests.ranges import some, whole

POLICY = Policy(retry=False, breaker=False)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """Answers every request with the bytes in `reply`, and keeps the bytes that came."""

    def __init__(self) -> None:
        self.reply = OK
        self.hangs_up = False
        self.seen: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as file, contextlib.suppress(OSError):
            while head := self._head(file):
                self.seen.append(head + file.read(self._length(head)))
                reply, hangs_up = self.reply, self.hangs_up
                sock.sendall(reply)
                if hangs_up:
                    return

    @staticmethod
    def _head(file: Any) -> bytes:
        lines = []
        while (line := file.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return b"".join(lines) + b"\r\n" if lines else b""

    @staticmethod
    def _length(head: bytes) -> int:
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                return int(line.partition(b":")[2])
        return 0


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    running = Recorder()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


def described(answer: requests.Response) -> dict[str, Any]:
    """All that a caller can see of an answer."""
    return {
        "type": type(answer),
        "status": answer.status_code,
        "reason": answer.reason,
        "headers": list(answer.headers.items()),
        "lower": dict(answer.headers.lower_items()),
        "url": answer.url,
        "encoding": answer.encoding,
        "content": answer.content,
        "cookies": answer.cookies.items(),
        "jar": sorted(vars(answer.cookies)),
        "fields": sorted(vars(answer)),
        "no such header": ["X-No" in answer.headers, answer.headers.get("X-No"), answer.headers.get("X-No", 7)],
        "such headers": [name.swapcase() in answer.headers for name in answer.headers],
        "got": [answer.headers.get(name.swapcase()) for name in answer.headers],
        "history": answer.history,
        "next": answer.next,
        "links": answer.links,
        "request headers": dict(answer.request.headers),
        "connection": answer.connection,
        "raw": {
            "type": type(answer.raw),
            "status": answer.raw.status,
            "version": answer.raw.version,
            "version_string": getattr(answer.raw, "version_string", None),
            "reason": answer.raw.reason,
            "headers": list(answer.raw.headers.iteritems()),
            "copied": dict(answer.raw.headers.copy()),
            "joined": dict(answer.raw.headers),
            "url": answer.raw.geturl(),
            "retries": repr(answer.raw.retries),
            "tell": answer.raw.tell(),
            "chunked": answer.raw.chunked,
            "left": answer.raw.length_remaining,
            "closed": answer.raw.closed,
            "connection": answer.raw.connection,
            "original": type(answer.raw._original_response),
            "message": answer.raw._original_response.msg.items(),
            "read": answer.raw.read(),
        },
    }


def outcome(conn: Connection, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return described(conn.request(**arguments))
    except SleepwalkerException as error:
        return {"error": type(error), "text": str(error), "notes": getattr(error, "__notes__", None)}


def both_ways(
    recorder: Recorder, reply: bytes, *, hangs_up: bool = False, **request: Any
) -> tuple[list[bytes], list[dict[str, Any]], int]:
    """The bytes that left each way, what came of it, and how many took the short one."""
    recorder.seen.clear()
    outcomes: list[dict[str, Any]] = []
    taken: list[bool] = []
    exchange = fast_path.send_and_read_head

    def counting(*args: Any, **kwargs: Any) -> Any:
        taken.append(True)
        raw = exchange(*args, **kwargs)
        taken[-1] = raw is not None
        return raw

    with mock.patch.object(fast_path, "send_and_read_head", counting):
        for short in (True, False):
            with (
                mock.patch.object(fast_path, "is_unpatched", lambda short=short: short),
                Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn,
            ):
                recorder.reply, recorder.hangs_up = OK, False
                conn.get("/warm")
                recorder.reply, recorder.hangs_up = reply, hangs_up
                arguments = {"method": "GET", "uri": "/", "raise_for_status": False, **request}
                outcomes.append(outcome(conn, arguments))
                adapter = outcomes[-1].pop("connection", None)
                assert adapter is None or adapter is conn.conn.get_adapter(recorder.url + "/")
    sent = [data for data in recorder.seen if b" /warm " not in data]
    return sent, outcomes, sum(taken)


TOKENS = st.text("ABCXYZabcxyz0189-_.!~'*", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12).map(
    str.strip
)
SEGMENTS = st.text("abz09-_~%. ü/;:@&=+$,()*!'", max_size=12)
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
        "uri": SEGMENTS.map("/".__add__),
    },
    optional={
        "params": st.dictionaries(TOKENS, VALUES, max_size=2),
        "headers": st.dictionaries(
            TOKENS.map("X-".__add__)
            | st.sampled_from(["Host", "User-Agent", "Accept-Encoding", "accept", "Connection", "Cookie"]),
            VALUES.filter(bool) | st.none(),
            max_size=4,
        ),
        "data": st.binary(max_size=40) | st.text(max_size=10) | st.dictionaries(TOKENS, VALUES, max_size=2),
    },
)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(["Server", "server", "X-A", "x-a", "Content-Type", "Set-Cookie", "Link", "Connection", "ETag"]),
        st.sampled_from(
            [
                "a",
                "text/html",
                "application/json; charset=latin-1",
                "k=v; Path=/",
                '</b>; rel="next"',
                "close",
                "\xe4 ",
                "",
            ]
        ),
    ),
    max_size=6,
)


@settings(
    max_examples=some(40, 150, with_each=True),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(request=REQUESTS)
def test_what_leaves_is_the_same_to_the_byte(recorder: Recorder, request: dict[str, Any]) -> None:
    sent, (short, long), _ = both_ways(recorder, OK, **request)
    assert sent[: len(sent) // 2] == sent[len(sent) // 2 :]
    assert short == long


@settings(
    max_examples=some(40, 150, with_each=True),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    status=st.sampled_from(
        ["200 OK", "200", "204 No Content", "304 Not Modified", "404 Not  Found ", "503 \xe4", "299 x"]
    ),
    version=st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/1.2"]),
    fields=FIELDS,
    body=st.binary(max_size=30),
    odd=st.sampled_from(
        ["", "", "", "no colon\r\n", "X : 1\r\n", "X: 1\r\n 2\r\n", "X: \0\r\n", "\xfc: 1\r\n", "X: 1\n"]
    ),
    framing=st.sampled_from(["length", "length twice", "lengths that differ", "chunked", "end", "gzip", "short"]),
)
def test_what_comes_back_is_the_same_answer(
    recorder: Recorder,
    method: str,
    status: str,
    version: str,
    fields: list[tuple[str, str]],
    body: bytes,
    odd: str,
    framing: str,
) -> None:
    length = f"Content-Length: {len(body)}\r\n"
    if framing == "gzip":
        body = gzip.compress(body, mtime=0)
        length = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n"
    elif framing == "chunked":
        length, body = (
            "Transfer-Encoding: chunked\r\n",
            (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n",
        )
    else:
        length = {
            "length twice": length * 2,
            "lengths that differ": length + f"Content-Length: {len(body) + 1}\r\n",
            "end": "",
            "short": f"Content-Length: {len(body) + 1}\r\n",
        }.get(framing, length)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    reply = f"{version} {status}\r\n{lines}{odd}{length}\r\n".encode("latin-1") + (b"" if method == "HEAD" else body)
    _, (short, long), _ = both_ways(recorder, reply, hangs_up=True, method=method)
    assert short == long


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"uri": "/a/b.json?x=1&y=2"},
        {"params": {"q": "1"}},
        {"headers": {"X-Tenant": "7"}},
        {"method": "POST", "json": {"a": 1}},
        {"method": "PUT", "data": b"\x00\xff"},
        {"method": "DELETE"},
    ],
)
def test_plain_requests_take_the_short_way(recorder: Recorder, request_: dict[str, Any]) -> None:
    """Or all that the comparison of the two ways compares would be the long one with itself."""
    *_, taken = both_ways(recorder, OK, **request_)
    assert taken == 1


@pytest.mark.parametrize(
    "request_",
    [
        {"uri": "/with%20quotes"},
        {"method": "POST", "data": iter([b"in", b"pieces"])},
        {"method": "POST", "data": "t\xe4xt"},
        {"headers": {"X-Bytes": b"value"}},
        {"headers": {"User-Agent": None}},
    ],
)
def test_whatever_needs_care_takes_the_long_way(recorder: Recorder, request_: dict[str, Any]) -> None:
    with (
        Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn,
        mock.patch.object(fast_path, "send_and_read_head") as taken,
    ):
        recorder.reply, recorder.hangs_up = OK, False
        conn.get("/warm", headers={"Accept-Encoding": None})
        conn.request(**{"method": "GET", "uri": "/", **request_})
        taken.assert_not_called()


@pytest.mark.parametrize("path", fast_path.STEPS)
def test_a_step_that_was_wrapped_is_taken(recorder: Recorder, path: str) -> None:
    """So does every tool that records, traces or invents answers."""
    where, _, name = path.rpartition(".")
    owner = operator.attrgetter(where)(fast_path.OWNERS)
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        recorder.reply, recorder.hangs_up = OK, False
        conn.get("/warm")
        step = getattr(owner, name)
        seen = []

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return step(*args, **kwargs)

        with mock.patch.object(owner, name, wrapped):
            assert conn.get("/").content == b"ok"
        assert seen


class Proxy:
    """A wrapper as tracing tools make them: it says that it is what it wraps."""

    def __init__(self, wrapped: Any, seen: list[str]) -> None:
        self.wrapped = wrapped
        self.seen = seen

    def __eq__(self, other: object) -> bool:
        return bool(self.wrapped == other)

    def __hash__(self) -> int:
        return hash(self.wrapped)

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        self.seen.append("asked for")
        return self.wrapped.__get__(instance, owner)


def test_a_wrapper_that_says_it_equals_what_it_wraps_is_taken(recorder: Recorder) -> None:
    recorder.reply, recorder.hangs_up = OK, False
    seen: list[str] = []
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        with mock.patch.object(HTTPConnectionPool, "urlopen", Proxy(HTTPConnectionPool.urlopen, seen)):
            conn.get("/")
    assert seen == ["asked for"]


@pytest.mark.parametrize("wraps_adapter", [True, False])
def test_reading_the_response_below_the_session_gives_its_place_back(recorder: Recorder, wraps_adapter: bool) -> None:
    """As an adapter does that renews a token and asks again, or an auth object with hooks of its own."""

    class Twice(BaseAdapter):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            assert self.inner.send(request, **kwargs).content == b"ok"
            return self.inner.send(request, **kwargs)

        def close(self) -> None:
            self.inner.close()

    def hooked(request: Any) -> Any:
        request.hooks["response"] = [lambda response, **_: response.content and None, lambda response, **_: None]
        return request

    recorder.reply, recorder.hangs_up = OK, False
    one = POLICY.replace(pool={"size": 1, "block": True}, timeout={"connect": 5, "read": 5, "attempt": 5, "total": 5})
    with Connection(recorder.url, ANONYMOUS if wraps_adapter else hooked, policy=one) as conn:
        conn.get("/warm")
        if wraps_adapter:
            conn.conn.mount("http://", Twice(conn.conn.get_adapter(recorder.url + "/")))
        for _ in range(3):
            assert conn.get("/").content == b"ok"


def test_a_socket_given_back_too_early_gives_nothing_to_the_next_request(recorder: Recorder) -> None:
    recorder.hangs_up = False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        recorder.reply = OK
        conn.get("/warm")
        recorder.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\nx"
        early = conn.get("/", stream=True)
        early.raw.read(1)
        early.raw.release_conn()
        recorder.reply = OK
        assert conn.get("/").content == b"ok"
        assert conn.get("/").content == b"ok"


def test_an_answer_that_a_hook_made_up_needs_no_socket(recorder: Recorder) -> None:
    def invent(response: requests.Response, **_: Any) -> requests.Response:
        response.close()
        made = requests.Response()
        made.status_code, made._content = 200, b'{"made": "up"}'
        return made

    recorder.reply, recorder.hangs_up = OK, False
    session = requests.Session()
    session.hooks["response"].append(invent)
    with Connection(recorder.url, ANONYMOUS, policy=POLICY, session=session) as conn:
        assert [conn.json_request("GET", "/") for _ in range(2)] == [{"made": "up"}] * 2


def test_two_responses_and_their_requests_share_nothing_that_can_be_changed(recorder: Recorder) -> None:
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        first, second = conn.get("/"), conn.get("/")
    plain = (type(None), bool, int, float, str, bytes, datetime.timedelta)
    common = {
        "connection",
        "__attrs__",
        "_cookies",
        "_pool",
        "_retries",
    }  # the adapter's, the session's: as with requests itself
    for one, other in ((first, second), (first.request, second.request), (first.raw, second.raw)):
        shared = {name for name, value in vars(one).items() if value is vars(other)[name]}
        assert {name for name in shared if not isinstance(vars(one)[name], plain)} <= common


EARLIER_TOOL = """
import sys
import {module}

owner, seen = {module}.{owner}, []
step = owner.{name}


def wrapped(*args, **kwargs):
    seen.append(1)
    return step(*args, **kwargs)


owner.{name} = wrapped

from sleepwalker import ANONYMOUS, Connection

with Connection(sys.argv[1], ANONYMOUS) as conn:
    for _ in range(3):
        conn.get("/")
print(len(seen))
"""


@pytest.mark.parametrize(
    ("module", "owner", "name"),
    [
        ("urllib3.connectionpool", "HTTPConnectionPool", "urlopen"),
        whole("http.client", "HTTPConnection", "endheaders", with_each=True),
        whole("requests.sessions", "Session", "send", with_each=True),
        whole("requests.adapters", "HTTPAdapter", "send", with_each=True),
    ],
)
def test_a_step_that_was_wrapped_before_we_were_loaded_is_taken(
    recorder: Recorder, module: str, owner: str, name: str
) -> None:
    """As an agent does that starts a program in order to trace it."""
    recorder.reply, recorder.hangs_up = OK, False
    program = EARLIER_TOOL.format(module=module, owner=owner, name=name)
    done = subprocess.run(
        [sys.executable, "-c", program, recorder.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_an_answer_kept_on_disk_holds_requests_own_headers_and_cookies(recorder: Recorder) -> None:
    """So that it can be read where we are not installed, or are another version."""
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        answer = conn.get("/")
    for part in (answer.headers, answer.cookies):
        kept = pickle.dumps(part)
        assert b"sleepwalker" not in kept
        for twin in (pickle.loads(kept), copy.copy(part), copy.deepcopy(part), part.copy()):
            assert list(twin.items()) == list(part.items())
            assert twin == part or part is answer.cookies  # a jar equals only itself
    assert type(pickle.loads(pickle.dumps(answer.cookies))) is requests.cookies.RequestsCookieJar


def test_an_answers_parts_are_shown_as_requests_and_urllib3_show_theirs(recorder: Recorder) -> None:
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        answer = conn.get("/")
    assert repr(answer.cookies) == repr(requests.cookies.RequestsCookieJar())
    assert repr(answer.raw.headers) == repr(HTTPHeaderDict({"Content-Length": "2"}))
    assert type(pickle.loads(pickle.dumps(answer.raw.headers))) is HTTPHeaderDict
    assert answer.headers.get(key="content-length") == "2"
    policy = DefaultCookiePolicy(allowed_domains=[])
    answer.cookies.set_policy(policy)
    assert len(answer.cookies) == 0
    assert answer.cookies.get_policy() is policy


def test_an_answers_empty_jar_can_be_filled(recorder: Recorder) -> None:
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        first, second = conn.get("/"), conn.get("/")
    first.cookies.set("a", "1", domain="h", path="/")
    assert first.cookies.get_dict() == {"a": "1"}
    assert second.cookies.get_dict() == {}
    assert not hasattr(second.cookies, "no_such_thing")


@pytest.mark.parametrize("framing", ["length", "chunked", "gzip", "short"])
def test_a_body_of_megabytes_is_the_same_to_the_byte(recorder: Recorder, framing: str) -> None:
    body = bytes(range(256)) * 12_289  # a little more than 3 MiB: nothing that is read at a time divides it
    length = len(body) + (1 if framing == "short" else 0)
    head = f"Content-Length: {length}"
    sent = body
    if framing == "chunked":
        head, sent = "Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif framing == "gzip":
        sent = gzip.compress(body, mtime=0)
        head = f"Content-Encoding: gzip\r\nContent-Length: {len(sent)}"
    reply = f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + sent
    _, (short, long), _ = both_ways(recorder, reply, hangs_up=True)
    assert short == long
    assert short.get("content") == (None if framing == "short" else body)


def test_a_body_of_megabytes_is_read_in_large_pieces(recorder: Recorder) -> None:
    """requests' own chunks of 10 KB would be hundreds of steps through three libraries."""
    body = b"x" * (5 << 20)
    with (
        Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn,
        mock.patch.object(requests.Response, "iter_content", side_effect=AssertionError) as iterated,
    ):
        recorder.reply, recorder.hangs_up = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, False
        pools = {id(conn.get("/").raw._pool) for _ in range(2)}
        assert conn.get("/").content == body
        (pool,) = conn.conn.get_adapter(recorder.url + "/")._pools.values()
        assert (len(pools), pool.num_connections) == (1, 1)
    iterated.assert_not_called()


def test_urllib3s_own_log_has_every_request(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        recorder.reply, recorder.hangs_up = OK, False
        conn.get("/warm")
        with caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"):
            conn.get("/logged")
    assert any('"GET /logged HTTP/1.1" 200 2' in record.getMessage() for record in caplog.records)


def test_http_clients_own_trace_has_every_request(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    recorder.reply, recorder.hangs_up = OK, False
    with (
        mock.patch.object(http.client.HTTPConnection, "debuglevel", 1),
        Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn,
    ):
        conn.get("/warm")
        conn.get("/shown")
    assert "GET /shown" in capsys.readouterr().out


def test_a_hook_of_the_session_that_reads_the_answer_leaves_the_socket_to_the_next_call(recorder: Recorder) -> None:
    read: list[bytes] = []
    session = requests.Session()
    session.hooks["response"].append(lambda answer, **_: read.append(answer.content))
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY, session=session) as conn:
        pools = {id(conn.get("/").raw._pool) for _ in range(5)}
        (pool,) = conn.conn.get_adapter(recorder.url + "/")._pools.values()
        assert (read, len(pools), pool.num_connections, pool.num_requests) == ([b"ok"] * 5, 1, 1, 5)


def test_a_header_whose_name_is_bytes_goes_out_on_each_call(recorder: Recorder) -> None:
    """http.client takes them, and what sets them is mostly an auth object."""
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.conn.headers[b"X-Name"] = "value"
        recorder.seen.clear()
        assert [conn.get("/").content for _ in range(3)] == [b"ok"] * 3
        assert [b"X-Name: value\r\n" in data for data in recorder.seen] == [True] * 3


class FetchesFirst(requests.Session):
    """Sends a request of its own before each one, as for a token."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if not request.path_url.startswith("/token"):
            self.get(urljoin(request.url or "", "/token"))
        return super().send(request, **options)


class SendsTwice(requests.Session):
    """Sends each request again, as with a token that was renewed."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        _ = super().send(request, **options).content
        return super().send(request, **options)


def sends_again(answer: requests.Response, **options: Any) -> requests.Response:
    """A hook that does, as those do that log in when they are asked to."""
    _ = answer.content
    again = answer.request.copy()
    again.hooks = {"response": []}
    return answer.connection.send(again, **options)


@pytest.mark.parametrize("what", [FetchesFirst, SendsTwice, "hook", "patched"])
def test_answers_that_a_session_or_hook_asks_for_by_itself_give_their_sockets_back(
    recorder: Recorder, what: Any
) -> None:
    """In a pool that blocks, the place of one that is read and never given back is lost for good."""
    recorder.reply, recorder.hangs_up = OK, False
    session = requests.Session() if isinstance(what, str) else what()
    policy = POLICY.replace(
        timeout={"attempt": 2, "total": 4, "read": 2, "connect": 1}, pool={"size": 1, "block": True}
    )
    with Connection(recorder.url, ANONYMOUS, policy=policy, session=session) as conn:
        conn.get("/warm")
        if what == "hook":
            session.hooks["response"].append(sends_again)
        elif what == "patched":
            send = session.send
            session.send = lambda request, **options: (send(request, **options).content, send(request, **options))[1]
        assert [conn.get("/asked").content for _ in range(3)] == [b"ok"] * 3


def test_a_hook_that_asks_by_the_session_gets_a_response_that_was_read(recorder: Recorder) -> None:
    """Without `stream` requests reads the body at once; read later, its attempt is over and its socket closed."""
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        asked: list[requests.Response] = []

        def ask(answer: requests.Response, **_: Any) -> None:
            if not answer.request.path_url.startswith("/token"):
                asked.append(conn.conn.get(recorder.url + "/token", allow_redirects=False))

        conn.conn.hooks["response"].append(ask)
        assert [conn.get("/").content for _ in range(3)] == [b"ok"] * 3
        assert [answer._content for answer in asked] == [b"ok"] * 3


@pytest.mark.parametrize("retries", [0, 2, False, None, Retry(0, read=False, allowed_methods=None)])
def test_retries_of_the_adapters_owner_are_what_requests_takes(recorder: Recorder, retries: Any) -> None:
    """requests takes what urllib3 does: a number, False or None as well as a `Retry`."""
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        conn.conn.get_adapter(recorder.url + "/").max_retries = retries
        assert [conn.get("/").content for _ in range(3)] == [b"ok"] * 3


def test_a_session_may_have_no_hooks_at_all(recorder: Recorder) -> None:
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.conn.hooks = None  # type: ignore[assignment]  # requests takes it
        assert [conn.get("/").content for _ in range(3)] == [b"ok"] * 3


def test_a_url_without_a_path_that_an_auth_object_wrote_is_not_taken_for_another_ones(recorder: Recorder) -> None:
    """Cut at its last character, a port of five digits is one of four, which may be this connection's own."""
    recorder.reply, recorder.hangs_up = OK, False
    urls = [recorder.url + "/", recorder.url + "0", recorder.url]

    def rewrite(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.url = urls.pop(0)
        return request

    with Connection(recorder.url, rewrite, policy=POLICY) as conn:
        assert conn.get("/").content == b"ok"
        recorder.seen.clear()
        with pytest.raises(SleepwalkerException):
            conn.get("/")
        assert recorder.seen == []
        assert conn.get("/").content == b"ok"


@pytest.mark.parametrize("status", [200, 404])
def test_a_response_that_a_hook_made_up_needs_no_body(recorder: Recorder, status: int) -> None:
    """requests has None for the content of one that came from nowhere."""
    recorder.reply, recorder.hangs_up = OK, False

    def invent(answer: requests.Response, **_: Any) -> requests.Response:
        answer.close()
        made = requests.Response()
        made.status_code, made.request, made.url = status, answer.request, answer.url
        return made

    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/warm")
        conn.conn.hooks["response"].append(invent)
        answer = conn.get("/", raise_for_status=False)
        assert (answer.status_code, answer.content) == (status, None)
        with contextlib.nullcontext() if status == 200 else pytest.raises(HTTPNotFound):
            assert conn.json_request("GET", "/") is None


@pytest.mark.parametrize("given", [[("a", "1")], None, {}])
def test_parameters_of_the_session_that_are_no_mapping_are_left_out(recorder: Recorder, given: Any) -> None:
    """As in requests, which merges mappings only."""
    recorder.reply, recorder.hangs_up = OK, False
    with Connection(recorder.url, ANONYMOUS, policy=POLICY) as conn:
        conn.conn.params = given
        recorder.seen.clear()
        conn.get("/")
        conn.get("/", params={"b": "2"})
        assert [data.split(b" ")[1] for data in recorder.seen] == [b"/", b"/?b=2"]
