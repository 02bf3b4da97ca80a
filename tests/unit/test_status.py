"""The status page as a WSGI server asks for it: what it answers, that it only reads, and what never gets onto it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import inspect
import os
import re
import socket
import threading
import time
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import sleepwalker.clock
import sleepwalker.status.page
import sleepwalker.status.site
from sleepwalker import ANONYMOUS, Connection, ConnectionManager, HostHealth, status
from sleepwalker.engine import Latency
from sleepwalker.process import THIS_PROCESS
from sleepwalker.status.words import time_of_day
from tests.unit.engine_driver import WALL, FakeClock
from tests.unit.status_driver import BROKEN, QUIET, Known, Tags, ask, page, words

COOLING = replace(QUIET, host="https://c.test", cooldown=12.0)


def test_a_moment_of_another_day_has_its_day_in_english() -> None:
    """By no locale of the process: the page is English."""
    first = [datetime(2025, month, 3, 4, 5, tzinfo=UTC).timestamp() for month in range(1, 13)]
    shown = [time_of_day(when, when + 86400) for when in first]
    assert shown[:3] == ["03 Jan 04:05", "03 Feb 04:05", "03 Mar 04:05"]
    assert [day.split()[1] for day in shown[3:]] == ["Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    assert time_of_day(first[0], first[0] + 60) == "04:05:00"


def test_failures_are_told_as_those_of_attempts() -> None:
    """A call may fail at several attempts, so they may be more than its errors."""
    assert "58 failed attempts" in words(page(replace(BROKEN, calls=271, failures=58)))


# -- paths and methods ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", ""])
def test_the_page_is_html_with_all_that_is_known_of_a_host(path: str) -> None:
    answer = ask(status.app(Known(BROKEN), clock=FakeClock()), path)
    assert (answer.status, answer.headers["Content-Type"]) == ("200 OK", "text/html; charset=utf-8")
    shown = words(re.sub(r"<[^>]+>", " ", answer.text))
    for part in ("b.test is broken", "b .test", "open", "next try in 3 s", "6 min 40 s", "11:53:20", "0 %", "4 ms"):
        assert part in shown
    for part in ("0.25 s", "12.0 s", "ConnectError: Connection refused (errno 111)", "3 s ago, 11:59:57"):
        assert part in shown
    for part in ("opened 11:53:21", "by failures in a row", "last success 5 s ago", "1 failed attempt", "3 retries"):
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
        "machine": socket.gethostname(),
        "started": THIS_PROCESS.since,
        "total": 2,
        "states": {"broken": 1, "degraded": 0, "isolated": 0, "healthy": 1, "unknown": 0},
        "matching": 2,
        "fleets": [],
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


@pytest.mark.parametrize("path", ["/", "/hosts.json"])
@pytest.mark.parametrize(
    ("accepts", "gzipped"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5, br", True),
        ("*", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("*, gzip; q=0.000", False),
        ("identity", False),
        ("", False),
    ],
)
def test_a_client_that_takes_gzip_gets_it(path: str, accepts: str, gzipped: bool) -> None:
    app = status.app(Known(BROKEN, QUIET), clock=FakeClock())
    plain, answer = ask(app, path), ask(app, path, HTTP_ACCEPT_ENCODING=accepts)
    assert answer.headers.get("Content-Encoding") == ("gzip" if gzipped else None)
    assert answer.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert (gzip.decompress(answer.body) if gzipped else answer.body) == plain.body
    assert answer.headers["ETag"] == plain.headers["ETag"]
    assert answer.headers["ETag"].startswith('W/"'), "the bytes differ, and what they say does not"


def test_a_small_answer_is_not_compressed() -> None:
    assert "Content-Encoding" not in ask(status.app(Known()), "/hosts.json", HTTP_ACCEPT_ENCODING="gzip").headers


@pytest.mark.parametrize("path", ["/", "/hosts.json"])
def test_a_client_that_has_the_view_already_is_told_so_without_making_it_again(path: str) -> None:
    clock = FakeClock()
    app = status.app(Known(BROKEN), clock=clock)
    tag = ask(app, path).headers["ETag"]
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        answer = ask(app, path, HTTP_IF_NONE_MATCH=known)
        assert (answer.status, answer.body, answer.headers["ETag"]) == ("304 Not Modified", b"", tag)
        assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("Accept-Encoding", "no-store")
    assert ask(app, path, method="HEAD", HTTP_IF_NONE_MATCH=tag).status == "304 Not Modified"
    assert ask(app, path, HTTP_IF_NONE_MATCH='"other"').status == "200 OK"
    clock.advance(2)
    assert ask(app, path, HTTP_IF_NONE_MATCH=tag).status == "200 OK", "another view"


def test_each_question_and_each_process_has_a_tag_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    app = status.app(Known(BROKEN, QUIET), clock=FakeClock())
    asked = [("/", ""), ("/hosts.json", ""), ("/", "q=a"), ("/", "state=broken"), ("/", "sort=-p95")]
    asked += [("/hosts.json", "limit=1"), ("/hosts.json", "limit=2")]
    tags = [ask(app, *one).headers["ETag"] for one in asked]
    tags.append(ask(app, "", SCRIPT_NAME="/status").headers["ETag"])
    monkeypatch.setattr(THIS_PROCESS, "pid", 1)
    tags.append(ask(app).headers["ETag"])
    assert len(set(tags)) == len(tags)


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


def test_managers_that_share_their_hosts_are_shown_once() -> None:
    with ConnectionManager() as manager, ConnectionManager(hosts=manager.hosts) as other:
        manager.add("https://a.test", None, Connection("https://a.test", ANONYMOUS))
        other.add("billing", None, Connection("https://b.test", ANONYMOUS))
        hosts = ask(status.app(manager, other), "/hosts.json").json["hosts"]
    assert [(host["host"], host["names"]) for host in hosts] == [
        ("https://a.test", []),
        ("https://b.test", ["billing"]),
    ]


def test_two_records_of_one_host_are_two_rows() -> None:
    keys = [attrs["data-key"] for tag, attrs in Tags(page(BROKEN, BROKEN)).found if "data-key" in attrs]
    assert keys == ["0 https://b.test", "1 https://b.test"]


def test_a_manager_that_knows_no_host_yet_says_so() -> None:
    html = words(page())
    assert "No hosts yet" in html
    assert "A host appears here after the first find or call." in html


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
        (["healthy"], "h0.test is healthy"),
        (["healthy", "unknown"], "1 of 2 hosts is healthy, 1 quiet"),
        (["unknown"], "No recent results from h0.test"),
        (["unknown", "unknown"], "No recent results from any host"),
        (["isolated"], "h0.test is isolated"),
        (["healthy", "isolated"], "1 of 2 hosts is isolated: h1.test"),
        (["degraded", "isolated"], "1 of 2 hosts is degraded: h0.test"),
        (["broken", "broken", "degraded"], "2 of 3 hosts are broken"),
        (["broken", "broken"], "All 2 hosts are broken: is it us?"),
        (["broken"] * 4 + ["healthy"], "4 of 5 hosts are broken: is it us?"),
        (["broken"] * 4 + ["unknown"], "4 of 5 hosts are broken: is it us?"),
        (["broken"] * 3 + ["healthy"], "3 of 4 hosts are broken"),
        (["broken", "isolated", "unknown"], "1 of 3 hosts is broken: h0.test"),
    ],
)
def test_the_headline_says_the_worst(states: list[Any], says: str) -> None:
    hosts = [replace(QUIET, state=state, host=f"https://h{number}.test") for number, state in enumerate(states)]
    html = page(*hosts)
    assert f"<title>{says} · " in html
    assert re.search(rf"<h1[^>]*>.*<span>{re.escape(says)}</span></h1>", html)


NEW = replace(QUIET, state="unknown", calls=0, attempts=0, last_success=None, state_since=None)
GONE_QUIET = replace(NEW, host="https://q.test", last_success=WALL - 900, last_error_at=WALL - 800, last_error="502")


@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        ([NEW], "a.test was not tried yet"),
        ([NEW, NEW], "No host was tried yet"),
        ([NEW, GONE_QUIET], "No recent results from any host"),
        ([QUIET, QUIET, NEW, GONE_QUIET], "2 of 4 hosts are healthy, 1 quiet, 1 not tried yet"),
    ],
)
def test_hosts_of_which_nothing_is_heard_are_neither_well_nor_ill(hosts: list[HostHealth], says: str) -> None:
    assert f"<title>{says} · " in page(*hosts)


def test_a_host_that_went_quiet_with_an_error_says_so_in_its_row_and_at_the_head() -> None:
    shown = words(re.sub(r"<[^>]+>", " ", page(QUIET, GONE_QUIET)))
    assert "The last result from q.test was an error, 13 min ago." in shown
    assert "quiet: last heard 13 min ago, an error" in shown
    assert "not tried yet" in page(NEW)
    assert "no verdict yet" in page(replace(NEW, attempts=4))


def test_a_host_that_nothing_leads_to_any_more_is_no_trouble_and_comes_last() -> None:
    """Its callers moved: the page would be red for half a minute because of a host that no call goes to."""
    moved = replace(BROKEN, used=False)
    html = page(moved, QUIET)
    assert "<title>1 of 2 hosts is healthy, 1 moved · " in html
    assert "b.test moved: nothing uses it any more." in html
    assert "<small>moved: nothing uses it any more</small>" in html
    assert html.index("a<wbr>.test") < html.index("b<wbr>.test")
    assert '<tr role="row" class="unused"' in html


def test_hosts_that_broke_together_are_told_together() -> None:
    both = [
        replace(BROKEN, host=f"https://{name}.test", state_since=WALL - ago) for name, ago in [("a", 90), ("b", 78)]
    ]
    html = page(*both)
    assert "a.test, b.test: within 12 s of each other, since 11:58:30 UTC, for 1 min 30 s." in html
    assert "What they share is this process, its machine and its network." in html
    assert "What they share" not in page(BROKEN, replace(BROKEN, host=f"{BROKEN.host}#part")), "one host"
    late = page(replace(both[0], state_since=WALL - 7000), both[1], QUIET, QUIET)
    assert "the first since 10:03:20 UTC, for 1 h 56 min, the latest at 11:58:42." in late


def test_where_the_calls_of_a_broken_host_go_is_said() -> None:
    html = page(replace(BROKEN, names=("stock",), failover="https://c.test"), QUIET)
    assert "Calls to stock go to https://c.test meanwhile." in html
    assert "calls go to <bdi>https://c.test</bdi>" in html


def test_hooks_that_hang_are_in_the_headline() -> None:
    html = page(QUIET, replace(NEW, host="login", hooks_since=WALL - 12))
    assert "<title>Hooks hang: login · " in html
    assert "Hooks for login have been running for 12 s." in html
    assert "hooks running since 11:59:48" in html


def test_scopes_are_rows_with_their_names_and_counted_as_such() -> None:
    scope = replace(BROKEN, host=f"{BROKEN.host}#a.b <reports>")
    html = page(scope, replace(QUIET, state="healthy"))
    assert "<title>1 of 2 hosts and scopes is broken: b.test#a.b &lt;reports&gt; · " in html
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
    assert "asks callers to wait 12 s" in page(COOLING)
    assert "left alone" not in page(QUIET)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_the_question_is_text_as_well(text: str) -> None:
    html = ask(status.app(Known(BROKEN)), "/", "q=" + quote(text, errors="replace")).text
    assert [tag for tag, _ in Tags(html).found].count("script") == 1
    assert "onerror" not in {name for _, attrs in Tags(html).found for name in attrs}


@pytest.mark.parametrize(
    ("reason", "until", "shown"),
    [
        ("maintenance", WALL + 300, "isolated by an operator at 11:59:00 until 12:05:00: maintenance"),
        ("maintenance", None, "isolated by an operator at 11:59:00: maintenance"),
        (None, WALL + 300, "isolated by an operator at 11:59:00 until 12:05:00"),
        (None, WALL + 86_400, "isolated by an operator at 11:59:00 until 02 Jun 12:00"),
    ],
)
def test_why_and_until_when_a_host_is_isolated_is_shown(reason: str | None, until: float | None, shown: str) -> None:
    isolated = replace(QUIET, state="isolated", isolated_reason=reason, isolated_until=until, isolated_since=WALL - 60)
    assert shown in words(re.sub(r"</?bdi>", "", page(isolated)))
    answer = ask(status.app(Known(isolated)), "/hosts.json").json["hosts"][0]
    assert (answer["isolated_reason"], answer["isolated_until"]) == (reason, until)
    assert "by an operator" not in page(QUIET)


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
def test_how_long_a_host_has_been_in_its_state_is_read_at_a_glance(ago: float, shown: str) -> None:
    assert f"<b>{shown}</b>" in page(replace(BROKEN, state_since=WALL - ago))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "<i>–</i>"), (0.0001, "&lt;1 ms"), (0.0123, "12 ms"), (0.5, "0.50 s"), (61.0, "61.0 s")],
)
def test_a_latency_has_the_digits_that_count(seconds: float | None, shown: str) -> None:
    found = page(replace(QUIET, latency=Latency(7.0, seconds, 7.0)))
    assert re.search(rf'data-label="p95"><span>{re.escape(shown)}<', found)


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


@pytest.mark.parametrize(("path", "steps"), [("/", 60), ("/hosts.json", 60)])
def test_other_threads_get_a_turn_after_each_host(monkeypatch: pytest.MonkeyPatch, path: str, steps: int) -> None:
    """Else the loop of a service, beside which the page is made, would get one every 5 ms."""
    turns: list[None] = []
    for module in (sleepwalker.clock, sleepwalker.status.page, sleepwalker.status.site):
        monkeypatch.setattr(module, "give_way", lambda: turns.append(None))
    with ConnectionManager() as manager:
        for number in range(30):
            manager.add(f"https://{number}.test", None, Connection(f"https://{number}.test", ANONYMOUS))
        ask(status.app(manager), path)
    assert len(turns) == steps


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


def test_a_forked_worker_runs_since_its_fork() -> None:
    """Not since the parent began that imported all before it."""
    reader, writer = os.pipe()
    before = time.time()
    child = os.fork()
    if child == 0:
        os.write(writer, repr(THIS_PROCESS.since).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        assert before <= float(told.read()) <= time.time()
    assert THIS_PROCESS.since <= before


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
    assert named == {*inspect.signature(status.app).parameters, "q", "state", "sort", "limit", *document}
    assert inspect.signature(status.asgi).parameters.keys() == inspect.signature(status.app).parameters.keys()
