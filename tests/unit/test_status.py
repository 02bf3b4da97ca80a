"""The status page as a WSGI server asks for it: what it answers, that it only reads, and what never gets onto it."""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import os
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from html import unescape
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, HostHealth, Policy, status
from sleepwalker.engine import Host, Latency
from tests.unit.engine_driver import WALL, FakeClock

QUIET = replace(
    Host("https://a.test", Policy(), FakeClock()).snapshot(),
    state="healthy",
    calls=10,
    attempts=12,
    failures=1,
    success_ratio=0.9996,
    latency=Latency(0.004, 0.25, 12.0),
    in_flight=2,
    retries=3,
    rejections=4,
    last_success=WALL - 5,
)
BROKEN = replace(
    QUIET,
    host="https://b.test",
    state="broken",
    breaker="open",
    success_ratio=0.0,
    last_error="ConnectError: https://b.test: Connection refused (errno 111)",
    broken_since=WALL - 400,
    retry_in=3.2,
)


COOLING = replace(QUIET, host="https://c.test", cooldown=12.0)


class Known(ConnectionManager):
    """A manager whose hosts are what a test says, and that counts how often it is asked for them."""

    def __init__(self, *hosts: HostHealth) -> None:
        super().__init__()
        self.hosts = hosts
        self.asked = 0
        self.on_asked: Callable[[], object] = lambda: None

    def health(self, host: str | None = None) -> Any:
        self.asked += 1
        self.on_asked()
        return dict(enumerate(self.hosts))


@dataclass
class Answer:
    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(app: Any, path: str = "/", query: str = "", method: str = "GET", **environ: str) -> Answer:
    """What a server gets that asks as the WSGI standard says, and checks that the answer is as it says."""
    setup_testing_defaults(environ)
    environ |= {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": method}
    said: list[Any] = []
    answered: Iterable[bytes] = validator(app)(environ, lambda *words: said.append(words))
    try:
        body = b"".join(answered)
    finally:
        answered.close()  # type: ignore[attr-defined]
    ((code, headers),) = said
    assert len({name.lower() for name, _ in headers}) == len(headers), "no header comes twice"
    return Answer(code, dict(headers), body)


def page(*hosts: HostHealth, query: str = "", **options: Any) -> str:
    clock = FakeClock()
    return ask(status.app(Known(*hosts), clock=clock, **options), query=query).text


def words(html: str) -> str:
    """What a person reads of it, without tags, styles and scripts."""
    html = re.sub(r"<(style|script|svg)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<wbr>", "", html.replace("<small>https://</small>", "https://"))).split())


class Tags(HTMLParser):
    """Every element that the browser would make, with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


# -- paths and methods ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", ""])
def test_the_page_is_html_with_all_that_is_known_of_a_host(path: str) -> None:
    answer = ask(status.app(Known(BROKEN), clock=FakeClock()), path)
    assert (answer.status, answer.headers["Content-Type"]) == ("200 OK", "text/html; charset=utf-8")
    shown = words(re.sub(r"<[^>]+>", " ", answer.text))
    for part in ("The host is broken", "b .test", "open", "probe in 3 s", "6 min 40 s", "11:53:20", "0 %", "4 ms"):
        assert part in shown
    for part in ("0.25 s", "12.0 s", "ConnectError: Connection refused (errno 111)", "last success 5 s ago"):
        assert part in shown


def test_a_circuit_that_is_open_leaves_the_answer_at_200() -> None:
    """A page that answered 503 would have a load balancer take this service away as well."""
    app = status.app(Known(BROKEN))
    assert {ask(app, path).status for path in ("/", "/hosts.json")} == {"200 OK"}


def test_the_json_is_every_field_of_every_host_worst_first() -> None:
    answer = ask(status.app(Known(QUIET, BROKEN), clock=FakeClock()), "/hosts.json")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json == {
        "version": 1,
        "sleepwalker": answer.json["sleepwalker"],
        "generated": WALL,
        "process": os.getpid(),
        "total": 2,
        "states": {"broken": 1, "degraded": 0, "isolated": 0, "healthy": 1, "unknown": 0},
        "matching": 2,
        "hosts": [BROKEN.to_dict(), QUIET.to_dict()],
    }


@pytest.mark.parametrize("path", ["//", "/x", "/hosts.json/", "/index.html", "/../hosts.json"])
def test_another_path_is_404(path: str) -> None:
    assert ask(status.app(Known()), path).status == "404 Not Found"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/hosts.json"])
def test_it_only_reads(path: str, method: str) -> None:
    manager = Known()
    answer = ask(status.app(manager), path, method=method)
    assert (answer.status, answer.headers["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")
    assert manager.asked == 0


@pytest.mark.parametrize("path", ["/", "/hosts.json", "/nowhere"])
def test_head_says_what_get_would_without_a_body(path: str) -> None:
    app = status.app(Known(BROKEN), clock=FakeClock())
    got, head = ask(app, path), ask(app, path, method="HEAD")
    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")
    assert got.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize(
    ("script_name", "path", "beside"),
    [
        ("", "/", "./hosts.json"),
        ("", "", "./hosts.json"),
        ("/ops/status", "/", "./hosts.json"),
        ("/ops/status", "", "./status/hosts.json"),
        ('/a "b', "", "./a%20%22b/hosts.json"),
        ("/caf\u00c3\u00a9", "", "./caf%C3%A9/hosts.json"),
    ],
)
def test_the_link_to_the_json_holds_below_any_prefix(script_name: str, path: str, beside: str) -> None:
    """A server may ask for the mounted app as `/status` or `/status/`, and a proxy put another prefix in front."""
    html = ask(status.app(Known()), path, SCRIPT_NAME=script_name).text
    assert [attrs["href"] for tag, attrs in Tags(html).found if tag == "a"][-1] == beside


# -- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method"),
    [("/", "GET"), ("/hosts.json", "GET"), ("/hosts.json?limit=x", "GET"), ("/x", "GET"), ("/", "PUT")],
)
def test_every_answer_has_the_headers_that_keep_it_harmless(path: str, method: str) -> None:
    headers = ask(status.app(Known()), *path.split("?"), method=method).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert not {"Set-Cookie", "Access-Control-Allow-Origin"} & set(headers)
    rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", headers["Content-Security-Policy"])


def test_style_and_script_are_allowed_by_their_hash_and_nothing_else_is_inline() -> None:
    answer = ask(status.app(Known(BROKEN, QUIET)))
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
    for tag, attrs in Tags(answer.text).found:
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "src", "action")], tag
        assert not str(attrs.get("href", "")).startswith(("http", "//", "javascript"))


def test_it_needs_no_foreign_asset() -> None:
    outside = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//[^"')\s]+""", page(BROKEN, QUIET))
    assert outside == []


# -- what it is made of --------------------------------------------------------------------------


@pytest.mark.parametrize("sources", [(), ("https://a.test",), (None,), (ConnectionManager,)])
def test_what_is_no_source_is_refused(sources: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="ConnectionManager or a Connection"):
        status.app(*sources)


def test_a_title_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="title must be a text, not a int"):
        status.app(Known(), title=7)  # type: ignore[arg-type]


def test_managers_and_connections_may_be_shown_together() -> None:
    with ConnectionManager() as manager, Connection("https://own.test", ANONYMOUS) as conn:
        manager.add("https://managed.test", None, Connection("https://managed.test", ANONYMOUS))
        hosts = ask(status.app(manager, conn), "/hosts.json").json["hosts"]
    assert [host["host"] for host in hosts] == ["https://managed.test", "https://own.test"]


def test_two_records_of_one_host_are_two_rows() -> None:
    keys = [attrs["data-key"] for tag, attrs in Tags(page(BROKEN, BROKEN)).found if "data-key" in attrs]
    assert keys == ["0 https://b.test", "1 https://b.test"]


def test_a_manager_that_knows_no_host_yet_says_so() -> None:
    html = words(page())
    assert "No hosts yet" in html
    assert "A host appears here with the first look for it." in html


def test_the_table_says_its_roles_itself() -> None:
    """Some browsers (not the one of the tests) forget what a table is once its rows are drawn as cards."""
    parts = {tag: attrs.get("role") for tag, attrs in Tags(page(BROKEN)).found if tag[0] == "t" and tag != "title"}
    assert parts == {
        "table": "table",
        "thead": "rowgroup",
        "tbody": "rowgroup",
        "tr": "row",
        "th": "rowheader",  # the last one
        "td": "cell",
        "time": None,
    }


# -- worst first ---------------------------------------------------------------------------------


def test_broken_hosts_come_first_the_latest_on_top_then_by_what_fails_then_by_name() -> None:
    hosts = [
        replace(QUIET, host="unknown", state="unknown", success_ratio=None),
        replace(QUIET, host="healthy b", success_ratio=1.0),
        replace(QUIET, host="healthy a", success_ratio=0.999),  # the same in percent: rows must not dance
        replace(QUIET, host="isolated", state="isolated"),
        replace(QUIET, host="degraded little", state="degraded", success_ratio=0.94),
        replace(QUIET, host="degraded much", state="degraded", success_ratio=0.2),
        replace(BROKEN, host="broken long", broken_since=WALL - 900),
        replace(BROKEN, host="broken just now", broken_since=WALL - 1),
    ]
    found = ask(status.app(Known(*hosts)), "/hosts.json").json["hosts"]
    assert [host["host"] for host in found] == [
        "broken just now",
        "broken long",
        "degraded much",
        "degraded little",
        "isolated",
        "healthy a",
        "healthy b",
        "unknown",
    ]


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (["healthy", "healthy"], "All 2 hosts are healthy"),
        (["healthy"], "The host is healthy"),
        (["healthy", "unknown"], "None of 2 hosts is in trouble"),
        (["unknown"], "Nothing was heard of the host lately"),
        (["unknown", "unknown"], "Nothing was heard of any host lately"),
        (["isolated"], "The host is isolated"),
        (["healthy", "isolated"], "1 of 2 hosts is isolated"),
        (["degraded", "isolated"], "1 of 2 hosts is degraded"),
        (["broken", "broken", "degraded"], "2 of 3 hosts are broken"),
    ],
)
def test_the_headline_says_the_worst(states: list[Any], says: str) -> None:
    html = page(*(replace(QUIET, state=state) for state in states))
    assert f"<title>{says} · " in html
    assert re.search(rf"<h1[^>]*>.*{says}</h1>", html)


def test_scopes_are_rows_with_their_names_and_counted_as_such() -> None:
    scope = replace(BROKEN, host=f"{BROKEN.host}#a.b <reports>")
    html = page(scope, replace(QUIET, state="healthy"))
    assert "<title>1 of 2 hosts and scopes is broken · " in html
    assert "<wbr>#a.b &lt;reports&gt;</bdi>" in html
    assert "<bdi>ConnectError: Connection refused (errno 111)</bdi>" in html, "without the host that its row names"
    assert "All 2 hosts and scopes are healthy" in page(*(replace(one, state="healthy") for one in (scope, QUIET)))


# -- filters -------------------------------------------------------------------------------------

FLEET = [replace(QUIET, host=f"https://h{number}.test") for number in range(1000)]


def test_no_more_than_200_hosts_are_drawn_and_the_page_says_so() -> None:
    html = page(*FLEET, BROKEN)
    assert html.count("<tr ") == 201, "with the row of headings"
    assert html.index("b<wbr>.test") < html.index("h0<wbr>.test"), "the worst are among them"
    assert "The 200 worst of 1,001 are shown" in html
    assert len(html) < 500_000


def test_the_json_has_all_hosts_unless_a_limit_is_given() -> None:
    app = status.app(Known(*FLEET, BROKEN))
    assert len(ask(app, "/hosts.json").json["hosts"]) == 1001
    few = ask(app, "/hosts.json", "limit=3").json
    assert (len(few["hosts"]), few["matching"], few["total"]) == (3, 1001, 1001)
    assert few["hosts"][0]["host"] == "https://b.test"


@pytest.mark.parametrize(
    ("query", "matching"),
    [
        ("q=H99", ["https://h99.test", *(f"https://h{number}.test" for number in range(990, 1000))]),
        ("q=%20b.TEST%20", ["https://b.test"]),
        ("state=broken", ["https://b.test"]),
        ("state=broken&state=isolated&q=test", ["https://b.test"]),
        ("q=b.test&state=healthy", []),
        ("q=nothing", []),
        ("limit=0", []),
    ],
)
def test_name_and_state_choose_hosts_among_all_of_them(query: str, matching: list[str]) -> None:
    app = status.app(Known(*FLEET, BROKEN))
    found = [host["host"] for host in ask(app, "/hosts.json", query).json["hosts"]]
    assert sorted(found) == sorted(matching)
    if "limit" not in query:
        assert ask(app, "/", query).text.count('data-key="') == len(matching)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("state=ill", "state is one of broken, degraded, isolated, healthy, unknown, not 'ill'"),
        ("limit=-1", "limit is a number of hosts, not '-1'"),
        ("limit=x", "limit is a number of hosts, not 'x'"),
        ("limit=%C2%B2", "limit is a number of hosts, not '²'"),
        ("limit=99999999999999999999", "limit is a number of hosts, not '99999999999999999999'"),
    ],
)
def test_a_program_that_asks_for_what_cannot_be_is_told(query: str, says: str) -> None:
    answer = ask(status.app(Known()), "/hosts.json", query)
    assert (answer.status, answer.json) == ("400 Bad Request", {"error": says})


@pytest.mark.parametrize("query", ["state=ill", "q=%00%FF%F0%9F", "&&=&%", "q=" + "x" * 100_000, "state=%3Cscript%3E"])
def test_a_person_gets_a_page_whatever_the_address_says(query: str) -> None:
    assert ask(status.app(Known(QUIET)), "/", query).status == "200 OK"


def test_the_links_keep_what_was_asked_for() -> None:
    html = page(BROKEN, query="q=b%26%22&state=broken")
    links = [attrs for tag, attrs in Tags(html).found if tag == "a"]
    assert [link["href"] for link in links[:2]] == ["?q=b%26%22", "?q=b%26%22&state=broken"]
    assert [link.get("aria-current") for link in links[:2]] == [None, "true"]
    assert links[-1]["href"] == "./hosts.json?q=b%26%22&state=broken"
    fields = [attrs for tag, attrs in Tags(html).found if tag == "input"]
    assert [(field["name"], field["value"]) for field in fields] == [("q", 'b&"'), ("state", "broken")]


# -- texts of anybody's --------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "</title></style></script><script>alert(1)</script>",
    "$title ${script} %s {0}",
    "\u202egpj.exe\u0000\x1b[31m\x9b",
    "\ud800 alone",
    "&lt;b&gt;",
    "<!--",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_names_errors_and_titles_are_text_wherever_they_stand(text: str) -> None:
    def made(text: str) -> list[tuple[str, ...]]:
        hostile = replace(BROKEN, host=text, last_error=text + "x" * 80)
        apart = replace(QUIET, state="isolated", isolated_reason=text)
        html = page(hostile, apart, title=text)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", html)
        return [(tag, *attrs) for tag, attrs in Tags(html).found if tag != "wbr"]

    assert made(text) == made("plain")


def test_a_host_that_asked_to_be_left_alone_says_for_how_long() -> None:
    assert "asks to be left alone for 12 s" in page(COOLING)
    assert "left alone" not in page(QUIET)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_the_question_is_text_as_well(text: str) -> None:
    html = ask(status.app(Known(BROKEN)), "/", "q=" + quote(text, errors="replace")).text
    assert [tag for tag, _ in Tags(html).found].count("script") == 1
    assert "onerror" not in {name for _, attrs in Tags(html).found for name in attrs}


@pytest.mark.parametrize(
    ("reason", "until", "shown"),
    [
        ("maintenance", WALL + 300, "isolated by an operator until 12:05:00: maintenance"),
        ("maintenance", None, "isolated by an operator: maintenance"),
        (None, WALL + 300, "isolated by an operator until 12:05:00"),
        (None, WALL + 86_400, "isolated by an operator until 02 Jun 12:00"),
    ],
)
def test_why_and_until_when_a_host_is_isolated_is_shown(reason: str | None, until: float | None, shown: str) -> None:
    isolated = replace(QUIET, state="isolated", isolated_reason=reason, isolated_until=until)
    assert shown in words(re.sub(r"</?bdi>", "", page(isolated)))
    answer = ask(status.app(Known(isolated)), "/hosts.json").json["hosts"][0]
    assert (answer["isolated_reason"], answer["isolated_until"]) == (reason, until)
    assert "by an operator" not in page(replace(QUIET, state="isolated"))


def test_a_long_error_is_opened_and_an_endless_one_ends() -> None:
    html = page(replace(BROKEN, last_error="E: " + "long " * 20))
    assert re.search(r"<details><summary><bdi>E: (long ){20}</bdi>", html)
    assert len(page(replace(BROKEN, last_error="x" * 1_000_000))) < 100_000


def test_a_short_error_stands_there_without_the_host_that_its_row_names() -> None:
    assert "<bdi>ConnectError: Connection refused (errno 111)</bdi>" in page(BROKEN)


# -- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "shown"), [(1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50 %"), (0.0, "0 %"), (0.57, "57 %")]
)
def test_a_share_is_never_rounded_up_to_all(ratio: float, shown: str) -> None:
    assert f"<b>{shown}</b>" in page(replace(QUIET, success_ratio=ratio))


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (90_061, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_how_long_a_host_has_been_broken_is_read_at_a_glance(ago: float, shown: str) -> None:
    assert f"<b>{shown}</b>" in page(replace(BROKEN, broken_since=WALL - ago))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "<i>–</i>"), (0.0001, "&lt;1 ms"), (0.0123, "12 ms"), (0.5, "0.50 s"), (61.0, "61.0 s")],
)
def test_a_latency_has_the_digits_that_count(seconds: float | None, shown: str) -> None:
    assert f"<span>{shown}</span>" in page(replace(QUIET, latency=Latency(seconds, 7.0, 7.0)))


@pytest.mark.parametrize(
    ("limit", "says"), [(3, "2<small>of 3</small>"), (4, "2<small>of 4</small>"), (5, "2"), (None, "2")]
)
def test_calls_in_flight_are_held_against_their_limit_once_they_come_near_it(limit: int | None, says: str) -> None:
    assert f'data-label="In flight"><span>{says}</span>' in page(replace(QUIET, in_flight=2, limit=limit))


# -- what it costs -------------------------------------------------------------------------------


def test_run_from_its_source_it_has_no_version_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert ask(status.app(Known(QUIET), clock=FakeClock()), "/hosts.json").json["sleepwalker"] is None


def test_who_looks_again_within_a_second_sees_the_same_view() -> None:
    manager, clock = Known(QUIET), FakeClock()
    app = status.app(manager, clock=clock)
    for path in ("/", "/hosts.json", "/"):
        ask(app, path)
    assert manager.asked == 1
    clock.advance(1.01)
    assert ask(app, "/hosts.json").json["generated"] == clock.time_of_day
    assert manager.asked == 2


def test_a_view_that_took_long_is_kept_for_nine_times_as_long() -> None:
    """So that it costs a tenth of a processor at most, however many hosts there are."""
    manager, clock = Known(QUIET), FakeClock()
    manager.on_asked = lambda: clock.advance(1.2)
    app = status.app(manager, clock=clock)
    for wait, asked in ((0, 1), (10.7, 1), (0.2, 2)):
        clock.advance(wait)
        ask(app)
        assert manager.asked == asked


def test_a_view_is_taken_by_one_thread_while_the_others_get_the_one_before() -> None:
    manager, clock = Known(QUIET), FakeClock()
    app = status.app(manager, clock=clock)
    ask(app)
    clock.advance(2)
    begun, go_on = threading.Event(), threading.Event()
    manager.on_asked = lambda: (begun.set(), go_on.wait(10))
    slow = threading.Thread(target=ask, args=(app,))
    slow.start()
    try:
        assert begun.wait(10)
        assert ask(app, "/hosts.json").json["generated"] == WALL
    finally:
        go_on.set()
        slow.join(10)
    assert manager.asked == 2
    assert ask(app, "/hosts.json").json["generated"] == WALL + 2


def test_a_view_that_failed_leaves_no_lock_behind() -> None:
    manager = Known(QUIET)
    manager.on_asked = lambda: 1 / 0
    app = status.app(manager)
    with pytest.raises(ZeroDivisionError):
        ask(app)
    manager.on_asked = lambda: None
    assert ask(app).status == "200 OK"


def test_the_child_of_a_fork_shows_its_own_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent may have held the lock at that moment, and its view is not the child's."""
    manager, clock = Known(QUIET), FakeClock()
    app = status.app(manager, clock=clock)
    ask(app)
    manager.hosts = ()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert ask(app, "/hosts.json").json["total"] == 0


# -- what it may show ----------------------------------------------------------------------------


def test_the_page_shows_fields_of_a_hosts_health_and_no_others() -> None:
    """What is not in HostHealth cannot get out here."""
    canary = {field.name for field in fields(HostHealth)}
    (host,) = ask(status.app(Known(QUIET)), "/hosts.json").json["hosts"]
    assert set(host) == canary


# -- the reference -------------------------------------------------------------------------------


def test_every_argument_parameter_and_field_is_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "status.md").read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE))
    document = ask(status.app(Known()), "/hosts.json").json
    assert named == {*inspect.signature(status.app).parameters, "q", "state", "limit", *document}
